"""The reference: the textbook's loop. Perturb x in place, evaluate, restore; one coordinate at a time.

It shares no code with the other backends: it is the oracle of their tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from operator import add, sub
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.evaluation import COLUMN, InFloats, Values
from ..core.point import Point
from ..core.validation import FLOAT64, Ints, complex_number, number

SMALL = 32  # entries that are written anew for each evaluation; of more only the perturbed one, which is put back
COARSEST = 2.0**-10  # of a step: how much of it may be rounded in an array of float32


class Reference(InFloats):
    """f in a plain loop.

    Closures that read the caller's array see it perturbed, because it is perturbed in place; and f gets a fresh
    copy, because it may write into its argument, return a view of it or keep it. Whoever runs this evaluation puts the
    caller's array back, whatever happens.
    """

    origin = 0.0
    way = "reference"

    def __init__(self, call: Call, point: Point) -> None:
        if call.batch_axis is not None:
            call = call.of_one_point()
        self.nfev = 0
        self._point, self._base = point, point.base
        self._value: float | None = None
        self.own = point.own if point.perturbable else None
        f, args, kwargs = call.f, call.args, call.kwargs
        self._f: Callable[[NDArray[Any]], Any] = f
        if args or kwargs:
            self._f = lambda x: f(x, *args, **kwargs)
            if call.shares_memory(self.own):  # what perturbs one would perturb the other
                self.own = None
        container = point.container
        shown = container is not None and container.perturbable and not container.among((args, kwargs))
        if shown:
            self._f = point.following(self._f)
        self.sees_own = shown or self.own is not None or not point.held

    def notes(self) -> list[str]:
        return []

    def value(self) -> float:
        value = self._value
        if value is None:
            x = self._base.copy()
            if self.own is not None:
                self.own[...] = x
            self.nfev += 1
            value = self._f(x)
            value = self._value = float(value) if isinstance(value, float) else number(value)
        return value

    def known_value(self, value: float) -> None:
        self._value = value

    def _at(self, x: NDArray[Any]) -> float:
        """f at a point of its own, which closures read in the caller's array."""
        if self.own is not None:
            self.own[...] = x
        self.nfev += 1
        value = self._f(x)
        return float(value) if isinstance(value, float) else number(value)

    def line(self, points: Values) -> Values:
        shape = self._base.shape
        if points.dtype.kind == "c":
            self.nfev += len(points)
            return np.array([complex_number(self._f(row.reshape(shape).copy())) for row in points])
        return np.array([self._at(row.reshape(shape).copy()) for row in points])

    def along(self, vector: list[float]) -> list[float]:
        base, own, f, values = self._base, self.own, self._f, []
        if base.ndim == 1:
            points = COLUMN * np.array(vector) + base
        else:
            points = (COLUMN * np.array(vector) + base.reshape(-1)).reshape(-1, *base.shape)
        evaluated = 0
        try:
            for evaluated, x in enumerate(points, 1):  # noqa: B007 - which are never used again: they are f's to keep
                if own is not None:
                    own[...] = x
                value = f(x)
                value = float(value) if isinstance(value, float) else number(value)
                values.append(value)
                if not isfinite(value):
                    break
        finally:
            self.nfev += evaluated
        return values

    def around(self, steps: list[float]) -> list[float]:
        base = self._base
        entries = base.tolist() if base.ndim == 1 else base.reshape(-1).tolist()
        return self._replaced(enumerate(zip(map(add, entries, steps), map(sub, entries, steps), strict=True)))

    def pair(self, i: int, up: float, down: float) -> list[float]:
        return self._replaced([(i, (up, down))])

    def sweep(self, index: Ints, points: Values) -> Values:
        if points.dtype.kind == "c":
            self.sees_own = True  # a closure shows: its value is real
            return self._complex(index, points)
        if self.own is not None and self.own.dtype is not FLOAT64:
            points = self._as_held(index, points, self.own.dtype)
        values = self._replaced(zip(index.tolist(), points.tolist(), strict=True))
        return np.array(values).reshape(points.shape)

    def _as_held(self, index: Ints, points: Values, dtype: np.dtype[Any]) -> Values:
        """Round points to what a float32 array can hold, as those on the line are: f is to see the same in both places.

        The line's points tell how much noise that makes. An array that cannot hold the steps is left alone.
        """
        with np.errstate(over="ignore"):
            held: Values = points.astype(dtype).astype(np.float64)
        away = np.abs(points - self._base.reshape(-1)[index][:, None])
        if (np.abs(held - points) <= COARSEST * away).all():
            return held
        self.own, self.sees_own = None, False
        return points

    def _replaced(self, rows: Iterable[tuple[int, Iterable[float]]]) -> list[float]:
        """f at x with one entry replaced, by each of some values."""
        base, own, f = self._base, self.own, self._f
        if own is not None and base.size > SMALL:
            rows = list(rows)
            values = self._one_entry(rows, own)
            if values is not None:
                return values
        copy, flat, values, began = base.copy, base.ndim == 1, [], 0
        try:
            for i, entries in rows:
                for entry in entries:
                    x = copy()
                    if flat:
                        x[i] = entry
                    else:
                        x.flat[i] = entry
                    if own is not None:
                        own[...] = x
                    began += 1
                    value = f(x)
                    values.append(float(value) if isinstance(value, float) else number(value))
        finally:
            self.nfev += began
        return values

    def _one_entry(self, rows: list[tuple[int, Iterable[float]]], own: NDArray[Any]) -> list[float] | None:
        """Do the same, writing one entry of the caller's array; None where f writes into that, too."""
        base, f, values, began = self._base, self._f, [], 0
        entries, places = base.reshape(-1), own.reshape(-1) if own.flags.c_contiguous else own.flat
        same = type(own) is np.ndarray and own.dtype is FLOAT64  # a copy of it is f's argument
        copy = own.copy if same else base.copy
        own[...] = base
        try:
            for i, row in rows:
                kept = entries[i]
                if places[i] != kept:
                    return None
                for entry in row:
                    places[i] = entry
                    x = copy()
                    if not same:
                        x.flat[i] = entry
                    began += 1
                    value = f(x)
                    values.append(float(value) if isinstance(value, float) else number(value))
                places[i] = kept
        finally:
            self.nfev += began
        return values if (own == base).all() else None

    def _complex(self, index: Ints, points: Values) -> Values:
        values = []
        for i, row in zip(index, points, strict=True):
            for entry in row:
                x: NDArray[Any] = self._base.astype(np.complex128)
                x.reshape(-1)[i] = entry
                self.nfev += 1
                values.append(complex_number(self._f(x)))
        return np.array(values).reshape(points.shape)
