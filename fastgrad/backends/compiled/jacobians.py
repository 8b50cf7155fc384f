"""Jacobians in one call of one kernel: the loop over columns or colours, and the default rule where all is calm.

The same values as `schemes.columns`, to the bit. Where it is not certain that no entry wants a second look, the general
rule decides: tests here may be stricter than there, never laxer. Kernels are flat, hold nothing of f, allocate nothing.
"""

import math

import numpy as np

from ...schemes import outputs
from ...schemes.constants import EPS, NEGLIGIBLE, QUIET, SPACING, TINY
from .cache import inner, kernel
from .default import checksum, nth, on_a_lattice, spacing_of
from .kernels import TICKS, UNCALM, power_of_two
from .native import call_into, part, ticks

DONE, TOO_LONG = 0, -1
MOST = 10 * TICKS  # half a second or so: then the loops decide that answer Ctrl-C
SIGNS, PERIOD, FEW = outputs.SIGNS, outputs.PERIOD, outputs.FEW
THIRD, FOURTH, FIFTH, SIXTH = (outputs.MEANS[k].max() for k in range(2, 6))
MARGIN = 1e-9  # numpy sums in another order
TILE = 1 << 16  # as in `schemes.columns`
LEAST_LENGTH = 0.25  # in scales of x: shorter ones are for the general rule
BINS = 64
FARTHER = 2.0**-19
# where the arrays of m numbers are in a workspace, after y, units and vector of n numbers each
SIGMA, RHO, VARIATION, ENOUGH, SLOPE, DOUBT, LEAST, AGREED, KNOWN, NEEDED, LARGEST, STRAIN, BIN, SHORTER = range(14)
TABLE = 14  # of seven values; then above and below for each colour
ROWS = TABLE + 7
# behind them: which columns are to be looked at again; and of one direction so many looks, and what is known of each
LOOKS = 4
DERIVATIVE, NOISE_OF, FEAR, HALF = range(4)
FIRST, SECOND, HOPE, OPEN, BEST, VALUE, BAR, STILL, OUTPUT, COLUMN, ENTRY = range(4 * LOOKS, 4 * LOOKS + 11)
FURTHER = ENTRY + 1


def workspace_size(n: int, m: int, colors: int) -> int:
    """Return how many numbers a kernel works in."""
    return 3 * n + m * (ROWS + 2 * colors) + BINS + 2 * colors + n + FURTHER * m


@kernel
def rows(address, before, after, like, x, points, values, progress):
    """Evaluate f at whole points, from the row `progress[0]` on, which it keeps true.

    Returns whether all values have one shape. It returns early so that Ctrl-C answers.
    """
    n, m, began = x.size, values[0].size, ticks()
    flat = part(x, 0, (n,))
    while progress[0] < points.shape[0]:
        row = progress[0]
        for i in range(n):
            flat[i] = points[row, i]
        if not call_into(address, x, part(values, row * m, values.shape[1:]), before, after, like):
            return False
        progress[0] = row + 1
        if ticks() - began > TICKS:
            break
    return True


@inner
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


@inner
def line(x, units, vector):
    """Write the direction of `outputs.look_along`, one that small multiples of are exact."""
    begin = np.int64(checksum(x)) % PERIOD
    place = begin
    for i in range(x.size):
        move = units[i] * (SPACING * SIGNS[place])
        place = place + 1 if place + 1 < begin + PERIOD else begin  # a remainder would take longer than all else
        if x[i] != 0.0:
            grain = 4.0 * spacing_of(abs(x[i]))
            grains = np.rint(move / grain)
            if 8.0 <= abs(grains) < 2.0**52:
                move = grains * grain
        vector[i] = move


@inner
def last_bit(value):
    """Return the unit of the last binary digit that a number needs; inf for 0."""
    digits = (np.float64(value).view(np.int64) & 0xFFFFFFFFFFFFF) | 0x10000000000000
    return spacing_of(abs(value)) * (digits & -digits) if value != 0.0 else np.inf


@inner
def lattices(w, here, quanta):
    """Write the spacing of the binary lattice of each output, as `outputs` does; returns whether one may be decimal."""
    for i in range(here.size):
        digits, same = here.view(np.int64)[i], True
        for k in range(7):
            if k != 3:
                digits |= w.view(np.int64)[k, i]
                same &= w[k, i] == here[i]
        quanta[i] = 0.0
        if same:
            continue
        if digits & 15 == 0:
            unit, top, zeros = last_bit(here[i]), abs(here[i]), 1 * (here[i] == 0.0)
            for k in range(7):
                if k != 3:
                    unit, top, zeros = min(unit, last_bit(w[k, i])), max(top, abs(w[k, i])), zeros + (w[k, i] == 0.0)
            if zeros <= 4 and unit >= 16.0 * spacing_of(top):
                quanta[i] = unit
        elif here.size <= FEW and on_a_lattice(w[0, i], w[0, i], 1.0)[1] and on_a_lattice(w[1, i], w[1, i], 1.0)[1]:
            return True
    return False


@inner
def near(a, b):
    """Say whether rounding, in another order, may decide which of two numbers is larger."""
    return abs(a - b) <= MARGIN * max(abs(a), abs(b)) and max(abs(a), abs(b)) > 1e-290


