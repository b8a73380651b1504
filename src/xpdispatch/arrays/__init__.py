"""Array libraries: which one an array belongs to, the namespace that a body gets as ``xp``, dtypes, and operators.

What enters
    Arrays, dtypes and scalars of a user's call, the name of one of Legate's variants, and the operator of a result.
    None of the libraries is imported to ask whether an array is one of its own.

What leaves
    A namespace, the name of a library, a dtype in NumPy's terms or in a library's own, or an error that says what
    does not fit.

    ==============  ==================================================================================================
    ``namespaces``  from an array to its library and its namespace, from a variant to its namespace, which a user can
                    register; whether two arrays share memory
    ``cpu``         the namespace of bodies on CPUs: with scipy's Fourier transforms where scipy is installed, and
                    without the copies that NumPy makes of read-only arrays
    ``dtypes``      dtypes across libraries, casts, and what ``dtype=`` on the decorator may say
    ``reductions``  the operators that combine partial results: their dtypes and identities, and the integers that sort
                    as floats do
    ``scalars``     copies of scalars, and what of them decides the dtype of a result
    ``randoms``     random numbers that a seed and an element's coordinates give
    ==============  ==================================================================================================

What may import it
    Every package but ``errors``, ``machine`` and ``language``. It imports from these alone.
"""
