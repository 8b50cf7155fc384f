"""The automatic step: its line, the two forms of its judgement, its cost, and what it says where it is not certain."""

from __future__ import annotations

import math
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from numba import njit

from benchmarks.accuracy_problems import FAMILIES
from fastgrad import (
    AccuracyWarning,
    Gradient,
    Jacobian,
    jvp,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    vjp,
)
from fastgrad.schemes import around
from fastgrad.schemes.constants import calm, nearest_power
from fastgrad.schemes.line import Course, CourseOfMany, factors, median, quantum
from fastgrad.schemes.looks import by_parabola, by_stencil, by_two_points, calm_of_many, fear_of_many, truncation
from fastgrad.schemes.stencils import backward, central, forward
from fastgrad.schemes.steps import power_of_two
from fastgrad.schemes.telling import tell
from tests.schemes.test_accuracy import EPS, Counted, polynomial, polynomial_gradient, sample

# ---------------------------------------------------------------------------- small things


def test_powers_of_two_are_those_of_arrays():
    h = np.concatenate([2.0 ** np.random.default_rng(0).uniform(-300, 300, 500), 2.0 ** np.arange(-20.5, 20.0)])
    assert [nearest_power(v) for v in h.tolist()] == power_of_two(h).tolist()
    assert nearest_power(0.0) == 0.0
    assert nearest_power(math.inf) == math.inf


def test_calm_of_floats_is_that_of_arrays():
    rng = np.random.default_rng(1)
    first, second, noise = (10.0 ** rng.uniform(-18, 2, 4000) for _ in range(3))
    second[:5], first[5:9], first[9] = 0.0, 0.0, np.nan
    found = calm_of_many(first, second, noise, 0.7, 1e-9)
    each = zip(first.tolist(), second.tolist(), noise.tolist(), strict=True)
    assert found.tolist() == [calm(*three, 0.7, 1e-9) for three in each]
    assert 100 < np.count_nonzero(found) < 3900


def test_fear_of_floats_is_that_of_arrays():
    rng = np.random.default_rng(2)
    step, first, second, noise = (10.0 ** rng.uniform(-12, 0, 500) for _ in range(4))
    found = fear_of_many(step, first, second, noise, 0.3)
    each = zip(step.tolist(), first.tolist(), second.tolist(), noise.tolist(), strict=True)
    assert found == pytest.approx([truncation(*four, 0.3)[1] for four in each], rel=1e-14)


def test_calm_means_that_no_other_step_is_wanted():
    # the conditions without roots are those of the judgement with them
    rng = np.random.default_rng(3)
    for _ in range(3000):
        sigma, step = 10.0 ** rng.uniform(-17, -12), 10.0 ** rng.uniform(-8, -3)
        above, below = step * rng.normal() + step**2 * rng.normal(), -step * rng.normal()
        look = by_two_points(step, above, below, sigma, 1.0)
        if calm(look.first, look.second, sigma, 1.0, 3e-10 / 1.42):
            assert look.hope <= 31.0 * look.noise
            small = look.noise > 3.1e-10 * abs(look.slope) and (look.noise / (2.0 * look.fear)) ** (1 / 3) > 6.2
            assert not small
            assert not look.kinked


def test_courses_are_the_same_in_floats_and_arrays():
    rng = np.random.default_rng(4)
    for n in (1, 2, 7, 40):
        for zeros in (False, True):
            x = rng.standard_normal(n) * 10.0 ** rng.uniform(-9, 9, n)
            if zeros:
                x[::2] = 0.0
            seed = zlib.crc32(x)
            few = Course(x.tolist(), seed)
            grain = np.where(x != 0.0, 4.0 * np.spacing(np.abs(x)), 0.0)
            many = CourseOfMany(x, np.array(few.scale), seed, grain)
            assert few.shorter == many.shorter
            for _ in range(2):
                for spacing in (2.0**-17, 2.0**-40, 0.02):
                    assert list(few.vector(spacing)) == np.asarray(many.vector(spacing)).tolist()
                assert few.stay() == many.stay()
                few.shrink()
                many.shrink()
                assert few.scale == many.scale.tolist()


