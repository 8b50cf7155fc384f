"""Evaluations that raise, take too long or end their process: an error that names the point, or NaN and a report."""

from __future__ import annotations

import concurrent.futures as cf
import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgrad import Gradient, numerical_gradient, numerical_jacobian
from fastgrad.core.call import Call, working
from fastgrad.core.errors import NonFiniteWarning
from fastgrad.executors import forking
from fastgrad.executors.executor import Executor, Failures, Function, Points, Rows, Serial, Values
from fastgrad.executors.futures import Threads
from fastgrad.executors.processes import Processes
from fastgrad.executors.table import executor_for

from . import functions as fs
from .test_processes import children

forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.fixture(params=["serial", "threads", "map", "executor", "processes", "journal"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    with cf.ThreadPoolExecutor(2) as pool:
        makers: dict[str, Callable[[], Executor]] = {
            "serial": lambda: Serial(""),
            "threads": lambda: Threads(2, ""),
            "map": lambda: executor_for(Call(fs.loss, workers=map)),
            "executor": lambda: executor_for(Call(fs.loss, workers=pool)),
            "processes": lambda: Processes(2, "", apart=True),
            "journal": lambda: executor_for(Call(fs.failing, journal=str(tmp_path / "j"))),
        }
        made = makers[request.param]()
        yield made
        if isinstance(made, Processes):
            made.dismiss()


def loop(function: Function, points: Points) -> tuple[Values, list[int]]:
    """Values and failures as a plain loop has them."""
    values: list[Any] = []
    failed = []
    for number in range(len(points)):
        try:
            values.append(function(points[number]))
        except fs.Told:
            values.append(np.nan)
            failed.append(number)
    return np.array(values), failed


def test_failures_are_put_where_the_caller_asks_for(executor: Executor) -> None:
    failures: Failures = {}
    received: list[int] = []

    def receive(numbers: NDArray[Any], values: Values | None) -> None:
        received.extend(numbers.tolist())
        assert (values is None) == any(fs.ROWS.rows[number, 0] > 0.5 for number in numbers)

    values = executor.evaluate(fs.failing, fs.ROWS, receive, failures)
    expected, failed = loop(fs.failing, fs.ROWS)
    assert 0 < len(failed) < len(fs.ROWS)
    assert values.tobytes() == expected.tobytes()
    assert sorted(failures) == failed
    assert sorted(received) == list(range(len(fs.ROWS)))
    assert all(isinstance(failure.exception(), fs.Told) for failure in failures.values())


def test_where_all_fail(executor: Executor) -> None:
    failures: Failures = {}
    rows = Rows(np.ones((9, 7)), (7,))
    assert np.isnan(executor.evaluate(fs.failing, rows, None, failures)).all()
    assert len(failures) == len(rows)


def test_complex_values_that_fail_are_nan_in_both_parts() -> None:
    def f(x: NDArray[Any]) -> complex:
        if x[0] > 0.5:
            raise ValueError("there")
        return fs.complex_loss(x)

    failures: Failures = {}
    values = Serial("").evaluate(f, fs.ROWS, None, failures)
    failed = sorted(failures)
    assert np.isnan(values[failed].real).all()
    assert np.isnan(values[failed].imag).all()


def test_exits_are_not_put_up_with(executor: Executor) -> None:
    def f(x: NDArray[Any]) -> float:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        executor.evaluate(f, fs.ROWS, None, {})


# --- processes: time, and death ---------------------------------------------------------------------------------------


def at(number: int, act: Callable[[], object]) -> Callable[[NDArray[Any]], float]:
    """Return a function that acts at one of the points."""
    first = fs.ROWS.rows[number, 0]

    def f(x: NDArray[Any]) -> float:
        if x[0] == first:
            act()
        return fs.loss(x)

    return f


def deaf() -> None:
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(60.0)


EXPECTED = np.array([fs.loss(fs.ROWS[number]) for number in range(len(fs.ROWS))])


LATE = 1.0  # seconds: on a busy machine a point that takes microseconds may wait for a part of one


@forked
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (lambda: time.sleep(60.0), TimeoutError, f"took longer than `timeout` = {LATE:g} s"),
        (lambda: os.system("sleep 60"), TimeoutError, "took longer"),
        (deaf, TimeoutError, "took longer"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), RuntimeError, "was killed by SIGTERM"),
        (lambda: os._exit(3), RuntimeError, "ended with exit code 3"),
    ],
    ids=["asleep", "in a program", "deaf", "crash", "exit"],
)
def test_only_that_point_is_lost(workers: int, act: Callable[[], object], error: type[Exception], says: str) -> None:
    failures: Failures = {}
    seconds = LATE if error is TimeoutError else 60.0
    values = Processes(workers, "", seconds, True).evaluate(at(17, act), fs.ROWS, None, failures)
    assert list(failures) == [17]
    assert np.isnan(values[17])
    assert np.delete(values, 17).tobytes() == np.delete(EXPECTED, 17).tobytes()
    raised = failures[17].exception()
    assert isinstance(raised, error)
    assert says in str(raised)


