"""Places that values are kept in: what was there, writing to them, and putting back what was there.

Each kind of container has its own `Place`. It is written to directly, past ``__setattr__`` and ``__setitem__`` of the
user's classes, and put back by identity: equal is not enough. Most places are as they were after a run, so that
comparing comes first, in C.
"""

from __future__ import annotations

import operator
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import repeat
from typing import Any


class Missing:
    """What a place holds that is empty."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


def same(now: Iterable[object], before: Iterable[object]) -> bool:
    """Whether two series of equal length are the same objects."""
    return all(map(operator.is_, now, before))


class Place:
    """Somewhere that values are kept."""

    __slots__ = ("holder", "keys", "values")
    holder: Any  # the container
    # what was in it when the place was made; MISSING for what was not there
    keys: Sequence[Any]
    values: Sequence[object]

    def __init__(self, holder: object, keys: Sequence[Hashable]) -> None:
        self.holder, self.keys = holder, keys
        self.values = tuple(self.now())

    def inside(self) -> Sequence[object]:
        """What f can reach from here."""
        return self.values

    def again(self) -> Place:
        """Note what is there now."""
        return type(self)(self.holder, self.keys)

    def now(self) -> Iterable[object]:
        """What is there now, for each of the keys."""
        raise NotImplementedError

    def put(self, key: object, value: object) -> None:
        """Write one value."""
        raise NotImplementedError

    def remove(self, key: object) -> None:
        """Leave a key without a value."""
        raise NotImplementedError

    def restore(self) -> None:
        """Make it hold again what it held, in the same order; may be done again after an interruption."""
        for key, value, now in zip(self.keys, self.values, tuple(self.now()), strict=True):
            if now is value:
                continue
            if value is MISSING:
                self.remove(key)
            else:
                self.put(key, value)


class Dictionary(Place):
    """A dictionary, of an object or by itself; also of a class derived from dict."""

    __slots__ = ()

    def __init__(self, holder: dict[Hashable, object], keys: Sequence[Hashable] = ()) -> None:
        self.holder = holder
        self.keys = tuple(self.names(holder))
        self.values = tuple(dict.__getitem__(holder, key) for key in self.keys)

    @staticmethod
    def names(holder: dict[Hashable, object]) -> Iterable[Hashable]:
        """The keys, in the order that counts: an OrderedDict has one of its own."""
        return OrderedDict.keys(holder) if isinstance(holder, OrderedDict) else dict.keys(holder)

    def inside(self) -> Sequence[object]:
        return (*self.keys, *self.values)

    def put(self, key: object, value: object) -> None:
        dict.__setitem__(self.holder, key, value)

    def restore(self) -> None:
        now = self.holder
        if dict.__len__(now) != len(self.keys) or not same(self.names(now), self.keys):
            (OrderedDict if isinstance(now, OrderedDict) else dict).clear(now)
        write = OrderedDict.__setitem__ if isinstance(now, OrderedDict) else dict.__setitem__
        for key, value in zip(self.keys, self.values, strict=True):
            if (dict.__getitem__(now, key) if dict.__contains__(now, key) else MISSING) is not value:
                write(now, key, value)


class Names(Place):
    """Some names of a module, or what else is none of f's business is in it."""

    __slots__ = ()

    def now(self) -> Iterable[object]:
        return map(self.holder.get, self.keys, repeat(MISSING))

    def put(self, key: object, value: object) -> None:
        self.holder[key] = value

    def remove(self, key: object) -> None:
        self.holder.pop(key, None)


class Items(Place):
    """A list or deque, or a set: no array can be in that, but f may add to it, and objects in it may hold arrays."""

    __slots__ = ("_kind",)

    def __init__(self, holder: Any, keys: Sequence[Hashable] = ()) -> None:
        self.holder = holder
        self._kind: Any = next(kind for kind in (list, deque, set) if isinstance(holder, kind))  # past the user's class
        self.values = tuple(self._kind.__iter__(holder))
        self.keys = () if self._kind is set else range(len(self.values))

    def put(self, key: object, value: object) -> None:
        self._kind.__setitem__(self.holder, key, value)

    def restore(self) -> None:
        kind, now, before = self._kind, self.holder, self.values
        if kind.__len__(now) == len(before) and same(kind.__iter__(now), before):
            return
        if kind is list:
            list.__setitem__(now, slice(None), before)
        else:
            kind.clear(now)
            (set.update if kind is set else deque.extend)(now, before)


class Cell(Place):
    """A variable of an enclosing function."""

    __slots__ = ()

    def __init__(self, holder: types.CellType, keys: Sequence[Hashable] = ("",)) -> None:
        super().__init__(holder, keys)

    def now(self) -> Iterable[object]:
        try:
            return (self.holder.cell_contents,)
        except ValueError:
            return (MISSING,)

    def put(self, key: object, value: object) -> None:
        self.holder.cell_contents = value

    def remove(self, key: object) -> None:
        del self.holder.cell_contents


class Slots(Place):
    """Slots of an object."""

    __slots__ = ()

    def now(self) -> Iterable[object]:
        for member in self.keys:
            try:
                yield member.__get__(self.holder)
            except AttributeError:
                yield MISSING

    def put(self, key: Any, value: object) -> None:
        key.__set__(self.holder, value)

    def remove(self, key: Any) -> None:
        key.__delete__(self.holder)


# what a class has that no code changes, or that cannot be written
NOT_WRITTEN = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__"})
NOT_FOLLOWED = frozenset({"__annotations__", "__dataclass_fields__", "__dataclass_params__", "__orig_bases__"})


class Attributes(Place):
    """The attributes of a class of the user's; also those that f adds."""

    __slots__ = ()

    def __init__(self, holder: type, keys: Sequence[Hashable] | None = None) -> None:
        super().__init__(holder, tuple(name for name in vars(holder) if name not in NOT_WRITTEN))

    def inside(self) -> Sequence[object]:
        return [v for name, v in zip(self.keys, self.values, strict=True) if name not in NOT_FOLLOWED]

    def now(self) -> Iterable[object]:
        return map(vars(self.holder).get, self.keys, repeat(MISSING))

    def put(self, key: Any, value: object) -> None:
        type.__setattr__(self.holder, key, value)

    def restore(self) -> None:
        if len(vars(self.holder)) > len(self.keys):
            for name in vars(self.holder).keys() - {*self.keys, *NOT_WRITTEN}:
                type.__delattr__(self.holder, name)
        super().restore()


class Identity(Place):
    """What an object is made of beside its values: attributes that Python itself keeps, by their names.

    Its class and its dictionary; of a function also its code and its defaults.
    """

    __slots__ = ("_write",)

    def __init__(
        self, holder: object, keys: Sequence[str], write: Callable[[object, str, object], None] = object.__setattr__
    ) -> None:
        super().__init__(holder, keys)
        self._write = write

    def again(self) -> Place:
        return Identity(self.holder, self.keys, self._write)

    def now(self) -> Iterable[object]:
        return map(object.__getattribute__, repeat(self.holder), self.keys)

    def put(self, key: Any, value: object) -> None:
        self._write(self.holder, key, value)
