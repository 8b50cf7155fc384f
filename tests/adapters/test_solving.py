"""SciPy's solvers within installed(): no more evaluations, the same minima, and minima that SciPy does not reach."""

from __future__ import annotations

import threading
from inspect import signature
from typing import Any

import numpy as np
import pytest
import scipy
from numpy.typing import NDArray
from scipy.optimize import (
    _differentiable_functions,
    curve_fit,
    fmin_slsqp,
    least_squares,
    minimize,
    root,
    rosen,
    rosen_der,
)

from benchmarks.speed import BADLY_SCALED, SOLVED
from fastgrad.adapters.scipy import installed
from fastgrad.adapters.solving import Run, VectorRun

SCIPY = tuple(map(int, scipy.__version__.split(".")[:2]))
QUICK = [name for name in SOLVED if not name.startswith(("chained", "rosenbrock 20"))]


@pytest.mark.parametrize("solver", ["BFGS", "L-BFGS-B"])
@pytest.mark.parametrize("name", QUICK)
def test_the_same_minimum_for_hardly_more(name: str, solver: str) -> None:
    """Beyond SciPy's: a lift's check at a few points, and central differences at one near the end."""
    f, x = SOLVED[name]
    theirs = minimize(f, x, method=solver)
    with installed():
        ours = minimize(f, x, method=solver)
    assert ours.success
    assert ours.fun <= theirs.fun + 1e-8
    assert ours.nfev <= 1.06 * theirs.nfev + 2 * x.size


@pytest.mark.parametrize("name", ["brown_badly_scaled 2", "rosenbrock_of_units 2", "stiff_bowl 4"])
def test_where_scipy_stops_early(name: str) -> None:
    f, x = BADLY_SCALED[name]
    assert minimize(f, x, method="BFGS").fun > 1e-7
    with installed():
        assert minimize(f, x, method="BFGS").fun < 1e-14


def test_a_run_knows_nothing_of_others() -> None:
    """The same run gives the same bits: after others, beside one in another thread, and within one."""
    f, x = SOLVED["beale 2"]
    results: list[Any] = []

    def solve() -> None:
        with installed():
            results.append(minimize(f, x, method="BFGS"))

    def nested(y: NDArray[Any]) -> float:
        return float(f(y)) + 0.0 * float(minimize(lambda z: z @ z, y, options={"maxiter": 1}).fun)

    solve()
    with installed():
        minimize(BADLY_SCALED["stiff_bowl 4"][0], np.zeros(4))
        inside = minimize(nested, x, method="BFGS")
    threads = [threading.Thread(target=solve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tuple(r.x), r.nfev) for r in results}) == 1
    np.testing.assert_array_equal(inside.x, results[0].x)


@pytest.mark.parametrize("method", ["2-point", "3-point"])
def test_a_run_goes_on_to_better_differences(method: str) -> None:
    """Far away they are simple; where they would be wrong they are not; and far away they are simple again."""

    def f(x: NDArray[Any]) -> Any:
        return np.sum(np.cosh(x) * [1.0, 1e4])

    run, nfev = Run(f, method, (), None), []
    for scale in (1.0, 0.9, 1e-7, 1e-9, 0.9, 1.0):
        x = scale * np.array([1.0, 0.5])
        slope, count = run.gradient(x, f(x))
        exact = np.sinh(x) * [1.0, 1e4]
        assert np.linalg.norm(slope - exact) <= 0.1 * np.linalg.norm(exact)
        nfev.append(count)
    simple = 2 if method == "2-point" else 4
    assert nfev[0] == nfev[1] == simple
    assert nfev[2] > simple or method == "3-point"


def test_one_side_is_enough_again_where_the_curvature_is_known() -> None:
    """Near a minimum central differences are made once or twice; their second derivatives correct the later ones."""

    def f(x: NDArray[Any]) -> Any:
        return np.sum(np.cosh(x) * [1.0, 1e4])

    run, nfev = Run(f, "2-point", (), None), []
    x = np.array([1.0, 0.5])
    for scale in 0.2 ** np.arange(10):
        slope, count = run.gradient(scale * x, f(scale * x))
        exact = np.sinh(scale * x) * [1.0, 1e4]
        assert np.linalg.norm(slope - exact) <= 0.1 * np.linalg.norm(exact)
        nfev.append(count)
    assert max(nfev) == 6
    assert nfev.count(2) >= 7


