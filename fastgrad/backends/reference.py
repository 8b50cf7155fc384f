"""The reference: the textbook's loop. Perturb x in place, evaluate, restore; one coordinate at a time.

It shares no code with the other backends: it is the oracle of their tests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.evaluation import InFloats, Values
from ..core.point import Point, exclusive
from ..core.validation import FLOAT64, Floats, Ints, complex_number, number
from ..schemes.stencils import Stencil
from ..schemes.steps import Step


class Reference(InFloats):
    """f in a plain loop.

    Closures that read the caller's array see it perturbed, because it is perturbed in place; and f gets a fresh
    copy, because it may write into its argument, return a view of it or keep it.
    """

    origin = 0.0

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.nfev = 0
        self.own: NDArray[Any] | None = None
        self.way = "reference"
        self._call = call.of_one_point()
        self._point = point
        self._value: float | None = None
        self._in_place = point.perturbable and not call.shares_memory(point.own)
        container = point.container
        shown = container is not None and container.perturbable and not container.among((call.args, call.kwargs))
        if shown:
            self._call = self._call.but(f=point.following(self._call.f))
        self.sees_own = self._in_place or shown or not point.held

    def value(self) -> float:
        if self._value is None:
            self.nfev += 1
            call = self._call
            self._value = number(call.f(self._point.base.copy(), *call.args, **call.kwargs))
        return self._value

    @staticmethod
    def quick(call: Call, stencil: Stencil, rule: Step | None, explicit: bool = False) -> LoopGradient | None:
        """Return a prepared gradient by a fixed rule, for the commonest stencil."""
        if rule is None or not stencil.symmetric or stencil.nodes.size != 2:
            return None
        return LoopGradient(call.of_one_point(), rule)

    def notes(self) -> list[str]:
        return []

    def known_value(self, value: float) -> None:
        self._value = value

    def line(self, points: Values) -> Values:
        if points.dtype.kind == "c":
            f, args, kwargs = self._call.f, self._call.args, self._call.kwargs
            self.nfev += len(points)
            shape = self._point.base.shape
            return np.array([complex_number(f(row.reshape(shape).copy(), *args, **kwargs)) for row in points])
        return np.array([self._at(row.reshape(self._point.base.shape)) for row in points])

    def _at(self, x: NDArray[Any]) -> float:
        """f at a point of its own, read in the caller's array too where closures do so."""
        own, call = self._point.own, self._call
        self.nfev += 1
        if own is None or not self._in_place or own.dtype is not FLOAT64:
            return number(call.f(x.copy(), *call.args, **call.kwargs))
        with exclusive(own):
            try:
                own[...] = x
                return number(call.f(own.astype(np.float64, order="C"), *call.args, **call.kwargs))
            finally:
                own[...] = self._point.base

    def sweep(self, index: Ints, points: Values) -> Values:
        own = self._point.own
        if points.dtype.kind == "c":
            self.sees_own = True  # a closure shows: its value is real
            return self._loop(self._point.base.astype(np.complex128), index, points, complex_number)
        if self._in_place and own is not None and own.dtype is not FLOAT64:
            self.sees_own = self._in_place = bool((points.astype(own.dtype) == points).all())
        if not self._in_place or own is None:
            return self._loop(self._point.base.copy(), index, points, number)
        with exclusive(own):
            try:
                try:
                    return self._loop(own, index, points, number)
                except _Disturbed:
                    return self._loop(own, index, points, number, put_right=True)
            finally:
                own[...] = self._point.base

    def _loop(
        self,
        target: NDArray[Any],
        index: Ints,
        points: Values,
        convert: Callable[[Any], Any],
        put_right: bool = False,
    ) -> Values:
        f, args, kwargs = self._call.f, self._call.args, self._call.kwargs
        flat = target.reshape(-1) if target.flags.c_contiguous else target.flat
        fresh: Callable[[], NDArray[Any]]
        if target.dtype is FLOAT64 or target.dtype.kind == "c":
            fresh = target.copy
        else:
            fresh = lambda: target.astype(np.float64, order="C")  # noqa: E731
        plain = not args and not kwargs
        values: list[Any] = []
        entries = self._point.base.reshape(-1)
        for i, row in zip(index.tolist(), points.tolist(), strict=True):
            kept = entries[i]
            if flat[i] != kept and not put_right:
                raise _Disturbed
            try:
                for entry in row:
                    if put_right:
                        target[...] = self._point.base
                    flat[i] = entry
                    self.nfev += 1
                    result = f(fresh()) if plain else f(fresh(), *args, **kwargs)
                    values.append(convert(result))
            finally:
                flat[i] = kept
        if not put_right and (target != self._point.base).any():
            raise _Disturbed
        return np.array(values, dtype=points.dtype).reshape(points.shape)


class _Disturbed(Exception):
    """f writes into the caller's array: it must be put right before each evaluation."""


class LoopGradient:
    """The central difference of order 2 by a fixed rule: the textbook's loop and nothing around it."""

    def __init__(self, call: Call, rule: Step) -> None:
        self._call = call
        self._rule = rule

    def __call__(self, x: Floats, args: tuple[Any, ...], out: Floats) -> int:
        """Write the gradient at x, C-contiguous float64 and perturbed in place, to `out`.

        Returns nfev, or 0 where something is unusual and the general way is to decide. x is then as it was.
        """
        f, kwargs = self._call.f, self._call.kwargs
        if args or kwargs:
            if Call(f, args, kwargs).shares_memory(x):
                return 0
            given = f
            f = lambda y: given(y, *args, **kwargs)  # noqa: E731
        fresh, float64 = x.copy, np.float64
        flat = x if x.ndim == 1 else x.reshape(-1)
        slopes, total = out if out.ndim == 1 else out.reshape(-1), 0.0
        with exclusive(x):
            saved = flat.copy()
            entries = saved.tolist()
            i = 0
            try:
                for kept, h in zip(entries, self._rule.scalars(entries), strict=True):
                    above, below = kept + h, kept - h
                    if above == kept or below == kept or flat[i] != kept:  # the last: f writes into x
                        return 0
                    flat[i] = above
                    plus = f(fresh())
                    if type(plus) is not float and type(plus) is not float64:
                        plus = number(plus)
                    flat[i] = below
                    minus = f(fresh())
                    if type(minus) is not float and type(minus) is not float64:
                        minus = number(minus)
                    flat[i] = kept
                    slope = (float(plus) - float(minus)) / (above - below)
                    slopes[i] = slope
                    total += slope
                    i += 1
                if x.tobytes() != saved.tobytes():  # f writes into the caller's array
                    return 0
            finally:
                flat[:] = saved
        return 2 * i if isfinite(total) else 0