def test_line_points_are_exact_and_on_no_binary_lattice():
    x = np.random.default_rng(5).standard_normal(200)
    vector = np.asarray(CourseOfMany(x, np.abs(x), 7, 4.0 * np.spacing(np.abs(x))).vector(2.0**-17))
    for k in (-3, -1, 2, 3):
        assert ((x + k * vector) - x == k * vector).mean() > 0.95  # but where x + k v crosses a power of two
    assert set(np.unique(np.round(factors(7, 200), 3))) == {1.333, 1.667}
    assert (np.frexp(vector)[0] * 2.0**20 % 1.0 != 0.0).all()


def test_quantum():
    rng = np.random.default_rng(0)
    fine = rng.standard_normal(7)

    def lattice(values):
        return quantum(list(values), max(map(abs, values)), 1.0)

    assert lattice(fine.tolist()) == 0.0
    assert lattice(fine.astype(np.float32).astype(float).tolist()) >= 2.0**-30
    assert lattice([float(f"{v:.5f}") for v in fine]) == pytest.approx(1e-5)
    assert lattice([0.1] * 7) == 0.0


def test_median():
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_parabola_to_one_side_is_exact_for_parabolas(side):
    near, far = 0.25 * side, 0.75 * side

    def f(t):
        return 3.0 * t + 2.0 * t * t

    look = by_parabola(near, far, f(near), f(far), 1e-16, 1.0, edge=False)
    assert look.slope == pytest.approx(3.0, rel=1e-14)
    assert look.bend == pytest.approx(4.0 * look.step**2, rel=1e-13)
    assert look.side == side


@pytest.mark.parametrize("stencil", [central(4), central(6), forward(2), forward(3), backward(2)])
def test_the_truncation_of_any_stencil_is_judged(stencil):
    errors, judged = [], []
    for h in (0.05, 0.02):
        values = [math.exp(h * node) - 1.0 for node in stencil.nodes.tolist()]
        slope = (
            float(
                sum(
                    float(w) * v
                    for w, v in zip(
                        [w for o, w in zip(stencil.offsets, stencil.weights, strict=True) if o], values, strict=True
                    )
                )
            )
            / h
        )
        look = by_stencil(stencil, h, slope, values, 1e-16, 1.0, 1.0)
        errors.append(abs(slope - 1.0))
        judged.append(look.fear)
    assert (np.array(judged) > 0.3 * np.array(errors)).all()
    assert (np.array(judged) < 300.0 * np.array(errors)).all()


# ---------------------------------------------------------------------------- noise


@pytest.mark.parametrize("exponent", [-12, -9, -6, -3])
@pytest.mark.parametrize("n", [1, 5])
def test_noise_level_within_a_factor_4(exponent, n):
    level, good, total = 10.0**exponent, 0, 12
    for seed in range(total):
        rng = np.random.default_rng(seed)
        a = rng.uniform(0.5, 2.0, n)

        def f(x, a=a, rng=rng):
            return np.sin(a @ x) + 2.0 + level * rng.standard_normal(x.shape[1])

        noise = Counted(f, rng.standard_normal(n)).run().noise
        good += level / 4 <= noise <= 4 * level
    assert good >= total - 2


def test_smooth_functions_have_round_off_only():
    for problem in sample(range(3), [n for n, f in FAMILIES.items() if f.kind in "SH"]):  # a line may cross a kink
        run = Counted(problem, problem.x)
        assert run.run().noise < 1e-12 * max(abs(run.f0), 1.0), problem.family


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_float32_inside_is_found(n):
    def f(X):
        return np.sin(X.astype(np.float32)).sum(axis=0) + 1.0

    run = Counted(f, np.random.default_rng(n).uniform(0.2, 1.2, n))
    found = run.run()
    assert 1e-10 < found.noise / abs(run.f0) < 1e-6
    assert (np.abs(found.gradient - np.cos(run.x)) <= found.error).all()


def test_printed_numbers():
    def f(X):
        return np.array([float(f"{v:.11e}") for v in np.exp(X).sum(axis=0)])

    x = np.array([0.31, 0.77])
    found = Counted(f, x).run()
    assert 1e-12 < found.noise < 1e-11
    assert (np.abs(found.gradient - np.exp(x)) <= found.error).all()


