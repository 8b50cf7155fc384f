"""Places that values are kept in: what was there, writing to them, and putting back what was there.

Each kind of container has its own `Place`. It is written to directly, past ``__setattr__`` and ``__setitem__`` of the
user's classes, and put back by identity: equal is not enough. Most places are as they were after a run, so that
comparing comes first, in C.
"""

from __future__ import annotations

import contextlib
import operator
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import cast

__all__ = ["MISSING", "Attributes", "Cell", "Dictionary", "Elements", "Identity", "Items", "Names", "Place", "Slots"]


class Missing:
    """What a place holds that is empty."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


def same(now: Iterable[object], before: Iterable[object]) -> bool:
    """Whether two series of equal length are the same objects."""
    return all(map(operator.is_, now, before))


class Place:
    """Somewhere that values are kept.

    Attributes
    ----------
    holder
        The container.
    keys, values : sequence
        What was in it when the place was made.
    """

    __slots__ = ("holder", "keys", "values")
    holder: object
    keys: Sequence[Hashable]
    values: Sequence[object]

    def inside(self) -> Sequence[object]:
        """What f can reach from here."""
        return self.values

    def again(self) -> Place:
        """Note what is there now."""
        return type(self)(self.holder)  # type: ignore[call-arg]

    def put(self, key: Hashable, value: object) -> None:
        """Write one value."""
        raise NotImplementedError

    def restore(self) -> None:
        """Make it hold again what it held, in the same order; may be done again after an interruption."""
        raise NotImplementedError


class Dictionary(Place):
    """A dictionary, of an object or by itself; also of a class derived from dict."""

    __slots__ = ()
    holder: dict[Hashable, object]

    def __init__(self, holder: dict[Hashable, object]) -> None:
        self.holder = holder
        self.keys = tuple(self.names(holder))
        self.values = tuple(dict.__getitem__(holder, key) for key in self.keys)

    @staticmethod
    def names(holder: dict[Hashable, object]) -> Iterable[Hashable]:
        """The keys, in the order that counts: an OrderedDict has one of its own."""
        return OrderedDict.keys(holder) if isinstance(holder, OrderedDict) else dict.keys(holder)

    def inside(self) -> Sequence[object]:
        return (*self.keys, *self.values)

    def put(self, key: Hashable, value: object) -> None:
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
    holder: dict[str, object]
    keys: Sequence[str]

    def __init__(self, holder: dict[str, object], names: Iterable[str]) -> None:
        self.holder = holder
        self.keys = tuple(names)
        self.values = tuple(holder.get(name, MISSING) for name in self.keys)

    def again(self) -> Place:
        return Names(self.holder, self.keys)

    def put(self, key: Hashable, value: object) -> None:
        self.holder[str(key)] = value

    def restore(self) -> None:
        for name, value in zip(self.keys, self.values, strict=True):
            if value is MISSING:
                self.holder.pop(str(name), None)
            elif self.holder.get(str(name), MISSING) is not value:
                self.holder[str(name)] = value


class Items(Place):
    """A list or deque."""

    __slots__ = ()
    holder: list[object] | deque[object]

    def __init__(self, holder: list[object] | deque[object]) -> None:
        self.holder = holder
        self.values = tuple(type(self).items(holder))
        self.keys = range(len(self.values))

    @staticmethod
    def items(holder: list[object] | deque[object]) -> Iterator[object]:
        """Past an ``__iter__`` of the user's."""
        return list.__iter__(holder) if isinstance(holder, list) else deque.__iter__(holder)

    def put(self, key: Hashable, value: object) -> None:
        at = cast("int", key)
        if isinstance(self.holder, list):
            list.__setitem__(self.holder, at, value)
        else:
            deque.__setitem__(self.holder, at, value)

    def restore(self) -> None:
        now, before = self.holder, self.values
        if isinstance(now, list):
            if not (list.__len__(now) == len(before) and same(self.items(now), before)):
                list.__setitem__(now, slice(None), before)
        elif not (deque.__len__(now) == len(before) and same(self.items(now), before)):
            deque.clear(now)
            deque.extend(now, before)


