"""Whether two answers differ by more than rounding.

Exact dtypes compare exactly. Floats are equal within a few units in the last place, or else both runs are made again
in the next higher precision. Where only rounding is at work the difference then shrinks with the unit in the last
place; where the kernel is wrong it stays what it was. This needs no bound that knows the kernel, holds for data of
any scale, and sees through cancellation. The idea is that of stochastic and multiple-precision checks of numerical
programs (Vignes 1993; Parker, Pierce and Eggert 2000): let the arithmetic change, and look at what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpdispatch.planning.plan import Plan

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]

_TIGHT = 4
_NOISE = 64


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ first.

    Parameters
    ----------
    result : int
    where : tuple of int, or None
        The element, in row-major order the first; None where shapes or dtypes differ.
    expected, got : str
    """

    result: int
    where: tuple[int, ...] | None
    expected: str
    got: str

    def element(self, plan: Plan) -> str:
        """The element, or the result, as a message shows it: ``y[0, 2]``."""
        name = plan.results[self.result].name
        return f"result {name!r}" if self.where is None else f"{name}[{', '.join(map(str, self.where))}]"


@dataclass(frozen=True, slots=True)
class Reruns:
    """Runs that tell rounding from mistakes, made only when they are needed; each answers None where it cannot be.

    Parameters
    ----------
    precise : callable
        The two answers in the next higher precision.
    moved : callable
        From a seed to the two answers on data that are changed by a unit in the last place, and the two in higher
        precision or None; with ``coarse=True`` the unit is that of float32.
    magnitude : callable
        From the position of a result to the sum of the sizes of its parts.
    """

    precise: Callable[[], tuple[Arrays, Arrays] | None] = lambda: None
    moved: Callable[..., tuple[Arrays, Arrays, tuple[Arrays, Arrays] | None] | None] = lambda seed, coarse=False: None
    magnitude: Callable[[int], Array | None] = lambda r: None


def compare(expected: Arrays, got: Arrays, reruns: Reruns | None = None, *, half: bool = False) -> Difference | None:
    """The first element of the first result that differs by more than rounding, or None.

    Parameters
    ----------
    expected, got : sequence of numpy.ndarray
    reruns : Reruns, optional
        Without them some units in the last place are taken for rounding.
    half : bool
        Whether half of the digits are enough: two libraries have functions that round differently.
    """
    doubtful: dict[int, Array] = {}
    for r, (e, g) in enumerate(zip(expected, got, strict=True)):
        if e.dtype != g.dtype or e.shape != g.shape:
            return Difference(r, None, f"shape {e.shape}, dtype {e.dtype}", f"shape {g.shape}, dtype {g.dtype}")
        differs = ~_close(e, g, half=half)
        if not differs.any():
            continue
        if e.dtype.kind not in "fc":
            return _first(r, differs, e, g)
        doubtful[r] = differs
    if not doubtful:
        return None
    wrong = _not_rounding(doubtful, expected, got, reruns or Reruns())
    for r, differs in wrong.items():
        if differs.any():
            return _first(r, differs, expected[r], got[r])
    return None


def _first(r: int, differs: Array, e: Array, g: Array) -> Difference:
    where = tuple(int(n) for n in np.unravel_index(int(np.argmax(differs)), differs.shape))
    return Difference(r, where, repr(e[where].item()), repr(g[where].item()))


def _close(e: Array, g: Array, *, half: bool = False) -> Array:
    """Equal, both NaN, or within a few units in the last place, or half of the digits."""
    with np.errstate(all="ignore"):
        same = (e == g) | ((e != e) & (g != g))  # noqa: PLR0124  NaN is what is not itself
        if e.dtype.kind not in "fc":
            return np.asarray(same)
        off, units = np.abs(e - g), np.finfo(e.dtype).eps ** -0.5 if half else _TIGHT
        return np.asarray(same | (np.isfinite(off) & (off <= units * _unit(e))))


def _unit(array: Array) -> Array:
    return np.asarray(np.finfo(array.dtype).eps * np.abs(array))


