"""The gradient where f is smooth, in plain floats: what `automatic` finds there, to the bit, without bars.

One line, one sweep, and the judgement that no component wants a second look, in one straight function: two thirds of
what Python has to do for the rule in its parts; then one that looks again where a step does not suit. Where that is not
certain the whole rule decides, with the values that are known by then: tests here may be stricter than there, never
laxer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import frexp, hypot, inf, ldexp, sqrt, ulp
from operator import mul
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import BOTH_WAYS, Evaluation
from ..core.validation import Floats, number
from .constants import (
    BAR_NOISE,
    CERTAIN,
    COUPLED,
    ENOUGH,
    EPS,
    HALF_ROOT,
    KINK,
    MANY,
    NEGLIGIBLE,
    NOISE,
    OUTSIDE,
    REACH,
    ROUNDS,
    SPACING,
    STILL,
    TOO_LARGE,
    USUAL,
    calm,
    certain,
    nearest_power,
    nearest_powers,
    suits,
)
from .line import CERTAINLY_WHOLE, INCREMENT, LAST, MOVES, MULTIPLIER, TOP_BITS, Line, extent, look_once, median
from .looks import better_step, choose, truncation
from .stencils import central

LITTLE = 4  # entries: points with fewer are made sooner entry by entry (1 us at 2) than as one array
LARGEST = 1e60  # of |x| and |f|, and one over the least: squares are far from the end of the range of floats
DIGITS = 1 - frexp(SPACING)[1]  # of SPACING, a power of two
LEAST_NOISE = 0.98 * BAR_NOISE * central(2).amplification_rms  # of a bar, in sigma over the step
MARGIN = 1.001  # f's noise is relative to f, which hardly changes in the sweep


class Looked(NamedTuple):
    """What is known where a component wants a second look; f in its own units."""

    scale: list[float]  # of x
    vector: list[float]  # of the line
    line: Line  # what it says
    values: list[float]  # of f: at x, on the line, and in the sweep
    step: float  # of the sweep, in scales of x, before it was rounded
    enough: float  # relative noise of a slope that needs no improvement


# what f gave at x with coordinate i replaced by each of two values, or what it raised there: by i and these
Noted = dict[tuple[int, float, float], Sequence[float] | Exception]


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
    copy = base.copy
    x, seed = copy(), crc32(base.data)
    own[...] = x
    found = f(x)
    value = float(found) if isinstance(found, float) else number(found)
    values.append(value)
    entries = base.tolist()
    sizes = [*map(abs, entries)]
    largest = max(sizes)
    least, reach = largest if 0.0 < largest < 1.0 else 1.0, abs(value)
    if not (reach < LARGEST and largest < LARGEST and least * LARGEST > 1.0 and (reach * LARGEST > 1.0 or not reach)):
        return None
    scale, vector, short = [], [], False
    these, others = MOVES[seed & 1], MOVES[~seed & 1]
    for entry, size in zip(entries, sizes, strict=True):  # as `line.Course`
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
    n, rows = len(entries), []
    if n < LITTLE:
        a, b, c, d, e, g = rows = [copy(), copy(), copy(), copy(), copy(), copy()]
        for i, move in enumerate(vector):
            entry = entries[i]
            a[i], g[i] = entry - 3.0 * move, entry + 3.0 * move
            b[i], e[i] = entry - 2.0 * move, entry + 2.0 * move
            c[i], d[i] = entry - move, entry + move
    for x in rows or BOTH_WAYS * np.array(vector) + base:
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
    once = look_once(n, floor, reach, False, t, u, v, value, w, y, z)
    sigma, third, _, size, variation, slope, doubt = once
    if not sigma:
        return None
    step = min(max(sigma / variation, 1e-17), 1e-2) ** (1.0 / 3.0)
    suffices = max(ENOUGH, USUAL * step * step)
    enough = suffices / 1.42
    if third:
        shorter = max((3.0 * sigma * sqrt(n) / third) ** (1.0 / 3.0), 1e-13)
        if shorter * n ** (1.0 / 3.0) < 0.5 * step:
            step = shorter * n ** (1.0 / 6.0)
    slopes, steps, lengths = [], [], []
    top, agreement, sure, dead, i = 0.0, 0.0, True, False, -1
    least, faint, most, many = MARGIN * sigma / enough, 63.0 * sigma, 8.0 * sigma, 8.0 * MARGIN * sigma
    for entry, length, move in zip(entries, scale, vector, strict=True):
        i += 1
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
            continue
        h = 0.5 * (over - under)
        above, below = up - value, down - value
        steep, bent = above - below, abs(above + below)
        change = abs(steep)
        steep /= 2.0 * h
        slopes.append(steep)
        steps.append(h)
        agreement += move * steep
        if not (change or bent):  # f does not depend on it
            dead = True
        elif not (least <= change < inf and bent <= KINK * change and bent * bent <= faint * change):
            noise = max(sigma, sigma / reach * max(abs(up), abs(down)))
            sure = calm(change, bent, noise, variation, enough) or suits(change, bent, noise, variation)
        if bent > most:
            sure = sure and many < bent < inf and many < change
            lengths.append(h * change / (2.0 * bent) / length)
        steep = abs(steep) * length
        if steep > top:
            top = steep
    if sure:
        negligible, square = max(NEGLIGIBLE * top, 1e-6 * size), step * step
        sure = abs(value) + 1.6 * top * step <= MARGIN * reach  # of f in the sweep
        # 4.0 for 3.0: bars of those that suit allow for the line's third derivative
        sure = sure and sigma <= 3e-5 * step * negligible and 4.0 * third * square <= n * negligible
        if dead:
            sure = sure and min(scale) >= NEGLIGIBLE * max(scale)
            sure = sure and 1e-3 * size <= top and sigma <= 0.9 * STILL * step * top
        if 2 * len(lengths) > n > 1:  # they are what most components show
            # on a shorter length a smaller step would be tried (245: 8.5 TOO_LARGE), or half be uncertain
            bow = max(6.0 * top * step * square / (245.0 * sigma), 2.3 * square)
            sure = sure and (min(lengths) ** 2 >= bow or median(lengths) ** 2 >= bow)
        gap = abs(agreement - slope) - doubt
        if gap > 0.0:
            noise = LEAST_NOISE * sigma
            sure = sure and gap <= hypot(*[move * noise / h for move, h in zip(vector, steps, strict=True)])
    if sure:
        return np.array(slopes)
    return Looked(scale, vector, Line.of_one_look(once, spread, vector), values, step, suffices)


# of one coordinate: which one, step, slope, sizes of the first and second difference, and the noise of the values
Difference = tuple[int, float, float, float, float, float]


def _difference(
    i: int, over: float, under: float, up: float, down: float, here: float, sigma: float, rho: float
) -> Difference:
    """Difference f at x with coordinate i replaced by each of two values."""
    rise, fall, step, larger = up - here, down - here, 0.5 * (over - under), abs(up)
    if abs(down) > larger:
        larger = abs(down)
    change, noise = rise - fall, rho * larger
    if noise < sigma:
        noise = sigma
    return i, step, change / (2.0 * step), abs(change), abs(rise + fall), noise


def again(run: Evaluation, entries: list[float], looked: Looked, noted: Noted) -> Floats | None:
    """Judge what the sweep shows, and look again where another step is better; None where there is more to it.

    That is a kink, an edge, what may have no effect, a component without a certain digit.

    `run`: f around x.
    `entries`: of x.
    `noted`: gets what f gives.
    """
    scale, vector, line, values, step, enough = looked
    n, here, sigma, variation = len(entries), values[0], line.sigma, line.variation
    rho, plenty = sigma / max(abs(here), line.spread), enough / 1.42
    first: list[Difference] = []
    slopes, lengths, doubtful = [], [], []
    top = bow = coarse = still = 0.0
    for i, h in enumerate(nearest_powers(step, scale)):  # as `Search._two_sides`
        entry, length = entries[i], scale[i]
        look = _difference(i, entry + h, entry - h, values[7 + 2 * i], values[8 + 2 * i], here, sigma, rho)
        _, h, slope, change, bent, noise = look
        first.append(look)
        slopes.append(slope)
        effect, relative = abs(slope) * length, h / length
        if not effect < inf:
            return None
        if effect > top:
            top = effect
        if bent > 8.0 * noise < change:
            lengths.append(h * change / (2.0 * bent) / length)
        grain = noise / relative
        if not (change or bent):
            still = max(still, grain)
            continue
        usual = bent <= KINK * change and noise <= plenty * change and bent * bent <= 63.0 * noise * change
        if not (usual or calm(change, bent, noise, variation, plenty)):
            doubtful.append(i)
        arch = change * relative * relative / noise
        if grain > coarse:
            coarse = grain
        if arch > bow:
            bow = arch
    if 0.0 in slopes and (min(scale) < NEGLIGIBLE * max(scale) or top < 1e-3 * line.size):
        return None
    least, whole = max(NEGLIGIBLE * top, 1e-6 * line.size), max(variation, line.size, top)
    common = median(lengths) if 2 * len(lengths) > n > 1 else inf
    if 3.0 * line.third * step * step > n * least:
        doubtful = list(range(n))
    elif bow > 42.0 * common * common or coarse > 5e-5 * least or still > 1.4 * STILL * whole:
        doubtful = [
            i
            for i, h, _, change, _, noise in first
            if i in doubtful or not certain(change, noise, h / scale[i], common, least)
        ]
    looks: dict[int, list[list[float]]] = {i: [] for i in doubtful}
    waiting, moved = [first[i] for i in doubtful], set()
    while waiting:  # as `Search._improve`, side by side
        asked = []
        for i, h, slope, change, bent, noise in waiting:
            seen, entry, length, error = looks[i], entries[i], scale[i], NOISE * noise / h
            kinked = bent > 8.0 * noise and bent > KINK * change and not seen
            if h < MANY * ulp(entry) or (kinked and bent * length / h > max(1e-3, 30.0 * h / length) * whole):
                return None
            hope, fear = truncation(h, change, bent, noise, variation)
            seen.append([h, slope, error, fear])
            if change or bent:
                moved.add(i)
            elif error > STILL * whole / length:
                return None
            else:
                continue
            expected = abs(slope) * (h / (common * length)) ** 2 / 6.0
            if expected > hope:
                hope = expected
            best = better_step(2, h, slope, error, hope, fear, enough)
            if not best or len(seen) > ROUNDS:
                continue
            best = max(nearest_power(min(max(best, h * REACH[0]), h * REACH[1])), 4.0 * ulp(entry))
            larger = [q[0] for q in seen if q[0] > h]
            if larger and not hope > TOO_LARGE * error:
                best = min(best, nearest_power(sqrt(h * min(larger))))
            if not any([0.3 < best / q[0] < 3.3 for q in seen]):
                asked.append((i, entry + best, entry - best))
        waiting = []
        for place in asked:
            try:
                noted[place] = up, down = run.pair(*place)
            except OUTSIDE as error:
                noted[place] = error
                return None
            waiting.append(_difference(*place, up, down, here, sigma, rho))
        for _, _, _, change, bent, _ in waiting:
            if not change + bent < inf:
                return None
    bars, steps = {}, {}
    for i, seen in looks.items():
        slopes[i], bars[i], steps[i], _ = choose(seen, len(seen), min(common * scale[i], scale[i]))
    before, top = top, max([abs(slope) * length for slope, length in zip(slopes, scale, strict=True)])
    if top < 0.7 * before:
        return None
    gap = abs(sum(map(mul, vector, slopes)) - line.slope) - line.doubt
    if gap > 0.0:
        known = [vector[i] * bars.get(i, LEAST_NOISE * noise / h) for i, h, _, _, _, noise in first]
        if gap > hypot(*known):
            return None
    least = max(NEGLIGIBLE * top, 1e-6 * line.size)
    for i, bar in bars.items():
        length, h = scale[i], steps[i] / scale[i]
        third = line.third / n**COUPLED * h * h / (3.0 * length)
        bar = max(bar, min(third, 1000.0 * bar), EPS * whole / length)
        if i in moved and not bar <= CERTAIN * max(abs(slopes[i]), least / length) < inf:
            return None
    return np.array(slopes)
