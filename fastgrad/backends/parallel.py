"""f by an executor: many evaluations side by side, each as the reference would make it."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun
from ..core.evaluation import COLUMN, InFloats, Values
from ..core.point import Point, exclusive
from ..core.validation import FLOAT64, Ints, complex_number, number
from ..executors.executor import Entries, Executor, Rows
from ..inspecting.captures import holds


class Parallel(InFloats):
    """A plain f, evaluated by an executor.

    Where each worker has a copy of the caller's array, closures that read it see it perturbed, as with the reference.

    Raises
    ------
    CannotRun
        If f reads the caller's array, and the workers do not have one each.
    """

    origin = 0.0

    def __init__(self, call: Call, point: Point, executor: Executor) -> None:
        self.nfev = 0
        self.own: NDArray[Any] | None = None
        self.way = executor.way
        self._call = call.of_one_point()
        self._point = point
        self._executor = executor
        self._value: float | None = None
        own = point.own
        copies = own is not None and executor.may_perturb(own)
        if own is not None and not copies and holds(call.f, own):
            raise CannotRun(f"f reads the caller's array itself, and {executor.way} have one in common or none")
        self._in_place = copies and point.perturbable and not call.shares_memory(own)
        self.sees_own = self._in_place or own is None
        self._functions = {
            (kind, in_place): OnePoint(self._call, kind, own if in_place else None, point.base)
            for kind in "fc"
            for in_place in (False, True)
        }

    def notes(self) -> list[str]:
        return [f"{self._executor.way}: {self._executor.reason}"]

    def value(self) -> float:
        if self._value is None:
            self._value = float(self._evaluate(Rows(self._point.base.reshape(1, -1), self._point.base.shape), False)[0])
        return self._value

    def known_value(self, value: float) -> None:
        self._value = value

    def sweep(self, index: Ints, points: Values) -> Values:
        base = self._point.base
        if points.dtype.kind == "c":
            self.sees_own = True  # a closure shows: its value is real
            base, in_place = base.astype(np.complex128), False
        else:
            in_place = self._in_place = self._in_place and self._can_hold(points)
            self.sees_own = in_place or self._point.own is None
        values = self._evaluate(Entries(base, np.repeat(index, points.shape[1]), points.reshape(-1)), in_place)
        return values.reshape(points.shape)

    def line(self, points: Values) -> Values:
        in_place = self._in_place and points.dtype is FLOAT64 and self._can_hold(points)
        return self._evaluate(Rows(points, self._point.base.shape), in_place)

    def along(self, vector: list[float]) -> list[float]:
        """Evaluate all six side by side, though one after another it might end before; `nfev` is the same."""
        before, known = self.nfev, self._value
        try:
            values: list[float] = self.line(self._point.base.reshape(-1) + COLUMN * np.array(vector)).tolist()
        except Exception:  # noqa: BLE001 - perhaps of a point that a plain loop does not reach
            self.nfev, self._value = before, known
            return super().along(vector)
        for place, value in enumerate(values):
            if not isfinite(value):
                self.nfev = before + place + 1
                return values[: place + 1]
        return values

    def _can_hold(self, points: Values) -> bool:
        own = self._point.own
        return own is not None and (own.dtype is FLOAT64 or bool((points.astype(own.dtype) == points).all()))

    def _evaluate(self, points: Rows | Entries, in_place: bool) -> Values:
        self.nfev += len(points)
        complex_points = points[0].dtype.kind == "c" if len(points) else False
        function = self._functions["c" if complex_points else "f", in_place]
        return self._executor.evaluate(function, points)


class OnePoint:
    """f of one point: one number."""

    def __init__(self, call: Call, kind: str, own: NDArray[Any] | None, base: NDArray[Any]) -> None:
        self._f, self._args, self._kwargs = call.f, call.args, call.kwargs
        self._convert = complex_number if kind == "c" else number
        self._own, self._base = own, base if own is not None else None

    def __call__(self, x: NDArray[Any]) -> complex:
        own = self._own
        if own is None:
            return self._convert(self._f(x, *self._args, **self._kwargs))
        with exclusive(own):
            try:
                own[...] = x
                return self._convert(self._f(x, *self._args, **self._kwargs))
            finally:
                own[...] = self._base
