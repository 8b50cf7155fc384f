"""Compiled loops that reach f by its address: compiled once for all f of a signature.

They hold nothing of f, allocate nothing (an array allocated here would leak when f raises), and never fuse or reorder
floating-point operations. What they need besides f, x and the result lies in one array: see `workspace`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ...core.validation import Args
from ...lifting.lanes import evaluate_table_lanes
from ...lifting.native import array_type, call_at, part
from ...schemes.steps import HALF_ROOT
from .cache import inner, kernel, uncounted
from .native import call_c, header, integers, ticks

# A kernel returns to Python after so many ticks of the processor's counter (20 to 100 ms), so that Ctrl-C answers.
TICKS = 100_000_000

# what `by_step` returns besides the number of coordinates done; a lost step at i is -(i + 1).
# RECONSIDER: all done, but whether f should run in lanes is to be decided. UNCALM: for the general rule to decide.
NOT_FINITE, DISTURBED, RECONSIDER, UNCALM = 1, 2, 3, 4

# Lanes take half a second or more to compile: worth it after about a second of f alone.
WORTH_LANES = 2.5e9  # ticks
MOST_WASTE = 4096.0  # points
# For few points, one bundle may not pay: with up to so many bundles, either way is timed so often, unless it takes more
# than so many ticks. Both give the same bits.
FEW, TRIALS, NOT_TIMED = 8, 5, 3e7
# Reading the clock takes 11 ns, as long as f of ten coordinates: where f was fast, look first after so many rows.
MOST_UNWATCHED = 64

VECTOR = array_type(1)
TABLE = array_type(2)


def signature(args: Args, x: types.Array) -> tuple[Any, ...]:
    """Return the types of ``(args, work, x, out)``."""
    return types.Tuple(args), VECTOR, x, x


def sweep_signature(args: Args, x: types.Array) -> tuple[Any, ...]:
    """Return the types of `sweep`'s arguments."""
    index, vector, table = array_type(1, types.int64), x.copy(ndim=1), x.copy(ndim=2)
    return types.intp, types.Tuple(args), vector, x, index, table, table, types.intp, types.boolean, types.intp


def lanes_signature(args: Args, x: types.Array) -> tuple[Any, ...]:
    """Return the types of the arguments of `sweep_lanes`."""
    index, table = array_type(1, types.int64), x.copy(ndim=2)
    given = types.intp, types.intp, types.Tuple(args), x, x, table
    return *given, index, index, table, table, types.intp, x.copy(ndim=1)


@kernel
def call_c_function(x, address):
    """Call a C function; the address is an extra argument."""
    return call_c(address, x)


@uncounted
def power_of_two(h):
    """`steps.power_of_two` for one step; by its bits, for frexp and ldexp cost 15 ns a component."""
    bits = np.float64(h).view(np.int64) & 0x7FF0000000000000
    below = np.int64(bits).view(np.float64)
    return 2.0 * below if h >= 2.0 * HALF_ROOT * below else below


@kernel
def sweep(address, args, base, y, index, points, values, start, refill, stride):
    """Evaluate f with one entry of x replaced, from row `start` on.

    Returns the next row, or -1 - row if f wrote into x. The first look at the clock is after `stride` rows.

    `y` is x's working copy, of its shape; f may have written into an entry of it, which is seen when the entry's turn
    comes or at the end. With `refill` it is made anew before each evaluation instead.
    """
    flat = part(y, 0, (y.size,))
    if start == 0:
        for i in range(base.size):
            flat[i] = base[i]
    began = ticks() if stride < index.size - start else 0
    checked = start
    for row in range(start, index.size):
        i = index[row]
        if not refill and flat[i] != base[i]:
            return -1 - row
        for column in range(points.shape[1]):
            if refill:
                for j in range(base.size):
                    flat[j] = base[j]
            flat[i] = points[row, column]
            values[row, column] = call_at(address, y, args)
        flat[i] = base[i]
        if row - checked + 1 >= stride and row + 1 < index.size:
            passed = ticks() - began
            if passed > TICKS:
                return row + 1
            if passed < TICKS // 8:
                stride *= 2
            checked = row + 1
    if not refill:
        for i in range(base.size):
            if flat[i] != base[i]:
                return -1 - index.size
    return index.size


