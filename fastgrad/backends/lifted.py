"""The backend "numpy": all ±h points at once, by a function of many points or by lifting a function of one.

A plain f is lifted (`fastgrad.lifting`): it is called, unmodified, on an array-like that holds many points. What pays
is found out by timing, within bounds: an attempt that fails must cost little beside the loop that follows it.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from math import inf, isfinite
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validate import FLOAT64, Floats, Ints, complex_number, number
from ..errors import CannotRun, NotTrusted
from ..evaluation import Evaluation, Values
from ..lifting.signals import OutOfTime, Signal, where_in, within
from ..point import Point, exclusive, undisturbed
from ..stencils import Stencil
from ..steps import Step
from .batched import Batched, agree, turn
from .purity import keeps
from .reference import LoopGradient
from .table import Call

# Measured on the corpus of the tests: a failed or aborted attempt costs 3 to 15 evaluations of a numpy f by the dense
# lift and 15 to 75 by the sparse one, and more where f loops over the entries. With these shares of the loop's time the
# attempts of a one-shot call stay below a tenth of it.
LEAST_ONE_SHOT = 30  # coordinates; below, a one-shot call just loops
DENSE_SHARE = 0.06
SPARSE_SHARE = 0.06
# From here the sparse lift tends to be the faster one (n = 100: it is slower for most f, n = 300: faster for most).
SPARSE_FROM = 200
SPARSE_LEAST = 50  # below it is not tried, unless nothing else is left
TRIAL_POINTS = 16  # that the dense lift is timed on, before it gets all of a large sweep
FEW = 8  # so few points are evaluated plainly
CLEARLY = 0.9  # of the loop's time: what a lift must stay below to be preferred
TRIES = 3  # times that a way is measured before it is given up as slower
LOADING = 0.03  # seconds: loops must have taken that long altogether before the lifts are loaded (10 ms, 100 uncached)

_KEPT = (
    "`f` keeps what it was given, or a result of it, from one call to the next: it cannot be lifted; use "
    "backend='python', and clear what it keeps"
)

Lift = Callable[[Call, Floats, Ints, Values], tuple[bool, Values]]


@cache
def _lifts() -> dict[str, Lift]:
    """Load the lifts: whether their values are differences from f(x), and the values."""
    dense = import_module("...lifting.dense", __name__).sweep
    sparse = import_module("...lifting.sparse", __name__).sweep

    def by_dense(call: Call, x: Floats, index: Ints, points: Values) -> tuple[bool, Values]:
        return False, dense(call.f, x, index, points, args=call.args, kwargs=call.kwargs)

    def by_sparse(call: Call, x: Floats, index: Ints, points: Values) -> tuple[bool, Values]:
        return True, sparse(call.f, x, index, points, args=call.args, kwargs=call.kwargs).values

    return {"dense": by_dense, "sparse": by_sparse}


class Ways:
    """What was learned about the ways to evaluate one function at points of one shape.

    Attributes
    ----------
    loop : float
        Seconds of one plain evaluation; inf if unknown.
    seconds : dict
        Of one point by each lift.
    refused : dict
        Why a lift cannot evaluate f: the operation, and the line in f.
    """

    __slots__ = ("calls", "keeps", "limits", "loop", "refused", "seconds", "tries")

    def __init__(self) -> None:
        self.loop = inf
        self.calls = 0
        self.keeps: str | None = None  # why f may keep what it is given; "" if it cannot; None: not looked at yet
        self.seconds: dict[str, float] = {}
        self.tries: dict[str, int] = {}
        self.limits: dict[str, float] = {}  # seconds that were not enough
        self.refused: dict[str, str] = {}

    def stateful(self, f: Any) -> str:
        """Say why f may keep what it is given, so that it is not lifted unless it is asked for; empty if it cannot."""
        if self.keeps is None:
            self.keeps = keeps(f)
        return self.keeps

    def note(self, way: str, seconds: float) -> None:
        """Remember the time of one point."""
        self.seconds[way] = min(seconds, self.seconds.get(way, inf))
        self.tries[way] = self.tries.get(way, 0) + 1

    def best(self) -> str | None:
        return min(self.seconds, key=self.seconds.__getitem__, default=None)

    @property
    def reason(self) -> str:
        """Why f is not lifted."""
        for way in ("dense", "sparse"):
            if way in self.refused:
                return f"f cannot be lifted: {self.refused[way]}"
        return "the plain loop is as fast as a lift"

    def forced(self, n: int, points: int, real: bool) -> list[tuple[str, float]]:
        """List the lifts to try, and for how long, where the user asked for one."""
        best = self.best()
        if best is not None and real:
            return [(best, inf)]
        dense, sparse = ("dense", inf), ("sparse", inf)
        if not real:
            return [dense]
        if n < SPARSE_FROM:
            return [dense, sparse]
        return [("sparse", SPARSE_SHARE * points * self.loop), dense, sparse]

    def worthwhile(self, n: int, points: int, real: bool, prepared: bool) -> list[tuple[str, float]]:
        """List the lifts that may pay, and for how long they may be tried."""
        order = ["dense"] if not real or n < SPARSE_LEAST else ["dense", "sparse"]
        if real and n >= SPARSE_FROM:
            order = ["sparse", "dense"]
        usable = [way for way in order if way not in self.refused]
        known = {way: self.seconds[way] for way in usable if way in self.seconds}
        best = min(known, key=known.__getitem__, default=None)
        loop = points * self.loop
        pays = best is not None and known[best] < CLEARLY * self.loop
        again = [(best, loop)] if pays and best is not None else []
        if prepared and self.calls > 1:
            limit = min(loop, points * known[best]) if best is not None else loop
            for way in usable:
                if self.limits.get(way, 0.0) < 0.5 * limit and (way not in known or self._unsure(way, known)):
                    return [(way, 2.0 * limit if way in known else limit), *again]
            return again
        if best is not None:
            return again
        if n < LEAST_ONE_SHOT:
            return []
        shares = {"dense": DENSE_SHARE, "sparse": SPARSE_SHARE}
        return [
            (way, shares[way] * loop)
            for way in usable
            if self.limits.get(way, 0.0) < 0.5 * shares[way] * loop and (way == "dense" or n >= SPARSE_FROM)
        ]

    def _unsure(self, way: str, known: dict[str, float]) -> bool:
        """Whether a way that seems slower was measured too rarely to say so."""
        fastest = min(*known.values(), self.loop)
        return self.tries.get(way, 0) < TRIES and fastest < known[way] < 2.0 * fastest


# What was learned by one-shot calls: f's code and x's shape -> Ways. Closures over other data share it, so it only
# says what is worth trying.
_learned: OrderedDict[Any, Ways] = OrderedDict()
_MOST_LEARNED = 256
_looped = 0.0  # seconds spent in loops


def ways_of(call: Call, shape: tuple[int, ...]) -> Ways:
    """Return what is known of f, of a prepared gradient or of earlier one-shot calls."""
    if call.memo is not None:
        found: Ways | None = call.memo.learned.get("lift", {}).get(shape)
        if found is None:
            found = call.memo.learned.setdefault("lift", {})[shape] = Ways()
        return found
    inner: Any = call.f
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if code is None:
        return Ways()
    key = code, shape
    found = _learned.get(key)
    if found is None:
        found = _learned[key] = Ways()
        while len(_learned) > _MOST_LEARNED:
            _learned.popitem(last=False)
    return found


def _loaded(seconds: float, prepared: bool) -> bool:
    """Whether the lifts are loaded, or are worth loading: for many calls, or for a loop that takes so long."""
    global _looped
    _looped += inf if prepared else seconds
    return _looped >= LOADING


def _attempt(
    way: str, limit: float, ways: Ways, call: Call, x: Floats, index: Ints, points: Values
) -> tuple[bool, Values]:
    """One lift of all points, or a Signal. What stopped it is remembered."""
    lift = _lifts()[way]
    m, k = points.shape
    try:
        if way == "dense" and limit < inf and x.size > SPARSE_FROM and m * k > 4 * TRIAL_POINTS:
            few = max(1, TRIAL_POINTS // k)
            began = perf_counter()
            with within(limit):
                _, first = lift(call, x, index[:few], points[:few])
            ways.note(way, (perf_counter() - began) / (few * k))
            if ways.seconds[way] > CLEARLY * ways.loop:
                raise OutOfTime
            return False, np.concatenate([first, lift(call, x, index[few:], points[few:])[1]])
        if limit == inf:
            return lift(call, x, index, points)
        with within(limit):
            return lift(call, x, index, points)
    except OutOfTime:
        ways.limits[way] = limit
        raise
    except Signal as signal:
        where = where_in(call.f, signal.__traceback__)
        ways.refused[way] = f"{signal} ({where})" if where else str(signal)
        raise


def _lift_any(
    attempts: list[tuple[str, float]], ways: Ways, call: Call, x: Floats, index: Ints, points: Values
) -> tuple[str, bool, Values] | None:
    for way, limit in attempts:
        if way in ways.refused:
            continue
        try:
            return way, *_attempt(way, limit, ways, call, x, index, points)
        except Signal:
            continue
    return None


class Lifted:
    """f of one point, on many points at once.

    Attributes
    ----------
    way : str
        Which lift evaluated f; empty before.
    """

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.nfev = 0
        self.sees_own = False
        self.way = ""
        self._call = call
        self._point = point
        self._explicit = explicit
        self._ways = ways_of(call, point.base.shape)
        self._origin: float | None = None
        self._value: float | None = None
        self._checked = False
        if point.base.ndim == 0:
            raise CannotRun("f cannot be lifted at a single number")
        if explicit:
            return
        ways = self._ways
        ways.calls += 1
        if point.base.size < LEAST_ONE_SHOT and (call.memo is None or ways.calls < 2):
            raise CannotRun(f"x has fewer than {LEAST_ONE_SHOT} entries: too few to try a lift in one call")
        if {"dense", "sparse"} <= ways.refused.keys():
            raise CannotRun(ways.reason)
        if ways.stateful(call.f):
            raise CannotRun(f"{ways.keeps}, so it is lifted only by backend='numpy'")

    def notes(self) -> list[str]:
        return [self.about]

    @property
    def about(self) -> str:
        """Which lift is used, and why, in words."""
        ways = self._ways
        way = self.way or ways.best()
        if way is None:
            return f"the lifts are tried, {'sparse' if self._point.base.size >= SPARSE_FROM else 'dense'} first"
        told = f"the {way} lift"
        if way in ways.seconds:
            told += f", {1e6 * ways.seconds[way]:.3g} µs a point where one evaluation takes {1e6 * ways.loop:.3g} µs"
        others = [f"not the {other} lift: {why}" for other, why in ways.refused.items() if other != way]
        return "; ".join([told, *others])

    @property
    def origin(self) -> float:
        """What values are relative to: f(x), or 0 where the dense lift keeps the values as they are."""
        if self._origin is None:
            value = self.value()
            self._origin = value if np.isfinite(value) else 0.0
        return self._origin

    def value(self) -> float:
        if self._value is None:
            self._value = self._plainly(self._point.base)
        return self._value

    def known_value(self, value: float) -> None:
        self._value = value

    def line(self, points: Values) -> Values:
        rows = points.reshape(-1, *self._point.base.shape)
        return np.array([self._plainly(row) for row in rows], points.dtype) - self.origin

    def sweep(self, index: Ints, points: Values) -> Values:
        m, k = points.shape
        if not m:
            return np.empty(points.shape, points.dtype)
        if m * k < FEW and (self._checked or (m * k == 1 and self._explicit)):
            return self._one_by_one(index, points)
        x, ways, real = self._point.base, self._ways, points.dtype.kind != "c"
        n, memo = x.size, self._call.memo
        if ways.loop == inf:
            self._time_one()
        began = perf_counter()
        if self._explicit:
            attempts = ways.forced(n, m * k, real)
        elif m * k < FEW:
            raise CannotRun("too few points to try a lift")
        else:
            attempts = ways.worthwhile(n, m * k, real, memo is not None)
            if attempts and not _loaded(m * k * ways.loop, memo is not None and ways.calls > 1):
                attempts = []
        lifted = _lift_any(attempts, ways, self._call, x, index, points)
        if lifted is None:
            if self._explicit:
                self._plainly(x)  # f's own error comes first
            raise CannotRun(ways.reason)
        way, relative, values = lifted
        self.nfev += m * k
        values = self._scalars(values, points)
        if self._origin is None and not relative:
            self._origin = 0.0
        seconds = check_one(self._call, self._point, index, points, values, self.value() if relative else 0.0)
        ways.loop = min(ways.loop, seconds)
        self.nfev += 1
        self._checked = True
        self.sees_own = _perturbs(self._call, self._point)
        if self._origin is None or relative:
            self._origin = self.origin
            values = values if relative and self._origin == self.value() else values + self.value()
        elif self._origin:
            values = values - self._origin
        ways.note(way, (perf_counter() - began) / (m * k))
        self.way = way
        return values

    def _time_one(self) -> None:
        began = perf_counter()
        self._value = self._plainly(self._point.base)
        self._ways.loop = perf_counter() - began

    def _plainly(self, x: NDArray[Any]) -> Any:
        call = self._call
        self.nfev += 1
        convert: Callable[[Any], Any] = complex_number if x.dtype.kind == "c" else number
        try:
            return convert(call.f(x.copy(), *call.args, **call.kwargs))
        except Signal as signal:
            raise NotTrusted(_KEPT) from signal

    def _one_by_one(self, index: Ints, points: Values) -> Values:
        values = np.empty(points.shape, points.dtype)
        for row, i in enumerate(index):
            for column, entry in enumerate(points[row]):
                values[row, column] = self._plainly(_replaced(self._point.base, i, entry))
        return values - self.origin

    def _scalars(self, values: Values, points: Values) -> Values:
        if values.shape != points.shape:
            if values.size != points.size:
                self._plainly(self._point.base)  # says what f must return
                raise CannotRun("f returns an array")
            values = values.reshape(points.shape)
        if points.dtype.kind == "c" and values.dtype.kind != "c":
            raise CannotRun("f drops the imaginary part")
        if points.dtype.kind != "c" and values.dtype.kind == "c":
            self._plainly(self._point.base)
            raise CannotRun("f returns complex numbers")
        return values


def _replaced(x: Floats, i: Any, entry: Any) -> NDArray[Any]:
    point: NDArray[Any] = x.astype(entry.dtype)
    point.reshape(-1)[i] = entry
    return point


def _perturbs(call: Call, point: Point) -> bool:
    """Whether the reference would perturb the caller's array in place."""
    return point.perturbable and not call.shares_memory(point.own)