@inner
def power_near(value):
    """Return the nearest power of two in the logarithm; 0 where rounding may decide on it."""
    exponent = math.log2(value)
    nearest = np.rint(exponent)
    return 2.0**nearest if abs(exponent - nearest) < 0.5 - MARGIN else 0.0


@inner
def bent_steps(work, n, m, terms):
    """Shorten the steps of outputs whose third derivative shows, as `outputs.step_of`; False: not sure."""
    sigma, variation = part(work, 3 * n + SIGMA * m, (m,)), part(work, 3 * n + VARIATION * m, (m,))
    enough, least = part(work, 3 * n + ENOUGH * m, (m,)), part(work, 3 * n + LEAST * m, (m,))
    bins, steps = part(work, 3 * n + BIN * m, (m,)), part(work, 3 * n + SHORTER * m, (m,))
    for i in range(m):
        steps[i] = 0.0
        if bins[i] < 9000.0:
            continue
        count, third = terms[i], 3.0 * terms[i] * least[i]
        step = np.cbrt(min(max(sigma[i] / variation[i], 1e-17), 1e-2))
        shorter = max(np.cbrt(3.0 * sigma[i] * math.sqrt(count) / third), 1e-13)
        wide = shorter * np.cbrt(count)
        if near(wide, 0.5 * step):
            return False
        still = bins[i] - 10000.0 > 3000.0
        if wide >= 0.5 * step:
            bins[i] -= 10000.0
            continue
        step = shorter * math.sqrt(np.cbrt(count))
        power = power_near(step)
        if power == 0.0 or power < 2.0**-60:
            return False
        enough[i], steps[i] = max(3e-9, 0.3 * step * step) / 1.42 * 0.999, step
        bins[i] = math.log2(power) + (4000.0 if still else 0.0)
    return True


@inner
def look(work, x, here, terms):
    """Judge the seven values of each output as `outputs` does; returns the step, or 0 where one look is not enough."""
    n, m = x.size, here.size
    sigma, rho = part(work, 3 * n + SIGMA * m, (m,)), part(work, 3 * n + RHO * m, (m,))
    variation, enough = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + ENOUGH * m, (m,))
    slope, doubt, least = (
        part(work, 3 * n + SLOPE * m, (m,)),
        part(work, 3 * n + DOUBT * m, (m,)),
        part(work, 3 * n + LEAST * m, (m,)),
    )
    bins, w = part(work, 3 * n + BIN * m, (m,)), part(work, 3 * n + TABLE * m, (7, m))
    if lattices(w, here, bins):
        return 0.0
    bad, moving, drowned = False, 0, 0
    for i in range(m):
        w0, w1, w2, f0, w4, w5, w6 = w[0, i], w[1, i], w[2, i], here[i], w[4, i], w[5, i], w[6, i]
        a0, a1, a2, a3, a4, a5 = w1 - w0, w2 - w1, f0 - w2, w4 - f0, w5 - w4, w6 - w5
        b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
        c0, c1, c2, c3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
        d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
        e0, e1 = d1 - d0, d2 - d1
        third_level = math.sqrt(THIRD * (c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3))
        fourth_level = math.sqrt(FOURTH * (d0 * d0 + d1 * d1 + d2 * d2))
        fifth_level, sixth_level = math.sqrt(FIFTH * (e0 * e0 + e1 * e1)), math.sqrt(SIXTH) * abs(e1 - e0)
        low = min(w0, w1, w2, f0, w4, w5, w6)
        high = max(w0, w1, w2, f0, w4, w5, w6)
        spread, top = max(high - f0, f0 - low), max(high, -low)
        constant = low == high
        bad |= not top < 1e140
        bad |= (not constant) & (spread < 1e-140)
        still = 1 * (a0 == 0.0) + (a1 == 0.0) + (a2 == 0.0) + (a3 == 0.0) + (a4 == 0.0) + (a5 == 0.0)
        moving += still < 4
        bad |= still >= 4  # the general rule looks at it from afar
        floor = max(0.5 * EPS * abs(f0), 0.25 * EPS * top, TINY, 0.29 * bins[i])
        last = max(fifth_level, sixth_level)
        smooth = last <= 3.0 * floor
        bad |= abs(last - 3.0 * floor) <= MARGIN * floor
        lowest = min(third_level, fourth_level, fifth_level, sixth_level)
        highest = max(third_level, fourth_level, fifth_level, sixth_level)
        level = (third_level + fourth_level + fifth_level + sixth_level - lowest - highest) / 2.0
        bad |= (not smooth) & (level > 0.999 * QUIET * floor)
        rms = max(floor, math.sqrt((fifth_level * fifth_level + sixth_level * sixth_level) / 2.0))
        middle = max(min(fourth_level, fifth_level), min(max(fourth_level, fifth_level), sixth_level))
        noise = rms if smooth else middle
        shows = third_level > 4.0 * (1.0 - MARGIN) * max(noise, fourth_level)
        p, q, r, s = abs(c0), abs(c1), abs(c2), abs(c3)
        third = (p + q + r + s - max(p, q, r, s) - min(p, q, r, s)) / 2.0 / SPACING**3 if shows else 0.0
        rise, bend = abs(w6 - w0), abs((w6 - f0) + (w0 - f0))
        drowned += (rise < 10.1 * noise) & (bend < 20.1 * noise) & (still < 4)
        bad |= abs(bend - 8.0 * noise) <= MARGIN * noise
        bend = 0.0 if bend <= 8.0 * noise else bend / (9.0 * SPACING * SPACING)
        count = terms[i]
        size = max(rise / (6.0 * SPACING) / math.sqrt(count), bend / count)
        size = min(size, max(abs(f0), spread))
        bad |= abs(size - 10.0 * noise) <= MARGIN * noise
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
        bins[i] = (k - 100.0) + (1000.0 if doubtful else 0.0) + (4000.0 if size <= 10.0 * noise else 0.0)
        bins[i] += 10000.0 if bends else 0.0
        sigma[i], variation[i] = noise, varies
        rho[i] = noise / max(abs(f0), spread, TINY)
        enough[i] = max(3e-9, 0.3 * root * root) / 1.42 * 0.999
        slope[i] = (45.0 * (w4 - w2) - 9.0 * (w5 - w1) + (w6 - w0)) / 60.0
        doubt[i] = 4.0 * noise + 0.1 * max(abs(e0), abs(e1))
        least[i] = third / (3.0 * count)
    if bad or moving == 0 or 2 * drowned > m:
        return 0.0
    if not bent_steps(work, n, m, terms):
        return 0.0
    return step_of(work, n, m)


