"""How far it is: a bar on a terminal, or a callable that is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ..core.errors import needed
from ..core.validation import Ints
from .executor import Around, Executor, Failures, Function, Points, Receive, Values

Tell = Callable[[int, int], object]


class Shown(Around):
    """An executor that says how many points are done, of those that are known to be wanted.

    A gradient whose steps choose themselves finds out as it goes what else it wants: the total grows then.
    """

    def __init__(
        self, executor: Executor, tell: Tell, showing: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        super().__init__(executor)
        self._tell = tell
        self._showing = showing
        self._done = self._total = 0

    def evaluate(
        self, function: Function, points: Points, receive: Receive | None = None, failures: Failures | None = None
    ) -> Values:
        self._total += len(points)

        def received(numbers: Ints, values: Values | None) -> None:
            if receive is not None:
                receive(numbers, values)
            self._done += len(numbers)
            self._tell(self._done, self._total)

        with self._showing():
            return self._executor.evaluate(function, points, received, failures)


def shown(executor: Executor, progress: bool | Tell) -> Executor:
    """Return an executor that shows its progress: on a terminal only, where `progress` is no callable."""
    if callable(progress):
        return Shown(executor, progress)
    if not sys.stderr.isatty():
        return executor
    bar = _Bar("evaluations of f")
    return Shown(executor, bar.tell, lambda: bar)


def telling(progress: bool | Tell, what: str) -> AbstractContextManager[Tell]:
    """Return what a caller's own loop tells how far it is, for the time of a `with`."""
    if callable(progress):
        return nullcontext(progress)
    return _Bar(what) if progress and sys.stderr.isatty() else nullcontext(lambda done, total: None)


class _Bar(AbstractContextManager[Tell]):
    """What is done, its rate and the time that is left; gone when that is over."""

    def __init__(self, what: str) -> None:
        remedy = "progress=True needs rich: pip install 'fastgrad[cli]'; or pass a callable"
        rich, console = needed("rich.progress", remedy), needed("rich.console", remedy)
        self._bar = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}"),
            rich.TimeRemainingColumn(),
            console=console.Console(stderr=True),
            transient=True,
            auto_refresh=False,  # by a thread, which would be in the way of a fork
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(what, total=None, rate="")

    def __enter__(self) -> Tell:
        self._bar.start()
        return self.tell

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def tell(self, done: int, total: int) -> None:
        task = self._bar.tasks[0]
        rate = f"{task.speed:.3g}/s" if task.speed else ""
        self._bar.update(self._task, completed=done, total=total, rate=rate)
        self._bar.refresh()
