"""Executors of `concurrent.futures`' kind, and threads of our own: parts of the points as futures, a few at a time."""

from __future__ import annotations

import concurrent.futures as cf
from typing import Any

from ..core.call import cores
from ..core.errors import WorkerError, describe
from .executor import Executor, Function, Gathering, Points, chunks_of
from .shipping import Part, Reply, Task

# Seconds that a part lasts: a task costs some 0.3 ms in a pool and 6 ms in a cluster; with a worker its part is lost.
SHORT, LONG = 0.02, 0.5
WAITING = 2  # parts for each worker: one that it is busy with, and one that it finds when it is done
TRIES = 2  # of a part whose worker was lost
LARGE = 1 << 16  # bytes of f beyond which a cluster is asked to keep it

Span = tuple[int, int]


class Futures(Executor):
    """Any executor that the caller has: a pool of processes or threads, loky's, dask's, mpi4py's."""

    def __init__(self, executor: Any, reason: str) -> None:
        super().__init__(reason)
        self._executor = executor
        self._task: Task | None = None
        self._function: Function | None = None
        self._shipped: Any = None
        self._seconds: float | None = None  # of one evaluation, as far as is known

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        self._ship(function)
        self._run(points, gathering)

    def _ship(self, function: Function) -> None:
        """Send f to the workers, once for all sweeps of a gradient."""
        if function is not self._function:
            self._function, self._task = function, Task(function)
            self._shipped = _kept_by_cluster(self._executor, self._task)

    def _run(self, points: Points, gathering: Gathering) -> None:
        workers = workers_of(self._executor)
        waiting: dict[cf.Future[Reply], Span] = {}
        tries: dict[Span, int] = {}
        start = 0
        try:
            while not gathering.complete:
                most = workers if self._seconds is None else WAITING * workers
                while len(waiting) < most and start < gathering.end:
                    stop = min(start + self._length(start, gathering.count, workers), gathering.end)
                    waiting[self._submit(points, (start, stop), gathering)] = start, stop
                    start = stop
                for done in sorted(cf.wait(waiting, return_when=cf.FIRST_COMPLETED).done, key=waiting.__getitem__):
                    part = waiting.pop(done)
                    try:
                        reply = done.result()
                    except Exception as error:
                        # f's own exceptions come as replies: it is the worker or the way to it that failed
                        tries[part] = tries.get(part, 1) + 1
                        if tries[part] > TRIES or isinstance(error, (TypeError, cf.CancelledError)):
                            raise _lost(error, points, part, gathering) from error
                        waiting[self._submit(points, part, gathering)] = part
                    else:
                        reply.into(gathering)
                        self._seconds = reply.seconds / (len(reply.values) + len(reply.failures))
        finally:
            for future in waiting:
                future.cancel()

    def _length(self, start: int, count: int, workers: int) -> int:
        if self._seconds is None:
            return 1  # to see how long it takes
        fewest, most = (max(1, round(seconds / max(self._seconds, 1e-9))) for seconds in (SHORT, LONG))
        share = -(-(count - start) // workers)
        return min(share, most, max(fewest, chunks_of(start, count, workers)))

    def _submit(self, points: Points, part: Span, gathering: Gathering) -> cf.Future[Reply]:
        try:
            submitted: cf.Future[Reply] = self._executor.submit(
                _call, self._shipped, (part[0], points.take(slice(*part)), gathering.tolerant)
            )
        except (cf.BrokenExecutor, RuntimeError) as error:  # the latter: it was shut down
            raise _lost(error, points, part, gathering) from error
        return submitted


def _call(task: Task, part: Part) -> Reply:
    return task(part)


def _lost(error: BaseException, points: Points, part: Span, gathering: Gathering) -> BaseException:
    if isinstance(error, TypeError) and not isinstance(error, cf.BrokenExecutor):
        return error  # f does not pickle
    start, stop = part
    which = f"point {start}" if stop == start + 1 else f"points {start} to {stop - 1}"
    arrived = gathering.count - gathering.missing(0, gathering.count).size
    return WorkerError(
        f"`workers` lost {which} of {gathering.count}, the first of them {points.describe(start)}: "
        f"{type(error).__name__}: {describe(str(error), 200)}; {arrived} points had arrived. With a `journal` these "
        "are kept, and the same call goes on from there with a new executor"
    )


def workers_of(executor: Any) -> int:
    """Return how many evaluations an executor runs at a time; as many as there are cores where it does not say."""
    for name in ("_max_workers", "num_workers", "_processes"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return number
    client = getattr(executor, "_client", None)  # dask's
    if client is not None:
        return max(1, int(sum(client.nthreads().values())))
    return cores()


def _kept_by_cluster(executor: Any, task: Task) -> Any:
    """Send a large f to all workers of a cluster at once, where the executor belongs to one (dask)."""
    scatter = getattr(getattr(executor, "_client", None), "scatter", None)
    if scatter is None or len(task.packed()) < LARGE:
        return task
    return scatter(task, broadcast=True, hash=False)


class Threads(Futures):
    """Threads of our own, for one sweep."""

    way = "threads"

    def __init__(self, workers: int, reason: str) -> None:
        super().__init__(None, reason)
        self.workers = workers

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        pool = cf.ThreadPoolExecutor(min(self.workers, len(points)), "fastgrad")
        self._executor = pool
        try:
            super().gather(function, points, gathering)
        except KeyboardInterrupt:
            # an evaluation that has begun cannot be stopped: it is not waited for, and no other begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()
