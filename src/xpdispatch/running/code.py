"""How a trace is run: NumPy's functions in place of the body's Python, and loops in their place once that pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpdispatch.machine import llvm
from xpdispatch.running.bits import random_numbers, same_bits
from xpdispatch.running.fused import constant_dtypes, fused, loop
from xpdispatch.running.instructions import has_instructions
from xpdispatch.running.learned import CALLED, Learned
from xpdispatch.running.tracing import Constant, Input, Program, Step

_TRIED = 4096
"""Elements on which a loop is tried."""

_ROW, _BUFFER = 256, 8192
"""Elements of a buffer of NumPy's where arrays of more than the usual number are no single stretch of memory.

It copies what is strided to buffers, which takes longer than to compute on rows as they are; but on rows of a few
elements it is quicker.
"""


class Code:
    """How programs of one structure are run.

    Parameters
    ----------
    program : Program
    operand_at : sequence of int
        For each operand the position of its parameter.
    apart : sequence of bool
        For each result whether it may hold other numbers before: it is contiguous, and apart from all operands.
    learned : Learned
        What says when loops are compiled.

    Attributes
    ----------
    dtypes : list of numpy.dtype
        Of the results.
    """

    def __init__(self, program: Program, operand_at: Sequence[int], apart: Sequence[bool], learned: Learned) -> None:
        self.dtypes = [program.values[n].dtype for n in program.results]
        # Smaller buffers lead NumPy to other loops, in which powers and such have other last bits.
        exact = all(v.ufunc is None or has_instructions(program, v) for v in program.values if isinstance(v, Step))
        self._made_of = program, operand_at, apart, exact and len(program.values[program.results[0]].shape) > 1
        self._run = Steps(*self._made_of)
        self._learned, self._waits = learned, llvm.is_there()

    def __call__(self, arguments: Sequence[Any], results: Sequence[Any], constants: Sequence[Any]) -> None:
        """Compute a tile, and write its results."""
        if self._waits:
            self._learned.does(self._made_of[0].steps * (results[0].size + CALLED))
            if self._learned.busy:
                self._waits = False
                self._fuse()
        self._run(arguments, results, constants)

    def _fuse(self) -> None:
        """Have loops compiled; other threads go on without them."""
        program, operand_at, apart, rows = self._made_of
        try:
            found = fused(program, partial(loop, does_the_same=_does_the_same))
        except Exception:  # noqa: BLE001  llvmlite is installed, and does not work here
            return
        self._run = Steps(found.program, operand_at, apart, rows, found.constants)


def _does_the_same(program: Program, made: np.ufunc) -> bool:
    """Whether a loop computes on random numbers what NumPy's functions compute."""
    given = [random_numbers((_TRIED,), v.dtype, j) for j, v in enumerate(program.values) if isinstance(v, Input)]
    into = np.empty(_TRIED, program.values[-1].dtype)
    steps = Steps(program, range(len(given)), (True,))
    with np.errstate(all="ignore"):
        steps(given, [into], program.constants)
        numbers = [d.type(v) for d, v in zip(constant_dtypes(program), program.constants, strict=True)]
        return same_bits(made(*given, *numbers), into)


