"""numpy, math and float as f sees them where numpy gives an array-like no say in: one table for all lifts.

``np.asarray(x)``, ``np.array([x[0], x[1]])``, ``r = np.zeros(n); r[0] = x[0]``, ``np.r_[x, 1.0]``, ``math.sin(x[0])``,
``float(x[0])`` and ``A.dot(x)`` with a constant A do not ask x. What is in this table does: it asks the array-likes
that it is given, and makes of a new array what the run of f in this thread says (`present`). In a thread without such
a run, and without array-likes, each does what it stands for.
"""

from __future__ import annotations

import math
import threading
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .arraylike import NESTED, Array, ArrayLike, has_bundles, is_bundle, stacked
from .signals import CannotLift

Function = Callable[..., Any]


class Present(threading.local):
    """Of each thread: what f, which runs there, is to get for an array that it has made."""

    fresh: Callable[[Array], Any] | None = None


present = Present()


class Constant(np.ndarray[Any, Any]):
    """A constant array whose methods and indices may be given array-likes."""

    def dot(self, b: Any, out: Any = None) -> Any:
        plain = self.view(np.ndarray)
        return np.dot(plain, b) if out is None else np.dot(plain, b, out=out)

    def searchsorted(self, v: Any, side: Any = "left", sorter: Any = None) -> Any:
        return np.searchsorted(self.view(np.ndarray), v, side=side, sorter=sorter)  # whose method this is, again

    def __getitem__(self, key: Any) -> Any:
        if has_bundles(key):
            key = tuple(map(_settled, key)) if isinstance(key, tuple) else _settled(key)
        return super().__getitem__(key)


def _settled(key: Any) -> Any:
    """An index as all points have it."""
    key = stacked(key)
    return key.settled() if isinstance(key, ArrayLike) else key


# --- arrays that f makes --------------------------------------------------------------------------------------------


def _array(object: Any, dtype: Any = None, **kwargs: Any) -> Any:
    if has_bundles(object):
        made = stacked(object)
        return made.astype(made.dtype if dtype is None else dtype)
    plain = np.array(object, dtype, **kwargs)
    return plain.view(Constant) if present.fresh is not None and type(plain) is np.ndarray else plain


def _asarray(function: Function, a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    if is_bundle(a):
        return a if dtype is None or a.dtype == np.dtype(dtype) else a.astype(dtype, copy=False)
    return _array(a, dtype) if isinstance(a, NESTED) else function(a, dtype, *args, **kwargs)


def _filled(function: Function, *args: Any, **kwargs: Any) -> Any:
    """A new array, which array-likes may be assigned into."""
    if function in (np.full, np.full_like) and has_bundles(args[1:]) and not isinstance(args[0], ArrayLike):
        shape = args[0] if function is np.full else np.shape(args[0])
        return np.copy(np.broadcast_to(_array(*args[1:], **kwargs), shape))
    made = function(*args, **kwargs)
    if present.fresh is None or not isinstance(made, np.ndarray) or isinstance(made, ArrayLike):
        return made
    if function in (np.empty, np.empty_like):
        made[...] = 0  # what was there before is no number of f's
    return present.fresh(made.view(np.ndarray))


# --- functions of lists ---------------------------------------------------------------------------------------------

OF_PARTS = frozenset({
    np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack, np.select, np.linalg.multi_dot,
})  # fmt: skip


def _of_lists(function: Function, *args: Any, **kwargs: Any) -> Any:
    """A function that may be given lists of array-likes, where numpy looks at no more than the list."""
    for a in args:
        if isinstance(a, NESTED):
            if function in OF_PARTS:
                args = tuple([stacked(part) for part in a] if isinstance(a, NESTED) else a for a in args)
            else:
                args = tuple(map(stacked, args))
            break
    return function(*args, **kwargs)


def _vectorize(pyfunc: Function, *options: Any, **named: Any) -> Function:
    """np.vectorize: one call for each entry."""
    plain = np.vectorize(pyfunc, *options, **named)

    def each(*arrays: Any, **kwargs: Any) -> Any:
        if not has_bundles(arrays):
            return plain(*arrays, **kwargs)
        shape = np.broadcast_shapes(*map(np.shape, arrays))
        if options or named or kwargs or not shape or any(np.shape(a) not in (shape, ()) for a in arrays):
            raise CannotLift("np.vectorize with options, or of arrays of several shapes")
        entries = [[a] * math.prod(shape) if np.shape(a) == () else np.ravel(a) for a in arrays]
        return np.reshape(stacked([pyfunc(*some) for some in zip(*entries, strict=True)]), shape)

    return each


class _Joined:
    """np.r_ or np.c_, of plain parts."""

    def __init__(self, original: Any, join: Function) -> None:
        self._original, self._join = original, join

    def __getitem__(self, key: Any) -> Any:
        if not has_bundles(key):
            return self._original[key]
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, str | slice) for part in parts):
            raise CannotLift("np.r_ or np.c_ with slices or directives")
        return self._join([np.atleast_1d(stacked(part)) for part in parts])


