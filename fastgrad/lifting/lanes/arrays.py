# ruff: noqa: PLW0108  numba compiles the lambda; the function that it wraps is only known by its overloads
"""Functions of whole arrays on bundles.

Indexing, slicing, iterating, reshaping and fused elementwise expressions are numba's own, as a bundle is a numba array.
Here is the rest: reductions in the very order of numba's loops; allocations; and, for what has no form of its own,
numba's own function once for each lane on a gathered copy (BLAS and LAPACK calls, sorts, ...), bit-identical by
construction.
"""

import operator
from functools import cache, partial, wraps
from inspect import Parameter, Signature, signature
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.cgutils import is_nonelike
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import overload, overload_classmethod, overload_method, register_jitable
from numba.np.arrayobj import _empty_nd_impl, intrin_alloc
from numba.np.unsafe.ndarray import empty_inferred

from ..native import emits
from .types import (
    I32,
    Bundle,
    Lane,
    Mask,
    Number,
    Unsettled,
    count_divergence,
    flattened,
    is_wide,
    lane_type,
    narrow,
    widen,
)

ARRAY_ATTRIBUTES = {
    "size", "shape", "ndim", "T", "flat", "real", "dtype", "copy", "reshape", "ravel", "flatten", "transpose", "item",
    "fill", "sum", "mean", "min", "max", "prod", "dot", "var", "std", "any", "all", "cumsum", "argmin", "argmax",
    "clip", "sort",
    "append", "extend", "insert", "pop", "clear", "reverse",  # of lists
}  # fmt: skip
ARRAY_FUNCTIONS = {
    len, sum, sorted, enumerate, zip, iter, tuple, np.nditer, np.ndenumerate, np.shape, np.size,
    operator.matmul, operator.imatmul, operator.iadd, operator.isub, operator.imul, operator.itruediv,
}  # fmt: skip
SUBSTITUTES: dict[Any, Any] = {np.float64: float}
"""numpy function -> what stands for it in lanes; numba's own would misread a lane as something that is no float."""


def overloaded(*functions):
    """Register what numba compiles where lanes call a function: a helper, or a stub for these of numpy."""

    def register(write):
        def stub():
            pass

        stub.__name__ = (functions or (write,))[0].__name__  # for messages
        SUBSTITUTES.update(dict.fromkeys(functions, stub))
        ARRAY_FUNCTIONS.add(stub)
        overload(stub)(write)
        return stub

    return register


def itself(function, written):
    """The function, of arguments that are called as those of another: numba compares their names."""
    named = signature(written)
    return eval(f"lambda {str(named)[1:-1]}: function({', '.join(named.parameters)})", {"function": function})


def instead(*functions, first=types.Type):
    """Register what lanes call instead of a numpy function: ``write(*types)`` tells where one of them is wide.

    Where none is, that is the function itself; nothing, where the first is wide and of another kind.
    """

    def register(write):
        plain = itself(functions[0], write)

        @wraps(write)
        def chosen(*ts, **named):
            if not any(map(is_wide, (*ts, *named.values()))):
                return plain
            return write(*ts, **named) if isinstance(ts[0], first) else None

        return overloaded(*functions)(chosen)

    return register


of_bundle = partial(instead, first=Bundle)

# --- memory

LINE = np.uint32(64)  # bytes: lanes that straddle two cache lines take up to three times as long


@overload_classmethod(Bundle, "_allocate")
def allocate(cls, allocsize, align):
    return lambda cls, allocsize, align: intrin_alloc(allocsize, LINE)


def allocated(context, builder, array_kind, shape_kind, shape):
    """An array of a shape; of zeros, where its numbers are more than floats."""
    sizes = [
        context.cast(builder, size, t, types.intp)
        for size, t in zip(cgutils.unpack_tuple(builder, shape), shape_kind, strict=True)
    ]
    for size in sizes:
        with builder.if_then(builder.icmp_signed("<", size, size.type(0)), likely=False):
            context.call_conv.return_user_exc(builder, ValueError, ("negative dimensions not allowed",))
    array = _empty_nd_impl(context, builder, array_kind, sizes)
    if isinstance(array_kind.dtype, Number) and not isinstance(array_kind.dtype, Lane):
        cgutils.memset(builder, array.data, builder.mul(array.nitems, array.itemsize), 0)
    return array._getvalue()


