"""Workers, journal, progress, failures and time on every verb: to the bits and with the nfev of backend="python"."""

from __future__ import annotations

import concurrent.futures as cf
import itertools
import math
import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastgrad
from fastgrad import Gradient, Hessian, Jacobian
from fastgrad.core.errors import NonFiniteWarning
from fastgrad.executors.table import executor_for

X = np.linspace(0.2, 0.9, 5)
POINTS = np.random.default_rng(0).normal(size=(9, 5))


def f(x: NDArray[Any]) -> float:
    """Cannot be lifted."""
    return math.fsum(math.sin(a) * b for a, b in itertools.pairwise(x.tolist()))


def gradient(x: NDArray[Any]) -> NDArray[Any]:
    slope = np.zeros_like(x)
    slope[:-1] += np.cos(x[:-1]) * x[1:]
    slope[1:] += np.sin(x[:-1])
    return slope


def residuals(x: NDArray[Any]) -> NDArray[Any]:
    return np.array([math.sin(a) for a in x.tolist()])


def jacobian(x: NDArray[Any]) -> NDArray[Any]:
    return np.diag(np.cos(x))


def hessian(x: NDArray[Any]) -> NDArray[Any]:
    mixed = np.diag(np.cos(x[:-1]), 1)
    return mixed + mixed.T - np.diag(np.append(np.sin(x[:-1]) * x[1:], 0.0))


def with_nfev(found: tuple[NDArray[Any], Any]) -> tuple[bytes, int]:
    return found[0].tobytes(), found[1].nfev


def of_check(check: Any) -> tuple[bytes, int]:
    assert check, str(check)
    return check.expected.tobytes(), check.nfev


def of_descent(result: Any) -> tuple[bytes, int]:
    return result.path.tobytes() + result.values.tobytes(), result.steps


VERBS: dict[str, Callable[..., Any]] = {
    "gradient": lambda **o: with_nfev(Gradient(f, **o).with_info(X.copy())),
    "value and gradient": lambda **o: Gradient(f, **o).value_and_gradient(X.copy())[1].tobytes(),
    "jacobian": lambda **o: with_nfev(Jacobian(residuals, **o).with_info(X.copy())),
    "hessian": lambda **o: with_nfev(Hessian(f, **o).with_info(X.copy())),
    "hessian of a gradient": lambda **o: with_nfev(Hessian(f, grad=gradient, **o).with_info(X.copy())),
    "jvp": lambda **o: fastgrad.jvp(residuals, X.copy(), X, **o).tobytes(),
    "vjp": lambda **o: fastgrad.vjp(residuals, X.copy(), X, **o).tobytes(),
    "hvp": lambda **o: fastgrad.hvp(f, X.copy(), X, **o).tobytes(),
    "check": lambda **o: of_check(fastgrad.check_gradient(f, gradient, X.copy(), **o)),
    "check along": lambda **o: of_check(fastgrad.check_gradient(f, gradient, X.copy(), directions=2, **o)),
    "check jacobian": lambda **o: of_check(fastgrad.check_jacobian(residuals, jacobian, X.copy(), **o)),
    "check jacobian along": lambda **o: of_check(
        fastgrad.check_jacobian(residuals, jacobian, X.copy(), directions=2, **o)
    ),
    "check hessian": lambda **o: of_check(fastgrad.check_hessian(f, hessian, X.copy(), **o)),
    "descent": lambda **o: of_descent(fastgrad.gradient_descent(f, X.copy(), 0.05, 4, full_output=True, **o)),
    "ascent": lambda **o: of_descent(fastgrad.gradient_ascent(f, X.copy(), 0.05, 4, full_output=True, **o)),
    "map": lambda **o: Gradient(f, **o).map(POINTS).tobytes(),
    "map of jacobians": lambda **o: Jacobian(residuals, **o).map(POINTS).tobytes(),
}
verbs = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {name: verb(backend="python") for name, verb in VERBS.items()}


@pytest.fixture(scope="module")
def threads() -> Iterator[cf.Executor]:
    with cf.ThreadPoolExecutor(2) as pool:
        yield pool


WHO = ("processes", "executor", "map", "progress", "journal", "on_error")
TIMED = ("gradient", "jacobian", "descent", "map", "hvp")  # of those that fork for each sweep a few are enough


