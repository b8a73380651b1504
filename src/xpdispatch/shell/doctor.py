"""``xpdispatch doctor``: what works on this machine, and what fixes the rest.

Every library is tried in a process of its own (``probes.py``), so that one that ends its process, or hangs, is
reported like any other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import array_api_compat
import numpy

import xpdispatch
from xpdispatch.errors import ArgumentError, XPDispatchError
from xpdispatch.explain.sentences import size
from xpdispatch.legate import companions
from xpdispatch.legate import nvidia_libraries as driver
from xpdispatch.machine import hardware, llvm
from xpdispatch.machine.packages import install_command, version_of

_TRIED = ("numpy", "cupy", "torch", "jax", "array_api_strict", "dask", "legate", "cupynumeric")
_FIXES = {
    "cupy": f"needs an NVIDIA GPU with its driver, and the CuPy for its CUDA: {install_command('cupy')}",
    "array_api_strict": "pip install --force-reinstall array-api-strict",
    "legate": "pip install --upgrade --force-reinstall legate nvidia-cupynumeric",
    "cupynumeric": "pip install --upgrade --force-reinstall legate nvidia-cupynumeric",
}
"""What fixes one that is installed and does not work; all others are installed again under their own name."""

_TROUBLE = re.compile(r"\{[56]\}|error.*: *[^ ]", re.IGNORECASE)
"""What Realm's errors have, and what most others."""

Row = tuple[str, str, str]
"""A line of the screen: a mark, a name, and what is said of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a namespace or an engine works here."""

    name: str
    works: bool
    version: str = ""  # empty where it is not installed
    note: str = ""  # what it runs on, or why it does not work
    remedy: str = ""  # the command that fixes it, or what else does


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found, in the order of the screen; ``--json`` prints it under these names."""

    versions: Mapping[str, str]
    engines: tuple[Finding, ...]  # the first is the one for this process
    namespaces: tuple[Finding, ...]
    machine: Mapping[str, str]
    legate: Mapping[str, Any]  # with what Legate starts; empty where it does not


def main(words: Sequence[str]) -> int:
    """Print what works; the status is 1 where kernels do not run here, or something required does not work."""
    parser = argparse.ArgumentParser(
        prog="xpdispatch doctor",
        description="Say which namespaces and engines work here, and what fixes the others. Each is tried, in a "
        "process of its own. The status is 0 where kernels run in this process.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--require", metavar="NAMES", help="status 1 unless these work too, such as legate,cupy")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long a library may take (default: 120)")
    options = parser.parse_args(words)
    found = diagnose(options.seconds)
    missing = _missing(found, [name for name in (options.require or "").split(",") if name])
    if options.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)
    for finding in missing:
        print(f"xpdispatch: {finding.name} is required: {finding.note}. {finding.remedy}", file=sys.stderr)
    return 1 if missing or not found.engines[0].works else 0


def _missing(found: Diagnosis, required: Sequence[str]) -> list[Finding]:
    known = {f.name: f for f in (*found.namespaces, *found.engines)}
    for name in required:
        if name not in known:
            raise ArgumentError(f"there is no engine and no namespace {name!r}", hint=f"use one of {', '.join(known)}")
    return [known[name] for name in required if not known[name].works]


# -- what is found ------------------------------------------------------------------------------------------


def diagnose(seconds: float = 120.0) -> Diagnosis:
    """Find out which namespaces and engines work here; each may take so long."""
    facts = _try_all(seconds)
    tried = {name: _finding(name, facts[name]) for name in _TRIED}
    legate, cupynumeric = tried.pop("legate"), tried.pop("cupynumeric")
    if legate.works:
        legate = replace(legate, note=_processors(facts["legate"]))
    elif facts["cupynumeric"]:
        cupynumeric = replace(cupynumeric, works=False, note="Legate does not work", remedy=legate.remedy)
    shown = ("processors", "memory", "nodes", "networks", "openmp", "cuda_runtime", "config", "abilities")
    engines = [_local(tried["numpy"]), legate]
    if legate.works:
        engines.append(_several(facts["legate"]["networks"]))
    return Diagnosis(
        _versions(),
        tuple(engines),
        (*tried.values(), cupynumeric),
        {**_computer(legate_is_there=bool(legate.version)), **_libraries()},
        {key: facts["legate"][key] for key in shown if key in facts["legate"]},
    )


def _try_all(seconds: float) -> dict[str, dict[str, Any]]:
    """What ``probes.py`` found out of each library, all of them tried at once; nothing of one that is not installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch, name) for name in _TRIED if find_spec(name) is not None}
        started = {name: _start(name, file, environment) for name, file in files.items()}
        end = time.monotonic() + seconds
        endings = {name: _ending(process, files[name], end) for name, process in started.items()}
        found: dict[str, dict[str, Any]] = {name: {} for name in _TRIED}
        for name, file in files.items():
            found[name] = {"why": endings[name] or "it gives no answer"}
            if file.exists():
                found[name] |= json.loads(file.read_text())
            if endings[name] is None:
                remedy = "give it more time: xpdispatch doctor --seconds 600"
                found[name] |= {"works": False, "why": f"no answer in {seconds:g} seconds", "remedy": remedy}
            elif endings[name]:
                found[name]["works"] = False
        return found