class Steps:
    """NumPy's functions, which write to scratch arrays and at last to results.

    Parameters
    ----------
    program : Program
    operand_at, apart : sequence
        As of :class:`Code`.
    rows : bool, optional
        Whether NumPy's buffers may be smaller where arrays of several axes are no single stretch of memory.
    constants : list of (int, numpy.dtype or None), optional
        As of :class:`~xpdispatch.running.fused.Fused`; by default the program's own.
    """

    def __init__(
        self,
        program: Program,
        operand_at: Sequence[int],
        apart: Sequence[bool],
        rows: bool = False,  # noqa: FBT001, FBT002  as the others
        constants: Sequence[tuple[int, np.dtype[Any] | None]] | None = None,
    ) -> None:
        self._inputs = [
            (n, (where, position if where else operand_at[position]), key)
            for n, (where, position), key in (
                (n, v.place, v.key) for n, v in enumerate(program.values) if isinstance(v, Input)
            )
        ]
        self._outputs = program.results
        # Registers: one for each value, then the constants in order, then the scratch arrays.
        if constants is None:
            constants = [(k, None) for k in range(len(program.constants))]
        first = len(program.values)
        steps = [v for v in program.values if isinstance(v, Step)]
        errors = [step.errors for step in steps for a in step.arguments if isinstance(a, Constant)]
        self._constants = [
            (first + n, k, None if d is None else _under(how, d.type))
            for n, ((k, d), how) in enumerate(zip(constants, errors, strict=True))
        ]
        self._registers = first + len(constants)
        # What is called, with the registers of its arguments; the one that it makes an array for, or that it writes to.
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...], int, bool]] = []
        self._compile(program, apart)
        self._blank = (None,) * self._registers
        self._rows = rows

    def _compile(self, program: Program, apart: Sequence[bool]) -> None:
        values, outputs = program.values, self._outputs
        last = program.last_uses
        tile = values[outputs[0]].shape
        constants = iter([n for n, _, _ in self._constants])
        held = {n: n for n, _, _ in self._inputs}  # the register that a value is in
        free: dict[Any, list[int]] = {}  # scratch arrays as large as the tile, by dtype
        # Where the body reads and writes the same arrays, no result is written before all reading is over.
        late = len(outputs) > 1 and any(where == 1 for _, (where, _), _ in self._inputs)
        # Results hold what is needed no more when they are computed themselves, as long as nothing else is in them.
        read = {position for _, (where, position), _ in self._inputs if where == 1}
        rooms = [n for r, n in enumerate(outputs) if apart[r] and r not in read and values[n].shape == tile]

        def room_for(a: int, dtype: Any) -> int | None:
            for n in () if late else rooms:
                result = values[n]
                overwritten = isinstance(result, Step) and result.kind == "choose" and a in result.arguments[:2]
                if result.dtype == dtype and a < n and last.get(a, n) <= n and not overwritten:
                    rooms.remove(n)
                    return n
            return None

        def let_go(a: int) -> None:
            if held[a] in outputs:
                rooms.append(held[a])
            else:
                free.setdefault(values[a].dtype, []).append(held[a])

        for n, step in enumerate(values):
            if isinstance(step, Input):
                continue
            arguments = tuple([next(constants) if isinstance(a, Constant) else held[a] for a in step.arguments])
            used = dict.fromkeys(step.needs)
            over = [a for a in used if last[a] == n and held[a] != a and a not in outputs and values[a].shape == tile]
            # A choice writes before it has read its condition and its second argument.
            early = [a for a in over if step.kind != "choose" or a not in step.arguments[:2]]
            for a in early:
                let_go(a)
            writes = True
            if n in outputs and not late:
                held[n] = n
            elif step.shape == tile and free.get(step.dtype):
                held[n] = free[step.dtype].pop()
            elif step.shape == tile and (room := room_for(n, step.dtype)) is not None:
                held[n] = room
            else:
                held[n], self._registers, writes = self._registers, self._registers + 1, False
            for a in over:
                if a not in early:
                    let_go(a)
            self._steps.append((_function(program, step, writes=writes), arguments, held[n], writes))
        if late:
            self._steps += [(_cast, (held[n],), n, True) for n in outputs]

    def __call__(self, arguments: Sequence[Any], results: Sequence[Any], constants: Sequence[Any]) -> None:
        """Compute a tile, and write its results."""
        registers: list[Any] = [*self._blank]
        large, strided = self._rows and results[0].size >= _BUFFER, False
        for n, (where, position), key in self._inputs:
            array = results[position] if where else arguments[position]
            registers[n] = array = array if key is None else array[key]
            strided = strided or (large and not array.flags.forc)
        for n, k, kind in self._constants:
            registers[n] = constants[k] if kind is None else kind(constants[k])
        for n, array in zip(self._outputs, results, strict=True):
            registers[n] = array
            strided = strided or (large and not array.flags.forc)
        before = np.setbufsize(_ROW) if strided else 0
        try:
            for function, taken, n, writes in self._steps:
                if writes:
                    function(*[registers[a] for a in taken], out=registers[n])
                else:
                    registers[n] = function(*[registers[a] for a in taken])
        finally:
            if before:
                np.setbufsize(before)


def _function(program: Program, step: Step, *, writes: bool) -> Callable[..., Any]:
    """What does a step, into an array or into a new one."""
    function: Callable[..., Any]
    if step.ufunc is not None:
        function = step.ufunc
    elif step.kind == "choose":
        function = _choose if writes else np.where
    elif writes:
        function = _cast
    elif program.is_broadcast(step):
        function = partial(_broadcast, shape=step.shape, dtype=step.dtype)
    else:
        function = partial(_new, step.dtype)
    return _under(step.errors, function)


def _under(errors: tuple[tuple[str, str], ...] | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with floating-point errors handled as the body has it."""
    if errors is None:
        return function
    handled: dict[str, Any] = dict(errors)

    def under(*arguments: Any, **options: Any) -> Any:
        with np.errstate(**handled):
            return function(*arguments, **options)

    return under


def _cast(source: Any, out: Any) -> None:
    np.copyto(out, source, casting="unsafe")


def _new(dtype: np.dtype[Any], source: Any) -> Any:
    return source.astype(dtype)


def _broadcast(source: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    out = np.empty(shape, dtype)
    _cast(source, out)
    return out


def _choose(condition: Any, yes: Any, no: Any, out: Any) -> None:
    if any(isinstance(a, np.ndarray) and np.may_share_memory(a, out) for a in (condition, yes)):
        out[...] = np.where(condition, yes, no)  # an operand that is updated in place
        return
    np.copyto(out, no, casting="unsafe")
    np.copyto(out, yes, casting="unsafe", where=condition)
