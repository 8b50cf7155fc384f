"""The numba types of the lane lift: W doubles or booleans in one SIMD register, and arrays of them.

A *lane* is one point of a bundle, so a variable that is a float64 in f is a :class:`Lane` here: a vector that
holds that variable for all W points. Control flow follows lane 0; wherever that may not be what another lane would
have done, the divergence is counted, and whoever called f evaluates the bundle again, point by point.
"""

import ctypes
import operator
from typing import Any, ClassVar

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typeconv import Conversion
from numba.extending import lower_cast, models, register_model

F64, I1, I32, I64 = ir.DoubleType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)

# One counter for each thread (two threads that share a slot by chance only repeat a bundle needlessly). A counter that
# only ever grows needs no reset, which another thread could undo.
_SLOTS_LOG2 = 10
_divergences = (ctypes.c_int64 * 2**_SLOTS_LOG2)()
llvm.add_symbol("fastgrad_divergences", ctypes.addressof(_divergences))
llvm.add_symbol("fastgrad_thread_ident", ctypes.cast(ctypes.pythonapi.PyThread_get_thread_ident, ctypes.c_void_p).value)
_IDENT = ir.IntType(8 * ctypes.sizeof(ctypes.c_ulong))


class Number(types.Type):
    """What stands for a float64 of f in a private copy of it: a lane, or a number that carries its differences.

    `wide`: what any number of this kind fits into: the type of what arrays hold.
    `mask`: what comparing gives.
    `add`, `subtract`, `multiply`: what makes a sum grow, or a product.
    `fast`: whether functions may be taken from the system's vector mathematics library.
    `forms`: numpy functions of arrays that have a form of their own for such numbers: ``forms[function](*types)`` is
        that form, or None.
    """

    add: Any = operator.add
    subtract: Any = operator.sub
    multiply: Any = operator.mul
    fast = False
    forms: ClassVar[dict[Any, Any]] = {}

    @property
    def wide(self):
        return self


class Lane(Number):
    """One float64 of each of `width` points. A float or an integer that meets a lane becomes one.

    `fast` lanes may take `exp`, `log`, ... from the system's vector mathematics library.
    """

    def __init__(self, width, fast=False):
        self.width, self.fast = width, fast
        super().__init__(name=f"lane({width}{', fast' if fast else ''})")

    def unify(self, typingctx, other):
        return self if isinstance(other, (types.Float, types.Integer)) else None

    def can_convert_from(self, typingctx, other):
        number = isinstance(other, (types.Float, types.Integer, types.Boolean, Mask))
        return Conversion.promote if number else None

    def cast_python_value(self, value):
        return float(value)

    @property
    def mask(self):
        return Mask(self.width, self.fast)

    @property
    def vector(self):
        return ir.VectorType(F64, self.width)


class Mask(types.Type):
    """One boolean of each of `width` points.

    It unifies with boolean, or `if t > 0` fails to type while inference still believes t to be a float.
    """

    def __init__(self, width, fast=False):
        self.width, self.fast = width, fast
        super().__init__(name=f"mask({width}{', fast' if fast else ''})")

    def unify(self, typingctx, other):
        return self if isinstance(other, types.Boolean) else None

    def can_convert_from(self, typingctx, other):
        return Conversion.promote if isinstance(other, types.Boolean) else None

    @property
    def vector(self):
        return ir.VectorType(I1, self.width)


class Bundle(types.Array):
    """An array of lanes (or masks): numba's own array machinery, each entry W points wide."""

    is_internal = True  # numba fuses array expressions of these

    def copy(self, dtype=None, ndim=None, layout=None, readonly=None):
        return Bundle(
            dtype=self.dtype if dtype is None else dtype,
            ndim=self.ndim if ndim is None else ndim,
            layout=self.layout if layout is None else layout,
            readonly=not self.mutable if readonly is None else readonly,
        )

    def unify(self, typingctx, other):
        array = super().unify(typingctx, other)
        return None if array is None else self.copy(layout=array.layout, readonly=not array.mutable)


class Unsettled(types.Array):
    """An array whose dtype is that of the first number put into it; of lanes, it is a bundle."""

    def copy(self, dtype=None, ndim=None, layout=None, readonly=None):
        array = super().copy(dtype, ndim, layout, readonly)
        if isinstance(array.dtype, Number):
            return Bundle(array.dtype.wide, array.ndim, array.layout, readonly=not array.mutable)
        return array if array.dtype.is_precise() else Unsettled(array.dtype, array.ndim, array.layout)


@register_model(Lane)
@register_model(Mask)
class WideModel(models.PrimitiveModel):
    """A vector in registers, one wide integer, of whole bytes, in memory.

    numba stores with the type's natural alignment, which for a vector of 8 doubles is 64 bytes: more than its own
    allocations have. A wide integer's is 16, and LLVM turns it into an unaligned vector access.
    """

    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.vector)
        count = fe_type.width * (64 if isinstance(fe_type, Lane) else 1)
        self.bits, self.data_type = ir.IntType(count), ir.IntType(max(8, count))

    def get_data_type(self):
        return self.data_type

    def as_data(self, builder, value):
        bits = builder.bitcast(value, self.bits)
        return bits if self.bits == self.data_type else builder.zext(bits, self.data_type)

    def from_data(self, builder, value):
        bits = value if self.bits == self.data_type else builder.trunc(value, self.bits)
        return builder.bitcast(bits, self.be_type)


