"""The part of an operand that another operand's elements point to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpdispatch.errors import PointerError
from xpdispatch.planning.plan import Image
from xpdispatch.running.parts import as_operand
from xpdispatch.running.site import Site


def follow(site: Site, arguments: list[Any], origins: Mapping[int, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Cut the operands that others point to, and let the pointers count from the first element of the part.

    Parameters
    ----------
    site : Site
    arguments : list of object
        Of a tile, in the order of the body's parameters; operands that are pointed to may be there in full.
    origins : mapping of int to sequence of int
        By operand, the first elements that are there of those that are not in full.

    Returns
    -------
    dict of str to (int, int)
        First element and number of elements of each part, by operand.

    Raises
    ------
    PointerError
        A pointer to no element.
    """
    windows: dict[str, tuple[int, int]] = {}
    if site.library not in ("numpy", "cupy"):
        return windows  # one tile, of arrays that may be tracers, which have no values to follow
    at = site.body.operand_at
    for image in site.plan.images:
        pointers = arguments[at[image.function]]
        low, high = _ends(site, image, pointers)
        for p in image.ranges:
            (origin, *_) = origins.get(p, (0,))
            arguments[at[p]] = arguments[at[p]][low - origin : high - origin]
            windows[site.plan.operands[p].name] = low, high - low
        if low:
            arguments[at[image.function]] = as_operand(site, pointers - pointers.dtype.type(low))
    return windows


def _ends(site: Site, image: Image, pointers: Any) -> tuple[int, int]:
    """The first element that is pointed to, and the one after the last."""
    if pointers.size == 0:
        return 0, 0
    layouts = site.plan.operands
    low, high = int(pointers.min()), int(pointers.max()) + (not image.borders)
    for p in image.ranges:
        extent = int(layouts[p].shape[0] or 0)
        if low < 0 or high > extent:
            raise PointerError(
                f"argument {layouts[image.function].name!r} holds {low if low < 0 else high - (not image.borders)}, "
                f"which points to no element of {layouts[p].name!r}: there are {extent}",
                hint="give positions from 0 to the extent less 1; no negative one counts from the end",
            )
    if image.borders and bool((pointers[1:] < pointers[:-1]).any()):
        raise PointerError(
            f"argument {layouts[image.function].name!r} holds borders of ranges, and they are not in ascending order",
            hint="sort the borders: each range begins where the one before ends, as in scipy.sparse's indptr",
        )
    return low, high
