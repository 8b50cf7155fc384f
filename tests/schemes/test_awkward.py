"""Awkward functions: right, or it says so."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from benchmarks.accuracy import AWKWARD, answered, judge
from fastgrad import AccuracyWarning, numerical_gradient, numerical_hessian, numerical_jacobian

# What no difference can see: rounding that is the same at all points around x, and a bias.
BLIND = {"(1-cos)/sin at 1e-7", "fixed point to 1e-10"}


@pytest.mark.parametrize("case", AWKWARD, ids=lambda case: case.name)
def test_right_or_it_says_so(case):
    verdict = judge(case, *answered(case))
    if case.name not in BLIND:
        assert verdict != "silent"


def test_most_are_right():
    verdicts = [judge(case, *answered(case)) for case in AWKWARD]
    assert verdicts.count("right") >= 28
    assert verdicts.count("silent") <= 3


def test_the_judge_can_say_silent():
    case = AWKWARD[0]
    assert judge(case, 2.0 * case.gradient(), None, False) == "silent"
    assert judge(case, 1.01 * case.gradient(), 1e-6 * abs(case.gradient()), False) == "silent"
    assert judge(case, 2.0 * case.gradient(), None, True) == "flagged"
    assert judge(case, case.gradient(), None, False) == "right"


@pytest.mark.parametrize("power", [1.1, 1.3, 1.5, 1.9])
@pytest.mark.parametrize("n", [1, 20, 150, 250])
def test_a_power_below_two_at_a_bound_is_never_nearly_zero_for_sure(power: float, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        gradient, info = numerical_gradient(
            lambda x: np.sum(x**power), np.zeros(n), bounds=(0.0, np.inf), full_output=True
        )
    assert (np.abs(gradient) <= info.error).all()


@pytest.mark.parametrize(
    "point",
    [
        ("0x1.fffe560b22ff4p-1", "0x1.fffcaa634cf69p-1"),
        ("0x1.fff8bf7c01621p-1", "0x1.fff177a469701p-1"),
        ("0x1.001484fac55edp+0", "0x1.0029209ec6c97p+0"),
    ],
)
def test_round_off_where_x_enters_f_is_no_kink(point: tuple[str, str]) -> None:
    """In the bottom of Rosenbrock's valley f's values are exact to 1e-26, and x**2 inside f is not."""
    x = np.array([float.fromhex(entry) for entry in point])
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        numerical_gradient(lambda x: 0.0 + 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2, x)


@pytest.mark.parametrize("x", [0.0, 1e-8])
@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: (math.exp(x) - 1.0) / x - 1.0 if x else 0.0, 0.5),
        (lambda x: 1.0 / math.tanh(x) - 1.0 / x if x else 0.0, 1.0 / 3.0),
        (lambda x: math.sin(x) / x**2 - math.cos(x) / x if x else 0.0, 1.0 / 3.0),
        (lambda x: math.sin(x) + 1e-9 * math.sin(1e22 * x), 1.0),
    ],
    ids=["exponential", "Langevin", "Bessel", "noisy sine"],
)
def test_a_value_near_zero_in_noise_does_not_make_the_step_too_large(f, slope, x):
    gradient, info = numerical_gradient(f, x, full_output=True)
    assert abs(gradient - slope) < min(info.error, 3e-5)
    jacobian, told = numerical_jacobian(lambda x: np.array([f(x[0])]), [x], full_output=True)
    assert abs(jacobian[0, 0] - slope) < min(told.error[0, 0], 3e-5)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (1.0 - math.cos(x)) / x,
        lambda x: (math.cos(math.pi * x) - math.sin(math.pi * x) / (math.pi * x)) / x,
    ],
    ids=["a half", "none"],
)
def test_a_slope_beside_a_small_entry_that_a_wider_line_does_not_know_is_told(f):
    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        numerical_gradient(lambda x: f(x[0]) + 0.5 * x[1] ** 2, np.array([1e-8, 1.5]))
    # of a kink as near, the slope is right, and nothing is told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient = numerical_gradient(lambda x: abs(x[0]) + 0.5 * x[1] ** 2, np.array([1e-8, 1.5]))
    np.testing.assert_allclose(gradient, [1.0, 1.5], rtol=1e-7)


@pytest.mark.parametrize("x", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(
    ("f", "term"),
    [
        (lambda x: (math.exp(x) - 1.0) / x, lambda k: 1.0 / math.factorial(k + 1)),
        (lambda x: math.log(1.0 + x) / x, lambda k: (-1.0) ** k / (k + 1)),
        (lambda x: (2.5**x - 1.0) / x, lambda k: math.log(2.5) ** (k + 1) / math.factorial(k + 1)),
    ],
    ids=["exponential", "logarithm", "Box-Cox"],
)
def test_bars_of_a_lifted_hessian_see_what_f_loses_within(f, term, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        hessian, info = numerical_hessian(lambda x: f(x[0]) + 0.5 * x[1] ** 2, np.array([x, 1.5]), full_output=True)
    bend = sum(k * (k - 1) * term(k) * x ** (k - 2) for k in range(2, 9))  # of f as a power series
    assert abs(hessian[0, 0] - bend) <= info.error[0, 0] < 1e-2


@pytest.mark.parametrize("x", [1e-8, 1e-5])
def test_second_derivatives_beside_a_tiny_x_are_those_of_the_scale_one_or_told(x):
    for f, bend in ((lambda x: math.sin(x[0]) / x[0] - 1.0, -1.0 / 3.0), (lambda x: x[0] - math.sin(x[0]), x)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            hessian, info = numerical_hessian(f, [x], full_output=True)
        assert abs(hessian[0, 0] - bend) <= info.error[0, 0] + 1e-12
    with pytest.warns(AccuracyWarning, match="no digit"):
        _, info = numerical_hessian(lambda x: (1.0 - math.cos(x[0])) / x[0], [1e-5], full_output=True)
    assert info.error[0, 0] > 1e4
    # what changes on the scale of x itself is right
    hessian = numerical_hessian(lambda y: math.log(y[0] / x), [x])
    np.testing.assert_allclose(hessian[0, 0], -(x**-2.0), rtol=1e-6)
