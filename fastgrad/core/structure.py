"""Parameters as a dictionary of arrays, nested if need be, or what has labels; and what f makes of them.

For a gradient each array is a variable of its own, all others constant. For Jacobians and Hessians the entries of all
of them, one after another, are one x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import nullcontext
from functools import cached_property, wraps
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .container import Container, Part, parts_of
from .errors import describe
from .labels import Labels, has_labels
from .point import Point, as_point, exclusive, exclusively, meant
from .validation import FLOAT64, Args, Array, Floats, bounds_arrays, finite, real_array

BY_ENTRY = ("h", "rel_step", "bounds")  # options that may differ from array to array

Path = tuple[Any, ...]
Nested = dict[Any, Any]
Function = Callable[..., Any]


class Leaf(NamedTuple):
    """One array of a dictionary, or all that there is."""

    path: Path  # its keys, from the outside in
    value: Any  # the caller's array itself, which f may read instead of its argument
    array: Array  # the same as an array of numbers

    @property
    def name(self) -> str:
        """What the array is called in messages."""
        return ".".join(map(str, self.path))

    @property
    def dtype(self) -> np.dtype[Any]:
        """What its derivatives are returned as: short floats stay."""
        dtype = self.array.dtype
        return dtype if dtype.kind == "f" and dtype.itemsize < 8 else FLOAT64

    def copied(self) -> Any:
        """Return a copy of the array, or the number that it was given as: numpy's, which can be copied, too."""
        array = self.array.copy()
        return array[()] if isinstance(self.value, (int, float, np.generic)) else array

    def labelled(self, values: Array) -> Any:
        """Return values of its shape with its labels, if it has any; within a dictionary a named tuple is an array."""
        plain = bool(self.path) and isinstance(self.value, tuple)
        return Labels(self.value).on(values) if has_labels(self.value) and not plain else values

    def label(self, flat: int) -> str:
        """Name an entry: ``W1[3, 2]``, by labels where there are some."""
        if not self.array.ndim:
            return self.name
        where = np.unravel_index(flat, self.array.shape)
        told = Labels(self.value).name(flat) if has_labels(self.value) else ", ".join(str(int(i)) for i in where)
        return f"{self.name}[{told}]" if self.path else told


