"""Can f keep what it is given? Read from its code and captures, without calling it.

A function that stores its argument or a result of it (a cache, an attribute, a list) must not be given anything but the
array it expects: what it stored would come back at a later call.
"""

from __future__ import annotations

import dis
import functools
import types
from typing import Any

import numpy as np

from .captures import captures

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, type, types.ModuleType)
_STORES = ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "DELETE_GLOBAL", "DELETE_DEREF", "DELETE_ATTR", "IMPORT_NAME")
# names that do something beside computing, or look at more than values
_EFFECTS = frozenset(
    [
        "print",
        "open",
        "input",
        "exec",
        "eval",
        "globals",
        "locals",
        "vars",
        "setattr",
        "delattr",
        "id",
        "random",
        "default_rng",
        "seed",
        "time",
        "perf_counter",
    ]
)


def keeps(f: Any) -> str:
    """Say what may let f keep its argument or have another effect; empty if nothing can."""
    seen: set[int] = set()
    return _function(f, seen)


def _function(f: Any, seen: set[int]) -> str:
    while isinstance(f, functools.partial):
        for value in (*f.args, *f.keywords.values()):
            if reason := _value("an argument of a partial", value, seen):
                return reason
        f = f.func
    if isinstance(f, (types.BuiltinFunctionType, np.ufunc)) or _of_a_library(f):
        return ""
    if not isinstance(f, types.FunctionType):
        return f"a {type(f).__name__} may keep what it is given"
    if id(f) in seen:
        return ""
    seen.add(id(f))
    if reason := _code(f.__code__):
        return reason
    for capture in captures(f):
        if reason := _value(f"what f captured as {capture.name!r}", capture.value, seen):
            return reason
    for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
        if reason := _value("a default", default, seen):
            return reason
    return ""


def _of_a_library(f: Any) -> bool:
    module = getattr(f, "__module__", None) or ""
    return module.partition(".")[0] in ("numpy", "scipy", "math", "operator", "builtins", "functools", "itertools")


def _code(code: types.CodeType) -> str:
    for instruction in dis.get_instructions(code):
        # a comprehension's or inner function's own variables are cells, too: they live as long as the call
        inner = instruction.opname.endswith("_DEREF") and instruction.argval in code.co_cellvars
        if instruction.opname in _STORES and not inner:
            return f"f stores {instruction.argval!r} beyond its call"
    for name in code.co_names:
        if name in _EFFECTS:
            return f"f uses {name!r}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType) and (reason := _code(constant)):
            return reason
    return ""


def _value(what: str, value: Any, seen: set[int]) -> str:
    if isinstance(value, _CONSTANTS) or (type(value) is np.ndarray and value.dtype.kind in "fiubc"):
        return ""
    if isinstance(value, (tuple, frozenset, range, slice)):
        items = value if isinstance(value, (tuple, frozenset)) else ()
        return next((r for item in items if (r := _value(what, item, seen))), "")
    if type(value).__module__.startswith("scipy.sparse"):
        return ""
    if callable(value):
        return _function(value, seen)
    return f"{what} is a {type(value).__name__}, which may keep what it is given"