def test_round_off_that_cancels_by_symmetry_is_seen():
    c = np.linspace(1, 5, 14) * np.where(np.arange(14) % 3 == 0, -1, 1)
    found = Counted(lambda X: np.tanh(c[:, None] * X).sum(axis=0), np.zeros(14)).run()
    assert found.gradient == pytest.approx(c, rel=1e-12)
    held = np.abs(found.gradient - c) <= found.error
    assert held.mean() > 0.5  # of components whose third derivatives differ by 125, by one number for all
    assert (np.abs(found.gradient - c) <= 3.0 * found.error).all()


def test_declared_noise_is_taken_at_its_word_and_costs_no_line():
    run = Counted(lambda X: np.exp(X).sum(axis=0), [0.3, 0.7])
    assert run.run(noise=1e-6).noise == 1e-6
    assert run.nfev == 1 + 2 * 2
    run = Counted(lambda X: np.exp(X).sum(axis=0), [0.3, 0.7])
    assert run.run(noise=0.0).noise <= 4 * EPS * run.f0
    assert run.nfev == 1 + 2 * 2


def test_declared_noise_is_silent():
    rng = np.random.default_rng(0)
    found = Counted(lambda X: 1.0 + 1e-9 * X[0] + 1e-3 * rng.standard_normal(X.shape[1]), [0.3]).run(noise=1e-3)
    assert found.flags is None
    assert found.error[0] > abs(found.gradient[0] - 1e-9)


# ---------------------------------------------------------------------------- one rule, two forms


def _forms(monkeypatch, make, **options):
    """Return what the rule finds in plain floats and in arrays."""
    found = []
    for few in (60, 0):
        monkeypatch.setattr(around, "FEW", few)
        run = make()
        found.append((run.run(**options), run.nfev))
    return found


@pytest.mark.parametrize("stencil", [central(2), forward(1), backward(1)], ids=["central", "forward", "backward"])
@pytest.mark.parametrize("bars", [False, True])
def test_floats_and_arrays_give_the_same_bits(monkeypatch, bars, stencil):
    compared = 0
    for problem in sample(range(4)):
        if problem.x.size > 60:
            continue
        found = _forms(monkeypatch, lambda p=problem: Counted(p, p.x), bars=bars, stencil=stencil)
        (one, cost), (other, cost_too) = found
        np.testing.assert_array_equal(one.gradient, other.gradient)
        assert (one.flags or []) == (other.flags or [])
        assert cost == cost_too
        if bars:
            np.testing.assert_array_equal(one.step, other.step)
            assert one.error == pytest.approx(other.error, rel=1e-12)
        compared += 1
    assert compared > 40


def test_without_bars_the_gradient_is_the_same():
    for problem in sample(range(3)):
        with_bars, without = (Counted(problem, problem.x).run(bars=bars) for bars in (True, False))
        np.testing.assert_array_equal(with_bars.gradient, without.gradient)
        assert (with_bars.flags or []) == (without.flags or [])


def test_bounds_far_away_change_nothing():
    for problem in sample([0], ["sines", "rosenbrock", "scaled_exponentials", "large_constant"]):
        free = Counted(problem, problem.x)
        wide = Counted(problem, problem.x, (problem.x - 1e9, problem.x + 1e9))
        np.testing.assert_array_equal(free.run().gradient, wide.run().gradient)
        assert free.nfev == wide.nfev


def test_values_relative_to_an_origin_give_the_same():
    x = np.linspace(0.2, 1.4, 16)
    plain, shifted = (Counted(lambda X: np.exp(X).sum(axis=0), x) for _ in range(2))
    shifted.origin = plain.f0
    one, other = plain.run(), shifted.run()
    assert other.gradient == pytest.approx(one.gradient, rel=1e-9)
    assert other.noise == one.noise


# ---------------------------------------------------------------------------- cost


@pytest.mark.parametrize("n", [1, 2, 10, 11, 40])
def test_smooth_functions_cost_2n_and_7(n):
    x = np.linspace(0.5, 1.5, n)
    run = Counted(lambda X: np.exp(X).sum(axis=0), x)
    found = run.run()
    assert run.nfev == 7 + 2 * n
    assert (np.abs(found.gradient - np.exp(x)) <= found.error).all()


