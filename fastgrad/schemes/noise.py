r"""How noisy is f? A handful of values on one short line tell, whatever the number of components.

The difference table of equispaced values separates a smooth function, whose higher differences
vanish, from noise, whose differences grow like :math:`\binom{2k}{k}\sigma^2`
(Hamming 1973, Numerical Methods for Scientists and Engineers, chapter 6; Moré and Wild 2011,
SIAM J. Sci. Comput. 33, 1292: ECnoise).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import frexp, isfinite, ldexp, sqrt, ulp
from operator import mul
from statistics import median

import numpy as np

from ..core.validation import Floats

__all__ = ["Chord", "Noise", "difference_table", "levels_of", "probe", "quantum", "round_off", "scale_of"]

Line = Callable[[Floats], Floats]
Bounds = tuple[Floats, Floats]

EPS = float(np.finfo(np.float64).eps)
TINY = 1e-300  # stands for 0 where something is divided by a noise level

# The standard deviation of an error that is uniform on one quantum: 1/sqrt(12).
UNIFORM = 0.29
SPACING = 2.0**-19  # of the seven points, in units of the scale of x
FINER = 1.0 / 64.0  # a second look, to confirm noise: structure of f changes, noise does not
COARSER = 1024.0  # where f does not change at all
WIDER = 256.0  # where the slope drowns in the noise
WIDEST = 0.02
NEGLIGIBLE = 20.0  # so many round-offs are believed to be noise without a second look
TRIES = 4
NOISIER = 4.0  # in noise: worth a late probe; in steps: worth starting again after it
CHANGED = 16.0  # f of another size than when its noise was measured: the noise is not known

# gamma_k = (k!)^2 / (2k)!, the variance of noise over that of its k-th difference
_GAMMA = list(accumulate((j / (2.0 * (2 * j - 1)) for j in range(1, 7)), mul))
_CENTRED = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
_INWARD = np.arange(7.0)  # from x away from the bounds


@dataclass(frozen=True, slots=True)
class Noise:
    """What is known of f's noise and size.

    Attributes
    ----------
    level : float
        Standard deviation of f's noise around x.
    relative : float
        The same, relative to the largest value seen: noise grows with f.
    variation : float
        How much f changes when x changes by its scale, from slope and curvature; never from |f(x)|
        itself, which may be a large constant.
    slope, third : float
        First and third derivative along the line, per scale of x; 0 where they drown in the noise.
    magnitude : float
        |f(x)|, for a later call to compare with.
    measured : bool
        Whether f was probed, or round-off is all that is assumed.
    """

    level: float
    relative: float
    variation: float
    slope: float = 0.0
    third: float = 0.0
    magnitude: float = 0.0
    measured: bool = False

    @property
    def ratio(self) -> float:
        """Noise over variation: what decides how many digits can be had."""
        return min(max(self.level / self.variation, 1e-17), 1e-2)


@dataclass(frozen=True, slots=True)
class Chord:
    """How f changes along one short line through x: a gradient must agree with it."""

    vector: Floats
    rise: float
    doubt: float

    def contradicts(self, gradient: Floats, error: Floats) -> bool:
        """Say whether a gradient and its error bars cannot be right: some component is wrong."""
        missing = abs(float(self.vector @ gradient) - self.rise)
        return missing > float(np.abs(self.vector) @ error) + self.doubt


def round_off(f0: float) -> Noise:
    """Return what is assumed of an f that was not probed: correctly rounded, changing by its size."""
    size = max(abs(f0), TINY)
    return Noise(EPS * size, 0.3 * EPS, size, magnitude=abs(f0))


def scale_of(x: Floats) -> Floats:
    """Return the length on which f is first assumed to change: |x|, or up to 1 where others are larger."""
    size = np.abs(x)
    largest = size.max(initial=0.0)
    return np.maximum(size, min(1.0, largest) if largest > 0.0 else 1.0)


def quantum(values: Floats) -> float:
    """Return the spacing of the lattice that all values lie on; 0 if it is as fine as float64.

    A binary lattice of 16 or more ulp means that f computes in lower precision inside, a decimal one
    that it reads printed numbers.
    """
    seen = [v for v in values.tolist() if v != 0.0 and isfinite(v)]
    if len(seen) < 3 or min(seen) == max(seen):
        return 0.0
    unit = ulp(max(map(abs, seen)))
    step = min(map(_last_bit, seen))
    if step >= 16.0 * unit:
        return step
    if any(float(f"{v:.11e}") != v for v in seen):
        return 0.0
    smallest = min(map(_last_place, seen))
    return smallest if smallest >= 1e4 * unit else 0.0


def _last_bit(value: float) -> float:
    """Return the unit of the last binary digit that it takes to write a value."""
    mantissa, exponent = frexp(value)
    digits = int(mantissa * 2.0**53)
    return ldexp(float(digits & -digits), exponent - 53)


def _last_place(value: float) -> float:
    """Return the unit of the last decimal that it takes to write a value."""
    mantissa, exponent = f"{value:.11e}".split("e")
    decimals = len(mantissa.rstrip("0").partition(".")[2])
    return float(10.0 ** (int(exponent) - decimals))


def difference_table(values: list[float]) -> list[list[float]]:
    """Return the first to the sixth differences of seven values."""
    rows = []
    for _ in range(6):
        values = [b - a for a, b in pairwise(values)]
        rows.append(values)
    return rows


def levels_of(rows: list[list[float]]) -> list[float]:
    """Return the noise that each row of the difference table suggests."""
    levels = []
    for gamma, row in zip(_GAMMA, rows, strict=True):
        size = max(map(abs, row)) or 1.0  # squares of 1e200 overflow, of 1e-200 vanish
        levels.append(size * sqrt(gamma * sum((d / size) ** 2 for d in row) / len(row)))
    return levels


@lru_cache(maxsize=8)
def _direction(n: int) -> tuple[Floats, Floats]:
    """Signs, and short dyadic factors: exact points that share no alias with the function's round-off."""
    rng = np.random.default_rng(12345)
    signs, factors = np.where(rng.random(n) < 0.5, -1.0, 1.0), 1.0 + rng.integers(0, 32, n) / 32.0
    for array in (signs, factors):
        array.flags.writeable = False
    return signs, factors


