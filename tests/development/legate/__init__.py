"""Stands in for Legate's development branch, on NumPy: see ``legate.core``."""
