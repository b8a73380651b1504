"""Bodies that do arithmetic on single cells, run on CuPy arrays as one CUDA kernel each.

What the body does is written down for each call (:mod:`xpdispatch.tracing`), and from that comes the text of a
:class:`cupy.ElementwiseKernel`. It reads each operand once and writes each result once, where the body would launch a
kernel and make an array for every operation. Broadcasting, strides and the stream are CuPy's business.

Numbers are computed as NumPy has them: in the same dtypes and in the same order, integers that wrap, NaN where NumPy
gives NaN. What is not in the table below with exactly that meaning ends the attempt, and the body runs as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch import namespaces
from xpdispatch.caches import BoundedCache
from xpdispatch.fusing import write_down
from xpdispatch.namespaces import load
from xpdispatch.site import Fusing, Site
from xpdispatch.tracing import Constant, Input, Program, Step

SMALLEST = 1 << 24
"""Bytes of a tile's arrays from which on it is worth while.

To write a step down takes the host some 6 us, about as long as to launch a kernel for it, and 30 us come on top; a
device moves so many bytes in 5 to 20 us. In smaller arrays the host is what takes the time, and nothing is gained.
"""

_ROOM = 4000
"""Bytes of a kernel's parameters at most: CUDA takes 4096 of them everywhere."""

_VARIETY = 8
"""Kernels for one body and one set of shapes at most: each takes a good part of a second to compile."""

