"""f with other bindings, for what numpy gives an array-like no say in.

``np.asarray(x)``, ``np.array([x[0], x[1]])``, ``r = np.zeros(n); r[0] = x[0]`` and ``A.dot(x)`` with a
constant or sparse A do not ask x. Where f stops at one of these, a copy of f is made, of the very same code, that
sees numpy through `NUMPY` and its constant arrays through `Constant`, which do ask. Functions, methods
and objects of f's own package that f uses are seen likewise. Nothing of the caller's is changed.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..arraylike import has_bundles, stacked
from ..signals import CannotLift
from .bundle import BASIC, LARGE, Bundle, constant_keys

__all__ = ["rebound", "tile"]

Function = Callable[..., Any]

tile = threading.local()  # `tile.points`: how many points f is being called on in this thread


class Constant(np.ndarray):
    """A constant array whose methods and indices may be given bundles."""

    def dot(self, b: Any, out: Any = None) -> Any:
        return np.dot(self, b) if out is None else np.dot(self, b, out=out)

    def searchsorted(self, v: Any, side: Any = "left", sorter: Any = None) -> Any:
        return np.searchsorted(self, v, side=side, sorter=sorter)

    def __getitem__(self, key: Any) -> Any:
        if type(key) not in BASIC and has_bundles(key):
            key = constant_keys(key)
        return super().__getitem__(key)


def array(object: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """np.array, which may be given bundles."""
    if type(object) is Bundle:
        return Bundle(np.array(object.data, dtype))
    if isinstance(object, list | tuple) and has_bundles(object):
        made = stacked(object)
        return made if dtype is None else Bundle(made.data.astype(dtype))
    made = np.array(object, dtype, **kwargs)
    return made.view(Constant) if type(made) is np.ndarray else made


def asarray(a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    """np.asarray, which may be given bundles."""
    if type(a) is Bundle:
        return a if dtype is None or a.data.dtype == dtype else Bundle(a.data.astype(dtype))
    return np.asarray(a, dtype, *args, **kwargs) if isinstance(a, np.ndarray) else array(a, dtype)


def filled(func: Function, *args: Any, **kwargs: Any) -> Any:
    """A new array that bundles may be assigned into: a bundle itself, while it is small."""
    if has_bundles((args, kwargs)):
        if func not in (np.full, np.full_like) or type(args[0]) is Bundle:
            return func(*args, **kwargs)
        return full(args[0] if func is np.full else np.shape(args[0]), *args[1:], **kwargs)
    made = func(*args, **kwargs)
    if made.nbytes * tile.points > LARGE:
        return made.view(Constant)
    return Bundle(np.repeat(made[None], tile.points, axis=0))


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """np.full of a bundle."""
    value = array(fill_value, dtype)
    return np.copy(np.broadcast_to(value, shape))


CONVERTERS: dict[Any, Function] = {
    np.array: array,
    np.asarray: asarray,
    np.asanyarray: asarray,
    np.ascontiguousarray: asarray,
    np.asarray_chkfinite: asarray,
}
FILLERS: tuple[Any, ...] = (
    np.zeros, np.empty, np.ones, np.full, np.eye, np.identity,
    np.zeros_like, np.empty_like, np.ones_like, np.full_like,
)  # fmt: skip
SUBSTITUTES: dict[Any, Function] = {**CONVERTERS, **{func: functools.partial(filled, func) for func in FILLERS}}


class _Numpy(types.ModuleType):
    """numpy with these functions in place of its own."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        setattr(self, name, value)  # found directly the next time
        return value


NUMPY = _Numpy("numpy")
for _func, _substitute in SUBSTITUTES.items():
    setattr(NUMPY, _func.__name__, _substitute)


