"""The loop around f in owner lanes: a pass for each few colours, and plain evaluations that confirm the gradient."""

from __future__ import annotations

from functools import partial
from math import inf, sqrt
from typing import Any

import numpy as np
from numba import types

from ...core.validation import Args
from ...lifting.native import array_type, call_at
from ...lifting.owners import layout as at
from ...lifting.owners.layout import DIFFERENT, FIRST, ROOM, TIED, UNCONFIRMED, UNUSUAL
from .cache import inner, kernel

SMALLEST, LARGEST = 2.0**-26, 2.0**-17  # steps, relative to x, of the plain differences that confirm a gradient
AGREES = 1e-3  # of what its entries move f by, taken together: so near a difference must come to the gradient
AGAIN = 64.0  # times the step, where the first says no: f may be noisier than its value tells. A smaller one tells less


def signature(args: Args, ndim: int) -> tuple[Any, ...]:
    """Return the types of the arguments of `gradient`."""
    whole, x, floats, rows = types.int64, array_type(ndim), array_type(2), array_type(1, types.int32)
    ints, lists, codes = (array_type(d, whole) for d in (1, 2, 3))
    memory = ints, floats, lists, floats, ints, ints, x
    return whole, whole, types.Tuple(args), x, codes, rows, x, *memory, types.boolean, types.boolean


checking = partial(inner, fastmath={"reassoc"})  # the order of a sum decides nothing in a check, and half its time


@checking
def taken(flat, g, buffers, k, more):
    """Let a buffer be g, or be added to what g has: `more`; returns the squares of what g's entries move f by."""
    square = 0.0
    for i in range(flat.size):
        g[i] = g[i] + buffers[k, FIRST + i] if more else buffers[k, FIRST + i]
        square += moving(flat[i], g[i])
    return square


@checking
def moving(x, slope):
    """The square of what an entry moves f by, relative to x."""
    part = slope * x if x != 0.0 else slope
    return part * part


@inner
def goes_up(bits, i):
    """Whether a direction that follows from x's bytes goes up along an entry."""
    mixed = bits[i] + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return mixed >> np.uint64(63) != np.uint64(0)


@checking
def moved_along(flat, g, y, lost, losses, h, side):
    """Go a step from x to one side, in a direction from x's bytes; returns how much that should change f.

    Who changes a branch stays.
    """
    bits, slope = flat.view(np.uint64), 0.0
    for i in range(flat.size):
        size = abs(flat[i]) if flat[i] != 0.0 else 1.0
        step = h * (size if goes_up(bits, i) else -size)
        y[i] = flat[i] + step * side
        slope += g[i] * (y[i] - flat[i])
    if losses > 0:
        for i in range(flat.size):
            if lost[i + 1] != 0:
                y[i] = flat[i]
    return slope


@inner
def confirmed(address, args, x, g, value, lost, losses, moved, square, exact):
    """Compare with f as it is, by a plain difference; returns why it does not agree (0: it does), and how often f ran.

    The step is as small as f's rounding lets it be. From the pass's own value, a difference to one side tells, as a
    rule, of that value, too: were it another than f's by more than rounding, so would the difference be. Where it does
    not agree (f is flat there, or bent), f's value and central differences tell: to the bit, or, where f is compiled to
    round as it likes, to some roundings of the value. Where its terms cancel to less, the point is refused.
    """
    flat, y = x.reshape(x.size), moved.reshape(x.size)
    rounding = 2.0**-52 * (8.0 + sqrt(flat.size))
    size, count = sqrt(square), 0
    step = 0.1 * AGREES * size
    step = min(max(rounding * 2.0 * abs(value) / step, SMALLEST), LARGEST) if step > 0.0 else LARGEST
    for h in (step, AGAIN * step):
        slope = moved_along(flat, g, y, lost, losses, h, 1.0)
        above, count = call_at(address, moved, args), count + 1
        allowed = AGREES * h * size
        if count == 1:
            if abs(above - value - slope) <= allowed + rounding * (abs(above) + abs(value)):
                return 0, count
            for i in range(flat.size):  # a slice would need numba's memory, which entry points do without
                y[i] = flat[i]
            here, count = call_at(address, moved, args), count + 1
            if exact and here != value:
                return DIFFERENT, count
            if not abs(here - value) <= rounding * (abs(here) + abs(value)):
                return UNCONFIRMED, count
        slope -= moved_along(flat, g, y, lost, losses, h, -1.0)
        below, count = call_at(address, moved, args), count + 1
        if abs(above - below - slope) <= 2.0 * allowed + rounding * (abs(above) + abs(below)):
            return 0, count
    return UNCONFIRMED, count


@kernel
def gradient(
    address, run, args, x, codes, rows, out, header, buffers, records, listed, sources, lost, moved, confirm, exact
):
    """Write the gradient to `out`.

    Returns why it cannot be had (0: it can), f(x), how many coordinates change a branch, and how often f was evaluated.
    With a log: the terms.
    """
    value, square, losses, n = 0.0, 0.0, 0, x.size
    if header[at.LOSSES] != 0:
        header[at.LOSSES] = 0
        lost[:] = 0
    flat, g = x.reshape(n), out.reshape(n)
    for p in range(codes.shape[0]):
        value = call_at(run, x, (args, codes, rows, p, header))
        header[at.TAKEN] = max(header[at.TAKEN], header[at.NEXT])
        header[at.LISTED] = max(header[at.LISTED], header[at.RECORD])
        if header[at.LOG] != 0 or header[at.FLAGS] != 0:
            return header[at.FLAGS], value, 0, p + 1
        line, size = 8 * header[at.CELLS], 8 * (FIRST + 2 * ROOM)
        k, end = (header[at.RESULT] - header[at.BUFFERS]) // line, header[at.BUFFERS] + line * header[at.SLOTS]
        for v in range(header[at.FROZEN] - 1, -1, -1):
            factor = buffers[k, FIRST + n + v]
            if factor != 0.0:
                if header[at.BUFFERS] <= sources[v] < end:
                    source = (sources[v] - header[at.BUFFERS]) // line
                    for i in range(FIRST, FIRST + n + v):
                        buffers[k, i] += factor * buffers[source, i]
                else:
                    source = (sources[v] - header[at.RECORDS]) // size
                    for j in range(FIRST, FIRST + 2 * records[source, at.COUNT], 2):
                        buffers[k, FIRST - 1 + records[source, j]] += factor * listed[source, j + 1]
        square = taken(flat, g, buffers, k, p > 0)
    count = codes.shape[0]
    if header[at.LOSSES] != 0:
        for i in range(n):
            if lost[i + 1] != 0:
                losses, g[i] = losses + 1, 0.0
        for i in range(n, n + header[at.FROZEN]):
            if lost[i + 1] != 0:
                return TIED, value, losses, count
        square = 0.0
        for i in range(n):
            square += moving(flat[i], g[i])
    if not (abs(value) < inf and square < inf):
        return UNUSUAL, value, losses, count
    if not confirm:
        return 0, value, losses, count
    why, more = confirmed(address, args, x, g, value, lost, losses, moved, square, exact)
    return why, value, losses, count + more
