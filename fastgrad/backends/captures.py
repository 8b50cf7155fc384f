"""What a function holds besides its arguments: numba freezes it when it compiles."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self.data = self.value.tobytes() if isinstance(self.value, np.ndarray) else None

    def changed(self) -> bool:
        """Whether the name means another object now, or the same array with other contents."""
        now = self.read()
        if now is self.value:
            return self.data is not None and now.tobytes() != self.data
        if isinstance(now, (_SCALARS, tuple)):
            return type(now) is not type(self.value) or not _same(now, self.value)
        return True

    @property
    def is_data(self) -> bool:
        """Whether it is more than a constant, a module or a function."""
        return not isinstance(self.value, (*_SCALARS, types.ModuleType, type)) and not callable(self.value)


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or (a != a and b != b)
    except (TypeError, ValueError):
        return False


def captures(f: Callable[..., Any]) -> list[Capture]:
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
        yield Capture(name, lambda cell=cell: _cell(cell))  # type: ignore[misc]
    space = f.__globals__
    for name, attribute in sorted(_global_names(f.__code__)):
        if name not in space:
            continue
        owner = space[name]
        if not attribute or not isinstance(owner, types.ModuleType):
            yield Capture(name, lambda name=name: space.get(name, _MISSING))  # type: ignore[misc]
        elif owner.__name__.partition(".")[0] not in STABLE_MODULES:
            read = lambda owner=owner, attribute=attribute: getattr(owner, attribute, _MISSING)  # noqa: E731
            yield Capture(f"{name}.{attribute}", read)
    for i, default in enumerate(f.__defaults__ or ()):
        if isinstance(default, np.ndarray):
            yield Capture(f"default {i}", lambda default=default: default)  # type: ignore[misc]


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return _MISSING


def _global_names(code: types.CodeType) -> set[tuple[str, str]]:
    """Names that the code loads from globals, each with the attribute that it takes of them ("" if none)."""
    names: set[tuple[str, str]] = set()
    previous = ""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            previous = str(instruction.argval)
            names.add((previous, ""))
        else:
            if previous and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                names.discard((previous, ""))
                names.add((previous, str(instruction.argval)))
            previous = ""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def holds(f: Any, array: NDArray[Any], depth: int = 3) -> bool:
    """Whether f can be seen to hold the array's memory: in cells, globals, defaults, attributes or its object."""
    if depth == 0:
        return False
    if isinstance(f, np.ndarray):
        return bool(np.may_share_memory(f, array))
    if isinstance(f, types.FunctionType) or hasattr(f, "py_func"):
        return any(holds(c.value, array, depth - 1) for c in captures(f))
    if isinstance(f, types.MethodType):
        return holds(f.__func__, array, depth - 1) or holds(f.__self__, array, depth - 1)
    if isinstance(f, dict):
        return any(holds(item, array, depth - 1) for item in f.values())
    if isinstance(f, (list, tuple, set)):
        return any(holds(item, array, depth - 1) for item in f)
    if isinstance(f, (type, types.ModuleType)):
        return False
    return any(holds(item, array, depth - 1) for item in getattr(f, "__dict__", {}).values())
