"""What windows can be: a mode for each axis, blocks with halos, sizes that a call gives, and diagonals."""

from __future__ import annotations

import numpy as np

from conftest import Engine, run_tiles
from xpdispatch import kernel


def test_a_tile_knows_where_it_stops(engine: Engine) -> None:
    @kernel("x[2*i,:] -> left[i], stops[i], wide[i]", guard=False)
    def ends(xp, tile, x):
        left = tile.stop("i") - tile.coords("i")
        stops = xp.full_like(left, tile.stop(("x", 0)))
        return left, stops, xp.full_like(left, tile.stop(("x", 1)))

    left, stops, wide = (engine.get(v) for v in ends(engine.put(np.ones((14, 3)))))
    assert ((left + np.arange(7)) * 2 == stops).all()
    assert stops[-1] == 14
    assert (wide == 3).all()
    assert len({*stops.tolist()}) > 1 or engine.name not in ("numpy-cut", "legate-tiles")


def test_stops_are_those_of_coords() -> None:
    @kernel("x[i] -> y[i]")
    def left(xp, tile, x):
        return tile.stop("i") - tile.coords("i")

    assert run_tiles(left, [np.ones(5)], i=[2])[0].tolist() == [2, 1, 3, 2, 1]
