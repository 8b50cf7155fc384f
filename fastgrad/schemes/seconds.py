r"""Second derivatives of an f that returns one number, from its values alone.

Along a coordinate :math:`f(x + h) + f(x - h) - 2 f(x)` at h, 2h and 4h tells the second derivative, the truncation
error and what decays how fast; so each coordinate gets its own step. A pair of coordinates takes four points at its
steps and four at twice these, extrapolated (Richardson 1911, Phil. Trans. A 210, 307): a truncation error of order 4
allows steps that leave ten digits, where the usual four points leave eight.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np

from ..core.errors import CannotRun
from ..core.validation import Floats, Ints
from .constants import EPS
from .outputs import Beyond, Outputs, look_along, signs, small_and_dim
from .seeds import Columns, units_of

LEVELS = np.array([1.0, 2.0, 4.0])
NEARBY = np.array([2.0, -27.0, 270.0]) / 180.0  # the second derivative from bends at three, two and one spacings
TORN = 10.0  # times that bars may be too small
# what makes the terms a0 + a2 k**2 + a4 k**4 of the second differences at three levels
TERMS = np.linalg.inv(LEVELS[:, None] ** np.array([0, 2, 4]))
# noise of a term, in sigma / h**2: the values beside x are divided by k**2, and x itself is in all levels
OF_TERMS = np.sqrt(2.0 * ((TERMS / LEVELS**2) ** 2).sum(axis=1) + 4.0 * (TERMS / LEVELS**2).sum(axis=1) ** 2)
OF_PAIR = np.hypot(4.0 / 3.0 * 0.5, 1.0 / 3.0 * 0.125)  # the same of a pair's extrapolated four points
NEXT = float(np.prod(LEVELS**2))  # how the term behind the last is amplified
SMALLEST = 1e-140  # scale of x: squares of steps vanish
USUAL = 1.0 / 8.0  # the power of noise that the step is
FINER = 1.0, 2.0**-10, 2.0**-20  # of the line, in turn, where f is not smooth: short waves are not seen elsewhere
ROUNDS = 5
CONTRADICTION = 2.0  # in sums of the bars of two steps
FARTHEST = 2.0**-5  # a step, in scales of x: four times that is the last point
BAR_NOISE, BAR_TRUNCATION = 4.0, 2.0
LEAST_DECAY = 0.005
MISSING = 0.1
SMALL = 0.02  # of the largest, in scales of x: a bar that is smaller is wide enough, whatever f does there
KINK = 0.2  # a bar of such a share, that is no noise: f is not smooth here
TILE = 1 << 18  # numbers in the points that are made at a time


class Values(Protocol):
    """f around one point."""

    def value(self) -> Floats: ...

    def explore(self, points: Iterable[Floats]) -> Floats: ...


class Seconds(NamedTuple):
    """Second derivatives at some positions.

    Attributes
    ----------
    entries, error : ndarray
        The derivatives and their bars.
    step : ndarray of shape (n,)
        Of each coordinate.
    contradicted : float
        So many times the bars were widened, because f changes otherwise along a direction that moves all coordinates.
    """

    entries: Floats
    error: Floats
    step: Floats
    contradicted: float


def seconds(run: Values, x: Floats, rows: Ints, columns: Ints, noise: float | None) -> Seconds:
    """Return second derivatives of f with respect to some pairs of coordinates.

    Parameters
    ----------
    run : Values
        f of one value around x.
    x : ndarray
        The point, flat.
    rows, columns : ndarray of int
        The pairs; both orders of a pair, and a coordinate with itself, as they come.
    noise : float or None
        Standard deviation of f's noise, where it is known.

    Raises
    ------
    CannotRun
        Where f is not smooth, or not finite, at x or beside it.
    """
    with np.errstate(all="ignore"):
        units = units_of(x)
        try:
            found = _Differences(run, x, noise, units, units_of(x, relative=True)).found(rows, columns)
        except CannotRun:
            if not 0.0 < units.max() < SMALLEST:
                raise
            return _Differences(run, x, noise, np.ones(x.size)).found(rows, columns)
        if not small_and_dim(x, found.entries, found.error):
            return found
        try:
            wide = _Differences(run, x, noise, np.ones(x.size)).found(rows, columns)
        except CannotRun:
            return found
        agree = np.abs(wide.entries - found.entries) <= CONTRADICTION * (wide.error + found.error)
        return wide if agree.all() and wide.error.max(initial=0.0) < found.error.max(initial=0.0) else found


class _Differences:
    """f around x, and what its values along the coordinates tell."""

    def __init__(self, run: Values, x: Floats, noise: float | None, *tried: Floats) -> None:
        self._run, self._x, self._f0 = run, x, float(run.value()[0])
        if not np.isfinite(self._f0):
            raise CannotRun("f is not finite at x")
        for finer in FINER:
            line = self._look(noise, finer, *tried)
            if not (line.rough.any() or line.jumps.any()):
                break
        else:
            raise CannotRun("f is not smooth along a line through x")
        self._nearby, self._along_line = line.values[:, 0], line.factors * line.wider * self._units * finer
        self._sigma = max(float(line.sigma[0]), 0.3 * EPS * abs(self._f0))
        self._relative = self._sigma / max(abs(self._f0), float(line.spread[0]), 1e-300)
        start = (self._sigma / max(float(line.variation[0]), 1e-300)) ** USUAL if finer == 1.0 else 0.0
        self._start = float(np.clip(start, 2.0**-12, FARTHEST))

    def _look(self, noise: float | None, finer: float, *tried: Floats) -> Outputs:
        """Look along a line, with the first of some units that it is not too long for."""
        run, x = self._run, self._x
        for turn, units in enumerate(tried, 1):
            self._units, shrinks = units, turn < len(tried)
            seeds = Columns(x, np.arange(x.size), units * finer)
            with suppress(Beyond):
                return look_along(run, seeds, x, None, noise, shrinks)
        raise CannotRun("f is not finite beside x")

    def _at(self, steps: list[tuple[Ints, Floats]]) -> Floats:
        """f at x with some coordinates moved, the k-th of the lists together."""
        count, x = steps[0][0].size, self._x
        values = np.empty(count)
        width = max(1, TILE // x.size)
        for begin in range(0, count, width):
            part = slice(begin, begin + width)
            points = np.repeat(x[None], steps[0][0][part].size, axis=0)
            for index, h in steps:
                points[np.arange(len(points)), index[part]] += h[part]
            values[part] = self._run.explore(list(points)).reshape(-1)
        return values

    def _noise(self, *values: Floats) -> Floats:
        """The noise of some values: it grows with f."""
        top = np.max([np.abs(v) for v in values], axis=0)
        found: Floats = np.maximum(self._sigma, self._relative * top)
        return found

    def _along(self, index: Ints, h: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Second derivatives along coordinates with these steps, noise and truncation; and for pairs, whose order is
        lower, a better step and how fast terms decay with it.
        """
        pairs = [(self._at([(index, k * h)]), self._at([(index, -k * h)])) for k in LEVELS]
        x = self._x[index]
        spans = [0.5 * ((x + k * h) - (x - k * h)) for k in LEVELS]
        second = np.array([((a - self._f0) + (b - self._f0)) / s**2 for (a, b), s in zip(pairs, spans, strict=True)])
        value, second_order, fourth_order = TERMS @ second
        a2, a4 = np.abs(second_order), np.abs(fourth_order)
        sigma = self._noise(*(v for pair in pairs for v in pair))
        n0, n2, n4 = (share * sigma / h**2 for share in OF_TERMS)
        decay = np.maximum(a4, n4) / np.maximum(a2, n2)
        # where f'' itself lacks, as of x**4, so may every other term: the last one then stands for those behind
        decay = np.clip(np.maximum(decay, MISSING * a2 / np.maximum(np.abs(value), n0)), 0.0, 1.0)
        coarse = (4.0 * second[0] - second[1]) / 3.0
        truncation = np.minimum(NEXT * a4 * decay, np.abs(value - coarse))
        truncation = np.where(a4 > 3.0 * n4, truncation, np.minimum(truncation, n0))
        ratio = (OF_PAIR / OF_TERMS[0] * n0 / (8.0 * np.maximum(a4, n4))) ** (1.0 / 6.0)
        ratio = 2.0 ** np.round(np.log2(np.clip(ratio, 2.0**-5, 1.0)))
        return value, n0, truncation, h * ratio, 4.0 * decay * ratio**2

    def _diagonal(self) -> Floats:
        """Second derivatives along all coordinates, bars, steps; and of pairs steps, and how fast terms decay; rows."""
        n = self._x.size
        h = self._units * 2.0 ** np.round(np.log2(self._start))
        tried = np.full((ROUNDS, 5, n), np.nan)
        tried[:, 1] = np.inf
        active = np.arange(n)
        for turn in range(ROUNDS):
            steps = h[active]
            value, noise, truncation, *of_pairs = self._along(active, steps)
            bar = np.where(np.isfinite(value), BAR_NOISE * noise + BAR_TRUNCATION * truncation, np.inf)
            move = (noise / np.maximum(6.0 * truncation, 1e-300)) ** 0.125
            move = np.where(np.isfinite(value), np.clip(move, 2.0**-6, 2.0**2), 2.0**-6)
            level = 2.0 ** np.round(np.log2(move))
            target = np.minimum(steps * level, FARTHEST * self._units[active])
            go = (level <= 0.5) | (level >= 4.0)
            if turn:
                before, doubt, last = tried[turn - 1, :3, active].T
                torn = np.abs(value - before) > CONTRADICTION * (bar + doubt)
                target, go = np.where(torn, 0.25 * np.minimum(steps, last), target), go | torn
            tried[turn][:, active] = value, bar, steps, *of_pairs
            go &= (target != steps) & (target > 64.0 * np.spacing(np.abs(self._x[active])))
            active = active[go]
            if not active.size:
                break
            h[active] = target[go]
        return self._best(tried)

    def _best(self, tried: Floats) -> Floats:
        """Take the step with the smallest bar of which no smaller one says something else: that errs by noise only.

        Where all others are contradicted, the bar of the smallest reaches to its neighbour: f may go on like that.
        """
        value, bar, step = tried[:, 0], tried[:, 1], tried[:, 2]
        gap = np.abs(value[:, None] - value[None, :])
        wrong = (gap > CONTRADICTION * (bar[:, None] + bar[None, :])) & (step[None, :] < step[:, None])
        refuted = wrong.any(axis=1)
        pick = np.where(refuted, np.inf, bar).argmin(axis=0)
        coordinates = np.arange(pick.size)
        found: Floats = tried[pick, :, coordinates].T
        others = np.isfinite(value) & (step != found[2])
        alone = others.any(axis=0) & (refuted | ~others).all(axis=0)
        nearest = np.where(others, gap[pick, :, coordinates].T, np.inf).min(axis=0)
        if not np.isfinite(found[0]).all():
            raise CannotRun("f is not finite beside x")
        noise = OF_TERMS[0] * self._sigma / found[2] ** 2
        size = float(np.max(np.abs(found[0]) * self._units**2, initial=0.0))
        small = SMALL * size / self._units**2
        if ((found[1] > KINK * np.maximum(np.abs(found[0]), small)) & (found[1] > 100.0 * noise)).any():
            raise CannotRun("f is not smooth at x")
        found[1] = np.where(alone, np.maximum(found[1], 2.0 * nearest), found[1])
        return found

    def found(self, rows: Ints, columns: Ints) -> Seconds:
        value, bar, step, of_pairs, decay = self._diagonal()
        entries, error = value[rows], bar[rows]
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        apart = np.flatnonzero(low != high)
        key, where = np.unique(low[apart] * self._x.size + high[apart], return_inverse=True)
        if key.size:
            i, j = np.divmod(key, self._x.size)
            mixed, doubt = self._mixed(i, j, of_pairs, decay)
            entries[apart], error[apart] = mixed[where], doubt[where]
        self._compare_nearby(rows, columns, entries, error)
        contradicted = self._doubt(rows, columns, entries, error, step)
        return Seconds(entries, error * contradicted, step, contradicted)

    def _compare_nearby(self, rows: Ints, columns: Ints, entries: Floats, error: Floats) -> None:
        """Compare with the line's curvature: there may be waves next to x that are shorter than all steps.

        Raises
        ------
        CannotRun
            If it is another one.
        """
        w = self._nearby
        if not w.size:
            return
        bends = w[:3] - w[3] + w[:3:-1] - w[3]  # at three vectors, two and one
        v = self._along_line
        moved = v[rows] * v[columns]
        gap = abs(float(bends @ NEARBY) - float(np.sum(entries * moved)))
        noise = 4.0 * float(np.sqrt(6.0) * np.abs(NEARBY).sum()) * float(self._noise(w).max())
        known = float(np.sqrt(np.sum((error * moved) ** 2))) + noise + 0.1 * float(np.abs(np.diff(w, n=6)).max())
        if gap > TORN * known:
            raise CannotRun("f bends otherwise next to x than farther away")

    def _doubt(self, rows: Ints, columns: Ints, entries: Floats, error: Floats, step: Floats) -> float:
        """How many times the bars are too small for what f does along a direction that moves all coordinates.

        It follows from x's own bytes. Where second derivatives jump beside x, or a pattern lacks an entry, it shows.
        """
        v = signs(self._x, self._x.size) * step / np.sqrt(self._x.size)
        points = np.array([self._x + k * v for k in (1, -1, 2, -2)])
        values = self._run.explore(list(points)).reshape(-1)
        near, far = ((values[k] - self._f0) + (values[k + 1] - self._f0) for k in (0, 2))
        moved = v[rows] * v[columns]
        gap = abs((4.0 * near - far / 4.0) / 3.0 - float(np.sum(entries * moved)))
        change = abs(near - far / 4.0)  # what is extrapolated, and its rest
        known = float(np.sqrt(np.sum((error * moved) ** 2))) + 4.0 * float(self._noise(values).max()) + 0.1 * change
        if not np.isfinite(gap):
            raise CannotRun("f is not finite beside x")
        return float(max(1.0, gap / max(known, 1e-300)))

    def _mixed(self, i: Ints, j: Ints, step: Floats, decay: Floats) -> tuple[Floats, Floats]:
        """Mixed derivatives of pairs of coordinates, and their bars."""
        levels = []
        sigma = np.zeros(i.size)
        for k in LEVELS[:2]:
            h, g = k * step[i], k * step[j]
            values = [self._at([(i, s * h), (j, t * g)]) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            sigma = np.maximum(sigma, self._noise(*values))
            spans = ((self._x[i] + h) - (self._x[i] - h)) * ((self._x[j] + g) - (self._x[j] - g))
            levels.append(((values[0] - values[1]) - (values[2] - values[3])) / spans)
        near, far = levels
        value = (4.0 * near - far) / 3.0
        noise = OF_PAIR * sigma / (step[i] * step[j])
        truncation = np.abs(value - near) * np.clip(np.maximum(decay[i], decay[j]), LEAST_DECAY, 1.0)
        bar = BAR_NOISE * noise + BAR_TRUNCATION * truncation
        if not np.isfinite(value).all():
            raise CannotRun("f is not finite beside x")
        return value, bar
