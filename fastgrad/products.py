"""Products of Jacobians and Hessians with vectors, without the matrices."""

from __future__ import annotations

from typing import Any, Unpack, overload

from numpy.typing import ArrayLike, NDArray

from .core.options import No, Yes
from .core.result import Info
from .hessian import Hessian, HessianDict
from .jacobian import Jacobian
from .planning.settings import JacobianDict, JacobianInfo

__all__ = ["hvp", "jvp", "vjp"]


@overload
def jvp(
    f: Any, x: ArrayLike, v: ArrayLike, h: Any = None, *, full_output: No = False, **options: Unpack[JacobianDict]
) -> NDArray[Any]: ...


@overload
def jvp(
    f: Any, x: dict[Any, Any], v: Any, h: Any = None, *, full_output: No = False, **options: Unpack[JacobianDict]
) -> Any: ...


@overload
def jvp(
    f: Any, x: Any, v: Any, h: Any = None, *, full_output: Yes, **options: Unpack[JacobianDict]
) -> tuple[Any, JacobianInfo]: ...


def jvp(f: Any, x: Any, v: Any, h: Any = None, *, full_output: bool = False, **options: Unpack[JacobianDict]) -> Any:
    r"""Return the Jacobian of f at x times a vector: how f changes along it.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns an array of any shape, a list or a tuple of numbers, or one number.
    x : array_like or dict of array_like
        The point, of any shape; of a dictionary (nested, if need be), f gets one, too.
    v : array_like of x's shape, or a dictionary of such
        The direction.
    h : float, optional
        The step of t in f(x + t v).
    **options
        As for `fastgrad.Jacobian`: argnum, out and others.
    full_output : bool
        Return ``(product, info)``, with error bars in ``info.error``, like the product.

    Returns
    -------
    ndarray of f(x)'s shape, or a dictionary as f gives

    Notes
    -----
    :math:`J v = (f(x + t v) - f(x - t v)) / (2 t)`, with t from the noise of f along v: 9 evaluations of f in the
    median, whatever the size of x.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(jvp(lambda x: [x[0] * x[1], x[1] ** 2], [3.0, 4.0], [1.0, 0.0]), 6)
    array([4., 0.])
    """
    return Jacobian(f, h, **options).jvp(x, v, full_output=full_output)


@overload
def vjp(
    f: Any, x: dict[Any, Any], w: Any, h: Any = None, *, full_output: No = False, **options: Unpack[JacobianDict]
) -> dict[Any, Any]: ...


@overload
def vjp(
    f: Any, x: ArrayLike, w: Any, h: Any = None, *, full_output: No = False, **options: Unpack[JacobianDict]
) -> NDArray[Any]: ...


@overload
def vjp(
    f: Any, x: Any, w: Any, h: Any = None, *, full_output: Yes, **options: Unpack[JacobianDict]
) -> tuple[Any, Info]: ...


def vjp(f: Any, x: Any, w: Any, h: Any = None, *, full_output: bool = False, **options: Unpack[JacobianDict]) -> Any:
    r"""Return a vector times the Jacobian of f at x: the gradient of ``sum(w * f(x))``.

    Parameters
    ----------
    f, x, **options
        As for `jvp`.
    w : array_like of f(x)'s shape, or a dictionary as f gives
        The weights.
    h : float or array_like of x's shape, optional
        Absolute step.
    full_output : bool
        Return ``(product, info)``, with error bars in ``info.error``, like the product.

    Returns
    -------
    ndarray of x's shape, or a dictionary of such

    Notes
    -----
    :math:`J^T w = \nabla (w \cdot f)`, by `fastgrad.numerical_gradient`: where f can be lifted, one run of it.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(vjp(lambda x: [x[0] * x[1], x[1] ** 2], [3.0, 4.0], [1.0, 1.0]), 6)
    array([ 4., 11.])
    """
    return Jacobian(f, h, **options).vjp(x, w, full_output=full_output)


@overload
def hvp(
    f: Any,
    x: dict[Any, Any],
    v: Any,
    h: Any = None,
    *,
    grad: Any = None,
    full_output: No = False,
    **options: Unpack[HessianDict],
) -> dict[Any, Any]: ...


@overload
def hvp(
    f: Any,
    x: ArrayLike,
    v: ArrayLike,
    h: Any = None,
    *,
    grad: Any = None,
    full_output: No = False,
    **options: Unpack[HessianDict],
) -> NDArray[Any]: ...


@overload
def hvp(
    f: Any, x: Any, v: Any, h: Any = None, *, grad: Any = None, full_output: Yes, **options: Unpack[HessianDict]
) -> tuple[Any, JacobianInfo]: ...


def hvp(
    f: Any,
    x: Any,
    v: Any,
    h: Any = None,
    *,
    grad: Any = None,
    full_output: bool = False,
    **options: Unpack[HessianDict],
) -> Any:
    r"""Return the Hessian of f at x times a vector: how its gradient changes along it.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    x : array_like or dict of array_like
        The point, of any shape; of a dictionary (nested, if need be), f gets one, too.
    v : array_like of x's shape, or a dictionary of such
        The direction.
    h, grad, **options
        As for `fastgrad.Hessian`.
    full_output : bool
        Return ``(product, info)``, with error bars in ``info.error``, like the product.

    Returns
    -------
    ndarray of x's shape, or a dictionary of such

    Notes
    -----
    As for `fastgrad.Hessian`: the imaginary part of the gradient at :math:`x + 10^{-100} i v` where f can be lifted,
    else a difference of gradients.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(hvp(lambda x: x[0] ** 2 * x[1], [3.0, 4.0], [1.0, 0.0]), 4)
    array([8., 6.])
    """
    return Hessian(f, h, grad=grad, **options).hvp(x, v, full_output=full_output)
