"""numdifftools' classes.

Step generators, and the options that make one, are of numdifftools' own extrapolation: what has them is done by
numdifftools itself. Of its own tests of its core those of its internals fail here: `set_richardson_rule`, `final_step`
and `best_index`, its class of results; and those that allow no absolute error beside an exact zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import AccuracyWarning, NonFiniteWarning, needed, warn
from ..core.validation import Args, Array, Function
from ..derivative import numerical_diff
from ..gradient import numerical_gradient
from ..hessian import numerical_hessian
from ..jacobian import numerical_jacobian
from ..schemes.constants import EPS
from ..schemes.stencils import METHODS, Stencil
from .entries import along, entry_of

__all__ = [
    "Derivative", "EstimateResult", "Gradient", "Hessdiag", "Hessian", "Jacobian", "directionaldiff",
]  # fmt: skip

# its names, and the differences of a first derivative that they mean here
MEANT = {
    "central": "central",
    "central2": "central",
    "complex": "complex",
    "multicomplex": "complex",
    "forward": "forward",
    "backward": "backward",
}
STEERING = (  # what numdifftools makes a step generator of
    "base_step", "step_ratio", "num_steps", "step_nom", "offset", "num_extrap", "use_exact_steps", "check_num_steps",
    "scale",
)  # fmt: skip
NEEDED = (
    "step generators steer numdifftools' own extrapolation: pip install numdifftools, or leave them out, and the steps "
    "choose themselves"
)
ROUNDINGS = 8.0  # of a complex step
RUNGS = 24  # of a ladder of steps, each half of the one before
ZERO = 1e-2  # of the size that a higher derivative would have of itself: an error below it may be that of a zero
LEAST_ORDER = 6  # of differences on a ladder: the truncation error is to fall fast


def __getattr__(name: str) -> Any:
    if name in ("MinStepGenerator", "MaxStepGenerator"):
        return getattr(needed("numdifftools", NEEDED), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class EstimateResult(NamedTuple):
    """What `full_output` returns."""

    estimate: Any
    error_estimate: Any
    final_step: Any
    best_index: Any


class _Made:
    """What the classes have in common: their options, and the shape of what they return."""

    def __init__(
        self,
        fun: Function | None = None,
        step: Any = None,
        method: str = "central",
        order: int = 2,
        n: int = 1,
        **options: Any,
    ) -> None:
        self.full_output = bool(options.pop("full_output", False))
        if unknown := options.keys() - set(STEERING):
            raise ValueError(f"{sorted(unknown)} steer numdifftools' own extrapolation and mean nothing here")
        if method not in MEANT:
            raise ValueError(f"`method` must be one of {tuple(MEANT)}, got {method!r}")
        self.fun, self.step, self.method, self.order, self.n = fun, step, method, order, n
        self._theirs: Any = None
        if options or getattr(step, "_base_step", getattr(step, "base_step", None)) is not None:
            own = {"n": n} if n != 1 else {}
            theirs = getattr(needed("numdifftools", NEEDED), type(self).__name__)
            told = {"step": step, "method": method, "order": order, "full_output": self.full_output}
            self._theirs = theirs(fun, **told, **own, **options)
        elif callable(step):
            self.step = None  # a generator without a step to begin with
        elif not (step is None or np.isscalar(step) or isinstance(step, (np.ndarray, list, tuple))):
            raise ValueError(f"`step` must be a number, an array or a step generator; got {step!r}")

    def __call__(self, x: ArrayLike, *args: Any, **kwds: Any) -> Any:
        """Return the derivative, of the shape that numdifftools gives it."""
        if self._theirs is None:
            return self._made(x, args, kwds)
        self._theirs.fun = self.fun  # which may have been set since
        return self._theirs(x, *args, **kwds)

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _first(self) -> dict[str, Any]:
        """Return the options of a first derivative: the complex step's error is below any order's."""
        method = MEANT[self.method]
        return {"method": method, "order": 2 if method == "complex" else self.order}

    def _returned(self, estimate: Any, error: Any, step: Any) -> Any:
        if not self.full_output:
            return estimate
        if error is None and MEANT[self.method] == "complex":  # nothing is subtracted, and nothing truncated
            error = ROUNDINGS * EPS * np.abs(estimate)
        return EstimateResult(estimate, np.full(np.shape(estimate), np.nan) if error is None else error, step, 0)

    def _real(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> _Real:
        assert self.fun is not None
        return _Real(self.fun, np.atleast_1d(np.asarray(x)), args, kwds, MEANT[self.method] == "complex")

    def _higher(self, f: Callable[[Any], Any], x: Array, step: Array | None, n: int) -> tuple[Any, Any, Any]:
        """Return a higher derivative of an elementwise function, how far the steps beside disagree, and the steps."""
        method = MEANT[self.method]
        method = "central" if method == "complex" else method  # complex steps make first derivatives only
        if step is not None:
            return _quotient(f, x, step, METHODS[method](self.order, n))[0], None, step
        found, error, used, natural = _on_ladder(f, x, METHODS[method](max(self.order, LEAST_ORDER), n))
        lost, uncertain = np.isnan(found), error > np.maximum(np.abs(found), ZERO * natural)
        for kind, where, told in (
            (NonFiniteWarning, lost, "is nan: f is not finite there, or beside it"),
            (AccuracyWarning, uncertain & ~lost, "has no certain digit: its error bar is larger than itself"),
        ):
            if where.any():
                entry = np.argwhere(np.atleast_1d(where))[0].tolist()
                warn(f"derivative {n} at entry {entry} of x {told}", kind)
        return found, error, used


class _Real:
    """A function that may be complex, of an x that may be complex, as one of real numbers: real parts first."""

    def __init__(self, fun: Function, x: Array, args: Args, kwds: dict[str, Any], stepped: bool) -> None:
        if stepped and np.iscomplexobj(x):
            raise ValueError("a complex step needs real numbers: a complex variable was given as `x`")
        self._fun, self._args, self._kwds = fun, args, kwds
        self._offset = 1j * x.imag if np.iscomplexobj(x) else None
        self.x = np.array(x.real, dtype=np.float64)  # fun may read the caller's, which does not move
        value = np.asarray(self._at(self.x.copy()))
        self.complex = np.iscomplexobj(value)
        if stepped and self.complex and value.imag.any():
            raise ValueError("a complex step needs real values: the function given is complex valued")
        self.complex = self.complex and not stepped
        self.f0 = self._parts(value) if self.complex else value.real
        self._keeps_real = stepped

    def _at(self, x: Array) -> Any:
        return self._fun(x if self._offset is None else x + self._offset, *self._args, **self._kwds)

    def _parts(self, value: Any) -> Array:
        return np.stack([np.real(value), np.imag(value)])

    @property
    def plain(self) -> bool:
        """Whether the function is as it was given."""
        return not self.complex and self._offset is None

    def __call__(self, x: Array) -> Any:
        value = self._at(x)
        if self.complex:
            return self._parts(value)
        return np.real(value) if self._keeps_real and not np.iscomplexobj(x) else value

    def joined(self, derivative: Array) -> Array:
        """Return the derivative of the function as it was given."""
        return derivative[0] + 1j * derivative[1] if self.complex else derivative


class Derivative(_Made):
    """The derivative of an elementwise function, as ``numdifftools.Derivative``.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwds)``, elementwise.
    step : float, array or step generator, optional
        The step, used as it is. Of a generator with a `base_step` numdifftools itself takes all the steps. By default
        the steps choose themselves.
    method : {"central", "complex", "multicomplex", "forward", "backward"}
        The kind of difference. A complex step makes first derivatives only: higher ones are then central.
    order : int
        Its order of accuracy, at least.
    n : int
        Which derivative. From the second on, the ladder of steps is climbed down to where estimates agree best.
    **options
        `full_output`, and those that numdifftools makes a `MinStepGenerator` of; others are refused.

    Examples
    --------
    >>> round(float(Derivative(np.exp)(0.0)), 8)
    1.0
    >>> round(float(Derivative(np.sin, n=5)(0.0)), 6)
    1.0
    """

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        """Return the derivative, of x's shape."""
        assert self.fun is not None
        places = np.array(x, dtype=np.float64)
        fun = self.fun
        if self.n == 0:
            value = np.asarray(fun(places, *args, **kwds))
            return self._returned(value, np.zeros(value.shape), np.zeros(places.shape))
        steps = None if self.step is None else np.broadcast_to(np.asarray(self.step, np.float64), places.shape)
        if self.n > 1:
            return self._returned(*self._higher(lambda y: fun(y, *args, **kwds), places, steps, self.n))
        if places.ndim and not self.full_output:
            return numerical_diff(lambda y, *args: fun(y, *args, **kwds), places, steps, args=args, **self._first())
        found, error, step = (np.empty(places.shape) for _ in range(3))
        for i in np.ndindex(places.shape):
            found[i], info = numerical_gradient(
                _alone(fun, places, i), places[i], None if steps is None else steps[i], args=args, kwargs=kwds,
                full_output=True, **self._first(),
            )  # fmt: skip
            error[i] = np.nan if info.error is None else info.error
            step[i] = info.step
        told = None if np.isnan(error).any() and MEANT[self.method] == "complex" else error[()]
        return self._returned(found[()], told, step[()])


