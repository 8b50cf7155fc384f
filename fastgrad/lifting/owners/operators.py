"""Arithmetic, functions and comparisons of owned numbers."""

import math
import operator
from typing import Any

import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast

from ..lanes.operators import ARRAY_OPERATORS
from ..lanes.types import Bundle, is_wide, narrow
from ..rules import make_rules
from . import totals
from .emitting import (
    Number,
    Vector,
    as_number,
    conflicts,
    flag,
    none_set,
    splat,
    vector_all_small,
    vector_choose,
    vector_sqrt,
)
from .header import DIVISION, LARGE, STALE
from .totals import is_total
from .types import F64, I64, Owned, Total, is_number

UNARY, BINARY = make_rules(vector_sqrt, vector_choose)
KNOWN = set()  # what may be called with owned numbers
NUMBERS = (Owned, types.Float, types.Integer)


def colours_of(ts):
    return next((t.colours for t in ts if isinstance(t, Owned)), None)


class Template(AbstractTemplate):
    """Numbers, at least one of them Owned."""

    prefer_literal = True
    inplace = False

    def generic(self, args, kws):
        colours = colours_of(args)
        if kws or len(args) != self.arity:
            return None
        if colours is not None and all(isinstance(a, NUMBERS) for a in args):
            total = any(isinstance(a, Total) for a in args) or (self.inplace and isinstance(args[1], Owned))
            return signature(self.result or (Total if total else Owned)(colours), *args)
        return self.elementwise(args)

    def elementwise(self, args):
        """Arrays of them, and numbers that depend on nobody: numba fuses such expressions."""
        fused = isinstance(self.key, np.ufunc) or self.key in ARRAY_OPERATORS
        kinds = [getattr(a, "dtype", a) for a in args]
        if not (fused and any(map(is_wide, args))) or any(isinstance(a, Owned) for a in args):
            return None
        if not all(isinstance(kind, NUMBERS) for kind in kinds):
            return None
        plain = self.context.resolve_function_type(self.key, tuple(map(narrow, args)), {})
        dtype = self.result or (Total if any(isinstance(k, Total) for k in kinds) else Owned)(colours_of(kinds))
        if plain is None or not isinstance(plain.return_type, types.Array):
            return None
        kind = Bundle if is_wide(dtype) else types.Array
        return signature(kind(dtype, plain.return_type.ndim, plain.return_type.layout), *args)

    def get_impl_key(self, sig):
        return ("owner", self.key)


def register(function, lower, arity, inplace=False, result=None):
    KNOWN.add(function)
    template = type(
        "OwnerTemplate", (Template,), {"key": function, "arity": arity, "inplace": inplace, "result": result}
    )
    # as a type, not by the decorator, which wants a `__module__`: numpy 2.0's ufuncs have none
    infer_global(function, types.Function(template))
    lower_builtin(("owner", function), types.VarArg(types.Any))(lower)


def either(builder, condition, t, slow, fast):
    """Two ways to a number."""
    if condition is None:
        return fast().pack(t)
    result = cgutils.alloca_once(builder, t.ll)
    with builder.if_else(condition, likely=False) as (yes, no):
        with yes:
            builder.store(slow().pack(t), result)
        with no:
            builder.store(fast().pack(t), result)
    return builder.load(result)


def difference(builder, name, a, b, y, z, known_a, known_b):
    """The rule, less what a constant operand does not need."""
    da, db = a.d, b.d
    if known_b and name in ("add", "subtract"):
        return da
    if known_a and name in ("add", "subtract"):
        return db if name == "add" else -db
    if known_b and name == "multiply":
        return da * b.base
    if known_a and name == "multiply":
        return db * a.base
    if known_b and name == "divide":
        return da / b.base
    if known_a and name == "divide":
        return -(db * y) / (db + b.base)
    base_a, base_b = (
        Vector(builder, splat(builder, a.base, da.value.type)),
        Vector(builder, splat(builder, b.base, da.value.type)),
    )
    base_y, base_z = (Vector(builder, splat(builder, v, da.value.type)) for v in (y, z))
    if name == "multiply":
        return da * (base_b + db) + base_a * db
    out, small = BINARY[name](da, base_a, db, base_b, base_y, base_z)
    if name in ("power", "atan2"):
        flag(builder, builder.not_(vector_all_small(small)), LARGE)
    return out


