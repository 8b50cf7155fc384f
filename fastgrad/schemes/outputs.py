"""Noise and size of each of f's values, from one line of seven points: the gradient's rule, for many outputs at once.

A short line through x tells noise from structure, for its differences fall off where f is smooth and grow where it is
noisy (Moré and Wild 2011, SIAM J. Sci. Comput. 33, 1292). What is neither smooth nor clearly noise is looked at again
on lines 64 times shorter: noise stays as it is there, a kink or structure does not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import cbrt, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import ENDS, EPS, FINER, JUMPS, NEAR_ZERO, QUIET, SAME, SPACING, THIRDS, TINY
from .stencils import Stencil, central

CENTRAL = central(2)
WIDER, WIDEST = 256.0, 0.02  # where the slopes drown in the noise
LOOKS = 3
STEP = 1e-6  # of f: a step of single precision, and the one back
BETWEEN = 8.0  # times as far as the second look
BLOCK = 2048
TRIES = 6
CLOSE, DIM = 2.0**-4, 1e-6  # so small an x is moved by more where bars are a larger share of the largest entry
FEW = 1000  # so many outputs are asked whether their values are printed decimals: in Python, for 0.5 µs each

# the k-th differences among all, and what makes the noise that they suggest of their squares
ROWS = [(0, 6), (6, 11), (11, 15), (15, 18), (18, 20), (20, 21)]
MEANS = np.zeros((6, 21))
for _k, (_begin, _end) in enumerate(ROWS, 1):
    MEANS[_k - 1, _begin:_end] = factorial(_k) ** 2 / factorial(2 * _k) / (_end - _begin)

Evaluate = Callable[[list[Floats]], Floats]
Flags = NDArray[np.bool_]


class Beyond(Exception):
    """The line is longer than f's length, or leaves its domain: coordinates are to be moved relative to themselves."""


class Short(Exception):
    """Some outputs change only farther away than x is from 0: coordinates are to be moved as if they were 0."""

    def __init__(self, outputs: Flags) -> None:
        super().__init__()
        self.outputs = outputs


@dataclass(slots=True)
class Outputs:
    """What the line says of each output; all of shape (m,).

    Attributes
    ----------
    sigma : ndarray
        Standard deviation of its noise.
    floor : ndarray
        The least that can be.
    variation : ndarray
        How much it changes when one direction is followed as far as x's scale.
    spread : ndarray
        The largest change that was seen.
    third : ndarray
        Third derivative along the line, per scale of x; 0 where it drowns in the noise.
    rough : ndarray of bool
        Whether it is neither smooth nor noisy near x.
    slope, doubt : ndarray
        Its derivative along `factors`, and how wrong that may be; inf where it is not known.
    factors : ndarray
        The line goes so far along each coordinate, in units.
    jumps : ndarray of bool
        Whether it moves in jumps that are not small beside its changes.
    bend : ndarray
        Second derivative along one direction, per scale of x, if all are alike.
    coarse : ndarray of bool
        Whether it stands still on the line and changes farther away.
    """

    sigma: Floats
    floor: Floats
    variation: Floats
    spread: Floats
    third: Floats
    rough: Flags
    slope: Floats
    doubt: Floats
    factors: Floats
    jumps: Flags
    bend: Floats
    coarse: Flags


def _pseudo_random(count: int) -> Floats:
    """Return pseudo-random numbers of size 4/3 to 5/3 (SplitMix64, by Steele, Lea and Flood 2014, OOPSLA)."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    sizes = THIRDS[0] + (THIRDS[1] - THIRDS[0]) * 2.0**-53 * (mixed >> np.uint64(11)).astype(np.float64)
    return np.where(mixed & np.uint64(1), sizes, -sizes)


PERIOD = 4093  # a prime: no grid repeats with it
SIGNS = np.tile(_pseudo_random(PERIOD), 2)


def signs(x: Floats, count: int) -> Floats:
    """Return pseudo-random numbers of size 4/3 to 5/3 that follow from x's own bytes.

    They are no multiples of any lattice; and all differ, or the neighbours of a stencil would cancel.
    """
    begin = zlib.crc32(x) % PERIOD  # type: ignore[arg-type]  # an array is a buffer
    some = SIGNS[begin : begin + PERIOD]
    return some[:count] if count <= PERIOD else np.resize(some, count)


def middle_of_three(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the median of each three numbers; np.median is ten times as slow."""
    found: Floats = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return found


