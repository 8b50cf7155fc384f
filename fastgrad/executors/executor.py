"""What every executor is: f at many points, in their order, to the bits of a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.call import working
from ..core.errors import describe
from ..core.validation import Array, Ints, coordinate
from .failures import Failure

Values = NDArray[Any]  # float64 or complex128: (k,), or (k, *shape) of a function that returns arrays
Function = Callable[[NDArray[Any]], Any]  # of one point; returns a number, or an array of numbers
Receive = Callable[[Ints, "Values | None"], None]  # the numbers of points, and the values there; None: f failed there
Failures = dict[int, Failure]  # by the number of the point

FLUSH_SECONDS = 0.01  # how long values may wait to be received together


class Points(Protocol):
    """Points at which f is to be evaluated; they pickle, and travel in parts."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Array:
        """Return a point as an array of x's shape that nobody else holds: f may write into it or keep it."""
        ...

    def take(self, numbers: Ints | slice) -> Points:
        """Return some of the points."""
        ...

    def keys(self) -> list[bytes]:
        """Identify each point, by its bytes."""
        ...

    def describe(self, number: int) -> str:
        """Word a point for an error message."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole points, one a row."""

    rows: Values  # shape (k, n): the points
    shape: tuple[int, ...]  # what f gets each as

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Array:
        point: Array = self.rows[number].reshape(self.shape).copy()
        return point

    def take(self, numbers: Ints | slice) -> Rows:
        return Rows(self.rows[numbers], self.shape)

    def keys(self) -> list[bytes]:
        about = f"{self.rows.dtype.str}{self.shape}".encode()
        return [blake2b(about + row.tobytes(), digest_size=16).digest() for row in self.rows]

    def describe(self, number: int) -> str:
        return f"x = {describe(self[number].tolist())}"


@dataclass(frozen=True, slots=True)
class Entries:
    """One point with one entry replaced: n of them travel as O(n) numbers, not as n arrays."""

    base: Values  # the point x
    index: Ints  # shape (k,): which entry, in C order
    values: Values  # shape (k,): what it becomes

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Array:
        point = self.base.copy()
        point.reshape(-1)[self.index[number]] = self.values[number]
        return point

    def take(self, numbers: Ints | slice) -> Entries:
        return Entries(self.base, self.index[numbers], self.values[numbers])

    def keys(self) -> list[bytes]:
        about = blake2b(f"{self.base.dtype.str}{self.base.shape}".encode() + self.base.tobytes(), digest_size=16)
        pairs = zip(self.index.astype("<i8"), self.values, strict=True)
        return [about.digest() + i.tobytes() + value.tobytes() for i, value in pairs]

    def describe(self, number: int) -> str:
        where = np.unravel_index(int(self.index[number]), self.base.shape)
        return f"x with coordinate {coordinate(tuple(map(int, where)))} = {self.values[number]!s}"


class Executor:
    """Who evaluates f at many points."""

    way = "executor"  # "serial", "processes", "threads", "executor" or "map"
    stops = False  # whether an evaluation that takes too long can be stopped

    def __init__(self, reason: str) -> None:
        self.reason = reason  # why this one, in words

    def may_perturb(self, thing: object) -> bool:
        """Whether a function may write to this array or list of the caller's: evaluations side by side have copies."""
        return False

    def evaluate(
        self, function: Function, points: Points, receive: Receive | None = None, failures: Failures | None = None
    ) -> Values:
        """Evaluate a function at all points.

        Raises what the function raises at the first of the points at which it does, as a plain loop would; with
        `failures` only what is no `Exception`, such as Ctrl-C. WorkerError where a worker was lost.

        `function`: of one point; returns a float, a complex number or an array of them, of one shape at all points.
        `points`: where.
        `receive`: is called here with values as they arrive, in any order.
        `failures`: where to put, by the number of its point, each exception that the function raises. Its value is NaN
            then.

        Returns ndarray, shape (k, *shape of a value): in the order of the points. Of shape (k,) where all of them
        failed.
        """
        gathering = Gathering(len(points), receive, failures)
        if gathering.count:
            self.gather(function, points, gathering)
        return gathering.result()

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        """Evaluate a function at all points, of which there are some, until all that is needed has arrived."""
        raise NotImplementedError


