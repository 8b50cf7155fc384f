"""jacobi's interface: a Jacobian with error bars, and the propagation of a covariance.

What `step` and `diagnostic` ask for is of jacobi's own iteration: jacobi itself does it. Of its own tests one fails
here, which wants an error of 0 at the kink of abs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import needed, quietly
from ..core.validation import Args, Array, Function
from ..jacobian import numerical_jacobian

__all__ = ["jacobi", "propagate"]

METHODS = (None, 0, 1, -1)
NEEDED = "`step` and `diagnostic` are of jacobi's own iteration: pip install jacobi, or leave them out"
BESIDE = 2.0**-26  # of x: where both sides must be known for method=0


def jacobi(
    fn: Function,
    x: ArrayLike,
    *args: Any,
    diagonal: bool = False,
    method: int | None = None,
    mask: ArrayLike | None = None,
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
        Central, forward, backward; None is central, and one-sided where fn is NaN on one side. With 0 that is NaN.
    rtol : float
        Where the error bar is a larger share of the derivative, the steps are looked for again, as method="adaptive".
    maxiter : int
        1: they are not.
    maxgrad : int
        The order of the differences is twice this and 2, if it is given.
    step, diagnostic
        Where one is given jacobi itself differentiates: they steer its own iteration, and tell of it.

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
    if step is not None or diagnostic is not None:
        options: dict[str, Any] = {"diagonal": diagonal, "mask": mask, "rtol": rtol, "maxiter": maxiter}
        options |= {"method": method, "maxgrad": maxgrad, "step": step, "diagnostic": diagnostic}
        theirs: tuple[NDArray[np.float64], NDArray[np.float64]] = needed("jacobi", NEEDED).jacobi(
            fn, x, *args, **options
        )
        return theirs
    for name, given, least in (("maxiter", maxiter, 1), ("maxgrad", maxgrad, 0), ("rtol", rtol, 0)):
        if not given >= least:
            raise ValueError(f"`{name}` must be {least} or more, got {given!r}")
    if method not in METHODS:
        raise ValueError(f"`method` must be -1, 0, 1 or None, got {method!r}")
    wanted = _Wanted(method, rtol if maxiter > 1 else np.inf, None if maxgrad == 3 else 2 * maxgrad + 2)
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
        options = {"method": method, "rtol": rtol, "maxiter": maxiter, "maxgrad": maxgrad}
        slope, error = jacobi(lambda moved: fn(point + moved, *args), 0.0, **options)
        slope[~chosen] = error[~chosen] = 0.0
        return slope, error
    value = _values(fn(point.copy(), *args))
    slope, error = (np.zeros((*value.shape, *point.shape)) for _ in range(2))
    lost = np.isnan(value)[..., *[None] * point.ndim] | np.isnan(point)
    todo = chosen & ~np.isnan(point)
    if todo.any():
        slope[..., todo], error[..., todo] = _with_bars(fn, point, args, value, todo, wanted)
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


class _Wanted(NamedTuple):
    """On which side, up to which bar, and by what order."""

    side: int | None
    rtol: float
    order: int | None


def _with_bars(
    fn: Function, x: Array, args: Args, value: Array, chosen: NDArray[np.bool_], wanted: _Wanted
) -> tuple[Array, Array]:
    """Return the columns of some entries of x, and their bars; NaN for values that are NaN at x."""
    known = ~np.isnan(value)
    whole = bool(known.all() and chosen.all())

    def moved(entries: Array) -> Any:
        if whole:
            return fn(entries, *args)
        full = x.copy()
        full[chosen] = entries
        return _values(fn(full, *args))[known]

    entries = x if whole else x[chosen]
    lower, upper = np.full(entries.shape, -np.inf), np.full(entries.shape, np.inf)
    if wanted.side:
        (lower if wanted.side > 0 else upper)[...] = entries
    made, apart = _made(moved, entries, (lower, upper), wanted)
    if wanted.side == 0 or (wanted.side is None and not (apart <= np.abs(made)).all()):
        below, above = _lost(moved, entries)
        if wanted.side == 0:
            made = np.where(below | above, np.nan, made)
        elif (below != above).any():
            inside = np.where(below & ~above, entries, lower), np.where(above & ~below, entries, upper)
            made, apart = _made(moved, entries, inside, wanted)
    found, bars = (np.full((*value.shape, entries.size), np.nan) for _ in range(2))
    found[known], bars[known] = (np.reshape(a, (-1, entries.size)) for a in (made, apart))
    return found, bars


def _made(moved: Function, x: Array, bounds: Any, wanted: _Wanted) -> tuple[Array, Array]:
    """Return the Jacobian and its bars, by finer looks where these are too large."""
    options: dict[str, Any] = {"full_output": True, **({"bounds": bounds} if np.isfinite(bounds).any() else {})}
    with quietly():  # the bars say it
        made, info = numerical_jacobian(moved, x, order=wanted.order, **options)
        if wanted.rtol == np.inf or (info.error <= wanted.rtol * np.abs(made)).all():
            return made, info.error
        finer, told = numerical_jacobian(moved, x, method="adaptive", **options)
    better = told.error < info.error
    return np.where(better, finer, made), np.where(better, told.error, info.error)


def _lost(moved: Function, x: Array) -> list[NDArray[np.bool_]]:
    """Say for which entries fn is NaN just below x, and just above."""
    step = BESIDE * np.maximum(np.abs(x), 1.0)
    lost = [np.zeros(x.shape, dtype=bool), np.zeros(x.shape, dtype=bool)]
    for found, side in zip(lost, (-1.0, 1.0), strict=True):
        for i in np.ndindex(x.shape):
            beside = x.copy()
            beside[i] += side * step[i]
            found[i] = np.isnan(_values(moved(beside))).any()
    return lost


def propagate(fn: Function, x: ArrayLike, cov: ArrayLike, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Return fn(x) and its covariance, as ``jacobi.propagate`` does.

    Parameters
    ----------
    fn, x, cov, *args
        As jacobi's: further pairs of x and cov are independent arguments of fn.
    **kwargs
        As for `jacobi`.

    Returns
    -------
    value : ndarray
        fn of all x.
    covariance : ndarray
        J C J^T: a matrix, its diagonal where J and C are diagonal, or a number where fn returns one.

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


def _of_one(fn: Function, places: list[Any], i: int) -> Callable[[Any], Any]:
    return lambda x: fn(*places[:i], x, *places[i + 1 :])


def _through(fn: Function, value: Array, x: Array, cov: Array, kwargs: dict[str, Any]) -> Any:
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
