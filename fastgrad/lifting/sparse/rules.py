"""How a difference passes through an elementwise function: u(b + d) - u(b), without forming u(b + d) where possible.

The loop subtracts two nearly equal values at the very end, and keeps the rounding errors of all that came before.
Here each operation maps an accurate difference to an accurate difference, so nothing cancels: for ``exp`` it is
exp(b) expm1(d), for the square d (2b + d). This is Reps and Rall's divided-difference arithmetic [1]_, with the
differences left undivided.

A rule returns None where it has no accurate form; then u(b + d) - u(b) it is.

References
----------
.. [1] T. Reps and L. Rall, Computational Divided Differencing and Divided-Difference Arithmetics, Higher-Order and
   Symbolic Computation 16, 93-149 (2003).
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np

from ..arraylike import Array

Unary = Callable[[Array, Any, Any], Any]  # (d, b, y) -> u(b + d) - y, where y = u(b)
Binary = Callable[[Any, Any, Any, Any, Any], Any]  # None is a difference of zero

LN2, LN10 = np.log(2.0), np.log(10.0)


FEW = 128  # with fewer differences numpy's functions are as fast as a series


def near_zero(exact: Callable[[Array], Array], even: bool, coefficients: list[float]) -> Callable[[Array], Array]:
    """A function that vanishes at 0, by its Taylor series where few terms are exact to the last bit.

    Differences are small, so this is the usual case, and ten times cheaper than numpy's expm1, log1p, sin or tanh.

    `exact`: the function for larger arguments.
    `even`: whether the series after its first factor d is in d**2.
    `coefficients`: of 1, t, t**2, ... where t is d or d**2.
    """

    def function(d: Array) -> Array:
        if d.dtype.kind == "c":  # numpy's complex log1p loses the real part of small numbers
            top = float(np.abs(d).max(initial=0.0))
        elif d.size < FEW:
            return exact(d)
        else:
            top = max(float(d.max()), -float(d.min()))
        top = top * top if even else top
        terms, size = 0, 1.0
        while terms < len(coefficients) and not abs(coefficients[terms]) * size < 2.0**-54:
            terms, size = terms + 1, size * top
        if terms == len(coefficients):
            return exact(d)  # also where top is infinite or NaN
        if terms < 2:
            return d.copy()
        t = d * d if even else d
        out = t * coefficients[terms - 1]
        for coefficient in coefficients[terms - 2 : 0 : -1]:
            out += coefficient
            out *= t
        out += coefficients[0]
        out *= d
        return out

    return function


ORDERS = range(8)
expm1 = near_zero(np.expm1, False, [1 / factorial(i + 1) for i in ORDERS])
log1p = near_zero(np.log1p, False, [(-1) ** i / (i + 1) for i in ORDERS])
sin = near_zero(np.sin, True, [(-1) ** i / factorial(2 * i + 1) for i in ORDERS])
sinh = near_zero(np.sinh, True, [1 / factorial(2 * i + 1) for i in ORDERS])
arctan = near_zero(np.arctan, True, [(-1) ** i / (2 * i + 1) for i in ORDERS])
tanh = near_zero(np.tanh, True, [1.0, -1 / 3, 2 / 15, -17 / 315, 62 / 2835, -1382 / 155925])


def scaled(fresh: Array, factor: Any) -> Array:
    """Multiply in place: touching new memory costs more than the arithmetic."""
    fresh *= factor
    return fresh


def safe_quotient(above: Any, below: Array) -> Array:
    """Divide, and return 0 where both are 0: there nothing changes."""
    out: Array = np.divide(above, below, out=np.zeros_like(below), where=below != 0)
    return out


def _square(d: Array, b: Any, y: Any) -> Any:
    out = d + 2.0 * b
    out *= d
    return out


def _sqrt(d: Array, b: Any, y: Any) -> Any:
    below = np.sqrt(b + d)
    below += y
    return safe_quotient(d, below)


def _half_angle(d: Array) -> tuple[Array, Array]:
    half = 0.5 * d
    small = sin(half)
    return small, np.sqrt(1.0 - small * small) if (np.abs(half) < 1).all() else np.cos(half)


# sin(b + d) - sin(b) = 2 cos(b + d/2) sin(d/2), expanded so that functions of b are needed at x only
def _sin(d: Array, b: Any, y: Any) -> Any:
    half, cosine = _half_angle(d)
    cosine *= np.cos(b)
    cosine -= y * half
    half *= 2.0
    return scaled(half, cosine)


def _cos(d: Array, b: Any, y: Any) -> Any:
    half, cosine = _half_angle(d)
    cosine *= np.sin(b)
    cosine += y * half
    half *= -2.0
    return scaled(half, cosine)


def _tan(d: Array, b: Any, y: Any) -> Any:
    t = np.tan(d)
    return t * (1.0 + y * y) / (1.0 - y * t)


def _sinh(d: Array, b: Any, y: Any) -> Any:
    half = sinh(0.5 * d)
    return scaled(half, 2.0 * (np.cosh(b) * np.sqrt(1.0 + half * half) + y * half))


def _cosh(d: Array, b: Any, y: Any) -> Any:
    half = sinh(0.5 * d)
    return scaled(half, 2.0 * (np.sinh(b) * np.sqrt(1.0 + half * half) + y * half))


def _tanh(d: Array, b: Any, y: Any) -> Any:
    t = tanh(d)
    if (np.abs(t) > 0.5).any():
        return np.tanh(b + d) - y  # far apart; there y t may be near to -1
    below = y * t
    below += 1.0
    t *= 1.0 / np.cosh(b) ** 2  # 1 - y**2 would cancel
    t /= below
    return t


def _arctan(d: Array, b: Any, y: Any) -> Any:
    below = 1.0 + b * (b + d)
    if (below.real > 0).all():
        return arctan(d / below)
    return None


# ---- by series in what must be small: the difference, and that

SERIES_BELOW = 2.0**-10  # exact to the last bit


def _series(rule: Callable[[Array, Any], tuple[Array, Array]]) -> Unary:
    def unary(d: Array, b: Any, y: Any) -> Any:
        change, small = rule(d, b)
        near = np.abs(d) <= 1.0  # or arcs may be far apart whose sines are near
        return change if (near & (np.abs(small) < SERIES_BELOW)).all() else None

    return unary


def _arcsin(d: Array, b: Any) -> tuple[Array, Array]:
    old, new = np.sqrt(1.0 - b * b), np.sqrt(1.0 - (b + d) * (b + d))
    s = d * old + b * (d * (2.0 * b + d)) / (old + new)  # the sine of the difference
    t = s * s
    return s * (1.0 + t * (1 / 6 + t * (3 / 40))), s


def _arccos(d: Array, b: Any) -> tuple[Array, Array]:
    found, s = _arcsin(d, b)
    return -found, s


def _arctanh(d: Array, b: Any) -> tuple[Array, Array]:
    q = d / (1.0 - b * (b + d))
    t = q * q
    return q * (1.0 + t * (1 / 3 + t * (1 / 5))), q


def _arcsinh(d: Array, b: Any) -> tuple[Array, Array]:
    old, new = np.sqrt(1.0 + b * b), np.sqrt(1.0 + (b + d) * (b + d))
    near = d * old - b * (d * (2.0 * b + d)) / (old + new)
    far = d * (2.0 * b + d) / ((b + d) * old + b * new)  # as the terms of `near` cancel there
    s = np.where(np.real(b * b) >= 1.0, far, near)
    t = s * s
    return s * (1.0 + t * (-1 / 6 + t * (3 / 40))), s


def _arctan2(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    da, db = (0.0 if d is None else d for d in (da, db))
    new_a, new_b = a + da, b + db
    q = (b * da - a * db) / (a * new_a + b * new_b)  # the tangent of the angle between both
    t = q * q
    across = ((new_a >= 0) != (a >= 0)) & (new_b < 0)  # the cut
    near = (np.abs(q) < SERIES_BELOW) & (a * new_a + b * new_b > 0) & ~across
    return q * (1.0 + t * (-1 / 3 + t * (1 / 5))) if near.all() else None


def _absolute(d: Array, b: Any, y: Any) -> Any:
    return np.where(b + d >= 0, (b - y) + d, (-b - y) - d)


def _cbrt(d: Array, b: Any, y: Any) -> Any:
    new = np.cbrt(b + d)
    below = new * new + new * y + y * y
    return safe_quotient(d, below)


def _stepping(ufunc: np.ufunc) -> Unary:
    return lambda d, b, y: ufunc(b + d) - y


UNARY: dict[np.ufunc, Unary] = {
    np.negative: lambda d, b, y: -d,
    np.positive: lambda d, b, y: d,
    np.square: _square,
    np.sqrt: _sqrt,
    np.cbrt: _cbrt,
    np.reciprocal: lambda d, b, y: -d * y / (b + d),
    np.exp: lambda d, b, y: scaled(expm1(d), y),
    np.exp2: lambda d, b, y: scaled(expm1(LN2 * d), y),
    np.expm1: lambda d, b, y: scaled(expm1(d), np.exp(b)),  # y + 1 would cancel
    np.log: lambda d, b, y: log1p(d / b),
    np.log2: lambda d, b, y: scaled(log1p(d / b), 1.0 / LN2),
    np.log10: lambda d, b, y: scaled(log1p(d / b), 1.0 / LN10),
    np.log1p: lambda d, b, y: log1p(d / (1.0 + b)),
    np.sin: _sin,
    np.cos: _cos,
    np.tan: _tan,
    np.sinh: _sinh,
    np.cosh: _cosh,
    np.tanh: _tanh,
    np.arctan: _arctan,
    np.arcsin: _series(_arcsin),
    np.arccos: _series(_arccos),
    np.arcsinh: _series(_arcsinh),
    np.arctanh: _series(_arctanh),
    np.absolute: _absolute,
    # of whole numbers, whose differences are exact
    **{ufunc: _stepping(ufunc) for ufunc in (np.sign, np.floor, np.ceil, np.trunc, np.rint)},
    np.fabs: _absolute,
    np.deg2rad: lambda d, b, y: np.deg2rad(d),
    np.radians: lambda d, b, y: np.radians(d),
    np.rad2deg: lambda d, b, y: np.rad2deg(d),
    np.degrees: lambda d, b, y: np.degrees(d),
}


def lean(value: Any) -> Any:
    """The same with length 1 along the axes that numpy only stretched: what broadcasts is computed once."""
    if isinstance(value, np.ndarray) and 0 in value.strides and value.size > FEW:
        return value[tuple(slice(0, 1) if step == 0 else slice(None) for step in value.strides)]
    return value


def _divide(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    if db is None:
        return da / b
    if da is None:
        above: Array = y * db
        np.negative(above, out=above)
    else:
        # in the memory order of da: a mixture is ten times slower
        above = np.multiply(y, db, out=np.empty_like(da) if type(da) is np.ndarray and da.flags.writeable else None)
        np.subtract(da, above, out=above)
    above /= lean(b) + lean(db)
    return above


def integer_power(d: Array, b: Any, exponent: int) -> Any:
    """(b + d)**n - b**n by repeated squaring: products of the pair (b**m, its difference)."""
    power, change = b, d
    out: Any = None
    out_change: Any = None
    while True:
        if exponent & 1:
            if out is None or out_change is None:
                out, out_change = power, change
            else:
                out_change = change * (out + out_change) + power * out_change
                out = out * power
        exponent >>= 1
        if not exponent:
            return out_change
        change = change * (2.0 * power + change)
        power = power * power


def _power(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    if db is None and np.ndim(b) == 0:
        if b == int(b) and 1 <= b <= 64:
            return integer_power(da, a, int(b))
        if b == int(b) and -64 <= b <= -1:
            grown = integer_power(da / a, 1.0, -int(b))  # relative: powers of a may overflow
            return -grown * y / (1.0 + grown)
        if b == 0.5:
            return _sqrt(da, a, y)
    if (da is not None and not np.all(np.abs(da) < 0.1 * np.abs(a))) or (db is not None and not np.all(np.real(a) > 0)):
        return None
    grown = 0.0 if da is None else log1p(da / a)
    inner = b * grown if db is None else b * grown + db * (np.log(a) + grown)  # of the logarithm of |a| ** b
    return scaled(expm1(inner), y)


def selection(where_first: Any, da: Any, a: Any, db: Any, b: Any, y: Any) -> Array:
    """The difference of a choice: a + da where true, else b + db, less y; each is y plus something small or not."""
    first, second = a - y, b - y
    out: Array = np.where(where_first, first if da is None else first + da, second if db is None else second + db)
    return out


def _choosing(compare: np.ufunc) -> Binary:
    def rule(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
        first = compare(a if da is None else a + da, b if db is None else b + db)
        return selection(first, da, a, db, b, y)

    return rule


def _hypot(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    below = np.hypot(a if da is None else a + da, b if db is None else b + db) + y
    # divided first: squares may overflow, or vanish
    terms = (d * safe_quotient(2.0 * v + d, below) for d, v in ((da, a), (db, b)) if d is not None)
    return sum(terms)


def _logaddexp(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    grown: Any = 0.0
    for d, v in ((da, a), (db, b)):
        if d is not None:
            grown = grown + scaled(expm1(d), np.exp(v - y))
    return log1p(grown)


def _remainder(da: Any, a: Any, db: Any, b: Any, y: Any) -> Any:
    da, db = (0.0 if d is None else d for d in (da, db))
    whole, new = np.floor_divide(a, b), np.floor_divide(a + da, b + db)
    return da - b * (new - whole) - db * new


BINARY: dict[np.ufunc, Binary] = {
    np.remainder: _remainder,
    np.divide: _divide,
    np.power: _power,
    np.float_power: _power,
    np.maximum: _choosing(np.greater_equal),
    np.minimum: _choosing(np.less_equal),
    np.fmax: _choosing(np.greater_equal),
    np.fmin: _choosing(np.less_equal),
    np.hypot: _hypot,
    np.arctan2: _arctan2,
    np.logaddexp: _logaddexp,
}
