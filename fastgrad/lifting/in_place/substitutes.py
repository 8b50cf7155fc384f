"""numpy and float as f sees them meanwhile, where numpy gives a bundle no say in.

``np.asarray(W)``, ``np.array([A[0] @ W, A[1] @ W])``, ``out = np.zeros(n); out[0] = A[0] @ W``, ``A.dot(W)`` with a
constant A and ``float(loss)`` do not ask the bundle. Where f stops at one of these, it is run again with names that
mean the functions below. Other threads that use the same names meanwhile get what they always get.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arraylike import has_bundles, stacked
from ..sparse.bundle import SparseBundle
from ..sparse.slots import Run

__all__ = ["NUMPY", "SUBSTITUTES", "UNASKED", "Constant", "Float", "filling"]

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type(np.sum))


class Filling(threading.local):
    """Of each thread: the run of the bundle that f gets there."""

    run: Run | None = None


filling = Filling()


def fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes an array: one that bundles may be written into, a bundle without differences."""

    @functools.wraps(function)
    def made(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        run = filling.run
        if run is None or isinstance(out, SparseBundle) or out.dtype != np.float64 or not out.ndim:
            return out
        return SparseBundle(out, (), run)

    return made


def array(value: Any, *args: Any, **kwargs: Any) -> Any:
    """np.array, which may be given bundles."""
    if filling.run is not None:
        if isinstance(value, SparseBundle):
            return value.astype(args[0] if args else kwargs.get("dtype") or value.dtype).copy()
        if isinstance(value, (list, tuple)) and has_bundles(value):
            return stacked(value)
    return np.array(value, *args, **kwargs)


def asarray(value: Any, *args: Any, **kwargs: Any) -> Any:
    """np.asarray, which may be given bundles."""
    if filling.run is not None:
        if isinstance(value, SparseBundle):
            dtype = np.dtype(args[0] if args else kwargs.get("dtype") or value.dtype)
            return value if dtype == value.dtype else value.astype(dtype)
        if isinstance(value, (list, tuple)) and has_bundles(value):
            return stacked(value)
    return np.asarray(value, *args, **kwargs)


class _IsFloat(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, float) or (isinstance(value, SparseBundle) and not value.ndim)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, float)


class Float(float, metaclass=_IsFloat):
    """The built-in float, which leaves a bundle of numbers as it is."""

    def __new__(cls, value: Any = 0.0) -> Any:
        return value if isinstance(value, SparseBundle) and not value.ndim else float(value)


class Constant(np.ndarray[Any, Any]):
    """A constant array whose `dot` may be given bundles."""

    def dot(self, b: Any, out: NDArray[Any] | None = None) -> Any:
        return np.dot(self, b) if out is None else np.dot(self, b, out=out)


FRESH = (np.zeros, np.empty, np.ones, np.full, np.zeros_like, np.empty_like, np.ones_like, np.full_like)
# names of functions that do not ask a bundle: of arrays that are made to be written into, and of a constant's product
UNASKED = frozenset({"zeros", "empty", "zeros_like", "empty_like", "dot"})
SUBSTITUTES: dict[Any, Callable[..., Any]] = {
    **{function: fresh(function) for function in FRESH},
    np.array: array,
    np.asarray: asarray,
    np.asanyarray: asarray,
    np.ascontiguousarray: asarray,
}


class Numpy(types.ModuleType):
    """numpy with these functions in place of its own."""

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(np, name)  # found directly the next time
        return value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(np, name, value)


NUMPY = Numpy("numpy")
for _function, _substitute in SUBSTITUTES.items():
    vars(NUMPY)[_function.__name__] = _substitute