def check_one(call: Call, point: Point, index: Ints, points: Values, values: Values, origin: float) -> float:
    """Evaluate one point plainly, another one each time: it must agree with the lifted value. Returns the seconds.

    Meanwhile all of the caller's array is moved a little: f must not read it, for only the reference perturbs it.

    Raises
    ------
    CannotRun
        If f reads the caller's array.
    NotTrusted
        If the values do not agree.
    """
    row = next(turn) % index.size
    column = row % points.shape[1]
    alone = _replaced(point.base, index[row], points[row, column])
    convert: Callable[[Any], Any] = complex_number if points.dtype.kind == "c" else number
    seen = values[row, column] + origin

    def plainly(x: NDArray[Any]) -> Any:
        try:
            return convert(call.f(x.copy(), *call.args, **call.kwargs))
        except Signal as signal:
            raise NotTrusted(_KEPT) from signal

    own = point.own
    reads = False
    if own is not None and _perturbs(call, point):
        plain: Any = None
        with exclusive(own):
            try:
                np.multiply(point.base, 1 + 2.0**-8, out=own, casting="same_kind")
                own += 2.0**-8
                began = perf_counter()
                plain = plainly(alone)
                seconds = perf_counter() - began
            except Exception:  # noqa: BLE001 - of an array out of f's domain: it counts if f also raises without
                reads = True
            finally:
                own[...] = point.base
        if not reads and agree(plain, seen, values):
            return seconds
        reads = True
    began = perf_counter()
    plain = plainly(alone)
    seconds = perf_counter() - began
    if agree(plain, seen, values):
        if reads:
            raise CannotRun("f reads the caller's array, which only backend='python' perturbs")
        return seconds
    # f may amplify rounding, as a solution of linear equations does: then it does so for one point, too
    with np.errstate(all="ignore"):
        spread = abs(plainly(alone * (1 + 2.0**-52)) - plain) + abs(plainly(alone * (1 - 2.0**-52)) - plain)
        if abs(plain - seen) <= 30.0 * spread < 1e-6 * abs(plain):
            return seconds
    raise NotTrusted(
        f"`f` gives {seen!r} for a point among many and {plain!r} for the same point alone: it is not deterministic, "
        "or does something that looks different for many points at once"
    )


