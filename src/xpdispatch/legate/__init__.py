"""The engine ``legate``: a plan becomes the launch of one task, and each task runs the executor on its tile.

What enters
    A :class:`~xpdispatch.planning.definition.Call`, to :func:`prepare <xpdispatch.legate.engine.prepare>`, in the
    process that runs the program. In a task: Legate's ``TaskContext``.

What leaves
    A runner, as of every engine. It launches the task and returns cuPyNumeric arrays or Legate stores, which need not
    be computed yet; an exception of a body is raised at a later synchronisation point.

Nothing here decides what a kernel means: extents, dtypes and checks come from ``planning`` and ``running``.

Launching
    ====================  ============================================================================================
    ``engine``            from a call to its runner, and from values to stores and back
    ``launch``            what shapes and dtypes decide of a launch, worked out once; and the launch itself
    ``alignment``         how arrays of different axes are aligned in one common space
    ``stretches``         along what operands with a halo are cut, and where between
    ``stores``            between arrays and Legate stores
    ``rects``             pointers and halos in the form that Legate's ``image`` follows
    ``tasks``             the tasks of kernels, registered with Legate
    ``bodies``            what a body must not read inside a task
    ``cells``             the end of a cell, in IPython and Jupyter
    ``fences``            the thread that may use Legate, waiting, and how far the program may run ahead
    ====================  ============================================================================================

In a task
    ====================  ============================================================================================
    ``leaf``              from a ``TaskContext`` to the executor; second tasks, for partial results and for scans
    ``device``            the stream and the memory of a task on a GPU
    ``failures``          the way of an exception from a task to its caller
    ====================  ============================================================================================

Around both
    ====================  ============================================================================================
    ``startup``           Legate's flags, and the hook that completes them when ``legate`` is imported
    ``companions``        several processes of one program: what they need to start, and each one's share of the machine
    ``collective``        what they tell one another
    ``agreement``         a check that they make the same calls
    ``nvidia_libraries``  a stand-in for NVIDIA's driver where there is none
    ``garbage``           the garbage collector is off while tasks may run
    ``releases``          what differs between releases of Legate
    ====================  ============================================================================================

What may import it
    ``explain``, ``calling``, ``testing``, ``shell``, and ``xpdispatch`` itself, which installs the hook of
    ``startup``. It imports from ``errors``, ``machine``, ``language``, ``arrays``, ``planning``, ``running`` and
    ``proving``. No other package imports ``legate``, ``cupynumeric`` or ``cupy`` by a statement; and ``startup``,
    ``companions``, ``nvidia_libraries``, ``alignment`` and ``stretches``, which others ask where Legate is not
    installed, do without them.
"""
