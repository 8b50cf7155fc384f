"""f by an executor: many evaluations side by side, each as the reference would make it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import NonFiniteWarning, warn
from ..core.evaluation import BOTH_WAYS, InFloats, Values
from ..core.point import Point, exclusive
from ..core.validation import FLOAT64, Array, Floats, Ints, complex_number, number
from ..executors.executor import Entries, Executor, Failures, Function, Rows, nan_like
from ..executors.table import executor_for, pieces_of
from ..schemes.constants import OUTSIDE
from .vectors import REAL, Vectors, values_of

POINT_BYTES = 1 << 26  # of whole points that are made at a time
LONG = 200  # characters of what f says of its failure

Exceptions = tuple[type[BaseException], ...]


class Watch:
    """An executor, and what is to become of evaluations that fail."""

    def __init__(self, call: Call, executor: Executor) -> None:
        self.failures: list[str] = []  # the points at which f failed, and how, where that is put up with
        self._executor = executor
        self._tolerant = call.on_error == "nan"

    @property
    def way(self) -> str:
        return self._executor.way

    def note(self) -> str:
        """Say who evaluates f."""
        return f"{self._executor.way}: {self._executor.reason}"

    def evaluate(self, function: Function, points: Rows | Entries, allowed: Exceptions = ()) -> Values:
        """Evaluate at all points: NaN where f fails, if that is put up with or `allowed`."""
        if not (self._tolerant or allowed):
            return self._executor.evaluate(function, points)
        values, failures = self.attempt(function, points)
        for _, error in sorted(failures.items()):
            if not isinstance(error, allowed):
                raise error
        return values

    def attempt(self, function: Function, points: Rows | Entries) -> tuple[Values, dict[int, BaseException]]:
        """Evaluate at all points; returns also what f raises, by the points' numbers, where that is not put up with."""
        failures: Failures = {}
        values = self._executor.evaluate(function, points, None, failures)
        errors = {place: failures[place].exception() for place in sorted(failures)}
        if not self._tolerant:
            return values, errors
        for place, error in errors.items():
            text = " ".join(str(error).split())
            shown = text if len(text) <= LONG else f"{text[:LONG]}..."
            where = points.describe(place)
            self.failures.append(f"{'' if where in text else f'{where}: '}{type(error).__name__}: {shown}")
        return values, {}


class Parallel(InFloats):
    """A plain f, evaluated by an executor: workers, a journal, or both.

    Where each worker has a copy of the caller's array, closures that read it see it perturbed, as with the reference.
    """

    origin = 0.0

    def __init__(self, call: Call, point: Point, executor: Executor | None = None) -> None:
        call = call.of_one_point()
        self._point = point
        executor = executor_for(call, point) if executor is None else executor
        self._watch = Watch(call, executor)
        self.way = self._watch.way
        copies = all(executor.may_perturb(piece) for piece in pieces_of(point))
        self.own = point.own if copies and point.perturbable and not call.shares_memory(point.own) else None
        container, f = point.container, call.f
        shown = copies and container is not None and container.perturbable
        if shown and container is not None and not container.among((call.args, call.kwargs)):
            f = point.following(f)
        self.sees_own = f is not call.f or self.own is not None or not point.held
        self._one = partial(OnePoint, point.numbered(f), call, number)
        self._f = self._one(self.own)
        self._complex = OnePoint(f, call, complex_number)

    def notes(self) -> list[str]:
        return [self._watch.note()]

    def value(self) -> float:
        known, value = self._value is not None, super().value()
        if self.failures and not known:
            warn(f"`f` fails at x itself: {self.failures[0]}", NonFiniteWarning)
        return value

    @property
    def failures(self) -> list[str]:
        """The points at which f failed, and how."""
        return self._watch.failures

    def sweep(self, index: Ints, points: Values) -> Values:
        base: Values = self._point.base
        if points.dtype.kind == "c":
            self.sees_own = True  # a closure shows: its value is real
            base = base.astype(np.complex128)
        elif self.own is not None and self.own.dtype is not FLOAT64 and (points.astype(self.own.dtype) != points).any():
            self.own, self.sees_own = None, False  # it cannot hold these points
            self._f = self._one()
        values = self._evaluate(Entries(base, np.repeat(index, points.shape[1]), points.reshape(-1)), points.dtype)
        return values.reshape(points.shape)

    def line(self, points: Values) -> Values:
        return self._evaluate(Rows(points, self._point.base.shape), points.dtype)

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        """Evaluate all six side by side, though one after another it might end before; `nfev` is the same."""
        base = self._point.base
        points = Rows(base.reshape(-1) + multiples * np.array(vector), base.shape)
        found, errors = self._watch.attempt(self._f, points)
        values: list[float] = []
        for place, value in enumerate(found.tolist()):
            self.nfev += 1
            if place in errors:
                raise errors[place]
            values.append(value)
            if not isfinite(value):
                break
        return values

    def _evaluate(self, points: Rows | Entries, dtype: np.dtype[Any]) -> Values:
        self.nfev += len(points)
        if dtype.kind != "c":
            return self._watch.evaluate(self._f, points)
        values = self._watch.evaluate(self._complex, points)
        return values if values.dtype.kind == "c" else np.full(len(points), complex(np.nan, np.nan))  # all failed