def middle_of_four(a: Floats, b: Floats, c: Floats, d: Floats) -> Floats:
    """Return the median of each four numbers."""
    low, high = np.maximum(np.minimum(a, b), np.minimum(c, d)), np.minimum(np.maximum(a, b), np.maximum(c, d))
    return 0.5 * (low + high)


class _Seven:
    """Seven values of each output: their differences, and the noise that these suggest."""

    def __init__(self, spacing: float, values: Floats, f0: Floats) -> None:
        self.spacing, self.values = spacing, values
        table = np.empty((21, values.shape[1]))
        rows, row = [], values
        for begin, end in ROWS:
            row = np.subtract(row[1:], row[:-1], out=table[begin:end])
            rows.append(row)
        self.levels = np.empty((6, values.shape[1]))
        for begin in range(0, values.shape[1], BLOCK):  # of many outputs so few as stay in the cache
            some = table[:, begin : begin + BLOCK]
            top = np.maximum(np.abs(some).max(axis=0), TINY)  # squares of 1e200 overflow, of 1e-200 vanish
            self.levels[:, begin : begin + BLOCK] = top * np.sqrt(MEANS @ np.square(some / top))
        self.rows = rows
        self.level = middle_of_four(*self.levels[2:])
        self.spread = np.abs(values - f0).max(axis=0)
        self.floor = np.maximum(np.maximum(0.5 * EPS * np.abs(f0), 0.25 * EPS * np.abs(values).max(axis=0)), TINY)
        self.flat = np.count_nonzero(rows[0] == 0, axis=0) >= 4
        # also where f looks smooth: its steps may happen to be whole multiples of the lattice
        self.floor = np.maximum(self.floor, 0.29 * quanta_of(values))

    @property
    def smooth(self) -> Flags:
        found: Flags = np.maximum(self.levels[4], self.levels[5]) <= 3.0 * self.floor
        return found

    @property
    def stepped(self) -> Flags:
        """Whether it moves by a step as small as one of single precision.

        A kink bends to one side, a step to both; and an odd root does so all along the line.
        """
        bends, thirds = self.rows[1], self.rows[2]
        middle = np.median(bends, axis=0)
        sums = np.abs(bends[1:] + bends[:-1] - 2.0 * middle)
        largest = np.abs(thirds).max(axis=0)
        sum_there = np.where(np.abs(thirds) == largest, sums, 0.0).max(axis=0)
        sizes = np.sort(np.abs(bends - middle), axis=0)
        found: Flags = (sum_there < 0.2 * largest) & (largest < STEP * np.abs(self.values).max(axis=0))
        found &= sizes[-3] < 0.2 * sizes[-1]
        return found

    @property
    def decays(self) -> Flags:
        a, floor = self.levels, 3.0 * self.floor
        found: Flags = (a[4] <= np.maximum(a[2] / 8, floor)) & (a[5] <= np.maximum(a[3] / 4, floor))
        return found


def quanta_of(values: Floats) -> Floats:
    """Return the spacing of the lattice on which the values of each output lie; 0 where it is as fine as float64.

    A binary lattice of 16 or more ulp means that f computes in lower precision inside, a decimal one that its values
    were printed.
    """
    quanta = np.zeros(values.shape[1])
    coarse = ~np.bitwise_or.reduce(values.view(np.int64) & 15, axis=0).astype(bool)  # no digit is 8 ulp or finer
    if coarse.any():
        quanta[coarse] = _last_bits(values[:, coarse])
    if values.shape[1] <= FEW:
        for i, column in enumerate(values.T.tolist()):
            if not coarse[i] and float(f"{column[0]:.11e}") == column[0]:
                quanta[i] = _last_place(column)
    return quanta


