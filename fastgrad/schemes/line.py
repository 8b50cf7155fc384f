"""Seven values of f on a line through x: they tell noise from structure, and are a second opinion on the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import copysign, fmod, frexp, hypot, isfinite, sqrt, ulp
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import (
    BLURS,
    DOUBT,
    ENDS,
    EPS,
    FIFTH,
    FINER,
    FOURTH,
    HALF_ROOT,
    LOOKS,
    NEAR_ZERO,
    QUIET,
    SAME,
    SAME_ON_BOTH_SIDES,
    SIXTH,
    SPACING,
    THIRD,
    THIRDS,
    TINY,
    nearest_powers,
)
from .steps import power_of_two

__all__ = ["Course", "CourseOfMany", "Explorer", "Line", "factors", "look_along", "median", "quantum"]

Vector = list[float] | Floats
Once = tuple[float, float, float, float, float, float, float]  # see `look_once`

SIGNS = [sign * blur for sign in (-1.0, 1.0) for blur in BLURS]
# Knuth's linear congruential generator (The Art of Computer Programming 2, 3.3.4): its upper bits are random enough
CERTAINLY_WHOLE = 2.0**52
WIDE = 0.02  # spacing of the widest line
NOISY, UNSEEN = 1e-9, 16.0  # with that noise, and slopes that promise so much more than a line shows: a wider look
STRAIGHT = 1e-6  # of what looked like noise: waves that move as far bend more
SMALL, LARGE = 1e-130, 1e140  # beyond, squares of values and of their noise leave the range of floats
HALF_EPS, QUARTER_EPS = 0.5 * EPS, 0.25 * EPS
MULTIPLIER, INCREMENT, LAST = 6364136223846793005, 1442695040888963407, 0xFFFFFFFFFFFFFFFF
MOVES = [[third * sign for sign in SIGNS] for third in THIRDS]
TOP_BITS = 55  # those above choose one of SIGNS; THIRDS alternate, since f may know but the difference of two entries


class Explorer(Protocol):
    """f along a line. Values are whole, not relative to an origin; where f raises they are nan."""

    def along(self, vector: Vector, aside: bool) -> list[float]:
        """Return f at x + k vector, k = -3, -2, -1, 1, 2, 3, or 1 to 6, up to the first that is not finite."""
        ...

    def beside(self, vector: Vector, aside: bool) -> list[float]:
        """Return f at x + vector and x - vector, or x + 2 vector and x + vector."""
        ...


# ------------------------------------------------------------------------------------------------- where the line goes


class Course:
    """Scales and directions of a line through x, to both sides or to one, for few components; in plain floats."""

    scale: list[float]
    _signs: list[float]

    def __init__(self, x: list[float], seed: int, side: int = 0) -> None:
        largest = 0.0
        for entry in x:
            size = abs(entry)
            if size > largest:
                largest = size
        least = largest if 0.0 < largest < 1.0 else 1.0
        self.x, self.aside, self.shorter = x, side != 0, False  # whether some x is much smaller than its scale
        self.scale = scale = []
        self._signs = signs = []
        these, others = MOVES[seed & 1], MOVES[~seed & 1]
        for entry in x:
            size = abs(entry)
            if size < least:
                if least > 16.0 * size > 0.0:
                    self.shorter = True
                size = least
            scale.append(size)
            seed = (seed * MULTIPLIER + INCREMENT) & LAST
            signs.append(these[seed >> TOP_BITS])
            these, others = others, these
        if side:
            self._signs = [copysign(sign, side) for sign in signs]

    def vector(self, spacing: float, one: bool = False) -> Vector:
        """Return steps of this size, in scales (`one`: in units), rounded so that all points are exact."""
        steps = []
        powers = nearest_powers(spacing, [1.0] * len(self.x) if one else self.scale)
        for x, power, sign in zip(self.x, powers, self._signs, strict=True):
            step = power * sign
            if x:
                grain = 4.0 * ulp(x)
                grains = step / grain
                if 8.0 < abs(grains) < CERTAINLY_WHOLE:
                    step = round(grains) * grain
                elif -8.0 <= grains <= 8.0:
                    step = copysign(8.0, grains) * grain
            steps.append(step)
        return steps

    def _relative(self) -> list[float]:
        return [abs(x) or scale for x, scale in zip(self.x, self.scale, strict=True)]

    def shrink(self) -> None:
        """Take relative scales."""
        self.scale[:] = self._relative()

    def stay(self) -> bool:
        """Let entries 0 stay where they are; returns whether some moved before."""
        moved = any(sign for x, sign in zip(self.x, self._signs, strict=True) if not x)
        self._signs = [sign if x else 0.0 for x, sign in zip(self.x, self._signs, strict=True)]
        return moved

    def nowhere(self) -> bool:
        """Say whether x is 0."""
        return not any(self.x)

    def largest(self) -> float:
        """Return the largest scale."""
        return max(self.scale)

    def ones(self) -> None:
        """Take scales 1."""
        self.scale[:] = [1.0] * len(self.scale)


class CourseOfMany:
    """The same in arrays, to the same bits; and within bounds.

    `x`, `scale`, of shape (m,)
    `seed`: int
    `grain`: what steps are a multiple of; 0 where x is 0.
    `room`: how far each component may move down and up.
    `side`: 1 or -1: to this side of x only. 0: to both, unless there is no room.
    """

    def __init__(
        self,
        x: Floats,
        scale: Floats,
        seed: int,
        grain: Floats,
        room: tuple[Floats, Floats] | None = None,
        side: int = 0,
    ) -> None:
        self.x, self.scale, self._grain = x, scale, grain
        self.shorter = bool((scale > 16.0 * np.where(x != 0.0, np.abs(x), scale)).any())
        self._signs = _signs(seed, x.size)
        self._room: Floats | None = None
        if room is not None:
            reach = np.ones(x.size) if scale.max() < NEAR_ZERO else scale  # scales so small may be widened
            self.aside = bool((np.minimum(*room) <= 8.0 * SPACING * reach).any())
            down, up = room
            if self.aside:
                self._signs = np.copysign(self._signs, np.where(up >= down, 1.0, -1.0))
                self._room = np.maximum(down, up) / 6.0
            else:
                self._room = np.minimum(down, up) / 3.0
        else:
            self.aside = side != 0
        if side and room is None:
            self._signs = np.copysign(self._signs, float(side))
        elif side and room is not None:  # the other side, where there is no room on this one
            wanted, other = (room[1], room[0]) if side > 0 else (room[0], room[1])
            cramped = (wanted <= 8.0 * SPACING * scale) & (other > wanted)
            self._signs = np.copysign(self._signs, np.where(cramped, -float(side), float(side)))
            self.aside, self._room = True, np.where(cramped, other, wanted) / 6.0

    def vector(self, spacing: float, one: bool = False) -> Vector:
        step = spacing * (np.ones(self.x.size) if one else self.scale)
        step = np.where(step > 0.0, power_of_two(step), 0.0) * self._signs
        if self._room is not None:
            over = np.abs(step) > self._room
            if over.any():
                ratio = np.where(over, np.abs(step), 1.0) / np.where(over, np.maximum(self._room, TINY), 1.0)
                step = np.where(self._room > 0.0, step * np.ldexp(1.0, -np.ceil(np.log2(ratio)).astype(int)), 0.0)
        some = (self._grain > 0.0) & (step != 0.0)
        grain = self._grain[some]
        grains = np.abs(step[some]) / grain
        whole = np.where(grains < CERTAINLY_WHOLE, np.maximum(np.round(grains), 8.0) * grain, np.abs(step[some]))
        step[some] = np.copysign(whole, step[some])
        if self._room is not None:
            step[np.abs(step) > self._room] = 0.0
        return step

    def shrink(self) -> None:
        self.scale[:] = np.where(self.x != 0.0, np.abs(self.x), self.scale)

    def stay(self) -> bool:
        moved = bool(self._signs[self.x == 0.0].any())
        self._signs[self.x == 0.0] = 0.0
        return moved

    def nowhere(self) -> bool:
        return not self.x.any()

    def largest(self) -> float:
        return float(self.scale.max())

    def ones(self) -> None:
        self.scale[:] = 1.0


@lru_cache(maxsize=8)
def _jumps(n: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return what n steps of the generator multiply the seed with, and add."""
    powers = np.cumprod(np.full(n, MULTIPLIER, np.uint64), dtype=np.uint64)
    ones = np.concatenate([np.ones(1, np.uint64), powers[:-1]])
    return powers, np.cumsum(ones, dtype=np.uint64) * np.uint64(INCREMENT)


