"""f with other bindings, for what numpy gives a sparse bundle no say in: as the dense lift's, for residuals.

``np.array([x[0] - 1, x[1]])``, ``r = np.zeros(n); r[1:] = x[1:]``, ``np.r_[...]``, ``math.sin(x[0])`` and ``A.dot(x)``
do not ask x. Where f stops at one of these, a copy of f, of the very same code, sees numpy, math and constant arrays
through substitutes, which do ask; so do the functions that f calls, of any package but numpy's kin. Nothing of the
caller's is changed.
"""

from __future__ import annotations

import math
import threading
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..arraylike import has_bundles, stacked
from ..dense.rebinding import _Binding, _Seen
from .bundle import SparseBundle, plain_key
from .slots import Run, refuse

__all__ = ["current", "rebound"]

Function = Callable[..., Any]
# not seen through: what they do with a bundle is theirs to say
LIBRARIES = frozenset({"numpy", "scipy", "math", "builtins", "functools", "itertools", "operator", "fastgrad", "numba"})


class _Current(threading.local):
    """Of each thread: the run that f is called in."""

    run: Run | None = None


current = _Current()


def _new(values: Any) -> Any:
    """A new array of floats, which bundles may be assigned into."""
    if current.run is None or not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return values
    values = values.view(np.ndarray)  # of a constant array it is one
    return SparseBundle(values.astype(np.complex128) if current.run.imaginary else values, (), current.run)


class Constant(np.ndarray):
    """A constant array whose methods and indices may be given bundles."""

    def dot(self, b: Any, out: Any = None) -> Any:
        return np.dot(self.view(np.ndarray), b) if out is None else np.dot(self, b, out=out)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(plain_key(key) if has_bundles(key) else key)


def _array(object: Any, dtype: Any = None, **kwargs: Any) -> Any:
    if type(object) is SparseBundle:
        return object.copy() if dtype is None else object.astype(dtype)
    if isinstance(object, list | tuple) and has_bundles(object):
        made = stacked(object)
        return made if dtype is None else made.astype(dtype)
    return np.array(object, dtype, **kwargs)


def _asarray(a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    if type(a) is SparseBundle:
        same = dtype is None or a.dtype == np.dtype(dtype) or (a.dtype.kind == "c" and np.dtype(dtype).kind == "f")
        return a if same else a.astype(dtype)
    return _array(a, dtype) if isinstance(a, list | tuple) and has_bundles(a) else np.asarray(a, dtype, *args, **kwargs)


def _filled(func: Function, *args: Any, **kwargs: Any) -> Any:
    if func is np.full and has_bundles(args[1:]):
        return np.zeros(args[0]) + args[1] if current.run is None else _new(np.zeros(args[0])) + args[1]
    made = func(*args, **kwargs)
    if func in (np.empty, np.empty_like) and isinstance(made, np.ndarray):
        made[...] = 0  # what was there before is no number of f's
    return _new(made)


def _listed(func: Function, arrays: Any, *args: Any, **kwargs: Any) -> Any:
    """np.concatenate and its kin, of lists that hold bundles."""
    if isinstance(arrays, list | tuple):
        parts = [stacked(part) if isinstance(part, list | tuple) and has_bundles(part) else part for part in arrays]
        return func(parts, *args, **kwargs)
    return func(arrays, *args, **kwargs)


def _at_least_1d(*arrays: Any) -> Any:
    found = [np.reshape(a, (1,)) if type(a) is SparseBundle and not a.ndim else a for a in map(_asarray, arrays)]
    found = [a if type(a) is SparseBundle else np.atleast_1d(a) for a in found]
    return found[0] if len(found) == 1 else found


def _nan_to_num(x: Any, *args: Any, **kwargs: Any) -> Any:
    if type(x) is not SparseBundle:
        return np.nan_to_num(x, *args, **kwargs)
    if not np.isfinite(x.base).all():
        raise refuse("np.nan_to_num where there is something to replace")
    return x


def _cross(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    if not has_bundles((a, b)):
        return np.cross(a, b, *args, **kwargs)
    if args or kwargs or np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise refuse("np.cross of other vectors than those along the last axis, of length 3")
    (a0, a1, a2), (b0, b1, b2) = ([v[..., i] for i in range(3)] for v in (_asarray(a), _asarray(b)))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    if type(f) is not SparseBundle:
        plain: Function = np.gradient
        return plain(f, *spacing, axis=axis, edge_order=edge_order)
    axes = range(f.ndim) if axis is None else [axis]
    if edge_order != 1 or any(np.ndim(h) for h in spacing) or len(spacing) not in (0, 1, len(axes)):
        raise refuse("np.gradient with uneven spacing or another edge_order")
    steps = list(spacing or (1.0,)) * (1 if len(spacing) == len(axes) else len(axes))
    found = []
    for along, h in zip(axes, steps, strict=True):
        lead = (slice(None),) * (along % f.ndim)
        first = (f[(*lead, slice(1, 2))] - f[(*lead, slice(0, 1))]) / h
        inner = (f[(*lead, slice(2, None))] - f[(*lead, slice(None, -2))]) / (2.0 * h)
        last = (f[(*lead, slice(-1, None))] - f[(*lead, slice(-2, -1))]) / h
        found.append(np.concatenate([first, inner, last], axis=along))
    return found[0] if len(found) == 1 else found


def _vectorize(pyfunc: Function, *options: Any, **named: Any) -> Function:
    """np.vectorize: one call for each entry."""
    plain = np.vectorize(pyfunc, *options, **named)

    def each(*arrays: Any, **kwargs: Any) -> Any:
        if not has_bundles(arrays):
            return plain(*arrays, **kwargs)
        shape = np.broadcast_shapes(*map(np.shape, arrays))
        if options or named or kwargs or not shape or any(np.shape(a) not in (shape, ()) for a in arrays):
            raise refuse("np.vectorize with options, or of arrays of several shapes")
        entries = [[a] * math.prod(shape) if np.shape(a) == () else np.ravel(a) for a in arrays]
        return np.reshape(stacked([pyfunc(*some) for some in zip(*entries, strict=True)]), shape)

    return each


class _Rows:
    """np.r_."""

    def __getitem__(self, key: Any) -> Any:
        if not has_bundles(key):
            return np.r_[key]
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, str | slice) for part in parts):
            raise refuse("np.r_ with slices or directives")
        return np.concatenate([_at_least_1d(part) for part in parts])


