"""What values beside x say of each entry of a Jacobian, compiled: `schemes.columns` in flat loops, to the same bits.

Where it is not certain what that does, it decides: tests here may be stricter than there, never laxer.

A direction is a column, or all columns of one colour. `pattern` is None where every direction has an entry of each
output, and numba compiles no branch for the other case; else see `vectors.listed`.
Where a loop over entries counts in `np.uint64`, it runs in SIMD: numba takes an index of another type from the end
where it is negative, which takes longer than all else.
"""

import math

import numpy as np

from ...lifting.lanes import BLOCK
from ...lifting.native import part
from ...schemes import looks as floats
from ...schemes.constants import EPS, KINK, NOISE, SHORT
from .cache import inlined, uncounted
from .default import choose, nth, truncation
from .kernels import power_of_two
from .native import STACK, array_at, integers, on_the_stack
from .outputs import (
    AGREED,
    ALONE,
    BIN,
    DOWN,
    ENOUGH,
    EXACT,
    KNOWN,
    LARGEST,
    LEAST,
    LINE,
    NEEDED,
    RHO,
    SHORTER,
    SIGMA,
    STRAIN,
    UP,
    VARIATION,
    near,
    power_near,
)

wanted = uncounted(floats.wanted)
SMALLER, LACKING, UNSURE = floats.SMALLER, floats.LACKING, floats.UNSURE

# Of the entries of one direction: so many looks, each of four numbers, and what follows from them.
LOOKS = 4
WIDTH_OF, DERIVATIVE, NOISE_OF, FEAR = range(4)
FIRST, SECOND, HOPE, OPEN, BEST, VALUE, BAR, STILL, OUTPUT, COLUMN, PLACE = range(4 * LOOKS, 4 * LOOKS + 11)
# Whether it may not be smooth, `SECOND` of the look before, and the least bar that leaves.
ROUGH, BEFORE, LEFT = PLACE + 1, PLACE + 2, PLACE + 3
OF_ENTRIES = LEFT + 1
# Of each direction.
STEEP, FLAGGED = range(2)
# Of the entries of some blocks in a row, on the stack: there LLVM sees that nothing overlaps, and computes several at
# once; what a loop of 16 takes before its first entry is as long as what these take.
SLOPES, NOISES, RATIOS, LENGTHS, BENDS = range(5)
VALUES, AGREEMENTS, KNOWNS, LARGESTS, NEEDS, STRAINS = range(6)
RUN = 4 * BLOCK
ROOM = STACK // RUN, RUN


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


@uncounted
def half_span(flat, units, j, t):
    """Return half of the way between the points of a column, in its unit."""
    return 0.5 * (((flat[j] + t * units[j]) - (flat[j] - t * units[j])) / units[j])


@uncounted
def is_idle(o, f0, pattern, g, k):
    """Whether an entry has no effect, and no other step is to be tried for it."""
    i, _, _ = entry(pattern, g, f0.size, np.uint64(k))
    return (o[UP, i] == f0[i]) & (o[DOWN, i] == f0[i]) & (o[BIN, i] != 0.0)


