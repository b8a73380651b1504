"""Checks for kernels, with NumPy alone: independence of tilings, and portability across array libraries."""

from xpdispatch.testing.cases import KernelCase, yield_kernel_cases
from xpdispatch.testing.checks import check_kernel
from xpdispatch.testing.on_legate import check_on_legate
from xpdispatch.testing.options import checking
from xpdispatch.testing.partitioning import Checked, check_partitioning
from xpdispatch.testing.portability import Portability, check_portable
from xpdispatch.testing.report import draw
from xpdispatch.testing.strategies import arguments
from xpdispatch.testing.suggestions import Suggestion, suggest
from xpdispatch.testing.tilings import Tiling, tilings

__all__ = [
    "Checked",
    "KernelCase",
    "Portability",
    "Suggestion",
    "Tiling",
    "arguments",
    "check_kernel",
    "check_on_legate",
    "check_partitioning",
    "check_portable",
    "checking",
    "draw",
    "suggest",
    "tilings",
    "yield_kernel_cases",
]