@inner
def step_of(work, n, m):
    """Return the step of most outputs, as `outputs.step_of`; 0 where rounding may decide on it."""
    bins = part(work, 3 * n + BIN * m, (m,))
    counts = part(work, 3 * n + m * (ROWS + 2), (BINS,))  # behind all else, of at least one colour
    active = 0
    for i in range(m):
        active += bins[i] < 3000.0
    for j in range(BINS):
        counts[j] = 0.0
    total, doubtful = 0, 0
    for i in range(m):
        b = bins[i]
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


@inner
def still_outputs(work, n, m, t):
    """Say of each output, and of all, whether entries without any effect are certain; finish what needs the step."""
    variation, sigma = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + SIGMA * m, (m,))
    enough, least = part(work, 3 * n + ENOUGH * m, (m,)), part(work, 3 * n + LEAST * m, (m,))
    zeros, bins = part(work, 3 * n + AGREED * m, (5, m)), part(work, 3 * n + BIN * m, (m,))
    certain = True
    for i in range(m):
        noise, size = 0.72 * sigma[i] / t, variation[i]
        sure = (noise <= 0.999e-6 * size) | (noise <= 0.1 * enough[i] * 1.42 * size) | (size <= 6e5 * sigma[i])
        bins[i] = 1.0 if sure else 0.0
        certain &= sure
        least[i] = 2.0 * least[i] * t * t
        zeros[0, i] = zeros[1, i] = zeros[2, i] = zeros[3, i] = zeros[4, i] = 0.0
    return certain


@inner
def judged(first, second, sigma, half, variation, enough):
    """Say of an entry whether no other step would be tried (0), hardly so (1), or perhaps (2)."""
    bent, rise = max(second, 4.0 * sigma), max(first, 2.0 * sigma)
    size = max(variation, rise)
    square, cube = bent * bent, bent * bent * bent
    rough = (second > 7.99 * sigma) & (second > 0.0299 * first)
    down = (square > 63.0 * sigma * rise) & (cube > 16e3 * sigma * sigma * size)
    down &= square > 8.9e-10 * rise * max(0.5 * first, variation * half)
    measure = max(first, 0.2 * variation * half)
    up = (sigma > enough * measure) & ((rise * sigma > 200.0 * square) | (size * sigma * sigma > 1e4 * cube))
    lacks = 1.42 * sigma > 0.999e-6 * measure
    if rough | down | (up & lacks):
        return 2
    return 1 if up else 0


@inner
def move(flat, x, units, columns, begin, end, t):
    """Write x + t units at some columns, x elsewhere."""
    for i in range(x.size):
        flat[i] = x[i]
    for k in range(begin, end):
        j = columns[k]
        flat[j] = x[j] + t * units[j]


@inner
def explored(address, before, after, like, x, here, work):
    """Evaluate f at x and on the line; 0 where that is not calm, else 1."""
    n, m = x.size, here.size
    flat, y = part(x, 0, (n,)), part(work, 0, (n,))
    shaped, units, vector = part(work, 0, x.shape), part(work, n, (n,)), part(work, 2 * n, (n,))
    if not scales(flat, units):
        return False
    for i in range(n):
        y[i] = flat[i]
    if not call_into(address, shaped, here, before, after, like):
        return False
    line(flat, units, vector)
    for k in range(-3, 4):
        if k == 0:
            continue
        for i in range(n):
            y[i] = flat[i] + k * vector[i]
        row = part(work, 3 * n + (TABLE + k + 3) * m, here.shape)
        if not call_into(address, shaped, row, before, after, like):
            return False
    w, f0, finite = part(work, 3 * n + TABLE * m, (7, m)), part(here, 0, (m,)), True
    for i in range(m):
        finite &= abs(w[0, i] + w[1, i] + w[2, i] + w[4, i] + w[5, i] + w[6, i] + f0[i]) < 1e300
    return finite


