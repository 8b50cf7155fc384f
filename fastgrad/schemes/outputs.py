"""Noise and size of each of f's values, from one line of seven points: the gradient's rule, for many outputs at once.

A short line through x tells noise from structure, for its differences fall off where f is smooth and grow where it is
noisy (Moré and Wild 2011, SIAM J. Sci. Comput. 33, 1292). What is neither smooth nor clearly noise is looked at again
on lines 64 times shorter: noise stays as it is there, a kink or structure does not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import cbrt, factorial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import ENDS, EPS, FINER, HALF_ROOT, JUMPS, NEAR_ZERO, QUIET, SAME, SPACING, THIRDS, TINY
from .line import NOISY, UNSEEN
from .seeds import Seeds
from .stencils import Stencil, central

CENTRAL = central(2)
WIDER, WIDEST = 256.0, 0.02  # where the slopes drown in the noise
LOOKS = 3
STEP = 1e-6  # of f: a step of single precision, and the one back
BETWEEN = 8.0  # times as far as the second look
BLOCK = 2048
TRIES = 6
CLOSE, DIM = 2.0**-4, 1e-6  # so small an x is moved by more where bars are a larger share of the largest entry
AROUND, ASIDE = (
    np.array(places)[:, None] for places in ([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
)
FEW = 1000  # so many outputs are asked whether their values are printed decimals: in Python, for 0.5 µs each

# the third to sixth differences among all, and what makes the noise that they suggest of their squares
ROWS = [(0, 4), (4, 7), (7, 9), (9, 10)]
MEANS = np.zeros((4, 10))
for _k, (_begin, _end) in enumerate(ROWS, 3):
    MEANS[_k - 3, _begin:_end] = factorial(_k) ** 2 / factorial(2 * _k) / (_end - _begin)

Flags = NDArray[np.bool_]
largest, every = np.maximum.reduce, np.logical_and.reduce  # as methods they take twice as long


class Explorer(Protocol):
    """f of many values around one point."""

    def value(self) -> Floats:
        """Return f(x), flat."""
        ...

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points that nobody asked for: where f raises as outside of its domain, it is nan.

        Returns one row of values for each.
        """
        ...


class Beyond(Exception):
    """The line is longer than f's length, or leaves its domain: coordinates are to be moved relative to themselves.

    `moved`: which outputs change along it; none is known to, where it leaves the domain.
    """

    def __init__(self, moved: Flags) -> None:
        super().__init__()
        self.moved = moved


class Short(Exception):
    """Some outputs change only farther away than x is from 0: coordinates are to be moved as if they were 0."""

    def __init__(self, outputs: Flags) -> None:
        super().__init__()
        self.outputs = outputs


@dataclass(slots=True)
class Outputs:
    """What the line says of each output; all of shape (m,)."""

    sigma: Floats  # standard deviation of its noise
    floor: Floats  # the least that can be
    variation: Floats  # how much it changes when one direction is followed as far as x's scale
    spread: Floats  # the largest change that was seen
    third: Floats  # third derivative along the line, per scale of x; 0 where it drowns in the noise
    rough: Flags  # whether it is neither smooth nor noisy near x
    # its derivative along `factors`, and how wrong that may be; inf where it is not known
    slope: Floats
    doubt: Floats
    factors: Floats  # the line goes so far along each coordinate, in units
    jumps: Flags  # whether it moves in jumps that are not small beside its changes
    bend: Floats  # second derivative along one direction, per scale of x, if all are alike
    # shape (7, m), or empty: at x - 3 to x + 3 times the first look's factors, which are `wider` so many times
    values: Floats
    wider: float
    coarse: Flags  # whether it stands still on the line and changes farther away


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
_MORE_SIGNS = np.tile(SIGNS, 4)  # a slice of it takes a third of the time that np.resize does