def _signs(seed: int, n: int) -> Floats:
    powers, sums = _jumps(n)
    some = np.array(SIGNS)[((powers * np.uint64(seed) + sums) >> np.uint64(TOP_BITS)).astype(np.intp)]
    found: Floats = np.array(THIRDS)[(np.arange(n) + seed) & 1] * some
    return found


def factors(seed: int, n: int) -> Floats:
    """Return 4/3 or 5/3 for each of n components."""
    return np.abs(_signs(seed, n))


# ------------------------------------------------------------------------------------------------- what it shows


class Seven:
    """Seven values on a line, their differences, and the noise that the third to sixth of them suggest."""

    smooth = False
    side = 0  # of the one defect
    even = False  # or odd

    def __init__(self, spacing: float, vector: Vector, values: list[float], f0: float, unit: float) -> None:
        self.spacing, self.vector, self.values = spacing, vector, values
        t, u, v, f, w, y, z = values  # by hand: six loops cost three times as much
        a0, a1, a2, a3, a4, a5 = a = u - t, v - u, f - v, w - f, y - w, z - y
        b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
        c0, c1, c2, c3 = self.thirds = b1 - b0, b2 - b1, b3 - b2, b4 - b3
        d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
        e0, e1 = d1 - d0, d2 - d1
        self.fifth = max(abs(e0), abs(e1))
        self.floor, self.spread = extent(values, f0, unit)
        self.levels = (
            THIRD * hypot(c0, c1, c2, c3),
            FOURTH * hypot(d0, d1, d2),
            FIFTH * hypot(e0, e1),
            SIXTH * abs(e1 - e0),
        )
        self.flat = a.count(0.0) >= 4

    @property
    def level(self) -> float:
        return median(self.levels)

    @property
    def one_signed(self) -> bool:
        """Whether the third differences are all of one sign: those of noise are not."""
        return min(self.thirds) > 0.0 or max(self.thirds) < 0.0

    def decays(self, floor: float) -> bool:
        """Say whether the differences fall off as those of a smooth function."""
        third, fourth, fifth, sixth = self.levels
        return fifth <= max(third / 8.0, 3.0 * floor) and sixth <= max(fourth / 4.0, 3.0 * floor)

    def defect(self, floor: float) -> int:
        """Return -1 or 1, the side of the one kink or jump in surroundings smooth to round-off; 0 without one."""
        if sorted(map(abs, self.thirds))[1] > 100.0 * floor:
            return 0
        w = self.values
        bends = [(w[k + 2] - w[k + 1]) - (w[k + 1] - w[k]) for k in range(5)]
        middle = median(bends)
        off = [abs(bend - middle) for bend in bends]
        return 1 if off.index(max(off)) >= 2 else -1

    def symmetric(self, level: float) -> bool:
        """Say whether what is not smooth is even or odd about x: noise is neither."""
        w = self.values
        odd = [(w[3 + k] - w[3 - k]) / 2.0 for k in (1, 2, 3)]
        even = [((w[3 + k] - w[3]) + (w[3 - k] - w[3])) / 2.0 for k in (1, 2, 3)]
        return (
            max(abs(odd[1] - 2.0 * odd[0]), abs(odd[2] - 3.0 * odd[0])) < 0.1 * level
            or max(abs(even[1] - 4.0 * even[0]), abs(even[2] - 9.0 * even[0])) < 0.1 * level
        )


