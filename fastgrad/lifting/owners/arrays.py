"""Arrays of owned numbers: functions that numba computes in its own order, or that have a form of fewer operations.

The rest is shared with lanes (`lanes.arrays`). The value is always what numba's own function makes of the values.
"""

import operator

import numpy as np
from numba.core import types
from numba.extending import register_jitable

from ..lanes.arrays import empty_bundle, extremum_loop, overloaded
from ..lanes.types import Bundle, is_wide, lane_type, narrow
from .functions import apart, tie, value, with_value
from .operators import accumulate_add
from .totals import MANY
from .types import Owned, is_number


@overloaded()
def values(a):
    """An array's values at x."""
    if not is_wide(a):
        return lambda a: a

    if a.layout == "F" and a.ndim > 1:  # BLAS goes another way, with other bits
        return lambda a: values(a.T).T

    def gather(a):
        out = np.empty(a.shape)
        for i in np.ndindex(a.shape):
            out[i] = value(a[i])
        return out

    return gather


def arrays(*ts):
    return all(isinstance(t, types.Array) and narrow(t.dtype) == types.float64 for t in ts)


def dimensions(*ts):
    return tuple(t.ndim for t in ts) if arrays(*ts) else ()


@register_jitable
def sum_of_products(a, b):
    s = 0.0
    for i in range(a.size):
        s = accumulate_add(s, a[i] * b[i])
    return s


def filled(function, fill, ts, ndim):
    """The form whose slopes are those that ``fill(out, exact, *arrays)`` leaves in the result."""
    bundle = Bundle(lane_type(ts), ndim, "C")

    @register_jitable
    def exactly(out, exact):
        for place in np.ndindex(out.shape):
            out[place] = with_value(out[place], exact[place])
        return out

    def of_one(a):
        exact = function(values(a))
        out = empty_bundle(exact.shape, bundle)
        fill(out, exact, a)
        return exactly(out, exact)

    def of_two(a, b):
        exact = function(values(a), values(b))  # which raises where their shapes do not fit
        out = empty_bundle(exact.shape, bundle)
        fill(out, exact, a, b)
        return exactly(out, exact)

    return of_one if len(ts) == 1 else of_two


@register_jitable
def rows(out, exact, a, b):
    for i in range(out.size):
        out[i] = sum_of_products(a[i], b)


@register_jitable
def columns(out, exact, a, b):
    for j in range(out.size):
        out[j] = sum_of_products(a, b[:, j])


@register_jitable
def products(out, exact, a, b):
    for i, j in np.ndindex(out.shape):
        out[i, j] = sum_of_products(a[i], b[:, j])


def dot(a, b):
    if dimensions(a, b) == (1, 1):

        def product(a, b):
            exact = np.dot(values(a), values(b))  # which raises where their sizes do not fit
            return with_value(sum_of_products(a, b), exact)

        return product
    fill = {(2, 1): rows, (1, 2): columns, (2, 2): products}.get(dimensions(a, b))
    return fill and filled(np.dot, fill, (a, b), a.ndim + b.ndim - 2)


def outer(a, b):
    @register_jitable
    def fill(out, exact, a, b):
        for i, j in np.ndindex(out.shape):
            out[i, j] = a[i] * b[j]

    return filled(np.outer, fill, (a, b), 2) if dimensions(a, b) == (1, 1) else None


def convolution(a, b):
    @register_jitable
    def fill(out, exact, a, b):
        for i in range(a.size):
            for j in range(b.size):
                out[i + j] = accumulate_add(out[i + j], a[i] * b[j])

    return filled(np.convolve, fill, (a, b), 1) if dimensions(a, b) == (1, 1) else None


@register_jitable
def component(a, i):
    """Of a vector in space; one of the plane has two."""
    return a[i] if i < a.size else 0.0 * a[0]


def cross(a, b):
    @register_jitable
    def fill(out, exact, a, b):
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            out[i] = component(a, j) * component(b, k) - component(a, k) * component(b, j)

    return filled(np.cross, fill, (a, b), 1) if dimensions(a, b) == (1, 1) else None


def inverse(a):
    @register_jitable
    def fill(out, exact, a):
        moved = out.copy()
        products(moved, exact, a, exact)
        products(out, exact, -exact, moved)

    return filled(np.linalg.inv, fill, (a,), 2)


def solution(a, b):
    """What x = a^-1 b changes by is a^-1 (db - da x)."""

    @register_jitable
    def fill(out, exact, a, b):
        inverse = np.linalg.inv(values(a))
        rest = out.copy()
        for i in range(out.size):
            rest[i] = b[i] - sum_of_products(a[i], exact)
        rows(out, exact, inverse, rest)

    return filled(np.linalg.solve, fill, (a, b), 1) if dimensions(a, b) == (2, 1) else None


def determinant(a):
    def determinant_of(a):
        plain = values(a)
        exact = np.linalg.det(plain)
        slopes = exact * np.linalg.inv(plain).T
        return with_value(sum_of_products(a.ravel(), slopes.ravel()), exact)

    return determinant_of


def trace(a):
    def trace_of(a):
        exact, s = np.trace(values(a)), 0.0
        for i in range(min(a.shape)):
            s = accumulate_add(s, a[i, i])
        return with_value(s, exact)

    return trace_of


def norm(a):
    return lambda a: with_value(np.sqrt(sum_of_products(a.ravel(), a.ravel())), np.linalg.norm(values(a)))


# ---- what hangs on the order of the values: equal ones are evaluated plainly


@overloaded()
def settled(number, size):
    """One of very many numbers, which may meet all of them: as a total, it is an owner of its own."""
    return lambda number, size: apart(number) if size > MANY else number