def signs(x: Floats, count: int, scale: float = 1.0) -> Floats:
    """Return pseudo-random numbers of size 4/3 to 5/3, times a power of two, that follow from x's own bytes.

    They are no multiples of any lattice; and all differ, or the neighbours of a stencil would cancel.
    """
    # of many the sum of their bits says as much, in a tenth of the time, and in whatever order it is taken
    said = x if x.size <= PERIOD else x.view(np.uint64).sum()
    begin = zlib.crc32(said) % PERIOD  # type: ignore[arg-type]  # an array is a buffer
    if begin + count <= _MORE_SIGNS.size:
        return _MORE_SIGNS[begin : begin + count] * scale
    return np.resize(SIGNS[begin : begin + PERIOD] * scale, count)


def middle_of_three(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the median of each three numbers; np.median is ten times as slow."""
    found: Floats = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return found


def middle_of_four(a: Floats, b: Floats, c: Floats, d: Floats) -> Floats:
    """Return the median of each four numbers."""
    low, high = np.maximum(np.minimum(a, b), np.minimum(c, d)), np.minimum(np.maximum(a, b), np.maximum(c, d))
    return 0.5 * (low + high)


class _Seven:
    """Seven values of each output: their differences, and the noise that the third to sixth of these suggest."""

    def __init__(self, spacing: float, values: Floats, f0: Floats) -> None:
        self.spacing, self.values, m = spacing, values, f0.size
        self.steps = steps = values[1:] - values[:-1]
        self.bends = row = steps[1:] - steps[:-1]
        table = np.empty((10, m))
        for begin, end in ROWS:
            row = np.subtract(row[1:], row[:-1], out=table[begin:end])
        self.levels = np.empty((4, m)) if m > BLOCK else _levels(table)
        for begin in range(0, m, BLOCK) if m > BLOCK else ():  # of many outputs so few as stay in the cache
            self.levels[:, begin : begin + BLOCK] = _levels(table[:, begin : begin + BLOCK])
        self.thirds, self.fifths = table[:4], table[7:9]
        self.level = middle_of_four(*self.levels)
        self.spread = largest(np.abs(values - f0))
        self.floor = np.maximum(np.maximum(0.5 * EPS * np.abs(f0), 0.25 * EPS * largest(np.abs(values))), TINY)
        self.flat: Flags = np.zeros(m, bool) if steps.all() else np.count_nonzero(steps == 0, axis=0) >= 4
        # also where f looks smooth: its steps may happen to be whole multiples of the lattice
        self.floor = np.maximum(self.floor, 0.29 * quanta_of(values))
        self.smooth: Flags = np.maximum(self.levels[2], self.levels[3]) <= 3.0 * self.floor

    @property
    def stepped(self) -> Flags:
        """Whether it moves by a step as small as one of single precision.

        A kink bends to one side, a step to both; and an odd root does so all along the line.
        """
        bends, thirds = self.bends, self.thirds
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
        (third, fourth, fifth, sixth), floor = self.levels, 3.0 * self.floor
        found: Flags = (fifth <= np.maximum(third / 8, floor)) & (sixth <= np.maximum(fourth / 4, floor))
        return found


def _levels(table: Floats) -> Floats:
    top = np.maximum(largest(np.abs(table)), TINY)  # squares of 1e200 overflow, of 1e-200 vanish
    found: Floats = top * np.sqrt(MEANS @ np.square(table / top))
    return found


def quanta_of(values: Floats) -> Floats:
    """Return the spacing of the lattice on which the values of each output lie; 0 where it is as fine as float64.

    A binary lattice of 16 or more ulp means that f computes in lower precision inside, a decimal one that its values
    were printed.
    """
    quanta = np.zeros(values.shape[1])
    digits = np.bitwise_or.reduce(values.view(np.int64)) & 15
    if not digits.all():
        coarse = digits == 0  # no digit is 8 ulp or finer
        quanta[coarse] = _last_bits(values[:, coarse])
    if values.shape[1] <= FEW:
        for i, value in enumerate(values[0].tolist()):
            if float(f"{value:.11e}") == value and digits[i]:
                quanta[i] = _last_place(values[:, i].tolist())
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
    run: Explorer,
    seeds: Seeds,
    x: Floats,
    bounds: tuple[Floats, Floats] | None,
    noise: float | None,
    shrinks: bool | Flags,
    side: int = 0,
    unit: float = 1.0,
) -> Outputs:
    """Look along one line, and again only where an output is not smooth there.

    Beyond if the line is too long and `shrinks`. Short if outputs drown in their noise there, and change as x is moved
    as far as if it were 0.

    `run`: evaluates f at whole points.
    `seeds`: what the line is made of.
    `x`, of shape (n,): the point.
    `bounds`: lower and upper; no point is outside.
    `noise`: standard deviation of the noise of every output, where it is known.
    `shrinks`, of shape (m,): whether some coordinate is much smaller than its scale; and which outputs can tell that
        this is too long.
    `side`: 1 or -1: all points are to this side of x, where there is room.
    `unit`: the largest unit; where that is small, all coordinates have it, and may be moved by 1.
    """
    f0, count = run.value(), seeds.coordinates
    m, z = f0.size, signs(x, count)
    if side:
        z = side * np.abs(z)
    sizes, zeros, no = np.abs(f0), np.zeros(m), np.zeros(m, dtype=bool)
    least = np.maximum(0.5 * EPS * sizes, TINY)
    out = Outputs(
        sigma=least,
        floor=least.copy(),
        variation=sizes,
        spread=zeros,
        third=zeros,
        rough=no,
        slope=zeros,
        doubt=np.full(m, np.inf),
        factors=np.zeros(count),
        jumps=no,
        bend=zeros,
        values=np.empty((0, m)),
        wider=1.0,
        coarse=no,
    )
    alive: Flags = np.isfinite(f0)
    all_alive = bool(every(alive))
    spacing, widened = SPACING, False
    looks: list[_Seven] = []
    unclear = alive.copy()
    aside = side != 0
    for _ in range(TRIES):
        vector = seeds.line(spacing * z)
        if bounds is not None:
            vector, aside = _inside(x, vector, bounds, aside)
        if not vector.any():
            break
        out.factors = seeds.factors(vector)
        at_x = 0 if aside else 3
        found = run.explore(x + (ASIDE if aside else AROUND) * vector)
        values = np.concatenate([found[:at_x], f0[None], found[at_x:]])
        finite = np.isfinite(values)
        if not every(finite, None) and not every(finite[:, alive], None):
            if shrinks is not False:
                raise Beyond(no)
            if spacing < 2.0**-40:
                break
            spacing /= ENDS  # beyond the domain of f
            continue
        if all_alive:
            look = _Seven(spacing, values, f0)
        else:
            look = _Seven(spacing, np.where(alive, values, 0.0), np.where(alive, f0, 0.0))
        small = 0.0 < unit < NEAR_ZERO and not (looks or widened)
        if not (widened or looks) and every(look.flat[alive]):
            if small:
                _watch_unmoved(alive, look.floor, run, x, seeds, z / unit, bounds)
            spacing, widened = spacing * ENDS, True
            continue
        stepped = _judge(out, look, looks, unclear)
        if small:
            sigma = np.where(unclear, look.level, out.sigma)
            drowned = alive & (np.abs(look.values[6] - look.values[0]) < 10.0 * sigma)
            _watch_unmoved(drowned, sigma, run, x, seeds, z / unit, bounds)
        some = bool(unclear.any())
        if some and shrinks is not False and np.any(shrinks & unclear & (look.level > 1e-3 * look.spread)):
            raise Beyond(look.spread > 0.0)
        looks.append(look)
        if len(looks) == LOOKS:
            break
        if some or stepped:  # another output may move by steps, too, and have looked smooth by luck
            spacing *= FINER
            continue
        # a kink does not show at a spacing between; where x or a term is rounded, luck alone was smooth
        if len(looks) != 2 or aside or not (out.rough & look.smooth).any():
            break
        unclear |= out.rough & look.smooth
        out.rough = out.rough & ~unclear
        spacing *= BETWEEN
    if not looks:
        out.variation = np.maximum(out.variation, 10.0 * out.sigma)
        return out
    out.rough = out.rough | unclear
    if noise is not None:
        out.sigma = np.maximum(noise, out.floor)
    _measure(out, looks, z, aside, run, seeds, x, bounds)
    still = alive & looks[0].flat
    if not widened and still.any():
        points = _beside(x, seeds.line(WIDEST * z), bounds, aside)
        _watch_from_afar(out, still, np.concatenate([f0[None], run.explore(points)]), seeds.terms)
    if widened:  # the usual step is not resolved
        out.jumps = (out.spread > 0) & (out.sigma > JUMPS * out.variation)
    return out


def _watch_unmoved(
    drowned: Flags,
    sigma: Floats,
    run: Explorer,
    x: Floats,
    seeds: Seeds,
    z: Floats,
    bounds: tuple[Floats, Floats] | None,
) -> None:
    """Look whether outputs that drown as a small x moves by its own size change where it moves as if it were 0."""
    for reach in (SPACING, WIDEST):
        if not drowned.any():
            return
        change = np.abs(run.explore(_beside(x, seeds.line(reach * z), bounds)) - run.value())
        moved = drowned & (np.where(np.isfinite(change), change, 0.0) > 10.0 * sigma).any(axis=0)
        if moved.any():
            raise Short(moved)


def _beside(x: Floats, vector: Floats, bounds: tuple[Floats, Floats] | None, aside: bool = False) -> Floats:
    """Return two points along a vector, within the bounds: on both sides of x, or both aside."""
    points = np.stack([x + vector, x + 2.0 * vector if aside else x - vector])
    if bounds is not None:
        np.clip(points, *bounds, out=points)
    return points


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
    floor, levels = out.floor, look.levels
    np.copyto(floor, look.floor, where=unclear)
    smooth = unclear & look.smooth
    rms = HALF_ROOT * np.hypot(levels[2], levels[3])
    np.copyto(out.sigma, np.maximum(floor, rms), where=smooth)
    if not before and every(smooth):
        unclear[...] = False
        return False
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
        np.copyto(out.sigma, middle_of_three(*levels[1:]), where=noisy)
        stepped = unclear & ~smooth & ~noisy
        if stepped.any():
            stepped &= look.stepped
            np.copyto(out.sigma, look.level, where=stepped)
            noisy |= stepped
            by_steps = bool(stepped.any())
    if before:  # it was neither at the first spacing, and did not fall off as something smooth
        fell = smooth & ~look.flat | noisy & (look.level < SAME * before[0].level)
        out.rough = out.rough | fell & ~before[0].decays
    unclear &= ~(smooth | noisy)
    np.copyto(out.sigma, 2.0 * floor, where=unclear)
    return by_steps


def _measure(
    out: Outputs,
    looks: list[_Seven],
    z: Floats,
    aside: bool,
    run: Explorer,
    seeds: Seeds,
    x: Floats,
    bounds: tuple[Floats, Floats] | None,
) -> None:
    """Slopes, curvatures and third derivatives along the line."""
    sigma, f0, terms = out.sigma, run.value(), seeds.terms
    first, last = looks[0], looks[-1]
    shows = first.levels[0] > 4.0 * np.maximum(sigma, first.levels[1])
    if shows.any():
        out.third = np.where(shows, middle_of_four(*np.abs(first.thirds)) / first.spacing**3, 0.0)
    w, d = first.values, first.spacing
    slope, bend = np.abs(w[6] - w[0]) / (6.0 * d), np.abs((w[6] - w[3]) + (w[0] - w[3])) / (9.0 * d * d)
    if aside:
        slope, bend = np.abs(w[6] - w[0]) / (6.0 * d), np.abs(w[6] - 2.0 * w[3] + w[0]) / (9.0 * d * d)
    else:
        v = last.values
        out.values, out.wider = w, d / last.spacing
        out.slope = (45.0 * (v[4] - v[2]) - 9.0 * (v[5] - v[1]) + (v[6] - v[0])) / 60.0
        out.doubt = 4.0 * sigma + 0.1 * largest(np.abs(last.fifths))
        if out.rough.any():
            out.doubt += np.where(out.rough, largest(np.abs(last.thirds)), 0.0)
    out.spread = np.maximum(out.spread, first.spread)
    wide: Any = d
    alive: Flags = np.isfinite(f0)
    for spacing in (min(d * WIDER, WIDEST), WIDEST):
        if aside or bounds is not None or spacing <= d:
            break
        drowns = alive & (slope * 6.0 * wide < 10.0 * sigma)
        if 2 * np.count_nonzero(drowns) <= np.count_nonzero(alive):
            break
        drowns = drowns & (bend * 9.0 * wide**2 < 20.0 * sigma) & ~first.flat
        if 2 * np.count_nonzero(drowns) <= np.count_nonzero(alive):
            break
        v = seeds.line(spacing * z)
        ends = run.explore(np.stack([x + v, x - v])) - f0
        if not np.isfinite(ends[:, alive]).all():
            break
        np.copyto(slope, np.abs(ends[0] - ends[1]) / (2.0 * spacing), where=drowns)
        np.copyto(bend, np.abs(ends[0] + ends[1]) / spacing**2, where=drowns)
        wide = np.where(drowns, spacing / 3.0, wide)
        out.spread = np.maximum(out.spread, np.where(drowns, largest(np.abs(ends)), 0.0))
    bend = np.where(bend * 9.0 * wide * wide <= 8.0 * sigma, 0.0, bend)
    out.bend = bend / terms
    size = np.maximum(slope / np.sqrt(terms), out.bend)
    seen = np.maximum(np.where(alive, np.abs(f0), 0.0), out.spread)
    hidden = alive & (sigma > np.maximum(NOISY * seen, 2.0 * QUIET * first.floor)) & (size > UNSEEN * seen) & ~out.rough
    if not aside and 2 * np.count_nonzero(hidden) > np.count_nonzero(alive):  # values near 0 in noise: as in `line`
        ends = run.explore(_beside(x, seeds.line(WIDEST * z), bounds)) - f0
        ends = largest(np.abs(np.where(np.isfinite(ends), ends, 0.0)))
        seen = np.maximum(seen, np.where(hidden, ends, 0.0))
    out.variation = np.maximum(np.minimum(size, seen), 10.0 * sigma)


def step_of(out: Outputs, terms: Any, stencil: Stencil) -> Any:
    """Return the step, in scales of x, that suits each output, and that of most of them: a power of two."""
    ratio = np.minimum(np.maximum(out.sigma / out.variation, 1e-17), 1e-2)
    step = root = np.cbrt(ratio)
    if stencil != CENTRAL:
        step = (stencil.best * ratio) ** (1.0 / (stencil.order + 1))
    if out.third.any():
        third = out.third > 0
        # separate terms show sqrt(terms) f''', coupled ones up to terms**1.5 f'''
        seen = np.where(third, out.third, 1.0)
        shorter = np.maximum(np.cbrt(3.0 * out.sigma * np.sqrt(terms) / seen), 1e-13)
        some = third & (shorter * np.cbrt(terms) < 0.5 * root)
        shorter = shorter * np.sqrt(np.cbrt(terms))
        step = np.where(some, shorter if step is root else step * (shorter / root), step)
    counts = out.variation > 10.0 * out.sigma
    those = step if every(counts) else step[counts] if counts.any() else step[np.isfinite(step)]
    usual = float(np.partition(those, those.size // 2)[those.size // 2]) if those.size else cbrt(EPS)
    return step, 2.0 ** round(np.log2(usual))
