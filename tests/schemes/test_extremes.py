"""At the ends of the floats the rule says what it can: nothing of its own is raised, in any form of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from fastgrad import (
    NonFiniteWarning,
    check_hessian,
    gradient_descent,
    hvp,
    jacobian_sparsity,
    jvp,
    numerical_diff,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    vjp,
)
from fastgrad.core.errors import AccuracyWarning

FUNCTIONS: dict[str, Callable[[float], float]] = {
    "few decimals": lambda v: math.floor(v * v * 1e3) * 1e-3,
    "staircase": lambda v: float(math.floor(v)),
    "sign": lambda v: (v > 1.0) - (v < 1.0) + 0.0,
    "1e-300 v": lambda v: 1e-300 * v,
    "1e300 v": lambda v: 1e300 * v,
    "1e-310 v**2": lambda v: 1e-310 * v * v,
    "a jump to 1e308": lambda v: 1e308 if v > 1.0000001 else 0.0,
    "exp": lambda v: math.exp(min(700.0 * v, 709.0)),
    "a pole": lambda v: 1.0 / (v * v + 1e-300),
    "root of a distance": lambda v: abs(v - 1.0) ** 0.1,
    "not finite below": lambda v: math.nan if v < 0.5 else v,
    "infinite above": lambda v: math.inf if v > 1.0 else v,
    "constant": lambda v: 3.0,
}
PLACES = [0.0, 0.5, 1.0, -2.7, 1 + 1e-8, 1 - 1e-12, 0.0206903940375912, -1e-7, 3e12, -2.7e-297, 1e-300, 1e300, -1e173,
          5e-324, 1.7e308]  # fmt: skip


@pytest.mark.parametrize("method", ["central", "forward", "backward", "adaptive"])
@pytest.mark.parametrize("n", [1, 3, 12])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_of_its_own_is_raised(name: str, n: int, method: str) -> None:
    one = FUNCTIONS[name]
    f = lambda x: one(float(x[0]))  # noqa: E731
    for place in PLACES:
        x = np.full(n, place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            warnings.simplefilter("ignore", NonFiniteWarning)
            try:
                f(x)
            except (ArithmeticError, ValueError):
                continue  # f's own
            gradient = numerical_gradient(f, x, method=method, backend="python")
        assert gradient.shape == (n,)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_in_arrays_and_compiled(name: str) -> None:
    one = FUNCTIONS[name]
    compiled = njit(one)
    jitted = njit(lambda x: compiled(x[0]))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", AccuracyWarning)
        warnings.simplefilter("ignore", NonFiniteWarning)
        for place in PLACES:
            try:
                one(place)
            except (ArithmeticError, ValueError):
                continue
            assert numerical_gradient(jitted, np.full(3, place)).shape == (3,)
            batch = np.vectorize(one, otypes=[float])
            assert numerical_diff(batch, np.array([place, 1.3])).shape == (2,)


@pytest.mark.parametrize("backend", ["auto", "python", "numpy"])
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e200, 1e300, 1.7e308])
def test_no_warning_but_of_f(size: float, backend: str) -> None:
    """Under warnings as errors, as the tests are run."""
    for n in (2, 12):
        x = size * np.linspace(0.5, 1.0, n)
        f = lambda x: np.mean(np.sin(x / size))  # noqa: E731
        with np.errstate(all="raise"):
            gradient = numerical_gradient(f, x, backend=backend)
        np.testing.assert_allclose(gradient * size, np.cos(x / size) / n, rtol=1e-6)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.sum(np.exp(x)), [709.0, 1.0]),
        (np.sum, [1.7e308, 1.0]),
        (lambda x: 1.7e308 * np.cos(x[0]), [1e-3]),
        (lambda x: np.sum(np.log(x)), [1e-300, 1.0]),
        (lambda x: x[0] / x[1], [1.0, 1e-307]),
        (lambda x: np.sum(x * x), [1e154, 1.0]),
    ],
)
def test_arithmetic_of_our_own_warns_of_nothing(f, x):
    x = np.array(x)
    for verb in (
        numerical_gradient,
        lambda f, x: numerical_gradient(f, x, method="complex"),
        lambda f, x: numerical_jacobian(lambda y: np.array([f(y)]), x),
        numerical_hessian,
        lambda f, x: hvp(f, x, np.ones(x.size)),
        lambda f, x: jvp(f, x, np.ones(x.size)),
        lambda f, x: gradient_descent(f, x, lr=1e-3, step_num=2),
    ):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                verb(f, x)
            except ValueError as error:
                assert "complex step" in str(error)  # noqa: PT017  (overflow next to x is no contradiction)
        assert not [w for w in told if issubclass(w.category, RuntimeWarning) and "fastgrad" in w.filename]


VERBS = {
    "gradient": lambda x, **o: numerical_gradient(total, x, full_output=True, **o)[0],
    "hessian": lambda x, **o: numerical_hessian(total, x, full_output=True, **o)[0],
    "jacobian": lambda x, **o: numerical_jacobian(roots, x, full_output=True, **o)[0],
    "hvp": lambda x, **o: hvp(total, x, np.ones(len(x)), **o),
    "jvp": lambda x, **o: jvp(roots, x, np.ones(len(x)), **o),
    "vjp": lambda x, **o: vjp(roots, x, np.ones(len(x)), **o),
    "sparsity": lambda x, **_: jacobian_sparsity(roots, x),
    "check": lambda x, **_: check_hessian(total, lambda y: np.full((y.size, y.size), 1e-304), x),
}


def total(x):
    return np.sum(roots(x)) if len(x) > 1 else float(x[0])


def roots(x):
    return np.sqrt(1.0 + x) + x


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "options",
    [{}, {"backend": "python"}, {"backend": "numpy"}, {"method": "adaptive"}, {"method": "complex"}, {"h": 1e-5}],
)
@pytest.mark.parametrize(
    "x", [[0.0, 0.0, 0.0], [1e-300], [1e-300, 1e60, 1e60], [5e-324, 5e-324, 1e300], [5e-324, 5e-324]]
)
def test_arithmetic_of_our_own_raises_nothing(verb, options, x):
    """f itself computes within the range of floats: under `np.errstate(all="raise")` all is as it is without."""
    found = []
    for how in ("ignore", "raise"):
        with warnings.catch_warnings(), np.errstate(all=how):
            warnings.simplefilter("ignore")
            try:
                found.append(repr(VERBS[verb](np.array(x), **options)))
            except (TypeError, ValueError) as error:
                found.append(str(error))
    assert found[0] == found[1]
