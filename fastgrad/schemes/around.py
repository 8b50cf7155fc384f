"""f around one x, in units of a power of two near |f(x)|: where it is evaluated, and what it gives there."""

from __future__ import annotations

from collections.abc import Sequence
from math import copysign, frexp, nan, ulp
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import BOTH_WAYS, ONE_WAY, Evaluation
from ..core.validation import FLOAT64, Floats
from .constants import OUTSIDE, SMALLEST, nearest_power
from .line import Course, CourseOfMany, Vector
from .scheme import Task
from .stencils import Stencil, central

FEW = 60  # components: numpy judges more of them faster (from 70 on, where f is plain; to one side much later)
CENTRAL = central(2)


class Around:
    """f around x.

    `run`: f around x.
    `task`: what is wanted.
    `stencil`: the formula.
    `noise`: standard deviation of f's noise; None: it is measured.

    `x`, `scale`: the components wanted, and the length on which f is taken to change along each.
    `m`: how many.
    `f0`, `origin`, `unit`, `scaling`: f(x) and what values are relative to, in units; the unit, and one over it.
    `plain`: whether the formula is the central difference of order 2.
    `few`: whether all of few components are wanted, anywhere: then plain floats are faster than arrays.
    `side`: 1 or -1: f is to be evaluated to this side of x alone.
    `room`, `least`: how far each component may move down and up, and the least that it is moved by; None: anywhere, by
        some ulp.
    """

    room: tuple[list[float], list[float]] | None = None
    least: list[float] | None = None
    side = 0
    x: list[float]
    scale: list[float]

    def __init__(self, run: Evaluation, task: Task, stencil: Stencil, noise: float | None) -> None:
        self.run, self.task, self.stencil, self.noise = run, task, stencil, noise

    def begin(self, value: float) -> Course | CourseOfMany | None:
        """Choose units, by f(x), and scales; return where a line through x goes, unless the run has looked there."""
        exponent = frexp(value)[1]
        self.unit = unit = 2.0 ** (exponent if -1000 < exponent < 1000 else copysign(1000, exponent))
        self.scaling, self.f0, self.origin = 1.0 / unit, value / unit, self.run.origin / unit
        task, stencil = self.task, self.stencil
        self.m = m = task.index.size
        self.plain = few = stencil is CENTRAL or stencil == CENTRAL
        if not few:
            low, high = stencil.reach
            self.side = 1 if low == 0.0 else -1 if high == 0.0 else 0
            few = stencil.nodes.size == 1
        base = task.point.base
        self.few = few and m <= FEW and task.everything and task.bounds is None and task.point.dtype is FLOAT64
        if not self.few:
            return self._course_of_many()
        self.x = base.tolist() if base.ndim == 1 else base.reshape(-1).tolist()
        return Course(self.x, crc32(base.tobytes()), self.side) if self.run.looked is None else None

    def _course_of_many(self) -> CourseOfMany:
        task = self.task
        point, index, everything = task.point, task.index, task.everything
        flat = point.base.reshape(-1)
        sizes = np.abs(flat)
        largest = float(sizes.max())
        scale = np.maximum(sizes, min(1.0, largest) if largest > 0.0 else 1.0)
        x = flat
        if not everything:
            x, scale = flat[index], scale[index]
        spacing = np.spacing(np.abs(x))
        if point.dtype is not FLOAT64:  # what a float32 array can hold
            spacing = np.maximum(spacing, np.spacing(np.abs(x).astype(point.dtype)).astype(np.float64))
        self.x = x.tolist()
        self.least = np.maximum(4.0 * spacing, SMALLEST).tolist()
        room = None
        if task.bounds is not None:
            lower, upper = task.bounds
            if not everything:
                lower, upper = lower[index], upper[index]
            room = x - lower, upper - x
            self.room = room[0].tolist(), room[1].tolist()
        return CourseOfMany(x, scale, crc32(point.base.data), np.where(x != 0.0, 4.0 * spacing, 0.0), room, self.side)

    def _whole(self, vector: Vector) -> Floats:
        """Return a vector along the wanted components as one along all, of x's shape when flat."""
        if self.task.everything:
            return np.asarray(vector)
        whole = np.zeros(self.task.point.base.size)
        whole[self.task.index] = vector
        return whole

    def along(self, vector: Vector, aside: bool) -> list[float]:
        """Return f at x + k vector, k = -3, -2, -1, 1, 2, 3, or 1 to 6, up to the first that is not finite."""
        if aside and self.room is not None:
            return self._at_multiples(vector, range(1, 7))
        steps = vector if isinstance(vector, list) else self._whole(vector).tolist()
        try:
            values = self.run.along(steps, ONE_WAY if aside else BOTH_WAYS)
        except OUTSIDE:  # an exploring point
            return []
        if len(values) < 6:
            return []
        t, u, v, w, y, z = values
        scaling, origin = self.scaling, self.origin
        scaled = [t * scaling, u * scaling, v * scaling, w * scaling, y * scaling, z * scaling]
        return [value + origin for value in scaled] if origin else scaled

    def beside(self, vector: Vector, aside: bool) -> list[float]:
        """Return f at x + vector and x - vector, or x + 2 vector and x + vector."""
        return self._at_multiples(vector, (2.0, 1.0) if aside else (1.0, -1.0))

    def _at_multiples(self, vector: Vector, multiples: Sequence[float]) -> list[float]:
        base = self.task.point.base.reshape(-1)
        points = base + np.array(multiples)[:, None] * self._whole(vector)
        if self.task.bounds is not None:  # x + k v may round past a bound
            np.clip(points, *self.task.bounds, out=points)
        try:
            values = self.run.line(points).tolist()
        except OUTSIDE:
            return [nan] * len(multiples)
        scaling, origin = self.scaling, self.origin
        return [value * scaling + origin for value in values]

    def sweep(self, index: NDArray[np.intp], points: Floats, careful: bool = True) -> Floats:
        """Evaluate f at x with one entry replaced, less the run's origin; nan where it raises."""
        try:
            return self.run.sweep(index, points)
        except OUTSIDE:
            if not careful:
                raise
            if index.size == 1:
                return np.full(points.shape, nan)
            return np.concatenate([self.sweep(index[k : k + 1], points[k : k + 1], True) for k in range(index.size)])

    def _values(self, rows: list[int], points: list[tuple[float, ...]], careful: bool) -> list[list[float]]:
        """Return f at x with component i replaced by each of its points, relative to f(x)."""
        here, scaling, index = self.f0 - self.origin, self.scaling, self.task.index
        if len(rows) == 1 and len(points[0]) == 2:
            try:
                pair = self.run.pair(int(index[rows[0]]), *points[0])
            except OUTSIDE:
                if not careful:
                    raise
                pair = [nan, nan]
            return [[value * scaling - here for value in pair]]
        values: list[list[float]] = [[] for _ in rows]
        for count in sorted({len(where) for where in points} - {0}):
            some = [k for k, where in enumerate(points) if len(where) == count]
            found = self.sweep(index[[rows[k] for k in some]], np.array([points[k] for k in some]), careful)
            for k, row in zip(some, found.tolist(), strict=True):
                values[k] = [value * scaling - here for value in row]
        return values

    def _place(self, i: int, h: float) -> tuple[float, ...]:
        """Place the points of one difference within the bounds: two if the stencil does not fit, none without room."""
        x, least = self.x[i], self._least(i)
        h = h if h > least else least
        room, bounds = self.room, self.task.bounds
        if room is None or bounds is None:
            return (x + h, x - h) if self.plain else tuple(x + h * node for node in self.stencil.nodes.tolist())
        down, up = room[0][i], room[1][i]
        low, high = self.stencil.reach
        if -low * h <= down and high * h <= up:
            points = (x + h * node for node in self.stencil.nodes.tolist())
        elif min(down, up) >= 0.25 * h and self.side == 0:
            largest = min(down, up)
            h = nearest_power(largest)
            h = 0.5 * h if h > largest else h
            points = (x + node * h for node in (1.0, -1.0))
        else:
            side = self.side if self.side and (up if self.side > 0 else down) >= 0.25 * h else 1 if up >= down else -1
            h = min(h, up if side > 0 else down)
            points = (x + side * node * h for node in (0.5, 1.0))
        index = self.task.index[i]
        lower, upper = (float(side[index]) for side in bounds)
        placed = tuple(min(max(point, lower), upper) for point in points)
        return placed if len({x, *placed}) > len(placed) else ()

    def _least(self, i: int) -> float:
        return 4.0 * ulp(self.x[i]) if self.least is None else self.least[i]

    def _may_move(self, i: int) -> bool:
        return self.room is None or bool(self._place(i, self._least(i)))
