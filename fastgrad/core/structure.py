"""Parameters as a dictionary of arrays, nested if need be: each array is a variable of its own, all others constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path as File
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from .errors import describe
from .validation import Floats, finite, real_array

__all__ = ["Leaf", "Structure"]

BY_ENTRY = ("h", "rel_step", "bounds")  # options that may differ from array to array

Path = tuple[Any, ...]
Tree = dict[Any, Any]


class Leaf(NamedTuple):
    """One array of a dictionary.

    Attributes
    ----------
    path : tuple
        Its keys, from the outside in.
    value : object
        The caller's array itself, which f may read instead of its argument.
    array : ndarray
        The same as an array of numbers.
    """

    path: Path
    value: Any
    array: NDArray[Any]

    @property
    def name(self) -> str:
        """What the array is called in messages."""
        return ".".join(map(str, self.path))


class Structure:
    """A dictionary of arrays.

    Parameters
    ----------
    x : mapping
        From any keys to arrays, numbers or further mappings.
    name : str
        What it is called in messages.

    Attributes
    ----------
    leaves : list of Leaf
        Its arrays, in the order of the dictionary.

    Raises
    ------
    TypeError, ValueError
        If something in it is no finite array of real numbers, or is there twice.
    """

    def __init__(self, x: Mapping[Any, Any], name: str = "x") -> None:
        for path, value in _walk(x, ()):
            if isinstance(value, Mapping):
                raise ValueError(f"`{_named(name, path)}` must hold arrays, got {describe(value)}")
        self.leaves = [Leaf(path, value, real_array(_named(name, path), value)) for path, value in _walk(x, ())]
        for place, leaf in enumerate(self.leaves):
            finite(_named(name, leaf.path), leaf.array)
            for other in self.leaves[:place]:
                if np.may_share_memory(leaf.array, other.array) and np.shares_memory(leaf.array, other.array):
                    raise ValueError(
                        f"`{name}` holds the same memory as {other.name!r} and as {leaf.name!r}: neither can be "
                        "changed alone; leave one of them out"
                    )

    def functions(self, f: Callable[..., Any]) -> Iterator[tuple[Leaf, Callable[..., Any]]]:
        """Return, for each array, f as a function of that array: it gets a dictionary of its own each time."""
        for leaf in self.leaves:
            others = [None if other is leaf else other.array.copy() for other in self.leaves]
            yield leaf, _of_one(f, _template(self.filled(others)))

    def filled(self, values: list[Any]) -> Tree:
        """Return a dictionary of the same structure."""
        tree: Tree = {}
        for leaf, value in zip(self.leaves, values, strict=True):
            inner = tree
            for key in leaf.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[leaf.path[-1]] = value
        return tree

    def alike(self, name: str, other: Any) -> list[NDArray[Any]]:
        """Return the arrays of another dictionary, which must have the same keys and shapes.

        Raises
        ------
        TypeError, ValueError
            If it has not.
        """
        if not isinstance(other, Mapping):
            raise TypeError(f"`{name}` must be a dictionary with the keys of x, got {describe(other)}")
        found = dict(_walk(other, ()))
        arrays = []
        for leaf in self.leaves:
            if leaf.path not in found:
                raise ValueError(f"`{name}` must have the keys of x: {leaf.name!r} is missing")
            array = real_array(_named(name, leaf.path), found.pop(leaf.path))
            if array.shape != leaf.array.shape:
                raise ValueError(
                    f"`{_named(name, leaf.path)}` must have the shape of x there, {leaf.array.shape}; got shape "
                    f"{array.shape}"
                )
            arrays.append(array)
        if found:
            raise ValueError(f"`{name}` must have the keys of x, got {'.'.join(map(str, next(iter(found))))!r}, too")
        return arrays

    def options(self, given: Mapping[str, Any], leaf: Leaf) -> dict[str, Any]:
        """Return the options for one array: its own step or bounds, where these are given as dictionaries.

        And its own journal, for the others are constant meanwhile: ``run.W1.sqlite`` for ``run.sqlite``.

        Raises
        ------
        ValueError
            If an option counts the entries of x.
        """
        if given.get("indices") is not None:
            raise ValueError(
                f"`indices` has no meaning where x is a dictionary, got {describe(given['indices'])}; leave out the "
                "arrays that are not wanted: f may read them elsewhere"
            )
        options = {name: _picked(value, leaf.path) if name in BY_ENTRY else value for name, value in given.items()}
        if (journal := given.get("journal")) is not None:
            path = File(journal)
            options["journal"] = path.with_name(f"{path.stem}.{quote(leaf.name, safe='')}{path.suffix}")
        return options

    def copied(self) -> Tree:
        """Return a dictionary of copies."""
        return self.filled([leaf.array.copy() for leaf in self.leaves])

    def joined(self, arrays: list[Any]) -> Floats:
        """Return the entries of all arrays one after another."""
        return np.concatenate([np.empty(0), *(np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays)])

    def split(self, flat: Floats, narrow: bool = False) -> Tree:
        """Do the inverse: new arrays; `narrow`: of the dtype that x has, where that is a short one of floats."""
        ends = np.cumsum([leaf.array.size for leaf in self.leaves])
        parts = np.split(flat, ends[:-1]) if self.leaves else []
        arrays = []
        for leaf, part in zip(self.leaves, parts, strict=True):
            short = narrow and leaf.array.dtype.kind == "f" and leaf.array.dtype.itemsize < 8
            arrays.append(part.reshape(leaf.array.shape).astype(leaf.array.dtype if short else np.float64))
        return self.filled(arrays)

    def label(self, flat: int) -> str:
        """Name an entry by its place among all: ``W1[3, 2]``."""
        for leaf in self.leaves:
            if flat < leaf.array.size:
                where = tuple(int(i) for i in np.unravel_index(flat, leaf.array.shape))
                return f"{leaf.name}[{', '.join(map(str, where))}]" if where else leaf.name
            flat -= leaf.array.size
        raise IndexError(flat)


def _picked(value: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            break
        value = value.get(key)
    return value


def _walk(x: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    if not x:
        yield path, x
    for key, value in x.items():
        if isinstance(value, Mapping):
            yield from _walk(value, (*path, key))
        else:
            yield (*path, key), value


def _named(name: str, path: Path) -> str:
    return name + "".join(f"[{key!r}]" for key in path)


# Written so that a function made of them is seen to keep nothing: no assignment, nothing that can be changed.


def _template(tree: Tree) -> tuple[Any, ...]:
    return tuple((key, _template(value) if isinstance(value, dict) else value) for key, value in tree.items())


def _built(template: tuple[Any, ...], value: Any) -> Tree:
    """Return the dictionary of a template, with copies of its arrays and `value` where it has none."""
    return {
        key: _built(part, value) if isinstance(part, tuple) else value if part is None else part.copy()
        for key, part in template
    }


def _of_one(f: Callable[..., Any], template: tuple[Any, ...]) -> Callable[..., Any]:
    """Return f as a function of one array; the others are as they were."""

    @wraps(f, updated=())  # also the module's name: what f reads in place is its own business, not this module's
    def of_one(value: Any, *args: Any, **kwargs: Any) -> Any:
        return f(_built(template, value), *args, **kwargs)

    return of_one