class Tree:
    """A dictionary of arrays; or one array, which is all of it.

    TypeError or ValueError if something in it is no array of real numbers.

    `value`: from any keys to arrays, numbers or further mappings.
    `name`: what it is called in messages.
    """

    def __init__(self, value: Any, name: str) -> None:
        self.name = name
        parts = [(path, meant(part)) for path, part in _walk(value, ())]
        for path, part in parts:
            if isinstance(part, Mapping):
                raise ValueError(f"`{named(name, path)}` must hold arrays, got {describe(part)}")
        # its arrays, in the order of the dictionary
        self.leaves = [Leaf(path, part, real_array(named(name, path), part)) for path, part in parts]
        # where each of them ends among the entries of all
        self.ends: list[int] = np.cumsum([leaf.array.size for leaf in self.leaves]).tolist()

    @property
    def nested(self) -> bool:
        """Whether it is a dictionary."""
        return bool(self.leaves[0].path)

    @property
    def has_labels(self) -> bool:
        """Whether something in it has labels."""
        return any(has_labels(leaf.value) for leaf in self.leaves)

    def filled(self, values: list[Any]) -> Any:
        """Return a dictionary of the same structure."""
        tree: Nested = {}
        for leaf, value in zip(self.leaves, values, strict=True):
            if not leaf.path:
                return value
            inner = tree
            for key in leaf.path[:-1]:
                inner = inner.setdefault(key, {})
            inner[leaf.path[-1]] = value
        return tree

    def alike(self, name: str, other: Any) -> list[Array]:
        """Return the arrays of another dictionary, which must have the same keys and shapes; labels in any order.

        TypeError or ValueError if it has not.
        """
        arrays = []
        for leaf, part in zip(self.leaves, self.parts(name, other), strict=True):
            labels = Labels(leaf.value) if has_labels(leaf.value) else None
            told = named(name, leaf.path)
            array = real_array(told, part if labels is None else labels.plain(told, part))
            if array.shape != leaf.array.shape:
                raise ValueError(
                    f"`{told}` must have the shape of {self.name}{' there' * self.nested}, {leaf.array.shape}; got "
                    f"shape {array.shape}"
                )
            arrays.append(array)
        return arrays

    def parts(self, name: str, other: Any) -> list[Any]:
        """Return what another dictionary of the same keys holds. TypeError or ValueError if it has other keys."""
        if self.nested and not isinstance(other, Mapping):
            raise TypeError(f"`{name}` must be a dictionary with the keys of {self.name}, got {describe(other)}")
        found = dict(_walk(other, (), {leaf.path for leaf in self.leaves}))
        for leaf in self.leaves:
            if leaf.path not in found:
                raise ValueError(f"`{name}` must have the keys of {self.name}: {leaf.name!r} is missing")
        parts = [found.pop(leaf.path) for leaf in self.leaves]
        if found:
            raise ValueError(
                f"`{name}` must have the keys of {self.name}, got {'.'.join(map(str, next(iter(found))))!r}, too"
            )
        return parts

    def copied(self) -> Any:
        """Return a dictionary of copies."""
        return self.filled([leaf.array.copy() for leaf in self.leaves])

    def joined(self, arrays: list[Any]) -> Floats:
        """Return the entries of all arrays one after another."""
        return np.concatenate([np.empty(0), *(np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays)])

    def split(self, flat: Floats, narrow: bool = False, labelled: bool = False) -> Any:
        """Do the inverse: new arrays; `narrow`: of the dtype that x has, where that is a short one of floats."""
        arrays: list[Any] = []
        for leaf, part in zip(self.leaves, np.split(flat, self.ends[:-1]), strict=True):
            array = part.reshape(leaf.array.shape).astype(leaf.dtype if narrow else np.float64)
            arrays.append(leaf.labelled(array) if labelled else array)
        return self.filled(arrays)

    def label(self, flat: int) -> str:
        """Name an entry by its place among all: ``W1[3, 2]``."""
        for leaf in self.leaves:
            if flat < leaf.array.size:
                return leaf.label(flat)
            flat -= leaf.array.size
        raise IndexError(flat)

    def listing(self, f: Function) -> Function:
        """Return f, whose results are dictionaries like this one, as a function that gives all entries of each."""
        return _listing(f, tuple(leaf.path for leaf in self.leaves)) if self.nested else f