FILLERS = (np.zeros, np.empty, np.ones, np.full, np.zeros_like, np.empty_like, np.ones_like, np.full_like)
SUBSTITUTES: dict[Any, Function] = {
    np.array: _array,
    **dict.fromkeys((np.asarray, np.asanyarray, np.ascontiguousarray, np.asarray_chkfinite), _asarray),
    **{func: partial(_filled, func) for func in FILLERS},
    **{func: partial(_listed, func) for func in (np.concatenate, np.hstack, np.vstack, np.stack, np.column_stack)},
    np.atleast_1d: _at_least_1d,
    np.nan_to_num: _nan_to_num,
    np.cross: _cross,
    np.gradient: _gradient,
}


class _Module(types.ModuleType):
    """A module with substitutes in place of some of its functions."""

    def __init__(self, original: types.ModuleType, put: Callable[[str, Any], Any]) -> None:
        super().__init__(original.__name__)
        self._original, self._put = original, put

    def __getattr__(self, name: str) -> Any:
        value = self._put(name, getattr(self._original, name))
        setattr(self, name, value)  # found directly the next time
        return value


def _of_numpy(name: str, value: Any) -> Any:
    if name == "r_":
        return _Rows()
    if name == "vectorize":
        return _vectorize
    return SUBSTITUTES.get(value, value) if callable(value) and not isinstance(value, type) else value


NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "pow": "power", "atan2": "arctan2"}


def _of_math(name: str, value: Any) -> Any:
    """A function of a number that numpy has too."""
    ufunc = getattr(np, NAMES.get(name, name), None)
    if not isinstance(ufunc, np.ufunc):
        return value

    def either(*numbers: Any) -> Any:
        return ufunc(*numbers) if has_bundles(numbers) else value(*numbers)

    return either


NUMPY, MATH = _Module(np, _of_numpy), _Module(math, _of_math)
OF_MATH = {value: _of_math(name, value) for name, value in vars(math).items() if callable(value)}


class _Operator(_Seen):
    """A constant sparse matrix of SciPy, whose `dot` may be given bundles."""

    __array_ufunc__ = None  # arrays and bundles leave `other @ matrix` to us

    def __matmul__(self, other: Any) -> Any:
        return self._original @ other

    dot = __matmul__

    def __rmatmul__(self, other: Any) -> Any:
        return other @ self._original

    def __mul__(self, other: Any) -> Any:
        return self._original @ other if type(other) is SparseBundle else self._original * other

    @property
    def T(self) -> _Operator:  # noqa: N802
        return _Operator(self._original.T, self._binding)


class _SparseBinding(_Binding):
    """The substitutes of one call of `rebound`."""

    def value(self, value: Any) -> Any:
        kind = type(value)
        if value is np:
            return NUMPY
        if value is math:
            return MATH
        if kind is np.ndarray:
            return value.view(Constant) if value.dtype.kind in "biufc" else value
        if kind.__module__.startswith("scipy.sparse") and hasattr(value, "tocsr"):
            return _Operator(value, self)
        if kind is types.ModuleType and self._own(value):
            return _Module(value, lambda _, inner: self.value(inner))
        if kind in (types.BuiltinFunctionType, type(np.array), type(np.zeros_like)) and not self._followed(value):
            return SUBSTITUTES.get(value, OF_MATH.get(value, value))
        return super().value(value)

    def _followed(self, value: Any) -> bool:
        return type(value) is types.FunctionType and self._own(value)

    def _own(self, thing: Any) -> bool:
        name = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
        return isinstance(name, str) and name.partition(".")[0] not in LIBRARIES


def rebound(f: Function, args: Any) -> tuple[Function, Any]:
    """A copy of f, and its arguments, that see numpy and constant arrays through the substitutes.

    Made anew for each run, so that it sees f's globals and closure as they are.
    """
    binding = _SparseBinding("")
    return binding.value(f), tuple(map(binding.value, args))
