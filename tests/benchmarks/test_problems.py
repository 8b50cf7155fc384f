"""The table of problems agrees with itself: every gradient with an independent derivative, every form with f."""

import importlib.util
import itertools
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import problems
from benchmarks.problems import PROBLEMS, cases, workloads

TAGS = {
    "arithmetic", "transcendental", "local", "dense", "branch", "data", "fixed-size", "nd", "complex", "complex-loop",
}  # fmt: skip
SMALL = list(cases(max_n=12)) + list(cases(min_n=13, max_n=100, max_operations=2e7))


def ids(value):
    return str(value)


def point(problem, n):
    if problem.unavailable:
        pytest.skip(problem.unavailable)
    return problem.make(n)


def each(which):
    return pytest.mark.parametrize(("problem", "n"), which, ids=ids)


def complex_step(f, x, direction):
    """Derivative of f at x along `direction`, without truncation or cancellation (Squire, Trapp 1998)."""
    return np.imag(f(x + 1e-30j * direction)) / 1e-30


def ridders(f, x, direction):
    """Derivative of f at x along `direction` by extrapolated central differences (Ridders 1982), and its error."""
    best, error = np.nan, np.inf
    table = []
    for level in range(8):
        h = 4e-3 / 1.6**level
        row = [(f(x + h * direction) - f(x - h * direction)) / (2 * h)]
        for k, previous in enumerate(table):
            factor = 1.6 ** (2 * k + 2)
            row.append((factor * row[k] - previous) / (factor - 1))
            doubt = max(abs(row[k + 1] - row[k]), abs(row[k + 1] - previous))
            if doubt < error:
                best, error = row[k + 1], doubt
        table = row
    return best, error


def check_gradient(problem, n):
    """Compare every component of the exact gradient with a derivative made from f alone."""
    x, args = point(problem, n)
    gradient = problem.gradient(x, *args)
    assert gradient.shape == x.shape
    assert gradient.dtype == np.float64
    units = np.eye(x.size).reshape(x.size, *x.shape)

    def f(z):
        return problem.f(z, *args)

    if "complex" in problem.tags:
        reference = np.array([complex_step(f, x, unit) for unit in units])
        tolerance = 1e-11 * np.abs(reference) + 1e-13 * np.abs(reference).max()
    else:
        reference, doubt = np.array([ridders(f, x, unit) for unit in units]).T
        tolerance = 1e-9 * np.abs(reference) + 1e-10 * np.abs(reference).max()
        assert np.all(doubt < tolerance)
    assert np.all(np.abs(gradient.ravel() - reference) <= tolerance)


def test_the_table_has_what_it_promises():
    assert len(PROBLEMS) >= 28
    for name, problem in PROBLEMS.items():
        assert problem.name == name == problem.f.__name__
        assert problem.source
        assert problem.f.__doc__
        assert problem.tags <= TAGS
        assert len(problem.tags & {"arithmetic", "transcendental"}) == 1
        assert not {"local", "dense"} <= problem.tags
        assert ("fixed-size" in problem.tags) == (len(problem.sizes) == 1)
        assert list(problem.sizes) == sorted(set(problem.sizes))

    def count(tag):
        return sum(tag in problem.tags for problem in PROBLEMS.values())

    assert count("arithmetic") >= 10
    assert count("local") >= 8
    assert count("transcendental") >= 8
    assert count("branch") >= 3
    assert count("nd") >= 2
    assert count("data") >= 5
    assert len(workloads()) >= 5
    assert all(n in problem.sizes and problem.batched for problem, n in workloads())


@each([(problem, problem.sizes[0]) for problem in PROBLEMS.values()])
def test_a_problem_can_be_pickled(problem, n):
    x, args = point(problem, n)
    assert pickle.loads(pickle.dumps(problem)).f(x, *args) == problem.f(x, *args)


@each(list(cases(max_n=1000)))
def test_a_point_is_the_same_each_time_and_shares_nothing(problem, n):
    x, args = point(problem, n)
    y, again = point(problem, n)
    assert x.size == n
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert len(np.unique(x)) == n
    assert (x.ndim > 1) == ("nd" in problem.tags)
    arrays = [a for a in (x, *args) if isinstance(a, np.ndarray)]
    copies = [a for a in (y, *again) if isinstance(a, np.ndarray)]
    for a, b in zip(arrays, copies, strict=True):
        assert a.flags.c_contiguous
        assert np.array_equal(a, b)
    for a, b in itertools.product(arrays, copies):
        assert not np.shares_memory(a, b)
    for a, b in itertools.combinations(arrays, 2):
        assert not np.shares_memory(a, b)


