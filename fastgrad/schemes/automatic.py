r"""The step that chooses itself: one probe, one sweep, and a second look only where it pays.

A difference of order p errs by noise, :math:`K \sigma / h`, and by truncation, :math:`C h^p |f^{(p+1)}|`.
The noise level is measured (`noise.probe`), the truncation of each component is judged from the very
values that the difference needs (`diagnosis.judge`), and only components where another step is clearly
better are evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, Ints
from .diagnosis import TOO_LARGE, USUAL, bar, judge, near, troubled, worse
from .noise import CHANGED, NOISIER, UNIFORM, Chord, Noise, probe, quantum, round_off, scale_of
from .stencils import Stencil, central
from .steps import power_of_two

__all__ = ["Memory", "Outcome", "automatic", "coarse", "confirmed", "first_steps", "holds", "nothing", "remember"]

Sweep = Callable[[Ints, Floats], Floats]
Line = Callable[[Floats], Floats]
Bounds = tuple[Floats, Floats]
Flags = NDArray[np.bool_]
Judged = tuple[Floats, Floats, Floats]
Formula = Callable[[NDArray[np.intp], Floats, Floats], tuple[Floats, ...]]

PROBE_PAYS = 14  # components: the probe then costs at most a quarter of the sweep
SUSPICIOUS = 1 / 3  # share of components in trouble: one bad length scale is theirs, many are noise
ESCAPES = 3  # looks that a component gets to return to where f is finite, beyond the usual ones
ESCAPE = 2.0**-10
PATIENCE = 4.0  # so many times as bad as when it was looked at in vain, a component is looked at again
DOUBT = 30.0  # a truncation error is judged to be so many times too large at most
ASYMPTOTIC = 0.3  # relative change of the slope below which its change scales like h**p
FEW_STILL = 4  # components that are looked at again one by one, though f did not change with them
SMALLEST = 5e-324
MANY_DIGITS = 0.3819660112501051  # the golden section
REACH = 1e-6, 1e4  # of one change of step


@dataclass(frozen=True, slots=True)
class Memory:
    """What a prepared gradient remembers of its last call.

    `patience`, 1 or more, is how bad a component may look with its step: as bad as when it was looked at again in vain.
    `fine` says that f has short values, as a polynomial of short numbers has, but does not compute coarsely (`coarse`).
    """

    noise: Noise
    x: Floats
    scale: Floats
    step: Floats
    patience: Floats
    fine: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A gradient and what is known of it; arrays of shape (m,).

    Attributes
    ----------
    gradient, step, error : ndarray
        Partial derivatives, the steps they were made with, and their error bars; nan, nan and inf where
        f was not finite around x, with any step, to any side.
    point : ndarray
        The last value of the coordinate that was tried: where f was not finite if `gradient` is nan.
    noise : Noise
        Noise level and variation of f, measured or assumed.
    memory : Memory
        For the next call.
    """

    gradient: Floats
    step: Floats
    error: Floats
    point: Floats
    noise: Noise
    memory: Memory


@dataclass(frozen=True, slots=True)
class _Look:
    """One evaluation of some components: nan for the others."""

    step: Floats
    slope: Floats
    noise: Floats
    hopeful: Floats
    fearful: Floats


