"""Jacobians in one call of one kernel: the loop over columns or colours, and the default rule where all is calm.

The same values as `schemes.columns`, to the bit. Where it is not certain that no entry wants a second look, the general
rule decides: tests here may be stricter than there, never laxer. Kernels are flat, hold nothing of f, allocate nothing.
"""

import math

import numpy as np

from ...schemes import outputs
from ...schemes.constants import EPS, NEGLIGIBLE, QUIET, SPACING, TINY
from .cache import inner, kernel
from .default import checksum, on_a_lattice, spacing_of
from .kernels import TICKS, UNCALM, power_of_two
from .native import call_into, part, ticks

DONE, TOO_LONG = 0, -1
SIGNS, PERIOD, FEW = outputs.SIGNS, outputs.PERIOD, outputs.FEW
THIRD, FOURTH, FIFTH, SIXTH = (outputs.MEANS[k].max() for k in range(2, 6))
MARGIN = 1e-9  # numpy sums in another order
TILE = 1 << 16  # as in `schemes.columns`
LEAST_LENGTH = 0.25  # in scales of x: shorter ones are for the general rule
BINS = 64
FARTHER = 2.0**-19
# where the arrays of m numbers are in a workspace, after y, units and vector of n numbers each
SIGMA, RHO, VARIATION, ENOUGH, SLOPE, DOUBT, LEAST, AGREED, KNOWN, NEEDED, LARGEST, BIN = range(12)
TABLE = 12  # of seven values; then above and below for each colour
ROWS = TABLE + 7


def workspace_size(n: int, m: int, colors: int) -> int:
    """Return how many numbers a kernel works in."""
    return 3 * n + m * (ROWS + 2 * colors) + BINS + 2 * colors


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
    for i in range(x.size):
        move = units[i] * (SPACING * SIGNS[begin + i % PERIOD])
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
        # separate terms show sqrt(terms) f''': a step that this makes shorter is for the general rule
        shorter = 24.0 * noise * math.sqrt(count) * count
        bad |= (third > 0.0) & (shorter * 1.001 < third * ratio)
        bins[i] = (k - 100.0) + (1000.0 if doubtful else 0.0) + (4000.0 if size <= 10.0 * noise else 0.0)
        sigma[i], variation[i] = noise, varies
        rho[i] = noise / max(abs(f0), spread, TINY)
        enough[i] = max(3e-9, 0.3 * root * root) / 1.42 * 0.999
        slope[i] = (45.0 * (w4 - w2) - 9.0 * (w5 - w1) + (w6 - w0)) / 60.0
        doubt[i] = 4.0 * noise + 0.1 * max(abs(e0), abs(e1))
        least[i] = third / (3.0 * count)
    if bad or moving == 0 or 2 * drowned > m:
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
    """Say whether entries without any effect are certain in all outputs; and finish what depends on the step."""
    variation, sigma = part(work, 3 * n + VARIATION * m, (m,)), part(work, 3 * n + SIGMA * m, (m,))
    enough, least = part(work, 3 * n + ENOUGH * m, (m,)), part(work, 3 * n + LEAST * m, (m,))
    zeros = part(work, 3 * n + AGREED * m, (4, m))
    certain = True
    for i in range(m):
        noise, size = 0.72 * sigma[i] / t, variation[i]
        certain &= (noise <= 0.999e-6 * size) | (noise <= 0.1 * enough[i] * 1.42 * size) | (size <= 6e5 * sigma[i])
        least[i] = 2.0 * least[i] * t * t
        zeros[0, i] = zeros[1, i] = zeros[2, i] = zeros[3, i] = 0.0
    return certain


