"""Threads for compiled loops that release the interpreter: one pool, made when it is first wanted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

_pools: dict[int, ThreadPoolExecutor] = {}
_making = threading.Lock()
_here = threading.local()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _making
    _pools.clear()
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_all(tasks: list[Callable[[threading.Event], Any]]) -> list[Any]:
    """Run the tasks, each in a thread, the first in this one; return their results.

    Of several exceptions the first task's is raised, as if they had run one after the other. Each task gets an event
    that is set when it should stop: at Ctrl-C.
    """
    stop = threading.Event()
    if len(tasks) == 1 or getattr(_here, "working", False):  # a task that waits for others in its own pool may for ever
        return [task(stop) for task in tasks]
    with _making:
        pool = _pools.get(len(tasks) - 1)
        if pool is None:
            pool = _pools[len(tasks) - 1] = ThreadPoolExecutor(
                len(tasks) - 1, "fastgrad", lambda: setattr(_here, "working", True)
            )
    others = [pool.submit(task, stop) for task in tasks[1:]]
    try:
        first = tasks[0](stop)
    except BaseException:
        stop.set()
        wait(others)
        raise
    try:
        wait(others)
    except KeyboardInterrupt:
        stop.set()
        wait(others)
        raise
    return [first, *(future.result() for future in others)]