@emits(lambda shape, bundle: bundle.instance_type)
def empty_bundle(context, builder, kind, shape, bundle):
    """An uninitialised bundle of this shape (a tuple of integers)."""
    return allocated(context, builder, kind.result, kind.shape, shape)


@emits(lambda shape: Unsettled(types.undefined, len(shape), "C"))
def unsettled(context, builder, kind, shape):
    """What numba makes of `np.array` of a comprehension: its type is told by what is put into it."""
    return allocated(context, builder, kind.result, kind.shape, shape)


SUBSTITUTES[empty_inferred] = unsettled


def like(a, dtype=None):
    """The type of a new bundle of a's shape and layout."""
    return Bundle(dtype or lane_type([a]), a.ndim, a.layout if a.layout in "CF" else "C")


ALLOCATORS: dict[Any, Any] = {}
"""numpy function that makes an array -> what stands for it where f may fill that with a kind of lanes, by the kind."""


def allocates(function):
    """Register ``write(lane, *types)``: what is called instead of a numpy function that makes an array for lanes."""

    def register(write):
        _, *parameters = signature(write).parameters.values()

        @cache
        def for_lane(lane):
            @wraps(write)
            def made(*ts, **named):
                return write(lane, *ts, **named)

            made.__signature__ = Signature(parameters)
            return overloaded()(made)

        ALLOCATORS[function] = for_lane
        return write

    return register


@register_jitable
def filled_with(out, value):
    if value is not None:
        for i in np.ndindex(out.shape):
            out[i] = value
    return out


@overloaded()
def as_shape(shape):
    return (lambda shape: (shape,)) if isinstance(shape, types.Integer) else (lambda shape: shape)


def of_shape(lane, shape):
    """The type of an array of lanes of a shape of this type."""
    return Bundle(lane, 1 if isinstance(shape, types.Integer) else len(shape), "C")


def allocator(function, value):
    """np.zeros and its kin: arrays of floats."""

    @allocates(function)
    def made(lane, shape, dtype=None):
        asked = getattr(dtype, "dtype", None)
        if asked is not None and asked != types.float64 and asked != lane:
            return lambda shape, dtype=None: function(shape, dtype)
        bundle = of_shape(lane, shape)
        return lambda shape, dtype=None: filled_with(empty_bundle(as_shape(shape), bundle), value)


def allocator_like(function, value):
    """np.zeros_like and its kin: of bundles, and for lanes of arrays that are the same for all points, too."""

    @of_bundle(function)
    def alike(a):
        if not isinstance(a.dtype, Number):
            return None
        bundle = like(a)
        return lambda a: filled_with(empty_bundle(a.shape, bundle), value)

    @allocates(function)
    def made(lane, a):
        if not (isinstance(a, types.Array) and narrow(a.dtype) == types.float64):
            return lambda a: function(a)
        bundle = like(a, lane)
        return lambda a: filled_with(empty_bundle(a.shape, bundle), value)


for plain, plain_like, value in (
    (np.empty, np.empty_like, None),
    (np.zeros, np.zeros_like, 0.0),
    (np.ones, np.ones_like, 1.0),
):
    allocator(plain, value)
    allocator_like(plain_like, value)


@instead(np.full_like)
def full_like(a, value):
    if not isinstance(getattr(a, "dtype", None), (Number, types.Float)):
        return None
    bundle = Bundle(lane_type([a, value]), a.ndim, "C")
    return lambda a, value: filled_with(empty_bundle(a.shape, bundle), value)


