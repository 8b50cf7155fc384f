"""A Jacobian where all is calm, in plain floats: what `columns` finds there, to the bit, without bars.

One line, one sweep, and the judgement that no entry wants a second look. Where that is not certain the whole rule
decides, with the values that are known by then: tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cbrt, fmod, inf, log2, sqrt, ulp
from typing import NamedTuple

import numpy as np

from ..core.validation import Floats, everything
from .constants import (
    EPS,
    FIFTH,
    FINER,
    FOURTH,
    NEAR_ZERO,
    NEGLIGIBLE,
    QUIET,
    SHORT,
    SIXTH,
    SPACING,
    THIRD,
    TINY,
    TORN,
)
from .directions import Mask
from .line import median
from .looks import LACKING, LARGER, MARGIN, NEITHER, SMALLER, UNSURE, choose, doubted, truncation, wanted
from .outputs import AROUND, Explorer, quanta_of, signs
from .seeds import Columns, units_of

MOST, AGAIN = 250, 60  # entries, and those looked at again: more are judged in arrays in that time
FAR = 1e-3  # changes as small, beside f, leave its noise as it is


# entries of a Jacobian, column by column, and of which of these no digit is certain, if there are some
Settled = tuple[Floats, Mask | None]


class Output(NamedTuple):
    """What the line says of one output."""

    # its noise, the largest of it and its changes, and how much it changes on x's scale
    sigma: float
    seen: float
    variation: float
    step: float  # that suits it, in units of x
    enough: float  # relative noise that needs no improvement
    third: float  # twice what a third derivative adds to bars, for a step of 1
    # the derivative along the line, and how wrong that may be
    slope: float
    doubt: float


def seven(w0: float, w1: float, w2: float, f: float, w4: float, w5: float, w6: float, count: int) -> Output | None:
    """Judge an output by seven values on a line through so many coordinates; None where it is not sure."""
    a0, a1, a2, a3, a4, a5 = w1 - w0, w2 - w1, f - w2, w4 - f, w5 - w4, w6 - w5
    b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
    c0, c1, c2, c3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
    d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
    e0, e1 = d1 - d0, d2 - d1
    high, low = max(w0, w1, w2, f, w4, w5, w6), min(w0, w1, w2, f, w4, w5, w6)
    top, spread, size = max(high, -low), max(high - f, f - low), abs(f)
    if not (top < 1e80 and spread > 1e-80 and a0 and a1 and a2 and a3 and a4 and a5):
        return None
    floor = max(0.25 * EPS * top, 0.5 * EPS * size, TINY)
    if fmod(w0, 16.0 * ulp(w0)) == 0.0 == fmod(w1, 16.0 * ulp(w1)) or float(f"{w0:.11e}") == w0:
        floor = max(floor, 0.29 * float(quanta_of(np.array([[w0], [w1], [w2], [f], [w4], [w5], [w6]]))[0]))
    third, fourth = THIRD * sqrt(c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3), FOURTH * sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    fifth, sixth = FIFTH * sqrt(e0 * e0 + e1 * e1), SIXTH * abs(e1 - e0)
    last, three = max(fifth, sixth), 3.0 * floor
    if last <= (1.0 - MARGIN) * three:
        sigma = max(floor, sqrt(0.5 * (fifth * fifth + sixth * sixth)))
    else:
        _, below, above, _ = sorted((third, fourth, fifth, sixth))
        if not last >= (1.0 + MARGIN) * three or not 0.5 * (below + above) <= (1.0 - MARGIN) * QUIET * floor:
            return None
        sigma = sorted((fourth, fifth, sixth))[1]
    rise, bend, seen, root = abs(w6 - w0), abs((w6 - f) + (w0 - f)), max(size, spread), sqrt(count)
    if abs(bend - 8.0 * sigma) <= MARGIN * sigma:
        return None
    reach = rise / (6.0 * SPACING * root)
    if bend > 8.0 * sigma:
        reach = max(reach, bend / (9.0 * SPACING * SPACING * count))
    reach, ten = min(reach, seen), 10.0 * sigma
    if abs(reach - ten) <= MARGIN * ten or (rise < 1.01 * ten and bend < 20.1 * sigma):
        return None
    variation = max(reach, ten)
    ratio = min(max(sigma / variation, 1e-17), 1e-2)
    step, bent = cbrt(ratio), 0.0
    if third > 4.0 * (1.0 - MARGIN) * max(sigma, fourth):
        sizes = sorted((abs(c0), abs(c1), abs(c2), abs(c3)))
        bent = 0.5 * (sizes[1] + sizes[2]) / SPACING**3
        if bent * ratio > 23.9 * root * count * sigma:  # as in `outputs.step_of`
            shorter = max(cbrt(3.0 * root * sigma / bent), 1e-13)
            wide = cbrt(count) * shorter
            if abs(wide - 0.5 * step) <= MARGIN * step:
                return None
            step = sqrt(cbrt(count)) * shorter if wide < 0.5 * step else step
    slope = (45.0 * (w4 - w2) - 9.0 * (w5 - w1) + (w6 - w0)) / 60.0
    doubt = 4.0 * sigma + 0.1 * max(abs(e0), abs(e1))
    enough = max(3e-9, 0.3 * step * step)
    return Output(sigma, seen, variation, step, enough, bent * (2.0 / (3.0 * count)), slope, doubt)


def step_of(line: list[Output]) -> float:
    """Return the step of most outputs, as `outputs.step_of`; 0 where rounding may decide on it."""
    those = sorted([out.step for out in line if out.variation > 10.0 * out.sigma] or [out.step for out in line])
    usual = log2(those[len(those) // 2])
    return 2.0 ** round(usual) if abs(usual % 1.0 - 0.5) >= MARGIN else 0.0


class Bounds(NamedTuple):
    """What an entry of one output must show at the first look, for a step t: changes from `least` to `most`."""

    f: float
    least: float
    most: float
    curved: float  # second differences squared are to be less than so many times the change
    curves: float  # larger second differences show
    noise: float
    still: bool  # whether no effect at all is certain

    @classmethod
    def of(cls, f: float, out: Output, t: float) -> Bounds:
        sigma, variation = out.sigma, out.variation
        enough = out.enough / 1.42
        least = 1.01 * max(sigma / enough, 53e3 * sigma, 2.0 * out.third * t**3)
        noise = 0.72 * sigma / t
        still = noise <= max(0.999e-5, 0.999 * 0.142 * enough) * variation or variation <= 6e4 * sigma
        return cls(f, least, FAR * out.seen, 63.0 * sigma, 8.0 * sigma, sigma, still)


class Seen(NamedTuple):
    """What one look at a direction says of one entry, as `judgements.Looks`."""

    derivative: float
    noise: float
    hope: float
    fear: float
    first: float
    second: float


Look = tuple[float, list[Seen | None]]  # with the step; None for entries without any effect


def entries(run: Explorer, x: Floats, noted: list[tuple[Floats, Floats]]) -> Settled | None:
    """Return the Jacobian, column by column, where each entry has a digit that is certain; None where it is not sure.

    Notes points, and f's values there.
    """
    f0, n = run.value(), x.size
    if n * f0.size > MOST:
        return None
    units = units_of(x)
    if not NEAR_ZERO <= float(np.maximum.reduce(units)) < 1e290:
        return None

    def explored(points: Floats) -> Floats:
        values = run.explore(points)
        noted.append((points, values))
        return values

    seeds, here = Columns(x, everything(n), units), f0.tolist()
    vector = seeds.line(SPACING * signs(x, n))
    line = []
    for f, (w0, w1, w2, w4, w5, w6) in zip(here, explored(x + AROUND * vector).T.tolist(), strict=True):
        out = seven(w0, w1, w2, f, w4, w5, w6, n)
        if out is None:
            return None
        line.append(out)
    t = step_of(line)
    if t < SHORT:  # 0 is: see `step_of`
        return None
    rows = explored(seeds.points(np.array([[t, -t]]))).tolist()
    half = 0.5 * (((x + t * units) - (x - t * units)) / units)
    halves = half.tolist()
    if not max(halves) <= 1.001 * t or not min(halves) >= 0.999 * t:
        return None
    first = _first(rows, here, line, halves, t)
    if first is None:
        return None
    slopes, again, common, faint = first
    if len(again) * f0.size > AGAIN:
        return None
    bars: dict[int, list[float]] = {}
    for g in again:

        def at(step: float, g: int = g) -> Look | None:
            unit, place = float(units[g]), float(x[g])
            ends = explored(np.array([seeds.point(g, step), seeds.point(g, -step)])).tolist()
            return _looked(ends[0], ends[1], here, line, 0.5 * (((place + step * unit) - (place - step * unit)) / unit))

        settled = _again(_looked(rows[2 * g], rows[2 * g + 1], here, line, halves[g], True), at, line, common)
        if settled is None:
            return None
        slopes[g], bars[g] = settled
        for i, (out, slope, bar) in enumerate(zip(line, *settled, strict=True)):
            must = max(2.01 * bar, 1.01 * out.third * t * t)
            if max(abs(slope), 1e-6 * out.variation) < must and (slope or rows[2 * g][i] != here[i]):
                faint.append((i, must))
        if _uncertain(faint, slopes):  # before others are looked at again in vain
            return None
    if _uncertain(faint, slopes):
        return None
    found, factors = np.array(slopes), vector / units
    gap, doubt = np.abs(factors @ found - [out.slope for out in line]), np.array([out.doubt for out in line])
    noise, size = (np.array([out[k] for out in line]) for k in (0, 2))
    sizes = np.abs(found)
    largest, widened = sizes.max(axis=0), np.ones(f0.size)
    if not (gap <= doubt).all():  # bars say how much they may differ, and are wider by the rest
        error = 2.8 / half[:, None] * (found != 0.0) * noise
        values = np.array(rows)
        grown = noise * np.maximum(1.0, np.abs(values).max(axis=0) / [out.seen for out in line])
        must = np.maximum(26500.0 / half[:, None] * grown, 1.01 * t * t * np.array([out.third for out in line]))
        for g, mine in bars.items():
            error[g], must[g] = mine, np.maximum(must[g], 2.01 * np.array(mine))
        known = doubt + 0.99 * np.sqrt(np.square(factors) @ np.square(error))
        widened = np.where(gap > known, 1.01 * gap / known, 1.0)
        if t > SPACING / FINER and (widened > 0.99 * TORN).any():
            return None
        moves = (values.reshape(n, 2, -1) != f0).any(axis=1)
        counts = np.maximum(sizes, np.maximum(0.999 * NEGLIGIBLE * largest, 0.999e-6 * size))
        if (moves & (widened > 1.0) & (must * widened > counts)).any():
            return None
    if any(0.0 in row for row in slopes):  # rounding may hide what is as steep as the steepest: see `columns`
        hides = 2.9 / t * (units.max() / units.min()) * noise * widened > 0.49 * largest
        if (hides & (largest >= 0.99e-6 * size)).any():
            return None
    found /= units[:, None]
    return found, None


def _uncertain(faint: list[tuple[int, float]], slopes: list[list[float]]) -> bool:
    """Say whether what an entry is to be less than is more than a little beside the largest of its output."""
    return any(must > 0.999 * NEGLIGIBLE * max(abs(row[i]) for row in slopes) for i, must in faint)


def _first(
    rows: list[list[float]], here: list[float], line: list[Output], halves: list[float], t: float
) -> tuple[list[list[float]], list[int], float, list[tuple[int, float]]] | None:
    """Judge the first look at all directions.

    Returns derivatives, the directions to look at again, the usual length, and outputs of which an entry is only
    certain if it is less than the largest, and than what; None where it is not sure.
    """
    bounds = [Bounds.of(f, out, t) for f, out in zip(here, line, strict=True)]
    slopes: list[list[float]] = []
    lengths: list[float] = []
    steep: list[float] = []
    again: list[int] = []
    faint: list[tuple[int, float]] = []
    for g, half in enumerate(halves):
        row: list[float] = []
        steepest, larger, twice, wants = 0.0, 0, 2.0 * half, False
        for up, down, (f, least, most, curved, curves, noise, still) in zip(
            rows[2 * g], rows[2 * g + 1], bounds, strict=True
        ):
            above, below = up - f, down - f
            change = above - below
            first, second = abs(change), abs(above + below)
            row.append(change / twice)
            if second > curves < first:
                lengths.append(half * first / second)
            if first > steepest * noise:
                steepest = first / noise
            if least <= first <= most and second <= 0.0299 * first and second * second <= curved * first:
                continue  # nearly always
            if first == 0.0 == second:
                wants |= not still
                continue
            i = len(row) - 1
            doubts = _doubts(first, second, half, max(abs(up), abs(down)), line[i])
            if doubts is None:
                wants = True
                continue
            larger += doubts[0]
            if doubts[1]:
                faint.append((i, doubts[1]))
        if not steepest < inf:
            return None
        if wants or (larger and 4 * larger > sum(slope != 0.0 for slope in row)):
            again.append(g)
        slopes.append(row)
        steep.append(steepest)
    common = inf
    if len(halves) > 1 and 2 * len(lengths) > len(halves) * len(line):
        common = 0.5 * median(lengths)
    for g, steepest in enumerate(steep):
        if steepest * t * t > 249.0 * common * common and g not in again:
            return None  # a step that is long for what is usual
    return slopes, again, common, faint


def _doubts(first: float, second: float, half: float, top: float, out: Output) -> tuple[bool, float] | None:
    """Say whether a larger step would be better for an entry, and what it is to be less than if it is too uncertain.

    None where it may want another look.
    """
    variation, sigma = out.variation, max(out.sigma, out.sigma / out.seen * top)
    doubt = doubted(first, second, sigma, half, variation, out.enough * (0.999 / 1.42))
    if doubt == UNSURE:
        return None
    must = max(26500.0 * sigma / half, 1.01 * out.third * half * half)
    return doubt == LARGER, must if max(first / (2.0 * half), 1e-6 * variation) < must else 0.0


def _looked(
    ups: list[float], downs: list[float], here: list[float], line: list[Output], half: float, begins: bool = False
) -> Look | None:
    """Judge a look at a direction, as `judgements`; None where it is not sure."""
    seen: list[Seen | None] = []
    for up, down, f, out in zip(ups, downs, here, line, strict=True):
        if up == f == down and 0.72 * out.sigma <= 0.999e-5 * out.variation * half:
            seen.append(None)
            continue
        above, below = up - f, down - f
        sigma = max(out.sigma, out.sigma / out.seen * max(abs(up), abs(down)))
        first, second = abs(above - below), abs(above + below)
        if not (first < inf and second < inf and half > 0.0) or abs(second - 4.0 * sigma) <= MARGIN * second:
            return None
        hope, fear = truncation(half, first, second, sigma, out.variation)
        rough = second > 7.99 * sigma and second > 0.0299 * first
        if begins and rough and second > 0.999 * half * max(1e-3, 30.0 * half) * out.variation:
            return None
        seen.append(Seen((above - below) / (2.0 * half), 0.71 * sigma / half, hope, fear, first, second))
    return half, seen


def _again(
    begun: Look | None, at: Callable[[float], Look | None], line: list[Output], common: float
) -> tuple[list[float], list[float]] | None:
    """Look at a direction until no better step is found, as `rounds.Rounds`; returns derivatives and bars."""
    if begun is None:
        return None
    looks, still_open = [begun], [True] * len(line)
    while len(looks) < 4:
        half, seen = looks[-1]
        smaller: list[float] = []
        larger: list[float] = []
        lacking, wants = False, []
        for out, one, is_open in zip(line, seen, still_open, strict=True):
            want = NEITHER
            if one is not None and is_open:
                hope = max(one.hope, abs(one.derivative) * (half / common) * (half / common) / 6.0)
                still = one.first == 0.0 == one.second
                want, cube = wanted(one.derivative, one.noise, hope, one.fear, still, out.variation, out.enough)
                if want == UNSURE:
                    return None
                if want != NEITHER:
                    (smaller if want == SMALLER else larger).append(half * cbrt(cube))
                lacking |= want == LACKING
            wants.append(want)
        moved = sum(one is not None and one.first != 0.0 for one in seen)
        if not smaller and not lacking and 4 * len(larger) <= moved:
            break
        if not smaller:  # what was too large for some is no reason to look at the others again
            still_open = [want < 0 for want in wants]
        exponent = log2(min(max(median(smaller or larger), half * 1e-6), half * 1e4, 0.5))
        step = 2.0 ** round(exponent)
        if abs(exponent % 1.0 - 0.5) < MARGIN:
            return None
        above = [other for other, _ in looks if other > half]
        if above and not smaller:
            exponent = log2(sqrt(half * min(above)))
            if abs(exponent % 1.0 - 0.5) < 1e-6:
                return None  # between two powers of two is often a tie
            step = min(step, 2.0 ** round(exponent))
        if any(0.3 < step / other < 3.3 for other, _ in looks):
            break
        if step < SHORT:
            return None
        found = at(step)
        if found is None:
            return None
        looks.append(found)
    slopes, bars = [], []
    for each in zip(*[seen for _, seen in looks], strict=True):
        seen_there = [(half, one) for (half, _), one in zip(looks, each, strict=True) if one is not None]
        rows = [[half, one.derivative, one.noise, one.fear] for half, one in seen_there]
        slope, bar, _, sure = choose(rows, len(rows), min(common, 1.0)) if rows else (0.0, 0.0, 0.0, True)
        if not sure or 0 < len(rows) < len(looks):
            return None
        slopes.append(slope)
        bars.append(bar)
    return slopes, bars
