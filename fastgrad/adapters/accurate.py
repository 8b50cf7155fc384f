"""Second derivatives as accurate as peers make them that extrapolate, where f cannot be lifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gradient import Gradient
from ..hessian import LIFT, numerical_hessian
from ..schemes.constants import EPS
from ..schemes.stencils import Stencil

ORDER = 4  # of the differences of gradients
RUNGS = 24  # of a ladder of steps, each half of the one before
LEAST_ORDER = 6  # of differences on a ladder: the truncation error is to fall fast


def accurate_hessian(
    f: Callable[..., Any], x: NDArray[Any], *, bounds: Any = None, args: Any = (), kwargs: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return the Hessian, its error bars, and the evaluations.

    Where f cannot be lifted, and nothing bounds x, adaptive gradients, which are exact to some 13 digits, are
    differenced to fourth order, and each entry is taken from where its bar is less.
    """
    options: dict[str, Any] = {"args": args, "kwargs": kwargs, **({} if bounds is None else {"bounds": bounds})}
    found, info = numerical_hessian(f, x, full_output=True, **options)
    known = np.zeros(found.shape) if info.error is None else np.asarray(info.error)  # None: nothing may move
    if info.way == LIFT or not known.any():
        return found, known, info.nfev
    if bounds is not None:
        return found, known, info.nfev
    nfev, adaptive = info.nfev, Gradient(f, method="adaptive", **options)

    def gradient(y: NDArray[Any], *_: Any, **__: Any) -> NDArray[Any]:
        nonlocal nfev
        slope, made = adaptive.with_info(y)
        nfev += made.nfev
        return slope

    finer, told = numerical_hessian(f, x, grad=gradient, order=ORDER, full_output=True, **options)
    bars = np.asarray(told.error)
    surer = bars < known
    return np.where(surer, finer, found), np.where(surer, bars, known), nfev


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
