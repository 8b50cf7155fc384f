"""numdifftools' classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..gradient import numerical_gradient
from ..hessian import numerical_hessian
from ..jacobian import numerical_jacobian

__all__ = ["Derivative", "EstimateResult", "Gradient", "Hessdiag", "Hessian", "Jacobian", "directionaldiff"]

METHODS = ("central", "complex", "forward", "backward")


class EstimateResult(NamedTuple):
    """What `full_output` returns."""

    estimate: Any
    error_estimate: Any
    final_step: Any
    best_index: Any


class _Made:
    """What the classes have in common: their options, and the shape of what they return."""

    _highest = 1

    def __init__(
        self,
        fun: Callable[..., Any] | None = None,
        step: Any = None,
        method: str = "central",
        order: int = 2,
        n: int = 1,
        **options: Any,
    ) -> None:
        self.full_output = bool(options.pop("full_output", False))
        if options:
            raise ValueError(f"{sorted(options)} steer numdifftools' own extrapolation and mean nothing here")
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {METHODS}, got {method!r}")
        if n not in range(self._highest + 1):
            raise ValueError(f"`n` must be 0 to {self._highest}: higher derivatives are not made here; got {n!r}")
        if step is not None and not np.isscalar(step) and not isinstance(step, np.ndarray):
            raise ValueError(f"`step` must be a number or an array: the step itself, not a generator; got {step!r}")
        self.fun, self.step, self.method, self.order, self.n = fun, step, method, order, n

    def _options(self, args: tuple[Any, ...], kwds: dict[str, Any]) -> dict[str, Any]:
        return {"args": args, "kwargs": kwds, "method": self.method, "order": self.order}

    def _returned(self, estimate: Any, error: Any, step: Any) -> Any:
        if not self.full_output:
            return estimate
        return EstimateResult(estimate, np.full(np.shape(estimate), np.nan) if error is None else error, step, 0)


class Derivative(_Made):
    """The derivative of an elementwise function, as ``numdifftools.Derivative``.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwds)``, elementwise.
    step : float or array, optional
        The step, used as it is. By default the steps choose themselves.
    method : {"central", "complex", "forward", "backward"}
        The kind of difference.
    order : int
        Its order of accuracy.
    n : {0, 1, 2}
        Which derivative; higher ones are refused.
    **options
        `full_output`; others are refused.

    Examples
    --------
    >>> round(float(Derivative(np.exp)(0.0)), 8)
    1.0
    """

    _highest = 2

    def __call__(self, x: ArrayLike, *args: Any, **kwds: Any) -> Any:
        """Return the derivative, of x's shape."""
        assert self.fun is not None
        places = np.asarray(x, dtype=np.float64)
        if self.n == 0:
            value = np.asarray(self.fun(places, *args, **kwds))
            return self._returned(value, np.zeros(value.shape), np.zeros(places.shape))
        found, error, step = (np.empty(places.shape) for _ in range(3))
        steps = None if self.step is None else np.broadcast_to(self.step, places.shape)
        verb: Any = numerical_gradient if self.n == 1 else numerical_hessian
        options = self._options(args, kwds)
        if self.n == 2:
            _only_central(self)
            options = {"args": args, "kwargs": kwds}
        fun = _number(self.fun)
        for i in np.ndindex(places.shape):
            found[i], info = verb(fun, places[i], None if steps is None else steps[i], full_output=True, **options)
            error[i] = np.nan if info.error is None else info.error
            step[i] = info.step
        return self._returned(found[()], error[()], step[()])


def _number(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda y, *args, **kwds: np.reshape(fun(y, *args, **kwds), ())


def _only_central(made: _Made) -> None:
    if made.method != "central" or made.order != 2:
        raise ValueError(
            f"a second derivative is made with method='central' and order=2; got {made.method!r} and {made.order!r}"
        )


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

    def _made(self, x: NDArray[Any], args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
        assert self.fun is not None
        found, info = numerical_jacobian(self.fun, x, self.step, full_output=True, **self._options(args, kwds))
        # the axis of x is the second
        error = info.error if np.ndim(found) < 3 or info.error is None else np.moveaxis(info.error, -1, 1)
        return found if np.ndim(found) < 3 else np.moveaxis(found, -1, 1), error, info.step

    def __call__(self, x: ArrayLike, *args: Any, **kwds: Any) -> Any:
        """Return the Jacobian, of shape (m, n)."""
        place = np.atleast_1d(np.array(x, dtype=np.float64))  # fun may read the caller's, which does not move
        if place.ndim > 1:
            raise ValueError(f"`x` must be one point, of shape (n,): call once for each; got shape {place.shape}")
        found, error, step = self._made(place, args, kwds)
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

    def __call__(self, x: ArrayLike, *args: Any, **kwds: Any) -> Any:
        """Return the gradient, squeezed."""
        found, error, step = self._made(np.atleast_1d(np.array(x, dtype=np.float64)).ravel(), args, kwds)
        return self._returned(np.squeeze(found), None if error is None else np.squeeze(error), step)


class Hessian(_Made):
    """The Hessian, as ``numdifftools.Hessian``.

    Parameters
    ----------
    f, step, method, order, **options
        As for `Derivative`; method is "central" and order 2.

    Examples
    --------
    >>> np.round(Hessian(lambda x: x[0] ** 2 * x[1])([3.0, 4.0]), 4)
    array([[8., 6.],
           [6., 0.]])
    """

    def __init__(
        self,
        f: Callable[..., Any] | None = None,
        step: Any = None,
        method: str = "central",
        order: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(f, step, method, 2 if order is None else order, **options)
        _only_central(self)

    def __call__(self, x: ArrayLike, *args: Any, **kwds: Any) -> Any:
        """Return the Hessian, of shape (n, n)."""
        assert self.fun is not None
        place = np.atleast_1d(np.array(x, dtype=np.float64))
        found, info = numerical_hessian(self.fun, place, self.step, args=args, kwargs=kwds, full_output=True)
        return self._returned(*self._part(found, info.error), info.step)

    def _part(self, found: Any, error: Any) -> tuple[Any, Any]:
        return found, error


class Hessdiag(Hessian):
    """The diagonal of the Hessian, as ``numdifftools.Hessdiag``.

    Parameters
    ----------
    f, step, method, order, **options
        As for `Hessian`.

    Notes
    -----
    The whole Hessian is made for it.

    Examples
    --------
    >>> np.round(Hessdiag(lambda x: x[0] ** 2 * x[1])([3.0, 4.0]), 4)
    array([8., 0.])
    """

    def _part(self, found: Any, error: Any) -> tuple[Any, Any]:
        return np.diag(found), None if error is None else np.diag(error)


def directionaldiff(f: Callable[[Any], Any], x0: ArrayLike, vec: ArrayLike, **options: Any) -> Any:
    """Return the derivative of f along the unit vector of a direction, as ``numdifftools.directionaldiff`` does.

    Parameters
    ----------
    f, x0, vec
        As numdifftools'.
    **options
        As for `Derivative`.

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