class Line:
    """What the values on the line say of f around x.

    `sigma`: standard deviation of f's noise.
    `floor`: the least it can be: half an ulp, 0.29 quanta of the lattice that all values lie on.
    `rough`, `rough_spacing`, `odd`: size of what is neither smooth nor noise at the first spacing, that spacing, and
        whether it is even or odd about x.
    `bend`, `third`: second and third derivative along the line, per scale of x; 0 where they drown in the noise.
    `size`, `variation`: how much f changes on the scale of x, by slope and curvature; the same, no more than what was
        seen, and no less than 10 sigma.
    `spread`: the largest |f - f(x)| on the line.
    `flat`: whether f does not resolve the usual step.
    `vector`, `spacing`, `slope`, `doubt`: x + k vector are the points of the last look, `spacing` its size in scales,
        `slope` is df/dk there, and `doubt` how wrong that may be.
    `wider`: whether that look is a wide one, nearly straight, where a finer line was not.
    """

    sigma = rough = bend = third = size = variation = spread = slope = doubt = 0.0
    rough_spacing = spacing = SPACING
    odd = flat = wider = False
    vector: Vector | None = None
    floor = TINY

    @classmethod
    def declared(cls, noise: float, f0: float) -> Line:
        """Return what is taken to hold of an f whose noise is given: no point is evaluated."""
        line = cls()
        line.floor = max(HALF_EPS * abs(f0), TINY)
        line.sigma = max(noise, line.floor)
        line.size = line.variation = max(abs(f0), 10.0 * line.sigma)
        return line

    @classmethod
    def of_one_look(cls, once: Once, spread: float, vector: Vector) -> Line:
        """Return what `look_once` says."""
        line = cls()
        line.sigma, line.third, line.bend, line.size, line.variation, line.slope, line.doubt = once
        line.spread, line.vector = spread, vector
        return line

    def rescale(self, factor: float) -> None:
        """Take other units of f."""
        for name in ("sigma", "third", "bend", "size", "variation", "slope", "doubt", "spread"):
            setattr(self, name, factor * getattr(self, name))


