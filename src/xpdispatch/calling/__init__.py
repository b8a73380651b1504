"""Kernels and how they are called."""
