"""Legate's development branch as far as xpdispatch uses it: its names and no older one, on NumPy.

``InputArray``, ``OutputArray``, ``ReductionArray``, ``LogicalArray`` and ``PhysicalArray`` are gone, task arguments and
the data interface hold stores, and ``TaskInfo.from_variants`` is ``from_variants_config``. A launch runs at once,
in two tiles along the first dimension where nothing keeps it whole.
"""

from collections import defaultdict
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

LEGATE_MAX_DIM = 6
LAUNCHED = []
"""Name and number of tiles of each launch."""

VariantCode = IntEnum("VariantCode", {"CPU": 1, "GPU": 2, "OMP": 3})
TaskTarget = IntEnum("TaskTarget", {"GPU": 1, "OMP": 2, "CPU": 3})
ReductionOpKind = IntEnum("ReductionOpKind", {"ADD": 0, "MUL": 1, "MAX": 2, "MIN": 3, "OR": 4, "AND": 5, "XOR": 6})
ImageComputationHint = IntEnum("ImageComputationHint", {"NO_HINT": 0, "MIN_MAX": 1, "FIRST_LAST": 2})
StreamingMode = IntEnum("StreamingMode", {"OFF": 0, "RELAXED": 1, "STRICT": 2})
ExceptionMode = IntEnum("ExceptionMode", {"IMMEDIATE": 0, "DEFERRED": 1, "IGNORED": 2})


class TypeCode:
    def __init__(self, name):
        self.name = name


class Type:
    def __init__(self, name):
        self.code = TypeCode(name.upper())
        self._dtype = np.dtype(name)


bool_, int8, int16, int32, int64 = (Type(n) for n in ("bool", "int8", "int16", "int32", "int64"))
uint8, uint16, uint32, uint64 = (Type(n) for n in ("uint8", "uint16", "uint32", "uint64"))
float16, float32, float64 = (Type(n) for n in ("float16", "float32", "float64"))
complex64, complex128 = (Type(n) for n in ("complex64", "complex128"))
_TYPES = {t._dtype: t for t in list(globals().values()) if isinstance(t, Type)}


class Scalar:
    def __init__(self, value, dtype=None):
        self._value = value

    def value(self):
        return memoryview(self._value) if isinstance(self._value, bytes) else self._value


class Domain:
    def __init__(self, lo, hi):
        self.lo, self.hi = lo, hi


class LogicalStore:
    def __init__(self, array=None, dtype=None, *, scalar=False, transformed=False):
        self._array, self._dtype = array, dtype
        self.has_scalar_storage, self.transformed = scalar, transformed

    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: 1 if self._array is None else self._array.ndim)
    type = property(lambda self: _TYPES[self._dtype if self._array is None else self._array.dtype])
    unbound = property(lambda self: self._array is None)

    @property
    def __legate_data_interface__(self):
        return {"version": 2, "data": {"store": self}}

    def __str__(self):
        return "Store"

    def _view(self, array):
        return LogicalStore(array, scalar=self.has_scalar_storage, transformed=True)

    def promote(self, extra_dim, dim_size):
        shape = list(self.shape)
        shape.insert(extra_dim, dim_size)
        return self._view(_stretch(np.expand_dims(self._array, extra_dim), tuple(shape)))

    def project(self, dim, index):
        return self._view(self._array[(slice(None),) * dim + (index,)])

    def transpose(self, axes):
        return self._view(self._array.transpose(axes))

    def delinearize(self, dim, shape):
        return self._view(self._array.reshape(*self.shape[:dim], *shape, *self.shape[dim + 1 :]))

    def fill(self, value):
        self._array[...] = value.value() if isinstance(value, Scalar) else value

    def overlaps(self, other):
        return np.shares_memory(self._array, other._array)

    def equal_storage(self, other):
        return self._array.base is other._array.base

    def get_physical_store(self):
        return PhysicalStore(self._array)


def _stretch(array, shape):
    strides = [s if n == m else 0 for s, n, m in zip(array.strides, array.shape, shape, strict=True)]
    return np.lib.stride_tricks.as_strided(array, shape, strides)


class PhysicalStore:
    """What a task gets: an array, or for an output of unknown size what it binds."""

    def __init__(self, array=None, lo=(), dtype=None):
        self._array, self._dtype = array, dtype
        shape = () if array is None else array.shape
        lo = lo or (0,) * len(shape)
        self.domain = Domain(lo, tuple(a + n - 1 for a, n in zip(lo, shape, strict=True)))

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    @property
    def __array_interface__(self):
        return self._array.__array_interface__

    def create_output_buffer(self, shape, bind=False):
        assert bind, "a buffer that is not bound"
        self._array = np.empty(shape, self._dtype)
        return self._array


class Variable:
    def __init__(self):
        self.whole = False


def align(*variables):
    return [("align", variables)]


def broadcast(variable, axes=None):
    return [("broadcast", variable, axes)]


class TaskConfig:
    def __init__(self, task_id, *, options=None):
        self.task_id, self.variant_options = task_id, options


class TaskInfo:
    @classmethod
    def from_variants_config(cls, *, config, library, name, variants):
        self = cls()
        self._config, self.name, self._variants = config, name, dict(variants)
        return self


class VariantOptions:
    def __init__(self, *, concurrent=None, has_allocations=None, elide_device_ctx_sync=None):
        self.has_allocations = has_allocations


