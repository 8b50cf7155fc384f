"""numpy's functions and methods for bundles: mostly the function itself, told of one axis more.

A handler takes the arguments of its numpy function. It need not know all of them: where it fails or
returns NotImplemented, the function is called point by point (`bundle.per_point`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..arraylike import Array, Handler, entering
from ..composites import COMPOSITES, axes_of
from ..work import CELL
from .bundle import HANDLERS, Bundle, aligned, expect_large, matmul, memory, operand, raw, same_for_all

_func: Any  # a numpy function, in the loops below that fill the table
_ufunc: Any
Function = Callable[..., Any]


def wrapped(result: Any) -> Any:
    """Every array in a result as a bundle; named tuples keep their names."""
    if isinstance(result, np.ndarray):
        return Bundle(result)
    if isinstance(result, list):
        return [wrapped(r) for r in result]
    return type(result)(*map(wrapped, result)) if hasattr(result, "_fields") else tuple(map(wrapped, result))


handles = entering(HANDLERS)


def batched(value: object, size: int) -> Array:
    """The data of a bundle; a constant as it would be at each of the points."""
    if type(value) is Bundle:
        return value.data
    array = np.asarray(value)
    return np.broadcast_to(array, (size, *array.shape))


def size_of(values: Sequence[Any]) -> int:
    """How many points the bundles among these hold."""
    return next(len(v.data) for v in values if type(v) is Bundle)


def own_axis(a: Bundle, axis: Any) -> Any:
    """An axis, or several, of the points as axes of their data; all of them for None."""
    if axis is None:
        return tuple(range(1, a.data.ndim))
    if isinstance(axis, int):
        return normalize_axis_index(axis, a.data.ndim - 1) + 1
    return tuple(i + 1 for i in normalize_axis_tuple(axis, a.data.ndim - 1))


def flattened(a: Bundle) -> Array:
    """The data with one axis for each point."""
    return a.data.reshape(len(a.data), -1)


def constant(*values: object) -> bool:
    """Whether none of these is a bundle."""
    return not any(type(v) is Bundle for v in values)


# --- reductions ---------------------------------------------------------------------------------------


def reduction(func: Function, a: object, axis: object = None, **kwargs: object) -> Any:
    """Over all of a point's axes, or some."""
    if type(a) is not Bundle or not constant(*kwargs.values()):
        return NotImplemented
    return Bundle(func(a.data, axis=own_axis(a, axis), **kwargs))


def flat_or_axis(func: Function, a: object, *rest: object, axis: object = None, **kwargs: object) -> Any:
    """Along one axis; for None, along the flattened point."""
    if type(a) is not Bundle or not constant(*rest, *kwargs.values()):
        return NotImplemented
    if axis is None:
        return Bundle(func(flattened(a), *rest, axis=1, **kwargs))
    return Bundle(func(a.data, *rest, axis=own_axis(a, axis), **kwargs))


def lean(ufunc: np.ufunc, func: Function) -> Handler:
    """The commonest calls, ``np.sum(a)`` and ``a.sum()``, without numpy's Python code in between."""

    def handler(a: object, *args: object, **kwargs: object) -> Any:
        if args or kwargs or type(a) is not Bundle:
            return reduction(func, a, *args, **kwargs)
        data = a.data
        return Bundle(ufunc.reduce(data, axis=1 if data.ndim == 2 else tuple(range(1, data.ndim))))

    return handler


for _func, _ufunc in {
    np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum,
    np.amax: np.maximum, np.amin: np.minimum,
}.items():  # fmt: skip
    HANDLERS[_func] = lean(_ufunc, _func)

for _func in (
    np.any, np.all, np.var, np.std, np.median, np.ptp, np.count_nonzero, np.nansum, np.nanprod, np.nanmean,
    np.nanvar, np.nanstd, np.nanmax, np.nanmin, np.nanmedian, np.fft.fftshift, np.fft.ifftshift,
):  # fmt: skip
    HANDLERS[_func] = partial(reduction, _func)

for _func in (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod, np.argmin, np.argmax, np.nanargmin, np.nanargmax):
    HANDLERS[_func] = lambda a, axis=None, func=_func, **kwargs: flat_or_axis(func, a, axis=axis, **kwargs)