class LiftedGradient:
    """The central difference of order 2 by a fixed rule, by whichever way is fastest."""

    def __init__(self, call: Call, rule: Step, explicit: bool) -> None:
        self._call = call
        self._rule = rule
        self._explicit = explicit
        self._loop = LoopGradient(call, rule)

    def __call__(self, x: Floats, args: tuple[Any, ...], out: Floats) -> int:
        """Write the gradient at x to `out`; returns nfev, or 0 where the general way is to decide."""
        call, n = self._call, x.size
        prepared = call.memo is not None
        if not self._explicit and n < LEAST_ONE_SHOT and not prepared:
            return self._loop(x, args, out)
        ways = ways_of(call, x.shape)
        ways.calls += 1
        if args is not call.args:
            call = call.but(args=args)
        began = perf_counter()
        if self._explicit or ways.loop < inf:
            attempts = ways.forced(n, 2 * n, True) if self._explicit else None
        elif n < LEAST_ONE_SHOT:
            attempts = []
        else:
            number(call.f(x.copy(), *call.args, **call.kwargs))
            ways.loop = perf_counter() - began
            attempts = None
        if attempts is None:
            attempts = ways.worthwhile(n, 2 * n, True, prepared)
            if attempts and not _loaded(2 * n * ways.loop, prepared and ways.calls > 1):
                attempts = []
        if attempts and not self._explicit and ways.stateful(call.f):
            attempts = []
        if attempts:
            began = perf_counter()
            point = Point(undisturbed(x), x, FLOAT64)
            index, points, span, safe = _table(point.base, self._rule)
            if not safe:
                return 0
            lifted = _lift_any(attempts, ways, call, point.base, index, points)
            if lifted is not None:
                way, relative, values = lifted
                if values.shape != points.shape or values.dtype != FLOAT64:
                    return 0
                f0 = number(call.f(point.base.copy(), *call.args, **call.kwargs)) if relative else 0.0
                try:
                    ways.loop = min(ways.loop, check_one(call, point, index, points, values, f0))
                except NotTrusted:
                    return 0
                slopes = (values[:, 0] - values[:, 1]) / span
                if not isfinite(slopes.sum()):
                    return 0
                out.reshape(-1)[:] = slopes
                ways.note(way, (perf_counter() - began) / (2 * n))
                return 2 * n + 1 + relative
        if self._explicit:
            return 0
        began = perf_counter()
        nfev = self._loop(x, args, out)
        if nfev:
            ways.loop = min(ways.loop, (perf_counter() - began) / nfev)
        return nfev


