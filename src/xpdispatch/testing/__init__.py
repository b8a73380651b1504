"""Checks for kernels, with NumPy alone: independence of tilings, and portability across array libraries."""