@inlined
def judged(o, a, f0, flat, units, pattern, g, t, blocks, lengths):
    """Judge the blocks' entries that have an effect, as `rounds.Rounds.wants`; `entered` takes what it writes.

    Returns how many ranges of entries it has listed, -1 where it is not sure; whether another step may be tried for
    them; the largest ratio of change to noise; how many of them show their `lengths`, and how many of these are long.
    """
    m, index, b = f0.size, integers(a), part(array_at(on_the_stack(), STACK), 0, ROOM)
    first, behind = extent(pattern, g, m)
    wants = strange = longer = moved = shown = far = listed = longest = 0
    for k in range(RUN):
        b[RATIOS, k] = 0.0
    following, count_of = 0, blocks.size
    while following < count_of:  # of the others all are zero: pages that nobody writes to take no time
        begin, some = blocks[following], 0
        end = min(begin + BLOCK, behind)
        following += 1
        while following < count_of and blocks[following] == end and end - begin <= RUN - BLOCK:
            end = min(end + BLOCK, behind)
            following += 1
        while begin < end and is_idle(o, f0, pattern, g, begin):
            begin += 1
        while begin < end and is_idle(o, f0, pattern, g, end - 1):
            end -= 1
        index[OUTPUT, listed], index[COLUMN, listed], count = begin, end, np.uint64(end - begin)
        listed, longest = listed + 1, max(longest, end - begin)
        for k in range(count):
            i, j, _ = entry(pattern, g, m, np.uint64(begin) + k)
            here, half, variation = f0[i], half_span(flat, units, j, t), o[VARIATION, i]
            above, below = o[UP, i] - here, o[DOWN, i] - here
            moves, change, second = (above != 0.0) | (below != 0.0), abs(above - below), abs(above + below)
            sigma = max(o[SIGMA, i], o[RHO, i] * max(abs(here + above), abs(here + below)))
            strange += moves & ((not change < np.inf) | (not abs(half - t) <= 1e-3 * t))
            b[SLOPES, k] = (above - below) / (2.0 * half) if moves else 0.0
            b[NOISES, k] = sigma * (1.0 / half) if moves else 0.0
            b[RATIOS, k] = max(b[RATIOS, k], change / sigma if moves else 0.0)
            moved += change != 0.0
            shows = min(change, second) > 8.0 * sigma
            some += shows
            b[LENGTHS, k], b[BENDS, k] = half * change if shows else -1.0, 2.0 * second if shows else 1.0
            bent, rise = max(second, 4.0 * sigma), max(change, 2.0 * sigma)
            size = max(variation, rise)
            square, cube = bent * bent, bent * bent * bent
            rough = (second > 7.99 * sigma) & (second > 0.0299 * change)
            down = (square > 63.0 * sigma * rise) & (cube > 16e3 * sigma * sigma * size)
            down = down & (square > 8.9e-10 * rise * max(0.5 * change, variation * half))
            measure = max(change, 0.2 * variation * half)
            # fear is by the shorter length where f bends, up to 100 times hope; hope is by the longer
            slow, wide = rise * sigma, size * sigma * sigma
            up = ((slow > 200.0 * square) & (wide > 1e4 * cube)) | (slow > 2e4 * square) | (wide > 1e8 * cube)
            up = up | ((second < 4.001 * sigma) & ((slow > 200.0 * square) | (wide > 1e4 * cube)))
            up = up & (sigma > o[ENOUGH, i] * measure) & moves
            wants += (moves & (rough | down)) | (up & (1.42 * sigma > 0.999e-6 * measure))
            wants += (not moves) & (o[BIN, i] == 0.0)
            longer += up
        for k in range(count):
            e = np.uint64(begin - first) + k
            a[DERIVATIVE, e], a[NOISE_OF, e] = b[SLOPES, k], b[NOISES, k]
        if some > 0:
            for k in range(count):
                b[LENGTHS, k] = b[LENGTHS, k] / b[BENDS, k]
            for k in range(count):
                lengths[np.uint64(shown)] = b[LENGTHS, k]
                shown += b[LENGTHS, k] >= 0.0
                far += b[LENGTHS, k] >= 24300.0 * t
    steepest = 0.0
    for k in range(longest):
        steepest = max(steepest, b[RATIOS, k])
    return -1 if strange > 0 else listed, wants > 0 or 4 * longer > max(moved, 1), steepest, shown, far


@inlined
def entered(o, a, listed, f0, units, vector, pattern, g, out):
    """Write the entries that `judged` has listed, and enter them into what is checked at the end."""
    m, index, b = f0.size, integers(a), part(array_at(on_the_stack(), STACK), 0, ROOM)
    first, _ = extent(pattern, g, m)
    for each in range(listed):
        begin, count = index[OUTPUT, each], np.uint64(index[COLUMN, each] - index[OUTPUT, each])
        for k in range(count):
            i, j, _ = entry(pattern, g, m, np.uint64(begin) + k)
            e = np.uint64(begin - first) + k
            slope, noise, factor = a[DERIVATIVE, e], a[NOISE_OF, e], vector[j] / units[j]
            error, size = 2.8 * noise * factor, abs(slope)
            must, certainly = max(26500.0 * noise, o[LEAST, i]), max(size, 1e-6 * o[VARIATION, i])
            lacks, some = certainly < must, noise > 0.0  # of what has no effect there is none
            b[VALUES, k] = slope * (1.0 / units[j])  # powers of two: exact
            b[AGREEMENTS, k] = o[AGREED, i] + slope * factor
            b[KNOWNS, k] = o[KNOWN, i] + error * error
            b[LARGESTS, k] = max(o[LARGEST, i], size)
            b[NEEDS, k] = max(o[NEEDED, i], must if lacks & some else 0.0)
            b[STRAINS, k] = max(o[STRAIN, i], 0.0 if lacks | (not some) else must / certainly)
        for k in range(count):
            i, _, place = entry(pattern, g, m, np.uint64(begin) + k)
            o[AGREED, i], o[KNOWN, i], o[LARGEST, i] = b[AGREEMENTS, k], b[KNOWNS, k], b[LARGESTS, k]
            o[NEEDED, i], o[STRAIN, i], out[place] = b[NEEDS, k], b[STRAINS, k], b[VALUES, k]


