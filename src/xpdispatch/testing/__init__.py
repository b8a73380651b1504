"""Checks for kernels, with NumPy alone: independence of tilings, and portability across array libraries."""

from xpdispatch.testing.options import checking
from xpdispatch.testing.partitioning import Checked, check_partitioning
from xpdispatch.testing.report import draw
from xpdispatch.testing.strategies import arguments
from xpdispatch.testing.suggestions import Suggestion, suggest
from xpdispatch.testing.tilings import Tiling, tilings

__all__ = [
    "Checked",
    "Suggestion",
    "Tiling",
    "arguments",
    "check_partitioning",
    "checking",
    "draw",
    "suggest",
    "tilings",
]