def _start(name: str, file: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with file.with_suffix(".said").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "xpdispatch.shell.probes", name, str(file)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _ending(process: subprocess.Popen[bytes], file: Path, end: float) -> str | None:
    """How a process ended: empty for an ordinary end, None for one that takes too long, which is then ended."""
    try:
        code = process.wait(timeout=max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        process.wait()
        return None
    if code == 0:
        return ""
    words = file.with_suffix(".said").read_text(errors="replace")
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = next((line for line in lines if _TROUBLE.search(line)), lines[-1] if lines else "it says nothing")
    return f"its process ends with {signal.Signals(-code).name if code < 0 else f'status {code}'}: {said}"


def _finding(name: str, facts: Mapping[str, Any]) -> Finding:
    if not facts:
        return Finding(name, works=False, note="not installed", remedy=install_command(name))
    version = facts.get("version", "")
    if facts.get("works"):
        return Finding(name, works=True, version=version, note=facts.get("note", ""))
    remedy, config = facts.get("remedy"), os.environ.get("LEGATE_CONFIG")
    if not remedy and config and name in ("legate", "cupynumeric"):
        remedy = f"unset LEGATE_CONFIG, or fix it: it is {config!r}"
    return Finding(
        name,
        works=False,
        version=version,
        note=facts["why"],
        remedy=remedy or _FIXES.get(name, f"pip install --force-reinstall {name}"),
    )


def _local(numpy: Finding) -> Finding:
    """The engine for this process: it runs where NumPy does, and the environment's settings make sense."""
    if not numpy.works:
        return replace(numpy, name="local", version="")
    try:
        note = f"in this process; threads: {hardware.processors()}, for each tile: {size(hardware.cache_bytes())}"
        return Finding("local", works=True, note=note)
    except XPDispatchError as error:
        return Finding("local", works=False, note=error.problem, remedy=error.hint)


def _several(networks: Sequence[str]) -> Finding:
    """Whether Legate runs as several processes, as far as is seen without starting them."""
    name = "several processes"
    try:
        companions.check("mpirun", networks)
    except XPDispatchError as error:
        return Finding(name, works=False, note=error.problem, remedy=error.hint or "")
    line = "xpdispatch run --ranks-per-node 2 --launcher mpirun script.py"
    return Finding(name, works=True, note=f"over {', '.join(networks)}: {line}")


def _processors(facts: Mapping[str, Any]) -> str:
    counts = [f"{count} {kind if count != 1 else kind[:-1]}" for kind, count in facts["processors"].items() if count]
    kinds = {"sysmem": "memory", "numamem": "NUMA memory", "fbmem": "memory on each GPU"}
    sizes = [f"{size(facts['memory'][flag])} of {kind}" for flag, kind in kinds.items() if facts["memory"][flag]]
    return ", ".join(counts + sizes)


def _versions() -> dict[str, str]:
    import platform

    return {
        "xpdispatch": xpdispatch.__version__,
        "Python": platform.python_version(),
        "numpy": numpy.__version__,
        "array-api-compat": array_api_compat.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _computer(*, legate_is_there: bool) -> dict[str, str]:
    nvidia = "NVIDIA's, or what LD_LIBRARY_PATH has in its place" if driver.has_driver() else "none"
    if nvidia == "none" and legate_is_there:
        try:
            nvidia = f"none; Legate gets a stand-in: {driver.shim()}"
        except XPDispatchError as error:
            nvidia = error.problem
    free = hardware.free_memory()
    return {
        "driver": nvidia,
        "compiler": driver.compiler()
        or "none; Legate without an NVIDIA driver needs one: apt-get install gcc libc6-dev",
        "cores": f"{hardware.cores()} that this process may use, of {os.cpu_count()}",
        "memory": f"{size(free)} free" if free else "unknown",
    }


def _libraries() -> dict[str, str]:
    """What bodies compute with on CPUs."""
    scipy = version_of("scipy")
    fft = f"scipy {scipy}" if scipy else f"NumPy's own; faster: {install_command('scipy')}"
    return {"Fourier transforms": fft, "compiled loops": _loops(), "linear algebra": _blas()}


def _loops() -> str:
    version = version_of("llvmlite")
    if not version:
        return f"none; faster: {install_command('llvmlite')}"
    try:
        return f"llvmlite {version}" if llvm.can_compile() else f"none; llvmlite {version} is too old: 0.44 or later"
    except Exception as error:  # noqa: BLE001  whatever its library's loading raises
        return f"none; llvmlite {version} does not load: {error}"


def _blas() -> str:
    if find_spec("threadpoolctl") is not None:
        info: Any = import_module("threadpoolctl")
        pools = [p for p in info.threadpool_info() if p["user_api"] == "blas"]
        if pools:
            return f"{pools[0]['internal_api']} {pools[0]['version']}, {pools[0]['num_threads']} threads"
    config: Any = numpy.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


# -- the screen ---------------------------------------------------------------------------------------------


def sections(found: Diagnosis) -> Iterator[tuple[str, list[Row]]]:
    """The headings of the screen and the rows below each, in order."""
    yield "", [("", name, text) for name, text in found.versions.items()]
    yield "Engines", [row for finding in found.engines for row in _rows(finding)]
    yield "Namespaces", [row for finding in found.namespaces for row in _rows(finding)]
    yield "This machine", [("", name, text) for name, text in found.machine.items()]
    if found.legate:
        abilities = found.legate["abilities"]
        facts = {
            "LEGATE_CONFIG": found.legate["config"],
            "CUDA runtime": found.legate["cuda_runtime"] or "not loaded",
            "networks": ", ".join(found.legate["networks"]) or "none",
            "has": "; ".join(name for name, there in abilities.items() if there),
            "has not": "; ".join(name for name, there in abilities.items() if not there),
        }
        yield "Legate", [("", name, text) for name, text in facts.items() if text]


def _rows(finding: Finding) -> Iterator[Row]:
    said = [finding.version, finding.note]
    if not finding.works and not finding.version:  # it fits into one line
        said = [f"{finding.note}: {finding.remedy}"]
    yield "yes" if finding.works else "no", finding.name, "  ".join(filter(None, said))
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
