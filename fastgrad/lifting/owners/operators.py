"""Arithmetic, functions and comparisons of owned numbers."""

import math
import operator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast

from ..lanes.operators import ARRAY_OPERATORS
from ..lanes.types import Bundle, is_wide, narrow
from . import totals
from .emitting import Emitted, Number, chosen, conflicts, emitted_sqrt, flag, joined, refuse
from .layout import DIVISION, TIED
from .rules import make_rules
from .totals import as_number, is_total
from .types import F64, I64, Owned, Sum, Term, Total, is_number

UNARY, BINARY = make_rules(emitted_sqrt)
KNOWN = set()  # what may be called with owned numbers
NUMBERS = (Owned, types.Float, types.Integer, types.Boolean)


def colours_of(ts):
    return next((t.colours for t in ts if isinstance(t, Owned)), None)


class Template(AbstractTemplate):
    """Numbers, at least one of them Owned."""

    prefer_literal = True
    inplace = False

    def generic(self, args, kws):
        owned = next((a for a in args if isinstance(a, Owned)), None)
        if kws or len(args) != (self.arity or len(args)):
            return None
        if owned is not None and all(isinstance(a, NUMBERS) for a in args):
            result = self.result or owned.joined(args, self.inplace)
            return result and signature(result, *args)
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
        "OwnerTemplate",
        (Template,),
        {"key": staticmethod(function), "arity": arity, "inplace": inplace, "result": result},
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


def slope(builder, name, a, b, y, z, known_a, known_b):
    """The rule, less what a constant operand does not need."""
    if name in ("add", "subtract"):
        if known_b:
            return a.d
        if known_a:
            return b.d if name == "add" else -b.d
        return a.d + b.d if name == "add" else a.d - b.d
    if name in ("maximum", "minimum"):
        half = (a.d + b.d) * 0.5  # of equal ones: what central differences give
        first = builder.fcmp_ordered(">" if name == "maximum" else "<", a.base, b.base)
        equal = builder.fcmp_ordered("==", a.base, b.base)
        one = chosen(builder, first, a.d, b.d)
        return chosen(builder, equal, half, one)
    of_a, of_b = BINARY[name](*(Emitted(builder, v) for v in (a.base, b.base, y, z)))
    if known_b:
        return a.d * of_a
    if known_a:
        return b.d * of_b
    return a.d * of_a + b.d * of_b


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
    moved = a if known_b and name in ("add", "subtract") else b if known_a and name == "add" else None
    if moved is not None:  # a constant more: the same slopes, in the same buffer; but a product's are of its value
        y = value_of(context, builder, name, a, b)
        if moved.tag is not None:
            (moved,) = totals.usable(builder, [moved], colours, totals.is_product(builder, moved))
        return Number(builder, y, moved.d.value, moved.code, moved.tag, moved.serial).pack(t)

    for number, other in ((a, b), (b, a)):
        if number.tag is None and other.tag is not None and not (known_a or known_b):
            # the term of `total + term`: while the pattern is looked for, every code looks like a conflict
            with builder.if_then(conflicts(builder, number.code), likely=False):
                totals.log(builder, number, colours)
    if known_a:
        (b,) = totals.usable(builder, [b], colours)
    elif known_b:
        (a,) = totals.usable(builder, [a], colours)
    else:
        a, b = totals.usable(builder, [a, b], colours)
    a, b = a.as_wide_as(t), b.as_wide_as(t)
    y = value_of(context, builder, name, a, b)
    z = scalar_call(context, builder, math.log, a.base) if name == "power" and not known_b else F64(0.0)
    code = a.code if known_b else b.code if known_a else joined(context, builder, a.code, b.code)
    return Number(builder, y, slope(builder, name, a, b, y, z, known_a, known_b).value, code).pack(t)


def lower_binary(name, context, builder, sig, args):
    a, b = (as_number(context, builder, v, t, sig.return_type.colours) for v, t in zip(args, sig.args, strict=True))
    return combine(context, builder, name, sig.return_type, a, b, is_number(sig.args[0]), is_number(sig.args[1]))


