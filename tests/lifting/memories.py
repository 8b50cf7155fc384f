"""What is in memory, seen by the garbage collector's eyes: an oracle for code that puts things back.

It knows nothing of how the code under test finds its way: it follows every reference that the collector knows.
"""

from __future__ import annotations

import gc
import types
import weakref
from typing import Any

import numpy as np

LEFT_OUT = frozenset({
    "numpy", "builtins", "_pytest", "pytest", "pluggy", "importlib", "_frozen_importlib", "_frozen_importlib_external",
    "fastgrad", "functools", "typing", "abc", "enum", "dataclasses", "hypothesis", "benchmarks", "threading", "_thread",
})  # fmt: skip
# a proxy is asked for nothing: what it stands for may be gone
NOT_FOLLOWED = (
    *weakref.ProxyTypes, types.ModuleType, types.FrameType, types.CodeType, types.BuiltinFunctionType,
    str, bytes, int, float,
)  # fmt: skip


def _look(thing: Any) -> Any:
    """What a thing is made of, by identity; an array by its bytes and flags."""
    if isinstance(thing, np.ndarray):
        flags = str(thing.flags)
        return thing.shape, thing.strides, thing.dtype, flags, thing.tobytes() if not thing.dtype.hasobject else b""
    if isinstance(thing, dict):
        return [(id(k), id(v)) for k, v in thing.items()]
    if isinstance(thing, (set, frozenset)):
        return sorted(map(id, thing))
    if isinstance(thing, types.FunctionType):  # not its module's names: those are a dictionary
        return [id(v) for v in (thing.__code__, thing.__defaults__, thing.__kwdefaults__, *(thing.__closure__ or ()))]
    if isinstance(thing, type):
        return [(k, id(v)) for k, v in vars(thing).items()]
    held = [id(v) for v in gc.get_referents(thing)]
    # the dictionary of an object may be made only when it is asked for: what it holds counts
    return (held, None) if type(thing).__dictoffset__ == 0 else (id(type(thing)), _look(vars(thing)))


class Snapshot:
    """All that can be reached from some things, as it is now."""

    def __init__(self, *roots: Any) -> None:
        self.seen: dict[int, tuple[Any, Any]] = {}  # alive, so that no other thing gets its id
        queue: list[Any] = list(roots)
        while queue:
            thing = queue.pop()
            if id(thing) in self.seen or issubclass(type(thing), NOT_FOLLOWED):
                continue
            kind = thing if isinstance(thing, type) else type(thing)
            module = str(getattr(kind, "__module__", "")).partition(".")[0]
            if module in LEFT_OUT and not isinstance(
                thing,
                (dict, list, tuple, set, frozenset, np.ndarray, types.FunctionType, types.CellType, types.MethodType),
            ):
                continue
            if isinstance(thing, types.FunctionType) and (thing.__module__ or "").partition(".")[0] in LEFT_OUT:
                continue
            self.seen[id(thing)] = thing, _look(thing)
            queue.extend(gc.get_referents(thing))
            if type(thing).__dictoffset__ and not isinstance(thing, type):
                queue.append(vars(thing))

    def differences(self) -> list[str]:
        """What is not as it was."""
        return [
            f"{type(thing).__name__}: {str(before)[:200]} -> {str(_look(thing))[:200]}"
            for thing, before in self.seen.values()
            if _look(thing) != before
        ]