class Around(Executor):
    """An executor that does more than the one around which it is."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor.reason)
        self._executor, self.way, self.stops = executor, executor.way, executor.stops

    def may_perturb(self, thing: object) -> bool:
        return self._executor.may_perturb(thing)


def evaluate_some(function: Function, points: Points, tolerant: bool = False) -> tuple[Values, Failures]:
    """Evaluate in a worker: all points that can be, or up to the first that fails."""
    token = working.set(True)
    try:
        return attempt(function, points, 0, tolerant)[:2]
    finally:
        working.reset(token)


def attempt(
    function: Function, points: Points, start: int, tolerant: bool, seconds: float = inf
) -> tuple[Values, Failures, int]:
    """Evaluate from a point on, for so many seconds; return values, failures by their places, and where others begin.

    A failure that is not put up with is the last.
    """
    values: list[Any] = []
    failures: Failures = {}
    number, until = start, perf_counter() + seconds
    while number < len(points):
        number += 1
        try:
            append_like(values, function(points[number - 1]))
        except BaseException as error:  # noqa: BLE001 - whoever asked raises it
            failures[number - 1 - start] = Failure(error)
            if not (tolerant and isinstance(error, Exception)):
                break
        if perf_counter() > until:
            break
    return np.array(values), failures, number


def append_like(values: list[Any], value: Any) -> None:
    """Add a value that has the shape of those before it, and that f no longer holds."""
    scalar = type(value) is float or type(value) is complex
    if not scalar:
        value = np.array(value)
    if values and not (scalar and type(values[-1]) is type(value)):
        one, other = np.shape(values[-1]), np.shape(value)
        if one != other:
            raise ragged(one, other)
    values.append(value)


def ragged(one: tuple[int, ...], other: tuple[int, ...]) -> ValueError:
    return ValueError(f"`f` must return values of one shape at all points, got shapes {one} and {other}")


@dataclass
class Gathering:
    """Values that arrive in any order, and what f raised."""

    count: int  # points that were asked for
    receive: Receive | None = None
    # where failures are put; None: the first one, in the order of the points, is raised
    failures: Failures | None = None
    # the first of the points whose failure is to be raised: what comes after it is not needed
    end: int = field(init=False)
    _values: Values | None = field(init=False, default=None)
    _failure: Failure | None = field(init=False, default=None)
    _here: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.end = self.count
        self._here = np.zeros(self.count, bool)

    @property
    def tolerant(self) -> bool:
        return self.failures is not None

    def put(self, first: int, values: Values, failures: Mapping[int, Failure] | None = None) -> None:
        """Take what came of the points from one on: values, and by their places among these points the failures."""
        failed = sorted(failures or ())
        self.take(np.delete(np.arange(first, first + len(values) + len(failed)), failed), values)
        for place in failed:
            self.fail(first + place, (failures or {})[place])

    def take(self, numbers: Ints, values: Values) -> None:
        """Take the values at some points."""
        if not len(values):
            return
        if self._values is None:
            self._values = np.empty((self.count, *values.shape[1:]), values.dtype)
        if values.shape[1:] != self._values.shape[1:]:
            raise ragged(self._values.shape[1:], values.shape[1:])
        self._values[numbers] = values
        self._here[numbers] = True
        if self.receive is not None:
            self.receive(numbers, values)

    def fail(self, number: int, failure: Failure) -> None:
        """Take what f raised at a point."""
        if self.failures is not None and isinstance(failure.exception(), Exception):
            self.failures[number] = failure
            self._here[number] = True
            if self.receive is not None:
                self.receive(np.array([number]), None)
        elif number < self.end:
            self.end, self._failure = number, failure

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to wait for."""
        return bool(self._here[: self.end].all())

    def missing(self, start: int, stop: int) -> Ints:
        """List the points between two numbers that have not arrived."""
        return start + np.flatnonzero(~self._here[start:stop])

    def result(self) -> Values:
        """Return all values, or raise the first exception."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure.exception()
            finally:
                del failure  # or its traceback would hold itself, and whoever asked
        assert self.complete
        if self._values is None:
            return np.full(self.count, np.nan)
        if self.failures:
            self._values[list(self.failures)] = nan_like(self._values)
        return self._values


def nan_like(values: Values) -> complex:
    """Return NaN, in both parts of what is complex: the complex step reads one of them."""
    return complex(np.nan, np.nan) if values.dtype.kind == "c" else np.nan


class Serial(Executor):
    """One point after the other, here."""

    way = "serial"

    def may_perturb(self, thing: object) -> bool:
        return True

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        start = 0
        while not gathering.complete:
            start = evaluate_here(function, points, start, gathering)


def evaluate_here(function: Function, points: Points, start: int, gathering: Gathering) -> int:
    """Evaluate from a point on in this process, until there is something to be told; return where the rest begins."""
    values, failures, number = attempt(function, points, start, gathering.tolerant, FLUSH_SECONDS)
    gathering.put(start, values, failures)
    return number


def chunks_of(start: int, count: int, workers: int) -> int:
    """Return how many points the next chunk takes.

    A quarter of a worker's share of what is left: few and large while all are busy for long, and one by one in the end,
    so that all end together however long an evaluation takes.
    """
    return max(1, (count - start) // (4 * workers))