@handles(np.mean)
def _mean(a: Any, axis: Any = None, **kwargs: Any) -> Any:
    if axis is None and not kwargs and a.data.ndim == 2 and a.data.dtype == np.float64 and a.data.size:
        return Bundle(np.add.reduce(a.data, axis=1) / a.data.shape[1])
    return reduction(np.mean, a, axis, **kwargs)


for _func in (np.quantile, np.percentile):

    @handles(_func)
    def _quantile(a: Any, q: Any, axis: Any = None, func: Function = _func, **kwargs: Any) -> Any:
        return reduction(partial(func, q=q), a, axis, **kwargs) if np.ndim(q) == 0 else NotImplemented


# --- along an axis --------------------------------------------------------------------------------------


def along(func: Function, default: int) -> Handler:
    """Functions whose second argument is about the values and whose axis has a default."""

    def handler(a: object, *args: object, axis: object = default, **kwargs: object) -> Any:
        return flat_or_axis(func, a, *args, axis=axis, **kwargs)

    return handler


for _func in (np.diff, np.partition, np.argpartition):
    HANDLERS[_func] = along(_func, -1)
for _func in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft):
    HANDLERS[_func] = along(_func, -1)
for _func in (np.repeat, np.take):
    HANDLERS[_func] = lambda a, b, axis=None, func=_func, **kwargs: flat_or_axis(func, a, b, axis=axis, **kwargs)
for _func in (np.sort, np.argsort):
    HANDLERS[_func] = lambda a, axis=-1, func=_func, **kwargs: flat_or_axis(func, a, axis=axis, **kwargs)
for _func in (np.split, np.array_split):
    HANDLERS[_func] = lambda a, parts, axis=0, func=_func: wrapped(func(a.data, parts, axis=own_axis(a, axis)))


@handles(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    if type(y) is not Bundle or not constant(x, dx) or np.ndim(x) > 1 or np.ndim(dx):
        return NotImplemented
    return Bundle(np.trapezoid(y.data, x, dx, axis=own_axis(y, axis)))


@handles(np.gradient)
def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: Any = 1) -> Any:
    if not constant(*spacing):
        return NotImplemented
    axes = own_axis(f, axis)
    return wrapped(np.gradient(f.data, *spacing, axis=axes, edge_order=edge_order))


@handles(np.flip)
def _flip(m: Bundle, axis: object = None) -> Bundle:
    return Bundle(np.flip(m.data, own_axis(m, axis)))


