"""Second derivatives as accurate as peers make them that extrapolate, where f cannot be lifted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, number
from ..gradient import Gradient
from ..hessian import LIFT, numerical_hessian
from ..schemes.constants import EPS, OUTSIDE
from ..schemes.stencils import METHODS, Stencil

ORDER = 4  # of the differences of gradients
RUNGS = 24  # of a ladder of steps, each half of the one before
LEAST_ORDER = 6  # of differences on a ladder: the truncation error is to fall fast
ROOM = 2.0**-6  # of the larger side: where the smaller has less, that is not looked at


def accurate_hessian(
    f: Callable[..., Any], x: NDArray[Any], *, bounds: Any = None, args: Any = (), kwargs: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return the Hessian, its error bars, and the evaluations.

    Where f cannot be lifted, adaptive gradients, which are exact to some 13 digits, are differenced to fourth order;
    within bounds second derivatives along the entries, and along the sums of two, are looked for on a ladder of steps.
    Each entry is taken from where its bar is less.
    """
    options: dict[str, Any] = {"args": args, "kwargs": kwargs, **({} if bounds is None else {"bounds": bounds})}
    found, info = numerical_hessian(f, x, full_output=True, **options)
    known = np.zeros(found.shape) if info.error is None else np.asarray(info.error)  # None: nothing may move
    if info.way == LIFT or not known.any():
        return found, known, info.nfev
    nfev = info.nfev
    finer: Floats
    if bounds is None:
        adaptive = Gradient(f, method="adaptive", **options)

        def gradient(y: NDArray[Any], *_: Any, **__: Any) -> NDArray[Any]:
            nonlocal nfev
            slope, made = adaptive.with_info(y)
            nfev += made.nfev
            return slope

        finer, told = numerical_hessian(f, x, grad=gradient, order=ORDER, full_output=True, **options)
        bars = np.asarray(told.error)
    else:

        def value(y: NDArray[Any]) -> float:
            nonlocal nfev
            nfev += 1
            try:
                return number(f(y, *args, **(kwargs or {})))
            except OUTSIDE:  # of f's domain: steps that long are of no use
                return np.nan

        finer, bars = _within(value, x, bounds)
    surer = bars < known
    return np.where(surer, finer, found), np.where(surer, bars, known), nfev


def _within(f: Callable[[NDArray[Any]], float], x: NDArray[Any], bounds: Any) -> tuple[Floats, Floats]:
    """Return a Hessian from second derivatives along lines that stay within bounds, and its bars.

    Along :math:`v = r_i e_i + r_j e_j` that is :math:`r_i^2 H_{ii} + 2 r_i r_j H_{ij} + r_j^2 H_{jj}`.
    """
    lower, upper = (np.broadcast_to(np.asarray(b, dtype=np.float64), x.shape).reshape(-1) for b in bounds)
    flat = x.reshape(-1)
    up, down, scale = upper - flat, flat - lower, np.maximum(np.abs(flat), 1.0)
    both = bool((np.minimum(up, down) >= ROOM * np.minimum(np.maximum(up, down), scale)).all())
    stencil = METHODS["central" if both else "forward"](LEAST_ORDER, 2)
    sides = np.minimum(np.minimum(up, down) if both else np.maximum(up, down), scale)
    reach = np.where(both | (up >= down), sides, -sides)

    def along(v: Floats) -> tuple[float, float]:
        @cache
        def at(t: float) -> float:
            return f(np.clip(flat + t * v, lower, upper).reshape(x.shape))

        second, bar, _ = on_ladder(lambda t: at(float(t)), np.zeros(()), stencil)
        return float(second), float(bar)

    n = flat.size
    entries, bars = np.zeros((n, n)), np.zeros((n, n))
    free = np.flatnonzero(reach)
    for i in free:
        entries[i, i], bars[i, i] = along(np.where(np.arange(n) == i, reach, 0.0))
    for i, j in ((i, j) for i in free for j in free if i < j):
        sum_of_three, bar = along(np.where(np.isin(np.arange(n), (i, j)), reach, 0.0))
        entries[i, j] = entries[j, i] = 0.5 * (sum_of_three - entries[i, i] - entries[j, j])
        bars[i, j] = bars[j, i] = 0.5 * (bar + bars[i, i] + bars[j, j])
    sizes = np.outer(reach, reach)
    sizes[sizes == 0.0] = 1.0
    shape = (*x.shape, *x.shape)
    return (entries / sizes).reshape(shape), (bars / np.abs(sizes)).reshape(shape)


def on_ladder(f: Callable[[Any], Any], x: NDArray[Any], stencil: Stencil) -> tuple[Any, Any, Any]:
    """Return a derivative of an elementwise function where steps beside agree best, how far they do not, and the steps.

    NaN where none of them is finite.
    """
    largest = np.maximum(np.abs(x), 1.0) / max(map(abs, stencil.reach))
    steps = [np.ldexp(largest, -k) for k in range(RUNGS)]
    with np.errstate(all="ignore"):
        rungs, rounding = (np.array(a) for a in zip(*(quotient(f, x, h, stencil) for h in steps), strict=True))
        apart = np.abs(np.diff(rungs, axis=0))
    doubt = np.maximum(apart[1:], apart[:-1]) + rounding[1:-1]  # of a rung, by those above and below
    doubt[~np.isfinite(doubt)] = np.inf
    best = np.argmin(doubt, axis=0)[None]
    found, error, used = (np.take_along_axis(a, best, 0)[0] for a in (rungs[1:-1], doubt, np.array(steps[1:-1])))
    return np.where(np.isfinite(error), found, np.nan)[()], error[()], used[()]


def quotient(f: Callable[[Any], Any], x: NDArray[Any], h: NDArray[Any], stencil: Stencil) -> tuple[Any, Any]:
    """Return the derivative, and what the rounding of the values makes of it."""
    values = [float(w) * np.asarray(f(x + float(o) * h)) for o, w in zip(stencil.offsets, stencil.weights, strict=True)]
    total, sizes = (np.reshape(sum(v), x.shape) / h**stencil.deriv for v in (values, map(np.abs, values)))
    return total, EPS * sizes
