"""Schemes that look at f to choose the step: automatic and adaptive. They take f by any evaluation of it."""

from __future__ import annotations

import numpy as np

from ..core.evaluation import Evaluation
from ..core.validation import FLOAT64, Floats, Ints
from .adaptive import STENCIL, adaptive
from .automatic import automatic
from .differencing import EPS, Bounds
from .scheme import Estimate, Task
from .stencils import Stencil, central
from .steps import power_of_two


class Automatic:
    """Steps that choose themselves.

    Parameters
    ----------
    stencil : Stencil
        The formula.
    noise : None, "probe" or float
        Standard deviation of f's noise, as its owner declares it; else it is measured.
    name : str
        Of the method.
    """

    def __init__(self, stencil: Stencil, noise: float | str | None, name: str) -> None:
        self.stencil, self.name = stencil, name
        self.noise = None if isinstance(noise, str) else noise

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        if self.stencil is CENTRAL and self.noise is None and task.point.dtype is FLOAT64:
            exactly = nearby(run, task.point.base.reshape(-1), task.index, task.bounds, task.bars)
            if exactly is not None:
                return exactly
        return automatic(run, task, self.stencil, self.noise)


CENTRAL = central(2)
SMALLEST_NEARBY = 1e-290  # differences of squares would vanish
FARTHEST = 2.0**22  # times these steps, where one value is compared with a plain evaluation
NEARBY = 2.0**-40  # of the scale of x: the truncation error is below all rounding


def nearby(run: Evaluation, x: Floats, index: Ints, bounds: Bounds | None, bars: bool) -> Estimate | None:
    """Differentiate with steps so small that nothing is truncated, where f's differences are not rounded.

    What remains is the rounding of the difference itself, as in an analytic derivative. Of it tells, where error bars
    are wanted, a second difference with steps that round otherwise.
    """
    if not run.carries(index.size):
        return None
    size = np.abs(x[index])
    size[size == 0.0] = min(1.0, float(np.abs(x).max(initial=0.0)) or 1.0)
    h = power_of_two(NEARBY * size)
    if not (index.size and h.min() > SMALLEST_NEARBY):
        return None
    if bounds is not None and ((x - bounds[0] < FARTHEST * h.max()) | (bounds[1] - x < FARTHEST * h.max())).any():
        return None
    column = x[index, None]
    slopes: list[Floats] = []
    for factor in (1.0, 0.75) if bars else (1.0,):
        points = column + h[:, None] * np.array([factor, -factor])
        values = run.differences(index, points)
        if values is None:
            return None
        with np.errstate(all="ignore"):
            slopes.append((values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1]))
    error = None
    if bars:
        with np.errstate(all="ignore"):
            error = 8.0 * np.abs(slopes[0] - slopes[1]) + 64.0 * EPS * np.abs(slopes[0])
    return Estimate(slopes[0], h, error, None, EPS * abs(run.value()))


class Adaptive:
    """A ladder of steps for each component, to a tolerance."""

    stencil = STENCIL
    name = "adaptive"

    def __init__(self, noise: float | str | None, rtol: float, atol: float) -> None:
        self.noise = None if isinstance(noise, str) else noise
        self.rtol, self.atol = rtol, atol

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        if self.noise is None and task.point.dtype is FLOAT64:
            exactly = nearby(run, task.point.base.reshape(-1), task.index, task.bounds, True)
            if exactly is not None and exactly.error is not None:
                wanted = np.maximum(self.rtol * np.abs(exactly.gradient), self.atol)
                return exactly._replace(reached=exactly.error <= wanted)
        return adaptive(run, task, self.noise, self.rtol, self.atol)
