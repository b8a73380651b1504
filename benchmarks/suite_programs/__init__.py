"""Programs on problems of linear algebra, grids, networks, signals, data, points and recurrences, for ``suite.py``.

Each module holds programs of one kind and the kernels that they call; ``loops`` has the plain loops for
numba, ``compiled`` the kernels' bodies as numba compiles them, and ``program`` says what a program is.
"""

from suite_programs import algebra, networks, points, recurrences, signals, stencils, tables  # noqa: F401
from suite_programs.program import PROGRAMS, SIZES, Program

__all__ = ["PROGRAMS", "SIZES", "Program"]
