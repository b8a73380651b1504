"""What NumPy's functions of single elements are in CUDA's C++: dtypes, integers that wrap and NaN are NumPy's.

What is not here with exactly that meaning is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpdispatch.running.tracing import Step

CTYPES = {
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}
"""C's names of the dtypes that are computed in; these are the names that CuPy gives them too."""

# In what follows a and b are the arguments, t is the type that they are computed in, f the
# ending of C's functions for that type, and u an unsigned type in which that arithmetic wraps: as signed integers
# must not overflow in C, and short ones would be computed as int.
_ANY = {
    "equal": "{a} == {b}",
    "not_equal": "{a} != {b}",
    "less": "{a} < {b}",
    "less_equal": "{a} <= {b}",
    "greater": "{a} > {b}",
    "greater_equal": "{a} >= {b}",
    "logical_and": "{a} && {b}",
    "logical_or": "{a} || {b}",
    "logical_xor": "!{a} != !{b}",
    "logical_not": "!{a}",
}
_WHOLE = {
    "maximum": "{a} >= {b} ? {a} : {b}",
    "minimum": "{a} <= {b} ? {a} : {b}",
    "fmax": "{a} >= {b} ? {a} : {b}",
    "fmin": "{a} <= {b} ? {a} : {b}",
    "floor": "{a}",
    "ceil": "{a}",
    "trunc": "{a}",
    "isnan": "false",
    "isinf": "false",
    "isfinite": "true",
}
_BOOLS = {
    "add": "{a} || {b}",
    "multiply": "{a} && {b}",
    "absolute": "{a}",
    "bitwise_and": "{a} && {b}",
    "bitwise_or": "{a} || {b}",
    "bitwise_xor": "{a} != {b}",
    "invert": "!{a}",
}
_INTEGERS = {
    "add": "({u}){a} + ({u}){b}",
    "subtract": "({u}){a} - ({u}){b}",
    "multiply": "({u}){a} * ({u}){b}",
    "floor_divide": "xpd_floor_divide({a}, {b})",
    "remainder": "xpd_remainder({a}, {b})",
    "positive": "{a}",
    "negative": "({u})0 - ({u}){a}",
    "absolute": "{a} < 0 ? ({t})(({u})0 - ({u}){a}) : {a}",
    "square": "({u}){a} * ({u}){a}",
    "sign": "({a} > 0) - ({a} < 0)",
    "bitwise_and": "{a} & {b}",
    "bitwise_or": "{a} | {b}",
    "bitwise_xor": "{a} ^ {b}",
    "invert": "~{a}",
    # A negative shift is a huge one.
    "left_shift": "(unsigned long long){b} < 8 * sizeof({t}) ? ({t})(({u}){a} << {b}) : ({t})0",
    "right_shift": "(unsigned long long){b} < 8 * sizeof({t}) ? ({t})({a} >> {b}) : ({t})({a} < 0 ? -1 : 0)",
}
_FLOATS = {
    "add": "{a} + {b}",
    "subtract": "{a} - {b}",
    "multiply": "{a} * {b}",
    "divide": "{a} / {b}",
    "floor_divide": "xpd_float_floor_divide({a}, {b})",
    "remainder": "xpd_float_remainder({a}, {b})",
    "positive": "{a}",
    "negative": "-{a}",
    "absolute": "fabs{f}({a})",
    "square": "{a} * {a}",
    "reciprocal": "({t})1 / {a}",
    "sign": "{a} > 0 ? ({t})1 : {a} < 0 ? ({t})-1 : {a} == 0 ? ({t})0 : {a}",
    "heaviside": "{a} != {a} ? {a} : {a} == 0 ? {b} : {a} < 0 ? ({t})0 : ({t})1",
    "maximum": "{a} >= {b} || {a} != {a} ? {a} : {b}",
    "minimum": "{a} <= {b} || {a} != {a} ? {a} : {b}",
    "fmax": "{a} >= {b} || {b} != {b} ? {a} : {b}",
    "fmin": "{a} <= {b} || {b} != {b} ? {a} : {b}",
    "isnan": "{a} != {a}",
    "isinf": "{a} == {a} && {a} - {a} != 0",
    "isfinite": "{a} - {a} == 0",
    "signbit": "copysign{f}(({t})1, {a}) < 0",
    "copysign": "copysign{f}({a}, {b})",
    "hypot": "hypot{f}({a}, {b})",
    "arctan2": "atan2{f}({a}, {b})",
    "power": "pow{f}({a}, {b})",
}
_OF_C = {
    **{n: n for n in ("fabs", "sqrt", "floor", "ceil", "trunc", "rint", "exp", "exp2", "expm1")},
    **{n: n for n in ("log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"arc{n}": f"a{n}" for n in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
"""NumPy's names and C's of functions of one number."""

TABLE: dict[str, dict[str, str]] = {
    "b": {**_ANY, **_WHOLE, **_BOOLS},
    "i": {**_ANY, **_WHOLE, **_INTEGERS},
    "u": {**_ANY, **_WHOLE, **_INTEGERS},
    "f": {**_ANY, **_FLOATS, **{name: f"{own}{{f}}({{a}})" for name, own in _OF_C.items()}},
}
"""By the kind of the dtype that is computed in, and by NumPy's name, what a function is in C."""

PREAMBLE = """
template <typename T> __device__ inline T xpd_floor_divide(T a, T b) {
  if (b == 0) return 0;
  if (b < 0 && b == (T)-1) return (T)(0 - (unsigned long long)a);  // the lowest number has no opposite
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
template <typename T> __device__ inline T xpd_remainder(T a, T b) {
  if (b == 0 || (b < 0 && b == (T)-1)) return 0;
  T rest = a % b;
  return rest != 0 && (a < 0) != (b < 0) ? rest + b : rest;
}
// The quotient is the rounded one of a less its remainder, which is almost whole.
template <typename T> __device__ inline T xpd_float_remainder(T a, T b) {
  T rest = fmod(a, b);
  if (b == 0 || rest != rest) return rest;
  if (rest == 0) return copysign((T)0, b);
  return (b < 0) != (rest < 0) ? rest + b : rest;
}
template <typename T> __device__ inline T xpd_float_floor_divide(T a, T b) {
  if (b == 0) return a / b;
  T rest = fmod(a, b);
  T ratio = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) ratio -= 1;
  if (ratio == 0) return copysign((T)0, a / b);
  T below = floor(ratio);
  return ratio - below > (T)0.5 ? below + 1 : below;
}
"""
"""Python's division, as NumPy has it."""


class NoSource(Exception):  # noqa: N818  it is not an error: the body runs as it is
    """A program does something that has no exact counterpart in the table."""


def ctype(dtype: np.dtype[Any]) -> str:
    """C's name of a dtype."""
    found = CTYPES.get(dtype.name)
    if found is None:
        raise NoSource(f"there is {dtype}")
    return found


def check_cast(own: np.dtype[Any], wanted: np.dtype[Any]) -> None:
    """Refuse a cast that C does otherwise than NumPy."""
    ctype(wanted)
    if own.kind == "c" or (own.kind == "f" and wanted.kind in "iu"):
        raise NoSource(f"{own} is cast to {wanted}")  # where it does not fit, each machine has its own answer


def expression(step: Step, arguments: Sequence[str]) -> str:
    """What a step is in C."""
    dtype, ufunc = step.loop[0], step.ufunc
    if ufunc is None:
        return arguments[0] if step.kind == "cast" else "{} ? {} : {}".format(*arguments)
    name = ufunc.__name__
    template = TABLE[dtype.kind].get(name)
    if template is None or getattr(np, name, None) is not ufunc or any(d != dtype for d in step.loop):
        raise NoSource(f"{name} of {', '.join(d.name for d in step.loop)} is not in the table")
    return template.format(
        a=arguments[0],
        b=arguments[-1],
        t=ctype(dtype),
        f="f" if dtype.name == "float32" else "",
        u="unsigned long long" if dtype.itemsize == 8 else "unsigned int",
    )