FUNCTIONS_OF_TWO = {"power": operator.pow, "hypot": math.hypot, "atan2": math.atan2}


def scalar_call(context, builder, function, value):
    kind = signature(types.float64, types.float64)
    implementation = context.typing_context.resolve_value_type(function)
    implementation.get_call_type(context.typing_context, kind.args, {})
    return context.get_function(implementation, kind)(builder, (value,))


def value_of(context, builder, name, a, b):
    if name == "divide":
        flag(builder, builder.fcmp_ordered("==", b.base, F64(0.0)), DIVISION)
    if name in FUNCTIONS_OF_TWO:
        scalar = signature(types.float64, types.float64, types.float64)
        function = context.typing_context.resolve_value_type(FUNCTIONS_OF_TWO[name])
        function.get_call_type(context.typing_context, scalar.args, {})
        return context.get_function(function, scalar)(builder, (a.base, b.base))
    if name in ("maximum", "minimum"):
        return builder.select(builder.fcmp_ordered(">" if name == "maximum" else "<", b.base, a.base), b.base, a.base)
    return {"add": builder.fadd, "subtract": builder.fsub, "multiply": builder.fmul, "divide": builder.fdiv}[name](
        a.base, b.base
    )


def combine(context, builder, name, t, a, b, known_a=False, known_b=False):
    """name(a, b) of two numbers as a value of type t."""
    colours = t.colours
    y = value_of(context, builder, name, a, b)
    moved = a if known_b and name in ("add", "subtract") else b if known_a and name == "add" else None
    if moved is not None:  # a constant more: the same differences, in the same buffer
        return Number(builder, y, moved.d.value, moved.code, moved.tag, moved.serial).pack(t)
    z = scalar_call(context, builder, math.log, a.base) if name == "power" else F64(0.0)

    for number, other in ((a, b), (b, a)):
        if number.tag is None and other.tag is not None and not (known_a or known_b):
            # the term of `total + term`: while the pattern is looked for, every code looks like a conflict
            with builder.if_then(conflicts(builder, number.code), likely=False):
                totals.log(builder, number, colours)

    def fast():
        code = a.code if known_b else b.code if known_a else builder.or_(a.code, b.code)
        return Number(builder, y, difference(builder, name, a, b, y, z, known_a, known_b).value, code)

    def slow():
        def rule(inside, numbers, constants):
            first, second = (
                Number.plain(inside, value, colours) if number is None else number
                for number, value in zip(numbers, constants, strict=False)
            )
            return difference(inside, name, first, second, *constants[2:], known_a, known_b)

        numbers = [None if known_a else a, None if known_b else b]
        full = name + "_of_constant" * known_a + "_by_constant" * known_b
        return totals.apply(builder, full, rule, numbers, [a.base, b.base, y, z], y, colours)

    return either(builder, is_total(builder, a, b), t, slow, fast)


def lower_binary(name):
    def lower(context, builder, sig, args):
        a, b = (as_number(context, builder, v, t, sig.return_type.colours) for v, t in zip(args, sig.args, strict=True))
        return combine(context, builder, name, sig.return_type, a, b, is_number(sig.args[0]), is_number(sig.args[1]))

    return lower


