"""A copy of f, of the very same code, that sees numpy, math and float through the table of `substitutes`.

Functions, methods, objects and modules that f uses are seen likewise, of any package but numpy's kin; numpy and
math also where f imports them while it runs. Nothing of the caller's is changed, so that other threads notice nothing.
"""

from __future__ import annotations

import builtins
import functools
import types
from typing import Any

import numpy as np

from ..core.bytecode import package_of, said
from ..core.call import Call
from .arraylike import ArrayLike
from .signals import CannotLift
from .substitutes import Constant, present, substitute

# not seen through: what they do with an array-like is theirs to say
LIBRARIES = frozenset({"numpy", "scipy", "math", "builtins", "functools", "itertools", "operator", "fastgrad", "numba"})


class _Seen:
    """An object whose arrays and methods are seen through the substitutes."""

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
    """A constant sparse matrix of SciPy, which may multiply array-likes."""

    __array_ufunc__ = None  # arrays and array-likes leave `other @ matrix` to us

    def __matmul__(self, other: Any) -> Any:
        return other.times(self._original) if isinstance(other, ArrayLike) else self._original @ other

    dot = __matmul__

    def __rmatmul__(self, other: Any) -> Any:
        return other.times(self._original.T) if isinstance(other, ArrayLike) else other @ self._original

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, ArrayLike):
            return self._original * other
        if not type(self._original).__name__.endswith("_matrix"):
            raise CannotLift("a sparse array times an array, entry by entry")
        return self @ other

    @property
    def T(self) -> _Operator:  # noqa: N802
        return _Operator(self._original.T, self._binding)


class _Module(types.ModuleType):
    """A module of which f sees everything through the substitutes."""

    def __init__(self, original: types.ModuleType, binding: _Binding) -> None:
        super().__init__(original.__name__)
        self._original, self._binding = original, binding

    def __getattr__(self, name: str) -> Any:
        return self._binding.value(getattr(self._original, name))


def _imported(*args: Any, **kwargs: Any) -> Any:
    return substitute(builtins.__import__(*args, **kwargs))


BUILTINS = {**vars(builtins), "float": substitute(float), "__import__": _imported}


class _Binding:
    """The substitutes of one call of `rebound`."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[Any, Any]] = {}

    def value(self, value: Any) -> Any:
        """What f sees in place of a value."""
        substituted = substitute(value)
        if substituted is not value:
            return substituted
        kind = type(value)
        if kind is np.ndarray:
            return value.view(Constant) if value.dtype.kind in "biufc" else value
        if kind is types.FunctionType and self._followed(value):
            return self.function(value)
        if kind is types.MethodType:
            return types.MethodType(self.function(value.__func__), self.value(value.__self__))
        if kind is types.ModuleType and self._followed(value):
            return _Module(value, self)
        if kind is functools.partial:
            keywords = {k: self.value(v) for k, v in value.keywords.items()}
            return functools.partial(self.value(value.func), *map(self.value, value.args), **keywords)
        if kind.__module__.startswith("scipy.sparse") and hasattr(value, "tocsr"):
            return _Operator(value, self)
        if self._followed(kind) and hasattr(value, "__dict__") and not isinstance(value, type | BaseException):
            if id(value) not in self.made:
                self.made[id(value)] = value, _Seen(value, self)
            return self.made[id(value)][1]
        return value

    @staticmethod
    def _followed(thing: Any) -> bool:
        package = package_of(thing)
        return bool(package) and package not in LIBRARIES

    def function(self, func: Any) -> Any:
        """A function of the same code that sees the substitutes."""
        if type(func) is not types.FunctionType or not self._followed(func):
            return substitute(func)
        if id(func) in self.made:
            return self.made[id(func)][1]
        known = func.__globals__
        seen: dict[str, Any] = {"__builtins__": BUILTINS}
        seen.update((name, known[name]) for name in ("__name__", "__package__", "__spec__") if name in known)
        cells = tuple(types.CellType() for _ in func.__closure__ or ())
        clone = types.FunctionType(func.__code__, seen, func.__name__, None, cells or None)
        self.made[id(func)] = func, clone  # before its contents, which may refer to it
        clone.__defaults__ = tuple(map(self.value, func.__defaults__)) if func.__defaults__ else None
        clone.__kwdefaults__ = {k: self.value(v) for k, v in (func.__kwdefaults__ or {}).items()}
        seen.update((name, self.value(known[name])) for name in said(func.__code__).names if name in known)
        for cell, original in zip(cells, func.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.value(original.cell_contents)
            except ValueError:  # an empty cell
                continue
        return clone


def rebound(call: Call) -> Call:
    """The same call of a copy of f, which sees numpy, math, float and constant arrays through the substitutes.

    Made anew for each run, so that it sees f's globals and closure as they are.
    """
    binding = _Binding()
    bound = binding.value(call.f)

    def run(bundle: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        before, present.fresh = present.fresh, bundle.fresh
        try:
            return bound(bundle, *args, **kwargs)
        finally:
            present.fresh = before

    return Call(run, tuple(map(binding.value, call.args)), call.kwargs)
