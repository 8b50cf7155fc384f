"""Functions of owned numbers that are written in Python: numba's own value, with a sum of partial slopes.

What is constant between jumps says by `tie` where the jumps are.
"""

import math
import operator
from functools import partial
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import register_jitable

from ..native import emits
from . import totals
from .emitting import Number
from .operators import compared, register
from .types import Owned, Total, is_number


@emits(lambda number: types.float64 if isinstance(number, Owned) or is_number(number) else None)
def value(context, builder, kind, number):
    """The value at x."""
    if isinstance(kind.number, Owned):
        return builder.extract_value(number, 0)
    return context.cast(builder, number, kind.number, types.float64)


@emits(lambda number, value: number if isinstance(number, Owned) and value == types.float64 else None)
def with_value(context, builder, kind, number, value):
    """The number's differences, from another value."""
    return builder.insert_value(number, value, 0)


@emits(lambda number, jump: number)
def tie(context, builder, kind, number, jump):
    """The number; where it is at a jump, whoever's slopes bring it across is lost."""
    if not is_number(kind.number):
        colours = kind.number.colours
        a, b = (totals.as_number(context, builder, *v, colours) for v in ((number, kind.number), (jump, kind.jump)))
        compared(context, builder, "==", a, b, colours)
    return number


@emits(lambda number: Total(number.colours))
def apart(context, builder, kind, number):
    """The number as a total, which is an owner of its own."""
    colours = kind.number.colours
    words = totals.flatten(builder, Number.read(builder, number), colours)
    totals.separate(builder, words, colours)
    return totals.read(builder, words, colours).pack(kind.result)


def composed(function, context, builder, sig, args):
    """Lower a call as one of this function of numbers."""
    return context.compile_internal(builder, function, sig, args)


def times(factor):
    return lambda a: a * factor


def sinc(a):
    p, y = np.pi * value(a), np.sinc(value(a))
    return with_value(a * (np.pi * (math.cos(p) - y) / p if p != 0.0 else 0.0), y)


def reciprocal(a):
    y = np.reciprocal(value(a))
    return with_value(a * (-y * y), y)


def log_of_sum(function, exponential):
    """The logarithm of a sum of exponentials, of the same base."""

    def logarithm(a, b):
        p, q = value(a), value(b)
        y = function(p, q)
        return with_value(a * exponential(p - y) + b * exponential(q - y), y)

    return logarithm


def copied_sign(a, b):
    y = math.copysign(value(a), value(b))
    sign = math.copysign(1.0, value(a)) * math.copysign(1.0, value(b))
    return tie(with_value(a * sign + tie(b, 0.0) * 0.0, y), 0.0)


def remainder(function):
    """What is left of a after whole multiples of b: it jumps where nothing is."""

    def left(a, b):
        y = function(value(a), value(b))
        return tie(with_value(a - b * np.rint((value(a) - y) / value(b)), y), 0.0)

    return left


def quotient(function):
    def whole(a, b):
        left(a, b)
        return function(value(a), value(b))

    left = register_jitable(remainder(np.remainder))
    return whole


def step(function, shift=0.0):
    """What is constant between whole numbers, less the shift."""

    def constant(a):
        tie(a, np.floor(value(a) + shift) - shift)
        return function(value(a))

    return constant


def sign(a):
    return np.sign(value(tie(a, 0.0)))


SMOOTH: tuple[tuple[tuple[Any, ...], int, Any], ...] = (
    ((np.sinc,), 1, sinc),
    ((np.reciprocal,), 1, reciprocal),
    ((np.radians, np.deg2rad, math.radians), 1, times(math.pi / 180.0)),
    ((np.degrees, np.rad2deg, math.degrees), 1, times(180.0 / math.pi)),
    ((np.logaddexp,), 2, log_of_sum(np.logaddexp, np.exp)),
    ((np.logaddexp2,), 2, log_of_sum(np.logaddexp2, np.exp2)),
    ((np.copysign, math.copysign), 2, copied_sign),
    ((operator.mod, operator.imod), 2, remainder(operator.mod)),
    ((np.remainder,), 2, remainder(np.remainder)),
    ((np.fmod,), 2, remainder(np.fmod)),
)
for functions, arity, of in SMOOTH:
    for function in functions:
        register(function, partial(composed, of), arity)

WHOLE, FLOAT = types.int64, types.float64
JUMPS: tuple[tuple[tuple[Any, ...], int, Any, types.Type], ...] = (
    ((operator.floordiv, operator.ifloordiv), 2, quotient, FLOAT),
    ((np.floor_divide,), 2, quotient, FLOAT),
    ((int, math.floor, math.ceil, math.trunc), 1, step, WHOLE),
    ((np.floor, np.ceil, np.trunc), 1, step, FLOAT),
    ((round,), 1, partial(step, shift=0.5), WHOLE),
    ((np.rint, np.round, np.around), 1, partial(step, shift=0.5), FLOAT),
    ((np.sign,), 1, lambda function: sign, FLOAT),
)
for functions, arity, of, result in JUMPS:
    for function in functions:
        register(function, partial(composed, of(function)), arity, result=result)
