"""Evaluating a sweep table, point by point and in bundles; building blocks for compiled kernels.

Both functions reach f through its address, in numba's own calling convention. They hold nothing of f and nothing of the
lane width, so a kernel made of them compiles once for all f of a signature and may be cached on disk.
"""

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

BLOCK = 16  # values of f that are passed over together, where none of them moves


@intrinsic
def call_scalar(typingctx, address, x, args):
    """`float64 f(x, *args)` at `address`; what f raises propagates."""
    argument_types = (x, *args)

    def codegen(context, builder, sig, values):
        function_type = context.call_conv.get_function_type(types.float64, argument_types)
        arguments = [values[1], *(builder.extract_value(values[2], k) for k in range(len(args)))]
        status, result = context.call_conv.call_function(
            builder, builder.inttoptr(values[0], function_type.as_pointer()), types.float64, argument_types, arguments
        )
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return types.float64(address, x, args), codegen


@intrinsic
def flat(typingctx, array):
    """A C-contiguous array as one dimension. Borrowed: what owns no memory needs no (atomic) reference counting."""
    result = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, sig, args):
        source = make_array(sig.args[0])(context, builder, args[0])
        view = make_array(result)(context, builder)
        populate_array(
            view,
            data=source.data,
            shape=cgutils.pack_array(builder, [source.nitems]),
            strides=cgutils.pack_array(builder, [source.itemsize]),
            itemsize=source.itemsize,
            meminfo=None,
        )
        return view._getvalue()

    return result(array), codegen


@intrinsic
def call_lanes(typingctx, address, arguments):
    """`intp run(*arguments)` at `address` (see `LaneFunction`); -1 where it raised."""
    kinds = tuple(arguments)

    def codegen(context, builder, sig, values):
        function_type = context.call_conv.get_function_type(types.intp, kinds)
        run = builder.inttoptr(values[0], function_type.as_pointer())
        unpacked = cgutils.unpack_tuple(builder, values[1])
        status, reached = context.call_conv.call_function(builder, run, types.intp, kinds, unpacked)
        return builder.select(status.is_ok, reached, reached.type(-1))

    return types.intp(address, arguments), codegen


@njit(nogil=True, error_model="numpy")
def evaluate_table_scalar(scalar_address, args, x, y, index, points, values, refill):
    """Fill `values` with f at the points of a sweep table, in order.

    Parameters
    ----------
    scalar_address : int
        Where `float64 f(x, *args)` is, in numba's calling convention.
    args : tuple
        Further arguments of f.
    x, y : float64 arrays of the same shape, C-contiguous
        The base point, and a buffer, which f gets.
    index, points, values : (m,), (m, k), (m, k), C-contiguous
        The sweep table: values[r, j] = f(x with x.flat[index[r]] = points[r, j]).
    refill : bool
        Fill y before every evaluation, not just once: for an f that writes into its argument.
    """
    base, buffer = flat(x), flat(y)
    buffer[:] = base
    for r in range(points.shape[0]):
        i = index[r]
        for j in range(points.shape[1]):
            buffer[i] = points[r, j]
            values[r, j] = call_scalar(scalar_address, y, args)
            if refill:
                buffer[:] = base
        buffer[i] = base[i]


@njit(nogil=True, error_model="numpy")
def evaluate_table_lanes(lane_address, scalar_address, args, x, tile, progress, y, index, points, values):
    """As `evaluate_table_scalar`, `tile.shape[1]` points at a time; returns how many had to be evaluated again.

    Parameters
    ----------
    lane_address : int
        `LaneFunction.address`.
    tile : (x.size, width) float64, C-contiguous, 16-byte aligned
        A buffer: row i holds entry i of x for each lane. Filled here, whatever it held.
    progress : (1,) intp
        A buffer: the point that the bundle being evaluated starts at.

    A bundle whose lanes disagreed about a branch, or in which f raised, is evaluated again point by point, in order, so
    the values, the exception and what was evaluated before it are those of the scalar evaluation.
    """
    base, buffer, pairs, results = flat(x), flat(y), flat(points), flat(values)
    width, columns, total = tile.shape[1], points.shape[1], points.size
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
            results[pair] = call_scalar(scalar_address, y, args)
            buffer[i] = base[i]
            repeated += 1
        start += width
    return repeated
