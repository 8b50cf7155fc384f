"""check_gradient: right gradients are right, wrong ones wrong, whatever the scales, and nobody's x is changed."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks.accuracy import points
from benchmarks.accuracy_problems import FAMILIES
from benchmarks.problems import PROBLEMS
from fastgrad import GradientCheck, check_gradient

DIRECTIONS = [None, 1, 3]
FAULTS = {"1 % more": 1.01, "1 % less": 0.99, "twice": 2.0, "none": 0.0, "flipped": -1.0}


def with_fault(gradient: Any, i: int, factor: float) -> Any:
    wrong = np.array(gradient, float)
    wrong.flat[i] *= factor
    return wrong


# --- how many are caught -------------------------------------------------------------------------


def instances() -> Iterator[tuple[str, Any, Any, Any]]:
    """Functions of many kinds with their exact gradients: name, f, x, gradient."""
    for name, problem in PROBLEMS.items():
        if problem.unavailable:
            continue
        n = max((n for n in problem.sizes if n <= 12), default=min(problem.sizes))
        if problem.operations(n) < 1e6:
            x, args = problem.make(n)
            yield name, lambda x, f=problem.f, args=args: f(x, *args), x, problem.gradient(x, *args)
    hard = [family.instance(seed) for family in FAMILIES.values() for seed in (31, 32)]
    for case in (*hard, *points(31)[::4]):
        yield f"{case.kind}, {case.family}, {case.seed}", case, case.x, case.gradient()


@pytest.fixture(scope="module")
def bed() -> list[tuple[str, Any, Any, Any]]:
    return list(instances())


@pytest.mark.parametrize(
    ("directions", "least"),
    [(1, 0.97), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((None, 0.995), (4, 0.97)))],
)
def test_of_wrong_entries_nearly_all_are_caught(bed: Any, directions: int | None, least: float) -> None:
    missed, tried, false, unknown = [], 0, [], []
    for name, f, x, gradient in bed:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        with np.errstate(all="ignore"):
            verdict = check_gradient(f, gradient, x, directions=directions).verdict
            if verdict == "wrong":
                false.append(name)
            if verdict == "cannot tell":
                unknown.append(name)
            for fault, factor in FAULTS.items():
                i = int(rng.choice(np.flatnonzero(gradient)))
                tried += 1
                if check_gradient(f, with_fault(gradient, i, factor), x, directions=directions).verdict != "wrong":
                    missed.append(f"{name}, {fault}, entry {i}")
    assert tried > 700
    assert len(missed) <= (1.0 - least) * tried, missed
    assert len(false) < 0.01 * len(bed), false
    assert len(unknown) <= 0.02 * len(bed), unknown


# --- scales --------------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", [None, 3])
@pytest.mark.parametrize("low", [-9, -5, 0])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_component_on_its_own_scale(low: int, directions: int | None, fault: str) -> None:
    """However small it is beside the others."""
    scale = np.logspace(low, 9, 7)
    x = scale * np.random.default_rng(low + 20).uniform(0.5, 2.0, 7)
    for f, gradient in (
        (lambda x: np.sum((x / scale) ** 3), 3 * x**2 / scale**3),
        (lambda x: np.sum(np.log(x)), 1 / x),
        (lambda x: np.sum(np.cos(x / scale)), -np.sin(x / scale) / scale),
    ):
        assert check_gradient(f, gradient, x, directions=directions).verdict == "right"
        for i in range(7):
            wrong = with_fault(gradient, i, FAULTS[fault])
            assert check_gradient(f, wrong, x, directions=directions).verdict == "wrong", f"entry {i}"


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_x_far_below_the_scale_of_f(directions: int | None) -> None:
    x = np.array([1e-12, -3e-13, 2e-12])
    f = lambda x: np.sum(np.exp(2 * x) * np.arange(1.0, 4.0))  # noqa: E731
    gradient = 2 * np.exp(2 * x) * np.arange(1.0, 4.0)
    assert check_gradient(f, gradient, x, directions=directions).verdict == "right"
    for i in range(3):
        for factor in FAULTS.values():
            assert check_gradient(f, with_fault(gradient, i, factor), x, directions=directions).verdict == "wrong"


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_components_without_effect(directions: int | None) -> None:
    x = np.array([0.3, -2.0, 5.0, 1.0])
    f = lambda x: np.sin(x[0]) + x[2] ** 2  # noqa: E731
    gradient = np.array([np.cos(0.3), 0.0, 10.0, 0.0])
    assert check_gradient(f, gradient, x, directions=directions)
    for i in (1, 3):
        wrong = gradient.copy()
        wrong[i] = 1e-3
        assert check_gradient(f, wrong, x, directions=directions).verdict == "wrong"


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_where_the_gradient_vanishes(directions: int | None) -> None:
    """Nobody asks for the relative accuracy of nothing."""
    for x in (np.zeros(3), np.array([1.0, -2.0, 1e3])):
        f = lambda y, x=x: np.sum((y - x) ** 2)  # noqa: E731
        assert check_gradient(f, np.zeros(3), x, directions=directions).verdict == "right"
        assert check_gradient(f, np.array([0.0, 1e-3, 0.0]), x, directions=directions).verdict == "wrong"


# --- what f reads --------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("make", [np.array, list, lambda v: np.array(v)[::-1], lambda v: np.array([v, v])[:, :2]])
def test_closures_over_the_callers_x(make: Any, directions: int | None) -> None:
    x = make([0.5, 2.0, -1.5])
    values = np.array(x, float)
    kept = values.copy()
    f = lambda _: float(np.sum(np.sin(np.asarray(x, float))))  # noqa: E731
    assert check_gradient(f, np.cos(values), x, directions=directions).verdict == "right"
    assert check_gradient(f, lambda _: np.cos(np.asarray(x)), x, directions=directions).verdict == "right"
    for i in range(values.size):
        assert check_gradient(f, with_fault(np.cos(values), i, 1.01), x, directions=directions).verdict == "wrong"
    assert_array_equal(np.array(x), kept)


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("stop", [ZeroDivisionError, KeyboardInterrupt])
def test_x_is_put_back_whatever_happens(directions: int | None, stop: type[BaseException]) -> None:
    for x in (np.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]]):
        calls = 0

        def f(_: Any, x: Any = x) -> float:
            nonlocal calls
            calls += 1
            if calls > 4:
                raise stop
            return float(np.sum(np.asarray(x) ** 2))

        with pytest.raises(stop):
            check_gradient(f, 2 * np.asarray(x), x, directions=directions)
        assert_array_equal(np.asarray(x), [[1.0, 2.0], [3.0, 4.0]])


def test_the_textbooks_network() -> None:
    rng = np.random.default_rng(0)
    data, target, W = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), rng.normal(size=(3, 2))

    class Layer:
        def __init__(self) -> None:
            self.W = W

        def loss(self) -> Any:
            return 0.5 * np.sum((np.tanh(data @ self.W) - target) ** 2)

    layer = Layer()
    out = np.tanh(data @ W)
    gradient = data.T @ ((out - target) * (1 - out**2))
    for directions in DIRECTIONS:
        assert check_gradient(lambda _: layer.loss(), gradient, W, directions=directions)
        assert not check_gradient(lambda _: layer.loss(), gradient * 1.01, W, directions=directions)


# --- kinks, noise, edges -------------------------------------------------------------------------


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_at_a_kink_every_slope_between_is_right(directions: int | None) -> None:
    x = np.array([0.0, 1.0, 0.0, -2.0])
    for f, low, high, rest in (
        (lambda x: np.sum(np.abs(x)), -1.0, 1.0, [1.0, -1.0]),
        (lambda x: np.sum(np.maximum(x, 0.0)), 0.0, 1.0, [1.0, 0.0]),
        (lambda x: np.sum(np.where(x > 0, 3 * x, x)) + np.sum(x**2), 1.0, 3.0, [5.0, -3.0]),
    ):
        for share in (0.0, 0.3, 0.5, 1.0):
            slope = low + share * (high - low)
            gradient = np.array([slope, rest[0], slope, rest[1]])
            assert check_gradient(f, gradient, x, directions=directions).verdict == "right", slope
            assert check_gradient(f, with_fault(gradient, 1, 1.1), x, directions=None).verdict == "wrong"
        for slope in (low - 0.2, high + 0.2):
            gradient = np.array([slope, rest[0], slope, rest[1]])
            assert check_gradient(f, gradient, x, directions=None).verdict == "wrong", slope


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-6, 1e-7])
def test_beside_a_kink(distance: float) -> None:
    """Nothing but the slope on x's own side is right, as long as it can be seen."""
    x = np.array([0.7, distance, -1.2])
    f = lambda x: np.sum(np.abs(x)) + np.sum(np.exp(x))  # noqa: E731
    gradient = np.sign(x) + np.exp(x)
    assert check_gradient(f, gradient, x).verdict == "right"
    assert check_gradient(f, with_fault(gradient, 0, 1.01), x).verdict == "wrong"


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_single_precision_inside(directions: int | None) -> None:
    """Judged at its own precision: right is right, and one per cent is seen."""
    rng = np.random.default_rng(3)
    for n in (2, 5, 30):
        W = (rng.normal(size=(8, n)) / np.sqrt(n)).astype(np.float32)
        x = rng.normal(size=n)
        wide = W.astype(float)
        t = np.tanh(wide @ x)
        gradient = wide.T @ (1 - t * t) + 1.0
        f = lambda x, W=W: float(np.sum(np.tanh(W @ x.astype(np.float32))) + np.sum(x.astype(np.float32)))  # noqa: E731
        assert check_gradient(f, gradient, x, directions=directions).verdict == "right"
        assert check_gradient(f, gradient * 1.05, x, directions=directions).verdict == "wrong"