class ResourceConfig:
    def __init__(self, *, max_tasks=0, max_dyn_tasks=0):
        self.max_tasks, self.max_dyn_tasks = max_tasks, max_dyn_tasks


class Library:
    def __init__(self, config):
        self._free = iter(range(config.max_tasks - config.max_dyn_tasks, config.max_tasks))
        self._tasks = {}

    def get_new_task_id(self):
        return next(self._free)

    def register_task(self, info):
        self._tasks[info._config.task_id] = info


class TaskContext:
    def __init__(self, inputs, outputs, reductions, scalars):
        self.inputs, self.outputs, self.reductions, self.scalars = inputs, outputs, reductions, scalars

    def get_variant_kind(self):
        return VariantCode.CPU

    def can_raise_exception(self):
        return False


class AutoTask:
    def __init__(self, info):
        self._info, self._scalars, self._given, self._constraints = info, [], [], []

    def declare_partition(self):
        return Variable()

    def _add(self, kind, store, variable, redop=None):
        assert isinstance(store, LogicalStore)
        variable = variable or Variable()
        self._given.append((kind, store, variable, redop))
        return variable

    def add_input(self, store, variable=None):
        return self._add("input", store, variable)

    def add_output(self, store, variable=None):
        return self._add("output", store, variable)

    def add_reduction(self, store, redop, variable=None):
        assert ReductionOpKind(redop) == ReductionOpKind.ADD, "this stand-in adds, and no more"
        return self._add("reduction", store, variable, redop)

    def add_scalar_arg(self, value, dtype=None):
        self._scalars.append(value if isinstance(value, Scalar) else Scalar(value, dtype))

    def add_constraint(self, constraints):
        self._constraints += constraints

    def execute(self):
        kept = defaultdict(set)
        for kind, *rest in self._constraints:
            if kind == "broadcast":
                variable, axes = rest
                kept[variable] |= set(range(LEGATE_MAX_DIM)) if axes is None else set(axes)
        aligned = {v for kind, *rest in self._constraints if kind == "align" for v in rest[0]}
        cut = [(s, v) for _, s, v, _ in self._given if not s.unbound and s.ndim and 0 not in kept[v]]
        assert len(cut) < 2 or aligned >= {v for _, v in cut}, "arrays that are not aligned may be cut differently"
        count = min([2, *(s.shape[0] for s, _ in cut)]) if cut else 1
        parts = [self._run(tile, count, kept) for tile in range(count)]
        LAUNCHED.append((self._info.name, count))
        for n, (_, store, _, _) in enumerate(self._given):
            if store.unbound:
                store._array = np.concatenate([stores[n]._array for stores in parts])

    def _run(self, tile, count, kept):
        stores = []
        for _, store, variable, _ in self._given:
            if store.unbound:
                stores.append(PhysicalStore(dtype=store._dtype))
            elif not store.ndim or 0 in kept[variable]:
                stores.append(PhysicalStore(store._array))
            else:
                size = -(-store.shape[0] // count)
                stores.append(
                    PhysicalStore(
                        store._array[tile * size : (tile + 1) * size], (tile * size,) + (0,) * (store.ndim - 1)
                    )
                )
        by = {
            k: tuple(s for s, (kind, *_) in zip(stores, self._given, strict=True) if kind == k)
            for k in ("input", "output", "reduction")
        }
        self._info._variants[VariantCode.CPU](
            TaskContext(by["input"], by["output"], by["reduction"], tuple(self._scalars))
        )
        return stores


class ParallelPolicy:
    def __init__(self, *, overdecompose_factor=1, partitioning_threshold=None):
        self.overdecompose_factor = overdecompose_factor

    streaming, streaming_mode = False, StreamingMode.OFF

    def partitioning_threshold(self, target):
        return 1


class Scope:
    def __init__(self, *, parallel_policy=None, exception_mode=None):
        pass

    @staticmethod
    def exception_mode():
        return ExceptionMode.IMMEDIATE

    @staticmethod
    def parallel_policy():
        return ParallelPolicy()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class _Machine:
    preferred_target = TaskTarget.CPU

    def count(self, target):
        return 2 if target == TaskTarget.CPU else 0


class Runtime:
    node_count, node_id = 1, 0
    machine = _Machine()

    def __init__(self):
        self._libraries = {}

    def find_or_create_library(self, library_name, *, config=None, default_options=None):
        new = library_name not in self._libraries
        return self._libraries.setdefault(library_name, Library(config)), new

    def create_auto_task(self, library, task_id):
        return AutoTask(library._tasks[task_id])

    def create_store(self, dtype, shape=None, optimize_scalar=False, ndim=None):
        if shape is None:
            return LogicalStore(dtype=dtype._dtype)
        return LogicalStore(np.zeros(shape, dtype._dtype), scalar=optimize_scalar)

    def create_store_from_buffer(self, dtype, shape, data, read_only, ordering=None):
        assert dtype._dtype == data.dtype
        return LogicalStore(np.array(data).reshape(shape))

    def issue_execution_fence(self, block=False):
        pass

    def config(self):
        return SimpleNamespace(provenance=False)

    def realm_config(self):
        return SimpleNamespace(sysmem=2**30, fbmem=0)

    def add_shutdown_callback(self, callback):
        pass

    def finish(self):
        pass


def get_machine():
    return Runtime.machine


_runtime = Runtime()


def get_legate_runtime():
    return _runtime
