"""One of f's many values, as a function of its own: what one of them has asked for, all have."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.evaluation import InFloats, Values
from ..core.point import Point
from ..core.validation import Array, Floats, Ints
from ..schemes.columns import Values as Many


class Shared:
    """All values of f at the points that were asked for so far: f is evaluated once at each.

    `run`: f of many values.
    `x`: the point, flat.
    """

    def __init__(self, run: Many, x: Floats) -> None:
        self._run, self._x = run, x
        self._known: dict[Any, Floats] = {}

    def value(self) -> Floats:
        return self._run.value()

    def at(self, keys: list[Any], points: Any) -> list[Floats]:
        """Return f's values at some points, by their keys; `points` makes those that are not known yet."""
        missing = [
            place for key, place in {key: place for place, key in enumerate(keys)}.items() if key not in self._known
        ]
        if missing:
            for place, values in zip(missing, self._run.at(points(place) for place in missing), strict=True):
                self._known[keys[place]] = values
        return [self._known[key] for key in keys]

    def replaced(self, i: int, entry: float) -> Floats:
        """Return x with one entry replaced."""
        y = self._x.copy()
        y[i] = entry
        return y


class Row(InFloats):
    """One of the values of f around x: an `Evaluation` of a function that returns one number."""

    origin = 0.0
    way = "columns"
    own: Array | None = None  # whoever evaluates all values perturbs the caller's array
    sees_own = True

    def __init__(self, shared: Shared, row: int, point: Point) -> None:
        self._shared, self._row, self._point = shared, row, point

    def value(self) -> float:
        return float(self._shared.value()[self._row])

    def known_value(self, value: float) -> None:
        """Do nothing: all values of f are known at x."""

    def line(self, points: Values) -> Values:
        found = self._shared.at([point.tobytes() for point in points], lambda place: points[place])
        return np.array([values[self._row] for values in found])

    def sweep(self, index: Ints, points: Values) -> Values:
        keys = [(i, entry) for i, row in zip(index.tolist(), points.tolist(), strict=True) for entry in row]
        found = self._shared.at(keys, lambda place: self._shared.replaced(*keys[place]))
        return np.array([values[self._row] for values in found]).reshape(points.shape)
