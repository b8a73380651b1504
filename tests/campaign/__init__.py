"""Random programs: kernels with their calls, run on every engine and compared with plain NumPy.

`programs` says what a program is made of, `drawing` draws one from an integer, `growing` adds scans, keys and more
windows, `source` writes it down, `expected` asks the oracle, `calls` calls it on each engine and, where they are
installed, on torch and JAX, `outcomes` judges, `shrinking` makes a failing one small. `stress` is another campaign, of
launches on Legate that depend on each other. ``python -m campaign`` runs both.
"""
