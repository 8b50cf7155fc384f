"""The derivatives of one run of a solver: simple differences for as long as they are good enough."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import Evaluation
from ..core.options import DEFAULT, Options
from ..core.point import Point
from ..core.validation import FLOAT64, Floats
from ..planning.choices import REFERENCE, SPARSE
from ..planning.planner import NOTHING_KEPT, Plan, Step
from ..planning.run import call_of, plan_for, run
from ..schemes.constants import EPS
from ..schemes.table import scheme_for

__all__ = ["Run"]

BEGIN = {"2-point": False, "3-point": True}  # whether central differences are asked for
NEAR, FAR = 2.0**-26, 2.0**-17  # of max(1, |x|): the steps of forward and of central differences
DOUBT = 0.1  # of the gradient: an error that leads a solver well
KEPT = 0.7  # of the curvature at the point before: the last move may have been along a valley
APART = 4.0  # times its own error the simpler difference may be wrong
CHANGE = 4.0  # of the curvature, where nothing is known: this many times itself over a distance of max(1, |x|)
UNROUNDED = 4  # evaluations besides one for each entry, at most, of differences that are carried unrounded
ONE_SIDE = (1.0,)
CARRIED = Plan((Step(SPARSE, "it took f before"), Step(REFERENCE, "no lift takes f here")), explicit=True)


class Second(NamedTuple):
    """Second derivatives along each entry, where they were seen, and how fast they change, relative to themselves."""

    values: Floats
    at: Floats
    change: float


class Run:
    r"""What one run of a solver knows of its function.

    Far from a minimum forward differences are as good as any, at half the evaluations. How wrong they are shows in how
    much the gradient has changed since the point before, :math:`h |f''| / 2`, and in rounding, :math:`2 \epsilon |f| /
    h`. Where that is not small beside the gradient central differences take over (as Gill, Murray and Wright 1981,
    Practical Optimization, section 8.6, do it). They tell f'' along each entry, too: from there on one side at their
    longer step is enough again, less :math:`h f'' / 2`, for as long as f'' changes little on the way. Where these are
    not good enough the steps choose themselves. Which way of the plan takes f is found out once; where differences are
    carried unrounded nothing else is needed.

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
    shape : tuple of int
        Of x.
    """

    def __init__(
        self, f: Callable[..., Any], method: str, args: tuple[Any, ...], bounds: Any, shape: tuple[int, ...]
    ) -> None:
        self._options = Options(args=args, bounds=bounds)
        self._call, self._scheme = call_of(f, self._options, False), scheme_for(self._options, shape)
        self._bounds, self._central = bounds, BEGIN[method]
        self._plan: Plan | None = None
        self._by_itself = self._unrounded = False
        self._x: Floats | None = None
        self._slope: Any = None
        self._bent: Any = 0.0
        self._most: Any = 0.0
        self._second: Second | None = None

    def gradient(self, x: Floats, f0: float) -> tuple[NDArray[Any], int]:
        """Return the gradient at the next point of the run, where f is `f0`, and the evaluations; x is kept."""
        there = _Beside(self._call, self._plan, x, f0)
        slope: Floats | None = None
        if not (self._by_itself or self._unrounded):
            with np.errstate(all="ignore"):
                try:
                    slope = self._simple(x, f0, there)
                except NotTrusted:  # the rule looks again, and says what is wrong
                    self._by_itself = True
            self._plan = there.plan
            if there.evaluation is not None and there.evaluation.carries(x.size):
                self._unrounded, self._plan = True, CARRIED
        nfev = there.nfev
        if slope is None:
            done = run(self._call, self._options, self._scheme, Point(x, None, FLOAT64), f0=f0, only=self._plan)
            slope, nfev = done.gradient, nfev + done.nfev
            self._unrounded = self._unrounded and done.nfev <= x.size + UNROUNDED
        self._x, self._slope = x, slope
        return slope, nfev

    def _simple(self, x: Floats, f0: float, there: _Beside) -> Floats | None:
        """Return simple differences; None where they are not good enough."""
        size, known = np.maximum(np.abs(x), 1.0), self._second
        near, far = self._inside(x, NEAR * size), self._inside(x, FAR * size)
        if near is None or far is None:
            return None
        simpler, own, up = None, 0.0, None
        doubt, drift = inf, 0.0
        if known is not None:
            away = x - known.at
            drift = 0.5 * far * (known.change * sqrt(away @ away)) * known.values
            doubt = _squared(_rounding(f0, 0.0, far) + np.abs(drift))
        if not self._central and _squared(_rounding(f0, 0.0, near) + 0.5 * np.abs(near) * self._most) <= doubt:
            span, values = there.moved(near)
            simpler = values / span
            bend = self._bend(x, simpler)
            own = 0.5 * np.abs(near) * self._most
            if _within(_rounding(f0, values, near) + 0.5 * np.abs(near) * bend, simpler):
                return simpler
        elif not self._central and known is not None:
            span, up = there.moved(far)
            slope = up / span - 0.5 * span * known.values
            if _within(_rounding(f0, up, far) + np.abs(drift), slope):
                self._bend(x, slope)
                return slope
        return self._both_sides(x, f0, far, there, up, simpler, own)

    def _both_sides(
        self, x: Floats, f0: float, far: Floats, there: _Beside, up: Floats | None, simpler: Any, own: Any
    ) -> Floats | None:
        """Return central differences, of which the upper half may be there; from `simpler` ones these differ little."""
        if self._bounds is not None and ((x - far < self._bounds[0]) | (x - far > self._bounds[1])).any():
            return None
        above = (x + far) - x
        if up is None:
            above, up = there.moved(far)
        below, down = there.moved(-far)
        between, known = above - below, self._second
        slope, second = (up - down) / between, 2.0 * (up / above - down / below) / between
        change = CHANGE / max(1.0, float(np.abs(x).max()))
        if known is not None:
            away = x - known.at
            change = sqrt(_squared(second - known.values) / (_squared(known.values) * (away @ away)))
        if simpler is None:
            self._bend(x, slope)
        else:
            # from forward differences these are to differ by what those may be wrong, not by more
            apart = slope - simpler
            self._by_itself = not apart @ apart <= APART**2 * (own @ own) + DOUBT**2 * (slope @ slope)
        if self._by_itself or not _within(_rounding(f0, np.maximum(np.abs(up), np.abs(down)), far), slope):
            self._by_itself = True
            return None
        self._second = Second(second, x, change if np.isfinite(change) else CHANGE)
        return slope

    def _inside(self, x: Floats, steps: Floats) -> Floats | None:
        """Return the steps, some to the other side where bounds ask for that; None where neither side has room."""
        if self._bounds is None:
            return steps
        steps = np.where(x + steps > self._bounds[1], -steps, steps)
        return None if (x + steps < self._bounds[0]).any() else steps

    def _bend(self, x: Floats, slope: Floats) -> Any:
        """Return the curvature for each entry of x."""
        if self._x is None:
            return 0.0
        moved = np.abs(x - self._x)
        # an entry that did not move, at a bound, tells by how the others' moves have changed its slope
        moved[moved == 0.0] = moved.max()
        self._bent = np.maximum(np.abs(slope - self._slope) / moved, KEPT * self._bent)
        self._most = np.maximum(self._most, self._bent)
        return self._bent


def _rounding(f0: float, beyond: Any, steps: Floats) -> Floats:
    """Return what rounding makes of differences of f(x) and of what is beyond that."""
    return EPS * (2.0 * abs(f0) + np.abs(beyond)) / np.abs(steps)


def _within(error: Floats, slope: Floats) -> bool:
    """Whether errors make so small a part of the gradient's length that they lead a solver well."""
    return bool(error @ error <= DOUBT**2 * (slope @ slope))