@pytest.mark.parametrize(("verb", "who"), [*itertools.product(VERBS, WHO), *((verb, "timeout") for verb in TIMED)])
def test_the_same_bits(verb: str, who: str, expected: dict[str, Any], threads: cf.Executor, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    options: dict[str, dict[str, Any]] = {
        "processes": {"workers": 2},
        "executor": {"workers": threads},
        "map": {"workers": map},
        "progress": {"progress": lambda done, total: told.append((done, total))},
        "journal": {"journal": tmp_path / "journal"},
        "on_error": {"on_error": "nan"},
        "timeout": {"timeout": 60.0},
    }
    assert VERBS[verb](**options[who]) == expected[verb]
    if who == "progress":
        assert told
        assert all(0 < done <= total for done, total in told)
    if who == "journal":
        assert VERBS[verb](**options[who]) == expected[verb]


@verbs
def test_workers_evaluate(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not this process, but for what one cannot share."""
    points: list[int] = []

    def counting(function: Any, items: Any) -> Any:
        items = list(items)
        points.extend(len(item[1]) for item in items)
        return [function(item) for item in items]

    VERBS[verb](workers=counting)
    assert sum(points) > len(X)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_failures_are_nan() -> None:
    edge = X[1] + 1e-4

    def failing(x: NDArray[Any]) -> float:
        if x[1] > edge:
            raise ArithmeticError("there")
        return f(x)

    found, info = Hessian(failing, workers=2, on_error="nan").with_info(X)
    assert np.allclose(found, hessian(X), atol=1e-3)
    assert info.failures
    assert all("ArithmeticError: there" in failure for failure in info.failures)
    with pytest.warns(NonFiniteWarning, match="`f` failed, first at x = .*ArithmeticError: there"):
        field = Gradient(failing, workers=2, on_error="nan").map(POINTS)
    assert np.isnan(field).all(axis=1).tolist() == (POINTS[:, 1] > edge).tolist()


def test_a_map_where_all_fail() -> None:
    def failing(x: NDArray[Any]) -> float:
        raise LookupError("everywhere")

    with pytest.raises(LookupError, match="everywhere"):
        Gradient(failing, on_error="nan").map(POINTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_hessian_that_takes_long_in_all_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` is of one evaluation of f, not of one gradient: by a clock that only f advances, in its one process."""
    clock = np.frombuffer(mmap.mmap(-1, 8))  # which the process shares
    monkeypatch.setattr("fastgrad.executors.processes.perf_counter", lambda: float(clock[0]))

    def slow(x: NDArray[Any]) -> float:
        clock[0] += 0.75
        return f(x)

    found, info = Hessian(slow, 1e-3, timeout=1.0).with_info(X[:2])
    assert np.allclose(found, hessian(X[:2]), atol=1e-4)
    assert 0.75 * info.nfev > 5.0

    def late(x: NDArray[Any]) -> float:
        clock[0] += 1.25
        time.sleep(60.0)
        return f(x)

    with pytest.raises(TimeoutError, match="`timeout` = 1 s"):
        Hessian(late, timeout=1.0)(X[:2])


def test_a_descent_goes_on_where_it_was(tmp_path: Path) -> None:
    calls = []

    def counted(x: NDArray[Any]) -> float:
        calls.append(1) if stopped else os.write(channel, b".")
        return f(x)

    stopped: list[int] = []
    ours, channel = os.pipe()
    try:
        options: dict[str, Any] = {"lr": 0.05, "journal": tmp_path / "j"}
        first = fastgrad.gradient_descent(counted, X, step_num=3, **options)
        made = len(os.read(ours, 10_000))
        assert fastgrad.gradient_descent(counted, X, step_num=3, **options).tobytes() == first.tobytes()
        longer = fastgrad.gradient_descent(counted, X, step_num=4, **options)
        again = len(os.read(ours, 10_000))
    finally:
        os.close(ours)
        os.close(channel)
    assert again < made
    assert longer.tobytes() == fastgrad.gradient_descent(f, X, step_num=4, lr=0.05).tobytes()


def test_an_option_that_a_descent_has_not() -> None:
    with pytest.raises(TypeError, match="`step_nums` is no option of a descent, got 3; .*workers.*full_output$"):
        fastgrad.gradient_descent(f, X, step_nums=3)  # type: ignore[call-arg]


def test_nested_calls_are_serial() -> None:
    numba = pytest.importorskip("numba")
    compiled = numba.njit(lambda x: np.sum(x**2))
    compiled(X)

    def nested(x: NDArray[Any]) -> float:
        assert executor_for(fastgrad.core.call.Call(f, workers=4)).way == "serial"
        assert fastgrad.core.call.Call(compiled, workers=4).threads == 1
        return float(np.sum(fastgrad.numerical_gradient(compiled, x, workers=2)))

    found = fastgrad.numerical_gradient(nested, X, 1e-3, workers=map)
    assert np.allclose(found, 2.0)


def test_each_array_of_a_dictionary_has_its_journal(tmp_path: Path) -> None:
    ours, channel = os.pipe()

    def of_two(p: dict[str, NDArray[Any]]) -> float:
        os.write(channel, b".")
        return float(np.sum(p["a"] ** 2) * p["b"][0])

    def calls() -> int:
        os.write(channel, b".")
        return len(os.read(ours, 10_000)) - 1

    x = {"a": X, "b": np.array([2.0, 1.0])}
    options: dict[str, Any] = {"journal": tmp_path / "run.sqlite"}
    try:
        first = fastgrad.numerical_gradient(of_two, x, **options)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["run.a.sqlite", "run.b.sqlite"]
        made = calls()
        again = fastgrad.numerical_gradient(of_two, x, **options)
        assert calls() < made / 2
        assert all(again[name].tobytes() == first[name].tobytes() for name in x)
        options = {"lr": 0.01, "step_num": 3, "journal": tmp_path / "descent"}
        went = fastgrad.gradient_descent(of_two, x, **options)
        made = calls()
        assert fastgrad.gradient_descent(of_two, x, **options)["a"].tobytes() == went["a"].tobytes()
        assert calls() < made / 2
    finally:
        os.close(ours)
        os.close(channel)


def test_derivatives_of_one_variable_are_shared(tmp_path: Path) -> None:
    """By entries, to the bits of the loop."""
    for h in (None, 1e-5, [1e-5] * X.size):
        alone = np.array([float(fastgrad.numerical_diff(math.sin, e, None if h is None else 1e-5)) for e in X])
        for workers in (2, map):
            found = fastgrad.numerical_diff(math.sin, X, h, workers=workers)
            assert found.tobytes() == alone.tobytes()
    assert fastgrad.numerical_diff(math.sin, 1.0, workers=2) == fastgrad.numerical_diff(math.sin, 1.0)
    with pytest.raises(TypeError, match="`worker` is no option"):
        fastgrad.numerical_diff(math.sin, X, worker=2)  # type: ignore[call-arg]
