"""``xpdispatch doctor``: one screen about what works here."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from xpdispatch.shell.diagnosis import Diagnosis, Finding, doctor

Row = tuple[str, str, str]
"""A mark, a name, and what is said of it."""

_MARKS = {True: "yes", False: "no"}


def main(words: Sequence[str]) -> int:
    """Print what works; the status is 1 where kernels do not run here, or something required does not work."""
    options = _parser().parse_args(words)
    found = doctor(options.seconds)
    required = [name for name in (options.require or "").split(",") if name]
    missing = found.missing(required)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found)
    for finding in missing:
        print(f"xpdispatch: {finding.name} is required: {finding.note}. {finding.remedy}", file=sys.stderr)
    return 1 if missing or not found.works else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpdispatch doctor",
        description="Say which namespaces and engines work here, and what mends the others. Each is tried, in a "
        "process of its own. The status is 0 where kernels run in this process.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--require", metavar="NAMES", help="status 1 unless these work too, such as legate,cupy")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long a library may take (default: 120)")
    return parser


def sections(found: Diagnosis) -> Iterator[tuple[str, list[Row]]]:
    """The text of the screen, in its order."""
    yield "", [("", name, text) for name, text in found.versions.items()]
    yield "Engines", [row for finding in found.engines for row in _rows(finding)]
    yield "Namespaces", [row for finding in found.namespaces for row in _rows(finding)]
    yield "This machine", [("", name, text) for name, text in found.machine.items()]
    if found.legate:
        networks = ", ".join(found.legate["networks"]) or "none"
        rows = [
            ("", "LEGATE_CONFIG", found.legate["config"]),
            ("", "CUDA runtime", found.legate["cuda_runtime"] or "not loaded"),
            ("", "networks", networks),
        ]
        for title, able in (("has", True), ("has not", False)):
            abilities = [name for name, there in found.legate["abilities"].items() if there is able]
            rows += [("", title, "; ".join(abilities))] if abilities else []
        yield "Legate", rows


def _rows(finding: Finding) -> Iterator[Row]:
    said = [finding.version, finding.note]
    if not finding.works and not finding.version:  # it fits into one line
        said = [f"{finding.note}: {finding.remedy}"]
    yield _MARKS[finding.works], finding.name, "  ".join(filter(None, said))
    if finding.remedy and finding.version:
        yield "", "", finding.remedy


def _show(found: Diagnosis) -> None:
    if find_spec("rich") is None or not sys.stdout.isatty():
        print("\n".join(_lines(found)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for title, rows in sections(found):
        if title:
            console.print(Text(title, style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        for mark, name, text in rows:
            style = {"yes": "green", "no": "yellow"}.get(mark, "")
            table.add_row(Text(mark.rjust(5), style=style), Text(name), Text(text, style="" if name else "cyan"))
        console.print(table)


def _lines(found: Diagnosis) -> Iterator[str]:
    for title, rows in sections(found):
        if title:
            yield title
        width = max(len(name) for _, name, _ in rows)
        yield from (f"{mark:>5}  {name:<{width}}  {text}" for mark, name, text in rows)
