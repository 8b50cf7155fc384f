"""Plain functions of one point under backend="numpy" and "auto": lifted, and right, or given up for the reference."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import Gradient, TrustWarning, numerical_gradient
from tests.corpus import CORPUS, Problem

EPS = np.finfo(float).eps
SCHEMES = [("central", 2), ("central", 4), ("forward", 1), ("backward", 2), ("complex", 2)]
H = 1e-4


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def scaled(x: Any, a: Any, power: int = 2) -> Any:
    return np.sum(a * x**power) + np.prod(np.cos(x))


def spot(*shape: int) -> Any:
    return np.random.default_rng(5).normal(size=shape)


def rounding(f: Any, x: Any, args: tuple[Any, ...], h: float = H) -> float:
    """What the rounding of f's values may make of a difference quotient."""
    return 400.0 * EPS * max(1.0, abs(float(np.ravel(f(x.copy(), *args))[0]))) / h


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["numpy", "auto", "prepared"])
@pytest.mark.parametrize("problem", CORPUS, ids=lambda p: p.name)
def test_corpus(problem: Problem, backend: str) -> None:
    w = problem.at(40) if problem.scales and backend == "auto" else problem.workload()
    expected = numerical_gradient(w.f, w.x, H, args=w.args, backend="python")
    before = w.x.copy()
    if backend == "numpy":
        try:
            results = [numerical_gradient(w.f, w.x, H, args=w.args, backend="numpy")]
        except TypeError as error:
            assert "lift" in str(error) or "read" in str(error)  # noqa: PT017 - what cannot be lifted says so
            return
    elif backend == "auto":
        results = [numerical_gradient(w.f, w.x, H, args=w.args)]
    else:
        prepared = Gradient(w.f, H, args=w.args)
        results = [prepared(w.x) for _ in range(4)]
    for result in results:
        assert_allclose(result, expected, rtol=1e-9, atol=rounding(w.f, w.x, w.args))
    assert_array_equal(w.x, before)


def test_most_of_the_corpus_is_lifted() -> None:
    count = 0
    for problem in CORPUS:
        w = problem.workload()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                numerical_gradient(w.f, w.x, H, args=w.args, backend="numpy")
            except (TypeError, ValueError):
                continue
        count += 1
    assert len(CORPUS) >= 80
    assert count >= 0.85 * len(CORPUS)


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("shape", [(12,), (300,), (6, 5), (3, 4, 2)])
def test_methods_orders_and_shapes(method: str, order: int, shape: tuple[int, ...]) -> None:
    x = 0.3 * spot(*shape)
    a = spot(*shape)
    for f, args, kwargs in ((lambda x: rosenbrock(x.ravel()), (), {}), (scaled, (a,), {"power": 3})):
        options: dict[str, Any] = {"args": args, "kwargs": kwargs, "method": method, "order": order}
        h = None if method == "complex" else 2.0**-13
        got, info = numerical_gradient(f, x, h, backend="numpy", full_output=True, **options)
        expected = numerical_gradient(f, x, h, backend="python", **options)
        assert got.shape == shape
        assert info.backend == "numpy"
        assert_allclose(got, expected, rtol=1e-8, atol=3e-8)


@pytest.mark.parametrize("h", [None, 1e-4])
@pytest.mark.parametrize("n", [2, 35, 400])
def test_default_and_given_steps(h: float | None, n: int) -> None:
    x = spot(n)
    expected = numerical_gradient(rosenbrock, x, h, backend="python")
    for backend in ("numpy", "auto"):
        got = numerical_gradient(rosenbrock, x, h, backend=backend)
        assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_dense_lift_is_bit_identical() -> None:
    x = spot(20)
    expected = numerical_gradient(rosenbrock, x, H, backend="python")
    got, info = numerical_gradient(rosenbrock, x, H, full_output=True)
    assert info.backend == "numpy"
    assert_array_equal(got, expected)


def test_sparse_lift_is_at_least_as_accurate() -> None:
    x = spot(1000)
    slope = 2.0 * x + np.cos(x)
    f = lambda x: np.sum(x**2 + np.sin(x))  # noqa: E731
    loop, lift = (numerical_gradient(f, x, 1e-6, backend=b) for b in ("python", "numpy"))
    assert np.abs(lift - slope).max() < np.abs(loop - slope).max()


def test_indices_bounds_and_retries() -> None:
    x = np.abs(spot(50)) + 0.1
    f = lambda x: np.sum(np.log(x)) + x @ x  # noqa: E731
    for options in ({"indices": [3, 7, 40, 2]}, {"bounds": (x - 1e-6, np.inf)}):
        got = numerical_gradient(f, x, H, backend="numpy", **options)
        assert_allclose(got, numerical_gradient(f, x, H, backend="python", **options), atol=rounding(f, x, ()))


