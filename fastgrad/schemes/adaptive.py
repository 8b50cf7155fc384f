r"""The adaptive gradient: a window of three pairs that climbs a ladder of steps, from where the automatic step ends.

At h, 2h and 4h central differences and mean values give the Taylor terms of f up to the sixth; the
derivative of order 6 follows from them, its truncation error from the rate at which they decay. Where
truncation or noise dominates the window moves; a shift by one rung costs one new pair.

The automatic step goes first: it measures the noise, finds kinks and edges, where no ladder can stand, and is the
second opinion on what the ladder finds with its much larger steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import Evaluation
from ..core.validation import Floats, Ints
from .automatic import Search
from .constants import CERTAIN
from .line import factors
from .scheme import Estimate, Task
from .stencils import Stencil, central, richardson

__all__ = ["STENCIL", "adaptive"]

Sweep = Callable[[Ints, Floats], Floats]
Rows = NDArray[np.intp]

STENCIL = richardson(richardson(central(2)))  # order 6 on the nodes 1, 2 and 4
RUNGS = np.log2(STENCIL.nodes[0::2]).astype(int)
PAIRS = 16  # evaluations of one component: at most twice as many
ROUNDS = 9
PILOTS = 4
GAIN = 0.7  # a larger step that did not lower the noise so far is the last one: f grew with it
SIZE = 0.01  # the first step in scales, at a noise of 1e-16
LARGEST = 0.06
OFF = 16.0  # a pilot that finds a length so many times shorter goes there first
BAR_NOISE, BAR_TRUNCATION = 4.7, 2.0
TOO_LARGE = 2.0  # truncation over noise
TRUST_MOVE, TRUST_BAR = 8.0, 3.0  # in noises: when a Taylor term is believed, to move and for the bar
FARTHEST_DOWN, FARTHEST_UP = 12, 10
CONTRADICTION = 2.0  # in sums of the bars of two windows
PLAUSIBLE = 100.0  # an error of the automatic step, in its bars
ESCAPE = 8  # rungs down where f was not finite
TIGHT = 16  # rungs: with less room than this within the bounds two points to one side do better
NONE = -(10**6)
DIGITS = 10  # of the unit of a ladder's steps, in binary


def _term_matrices(stencil: Stencil) -> tuple[Floats, Floats]:
    """Return what makes odd terms of the three slopes and even terms of the three mean rises."""
    nodes = stencil.nodes[0::2]
    powers = np.arange(nodes.size)
    odd, even = (np.linalg.inv(nodes[:, None] ** (2 * powers + k)).astype(np.float64) for k in (0, 2))
    return odd, even


ODD, EVEN = _term_matrices(STENCIL)
ODD_NOISE = np.sqrt(ODD**2 @ (0.5 / STENCIL.nodes[0::2] ** 2))
EVEN_NOISE = np.sqrt((EVEN**2).sum(axis=1) / 2.0 + EVEN.sum(axis=1) ** 2)
PRODUCT = float(np.prod(STENCIL.nodes[0::2])) ** 2


@dataclass(frozen=True, slots=True)
class Noise:
    """Of f: at x, and relative to f; values are relative to an origin."""

    level: float
    relative: float
    variation: float
    origin: float


@dataclass(frozen=True, slots=True)
class _Window:
    """The estimates of some components from one window each."""

    slope: Floats
    noise: Floats
    truncation: Floats  # for the bar
    hopeful: Floats  # for the moves


class _Ladder:
    """All pairs of values so far, by component and rung: the step is `unit` times 2**rung.

    Units are near 4/3 or 5/3, with few digits so that x + h is exact: a period of f that divides a step would be taken
    for no change at all, and periods that divide powers of two are common.
    """

    def __init__(self, sweep: Sweep, x: Floats, index: Ints, f0: float, noise: Noise, unit: Floats) -> None:
        self.sweep, self.x, self.index, self.f0, self.noise, self.unit = sweep, x, index, f0, noise, unit
        self.rung = np.full((index.size, PAIRS), NONE)
        self.pair = np.full((index.size, PAIRS, 2), np.nan)
        self.count = np.zeros(index.size, np.intp)

    def missing(self, rows: Rows, rung: Ints) -> NDArray[np.bool_]:
        """Return which rungs of a window, shape (m, 3), were not evaluated yet."""
        window = rung[:, None] + RUNGS
        known: NDArray[np.bool_] = (self.rung[rows][:, None, :] == window[:, :, None]).any(axis=2)
        return ~known

    def evaluate(self, rows: Rows, rung: Ints) -> None:
        """Evaluate one pair per entry; an entry is a component and a rung not known yet."""
        if not rows.size:
            return
        h = self.steps(rows, rung)
        x = self.x[rows]
        values = self.sweep(self.index[rows], np.stack([x + h, x - h], axis=1))
        # several rungs of one component come in one call: number them
        order = np.argsort(rows, kind="stable")
        start = np.r_[True, np.diff(rows[order]) != 0]
        position = np.arange(rows.size) - np.maximum.accumulate(np.where(start, np.arange(rows.size), 0))
        place = np.empty(rows.size, np.intp)
        place[order] = position
        place += self.count[rows]
        self.rung[rows, place], self.pair[rows, place] = rung, values
        np.add.at(self.count, rows, 1)

    def steps(self, rows: Rows, rung: Ints) -> Floats:
        """Return the steps of these rungs."""
        h: Floats = np.ldexp(self.unit[rows], rung)
        return h

    def pairs(self, rows: Rows, rung: Ints) -> Floats:
        """Return the values of windows, shape (m, 3, 2): all of them are known."""
        place = (self.rung[rows][:, None, :] == (rung[:, None] + RUNGS)[:, :, None]).argmax(axis=2)
        found: Floats = self.pair[rows[:, None], place]
        return found

    def window(self, rows: Rows, rung: Ints) -> _Window:
        """Differentiate and judge."""
        pair, h = self.pairs(rows, rung), self.steps(rows, rung)
        nodes = STENCIL.nodes[0::2]
        slopes = (pair[:, :, 0] - pair[:, :, 1]) / (2.0 * h[:, None] * nodes)
        rises = 0.5 * ((pair[:, :, 0] - self.f0) + (pair[:, :, 1] - self.f0))
        odd, even = (slopes @ ODD.T).T, np.abs(rises @ EVEN.T).T
        slope = odd[0]
        fourth = (4.0 * slopes[:, 0] - slopes[:, 1]) / 3.0
        sigma = np.fmax(self.noise.level, self.noise.relative * np.abs(pair + self.noise.origin).max(axis=(1, 2)))
        # the terms f', f'' h/2, ... times h, alternately odd and even, and the noise in each
        terms = np.stack([np.abs(odd) * h, even], axis=1).reshape(-1, rows.size)
        floors = np.stack([ODD_NOISE, EVEN_NOISE], axis=1).reshape(-1, 1) * sigma
        t = np.maximum(terms, floors)
        tail = np.maximum(np.sqrt(t[4] / t[2]), np.sqrt(t[5] / t[3]))
        head = np.maximum(np.sqrt(t[2] / t[0]), np.minimum(terms[1] / t[0], np.sqrt(t[3] / t[1])))
        disagreement = np.maximum(np.abs(slope - fourth), np.abs(fourth - slopes[:, 0]))

        def truncation(trust: float, witness: int) -> Floats:
            """Extrapolate; that f'' (or f'''') decays too is asked where the witness term is above noise."""
            even_seen = terms[5] > trust * floors[5]
            seen = even_seen | (terms[4] > trust * floors[4])
            middle = np.where(terms[witness] > 8.0 * floors[witness], np.sqrt(t[3] / t[1]), 0.0)
            rate = np.minimum(np.where(seen, tail, np.minimum(tail, np.maximum(head, middle))), 2.0)
            term = np.maximum(t[4] * rate**2, np.where(even_seen, t[5] * rate, 0.0))
            if trust == TRUST_MOVE:
                # where the tail is noise only the head can tell how far the next window may be
                term = np.where(seen, term, np.minimum(term, t[0] * rate**6))
            error: Floats = np.minimum(PRODUCT * term, 10.0 * h * disagreement + PRODUCT * floors[4] * rate**2) / h
            return error

        return _Window(slope, ODD_NOISE[0] * sigma / h, truncation(TRUST_BAR, 1), truncation(TRUST_MOVE, 3))


def adaptive(run: Evaluation, task: Task, noise: float | None, rtol: float, atol: float) -> Estimate:
    r"""Differentiate f at x to a tolerance, as far as its noise allows.

    `run`, `task`, `noise`: as in `automatic`.
    `rtol`, `atol`: a component is done when its error bar is below ``max(rtol * |derivative|, atol)``, or when no other
        step would lower it.

    Returns Estimate: its `error` holds in more than 99 of 100 cases on functions without bias; compare it with the
    tolerance to see which components did not reach it.

    Notes
    -----
    :math:`D_6 = (64\phi_1 - 20\phi_2 + \phi_4)/45` with the central differences at h, 2h and 4h: two levels of
    Richardson extrapolation (Richardson 1911, Phil. Trans. A 210, 307; Ridders 1982, Adv. Eng. Software
    4, 75). The step balances its truncation error against the noise :math:`K\sigma/h`.
    """
    with np.errstate(all="ignore"):
        search = Search(run, replace(task, bars=True), central(2), noise)
        found = search.estimate()
        assert found.error is not None
        gradient, step, error = found.gradient.copy(), found.step.copy(), found.error.copy()
        rows = np.flatnonzero(_climbable(search, found, rtol, atol))
        if rows.size:
            gradient[rows], step[rows], error[rows] = _climb(run, task, search, found, rows, rtol, atol)
        flags = _still_flagged(found.flags, gradient, error)
        return found._replace(
            gradient=gradient,
            step=step,
            error=error,
            reached=error <= np.maximum(rtol * np.abs(gradient), atol),
            flags=flags,
        )


def _climbable(search: Search, found: Estimate, rtol: float, atol: float) -> NDArray[np.bool_]:
    """Return which components a ladder may serve: smooth, with room to both sides, and not good enough yet."""
    assert found.error is not None
    some: NDArray[np.bool_] = np.isfinite(found.gradient) & (
        found.error > np.maximum(rtol * np.abs(found.gradient), atol)
    )
    if found.flags is not None:
        some &= np.array([not flag or "digit" in flag for flag in found.flags])
    for i, looks in search.looks.items():
        some[i] &= bool(looks) and not any(look.side for look in looks)
    return some


def _still_flagged(flags: Sequence[str] | None, gradient: Floats, error: Floats) -> list[str] | None:
    """Return the flags that are left: a digit that the automatic step was not certain of may be certain now."""
    if flags is None:
        return None
    kept = [
        "" if "digit" in flag and bar <= CERTAIN * abs(slope) else flag
        for flag, slope, bar in zip(flags, gradient.tolist(), error.tolist(), strict=True)
    ]
    return kept if any(kept) else None


def _units(task: Task) -> Floats:
    base = task.point.base
    units: Floats = np.ldexp(np.round(np.ldexp(factors(crc32(base.data), base.size), DIGITS)), -DIGITS)
    return units


def _log2(h: Floats) -> Ints:
    rung: Ints = np.round(np.log2(h)).astype(np.intp)
    return rung


def _climb(
    run: Evaluation, task: Task, search: Search, begun: Estimate, rows: Rows, rtol: float, atol: float
) -> tuple[Floats, Floats, Floats]:
    """Return derivatives, steps and bars of some components by their ladders."""
    index, m = task.index[rows], rows.size
    line, unit = search.line, search.unit
    x = task.point.base.reshape(-1)
    here, scale = x[index], np.array(search.scale)[rows]
    f0 = run.value() - run.origin
    known = Noise(line.sigma * unit, search.rho, line.variation * unit, run.origin)
    ladder = _Ladder(search.sweep, here, index, f0, known, _units(task)[index])
    size = SIZE * (search.ratio / 1e-16) ** (1 / 7)
    if line.third > 0.0 and line.size > 0.0:
        shorter = max(sqrt(line.size * sqrt(search.m) / line.third), 1e-12 / size)
        if shorter * sqrt(search.m) < 0.5:
            size *= shorter * search.m**0.25
    size = min(size, LARGEST)
    lowest = np.ceil(np.log2(np.maximum(2.0 ** (DIGITS + 2) * np.spacing(np.abs(here)), 1e-300))).astype(np.intp)
    highest = np.full(m, -NONE)
    if task.bounds is not None:
        room = np.minimum(here - task.bounds[0][index], task.bounds[1][index] - here) / (2.0 * STENCIL.nodes.max())
        highest = np.where(room > 0.0, np.floor(np.log2(np.where(room > 0.0, room, 1.0))), NONE).astype(np.intp)
    rung = np.maximum(_log2(size * scale), lowest)
    tight = highest < np.maximum(rung - TIGHT, lowest)
    rung = np.minimum(rung, highest)
    smallest_bad = np.full(m, -NONE)

    def escape(rows: Rows, at: Ints) -> Ints:
        """Return the next rung of components where f was not finite."""
        own = np.where(here[rows] != 0.0, np.abs(here[rows]), np.ldexp(1.0, at))
        lower: Ints = np.minimum(at - ESCAPE, smallest_bad[rows] - 3)
        return np.minimum(lower, _log2(np.maximum(size * own, 5e-324)))

    active = np.flatnonzero(~tight)
    # the pilot: the outermost pair alone tells whether the window is anywhere near the length of f
    for turn in range(PILOTS):
        if not active.size:
            break
        ladder.evaluate(active, rung[active] + RUNGS[-1])
        pair = ladder.pair[active, ladder.count[active] - 1]
        sigma = np.maximum(known.level, known.relative * np.abs(pair + known.origin).max(axis=1))
        first = np.maximum(np.abs(pair[:, 0] - pair[:, 1]), 2.0 * sigma)
        second = np.maximum(np.abs((pair[:, 0] - f0) + (pair[:, 1] - f0)), 4.0 * sigma)
        beyond = np.minimum(np.sqrt(second / np.maximum(known.variation, first)), 2.0 * second / first)
        over = beyond / (size * STENCIL.nodes.max())
        finite = np.isfinite(pair).all(axis=1)
        smallest_bad[active[~finite]] = rung[active[~finite]] + RUNGS[-1]
        lower = rung[active] - np.ceil(np.log2(np.clip(over, 1.0, 2.0**40))).astype(np.intp)
        lower = np.where(finite, lower, escape(active, rung[active]))
        go = (~finite | (over > OFF)) & (lower >= lowest[active]) & (turn < PILOTS - 1)
        active = active[go]
        rung[active] = lower[go]

    # the ladder
    tried_rung = np.full((m, ROUNDS), NONE)
    tried = np.full((3, m, ROUNDS), np.nan)  # slope, noise, truncation
    active = np.flatnonzero(~tight)
    for turn in range(ROUNDS):
        if not active.size:
            break
        missing = ladder.missing(active, rung[active])
        which, node = np.nonzero(missing)
        ladder.evaluate(active[which], rung[active[which]] + RUNGS[node])
        at = rung[active]
        window = ladder.window(active, at)
        finite = np.isfinite(window.slope)
        tried_rung[active[finite], turn] = at[finite]
        for column, new in zip(tried, (window.slope, window.noise, window.truncation), strict=True):
            column[active[finite], turn] = new[finite]
        bad = np.isnan(ladder.pairs(active, at) * 0.0).any(axis=2).reshape(-1, RUNGS.size)
        first_bad = np.where(bad.any(axis=1), at + RUNGS[bad.argmax(axis=1)], -NONE)
        smallest_bad[active] = np.minimum(smallest_bad[active], first_bad)

        bar = BAR_NOISE * window.noise + BAR_TRUNCATION * window.truncation
        done = bar <= np.maximum(rtol * np.abs(window.slope), atol)
        move = np.log2(np.clip(window.noise / np.maximum(6.0 * window.hopeful, 1e-300), 1e-120, 1e60)) / 7.0
        down = window.hopeful > TOO_LARGE * window.noise
        # where f grows with the step its noise does too: stop when a larger step no longer lowered it
        smaller = np.where(tried_rung[active] < at[:, None], tried[1][active], np.nan)
        gained = ~(window.noise > GAIN * np.fmin.reduce(smaller, axis=1))
        up = ~down & gained & (move >= 1.0) & (window.noise > rtol * np.abs(window.slope)) & (window.noise > atol)
        lower = np.clip(np.floor(move + 0.5), -FARTHEST_DOWN, -1)
        higher = np.clip(np.floor(move), 1, FARTHEST_UP)
        target = at + np.where(down, lower, higher).astype(np.intp)
        seen = tried_rung[active]
        below = np.where((seen < at[:, None]) & (seen != NONE), seen, NONE).max(axis=1)
        above = np.where(seen > at[:, None], seen, -NONE).min(axis=1)
        target = np.where(down & (target <= below), (below + at + 1) // 2, target)
        target = np.where(up & (target >= above), (above + at) // 2, target)
        target = np.where(finite, target, escape(active, at))
        target = np.minimum(np.maximum(target, lowest[active]), np.minimum(smallest_bad[active] - 3, highest[active]))
        go = (~finite | ((down | up) & ~done)) & (target != at) & (target >= lowest[active])
        go &= ~(seen == target[:, None]).any(axis=1)
        go &= ladder.count[active] + ladder.missing(active, target).sum(axis=1) <= PAIRS
        active = active[go]
        rung[active] = target[go]
    return _choose(ladder, tried_rung, tried, begun, rows)


def _choose(
    ladder: _Ladder, tried_rung: Ints, tried: Floats, begun: Estimate, rows: Rows
) -> tuple[Floats, Floats, Floats]:
    """Take the window with the smallest bar, and raise the bar to where others disagree.

    Where the automatic step, with its much smaller one, is certain of something else, or certain of more, it is right.
    """
    slope, noise, truncation = tried
    bars = BAR_NOISE * noise + BAR_TRUNCATION * truncation
    bars = np.where(np.isfinite(bars), bars, np.inf)
    # a smaller step errs by noise only, which its bar knows: a larger one that contradicts it is wrong
    gaps = np.abs(slope[:, :, None] - slope[:, None, :]) > CONTRADICTION * (bars[:, :, None] + bars[:, None, :])
    wrong = (gaps & (tried_rung[:, None, :] < tried_rung[:, :, None])).any(axis=2)
    pick = np.where(wrong, np.inf, bars).argmin(axis=1)[:, None]
    error = np.take_along_axis(bars, pick, 1)
    gradient = np.take_along_axis(slope, pick, 1)
    gap = np.abs(slope - gradient)
    outside = (gap > bars + error) & (bars < 1e3 * error) & ~wrong
    error = np.maximum(error[:, 0], np.where(outside, gap, 0.0).max(axis=1))
    gradient = gradient[:, 0]
    step = ladder.steps(np.arange(rows.size), np.take_along_axis(tried_rung, pick, 1)[:, 0])
    assert begun.error is not None
    before, bar = begun.gradient[rows], begun.error[rows]
    apart = np.abs(gradient - before)
    contradicted = ~(apart <= error + bar)
    keep = contradicted | ~(error < bar)
    bar = np.where(contradicted & (apart < PLAUSIBLE * bar), apart, bar)
    return np.where(keep, before, gradient), np.where(keep, begun.step[rows], step), np.where(keep, bar, error)
