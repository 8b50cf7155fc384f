"""What numba has no words for: f behind an address, views that own nothing, a record within an array, a counter."""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

from .workspace import HEADER

RECORD = from_dtype(HEADER)
STACK = 704  # numbers: eleven of 64 outputs


@intrinsic
def call_at(typingctx, address, x, args):
    """Call the function at `address` with x and the entries of a tuple, in numba's calling convention."""
    kinds = (x, *args.types)
    result = x.dtype

    def codegen(context, builder, signature, values):
        at, first, rest = values
        function = context.call_conv.get_function_type(result, kinds)
        unpacked = [builder.extract_value(rest, i) for i in range(len(args.types))]
        status, value = context.call_conv.call_function(
            builder, builder.inttoptr(at, function.as_pointer()), result, kinds, [first, *unpacked]
        )
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return value

    return result(address, x, args), codegen


@intrinsic
def call_into(typingctx, f, x, out):
    """Call an f of many values, and copy what it returns to `out`; returns whether it has out's shape.

    `f` is a tuple of its address, `before`, `after` and `like`. It is called with the entries of `before`, x, and the
    entries of `after`. `like` is of the type that it returns; if that is no array, f fills `out`, which it gets behind
    x, as zeros. What it returned is let go at once: kernels that count no references may call this.
    """
    _, before, after, like = f.types
    fills = not isinstance(like, types.Array)
    kinds = (*before.types, x, *((out,) if fills else ()), *after.types)
    result = types.none if fills else like

    def codegen(context, builder, signature, values):
        given, x, out = values
        at, before, after, _ = cgutils.unpack_tuple(builder, given)
        array = context.make_array(signature.args[2])(context, builder, out)
        given = [*cgutils.unpack_tuple(builder, before), x, *((out,) if fills else ())]
        given += cgutils.unpack_tuple(builder, after)
        if fills:
            cgutils.memset(builder, array.data, builder.mul(array.itemsize, array.nitems), 0)
        function = context.call_conv.get_function_type(result, kinds)
        status, value = context.call_conv.call_function(
            builder, builder.inttoptr(at, function.as_pointer()), result, kinds, given
        )
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        if fills:
            return cgutils.true_bit
        found = context.make_array(like)(context, builder, value)
        same = cgutils.true_bit
        lengths = zip(
            cgutils.unpack_tuple(builder, found.shape), cgutils.unpack_tuple(builder, array.shape), strict=True
        )
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

    return types.boolean(f, x, out), codegen


@intrinsic
def call_c(typingctx, address, x):
    """Call the C function ``double f(double *, int64_t)`` at `address`."""

    def codegen(context, builder, signature, values):
        double, size = ir.DoubleType(), ir.IntType(64)
        array = context.make_array(signature.args[1])(context, builder, values[1])
        pointer = builder.inttoptr(values[0], ir.FunctionType(double, [double.as_pointer(), size]).as_pointer())
        return builder.call(pointer, [array.data, context.cast(builder, array.nitems, types.intp, types.int64)])

    return types.float64(address, x), codegen


@intrinsic
def part(typingctx, array, start, shape):
    """View entries of a C-contiguous array in another shape, without owning them.

    Counting the references of a dozen slices took 250 ns, and each reshape 40 ns.
    """

    def codegen(context, builder, signature, values):
        source = context.make_array(signature.args[0])(context, builder, values[0])
        start = context.cast(builder, values[1], signature.args[1], types.intp)
        lengths = cgutils.unpack_tuple(builder, values[2])
        kinds = signature.args[2].types
        lengths = [context.cast(builder, n, kind, types.intp) for n, kind in zip(lengths, kinds, strict=True)]
        size = context.get_constant(types.intp, context.get_abi_sizeof(source.data.type.pointee))
        strides = [size]
        for length in lengths[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        view = context.make_array(signature.return_type)(context, builder)
        populate_array(view, builder.gep(source.data, [start]), lengths, strides[: len(lengths)], size, None)
        return view._getvalue()

    return types.Array(array.dtype, len(shape.types), "C")(array, start, shape), codegen


@intrinsic
def array_at(typingctx, address, size):
    """View memory as a vector of numbers."""

    def codegen(context, builder, signature, values):
        view, eight = context.make_array(signature.return_type)(context, builder), context.get_constant(types.intp, 8)
        populate_array(view, builder.inttoptr(values[0], view.data.type), [values[1]], [eight], eight, None)
        return view._getvalue()

    return types.Array(types.float64, 1, "C")(address, size), codegen


@intrinsic
def on_the_stack(typingctx):
    """Return the address of room for `STACK` numbers that the function which asks for it has while it runs."""

    def codegen(context, builder, signature, values):
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(ir.DoubleType(), STACK))
        return builder.ptrtoint(room, context.get_value_type(types.intp))

    return types.intp(), codegen


@intrinsic
def integers(typingctx, array):
    """View a C-contiguous array of floats as integers.

    numba's own view is a function within: it counts references wherever the first that called it did.
    """
    result = types.Array(types.int64, array.ndim, "C")

    def codegen(context, builder, signature, values):
        floats, view = (
            context.make_array(array)(context, builder, values[0]),
            context.make_array(result)(context, builder),
        )
        shape, strides = (cgutils.unpack_tuple(builder, each) for each in (floats.shape, floats.strides))
        populate_array(view, builder.bitcast(floats.data, view.data.type), shape, strides, floats.itemsize, None)
        return view._getvalue()

    return result(array), codegen


@intrinsic
def header(typingctx, work):
    """Return the record that a workspace starts with."""

    def codegen(context, builder, signature, values):
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.bitcast(array.data, context.get_value_type(RECORD))

    return RECORD(work), codegen


@intrinsic
def ticks(typingctx):
    """Read the processor's counter; 0 where user code may not."""

    def codegen(context, builder, signature, values):
        if platform.machine() not in ("x86_64", "AMD64", "i686"):
            return context.get_constant(types.int64, 0)
        counter = builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(ir.IntType(64), ()))
        return builder.call(counter, ())

    return types.int64(), codegen