def _power_of_two(h: Floats) -> Floats:
    return np.exp2(np.round(np.log2(h)))


def _places(spacing: Floats, x: Floats, bounds: Bounds | None) -> tuple[Floats, Floats]:
    """Return the seven multiples and the vector they multiply, such that x + k v is within the bounds."""
    signs = _direction(x.size)[0]
    if bounds is None:
        return _CENTRED, spacing * signs
    below, above = x - bounds[0], bounds[1] - x
    stays = np.minimum(below, above) >= 3.0 * spacing
    if 2 * np.count_nonzero(stays) >= x.size:
        return _CENTRED, np.where(stays, spacing * signs, 0.0)
    inward = np.where(above >= below, 1.0, -1.0)
    signs = np.where(np.minimum(below, above) >= 6.0 * spacing, signs, inward)
    return _INWARD, np.where(np.maximum(below, above) >= 6.0 * spacing, spacing * signs, 0.0)


@dataclass(slots=True)
class _Look:
    """Seven values, and what they say."""

    spacing: float
    level: float
    slope: float
    bend: float
    third: float
    vector: Floats | None
    rise: float


def probe(
    line: Line,
    x: Floats,
    f0: float,
    *,
    bounds: Bounds | None = None,
    origin: float = 0.0,
    level: float | None = None,
) -> tuple[Noise, Floats, Chord | None]:
    r"""Measure the noise level of f at x, and how much f varies.

    Parameters
    ----------
    line : callable
        Evaluates f at whole points of shape (k, n); returns shape (k,).
    x : ndarray of shape (n,)
        The point.
    f0 : float
        f(x), relative to `origin` as all values.
    bounds : tuple of ndarray, optional
        Lower and upper limits; no point is outside.
    origin : float
        What values are relative to.
    level : float, optional
        The noise level if it is known: then only the variation is measured.

    Returns
    -------
    noise : Noise
        Level and variation.
    scale : ndarray of shape (n,)
        The scale of x: purely relative where f turned out not to be defined farther away.
    chord : Chord or None
        What the gradient must agree with; None if the line did not pass through x in both directions.

    Notes
    -----
    The first row k of the difference table for which three successive estimates
    :math:`\sigma_k^2 = \frac{(k!)^2}{(2k)!}\,\overline{(\Delta^k f)^2}` agree within a factor 4, and
    which changes sign, is the noise (Moré and Wild 2011). Three guards were found necessary: values on
    a coarse lattice are at least 0.29 quanta wrong; a level far above round-off must be confirmed at a
    finer spacing, or it was a kink; where f is not defined or flat the spacing changes.
    6 evaluations in the median, at most 25.
    """
    n = x.size
    scale = scale_of(x)
    magnitude = abs(origin + f0)
    floor = max(0.5 * EPS * magnitude, TINY)
    spacing, estimate, best, candidate = SPACING, None, None, None
    widened, narrowed, spread = False, False, 0.0
    fine = 32.0 * np.spacing(np.abs(x))
    for _ in range(TRIES):
        steps = np.maximum(_power_of_two(spacing * scale) * _direction(n)[1], fine)
        multiples, vector = _places(steps, x, bounds)
        if not vector.any():
            break
        found = line(x + multiples[multiples != 0.0, None] * vector).tolist()
        at_x = int(np.flatnonzero(multiples == 0.0)[0])
        values = [*found[:at_x], f0, *found[at_x:]]
        if not all(map(isfinite, values)):
            near = np.where(x != 0.0, np.abs(x), scale / COARSER)
            if np.array_equal(near, scale):
                spacing /= COARSER
            scale = near
            continue
        rows = difference_table(values)
        levels = levels_of(rows)
        if not narrowed and _beyond(rows, magnitude):
            narrowed = True
            near = np.where(x != 0.0, np.abs(x), scale / COARSER)
            if not np.array_equal(near, scale):
                scale = near
                continue
        look = _look(values, rows, spacing, vector if at_x == 3 else None)
        if rows[0].count(0.0) >= 4:
            if candidate is not None:  # the finer spacing is not resolved: it was noise
                estimate, best = candidate.level, candidate
                break
            if spacing > 1e-3:
                break
            spacing *= COARSER
            widened = True
            continue
        spread = max(spread, *(abs(v - f0) for v in values))
        floor = max(floor, UNIFORM * quantum(origin + np.array(values)))
        if median(levels[2:]) <= 3.0 * floor:
            estimate, best = max(floor, median(levels[3:])), look
            if candidate is not None and estimate >= candidate.level / 2000.0:
                estimate = candidate.level
            break
        look.level = _accepted(levels, rows)
        if look.level:
            if look.level <= NEGLIGIBLE * floor or widened:
                estimate, best = look.level, look
                break
            if candidate is not None and look.level >= candidate.level / 2000.0:
                estimate, best = max(look.level, candidate.level), candidate
                break
            candidate = look
        else:
            top = min(levels[3:])
            estimate = top if estimate is None else min(top, estimate)
            best, candidate = look, None
        spacing *= FINER
    if best is None:
        best = candidate or _Look(spacing, 0.0, magnitude, 0.0, 0.0, None, 0.0)
    if estimate is None:
        estimate = candidate.level if candidate else floor
    sigma = max(estimate, floor) if level is None else max(level, EPS * TINY)
    largest = max(magnitude, spread, TINY)
    if best.slope * 6.0 * best.spacing < 10.0 * sigma and spread:
        _widen(line, x, f0, scale, bounds, sigma, best)
    bend = best.bend if best.bend * 9.0 * best.spacing**2 > 8.0 * sigma else 0.0
    variation = max(best.slope / sqrt(n), bend / n)
    variation = max(min(variation, max(magnitude, spread)), 10.0 * sigma)
    third = best.third if best.third * best.spacing**3 > 20.0 * sigma else 0.0
    noise = Noise(sigma, sigma / largest, variation, best.slope, third, magnitude, measured=True)
    if best.vector is None:
        return noise, scale, None
    # the central difference over six spacings errs by 9/6 third differences, and by noise
    doubt = 3.0 * best.third * best.spacing**3 + 2.0 * sigma
    return noise, scale, Chord(best.vector, best.rise, doubt)