def lower_accumulate(name):
    """s += term. (numba types `+=` by operator.iadd, but lowers it by operator.add, as numbers are immutable.)"""
    sign = 1 if name == "add" else -1

    def lower(context, builder, sig, args):
        t = sig.return_type
        if not t.total or is_number(sig.args[1]):
            return lower_binary(name)(context, builder, sig, args)
        s, term = (as_number(context, builder, v, kind, t.colours) for v, kind in zip(args, sig.args, strict=True))
        base = (builder.fadd if sign > 0 else builder.fsub)(s.base, term.base)
        if is_number(sig.args[0]):
            s.tag = s.serial = None

        def add_to_total():
            kept = builder.inttoptr(s.tag, I64.as_pointer())
            flag(builder, builder.icmp_signed("!=", builder.load(kept), s.serial), STALE)
            serial = builder.add(s.serial, I64(1))
            builder.store(serial, kept)
            totals.deposit(builder, s.tag, term, t.colours, sign)
            empty = Number.plain(builder, base, t.colours)
            empty.tag, empty.serial = s.tag, serial
            return empty

        def begin_total():
            return totals.grow(builder, s, term, base, sign, t.colours)

        def plain():
            d = term.d if sign > 0 else -term.d
            code = builder.or_(s.code, term.code)
            return Number(builder, base, (s.d + d).value, code)

        def accumulate():
            code = builder.or_(s.code, term.code)
            return Number.read(builder, either(builder, conflicts(builder, code), t, begin_total, plain))

        def ordinary():
            if s.tag is None:
                return accumulate()
            result = cgutils.alloca_once(builder, t.ll)
            with builder.if_else(builder.icmp_signed(">", s.tag, I64(0)), likely=True) as (yes, no):
                with yes:
                    builder.store(add_to_total().pack(t), result)
                with no:
                    builder.store(accumulate().pack(t), result)
            return Number.read(builder, builder.load(result))

        if term.tag is None:
            return ordinary().pack(t)
        return either(
            builder,
            is_total(builder, term),
            t,
            lambda: Number.read(builder, combine(context, builder, name, t, s, term)),
            ordinary,
        )

    return lower


for name, operation, inplace in (
    ("add", operator.add, operator.iadd),
    ("subtract", operator.sub, operator.isub),
    ("multiply", operator.mul, operator.imul),
    ("divide", operator.truediv, operator.itruediv),
):
    register(operation, lower_binary(name), 2)
    register({"divide": np.true_divide}.get(name) or getattr(np, name), lower_binary(name), 2)
    if name not in ("add", "subtract"):
        register(inplace, lower_binary(name), 2)


class Accumulate:
    """What `s += term` is in the private copy of f: numba would lower it as `s + term`, and type it otherwise."""

    def __init__(self, name):
        self.__name__ = name


accumulate_add, accumulate_subtract = Accumulate("accumulate_add"), Accumulate("accumulate_subtract")
Owned.add, Owned.subtract = accumulate_add, accumulate_subtract
ACCUMULATE = {operator.iadd: accumulate_add, operator.isub: accumulate_subtract}
ORDINARY = {accumulate_add: (operator.iadd, operator.add), accumulate_subtract: (operator.isub, operator.sub)}


class AccumulateTemplate(Template):
    """numba's own where no owned number is added."""

    arity, result, inplace = 2, None, True

    def generic(self, args, kws):
        if colours_of(args) is None:
            return self.context.resolve_function_type(ORDINARY[self.key][0], args, kws)
        return super().generic(args, kws)


def lower_accumulate_or_add(stub, name):
    def lower(context, builder, sig, args):
        if colours_of(sig.args) is None:  # counters, arrays: numba's own
            inplace, plain = ORDINARY[stub]
            function = context.typing_context.resolve_value_type(inplace if sig.args[0].mutable else plain)
            ordinary = function.get_call_type(context.typing_context, sig.args, {})
            result = context.get_function(function, ordinary)(builder, args)
            return context.cast(builder, result, ordinary.return_type, sig.return_type)
        return lower_accumulate(name)(context, builder, sig, args)

    return lower


for stub, name in ((accumulate_add, "add"), (accumulate_subtract, "subtract")):
    KNOWN.add(stub)
    infer_global(stub, types.Function(type("OwnerAccumulate", (AccumulateTemplate,), {"key": stub})))
    lower_builtin(("owner", stub), types.VarArg(types.Any))(  # type: ignore[attr-defined]
        lower_accumulate_or_add(stub, name)
    )


OF_TWO: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("hypot", (math.hypot, np.hypot)),
    ("atan2", (math.atan2, np.arctan2)),
    ("maximum", (max, np.maximum, np.fmax)),
    ("minimum", (min, np.minimum, np.fmin)),
)
for name, functions in OF_TWO:
    for function in functions:
        register(function, lower_binary(name), 2)


@njit
def bell(b):
    """The derivative of erf."""
    return 1.1283791670955126 * math.exp(-b * b)