@uncounted
def looked(o, a, k, count, flat, units, f0, t):
    """Write what the k-th look at a direction says of its entries, as `judgements`.

    Returns how many may not be smooth, by the first look; -1: not sure.
    """
    index, kinks = integers(a), 0
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        half = half_span(flat, units, j, t)
        above, below = o[LINE, i] - f0[i], o[LINE + 1, i] - f0[i]
        noise = max(o[SIGMA, i], o[RHO, i] * max(abs(f0[i] + above), abs(f0[i] + below)))
        first, second = abs(above - below), abs(above + below)
        if not (first < np.inf and second < np.inf and half > 0.0):
            return -1
        hope, fear = truncation(half, first, second, noise, o[VARIATION, i])
        limit, unsure = max(1e-3, 30.0 * half) * o[VARIATION, i], o[EXACT, i] == 0.0
        if (unsure and near(second, 4.0 * noise)) or (k == 0 and unsure and near(second, 8.0 * noise)):
            return -1
        if k == 0 and near(second / half, limit):
            return -1
        a[4 * k + WIDTH_OF, e], a[4 * k + DERIVATIVE, e] = half, (above - below) / (2.0 * half)
        a[4 * k + NOISE_OF, e], a[4 * k + FEAR, e] = NOISE * noise / half, fear
        if half < SHORT:  # as `judgements._noise`
            steepest = abs(a[4 * k + DERIVATIVE, e]) + second / (2.0 * half)
            a[4 * k + NOISE_OF, e] = max(a[4 * k + NOISE_OF, e], NOISE * EPS / half * steepest)
        a[FIRST, e], a[BEFORE, e], a[SECOND, e], a[HOPE, e] = first, a[SECOND, e], second, hope
        if k == 0:
            a[OPEN, e], a[STILL, e] = 1.0, 1.0 if first == 0.0 and second == 0.0 else 0.0
            rough = second > 8.0 * noise and second > KINK * first and second / half > limit
            a[ROUGH, e], a[LEFT, e] = 1.0 if rough else 0.0, 0.0
            kinks += rough
    return kinks


@uncounted
def shrunk(a, k, count):
    """Do as `rounds.Rounds._shrink` after the k-th look; returns how many entries want another, -1: not sure."""
    wanting = 0
    for e in range(count):
        if a[ROUGH, e] == 0.0:
            continue
        noise, before, apart = a[4 * k + NOISE_OF, e], a[4 * k - 4 + NOISE_OF, e], change(a, k, e)
        slack, many, eight = 4.0 * (noise + before), 252.0 * noise, 8.0 / NOISE * noise * a[4 * k + WIDTH_OF, e]
        curved = 1.5 * a[BEFORE, e] / (2.0 * a[4 * k - 4 + WIDTH_OF, e]) + slack
        if near(apart, slack) or near(apart, many) or near(apart, curved) or near(a[SECOND, e], eight):
            return -1
        behind = a[SECOND, e] <= eight and apart <= curved
        if slack < apart <= many and not behind:
            a[4 * k + FEAR, e] = max(a[4 * k + FEAR, e], 3.0 * apart / 63.0)
        wanting += not (apart <= slack or behind or apart <= many)
    return wanting


