"""A Jacobian where all is calm, in plain floats: what `columns` finds there, to the bit, without bars.

One line, one sweep, and the judgement that no entry wants a second look. Where that is not certain the whole rule
decides, with the values that are known by then: tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cbrt, fmod, inf, log2, sqrt, ulp
from operator import mul
from typing import NamedTuple

import numpy as np

from ..core.validation import Floats
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
    TORN,
)
from .directions import Mask
from .line import median
from .looks import LACKING, LARGER, MARGIN, NEITHER, SMALLER, UNSURE, choose, doubted, truncation, wanted
from .outputs import AROUND, Explorer, quanta_of, signs
from .seeds import units_of_few

MOST, AGAIN = 400, 60  # entries, and those looked at again: more are judged in arrays in that time
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
    if a0 > 0.0 < a1 and a2 > 0.0 < a3 and a4 > 0.0 < a5:
        high, low = w6, w0
    elif a0 < 0.0 > a1 and a2 < 0.0 > a3 and a4 < 0.0 > a5:
        high, low = w0, w6
    elif a0 and a1 and a2 and a3 and a4 and a5:
        high, low = max(w0, w1, w2, f, w4, w5, w6), min(w0, w1, w2, f, w4, w5, w6)
    else:
        return None
    b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
    c0, c1, c2, c3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
    d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
    e0, e1 = d1 - d0, d2 - d1
    up, down, size = high - f, f - low, abs(f)
    top, spread = high if high > -low else -low, up if up > down else down
    if not (top < 1e80 and spread > 1e-80):
        return None
    floor = 0.25 * EPS * top if top > 2.0 * size else 0.5 * EPS * size
    if fmod(w0, 16.0 * ulp(w0)) == 0.0 == fmod(w1, 16.0 * ulp(w1)) or float(f"{w0:.11e}") == w0:
        floor = max(floor, 0.29 * float(quanta_of(np.array([[w0], [w1], [w2], [f], [w4], [w5], [w6]]))[0]))
    fifth, sixth = FIFTH * sqrt(e0 * e0 + e1 * e1), SIXTH * abs(e1 - e0)
    thirds, three = c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3, 3.0 * floor
    last = fifth if fifth > sixth else sixth
    if last <= (1.0 - MARGIN) * three:
        sigma = sqrt(0.5 * (fifth * fifth + sixth * sixth))
        sigma = sigma if sigma > floor else floor
    else:
        third, fourth = THIRD * sqrt(thirds), FOURTH * sqrt(d0 * d0 + d1 * d1 + d2 * d2)
        _, below, above, _ = sorted((third, fourth, fifth, sixth))
        if not last >= (1.0 + MARGIN) * three or not 0.5 * (below + above) <= (1.0 - MARGIN) * QUIET * floor:
            return None
        sigma = sorted((fourth, fifth, sixth))[1]
    rise, bend, ten = abs(w6 - w0), abs((w6 - f) + (w0 - f)), 10.0 * sigma
    seen, root = size if size > spread else spread, sqrt(count)
    if -MARGIN * sigma <= bend - 8.0 * sigma <= MARGIN * sigma or (rise < 1.01 * ten and bend < 20.1 * sigma):
        return None
    reach = rise / (6.0 * SPACING * root)
    if bend > 8.0 * sigma:
        bow = bend / (9.0 * SPACING * SPACING * count)
        reach = bow if bow > reach else reach
    reach = seen if seen < reach else reach
    if abs(reach - ten) <= MARGIN * ten:
        return None
    variation = reach if reach > ten else ten
    ratio = sigma / variation
    ratio = 1e-2 if ratio > 1e-2 else ratio if ratio > 1e-17 else 1e-17
    step, bent = cbrt(ratio), 0.0
    if thirds * (THIRD * THIRD) > 15.9 * (sigma * sigma):  # a third derivative may show
        third, fourth = THIRD * sqrt(thirds), FOURTH * sqrt(d0 * d0 + d1 * d1 + d2 * d2)
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
    e0, e1, enough = abs(e0), abs(e1), 0.3 * step * step
    doubt = 4.0 * sigma + 0.1 * (e0 if e0 > e1 else e1)
    enough = enough if enough > 3e-9 else 3e-9
    return Output(sigma, seen, variation, step, enough, bent * (2.0 / (3.0 * count)), slope, doubt)


def step_of(line: list[Output]) -> float:
    """Return the step of most outputs, as `outputs.step_of`; 0 where rounding may decide on it."""
    those = sorted([out.step for out in line if out.variation > 10.0 * out.sigma] or [out.step for out in line])
    usual = log2(those[len(those) // 2])
    return 2.0 ** round(usual) if abs(usual % 1.0 - 0.5) >= MARGIN else 0.0


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
    here, place = f0.tolist(), x.tolist()
    units = units_of_few(place)
    smallest, longest = min(units), max(units)
    if not NEAR_ZERO <= longest < 1e290:
        return None

    def explored(points: Floats) -> Floats:
        values = run.explore(points)
        noted.append((points, values))
        return values

    vector = [
        _exact(SPACING * sign * unit, v) for sign, unit, v in zip(signs(x, n).tolist(), units, place, strict=True)
    ]
    line = []
    for f, (w0, w1, w2, w4, w5, w6) in zip(here, explored(x + AROUND * np.array(vector)).T.tolist(), strict=True):
        out = seven(w0, w1, w2, f, w4, w5, w6, n)
        if out is None:
            return None
        line.append(out)
    t = step_of(line)
    if t < SHORT:  # 0 is: see `step_of`
        return None
    overs, unders, halves = [], [], []
    for v, unit in zip(place, units, strict=True):
        over, under = v + t * unit, v - t * unit
        overs.append(over)
        unders.append(under)
        halves.append(0.5 * ((over - under) / unit))
    if not max(halves) <= 1.001 * t or not min(halves) >= 0.999 * t:
        return None
    points = np.empty((2 * n, n))
    points[...] = x
    flat = points.reshape(-1)
    flat[:: 2 * n + 1], flat[n :: 2 * n + 1] = overs, unders
    values = explored(points)
    first = _first(values, here, line, halves, t)
    if first is None:
        return None
    ups, downs, slopes, again, common, faint = first
    if len(again) * f0.size > AGAIN:
        return None
    bars: dict[int, list[float]] = {}
    for g in again:

        def at(step: float, g: int = g) -> Look | None:
            both, over, under = np.array([x, x]), place[g] + step * units[g], place[g] - step * units[g]
            both[:, g] = over, under
            above, below = explored(both).tolist()
            return _looked(above, below, here, line, 0.5 * ((over - under) / units[g]))

        above, below = values[2 * g].tolist(), values[2 * g + 1].tolist()
        settled = _again(_looked(above, below, here, line, halves[g], True), at, line, common)
        if settled is None:
            return None
        for i, (out, row, slope, bar) in enumerate(zip(line, slopes, *settled, strict=True)):
            row[g] = slope
            must = max(2.01 * bar, 1.01 * out.third * t * t)
            if max(abs(slope), 1e-6 * out.variation) < must and (slope or above[i] != here[i]):
                faint.append((i, must))
        bars[g] = settled[1]
        if _uncertain(faint, slopes):  # before others are looked at again in vain
            return None
    if _uncertain(faint, slopes):
        return None
    factors = [v / u for v, u in zip(vector, units, strict=True)]
    for i, (out, row) in enumerate(zip(line, slopes, strict=True)):
        gap, widened = abs(sum(map(mul, row, factors)) - out.slope), 1.0
        if not gap <= out.doubt:  # bars say how much they may differ, and are wider by the rest
            looked = {g: each[i] for g, each in bars.items()}
            widened = _widened(gap, out, here[i], ups[i], downs[i], row, halves, factors, looked, t)
            if not widened:
                return None
        if 0.0 in row:  # rounding may hide what is as steep as the steepest: see `columns`
            high, low = max(row), min(row)
            largest = high if high > -low else -low
            hides = 2.9 / t * (longest / smallest) * out.sigma * widened > 0.49 * largest
            if hides and largest >= 0.99e-6 * out.variation:
                return None
    result = np.empty((n, len(here)))
    return np.divide(np.array(slopes).T, np.array(units)[:, None], result), None


def _exact(move: float, x: float) -> float:
    """Do as `seeds.exact`, for one coordinate."""
    grain = 4.0 * ulp(x)
    grains = move / grain
    whole = round(grains) if x and -(2.0**52) < grains < 2.0**52 else 0
    return whole * grain if 8 <= abs(whole) < 2**52 else move


def _uncertain(faint: list[tuple[int, float]], slopes: list[list[float]]) -> bool:
    """Say whether what an entry is to be less than is more than a little beside the largest of its output."""
    return any(must > 0.999 * NEGLIGIBLE * max(*slopes[i], -min(slopes[i])) for i, must in faint)


def _widened(
    gap: float,
    out: Output,
    f: float,
    ups: list[float],
    downs: list[float],
    slopes: list[float],
    halves: list[float],
    factors: list[float],
    bars: dict[int, float],
    t: float,
) -> float:
    """Return how many times an output's bars are wider as the line's slope is another; 0 where a digit may be lost.

    `bars`: of entries that were looked at again.
    """
    known = 0.0
    for g, (slope, half, factor) in enumerate(zip(slopes, halves, factors, strict=True)):
        part = factor * bars.get(g, 2.8 * out.sigma / half if slope else 0.0)
        known += part * part
    known = out.doubt + 0.99 * sqrt(known)
    if gap <= known:
        return 1.0
    widened = 1.01 * gap / known
    if not widened < inf or (t > SPACING / FINER and widened > 0.99 * TORN):
        return 0.0
    grown = out.sigma * max(1.0, max(map(abs, ups + downs)) / out.seen)
    largest = max(map(abs, slopes))
    for g, (slope, half, up, down) in enumerate(zip(slopes, halves, ups, downs, strict=True)):
        must = max(26500.0 / half * grown, 1.01 * t * t * out.third, 2.01 * bars.get(g, 0.0))
        counts = max(abs(slope), 0.999 * NEGLIGIBLE * largest, 0.999e-6 * out.variation)
        if must * widened > counts and not up == f == down:
            return 0.0
    return widened


# f above and below by outputs, derivatives, directions to look at again, the usual length, and outputs of which an
# entry is only certain if it is less than the largest, and than what
First = tuple[list[list[float]], list[list[float]], list[list[float]], list[int], float, list[tuple[int, float]]]


def _first(values: Floats, here: list[float], line: list[Output], halves: list[float], t: float) -> First | None:
    """Judge the first look at all directions; None where it is not sure."""
    ups, downs = values[0::2].T.tolist(), values[1::2].T.tolist()
    slopes: list[list[float]] = []
    lengths: list[float] = []
    wants: set[int] = set()
    larger: dict[int, int] = {}
    faint: list[tuple[int, float]] = []
    twices, steepest = [2.0 * half for half in halves], 0.0
    for i, (f, above, below, out) in enumerate(zip(here, ups, downs, line, strict=True)):
        sigma, seen, variation, _, enough, third, _, _ = out
        # what an entry must show: changes from `least` to `most`; `curves`, larger second differences show
        enough = 0.999 / 1.42 * enough
        least = sigma / enough if enough * 53e3 < 1.0 else 53e3 * sigma
        if third:
            least = max(least, 2.0 * third * t * t * t)
        least *= 1.01
        most, curved, curves = FAR * seen, 63.0 * sigma, 8.0 * sigma
        row: list[float] = []
        add = row.append
        for up, down, twice in zip(above, below, twices, strict=True):
            if up == f == down:
                add(0.0)
                continue
            over, under = up - f, down - f
            change = over - under
            add(change / twice)
            second = over + under
            first, second = change if change > 0.0 else -change, second if second > 0.0 else -second
            if second > curves < first:
                lengths.append(twice * first / second)
            if least <= first <= most and second <= 0.0299 * first and second * second <= curved * first:
                continue  # nearly always
            g = len(row) - 1
            doubts = _doubts(first, second, halves[g], max(abs(up), abs(down)), out)
            if doubts is None:
                wants.add(g)
                continue
            if doubts[0]:
                larger[g] = larger.get(g, 0) + 1
            if doubts[1]:
                faint.append((i, doubts[1]))
        slopes.append(row)
        high, low = max(row), min(row)
        steep = (high if high > -low else -low) / sigma
        steepest = steep if steep > steepest else steepest
        if 0.0 in row and 0.72 * sigma / t > max(0.999e-5, 0.142 * enough) * variation and variation > 6e4 * sigma:
            wants.update(g for g, (up, down) in enumerate(zip(above, below, strict=True)) if up == f == down)
    for g, count in larger.items():
        if 4 * count > sum(row[g] != 0.0 for row in slopes):
            wants.add(g)
    common = inf
    if len(halves) > 1 and 2 * len(lengths) > len(halves) * len(line):
        bow = 2.01 * steepest * t * t * t / 249.0
        if wants or (0.25 * min(lengths)) ** 2 < bow:
            common = 0.25 * median(lengths)
            for g, twice in enumerate(twices if common * common < bow else ()):
                steep = twice * max(abs(row[g]) / out.sigma for row, out in zip(slopes, line, strict=True))
                if steep * t * t > 249.0 * common * common and g not in wants:
                    return None  # a step that is long for what is usual
    return ups, downs, slopes, sorted(wants), common, faint


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
