"""What is not in the array API standard, and how the standard, or array-api-extra, says it."""

from __future__ import annotations

import re

import array_api_compat.numpy

FUNCTIONS = {
    "absolute": "xp.abs",
    "power": "xp.pow",
    "concatenate": "xp.concat",
    "hstack": "xp.concat",
    "vstack": "xp.concat, or xp.stack",
    "column_stack": "xp.stack(arrays, axis=1)",
    "transpose": "xp.permute_dims, or x.T for matrices",
    "swapaxes": "xp.permute_dims, or xp.moveaxis",
    "amax": "xp.max",
    "amin": "xp.min",
    "product": "xp.prod",
    "fabs": "xp.abs",
    "invert": "xp.bitwise_invert",
    "left_shift": "xp.bitwise_left_shift",
    "right_shift": "xp.bitwise_right_shift",
    "true_divide": "xp.divide",
    "mod": "xp.remainder",
    "fmax": "xp.maximum, with xp.where for NaN",
    "fmin": "xp.minimum, with xp.where for NaN",
    "arcsin": "xp.asin",
    "arccos": "xp.acos",
    "arctan": "xp.atan",
    "arctan2": "xp.atan2",
    "arcsinh": "xp.asinh",
    "arccosh": "xp.acosh",
    "arctanh": "xp.atanh",
    "cbrt": "xp.sign(x) * xp.abs(x) ** (1 / 3)",
    "float_power": "xp.pow, of floats",
    "cumsum": "xp.cumulative_sum(x, axis=...)",
    "cumprod": "xp.cumulative_prod(x, axis=...)",
    "dot": "xp.vecdot(x, y) for vectors, x @ y for matrices",
    "inner": "xp.vecdot, or xp.tensordot",
    "einsum": "xp.tensordot, xp.matmul, or products and xp.sum(..., axis=...)",
    "ravel": "xp.reshape(x, (-1,))",
    "array": "xp.asarray(x, copy=True)",
    "copy": "xp.asarray(x, copy=True)",
    "ascontiguousarray": "xp.asarray",
    "clamp": "xp.clip",
    "cat": "xp.concat",
    "permute": "xp.permute_dims",
    "mm": "x @ y",
    "bincount": "xp.sum(xp.astype(x[:, None] == xp.arange(n)[None, :], xp.int64), axis=0)",
    "histogram": "xp.searchsorted of the sorted data at the edges, and differences of that",
    "average": "xp.sum(weights * x) / xp.sum(weights)",
    "ptp": "xp.max(x) - xp.min(x)",
    "square": "xp.square, or x * x",
    "median": "xp.sort, and its middle",
    "quantile": "xp.sort, and its elements at the quantiles",
    "percentile": "xp.sort, and its elements at the percentiles",
    "unique": "xp.unique_values, xp.unique_counts, xp.unique_inverse or xp.unique_all",
    "in1d": "xp.isin",
    "allclose": "xp.all(xp.abs(x - y) <= tolerance)",
    "array_equal": "xp.all(x == y)",
    "flatnonzero": "xp.nonzero(xp.reshape(x, (-1,)))[0]",
    "argwhere": "xp.stack(xp.nonzero(x), axis=1)",
    "broadcast_shapes": "xp.broadcast_arrays, or array_api_extra.broadcast_shapes",
    "default_dtype": "array_api_extra.default_dtype(xp)",
    "choose": "xp.where",
    "select": "xp.where, one in another",
    "piecewise": "xp.where",
    "rot90": "xp.flip and xp.permute_dims",
    "fliplr": "xp.flip(x, axis=1)",
    "flipud": "xp.flip(x, axis=0)",
    "trace": "xp.linalg.trace",
    "norm": "xp.linalg.vector_norm or xp.linalg.matrix_norm",
    "lstsq": "xp.linalg.pinv(A) @ b",
    "identity": "xp.eye(n)",
    "atleast_1d": "array_api_extra.atleast_nd(x, ndim=1)",
    "atleast_2d": "array_api_extra.atleast_nd(x, ndim=2)",
    "atleast_3d": "array_api_extra.atleast_nd(x, ndim=3)",
    "diag": "array_api_extra.create_diagonal, or xp.linalg.diagonal to read one",
    "random": "numbers made from a seed and the global position, tile.coords",
    "pi": "xp.pi",
    "interp": "xp.searchsorted, xp.take and the line between the two",
    "convolve": "a halo in the notation, and a sum of shifted slices",
    "gradient": "a halo in the notation, and a difference of slices",
    "bool_": "xp.bool",
    "float_": "xp.float64",
    "vectorize": "operations on whole arrays",
    "put": "xp.where, or array_api_extra.at(x, i).set(v)",
}
"""From a function's name to the standard's way to say it; :data:`EXTRA` has those that array-api-extra adds."""

