"""Forty awkward functions of few variables with exact gradients; no constant of fastgrad was chosen by them.

    python -m benchmarks.accuracy_awkward [--peers]

Each verdict is *right*, *flagged* (a warning names what is not certain) or *silently wrong*: finite, not flagged, and
wrong by more than 10 %, or by more than ten times its error bar where there is one. Where a gradient does not exist
only a flag is right. `floor` is a size below which errors do not count.
"""

from __future__ import annotations

import argparse
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import scipy.integrate
import scipy.special
from numpy.typing import NDArray

from fastgrad import AccuracyWarning, numerical_gradient
from fastgrad.core.errors import NonFiniteWarning

Floats = NDArray[np.float64]
DIGITS = 120
NONE = np.nan  # no derivative


@dataclass(frozen=True)
class Awkward:
    """f, a point, and the exact gradient: as numbers, or as f on mpmath numbers."""

    name: str
    f: Callable[[Floats], Any]
    x: Sequence[float]
    exact: Callable[[list[Any]], Any] | Sequence[float]
    floor: float = 0.0
    at: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", np.array(self.x, float))

    def gradient(self) -> Floats:
        """Return the exact gradient at the float64 point."""
        if not callable(self.exact):
            return np.array(self.exact, float)
        partial = []
        with mpmath.workdps(DIGITS):
            x = [mpmath.mpf(float(v)) for v in self.at]
            for i, v in enumerate(x):
                h = mpmath.mpf(10) ** -40 * max(abs(v), mpmath.mpf(10) ** -10)
                above, below = [*x], [*x]
                above[i], below[i] = v + h, v - h
                partial.append(float((self.exact(above) - self.exact(below)) / (2 * h)))
        return np.array(partial)


def judge(case: Awkward, gradient: Floats, bar: Floats | None, flagged: bool) -> str:
    """Return "right", "flagged" or "silent"."""
    exact = case.gradient()
    size = np.nan_to_num(np.abs(exact))
    enough = np.maximum(size, np.maximum(1e-3 * size.max(), case.floor))
    with np.errstate(all="ignore"):
        gap = np.abs(gradient - exact)
        wrong = np.isnan(exact) | (gap > 0.1 * enough)
        if bar is not None:
            wrong |= gap > 10.0 * bar + 1e-15 * enough
    if (wrong & np.isfinite(gradient)).any() and not flagged:
        return "silent"
    return "flagged" if flagged or not np.isfinite(gradient).all() else "right"


_rng = np.random.default_rng(20261)
LAYER, OUTER, POINT = _rng.normal(size=(5, 5)), _rng.normal(size=5), _rng.normal(size=5)
BIAS = -LAYER @ POINT + np.array([0.4, 2e-7, -0.8, 1.1, -0.6])
SLOPES = np.where(LAYER @ POINT + BIAS > 0.0, 1.0, 0.1)
DATA, LABELS, WEIGHTS = _rng.normal(size=(8, 8)), np.where(_rng.random(8) < 0.5, -1.0, 1.0), _rng.normal(size=8)
DATA[2] *= (1.0 - 1e-8) / (LABELS[2] * (DATA[2] @ WEIGHTS))  # its margin is 1e-8 within the hinge
ACTIVE = LABELS * (DATA @ WEIGHTS) < 1.0
MATRIX = _rng.normal(size=(6, 6)).astype(np.float32)
SAMPLE = _rng.normal(2.0, 3.0, 40)
BEST = [float(SAMPLE.mean()), float(np.log(SAMPLE.std()))]
TARGET = np.array([1.3, -0.4, 2.2])


def _fixed_point(a: float) -> float:
    x = 1.0
    for _ in range(200):
        new = np.cos(a * x)
        if abs(new - x) < 1e-10:
            break
        x = new
    return float(x)


def _fixed_point_exact(a: list[Any]) -> Any:
    return mpmath.findroot(lambda x: x - mpmath.cos(a[0] * x), 0.8)


def _single(x: Floats) -> float:
    z = MATRIX @ x.astype(np.float32)
    e = np.exp(z - z.max())
    return float(np.log(e.sum()) + z.max() - z[1])


def _single_exact(x: list[Any]) -> Any:
    z = [sum(mpmath.mpf(float(a)) * v for a, v in zip(row, x, strict=True)) for row in MATRIX]
    return mpmath.log(sum(mpmath.exp(v) for v in z)) - z[1]


def _hashed(x: Floats, size: float) -> float:
    return 1.0 + size * (zlib.crc32(x.tobytes()) / 2.0**31 - 1.0)


def _pieces(x: Floats) -> float:
    return float(np.interp(x[0], [0.0, 1.0, 2.0, 4.0], [0.0, 0.1, 0.35, 1.2])) + float(np.exp(x[1]))


mp = mpmath

