"""Checks of kernels: that no answer depends on how arrays are cut, and that bodies run on every array library.

What enters is a kernel and the arguments of one call, NumPy arrays among them. What leaves is a report of what ran and
what was left out, or an error that says what differs, what is to blame and what to change. Everything here runs with
NumPy alone but :func:`check_on_legate`. This package may import from all packages but ``shell``, which alone may
import it.

A check in order: :mod:`~xpdispatch.testing.trial` binds the call; :mod:`~xpdispatch.testing.tilings` says how it can be
cut; :mod:`~xpdispatch.testing.search` runs it so and compares by :mod:`~xpdispatch.testing.comparison`;
:mod:`~xpdispatch.testing.partitioning` decides what is checked, and on which values.

======================  ==========================================================================================
module                  what it is for
======================  ==========================================================================================
``tilings``             where to cut each index: the awkward ways that Legate really cuts, and a strategy for any
``options``             ``with checking(...)``: seed, time, tilings, engines; the clock and the progress of a check
``variables``           globals and closures that a body reads and that vary
``trial``               one call, ready to run on NumPy under any tiling, while the body is watched
``comparison``          whether two answers differ by more than rounding
``search``              find a tiling that changes the answer, and make it small
``notation_changes``    other notations near a kernel's own: those that may fix it, and those that split more
``report``              the texts of :class:`~xpdispatch.PartitionError`
``partitioning``        :func:`check_partitioning`
``on_legate``           :func:`check_on_legate`, and :func:`forced_tiles` for tests on Legate
``suggest_notation``    :func:`suggest`: the freest notation for a body
``libraries``           which array libraries are there, and what a kernel answers on each
``portable_spellings``  what to write instead of what only NumPy has
``portability``         :func:`check_portable`
``checks``              :func:`check_kernel`: all checks, on all engines
``strategies``          :func:`arguments`: a Hypothesis strategy for the arguments of a call
``cases``               kernels with their arguments as cases for ``pytest.mark.parametrize``
``plugin``              the pytest plugin
======================  ==========================================================================================

Each imports from those above it alone.
"""

from xpdispatch.testing.cases import KernelCase, kernel_cases
from xpdispatch.testing.checks import check_kernel
from xpdispatch.testing.on_legate import check_on_legate, forced_tiles
from xpdispatch.testing.options import checking
from xpdispatch.testing.partitioning import PartitionReport, check_partitioning
from xpdispatch.testing.portability import PortabilityReport, check_portable
from xpdispatch.testing.report import draw
from xpdispatch.testing.strategies import arguments
from xpdispatch.testing.suggest_notation import Suggestion, suggest
from xpdispatch.testing.tilings import Tiling, tilings

__all__ = [
    "KernelCase",
    "PartitionReport",
    "PortabilityReport",
    "Suggestion",
    "Tiling",
    "arguments",
    "check_kernel",
    "check_on_legate",
    "check_partitioning",
    "check_portable",
    "checking",
    "draw",
    "forced_tiles",
    "kernel_cases",
    "suggest",
    "tilings",
]
