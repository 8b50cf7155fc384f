"""The journal: nothing is lost, nothing is evaluated twice, and no two functions are mixed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgrad.core.call import Call
from fastgrad.core.point import as_point
from fastgrad.executors.executor import Function, Points, Rows
from fastgrad.executors.journal import Journaled
from fastgrad.executors.table import executor_for

from . import functions as fs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.sqlite"


class Counted:
    """A function that counts its calls in a file, wherever they are made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def __call__(self, x: NDArray[Any]) -> float:
        with self.path.open("ab") as file:
            file.write(b".")
        return fs.loss(x)

    @property
    def calls(self) -> int:
        return self.path.stat().st_size


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "calls")


@pytest.mark.parametrize("workers", [1, 2, map])
@pytest.mark.parametrize("function", [fs.loss, fs.residuals, fs.matrix, fs.complex_loss])
@pytest.mark.parametrize("points", [fs.ROWS, fs.entries()], ids=["rows", "entries"])
def test_values_come_back_to_the_bit(path: Path, workers: Any, function: Function, points: Points) -> None:
    plain = executor_for(Call(function, workers=1)).evaluate(function, points)
    for run in range(2):
        executor = executor_for(Call(function, workers=workers, journal=path))
        assert isinstance(executor, Journaled)
        values = executor.evaluate(function, points)
        assert (values.dtype, values.shape, values.tobytes()) == (plain.dtype, plain.shape, plain.tobytes())
        assert executor.found == run * len(points)


@pytest.mark.parametrize("workers", [1, 2, map])
def test_only_what_is_missing_is_evaluated(path: Path, counted: Counted, workers: Any) -> None:
    some = fs.ROWS.take(np.array([3, 4, 20, 39]))
    executor_for(Call(counted, workers=workers, journal=path)).evaluate(counted, some)
    assert counted.calls == 4
    told: list[tuple[int, int]] = []
    executor = executor_for(
        Call(counted, workers=workers, journal=path, progress=lambda done, total: told.append((done, total)))
    )
    values = executor.evaluate(counted, fs.ROWS)
    assert counted.calls == 40
    assert values.tolist() == [fs.loss(fs.ROWS[i]) for i in range(40)]
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_point_that_is_wanted_twice_is_evaluated_twice(path: Path, counted: Counted) -> None:
    """Or a function that does not repeat itself would seem to, and the steps would be others."""
    for _ in range(2):
        executor = executor_for(Call(counted, workers=1, journal=path))
        executor.evaluate(counted, fs.ROWS)
        executor.evaluate(counted, fs.ROWS)
        assert counted.calls == 80


def test_what_arrived_before_an_exception_is_kept(path: Path, counted: Counted) -> None:
    def f(x: NDArray[Any]) -> float:
        if os.environ.get("FAIL") and x[0] == fs.ROWS.rows[17, 0]:
            raise ValueError("now")
        return counted(x)

    os.environ["FAIL"] = "yes"
    try:
        with pytest.raises(ValueError, match="now"):
            executor_for(Call(f, workers=1, journal=path)).evaluate(f, fs.ROWS)
    finally:
        del os.environ["FAIL"]
    assert counted.calls == 17
    executor_for(Call(f, workers=1, journal=path)).evaluate(f, fs.ROWS)
    assert counted.calls == 40


SLOW = """
import os, sys, time, numpy as np
from fastgrad.core.call import Call
from fastgrad.executors.executor import Rows
from fastgrad.executors.table import executor_for
points = Rows(np.random.default_rng(0).normal(size=(60, 3)), (3,))
data = np.arange(3.0)
def f(x):
    os.write(int(sys.argv[3]), b".")
    time.sleep(0.003)
    return float(np.exp(x) @ data)
values = executor_for(Call(f, workers=int(sys.argv[2]), journal=sys.argv[1])).evaluate(f, points)
print(values.tobytes().hex())
"""


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_at_any_time_it_goes_on_to_the_same_bits(path: Path, tmp_path: Path, workers: int) -> None:
    chance = random.Random(workers)
    calls = tmp_path / "calls"

    def start(journal: Path) -> subprocess.Popen[str]:
        with calls.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-c", SLOW, str(journal), str(workers), str(file.fileno())],
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[file.fileno()],
            )

    expected = start(tmp_path / "undisturbed").communicate(timeout=300.0)[0]
    assert expected
    calls.write_bytes(b"")
    killed, got = 0, ""
    while not got:
        run = start(path)
        if killed < 6:
            before = calls.stat().st_size
            until = time.monotonic() + 300.0
            while calls.stat().st_size == before and run.poll() is None and time.monotonic() < until:
                time.sleep(1e-3)
            time.sleep(chance.uniform(0.0, 0.04))
            run.send_signal(signal.SIGKILL)
            killed += 1
        got = run.communicate(timeout=300.0)[0]
    assert got == expected
    # a killed run loses what had not arrived: at most a part of the points for each worker, which gets the next when it
    # has sent it, or one process's evaluations between two times that it writes (0.01 s of 0.003, and what it is at)
    lost = 5 if workers == 1 else sum((7, 6))
    assert calls.stat().st_size <= 60 + killed * lost


