"""Loops over the elements of arrays, compiled by LLVM and called as NumPy's universal functions.

`llvmlite <https://llvmlite.readthedocs.io>`_ brings LLVM; nothing here runs without it.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from threading import RLock
from typing import Any

import numpy as np

_CHUNK = 256
"""Elements of an array that is not contiguous that are copied to the stack at once."""

_LEAST = 15
"""Releases of LLVM before it have pointers of many types."""

_kept: list[Any] = []
"""What NumPy's functions point to, for as long as the process lives."""

_numbers = itertools.count()
"""So that no two loops have one name."""

compiling = RLock()  # LLVM's contexts are not for several threads
if hasattr(os, "register_at_fork"):  # or else a child may wait for a thread that it does not have
    os.register_at_fork(before=compiling.acquire, after_in_parent=compiling.release, after_in_child=compiling.release)


@cache
def is_there() -> bool:
    """Whether llvmlite is installed; it may be too old."""
    return find_spec("llvmlite") is not None


@cache
def can_compile() -> bool:
    """Whether it brings a release of LLVM that understands this: llvmlite 0.44 does."""
    import llvmlite.binding as llvm  # type: ignore[import-untyped]  # it has no annotations

    return bool(llvm.llvm_version_info[0] >= _LEAST)


def type_of(dtype: np.dtype[Any]) -> str:
    """LLVM's type of an element as it is computed with; empty where there is none.

    Truth values have one bit, and integers do not know whether they have a sign.
    """
    if dtype.kind == "b":
        return "i1"
    if dtype.kind in "iu":
        return f"i{8 * dtype.itemsize}"
    return {"f4": "float", "f8": "double"}.get(dtype.str[1:], "")


def compiled(
    name: str,
    arrays: Sequence[np.dtype[Any]],
    constants: Sequence[np.dtype[Any]],
    lines: Sequence[str],
    result: np.dtype[Any],
) -> np.ufunc:
    """A function of so many arrays and 0-d arrays, which computes an element by the lines.

    Parameters
    ----------
    name : str
        What NumPy calls it where it tells of floating-point errors.
    arrays, constants : sequence of numpy.dtype
        What it takes, in this order.
    lines : sequence of str
        LLVM's instructions: they find the elements of arrays in ``%a0``, ``%a1``..., and constants in ``%c0``...,
        and leave the result in ``%r``, each of the type that :func:`type_of` gives.
    result : numpy.dtype
    """
    with compiling:
        own = f"loop{next(_numbers)}"
        loops = (ctypes.c_void_p * 1)(_address(own, "\n".join(_text(own, arrays, constants, lines, result))))
        dtypes = (*arrays, *constants, result)
        data, types = (ctypes.c_void_p * 1)(), bytes([d.num for d in dtypes])
        text = name.encode()
        _kept.append((loops, data, types, text))
    made: np.ufunc = _maker()(loops, data, types, 1, len(dtypes) - 1, 1, -1, text, b"", 0)
    return made


@cache
def _maker() -> Any:
    """NumPy's C function that makes a ufunc of loops: `PyUFunc_FromFuncAndData`, the second in its table."""
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    pointer = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))
    umath: Any = np._core._multiarray_umath  # type: ignore[attr-defined]
    table = ctypes.cast(pointer(umath._UFUNC_API, None), ctypes.POINTER(ctypes.c_void_p))
    integer, text = ctypes.c_int, ctypes.c_char_p
    arguments = ctypes.c_void_p, ctypes.c_void_p, text, integer, integer, integer, integer, text, text, integer
    return ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(table[1])