def look_once(
    n: int,
    floor: float,
    reach: float,
    aside: bool,
    t: float,
    u: float,
    v: float,
    f: float,
    w: float,
    y: float,
    z: float,
) -> Once:
    """Say what `look_along` says, where one look tells enough; numba compiles this as it stands.

    `n`: components.
    `floor`, `reach`: the least noise, and the size of what is seen of f.
    `aside`: whether the points are to one side of x.
    `t`, `u`, `v`, `f`, `w`, `y`, `z`: the values, f(x) in the middle, or first.

    Returns sigma, third, bend, size, variation, slope, doubt: as in `Line`; `sigma` is 0 where one look does not tell
    enough.
    """
    a0, a1, a2, a3, a4, a5 = u - t, v - u, f - v, w - f, y - w, z - y
    b0, b1, b2, b3, b4 = a1 - a0, a2 - a1, a3 - a2, a4 - a3, a5 - a4
    c0, c1, c2, c3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
    d0, d1, d2 = c1 - c0, c2 - c1, c3 - c2
    e0, e1 = d1 - d0, d2 - d1
    last, e0, e1 = abs(e1 - e0), abs(e0), abs(e1)
    if not (SMALL < reach < LARGE and last < LARGE):  # nan anywhere makes the last difference nan
        return NOT_ENOUGH
    if a0 == 0.0 or a2 == 0.0 or a4 == 0.0:
        still = (a0 == 0.0) + (a1 == 0.0) + (a2 == 0.0) + (a3 == 0.0) + (a4 == 0.0) + (a5 == 0.0)
        if still >= 4:
            return NOT_ENOUGH
    third, fourth = THIRD * sqrt(c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3), FOURTH * sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    fifth, sixth = FIFTH * sqrt(e0 * e0 + e1 * e1), SIXTH * last
    p, q = fifth / floor, sixth / floor
    if p <= 3.0 and q <= 3.0:  # smooth down to round-off
        over = (p * p + q * q) / 2.0
        sigma = floor * sqrt(over) if over > 1.0 else floor
    else:  # a little noise
        level = max(min(third, fourth), min(fifth, sixth)) + min(max(third, fourth), max(fifth, sixth))
        if not level / 2.0 <= QUIET * floor:
            return NOT_ENOUGH
        sigma = max(min(fourth, fifth), min(max(fourth, fifth), sixth))
    if third > 4.0 * sigma and third > 4.0 * fourth:
        c0, c1, c2, c3 = abs(c0), abs(c1), abs(c2), abs(c3)
        third = (max(min(c0, c1), min(c2, c3)) + min(max(c0, c1), max(c2, c3))) / 2.0 / SPACING**3
    else:
        third = 0.0
    rise, bend = abs(z - t) / (6.0 * SPACING), abs((z - f) + (t - f)) / (9.0 * SPACING * SPACING)
    if not rise * 6.0 * SPACING >= 10.0 * sigma:
        return NOT_ENOUGH
    if bend * 9.0 * SPACING * SPACING <= 8.0 * sigma:
        bend = 0.0
    doubt = 4.0 * sigma + 0.1 * (e0 if e0 > e1 else e1)
    if aside:  # the slope amplifies noise 13 times, and the last difference 10 times
        slope = (-147.0 * t + 360.0 * u - 450.0 * v + 400.0 * f - 225.0 * w + 72.0 * y - 10.0 * z) / 60.0
        doubt *= 10.0
    else:  # the derivative at x, to sixth order
        slope = (45.0 * (w - v) - 9.0 * (y - u) + (z - t)) / 60.0
    size, bent = rise / sqrt(n), bend / n
    if size < bent:
        size = bent
    return sigma, third, bend, size, max(min(size, reach), 10.0 * sigma), slope, doubt


