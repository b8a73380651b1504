"""The command line: ``xpdispatch doctor``, ``run``, ``explain`` and ``check``; ``python -m xpdispatch`` is the same.

What enters
    The words of a command line.

What leaves
    Text on standard output, errors of ours on standard error without a traceback, and an exit status. ``run``
    becomes another program, or runs the script in this process.

    =============  ===================================================================================================
    ``cli``        ``main``, where both ways in begin: it imports the subcommand's module and calls its ``main(words)``
    ``doctor``     what works on this machine, and what fixes the rest; each library is tried by ``probes``
    ``probes``     a program of its own that tries one library
    ``run``        a script under Legate's launcher, or with NumPy alone
    ``explain``    how a kernel's arrays would be cut, from their shapes
    ``check``      a kernel's answer does not depend on how its arrays are cut
    ``arguments``  the kernel that ``explain`` and ``check`` are given, and the arguments of a call of it
    =============  ===================================================================================================

What may import it
    Nothing but ``xpdispatch.__main__``. It imports from every other package, and a subcommand does no more than read
    its words, make one call of the library and print.
"""
