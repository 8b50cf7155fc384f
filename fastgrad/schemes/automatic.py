r"""The step that looks at itself: one line, one sweep, and a second look only where it pays.

A difference of order p errs by noise, :math:`K \sigma / h`, and by truncation, :math:`C h^p |f^{(p+1)}|`. Seven
values of f on a line through x (`line`) measure the noise and are a second opinion on the gradient; each component is
judged by the very values that its difference needs (`looks`); components where another step is clearly better, and
those beside a kink or an edge of f's domain, are evaluated again. What remains uncertain is said. Nothing is kept, no
clock decides, and pseudo-random signs come from x's own bytes: the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from math import copysign, frexp, hypot, inf, isfinite, nan, sqrt, ulp
from operator import mul
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import BOTH_WAYS, ONE_WAY, Evaluation
from ..core.validation import FLOAT64, Floats
from .constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    COUPLED,
    ENDS,
    ENOUGH,
    EPS,
    FINER,
    JUMPS,
    KINK,
    NEGLIGIBLE,
    NOISE,
    NOT_FINITE,
    OUTSIDE,
    REACH,
    ROUNDS,
    SMALLEST,
    SPACING,
    STILL,
    TINY,
    TOO_LARGE,
    USUAL,
    calm,
    certain,
    nearest_power,
    nearest_powers,
)
from .differencing import warn_not_finite
from .line import Course, CourseOfMany, Line, Vector, look_along, median
from .looks import Look, better_step, by_parabola, by_stencil, by_two_points, of_two_points, truncation_of_one
from .scheme import NOT_ASKED_FOR, Estimate, Task
from .stencils import Stencil, backward, central, forward
from .steps import power_of_two

__all__ = ["Memory", "Search"]

FEW = 60  # components: numpy judges more of them faster (from 70 on, where f is plain; to one side much later)
MOVED = 0.5  # in scales of x: a remembered step is not used farther away
AGREES = 4.0  # noise within this factor is the same
FEW_STILL = 4  # so many components without effect are moved together, to see that they have none
WAY_OUT = 6  # steps that a component gets to find where f is finite

TORN = 10.0  # times that the line contradicts the bars: they are no use then

IN_JUMPS = "f moves in jumps"

CENTRAL = central(2)
Looking = Generator[float, "Look | None", None]
First = tuple[float, float, float, float, float]  # step, slope, first, bend, sigma


class Memory(NamedTuple):
    """What the owner of a gradient may carry to its next call: where it was, the noise there, and the steps."""

    x: Floats
    scale: Floats
    step: Floats
    noise: float
    size: float


class Search:
    """One gradient in the making; values are in units of a power of two near |f(x)|.

    Parameters
    ----------
    run : Evaluation
        f around x.
    task : Task
        What is wanted.
    stencil : Stencil
        The formula.
    noise : float or None
        Standard deviation of f's noise; None: it is measured.

    Attributes
    ----------
    x, scale : list of float
        The components wanted, and the length on which f is taken to change along each.
    f0 : float
        f(x).
    line : Line
        What the seven values say.
    first : list of (step, slope, first, bend, sigma)
        The first difference of each component.
    looks : dict of list of Look
        All differences of the components in doubt.
    reason : list of str
        Why a component is not certain.
    """

    room: tuple[list[float], list[float]] | None = None
    least: list[float] | None = None
    length = inf
    side = 0
    torn = False

    def __init__(self, run: Evaluation, task: Task, stencil: Stencil, noise: float | None) -> None:
        self.run, self.task, self.stencil, self.noise = run, task, stencil, noise
        self.looks: dict[int, list[Look]] = {}
        self.walls: dict[int, int] = {}
        self.slopes: dict[int, tuple[float, float]] = {}

    @np.errstate(all="ignore")  # as a context it takes three calls
    def estimate(self) -> Estimate:
        """Find the gradient."""
        run, task, stencil = self.run, self.task, self.stencil
        value, m = run.value(), task.index.size
        if not (isfinite(value) and m):
            return self._nothing(value)
        exponent = frexp(value)[1]
        self.unit = unit = 2.0 ** (exponent if -1000 < exponent < 1000 else copysign(1000, exponent))
        self.scaling, self.f0, self.origin = 1.0 / unit, value / unit, run.origin / unit
        f0 = self.f0
        self.m = m
        self.reason = [""] * m
        self.plain = few = plain = stencil is CENTRAL or stencil == CENTRAL
        if not plain:
            low, high = stencil.reach
            self.side = 1 if low == 0.0 else -1 if high == 0.0 else 0
            few = stencil.nodes.size == 1
        point = task.point
        base = point.base
        self.few = few = few and m <= FEW and task.everything and task.bounds is None and point.dtype is FLOAT64
        course: Course | CourseOfMany
        if few:
            self.x = base.tolist() if base.ndim == 1 else base.reshape(-1).tolist()
            course = Course(self.x, crc32(base.tobytes()), self.side)
            self.scale = course.scale
        else:
            course = self._course_of_many()
        if self.noise is None and self.room is None:
            line = look_along(self, course, f0, unit)
        else:
            line = self._line(course)
        self.line = line
        if not few:
            self.scale = course.scale.tolist()  # type: ignore[union-attr]
        sigma = line.sigma
        self.rho = 0.3 * EPS if self.noise is not None else sigma / max(abs(f0), line.spread, TINY)
        self.ratio = ratio = min(max(sigma / line.variation, 1e-17), 1e-2)
        if plain:
            step = ratio ** (1.0 / 3.0)
            usual = USUAL * step * step
        else:  # the best if f changes by its variation on its scale
            p = stencil.order
            step = (stencil.best * ratio) ** (1.0 / (p + 1))
            usual = USUAL * ratio ** (p / (p + 1.0))
        if line.third > 0.0:  # n separate terms show sqrt(n) f''', coupled ones up to n**1.5 f'''
            shorter = max((3.0 * sigma * sqrt(m) / line.third) ** (1.0 / 3.0), 1e-13)
            usual_step = ratio ** (1.0 / 3.0)
            if shorter * m ** (1.0 / 3.0) < 0.5 * usual_step:
                step = shorter * m ** (1.0 / 6.0) if plain else step * (shorter * m ** (1.0 / 6.0) / usual_step)
        self.step, self.enough = step, max(ENOUGH, usual)
        remembered = None if task.memory is None else self._remembered()
        if few:
            return self._few(remembered)
        return self._many(remembered)

    # ------------------------------------------------------------------------------------------ where, and the line

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

    def _line(self, course: Course | CourseOfMany) -> Line:
        if self.noise is not None:
            return Line.declared(self.noise * self.scaling, self.f0)
        if self.room is not None and not any(map(max, *self.room)):
            return Line.declared(0.0, self.f0)  # nothing may move
        return look_along(self, course, self.f0, self.unit)

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
        if not self.few:
            vector = self._whole(vector).tolist()
        try:
            values = self.run.along(vector, ONE_WAY if aside else BOTH_WAYS)  # type: ignore[arg-type]
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

    # ------------------------------------------------------------------------------------------ the first sweep

    def _few(self, remembered: list[float] | None) -> Estimate:
        """Sweep, and judge in plain floats."""
        line = self.line
        h = remembered
        if h is None:
            h = nearest_powers(self.step, self.scale)
            if min(h) < TINY:  # else they are far more than some units in the last place of x
                h = [max(size, 4.0 * ulp(entry)) for entry, size in zip(self.x, h, strict=True)]
        gradient, doubtful, top = self._two_sides(h) if self.plain else self._one_side(h)
        unclear = line.rough or line.flat or line.vector is None or line.third > 0.0
        if unclear and self._all_in_doubt(max(NEGLIGIBLE * top, 1e-6 * line.size)):
            doubtful = list(range(self.m))
        if doubtful:
            self._look_again(doubtful, h)
        if not self.task.bars:
            short = self._short_report(gradient, doubtful, top)
            if short is not None:
                return short
        if not self.plain:
            self._take_up(range(self.m))
        return self._report(np.array(self.first).T)

    def _two_sides(self, h: list[float]) -> tuple[list[float], list[int], float]:
        """Return central differences, which of them are in doubt, and the largest effect of one on its scale."""
        line, x, scale, origin = self.line, self.x, self.scale, self.origin
        here = self.f0 - origin
        sigma, rho, variation = line.sigma, self.rho, line.variation
        values, scaling, enough = self.run.around(h), self.scaling, self.enough / 1.42
        first: list[First] = []
        gradient: list[float] = []
        lengths, doubtful = [], []
        top = bow = coarse = still = 0.0
        for entry, size, length, up, down in zip(x, h, scale, values[::2], values[1::2], strict=True):
            up, down = up * scaling, down * scaling
            above, below = up - here, down - here
            size = 0.5 * ((entry + size) - (entry - size))
            up, down = abs(up + origin), abs(down + origin)
            noise = rho * (up if up > down else down)
            if noise < sigma:
                noise = sigma
            difference, bend = above - below, above + below
            change, bent, slope = abs(difference), abs(bend), difference / (2.0 * size)
            if bent > 8.0 * noise < change:
                lengths.append(size * change / (2.0 * bent) / length)
            effect, relative = abs(slope) * length, size / length
            if top < effect < inf:
                top = effect
            grain = noise / relative
            gradient.append(slope)
            first.append((size, slope, change, bend, noise))
            if change == 0.0 == bent:  # f does not depend on it
                still = max(still, grain)
                continue
            usual = bent <= KINK * change and noise <= enough * change and bent * bent <= 63.0 * noise * change < inf
            if not (usual or calm(change, bent, noise, variation, enough)):
                doubtful.append(len(gradient) - 1)
            if grain > coarse:
                coarse = grain
            arch = change * relative * relative / noise
            if arch > bow:
                bow = arch
        self.first = first
        if 2 * len(lengths) > self.m > 1 and not line.rough:
            # where f'' happens to vanish a component looks like a line: the length that most components show counts too
            self.length = median(lengths)
        length = self.length
        self.size = max(variation, line.size, top)
        least = max(NEGLIGIBLE * top, 1e-6 * line.size)
        if bow > 42.0 * length * length or coarse > 5e-5 * least or still > 1.4 * STILL * self.size:
            doubtful = [
                i
                for i, (size, _, change, _, noise) in enumerate(first)
                if i in doubtful or not certain(change, noise, size / scale[i], length, least)
            ]
        return gradient, doubtful, top

    def _one_side(self, h: list[float]) -> tuple[list[float], list[int], float]:
        """Do the same for differences of one point and x."""
        line, x, scale, stencil, f0 = self.line, self.x, self.scale, self.stencil, self.f0
        here, scaling = f0 - self.origin, self.scaling
        sigma, rho, variation, enough = line.sigma, self.rho, line.variation, self.enough
        (node,) = nodes = tuple(stencil.nodes.tolist())
        ((inverse,),), (gain,), product = stencil.taylor
        amplification, bend = stencil.amplification_rms, line.bend / self.m
        gradient, errors, doubtful = [], [], []
        self.first = first = []
        top = 0.0
        for entry, size, length, value in zip(x, h, scale, self.run.around(h, nodes), strict=True):
            rise, span = value * scaling - here, (entry + size * node) - entry
            noise = rho * abs(f0 + rise)
            if noise < sigma:
                noise = sigma
            slope, size = rise / span + 0.0, abs(span / node)
            seen = max(gain * noise, abs(inverse * rise))
            errors.append(truncation_of_one(size, seen, product, variation, bend / length / length))
            gradient.append(slope)
            first.append((size, slope, abs(rise), 0.0, noise))
            effect = abs(slope) * length
            if top < effect < inf:
                top = effect
        self.size = max(variation, line.size, top)
        least = max(NEGLIGIBLE * top, 1e-6 * line.size)
        for i, ((size, slope, _, _, noise), length, error) in enumerate(zip(first, scale, errors, strict=True)):
            noise, steep, relative = amplification * noise / size, abs(slope), size / length
            fear = max(error, 0.5 * self.size * relative / length)
            bar = BAR_NOISE * noise + BAR_TRUNCATION * max(fear, 0.5 * steep * relative)
            well = error <= TOO_LARGE * noise and (noise <= enough * steep or noise <= 35.0 * fear)
            if not (well and (bar <= CERTAIN * steep < inf or bar * length <= CERTAIN * least)):
                doubtful.append(i)
        return gradient, doubtful, top

    def _many(self, remembered: list[float] | None) -> Estimate:
        """Sweep, and judge in arrays: the central difference of all at once, anything else look by look."""
        x, scale, least = np.array(self.x), np.array(self.scale), np.array(self.least)
        h = self.step * scale
        h = np.maximum(np.where(h > 0.0, power_of_two(h), 0.0), least)
        if remembered is not None:
            h = np.array(remembered)
        room = self.room
        if not self.plain or (room is not None and (h > np.minimum(*map(np.array, room))).any()):
            return self._each(h.tolist())
        points = np.stack([x + h, x - h], axis=1)
        if self.task.bounds is not None:
            lower, upper = (side[self.task.index][:, None] for side in self.task.bounds)
            np.clip(points, lower, upper, out=points)
        values = self.run.sweep(self.task.index, points) * self.scaling
        line, here = self.line, self.f0 - self.origin
        h = 0.5 * (points[:, 0] - points[:, 1])
        above, below = values[:, 0] - here, values[:, 1] - here
        sizes = np.abs(values + self.origin).max(axis=1)
        noise = np.maximum(line.sigma, np.where(np.isnan(sizes), 0.0, self.rho * sizes))
        difference, bend = above - below, above + below
        change, bent, slope = np.abs(difference), np.abs(bend), difference / (2.0 * h)
        seen = (bent > 8.0 * noise) & (8.0 * noise < change)
        if 2 * np.count_nonzero(seen) > self.m > 1 and not line.rough:
            self.length = median((h[seen] * change[seen] / (2.0 * bent[seen]) / scale[seen]).tolist())
        length = self.length
        effect = np.abs(slope) * scale
        top = float(effect[effect < inf].max(initial=0.0))
        self.size = max(line.variation, line.size, top)
        negligible = max(NEGLIGIBLE * top, 1e-6 * line.size)
        still = (change == 0.0) & (bent == 0.0)
        relative = h / scale
        if self._all_in_doubt(negligible):
            doubtful = list(range(self.m))
        else:
            fine = _calm(change, bent, noise, line.variation, self.enough / 1.42)
            sure = noise <= 5e-5 * negligible * relative
            sure &= change * relative * relative <= 42.0 * length * length * noise
            # what has no effect has a bar of noise alone
            dead = still & (noise <= 1.4 * STILL * self.size * relative)
            doubtful = np.flatnonzero(~(dead | (fine & sure))).tolist()
        table = np.stack([h, slope, change, bend, noise])
        self.first = list(zip(*table.tolist(), strict=True)) if doubtful else []
        if doubtful:
            self._look_again(doubtful, h.tolist())
        elif not (
            self.task.bars
            or (still.any() and self._hidden(slope, BAR_NOISE * noise / h).any())
            or not self._agreed(slope, noise / h)
        ):
            memory = None if self.task.memory is None else self._memory(h)
            return Estimate(slope * self.unit, h, None, None, line.sigma * self.unit, None, None, memory)
        return self._report(table)

    def _each(self, h: list[float]) -> Estimate:
        """Sweep by any stencil and within bounds, and judge look by look."""
        everything = list(range(self.m))
        self.looks = {i: [] for i in everything}
        self.first = []
        self.size = self.line.variation
        self._evaluate(everything, h, careful=False)
        found = [(looks[0], self.scale[i]) for i, looks in self.looks.items() if looks]
        top = max([abs(look.slope) * length for look, length in found], default=0.0)
        self.size = max(self.line.variation, self.line.size, top)
        for look, length in found:
            self._fear_curvature(look, length)
        if self.plain:
            lengths = [
                look.step * look.first / (2.0 * look.second) / length
                for look, length in found
                if min(look.first, look.second) > 8.0 * look.sigma
            ]
            if 2 * len(lengths) > self.m > 1 and not self.line.rough:
                self.length = median(lengths)
        self._look_again(everything, h)
        table = np.full((5, self.m), nan)
        return self._report(table)

    def _agreed(self, slope: Floats, noise: Floats) -> bool:
        """Say whether the line agrees with the gradient so well that the bars of calm components need not grow."""
        line = self.line
        if line.vector is None:
            return True
        vector = np.asarray(line.vector)
        gap = abs(float(vector @ slope) - line.slope) - line.doubt
        known = vector * noise
        return gap <= 0.0 or gap <= 2.8 * sqrt(float(known @ known))

    def _all_in_doubt(self, least: float) -> bool:
        line = self.line
        if self.noise is None and line.vector is None:
            return True
        return bool(line.rough or line.flat or 3.0 * line.third * self.step * self.step > self.m * least)

    # ------------------------------------------------------------------------------------------ evaluate

    def _evaluate(self, rows: list[int], steps: list[float], careful: bool = True) -> list[Look | None]:
        """Look at components with these steps; where one side is not finite, the second time to the other.

        None where that is in vain. At exploring points (`careful`) f has no value where it raises.
        """
        points = [self._place(i, h) for i, h in zip(rows, steps, strict=True)]
        values = self._values(rows, points, careful)
        found = [
            self._judge(i, where, there) if where else None
            for i, where, there in zip(rows, points, values, strict=True)
        ]
        lost = [k for k, look in enumerate(found) if look is None and points[k]]
        beside: list[tuple[int, tuple[float, ...], float]] = []
        for k in lost:
            i, x = rows[k], self.x[rows[k]]
            self.walls[i] = self.walls.get(i, 0) + 1
            ends = [(a, v) for a, v in zip(points[k], values[k], strict=True) if isfinite(v)]
            if ends and self.walls[i] > 1:
                far, end = max(ends, key=lambda pair: abs(pair[0] - x))
                middle = x + 0.5 * (far - x)
                if x != middle != far:
                    beside.append((k, (middle, far), end))
        if beside:
            halves = self._values([rows[k] for k, _, _ in beside], [where[:1] for _, where, _ in beside], True)
            for (k, where, end), (half,) in zip(beside, halves, strict=True):
                if isfinite(half):
                    found[k] = self._parabola(rows[k], where, [half, end], edge=True)
        for i, look in zip(rows, found, strict=True):
            if look is not None:
                self.looks[i].append(look)
        return found

    def _place(self, i: int, h: float) -> tuple[float, ...]:
        """Place the points of one difference within the bounds: two if the stencil does not fit, none without room."""
        x, least = self.x[i], self._least(i)
        h = h if h > least else least
        room = self.room
        if room is None:
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
        lower, upper = (float(side[index]) for side in self.task.bounds)  # type: ignore[union-attr]
        placed = tuple(min(max(point, lower), upper) for point in points)
        return placed if len({x, *placed}) > len(placed) else ()

    def _least(self, i: int) -> float:
        return 4.0 * ulp(self.x[i]) if self.least is None else self.least[i]

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

    def _judge(self, i: int, points: tuple[float, ...], values: list[float]) -> Look | None:
        """Difference these values, relative to f(x); None where one is not finite."""
        if not isfinite(sum(values)):
            return None
        x, line, f0 = self.x[i], self.line, self.f0
        sigma = max(line.sigma, self.rho * max([abs(f0 + value) for value in values]))
        if len(points) == 2 and points[1] < x < points[0]:
            above, below = values
            return by_two_points(0.5 * (points[0] - points[1]), above, below, sigma, line.variation)
        nodes = self.stencil.nodes
        if len(points) != nodes.size or (
            len(points) == 2 and abs(points[0] - x) * 4 < 3 * abs(points[1] - x) and self.room
        ):
            return self._parabola(i, points, values, edge=False)
        spans = [point - x for point in points]
        if self.stencil.symmetric:
            quotients = [
                (a - b) / (u - v)
                for a, b, u, v in zip(values[0::2], values[1::2], spans[0::2], spans[1::2], strict=True)
            ]
        else:
            quotients = [value / span for value, span in zip(values, spans, strict=True)]
        slope = sum(map(mul, quotients, self.stencil.quotients.tolist()))
        return self._by_stencil(i, float(abs(spans[0] / nodes[0])), slope, values, sigma)

    def _by_stencil(self, i: int, h: float, slope: float, values: list[float], sigma: float) -> Look:
        bend = self.line.bend / self.m / self.scale[i] / self.scale[i]  # no square: it may overflow
        return by_stencil(self.stencil, h, slope, values, sigma, self.line.variation, bend)

    def _parabola(self, i: int, points: tuple[float, ...], values: list[float], edge: bool) -> Look:
        x, f0 = self.x[i], self.f0
        sigma = max(self.line.sigma, self.rho * max([abs(f0 + value) for value in values]))
        one, two = values
        return by_parabola(points[0] - x, points[1] - x, one, two, sigma, self.line.variation, edge)

    # ------------------------------------------------------------------------------------------ second looks

    def _look_again(self, doubtful: list[int], h: list[float]) -> None:
        """Look again at components in doubt, all of them side by side: each asks for steps, one after the other."""
        self._take_up(doubtful)
        if not doubtful:
            return
        rough = self._who_is_rough(h)
        dead = self._without_effect(doubtful)
        asking: list[tuple[int, Looking, float]] = []
        for i in doubtful:
            if i not in dead and self._may_move(i):
                looking = self._again(i, h[i], rough is not None and rough[i])
                wanted = next(looking, None)
                if wanted is not None:
                    asking.append((i, looking, wanted))
        while asking:
            found = self._evaluate([i for i, _, _ in asking], [step for _, _, step in asking])
            before, asking = asking, []
            for (i, looking, _), look in zip(before, found, strict=True):
                with suppress(StopIteration):
                    asking.append((i, looking, looking.send(look)))

    def _take_up(self, rows: Iterable[int]) -> None:
        """Make looks of the first differences of some components."""
        for i in rows:
            if i in self.looks:
                continue
            self.looks[i] = []
            step, slope, change, bend, sigma = self.first[i]
            if not isfinite(change + bend):
                self.walls[i] = 1
            elif self.plain:
                self.looks[i].append(of_two_points(step, slope, change, bend, sigma, self.line.variation))
            else:
                self.looks[i].append(self._by_stencil(i, step, slope, [change], sigma))
                self._fear_curvature(self.looks[i][0], self.scale[i])

    def _fear_curvature(self, look: Look, length: float) -> None:
        """Let the first difference of one point know that the line may see little: f is unmoved by a common shift."""
        if self.stencil.nodes.size == 1:
            look.fear = max(look.fear, 0.5 * self.size * (look.step / length) / length)

    def _may_move(self, i: int) -> bool:
        return self.room is None or bool(self._place(i, self._least(i)))

    def _again(self, i: int, h: float, rough: bool) -> Looking:
        looks = self.looks[i]
        if not looks:
            yield from self._leave(i, h)
        if looks:
            look = looks[0]
            if rough or look.edge or self._suspect(i, look):
                yield from self._shrink(i)
            else:
                yield from self._improve(i)

    def _who_is_rough(self, h: list[float]) -> list[bool] | None:
        """Return which components can make the line rough; if none shows it, it may be any."""
        line = self.line
        if not line.rough:
            return None
        if line.odd:
            return [True] * self.m
        some = []
        for i, (size, length) in enumerate(zip(h, self.scale, strict=True)):
            looks = self.looks[i]
            share = min(1.0, size / length / line.rough_spacing)
            some.append(
                bool(looks) and looks[0].second > 8.0 * looks[0].sigma and looks[0].second >= 0.2 * line.rough * share
            )
        return some if any(some) else [True] * self.m

    def _suspect(self, i: int, look: Look) -> bool:
        """Say whether there may be a kink that matters, by the first look alone."""
        scale = self.scale[i]
        return look.kinked and look.second * scale / look.step > max(1e-3, 30.0 * look.step / scale) * self.size

    def _leave(self, i: int, h: float) -> Looking:
        """Find a step with which f is finite."""
        base = abs(self.x[i]) or h
        for _ in range(WAY_OUT):
            if self.looks[i]:
                return
            h = max(min(h / ENDS, nearest_power(self.step * base)), self._least(i))
            yield h

    def _shrink(self, i: int) -> Looking:
        """Look with steps 64 times smaller, until f is smooth or it is clear that it will not be."""
        looks, least = self.looks[i], 1e-3 * self.size / self.scale[i]
        for _ in range(ROUNDS):
            last = looks[-1]
            h = max(nearest_power(last.step * FINER), self._least(i))
            if h >= last.step or (yield h) is None:
                break
            look = looks[-1]
            slack, apart = 4.0 * (look.noise + last.noise), abs(look.slope - last.slope)
            if apart <= slack:
                break
            if look.side or last.side:
                if apart < 0.05 * abs(look.slope):
                    look.fear = max(look.fear, apart)
                    break
            elif look.second <= 8.0 * look.sigma and apart <= 1.5 * last.jump + slack:  # the kink is left behind
                break
            elif apart <= 252.0 * look.noise:  # the error falls like h
                look.fear = max(look.fear, 2.0 * apart / 63.0)
                break
        ordered = sorted(looks, key=lambda look: look.step)
        a, b = ordered[0], ordered[min(1, len(ordered) - 1)]
        apart = abs(a.slope - b.slope) - 4.0 * (a.noise + b.noise)
        where = f"{a.step:.0e}"
        below, above = a.sides()
        grain = 8.0 * ulp(self.x[i]) * max(abs(below), abs(above))  # f may round where x enters it
        kinked = not a.side and a.kinked and a.second > grain
        if a is not b and kinked and a.second > b.second * (a.step / b.step) ** 1.5:
            # the second difference falls like h, not like h**2: two slopes
            self.slopes[i] = below, above
            a.fear = max(a.fear, 0.5 * abs(above - below))
            below, above = below * self.unit, above * self.unit
            self.reason[i] = f"f has a kink within {where} of x: its slopes there are {below:.3g} and {above:.3g}"
        elif apart > 0.1 * max(abs(a.slope), least) and (a.side or apart > 1.5 * b.jump):
            grows = abs(a.slope) > 2.0 * abs(b.slope)
            a.fear = max(a.fear, abs(a.slope) if grows else apart)
            self.reason[i] = "the slope grows without bound" if grows else "the slope changes as the step shrinks"
        elif a.side and (left := _left(ordered)):
            a.fear = max(a.fear, left)  # a itself may be all noise
            if left > 0.05 * max(abs(a.slope), least):
                self.reason[i] = "the slope changes as the step shrinks"
        elif any(
            abs(q.slope - p.slope) > 1.5 * q.jump + 4.0 * (p.noise + q.noise) + 0.1 * max(abs(p.slope), least)
            for p, q in pairwise(ordered)
            if not q.side
        ):
            self.reason[i] = f"differences of f with steps down to {where} disagree"
        elif not a.side:  # a step between the largest without the kink and the smallest with it
            clean = [q for q in ordered if abs(q.slope - a.slope) <= 4.0 * (q.noise + a.noise)][-1]
            above_it = [q for q in ordered if q.step > clean.step]
            if above_it and clean.noise > 1e-10 * abs(clean.slope):
                yield nearest_power(sqrt(clean.step * above_it[0].step))

    def _improve(self, i: int) -> Looking:
        """The step is too large or too small: up to three better ones."""
        looks, scale = self.looks[i], self.scale[i]
        for _ in range(max(ROUNDS, 2 + self.stencil.order // 2)):
            look = looks[-1]
            p = look.order
            look.hope = max(look.hope, look.expected(self.length * scale))
            best = better_step(p, look.step, look.slope, look.noise, look.hope, look.fear, self.enough)
            if not best:
                break
            down = look.hope > TOO_LARGE * look.noise
            if look.without_effect and not self.line.flat and look.noise <= STILL * self.size / scale:
                break  # f does not depend on it
            if p > 2 and down and look.hope > 1e-3 * abs(look.slope):  # far beyond f's length nothing decays as h**p
                best = min(best, look.step / 16.0)
            best = max(nearest_power(min(max(best, look.step * REACH[0]), look.step * REACH[1])), self._least(i))
            larger = [q.step for q in looks if q.step > look.step]
            if larger and not down:
                best = min(best, nearest_power(sqrt(look.step * min(larger))))
            if any(0.3 < best / q.step < 3.3 for q in looks) or (yield best) is None:
                break

    def _without_effect(self, doubtful: list[int]) -> set[int]:
        """Return components that f does not depend on, as far as much larger steps show.

        Those that showed no effect are moved together, by the two steps that each would be looked at again with: two
        evaluations for all, as long as f does not change by a bit. Where it does, halves are moved, as long as that
        costs less than looking at each.
        """
        still = [
            i
            for i in doubtful
            if self.looks[i]
            and self.looks[i][0].without_effect
            and (self.line.flat or self.looks[i][0].noise > STILL * self.size / self.scale[i])
        ]
        if len(still) < FEW_STILL or self.line.rough or self.side:
            return set()
        found: set[int] = set()
        groups, left = [still], 2 + len(still) // FEW_STILL
        lower, upper = self.room or ([inf] * self.m, [inf] * self.m)
        while groups and left > 0:
            group = groups.pop(0)
            points = []
            for times, sign in ((REACH[1], 1.0), (REACH[1] ** 2, -1.0)):
                vector = np.zeros(self.m)
                for k, i in enumerate(group):  # sizes differ, or equal effects would cancel
                    size = sign * times * self.looks[i][0].step * (1.0 + (k * 0.6180339887498949) % 1.0)
                    size *= -1.0 if (k * 0.7548776662466927) % 1.0 < 0.5 else 1.0
                    vector[i] = min(max(size, -lower[i]), upper[i])
                points += self._at_multiples(vector, (1.0,))
            left -= 2
            if points == [self.f0, self.f0]:
                found.update(group)
            elif len(group) >= FEW_STILL:
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
        return found

    # ------------------------------------------------------------------------------------------ what is told

    def _choose(self, i: int) -> tuple[float, float, float]:
        """Return derivative, bar and step of the look with the smallest error.

        Truncation is measured against the next smaller step, if there is one.
        """
        looks = sorted(self.looks[i], key=lambda look: look.step)
        shortest = min(self.length * self.scale[i], self.scale[i])
        if self.line.flat and not self.torn:  # a step that f does not resolve tells nothing
            looks = [look for look in looks if not look.without_effect] or looks[-1:]
        least, best = inf, looks[0]
        bar = inf
        for k, look in enumerate(looks):
            expected = look.expected(shortest)
            error = max(look.fear, expected)
            if k > 0:
                finer = looks[k - 1].noise
                gap = abs(look.slope - looks[k - 1].slope) - 2.0 * finer
                error = max(gap, min(look.fear, 3.0 * finer), min(expected, finer))
            if not least <= look.noise + error:
                least, best = look.noise + error, look
                bar = BAR_NOISE * look.noise + BAR_TRUNCATION * error
        return best.slope, bar, best.step

    def _short_report(self, gradient: list[float], doubtful: list[int], top: float) -> Estimate | None:
        """Report without bars, which calm components do not need for their flags; None where some are needed after all.

        `top` is the largest effect of a component on its scale, by the first look.
        """
        line, scale, reason, looks, first = self.line, self.scale, self.reason, self.looks, self.first
        if line.flat or line.rough or line.vector is None or inf in gradient or -inf in gradient:
            return None
        # what is hidden is negligible in scales
        if 0.0 in gradient and (min(scale) < NEGLIGIBLE * max(scale) or top < 1e-3 * line.size):
            return None
        bars: dict[int, float] = {}
        steps: dict[int, float] = {}
        if doubtful:
            if not all(looks[i] for i in doubtful):
                return None
            for i in doubtful:
                gradient[i], bars[i], steps[i] = self._choose(i)
            before = top
            top = max([abs(slope) * length for slope, length in zip(gradient, scale, strict=True)])
            if top < 0.7 * before:
                return None
        gap = abs(sum(map(mul, line.vector, gradient)) - line.slope) - line.doubt
        if gap > 0.0 and not any(reason):
            least = 0.98 * BAR_NOISE * self.stencil.amplification_rms
            known = [
                v * bars.get(i, least * seen[4] / seen[0])
                for i, (v, seen) in enumerate(zip(line.vector, first, strict=True))
            ]
            if gap > hypot(*known):
                return None
        unit, slopes, flags = self.unit, None, None
        if bars:
            least = max(NEGLIGIBLE * top, 1e-6 * line.size)
            third = line.third / self.m**COUPLED if self.plain else 0.0
            for i, bar in bars.items():
                length, h = scale[i], steps[i] / scale[i]
                bar = max(bar, min(third * h * h / (3.0 * length), 1000.0 * bar), EPS * self.size / length)
                dead = all(look.without_effect for look in looks[i])
                if not (reason[i] or dead or bar <= CERTAIN * max(abs(gradient[i]), least / length) < inf):
                    return None  # it knows more of the third derivative
            flags, slopes = reason if any(reason) else None, self._two_slopes()
        step, memory = NOT_ASKED_FOR, None
        if self.task.memory is not None:
            step = np.array([steps.get(i, seen[0]) for i, seen in enumerate(first)])
            memory = self._memory(step)
        found = np.array([*map(unit.__mul__, gradient)])
        return Estimate(found, step, None, None, line.sigma * unit, flags, slopes, memory)

    def _report(self, table: Floats) -> Estimate:
        """Report with bars. `table`: step, slope, first, bend and sigma of the first look at each component."""
        line, looks, reason, m = self.line, self.looks, self.reason, self.m
        scale = np.array(self.scale)
        step, slope, first, bend, sigma = table.copy()
        sooner = np.minimum(self.length * scale, scale)
        expected = np.abs(slope) * (step / sooner) ** 2 / 6.0
        bar = BAR_NOISE * (NOISE * sigma / step)
        truncated = np.maximum(_fear(step, first, np.abs(bend), sigma, line.variation), expected)
        bar += BAR_TRUNCATION * truncated
        third = 6.0 * truncated * (scale / step) ** 2 * scale  # as each component shows it, per scale
        movable = np.ones(m, bool)
        for i, seen in looks.items():
            if seen:
                length = self.scale[i]
                third[i] = max(6.0 * look.fear * (length / look.step) * (length / look.step) * length for look in seen)
                slope[i], bar[i], step[i] = self._choose(i)
            elif self.room is not None and not self._may_move(i):
                slope[i], bar[i], step[i] = self._fixed(i)
                movable[i] = self.room[0][i] + self.room[1][i] > 0.0
            else:
                slope[i], bar[i], step[i] = nan, inf, nan
        for i in np.flatnonzero(~np.isfinite(slope)).tolist():  # differences that overflow, too
            slope[i], bar[i], reason[i] = nan, inf, reason[i] or NOT_FINITE
        second = self._contradicted(slope, bar)
        if second > 1.0 and self.stencil.order > 2:  # wide stencils are fooled by a period that divides their step
            narrow = {0: CENTRAL, 1: forward(2), -1: backward(2)}[self.side]
            return Search(self.run, self.task, narrow, self.noise).estimate()
        if second > TORN and line.spacing >= SPACING and not self.torn:
            vector = np.abs(np.asarray(line.vector))
            far = np.flatnonzero((vector > 0.0) & (step > vector / FINER)).tolist()
            if far:
                return self._as_near_as_the_line(table, far)
        if second > 1.0:
            bar *= second
        for i, pair in self.slopes.items():  # at a kink all between the two slopes is right
            bar[i] = max(bar[i], abs(pair[0] - slope[i]), abs(pair[1] - slope[i]))
        # bars must allow for the line's third derivative, if that is not what the components show themselves
        if self.stencil.order == 2 and 0.0 < line.third > 2.0 * self._third_along(third, scale):
            bar = np.fmax(bar, np.fmin(line.third / m**COUPLED * (step / scale) ** 2 / (3.0 * scale), 1000.0 * bar))
        bar = np.where(movable, np.maximum(bar, EPS * self.size / scale), bar)
        if line.flat and line.spread > 0.0 and line.sigma > JUMPS * max(line.variation, np.nanmax(first, initial=0.0)):
            reason[:] = [IN_JUMPS] * m
        top = float(np.nanmax(np.abs(slope) * scale, initial=0.0))
        enough = CERTAIN * np.maximum(np.abs(slope), max(NEGLIGIBLE * top, 1e-6 * line.size) / scale)
        for i in np.flatnonzero(~(bar <= enough) & movable).tolist():
            again = looks.get(i)
            dead = all(look.without_effect for look in again) if again else first[i] == 0.0 == bend[i]
            if not reason[i] and not dead:
                self._no_digit(i, float(bar[i]))
        for i in np.flatnonzero(self._hidden(slope, bar)).tolist():
            reason[i] = reason[i] or f"rounding of f hides what is less than {float(bar[i]) * self.unit:.0e}"
        failed = np.flatnonzero(np.isnan(slope))
        if failed.size:
            i = int(failed[0])
            tried = self.x[i] + self._least(i)
            warn_not_finite(self.task.point, self.task.index[failed], tried, self.run.value())
        flags = reason if any(reason) else None
        return Estimate(
            slope * self.unit,
            step,
            bar * self.unit,
            None,
            line.sigma * self.unit,
            flags,
            self._two_slopes(),
            None if self.task.memory is None else self._memory(step),
        )

    def _hidden(self, slope: Floats, bar: Floats) -> NDArray[np.bool_]:
        """Say of which components without effect the noise hides slopes as steep as the steepest.

        In scales of x they may be negligible, as the 1 of a sum with 1e150 is; but their derivative is another number.
        """
        sizes = np.abs(slope)
        steepest, top = (float(np.nanmax(each, initial=0.0)) for each in (sizes, sizes * self.scale))
        tells = top > 0.0 and top >= 1e-6 * self.line.size
        found: NDArray[np.bool_] = tells & (slope == 0.0) & (bar > CERTAIN * steepest)
        return found

    def _as_near_as_the_line(self, table: Floats, far: list[int]) -> Estimate:
        """Look with the line's own steps, by which the slope is another one, where others are far longer; report again.

        What seems a slope there may be a third derivative of which no short step shows anything.
        """
        self.torn, self.first = True, list(zip(*table.tolist(), strict=True))
        rows = [i for i in far if self._may_move(i)]
        self._take_up(rows)
        self._evaluate(rows, [nearest_power(abs(float(self.line.vector[i]))) for i in rows])  # type: ignore[index]
        return self._report(table)

    def _third_along(self, third: Floats, scale: Floats) -> float:
        """Return the size of f's third derivative along the line, from those of the components."""
        along = third * (np.asarray(self.line.vector) / scale / self.line.spacing) ** 3
        along[~np.isfinite(along)] = 0.0
        return sqrt(float(along @ along))

    def _fixed(self, i: int) -> tuple[float, float, float]:
        """Return 0 for a component that must not move; for one without room to move, that nothing is known."""
        assert self.room is not None
        return (0.0, 0.0, nan) if self.room[0][i] == 0.0 == self.room[1][i] else (nan, inf, nan)

    def _contradicted(self, slope: Floats, bar: Floats) -> float:
        """Return how many times farther the line's slope is from the gradient than bars and noise allow."""
        line = self.line
        if line.vector is None or any(self.reason):
            return 0.0
        vector = np.asarray(line.vector)
        gap = abs(float(vector @ np.where(vector == 0.0, 0.0, slope)) - line.slope)
        moved = np.where(vector == 0.0, 0.0, vector * bar)
        return gap / (sqrt(float(np.sum(moved**2))) + line.doubt)

    def _no_digit(self, i: int, bar: float) -> None:
        """Say why no digit is certain; noise that was declared is known to its owner."""
        if self.noise is not None:
            return
        line = self.line
        rounding = 0.5 * EPS * abs(self.f0)
        if line.sigma > 20.0 * max(rounding, TINY):
            times = f", {line.sigma / rounding:.0e} times rounding" if rounding > 0.0 else ""
            self.reason[i] = f"f loses digits near x: its noise is {line.sigma * self.unit:.0e}{times}"
        elif any(look.side for look in self.looks.get(i, ())):
            self.reason[i] = f"the slope at the edge of f's domain may be wrong by {bar * self.unit:.0e}"
        else:
            self.reason[i] = f"no digit is certain: it may be wrong by {bar * self.unit:.0e}"

    def _two_slopes(self) -> Floats | None:
        if not self.slopes:
            return None
        slopes = np.full((self.m, 2), nan)
        for i, pair in self.slopes.items():
            slopes[i] = pair
        return slopes * self.unit

    def _nothing(self, value: float) -> Estimate:
        """Return the gradient where f(x) itself is not finite, or where no component is wanted."""
        index = self.task.index
        unknown = np.full(index.size, nan)
        if index.size:
            warn_not_finite(self.task.point, index, float(self.task.point.base.reshape(-1)[index[0]]), value)
        flags = ["f(x) is not finite"] * index.size or None
        return Estimate(unknown, unknown.copy(), np.full(index.size, inf), None, None, flags)

    # ------------------------------------------------------------------------------------------ memory

    def _memory(self, step: Floats) -> Memory | None:
        """Return what may be used near here, if all is smooth here."""
        line = self.line
        if any(self.reason) or line.rough or line.flat or self.walls or not self.task.everything or not self.plain:
            return None
        x = self.task.point.base.reshape(-1).copy()
        size = max(abs(self.f0), line.spread) * self.unit
        return Memory(x, np.array(self.scale), step.copy(), line.sigma * self.unit, size)

    def _remembered(self) -> list[float] | None:
        """Return the steps of the owner's last call, where x is near in each coordinate and f is as noisy as it was."""
        memory, line = self.task.memory, self.line
        if not isinstance(memory, Memory) or memory.x.size != self.m or not self.plain or not self.task.everything:
            return None
        size = max(abs(self.f0), line.spread) * self.unit
        noise, scale = line.sigma * self.unit, np.array(self.scale)
        near = np.abs(np.array(self.x) - memory.x) <= MOVED * np.minimum(scale, memory.scale)
        same = memory.noise <= AGREES * noise <= AGREES**2 * memory.noise
        alike = memory.size <= AGREES * size <= AGREES**2 * memory.size
        if line.rough or line.flat or not (same and alike and near.all()):
            return None
        least = [self._least(i) for i in range(self.m)]
        return [float(max(step, small)) for step, small in zip(memory.step.tolist(), least, strict=True)]


