# ruff: noqa: PLW0108  numba compiles the lambdas; an intrinsic is no function of its own
"""x, as f sees it in owner lanes: an array-like of owned numbers that cannot be written to."""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import RefType, impl_ret_borrowed, iternext_impl
from numba.core.typing.templates import AbstractTemplate, infer, signature
from numba.extending import intrinsic, lower_builtin, overload, overload_attribute
from numba.np.arrayobj import populate_array

from ..lanes.types import Bundle, splat
from . import totals
from .emitting import Emitted, Number, Slopes, enter, header_of
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


def wrapped(builder, index, size):
    return builder.select(builder.icmp_signed("<", index, I64(0)), builder.add(index, size), index)


@intrinsic
def load_entry(typingctx, point, index):
    items = list(index) if isinstance(index, types.BaseTuple) else [index]
    if len(items) != point.ndim or not all(isinstance(i, types.Integer) for i in items):
        return None

    def codegen(context, builder, sig, args):
        shape = cgutils.unpack_tuple(builder, cgutils.create_struct_proxy(point)(context, builder, value=args[0]).shape)
        values = cgutils.unpack_tuple(builder, args[1]) if isinstance(index, types.BaseTuple) else [args[1]]
        at = I64(0)
        for value, kind, size in zip(values, items, shape, strict=True):
            place = wrapped(builder, context.cast(builder, value, kind, types.intp), size)
            outside = builder.icmp_unsigned(">=", place, size)
            with builder.if_then(outside, likely=False):  # a code that is none would let f write anywhere
                context.call_conv.return_user_exc(builder, IndexError, ("index is out of bounds",))
            at = builder.add(builder.mul(at, size), place)
        return entry(context, builder, point, args[0], at)

    return point.number(point, index), codegen


@overload(operator.getitem)
def point_getitem(point, index):
    return (lambda point, index: load_entry(point, index)) if isinstance(point, Point) else None


@intrinsic
def point_shape(typingctx, point):
    def codegen(context, builder, sig, args):
        return cgutils.create_struct_proxy(point)(context, builder, value=args[0]).shape

    return types.UniTuple(types.intp, point.ndim)(point), codegen


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
    size = cgutils.unpack_tuple(
        builder, cgutils.create_struct_proxy(point)(context, builder, value=iterator.point).shape
    )[0]
    at = builder.load(iterator.at)
    more = builder.icmp_signed("<", at, size)
    result.set_valid(more)
    with builder.if_then(more):
        result.yield_(entry(context, builder, point, iterator.point, at))
        builder.store(builder.add(at, I64(1)), iterator.at)


@intrinsic
def as_point(typingctx, x, codes, rows, which, logging, entries, kind):
    """x with the codes of one pass."""
    point = Point(kind.instance_type, x.ndim)

    def codegen(context, builder, sig, args):
        return point_of(context, builder, sig, args, point)

    return point(x, codes, rows, types.int64, types.boolean, types.int64, kind), codegen


def point_of(context, builder, sig, args, point):
    out = cgutils.create_struct_proxy(point)(context, builder)
    array = context.make_array(sig.args[0])(context, builder, args[0])
    table, rows = (context.make_array(sig.args[k])(context, builder, args[k]) for k in (1, 2))
    out.data, out.shape, out.rows, logging = array.data, array.shape, rows.data, args[4]
    out.first = builder.select(logging, I64(-1), totals.code_of(builder, I64(1)))
    out.step = builder.select(logging, I64(0), I64(1 - 2**32))
    passes = cgutils.unpack_tuple(builder, table.shape)[0]
    out.codes = builder.gep(table.data, [builder.mul(args[3], builder.sdiv(table.nitems, passes))])
    return out._getvalue()


@intrinsic
def as_entries(typingctx, x, codes, rows, which, logging, entries, kind):
    """The same as an array that cannot be written to, in memory that is given."""
    owned = kind.instance_type
    point, array = Point(Owned(owned.colours), x.ndim), Bundle(owned, x.ndim, "C", readonly=True)

    def codegen(context, builder, sig, args):
        here = point_of(context, builder, sig, args, point)
        given = context.make_array(sig.args[0])(context, builder, args[0])
        out = context.make_array(array)(context, builder)
        data = builder.inttoptr(args[5], out.data.type)
        with cgutils.for_range(builder, given.nitems) as loop:
            number = entry(context, builder, point, here, loop.index)
            number = Number.read(builder, number).pack(owned)
            context.pack_value(builder, owned, number, builder.gep(data, [loop.index]), align=8)
        size = I64(entry_size(owned))
        shape = cgutils.unpack_tuple(builder, given.shape)
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        populate_array(out, data, shape, strides, size, None)
        return out._getvalue()

    return array(x, codes, rows, types.int64, types.boolean, types.int64, kind), codegen


def entry_size(kind):
    """Bytes of a number in memory, where its vectors are wide integers, of 16 bytes at least."""
    return 16 + 16 * kind.slopes + 16 * kind.total


@intrinsic(prefer_literal=True)
def numbered(typingctx, value, place):
    """What was read at a place of f; anything but an entry of x stays as it is."""
    kind = Term({place.literal_value}) if isinstance(value, Term) and value == AN_ENTRY else value

    def codegen(context, builder, sig, args):
        return impl_ret_borrowed(context, builder, kind, args[0])

    return kind(value, place), codegen


@intrinsic
def finish(typingctx, result, kind):
    """The buffer that holds the slopes of what f returned, and its value."""
    count = kind.instance_type.colours

    def codegen(context, builder, sig, args):
        if count:
            number = totals.as_number(context, builder, args[0], result, count)
            if not isinstance(result, Total):
                totals.log(builder, number, count)
            buffer = totals.settle(builder, number, count)
        else:
            number = totals.sum_of(context, builder, args[0], result)
            buffer = totals.asked(builder, totals.settle_sum, number)
        return context.make_tuple(builder, sig.return_type, [buffer, number.base])

    return types.Tuple([types.int64, types.float64])(result, kind), codegen


@intrinsic
def begin(typingctx, header):
    """Make this address the header of this thread's run; returns the one before."""

    def codegen(context, builder, sig, args):
        before = header_of(builder)
        enter(builder, args[0])
        return before

    return types.int64(types.int64), codegen
