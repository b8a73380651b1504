"""Bodies that do arithmetic on single elements, run on CuPy arrays as one CUDA kernel each.

The body is traced in each call (:mod:`xpdispatch.running.tracing`), and from that comes the text of a
:class:`cupy.ElementwiseKernel`. It reads each operand once and writes each result once, where the body would launch a
kernel and make an array for every operation. Broadcasting, strides and the stream are CuPy's business.

Numbers are computed as NumPy has them, in the same dtypes and in the same order. What has no exact counterpart in C
(:mod:`xpdispatch.running.cuda`) ends the attempt, and the body runs as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpdispatch.arrays import namespaces
from xpdispatch.arrays.namespaces import load
from xpdispatch.machine.caches import BoundedCache
from xpdispatch.planning.tiles import is_empty
from xpdispatch.planning.windows import sizes_of
from xpdispatch.running.cuda import PREAMBLE, NoSource, check_cast, ctype, expression
from xpdispatch.running.executor import Whole, Work
from xpdispatch.running.learned import Learned
from xpdispatch.running.results import Taking
from xpdispatch.running.site import Site
from xpdispatch.running.traced import Traced
from xpdispatch.running.tracing import Constant, Input, Program, Step

SMALLEST = 1 << 24
"""Bytes of a tile's arrays from which on it is worth while.

To trace a step takes the host some 6 us, about as long as to launch a kernel for it, and 30 us come on top; a
device moves so many bytes in 5 to 20 us. In smaller arrays the host is what takes the time, and nothing is gained.
"""

_ROOM = 4000
"""Bytes of a kernel's parameters at most: CUDA takes 4096 of them everywhere."""

_VARIETY = 8
"""Kernels for one body and one set of shapes at most: each takes a good part of a second to compile."""


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


_sources = BoundedCache()
"""Sources by the structure of their programs and the rank of results, which is all that they hang on; at most 256."""


def source_of(program: Program) -> Source:
    """A program's text as CuPy's ElementwiseKernel takes it.

    Raises
    ------
    NoSource
    """
    if len({program.values[n].shape for n in program.results}) > 1:
        raise NoSource("the results have several shapes")
    key = program.structure, len(program.values[program.results[0]].shape)
    found: Source | None = _sources.get(key)
    if found is None:
        found = _sources[key] = _written(program)
    return found


def _written(program: Program) -> Source:
    arrays: list[str] = []
    constants: list[str] = []
    loads: list[str] = []
    steps: list[str] = []
    for n, value in enumerate(program.values):
        own = ctype(value.dtype)
        if isinstance(value, Input):
            loads.append(f"const {own} v{n} = a{len(arrays)};")
            arrays.append(f"{value.dtype.name} a{len(arrays)}")
            continue
        arguments = []
        for argument, dtype in zip(value.arguments, value.loop, strict=True):
            if isinstance(argument, Constant):
                check_cast(np.asarray(argument.value).dtype, dtype)
                arguments.append(f"c{len(constants)}")
                constants.append(f"{dtype.name} c{len(constants)}")
            else:
                before = program.values[argument].dtype
                check_cast(before, dtype)
                arguments.append(f"v{argument}" if before == dtype else f"(({ctype(dtype)})v{argument})")
        steps.append(f"const {own} v{n} = ({own})({expression(value, arguments)});")
    rank = len(program.values[program.results[0]].shape)
    # All arrays are read before any is written, as they may be the same.
    stores = [f"r{k} = v{n};" for k, n in enumerate(program.results)]
    room = (len(arrays) + len(stores) + 1) * (16 + 16 * rank) + 8 * len(constants)
    if room > _ROOM:
        raise NoSource("there are more arrays and numbers than a kernel takes")
    results = [f"{program.values[n].dtype.name} r{k}" for k, n in enumerate(program.results)]
    return Source(", ".join(arrays + constants), ", ".join(results), "\n".join(loads + steps + stores))


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
    results : sequence of array
        Of the program's shapes and dtypes; they may share memory with operands, but not with each other. What the body
        may write is among them.

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
            array = results[position] if where else operands[position]
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
    """Whether an element that is written may be another one that is still to be read."""
    if array is target or not cupy.may_share_memory(array, target):
        return False
    read, written = [(a.data.ptr, a.dtype, a.shape, a.strides) for a in (array, target)]
    return bool(read != written)


class Generated(Traced):
    """On CuPy arrays: the body's trace as one kernel, where there is one, else the body on the whole.

    It is traced at every call, for it may read what changes between calls. What is new is allocated on the current
    device, where CuPy's own functions would put it.
    """

    def __init__(self, site: Site, taking: Taking, learned: Learned) -> None:
        super().__init__(site, taking, learned)
        self.whole = Whole(site, taking)
        self.sources: set[Source] = set()
        if "GPU" in site.body.variants or not namespaces.is_default("GPU"):
            self.learned.why_not = "the body or its namespace was made for GPUs"

    def run(self, arguments: Sequence[Any], targets: Sequence[Any], work: Work) -> list[Any]:
        """One value for each result, over the domain."""
        skips = self.learned.why_not or is_empty(work.domain)
        found = None if skips else self._by_kernel(list(arguments), targets, work)
        return self.whole.run(arguments, targets, work) if found is None else found

    def _by_kernel(self, arguments: list[Any], targets: Sequence[Any], work: Work) -> list[Any] | None:
        body, domain = self.site.body, work.domain
        self.take(arguments, domain, work)
        operands = [arguments[at] for at in body.operand_at]
        if sum(int(a.nbytes) for a in (*operands, *targets) if a is not None) < SMALLEST:
            return None
        program = self.trace(sizes_of(domain), arguments, targets, targets)
        if program is None:
            return None
        cupy: Any = load("cupy")
        made = [program.values[n] for n in program.results]
        try:
            source = source_of(program)
            self._check_variety(source)
            results = [
                cupy.empty(value.shape, dtype=value.dtype) if target is None else target
                for value, target in zip(made, targets, strict=True)
            ]
            if any(a.shape != value.shape for a, value in zip(results, made, strict=True)):
                return None
            run(cupy, source, program, operands, results)
        except Exception as error:  # noqa: BLE001  nothing is written yet; the body runs next, and says what is wrong
            self.learned.why_not = str(error) if isinstance(error, NoSource) else f"{type(error).__name__}: {error}"
            return None
        return results

    def _check_variety(self, source: Source) -> None:
        """Stop where a body does something new in every call, each of which would be compiled."""
        if source not in self.sources and len(self.sources) >= _VARIETY:
            raise NoSource("the body does something else in every call")
        self.sources.add(source)