class ParallelVectors(Vectors):
    """An f of many values, evaluated by an executor."""

    def __init__(self, call: Call, point: Point, executor: Executor | None = None) -> None:
        executor = executor_for(call, point) if executor is None else executor
        super().__init__(call, point)
        self._executor = executor
        self._watch = Watch(call, executor)
        copies = all(executor.may_perturb(piece) for piece in pieces_of(point))
        f = self._call.f if copies else call.f  # the former shows each point in the caller's list
        self.cost = 0  # what the evaluations cost, where f itself says so: evaluations of another function
        costing = getattr(f, "with_cost", None)
        self._costing = costing is not None
        self.own = point.own if copies and self._in_place else None
        f, convert = (f, values_of) if costing is None else (costing, cost_last)
        self._f = OnePoint(f, call, convert, self.own)
        self._complex = OnePoint(f, call, complex_values)

    def notes(self) -> list[str]:
        """Say who evaluates f."""
        return [self._watch.note()]

    @property
    def failures(self) -> list[str]:
        """The points at which f failed, and how."""
        return self._watch.failures

    def _at_x(self) -> Floats:
        if self._value is None:
            self.nfev += 1
            base = self._point.base
            at_x = Rows(base.reshape(1, -1), base.shape)
            values = self._executor.evaluate(self._f, at_x)  # where that fails, no shape is known
            self._value = self._without_cost(values, base.shape)[0] if self._costing else np.asarray(values[0])
        return self._value

    def at(self, points: Iterable[Floats]) -> Floats:
        return self._by_workers(points, False)

    def explore(self, points: Iterable[Floats]) -> Floats:
        return self._by_workers(points, True)

    def _by_workers(self, points: Iterable[Floats], exploring: bool) -> Floats:
        self._at_x()
        own = self._point.own
        if self.own is None or own is None:
            return self._rows(self._all(self._f, points, exploring))
        with exclusive(own):
            try:
                return self._rows(self._all(self._f, points, exploring))
            finally:
                own[...] = self._point.base

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        return self._rows(self._all(self._complex, points))

    def _all(self, f: OnePoint, points: Iterable[Array], exploring: bool = False) -> list[Array]:
        """Evaluate f at all points, so many at a time that they take little memory."""
        rest, rows = iter(points), []
        many = max(1, POINT_BYTES // max(1, self._point.base.nbytes))
        while some := list(islice(rest, many)):
            rows += [np.asarray(row) for row in self._evaluate(f, np.array(some), exploring)]
        return rows

    def _evaluate(self, f: OnePoint, points: Values, exploring: bool) -> Values:
        self.nfev += len(points)
        values = self._watch.evaluate(f, Rows(points, self._point.base.shape), OUTSIDE if exploring else ())
        if self._costing and values.ndim > 1:
            values = self._without_cost(values, self.shape)
        none = values.ndim == 1 and np.isnan(values).all()  # where all fail, nothing says how many values there are
        return np.full((len(points), *self.shape), nan_like(points)) if none else values

    def _without_cost(self, values: Values, shape: tuple[int, ...]) -> Values:
        self.cost += int(np.nansum(values[:, -1]))
        return values[:, :-1].reshape(len(values), *shape)


def cost_last(result: Any) -> NDArray[np.float64]:
    """Return values and their cost as one row."""
    values, cost = result
    return np.append(values_of(values).reshape(-1), float(cost))


def complex_values(result: object) -> NDArray[np.complex128]:
    """Turn what f returned for a complex argument into complex numbers."""
    values = values_of(result, "fiubc")
    if values.dtype.kind != "c":
        raise TypeError(REAL)
    return values


class OnePoint:
    """f of one point: what it returns, turned into numbers at once.

    `f`, `call`: the function, and its arguments.
    `convert`: turns what it returns into numbers.
    `own`: the caller's array, where it is to hold the point: the worker has a copy of it, or whoever runs the
        evaluation puts it back.
    """

    def __init__(
        self, f: Callable[..., Any], call: Call, convert: Callable[[object], Any], own: Array | None = None
    ) -> None:
        self._call, self._convert, self._own = Call(f, call.args, call.kwargs), convert, own

    def __call__(self, x: Array) -> Any:
        if self._own is not None:
            self._own[...] = x
        return self._convert(self._call.value(x))
