"""A call in the words of a command line: where its kernel is, and what its arguments are."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.calling.kernel import Kernel
from xpdispatch.errors import ArgumentError, MissingError, XPDispatchError


def call_parser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of a command that takes a kernel and the arguments of one call."""
    parser = argparse.ArgumentParser(prog=f"xpdispatch {command}", description=description)
    parser.add_argument("kernel", help="package.module:kernel, or path/to/file.py:kernel")
    parser.add_argument("arguments", nargs="*", metavar="NAME=...", help="extents and dtype of an array, or a value")
    return parser


def load_kernel(target: str) -> Kernel:
    """The kernel at ``package.module:name`` or ``path/to/file.py:name``."""
    place, colon, name = target.rpartition(":")
    if not colon:
        raise ArgumentError(f"{target!r} does not name a kernel", hint="write package.module:kernel or file.py:kernel")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, Kernel):
        known = [n for n, v in vars(module).items() if isinstance(v, Kernel)]
        hint = f"its kernels are {', '.join(known)}" if known else "decorate a function in it with @kernel(...)"
        raise ArgumentError(f"{place!r} has no kernel {name!r}", hint=hint)
    return value


def _load_module(name: str) -> Any:
    sys.path.insert(0, "")  # as python -m does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise MissingError(
                f"there is no module {error.name!r}", hint="run from the folder that holds it"
            ) from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error
    finally:
        sys.path.remove("")


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise MissingError(f"there is no file {str(path)!r}", hint="give its path from this folder")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: S101  a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(path), error) from error
    return module


def _broken(name: str, error: Exception) -> MissingError:
    """The error for a module that raises while it is imported."""
    text = str(error).splitlines()[0] if str(error) else ""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if f.name == "<module>"), frames[-1])
    command = f"python {name}" if name.endswith(".py") else f"python -m {name}"
    return MissingError(
        f"{name!r} cannot be imported: {type(error).__name__}: {text} ({place.filename}:{place.lineno})",
        hint=f"run {command}, which shows the whole traceback",
    )


def make_arguments(kernel: Kernel, words: Sequence[str], seed: int | None) -> dict[str, Any]:
    """The arguments that words such as ``x=1000,3:float32``, ``data=50:int64:0..8`` and ``bins=9`` ask for.

    Arrays hold numbers of the range that the word gives, both ends included, or that number; else normal numbers,
    integers from 0 to 8, or bools; keys are int64 and in range. With ``:sorted`` they rise along the last axis, and
    ``x=@data.npy`` is what a file holds. Without a seed arrays have a shape and a dtype, and the memory of one element.
    All other arguments are Python literals, or else text.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    arrays = {s.name for s in kernel.definition.body.slots if s.scalar is None}
    known = [s.name for s in kernel.definition.body.slots]
    keys = kernel.signature.keys
    found: dict[str, Any] = {}
    wanted: dict[str, _Wanted] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            raise ArgumentError(
                f"{word!r} is not an argument", hint=f"write {' '.join(f'{n}=...' for n in known)}"
            ).complete(kernel.name, kernel.notation)
        if name not in arrays:
            found[name] = _literal(text)
        elif text.startswith("@"):
            found[name] = _from_file(name, text[1:])
        else:
            wanted[name] = asked = _read(name, text, "int64" if name in keys else "float64")
            found[name] = np.broadcast_to(np.zeros((), asked.dtype), asked.shape) if rng is None else _drawn(asked, rng)
    if rng is not None:
        _put_in_range(kernel, found, [name for name in wanted if name in keys and wanted[name].ends is None])
        found |= {name: np.sort(found[name]) for name, asked in wanted.items() if asked.rises and asked.shape}
    return found


def _put_in_range(kernel: Kernel, found: dict[str, Any], free: Collection[str]) -> None:
    """Let keys whose range is not given be some that there are."""
    with suppress(XPDispatchError, TypeError):  # a call that does not fit, as is told when it is made
        call = kernel.plain_for((), found).bind((), found)
        plan = call.definition.plan([np.shape(v) for v in call.operands], call.scalars, [None] * len(call.given))
        for p, below in plan.key_limits.items():
            name = plan.operands[p].name
            if name in free:
                found[name] = found[name] % max(1, below)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


class _Wanted(NamedTuple):
    """An array in words: its shape and dtype, the ends of its numbers, if they are given, and whether they rise."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ends: tuple[Any, Any] | None
    rises: bool


def _read(name: str, text: str, usual: str) -> _Wanted:
    extents, *said = text.split(":")
    rest = [part for part in said if part != "sorted"]
    try:
        shape = tuple(int(n) for n in extents.split(",") if n)
        dtype = np.dtype(rest[0] if rest else usual)
        if min(shape, default=0) < 0 or len(rest) > 2 or dtype.kind not in "biufc":
            raise ValueError
    except (ValueError, TypeError):
        raise ArgumentError(
            f"{name}={text} is not an array",
            hint=f"write {name}=1000,3 or {name}=1000,3:float32 or {name}=50:int64:0..8 or {name}=50:int64:sorted or "
            f"{name}=@file.npy",
        ) from None
    return _Wanted(shape, dtype, _range(name, rest[1], dtype) if len(rest) > 1 else None, "sorted" in said)


def _from_file(name: str, path: str) -> np.ndarray[Any, Any]:
    """What a file of NumPy's holds, of which nothing is read yet."""
    why = "it holds none that can be read without pickle"
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        found, why = None, getattr(error, "strerror", None) or why
    if not isinstance(found, np.ndarray):
        raise ArgumentError(
            f"{name}=@{path} is not the file of one array: {why}", hint=f"write it by numpy.save({path!r}, ...)"
        )
    return found.view(np.ndarray)


def _drawn(wanted: _Wanted, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    shape, dtype, ends, _ = wanted
    if dtype.kind in "biu":
        low, high = ends or (0, 1 if dtype.kind == "b" else 8)
        kind = np.dtype(np.int8) if dtype.kind == "b" else dtype.newbyteorder("=")
        return np.asarray(rng.integers(low, high, shape, kind, endpoint=True)).astype(dtype)

    def drawn() -> Any:
        if ends is None:
            return rng.normal(size=shape)
        (low, high), part = ends, rng.random(shape)
        return (1 - part) * low + part * high  # the difference of the ends may be larger than any number

    values = drawn() + (1j * drawn() if dtype.kind == "c" else 0)
    return np.asarray(values).astype(dtype)


def _range(name: str, text: str, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The ends of a range such as ``-1..8``, or of a number alone, which the dtype must be able to hold."""
    number = int if dtype.kind in "iub" else float
    try:
        low, high = (number(n) for n in (text.split("..") if ".." in text else (text, text)))
    except ValueError:
        raise ArgumentError(
            f"{name} has the range {text!r}, expected two {'integers' if number is int else 'numbers'}",
            hint=f"write {name}=50:{dtype}:0..8",
        ) from None
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind in "fc" else None
    least, most = (0, 1) if limits is None else (number(limits.min), number(limits.max))
    if not (least <= low <= high <= most and math.isfinite(low) and math.isfinite(high)):
        raise ArgumentError(
            f"{name} has the range {text}, expected a lower end, then an upper one, from {least} to {most} for {dtype}",
            hint=f"write {name}=50:{dtype}:{least if low < least else 0}..{most if high > most else 8}"
            if dtype.kind != "b"
            else f"write {name}=50:bool, or {name}=50:bool:1 for True alone",
        )
    return low, high
