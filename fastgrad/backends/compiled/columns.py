"""The default rule for columns, compiled, for an f that only Python can call: it judges values, and asks for more.

The values, and the points in their order, are those of `schemes.columns`, to the bit. Where it is not certain what that
does, it decides: tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

import math

import numpy as np

from ...lifting.native import part
from ...schemes import outputs as rule
from ...schemes.constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    EPS,
    FINER,
    NEAR_ZERO,
    NEGLIGIBLE,
    NOISE,
    SPACING,
    TORN,
)
from . import entries, outputs
from .cache import uncounted
from .default import truncation
from .jacobians import TILE, views
from .native import array_at, integers

# Else: at so many points f's values are wanted.
DONE, UNSURE, DOUBTFUL = 0, -1, -2
BEGINNING, ON_LINE, AFAR, SWEEP, AGAIN = range(5)
# To go on with: where it stands, lines so far and the spacing of the last, the step of the sweep, the usual length and
# how many entries show theirs; before which direction all have been looked at, and how many are being looked at.
STAGE, LINES, APART, STEP, COMMON, SHOWN, TAKEN, TOTAL = range(8)
STATE = 8
# Of each that is being looked at, so many entries at a time: which, how often it has been, the step of the next look or
# 0, and whether the steps shrink.
DIRECTION, SEEN, OTHER, SHRINKS = range(4)
TOGETHER = 1024


@uncounted
def placed(x, units, vector, spacing, reach, points):
    """Write points of a line, on both sides of x, that go so many times its spacing; returns how many."""
    outputs.line(x, units, vector, spacing)
    for row in range(2 * reach):
        k = row - reach if row < reach else row - reach + 1
        for i in range(x.size):
            points[row, i] = x[i] + k * vector[i]
    return 2 * reach


@uncounted
def noted(o, values, f0, table):
    """Take f's values on a line into seven rows of the outputs' table; returns whether all is finite."""
    finite = True
    for i in range(f0.size):
        total = f0[i]
        for row in range(6):
            o[table + (row if row < 3 else row + 1), i] = values[row, i]
            total += values[row, i]
        o[table + 3, i] = f0[i]
        finite &= abs(total) < 1e300
    return finite


@uncounted
def beside(x, units, g, t, points):
    """Write the points on both sides of x along a column; returns how many."""
    for side in range(2):
        for i in range(x.size):
            points[side, i] = x[i]
        points[side, g] = x[g] + (-t if side else t) * units[g]
    return 2


@uncounted
def swept(x, units, t, points):
    """Write the points of all columns; returns how many."""
    for g in range(x.size):
        beside(x, units, g, t, points[2 * g : 2 * g + 2])
    return 2 * x.size


@uncounted
def following(o, a, k, m, common, shrinks):
    """Return the step of the look after the k-th, as `schemes.rounds`; 0 where that is the last, -1: not sure."""
    if not shrinks:
        return entries.next_step(o, a, k, m, common) if k + 1 < entries.LOOKS else 0.0
    wanting = entries.shrunk(a, k, m) if k > 0 else 1
    if wanting <= 0 or k + 1 == entries.LOOKS:
        return min(float(wanting), 0.0)
    return a[4 * k + entries.WIDTH_OF, 0] * FINER


@uncounted
def bar_of(o, i, here, up, down, half, length):
    """Return the bar of a first look at an entry, as `judgements` and `Rounds.chosen`; -1: not sure."""
    above, below = up - here, down - here
    sigma = max(o[outputs.SIGMA, i], o[outputs.RHO, i] * max(abs(here + above), abs(here + below)))
    first, second = abs(above - below), abs(above + below)
    if o[outputs.EXACT, i] == 0.0 and outputs.near(second, 4.0 * sigma):
        return -1.0
    _, fear = truncation(half, first, second, sigma, o[outputs.VARIATION, i])
    expected = first / (2.0 * half) * (half / length) ** 2 / 6.0
    return BAR_NOISE * (NOISE * sigma / half) + BAR_TRUNCATION * max(fear, expected)


@uncounted
def doubts(o, f0, x, units, vector, t, length, kept, bars, out):
    """Count the entries of which no digit is certain, as `schemes.columns.Search.found`; -1: not sure.

    `bars` are those of directions that were looked at again, else 0; it has 1 for each of these entries then.
    """
    n, m = out.shape
    total = 0
    for i in range(m):
        agreed = known = largest = steepest = 0.0
        for g in range(n):
            half = entries.half_span(x, units, g, t)
            if bars[g, i] == 0.0:
                bars[g, i] = bar_of(o, i, f0[i], kept[2 * g, i], kept[2 * g + 1, i], half, length)
                if bars[g, i] < 0.0:
                    return -1
            slope, factor = out[g, i] * units[g], vector[g] / units[g]
            agreed, known = agreed + slope * factor, known + (bars[g, i] * factor) ** 2
            largest, steepest = max(largest, abs(slope)), max(steepest, abs(out[g, i]))
        gap, limit = abs(agreed - o[outputs.SLOPE, i]), math.sqrt(known) + o[outputs.DOUBT, i]
        size = o[outputs.VARIATION, i]
        if abs(gap - limit) <= 1e-3 * limit or (gap > 0.999 * TORN * limit and t > SPACING / FINER):
            return -1
        tells = largest >= 1e-6 * size
        if outputs.near(largest, 1e-6 * size):
            return -1
        for g in range(n):
            slope, bar = abs(out[g, i]) * units[g], bars[g, i] * max(1.0, gap / limit)
            bar = max(bar, min(0.5 * o[outputs.LEAST, i], 1000.0 * bar), EPS * size)
            counts, hides = CERTAIN * max(slope, NEGLIGIBLE * largest, 1e-6 * size), CERTAIN * steepest
            still = kept[2 * g, i] == f0[i] and kept[2 * g + 1, i] == f0[i]
            hidden = tells and slope == 0.0
            if outputs.near(bar, counts) or (hidden and outputs.near(bar / units[g], hides)):
                return -1
            doubtful = (bar > counts and not still) or (hidden and bar / units[g] > hides)
            bars[g, i] = 1.0 if doubtful else 0.0
            total += doubtful
    return total


@uncounted
def judge(address, n, m):
    """Go on with a Jacobian, by f's values at the points that were asked for.

    `address` is that of x, f(x), the entries column by column, as many marks of entries of which no digit is certain,
    room for points and f's values there, and of what is worked in: zeros at first. Returns how many points f is wanted
    at next, `DONE`, `DOUBTFUL` where there are such marks, or `UNSURE`; of how many numbers all that is, where the
    address is 0.
    """
    most = max(np.int64(6), 2 * n)
    begin = n + m + 2 * n * m + most * (n + m)
    together = min(n, max(np.int64(1), TOGETHER // m)) if m > 0 else np.int64(1)
    rows = outputs.OF_OUTPUTS + together * entries.OF_ENTRIES
    size = 3 * n + rows * m + outputs.BINS + 6 * n + 3 * n * m + m + STATE
    if address == 0:
        return begin + size if 0 < n * max(n, m) <= TILE else np.int64(UNSURE)
    memory = array_at(address, begin + size)
    x, f0, out = part(memory, 0, (n,)), part(memory, n, (m,)), part(memory, n + m, (n, m))
    bars, points = part(memory, n + m + n * m, (n, m)), part(memory, n + m + 2 * n * m, (most, n))
    values, work = part(memory, begin - most * m, (most, m)), part(memory, begin, (size,))
    _, _, _, units, vector, o = views(work, x, f0)
    tables = part(work, 3 * n + outputs.OF_OUTPUTS * m, (together * entries.OF_ENTRIES * m,))
    end = 3 * n + outputs.OF_OUTPUTS * m + tables.size
    scratch, each, group = (
        part(work, end, (outputs.BINS,)),
        part(work, end + outputs.BINS, (2, n)),
        part(work, end + outputs.BINS + 2 * n, (4, n)),
    )
    end += outputs.BINS + 6 * n
    kept, lengths, blocks, state = (
        part(work, end, (2 * n, m)),
        part(work, end + 2 * n * m, (n * m,)),
        integers(part(work, end + 3 * n * m, (m,))),
        part(work, end + 3 * n * m + m, (STATE,)),
    )
    stage = int(state[STAGE])
    if stage == BEGINNING:
        if not outputs.scales(x, units):
            return UNSURE
        state[STAGE], state[APART] = ON_LINE, SPACING
        return placed(x, units, vector, SPACING, np.int64(3), points)
    if stage == ON_LINE:
        shrinks, small = n < 0, n > 0
        for i in range(n):
            small &= units[i] < NEAR_ZERO
            shrinks |= (x[i] != 0.0) & (units[i] > 16.0 * abs(x[i]))
        table = np.int64(outputs.LINE if state[LINES] == 0.0 else outputs.LATEST)
        if not noted(o, values, f0, table):
            return UNSURE
        unclear = outputs.noises(o, table, shrinks, True)
        state[LINES] += 1.0
        if unclear < 0 or (unclear > 0 and state[LINES] == rule.LOOKS):
            return UNSURE
        if unclear > 0:
            state[APART] *= FINER
            return placed(x, units, vector, state[APART], np.int64(3), points)
        flat = 0
        for i in range(m):
            o[outputs.AGREED, i] = n
            flat += outputs.is_flat(o, i)
        if flat == m or not outputs.measured(o, table, o[outputs.AGREED], small):
            return UNSURE
        if flat > 0:
            state[STAGE] = AFAR
            placed(x, units, vector, rule.WIDEST, np.int64(1), points)
            for i in range(n):  # above comes first
                points[0, i], points[1, i] = points[1, i], points[0, i]
            outputs.line(x, units, vector, state[APART])
            return 2
    if stage == AFAR:
        finite = True
        for i in range(m):
            finite &= abs(values[0, i] + values[1, i]) < np.inf
        if not finite or not outputs.afar(o, values[0], values[1], o[outputs.AGREED]):
            return UNSURE
    if stage <= AFAR:
        if not outputs.bent_steps(o, o[outputs.AGREED]):
            return UNSURE
        state[STAGE], state[STEP] = SWEEP, outputs.step_of(o, scratch)
        if state[STEP] == 0.0:
            return UNSURE
        outputs.alone(o)
        outputs.prepared(o, state[STEP])
        return swept(x, units, state[STEP], points)
    t, asked = state[STEP], 0
    if stage == SWEEP:
        every = n < 0  # literals would be compiled for, too
        for i in range(m):
            every |= o[outputs.BIN, i] == 0.0
        shown, far, opened, common = np.int64(0), 0, 0, np.inf
        a = part(tables, 0, (entries.OF_ENTRIES, m))
        for g in range(n):
            for i in range(m):
                o[outputs.UP, i], o[outputs.UP + 1, i] = values[2 * g, i], values[2 * g + 1, i]
                kept[2 * g, i], kept[2 * g + 1, i] = values[2 * g, i], values[2 * g + 1, i]
            some_blocks = part(blocks, 0, (entries.blocks_of(o, outputs.UP, f0, None, g, every, blocks),))
            listed, wants, each[entries.STEEP, g], some, long = entries.judged(
                o, a, f0, x, units, None, g, t, some_blocks, part(lengths, shown, (m,))
            )
            if listed < 0:
                return UNSURE
            if not wants:
                entries.entered(o, a, listed, f0, units, vector, None, g, part(out, 0, (n * m,)))
            each[entries.FLAGGED, g] = wants
            opened, shown, far = opened + wants, shown + some, far + long
        if n > 1 and 2 * shown > n * m:
            # most entries show their lengths: none is taken to be much shorter
            common = entries.middle(lengths, shown) if opened > 0 or 2 * far <= shown else 24300.0 * t  # at least
        state[STAGE], state[COMMON], state[SHOWN] = AGAIN, common, shown
    common, taken, total = state[COMMON], int(state[TAKEN]), int(state[TOTAL])
    while taken < n or total > 0:
        if total == 0:
            while taken < n and total < together:
                steep = each[entries.STEEP, taken]
                short = steep * t * t > 250.0 * common * common and t * t > 1.7e-9 * common * common
                if each[entries.FLAGGED, taken] != 0.0 or short:
                    group[DIRECTION, total], group[SEEN, total], group[OTHER, total] = taken, 0.0, t
                    total += 1
                taken += 1
        count = 0
        for k in range(total):
            g, looks, step = int(group[DIRECTION, k]), np.int64(group[SEEN, k]), group[OTHER, k]
            if step == 0.0:
                continue
            a = part(tables, k * entries.OF_ENTRIES * m, (entries.OF_ENTRIES, m))
            index = integers(a)
            for i in range(m):
                if looks == 0:
                    o[outputs.LINE, i], o[outputs.LINE + 1, i] = kept[2 * g, i], kept[2 * g + 1, i]
                    index[entries.OUTPUT, i], index[entries.COLUMN, i], index[entries.PLACE, i] = i, g, g * m + i
                else:
                    o[outputs.LINE, i], o[outputs.LINE + 1, i] = values[asked, i], values[asked + 1, i]
            asked += 2 if looks > 0 else 0
            kinks = entries.looked(o, a, looks, m, x, units, f0, step)
            if looks == 0:
                group[SHRINKS, k] = kinks
            step = following(o, a, looks, m, common, group[SHRINKS, k] > 0.0)
            if kinks < 0 or step < 0.0 or 0.0 < step < 2.0**-60:
                return UNSURE
            group[SEEN, k], group[OTHER, k] = looks + 1, step
            if step > 0.0:
                count += beside(x, units, g, step, part(points, count * n, (2, n)))
        if count > 0:
            state[TAKEN], state[TOTAL] = taken, total
            return count
        for k in range(total):
            g, looks = int(group[DIRECTION, k]), np.int64(group[SEEN, k])
            a = part(tables, k * entries.OF_ENTRIES * m, (entries.OF_ENTRIES, m))
            if group[SHRINKS, k] > 0.0 and not entries.differentiable(o, a, looks - 1, m):
                return UNSURE
            if each[entries.FLAGGED, g] == 0.0:  # what the first look said has been entered
                factor = vector[g] / units[g]
                for i in range(m):
                    if a[entries.STILL, i] == 0.0:
                        error = 2.8 / 0.71 * a[entries.NOISE_OF, i] * factor
                        o[outputs.AGREED, i] -= a[entries.DERIVATIVE, i] * factor
                        o[outputs.KNOWN, i] = max(o[outputs.KNOWN, i] - 1.001 * error * error, 0.0)
            if not entries.settled(o, a, looks, m, units, vector, common, part(scratch, 0, (entries.LOOKS, 4))):
                return UNSURE
            for i in range(m):
                out[g, i], bars[g, i] = a[entries.VALUE, i] / units[g], a[entries.BAR, i]
        total = 0
    finite = True
    for g in range(n):
        for i in range(m):
            finite &= abs(out[g, i]) < np.inf
    if not finite:
        return UNSURE
    if outputs.agrees(o, units, state[STEP]):
        return DONE
    shown = np.int64(state[SHOWN])
    if n > 1 and 2 * shown > n * m:
        common = entries.middle(lengths, shown)
    doubtful = doubts(o, f0, x, units, vector, state[STEP], min(common, 1.0), kept, bars, out)
    return UNSURE if doubtful < 0 else DOUBTFUL if doubtful > 0 else DONE
