"""Differences that f carries unrounded: steps so small that nothing is truncated, and one side is enough."""

from __future__ import annotations

import numpy as np

from ..core.evaluation import Evaluation
from ..core.validation import Floats, Ints
from .differencing import EPS, Bounds
from .scheme import Estimate
from .steps import power_of_two

NEARBY = 2.0**-80  # of the scale of x: the truncation error of one side is below all rounding
FARTHER = 2.0**-19  # of the scale: where the slopes are compared with plain evaluations
CENTRAL = 2.0**-17  # of the scale: the cube root of the rounding error, for plain central differences
SMALLEST_NEARBY = 1e-290  # differences of squares would vanish
KINK = 2.0**-10  # slopes to both sides that differ by more, relative to the larger one, are those of a kink


def nearby(run: Evaluation, x: Floats, index: Ints, bounds: Bounds | None, bars: bool) -> Estimate | None:
    """Differentiate to one side with steps so small that nothing is truncated, where f's differences are not rounded.

    What remains is the rounding of the difference itself, as in an analytic derivative. Of it tells, where error bars
    are wanted, a second difference with steps that round otherwise. Where f chooses between what is equal at x, one
    side does not tell of the other: there it is plain central differences.
    """
    if not index.size or not run.carries(index.size):
        return None
    size = np.abs(x[index])
    size[size == 0.0] = min(1.0, float(np.abs(x).max(initial=0.0)) or 1.0)
    size = power_of_two(size)
    h, away = NEARBY * size, FARTHER * size
    if not h.min() > SMALLEST_NEARBY:
        return None
    if bounds is not None and ((x[index] - bounds[0][index] < away) | (bounds[1][index] - x[index] < away)).any():
        return None
    found = run.differences(index, h[:, None] * np.array([1.0, 0.75] if bars else [1.0]), away)
    if found is None:
        return None
    with np.errstate(all="ignore"):
        slopes = found.values / h[:, None]
    gradient, step = slopes[:, 0].copy(), h
    error = None
    if bars:
        with np.errstate(all="ignore"):
            error = 8.0 * np.abs(gradient - slopes[:, 1] / 0.75) + 64.0 * EPS * np.abs(gradient)
    kinks = None
    tied = np.flatnonzero(found.tied)
    if tied.size:
        central, bar, kinks = _central(run, x, index, tied, CENTRAL * size[tied])
        if not np.isfinite(central).all():
            return None
        gradient[tied], step[tied] = central, CENTRAL * size[tied]
        if error is not None:
            error[tied] = bar
    return Estimate(gradient, step, error, None, EPS * abs(run.value()), slopes=kinks)


def _central(run: Evaluation, x: Floats, index: Ints, rows: Ints, h: Floats) -> tuple[Floats, Floats, Floats | None]:
    """Central differences of some components, their error bars, and the slopes to both sides where there is a kink."""
    here = x[index[rows]]
    points = here[:, None] + h[:, None] * np.array([1.0, -1.0])
    f0 = run.value() - run.origin
    values = run.sweep(index[rows], points)
    with np.errstate(all="ignore"):
        gradient = (values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1])
        sides = np.stack([(f0 - values[:, 1]) / (here - points[:, 1]), (values[:, 0] - f0) / (points[:, 0] - here)], 1)
    apart = np.abs(sides[:, 0] - sides[:, 1])
    rounding = 4.0 * EPS * abs(run.value()) / h
    kink = apart > KINK * np.abs(sides).max(axis=1) + 4.0 * rounding
    # without a kink they differ by h f'', and the central difference errs by h**2 f''' / 6
    error = np.where(kink, apart, CENTRAL * apart + rounding)
    if not kink.any():
        return gradient, error, None
    slopes = np.full((index.size, 2), np.nan)
    slopes[rows[kink]] = sides[kink]
    return gradient, error, slopes