@cache
def _llvm() -> tuple[Any, Any, Any]:
    """LLVM, this processor, and the engine that has the machine code of all loops: one each takes 0.7 MB more."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    return llvm, machine, llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _address(name: str, text: str) -> int:
    """Where the machine code of a function is, given the module that defines it."""
    llvm, machine, engine = _llvm()
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine.add_module(module)
    engine.finalize_object()
    address: int = engine.get_function_address(name)
    return address


def _text(
    name: str,
    arrays: Sequence[np.dtype[Any]],
    constants: Sequence[np.dtype[Any]],
    lines: Sequence[str],
    result: np.dtype[Any],
) -> Iterator[str]:
    """A module with one function, as NumPy calls it: pointers, the number of elements, strides.

    An array that is not contiguous goes through a piece of the stack, so that one loop over contiguous elements does
    for all. Nothing that this loop writes is read by it later, which it says, so that LLVM makes vectors of it.
    """
    last, size = len(arrays) + len(constants), result.itemsize
    places = [*enumerate(arrays), (last, result)]
    yield f"define void @{name}(ptr %args, ptr %extents, ptr %strides, ptr %data) {{"
    yield "begin:"
    yield from _pointers(places, [*enumerate(constants, len(arrays))], last)
    yield "chunk:"
    yield "  %first = phi i64 [0, %begin], [%then, %next]"
    yield "  %left = sub i64 %n, %first"
    yield "  %m = call i64 @llvm.smin.i64(i64 %left, i64 %most)"
    for j, _ in places:
        yield f"  %o{j} = mul i64 %first, %s{j}"
        yield f"  %q{j} = getelementptr i8, ptr %p{j}, i64 %o{j}"
        yield f"  %e{j} = select i1 %unit{j}, ptr %q{j}, ptr %b{j}"
    yield "  br label %in0"
    for j, d in enumerate(arrays):
        yield from _copied(f"in{j}", f"in{j + 1}", f"%unit{j}", d, (f"%q{j}", f"%s{j}"), (f"%b{j}", f"{d.itemsize}"))
    yield from _vectors(arrays, lines, result, last)
    yield from _copied("out", "next", f"%unit{last}", result, (f"%b{last}", f"{size}"), (f"%q{last}", f"%s{last}"))
    yield "next:"
    yield "  %then = add i64 %first, %m"
    yield "  %done = icmp eq i64 %then, %n"
    yield "  br i1 %done, label %end, label %chunk"
    yield "end:"
    yield "  ret void"
    yield "}"
    for size in {d.itemsize for _, d in places}:
        yield from _copying(8 * size)
    yield "declare i64 @llvm.smin.i64(i64, i64)"
    for own, bits in (("float", 32), ("double", 64)):
        yield from (f"declare {own} @llvm.{called}.f{bits}({own})" for called in CALLED)
    yield "!0 = distinct !{}"
    yield "!1 = distinct !{!1, !2, !3}"
    yield '!2 = !{!"llvm.loop.parallel_accesses", !0}'
    yield '!3 = !{!"llvm.loop.vectorize.enable", i1 true}'


def _pointers(
    places: Sequence[tuple[int, np.dtype[Any]]], constants: Sequence[tuple[int, np.dtype[Any]]], last: int
) -> Iterator[str]:
    """Read where everything lies, and constants; make room for chunks."""
    yield "  %n = load i64, ptr %extents"
    for j in range(last + 1):
        yield f"  %pp{j} = getelementptr ptr, ptr %args, i64 {j}"
        yield f"  %p{j} = load ptr, ptr %pp{j}"
    contiguous = "true"
    for j, dtype in places:
        yield f"  %sp{j} = getelementptr i64, ptr %strides, i64 {j}"
        yield f"  %s{j} = load i64, ptr %sp{j}"
        yield f"  %unit{j} = icmp eq i64 %s{j}, {dtype.itemsize}"
        yield f"  %all{j} = and i1 {contiguous}, %unit{j}"
        yield f"  %b{j} = alloca [{_CHUNK} x i{8 * dtype.itemsize}], align 64"
        contiguous = f"%all{j}"
    for k, (j, dtype) in enumerate(constants):
        yield from _element(f"%c{k}", f"%p{j}", dtype, "")
    yield f"  %most = select i1 {contiguous}, i64 %n, i64 {_CHUNK}"
    yield "  %some = icmp sgt i64 %n, 0"
    yield "  br i1 %some, label %chunk, label %end"


def _vectors(arrays: Sequence[np.dtype[Any]], lines: Sequence[str], result: np.dtype[Any], last: int) -> Iterator[str]:
    """The loop over a chunk."""
    before = f"in{len(arrays)}"
    yield f"{before}:"
    yield "  br label %loop"
    yield "loop:"
    yield f"  %i = phi i64 [0, %{before}], [%i1, %loop]"
    for j, dtype in [*enumerate(arrays), (last, result)]:
        yield f"  %l{j} = getelementptr i{8 * dtype.itemsize}, ptr %e{j}, i64 %i"
    for j, dtype in enumerate(arrays):
        yield from _element(f"%a{j}", f"%l{j}", dtype, ", !llvm.access.group !0")
    yield from (f"  {line}" for line in lines)
    own, name = type_of(result), "%r"
    if result.kind == "b":
        own, name = "i8", "%r.byte"
        yield f"  {name} = zext i1 %r to i8"
    yield f"  store {own} {name}, ptr %l{last}, !llvm.access.group !0"
    yield "  %i1 = add nuw nsw i64 %i, 1"
    yield "  %over = icmp eq i64 %i1, %m"
    yield "  br i1 %over, label %out, label %loop, !llvm.loop !1"


CALLED = "ceil", "fabs", "floor", "rint", "sqrt", "trunc"
"""LLVM's functions of one floating-point number that instructions may call."""


def _element(to: str, pointer: str, dtype: np.dtype[Any], how: str) -> Iterator[str]:
    """Load one."""
    if dtype.kind == "b":
        yield f"  {to}.byte = load i8, ptr {pointer}{how}"
        yield f"  {to} = icmp ne i8 {to}.byte, 0"
    else:
        yield f"  {to} = load {type_of(dtype)}, ptr {pointer}{how}"


def _copied(
    here: str, then: str, unless: str, dtype: np.dtype[Any], source: tuple[str, str], target: tuple[str, str]
) -> Iterator[str]:
    """Copy a chunk, unless there is no need: pointers and strides in bytes."""
    yield f"{here}:"
    yield f"  br i1 {unless}, label %{then}, label %{here}.copy"
    yield f"{here}.copy:"
    pairs = ", ".join(f"ptr {pointer}, i64 {stride}" for pointer, stride in (source, target))
    yield f"  call void @copy{8 * dtype.itemsize}({pairs}, i64 %m)"
    yield f"  br label %{then}"


def _copying(bits: int) -> Iterator[str]:
    """A function that copies elements; one for all arrays, since LLVM takes its time for each loop."""
    yield f"define internal void @copy{bits}(ptr %from, i64 %fs, ptr %to, i64 %ts, i64 %m) noinline {{"
    yield "begin:"
    yield "  br label %loop"
    yield "loop:"
    yield "  %i = phi i64 [0, %begin], [%i1, %loop]"
    for name, stride in (("from", "fs"), ("to", "ts")):
        yield f"  %{name}o = mul i64 %i, %{stride}"
        yield f"  %{name}p = getelementptr i8, ptr %{name}, i64 %{name}o"
    yield f"  %v = load i{bits}, ptr %fromp"
    yield f"  store i{bits} %v, ptr %top"
    yield "  %i1 = add nuw nsw i64 %i, 1"
    yield "  %over = icmp eq i64 %i1, %m"
    yield "  br i1 %over, label %end, label %loop"
    yield "end:"
    yield "  ret void"
    yield "}"
