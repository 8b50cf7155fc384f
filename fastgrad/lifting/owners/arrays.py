"""Arrays that f makes: of totals, as f may fill them with anything."""

import operator
from functools import cache

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic, overload
from numba.np.arrayobj import _empty_nd_impl

from .types import Point, Total


@intrinsic
def empty_totals(typingctx, shape, kind):
    """An uninitialised array of totals."""
    array = types.Array(kind.instance_type, len(shape), "C")

    def codegen(context, builder, sig, args):
        sizes = [
            context.cast(builder, size, t, types.intp)
            for size, t in zip(cgutils.unpack_tuple(builder, args[0]), sig.args[0], strict=True)
        ]
        return _empty_nd_impl(context, builder, array, sizes)._getvalue()

    return array(shape, kind), codegen


def as_shape(shape):
    pass


@overload(as_shape)
def overload_as_shape(shape):
    if isinstance(shape, types.Integer):
        return lambda shape: (shape,)
    if isinstance(shape, (Point, types.Array)):
        return lambda shape: shape.shape
    return lambda shape: shape


@cache
def allocator(value, colours):
    """np.zeros and its kin, of floats that may depend on x."""
    kind = Total(colours)

    def stub(shape):
        pass

    @overload(stub)
    def overload_stub(shape):
        if isinstance(shape, types.Array) and shape.dtype != types.float64 and not isinstance(shape.dtype, Total):
            return None

        def make(shape):
            out = empty_totals(as_shape(shape), kind)
            for i in np.ndindex(out.shape):
                out[i] = value
            return out

        return make

    return stub


ALLOCATORS = {np.zeros: 0.0, np.empty: 0.0, np.ones: 1.0, np.zeros_like: 0.0, np.empty_like: 0.0, np.ones_like: 1.0}
ALLOWED = {len, iter, enumerate, zip, tuple, np.ndindex, operator.getitem, operator.setitem}
