r"""Second derivatives of an f that returns one number, from its values alone.

Along a coordinate seven values of f, six beside x, tell the second derivative, the truncation error and what decays how
fast; so each coordinate gets its own step. They lie at -4, -2, -1, 1, 2 and 4 steps, or where bounds leave less room
on one side than that takes, at 1 to 6 steps on the other. A pair of coordinates takes four points at its steps and four
at twice these, extrapolated (Richardson 1911, Phil. Trans. A 210, 307): a truncation error of order 4 allows steps that
leave ten digits, where the usual four points leave eight. Where one of the two has room on one side only, it takes six
points along the sum of both, less those along each, of which the mixed derivative is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import CannotRun
from ..core.validation import Bounds, Floats, Ints, moving
from .constants import EPS, TINY
from .outputs import Beyond, Outputs, look_along, signs, small_and_dim
from .seeds import Columns, exact, units_of
from .steps import power_of_two


class Fit(NamedTuple):
    """A polynomial through f(x) and six values beside it."""

    nodes: Floats  # shape (6,): where they are, in steps
    # shape (6, 6): what makes the second derivative of the changes of f, and in its units three terms that count, the
    # last of all, and two that do not: waves at a zero of their second derivative show in the fifth power alone, and a
    # jump of the second derivative at x in the fifth and the third
    terms: Floats
    of_noise: Floats  # shape (6,): noise of these, in sigma / h**2: f(x) itself is in all changes
    # half such a jump, over the term of the fifth power that it makes, 0 where all nodes are on one side; and what that
    # is at least beside the term of the third, which no smooth f on steps as short as these comes near
    jump: float
    unsmooth: float
    # how the term behind is amplified in the second derivative, and the last in that of the next lower order
    behind: float
    coarse: float
    order: int  # of its truncation error
    # so much of what terms decay by from the first to the second that count, they are believed to decay by at least
    missing: float
    cubic: Floats  # shape (6,): the second derivative of the cubic polynomial that comes nearest

    @classmethod
    def of(cls, nodes: Floats, counting: tuple[int, int, int, int], fewer: int, missing: float) -> Fit:
        """Fit all powers up to the sixth, three of which count; so many nodes make the next lower order."""
        powers, (_, previous, last, _) = np.arange(1, nodes.size + 1), counting
        inverse: Floats = np.linalg.inv(nodes[:, None] ** powers).astype(np.float64)
        terms = 2.0 * inverse[[1, *(power - 1 for power in counting), 2]]
        fifth, third = terms[4:] @ (nodes * np.abs(nodes))
        jump = abs(2.0 / float(fifth)) if (nodes < 0.0).any() else 0.0
        of_noise: Floats = np.sqrt((terms**2).sum(axis=1) + terms.sum(axis=1) ** 2)
        lower, behind = np.linalg.inv(nodes[:fewer, None] ** powers[:fewer])[1], 2 * last - previous
        coarse = abs(float(lower @ nodes[:fewer] ** last))
        amplified = abs(float(terms[0] @ nodes**behind)) / 2.0
        cubic = 2.0 * np.linalg.pinv(nodes[:, None] ** powers[:3])[1]
        unsmooth = 0.3 * abs(float(fifth / third)) if jump else np.inf
        return cls(nodes, terms, of_noise, jump, unsmooth, amplified, coarse, behind - 2, missing, cubic)

    @property
    def reach(self) -> float:
        return float(np.abs(self.nodes).max())


AROUND = Fit.of(np.array([1.0, -1.0, 2.0, -2.0, 4.0, -4.0]), (2, 4, 6, 5), 4, 0.3)
ASIDE = Fit.of(np.arange(1.0, 7.0), (4, 5, 6, 6), 5, 1.0)
PAIR = np.array([1.0, 2.0])  # levels of a pair's four points
OF_PAIR = np.hypot(4.0 / 3.0 * 0.5, 1.0 / 3.0 * 0.125)  # their noise, extrapolated, as of a fit's terms
NEARBY = np.array([2.0, -27.0, 270.0]) / 180.0  # the second derivative from bends at three, two and one spacings
TORN = 10.0  # times that bars may be too small
SMALLEST = 1e-140  # scale of x: squares of steps vanish
USUAL = 1.0 / 8.0  # the power of noise that the step is
FINER = 1.0, 2.0**-10, 2.0**-20  # of the line, in turn, where f is not smooth: short waves are not seen elsewhere
ROUNDS = 8
CONTRADICTION = 2.0  # in sums of the bars of two steps
FARTHEST = 2.0**-5  # a step, in scales of x: four times that is the last point
WIDE = 16.0  # times as far where nothing but noise is truncated
GRAINS = 64.0  # spacings of x: steps are no shorter
BAR_NOISE, BAR_TRUNCATION = 4.0, 2.0
ROUNDING = 8.0 * EPS
LEAST_DECAY = 0.005
FAINT = 1e-3  # of what slopes make that change on the scale of x: bars need be no smaller
SMALL = 0.02  # of the largest, in scales of x: a bar that is smaller is wide enough, whatever f does there
KINK = 0.2  # a bar of such a share, that is no noise: f is not smooth here
UNRESOLVED = 100.0  # times the noise: what no step made smaller
SEEN = 8.0  # times its noise, a term that shows a jump
SLOW = 10.0  # times what an extrapolation takes away are left of abs(x)**2.2 at 0, whose terms do not decay
CLOSER = 2.0**-10  # so small an x is always moved as if it were 0, too
SHARP = 1e-3  # of f's change: with such bars, that tells more than x's own size
NARROW = 2.0**12  # times the room beside x: scales are no larger, or no line would have room
TILE = 1 << 18  # numbers in the points that are made at a time

Moves = list[tuple[Ints, Floats]]  # coordinates, and the steps that they are moved by


class Values(Protocol):
    """f around one point."""

    def value(self) -> Floats: ...

    def explore(self, points: Iterable[Floats]) -> Floats: ...


class Seconds(NamedTuple):
    """Second derivatives at some positions."""

    # the derivatives and their bars
    entries: Floats
    error: Floats
    step: Floats  # shape (n,): of each coordinate
    # so many times the bars were widened, because f changes otherwise along a direction that moves all coordinates
    contradicted: float
    usual: float  # how much f changes as x moves by its scale; 0 if it was not seen to


def seconds(
    run: Values, x: Floats, rows: Ints, columns: Ints, noise: float | None, bounds: Bounds | None = None
) -> Seconds:
    """Return second derivatives of f with respect to some pairs of coordinates.

    CannotRun where f is not smooth, or not finite, at x or beside it.

    `run`: f of one value around x.
    `x`: the point, flat.
    `rows`, `columns`: the pairs; both orders of a pair, and a coordinate with itself, as they come.
    `noise`: standard deviation of f's noise, where it is known.
    `bounds`: no point is outside; what they fix has a derivative of 0.
    """
    free = moving(bounds)
    if free is not None:
        return _among(run, x, rows, columns, noise, bounds, free)

    def found(*units: Floats) -> Seconds:
        return _Differences(run, x, noise, bounds, *units).found(rows, columns)

    with np.errstate(all="ignore"):
        units = units_of(x)
        try:
            near = found(units, units_of(x, relative=True))
        except CannotRun:
            if not 0.0 < units.max() < SMALLEST:
                raise
            return found(np.ones(x.size))
        if not (0.0 < units.max() < CLOSER or small_and_dim(x, near.entries, near.error)):
            return near
        try:
            wide = found(np.ones(x.size))
        except CannotRun:
            if not near.usual:
                raise
            return near
        if not near.usual:  # f stands still where x moves by its own size
            return wide
        gap, error = np.abs(wide.entries - near.entries), wide.error.max(initial=0.0)
        agree = gap <= CONTRADICTION * (wide.error + near.error)
        if agree.all():
            return wide if error < near.error.max(initial=0.0) else near
        if error <= SHARP * wide.usual:  # what bends so near to x may be rounding within f
            return near._replace(error=np.maximum(near.error, np.where(agree, 0.0, gap)))
        return near


class _Free:
    """f as a function of the coordinates that are free."""

    def __init__(self, run: Values, x: Floats, free: NDArray[np.bool_]) -> None:
        self._run, self._x, self._free = run, x, free
        self.value = run.value

    def explore(self, points: Iterable[Floats]) -> Floats:
        return self._run.explore(self._whole(point) for point in points)

    def _whole(self, point: Floats) -> Floats:
        whole = self._x.copy()
        whole[self._free] = point
        return whole


def _among(
    run: Values,
    x: Floats,
    rows: Ints,
    columns: Ints,
    noise: float | None,
    bounds: Bounds | None,
    free: NDArray[np.bool_],
) -> Seconds:
    """Do so where some coordinates are free."""
    if not free.any():
        raise CannotRun("nothing may move")
    assert bounds is not None
    place, mine = np.cumsum(free) - 1, free[rows] & free[columns]
    within = bounds[0][free], bounds[1][free]
    found = seconds(_Free(run, x, free), x[free], place[rows[mine]], place[columns[mine]], noise, within)
    entries, error, step = np.zeros(rows.size), np.zeros(rows.size), np.full(x.size, np.nan)
    entries[mine], error[mine], step[free] = found.entries, found.error, found.step
    return found._replace(entries=entries, error=error, step=step)


class _Differences:
    """f around x, and what its values along the coordinates tell."""

    def __init__(self, run: Values, x: Floats, noise: float | None, bounds: Bounds | None, *tried: Floats) -> None:
        self._run, self._x, self._bounds, self._f0 = run, x, bounds, float(run.value()[0])
        if not np.isfinite(self._f0):
            raise CannotRun("f is not finite at x")
        every = np.full(x.size, np.inf)
        below, above = (every, every) if bounds is None else (x - bounds[0], bounds[1] - x)
        self._less, self._more = np.minimum(below, above), np.maximum(below, above)
        self._side = np.where(above >= below, 1.0, -1.0)
        for finer in FINER:
            line = self._look(noise, finer, *tried)
            if not (line.rough.any() or line.jumps.any()):
                break
        else:
            raise CannotRun("f is not smooth along a line through x")
        self._nearby, self._along_line = line.values[:, 0], line.factors * line.wider * self._units * finer
        self._sigma = max(float(line.sigma[0]), 0.3 * EPS * abs(self._f0))
        size = max(abs(self._f0), float(line.spread[0]))
        self._relative = self._sigma / size if size > TINY else EPS
        start = (self._sigma / max(float(line.variation[0]), TINY)) ** USUAL if finer == 1.0 else 0.0
        self._start = self._units * 2.0 ** np.round(np.log2(np.clip(start, 2.0**-12, FARTHEST)))
        self._usual = 0.0
        self._choose_sides()

    def _look(self, noise: float | None, finer: float, *tried: Floats) -> Outputs:
        """Look along a line, with the first of some units that it is not too long for."""
        run, x = self._run, self._x
        for turn, units in enumerate(tried, 1):
            self._units, shrinks = power_of_two(np.minimum(units, NARROW * self._more)), turn < len(tried)
            seeds = Columns(x, np.arange(x.size), self._units * finer)
            with suppress(Beyond):
                return look_along(run, seeds, x, self._bounds, noise, shrinks)
        raise CannotRun("f is not finite beside x")

    def _choose_sides(self) -> None:
        """Go to both sides of each coordinate, or where that leaves more noise to the one that has more room."""
        less, more = self._less / AROUND.reach, self._more / ASIDE.reach
        around, aside = np.minimum(self._start, less), np.minimum(self._start, more)
        self._aside = ASIDE.of_noise[0] * around**2 < AROUND.of_noise[0] * aside**2
        self._room = more
        self._longest = np.where(self._aside, more, less)
        if (self._longest < GRAINS * np.spacing(np.abs(self._x))).any():
            raise CannotRun("bounds leave no room beside x")

    def _step(self, index: Ints, h: Floats, longest: Floats) -> Floats:
        """Round steps so that few of them from x are exact."""
        h = np.minimum(h, longest[index])
        rounded = exact(h, self._x[index])
        return np.where(rounded <= longest[index], rounded, h)

    def _at(self, moves: Moves) -> Floats:
        """f at x with some coordinates moved, the k-th of the lists together."""
        count, x = moves[0][0].size, self._x
        values = np.empty(count)
        width = max(1, TILE // x.size)
        for begin in range(0, count, width):
            part = slice(begin, begin + width)
            points = np.repeat(x[None], moves[0][0][part].size, axis=0)
            for index, h in moves:
                points[np.arange(len(points)), index[part]] += h[part]
            values[part] = self._explored(points)
        return values

    def _explored(self, points: Floats) -> Floats:
        if self._bounds is not None:
            np.clip(points, *self._bounds, out=points)
        return self._run.explore(list(points)).reshape(-1)

    def _noise(self, values: Floats) -> Floats:
        """The noise of some values, the largest of each column: it grows with f."""
        found: Floats = np.maximum(self._sigma, self._relative * np.abs(values).max(axis=0))
        return found

    def _beside(self, fit: Fit, moves: Moves) -> tuple[Floats, Floats]:
        """Return changes of f, shape (6, count), as coordinates move together, and the noise of its values there."""
        values = np.array([self._at([(index, k * h) for index, h in moves]) for k in fit.nodes])
        return values - self._f0, self._noise(values)

    def _along(self, index: Ints, h: Floats) -> Floats:
        """Return along coordinates with these steps the rows of `_fitted`."""
        found = np.empty((7, index.size))
        for fit, mine in ((AROUND, ~self._aside[index]), (ASIDE, self._aside[index])):
            if mine.any():
                side = 1.0 if fit is AROUND else self._side[index[mine]]
                changes, noise = self._beside(fit, [(index[mine], side * h[mine])])
                found[:, mine] = _fitted(fit, changes, noise, h[mine] ** 2)
                slopes = np.abs(changes).max(axis=0) * self._units[index[mine]] / (fit.reach * h[mine])
                self._usual = max(self._usual, float(np.max(slopes, where=np.isfinite(slopes), initial=0.0)))
        return found

    def _diagonal(self) -> Floats:
        """Second derivatives along all coordinates, bars, steps; and of pairs steps, and how fast terms decay; rows."""
        n = self._x.size
        h = self._step(np.arange(n), self._start, self._longest)
        order = np.where(self._aside, ASIDE.order, AROUND.order)
        tried = np.full((ROUNDS, 7, n), np.nan)
        tried[:, 1] = np.inf
        active = np.arange(n)
        for turn in range(ROUNDS):
            steps = h[active]
            value, noise, truncation, decay, ratio, quiet, jump = self._along(active, steps)
            bar = np.where(np.isfinite(value), _bar(value, noise, truncation), np.inf)
            move = (noise / np.maximum(order[active] * truncation, TINY)) ** (1.0 / (order[active] + 2.0))
            move = np.where(np.isfinite(value), np.clip(move, 2.0**-6, 2.0**2), 2.0**-6)
            level = 2.0 ** np.round(np.log2(move))
            farthest = FARTHEST * np.where(quiet > 0.0, WIDE, 1.0) * self._units[active]
            target = np.minimum(steps * np.where(quiet > 0.0, 4.0, level), farthest)
            go = (level <= 0.5) | (level >= 4.0) | ((quiet > 0.0) & (steps < farthest))
            if turn:
                before, doubt, last = tried[turn - 1, :3, active].T
                torn = np.abs(value - before) > CONTRADICTION * (bar + doubt)
                target, go = np.where(torn, 0.25 * np.minimum(steps, last), target), go | torn
            unresolved = np.where(truncation > noise, truncation, 0.0)
            ratio *= np.minimum(FARTHEST * self._units[active] / steps, 1.0)
            tried[turn][:, active] = value, bar, steps, steps * ratio, 4.0 * decay * ratio**2, unresolved, jump
            alone = (jump > bar) & ~go  # a jump stays where steps are shorter
            if turn:
                alone &= jump < 0.25 * np.abs(tried[turn - 1, 6, active])
            target, go = np.where(alone, 0.25 * steps, target), go | alone
            target = self._step(active, target, self._longest)
            go &= (target != steps) & (target > GRAINS * np.spacing(np.abs(self._x[active])))
            active = active[go]
            if not active.size:
                break
            h[active] = target[go]
        return self._best(tried)

    def _best(self, tried: Floats) -> Floats:
        """Take the step with the smallest bar of which no smaller one says something else: that errs by noise only.

        Or more is truncated with that: waves stand still where a step holds so many of them.

        Where any is contradicted, no bar is sure: the least reaches as far as that of another, or as to one of these.
        """
        value, bar, step = tried[:, 0], tried[:, 1], tried[:, 2]
        gap = np.abs(value[:, None] - value[None, :])
        wrong = (gap > CONTRADICTION * (bar[:, None] + bar[None, :])) | (tried[:, 5] > TORN * bar[:, None])
        refuted = (wrong & (step[None, :] < step[:, None])).any(axis=1)
        pick = np.where(refuted, np.inf, bar).argmin(axis=0)
        coordinates = np.arange(pick.size)
        found: Floats = tried[pick, :5, coordinates].T
        others = np.isfinite(value) & (step != found[2])
        doubted = refuted.any(axis=0) & others.any(axis=0)
        apart = gap[pick, :, coordinates].T
        nearest = np.where(others, np.where(refuted, 2.0 * apart, apart + bar), np.inf).min(axis=0)
        if not np.isfinite(found[0]).all():
            raise CannotRun("f is not finite beside x")
        noise = np.where(self._aside, ASIDE.of_noise[0], AROUND.of_noise[0]) * self._sigma / found[2] ** 2
        size = float(np.max(np.abs(found[0]) * self._units**2, initial=0.0))
        small = max(SMALL * size, FAINT * self._usual) / self._units**2
        if ((found[1] > KINK * np.maximum(np.abs(found[0]), small)) & (found[1] > UNRESOLVED * noise)).any():
            raise CannotRun("f is not smooth at x")
        found[1] = np.where(doubted, np.maximum(found[1], nearest), found[1])
        rough = doubted | (tried[pick, 5, coordinates] > UNRESOLVED * noise)
        found[1] = np.where(rough, 2.0 * found[1], found[1])
        jump = tried[:, 6]
        jumps, most = (jump > 0.0).any(axis=0), np.nanmin(np.abs(jump), axis=0)
        found[1] = np.where(jumps, np.maximum(found[1], most), found[1])
        self._rough = np.where(rough, found[1], 0.0)
        return found

    def found(self, rows: Ints, columns: Ints) -> Seconds:
        value, bar, step, of_pairs, decay = self._diagonal()
        entries, error = value[rows], bar[rows]
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        apart = np.flatnonzero(low != high)
        key, where = np.unique(low[apart] * self._x.size + high[apart], return_inverse=True)
        if key.size:
            i, j = np.divmod(key, self._x.size)
            aside = self._aside[i] | self._aside[j]
            mixed = np.empty((2, key.size))
            wide = step > FARTHEST * self._units
            for sort, method in ((~aside, self._mixed), (aside, self._mixed_aside)):
                both = sort & wide[i] & wide[j]  # f may be a quadratic one: again where it is not
                value, noise, truncation = method(i[both], j[both], step, np.ones(step.size))
                mixed[:, both] = value, _bar(value, noise, truncation)
                both[both] = truncation <= noise
                rest = sort & ~both
                value, noise, truncation = method(i[rest], j[rest], of_pairs, np.where(wide, 0.0, decay))
                mixed[:, rest] = value, _bar(value, noise, truncation)
            if not np.isfinite(mixed[0]).all():
                raise CannotRun("f is not finite beside x")
            entries[apart], error[apart] = mixed[:, where]
        error = self._compare_nearby(rows, columns, entries, error)
        contradicted = self._doubt(rows, columns, entries, error, step)
        return Seconds(entries, error * contradicted, step, contradicted, self._usual)

    def _compare_nearby(self, rows: Ints, columns: Ints, entries: Floats, error: Floats) -> Floats:
        """Compare with the line's curvature: there may be waves next to x that are shorter than all steps. Return bars.

        CannotRun if it is another one.
        """
        w, v = self._nearby, self._along_line
        moved = v[rows] * v[columns]
        known = float(np.sqrt(np.sum((error * moved) ** 2)))
        if w.size:
            bends = w[:3] - w[3] + w[:3:-1] - w[3]  # at three vectors, two and one
            seen = float(bends @ NEARBY)
            noise = 4.0 * float(np.sqrt(6.0) * np.abs(NEARBY).sum()) * float(self._noise(w))
            known += noise + 0.1 * float(np.abs(np.diff(w, n=6)).max())
        else:
            seen, noise, truncation = self._along_all(v)
            known += BAR_NOISE * noise + BAR_TRUNCATION * truncation
        gap = abs(seen - float(np.sum(entries * moved)))
        if gap > TORN * known:
            raise CannotRun("f bends otherwise next to x than farther away")
        return np.where(moved != 0.0, error + gap / np.abs(moved), error) if gap > known else error

    def _along_all(self, v: Floats) -> tuple[float, float, float]:
        """Return the second derivative along a vector to the sides that have room, its noise, and what is truncated."""
        values = self._explored(self._x + ASIDE.nodes[:, None] * v)[:, None]
        second, noise, truncation = _fitted(ASIDE, values - self._f0, self._noise(values), np.ones(1))[:3, 0].tolist()
        return second, noise, truncation

    def _doubt(self, rows: Ints, columns: Ints, entries: Floats, error: Floats, step: Floats) -> float:
        """How many times the bars are too small for what f does along a direction that moves all coordinates.

        It follows from x's own bytes. Where second derivatives jump beside x, or a pattern lacks an entry, it shows.
        """
        v = signs(self._x, self._x.size) * step / np.sqrt(self._x.size)
        if self._aside.any():
            v = self._side * np.minimum(0.5 * np.abs(v), self._room)
            seen, noise, change = self._along_all(v)
            doubt = BAR_NOISE * noise + change
        else:
            values = self._explored(self._x + np.array([1.0, -1.0, 2.0, -2.0])[:, None] * v)
            near, far = ((values[k] - self._f0) + (values[k + 1] - self._f0) for k in (0, 2))
            seen = (4.0 * near - far / 4.0) / 3.0
            doubt = 4.0 * float(self._noise(values)) + 0.1 * abs(near - far / 4.0)  # of what is extrapolated
        moved = v[rows] * v[columns]
        gap = abs(seen - float(np.sum(entries * moved)))
        known = float(np.sqrt(np.sum((error * moved) ** 2))) + doubt
        if not np.isfinite(gap):
            raise CannotRun("f is not finite beside x")
        return float(min(max(1.0, gap / max(known, TINY)), 1.0 / EPS))

    def _mixed(self, i: Ints, j: Ints, step: Floats, decay: Floats) -> tuple[Floats, Floats, Floats]:
        """Mixed derivatives of pairs of coordinates, their noise, and what is truncated."""
        levels = []
        sigma = np.zeros(i.size)
        for k in PAIR:
            h, g = k * step[i], k * step[j]
            values = np.array([self._at([(i, s * h), (j, t * g)]) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))])
            sigma = np.maximum(sigma, self._noise(values))
            spans = ((self._x[i] + h) - (self._x[i] - h)) * ((self._x[j] + g) - (self._x[j] - g))
            levels.append(((values[0] - values[1]) - (values[2] - values[3])) / spans)
        near, far = levels
        value = (4.0 * near - far) / 3.0
        noise = OF_PAIR * sigma / (step[i] * step[j])
        truncation = np.abs(value - near) * np.clip(np.maximum(decay[i], decay[j]), LEAST_DECAY, 1.0)
        rough = np.minimum(np.sqrt(self._rough[i] * self._rough[j]), SLOW * np.abs(value - near))
        truncation = np.maximum(truncation, rough)
        return value, noise, truncation

    def _mixed_aside(self, i: Ints, j: Ints, step: Floats, _: Floats) -> tuple[Floats, Floats, Floats]:
        """The same where one of each two has room on one side only: again with other steps where these promise more."""
        found = np.array(self._together(i, j, step))
        value, noise, truncation = found
        move = (noise / np.maximum(ASIDE.order * truncation, TINY)) ** (1.0 / (ASIDE.order + 2.0))
        level = 2.0 ** np.round(np.log2(np.where(np.isfinite(value), np.clip(move, 2.0**-3, 2.0), 2.0**-3)))
        for factor in np.unique(level[level != 1.0]).tolist():
            mine = level == factor
            again = np.array(self._together(i[mine], j[mine], factor * step))
            better = ~np.isfinite(found[0, mine]) | (_bar(*again) < _bar(*found[:, mine]))
            found[:, mine] = np.where(better & np.isfinite(again[0]), again, found[:, mine])
        return found[0], found[1], found[2]

    def _together(self, i: Ints, j: Ints, step: Floats) -> tuple[Floats, Floats, Floats]:
        """Return mixed derivatives, as what two coordinates together add to each alone; noise and truncation."""
        every, (i_th, j_th) = np.unique(np.array([i, j]), return_inverse=True)
        h = self._side * self._step(np.arange(step.size), step, self._room)
        alone, sigma = self._beside(ASIDE, [(every, h[every])])
        both, noise = self._beside(ASIDE, [(i, h[i]), (j, h[j])])
        sigma = np.hypot(np.hypot(sigma[i_th], sigma[j_th]), noise)  # squares may vanish
        value, noise, truncation = _fitted(ASIDE, both - alone[:, i_th] - alone[:, j_th], sigma, 2.0 * h[i] * h[j])[:3]
        return value, np.abs(noise), np.abs(truncation)


def _bar(value: Floats, noise: Floats, truncation: Floats) -> Floats:
    bar: Floats = BAR_NOISE * noise + BAR_TRUNCATION * truncation + ROUNDING * np.abs(value)
    return bar


def _fitted(fit: Fit, changes: Floats, sigma: Floats, square: Floats) -> Floats:
    """Return second derivatives, their noise and truncation; how fast terms decay; a pair's step, in these; and whether
    nothing but noise is truncated; and by how much second derivatives to both sides may differ from their mean at most,
    negative where nothing says that they do. Rows, of changes in columns. A pair's order is lower.

    `square`: of the steps.
    """
    terms, noise = fit.terms @ changes, fit.of_noise[:, None] * sigma
    earlier, previous, last, between, third = np.abs(terms[1:])
    # where f'' itself lacks, as of x**4, so may every other term; none that is small by chance stands for the others
    decay = np.maximum(last, noise[3]) / np.maximum(previous, noise[2])
    decay = np.clip(np.maximum(decay, fit.missing * previous / np.maximum(earlier, noise[1])), 0.0, 1.0)
    size = np.maximum(last, between * np.minimum(between / np.maximum(previous, noise[2]), 1.0))
    truncation = np.maximum(size, fit.missing * decay * previous) * np.minimum(fit.behind * decay, fit.coarse)
    quiet = last <= 3.0 * noise[3]
    truncation = np.where(quiet, np.minimum(truncation, noise[0]), truncation)
    quiet &= (previous <= 3.0 * noise[2]) & (between <= 3.0 * noise[4])
    if quiet.any():  # of a cubic f, the nearest one has the least noise; bars stay, for nobody knows that f is one
        cubic = fit.cubic @ changes
        terms[0] = np.where(quiet & (np.abs(cubic - terms[0]) <= 3.0 * noise[0]), cubic, terms[0])
    ratio = (OF_PAIR / fit.of_noise[0] * noise[0] / (8.0 * np.maximum(last, noise[3]))) ** (1.0 / 6.0)
    ratio = 2.0 ** np.round(np.log2(np.clip(ratio, 2.0**-5, 1.0)))
    jumps = (between > SEEN * noise[4]) & (between > fit.unsmooth * third)
    most = fit.jump * np.maximum(between, 3.0 * noise[4]) / square
    found = terms[0] / square, noise[0] / square, truncation / square, decay, ratio, quiet, np.where(jumps, most, -most)
    return np.array(found)