def _left(looks: list[Look]) -> float:
    """Return by how much the slope may still change with steps finer than all: its last changes, continued.

    The looks are sorted by their steps; what noise explains is no change. Beside an edge a smooth f changes 64 times
    less with a step 64 times smaller, a power of 3/2 8 times less, and below a half nothing is known to come to an end.
    """
    changes = [apart for p, q in pairwise(looks) if (apart := abs(q.slope - p.slope)) > 4.0 * (p.noise + q.noise)]
    if len(changes) < 2:
        return 0.0
    ratio = min(changes[0] / changes[1], 0.5)
    return changes[0] * ratio / (1.0 - ratio)


def _calm(first: Floats, second: Floats, noise: Floats, variation: float, enough: float) -> NDArray[np.bool_]:
    """Do as `calm`, for arrays."""
    kinked = (second > 8.0 * noise) & (second > KINK * first)
    bent, rise = np.maximum(second, 4.0 * noise), np.maximum(first, 2.0 * noise)
    square, faint = bent * bent, noise * noise * np.maximum(variation, rise)
    small = (noise <= enough * first) | ((rise * noise <= 200.0 * square) & (faint <= 1e4 * square * bent))
    found: NDArray[np.bool_] = (
        (first < inf) & ~kinked & small & ((square <= 63.0 * noise * rise) | (square * bent <= 16e3 * faint))
    )
    return found


def _fear(step: Floats, first: Floats, second: Floats, sigma: Floats, variation: float) -> Floats:
    """Do as `looks.truncation`, for arrays: its fear."""
    bent, rise = np.maximum(second, 4.0 * sigma), np.maximum(first, 2.0 * sigma)
    by_size, by_slope = step * np.sqrt(np.maximum(variation, rise) / bent), step * rise / (2.0 * bent)
    hope = bent / (6.0 * np.maximum(by_size, by_slope))
    shorter = np.minimum(by_size, np.maximum(by_slope, step))
    fear = np.minimum(bent / (6.0 * shorter) * np.maximum(1.0, by_slope / shorter), 100.0 * hope)
    return np.where(second > 4.0 * sigma, fear, hope)
