"""A map-like callable, as in SciPy: ``workers(function, iterable)`` returns the results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..core.call import cores
from ..core.errors import WorkerError, describe
from .executor import Executor, Function, Gathering, Points
from .futures import workers_of
from .shipping import Reply, Task

Map = Callable[[Any, Iterable[Any]], Iterable[Any]]
PARTS = 4  # for each worker


class Mapping(Executor):
    """Any map: of a pool, of MPI, of a scheduler; parts of the points are its items."""

    way = "map"

    def __init__(self, apply: Map, reason: str) -> None:
        super().__init__(reason)
        self._apply = apply
        self._task: Task | None = None
        self._function: Function | None = None

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        count = gathering.count
        if self._task is None or function is not self._function:
            self._function, self._task = function, Task(function)
        owner = getattr(self._apply, "__self__", None)
        length = max(1, count // (PARTS * (cores() if owner is None else workers_of(owner))))
        tolerant = gathering.tolerant
        parts = [(start, points.take(slice(start, start + length)), tolerant) for start in range(0, count, length)]
        for reply in self._apply(self._task, parts):
            if not isinstance(reply, Reply):
                raise TypeError(
                    f"`workers` must be like `map`: workers(function, iterable) returns function(item) of each item, "
                    f"got {describe(reply)}"
                )
            reply.into(gathering)
            if gathering.complete:
                break
        if not gathering.complete:
            missing = gathering.missing(0, count)
            raise WorkerError(
                f"`workers` returned no value for {missing.size} of {count} points, the first of them "
                f"{points.describe(int(missing[0]))}; it must return function(item) of every item"
            )