EXTRA = frozenset(
    [
        "angle",
        "apply_where",
        "argpartition",
        "at",
        "atleast_nd",
        "cov",
        "create_diagonal",
        "deg2rad",
        "diag_indices",
        "expand_dims",
        "isclose",
        "isin",
        "kron",
        "lazy_apply",
        "nan_to_num",
        "nanmax",
        "nanmean",
        "nanmin",
        "nansum",
        "nunique",
        "one_hot",
        "pad",
        "partition",
        "rad2deg",
        "searchsorted",
        "setdiff1d",
        "sinc",
        "tril_indices",
        "triu_indices",
        "union1d",
        "unravel_index",
    ]
)
"""The functions of array-api-extra."""

METHODS = {
    "astype": "xp.astype(x, dtype)",
    "copy": "xp.asarray(x, copy=True)",
    "clone": "xp.asarray(x, copy=True)",
    "reshape": "xp.reshape(x, shape)",
    "flatten": "xp.reshape(x, (-1,))",
    "tolist": "array operations: a loop over values waits for the device",
    "item": "int(x), float(x), complex(x) or bool(x), which wait for the device",
    "fill": "x[...] = value",
    "sort": "xp.sort(x), which returns a new array",
    "view": "xp.astype, or xp.reshape: the standard has no views as another dtype",
    "real": "xp.real(x)",
    "imag": "xp.imag(x)",
    "flat": "xp.reshape(x, (-1,))",
    "itemsize": "xp.finfo(x.dtype).bits // 8 or xp.iinfo(x.dtype).bits // 8",
    "nbytes": "x.size * (xp.finfo(x.dtype).bits // 8)",
    "strides": "nothing: how an array lies in memory is the library's own",
    "base": "nothing: whose memory an array shares is the library's own",
    "flags": "nothing: how an array lies in memory is the library's own",
    "unsqueeze": "xp.expand_dims(x, axis=...), or x[None, ...]",
}
"""The same for methods and attributes of arrays; those that are missing here are functions, ``xp.sum(x)``."""

DTYPES = {
    "kind": 'xp.isdtype(x.dtype, "real floating"), "integral", "bool", ...',
    "itemsize": METHODS["itemsize"],
    "name": "xp.isdtype, or a comparison with xp.float64 and the like",
    "char": 'xp.isdtype(x.dtype, "real floating"), "integral", "bool", ...',
    "type": "x.dtype itself",
    "is_floating_point": 'xp.isdtype(x.dtype, "real floating")',
}
"""The same for attributes of dtypes."""