def test_a_gradient_of_single_precision() -> None:
    x = np.array([0.3, 2.0, -1.0])
    assert check_gradient(lambda x: np.sum(np.exp(x)), np.exp(x).astype(np.float32), x)


def test_noise_is_no_proof() -> None:
    """Where f shows no digit, nothing is confirmed and nothing is called wrong."""
    f = lambda x: np.sum(x) + 1e3 * (zlib.crc32(x.tobytes()) / 2**31 - 1)  # noqa: E731
    report = check_gradient(f, np.ones(2), np.array([1.0, 2.0]))
    assert report.verdict == "cannot tell"
    assert not report
    assert "cannot tell" in str(report)
    assert all(report.reasons)


def test_an_infinite_slope() -> None:
    for given in (0.0, 1.0, np.inf):
        assert check_gradient(lambda x: np.sqrt(x[0]), np.array([given]), np.zeros(1)).verdict == "cannot tell"


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_within_bounds(directions: int | None) -> None:
    def f(x: Any) -> Any:
        assert (x >= 0.0).all()
        assert (x <= 4.0).all()
        return np.sum(x**2) + x[0] * x[3]

    x = np.array([0.0, 1.0, 4.0, 2.0])
    gradient = 2 * x + np.array([2.0, 0.0, 0.0, 0.0])
    for bounds in ((0.0, 4.0), [(0, 4), (0, 4), (0, 4), (2, 2)]):
        assert check_gradient(f, gradient, x, bounds=bounds, directions=directions).verdict == "right"
        for i in range(3):
            wrong = with_fault(gradient, i, 1.01)
            assert check_gradient(f, wrong, x, bounds=bounds, directions=directions).verdict == "wrong"