def lower_accumulate(name, context, builder, sig, args):
    """s += term, or s *= factor.

    (numba types `+=` by operator.iadd, but lowers it by operator.add, as numbers are immutable.)
    """
    product, sign = name == "multiply", -1 if name == "subtract" else 1
    t = sig.return_type
    if is_number(sig.args[1]) or not t.total:
        return lower_binary(name, context, builder, sig, args)
    s, term = (as_number(context, builder, v, kind, t.colours) for v, kind in zip(args, sig.args, strict=True))
    if term.tag is not None:
        (term,) = totals.usable(builder, [term], t.colours, is_total(builder, term))
    s = s.as_wide_as(t)
    base = value_of(context, builder, name, s, term)

    part = Number(builder, term.base, (term.d / term.base).value, term.code) if product else term

    def deposited():
        serial = builder.add(s.serial, I64(1))
        builder.store(serial, builder.inttoptr(s.tag, I64.as_pointer()))
        totals.deposit(builder, s.tag, part, t.colours, sign)
        return totals.empty(builder, base, s.tag, serial, t.colours)

    def grown():
        return totals.grow(builder, s, part, base, sign, t.colours, product)

    def plain():
        wide = term.as_wide_as(t)
        d = slope(builder, name, s, wide, base, F64(0.0), False, False)
        return Number(builder, base, d.value, builder.or_(s.code, wide.code), s.tag, s.serial)

    def no_total():
        code = builder.or_(s.code, term.as_wide_as(t).code)
        return Number.read(builder, either(builder, conflicts(builder, code), t, grown, plain))

    def total():
        kind = totals.is_product(builder, s)
        fit = builder.and_(totals.is_live(builder, s), kind if product else builder.not_(kind))
        return Number.read(builder, either(builder, builder.not_(fit), t, grown, deposited))

    if s.tag is None:
        return no_total().pack(t)
    return either(builder, builder.not_(is_total(builder, s)), t, no_total, total)


for name, operation, inplace in (
    ("add", operator.add, operator.iadd),
    ("subtract", operator.sub, operator.isub),
    ("multiply", operator.mul, operator.imul),
    ("divide", operator.truediv, operator.itruediv),
):
    register(operation, partial(lower_binary, name), 2)
    register({"divide": np.true_divide}.get(name) or getattr(np, name), partial(lower_binary, name), 2)
    if name not in ("add", "subtract"):
        register(inplace, partial(lower_binary, name), 2)


class Accumulate:
    """What `s += term` is in the private copy of f: numba would lower it as `s + term`, and type it otherwise."""

    def __init__(self, name):
        self.__name__ = name


accumulate_add, accumulate_subtract = Accumulate("accumulate_add"), Accumulate("accumulate_subtract")
accumulate_multiply = Accumulate("accumulate_multiply")
running_maximum, running_minimum = Accumulate("running_maximum"), Accumulate("running_minimum")
Owned.add, Owned.subtract, Owned.multiply = accumulate_add, accumulate_subtract, accumulate_multiply
MARKED: dict[Any, tuple[Any, Any]] = {
    accumulate_add: (operator.iadd, operator.add),
    accumulate_subtract: (operator.isub, operator.sub),
    accumulate_multiply: (operator.imul, operator.mul),
    running_maximum: (max, max),
    running_minimum: (min, min),
}
ORDINARY = MARKED.copy()


class AccumulateTemplate(Template):
    """numba's own where no owned number is added."""

    arity, result, inplace = 2, None, True

    def generic(self, args, kws):
        if colours_of(args) is None:
            return self.context.resolve_function_type(ORDINARY[self.key][0], args, kws)
        return super().generic(args, kws)