@kernel
def sweep_lanes(lanes, address, args, x, y, tile, progress, index, points, values, start, meter):
    """Do what `sweep` does, several points at a time.

    `meter` counts the points that had to be evaluated again, beyond half of all, and remembers the ticks that a row
    takes: each part of the table fills the tile anew, so there should be few.
    """
    began = before = ticks()
    n, k = points.shape
    while start < n:
        pace = meter[1]
        m = min(n - start, max(tile.shape[1], int(0.25 * TICKS / pace)) if pace > 0.0 else tile.shape[1])
        rows, some, into = part(index, start, (m,)), part(points, start * k, (m, k)), part(values, start * k, (m, k))
        repeated = evaluate_table_lanes(lanes, address, args, x, tile, progress, y, rows, some, into)
        meter[0] = max(0.0, meter[0] + repeated - 0.5 * (m * k))
        start += m
        now = ticks()
        meter[1] = max((now - before) / m, 1e-3)
        before = now
        if now - began > TICKS:
            break
    return start


@uncounted
def table(work):
    """View the points within a workspace, and the values there."""
    head = header(work)
    shape = head.count, head.nodes_size
    return part(work, head.points_at, shape), part(work, head.values_at, shape)


@inner
def refresh(work, flat):
    """Make f's argument a copy of x."""
    head = header(work)
    y = part(work, head.y_at, (head.count,))
    for i in range(flat.size):
        y[i] = flat[i]


@inner
def step_at(head, x, absolute, relative):
    """`Step.at` for one component."""
    h = absolute + relative * max(abs(x), head.floor)
    if h == 0.0:
        h = head.otherwise
    return power_of_two(h) if head.dyadic else h


@inner
def place(work, flat):
    """Fill the table of points; returns -(i + 1) where the step of coordinate i is lost, else 0."""
    head = header(work)
    nodes = part(work, head.nodes_at, (head.nodes_size,))
    absolute = part(work, head.absolute_at, (head.absolute_size,))
    relative = part(work, head.relative_at, (head.relative_size,))
    points, _ = table(work)
    if nodes.size == 2 and absolute.size == 1 and relative.size == 1:  # the same without leaving the loop: SIMD
        a, r, first, second, lost = absolute[0], relative[0], nodes[0], nodes[1], False
        for i in range(flat.size):
            h = step_at(head, flat[i], a, r)
            above, below = flat[i] + h * first, flat[i] + h * second
            points[i, 0], points[i, 1] = above, below
            lost |= (above == flat[i]) | (below == flat[i]) | (not abs(above) < np.inf) | (not abs(below) < np.inf)
        if not lost:
            return 0
    for i in range(flat.size):
        a = absolute[i if absolute.size > 1 else 0]
        r = relative[i if relative.size > 1 else 0]
        h = step_at(head, flat[i], a, r)
        for j in range(nodes.size):
            point = flat[i] + h * nodes[j]
            if point == flat[i] or not abs(point) < np.inf:
                return -(i + 1)
            points[i, j] = point
    return 0


@inner
def one_by_one(args, work, x):
    """Evaluate the table from the row `start` on; returns the next row, or a code."""
    head = header(work)
    points, values = table(work)
    index = integers(part(work, head.index_at, (head.count,)))
    y, flat = part(work, head.y_at, x.shape), part(x, 0, (x.size,))
    watched, refill = head.unwatched > 0, head.refill != 0
    stride = head.unwatched if watched else head.count
    began = ticks() if watched else 0
    done = sweep(head.address, args, flat, y, index, points, values, head.start, refill, stride)
    if watched:
        passed = ticks() - began
        head.spent += passed
        head.unwatched = MOST_UNWATCHED if passed < TICKS // 8 else 1
    return head.count + DISTURBED if done < 0 else done


@inner
def in_lanes(args, work, x):
    """Do what `one_by_one` does, several points at a time."""
    head = header(work)
    points, values = table(work)
    index, progress = part(work, head.index_at, (head.count,)), part(work, head.progress_at, (1,))
    tile, meter = part(work, head.tile_at, (head.count, head.width)), part(work, head.meter_at, (2,))
    return sweep_lanes(
        head.lanes,
        head.address,
        args,
        x,
        part(work, head.y_at, x.shape),
        tile,
        integers(progress),
        integers(index),
        points,
        values,
        head.start,
        meter,
    )