def test_lifted_values_are_checked_at_some_points() -> None:
    """At the first two, and at every eighth; a lift that is refused once is not tried again."""
    calls = [0]

    def dense(x: NDArray[Any]) -> Any:
        return np.sum((x[1:] - x[:-1] ** 2) ** 2)

    run, start = Run(dense, "2-point", (), None), np.linspace(0.5, 1.0, 12)
    nfev = [run.gradient(start + 0.01 * k, dense(start + 0.01 * k))[1] for k in range(10)]
    assert nfev == [13, 13, 12, 12, 12, 12, 12, 12, 13, 12]

    def refused(x: NDArray[Any]) -> Any:
        calls[0] += 1
        return float(np.sum((x[1:] - x[:-1] ** 2) ** 2))

    run = Run(refused, "2-point", (), None)
    for k in range(5):
        f0 = refused(start + 0.01 * k)
        calls[0] = 0
        nfev[k] = run.gradient(start + 0.01 * k, f0)[1]
    assert nfev[4] == calls[0] == 12


@pytest.mark.parametrize("method", ["2-point", "3-point"])
def test_jacobians_of_a_run(method: str) -> None:
    """Simple where they are good enough for the sum of squares, closer where that needs it; f is called as often."""
    t = np.linspace(0.0, 2.0, 9)
    calls = [0]

    def f(x: NDArray[Any]) -> Any:
        calls[0] += 1
        return x[0] * np.exp(-x[1] * t) - np.cos(t)

    run = VectorRun(method)
    for away in (1.0, 0.3, 0.1, 1e-3, 1e-5):
        x = np.array([1.0 + away, 0.5])
        exact = np.stack([np.exp(-x[1] * t), -x[0] * t * np.exp(-x[1] * t)], axis=1)
        f0 = f(x)
        calls[0] = 0
        slope, nfev = run.jacobian(f, x, f0)
        assert slope.shape == (9, 2)
        assert nfev == calls[0] <= 8
        np.testing.assert_allclose(slope, exact, atol=1e-6 if method == "2-point" else 1e-9)
    assert run.jacobian(f, x, f0)[1] == 0


def test_solvers_of_many_values() -> None:
    """The Jacobian at the end is better than SciPy's, and MINPACK evaluates f no more often."""
    t = np.linspace(0.0, 4.0, 30)
    seen = 2.5 * np.exp(-1.3 * t) + 0.05 * np.cos(40.0 * t)

    def residuals(p: NDArray[Any]) -> Any:
        return p[0] * np.exp(-p[1] * t) - seen

    def wrong(found: Any) -> float:
        p = found.x
        exact = np.stack([np.exp(-p[1] * t), -p[0] * t * np.exp(-p[1] * t)], axis=1)
        return float(np.abs(found.jac - exact).max())

    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    theirs, equations = least_squares(residuals, [1.0, 1.0], **tight), lambda x: [x[0] + x[1] - 3.0, x[0] * x[1] - 2.0]
    alone = root(equations, [0.0, 5.0])
    with installed():
        ours, within = least_squares(residuals, [1.0, 1.0], **tight), root(equations, [0.0, 5.0])
        fit, _ = curve_fit(lambda t, a, b: a * np.exp(-b * t), t, seen)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-6)
    np.testing.assert_allclose(fit, theirs.x, atol=1e-6)
    # older versions do not tell one run of least_squares from another: then its Jacobians know nothing of each other
    has_runs = hasattr(_differentiable_functions, "_VectorFunWrapper")
    assert wrong(ours) <= (0.1 if has_runs else 1.0) * wrong(theirs)
    np.testing.assert_allclose(within.x, alone.x, atol=1e-9)
    assert within.nfev <= alone.nfev


