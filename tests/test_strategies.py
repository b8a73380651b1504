"""The checker runs every strategy that calls can take, and finds a bug that is planted in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import xpdispatch as xd
from xpdispatch import Kernel, kernel
from xpdispatch.running import code, executor, fused, instructions, traced
from xpdispatch.running.executor import Tiles, Whole, Work
from xpdispatch.testing import check_partitioning
from xpdispatch.testing.trials import make_trial

X = np.arange(12.0)


def shifted() -> Kernel:
    return kernel("x[i] -> y[i]")(lambda xp, x: 2 * x + 1)


def test_the_strategies_of_a_kernel() -> None:
    def strategies(made: Kernel) -> tuple[str, ...]:
        return make_trial(made, (X,), {}).strategies

    assert strategies(shifted()) == ("by tile", "traced")
    assert strategies(kernel("x[i] -> y[i]", fuse=False)(lambda xp, x: 2 * x)) == ("by tile",)
    assert strategies(kernel("x[i] -> sum s[]")(lambda xp, x: xp.sum(x))) == ("by tile",)
    assert strategies(kernel("x[i] -> y[i]")(lambda xp, tile, x: x + tile.start("i"))) == ("by tile",)


def test_a_right_kernel_runs_by_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for owner, name in ((Whole, "run"), (executor.ByTile, "run"), (traced.Code, "__call__")):
        real = getattr(owner, name)

        def noted(self: Any, *args: Any, real: Any = real, told: str = owner.__name__) -> Any:
            ran.append(told)
            return real(self, *args)

        monkeypatch.setattr(owner, name, noted)
    check_partitioning(shifted(), X)
    assert {*ran} == {"Whole", "ByTile", "Code"}


def off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body on the whole: results are one too large."""
    run = Whole.run

    def planted(self: Whole, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        return [value + 1 for value in run(self, arguments, targets, work)]

    monkeypatch.setattr(Whole, "run", planted)


def last_tile_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """By tile: what the last one gives is not written."""
    own = Tiles.own

    def planted(self: Tiles, arrays: Sequence[Any], chosen: Any, region: Any) -> list[Any]:
        found = own(self, arrays, chosen, region)
        lost = len(self.regions) > 1 and region == self.regions[-1] and arrays is self.results
        return [None if a is None else np.empty_like(a) for a in found] if lost else found

    monkeypatch.setattr(Tiles, "own", planted)


def code_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced: where there are fewer elements than in a dry run, results are one too large."""
    call = traced.Code.__call__

    def planted(self: traced.Code, arguments: Any, results: Any, constants: Any) -> None:
        call(self, arguments, results, constants)
        for array in results:
            array += array.size < len(X)

    monkeypatch.setattr(traced.Code, "__call__", planted)


def test_strips_along_borders_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: set[Any] = set()
    compute = Tiles.compute

    def noted(self: Tiles, k: int, *args: Any) -> Any:
        ran.add(self.regions[k])
        return compute(self, k, *args)

    monkeypatch.setattr(Tiles, "compute", noted)
    made = kernel("u[i-3..i+1,j-1..j] -> v[i,j]", boundary="wrap", fuse=False)(lambda xp, u: u[:-4, 1:] - u[4:, :-1])
    check_partitioning(made, np.ones((12, 10)))
    assert {((0, 3), (0, 10)), ((3, 11), (0, 10)), ((11, 12), (0, 10)), ((0, 12), (0, 1)), ((0, 12), (1, 10))} <= ran


@pytest.mark.parametrize("plant", [off_by_one, last_tile_is_lost, code_adds_one])
def test_a_bug_in_any_strategy_is_found(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_partitioning(shifted(), X)
    plant(monkeypatch)
    with pytest.raises(xd.PartitionError):
        check_partitioning(shifted(), X)


def test_a_bug_in_compiled_loops_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite", reason="pip install 'xpdispatch[fast]'")
    check_partitioning(shifted(), X.astype(int))
    # They subtract where the body adds, and nobody compares them with NumPy's functions before they are used.
    monkeypatch.setitem(instructions._TEMPLATES, (np.add, "i"), "{r} = sub {t} {x}, {y}")
    monkeypatch.setattr(code, "_does_the_same", lambda *_: True)
    monkeypatch.setattr(fused, "_loops", {})
    with pytest.raises(xd.PartitionError):
        check_partitioning(shifted(), X.astype(int))


@pytest.mark.parametrize("plant", [off_by_one, last_tile_is_lost])
def test_a_bug_in_a_strategy_is_found_where_the_body_cannot_be_traced(
    plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = kernel("x[i] -> y[i]", fuse=False)(lambda xp, x: 2 * x + 1)
    check_partitioning(made, X)
    plant(monkeypatch)
    with pytest.raises(xd.PartitionError):
        check_partitioning(made, X)