register_model(Bundle)(models.ArrayModel)


def is_wide(t):
    """Does a value of this type differ between the points of a bundle?"""
    return lane_type([t]) is not None


def flattened(t):
    """The types of the numbers in nested lists, tuples and arrays."""
    if isinstance(t, types.BaseTuple):
        return [number for item in t for number in flattened(item)]
    if isinstance(t, types.List):
        return flattened(t.dtype)
    return [getattr(t, "dtype", t)]


def lane_type(ts):
    """The lane type that occurs among these types, or None."""
    for t in ts:
        for number in flattened(t):
            if isinstance(number, Mask):
                return Lane(number.width, number.fast)
            if isinstance(number, Number):
                return number.wide
    return None


def narrow(t):
    """The type that this one has in the scalar evaluation."""
    if isinstance(t, types.Array) and is_wide(t):  # numba makes arrays of lanes that are no bundles, which is refused
        return types.Array(narrow(t.dtype), t.ndim, t.layout, readonly=not t.mutable)
    return types.float64 if isinstance(t, Number) else types.boolean if isinstance(t, Mask) else t


def widen(t, lane):
    """The type of a result that is `t` in the scalar evaluation; integers stay: control flow is lane 0's."""
    if t == types.float64:
        return lane
    if isinstance(t, types.Boolean):
        return lane.mask
    if isinstance(t, types.Integer):
        return types.unliteral(t)
    if isinstance(t, types.BaseTuple):
        items = [widen(item, lane) for item in t]
        return types.Tuple(items) if all(items) else None
    if isinstance(t, types.Array):
        dtype = widen(t.dtype, lane)
        return dtype and (Bundle if is_wide(dtype) else types.Array)(dtype, t.ndim, t.layout)
    return None


def splat(builder, value, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def assemble(builder, items):
    """A vector from one scalar for each lane."""
    vector = ir.Constant(ir.VectorType(items[0].type, len(items)), ir.Undefined)
    for k, item in enumerate(items):
        vector = builder.insert_element(vector, item, I32(k))
    return vector


@lower_cast(types.Float, Lane)
@lower_cast(types.Integer, Lane)
@lower_cast(types.IntegerLiteral, Lane)
@lower_cast(types.Boolean, Lane)
def number_to_lane(context, builder, fromty, toty, val):
    return splat(builder, context.cast(builder, val, fromty, types.float64), toty.vector)


@lower_cast(Mask, Lane)
def mask_to_lane(context, builder, fromty, toty, val):
    return builder.uitofp(val, toty.vector)


@lower_cast(types.Boolean, Mask)
@lower_cast(types.BooleanLiteral, Mask)
def boolean_to_mask(context, builder, fromty, toty, val):
    return splat(builder, context.cast(builder, val, fromty, types.boolean), toty.vector)


def divergence_slot(builder):
    """Pointer to this thread's counter."""
    module = builder.module
    ident = cgutils.get_or_insert_function(module, ir.FunctionType(_IDENT, []), "fastgrad_thread_ident")
    counters = ir.ArrayType(I64, 2**_SLOTS_LOG2)
    if "fastgrad_divergences" not in module.globals:
        ir.GlobalVariable(module, counters, "fastgrad_divergences").linkage = "external"
    thread = builder.call(ident, [])
    thread = thread if _IDENT == I64 else builder.zext(thread, I64)
    # Fibonacci hashing: thread identities are addresses, equal in their low bits
    slot = builder.lshr(builder.mul(thread, I64(0x9E3779B97F4A7C15)), I64(64 - _SLOTS_LOG2))
    return builder.gep(module.globals["fastgrad_divergences"], [I64(0), slot], inbounds=True)


def count_divergence(builder, condition):
    with builder.if_then(condition, likely=False):
        builder.atomic_rmw("add", divergence_slot(builder), I64(1), "monotonic")


def any_lane(builder, mask):
    bits = ir.IntType(mask.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(mask, bits), bits(0))


def uniform(builder, vector):
    """The value of lane 0; lanes that differ from it count as a divergence."""
    first = builder.extract_element(vector, I32(0))
    if vector.type.element == I1:
        bits = builder.bitcast(vector, ir.IntType(vector.type.count))
        agree = builder.or_(
            builder.icmp_unsigned("==", bits, bits.type(0)),
            builder.icmp_unsigned("==", bits, bits.type(2**vector.type.count - 1)),
        )
        count_divergence(builder, builder.not_(agree))
    else:
        differ = builder.icmp_signed("!=", vector, splat(builder, first, vector.type))
        count_divergence(builder, any_lane(builder, differ))
    return first
