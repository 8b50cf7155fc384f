"""A Hessian as accurate as peers make it that extrapolate, where f cannot be lifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gradient import Gradient
from ..hessian import LIFT, numerical_hessian

ORDER = 4  # of the differences of gradients


def accurate_hessian(
    f: Callable[..., Any], x: NDArray[Any], *, bounds: Any = None, args: Any = (), kwargs: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return the Hessian, its error bars, and the evaluations.

    Where f cannot be lifted, adaptive gradients, which are exact to some 13 digits, are differenced to fourth order;
    to one side the steps are looked for. Each entry is taken from where its bar is less.
    """
    options: dict[str, Any] = {"args": args, "kwargs": kwargs, **({} if bounds is None else {"bounds": bounds})}
    found, info = numerical_hessian(f, x, full_output=True, **options)
    if info.way == LIFT:
        return found, np.asarray(info.error), info.nfev
    adaptive = Gradient(f, method="adaptive", **options)
    nfev = info.nfev

    def gradient(y: NDArray[Any], *_: Any, **__: Any) -> NDArray[Any]:
        nonlocal nfev
        slope, made = adaptive.with_info(y)
        nfev += made.nfev
        return slope

    if bounds is None:
        finer, told = numerical_hessian(f, x, grad=gradient, order=ORDER, full_output=True)
    else:
        finer, told = numerical_hessian(f, x, method="adaptive", full_output=True, **options)
        nfev += told.nfev
    surer = np.asarray(told.error) < np.asarray(info.error)
    return np.where(surer, finer, found), np.where(surer, told.error, info.error), nfev