@pytest.mark.skipif(SCIPY < (1, 16), reason="older SLSQP's course hangs on last digits, and fails here with its own")
@pytest.mark.parametrize("jac", [None, "3-point"])
def test_constraints_are_evaluated_no_more_often_than_by_scipy(jac: str | None) -> None:
    """Numbers, vectors and arguments, between bounds: each has a run of its own, and is known where it was seen."""

    def solved() -> tuple[Any, list[int]]:
        counts = [0, 0]

        def product(x: NDArray[Any], least: float) -> Any:
            counts[0] += 1
            assert (x >= 1.0).all()
            assert (x <= 5.0).all()
            return np.prod(x) - least

        def rest(x: NDArray[Any]) -> Any:
            counts[1] += 1
            return [x @ x - 40.0, (x[0] - 1.0) * x[2]]

        constraints = [
            {"type": "ineq", "fun": product, "args": (25.0,)},
            {"type": "eq", "fun": rest},
            {"type": "ineq", "fun": lambda x: x[1] - 1.5, "jac": lambda x: np.eye(4)[1]},
        ]
        f = lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]  # noqa: E731
        start, bounds = np.array([1.0, 5.0, 5.0, 1.0]), [(1, 5)] * 4
        return minimize(f, start, method="SLSQP", jac=jac, bounds=bounds, constraints=constraints), counts

    theirs, at_most = solved()
    with installed():
        ours, counts = solved()
    assert theirs.success
    assert ours.success
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-7)
    assert ours.nit == theirs.nit
    assert all(mine <= yours for mine, yours in zip(counts, at_most, strict=True)), (counts, at_most)


@pytest.mark.parametrize("solver", ["L-BFGS-B", "SLSQP"])
def test_beside_a_bound_both_points_are_on_its_other_side(solver: str) -> None:
    start, bounds = np.array([3.0, -1.0, 0.0, 1.0]), [(0, 3), (-1, 3), (0, 3), (0, 3)]

    def powell(x: NDArray[Any]) -> Any:
        return (x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4

    theirs = minimize(powell, start, method=solver, jac="3-point", bounds=bounds)
    with installed():
        ours = minimize(powell, start, method=solver, jac="3-point", bounds=bounds)
    assert ours.nfev <= theirs.nfev
    assert ours.fun <= theirs.fun + 1e-9
    run, edge = Run(powell, "3-point", (), tuple(np.transpose(bounds))), np.array([0.0, 3.0, 0.0, 3.0])
    slope, nfev = run.gradient(edge, powell(edge))
    exact = np.array([60.0 - 1080.0, 600.0 + 108.0, -30.0 - 216.0, 30.0 + 1080.0])
    np.testing.assert_allclose(slope, exact, rtol=1e-8)
    assert nfev == 8


def test_constraints_in_the_older_manner_and_where_they_end() -> None:
    f, circle = (lambda x: (x[0] - 2.0) ** 2 + x[1] ** 2), (lambda x: np.array([1.0 - x @ x]))
    with installed():
        x = fmin_slsqp(f, [0.5, 0.5], f_ieqcons=circle, iprint=0)
        root = {"type": "ineq", "fun": lambda x: 1.0 - np.sqrt(x[0])}
        with np.errstate(invalid="ignore"):
            ended = minimize(lambda x: (x[0] + 1.0) ** 2, [0.3], constraints=root, options={"maxiter": 20})
    assert f(x) == pytest.approx(1.0, abs=1e-6)
    assert abs(circle(x)[0]) < 1e-6
    assert ended.nfev > 0


@pytest.mark.filterwarnings("ignore:Values in x were outside bounds")  # older SLSQP's own
def test_bounds_are_kept() -> None:
    lower, upper = np.array([0.1, -1.0, 2.0]), np.array([3.0, 0.5, 2.0])

    def f(x: NDArray[Any]) -> Any:
        assert np.all((lower <= x) & (x <= upper)), x
        return np.sum((x - [0.0, 2.0, 1.0]) ** 2)

    with installed():
        for solver in ("L-BFGS-B", "SLSQP"):
            found = minimize(f, [1.0, 0.0, 2.0], method=solver, bounds=list(zip(lower, upper, strict=True)))
            np.testing.assert_allclose(found.x, [0.1, 0.5, 2.0], atol=1e-7)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_f_ends() -> None:
    """A trial point outside of f's domain is the solver's affair, as it is without fastgrad."""
    with installed():
        for f in (lambda x: x[0] - np.log(x[0]), lambda x: np.inf if x[0] <= 0 else x[0] - np.log(x[0])):
            assert minimize(f, [5.0]).x == pytest.approx(1.0, abs=1e-5)
        assert np.isnan(minimize(lambda x: np.nan * x[0], [5.0]).fun)
        flat = minimize(lambda x: 1.0, [5.0, 1.0])
    assert flat.success
    np.testing.assert_array_equal(flat.x, [5.0, 1.0])


def test_single_precision() -> None:
    """f gets what it is given elsewhere, and coarse values get steps that look at how coarse they are."""
    t, p = np.linspace(0, 1, 50, dtype=np.float32), np.array([0.5, -0.25])
    y = (p[0] + p[1] * t).astype(np.float32)
    with installed():
        found = least_squares(lambda q: (q[0] + q[1] * t).astype(np.float32) - y, [-1.0, -1.0])
    np.testing.assert_allclose(found.x, p, atol=1e-4)

    def narrow(x: NDArray[Any]) -> Any:
        assert x.dtype == np.float32
        return np.sum((x - 1) ** 2)

    with installed():
        assert minimize(narrow, np.zeros(2, np.float32)).fun < 1e-6


def rough(x: NDArray[Any]) -> float:
    """Take one entry after the other: no lift does."""
    return float(sum(float(a) ** 4 - float(a) + 0.1 * abs(float(a)) for a in x) + x[0] * x[1])


def valley(x: NDArray[Any]) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def residuals(x: NDArray[Any]) -> NDArray[Any]:
    return np.append(10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1])


