"""Functions of scipy.special in the sparse lift: slopes to nearly the last digit, or none at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special as sc

from fastgrad import numerical_gradient, numerical_hessian, numerical_jacobian
from fastgrad.lifting.sparse.special import LIKE_NUMPY, SLOPES, special_rule


def bell(v: Any) -> Any:
    return mpmath.exp(-v * v)


def normal(v: Any) -> Any:
    return mpmath.exp(-v * v / 2) / mpmath.sqrt(2 * mpmath.pi)


# where, and the slope there
EXACT: dict[str, tuple[float, float, Callable[[Any], Any]]] = {
    "erf": (-12.0, 12.0, lambda v: 2 / mpmath.sqrt(mpmath.pi) * bell(v)),
    "erfc": (-8.0, 25.0, lambda v: -2 / mpmath.sqrt(mpmath.pi) * bell(v)),
    "erfinv": (-0.999999, 0.999999, lambda v: mpmath.sqrt(mpmath.pi) / 2 / bell(mpmath.erfinv(v))),
    "ndtr": (-30.0, 8.0, normal),
    "ndtri": (1e-9, 1 - 1e-9, lambda v: 1 / normal(mpmath.sqrt(2) * mpmath.erfinv(2 * v - 1))),
    "log_ndtr": (-60.0, 8.0, lambda v: normal(v) / mpmath.ncdf(v)),
    "expit": (-500.0, 500.0, lambda v: 1 / (1 + mpmath.exp(-v)) / (1 + mpmath.exp(v))),
    "log_expit": (-500.0, 500.0, lambda v: 1 / (1 + mpmath.exp(v))),
    "logit": (1e-12, 1 - 1e-12, lambda v: 1 / (v * (1 - v))),
    "gammaln": (1e-3, 300.0, lambda v: mpmath.psi(0, v)),
    "gamma": (1e-3, 150.0, lambda v: mpmath.gamma(v) * mpmath.psi(0, v)),
    "psi": (1e-3, 300.0, lambda v: mpmath.psi(1, v)),
    "entr": (1e-3, 3.0, lambda v: -mpmath.log(v) - 1),
    "exp1": (1e-3, 300.0, lambda v: -mpmath.exp(-v) / v),
    "expi": (-300.0, 300.0, lambda v: mpmath.exp(v) / v),
    "cbrt": (0.1, 5.0, lambda v: mpmath.cbrt(v) / (3 * v)),
    "exp2": (-30.0, 30.0, lambda v: mpmath.log(2) * mpmath.mpf(2) ** v),
    "expm1": (-30.0, 30.0, mpmath.exp),
    "log1p": (-0.9, 30.0, lambda v: 1 / (1 + v)),
}


def test_every_rule_is_tested() -> None:
    assert EXACT.keys() == {*SLOPES, *LIKE_NUMPY}


@pytest.mark.parametrize("name", EXACT)
def test_slopes_to_the_last_digits(name: str) -> None:
    low, high, slope = EXACT[name]
    f, x = getattr(sc, name), np.random.default_rng(1).uniform(low, high, 40)
    jacobian, info = numerical_jacobian(f, x, sparse=True, full_output=True)
    assert info.way == "sparse lift", info.reason
    with mpmath.workdps(40):
        exact = np.array([float(slope(mpmath.mpf(float(v)))) for v in x])
    error = np.abs(jacobian.diagonal() - exact)
    assert (error <= 8e-16 * np.abs(exact)).all()
    assert (error <= info.error.diagonal()).all()
    gradient = numerical_gradient(lambda x: np.sum(f(x)), np.resize(x, 240))
    np.testing.assert_allclose(gradient, np.resize(exact, 240), rtol=8e-16, atol=0)


def test_entropy_where_it_turns_and_where_it_ends() -> None:
    x = np.exp(-1.0) * (1.0 + 2.0 ** -np.arange(4.0, 25.0))
    jacobian, info = numerical_jacobian(sc.entr, x, sparse=True, full_output=True)
    assert info.way == "sparse lift", info.reason
    with mpmath.workdps(40):
        exact = [float(-mpmath.log(mpmath.mpf(v)) - 1) for v in x.tolist()]
    np.testing.assert_allclose(jacobian.diagonal(), exact, rtol=8e-16, atol=0)
    x[3] = 0.0  # its slope is infinite there
    with pytest.warns(Warning, match="no digit is certain"):
        _, info = numerical_jacobian(sc.entr, x, full_output=True)
    assert info.way == "columns"


@pytest.mark.parametrize("name", EXACT)
def test_second_derivatives(name: str) -> None:
    low, high, slope = EXACT[name]
    middle, reach = 0.5 * (low + high), 0.5 * min(high - low, 20.0)
    x = np.random.default_rng(3).uniform(max(low, middle - reach), min(high, middle + reach), 30)
    f = getattr(sc, name)
    hessian, info = numerical_hessian(lambda x: np.sum(f(x)), x, full_output=True)
    assert info.way == "complex lift", info.reason
    with mpmath.workdps(60):
        exact = np.array([float(mpmath.diff(slope, mpmath.mpf(float(v)))) for v in x])
    error = np.abs(np.diagonal(hessian) - exact)
    assert (error <= 4e-15 * np.abs(exact)).all()
    assert (error <= np.diagonal(info.error)).all()


@pytest.mark.parametrize("name", SLOPES)
def test_steps_that_bend_have_no_rule(name: str) -> None:
    low, high, _ = EXACT[name]
    f, b = getattr(sc, name), np.random.default_rng(2).uniform(0.9 * low + 0.1 * high, high, 40)
    rule = special_rule(f)
    assert rule is not None
    with np.errstate(all="ignore"):  # as in a lift
        assert rule(1e-8 * np.abs(b), b, f(b)) is None
        assert rule(1e-25 * np.abs(b), b, f(b)) is not None


@pytest.mark.parametrize("name", ["gammaln", "gamma", "psi"])
def test_below_zero_differences_are_plain(name: str) -> None:
    f, x = getattr(sc, name), -0.5 - np.arange(20.0) + 0.1 * np.sin(np.arange(20.0))
    found, info = numerical_jacobian(f, x, full_output=True)
    assert info.way == "columns"
    with mpmath.workdps(40):
        exact = np.array([float(EXACT[name][2](mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(np.diagonal(found), exact, rtol=1e-7, atol=1e-7 * np.abs(exact).max())


@pytest.mark.parametrize("f", [math.erf, math.erfc])
def test_of_pythons_own(f: Callable[[float], float]) -> None:
    def each(x: Any) -> Any:
        return np.array([f(v * v) for v in x])

    x = np.random.default_rng(4).uniform(-3.0, 3.0, 30)
    jacobian, info = numerical_jacobian(each, x, sparse=True, full_output=True)
    assert info.way == "sparse lift", info.reason
    first = float(EXACT[f.__name__][2](mpmath.mpf(0))) * np.exp(-(x**4))
    np.testing.assert_allclose(jacobian.diagonal(), 2 * x * first, rtol=2e-14)
    hessian, info = numerical_hessian(lambda x: np.sum(each(x) * x), x, full_output=True)
    assert info.way == "complex lift", info.reason
    expected = first * (6 * x - 8 * x**5)
    np.testing.assert_allclose(np.diagonal(hessian), expected, rtol=2e-14, atol=1e-14)


@pytest.mark.parametrize("f", [sc.j0, sc.erfcx, sc.xlogy, np.exp, np.expm1])
def test_others_have_none(f: Any) -> None:
    assert special_rule(f) is None
