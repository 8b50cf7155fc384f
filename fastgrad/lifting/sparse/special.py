"""Functions of scipy.special whose slope is known: differences so small that nothing but the slope is left of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np

from ..arraylike import Array
from .rules import UNARY, Unary

NEGLIGIBLE = 2.0**-54  # of a difference: half of what its second order comes to
Slope = Callable[[Any, Any, Any], tuple[Any, Any]]  # of scipy.special, b and y: f'(b), and a bound of |f''(b) / f'(b)|


def _bell(b: Any, factor: float = 1.0) -> Any:
    """exp(-factor * b * b), to the last digits: the square is taken of what has half as many, and exact."""
    short = np.asarray(b, dtype=np.float32).astype(np.float64)
    return np.exp(-factor * short * short) * np.exp(-factor * (b - short) * (b + short))


def _normal(b: Any) -> Any:
    return _bell(b, 0.5) / sqrt(2.0 * pi)


def _log_ndtr(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = np.where(b > 0.0, _normal(b) / sc.ndtr(b), sqrt(2.0 / pi) / sc.erfcx(-b * sqrt(0.5)))
    return slope, np.abs(b + slope)


def _erfinv(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 0.5 * sqrt(pi) / _bell(y)
    return slope, 2.0 * np.abs(y) * slope


def _ndtri(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 1.0 / _normal(y)
    return slope, np.abs(y) * slope


def _logit(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = 1.0 / (b * (1.0 - b))
    return slope, np.abs((2.0 * b - 1.0) * slope)


def _of_gamma(slope: Callable[[Any, Any], Any], bend: Callable[[Any, Any], Any]) -> Slope:
    """By psi and its slope; below 0, where psi loses digits near its roots, no rule is known."""

    def slope_of(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
        first, second = sc.psi(b), sc.zeta(2.0, b)
        return slope(y, first), np.where(b > 0.0, np.abs(bend(first, second)), np.inf)

    return slope_of


def _psi(sc: Any, b: Any, y: Any) -> tuple[Any, Any]:
    slope = sc.zeta(2.0, b)
    return slope, np.where(b > 0.0, 2.0 * sc.zeta(3.0, b) / slope, np.inf)


SLOPES: dict[str, Slope] = {
    "erf": lambda sc, b, y: (2.0 / sqrt(pi) * _bell(b), 2.0 * np.abs(b)),
    "erfc": lambda sc, b, y: (-2.0 / sqrt(pi) * _bell(b), 2.0 * np.abs(b)),
    "erfinv": _erfinv,
    "ndtr": lambda sc, b, y: (_normal(b), np.abs(b)),
    "ndtri": _ndtri,
    "log_ndtr": _log_ndtr,
    "expit": lambda sc, b, y: (y * sc.expit(-b), 1.0),
    "log_expit": lambda sc, b, y: (sc.expit(-b), 1.0),
    "logit": _logit,
    "gammaln": _of_gamma(lambda y, psi: psi, lambda psi, second: second / psi),
    "gamma": _of_gamma(lambda y, psi: y * psi, lambda psi, second: psi + second / psi),
    "psi": _psi,
    "exp1": lambda sc, b, y: (-np.exp(-b) / b, 1.0 + 1.0 / np.abs(b)),
    "expi": lambda sc, b, y: (np.exp(b) / b, 1.0 + 1.0 / np.abs(b)),
}
LIKE_NUMPY = ("cbrt", "exp2", "expm1", "log1p")  # scipy.special has its own


def _by_slope(slope_of: Slope, special: Any) -> Unary:
    def rule(d: Array, b: Any, y: Any) -> Any:
        slope, bend = slope_of(special, b, y)
        return d * slope if np.all(np.abs(d) * bend <= NEGLIGIBLE) else None

    return rule


def special_rule(ufunc: np.ufunc) -> Unary | None:
    """The rule of a function of scipy.special, which is loaded where f has one; None if there is none."""
    name, special = ufunc.__name__, sys.modules.get("scipy.special")
    if special is None or getattr(special, name, None) is not ufunc:
        return None
    if name in LIKE_NUMPY:
        return UNARY[getattr(np, name)]
    return _by_slope(SLOPES[name], special) if name in SLOPES else None