class Recorder:
    """A map that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, function: Any, points: Any) -> Any:
        self.calls += 1
        return map(function, points)


def takes_workers() -> bool:
    return "workers" in signature(least_squares).parameters


@pytest.mark.skipif(not takes_workers(), reason="SciPy's solvers take no `workers` yet")
@pytest.mark.parametrize("n", [2, 14])
@pytest.mark.parametrize("f", [valley, rough])
@pytest.mark.parametrize("solver", ["BFGS", "L-BFGS-B", "SLSQP", "CG", "trust-constr"])
def test_workers_change_no_bit_of_a_minimum(solver: str, f: Any, n: int) -> None:
    x, workers = np.linspace(-1.2, 1.5, n), Recorder()
    with installed():
        alone = minimize(f, x, method=solver, options={"maxiter": 20})
        shared = minimize(f, x, method=solver, options={"maxiter": 20, "workers": workers})
    assert shared.x.tobytes() == alone.x.tobytes()
    assert shared.nfev == alone.nfev
    assert bool(workers.calls) == (f is rough or n == 2)  # a lift runs f once


@pytest.mark.skipif(not takes_workers(), reason="SciPy's solvers take no `workers` yet")
@pytest.mark.parametrize("jac", ["2-point", "3-point"])
@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_workers_change_no_bit_of_a_fit(method: str, jac: str) -> None:
    workers = Recorder()
    with installed():
        alone = least_squares(residuals, np.linspace(-1.2, 1.5, 4), jac, method=method)
        shared = least_squares(residuals, np.linspace(-1.2, 1.5, 4), jac, method=method, workers=workers)
    assert shared.x.tobytes() == alone.x.tobytes()
    assert shared.nfev == alone.nfev
    assert workers.calls > 1


@pytest.mark.parametrize("hess", ["2-point", "3-point"])
@pytest.mark.parametrize("solver", ["trust-constr", "trust-ncg", "trust-krylov"])
def test_products_of_a_hessian_cost_no_more_gradients(solver: str, hess: str) -> None:
    calls = [0]

    def gradient(x: NDArray[Any]) -> Any:
        calls[0] += 1
        return rosen_der(x)

    def solve() -> int:
        calls[0] = 0
        assert minimize(rosen, np.linspace(-1.0, 1.5, 3), jac=gradient, hess=hess, method=solver).fun < 1e-8
        return calls[0]

    theirs = solve()
    with installed():
        assert solve() <= theirs
