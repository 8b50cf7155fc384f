"""The default step on a sparse lift: differences that are not rounded give gradients to the last digits."""

from __future__ import annotations

import warnings
from fractions import Fraction
from types import FunctionType, SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.problems import PROBLEMS, Problem
from fastgrad import AccuracyWarning, Gradient, Hessian, hvp, numerical_gradient, numerical_jacobian

LARGE = [(p, min(p.sizes, key=lambda n: abs(n - 1000))) for p in PROBLEMS.values() if max(p.sizes) >= 200]
X = np.random.default_rng(2).normal(size=300)


def chained(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def chained_gradient(x: Any) -> Any:
    g = np.zeros_like(x)
    inner = x[1:] - x[:-1] ** 2
    g[1:] += 200.0 * inner
    g[:-1] += -400.0 * x[:-1] * inner - 2.0 * (1.0 - x[:-1])
    return g


def test_most_problems_to_the_last_digits() -> None:
    full = 0
    for problem, n in LARGE:
        if problem.unavailable:
            continue
        x, args = problem.make(n)
        before = x.copy()
        exact = problem.gradient(x, *args)
        gradient, info = numerical_gradient(problem.f, x, args=args, backend="numpy", full_output=True)
        error = np.abs(gradient - exact)
        # the exact gradient is rounded, too
        assert np.mean(error <= info.error + 8 * np.finfo(float).eps * np.abs(exact).max()) > 0.98
        assert error.max() <= 1e-7 * np.abs(exact).max()
        assert_array_equal(x, before)
        full += error.max() <= 1e-14 * np.abs(exact).max()
    assert full >= 0.85 * len(LARGE)


@pytest.mark.parametrize("problem", [PROBLEMS["rosenbrock"], PROBLEMS["ackley"]], ids=str)
def test_auto_gets_there_by_itself(problem: Problem) -> None:
    x, args = problem.make(1000)
    exact = problem.gradient(x, *args)
    largest = np.abs(exact).max()
    prepared = Gradient(problem.f, args=args)
    for gradient in (prepared, lambda x: numerical_gradient(problem.f, x, args=args)):
        errors = [np.abs(gradient(x) - exact).max() / largest for _ in range(8)]  # a busy machine may need more tries
        assert min(errors) < 1e-14
        assert max(errors) < 1e-7


def test_noise_is_not_differentiated() -> None:
    """Moré and Wild's kind of noise: deterministic, and exactly differentiable as far as the lift can see."""
    for f, bars_hold in (
        (lambda x: np.sum(x * x) * (1.0 + 1e-9 * np.sin(1e12 * x[0])), True),
        # along this x's line the waves happen to look smooth: its bars are ten times too small
        (lambda x: np.sum(x * x) + 1e-8 * np.cos(1e9 * np.sum(np.abs(x))), False),
        (lambda x: np.sum(x * x + 1e-9 * np.sin(1e11 * x)), True),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)  # one entry may be told to have two slopes next to x
            gradient, info = numerical_gradient(f, X, backend="numpy", full_output=True)
        assert info.error is not None
        certain = info.error < 1.0
        assert np.count_nonzero(~certain) <= 1
        # the exact derivative is off by up to 1000, 10 and 100
        assert_allclose(gradient[certain], 2 * X[certain], atol=1e-2)
        assert (np.mean(np.abs(gradient - 2 * X) <= info.error) > 0.97) == bars_hold


@pytest.mark.parametrize("digits", [3, 6])
def test_rounded_values_are_not_differentiated(digits: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # few digits are certain
        gradient = numerical_gradient(lambda x: np.sum(np.round(x * x, digits)), X, backend="numpy")
    assert_allclose(gradient, 2 * X, atol=0.2)


def test_bounds_are_kept() -> None:
    at = X.copy()
    at[7] = 1.0

    upper = np.where(np.arange(300) == 7, 1.0, 5.0)
    gradient = numerical_gradient(chained, at, bounds=(-5.0, upper), backend="numpy")
    assert_allclose(gradient, chained_gradient(at), rtol=1e-6, atol=1e-6)
    inside = numerical_gradient(chained, X, bounds=(-50.0, 50.0), backend="numpy")
    assert_allclose(inside, chained_gradient(X), rtol=1e-13, atol=1e-12)


def test_some_components() -> None:
    some = np.arange(0, 300, 3)
    gradient = numerical_gradient(chained, X, indices=some, backend="numpy")
    assert_allclose(gradient, chained_gradient(X)[some], rtol=1e-13, atol=1e-12)


def test_zeros_and_scales_in_one_point() -> None:
    x = X * 10.0 ** np.random.default_rng(1).integers(-8, 8, 300)
    x[::7] = 0.0
    gradient, info = numerical_gradient(lambda x: np.sum(np.cosh(x / 1e8) + x**2), x, backend="numpy", full_output=True)
    # at 0 both terms bend, and one side errs by h
    assert_allclose(gradient, np.sinh(x / 1e8) / 1e8 + 2 * x, rtol=1e-12, atol=2.0**-79)
    assert (info.step < 1e-11 * np.maximum(np.abs(x), 1.0)).all()


def test_a_closure_over_the_array_is_found() -> None:
    x = X.copy()
    both = lambda y: np.sum(y * x)  # noqa: E731 - reads its argument and the array
    assert_allclose(numerical_gradient(both, x), 2 * x, rtol=1e-6)
    assert_allclose(numerical_gradient(both, x, backend="numpy"), 2 * x, rtol=1e-6)  # lifted in place
    assert_array_equal(x, X)


def test_nan_beside_x_is_no_obstacle() -> None:
    x = np.abs(X)
    x[3] = 1e-30
    gradient = numerical_gradient(lambda x: np.sum(np.sqrt(x)), x, backend="numpy")
    assert_allclose(gradient, 0.5 / np.sqrt(x), rtol=1e-6)


def test_an_edge_beside_x_is_not_the_users_to_see() -> None:
    def f(x: Any) -> Any:
        if np.any(x[:2] > 1.0) and np.any(x[2:4] != X[2:4]):  # both at once: only a direction moves so
            raise ValueError("outside")
        return np.sum(x * x)

    x = X.copy()
    x[:2] = 1.0
    assert_allclose(numerical_gradient(f, x, backend="numpy"), 2 * x, rtol=1e-6, atol=1e-6)


def test_evaluations_are_counted() -> None:
    calls = 0

    def counted(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return chained(x)

    _, info = numerical_gradient(counted, X, backend="numpy", full_output=True)
    # one step, another for the error bar, and three more of one entry in eight; the check on both sides and f(x) are
    # calls of their own
    assert 2 * X.size < info.nfev <= 2.5 * X.size + calls
    assert calls < 30
    edge = float(X[3])
    kinked = lambda x: np.sum(np.where(x > edge, x, 2.0 * x))  # noqa: E731 - some points branch
    with pytest.warns(AccuracyWarning):
        _, info = numerical_gradient(kinked, X, backend="numpy", full_output=True)
    assert info.nfev < 20 * X.size


def test_adaptive_needs_no_ladder() -> None:
    gradient, info = numerical_gradient(chained, X, method="adaptive", backend="numpy", full_output=True)
    exact = chained_gradient(X)
    assert info.nfev < 5 * X.size
    assert info.reached is not None
    assert info.reached.mean() > 0.9
    assert (np.abs(gradient - exact) <= info.error + 1e-14 * np.abs(exact)).all()


@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_huge_and_tiny_values_where_warnings_of_numpy_are_errors(scale: float, n: int) -> None:
    x = np.linspace(1.0, 2.0, n)
    # asked for: left to itself, the speed of this machine decides which way is taken
    gradient = Gradient(lambda v: scale * (v**2).sum(), backend="numpy")
    with np.errstate(all="raise"):
        for _ in range(4):
            np.testing.assert_allclose(gradient(x), 2.0 * scale * x, rtol=1e-9)
            np.testing.assert_allclose(gradient.with_info(x)[0], 2.0 * scale * x, rtol=1e-9)


def test_a_huge_difference_farther_away_is_seen() -> None:
    # near to x the bend is not to be seen, and squares of these slopes overflow
    x = np.linspace(1.0, 2.0, 300)
    bends = x + 2.0**-30

    def f(v: Any) -> Any:
        return 1e250 * (v + 1e3 * np.maximum(v - bends, 0.0)).sum()

    small = Gradient(lambda v: 1e-250 * f(v))
    gradient = Gradient(f)
    for _ in range(3):
        np.testing.assert_allclose(gradient(x) * 1e-250, small(x), rtol=1e-6)


A = np.random.default_rng(3).normal(size=(40, 300))
RELU = np.where(np.arange(300) % 7 == 0, 0.0, X)
KINKS = [
    (lambda x: np.sum(np.maximum(x, 0.0) * 3.0 + x**2), 0.0, 3.0),
    (lambda x: np.sum(np.abs(x) + x**2), -1.0, 1.0),
    (lambda x: np.sum(np.where(x > 0, x, 0.25 * x) + x**2), 0.25, 1.0),
    (lambda x: np.sum(np.where(x >= 0, x, 0.25 * x) + x**2), 0.25, 1.0),
    (lambda x: np.sum(np.clip(x, 0.0, 5.0) + x**2), 0.0, 1.0),
    (lambda x: np.sum(np.sqrt(x**2)), -1.0, 1.0),
    (lambda x: np.sum(np.hypot(x, 0.0)), -1.0, 1.0),
    (lambda x: np.sum(np.linalg.norm(np.stack([x, 2.0 * x]), axis=0)), -(5**0.5), 5**0.5),
    (lambda x: np.sum(np.max(np.stack([x, 2.0 * x, -x]), axis=0)), -1.0, 2.0),
    (lambda x: np.sum(np.fmin(x, 4.0 * x)), 4.0, 1.0),
]


@pytest.mark.parametrize("kind", range(len(KINKS)))
def test_a_choice_between_equals_is_looked_at_from_both_sides(kind: int) -> None:
    """The slopes at 0 are these; all other components keep their digits."""
    f, below, above = KINKS[kind]
    with pytest.warns(AccuracyWarning, match="kink at x"):
        gradient, info = numerical_gradient(f, RELU, backend="numpy", full_output=True)
    at_zero = RELU == 0.0
    assert info.slopes is not None
    assert_allclose(info.slopes[at_zero], np.tile([below, above], (at_zero.sum(), 1)), rtol=1e-4, atol=1e-4)
    assert_allclose(gradient[at_zero], 0.5 * (below + above), rtol=1e-6, atol=1e-6)
    assert np.isnan(info.slopes[~at_zero]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        smooth = numerical_gradient(f, X, backend="numpy")
    assert_allclose(gradient[~at_zero], smooth[~at_zero], rtol=1e-13, atol=1e-13)


def test_choices_between_equals_that_make_no_kink_are_not_flagged() -> None:
    x = np.where(np.arange(300) % 3 == 0, 0.5, X)

    def log_softmax(v: Any) -> Any:
        a = np.concatenate([v[::3] * 2.0, np.zeros(20)])  # a hundred entries are the largest
        shifted = a - np.max(a)
        return np.sum((shifted - np.log(np.sum(np.exp(shifted))))[:30]) + np.sum(v**2)

    expected = numerical_gradient(log_softmax, x, backend="python")
    gradient, info = numerical_gradient(log_softmax, x, backend="numpy", full_output=True)
    assert info.flags is None or not any(info.flags.ravel())
    assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7)
    assert (np.abs(gradient - expected) <= info.error + 1e-7).all()


def test_infinite_slopes_are_not_taken_from_the_side_where_f_is_defined() -> None:
    x = np.abs(RELU)
    for f in (lambda v: np.sum(np.sqrt(v)), lambda v: np.sum(v**0.5), lambda v: np.sum(np.cbrt(v))):
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            gradient = numerical_gradient(f, x, backend="numpy")
        assert caught
        inside = x > 0
        h = 1e-7 * x[inside]
        one = lambda v, f=f: np.array([f(entry[None]) for entry in v])  # noqa: E731
        assert_allclose(gradient[inside], (one(x[inside] + h) - one(x[inside] - h)) / (2 * h), rtol=1e-5)


def test_one_side_is_enough() -> None:
    gradient, info = numerical_gradient(lambda x: np.sum(np.exp(A @ x / 30.0)), X, backend="numpy", full_output=True)
    assert (info.step < 2.0**-75 * np.maximum(np.abs(X), 1.0)).all()
    exact = np.exp(A @ X / 30.0) @ A / 30.0
    assert_allclose(gradient, exact, rtol=1e-12, atol=1e-14 * np.abs(exact).max())


def test_steps_that_the_user_gave_stay_on_both_sides() -> None:
    gradient, info = numerical_gradient(lambda x: np.sum(x**3), X, 1e-2, backend="numpy", full_output=True)
    assert_allclose(gradient, 3 * X**2 + 1e-4, rtol=1e-11)
    assert info.step.min() > 0.9e-2


@pytest.mark.parametrize("seed", range(6))
def test_bars_know_what_cancels_before_the_differences_are_multiplied(seed: int) -> None:
    """f is a sum of squares of what has lost most of its digits: the slopes are no better than these."""
    rng = np.random.default_rng(seed)
    j, k = np.arange(1.0, 301.0), np.arange(1.0, 40.0)
    x = rng.uniform(1, 5, 300)
    x -= j * (j @ x - 10.0 ** -rng.uniform(1, 4)) / (j @ j)
    total = sum(Fraction(a) * int(c) for a, c in zip(x.tolist(), j, strict=True))
    exact = np.array([float(2 * total * int(c) * sum(int(i) ** 2 for i in k)) for c in j])
    for f in (lambda v: np.sum((k * (j @ v)) ** 2), lambda v: np.sum((k * np.sum(j * v)) ** 2)):
        gradient, info = numerical_gradient(f, x, backend="numpy", full_output=True)
        assert info.step.max() < 2.0**-70
        assert (np.abs(gradient - exact) <= 10.0 * info.error).all()
        assert (info.error <= 1e-6 * np.abs(exact)).all()


N, U = 250, np.random.default_rng(5).uniform(0.5, 2.0, 250)
GRID = np.linspace(0.0, 60.0, 50)


def softmax(x: Any) -> Any:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


# f, x, its gradient, and whether all digits are to be had: what underflows is magnified, or nothing beside f
UNDERFLOWS: dict[str, tuple[Any, Any, Any, bool]] = {
    **{
        f"{name} {size}": (f, size * U, lambda x, size=size: x / size / np.linalg.norm(x / size), size > 1e-143)
        for size in (1e-140, 1e-145, 1e-150, 1e-155, 1e-160, 1e-170, 1e-200)
        for name, f in {
            "norm": np.linalg.norm,
            "root of a sum": lambda x: np.sqrt(np.sum(x * x)),
            "root of a product": lambda x: np.sqrt(x @ x),
            "root of an einsum": lambda x: np.sqrt(np.einsum("i,i->", x, x)),
        }.items()
    },
    "squares": (lambda x: np.sum(x * x), 1e-200 * U, lambda x: 2 * x, False),
    "one and squares": (lambda x: 1.0 + np.sum(x * x), 1e-200 * U, lambda x: 2 * x, False),
    "times a huge number": (lambda x: 1e250 * np.sum(x * x), 1e-200 * U, lambda x: 2e250 * x, False),
    "by a tiny one": (lambda x: np.sum(x * x / 1e-250), 1e-200 * U, lambda x: 2e250 * x, False),
    "roots of powers": (lambda x: np.sum((x**4) ** 0.25), 1e-82 * U, np.ones_like, False),
    "deviation": (np.std, 1e-160 * U, lambda x: (x - x.mean()) / x.size / (1e-160 * np.std(x / 1e-160)), False),
    **{
        f"log of a sum {at}": (lambda x: np.log(np.sum(np.exp(x))), at + U, softmax, at > -600)
        for at in (-745.0, -743.0, -740.0, -730.0, -700.0, -500.0)
    },
    "log of a product": (lambda x: np.log(np.exp(x) @ np.exp(x)), -371.0 + U, lambda x: 2 * softmax(2 * x), False),
    # and what does no harm, or would not have to
    "hypot": (lambda x: np.sum(np.hypot(x, 2 * x)), 1e-200 * U, lambda x: np.full_like(x, 5**0.5), True),
    "hypot of huge ones": (lambda x: np.sum(np.hypot(x, 2 * x)), 1e200 * U, lambda x: np.full_like(x, 5**0.5), True),
    "negative powers": (lambda x: np.sum(x**-3), 1e-75 * U, lambda x: -3.0 * x**-4.0, True),
    "tanh": (lambda x: np.sum(np.tanh(x)), 20.0 * U, lambda x: np.cosh(x) ** -2.0, True),
    "expm1": (lambda x: np.sum(np.expm1(x)), -30.0 * U, np.exp, True),
    "bells": (
        lambda x: np.sum(np.exp(-((x[:, None] - GRID) ** 2))),
        30.0 * U,
        lambda x: np.sum(-2 * (x[:, None] - GRID) * np.exp(-((x[:, None] - GRID) ** 2)), axis=1),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERFLOWS)
def test_what_underflows_is_not_taken_for_zero(name: str) -> None:
    f, x, exact, full = UNDERFLOWS[name]
    expected = exact(x)
    for backend in ("auto", "numpy"):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                gradient, info = numerical_gradient(f, x, backend=backend, full_output=True)
            except ValueError:  # no backend but "python" takes an f whose values have so few digits
                assert backend == "numpy"
                assert not full
                continue
        error = np.abs(gradient - expected)
        warned = any(issubclass(w.category, AccuracyWarning) for w in told)
        assert warned or (error <= info.error + 8 * np.finfo(float).eps * np.abs(expected)).all()
        if full:
            assert (error <= 1e-13 * np.abs(expected).max()).all()
            assert info.way == "sparse lift"
            assert not warned


def test_bars_of_a_jacobian_know_what_underflowed() -> None:
    for f, slope in ((lambda x: x * x + 1.0, 2.0), (lambda x: np.hypot(x, 2.0 * x), 5**0.5 * 1e200)):
        jacobian, info = numerical_jacobian(f, 1e-200 * U, full_output=True)
        exact = np.diag(slope * 1e-200 * np.where(slope > 2.5, np.ones(N), U))
        assert (np.abs(jacobian - exact) <= info.error + 1e-15 * np.abs(exact)).all()
    jacobian = numerical_jacobian(lambda x: np.sqrt(x * x + (2 * x) ** 2), 1e-140 * U, sparse=True).toarray()
    np.testing.assert_allclose(jacobian, np.diag(np.full(N, 5**0.5)), rtol=1e-13)


ARCS: dict[str, tuple[Any, Any]] = {
    "arcsin": (lambda v: np.sum(np.arcsin(v / 3)), lambda v: 1 / np.sqrt(9 - v * v)),
    "arccos": (lambda v: np.sum(np.arccos(v / 3)), lambda v: -1 / np.sqrt(9 - v * v)),
    "arcsinh": (lambda v: np.sum(np.arcsinh(5 * v - 5)), lambda v: 5 / np.sqrt(1 + (5 * v - 5) ** 2)),
    "arctanh": (lambda v: np.sum(np.arctanh(v / 3)), lambda v: 3 / (9 - v * v)),
    "arctan2": (lambda v: np.sum(np.arctan2(v - 1, 1.2 - v)), lambda v: 0.2 / ((v - 1) ** 2 + (1.2 - v) ** 2)),
    "arctan2 of a number": (lambda v: np.sum(np.arctan2(1.0, v - 1)), lambda v: -1 / (1 + (v - 1) ** 2)),
}


@pytest.mark.parametrize("name", ARCS)
def test_arcs(name: str) -> None:
    f, exact = ARCS[name]
    gradient, info = numerical_gradient(f, U, backend="numpy", full_output=True)
    assert info.step.max() < 2.0**-70
    assert_allclose(gradient, exact(U), rtol=1e-13)
    v, h = np.cos(np.arange(N)), 2.0**-12
    second = [(exact(U + k * h) - exact(U - k * h)) / (2 * k * h) for k in (1, 2)]
    assert_allclose(hvp(f, U, v), v * (4 * second[0] - second[1]) / 3, rtol=1e-6, atol=1e-8)
    assert Hessian(f).with_info(U[:10])[1].way == "complex lift"


@pytest.mark.parametrize("h", [1e-3, 0.3, 3.0])
def test_arcs_far_apart(h: float) -> None:
    """What is near on a circle need not be near: the cut of arctan2, and arcs whose sines are alike."""
    x = np.where(np.arange(N) % 2, 1.0, -1.0) * U
    for f in (
        lambda v: np.sum(np.arctan2(v, -1.0)),
        lambda v: np.sum(np.arctan2(v, v - 0.5)),
        lambda v: np.sum(np.arcsin(np.tanh(v))),
        lambda v: np.sum(np.arccos(np.tanh(v))),
    ):
        lifted = numerical_gradient(f, x, h, backend="numpy")
        assert_allclose(lifted, numerical_gradient(f, x, h, backend="python"), rtol=1e-9, atol=1e-12 * N / h)


def test_an_owners_errstate_reaches_f_at_points_beside_a_kink() -> None:
    seen = set()

    def f(x):
        seen.add(np.geterr()["divide"])
        return np.sum(np.abs(x) + x)

    with np.errstate(all="raise"), pytest.warns(AccuracyWarning, match="kink"):
        info = numerical_gradient(f, np.zeros(30), backend="numpy", full_output=True)[1]
    assert "lift" in info.way
    assert seen == {"raise"}


@pytest.mark.parametrize("large", [1e4, 1e6])
def test_bars_tell_of_what_f_rounds_within(large: float) -> None:
    x = np.linspace(0.3, 2.7, 40)

    def f(x: Any) -> Any:
        return ((x + large) - large) * np.tanh(x)

    exact = np.tanh(x) + x / np.cosh(x) ** 2
    gradient, info = numerical_gradient(lambda x: np.sum(f(x)), x, backend="numpy", full_output=True)
    assert info.way == "sparse lift"
    assert (np.abs(gradient - exact) <= info.error).mean() >= 0.95
    for sparse in (False, True):
        found, told = numerical_jacobian(f, x, sparse=sparse, full_output=True)
        assert told.way == "sparse lift"
        slopes, bars = ((each.toarray() if sparse else each).diagonal() for each in (found, told.error))
        assert (np.abs(slopes - exact) <= bars).mean() >= 0.95


def test_where_the_slope_is_zero_bars_hold_what_one_side_truncates() -> None:
    x = np.array([0.0, 2.0, 0.0, -3.0] * 10)
    gradient, info = numerical_gradient(lambda x: np.sum(x * x), x, backend="numpy", full_output=True)
    assert (np.abs(gradient - 2.0 * x) <= info.error).all()
    top, info = numerical_gradient(lambda x: np.exp(-(x @ x)), np.zeros(40), backend="numpy", full_output=True)
    assert (np.abs(top) <= info.error).all()
    found, told = numerical_jacobian(lambda x: x * x, x, full_output=True)
    assert told.way == "sparse lift"
    assert (np.abs(found - np.diag(2.0 * x)) <= told.error).all()


@pytest.mark.parametrize("large", [1e9, 1e10])
@pytest.mark.parametrize("place", [3, 150, 290])
def test_one_entry_that_is_added_to_a_large_number_has_a_bar_that_holds(large: float, place: int) -> None:
    """Wherever it is: f's own values show that it is rounded within, where slopes of other entries do not."""
    shift, x = np.zeros(300), np.random.default_rng(place).normal(size=300)
    shift[place] = large

    def f(x: Any, shift: Any) -> Any:
        y = (x + shift) - shift
        return np.sum(y * np.tanh(y))

    slope, info = numerical_gradient(f, x, args=(shift,), full_output=True)
    assert info.way == "sparse lift"
    assert (np.abs(slope - np.tanh(x) - x / np.cosh(x) ** 2) <= info.error + 1e-15).all()
    _, info = numerical_gradient(f, x, args=(0.0 * shift,), full_output=True)
    assert info.nfev < 2.1 * x.size


HIGH = SimpleNamespace(sum=np.sum)  # numpy, of mpmath's numbers
for name, of_one in {"sin": mpmath.sin, "cos": mpmath.cos, "exp": mpmath.exp, "arctan": mpmath.atan}.items():
    setattr(HIGH, name, np.frompyfunc(of_one, 1, 1))


def within_a_large_sum(x: Any) -> Any:
    return np.sum(np.sin(30.0 * np.cos(3.0 * x) + 1000.0)) + 1000.0 * len(x)


def at_the_top_of_a_wave(x: Any) -> Any:
    return np.sum(np.sin(30.0 * np.arctan(np.exp(0.3 * x))))


@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize(("f", "scale"), [(within_a_large_sum, 0.3), (at_the_top_of_a_wave, 1e-5)])
def test_what_f_rounds_within_has_bars_where_its_value_does_not_show_it(f: Any, scale: float, size: int) -> None:
    """For f is large or flat there: slopes show it."""
    x, beside = scale * np.random.default_rng(1).normal(size=size), mpmath.mpf(10) ** -20
    high = FunctionType(f.__code__, {"np": HIGH})
    with mpmath.workdps(60):
        points = beside * np.eye(size, dtype=int)
        exact = np.array([float((high(x + step) - high(x - step)) / (2 * beside)) for step in points])
    slope, info = numerical_gradient(f, x, backend="numpy", full_output=True)
    assert info.way == "sparse lift"
    wrong, bar = np.abs(slope - exact), info.error + 4e-16 * np.abs(exact)
    assert (wrong <= bar).mean() >= 0.9
    assert (wrong <= 4.0 * bar).all()


def test_some_slopes_are_looked_at_after_a_race_too() -> None:
    """Of so few rows the lift is slower than plain evaluations, and gave up."""
    x = 0.3 * np.random.default_rng(1).normal(size=100)
    slope, info = numerical_gradient(within_a_large_sum, x, full_output=True)
    assert info.way == "sparse lift"
    with mpmath.workdps(30):
        exact = [
            -90 * mpmath.sin(3 * u) * mpmath.cos(30 * mpmath.cos(3 * u) + 1000) for u in map(mpmath.mpf, x.tolist())
        ]
    assert (np.abs(slope - np.array(exact, float)) <= info.error).mean() >= 0.9