class Structure(Tree):
    """What a derivative is taken with respect to: finite, and no memory in it twice.

    TypeError or ValueError if something in it is no finite array of real numbers, or is there twice.
    """

    def __init__(self, x: Any, name: str = "x") -> None:
        with exclusive(x) if isinstance(x, dict) else nullcontext():  # another thread may perturb what it holds
            super().__init__(x, name)
        self.given = x
        # of a dictionary, what other threads are to keep away from while something in it is perturbed: f reads all of
        # it
        self.holders = [x, *sorted((leaf.value for leaf in self.leaves), key=_block)] if self.nested else []
        for place, leaf in enumerate(self.leaves):
            finite(named(name, leaf.path), leaf.array)
            for other in self.leaves[:place]:
                if np.may_share_memory(leaf.array, other.array) and np.shares_memory(leaf.array, other.array):
                    raise ValueError(
                        f"`{name}` holds the same memory as {other.name!r} and as {leaf.name!r}: neither can be "
                        "changed alone; leave one of them out"
                    )

    def functions(self, f: Function) -> Iterator[tuple[Leaf, Function]]:
        """Return, for each array, f as a function of that array: it gets a dictionary of its own each time.

        Where it cannot do with arrays, what else has labels in x has them there, too.
        """
        for leaf in self.leaves:
            others = [None if other is leaf else other.copied() for other in self.leaves]
            of_one = _of_changed(f, _built, _template(self.filled(others)))
            if any(has_labels(other.value) for other in self.leaves if other is not leaf):
                kept = [None if other is leaf else other.labelled(other.array.copy()) for other in self.leaves]
                of_one = Labels.either(of_one, _of_changed(f, _built, _template(self.filled(kept))))
            yield leaf, of_one

    def of_flat(self, f: Function, labelled: bool = False) -> Function:
        """Return f as a function of what `point` holds: all entries one after another, or x's only array."""
        if not self.nested:
            return Labels(self.given).giving(f) if labelled else f
        if labelled:
            return lambda flat, *args, **kwargs: f(self.split(flat, labelled=True), *args, **kwargs)
        starts = [end - leaf.array.size for leaf, end in zip(self.leaves, self.ends, strict=True)]
        places = [(start, leaf.array.size, leaf.array.shape) for start, leaf in zip(starts, self.leaves, strict=True)]
        return _of_changed(f, _cut, _template(self.filled(places)))

    def point(self) -> Point:
        """Return where the derivatives are wanted; whoever evaluates f there can show it to closures, too."""
        if not self.nested:
            point = as_point(self.given)
            point.naming = self.label if self.has_labels else None
            return point
        with exclusively(self.holders):
            pieces = [part for parts in self._held for part in parts or ()]
            base = self.joined([as_point(leaf.value).base for leaf in self.leaves])
        point = Point(base, None, FLOAT64, Container(self.given, 1, pieces, self.holders), self.given)
        point.naming = self.label
        return point

    @cached_property
    def _held(self) -> list[list[Part] | None]:
        """What holds each array of a dictionary; None where it cannot be changed."""
        found: list[list[Part] | None] = []
        for leaf, end in zip(self.leaves, self.ends, strict=True):
            places = np.arange(end - leaf.array.size, end).reshape(leaf.array.shape)
            parts = self._number(leaf) or parts_of(leaf.value, leaf.array.ndim)
            found.append(parts and [part._replace(place=(places[part.place],)) for part in parts])
        return found

    def _number(self, leaf: Leaf) -> list[Part] | None:
        """What holds a number: the dictionary that it is in. None for an array."""
        inner = _at(self.given, leaf.path[:-1]) if isinstance(leaf.value, (int, float, np.generic)) else None
        return [Part(inner, (), {leaf.path[-1]: leaf.value})] if isinstance(inner, dict) else None

    def alone(self, leaf: Leaf) -> Any:
        """Return one of the arrays as x of its own: a number together with what holds it, for closures read that."""
        parts = self._number(leaf)
        if parts is None:
            return leaf.value
        point = as_point(leaf.value)
        return Point(point.base, None, point.dtype, Container(parts[0].target, 0, parts), leaf.value)

    def fixed(self) -> Iterator[tuple[Leaf, slice]]:
        """Return the arrays of a dictionary that cannot be changed where they are, and their places among all."""
        for leaf, end, parts in zip(self.leaves, self.ends, self._held if self.nested else (), strict=False):
            if not parts:
                yield leaf, slice(end - leaf.array.size, end)

    def options(self, given: Mapping[str, Any], leaf: Leaf) -> dict[str, Any]:
        """Return the options for one array: its own step or bounds, where these are given as dictionaries.

        And its own journal, for the others are constant meanwhile: ``run.W1.sqlite`` for ``run.sqlite``.

        ValueError if an option counts the entries of x.
        """
        _refuse_indices(given)
        options = {name: _picked(value, leaf.path) if name in BY_ENTRY else value for name, value in given.items()}
        if (journal := given.get("journal")) is not None:
            path = import_module("pathlib").Path(journal)  # as quoting, it takes 2 ms to load
            name = import_module("urllib.parse").quote(leaf.name, safe="")
            options["journal"] = path.with_name(f"{path.stem}.{name}{path.suffix}")
        return options

    def flat_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options for all entries as one x, where steps or bounds are given as dictionaries.

        ValueError if an option counts the entries of x, or a dictionary of steps lacks an array.
        """
        if not self.nested:
            return dict(given)
        _refuse_indices(given)
        options = dict(given)
        for name in BY_ENTRY:
            if isinstance(given.get(name), Mapping):
                sides = [self._of_leaf(name, given[name], leaf) for leaf in self.leaves]
                both = [self.joined(list(side)) for side in zip(*sides, strict=True)]
                options[name] = tuple(both) if name == "bounds" else both[0]
        return options

    def _of_leaf(self, name: str, given: Mapping[Any, Any], leaf: Leaf) -> tuple[Floats, ...]:
        value, size = _picked(given, leaf.path), leaf.array.size
        if name == "bounds":
            found = bounds_arrays(value, leaf.array.astype(np.float64))
            return found or (np.full(size, -np.inf), np.full(size, np.inf))
        if value is None or isinstance(value, str):
            raise ValueError(
                f"`{name}` must have a step for each array of x where some are given, got {describe(value)} for "
                f"{leaf.name!r}"
            )
        return (np.broadcast_to(real_array(name, value), leaf.array.shape),)


def as_seen(x: Any) -> Point:
    """Return what the caller holds x in, as it is now."""
    return Structure(x).point() if isinstance(x, dict) else as_point(x)


def blocks(matrix: Floats, rows: Tree, columns: Tree, labelled: bool = False) -> Any:
    """Return a matrix of derivatives in the structure of both: a block for each array of rows and of columns."""
    found = []
    for outer, below in zip(rows.leaves, np.split(matrix, rows.ends[:-1], axis=0), strict=True):
        row = []
        for inner, part in zip(columns.leaves, np.split(below, columns.ends[:-1], axis=1), strict=True):
            dtype = np.promote_types(outer.dtype, inner.dtype) if rows is columns else inner.dtype
            block = part.reshape((*outer.array.shape, *inner.array.shape)).astype(dtype)
            row.append(_labelled(block, outer, inner) if labelled else block)
        found.append(columns.filled(row))
    return rows.filled(found)


def unblocked(name: str, given: Any, rows: Tree, columns: Tree) -> Floats:
    """Do the inverse, of what a caller gave. TypeError or ValueError if it has another structure."""
    found = []
    for outer, row in zip(rows.leaves, rows.parts(name, given), strict=True):
        row_name, parts = named(name, outer.path), []
        for inner, part in zip(columns.leaves, columns.parts(row_name, row), strict=True):
            told, shape = named(row_name, inner.path), (*outer.array.shape, *inner.array.shape)
            block = real_array(told, _unlabelled(told, part, outer, inner)).astype(np.float64)
            if block.shape != shape:
                raise ValueError(f"`{told}` must give an array of shape {shape}, got shape {block.shape}")
            parts.append(block.reshape(outer.array.size, inner.array.size))
        found.append(np.concatenate(parts, axis=1))
    return np.concatenate(found)


def flattened(value: Any) -> Array:
    """Return all numbers in nested dictionaries of arrays one after another."""
    return np.concatenate([np.asarray(part).reshape(-1) for _, part in _walk(value, ())])


def _labelled(block: Array, outer: Leaf, inner: Leaf) -> Any:
    """Label the axes of a block that have labels: those of a Series, and of what stands alone."""
    if not outer.array.ndim:
        return inner.labelled(block)
    if not inner.array.ndim:
        return outer.labelled(block)
    index, columns = _index(outer), _index(inner)
    if block.ndim != 2 or (index is None and columns is None):
        return block
    return import_module("pandas").DataFrame(block, index=index, columns=columns)


def _unlabelled(name: str, block: Any, outer: Leaf, inner: Leaf) -> Any:
    """Put a labelled block into the order of x."""
    for alone, other in ((outer, inner), (inner, outer)):
        if not alone.array.ndim and has_labels(other.value):
            return Labels(other.value).plain(name, block)
    if not hasattr(block, "columns"):
        return block
    wanted = {"index": _index(outer), "columns": _index(inner)}
    ours = block.reindex(**{axis: labels for axis, labels in wanted.items() if labels is not None})
    if ours.size != block.size or np.count_nonzero(ours.isnull()) != np.count_nonzero(block.isnull()):
        raise ValueError(f"`{name}` must have the labels of x, got {describe(block)}")
    return ours


def _index(leaf: Leaf) -> Any:
    """The labels of a Series; None of anything else."""
    return leaf.value.index if hasattr(leaf.value, "iloc") and leaf.array.ndim == 1 else None


def _block(value: Any) -> int:
    """The memory that an array views: what locks are of."""
    while isinstance(value, np.ndarray) and value.base is not None:
        value = value.base
    return id(value)


def _refuse_indices(given: Mapping[str, Any]) -> None:
    if given.get("indices") is not None:
        raise ValueError(
            f"`indices` has no meaning where x is a dictionary, got {describe(given['indices'])}; leave out the "
            "arrays that are not wanted: f may read them elsewhere"
        )


def _picked(value: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(value, Mapping):
            break
        value = value.get(key)
    return value


def _walk(x: Any, path: Path, ends: Set[Path] = frozenset()) -> Iterator[tuple[Path, Any]]:
    """List what a dictionary holds that is none itself, or stands where a path ends; an empty one is listed."""
    if path in ends or not isinstance(x, Mapping) or not x:
        yield path, x
        return
    for key, value in x.items():
        yield from _walk(value, (*path, key), ends)


def named(name: str, path: Path) -> str:
    """Word where something stands in a dictionary."""
    return name + "".join(f"[{key!r}]" for key in path)


# Written so that a function made of them is seen to keep nothing: no assignment, nothing that can be changed.


def _template(tree: Nested) -> Args:
    return tuple((key, _template(value) if isinstance(value, dict) else value) for key, value in tree.items())


def _built(template: Args, value: Any) -> Nested:
    """Return the dictionary of a template, with copies of its arrays and `value` where it has none."""
    return {
        key: _built(part, value) if isinstance(part, tuple) else value if part is None else part.copy()
        for key, part in template
    }


def _of_changed(f: Function, change: Function, template: Args) -> Function:
    """Return f as a function of what a template makes f's argument of."""

    @wraps(f, updated=())  # also the module's name: what f reads in place is its own business, not this module's
    def of_changed(value: Any, *args: Any, **kwargs: Any) -> Any:
        return f(change(template, value), *args, **kwargs)

    return of_changed


def _cut(template: Args, flat: Any) -> Nested:
    """Return the dictionary of a template of places: where an array begins, its size and its shape."""
    return {key: _piece(part, flat) if isinstance(part[0], int) else _cut(part, flat) for key, part in template}


def _piece(place: tuple[int, int, tuple[int, ...]], flat: Any) -> Any:
    return flat[place[0] : place[0] + place[1]].reshape(place[2]) if place[2] else flat[place[0]]


def _at(value: Any, path: Path) -> Any:
    return _at(value[path[0]], path[1:]) if path else value


def _listing(f: Function, paths: tuple[Path, ...]) -> Function:
    """Return f, which gives a dictionary, as a function that gives all entries of it."""

    @wraps(f, updated=())
    def listing(x: Any, *args: Any, **kwargs: Any) -> Any:
        return _entries(f(x, *args, **kwargs), paths)

    return listing


def _entries(value: Any, paths: tuple[Path, ...]) -> Any:
    return np.concatenate([np.ravel(_at(value, path)) for path in paths])
