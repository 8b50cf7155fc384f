"""Jacobians in one call of one kernel: the loop over columns or colours, and the default rule.

The same values as `schemes.columns`, to the bit; what is judged by `outputs` and `entries`. Kernels are flat, hold
nothing of f, allocate nothing.
"""

import math

import numpy as np
from numba.extending import register_jitable

from ...core.validation import Floats
from ...lifting.lanes import BLOCK, call_lanes
from ...lifting.native import part
from ...schemes import outputs as rule
from ...schemes.constants import EPS, FINER, NEAR_ZERO, SPACING
from . import entries, outputs
from .cache import inner, kernel, uncounted
from .kernels import NOT_TIMED, TICKS, TRIALS
from .native import STACK, array_at, call_into, integers, on_the_stack, ticks
from .workspace import aligned

# LATER: call again, to go on; Ctrl-C answers in between. RECONSIDER: done, and so much was spent that lanes are due.
DONE, RECONSIDER, LATER, UNSURE = range(4)
MOST = 10 * TICKS  # half a second or so: then the loops decide that answer Ctrl-C
TILE = 1 << 16  # as in `schemes.columns`
FARTHER = 2.0**-19
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


def most(n: int, m: int) -> int:
    """Return how many entries are judged together, at most, where every direction has one of each output."""
    return m * min(n, max(1, TILE // max(m, n, 1)))


@register_jitable
def tables_of(n, width, colored):
    """Return how many directions are looked at again together, each with a table of its entries."""
    return 1 if colored else max(1, min(n, width // 2))


def workspace(
    n: int, m: int, directions: int, together: int, lanes: int, width: int, budget: float, colored: bool
) -> Floats:
    """Return what a kernel works in; `together`: the most entries that directions have that are judged together."""
    tables = tables_of(n, width, colored)
    rows = outputs.OF_OUTPUTS + tables * entries.OF_ENTRIES
    size = 3 * n + rows * m + outputs.BINS + 2 * directions + together + m // BLOCK + 1 + STATE
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
    return part(x, 0, (n,)), part(here, 0, (m,)), y, units, vector, part(work, 3 * n, (outputs.OF_OUTPUTS, m))


@inner
def at_row(f, x, here, work, row):
    """Evaluate f at x's working copy, into a row of the outputs' table; returns whether the shape is f(x)'s."""
    return call_into(f, part(work, 0, x.shape), part(work, 3 * x.size + row * here.size, here.shape))


@inner
def directions(pattern, n):
    """Return how many directions there are."""
    return n if pattern is None else pattern[1].size - 1


@inner
def move(y, flat, units, pattern, g, t):
    """Move x's working copy along a direction; to x itself with t = 0."""
    if pattern is None:
        y[g] = flat[g] + t * units[g]
        return
    for k in range(np.uint64(pattern[1][g]), np.uint64(pattern[1][g + 1])):
        j = np.uint64(pattern[0][k])
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


@inner
def displaced(flat, units, pattern, g, t, tile, lane):
    """Move the points of two lanes to both sides along a direction; to x itself with t = 0."""
    if pattern is None:
        tile[g, lane], tile[g, lane + 1] = flat[g] + t * units[g], flat[g] + -t * units[g]
        return
    for k in range(np.uint64(pattern[1][g]), np.uint64(pattern[1][g + 1])):
        j = np.uint64(pattern[0][k])
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
                    o[outputs.UP, i], o[outputs.DOWN, i] = values[lane, i], values[lane + 1, i]
            if pattern is None:
                return count
            for i in range(np.uint64(m)):
                o[outputs.UP, i], o[outputs.DOWN, i] = values[lane, i], values[lane + 1, i]
            return entries.blocks_of(o, outputs.UP, f0, pattern, g, every, blocks)
    if not evaluated(f, x, here, work, pattern, g, t, outputs.UP):
        return -1
    return entries.blocks_of(o, outputs.UP, f0, pattern, g, every, blocks)


@inner
def begun(work, flat, m):
    """Make all points in lanes x; f is to run in them if that is the faster way, which takes a few trials to know."""
    state = part(work, work.size - STATE, (STATE,))
    width = integers(state)[WIDTH]
    state[PASSED] = 0.0
    if width > 0:
        trial = state[TIMED] < 2 * TRIALS and not NOT_TIMED < state[TOGETHER] < np.inf
        state[RUNS] = state[TIMED] % 2.0 == 0.0 if trial else state[TOGETHER] <= state[ALONE]
        if state[RUNS] != 0.0:
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
    for i in range(np.uint64(flat.size)):
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


@inner
def along(f, x, here, work, spacing, table):
    """Evaluate f on the line, into seven rows of the outputs' table; returns whether all is finite."""
    flat, f0, y, units, vector, o = views(work, x, here)
    outputs.line(flat, units, vector, spacing)
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


@inner
def stand_still(f, x, here, work, spacing):
    """Say whether some outputs are not the same along the line, and all that are, are so far away, too."""
    flat, f0, y, units, vector, o = views(work, x, here)
    count, same = outputs.constants(o), True
    if count == 0:
        return True
    outputs.line(flat, units, vector, rule.WIDEST)
    for side in range(2):
        for i in range(flat.size):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        same = same and at_row(f, x, here, work, outputs.UP + side)
    for i in range(f0.size):
        same &= (o[outputs.UP, i] == f0[i] and o[outputs.DOWN, i] == f0[i]) or not outputs.is_constant(o, i)
    outputs.line(flat, units, vector, spacing)
    return same and count < f0.size


@inner
def look(f, x, here, work, terms, counts):
    """Look along the line, finer where some output is neither smooth nor noisy; returns the step, 0: not sure."""
    flat, _, _, units, _, o = views(work, x, here)
    spacing, table, shrinks, small = SPACING, np.int64(outputs.LINE), flat.size < 0, flat.size > 0
    for i in range(flat.size):
        small &= units[i] < NEAR_ZERO
        shrinks |= (flat[i] != 0.0) & (units[i] > 16.0 * abs(flat[i]))
    for _ in range(rule.LOOKS):
        if not along(f, x, here, work, spacing, table):
            return 0.0
        unclear = outputs.noises(o, table, shrinks, False)
        if unclear == 0 and stand_still(f, x, here, work, spacing):
            sure = outputs.measured(o, table, terms, small) and outputs.bent_steps(o, terms)
            return outputs.step_of(o, counts) if sure else 0.0
        if unclear <= 0:
            return 0.0
        spacing, table = spacing * FINER, outputs.LATEST
    return 0.0


@inner
def looks_again(f, x, here, work, pattern, total, t, common, faint, each, scratch, out):
    """Look at the directions of `GROUP` as often as the rule asks for; returns 1, or 0 where it is not sure.

    Entries that have no effect are left out except where `WHOLE`; -1 where one may matter, which is `WHOLE` then.
    With steps shorter than `faint` there are some whose noise may hide one. In lanes where several are left.
    """
    n, m = x.size, here.size
    flat, f0, _, units, vector, o = views(work, x, here)
    state = part(work, work.size - STATE, (STATE,))
    group, tables = integers(state), 3 * n + outputs.OF_OUTPUTS * m
    _, values, blocks = tiles(work, n, m, group[WIDTH])
    for k in range(total):
        state[STEPS + k], group[ENTRIES + k] = t, 0
    for look in range(entries.LOOKS):
        left, every = 0, faint > 1e300
        for k in range(total):
            left += state[STEPS + k] > 0.0
            every |= group[WHOLE + k] != 0 or 0.0 < state[STEPS + k] < faint
        if left == 0:
            break
        moved = in_lanes(f, x, here, work, pattern, total, every) if state[RUNS] != 0.0 and left > 1 else -1
        for k in range(total):
            g, step, count = group[GROUP + k], state[STEPS + k], group[ENTRIES + k]
            a = part(work, tables + k * entries.OF_ENTRIES * m, (entries.OF_ENTRIES, m))
            if step == 0.0:
                continue
            index, some = integers(a), moved
            if moved < 0:
                if not evaluated(f, x, here, work, pattern, g, step, outputs.LINE):
                    return 0
                some = entries.blocks_of(o, outputs.LINE, f0, pattern, g, every, blocks)
            else:
                for e in range(count):
                    i = np.uint64(index[entries.OUTPUT, e])
                    o[outputs.LINE, i], o[outputs.LINE + 1, i] = f0[i], f0[i]
                for begin in part(blocks, 0, (moved,)):
                    for i in range(np.uint64(begin), np.uint64(min(begin + BLOCK, m))):
                        o[outputs.LINE, i], o[outputs.LINE + 1, i] = values[2 * k, i], values[2 * k + 1, i]
            whole = group[WHOLE + k] != 0
            count = entries.entries_of(o, a, f0, pattern, g, step, look == 0, whole, count, part(blocks, 0, (some,)))
            if count < 0:
                group[WHOLE + k] = 1
                return -1
            if entries.looked(o, a, look, count, flat, units, f0, step) != 0:
                return 0
            following = entries.next_step(o, a, look, count, common) if look + 1 < entries.LOOKS and count > 0 else 0.0
            if following < 0.0 or 0.0 < following < 2.0**-60:
                return 0
            state[STEPS + k], group[ENTRIES + k], group[LOOKED + k] = following, count, look + 1
    for k in range(total):
        g, count = group[GROUP + k], group[ENTRIES + k]
        a = part(work, tables + k * entries.OF_ENTRIES * m, (entries.OF_ENTRIES, m))
        index = integers(a)
        if each[entries.FLAGGED, g] == 0.0:  # what the first look says has been entered
            for e in range(count):
                i, j = np.uint64(index[entries.OUTPUT, e]), index[entries.COLUMN, e]
                factor = vector[j] / units[j]
                error = 2.8 / 0.71 * a[entries.NOISE_OF, e] * factor
                o[outputs.AGREED, i] -= a[entries.DERIVATIVE, e] * factor
                o[outputs.KNOWN, i] = max(o[outputs.KNOWN, i] - 1.001 * error * error, 0.0)
        looks = group[LOOKED + k]
        if not entries.settled(o, a, looks, count, units, vector, common, part(scratch, 0, (entries.LOOKS, 4))):
            return 0
        for e in range(count):
            out[index[entries.PLACE, e]] = a[entries.VALUE, e] / units[index[entries.COLUMN, e]]
    return 1


@inner
def confirmed(f, x, here, work, pattern, data):
    """Compare with f along one direction, as `planning.operators.disagrees` does, which decides where this does not."""
    flat, _, y, _, vector, o = views(work, x, here)
    indptr, indices = pattern[6], pattern[7]
    if not outputs.scales(flat, vector):
        return False
    outputs.signed(flat, vector, vector, FARTHER)
    for side in range(2):
        for i in range(np.uint64(flat.size)):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        if not at_row(f, x, here, work, outputs.DOWN if side else outputs.UP):
            return False
    for i in range(np.uint64(flat.size)):
        vector[i] = 0.5 * ((flat[i] + vector[i]) - (flat[i] - vector[i]))
    scatter = 2e-3 / math.sqrt(max(1.0, data.size / here.size))
    for r in range(np.uint64(here.size)):
        total, up, down = 0.0, o[outputs.UP, r], o[outputs.DOWN, r]
        for e in range(np.uint64(indptr[r]), np.uint64(indptr[r + 1])):
            total += data[e] * vector[np.uint64(indices[e])]
        gap = abs((up - down) - 2.0 * total)
        doubt = 100.0 * EPS * (abs(up) + abs(down)) + 20.0 * o[outputs.SIGMA, r]
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
    group, a = integers(state), part(work, 3 * n + outputs.OF_OUTPUTS * m, (entries.OF_ENTRIES, m))
    tables = tables_of(n, group[WIDTH], pattern is not None)
    end = 3 * n + (outputs.OF_OUTPUTS + tables * entries.OF_ENTRIES) * m
    scratch, each = part(work, end, (outputs.BINS,)), part(work, end + outputs.BINS, (2, count))
    lengths = part(work, end + outputs.BINS + 2 * count, (work.size - end - outputs.BINS - 2 * count - STATE,))
    start, t, common, known = int(state[START]), state[STEP], state[COMMON], state[KNOWN_LENGTH] != 0.0
    if start == 0:
        for i in range(n):
            y[i] = flat[i]
        begun(work, flat, m)
        if not outputs.scales(flat, units) or not call_into(f, part(work, 0, x.shape), here):
            return UNSURE
        terms = o[outputs.AGREED]
        for i in range(m):
            terms[i] = n if pattern is None else max(1, pattern[6][i + 1] - pattern[6][i])
        t, common, known = look(f, x, here, work, terms, scratch), np.inf, True
        if t == 0.0:
            return UNSURE
        outputs.prepared(o, t)
        refreshed(y, flat)
    _, _, blocks = tiles(work, n, m, integers(state)[WIDTH])
    state[START], every, faint = 0.0, n < 0, 0.0
    for i in range(m):
        every |= o[outputs.BIN, i] == 0.0
        faint = max(faint, 0.7201 * o[outputs.SIGMA, i] / (0.999e-5 * o[outputs.VARIATION, i]))
    faint, total = np.inf if every else faint, 0
    together = max(1, TILE // max(m, n)) if pattern is None else count  # as `seeds.parts`
    begin, seen, shown, far, opened = start, 0, np.int64(0), 0, 0
    for g in range(start, count):
        moved = swept(f, x, here, work, pattern, g, t, every)
        if moved < 0:
            return UNSURE
        listed, wants, each[entries.STEEP, g], some, long = entries.judged(
            o, a, f0, flat, units, pattern, g, t, part(blocks, 0, (moved,)), part(lengths, shown, (m,))
        )
        if listed < 0:
            return UNSURE
        if not wants:
            entries.entered(o, a, listed, f0, units, vector, pattern, g, out)
        each[entries.FLAGGED, g] = wants
        first, behind = entries.extent(pattern, g, m)
        opened, shown, far, seen = opened + wants, shown + some, far + long, seen + behind - first
        if g + 1 - begin == together or g + 1 == count:
            if count > 1 and 2 * shown > seen:
                # most entries show their lengths: none is taken to be much shorter
                known = opened > 0 or 2 * far <= shown
                common = entries.middle(lengths, shown) if known else 24300.0 * t  # at least
            if opened > 0 and not known:
                return UNSURE
            for d in range(begin, g + 1):
                short = each[entries.STEEP, d] * t * t > 250.0 * common * common and t * t > 1.7e-9 * common * common
                if short or each[entries.FLAGGED, d] != 0.0:
                    group[GROUP + total], group[WHOLE + total] = d, 0
                    total += 1
                if total == tables or (total > 0 and d == g):
                    done = -1
                    while done < 0:
                        done = looks_again(f, x, here, work, pattern, total, t, common, faint, each, scratch, out)
                    if done == 0 or ticks() - began > MOST:
                        return UNSURE
                    total, state[AT] = 0, -float(group[WIDTH])  # another pass fills the tile for the sweep
            begin, seen, shown, far, opened = g + 1, 0, 0, 0, 0
            if ticks() - began > TICKS and begin < count:
                state[START], state[STEP], state[COMMON], state[KNOWN_LENGTH] = begin, t, common, known
                return passed(work, began)
        if ticks() - began > MOST:
            return UNSURE
    if not refreshed(y, flat) or not outputs.agrees(o, units, t):
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
    for j in range(np.uint64(n)):
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
        if g == 0 and pattern is None:
            for i in range(np.uint64(m)):  # whatever it is: where both sides are the same, so is their difference zero
                reference[i] = o[outputs.UP, i]
        finite, (first, behind) = True, entries.extent(pattern, g, m)
        if pattern is not None:  # all of them, on the stack first: see `entries`
            some = array_at(on_the_stack(), STACK)
            for begin in range(first, behind, STACK):
                begin, count = np.uint64(begin), np.uint64(min(STACK, behind - begin))
                for k in range(count):
                    i, j, _ = entries.entry(pattern, g, m, begin + k)
                    slope = (o[outputs.UP, i] - o[outputs.DOWN, i]) / spans[np.uint64(j)]
                    some[k] = (0.0 + slope) / units[np.uint64(j)]
                    finite &= abs(some[k]) < np.inf
                for k in range(count):
                    out[np.uint64(pattern[5][begin + k])] = some[k]
        else:
            for begin in part(blocks, 0, (moved,)):
                for k in range(np.uint64(begin), np.uint64(min(begin + BLOCK, behind))):
                    i, j, place = entries.entry(pattern, g, m, k)
                    slope = (0.0 + (o[outputs.UP, i] - o[outputs.DOWN, i]) / spans[j]) / units[j]
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
            o[outputs.SIGMA, i] = 0.0
        if not confirmed(f, x, here, work, pattern, out):
            return UNSURE
    return finished(work, began)