NOT_ENOUGH = (0.0,) * 7


def look_along(explorer: Explorer, course: Course | CourseOfMany, f0: float, unit: float) -> Line:
    """Look along the line: once where f is smooth. Changes the scales of the course where they are not f's."""
    n, out, aside, shrinks = len(course.x), Line(), course.aside, course.shorter
    spacing, near, widened, wide = SPACING, False, False, None  # the line that is nearly straight where a finer is not
    seen: list[Seven] = []
    bad: list[Seven] = []  # looks that are neither smooth nor known to be noise
    hushed = False  # what looks like noise vanishes beside x: waves or stairs
    for _ in range(LOOKS):
        vector = course.vector(spacing)
        w = explorer.along(vector, aside)
        if len(w) < 6 or not isfinite(sum(w)):  # beyond the domain: relative scales, entries 0 stay, then a finer line
            if course.nowhere():
                if not aside:
                    break
                spacing /= ENDS
                continue
            moved = course.stay()
            if near and not moved:
                spacing /= ENDS
            course.shrink()
            near = True
            continue
        w.insert(0 if aside else 3, f0)
        if spacing == SPACING and not seen:
            floor, spread = extent(w, f0, unit)
            once = look_once(n, floor, max(abs(f0), spread), aside, *w)
            if once[0] and not (shrinks and spread > 10.0 * abs(f0) > 0.0):
                return Line.of_one_look(once, spread, vector)
        look = Seven(spacing, vector, w, f0, unit)
        if shrinks and not near and look.spread > 10.0 * abs(f0) > 0.0:  # beyond the length of f
            course.shrink()
            near = True
            continue
        seen.append(look)
        floor = out.floor = look.floor
        out.spread = look.spread
        if look.flat:  # not resolved
            if bad:  # what a finer line does not resolve was noise
                out.sigma, bad = max(floor, bad[0].level), []
                break
            if not widened and not near and course.largest() < NEAR_ZERO:
                course.ones()
            elif spacing > 1e-3:
                break
            else:
                spacing *= ENDS
            widened = True
            continue
        levels = look.levels
        if hushed and bad and (look.spread < SAME * bad[0].level or levels[0] < STRAIGHT * bad[0].level):
            out.sigma, bad = max(q.level for q in bad), []  # stairs are noise
            break
        if levels[2] <= 3.0 * floor and levels[3] <= 3.0 * floor:  # smooth down to round-off
            look.smooth = True
            out.sigma = max(floor, HALF_ROOT * hypot(levels[2], levels[3]))
            break
        level = look.level
        if level <= QUIET * floor or widened:  # a little noise
            look.smooth = True
            out.sigma = median(levels[1:])
            break
        if look.decays(floor):  # smooth, on a short length: how noisy is it?
            look.smooth = True
            spacing *= FINER
            bad = []
            continue
        if shrinks and not near and level > 1e-3 * look.spread:
            course.shrink()
            near, wide = True, seen[0] if seen[0].level < 1e-3 * seen[0].spread else None
            continue
        look.side, look.even = look.defect(floor), not aside and look.symmetric(level)
        bad.append(look)
        doubt = level > DOUBT * abs(f0)
        if len(bad) > 1 and level >= SAME * bad[0].level:  # as large at a finer spacing: noise,
            jump = all(q.side == look.side != 0 for q in bad)  # unless it is one jump beside x,
            jump = jump or (aside and all(q.one_signed for q in bad))  # or infinite slope at the edge;
            doubt = doubt or all(q.even for q in bad)  # where it may be more, a third look
            root = len(bad) > 2 and level < SAME_ON_BOTH_SIDES * bad[0].level and all(q.even for q in bad)
            known = not (jump or root) and (not doubt or len(bad) > 2)
            if known and len(bad) < 4 and _vanishes(explorer, course, look, f0):
                hushed, known = True, False
            if known:
                out.sigma, bad = max(q.level for q in bad), []
                break
        if len(bad) == 4:
            break
        spacing /= 8.0 if len(bad) < 3 or hushed else 64.0
    if bad and bad[0].level > QUIET * (out.sigma or out.floor):
        out.rough, out.rough_spacing, out.odd = bad[0].level, bad[0].spacing, bad[0].even
    if not seen:
        out.sigma = out.floor = max(HALF_EPS * abs(f0), TINY)
        out.variation = out.size = max(abs(f0), 10.0 * out.sigma)
        return out
    out.flat, resolved = seen[0].flat, seen
    if len(seen) > 1:
        resolved = [q for q in seen if not q.flat] or seen
    if not out.sigma:
        out.sigma = 2.0 * out.floor if bad or seen[-1].flat else max(out.floor, seen[-1].level)
    sigma = out.sigma
    for q in resolved:  # the widest smooth look that shows third differences
        if q.smooth and q.levels[0] > 4.0 * max(sigma, q.levels[1]):
            _, low, high, _ = sorted(map(abs, q.thirds))
            third = (low + high) / 2.0 / q.spacing**3
            out.third = third if isfinite(third) else 0.0
            break
    last = resolved[-1] if resolved[-1].smooth or bad else resolved[0]
    if wide is not None:  # rounding that grows beside x? It is told if the slope there is another one
        last, unsure, out.wider = wide, 4.0 * wide.level, True
    else:
        unsure = 4.0 * sigma + 0.1 * last.fifth
    d = last.spacing
    t, u, v, f, p, y, z = last.values  # the derivative at x, to sixth order
    if aside:  # the slope amplifies noise 13 times, and the last difference 10 times
        unsure *= 10.0
        out.slope = (-147.0 * t + 360.0 * u - 450.0 * v + 400.0 * f - 225.0 * p + 72.0 * y - 10.0 * z) / 60.0
    else:
        out.slope = (45.0 * (p - v) - 9.0 * (y - u) + (z - t)) / 60.0
    if out.rough and not last.smooth:
        unsure += max(map(abs, last.thirds)) * (10.0 if aside else 1.0)
    out.spacing, out.vector, out.doubt = d, last.vector, unsure
    slope, bend = abs(z - t) / (6.0 * d), abs((z - f) + (t - f)) / (9.0 * d * d)
    if slope * 6.0 * d < 10.0 * sigma:  # it drowns in the noise
        slope, bend, d = _look_wider(out, slope, bend, d, explorer, course, f0, near)
    if out.rough and not last.smooth:  # there curvature says nothing of f's size, and the slopes to both sides do
        w, d = resolved[0].values, resolved[0].spacing
        slope, bend = max(abs(w[6] - w[3]), abs(w[0] - w[3])) / (3.0 * d), 0.0
    if bend * 9.0 * d * d <= 8.0 * sigma:
        bend = 0.0
    out.bend = bend
    out.size = max(slope / sqrt(n), bend / n)
    reach = max(abs(f0), out.spread)
    if sigma > NOISY * reach and out.size > UNSEEN * reach and not (out.rough or aside):  # a value near 0, in noise
        ends = explorer.beside(course.vector(WIDE), False)
        if isfinite(sum(ends)):
            reach = max(reach, *(abs(end - f0) for end in ends))
    out.variation = max(min(out.size, reach), 10.0 * sigma)
    return out


