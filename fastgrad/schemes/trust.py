"""Checks of a whole derivative: what f reads, and whether it is analytic where that is needed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import NotTrusted
from ..core.evaluation import Values
from ..core.point import Point, exclusive, exclusively, uneven
from ..core.validation import Floats, Ints
from ..inspecting.captures import holds

EPS = float(np.finfo(np.float64).eps)
# An error of one term in ten thousand shows, or of one in a hundred of what f bends by.
ANALYTIC_RTOL, OF_BEND = 1e-4, 1e-2
ANALYTIC_STEPS = 2.0**-8, 2.0**-11, 2.0**-14, 2.0**-17, 2.0**-20, 2.0**-26, 2.0**-32, 2.0**-38
ROUNDINGS = 10.0  # of f: what its values may be wrong by
IMAGINARY, UNSEEN = 1e-200j, 1e-100  # a part that no real one shows, and what it never comes to
ALIKE = 1e-8  # of f, by real numbers and by complex ones
VANISHING = 4  # steps in a row whose differences are nearer to the slope by as much as they are shorter
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
        with exclusively(container.holders):
            plain = _outcome(call, point)
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


def refuse_unseen(call: Call, point: Point) -> None:
    """Refuse an f that reads what the caller gave as x instead of its argument, where that was not perturbed.

    TypeError if it never can be: a tuple, an array of integers. NotTrusted if it may be, in place.
    """
    if not reads_own_array(call, point):
        return
    own, container = point.own, point.container
    if container is not None and not container.perturbable:
        raise TypeError(container.refusal())
    if own is not None and own.dtype.kind in "iub":
        raise TypeError(
            f"`x` is an {own.dtype} array that f reads itself instead of its argument: integers cannot be perturbed. "
            "Make it a float array: x = x.astype(float), before f is made"
        )
    raise NotTrusted(
        "f ignores its argument and reads the caller's array, which only backend='python' perturbs, in place, and only "
        "if it is a writable float array whose entries do not overlap"
    )


def _nudged(array: Any) -> Any:
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind in "iu":
        return array + 1
    with np.errstate(all="ignore"):
        return array * (1 + 2.0**-8) + uneven(array.shape)


def _outcome(call: Call, point: Point) -> tuple[str, bytes | str]:
    """What f does at x, in a form that can be compared."""
    try:
        return "value", np.asarray(call.f(point.base.copy(), *call.args, **call.kwargs)).tobytes()
    except Exception as error:  # noqa: BLE001 - whatever f raises is an outcome here
        return "raised", repr(error)


@np.errstate(all="ignore")  # what overflows does not agree
def check_analytic(
    at: Callable[[Values], Values], point: Point, index: Ints, here: Floats, jacobian: NDArray[np.float64]
) -> None:
    """Compare complex steps with central differences of f's real part.

    Where `abs`, a comparison, `.real`, `conj` or a power in polar coordinates loses the imaginary part, they differ.
    A fixed direction with a random size for each component sees them all at once; each further one sees the half of
    them with the smaller terms, which the sum of all would hide.

    NotTrusted if they differ along any direction.

    `at`: f at whole complex points: one row of values for each.
    `point`: where.
    `index`: the components.
    `here`, of shape (m,): f(x).
    `jacobian`, of shape (m, index.size): what the complex steps gave.
    """
    sizes = abs(jacobian)
    if not index.size or not np.isfinite(sizes.sum()):
        return
    x = point.base.reshape(-1)
    size = np.abs(x[index])
    size[size == 0.0] = 1.0
    draw = np.random.default_rng(zlib.crc32(point.base.tobytes()))
    direction = size * draw.uniform(0.5, 1.0, index.size) * np.where(draw.random(index.size) < 0.5, -1.0, 1.0)
    of_outputs = sizes @ np.abs(direction)
    of_outputs[~(of_outputs > 0.0)] = 1.0
    columns = np.argsort(-np.abs(direction) * (sizes.T @ (1.0 / of_outputs)), kind="stable")
    agreements = 2
    while columns.size:
        along, moved = np.zeros(index.size), np.zeros(x.size)
        along[columns] = direction[columns]
        moved[index] = along
        _agrees_along(at, x, moved, here, jacobian @ along, sizes @ np.abs(along), agreements)
        columns = columns[(columns.size + 1) // 2 :]
        agreements = 1


def _agrees_along(
    at: Callable[[Values], Values],
    x: Floats,
    direction: Floats,
    here: Floats,
    expected: Floats,
    terms: Floats,
    agreements: int,
) -> None:
    """Compare along one direction: f may vary on any length, so that the steps shrink until some in a row agree."""
    open_ = np.arange(here.size)  # outputs on which there is no verdict yet
    agreed, against = np.zeros((2, here.size), dtype=np.intp)
    before, slack_before = np.full(here.size, np.inf), np.zeros(here.size)
    # what cancels in an output leaves the rounding of terms as large as those of others
    rounded = ROUNDINGS * EPS * float(terms.max())
    seen: list[tuple[float, Floats]] = []  # steps and differences, nan where f is not finite
    for step in ANALYTIC_STEPS:
        ends = np.stack([x, x]).astype(np.complex128)  # f may always return complex numbers
        ends[0] += step * direction
        ends[1] -= step * direction
        values = _at_ends(at, ends, x, here)
        above, below = values.real
        # where only complex arithmetic goes on, x is outside of f's domain
        inside = np.isfinite(above) & np.isfinite(below)
        least = np.maximum(np.abs(values.real), UNSEEN)
        inside &= ~(np.abs(values.imag) > ROUNDINGS * ANALYTIC_RTOL * least).any(axis=0)
        measured = np.where(inside, (above - below) / (2.0 * step), np.nan)
        seen.append((step, measured))
        bend = np.abs((above - here) + (below - here)) / step
        noise = ROUNDINGS * EPS * np.maximum(np.maximum(np.abs(above), np.abs(below)), np.abs(here)) / step
        slack = ANALYTIC_RTOL * np.maximum(terms, np.abs(measured)) + OF_BEND * bend + noise + rounded
        off = np.abs(measured - expected)
        agrees = off <= slack
        agreed = np.where(inside, np.where(agrees, agreed + 1, 0), agreed)
        # three steps that agree with each other and not with the gradient: it is wrong (two may share a rounding error)
        repeated = (np.abs(measured - before) <= slack + slack_before) & (slack + slack_before < 0.1 * off)
        differs = inside & ~agrees
        against = np.where(differs, np.where(repeated, against + 1, 0), against)
        before, slack_before = np.where(differs, measured, before), np.where(differs, slack, slack_before)
        wrong = open_[against[open_] == 2]
        if wrong.size:
            raise NotTrusted(_not_analytic(float(expected[wrong[0]]), float(measured[wrong[0]])))
        open_ = open_[agreed[open_] < agreements]
        if not open_.size:
            return
    for output in open_.tolist():
        _agrees_in_noise(
            [(step, float(each[output])) for step, each in seen if not np.isnan(each[output])], float(expected[output])
        )


def _at_ends(at: Callable[[Values], Values], ends: Values, x: Floats, here: Floats) -> Values:
    """Evaluate f at real points as complex ones; it may choose loggamma by whether x has an imaginary part."""
    try:
        return at(ends)
    except TypeError:
        values = at(np.stack([*ends, x]) + IMAGINARY)
        off = np.abs(values[-1].real - here) > ALIKE * np.abs(here)
        if off.any():
            raise NotTrusted(
                f"f gives other values for complex numbers than {here[off][0]:.6g}, which it is at x"
            ) from None
        return values[:-1]


def _agrees_in_noise(seen: list[tuple[float, float]], expected: float) -> None:
    """Give the verdict on an output whose differences wander: it is analytic if they do so around what is expected."""
    if not seen:
        raise NotTrusted("`f` is not finite beside x, so that no difference tells whether it is analytic")
    off = [(step, abs(one - expected)) for step, one in seen]
    # where the slope is 0 and so are the next terms, as of x**3 at 0, differences go to 0 with the step or faster
    if len(off) > VANISHING and all(near * h <= 2.0 * far * g for (h, far), (g, near) in pairwise(off[-VANISHING:])):
        return
    wander = sorted(abs(one - other) * step for (_, one), (step, other) in pairwise(seen))
    noise = WANDERING * wander[len(wander) // 2] if wander else 0.0
    measured = seen[-1][1]
    if measured != expected and all(abs(one - expected) > noise / step for step, one in seen[:3]):
        raise NotTrusted(_not_analytic(expected, measured))


def _not_analytic(expected: float, measured: float) -> str:
    return (
        f"the complex step gives {expected:.6g} along a direction in which a central difference of `f` gives "
        f"{measured:.6g}: f is not analytic as it computes with complex numbers (abs, comparisons, real parts, powers "
        "through polar coordinates); use method='central'"
    )