def lower_unary(name, base, auxiliary=None):
    def lower(context, builder, sig, args):
        t = sig.return_type
        a = Number.read(builder, args[0])
        y = builder.fneg(a.base) if name == "negative" else scalar_call(context, builder, base, a.base)

        def other():
            return F64(0.0) if auxiliary is None else scalar_call(context, builder, auxiliary, a.base)

        def moved(inside, d, base, result, z):
            b, result, z = (Vector(inside, splat(inside, v, d.value.type)) for v in (base, result, z))
            out, small = UNARY[name](d, b, result, z)
            if name not in ("root", "absolute", "negative"):
                flag(inside, inside.not_(vector_all_small(small)), LARGE)
            return out

        def fast():
            return Number(builder, y, moved(builder, a.d, a.base, y, other()).value, a.code)

        def slow():
            def rule(inside, numbers, constants):
                return moved(inside, numbers[0].d, numbers[0].base, *constants)

            return totals.apply(builder, name, rule, [a], [y, other()], y, t.colours)

        return either(builder, is_total(builder, a), t, slow, fast)

    return lower


OF_ONE: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("exp", (math.exp, np.exp), None),
    ("exp_minus_1", (math.expm1, np.expm1), None),
    ("log", (math.log, np.log), None),
    ("log_1_plus", (math.log1p, np.log1p), None),
    ("log_2", (math.log2, np.log2), None),
    ("log_10", (math.log10, np.log10), None),
    ("root", (math.sqrt, np.sqrt), None),
    ("sin", (math.sin, np.sin), math.cos),
    ("cos", (math.cos, np.cos), math.sin),
    ("tan", (math.tan, np.tan), None),
    ("sinh", (math.sinh, np.sinh), math.cosh),
    ("sinh", (math.cosh, np.cosh), math.sinh),
    ("tanh", (math.tanh, np.tanh), None),
    ("atan", (math.atan, np.arctan), None),
    ("asin", (math.asin, np.arcsin), None),
    ("acos", (math.acos, np.arccos), None),
    ("atanh", (math.atanh, np.arctanh), None),
    ("asinh", (math.asinh, np.arcsinh), None),
    ("erf", (math.erf,), bell),
    ("erfc", (math.erfc,), bell),
    ("absolute", (abs, math.fabs, np.abs, np.fabs), None),
    ("negative", (operator.neg, np.negative), None),
)
for name, functions, auxiliary in OF_ONE:
    for function in functions:
        register(function, lower_unary(name, functions[0] if functions[0] is not abs else math.fabs, auxiliary), 1)
register(operator.pos, lambda context, builder, sig, args: args[0], 1)
register(np.square, lambda context, builder, sig, args: squared(context, builder, sig, args[0]), 1)
register(float, lambda context, builder, sig, args: args[0], 1)


def squared(context, builder, sig, value):
    number = Number.read(builder, value)
    return combine(context, builder, "multiply", sig.return_type, number, number)


def lower_power(context, builder, sig, args):
    """An integer exponent by repeated squaring (numba's own order); 0.5 by the root; else exp(b log a), a > 0."""
    t = sig.return_type
    literal = getattr(sig.args[1], "literal_value", None)
    if isinstance(literal, int) and 0 < abs(literal) <= 64 and isinstance(sig.args[0], Owned):
        result, power, left = None, args[0], abs(literal)
        while left:
            if left & 1:
                result = (
                    power
                    if result is None
                    else combine(
                        context, builder, "multiply", t, Number.read(builder, result), Number.read(builder, power)
                    )
                )
            left >>= 1
            if left:
                number = Number.read(builder, power)
                power = combine(context, builder, "multiply", t, number, number)
        if literal < 0:
            one = Number.plain(builder, F64(1.0), t.colours)
            one.tag = one.serial = None
            result = combine(context, builder, "divide", t, one, Number.read(builder, result), known_a=True)
        return result
    a, b = (as_number(context, builder, v, kind, t.colours) for v, kind in zip(args, sig.args, strict=True))
    flag(builder, builder.fcmp_unordered("<=", a.base, F64(0.0)), LARGE)
    return combine(context, builder, "power", t, a, b)


register(operator.pow, lower_power, 2)
register(operator.ipow, lower_power, 2)
register(pow, lower_power, 2)
register(math.pow, lower_power, 2)
register(np.power, lower_power, 2)


