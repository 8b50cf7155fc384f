"""The default rule for columns, compiled, for an f that only Python can call: it judges values, and asks for more.

The values, and the points in their order, are those of `schemes.columns`, to the bit. Where it is not certain what that
does, it decides: tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

import numpy as np

from ...schemes import outputs
from ...schemes.constants import FINER, NEAR_ZERO, SPACING
from .cache import uncounted
from .entries import (
    COLUMN,
    DERIVATIVE,
    FLAGGED,
    LOOKS,
    NOISE_OF,
    OF_ENTRIES,
    OUTPUT,
    PLACE,
    STEEP,
    STILL,
    VALUE,
    blocks_of,
    entered,
    judged,
    looked,
    middle,
    next_step,
    settled,
)
from .jacobians import TILE, views
from .native import array_at, integers, part
from .outputs import (
    AGREED,
    BIN,
    BINS,
    KNOWN,
    LATEST,
    LINE,
    OF_OUTPUTS,
    UP,
    agrees,
    bent_steps,
    constants,
    is_constant,
    line,
    measured,
    noises,
    prepared,
    scales,
    step_of,
)

DONE, UNSURE = 0, -1  # else: at so many points f's values are wanted
BEGINNING, ON_LINE, AFAR, SWEEP, AGAIN = range(5)
# To go on with: where it stands, lines so far and the spacing of the last, the step of the sweep, the usual length; the
# direction that is looked at again, how often it has been, and the step that it is looked at with.
STAGE, LINES, APART, STEP, COMMON, DIRECTION, SEEN, OTHER = range(8)
STATE = 8
WIDEST = outputs.WIDEST


@uncounted
def placed(x, units, vector, spacing, reach, points):
    """Write points of a line, on both sides of x, that go so many times its spacing; returns how many."""
    line(x, units, vector, spacing)
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
def swept(x, units, t, points):
    """Write the points of all columns; returns how many."""
    for g in range(x.size):
        for side in range(2):
            for i in range(x.size):
                points[2 * g + side, i] = x[i]
            points[2 * g + side, g] = x[g] + (-t if side else t) * units[g]
    return 2 * x.size


@uncounted
def judge(address, n, m):
    """Go on with a Jacobian, by f's values at the points that were asked for.

    `address` is that of x, f(x), the entries column by column, room for points and f's values there, and of what is
    worked in: zeros at first. Returns how many points f is wanted at next, `DONE` or `UNSURE`; of how many numbers all
    that is, where the address is 0.
    """
    most = max(np.int64(6), 2 * n)
    begin = n + m + n * m + most * (n + m)
    size = 3 * n + (OF_OUTPUTS + OF_ENTRIES) * m + BINS + 2 * n + 3 * n * m + m + STATE
    if address == 0:
        return begin + size if 0 < n * max(n, m) <= TILE else np.int64(UNSURE)
    memory = array_at(address, begin + size)
    x, f0, out = part(memory, 0, (n,)), part(memory, n, (m,)), part(memory, n + m, (n, m))
    points, work = part(memory, n + m + n * m, (most, n)), part(memory, begin, (size,))
    values = part(memory, begin - most * m, (most, m))
    _, _, _, units, vector, o = views(work, x, f0)
    a = part(work, 3 * n + OF_OUTPUTS * m, (OF_ENTRIES, m))
    end = 3 * n + (OF_OUTPUTS + OF_ENTRIES) * m
    scratch, each = part(work, end, (BINS,)), part(work, end + BINS, (2, n))
    end += BINS + 2 * n
    kept, lengths, blocks, state = (
        part(work, end, (2 * n, m)),
        part(work, end + 2 * n * m, (n * m,)),
        integers(part(work, end + 3 * n * m, (m,))),
        part(work, end + 3 * n * m + m, (STATE,)),
    )
    stage, index = int(state[STAGE]), integers(a)
    if stage == BEGINNING:
        if not scales(x, units):
            return UNSURE
        state[STAGE], state[APART] = ON_LINE, SPACING
        return placed(x, units, vector, SPACING, np.int64(3), points)
    if stage == ON_LINE:
        shrinks, small = n < 0, n > 0
        for i in range(n):
            small &= units[i] < NEAR_ZERO
            shrinks |= (x[i] != 0.0) & (units[i] > 16.0 * abs(x[i]))
        table = np.int64(LINE if state[LINES] == 0.0 else LATEST)
        if not noted(o, values, f0, table):
            return UNSURE
        unclear = noises(o, table, shrinks)
        state[LINES] += 1.0
        if unclear < 0 or (unclear > 0 and state[LINES] == outputs.LOOKS):
            return UNSURE
        if unclear > 0:
            state[APART] *= FINER
            return placed(x, units, vector, state[APART], np.int64(3), points)
        constant = constants(o)
        for i in range(m):
            o[AGREED, i] = n
        if constant == m or not measured(o, table, o[AGREED], small) or not bent_steps(o, o[AGREED]):
            return UNSURE
        state[STEP] = step_of(o, scratch)
        if state[STEP] == 0.0:
            return UNSURE
        prepared(o, state[STEP])
        if constant > 0:
            state[STAGE] = AFAR
            placed(x, units, vector, WIDEST, np.int64(1), points)
            for i in range(n):  # above comes first
                points[0, i], points[1, i] = points[1, i], points[0, i]
            line(x, units, vector, state[APART])
            return 2
    if stage == AFAR:
        for i in range(m):
            if is_constant(o, i) and (values[0, i] != f0[i] or values[1, i] != f0[i]):
                return UNSURE
    if stage <= AFAR:
        state[STAGE] = SWEEP
        return swept(x, units, state[STEP], points)
    t, first, looks = state[STEP], int(state[DIRECTION]), np.int64(state[SEEN])
    if stage == SWEEP:
        every = n < 0  # literals would be compiled for, too
        for i in range(m):
            every |= o[BIN, i] == 0.0
        shown, far, opened, common = np.int64(0), 0, 0, np.inf
        for g in range(n):
            for i in range(m):
                o[UP, i], o[UP + 1, i] = values[2 * g, i], values[2 * g + 1, i]
                kept[2 * g, i], kept[2 * g + 1, i] = values[2 * g, i], values[2 * g + 1, i]
            some_blocks = part(blocks, 0, (blocks_of(o, UP, f0, None, g, every, blocks),))
            listed, wants, each[STEEP, g], some, long = judged(
                o, a, f0, x, units, None, g, t, some_blocks, part(lengths, shown, (m,))
            )
            if listed < 0:
                return UNSURE
            if not wants:
                entered(o, a, listed, f0, units, vector, None, g, part(out, 0, (n * m,)))
            each[FLAGGED, g] = wants
            opened, shown, far = opened + wants, shown + some, far + long
        if n > 1 and 2 * shown > n * m:
            # most entries show their lengths: none is taken to be much shorter
            common = middle(lengths, shown) if opened > 0 or 2 * far <= shown else 24300.0 * t  # at least
        state[STAGE], state[COMMON] = AGAIN, common
    common = state[COMMON]
    for g in range(first, n):
        short = each[STEEP, g] * t * t > 250.0 * common * common and t * t > 1.7e-9 * common * common
        before = each[FLAGGED, g] == 0.0
        if before and not short:
            continue
        step = state[STEP]
        if g > first or looks == 0:
            looks = np.int64(0)
            for i in range(m):
                o[LINE, i], o[LINE + 1, i] = kept[2 * g, i], kept[2 * g + 1, i]
                index[OUTPUT, i], index[COLUMN, i], index[PLACE, i] = i, g, g * m + i
        else:
            step = state[OTHER]
            for i in range(m):
                o[LINE, i], o[LINE + 1, i] = values[0, i], values[1, i]
        if not looked(o, a, looks, m, x, units, f0, step):
            return UNSURE
        looks += 1
        if looks < LOOKS:
            step = next_step(o, a, looks - 1, m, common)
            if step < 0.0 or 0.0 < step < 2.0**-60:
                return UNSURE
            if step > 0.0:
                state[DIRECTION], state[SEEN], state[OTHER] = g, looks, step
                for side in range(2):
                    for i in range(n):
                        points[side, i] = x[i]
                    points[side, g] = x[g] + (-step if side else step) * units[g]
                return 2
        if before:  # what the first look said has been entered
            factor = vector[g] / units[g]
            for i in range(m):
                if a[STILL, i] == 0.0:
                    error = 2.8 / 0.71 * a[NOISE_OF, i] * factor
                    o[AGREED, i] -= a[DERIVATIVE, i] * factor
                    o[KNOWN, i] = max(o[KNOWN, i] - 1.001 * error * error, 0.0)
        if not settled(o, a, looks, m, units, vector, common, part(scratch, 0, (LOOKS, 4))):
            return UNSURE
        for i in range(m):
            out[g, i] = a[VALUE, i] / units[g]
    finite = True
    for g in range(n):
        for i in range(m):
            finite &= abs(out[g, i]) < np.inf
    return DONE if finite and agrees(o, units, state[STEP]) else UNSURE