def lower_running(name, context, builder, sig, args):
    """m = max(m, term), where one of many is chosen, and all may meet it afterwards."""
    t = sig.return_type
    if not t.total:
        return lower_several(name, context, builder, sig, args)
    m, term = (
        as_number(context, builder, v, kind, t.colours).as_wide_as(t) for v, kind in zip(args, sig.args, strict=True)
    )
    better = compared(context, builder, ">" if name == "maximum" else "<", term, m, t.colours)
    chosen = Number.read(builder, either(builder, better, t, lambda: term, lambda: m))
    return totals.chosen_of_many(builder, chosen, m, term, t.colours).pack(t)


def lower_accumulate_or_add(stub, lower_owned, context, builder, sig, args):
    if colours_of(sig.args) is None:  # counters, arrays: numba's own
        inplace, plain = ORDINARY[stub]
        function = context.typing_context.resolve_value_type(inplace if sig.args[0].mutable else plain)
        ordinary = function.get_call_type(context.typing_context, sig.args, {})
        result = context.get_function(function, ordinary)(builder, args)
        return context.cast(builder, result, ordinary.return_type, sig.return_type)
    return lower_owned(context, builder, sig, args)


for stub, lower_owned in (
    (accumulate_add, partial(lower_accumulate, "add")),
    (accumulate_subtract, partial(lower_accumulate, "subtract")),
    (accumulate_multiply, partial(lower_accumulate, "multiply")),
    (running_maximum, partial(lower_running, "maximum")),
    (running_minimum, partial(lower_running, "minimum")),
):
    KNOWN.add(stub)
    infer_global(stub, types.Function(type("OwnerAccumulate", (AccumulateTemplate,), {"key": stub})))
    lower_builtin(("owner", stub), types.VarArg(types.Any))(  # type: ignore[attr-defined]
        partial(lower_accumulate_or_add, stub, lower_owned)
    )


def lower_grow(sign, context, builder, sig, args):
    """s += term in a loop."""
    s = totals.sum_of(context, builder, args[0], sig.args[0], 0)
    term = as_number(context, builder, args[1], sig.args[1], 0)
    base = value_of(context, builder, "add" if sign > 0 else "subtract", s, term)
    return totals.grow_sum(context, builder, s, term, base, sign).pack(sig.return_type)


class GrowTemplate(AccumulateTemplate):
    """What grows in a loop: a sum; None where that begins anew in each round of another loop."""

    def generic(self, args, kws):
        if colours_of(args) is None:
            return super().generic(args, kws)
        return signature(Sum(self.place), *args) if self.place else None


MOST_SUMS = 8  # of f, that are told apart at the place where they are used
GROW = {}
for stub, sign in ((accumulate_add, 1), (accumulate_subtract, -1)):
    for k in range(MOST_SUMS + 1):
        GROW[stub, k] = grow = Accumulate(f"{stub.__name__}_{k}")
        ORDINARY[grow] = ORDINARY[stub]
        infer_global(grow, types.Function(type("OwnerGrow", (GrowTemplate,), {"key": grow, "place": -k})))
        lower_builtin(("owner", grow), types.VarArg(types.Any))(  # type: ignore[attr-defined]
            partial(lower_accumulate_or_add, grow, partial(lower_grow, sign))
        )


OF_TWO: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("hypot", (math.hypot, np.hypot)),
    ("atan2", (math.atan2, np.arctan2)),
    ("maximum", (np.maximum, np.fmax)),
    ("minimum", (np.minimum, np.fmin)),
)
for name, functions in OF_TWO:
    for function in functions:
        register(function, partial(lower_binary, name), 2)


def lower_several(name, context, builder, sig, args):
    """One after another."""
    t = sig.return_type
    value, kind = args[0], sig.args[0]
    for other, its in zip(args[1:], sig.args[1:], strict=True):
        a, b = (as_number(context, builder, *pair, t.colours) for pair in ((value, kind), (other, its)))
        known = [is_number(kind), is_number(its)]
        value, kind = combine(context, builder, name, t, a, b, *([False, False] if all(known) else known)), t
    return value


for function, name in ((max, "maximum"), (min, "minimum")):
    register(function, partial(lower_several, name), None)


@njit
def bell(b):
    """The derivative of erf."""
    return 1.1283791670955126 * math.exp(-b * b)


