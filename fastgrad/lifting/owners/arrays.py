"""Arrays of owned numbers: functions that numba computes in its own order, or that have a form of fewer operations.

The rest is shared with lanes (`lanes.arrays`). The value is always what numba's own function makes of the values.
"""

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable

from ..lanes.arrays import empty_bundle
from ..lanes.types import Bundle, is_wide, lane_type, narrow
from .operators import accumulate_add
from .types import Owned


@intrinsic
def value(typingctx, number):
    """The value at x."""
    if not isinstance(number, Owned):
        return None

    def codegen(context, builder, sig, args):
        return builder.extract_value(args[0], 0)

    return types.float64(number), codegen


@intrinsic
def with_value(typingctx, number, value):
    """The number's differences, from another value."""
    if not (isinstance(number, Owned) and value == types.float64):
        return None

    def codegen(context, builder, sig, args):
        return builder.insert_value(args[0], args[1], 0)

    return number(number, value), codegen


def values(a):
    """An array's values at x."""


@overload(values)
def overload_values(a):
    if not is_wide(a):
        return lambda a: a

    def gather(a):
        out = np.empty(a.shape)
        for i in np.ndindex(a.shape):
            out[i] = value(a[i])
        return out

    return gather


def vectors(*ts):
    return all(isinstance(t, types.Array) and t.ndim == 1 and narrow(t.dtype) == types.float64 for t in ts)


@register_jitable
def sum_of_products(a, b):
    s = 0.0
    for i in range(a.size):
        s = accumulate_add(s, a[i] * b[i])
    return s


def dot(a, b):
    if vectors(a, b):

        def dot_vectors(a, b):
            exact = np.dot(values(a), values(b))  # which raises where they are of different sizes
            return with_value(sum_of_products(a, b), exact)

        return dot_vectors
    matrix = isinstance(a, types.Array) and a.ndim == 2 and narrow(a.dtype) == types.float64
    if not (matrix and vectors(b)):
        return None
    bundle = Bundle(lane_type([a, b]), 1, "C")

    def dot_rows(a, b):
        exact = np.dot(values(a), values(b))
        out = empty_bundle(exact.shape, bundle)
        for i in range(out.size):
            out[i] = with_value(sum_of_products(a[i], b), exact[i])
        return out

    return dot_rows


def norm(a):
    if not vectors(a):
        return None

    def norm_of_vector(a):
        return with_value(np.sqrt(sum_of_products(a, a)), np.linalg.norm(values(a)))

    return norm_of_vector


@register_jitable
def centred(a, mean):
    """The sum of (a - mean(a))**2: n terms that need no total, less the square of one."""
    squares = 0.0
    rest = 0.0
    for v in a.flat:
        d = v - mean
        squares = accumulate_add(squares, d * d)
        rest = accumulate_add(rest, d)
    return squares - rest * rest / a.size


def variance(a):
    def variance_of(a):
        plain = values(a)
        return with_value(centred(a, plain.mean()) / a.size, np.var(plain))

    return variance_of


def deviation(a):
    def deviation_of(a):
        plain = values(a)
        return with_value(np.sqrt(centred(a, plain.mean()) / a.size), np.std(plain))

    return deviation_of


def steps(a):
    return (lambda a: a[1:] - a[:-1]) if vectors(a) else None


Owned.forms = {
    np.dot: dot,
    np.vdot: dot,
    np.linalg.norm: norm,
    np.var: variance,
    np.std: deviation,
    np.diff: steps,
}
