"""Second differences: as many digits as f's noise leaves, bars that hold, and gradients where f is not smooth."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import AccuracyWarning, numerical_hessian

Instance = tuple[Callable[[Any], float], Any, Any]  # f, x, and the exact Hessian there


def waves(rng: Any, n: int) -> Instance:
    w, c, x = rng.normal(size=(5, n)), rng.normal(size=5), rng.normal(size=n)
    return lambda y: (c @ np.sin(w @ y)).tolist(), x, -(w.T * (c * np.sin(w @ x))) @ w


def exponentials(rng: Any, n: int) -> Instance:
    w, c, x = rng.normal(size=(4, n)), rng.uniform(0.5, 2.0, 4), rng.normal(size=n)
    return lambda y: (c @ np.exp(w @ y)).tolist(), x, (w.T * (c * np.exp(w @ x))) @ w


def quartic(rng: Any, n: int) -> Instance:
    w, x = rng.normal(size=(6, n)), rng.normal(size=n)
    return lambda y: np.sum((w @ y) ** 4).tolist(), x, (w.T * (12.0 * (w @ x) ** 2)) @ w


def logarithm(rng: Any, n: int) -> Instance:
    a, x = rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    total = 1.0 + a @ x**2
    exact = np.diag(2 * a) / total - np.outer(2 * a * x, 2 * a * x) / total**2
    return lambda y: math.log(1.0 + (a @ y**2).tolist()), x, exact


def scaled(rng: Any, n: int) -> Instance:
    """Each coordinate in units of its own."""
    s = 10.0 ** rng.uniform(-4.0, 4.0, n)
    z = rng.uniform(0.3, 1.2, n)
    p, t = np.prod(np.cos(z)), np.tan(z)
    exact = p * np.outer(t, t)
    exact[np.diag_indices(n)] = np.exp(z / 3.0) / 9.0 - p
    return lambda y: float(np.sum(np.exp(s * y / 3.0)) + np.prod(np.cos(s * y))), z / s, exact * np.outer(s, s)


@pytest.mark.parametrize("family", [waves, exponentials, quartic, logarithm, scaled])
def test_bars_hold_and_digits_are_there(family: Callable[[Any, int], Instance]) -> None:
    held, errors, total = 0, [], 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 7))
        f, x, exact = family(rng, n)
        hessian, info = numerical_hessian(f, x, backend="python", full_output=True)
        assert info.way == "second differences"
        np.testing.assert_array_equal(hessian, hessian.T)
        held += np.count_nonzero(np.abs(hessian - exact) <= info.error + 1e-15 * np.abs(exact))
        total += exact.size
        s = np.sqrt(np.abs(np.diag(exact)))
        errors.append(np.max(np.abs(hessian - exact) / np.outer(s, s)))
    assert held >= 0.97 * total, held / total
    assert np.median(errors) < 1e-8
    assert max(errors) < 1e-5


def test_evaluations_are_few_and_counted() -> None:
    count = 0

    def f(x: Any) -> float:
        nonlocal count
        count += 1
        return math.exp(float(x @ x) / 10.0)

    _, info = numerical_hessian(f, np.linspace(0.1, 1.0, 10), full_output=True)
    assert info.nfev == count < 700


def test_the_callers_array_is_seen_and_put_back() -> None:
    x = np.array([[0.5, -1.0], [2.0, 0.1]])
    kept = x.tobytes()
    hessian, info = numerical_hessian(lambda _: math.exp(float(x.sum())), x, full_output=True)
    assert info.way == "second differences"
    np.testing.assert_allclose(hessian, math.exp(1.6), rtol=1e-8)
    assert x.tobytes() == kept
    listed = [0.5, -1.0]
    np.testing.assert_allclose(
        numerical_hessian(lambda _: listed[0] ** 2 * listed[1], listed), [[-2, 1], [1, 0]], atol=1e-8
    )


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: abs(float(x[0])) + float(x[1]) ** 2, [0.0, 1.0]),  # a kink
        (lambda x: math.sqrt(x[0]) * x[1] if x[0] >= 0 else math.nan, [0.0, 1.0]),  # an edge
        (lambda x: float(x[0]) * 0.0 + math.floor(1e2 * x[1]) * 1e-2, [0.5, 1.0]),  # jumps
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_where_f_is_not_smooth_gradients_have_the_say(f: Any, x: Any) -> None:
    assert numerical_hessian(f, x, full_output=True)[1].way == "gradients"


@pytest.mark.parametrize(
    ("f", "x", "exact"),
    [
        (lambda x: float(np.sum(np.abs(x) ** 2.5)), [0.0, 1.0, -1.0, 2.0], np.diag([0.0, 3.75, 3.75, 3.75 * 2**0.5])),
        (lambda x: float(np.sum(np.sin(1e3 * x))), [0.3, 1.0, 2.0], np.diag(-1e6 * np.sin([300.0, 1e3, 2e3]))),
        (lambda x: float(np.sum(np.float32(np.sin(x)))), [0.3, 1.0, 2.0], np.diag(-np.sin([0.3, 1.0, 2.0]))),
        (lambda x: round(float(np.sum(np.sin(x))), 6), [0.3, 1.0, 2.0], np.diag(-np.sin([0.3, 1.0, 2.0]))),
        (lambda x: 1e8 + float(np.sum(x**2)), [0.3, 1.0, 2.0], 2.0 * np.eye(3)),
        (lambda x: float(np.sum(np.abs(x - 1e-3) * x**2)), [0.0, 1.0, 2.0], np.diag([2e-3, 6 - 2e-3, 12 - 2e-3])),
    ],
)
@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")  # a root of f'' at 0 has no certain digit
def test_bars_hold_where_digits_are_few(f: Any, x: Any, exact: Any) -> None:
    hessian, info = numerical_hessian(f, np.array(x), full_output=True)
    assert (np.abs(hessian - exact) <= info.error).all()
    assert info.error.max() < 0.02 * np.abs(exact).max()


def test_where_no_digit_is_certain_it_says_so() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(AccuracyWarning, match="no digit is certain of . entries of the Hessian"):
        numerical_hessian(lambda x: float(x @ x) + 1e-3 * rng.normal(), np.ones(3))


def test_edges_nearby() -> None:
    """Steps shrink until f is finite."""
    x = [1e-6, 1.0]
    hessian, info = numerical_hessian(lambda x: math.log(x.tolist()[0]) * x.tolist()[1], x, full_output=True)
    assert info.way == "second differences"
    exact = np.array([[-1e12, 1e6], [1e6, 0.0]])
    assert (np.abs(hessian - exact) <= info.error).all()
    np.testing.assert_allclose(hessian[0], exact[0], rtol=1e-5)


@pytest.mark.parametrize("waves", [400.0, 2e3, 1e4, 5e4, 1e6])
@pytest.mark.parametrize("lifted", [True, False])
def test_bars_hold_among_waves_next_to_x_that_are_shorter_than_the_steps(waves: float, lifted: bool) -> None:
    """Second differences with steps of 1/32 found 0 for 1e4, with bars of 1e-9: among many waves any value is there."""

    def f(x: Any) -> Any:
        y = x if lifted else x.tolist()
        return 0.1 * np.sin(waves * y[0]) + y[0] * y[1] + np.cos(y[1])

    held = 0
    for seed in range(8):
        x = np.random.default_rng(seed).normal(size=2)
        right = np.array([[-0.1 * waves**2 * math.sin(waves * x[0]), 1.0], [1.0, -math.cos(x[1])]])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            hessian, info = numerical_hessian(f, x, full_output=True)
        rounded = 2.0**-52 * waves**3 * abs(x[0])  # of the phase
        ok = (np.abs(hessian - right) <= info.error + np.diag([rounded, 0.0])).all()
        assert ok or told
        assert not lifted or info.way == "complex lift"
        held += ok
    assert held == 8 or (held >= 6 and waves == 1e6)


@pytest.mark.parametrize("family", [waves, exponentials, quartic, logarithm, scaled])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
def test_bars_hold_within_bounds_and_digits_are_there(family: Callable[[Any, int], Instance], narrow: bool) -> None:
    """Differences of one-sided gradients were right to 1e-6: six values to the side that has room leave nine digits."""
    held, errors, total = 0, [], 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        f, x, exact = family(rng, int(rng.integers(1, 5)))
        up, width = rng.random(x.size) < 0.5, np.abs(x) * 2.0**-8 if narrow else np.inf
        bounds = np.where(up, x, x - width), np.where(up, x + width, x)

        def within(y: Any, f: Any = f, bounds: Any = bounds) -> float:
            assert ((bounds[0] <= y) & (y <= bounds[1])).all()
            return f(y)

        hessian, info = numerical_hessian(within, x, backend="python", bounds=bounds, full_output=True)
        assert info.way == "second differences"
        held += np.count_nonzero(np.abs(hessian - exact) <= info.error + 1e-15 * np.abs(exact))
        total += exact.size
        s = np.sqrt(np.abs(np.diag(exact)))
        errors.append(np.max(np.abs(hessian - exact) / np.outer(s, s)))
    assert held >= 0.96 * total, held / total
    assert np.median(errors) < (1e-4 if narrow else 1e-8)


@pytest.mark.parametrize("side", [0, 1, -1])
@pytest.mark.parametrize("x", [[0.0, 0.0, 0.0], [1.3, -0.7, 2.2], [100.0, 3.0, -0.01]])
def test_quadratics_are_as_exact_as_their_rounding(side: int, x: Any) -> None:
    """Nothing is truncated: steps as long as x itself, and the cubic polynomial that comes nearest."""
    matrix = np.array([[6.0, 2.0, 0.0], [2.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
    bounds = {0: None, 1: (x, np.inf), -1: (-np.inf, x)}[side]

    def f(y: Any) -> float:
        return float(0.5 * y @ matrix @ y + y[0])

    hessian, info = numerical_hessian(f, np.array(x), backend="python", bounds=bounds, full_output=True)
    error = np.abs(hessian - matrix)
    assert (error <= info.error).all()
    scale = max(1.0, f(np.array(x)) / np.square(np.maximum(np.abs(x), 1.0)).min())
    assert error.max() <= (1e-13 if side == 0 else 5e-12) * scale


@pytest.mark.parametrize("backend", ["python", "auto"])
def test_a_second_derivative_of_zero_is_told_with_a_bar_and_no_warning(backend: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (lambda x: 1.0 / (1.0 + x[0] ** 4), lambda x: 3.0 * x[0] + 1.0, lambda x: np.sin(x[0])):
            hessian, info = numerical_hessian(f, [0.0], backend=backend, full_output=True)
            assert abs(hessian[0, 0]) <= info.error[0, 0] < 1e-7


def test_a_second_derivative_that_rounding_hides_is_told() -> None:
    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        numerical_hessian(lambda x: 1e16 + x[0] ** 2, [0.0], backend="python")


@pytest.mark.parametrize("x", [-3184.0, -3184.25, -2999.7, -10213.7])
def test_waves_at_a_zero_of_their_second_derivative_do_not_hide(x: float) -> None:
    """With bars of 1e-6 the error was 0.03: that part of a wave is small that second differences see."""
    hessian, info = numerical_hessian(
        lambda x: np.sin(2.0 * x[0]) - 2.749 * x[0] ** 3, [x], backend="python", full_output=True
    )
    right = -4.0 * math.sin(2.0 * x) - 6.0 * 2.749 * x
    assert abs(hessian[0, 0] - right) <= 10.0 * info.error[0, 0]


def test_between_bounds_that_leave_nothing_to_see_it_says_so() -> None:
    """Differences of gradients found 0 with a bar of 1e-4 for -0.4."""
    x, f = np.array([0.2, 0.0]), lambda x: math.tanh(math.cos(float(x[0] * x[1])))
    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        hessian, info = numerical_hessian(f, x, backend="python", bounds=(x - 1e-10, x + 1e-10), full_output=True)
    assert (np.abs(hessian) + 1.0 <= info.error)[1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not numerical_hessian(lambda x: 5.0, x, backend="python", bounds=(x, 1.0)).any()


@pytest.mark.parametrize("power", [7 / 3, 2.5, 3.0])
def test_bars_hold_where_a_second_derivative_is_not_smooth(power: float) -> None:
    """As of the terms of Broyden's 7-diagonal system: what is truncated does not decay with the step."""
    held = total = 0
    for seed in range(0, 20, 2):
        rng = np.random.default_rng(seed)
        a, b, x = rng.normal(size=(3, 3))
        edge = (a @ x).tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            hessian, info = numerical_hessian(
                lambda y, a=a, b=b, edge=edge: abs((a @ y).tolist() - edge) ** power + math.exp(b @ y / 2),
                x, backend="python", full_output=True,
            )  # fmt: skip
        assert info.way == "second differences"
        exact = np.outer(b, b) * math.exp(b @ x / 2) / 4
        held += np.count_nonzero(np.abs(hessian - exact) <= info.error)
        total += hessian.size
    assert held >= 0.9 * total


