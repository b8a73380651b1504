"""Try one array library or engine, in a process of its own: ``python -m xpdispatch.shell.probes NAME FILE``.

What is found out is written to the file as JSON, as soon as it is known: a library may end the process.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xpdispatch.calling.decorator import kernel
from xpdispatch.calling.runtime import synchronize
from xpdispatch.errors import XPDispatchError
from xpdispatch.machine.packages import version_of


@kernel("x[i], y[i] -> z[i]", cut=False)
def saxpy(xp: Any, x: Any, y: Any, a: float) -> Any:
    """The kernel that is tried."""
    return a * x + y


def main(name: str, file: Path) -> None:
    """Try it, and write what was found."""
    facts: dict[str, Any] = {}

    def tell(**more: Any) -> None:
        facts.update(more)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(facts))
        fresh.replace(file)  # in one step: this process may be ended at any time

    try:
        if name == "legate":
            _try_legate(tell)
        else:
            _try_library(name, tell)
        tell(works=True)
    except XPDispatchError as error:
        tell(why=error.problem, remedy=error.hint)
    except Exception as error:  # noqa: BLE001  whatever a library raises is what is to be found out
        tell(why=f"{type(error).__name__}: {_gist(str(error))}")


def _gist(text: str) -> str:
    """The line that says what happened: of Legate's, which has pages, the innermost exception; else the first."""
    inner = re.search(r"#0 (.+)", text)
    return inner[1] if inner else next(iter(text.strip().splitlines()), "")


def _try_library(name: str, tell: Callable[..., None]) -> None:
    if name == "cupynumeric":  # whose import starts Legate
        tell(version=version_of("nvidia-cupynumeric") or version_of("cupynumeric"))
    library: Any = import_module(name)
    if name != "cupynumeric":
        tell(version=library.__version__)
    if name == "cupy":
        runtime = library.cuda.runtime
        tell(note=f"{runtime.getDeviceCount()} GPUs, CUDA {runtime.runtimeGetVersion()}")
    elif name == "torch":
        tell(note="with CUDA" if library.cuda.is_available() else "on CPUs")
    elif name == "jax":
        tell(note=f"on {library.default_backend()}")
    x = (library.numpy if name == "jax" else import_module("dask.array") if name == "dask" else library).arange(4.0)
    z = saxpy(x, x, 2.0)
    synchronize()
    _compare(library.asnumpy(z) if name == "cupy" else np.asarray(z), [0.0, 3.0, 6.0, 9.0], "0, 1, 2, 3")


def _try_legate(tell: Callable[..., None]) -> None:
    tell(version=version_of("legate"))
    lg: Any = import_module("legate.core")  # this starts Legate
    releases: Any = import_module("xpdispatch.legate.releases")
    info: Any = import_module("legate.install_info")
    machine, runtime = lg.get_machine(), lg.get_legate_runtime()
    tell(
        processors={f"{kind}s": machine.count(getattr(lg.TaskTarget, kind)) for kind in ("CPU", "GPU", "OMP")},
        memory={flag: releases.memory(flag) for flag in ("sysmem", "fbmem", "numamem")},
        nodes=runtime.node_count,
        networks=list(info.networks),
        openmp=bool(info.use_openmp),
        cuda_runtime=_loaded("libcudart"),
        config=os.environ.get("LEGATE_CONFIG", ""),
        abilities=releases.abilities(),
    )
    # Legate's own stores, so that the engine is tried without cuPyNumeric too.
    x, z = (runtime.create_store(lg.types.float64, (4,)) for _ in range(2))
    x.fill(lg.Scalar(1.0, lg.types.float64))
    saxpy(x, x, 2.0, out=z)
    synchronize()
    _compare(np.asarray(z.get_physical_store()), [3.0] * 4, "1, 1, 1, 1")


def _compare(found: np.ndarray[Any, Any], expected: list[float], x: str) -> None:
    if found.tolist() != expected:
        raise ArithmeticError(f"2 * x + x is {found.tolist()} for x = {x}")


def _loaded(library: str) -> str:
    """The file of a shared library that this process has loaded; empty where it has none."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return next((line.split(maxsplit=5)[-1] for line in maps if library in line), "")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
