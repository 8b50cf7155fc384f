"""What a function holds besides its arguments: numba freezes it when it compiles."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..core.bytecode import package_of, said
from ..core.validation import Array, Function

_MISSING = object()
_SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
STABLE_MODULES = ("numpy", "math", "cmath", "numba", "builtins", "operator", "random")


class Capture:
    """One captured name: how to read it now, and what it was when it was compiled."""

    __slots__ = ("data", "name", "read", "value")

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name = name
        self.read = read
        self.value = read()
        self.data = _contents(self.value)

    def changed(self) -> bool:
        """Whether the name means another object now, or the same array with other contents."""
        now = self.read()
        if now is self.value:
            return self.data is not None and _contents(now) != self.data
        if isinstance(now, (_SCALARS, tuple)):
            return type(now) is not type(self.value) or not _same(now, self.value)
        return True

    @property
    def is_data(self) -> bool:
        """Whether it is more than a constant, a module or a function."""
        if self.data is not None:
            return True
        return not isinstance(self.value, (*_SCALARS, types.ModuleType, type)) and not callable(self.value)


def arrays_in(value: Any) -> Iterator[Array]:
    """Find the arrays that numba freezes with a value: itself, or those in a tuple, at any depth."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from arrays_in(item)


def _contents(value: Any) -> list[bytes] | None:
    """Copy what can change in place; None where nothing can."""
    return [array.tobytes() for array in arrays_in(value)] or None


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or (a != a and b != b)
    except (TypeError, ValueError):
        return False


def captures(f: Function) -> list[Capture]:
    """List what f and the jitted functions that it calls have captured: cells, globals, module attributes, defaults."""
    found: list[Capture] = []
    seen: set[int] = set()
    _collect(f, found, seen)
    return found


def _collect(f: Any, found: list[Capture], seen: set[int]) -> None:
    f = getattr(f, "py_func", f)
    if not isinstance(f, types.FunctionType) or id(f) in seen:
        return
    seen.add(id(f))
    for capture in _of(f):
        value = capture.value
        if isinstance(value, types.ModuleType) or value is _MISSING:
            continue
        found.append(capture)
        if hasattr(value, "py_func"):
            _collect(value, found, seen)


def _of(f: types.FunctionType) -> Iterator[Capture]:
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        yield Capture(name, partial(_cell, cell))
    space = f.__globals__
    seen: set[tuple[str, ...]] = set()
    for path in sorted(said(f.__code__).paths):
        if path[0] not in space:
            continue
        holder: Any = None
        owner, taken = space[path[0]], 1
        while taken < len(path) and isinstance(owner, types.ModuleType) and package_of(owner) not in STABLE_MODULES:
            holder, owner = owner, getattr(owner, path[taken], _MISSING)
            taken += 1
        if path[:taken] in seen or isinstance(owner, types.ModuleType):
            continue
        seen.add(path[:taken])
        if holder is None:
            yield Capture(path[0], partial(space.get, path[0], _MISSING))
        else:
            yield Capture(".".join(path[:taken]), partial(getattr, holder, path[taken - 1], _MISSING))
    for i, default in enumerate(f.__defaults__ or ()):
        if isinstance(default, np.ndarray):
            yield Capture(f"default {i}", partial(_itself, default))


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return _MISSING


def _itself(value: Any) -> Any:
    return value


def holds(f: Any, thing: object) -> bool:
    """Whether f can be seen to hold a thing, or an array's memory: in cells, globals, defaults or attributes."""

    def is_it(value: Any) -> bool:
        if value is thing:
            return True
        if not (isinstance(value, np.ndarray) or hasattr(type(value), "__array__")):
            return False
        return isinstance(thing, np.ndarray) and bool(np.may_share_memory(np.asarray(value), thing))

    return reached(f, is_it) is not None


def reached(f: Any, wanted: Callable[[Any], bool], depth: int = 3) -> Any:
    """Return something of a kind that f can be seen to hold; None if there is none."""
    if wanted(f):
        return f
    if not depth or isinstance(f, (np.ndarray, type, types.ModuleType)) or hasattr(type(f), "__array__"):
        return None
    inside: Iterable[Any]
    if isinstance(f, types.FunctionType) or hasattr(f, "py_func"):
        defaults = (*(getattr(f, "__defaults__", None) or ()), *(getattr(f, "__kwdefaults__", None) or {}).values())
        inside = (*defaults, *(c.value for c in captures(f)))
    elif isinstance(f, partial):
        inside, depth = (f.func, *f.args, *f.keywords.values()), depth + 1
    elif isinstance(f, types.MethodType):
        inside = (f.__func__, f.__self__)
    elif isinstance(f, (list, tuple, set)):
        inside = f
    else:
        inside = (f if isinstance(f, dict) else getattr(f, "__dict__", {})).values()
    return next((it for item in inside if (it := reached(item, wanted, depth - 1)) is not None), None)