@allocates(np.full)
def full(lane, shape, value, dtype=None):
    asked = narrow(getattr(dtype, "dtype", value))
    if asked != types.float64 or not isinstance(value, (types.Float, types.Integer, Number)):
        return lambda shape, value, dtype=None: np.full(shape, value, dtype)
    bundle = of_shape(lane, shape)
    return lambda shape, value, dtype=None: filled_with(empty_bundle(as_shape(shape), bundle), value)


@allocates(np.identity)
@allocates(np.eye)
def eye(lane, n):
    bundle = Bundle(lane, 2, "C")

    def fill(n):
        out = filled_with(empty_bundle((n, n), bundle), 0.0)
        for i in range(n):
            out[i, i] = 1.0
        return out

    return fill


@allocates(np.array)
def wide_array(lane, values, dtype=None):
    return array_of(values, dtype, lane)


@overloaded(np.array)
def array(values, dtype=None):
    return array_of(values, dtype, lane_type([values]))


def array_of(values, dtype, lane):
    """np.array of a list or tuple of numbers, or a list of such lists; a bundle if a lane is given."""
    numbers = flattened(values)
    asked = getattr(dtype, "dtype", types.float64)
    if (
        lane is None
        or asked != types.float64
        or not all(isinstance(t, (Number, types.Float, types.Integer)) for t in numbers)
        or not any(narrow(t) == types.float64 for t in numbers)
    ):
        return None if any(map(is_wide, numbers)) else lambda values, dtype=None: np.array(values, dtype)
    if isinstance(values, types.List) and isinstance(values.dtype, types.List):
        bundle = Bundle(lane, 2, "C")

        def make_matrix(values, dtype=None):
            out = empty_bundle((len(values), len(values[0])), bundle)
            for i in range(len(values)):
                if len(values[i]) != out.shape[1]:
                    raise ValueError  # left to the scalar evaluation
                for j in range(len(values[i])):
                    out[i, j] = values[i][j]
            return out

        return make_matrix
    if isinstance(values, types.List):
        items = register_jitable(lambda values: values)
    elif isinstance(values, types.BaseTuple) and len(values) == len(numbers):
        items = register_jitable(lambda values: as_lanes(values, lane))
    else:
        return None
    bundle = Bundle(lane, 1, "C")

    def make(values, dtype=None):
        same = items(values)
        out = empty_bundle((len(same),), bundle)
        for i in range(len(same)):
            out[i] = same[i]
        return out

    return make


@emits(lambda values, lane: types.UniTuple(lane.instance_type, len(values)))
def as_lanes(context, builder, kind, values, lane):
    """A tuple of numbers as one of lanes."""
    lane = kind.lane.instance_type
    items = [context.cast(builder, builder.extract_value(values, k), t, lane) for k, t in enumerate(kind.values)]
    return context.make_tuple(builder, kind.result, items)


# --- reductions in lanes: the loops of numba's arraymath


def growing(name, operation):
    """A sum and one more term, or a product and one more factor."""

    @overloaded()
    def grown(sum_so_far, value):
        lane = lane_type([sum_so_far, value])
        grow = operation if lane is None else getattr(type(lane), name)
        return lambda sum_so_far, value: grow(sum_so_far, value)

    return grown


plus, minus = growing("add", operator.add), growing("subtract", operator.sub)
times = growing("multiply", operator.mul)


def reduction(*functions, method, loop):
    function = functions[0]

    def reduce(a):
        if not isinstance(a.dtype, Number):
            return each_lane(function, "a", a)
        return a.dtype.forms[function](a) if function in a.dtype.forms else loop(a)

    of_bundle(*functions)(reduce)
    overload_method(Bundle, method)(reduce)


def sum_loop(a):
    # numba adds in the order of memory
    ordered = register_jitable((lambda a: a.T) if a.layout == "F" and a.ndim > 1 else (lambda a: a))

    def total(a):
        c = 0.0
        for v in ordered(a).flat:
            c = plus(c, v)
        return c

    return total


def prod_loop(a):
    def product(a):
        c = 1.0
        for v in np.nditer(a):
            c = times(c, v.item())
        return c

    return product


