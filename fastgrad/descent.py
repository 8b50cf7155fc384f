"""gradient_descent and gradient_ascent: the textbook's algorithm, on any gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Unpack

import numpy as np

from .backends.table import load
from .core.call import Call
from .core.errors import CannotRun, DivergenceWarning, describe, warn
from .core.labels import Labels, has_labels
from .core.options import WATCHING, Options, Variables, Watching, check_names
from .core.point import Point, as_point
from .core.structure import Structure
from .core.validation import FLOAT64, Floats, Function, function, number
from .executors.progress import telling
from .gradient import Gradient
from .inspecting.cfunctions import CFunction
from .inspecting.kinds import is_jitted
from .schemes.table import rule_for
from .schemes.trust import reads_own_array

HOPELESS = 1e100
IGNORES = (
    "`f` ignores its argument and reads `init_x` itself, which a descent does not change; write f so that it uses its "
    "argument"
)

__all__ = ["DescentResult", "gradient_ascent", "gradient_descent"]


@dataclass(frozen=True)
class DescentResult:
    """Where a descent went.

    Attributes
    ----------
    x : ndarray or dict of ndarray
        The last point; labelled, if the first one is.
    path : ndarray, shape (steps + 1, *x.shape), or list of dict or of what has labels
        All points, the first and the last included.
    values : ndarray, shape (steps + 1,)
        f at these points.
    steps : int
        Steps taken.
    reason : str
        Why it stopped.
    """

    x: Any
    path: Any
    values: Floats
    steps: int
    reason: str


class DescentDict(Watching, total=False):
    """The types of a descent's options, for signatures."""

    h: Any
    grad: Function | None
    backend: str
    tol: float | None
    callback: Function | None
    full_output: bool


def gradient_descent(
    f: Any, init_x: Variables, lr: float = 0.01, step_num: int = 100, **options: Unpack[DescentDict]
) -> Any:
    r"""Follow the gradient downhill: ``x -= lr * gradient(f, x)``, `step_num` times.

    Parameters
    ----------
    f : callable
        ``f(x)`` returns one number. If it is compiled by numba, so is the whole descent.
    init_x : array_like or dict of array_like
        Where to start; not changed. Of a dictionary, f gets one, and the result has its structure. Of a pandas Series
        or DataFrame, or an xarray DataArray, f, `grad` and `callback` get labels where they want them, and the result
        has them.
    lr : float
        The learning rate.
    step_num : int
        How many steps.
    h
        As for `numerical_gradient`, but the fixed rule by default: a descent needs few digits. ``h=1e-4`` gives the
        textbook's iterates, up to rounding.
    grad : callable, optional
        ``grad(x)`` is used instead of a numerical gradient: an analytic one, or a `Gradient`.
    backend : str
        As for `numerical_gradient`.
    tol : float, optional
        Stop when no partial derivative is larger in size.
    callback : callable, optional
        ``callback(x)`` is called after each step with a copy of x; a true result (or StopIteration) stops the descent.
    full_output : bool
        Return a `DescentResult` instead of the last point.
    workers, journal, on_error, timeout, optional
        As for `Gradient`: who evaluates f, and what is made of it. With a journal the same call, run again, goes on
        where it was.
    progress : bool or callable
        As for `Gradient`, of the steps.

    Returns
    -------
    ndarray or DescentResult
        The last point, of init_x's shape, or the whole path.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Warns
    -----
    DivergenceWarning
        If f ends above its first value, or not finite: the learning rate is too large. It names the step and the rate.

    Notes
    -----
    Steepest descent with a constant rate (Cauchy 1847). It converges for :math:`0 < lr < 2 / L`, L the largest
    curvature. f is evaluated once more in each step than the gradient needs, to see where it goes.

    Examples
    --------
    >>> import numpy as np
    >>> x = gradient_descent(lambda x: x[0] ** 2 + x[1] ** 2, np.array([-3.0, 4.0]), lr=0.1, step_num=100)
    >>> bool(np.abs(x).max() < 1e-8)
    True
    """
    return _follow(f, init_x, 1.0, _course(lr, step_num, **options))


def gradient_ascent(
    f: Any, init_x: Variables, lr: float = 0.01, step_num: int = 100, **options: Unpack[DescentDict]
) -> Any:
    """Follow the gradient uphill: ``x += lr * gradient(f, x)``; all else as `gradient_descent`.

    Examples
    --------
    >>> import numpy as np
    >>> x = gradient_ascent(lambda x: -((x[0] - 1) ** 2), np.array([3.0]), lr=0.1, step_num=100)
    >>> bool(abs(x[0] - 1) < 1e-8)
    True
    """
    return _follow(f, init_x, -1.0, _course(lr, step_num, **options))