def compared(builder, predicate, a, b, colours):
    """The answer at x; whoever's differences change it is lost, and evaluated plainly in the end."""
    emit = builder.fcmp_unordered if predicate == "!=" else builder.fcmp_ordered
    answer = emit(predicate, a.base, b.base)
    moved = emit(predicate, (a.d + a.base).value, (b.d + b.base).value)
    attention = builder.not_(none_set(builder, builder.xor(moved, splat(builder, answer, moved.type))))
    attention = builder.or_(attention, conflicts(builder, builder.or_(a.code, b.code)))
    some = is_total(builder, a, b)
    if some is not None:
        attention = builder.or_(attention, some)
    with builder.if_then(attention, likely=False):
        totals.compare(builder, predicate, a, b, colours)
    return answer


def lower_compare(predicate):
    def lower(context, builder, sig, args):
        colours = colours_of(sig.args)
        a, b = (as_number(context, builder, v, t, colours) for v, t in zip(args, sig.args, strict=True))
        return compared(builder, predicate, a, b, colours)

    return lower


for predicate, operations in (
    ("<", (operator.lt, np.less)),
    ("<=", (operator.le, np.less_equal)),
    (">", (operator.gt, np.greater)),
    (">=", (operator.ge, np.greater_equal)),
    ("==", (operator.eq, np.equal)),
    ("!=", (operator.ne, np.not_equal)),
):
    for operation in operations:
        register(operation, lower_compare(predicate), 2, result=types.boolean)


def lower_test(ordered, predicate, bound):
    """isnan and its kin, of the value at x."""

    def lower(context, builder, sig, args):
        size = builder.call(builder.module.declare_intrinsic("llvm.fabs", [F64]), [builder.extract_value(args[0], 0)])
        return (builder.fcmp_ordered if ordered else builder.fcmp_unordered)(predicate, size, F64(bound))

    return lower


TESTS: tuple[tuple[tuple[Any, ...], Any], ...] = (
    ((math.isnan, np.isnan), lower_test(False, "uno", 0.0)),
    ((math.isfinite, np.isfinite), lower_test(True, "<", math.inf)),
    ((math.isinf, np.isinf), lower_test(True, "==", math.inf)),
)
for functions, lower in TESTS:
    for function in functions:
        register(function, lower, 1, result=types.boolean)


def lower_jumps(function, result):
    """Functions that are constant between jumps: whoever's differences come to one is lost."""

    def lower(context, builder, sig, args):
        colours, number = colours_of(sig.args), Number.read(builder, args[0])
        kind = signature(result, types.float64)
        called = context.typing_context.resolve_value_type(function)
        called.get_call_type(context.typing_context, kind.args, {})
        y = context.get_function(called, kind)(builder, (number.base,))
        if function is np.sign:
            jumps = [F64(0.0)]
        else:
            floor = builder.module.declare_intrinsic("llvm.floor", [F64])
            shift = F64(0.5 if function in (round, np.rint) else 0.0)
            first = builder.fsub(builder.call(floor, [builder.fadd(number.base, shift)]), shift)
            jumps = [first, builder.fadd(first, F64(1.0))]
        for jump in jumps:
            for predicate in (">", ">="):
                compared(builder, predicate, number, Number.plain(builder, jump, colours), colours)
        return y

    return lower


JUMPS: tuple[tuple[types.Type, tuple[Any, ...]], ...] = (
    (types.int64, (int, round, math.floor, math.ceil, math.trunc)),
    (types.float64, (np.floor, np.ceil, np.trunc, np.rint, np.sign)),
)
for result, functions in JUMPS:
    for function in functions:
        register(function, lower_jumps(function, result), 1, result=result)


@lower_cast(types.Float, Owned)
@lower_cast(types.Integer, Owned)
@lower_cast(types.IntegerLiteral, Owned)
@lower_cast(types.Float, Total)
@lower_cast(types.Integer, Total)
@lower_cast(types.IntegerLiteral, Total)
def number_to_owned(context, builder, fromty, toty, val):
    return Number.plain(builder, context.cast(builder, val, fromty, types.float64), toty.colours).pack(toty)


@lower_cast(Owned, Total)
def owned_to_total(context, builder, fromty, toty, val):
    return Number.read(builder, val).pack(toty)
