"""Kernels: what ``@kernel`` makes of a function, and how a call of it finds its engine and its runner.

What enters
    A function with a notation or with roles, and then ``args``, ``kwargs`` and ``out=``.

What leaves
    A :class:`~xpdispatch.calling.kernel.Kernel`, and the results of its calls. A call has three steps: `bind` puts the
    arguments in the order of the body's parameters; the engine's ``prepare(call)`` settles what types and dtypes
    decide, and gives what makes a runner for shapes, both of which the kernel keeps; ``runner(values)`` runs it.

    =============  ===================================================================================================
    ``kernel``     :class:`~xpdispatch.calling.kernel.Kernel`
    ``decorator``  ``@kernel``, its options, and types for type checkers
    ``binding``    from the arguments of a call to one value for each parameter, and what of a value decides its runner
    ``variadic``   kernels whose operands may be left out, or be any number
    ``local``      the engine ``local``: from a call in this process to its runner
    ``blocks``     the engine ``dask``: a graph in which each block of dask arrays is a tile
    ``cells``      the tasks of that graph: the body on each tile, and its results put together
    ``labels``     DataArrays of xarray: a call on the arrays in them, with dimensions that go with the notation's names
    ``engines``    the table of engines, which of them runs a call, and ``with engine("legate")``
    ``runtime``    ``synchronize``, ``timed`` and ``array_module``
    =============  ===================================================================================================

What may import it
    ``xpdispatch`` itself, ``testing`` and ``shell``. It imports from every package but these. ``legate``,
    ``explain`` and ``blocks`` are imported when a call first asks for them; xarray and dask never are before.
"""