@pytest.mark.parametrize("stencil", [forward(1), backward(1)])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_one_sided_differences_of_first_order_cost_n_and_7(stencil, n):
    x = np.linspace(0.5, 1.5, n)
    run = Counted(lambda X: np.exp(X).sum(axis=0) + X[0] * X[-1], x)
    found = run.run(stencil=stencil)
    exact = np.exp(x) + x[-1] * (np.arange(n) == 0) + x[0] * (np.arange(n) == n - 1)
    assert run.nfev == 7 + n
    assert found.gradient == pytest.approx(exact, rel=1e-6)
    assert (np.abs(found.gradient - exact) <= found.error).all()
    away = run.lowest - x if stencil.reach[1] > 0 else x - run.highest
    assert (away >= 0.0).all()


def test_bars_of_few_variables_hold():
    held = [
        np.abs(found.gradient - exact) <= found.error
        for problem in sample(range(5), [n for n in FAMILIES if n not in ("ode_tolerance", "beside_knots")])
        if problem.x.size <= 5
        for exact in [problem.gradient()]
        for found in [Counted(problem, problem.x).run()]
    ]
    assert np.mean(np.concatenate(held)) >= 0.97


def test_bars_of_forward_differences_know_curvature_that_the_line_cannot_see():
    """A softmax is unmoved by a common shift: along a line near it, f has neither slope nor curvature."""
    broken = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        z, t = rng.normal(size=(10, 3)), rng.integers(0, 3, 10)

        def softmax(b, z=z):
            return np.exp(z + b) / np.exp(z + b).sum(axis=1, keepdims=True)

        def loss(b, t=t, softmax=softmax):
            return -np.mean(np.log(softmax(b)[np.arange(10), t]))

        gradient, info = numerical_gradient(loss, np.zeros(3), method="forward", full_output=True)
        broken += (np.abs(gradient - (softmax(0.0) - np.eye(3)[t]).mean(axis=0)) > info.error).tolist()
    assert np.mean(broken) <= 0.03


def test_bars_of_forward_differences_hold():
    held = []
    for problem in sample(range(3), [n for n, f in FAMILIES.items() if f.kind in "SB"]):
        found = Counted(problem, problem.x).run(stencil=forward(1))
        held.append(np.abs(found.gradient - problem.gradient()) <= found.error)
    assert np.mean(np.concatenate(held)) >= 0.97


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_components_without_effect_cost_two_evaluations(noise):
    n, rng = 400, np.random.default_rng(0)
    live = np.arange(0, n, 10)

    def f(X):
        value = np.sin(X[live]).sum(axis=0) + 100.0
        return np.round(value / noise) * noise if noise else value

    x = rng.standard_normal(n)
    run = Counted(f, x)
    found = run.run()
    assert run.nfev <= 2.2 * n + 25
    exact = np.zeros(n)
    exact[live] = np.cos(x[live])
    assert (found.gradient[exact == 0.0] == 0.0).all()
    assert found.gradient[live] == pytest.approx(exact[live], abs=1e-3 if noise else 1e-8)
    assert found.flags is None


# ---------------------------------------------------------------------------- what is told


def flags(f, x, **options):
    found = Counted(f, np.array(x, float)).run(**options)
    return list(found.flags or [""] * len(x)), found


def test_a_kink_at_x_is_told_with_both_slopes_and_its_bar_covers_them():
    said, found = flags(lambda X: np.abs(X[0]) + 2.0 * np.maximum(X[1], 0.0) + np.sin(X[2]), [0.0, 0.0, 0.4])
    assert "kink" in said[0]
    assert "kink" in said[1]
    assert said[2] == ""
    assert found.slopes[:2] == pytest.approx(np.array([[-1.0, 1.0], [0.0, 2.0]]), abs=1e-6)
    assert np.isnan(found.slopes[2]).all()
    assert found.gradient == pytest.approx([0.0, 1.0, math.cos(0.4)], abs=1e-8)
    assert (found.error[:2] >= 1.0 - 1e-6).all()
    for stencil, slopes in ((forward(1), [1.0, 2.0]), (backward(1), [-1.0, 0.0])):
        found = flags(lambda X: np.abs(X[0]) + 2.0 * np.maximum(X[1], 0.0), [0.0, 0.0], stencil=stencil)[1]
        assert found.gradient == pytest.approx(slopes, abs=1e-6)


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7])
def test_a_kink_beside_x_is_left_behind(distance):
    said, found = flags(lambda X: np.abs(X[0] - 0.7) + np.exp(X[1]), [0.7 + distance, 0.3])
    assert found.gradient == pytest.approx([1.0, math.exp(0.3)], rel=1e-6)
    assert said == ["", ""]


