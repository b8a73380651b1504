"""Tasks as Python classes, as Legate's development branch spells them."""

import inspect

from . import PhysicalStore, ReductionOpKind, TaskConfig, TaskInfo

ADD = ReductionOpKind.ADD


class InputStore(PhysicalStore):
    pass


class OutputStore(PhysicalStore):
    pass


class ReductionStore(PhysicalStore):
    def __class_getitem__(cls, operator):
        return cls


class VariantInvoker:
    def __init__(self, func, constraints=None):
        known = {InputStore, OutputStore, ReductionStore, bytes}
        assert {p.annotation for p in inspect.signature(func).parameters.values()} <= known


class PyTask:
    def __init__(self, *, func, variants, constraints=None, options=None, invoker=None, library=None):
        assert isinstance(invoker, VariantInvoker)
        self.task_id = library.get_new_task_id()
        info = TaskInfo.from_variants_config(
            config=TaskConfig(self.task_id, options=options),
            library=library,
            name=func.__name__,
            variants=[(v, lambda context: invoker(context, func)) for v in variants],
        )
        library.register_task(info)