@lru_cache(maxsize=32)
def _everything(size: int) -> Ints:
    index = np.arange(size)
    index.flags.writeable = False
    return index


def _table(x: Floats, rule: Step) -> tuple[Ints, Floats, Floats, bool]:
    """The coordinates; x + h and x - h for each; their distance; and whether no step is lost."""
    flat = x.reshape(-1)
    h = rule.at(flat, None)
    points = np.empty((flat.size, 2))
    above = np.add(flat, h, out=points[:, 0])
    below = np.subtract(flat, h, out=points[:, 1])
    span = above - below
    return _everything(flat.size), points, span, bool((span > h).all()) and isfinite(span.sum())


class Vectorised:
    """The backend "numpy", for functions of many points and of one."""

    def __call__(self, call: Call, point: Point, explicit: bool = False) -> Evaluation:
        return Lifted(call, point, explicit) if call.batch_axis is None else Batched(call, point, explicit)

    @staticmethod
    def quick(call: Call, stencil: Stencil, rule: Step | None, explicit: bool = False) -> LiftedGradient | None:
        """Return a prepared gradient by a fixed rule, for the commonest stencil."""
        if rule is None or not stencil.symmetric or stencil.nodes.size != 2:
            return None
        return LiftedGradient(call, rule, explicit)


VECTORISED = Vectorised()