# --- the call, and what it returns ---------------------------------------------------------------


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_shapes_and_arguments(directions: int | None) -> None:
    def f(x: Any, a: float, *, power: int) -> Any:
        return a * np.sum(x**power)

    def gradient(x: Any, a: float, *, power: int) -> Any:
        return a * power * x ** (power - 1)

    for shape in ((), (1,), (2, 3), (2, 1, 2)):
        x = np.linspace(1.0, 2.0, int(np.prod(shape))).reshape(shape)
        options: Any = {"args": (2.0,), "kwargs": {"power": 3}, "directions": directions}
        report = check_gradient(f, gradient, x, **options)
        assert report
        assert report.given.shape == (shape if directions is None else (min(directions, directions),))
        assert not check_gradient(f, lambda x, a, power: 1.01 * gradient(x, a, power=power), x, **options)
    assert check_gradient(lambda x, a: a * x @ x, lambda x, a: 2 * a * x, [1.0, 2.0], args=3.0)


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_a_declared_batch(directions: int | None) -> None:
    x = np.linspace(0.5, 1.0, 4)
    options: Any = {"batch_axis": 0, "directions": directions}
    assert check_gradient(lambda x: np.sum(np.sin(x), axis=-1), np.cos, x, **options)
    assert not check_gradient(lambda x: np.sum(np.sin(x), axis=-1), with_fault(np.cos(x), 2, 1.01), x, **options)


