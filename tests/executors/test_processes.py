"""Processes by fork: what they take, how they end, and where they are not used."""

from __future__ import annotations

import concurrent.futures as cf
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgrad import numerical_gradient
from fastgrad.core.call import Call, cores
from fastgrad.core.errors import WorkerError
from fastgrad.executors import forking
from fastgrad.executors.executor import Failures
from fastgrad.executors.processes import Processes
from fastgrad.executors.table import executor_for

from . import functions as fs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def children() -> set[int]:
    """The processes that this one has started and not waited for."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has been joined ends by and by
            found.update(map(int, path.read_text().split()))
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Any:
    before = children()
    yield
    assert children() <= before


def test_closures_over_locks_sockets_and_open_files(tmp_path: Path) -> None:
    (tmp_path / "scale").write_text("3.0")
    lock = threading.Lock()
    with (tmp_path / "scale").open() as file, socket.socket() as channel:

        def f(x: NDArray[Any]) -> float:
            with lock:
                file.seek(0)
                return float(os.pread(file.fileno(), 3, 0)) * float(x.sum()) + 0.0 * channel.fileno()

        values = Processes(2, "").evaluate(f, fs.ROWS)
    assert values.tobytes() == np.array([3.0 * float(fs.ROWS[i].sum()) for i in range(len(fs.ROWS))]).tobytes()


def test_an_exception_of_a_class_that_cannot_be_imported() -> None:
    class Local(ValueError):
        def __init__(self, one: object, other: object) -> None:
            super().__init__(f"{one}, {other}")
            self.one = one
            self.lock = threading.Lock()

    def f(x: NDArray[Any]) -> float:
        raise Local(1, 2)

    with pytest.raises(Local, match="1, 2") as raised:
        Processes(2, "").evaluate(f, fs.ROWS)
    assert raised.value.one == 1


def test_an_exception_of_a_class_that_only_the_worker_has() -> None:
    def f(x: NDArray[Any]) -> float:
        raise type("New", (KeyError,), {})("nothing")

    with pytest.raises(KeyError, match="nothing") as raised:
        Processes(2, "").evaluate(f, fs.ROWS)
    assert type(raised.value).__name__ == "New"


def test_system_exit_comes_through() -> None:
    with pytest.raises(SystemExit) as raised:
        Processes(2, "").evaluate(lambda x: sys.exit(4), fs.ROWS)
    assert raised.value.code == 4


def test_a_worker_that_is_killed_is_an_error_that_names_its_point() -> None:
    def f(x: NDArray[Any]) -> float:
        if x[0] == fs.ROWS.rows[21, 0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return fs.loss(x)

    with pytest.raises(WorkerError, match=r"was killed by SIGKILL.*at point 21 of 40, x = \["):
        Processes(2, "").evaluate(f, fs.ROWS)


def test_a_worker_that_ends_itself() -> None:
    with pytest.raises(WorkerError, match=r"ended with exit code 3 while it evaluated `f` at point \d+ of 40"):
        Processes(2, "").evaluate(fs.dying, fs.ROWS)


def test_a_dead_worker_whose_channel_is_held_open() -> None:
    """A program that f has started may hold it: the worker's end is seen all the same, and the program ends, too."""

    def f(x: NDArray[Any]) -> float:
        if not os.fork():
            time.sleep(600.0)
            os._exit(0)
        os._exit(7)

    began = time.monotonic()
    with pytest.raises(WorkerError, match="exit code 7"):
        Processes(2, "").evaluate(f, fs.ROWS)
    assert time.monotonic() - began < 300.0  # whatever else the machine does: not when the program ends


def test_the_exception_of_an_earlier_point_that_takes_longer() -> None:
    first, later = fs.ROWS.rows[0, 0], fs.ROWS.rows[30, 0]

    def f(x: NDArray[Any]) -> float:
        if x[0] == first:
            time.sleep(0.5)
            raise ValueError("the first")
        if x[0] == later:
            raise ValueError("a later one")
        return fs.loss(x)

    with pytest.raises(ValueError, match="the first"):
        Processes(2, "").evaluate(f, fs.ROWS)


def test_from_another_thread() -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(Processes(2, "").evaluate(fs.loss, fs.ROWS)))
    thread.start()
    thread.join()
    assert results[0].tolist() == [fs.loss(fs.ROWS[i]) for i in range(len(fs.ROWS))]


def test_large_values_come_whole() -> None:
    f = lambda x: np.full(200_000, x[0])  # noqa: E731
    values = Processes(2, "").evaluate(f, fs.ROWS)
    assert values.shape == (40, 200_000)
    assert (values == fs.ROWS.rows[:, :1]).all()