def _last_bits(values: Floats) -> Floats:
    """Return the unit of the last binary digit that each output's values need; 0 where that is finer than 16 ulp."""
    mantissa, exponent = np.frexp(values)
    digits = (np.abs(mantissa) * 2.0**53).astype(np.int64)
    last = np.ldexp((digits & -digits).astype(np.float64), exponent - 53)
    last[values == 0] = np.inf
    step, unit = last.min(axis=0), np.spacing(np.abs(values).max(axis=0))
    seen = (np.count_nonzero(values, axis=0) >= 3) & (values.min(axis=0) != values.max(axis=0))
    return np.where(seen & (step >= 16.0 * unit), step, 0.0)


def _last_place(values: list[float]) -> float:
    """Return the unit of the last decimal of values of at most 12 digits; 0 for others, and for too few of them."""
    if min(values) == max(values) or values.count(0.0) > 4:
        return 0.0
    places = []
    for value in values:
        text = f"{value:.11e}"
        if float(text) != value:
            return 0.0
        mantissa, exponent = text.split("e")
        if value:
            places.append(10.0 ** (int(exponent) - len(mantissa.rstrip("0").partition(".")[2])))
    place, unit = float(min(places, default=0.0)), float(np.spacing(max(map(abs, values))))
    return place if place >= 1e4 * unit else 0.0


