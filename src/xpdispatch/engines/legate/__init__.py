"""The Legate engine. Only :mod:`~xpdispatch.engines.legate.engine` and ``stores`` import Legate itself."""