def test_not_finite_to_one_side_is_tried_to_the_other() -> None:
    x = np.abs(spot(60)) + 0.1
    x[4] = 0.0
    f = lambda x: np.sum(np.sqrt(x)) + np.sum(x)  # noqa: E731
    with np.errstate(invalid="ignore"):
        got = numerical_gradient(f, x, H, backend="auto")
        assert_allclose(got, numerical_gradient(f, x, H, backend="python"), rtol=1e-6)


def test_evaluations_are_counted() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return rosenbrock(x)

    x = spot(30)
    _, info = numerical_gradient(f, x, H, backend="numpy", full_output=True)
    assert info.nfev >= 60 + calls - 2  # one call for all points, the others for one
    assert calls < 10


# What must not be lifted


def test_what_stops_a_lift_is_named() -> None:
    def uses_float(x: Any) -> Any:
        scale = float(x[0])
        return scale * np.sum(x)

    with pytest.raises(TypeError, match=r"(?s)float\(\).*uses_float, line \d+: scale = float"):
        numerical_gradient(uses_float, spot(50), H, backend="numpy")
    _, info = numerical_gradient(uses_float, spot(500), H, full_output=True)
    assert info.backend == "python"


@pytest.mark.parametrize("n", [5, 40, 400])
@pytest.mark.parametrize("backend", ["numpy", "auto", "prepared"])
def test_closures_over_the_callers_array(n: int, backend: str) -> None:
    x = spot(n)
    kinds = [
        (lambda w: np.sum(x**2), 2.0 * x),
        (lambda w: np.sum(w**2) + np.sum(np.sin(x)), 2.0 * x + np.cos(x)),
        (lambda w: np.sum(w**2) + x[3] ** 2, 2.0 * x + 2.0 * x * (np.arange(n) == 3)),
        (lambda w: np.sum(w * x.copy()), 2.0 * x),
    ]
    for f, expected in kinds:
        before = x.copy()
        if backend == "numpy":
            with pytest.raises((TypeError, ValueError)):
                numerical_gradient(f, x, H, backend="numpy")
        elif backend == "auto":
            assert_allclose(numerical_gradient(f, x, H), expected, atol=1e-6)
        else:
            prepared = Gradient(f, H)
            for _ in range(4):
                assert_allclose(prepared(x), expected, atol=1e-6)
        assert_array_equal(x, before)


@pytest.mark.parametrize("n", [40, 400])
def test_noise_falls_back_and_is_named(n: int) -> None:
    draws = np.random.default_rng(0)
    f = lambda x: np.sum(x**2) + 1e-3 * draws.normal()  # noqa: E731
    # a generator that f holds is seen before f is lifted, so that nothing is wasted and nothing warned of
    _, info = numerical_gradient(f, spot(n), H, full_output=True)
    assert info.backend == "python"
    assert "Generator" in info.reason
    with pytest.raises(ValueError, match="deterministic"):
        numerical_gradient(f, spot(n), H, backend="numpy")


@pytest.mark.parametrize("n", [40, 400])
def test_side_effects_that_change_the_value(n: int) -> None:
    count = 0

    def f(x: Any) -> Any:
        nonlocal count
        count += 1
        return np.sum(x**2) + 0.01 * count

    with pytest.raises(ValueError, match="alone"):
        numerical_gradient(f, spot(n), H, backend="numpy")


def test_fs_own_exception_comes_through() -> None:
    class Unlucky(Exception):
        pass

    def f(x: Any) -> Any:
        raise Unlucky("13")

    for backend in ("numpy", "auto"):
        with pytest.raises(Unlucky, match="13"):
            numerical_gradient(f, spot(60), H, backend=backend)


def test_a_vector_is_named() -> None:
    for backend in ("numpy", "auto"):
        with pytest.raises(ValueError, match="must return one"):
            numerical_gradient(lambda x: x**2, spot(60), H, backend=backend)


def test_batched_functions_take_the_shortest_way() -> None:
    def several(points: Any) -> Any:
        calls.append(len(points))
        return np.sum(points**2, axis=1)

    calls: list[int] = []
    x = spot(9)
    gradient = Gradient(several, H, batch_axis=0)
    for _ in range(3):
        assert_allclose(gradient(x), 2 * x, rtol=1e-9)
    assert calls == 3 * [18, 1]
    last = Gradient(lambda points: np.sum(points**2, axis=0), H, batch_axis=-1)
    assert_allclose(last(x), gradient(x), rtol=1e-9)
    coupled = Gradient(lambda points: np.sum(points**2, axis=1) - np.mean(points), H, batch_axis=0)
    with pytest.warns(TrustWarning, match="influence"):
        coupled(x)
    with pytest.raises(ValueError, match="influence"):
        Gradient(coupled.f, H, batch_axis=0, backend="numpy")(x)


def test_a_loop_over_entries_is_given_up_early() -> None:
    """An attempt that cannot pay stops: f counts the operations that it does in lifts."""
    done = 0

    def f(x: Any) -> float:
        nonlocal done
        total = 0.0
        for v in x:
            done += 1
            total = total + v * v
        return total

    x = spot(60)
    numerical_gradient(f, x, H)
    assert done < 1.5 * 60 * 120
