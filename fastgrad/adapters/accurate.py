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
    to one side the steps are looked for, too. Each entry is taken from where its bar is least.
    """
    side: dict[str, Any] = {} if bounds is None else {"bounds": bounds}
    options: dict[str, Any] = {"args": args, "kwargs": kwargs, **side}
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

    several = [(found, info), numerical_hessian(f, x, grad=gradient, order=ORDER, full_output=True, **side)]
    if bounds is not None:
        several.append(numerical_hessian(f, x, method="adaptive", full_output=True, **options))
        nfev += several[-1][1].nfev
    values, bars = np.array([made for made, _ in several]), np.array([told.error for _, told in several])
    surest = np.argmin(np.where(np.isfinite(bars), bars, np.inf), axis=0)[None]
    return np.take_along_axis(values, surest, 0)[0], np.take_along_axis(bars, surest, 0)[0], nfev
