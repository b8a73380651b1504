"""What a call finds on its computer: processors, caches, memory, threads, installed packages, and the way to end.

What enters
    The environment (``XPDISPATCH_CACHE``, ``XPDISPATCH_NUM_THREADS``, and what ``settings`` names), the system's own
    files under ``/proc`` and ``/sys``, and plain callables and sizes. Nothing here knows of kernels, notations, plans
    or arrays of any library but NumPy.

What leaves
    ===============  =================================================================================================
    ``hardware``     how much a call may use: bytes of a tile, threads, free memory
    ``settings``     ``settings``: what holds for all kernels, in place of what each says
    ``thread_pool``  ``threads(n)``, and ``run_in_order``, which runs the steps of one call on several threads
    ``blas``         one thread in BLAS for each of those
    ``collector``    the garbage collector, held off while threads run beside Legate
    ``memory``       where large results get their memory, and huge pages for Legate's
    ``caches``       ``BoundedCache``, the one kind of cache: a dict with a bound
    ``llvm``         loops over elements, compiled by LLVM for this processor, as functions of NumPy's
    ``packages``     versions of what is installed, and the command that installs the rest
    ``clock``        time that a piece of work may take
    ``progress``     a bar on the terminal for work that takes long
    ``exits``        status 1 for a program that ends with a failure that nobody saw
    ===============  =================================================================================================

What may import it
    Every other package. It imports ``xpdispatch.errors`` alone.

What lives as long as the process, and so is renewed in a forked child: the blocks of ``memory`` that wait for a new
result (at most 256 MiB), the count of those who hold the ``collector``, the limits of ``blas``, and in ``thread_pool``
the threads that wait for work, which end before a fork, and the calls that were interrupted twice.
"""
