"""What all tests of executors start from."""

from __future__ import annotations

import time

import pytest

from fastgrad.executors import forking


@pytest.fixture(autouse=True)
def no_thread_of_another_test_runs() -> None:
    """What an interrupted test has left goes on in a thread until it is done: whoever sees it does not fork."""
    until = time.monotonic() + 60.0
    while forking._python_threads() and time.monotonic() < until:
        time.sleep(0.01)