@pytest.mark.parametrize("near", [0.0, 5e-12, -3e-20])
@pytest.mark.parametrize(
    ("f", "sides"),
    [
        (lambda x: np.sum(x * np.abs(x)), (-2.0, 2.0)),
        (lambda x: np.sum(np.maximum(x, 0.0) ** 2), (0.0, 2.0)),
        (lambda x: np.sum(np.where(np.abs(x + 1.0) < 1.0, 0.5 * (x + 1.0) ** 2, np.abs(x + 1.0) - 0.5)), (1.0, 0.0)),
        (lambda x: np.sum(x * np.abs(x)) ** 2, (-0.64, 0.64)),
    ],
)
def test_bars_cover_both_sides_of_a_jump_of_the_second_derivative_and_it_is_told(
    f: Any, sides: tuple[float, float], near: float
) -> None:
    x = np.array([near, 0.4])
    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        hessian, info = numerical_hessian(f, x, backend="python", full_output=True)
    for side in sides:
        assert abs(hessian[0, 0] - side) <= 1.001 * info.error[0, 0] <= 3.0


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x**5 + x**2),
        lambda x: np.sum(np.sin(x)),
        lambda x: np.sum(x**2 * np.exp(x)),
        lambda x: np.sum(x**7),
        lambda x: np.sum(np.tanh(x) ** 3),
    ],
)
def test_a_smooth_second_derivative_is_not_taken_for_one_that_jumps(f: Any) -> None:
    for x in (np.zeros(2), np.array([0.0, 0.3]), np.array([1e-9, 0.3])):
        assert (numerical_hessian(f, x, backend="python", full_output=True)[1].error < 1e-6).all()
