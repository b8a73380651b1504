"""Random programs: kernels with their calls, run on every engine and compared with plain NumPy. See ``__main__``."""
