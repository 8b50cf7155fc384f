"""All places that f can reach: where it may find the caller's array, and where it may keep what it computes.

What cannot be looked into, or cannot be put back, is refused with the reason; what no code can change is passed over.
"""

from __future__ import annotations

import abc
import collections
import datetime
import decimal
import enum
import functools
import itertools
import logging
import operator
import random
import re
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ...core.bytecode import calls_others, hides_code, package_of, said
from ..signals import CannotLift
from ..sparse.bundle import SparseBundle
from .places import Attributes, Cell, Dictionary, Identity, Items, Missing, Names, Place, Slots, same

MOST_THINGS = 20_000  # that are looked at
MOST_VALUES = 200_000  # in all places together: they are compared after each run

# nothing can be kept in these
CONSTANTS: tuple[type, ...] = (
    bool, int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), type(NotImplemented), Missing,
    np.generic, np.dtype, type(np.sum), np.finfo, np.iinfo,
    SparseBundle, enum.Enum, re.Pattern, decimal.Decimal,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo,
    types.CodeType, types.GenericAlias, type(int | str), typing.TypeVar,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.ClassMethodDescriptorType, types.MethodWrapperType,
    operator.itemgetter, operator.attrgetter, operator.methodcaller,
    type(vars(collections.namedtuple("Pair", "first"))["first"]),
    logging.Logger, type(threading.Lock()), type(threading.RLock()),
)  # fmt: skip
# their code is not followed, and their modules' names are none of f's business
LIBRARIES = frozenset({
    "numpy", "scipy", "math", "cmath", "operator", "builtins", "functools", "itertools", "typing", "collections",
    "random", "time", "os", "sys", "io", "abc", "copy", "dataclasses", "fastgrad", "warnings", "logging", "threading",
    "matplotlib", "re", "enum", "contextlib", "types", "statistics", "string", "json", "pickle", "pathlib",
    "datetime", "decimal", "inspect", "traceback", "unittest", "pytest", "_pytest", "gc", "weakref",
})  # fmt: skip
CONTAINERS = (dict, list, collections.deque, set)
CONTAINER_BASES = frozenset(
    {dict, list, set, tuple, collections.deque, collections.OrderedDict, collections.defaultdict}
)
# who sees these happen expects to see them at each evaluation, not once for many
EFFECTS = frozenset({
    "print", "open", "input", "exec", "eval", "save", "savez", "savez_compressed", "savetxt", "tofile", "dump", "write",
    "writelines", "send", "sendall", "perf_counter", "monotonic", "process_time", "sleep", "system", "Popen",
    "check_call", "check_output", "urlopen", "Thread",
})  # fmt: skip
EFFECTS_OF_MODULES = frozenset({"time", "socket", "subprocess", "logging", "warnings"})
GET_MODULES = frozenset({"modules", "__import__"})  # f's own, perhaps: then by attributes
NOT_CALLED = frozenset({"__init__", "__new__", "__repr__", "__str__", "__del__", "__reduce__", "__getstate__"})
CYTHON_FUNCTION = "cython_function_or_method"  # a type for each version of Cython, in no module to import it from
SHOWN_ARRAYS = (np.ndarray, np.memmap, np.matrix)  # of which a view is of the same kind, and nothing else
GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


def of_library(thing: object) -> bool:
    """Whether a function, class or module is of a library that is known to keep nothing of f's."""
    return package_of(thing) in LIBRARIES


def _written_in_c(kind: type) -> bool:
    return any(
        isinstance(value, (types.WrapperDescriptorType, types.MethodDescriptorType)) and value.__objclass__ is kind
        for value in vars(kind).values()
    )