def mean_loop(a):
    def mean(a):
        if a.size == 0:
            return np.nan
        c = 0.0
        for v in np.nditer(a):
            c = plus(c, v.item())
        return c / a.size

    return mean


def running(grown, start):
    def loop(a):
        bundle = Bundle(a.dtype.wide, 1, "C")

        def grow(a):
            out = empty_bundle((a.size,), bundle)
            c = start
            for i, v in enumerate(a.flat):
                c = grown(c, v)
                out[i] = c
            return out

        return grow

    return loop


def extremum_loop(better):
    def loop(a):
        def extremum(a):
            if a.size == 0:
                raise ValueError("zero-size array to reduction operation which has no identity")
            it = np.nditer(a)
            best = next(it).take(0)
            if np.isnan(best):
                return best
            for view in it:
                v = view.item()
                if np.isnan(v):
                    return v
                if better(v, best):
                    best = v
            return best

        return extremum

    return loop


def total(a, axis=None):
    if not isinstance(a.dtype, Number):
        if isinstance(axis, types.Integer):
            return None
        each = register_jitable(each_lane(np.sum, "a", a))
        return lambda a, axis=None: each(a)
    if isinstance(axis, types.Integer) and a.ndim == 2:
        bundle = Bundle(a.dtype, 1, "C")

        def total_along(a, axis=None):
            along = axis + 2 if axis < 0 else axis
            if not 0 <= along < 2:
                raise ValueError  # left to the scalar evaluation
            out = empty_bundle((a.shape[1 - along],), bundle)
            out[:] = 0.0
            for i in range(a.shape[0]):
                for j in range(a.shape[1]):
                    k = i if along == 1 else j
                    out[k] = plus(out[k], a[i, j])
            return out

        return total_along
    if isinstance(axis, types.Integer) and a.ndim > 2:
        return None
    loop = register_jitable(sum_loop(a))
    if isinstance(axis, types.Integer):

        def total_checked(a, axis=None):
            if not -1 <= axis < 1:
                raise ValueError  # left to the scalar evaluation
            return loop(a)

        return total_checked
    return (lambda a, axis=None: loop(a)) if is_nonelike(axis) else None


of_bundle(np.sum)(total)
overload_method(Bundle, "sum")(total)


@instead(sum)
def sum_of(values, start=0):
    if not is_wide(values):
        return lambda values, start=0: sum(values, start)
    if not isinstance(values, (types.Array, types.List, types.UniTuple)):
        return None

    def added(values, start=0):
        c = start
        for v in values:
            c = plus(c, v)
        return c

    return added


reduction(np.prod, method="prod", loop=prod_loop)
reduction(np.mean, method="mean", loop=mean_loop)
reduction(np.cumsum, method="cumsum", loop=running(plus, 0.0))
reduction(np.cumprod, method="cumprod", loop=running(times, 1.0))
reduction(np.min, np.amin, method="min", loop=extremum_loop(operator.lt))
reduction(np.max, np.amax, method="max", loop=extremum_loop(operator.gt))


# --- elementwise, in place and np.where


def inplace(operation, immutable):
    @overload(operation, target="cpu")  # the generic one, tried first, raises on a lane
    def overload_inplace(a, b):
        if not (isinstance(a, Bundle) and isinstance(a.dtype, Number) and a.mutable):
            return None
        if isinstance(b, types.Array) and b.ndim != a.ndim:
            return None

        def update(a, b):
            if not same_shape(a, b):
                raise ValueError  # left to the scalar evaluation
            for i in np.ndindex(a.shape):
                a[i] = immutable(a[i], entry(b, i))
            return a

        return update


inplace(operator.iadd, plus)
inplace(operator.isub, minus)
inplace(operator.imul, operator.mul)
inplace(operator.itruediv, np.true_divide)  # as numba's ufunc: no ZeroDivisionError


@emits(lambda *kinds: lane_type(kinds))
def choose(context, builder, kind, mask, a, b):
    yes, no = (context.cast(builder, v, t, kind.result) for v, t in ((a, kind.a), (b, kind.b)))
    return builder.select(mask, yes, no)