@each(list(cases()))
def test_the_forms_agree_and_leave_their_arguments_alone(problem, n):
    x, args = point(problem, n)
    value = problem.f(x, *args)
    assert isinstance(value, float)
    assert np.isfinite(value)
    gradient = problem.gradient(x, *args)
    assert "data" in problem.tags or np.abs(gradient).min() > 0.0  # some pixels are always white
    # what the rounding of x does to f, times what n roundings add up to; the worst seen is a third of it
    tolerance = (8.0 + np.sqrt(n)) * np.finfo(float).eps * (abs(value) + np.sum(np.abs(gradient * x)))
    assert abs(problem.jitted(x, *args) - value) <= tolerance
    if problem.operations(n) < 1e5:
        assert abs(problem.loop(x, *args) - value) <= tolerance
    if problem.batched is not None:
        points = x * (1.0 + 1e-6 * np.arange(3).reshape(-1, *[1] * x.ndim))
        values = problem.batched(points, *args)
        assert values.shape == (3,)
        assert np.all(np.abs(values - [problem.f(p, *args) for p in points]) <= tolerance)
    y, again = point(problem, n)
    assert np.array_equal(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(args, again, strict=True))


@each(SMALL)
def test_the_gradient_is_right_in_every_component(problem, n):
    check_gradient(problem, n)


@each(list(cases(min_n=13)))
def test_the_gradient_is_right_along_a_direction(problem, n):
    """One evaluation of f, so that it is affordable at every n."""
    x, args = point(problem, n)
    direction = np.random.default_rng(n).choice([-1.0, 1.0], x.shape)
    products = problem.gradient(x, *args) * direction

    def f(z):
        return problem.f(z, *args)

    if "complex" in problem.tags:
        reference, tolerance = complex_step(f, x, direction), 1e-12
    else:
        reference, doubt = np.sqrt(n) * np.array(ridders(f, x, direction / np.sqrt(n)))
        tolerance = 1e-9
        assert doubt < tolerance * np.abs(products).sum()
    assert abs(products.sum() - reference) <= tolerance * np.abs(products).sum()


@each(list(cases(max_n=100, having="branch", without="data")))
def test_the_points_keep_away_from_the_kinks(problem, n):
    """Within 4e-3 along each axis f is smooth: extrapolated differences reach the exact gradient."""
    check_gradient(replace(problem, tags=problem.tags - {"complex"}), n)


@each([case for case in cases(max_n=12, having="complex") if case[0].batched])
def test_batched_takes_complex_points(problem, n):
    x, args = point(problem, n)
    bundle = x + 1e-30j * np.eye(n).reshape(n, *x.shape)
    derivatives = np.imag(problem.batched(bundle, *args)) / 1e-30
    exact = problem.gradient(x, *args).ravel()
    assert derivatives == pytest.approx(exact, rel=1e-11, abs=1e-13 * np.abs(exact).max())


@each(list(cases(max_n=12, having="complex-loop")))
def test_loops_take_complex_points(problem, n):
    x, args = point(problem, n)
    exact = problem.gradient(x, *args).ravel()
    for i in range(n):
        z = x.astype(complex)
        z.flat[i] += 1e-30j
        derivative = np.imag(problem.jitted(z, *args)) / 1e-30
        assert derivative == pytest.approx(exact[i], rel=1e-11, abs=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.0 + 3e-8])
