"""A Jacobian where all is calm, in few passes over small arrays: what `columns` would find, to the bit, without bars.

One line, one sweep, and the judgement that no entry wants a second look. Wherever that is not certain the whole rule
decides, with the values that are known already; so tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, log2
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import EPS, NEAR_ZERO, NEGLIGIBLE, QUIET, SPACING, TINY
from .outputs import FEW, MEANS, ROWS, WIDEST, middle_of_four, middle_of_three, quanta_of, signs
from .seeds import Seeds

MOST = 1 << 16  # entries: more are judged in parts
MARGIN = 1e-6  # of what is compared with sums in another order
LEAST_LENGTH = 0.25  # in scales of x: shorter ones are for the whole rule
PLACES = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])[:, None]
LEVELS = np.ascontiguousarray(MEANS[2:, 11:])
CUBE = SPACING**3
SLOPE = np.array([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / 60.0
largest, every = np.maximum.reduce, np.logical_and.reduce  # as methods they take twice as long


class Explorer(Protocol):
    """What evaluates f."""

    def value(self) -> Floats:
        """Return f(x), flat."""
        ...

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points; returns one row of values for each."""
        ...


class Line:
    """What a line says of each output, where one look tells enough; `calm` says whether it does.

    Attributes
    ----------
    sigma, rho, variation : ndarray of shape (m,)
        Noise, the same relative to f, and how much f changes on x's scale.
    step : float
        The step of most outputs, in units of x.
    enough : ndarray
        Noise over the size of an entry that needs no improvement.
    third : ndarray
        At least twice what a third derivative adds to the bars.
    slope, doubt : ndarray
        The derivative along the line, and how wrong that may be.
    still : ndarray of bool or None
        Outputs that do not change, while others do.
    drowned : bool
        Whether some hardly change beside their noise.
    """

    calm = drowned = False
    still: NDArray[np.bool_] | None = None

    def __init__(self, values: Floats, f0: Floats, terms: int | NDArray[np.intp]) -> None:
        m = f0.size
        table, row = np.empty((21, m)), values
        for begin, end in ROWS:
            row = np.subtract(row[1:], row[:-1], out=table[begin:end])
        moved, sizes = values - f0, np.abs(values)
        spread, top, size = largest(np.abs(moved), 0), largest(sizes, 0), sizes[3]
        seen, least = np.maximum(size, spread), float(np.minimum.reduce(spread))
        if not largest(top) < 1e140 or (least < 1e-140 and ((spread < 1e-140) & (spread > 0)).any()):
            return
        if not every(table[:6], None):
            still = np.add.reduce(table[:6] == 0, axis=0, dtype=np.intp) >= 4
            if every(still):
                return
            self.still = still if still.any() else None
        floor = np.maximum(EPS * np.maximum(0.5 * size, 0.25 * top), TINY)
        if not every(np.bitwise_or.reduce(values.view(np.int64), axis=0) & 15) or (
            m <= FEW and any(float(f"{value:.11e}") == value for value in values[0].tolist())
        ):
            floor = np.maximum(floor, 0.29 * quanta_of(values))
        squares = LEVELS @ np.square(table[11:])
        third, fourth, fifth, sixth = levels = np.sqrt(squares)
        last, three = np.maximum(fifth, sixth), 3.0 * floor
        self.sigma = sigma = np.maximum(floor, np.sqrt(0.5 * (squares[2] + squares[3])))
        smooth = last <= (1.0 - MARGIN) * three
        if not every(smooth):
            sure = smooth | ((last >= (1.0 + MARGIN) * three) & (middle_of_four(*levels) <= 0.999 * QUIET * floor))
            if not every(sure):
                return
            self.sigma = sigma = np.where(smooth, sigma, middle_of_three(fourth, fifth, sixth))
        rise, bend, ten = np.abs(values[6] - values[0]), np.abs(moved[6] + moved[0]), 10.0 * sigma
        drowns = rise < 1.01 * ten
        if drowns.any():
            self.drowned = True
            drowns &= bend < 20.1 * sigma
            if self.still is not None:
                drowns &= ~self.still
            if 2 * np.count_nonzero(drowns) > m:
                return
        flat = bend - 8.0 * sigma
        if not every(np.abs(flat) > MARGIN * sigma):
            return
        bend = np.where(flat <= 0.0, 0.0, bend / (9.0 * SPACING * SPACING))
        root = np.sqrt(terms)
        reach = np.minimum(np.maximum(rise / (6.0 * SPACING) / root, bend / terms), seen)
        self.variation = variation = np.maximum(reach, ten)
        ratio = np.minimum(sigma / variation, 1e-2)
        step = np.cbrt(ratio)
        bent = largest(np.abs(table[11:15]), 0) * (1.0 / CUBE)
        if (bent * ratio > 23.9 * sigma * root * terms).any():  # a third derivative may show, and shorten steps
            shows = third > 4.0 * (1.0 - MARGIN) * np.maximum(sigma, fourth)
            bent = np.where(shows, middle_of_four(*np.abs(table[11:15])) / CUBE, 0.0)
            # as in `outputs.step_of`
            shorter = np.maximum(np.cbrt(3.0 * sigma * root / np.where(shows, bent, 1.0)), 1e-13)
            wide = shorter * np.cbrt(terms)
            if (shows & (np.abs(wide - 0.5 * step) <= MARGIN * step)).any():
                return
            step = np.where(shows & (wide < 0.5 * step), shorter * np.sqrt(np.cbrt(terms)), step)
        self.third = bent * (2.0 / 3.0) / terms
        active = reach > ten
        if not every(np.abs(reach - ten) > MARGIN * ten):
            return
        those = step[active] if active.any() else step.copy()
        those.partition(those.size // 2)
        usual = log2(those[those.size // 2])
        self.step = 2.0 ** round(usual)
        self.calm = abs(usual % 1.0 - 0.5) >= MARGIN
        self.rho = sigma / np.maximum(seen, TINY)
        self.enough = np.maximum(3e-9, 0.3 * step * step) * (0.999 / 1.42)
        self.slope, self.doubt = SLOPE @ moved, 4.0 * sigma + 0.1 * largest(np.abs(table[18:20]), 0)

    @property
    def certain(self) -> bool:
        """Whether entries without any effect want no larger step."""
        sigma, variation = self.sigma, self.variation
        noise = 0.72 * sigma / self.step
        sure = (noise <= 0.999e-5 * variation) | (noise <= 0.142 * self.enough * variation)
        return bool(every(sure | (variation <= 6e4 * sigma)))


def calmly(run: Explorer, seeds: Seeds, x: Floats) -> tuple[Floats, float] | None:
    """Return the entries and the step, as `columns.by_itself`; None where something wants a second look."""
    f0 = run.value()
    m, count, everything = f0.size, seeds.count, slice(0, seeds.count)
    vector = seeds.line(SPACING * signs(x, seeds.coordinates))
    if count * max(m, x.size) > MOST and len(seeds.parts(max(1, MOST // max(m, x.size)))) > 1:
        return None
    found = run.explore(x + PLACES * vector)
    line = Line(np.concatenate([found[:3], f0[None], found[3:]]), f0, seeds.terms)
    if not line.calm or (line.drowned and 0.0 < largest(np.abs(x), initial=0.0) < 2.0 * NEAR_ZERO):
        return None
    if line.still is not None:
        afar = seeds.line(WIDEST * signs(x, seeds.coordinates))
        if (run.explore([x + afar, x - afar]) != f0)[:, line.still].any():
            return None
    t = line.step
    swept = run.explore(seeds.points(everything, np.array([t, -t]))).reshape(count, 2, m)
    moved, sizes = swept - f0, np.abs(swept)
    sizes = np.maximum(line.sigma, line.rho * np.maximum(sizes[:, 0], sizes[:, 1]))
    above, below, sigma = (seeds.picked(part, everything) for part in (moved[:, 0], moved[:, 1], sizes))
    variation, enough = seeds.of_outputs(line.variation, everything), seeds.of_outputs(line.enough, everything)
    ones = np.full(count, t)
    half = 0.5 * seeds.span(everything, ones, -ones)
    difference, second = above - below, np.abs(above + below)
    first = np.abs(difference)
    # nearly always; what is not finite is not fine
    fine = (second <= np.maximum(7.99 * sigma, 0.0299 * first)) & (sigma <= enough * first)
    fine &= second * second <= 63.0 * sigma * np.maximum(first, 2.0 * sigma)
    alive: NDArray[np.bool_] | None = None
    if not every(fine, None):
        alive = (first != 0) | (second != 0)
        if not isfinite(first.sum()) or _again(seeds, first, second, sigma, half, variation, enough, alive):
            return None
        if not every(alive, None) and not line.certain:
            return None
    # an entry without any effect has passed, if only its divisor is what it should be
    if largest(np.abs(half - t), None) > 1e-3 * t:
        return None
    if count > 1:
        short = half * first < 2.0 * LEAST_LENGTH * second
        curved = t > 9e-6 and (first * half * half > 15.8 * sigma).any()
        if curved or short.any():
            shown = np.minimum(first, second) > 8.0 * sigma
            usual = np.count_nonzero(shown)
            if 2 * usual > shown.size and (curved or 2 * np.count_nonzero(shown & short) >= usual):
                return None
    slopes = difference / (2.0 * half)
    must = np.maximum(26500.0 * sigma / half, seeds.of_outputs(line.third * (t * t), everything))
    factors = seeds.factors(vector)
    gap, doubt = np.abs(seeds.at_outputs(slopes, factors, _same) - line.slope), line.doubt
    if (gap > doubt).any():  # there bars are wider, by as much as the line's slope says something else
        known = 2.8 * sigma / half if alive is None else np.where(alive, 2.8 * sigma / half, 0.0)
        known = np.sqrt(seeds.at_outputs(known, factors, np.square)) + doubt
        must = must * seeds.of_outputs(np.maximum(1.01 * gap / known, 1.0), everything)
    lacks = np.maximum(np.abs(slopes), 1e-6 * variation) < must
    if lacks.any():
        lacks &= (first != 0) | (second != 0)
        top = seeds.of_outputs(seeds.largest(slopes), everything)
        if (lacks & (must > 0.999 * NEGLIGIBLE * top)).any():
            return None
    return seeds.in_x(slopes, everything), t


def _same(entries: Floats) -> Floats:
    return entries


def _again(
    seeds: Seeds,
    first: Floats,
    second: Floats,
    sigma: Floats,
    half: Floats,
    variation: Floats,
    enough: Floats,
    alive: NDArray[np.bool_],
) -> bool:
    """Say whether an entry wants another step, or may do so."""
    bent, rise = np.maximum(second, 4.0 * sigma), np.maximum(first, 2.0 * sigma)
    square, noise = bent * bent, sigma * rise
    size, measure = np.maximum(variation, rise), np.maximum(first, 0.2 * half * variation)
    again = (second > 7.99 * sigma) & (second > 0.0299 * first)
    down = (square > 63.0 * noise) & (square > 8.9e-10 * rise * np.maximum(0.5 * first, half * variation))
    down &= square * bent > 16e3 * sigma * sigma * size
    if down.any():
        longer = half * np.maximum(np.sqrt(size / bent), rise / (2.0 * bent))
        truncation = np.maximum(first / (2.0 * half) * (half / longer) ** 2, bent / longer) / 6.0
        down &= truncation > 0.999 * 3e-10 * np.maximum(variation, first / (2.0 * half))
        again |= down & (truncation > 0.999 * 21.3 * sigma / half)
    up = alive & (sigma > enough * measure)
    if up.any():
        up &= (noise > 200.0 * square) | (size * sigma * sigma > 1e4 * square * bent)
        again |= up & (1.42 * sigma > 0.999e-6 * measure)
        if up.any() and (4 * seeds.counts(up) > seeds.counts(first != 0)).any():
            return True
    return bool((again & alive).any())


class Remembering:
    """f around a point: what is evaluated first is not evaluated again after `rewind`, if asked for in that order.

    Attributes
    ----------
    known : list
        Points, and f's values there, that are still to be asked for again; after `rewind`.
    """

    def __init__(self, run: Explorer) -> None:
        self._run = run
        self._noted: list[tuple[Floats, Floats]] = []
        self.known: list[tuple[Floats, Floats]] | None = None

    def value(self) -> Floats:
        """Return f(x), flat."""
        return self._run.value()

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points, or remember its values."""
        asked = np.asarray(points if isinstance(points, np.ndarray) else list(points))
        if self.known is None:
            values = self._run.explore(asked)
            self._noted.append((asked, values))
            return values
        if self.known:
            known, values = self.known.pop(0)
            if np.array_equal(known, asked):
                return values
            self.known.clear()
        return self._run.explore(asked)

    def rewind(self) -> Remembering:
        """Begin anew."""
        self.known = self._noted
        return self
