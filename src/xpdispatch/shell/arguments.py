"""A call in the words of a command line: where its kernel is, and what its arguments are."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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

    Arrays hold numbers of the range that the word gives, both ends included; else normal numbers, integers from 0 to
    8, or bools; keys are int64 and in range. Without a seed they have a shape and a dtype, and the memory of one
    element. All other arguments are Python literals, or else text.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    arrays = {s.name for s in kernel.definition.body.slots if s.scalar is None}
    known = [s.name for s in kernel.definition.body.slots]
    keys = {a.key for t in (*kernel.signature.operands, *kernel.signature.results) for a in t.keys}
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            raise ArgumentError(
                f"{word!r} is not an argument", hint=f"write {' '.join(f'{n}=...' for n in known)}"
            ).complete(kernel.name, kernel.notation)
        found[name] = (
            _array(name, text, rng, "int64" if name in keys else "float64") if name in arrays else _literal(text)
        )
    if rng is not None and keys:
        _put_in_range(kernel, found, {word.split("=")[0] for word in words if word.count(":") > 1})
    return found


def _put_in_range(kernel: Kernel, found: dict[str, Any], ranged: Collection[str]) -> None:
    """Let keys whose range is not given be some that there are."""
    with suppress(XPDispatchError, TypeError):  # a call that does not fit, as is told when it is made
        call = kernel.plain_for((), found).bind((), found)
        plan = call.definition.plan([np.shape(v) for v in call.operands], call.scalars, [None] * len(call.given))
        for p, below in plan.key_limits.items():
            name = plan.operands[p].name
            if name not in ranged:
                found[name] = found[name] % max(1, below)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _array(name: str, text: str, rng: np.random.Generator | None, usual: str) -> np.ndarray[Any, Any]:
    extents, *rest = text.split(":")
    try:
        shape = tuple(int(n) for n in extents.split(",") if n)
        dtype = np.dtype(rest[0] if rest else usual)
        if min(shape, default=0) < 0 or len(rest) > 2 or dtype.kind not in "biufc":
            raise ValueError
    except (ValueError, TypeError):
        raise ArgumentError(
            f"{name}={text} is not an array",
            hint=f"write {name}=1000,3 or {name}=1000,3:float32 or {name}=50:int64:0..8",
        ) from None
    ends = _range(name, rest[1], dtype) if len(rest) > 1 else None
    if rng is None:
        return np.broadcast_to(np.zeros((), dtype), shape)
    if dtype.kind in "iu":
        low, high = map(int, ends or (0, 8))
        return rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5

    def drawn() -> np.ndarray[Any, Any]:
        return rng.normal(size=shape) if ends is None else rng.uniform(*ends, shape)

    values = drawn() + (1j * drawn() if dtype.kind == "c" else 0)
    return np.asarray(values).astype(dtype)


def _range(name: str, text: str, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The ends of a range such as ``-1..8``, which the dtype must be able to hold."""
    number = int if dtype.kind in "iub" else float
    try:
        low, high = (number(n) for n in text.split(".."))
    except ValueError:
        raise ArgumentError(
            f"{name} has the range {text!r}, expected two {'integers' if number is int else 'numbers'}",
            hint=f"write {name}=50:{dtype}:0..8",
        ) from None
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind in "fc" else None
    least, most = (0, 1) if limits is None else (limits.min, limits.max)
    if not least <= low <= high <= most:
        raise ArgumentError(
            f"{name} has the range {text}, expected a lower end, then an upper one, from {least} to {most} for {dtype}",
            hint=f"write {name}=50:{dtype}:{least if low < least else 0}..{most if high > most else 8}"
            if dtype.kind != "b"
            else f"write {name}=50:bool",
        )
    return low, high
