"""Engines for the whole suite. Legate must be there; torch and JAX are skipped with a reason where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

# One of several processes that run the same tests (``test_several_processes.py``) has one CPU.
os.environ["LEGATE_CONFIG"] = f"--cpus {1 if 'OMPI_COMM_WORLD_RANK' in os.environ else 2} --gpus 0 --sysmem 2000"
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import xpdispatch as xd
from xpdispatch.arrays import namespaces
from xpdispatch.planning.definition import Call
from xpdispatch.planning.tiles import grid, whole
from xpdispatch.planning.windows import Bounds
from xpdispatch.running import calls, cutting
from xpdispatch.running.cutting import Cutter
from xpdispatch.running.executor import ByTile, Whole, Work
from xpdispatch.running.learned import Learned
from xpdispatch.running.ownership import known_to
from xpdispatch.running.results import Taking
from xpdispatch.running.site import Site
from xpdispatch.testing import forced_tiles

SEVERAL = "OMPI_COMM_WORLD_RANK" in os.environ
"""This is one of several processes: what takes one of them a millisecond takes them ten."""

settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@dataclass(frozen=True)
class Engine:
    """How the suite puts NumPy arrays into an engine and takes results out."""

    name: str

    @property
    def on_legate(self) -> bool:
        return self.name.startswith("legate")

    @property
    def mutable(self) -> bool:
        return self.name != "jax"

    def put(self, value: Any) -> Any:
        """A NumPy array as this engine's; anything else as it is."""
        if not isinstance(value, np.ndarray):
            return value
        if self.name.startswith("numpy"):
            return value
        if self.name == "strict":
            return _strict().asarray(np.array(value))
        if self.name == "torch":
            import torch

            return torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        if self.name == "jax":
            import jax.numpy as jnp

            return jnp.asarray(value)
        import cupynumeric

        return cupynumeric.array(value)

    def get(self, array: Any) -> np.ndarray:
        """A result as a NumPy array; on Legate this waits and raises what failed."""
        if self.on_legate:
            xd.synchronize()
        if self.name == "strict":
            array = getattr(array, "_array", array)
        return np.asarray(array)

    def tiles(self) -> AbstractContextManager[Any]:
        if self.name == "numpy-cut":
            return forced_cuts(2)
        return forced_tiles() if self.name == "legate-tiles" else nullcontext()


def _strict() -> Any:
    import array_api_strict

    return array_api_strict


def tiles_of(made: xd.Kernel, noted: list[Any]) -> list[Any]:
    """The tiles on which a kernel of this name ran, in order."""
    return sorted({tile for name, tile in noted if name == made.name})


def cuts_rows_for_parts() -> bool:
    """Whether Legate cuts arrays of several axes where outputs are of unknown size; before 26.3 it does not."""
    from legate.core import ParallelPolicy

    return hasattr(ParallelPolicy, "partitioning_threshold")


@contextmanager
def forced_cuts(threads: int, cache: int = 64) -> Iterator[None]:
    """Cut calls in this process, and Legate's tasks, into tiles for a cache of a few cells, whatever that costs."""
    with pytest.MonkeyPatch.context() as patch, xd.threads(threads):
        patch.setattr(cutting, "forced", cache)
        yield


def run_tiles(
    made: xd.Kernel,
    args: Sequence[np.ndarray],
    scalars: Sequence[Any] = (),
    targets: Sequence[Any] | None = None,
    *,
    regions: Sequence[Bounds] | None = None,
    order: int | None = None,
    **cuts: Sequence[int],
) -> list[Any]:
    """Run a kernel on NumPy arrays without any engine: on these regions, or on those between cuts by index, or whole.

    Without `order` tiles run in row-major order, else in a random one with this seed.
    """
    definition, body = made.definition, made.definition.body
    given = [None if u is None else args[u] for u in body.updated]
    if targets is not None:
        given = [t if g is None else g for g, t in zip(given, targets, strict=True)]
    plan = definition.plan([a.shape for a in args], scalars, [None if g is None else g.shape for g in given])
    xp, domain = namespaces.namespace_for("CPU"), whole(plan)
    site = Site(plan, body, body.function, xp, "numpy", "CPU", definition.casts([a.dtype for a in args], np))
    tiles = list(regions if regions is not None else grid(plan, cuts))
    if order is not None:
        tiles = [tiles[n] for n in np.random.default_rng(order).permutation(len(tiles))]
    strategy = Whole if regions is None and not cuts else ByTile
    runs = strategy(site, Taking(site, known_to(body.function, scalars, xp)))
    return runs.run(body.arguments(args, scalars), given, Work(domain, tiles))


def cutter_of(made: xd.Kernel, *args: Any, out: Any = None) -> Cutter:
    """What decides how a call in this process is cut; the call itself may stand for its arguments."""
    call = args[0] if isinstance(args[0], Call) else made.bind(args, {}, out)
    site = calls.site_of(call)
    given = calls.all_given(call.definition, call.operands, call.given)
    return Cutter(
        call.definition,
        site,
        Taking(site, known_to(site.function, call.scalars, site.xp)),
        Learned([a.dtype for a in call.operands], [None if g is None else g.dtype for g in given]),
    )


def run_python(code: str, *, keep_config: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, by default with this suite's settings of Legate."""
    own = ("LEGATE_CONFIG", "LEGATE_MIN_CPU_CHUNK")
    inherited = {k: v for k, v in os.environ.items() if keep_config or k not in own}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**inherited, **environment}
    )


ON_LEGATE = ("legate", "legate-tiles")
ENGINES = ("numpy", "numpy-cut", "strict", "torch", "jax", *ON_LEGATE)
if SEVERAL:  # where all calls are cut
    ENGINES = ON_LEGATE = ("legate-tiles",)
REQUIRED = os.environ.get("XPDISPATCH_REQUIRE", "").split(",")


def make_engine(name: str) -> Engine:
    package = {"strict": "array_api_strict", "torch": "torch", "jax": "jax"}.get(name)
    if package and find_spec(package) is None:
        if package in REQUIRED:
            pytest.fail(f"{package} is required here and not installed")
        pytest.skip(f"{package} is not installed: pip install 'xpdispatch[test-all]'")
    return Engine(name)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn, tiles forced where the name says so."""
    found = make_engine(request.param)
    with found.tiles():
        yield found


@pytest.fixture(params=ON_LEGATE)
def on_legate(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Real Legate alone, with and without forced tiles."""
    found = make_engine(request.param)
    with found.tiles():
        yield found
    xd.synchronize()


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """A test may register namespaces; the next one finds the default ones."""
    before = namespaces.registered
    yield
    if namespaces.registered is not before:
        namespaces.registered = before
        namespaces.namespace_for.cache_clear()


def registered_options(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Legate's options of the tasks that are registered with some from now on."""
    from xpdispatch.legate import tasks

    given: list[Any] = []
    real = tasks.PyTask

    def spy(**kwargs: Any) -> Any:
        given.append(kwargs["options"])
        return real(**kwargs)

    monkeypatch.setattr(tasks, "PyTask", spy)
    return given
