"""The derivatives of one run of a solver: simple differences for as long as they are good enough."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import Evaluation
from ..core.options import DEFAULT, Options
from ..core.point import Point
from ..core.validation import FLOAT64, Args, Array, Floats, Function
from ..executors.executor import Rows
from ..executors.table import executor_for
from ..jacobian import numerical_jacobian
from ..planning.choices import JUDGED, PARALLEL, REFERENCE, SPARSE
from ..planning.planner import NOTHING_KEPT, Facts, Plan, Step
from ..planning.run import call_of, plan_for, run
from ..schemes.constants import EPS
from ..schemes.table import scheme_for

__all__ = ["Run", "VectorRun"]

BEGIN = {"2-point": False, "3-point": True}  # whether central differences are asked for
NEAR, FAR = 2.0**-26, 2.0**-17  # of max(1, |x|): the steps of forward and of central differences
DOUBT = 0.1  # of the gradient: an error that leads a solver well
KEPT = 0.7  # of the curvature at the point before: the last move may have been along a valley
APART = 4.0  # times its own error the simpler difference may be wrong
CHANGE = 4.0  # of the curvature, where nothing is known: this many times itself over a distance of max(1, |x|)
CHECKED, SELDOM = 2, 8  # so many points of a lift are checked at first, then every eighth
UNROUNDED = 4  # evaluations besides one for each entry, at most, of differences that are carried unrounded
ONE_SIDE = (1.0,)
ZERO = np.zeros(())
CARRIED = Plan((Step(SPARSE, "it took f before"), Step(REFERENCE, "no lift takes f here")), explicit=True)


class Second(NamedTuple):
    """Second derivatives along each entry, where they were seen, and how much they change over a distance of 1."""

    values: Floats
    at: Floats
    change: Floats


class Moving(Protocol):
    """A function beside one point."""

    def moved(self, steps: Floats) -> tuple[Floats, Floats]:
        """Return by how much each entry of x moves by its step, and what that alone makes of f, of shape (..., n)."""
        ...


class Run:
    r"""What one run of a solver knows of its function.

    Far from a minimum forward differences are as good as any, at half the evaluations. How wrong they are shows in how
    much the gradient has changed since the point before, :math:`h |f''| / 2`, and in rounding, :math:`2 \epsilon |f| /
    h`. Where that is not small beside the gradient central differences take over (as Gill, Murray and Wright 1981,
    Practical Optimization, section 8.6, do it). They tell f'' along each entry, too: from there on one side is enough
    again, less :math:`h f'' / 2`, for as long as f'' changes little on the way. Where these are not good enough the
    steps choose themselves. Which way of the plan takes f is found out once; where differences are carried unrounded
    nothing else is needed.

    Parameters
    ----------
    f : callable
        The objective.
    method : {"2-point", "3-point"}
        What to begin with.
    args : tuple
        What f gets after x.
    bounds : pair of arrays or None
        Where f may be evaluated.
    workers : int, executor or map-like callable
        Who evaluates f where it is evaluated point by point: not a bit depends on them.
    """

    def __init__(self, f: Function, method: str, args: Args, bounds: Any, workers: Any = 1) -> None:
        self._options = Options(args=args, bounds=bounds, workers=workers)
        self._call = call_of(f, self._options, False)
        self._bounds, self._central = bounds, BEGIN[method]
        self._plan: Plan | None = None
        self._by_itself = self._unrounded = self._curved = False
        self._points = 0
        self._x: Floats | None = None
        self._slope: Any = None
        self._bent: Floats = ZERO
        self._most: Floats = ZERO
        self._second: Second | None = None

    def gradient(self, x: Floats, f0: float) -> tuple[Array, int]:
        """Return the gradient at the next point of the run, where f is `f0`, and the evaluations; x is kept."""
        there = _Beside(self._call, self._plan, x, f0, self._points >= CHECKED and self._points % SELDOM > 0)
        slope: Floats | None = None
        if not self._unrounded:
            try:
                slope = self._derivative(x, f0, there)
            except NotTrusted:  # the rule looks again, and says what is wrong
                self._by_itself = True
            self._plan = there.plan
            if there.evaluation is not None and there.evaluation.carries(x.size):
                self._unrounded, self._plan = True, _shared(self._call, CARRIED)
        nfev = there.nfev
        if slope is None:
            scheme, point = scheme_for(self._options, x.shape), Point(x, None, FLOAT64)
            if self._call.shared and self._plan is None:
                self._plan = _planned(self._call, point)[1]
            done = run(self._call, self._options, scheme, point, f0=f0, only=self._plan)
            slope, nfev = done.gradient, nfev + done.nfev
            self._unrounded = self._unrounded and done.nfev <= x.size + UNROUNDED
        self._x, self._slope = x, slope
        return slope, nfev

    def _derivative(self, x: Floats, f0: Any, there: Moving) -> Floats | None:
        """Return simple differences; None where they are not good enough."""
        self._points += 1
        if self._by_itself:
            return None
        with np.errstate(all="ignore"):
            return self._simple(x, f0, there)

    def _simple(self, x: Floats, f0: Any, there: Moving) -> Floats | None:
        shortest, known, bent, drift = NEAR * np.maximum(np.abs(x), 1.0), self._second, None, ZERO
        near, far = shortest, shortest * (FAR / NEAR)
        noise, straight = EPS * self._weighed(np.abs(f0), f0), np.True_
        if known is not None and not self._central:
            drift = _length(x - known.at) * self._weighed(known.change, f0)
            far = np.fmin(np.maximum(np.sqrt(4.0 * noise / drift), shortest), far)
            straight = drift >= self._weighed(self._most, f0)
            if not straight.all():
                near, bent = np.where(straight, shortest, far), np.where(straight, 0.0, known.values)
        if self._bounds is not None:
            sided, both = (_inside(x, steps, -steps, self._bounds) for steps in (near, far))
            if sided is None or both is None:
                return None
            near, far = sided, both
        if self._central or (known is None and self._curved):
            return self._both_sides(x, f0, far, there)
        span, values = there.moved(near)
        slope: Floats = values / span
        length, beyond = np.abs(near), noise
        if bent is not None:
            slope -= 0.5 * span * bent
            beyond = EPS * self._weighed(np.abs(values), f0)
        curvature = self._bend(x, slope)
        bend = self._weighed(curvature, f0)
        truncation = bend if bent is None else np.where(straight, bend, drift)
        if _within((2.0 * noise + beyond) / length + 0.5 * length * truncation, self._steepness(slope, f0), bend):
            self._keep(curvature)
            return slope
        if not np.isfinite(slope.sum()):
            return None
        self._keep(curvature)
        up = values if np.array_equal(near, far) else None
        return self._both_sides(x, f0, far, there, up, slope, 0.5 * length * self._weighed(self._most, f0))

    def _both_sides(
        self,
        x: Floats,
        f0: Any,
        steps: Floats,
        there: Moving,
        up: Floats | None = None,
        simpler: Floats | None = None,
        own: Any = 0.0,
    ) -> Floats | None:
        """Return central differences, of which the upper half may be there; None where they are not good enough.

        Where a bound is in the way, both points of an entry are on its other side.
        From `simpler` differences these are to differ by what those may be wrong, their `own` doubt, not by more.
        """
        back: Floats | None = -steps
        if self._bounds is not None:
            back = _inside(x, -steps, 2.0 * steps, self._bounds)
        if back is None:
            return None
        above = (x + steps) - x
        if up is None:
            above, up = there.moved(steps)
        below, down = there.moved(back)
        between, known = above - below, self._second
        slope: Floats = (up - down) / between
        if (beside := back != -steps).any():
            slope = np.where(beside, (down * above / below - up * below / above) / between, slope)
        second = 2.0 * (up / above - down / below) / between
        if not np.isfinite(second.sum()):
            return None
        if known is None:
            change = np.abs(second) * (CHANGE / max(1.0, float(np.abs(x).max())))
        else:
            change = np.abs(second - known.values) / _length(x - known.at)
        steep = self._steepness(slope, f0)
        if simpler is None:
            self._keep(self._bend(x, slope))
        elif known is None:
            apart = steep - self._steepness(simpler, f0)
            self._by_itself = not apart @ apart <= APART**2 * (own @ own) + DOUBT**2 * (steep @ steep)
        rounding = self._weighed(EPS * (2.0 * np.abs(f0) + np.maximum(np.abs(up), np.abs(down))), f0)
        self._by_itself |= not _within(
            np.where(beside, 4.0, 1.0) * rounding / np.abs(steps), steep, self._weighed(np.abs(second), f0)
        )
        if self._by_itself:
            return None
        self._second = Second(second, x, change)
        return slope

    def _weighed(self, sizes: Any, f0: Any) -> Any:
        """Return, for each entry of x, what errors of so much in the derivatives weigh to the solver."""
        return sizes

    def _steepness(self, slope: Floats, f0: Any) -> Floats:
        """Return the derivatives that the solver wants to vanish."""
        return slope

    def _bend(self, x: Floats, slope: Floats) -> Floats:
        """Return the curvature for each entry of x."""
        if self._x is None:
            return ZERO
        moved = np.abs(x - self._x)
        if not moved.all():  # an entry that did not move, at a bound, tells by how the others' moves changed its slope
            moved[moved == 0.0] = moved.max() or np.inf
        bend: Floats = np.maximum(np.abs(slope - self._slope) / moved, KEPT * self._bent)
        return bend

    def _keep(self, bend: Floats) -> None:
        self._bent, self._most = bend, np.maximum(self._most, bend)


def _outside(x: Floats, bounds: Any) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = (x < bounds[0]) | (x > bounds[1])
    return outside


def _inside(x: Floats, steps: Floats, others: Floats, bounds: Any) -> Floats | None:
    """Return the steps, or the other ones where bounds are in their way; None where neither has room."""
    kept: Floats = np.where(_outside(x + steps, bounds), others, steps)
    return None if _outside(x + kept, bounds).any() else kept


class VectorRun(Run):
    """The same for a function of m values: what errors weigh tells the gradient of half their sum of squares.

    Parameters
    ----------
    method, bounds, workers
        As for `Run`.
    curved : bool
        Whether central differences tell the second derivatives at the first point: of a constraint, which vanishes
        where it holds, nothing says what is good enough.
    """

    def __init__(self, method: str = "2-point", bounds: Any = None, workers: Any = 1, *, curved: bool = False) -> None:
        super().__init__(_unknown, method, (), bounds, workers)
        self._curved = curved
        self._f0: Floats = ZERO

    def jacobian(self, f: Function, x: Floats, f0: Floats, at_once: bool = False) -> tuple[Array, int]:
        """Return the Jacobian at the next point of the run, where f is `f0`, and the evaluations; x is kept.

        `at_once`: f takes many points, as columns.
        """
        if self._x is not None and np.array_equal(x, self._x) and np.array_equal(f0, self._f0):
            return self._slope, 0  # MINPACK's callers try a Jacobian first
        self._f0 = f0
        workers = self._options.workers
        there = _Columns(f, x, f0, at_once, workers)
        slope, nfev = self._derivative(x, f0[:, None], there), there.nfev
        if slope is None:
            bounds = {} if self._bounds is None else {"bounds": self._bounds}
            one = (lambda y: f(y[:, None])[:, 0]) if at_once else f
            slope, info = numerical_jacobian(one, x, f0=f0, full_output=True, workers=workers, **bounds)
            nfev += info.nfev
            self._by_itself = False
        self._x, self._slope = x, slope
        return slope, nfev

    def _weighed(self, sizes: Floats, f0: Floats) -> Floats:
        found: Floats = np.abs(f0[:, 0]) @ sizes if sizes.ndim else sizes
        return found

    def _steepness(self, slope: Floats, f0: Floats) -> Floats:
        steep: Floats = f0[:, 0] @ slope
        return steep


def _unknown(x: Floats) -> Any:
    raise NotImplementedError("each call says what f is")


class _Columns:
    """A function of many values beside one point."""

    def __init__(self, f: Function, x: Floats, f0: Floats, at_once: bool, workers: Any) -> None:
        self._f, self._x, self._f0, self._at_once, self.nfev = f, x, f0, at_once, 0
        self._call = Call(f, workers=workers)

    def moved(self, steps: Floats) -> tuple[Floats, Floats]:
        x, f = self._x, self._f
        self.nfev += x.size
        moved = x + steps
        points = np.repeat(x[None, :], x.size, 0)
        points.reshape(-1)[:: x.size + 1] = moved
        if self._at_once:
            values = f(points.T)
        elif self._call.shared:
            values = executor_for(self._call).evaluate(f, Rows(points, x.shape)).T
        else:
            values = np.array([f(point) for point in points], dtype=np.float64).T
        return moved - x, values - self._f0[:, None]


def _within(error: Floats, slope: Floats, bend: Floats) -> bool:
    """Whether errors make so small a part of the gradient that they lead a solver well.

    Entries of x may have units of their own: what an entry of the gradient is worth shows in the curvature along it.
    """
    worth = 1.0 / bend if bend.ndim and bend.all() else 1.0
    return bool((error * worth) @ error <= DOUBT**2 * ((slope * worth) @ slope))


def _length(x: Floats) -> float:
    return sqrt(x @ x)


def _planned(call: Call, point: Point) -> tuple[Facts, Plan]:
    """Plan as without workers: they are to change no bit."""
    _, facts, plan = plan_for(call.but(workers=1) if call.shared else call, DEFAULT, point, None)
    return facts, _shared(call, plan)


def _shared(call: Call, plan: Plan) -> Plan:
    """Let workers, if there are any, evaluate f where that is done point by point."""
    if not call.shared:
        return plan
    alone = (REFERENCE, JUDGED)
    return plan._replace(steps=tuple(s._replace(way=PARALLEL) if s.way in alone else s for s in plan.steps))


class _Beside:
    """f beside one point, by the first way of the plan that takes it."""

    def __init__(self, call: Call, plan: Plan | None, x: Floats, f0: float, trusted: bool) -> None:
        self._call, self._f0, self._refused, self._trusted = call, f0, 0, trusted
        self._point = Point(x, None, FLOAT64)
        self._nature, self.plan = NOTHING_KEPT, plan
        self.evaluation: Evaluation | None = None

    @property
    def nfev(self) -> int:
        return self._refused + (self.evaluation.nfev if self.evaluation is not None else 0)

    def moved(self, steps: Floats) -> tuple[Floats, Floats]:
        """Return by how much each entry of x moves by its step, and what that alone makes of f."""
        x = self._point.base
        if self.plan is None:
            facts, self.plan = _planned(self._call, self._point)
            self._nature = facts.nature
        while True:
            try:
                if self.evaluation is None:
                    self.evaluation = self._opened(self.plan)
                values, origin = self.evaluation.around(steps.tolist(), ONE_SIDE), self.evaluation.origin
                break
            except CannotRun:
                self._refused, self.evaluation = self.nfev, None
                if len(self.plan.steps) == 1:
                    raise
                self.plan = Plan(self.plan.steps[1:])
        return (x + steps) - x, np.array(values) - (self._f0 - origin)

    def _opened(self, plan: Plan) -> Evaluation:
        evaluation = plan.steps[0].way.open(self._call, self._point, self._nature, False)
        evaluation.known_value(self._f0)
        evaluation.trusted = self._trusted
        return evaluation
