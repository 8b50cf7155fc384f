"""An x that rounding or a solver left next to 0 is differentiated as well as 0 itself, by every verb."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import optimize

from fastgrad import (
    AccuracyWarning,
    Hessian,
    Jacobian,
    NonFiniteWarning,
    hvp,
    jvp,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    vjp,
)

PLACES = [5e-324, 1e-300, -1e-100, 1e-20, 6.1e-17, 1e-15, -1e-14, 1e-12, 1e-10]
JACOBIANS: dict[str, dict[str, Any]] = {
    "default": {},
    "bars": {"full_output": True},
    "forward": {"method": "forward"},
    "order 4": {"order": 4},
    "bounds": {"bounds": (-1.0, 1.0)},
    "at a bound": {"bounds": (-1e-7, np.inf)},
    "noise": {"noise": 1e-15},
    "adaptive": {"method": "adaptive"},
}


def rises(x: Any) -> Any:
    """Some that x moves by itself, some only from 1e-16 on."""
    return np.concatenate((x + 1.0, -x, np.exp(x) + x[0]))


def slopes_of(x: np.ndarray) -> np.ndarray:
    last = np.diag(np.exp(x))
    last[:, 0] += 1.0
    return np.concatenate([np.eye(x.size), -np.eye(x.size), last])


def energy(x: Any) -> Any:
    return np.sum(np.exp(x)) + x[0] * x[-1]


def bends_of(x: np.ndarray) -> np.ndarray:
    bends = np.diag(np.exp(x))
    bends[0, -1] += 1.0
    bends[-1, 0] += 1.0
    return bends


@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobians(name: str, n: int) -> None:
    for place in PLACES:
        x = place * np.linspace(1.0, 2.0, n)
        found = numerical_jacobian(rises, x, **JACOBIANS[name])
        jacobian = found[0] if isinstance(found, tuple) else found
        np.testing.assert_allclose(jacobian, slopes_of(x), atol=3e-6, err_msg=str(place))


@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("f", [rises, njit(rises)], ids=["numpy", "numba"])
def test_products_and_sparse_jacobians(f: Callable[[Any], Any], n: int) -> None:
    for place in PLACES:
        x = place * np.linspace(1.0, 2.0, n)
        right = slopes_of(x)
        np.testing.assert_allclose(numerical_jacobian(f, x), right, atol=1e-6)
        np.testing.assert_allclose(Jacobian(f, sparse=True)(x).toarray(), right, atol=1e-6)
        np.testing.assert_allclose(jvp(f, x, np.ones(n)), right.sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(vjp(f, x, np.ones(3 * n)), right.sum(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [energy, njit(energy)], ids=["numpy", "numba"])
def test_second_derivatives(f: Callable[[Any], Any]) -> None:
    for n in (1, 3):
        for place in PLACES:
            x = place * np.linspace(1.0, 2.0, n)
            right = bends_of(x) if n > 1 else np.exp(x)[:, None] + 2.0
            np.testing.assert_allclose(numerical_hessian(f, x), right, atol=1e-4, err_msg=str(place))
            np.testing.assert_allclose(Hessian(f)(x), right, atol=1e-4)
            np.testing.assert_allclose(hvp(f, x, np.ones(n)), right.sum(axis=1), atol=1e-4)


def test_what_changes_only_beside_what_is_finer_is_told() -> None:
    with pytest.warns(AccuracyWarning, match="no digit is certain of 1 entries"):
        fine = numerical_jacobian(lambda x: np.array([1.0 / x[0], x[0] + 5.0, 5.0]), [1e-17])
    assert fine[0, 0] == pytest.approx(-1e34)


@pytest.mark.parametrize("n", [2, 30])
@pytest.mark.parametrize("place", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
def test_second_derivatives_of_a_small_x(place: float, n: int) -> None:
    x = place * np.linspace(1.0, 2.0, n)
    summed = lambda x: sum(v**3 + math.exp(v) for v in x.tolist())  # noqa: E731
    right = np.exp(x) + 6.0 * x
    np.testing.assert_allclose(numerical_hessian(summed, x), np.diag(right), atol=1e-6)
    np.testing.assert_allclose(hvp(summed, x, np.ones(n)), right, rtol=1e-4)


def test_a_short_length_stays_what_it_is() -> None:
    for place in (1e-6, 1e-5, 1e-4):
        x = place * np.linspace(1.0, 2.0, 3)
        waves = lambda x, x0s: sum(math.cos(v / x0) for v, x0 in zip(x.tolist(), x0s, strict=True))  # noqa: E731
        right = -np.cos(1.0) / x**2
        np.testing.assert_allclose(
            numerical_hessian(waves, x, args=(x.tolist(),)), np.diag(right), atol=1e-5 * np.abs(right).max()
        )
        np.testing.assert_allclose(hvp(waves, x, np.ones(3), args=(x.tolist(),)), right, rtol=1e-4)


@pytest.mark.parametrize("place", [5e-324, 1e-320, 1e-300, 1e-250, 1e-200, 1e-170, 1e-150])
@pytest.mark.parametrize("n", [1, 3, 14])
def test_second_derivatives_where_squares_of_steps_vanish(place: float, n: int) -> None:
    """They were 0, or 2.29 for 2, with bars of 1e-14; and so small as 1e-24 with bars of 1e-38."""
    x = place * np.linspace(1.0, 2.0, n)
    warnings.simplefilter("ignore", AccuracyWarning)  # of what is 1e-300
    for f, right in (
        (lambda x: np.sum(x * x), 2.0),
        (lambda x: np.sum(np.cos(x)), -1.0),
        (lambda x: np.sum(x + x**3), 6.0 * x),
    ):
        H, info = numerical_hessian(f, x, full_output=True)
        assert (np.abs(np.diag(H) - right) <= 2.0 * np.diag(info.error)).all()
        np.testing.assert_allclose(np.diag(H), np.broadcast_to(right, n), atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_a_slope_from_far_away_is_not_taken_for_one(seed: int) -> None:
    """Where steps are long for want of digits, x**3 is a slope, and the line's random signs may cancel all of them."""
    x = 5e-324 * np.random.default_rng(seed).integers(1, 9, 14)
    with pytest.warns(AccuracyWarning, match="no digit"):
        found, info = numerical_gradient(lambda x: float(np.sum(1.0 + x**3)), x, full_output=True)
    assert (np.abs(found) <= info.error).all()


