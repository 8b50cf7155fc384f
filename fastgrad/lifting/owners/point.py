# ruff: noqa: PLW0108  numba compiles the lambdas; an intrinsic is no function of its own
"""x, as f sees it in owner lanes: an array-like of owned numbers that cannot be written to."""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import RefType, impl_ret_borrowed, iternext_impl
from numba.core.typing.templates import AbstractTemplate, infer, signature
from numba.extending import lower_builtin, overload, overload_attribute, register_jitable

from ..lanes.types import Bundle, splat
from ..native import array_of, borrowed, emits
from . import totals
from .emitting import Emitted, Number, Slopes, enter, header_of
from .layout import BEFORE, FLAGS, FROZEN, LOGGED, NEXT, RECORD, SELF
from .types import F64, I64, Owned, Point, PointIterator, Term, Total

AN_ENTRY = Term({0})  # at no place yet
ONE = 0x3FF0000000000000  # the bits of 1.0


def entry(context, builder, t, point, at):
    """x[at], 0 <= at: its value, and a slope of 1 where it owns a colour.

    Its code is what its row of the table lets through of its owner: all of it in its own colour's place. An owner's
    code is the first one's and so many steps more, an addition in a loop; while the pattern is looked for, the step is
    0 and all bits are set, and the row is the code.
    """
    struct = cgutils.create_struct_proxy(t)(context, builder, value=point)
    base = builder.load(builder.gep(struct.data, [at]))
    if isinstance(t.number, Term):
        (place,), one = t.number.places, Emitted(builder, F64(1.0))
        return Number(builder, base, Slopes({place: one}), {place: builder.add(at, I64(1))}).pack(t.number)
    _, slopes, codes = t.number.ll.elements
    row = builder.zext(builder.load(builder.gep(struct.rows, [at])), I64)
    row = builder.bitcast(builder.gep(struct.codes, [row]), codes.as_pointer())
    owner = builder.add(struct.first, builder.mul(at, struct.step))
    row = builder.load(row, align=8)
    one = ir.Constant(codes, [I64(ONE)] * t.number.colours)
    d = builder.bitcast(builder.and_(row, one), slopes)
    return Number(builder, base, d, builder.and_(row, splat(builder, owner, codes))).pack(t.number)


def lengths_of(context, builder, t, point):
    return cgutils.unpack_tuple(builder, cgutils.create_struct_proxy(t)(context, builder, value=point).shape)


def wrapped(builder, index, size):
    return builder.select(builder.icmp_signed("<", index, I64(0)), builder.add(index, size), index)


def number_at(point, index):
    """The type of an entry at a place of this type; None where that is no place."""
    items = list(index) if isinstance(index, types.BaseTuple) else [index]
    return point.number if len(items) == point.ndim and all(isinstance(i, types.Integer) for i in items) else None


@emits(number_at)
def load_entry(context, builder, kind, point, index):
    several = isinstance(kind.index, types.BaseTuple)
    items, values = (kind.index, cgutils.unpack_tuple(builder, index)) if several else ([kind.index], [index])
    at = I64(0)
    for value, item, size in zip(values, items, lengths_of(context, builder, kind.point, point), strict=True):
        place = wrapped(builder, context.cast(builder, value, item, types.intp), size)
        outside = builder.icmp_unsigned(">=", place, size)
        with builder.if_then(outside, likely=False):  # a code that is none would let f write anywhere
            context.call_conv.return_user_exc(builder, IndexError, ("index is out of bounds",))
        at = builder.add(builder.mul(at, size), place)
    return entry(context, builder, kind.point, point, at)


@overload(operator.getitem)
def point_getitem(point, index):
    return (lambda point, index: load_entry(point, index)) if isinstance(point, Point) else None


@emits(lambda point: types.UniTuple(types.intp, point.ndim))
def point_shape(context, builder, kind, point):
    return cgutils.create_struct_proxy(kind.point)(context, builder, value=point).shape


@overload_attribute(Point, "shape")
def shape_attribute(point):
    return lambda point: point_shape(point)


@overload_attribute(Point, "ndim")
def ndim_attribute(point):
    ndim = point.ndim
    return lambda point: ndim


@overload_attribute(Point, "size")
def size_attribute(point):
    if point.ndim == 1:
        return lambda point: point_shape(point)[0]
    return lambda point: point_shape(point)[0] * point_shape(point)[1]


@overload(len)
def point_len(point):
    return (lambda point: point_shape(point)[0]) if isinstance(point, Point) else None


@infer
class IterateTemplate(AbstractTemplate):
    """`for v in x`."""

    key = "getiter"

    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], Point) and args[0].ndim == 1:
            return signature(PointIterator(args[0]), args[0])
        return None


