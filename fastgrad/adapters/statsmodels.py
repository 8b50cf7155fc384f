"""The interface of ``statsmodels.tools.numdiff``.

Of its own tests one fails here: it wants nine digits of central differences, and one entry of 16 has 8.9. Of those of
its `DynamicFactor` one does: it allows 1e-5 beside a variance of Stata's; that of the Hessian is 1.01e-5 beside it, and
statsmodels' own, within, 6.6e-6 beside the Hessian's. Complex steps are compared with f's values: statsmodels' own are
20 % off in silence where its Kalman filter begins near a unit root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import NotTrusted, TrustWarning, warn
from ..core.validation import Args, Array, Function
from ..gradient import numerical_gradient
from ..hessian import numerical_hessian
from ..jacobian import numerical_jacobian

__all__ = ["approx_fprime", "approx_fprime_cs", "approx_hess", "approx_hess1", "approx_hess2", "approx_hess3",
           "approx_hess_cs"]  # fmt: skip

Kwargs = Mapping[str, Any] | None
# Ridout 2009, equations 7 to 9: (side of i, side of j, weight), and the divisor
FORWARD = ((1, 1, 1), (1, 0, -1), (0, 1, -1), (0, 0, 1)), 1
MEAN = ((1, 1, 1), (1, 0, -1), (0, 1, -1), (0, 0, 2), (-1, -1, 1), (-1, 0, -1), (0, -1, -1)), 2
CENTRAL = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)), 4


def _or_nan(x: Array, made: Callable[[], Any], shape: Callable[[], tuple[int, ...]]) -> NDArray[np.float64]:
    """Return derivatives, of NaN where x is not finite: fits ask there, too, where they have failed."""
    return np.asarray(made()) if np.isfinite(x).all() else np.full(shape(), np.nan)


def _differenced(f: Function, x: Array, step: Any, *, args: Args, kwargs: Kwargs, **options: Any) -> Array:
    """Return the derivatives of f, first the axis of x; points side by side in x, of which f couples none, as one."""

    def made() -> Array:
        found = np.asarray(numerical_jacobian(f, x, step, args=args, kwargs=kwargs, **options))
        return np.moveaxis(found.sum(axis=tuple(range(1 - x.ndim, 0))), -1, 0)

    return _or_nan(x, made, lambda: (len(x), *np.shape(f(x, *args, **(kwargs or {})))))


def _hessian(x: Array, made: Callable[[], Any]) -> NDArray[np.float64]:
    return _or_nan(x, made, lambda: (x.size, x.size))


def _step(x: Array, epsilon: ArrayLike | None) -> Any:
    if epsilon is None or np.ndim(epsilon) == 0 or np.shape(epsilon) == x.shape:
        return epsilon
    raise ValueError(f"If h is not a scalar it must have the same shape as x, {x.shape}; got {np.shape(epsilon)}")


def approx_fprime(
    x: ArrayLike,
    f: Function,
    epsilon: ArrayLike | None = None,
    args: Args = (),
    kwargs: Kwargs = None,
    centered: bool = False,
) -> NDArray[np.float64]:
    """Return the gradient or Jacobian of f, as statsmodels' ``approx_fprime`` does.

    Parameters
    ----------
    x, f, args, kwargs
        As statsmodels'.
    epsilon : float or array_like, optional
        The step; with `centered` the distance of the two points. By default the steps choose themselves.
    centered : bool
        Central differences; by default forward ones.

    Returns
    -------
    ndarray
        Squeezed and transposed as statsmodels does.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(approx_fprime(np.array([3.0, 4.0]), lambda x: x[0] * x[1], centered=True), 6)
    array([4., 3.])
    """
    x = np.array(x, dtype=np.float64)  # f may read the caller's, which does not move
    step = _step(x, epsilon)
    called: dict[str, Any] = {"args": args, "kwargs": kwargs}
    if centered:
        grad = _differenced(f, x, None if step is None else np.abs(step) / 2, **called)
    elif step is None or np.all(np.asarray(step) > 0):
        grad = _differenced(f, x, step, method="forward", order=1, **called)
    else:  # a negative step is one to the other side
        sides = [_differenced(f, x, np.abs(step), method=m, order=1, **called) for m in ("forward", "backward")]
        below = np.broadcast_to(np.asarray(step) < 0, x.shape).reshape(-1, *[1] * (sides[0].ndim - 1))
        grad = np.where(below, sides[1], sides[0])
    if grad.ndim == 1:
        grad = grad[:, None]
    return grad.T if x.size == 1 else grad.squeeze().T


def approx_fprime_cs(
    x: ArrayLike, f: Function, epsilon: ArrayLike | None = None, args: Args = (), kwargs: Kwargs = None
) -> NDArray[np.float64]:
    """Return the gradient or Jacobian of an analytic f by complex steps, as statsmodels' ``approx_fprime_cs`` does.

    An f that turns out not to be analytic is told, and gets central differences.

    Parameters
    ----------
    x, f, args, kwargs
        As statsmodels'.
    epsilon : float or array_like, optional
        The step.

    Returns
    -------
    ndarray
        Of shape (n,) or (m, n), transposed as statsmodels does.

    Examples
    --------
    >>> import numpy as np
    >>> approx_fprime_cs(np.array([3.0, 4.0]), lambda x: x[0] * x[1])
    array([4., 3.])
    """
    x = np.array(x, dtype=np.float64)  # f may read the caller's, which does not move
    called: dict[str, Any] = {"args": args, "kwargs": kwargs}
    return _if_analytic(
        lambda: _differenced(f, x, _step(x, epsilon), method="complex", **called),
        lambda: _differenced(f, x, None, **called),
    ).T


def _if_analytic(by_complex_steps: Callable[[], Array], otherwise: Callable[[], Array]) -> Array:
    try:
        return by_complex_steps()
    except ValueError as error:
        if not isinstance(error.__cause__, NotTrusted):
            raise
        warn(f"central differences are taken, for {error}", TrustWarning)
        return otherwise()


def _hessian_by(formula: Any, name: str, kind: str) -> Function:
    """Return one of the functions that make a Hessian of f's values: by this formula where a step is given."""

    def approx_hess(
        x: ArrayLike,
        f: Function,
        epsilon: ArrayLike | None = None,
        args: Args = (),
        kwargs: Kwargs = None,
        return_grad: bool = False,
    ) -> Any:
        x = np.array(x, dtype=np.float64)
        if epsilon is None:
            hessian = _hessian(x, lambda: numerical_hessian(f, x, args=args, kwargs=kwargs))
        else:
            hessian = _at_corners(f, x, np.broadcast_to(_step(x, epsilon), x.shape), args, kwargs or {}, *formula)
        return (hessian, approx_fprime(x, f, epsilon, args, kwargs).reshape(-1)) if return_grad else hessian

    approx_hess.__name__ = approx_hess.__qualname__ = name
    approx_hess.__doc__ = f"""Return the Hessian of f by {kind} differences, as statsmodels' ``{name}`` does.

    Parameters
    ----------
    x, f, args, kwargs
        As statsmodels'.
    epsilon : float or array_like, optional
        The step of each entry. By default the steps choose themselves.
    return_grad : bool
        Return the gradient, too.

    Returns
    -------
    hessian : ndarray of shape (n, n)
    grad : ndarray of shape (n,)
        Only with `return_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> hessian, grad = {name}(np.array([3.0, 4.0]), lambda x: x[0] * x[1], return_grad=True)
    >>> np.round(hessian, 4) + 0.0, np.round(grad, 4)
    (array([[0., 1.],
           [1., 0.]]), array([4., 3.]))
    """
    return approx_hess