def _alone(fun: Function, places: Array, i: tuple[int, ...]) -> Function:
    """Return one entry of an elementwise function: of a number, or where it wants the whole array, of that."""
    of_whole = entry_of(along(fun, places, i), i)

    def of_entry(y: Array, *args: Any, **kwds: Any) -> Any:
        value = fun(y, *args, **kwds)
        return np.reshape(value, ()) if np.size(value) == 1 else of_whole(y, *args, **kwds)

    return of_entry


def _on_ladder(f: Callable[[Any], Any], x: Array, stencil: Stencil) -> tuple[Any, Any, Any, Any]:
    """Return a derivative of an elementwise function where steps beside agree best, how far they do not, and the steps.

    NaN where none of them is finite. Last the size of such a derivative where f and x have the scales they seem to
    have: an error far below it may be that of a derivative that is 0.
    """
    scale = np.maximum(np.abs(x), 1.0)
    largest = scale / max(map(abs, stencil.reach))
    steps = [np.ldexp(largest, -k) for k in range(RUNGS)]
    with np.errstate(all="ignore"):
        rungs, rounding = (np.array(a) for a in zip(*(_quotient(f, x, h, stencil) for h in steps), strict=True))
        apart = np.abs(np.diff(rungs, axis=0))
    doubt = np.maximum(apart[1:], apart[:-1]) + rounding[1:-1]  # of a rung, by those above and below
    doubt[~np.isfinite(doubt)] = np.inf
    best = np.argmin(doubt, axis=0)[None]
    found, error, used = (np.take_along_axis(a, best, 0)[0] for a in (rungs[1:-1], doubt, np.array(steps[1:-1])))
    values = rounding[0] / EPS * largest**stencil.deriv / sum(abs(float(w)) for w in stencil.weights)  # their mean size
    return np.where(np.isfinite(error), found, np.nan)[()], error[()], used[()], values / scale**stencil.deriv


