"""LLVM's instructions for the steps of a trace.

They give what NumPy's functions give, to the last bit, with the same floating-point errors. Steps for which there are
none, such as powers and exponentials, raise :exc:`LookupError`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpdispatch.machine.llvm import CALLED, type_of
from xpdispatch.running.tracing import Constant, Input, Program, Step

_ORDERS: dict[Any, str] = {np.less: "lt", np.less_equal: "le", np.greater: "gt", np.greater_equal: "ge"}


def _templates() -> dict[tuple[Any, str], str]:
    """Instructions by function and kind of dtype.

    They hold names: `r` of the result, `t` of the type, `x` and `y` of the arguments, `s` for whether integers have a
    sign, `f` in LLVM's names of functions.
    """
    two: list[tuple[str, str, list[Any]]] = [
        ("f", "fadd", [np.add]),
        ("f", "fsub", [np.subtract]),
        ("f", "fmul", [np.multiply]),
        ("f", "fdiv", [np.divide]),
        ("f", "fcmp oeq", [np.equal]),
        ("f", "fcmp une", [np.not_equal]),
        ("i", "add", [np.add]),
        ("i", "sub", [np.subtract]),
        ("i", "mul", [np.multiply]),
        ("i", "and", [np.bitwise_and]),
        ("i", "or", [np.bitwise_or]),
        ("i", "xor", [np.bitwise_xor]),
        ("i", "icmp eq", [np.equal]),
        ("i", "icmp ne", [np.not_equal]),
        ("b", "and", [np.bitwise_and, np.logical_and, np.multiply]),
        ("b", "or", [np.bitwise_or, np.logical_or, np.add]),
        ("b", "xor", [np.bitwise_xor, np.logical_xor, np.not_equal]),
    ]
    found: dict[tuple[Any, str], str] = {
        (ufunc, kind): f"{{r}} = {name} {{t}} {{x}}, {{y}}" for kind, name, ufuncs in two for ufunc in ufuncs
    }
    found |= {(getattr(np, name), "f"): f"{{r}} = call {{t}} @llvm.{name}.{{f}}({{t}} {{x}})" for name in CALLED}
    found[np.absolute, "f"] = found[np.fabs, "f"]
    found[np.negative, "f"] = "{r} = fneg {t} {x}"
    found[np.square, "f"] = "{r} = fmul {t} {x}, {x}"
    found[np.reciprocal, "f"] = "{r} = fdiv {t} 1.0, {x}"
    found[np.isnan, "f"] = "{r} = fcmp uno {t} {x}, {x}"
    found[np.negative, "i"] = "{r} = sub {t} 0, {x}"
    found[np.square, "i"] = "{r} = mul {t} {x}, {x}"
    found[np.invert, "i"] = found[np.invert, "b"] = found[np.logical_not, "b"] = "{r} = xor {t} {x}, -1"
    found |= {(np.positive, kind): "{r} = bitcast {t} {x} to {t}" for kind in "fi"}
    for ufunc, order in _ORDERS.items():
        found[ufunc, "i"] = f"{{r}} = icmp {{s}}{order} {{t}} {{x}}, {{y}}"
        # Processors tell of NaN in such comparisons as invalid, and NumPy does not: they get other numbers then.
        falsely = {"le": ("1.0", "0.0"), "ge": ("0.0", "1.0")}.get(order, ("0.0", "0.0"))
        found[ufunc, "f"] = (
            "{r}.u = fcmp uno {t} {x}, {y}\n"
            f"{{r}}.x = select i1 {{r}}.u, {{t}} {falsely[0]}, {{t}} {{x}}\n"
            f"{{r}}.y = select i1 {{r}}.u, {{t}} {falsely[1]}, {{t}} {{y}}\n"
            f"{{r}} = fcmp o{order} {{t}} {{r}}.x, {{r}}.y"
        )
    choice = "{r} = select i1 {r}.c, {t} {x}, {t} {y}"
    larger: list[tuple[Any, Any]] = [(np.maximum, np.greater), (np.minimum, np.less)]
    for ufunc, comparison in larger:
        found[ufunc, "i"] = found[comparison, "i"].replace("{r}", "{r}.c") + "\n" + choice
        found[ufunc, "f"] = (
            found[comparison, "f"].replace("{r}", "{r}.o")
            + "\n{r}.n = fcmp uno {t} {x}, {x}\n{r}.c = or i1 {r}.o, {r}.n\n"
            + choice
        )
    return found


_TEMPLATES = _templates()


def instructions(program: Program) -> list[str]:
    """Of a program whose inputs are ``%a0``, ``%a1``... and its constants ``%c0``...; the last makes ``%r``.

    Raises
    ------
    LookupError
    """
    lines: list[str] = []
    names: list[str] = []
    constants = 0
    for n, value in enumerate(program.values):
        if isinstance(value, Input):
            names.append(f"%a{n}")
            continue
        given = []
        for k, argument in enumerate(value.arguments):
            if isinstance(argument, Constant):
                given.append(f"%c{constants}")
                constants += 1
            else:
                given.append(f"%v{n}.{k}")
                lines.append(_cast(given[-1], names[argument], program.values[argument].dtype, value.loop[k]))
        names.append("%r" if n == len(program.values) - 1 else f"%v{n}")
        lines += _made(names[-1], value, given).split("\n")
    return lines


def has_instructions(program: Program, step: Step) -> bool:
    """Whether there are instructions for a step."""
    compares = step.ufunc in (*_ORDERS, np.equal, np.not_equal)
    try:
        for argument, dtype in zip(step.arguments, step.loop, strict=False):
            if not isinstance(argument, Constant):
                _cast("", "", program.values[argument].dtype, dtype)
            elif compares and dtype.kind in "iu":
                return False  # NumPy compares with integers of any size
        _made("", step, [""] * len(step.arguments))
    except LookupError:
        return False
    return True


def _type(dtype: np.dtype[Any]) -> str:
    found = type_of(dtype)
    if not found:
        raise LookupError(dtype)
    return found


def _cast(to: str, name: str, before: np.dtype[Any], after: np.dtype[Any]) -> str:
    old, new = _type(before), _type(after)
    if after.kind == "b" and before.kind != "b":
        return f"{to} = " + (f"fcmp une {old} {name}, 0.0" if before.kind == "f" else f"icmp ne {old} {name}, 0")
    if before.kind == "f" and after.kind != "f":
        raise LookupError(after)  # of what is too large for an integer C does not say what becomes
    if old == new:
        how = "bitcast"
    elif before.kind == "f":
        how = "fpext" if new == "double" else "fptrunc"
    elif after.kind == "f":
        how = "sitofp" if before.kind == "i" else "uitofp"
    elif before.kind != "b" and after.itemsize < before.itemsize:
        how = "trunc"
    else:
        how = "sext" if before.kind == "i" else "zext"
    return f"{to} = {how} {old} {name} to {new}"


def _made(to: str, step: Step, given: list[str]) -> str:
    """What a step makes of numbers in the dtypes that it computes in."""
    dtype, made = step.loop[0], _type(step.dtype)
    own, kind = _type(dtype), dtype.kind.replace("u", "i")
    if step.kind == "cast":
        return f"{to} = bitcast {own} {given[0]} to {own}"
    if step.kind == "choose":
        return f"{to} = select i1 {given[0]}, {made} {given[1]}, {made} {given[2]}"
    if {*step.loop[: len(given)]} != {dtype}:
        raise LookupError(step.loop)
    names = {"r": to, "t": own, "x": given[0], "y": given[-1]}
    return _TEMPLATES[step.ufunc, kind].format(**names, s="s" if dtype.kind == "i" else "u", f=f"f{8 * dtype.itemsize}")
