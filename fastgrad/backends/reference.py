"""The reference: the textbook's loop. Perturb x in place, evaluate, restore; one coordinate at a time.

It shares no code with the other backends: it is the oracle of their tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.evaluation import BOTH_WAYS, TWO_SIDES, InFloats, Values
from ..core.point import Point
from ..core.validation import FLOAT64, Floats, Ints, complex_number, number

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
        self._point, self._base = point, point.base
        own = point.own if point.perturbable else None
        f, args, kwargs = call.f, call.args, call.kwargs
        if not point.base.ndim:
            f = point.numbered(f)
        if args or kwargs:
            given = f
            f = lambda x: given(x, *args, **kwargs)  # noqa: E731
            if call.shares_memory(own):  # what perturbs one would perturb the other
                own = None
        shown = own is not None
        if point.container is not None and point.container.perturbable and not point.container.among((args, kwargs)):
            f, shown = point.following(f), True
        self._f: Callable[[NDArray[Any]], Any] = f
        self.own = own
        self.sees_own = shown or not point.held

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

    def _at_each(self, points: Iterable[NDArray[Any]], hasty: bool = False) -> list[float]:
        """f at points that are its own to keep, and that closures read in the caller's array.

        `hasty`: only up to the first value that is not finite.
        """
        f, own, values = self._f, self.own, []
        if own is None:
            own = self._base.copy()  # seen by nobody
        try:
            for x in points:
                own[...] = x
                value = f(x)
                value = float(value) if isinstance(value, float) else number(value)
                values.append(value)
                if hasty and value - value:  # nan, of what is not finite
                    break
        except BaseException:
            self.nfev += 1
            raise
        finally:
            self.nfev += len(values)
        return values

    def _shaped(self, rows: Iterable[NDArray[Any]]) -> Iterable[NDArray[Any]]:
        shape = self._base.shape
        return [row.reshape(shape) for row in rows]

    def line(self, points: Values) -> Values:
        rows = self._shaped(points.copy())
        if points.dtype.kind == "c":
            self.nfev += len(points)
            return np.array([complex_number(self._f(row)) for row in rows])
        return np.array(self._at_each(rows))

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        base, moves = self._base, multiples * np.array(vector)
        if base.ndim == 1:
            return self._at_each(moves + base, True)
        return self._at_each(self._shaped(moves + base.reshape(-1)), True)

    def around(self, steps: list[float], nodes: tuple[float, ...] = TWO_SIDES) -> list[float]:
        base, points = self._base, []
        flat = base if base.ndim == 1 else base.reshape(-1)
        for i, entry in enumerate(flat.tolist()):
            h = steps[i]
            for node in nodes:
                x = flat.copy()  # as quick as a row of an array of them
                x[i] = entry + node * h
                points.append(x)
        return self._at_each(points if flat is base else self._shaped(points))

    def pair(self, i: int, up: float, down: float) -> list[float]:
        return self._at_each(self._replaced([(i, (up, down))]))

    def sweep(self, index: Ints, points: Values) -> Values:
        if points.dtype.kind == "c":
            self.sees_own = True  # a closure shows: its value is real
            return self._complex(index, points)
        own = self.own
        if own is not None and own.dtype is not FLOAT64:
            points = self._as_held(index, points, own.dtype)
            own = self.own
        rows, values = list(zip(index.tolist(), points.tolist(), strict=True)), None
        if own is not None and self._base.size > SMALL:
            values = self._one_entry(rows, own)
        return np.array(self._at_each(self._replaced(rows)) if values is None else values).reshape(points.shape)

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

    def _replaced(self, rows: list[tuple[int, Iterable[float]]]) -> Iterator[NDArray[Any]]:
        """Yield x with one entry replaced, by each of some values."""
        copy, flat = self._base.copy, self._base.ndim == 1
        for i, entries in rows:
            for entry in entries:
                x = copy()
                if flat:
                    x[i] = entry
                else:
                    x.flat[i] = entry
                yield x

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
