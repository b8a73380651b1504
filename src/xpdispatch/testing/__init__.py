"""Checks of kernels: that no answer depends on how arrays are cut, and that bodies run on every array library.

What enters is a kernel and the arguments of one call, NumPy arrays among them. What leaves is a report of what ran and
what was left out, or an error that says what differs, what is to blame and what to change. Everything here runs with
NumPy alone but :func:`check_on_legate`. This package may import from all packages but ``shell``, which alone may
import it.

A check in order: :mod:`~xpdispatch.testing.trials` binds the call; :mod:`~xpdispatch.testing.partitioning` decides what
is checked, and on which values; :mod:`xpdispatch.proving`, which the guard of first calls shares, cuts, runs, compares
and says what is to blame.

======================  ==========================================================================================
module                  what it is for
======================  ==========================================================================================
``options``             ``with checking(...)``: seed, time, tilings, engines; and the progress of a check
``variables``           globals and closures that a body reads and that vary
``trials``              from a kernel and the arguments of a call to a trial
``partitioning``        :func:`check_partitioning`
``on_legate``           :func:`check_on_legate`, and :func:`forced_tiles` for tests on Legate
``suggest_runs``        runs of a body on parts of its arrays
``suggest_doubts``      why axes stay whole in what is suggested, and what would do with keys
``suggest_notation``    :func:`suggest`: the freest notation for a body
``libraries``           which array libraries are there, and what a kernel answers on each
``portable_spellings``  what to write instead of what only NumPy has
``portability``         :func:`check_portable`
``checks``              :func:`check_kernel`: all checks, on all engines
``strategies``          :func:`arguments` and :func:`tilings`: Hypothesis strategies
``cases``               kernels with their arguments as cases for ``pytest.mark.parametrize``
``plugin``              the pytest plugin
======================  ==========================================================================================

Each imports from those above it alone.
"""

from xpdispatch.proving.report import draw
from xpdispatch.proving.tilings import Tiling
from xpdispatch.testing.cases import KernelCase, kernel_cases
from xpdispatch.testing.checks import check_kernel
from xpdispatch.testing.on_legate import check_on_legate, forced_tiles
from xpdispatch.testing.options import checking
from xpdispatch.testing.partitioning import PartitionReport, check_partitioning
from xpdispatch.testing.portability import PortabilityReport, check_portable
from xpdispatch.testing.strategies import arguments, tilings
from xpdispatch.testing.suggest_notation import Suggestion, suggest

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