# ruff: noqa: E501
CASES = [
    # digits are lost inside
    Awkward("log(1+x)/x at 3e-8", lambda x: np.log(1 + x[0]) / x[0], [3e-8], lambda x: mp.log(1 + x[0]) / x[0]),
    Awkward("(sinh x - x)/x^3", lambda x: (np.sinh(x[0]) - x[0]) / x[0] ** 3, [2e-4], lambda x: (mp.sinh(x[0]) - x[0]) / x[0] ** 3),
    Awkward("sqrt(x+1)-sqrt(x) at 1e9", lambda x: np.sqrt(x[0] + 1) - np.sqrt(x[0]), [1e9], lambda x: mp.sqrt(x[0] + 1) - mp.sqrt(x[0])),
    Awkward("(1-cos)/sin at 1e-7", lambda x: (1 - np.cos(x[0])) / np.sin(x[0]), [1e-7], lambda x: (1 - mp.cos(x[0])) / mp.sin(x[0])),
    Awkward("exp(x)-exp(-x)-2x", lambda x: np.exp(x[0]) - np.exp(-x[0]) - 2 * x[0], [1e-3], lambda x: mp.exp(x[0]) - mp.exp(-x[0]) - 2 * x[0]),
    Awkward("small root of a quadratic", lambda x: (-x[1] + np.sqrt(x[1] ** 2 - 4 * x[0] * x[2])) / (2 * x[0]), [1.1, 1e5, 0.9], lambda x: (-x[1] + mp.sqrt(x[1] ** 2 - 4 * x[0] * x[2])) / (2 * x[0])),
    Awkward("log(1+exp(x)) at -33", lambda x: np.log(1 + np.exp(x[0])), [-33.0], lambda x: mp.log(1 + mp.exp(x[0]))),
    Awkward("x - sin x at 1e-4", lambda x: x[0] - np.sin(x[0]), [1e-4], lambda x: x[0] - mp.sin(x[0])),
    Awkward("1 - sigmoid at 34", lambda x: 1 - 1 / (1 + np.exp(-x[0])), [34.0], lambda x: 1 - 1 / (1 + mp.exp(-x[0]))),
    # x tells nothing of f's scale
    Awkward("scales 1e-14 and 1e5", lambda x: np.sum((x / [1e-14, 1e5]) ** 4), [1.7e-14, 0.6e5], lambda x: (x[0] / mp.mpf(1e-14)) ** 4 + (x[1] / mp.mpf(1e5)) ** 4),
    Awkward("exp(x)+y at 1e-30", lambda x: np.exp(x[0]) + x[1], [1e-30, 3.0], [1.0, 1.0]),
    Awkward("1e280 |x|^2", lambda x: 1e280 * np.sum(x**2), [0.3, -1.2], [0.6e280, -2.4e280]),
    Awkward("sin at 1e8", lambda x: np.sin(x[0]), [1e8 + 0.25], lambda x: mp.sin(x[0])),
    Awkward("1/(x-1) at 1+1e-7", lambda x: 1 / (x[0] - 1), [1 + 1e-7], lambda x: 1 / (x[0] - 1)),
    Awkward("log at 1e-300", lambda x: np.log(x[0]), [1e-300], [1e300]),
    Awkward("x^0.1 at 1e-9, with others", lambda x: x[0] ** 0.1 + np.cos(x[1]), [1e-9, 0.8], lambda x: x[0] ** mp.mpf(0.1) + mp.cos(x[1])),
    # no derivative
    Awkward("cbrt(x-1) at 1", lambda x: np.cbrt(x[0] - 1), [1.0], [NONE]),
    Awkward("max at a tie", lambda x: np.max(x) + x @ x, [0.7, 0.7, 0.1], [NONE, NONE, 0.2]),
    Awkward("norm at 0", lambda x: np.sqrt(x @ x) + x[0], [0.0, 0.0, 0.0], [NONE] * 3),
    Awkward("x log x at 0", lambda x: x[0] * np.log(x[0]) if x[0] > 0 else 0.0 * x[0], [0.0], [NONE]),
    Awkward("floor at 2", lambda x: np.floor(x[0]) + 0.1 * x[0], [2.0], [NONE]),
    # kinks and jumps beside x
    Awkward("pooling, tie 3e-8", lambda x: np.max(x[:2]) * 2 + np.max(x[2:]), [0.4, 0.4 + 3e-8, 1.1, -0.2], [0.0, 2.0, 1.0, 0.0]),
    Awkward("tariff, kink 5e-7 below", _pieces, [2.0 + 5e-7, 0.2], [0.425, float(np.exp(0.2))]),
    Awkward("|x-y| at 1e-9", lambda x: abs(x[0] - x[1]) + x[0] * x[1], [0.6 + 1e-9, 0.6], [1.6, -0.4 + 1e-9]),
    Awkward("leaky network, kink 2e-7", lambda x: OUTER @ np.where(LAYER @ x + BIAS > 0, LAYER @ x + BIAS, 0.1 * (LAYER @ x + BIAS)), POINT.tolist(), ((OUTER * SLOPES) @ LAYER).tolist()),
    Awkward("hinge loss, margin 1e-8", lambda w: np.sum(np.maximum(0.0, 1.0 - LABELS * (DATA @ w))) + 0.1 * w @ w, WEIGHTS.tolist(), (0.2 * WEIGHTS - (LABELS * ACTIVE) @ DATA).tolist()),
    # noise
    Awkward("float32 softmax loss", _single, [0.2, -0.5, 0.9, 0.1, -1.3, 0.6], _single_exact),
    Awkward("printed with six digits", lambda x: float(f"{np.exp(x[0]) * np.sin(x[1]):.5e}"), [0.4, 1.1], lambda x: mp.exp(x[0]) * mp.sin(x[1])),
    Awkward("fixed point to 1e-10", lambda x: _fixed_point(x[0]), [0.9], _fixed_point_exact),
    Awkward("quad of a peak", lambda x: scipy.integrate.quad(lambda t: 1 / (t * t + x[0] ** 2), -1, 1)[0], [0.05], lambda x: 2 * mp.atan(1 / x[0]) / x[0]),
    Awkward("hash noise 1e-6", lambda x: float(np.sum(np.cosh(x))) * _hashed(x, 1e-6), [0.4, -0.9, 1.2, 0.7], lambda x: sum(mp.cosh(v) for v in x)),
    Awkward("float16 inside", lambda x: float(np.sum(x.astype(np.float16) ** 2)), [1.3, 0.6], [2.6, 1.2]),
    # gradients of zero
    Awkward("(x-c)^4 at c", lambda x: np.sum((x - TARGET) ** 4), TARGET.tolist(), [0.0] * 3, 1e-3),
    Awkward("Rosenbrock n6 at 1", lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), [1.0] * 6, [0.0] * 6, 1e-2),
    Awkward("cosh - 1 at 0", lambda x: np.cosh(x[0]) - 1, [0.0], [0.0], 1e-3),
    Awkward("likelihood at its best", lambda v: np.sum(v[1] + 0.5 * ((SAMPLE - v[0]) * np.exp(-v[1])) ** 2), BEST, [0.0, 0.0], 1e-2),
    # short lengths
    Awkward("sin(1e4 x) + x^2", lambda x: np.sin(1e4 * x[0]) + x[0] ** 2, [0.83], lambda x: mp.sin(10000 * x[0]) + x[0] ** 2),
    Awkward("bump of width 1e-5", lambda x: x[0] + 3 * np.exp(-(((x[0] - 0.4) / 1e-5) ** 2)), [0.4 + 0.6e-5], lambda x: x[0] + 3 * mp.exp(-(((x[0] - mp.mpf(0.4)) / mp.mpf(1e-5)) ** 2))),
    Awkward("tanh(1e6(x-0.3))", lambda x: np.tanh(1e6 * (x[0] - 0.3)) + x[1], [0.3 + 1e-7, 0.5], lambda x: mp.tanh(10**6 * (x[0] - mp.mpf(0.3))) + x[1]),
    Awkward("sin(1/x) at 1e-3", lambda x: np.sin(1 / x[0]), [1.07e-3], lambda x: mp.sin(1 / x[0])),
]  # fmt: skip


