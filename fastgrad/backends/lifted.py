"""The backend "numpy": all ±h points at once, by a function of many points or by lifting a function of one.

A plain f is lifted (`fastgrad.lifting`): it is called, unmodified, on an array-like that holds many points. Whether
that pays is found out as `ways` says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from math import hypot, inf, isfinite
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import Evaluation, InFloats, Values
from ..core.point import Point, exclusive, undisturbed, uneven
from ..core.validation import FLOAT64, Floats, Ints, complex_number, everything, number
from ..inspecting.purity import Nature
from ..lifting.signals import OutOfTime, Signal, where_in, within
from ..schemes.stencils import Stencil
from ..schemes.steps import Step
from .batched import TILE_BYTES, Batched, agree, turn
from .reference import LoopGradient
from .ways import (
    CLEARLY,
    DENSE,
    LEAST_ATTEMPT,
    LOOP,
    SPARSE,
    SPARSE_FROM,
    SPARSE_LEAST,
    Attempts,
    Ways,
    recall,
    ways_of,
)

TRIAL_POINTS = 16  # that the dense lift is timed on, before it gets all of a large sweep
FARTHER = 2.0**21  # times as far from x as the nearest points: from 2**-40 to 2**-19 of its scale
EPS = float(np.finfo(np.float64).eps)
FEW = 8  # so few points are evaluated plainly
LOADING = 0.03  # seconds: loops must have taken that long altogether before the lifts are loaded (10 ms, 100 uncached)
FEW_FLOATS = 40  # so many are faster in plain Python than in numpy
ONE_TILE = 2 * TILE_BYTES  # up to this size all points are evaluated in one call

_KEPT = (
    "`f` keeps what it was given, or a result of it, from one call to the next: it cannot be lifted; use "
    "backend='python', and clear what it keeps"
)

# whether the values are differences from f(x), the values, and how many points were evaluated
Found = tuple[bool, Values, int]
Lift = Callable[[Call, Floats, Ints, Values], Found]


@cache
def _dense() -> Any:
    return import_module("...lifting.dense", __name__)


@cache
def _sparse() -> Any:
    return import_module("...lifting.sparse", __name__)


def _by_dense(call: Call, x: Floats, index: Ints, points: Values) -> Found:
    return False, *_dense().sweep(call.f, x, index, points, args=call.args, kwargs=call.kwargs)


def _by_sparse(call: Call, x: Floats, index: Ints, points: Values) -> Found:
    swept = _sparse().sweep(call.f, x, index, points, args=call.args, kwargs=call.kwargs)
    return True, swept.values, points.size + swept.plain.size * points.shape[1]


_LIFT: dict[str, Lift] = {DENSE: _by_dense, SPARSE: _by_sparse}
_MODULE = {DENSE: _dense, SPARSE: _sparse}

_looped = 0.0  # seconds spent in loops


def _loaded(seconds: float, prepared: bool) -> bool:
    """Whether the lifts are loaded, or are worth loading: for many calls, or for a loop that takes so long."""
    global _looped
    _looped += inf if prepared else seconds
    return _looped >= LOADING


def _attempt(way: str, limit: float, ways: Ways, call: Call, x: Floats, index: Ints, points: Values) -> Found:
    """One lift of all points, or a Signal. What stopped it is remembered."""
    lift = _LIFT[way]
    _MODULE[way]()  # loading it is not to be counted
    m, k = points.shape
    began = perf_counter()
    try:
        if way == DENSE and limit < inf and x.size > SPARSE_FROM and m * k > 4 * TRIAL_POINTS:
            few = max(1, TRIAL_POINTS // k)
            with within(limit):
                _, first, nfev = lift(call, x, index[:few], points[:few])
            ways.note(way, (perf_counter() - began) / (few * k))
            if ways.seconds[way] > CLEARLY * ways.loop:
                raise OutOfTime
            _, rest, more = lift(call, x, index[few:], points[few:])
            return False, np.concatenate([first, rest]), nfev + more
        if limit == inf:
            return lift(call, x, index, points)
        with within(limit):
            return lift(call, x, index, points)
    except Signal as signal:
        _remember(signal, way, limit, ways, call, began)
        raise


def _remember(signal: Signal, way: str, limit: float, ways: Ways, call: Call, began: float) -> None:
    """Note what stopped a lift."""
    ways.tried += perf_counter() - began
    if isinstance(signal, OutOfTime):
        ways.limits[way] = limit
        return
    where = where_in(call.f, signal.__traceback__)
    ways.refused[way] = f"{signal} ({where})" if where else str(signal)


def _lift_any(
    attempts: Attempts, ways: Ways, call: Call, x: Floats, index: Ints, points: Values
) -> tuple[str, bool, Values, int] | None:
    for way, limit in attempts:
        if way in ways.refused:
            continue
        try:
            return way, *_attempt(way, limit, ways, call, x, index, points)
        except Signal:
            continue
    return None


class Lifted(InFloats):
    """f of one point, on many points at once.

    Attributes
    ----------
    way : str
        Which lift evaluated f; empty before.
    """

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.nfev = 0
        self.own: NDArray[Any] | None = None
        self.sees_own = False
        self.way = ""
        self._call = call
        self._point = point
        self._explicit = explicit
        self._ways = ways = ways_of(call, point.base.shape)
        self._origin: float | None = None
        self._value: float | None = None
        self._checked = False
        ways.calls += 1
        if point.base.ndim == 0:
            raise CannotRun("f cannot be lifted at a single number")
        if explicit:
            return
        if ways.loop == inf and (call.memo is None or ways.calls < 2) and point.base.size < FEW:
            raise CannotRun(f"x has fewer than {FEW} entries: too few to try a lift in one call")
        if {DENSE, SPARSE} <= ways.refused.keys() or (call.memo is not None and ways.hopeless):
            raise CannotRun(ways.reason)
        if call.memo is not None and ways.nature(call).keeps:
            raise CannotRun(_kept(ways.nature(call)))

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

    def carries(self, count: int) -> bool:
        ways, n = self._ways, self._point.base.size
        if ways.rounded or SPARSE in ways.refused:
            return False
        if self._explicit or ways.loop == inf:
            return self._explicit or n >= SPARSE_LEAST
        return ways.exactly(n, 2 * count, self._call.memo is not None) >= LEAST_ATTEMPT

    def differences(self, index: Ints, points: Values) -> Values | None:
        x, ways, call = self._point.base, self._ways, self._call
        if ways.loop == inf:
            self._time_one()
        began = perf_counter()
        prepared = call.memo is not None
        limit = inf if self._explicit else ways.exactly(x.size, points.size, prepared)
        if limit < LEAST_ATTEMPT:
            return None
        if not self._explicit and not _loaded(points.size * ways.loop, prepared and ways.calls > 1):
            return None
        nature = ways.nature(call)
        if nature.keeps and not self._explicit:
            return None
        sparse, began = _sparse(), perf_counter()  # loading it is not to be counted
        try:
            with within(limit):
                swept = sparse.sweep(call.f, x, index, points, args=call.args, kwargs=call.kwargs)
                self.nfev += points.size + swept.plain.size * points.shape[1]
                ways.rounded = swept.rounded or bool(swept.plain.size) or swept.values.shape != points.shape
                if ways.rounded or not np.isfinite(swept.values).all():
                    return None
                agreed = self._agrees_farther_away(nature, index, points, swept.values)
        except Signal as signal:
            _remember(signal, SPARSE, limit, ways, call, began)
            return None
        if not agreed:
            ways.rounded = True
            return None
        self._checked, self.way = True, SPARSE
        self.sees_own = self._seen(nature)
        ways.note(SPARSE, (perf_counter() - began) / points.size)
        values: Values = swept.values
        return values

    def _agrees_farther_away(self, nature: Nature, index: Ints, points: Values, values: Values) -> bool:
        """Compare the slopes with plain evaluations on both sides of x, along one direction, another one each time.

        Near to x these would show nothing but f's rounding. Noise shows, too: then the slopes are not what is wanted.
        """
        x, turned = self._point.base.reshape(-1), next(turn)
        away = (points[:, 0] - x[index]) * FARTHER
        away[(turned + np.arange(len(away)) * 7) % 11 < 5] *= -1.0
        both = np.stack([x, x])
        both[0, index] += away
        both[1, index] -= away
        began = perf_counter()
        try:
            above, below = (self._plainly(row.reshape(self._point.base.shape)) for row in both)
        except NotTrusted:
            raise
        except Exception:  # noqa: BLE001 - whatever f raises there: nobody asked for that point
            return False
        self._ways.note(LOOP, 0.5 * (perf_counter() - began))
        own = self._point.own
        if own is not None and nature.may_read(own):
            check_one(self._call, self._point, nature, both[0].reshape(self._point.base.shape), above, both)
            self.nfev += 1
        with np.errstate(all="ignore"):
            expected = (values[:, 0] - values[:, 1]) * (away / (points[:, 0] - points[:, 1]))
            total = float(expected.sum())
        # hypot, for squares may overflow or vanish: any difference would be below an infinite doubt
        doubt = 1e-3 * hypot(*expected.tolist()) + 100.0 * EPS * (abs(above) + abs(below))
        return bool(abs(2.0 * total - (above - below)) <= doubt < inf)

    def line(self, points: Values) -> Values:
        rows = points.reshape(-1, *self._point.base.shape)
        return np.array([self._plainly(row) for row in rows], points.dtype) - self.origin

    def sweep(self, index: Ints, points: Values) -> Values:
        m, k = points.shape
        if not m:
            return np.empty(points.shape, points.dtype)
        if m * k < FEW and (self._checked or (m * k == 1 and self._explicit)):
            return self._one_by_one(index, points)
        x, ways, call = self._point.base, self._ways, self._call
        real, prepared = points.dtype.kind != "c", call.memo is not None
        if ways.loop == inf:
            self._time_one()
        began = perf_counter()
        if self._explicit:
            attempts = ways.forced(x.size, m * k, real)
        elif m * k < FEW and not prepared:
            raise CannotRun("too few points to try a lift")
        else:
            attempts = ways.worthwhile(x.size, m * k, real, prepared)
            if attempts and not _loaded(m * k * ways.loop, prepared and ways.calls > 1):
                attempts = []
        if attempts and attempts[0][0] not in ways.tries:
            _MODULE[attempts[0][0]]()  # loading it is not to be counted
            began = perf_counter()
        nature = ways.nature(call) if attempts else None
        if nature is not None and nature.keeps and not self._explicit:
            ways.tried += perf_counter() - began
            raise CannotRun(_kept(nature))
        lifted = _lift_any(attempts, ways, call, x, index, points)
        if lifted is None or nature is None:
            if self._explicit:
                self._plainly(x)  # f's own error comes first
            else:
                ways.note_loop(m * k * ways.loop, m * k)  # what takes over
            raise CannotRun(ways.reason)
        way, relative, values, nfev = lifted
        self.nfev += nfev
        values = self._scalars(values, points)
        if self._origin is None and not relative:
            self._origin = 0.0
        row = next(turn) % m
        column = row % k
        alone = _replaced(x, index[row], points[row, column])
        seen = values[row, column] + (self.value() if relative else 0.0)
        ways.note(LOOP, check_one(call, self._point, nature, alone, seen, values))
        self.nfev += 1
        self._checked = True
        self.sees_own = self._seen(nature)
        if self._origin is None or relative:
            self._origin = self.origin
            values = values if relative and self._origin == self.value() else values + self.value()
        elif self._origin:
            values = values - self._origin
        ways.note(way, (perf_counter() - began) / (m * k))
        self.way = way
        return values

    def _seen(self, nature: Nature) -> bool:
        """Whether f does not read the caller's array: it cannot, or the check would have shown it."""
        own = self._point.own
        return own is None or not nature.may_read(own) or _perturbs(self._call, self._point)

    def _time_one(self) -> None:
        began = perf_counter()
        self._value = self._plainly(self._point.base)
        self._ways.note(LOOP, perf_counter() - began)

    def _plainly(self, x: NDArray[Any]) -> Any:
        self.nfev += 1
        return _plainly(self._call, x.copy())

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