def look_along(
    evaluate: Evaluate,
    x: Floats,
    f0: Floats,
    count: int,
    terms: Any,
    line: Callable[[Floats], Floats],
    factors: Callable[[Floats], Floats],
    bounds: tuple[Floats, Floats] | None,
    noise: float | None,
    shrinks: bool | Flags,
    side: int = 0,
    unit: float = 1.0,
) -> Outputs:
    """Look along one line, and again only where an output is not smooth there.

    Parameters
    ----------
    evaluate : callable
        Evaluates f at whole points; returns one row of values for each.
    x : ndarray of shape (n,)
        The point.
    f0 : ndarray of shape (m,)
        f(x).
    count : int
        How many coordinates the line may move.
    terms : int or ndarray of shape (m,)
        On how many of these each output depends, at most.
    line : callable
        Makes a direction in x of factors, one for each coordinate; such that small multiples of it are exact.
    factors : callable
        The inverse.
    bounds : tuple of ndarray, optional
        Lower and upper; no point is outside.
    noise : float, optional
        Standard deviation of the noise of every output, where it is known.
    shrinks : bool or ndarray of bool, shape (m,)
        Whether some coordinate is much smaller than its scale; and which outputs can tell that this is too long.
    side : int
        1 or -1: all points are to this side of x, where there is room.
    unit : float
        The largest unit; where that is small, all coordinates have it, and may be moved by 1.

    Raises
    ------
    Beyond
        If the line is too long and `shrinks`.
    Short
        If outputs drown in their noise there, and change as x is moved as far as if it were 0.
    """
    m, z = f0.size, signs(x, count)
    if side:
        z = side * np.abs(z)
    out = Outputs(
        sigma=np.maximum(0.5 * EPS * np.abs(f0), TINY),
        floor=np.maximum(0.5 * EPS * np.abs(f0), TINY),
        variation=np.abs(f0),
        spread=np.zeros(m),
        third=np.zeros(m),
        rough=np.zeros(m, dtype=bool),
        slope=np.zeros(m),
        doubt=np.full(m, np.inf),
        factors=np.zeros(count),
        jumps=np.zeros(m, dtype=bool),
        bend=np.zeros(m),
        coarse=np.zeros(m, dtype=bool),
    )
    alive: Flags = np.isfinite(f0)
    spacing, widened = SPACING, False
    looks: list[_Seven] = []
    unclear = alive.copy()
    aside = side != 0
    for _ in range(TRIES):
        vector = line(spacing * z)
        if bounds is not None:
            vector, aside = _inside(x, vector, bounds, aside)
        if not vector.any():
            break
        out.factors = factors(vector)
        at_x = 0 if aside else 3
        found = evaluate([x + (k - at_x) * vector for k in range(7) if k != at_x])
        values = np.concatenate([found[:at_x], f0[None], found[at_x:]])
        finite = np.logical_and.reduce(np.isfinite(values), axis=0)
        if not np.all(finite[alive]):
            if shrinks is not False:
                raise Beyond
            if spacing < 2.0**-40:
                break
            spacing /= ENDS  # beyond the domain of f
            continue
        look = _Seven(spacing, np.where(alive, values, 0.0), np.where(alive, f0, 0.0))
        small = 0.0 < unit < NEAR_ZERO and not (looks or widened)
        if look.flat[alive].all() and not widened and not looks:
            if small:
                _watch_unmoved(alive, look.floor, evaluate, x, f0, lambda reach: line(reach / unit * z), bounds)
            spacing, widened = spacing * ENDS, True
            continue
        stepped = _judge(out, look, looks, unclear)
        if small:
            sigma = np.where(unclear, look.level, out.sigma)
            drowned = alive & (np.abs(look.values[6] - look.values[0]) < 10.0 * sigma)
            _watch_unmoved(drowned, sigma, evaluate, x, f0, lambda reach: line(reach / unit * z), bounds)
        if np.any(shrinks & unclear & (look.level > 1e-3 * look.spread)):
            raise Beyond
        looks.append(look)
        if len(looks) == LOOKS:
            break
        if unclear.any() or stepped:  # another output may move by steps, too, and have looked smooth by luck
            spacing *= FINER
            continue
        # a kink does not show at a spacing between; where x or a term is rounded, luck alone was smooth
        if len(looks) != 2 or aside or not (out.rough & look.smooth).any():
            break
        unclear |= out.rough & look.smooth
        out.rough &= ~unclear
        spacing *= BETWEEN
    if not looks:
        out.variation = np.maximum(out.variation, 10.0 * out.sigma)
        return out
    out.rough |= unclear
    if noise is not None:
        out.sigma = np.maximum(noise, out.floor)
    _measure(out, looks, z, terms, aside, evaluate, x, f0, line, bounds)
    still = alive & looks[0].flat
    if still.any() and not widened:
        points = _beside(x, line(WIDEST * z), bounds, aside)
        _watch_from_afar(out, still, np.vstack([f0, evaluate(points)]), terms)
    if widened:  # the usual step is not resolved
        out.jumps = (out.spread > 0) & (out.sigma > JUMPS * out.variation)
    return out


def _watch_unmoved(
    drowned: Flags,
    sigma: Floats,
    evaluate: Evaluate,
    x: Floats,
    f0: Floats,
    line: Callable[[float], Floats],
    bounds: tuple[Floats, Floats] | None,
) -> None:
    """Look whether outputs that drown as a small x moves by its own size change where it moves as if it were 0."""
    for reach in (SPACING, WIDEST):
        if not drowned.any():
            return
        change = np.abs(evaluate(_beside(x, line(reach), bounds)) - f0)
        moved = drowned & (np.where(np.isfinite(change), change, 0.0) > 10.0 * sigma).any(axis=0)
        if moved.any():
            raise Short(moved)


def _beside(x: Floats, vector: Floats, bounds: tuple[Floats, Floats] | None, aside: bool = False) -> list[Floats]:
    """Return two points along a vector, within the bounds: on both sides of x, or both aside."""
    points = np.stack([x + vector, x + 2.0 * vector if aside else x - vector])
    if bounds is not None:
        np.clip(points, *bounds, out=points)
    return list(points)