@uncounted
def change(a, k, e):
    """Return how far an entry is from what it was at the look before the k-th."""
    return abs(a[4 * k + DERIVATIVE, e] - a[4 * k - 4 + DERIVATIVE, e])


@uncounted
def differentiable(o, a, k, count):
    """Write what is left of bars where f was not smooth before the k-th look, the last; False: not sure that it is."""
    index, falls = integers(a), (a[4 * k + WIDTH_OF, 0] / a[4 * k - 4 + WIDTH_OF, 0]) ** 1.5
    for e in range(count):
        if a[ROUGH, e] == 0.0:
            continue
        apart, noise, ratio = change(a, k, e), a[4 * k + NOISE_OF, e], 0.125
        slack = 4.0 * (noise + a[4 * k - 4 + NOISE_OF, e])
        kinked = a[SECOND, e] > 7.99 / NOISE * noise * a[4 * k + WIDTH_OF, e] and a[SECOND, e] > 0.0299 * a[FIRST, e]
        if near(apart, slack) or (kinked and a[SECOND, e] > 0.999 * a[BEFORE, e] * falls):
            return False
        steep = 0.0999 * max(abs(a[4 * k + DERIVATIVE, e]), 1e-3 * o[VARIATION, index[OUTPUT, e]])
        if apart - slack > max(steep, 1.499 * a[BEFORE, e] / (2.0 * a[4 * k - 4 + WIDTH_OF, e])):
            return False
        if k > 1:
            larger, limit = change(a, k - 1, e), 4.0 * (a[4 * k - 4 + NOISE_OF, e] + a[4 * k - 8 + NOISE_OF, e])
            if near(larger, limit):
                return False
            if larger > limit:
                ratio = min((apart if apart > slack else 0.0) / larger, 0.5)
        a[LEFT, e] = 2.0 * apart * ratio / (1.0 - ratio) if apart > slack else 0.0
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
    """Return the step of the look after the k-th, as `rounds.Rounds`; 0 where that is the last, -1: not sure."""
    index, chosen = integers(a), a[BAR]
    downs = ups = lacking = moved = 0
    for e in range(count):
        i, half, derivative = index[OUTPUT, e], a[4 * k + WIDTH_OF, e], a[4 * k + DERIVATIVE, e]
        moved += a[FIRST, e] != 0.0
        a[VALUE, e] = 0.0
        if a[OPEN, e] == 0.0:
            continue
        noise, variation, still = a[4 * k + NOISE_OF, e], o[VARIATION, i], a[FIRST, e] == 0.0 and a[SECOND, e] == 0.0
        hope = max(a[HOPE, e], abs(derivative) * (half / common) ** 2 / 6.0)
        if o[SHORTER, i] == 0.0:
            o[SHORTER, i] = np.cbrt(min(max(o[SIGMA, i] / variation, 1e-17), 1e-2))
        enough = max(3e-9, 0.3 * o[SHORTER, i] * o[SHORTER, i])
        least = (o[ALONE, i] / half) ** 3 if still else 0.0
        want, cube = wanted(derivative, noise, hope, a[4 * k + FEAR, e], still, variation, enough, least)
        if want == UNSURE:
            return -1.0
        downs, ups, lacking = downs + (want == SMALLER), ups + (want < 0), lacking + (want == LACKING)
        if want != 0:
            a[VALUE, e], a[BEST, e] = 1.0 if want == SMALLER else -1.0, half * np.cbrt(cube)
    if downs == 0 and lacking == 0 and 4 * ups <= moved:
        return 0.0
    sign, total, mean = 1.0 if downs > 0 else -1.0, np.int64(0), mean_of(a, k, count)
    for e in range(count):
        mine = a[VALUE, e] == sign
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
    """Take of each entry the look with the smallest error, as `rounds.Rounds.chosen`, and enter it; False: not sure."""
    index, sure = integers(a), True
    for e in range(count):
        i, j = index[OUTPUT, e], index[COLUMN, e]
        for k in range(looks):
            for column in range(4):
                of_one[k, column] = a[4 * k + column, e]
        slope, bar, _, certain = choose(of_one, looks, min(common, 1.0))
        sure &= certain
        factor, size, bar = vector[j] / units[j], abs(slope), max(bar, a[LEFT, e])
        a[VALUE, e], a[BAR, e] = slope, bar
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