def _kept(nature: Nature) -> str:
    return f"{nature.keeps}, so it is lifted only by backend='numpy'"


def _plainly(call: Call, x: NDArray[Any]) -> Any:
    """f at one point, which it may keep."""
    try:
        result = call.f(x, *call.args, **call.kwargs)
        return complex_number(result) if x.dtype.kind == "c" else number(result)
    except Signal as signal:
        raise NotTrusted(_KEPT) from signal


def _replaced(x: Floats, i: Any, entry: Any) -> NDArray[Any]:
    point: NDArray[Any] = x.astype(entry.dtype)
    point.reshape(-1)[i] = entry
    return point


def _perturbs(call: Call, point: Point) -> bool:
    """Whether the reference would perturb the caller's array in place."""
    return point.perturbable and not call.shares_memory(point.own)


def check_one(call: Call, point: Point, nature: Nature, alone: NDArray[Any], seen: Any, values: Values) -> float:
    """Evaluate one point plainly, another one each time: it must agree with the lifted value. Returns the seconds.

    If f may read the caller's array, all of that is moved a little meanwhile: f must not read it, for only the
    reference perturbs it.

    Raises
    ------
    CannotRun
        If f reads the caller's array.
    NotTrusted
        If the values do not agree.
    """
    own = point.own
    reads = False
    if own is not None and nature.may_read(own) and _perturbs(call, point):
        plain: Any = None
        with exclusive(own):
            try:
                np.multiply(point.base, 1 + 2.0**-8, out=own, casting="same_kind")
                own += uneven(own.shape)
                began = perf_counter()
                plain = _plainly(call, alone.copy())
                seconds = perf_counter() - began
            except Exception:  # noqa: BLE001 - of an array out of f's domain: it counts if f also raises without
                reads = True
            finally:
                own[...] = point.base
        if not reads and agree(plain, seen, values):
            return seconds
        reads = True
    began = perf_counter()
    plain = _plainly(call, alone.copy())
    seconds = perf_counter() - began
    if agree(plain, seen, values):
        if reads:
            raise CannotRun("f reads the caller's array, which only backend='python' perturbs")
        return seconds
    # f may amplify rounding, as a solution of linear equations does: then it does so for one point, too
    with np.errstate(all="ignore"):
        moved = (_plainly(call, alone * factor) for factor in (1 + 2.0**-52, 1 - 2.0**-52))
        spread = sum(abs(value - plain) for value in moved)
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
        began = perf_counter()
        call, n = self._call, x.size
        if args is not call.args:
            call = call.but(args=args)
        ways, prepared = ways_of(call, x.shape), call.memo is not None
        ways.calls += 1
        if self._explicit:
            attempts = ways.forced(n, 2 * n, True)
        elif ways.hopeless:
            return self._loop(x, args, out)
        else:
            if ways.loop == inf and n >= FEW and not ways.measure:
                _plainly(call, x.copy())
                ways.note(LOOP, perf_counter() - began)
                began = perf_counter()
            attempts = ways.worthwhile(n, 2 * n, True, prepared) if ways.loop < inf else []
            if attempts and not _loaded(2 * n * ways.loop, prepared and ways.calls > 1):
                attempts = []
        if attempts:
            if attempts[0][0] not in ways.tries:
                _MODULE[attempts[0][0]]()  # loading it is not to be counted
                began = perf_counter()
            nature = ways.nature(call)
            if self._explicit or not nature.keeps:
                nfev = self._by_lift(attempts, ways, call, nature, x, out, began)
                if nfev is not None:
                    return nfev
            else:
                ways.tried += perf_counter() - began
            began = perf_counter()
        if self._explicit:
            return 0
        nfev = self._loop(x, args, out)
        if nfev:
            ways.note_loop(perf_counter() - began, nfev)
        return nfev

    def _by_lift(
        self, attempts: Attempts, ways: Ways, call: Call, nature: Nature, x: Floats, out: Floats, began: float
    ) -> int | None:
        """Return nfev; 0 where the general way is to decide, None where no lift was possible."""
        n = x.size
        point = Point(undisturbed(x), x, FLOAT64)
        tile, span, safe = around(point.base.reshape(-1), self._rule)
        if not safe:
            return 0
        way, limit = attempts[0]
        values: Values | None = None
        if way == DENSE and way not in ways.refused and tile is not None and not ways.large:
            dense = _dense()
            try:
                with within(limit):
                    values = dense.at_once(call.f, tile, x.shape, call.args, call.kwargs)
                relative, nfev = False, 2 * n
            except dense.TooLarge:
                ways.large = True
            except Signal as signal:
                _remember(signal, way, limit, ways, call, began)
                attempts = attempts[1:]
        if values is None:
            index, points = _table(point.base, self._rule)
            lifted = _lift_any(attempts, ways, call, point.base, index, points)
            if lifted is None:
                return None
            way, relative, values, nfev = lifted
        if values.size != 2 * n or values.dtype != FLOAT64:
            return 0
        values = values.reshape(2 * n)
        row = next(turn) % (2 * n)
        if tile is not None:
            alone = tile[row].reshape(x.shape)
        else:
            alone = _replaced(point.base, row // 2, points[row // 2, row % 2])
        try:
            f0 = _plainly(call, point.base.copy()) if relative else 0.0
            ways.note_plain(check_one(call, point, nature, alone, values[row] + f0, values))
        except NotTrusted:
            return 0
        target = out.reshape(-1)
        # nothing but zeros may mean that f reads the caller's array
        if not _combine(values, span, target) or (nature.may_read(x) and not target.any()):
            return 0
        ways.note(way, (perf_counter() - began) / (2 * n))
        return nfev + 1 + relative


def around(x: Floats, rule: Step) -> tuple[Floats | None, Floats, bool]:
    """Return all points of a central difference, their distances, and whether no step is lost.

    x + h and x - h of each entry in turn.
    The points are left out (None) where they would take too much memory.
    """
    n, same = x.size, rule.constant
    h: float | Floats = rule.at(x, None) if same is None else same
    if 16 * n * n > ONE_TILE:
        span = (x + h) - (x - h)
        return None, span, _no_step_is_lost(span, h)
    tile = np.empty((2 * n, n))
    tile[...] = x
    entries = tile.reshape(-1)
    above, below = entries[:: 2 * n + 1], entries[n :: 2 * n + 1]
    np.add(x, h, out=above)
    np.subtract(x, h, out=below)
    span = above - below
    return tile, span, _no_step_is_lost(span, h)


def _no_step_is_lost(span: Floats, h: float | Floats) -> bool:
    if span.size <= FEW_FLOATS and isinstance(h, float):
        distances = span.tolist()
        return bool(min(distances) > h and max(distances) < inf)
    return bool((span > h).all()) and isfinite(span.sum())


def _combine(values: Floats, span: Floats, out: Floats) -> bool:
    """Write the difference quotients to `out`; whether they are finite."""
    if span.size <= FEW_FLOATS:
        pairs = values.tolist()
        slopes = [(a - b) / s for a, b, s in zip(pairs[0::2], pairs[1::2], span.tolist(), strict=True)]
        out[:] = slopes
        return isfinite(sum(slopes))
    with np.errstate(all="ignore"):
        np.subtract(values[0::2], values[1::2], out=out)
        np.divide(out, span, out=out)
        return isfinite(out.sum())


def _table(x: Floats, rule: Step) -> tuple[Ints, Floats]:
    """The coordinates, and x + h and x - h for each."""
    flat = x.reshape(-1)
    h = rule.at(flat, None)
    points = np.empty((flat.size, 2))
    np.add(flat, h, out=points[:, 0])
    np.subtract(flat, h, out=points[:, 1])
    return everything(flat.size), points


class BatchedGradient:
    """The central difference of order 2 by a fixed rule, all points in one call of a function that takes many."""

    def __init__(self, call: Call, rule: Step) -> None:
        self._call = call
        self._rule = rule
        self._alone = call.of_one_point()

    def __call__(self, x: Floats, args: tuple[Any, ...], out: Floats) -> int:
        """Write the gradient at x to `out`; returns nfev, or 0 where the general way is to decide."""
        call, n = self._call, x.size
        tile, span, safe = around(undisturbed(x).reshape(-1), self._rule)
        if not safe or tile is None:
            return 0
        row = next(turn) % (2 * n) or 1  # never the first, the one that a function which uses only one row gets right
        alone = tile[row].reshape(x.shape).copy()
        shown = (
            tile.reshape(2 * n, *x.shape)
            if call.batch_axis == 0
            else np.ascontiguousarray(tile.T).reshape(*x.shape, 2 * n)
        )
        shown.flags.writeable = False  # f must not damage the tile
        try:
            values = np.asarray(call.f(shown, *args, **call.kwargs))
            if values.shape != (2 * n,) or values.dtype != FLOAT64:
                return 0
            values = values.copy()  # f may use its buffer again
            plain = number(self._alone.f(alone, *args, **call.kwargs))
        except (TypeError, ValueError, IndexError):
            return 0
        if not agree(plain, values[row], values):
            return 0
        target = out.reshape(-1)
        # nothing but zeros may mean that f reads the caller's array
        if not _combine(values, span, target) or not target.any():
            return 0
        return 2 * n + 1


class Vectorised:
    """The backend "numpy", for functions of many points and of one."""

    def __call__(self, call: Call, point: Point, explicit: bool = False) -> Evaluation:
        return Lifted(call, point, explicit) if call.batch_axis is None else Batched(call, point, explicit)

    recall = staticmethod(recall)

    @staticmethod
    def quick(
        call: Call, stencil: Stencil, rule: Step | None, explicit: bool = False
    ) -> LiftedGradient | BatchedGradient | None:
        """Return a prepared gradient by a fixed rule, for the commonest stencil."""
        if rule is None or not stencil.symmetric or stencil.nodes.size != 2:
            return None
        return LiftedGradient(call, rule, explicit) if call.batch_axis is None else BatchedGradient(call, rule)


VECTORISED = Vectorised()
