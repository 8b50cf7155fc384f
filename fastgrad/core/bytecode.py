"""What code says of itself: its bytecode is read here, once, for all who ask what f reads, stores and changes."""

from __future__ import annotations

import dis
import types
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

_NOT_FOLLOWED = (type, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
_STORES = ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "DELETE_GLOBAL", "DELETE_DEREF", "DELETE_ATTR")
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")


class Said(NamedTuple):
    """What a piece of code says, with the functions, classes and comprehensions within it."""

    names: tuple[str, ...]  # of globals and attributes
    globals: frozenset[str]
    paths: frozenset[tuple[str, ...]]  # of globals, each with the attributes that it takes of them, one of another
    assigned: frozenset[str]  # variables beyond its call that it assigns to itself, not what is within it
    stores: str  # how it stores something beyond its call, or runs what is beside it; empty if it does not
    changes: str  # how it changes an entry; empty if it does not
    imports: frozenset[str]  # modules


@lru_cache(maxsize=512)
def said(code: types.CodeType) -> Said:
    """Read a piece of code."""
    stores, changes = "", ""
    names = dict.fromkeys(code.co_names)
    known, assigned, imports = set[str](), set[str](), set[str]()
    paths, path = set[tuple[str, ...]](), tuple[str, ...]()
    before: list[object] = [None, None]
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, instruction.argval
        # a comprehension's or inner function's own variables are cells, too: they live as long as the call
        inner = name.endswith("_DEREF") and value in code.co_cellvars
        if name in ("STORE_GLOBAL", "STORE_DEREF"):
            assigned.add(value)
        if name in _GLOBALS:
            known.add(value)
        if name in _STORES and not inner:
            stores = stores or f"f stores {value!r} beyond its call"
        elif name in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
            changes = changes or "assigns to an entry"
        elif name == "BINARY_OP" and "=" in instruction.argrepr:
            changes = changes or f"uses {instruction.argrepr}"
        elif name == "IMPORT_NAME":
            imports.add(value)
            level = before[0]
            if isinstance(level, int) and level:  # a module beside f's own
                stores = stores or f"f imports {'.' * level}{value}"
        if name == "LOAD_GLOBAL":
            paths.add(path := (value,))
        elif path and name in ("LOAD_ATTR", "LOAD_METHOD"):
            paths.add(path := (*path, value))
        else:
            path = ()
        before = [before[1], value]
    for within in (said(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)):
        stores, changes = stores or within.stores, changes or within.changes
        names.update(dict.fromkeys(within.names))
        known |= within.globals
        paths |= within.paths
        imports |= within.imports
    of = frozenset
    return Said(tuple(names), of(known), of(paths), of(assigned), stores, changes, of(imports))


def hides_code(thing: object) -> bool:
    """Whether this is a ufunc of a Python function, by np.frompyfunc: nothing shows what that reads."""
    return isinstance(thing, np.ufunc) and all(set(kinds) <= {*"O->"} for kinds in thing.types)


def calls_others(function: object, libraries: Collection[str]) -> bool:
    """Whether a library's function has callables of others in its closure, as functools.singledispatch makes one."""
    if not isinstance(function, types.FunctionType):
        return False
    held: list[object] = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it may be empty
            inside = cell.cell_contents
            held += inside.values() if isinstance(inside, dict) else [inside]
    held = [one.func if isinstance(one, partial) else one for one in held]
    return any(
        callable(one) and not isinstance(one, _NOT_FOLLOWED) and package_of(one) not in libraries for one in held
    )


def package_of(thing: object) -> str:
    """Return the package of a module, or that a function, class or object says it is of; empty where it does not."""
    module = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""
