"""What works on this machine, and what mends the rest.

Every library is tried in a process of its own (``probes.py``), so that one that ends its process, or stands still,
is told about like any other.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import array_api_compat
import numpy

from xpdispatch.arrays import namespaces
from xpdispatch.errors import ArgumentError, XPDispatchError
from xpdispatch.legate import driver
from xpdispatch.machine import hardware as machine
from xpdispatch.machine.hardware import version_of

_TRIED = ("numpy", "cupy", "torch", "jax", "array_api_strict", "legate", "cupynumeric")
_INSTALL = {"array_api_strict": "pip install 'xpdispatch[testing]'", **namespaces.INSTALL}
_MEND = {
    "cupy": "needs an NVIDIA GPU with its driver, and the CuPy for its CUDA: " + namespaces.INSTALL["cupy"],
    "array_api_strict": "pip install --force-reinstall array-api-strict",
    "legate": "pip install --upgrade --force-reinstall legate nvidia-cupynumeric",
    "cupynumeric": "pip install --upgrade --force-reinstall legate nvidia-cupynumeric",
}
"""What mends one that is installed and does not work; for all others they are installed again."""

_TROUBLE = re.compile(r"\{[56]\}|error.*: *[^ ]", re.IGNORECASE)
"""What Realm's errors have, and what most others."""

_LATE = "give it more time: xpdispatch doctor --seconds 600"
_OF_LEGATE = ("processors", "memory", "nodes", "networks", "openmp", "cuda_runtime", "config", "abilities")


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a namespace or an engine works here.

    Parameters
    ----------
    name : str
    works : bool
    version : str
        Empty where it is not installed.
    note : str
        What it runs on, or why it does not work.
    remedy : str
        The command that mends it, or what else does.
    """

    name: str
    works: bool
    version: str = ""
    note: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What :func:`doctor` found.

    Parameters
    ----------
    versions : mapping of str to str
        Of xpdispatch, Python, NumPy and array-api-compat, and the system.
    engines, namespaces : tuple of Finding
    machine : mapping of str to str
        The driver, compiler, processors, memory, cache, and libraries that bodies use.
    legate : mapping
        How Legate starts here: ``processors``, ``memory`` in bytes, ``nodes``, ``networks``, ``openmp``,
        ``cuda_runtime`` (the file, or nothing), ``config`` (what ``LEGATE_CONFIG`` became) and ``abilities`` of its
        release. Empty where it does not start.
    """

    versions: Mapping[str, str]
    engines: tuple[Finding, ...]
    namespaces: tuple[Finding, ...]
    machine: Mapping[str, str]
    legate: Mapping[str, Any]

    def __repr__(self) -> str:
        found = (*self.engines, *self.namespaces)
        sides = (", ".join(f.name for f in found if f.works is works) or "nothing" for works in (True, False))
        return "<doctor: {} works; {} does not>".format(*sides)

    @property
    def works(self) -> bool:
        """Whether kernels run in this process."""
        return self.engines[0].works

    def missing(self, names: Sequence[str]) -> list[Finding]:
        """Those of some engines and namespaces that do not work.

        Raises
        ------
        ArgumentError
            There is none of that name.
        """
        found = {f.name: f for f in (*self.namespaces, *self.engines)}
        for name in names:
            if name not in found:
                raise ArgumentError(
                    f"there is no engine and no namespace {name!r}", hint=f"use one of {', '.join(found)}"
                )
        return [found[name] for name in names if not found[name].works]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def doctor(seconds: float = 120.0) -> Diagnosis:
    """Find out which namespaces and engines work here, and what mends the others.

    Each is tried: a process of its own imports it and runs a kernel. Legate is started there, so that this process
    stays as it is.

    Parameters
    ----------
    seconds : float
        How long a library may take.

    Returns
    -------
    Diagnosis
        With ``engines`` and ``namespaces``, each a tuple of findings (``name``, ``works``, ``version``, ``note``,
        ``remedy``), ``versions``, ``machine``, ``legate``, and ``works``: whether kernels run in this process.

    Examples
    --------
    >>> import xpdispatch
    >>> found = xpdispatch.doctor()
    >>> found.works
    True
    >>> [finding.works for finding in found.namespaces if finding.name == "numpy"]
    [True]
    """
    found = _try_all(seconds)
    tried = {name: _finding(name, facts) for name, facts in found.items()}
    legate, cupynumeric = tried.pop("legate"), tried.pop("cupynumeric")
    if legate.works:
        legate = replace(legate, note=_processors(found["legate"]))
    elif not found["cupynumeric"].get("absent"):
        cupynumeric = replace(cupynumeric, works=False, note="Legate does not work", remedy=legate.remedy)
    return Diagnosis(
        _versions(),
        (_local(tried["numpy"]), legate),
        (*tried.values(), cupynumeric, _dask()),
        {**_computer(legate_is_there=bool(legate.version)), **_libraries()},
        {key: found["legate"][key] for key in _OF_LEGATE if key in found["legate"]},
    )


