"""How much a function does that is straight-line code on its one argument: counted in its bytecode, without a call."""

from __future__ import annotations

import dis
import inspect
from functools import lru_cache
from types import CodeType, FunctionType
from typing import NamedTuple

import numpy as np

# what moves values about, by the beginnings of names: these differ from one Python to the next
_MOVES = (
    "RESUME", "CACHE", "NOP", "LOAD_FAST", "STORE_FAST", "LOAD_CONST", "LOAD_SMALL_INT", "RETURN_", "COPY", "SWAP",
    "POP_TOP", "PRECALL", "PUSH_NULL", "BUILD_SLICE",
)  # fmt: skip
_OPERATES = ("BINARY_", "UNARY_")
_PRODUCTS = frozenset({"dot", "inner", "vdot"})  # of arrays, by numpy or by a method
_NOT_CALLED_PLAINLY = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE


class Straight(NamedTuple):
    """What one call does: entries that it takes by their place, all operations, and the globals that it names."""

    entries: int
    operations: int
    names: frozenset[str]


def straight(f: object) -> Straight | None:
    """Return what a call of f does; None where its code does not tell: loops, branches, what it captures or calls.

    It then makes nothing but what follows from its argument: f does no more at one point than at another.
    """
    if type(f) is not FunctionType:
        return None
    found = _straight(f.__code__)
    if found is None or any(f.__globals__.get(name) is not np for name in found.names):
        return None
    return found


@lru_cache(maxsize=512)
def _straight(code: CodeType) -> Straight | None:
    if code.co_argcount != 1 or code.co_kwonlyargcount or code.co_flags & _NOT_CALLED_PLAINLY:
        return None
    entries, operations, names = 0, 0, set()
    before: object = None
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, instruction.argval
        if name.startswith(_OPERATES):
            operations += 1
            subscript = name == "BINARY_SUBSCR" or instruction.argrepr == "[]"
            entries += subscript and type(before) is int
        elif name == "LOAD_GLOBAL":
            names.add(value)
        elif name == "CALL":
            operations += 1
        elif not (name.startswith(_MOVES) or (name in ("LOAD_ATTR", "LOAD_METHOD") and value in _PRODUCTS)):
            return None
        before = value if name in ("LOAD_CONST", "LOAD_SMALL_INT") else None
    return Straight(entries, operations, frozenset(names))