def _look(values: list[float], rows: list[list[float]], spacing: float, vector: Floats | None) -> _Look:
    slope = abs(values[6] - values[0]) / (6.0 * spacing)
    bend = abs(values[6] + values[0] - 2.0 * values[3]) / (9.0 * spacing**2)
    third = median(map(abs, rows[2])) / spacing**3
    return _Look(spacing, 0.0, slope, bend, third, vector, (values[6] - values[0]) / 6.0)


def _beyond(rows: list[list[float]], magnitude: float) -> bool:
    """Say whether the line is longer than f's length: f changes by far more than it is, and not smoothly."""
    changes = [abs(d) for d in rows[0]]
    return max(changes) > 10.0 * magnitude and median(map(abs, rows[2])) > 0.1 * median(changes)


def _accepted(levels: list[float], rows: list[list[float]]) -> float:
    for k in range(4):
        window = levels[k : k + 3]
        if min(rows[k]) < 0.0 < max(rows[k]) and max(window) <= 4.0 * min(window):
            return levels[k]
    return 0.0


def _widen(line: Line, x: Floats, f0: float, scale: Floats, bounds: Bounds | None, sigma: float, best: _Look) -> None:
    """Look for the slope on a wider line, where it is larger than the noise."""
    wide = best.spacing
    for _ in range(2):
        wide = min(wide * WIDER, WIDEST)
        steps = np.maximum(_power_of_two(wide * scale), np.spacing(np.abs(x)))
        # a centred line of half a point each: -1 and 1 are within -3 and 3
        multiples, vector = _places(steps / 3.0, x, bounds)
        if multiples[0] == 0.0 or not vector.any():
            return
        ends = line(np.stack([x - 3.0 * vector, x + 3.0 * vector])).tolist()
        if not all(map(isfinite, ends)):
            return
        change, bend = abs(ends[1] - ends[0]), abs(ends[1] + ends[0] - 2.0 * f0)
        best.slope, best.bend, best.spacing = change / (2.0 * wide), bend / wide**2, wide / 3.0
        best.third, best.vector = 0.0, None
        if change > 10.0 * sigma or bend > 20.0 * sigma or wide >= WIDEST:
            return