class Walk:
    """All places that can be reached from some things.

    CannotLift if something can be reached that cannot be looked into or put back.
    """

    def __init__(self, *roots: object) -> None:
        self.places: list[Place] = []  # what f may find or change
        self.generators: list[object] = []  # sources of random numbers
        self.names: set[str] = set()  # of globals and attributes in the code
        self._globals: set[str] = set()  # those of them that may be globals of the code's own module
        self._functions: list[types.FunctionType] = []
        self._methods: set[int] = set()  # the functions among them that f may reach by their names only
        self._modules: dict[int, tuple[dict[str, object], set[str]]] = {}  # and the names that were looked up there
        self._attributes: set[int] = set()  # those of them whose names are attributes, too: f can reach the module
        self._seen: dict[int, object] = {}  # alive, so that no other thing gets its id
        self._kinds: dict[type, Reader] = {}
        self._constant: set[type] = set()  # the kinds that are not looked at
        self._libraries: set[str] = set()  # of whose functions, classes and modules f can reach some
        self._values = 0
        self._queue = list(roots)
        self._follow()
        self.places.extend(Names(space, sorted(known)) for space, known in self._modules.values())

    def _follow(self) -> None:
        """Look at everything; then at what the names in the code found mean in the modules found."""
        while self._queue:
            while self._queue:
                self._look(self._queue.pop())
            for space, known in tuple(self._modules.values()):
                whole = id(space) in self._attributes or not self.names.isdisjoint(GET_MODULES)
                new = (self.names if whole else self._globals) - known
                known |= new
                self._queue.extend(space[name] for name in new if name in space)

    def _look(self, thing: object) -> None:
        reader = self._reader(type(thing))
        if reader is constant or id(thing) in self._seen:
            return
        self._seen[id(thing)] = thing
        if len(self._seen) > MOST_THINGS:
            raise CannotLift(f"f can reach more than {MOST_THINGS} objects, too many to look at")
        reader(self, thing)

    def _reader(self, kind: type) -> Reader:
        reader = self._kinds.get(kind)
        if reader is None:
            reader = self._kinds[kind] = reader_of(kind)
            if reader is constant:
                self._constant.add(kind)
        return reader

    def renewed(self) -> bool:
        """Note what is in all places now; False if anything but constants has come or gone."""
        places = [place.again() for place in self.places]
        for before, now in zip(self.places, places, strict=True):
            if not isinstance(now, Items) and not (len(now.keys) == len(before.keys) and same(now.keys, before.keys)):
                return False
            old, new = before.values, now.values
            if len(new) == len(old):
                changed = [*map(operator.is_not, new, old)]
                old, new = [*itertools.compress(old, changed)], [*itertools.compress(new, changed)]
            if any(self._reader(kind) is not constant for kind in {*map(type, old), *map(type, new)}):
                return False
        self.places = places
        return True

    def _add(self, place: Place) -> None:
        self._values += len(place.values)
        if self._values > MOST_VALUES:
            raise CannotLift(f"f can reach containers of more than {MOST_VALUES} values, too many to put back")
        self.places.append(place)
        inside = place.inside()
        if not self._constant.issuperset(map(type, inside)):  # a history of f's values may be long
            self._queue.extend(inside)

    def _space(self, space: dict[str, object]) -> None:
        self._modules.setdefault(id(space), (space, set()))

    def effect(self) -> str:
        """Name something that f does beside computing, by its code and that of what it calls; or nothing."""
        named: set[str] = set()
        waiting, before = self._functions, -1
        while len(waiting) != before:
            before, later = len(waiting), []
            for function in waiting:
                name = function.__name__
                special = name.startswith("__") and name.endswith("__") and name not in NOT_CALLED
                if id(function) not in self._methods or special or name in named:
                    named.update(said(function.__code__).names)
                else:
                    later.append(function)
            waiting = later
        effects = named & EFFECTS
        for name in named & EFFECTS_OF_MODULES:
            if any(type(space.get(name)) is types.ModuleType for space, _ in self._modules.values()):
                effects.add(name)
        return min(effects, default="")

    def may_draw(self) -> bool:
        """Whether f may draw random numbers."""
        return bool(self.generators) or "random" in self.names or "scipy" in self._libraries

    def _of_library(self, thing: object) -> bool:
        found = of_library(thing)
        if found:
            self._libraries.add(package_of(thing))
        return found

    # kinds of things

    def _array(self, thing: np.ndarray) -> None:
        if thing.dtype.hasobject:
            raise CannotLift("f can reach an array of objects")
        if type(thing) not in SHOWN_ARRAYS:
            raise CannotLift(f"f can reach an array that is a {type(thing).__name__}")

    def _container(self, thing: object) -> None:
        """A dictionary, list, deque or set, or an object of a class derived from one."""
        kind = type(thing)
        if isinstance(thing, dict):
            self._add(Dictionary(thing))
            if isinstance(thing, collections.defaultdict):
                self._queue.append(thing.default_factory)
        elif isinstance(thing, (list, collections.deque, set)):
            self._add(Items(thing))
        if kind not in CONTAINER_BASES:
            self._object(thing)

    def _items(self, thing: Iterable[object]) -> None:
        self._queue.extend(thing)
        if type(thing) not in (tuple, frozenset):
            self._object(thing)

    def _cell(self, thing: types.CellType) -> None:
        self._add(Cell(thing))

    def _function(self, thing: types.FunctionType) -> None:
        if self._of_library(thing):
            if calls_others(thing, LIBRARIES):
                raise CannotLift(f"f can reach functions by {thing.__qualname__!r}, which may be any")
            return
        self._functions.append(thing)
        facts = said(thing.__code__)
        self.names.update(facts.names)
        self._globals |= facts.globals | facts.imports
        self._space(thing.__globals__)
        self._queue.extend(thing.__closure__ or ())
        self._add(Identity(thing, ("__code__", "__defaults__", "__kwdefaults__", "__dict__"), _set_of_function))

    def _builtin(self, thing: types.BuiltinFunctionType) -> None:
        owner = thing.__self__
        if isinstance(owner, np.ndarray):
            raise CannotLift(f"f holds the method {thing.__name__!r} of an array")
        if owner is not None and not isinstance(owner, types.ModuleType):
            self._queue.append(owner)

    def _module(self, thing: types.ModuleType) -> None:
        if not self._of_library(thing):
            self._attributes.add(id(vars(thing)))
            self._space(vars(thing))

    def _proxy(self, thing: types.MappingProxyType[object, object]) -> None:
        self._queue.extend((*thing.keys(), *thing.values()))

    def _reference(self, thing: weakref.ref[object]) -> None:
        self._queue.append(thing())

    def _generator(self, thing: object) -> None:
        self.generators.append(thing)

    def _class(self, thing: type) -> None:
        if self._of_library(thing) or issubclass(thing, enum.Enum):
            return
        if type(thing) not in (type, abc.ABCMeta) and not of_library(type(thing)):
            raise CannotLift(f"f can reach the class {thing.__name__}, whose class {type(thing).__name__} is not type")
        self._methods.update(id(getattr(value, "__func__", value)) for value in vars(thing).values())
        self._add(Attributes(thing))
        self._queue.extend(thing.__bases__)

    def _object(self, thing: object) -> None:
        kind = type(thing)
        if kind.__name__ == CYTHON_FUNCTION and self._of_library(thing):
            return  # numpy.random's functions; one of a generator is a method, which has brought that along
        if hasattr(kind, "__next__"):
            raise CannotLift(f"f can reach a {kind.__name__}, whose position cannot be put back")
        for base in kind.__mro__[:-1]:
            if base not in CONTAINER_BASES and base is not types.SimpleNamespace and _written_in_c(base):
                raise CannotLift(f"f can reach a {kind.__name__}, which is not written in Python")
        self._queue.append(kind)
        names = ["__class__"]
        if kind.__dictoffset__:
            names.append("__dict__")
        self._add(Identity(thing, names))
        members = [
            member
            for base in kind.__mro__[:-1]
            for member in vars(base).values()
            if isinstance(member, types.MemberDescriptorType) and not of_library(base)
        ]
        if members:
            self._add(Slots(thing, members))


