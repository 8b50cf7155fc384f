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
        Central, forward, backward; None is central. Central differences turn one-sided where fn is NaN on one side.
    rtol, maxiter, maxgrad, step, diagnostic
        Steer jacobi's own iteration, and tell of it: only their defaults are accepted.

    Returns
    -------
    jacobian, error : ndarray
        Of shape ``fn(x).shape + x.shape``; of fn(x)'s shape with `diagonal`. NaN, with an infinite error, in the rows
        and columns of values and entries that are NaN themselves.

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
    chosen = np.full(point.shape, True) if mask is None else np.asarray(mask)
    if chosen.dtype != bool:
        raise ValueError(f"`mask` must be a boolean array, got {mask!r}")
    if chosen.shape != point.shape:
        raise ValueError(f"`mask` must be of x's shape {point.shape}, got {chosen.shape}")
    if not point.size:
        empty = np.zeros(point.shape if diagonal else 2 * point.shape)
        return empty, empty.copy()
    if diagonal:
        slope, error = jacobi(lambda moved: fn(point + moved, *args), 0.0, method=method)
        slope[~chosen] = error[~chosen] = 0.0
        return slope, error
    value = _values(fn(point.copy(), *args))
    slope, error = (np.zeros((*value.shape, *point.shape)) for _ in range(2))
    lost = np.isnan(value)[..., *[None] * point.ndim] | np.isnan(point)
    todo = chosen & ~np.isnan(point)
    if todo.any():
        slope[..., todo], error[..., todo] = _with_bars(fn, point, args, value, todo, METHODS[method])
    slope[lost & chosen] = np.nan
    error[np.isnan(slope)] = np.inf
    return slope, error


def _values(value: Any) -> NDArray[np.float64]:
    try:
        return np.array(value, dtype=np.float64)
    except ValueError as error:
        raise ValueError(
            f"function return value cannot be converted into a numpy array of floats, got {value!r}"
        ) from error


def _with_bars(
    fn: Any, x: NDArray[Any], args: Any, value: NDArray[Any], chosen: NDArray[np.bool_], method: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the columns of some entries of x, and their bars; NaN for values that are NaN at x."""
    known = ~np.isnan(value)
    whole = bool(known.all() and chosen.all())

    def moved(entries: NDArray[Any]) -> Any:
        if whole:
            return fn(entries, *args)
        full = x.copy()
        full[chosen] = entries
        return _values(fn(full, *args))[known]

    entries = x if whole else x[chosen]
    if method == "central":
        made, info = numerical_jacobian(moved, entries, full_output=True)
        apart = info.error
    else:  # one-sided differences have no bars of their own: what two orders differ by
        lower, made = (np.asarray(numerical_jacobian(moved, entries, method=method, order=order)) for order in (3, 4))
        apart = np.abs(made - lower)
    found, bars = (np.full((*value.shape, entries.size), np.nan) for _ in range(2))
    found[known], bars[known] = (np.reshape(a, (-1, entries.size)) for a in (made, apart))
    return found, bars


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
    value = _values(fn(*places))
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
    if cov.ndim and cov.shape != ((x.size,) * cov.ndim):
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