def with_lane(operation):
    """An array and a lane: elementwise, as numba's fused expressions take no lane as their scalar."""

    @overload(operation)
    def overload_with_lane(a, b):
        if isinstance(a, types.Array) and isinstance(b, Number):
            array, lane, shape = a, b, register_jitable(lambda a, b: a.shape)
        elif isinstance(a, Number) and isinstance(b, types.Array):
            array, lane, shape = b, a, register_jitable(lambda a, b: b.shape)
        else:
            return None
        if not isinstance(array.dtype, (Number, types.Float, types.Integer)):
            return None
        dtype = lane.wide if operation in ARITHMETIC else lane.mask
        bundle = (Bundle if is_wide(dtype) else types.Array)(
            dtype, array.ndim, array.layout if array.layout in "CF" else "C"
        )

        def each(a, b):
            out = empty_bundle(shape(a, b), bundle)
            for i in np.ndindex(out.shape):
                out[i] = operation(entry(a, i), entry(b, i))
            return out

        return each


ARITHMETIC = {operator.add, operator.sub, operator.mul, operator.truediv, operator.pow}
for mixed in (*ARITHMETIC, operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
    with_lane(mixed)


@overloaded()
def entry(a, i):
    return (lambda a, i: a[i]) if isinstance(a, types.Array) else (lambda a, i: a)


@overloaded()
def same_shape(a, b):
    return (lambda a, b: a.shape == b.shape) if isinstance(b, types.Array) else (lambda a, b: True)


@instead(np.where)
def where(condition, a, b):
    if not (
        isinstance(condition, types.Array)
        and isinstance(condition.dtype, (Mask, types.Boolean))
        and all(
            isinstance(v, (Number, types.Float, types.Integer))
            or (isinstance(v, types.Array) and v.ndim == condition.ndim and narrow(v.dtype) == types.float64)
            for v in (a, b)
        )
        and any(narrow(getattr(v, "dtype", v)) == types.float64 for v in (a, b))
    ):
        return None
    bundle = like(condition, lane_type([condition, a, b]))

    def choose_all(condition, a, b):
        if not (same_shape(condition, a) and same_shape(condition, b)):
            raise ValueError  # broadcasting is left to the scalar evaluation
        out = empty_bundle(condition.shape, bundle)
        for i in np.ndindex(condition.shape):
            out[i] = choose(condition[i], entry(a, i), entry(b, i))
        return out

    return choose_all


# --- clipping and moving data


of_bundle(np.asarray)(lambda a: lambda a: a)
of_bundle(np.copy)(lambda a: lambda a: a.copy())
of_bundle(np.ravel)(lambda a: lambda a: a.ravel())
of_bundle(np.transpose)(lambda a: lambda a: a.T)
of_bundle(np.reshape)(lambda a, shape: lambda a, shape: a.reshape(shape))


@of_bundle(np.ascontiguousarray)
def contiguous(a):
    return (lambda a: a) if a.layout == "C" else (lambda a: a.copy())


@of_bundle(np.flip)
def flipped(a):
    return (lambda a: a[::-1]) if a.ndim == 1 else None


@of_bundle(np.diag)
def diagonal(a):
    bundle = Bundle(a.dtype, 3 - a.ndim, "C")
    if not isinstance(a.dtype, Number) or a.ndim > 2:
        return None
    if a.ndim == 2:

        def taken(a):
            out = empty_bundle((min(a.shape),), bundle)
            for i in range(out.size):
                out[i] = a[i, i]
            return out

        return taken

    def spread(a):
        out = empty_bundle((a.size, a.size), bundle)
        for i in range(a.size):
            for j in range(a.size):
                out[i, j] = 0.0
            out[i, i] = a[i]
        return out

    return spread


@instead(np.clip)
def clip(a, a_min, a_max):
    clipped = clip_loop(a, a_min, a_max)
    return clipped and (lambda a, a_min, a_max: clipped(a, a_min, a_max))


@overload_method(Bundle, "clip")
def overload_clip_method(a, a_min=None, a_max=None):
    clipped = clip_loop(a, a_min, a_max)
    return clipped and (lambda a, a_min=None, a_max=None: clipped(a, a_min, a_max))


def clip_loop(a, a_min, a_max):
    bounds = [bound for bound in (a_min, a_max) if not is_nonelike(bound)]
    if not (isinstance(a, Bundle) and isinstance(a.dtype, Number) and bounds) or not all(
        isinstance(b, (Number, types.Float, types.Integer))
        or (isinstance(b, types.Array) and b.ndim == a.ndim and narrow(b.dtype) == types.float64)
        for b in bounds
    ):
        return None
    bundle = like(a)
    below, above = not is_nonelike(a_min), not is_nonelike(a_max)

    @register_jitable
    def clipped(a, a_min, a_max):
        if (below and not same_shape(a, a_min)) or (above and not same_shape(a, a_max)):
            raise ValueError  # broadcasting is left to the scalar evaluation
        out = empty_bundle(a.shape, bundle)
        for i in np.ndindex(a.shape):
            out[i] = least(greatest(a[i], entry(a_min, i)), entry(a_max, i))
        return out

    return clipped


@overloaded()
def greatest(v, bound):
    return (lambda v, bound: v) if is_nonelike(bound) else (lambda v, bound: max(v, bound))


@overloaded()
def least(v, bound):
    return (lambda v, bound: v) if is_nonelike(bound) else (lambda v, bound: min(v, bound))


def floats(t):
    """Is it a one-dimensional array of lanes or float64?"""
    return isinstance(t, types.Array) and t.ndim == 1 and narrow(t.dtype) == types.float64


def common(arrays):
    """How many dimensions a tuple of arrays of lanes or float64 has, where they have the same; else None."""
    if not isinstance(arrays, types.BaseTuple) or not all(isinstance(t, types.Array) for t in arrays):
        return None
    ndims = {t.ndim for t in arrays if narrow(t.dtype) == types.float64 or not is_wide(t)}
    return ndims.pop() if len(ndims) == 1 else None


@overloaded()
def joined(arrays, axis):
    """The arrays, one after another along an axis, 0 <= axis."""
    ndim = common(arrays)
    if not ndim or not all(narrow(t.dtype) == types.float64 for t in arrays):
        return None
    bundle = Bundle(lane_type([arrays]), ndim, "C")

    def join(arrays, axis):
        if not 0 <= axis < ndim:
            raise ValueError  # left to the scalar evaluation
        out = empty_bundle(tuple_setitem(arrays[0].shape, axis, length(arrays, axis)), bundle)
        fill_from(out, 0, arrays, axis)
        return out

    return join


@overloaded()
def length(arrays, axis):
    if len(arrays) == 1:
        return lambda arrays, axis: arrays[0].shape[axis]
    return lambda arrays, axis: arrays[0].shape[axis] + length(arrays[1:], axis)


@overloaded()
def fill_from(out, start, arrays, axis):
    @register_jitable
    def fill(out, start, array, axis):
        if tuple_setitem(out.shape, axis, 0) != tuple_setitem(array.shape, axis, 0):
            raise ValueError  # left to the scalar evaluation
        for place in np.ndindex(array.shape):
            out[tuple_setitem(place, axis, place[axis] + start)] = array[place]

    if len(arrays) == 1:
        return lambda out, start, arrays, axis: fill(out, start, arrays[0], axis)

    def fill_all(out, start, arrays, axis):
        fill(out, start, arrays[0], axis)
        fill_from(out, start + arrays[0].shape[axis], arrays[1:], axis)

    return fill_all


@overloaded()
def deepened(arrays, axis):
    """The arrays, each with one more axis of length 1."""
    if len(arrays) == 1:
        return lambda arrays, axis: (np.expand_dims(arrays[0], axis),)
    return lambda arrays, axis: (np.expand_dims(arrays[0], axis), *deepened(arrays[1:], axis))


@instead(np.concatenate)
def concatenate(arrays, axis=0):
    ndim = common(arrays)
    return ndim and (lambda arrays, axis=0: joined(arrays, axis if axis >= 0 else axis + ndim))


@instead(np.stack)
def stack(arrays, axis=0):
    deeper = (common(arrays) or 0) + 1

    def stacked(arrays, axis=0):
        along = axis if axis >= 0 else axis + deeper
        return joined(deepened(arrays, along), along)

    return stacked


def stacking(function, axes):
    """np.vstack and its kin: for arrays of so many dimensions, which axes they get, and along which they join."""

    @instead(function)
    def stacked(arrays):
        first, along = axes.get(common(arrays), ((), None))
        if along is None:
            return None
        if not first:
            return lambda arrays: joined(arrays, along)
        if len(first) == 1:
            (axis,) = first
            return lambda arrays: joined(deepened(arrays, axis), along)
        return lambda arrays: joined(deepened(deepened(arrays, 0), 2), along)


stacking(np.hstack, {1: ((), 0), 2: ((), 1), 3: ((), 1)})
stacking(np.vstack, {1: ((0,), 0), 2: ((), 0), 3: ((), 0)})
stacking(np.column_stack, {1: ((1,), 1), 2: ((), 1)})
stacking(np.dstack, {1: ((0, 2), 2), 2: ((2,), 2), 3: ((), 2)})


@instead(np.repeat)
def repeat(a, repeats):
    if not (floats(a) and isinstance(repeats, types.Integer)):
        return None
    bundle = Bundle(a.dtype, 1, "C")

    def repeated(a, repeats):
        if repeats < 0:
            raise ValueError
        out = empty_bundle((a.size * repeats,), bundle)
        for i in range(out.size):
            out[i] = a[i // repeats]
        return out

    return repeated


@of_bundle(np.diff)
def diff(a, n=1):
    if not isinstance(a.dtype, Number):
        return None
    bundle = Bundle(a.dtype, a.ndim, "C")

    def differences(a, n=1):
        if n < 0:
            raise ValueError
        out = empty_bundle(a.shape, bundle)
        out[...] = a
        for _ in range(n):
            above = out[..., 1:]
            for place in np.ndindex(above.shape):
                out[place] = above[place] - out[place]
            out = out[..., :-1].copy()
        return out

    return differences


@instead(np.append)
def append(a, values):
    if floats(a) and floats(values):
        return lambda a, values: joined((a, values), 0)
    if floats(a) and isinstance(values, (Number, types.Float, types.Integer)):
        bundle = Bundle(lane_type([a, values]), 1, "C")

        def appended(a, values):
            out = empty_bundle((a.size + 1,), bundle)
            for i in range(a.size):
                out[i] = a[i]
            out[a.size] = values
            return out

        return appended
    return None


@of_bundle(np.roll)
def roll(a, shift):
    if not (isinstance(a.dtype, Number) and isinstance(shift, types.Integer)):
        return None
    bundle = Bundle(a.dtype, a.ndim, "C")

    def rolled(a, shift):
        out = empty_bundle(a.shape, bundle)
        values, moved = a.ravel(), out.ravel()
        for i in range(values.size):
            moved[(i + shift) % values.size] = values[i]
        return out

    return rolled


# --- lane by lane: numba's own function on a gathered copy of each lane


@emits(lambda value, k: narrow(value))
def extract(context, builder, kind, value, k):
    return builder.extract_element(value, builder.trunc(k, I32))


@overloaded()
def nth(a, k):
    """Lane k of anything."""
    if isinstance(a, (Lane, Mask)):
        return lambda a, k: extract(a, k)
    if not isinstance(a, Bundle):
        return lambda a, k: a
    dtype = np.float64 if isinstance(a.dtype, Lane) else np.bool_
    if a.layout == "F" and a.ndim > 1:
        return lambda a, k: nth(a.T, k).T

    def gather(a, k):
        out = np.empty(a.shape, dtype)
        for i in np.ndindex(a.shape):
            out[i] = extract(a[i], k)
        return out

    return gather


@emits(lambda wide: wide.instance_type)
def undefined(context, builder, kind, wide):
    return context.get_constant_undef(kind.result)


@emits(lambda wide, k, value: wide)
def insert(context, builder, kind, wide, k, value):
    return builder.insert_element(wide, value, builder.trunc(k, I32))


@emits(lambda value, condition: value)
def counted(context, builder, kind, value, condition):
    """value; a divergence where the condition holds."""
    count_divergence(builder, condition)
    return value


@overloaded()
def begin(result, lane):
    """Where the results of all lanes are put together, given that of one."""
    lane_t = lane.instance_type
    if isinstance(result, types.Array):
        bundle = widen(result, lane_t)
        return bundle and (lambda result, lane: empty_bundle(result.shape, bundle))
    if isinstance(result, types.Integer):
        return lambda result, lane: result
    wide = widen(result, lane_t)
    return wide and (lambda result, lane: undefined(wide))


@overloaded()
def put(out, k, result):
    """`out` with lane k from `result`."""
    if isinstance(out, types.Integer):
        return lambda out, k, result: counted(out, out != result)
    if not isinstance(out, Bundle):
        return lambda out, k, result: insert(out, k, result)

    def scatter(out, k, result):
        if out.shape != result.shape:
            raise ValueError  # left to the scalar evaluation
        for i in np.ndindex(out.shape):
            out[i] = insert(out[i], k, result[i])
        return out

    return scatter


EACH = """
def each({names}):
    first = function({first})
    out = put(begin(first, lane), 0, first)
    for k in range(1, width):
        out = put(out, k, function({kth}))
    return out
"""


def each_lane(function, names, *ts):
    """What a function makes of arguments of these names and types, lane by lane."""
    lane = lane_type(ts)
    if not isinstance(lane, Lane):
        return lane.forms[function](*ts) if function in lane.forms else None
    first, kth = (", ".join(f"nth({name}, {k})" for name in names.split(", ")) for k in ("0", "k"))
    space = {"function": function, "lane": lane, "width": lane.width, "nth": nth, "put": put, "begin": begin}
    exec(EACH.format(names=names, first=first, kth=kth), space)
    return space["each"]


def lane_by_lane(function, names):
    def each(*ts):
        return each_lane(function, names, *ts)

    each.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names.split(", ")])
    instead(function)(each)
    if function.__name__ in ("var", "std", "any", "all", "argmin", "argmax", "dot"):
        overload_method(Bundle, function.__name__)(each)
    return each