_WHERE = "xp.where(mask, x, fill), which keeps the shape, or '?' in the notation for an extent that depends on values"
_LOOK = "look for it in the standard: https://data-apis.org/array-api"
_CAST = "cast first: xp.astype(n, x.dtype) for an array, xp.asarray(n, dtype=x.dtype) for a number"
_MESSAGES = (
    (
        r"UInt(?:16|32|64)|ComplexHalf",
        "an operation that torch lacks on this dtype",
        "int64 or float64, on which torch has all of the standard",
    ),
    (r"boolean_indexing flag", "indexing by a mask", _WHERE),
    (r"data.dependent.shapes", "a shape that depends on values", _WHERE),
    (
        r"cannot be type promoted|can only be promoted|cannot be promoted|Promotion.*unspecified",
        "mixing kinds of dtype",
        _CAST,
    ),
    (
        r"Only .*dtypes? (?:is|are) allowed|not implemented for '(?:Int|Long|Bool|Half)",
        "this operation on this dtype",
        "cast it first: xp.astype(x, xp.float64)",
    ),
    (r"immutable", "assignment to an element", "xp.where, or array_api_extra.at(x, i).set(v)"),
    (r"read-only", "writing to an operand", "copy it first: xp.asarray(x, copy=True)"),
    (
        r"multi-axes index only specifies",
        "indexing with fewer indices than axes",
        "end the index with an ellipsis: x[i, ...]",
    ),
    (
        r"^IndexError|[Ii]ndices must be|Using a non-tuple sequence",
        "indexing of this kind",
        "xp.take(x, xp.asarray(places), axis=...), or xp.take_along_axis",
    ),
    (
        r"takes .*positional argument|required positional",
        "this argument by position",
        "the standard's keywords, xp.sum(x, axis=0), and shapes as one tuple",
    ),
    (
        r"unexpected keyword argument '(?:out|where)'|out=",
        "an argument out= or where=",
        "return the result, and select with xp.where",
    ),
    (r"unexpected keyword argument", "an argument that the standard's function lacks", "the standard's own keywords"),
    (
        r"dtype must be one of|_np_dtype|must be torch.dtype|data type .* not understood",
        "a dtype by name or of NumPy",
        "the namespace's own, such as xp.float64, or x.dtype",
    ),
    (
        r"Expected Array or Python scalar|numpy\.ndarray|numpy\.float|can't convert .* to numpy",
        "an array of NumPy inside the body",
        "xp alone instead of numpy, and xp.asarray(value) for constants",
    ),
    (
        r"'list' object has no attribute '(?:dtype|ndim|shape|_\w+)'|must be an Array; got <class 'list'>"
        r"|combination of arguments - got \(list",
        "a list in place of an array",
        "xp.asarray(values), or xp.stack(arrays) of arrays",
    ),
    (r"has no len|object of type", "len(x)", "x.shape[0]"),
    (r"must be a tuple of ints", "a shape that is not a tuple", "a tuple: xp.reshape(x, (-1,))"),
)
"""Patterns of a text, what they mean and what to write instead; the first that fits counts."""


def spelling_for(error: BaseException) -> tuple[str, str]:
    """What a body did that is not in the standard, and what to write instead; each empty where nothing is known.

    Examples
    --------
    >>> import math
    >>> try:
    ...     math.concatenate
    ... except AttributeError as error:
    ...     spelling_for(error)
    ('xp.concatenate', 'use xp.concat')
    """
    name = getattr(error, "name", None)
    if isinstance(error, AttributeError) and name and not (name.startswith("_") or _is_plain(error.obj)):
        return _attribute(error.obj, name)
    text = f"{type(error).__name__}: {error}"
    for pattern, what, instead in _MESSAGES:
        if re.search(pattern, text):
            return what, instead if instead.startswith(("cast", "copy", "end", "return")) else f"use {instead}"
    return "", ""


def _is_plain(owner: object) -> bool:
    """What is neither an array nor a module, and needs no spelling of its own."""
    return owner is None or isinstance(owner, list)


def _attribute(owner: object, name: str) -> tuple[str, str]:
    module = getattr(owner, "__name__", "")
    kind = type(owner).__name__
    if kind == "module":
        folder = next((f for f in ("fft", "linalg") if module.endswith(f)), "")
        shown = f"xp.{folder}.{name}" if folder else f"xp.{name}"
        instead = f"array_api_extra.{name}" if name in EXTRA else FUNCTIONS.get(name, "")
        return shown, f"use {instead}" if instead else _LOOK
    if "dtype" in kind.lower():
        return f"x.dtype.{name}", f"use {DTYPES.get(name, 'xp.isdtype')}"
    if not (hasattr(owner, "shape") and hasattr(owner, "dtype")):
        return "", ""
    instead = METHODS.get(name) or FUNCTIONS.get(name) or (f"array_api_extra.{name}(x)" if name in EXTRA else "")
    if not instead and hasattr(array_api_compat.numpy, name):
        instead = f"xp.{name}(x)"
    return f"x.{name}", f"use {instead}" if instead else _LOOK
