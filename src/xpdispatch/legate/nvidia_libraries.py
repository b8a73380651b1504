"""The libraries of NVIDIA's that Legate links, on machines that lack them.

Legate's wheels link ``libcuda.so.1``, which comes with the driver. Where there is none, a small library that
answers every call with "no device" takes its place: Legate then runs on CPUs. It is compiled once, kept in a
directory that only the user can write, and loaded (``startup.py``) when ``legate`` is about to be imported, never
before and never where a driver exists.

Some wheels link the CUDA runtime too, and do not ask for the wheel that has it: it is loaded from there.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from xpdispatch.errors import MissingError

_NAME = "libcuda.so.1"
_CUDA_RUNTIMES = {
    "libcudart.so.12": ("nvidia-cuda-runtime-cu12", "cuda_runtime/lib"),
    "libcudart.so.13": ("nvidia-cuda-runtime==13.*", "cu13/lib"),
}
"""By the name that the linker looks for: what to install, and the folder of its package that has the library."""

_SOURCE = r"""
/* Stands in for the CUDA driver where there is none. Realm resolves its functions by cuGetProcAddress and
   asserts that each is there, then calls cuInit and believes that no GPU is present. */
#include <string.h>
typedef unsigned long long u64;
enum { NO_DEVICE = 100 };
static int absent(void) { return NO_DEVICE; }
int cuInit(unsigned flags) { (void)flags; return NO_DEVICE; }
int cuGetErrorName(int code, const char **text) { (void)code; *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuGetErrorString(int code, const char **text) { (void)code; *text = "no NVIDIA driver"; return 0; }
int cuMemFreeHost(void *p) { (void)p; return NO_DEVICE; }
int cuMemFree_v2(u64 p) { (void)p; return NO_DEVICE; }
static void *find(const char *name) {
  if (!strcmp(name, "cuGetErrorName")) return (void *)cuGetErrorName;
  if (!strcmp(name, "cuGetErrorString")) return (void *)cuGetErrorString;
  return (void *)absent;
}
int cuGetProcAddress(const char *name, void **p, int version, u64 flags) {
  (void)version; (void)flags; *p = find(name); return 0;
}
int cuGetProcAddress_v2(const char *name, void **p, int version, u64 flags, int *status) {
  (void)version; (void)flags; if (status) *status = 0; *p = find(name); return 0;
}
"""
_stands_in = False


def has_driver() -> bool:
    """Whether the dynamic linker finds a CUDA driver library that is not the stand-in."""
    if _stands_in:
        return False
    try:
        ctypes.CDLL(_NAME)
    except OSError:
        return False
    return True


def shim() -> Path:
    """The stand-in library, compiled when it is not there yet.

    Returns
    -------
    pathlib.Path
        ``<cache>/xpdispatch/<hash of the source>/<hash of the library>/libcuda.so.1``; the cache is
        ``XDG_CACHE_HOME``, or ``~/.cache``, or where neither can be written, a private directory for this process.

    Raises
    ------
    MissingError
        There is no C compiler.
    """
    directory = _private_directory(_digest((_SOURCE + os.uname().machine).encode()))
    found = (path for path in sorted(directory.glob(f"*/{_NAME}")) if _is_ours(path))
    return next(found, None) or _compile(directory)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _private_directory(tag: str) -> Path:
    """A directory that nobody but this user can write to."""
    with suppress(OSError, RuntimeError):  # a home that is missing or read-only, as in containers
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        own = home / "xpdispatch", home / "xpdispatch" / tag
        for directory in own:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                break
            directory.chmod(0o700)
        else:
            if os.access(own[-1], os.W_OK):
                return own[-1]
    made = Path(tempfile.mkdtemp(prefix="xpdispatch-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _is_ours(library: Path) -> bool:
    """Whether a plain file holds what was compiled, and nobody else can have written it.

    It is looked at through what was opened, so that nothing can take its place in between.
    """
    try:
        opened = os.open(library, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        safe = stat.S_ISREG(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return safe and found.st_uid == os.getuid() and library.parent.name == _digest(file.read())


def compiler() -> str:
    """The C compiler that makes the stand-in: ``CC``, or the first that there is; empty where there is none."""
    return os.environ.get("CC") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "")


def _compile(directory: Path) -> Path:
    command = compiler()
    if not command:
        raise MissingError(
            "Legate needs libcuda.so.1, this machine has no NVIDIA driver, "
            "and no C compiler was found to make the stand-in",
            hint="install a C compiler (apt-get install gcc, dnf install gcc, or conda install gcc), "
            "or the NVIDIA driver where there is a GPU",
        )
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        source, built = Path(scratch, "shim.c"), Path(scratch, _NAME)
        source.write_text(_SOURCE)
        line = [*shlex.split(command), "-shared", "-fPIC", "-Os", f"-Wl,-soname,{_NAME}", "-o", str(built), str(source)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingError(
                f"Legate needs libcuda.so.1, this machine has no NVIDIA driver, and making the stand-in failed: "
                f"{done.stderr.strip() or done.returncode}",
                hint="install a working C compiler (apt-get install gcc libc6-dev)",
            )
        built.chmod(0o500)
        library = directory / _digest(built.read_bytes()) / _NAME
        library.parent.mkdir(mode=0o700, exist_ok=True)
        built.replace(library)  # in one step: another process may be making the same file
    return library


def cuda_runtime(package: Path) -> Path | None:
    """The CUDA runtime that Legate in this folder links and the linker does not find.

    Legate 26.1 links that of CUDA 12 and Legate 26.6 that of CUDA 13, by way of a plug-in for HDF5.

    Returns
    -------
    pathlib.Path or None
        The library in NVIDIA's own wheel; None where nothing is missing.

    Raises
    ------
    MissingError
        That wheel is not installed.
    """
    plugin = package / "lib64" / "legate" / "deps" / "libhdf5_vfd_gds.so.1"
    if not plugin.exists():
        return None  # another build, or a release that does without
    try:
        ctypes.CDLL(str(plugin))
    except OSError as error:
        missing = next((name for name in _CUDA_RUNTIMES if name in str(error)), None)
        if missing is None:
            return None  # Legate's own import says what it is
        wheel, folder = _CUDA_RUNTIMES[missing]
        spec = find_spec("nvidia")
        roots = (spec.submodule_search_locations if spec else None) or ()
        found = next((p for p in (Path(root, folder, missing) for root in roots) if p.exists()), None)
        if found is None:
            raise MissingError(
                f"this release of Legate needs {missing}, and there is none on this machine",
                hint=f"pip install '{wheel}'",
            ) from error
        return found
    return None


def load_stand_in() -> None:
    """Load the stand-in, so that Legate's own libraries find it."""
    global _stands_in  # noqa: PLW0603  a library is loaded once in a process
    ctypes.CDLL(str(shim()), mode=ctypes.RTLD_GLOBAL)
    _stands_in = True
