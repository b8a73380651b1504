"""From a signature and the arguments of a call to a plan: every extent settled, before anything runs.

What enters
    A :class:`~xpdispatch.language.signature.Signature`, a function, the options of the decorator, and then the
    arguments of a call. Of arrays only shapes and dtypes are asked for, and none is made but of Python's numbers.

What leaves
    Frozen values, from the kernel to its tiles::

        Definition   what a decorator says of a body; made once for each kernel
        Call         a definition with the arguments of one call
        Plan         the extents of all indices, and for each array how it is cut: a Layout
        Tile         a part of the index space, as the body sees it; the executor knows its Bounds

    Whatever does not fit is an error that names the argument, and is raised here.

    ================  ==================================================================================================
    ``body``          the user's function, and which of its parameters is what
    ``definition``    :class:`~xpdispatch.planning.definition.Definition` and
                      :class:`~xpdispatch.planning.definition.Call`, which engines get
    ``dtype_option``  what ``dtype=`` on the decorator may say
    ``patterns``      from shapes to extents, by the signature; the refusal of shapes that disagree
    ``plan``          :class:`~xpdispatch.planning.plan.Plan`, one call with its shapes settled
    ``keys``          how the axes of an array with keys go with those that the body sees
    ``windows``       the one place for the arithmetic of windows: which elements of an array go with those of an index,
                      with its halo and its blocks
    ``tiles``         parts of the index space, and ``tile``, which tells a body where it stands
    ``arguments``     the checks of a call's arguments, the one library that they are of, numbers as arrays
    ``closures``      what a function reads and binds besides its arguments
    ================  ==================================================================================================

What may import it
    ``running``, ``proving``, ``legate``, ``explain``, ``calling``, ``testing`` and ``shell``. It imports from
    ``errors``, ``machine``, ``language`` and ``arrays``.
"""
