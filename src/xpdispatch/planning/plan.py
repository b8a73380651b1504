"""One call with its shapes settled. Pure: no arrays, no engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xpdispatch.planning.windows import WHOLE, Layout

Shape = tuple[int, ...]


class Image(NamedTuple):
    """Operands of which a tile gets the part that its elements of another operand point to.

    Parameters
    ----------
    function : int
        Position of the operand with the pointers.
    ranges : tuple of int
        Positions of the operands that it points to, along their first axis.
    borders : bool
        The pointers are borders of ranges, each where the one before ends, and no elements themselves.
    hint : str
        Legate's name for the way to find the elements.
    """

    function: int
    ranges: tuple[int, ...]
    borders: bool
    hint: str


class Plan(NamedTuple):
    """One call with its shapes settled.

    Parameters
    ----------
    indices : tuple of str
        The split indices; those of ``...`` are called ``...-1``, ``...-2`` from the right.
    extents : tuple of int
        One for each index.
    operands, results : tuple of Layout
    spaces : tuple of tuple of int
        Indices that are cut together; more than one set only where the explicit spelling leaves
        arrays unaligned.
    windowed : bool
        Some operand has a halo or blocks.
    images : tuple of Image
        In an order in which those that follow from others come later.
    least : tuple of int
        For each index how many elements a tile has at least, where the index has as many; empty where any number does.
    """

    indices: tuple[str, ...]
    extents: Shape
    operands: tuple[Layout, ...]
    results: tuple[Layout, ...]
    spaces: tuple[tuple[int, ...], ...]
    windowed: bool = False
    images: tuple[Image, ...] = ()
    least: tuple[int, ...] = ()

    @property
    def keyed(self) -> bool:
        """Whether some array has keys."""
        return any([layout.keys is not None for layout in (*self.operands, *self.results)])  # noqa: C419  quicker

    @property
    def gathered(self) -> tuple[int, ...]:
        """The operands of which the body gets copies of the elements that keys name."""
        return tuple([p for p, layout in enumerate(self.operands) if layout.keys is not None])

    @property
    def key_limits(self) -> dict[int, int]:
        """By operand with keys the number below which all of its keys are."""
        found: dict[int, int] = {}
        for layout in (*self.operands, *self.results):
            for axis, p in zip(layout.keys.cells, layout.keys.sources, strict=True) if layout.keys else ():
                extent = int(layout.shape[axis] or 0)
                found[p] = min(extent, found.get(p, extent))
        return found

    @property
    def seen(self) -> Plan:
        """The same plan for arrays as the body sees them: with the axes of keys where these stand for others."""
        if not self.keyed:
            return self
        operands, results = tuple(map(self._seen, self.operands)), tuple(map(self._seen, self.results))
        return self._replace(operands=operands, results=results)

    def _seen(self, layout: Layout) -> Layout:
        if layout.keys is None:
            return layout
        _, _, _, rest, dims, order = layout.keys
        found = [
            (WHOLE, self.operands[dim.operand].shape[dim.axis]) if dim.cut is None else (dim.cut, self.extents[dim.cut])
            for dim in dims
        ]
        found += [(layout.axes[axis], layout.shape[axis]) for axis in rest]
        axes, shape = zip(*[found[n] for n in order], strict=True) if order else ((), ())
        return layout._replace(axes=axes, shape=shape, keys=None)

    @property
    def fewest(self) -> Shape:
        """The fewest elements of each index that a tile has, an empty one aside."""
        return tuple(map(min, self.least, self.extents)) if self.least else (1,) * len(self.indices)

    @property
    def empty(self) -> bool:
        """Whether some index has no element, so that no body runs."""
        return 0 in self.extents

    @property
    def complete(self) -> bool:
        """Whether every extent is known without running the body, but for those of ``?``."""
        return all(None not in layout.shape[layout.concatenated :] for layout in self.results)

    def with_extents(self, extents: Sequence[int]) -> Plan:
        """The same plan for arrays that have so many elements to each index."""

        def other(layout: Layout) -> Layout:
            shape = tuple(
                n if a == WHOLE else layout.array_extent(axis, extents[a])
                for axis, (a, n) in enumerate(zip(layout.axes, layout.shape, strict=True))
            )
            return layout._replace(shape=shape)

        operands, results = tuple(map(other, self.operands)), tuple(map(other, self.results))
        return self._replace(extents=tuple(extents), operands=operands, results=results)

    def about(self, *, unsplit: bool) -> Plan:
        """The same plan for arrays whose extents above 16 are rounded to powers of two.

        Those of `unsplit` axes are, too, if so said: not where windows may be as long as they are.
        """
        plan = self.with_extents([rounded(n) for n in self.extents])
        if not unsplit:
            return plan

        def other(layout: Layout) -> Layout:
            shape = zip(layout.axes, layout.shape, strict=True)
            return layout._replace(shape=tuple([rounded(n) if a == WHOLE and n else n for a, n in shape]))

        return plan._replace(operands=tuple(map(other, plan.operands)), results=tuple(map(other, plan.results)))

    def with_result_shapes(self, shapes: Sequence[Shape]) -> Plan:
        """The same plan with the extents that only the body knew, but for those of ``?``."""
        results = tuple(
            r._replace(shape=(None, *s[1:]) if r.concatenated else s) for r, s in zip(self.results, shapes, strict=True)
        )
        return self._replace(results=results)


def rounded(extent: int) -> int:
    """An extent, above 16 the power of two next to it, as ratios go."""
    return extent if extent <= 16 else 1 << ((extent * extent).bit_length() >> 1)


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape as Python prints it, with the word any where the extent is not known."""
    shown = ", ".join("any" if n is None else str(n) for n in shape)
    return f"({shown},)" if len(shape) == 1 else f"({shown})"