@forked
@pytest.mark.slow
def test_many_that_are_late() -> None:
    def f(x: NDArray[Any]) -> float:
        if x[0] > 0.5:
            time.sleep(60.0)
        return fs.loss(x)

    failures: Failures = {}
    values = Processes(2, "", LATE).evaluate(f, fs.ROWS.take(slice(0, 12)), None, failures)
    late = np.flatnonzero(fs.ROWS.rows[:12, 0] > 0.5).tolist()
    assert len(late) > 2
    assert sorted(failures) == late
    assert np.delete(values, late).tobytes() == np.delete(EXPECTED[:12], late).tobytes()


@forked
def test_the_first_that_is_late_is_raised() -> None:
    f = at(17, lambda: time.sleep(60.0))
    with pytest.raises(TimeoutError, match=r"longer than `timeout` = 1 s at point 17 of 40, x = \[.*it was stopped"):
        Processes(2, "", LATE).evaluate(f, fs.ROWS)


@forked
def test_a_killed_worker_that_had_not_begun_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgrad.executors.processes._serve", lambda *given: os._exit(9))
    with pytest.raises(RuntimeError, match="exit code 9 while it evaluated `f` at no point yet"):
        Processes(2, "", apart=True).evaluate(fs.loss, fs.ROWS, None, {})


@forked
def test_nothing_is_evaluated_in_this_process() -> None:
    for points in (fs.ROWS, fs.ROWS.take(slice(0, 1))):
        values = executor_for(Call(fs.process, workers=2, on_error="nan")).evaluate(fs.process, points)
        assert os.getpid() not in values
        values = executor_for(Call(fs.process, timeout=60.0)).evaluate(fs.process, points)
        assert os.getpid() not in values


@forked
def test_time_is_kept_within_a_worker() -> None:
    token = working.set(True)
    try:
        executor = executor_for(Call(fs.loss, workers=8, timeout=60.0))
        assert executor.reason == "one process, forked for it"
        assert executor.evaluate(fs.loss, fs.ROWS).tobytes() == EXPECTED.tobytes()
        assert executor_for(Call(fs.loss, workers=8)).way == "serial"
    finally:
        working.reset(token)


@pytest.mark.parametrize("workers", [map, cf.ThreadPoolExecutor(1)], ids=["map", "executor"])
def test_who_cannot_keep_time_says_so(workers: Any) -> None:
    with pytest.raises(ValueError, match="`timeout` cannot be kept by .*give `workers` as a number"):
        numerical_gradient(fs.loss, np.ones(7), workers=workers, timeout=1.0)


def test_where_there_is_no_fork_time_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "unsafe", lambda: "there is no fork here")
    for workers in (1, 2):
        with pytest.raises(ValueError, match="`timeout` cannot be kept by threads: .*there is no fork here"):
            numerical_gradient(fs.loss, np.ones(7), workers=workers, timeout=1.0)


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, "1", True])
def test_times_that_are_none(value: Any) -> None:
    with pytest.raises(ValueError, match="`timeout` must be the seconds of one evaluation"):
        Gradient(fs.loss, timeout=value)


def test_the_other_word_is_refused() -> None:
    with pytest.raises(ValueError, match="`on_error`.*'raise'.*'nan'"):
        Gradient(fs.loss, on_error="ignore")


# --- gradients --------------------------------------------------------------------------------------------------------

X = np.linspace(0.1, 0.8, 8)


def smooth(x: NDArray[Any]) -> float:
    return float(np.sum(np.sin(x)))


def above(act: Callable[[], object]) -> Callable[[NDArray[Any]], float]:
    """Return a function that acts where one coordinate is above that of X."""
    edge = X[3]

    def f(x: NDArray[Any]) -> float:
        if x[3] > edge:
            act()
        return smooth(x)

    return f


def fail() -> None:
    raise ArithmeticError("no  convergence\nafter 9 steps")


WAYS: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "raises": (fail, {}, "ArithmeticError: no convergence after 9 steps"),
    "raises in a worker": (fail, {"workers": 2}, "ArithmeticError: no convergence after 9 steps"),
    "late": (lambda: time.sleep(60.0), {"workers": 2, "timeout": LATE}, "TimeoutError: `f` took longer"),
    "dies": (lambda: os._exit(3), {"workers": 2}, "WorkerError: worker process"),
}


