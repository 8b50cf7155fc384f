"""Scalar operators and functions on lanes.

Typing asks numba what the same call would be on float64, so that a lane takes part in whatever a float does. Lowering
has a vector form for what the processor has one for; all else runs numba's own scalar code lane by lane, which makes it
bit-identical by construction.
"""

import builtins
import math
import operator
from functools import partial
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.npydecl import supported_array_operators
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from .mathematics import vector_function
from .types import (
    F64,
    I32,
    Lane,
    Mask,
    any_lane,
    assemble,
    count_divergence,
    is_wide,
    lane_type,
    narrow,
    uniform,
    widen,
)


class Wide:
    """Key of the lowering of a function on lanes; one object for each function."""

    _known: ClassVar[dict[Any, Any]] = {}

    def __new__(cls, function):
        if function not in cls._known:
            cls._known[function] = super().__new__(cls)
        return cls._known[function]

    def __init__(self, function):
        self.function = function


def scalar_signature(typing_context, function, args):
    return typing_context.resolve_function_type(function, tuple(map(narrow, args)), {})


NUMBERS = (Lane, Mask, types.Float, types.Integer, types.Boolean)


def covered(function, args):
    """Is at least one argument wide, and is each a number, or an array where numba fuses array expressions?"""
    fused = isinstance(function, np.ufunc) or function in ARRAY_OPERATORS
    if any(isinstance(a, types.Array) for a in args) and any(isinstance(a, (Lane, Mask)) for a in args):
        return False  # numba's array expressions take no lane as a scalar: see arrays.py
    return any(map(is_wide, args)) and all(
        isinstance(a, NUMBERS) or (fused and isinstance(a, types.Array) and isinstance(a.dtype, NUMBERS)) for a in args
    )


class ScalarTemplate(AbstractTemplate):
    """`function(*lanes)`, typed as `function(*floats)` is. An exponent keeps its literal value."""

    prefer_literal = True

    def generic(self, args, kws):
        if kws or not covered(self.key, args):
            return None
        if self.key in VARIADIC and any(isinstance(a, (Mask, types.Boolean)) for a in args):
            return None
        scalar = scalar_signature(self.context, self.key, args)
        result = scalar and widen(scalar.return_type, lane_type(args))
        return result and signature(result, *args)

    def get_impl_key(self, sig):
        return Wide(self.key)


# --- vector forms: (builder, *vectors) -> vector; used where the scalar call works on float64s (or booleans) alone


def _select(predicate):
    """min and max as numba writes them: the later argument wins only if it compares true."""

    def emit(builder, first, *rest):
        for value in rest:
            first = builder.select(builder.fcmp_ordered(predicate, value, first), value, first)
        return first

    return emit