@pytest.mark.parametrize("f", [np.sqrt, np.cbrt, lambda x: np.sqrt(np.abs(x))])
@pytest.mark.parametrize("bounds", [None, (np.zeros(1), np.ones(1))])
def test_an_infinite_slope_is_told(f, bounds):
    run = Counted(lambda X: f(X[0]), np.zeros(1), bounds)
    with np.errstate(all="ignore"):
        found = run.run()
    assert found.flags is not None


def test_lost_digits_are_told_with_the_noise():
    said, _ = flags(lambda X: (np.exp(X[0]) - 1.0 - X[0]) / X[0] ** 2, [1e-7])
    assert "loses digits" in said[0]
    assert "times rounding" in said[0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda X: np.cos(X[0]), [0.0]),
        (lambda X: (X**2).sum(axis=0), [0.0, 0.0]),
        (lambda X: 0.0 * X[0] + 3.0, [1.0, 2.0]),
        (lambda X: 100.0 * (X[1] - X[0] ** 2) ** 2 + (1.0 - X[0]) ** 2, [1.0, 1.0]),
        (lambda X: X[0] ** 3, [0.0]),
    ],
    ids=["cos", "bowl", "constant", "rosenbrock", "inflection"],
)
def test_a_gradient_that_is_truly_zero_is_silent(f, x):
    said, found = flags(f, x)
    assert said == [""] * len(x)
    assert found.gradient == pytest.approx(np.zeros(len(x)), abs=1e-8)


def test_good_families_are_not_flagged():
    said = [
        flag
        for problem in sample(range(4), [n for n, f in FAMILIES.items() if f.kind in "SBH"])
        for flag in (Counted(problem, problem.x).run().flags or [""] * problem.x.size)
    ]
    assert np.mean([bool(flag) for flag in said]) < 0.005


def test_one_warning_names_three_components_and_says_what_to_do():
    with pytest.warns(AccuracyWarning) as told:
        numerical_gradient(lambda x: np.sum(np.abs(x)), np.zeros(5), backend="python")
    assert len(told) == 1
    text = str(told[0].message)
    assert "component 0: f has a kink" in text
    assert "component 2" in text
    assert "component 3" not in text
    assert "and 2 more" in text
    assert "method='forward'" in text
    assert told[0].filename == __file__


def test_nothing_is_told_without_flags():
    run = Counted(polynomial, np.array([1.0, 2.0]))
    tell(None, run._point, np.arange(2))
    tell(["", ""], run._point, np.arange(2))


# ---------------------------------------------------------------------------- edges


def test_f_that_raises_at_exploring_points_has_no_value_there():
    def f(x):
        if x[0] < 0.7 - 1e-12:
            raise ValueError("outside")
        return x[0] ** 1.5

    with pytest.raises(ValueError, match="outside"):  # the first difference needs the point
        numerical_gradient(f, np.array([0.7]), backend="python")

    def g(x):
        if abs(x[0] - 0.7) > 8e-6:
            raise ArithmeticError("far from x")
        return x[0] ** 1.5

    found = numerical_gradient(g, np.array([0.7]), backend="python")
    assert found == pytest.approx([1.5 * math.sqrt(0.7)], rel=1e-8)


def test_a_step_that_leaves_the_domain_is_told():
    def f(x):
        return math.log(x[0]) if x[0] > 0 else math.nan

    for options in ({"h": 1e-4}, {"rel_step": 2.0}):
        with pytest.warns(AccuracyWarning, match="component 0 was not differentiated as asked"):
            numerical_gradient(f, np.array([5e-5]), backend="python", **options)
    with pytest.warns(AccuracyWarning, match="`bounds` leave no room for a step of 0.0001"):
        numerical_gradient(lambda x: x[0] ** 2, np.array([5e-5]), h=1e-4, bounds=(0, 1e-4), backend="python")


def test_a_fixed_component_is_0_with_a_given_step():
    x = np.array([2.0, 3.0])
    found = numerical_gradient(lambda x: np.sum(x**2), x, h=1e-4, bounds=([0, 3], [5, 3]), backend="python")
    assert found == pytest.approx([4.0, 0.0], rel=1e-8)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 1, 4)])
