"""Differences that f carries unrounded: steps so small that nothing is truncated, and one side is enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import Evaluation
from ..core.validation import Bounds, Floats, Ints
from .constants import OUTSIDE
from .differencing import EPS
from .scheme import Estimate
from .steps import power_of_two

NEARBY = 2.0**-80  # of the scale of x: the truncation error of one side is below all rounding
FARTHER = 2.0**-19  # of the scale: where the slopes are compared with plain evaluations
CENTRAL = 2.0**-17  # of the scale: the cube root of the rounding error, for plain central differences
LARGEST_NEARBY = 2.0**1000  # the points farther away would overflow
SMALLEST_NEARBY = 1e-290  # differences of squares would vanish
NEARER = 0.25  # of that step: where the slopes to both sides must be the same ones
# times the largest slope, in scales of x, or f's own size, f may bend: where the slope is 0, what one side truncates is
# all there is
BENT = 8.0
SIDES = np.array([1.0, -1.0, NEARER, -NEARER])
KINK = 2.0**-10  # slopes to both sides that differ by more, relative to the larger one, are those of a kink


def nearby(run: Evaluation, x: Floats, index: Ints, bounds: Bounds | None, bars: bool) -> Estimate | None:
    """Differentiate to one side with steps so small that nothing is truncated, where f's differences are not rounded.

    What remains is rounding, as in an analytic derivative: of the difference, and of what f multiplies it with. Of both
    tell, where error bars are wanted, the same differences where f rounds otherwise. Where f chooses between what is
    equal at x, one side does not tell of the other: there it is plain central differences.
    """
    if not index.size or not run.carries(index.size):
        return None
    size = np.abs(x[index])
    size[size == 0.0] = min(1.0, float(np.abs(x).max(initial=0.0)) or 1.0)
    size = power_of_two(np.minimum(size, LARGEST_NEARBY))
    with np.errstate(under="ignore"):
        h, away = NEARBY * size, FARTHER * size
    if not h.min() > SMALLEST_NEARBY:
        return None
    if bounds is not None and ((x[index] - bounds[0][index] < away) | (bounds[1][index] - x[index] < away)).any():
        return None
    found = run.differences(index, h, away, bars)
    if found is None:
        return None
    with np.errstate(all="ignore"):
        gradient, step = found.values / h, h.copy()
    error = None
    if found.rounding is not None:
        with np.errstate(all="ignore"):
            largest = float((np.abs(gradient) * size).max(initial=abs(run.value()), where=~found.tied))
            error = (found.rounding + found.lost) / h + 64.0 * EPS * np.abs(gradient) + BENT * NEARBY * largest / size
    slopes_there: Floats | None = None
    flags: list[str] | None = None
    tied = np.flatnonzero(found.tied)
    if tied.size:
        beside = _central(run, x, index[tied], CENTRAL * size[tied])
        if beside is None or not np.isfinite(beside[0]).all():
            return None
        central, bar, sides, settled = beside
        gradient[tied], step[tied] = central, CENTRAL * size[tied]
        if error is not None:
            error[tied] = bar
        kinks = np.flatnonzero(np.isfinite(sides).all(axis=1))
        if kinks.size or not settled.all():
            slopes_there, flags = np.full((index.size, 2), np.nan), [""] * index.size
            slopes_there[tied] = sides
            for row, (below, above) in zip(tied[kinks].tolist(), sides[kinks].tolist(), strict=True):
                flags[row] = f"f has a kink at x: its slopes there are {below:.3g} and {above:.3g}"
            for row in tied[~settled].tolist():
                flags[row] = "f has no finite slope at x, or jumps there: it depends on the step"
    return Estimate(gradient, step, error, None, EPS * abs(run.value()), flags, slopes_there)


def _central(
    run: Evaluation, x: Floats, index: Ints, h: Floats
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]] | None:
    """Central differences, their error bars, the slopes to both sides where there is a kink, else nan, and where the
    slopes are settled: else they are other ones nearer to x, for they are infinite or f jumps. None where f raises.
    """
    here = x[index]
    points = here[:, None] + h[:, None] * SIDES
    f0 = run.value() - run.origin
    # what f says of points that nobody asked for is no news; what its owner lets it refuse, it refuses
    quiet: dict[str, Any] = {kind: "ignore" for kind, how in np.geterr().items() if how != "raise"}
    try:
        with np.errstate(**quiet):
            values = run.sweep(index, points)
    except OUTSIDE:
        return None
    with np.errstate(all="ignore"):
        slopes = (values - f0) / (points - here[:, None])
        above, below = slopes[:, 0], slopes[:, 1]
        largest = np.abs(slopes).max(axis=1)
        slack = KINK * largest + 4.0 * EPS * abs(run.value()) / (NEARER * h)
        central = (values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1])
    apart = np.abs(above - below)
    settled = (np.abs(slopes[:, 2:] - slopes[:, :2]) <= slack[:, None]).all(axis=1)
    # without a kink they differ by h times the second derivative; the central difference errs by h**2 times the third
    kink = settled & (apart > slack)
    error = np.where(kink, apart, CENTRAL * apart + 4.0 * EPS * abs(run.value()) / h)
    sides = np.where(kink[:, None], np.stack([below, above], axis=1), np.nan)
    return central, np.where(settled, error, np.inf), sides, settled
