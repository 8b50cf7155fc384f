"""Threads for compiled loops that release the interpreter: started when they are first wanted, and kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Task = Callable[[threading.Event], Any]

# A task and its answer through these cost 15 µs; through concurrent.futures, 52 µs (measured).
_tasks: SimpleQueue[Any] = SimpleQueue()
_threads: list[threading.Thread] = []
_starting = threading.Lock()
_here = threading.local()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _tasks, _starting
    _tasks, _starting = SimpleQueue(), threading.Lock()
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _work(tasks: SimpleQueue[Any]) -> None:
    _here.working = True
    while True:
        place, task, stop, answers = tasks.get()
        answer: tuple[int, Any, BaseException | None]
        try:
            answer = place, task(stop), None
        except BaseException as error:  # noqa: BLE001 - whoever asked raises it
            answer = place, None, error
        answers.put(answer)
        del task, stop, answers, answer  # or they would live until the next task


def run_all(tasks: list[Task]) -> list[Any]:
    """Run the tasks, each in a thread, the first in this one; return their results.

    Of several exceptions the first task's is raised, as if they had run one after the other. Each task gets an event
    that is set when it should stop: at Ctrl-C.
    """
    stop = threading.Event()
    if len(tasks) == 1 or getattr(_here, "working", False):  # a task that waits for others of its kind may for ever
        return [task(stop) for task in tasks]
    with _starting:
        while len(_threads) < len(tasks) - 1:
            thread = threading.Thread(target=_work, args=(_tasks,), name="fastgrad", daemon=True)
            thread.start()
            _threads.append(thread)
    answers: SimpleQueue[Any] = SimpleQueue()
    for place, task in enumerate(tasks[1:], 1):
        _tasks.put((place, task, stop, answers))
    results, errors = [None] * len(tasks), {}
    missing = len(tasks) - 1
    try:
        results[0] = tasks[0](stop)
        while missing:
            place, results[place], error = answers.get()
            missing -= 1
            if error is not None:
                errors[place] = error
    except BaseException:
        stop.set()
        while missing:
            answers.get()
            missing -= 1
        raise
    if errors:
        raise errors[min(errors)]
    return results