def _at_corners(
    f: Function, x: Array, step: Array, args: Args, kwargs: Mapping[str, Any], corners: Any, divisor: int
) -> NDArray[np.float64]:
    """Return the Hessian by statsmodels' own points."""
    moves, hessian = np.diag(step), np.empty((x.size, x.size))
    for i, j in np.ndindex(hessian.shape):
        if i <= j:
            total = sum(w * f(x + a * moves[i] + b * moves[j], *args, **kwargs) for a, b, w in corners)
            hessian[i, j] = hessian[j, i] = np.squeeze(total) / (divisor * step[i] * step[j])
    return hessian


approx_hess1 = _hessian_by(FORWARD, "approx_hess1", "forward")
approx_hess2 = _hessian_by(MEAN, "approx_hess2", "the mean of forward and backward")
approx_hess3 = _hessian_by(CENTRAL, "approx_hess3", "central")
approx_hess = _hessian_by(CENTRAL, "approx_hess", "central")


def approx_hess_cs(
    x: ArrayLike, f: Function, epsilon: ArrayLike | None = None, args: Args = (), kwargs: Kwargs = None
) -> NDArray[np.float64]:
    """Return the Hessian of an analytic f: central differences of its complex-step gradient.

    An f that turns out not to be analytic is told, and its values are differenced.

    Parameters
    ----------
    x, f, args, kwargs
        As statsmodels'.
    epsilon : float or array_like, optional
        The step of the differences of the gradient.

    Returns
    -------
    ndarray
        Of shape (n, n).

    Examples
    --------
    >>> import numpy as np
    >>> np.round(approx_hess_cs(np.array([3.0, 4.0]), lambda x: x[0] ** 2 * x[1]), 6)
    array([[8., 6.],
           [6., 0.]])
    """
    x = np.array(x, dtype=np.float64)  # f may read the caller's, which does not move
    called: dict[str, Any] = {"args": args, "kwargs": kwargs}

    def gradient(y: Array) -> Array:
        return np.asarray(numerical_gradient(f, y, method="complex", **called))

    order = 4 if epsilon is None else 2  # the gradient is exact to its last digits

    def made() -> Array:
        return _if_analytic(
            lambda: np.asarray(numerical_jacobian(gradient, x, _step(x, epsilon), order=order)),
            lambda: np.asarray(numerical_hessian(f, x, **called)),
        )

    found = _hessian(x, made)
    symmetric: NDArray[np.float64] = (found + found.T) / 2
    return symmetric
