"""Arrays that a kernel is handed as they are: it reads their C structure itself, and refuses what is not plain.

numba unboxes an array in 40 ns, on top of 150 ns of questions in Python: whether it is an ndarray, of float64,
contiguous, of the right shape. Read directly, all of it is 5 ns.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, register_model, unbox
from numba.np.arrayobj import populate_array

from ...core.validation import FLOAT64

# PyArrayObject_fields of numpy's C interface, the same in 1.7 and in 2.x: data, nd, dimensions, strides, base, descr,
# flags, behind the head that each object has
HEAD = object.__basicsize__
TYPE, DATA, ND, DIMENSIONS, DESCR, FLAGS = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 40, HEAD + 48
PLAIN_FLAGS = 0x1 | 0x100 | 0x400  # C-contiguous, aligned, writeable


def as_expected() -> bool:
    """Whether arrays lie in memory as this module thinks."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    for array, flags in ((np.zeros((3, 5)), PLAIN_FLAGS), (np.zeros((3, 5, 7))[:, 1:, ::2], PLAIN_FLAGS & ~0x1)):
        seen = ctypes.string_at(id(array), FLAGS + 4)
        words = [int.from_bytes(seen[at : at + 8], sys.byteorder) for at in (TYPE, DATA, DESCR, DIMENSIONS)]
        ndim, found = (int.from_bytes(seen[at : at + 4], sys.byteorder) for at in (ND, FLAGS))
        known = [id(np.ndarray), array.ctypes.data, id(FLOAT64)]
        if (words[:3], ndim, found & PLAIN_FLAGS) != (known, array.ndim, flags):
            return False
        if tuple((ctypes.c_ssize_t * ndim).from_address(words[3])) != array.shape:
            return False
    return True


class Borrowed(types.Type):  # type: ignore[misc]
    """Any Python object, which may turn out to be a plain array of so many dimensions."""

    def __init__(self, ndim: int) -> None:
        self.ndim = ndim
        super().__init__(name=f"Borrowed({ndim})")


@register_model(Borrowed)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64))


@unbox(Borrowed)
def _unbox(kind: Any, thing: Any, c: Any) -> NativeValue:
    return NativeValue(c.builder.ptrtoint(thing, ir.IntType(64)))


def _field(builder: Any, thing: Any, at: int, bits: int = 64) -> Any:
    kind = ir.IntType(bits)
    return builder.load(builder.inttoptr(builder.add(thing, thing.type(at)), kind.as_pointer()))


@intrinsic
def plain(typingctx, thing, array_type, descr):  # type: ignore[no-untyped-def]
    """Whether it is an ndarray (no subclass) of its dimensions, with this dtype, C-contiguous, aligned, writeable."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        thing, array_type, descr = values
        answer = cgutils.alloca_once_value(builder, cgutils.false_bit)
        with builder.if_then(builder.icmp_unsigned("==", _field(builder, thing, TYPE), array_type)):
            int32 = ir.IntType(32)
            flags = builder.and_(_field(builder, thing, FLAGS, 32), int32(PLAIN_FLAGS))
            same = [
                builder.icmp_unsigned("==", _field(builder, thing, DESCR), descr),
                builder.icmp_unsigned("==", _field(builder, thing, ND, 32), int32(signature.args[0].ndim)),
                builder.icmp_unsigned("==", flags, int32(PLAIN_FLAGS)),
            ]
            builder.store(builder.and_(builder.and_(same[0], same[1]), same[2]), answer)
        return builder.load(answer)

    return types.boolean(thing, types.int64, types.int64), codegen


@intrinsic
def lent(typingctx, thing):  # type: ignore[no-untyped-def]
    """View a plain array; its owner keeps it alive."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        (thing,) = values
        result = context.make_array(signature.return_type)(context, builder)
        dimensions = _field(builder, thing, DIMENSIONS)
        lengths = [_field(builder, dimensions, 8 * i) for i in range(signature.return_type.ndim)]
        size = context.get_constant(types.intp, 8)
        strides = [size]
        for length in lengths[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(_field(builder, thing, DATA), result.data.type)
        populate_array(result, data, lengths, strides[: len(lengths)], size, None)
        return result._getvalue()

    return types.Array(types.float64, thing.ndim, "C")(thing), codegen


@intrinsic
def overlap(typingctx, one, other):  # type: ignore[no-untyped-def]
    """Whether two contiguous arrays of one size share memory."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        one, other = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, values, strict=True)
        )
        int64 = ir.IntType(64)
        starts = [builder.ptrtoint(array.data, int64) for array in (one, other)]
        bytes_ = builder.mul(one.nitems, int64(8))
        ends = [builder.add(start, bytes_) for start in starts]
        return builder.and_(
            builder.icmp_unsigned("<", starts[0], ends[1]), builder.icmp_unsigned("<", starts[1], ends[0])
        )

    return types.boolean(one, other), codegen


@intrinsic
def word_at(typingctx, address):  # type: ignore[no-untyped-def]
    """Read the 64-bit integer at an address, after all that was read before."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        builder.fence("acquire")
        value = builder.load(builder.inttoptr(values[0], ir.IntType(64).as_pointer()))
        builder.fence("acquire")
        return value

    return types.int64(types.int64), codegen


@intrinsic
def seize(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Set an entry's bits to 1, and say whether they were 0: one thread at a time."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature, values)
        old = builder.atomic_rmw("xchg", place, ir.IntType(64)(1), "acquire")
        return builder.icmp_unsigned("==", old, ir.IntType(64)(0))

    return types.boolean(array, types.intp), codegen


@intrinsic
def release(typingctx, array, at):  # type: ignore[no-untyped-def]
    """Set an entry's bits to 0 again."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        builder.store_atomic(ir.IntType(64)(0), _place(context, builder, signature, values), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, values[0]).data
    return builder.bitcast(builder.gep(data, [values[1]]), ir.IntType(64).as_pointer())
