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
from .constants import EPS, NEGLIGIBLE, QUIET, SPACING, TINY
from .outputs import FEW, MEANS, ROWS, WIDEST, middle_of_four, middle_of_three, quanta_of, signs
from .seeds import Seeds

MOST = 1 << 16  # entries: more are judged in parts
MARGIN = 1e-6  # of what is compared with sums in another order
LEAST_LENGTH = 0.25  # in scales of x: shorter ones are for the whole rule
PLACES = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])[:, None]
LEVELS = np.ascontiguousarray(MEANS[2:, 11:])
CUBE = SPACING**3


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
    third : ndarray or None
        Twice what a third derivative adds to the bars; None where none is seen.
    slope, doubt : ndarray
        The derivative along the line, and how wrong that may be.
    """

    calm = False
    still: NDArray[np.bool_] | None = None  # outputs that do not change, while others do

    def __init__(self, values: Floats, f0: Floats, terms: int | NDArray[np.intp]) -> None:
        m, size = f0.size, np.abs(f0)
        table, row = np.empty((21, m)), values
        for begin, end in ROWS:
            row = np.subtract(row[1:], row[:-1], out=table[begin:end])
        spread = np.abs(values - f0).max(axis=0)
        largest = float(spread.max())
        seen = np.maximum(size, spread)
        if not (1e-140 < largest < 1e140 and float(seen.max()) < 1e140) or ((spread < 1e-140) & (spread > 0)).any():
            return
        still = np.add.reduce(table[:6] == 0, axis=0, dtype=np.intp) >= 4
        self.still = still if still.any() else None
        floor = np.maximum(EPS * np.maximum(0.5 * size, 0.25 * np.abs(values).max(axis=0)), TINY)
        if m <= FEW or not (np.bitwise_or.reduce(values.view(np.int64), axis=0) & 15).all():
            floor = np.maximum(floor, 0.29 * quanta_of(values))
        squares = LEVELS @ np.square(table[11:])
        third, fourth, fifth, sixth = levels = np.sqrt(squares)
        last, three = np.maximum(fifth, sixth), 3.0 * floor
        self.sigma = sigma = np.maximum(floor, np.sqrt(0.5 * (squares[2] + squares[3])))
        smooth = last <= (1.0 - MARGIN) * three
        if not smooth.all():
            sure = smooth | ((last >= (1.0 + MARGIN) * three) & (middle_of_four(*levels) <= 0.999 * QUIET * floor))
            if not sure.all():
                return
            self.sigma = sigma = np.where(smooth, sigma, middle_of_three(fourth, fifth, sixth))
        w0, w6 = values[0], values[6]
        rise, bend, eight = np.abs(w6 - w0), np.abs((w6 - f0) + (w0 - f0)), 8.0 * sigma
        if still.all() or 2 * np.count_nonzero((rise < 10.1 * sigma) & (bend < 20.1 * sigma) & ~still) > m:
            return
        near = np.abs(bend - eight) <= MARGIN * sigma
        bend = np.where(bend <= eight, 0.0, bend / (9.0 * SPACING * SPACING))
        root = np.sqrt(terms)
        reach, ten = np.minimum(np.maximum(rise / (6.0 * SPACING) / root, bend / terms), seen), 10.0 * sigma
        self.variation = variation = np.maximum(reach, ten)
        near |= np.abs(reach - ten) <= MARGIN * ten
        ratio = np.minimum(np.maximum(sigma / variation, 1e-17), 1e-2)
        self.third, step = None, np.cbrt(ratio)
        shows = third > 4.0 * (1.0 - MARGIN) * np.maximum(sigma, fourth)
        if shows.any():
            bent = np.where(shows, middle_of_four(*np.abs(table[11:15])) / CUBE, 0.0)
            # as in `outputs.step_of`
            shorter = np.maximum(np.cbrt(3.0 * sigma * root / np.where(shows, bent, 1.0)), 1e-13)
            wide = shorter * np.cbrt(terms)
            near |= shows & (np.abs(wide - 0.5 * step) <= MARGIN * step)
            step = np.where(shows & (wide < 0.5 * step), shorter * np.sqrt(np.cbrt(terms)), step)
            self.third = bent / (3.0 * terms) * 2.0
        if near.any():
            return
        active = reach > ten
        those = step[active] if active.any() else step.copy()
        those.partition(those.size // 2)
        usual = log2(those[those.size // 2])
        self.step = 2.0 ** round(usual)
        if abs(usual % 1.0 - 0.5) < MARGIN:
            return
        self.rho = sigma / np.maximum(seen, TINY)
        self.enough = np.maximum(3e-9, 0.3 * step * step) * (0.999 / 1.42)
        self.slope = (45.0 * (values[4] - values[2]) - 9.0 * (values[5] - values[1]) + (w6 - w0)) / 60.0
        self.doubt = 4.0 * sigma + 0.1 * np.abs(table[18:20]).max(axis=0)
        noise = 0.72 * sigma / self.step
        certain = (noise <= 0.999e-6 * variation) | (noise <= 0.142 * self.enough * variation)
        self.calm = bool((certain | (variation <= 6e5 * sigma)).all())  # also where an entry has no effect at all


def calmly(run: Explorer, seeds: Seeds, x: Floats) -> tuple[Floats, float] | None:
    """Return the entries and the step, as `columns.by_itself`; None where something wants a second look."""
    f0 = run.value()
    m, count, everything = f0.size, seeds.count, slice(0, seeds.count)
    vector = seeds.line(SPACING * signs(x, seeds.coordinates))
    if not vector.any() or len(seeds.parts(max(1, MOST // max(m, x.size)))) > 1:
        return None
    found = run.explore(x + PLACES * vector)
    values = np.concatenate([found[:3], f0[None], found[3:]])
    if not isfinite(values.sum()):
        return None
    line = Line(values, f0, seeds.terms)
    if not line.calm:
        return None
    if line.still is not None:
        afar = seeds.line(WIDEST * signs(x, seeds.coordinates))
        if (run.explore([x + afar, x - afar]) != f0)[:, line.still].any():
            return None
    t = line.step
    swept = run.explore(seeds.points(everything, np.array([t, -t]))).reshape(count, 2, m)
    if not isfinite(swept.sum()):
        return None
    sizes = np.maximum(line.sigma, line.rho * np.abs(swept).max(axis=1))
    moved = swept - f0
    above, below, sigma = (seeds.picked(part, everything) for part in (moved[:, 0], moved[:, 1], sizes))
    variation, enough = seeds.of_outputs(line.variation, everything), seeds.of_outputs(line.enough, everything)
    ones = np.full(count, t)
    half = 0.5 * seeds.span(everything, ones, -ones)
    # an entry without any effect has passed above, if only its divisor is what it should be
    if (np.abs(half - t) > 1e-3 * t).any():
        return None
    difference, second = above - below, np.abs(above + below)
    first = np.abs(difference)
    alive = (first != 0) | (second != 0)
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
        if (4 * seeds.counts(up) > seeds.counts(first != 0)).any() and up.any():
            return None
    if (again & alive).any():
        return None
    shown = np.minimum(first, second) > 8.0 * sigma
    usual = np.count_nonzero(shown)
    if count > 1 and 2 * usual > shown.size:
        if 2 * np.count_nonzero(shown & (half * first < 2.0 * LEAST_LENGTH * second)) >= usual:
            return None
        if t > 9e-6 and (first * half * half > 15.8 * sigma).any():
            return None
    slopes = difference / (2.0 * half)
    must = 26500.0 * sigma / half
    if line.third is not None:
        must = np.maximum(must, seeds.of_outputs(line.third * (t * t), everything))
    factors = seeds.factors(vector)
    gap = np.abs(seeds.at_outputs(slopes, factors, lambda entries: entries) - line.slope)
    if (gap > line.doubt).any():  # there bars are wider, by as much as the line's slope says something else
        known = np.sqrt(seeds.at_outputs(np.where(alive, 2.8 * sigma / half, 0.0), factors, np.square)) + line.doubt
        must = must * seeds.of_outputs(np.maximum(1.01 * gap / known, 1.0), everything)
    lacks = alive & (np.maximum(np.abs(slopes), 1e-6 * variation) < must)
    if lacks.any():
        largest = seeds.of_outputs(seeds.largest(slopes), everything)
        if (lacks & (must > 0.999 * NEGLIGIBLE * largest)).any():
            return None
    return seeds.in_x(slopes, everything), t


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
