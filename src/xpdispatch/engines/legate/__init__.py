"""The Legate engine. ``engine``, ``launch`` and ``stores`` import Legate itself; the others do not."""
