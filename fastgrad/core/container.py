"""What holds x where that is not one block of memory: a list, nested lists, a table of columns."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from .errors import describe
from .validation import FLOAT64, Args, Array


class Part(NamedTuple):
    """A piece of the container that can be written to."""

    target: Any  # the piece itself
    place: Args  # the index of its entries in an array of x's shape
    kept: Any  # what it held: the very objects, where it is a sequence; of a dictionary one number, by its key


class Container:
    """The caller's list, tuple or table, which closures may read instead of f's argument."""

    __slots__ = ("_ndim", "_parts", "given", "holders")

    def __init__(
        self, given: object, ndim: int, parts: list[Part] | None = None, holders: list[Any] | None = None
    ) -> None:
        self.given = given  # the container itself
        self.holders = [given] if holders is None else holders  # what other threads are to keep away from meanwhile
        self._ndim = ndim
        self._parts = parts

    @property
    def parts(self) -> list[Part]:
        """The pieces that hold x; none, where one of them cannot be changed."""
        if self._parts is None:
            self._parts = parts_of(self.given, self._ndim) or []
        return self._parts

    @property
    def perturbable(self) -> bool:
        """Whether it can hold a perturbed x and be put back."""
        return bool(self.parts)

    @property
    def pieces(self) -> list[object]:
        """The container and all that is in it and can be changed: what a closure may hold."""
        return [self.given, *(part.target for part in self.parts)]

    def among(self, things: Any) -> bool:
        """Whether the container, or a piece of it, is among these arguments, at any depth."""
        if any(things is piece for piece in self.pieces):
            return True
        if isinstance(things, Mapping):
            things = list(things.values())
        return isinstance(things, (list, tuple)) and any(map(self.among, things))

    def refusal(self, name: str = "x") -> str:
        """Say that f reads it, and what to do, where it cannot be changed."""
        return (
            f"`{name}` is {self} that f reads itself instead of its argument, and its entries cannot be changed. Make "
            "it a float array: x = np.array(x, dtype=float), before f is made"
        )

    def write(self, x: Array) -> None:
        """Put the entries of an array of x's shape in; `restore` puts back what was there."""
        for target, place, kept in self.parts:
            values = x[place]
            if isinstance(target, dict):
                _put(target, dict.fromkeys(kept, float(values)))
            else:
                _put(target, values if isinstance(target, np.ndarray) else values.tolist())

    def restore(self) -> None:
        """Put everything back as it was."""
        for target, _, kept in self.parts:
            _put(target, kept)

    def __str__(self) -> str:
        return f"a {type(self.given).__name__} ({' '.join(describe(self.given, 40).split())})"


def _put(target: Any, values: Any) -> None:
    """Write all values of a piece."""
    if isinstance(target, np.ndarray):
        target[...] = values
    elif type(target) is list:
        target[:] = values
    elif isinstance(target, dict):
        target.update(values)
    else:
        for i, value in enumerate(values):
            target[i] = value


def memory_of(given: object, array: Array) -> Array | None:
    """Return the memory that an object keeps its entries in, by `array` that it was converted to; None for a copy.

    A pandas object shows its memory read-only, so that nobody writes by accident to what others share. Memory that can
    be written is then returned as such: whoever perturbs it puts it back. A frozen array's stays as it is.
    """
    if not np.may_share_memory(np.asarray(given), array):
        return None
    if not array.flags.writeable:
        array = array.view()
        with suppress(ValueError):
            array.flags.writeable = True
    return array


def parts_of(given: object, ndim: int) -> list[Part] | None:
    """Find the pieces that hold an x of so many dimensions; None where one of them cannot be changed alone."""
    found = _pieces(given, ndim, ())
    return None if found is None or _repeated(found) else found


def _pieces(given: Any, ndim: int, place: Args) -> list[Part] | None:
    """Find what an x of so many dimensions is made of; None where a piece cannot be changed."""
    if hasattr(given, "iloc") and ndim == 2:  # a table: every column is a piece of memory of its own
        columns = [_pieces(given.iloc[:, j], 1, (*place, slice(None), j)) for j in range(given.shape[1])]
        return _joined(columns)
    if isinstance(given, np.ndarray) or hasattr(given, "__array__"):
        array = given if isinstance(given, np.ndarray) else memory_of(given, np.asarray(given))
        if array is None or array.dtype is not FLOAT64 or not array.flags.writeable or array.ndim != ndim:
            return None
        return [Part(array, place, array.copy())]
    if ndim > 1:
        return _joined([_pieces(item, ndim - 1, (*place, i)) for i, item in enumerate(given)])
    return [Part(given, place, list(given))] if hasattr(given, "__setitem__") else None


def _joined(pieces: list[list[Part] | None]) -> list[Part] | None:
    found: list[Part] = []
    for piece in pieces:
        if piece is None:
            return None
        found += piece
    return found


def _repeated(parts: list[Part]) -> bool:
    """Whether two pieces are the same: they could not hold different values."""
    arrays = [part.target for part in parts if isinstance(part.target, np.ndarray)]
    return len({id(part.target) for part in parts}) < len(parts) or any(
        np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i]
    )
