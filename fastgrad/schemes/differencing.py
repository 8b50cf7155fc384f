"""From a stencil and steps to a table of points, and from f's values there to the derivative."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import AccuracyWarning, NonFiniteWarning, warn
from ..core.evaluation import Evaluation
from ..core.point import Point
from ..core.validation import FLOAT64, Bounds, Floats, Ints
from .stencils import Stencil, backward, forward
from .steps import Step

EPS = float(np.finfo(np.float64).eps)


class Estimate(NamedTuple):
    """Partial derivatives, and the steps they were made with, both of shape (m,)."""

    gradient: Floats
    step: Floats


def difference(
    run: Evaluation, point: Point, index: Ints, everything: bool, stencil: Stencil, rule: Step, bounds: Bounds | None
) -> Estimate:
    """Differentiate along coordinates by one stencil; one-sided where bounds or f's domain ask for it."""
    x = point.base.reshape(-1)
    if everything:
        h = rule.at(x, None)
    else:
        x = x[index]
        h = rule.at(x, index)
    refuse_lost_steps(point, x, index, h, stencil)
    if bounds is None:
        estimate = _apply(run, point, index, x, h, stencil, None)
    else:
        bounds = bounds if everything else (bounds[0][index], bounds[1][index])
        estimate = Estimate(np.zeros_like(x), np.full_like(x, np.nan))  # a component that must not move: 0
        for part, rows, steps in _fit(point, stencil, x, index, h, bounds):
            shorter = rows[steps < h[rows]]
            if shorter.size and not rule.dyadic:
                i = shorter[0]
                _warn_of_other(
                    point, index[shorter], f"`bounds` leave no room for a step of {h[i]:.3g}: a smaller one was taken"
                )
            inside = bounds[0][rows], bounds[1][rows]
            _fill(estimate, rows, _apply(run, point, index[rows], x[rows], steps, part, inside))
    if not np.isfinite(estimate.gradient).all():
        replaced = _try_other_sides(run, point, index, x, stencil, bounds, estimate)
        if replaced.size and not rule.dyadic:
            i = replaced[0]
            _warn_of_other(
                point,
                index[replaced],
                f"f is not finite at a step of {h[i]:.3g} from x = {x[i]}: a one-sided difference was taken, which "
                "may be far less accurate; use a smaller `h`, or leave it out",
            )
    return estimate


def _fill(estimate: Estimate, rows: NDArray[np.intp], part: Estimate) -> None:
    estimate.gradient[rows], estimate.step[rows] = part.gradient, part.step


def _apply(
    run: Evaluation, point: Point, index: Ints, x: Floats, h: Floats, stencil: Stencil, inside: Bounds | None
) -> Estimate:
    """Evaluate one stencil along these coordinates and combine the difference quotients."""
    column = x[:, None]
    if stencil.imaginary:
        values = run.sweep(index, column + 1j * (h[:, None] * stencil.nodes))
        return Estimate((values.imag / h[:, None]) @ stencil.quotients, h)
    points = column + h[:, None] * stencil.nodes
    if point.dtype is not FLOAT64:
        points = point.representable(points, column)
    if inside is not None:
        np.clip(points, inside[0][:, None], inside[1][:, None], out=points)  # x + h may round past a bound
    if stencil.symmetric:
        values = run.sweep(index, points)
        with np.errstate(all="ignore"):
            span = points[:, 0::2] - points[:, 1::2]
            slopes = (values[:, 0::2] - values[:, 1::2]) / span
        step = 0.5 * span[:, 0]
    else:
        here = run.value() - run.origin
        values = run.sweep(index, points)
        with np.errstate(all="ignore"):
            span = points - column
            slopes = (values - here) / span
        step = np.abs(span[:, 0])
    return Estimate(slopes[:, 0] if slopes.shape[1] == 1 else slopes @ stencil.quotients, step)


def refuse_lost_steps(point: Point, x: Floats, index: Ints, h: Floats, stencil: Stencil) -> None:
    """Raise where x + h is x, or overflows."""
    if x.size == 0 or stencil.imaginary:
        return
    largest = float(np.abs(x).max())
    smallest = float(h.min())
    if smallest > EPS * largest and largest < 1e300 and smallest >= 1e-300 and float(h.max()) < 1e300:
        return
    with np.errstate(over="ignore"):
        points = x[:, None] + h[:, None] * stencil.nodes
    lost = points == x[:, None]
    wrong = (lost | ~np.isfinite(points)).any(axis=1)
    if wrong.any():
        i = int(np.argmax(wrong))
        what, remedy = ("vanishes", "larger") if lost[i].any() else ("overflows", "smaller")
        raise ValueError(
            f"`h` {what} at coordinate {point.name(int(index[i]))}: x = {x[i]}, step {h[i]}; "
            f"use a {remedy} `h`, `rel_step`, or leave both out"
        )


