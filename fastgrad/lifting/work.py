"""Counted work: what a lift has done, beside what the next way would have done for the same operations of f.

A lift that cannot pay must stop early, and at the same operation each time: so it is the work that is counted, not the
time. A lift has a `lead` over the next way. Each operation adds what the next way would have paid for it and takes what
it costs itself; when the lead is spent, the lift gives up by an `Outrun`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import ceil, inf
from operator import length_hint
from typing import Any

import numpy as np

from .signals import Outrun

# Microseconds on one machine (Intel Xeon with AVX-512, one thread), rounded: only their ratios matter. Fitted to the
# table of problems and the corpus of the tests at n = 10 to 300; those of single functions were timed by themselves.
# What a call of f costs around its operations, an operation with a number, and one with a small array:
PLAIN_CALL, PLAIN_NUMBER, PLAIN_ARRAY = 1.2, 0.05, 0.8
PLAIN_FUNCTION = 0.2  # a function of numpy with one of its numbers: a quarter of one with an array
DENSE_SETUP, DENSE_NUMBER, DENSE_ARRAY = 35.0, 1.0, 3.0  # the operations: for each tile
SPARSE_ARRAY = 11.0
SPARSE_SLOT = 4.0  # for each slot of a result beyond the first
SPARSE_FUNCTION = 22.0  # for a function of numpy, beyond its operations
# for each cell of an array
CELL = 0.0006  # of an operation such as `+`, plain or dense
HEAVY = 0.0015  # of `exp`, `log`, `tanh`, ..., of which numpy computes several at a time (0.6 to 2.5 ns)
WAVE = 0.006  # of `sin` and `cos` (5 to 11 ns)
SLOW = 0.02  # of those that it computes one by one (11 to 50 ns): `hypot`, `%`, ...
NEGATIVE_POWER = 0.1  # of a power of what is negative at some points (13 to 150 ns; 3 ns where nothing is)
FOREIGN = 0.04  # of another package's function
FLOP = 0.00005  # of a multiplication within a product of matrices, one thread
SPARSE_CELL = 0.002  # of a difference
SPARSE_RULE = 0.001  # of a difference to which a rule is applied, beyond that: it makes several arrays
SPARSE_FILL = 0.005  # of a difference of an array that differed in few entries and will in most: it is spread
SPARSE_FACTOR = 0.004  # of a difference that is a factor of a product of matrices: it is put in order first
SPARSE_LISTED = 0.2  # of a difference that is listed by itself: lists are sorted
WIDE, WIDER = 1 << 22, 2.0  # differences beyond which they leave every cache, and how much dearer they are then
# how operations are counted
FUNCTION = 3  # operations that a function of numpy is made of, on the average
CALLED = 8  # entries for each function of `math` from which it is no loop of these: the lift wins, at few it may lose
COMPOUND = 6  # of one that is called point by point: the simpler ones take all points
ENTRY = 3  # operations with numbers for each entry that f takes out of an array: taking it, and two uses
LOOP_TILES = 16  # tiles of other functions that one of a loop over the entries of x is as large as
BIG = 16384  # cells from which an operation of the dense lift costs more than numpy's overhead
# how much is risked
MARGIN = 1.3  # the next way must be faster by so much
ALLOWANCE = 60.0  # of a lead to begin with: what an attempt of the sparse lift in vain may cost
DENSE_ALLOWANCE = 35.0  # the same of the dense lift, beside a loop over few points
TRIAL = 60.0  # what an attempt of the dense lift takes, its reading of f's code included, where f does next to nothing
# What the dense lift may lose to the sparse one before it gives way, all tiles taken together: about as much as that
# takes for f of some twenty operations. The first tile decides, of which all others are repetitions.
FORFEIT = 400.0

_LIGHT = frozenset({
    np.add, np.subtract, np.multiply, np.divide, np.negative, np.positive, np.absolute, np.fabs, np.conjugate,
    np.square, np.sqrt, np.reciprocal, np.maximum, np.minimum, np.fmax, np.fmin, np.sign, np.signbit, np.copysign,
    np.floor, np.ceil, np.trunc, np.rint, np.isfinite, np.isinf, np.isnan, np.equal, np.not_equal, np.less,
    np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift,
    np.deg2rad, np.rad2deg, np.radians, np.degrees,
})  # fmt: skip


_SLOW = frozenset({np.float_power, np.hypot, np.logaddexp, np.logaddexp2, np.remainder, np.floor_divide, np.fmod})


@cache
def weight(ufunc: np.ufunc) -> float:
    """Return what a function costs for each cell, beyond an operation such as `+`."""
    if ufunc in _LIGHT or ufunc.signature is not None:
        return 0.0
    if ufunc is np.sin or ufunc is np.cos:
        return WAVE
    if ufunc in _SLOW:
        return SLOW
    return HEAVY if getattr(np, ufunc.__name__, None) is ufunc else FOREIGN


def weight_at(ufunc: np.ufunc, first: Any) -> float:
    """Return the same, for a first argument of these values."""
    if ufunc is np.power and np.any(first < 0):
        return NEGATIVE_POWER
    return weight(ufunc)


def is_spared(
    points: int, entries: int, operations: int, reductions: int = 0, numbers: int = 0, functions: int = 0
) -> bool:
    """Whether plain evaluations take no longer than an attempt at a lift does.

    Of an f that takes so many entries out of x, one at a time, among all its operations, of which some are reductions;
    and that does so many operations with numbers besides, and functions of numpy with a number, in loops.
    """
    with_entries = min(ENTRY * entries, operations)
    numbers += with_entries
    arrays = operations - with_entries + (FUNCTION - 1) * reductions
    each = PLAIN_CALL + PLAIN_NUMBER * numbers + PLAIN_FUNCTION * functions + PLAIN_ARRAY * arrays
    return points * each <= TRIAL + DENSE_NUMBER * numbers + DENSE_ARRAY * (arrays + functions)


class DenseWork:
    """The work of one sweep by the dense lift.

    `nfev`: points at which f was evaluated, those of calls that had to be begun again included.
    `racing`: whether it is to give up where the plain loop or the sparse lift would be faster.
    `entries`: taken out of arrays, one at a time, since f began.
    `hopeless`: whether f makes arrays for which the lift is no faster than the loop: it is not to be tried again.
    """

    __slots__ = (
        "_array", "_calls", "_entry", "_following", "_lead", "_points", "_share", "_spare", "entries", "hopeless",
        "nfev", "racing",
    )  # fmt: skip

    def __init__(self, points: int = 0, racing: bool = False) -> None:
        self.nfev = self.entries = self._calls = 0
        self._following: Iterable[Any] = ()
        self.hopeless = False
        self.racing = racing
        self._lead = DENSE_ALLOWANCE + MARGIN * PLAIN_CALL * points - DENSE_SETUP if racing else inf
        self._array = MARGIN * PLAIN_ARRAY * points - DENSE_ARRAY
        self._entry = ENTRY * (MARGIN * PLAIN_NUMBER * points - DENSE_NUMBER)
        self._points, self._share = points, 1.0
        self._spare = FORFEIT if racing else inf

    def begins(self, points: int) -> None:
        """Begin with the first of the tiles, of so many points: all others will cost what it costs."""
        self._share = max(1.0, self._points / points)

    def anew(self) -> None:
        """Note that f begins anew: what it takes out of x and calls is counted from 0."""
        self.entries = self._calls = 0

    def decided(self) -> None:
        """Note that the first tile came to its end: the sparse lift is not the faster one."""
        self._spare = inf

    def takes(self, entries: int, following: Iterable[Any] = ()) -> None:
        """Count entries taken out of an array: a loop over x gains nothing where there are few points.

        `following`: those that are still to come.
        """
        self.entries += entries
        self._following = following
        self._lead += entries * self._entry
        if self._lead < 0.0:
            raise Outrun("a loop over entries, at so few points", to="loop")

    def operates(self, operations: int = 1) -> None:
        """Count operations with arrays."""
        self._lead += operations * self._array

    def calls(self, points: int) -> None:
        """Count a function of numbers that is called point by point, as the plain loop does.

        For a few numbers beside arrays, or after long loops, that is no loss. Else it is a loop of such calls.
        """
        self._lead -= PLAIN_NUMBER * points + DENSE_NUMBER
        self._calls += 1
        loops = self.entries and self.entries - length_hint(self._following) < CALLED * self._calls
        if self.racing and (loops or self._lead < 0.0):
            raise Outrun("functions of math, number by number", to="loop")

    def multiplies(self, multiplications: int, other: float) -> None:
        """Count a product of matrices, and what the other lift would pay for it."""
        self._lead += self._array
        self._spare -= self._share * (FLOP * multiplications - other)
        if self._spare < 0.0:
            raise Outrun("large products", to="sparse", by=-self._spare)

    def pays(self, cost: float, other: float = 0.0) -> None:
        """Count an operation on a large array, of which the sparse lift would need a few entries only, once for all."""
        self._spare -= self._share * cost - other
        if self._spare < 0.0:
            raise Outrun("large arrays, of which each point changes a part", to="sparse", by=-self._spare)


class SparseWork:
    """The work of one sweep by the sparse lift, racing with the dense one.

    `nfev`: points at which f was evaluated.
    `lead`: over the dense lift; without end where there is no race. To begin with, where that has given way before an
        operation: what it has lost beyond its forfeit.
    `together`: how many rows were worth one run; None before that is known.
    """

    __slots__ = ("_points", "_rounds", "_tiles", "lead", "nfev", "together")

    def __init__(
        self,
        points: int = 1,
        tile_points: int = 1,
        racing: bool = False,
        lead: float = 0.0,
        together: int | None = None,
    ) -> None:
        self.nfev, self.together = 0, together
        self.lead = ALLOWANCE + lead if racing else inf
        self._points, self._tiles = points, ceil(points / tile_points)
        self._rounds = ceil(points / (LOOP_TILES * tile_points))

    def of_dense(self, points: int) -> tuple[float, float, float]:
        """Return what some of the points would cost it: for each operation with an array, a number, and a cell."""
        share = MARGIN * points / self._points
        return share * self._tiles * DENSE_ARRAY, share * self._rounds * DENSE_NUMBER, MARGIN * CELL * points
