"""What ``backend="auto"`` means, and its explanation."""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ..core.call import Call
from ..inspecting.cfunctions import CFunction

AUTO = "auto"


class Choice(NamedTuple):
    """A backend to try, and why."""

    backend: str
    reason: str
    explicit: bool = False


def is_jitted(f: object) -> bool:
    """Whether f is a numba dispatcher; numba itself is not loaded for the question."""
    numba = sys.modules.get("numba.core.dispatcher")
    return numba is not None and _is_dispatcher(type(f), numba.Dispatcher)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _is_dispatcher(kind: Any, dispatcher: Any) -> bool:
    return issubclass(kind, dispatcher)  # numba's metaclass takes 250 ns to say so


_PLAIN = (
    Choice("numpy", "f is a plain function of one point that can be lifted to many"),
    Choice("python", "f is a plain Python function of one point: the reference takes any, closures included"),
)
_JITTED = (
    Choice("numba", "f is compiled by numba"),
    Choice("python", "numba cannot compile f for these arguments"),
)
_C_FUNCTION = (Choice("numba", "f is a C function"),)
_DECLARED = (
    Choice("numpy", "f was declared to take many points at once (`batch_axis`)"),
    Choice("python", "f did not keep what `batch_axis` declares"),
)


@cache
def _asked_for(backend: str) -> tuple[Choice, ...]:
    return (Choice(backend, "asked for", explicit=True),)


def choices(call: Call, backend: str) -> tuple[Choice, ...]:
    """List the backends to try, best first."""
    if backend != AUTO:
        return _asked_for(backend)
    if call.batch_axis is not None:
        return _DECLARED
    if isinstance(call.f, CFunction):
        return _C_FUNCTION
    return _JITTED if is_jitted(call.f) else _PLAIN
