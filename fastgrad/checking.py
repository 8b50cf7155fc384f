"""check_gradient: is an analytic gradient right?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.errors import describe
from .core.options import tolerance
from .core.point import as_point
from .core.validation import Floats, function, real_array
from .gradient import numerical_gradient

__all__ = ["GradientCheck", "check_gradient"]

RIGHT, WRONG, UNKNOWN = "right", "wrong", "cannot tell"
# Derivatives below this share of the largest count as of this size: nobody asks for their relative accuracy.
NEGLIGIBLE = 1e-6
WORST = 5
STEEP = 1e-2  # a directional derivative is a sum; an error of a component in it may be diluted by so much


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradient` found. True if the gradient is right; prints as a report.

    Attributes
    ----------
    verdict : {"right", "wrong", "cannot tell"}
        "cannot tell": nothing contradicts the gradient, but f's noise is too large to confirm all of it.
    given, expected, error : ndarray
        The gradient that was checked, the numerical one and its error bars; along directions, the products with these.
    wrong, unknown : ndarray of bool
        Which of them are wrong, and which cannot be told.
    directions : int or None
        How many random directions were used; None: every component.
    nfev : int
        Evaluations of f.
    """

    verdict: str
    given: Floats
    expected: Floats
    error: Floats
    wrong: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    directions: int | None
    nfev: int

    def __bool__(self) -> bool:
        return self.verdict == RIGHT

    def __str__(self) -> str:
        what = "component" if self.directions is None else "direction"
        lines = [
            f"the gradient is {self.verdict}" if self.verdict != UNKNOWN else "cannot tell: f is too noisy here",
            f"{np.count_nonzero(self.wrong)} of {self.wrong.size} {what}s wrong, "
            f"{np.count_nonzero(self.unknown)} cannot be told; {self.nfev} evaluations of f",
        ]
        bad = self.wrong | self.unknown
        with np.errstate(all="ignore"):
            excess = np.where(bad, np.abs(self.given - self.expected) / np.maximum(self.error, 1e-300), -1.0)
        excess[np.isnan(excess)] = np.inf
        for flat in np.argsort(-excess, axis=None, kind="stable")[: min(WORST, np.count_nonzero(bad))]:
            where = tuple(int(i) for i in np.unravel_index(flat, self.given.shape))
            label = where[0] if len(where) == 1 else where
            kind = WRONG if self.wrong[where] else UNKNOWN
            lines.append(
                f"  {what} {label}: given {self.given[where]:.10g}, numerical {self.expected[where]:.10g} "
                f"± {self.error[where]:.2g} ({kind})"
            )
        return "\n".join(lines)

    __repr__ = __str__