@each([(PROBLEMS["rosenbrock"], 10), (PROBLEMS["huber"], 10), (PROBLEMS["minimal_surface"], 9)])
def test_a_wrong_gradient_is_found(problem, n, factor):
    def wrong(x, *args):
        g = problem.gradient(x, *args)
        g.flat[n // 2] *= factor
        return g

    check_gradient(problem, n)
    with pytest.raises(AssertionError):
        check_gradient(replace(problem, gradient=wrong), n)


# values from the literature: each function bears its name rightly


@pytest.mark.parametrize(
    ("name", "x", "minimum"),
    [
        ("rosenbrock", np.ones(10), 0.0),
        ("extended_rosenbrock", np.ones(10), 0.0),
        ("powell_singular", np.zeros(8), 0.0),
        ("wood", np.ones(8), 0.0),
        ("beale", np.array([3.0, 0.5]), 0.0),
        ("brown_badly_scaled", np.array([1e6, 2e-6]), 0.0),
        ("helical_valley", np.array([1.0, 0.0, 0.0]), 0.0),
        ("box_3d", np.array([1.0, 10.0, 1.0]), 0.0),
        ("variably_dimensioned", np.ones(10), 0.0),
        ("trigonometric", np.zeros(10), 0.0),
        ("brown_almost_linear", np.ones(10), 0.0),
        ("chained_powell", np.zeros(8), 0.0),
        ("ackley", np.zeros(10), 0.0),
        ("rastrigin", np.zeros(10), 0.0),
        ("griewank", np.zeros(10), 0.0),
        ("styblinski_tang", np.full(10, -2.903534027771), -391.6616570377),
        ("levy", np.ones(10), 0.0),
        ("dixon_price", 2.0 ** -(1.0 - 0.5 ** np.arange(10)), 0.0),
        ("zakharov", np.zeros(10), 0.0),
        ("lennard_jones", np.array([0.0, 0.0, 0.0, 2.0 ** (1 / 6), 0.0, 0.0]), -1.0),
        # NIST's certified parameters and residual sums of squares
        ("misra1a", np.array([2.3894212918e2, 5.5015643181e-4]), 1.2455138894e-1),
        (
            "thurber",
            np.array(
                [
                    1.2881396800e3, 1.4910792535e3, 5.8323836877e2, 7.5416644291e1,
                    9.6629502864e-1, 3.9797285797e-1, 4.9727297349e-2,
                ]
            ),
            5.6427082397e3,
        ),
    ],
)  # fmt: skip
def test_the_known_minimum(name, x, minimum):
    problem = PROBLEMS[name]
    args = problem.make(problem.sizes[0])[1]
    assert problem.f(x, *args) == pytest.approx(minimum, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "start", "minimum"),
    [
        # Moré, Garbow and Hillstrom, from their standard starts
        ("kowalik_osborne", np.array([0.25, 0.39, 0.415, 0.39]), 3.07505e-4),
        ("penalty_1", np.arange(1.0, 5.0), 2.24997e-5),
        ("penalty_1", np.arange(1.0, 11.0), 7.08765e-5),
        ("penalty_2", np.full(4, 0.5), 9.37629e-6),
        ("penalty_2", np.full(10, 0.5), 2.93660e-4),
        ("chebyquad", np.arange(1, 8) / 8.0, 0.0),
        ("chebyquad", np.arange(1, 9) / 9.0, 3.51687e-3),
        ("discrete_boundary_value", np.arange(1, 11) / 11.0 * (np.arange(1, 11) / 11.0 - 1.0), 0.0),
        ("discrete_integral_equation", np.arange(1, 11) / 11.0 * (np.arange(1, 11) / 11.0 - 1.0), 0.0),
        ("broyden_tridiagonal", -np.ones(10), 0.0),
        ("broyden_banded", -np.ones(10), 0.0),
        ("chained_cragg_levy", np.array([1.0, 2.0, 2.0, 2.0]), 0.0),
        ("generalized_broyden", -np.ones(10), 0.0),
        ("generalized_brown", np.tile([-1.0, 1.0], 5), 0.0),
    ],
)
def test_descent_reaches_the_known_minimum(name, start, minimum):
    optimize = pytest.importorskip("scipy.optimize")
    problem = PROBLEMS[name]
    args = problem.make(problem.sizes[0])[1]
    options = {"gtol": 1e-10, "maxiter": 5000}
    found = optimize.minimize(problem.f, start, args, jac=problem.gradient, method="BFGS", options=options)
    assert found.fun == pytest.approx(minimum, rel=3e-6, abs=1e-9)


def test_thirteen_atoms_have_the_energy_of_the_icosahedron():
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    corners = [(0.0, s, t * golden) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    shell = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    atoms = np.concatenate([np.zeros((1, 3)), shell]).ravel()
    energies = [PROBLEMS["lennard_jones"].f(scale * atoms) for scale in np.linspace(0.5, 0.6, 2001)]
    assert min(energies) == pytest.approx(-44.326801, abs=1e-6)  # Hoare, Pal 1971


def test_a_matrix_has_its_smallest_quotient_at_an_eigenvector():
    x, (a,) = PROBLEMS["rayleigh_quotient"].make(10)
    values, vectors = np.linalg.eigh(a)
    assert PROBLEMS["rayleigh_quotient"].f(vectors[:, 0], a) == pytest.approx(values[0])
    assert PROBLEMS["quadratic_form"].f(x, a, 0.0 * x) == pytest.approx(0.5 * x @ a @ x)


def test_missing_data_are_reported(monkeypatch):
    problem = PROBLEMS["logistic_regression"]
    assert PROBLEMS["rosenbrock"].unavailable == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "scikit-learn" in problem.unavailable
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    problems._digits.cache_clear()
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        problem.make(64)


def test_cases_keep_their_limits():
    found = list(cases(min_n=3, max_n=100, max_operations=1e6, having="local", without="nd branch"))
    assert len(found) > 10
    for problem, n in found:
        assert 3 <= n <= 100
        assert 2 * n * problem.operations(n) <= 1e6
        assert "local" in problem.tags
        assert not problem.tags & {"nd", "branch"}
    assert list(cases(having="no-such-tag")) == []
    assert len(list(cases())) == sum(len(problem.sizes) for problem in PROBLEMS.values())
