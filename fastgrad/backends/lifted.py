"""f of one point at many points at once: a plain function, lifted.

f is called, unmodified, on an array-like that holds many points (`fastgrad.lifting`). There are two lifts. The dense
one takes more functions; the sparse one carries the differences from f(x), unrounded, and is faster where x is large.
"""

from __future__ import annotations

from functools import cache
from math import hypot, inf
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import InFloats, Unrounded, Values
from ..core.point import Point, exclusive, uneven
from ..core.validation import Floats, Ints, complex_number, number
from ..inspecting.purity import Nature
from ..lifting.signals import Outrun, Signal, where_in
from ..lifting.work import DenseWork, SparseWork
from ..schemes.rounding import AFAR, OF_ROUNDING, RE_ROUNDED, of_rounding
from .batched import agree
from .table import load

EPS = float(np.finfo(np.float64).eps)
SOME = 4  # neighbouring slopes show what f rounds within of many entries: values do not where f is large or flat
ROUNDS_WITHIN = 100.0  # times its own rounding shows that f rounds within: else bars cost no more than the gradient
FEW = 8  # so few points are evaluated plainly, once f's values were checked
DENSE, SPARSE = "dense", "sparse"
_WAY = {DENSE: "dense lift", SPARSE: "sparse lift"}

_KEPT = (
    "`f` keeps what it was given, or a result of it, from one call to the next: it cannot be lifted; use "
    "backend='python', and clear what it keeps"
)


class Attempt(NamedTuple):
    """A lift to try, and whether it is to give up where another way is faster."""

    lift: str
    racing: bool


class _Refusal(NamedTuple):
    """Why a lift did not evaluate f."""

    reason: str
    raised: bool  # f, or the lift itself, raised an exception: f alone may do so, too


@cache
def _attempts(lifts: tuple[str, ...], racing: bool) -> tuple[Attempt, ...]:
    """What is tried in turn. Who has outrun the dense lift without being faster itself leaves the field to it."""
    if not racing or lifts[-1] == DENSE:
        return tuple(Attempt(lift, racing and lift == SPARSE) for lift in lifts)
    return (*(Attempt(lift, True) for lift in lifts), *(Attempt(lift, False) for lift in lifts if lift == DENSE))


@cache
def _settled(lift: str, lifts: tuple[str, ...]) -> tuple[Attempt, ...]:
    """A lift that has evaluated f is not to race again, nor is what may be tried after it."""
    return (Attempt(lift, False), *(Attempt(other, False) for other in lifts if other != lift))


_IMAGINARY = (Attempt(DENSE, False),)