# --- numbers --------------------------------------------------------------------------------------------------------


class _IsFloat(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, float) or (is_bundle(value) and not value.ndim)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, float)


class Float(float, metaclass=_IsFloat):
    """The built-in float, which leaves an array-like of numbers as it is, if that may go on as such."""

    dtype = np.dtype(np.float64)  # where numpy is given float as a type

    def __new__(cls, value: Any = 0.0) -> Any:
        return value.number() if is_bundle(value) and not value.ndim else float(value)


NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "pow": "power", "atan2": "arctan2"}


def _of_math(name: str, function: Function) -> Function:
    """A function of math, of numbers that may be array-likes."""
    ufunc = getattr(np, NAMES.get(name, name), None)

    def either(*numbers: Any) -> Any:
        for number in numbers:
            if isinstance(number, ArrayLike):
                return number.of_math(function, ufunc if isinstance(ufunc, np.ufunc) else None, numbers)
        return function(*numbers)

    return either


def uses_math(frame: types.FrameType) -> bool:
    """Whether the code of a frame names the module math, or a function of it."""
    found = map(frame.f_globals.get, frame.f_code.co_names)
    return "math" in frame.f_code.co_names or any(v is math or getattr(v, "__module__", "") == "math" for v in found)


# --- the table ------------------------------------------------------------------------------------------------------

OF_ARRAYS = type(np.sum)  # the functions that ask, if they are given an array-like
TABLE: dict[Any, Any] = {
    **{
        function: partial(_of_lists, function)
        for module in (np, np.linalg, np.fft)
        for function in vars(module).values()
        if type(function) is OF_ARRAYS and function is not np.block  # which is given lists of lists
    },
    **{
        function: partial(_filled, function)
        for function in (
            np.zeros, np.empty, np.ones, np.full, np.eye, np.identity, np.zeros_like, np.empty_like, np.ones_like,
            np.full_like,
        )
    },
    np.array: _array,
    **{
        function: partial(_asarray, function)
        for function in (np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.asarray_chkfinite)
    },
    np.r_: _Joined(np.r_, np.concatenate),
    np.c_: _Joined(np.c_, np.column_stack),
    np.vectorize: _vectorize,
    **{function: _of_math(name, function) for name, function in vars(math).items() if callable(function)},
    float: Float,
}  # fmt: skip


class _Module(types.ModuleType):
    """A module of which f sees some things through the table."""

    def __init__(self, original: types.ModuleType) -> None:
        super().__init__(original.__name__)
        self.__dict__["_original"] = original

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = substitute(getattr(self._original, name))  # found directly the next time
        return value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._original, name, value)


TABLE.update({module: _Module(module) for module in (np.linalg, np.fft, np, math)})
SUBSTITUTED = frozenset(map(type, TABLE))


def substitute(value: Any) -> Any:
    """What f sees in place of this; itself, if that is not in the table."""
    return TABLE.get(value, value) if type(value) in SUBSTITUTED else value
