"""What NumPy, Legate, JAX and dask say of planted bugs: python benchmarks/planted_bugs.py --column legate2.

Each column is measured in an interpreter that has its packages, and merged into results/planted_bugs.json; then the
table docs/planted_bugs.rst.inc is written anew. The bodies are the planted ones, unchanged, on small arrays, cut
in two; planted_elsewhere.py says how they run in the other libraries. An answer is compared with the body's own on one
tile of NumPy. Every bug runs five times, since some show only when tasks race, and the worst outcome counts. Right
kernels run in the same way and must give the right answer, to check what surrounds the bodies.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import planted_elsewhere as elsewhere
from planted_cases import NAMES, RIGHT, ROOT, CannotBeSaid, Case, Outcome, make, told, verdict
from xpdispatch import PartitionError
from xpdispatch.testing import check_partitioning

RESULTS = ROOT / "benchmarks" / "results" / "planted_bugs.json"
TABLE = ROOT / "docs" / "planted_bugs.rst.inc"
COLUMNS = {
    "numpy": ("NumPy", ("numpy",)),
    "legate1": ("Legate, 1 CPU", ("legate", "nvidia-cupynumeric")),
    "legate2": ("Legate, 2 CPUs", ("legate", "nvidia-cupynumeric")),
    "jax": ("JAX", ("jax",)),
    "dask": ("dask", ("dask",)),
    "checker": ("check_partitioning", ("numpy", "hypothesis")),
}
REPEATS = 5
WORST_FIRST = ("silent", "crash", "raises", "refused", "none", "hidden")
LEGEND = """\
| silent: a wrong answer, and nothing is said
| hidden: the right answer here, so that there is nothing to see
| refused: the declaration is refused, with an error that says so
| raises, crash: the exception of the body or of the library reaches the caller, or ends the process
| —: the bug cannot be written there, or was not run
| The exception in NumPy's column is xpdispatch's: it makes operands read-only.
| The bugs are a choice from those with which check_partitioning is tested, so that it finds them was to be expected.
| Arrays of 14 to 54 cells along the index to blame, cut in two odd halves; the worst of five runs.
| Legate's tasks declare no exceptions.
"""


def on_numpy(case: Case) -> Outcome:
    got = case.kernel(*case.args, **case.kwargs)
    case.later()
    return verdict(case, list(got) if isinstance(got, tuple) else [got])


def on_jax(case: Case) -> Outcome:
    try:
        return verdict(case, elsewhere.jax_answer(case, 2))
    except CannotBeSaid:
        raise
    except Exception as error:
        if "vma" in str(error) or "out_specs" in str(error):
            return {"said": "refused", "detail": told(error)}
        try:
            elsewhere.jax_answer(make(case.name), 1)
        except Exception as alone:  # noqa: BLE001  not in one piece either, so that it says nothing of the bug
            raise CannotBeSaid(f"the body cannot be traced: {type(alone).__name__}") from error
        raise


def on_dask(case: Case) -> Outcome:
    return verdict(case, elsewhere.dask_answer(case, 2))


def on_legate(case: Case) -> Outcome:
    return verdict(case, elsewhere.legate_answer(case))


def with_checker(case: Case) -> Outcome:
    start = time.perf_counter()
    try:
        check_partitioning(case.kernel, *case.args, **case.kwargs)
        said, detail = "not found", ""
    except PartitionError as error:
        said, detail = "found", told(error)
        if not all(word in str(error) for word in case.words):
            said = "found, other blame"
    return {"said": said, "detail": detail, "seconds": round(time.perf_counter() - start, 3)}


def worst(measure: Callable[[Case], Outcome], name: str) -> Outcome:
    """The worst of several outcomes, and how often it came; right kernels run once."""
    outcomes = []
    for _ in range(1 if name in RIGHT else REPEATS):
        try:
            outcomes.append(measure(make(name)))
        except CannotBeSaid as error:
            return {"said": "none", "detail": str(error)}
        except Exception as error:  # noqa: BLE001  whatever a body or a library raises
            outcomes.append({"said": "raises", "detail": told(error)})
    said = [o["said"] for o in outcomes]
    first = min(outcomes, key=lambda o: WORST_FIRST.index(o["said"]))
    return {**first, "times": f"{said.count(first['said'])} of {len(said)}"}


def in_children(cpus: int, names: list[str]) -> dict[str, Outcome]:
    """Run the cases on Legate in child processes, because a body's exception ends the process."""
    environment = {**os.environ, "LEGATE_CONFIG": f"--cpus {cpus} --gpus 0 --sysmem 2000"}
    found: dict[str, Outcome] = {}
    while todo := [name for name in names if name not in found]:
        command = [sys.executable, __file__, "--child", json.dumps(todo)]
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        current = raised = ""
        for line in child.stdout.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "START":
                current, raised = rest, ""
            elif kind == "DONE":
                found[current] = json.loads(rest)
            elif kind == "BODY":
                raised = rest
        if not current:
            raise SystemExit(child.stderr)
        if current not in found:
            found[current] = {"said": "crash", "detail": raised or child.stderr.strip().splitlines()[-1][:200]}
        elif child.returncode:
            print(f"Legate ended with status {child.returncode}: {child.stderr.strip()[-500:]}")
    return found