def small_and_dim(x: Floats, entries: Floats, error: Floats) -> bool:
    """Whether x is small, and f hardly changes as it moves by its own size: it may be moved as if it were 0."""
    largest = float(np.abs(x).max(initial=0.0))
    return 0.0 < largest < CLOSE and not error.max(initial=0.0) <= DIM * np.abs(entries).max(initial=0.0)


def _watch_from_afar(out: Outputs, still: Flags, values: Floats, terms: Any) -> None:
    """Look for the lattice of outputs that do not change on the line, while others do: it may be coarser than that."""
    out.coarse = moves = still & np.isfinite(values).all(axis=0) & (values != values[0]).any(axis=0)
    if moves.any():
        values = np.where(moves, values, 0.0)
        np.maximum(out.sigma, 0.29 * quanta_of(values), out=out.sigma)
        size = np.ptp(values, axis=0) / (2.0 * WIDEST) / np.sqrt(terms)
        np.copyto(out.variation, np.maximum(size, 10.0 * out.sigma), where=moves)


def _inside(x: Floats, vector: Floats, bounds: tuple[Floats, Floats], aside: bool) -> tuple[Floats, bool]:
    """Keep the line within bounds: leave out coordinates that are too near to one; if that is all, go to one side."""
    below, above = x - bounds[0], bounds[1] - x
    stays = np.minimum(below, above) >= 3.0 * np.abs(vector)
    if aside:
        stays = np.where(vector > 0.0, above, below) >= 6.0 * np.abs(vector)
    if (stays & (vector != 0)).any():
        return np.where(stays, vector, 0.0), aside
    inward = np.where(above >= below, 1.0, -1.0) * np.abs(vector)
    return np.where(np.maximum(below, above) >= 6.0 * np.abs(vector), inward, 0.0), True


def _judge(out: Outputs, look: _Seven, before: list[_Seven], unclear: Flags) -> bool:
    """Say of each unclear output whether it is smooth here, or noisy; strikes it out then.

    Returns whether one moves by steps.
    """
    by_steps = False
    floor = out.floor
    np.copyto(floor, np.maximum(look.floor, 0.0), where=unclear)
    levels = look.levels
    smooth = unclear & look.smooth
    rms = np.sqrt(0.5) * np.hypot(levels[4], levels[5])
    np.copyto(out.sigma, np.maximum(floor, rms), where=smooth)
    noisy = unclear & ~smooth & (look.level <= QUIET * floor)
    if before:
        # steps that were whole multiples of a lattice beneath other digits: what looked smooth was no more than that
        hidden = ~unclear & (look.level > np.maximum(QUIET * look.floor, before[0].level))
        np.copyto(out.sigma, np.maximum(out.sigma, look.level), where=hidden)
        noisy |= unclear & ~smooth & (look.level >= SAME * before[-1].level)
        # what a finer line does not resolve was noise
        lost = unclear & look.flat & ~before[-1].flat
        np.copyto(out.sigma, np.maximum(floor, before[-1].level), where=lost)
        smooth |= lost
        noisy &= ~lost
        np.copyto(out.sigma, np.maximum(look.level, before[-1].level), where=noisy)
    else:
        np.copyto(out.sigma, middle_of_three(*levels[3:]), where=noisy)
        stepped = unclear & ~smooth & ~noisy
        if stepped.any():
            stepped &= look.stepped
            np.copyto(out.sigma, look.level, where=stepped)
            noisy |= stepped
            by_steps = bool(stepped.any())
    if before:  # it was neither at the first spacing, and did not fall off as something smooth
        out.rough |= (smooth & ~look.flat | noisy & (look.level < SAME * before[0].level)) & ~before[0].decays
    unclear &= ~(smooth | noisy)
    np.copyto(out.sigma, 2.0 * floor, where=unclear)
    return by_steps


