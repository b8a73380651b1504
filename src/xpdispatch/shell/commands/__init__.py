"""The subcommands of ``xpdispatch``: each a module with ``main(words)``, and a row in the table of ``cli.py``."""
