"""Checks of a whole gradient: what f reads, and whether it is analytic where that is needed."""

from __future__ import annotations

import zlib
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np

from ..core.call import Call
from ..core.errors import NotTrusted
from ..core.evaluation import Evaluation
from ..core.point import Point, exclusive, uneven
from ..core.validation import Floats, Ints
from ..inspecting.captures import holds

EPS = float(np.finfo(np.float64).eps)
# An error of one term in ten thousand shows, or of one in a hundred of what f bends by.
ANALYTIC_RTOL, OF_BEND = 1e-4, 1e-2
ANALYTIC_STEPS = 2.0**-8, 2.0**-11, 2.0**-14, 2.0**-17, 2.0**-20, 2.0**-26, 2.0**-32, 2.0**-38
ROUNDINGS = 10.0  # of f: what its values may be wrong by
WANDERING = 4.0  # times the noise that differences of several steps show


def reads_own_array(call: Call, point: Point) -> bool:
    """Tell a closure that reads the caller's array from a function that is constant around x, in two evaluations.

    Perturbs every entry of the caller's array, evaluates f at the same argument, and restores. An array that cannot be
    written is looked for among what f can be seen to hold.
    """
    own, container = point.own, point.container
    if point.base.size == 0:
        return False
    call = call.of_one_point()
    if container is not None:
        if not container.perturbable:
            return holds(call.f, container.given)
        plain = _outcome(call, point)
        with exclusive(container.given):
            try:
                container.write(_nudged(point.base))
                perturbed = _outcome(call, point)
            finally:
                container.restore()
        return plain != perturbed and plain == _outcome(call, point)
    if own is None:
        return False
    if not own.flags.writeable:
        return holds(call.f, own)
    with exclusive(own):
        before = own.copy()
        plain = _outcome(call, point)
        try:
            own[...] = _nudged(before)
            perturbed = _outcome(call, point)
        finally:
            own[...] = before
        return plain != perturbed and plain == _outcome(call, point)


def _nudged(array: Any) -> Any:
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind in "iu":
        return array + 1
    return array * (1 + 2.0**-8) + uneven(array.shape)


def _outcome(call: Call, point: Point) -> tuple[str, bytes | str]:
    """What f does at x, in a form that can be compared."""
    try:
        return "value", np.asarray(call.f(point.base.copy(), *call.args, **call.kwargs)).tobytes()
    except Exception as error:  # noqa: BLE001 - whatever f raises is an outcome here
        return "raised", repr(error)


def check_analytic(run: Evaluation, point: Point, index: Ints, gradient: Floats) -> None:
    """Compare a complex-step gradient with central differences of f's real part.

    Where `abs`, a comparison, `.real`, `conj` or a power in polar coordinates loses the imaginary part, they differ.
    A fixed direction with a random size for each component sees them all at once; each further one sees the half of
    them with the smaller terms, which the sum of all would hide.

    Raises
    ------
    NotTrusted
        If they differ along any direction.
    """
    if not index.size or not np.isfinite(gradient).all():
        return
    x = point.base.reshape(-1)
    size = np.abs(x[index])
    size[size == 0.0] = 1.0
    draw = np.random.default_rng(zlib.crc32(point.base.tobytes()))
    direction = size * draw.uniform(0.5, 1.0, index.size) * np.where(draw.random(index.size) < 0.5, -1.0, 1.0)
    with np.errstate(all="ignore"):
        rows = np.argsort(-np.abs(gradient * direction), kind="stable")
    agreements = 2
    while rows.size:
        with np.errstate(all="ignore"):  # what overflows does not agree
            _agrees_along(run, x, index[rows], direction[rows], gradient[rows], agreements)
        rows = rows[(rows.size + 1) // 2 :]
        agreements = 1


def _agrees_along(
    run: Evaluation, x: Floats, index: Ints, direction: Floats, gradient: Floats, agreements: int
) -> None:
    """Compare along one direction: f may vary on any length, so that the steps shrink until some in a row agree."""
    expected, terms, here = float(gradient @ direction), float(np.abs(gradient) @ np.abs(direction)), run.value()
    seen: list[tuple[float, float]] = []  # steps and differences, which wander where f is noisier than rounding
    before, slack_before, agreed, against = np.inf, 0.0, 0, 0
    for step in ANALYTIC_STEPS:
        ends = np.stack([x, x]).astype(np.complex128)  # f may always return complex numbers
        ends[0, index] += step * direction
        ends[1, index] -= step * direction
        values = run.line(ends) + run.origin
        above, below = values.real.tolist()
        # where only complex arithmetic goes on, x is outside of f's domain
        if (
            not (isfinite(above) and isfinite(below))
            or (np.abs(values.imag) > ROUNDINGS * ANALYTIC_RTOL * np.abs(values.real)).any()
        ):
            continue
        measured = (above - below) / (2.0 * step)
        seen.append((step, measured))
        bend = abs((above - here) + (below - here)) / step
        noise = ROUNDINGS * EPS * max(abs(above), abs(below), abs(here)) / step
        slack = ANALYTIC_RTOL * max(terms, abs(measured)) + OF_BEND * bend + noise
        if abs(measured - expected) <= slack:
            agreed += 1
            if agreed == agreements:
                return
            continue
        agreed = 0
        # three steps that agree with each other and not with the gradient: it is wrong (two may share a rounding error)
        against = against + 1 if abs(measured - before) <= slack + slack_before < 0.1 * abs(measured - expected) else 0
        if against == 2:
            break
        before, slack_before = measured, slack
    else:
        if not seen:
            raise NotTrusted("`f` is not finite beside x, so that no difference tells whether it is analytic")
        wander = sorted(abs(one - other) * step for (_, one), (step, other) in pairwise(seen))
        noise = WANDERING * wander[len(wander) // 2] if wander else 0.0
        if any(abs(one - expected) <= noise / step for step, one in seen[:3]) or measured == expected:
            return
    raise NotTrusted(
        f"the complex step gives {expected:.6g} along a direction in which a central difference of `f` gives "
        f"{measured:.6g}: f is not analytic as it computes with complex numbers (abs, comparisons, real parts, powers "
        "through polar coordinates); use method='central'"
    )
