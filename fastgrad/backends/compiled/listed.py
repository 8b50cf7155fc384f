"""The loop around an f of many values in owner lanes: a pass for each few colours, and what confirms the entries."""

from math import inf
from typing import Any

import numpy as np
from numba import types

from ...lifting.native import array_type, call_at, part
from ...lifting.owners.layout import DIFFERENT, FLAGS, LOG, LOSSES, UNCONFIRMED, UNUSUAL
from ...schemes.constants import EPS
from .cache import inner, kernel
from .confirmed import goes_up
from .native import call_into

FULL, BRANCH = -1, -2  # in place of how many entries there are
FARTHER = 2.0**-19  # relative to x: the step of the plain difference that confirms entries
AGREES = 1e-3  # of what they move a value by


def signature(entry: tuple[Any, ...], ndim: int, ndim_out: int) -> tuple[Any, ...]:
    """Return the types of the arguments of `listed`."""
    x, y, floats, rows = array_type(ndim), array_type(ndim_out), array_type(1), array_type(1, types.int32)
    ints, codes = array_type(1, types.int64), array_type(3, types.int64)
    args = types.Tuple((*entry[1].types, *entry[2].types))
    return (
        *entry, types.int64, args, x, codes, rows, ints, ints, y, y, codes, array_type(3),
        ints, floats, ints, floats, types.boolean,
    )  # fmt: skip


@inner
def agrees(f, x, here, indptr, indices, data, work):
    """Compare with f as it is: with a plain difference of all values, along a direction from x's bytes."""
    n, m = x.size, here.size
    flat, y, vector = part(x, 0, (n,)), part(work, 0, (n,)), part(work, n, (n,))
    bits = flat.view(np.uint64)
    for i in range(n):
        step = FARTHER * (abs(flat[i]) if flat[i] != 0.0 else 1.0)
        vector[i] = step if goes_up(bits, i) else -step
    for side in range(2):
        for i in range(n):
            y[i] = flat[i] - vector[i] if side else flat[i] + vector[i]
        out = part(work, 2 * n + side * m, here.shape)
        if not call_into(f, part(work, 0, x.shape), out):
            return False
    for i in range(n):
        vector[i] = (flat[i] + vector[i]) - (flat[i] - vector[i])
    up, down = part(work, 2 * n, (m,)), part(work, 2 * n + m, (m,))
    for r in range(m):
        total, size = 0.0, 0.0
        for e in range(indptr[r], indptr[r + 1]):
            moved = data[e] * vector[indices[e]]
            total += moved
            size += abs(moved)
        if not abs(up[r] - down[r] - total) <= AGREES * size + 100.0 * EPS * (abs(up[r]) + abs(down[r])):
            return False
    return True


@kernel
def listed(
    address, before, after, like, run, args, x, codes, rows, header, lost, here, values, owners, slopes, indptr, work,
    indices, data, confirm,
):  # fmt: skip
    """Write the entries of the Jacobian, row by row, in the order of columns; returns why not (0), and how many."""
    f, m, colours = (address, before, after, like), here.size, codes.shape[2]
    if header[LOSSES] != 0:
        header[LOSSES] = 0
        for i in range(lost.size):
            lost[i] = 0
    if confirm and not call_into(f, x, here):
        return UNUSUAL, 0
    for p in range(codes.shape[0]):
        start, shape = p * m * colours, (m, colours)
        call_at(run, x, (args, codes, rows, p, header, values, part(owners, start, shape), part(slopes, start, shape)))
        if header[LOG] != 0 or header[FLAGS] != 0:
            return header[FLAGS], 0
    if header[LOSSES] != 0:
        return 0, BRANCH
    size, found, plain = 0, part(values, 0, (m,)), part(here, 0, (m,))
    for r in range(m):
        if confirm and found[r] != plain[r]:
            return DIFFERENT, 0
        start = size
        for p in range(codes.shape[0]):
            for c in range(colours):
                code, slope = owners[p, r, c], slopes[p, r, c]
                if code == 0:
                    continue
                if size == indices.size:
                    return 0, FULL
                if not abs(slope) < inf:
                    return UNUSUAL, 0
                j, e = (code & 0x7FFFFFFF) - 1, size
                while e > start and indices[e - 1] > j:
                    indices[e], data[e] = indices[e - 1], data[e - 1]
                    e -= 1
                indices[e], data[e] = j, slope
                size += 1
        indptr[r + 1] = size
    if confirm and not agrees(f, x, here, indptr, indices, data, work):
        return UNCONFIRMED, size
    return 0, size
