"""What a lift says when it cannot go on, and where in f it happened."""

from __future__ import annotations

import functools
import linecache
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _State(threading.local):
    """Of each thread: signals made so far."""

    raised = 0


_state = _State()


def raised() -> int:
    """How many signals were made in this thread so far: if more than before f ran, f swallowed one."""
    return _state.raised


def forgive(count: int) -> None:
    """Take those after so many for not made in this thread: they were heeded, and f is run again."""
    _state.raised = count


class Signal(BaseException):
    """Not an `Exception`, so that an ``except Exception`` in f does not take it for an error of its own."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        _state.raised += 1


class CannotLift(Signal):
    """f does something that has no meaning for many points at once; the message says what."""


class Outrun(Signal):
    """Another way would be faster.

    `to`, {"loop", "dense", "sparse"}: which.
    `by`: by how much, in counted work.
    """

    def __init__(self, reason: str, to: str, by: float = 0.0) -> None:
        super().__init__(f"{reason}: the {'plain loop' if to == 'loop' else f'{to} lift'} is faster")
        self.to, self.by = to, by


class Diverged(Signal):
    """The points evaluated together take different branches."""

    def __init__(self, reason: str = "the points take different branches", apart: NDArray[np.bool_] | None = None):
        super().__init__(reason)
        # which of the points go one way, where that is known: those and the others can be evaluated as two bundles.
        # Neither group is empty.
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
    inside = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            inside = traceback
        traceback = traceback.tb_next
    if inside is None:
        return ""
    frame, number = inside.tb_frame, inside.tb_lineno
    linecache.checkcache(frame.f_code.co_filename)  # of one file: the traceback module looks at all, 100 us
    line = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    place = f"{frame.f_code.co_name}, line {number}"
    return f"{place}: {line}" if line else place