@forked
@pytest.mark.parametrize(
    ("name", "others"),
    [
        pytest.param(name, others, marks=[pytest.mark.slow] * (bool(others) and "h" not in others))
        for name in WAYS
        for others in ({"h": 1e-6}, {}, {"method": "adaptive"})
        if name != "late" or "h" in others  # each late point takes its time
    ],
)
def test_the_edge_rules_take_over(name: str, others: dict[str, Any]) -> None:
    act, options, says = WAYS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a given step that is made one-sided says so
        gradient, info = numerical_gradient(above(act), X, on_error="nan", full_output=True, **options, **others)
    assert np.allclose(gradient, np.cos(X), rtol=1e-5)
    assert info.failures
    assert all("x" in failure and says in failure for failure in info.failures)
    assert f"failed   {len(info.failures)} evaluations" in str(info)


@forked
def test_points_that_nobody_asked_for_are_named_too() -> None:
    """A Jacobian explores: f may raise there, but not end its process."""
    here, edge = os.getpid(), X[3]

    def f(x: NDArray[Any]) -> NDArray[Any]:
        time.sleep(0.02)
        if os.getpid() != here and x[3] > edge:
            os._exit(3)
        return np.sin(x)

    with pytest.raises(RuntimeError, match="exit code 3 while it evaluated `f` at point .* of .*, x = "):
        numerical_jacobian(f, X.copy(), workers=2)


@forked
def test_the_same_bits_whoever_fails() -> None:
    one = numerical_gradient(above(fail), X, on_error="nan")
    two = numerical_gradient(above(fail), X, on_error="nan", workers=2)
    edge = X[3]
    three = numerical_gradient(lambda x: np.nan if x[3] > edge else smooth(x), X, backend="python")
    assert one.tobytes() == two.tobytes() == three.tobytes()


def test_the_complex_step_of_what_fails_is_nan() -> None:
    def f(x: NDArray[Any]) -> Any:
        if x.dtype.kind == "c" and x[3].imag:
            raise ValueError("here")
        return np.sum(np.sin(x))

    with pytest.warns(NonFiniteWarning):
        gradient, info = numerical_gradient(f, X, method="complex", on_error="nan", full_output=True)
    assert np.flatnonzero(np.isnan(gradient)).tolist() == [3]
    assert len(info.failures) == 1


def test_failure_at_x_itself_is_told() -> None:
    def f(x: NDArray[Any]) -> float:
        raise LookupError("the licence has expired")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert np.isnan(numerical_gradient(f, X, on_error="nan")).all()
    assert any("`f` fails at x itself: " in str(one.message) and "has expired" in str(one.message) for one in told)


def test_by_default_it_is_raised() -> None:
    for options in ({}, {"workers": 2}):
        with pytest.raises(ArithmeticError, match="convergence"):
            numerical_gradient(above(fail), X, h=1e-6, **options)


@pytest.mark.parametrize("options", [{}, {"workers": 2}], ids=str)
def test_jacobians(options: dict[str, Any]) -> None:
    edge = X[3]

    def f(x: NDArray[Any]) -> NDArray[Any]:
        if x[3] > edge:
            fail()
        return np.sin(x)

    def nan(x: NDArray[Any]) -> NDArray[Any]:
        return np.full(8, np.nan) if x[3] > edge else np.sin(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jacobian, info = numerical_jacobian(f, X, on_error="nan", full_output=True, **options)
        expected = numerical_jacobian(nan, X, backend="python")
    assert jacobian.tobytes() == expected.tobytes()
    assert "no convergence" in info.failures[0]


# --- with a journal ---------------------------------------------------------------------------------------------------


@forked
def test_what_failed_is_tried_again_and_nothing_else(tmp_path: Path) -> None:
    """Failures are not kept: with more time, or a mended f's data, only they are evaluated again."""
    calls = tmp_path / "calls"
    slow = tmp_path / "slow"
    edge = X[3]

    def f(x: NDArray[Any]) -> float:
        with calls.open("ab") as file:
            file.write(b".")
        if x[3] > edge and slow.exists():
            time.sleep(60.0)
        return smooth(x)

    options: dict[str, Any] = {"workers": 2, "on_error": "nan", "h": 1e-6, "journal": tmp_path / "j"}
    slow.touch()
    calls.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = numerical_gradient(f, X, timeout=LATE, full_output=True, **options)[1]
    failed, made = len(info.failures), calls.stat().st_size
    assert failed
    slow.unlink()
    again, info = numerical_gradient(f, X, timeout=60.0, full_output=True, **options)
    assert not info.failures
    assert calls.stat().st_size - made <= failed
    assert np.allclose(again, np.cos(X), rtol=1e-7)
