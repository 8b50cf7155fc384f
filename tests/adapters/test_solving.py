"""SciPy's solvers within installed(): no more evaluations, the same minima, and minima that SciPy does not reach."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

from benchmarks.speed import BADLY_SCALED, TO_SOLVE
from fastgrad.adapters.scipy import installed
from fastgrad.adapters.solving import Run

QUICK = [name for name in TO_SOLVE if not name.startswith(("chained", "rosenbrock 20"))]


@pytest.mark.parametrize("solver", ["BFGS", "L-BFGS-B"])
@pytest.mark.parametrize("name", QUICK)
def test_the_same_minimum_for_hardly_more(name: str, solver: str) -> None:
    """Beyond SciPy's: a look at the first point, a lift's check at each, and central differences at the end."""
    f, x = TO_SOLVE[name]
    theirs = minimize(f, x, method=solver)
    with installed():
        ours = minimize(f, x, method=solver)
    assert ours.success
    assert ours.fun <= theirs.fun + 1e-8
    assert ours.nfev <= 1.2 * theirs.nfev + ours.njev


@pytest.mark.parametrize("name", ["brown_badly_scaled 2", "rosenbrock_of_units 2", "stiff_bowl 4"])
def test_where_scipy_stops_early(name: str) -> None:
    f, x = BADLY_SCALED[name]
    assert minimize(f, x, method="BFGS").fun > 1e-7
    with installed():
        assert minimize(f, x, method="BFGS").fun < 1e-14


def test_a_run_knows_nothing_of_others() -> None:
    """The same run gives the same bits: after others, beside one in another thread, and within one."""
    f, x = TO_SOLVE["beale 2"]
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

    run, nfev = Run(f, method, (), None, (2,)), []
    for scale in (1.0, 0.9, 1e-7, 1e-9, 0.9, 1.0):
        x = scale * np.array([1.0, 0.5])
        slope, count = run.gradient(x, f(x))
        exact = np.sinh(x) * [1.0, 1e4]
        assert np.linalg.norm(slope - exact) <= 0.1 * np.linalg.norm(exact)
        nfev.append(count)
    simple = 2 if method == "2-point" else 4
    assert nfev[0] <= simple + 1
    assert nfev[1] == simple
    assert nfev[2] > simple or method == "3-point"


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
