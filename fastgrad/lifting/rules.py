"""The difference that a function makes of differences: u(b + d) - u(b) without rounding it away.

Here y = u(b), and z is another function at b. A rule returns, too, what must be small for its series. One source makes
code for vectors and, with numpy, rules for whole buffers of totals and those of the sparse lift that take no shortcuts.
"""

import math
from typing import Any


def make_rules(sqrt: Any, choose: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rules of one and of two arguments, by name."""

    def expm1(d):
        return d * (1.0 + d * (1 / 2 + d * (1 / 6 + d * (1 / 24 + d * (1 / 120)))))

    def log1p(r):
        return r * (1.0 + r * (-1 / 2 + r * (1 / 3 + r * (-1 / 4 + r * (1 / 5 + r * (-1 / 6))))))

    def sine(d):
        t = d * d
        return d * (1.0 + t * (-1 / 6 + t * (1 / 120)))

    def cosine(d):
        t = d * d
        return 1.0 + t * (-1 / 2 + t * (1 / 24 + t * (-1 / 720)))

    def hyperbolic_sine(d):
        t = d * d
        return d * (1.0 + t * (1 / 6 + t * (1 / 120)))

    def hyperbolic_cosine(d):
        t = d * d
        return 1.0 + t * (1 / 2 + t * (1 / 24 + t * (1 / 720)))

    def exp(d, b, y, z):
        return y * expm1(d), d

    def exp_minus_1(d, b, y, z):
        return (y + 1.0) * expm1(d), d

    def log(d, b, y, z):
        r = d / b
        return log1p(r), r

    def log_1_plus(d, b, y, z):
        r = d / (b + 1.0)
        return log1p(r), r

    def log_2(d, b, y, z):
        r = d / b
        return log1p(r) * (1 / math.log(2)), r

    def log_10(d, b, y, z):
        r = d / b
        return log1p(r) * (1 / math.log(10)), r

    def root(d, b, y, z):
        return d / (sqrt(b + d) + y), d * 0.0

    def sin(d, b, y, z):
        s = sine(d * 0.5)
        return 2.0 * s * (z * cosine(d * 0.5) - y * s), d

    def cos(d, b, y, z):
        s = sine(d * 0.5)
        return -2.0 * s * (z * cosine(d * 0.5) + y * s), d

    def tan(d, b, y, z):
        t = sine(d) / cosine(d)
        return t * (1.0 + y * y) / (1.0 - y * t), d

    def sinh(d, b, y, z):
        s = hyperbolic_sine(d * 0.5)
        return 2.0 * s * (z * hyperbolic_cosine(d * 0.5) + y * s), d

    def tanh(d, b, y, z):
        t = hyperbolic_sine(d) / hyperbolic_cosine(d)
        return t * (1.0 - y * y) / (1.0 + y * t), d

    def atan(d, b, y, z):
        q = d / (1.0 + b * (b + d))
        t = q * q
        return q * (1.0 + t * (-1 / 3 + t * (1 / 5))), q

    def arc(s):
        t = s * s
        return s * (1.0 + t * (1 / 6 + t * (3 / 40)))

    def asin(d, b, y, z):
        old, new = sqrt(1.0 - b * b), sqrt(1.0 - (b + d) * (b + d))
        s = d * old + b * (d * (2.0 * b + d)) / (old + new)  # the sine of the difference
        return arc(s), s

    def acos(d, b, y, z):
        found, s = asin(d, b, y, z)
        return -found, s

    def atanh(d, b, y, z):
        q = d / (1.0 - b * (b + d))
        t = q * q
        return q * (1.0 + t * (1 / 3 + t * (1 / 5))), q

    def asinh(d, b, y, z):
        old, new = sqrt(1.0 + b * b), sqrt(1.0 + (b + d) * (b + d))
        near = d * old - b * (d * (2.0 * b + d)) / (old + new)
        far = d * (2.0 * b + d) / ((b + d) * old + b * new)  # as the terms of `near` cancel there
        s = choose(b * b, 1.0, far, near)
        t = s * s
        return s * (1.0 + t * (-1 / 6 + t * (3 / 40))), s

    def erf(d, b, y, z):
        # z = 2 exp(-b**2) / sqrt(pi); three terms of its series, so d must be the smaller
        return d * z * (1.0 - b * d + (2.0 * b * b - 1.0) * (d * d) * (1 / 3)), 256.0 * d * (1.0 + b * b)

    def erfc(d, b, y, z):
        found, small = erf(d, b, y, z)
        return -found, small

    def absolute(d, b, y, z):
        return choose(b + d, 0.0, (b - y) + d, (-b - y) - d), d * 0.0

    def negative(d, b, y, z):
        return -d, d * 0.0

    def add(da, a, db, b, y, z):
        return da + db, da * 0.0

    def subtract(da, a, db, b, y, z):
        return da - db, da * 0.0

    def multiply(da, a, db, b, y, z):
        return da * (b + db) + a * db, da * 0.0

    def divide(da, a, db, b, y, z):
        return (da - y * db) / (b + db), da * 0.0

    def maximum(da, a, db, b, y, z):
        return choose(a + da, b + db, (a - y) + da, (b - y) + db), da * 0.0

    def minimum(da, a, db, b, y, z):
        return choose(b + db, a + da, (a - y) + da, (b - y) + db), da * 0.0

    def power(da, a, db, b, y, z):
        r = da / a  # z = log(a), a > 0
        grown = log1p(r)
        inner = b * grown + db * (z + grown)  # (b + db) log(a + da) - b log(a)
        return y * expm1(inner), choose(r * r, inner * inner, r, inner)

    def hypot(da, a, db, b, y, z):
        grown = da * (2.0 * a + da) + db * (2.0 * b + db)
        return grown / (sqrt((a + da) * (a + da) + (b + db) * (b + db)) + y), da * 0.0

    def atan2(da, a, db, b, y, z):
        q = (b * da - a * db) / (a * (a + da) + b * (b + db))  # the tangent of the angle between both
        t = q * q
        return q * (1.0 + t * (-1 / 3 + t * (1 / 5))), q

    unary = (
        exp,
        exp_minus_1,
        log,
        log_1_plus,
        log_2,
        log_10,
        root,
        sin,
        cos,
        tan,
        sinh,
        tanh,
        atan,
        asin,
        acos,
        atanh,
        asinh,
        erf,
        erfc,
        absolute,
        negative,
    )
    binary = (add, subtract, multiply, divide, maximum, minimum, power, hypot, atan2)
    return {rule.__name__: rule for rule in unary}, {rule.__name__: rule for rule in binary}
