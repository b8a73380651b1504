"""The Legate engine."""
