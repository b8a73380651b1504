"""Try one namespace or engine, in a process of its own: ``python -m xpdispatch.probes NAME FILE``.

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
from xpdispatch.machine.hardware import version_of


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
        _PROBES[name](tell)
        tell(works=True)
    except XPDispatchError as error:
        tell(why=error.problem, remedy=error.hint)
    except Exception as error:  # noqa: BLE001  whatever a library raises is what is to be found out
        tell(why=f"{type(error).__name__}: {_gist(str(error))}")


def _gist(text: str) -> str:
    """The line that says what happened: of Legate's, which has pages, the innermost exception; else the first."""
    inner = re.search(r"#0 (.+)", text)
    return inner[1] if inner else next(iter(text.strip().splitlines()), "")


def _run(x: Any, to_numpy: Callable[[Any], Any] = np.asarray) -> None:
    """Run the kernel on the numbers 0, 1, 2 and 3 in a library."""
    found = to_numpy(saxpy(x, x, 2.0)).tolist()
    if found != [0.0, 3.0, 6.0, 9.0]:
        raise ArithmeticError(f"2 * x + x is {found} for x = 0, 1, 2, 3")


def _numpy(tell: Callable[..., None]) -> None:
    tell(version=np.__version__)
    _run(np.arange(4.0))


def _cupy(tell: Callable[..., None]) -> None:
    cupy: Any = import_module("cupy")
    tell(version=cupy.__version__)
    tell(note=f"{cupy.cuda.runtime.getDeviceCount()} GPUs, CUDA {cupy.cuda.runtime.runtimeGetVersion()}")
    _run(cupy.arange(4.0), cupy.asnumpy)


def _torch(tell: Callable[..., None]) -> None:
    torch: Any = import_module("torch")
    tell(version=torch.__version__, note="with CUDA" if torch.cuda.is_available() else "on CPUs")
    _run(torch.arange(4.0))


def _jax(tell: Callable[..., None]) -> None:
    jax: Any = import_module("jax")
    tell(version=jax.__version__, note=f"on {jax.default_backend()}")
    _run(jax.numpy.arange(4.0))


def _strict(tell: Callable[..., None]) -> None:
    strict: Any = import_module("array_api_strict")
    tell(version=strict.__version__)
    _run(strict.asarray(np.arange(4.0)))


def _legate(tell: Callable[..., None]) -> None:
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
    found = np.asarray(z.get_physical_store()).tolist()
    if found != [3.0] * 4:
        raise ArithmeticError(f"2 * x + x is {found} for x = 1, 1, 1, 1")


def _cupynumeric(tell: Callable[..., None]) -> None:
    tell(version=version_of("nvidia-cupynumeric") or version_of("cupynumeric"))
    cupynumeric: Any = import_module("cupynumeric")
    _run(cupynumeric.arange(4.0))
    synchronize()


def _loaded(library: str) -> str:
    """The file of a shared library that this process has loaded; empty where it has none."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return next((line.split(maxsplit=5)[-1] for line in maps if library in line), "")


_PROBES: dict[str, Callable[[Callable[..., None]], None]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "torch": _torch,
    "jax": _jax,
    "array_api_strict": _strict,
    "legate": _legate,
    "cupynumeric": _cupynumeric,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
