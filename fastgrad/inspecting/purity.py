"""What can f read and keep? From its code and what it has captured, without calling it.

A function that stores its argument or a result of it (a cache, an attribute, a list) must not be given anything but the
array it expects: what it stored would come back at a later call. And one that may read the caller's own array, which
only the reference perturbs, must be watched for that.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from itertools import accumulate, zip_longest
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..core.bytecode import calls_others, hides_code, package_of, said
from ..core.validation import Args, Array

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, range, slice, type(Ellipsis))
# names that do something beside computing, or look at more than values
_EFFECTS = frozenset({
    "print", "open", "input", "exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "id",
    "__setattr__", "__delattr__", "save", "savez", "savez_compressed", "savetxt", "tofile", "dump",
    "random", "default_rng", "seed", "time", "perf_counter",
    "Thread",  # where a refusal ends, it prints a traceback
})  # fmt: skip
# names by which an attribute is reached that the code does not name
_HIDDEN = frozenset({
    "getattr", "__dict__", "__getattribute__", "attrgetter", "methodcaller",
})  # fmt: skip
# names that change a container
_CHANGES = frozenset({
    "append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard",
    "clear", "appendleft", "sort", "reverse", "setitem", "delitem", "iadd", "iconcat", "heappush", "heappop",
    "heapreplace", "insort", "insort_left", "insort_right", "__setitem__",
})  # fmt: skip
_LIBRARIES = frozenset({
    "numpy", "scipy", "math", "cmath", "operator", "builtins", "functools", "itertools", "typing",
    "collections",
})  # fmt: skip
_NOT_CALLED = frozenset({
    "__init__", "__new__", "__repr__", "__str__", "__post_init__", "__init_subclass__", "__class_getitem__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__del__", "__doc__", "__module__",
    "__dict__", "__weakref__", "__annotations__", "__hash__", "__eq__",
})  # fmt: skip
_CALLABLES = (
    type, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial, np.ufunc, type(np.sum)
)  # fmt: skip
_MOST = 200  # functions that are read; more than that is not worth the time


_Place = tuple[Any, Any, Any]
_ITEMS, _NOTHING = object(), object()


def _now(holder: Any, name: Any, value: Any) -> Iterable[tuple[Any, Any]]:
    """Pair what a place holds with what it held."""
    if name is _ITEMS:
        items = tuple(holder.values() if isinstance(holder, dict) else holder)
        return zip_longest(items, value, fillvalue=_NOTHING)
    if isinstance(holder, types.CellType):
        try:
            return ((holder.cell_contents, value),)
        except ValueError:  # still empty
            return ((_NOTHING, value),)
    if isinstance(name, types.MemberDescriptorType):
        return ((getattr(holder, name.__name__, _NOTHING), value),)
    return ((holder.get(name, _NOTHING), value),)


class Nature(NamedTuple):
    """What is known of a function."""

    keeps: str  # what may let f keep its argument or have another effect; empty if nothing can
    arrays: tuple[Array, ...]  # all arrays that f may read besides its arguments, if it keeps nothing
    # where f finds what it reads, and what was found there: a holder, a name in it, and the value
    places: tuple[_Place, ...] = ()

    def holds(self) -> bool:
        """Whether f still finds the same things: a variable, attribute or item may be another by now."""
        return all(
            now is value or (now is not None and isinstance(now, _CONSTANTS))
            for holder, name, value in self.places
            for now, value in _now(holder, name, value)
        )

    def may_read(self, array: Array) -> bool:
        """Whether f may read this array itself, without being given it."""
        return bool(self.keeps) or any(np.may_share_memory(a, array) for a in self.arrays)

    def finds(self, containers: Iterable[object]) -> bool:
        """Whether f may read one of these lists or arrays itself, without being given it."""
        known = {id(holder) for holder, _, _ in self.places}
        return bool(self.keeps) or any(
            self.may_read(one) if isinstance(one, np.ndarray) else id(one) in known for one in containers
        )


def nature(f: Any, arguments: Args = ()) -> Nature:
    """Find out what f, called with these further arguments, can read and keep."""
    study = _Study()
    try:
        study.function(f)
        for value in arguments:
            study.value("an argument", value)
        study.close()
    except _MayKeepError as reason:
        return Nature(str(reason), (), tuple(study.places))
    return Nature("", tuple(study.arrays), tuple(study.places))


_natures: WeakKeyDictionary[Any, Nature] = WeakKeyDictionary()


def known_nature(f: Any, arguments: Args = ()) -> Nature:
    """Return the same: kept for a function object without arguments, while it finds what it found."""
    if arguments:
        return nature(f, arguments)
    try:
        known = _natures.get(f)
    except TypeError:  # no weak reference to it, or no hash
        return nature(f)
    if known is None or not known.holds():
        known = nature(f)
        with suppress(TypeError):
            _natures[f] = known
    return known


def keeps(f: Any) -> str:
    """Say what may let f keep its argument or have another effect; empty if nothing can."""
    return nature(f).keeps


class _MayKeepError(Exception):
    """f may keep what it is given; the message says how."""


class _Study:
    """All that can be reached from a function: other functions, arrays, containers, objects."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.places: list[_Place] = []
        self._seen: set[int] = set()
        self._names: set[str] = set()
        self._changes = ""
        self._containers = ""
        self._objects: list[Any] = []
        self._read = 0

    def close(self) -> None:
        """Follow what the code may take from objects, until nothing new is found; then judge."""
        known = -1
        while known != len(self._names) + len(self._objects):
            known = len(self._names) + len(self._objects)
            for thing in tuple(self._objects):
                self._attributes(thing)
        hidden = sorted(self._names & _HIDDEN)
        if hidden and self._objects:
            raise _MayKeepError(f"f uses {hidden[0]!r}, and may reach anything by it")
        if self._containers and self._changes:
            raise _MayKeepError(f"f reads {self._containers} and {self._changes}: it may keep what it is given there")

    def function(self, f: Any) -> None:
        """Read a callable."""
        while isinstance(f, functools.partial):
            for value in (*f.args, *f.keywords.values()):
                self.value("an argument of a partial", value)
            f = f.func
        if isinstance(f, types.MethodType):
            self.value("its object", f.__self__)
            f = f.__func__
        if hides_code(f):
            raise _MayKeepError("f calls a function by np.frompyfunc, which hides what that reads")
        if isinstance(f, (types.BuiltinFunctionType, np.ufunc)) or package_of(f) in _LIBRARIES:
            if calls_others(f, _LIBRARIES):
                raise _MayKeepError(f"f calls functions by {f.__qualname__!r}, which may be any")
            owner = getattr(f, "__self__", None)  # `values.append` is a function, too
            if owner is not None and not isinstance(owner, types.ModuleType):
                self.value("its object", owner)
                self._changes = self._changes or f"calls its {f.__name__!r}"
            return
        if isinstance(f, type):
            self._class(f)
            return
        if not isinstance(f, types.FunctionType):
            if type(type(f).__dict__.get("__call__")) is not types.FunctionType:
                raise _MayKeepError(f"a {type(f).__name__} may keep what it is given")
            self.value("it", f)
            return
        if id(f) in self._seen:
            return
        self._seen.add(id(f))
        self._read += 1
        if self._read > _MOST:
            raise _MayKeepError("f calls too many functions to read them all")
        facts = said(f.__code__)
        effects, called = _EFFECTS.intersection(facts.names), _CHANGES.intersection(facts.names)
        if facts.stores or effects:
            raise _MayKeepError(facts.stores or f"f uses {min(effects)!r}")
        self._names.update(facts.names)
        self._changes = self._changes or facts.changes or (f"uses {min(called)!r}" if called else "")
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                value = _NOTHING  # still empty
            self.places.append((cell, name, value))
            if value is not _NOTHING:
                self.value(f"what f captured as {name!r}", value)
        space = f.__globals__
        for name in facts.globals:
            value = space.get(name, _NOTHING)
            self.places.append((space, name, value))
            if value is not _NOTHING:
                self.value(f"what f captured as {name!r}", value)
        for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.value("a default", default)
        for name in facts.imports:
            self._import(name)

    def value(self, what: str, value: Any) -> None:
        """Read something that f can reach."""
        kind = type(value)
        if isinstance(value, _CONSTANTS):
            return
        if kind is np.ndarray and value.dtype.kind in "fiubc":
            self.arrays.append(value)
            return
        if id(value) in self._seen:
            return
        if isinstance(value, (tuple, frozenset, list, dict, set)):
            self._seen.add(id(value))
            if not isinstance(value, (tuple, frozenset)):
                self._containers = self._containers or what
            if len(value) > 10 * _MOST:
                raise _MayKeepError(f"{what} holds too much to look at")
            items = tuple(value.values() if isinstance(value, dict) else value)
            if not isinstance(value, (tuple, frozenset)):
                self.places.append((value, _ITEMS, items))
            for item in items:
                self.value(what, item)
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif kind.__module__.startswith("scipy.sparse"):
            self.arrays.extend(v for v in vars(value).values() if isinstance(v, np.ndarray))
        elif isinstance(value, _CALLABLES):
            self.function(value)
        else:
            self._object(what, value)

    def _module(self, module: types.ModuleType) -> None:
        if package_of(module) not in _LIBRARIES and id(module) not in self._seen:
            self._seen.add(id(module))
            self._objects.append(module)

    def _import(self, name: str) -> None:
        """A module that f imports when it is called: one that nobody has imported yet runs then."""
        packages = accumulate(name.split("."), "{}.{}".format)
        for package in () if name.partition(".")[0] in _LIBRARIES else packages:
            module = sys.modules.get(package)
            self.places.append((sys.modules, package, module or _NOTHING))
            if module is None:
                raise _MayKeepError(f"f imports {name!r}")
            self._module(module)

    def _class(self, kind: type) -> None:
        """A class that f makes objects of."""
        if package_of(kind) in _LIBRARIES or id(kind) in self._seen:
            return
        self._seen.add(id(kind))
        for name in ("__init__", "__new__", "__post_init__", "__call__"):
            made = inspect.getattr_static(kind, name, None)
            made = getattr(made, "__func__", made)
            if isinstance(made, types.FunctionType):
                self.function(made)
        self._objects.append(kind)

    def _object(self, what: str, thing: Any) -> None:
        """An object of a class of its own, if it is one whose attributes can be told from the code."""
        kind = type(thing)
        own = any(
            isinstance(inspect.getattr_static(kind, name, None), types.FunctionType)
            for name in ("__getattr__", "__getattribute__", "__setattr__")
        )
        if own or not all(map(_of_python, kind.__mro__[:-1])):
            raise _MayKeepError(f"{what} is a {kind.__name__}, which may keep what it is given")
        self._seen.add(id(thing))
        self._objects.append(thing)

    def _attributes(self, thing: Any) -> None:
        """Read what the code may take from an object: the attributes that it names, and special methods."""
        kind = thing if isinstance(thing, (type, types.ModuleType)) else type(thing)
        if hasattr(thing, "__dict__") and not isinstance(thing, type):
            held = vars(thing)
            # what a library's code takes from its object is not read
            for name in tuple(held) if package_of(kind) in _LIBRARIES else tuple(self._names):
                value = held.get(name, _NOTHING)
                self.places.append((held, name, value))
                if value is not _NOTHING:
                    self.value(f"the attribute {name!r}", value)
        if isinstance(kind, types.ModuleType):
            return
        for base in kind.__mro__[:-1]:
            for name, value in vars(base).items():
                special = name.startswith("__") and name.endswith("__") and name not in _NOT_CALLED
                if not special and name not in self._names:
                    continue
                if isinstance(value, types.MemberDescriptorType):
                    held_there = getattr(thing, name, _NOTHING)
                    self.places.append((thing, value, held_there))
                    if held_there is not _NOTHING:
                        self.value(f"the attribute {name!r}", held_there)
                    continue
                self.places.append((vars(base), name, value))
                if isinstance(value, property):
                    value = value.fget
                value = getattr(value, "__func__", value)
                if isinstance(value, (types.WrapperDescriptorType, types.GetSetDescriptorType)) or name in _NOT_CALLED:
                    continue
                if hasattr(type(value), "__get__") and not isinstance(value, _CALLABLES):
                    raise _MayKeepError(
                        f"the attribute {name!r} is a {type(value).__name__}, which may keep its result"
                    )
                self.value(f"the attribute {name!r}", value)


def _of_python(kind: type) -> bool:
    """Whether a class is written in Python: one in C has descriptors of its methods."""
    return not any(
        isinstance(v, (types.WrapperDescriptorType, types.MethodDescriptorType)) for v in vars(kind).values()
    )
