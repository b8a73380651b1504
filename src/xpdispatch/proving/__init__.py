"""Shows that an answer does not depend on how arrays are cut, or what is to blame: for the guard and for the checks.

What enters
    A :class:`~xpdispatch.planning.definition.Call` on NumPy arrays, or the plan and the dtypes of one.

What leaves
    Nothing where all is well; else a :class:`~xpdispatch.PartitionError` with the tiling that changes the answer, and
    the change of the notation that makes the kernel right. Everything here runs on NumPy alone.

    ====================  ============================================================================================
    ``tilings``           where to cut each index: the awkward ways that Legate really cuts
    ``comparison``        whether two answers differ by more than rounding
    ``trial``             one call, ready to run under any tiling, while the body is watched
    ``search``            find a tiling that changes the answer, and make it small
    ``notation_changes``  other notations near a kernel's own: those that may mend it, and those that split more
    ``report``            the texts of :class:`~xpdispatch.PartitionError`
    ``diagnosis``         from a failure to the error: what is to blame, and what would mend it
    ``guard``             a kernel on a few elements, before its first call that is cut
    ====================  ============================================================================================

    Each imports from those above it alone.

What may import it
    ``legate``, ``explain``, ``calling``, ``testing`` and ``shell``. It imports from ``errors``, ``machine``,
    ``language``, ``arrays``, ``planning`` and ``running``.
"""
