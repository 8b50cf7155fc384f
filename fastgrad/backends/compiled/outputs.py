"""What the line says of each of f's values, compiled: `schemes.outputs` in flat loops, to the same bits.

Where it is not certain what that does, it decides: tests here may be stricter than there, never laxer.
"""

import math

import numpy as np

from ...schemes.constants import (
    EPS,
    FIFTH,
    FINER,
    FOURTH,
    NEGLIGIBLE,
    QUIET,
    SAME,
    SHORT,
    SIXTH,
    SPACING,
    THIRD,
    TINY,
    TORN,
)
from ...schemes.line import NOISY, UNSEEN
from ...schemes.outputs import FEW, PERIOD, SIGNS, STEP, WIDEST
from .cache import uncounted
from .default import checksum, checksum_of, on_a_lattice, spacing_of
from .kernels import power_of_two
from .native import STACK, array_at, integers, on_the_stack

MARGIN = 1e-9  # numpy sums in another order
BINS = 64
POWERS = np.array([10.0**k for k in range(23)])  # they are exact
FEW_LINES = STACK // 11  # outputs that are judged together
# What is known of each output: rows of one table; `LINE` and `LATEST` are seven values, on the first and the last line.
(SIGMA, RHO, VARIATION, ENOUGH, SLOPE, DOUBT, LEAST, AGREED, KNOWN, NEEDED, LARGEST, STRAIN, BIN, SHORTER) = range(14)
LEVEL, UP, DOWN, LINE, LATEST = 14, 15, 16, 17, 24
# Whether an output's noise is its floor, so known to the bit; its step, where it stands still on the line and changes
# farther away, else 0.
EXACT, ALONE = LATEST + 7, LATEST + 8
OF_OUTPUTS = LATEST + 9
# What `sevens` writes lies where later comes what the entries say.
LEVELS, LOW, HIGH, UNMOVED, THIRDS = KNOWN, RHO, VARIATION, ENOUGH, LEAST
L1, L2, L3, L4, L5, L6, L7, L8, L9, L10 = (np.uint64(k * FEW_LINES) for k in range(1, 11))


@uncounted
def scales(x, units):
    """Write `seeds.units_of`; returns whether x is finite and of a usual size."""
    words, top = integers(x), np.int64(0)
    for i in range(np.uint64(x.size)):  # sizes are in the order of their bits, which LLVM compares eight at a time
        top = max(top, words[i] & 0x7FFFFFFFFFFFFFFF)
    largest = np.int64(top).view(np.float64)
    if not largest < 1e290:
        return False
    least = min(1.0, largest) if largest > 0.0 else 1.0
    for i in range(np.uint64(x.size)):
        units[i] = power_of_two(max(abs(x[i]), least))
    return least > 1e-270


@uncounted
def signed(x, units, vector, scale):
    """Write `outputs.signs` of x, times a scale and the units, which the vector may be itself."""
    words, n = integers(x), x.size
    if n > PERIOD:
        total = np.int64(0)
        for i in range(np.uint64(n)):
            total += words[i]
        first = np.int64(checksum_of(total)) % PERIOD
    else:
        first = np.int64(checksum(x)) % PERIOD
    for begin in range(0, n, PERIOD):
        for k in range(np.uint64(min(PERIOD, n - begin))):
            vector[np.uint64(begin) + k] = units[np.uint64(begin) + k] * (scale * SIGNS[np.uint64(first) + k])


@uncounted
def line(x, units, vector, spacing):
    """Write the direction of `outputs.look_along`, one that small multiples of are exact."""
    signed(x, units, vector, spacing)
    for i in range(np.uint64(x.size)):
        grain, move = 4.0 * spacing_of(abs(x[i])), vector[i]
        grains = np.rint(move / grain)
        fits = (x[i] != 0.0) & (abs(grains) >= 8.0) & (abs(grains) < 2.0**52)
        vector[i] = grains * grain if fits else move


