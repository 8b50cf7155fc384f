"""gradient_descent and gradient_ascent."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numba import config, njit
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import DescentResult, DivergenceWarning, Gradient, gradient_ascent, gradient_descent

needs_compiler = pytest.mark.skipif(config.DISABLE_JIT, reason="needs numba's compiler")
X0 = np.array([-3.0, 4.0])
CURVATURE = np.array([1.0, 3.0])


def bowl(x: Any) -> Any:
    return 0.5 * x[0] * x[0] + 1.5 * x[1] * x[1]


bowl_jitted = njit(bowl)
FORMS = {"plain": bowl, "jitted": bowl_jitted}


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def f(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_iterates_are_those_of_the_exact_recursion(f: Any) -> None:
    """x_k = (1 - lr c)^k x_0 on a quadratic, for which the central difference is exact up to round-off."""
    run = gradient_descent(f, X0, lr=0.1, step_num=50, full_output=True)
    assert isinstance(run, DescentResult)
    wanted = (1 - 0.1 * CURVATURE) ** np.arange(51)[:, None] * X0
    assert run.path.shape == (51, 2)
    assert_allclose(run.path, wanted, atol=1e-9)
    assert_allclose(run.values, [bowl(x) for x in run.path], rtol=1e-14)
    assert run.steps == 50
    assert run.reason == "step_num reached"
    assert_array_equal(run.x, run.path[-1])
    assert_array_equal(X0, [-3.0, 4.0])


def test_plain_and_compiled_take_the_same_steps() -> None:
    plain = gradient_descent(bowl, X0, lr=0.05, step_num=40, full_output=True)
    compiled = gradient_descent(bowl_jitted, X0, lr=0.05, step_num=40, full_output=True)
    assert_allclose(compiled.path, plain.path, rtol=1e-12, atol=1e-12)


def test_ascent_climbs() -> None:
    assert_allclose(gradient_ascent(lambda x: -bowl(x), X0, lr=0.1, step_num=200), [0.0, 0.0], atol=1e-8)
    assert_allclose(gradient_ascent(njit(lambda x: -(x[0] ** 2)), [2.0], lr=0.1, step_num=200), [0.0], atol=1e-8)


def test_tol_stops(f: Any) -> None:
    run = gradient_descent(f, X0, lr=0.1, step_num=10_000, tol=1e-5, full_output=True)
    assert run.reason == "tol reached"
    assert run.steps < 200
    assert len(run.path) == len(run.values) == run.steps + 1
    assert np.abs(CURVATURE * run.x).max() <= 2e-5
    assert np.abs(CURVATURE * run.path[-2]).max() > 1e-5


def test_no_steps(f: Any) -> None:
    run = gradient_descent(f, X0, step_num=0, full_output=True)
    assert_array_equal(run.path, [X0])
    assert run.steps == 0


@pytest.mark.parametrize("stop", [True, StopIteration])
def test_callback(f: Any, stop: Any) -> None:
    seen = []

    def callback(x: Any) -> Any:
        seen.append(x.copy())
        x[...] = np.nan  # a copy: no harm
        if len(seen) == 7:
            if stop is StopIteration:
                raise StopIteration
            return True
        return None

    run = gradient_descent(f, X0, lr=0.1, step_num=50, callback=callback, full_output=True)
    assert run.steps == 7
    assert "callback" in run.reason
    assert_array_equal(run.path[1:], seen)


def test_own_gradient() -> None:
    result = gradient_descent(bowl, X0, lr=0.1, step_num=50, grad=lambda x: CURVATURE * x, full_output=True)
    assert_allclose(result.path, (1 - 0.1 * CURVATURE) ** np.arange(51)[:, None] * X0, rtol=1e-13)
    prepared = gradient_descent(bowl, X0, lr=0.1, step_num=50, grad=Gradient(bowl))
    assert_allclose(prepared, result.x, atol=1e-9)


def test_shapes(f: Any) -> None:
    x = gradient_descent(lambda x: np.sum(x * x), np.ones((2, 3)), lr=0.1, step_num=3)
    assert_allclose(x, np.full((2, 3), 0.8**3), rtol=1e-9)
    assert gradient_descent(lambda x: x * x, 1.0, lr=0.1, step_num=3) == pytest.approx(0.8**3, rel=1e-9)
    assert gradient_descent(f, [3, 4], lr=0.1, step_num=1).dtype == np.float64


def test_divergence_names_the_step_and_the_rate(f: Any) -> None:
    with pytest.warns(DivergenceWarning, match=r"lr=1\b.*step 1\b"):
        gradient_descent(f, X0, lr=1.0, step_num=10)
    with np.errstate(all="ignore"), pytest.warns(DivergenceWarning, match=r"lr=10\b"):  # f itself overflows
        run = gradient_descent(f, X0, lr=10.0, step_num=2000, full_output=True)
    assert run.steps < 2000
    assert not np.isnan(run.x).any()


def test_ascent_that_diverges_says_so() -> None:
    with pytest.warns(DivergenceWarning, match=r"lr=1\b"):
        gradient_ascent(lambda x: -bowl(x), X0, lr=1.0, step_num=10)


def test_a_good_rate_does_not_warn(f: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_descent(f, X0, lr=0.1, step_num=100)


def test_the_warning_points_at_the_caller(f: Any) -> None:
    with pytest.warns(DivergenceWarning) as caught:
        gradient_descent(f, X0, lr=1.0, step_num=10)
    assert caught[0].filename == __file__


def test_a_closure_over_init_x_is_refused() -> None:
    x = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="`init_x`"):
        gradient_descent(lambda _: np.sum(x**2), x)
    assert_array_equal(x, [1.0, 2.0])


@pytest.mark.parametrize(("options", "name"), [
    ({"lr": -0.1}, "lr"), ({"lr": np.nan}, "lr"), ({"lr": "fast"}, "lr"), ({"lr": np.inf}, "lr"),
    ({"step_num": -1}, "step_num"), ({"step_num": 1.5}, "step_num"), ({"tol": -1.0}, "tol"), ({"h": 0.0}, "h"),
    ({"backend": "fortran"}, "backend"), ({"grad": 3.0}, "grad"), ({"grad": lambda x: np.zeros(5)}, "grad"),
    ({"callback": 3.0}, "callback"),
])  # fmt: skip
def test_wrong_options_are_named(f: Any, options: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        gradient_descent(f, X0, **options)


@pytest.mark.parametrize("x", [[np.nan, 1.0], [np.inf, 1.0], ["a", "b"], [1j, 2.0]])
def test_a_wrong_start_is_refused(f: Any, x: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="`(init_)?x`"):
        gradient_descent(f, x)


def test_exceptions_of_f_come_through() -> None:
    def f(x: Any) -> Any:
        if x[0] > -2.5:
            raise LookupError("too far")
        return bowl(x)

    with pytest.raises(LookupError, match="too far"):
        gradient_descent(f, X0, lr=0.1)


@needs_compiler
def test_exceptions_of_a_compiled_f_come_through() -> None:
    @njit
    def f(x: Any) -> Any:
        if x[0] > -2.5:
            raise ValueError("too far")
        return 0.5 * x[0] * x[0] + 1.5 * x[1] * x[1]

    with pytest.raises(ValueError, match="too far"):
        gradient_descent(f, X0, lr=0.1)