@inner
def agrees(work, n, m):
    """Say whether the line's slopes agree with the entries, and each output's least entry is certain."""
    slope, doubt = part(work, 3 * n + SLOPE * m, (m,)), part(work, 3 * n + DOUBT * m, (m,))
    agreed, known = part(work, 3 * n + AGREED * m, (m,)), part(work, 3 * n + KNOWN * m, (m,))
    needed, largest = part(work, 3 * n + NEEDED * m, (m,)), part(work, 3 * n + LARGEST * m, (m,))
    strain = part(work, 3 * n + STRAIN * m, (m,))
    strain, good = part(work, 3 * n + STRAIN * m, (m,)), True
    for i in range(m):
        gap, widened = abs(agreed[i] - slope[i]) - doubt[i], 1.0
        if gap > 0.0 and not gap * gap <= 0.99 * known[i]:  # the bars of this output are wider by so much
            widened = 1.01 * (gap + doubt[i]) / (math.sqrt(known[i]) + doubt[i])
        good &= needed[i] * widened <= 0.999 * NEGLIGIBLE * largest[i]
        good &= strain[i] * widened <= 1.0
    return good


@inner
def looked(work, again, k, count, x, units, f0, up, down, t):
    """Write what the k-th look at a direction says of its entries, as `columns._judged_at_once`; False: not sure."""
    n, m = x.size, f0.size
    sigma, rho = part(work, 3 * n + SIGMA * m, (m,)), part(work, 3 * n + RHO * m, (m,))
    variation = part(work, 3 * n + VARIATION * m, (m,))
    a = part(work, again + n, (FURTHER, m))
    index = a.view(np.int64)
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        half = 0.5 * (((x[j] + t * units[j]) - (x[j] - t * units[j])) / units[j])
        above, below = up[i] - f0[i], down[i] - f0[i]
        noise = max(sigma[i], rho[i] * max(abs(f0[i] + above), abs(f0[i] + below)))
        first, second = abs(above - below), abs(above + below)
        if not (first < np.inf and second < np.inf and half > 0.0):
            return False
        bent, rise = max(second, 4.0 * noise), max(first, 2.0 * noise)
        by_size, by_slope = half * math.sqrt(max(variation[i], rise) / bent), half * rise / (2.0 * bent)
        longer, shorter = max(by_size, by_slope), min(by_size, max(by_slope, half))
        slope = first / (2.0 * half)
        hope = max(slope * (half / longer) ** 2, bent / longer) / 6.0
        fear = max(slope * (half / shorter) ** 2, second / shorter) / 6.0 if second > 4.0 * noise else hope
        if (second > 7.99 * noise and second > 0.0299 * first) or near(second, 4.0 * noise):
            return False  # rough, perhaps
        a[4 * k + DERIVATIVE, e], a[4 * k + NOISE_OF, e] = (above - below) / (2.0 * half), 0.71 * noise / half
        a[4 * k + FEAR, e], a[4 * k + HALF, e] = min(fear, 100.0 * hope), half
        a[FIRST, e], a[SECOND, e], a[HOPE, e] = first, second, hope
        if k == 0:
            a[STILL, e] = 1.0 if first == 0.0 and second == 0.0 else 0.0
    return True


