"""The iteration of ``scipy.differentiate``: differences at ever smaller steps, until two in a row agree."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from ..core.errors import describe

__all__ = ["iterated", "iterated_hessian", "iterated_jacobian"]

CONVERGED, GREW, LAST, NOT_FINITE, STOPPED, GOING_ON = 0, -1, -2, -3, -4, 1  # what `status` says
GROWTH = 10.0  # of the error, from one step to the next, at which rounding has taken over


def _weights(nodes: NDArray[Any]) -> NDArray[np.float64]:
    r"""Return the weights of the first derivative at 0, from 0 and other nodes.

    :math:`w_i = \frac{1}{s_i} \prod_{j \ne i} \frac{s_j}{s_j - s_i}`, by Lagrange's polynomials; of 0 less their sum.
    """
    found = [np.prod([s / (s - t) for s in nodes if s != t]) / t for t in nodes]
    return np.array([-sum(found), *found])


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {describe(value)}")
    return int(value)


def iterated(
    f: Callable[..., Any],
    x: Any,
    *,
    args: tuple[Any, ...] = (),
    tolerances: Any = None,
    maxiter: int = 10,
    order: int = 8,
    initial_step: Any = 0.5,
    step_factor: float = 2.0,
    step_direction: Any = 0,
    preserve_shape: bool = False,
    callback: Any = None,
) -> OptimizeResult:
    """Return the derivative of an elementwise function, as ``scipy.differentiate.derivative`` makes it.

    Central differences use f at x and x ± h, h/c, ..., c being the step factor, one-sided ones x + h, h/√c, ...; then h
    shrinks by c, and all but two of the values are there. The error is the last change of the derivative.
    """
    maxiter, terms = _whole("maxiter", maxiter), (_whole("order", order) + 1) // 2
    if not np.isscalar(step_factor) or not isinstance(step_factor, (int, float, np.number)) or not step_factor >= 0:
        raise ValueError(
            f"Tolerances and step parameters must be non-negative scalars; `step_factor` is {describe(step_factor)}"
        )
    given = np.asarray(x)
    dtype = np.result_type(given, *map(np.asarray, args)) if given.dtype.kind == "f" else np.dtype(np.float64)
    first = np.asarray(f(*np.broadcast_arrays(given.astype(dtype), *args)))
    shape = np.broadcast_shapes(first.shape, np.shape(initial_step), np.shape(step_direction))
    if not preserve_shape and first.shape != np.broadcast_shapes(given.shape, *map(np.shape, args)):
        raise ValueError(
            "When `preserve_shape=False`, the shape of the array returned by `f` must be that of its arguments "
            f"broadcast, got {first.shape} for x of shape {given.shape}"
        )
    atol, rtol = (tolerances or {}).get("atol"), (tolerances or {}).get("rtol")
    atol = np.finfo(dtype).smallest_normal if atol is None else atol
    rtol = np.finfo(dtype).eps ** 0.5 if rtol is None else rtol

    def flat(a: Any) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(a), shape).reshape(-1)

    size = int(np.prod(shape))
    places, side, h = flat(given).astype(dtype), np.sign(flat(step_direction).astype(dtype)), flat(initial_step)
    h = np.where((h > 0) & np.isfinite(side), h, np.nan).astype(dtype)
    more, one_sided = [flat(a) for a in args], side != 0
    c = float(step_factor)
    central = np.concatenate([[-(c**-j), c**-j] for j in range(terms)])
    beside = sqrt(c) ** -np.arange(2.0 * terms)
    weights = np.where(one_sided[:, None], _weights(beside), _weights(central))
    nodes = np.where(one_sided[:, None], np.where(side < 0, -1.0, 1.0)[:, None] * beside, central)
    values = np.empty((size, 2 * terms), dtype)
    here, state = flat(first).astype(dtype), OptimizeResult()
    df, error, last, before = (np.full(size, np.nan, dtype) for _ in range(4))
    status, nit, nfev = np.full(size, GOING_ON, np.int32), np.zeros(size, np.int32), np.ones(size, np.int32)

    def at(points: NDArray[Any], active: NDArray[Any]) -> NDArray[Any]:
        if not preserve_shape:
            return np.asarray(f(points, *(a[active, None] for a in more)), dtype)
        whole = np.repeat(places[:, None], points.shape[1], axis=1)
        whole[active] = points
        # f may return several numbers for each entry of x, and each of these goes on as long as it needs
        layers = whole.reshape(-1, *given.shape, points.shape[1])
        if (layers == layers[0]).all():
            made = np.asarray(f(layers[0]), dtype)
        else:
            made = np.stack([np.asarray(f(layer), dtype).reshape(layers.shape)[k] for k, layer in enumerate(layers)])
        found: NDArray[Any] = made.reshape(whole.shape)[active]
        return found

    def result() -> OptimizeResult:
        counts = {"nit": nit, "nfev": nfev, "x": places}
        fields = {"success": status == CONVERGED, "status": status, "df": df, "error": error, **counts}
        state.update({name: value.reshape(shape)[()].copy() for name, value in fields.items()})
        return OptimizeResult(state)

    active, stopped = np.arange(size), _stops(callback, result)
    for turn in range(maxiter):
        if stopped or not active.size:
            break
        new = slice(None) if not turn else slice(-2, None)
        if turn:
            values[active, :-2] = values[active, 2:]
        steps = h[active, None] * nodes[active, new]
        values[active, new] = at(places[active, None] + steps.astype(dtype), active)
        last[active], before[active] = df[active], error[active]
        known = np.concatenate([here[active, None], values[active]], axis=1)
        with np.errstate(all="ignore"):
            df[active] = np.sum(known * weights[active], axis=1) / h[active]
            df[active] *= np.where(side[active] < 0, -1.0, 1.0)
            error[active] = np.abs(df[active] - last[active])
            h[active] /= c
            nit[active], nfev[active] = turn + 1, nfev[active] + steps.shape[1]
            finite = np.isfinite(df[active])
            outcome = np.where(error[active] > GROWTH * before[active], GREW, GOING_ON)
            outcome[~finite] = NOT_FINITE
            outcome[error[active] < atol + rtol * np.abs(df[active])] = CONVERGED
        df[active[~finite]] = np.nan
        status[active] = outcome
        active = active[outcome == GOING_ON]
        stopped = _stops(callback, result)
    status[active] = STOPPED if stopped else LAST
    return result()


def _stops(callback: Any, result: Callable[[], OptimizeResult]) -> bool:
    if callback is not None:
        try:
            callback(result())
        except StopIteration:
            return True
    return False


def iterated_jacobian(f: Callable[..., Any], x: Any, **options: Any) -> OptimizeResult:
    """Return the Jacobian, as ``scipy.differentiate.jacobian`` makes it: f takes many points at once."""
    given = np.asarray(x)
    given = given.astype(given.dtype if given.dtype.kind == "f" else np.float64)
    m, diagonal = len(given), np.arange(len(given))

    def along(moved: NDArray[Any]) -> Any:
        points = given[:, None] if moved.ndim == given.ndim else given[:, None, ..., None]
        several = np.array(np.broadcast_to(points, (m, *moved.shape)))
        several[diagonal, diagonal] = moved
        return f(several)

    found = iterated(along, given, preserve_shape=True, **options)
    del found["x"]
    return found


def iterated_hessian(f: Callable[..., Any], x: Any, tolerances: Any = None, **options: Any) -> OptimizeResult:
    """Return the Hessian, as ``scipy.differentiate.hessian`` makes it: the Jacobian of Jacobians."""
    counts: list[NDArray[Any]] = []
    given = tolerances or {}
    dtype = np.asarray(x).dtype
    rtol = given.get("rtol") or np.finfo(dtype if dtype.kind == "f" else np.float64).eps ** 0.5

    def slope(y: NDArray[Any]) -> Any:
        inner = iterated_jacobian(f, y, tolerances={"rtol": rtol / 100.0, "atol": given.get("atol")}, **options)
        counts.append(inner.nfev.sum(axis=-1) if counts else inner.nfev)
        return inner.df

    found = iterated_jacobian(slope, x, tolerances=tolerances, **options)
    found.nfev = np.take_along_axis(np.cumsum(counts, axis=0), found.nit[None].astype(np.int64), axis=0)[0]
    found.ddf = found.pop("df")
    del found["nit"]
    return found