def _squared(error: Any) -> float:
    return float(error @ error)


class _Beside:
    """f beside one point, by the first way of the plan that takes it."""

    def __init__(self, call: Call, plan: Plan | None, x: Floats, f0: float) -> None:
        self._call, self._f0, self._refused = call, f0, 0
        self._point = Point(x, None, FLOAT64)
        self._facts, self.plan = None, plan
        self.evaluation: Evaluation | None = None

    @property
    def nfev(self) -> int:
        return self._refused + (self.evaluation.nfev if self.evaluation is not None else 0)

    def moved(self, steps: Floats) -> tuple[Floats, Floats]:
        """Return by how much each entry of x moves by its step, and what that alone makes of f."""
        x = self._point.base
        evaluation = self._opened() if self.evaluation is None else self.evaluation
        while True:
            try:
                values = evaluation.around(steps.tolist(), ONE_SIDE)
                break
            except CannotRun:
                assert self.plan is not None
                self._refused, self.evaluation = self._refused + evaluation.nfev, None
                self.plan = Plan(self.plan.steps[1:])
                if not self.plan.steps:
                    raise
                evaluation = self._opened()
        return (x + steps) - x, np.array(values) - (self._f0 - evaluation.origin)

    def _opened(self) -> Evaluation:
        if self.plan is None:
            self._call, self._facts, self.plan = plan_for(self._call, DEFAULT, self._point)
        nature = NOTHING_KEPT if self._facts is None else self._facts.nature
        while True:
            try:
                evaluation = self.plan.steps[0].way.open(self._call, self._point, nature, False)
                break
            except CannotRun:
                if len(self.plan.steps) == 1:
                    raise
                self.plan = Plan(self.plan.steps[1:])
        evaluation.known_value(self._f0)
        self.evaluation = evaluation
        return evaluation
