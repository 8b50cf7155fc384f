"""Progress: told to a callable, shown on a terminal, and off by default."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from fastgrad.core.call import Call
from fastgrad.executors.executor import Serial
from fastgrad.executors.table import executor_for

from . import functions as fs


@pytest.mark.parametrize("workers", [1, 2, map])
def test_a_callable_is_told_each_time(workers: Any) -> None:
    told: list[tuple[int, int]] = []
    executor = executor_for(Call(fs.loss, workers=workers, progress=lambda done, total: told.append((done, total))))
    executor.evaluate(fs.loss, fs.ROWS)
    assert told[-1] == (40, 40)
    executor.evaluate(fs.loss, fs.entries())
    assert told[-1] == (52, 52)
    done = [done for done, _ in told]
    assert done == sorted(set(done))
    assert all(done <= total for done, total in told)


def test_nothing_where_it_is_off_or_there_is_no_terminal() -> None:
    assert isinstance(executor_for(Call(fs.loss, workers=1)), Serial)
    assert isinstance(executor_for(Call(fs.loss, workers=1, progress=True)), Serial)


def test_an_exception_of_the_callable_comes_through() -> None:
    def tell(done: int, total: int) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        executor_for(Call(fs.loss, workers=2, progress=tell)).evaluate(fs.loss, fs.ROWS)


BAR = """
import time, numpy as np
from fastgrad.core.call import Call
from fastgrad.executors.executor import Rows
from fastgrad.executors.table import executor_for
def f(x):
    time.sleep(0.02)
    return float(x.sum())
values = executor_for(Call(f, workers=2, progress=True)).evaluate(f, Rows(np.ones((30, 2)), (2,)))
print(values.sum())
"""


def test_a_bar_on_a_terminal() -> None:
    pytest.importorskip("rich")
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", BAR], stderr=theirs, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm"}
    ) as run:
        os.close(theirs)
        said = b""
        try:
            while data := os.read(ours, 1 << 16):
                said += data
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        assert run.stdout is not None
        assert run.stdout.read() == b"60.0\n"
    text = said.decode("utf-8", "replace")
    assert "evaluations of f" in text
    assert "30/30" in text
    assert "/s" in text


def test_points_count_once_whoever_knows_them(tmp_path: Any) -> None:
    for _ in range(2):
        told: list[int] = []
        executor = executor_for(
            Call(fs.loss, journal=tmp_path / "j", progress=lambda done, total, told=told: told.append(done))
        )
        executor.evaluate(fs.loss, fs.ROWS)
        assert told[-1] == 40
        assert told == sorted(set(told))
