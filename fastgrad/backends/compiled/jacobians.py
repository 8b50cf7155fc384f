"""Jacobians in one call of one kernel: the loop over columns or colours, and the default rule.

The same values as `schemes.columns`, to the bit. Where it is not certain what that does, it decides: tests here may be
stricter than there, never laxer. Kernels are flat, hold nothing of f, allocate nothing.

A direction is a column, or all columns of one colour. `pattern` is None where every direction has an entry of each
output, and numba compiles no branch for the other case; else see `vectors.listed`.
"""

import math

import numpy as np
from numba.extending import register_jitable

from ...core.validation import Floats
from ...lifting.lanes import BLOCK, call_lanes
from ...schemes import outputs
from ...schemes.constants import (
    EPS,
    FIFTH,
    FINER,
    FOURTH,
    NEAR_ZERO,
    NEGLIGIBLE,
    QUIET,
    SAME,
    SIXTH,
    SPACING,
    THIRD,
    TINY,
)
from .cache import inner, kernel, uncounted
from .default import checksum, choose, nth, on_a_lattice, spacing_of
from .kernels import NOT_TIMED, TICKS, TRIALS, power_of_two
from .native import call_into, integers, on_stack, part, ticks
from .workspace import FEW_LINES, aligned

# LATER: call again, to go on; Ctrl-C answers in between. RECONSIDER: done, and so much was spent that lanes are due.
DONE, RECONSIDER, LATER, UNSURE = range(4)
MOST = 10 * TICKS  # half a second or so: then the loops decide that answer Ctrl-C
SIGNS, PERIOD, FEW = outputs.SIGNS, outputs.PERIOD, outputs.FEW
MARGIN = 1e-9  # numpy sums in another order
TILE = 1 << 16  # as in `schemes.columns`
BINS = 64
# Where a loop over entries counts in `np.uint64`, it runs in SIMD: numba takes an index of another type from the end
# where it is negative, which takes longer than all else.
FARTHER = 2.0**-19
# What is known of each output: rows of one table; `LINE` and `LATEST` are seven values, on the first and the last line.
(SIGMA, RHO, VARIATION, ENOUGH, SLOPE, DOUBT, LEAST, AGREED, KNOWN, NEEDED, LARGEST, STRAIN, BIN, SHORTER) = range(14)
LEVEL, UP, DOWN, LINE, LATEST = 14, 15, 16, 17, 24
# What `sevens` writes lies where later comes what the entries say.
LEVELS, LOW, HIGH, UNMOVED, THIRDS = KNOWN, RHO, VARIATION, ENOUGH, LEAST
L1, L2, L3, L4, L5, L6, L7, L8, L9, L10 = (np.uint64(k * FEW_LINES) for k in range(1, 11))
# Of the entries of one direction: so many looks, each of four numbers, and what follows from them.
LOOKS = 4
WIDTH_OF, DERIVATIVE, NOISE_OF, FEAR = range(4)
FIRST, SECOND, HOPE, OPEN, BEST, VALUE, BAR, STILL, OUTPUT, COLUMN, PLACE = range(4 * LOOKS, 4 * LOOKS + 11)
# To go on with: the next direction, the step, the usual length, and whether that is known; f in lanes, how many points
# these are, and whether it runs in them; the first direction of the last pass, and how many blocks it listed; how many
# passes are to do without, and how many were to after the last one in vain; the ticks of all Jacobians, after how many
# lanes are due, and those of this one; how many were timed, and the fewest ticks of one in lanes, and without.
(START, STEP, COMMON, KNOWN_LENGTH, LANES, WIDTH, RUNS, AT, LISTED, IDLE, VAIN) = range(11)
(SPENT, BUDGET, PASSED, TIMED, TOGETHER, ALONE) = range(11, 17)
# Of the directions that are evaluated together: which, by what steps, whether each entry of them is to be looked at
# again, how many there are, and how often they were looked at.
GROUP, STEPS, WHOLE, ENTRIES, LOOKED = range(17, 57, 8)
STATE = 64
OF_OUTPUTS, OF_ENTRIES = LATEST + 7, PLACE + 1
# Of each direction.
STEEP, FLAGGED = range(2)


