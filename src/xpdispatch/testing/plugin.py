"""The pytest plugin: installed with xpdispatch, and in need of no configuration.

It adds the fixture ``check_kernel`` and two options, and says in the report of a failed check how to run it again.
It has no fixture called ``xp``, which other array-API plugins have.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from xpdispatch.errors import EngineError, MissingError, PartitionError, PortabilityError
from xpdispatch.machine.packages import install_command
from xpdispatch.testing import checks
from xpdispatch.testing.cases import KernelCase
from xpdispatch.testing.libraries import backends
from xpdispatch.testing.options import Options, checking

_ENGINES, _SEED = "--xpdispatch-engines", "--xpdispatch-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("xpdispatch", "checks of xpdispatch kernels")
    group.addoption(
        _ENGINES,
        metavar="IDS",
        help="check kernels on these engines: numpy, array_api_strict, torch, jax.numpy, cupy, legate "
        "(by default all that are installed, but Legate)",
    )
    group.addoption(_SEED, metavar="N", type=int, help="seed of the data and the tilings (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse engines that do not exist."""
    for name in _options(config).get("engines", ()):
        if name not in checks.ENGINES:
            raise pytest.UsageError(f"{_ENGINES}: there is no engine {name!r}, only {', '.join(checks.ENGINES)}")


def _options(config: pytest.Config) -> dict[str, Any]:
    chosen = config.getoption(_ENGINES)
    found: dict[str, Any] = {}
    if chosen:
        found["engines"] = tuple(name.strip() for name in chosen.split(","))
    if config.getoption(_SEED) is not None:
        found["seed"] = config.getoption(_SEED)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let the options hold for the checks of a test, whether by fixture or by plain function."""
    options = _options(item.config)
    if not options:
        return (yield)
    with checking(**options):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Say with a failed check how to run it again."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if report.failed and isinstance(error, EngineError | PartitionError | PortabilityError):
        seed = Options(seed=item.config.getoption(_SEED)).chosen_seed
        line = f"pytest {item.nodeid!r} {_SEED}={seed}"
        if item.config.getoption(_ENGINES):
            line += f" {_ENGINES}={item.config.getoption(_ENGINES)}"
        report.sections.append(("xpdispatch", f"seed: {seed}\nreproduce: {line}"))
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, the cases of engines that are not asked for or not there."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        for value in callspec.params.values() if callspec else ():
            if isinstance(value, KernelCase):
                reason = _reason_to_skip(value.engine, _options(config).get("engines"))
                if reason:
                    item.add_marker(pytest.mark.skip(reason=reason))


def _reason_to_skip(engine: str, chosen: tuple[str, ...] | None) -> str:
    if chosen is not None and engine not in chosen:
        return f"{_ENGINES} leaves {engine} out"
    if engine == "legate":
        if chosen is None:
            return f"Legate is checked where it is asked for: {_ENGINES}=numpy,legate"
        return "" if find_spec("legate") else f"legate is not installed: {install_command('legate')}"
    return backends()[engine]


@pytest.fixture
def check_kernel() -> Callable[..., Any]:
    """:func:`xpdispatch.testing.check_kernel`, as a fixture; an engine that is not installed is a skip."""

    def check(*args: Any, **kwargs: Any) -> Any:
        try:
            return checks.check_kernel(*args, **kwargs)
        except MissingError as error:
            pytest.skip(str(error))

    return check
