"""The automatic step, the adaptive ladder and the noise probe: properties that a wrong rule breaks."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from benchmarks.accuracy_problems import FAMILIES
from fastgrad.core.errors import NonFiniteWarning
from fastgrad.core.evaluation import InFloats
from fastgrad.core.point import Point
from fastgrad.core.validation import FLOAT64
from fastgrad.schemes.constants import NOT_FINITE
from fastgrad.schemes.scheme import Task
from fastgrad.schemes.searching import Adaptive, Automatic
from fastgrad.schemes.stencils import backward, central, forward

DEEP = [name for name, family in FAMILIES.items() if name != "ode_tolerance"]
EPS = float(np.finfo(float).eps)


class Counted(InFloats):
    """f of columns around x, counting points and remembering how far they went."""

    origin, way, own, sees_own = 0.0, "columns", None, True

    def __init__(self, f, x, bounds=None):
        self.f, self.x, self.nfev = f, np.array(x, float), 1
        self._point = Point(self.x, None, FLOAT64)
        with np.errstate(all="ignore"):
            self.f0 = float(np.asarray(f(self.x[:, None]))[0])
        self.lowest, self.highest = self.x.copy(), self.x.copy()
        self.bounds = bounds

    def _values(self, columns):
        self.nfev += columns.shape[1]
        self.lowest = np.minimum(self.lowest, columns.min(axis=1))
        self.highest = np.maximum(self.highest, columns.max(axis=1))
        if self.bounds is not None:
            assert (columns >= self.bounds[0][:, None]).all()
            assert (columns <= self.bounds[1][:, None]).all()
        with np.errstate(all="ignore"):
            return np.asarray(self.f(columns), float) - self.origin

    def value(self):
        return self.f0

    def sweep(self, index, points):
        m, k = points.shape
        columns = np.repeat(self.x[:, None], m * k, axis=1)
        columns[np.repeat(index, k), np.arange(m * k)] = points.ravel()
        return self._values(columns).reshape(m, k)

    def line(self, points):
        return self._values(points.T)

    def task(self, index=None, memory=None, bars=True):
        everything = index is None
        return Task(self._point, np.arange(self.x.size) if everything else index, everything, self.bounds, bars, memory)

    def run(self, stencil=None, noise=None, **task):
        return Automatic(stencil or central(2), noise, "").differentiate(self, self.task(**task))

    def climb(self, noise=None, rtol=1e-13, atol=0.0, **task):
        return Adaptive(noise, rtol, atol).differentiate(self, self.task(**task))


METHODS = [Counted.run, Counted.climb]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def polynomial(x):
    return (x**4).sum(axis=0) + 3.0 * x[0] - x[-1] * x[0]


def polynomial_gradient(x):
    g = 4.0 * x**3
    g[0] += 3.0 - x[-1]
    g[-1] -= x[0]
    return g


def sample(seeds, names=None):
    for name in names or FAMILIES:
        for seed in seeds:
            yield FAMILIES[name].instance(seed)


# ---------------------------------------------------------------------------- diagnosis


# ---------------------------------------------------------------------------- noise


# ---------------------------------------------------------------------------- automatic


def test_never_wrong_in_the_first_digit():
    for problem in sample([501], [n for n, f in FAMILIES.items() if f.kind in "SBHK"]):
        found = Counted(problem, problem.x).run()
        exact = problem.gradient()
        size = np.maximum(np.abs(exact), 1e-3 * np.abs(exact * problem.length).max() / problem.length)
        assert (np.abs(found.gradient - exact) < 1e-3 * size).all(), problem.family


def test_error_bars_hold():
    held = [
        np.abs(found.gradient - exact) <= found.error
        for problem in sample([502, 503], [n for n in DEEP if n != "piecewise_quadratic"])
        for exact in [problem.gradient()]
        for found in [Counted(problem, problem.x).run()]
    ]
    assert np.mean(np.concatenate(held)) >= 0.97


def test_some_components():
    x = np.linspace(0.5, 1.5, 7)
    index = np.array([5, 2])
    run = Counted(lambda X: (np.exp(X) * X[0]).sum(axis=0), x)
    found = run.run(index=index)
    assert found.gradient.shape == found.error.shape == found.step.shape == (2,)
    assert found.gradient == pytest.approx((np.exp(x) * x[0])[index], rel=1e-8)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda X: 0.0 * X[0], 0.0),
        (lambda X: 0.0 * X[0] + 7.3, 0.0),
        (lambda X: 3.1 * X[0] - 3.1 * X[1] + 1.0, 3.1),
        (lambda X: 1e300 * np.sin(X[0] + X[1]), 1e300 * math.cos(1.5)),
        (lambda X: 1e-300 * np.sin(X[0] + X[1]), 1e-300 * math.cos(1.5)),
    ],
    ids=["zero", "constant", "linear", "huge", "tiny"],
)
@pytest.mark.parametrize("method", METHODS)
def test_degenerate_functions(f, expected, method):
    found = method(Counted(f, [0.7, 0.8]))
    assert found.gradient[0] == pytest.approx(expected, rel=1e-6, abs=1e-300)
    assert np.isfinite(found.error).all()


@pytest.mark.parametrize("x", [[0.0], [1e-300], [1e300], [5e-324, 1.0], [1e150, 1e-150], [1e16, 3.0]])
@pytest.mark.parametrize("method", METHODS)
def test_extreme_points_raise_no_warning(x, method):
    run = Counted(lambda X: np.tanh(X).sum(axis=0) + X[0] * 1e-20, x)
    found = method(run)
    assert found.gradient.shape == (len(x),)
    assert (np.isfinite(found.gradient) | np.isinf(found.error)).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1.0, 1e6, 1e12])
def test_scaling_x_scales_the_gradient(scale):
    # nothing but x tells the scale: all components share it
    x = np.array([0.7, 1.9, -1.2])
    run = Counted(lambda X: np.exp(X[0] / scale) + np.sin(X[1] / scale) * (X[2] / scale), x * scale)
    exact = np.array([np.exp(x[0]), np.cos(x[1]) * x[2], np.sin(x[1])]) / scale
    assert run.run().gradient == pytest.approx(exact, rel=1e-7)


def test_deterministic():
    problem = FAMILIES["mixed_frequencies"].instance(3)
    one, two = Counted(problem, problem.x).run(), Counted(problem, problem.x).run()
    np.testing.assert_array_equal(one.gradient, two.gradient)
    np.testing.assert_array_equal(one.error, two.error)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_higher_orders_gain_digits(order):
    x = np.array([0.3, 1.1, -0.8, 0.9])
    run = Counted(lambda X: np.exp(X).sum(axis=0) + X[0] * X[1], x)
    exact = np.exp(x) + np.array([x[1], x[0], 0, 0])
    found = run.run(stencil=central(order))
    error = np.abs(found.gradient - exact).max()
    assert error < {2: 3e-10, 4: 3e-12, 6: 5e-13, 8: 3e-13}[order]
    assert (np.abs(found.gradient - exact) <= found.error).all()


@pytest.mark.parametrize("stencil", [forward(1), backward(1), forward(2), forward(3)])
def test_one_sided_stencils_stay_on_their_side(stencil):
    x = np.array([0.3, 1.1, -0.8])
    run = Counted(lambda X: np.exp(X).sum(axis=0), x)
    away, sweep = [], run.sweep

    def watched(index, points):
        away.append((points - x[index, None]).ravel())
        return sweep(index, points)

    run.sweep = watched
    found = run.run(stencil=stencil, noise=0.0)
    assert (np.concatenate(away) * (1 if stencil.reach[1] > 0 else -1) > 0).all()
    assert found.gradient == pytest.approx(np.exp(x), rel=1e-6 if stencil.order == 1 else 1e-8)


# ---------------------------------------------------------------------------- bounds and edges


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_no_evaluation_outside_bounds(method, seed):
    rng = np.random.default_rng(seed)
    n = 18
    x = rng.standard_normal(n)
    room = np.where(rng.random((2, n)) < 0.4, 0.0, 10.0 ** rng.uniform(-12, 1, (2, n)))
    room[1, (room == 0).all(axis=0)] = 0.5
    bounds = x - room[0], x + room[1]
    bounds = np.minimum(bounds[0], x), np.maximum(bounds[1], x)
    run = Counted(polynomial, x, bounds)
    found = method(run)
    exact = polynomial_gradient(x)
    wide = np.maximum(room[0], room[1]) > 1e-3
    assert found.gradient[wide] == pytest.approx(exact[wide], rel=1e-5, abs=1e-6)
    ok = np.isfinite(found.gradient)
    assert np.mean(np.abs(found.gradient - exact)[ok] <= found.error[ok]) > 0.9
    assert ok.mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_component_that_must_not_move_is_0(method):
    x = np.array([1.0, 2.0])
    found = method(Counted(polynomial, x, (np.array([1.0, 0.0]), np.array([1.0, 3.0]))))
    assert found.gradient[0] == 0.0
    assert found.error[0] == 0.0
    assert found.flags is None
    assert found.gradient[1] == pytest.approx(polynomial_gradient(x)[1], rel=1e-8)


@pytest.mark.parametrize("gap", [1e-1, 1e-4, 1e-8, 1e-11])
@pytest.mark.parametrize("method", METHODS)
def test_edge_of_the_domain(gap, method):
    x = np.array([gap, 1.0])
    run = Counted(lambda X: np.log(X[0]) + X[1] ** 2, x)
    found = method(run)
    assert found.gradient == pytest.approx([1.0 / gap, 2.0], rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_on_the_edge_of_the_domain(method):
    run = Counted(lambda X: np.where(X[0] >= 2.0, np.exp(X[0] - 2.0), np.nan) + X[1], np.array([2.0, 1.0]))
    found = method(run)
    assert found.gradient == pytest.approx([1.0, 1.0], rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nowhere_finite_is_nan(method):
    run = Counted(lambda X: np.where(X[0] == 2.0, 1.0, np.nan) + X[1] ** 2, np.array([2.0, 1.0]))
    with pytest.warns(NonFiniteWarning, match="coordinate 0 is nan"):
        found = method(run)
    assert np.isnan(found.gradient[0])
    assert found.flags[0] == NOT_FINITE
    assert found.gradient[1] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_f_not_finite_at_x(method, value):
    run = Counted(lambda X: np.where(X[0] == 2.0, value, X[0]), np.array([2.0]))
    with pytest.warns(NonFiniteWarning, match="at x = 2.0 itself"):
        found = method(run)
    assert np.isnan(found.gradient).all()
    assert np.isinf(found.error).all()
    assert run.nfev == 1


@pytest.mark.parametrize("method", METHODS)
def test_no_component(method):
    assert method(Counted(polynomial, np.array([1.0, 2.0])), index=np.zeros(0, np.intp)).gradient.shape == (0,)


# ---------------------------------------------------------------------------- memory


def test_memory_costs_2n_and_7_and_agrees():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20)
    first = Counted(polynomial, x)
    memory = first.run(memory=()).memory
    moved = x + 1e-3 * rng.standard_normal(20)
    second = Counted(polynomial, moved)
    found = second.run(memory=memory)
    assert second.nfev <= 1 + 6 + 2 * 20 + 4
    assert found.gradient == pytest.approx(polynomial_gradient(moved), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("jump", [1e-9, 1e-6, 1e-3, 1e3, 1e6])
def test_memory_is_not_believed_when_x_jumps(jump):
    x = np.array([0.7, -1.3, 2.2])
    first = Counted(polynomial, x)
    memory = first.run(memory=()).memory
    second = Counted(polynomial, x * jump)
    exact = polynomial_gradient(x * jump)
    found = second.run(memory=memory)
    assert found.gradient == pytest.approx(exact, rel=1e-5, abs=1e-6 * np.abs(exact).max())


def test_memory_of_a_smooth_place_is_not_believed_in_a_rough_one():
    def f(X):
        return np.sin(300.0 * X[0] ** 3) + np.exp(X[1])

    memory = Counted(f, np.array([0.02, 0.5])).run(memory=()).memory
    x = np.array([0.027, 0.5])
    exact = [900.0 * x[0] ** 2 * np.cos(300.0 * x[0] ** 3), np.exp(0.5)]
    assert Counted(f, x).run(memory=memory).gradient == pytest.approx(exact, rel=1e-6)
    x = np.array([2.0, 0.5])
    exact = [3600.0 * np.cos(2400.0), np.exp(0.5)]
    assert Counted(f, x).run(memory=memory).gradient == pytest.approx(exact, rel=1e-5)


def test_memory_of_a_float32_function_is_believed():
    problem = FAMILIES["single_precision"].instance(0)
    memory = Counted(problem, problem.x).run(memory=()).memory
    again = Counted(problem, problem.x)
    again.run(memory=memory)
    assert again.nfev <= 1 + 6 + 2 * problem.x.size + 4


def test_memory_does_not_hide_new_noise():
    rng = np.random.default_rng(0)
    x = np.linspace(0.5, 1.5, 16)
    memory = Counted(lambda X: np.exp(X).sum(axis=0), x).run(memory=()).memory
    noisy = Counted(lambda X: np.exp(X).sum(axis=0) + 1e-7 * rng.standard_normal(X.shape[1]), x)
    found = noisy.run(memory=memory)
    assert found.gradient == pytest.approx(np.exp(x), rel=1e-3)
    assert found.noise > 1e-9


# ---------------------------------------------------------------------------- adaptive


def test_adaptive_bars_hold_and_are_not_loose():
    held, ratios = [], []
    for problem in sample(range(504, 508), DEEP):
        found = Counted(problem, problem.x).climb()
        exact = problem.gradient()
        error = np.abs(found.gradient - exact)
        held.append(error <= found.error)
        ratios.append(np.median(found.error / np.maximum(error, 1e-17 * np.abs(exact) + 1e-300)))
    assert np.mean(np.concatenate(held)) >= 0.99
    assert np.median(ratios) <= 25


def test_adaptive_costs_and_gains():
    gained, cost = [], []
    for problem in sample([505], [n for n, f in FAMILIES.items() if f.kind == "S"]):
        exact = problem.gradient()
        plain, deep = Counted(problem, problem.x), Counted(problem, problem.x)
        one, six = plain.run(), deep.climb()
        gained.append(np.log10(np.abs(one.gradient - exact).max() / np.abs(six.gradient - exact).max()))
        cost.append(deep.nfev / problem.x.size)
    assert np.mean(gained) > 2.0
    assert np.mean(cost) < 10.5 + 2.0  # the automatic step goes first


def test_a_loose_tolerance_costs_less_and_is_reached():
    spent = {}
    for rtol in (1e-13, 1e-6):
        spent[rtol] = 0
        for problem in sample([506], ["sines", "fast_sine", "scaled_exponentials", "poles"]):
            run = Counted(problem, problem.x)
            found = run.climb(rtol=rtol)
            spent[rtol] += run.nfev
            reached = found.error <= rtol * np.abs(found.gradient)
            assert reached.all() if rtol == 1e-6 else not reached.all()
    assert spent[1e-6] < 0.9 * spent[1e-13]


def test_unreachable_tolerance_shows_in_the_bar():
    rng = np.random.default_rng(0)
    run = Counted(lambda X: np.exp(X).sum(axis=0) + 1e-5 * rng.standard_normal(X.shape[1]), np.array([0.3, 0.4]))
    found = run.climb(rtol=1e-8)
    assert (found.error > 1e-8 * np.abs(found.gradient)).all()
    assert (np.abs(found.gradient - np.exp([0.3, 0.4])) <= found.error).all()


@pytest.mark.parametrize("method", ["order 8", "adaptive", "adaptive, loose"])
def test_a_period_that_divides_the_step_is_not_believed(method):
    # every node of a wide stencil falls on the same phase: only the chord of the probe tells
    x = np.array([0.8, 0.3, -0.6])
    for k in range(2, 9):
        w = 2.0**k * 2.0 * np.pi
        run = Counted(lambda X, w=w: np.sin(w * X[0]) + np.exp(X[1]) * X[2], x)
        if method == "order 8":
            found = run.run(stencil=central(8))
        else:
            found = run.climb(rtol=1e-13 if method == "adaptive" else 1e-4)
        exact = [w * np.cos(w * 0.8), np.exp(0.3) * -0.6, np.exp(0.3)]
        assert found.gradient == pytest.approx(exact, rel=2e-4), k
        assert (np.abs(found.gradient - exact) <= found.error).all(), k


def test_a_smaller_step_that_contradicts_is_believed():
    # near the period: the widest window looks best, smaller ones know better
    problem = FAMILIES["mixed_frequencies"].instance(3007)
    found = Counted(problem, problem.x).climb()
    assert found.gradient == pytest.approx(problem.gradient(), rel=1e-8)
