"""What `workers` may be, and who then evaluates f."""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from os import PathLike
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import describe
from . import forking
from .executor import Executor, Serial, working


class Kind(NamedTuple):
    """One kind of `workers`.

    Attributes
    ----------
    valid : str
        What is to be passed, in words.
    recognises : callable
        Whether a value of `workers` is of this kind.
    make : callable
        Returns the executor of such a value.
    """

    valid: str
    recognises: Callable[[Any], bool]
    make: Callable[[Any, Call], Executor]


def executor_for(
    workers: Any,
    call: Call,
    own: NDArray[Any] | None = None,
    journal: str | PathLike[str] | None = None,
    progress: bool | Callable[[int, int], object] = False,
) -> Executor:
    """Return who evaluates f, for the time of one gradient.

    Parameters
    ----------
    workers : int, concurrent.futures.Executor or callable
        How many workers (-1: one a core), an executor, or a map-like callable.
    call : Call
        f and its arguments.
    own : ndarray, optional
        The caller's x, which f may read.
    journal : path-like, optional
        Where evaluations are kept.
    progress : bool or callable
        Whether to show how far it is, or whom to tell.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; or the journal is not one, or is another function's.
    """
    kind = kind_of(workers)
    if working.get():
        executor: Executor = Serial("this is a worker of another call already")
    else:
        executor = kind.make(workers, call)
    if journal is not None:
        executor = import_module(".journal", __package__).Journaled(executor, journal, call, own)
    if progress:
        shown = import_module(".progress", __package__).shown(executor, progress)
        executor = executor if shown is None else shown
    return executor


def kind_of(workers: Any) -> Kind:
    """Return what kind of `workers` this is.

    Raises
    ------
    TypeError, ValueError
        If it is of none.
    """
    if _is_number(workers) and operator.index(workers) != -1 and operator.index(workers) < 1:
        raise ValueError(f"`workers` must be 1 or more, or -1 for one a core; got {describe(workers)}")
    for kind in KINDS:
        if kind.recognises(workers):
            return kind
    raise TypeError(f"`workers` must be {', '.join(kind.valid for kind in KINDS)}; got {describe(workers)}")


def count_of(workers: Any) -> int:
    """Return how many evaluations there may be at a time, of a whole number of workers."""
    number = operator.index(workers)
    return forking.cores() if number == -1 else number


def _is_number(workers: Any) -> bool:
    return hasattr(type(workers), "__index__") and not isinstance(workers, bool)


def _has(name: str) -> Callable[[Any], bool]:
    return lambda workers: callable(getattr(workers, name, None))


def _here(workers: Any, call: Call) -> Executor:
    count = count_of(workers)
    if count == 1:
        return Serial("one worker")
    danger = forking.unsafe()
    made: Executor
    if not danger:
        made = import_module(".processes", __package__).Processes(count, f"{count} processes, forked for each sweep")
        return made
    held = import_module("..inspecting.purity", __package__).nature(call.f, (*call.args, *call.kwargs.values()))
    if held.keeps:
        return Serial(f"no processes: {danger}; no threads: {held.keeps}")
    made = import_module(".futures", __package__).Threads(count, f"{count} threads, and no processes: {danger}")
    return made


def _futures(workers: Any, call: Call) -> Executor:
    made: Executor = import_module(".futures", __package__).Futures(workers, f"`workers` is a {type(workers).__name__}")
    return made


def _cluster(workers: Any, call: Call) -> Executor:
    return _futures(workers.get_executor(), call)


def _map(workers: Any, call: Call) -> Executor:
    made: Executor = import_module(".mapping", __package__).Mapping(workers, "`workers` is a map-like callable")
    return made


KINDS = (
    Kind("a whole number of workers (-1: one a core)", _is_number, _here),
    Kind("a dask Client", _has("get_executor"), _cluster),
    Kind("a concurrent.futures.Executor", _has("submit"), _futures),
    Kind("a map-like callable: workers(function, iterable)", callable, _map),
)