@lower_builtin("getiter", Point)
def lower_getiter(context, builder, sig, args):
    iterator = context.make_helper(builder, sig.return_type)
    at = cgutils.alloca_once_value(builder, I64(0))
    iterator.point, iterator.at = args[0], at
    return iterator._getvalue()


@lower_builtin("iternext", PointIterator)
@iternext_impl(RefType.UNTRACKED)
def iterate(context, builder, sig, args, result):
    iterator = context.make_helper(builder, sig.args[0], value=args[0])
    point = sig.args[0].point
    (size,) = lengths_of(context, builder, point, iterator.point)
    at = builder.load(iterator.at)
    more = builder.icmp_signed("<", at, size)
    result.set_valid(more)
    with builder.if_then(more):
        result.yield_(entry(context, builder, point, iterator.point, at))
        builder.store(builder.add(at, I64(1)), iterator.at)


def point_of(context, builder, t, kind, x, codes, rows, which, logging):
    """x with the codes of one pass, as a `Point` of type t; `kind`: of the others."""
    out = cgutils.create_struct_proxy(t)(context, builder)
    array, table = array_of(context, builder, kind.x, x), array_of(context, builder, kind.codes, codes)
    out.data, out.shape, out.rows = array.data, array.shape, array_of(context, builder, kind.rows, rows).data
    out.first = builder.select(logging, I64(-1), totals.code_of(builder, I64(1)))
    out.step = builder.select(logging, I64(0), I64(1 - 2**32))
    passes = cgutils.unpack_tuple(builder, table.shape)[0]
    out.codes = builder.gep(table.data, [builder.mul(which, builder.sdiv(table.nitems, passes))])
    return out._getvalue()


A_PASS = {"which": types.int64, "logging": types.boolean, "entries": types.int64}


@emits(lambda x, *more: Point(more[-1].instance_type, x.ndim), **A_PASS)
def as_point(context, builder, kind, x, codes, rows, which, logging, entries, number):
    """x with the codes of one pass."""
    return point_of(context, builder, kind.result, kind, x, codes, rows, which, logging)


@emits(lambda x, *more: Bundle(more[-1].instance_type, x.ndim, "C", readonly=True), **A_PASS)
def as_entries(context, builder, kind, x, codes, rows, which, logging, entries, number):
    """The same as an array that cannot be written to, in memory that is given."""
    owned = kind.result.dtype
    point = Point(Owned(owned.colours), kind.x.ndim)
    here = point_of(context, builder, point, kind, x, codes, rows, which, logging)
    given = array_of(context, builder, kind.x, x)
    data = builder.inttoptr(entries, context.get_data_type(owned).as_pointer())
    with cgutils.for_range(builder, given.nitems) as loop:
        value = Number.read(builder, entry(context, builder, point, here, loop.index)).pack(owned)
        context.pack_value(builder, owned, value, builder.gep(data, [loop.index]), align=8)
    shape = cgutils.unpack_tuple(builder, given.shape)
    return borrowed(context, builder, kind.result, data, shape, I64(entry_size(owned)))


def entry_size(kind):
    """Bytes of a number in memory, where its vectors are wide integers, of 16 bytes at least."""
    return 16 + 16 * kind.slopes + 16 * kind.total


def at_its_place(value, place):
    return Term({place.literal_value}) if isinstance(value, Term) and value == AN_ENTRY else value


@emits(at_its_place, prefer_literal=True)
def numbered(context, builder, kind, value, place):
    """What was read at a place of f; anything but an entry of x stays as it is."""
    return impl_ret_borrowed(context, builder, kind.result, value)


@emits(types.Tuple([types.int64, types.float64]))
def finish(context, builder, kind, returned, number):
    """The buffer that holds the slopes of what f returned, and its value."""
    count = kind.number.instance_type.colours
    if count:
        found = totals.as_number(context, builder, returned, kind.returned, count)
        if not isinstance(kind.returned, Total):
            totals.log(builder, found, count)
        buffer = totals.settle(builder, found, count)
    else:
        found = totals.sum_of(context, builder, returned, kind.returned)
        buffer = totals.asked(builder, totals.settle_sum, found)
    return context.make_tuple(builder, kind.result, [buffer, found.base])


@emits(types.int64, header=types.int64)
def begin(context, builder, kind, header):
    """Make this address the header of this thread's run; returns the one before."""
    before = header_of(builder)
    enter(builder, header)
    return before


@register_jitable
def opened(header):
    """Make this the header of this thread's run, in which nothing is taken, and nothing wrong; returns the former."""
    before = header[BEFORE] = begin(header[SELF])
    header[FLAGS] = header[NEXT] = header[RECORD] = header[FROZEN] = header[LOGGED] = 0
    return before
