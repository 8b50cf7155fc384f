"""What a lift says when it cannot go on, and where in f it happened."""

from __future__ import annotations

import functools
import math
import threading
import traceback as tracebacks
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CannotLift", "Diverged", "OutOfTime", "Signal", "look_at_clock", "raised", "where_in", "within"]


class _State(threading.local):
    """Of each thread: signals made so far, and when the present lift is to be given up."""

    raised = 0
    until = math.inf


_state = _State()


def raised() -> int:
    """How many signals were made in this thread so far: if more than before f ran, f swallowed one."""
    return _state.raised


class within:  # noqa: N801 - used like a function, as contextlib's are
    """Give a lift up after so many seconds, at its next operation that looks at the clock.

    A class, because a generator costs 2 µs more.
    """

    __slots__ = ("_before", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = _state.until
        _state.until = perf_counter() + self._seconds

    def __exit__(self, *error: object) -> None:
        _state.until = self._before


def look_at_clock(needed: float = 0.0) -> None:
    """Raise OutOfTime if the time is up, or will be before `needed` seconds have passed."""
    if perf_counter() + needed > _state.until:
        raise OutOfTime


class Signal(BaseException):
    """Not an `Exception`, so that an ``except Exception`` in f does not take it for an error of its own."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        _state.raised += 1


class CannotLift(Signal):
    """f does something that has no meaning for many points at once; the message says what."""


class OutOfTime(CannotLift):
    """The lift takes longer than it was given."""

    def __init__(self, reason: str = "the lift takes longer than it could save") -> None:
        super().__init__(reason)


class Diverged(Signal):
    """The points evaluated together take different branches.

    Attributes
    ----------
    apart : ndarray of bool, or None
        Which of the points go one way, where that is known: those and the others can be evaluated
        as two bundles. Neither group is empty.
    """

    def __init__(self, reason: str = "the points take different branches", apart: NDArray[np.bool_] | None = None):
        super().__init__(reason)
        self.apart = apart


def where_in(f: Callable[..., Any], traceback: TracebackType | None) -> str:
    """The line of f that a traceback passed through, as ``name, line 12: y = float(x[0])``.

    The innermost line in the file that defines f counts, so that a helper beside f is named by its
    own line. Empty if the traceback does not reach f.
    """
    while isinstance(f, functools.partial):
        f = f.func
    function: Any = f if hasattr(f, "__code__") else type(f).__call__
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    inside = [frame for frame in tracebacks.extract_tb(traceback) if frame.filename == file]
    if not inside:
        return ""
    place = f"{inside[-1].name}, line {inside[-1].lineno}"
    return f"{place}: {inside[-1].line}" if inside[-1].line else place