class Elements(Place):
    """A set: no array can be in it, but f may add to it, and objects in it may hold arrays."""

    __slots__ = ()
    holder: set[object]

    def __init__(self, holder: set[object]) -> None:
        self.holder = holder
        self.keys, self.values = (), tuple(set.__iter__(holder))

    def restore(self) -> None:
        now, before = self.holder, self.values
        if not (set.__len__(now) == len(before) and same(set.__iter__(now), before)):
            set.clear(now)
            set.update(now, before)


class Cell(Place):
    """A variable of an enclosing function."""

    __slots__ = ()
    holder: types.CellType

    def __init__(self, holder: types.CellType) -> None:
        self.holder = holder
        self.keys = ("",)
        try:
            self.values = (holder.cell_contents,)
        except ValueError:
            self.values = (MISSING,)

    def put(self, key: Hashable, value: object) -> None:
        self.holder.cell_contents = value

    def restore(self) -> None:
        (before,) = self.values
        if before is not MISSING:
            self.holder.cell_contents = before
            return
        with contextlib.suppress(ValueError):
            del self.holder.cell_contents


class Slots(Place):
    """Slots of an object."""

    __slots__ = ()
    keys: Sequence[types.MemberDescriptorType]

    def __init__(self, holder: object, members: Sequence[types.MemberDescriptorType]) -> None:
        self.holder, self.keys = holder, members
        self.values = tuple(map(self._now, members))

    def again(self) -> Place:
        return Slots(self.holder, self.keys)

    def _now(self, member: types.MemberDescriptorType) -> object:
        try:
            return member.__get__(self.holder)
        except AttributeError:
            return MISSING

    def put(self, key: Hashable, value: object) -> None:
        assert isinstance(key, types.MemberDescriptorType)
        key.__set__(self.holder, value)

    def restore(self) -> None:
        for member, value in zip(self.keys, self.values, strict=True):
            if self._now(member) is value:
                continue
            if value is MISSING:
                member.__delete__(self.holder)
            else:
                member.__set__(self.holder, value)


# what a class has that no code changes, or that cannot be written
NOT_WRITTEN = frozenset({"__dict__", "__weakref__", "_abc_impl", "__abstractmethods__"})
NOT_FOLLOWED = frozenset({"__annotations__", "__dataclass_fields__", "__dataclass_params__", "__orig_bases__"})


class Attributes(Place):
    """The attributes of a class of the user's; also those that f adds."""

    __slots__ = ()
    holder: type
    keys: Sequence[str]

    def __init__(self, holder: type) -> None:
        self.holder = holder
        self.keys = tuple(name for name in vars(holder) if name not in NOT_WRITTEN)
        self.values = tuple(vars(holder)[name] for name in self.keys)

    def inside(self) -> Sequence[object]:
        return [v for name, v in zip(self.keys, self.values, strict=True) if name not in NOT_FOLLOWED]

    def put(self, key: Hashable, value: object) -> None:
        type.__setattr__(self.holder, str(key), value)

    def restore(self) -> None:
        now = vars(self.holder)
        if len(now) > len(self.keys):
            known = {*self.keys, *NOT_WRITTEN}
            for name in [name for name in now if name not in known]:
                type.__delattr__(self.holder, name)
        for name, value in zip(self.keys, self.values, strict=True):
            if now.get(name, MISSING) is not value:
                type.__setattr__(self.holder, name, value)


class Identity(Place):
    """What an object is made of beside its values: attributes that Python itself keeps, by their names.

    Its class and its dictionary; of a function also its code and its defaults.
    """

    __slots__ = ("_write",)
    keys: Sequence[str]

    def __init__(
        self, holder: object, names: Sequence[str], write: Callable[[object, str, object], None] = object.__setattr__
    ) -> None:
        self.holder, self.keys, self._write = holder, names, write
        self.values = tuple(map(self._now, names))

    def again(self) -> Place:
        return Identity(self.holder, self.keys, self._write)

    def _now(self, name: Hashable) -> object:
        return object.__getattribute__(self.holder, str(name))

    def put(self, key: Hashable, value: object) -> None:
        self._write(self.holder, str(key), value)

    def restore(self) -> None:
        for name, value in zip(self.keys, self.values, strict=True):
            if self._now(name) is not value:
                self._write(self.holder, str(name), value)