def test_a_slope_that_overflows_in_units_of_f_is_told() -> None:
    with pytest.warns(NonFiniteWarning):
        numerical_gradient(lambda x: 1e300 * np.sum(x), [5e-324])


def broyden(x: list[Any]) -> list[Any]:
    n = len(x)
    return [
        (3 - 2 * x[i]) * x[i] + 1 - (x[i - 1] if i else 0) - (2 * x[i + 1] if i < n - 1 else 0) for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("digits", [6, 8])
def test_almost_no_residual_is_left(n: int, digits: int) -> None:
    """f's own rounding is next to nothing there, and steps were some spacings of x: 5 % off, and nothing told."""
    root = optimize.fsolve(lambda x: broyden(x.tolist()), -np.ones(n))
    x = np.round(root, digits)
    slope, info = numerical_gradient(lambda x: sum(r * r for r in broyden(x.tolist())), x, full_output=True)
    q = [Fraction(v) for v in x.tolist()]
    rest = broyden(q)
    exact = [
        float(2 * rest[i] * (3 - 4 * q[i]) - (4 * rest[i - 1] if i else 0) - (2 * rest[i + 1] if i < n - 1 else 0))
        for i in range(n)
    ]
    error = np.abs(slope - exact)
    assert (error <= 1.5 * info.error).all()
    assert error.max() < 1e-5 * np.abs(exact).max()


@njit
def squared(x: Any) -> Any:
    left, right = np.zeros(x.size), np.zeros(x.size)
    left[1:], right[:-1] = x[:-1], x[1:]
    return ((3 - 2 * x) * x + 1 - left - 2 * right) ** 2


@pytest.mark.parametrize(("n", "digits"), [(3, 8), (5, 6), (10, 10), (20, 8)])
@pytest.mark.parametrize("f", [squared, squared.py_func, lambda x: np.array([r * r for r in broyden(x.tolist())])])
def test_almost_nothing_is_left_of_each_residual(n: int, digits: int, f: Callable[[Any], Any]) -> None:
    """Steps were as short there as the spacing of x: entries a third off, 1e5 times their bars."""
    x = np.round(optimize.fsolve(lambda x: broyden(x.tolist()), -np.ones(n)), digits)
    found, info = numerical_jacobian(f, x, full_output=True)
    q = [Fraction(v) for v in x.tolist()]
    exact = np.zeros((n, n))
    for i, rest in enumerate(broyden(q)):
        for j, slope in ((i - 1, -1), (i, 3 - 4 * q[i]), (i + 1, -2)):
            if 0 <= j < n:
                exact[i, j] = float(2 * rest * slope)
    error = np.abs(found - exact)
    assert (error <= info.error).all()
    assert (error.max(axis=1) < 1e-3 * np.abs(exact).max(axis=1)).all()
    assert np.array_equal(numerical_jacobian(f, x), found)