@inner
def rows(args, work, x):
    """Evaluate the table in lanes, if there are any; where there are few points, in whichever way is the faster."""
    head = header(work)
    n = head.count
    if head.lanes == 0:
        done = one_by_one(args, work, x)
    elif head.fast or n * head.nodes_size >= FEW * head.width or head.start != 0 or head.in_lanes > NOT_TIMED:
        done = in_lanes(args, work, x)
    elif head.timed >= 2 * TRIALS:
        done = one_by_one(args, work, x) if head.one_by_one < head.in_lanes else in_lanes(args, work, x)
    else:
        began, bundled = ticks(), head.timed % 2 == 0
        done = in_lanes(args, work, x) if bundled else one_by_one(args, work, x)
        passed = float(ticks() - began)
        if done == n:
            first = head.timed < 2
            if bundled:
                head.in_lanes = passed if first else min(head.in_lanes, passed)
            else:
                head.one_by_one = passed if first else min(head.one_by_one, passed)
            head.timed += 1
    head.start = done if 0 < done < n else 0
    return done


@inner
def ended(work):
    """Return the code of a gradient that is done: RECONSIDER where so much was spent, or wasted, that lanes are due."""
    head = header(work)
    waste = part(work, head.meter_at, (1,))[0]
    return head.count + RECONSIDER if head.spent > head.budget or waste > MOST_WASTE else head.count


@inner
def combine(work, flat, result):
    """Combine the values to partial derivatives; returns the code of `by_step`."""
    head = header(work)
    points, values = table(work)
    quotients, here = part(work, head.quotients_at, (head.nodes_size,)), head.here
    finite = True
    if head.symmetric and head.nodes_size == 2:  # the same, for half the time
        weight = quotients[0]
        for i in range(flat.size):
            total = 0.0 + weight * ((values[i, 0] - values[i, 1]) / (points[i, 0] - points[i, 1]))
            result[i] = total
            finite &= abs(total) < np.inf
        return ended(work) if finite else flat.size + NOT_FINITE
    for i in range(flat.size):
        total = 0.0
        if head.symmetric:
            for j in range(0, head.nodes_size, 2):
                total += quotients[j // 2] * ((values[i, j] - values[i, j + 1]) / (points[i, j] - points[i, j + 1]))
        else:
            for j in range(head.nodes_size):
                total += quotients[j] * ((values[i, j] - here) / (points[i, j] - flat[i]))
        result[i] = total
        finite = finite and abs(total) < np.inf
    return ended(work) if finite else flat.size + NOT_FINITE


@kernel
def by_step(args, work, x, out):
    """Write one gradient by one stencil and a rule for the step; returns how many coordinates are done, or a code."""
    head = header(work)
    flat, result = part(x, 0, (x.size,)), part(out, 0, (x.size,))
    if head.start == 0:
        if head.symmetric == 0:
            refresh(work, flat)
            head.here = call_at(head.address, part(work, head.y_at, x.shape), args)
        code = place(work, flat)
        if code < 0:
            return code
    done = rows(args, work, x)
    return combine(work, flat, result) if done == x.size else done


@kernel
def descend(args, work, x, out, lr, tol, most, record, path, values):
    """Follow -lr times the gradient from x, in place: as many steps as `values` has entries.

    Writes f before each step to `values` and, if `record`, x to the rows of `path`. Returns how many steps were taken
    and the code of `by_step` that ended it (x.size if none did).
    """
    n, head = x.size, header(work)
    flat, slope = part(x, 0, (n,)), part(out, 0, (n,))
    began = ticks()
    for step in range(values.size):
        refresh(work, flat)
        here = call_at(head.address, part(work, head.y_at, x.shape), args)
        values[step] = here
        if record:
            for i in range(n):
                path[step, i] = flat[i]
        if not abs(here) <= most:
            return step, n + NOT_FINITE
        code = 0
        while 0 <= code < n:
            code = by_step(args, work, x, out)
        if code != n and code != n + RECONSIDER:
            return step, code
        largest = 0.0
        for i in range(n):
            largest = max(largest, abs(slope[i]))
        if largest <= tol:
            return step, -n - 1
        for i in range(n):
            flat[i] -= lr * slope[i]
        if ticks() - began > TICKS:
            return step + 1, n
    return values.size, n
