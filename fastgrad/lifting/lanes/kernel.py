"""Evaluating a sweep table in bundles; building blocks for compiled kernels.

They reach f through its address, in numba's own calling convention, and hold nothing of f and nothing of the lane
width: a kernel made of them compiles once for all f of a signature and may be cached on disk.
"""

from numba import njit, types
from numba.core import cgutils

from ..native import call_at, called, emits, part

BLOCK = 16  # values of f that are passed over together, where none of them moves


@emits(types.intp)
def call_lanes(context, builder, kind, address, arguments):
    """`intp run(*arguments)` at `address` (see `LaneFunction`); -1 where it raised."""
    values = cgutils.unpack_tuple(builder, arguments)
    status, reached = called(context, builder, address, types.intp, tuple(kind.arguments), values)
    return builder.select(status.is_ok, reached, reached.type(-1))


@njit(nogil=True, error_model="numpy")
def evaluate_table_lanes(lane_address, scalar_address, args, x, tile, progress, y, index, points, values):
    """Fill `values` with f at the points of a sweep table, in order; returns how many had to be evaluated again.

    Parameters
    ----------
    lane_address : int
        `LaneFunction.address`.
    scalar_address : int
        Where `float64 f(x, *args)` is, in numba's calling convention.
    args : tuple
        Further arguments of f.
    x, y : float64 arrays of the same shape, C-contiguous
        The base point, and a buffer, which f gets.
    tile : (x.size, width) float64, C-contiguous, 16-byte aligned
        A buffer: row i holds entry i of x for each lane. Filled here, whatever it held.
    progress : (1,) intp
        A buffer: the point that the bundle being evaluated starts at.
    index, points, values : (m,), (m, k), (m, k), C-contiguous
        The sweep table: values[r, j] = f(x with x.flat[index[r]] = points[r, j]).

    A bundle whose lanes disagreed about a branch, or in which f raised, is evaluated again point by point, in order, so
    the values, the exception and what was evaluated before it are those of the scalar evaluation.
    """
    width, columns, total = tile.shape[1], points.shape[1], points.size
    base, buffer = part(x, 0, (x.size,)), part(y, 0, (x.size,))
    pairs, results = part(points, 0, (total,)), part(values, 0, (total,))
    for i in range(base.size):
        buffer[i] = base[i]
    repeated = 0
    start = 0
    while start < total:
        progress[0] = start
        start = call_lanes(lane_address, (x, tile, index, points, values, progress, args))
        if start < 0:
            start = progress[0]
        for pair in range(start, min(start + width, total)):
            i = index[pair // columns]
            buffer[i] = pairs[pair]
            results[pair] = call_at(scalar_address, y, args)
            buffer[i] = base[i]
            repeated += 1
        start += width
    return repeated
