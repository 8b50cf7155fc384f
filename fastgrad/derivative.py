"""numerical_diff: the derivative of a function of one variable, elementwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.point import as_point
from .core.validation import FLOAT64, Floats, function, one_of
from .gradient import numerical_gradient
from .schemes.stencils import METHODS
from .schemes.steps import step_rule

__all__ = ["numerical_diff"]


def numerical_diff(
    f: Callable[..., Any], x: ArrayLike, h: Any = None, *, args: Any = (), method: str = "central", order: int = 2
) -> Any:
    r"""Return the derivative of a function of one variable, at a number or at each entry of an array.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: a number for a number; an array of x's shape for an array, computed elementwise. A function
        that takes single numbers only (``math.sin``, one with an ``if``) is called for one entry at a time.
    x : array_like
        Where: a number (integers too) or an array.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step; by default the best fixed rule for the stencil, relative to max(\|x\|, 1).
    args : tuple
        What f gets after x.
    method, order
        As for `numerical_gradient`.

    Returns
    -------
    float or ndarray
        A float for a number, else an array of x's shape.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or f's result has neither x's shape nor is one number.

    Notes
    -----
    The textbook's :math:`(f(x + h) - f(x - h)) / (2 h)`, with the achieved step in the divisor; for an array in two
    calls of f. One entry is evaluated alone as well: a function that couples the entries is refused.

    Examples
    --------
    >>> import numpy as np
    >>> round(numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5), 8)
    0.2
    >>> np.round(numerical_diff(np.sin, np.array([0.0, np.pi])), 8)
    array([ 1., -1.])
    """
    function(f)
    one_of("method", method, tuple(METHODS))
    args = args if isinstance(args, tuple) else (args,)
    point = as_point(x)
    if point.base.ndim == 0:
        return _at(f, float(point.base), h, args, method, order)
    if point.base.size == 0:
        return np.zeros(point.base.shape, point.dtype)
    result = _elementwise(f, point.base, h, args, method, order)
    if result is None:
        steps = np.broadcast_to(np.array(None if h is None or isinstance(h, str) else h), point.base.shape)
        each = [
            _at(f, entry, h if step is None else step, args, method, order)
            for entry, step in zip(point.base.flat, steps.flat, strict=True)
        ]
        result = np.array(each).reshape(point.base.shape)
    return result if point.dtype is FLOAT64 else result.astype(point.dtype)


def _at(f: Callable[..., Any], x: float, h: Any, args: tuple[Any, ...], method: str, order: int) -> float:
    """Return the derivative at one number, which f gets as a Python number."""
    convert = complex if method == "complex" else float

    def of_array(y: NDArray[Any]) -> Any:
        return f(convert(y), *args)

    return float(numerical_gradient(of_array, float(x), h, backend="python", method=method, order=order))


def _elementwise(
    f: Callable[..., Any], x: Floats, h: Any, args: tuple[Any, ...], method: str, order: int
) -> Floats | None:
    """Differentiate an array at once; None if f does not take arrays."""
    stencil = METHODS[method](order)
    step = step_rule(h, None, stencil, x.shape).at(x.reshape(-1), None).reshape(x.shape)
    unit = 1j if stencil.imaginary else 1.0

    def values(points: NDArray[Any]) -> NDArray[Any] | None:
        try:
            result = np.asarray(f(points.copy(), *args))
        except (TypeError, ValueError):
            return None  # math.sin, or `if x > 0`: it takes numbers only; if f is wrong otherwise, the loop shows it
        return result.copy() if result.shape == x.shape and result.dtype.kind in "fiubc" else None

    # one entry alone must give what it gives among others
    first = values(x)
    if first is None:
        return None
    alone = np.asarray(f(x.reshape(-1)[:1].copy(), *args)).reshape(-1)
    if alone.shape != (1,) or not np.isclose(alone[0], first.flat[0], rtol=1e-12, atol=0.0, equal_nan=True):
        raise ValueError(
            f"`f` is not elementwise: the first entry gives {alone[0] if alone.size else None} alone and "
            f"{first.flat[0]} among the others; use numerical_gradient for a function of many variables"
        )
    points = [x + unit * node * step for node in stencil.nodes]
    if any(np.any(p == x) or not np.isfinite(p).all() for p in points):
        return None  # the loop names the entry
    shown = [values(p) for p in points]
    if any(v is None for v in shown):
        return None
    done = [v for v in shown if v is not None]
    with np.errstate(all="ignore"):
        if stencil.imaginary:
            slopes = [v.imag / step for v in done]
        elif stencil.symmetric:
            pairs = range(0, len(done), 2)
            slopes = [(done[j] - done[j + 1]) / (points[j] - points[j + 1]) for j in pairs]
        else:
            slopes = [(v - first) / (p - x) for v, p in zip(done, points, strict=True)]
    result = np.tensordot(stencil.quotients, np.array(slopes), axes=1)
    return result if np.isfinite(result).all() and result.dtype.kind == "f" else None
