"""What every executor must do: the values of a plain loop, to the bit, in order; and its exception."""

from __future__ import annotations

import concurrent.futures as cf
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgrad.core.call import Call
from fastgrad.core.validation import Ints
from fastgrad.executors.executor import Executor, Function, Points, Rows, Serial, Values
from fastgrad.executors.failures import RemoteTraceback
from fastgrad.executors.futures import Threads
from fastgrad.executors.processes import Processes
from fastgrad.executors.table import executor_for

from . import functions as fs

IN_OTHER_PROCESSES = ("processes", "process pool", "pool map", "loky")
IN_THIS = ("serial", "threads", "thread pool", "map")


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("forkserver")
    with cf.ThreadPoolExecutor(2) as threads, cf.ProcessPoolExecutor(2, context) as processes, context.Pool(2) as pool:
        yield {"thread pool": threads, "process pool": processes, "pool map": pool.map, "map": map}


@pytest.fixture(scope="module")
def loky_pool() -> Iterator[Any]:
    pool = pytest.importorskip("loky").ProcessPoolExecutor(2)
    yield pool
    pool.shutdown()


@pytest.fixture
def executor(request: pytest.FixtureRequest, pools: dict[str, Any]) -> Iterator[Executor]:
    name = request.param
    if name == "serial":
        yield Serial("")
    elif name == "processes":
        yield Processes(2, "")
    elif name == "threads":
        yield Threads(2, "")
    elif name == "loky":
        yield executor_for(Call(fs.loss, workers=request.getfixturevalue("loky_pool")))
    else:
        yield executor_for(Call(fs.loss, workers=pools[name]))


every = pytest.mark.parametrize("executor", [*IN_THIS, *IN_OTHER_PROCESSES], indirect=True)


def loop(function: Function, points: Points) -> Values:
    return np.array([function(points[i]) for i in range(len(points))])


@every
@pytest.mark.parametrize("function", [fs.loss, fs.residuals, fs.matrix, fs.scribbling, fs.complex_loss])
@pytest.mark.parametrize("points", [fs.ROWS, fs.entries()], ids=["rows", "entries"])
def test_values_of_a_loop(executor: Executor, function: Function, points: Points) -> None:
    arrived: dict[int, bytes] = {}

    def receive(numbers: Ints, values: Values | None) -> None:
        assert values is not None
        for number, value in zip(numbers.tolist(), values, strict=True):
            assert number not in arrived, "a value came twice"
            arrived[number] = value.tobytes()

    values = executor.evaluate(function, points, receive)
    expected = loop(function, points)
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    assert values.tobytes() == expected.tobytes()
    assert arrived == {i: value.tobytes() for i, value in enumerate(expected)}
    assert executor.evaluate(function, points).tobytes() == expected.tobytes()


@every
def test_no_points(executor: Executor) -> None:
    assert executor.evaluate(fs.loss, fs.ROWS.take(slice(0, 0))).shape == (0,)


@every
def test_one_point(executor: Executor) -> None:
    assert executor.evaluate(fs.loss, fs.ROWS.take(slice(3, 4))).tolist() == [fs.loss(fs.ROWS[3])]


@every
def test_the_exception_of_the_first_point_that_fails(executor: Executor) -> None:
    with pytest.raises(fs.Told) as expected:
        loop(fs.failing, fs.ROWS)
    with pytest.raises(fs.Told) as raised:
        executor.evaluate(fs.failing, fs.ROWS)
    assert str(raised.value) == str(expected.value)
    assert raised.value.one == expected.value.one


@pytest.mark.parametrize("executor", IN_OTHER_PROCESSES, indirect=True)
def test_the_traceback_of_a_worker(executor: Executor) -> None:
    with pytest.raises(fs.Told) as raised:
        executor.evaluate(fs.failing, fs.ROWS)
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in failing" in str(raised.value.__cause__)
    assert "functions.py" in str(raised.value.__cause__)


@every
def test_stop_iteration_comes_through(executor: Executor) -> None:
    with pytest.raises(StopIteration) as raised:
        executor.evaluate(fs.stopping, fs.ROWS)
    assert raised.value.value == 5


@every
def test_values_of_two_shapes_are_refused(executor: Executor) -> None:
    rows = Rows(np.arange(12.0).reshape(-1, 1), (1,))
    with pytest.raises(ValueError, match="one shape at all points"):
        executor.evaluate(_ragged, rows)


def _ragged(x: NDArray[Any]) -> NDArray[Any]:
    return np.zeros(2 if x[0] < 11.0 else 3)


@pytest.mark.parametrize("executor", IN_OTHER_PROCESSES, indirect=True)
def test_it_is_in_other_processes(executor: Executor, tmp_path: Path) -> None:
    seen = set(executor.evaluate(fs.Meeting(tmp_path, 2), fs.ROWS).tolist())
    assert os.getpid() not in seen
    assert len(seen) == 2


