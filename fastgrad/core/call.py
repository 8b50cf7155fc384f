"""f with its extra arguments, and how it may be called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TypedDict, Unpack

import numpy as np

from .validation import Args, Array, Function

# A worker's own calls run in a plain loop: workers of workers would only compete for the same cores.
working: ContextVar[bool] = ContextVar("working", default=False)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


NO_KWARGS: Mapping[str, Any] = {}


class Manner(TypedDict, total=False):
    """How f may be called, besides its arguments: see `Call`."""

    batch_axis: int | None
    eager: bool
    workers: Any
    fastmath: bool
    imaginary: bool
    journal: str | None
    progress: Any
    on_error: str
    timeout: float | None


class Call:
    """How f is called."""

    # what it gets after x
    args: Args = ()
    kwargs: Mapping[str, Any] = NO_KWARGS
    # None: f takes one point. 0: f takes (k, *shape). -1: f takes (*shape, k). It returns (k,).
    batch_axis: int | None = None
    eager: bool = False  # whether a compiling backend compiles at once all that it may ever need
    workers: Any = 1  # how many workers may evaluate f at a time (-1: one a core), or who does
    fastmath: bool = False  # whether exp, log, ... may be a little less exact, where a backend has faster ones
    imaginary: bool = False  # whether f is to be evaluated at complex points
    journal: str | None = None  # the file where evaluations are kept
    progress: Any = False  # whether to show how far it is, or whom to tell
    on_error: str = "raise"  # what becomes of an evaluation that raises, or takes too long
    timeout: float | None = None  # seconds that an evaluation may take
    watched: bool = False  # whether something is asked for that an executor of plain evaluations alone can do
    shared: bool = False  # the same, or whether workers are to share the evaluations
    usual: bool = True  # whether nothing is asked for but an evaluation

    def __init__(
        self, f: Function, args: Args = (), kwargs: Mapping[str, Any] | None = None, **manner: Unpack[Manner]
    ) -> None:
        self.f = f  # the function
        if args:
            self.args = args
        if kwargs:
            self.kwargs = kwargs
        if manner:  # what is usual is the class's
            vars(self).update(manner)
            self.watched = (
                not isinstance(self.workers, int)
                or self.journal is not None
                or self.progress is not False
                or self.on_error != "raise"
                or self.timeout is not None
            )
            self.shared = self.watched or self.workers != 1
            self.usual = False

    def value(self, x: Any) -> Any:
        """Return what f gives at x."""
        return self.f(x, *self.args, **self.kwargs)

    @property
    def threads(self) -> int:
        """How many threads may run a compiled f, where `workers` is a number."""
        if not isinstance(self.workers, int) or self.workers == 1 or working.get():
            return 1
        return cores() if self.workers == -1 else self.workers

    def but(self, **changes: Any) -> Call:
        """Return the same call with some of its attributes changed."""
        given = {name: value for name, value in vars(self).items() if name not in ("shared", "usual", "watched")}
        return Call(**given | changes)

    def of_one_point(self) -> Call:
        """Return the same for an f of one point: a function of many gets a batch of one."""
        f, axis = self.f, self.batch_axis
        if axis is None:
            return self

        def alone(x: Array, *args: Any, **kwargs: Any) -> Any:
            return f(np.expand_dims(x, axis), *args, **kwargs)

        return self.but(f=alone, batch_axis=None)

    def shares_memory(self, array: Array | None) -> bool:
        """Whether an argument views the array's memory, so that perturbing one would perturb the other."""
        if array is None or not (self.args or self.kwargs):
            return False
        return any(np.may_share_memory(a, array) for a in _arrays((self.args, self.kwargs)))


def _arrays(value: Any) -> list[Array]:
    """List the arrays in nested tuples, lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [array for item in value for array in _arrays(item)]
    return []