def make(scale: float, data: NDArray[Any], power: int = 2) -> Callable[..., float]:
    def f(x: NDArray[Any], offset: float = 0.0) -> float:
        return float(scale * np.sum(data * x[:3] ** power) + offset)

    return f


def run(path: Path, f: Callable[..., float], *args: float, own: NDArray[Any] | None = None) -> None:
    executor_for(Call(f, args, journal=path), None if own is None else as_point(own)).evaluate(
        lambda x: f(x, *args), fs.ROWS
    )


DATA = np.arange(3.0)


@pytest.mark.parametrize(
    ("other", "args", "says"),
    [
        (make(3.0, DATA), (), "the data 'scale' is another"),
        (make(2.0, DATA + 1e-15), (), "the data 'data' is another"),
        (make(2.0, DATA.astype(np.float32)), (), "the data 'data' is another"),
        (make(2.0, DATA, 3), (), "the data 'power' is another"),
        (make(2.0, DATA), (1.0,), r"args\[0\] is new"),
        (lambda x: float(x[0]), (), "the code of f is another"),
        (fs.loss, (), "the code of f is another"),
    ],
)
def test_another_function_is_refused(path: Path, other: Callable[..., float], args: Any, says: str) -> None:
    run(path, make(2.0, DATA))
    run(path, make(2.0, DATA.copy()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"`journal` .* is of another function: .*{says}"):
        run(path, other, *args)
    assert path.read_bytes() == before


def helper_one(x: float) -> float:
    return x + 1.0


def helper_two(x: float) -> float:
    return x + 2.0


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (lambda x, h=helper_one: h(x[0]), lambda x, h=helper_two: h(x[0])),
        ({"a": [1, 2, (3, np.ones(2))]}, {"a": [1, 2, (3, np.zeros(2))]}),
        ({1, 2}, {1, 3}),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (range(3), range(4)),
        (2.0, 2),
        (-0.0, 0.0),
    ],
)
def test_what_a_function_holds_is_part_of_it(path: Path, one: Any, two: Any) -> None:
    def hold(thing: Any) -> Callable[[NDArray[Any]], float]:
        return lambda x: float(x[0]) + 0.0 * hash(str(type(thing)))

    run(path, hold(one))
    run(path, hold(one))
    with pytest.raises(ValueError, match="of another function"):
        run(path, hold(two))


def test_objects_are_known_by_their_attributes_and_methods(path: Path) -> None:
    class Model:
        __slots__ = ("weights",)

        def __init__(self, weights: list[float]) -> None:
            self.weights = weights

        def loss(self, x: NDArray[Any]) -> float:
            return float(x[0] * self.weights[0])

    run(path, Model([1.0]).loss)
    run(path, Model([1.0]).loss)
    with pytest.raises(ValueError, match="f's object is another"):
        run(path, Model([2.0]).loss)


def test_callable_objects_are_known_by_what_they_hold(path: Path) -> None:
    class Model:
        def __init__(self, weight: float) -> None:
            self.weight = weight

        def __call__(self, x: NDArray[Any]) -> float:
            return float(x[0] * self.weight)

    run(path, Model(1.0))
    run(path, Model(1.0))
    with pytest.raises(ValueError, match="f is another"):
        run(path, Model(2.0))


def test_ufuncs_are_known_by_their_names(path: Path) -> None:
    special = pytest.importorskip("scipy.special")  # whose ufuncs do not say their module
    gamma, other, hidden = special.gamma, special.erf, np.frompyfunc(lambda v: v, 1, 1)
    run(path, lambda x: float(gamma(x[0])))
    with pytest.raises(ValueError, match="of another function"):
        run(path, lambda x: float(other(x[0])))
    with pytest.raises(TypeError, match="`journal` needs to know f again.*frompyfunc"):
        run(path, lambda x: float(hidden(x[0])))


