"""method="adaptive" for f of many values: each of them climbs its ladders, on points that all share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..backends.rows import Row, Shared
from ..core.errors import quietly
from ..core.options import Options
from ..core.point import Point, as_point
from ..core.validation import Bounds, Floats, Ints, everything
from ..schemes.columns import Found, Values
from ..schemes.scheme import Estimate, Task
from ..schemes.seeds import length_of, units_of
from ..schemes.table import ADAPTIVE, scheme_for

KEPT = 1 << 22  # values of f that are kept at a time
POINTS = 16  # for each column, about


def climbed(run: Values, point: Point, columns: Ints, bounds: Bounds | None, options: Options) -> Found:
    """Differentiate each value of f with respect to some entries of x, to the tolerance of `options`.

    Returns Found: entries of shape (columns, outputs); its step is the smallest of a column.
    """
    m = run.value().size
    shape = (columns.size, m)
    jacobian, error, step = np.empty(shape), np.empty(shape), np.full(columns.size, np.inf)
    doubtful = np.zeros(shape, dtype=bool)
    reasons: dict[int, str] = {}
    noise = np.zeros(m)
    width = max(1, KEPT // (POINTS * m))
    for begin in range(0, columns.size, width):
        part = slice(begin, begin + width)
        for row, found in of_rows(run, point, dict.fromkeys(range(m), columns[part]), bounds, options):
            jacobian[part, row], error[part, row] = found.gradient, found.error
            step[part] = np.fmin(step[part], found.step)
            noise[row] = np.nan if found.noise is None else found.noise
            for place, flag in enumerate(found.flags or ()):
                if "digit" in flag:
                    doubtful[begin + place, row] = True
                elif flag and np.isfinite(found.gradient[place]):
                    reasons.setdefault(begin + place, flag)
    return Found(jacobian, error, step, np.ones(point.base.size), noise, doubtful, reasons)


def of_rows(
    run: Values, point: Point, wanted: Mapping[int, Ints], bounds: Bounds | None, options: Options
) -> list[tuple[int, Estimate]]:
    """Differentiate some values of f, each with respect to its own entries of x."""
    options = Options(method=ADAPTIVE, noise=options.noise, rtol=options.rtol, atol=options.atol)
    scheme, shared, size = scheme_for(options, point.base.shape), Shared(run, point.base.reshape(-1)), point.base.size
    found = []
    with quietly():  # the flags say so
        for row, index in wanted.items():
            task = Task(point, index, np.array_equal(index, everything(size)), bounds, True)
            found.append((row, scheme.differentiate(Row(shared, row, point), task)))
    return found


class OnLine:
    """f of many values at x + t u, as a function of t; u is a vector over its length: t = 1 moves x by its scale.

    `run`: f around x.
    `x`, `vector`: the point and the direction, flat.
    `bounds`: no point is outside, by rounding neither.
    """

    def __init__(self, run: Values, x: Floats, vector: Floats, bounds: Bounds | None) -> None:
        self.length = length_of(vector, units_of(x))  # by which a derivative with respect to t is to be multiplied
        self._run, self._x, self._vector, self._bounds = run, x, vector / self.length, bounds

    @property
    def origin(self) -> Point:
        """Where t is 0."""
        return as_point(np.zeros(1))

    def room(self) -> Bounds | None:
        """How far t may go."""
        if self._bounds is None:
            return None
        moves = self._vector != 0.0
        ends = [(side - self._x)[moves] / self._vector[moves] for side in self._bounds]
        low, high = np.minimum(*ends).max(initial=-np.inf), np.maximum(*ends).min(initial=np.inf)
        return np.array([low]), np.array([high])

    def climbed(self, options: Options) -> Found:
        """Differentiate at t = 0, along the vector as it was given."""
        found = climbed(self, self.origin, everything(1), self.room(), options)
        assert found.error is not None
        with np.errstate(all="ignore"):  # next to overflow, or to nothing
            step = found.step / self.length
            return found._replace(jacobian=found.jacobian * self.length, error=found.error * self.length, step=step)

    def value(self) -> Floats:
        return self._run.value()

    def at(self, points: Iterable[Floats]) -> Floats:
        return self._run.at(self._beside(float(point[0])) for point in points)

    def explore(self, points: Iterable[Floats]) -> Floats:
        return self._run.explore(self._beside(float(point[0])) for point in points)

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        return self._run.at_complex(self._x + point[0] * self._vector for point in points)

    def _beside(self, t: float) -> Floats:
        moved: Floats = self._x + t * self._vector
        return moved if self._bounds is None else np.clip(moved, *self._bounds)