@dataclass(frozen=True)
class _Course:
    """What is asked for, besides f and where to start."""

    rate: float
    steps: int
    watching: Watching
    h: Any = None
    grad: Function | None = None
    backend: str = "auto"
    tol: float | None = None
    callback: Function | None = None
    full_output: bool = False

    def gradient(self, f: Any) -> Gradient:
        """Return the numerical gradient; progress is of the steps."""
        watching: Watching = {**self.watching, "progress": False}
        return Gradient(f, "fixed" if self.h is None else self.h, backend=self.backend, **watching)


def _course(lr: Any, step_num: Any, **options: Any) -> _Course:
    check_names(options, DescentDict, "of a descent")
    watching: Any = {name: options.pop(name) for name in WATCHING if name in options}
    if isinstance(step_num, bool) or not isinstance(step_num, (int, np.integer)) or step_num < 0:
        raise ValueError(f"`step_num` must be a whole number, 0 or more, got {describe(step_num)}")
    course = _Course(_rate(lr), int(step_num), watching, **options)
    if course.tol is not None and not (isinstance(course.tol, (int, float)) and course.tol >= 0):
        raise ValueError(f"`tol` must be a number, 0 or more, or None; got {describe(course.tol)}")
    if course.grad is not None:
        function(course.grad, "grad", "a function of x that returns the gradient there")
    if course.callback is not None:
        function(course.callback, "callback", "a function of x")
    return course


def _follow(f: Any, init_x: Any, sign: float, course: _Course) -> Any:
    if isinstance(init_x, dict):
        return _of_arrays(f, init_x, sign, course)
    if has_labels(init_x):
        return _of_labelled(f, init_x, sign, course)
    return _of_one(f, as_point(init_x), sign, course)


def _of_one(f: Any, point: Point, sign: float, course: _Course) -> Any:
    """Follow the gradient with respect to one array."""
    progress = Options(progress=course.watching.get("progress", False)).progress
    prepared = course.gradient(f)
    limit = -1.0 if course.tol is None else float(course.tol)
    compiled = (
        course.grad is None
        and course.callback is None
        and point.base.size > 0
        and not (prepared._call.shared or progress)
        and (is_jitted(f) or isinstance(prepared._call.f, CFunction))
        and course.backend in ("auto", "numba")
    )
    trail = _Trail(point.base.shape, course.steps, course.full_output)
    ended: tuple[Floats, str] | None = None
    if compiled:
        rule = rule_for(prepared._options, prepared._stencil, point.base.shape)
        try:
            descend = load("compiled").descent(prepared._call, prepared._stencil, rule)
            ended = descend(point.base, sign * course.rate, course.steps, limit, hopeless, trail)
        except CannotRun as refusal:  # the loop in Python serves
            if course.backend != "auto":
                raise TypeError(f"`backend` {course.backend!r} does not take this f: {refusal}") from refusal
    if ended is None:
        with telling(progress, "steps") as tell:
            ended = _loop(prepared, point, sign * course.rate, limit, course, trail, tell)
    x, reason = ended
    _warn_if_diverged(trail, course.rate, sign)
    if course.full_output:
        return trail.result(x, reason)
    return x if point.dtype is FLOAT64 else x.astype(point.dtype)


def _of_labelled(f: Any, init_x: Any, sign: float, course: _Course) -> Any:
    """Follow the gradient with respect to what has labels."""
    labels = Labels(init_x)
    giving = labels.giving if labels.change(f)[0] else labels.where_wanted
    grad, callback = (g and giving(g) for g in (course.grad, course.callback))
    plain = grad and (lambda x: labels.plain("grad", grad(x)))
    done = _of_one(giving(f), as_point(init_x), sign, replace(course, grad=plain, callback=callback))
    if not course.full_output:
        return labels.on(done)
    return replace(done, x=labels.on(done.x), path=[labels.on(x) for x in done.path])