class _Seen:
    """An object of f's package, whose arrays and methods are seen through the substitutes."""

    def __init__(self, original: Any, binding: _Binding) -> None:
        object.__setattr__(self, "_original", original)
        object.__setattr__(self, "_binding", binding)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._original)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._original, name)
        if type(value) is types.MethodType and value.__self__ is self._original:
            return types.MethodType(self._binding.function(value.__func__), self)
        return self._binding.value(value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = type(self._original).__call__
        if type(call) is not types.FunctionType:
            return self._original(*args, **kwargs)
        return self._binding.function(call)(self, *args, **kwargs)


class _Operator(_Seen):
    """A constant sparse matrix of SciPy, which may multiply bundles."""

    __array_ufunc__ = None  # arrays and bundles leave `other @ matrix` to us

    def __matmul__(self, other: Any) -> Any:
        if type(other) is not Bundle:
            return self._original @ other
        if other.ndim != 1:
            raise CannotLift("a sparse matrix times an array that is not a vector")
        return Bundle(np.ascontiguousarray((self._original @ other.data.T).T))

    dot = __matmul__

    def __rmatmul__(self, other: Any) -> Any:
        return self.T @ other if type(other) is Bundle else other @ self._original

    def __mul__(self, other: Any) -> Any:
        if type(other) is Bundle and not type(self._original).__name__.endswith("_matrix"):
            raise CannotLift("a sparse array times an array, entry by entry")
        return self @ other if type(other) is Bundle else self._original * other

    @property
    def T(self) -> _Operator:  # noqa: N802
        return _Operator(self._original.T, self._binding)


class _Binding:
    """The substitutes of one call of `rebound`."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.made: dict[int, tuple[Any, Any]] = {}

    def value(self, value: Any) -> Any:
        """What f sees in place of a value."""
        kind = type(value)
        if kind is np.ndarray:
            return value.view(Constant) if value.dtype.kind in "biufc" else value
        if value is np:
            return NUMPY
        if kind is types.FunctionType:
            return self.function(value)
        if kind.__module__.startswith("scipy.sparse") and hasattr(value, "tocsr"):
            return _Operator(value, self)
        if kind is types.MethodType:
            return types.MethodType(self.function(value.__func__), self.value(value.__self__))
        if kind in (types.BuiltinFunctionType, type(np.array), type(np.zeros_like)):
            return SUBSTITUTES.get(value, value)
        if kind is functools.partial:
            keywords = {k: self.value(v) for k, v in value.keywords.items()}
            return functools.partial(self.value(value.func), *map(self.value, value.args), **keywords)
        if self._own(kind) and hasattr(value, "__dict__") and not isinstance(value, type | BaseException):
            if id(value) not in self.made:
                self.made[id(value)] = value, _Seen(value, self)
            return self.made[id(value)][1]
        return value

    def _own(self, thing: Any) -> bool:
        return str(getattr(thing, "__module__", "")).partition(".")[0] == self.package

    def function(self, func: Any) -> Any:
        """A function of the same code that sees the substitutes."""
        if type(func) is not types.FunctionType or not self._own(func):
            return SUBSTITUTES.get(func, func) if type(func) is types.FunctionType else func
        if id(func) in self.made:
            return self.made[id(func)][1]
        known = func.__globals__
        seen: dict[str, Any] = {k: known[k] for k in ("__name__", "__builtins__") if k in known}
        cells = tuple(types.CellType() for _ in func.__closure__ or ())
        clone = types.FunctionType(func.__code__, seen, func.__name__, None, cells or None)
        self.made[id(func)] = func, clone  # before its contents, which may refer to it
        clone.__defaults__ = tuple(map(self.value, func.__defaults__)) if func.__defaults__ else None
        clone.__kwdefaults__ = {k: self.value(v) for k, v in (func.__kwdefaults__ or {}).items()}
        seen.update((name, self.value(known[name])) for name in _names(func.__code__) if name in known)
        for cell, original in zip(cells, func.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.value(original.cell_contents)
            except ValueError:  # an empty cell
                continue
        return clone


def _names(code: types.CodeType) -> Iterator[str]:
    """The global names that code may use, in functions within it, too."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _names(part)


def rebound(f: Function, args: Any) -> tuple[Function, Any]:
    """A copy of f, and its arguments, that see numpy and constant arrays through the substitutes.

    Made anew for each sweep, so that it sees f's globals and closure as they are.
    """
    inner: Any = f
    while isinstance(inner, functools.partial):
        inner = inner.func
    module = getattr(inner, "__module__", None) or type(inner).__module__
    if module.startswith("fastgrad.lifting."):
        raise CannotLift("f is lifted in place, and sees numpy as it is")
    binding = _Binding(module.partition(".")[0])
    return binding.value(f), tuple(map(binding.value, args))
