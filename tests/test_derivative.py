"""numerical_diff: one variable, elementwise."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import numerical_diff
from fastgrad.schemes.stencils import METHODS

SCHEMES = [("central", 2), ("central", 4), ("forward", 1), ("forward", 3), ("backward", 2), ("complex", 2)]
# relative to the largest derivative: what the fixed rule reaches, about eps**(p / (p + 1))
DIGITS = {("central", 2): 1e-9, ("central", 4): 1e-11, ("forward", 1): 1e-7, ("forward", 3): 1e-9,
          ("backward", 2): 1e-8, ("complex", 2): 1e-14}  # fmt: skip


@pytest.mark.parametrize(("method", "order"), SCHEMES)
def test_elementwise(method: str, order: int) -> None:
    x = np.linspace(-1.0, 1.0, 12).reshape(3, 4)
    result = numerical_diff(np.exp, x, method=method, order=order)
    assert_allclose(result, np.exp(x), rtol=10 * DIGITS[method, order])


@pytest.mark.parametrize(("method", "order"), [s for s in SCHEMES if s[0] != "complex"])
def test_functions_of_single_numbers(method: str, order: int) -> None:
    """math.sin refuses arrays, and so does an `if`."""

    def branch(x: Any) -> Any:
        return x * x if x > 0 else -x * x

    x = np.array([-0.7, 0.4, 1.9])
    for f, exact in ((math.sin, np.cos(x)), (branch, 2 * np.abs(x))):
        result = numerical_diff(f, x, method=method, order=order)
        assert_allclose(result, exact, rtol=0, atol=20 * DIGITS[method, order])
        assert numerical_diff(f, 0.4, method=method, order=order) == result[1]


def test_complex_step_of_single_numbers() -> None:
    assert numerical_diff(cmath.exp, 1.0, method="complex") == pytest.approx(math.e, rel=1e-15)


def test_few_calls_for_many_entries() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.sin(x)

    x = np.linspace(0.0, 1.0, 1000)
    assert_allclose(numerical_diff(f, x), np.cos(x), rtol=1e-8)
    assert calls <= METHODS["central"](2).nodes.size + 2


def test_x_is_unchanged() -> None:
    def writes(x: Any) -> Any:
        x += 1.0
        return np.sin(x)

    x = np.linspace(0.0, 1.0, 5)
    before = x.copy()
    assert_allclose(numerical_diff(writes, x), np.cos(x + 1), rtol=1e-8)
    assert_array_equal(x, before)


def test_a_step_for_each_entry() -> None:
    x = np.array([1.0, 100.0])
    steps = np.array([1e-5, 1e-3])
    assert_allclose(numerical_diff(np.log, x, steps), 1 / x, rtol=1e-8)


def test_args() -> None:
    assert numerical_diff(lambda x, a: a * x**2, 3, args=(2.0,)) == pytest.approx(12.0, rel=1e-9)
    assert numerical_diff(lambda x, a: a * x**2, 3, args=2.0) == pytest.approx(12.0, rel=1e-9)


def test_empty_and_narrow() -> None:
    assert numerical_diff(np.sin, []).shape == (0,)
    result = numerical_diff(np.sin, np.array([0.5, 1.0], np.float32))
    assert result.dtype == np.float32
    assert_allclose(result, np.cos([0.5, 1.0]), rtol=2e-7)


def test_coupled_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="`f` is not elementwise"):
        numerical_diff(lambda x: x / np.sum(x), np.array([1.0, 2.0, 3.0]))


def test_a_number_for_an_array_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="`f`"):
        numerical_diff(lambda x: "no", np.array([1.0, 2.0]))
    with pytest.raises((TypeError, ValueError), match="`f`"):
        numerical_diff(lambda x: None, 1.0)


@pytest.mark.parametrize(("options", "name"), [
    ({"method": "middle"}, "method"), ({"order": 3}, "order"), ({"h": -1e-4}, "h"), ({"h": 0.0}, "h"),
    ({"h": "small"}, "h"), ({"h": np.nan}, "h"),
])  # fmt: skip
def test_wrong_options_are_named(options: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        numerical_diff(np.sin, 1.0, **options)
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        numerical_diff(np.sin, np.array([1.0, 2.0]), **options)


def test_a_lost_step_is_an_error() -> None:
    with pytest.raises(ValueError, match="`h` vanishes"):
        numerical_diff(np.sin, 1e16, 1e-4)
    with pytest.raises(ValueError, match="`h` vanishes"):
        numerical_diff(np.sin, np.array([1.0, 1e16]), 1e-4)


def test_the_edge_of_the_domain() -> None:
    """log has no value below 0; a one-sided formula is taken near it."""
    x = np.array([1e-7, 1.0])
    result = numerical_diff(lambda x: np.log(x) if np.all(x > 0) else np.nan, x, 1e-7)
    assert_allclose(result[1], 1.0, rtol=1e-6)
    assert np.isfinite(result[0])
