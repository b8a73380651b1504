"""A stand-in for cupy.ElementwiseKernel that compiles the text for the CPU, and NVRTC, which compiles it for GPUs."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from xpdispatch.running.cuda import CTYPES, PREAMBLE

# What a kernel may call, as CUDA has it. To read <math.h> takes longer than all the rest.
_ONE = "fabs sqrt floor ceil trunc rint exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan"
_ONE += " sinh cosh tanh asinh acosh atanh"
_TWO = "copysign hypot atan2 pow fmod"
HEADER = "\n".join(
    [f'extern "C" {{ double {n}(double); float {n}f(float); }}' for n in _ONE.split()]
    + [f'extern "C" {{ double {n}(double, double); float {n}f(float, float); }}' for n in _TWO.split()]
    + [f"inline float {n}(float a, float b) {{ return {n}f(a, b); }}" for n in ("copysign", "fmod")]
    + ["inline float floor(float a) { return floorf(a); }"]
)
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")


class ElementwiseKernel:
    """What CuPy does with these arguments, as its documentation and `_kernel.pyx` have it, one cell after another.

    `launches` has the arguments of all launches since the test set it up; `folder` is where libraries are made.
    """

    launches: list[tuple[Any, ...]]
    folder: Path
    made = 0

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str, *, preamble: str, options: tuple[str, ...]
    ) -> None:
        assert options == ("--fmad=false",)
        assert preamble == PREAMBLE
        assert re.fullmatch(r"[a-zA-Z_]\w*", name)
        self.ins = [tuple(p.split()) for p in in_params.split(", ") if p]
        self.outs = [tuple(p.split()) for p in out_params.split(", ")]
        assert "i" not in [name for _, name in (*self.ins, *self.outs)]
        self.operation = operation
        self._function: Any = None

    def text(self, name: str) -> str:
        """As C++ for the CPU."""
        lines = [f'extern "C" void {name}(long long n, char **p, const long long *at) {{']
        lines.append("for (long long i = 0; i < n; ++i) {")
        for k, (dtype, own) in enumerate((*self.ins, *self.outs)):
            const = "const " if k < len(self.ins) else ""
            lines.append(f"{const}{CTYPES[dtype]} &{own} = *({const}{CTYPES[dtype]} *)(p[{k}] + at[{k} * n + i]);")
        return "\n".join([*lines, self.operation, "}}"])

    def on_a_gpu(self, name: str) -> str:
        """As CUDA."""
        given = [f"const {CTYPES[t]} {'' if n[0] == 'c' else '*_raw_'}{n}" for t, n in self.ins]
        given += [f"{CTYPES[t]} *_raw_{n}" for t, n in self.outs]
        lines = [f'extern "C" __global__ void {name}({", ".join(given)}, long long n) {{']
        lines.append("for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {")
        lines += [f"const {CTYPES[t]} &{n} = _raw_{n}[i];" for t, n in self.ins if n[0] != "c"]
        lines += [f"{CTYPES[t]} &{n} = _raw_{n}[i];" for t, n in self.outs]
        return "\n".join([*lines, self.operation, "}}"])

    def __call__(self, *args: Any) -> None:
        type(self).launches.append(args)
        assert len(args) == len(self.ins) + len(self.outs)
        for (dtype, _), arg in zip((*self.ins, *self.outs), args, strict=True):
            assert isinstance(arg, np.ndarray | np.generic)
            assert arg.dtype == dtype, "CuPy says: Type is mismatched"
        shape = np.broadcast_shapes(*(a.shape for a in args))
        assert all(a.shape == shape for a in args[len(self.ins) :]), "CuPy says: Out shape is mismatched"
        if self._function is None:
            compile_all([self])
        # As views of bytes, for a subclass may refuse to be worked with.
        plain = [a.view(np.ndarray) if isinstance(a, np.ndarray) else np.array(a) for a in args]
        spread = [np.broadcast_to(a, shape) for a in plain]
        cells = np.indices(shape).reshape(len(shape), -1 if shape else 1)
        at = np.array([np.array(a.strides, np.int64) @ cells for a in spread])
        pointers = (ctypes.c_void_p * len(args))(*(a.ctypes.data for a in plain))
        self._function(ctypes.c_longlong(at.shape[1]), pointers, at.ctypes)


def compile_all(kernels: Sequence[ElementwiseKernel]) -> None:
    """Compile kernels for the CPU, all in one go."""
    assert COMPILER, "the tests need a C++ compiler (apt-get install g++)"
    ElementwiseKernel.made += 1
    library = ElementwiseKernel.folder / f"kernels{ElementwiseKernel.made}.so"
    texts = [k.text(f"k{n}") for n, k in enumerate(kernels)]
    source = "\n".join([HEADER, PREAMBLE, *texts])
    # Overflow and shifts that C leaves undefined end the process.
    flags = ["-O0", "-w", "-ffp-contract=off", "-fno-math-errno", "-D__device__=", "-shared", "-fPIC"]
    flags += ["-fsanitize=signed-integer-overflow,shift,integer-divide-by-zero", "-fsanitize-undefined-trap-on-error"]
    command = [COMPILER, *flags, "-x", "c++", "-", "-o", str(library)]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert not done.returncode, done.stderr
    loaded = ctypes.CDLL(str(library))
    for n, k in enumerate(kernels):
        k._function = loaded[f"k{n}"]


def nvrtc() -> Any:
    """NVIDIA's compiler, from its wheel; None where that is not installed. It needs neither a GPU nor a driver."""
    spec = find_spec("nvidia")
    for root in [] if spec is None else spec.submodule_search_locations or []:
        for path in sorted(Path(root).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def compile_for_gpus(library: Any, kernels: Sequence[ElementwiseKernel], architecture: str) -> str:
    """Compile kernels with NVRTC, to the code of an abstract machine."""
    source = "\n".join([PREAMBLE, *(k.on_a_gpu(f"k{n}") for n, k in enumerate(kernels))])
    program = ctypes.c_void_p()
    assert not library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None)
    given = [b"--fmad=false", f"--gpu-architecture={architecture}".encode()]
    status = library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert not status, log.value.decode()[:4000]
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, code)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return code.value.decode()