def _vanishes(explorer: Explorer, course: Course | CourseOfMany, look: Seven, f0: float) -> bool:
    """Say whether f bends by less than its noise would much nearer to x, but does bend: it does not move in stairs."""
    one, other = explorer.beside(course.vector(look.spacing * FINER), course.aside)
    bend = (one - other) + (f0 - other) if course.aside else (one - f0) + (other - f0)
    return 8.0 * look.floor < abs(bend) < SAME * look.level


def _look_wider(
    out: Line,
    slope: float,
    bend: float,
    d: float,
    explorer: Explorer,
    course: Course | CourseOfMany,
    f0: float,
    near: bool,
) -> tuple[float, float, float]:
    """Return slope, curvature and spacing on wider lines, up to one on which they are seen."""
    sigma = out.sigma
    wider = [(spacing, False) for spacing in (min(d * 256.0, WIDE), WIDE) if spacing > d]
    if course.largest() < 1.0 and not near:  # where x is small, at scale 1
        wider += [(2.0**-13, True), (2.0**-7, True)]
    for spacing, one in wider:
        far, other = explorer.beside(course.vector(spacing, one), course.aside)
        if not isfinite(far + other):
            break
        ends = (far - other, f0 - other) if course.aside else (far - f0, other - f0)
        seen_there = max(abs(far - f0), abs(other - f0))
        if one and seen_there <= 10.0 * sigma:
            continue
        slope, bend = abs(ends[0] - ends[1]) / (2.0 * spacing), abs(ends[0] + ends[1]) / spacing**2
        d = spacing / 3.0
        out.spread = max(out.spread, seen_there)
        if one:
            course.ones()
        if abs(ends[0] - ends[1]) > 10.0 * sigma or abs(ends[0] + ends[1]) > 20.0 * sigma:
            break
    return slope, bend, d


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two."""
    ordered = sorted(values)
    k = len(ordered) // 2
    return ordered[k] if len(ordered) % 2 else (ordered[k - 1] + ordered[k]) / 2.0


def extent(values: list[float], f0: float, unit: float) -> tuple[float, float]:
    """Return the least noise that values can have, and how far the farthest is from f(x)."""
    low, high, value = min(values), max(values), values[1]
    top = high if high > -low else -low
    floor = max(HALF_EPS * abs(f0), QUARTER_EPS * top, TINY)
    if not fmod(value, 16.0 * ulp(top)) or float(f"{value * unit:.11e}") == value * unit:  # nearly every f ends here
        floor = max(floor, 0.29 * quantum(values, top, unit))
    return floor, max(high - f0, f0 - low)


def quantum(values: Sequence[float], top: float, unit: float) -> float:
    """Return the spacing of the lattice that all values lie on, in units: binary of 16 ulp or more, decimal of 1e4.

    0 where there is none. `top` is the largest |value|; in decimals f's own values count, not those in units.
    """
    lattice, binary = 16.0 * ulp(top), True
    for value in values:  # two cheap looks, which nearly every f ends
        if fmod(value, lattice):
            binary = False
            break
    if not binary and float(f"{value * unit:.11e}") != value * unit:
        return 0.0
    whole = [value * unit for value in values if value]
    if len(whole) < 3 or min(whole) == max(whole):
        return 0.0
    if binary:
        bits = []
        for value in whole:
            mantissa, exponent = frexp(value)
            digits = int(mantissa * 2.0**53)
            bits.append(float(digits & -digits) * 2.0 ** (exponent - 53))
        return min(bits) / unit
    places = []
    for value in whole:
        text = f"{value:.11e}"
        if float(text) != value:
            return 0.0
        digits_text, power = text.split("e")
        places.append(10.0 ** (int(power) - len(digits_text.rstrip("0").partition(".")[2])))
    return min(places) / unit if min(places) >= 1e4 * ulp(max(map(abs, whole))) else 0.0
