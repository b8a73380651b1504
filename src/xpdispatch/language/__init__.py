"""How a kernel's arrays relate to each other, as text, as roles with constraints, and as one value.

What enters
-----------
Index notation
    One line of text, ``"A[m,k], B[k,n] -> sum C[m,n]"``, perhaps with the constraints that it cannot express
    (``image``, ``min_extents``): :meth:`Signature.parse <xpdispatch.language.signature.Signature.parse>`.
The explicit spelling
    The roles that annotations give the parameters (``In``, ``Out``, ``InOut``, ``Reduce["sum"]``), and Legate's
    constraints (``align``, ``broadcast``, ``scale``, ``bloat``, ``image``, ``min_extents``):
    :func:`~xpdispatch.language.explicit.signature_of`.
Options of a kernel that belong to them
    ``boundary=``, what lies outside an array under a halo, and ``options=``, Legate's options of a task.

What leaves
-----------
One frozen :class:`~xpdispatch.language.signature.Signature`, the same for both spellings::

    Signature             A[m,k], B[k,n] -> sum C[m,n]
    ├── operands          a Term for each array that is read, and for each index space
    │   └── axes          an Axis: split (i), whole (:n), ellipsis (...) or unknown (?), with its halo, block and Extent
    ├── results           a Term for each array that comes out, with the operator that combines partial results
    └── constraints       a Constraint for each thing that index notation cannot express

It prints as the line that says it, and parsing that line gives an equal signature. Each part knows its column in the
printed line, so that whoever finds a fault, here or at a call, can point to it with a caret: ``column=axis.column``.
A signature that is made of another with :func:`dataclasses.replace` prints what it then says.

Nothing here knows arrays, shapes or engines. A line that contradicts itself never becomes a signature: it is a
NotationError, raised when the kernel is made.

The modules, each imports from those before it
----------------------------------------------
``terms``
    The values Extent, Axis and Term.
``notation``
    The grammar: a line to terms, and the refusal of what contradicts itself.
``constraints``
    Constraint, and the functions that make one.
``signature``
    Signature: printing, columns, parsing, and whether constraints fit the terms. Role.
``explicit``
    The annotations, and from roles and constraints to a signature.
``boundaries``
    ``boundary=``: one mode or constant for each operand with a halo.
``task_options``
    ``options=``.
``words``
    A signature in English sentences, for ``help(kernel)``.

This package imports from ``errors`` alone. Every package after it may import from it.
"""