def test_data_frames_are_known_by_their_contents(path: Path) -> None:
    pandas = pytest.importorskip("pandas")

    def f(values: list[float]) -> Callable[[NDArray[Any]], float]:
        frame = pandas.DataFrame({"a": values})
        return lambda x: float(x[0] * frame["a"].sum())

    run(path, f([1.0, 2.0]))
    run(path, f([1.0, 2.0]))
    with pytest.raises(ValueError, match="the data 'frame' is another"):
        run(path, f([1.0, 3.0]))


def test_the_callers_array_is_no_part_of_f(path: Path) -> None:
    x = np.ones(3)
    f = lambda _: float(x.sum())  # noqa: E731
    run(path, f, own=x)
    x[0] = 5.0
    run(path, f, own=x)


def test_a_counter_of_its_own_is_no_part_of_f(path: Path) -> None:
    count = 0

    def f(x: NDArray[Any]) -> float:
        nonlocal count
        count += 1
        return fs.loss(x)

    run(path, f)
    run(path, f)
    assert count == len(fs.ROWS)


FINGERPRINT = """
import numpy as np, threading
from fastgrad.core.call import Call
from fastgrad.executors.fingerprint import fingerprint
names, lock, data = {"b", "a", "c"}, threading.Lock(), {"one": [1.0, np.ones(3)], "two": object()}
def g(x): return x if x in {"b", "a", "c"} else None
def f(x): return g(x) or names or lock or data
print(sorted(fingerprint(Call(f, (np.arange(3), "text"))).items()))
"""


def test_the_same_in_every_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(said) == 1
    assert "the code of 'g'" in said.pop()


def test_two_runs_at_once(path: Path, counted: Counted) -> None:
    one = executor_for(Call(fs.loss, workers=1, journal=path))
    two = executor_for(Call(fs.loss, workers=1, journal=path))
    assert one.evaluate(fs.loss, fs.ROWS).tobytes() == two.evaluate(fs.loss, fs.ROWS).tobytes()


# --- files that are none ----------------------------------------------------------------------------------------------


def of_something_else(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE letters (a)")
    file.close()


def half(path: Path) -> None:
    run(path, fs.loss)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def short(path: Path) -> None:
    run(path, fs.loss)
    path.write_bytes(path.read_bytes()[:50])


def scratched(path: Path) -> None:
    run(path, fs.loss)
    whole = bytearray(path.read_bytes())
    for page in range(4096, len(whole), 4096):
        whole[page : page + 200] = b"\xff" * 200
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_text("my thesis\n" * 100), "is no journal"),
        (lambda path: path.write_bytes(b"\0" * 4096), "is no journal"),
        (of_something_else, "an SQLite file of something else"),
        (half, "is damaged: it has .* bytes of"),
        (short, "is damaged: it ends"),
        (scratched, "is damaged"),
    ],
)
def test_a_file_that_is_none_is_left_as_it_is(path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"`journal`.*{says}"):
        executor_for(Call(fs.loss, workers=1, journal=path))
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.touch()
    run(path, fs.loss)
    assert path.stat().st_size


def test_no_such_directory(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`journal` .* in no directory"):
        executor_for(Call(fs.loss, workers=1, journal=path / "deeper" / "still"))


def test_a_directory_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        executor_for(Call(fs.loss, workers=1, journal=tmp_path))


def test_a_copy_goes_on(path: Path, tmp_path: Path, counted: Counted) -> None:
    executor_for(Call(counted, workers=1, journal=path)).evaluate(counted, fs.ROWS)
    other = tmp_path / "copy.sqlite"
    shutil.copy(path, other)
    executor_for(Call(counted, workers=1, journal=other)).evaluate(counted, fs.ROWS)
    assert counted.calls == 40


def test_only_the_points_identify() -> None:
    """Equal numbers that are other bits, and other shapes, are other points."""
    rows = np.array([[0.0, 1.0], [-0.0, 1.0]])
    keys = Rows(rows, (2,)).keys() + Rows(rows, (1, 2)).keys() + Rows(rows.astype(complex), (2,)).keys()
    assert len(set(keys)) == 6
    assert len(set(fs.entries().keys())) == 12