def _measure(
    out: Outputs,
    looks: list[_Seven],
    z: Floats,
    terms: Any,
    aside: bool,
    evaluate: Evaluate,
    x: Floats,
    f0: Floats,
    line: Callable[[Floats], Floats],
    bounds: tuple[Floats, Floats] | None,
) -> None:
    """Slopes, curvatures and third derivatives along the line."""
    sigma = out.sigma
    first, last = looks[0], looks[-1]
    shows = first.levels[2] > 4.0 * np.maximum(sigma, first.levels[3])
    if shows.any():
        out.third = np.where(shows, middle_of_four(*np.abs(first.rows[2])) / first.spacing**3, 0.0)
    w, d = first.values, first.spacing
    slope, bend = np.abs(w[6] - w[0]) / (6.0 * d), np.abs((w[6] - w[3]) + (w[0] - w[3])) / (9.0 * d * d)
    if aside:
        slope, bend = np.abs(w[6] - w[0]) / (6.0 * d), np.abs(w[6] - 2.0 * w[3] + w[0]) / (9.0 * d * d)
    else:
        v = last.values
        out.slope = (45.0 * (v[4] - v[2]) - 9.0 * (v[5] - v[1]) + (v[6] - v[0])) / 60.0
        out.doubt = 4.0 * sigma + 0.1 * np.abs(last.rows[4]).max(axis=0)
        if out.rough.any():
            out.doubt += np.where(out.rough, np.abs(last.rows[2]).max(axis=0), 0.0)
    out.spread = np.maximum(out.spread, first.spread)
    wide = np.full(f0.size, d)
    alive: Flags = np.isfinite(f0)
    for spacing in (min(d * WIDER, WIDEST), WIDEST):
        if aside or bounds is not None or spacing <= d:
            break
        drowns = alive & (slope * 6.0 * wide < 10.0 * sigma) & (bend * 9.0 * wide**2 < 20.0 * sigma) & ~first.flat
        if 2 * np.count_nonzero(drowns) <= np.count_nonzero(alive):
            break
        v = line(spacing * z)
        ends = evaluate([x + v, x - v]) - f0
        if not np.isfinite(ends[:, alive]).all():
            break
        np.copyto(slope, np.abs(ends[0] - ends[1]) / (2.0 * spacing), where=drowns)
        np.copyto(bend, np.abs(ends[0] + ends[1]) / spacing**2, where=drowns)
        np.copyto(wide, spacing / 3.0, where=drowns)
        out.spread = np.maximum(out.spread, np.where(drowns, np.abs(ends).max(axis=0), 0.0))
    bend = np.where(bend * 9.0 * wide * wide <= 8.0 * sigma, 0.0, bend)
    out.bend = bend / terms
    size = np.maximum(slope / np.sqrt(terms), out.bend)
    seen = np.maximum(np.abs(np.where(alive, f0, 0.0)), out.spread)
    out.variation = np.maximum(np.minimum(size, seen), 10.0 * sigma)


def step_of(out: Outputs, terms: Any, stencil: Stencil) -> Any:
    """Return the step, in scales of x, that suits each output, and that of most of them: a power of two."""
    ratio = np.clip(out.sigma / out.variation, 1e-17, 1e-2)
    step = root = np.cbrt(ratio)
    if stencil != CENTRAL:
        step = (stencil.best * ratio) ** (1.0 / (stencil.order + 1))
    third = out.third > 0
    if third.any():
        # separate terms show sqrt(terms) f''', coupled ones up to terms**1.5 f'''
        seen = np.where(third, out.third, 1.0)
        shorter = np.maximum(np.cbrt(3.0 * out.sigma * np.sqrt(terms) / seen), 1e-13)
        some = third & (shorter * np.cbrt(terms) < 0.5 * root)
        shorter = shorter * np.sqrt(np.cbrt(terms))
        step = np.where(some, shorter if step is root else step * (shorter / root), step)
    counts = out.variation > 10.0 * out.sigma
    those = step[counts] if counts.any() else step[np.isfinite(step)]
    usual = float(np.partition(those, those.size // 2)[those.size // 2]) if those.size else cbrt(EPS)
    return step, 2.0 ** round(np.log2(usual))