@njit
def digamma(b):
    """The derivative of log(gamma(b)), b > 0: recurrence, and the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    if not b > 0.0:
        return math.nan
    shift = 0.0
    while b < 12.0:
        shift += 1.0 / b
        b += 1.0
    t = 1.0 / (b * b)
    series = t * (1 / 12 - t * (1 / 120 - t * (1 / 252 - t * (1 / 240 - t * (1 / 132 - t * (691 / 32760))))))
    return math.log(b) - 0.5 / b - series - shift


def lower_unary(name, base, auxiliary, context, builder, sig, args):
    t = sig.return_type
    (a,) = totals.usable(builder, [as_number(context, builder, args[0], sig.args[0], t.colours)], t.colours)
    y = scalar_call(context, builder, base, a.base)
    z = F64(0.0) if auxiliary is None else scalar_call(context, builder, auxiliary, a.base)
    factor = UNARY[name](*(Emitted(builder, v) for v in (a.base, y, z)))
    return Number(builder, y, (a.d * factor).value, a.code).pack(t)


def lower_negative(context, builder, sig, args):
    t = sig.return_type
    (a,) = totals.usable(builder, [as_number(context, builder, args[0], sig.args[0], t.colours)], t.colours)
    return Number(builder, builder.fneg(a.base), (-a.d).value, a.code).pack(t)


def lower_absolute(context, builder, sig, args):
    """At 0 the slope is 0, as central differences give."""
    t = sig.return_type
    (a,) = totals.usable(builder, [as_number(context, builder, args[0], sig.args[0], t.colours)], t.colours)
    y = builder.call(builder.module.declare_intrinsic("llvm.fabs", [F64]), [a.base])
    sign = F64(0.0)
    for predicate, one in (("<", F64(-1.0)), (">", F64(1.0))):
        sign = builder.select(builder.fcmp_ordered(predicate, a.base, F64(0.0)), one, sign)
    return Number(builder, y, (a.d * Emitted(builder, sign)).value, a.code).pack(t)


OF_ONE: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("exp", (math.exp, np.exp), None),
    ("exp_minus_1", (math.expm1, np.expm1), None),
    ("log", (math.log, np.log), None),
    ("log_1_plus", (math.log1p, np.log1p), None),
    ("log_2", (math.log2, np.log2), None),
    ("log_10", (math.log10, np.log10), None),
    ("exp_2", (np.exp2,), None),
    ("root", (math.sqrt, np.sqrt), None),
    ("cubic_root", (np.cbrt,), None),
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
    ("acosh", (math.acosh, np.arccosh), None),
    ("gamma", (math.gamma,), digamma),
    ("log_gamma", (math.lgamma,), digamma),
    ("erf", (math.erf,), bell),
    ("erfc", (math.erfc,), bell),
)
for name, functions, auxiliary in OF_ONE:
    for function in functions:
        register(function, partial(lower_unary, name, functions[0], auxiliary), 1)
SLOW = {function for name, functions, _ in OF_ONE if name != "root" for function in functions}
SLOW |= {operator.pow, pow, math.pow, np.power, math.hypot, np.hypot, math.atan2, np.arctan2}
for function in (abs, math.fabs, np.abs, np.fabs):
    register(function, lower_absolute, 1)
for function in (operator.neg, np.negative):
    register(function, lower_negative, 1)
register(operator.pos, lambda context, builder, sig, args: args[0], 1)
register(np.square, lambda context, builder, sig, args: squared(context, builder, sig, args[0]), 1)
register(float, lambda context, builder, sig, args: args[0], 1)


def squared(context, builder, sig, value):
    number = as_number(context, builder, value, sig.args[0], sig.return_type.colours)
    return combine(context, builder, "multiply", sig.return_type, number, number)


def lower_power(context, builder, sig, args):
    """An integer exponent by repeated squaring (numba's own order); else exp(b log a)."""
    t = sig.return_type
    literal = getattr(sig.args[1], "literal_value", None)
    a, b = (as_number(context, builder, v, kind, t.colours) for v, kind in zip(args, sig.args, strict=True))
    known_a, known_b = map(is_number, sig.args)
    if not (isinstance(literal, int) and 0 < abs(literal) <= 64):
        return combine(context, builder, "power", t, a, b, known_a, known_b)
    (a,) = totals.usable(builder, [a], t.colours)
    y, lower = (multiplied(builder, a.base, k) for k in (abs(literal), abs(literal) - 1))
    factor = builder.fmul(F64(float(literal)), lower)
    if literal < 0:
        flag(builder, builder.fcmp_ordered("==", y, F64(0.0)), DIVISION)
        factor = builder.fdiv(factor, builder.fmul(y, y))
        y = builder.fdiv(F64(1.0), y)
    return Number(builder, y, (a.d * factor).value, a.code).pack(t)


def multiplied(builder, base, exponent):
    """A power, in numba's own order."""
    result, power = F64(1.0), base
    while exponent:
        if exponent & 1:
            result = builder.fmul(result, power)
        exponent >>= 1
        if exponent:
            power = builder.fmul(power, power)
    return result


register(operator.pow, lower_power, 2)
register(operator.ipow, lower_power, 2)
register(pow, lower_power, 2)
register(math.pow, lower_power, 2)
register(np.power, lower_power, 2)
register(np.float_power, lower_power, 2)


def compared(context, builder, predicate, a, b, colours):
    """The answer at x; where both are equal, whoever's slopes change it is lost, and evaluated plainly in the end."""
    emit = builder.fcmp_unordered if predicate == "!=" else builder.fcmp_ordered
    equal = builder.fcmp_ordered("==", a.base, b.base)
    if colours:
        with builder.if_then(equal, likely=False):
            totals.compare(builder, a, b, colours)
    else:  # which of them change the answer, colours tell
        refuse(context, builder, equal, TIED)
    return emit(predicate, a.base, b.base)


def as_compared(context, builder, value, t, colours):
    """A number as it is asked for its value alone: a sum may grow further."""
    return (totals.sum_of if isinstance(t, Sum) else as_number)(context, builder, value, t, colours)


def lower_compare(predicate, context, builder, sig, args):
    colours = colours_of(sig.args)
    a, b = (as_compared(context, builder, v, t, colours) for v, t in zip(args, sig.args, strict=True))
    return compared(context, builder, predicate, a, b, colours)


for predicate, operations in (
    ("<", (operator.lt, np.less)),
    ("<=", (operator.le, np.less_equal)),
    (">", (operator.gt, np.greater)),
    (">=", (operator.ge, np.greater_equal)),
    ("==", (operator.eq, np.equal)),
    ("!=", (operator.ne, np.not_equal)),
):
    for operation in operations:
        register(operation, partial(lower_compare, predicate), 2, result=types.boolean)


def lower_test(ordered, predicate, bound, context, builder, sig, args):
    """isnan and its kin, of the value at x."""
    size = builder.call(builder.module.declare_intrinsic("llvm.fabs", [F64]), [builder.extract_value(args[0], 0)])
    return (builder.fcmp_ordered if ordered else builder.fcmp_unordered)(predicate, size, F64(bound))


TESTS: tuple[tuple[tuple[Any, ...], Any], ...] = (
    ((math.isnan, np.isnan), partial(lower_test, False, "uno", 0.0)),
    ((math.isfinite, np.isfinite), partial(lower_test, True, "<", math.inf)),
    ((math.isinf, np.isinf), partial(lower_test, True, "==", math.inf)),
)
for functions, lower in TESTS:
    for function in functions:
        register(function, lower, 1, result=types.boolean)


def converted(context, builder, fromty, toty, val):
    make = totals.sum_of if isinstance(toty, Sum) else as_number
    return make(context, builder, val, fromty, toty.colours).pack(toty)


for kinds in (
    *product((types.Float, types.Integer, types.IntegerLiteral, types.Boolean, types.BooleanLiteral), (Owned, Total)),
    (Owned, Total),
    (Term, Term),
):
    lower_cast(*kinds)(converted)