class Lifted(InFloats):
    """f of one point, on many points at once.

    `lifts`, {"dense", "sparse"}: which to try, in this order.
    `racing`: whether a lift gives up where the next way is faster, by counted work. If not, each runs to its end or
        refusal.
    `nature`: what f can read and keep.
    """

    _instead: tuple[Attempt, ...] = ()  # of a dense lift that does not take f: it takes nearly all that the other does

    def __init__(self, call: Call, point: Point, lifts: tuple[str, ...], racing: bool, nature: Nature) -> None:
        self.own: NDArray[Any] | None = None
        self.sees_own = False
        self.way = _WAY[lifts[0]]  # "dense lift" or "sparse lift": which evaluated f, or will be tried first
        self._call, self._point, self._nature = call, point, nature
        self._written = call.f  # whose lines are named
        self._lifts, self._racing = lifts, racing
        self._attempts = _attempts(lifts, racing)
        self._refusals: dict[str, _Refusal] = {}
        self._together: int | None = None  # how many rows at once the sparse lift takes without beginning again
        self._origin: float | None = None
        self._rounded = self._checked = False
        self._draw = crc32(point.base.data)  # which point and direction are checked: others at another x
        if point.base.ndim == 0:
            raise CannotRun("f cannot be lifted at a single number")

    def notes(self) -> list[str]:
        refused = (f"not the {lift} lift: {why.reason}" for lift, why in self._refusals.items())
        return [f"the {self.way}", *refused]

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

    # --- plain evaluations -------------------------------------------------------------------------

    def line(self, points: Values) -> Values:
        rows = points.reshape(-1, *self._point.base.shape)
        return np.array([self._plainly(row) for row in rows], points.dtype) - self.origin

    def _plainly(self, x: NDArray[Any]) -> Any:
        """f at one point, which it may keep."""
        self.nfev += 1
        try:
            result = self._call.value(x.copy())
            return complex_number(result) if x.dtype.kind == "c" else number(result)
        except Signal as signal:
            raise NotTrusted(_KEPT) from signal

    def _replaced(self, i: Any, entry: Any) -> NDArray[Any]:
        point: NDArray[Any] = self._point.base.astype(entry.dtype)
        point.reshape(-1)[i] = entry
        return point

    def _one_by_one(self, index: Ints, points: Values) -> Values:
        values = np.empty(points.shape, points.dtype)
        for row, i in enumerate(index):
            for column, entry in enumerate(points[row]):
                values[row, column] = self._plainly(self._replaced(i, entry))
        return values

    # --- lifted evaluations ------------------------------------------------------------------------

    def sweep(self, index: Ints, points: Values) -> Values:
        m, k = points.shape
        if not m:
            return np.empty(points.shape, points.dtype)
        if m * k < FEW and (self._checked or m * k == 1):
            values, relative = self._one_by_one(index, points), False
        elif m * k < FEW and self._racing:
            raise CannotRun("too few points to try a lift")
        else:
            values, relative = self._lifted(index, points)
        if not self.trusted and (not self._checked or m * k >= FEW):
            row = self._draw % m
            column = row % k
            seen = values[row, column] + (self.value() if relative else 0.0)
            self._check_one(self._replaced(index[row], points[row, column]), seen, values)
        if self._origin is None and not relative:
            self._origin = 0.0
        if relative:
            return values if self.origin == self.value() else values + self.value()
        return values - self.origin if self.origin else values

    def _lifted(self, index: Ints, points: Values) -> tuple[Values, bool]:
        """The values by the first lift that takes f, and whether they are relative to f(x)."""
        real, hopeless, lead = points.dtype.kind != "c", False, 0.0
        attempts = list(self._attempts if real else _IMAGINARY)
        while attempts:
            lift, racing = attempts.pop(0)
            if hopeless and lift == DENSE:
                continue
            work = self._work(lift, points.size, racing, lead)
            try:
                values = load(_WAY[lift]).sweep(self._call, self._point.base, index, points, work=work)
            except (Signal, Exception) as failure:  # noqa: BLE001 - any fault of a lift ends in the plain evaluation
                self._note(lift, failure)
                outrun = failure if isinstance(failure, Outrun) else None
                hopeless = hopeless or (type(work) is DenseWork and work.hopeless)
                if racing and lift == DENSE and not (outrun and outrun.to == SPARSE):
                    attempts = [] if outrun or hopeless else list(self._instead)
                lead = outrun.by if outrun else 0.0
                continue
            finally:
                self.nfev += work.nfev
            if real:
                self._attempts = _settled(lift, self._lifts)
            self.way = _WAY[lift]
            return self._scalars(values if lift == DENSE else values.values, points), lift == SPARSE
        raise self._refusal(index, points)

    def _work(self, lift: str, points: int, racing: bool, lead: float = 0.0) -> DenseWork | SparseWork:
        if lift == DENSE:
            return DenseWork(points, racing)
        return self._sparse_work(points, racing, lead)

    def _sparse_work(self, points: int, racing: bool, lead: float = 0.0) -> SparseWork:
        tile_points = load(_WAY[DENSE]).tile_points(self._point.base.size) if racing else 1
        return SparseWork(points, tile_points, racing, lead, self._together)

    def _scalars(self, values: Values, points: Values) -> Values:
        if values.size != points.size or (values.dtype.kind == "c" and points.dtype.kind != "c"):
            self._plainly(self._point.base)  # says what f must return
            raise CannotRun("f returns an array" if values.size != points.size else "f returns complex numbers")
        if values.dtype.kind != points.dtype.kind:
            raise CannotRun("f drops the imaginary part")
        return values.reshape(points.shape)

    def _note(self, lift: str, failure: BaseException) -> None:
        """Note why a lift did not evaluate f."""
        reason = str(failure) if isinstance(failure, Signal) else f"{type(failure).__name__}: {failure}"
        where = where_in(self._written, failure.__traceback__)
        raised = not isinstance(failure, Signal) or failure.__cause__ is not None
        self._refusals[lift] = _Refusal(f"{reason} ({where})" if where else reason, raised)

    def _refusal(self, index: Ints, points: Values) -> CannotRun:
        """Say why f cannot be lifted, unless it raises an exception of its own."""
        if not self._racing:  # else it is evaluated plainly next, and will say so itself
            self._plainly(self._point.base)
            if any(refusal.raised for refusal in self._refusals.values()):
                self._one_by_one(index, points)
        told = self._refusals.get(DENSE) or next(iter(self._refusals.values()))
        return CannotRun(f"f cannot be lifted: {told.reason}")

    # --- unrounded differences -----------------------------------------------------------------------

    def carries(self, count: int) -> bool:
        return not self._rounded and bool(self._attempts) and self._attempts[0].lift == SPARSE

    def differences(self, index: Ints, steps: Floats, away: Floats, bars: bool) -> Unrounded | None:
        if not self.carries(index.size):
            return None
        x = self._point.base
        try:
            found = self._unrounded(x, index, steps, racing=self._attempts[0].racing)
        except (Signal, Exception) as failure:  # noqa: BLE001 - any fault of a lift ends in the plain evaluation
            self._note(SPARSE, failure)
            self._attempts = tuple(attempt for attempt in self._attempts if attempt.lift != SPARSE)
            return None
        if found is None:
            self._rounded = True
            return None
        values, tied, lost = found
        rounding = None
        if bars:  # before anything is evaluated plainly: what f can reach is then known still
            rounding = self._rounding(x, index, steps, values)
        smooth = np.flatnonzero(~tied)
        if smooth.size and not self._agrees_farther_away(index[smooth], steps[smooth], values[smooth], away[smooth]):
            self._rounded = True
            return None
        self._attempts = _settled(SPARSE, self._lifts)
        self.way = _WAY[SPARSE]
        return Unrounded(values, tied, rounding, lost)

    def _unrounded(
        self, x: Floats, index: Ints, steps: Floats, *, racing: bool
    ) -> tuple[Floats, NDArray[np.bool_], float] | None:
        """The differences from f at x or beside it, where they tell of one side only, and what they may lack."""
        work = self._sparse_work(steps.size, racing)
        try:
            found = load(_WAY[SPARSE]).differences(self._call, x, index, steps[:, None], work=work)
        finally:
            self.nfev += work.nfev
            self._together = work.together
        if found is None:
            return None
        values = found.values[:, 0]
        return values, found.tied | ~np.isfinite(values), found.lost

    def _rounding(self, x: Floats, index: Ints, steps: Floats, values: Floats) -> Floats:
        """Return by how much the differences vary where f rounds otherwise.

        The next numbers beside x show the rounding of most f. What f adds to large numbers rounds alike there: farther
        away, some slopes show it where it is of many entries, and f's own values along one direction where it is of
        one. Where either does, all slopes are looked at there.
        """
        near = x.copy()
        moved = near.reshape(-1)[index]
        to = np.where((self._draw + np.arange(index.size) * 5) % 13 < 6, -inf, inf)
        with np.errstate(under="ignore"):
            near.reshape(-1)[index] = np.where(moved == 0.0, 0.0, np.nextafter(moved, to))
        again = self._beside(near, index, steps)
        found = np.zeros(values.shape) if again is None else OF_ROUNDING * np.abs(values - again)
        owners = np.geterr()

        def alone(point: Floats) -> Floats | None:
            with np.errstate(**owners):
                return self._alone(point)

        def farther(some: slice, step: float) -> Floats:
            return of_rounding(
                x.reshape(-1), values[some], lambda point: self._beside(point, index[some], steps[some]), step=step
            )

        start = self._draw % max(index.size - SOME + 1, 1)
        some, all_of_them = slice(start, start + SOME), slice(None)  # neighbours: what is between is lifted, too
        with np.errstate(all="ignore"):
            seen = farther(some, RE_ROUNDED)
            if (seen > 64.0 * EPS * np.abs(values[some]) + 4.0 * found[some]).any():
                return np.maximum(found, seen if index.size <= SOME else farther(all_of_them, RE_ROUNDED))
            size, value = hypot(self.value(), *(values / steps * moved).tolist()), np.array([self.value()])
            for step in (RE_ROUNDED, AFAR):
                if of_rounding(x.reshape(-1), value, alone, step=step)[0] > ROUNDS_WITHIN * EPS * size:
                    return np.maximum(found, farther(all_of_them, step))
        return found

    def _alone(self, point: Floats) -> Floats | None:
        """f at another point; None where it raises."""
        try:
            return np.array([self._plainly(point.reshape(self._point.base.shape))])
        except NotTrusted:
            raise
        except Exception:  # noqa: BLE001 - nobody asked for that point
            return None

    def _beside(self, point: Floats, index: Ints, steps: Floats) -> Floats | None:
        """The differences from f at another point; None if f cannot be lifted there. The race was at x."""
        try:
            found = self._unrounded(point.reshape(self._point.base.shape), index, steps, racing=False)
        except (Signal, Exception):  # noqa: BLE001 - nobody asked for that point
            return None
        return None if found is None else found[0]

    def _agrees_farther_away(self, index: Ints, steps: Floats, values: Floats, away: Floats) -> bool:
        """Compare the slopes with plain evaluations on both sides of x, along one direction, another one at each x.

        Near to x these would show nothing but f's rounding. Noise shows, too: then the slopes are not what is wanted.
        """
        shape = self._point.base.shape
        away = np.where((self._draw + np.arange(away.size) * 7) % 11 < 5, -away, away)
        both = np.stack([self._point.base.reshape(-1)] * 2)
        both[0, index] += away
        both[1, index] -= away
        try:
            above, below = (self._plainly(row.reshape(shape)) for row in both)
        except NotTrusted:
            raise
        except Exception:  # noqa: BLE001 - whatever f raises there: nobody asked for that point
            return False
        if self._may_read():
            self._check_one(both[0].reshape(shape), above, both)
        with np.errstate(all="ignore"):
            expected = values / steps * away
            total = float(expected.sum())
        # hypot, for squares may overflow or vanish: any difference would be below an infinite doubt
        doubt = 1e-3 * hypot(*expected.tolist()) + 100.0 * EPS * (abs(above) + abs(below))
        if not abs(2.0 * total - (above - below)) <= doubt < inf:
            return False
        self._checked, self.sees_own = True, self._sees_own()
        return True

    # --- checks --------------------------------------------------------------------------------------

    def _may_read(self) -> bool:
        own = self._point.own
        return own is not None and self._nature.may_read(own)

    def _perturbs(self) -> bool:
        """Whether the reference would perturb the caller's array in place."""
        return self._point.perturbable and not self._call.shares_memory(self._point.own)

    def _sees_own(self) -> bool:
        """Whether f does not read the caller's array: it cannot, or a check would have shown it."""
        return not self._may_read() or self._perturbs()

    def _check_one(self, point: NDArray[Any], seen: Any, values: Values) -> None:
        """Evaluate one point plainly: it must agree with the lifted value.

        If f may read the caller's array, all of that is moved a little meanwhile: f must not read it, for only the
        reference perturbs it.

        CannotRun if f reads the caller's array. NotTrusted if the values do not agree.
        """
        moves = self._may_read() and self._perturbs()
        moved = self._while_moved(point) if moves else None
        if moved is None or not agree(moved, seen, values):
            plain = self._plainly(point)
            if not agree(plain, seen, values) and not self._amplifies(point, plain, seen):
                raise NotTrusted(
                    f"`f` gives {seen!r} for a point among many and {plain!r} for the same point alone: it is not "
                    "deterministic, or does something that looks different for many points at once"
                )
            if moves and agree(plain, seen, values):
                raise CannotRun("f reads the caller's array, which only backend='python' perturbs")
        self._checked, self.sees_own = True, self._sees_own()

    def _while_moved(self, point: NDArray[Any]) -> Any:
        """f at a point, while the caller's array is elsewhere; None where f raises, as it may for such an array."""
        own = self._point.own
        assert own is not None
        with exclusive(own):
            try:
                np.multiply(self._point.base, 1 + 2.0**-8, out=own, casting="same_kind")
                own += uneven(own.shape)
                return self._plainly(point)
            except Exception:  # noqa: BLE001
                return None
            finally:
                own[...] = self._point.base

    def _amplifies(self, point: NDArray[Any], plain: Any, seen: Any) -> bool:
        """Whether f amplifies rounding, as a solution of linear equations does: then it does so for one point, too."""
        with np.errstate(all="ignore"):
            spread = sum(abs(self._plainly(point * factor) - plain) for factor in (1 + 2.0**-52, 1 - 2.0**-52))
            return bool(abs(plain - seen) <= 30.0 * spread < 1e-6 * abs(plain))