@inner
def middle(values, count):
    """Return the median of the first numbers of an array; moves them about."""
    above = nth(values, count, count // 2)
    return 0.5 * (nth(values, count, (count - 1) // 2) + above)


@inner
def next_step(work, again, k, count, n, m):
    """Return the step of the look after the k-th, as `columns._improve`; 0 where that is the last, -1: not sure."""
    variation, sigma = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + SIGMA * m, (m,))
    shorter = part(work, 3 * n + SHORTER * m, (m,))
    a = part(work, again + n, (FURTHER, m))
    index, best = a.view(np.int64), part(work, again + n + BEST * m, (m,))
    downs = ups = lacking = moved = 0
    for e in range(count):
        i = index[OUTPUT, e]
        size, derivative, noise, half = variation[i], abs(a[4 * k, e]), a[4 * k + NOISE_OF, e], a[4 * k + HALF, e]
        moved += a[FIRST, e] != 0.0
        least = 3e-10 * max(size, derivative)
        if near(a[HOPE, e], 30.0 * noise) or near(a[HOPE, e], least):
            return -1.0
        down = a[OPEN, e] != 0.0 and a[HOPE, e] > 30.0 * noise and a[HOPE, e] > least
        counts = max(derivative, 0.1 * size)
        bent = a[HOPE, e] if down else a[4 * k + FEAR, e]
        larger, root = np.cbrt(noise / (2.0 * max(bent, TINY))), shorter[i]
        if root == 0.0:
            root = np.cbrt(min(max(sigma[i] / size, 1e-17), 1e-2))
        suffices, still = max(3e-9, 0.3 * root * root) * counts, a[FIRST, e] == 0.0 and a[SECOND, e] == 0.0
        up = a[OPEN, e] != 0.0 and not down and larger > 6.0 and noise > suffices
        if up and (near(larger, 6.0) or near(noise, suffices) or near(noise, 1e-6 * counts)):
            return -1.0
        if up and still:
            if near(noise, 1e-6 * size):
                return -1.0
            up = noise > 1e-6 * size
        downs, ups = downs + down, ups + up
        lacking += up and noise > 1e-6 * counts
        a[VALUE, e] = 1.0 if down else (-1.0 if up else 0.0)
        best[e] = half * larger
    if downs == 0 and lacking == 0 and 4 * ups <= moved:
        return 0.0
    wanted = 1.0 if downs > 0 else -1.0
    total, mean = 0, 0.0
    chosen = part(work, again + n + BAR * m, (m,))
    for e in range(count):
        mean += a[4 * k + HALF, e]
        mine = a[VALUE, e] == wanted
        if mine:
            chosen[total] = best[e]
            total += 1
        a[OPEN, e] = 1.0 if mine or (downs > 0 and a[OPEN, e] != 0.0) else 0.0
    mean /= count
    t = power_near(min(max(middle(chosen, total), mean * 1e-6), mean * 1e4, 0.5))
    if downs == 0:
        for p in range(k):
            other = 0.0
            for e in range(count):
                other += a[4 * p + HALF, e]
            if other / count > mean:
                return -1.0  # up after down: rare
    for p in range(k + 1):
        other = 0.0
        for e in range(count):
            other += a[4 * p + HALF, e]
        if 0.3 < t / (other / count) < 3.3:
            return 0.0
    return t if t > 0.0 else -1.0


@inner
def choose(work, again, looks, count, n, m):
    """Take of each entry the look with the smallest error, as `columns._chosen`; False: not sure."""
    a = part(work, again + n, (FURTHER, m))
    for e in range(count):
        value = bar = least = 0.0
        finer, before = 0.0, 0.0
        done = 0.0
        for rank in range(looks):  # by their steps, the shortest first
            k, shortest = 0, np.inf
            for p in range(looks):
                if done < a[4 * p + HALF, e] < shortest:
                    k, shortest = p, a[4 * p + HALF, e]
            done = shortest
            derivative, noise, fear = a[4 * k, e], a[4 * k + NOISE_OF, e], a[4 * k + FEAR, e]
            expected = abs(derivative) * shortest * shortest / 6.0
            truncation = max(fear, expected)
            if rank:
                gap = abs(derivative - before) - 2.0 * finer
                truncation = max(gap, min(fear, 3.0 * finer), min(expected, finer))
            error = noise + truncation
            if rank and near(error, least) and derivative != value:
                return False
            if rank == 0 or error < least:
                value, bar, least = derivative, 4.0 * noise + 3.0 * truncation, error
            finer, before = noise, derivative
        a[VALUE, e], a[BAR, e] = value, bar
    return True


@inner
def settled(work, again, count, n, m):
    """Enter the chosen values of a direction into what is checked at the end."""
    agreed, known = part(work, 3 * n + AGREED * m, (m,)), part(work, 3 * n + KNOWN * m, (m,))
    least, needed = part(work, 3 * n + LEAST * m, (m,)), part(work, 3 * n + NEEDED * m, (m,))
    largest, variation = part(work, 3 * n + LARGEST * m, (m,)), part(work, 3 * n + VARIATION * m, (m,))
    strain = part(work, 3 * n + STRAIN * m, (m,))
    units, vector = part(work, n, (n,)), part(work, 2 * n, (n,))
    a = part(work, again + n, (FURTHER, m))
    index = a.view(np.int64)
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        factor, size = vector[j] / units[j], abs(a[VALUE, e])
        agreed[i] += a[VALUE, e] * factor
        known[i] += (0.999 * a[BAR, e] * factor) ** 2
        largest[i] = max(largest[i], size)
        must = max(2.01 * a[BAR, e], least[i])
        if a[STILL, e] != 0.0:
            continue
        certain = max(size, 1e-6 * variation[i])
        if certain < must:
            needed[i] = max(needed[i], must)
        else:
            strain[i] = max(strain[i], must / certain)


@inner
def looks_again(address, before, after, like, x, here, work, again, count, columns, begin, end, t):
    """Look at a direction as often as the rule asks for; returns how many entries it has, -1 where it is not sure.

    Its entries are listed; with a `count` of 0 it is one column, and those are listed that are not still.
    """
    n, m, alone = x.size, here.size, count == 0
    flat, f0, y, shaped = part(x, 0, (n,)), part(here, 0, (m,)), part(work, 0, (n,)), part(work, 0, x.shape)
    units, looks = part(work, n, (n,)), 0
    up, down = part(work, 3 * n + TABLE * m, (m,)), part(work, 3 * n + (TABLE + 1) * m, (m,))
    a = part(work, again + n, (FURTHER, m))
    index = a.view(np.int64)
    while t > 0.0 and looks < LOOKS:
        for side in range(2):
            move(y, flat, units, columns, begin, end, -t if side else t)
            row = part(work, 3 * n + (TABLE + side) * m, here.shape)
            if not call_into(address, shaped, row, before, after, like):
                return -1
        if alone:
            moved = 0
            for i in range(m):
                if up[i] != f0[i] or down[i] != f0[i]:
                    moved += 1
                    if looks == 0:
                        index[OUTPUT, count], index[COLUMN, count] = i, columns[begin]
                        count += 1
            known = 0
            for e in range(count):
                i = index[OUTPUT, e]
                known += up[i] != f0[i] or down[i] != f0[i]
            if moved > known:
                return -1  # what stood still before
        if not looked(work, again, looks, count, flat, units, f0, up, down, t):
            return -1
        if looks == 0:
            for e in range(count):
                a[OPEN, e] = 1.0
        looks += 1
        t = next_step(work, again, looks - 1, count, n, m) if looks < LOOKS else 0.0
        if t < 0.0 or 0.0 < t < 2.0**-60:
            return -1
    if not choose(work, again, looks, count, n, m):
        return -1
    settled(work, again, count, n, m)
    return count


@kernel
def dense_by_rule(address, before, after, like, x, here, work, out):
    """Write one row of `out` for each coordinate, by the default rule; returns DONE, or why it may not."""
    n, m, began = x.size, here.size, ticks()
    flat, f0, y, shaped = part(x, 0, (n,)), part(here, 0, (m,)), part(work, 0, (n,)), part(work, 0, x.shape)
    units, vector = part(work, n, (n,)), part(work, 2 * n, (n,))
    if not explored(address, before, after, like, x, here, work):
        return UNCALM
    terms = part(work, 3 * n + AGREED * m, (m,))
    for i in range(m):
        terms[i] = n
    t = look(work, flat, f0, terms)
    if t == 0.0 or not still_outputs(work, n, m, t):
        return UNCALM
    sigma, rho = part(work, 3 * n + SIGMA * m, (m,)), part(work, 3 * n + RHO * m, (m,))
    variation, enough = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + ENOUGH * m, (m,))
    agreed, known, least = (
        part(work, 3 * n + AGREED * m, (m,)),
        part(work, 3 * n + KNOWN * m, (m,)),
        part(work, 3 * n + LEAST * m, (m,)),
    )
    needed, largest = part(work, 3 * n + NEEDED * m, (m,)), part(work, 3 * n + LARGEST * m, (m,))
    strain = part(work, 3 * n + STRAIN * m, (m,))
    up, down = part(work, 3 * n + ROWS * m, (m,)), part(work, 3 * n + (ROWS + 1) * m, (m,))
    together, common, doubtful, shown, short, rest = max(1, TILE // max(m, n)), False, False, 0, 0, 0
    again = 3 * n + m * (ROWS + 2) + BINS + 2
    a, column, opened = part(work, again + n, (FURTHER, m)), part(work, again, (n,)).view(np.int64), 0
    index = a.view(np.int64)
    for j in range(n):
        above, below = flat[j] + t * units[j], flat[j] - t * units[j]
        for side in range(2):
            for i in range(n):
                y[i] = flat[i]
            y[j] = below if side else above
            row = part(work, 3 * n + (ROWS + side) * m, here.shape)
            if not call_into(address, shaped, row, before, after, like):
                return UNCALM
        unit = units[j]
        span = (above - below) / unit
        half, factor = 0.5 * span, vector[j] / unit
        if not abs(half - t) <= 1e-3 * t:
            return UNCALM
        longer, moved, count, bound, worst = 0, 0, 0, 2.0 * LEAST_LENGTH / half, 0
        for begin in range(0, m, 16):
            end, alive = min(begin + 16, m), False
            for i in range(begin, end):
                alive |= (up[i] != f0[i]) | (down[i] != f0[i])
            if not alive:
                continue
            for i in range(begin, end):
                above, below = up[i] - f0[i], down[i] - f0[i]
                if above == 0.0 and below == 0.0:
                    continue
                change, bent = abs(above - below), abs(above + below)
                if not change < np.inf:
                    return UNCALM
                noise = max(sigma[i], rho[i] * max(abs(f0[i] + above), abs(f0[i] + below)))
                verdict = judged(change, bent, noise, half, variation[i], enough[i])
                worst = max(worst, verdict)
                longer += verdict
                moved += change != 0.0
                if min(change, bent) > 8.0 * noise:
                    shown += 1
                    short += change < bound * bent
                doubtful |= (half > 1e-5) & (change * half * half > 15.8 * noise)
                index[OUTPUT, count], a[DERIVATIVE, count], a[NOISE_OF, count] = i, (above - below) / span, noise
                count += 1
        rest += m
        if worst == 2 or (longer > 0 and 4 * longer > moved):
            column[opened] = j
            opened += 1
            count = 0
        for e in range(count):
            i, slope, noise = index[OUTPUT, e], a[DERIVATIVE, e], a[NOISE_OF, e]
            agreed[i] += slope * factor
            error = 2.8 * noise / half * factor
            known[i] += error * error
            size = abs(slope)
            largest[i] = max(largest[i], size)
            must = max(26500.0 * noise / half, least[i])
            certain = max(size, 1e-6 * variation[i])
            if certain < must:
                needed[i] = max(needed[i], must)
            else:
                strain[i] = max(strain[i], must / certain)
            out[j, i] = slope / unit
        if (j + 1) % together == 0 or j + 1 == n:  # the end of a part, which has its own usual length
            if n > 1 and 2 * shown > rest:
                common = True
                if 2 * short >= shown:
                    return UNCALM
            if common and (doubtful or opened > 0):
                return UNCALM
            for k in range(opened):
                count = looks_again(address, before, after, like, x, here, work, again, 0, column, k, k + 1, t)
                if count < 0:
                    return UNCALM
                for e in range(count):
                    out[column[k], index[OUTPUT, e]] = a[VALUE, e] / units[column[k]]
                if ticks() - began > MOST:
                    return TOO_LONG
            opened, doubtful, shown, short, rest = 0, False, 0, 0, 0
        if ticks() - began > MOST:
            return TOO_LONG
    return DONE if agrees(work, n, m) else UNCALM


@kernel
def dense_by_step(address, before, after, like, x, here, work, out):
    """Write one row of `out` for each coordinate, by central differences with the steps in `work`."""
    n, m, began = x.size, here.size, ticks()
    flat, y, shaped, units = part(x, 0, (n,)), part(work, 0, (n,)), part(work, 0, x.shape), part(work, n, (n,))
    up, down = part(work, 3 * n + ROWS * m, (m,)), part(work, 3 * n + (ROWS + 1) * m, (m,))
    for j in range(n):
        unit = units[j]
        above, below = flat[j] + unit, flat[j] - unit
        if above == flat[j] or below == flat[j] or not (abs(above) < np.inf and abs(below) < np.inf):
            return UNCALM
        for side in range(2):
            for i in range(n):
                y[i] = flat[i]
            y[j] = below if side else above
            row = part(work, 3 * n + (ROWS + side) * m, here.shape)
            if not call_into(address, shaped, row, before, after, like):
                return UNCALM
        span, finite = (above - below) / unit, True
        for begin in range(0, m, 16):
            end, alive = min(begin + 16, m), False
            for i in range(begin, end):
                alive |= up[i] != down[i]
            if not alive:
                continue  # and zeros they are: so pages that nobody writes to take no time
            for i in range(begin, end):
                slope = (0.0 + (up[i] - down[i]) / span) / unit
                finite &= abs(slope) < np.inf
                out[j, i] = slope
        if not finite:
            return UNCALM
        if ticks() - began > MOST:
            return TOO_LONG
    return DONE


@inner
def colored_values(address, before, after, like, x, here, work, columns, starts, t):
    """Evaluate f with all columns of one colour moved by t units, up and down; 0, or why not."""
    n, m, began = x.size, here.size, ticks()
    flat, y, shaped, units = part(x, 0, (n,)), part(work, 0, (n,)), part(work, 0, x.shape), part(work, n, (n,))
    for g in range(starts.size - 1):
        for side in range(2):
            move(y, flat, units, columns, starts[g], starts[g + 1], -t if side else t)
            row = part(work, 3 * n + (ROWS + 2 * g + side) * m, here.shape)
            if not call_into(address, shaped, row, before, after, like):
                return UNCALM
        if ticks() - began > MOST:
            return TOO_LONG
    return DONE


@inner
def confirmed(address, before, after, like, x, here, work, indptr, indices, data, sigma):
    """Compare with f along one direction, as `planning.operators.disagrees` does, which decides where this does not."""
    n, m = x.size, here.size
    flat, y, shaped = part(x, 0, (n,)), part(work, 0, (n,)), part(work, 0, x.shape)
    vector = part(work, 2 * n, (n,))
    up, down = part(work, 3 * n + TABLE * m, (m,)), part(work, 3 * n + (TABLE + 1) * m, (m,))
    if not scales(flat, vector):
        return False
    begin = np.int64(checksum(flat)) % PERIOD
    place = begin
    for i in range(n):
        vector[i] = SIGNS[place] * vector[i] * FARTHER
        place = place + 1 if place + 1 < begin + PERIOD else begin
    for side in range(2):
        for i in range(n):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        if not call_into(address, shaped, part(work, 3 * n + (TABLE + side) * m, here.shape), before, after, like):
            return False
    for i in range(n):
        vector[i] = 0.5 * ((flat[i] + vector[i]) - (flat[i] - vector[i]))
    scatter = 2e-3 / math.sqrt(max(1.0, data.size / m))
    for r in range(m):
        total = 0.0
        for e in range(indptr[r], indptr[r + 1]):
            total += data[e] * vector[indices[e]]
        gap = abs((up[r] - down[r]) - 2.0 * total)
        doubt = 100.0 * EPS * (abs(up[r]) + abs(down[r])) + 20.0 * sigma[r]
        if gap <= 0.999 * doubt:
            continue
        for e in range(indptr[r], indptr[r + 1]):
            j = indices[e]
            doubt += abs(data[e]) * (scatter * abs(vector[j]) + 32.0 * EPS * abs(flat[j]))
        if not gap <= 0.999 * doubt:
            return False
    return True


@kernel
def colored_by_rule(address, before, after, like, x, here, work, out, columns, starts, colors, indptr, indices):
    """Write the entries of a pattern to `out`, by the default rule; returns DONE, or why it may not."""
    n, m, count = x.size, here.size, starts.size - 1
    flat, f0 = part(x, 0, (n,)), part(here, 0, (m,))
    units, vector = part(work, n, (n,)), part(work, 2 * n, (n,))
    if not explored(address, before, after, like, x, here, work):
        return UNCALM
    terms = part(work, 3 * n + AGREED * m, (m,))
    for i in range(m):
        terms[i] = max(1, indptr[i + 1] - indptr[i])
    t = look(work, flat, f0, terms)
    if t == 0.0:
        return UNCALM
    still_outputs(work, n, m, t)
    sure = part(work, 3 * n + BIN * m, (m,))
    code = colored_values(address, before, after, like, x, here, work, columns, starts, t)
    if code != DONE:
        return code
    sigma, rho = part(work, 3 * n + SIGMA * m, (m,)), part(work, 3 * n + RHO * m, (m,))
    variation, enough = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + ENOUGH * m, (m,))
    agreed, known, least = (
        part(work, 3 * n + AGREED * m, (m,)),
        part(work, 3 * n + KNOWN * m, (m,)),
        part(work, 3 * n + LEAST * m, (m,)),
    )
    needed, largest = part(work, 3 * n + NEEDED * m, (m,)), part(work, 3 * n + LARGEST * m, (m,))
    strain = part(work, 3 * n + STRAIN * m, (m,))
    values = part(work, 3 * n + ROWS * m, (count, 2, m))
    counted = part(work, 3 * n + (ROWS + 2 * count) * m, (2, count))
    again = 3 * n + (ROWS + 2 * count) * m + BINS + 2 * count
    a = part(work, again + n, (FURTHER, m))
    index, began, opened = a.view(np.int64), ticks(), 0
    flagged = part(work, again, (n,))
    for g in range(count):
        counted[0, g] = counted[1, g] = flagged[g] = 0.0
    shown, short, doubtful = 0, 0, False
    for attempt in range(2):  # the second time without the colours that are to be looked at again
        for r in range(m):
            agreed[r] = known[r] = needed[r] = largest[r] = strain[r] = 0.0
            here_sigma, here_rho, base, size, suffices = sigma[r], rho[r], f0[r], variation[r], enough[r]
            for e in range(indptr[r], indptr[r + 1]):
                j = indices[e]
                g = colors[j]
                above, below = values[g, 0, r] - base, values[g, 1, r] - base
                if above == 0.0 and below == 0.0:
                    out[e] = 0.0
                    if sure[r] == 0.0:
                        flagged[g] = 1.0
                    continue
                unit = units[j]
                span = ((flat[j] + t * unit) - (flat[j] - t * unit)) / unit
                half, factor = 0.5 * span, vector[j] / unit
                change, bent = abs(above - below), abs(above + below)
                if not (change < np.inf and abs(half - t) <= 1e-3 * t):
                    return UNCALM
                noise = max(here_sigma, here_rho * max(abs(base + above), abs(base + below)))
                slope = (above - below) / span
                if attempt == 0:
                    verdict = judged(change, bent, noise, half, size, suffices)
                    if verdict == 2:
                        flagged[g] = 1.0
                    counted[0, g] += verdict
                    counted[1, g] += change != 0.0
                    if min(change, bent) > 8.0 * noise:
                        shown += 1
                        short += half * change < 2.0 * LEAST_LENGTH * bent
                    doubtful |= (half > 1e-5) & (change * half * half > 15.8 * noise)
                elif flagged[g] != 0.0:
                    continue
                agreed[r] += slope * factor
                error = 2.8 * noise / half * factor
                known[r] += error * error
                largest[r] = max(largest[r], abs(slope))
                must = max(26500.0 * noise / half, least[r])
                certain = max(abs(slope), 1e-6 * size)
                if certain < must:
                    needed[r] = max(needed[r], must)
                else:
                    strain[r] = max(strain[r], must / certain)
                out[e] = slope / unit
        for g in range(count):
            if counted[0, g] > 0.0 and 4.0 * counted[0, g] > counted[1, g]:
                flagged[g] = 1.0
            opened += flagged[g] != 0.0
        if opened == 0:
            break
    if count > 1 and 2 * shown > out.size and (opened > 0 or doubtful or 2 * short >= shown):
        return UNCALM
    for g in range(count):
        if flagged[g] == 0.0:
            continue
        found = 0
        for r in range(m):
            for e in range(indptr[r], indptr[r + 1]):
                if colors[indices[e]] == g:
                    index[OUTPUT, found], index[COLUMN, found], index[ENTRY, found] = r, indices[e], e
                    found += 1
        begin, end = starts[g], starts[g + 1]
        if (
            found > 0
            and looks_again(address, before, after, like, x, here, work, again, found, columns, begin, end, t) < 0
        ):
            return UNCALM
        for k in range(found):
            out[index[ENTRY, k]] = a[VALUE, k] / units[index[COLUMN, k]]
        if ticks() - began > MOST:
            return TOO_LONG
    if not agrees(work, n, m):
        return UNCALM
    return DONE if confirmed(address, before, after, like, x, here, work, indptr, indices, out, sigma) else UNCALM


@kernel
def colored_by_step(address, before, after, like, x, here, work, out, columns, starts, colors, indptr, indices):
    """Write the entries of a pattern to `out`, by central differences with the steps in `work`."""
    n, m, count = x.size, here.size, starts.size - 1
    flat, units = part(x, 0, (n,)), part(work, n, (n,))
    spans, sigma = part(work, 2 * n, (n,)), part(work, 3 * n + SIGMA * m, (m,))
    for j in range(n):
        unit = units[j]
        above, below = flat[j] + unit, flat[j] - unit
        if above == flat[j] or below == flat[j] or not (abs(above) < np.inf and abs(below) < np.inf):
            return UNCALM
        spans[j] = (above - below) / unit
    code = colored_values(address, before, after, like, x, here, work, columns, starts, 1.0)
    if code != DONE:
        return code
    values, finite = part(work, 3 * n + ROWS * m, (count, 2, m)), True
    for r in range(m):
        for e in range(indptr[r], indptr[r + 1]):
            j = indices[e]
            slope = (0.0 + (values[colors[j], 0, r] - values[colors[j], 1, r]) / spans[j]) / units[j]
            finite &= abs(slope) < np.inf
            out[e] = slope
        sigma[r] = 0.0
    if not finite:
        return UNCALM
    return DONE if confirmed(address, before, after, like, x, here, work, indptr, indices, out, sigma) else UNCALM
