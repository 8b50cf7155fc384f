"""What numba has no words for: f of many values behind an address, room on the stack, a record in an array, ticks."""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.numpy_support import from_dtype

from ...lifting.native import array_of, array_type, borrowed, called, emits, raise_on
from .workspace import HEADER

RECORD = from_dtype(HEADER)
STACK = 704  # numbers: eleven of 64 outputs
FLOATS = array_type(1)


@emits(types.boolean)
def call_into(context, builder, kind, f, x, out):
    """Call an f of many values, and copy what it returns to `out`; returns whether it has out's shape.

    `f` is a tuple of its address, `before`, `after` and `like`. It is called with the entries of `before`, x, and the
    entries of `after`. `like` is of the type that it returns; if that is no array, f fills `out`, which it gets behind
    x, as zeros. What it returned is let go at once: kernels that count no references may call this.
    """
    _, before_kinds, after_kinds, like = kind.f.types
    fills = not isinstance(like, types.Array)
    kinds = (*before_kinds.types, kind.x, *((kind.out,) if fills else ()), *after_kinds.types)
    at, before, after, _ = cgutils.unpack_tuple(builder, f)
    array = array_of(context, builder, kind.out, out)
    given = [*cgutils.unpack_tuple(builder, before), x, *((out,) if fills else ())]
    given += cgutils.unpack_tuple(builder, after)
    if fills:
        cgutils.memset(builder, array.data, builder.mul(array.itemsize, array.nitems), 0)
    status, value = called(context, builder, at, types.none if fills else like, kinds, given)
    raise_on(context, builder, status)
    if fills:
        return cgutils.true_bit
    found = array_of(context, builder, like, value)
    same = cgutils.true_bit
    lengths = zip(cgutils.unpack_tuple(builder, found.shape), cgutils.unpack_tuple(builder, array.shape), strict=True)
    for mine, wanted in lengths:
        same = builder.and_(same, builder.icmp_signed("==", mine, wanted))
    with builder.if_then(same):
        if like.layout == "C" and like.dtype == types.float64:
            cgutils.raw_memcpy(builder, array.data, found.data, array.nitems, array.itemsize)
        else:
            stride = cgutils.unpack_tuple(builder, found.strides)[-1] if like.ndim == 1 else found.itemsize
            with cgutils.for_range(builder, array.nitems) as loop:
                source = cgutils.pointer_add(builder, found.data, builder.mul(loop.index, stride), found.data.type)
                number = context.unpack_value(builder, like.dtype, source)
                number = context.cast(builder, number, like.dtype, types.float64)
                builder.store(number, builder.gep(array.data, [loop.index]))
    pointer = cgutils.voidptr_t
    let_go = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [pointer]), "NRT_decref")
    builder.call(let_go, [builder.bitcast(found.meminfo, pointer)])
    return same


@emits(types.float64)
def call_c(context, builder, kind, address, x):
    """Call the C function ``double f(double *, int64_t)`` at `address`."""
    double, size = ir.DoubleType(), ir.IntType(64)
    array = array_of(context, builder, kind.x, x)
    pointer = builder.inttoptr(address, ir.FunctionType(double, [double.as_pointer(), size]).as_pointer())
    return builder.call(pointer, [array.data, context.cast(builder, array.nitems, types.intp, types.int64)])


@emits(FLOATS)
def array_at(context, builder, kind, address, size):
    """View memory as a vector of numbers."""
    data = builder.inttoptr(address, context.get_data_type(types.float64).as_pointer())
    return borrowed(context, builder, kind.result, data, [size], context.get_constant(types.intp, 8))


@emits(types.intp)
def on_the_stack(context, builder, kind):
    """Return the address of room for `STACK` numbers that the function which asks for it has while it runs."""
    with builder.goto_entry_block():
        room = builder.alloca(ir.ArrayType(ir.DoubleType(), STACK))
    return builder.ptrtoint(room, context.get_value_type(types.intp))


@emits(lambda array: array_type(array.ndim, types.int64))
def integers(context, builder, kind, array):
    """View a C-contiguous array of floats as integers.

    numba's own view is a function within: it counts references wherever the first that called it did.
    """
    floats = array_of(context, builder, kind.array, array)
    data = builder.bitcast(floats.data, context.get_data_type(types.int64).as_pointer())
    shape = cgutils.unpack_tuple(builder, floats.shape)
    return borrowed(context, builder, kind.result, data, shape, context.get_constant(types.intp, 8))


@emits(RECORD)
def header(context, builder, kind, work):
    """Return the record that a workspace starts with."""
    return builder.bitcast(array_of(context, builder, kind.work, work).data, context.get_value_type(RECORD))


@emits(types.int64)
def ticks(context, builder, kind):
    """Read the processor's counter; 0 where user code may not."""
    if platform.machine() not in ("x86_64", "AMD64", "i686"):
        return context.get_constant(types.int64, 0)
    counter = builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(ir.IntType(64), ()))
    return builder.call(counter, ())