def be_child(names: list[str]) -> None:
    from xpdispatch.legate import engine  # noqa: F401  Legate starts without a driver, too

    for name in names:
        print("START", name, flush=True)
        print("DONE", json.dumps(worst(on_legate, name)), flush=True)


def table(results: dict[str, Any]) -> str:
    """The outcomes as an rst list-table, with notes where nothing can be said."""
    shown = [c for c in COLUMNS if c in results]
    lines = [".. list-table::", "   :header-rows: 1", "   :class: figures", "", "   * - planted bug"]
    lines += [f"     - {COLUMNS[c][0]}" for c in shown]
    notes: dict[str, str] = {}
    for name in NAMES:
        lines.append(f"   * - {name}")
        for column in shown:
            outcome = results[column]["bugs"][name]
            cell = outcome["said"]
            if cell == "none":
                cell = f"— ({notes.setdefault(outcome['detail'], chr(ord('a') + len(notes)))})"
            elif "seconds" in outcome:
                cell += f", {outcome['seconds']:.2f} s"
            elif cell in ("raises", "crash") and ":" in outcome["detail"]:
                cell += f" {outcome['detail'].split(':')[0]}"
            lines.append(f"     - {cell}")
    lines.append("   * - **told**")
    for column in shown:
        said = [outcome["said"] for outcome in results[column]["bugs"].values()]
        count = sum(s not in ("silent", "hidden", "none", "not found") for s in said)
        lines.append(f"     - **{count} of {len(said)}**")
    versions = {p: v for c in shown for p, v in results[c]["versions"].items()}
    dates = sorted({results[c]["date"] for c in shown})
    lines += ["", *LEGEND.splitlines(), *(f"| ({mark}) {words}" for words, mark in notes.items()), ""]
    lines.append(f"Measured {' and '.join(dates)} with {', '.join(f'{p} {v}' for p, v in sorted(versions.items()))}.")
    return "\n".join(lines) + "\n"


def show(column: str, bugs: dict[str, Outcome]) -> None:
    for name in NAMES:
        outcome = bugs[name]
        figure = f"{outcome['seconds']:.2f} s" if "seconds" in outcome else outcome.get("times", "")
        print(f"{name:42} {outcome['said']:10} {figure:8} {outcome['detail']}")
    said = [bugs[name]["said"] for name in NAMES]
    print(f"{column}: " + ", ".join(f"{said.count(s)} {s}" for s in sorted(set(said))), end="")
    seconds = [outcome["seconds"] for outcome in bugs.values() if "seconds" in outcome]
    print(f"; median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s" if seconds else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--column", choices=COLUMNS, action="append", help="what to measure; nothing: write the table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_child(json.loads(options.child))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    here = {"numpy": on_numpy, "jax": on_jax, "dask": on_dask}
    for column in options.column or ():
        if column in here:
            found = {name: worst(here[column], name) for name in (NAMES if column == "numpy" else NAMES + RIGHT)}
        elif column == "checker":
            found = {name: with_checker(make(name)) for name in NAMES}
        else:
            found = in_children(int(column[-1]), NAMES + RIGHT)
        versions = {package: importlib.metadata.version(package) for package in COLUMNS[column][1]}
        python = ".".join(map(str, sys.version_info[:3]))
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        results[column] = {"date": date, "python": python, "versions": versions}
        results[column]["bugs"] = {name: found[name] for name in NAMES}
        answers = [found[name]["said"] for name in RIGHT if name in found]
        ran = [said for said in answers if said in ("hidden", "silent")]
        if answers:
            results[column]["right"] = {"kernels": len(answers), "ran": len(ran), "wrong": ran.count("silent")}
            print(f"right kernels: {results[column]['right']}")
        show(column, found)
    RESULTS.write_text(json.dumps({c: results[c] for c in COLUMNS if c in results}, indent=1) + "\n")
    TABLE.write_text(table(results))


if __name__ == "__main__":
    main()
