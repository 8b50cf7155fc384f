"""numerical_diff: one variable, elementwise."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import AccuracyWarning, numerical_diff

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


def counted(f: Any) -> tuple[Any, list[Any]]:
    calls: list[Any] = []

    def recorded(x: Any) -> Any:
        calls.append(np.array(x))
        return f(x)

    return recorded, calls


def test_few_calls_for_many_entries() -> None:
    """All entries share the calls of f: as many as the most demanding of them takes alone."""
    x = np.linspace(0.0, 1.0, 300)
    f, calls = counted(np.sin)
    assert_allclose(numerical_diff(f, x), np.cos(x), rtol=1e-8)
    alone, most = counted(np.sin), 0
    for entry in x:
        alone[1].clear()
        numerical_diff(alone[0], entry)
        most = max(most, len(alone[1]))
    assert len(calls) <= 2 * most  # those of one turn may be asked for at different times
    f, calls = counted(np.sin)
    numerical_diff(f, x, "fixed")
    assert len(calls) == 4  # x, one entry moved, and two


FUNCTIONS: dict[str, tuple[Any, Any, Any]] = {
    "1/x": (lambda x: 1 / x, lambda x: -1 / x**2, np.array([1e-9, -1e-3, 1.0, 7.0, 1e8])),
    "log": (np.log, lambda x: 1 / x, np.array([1e-12, 3e-5, 0.7, 1e12])),
    "exp": (np.exp, np.exp, np.array([-30.0, -1e-9, 0.0, 1e-20, 2.0, 500.0])),
    "x**3": (lambda x: x**3, lambda x: 3 * x**2, np.array([1e-8, -0.3, 4.0, 1e9])),
    "sin of short length": (lambda x: np.sin(1e3 * x), lambda x: 1e3 * np.cos(1e3 * x), np.array([0.3, 1.0, 5.0])),
    "float32 inside": (lambda x: np.exp(np.asarray(x, np.float32)), np.exp, np.array([0.3, 1.7, -2.0])),
    "large constant": (lambda x: 1e6 + np.sin(x), np.cos, np.array([0.3, 1.0, 2.0])),
    "of x's shape": (
        lambda x: np.arange(1.0, 4.0) * x**2,
        lambda x: 2 * np.arange(1.0, 4.0) * x,
        np.array([1e-3, 1.0, 50.0]),
    ),
}
# relative; what noise leaves
LOST = {"float32 inside": 1e-4, "large constant": 1e-6, "1/x": 1e-7}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_entry_has_its_own_step(name: str) -> None:
    f, slope, x = FUNCTIONS[name]
    assert_allclose(numerical_diff(f, x), slope(x), rtol=LOST.get(name, 1e-8))


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "of x's shape"])
def test_an_entry_is_as_a_number(name: str, method: str) -> None:
    """To the bit: by the same rule, which sees the same values (numpy rounds some functions otherwise in arrays)."""
    f, _, x = FUNCTIONS[name]
    one_by_one = np.vectorize(lambda v: float(f(np.float64(v))), otypes=[float])
    result = numerical_diff(one_by_one, x.reshape(1, -1), method=method)
    assert_array_equal(result[0], [numerical_diff(lambda v: float(f(np.float64(v))), v, method=method) for v in x])


def test_the_same_bits_in_any_company() -> None:
    x = np.linspace(-2.0, 2.0, 16)
    f = lambda x: x**3 - 1 / (x + 0.01)  # noqa: E731
    whole = numerical_diff(f, x)
    assert_array_equal(numerical_diff(f, x[::-1])[::-1], whole)
    assert_array_equal(numerical_diff(f, x.reshape(4, 4)).reshape(-1), whole)


@pytest.mark.parametrize("h", [1e-4, 1e-3, np.full(5, 1e-4)])
def test_the_points_of_the_textbook(h: Any) -> None:
    x = np.array([0.3, -1.7, 5.0, 100.0, -3e-3])
    f, calls = counted(np.sin)
    result = numerical_diff(f, x, h)
    assert_array_equal(calls[-2], x + h)
    assert_array_equal(calls[-1], x - h)
    assert_array_equal(result, (np.sin(x + h) - np.sin(x - h)) / ((x + h) - (x - h)))
    for entry, slope, step in zip(x, result, np.broadcast_to(h, x.shape), strict=True):
        assert numerical_diff(np.sin, entry, float(step)) == slope


def test_what_is_uncertain_is_told_once() -> None:
    x = np.array([1.0, 0.0, -2.0, 3.0])
    with pytest.warns(AccuracyWarning, match=r"1 of 4 .*component 1: .*kink") as told:
        result = numerical_diff(np.abs, x)
    assert len(told) == 1
    assert_allclose(result[[0, 2, 3]], [1.0, -1.0, 1.0], rtol=1e-9)
    with pytest.warns(AccuracyWarning, match="component 0.*component 1.*component 2.*and 2 more") as told:
        numerical_diff(np.abs, np.zeros(5))
    assert len(told) == 1


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


@pytest.mark.parametrize("f", [
    lambda x: x / np.sum(x), np.cumsum, lambda x: x[::-1], lambda x: x - np.mean(x), lambda x: x * np.max(x),
    lambda x: np.roll(x, 1) ** 2, np.gradient,
])  # fmt: skip
@pytest.mark.parametrize("h", [None, 1e-4])
def test_coupled_entries_are_refused(f: Any, h: Any) -> None:
    with pytest.raises(ValueError, match="`f` is not elementwise"):
        numerical_diff(f, np.array([1.0, 2.0, 5.0, 3.0]), h)


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
    """log has no value below 0; a one-sided formula is taken near it, and that is told."""
    x = np.array([1e-7, 1.0])
    with pytest.warns(AccuracyWarning, match="one-sided"):
        result = numerical_diff(lambda x: np.log(x) if np.all(x > 0) else np.nan, x, 1e-7)
    assert_allclose(result[1], 1.0, rtol=1e-6)
    assert np.isfinite(result[0])
    with pytest.raises(ValueError, match="math domain error"):  # f's own
        numerical_diff(math.log, x, 1e-7)
    # of its own choice it stays within
    assert_allclose(numerical_diff(math.log, x), 1 / x, rtol=1e-7)
    assert_allclose(numerical_diff(np.log, x), 1 / x, rtol=1e-7)  # of its own choice it stays within
