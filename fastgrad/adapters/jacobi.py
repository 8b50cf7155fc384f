"""jacobi's interface: a Jacobian with error bars, and the propagation of a covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..jacobian import numerical_jacobian

__all__ = ["jacobi", "propagate"]

METHODS = {None: "central", 0: "central", 1: "forward", -1: "backward"}


def jacobi(
    fn: Callable[..., Any],
    x: ArrayLike,
    *args: Any,
    diagonal: bool = False,
    method: int | None = None,
    mask: Any = None,
    rtol: float = 0,
    maxiter: int = 10,
    maxgrad: int = 3,
    step: Any = None,
    diagnostic: Any = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Jacobian and its error bars, as ``jacobi.jacobi`` does.

    Parameters
    ----------
    fn, x, *args, diagonal, mask
        As jacobi's.
    method : {None, 0, 1, -1}
        Central, forward, backward; None is central.
    rtol, maxiter, maxgrad, step, diagnostic
        Steer jacobi's own iteration: only their defaults are accepted.

    Returns
    -------
    jacobian, error : ndarray
        Of shape ``fn(x).shape + x.shape``; of fn(x)'s shape with `diagonal`.

    Examples
    --------
    >>> slope, error = jacobi(lambda x: x**2, [1.0, 2.0])
    >>> np.round(slope, 6)
    array([[2., 0.],
           [0., 4.]])
    """
    given: dict[str, tuple[Any, Any]] = {"rtol": (rtol, 0), "maxiter": (maxiter, 10), "maxgrad": (maxgrad, 3)}
    given |= {"step": (step, None), "diagnostic": (diagnostic, None)}
    for name, (value, usual) in given.items():
        if value is not usual and value != usual:
            raise ValueError(f"`{name}` steers jacobi's own iteration and means nothing here, got {value!r}")
    if method not in METHODS:
        raise ValueError(f"`method` must be -1, 0, 1 or None, got {method!r}")
    point = np.array(x, dtype=np.float64)  # fn may read the caller's, which does not move
    chosen = None if mask is None else np.asarray(mask)
    if chosen is not None and (chosen.dtype != bool or chosen.shape != point.shape):
        raise ValueError(f"`mask` must be a boolean array of x's shape {point.shape}, got {mask!r}")
    if diagonal:
        slope, error = jacobi(lambda moved: fn(point + moved, *args), 0.0, method=method)
        if chosen is not None:
            slope[~chosen] = error[~chosen] = 0.0
        return slope, error
    if chosen is None or not chosen.ndim:
        return _with_bars(fn, point, args, method, None)
    found, bars = _with_bars(fn, point, args, method, chosen)
    shape = (*found.shape[:-1], *point.shape)
    slope, error = np.zeros(shape), np.zeros(shape)
    slope[..., chosen], error[..., chosen] = found, bars
    return slope, error


def _with_bars(fn: Any, x: NDArray[Any], args: Any, method: int | None, indices: Any) -> tuple[Any, Any]:
    options: dict[str, Any] = {"args": args, "method": METHODS[method], "indices": indices}
    if not method:
        found, info = numerical_jacobian(fn, x, full_output=True, **options)
        return np.asarray(found), np.asarray(info.error)
    # one-sided differences have no bars of their own: what two orders differ by
    lower, higher = (np.asarray(numerical_jacobian(fn, x, order=order, **options)) for order in (3, 4))
    return higher, np.abs(higher - lower)


def propagate(fn: Callable[..., Any], x: ArrayLike, cov: ArrayLike, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Return fn(x) and its covariance, as ``jacobi.propagate`` does.

    Parameters
    ----------
    fn, x, cov, *args
        As jacobi's: further pairs of x and cov are independent arguments of fn.
    **kwargs
        As for `jacobi`.

    Examples
    --------
    >>> value, covariance = propagate(lambda x: x[0] * x[1], [2.0, 3.0], [0.1, 0.2])
    >>> round(float(covariance), 6)
    1.7
    """
    if len(args) % 2:
        raise ValueError("number of extra positional arguments must be even")
    places = [np.asarray(a) for a in (x, *args[::2])]
    covariances = [np.asarray(a) for a in (cov, *args[1::2])]
    value = np.asarray(fn(*places))
    if len(places) == 1:
        return value, _through(fn, value, places[0], covariances[0], kwargs)
    masks = kwargs.pop("mask", None)
    parts = []
    for i, (place, covariance) in enumerate(zip(places, covariances, strict=True)):
        if masks is not None:
            kwargs["mask"] = masks[i] if np.shape(masks[i]) == place.shape else masks
        parts.append(_through(_of_one(fn, places, i), value, place, covariance, kwargs))
    if any(part.ndim == 2 for part in parts):
        parts = [np.diag(part) if part.ndim == 1 else part for part in parts]
    return value, sum(parts[1:], parts[0])


def _of_one(fn: Callable[..., Any], places: list[Any], i: int) -> Callable[[Any], Any]:
    return lambda x: fn(*places[:i], x, *places[i + 1 :])


def _through(fn: Any, value: NDArray[Any], x: NDArray[Any], cov: NDArray[Any], kwargs: dict[str, Any]) -> Any:
    """Return J C J^T; a diagonal J or C is one of one dimension."""
    if x.ndim > 1 or value.ndim > 1 or cov.ndim > 2:
        raise ValueError("x and fn(x) must have dimension 0 or 1, and cov 0, 1 or 2")
    if cov.ndim and cov.shape != x.shape * cov.ndim:
        raise ValueError(f"x and cov have incompatible shapes {x.shape} and {cov.shape}")
    slope = jacobi(fn, x, **kwargs)[0]
    if not kwargs.get("diagonal", False):
        slope = slope.reshape(value.size, x.size)
        if slope.shape[0] == slope.shape[1] and value.ndim and not np.nan_to_num(slope - np.diag(np.diag(slope))).any():
            slope = np.diag(slope)
    if slope.ndim == 2:
        full = cov * np.eye(x.size) if cov.ndim < 2 else cov
        result = slope @ full @ slope.T
    else:
        result = slope**2 * cov if cov.ndim < 2 else slope[:, None] * cov * slope
    return np.squeeze(result) if value.ndim == 0 else result