@inner
def judged(first, second, sigma, half, variation, enough):
    """Say of an entry whether no other step would be tried (0), hardly so (1), or perhaps (2)."""
    bent, rise = max(second, 4.0 * sigma), max(first, 2.0 * sigma)
    size = max(variation, rise)
    square, cube = bent * bent, bent * bent * bent
    rough = (second > 7.99 * sigma) & (second > 0.0299 * first)
    down = (square > 63.0 * sigma * rise) & (cube > 16e3 * sigma * sigma * size) & (square > 4.4e-10 * rise * first)
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
    good = True
    for i in range(m):
        gap = abs(agreed[i] - slope[i]) - doubt[i]
        good &= (gap <= 0.0) | (gap * gap <= 0.99 * known[i])
        good &= needed[i] <= 0.999 * NEGLIGIBLE * largest[i]
    return good


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
    up, down = part(work, 3 * n + ROWS * m, (m,)), part(work, 3 * n + (ROWS + 1) * m, (m,))
    together, common, doubtful, shown, short, rest = max(1, TILE // max(m, n)), False, False, 0, 0, 0
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
        longer, moved, bound = 0, 0, 2.0 * LEAST_LENGTH / half
        for begin in range(0, m, 16):
            end, alive = min(begin + 16, m), False
            for i in range(begin, end):
                alive |= (up[i] != f0[i]) | (down[i] != f0[i])
            if not alive:
                continue
            for i in range(begin, end):
                a, b = up[i] - f0[i], down[i] - f0[i]
                if a == 0.0 and b == 0.0:
                    continue
                change, bent = abs(a - b), abs(a + b)
                if not change < np.inf:
                    return UNCALM
                noise = max(sigma[i], rho[i] * max(abs(f0[i] + a), abs(f0[i] + b)))
                slope = (a - b) / span
                verdict = judged(change, bent, noise, half, variation[i], enough[i])
                if verdict == 2:
                    return UNCALM
                longer += verdict
                moved += change != 0.0
                if min(change, bent) > 8.0 * noise:
                    shown += 1
                    short += change < bound * bent
                doubtful |= (half > 1e-5) & (change * half * half > 15.8 * noise)
                agreed[i] += slope * factor
                error = 2.8 * noise / half * factor
                known[i] += error * error
                size = abs(slope)
                largest[i] = max(largest[i], size)
                must = max(26500.0 * noise / half, least[i])
                if size < must and 1e-6 * variation[i] < must:
                    needed[i] = max(needed[i], must)
                out[j, i] = slope / unit
        if longer > 0 and 4.0 * longer > moved:
            return UNCALM
        rest += m
        if (j + 1) % together == 0 or j + 1 == n:  # the end of a part, which has its own usual length
            if n > 1 and 2 * shown > rest:
                common = True
                if 2 * short >= shown:
                    return UNCALM
            if common and doubtful:
                return UNCALM
            doubtful, shown, short, rest = False, 0, 0, 0
        if ticks() - began > TICKS:
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
        for i in range(m):
            slope = (0.0 + (up[i] - down[i]) / span) / unit
            finite &= abs(slope) < np.inf
            out[j, i] = slope
        if not finite:
            return UNCALM
        if ticks() - began > TICKS:
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
        if ticks() - began > TICKS:
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
    for i in range(n):
        vector[i] = SIGNS[begin + i % PERIOD] * vector[i] * FARTHER
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
    if t == 0.0 or not still_outputs(work, n, m, t):
        return UNCALM
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
    values = part(work, 3 * n + ROWS * m, (count, 2, m))
    counted = part(work, 3 * n + (ROWS + 2 * count) * m, (2, count))
    for g in range(count):
        counted[0, g] = counted[1, g] = 0.0
    shown, short, doubtful = 0, 0, False
    for r in range(m):
        here_sigma, here_rho, base, size, suffices = sigma[r], rho[r], f0[r], variation[r], enough[r]
        for e in range(indptr[r], indptr[r + 1]):
            j = indices[e]
            g = colors[j]
            a, b = values[g, 0, r] - base, values[g, 1, r] - base
            if a == 0.0 and b == 0.0:
                out[e] = 0.0
                continue
            unit = units[j]
            span = ((flat[j] + t * unit) - (flat[j] - t * unit)) / unit
            half, factor = 0.5 * span, vector[j] / unit
            change, bent = abs(a - b), abs(a + b)
            if not (change < np.inf and abs(half - t) <= 1e-3 * t):
                return UNCALM
            noise = max(here_sigma, here_rho * max(abs(base + a), abs(base + b)))
            slope = (a - b) / span
            verdict = judged(change, bent, noise, half, size, suffices)
            if verdict == 2:
                return UNCALM
            counted[0, g] += verdict
            counted[1, g] += change != 0.0
            if min(change, bent) > 8.0 * noise:
                shown += 1
                short += half * change < 2.0 * LEAST_LENGTH * bent
            doubtful |= (half > 1e-5) & (change * half * half > 15.8 * noise)
            agreed[r] += slope * factor
            error = 2.8 * noise / half * factor
            known[r] += error * error
            largest[r] = max(largest[r], abs(slope))
            must = max(26500.0 * noise / half, least[r])
            if abs(slope) < must and 1e-6 * size < must:
                needed[r] = max(needed[r], must)
            out[e] = slope / unit
    for g in range(count):
        if counted[0, g] > 0.0 and 4.0 * counted[0, g] > counted[1, g]:
            return UNCALM
    if count > 1 and 2 * shown > out.size and (doubtful or 2 * short >= shown):
        return UNCALM
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
