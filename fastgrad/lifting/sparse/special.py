"""Functions of scipy.special whose slope is known: differences so small that nothing but the slope is left of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from math import pi, sqrt
from typing import Any

import numpy as np

from ..arraylike import Array
from .rules import UNARY, Unary

NEGLIGIBLE = 2.0**-54  # of a difference: half of what its second order comes to
# where the slope of log_ndtr is near to -b the bend is a continued fraction (of Laplace): their difference would cancel
FAR, TERMS = 3.0, 60
ROOT = 0.36787944117144233, -1.2428753672788363e-17  # 1/e in two parts: there x log(x) turns
# of b and y = f(b): f'(b), and f''(b) / f'(b), which is infinite where nothing is known
Slope = Callable[[Any, Any], tuple[Any, Any]]


def _bell(b: Any, factor: float = 1.0) -> Any:
    """exp(-factor * b * b), to the last digits: the square is taken of what has half as many, and exact."""
    short = np.asarray(b, dtype=np.float32).astype(np.float64)
    return np.exp(-factor * short * short) * np.exp(-factor * (b - short) * (b + short))


def _normal(b: Any) -> Any:
    return _bell(b, 0.5) / sqrt(2.0 * pi)


def _log_ndtr(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = np.where(b > 0.0, _normal(b) / sc.ndtr(b), sqrt(2.0 / pi) / sc.erfcx(-b * sqrt(0.5)))
    below = t = np.maximum(-b, FAR)
    for k in range(TERMS, 1, -1):
        below = t + k / below
    return slope, -np.where(b > -FAR, b + slope, 1.0 / below)


def _erfinv(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 0.5 * sqrt(pi) / _bell(y)
    return slope, 2.0 * y * slope


def _ndtri(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 1.0 / _normal(y)
    return slope, y * slope


def _logit(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 1.0 / (b * (1.0 - b))
    return slope, (2.0 * b - 1.0) * slope


def _above_zero(b: Any, bend: Any) -> Any:
    """Nothing is known below 0, where psi loses digits near its roots."""
    return np.where(b > 0.0, bend, np.inf)


def _gammaln(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = sc.psi(b)
    return slope, _above_zero(b, sc.zeta(2.0, b) / slope)


def _gamma(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = sc.psi(b)
    return y * slope, _above_zero(b, slope + sc.zeta(2.0, b) / slope)


def _psi(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = sc.zeta(2.0, b)
    return slope, _above_zero(b, -2.0 * sc.zeta(3.0, b) / slope)


def _entr(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    above = b - ROOT[0] - ROOT[1]  # exact near the root, where log(b) + 1 would cancel
    slope = -np.where(np.abs(above) < 0.1, np.log1p(np.e * above), np.log(b) + 1.0)
    return slope, _above_zero(b, -1.0 / (b * slope))


SLOPES: dict[str, Callable[[Any, Any, Any], tuple[Any, Any]]] = {
    "erf": lambda sc, b, y: (2.0 / sqrt(pi) * _bell(b), -2.0 * b),
    "erfc": lambda sc, b, y: (-2.0 / sqrt(pi) * _bell(b), -2.0 * b),
    "erfinv": _erfinv,
    "ndtr": lambda sc, b, y: (_normal(b), -b),
    "ndtri": _ndtri,
    "log_ndtr": _log_ndtr,
    "expit": lambda sc, b, y: (y * sc.expit(-b), -np.tanh(0.5 * b)),
    "log_expit": lambda sc, b, y: (sc.expit(-b), -sc.expit(b)),
    "logit": _logit,
    "gammaln": _gammaln,
    "gamma": _gamma,
    "psi": _psi,
    "entr": _entr,
    "exp1": lambda sc, b, y: (-np.exp(-b) / b, -1.0 - 1.0 / b),
    "expi": lambda sc, b, y: (np.exp(b) / b, (b - 1.0) / b),
}
OF_MATH = ("erf", "erfc")  # Python's own, whose slopes need nothing of SciPy
LIKE_NUMPY = ("cbrt", "exp2", "expm1", "log1p")  # scipy.special has its own


def _is_special(ufunc: np.ufunc) -> bool:
    return getattr(sys.modules.get("scipy.special"), ufunc.__name__, None) is ufunc


def known_slope(ufunc: np.ufunc) -> Slope | None:
    """The slope of a function of scipy.special, which is loaded where f has one; None if it is not known."""
    known = ufunc.__name__ in SLOPES and _is_special(ufunc)
    return partial(SLOPES[ufunc.__name__], sys.modules["scipy.special"]) if known else None


def of_numpy(ufunc: np.ufunc) -> np.ufunc | None:
    """numpy's function that is the same as one of scipy.special; None if there is none."""
    return getattr(np, ufunc.__name__) if ufunc.__name__ in LIKE_NUMPY and _is_special(ufunc) else None


def special_rule(ufunc: np.ufunc) -> Unary | None:
    """The rule of a function of scipy.special; None if there is none."""
    same, slope_of = of_numpy(ufunc), known_slope(ufunc)
    if same is not None:
        return UNARY[same]
    if slope_of is None:
        return None

    def rule(d: Array, b: Any, y: Any) -> Any:
        slope, bend = slope_of(b, y)
        return d * slope if small(d, bend) else None

    return rule


def small(d: Array, bend: Any) -> bool:
    """Whether nothing but the slope is left of differences; at infinite bends never."""
    return bool(np.all(np.abs(d) * np.abs(bend) <= NEGLIGIBLE))
