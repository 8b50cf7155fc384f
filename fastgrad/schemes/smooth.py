"""The gradient where f is smooth, in plain floats: what `automatic` finds there, to the bit, without bars.

One line, one sweep, and the judgement that no component wants a second look, in one straight function: two thirds of
what Python has to do for the rule in its parts. Where that is not certain the whole rule decides, with the values that
are known by then: tests here may be stricter than there, never laxer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp, hypot, inf, ldexp, sqrt, ulp
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import BOTH_WAYS
from ..core.validation import Floats, number
from .constants import BAR_NOISE, ENOUGH, HALF_ROOT, KINK, NEGLIGIBLE, SPACING, STILL, USUAL, calm
from .line import CERTAINLY_WHOLE, INCREMENT, LAST, MOVES, MULTIPLIER, TOP_BITS, Line, extent, look_once, median
from .stencils import central

LARGEST = 1e60  # of |x| and |f|, and one over the least: squares are far from the end of the range of floats
DIGITS = 1 - frexp(SPACING)[1]  # of SPACING, a power of two
LEAST_NOISE = 0.98 * BAR_NOISE * central(2).amplification_rms  # of a bar, in sigma over the step
MARGIN = 1.001  # f's noise is relative to f, which hardly changes in the sweep


class Looked(NamedTuple):
    """What the line says, where a component wants a second look: scales of x, and f in its own units."""

    scale: list[float]
    line: Line


def gradient(
    f: Callable[[NDArray[Any]], Any], own: NDArray[Any], base: Floats, values: list[float]
) -> Floats | Looked | None:
    """Return the central differences of order 2 at x, if all are sure; else what is known of f; None: nothing is.

    `f`: the function; it gets a point of its own each time.
    `own`, of shape (n,): shows each point meanwhile.
    `base`, of shape (n,): x.
    `values`: gets what f gives: at x, at x + k v for k = -3, -2, -1, 1, 2, 3, up to the first that is not finite, and
        at x_i + h_i and x_i - h_i of each coordinate in turn.
    """
    x, seed = base.copy(), crc32(base.data)
    own[...] = x
    found = f(x)
    value = float(found) if isinstance(found, float) else number(found)
    values.append(value)
    entries, largest = base.tolist(), 0.0
    for entry in entries:
        size = abs(entry)
        if size > largest:
            largest = size
    least, reach = largest if 0.0 < largest < 1.0 else 1.0, abs(value)
    if not (reach < LARGEST and largest < LARGEST and least * LARGEST > 1.0 and (reach * LARGEST > 1.0 or not reach)):
        return None
    scale, vector, short = [], [], False
    these, others = MOVES[seed & 1], MOVES[~seed & 1]
    for entry in entries:  # as `line.Course`
        size = abs(entry)
        if size < least:
            if least > 16.0 * size > 0.0:
                short = True
            size = least
        scale.append(size)
        seed = (seed * MULTIPLIER + INCREMENT) & LAST
        mantissa, exponent = frexp(size)
        move = ldexp(these[seed >> TOP_BITS], exponent - DIGITS - (mantissa < HALF_ROOT))
        these, others = others, these
        if entry:
            grain = 4.0 * ulp(entry)
            grains = move / grain  # far more than 8, for a size is no less than its entry
            if -CERTAINLY_WHOLE < grains < CERTAINLY_WHOLE:
                move = round(grains) * grain
        vector.append(move)
    for x in BOTH_WAYS * np.array(vector) + base:
        own[...] = x
        found = f(x)
        found = float(found) if isinstance(found, float) else number(found)
        values.append(found)
        if found - found:  # nan, of what is not finite
            return None
    _, t, u, v, w, y, z = values
    floor, spread = extent([t, u, v, value, w, y, z], value, 1.0)
    if spread > reach:
        if short and spread > 10.0 * reach > 0.0:
            return None
        reach = spread
    n = len(entries)
    once = look_once(n, floor, reach, False, t, u, v, value, w, y, z)
    sigma, third, _, size, variation, slope, doubt = once
    if not sigma:
        return None
    step = min(max(sigma / variation, 1e-17), 1e-2) ** (1.0 / 3.0)
    enough = max(ENOUGH, USUAL * step * step) / 1.42
    if third:
        shorter = max((3.0 * sigma * sqrt(n) / third) ** (1.0 / 3.0), 1e-13)
        if shorter * n ** (1.0 / 3.0) < 0.5 * step:
            step = shorter * n ** (1.0 / 6.0)
    slopes, steps, lengths = [], [], []
    top, agreement, sure, dead, copy, i = 0.0, 0.0, True, False, base.copy, 0
    least, faint, most, many = MARGIN * sigma / enough, 63.0 * sigma, 8.0 * sigma, 8.0 * MARGIN * sigma
    for entry in entries:
        length = scale[i]
        mantissa, exponent = frexp(step * length)
        h = ldexp(1.0, exponent - 1 if mantissa < HALF_ROOT else exponent)
        x = copy()
        x[i] = over = entry + h
        own[...] = x
        found = f(x)
        up = float(found) if isinstance(found, float) else number(found)
        values.append(up)
        x = copy()
        x[i] = under = entry - h
        own[...] = x
        found = f(x)
        down = float(found) if isinstance(found, float) else number(found)
        values.append(down)
        if not sure:  # whoever goes on judges all of them
            i += 1
            continue
        h = 0.5 * (over - under)
        above, below = up - value, down - value
        steep, bent = above - below, abs(above + below)
        change = abs(steep)
        steep /= 2.0 * h
        slopes.append(steep)
        steps.append(h)
        agreement += vector[i] * steep
        i += 1
        if not (change or bent):  # f does not depend on it
            dead = True
        elif not (least <= change < inf and bent <= KINK * change and bent * bent <= faint * change):
            noise = max(sigma, sigma / reach * max(abs(up), abs(down)))
            sure = calm(change, bent, noise, variation, enough)
        if bent > most:
            sure = sure and many < bent < inf and many < change
            lengths.append(h * change / (2.0 * bent) / length)
        steep = abs(steep) * length
        if steep > top:
            top = steep
    if sure:
        negligible, square = max(NEGLIGIBLE * top, 1e-6 * size), step * step
        sure = abs(value) + 1.6 * top * step <= MARGIN * reach  # of f in the sweep
        sure = sure and sigma <= 3e-5 * step * negligible and 3.0 * third * square <= n * negligible
        if dead:
            sure = sure and min(scale) >= NEGLIGIBLE * max(scale)
            sure = sure and 1e-3 * size <= top and sigma <= 0.9 * STILL * step * top
        if 2 * len(lengths) > n > 1:  # they are what most components show
            bow = 6.0 * top * step * square / (42.0 * sigma)
            sure = sure and (min(lengths) ** 2 >= bow or median(lengths) ** 2 >= bow)
        gap = abs(agreement - slope) - doubt
        if gap > 0.0:
            noise = LEAST_NOISE * sigma
            sure = sure and gap <= hypot(*[move * noise / h for move, h in zip(vector, steps, strict=True)])
    return np.array(slopes) if sure else Looked(scale, Line.of_one_look(once, spread, vector))