@uncounted
def sevens(o, table, slopes):
    """Write what each output's seven values on a line, x in their middle, say; of `slopes`, where they are wanted.

    `LEVELS`: the noise that the third to sixth differences suggest; `LOW` and `HIGH`: least and largest value;
    `UNMOVED`: how many first differences vanish; `THIRDS`: the third derivative in scales of x; `SLOPE` and `DOUBT`:
    the derivative along the line, and the largest fifth difference; `BIN`: -1 where no digit is 8 ulp or finer.

    Some outputs at a time, on the stack: there LLVM sees that nothing overlaps, and computes eight at once.
    """
    m, few = o.shape[1], array_at(on_the_stack(), STACK)
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
            k = 0
            while k < 7 and printed(o[table + k, i]):
                k += 1
            if k == 7:
                return True
    return False


@uncounted
def printed(value):
    """Whether a number may be a decimal of twelve digits; it is at most one of thirteen, unless it is huge or tiny."""
    if not on_a_lattice(value, value, 1.0)[1]:
        return False
    if not 1e-9 < abs(value) < 1e11:
        return True
    scale = POWERS[12 - math.floor(math.log10(abs(value)))]
    return np.rint(value * scale) / scale == value  # both are exact, and so is the quotient of what is printed


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
    return there < 0.2001 * largest and largest < 1.001 * STEP * top


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
def noises(o, table, shrinks, flat):
    """Write the noise of each output as `outputs._judge`, after the first line of those that are unclear still.

    These have a negative one. Returns how many they are; -1: not sure, or with `shrinks` where steps may be relative.
    `flat`: whether outputs may stand still on most of the first line.
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
        if still >= 4 and (not first or (low != high and not flat)):
            return -1
        if not top < 1e80 or (low != high and max(high - f0, f0 - low) < 1e-80):
            return -1
        if abs(last - three) <= MARGIN * floor or near(level, QUIET * floor):
            return -1
        smooth, noisy = last <= three, level <= QUIET * floor
        rms = math.sqrt((fifth * fifth + sixth * sixth) / 2.0)
        sigma = max(floor, rms)
        o[EXACT, i] = 1.0 if smooth and rms < (1.0 - MARGIN) * floor else 0.0
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
    m, drowned, hidden, sure = o.shape[1], 0, 0, True
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
        moves = o[UNMOVED, i] < 4.0
        w0, f0, w6, noise, count = o[LINE, i], o[LINE + 3, i], o[LINE + 6, i], o[SIGMA, i], terms[i]
        spread = max(high - f0, f0 - low)
        seen, floor = max(abs(f0), spread), EPS * max(0.5 * abs(f0), 0.25 * high, -0.25 * low)
        shows = third_level > 4.0 * (1.0 - MARGIN) * max(noise, fourth_level)
        third = third if shows else 0.0
        rise, bend = abs(w6 - w0), abs((w6 - f0) + (w0 - f0))
        drowned += (rise < 10.1 * noise) & (bend < 20.1 * noise) & moves
        sure &= not (abs(bend - 8.0 * noise) <= MARGIN * noise or (small and rise < 10.1 * noise))
        bend = 0.0 if bend <= 8.0 * noise else bend / (9.0 * SPACING * SPACING)
        size = max(rise / (6.0 * SPACING) / math.sqrt(count), bend / count)
        # values near 0 in noise: of most outputs a wider look is asked for
        hidden += (noise > 0.999 * max(NOISY * seen, 2.0 * QUIET * floor)) & (size > 0.999 * UNSEEN * seen)
        size = min(size, seen)
        sure &= not abs(size - 10.0 * noise) <= MARGIN * noise
        ranged(o, i, noise, size, max(seen, TINY), third, count)
        o[DOUBT, i] = 4.0 * noise + 0.1 * o[DOUBT, i]
        o[LEAST, i] = third / (3.0 * count)
        o[ALONE, i] = 0.0
    return sure and 2 * drowned <= m and 2 * hidden <= m


@uncounted
def ranged(o, i, noise, size, seen, third, count):
    """Write how an output varies, and the power of two next to the step that suits it."""
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
    o[RHO, i] = noise / seen
    o[ENOUGH, i] = max(3e-9, 0.3 * root * root) / 1.42 * 0.999


@uncounted
def afar(o, above, below, terms):
    """Measure outputs that stand still on the line by values farther away, as `outputs.look_along`; False: not sure."""
    sure = True
    for i in range(o.shape[1]):
        f0, count = o[LINE + 3, i], terms[i]
        if not is_flat(o, i) or (above[i] == f0 and below[i] == f0):
            continue
        low, high = min(f0, above[i], below[i]), max(f0, above[i], below[i])
        sure &= max(high, -low) < 1e80 and high - low > 1e-80
        unit = 0.0
        if digits_of(f0) | digits_of(above[i]) | digits_of(below[i]) == 0:
            if f0 != 0.0 and above[i] != 0.0 and below[i] != 0.0:
                unit = min(last_bit(f0), last_bit(above[i]), last_bit(below[i]))
                unit = unit if unit >= 16.0 * spacing_of(max(high, -low)) else 0.0
        else:  # a decimal lattice, perhaps
            sure &= not (printed(f0) and printed(above[i]) and printed(below[i]))
        noise, size, spread = o[SIGMA, i], (high - low) / (2.0 * WIDEST) / math.sqrt(count), 0.0
        if 0.29 * unit > noise:
            noise = o[SIGMA, i] = 0.29 * unit
            o[EXACT, i] = 1.0
        for k in range(7):
            spread = max(spread, abs(o[LINE + k, i] - f0))
        third = 3.0 * count * o[LEAST, i]
        sure &= not abs(size - 10.0 * noise) <= MARGIN * noise
        ranged(o, i, noise, size, max(abs(f0), spread, TINY), third, count)
        o[ALONE, i] = 1.0  # see `alone`
    return sure


@uncounted
def alone(o):
    """Write the steps of outputs that stand still on the line and change farther away."""
    for i in range(o.shape[1]):
        if o[ALONE, i] != 0.0:
            usual = np.cbrt(min(max(o[SIGMA, i] / o[VARIATION, i], 1e-17), 1e-2))
            o[ALONE, i] = o[SHORTER, i] if o[SHORTER, i] != 0.0 else usual


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
    """Return the step of most outputs, as `outputs.step_of`; 0 where rounding may decide on it, or it is short."""
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
            return 2.0 ** float(-j) if 2.0 ** float(-j) >= SHORT else 0.0
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


@uncounted
def is_flat(o, i):
    """Whether an output is the same on most of the first line."""
    same = 0
    for k in range(6):
        same += o[LINE + k, i] == o[LINE + k + 1, i]
    return same >= 4


@uncounted
def digits_of(value):
    """Return the last four binary digits of a number."""
    return np.float64(value).view(np.int64) & 15


@uncounted
def prepared(o, t):
    """Finish what needs the step; `BIN` then says whether an output's entries without any effect are certain."""
    for i in range(o.shape[1]):
        sigma, size = o[SIGMA, i], o[VARIATION, i]
        noise = 0.72 * sigma / t
        sure = (noise <= 0.999e-5 * size) | (noise <= 0.1 * o[ENOUGH, i] * 1.42 * size)
        sure |= (size <= 6e4 * sigma) & (o[ALONE, i] <= 5.99 * t)
        o[BIN, i] = 1.0 if sure else 0.0
        o[LEAST, i] = 2.0 * o[LEAST, i] * t * t
        o[AGREED, i] = o[KNOWN, i] = o[NEEDED, i] = o[LARGEST, i] = o[STRAIN, i] = 0.0


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
            good &= widened <= TORN or t <= SPACING / FINER  # else shorter steps are tried
        good &= o[NEEDED, i] * widened <= 0.999 * NEGLIGIBLE * o[LARGEST, i]
        good &= o[STRAIN, i] * widened <= 1.0
        # of what has no effect rounding may hide what is as steep as the steepest: see `report.Report._hidden`
        bar = max(2.9 * o[SIGMA, i] / t * widened, EPS * o[VARIATION, i])
        good &= bar * most <= 0.49 * o[LARGEST, i] * least or o[LARGEST, i] < 0.99e-6 * o[VARIATION, i]
    return good