def test_not_finite() -> None:
    x = np.array([1.0, 2.0])
    f = lambda x: np.sum(x**2)  # noqa: E731
    for bad in (np.nan, np.inf, -np.inf):
        report = check_gradient(f, np.array([2.0, bad]), x)
        assert report.verdict == "wrong"
        assert_array_equal(report.wrong, [False, True])
        assert check_gradient(f, np.array([2.0, bad]), x, directions=1).verdict == "wrong"


def test_the_count_is_honest() -> None:
    for directions in DIRECTIONS:
        for gradient in (2 * np.ones(5), np.arange(5.0)):
            calls = 0

            def f(x: Any) -> Any:
                nonlocal calls
                calls += 1
                return np.sum(x**2)

            report = check_gradient(f, gradient, np.ones(5), directions=directions)
            assert report.nfev == calls


def test_the_same_each_time() -> None:
    x = np.random.default_rng(0).normal(size=20)
    f = lambda x: np.sum(np.exp(x) * x[::-1])  # noqa: E731
    gradient = np.exp(x) * x[::-1] + np.exp(x[::-1])
    for directions in DIRECTIONS:
        first, second = (check_gradient(f, gradient, x, directions=directions) for _ in range(2))
        assert_array_equal(first.expected, second.expected)
        assert_array_equal(first.error, second.error)
        assert first.nfev == second.nfev


def test_directions_are_few_evaluations() -> None:
    x = np.random.default_rng(1).normal(size=2000)
    report = check_gradient(lambda x: np.sum(x**4), lambda x: 4 * x**3, x, directions=2)
    assert report
    assert report.nfev < 100
    wrong = with_fault(4 * x**3, 1234, -1.0)
    assert not check_gradient(lambda x: np.sum(x**4), wrong, x, directions=2)


def test_nothing_is_said_but_by_the_report() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gradient(lambda x: np.sum(np.abs(x)), np.zeros(2), np.zeros(2))


def test_the_report() -> None:
    report = check_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2 + [0.0, 0.1], np.array([1.0, 2.0]))
    assert isinstance(report, GradientCheck)
    assert not report
    assert_array_equal(report.wrong, [False, True])
    assert str(report).splitlines()[0] == "the gradient is wrong"
    assert "component 1: given 12.1, numerical 12" in repr(report)
    many = check_gradient(lambda x: np.sum(x**3), np.zeros((3, 4)), np.ones((3, 4)))
    assert str(many).count("component (") == 5  # the worst


WRONG: dict[str, Callable[[], Any]] = {
    "directions": lambda: check_gradient(np.sum, np.ones(2), np.ones(2), directions=0),
    "rtol": lambda: check_gradient(np.sum, np.ones(2), np.ones(2), rtol=-1.0),
    "atol": lambda: check_gradient(np.sum, np.ones(2), np.ones(2), atol=np.nan),
    "grad": lambda: check_gradient(np.sum, np.ones(3), np.ones(2)),
    "f": lambda: check_gradient(None, np.ones(2), np.ones(2)),
    "x": lambda: check_gradient(np.sum, np.ones(2), ["a", "b"]),
    "method": lambda: check_gradient(np.sum, np.ones(2), np.ones(2), method="forward"),
    "backend": lambda: check_gradient(np.sum, np.ones(2), np.ones(2), backend="cuda"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        WRONG[name]()


def test_an_array_of_another_kind_is_named() -> None:
    for bad in (np.array([1j, 2j]), ["a", "b"], np.array([None, 1.0])):
        with pytest.raises(TypeError, match="`grad`"):
            check_gradient(np.sum, bad, np.ones(2))
