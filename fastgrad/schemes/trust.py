"""Checks of a whole gradient: what f reads, and whether it is analytic where that is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.call import Call
from ..core.errors import NotTrusted
from ..core.evaluation import Evaluation
from ..core.point import Point, exclusive, uneven
from ..core.validation import Floats, Ints
from ..inspecting.captures import holds

EPS = float(np.finfo(np.float64).eps)
# An error of one term in ten thousand shows; the central difference that is compared with is better than that.
ANALYTIC_RTOL = 1e-4
ANALYTIC_STEPS = 2.0**-17, 2.0**-23, 2.0**-29, 2.0**-35, 2.0**-41


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
    """Compare a complex-step gradient with one central difference of f along a fixed pseudo-random direction.

    Where `abs`, a comparison or a power through polar coordinates loses the imaginary part, they differ. Steps relative
    to x; several sizes, for f may vary on any length: one that agrees is enough.

    Raises
    ------
    NotTrusted
        If none agrees.
    """
    if not index.size or not np.isfinite(gradient).all():
        return
    x = point.base.reshape(-1)
    size = np.abs(x[index])
    size[size == 0.0] = 1.0
    direction = size * np.random.default_rng(20).uniform(0.5, 1.0, index.size)
    direction[1::2] *= -1.0
    expected, terms = float(gradient @ direction), float(np.abs(gradient) @ np.abs(direction))
    measured = expected
    for step in ANALYTIC_STEPS:
        ends = np.stack([x, x]).astype(np.complex128)  # f may always return complex numbers
        ends[0, index] += step * direction
        ends[1, index] -= step * direction
        with np.errstate(all="ignore"):
            above, below = run.line(ends).real + run.origin
            measured = (above - below) / (2.0 * step)
            noise = 100.0 * EPS * max(abs(above), abs(below)) / step
        if not abs(measured - expected) > ANALYTIC_RTOL * max(terms, abs(measured)) + noise:
            return
    raise NotTrusted(
        f"the complex step gives {expected:.6g} along a direction in which a central difference of `f` gives "
        f"{measured:.6g}: f is not analytic as it computes with complex numbers (abs, comparisons, real parts, powers "
        "through polar coordinates); use method='central'"
    )