def _fit(
    point: Point, stencil: Stencil, x: Floats, index: Ints, h: Floats, bounds: Bounds
) -> list[tuple[Stencil, NDArray[np.intp], Floats]]:
    """Choose for each coordinate that may move a stencil that stays within its bounds, and the step for it.

    The wanted stencil where it fits; else one of the same order to one side; else, where neither side
    has room for the step, whichever of the three allows the largest step.
    """
    movable = bounds[0] < bounds[1]
    if stencil.imaginary:  # which leaves x where it is
        return [(stencil, np.flatnonzero(movable), h[movable])]
    below, above = x - bounds[0], bounds[1] - x
    candidates = _sides(stencil)
    room = np.empty((len(candidates), x.size))
    for row, candidate in zip(room, candidates, strict=True):
        low, high = candidate.reach
        with np.errstate(over="ignore"):
            row[:] = np.minimum(below / -low if low else np.inf, above / high if high else np.inf)
    fits = room >= h
    choice = np.where(fits.any(axis=0), np.argmax(fits, axis=0), np.argmax(room, axis=0))
    largest = room[choice, np.arange(x.size)]
    steps = np.minimum(h, largest)
    stuck = x + steps * min(1.0, *(max(map(abs, c.reach)) for c in candidates)) == x
    stuck &= (x - steps == x) & movable
    if stuck.any():
        i = int(np.argmax(stuck))
        raise ValueError(
            f"`bounds` leave no room for a step at coordinate {point.name(int(index[i]))}: "
            f"x = {x[i]} in [{bounds[0][i]}, {bounds[1][i]}]; leave such a coordinate out with `indices`"
        )
    rows = ((c, np.flatnonzero((choice == k) & movable)) for k, c in enumerate(candidates))
    return [(c, chosen, steps[chosen]) for c, chosen in rows if chosen.size]


def _sides(stencil: Stencil) -> list[Stencil]:
    """List the stencil itself, then the one-sided ones of its order."""
    others = [forward(stencil.order), backward(stencil.order)]
    return [stencil, *(s for s in others if s != stencil)]


def _try_other_sides(
    run: Evaluation, point: Point, index: Ints, x: Floats, stencil: Stencil, bounds: Bounds | None, estimate: Estimate
) -> NDArray[np.intp]:
    """Replace what is not finite by a one-sided difference, if f is finite there; else warn. Returns which were."""
    failed = before = np.flatnonzero(~np.isfinite(estimate.gradient))
    steps = estimate.step.copy()
    if not stencil.imaginary and np.isfinite(run.value()):
        for side in _sides(stencil)[1:]:
            low, high = side.reach
            rows = failed
            if bounds is not None:
                fits = (x[rows] + low * steps[rows] >= bounds[0][rows]) & (
                    x[rows] + high * steps[rows] <= bounds[1][rows]
                )
                rows = rows[fits]
            if rows.size:
                part = _apply(run, point, index[rows], x[rows], steps[rows], side, None)
                good = np.isfinite(part.gradient)
                _fill(estimate, rows[good], Estimate(part.gradient[good], part.step[good]))
                failed = np.flatnonzero(~np.isfinite(estimate.gradient))
            if not failed.size:
                return before
    estimate.gradient[failed] = np.nan
    i = failed[0]
    warn_not_finite(point, index[failed], float(x[i] + steps[i]), run.value())
    return np.setdiff1d(before, failed)


def _warn_of_other(point: Point, coordinates: Ints, what: str) -> None:
    """Warn that a step of the user's own was not used as it is."""
    more = f", and {coordinates.size - 1} more" if coordinates.size > 1 else ""
    name = point.name(int(coordinates[0]))
    warn(f"component {name}{more} was not differentiated as asked: {what}", AccuracyWarning)


def warn_not_finite(point: Point, coordinates: Ints, tried: float, value: float) -> None:
    """Warn that partial derivatives are NaN: names the first coordinate, the step and the point."""
    first = coordinates[0]
    x = point.base.reshape(-1)[first]
    many = f", and {coordinates.size - 1} more" if coordinates.size > 1 else ""
    where = f"around x = {x} (f(x) = {value}), tried last at {tried}, a step of {tried - x:.3g}"
    if not np.isfinite(value):
        where = f"at x = {x} itself (f(x) = {value}), so no step helps"
    name = point.name(int(first))
    warn(
        f"the partial derivative at coordinate {name}{many} is nan: f is not finite {where}",
        NonFiniteWarning,
    )
