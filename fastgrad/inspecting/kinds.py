"""What kind of function f is: plain, compiled by numba, or C. Numba itself is not loaded for the question."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

from .cfunctions import CFunction

PLAIN, JITTED, C_FUNCTION = "plain", "jitted", "C function"


def kind_of(f: object) -> str:
    """Return the kind of a callable."""
    if isinstance(f, CFunction):
        return C_FUNCTION
    return JITTED if is_jitted(f) else PLAIN


def is_jitted(f: object) -> bool:
    """Whether f is a numba dispatcher."""
    numba = sys.modules.get("numba.core.dispatcher")
    return numba is not None and _is_dispatcher(type(f), numba.Dispatcher)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _is_dispatcher(kind: Any, dispatcher: Any) -> bool:
    return issubclass(kind, dispatcher)  # numba's metaclass takes 250 ns to say so