_CTYPES = {
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


class NoSource(Exception):  # noqa: N818  it is no error: the body runs as it is
    """A program does something that has no exact counterpart in the table."""


class Source(NamedTuple):
    """The text of a kernel, which is the same for all values of a body's scalars.

    Attributes
    ----------
    in_params : str
        The program's arrays, and then the constants of its steps in their order.
    out_params : str
        The results.
    operation : str
    """

    in_params: str
    out_params: str
    operation: str


def source_of(program: Program) -> Source:
    """A program's text as CuPy's ElementwiseKernel takes it.

    Raises
    ------
    NoSource
    """
    arrays: list[str] = []
    constants: list[str] = []
    loads: list[str] = []
    steps: list[str] = []
    for n, value in enumerate(program.values):
        ctype = _ctype(value.dtype)
        if isinstance(value, Input):
            loads.append(f"const {ctype} v{n} = a{len(arrays)};")
            arrays.append(f"{value.dtype.name} a{len(arrays)}")
            continue
        arguments = []
        for argument, dtype in zip(value.arguments, value.loop, strict=True):
            if isinstance(argument, Constant):
                _check_cast(np.asarray(argument.value).dtype, dtype)
                arguments.append(f"c{len(constants)}")
                constants.append(f"{dtype.name} c{len(constants)}")
            else:
                own = program.values[argument].dtype
                _check_cast(own, dtype)
                arguments.append(f"v{argument}" if own == dtype else f"(({_ctype(dtype)})v{argument})")
        steps.append(f"const {ctype} v{n} = ({ctype})({_expression(value, arguments)});")
    shape = program.values[program.results[0]].shape
    if any(program.values[n].shape != shape for n in program.results):
        raise NoSource("the results have several shapes")
    # All arrays are read before any is written, as they may be the same.
    stores = [f"r{k} = v{n};" for k, n in enumerate(program.results)]
    room = (len(arrays) + len(stores) + 1) * (16 + 16 * len(shape)) + 8 * len(constants)
    if room > _ROOM:
        raise NoSource("there are more arrays and numbers than a kernel takes")
    results = [f"{program.values[n].dtype.name} r{k}" for k, n in enumerate(program.results)]
    return Source(", ".join(arrays + constants), ", ".join(results), "\n".join(loads + steps + stores))


def _ctype(dtype: np.dtype[Any]) -> str:
    found = _CTYPES.get(dtype.name)
    if found is None:
        raise NoSource(f"there is {dtype}")
    return found


def _check_cast(own: np.dtype[Any], wanted: np.dtype[Any]) -> None:
    _ctype(wanted)
    if own.kind == "c" or (own.kind == "f" and wanted.kind in "iu"):
        raise NoSource(f"{own} is cast to {wanted}")  # where it does not fit, each machine has its own answer


def _expression(step: Step, arguments: Sequence[str]) -> str:
    """What a step is in C."""
    if step.kind == "cast":
        return arguments[0]
    if step.kind == "choose":
        return "{} ? {} : {}".format(*arguments)
    dtype, ufunc = step.loop[0], step.ufunc
    assert ufunc is not None  # noqa: S101  for the type checker
    name = ufunc.__name__
    template = TABLE[dtype.kind].get(name)
    if template is None or getattr(np, name, None) is not ufunc or any(d != dtype for d in step.loop):
        raise NoSource(f"{name} of {', '.join(d.name for d in step.loop)} is not in the table")
    return template.format(
        a=arguments[0],
        b=arguments[-1],
        t=_ctype(dtype),
        f="f" if dtype.name == "float32" else "",
        u="unsigned long long" if dtype.itemsize == 8 else "unsigned int",
    )


def constants_of(program: Program) -> list[Any]:
    """The numbers of a program in the dtypes that its steps compute in.

    Raises
    ------
    NoSource
        One does not fit.
    """
    found = []
    try:
        with np.errstate(all="ignore"):
            for value in program.values:
                if isinstance(value, Step):
                    for argument, dtype in zip(value.arguments, value.loop, strict=True):
                        if isinstance(argument, Constant):
                            found.append(dtype.type(argument.value))
    except (OverflowError, TypeError, ValueError) as error:
        raise NoSource(str(error)) from error
    return found


_kernels = BoundedCache()
"""CuPy's kernels by their source; at most 256."""


def run(
    cupy: Any,
    source: Source,
    program: Program,
    operands: Sequence[Any],
    buffers: Mapping[int, Any],
    results: Sequence[Any],
) -> None:
    """Compute a tile by one launch, and write its results.

    Parameters
    ----------
    cupy : module
    source : Source
        That of the program.
    program : Program
    operands : sequence of array
    buffers : mapping of int to array
        What the body may write, by result.
    results : sequence of array
        Of the program's shapes and dtypes; they may share memory with operands, but not with each other.

    Raises
    ------
    NoSource
        Nothing is written then.
    """
    constants = constants_of(program)
    arrays = []
    for value in program.values:
        if isinstance(value, Input):
            where, position = value.place
            array = buffers[position] if where else operands[position]
            arrays.append(array if value.key is None else array[value.key])
    if 0 in results[0].shape:
        return
    kernel = _kernels.get(source)
    if kernel is None:
        # Without multiplications fused with additions, the bits are those of two kernels, and NumPy's.
        kernel = cupy.ElementwiseKernel(*source, "xpdispatch_generated", preamble=PREAMBLE, options=("--fmad=false",))
        _kernels[source] = kernel
    into = [
        cupy.empty(target.shape, dtype=target.dtype) if any(_clash(cupy, a, target) for a in arrays) else target
        for target in results
    ]
    kernel(*arrays, *constants, *into)
    for target, written in zip(results, into, strict=True):
        if written is not target:
            target[...] = written


def _clash(cupy: Any, array: Any, target: Any) -> bool:
    """Whether a cell that is written may be another one that is still to be read."""
    if array is target or not cupy.may_share_memory(array, target):
        return False
    kinds = [(a.data.ptr, a.dtype, a.shape, a.strides) for a in (array, target)]
    return kinds[0] != kinds[1]


def results_of(
    site: Site,
    sizes: Sequence[int],
    operands: Sequence[Any],
    buffers: Mapping[int, Any],
    targets: Sequence[Any],
    scalars: Sequence[Any],
) -> list[Any] | None:
    """What the body makes of the one tile of a call on CuPy arrays; None where it is to run itself.

    It is written down at every call, for it may read what changes between calls. What is new is allocated on the
    current device, where CuPy's own functions would put it.

    Parameters
    ----------
    site : Site
    sizes : sequence of int
        Of the tile.
    operands : sequence of array
    buffers : mapping of int to array
        What the body may write, by result.
    targets : sequence of (array or None)
        Where the results go; None allocates.
    scalars : sequence of object
    """
    fusing = site.fusing
    if fusing is None or fusing.why_not or not _worth_while(operands, targets):
        return None
    if "GPU" in site.body.variants or not namespaces.is_default("GPU"):
        fusing.why_not = "the body or its namespace was made for GPUs"
        return None
    program = write_down(site, sizes, operands, buffers, targets, scalars)
    if program is None:
        return None
    cupy: Any = load("cupy")
    made = [program.values[n] for n in program.results]
    try:
        source = source_of(program)
        _check_variety(fusing, source)
        results = [
            cupy.empty(value.shape, dtype=value.dtype) if target is None else target
            for value, target in zip(made, targets, strict=True)
        ]
        if any(a.shape != value.shape for a, value in zip(results, made, strict=True)):
            return None
        run(cupy, source, program, operands, buffers, results)
    except Exception as error:  # noqa: BLE001  nothing is written yet; the body runs next, and says what is wrong
        fusing.why_not = str(error) if isinstance(error, NoSource) else f"{type(error).__name__}: {error}"
        return None
    return results


def _worth_while(operands: Sequence[Any], targets: Sequence[Any]) -> bool:
    return sum(a.nbytes for a in (*operands, *targets) if a is not None) >= SMALLEST


def _check_variety(fusing: Fusing, source: Source) -> None:
    """Stop where a body does something new in every call, each of which would be compiled."""
    if source not in fusing.trusted and len(fusing.trusted) >= _VARIETY:
        raise NoSource("the body does something else in every call")
    fusing.trusted.add(source)
