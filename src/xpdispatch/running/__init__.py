"""Runs bodies: the executor that calls in this process, Legate's tasks and the checks share.

What enters
    A :class:`~xpdispatch.planning.definition.Call`, of which ``calls`` makes a site. To a strategy: the arguments of a
    body, the arrays to be written, and how the call is cut.

What leaves
    The results, which share memory with nothing that a caller or the body can reach again.

A strategy is a way to run a body on given arrays, and each is one class with the method ``run``. ``Whole`` runs it
once, ``ByTile`` on one tile after another or on several threads, ``Traced`` calls in its place the functions that it
was seen to call. ``Generated`` is ``Traced`` on CuPy arrays.

Running a call, in order
    =============  ===================================================================================================
    ``calls``      from a call to its site, and the arrays into which its results go
    ``site``       what stays the same for all tiles of a run: plan, body, namespace, library, dtypes
    ``cutting``    which strategy runs a call, on which tiles
    ``executor``   the strategies ``Whole`` and ``ByTile``
    ``traced``     the strategy ``Traced``
    ``generated``  the strategy ``Generated``: a trace as one CUDA kernel
    =============  ===================================================================================================

What they ask
    =============  ===================================================================================================
    ``dry_run``    the body on stand-ins for its arrays: which dtypes come out
    ``counting``   a dry run that tells what the body makes on the way
    ``learned``    what these told, for calls that differ in extents alone, and whether it still holds
    ``costs``      where cuts pay: bytes through memory, and the sizes of tiles
    ``tracing``    the body on tracers: which functions it calls, one after the other
    ``cuda``       NumPy's functions of single elements in CUDA's C++
    =============  ===================================================================================================

What runs a trace
    ================  ================================================================================================
    ``code``          NumPy's functions one after the other, with loops in their place once that pays
    ``fused``         which of them become one loop
    ``instructions``  what they do in LLVM's instructions
    ``bits``          numbers on which a difference shows, and the comparison of all bits
    ================  ================================================================================================

Into a body, and out of it
    =============  ===================================================================================================
    ``parts``      an array's part of a tile with its halo; room for what the body writes
    ``images``     the part of an operand that another operand points to
    ``keys``       the elements of an operand that keys name, and what a body returns, in the cells that they name
    ``results``    checks of what a body returned, and its way to where it belongs
    ``ownership``  whether what a body returned may be handed on without a copy
    ``gathered``   parts of ``?`` results, folds and scans, which are put together in the order of the tiles
    =============  ===================================================================================================

What may import it
    ``proving``, ``legate``, ``explain``, ``calling``, ``testing`` and ``shell``. It imports from ``errors``,
    ``machine``, ``language``, ``arrays`` and ``planning``.
"""