def _quotient(f: Callable[[Any], Any], x: Array, h: Array, stencil: Stencil) -> tuple[Any, Any]:
    """Return the derivative, and what the rounding of the values makes of it."""
    values = [float(w) * np.asarray(f(x + float(o) * h)) for o, w in zip(stencil.offsets, stencil.weights, strict=True)]
    total, sizes = (np.reshape(sum(v), x.shape) / h**stencil.deriv for v in (values, map(np.abs, values)))
    return total, EPS * sizes


class Jacobian(_Made):
    """The Jacobian, as ``numdifftools.Jacobian``.

    Parameters
    ----------
    fun, step, method, order, n, **options
        As for `Derivative`; n is 1.

    Examples
    --------
    >>> np.round(Jacobian(lambda x: [x[0] * x[1], x[1] ** 2])([3.0, 4.0]), 6)
    array([[4., 3.],
           [0., 8.]])
    """

    def _differenced(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        if self.n != 1:
            raise ValueError(f"`n` must be 1 for a gradient or a Jacobian; got {self.n!r}")
        real = self._real(x, args, kwds)
        options: dict[str, Any] = {"f0": real.f0, "full_output": True, **self._first()}
        fun: Any = real
        if real.plain and options["method"] != "complex":
            fun, options = self.fun, options | {"args": args, "kwargs": kwds}
        found, info = numerical_jacobian(fun, real.x, self.step, **options)
        return (*(None if a is None else self._arranged(a, real) for a in (found, info.error)), info.step)

    def _arranged(self, found: Array, real: _Real) -> Array:
        """Return the derivatives with the axis of x second; the points, where x has several, each by itself."""
        found = real.joined(found)
        found = found.sum(axis=tuple(range(1 - real.x.ndim, 0)))
        return found if found.ndim < 3 else np.moveaxis(found, -1, 1)

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        """Return the Jacobian, of shape (m, n); where x holds k points, of shape (n, k), of shape (m, n, k)."""
        found, error, step = self._differenced(x, args, kwds)
        return self._returned(np.atleast_2d(found), None if error is None else np.atleast_2d(error), step)


class Gradient(Jacobian):
    """The gradient, as ``numdifftools.Gradient``.

    Parameters
    ----------
    fun, step, method, order, n, **options
        As for `Derivative`; n is 1.

    Examples
    --------
    >>> np.round(Gradient(lambda x: x[0] * x[1])([3.0, 4.0]), 6)
    array([4., 3.])
    """

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        """Return the gradient, squeezed."""
        found, error, step = self._differenced(np.atleast_1d(np.asarray(x)).ravel(), args, kwds)
        return self._returned(np.squeeze(found), None if error is None else np.squeeze(error), step)


class Hessian(_Made):
    """The Hessian, as ``numdifftools.Hessian``.

    Parameters
    ----------
    f, step, method, order, **options
        As for `Derivative`. Central: f is lifted, or its gradients are differenced. Complex: its gradients are made by
        complex steps. Forward and backward: f is never evaluated below, or above, x. A higher order than 2 is refused.

    Examples
    --------
    >>> np.round(Hessian(lambda x: x[0] ** 2 * x[1])([3.0, 4.0]), 4)
    array([[8., 6.],
           [6., 0.]])
    """

    def __init__(
        self,
        f: Function | None = None,
        step: Any = None,
        method: str = "central",
        order: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(f, step, method, 2 if order is None else order, **options)
        self._check()

    def _check(self) -> None:
        if self.order != 2:
            raise ValueError(f"`order` must be 2 for a Hessian, got {self.order!r}")

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        """Return the Hessian, of shape (n, n); of a function of m values of shape (m, n, n)."""
        real = self._real(x, args, kwds)
        if real.plain and real.f0.ndim == 0:
            assert self.fun is not None
            return self._returned(*self._one(self.fun, real.x, args, kwds))
        made = [self._one(entry_of(real, place), real.x, (), {}) for place in np.ndindex(real.f0.shape)]
        shape = (*real.f0.shape, real.x.size, real.x.size)
        found, error = (real.joined(np.stack([m[k] for m in made]).reshape(shape)) for k in (0, 1))
        return self._returned(found, error, made[0][2])

    def _one(self, f: Function, x: Array, args: Args, kwds: dict[str, Any]) -> Any:
        called: dict[str, Any] = {"args": args, "kwargs": kwds}
        method = MEANT[self.method]
        if method == "complex":
            called["grad"] = lambda y, *args, **kwds: numerical_gradient(f, y, args=args, kwargs=kwds, method="complex")
        elif method != "central":
            called["bounds"] = (x, np.inf) if method == "forward" else (-np.inf, x)
        found, info = numerical_hessian(f, x, self.step, full_output=True, **called)
        return found, info.error, info.step


class Hessdiag(Hessian):
    """The diagonal of the Hessian, as ``numdifftools.Hessdiag``.

    Parameters
    ----------
    f, step, method, order, **options
        As for `Derivative`.

    Examples
    --------
    >>> np.round(Hessdiag(lambda x: x[0] ** 2 * x[1])([3.0, 4.0]), 4)
    array([8., 0.])
    """

    def _check(self) -> None:
        """Take any order."""

    def _made(self, x: ArrayLike, args: Args, kwds: dict[str, Any]) -> Any:
        """Return the second derivative for each entry of x, of shape (n,)."""
        real = self._real(x, args, kwds)
        steps = None if self.step is None else np.broadcast_to(np.asarray(self.step, np.float64), real.x.shape)
        made = [
            self._higher(along(real, real.x, i), real.x[*i, ...], None if steps is None else steps[*i, ...], 2)
            for i in np.ndindex(real.x.shape)
        ]
        found, error, step = (np.array([m[k] for m in made]) for k in range(3))
        return self._returned(found, error if steps is None else None, step)


def directionaldiff(f: Callable[[Any], Any], x0: ArrayLike, vec: ArrayLike, **options: Any) -> Any:
    """Return the derivative of f along the unit vector of a direction, as ``numdifftools.directionaldiff`` does.

    Parameters
    ----------
    f, x0, vec
        As numdifftools'.
    **options
        As for `Derivative`.

    Returns
    -------
    float or ndarray

    Examples
    --------
    >>> round(float(directionaldiff(lambda x: x[0] + 2 * x[1], [0.0, 0.0], [0.0, 3.0])), 8)
    2.0
    """
    place, direction = np.asarray(x0, dtype=np.float64), np.asarray(vec, dtype=np.float64)
    if place.size != direction.size:
        raise ValueError("vec and x0 must be the same shapes")
    direction = (direction / np.linalg.norm(direction.ravel())).reshape(place.shape)
    return Derivative(lambda t: f(place + t * direction), **options)(0)