def _set_of_function(function: object, name: str, value: object) -> None:
    setattr(function, name, value)


Reader = Callable[[Walk, typing.Any], None]


def constant(walk: Walk, thing: object) -> None:
    """What f can neither find x in nor change."""


def _lru_cache(walk: Walk, thing: object) -> None:
    raise CannotLift(f"f can reach {getattr(thing, '__name__', 'a function')!r}, which keeps its results (lru_cache)")


def _ufunc(walk: Walk, thing: np.ufunc) -> None:
    if hides_code(thing):
        raise CannotLift("f can reach a function made by np.frompyfunc, which hides what that reads")


def _made_of(*names: str) -> Reader:
    """What holds other things by some attributes, and nothing else."""
    return lambda walk, thing: walk._queue.extend(getattr(thing, name) for name in names)


READERS: dict[type, Reader] = {
    types.CellType: Walk._cell,
    types.FunctionType: Walk._function,
    types.MethodType: _made_of("__self__", "__func__"),
    types.BuiltinFunctionType: Walk._builtin,
    functools.partial: _made_of("func", "args", "keywords"),
    functools.cached_property: _made_of("func"),
    functools._lru_cache_wrapper: _lru_cache,
    types.MappingProxyType: Walk._proxy,
    weakref.ref: Walk._reference,
    frozenset: Walk._items,
}
FAMILIES: Sequence[tuple[tuple[type, ...], Reader]] = (
    ((np.ndarray,), Walk._array),
    ((np.ufunc,), _ufunc),
    (CONTAINERS, Walk._container),
    ((tuple,), Walk._items),
    ((staticmethod, classmethod), _made_of("__func__")),
    ((property,), _made_of("fget", "fset", "fdel")),
    ((types.ModuleType,), Walk._module),
    (GENERATORS, Walk._generator),
    ((type,), Walk._class),
)


def reader_of(kind: type) -> Reader:
    """Say what looks at things of a kind."""
    if issubclass(kind, CONSTANTS):
        return constant
    if kind in READERS:
        return READERS[kind]
    return next((reader for bases, reader in FAMILIES if issubclass(kind, bases)), Walk._object)