@handles(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if not constant(shift):
        return NotImplemented
    if axis is None:
        return Bundle(np.roll(flattened(a), shift, axis=1).reshape(a.data.shape))
    return Bundle(np.roll(a.data, shift, axis=own_axis(a, axis)))


@handles(np.rot90)
def _rot90(m: Bundle, k: int = 1, axes: Any = (0, 1)) -> Bundle:
    return Bundle(np.rot90(m.data, k, axes=own_axis(m, tuple(axes))))


@handles(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    if not constant(pad_width, *kwargs.values()) or not isinstance(mode, str) or isinstance(pad_width, dict):
        return NotImplemented
    if any(np.ndim(v) for v in kwargs.values()):
        return NotImplemented
    pairs: Any = [(0, 0), *map(tuple, np.broadcast_to(pad_width, (array.ndim, 2)))]
    pad: Any = np.pad
    return Bundle(pad(array.data, pairs, mode, **kwargs))


@handles(np.trace)
def _trace(a: Bundle, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Bundle:
    return Bundle(np.trace(a.data, offset, own_axis(a, axis1), own_axis(a, axis2), dtype))


@handles(np.diagonal)
def _diagonal(a: Bundle, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Bundle:
    return Bundle(np.diagonal(a.data, offset, own_axis(a, axis1), own_axis(a, axis2)))


@handles(np.diag)
def _diag(v: Bundle, k: int = 0) -> Any:
    if v.ndim == 2:
        return _diagonal(v, k)
    place = np.diag(np.ones(v.size, bool), k)
    out = np.zeros((len(v.data), *place.shape), v.data.dtype)
    out[:, place] = v.data
    return Bundle(out)


# --- shapes -----------------------------------------------------------------------------------------------


@handles(np.reshape)
def _reshape(a: Bundle, shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    if order != "C" or copy is not None:
        return NotImplemented
    if type(shape) is tuple and 1 in shape:
        expect_large(a.data)
    return Bundle(a.data.reshape(len(a.data), *([shape] if np.ndim(shape) == 0 else shape)))


@handles(np.ravel)
def _ravel(a: Bundle, order: str = "C") -> Any:
    return Bundle(flattened(a)) if order == "C" else NotImplemented


@handles(np.transpose)
def _transpose(a: Bundle, axes: object = None) -> Bundle:
    return Bundle(a.data.transpose(0, *(1 + axis for axis in axes_of(np.transpose, a.ndim, axes))))


@handles(np.broadcast_to)
def _broadcast_to(array: Bundle, shape: Any) -> Bundle:
    shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    return Bundle(np.broadcast_to(raw(array, len(shape)), (len(array.data), *shape)))


@handles(np.tile)
def _tile(A: Bundle, reps: Any) -> Bundle:  # noqa: N803
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    data = raw(A, len(reps))
    return Bundle(np.tile(data, (*(1,) * (data.ndim - len(reps)), *reps)))


def joined(func: Function, arrays: Any, axis: Any, **kwargs: Any) -> Any:
    """Join points along an axis of theirs."""
    parts = [operand(a) for a in arrays]
    size = size_of(parts)
    data = [batched(a, size) for a in parts]
    rank = data[0].ndim - 1 + (func is np.stack)
    return Bundle(func(data, axis=normalize_axis_index(axis, rank) + 1, **kwargs))


@handles(np.concatenate)
def _concatenate(arrays: Any, axis: Any = 0, **kwargs: Any) -> Any:
    if axis is None:
        arrays, axis = [np.ravel(operand(a)) for a in arrays], 0
    return joined(np.concatenate, arrays, axis, **kwargs)


HANDLERS[np.stack] = lambda arrays, axis=0, **kwargs: joined(np.stack, arrays, axis, **kwargs)


for _func in (np.zeros_like, np.ones_like, np.empty_like):

    @handles(_func)
    def _like(a: Any, dtype: Any = None, shape: Any = None, func: Function = _func) -> Any:
        if type(a) is not Bundle:
            return NotImplemented
        wanted = a.shape if shape is None else (shape,) if np.ndim(shape) == 0 else tuple(shape)
        return Bundle(func(a.data, dtype=dtype, order="C", shape=(len(a.data), *wanted)))


@handles(np.full_like)
def _full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    out = np.empty_like(a, dtype=dtype)
    out[...] = fill_value
    return out


HANDLERS[np.copy] = lambda a, order="K": Bundle(a.data.copy())
HANDLERS[np.shape] = lambda a: a.shape
HANDLERS[np.ndim] = lambda a: a.ndim
HANDLERS[np.size] = lambda a, axis=None: a.size if axis is None else a.shape[axis]
HANDLERS[np.iscomplexobj] = lambda x: np.iscomplexobj(x.data)
HANDLERS[np.isrealobj] = lambda x: np.isrealobj(x.data)


def on_dtypes(func: Function, *args: object, **kwargs: object) -> Any:
    """Functions that look at dtypes or memory only."""
    return func(*(a.data if type(a) is Bundle else a for a in args), **kwargs)


for _func in (np.result_type, np.can_cast, np.common_type, np.may_share_memory, np.shares_memory):
    HANDLERS[_func] = partial(on_dtypes, _func)


# --- entry by entry ---------------------------------------------------------------------------------------


def entrywise(func: Function, *args: object, **kwargs: object) -> Any:
    """Functions that broadcast all of their positional arguments."""
    return Bundle(func(*aligned(args), **kwargs)) if constant(*kwargs.values()) else NotImplemented


for _func in (np.nan_to_num, np.isclose, np.sinc, np.angle, np.i0, np.fix, np.isreal, np.iscomplex):
    HANDLERS[_func] = partial(entrywise, _func)
for _func in (np.real, np.imag):
    HANDLERS[_func] = lambda val, func=_func: Bundle(func(val.data))
for _func in (np.round, np.around):
    HANDLERS[_func] = lambda a, decimals=0, func=_func: Bundle(func(a.data, decimals))


@handles(np.clip)
def _clip(a: object, a_min: object = None, a_max: object = None, **limits: object) -> Any:
    low, high = limits.get("min", a_min), limits.get("max", a_max)
    given = iter(aligned([v for v in (a, low, high) if v is not None]))
    array, *both = (None if v is None else next(given) for v in (a, low, high))
    clip: Any = np.clip
    return Bundle(clip(array, *both))


@handles(np.where)
def _where(condition: object, *choices: object) -> Any:
    return Bundle(np.where(*aligned((condition, *choices)))) if choices else _nonzero(condition)


@handles(np.nonzero)
def _nonzero(a: Bundle) -> Any:
    return np.nonzero(same_for_all(a.data.astype(bool)))


HANDLERS[np.flatnonzero] = lambda a: np.flatnonzero(same_for_all(a.data.astype(bool)))
HANDLERS[np.argwhere] = lambda a: np.argwhere(same_for_all(a.data.astype(bool)))


@handles(np.allclose)
def _allclose(a: object, b: object, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    return bool(np.all(entrywise(np.isclose, a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)))


@handles(np.array_equal)
def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    return NotImplemented if equal_nan else np.shape(a1) == np.shape(a2) and bool(np.all(np.equal(a1, a2)))


@handles(np.interp)
def _interp(x: Any, xp: Any, fp: Any, **kwargs: Any) -> Any:
    return Bundle(np.interp(x.data, xp, fp, **kwargs)) if constant(xp, fp, *kwargs.values()) else NotImplemented


HANDLERS[np.searchsorted] = lambda a, v, side="left": Bundle(np.searchsorted(a, v.data, side))
HANDLERS[np.digitize] = lambda x, bins, right=False: Bundle(np.digitize(x.data, bins, right))


# --- products and linear algebra -------------------------------------------------------------------------------


def array_operand(value: object) -> Any:
    """A bundle or an array: these functions promote a Python number like an array."""
    value = operand(value)
    return value if type(value) is Bundle else np.asarray(value)


@handles(np.dot)
def _dot(a: Any, b: Any) -> Any:
    if type(a) is type(b) is Bundle and a.ndim == b.ndim == 1 and a.data.dtype == np.float64:
        return Bundle(np.vecdot(a.data, b.data))
    a, b = array_operand(a), array_operand(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else NotImplemented


@handles(np.inner)
def _inner(a: Any, b: Any) -> Any:
    a, b = array_operand(a), array_operand(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    return matmul(a, b.T) if b.ndim <= 2 else NotImplemented


@handles(np.cross)
def _cross(a: Any, b: Any) -> Any:
    return Bundle(np.cross(*aligned((a, b)))) if np.ndim(a) and np.ndim(b) else NotImplemented


@handles(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """As numpy does it: bring the contracted axes together, then one matrix product."""
    a, b = array_operand(a), array_operand(b)
    dims, other = a.ndim, b.ndim
    if isinstance(axes, int):
        axes = list(range(dims - axes, dims)), list(range(axes))
    mine, yours = normalize_axis_tuple(axes[0], dims), normalize_axis_tuple(axes[1], other)
    rows = [i for i in range(dims) if i not in mine]
    columns = [i for i in range(other) if i not in yours]
    shape = [np.shape(a)[i] for i in rows] + [np.shape(b)[i] for i in columns]
    length = int(np.prod([np.shape(a)[i] for i in mine]))
    left = np.reshape(np.transpose(a, (*rows, *mine)), (-1, length))
    right = np.reshape(np.transpose(b, (*yours, *columns)), (length, -1))
    return np.reshape(matmul(left, right), tuple(shape))


@handles(np.einsum)
def _einsum(subscripts: Any, *operands: Any, **kwargs: Any) -> Any:
    """One letter more, for the points, on each bundle and on the result."""
    if not isinstance(subscripts, str):
        return NotImplemented
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "")
        output = "..." * ("..." in inputs) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    points = next(c for c in "PQRSTUVWXYZABCDEFGHIJKLMNO" if c not in subscripts)
    values = [operand(v) for v in operands]
    terms = [points + term if type(v) is Bundle else term for term, v in zip(inputs.split(","), values, strict=True)]
    plain = [v.data if type(v) is Bundle else v for v in values]
    if "." not in inputs and memory.work.racing:
        lengths = {c: n for term, v in zip(terms, plain, strict=True) for c, n in zip(term, v.shape, strict=True)}
        memory.work.pays(CELL * prod(lengths.values()))
    result = np.einsum(f"{','.join(terms)}->{points}{output}", *plain, **kwargs)
    return Bundle(result)


@handles(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is None:
        euclidean = ord is None or (ord == 2 and x.ndim == 1) or (ord in ("fro", "f") and x.ndim == 2)
        if euclidean and not keepdims and x.data.dtype.kind == "f":
            flat = flattened(x)
            return Bundle(np.sqrt(np.vecdot(flat, flat)))
        if x.ndim > 2 or (euclidean and keepdims):
            return NotImplemented
        axis = tuple(range(x.ndim))
        axis = axis[0] if len(axis) == 1 else axis
    return Bundle(np.linalg.norm(x.data, ord, axis=own_axis(x, axis), keepdims=keepdims))


def on_matrices(func: Function, a: object, *args: object, **kwargs: object) -> Any:
    """Functions of the last two axes, which take a stack of matrices as it is."""
    if type(a) is not Bundle or a.ndim < 2 or not constant(*args, *kwargs.values()):
        return NotImplemented
    return wrapped(func(a.data, *args, **kwargs))


for _func in (
    np.linalg.det, np.linalg.slogdet, np.linalg.inv, np.linalg.cholesky, np.linalg.eigvalsh, np.linalg.eigh,
    np.linalg.svd, np.linalg.svdvals, np.linalg.qr, np.linalg.pinv, np.linalg.matrix_rank, np.linalg.cond,
    np.linalg.matrix_power, np.tril, np.triu, np.fft.fft2, np.fft.ifft2,
):  # fmt: skip
    HANDLERS[_func] = partial(on_matrices, _func)


@handles(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    a, b = array_operand(a), array_operand(b)
    vector = b.ndim == 1
    if type(a) is not Bundle and a.ndim == 2 and vector:  # one factorisation for all points
        return Bundle(np.ascontiguousarray(np.linalg.solve(a, b.data.T).T))
    left, right = aligned((a, b[:, None] if vector else b))
    solution = np.linalg.solve(left, right)
    return Bundle(solution[..., 0] if vector else solution)


HANDLERS.update(COMPOSITES)

# --- methods ------------------------------------------------------------------------------------------------

for _func in (
    np.sum, np.prod, np.mean, np.min, np.max, np.any, np.all, np.var, np.std, np.cumsum, np.cumprod, np.argmin,
    np.argmax, np.argsort, np.argpartition, np.round, np.repeat, np.take, np.trace, np.diagonal, np.squeeze,
    np.swapaxes, np.ravel, np.dot, np.nonzero, np.searchsorted, np.copy,
):  # fmt: skip

    def _as_method(self: Bundle, *args: object, _func: Function = _func, **kwargs: object) -> Any:
        return self.__array_function__(_func, (Bundle,), (self, *args), kwargs)

    setattr(Bundle, _func.__name__, _as_method)

for _ufunc in (
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt, np.cbrt, np.sin, np.cos, np.tan,
    np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.conjugate,
    np.fabs, np.rint, np.degrees, np.radians, np.deg2rad, np.rad2deg,
):  # fmt: skip
    # numpy calls these methods on the entries of an array of objects
    setattr(Bundle, _ufunc.__name__, lambda self, _ufunc=_ufunc: Bundle(_ufunc(self.data)))


def method(func: Handler) -> Handler:
    """Enter a method that is not its function with the array in front."""
    setattr(Bundle, func.__name__, func)
    return func


@method
def reshape(self: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    keywords = {"order": order} if copy is None else {"order": order, "copy": copy}
    return self.__array_function__(np.reshape, (Bundle,), (self, shape[0] if len(shape) == 1 else shape), keywords)


@method
def transpose(self: Bundle, *axes: Any) -> Any:
    return np.transpose(self, None if not axes or axes == (None,) else axes[0] if len(axes) == 1 else axes)


@method
def flatten(self: Any, order: str = "C") -> Any:
    return Bundle(flattened(self).copy()) if order == "C" else _ravel(self, order)


@method
def astype(self: Bundle, dtype: Any, order: str = "K", casting: Any = "unsafe", copy: bool = True) -> Bundle:
    return Bundle(self.data.astype(dtype, casting=casting, copy=copy))


@method
def conj(self: Bundle) -> Bundle:
    return Bundle(self.data.conj())


@method
def clip(self: Bundle, min: Any = None, max: Any = None) -> Any:
    return np.clip(self, min, max)


@method
def compress(self: Bundle, condition: Any, axis: Any = None) -> Any:
    return np.compress(condition, self, axis=axis)


@method
def fill(self: Bundle, value: object) -> None:
    self[...] = value


@method
def sort(self: Bundle, axis: int = -1, **kwargs: Any) -> None:
    self[...] = np.sort(self, axis=axis, **kwargs)


@method
def dot(self: Bundle, b: object) -> Any:
    return _dot(self, b)
