"""What f sees in place of what it would find: the bundle for x, views of it for views of x, the rest read-only."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from ...core.point import stand_in
from ..arraylike import Array
from ..signals import CannotLift
from ..sparse.bundle import SparseBundle
from ..substitutes import SUBSTITUTED, Constant, Float, substitute
from .places import MISSING, Names, Place
from .walk import Walk

Write = tuple[Place, Hashable, object]


class Seen:
    """What to write where, found out once for all runs: only what is x, or made of it, differs from run to run.

    `x`: the caller's array.
    `walk`: the places that f can reach.
    `roots`: f and its arguments, which are given to it rather than found.
    `filling`: whether f sees numpy through the substitutes.
    `writing`: whether f may write into the other arrays: into copies that are bundles, made for each run.
    """

    def __init__(self, x: Array, walk: Walk, roots: tuple[object, ...], filling: bool, writing: bool = False) -> None:
        self._x, self._filling, self._writing = x, filling, writing
        self._low, self._high = byte_bounds(x)
        self._frozen: dict[int, tuple[Array, Array]] = {}  # arrays that are not x, and what is shown of them
        self._bundle: SparseBundle | None = None
        self._views: dict[int, object] = {}  # of the bundle
        self._others: dict[int, tuple[Array, SparseBundle | None]] = {}  # that f may write into: and copies
        self._of_x = self._of_run = False
        self._same: set[type] = set()  # kinds of things that f sees as they are
        self.found = 0  # in how many places x is, or a view of it
        self._fixed: list[Write] = []
        self._moving: list[tuple[Place, Hashable, object]] = []
        for place in walk.places:
            if self._same.issuperset(map(type, place.values)) and not (filling and isinstance(place, Names)):
                continue
            for key, value in zip(place.keys, place.values, strict=False):
                self._of_x = self._of_run = False
                shown = self._show(value)
                self.found += self._of_x
                if self._of_run:
                    self._moving.append((place, key, value))
                elif shown is not value:
                    self._fixed.append((place, key, shown))
                elif filling and key == "float" and value is MISSING and isinstance(place, Names):
                    self._fixed.append((place, key, Float))
        self._of_x = False
        self._show(roots)
        self.found += self._of_x
        self._roots = roots

    def of(self, bundle: SparseBundle | None) -> tuple[tuple[Any, ...], list[Write]]:
        """What f and its arguments are, and what to write where, for one bundle."""
        self._bundle, self._views = bundle, {}
        self._others = {key: (array, None) for key, (array, _) in self._others.items()}
        try:
            roots = self._show(self._roots)
            writes = self._fixed + [(place, key, self._show(value)) for place, key, value in self._moving]
        finally:
            self._bundle, self._views = None, {}
        assert isinstance(roots, tuple)
        return roots, writes

    def done(self) -> None:
        """Let the copies go.

        CannotLift if f has written into one whose array shares memory with another one: f may have read that instead.
        """
        others, every = self._others, [array for array, _ in (*self._others.values(), *self._frozen.values())]
        self._others = {key: (array, None) for key, (array, _) in others.items()}
        for array, copy in others.values():
            if copy is None or not (copy.slots or not np.array_equal(copy.base, array, equal_nan=True)):
                continue
            if any(np.may_share_memory(array, other) for other in every if other is not array):
                raise CannotLift("f writes into an array that shares memory with another one that it can reach")

    def _show(self, value: Any) -> object:
        kind = type(value)
        if issubclass(kind, np.ndarray):
            return self._array(value)
        if issubclass(kind, tuple):
            items = tuple(map(self._show, value))
            if all(a is b for a, b in zip(items, value, strict=True)):
                return value
            if kind is tuple:
                return items
            make = getattr(kind, "_make", None)
            if make is None:
                raise CannotLift(f"f can reach an array in a {kind.__name__}, which cannot be made anew")
            made: object = make(items)
            return made
        if kind is functools.partial:
            func, args = self._show(value.func), self._show(value.args)
            keywords = {name: self._show(item) for name, item in value.keywords.items()}
            if func is value.func and args is value.args and all(a is value.keywords[n] for n, a in keywords.items()):
                return value
            return functools.partial(cast("Callable[..., object]", func), *cast("tuple[object, ...]", args), **keywords)
        if self._filling and kind in SUBSTITUTED:
            return substitute(value)
        self._same.add(kind)
        return value

    def _array(self, array: Array) -> object:
        known = self._frozen.get(id(array))
        if known is not None:
            return known[1]
        if array is not self._x:
            low, high = byte_bounds(array)
            if low >= self._high or high <= self._low or not array.size:
                if self._writing and type(array) is np.ndarray and array.dtype == np.float64 and array.ndim:
                    return self._copy(array)
                shown = array.view(Constant) if self._filling and type(array) is np.ndarray else array.view()
                shown.flags.writeable = False
                stand_in(shown, array)
                self._frozen[id(array)] = array, shown
                return shown
        self._of_x = self._of_run = True
        if self._bundle is None:
            if array is not self._x:
                self._positions(array)  # raises where it is no part of x
            return array
        if array is self._x:
            return self._bundle
        if id(array) not in self._views:
            view = self._view(array, self._bundle.reshape(-1))
            if isinstance(view.base, np.ndarray):
                view.base.flags.writeable = False
            stand_in(view, array)
            self._views[id(array)] = view
        return self._views[id(array)]

    def _copy(self, array: Array) -> object:
        """A copy that f may write into, differences too; it is let go after the run."""
        self._of_run = True
        copy = self._others.setdefault(id(array), (array, None))[1]
        if self._bundle is None:
            return array
        if copy is None:
            copy = SparseBundle(array.copy(), (), self._bundle.run)
            stand_in(copy, array)
            self._others[id(array)] = array, copy
        return copy

    def _positions(self, array: Array) -> tuple[int, list[int]]:
        """Where an array begins in x, counted in entries, and how far apart its neighbours are."""
        offset, rest = divmod(array.__array_interface__["data"][0] - self._low, self._x.itemsize)
        steps = [divmod(step, self._x.itemsize) for step in array.strides]
        low, high = byte_bounds(array)
        inside = self._low <= low and high <= self._high
        if rest or any(left for _, left in steps) or not inside or array.dtype != self._x.dtype:
            raise CannotLift("f can reach an array that shares memory with x and is no part of it")
        return offset, [step for step, _ in steps]

    def _view(self, array: Array, flat: SparseBundle) -> SparseBundle:
        """The part of the bundle that an array is of x: as a slice where it is a block, which costs least."""
        offset, steps = self._positions(array)
        shape = array.shape
        if array.flags.c_contiguous:
            block: SparseBundle = flat[offset : offset + array.size].reshape(shape)
            return block
        if array.flags.f_contiguous:
            turned: SparseBundle = flat[offset : offset + array.size].reshape(shape[::-1]).T
            return turned
        at: slice | Array = as_strided(
            np.arange(offset, self._x.size), shape, [step * np.intp(0).itemsize for step in steps]
        )
        if array.ndim == 1 and steps[0] > 0:
            at = slice(offset, offset + steps[0] * (array.size - 1) + 1, steps[0])
        part: SparseBundle = flat[at]
        return part