class _Search:
    """One gradient in the making: f around x, the noise, and all looks at each component."""

    def __init__(
        self,
        sweep: Sweep,
        x: Floats,
        index: Ints,
        f0: float,
        stencil: Stencil,
        bounds: Bounds | None,
        noise: Noise,
        scale: Floats,
    ) -> None:
        self.sweep, self.index, self.f0, self.stencil = sweep, index, f0, stencil
        self.x = x[index]
        self.bounds = None if bounds is None else (bounds[0][index], bounds[1][index])
        self.smallest = np.maximum(4.0 * np.spacing(np.abs(self.x)), SMALLEST)
        self.noise, self.scale = noise, scale[index]
        self.patience = np.ones(index.size)  # of the first look
        self.length = np.inf  # of f, in units of scale: what the components have in common
        self.side = np.zeros(index.size)  # 0: the stencil itself; 1 or -1: two points to one side
        self.wall = np.full(index.size, np.inf)  # the smallest step with which f was not finite
        self.point = np.full(index.size, np.nan)
        self.looks: list[_Look] = []
        self.table: list[tuple[Formula, NDArray[np.intp], Floats, Floats]] = []  # of the last sweep

    # ------------------------------------------------------------------ evaluate

    def look(self, rows: NDArray[np.intp], h: Floats) -> None:
        """Evaluate these components with these steps, and judge them."""
        fits = self._fits(rows, h)
        self.table = []
        for formula, place, here in ((self._own, self._around, fits), (self._parabola, self._beside, ~fits)):
            if here.any():
                some = rows[here]
                points = place(some, h[here])
                self.table.append((formula, some, points, self.sweep(self.index[some], points)))
        self.judge_table()
        self._remember_walls(rows)

    def _remember_walls(self, rows: NDArray[np.intp]) -> None:
        look = self.looks[-1]
        lost = rows[~np.isfinite(look.slope[rows])]
        self.wall[lost] = np.minimum(self.wall[lost], look.step[lost])

    def usual(self) -> float:
        """Return the relative noise of a good central difference of this f."""
        return float(USUAL * self.noise.ratio ** (2 / 3))

    def judge_table(self) -> None:
        """Difference and judge what the last sweep gave, by the noise known now."""
        formula, rows, points, values = self.table[0]
        if rows.size == self.x.size:
            self.point = points[:, 0].copy()
            self.looks.append(_Look(*formula(rows, points, values)))
            return
        seen = [np.full(self.x.size, np.nan) for _ in range(5)]
        for formula, rows, points, values in self.table:
            self.point[rows] = points[:, 0]
            for column, found in zip(seen, formula(rows, points, values), strict=True):
                column[rows] = found
        self.looks.append(_Look(*seen))

    def _fits(self, rows: NDArray[np.intp], h: Floats) -> Flags:
        fits: Flags = self.side[rows] == 0.0
        if self.bounds is not None:
            low, high = self.stencil.reach
            x = self.x[rows]
            fits &= (x + low * h >= self.bounds[0][rows]) & (x + high * h <= self.bounds[1][rows])
        return fits

    def _around(self, rows: NDArray[np.intp], h: Floats) -> Floats:
        """Place the points of the stencil."""
        points: Floats = self.x[rows, None] + h[:, None] * self.stencil.nodes
        return points

    def _beside(self, rows: NDArray[np.intp], h: Floats) -> Floats:
        """Place two points within the bounds: around x where there is room, else to one side."""
        x, side = self.x[rows], self.side[rows]
        lower, upper = (-np.inf, np.inf) if self.bounds is None else (b[rows] for b in self.bounds)
        below, above = x - lower, upper - x
        around = (side == 0.0) & (np.minimum(below, above) >= 0.25 * h)
        sign = np.where(side != 0.0, side, np.where(above >= below, 1.0, -1.0))
        aside = sign * np.minimum(h, 0.5 * np.where(sign > 0.0, above, below))
        first = np.where(around, x + np.minimum(h, above), x + aside)
        second = np.where(around, x - np.minimum(h, below), x + 2.0 * aside)
        points: Floats = np.clip(np.stack([first, second]), lower, upper).T
        return points

    def sample(self) -> Floats:
        """Return a few of the values of the last sweep."""
        return np.concatenate([values.ravel()[:8] for _, _, _, values in self.table])

    def sigma(self, values: Floats) -> Floats:
        """Return the noise of these values: it grows with f."""
        sigma: Floats = np.maximum(self.noise.level, self.noise.relative * np.abs(values).max(axis=1))
        return sigma

    def _own(self, rows: NDArray[np.intp], points: Floats, values: Floats) -> tuple[Floats, ...]:
        """Difference by the stencil, and judge."""
        stencil, size = self.stencil, self.noise.variation
        if stencil.symmetric:
            span = points[:, 0::2] - points[:, 1::2]
            slopes = (values[:, 0::2] - values[:, 1::2]) / span
            h = 0.5 * span[:, 0]
        else:
            span = points - self.x[rows, None]
            slopes = (values - self.f0) / span
            h = np.abs(span[:, 0])
        slope = slopes[:, 0] if slopes.shape[1] == 1 else slopes @ stencil.quotients
        if stencil.order == 2 and stencil.symmetric:
            first = np.abs(values[:, 0] - values[:, 1])
            second = np.abs((values[:, 0] - self.f0) + (values[:, 1] - self.f0))
            return h, slope, *judge(first, second, h, self.sigma(values), size)
        return h, slope, *_judge_terms(stencil, values - self.f0, h, self.sigma(values), size)

    def _parabola(self, rows: NDArray[np.intp], points: Floats, values: Floats) -> tuple[Floats, ...]:
        """Differentiate the parabola through x and any two points, and judge it as a central difference.

        Its truncation error is |u v f'''| / 6, so sqrt(|u v|) is the step that it compares to.
        """
        u, v = (points - self.x[rows, None]).T
        rise, other = (values - self.f0).T
        bend = (rise / u - other / v) / (u - v)
        slope = (values[:, 0] - values[:, 1]) / (u - v) - (u + v) * bend
        h = np.sqrt(np.abs(u * v))
        one, two = v / (u * (v - u)), -u / (v * (v - u))
        gain = np.sqrt(2.0 * (one**2 + two**2 + (one + two) ** 2)) * h
        sigma = gain * self.sigma(values)
        first, second = 2.0 * h * np.abs(slope), 2.0 * h * h * np.abs(bend)
        return h, slope, *judge(first, second, h, sigma, self.noise.variation)

    def restrict(self, rows: NDArray[np.intp]) -> _Search:
        """Return the same search for some of the components only."""
        part = copy(self)
        for name in ("index", "x", "smallest", "scale", "side", "wall", "point"):
            setattr(part, name, getattr(self, name)[rows])
        part.patience = np.ones(rows.size)
        if self.bounds is not None:
            part.bounds = self.bounds[0][rows], self.bounds[1][rows]
        part.looks = [_Look(*(getattr(look, name)[rows] for name in _Look.__slots__)) for look in self.looks]
        return part

    # ------------------------------------------------------------------ diagnose

    def learn(self) -> None:
        """Find the length that the components have in common, from slope and curvature of each."""
        for formula, rows, points, values in self.table:
            if formula != self._own or not self.stencil.symmetric:
                continue
            above, below = (values[:, 0] - self.f0), (values[:, 1] - self.f0)
            span = points[:, 0] - points[:, 1]
            rise, bent = np.abs(above - below), np.abs(above + below)
            sigma = 8.0 * self.sigma(values)
            length = rise / bent  # in units of h: f' h / f'' h**2
            seen = (bent > sigma) & (rise > sigma) & (length > 20.0)
            if 2 * np.count_nonzero(seen) >= self.x.size:
                in_scales = 0.25 * span * length / self.scale[rows]
                lengths = np.sort(in_scales[seen])
                self.length = float(lengths[lengths.size // 2])

    def expected(self, slope: Floats, step: Floats, rows: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Return the truncation error if this component changes on the length that all have in common.

        Needed where f'' happens to vanish: then the component's own values look like those of a line.
        """
        p = self.stencil.order
        error: Floats = np.abs(slope) * (step / (self.length * self.scale[rows])) ** p / 6.0
        return error

    def measured(self, rows: NDArray[np.intp]) -> Floats:
        """Return the truncation error of the last look that looks with larger steps show."""
        last = self.looks[-1]
        step, slope, noise = last.step[rows], last.slope[rows], last.noise[rows]
        error: Floats = np.zeros(rows.size)
        for look in self.looks[:-1]:
            gap = np.abs(look.slope[rows] - slope) - 2.0 * noise
            shown = gap * (step / look.step[rows]) ** self.stencil.order
            shown[~((gap < ASYMPTOTIC * np.abs(slope)) & (look.step[rows] > step))] = 0.0
            error = np.maximum(error, shown)
        return error

    def diagnose(self, rows: NDArray[np.intp]) -> tuple[Floats, Floats, Flags]:
        """Return hopeful and fearful truncation error of the last look, and who is in trouble."""
        last = self.looks[-1]
        slope, noise = last.slope[rows], last.noise[rows]
        if len(self.looks) == 1 and self.length == np.inf:
            hopeful, fearful = last.hopeful[rows], last.fearful[rows]
            return hopeful, fearful, troubled(slope, noise, hopeful, fearful, self.usual(), self.patience[rows])
        expected, measured = self.expected(slope, last.step[rows], rows), self.measured(rows)
        hopeful = np.fmax(last.hopeful[rows], np.maximum(expected, measured))
        fearful = np.fmax(last.fearful[rows], measured)
        return hopeful, fearful, troubled(slope, noise, hopeful, fearful, self.usual(), self.patience[rows])

    # ------------------------------------------------------------------ components without effect

    def still(self) -> NDArray[np.intp]:
        """Return the components with which f did not change by a bit."""
        found = [rows[(values == self.f0).all(axis=1)] for _, rows, _, values in self.table]
        return np.concatenate(found) if found else np.empty(0, np.intp)

    def without_effect(self, line: Line, x: Floats, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those of these components that f does not depend on, as far as a much larger step shows.

        They are moved together, by the two steps that each would be looked at again with, with random signs and
        factors: two evaluations for all, as long as f does not change by a bit. Where it does, halves are moved, as
        long as that costs less than looking at each.
        """
        if rows.size < FEW_STILL:
            return rows[:0]
        draw = np.random.default_rng(rows.size).uniform(-0.5, 0.5, (2, self.x.size))
        sign = draw + np.copysign(0.5, draw)  # sizes differ, too, or equal effects would cancel
        step = self.looks[0].step
        groups, found, left = [rows], [], 2 + rows.size // FEW_STILL
        while groups and left > 0:
            group = groups.pop(0)
            points = np.stack([x, x])
            for point, signs, times in zip(points, sign, (REACH[1], REACH[1] ** 2), strict=True):
                moved = self.x[group] + signs[group] * times * step[group]
                if self.bounds is not None:
                    moved = np.clip(moved, self.bounds[0][group], self.bounds[1][group])
                point[self.index[group]] = moved
            left -= 2
            if (line(points) == self.f0).all():
                found.append(group)
            elif group.size >= FEW_STILL:
                groups += [group[: group.size // 2], group[group.size // 2 :]]
        return np.concatenate(found) if found else rows[:0]

    # ------------------------------------------------------------------ look again

    def improve(self, rows: NDArray[np.intp], wanted: Floats) -> None:
        """Look again at components in trouble, at most so often.

        `wanted` holds the next step where it is known, nan elsewhere.
        """
        p = self.stencil.order
        rounds = 2 + p // 2 if self.stencil.symmetric else 3
        for turn in range(rounds + ESCAPES):
            last = self.looks[-1]
            hopeful, fearful, flags = self.diagnose(rows)
            finite = np.isfinite(last.slope[rows])
            flags |= np.isfinite(wanted)
            flags &= ~finite | (turn < rounds)
            if not flags.any():
                return
            h, noise = last.step[rows], last.noise[rows]
            too_large = hopeful > TOO_LARGE * noise
            truncation = np.where(too_large, hopeful, fearful)
            best = h * np.clip((noise / (p * truncation)) ** (1.0 / (p + 1)), *REACH)
            if p > 2:  # far beyond the length of f nothing decays as h**p
                beyond = too_large & (hopeful > 1e-3 * np.abs(last.slope[rows]))
                best = np.where(beyond, np.minimum(best, h / 16.0), best)
            tried = np.stack([look.step[rows] for look in self.looks])
            larger = np.where(tried > h, tried, np.inf).min(axis=0)
            best = np.where(too_large | np.isinf(larger), best, np.minimum(best, np.sqrt(h * larger)))
            best = np.where(too_large, best, np.minimum(best, 0.5 * self.wall[rows]))
            best = np.where(np.isfinite(wanted), wanted, best)
            best = np.where(finite, best, self._escape(rows, turn))
            best = np.maximum(power_of_two(best), self.smallest[rows])
            with_result = np.where(np.isfinite(np.stack([look.slope[rows] for look in self.looks])), tried, np.nan)
            known = ((best > 0.3 * with_result) & (best < 3.3 * with_result)).any(axis=0)
            go = flags & ~known
            rows, wanted = rows[go], np.full(np.count_nonzero(go), np.nan)
            if not rows.size:
                return
            self.look(rows, best[go])

    def _escape(self, rows: NDArray[np.intp], turn: int) -> Floats:
        """Return the next step of components where f was not finite: smaller, in the end to one side."""
        wall, x = self.wall[rows], self.x[rows]
        size = np.where(x != 0.0, np.abs(x), wall)
        smaller: Floats = np.minimum(wall * ESCAPE, self.noise.ratio ** (1 / 3) * size)
        first = self.looks[0].step[rows]
        if turn < 2:
            return smaller
        self.side[rows] = np.where(turn % 2 == 0, 1.0, -1.0)
        h: Floats = np.where(np.isfinite(first), first, wall) * ESCAPE ** ((turn - 2) // 2)
        return h

    # ------------------------------------------------------------------ choose

    def choose(self) -> tuple[Floats, Floats, Floats]:
        """Return gradient, step and error bar of each component: of the look with the smallest error."""
        if len(self.looks) == 1:
            look = self.looks[0]
            error = bar(look.noise, np.fmax(look.fearful, self.expected(look.slope, look.step)))
            return _finite(look.slope, look.step, error)
        step, slope, noise, fearful = (
            np.stack([getattr(look, name) for look in self.looks]) for name in ("step", "slope", "noise", "fearful")
        )
        step[~np.isfinite(slope)] = np.nan
        order = np.argsort(step, axis=0)  # smallest first, nan last
        step, slope, noise, fearful = (np.take_along_axis(a, order, 0) for a in (step, slope, noise, fearful))
        p = self.stencil.order
        expected = self.expected(slope, step)
        change = np.abs(np.diff(slope, axis=0))
        gap = np.fmax(change - 2.0 * noise[:-1], 0.0)
        shrink = (step[:-1] / step[1:]) ** p
        truncation = fearful.copy()
        # the truncation of a step is seen against the next smaller one, down to the noise of that,
        truncation[1:] = np.fmax(gap, np.fmin(fearful[1:], noise[:-1]))
        # and of a step beside a larger one, where the larger is not too large
        smooth = (gap > 0.0) & (change < ASYMPTOTIC * np.abs(slope[:-1]))
        shown = np.where(smooth, 3.0 * (change + 2.0 * noise[:-1]) * shrink, np.inf)
        bars = np.fmax(truncation, expected)
        bars[1:] = np.fmin(bars[1:], np.fmax(truncation[1:], change + 2.0 * noise[:-1]))
        bars[:-1] = np.fmax(bars[:-1], gap * shrink)
        truncation[:-1] = np.fmin(truncation[:-1], np.fmax(shown, fearful[:-1] / DOUBT))
        total = np.where(np.isfinite(slope), noise + truncation, np.inf)
        pick = np.argmin(total, axis=0)[None]
        slope, step, error = (np.take_along_axis(a, pick, 0)[0] for a in (slope, step, bar(noise, bars)))
        return _finite(slope, step, error)


def _finite(slope: Floats, step: Floats, error: Floats) -> tuple[Floats, Floats, Floats]:
    good = np.isfinite(slope)
    return np.where(good, slope, np.nan), np.where(good, step, np.nan), np.where(good & ~np.isnan(error), error, np.inf)


@lru_cache(maxsize=32)
def _taylor(stencil: Stencil) -> tuple[Floats, Floats, float]:
    """Return what makes Taylor terms of values at the nodes, the noise of each, and the product of the nodes.

    The product is what the first neglected term is multiplied by in the derivative.
    """
    nodes = stencil.nodes
    inverse = np.linalg.inv(nodes[:, None] ** np.arange(1, nodes.size + 1)).astype(np.float64)
    gains: Floats = np.sqrt((inverse**2).sum(axis=1) + inverse.sum(axis=1) ** 2)
    return inverse, gains, float(abs(np.prod(nodes)))


def _judge_terms(stencil: Stencil, rises: Floats, h: Floats, sigma: Floats, size: float) -> Judged:
    r"""Do for any stencil what `judge` does for two points.

    The values at the nodes determine the Taylor terms :math:`f^{(k)} h^k / k!`, k up to their number;
    the first one neglected is extrapolated by the rate at which these decay.
    """
    inverse, gains, product = _taylor(stencil)
    terms = np.abs(rises @ inverse.T).T
    floors = gains[:, None] * sigma
    seen = np.maximum(terms, floors)
    noise = stencil.amplification_rms * sigma / h
    total = np.maximum(size, seen[0])
    if len(terms) == 1:
        # one point tells nothing of the curvature: f is taken to change by its size on its length
        error = product * seen[0] * seen[0] / (total * h)
        return noise, error, error
    before = [total, *seen]
    tail = np.sqrt(seen[-1] / before[-3])
    head = np.sqrt(seen[1] / total)
    if len(terms) > 2:
        tail = np.maximum(tail, np.sqrt(seen[-2] / before[-4]))
        fourth = seen[min(3, len(terms) - 1)]
        head = np.maximum(
            np.sqrt(seen[2] / seen[0]), np.where(terms[1] > 8.0 * floors[1], np.sqrt(fourth / seen[1]), 0.0)
        )

    def neglected(trust: float) -> Floats:
        last = terms[-1] > trust * floors[-1]
        resolved = last | (terms[-2] > trust * floors[-2])
        rate = np.minimum(np.where(resolved, tail, np.minimum(tail, head)), 2.0)
        term = np.maximum(seen[-2] * rate * rate, np.where(last, seen[-1] * rate, 0.0))
        error: Floats = product * term / h
        return error

    return noise, neglected(8.0), neglected(3.0)


def holds(memory: Memory, value: float) -> bool:
    """Say whether f is of the size that it had when its noise was measured."""
    noise = memory.noise
    return noise.magnitude / CHANGED <= abs(value) <= max(noise.magnitude, noise.variation) * CHANGED


def first_steps(stencil: Stencil, noise: Noise, scale: Floats, n: int) -> Floats:
    r"""Return the steps that are best if f varies by `noise.variation` on the length `scale`.

    The optimum is :math:`(K \sigma / p C F)^{1/(p+1)}` scales (Gill, Murray and Saunders 1981, section 8.6).
    It is flat: for p = 2 its constant, 1.3, is left out, which loses 0.02 digits on average and gains 0.3 on
    the sums of squares of Moré, Garbow and Hillstrom.
    """
    p = stencil.order
    gain = 1.0 if p == 2 else stencil.amplification_rms / (p * float(stencil.error_constant))
    size = (gain * noise.ratio) ** (1 / (p + 1))
    if noise.third > 0.0:
        # n separate terms show sqrt(n) f''' along the line, coupled ones up to n**1.5 f'''
        shorter = max((3.0 * noise.level * sqrt(n) / noise.third) ** (1 / 3), 1e-13) / noise.ratio ** (1 / 3)
        if shorter * n ** (1 / 3) < 0.5:
            size *= shorter * n ** (1 / 6)
    return power_of_two(size * scale)


def automatic(
    sweep: Sweep,
    line: Line,
    x: Floats,
    f0: float,
    *,
    index: Ints | None = None,
    stencil: Stencil | None = None,
    bounds: Bounds | None = None,
    noise: float | str | None = None,
    memory: Memory | None = None,
    origin: float = 0.0,
    bars: bool = True,
) -> Outcome:
    r"""Differentiate f at x with steps that choose themselves.

    Parameters
    ----------
    sweep : callable
        Evaluates f at x with one entry replaced: ``sweep(index, points)``, shapes (m,) and (m, k), returns
        (m, k).
    line : callable
        Evaluates f at whole points: (k, n) to (k,).
    x : ndarray of shape (n,)
        The point.
    f0 : float
        f(x), relative to `origin` like all values.
    index : ndarray of intp, optional
        The components wanted; all by default.
    stencil : Stencil
        The formula; the central difference of order 2 by default.
    bounds : tuple of ndarray of shape (n,), optional
        Lower and upper limits: no point is outside.
    noise : None, "probe" or float
        None measures the noise where that costs little or where something looks wrong, "probe" always;
        a number is the standard deviation of f's noise, 0 means round-off only.
    memory : Memory, optional
        What an earlier call found; checked before it is believed.
    origin : float
        What values are relative to.
    bars : bool
        False: `error` may be nan, where working it out would take the longest of all.

    Returns
    -------
    Outcome
        Gradient, steps and error bars.

    Notes
    -----
    With the noise level :math:`\sigma` and the variation F of f, the first step of a component of scale s is
    the optimum for :math:`f^{(p+1)} = F/s^{p+1}` (Gill, Murray and Saunders 1981, Practical Optimization,
    section 8.6), a power of two so that x ± h is exact.
    """
    stencil = central(2) if stencil is None else stencil
    index = np.arange(x.size) if index is None else index
    if not index.size or not np.isfinite(f0):
        return nothing(x, index, f0)
    with np.errstate(all="ignore"):
        return _automatic(sweep, line, x, f0, index, stencil, bounds, noise, memory, origin, bars)


def _automatic(
    sweep: Sweep,
    line: Line,
    x: Floats,
    f0: float,
    index: Ints,
    stencil: Stencil,
    bounds: Bounds | None,
    wanted: float | str | None,
    memory: Memory | None,
    origin: float,
    bars: bool,
) -> Outcome:
    value = origin + f0
    chord: Chord | None = None
    level = None if wanted is None or isinstance(wanted, str) else max(float(wanted), round_off(value).level)
    if memory is not None and not holds(memory, value):
        memory = None
    if memory is not None:
        known, scale = memory.noise if memory.noise.measured else round_off(value), scale_of(x)
    elif wanted is not None or index.size >= PROBE_PAYS:
        known, scale, chord = probe(line, x, f0, bounds=bounds, origin=origin, level=level)
    else:
        known, scale = round_off(value), scale_of(x)
    probed = memory is None and (wanted is not None or index.size >= PROBE_PAYS)
    search = _Search(sweep, x, index, f0, stencil, bounds, known, scale)
    h = first_steps(stencil, known, search.scale, x.size)
    if memory is not None:
        close = near(x, memory.x, memory.scale)
        scale = np.where(close, memory.scale, scale)
        search.scale = scale[index]
        search.patience = np.where(close, memory.patience, 1.0)[index]
        h = np.where((close & np.isfinite(memory.step))[index], memory.step[index], h)
    h = np.maximum(h, search.smallest)
    everything = np.arange(index.size)
    search.look(everything, h)
    flags = search.diagnose(everything)[2]
    again = np.full(index.size, np.nan)
    fine = memory is not None and memory.fine
    doubtful = not (known.measured or fine) and short(origin + search.sample(), known.level)
    if not probed and (
        np.count_nonzero(flags) >= SUSPICIOUS * flags.size
        or (doubtful and coarse(origin + search.sample(), known.level, line, x, h, bounds, origin))
    ):
        search.noise, scale, chord = probe(line, x, f0, bounds=bounds, origin=origin, level=level)
        search.scale = scale[index]
        search.looks.clear()
        search.judge_table()
        better = np.maximum(first_steps(stencil, search.noise, search.scale, x.size), search.smallest)
        again = np.where(better > NOISIER * h, better, np.nan)
        flags = search.diagnose(everything)[2]
    trouble = flags.any() or np.isfinite(again).any()
    if not (trouble or bars or stencil.order > 2):
        look = search.looks[0]
        unknown = np.full(index.size, np.nan)
        memory = remember(search.noise, x, scale, index, look.step, search.patience, fine or doubtful)
        return Outcome(look.slope, look.step, unknown, search.point, search.noise, memory)
    search.learn()
    gradient, step, error = search.choose()
    if trouble:
        some = np.flatnonzero(flags | np.isfinite(again) | search.diagnose(everything)[2])
        some = np.setdiff1d(some, search.without_effect(line, x, np.intersect1d(some, search.still())), True)
    if trouble and some.size:
        part = search.restrict(some)
        part.improve(np.arange(some.size), again[some])
        gradient[some], step[some], error[some] = part.choose()
        search.point[some] = part.point
    first = search.looks[0]
    in_vain = (memory is not None) & flags & (step == first.step)
    looked = worse(first.noise, first.hopeful, first.fearful)
    patience = np.where(in_vain, PATIENCE * looked, np.where(step == first.step, search.patience, 1.0))
    memory = remember(search.noise, x, scale, index, step, patience, fine or doubtful)
    found = Outcome(gradient, step, error, search.point, search.noise, memory)
    if stencil.order == 2:
        return found
    return confirmed(found, chord, sweep, line, x, f0, index, bounds, origin)


def short(values: Floats, level: float) -> bool:
    """Say whether values lie on a lattice that would be more noise than was assumed."""
    return UNIFORM * quantum(values) > NOISIER * level


def coarse(
    values: Floats, level: float, line: Line, x: Floats, h: Floats, bounds: Bounds | None, origin: float
) -> bool:
    """Say whether f computes more coarsely than was assumed, given short values beside x, from one more.

    A polynomial of short numbers has short values at x ± h, a power of two; but not at a point of many digits.
    """
    if h.size < x.size or (bounds is not None and (np.minimum(x - bounds[0], bounds[1] - x) < h).any()):
        return True
    again = origin + line((x + MANY_DIGITS * h)[None])
    return short(np.concatenate([values, again]), level)


def remember(
    noise: Noise,
    x: Floats,
    scale: Floats,
    index: Ints,
    step: Floats,
    patience: Floats | None = None,
    fine: bool = False,
) -> Memory:
    """Return what the next call is told: nan for the steps of components that were not asked for."""
    steps, patient = np.full(x.size, np.nan), np.ones(x.size)
    steps[index] = step
    if patience is not None:
        patient[index] = np.where(patience >= 1.0, patience, 1.0)
    return Memory(noise, x.copy(), scale, steps, patient, fine)


def nothing(x: Floats, index: Ints, f0: float) -> Outcome:
    """Return the gradient where f(x) itself is not finite, or where no component is wanted."""
    unknown, noise = np.full(index.size, np.nan), round_off(f0 if np.isfinite(f0) else 0.0)
    memory = remember(noise, x, scale_of(x), index, unknown)
    return Outcome(unknown, unknown, np.full(index.size, np.inf), x[index], noise, memory)


def confirmed(
    found: Outcome,
    chord: Chord | None,
    sweep: Sweep,
    line: Line,
    x: Floats,
    f0: float,
    index: Ints,
    bounds: Bounds | None,
    origin: float,
) -> Outcome:
    """Return a gradient by wide stencils if it agrees with the chord that the noise was measured on.

    Wide stencils are fooled by a period that divides their step: all their values agree, and are wrong.
    Then narrow ones decide, component by component.
    """
    if chord is None or index.size < x.size or not np.isfinite(found.gradient).all():
        return found
    gradient, error = np.empty_like(x), np.empty_like(x)
    gradient[index], error[index] = found.gradient, found.error
    if not chord.contradicts(gradient, error):
        return found
    plain = replace(found.memory, step=np.full(x.size, np.nan))
    other = automatic(sweep, line, x, f0, index=index, bounds=bounds, memory=plain, origin=origin)
    wrong = ~(np.abs(found.gradient - other.gradient) <= found.error + other.error)
    gradient, step, bars, point = (
        np.where(wrong, getattr(other, name), getattr(found, name)) for name in ("gradient", "step", "error", "point")
    )
    return Outcome(gradient, step, bars, point, found.noise, remember(found.noise, x, plain.scale, index, step))
