"""Which packages are installed, and the command that installs each of the others."""

from __future__ import annotations

_COMMANDS = {
    "array_api_strict": "pip install 'xpdispatch[testing]'",
    "cupy": "pip install 'xpdispatch[cuda]' (CUDA 13; for CUDA 12: pip install cupy-cuda12x)",
    "cupynumeric": "pip install nvidia-cupynumeric",
    "dask": "pip install 'dask[array]'",
    "hypothesis": "pip install 'xpdispatch[testing]'",
    "legate": "pip install 'xpdispatch[legate]'",
    "llvmlite": "pip install 'xpdispatch[fast]'",
    "matplotlib": "pip install 'xpdispatch[plot]'",
    "scipy": "pip install 'xpdispatch[fast]'",
}


def install_command(package: str) -> str:
    """The command that installs a package, given the name that it is imported by."""
    return _COMMANDS.get(package, f"pip install {package}")


def release_of(distribution: str) -> tuple[int, ...]:
    """The first two numbers of its version; empty where it is not installed."""
    found = version_of(distribution)
    return tuple(map(int, found.split(".")[:2])) if found else ()


def version_of(distribution: str) -> str:
    """The version of an installed distribution; empty where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # not before it is asked for: it takes 10 ms

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