def _not_rounding(doubtful: dict[int, Array], expected: Arrays, got: Arrays, reruns: Reruns) -> dict[int, Array]:
    precise = reruns.precise()
    if precise is None or all(_as_before(precise, expected, got, r) for r in doubtful):
        # There is no higher precision, or the body computes in one of its own.
        return {r: d & _beyond_noise(r, expected, got, reruns) for r, d in doubtful.items()}
    wrong = {r: d & _stays(expected[r], got[r], precise[0][r], precise[1][r]) for r, d in doubtful.items()}
    if any(d.any() for d in wrong.values()) and not _is_exact(wrong, expected, got, precise):
        # Rounding can look like a mistake by chance, but not twice at the same place.
        e, g, again = reruns.moved(1) or (expected, got, None)
        if again is not None:
            wrong = {
                r: d & ~_close(e[r], g[r]) & _stays(e[r], g[r], again[0][r], again[1][r])
                if e[r].shape == d.shape
                else d
                for r, d in wrong.items()
            }
    return wrong


def _as_before(precise: tuple[Arrays, Arrays], expected: Arrays, got: Arrays, r: int) -> bool:
    """Whether higher precision changed nothing: then the body rounds to its own, or all is exact."""
    (e, g), dtype = (precise[0][r], precise[1][r]), expected[r].dtype
    if e.shape != expected[r].shape or g.shape != got[r].shape:
        return False
    with np.errstate(all="ignore"):
        return np.array_equal(e, expected[r].astype(e.dtype), equal_nan=dtype.kind in "fc") and np.array_equal(
            g, got[r].astype(g.dtype), equal_nan=dtype.kind in "fc"
        )


def _is_exact(wrong: dict[int, Array], expected: Arrays, got: Arrays, precise: tuple[Any, Any]) -> bool:
    """Whether both precisions agree at all these elements, so that no rounding is at work there."""
    return all(
        np.array_equal(precise[side][r][d], low[r][d].astype(precise[side][r].dtype), equal_nan=True)
        for r, d in wrong.items()
        for side, low in enumerate((expected, got))
    )


def _stays(e: Array, g: Array, precise_e: Array, precise_g: Array) -> Array:
    """Where the difference does not shrink as rounding does in higher precision."""
    if precise_e.shape != e.shape or precise_g.shape != g.shape:
        return np.ones(e.shape, bool)
    with np.errstate(all="ignore"):
        low, high = e - g, precise_e - precise_g
        finite = np.isfinite(low) & np.isfinite(high)
        ratio = float(np.finfo(precise_e.dtype).eps) / float(np.finfo(e.dtype).eps)
        noise = np.maximum(np.maximum(np.abs(e - precise_e), np.abs(g - precise_g)), _unit(e))
        stays = (np.abs(high - low) <= np.abs(low) / 2) & (np.abs(high) > _NOISE * ratio * noise)
        odd = ~_near_overflow(e, g) | ~_close(precise_e, precise_g)
    return np.asarray(np.where(finite, stays, odd))


def _near_overflow(e: Array, g: Array) -> Array:
    """Where no side is finite, or one comes near to overflow, so that rounding may carry the other over."""
    least = np.minimum(np.where(np.isfinite(e), np.abs(e), np.inf), np.where(np.isfinite(g), np.abs(g), np.inf))
    return np.asarray(least >= np.finfo(e.dtype).max / 1000)


def _beyond_noise(r: int, expected: Arrays, got: Arrays, reruns: Reruns) -> Array:
    """Where the difference is larger than what a unit in the last place of the data can do."""
    e, g = expected[r], got[r]
    with np.errstate(all="ignore"):
        noise = _unit(e)
        # Answers that float32 can hold may have been computed in it, whatever the body got.
        narrow = e.astype(np.float32 if e.dtype.kind == "f" else np.complex64)
        own = bool((e == narrow).all())
        if own:
            noise = np.asarray(np.finfo(np.float32).eps * np.abs(e))
        for coarse in (False, True) if own else (False,):
            for seed in range(5):
                for moved, still in zip((reruns.moved(seed, coarse=coarse) or ())[:2], (e, g), strict=False):
                    if moved[r].shape == still.shape:
                        noise = np.fmax(noise, np.abs(moved[r] - still))
        parts = reruns.magnitude(r)
        if parts is not None and parts.shape == e.shape:
            noise = np.fmax(noise, np.finfo(e.dtype).eps * parts)
        off, carried = np.abs(e - g), (np.isfinite(e) ^ np.isfinite(g)) & _near_overflow(e, g)
        return np.asarray(np.where(np.isfinite(off), ~(off <= _NOISE * noise), ~carried))