LANE_BY_LANE = {
    "a": (
        np.var, np.std, np.any, np.all, np.argmin, np.argmax, np.median, np.sort, np.trace, np.ptp, np.nansum,
        np.nanmean, np.nanmin, np.nanmax, np.nanvar, np.nanstd, np.linalg.norm, np.linalg.det, np.linalg.inv,
        np.linalg.cholesky, np.linalg.eigvalsh, np.linalg.pinv,
    ),
    "a, b": (
        np.outer, np.vdot, np.kron, np.linalg.solve, np.convolve, np.cross, np.quantile, np.percentile,
        np.searchsorted,
    ),
    "x, xp, fp": (np.interp,),
}  # fmt: skip
for names, functions in LANE_BY_LANE.items():
    for function in functions:
        lane_by_lane(function, names)
product = lane_by_lane(np.dot, "a, b")
for key in (operator.matmul, np.dot):  # np.dot itself: `a.dot(x)` of an array that is no bundle

    @overload(key)
    def product_of_lanes(a, b):
        return product(a, b) if is_wide(a) or is_wide(b) else None


sort_copy = SUBSTITUTES[np.sort]


@overload_method(Bundle, "sort")
def sort_in_place(a):
    def sort(a):
        a[:] = sort_copy(a)

    return sort