def _try_all(seconds: float) -> dict[str, dict[str, Any]]:
    """What ``probes.py`` tells of each library that is installed, all of them tried at once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch, name) for name in _TRIED if find_spec(name) is not None}
        started = {name: _start(name, file, environment) for name, file in files.items()}
        end = time.monotonic() + seconds
        endings = {name: _wait(process, files[name], end) for name, process in started.items()}
        found: dict[str, dict[str, Any]] = {name: {"absent": True} for name in _TRIED}
        for name, file in files.items():
            found[name] = json.loads(file.read_text()) if file.exists() else {}
            if endings[name] is None:
                found[name] |= {"works": False, "why": f"no answer in {seconds:g} seconds", "remedy": _LATE}
            elif endings[name] and "why" not in found[name]:
                found[name] |= {"works": False, "why": endings[name]}
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


def _wait(process: subprocess.Popen[bytes], file: Path, end: float) -> str | None:
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
    told, note = str(facts.get("version", "")), str(facts.get("note", ""))
    if facts.get("absent"):
        return Finding(name, works=False, note="not installed", remedy=_INSTALL.get(name, f"pip install {name}"))
    if facts.get("works"):
        return Finding(name, works=True, version=told, note=note)
    remedy = facts.get("remedy") or _MEND.get(name, f"pip install --force-reinstall {name}")
    config = os.environ.get("LEGATE_CONFIG")
    if name in ("legate", "cupynumeric") and config and not facts.get("remedy"):
        remedy = f"unset LEGATE_CONFIG, or mend it: it is {config!r}"
    return Finding(name, works=False, version=told, note=str(facts.get("why", "no answer")), remedy=str(remedy))


def _local(numpy: Finding) -> Finding:
    """The engine for this process: it runs where NumPy does, and the environment sets no nonsense."""
    local = replace(numpy, name="local", version="")
    try:
        machine.cache_bytes()
        return replace(local, note=local.note or f"in this process; threads: {machine.processors()}")
    except XPDispatchError as error:
        return replace(local, works=False, note=error.problem, remedy=error.hint)


def _processors(facts: Mapping[str, Any]) -> str:
    counts = [f"{count} {kind if count != 1 else kind[:-1]}" for kind, count in facts["processors"].items() if count]
    kinds = {"sysmem": "memory", "numamem": "NUMA memory", "fbmem": "memory on each GPU"}
    sizes = [f"{_size(facts['memory'][flag])} of {kind}" for flag, kind in kinds.items() if facts["memory"][flag]]
    return ", ".join(counts + sizes)


def _dask() -> Finding:
    """Kernels do not take dask arrays; the finding says what does."""
    remedy = namespaces.REFUSED["dask array"]
    return Finding("dask", works=False, version=version_of("dask"), note="kernels take no dask arrays", remedy=remedy)


def _versions() -> dict[str, str]:
    import platform

    return {
        "xpdispatch": sys.modules["xpdispatch"].__version__,
        "Python": platform.python_version(),
        "numpy": numpy.__version__,
        "array-api-compat": array_api_compat.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _computer(*, legate_is_there: bool) -> dict[str, str]:
    compiler, free = driver.compiler(), machine.free_memory()
    return {
        "driver": _driver(legate_is_there=legate_is_there),
        "compiler": compiler or "none; Legate without an NVIDIA driver needs one: apt-get install gcc libc6-dev",
        "cores": f"{machine.cores()} that this process may use, of {os.cpu_count()}",
        "memory": f"{_size(free)} free" if free else "unknown",
        "cache": _told(lambda: f"{_size(machine.cache_bytes())} for each tile"),
        "threads": _told(lambda: f"{machine.processors()} in a call"),
    }


def _driver(*, legate_is_there: bool) -> str:
    if driver.has_driver():
        return "NVIDIA's, or what LD_LIBRARY_PATH has in its place"
    if not legate_is_there:
        return "none"
    return _told(lambda: f"none; Legate gets a stand-in: {driver.shim()}")


def _libraries() -> dict[str, str]:
    """What bodies compute with on CPUs."""
    fft = (
        f"scipy {version_of('scipy')}" if find_spec("scipy") else "NumPy's own; faster: pip install 'xpdispatch[fast]'"
    )
    return {"Fourier transforms": fft, "linear algebra": _blas()}


def _blas() -> str:
    if find_spec("threadpoolctl") is not None:
        info: Any = import_module("threadpoolctl")
        pools = [p for p in info.threadpool_info() if p["user_api"] == "blas"]
        if pools:
            return f"{pools[0]['internal_api']} {pools[0]['version']}, {pools[0]['num_threads']} threads"
    config: Any = numpy.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def _size(count: int) -> str:
    unit, name = next((u, n) for u, n in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1, "bytes")) if count >= u or u == 1)
    return f"{count / unit:.3g} {name}"


def _told(fact: Callable[[], object]) -> str:
    """A fact, or what is wrong where it cannot be had."""
    try:
        return str(fact())
    except XPDispatchError as error:
        return error.problem