def _extremum(predicate, tested):
    """np.maximum and its kin as numba writes them; with a NaN, the choice hangs on whether the `tested` one is NaN."""

    def emit(builder, a, b):
        keep_a = _nan(builder, a) if tested == 0 else _nan(builder, b)
        value = builder.select(builder.fcmp_ordered(predicate, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", a, b), builder.select(keep_a, a, b), value)

    return emit


def _intrinsic(name):
    def emit(builder, *args):
        vector = args[0].type
        function_type = ir.FunctionType(vector, [vector] * len(args))
        callee = cgutils.get_or_insert_function(builder.module, function_type, f"{name}.v{vector.count}f64")
        return builder.call(callee, args)

    return emit


def _compare(predicate, ordered=True):
    def emit(builder, a, b):
        return (builder.fcmp_ordered if ordered else builder.fcmp_unordered)(predicate, a, b)

    return emit


def _constant(vector, value):
    return ir.Constant(vector, [ir.Constant(F64, value)] * vector.count)


def _finite(builder, a):
    return builder.fcmp_ordered("<", _intrinsic("llvm.fabs")(builder, a), _constant(a.type, math.inf))


def _infinite(builder, a):
    return builder.fcmp_ordered("==", _intrinsic("llvm.fabs")(builder, a), _constant(a.type, math.inf))


def _nan(builder, a):
    return builder.fcmp_unordered("uno", a, a)


VECTOR_FORMS: dict[Any, Any] = {}
for keys, form in (
    ((operator.add, operator.iadd, np.add), lambda b, x, y: b.fadd(x, y)),
    ((operator.sub, operator.isub, np.subtract), lambda b, x, y: b.fsub(x, y)),
    ((operator.mul, operator.imul, np.multiply), lambda b, x, y: b.fmul(x, y)),
    ((np.true_divide,), lambda b, x, y: b.fdiv(x, y)),
    ((operator.neg, np.negative), lambda b, x: b.fsub(_constant(x.type, -0.0), x)),
    ((operator.pos, float, np.positive), lambda b, x: x),
    ((np.square,), lambda b, x: b.fmul(x, x)),
    ((operator.lt, np.less), _compare("<")),
    ((operator.le, np.less_equal), _compare("<=")),
    ((operator.gt, np.greater), _compare(">")),
    ((operator.ge, np.greater_equal), _compare(">=")),
    ((operator.eq, np.equal), _compare("==")),
    ((operator.ne, np.not_equal), _compare("!=", ordered=False)),
    ((builtins.min,), _select("<")),
    ((builtins.max,), _select(">")),
    ((np.maximum,), _extremum(">=", 0)),
    ((np.minimum,), _extremum("<=", 0)),
    ((np.fmax,), _extremum(">=", 1)),
    ((abs, math.fabs, np.fabs, np.absolute), _intrinsic("llvm.fabs")),
    ((math.sqrt, np.sqrt), _intrinsic("llvm.sqrt")),
    ((np.floor,), _intrinsic("llvm.floor")),
    ((np.ceil,), _intrinsic("llvm.ceil")),
    ((np.trunc,), _intrinsic("llvm.trunc")),
    ((np.rint,), _intrinsic("llvm.rint")),
    ((math.copysign, np.copysign), _intrinsic("llvm.copysign")),
    ((math.isfinite, np.isfinite), _finite),
    ((math.isinf, np.isinf), _infinite),
    ((math.isnan, np.isnan), _nan),
):
    VECTOR_FORMS.update(dict.fromkeys(keys, form))

MASK_FORMS = {
    operator.and_: lambda b, x, y: b.and_(x, y),
    operator.iand: lambda b, x, y: b.and_(x, y),
    operator.or_: lambda b, x, y: b.or_(x, y),
    operator.ior: lambda b, x, y: b.or_(x, y),
    operator.xor: lambda b, x, y: b.xor(x, y),
    operator.ixor: lambda b, x, y: b.xor(x, y),
    operator.not_: lambda b, x: b.not_(x),
    np.logical_and: lambda b, x, y: b.and_(x, y),
    np.logical_or: lambda b, x, y: b.or_(x, y),
    np.logical_xor: lambda b, x, y: b.xor(x, y),
    np.logical_not: lambda b, x: b.not_(x),
}

# no vector form: lane by lane through numba's scalar code
LANE_BY_LANE = (
    operator.floordiv, operator.ifloordiv, operator.mod, operator.imod, divmod, round, int, math.acos, math.acosh,
    math.asin, math.asinh, math.atan, math.atan2, math.atanh, math.ceil, math.cos, math.cosh, math.degrees, math.erf,
    math.erfc, math.exp, math.expm1, math.floor, math.fmod, math.gamma, math.hypot, math.ldexp, math.lgamma, math.log,
    math.log10, math.log1p, math.log2, math.pow, math.radians, math.sin, math.sinh, math.tan, math.tanh, math.trunc,
    np.arccos, np.arccosh, np.arcsin, np.arcsinh, np.arctan, np.arctan2, np.arctanh, np.cbrt, np.cos, np.cosh,
    np.deg2rad, np.degrees, np.exp, np.exp2, np.expm1, np.float_power, np.floor_divide, np.fmin, np.fmod, np.hypot,
    np.log, np.log10, np.log1p, np.log2, np.logaddexp, np.logaddexp2, np.power, np.rad2deg, np.radians, np.reciprocal,
    np.remainder, np.sign, np.signbit, np.sin, np.sinc, np.round, np.around, np.sinh, np.tan, np.tanh, np.nextafter,
    np.spacing,
)  # fmt: skip
DIVISIONS = (operator.truediv, operator.itruediv)
POWERS = (operator.pow, operator.ipow, pow)
VARIADIC = (builtins.min, builtins.max)  # of numbers: unified to float64 as soon as one is a float
INPLACE = {
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow, operator.ifloordiv, operator.imod,
}  # fmt: skip
ARRAY_OPERATORS = supported_array_operators - INPLACE
TRUTHS = (bool, operator.truth)
SCALAR_FUNCTIONS = {*VECTOR_FORMS, *MASK_FORMS, *LANE_BY_LANE, *DIVISIONS, *POWERS}


def lower_lane_by_lane(context, builder, sig, args, function, scalar):
    """numba's scalar code, once for each lane."""
    lane = lane_type(sig.args)
    implementation = context.get_function(context.typing_context.resolve_value_type(function), scalar)
    fast = vector_function(function, scalar, lane)
    if fast is not None:
        return fast(context, builder, as_vectors(context, builder, sig, args))
    results = []
    for k in range(lane.width):
        one = [
            builder.extract_element(a, I32(k)) if isinstance(t, (Lane, Mask)) else a
            for a, t in zip(args, sig.args, strict=True)
        ]
        one = [context.cast(builder, a, narrow(t), s) for a, t, s in zip(one, sig.args, scalar.args, strict=True)]
        results.append(implementation(builder, one))
    return gather(context, builder, results, scalar.return_type, sig.return_type)


def gather(context, builder, results, scalar_type, wide_type):
    """One result for each lane -> a lane, a mask, a tuple of them, or an integer that is lane 0's."""
    if isinstance(scalar_type, types.BaseTuple):
        items = [
            gather(context, builder, [builder.extract_value(r, i) for r in results], s, w)
            for i, (s, w) in enumerate(zip(scalar_type, wide_type, strict=True))
        ]
        return context.make_tuple(builder, wide_type, items)
    vector = assemble(builder, results)
    return uniform(builder, vector) if isinstance(wide_type, types.Integer) else vector


def as_vectors(context, builder, sig, args):
    lane = lane_type(sig.args)
    return [context.cast(builder, a, t, lane) for a, t in zip(args, sig.args, strict=True)]


def lower_function(function, context, builder, sig, args):
    vector_form, mask_form = VECTOR_FORMS.get(function), MASK_FORMS.get(function)
    scalar = scalar_signature(context.typing_context, function, sig.args)
    lane = lane_type(sig.args)
    if vector_form is not None and (function in VARIADIC or all(t == types.float64 for t in scalar.args)):
        return vector_form(builder, *as_vectors(context, builder, sig, args))
    if (
        mask_form is not None
        and all(t == types.boolean for t in scalar.args)
        and all(isinstance(t, (Mask, types.Boolean)) for t in sig.args)
    ):
        mask = Mask(lane.width, lane.fast)
        return mask_form(builder, *(context.cast(builder, a, t, mask) for a, t in zip(args, sig.args, strict=True)))
    return lower_lane_by_lane(context, builder, sig, args, function, scalar)


def divide(context, builder, x, y, raises=None):
    """A zero divisor that the scalar code raises on counts as a divergence: the scalar evaluation raises then."""
    if context.error_model.raise_on_fp_zero_division if raises is None else raises:
        count_divergence(builder, any_lane(builder, builder.fcmp_ordered("==", y, _constant(y.type, 0.0))))
    return builder.fdiv(x, y)


def lower_division(context, builder, sig, args):
    return divide(context, builder, *as_vectors(context, builder, sig, args))


def _integer_power(a, b):
    """numba's `int_power`, operation by operation, for an exponent that is known at run time only."""
    r = 1.0
    if b < 0:
        invert = True
        exp = -b
        if exp < 0:
            raise OverflowError
    else:
        invert = False
        exp = b
    if exp > 0x10000:
        return math.pow(a, float(b))
    while exp != 0:
        if exp & 1:
            r *= a
        exp >>= 1
        a *= a
    if invert:
        return 1.0 / r
    return r


def lower_power(function, context, builder, sig, args):
    base, exponent = sig.args
    lane = lane_type(sig.args)
    literal = exponent.literal_value if isinstance(exponent, types.IntegerLiteral) else math.inf
    if isinstance(base, Lane) and abs(literal) <= 0x10000:
        # numba's `static_power_impl`, operation by operation
        left, value = abs(literal), args[0]
        result = _constant(lane.vector, 1.0)
        while left:
            if left & 1:
                result = builder.fmul(result, value)
            left >>= 1
            value = builder.fmul(value, value)
        if literal < 0:
            # numba compiles this division on its own: it raises under either error model
            result = divide(context, builder, _constant(lane.vector, 1.0), result, raises=True)
        return result
    scalar = scalar_signature(context.typing_context, function, sig.args)
    if isinstance(base, Lane) and isinstance(scalar.args[1], types.Integer):
        power = context.cast(builder, args[1], exponent, types.unliteral(exponent))
        return context.compile_internal(
            builder, _integer_power, signature(lane, lane, types.unliteral(exponent)), (args[0], power)
        )
    return lower_lane_by_lane(context, builder, sig, args, function, scalar)


for function in SCALAR_FUNCTIONS:
    # as a type, not by the decorator, which wants a `__module__`: numpy 2.0's ufuncs have none
    infer_global(function, types.Function(type("LaneTemplate", (ScalarTemplate,), {"key": staticmethod(function)})))
    lower_builtin(Wide(function), types.VarArg(types.Any))(  # type: ignore[attr-defined]
        lower_division
        if function in DIVISIONS
        else partial(lower_power if function in POWERS else lower_function, function)
    )


class TruthTemplate(AbstractTemplate):
    """`if mask`: the branch that lane 0 takes; if the lanes disagree, a divergence."""

    key = bool

    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], (Lane, Mask)):
            return signature(types.boolean, *args)
        return None


for function in TRUTHS:
    infer_global(function, types.Function(type("TruthTemplate", (TruthTemplate,), {"key": function})))


@lower_builtin(bool, Lane)
@lower_builtin(bool, Mask)
@lower_builtin(operator.truth, Lane)
@lower_builtin(operator.truth, Mask)
def lower_truth(context, builder, sig, args):
    value = args[0]
    if isinstance(sig.args[0], Lane):
        value = builder.fcmp_unordered("!=", value, _constant(value.type, 0.0))
    return uniform(builder, value)