@pytest.mark.parametrize("executor", ["threads", "thread pool"], indirect=True)
def test_two_evaluations_at_a_time_in_threads(executor: Executor) -> None:
    meeting = threading.Barrier(2)

    def both(x: NDArray[Any]) -> float:
        meeting.wait(300.0)
        return fs.loss(x)

    assert executor.evaluate(both, fs.ROWS).tobytes() == loop(fs.loss, fs.ROWS).tobytes()


@every
def test_a_call_within_a_worker_is_serial(executor: Executor) -> None:
    ways = executor.evaluate(_is_serial, fs.ROWS)
    assert ways.tolist() == [float(executor.way != "serial")] * len(fs.ROWS)


def _is_serial(x: NDArray[Any]) -> float:
    return float(executor_for(Call(fs.loss, workers=2)).way == "serial")


def a_closure() -> Callable[[NDArray[Any]], float]:
    lock = threading.Lock()

    def with_lock(x: NDArray[Any]) -> float:
        with lock:
            return fs.loss(x)

    return with_lock


@pytest.mark.parametrize("executor", ["process pool", "pool map"], indirect=True)
def test_what_does_not_pickle_is_named(executor: Executor) -> None:
    with pytest.raises(TypeError, match="`f` cannot be sent to the workers"):
        executor.evaluate(a_closure(), fs.ROWS)


@pytest.mark.parametrize("executor", ["process pool", "pool map"], indirect=True)
def test_lambdas_travel_by_cloudpickle(executor: Executor) -> None:
    pytest.importorskip("cloudpickle")
    scale = np.array([2.0])
    f = lambda x: float(scale[0] * x.sum())  # noqa: E731
    assert executor.evaluate(f, fs.ROWS).tobytes() == loop(f, fs.ROWS).tobytes()


@pytest.mark.parametrize("executor", ["process pool", "pool map"], indirect=True)
def test_a_changed_function_is_sent_anew(executor: Executor) -> None:
    """What a worker holds is never that of an earlier gradient."""
    pytest.importorskip("cloudpickle")
    scale = np.array([2.0])
    f = lambda x: float(scale[0] * x.sum())  # noqa: E731
    executor.evaluate(f, fs.ROWS)
    scale[0] = 3.0
    again = executor_for(Call(f, workers=executor._executor if executor.way == "executor" else executor._apply))  # type: ignore[attr-defined]
    assert again.evaluate(f, fs.ROWS).tobytes() == loop(f, fs.ROWS).tobytes()


def test_one_worker_is_serial() -> None:
    assert executor_for(Call(fs.loss)).way == "serial"


class Dying(cf.Executor):
    """Loses the worker of its first tasks, as a cluster does that loses a machine."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> cf.Future[Any]:
        self.calls += 1
        future: cf.Future[Any] = cf.Future()
        if self.calls <= self.losses:
            future.set_exception(cf.BrokenExecutor("the machine is gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_the_part_of_a_lost_worker_is_evaluated_again() -> None:
    calls: list[float] = []

    def counted(x: NDArray[Any]) -> float:
        calls.append(float(x[0]))
        return fs.loss(x)

    values = executor_for(Call(counted, workers=Dying(1))).evaluate(counted, fs.ROWS)
    assert values.tobytes() == loop(fs.loss, fs.ROWS).tobytes()
    assert sorted(calls) == sorted(fs.ROWS.rows[:, 0].tolist())


def test_workers_that_are_lost_for_good_are_an_error_that_names_the_points() -> None:
    with pytest.raises(RuntimeError, match=r"`workers` lost point 0 of 40, the first of them x = \[.*machine is gone"):
        executor_for(Call(fs.loss, workers=Dying(1000))).evaluate(fs.loss, fs.ROWS)


def test_a_pool_whose_worker_dies() -> None:
    context = multiprocessing.get_context("forkserver")
    with cf.ProcessPoolExecutor(2, context) as pool:
        executor = executor_for(Call(fs.dying, workers=pool))
        with pytest.raises(RuntimeError, match="`workers` lost point.*BrokenProcessPool") as raised:
            executor.evaluate(fs.dying, fs.ROWS)
    assert type(raised.value).__name__ == "WorkerError"


def test_an_executor_that_was_shut_down() -> None:
    pool = cf.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="`workers` lost point 0 of 40.*after shutdown"):
        executor_for(Call(fs.loss, workers=pool)).evaluate(fs.loss, fs.ROWS)


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (lambda function, items: [0.0 for _ in items], "like `map`"),
        (lambda function, items: [function(item) for item in list(items)[:-1]], "returned no value for"),
    ],
)
def test_what_is_not_like_map(apply: Callable[..., Any], says: str) -> None:
    with pytest.raises((TypeError, RuntimeError), match=says):
        executor_for(Call(fs.loss, workers=apply)).evaluate(fs.loss, fs.ROWS)


def test_a_cheap_function_travels_in_few_parts() -> None:
    executor = Dying(0)
    executor_for(Call(fs.loss, workers=executor)).evaluate(fs.loss, Rows(np.zeros((2000, 2)), (2,)))
    assert executor.calls < 200
