"""The gradients of one run of a solver: simple differences for as long as they are good enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.options import Options
from ..core.validation import Floats
from ..planning.run import call_of, run
from ..schemes.constants import EPS
from ..schemes.stencils import forward
from ..schemes.steps import fixed_step
from ..schemes.table import scheme_for

__all__ = ["Run"]

FORWARD, CENTRAL, AUTOMATIC = 0, 1, 2
BEGIN = {"2-point": FORWARD, "3-point": CENTRAL}
# Errors, as shares of the gradient: what leads a solver to a tenth of that leads it well; to simpler differences it
# goes back where these do better by far
DOUBT, SURE = 0.1, 0.01
KEPT = 0.7  # of the curvature at the point before: the last move may have been along a valley
APART = 4.0  # times its own error the simpler difference may be wrong
LOOK = 2.0**-17  # of the scale of x: there f shows curvatures from 1e-5 of itself on
STEP = fixed_step(forward())


class Run:
    r"""What one run of a solver knows of its function.

    Far from a minimum forward differences are as good as any, at half the evaluations. How wrong they are shows in how
    much the gradient has changed since the point before, :math:`h |f''| / 2`, and in rounding, :math:`2 \epsilon |f| /
    h`. Where that is not small beside the gradient central differences take over (as Gill, Murray and Wright 1981,
    Practical Optimization, section 8.6, do it), and where these are not good enough the steps choose themselves.

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
        self._f, self._args, self._bounds = f, args, bounds
        self._least = self._level = BEGIN[method]
        simple = (Options("fixed", args=args, bounds=bounds, method=method) for method in ("forward", "central"))
        every = (*simple, Options(args=args, bounds=bounds))
        self._ways = [(call_of(f, options, False), options, scheme_for(options, shape)) for options in every]
        self._x: Floats | None = None
        self._slope: Floats | None = None
        self._bent: Any = 0.0
        self._most: Any = 0.0

    def gradient(self, x: Floats, f0: float) -> tuple[NDArray[Any], int]:
        """Return the gradient at the next point of the run, where f is `f0`, and the evaluations; x is kept."""
        begun = self._level
        with np.errstate(all="ignore"):
            slope, step, nfev = self._differenced(x, f0)
            if begun < AUTOMATIC:
                bend = self._bend(x, f0, slope)
                nfev += self._x is None  # the look
                self._bent, self._most = bend, np.maximum(self._most, bend)
            if self._level == FORWARD and not _within(DOUBT, slope, f0, step, bend):
                simpler, own = slope, 0.5 * step * self._most
                self._level = CENTRAL
                slope, step, more = self._differenced(x, f0)
                nfev += more
                # from forward differences these are to differ by what those may be wrong, not by more
                apart = slope - simpler
                if not apart @ apart <= APART**2 * (own @ own) + DOUBT**2 * (slope @ slope):
                    self._level = AUTOMATIC
            elif begun == CENTRAL and self._least == FORWARD and _within(SURE, slope, f0, STEP.at(x, None), self._most):
                self._level = FORWARD  # for the next point
            if begun < AUTOMATIC and self._level == CENTRAL and not _within(DOUBT, slope, f0, step):
                self._level = AUTOMATIC
            if begun < AUTOMATIC == self._level:
                slope, _, more = self._differenced(x, f0)
                nfev += more
        self._x, self._slope = x, slope
        return slope, nfev

    def _differenced(self, x: Floats, f0: float) -> tuple[Floats, Floats, int]:
        call, options, scheme = self._ways[self._level]
        done = run(call, options, scheme, x, f0=f0, bars=self._level < AUTOMATIC)
        return done.gradient, done.estimate.step, done.nfev

    def _bend(self, x: Floats, f0: float, slope: Floats) -> Any:
        """Return the curvature for each entry of x; at the first point that takes an evaluation."""
        if self._x is None or self._slope is None:
            return self._look(x, f0, slope)
        moved = np.abs(x - self._x)
        # an entry that did not move, at a bound, tells by how the others' moves have changed its slope
        moved[moved == 0.0] = moved.max()
        return np.maximum(np.abs(slope - self._slope) / moved, KEPT * self._bent)

    def _look(self, x: Floats, f0: float, slope: Floats) -> Any:
        """Return the curvature along the gradient, by how f leaves its tangent; infinite where there is no room."""
        longest = np.abs(slope).max(initial=0.0)
        move = slope * (LOOK * max(1.0, np.abs(x).max(initial=0.0)) / longest)
        if self._bounds is not None:
            move[(x + move < self._bounds[0]) | (x + move > self._bounds[1])] = 0.0
        length = move @ move
        if not 0.0 < length < np.inf:
            return np.full(x.shape, np.inf)
        there = float(np.reshape(self._f(x + move, *self._args), ()))
        return np.full(x.shape, 2.0 * abs(there - f0 - slope @ move) / length)


def _within(share: float, slope: Floats, f0: float, step: Floats, bend: Any = 0.0) -> bool:
    """Whether rounding and truncation make so small a share of the gradient's length."""
    rounding = 2.0 * EPS * abs(f0) / step
    error = rounding + 0.5 * step * bend
    return bool(error @ error <= share**2 * (slope @ slope))