def test_what_f_prints_is_printed_once() -> None:
    code = """
import numpy as np
from fastgrad.executors.executor import Rows
from fastgrad.executors.processes import Processes
print("before")
Processes(2, "").evaluate(lambda x: print("in f") or 0.0, Rows(np.zeros((5, 1)), (1,)))
"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=buffered)
    assert sorted(ended.stdout.split("\n")) == ["", "before", *["in f"] * 5]


SLEEPER = """
import os, signal, sys, time, numpy as np
from fastgrad.executors.executor import Rows
from fastgrad.executors.processes import Processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
def f(x):
    os.write(1, b"%d\\n" % os.getpid())
    BODY
    return 0.0
Processes(2, "").evaluate(f, Rows(np.zeros((100, 1)), (1,)))
"""


def start(body: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a sweep whose two workers are busy, in a process of its own; return it and the workers."""
    run = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.replace("BODY", body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    return run, [int(run.stdout.readline()) for _ in range(2)]


def wait_for(condition: Any, seconds: float = 120.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def status(pid: str | int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X"]


def groups() -> set[int]:
    """The process groups of all that runs."""
    found = [status(path.name) for path in Path("/proc").glob("[0-9]*")]
    return {int(words[2]) for words in found if words[0] not in "ZX"}


def alive(pid: int) -> bool:
    return status(pid)[0] not in "ZX"


@pytest.mark.parametrize(
    "body",
    ["time.sleep(600)", "os.system('sleep 600')", "exec('while 1:\\n  try: time.sleep(600)\\n  except: pass')"],
    ids=["asleep", "in a program", "deaf"],
)
def test_ctrl_c_leaves_no_process(body: str) -> None:
    run, workers = start(body)
    os.kill(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=300.0)
    assert "KeyboardInterrupt" in errors
    assert not any(map(alive, workers))
    # what they had started is in their groups
    assert wait_for(lambda: not groups() & set(workers))


def test_a_killed_parent_leaves_no_worker() -> None:
    run, workers = start("time.sleep(600)")
    run.kill()
    run.communicate()
    assert wait_for(lambda: not any(map(alive, workers)))


def test_ctrl_c_in_a_worker_alone_is_ctrl_c() -> None:
    def f(x: NDArray[Any]) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5.0)
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        Processes(2, "").evaluate(f, fs.ROWS)


# --- where it is not safe ---------------------------------------------------------------------------------------------


def test_a_running_thread_is_a_danger_and_one_that_waits_is_not() -> None:
    assert forking.unsafe() == ""
    stop = threading.Event()
    waiting = threading.Thread(target=stop.wait, daemon=True)
    waiting.start()
    assert wait_for(lambda: forking.unsafe() == "")  # a thread that has started goes to where it waits

    def spin() -> None:
        while not stop.is_set():
            pass

    running = threading.Thread(target=spin, name="busy", daemon=True)
    running.start()
    try:
        assert "the thread 'busy' is running" in forking.unsafe()
        executor = executor_for(Call(fs.loss, workers=2))
        assert executor.way == "threads"
        assert "busy" in executor.reason
        assert executor.evaluate(fs.loss, fs.ROWS).tolist() == [fs.loss(fs.ROWS[i]) for i in range(len(fs.ROWS))]
    finally:
        stop.set()
        running.join()
        waiting.join()


def test_neither_threads_nor_processes_where_f_keeps_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "unsafe", lambda: "there is no fork here")
    kept: list[Any] = []
    executor = executor_for(Call(lambda x: kept.append(x) or 0.0, workers=2))
    assert executor.way == "serial"
    assert "there is no fork here" in executor.reason
    assert "keep" in executor.reason


@pytest.mark.parametrize("inside", ["closure", "object", "argument"])
def test_a_function_that_needs_threads_of_this_process_is_not_forked(inside: str) -> None:
    with cf.ThreadPoolExecutor(1) as pool:

        class Model:
            def __init__(self) -> None:
                self.pool = pool

            def __call__(self, x: NDArray[Any], *args: Any) -> float:
                return float(sum(self.pool.map(float, x)))

        f = {
            "closure": lambda x: float(sum(pool.map(float, x))),
            "object": Model(),
            "argument": lambda x, own: float(sum(own.map(float, x))),
        }[inside]
        call = Call(f, (pool,) if inside == "argument" else (), workers=2)
        assert (
            "f holds a ThreadPoolExecutor, which works by threads that a forked child has not"
            in forking.uses_threads((call.f, call.args))
        )
        executor = executor_for(call)
        assert executor.way != "processes"
        found = executor.evaluate(lambda x: f(x, *call.args), fs.ROWS)
    assert np.allclose(found, fs.ROWS.rows.sum(axis=1))


@pytest.mark.parametrize(
    "drawn", [np.random.default_rng(0), np.random.RandomState(0), random.Random(0)], ids=lambda it: type(it).__name__
)
def test_random_numbers_that_f_holds_are_drawn_in_one_process(drawn: Any) -> None:
    """Or workers would draw the same, and the noise seem smaller than it is."""
    executor = executor_for(Call(lambda x: float(x.sum()) + drawn.random(), workers=2))
    assert executor.way == "serial"
    assert f"f holds a {type(drawn).__name__}" in executor.reason


def test_random_numbers_that_all_share_differ_between_workers() -> None:
    def f(x: NDArray[Any]) -> list[float]:
        time.sleep(0.005)
        return [random.random(), np.random.random()]

    drawn = Processes(4, "", apart=True).evaluate(lambda x: np.array(f(x)), fs.ROWS)
    assert len(np.unique(drawn)) == drawn.size


def test_threads_that_f_has_started_are_seen_before_the_next_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Processes(2, "")
    monkeypatch.setattr("fastgrad.executors.processes.unsafe", lambda: "f has started threads")
    assert set(executor.evaluate(fs.process, fs.ROWS).tolist()) == {float(os.getpid())}
    assert executor.reason == "f has started threads"


NUMBA = """
import sys, numba, numpy as np
from fastgrad.executors import forking
numba.config.THREADING_LAYER = {layer!r}
@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(x.size):
        s += x[i]
    return s
print(repr(forking.unsafe()))
try:
    total(np.ones(10))
except ValueError as error:
    print("no such layer")
    sys.exit()
print(repr(forking.unsafe()))
from fastgrad.executors.executor import Rows
from fastgrad.executors.processes import Processes
print(Processes(2, "").evaluate(total, Rows(np.ones((20, 10)), (10,))).sum())
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_numba_threads(layer: str) -> None:
    pytest.importorskip("numba")
    code = NUMBA.format(layer=layer)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=900)
    lines = ended.stdout.splitlines()
    if "no such layer" in lines:
        pytest.skip(f"numba has no {layer} here")
    assert lines[0] == "''"
    assert ("OpenMP" in lines[1]) == (layer == "omp"), lines
    assert lines[2] == "200.0"


OPENMP = """
import numpy as np
from fastgrad.executors import forking
forking.LOOKS = 20_000  # threads of BLAS that spin take longer on a busy machine
from sklearn.ensemble import HistGradientBoostingRegressor
print(repr(forking.unsafe()))
X = np.random.default_rng(0).normal(size=(300, 3))
HistGradientBoostingRegressor(max_iter=2).fit(X, X[:, 0])
print(repr(forking.unsafe()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir() or cores() < 2, reason="one core, or no /proc")
def test_openmp_is_a_danger_once_it_is_used() -> None:
    pytest.importorskip("sklearn")
    several = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", OPENMP]
    ended = subprocess.run(command, env=several, capture_output=True, text=True, check=True, timeout=900)
    before, after = ended.stdout.splitlines()
    assert before == "''"
    assert "GNU OpenMP" in after


def test_threads_of_blas_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "LOOKS", 20_000)  # they spin, and for longer on a busy machine
    matrix = np.random.default_rng(0).normal(size=(400, 400))

    def f(x: NDArray[Any]) -> float:
        return float(np.sum((matrix + x[0]) @ (matrix - x[1])))

    points = fs.ROWS.take(slice(0, 8))
    expected = [f(points[i]) for i in range(8)]
    executor = Processes(2, "")
    assert executor.evaluate(f, points).tolist() == expected
    assert not executor.reason


def test_a_cheap_function_is_known_after_one_sweep_and_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgrad.executors.processes.BRIEF", 5.0)  # cheap on a busy machine, too
    executor = Processes(2, "")
    assert os.getpid() not in executor.evaluate(fs.process, fs.ROWS)
    assert set(executor.evaluate(fs.process, fs.ROWS).tolist()) == {float(os.getpid())}


def slowly(x: NDArray[Any]) -> NDArray[Any]:
    """Whoever evaluates, and what it makes of the point; long enough for workers."""
    time.sleep(0.004)
    return np.array([os.getpid(), fs.loss(x)])


def test_workers_are_forked_once_for_all_sweeps_of_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgrad.executors.processes.REST", 120.0)  # on a busy machine it is long until the next sweep
    meeting = fs.Meeting(tmp_path, 3)

    def together(x: NDArray[Any]) -> NDArray[Any]:
        return np.array([meeting(x), fs.loss(x)])

    executor, seen = Processes(3, "", apart=True), []
    for points in (fs.ROWS, fs.entries(), fs.ROWS.take(slice(7, 20))):
        who, values = executor.evaluate(together, points).T
        assert values.tobytes() == np.array([fs.loss(points[i]) for i in range(len(points))]).tobytes()
        seen.append(set(who))
    assert len(seen[0]) == 3
    assert seen[1] | seen[2] <= seen[0]
    assert not set(executor.evaluate(partial(together), fs.ROWS)[:, 0]) & seen[0]


def test_workers_wait_for_another_sweep_no_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an exception, say, keeps alive who forked them; another sweep forks anew."""
    monkeypatch.setattr("fastgrad.executors.processes.REST", 0.05)
    executor = Processes(2, "", apart=True)
    first = {int(pid) for pid in executor.evaluate(slowly, fs.ROWS)[:, 0]}
    assert wait_for(lambda: not any(map(alive, first)))
    assert not first & {int(pid) for pid in executor.evaluate(slowly, fs.ROWS)[:, 0]}


def test_a_gradient_forks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forks: list[int] = []
    fork = os.fork

    def counted() -> int:
        forks.append(0)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr("fastgrad.executors.processes.REST", 120.0)  # on a busy machine it is long until the next sweep
    f = lambda x: (time.sleep(0.01), fs.loss(x))[1]  # noqa: E731
    x = np.arange(7.0)
    assert numerical_gradient(f, x, workers=2).tobytes() == numerical_gradient(f, x, backend="python").tobytes()
    assert len(forks) == 2


def test_a_later_sweep_puts_up_with_failures_and_another_does_not() -> None:
    executor = Processes(2, "", apart=True)
    good = fs.ROWS.take(np.flatnonzero(fs.ROWS.rows[:, 0] <= 0.5))
    assert executor.evaluate(fs.failing, good).shape == (len(good),)
    failures: Failures = {}
    executor.evaluate(fs.failing, fs.ROWS, None, failures)
    assert sorted(failures) == np.flatnonzero(fs.ROWS.rows[:, 0] > 0.5).tolist()
    first = fs.ROWS.rows[min(failures), 0]
    with pytest.raises(fs.Told, match=str(first)):
        executor.evaluate(fs.failing, fs.ROWS)
    assert executor.evaluate(fs.failing, good).shape == (len(good),)


def test_a_worker_that_is_killed_between_two_sweeps() -> None:
    executor = Processes(2, "", apart=True)
    victim = int(executor.evaluate(slowly, fs.ROWS)[0, 0])
    os.kill(victim, signal.SIGKILL)
    assert victim not in executor.evaluate(slowly, fs.ROWS)[:, 0]


def test_a_ctrl_c_while_workers_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Processes(2, "", apart=True)
    executor.evaluate(fs.loss, fs.ROWS)
    crew = type(executor._crew)
    stop = crew.stop

    def interrupted(self: Any) -> None:
        stop(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(crew, "stop", interrupted)
    begin = threading.Thread.start
    # on a busy machine it may be long until who was interrupted goes on
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (begin(thread), time.sleep(0.05)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            del executor
            for _ in range(400):  # what is told of a Ctrl-C ends no sleep
                time.sleep(0.05)
    finally:
        signal.signal(signal.SIGINT, before)
        for thread in threading.enumerate():  # who told, and would be in the way of the next test's fork
            if "_interrupt_outside" in thread.name:
                thread.join()


def test_memory_that_is_mapped_is_not_copied(tmp_path: Path) -> None:
    executor = Processes(2, "")
    assert executor.may_perturb(np.zeros(3))
    assert executor.may_perturb(np.zeros(6)[::2])
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=3)
    assert not executor.may_perturb(mapped)
    assert not executor.may_perturb(np.asarray(mapped)[1:])


def test_remote_errors_name_the_line() -> None:
    def f(x: NDArray[Any]) -> float:
        raise ArithmeticError("here")

    with pytest.raises(ArithmeticError) as raised:
        Processes(2, "").evaluate(f, fs.ROWS)
    assert re.search(r'test_processes.py", line \d+, in f', str(raised.value.__cause__))