def _of_arrays(f: Any, init_x: dict[Any, Any], sign: float, course: _Course) -> Any:
    """Follow the gradient with respect to all arrays of a dictionary: their entries, one after another, are one x."""
    structure, callback, grad = Structure(init_x, "init_x"), course.callback, course.grad
    flat = replace(
        course,
        h=structure.flat_options({"h": course.h})["h"],
        grad=grad and (lambda x: structure.joined(structure.alike("grad", grad(structure.split(x))))),
        callback=callback and (lambda x: callback(structure.split(x))),
    )
    done = _of_one(structure.of_flat(f), structure.point(), sign, flat)
    if not course.full_output:
        return structure.split(done, narrow=True)
    return replace(done, x=structure.split(done.x, narrow=True), path=[structure.split(x) for x in done.path])


def _rate(lr: Any) -> float:
    try:
        rate = float(lr)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`lr` must be a number, got {describe(lr)}") from error
    if isinstance(lr, (bool, str)) or not isfinite(rate) or rate < 0:
        raise ValueError(f"`lr` must be a finite number, 0 or more, got {describe(lr)}; to climb use gradient_ascent")
    return rate


def hopeless(first: float) -> float:
    """Return the size of f beyond which a descent has diverged for good; further on f would only overflow."""
    return HOPELESS * max(1.0, float(abs(first)))


class _Trail:
    """f's values along the way, and the points if they are wanted."""

    def __init__(self, shape: tuple[int, ...], steps: int, record: bool) -> None:
        self.values = np.full(steps + 1, np.nan)
        self.path = np.empty((steps + 1 if record else 0, *shape))
        self.record = record
        self.steps = 0
        self.lost = ""

    def note(self, x: Floats, value: float) -> None:
        self.values[self.steps] = value
        if self.record:
            self.path[self.steps] = x

    def result(self, x: Floats, reason: str) -> DescentResult:
        return DescentResult(x, self.path[: self.steps + 1], self.values[: self.steps + 1], self.steps, reason)


def _loop(
    prepared: Gradient,
    point: Point,
    rate: float,
    limit: float,
    course: _Course,
    trail: _Trail,
    tell: Callable[[int, int], object],
) -> tuple[Floats, str]:
    grad: Function = course.grad or prepared
    x = point.base.copy()
    while True:
        trail.note(x, _value(prepared._call, x))
        if not isfinite(trail.values[trail.steps]):
            return x, "f is not finite"
        if abs(trail.values[trail.steps]) > hopeless(trail.values[0]):
            return x, "diverged"
        if trail.steps == course.steps:
            return x, "step_num reached"
        try:
            slope = np.asarray(grad(x), dtype=np.float64)
        except ValueError as error:
            if trail.steps == 0 or "`h` " not in str(error):
                raise
            trail.lost = str(error)  # x has grown until the step is lost in it
            return x, "diverged"
        if slope.shape != x.shape:
            raise ValueError(f"`grad` must return an array of x's shape {x.shape}, got shape {slope.shape}")
        if trail.steps == 0 and not slope.any() and point.held and reads_own_array(prepared._call, point):
            raise ValueError(IGNORES)
        if not np.isfinite(slope).all():
            return x, "the gradient is not finite"
        if slope.size and np.abs(slope).max() <= limit:
            return x, "tol reached"
        x -= rate * slope
        trail.steps += 1
        tell(trail.steps, course.steps)
        if course.callback is not None and _stops(course.callback, x):
            trail.note(x, _value(prepared._call, x))
            return x, "stopped by callback"


def _value(call: Call, x: Floats) -> float:
    if not call.watched:
        return number(call.f(x.copy(), *call.args, **call.kwargs))
    value: float = load("parallel")(call, as_point(x.copy())).value()
    return value


def _stops(callback: Function, x: Floats) -> bool:
    try:
        return bool(callback(x.copy()))
    except StopIteration:
        return True


def _warn_if_diverged(trail: _Trail, rate: float, sign: float) -> None:
    values = sign * trail.values[: trail.steps + 1]
    first, last = values[0], values[-1]
    if not trail.lost and (trail.steps == 0 or (isfinite(last) and last <= first)):
        return
    # the last step after which f only stayed above its first value
    below = np.flatnonzero(values <= first)
    since = int(below[-1]) + 1 if below.size else 1
    went = "rose above" if sign > 0 else "fell below"
    now = f"{sign * last:.6g}" if isfinite(last) else f"{trail.values[trail.steps]}"
    warn(
        f"the learning rate lr={rate:g} is too large: f {went} its first value {sign * first:.6g} at step {since} and "
        f"was {now} at step {trail.steps}; try a smaller `lr`",
        DivergenceWarning,
    )