def test_x_of_any_shape(shape):
    x = np.linspace(0.3, 1.7, int(np.prod(shape))).reshape(shape)
    found = numerical_gradient(lambda x: np.sum(np.exp(x)), x, backend="python")
    assert found.shape == shape
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-8)


def test_float32_x():
    x = np.array([1.3, 0.7, -2.1], np.float32)
    found, info = numerical_gradient(lambda x: np.sum(np.sin(x)), x, backend="python", full_output=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.cos(x), rtol=2e-7)
    np.testing.assert_array_equal(
        (x.astype(float) + info.step).astype(np.float32).astype(float), x.astype(float) + info.step
    )
    kept = numerical_gradient(lambda x: np.sum(np.sin(x)), x, backend="python", dtype="keep")
    np.testing.assert_allclose(kept, np.cos(x), rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stencil", [central(2), central(4), forward(1), forward(2), backward(1)])
def test_any_stencil_stays_within_bounds(stencil, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 1.5, 12)
    room = np.where(rng.random((2, 12)) < 0.4, 0.0, 10.0 ** rng.uniform(-9, 1, (2, 12)))
    room[1, (room == 0).all(axis=0)] = 0.5
    found = Counted(polynomial, x, (x - room[0], x + room[1])).run(stencil=stencil)
    wide = room.max(axis=0) > 1e-2
    assert found.gradient[wide] == pytest.approx(polynomial_gradient(x)[wide], rel=1e-4, abs=1e-4)


# ---------------------------------------------------------------------------- memory


def test_a_kink_does_not_poison_the_memory():
    def f(X):
        return 1.0 + np.sqrt(np.abs(np.sin(X[0]))) + np.sin(3.0 * X[1])

    x = np.array([-0.045, 1.9])
    fresh = Counted(f, x).run(memory=())
    for kink in (1e-12, 0.0):
        poisoned = Counted(f, np.array([kink, 0.3])).run(memory=fresh.memory).memory
        again = Counted(f, x).run(memory=poisoned or ())
        np.testing.assert_array_equal(again.gradient, fresh.gradient)
    assert poisoned is None


def test_without_memory_nothing_is_returned():
    assert Counted(polynomial, np.array([1.0, 2.0])).run().memory is None


def test_memory_of_another_noise_level_is_not_used():
    x = np.linspace(0.5, 1.5, 5)
    coarse = Counted(lambda X: np.exp(X).sum(axis=0).astype(np.float32), x).run(memory=())

    def fine(X):
        return np.exp(X).sum(axis=0)

    with_memory, without = Counted(fine, x).run(memory=coarse.memory), Counted(fine, x).run()
    np.testing.assert_array_equal(with_memory.gradient, without.gradient)


# ---------------------------------------------------------------------------- the ends of what floats can hold


STRANGE = [
    lambda x: np.sum(x**2),
    np.prod,
    lambda x: np.sum(np.sqrt(np.abs(x))),
    lambda x: 1e300 * np.sum(np.tanh(x)),
    lambda x: 1e-310 * np.sum(x),
    lambda x: np.sum(1.0 / x),
    lambda x: np.sum(np.log(x)),
    lambda x: np.exp(np.sum(x)),
    lambda x: np.sum(np.floor(x)),
    lambda x: float(f"{np.sum(x):.2e}"),
    lambda x: 1.7e308 * np.cos(np.sum(x)),
]
WAYS = [
    {},
    {"method": "forward"},
    {"method": "backward", "order": 2},
    {"order": 6},
    {"method": "adaptive"},
    {"noise": 1e-9},
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("bounded", [False, True])
def test_no_size_of_x_or_f_breaks_it(options, bounded):
    rng = np.random.default_rng(8)
    for _ in range(150):
        n = int(rng.choice([1, 2, 3, 12]))
        x = rng.standard_normal(n) * 10.0 ** rng.uniform(-320, 300, n)
        x[rng.random(n) < 0.15] = 0.0
        f = STRANGE[rng.integers(len(STRANGE))]
        bounds = None
        if bounded:
            room = np.where(rng.random((2, n)) < 0.5, 0.0, np.abs(x) * 10.0 ** rng.uniform(-17, 1, (2, n)))
            bounds = x - room[0], x + room[1]

        def inside(y, f=f, bounds=bounds):
            assert bounds is None or ((y >= bounds[0]).all() and (y <= bounds[1]).all())
            return f(y)

        before = x.tobytes()
        with np.errstate(all="ignore"):
            found, info = numerical_gradient(inside, x, bounds=bounds, backend="python", full_output=True, **options)
            again = numerical_gradient(inside, x, bounds=bounds, backend="python", **options)
        assert found.shape == info.error.shape == x.shape
        np.testing.assert_array_equal(found, again)
        assert x.tobytes() == before


# ---------------------------------------------------------------------------- where a line could see nothing


def cross_entropy_of_bias(n):
    rng = np.random.default_rng(n)
    scores, classes = rng.normal(size=(7, n)), rng.integers(0, n, 7)

    def probabilities(bias):
        moved = scores + bias
        grown = np.exp(moved - moved.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)

    return (
        lambda bias: -np.mean(np.log(probabilities(bias)[np.arange(7), classes])),
        lambda bias: (probabilities(bias) - np.eye(n)[classes]).mean(axis=0),
    )


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("method", ["central", "forward", "backward"])
def test_a_common_shift_without_effect_is_no_reason_to_warn(n, method):
    # a softmax does not change where all biases move alike, nor may anything that knows but differences of x
    f, gradient = cross_entropy_of_bias(n)
    rng = np.random.default_rng(0)
    for x in [np.zeros(n), np.ones(n), *(np.full(n, v) for v in rng.normal(size=20)), *rng.normal(size=(20, n))]:
        assert numerical_gradient(f, x, method=method) == pytest.approx(gradient(x), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_functions_of_one_difference_or_sum(sign):
    rng = np.random.default_rng(1)
    for x in [*(np.array([v, v]) for v in rng.normal(size=40)), *(np.array([v, -v]) for v in rng.normal(size=40))]:
        inside = x[0] + sign * x[1]
        got = numerical_gradient(lambda v: np.sin(v[0] + sign * v[1] + 0.3), x)
        assert got == pytest.approx(np.cos(inside + 0.3) * np.array([1.0, sign]), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 30, 100])
@pytest.mark.parametrize(
    "part", [lambda x: x**0.9, lambda x: x * np.log(np.where(x == 0.0, 1.0, x)), lambda x: x**0.7, np.sqrt]
)
def test_unbounded_slopes_at_the_edge_of_the_domain_are_told(part, n):
    x = np.append(np.linspace(0.5, 1.5, n - 1), 0.0)  # beyond 0, f is nan
    with pytest.warns(AccuracyWarning, match="component"):
        numerical_gradient(lambda v: np.sum(part(v)), x)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
@pytest.mark.parametrize(
    ("part", "slope"), [(lambda x: (x + 1.0) ** 3 + 0.0 * np.sqrt(x), 3.0), (lambda x: np.exp(x) + x**3.5, 1.0)]
)
def test_slopes_at_the_edge_of_the_domain_that_exist_are_not(part, slope, n):
    x = np.append(np.linspace(0.5, 1.5, n - 1), 0.0)
    assert numerical_gradient(lambda v: np.sum(part(v)), x)[-1] == pytest.approx(slope, rel=1e-4)


SUMS = {"np.sum": np.sum, "by entry": lambda z: z[0] + z[1], "compiled": njit(lambda z: z[0] + z[1])}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("size", [1e14, 1e150])
@pytest.mark.parametrize("backend", ["auto", "python"])
@pytest.mark.parametrize("n", [2, 100])
def test_what_rounding_hides_is_told(name, size, backend, n):
    """In scales of x the 1 of a sum with 1e150 is negligible; its derivative is as large as the other."""
    gradient = Gradient(SUMS[name], backend=backend)
    x = np.array([size, *[1.0] * (n - 1)])
    for how in (gradient, lambda x: gradient.with_info(x)[0]):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = how(x)
        assert found[1] == 1.0 or "component 1: rounding of f hides" in str(told[0].message)


VERBS = {
    "forward": lambda f, x: numerical_gradient(f, x, method="forward"),
    "backward, bars": lambda f, x: numerical_gradient(f, x, method="backward", full_output=True)[0],
    "order 4": lambda f, x: numerical_gradient(f, x, order=4),
    "jacobian": lambda f, x: numerical_jacobian(lambda z: [f(z)], x)[0],
    "prepared jacobian": lambda f, x: Jacobian(f)(x),
    "jvp": lambda f, x: [1.0, jvp(f, x, [0.0, 1.0])],
    "vjp": lambda f, x: vjp(f, x, 1.0),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", SUMS)
def test_what_rounding_hides_is_told_by_every_verb(name, verb):
    for size in (1e20, 1e150):
        with pytest.warns(AccuracyWarning, match="no digit"):
            assert VERBS[verb](SUMS[name], np.array([size, 1.0]))[1] == 0.0


def test_second_derivatives_that_rounding_hides_are_told():
    square = njit(lambda z: z[0] ** 2 + z[1] ** 2)
    for size in (1e9, 1e20, 1e150):
        with pytest.warns(AccuracyWarning, match="no digit"):
            assert numerical_hessian(square, np.array([size, 1.0]))[1, 1] == 0.0


def test_what_f_does_not_read_is_certain():
    for verb in ("forward", "jacobian", "jvp"):
        assert VERBS[verb](lambda z: z[0] ** 2, np.array([1e3, 1.0]))[1] == 0.0
    assert numerical_gradient(lambda z: z[0] ** 2, [1e3, 1.0])[1] == 0.0  # warnings are errors here


@pytest.mark.parametrize("n", [4, 12])
@pytest.mark.parametrize("options", [{}, {"method": "adaptive"}, {"order": 4}], ids=str)
@pytest.mark.parametrize(
    "f",
    [lambda x: x[1] + x[3] - 2.0, np.sum, np.mean, lambda x: (x[0] + x[2]) ** 2],
    ids=["two", "sum", "mean", "square"],
)
def test_terms_that_could_cancel_along_the_line_raise_no_alarm(f, options, n):
    """Where entries are equal, moves of opposite sign must not be equal, too: f would seem to stand still."""
    for value in np.random.default_rng(n).normal(size=25):
        x = np.full(n, value)
        gradient, info = numerical_gradient(f, x, full_output=True, **options)  # a warning is an error here
        exact = np.array([f(x + 0.5 * e) - f(x - 0.5 * e) for e in np.eye(n)])
        np.testing.assert_allclose(gradient, exact, rtol=1e-7, atol=1e-9)
        assert info.error.max() < 1e-4  # it was 0.03 where they cancelled


def test_an_invariance_is_told_in_words_that_are_true_of_it() -> None:
    def loss(bias, inputs, weights):
        hidden = inputs @ weights + bias
        return np.mean((np.tanh((hidden - hidden.mean(axis=0)) / hidden.std(axis=0)) @ [1.0, -2.0, 0.5]) ** 2)

    told = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        inputs, weights, bias = random.normal(size=(20, 4)), random.normal(size=(4, 3)), random.normal(size=3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = numerical_gradient(loss, bias, args=(inputs, weights), backend="python")
        assert np.abs(found).max() < 1e-12
        told += [str(warning.message) for warning in caught]
    assert told
    assert all("take it for 0 where only f's rounding depends on it" in message for message in told)


@pytest.mark.parametrize(
    ("f", "x", "exact"),
    [
        (
            lambda x: np.cos(2.612 * x[0] * x[1]) + 2.9 * x[0] * x[1] ** 2,
            [-584.0, -1520.0],
            [6697094.788685213, 5147366.313547474],
        ),
        (lambda x: 1e-6 * np.sin(1e7 * x[0]) + x[0] + x[1] ** 2, [1.0, 1.0], [1.0 + 10.0 * np.cos(1e7), 2.0]),
        (lambda x: 1e-4 * np.sin(3e5 * x[0]) + x[0] ** 2, [2.5], [5.0 + 30.0 * np.cos(7.5e5)]),
    ],
)
def test_waves_that_look_like_noise_from_afar_are_resolved(f: Any, x: Any, exact: Any) -> None:
    gradient, info = numerical_gradient(f, x, full_output=True)
    assert (np.abs(gradient - exact) <= info.error).all()
    np.testing.assert_allclose(gradient, exact, rtol=1e-4)
