"""What :meth:`xpdispatch.Kernel.explain` gives: the answer, and every form it is shown in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xpdispatch.errors import ArgumentError
from xpdispatch.explain.answer import Answer
from xpdispatch.explain.canvas import draw
from xpdispatch.explain.notebook import as_html, as_page
from xpdispatch.explain.picture import picture
from xpdispatch.explain.question import Machine, ask
from xpdispatch.explain.sentences import assumptions
from xpdispatch.explain.terminal import as_rich, as_text
from xpdispatch.legate.alignment import THRESHOLDS
from xpdispatch.planning.definition import Call


class Explanation(Answer):
    """How one call is cut, shared, reduced and moved: ``kernel.explain(...)``.

    It shows itself: as text by `str`, as tables on a terminal by `rich.print` and in a notebook, as a picture by
    :meth:`plot`.

    Attributes
    ----------
    machine : Machine
        Engine, kind and number of processors.
    tiling : Tiles
        Where the tiles lie.
    cuts : Decision or None
        How Legate decides that, and why; None in this process.
    arrays : dict of str to ArrayCut
        Operands, then results. A result of the same name as an operand is called ``name'``.
    shares : tuple of Share
        For each processor.
    cache : CacheCut
    temporaries : int or None
        Bytes that a body needs besides its arrays, measured by a dry run; None where that could not be measured.
    """

    def on(
        self,
        processors: int,
        kind: Literal["cpu", "omp", "gpu"] = "cpu",
        *,
        overdecompose_factor: int = 1,
        partitioning_threshold: int | None = None,
    ) -> Explanation:
        """The same call on Legate with other processors, which need not be here.

        Parameters
        ----------
        processors : int
            In all, on however many nodes.
        kind : {"cpu", "omp", "gpu"}
        overdecompose_factor, partitioning_threshold : int
            As in Legate's ParallelPolicy; by default 1, and Legate's own threshold for the kind.

        Raises
        ------
        ArgumentError
            There is no such number or kind of processors.
        UnsupportedError
            The kernel has no variant for them.
        """
        if kind not in THRESHOLDS:
            raise ArgumentError(
                f"kind={kind!r} is not a kind of processor", hint=f"use one of {', '.join(map(repr, THRESHOLDS))}"
            ).complete(*self.question.title)
        threshold = THRESHOLDS[kind] if partitioning_threshold is None else partitioning_threshold
        for what, value in (
            ("processors", processors),
            ("overdecompose_factor", overdecompose_factor),
            ("partitioning_threshold", threshold),
        ):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    f"{what}={value!r}, expected an integer >= 1", hint=f"write an integer, 1 or more: {what}=8"
                ).complete(*self.question.title)
        machine = Machine("legate", processors, kind, overdecompose_factor, threshold, predicted=True)
        return self.on_legate(self.question, machine)

    assumptions = property(assumptions, doc="What the answer rests on: a tuple of sentences.")
    __str__ = as_text
    __rich__ = as_rich
    _repr_html_ = as_html

    def to_html(self, file: str | Path) -> None:
        """Write what a notebook shows as a page of its own, which needs no other file and no network."""
        Path(file).write_text(as_page(self), encoding="utf-8")

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw every array cut into its tiles; what goes together has the same color.

        Parameters
        ----------
        file : str or Path, optional
            Where to save it, as PNG, SVG or PDF.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingError
            Matplotlib is not installed.
        """
        return draw(picture(self), file)


def explain_call(call: Call, engine: str) -> Explanation:
    """Explain a call on the machine that it would run on as things are."""
    return Explanation.here(ask(call, engine))