def check_gradient(
    f: Any,
    grad: Callable[..., Any] | ArrayLike,
    x: ArrayLike,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    directions: int | None = None,
    seed: int = 0,
    **options: Any,
) -> GradientCheck:
    r"""Check an analytic gradient against a numerical one that knows its own error.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    grad : callable or array_like
        ``grad(x, *args, **kwargs)`` returns an array of x's shape; or that array.
    x : array_like
        Where; a point without special properties shows the most.
    rtol, atol : float
        A component is wrong if it differs by more than ``max(rtol * |derivative|, atol)`` and the error bar.
        Derivatives below a millionth of the largest, or of a tenth of what f changes by when x changes by its size,
        are not asked for relative accuracy.
    args, kwargs
        What f and grad get after x.
    directions : int, optional
        Compare along so many random directions instead of every component: some 20 evaluations of f for each, whatever
        the size of x. A wrong component shows unless the others outweigh it by far.
    seed : int
        Of the random directions.
    **options
        More options of `numerical_gradient`: `backend`, `bounds`, `batch_axis`, `noise`.

    Returns
    -------
    GradientCheck
        True if the gradient is right, so that ``assert check_gradient(f, grad, x)`` is a test, and its failure shows
        the report: the worst components with both values and the error bar.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or `grad` does not give an array of x's shape.

    Notes
    -----
    The numerical gradient is method="adaptive": Richardson extrapolation of central differences (Ridders 1982) with an
    error bar from f's noise and the decay of its Taylor terms.

    Examples
    --------
    >>> import numpy as np
    >>> f = lambda x: np.sum(x**3)
    >>> bool(check_gradient(f, lambda x: 3 * x**2, np.array([1.0, 2.0])))
    True
    >>> print(check_gradient(f, lambda x: 3 * x**2 + [0.0, 0.1], np.array([1.0, 2.0])))  # doctest: +ELLIPSIS
    the gradient is wrong
    1 of 2 components wrong, 0 cannot be told; ... evaluations of f
      component 1: given 12.1, numerical 12 ± ... (wrong)
    """
    function(f)
    rtol, atol = tolerance("rtol", rtol), tolerance("atol", atol)
    base = as_point(x).base
    keywords = dict(kwargs) if kwargs else {}
    args = args if isinstance(args, tuple) else (args,)
    given = grad(base.copy(), *args, **keywords) if callable(grad) else grad
    analytic = real_array("grad", given).astype(np.float64)
    if analytic.shape != base.shape:
        raise ValueError(f"`grad` must give an array of x's shape {base.shape}, got shape {analytic.shape}")
    if directions is None:
        options |= {"args": args, "kwargs": keywords}
        expected, info = numerical_gradient(f, base, method="adaptive", full_output=True, **options)
        nfev, error = info.nfev, info.error
        assert error is not None
        floor = NEGLIGIBLE * np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        size = np.maximum(np.abs(expected), np.maximum(floor, _usual_slope(f, base, args, keywords, options)))
        nfev += 2
        checked = analytic
    else:
        if isinstance(directions, bool) or not isinstance(directions, int) or directions < 1:
            raise ValueError(f"`directions` must be a whole number, 1 or more, or None; got {describe(directions)}")
        checked, expected, error, size, nfev = _along(f, analytic, base, args, keywords, directions, seed, options)
    allowed = np.maximum(rtol * size, atol)
    gap = np.abs(checked - expected)
    wrong = ~(gap <= allowed + error) & np.isfinite(expected) | ~np.isfinite(checked)
    unknown = ~wrong & ~(error <= np.maximum(allowed, gap))
    unknown &= ~(gap + error <= allowed)
    verdict = WRONG if wrong.any() else UNKNOWN if unknown.any() else RIGHT
    return GradientCheck(verdict, checked, expected, error, wrong, unknown, directions, nfev)


def _scale(base: Floats) -> Floats:
    largest = np.abs(base).max(initial=0.0)
    return np.maximum(np.abs(base), min(1.0, largest) if largest else 1.0)


def _usual_slope(
    f: Any, base: Floats, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> Floats:
    """Return a tenth of the slope that f has over x's own size: what matters where the gradient vanishes."""
    scale = _scale(base)
    if options.get("bounds") is not None or options.get("batch_axis") is not None or not base.size:
        return np.zeros(base.shape)
    way = scale * np.random.default_rng(1).choice([-1.0, 1.0], base.shape)
    try:
        change = abs(float(f(base + 0.1 * way, *args, **kwargs)) - float(f(base.copy(), *args, **kwargs)))
    except (ArithmeticError, TypeError, ValueError):
        return np.zeros(base.shape)
    slope: Floats = change / (scale * np.sqrt(base.size))
    return slope if np.isfinite(slope).all() else np.zeros(base.shape)


def _along(
    f: Any,
    analytic: Floats,
    base: Floats,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    directions: int,
    seed: int,
    options: dict[str, Any],
) -> tuple[Floats, Floats, Floats, Floats, int]:
    """Differentiate f along random directions, each component moved in proportion to its size."""
    rng = np.random.default_rng(seed)
    scale = _scale(base)
    axis = options.pop("batch_axis", None)
    given, expected, error, size = (np.empty(directions) for _ in range(4))
    nfev = 0
    for i in range(directions):
        way = scale * rng.uniform(0.5, 1.0, base.shape) * rng.choice([-1.0, 1.0], base.shape)

        def of_distance(t: NDArray[Any], way: Floats = way) -> Any:
            point = base + float(t[0]) * way
            return f(point if axis is None else np.expand_dims(point, axis), *args, **kwargs)

        slope, info = numerical_gradient(
            of_distance, np.zeros(1), method="adaptive", full_output=True, **{**options, "backend": "python"}
        )
        terms = analytic * way
        assert info.error is not None
        given[i], expected[i], error[i] = terms.sum(), slope[0], info.error[0]
        size[i] = max(abs(slope[0]), STEEP * float(np.sqrt((terms**2).sum())))
        nfev += info.nfev
    return given, expected, error, size, nfev