def most(n: int, m: int) -> int:
    """Return how many entries are judged together, at most, where every direction has one of each output."""
    return m * min(n, max(1, TILE // max(m, n, 1)))


@register_jitable
def tables_of(n, width, colored):
    """Return how many directions are looked at again together, each with a table of its entries."""
    return 1 if colored else max(1, min(n, width // 2))


def workspace(
    n: int, m: int, directions: int, entries: int, lanes: int, width: int, budget: float, colored: bool
) -> Floats:
    """Return what a kernel works in; `entries`: the most that directions have that are judged together."""
    tables = tables_of(n, width, colored)
    size = 3 * n + (OF_OUTPUTS + tables * OF_ENTRIES) * m + BINS + 2 * directions + entries + m // BLOCK + 1 + STATE
    work = aligned(-(-size // 8) * 8 + (n + m) * width)
    state = work[-STATE:]
    state[LANES : WIDTH + 1].view(np.int64)[:] = lanes, width
    state[BUDGET], state[TOGETHER], state[ALONE] = budget, np.inf, np.inf
    return work


@inner
def tiles(work, n, m, width):
    """View what is kept for f in lanes: the points, its values for each, and where blocks of entries begin."""
    end, blocks = work.size - STATE, m // BLOCK + 1
    first = end - (n + m) * width
    listed = integers(part(work, first - blocks, (blocks,)))
    return part(work, first, (n, width)), part(work, end - m * width, (width, m)), listed


@uncounted
def views(work, x, here):
    """View x and f(x) as vectors, x's working copy, units, a vector along x, and the table of the outputs."""
    n, m = x.size, here.size
    y, units, vector = part(work, 0, (n,)), part(work, n, (n,)), part(work, 2 * n, (n,))
    return part(x, 0, (n,)), part(here, 0, (m,)), y, units, vector, part(work, 3 * n, (OF_OUTPUTS, m))


@inner
def at_row(f, x, here, work, row):
    """Evaluate f at x's working copy, into a row of the outputs' table; returns whether the shape is f(x)'s."""
    return call_into(f, part(work, 0, x.shape), part(work, 3 * x.size + row * here.size, here.shape))


@inner
def directions(pattern, n):
    """Return how many directions there are."""
    return n if pattern is None else pattern[1].size - 1


@uncounted
def extent(pattern, g, m):
    """Return the first entry of a direction, and the one behind its last."""
    return (0, m) if pattern is None else (pattern[2][g], pattern[2][g + 1])


@uncounted
def entry(pattern, g, m, k):
    """Return the output (of `np.uint64`) and the column of an entry, and its place in the result."""
    if pattern is None:
        return np.uint64(k), g, g * m + np.int64(k)
    return np.uint64(pattern[3][k]), pattern[4][k], pattern[5][k]


@inner
def move(y, flat, units, pattern, g, t):
    """Move x's working copy along a direction; to x itself with t = 0."""
    if pattern is None:
        y[g] = flat[g] + t * units[g]
        return
    for k in range(pattern[1][g], pattern[1][g + 1]):
        j = pattern[0][k]
        y[j] = flat[j] + t * units[j]


@inner
def evaluated(f, x, here, work, pattern, g, t, above):
    """Evaluate f on both sides along a direction, into a row of the outputs' table and the next."""
    flat, _, y, units, _, _ = views(work, x, here)
    for side in range(2):
        move(y, flat, units, pattern, g, -t if side else t)
        if not at_row(f, x, here, work, above + side):
            return False
    move(y, flat, units, pattern, g, 0.0)
    return True


@uncounted
def blocks_of(o, above, f0, pattern, g, every, blocks):
    """List where the blocks of entries of a direction begin that have some effect, or all; returns how many.

    The values on both sides are in the row `above` and the next.
    """
    first, behind = extent(pattern, g, f0.size)
    count = np.int64(0)
    for begin in range(first, behind, BLOCK):
        some = every or pattern is not None  # nearly all of a pattern's do
        if some:
            blocks[count], count = begin, count + 1
            continue
        for k in range(np.uint64(begin), np.uint64(min(begin + BLOCK, behind))):
            i, _, _ = entry(pattern, g, f0.size, k)
            some |= (o[above, i] != f0[i]) | (o[above + 1, i] != f0[i])
        blocks[count] = begin
        count += some
    return count


@inner
def displaced(flat, units, pattern, g, t, tile, lane):
    """Move the points of two lanes to both sides along a direction; to x itself with t = 0."""
    if pattern is None:
        tile[g, lane], tile[g, lane + 1] = flat[g] + t * units[g], flat[g] + -t * units[g]
        return
    for k in range(pattern[1][g], pattern[1][g + 1]):
        j = pattern[0][k]
        tile[j, lane], tile[j, lane + 1] = flat[j] + t * units[j], flat[j] + -t * units[j]


@inner
def in_lanes(f, x, here, work, pattern, total, every):
    """Evaluate f on both sides along the directions of `GROUP`, by their steps.

    Returns how many blocks of values move, and are listed; -1 where it was in vain.
    """
    state = part(work, work.size - STATE, (STATE,))
    if state[IDLE] > 0.0:
        state[IDLE] -= 1.0
        return -1
    index = integers(state)
    flat, _, _, units, _, _ = views(work, x, here)
    points, values, blocks = tiles(work, x.size, here.size, index[WIDTH])
    for d in range(total):
        displaced(flat, units, pattern, index[GROUP + d], state[STEPS + d], points, 2 * d)
    count = call_lanes(index[LANES], (x, points, here, values, blocks, every or pattern is not None, f[1] + f[2]))
    for d in range(total):
        displaced(flat, units, pattern, index[GROUP + d], 0.0, points, 2 * d)
    state[VAIN] = 0.0 if count >= 0 else min(2.0 * state[VAIN] + 1.0, 1e6)  # f that always branches is left alone
    state[IDLE] = state[VAIN]
    return count


@inner
def swept(f, x, here, work, pattern, g, t, every):
    """Evaluate f on both sides along the next direction of a sweep, into `UP` and `DOWN` of the outputs' table.

    Returns how many blocks of entries have some effect, and are listed: the others are not written; -1 where the shape
    is not f(x)'s. In lanes where f has been compiled for them: to the same bits.
    """
    n, m = x.size, here.size
    state, (_, f0, _, _, _, o) = part(work, work.size - STATE, (STATE,)), views(work, x, here)
    index = integers(state)
    width = index[WIDTH]
    _, values, blocks = tiles(work, n, m, width)
    if state[RUNS] != 0.0:
        if g == 0 or 2 * (g - state[AT]) >= width:
            total = min(width // 2, directions(pattern, n) - g)
            for d in range(total):
                index[GROUP + d], state[STEPS + d] = g + d, t
            state[AT], state[LISTED] = g, in_lanes(f, x, here, work, pattern, total, every)
        if state[LISTED] >= 0.0:
            lane, count = 2 * (g - int(state[AT])), int(state[LISTED])
            for b in range(count):
                for i in range(np.uint64(blocks[b]), np.uint64(min(blocks[b] + BLOCK, m))):
                    o[UP, i], o[DOWN, i] = values[lane, i], values[lane + 1, i]
            if pattern is None:
                return count
            for i in range(np.uint64(m)):
                o[UP, i], o[DOWN, i] = values[lane, i], values[lane + 1, i]
            return blocks_of(o, UP, f0, pattern, g, every, blocks)
    if not evaluated(f, x, here, work, pattern, g, t, UP):
        return -1
    return blocks_of(o, UP, f0, pattern, g, every, blocks)


@inner
def begun(work, flat, m):
    """Make all points in lanes x; f is to run in them if that is the faster way, which takes a few trials to know."""
    state = part(work, work.size - STATE, (STATE,))
    width = integers(state)[WIDTH]
    state[PASSED] = 0.0
    if width > 0:
        trial = state[TIMED] < 2 * TRIALS and not NOT_TIMED < state[TOGETHER] < np.inf
        state[RUNS] = state[TIMED] % 2.0 == 0.0 if trial else state[TOGETHER] <= state[ALONE]
        points, _, _ = tiles(work, flat.size, m, width)
        for i in range(flat.size):
            for lane in range(width):
                points[i, lane] = flat[i]


@inner
def passed(work, began):
    """Count the ticks spent since then."""
    state = part(work, work.size - STATE, (STATE,))
    state[PASSED] += ticks() - began
    return LATER


@inner
def finished(work, began):
    """Note how long it took; returns `DONE` or `RECONSIDER`."""
    passed(work, began)
    state = part(work, work.size - STATE, (STATE,))
    which = TOGETHER if state[RUNS] != 0.0 else ALONE
    state[which] = min(state[which], state[PASSED]) if state[TIMED] >= 2.0 else state[PASSED]
    state[TIMED] += 1.0
    state[SPENT] += state[PASSED]
    return RECONSIDER if state[SPENT] > state[BUDGET] else DONE


@inner
def refreshed(y, flat):
    """Make x's working copy a copy of x; returns whether f had left it one."""
    same = True
    for i in range(flat.size):
        same &= y[i] == flat[i]
        y[i] = flat[i]
    return same


@kernel
def rows(address, before, after, like, x, points, values, progress):
    """Evaluate f at whole points, from the row `progress[0]` on, which it keeps true.

    Returns whether all values have one shape. It returns early so that Ctrl-C answers.
    """
    n, m, began = x.size, values[0].size, ticks()
    flat, f = part(x, 0, (n,)), (address, before, after, like)
    while progress[0] < points.shape[0]:
        row = progress[0]
        for i in range(n):
            flat[i] = points[row, i]
        if not call_into(f, x, part(values, row * m, values.shape[1:])):
            return False
        progress[0] = row + 1
        if ticks() - began > TICKS:
            break
    return True


# ---- the line


@uncounted
def scales(x, units):
    """Write `seeds.units_of`; returns whether x is finite and of a usual size."""
    largest = 0.0
    for i in range(x.size):
        if not abs(x[i]) < 1e290:
            return False
        largest = max(largest, abs(x[i]))
    least = min(1.0, largest) if largest > 0.0 else 1.0
    for i in range(x.size):
        units[i] = power_of_two(max(abs(x[i]), least))
    return least > 1e-270


@uncounted
def line(x, units, vector, spacing):
    """Write the direction of `outputs.look_along`, one that small multiples of are exact."""
    begin = np.int64(checksum(x)) % PERIOD
    place = begin
    for i in range(x.size):
        move = units[i] * (spacing * SIGNS[place])
        place = place + 1 if place + 1 < begin + PERIOD else begin  # a remainder would take longer than all else
        if x[i] != 0.0:
            grain = 4.0 * spacing_of(abs(x[i]))
            grains = np.rint(move / grain)
            if 8.0 <= abs(grains) < 2.0**52:
                move = grains * grain
        vector[i] = move


@inner
def along(f, x, here, work, spacing, table):
    """Evaluate f on the line, into seven rows of the outputs' table; returns whether all is finite."""
    flat, f0, y, units, vector, o = views(work, x, here)
    line(flat, units, vector, spacing)
    for k in range(7):
        if k == 3:
            continue
        for i in range(flat.size):
            y[i] = flat[i] + (k - 3) * vector[i]
        if not at_row(f, x, here, work, table + k):
            return False
    finite = True
    for i in range(f0.size):
        o[table + 3, i] = f0[i]
        total = o[table, i] + o[table + 1, i] + o[table + 2, i] + o[table + 4, i] + o[table + 5, i] + o[table + 6, i]
        finite &= abs(total + f0[i]) < 1e300
    return finite


@uncounted
def sevens(o, table, slopes):
    """Write what each output's seven values on a line, x in their middle, say; of `slopes`, where they are wanted.

    `LEVELS`: the noise that the third to sixth differences suggest; `LOW` and `HIGH`: least and largest value;
    `UNMOVED`: how many first differences vanish; `THIRDS`: the third derivative in scales of x; `SLOPE` and `DOUBT`:
    the derivative along the line, and the largest fifth difference; `BIN`: -1 where no digit is 8 ulp or finer.

    Some outputs at a time, on the stack: there LLVM sees that nothing overlaps, and computes eight at once.
    """
    m, few = o.shape[1], on_stack()
    bits = integers(few)
    for begin in range(0, m, FEW_LINES):
        count = min(FEW_LINES, m - begin)
        for k in range(7):
            for i in range(np.uint64(count)):
                few[np.uint64(k * FEW_LINES) + i] = o[table + k, np.uint64(begin) + i]
        for i in range(np.uint64(FEW_LINES)):
            w0, w1, w2, w3 = few[i], few[i + L1], few[i + L2], few[i + L3]
            w4, w5, w6 = few[i + L4], few[i + L5], few[i + L6]
            digits = bits[i] | bits[i + L1] | bits[i + L2] | bits[i + L3] | bits[i + L4] | bits[i + L5] | bits[i + L6]
            a0, a1, a2, a3, a4, a5 = w1 - w0, w2 - w1, w3 - w2, w4 - w3, w5 - w4, w6 - w5
            b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
            c0, c1, c2, c3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
            d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
            e0, e1 = d1 - d0, d2 - d1
            still = (1.0 if a0 == 0.0 else 0.0) + (1.0 if a1 == 0.0 else 0.0) + (1.0 if a2 == 0.0 else 0.0)
            still += (1.0 if a3 == 0.0 else 0.0) + (1.0 if a4 == 0.0 else 0.0) + (1.0 if a5 == 0.0 else 0.0)
            p, q, r, s = abs(c0), abs(c1), abs(c2), abs(c3)
            extremes = max(p, q, r, s) + min(p, q, r, s)
            few[i] = THIRD * math.sqrt(c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3)
            few[i + L1] = FOURTH * math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
            few[i + L2] = FIFTH * math.sqrt(e0 * e0 + e1 * e1)
            few[i + L3] = SIXTH * abs(e1 - e0)
            few[i + L4] = min(w0, w1, w2, w3, w4, w5, w6)
            few[i + L5] = max(w0, w1, w2, w3, w4, w5, w6)
            few[i + L6] = still
            few[i + L7] = (p + q + r + s - extremes) / 2.0 / SPACING**3
            few[i + L8] = (45.0 * (w4 - w2) - 9.0 * (w5 - w1) + (w6 - w0)) / 60.0
            few[i + L9] = max(abs(e0), abs(e1))
            few[i + L10] = -1.0 if digits & 15 == 0 else 0.0
        for k, row in enumerate((LEVELS, LEVELS + 1, LEVELS + 2, LEVELS + 3, LOW, HIGH, UNMOVED, THIRDS)):
            for i in range(np.uint64(count)):
                o[row, np.uint64(begin) + i] = few[np.uint64(k * FEW_LINES) + i]
        for k, row in enumerate((SLOPE, DOUBT, BIN)):
            if slopes:
                for i in range(np.uint64(count)):
                    o[row, np.uint64(begin) + i] = few[np.uint64((8 + k) * FEW_LINES) + i]


@uncounted
def last_bit(value):
    """Return the unit of the last binary digit that a number needs; inf for 0."""
    digits = (np.float64(value).view(np.int64) & 0xFFFFFFFFFFFFF) | 0x10000000000000
    return spacing_of(abs(value)) * (digits & -digits) if value != 0.0 else np.inf


@uncounted
def lattices(o, table):
    """Write the spacing of the binary lattice of each output, as `outputs` does; returns whether one may be decimal."""
    m = o.shape[1]
    for i in range(m):
        coarse, o[BIN, i] = o[BIN, i] < 0.0, 0.0
        if o[LOW, i] == o[HIGH, i]:
            continue
        if coarse:
            unit, top, zeros = np.inf, 0.0, 0
            for k in range(7):
                value = o[table + k, i]
                unit, top, zeros = min(unit, last_bit(value)), max(top, abs(value)), zeros + (value == 0.0)
            if zeros <= 4 and unit >= 16.0 * spacing_of(top):
                o[BIN, i] = unit
        elif m <= FEW:
            first, second = o[table, i], o[table + 1, i]
            if on_a_lattice(first, first, 1.0)[1] and on_a_lattice(second, second, 1.0)[1]:
                return True
    return False


@uncounted
def near(a, b):
    """Say whether rounding, in another order, may decide which of two numbers is larger."""
    return abs(a - b) <= MARGIN * max(abs(a), abs(b)) and max(abs(a), abs(b)) > 1e-290


@uncounted
def power_near(value):
    """Return the nearest power of two in the logarithm; 0 where rounding may decide on it."""
    exponent = math.log2(value)
    nearest = np.rint(exponent)
    return 2.0**nearest if abs(exponent - nearest) < 0.5 - MARGIN else 0.0


@uncounted
def stepped(o, table, i, top):
    """Say whether an output may move by steps on the line, as `outputs._Seven.stepped` says."""
    largest = there = 0.0
    for turn in range(2):
        for k in range(1, 5):
            before = (o[table + k + 1, i] - o[table + k, i]) - (o[table + k, i] - o[table + k - 1, i])
            after = (o[table + k + 2, i] - o[table + k + 1, i]) - (o[table + k + 1, i] - o[table + k, i])
            third = abs(after - before)
            if turn == 0:
                largest = max(largest, third)
            elif third >= 0.999 * largest:
                there = max(there, abs(after + before - 2.0 * median_bend(o, table, i)))
    return there < 0.2001 * largest and largest < 1.001 * outputs.STEP * top


@uncounted
def median_bend(o, table, i):
    """Return the median of the five second differences: the only one with two at most on either side."""
    for k in range(1, 6):
        mine, below, above = o[table + k + 1, i] - o[table + k, i] - (o[table + k, i] - o[table + k - 1, i]), 0, 0
        for j in range(1, 6):
            other = (o[table + j + 1, i] - o[table + j, i]) - (o[table + j, i] - o[table + j - 1, i])
            below, above = below + (other < mine), above + (other > mine)
        if below <= 2 and above <= 2:
            return mine
    return 0.0


@uncounted
def noises(o, table, shrinks):
    """Write the noise of each output as `outputs._judge`, after the first line of those that are unclear still.

    These have a negative one. Returns how many they are; -1: not sure, or with `shrinks` where steps may be relative.
    `SHORTER` has the first line's level, negative where that decays, and `LEVEL` that of the line before.
    """
    sevens(o, table, True)
    if lattices(o, table):
        return -1
    first, unclear = table == LINE, 0
    for i in range(np.uint64(o.shape[1])):
        is_clear = not first and o[SIGMA, i] > 0.0
        third, fourth, fifth, sixth = o[LEVELS, i], o[LEVELS + 1, i], o[LEVELS + 2, i], o[LEVELS + 3, i]
        low, high, still = o[LOW, i], o[HIGH, i], o[UNMOVED, i]
        f0 = o[table + 3, i]
        top, level = max(high, -low), middle_of_four(third, fourth, fifth, sixth)
        floor = max(0.5 * EPS * abs(f0), 0.25 * EPS * top, TINY, 0.29 * o[BIN, i])
        last, three, before = max(fifth, sixth), 3.0 * floor, o[LEVEL, i]
        if is_clear:
            if level > 0.999 * max(QUIET * floor, abs(o[SHORTER, i])):
                return -1  # steps were hidden, perhaps
            continue
        # cubes are compared
        if (still >= 4 and low != high) or not top < 1e80 or (low != high and max(high - f0, f0 - low) < 1e-80):
            return -1
        if abs(last - three) <= MARGIN * floor or near(level, QUIET * floor):
            return -1
        smooth, noisy = last <= three, level <= QUIET * floor
        sigma = max(floor, math.sqrt((fifth * fifth + sixth * sixth) / 2.0))
        if first:
            if not (smooth or noisy) and stepped(o, table, i, top):
                return -1
            decays = fifth <= 0.999 * max(third / 8.0, three) and sixth <= 0.999 * max(fourth / 4.0, three)
            o[SHORTER, i] = -level if decays else level
            if not smooth:
                sigma = max(min(fourth, fifth), min(max(fourth, fifth), sixth))
        else:
            noisy = noisy or level >= SAME * before
            decays = o[SHORTER, i] < 0.0
            if near(level, SAME * before) or near(level, SAME * abs(o[SHORTER, i])):
                return -1
            if not decays and (smooth or (noisy and level < SAME * abs(o[SHORTER, i]))):
                return -1  # neither smooth nor noisy
            if not smooth:
                sigma = max(level, before)
        if shrinks and not (smooth or noisy) and level > 0.999e-3 * max(high - f0, f0 - low):
            return -1
        o[LEVEL, i] = level
        o[SIGMA, i] = sigma if smooth or noisy else -1.0
        unclear += not (smooth or noisy)
    return unclear


@uncounted
def middle_of_four(a, b, c, d):
    """Return the median of four numbers."""
    low, high = max(min(a, b), min(c, d)), min(max(a, b), max(c, d))
    return 0.5 * (low + high)


@uncounted
def measured(o, last, terms, small):
    """Write slopes, curvatures and third derivatives along the line, as `outputs._measure`; False: not sure.

    Where x is `small`, what drowns may change farther away.
    """
    m, drowned, sure = o.shape[1], 0, True
    if last != LINE:  # whose slopes are kept
        sevens(o, np.int64(LINE), False)
    for i in range(np.uint64(m)):
        third_level, fourth_level, low, high, third = (
            o[LEVELS, i],
            o[LEVELS + 1, i],
            o[LOW, i],
            o[HIGH, i],
            o[THIRDS, i],
        )
        w0, f0, w6, noise, count = o[LINE, i], o[LINE + 3, i], o[LINE + 6, i], o[SIGMA, i], terms[i]
        spread = max(high - f0, f0 - low)
        shows = third_level > 4.0 * (1.0 - MARGIN) * max(noise, fourth_level)
        third = third if shows else 0.0
        rise, bend = abs(w6 - w0), abs((w6 - f0) + (w0 - f0))
        drowned += (rise < 10.1 * noise) & (bend < 20.1 * noise) & (low != high)
        sure &= not (abs(bend - 8.0 * noise) <= MARGIN * noise or (small and rise < 10.1 * noise))
        bend = 0.0 if bend <= 8.0 * noise else bend / (9.0 * SPACING * SPACING)
        size = max(rise / (6.0 * SPACING) / math.sqrt(count), bend / count)
        size = min(size, max(abs(f0), spread))
        sure &= not abs(size - 10.0 * noise) <= MARGIN * noise
        varies = max(size, 10.0 * noise)
        ratio = min(max(noise / varies, 1e-17), 1e-2)
        # the power of two next to its cubic root, by its bits: 2**k from 2**(3k - 1.5) on
        shifted = ratio * 2.0**1.5
        upper = (np.float64(shifted * (1.0 + MARGIN)).view(np.int64) >> 52) - 1023 + 300
        lower = (np.float64(shifted * (1.0 - MARGIN)).view(np.int64) >> 52) - 1023 + 300
        k = upper // 3
        doubtful = k != lower // 3
        whole = ((np.float64(ratio).view(np.int64) >> 52) - 1023 + 300) // 3
        root = np.int64((whole - 100 + 1023) << 52).view(np.float64)  # at most the cubic root
        bends = 24.0 * noise * math.sqrt(count) * count * (1.0 - MARGIN) < third * ratio
        o[BIN, i] = (k - 100.0) + (1000.0 if doubtful else 0.0) + (4000.0 if size <= 10.0 * noise else 0.0)
        o[BIN, i] += 10000.0 if bends else 0.0
        o[VARIATION, i] = varies
        o[RHO, i] = noise / max(abs(f0), spread, TINY)
        o[ENOUGH, i] = max(3e-9, 0.3 * root * root) / 1.42 * 0.999
        o[DOUBT, i] = 4.0 * noise + 0.1 * o[DOUBT, i]
        o[LEAST, i] = third / (3.0 * count)
    return sure and 2 * drowned <= m


@uncounted
def bent_steps(o, terms):
    """Shorten the steps of outputs whose third derivative shows, as `outputs.step_of`; False: not sure."""
    for i in range(o.shape[1]):
        o[SHORTER, i] = 0.0
        if o[BIN, i] < 9000.0:
            continue
        count, third, sigma = terms[i], 3.0 * terms[i] * o[LEAST, i], o[SIGMA, i]
        step = np.cbrt(min(max(sigma / o[VARIATION, i], 1e-17), 1e-2))
        shorter = max(np.cbrt(3.0 * sigma * math.sqrt(count) / third), 1e-13)
        wide = shorter * np.cbrt(count)
        if near(wide, 0.5 * step):
            return False
        still = o[BIN, i] - 10000.0 > 3000.0
        if wide >= 0.5 * step:
            o[BIN, i] -= 10000.0
            continue
        step = shorter * math.sqrt(np.cbrt(count))
        power = power_near(step)
        if power == 0.0 or power < 2.0**-60:
            return False
        o[ENOUGH, i], o[SHORTER, i] = max(3e-9, 0.3 * step * step) / 1.42 * 0.999, step
        o[BIN, i] = math.log2(power) + (4000.0 if still else 0.0)
    return True


@uncounted
def step_of(o, counts):
    """Return the step of most outputs, as `outputs.step_of`; 0 where rounding may decide on it."""
    active = 0
    for i in range(o.shape[1]):
        active += o[BIN, i] < 3000.0
    for j in range(BINS):
        counts[j] = 0.0
    total, doubtful = 0, 0
    for i in range(o.shape[1]):
        b = o[BIN, i]
        if b >= 3000.0:
            if active > 0:
                continue
            b -= 4000.0
        if b >= 500.0:
            b -= 1000.0
            doubtful += 1
        counts[int(-b)] += 1.0  # steps are 2**-20 to 2**-2
        total += 1
    place, passed = total // 2, 0
    for j in range(BINS - 1, -1, -1):  # the smallest first
        passed += int(counts[j])
        if passed > place:
            # those in doubt may belong to the neighbour
            if doubtful > 0 and (passed - doubtful <= place or place - (passed - int(counts[j])) < doubtful):
                return 0.0
            return 2.0 ** float(-j)
    return 0.0


@uncounted
def is_constant(o, i):
    """Whether an output is the same all along the first line."""
    same = True
    for k in range(7):
        same &= o[LINE + k, i] == o[LINE + 3, i]
    return same


@uncounted
def constants(o):
    """Count such outputs."""
    count = 0
    for i in range(o.shape[1]):
        count += is_constant(o, i)
    return count


@inner
def stand_still(f, x, here, work, spacing):
    """Say whether some outputs are not the same along the line, and all that are, are so far away, too."""
    flat, f0, y, units, vector, o = views(work, x, here)
    count, same = constants(o), True
    if count == 0:
        return True
    line(flat, units, vector, outputs.WIDEST)
    for side in range(2):
        for i in range(flat.size):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        same = same and at_row(f, x, here, work, UP + side)
    for i in range(f0.size):
        same &= (o[UP, i] == f0[i] and o[DOWN, i] == f0[i]) or not is_constant(o, i)
    line(flat, units, vector, spacing)
    return same and count < f0.size


@inner
def look(f, x, here, work, terms, counts):
    """Look along the line, finer where some output is neither smooth nor noisy; returns the step, 0: not sure."""
    flat, _, _, units, _, o = views(work, x, here)
    spacing, table, shrinks, small = SPACING, np.int64(LINE), flat.size < 0, flat.size > 0
    for i in range(flat.size):
        small &= units[i] < NEAR_ZERO
        shrinks |= (flat[i] != 0.0) & (units[i] > 16.0 * abs(flat[i]))
    for _ in range(outputs.LOOKS):
        if not along(f, x, here, work, spacing, table):
            return 0.0
        unclear = noises(o, table, shrinks)
        if unclear == 0 and stand_still(f, x, here, work, spacing):
            return step_of(o, counts) if measured(o, table, terms, small) and bent_steps(o, terms) else 0.0
        if unclear <= 0:
            return 0.0
        spacing, table = spacing * FINER, LATEST
    return 0.0


@uncounted
def prepared(o, t):
    """Finish what needs the step; `BIN` then says whether an output's entries without any effect are certain."""
    for i in range(o.shape[1]):
        sigma, size = o[SIGMA, i], o[VARIATION, i]
        noise = 0.72 * sigma / t
        sure = (noise <= 0.999e-5 * size) | (noise <= 0.1 * o[ENOUGH, i] * 1.42 * size) | (size <= 6e4 * sigma)
        o[BIN, i] = 1.0 if sure else 0.0
        o[LEAST, i] = 2.0 * o[LEAST, i] * t * t
        o[AGREED, i] = o[KNOWN, i] = o[NEEDED, i] = o[LARGEST, i] = o[STRAIN, i] = 0.0


# ---- the first look at a direction


@uncounted
def half_span(flat, units, j, t):
    """Return half of the way between the points of a column, in its unit."""
    return 0.5 * (((flat[j] + t * units[j]) - (flat[j] - t * units[j])) / units[j])


@uncounted
def judged(o, a, f0, flat, units, pattern, g, t, blocks, lengths):
    """List those of the blocks' entries that have an effect, and judge them, as `columns._doubts`.

    Returns how many they are, -1 where it is not sure; whether another step may be tried for them; the largest ratio of
    change to noise; how many of them show their `lengths`, and how many of these are long.
    """
    m, index = f0.size, integers(a)
    _, behind = extent(pattern, g, m)
    wants = strange = False
    count = longer = moved = shown = far = 0
    steepest = 0.0
    for begin in blocks:  # of the others all are zero: pages that nobody writes to take no time
        for k in range(begin, min(begin + BLOCK, behind)):
            i, j, _ = entry(pattern, g, m, k)
            here = f0[i]
            above, below = o[UP, i] - here, o[DOWN, i] - here
            if above == 0.0 and below == 0.0:
                wants |= o[BIN, i] == 0.0
                continue
            half, first, second = half_span(flat, units, j, t), abs(above - below), abs(above + below)
            sigma = max(o[SIGMA, i], o[RHO, i] * max(abs(here + above), abs(here + below)))
            strange |= not (first < np.inf and abs(half - t) <= 1e-3 * t)
            index[OUTPUT, count] = k
            a[DERIVATIVE, count], a[NOISE_OF, count] = (above - below) / (2.0 * half), sigma / half
            count += 1
            moved += first != 0.0
            steepest = max(steepest, first / sigma)
            if min(first, second) > 8.0 * sigma:
                lengths[shown] = half * first / (2.0 * second)
                far += lengths[shown] >= 24300.0 * t
                shown += 1
            if second <= 0.0299 * first and sigma <= o[ENOUGH, i] * first and second * second <= 63.0 * sigma * first:
                continue  # nearly always
            variation = o[VARIATION, i]
            bent, rise = max(second, 4.0 * sigma), max(first, 2.0 * sigma)
            size = max(variation, rise)
            square, cube = bent * bent, bent * bent * bent
            rough = second > 7.99 * sigma and second > 0.0299 * first
            down = square > 63.0 * sigma * rise and cube > 16e3 * sigma * sigma * size
            down = down and square > 8.9e-10 * rise * max(0.5 * first, variation * half)
            measure = max(first, 0.2 * variation * half)
            up = rise * sigma > 200.0 * square or size * sigma * sigma > 1e4 * cube
            up = up and sigma > o[ENOUGH, i] * measure
            wants |= rough or down or (up and 1.42 * sigma > 0.999e-6 * measure)
            longer += up
    return -1 if strange else count, wants or 4 * longer > max(moved, 1), steepest, shown, far


@uncounted
def entered(o, a, count, f0, units, vector, pattern, g, out):
    """Write the listed entries of a direction, and enter them into what is checked at the end."""
    index = integers(a)
    for e in range(count):
        i, j, place = entry(pattern, g, f0.size, index[OUTPUT, e])
        slope, noise, factor = a[DERIVATIVE, e], a[NOISE_OF, e], vector[j] / units[j]
        out[place] = slope / units[j]
        error, size = 2.8 * noise * factor, abs(slope)
        o[AGREED, i] += slope * factor
        o[KNOWN, i] += error * error
        o[LARGEST, i] = max(o[LARGEST, i], size)
        must, certainly = max(26500.0 * noise, o[LEAST, i]), max(size, 1e-6 * o[VARIATION, i])
        if certainly < must:
            o[NEEDED, i] = max(o[NEEDED, i], must)
        else:
            o[STRAIN, i] = max(o[STRAIN, i], must / certainly)


@uncounted
def agrees(o, units, t):
    """Say whether the line's slopes agree with the entries, each output's least entry is certain, and hides none."""
    good, least, most = True, units[0], units[0]
    for j in range(units.size):
        least, most = min(least, units[j]), max(most, units[j])
    for i in range(o.shape[1]):
        doubt, known, widened = o[DOUBT, i], o[KNOWN, i], 1.0
        gap = abs(o[AGREED, i] - o[SLOPE, i]) - doubt
        if gap > 0.0 and not gap * gap <= 0.99 * known:  # the bars of this output are wider by so much
            widened = 1.01 * (gap + doubt) / (math.sqrt(known) + doubt)
        good &= o[NEEDED, i] * widened <= 0.999 * NEGLIGIBLE * o[LARGEST, i]
        good &= o[STRAIN, i] * widened <= 1.0
        # of what has no effect rounding may hide what is as steep as the steepest: see `automatic.Search._hidden`
        bar = max(2.9 * o[SIGMA, i] / t * widened, EPS * o[VARIATION, i])
        good &= bar * most <= 0.49 * o[LARGEST, i] * least or o[LARGEST, i] < 0.99e-6 * o[VARIATION, i]
    return good


# ---- further looks at a direction


@uncounted
def looked(o, a, k, count, flat, units, f0, t):
    """Write what the k-th look at a direction says of its entries, as `columns._judged`; False: not sure."""
    index = integers(a)
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        half = half_span(flat, units, j, t)
        above, below = o[LINE, i] - f0[i], o[LINE + 1, i] - f0[i]
        noise = max(o[SIGMA, i], o[RHO, i] * max(abs(f0[i] + above), abs(f0[i] + below)))
        first, second = abs(above - below), abs(above + below)
        if not (first < np.inf and second < np.inf and half > 0.0):
            return False
        bent, rise = max(second, 4.0 * noise), max(first, 2.0 * noise)
        by_size, by_slope = half * math.sqrt(max(o[VARIATION, i], rise) / bent), half * rise / (2.0 * bent)
        longer, shorter = max(by_size, by_slope), min(by_size, max(by_slope, half))
        slope = first / (2.0 * half)
        hope = max(slope * (half / longer) ** 2, bent / longer) / 6.0
        fear = max(slope * (half / shorter) ** 2, second / shorter) / 6.0 if second > 4.0 * noise else hope
        rough = second > 7.99 * noise and second > 0.0299 * first
        limit = 0.999 * half * max(1e-3, 30.0 * half) * o[VARIATION, i]
        if (k == 0 and rough and second > limit) or near(second, 4.0 * noise):
            return False
        a[4 * k + WIDTH_OF, e], a[4 * k + DERIVATIVE, e] = half, (above - below) / (2.0 * half)
        a[4 * k + NOISE_OF, e], a[4 * k + FEAR, e] = 0.71 * noise / half, min(fear, 100.0 * hope)
        a[FIRST, e], a[SECOND, e], a[HOPE, e] = first, second, hope
        if k == 0:
            a[OPEN, e], a[STILL, e] = 1.0, 1.0 if first == 0.0 and second == 0.0 else 0.0
    return True


@uncounted
def middle(values, count):
    """Return the median of the first numbers of an array; moves them about."""
    above, below = nth(values, count, count // 2), -np.inf
    for k in range(np.uint64(count // 2)):  # which are the smaller ones now
        below = max(below, values[k])
    return above if count % 2 else 0.5 * (below + above)


@uncounted
def mean_of(a, k, count):
    """Return the mean step of the k-th look."""
    first = second = third = fourth = 0.0  # sums that do not wait for each other
    whole = count - count % 4
    for e in range(0, whole, 4):
        first, second = first + a[4 * k + WIDTH_OF, e], second + a[4 * k + WIDTH_OF, e + 1]
        third, fourth = third + a[4 * k + WIDTH_OF, e + 2], fourth + a[4 * k + WIDTH_OF, e + 3]
    for e in range(whole, count):
        first += a[4 * k + WIDTH_OF, e]
    return ((first + second) + (third + fourth)) / count


@uncounted
def next_step(o, a, k, count, common):
    """Return the step of the look after the k-th, as `columns._improve`; 0 where that is the last, -1: not sure."""
    index, chosen = integers(a), a[BAR]
    downs = ups = lacking = moved = 0
    for e in range(count):
        i = index[OUTPUT, e]
        half, derivative, noise = a[4 * k + WIDTH_OF, e], abs(a[4 * k + DERIVATIVE, e]), a[4 * k + NOISE_OF, e]
        hope, size = max(a[HOPE, e], derivative * (half / common) ** 2 / 6.0), o[VARIATION, i]
        moved += a[FIRST, e] != 0.0
        least = 3e-10 * max(size, derivative)
        if near(hope, 30.0 * noise) or near(hope, least):
            return -1.0
        down = a[OPEN, e] != 0.0 and hope > 30.0 * noise and hope > least
        ratio = noise / (2.0 * max(hope if down else a[4 * k + FEAR, e], TINY))
        up = a[OPEN, e] != 0.0 and not down and ratio > 215.999
        if up:
            root, counts = o[SHORTER, i], max(derivative, 0.1 * size)
            if root == 0.0:
                root = np.cbrt(min(max(o[SIGMA, i] / size, 1e-17), 1e-2))
            suffices = max(3e-9, 0.3 * root * root) * counts
            up = noise > suffices
            if near(ratio, 216.0) or (near(noise, suffices) or (up and near(noise, 1e-6 * counts))):
                return -1.0
            if up and a[FIRST, e] == 0.0 and a[SECOND, e] == 0.0:
                if near(noise, 1e-5 * size):
                    return -1.0
                up = noise > 1e-5 * size
            lacking += up and noise > 1e-6 * counts
        downs, ups = downs + down, ups + up
        a[VALUE, e] = 1.0 if down else (-1.0 if up else 0.0)
        if down or up:
            a[BEST, e] = half * np.cbrt(ratio)
    if downs == 0 and lacking == 0 and 4 * ups <= moved:
        return 0.0
    wanted, total, mean = 1.0 if downs > 0 else -1.0, np.int64(0), mean_of(a, k, count)
    for e in range(count):
        mine = a[VALUE, e] == wanted
        if mine:
            chosen[total] = a[BEST, e]
            total += 1
        a[OPEN, e] = 1.0 if mine or (downs > 0 and a[OPEN, e] != 0.0) else 0.0
    t = power_near(min(max(middle(chosen, total), mean * 1e-6), mean * 1e4, 0.5))
    larger, nearest = np.inf, k
    for p in range(k):
        if mean < mean_of(a, p, count) < larger:
            larger, nearest = mean_of(a, p, count), p
    if downs == 0 and larger < np.inf:  # between two powers of two is often a tie
        exact = power_of_two(mean) == mean and power_of_two(larger) == larger
        for e in range(count):
            exact &= a[4 * k + WIDTH_OF, e] == mean and a[4 * nearest + WIDTH_OF, e] == larger
        between = math.sqrt(mean * larger)
        t = min(t, 2.0 ** np.rint(math.log2(between)) if exact else power_near(between))
    for p in range(k + 1):
        if 0.3 < t / mean_of(a, p, count) < 3.3:
            return 0.0
    return t if t > 0.0 else -1.0


@uncounted
def settled(o, a, looks, count, units, vector, common, of_one):
    """Take of each entry the look with the smallest error, as `columns._chosen`, and enter it; False: not sure."""
    index, sure = integers(a), True
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        for k in range(looks):
            for column in range(4):
                of_one[k, column] = a[4 * k + column, e]
        slope, bar, _, certain = choose(of_one, looks, min(common, 1.0))
        sure &= certain
        factor, size = vector[j] / units[j], abs(slope)
        a[VALUE, e] = slope
        o[AGREED, i] += slope * factor
        o[KNOWN, i] += (0.999 * bar * factor) ** 2
        o[LARGEST, i] = max(o[LARGEST, i], size)
        if a[STILL, e] != 0.0:
            continue
        must, certainly = max(2.01 * bar, o[LEAST, i]), max(size, 1e-6 * o[VARIATION, i])
        if certainly < must:
            o[NEEDED, i] = max(o[NEEDED, i], must)
        else:
            o[STRAIN, i] = max(o[STRAIN, i], must / certainly)
    return sure


@uncounted
def entries_of(o, a, f0, pattern, g, t, first, every, count, blocks):
    """List the entries of a direction at the first look, and see at others that there are no more; -1: there are."""
    index, listed, (_, behind) = integers(a), 0, extent(pattern, g, f0.size)
    for begin in blocks:
        for k in range(begin, min(begin + BLOCK, behind)):
            i, j, place = entry(pattern, g, f0.size, k)
            alive = every or o[LINE, i] != f0[i] or o[LINE + 1, i] != f0[i] or o[BIN, i] == 0.0
            if first:
                if alive:
                    index[OUTPUT, count], index[COLUMN, count], index[PLACE, count] = i, j, place
                    count += 1
                continue
            while listed < count and index[OUTPUT, listed] < np.int64(i):
                listed += 1
            known = listed < count and index[OUTPUT, listed] == np.int64(i)
            if not known and (alive or 0.72 * o[SIGMA, i] > 0.999e-5 * o[VARIATION, i] * t):
                return -1
    return count


@inner
def looks_again(f, x, here, work, pattern, total, t, common, faint, each, scratch, out):
    """Look at the directions of `GROUP` as often as the rule asks for; returns 1, or 0 where it is not sure.

    Entries that have no effect are left out except where `WHOLE`; -1 where one may matter, which is `WHOLE` then.
    With steps shorter than `faint` there are some whose noise may hide one. In lanes where several are left.
    """
    n, m = x.size, here.size
    flat, f0, _, units, vector, o = views(work, x, here)
    state = part(work, work.size - STATE, (STATE,))
    group, tables = integers(state), 3 * n + OF_OUTPUTS * m
    _, values, blocks = tiles(work, n, m, group[WIDTH])
    for k in range(total):
        state[STEPS + k], group[ENTRIES + k] = t, 0
    for look in range(LOOKS):
        left, every = 0, faint > 1e300
        for k in range(total):
            left += state[STEPS + k] > 0.0
            every |= group[WHOLE + k] != 0 or 0.0 < state[STEPS + k] < faint
        if left == 0:
            break
        moved = in_lanes(f, x, here, work, pattern, total, every) if state[RUNS] != 0.0 and left > 1 else -1
        for k in range(total):
            g, step, count = group[GROUP + k], state[STEPS + k], group[ENTRIES + k]
            a = part(work, tables + k * OF_ENTRIES * m, (OF_ENTRIES, m))
            if step == 0.0:
                continue
            index, some = integers(a), moved
            if moved < 0:
                if not evaluated(f, x, here, work, pattern, g, step, LINE):
                    return 0
                some = blocks_of(o, LINE, f0, pattern, g, every, blocks)
            else:
                for e in range(count):
                    i = np.uint64(index[OUTPUT, e])
                    o[LINE, i], o[LINE + 1, i] = f0[i], f0[i]
                for begin in part(blocks, 0, (moved,)):
                    for i in range(np.uint64(begin), np.uint64(min(begin + BLOCK, m))):
                        o[LINE, i], o[LINE + 1, i] = values[2 * k, i], values[2 * k + 1, i]
            whole = group[WHOLE + k] != 0
            count = entries_of(o, a, f0, pattern, g, step, look == 0, whole, count, part(blocks, 0, (some,)))
            if count < 0:
                group[WHOLE + k] = 1
                return -1
            if not looked(o, a, look, count, flat, units, f0, step):
                return 0
            following = next_step(o, a, look, count, common) if look + 1 < LOOKS and count > 0 else 0.0
            if following < 0.0 or 0.0 < following < 2.0**-60:
                return 0
            state[STEPS + k], group[ENTRIES + k], group[LOOKED + k] = following, count, look + 1
    for k in range(total):
        g, count, a = group[GROUP + k], group[ENTRIES + k], part(work, tables + k * OF_ENTRIES * m, (OF_ENTRIES, m))
        index = integers(a)
        if each[FLAGGED, g] == 0.0:  # what the first look says has been entered
            for e in range(count):
                i, factor = np.uint64(index[OUTPUT, e]), vector[index[COLUMN, e]] / units[index[COLUMN, e]]
                error = 2.8 / 0.71 * a[NOISE_OF, e] * factor
                o[AGREED, i] -= a[DERIVATIVE, e] * factor
                o[KNOWN, i] = max(o[KNOWN, i] - 1.001 * error * error, 0.0)
        looks = group[LOOKED + k]
        if not settled(o, a, looks, count, units, vector, common, part(scratch, 0, (LOOKS, 4))):
            return 0
        for e in range(count):
            out[index[PLACE, e]] = a[VALUE, e] / units[index[COLUMN, e]]
    return 1


# ---- kernels


@inner
def confirmed(f, x, here, work, pattern, data):
    """Compare with f along one direction, as `planning.operators.disagrees` does, which decides where this does not."""
    flat, _, y, _, vector, o = views(work, x, here)
    indptr, indices = pattern[6], pattern[7]
    if not scales(flat, vector):
        return False
    begin = np.int64(checksum(flat)) % PERIOD
    place = begin
    for i in range(flat.size):
        vector[i] = SIGNS[place] * vector[i] * FARTHER
        place = place + 1 if place + 1 < begin + PERIOD else begin
    for side in range(2):
        for i in range(flat.size):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        if not at_row(f, x, here, work, DOWN if side else UP):
            return False
    for i in range(flat.size):
        vector[i] = 0.5 * ((flat[i] + vector[i]) - (flat[i] - vector[i]))
    scatter = 2e-3 / math.sqrt(max(1.0, data.size / here.size))
    for r in range(here.size):
        total, up, down = 0.0, o[UP, r], o[DOWN, r]
        for e in range(indptr[r], indptr[r + 1]):
            total += data[e] * vector[indices[e]]
        gap = abs((up - down) - 2.0 * total)
        doubt = 100.0 * EPS * (abs(up) + abs(down)) + 20.0 * o[SIGMA, r]
        if gap <= 0.999 * doubt:
            continue
        for e in range(indptr[r], indptr[r + 1]):
            j = indices[e]
            doubt += abs(data[e]) * (scatter * abs(vector[j]) + 32.0 * EPS * abs(flat[j]))
        if not gap <= 0.999 * doubt:
            return False
    return True


@kernel(seconds=10.0)
def by_rule(address, before, after, like, x, here, work, out, pattern):
    """Write the entries, direction by direction, by the default rule; returns one of `DONE`, `LATER`, `UNSURE`."""
    n, m, began, f = x.size, here.size, ticks(), (address, before, after, like)
    flat, f0, y, units, vector, o = views(work, x, here)
    count, out = directions(pattern, n), part(out, 0, (out.size,))
    state = part(work, work.size - STATE, (STATE,))
    group, a = integers(state), part(work, 3 * n + OF_OUTPUTS * m, (OF_ENTRIES, m))
    tables = tables_of(n, group[WIDTH], pattern is not None)
    end = 3 * n + (OF_OUTPUTS + tables * OF_ENTRIES) * m
    scratch, each = part(work, end, (BINS,)), part(work, end + BINS, (2, count))
    lengths = part(work, end + BINS + 2 * count, (work.size - end - BINS - 2 * count - STATE,))
    start, t, common, known = int(state[START]), state[STEP], state[COMMON], state[KNOWN_LENGTH] != 0.0
    if start == 0:
        for i in range(n):
            y[i] = flat[i]
        begun(work, flat, m)
        if not scales(flat, units) or not call_into(f, part(work, 0, x.shape), here):
            return UNSURE
        terms = o[AGREED]
        for i in range(m):
            terms[i] = n if pattern is None else max(1, pattern[6][i + 1] - pattern[6][i])
        t, common, known = look(f, x, here, work, terms, scratch), np.inf, True
        if t == 0.0:
            return UNSURE
        prepared(o, t)
        refreshed(y, flat)
    _, _, blocks = tiles(work, n, m, integers(state)[WIDTH])
    state[START], every, faint = 0.0, n < 0, 0.0
    for i in range(m):
        every |= o[BIN, i] == 0.0
        faint = max(faint, 0.7201 * o[SIGMA, i] / (0.999e-5 * o[VARIATION, i]))
    faint, total = np.inf if every else faint, 0
    together = max(1, TILE // max(m, n)) if pattern is None else count  # as `seeds.parts`
    begin, entries, shown, far, opened = start, 0, np.int64(0), 0, 0
    for g in range(start, count):
        moved = swept(f, x, here, work, pattern, g, t, every)
        if moved < 0:
            return UNSURE
        listed, wants, each[STEEP, g], some, long = judged(
            o, a, f0, flat, units, pattern, g, t, part(blocks, 0, (moved,)), part(lengths, shown, (m,))
        )
        if listed < 0:
            return UNSURE
        if not wants:
            entered(o, a, listed, f0, units, vector, pattern, g, out)
        each[FLAGGED, g] = wants
        first, behind = extent(pattern, g, m)
        opened, shown, far, entries = opened + wants, shown + some, far + long, entries + behind - first
        if g + 1 - begin == together or g + 1 == count:
            if count > 1 and 2 * shown > entries:
                # most entries show their lengths: none is taken to be much shorter
                known = opened > 0 or 2 * far <= shown
                common = middle(lengths, shown) if known else 24300.0 * t  # at least
            if opened > 0 and not known:
                return UNSURE
            for d in range(begin, g + 1):
                short = each[STEEP, d] * t * t > 250.0 * common * common and t * t > 1.7e-9 * common * common
                if short or each[FLAGGED, d] != 0.0:
                    group[GROUP + total], group[WHOLE + total] = d, 0
                    total += 1
                if total == tables or (total > 0 and d == g):
                    done = -1
                    while done < 0:
                        done = looks_again(f, x, here, work, pattern, total, t, common, faint, each, scratch, out)
                    if done == 0 or ticks() - began > MOST:
                        return UNSURE
                    total, state[AT] = 0, -float(group[WIDTH])  # another pass fills the tile for the sweep
            begin, entries, shown, far, opened = g + 1, 0, 0, 0, 0
            if ticks() - began > TICKS and begin < count:
                state[START], state[STEP], state[COMMON], state[KNOWN_LENGTH] = begin, t, common, known
                return passed(work, began)
        if ticks() - began > MOST:
            return UNSURE
    if not refreshed(y, flat) or not agrees(o, units, t):
        return UNSURE
    return finished(work, began) if pattern is None or confirmed(f, x, here, work, pattern, out) else UNSURE


@kernel(seconds=2.5)
def by_step(address, before, after, like, x, here, work, out, pattern):
    """Write the entries by central differences with the steps in `work`; returns one of `DONE`, `LATER`, `UNSURE`."""
    n, m, began, f = x.size, here.size, ticks(), (address, before, after, like)
    flat, reference, y, units, spans, o = views(work, x, here)
    out = part(out, 0, (out.size,))
    state = part(work, work.size - STATE, (STATE,))
    _, _, blocks = tiles(work, n, m, integers(state)[WIDTH])
    start, state[START] = int(state[START]), 0.0
    lost = False
    for j in range(n):
        unit = units[j]
        above, below = flat[j] + unit, flat[j] - unit
        lost |= (above == flat[j]) | (below == flat[j]) | (not abs(above) < np.inf) | (not abs(below) < np.inf)
        spans[j] = (above - below) / unit
    if lost:
        return UNSURE
    if start == 0:
        refreshed(y, flat)
        begun(work, flat, m)
    for g in range(start, directions(pattern, n)):
        moved = swept(f, x, here, work, pattern, g, 1.0, g == 0)
        if moved < 0:
            return UNSURE
        if g == 0:
            for i in range(np.uint64(m)):  # whatever it is: where both sides are the same, so is their difference zero
                reference[i] = o[UP, i]
        finite, (_, behind) = True, extent(pattern, g, m)
        for begin in part(blocks, 0, (moved,)):
            for k in range(np.uint64(begin), np.uint64(min(begin + BLOCK, behind))):
                i, j, place = entry(pattern, g, m, k)
                slope = (0.0 + (o[UP, i] - o[DOWN, i]) / spans[j]) / units[j]
                finite &= abs(slope) < np.inf
                out[place] = slope
        if not finite:
            return UNSURE
        if ticks() - began > TICKS and g + 1 < directions(pattern, n):
            state[START] = g + 1
            return passed(work, began)
    if not refreshed(y, flat):
        return UNSURE
    if pattern is not None:
        for i in range(np.uint64(m)):
            o[SIGMA, i] = 0.0
        if not confirmed(f, x, here, work, pattern, out):
            return UNSURE
    return finished(work, began)