def extremum(better):
    def form(a):
        find = register_jitable(extremum_loop(better)(a))
        return lambda a: settled(find(a), a.size)

    return form


def spread(a):
    largest, smallest = (register_jitable(extremum(better)(a)) for better in (operator.gt, operator.lt))
    return lambda a: largest(a) - smallest(a)


def place_of(function):
    def form(a):
        def place(a):
            k = function(values(a))
            for i in range(a.size):
                if i != k:
                    tie(a[i], a[k])
            return k

        return place if dimensions(a) == (1,) else None

    return form


@register_jitable
def order_of(a):
    """The places of numbers from the smallest to the largest, by merging runs.

    Equal ones keep their order. numba compiles this in a fifth of the time that it takes for its own sorts.
    """
    n = a.size
    here, there = np.empty(n, np.intp), np.empty(n, np.intp)
    for i in range(n):
        if a[i] != a[i]:
            raise ValueError  # left to the scalar evaluation
        here[i] = i
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle, end = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, end):
                if i < middle and (j >= end or a[here[i]] <= a[here[j]]):
                    there[k] = here[i]
                    i += 1
                else:
                    there[k] = here[j]
                    j += 1
        here, there = there, here
        width *= 2
    return here


def sort(a):
    bundle = Bundle(a.dtype, 1, "C")

    def in_order(a):
        order = order_of(values(a))
        out = empty_bundle((order.size,), bundle)
        for i in range(order.size):
            out[i] = a[order[i]]
            if i > 0:
                tie(out[i - 1], out[i])
        return out

    return in_order if dimensions(a) == (1,) else None


@overloaded()
def sorted_copy(a):
    return sort(a)


def between(low, high, part, exact, size):
    """What lies between two of very many numbers, whose own value is known."""
    return settled(with_value(accumulate_add(low * (1.0 - part), high * part), exact), size)


between = register_jitable(between)


def median(a):
    def middle(a):
        if a.size == 0:
            raise ValueError  # left to the scalar evaluation
        s, k = sorted_copy(a), a.size // 2
        if a.size % 2 == 1:
            return settled(s[k], a.size)
        return between(s[k - 1], s[k], 0.5, (value(s[k - 1]) + value(s[k])) / 2, a.size)

    return middle if dimensions(a) == (1,) and is_wide(a) else None


def quantile(factor):
    """As numba computes them, which differs from numpy in the last digit."""

    def form(a, b):
        def part(a, b):
            percent = b * factor
            if a.size < 2 or not 0.0 <= percent <= 100.0:
                raise ValueError  # left to the scalar evaluation
            s, rank = sorted_copy(a), 1 + (a.size - 1) * (percent / 100.0)
            k = min(int(rank), a.size - 1)
            rest = rank - k
            low, high = value(s[k - 1]), value(s[k])
            exact = high if percent == 100.0 else low * (1 - rest) + high * rest
            return between(s[k - 1], s[k], rest, exact, a.size)

        return part if dimensions(a) == (1,) and is_wide(a) and is_number(b) else None

    return form


def place_among(a, b):
    def place(a, b):
        k = np.searchsorted(a, value(b))
        if k < a.size:
            tie(b, a[k])
        return k

    return place if isinstance(b, Owned) and not is_wide(a) else None


def interpolated(x, xp, fp):
    if is_wide(xp) or is_wide(fp):
        return None

    @register_jitable
    def at(x, xp, fp):
        exact = np.interp(value(x), xp, fp)  # which raises where their sizes do not fit
        k, slope = np.searchsorted(xp, value(x)), 0.0
        if k < xp.size:
            tie(x, xp[k])
            if k > 0:
                slope = (fp[k] - fp[k - 1]) / (xp[k] - xp[k - 1])
        return with_value(x * slope, exact)

    if isinstance(x, Owned):
        return at
    bundle = Bundle(x.dtype.wide, 1, "C")

    def each(x, xp, fp):
        out = empty_bundle((x.size,), bundle)
        for i in range(x.size):
            out[i] = at(x[i], xp, fp)
        return out

    return each if dimensions(x) == (1,) else None


# ---- statistics


@register_jitable
def centred(a, mean):
    """The sum of (a - mean(a))**2: n terms that need no total, less the square of one."""
    squares = 0.0
    rest = 0.0
    for v in a.flat:
        d = v - mean
        squares = accumulate_add(squares, d * d)
        rest = accumulate_add(rest, d)
    return squares - rest * rest / a.size


def variance(a):
    def variance_of(a):
        plain = values(a)
        return with_value(centred(a, plain.mean()) / a.size, np.var(plain))

    return variance_of


def deviation(a):
    def deviation_of(a):
        plain = values(a)
        return with_value(np.sqrt(centred(a, plain.mean()) / a.size), np.std(plain))

    return deviation_of


Owned.forms = {
    np.dot: dot,
    np.vdot: dot,
    np.outer: outer,
    np.convolve: convolution,
    np.cross: cross,
    np.linalg.norm: norm,
    np.linalg.inv: inverse,
    np.linalg.solve: solution,
    np.linalg.det: determinant,
    np.trace: trace,
    np.var: variance,
    np.std: deviation,
    np.min: extremum(operator.lt),
    np.max: extremum(operator.gt),
    np.ptp: spread,
    np.argmin: place_of(np.argmin),
    np.argmax: place_of(np.argmax),
    np.sort: sort,
    np.median: median,
    np.quantile: quantile(100.0),
    np.percentile: quantile(1.0),
    np.searchsorted: place_among,
    np.interp: interpolated,
}