def fastgrad(case: Awkward) -> tuple[Floats, Floats | None, bool]:
    """Differentiate by default, and note the warnings."""
    with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        gradient, info = numerical_gradient(case.f, case.at.copy(), full_output=True)
    return gradient, info.error, any(issubclass(w.category, (AccuracyWarning, NonFiniteWarning)) for w in told)


def scipy_central(case: Awkward) -> tuple[Floats, Floats | None, bool]:
    from scipy.optimize._numdiff import approx_derivative

    with np.errstate(all="ignore"):
        return (
            np.atleast_1d(approx_derivative(lambda x: float(case.f(x)), case.at.copy(), method="3-point")),
            None,
            False,
        )


def numdifftools_default(case: Awkward) -> tuple[Floats, Floats | None, bool]:
    import numdifftools

    with np.errstate(all="ignore"):
        found = numdifftools.Gradient(lambda x: float(case.f(np.asarray(x))), full_output=True)(case.at.copy())
    return np.reshape(found[0], case.at.shape), np.reshape(found[1], case.at.shape), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="also SciPy's 3-point and numdifftools")
    options = parser.parse_args()
    methods: dict[str, Callable[[Awkward], tuple[Floats, Floats | None, bool]]] = {"fastgrad": fastgrad}
    if options.peers:
        methods |= {"SciPy 3-point": scipy_central, "numdifftools": numdifftools_default}
    for name, method in methods.items():
        count = {"right": 0, "flagged": 0, "silent": 0}
        for case in CASES:
            try:
                verdict = judge(case, *method(case))
            except Exception:  # noqa: BLE001 - a peer that gives up says so
                verdict = "flagged"
            count[verdict] += 1
            if verdict == "silent":
                print(f"    {name}: silently wrong at {case.name}")
        print(f"{name:14} {count}")


if __name__ == "__main__":
    main()
