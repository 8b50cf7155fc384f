"""What `workers` may be, and who then evaluates f."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from math import inf
from random import Random
from types import GeneratorType
from typing import Any, NamedTuple

import numpy as np

from ..core.call import Call, cores, working
from ..core.point import Point
from ..inspecting.captures import captures, holds, reached
from ..inspecting.purity import keeps
from . import forking
from .executor import Executor, Serial


class Kind(NamedTuple):
    """One kind of `workers`."""

    recognises: Callable[[Any], bool]  # whether a value of `workers` is of this kind
    make: Callable[[Any, Call], Executor]  # returns the executor of such a value


def executor_for(call: Call, point: Point | None = None) -> Executor:
    """Return who evaluates f, for the time of one gradient, as `workers`, `journal` and `progress` of a call say.

    ValueError or OSError if the journal is none, or is another function's, or cannot be used.
    """
    executor: Executor
    if working.get():
        executor = _nested(call)
    else:
        executor = next(kind for kind in KINDS if kind.recognises(call.workers)).make(call.workers, call)
    pieces = pieces_of(point)
    if reads(call.f, point) and not all(executor.may_perturb(piece) for piece in pieces):
        executor = Serial(f"f reads the caller's own x, of which its {executor.way} have no copy each")
    if not isinstance(executor, Serial) and (drawn := _draws(call)):
        executor = Serial(f"f holds a {drawn}, which each worker would draw the same numbers from")
    if call.timeout is not None and not executor.stops:
        raise ValueError(
            f"`timeout` cannot be kept by {executor.way}: {executor.reason}. An evaluation can be stopped only in a "
            "process that this call forks: give `workers` as a number, or let f itself look at the time"
        )
    if call.journal is not None:
        executor = _load("journal").Journaled(executor, call.journal, call, pieces)
    if call.progress:
        executor = _load("progress").shown(executor, call.progress)
    return executor


def pieces_of(point: Point | None) -> list[object]:
    """List what of the caller's holds x: its array, or a list and all that is in it."""
    if point is None or not point.held:
        return []
    return [point.own] if point.container is None else point.container.pieces


def reads(f: Any, point: Point | None) -> bool:
    """Whether f holds the caller's x, or a part of it."""

    def has(piece: object) -> bool:
        if isinstance(piece, np.ndarray):
            return holds(f, piece)
        return any(capture.value is piece for capture in captures(f))

    return any(map(has, pieces_of(point)))


def _draws(call: Call) -> str:
    """Name the random numbers that f may hold: copies of them are not independent, and noise would seem small."""
    numpy = sys.modules.get("numpy.random")
    kinds = (Random, GeneratorType) if numpy is None else (Random, GeneratorType, numpy.Generator, numpy.RandomState)
    found = reached((call.f, call.args, call.kwargs), lambda thing: isinstance(thing, kinds))
    return "" if found is None else type(found).__name__


def _load(module: str) -> Any:
    return import_module(f".{module}", __package__)


def _has(name: str) -> Callable[[Any], bool]:
    return lambda workers: callable(getattr(workers, name, None))


def _here(workers: int, call: Call) -> Executor:
    count = cores() if workers == -1 else workers
    if count == 1 and call.timeout is None:
        return Serial("there is one worker")
    danger = forking.unsafe() or forking.uses_threads((call.f, call.args, call.kwargs))
    made: Executor
    if not danger:
        many = "one process" if count == 1 else f"{count} processes"
        timeout = inf if call.timeout is None else call.timeout
        made = _load("processes").Processes(count, f"{many}, forked for it", timeout, call.on_error == "nan")
    elif kept := keeps(call.f):
        made = Serial(f"no processes: {danger}; no threads: {kept}")
    else:
        made = _load("futures").Threads(count, f"{count} threads, and no processes: {danger}")
    return made


def _nested(call: Call) -> Executor:
    """Evaluate in this worker alone; in a process of its own where an evaluation may have to be stopped."""
    return Serial("this is a worker of another call already") if call.timeout is None else _here(1, call)


def _futures(workers: Any, call: Call) -> Executor:
    made: Executor = _load("futures").Futures(workers, f"`workers` is a {type(workers).__name__}")
    return made


KINDS = (
    Kind(_has("evaluate"), lambda executor, call: executor),  # one of ours
    Kind(lambda workers: hasattr(workers, "__index__"), _here),
    Kind(_has("get_executor"), lambda client, call: _futures(client.get_executor(), call)),
    Kind(_has("submit"), _futures),
    Kind(callable, lambda workers, call: _load("mapping").Mapping(workers, "`workers` is a map-like callable")),
)
