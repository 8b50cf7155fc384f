"""The default rule, compiled, for an f that only Python can call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types

from ...core.errors import CannotRun
from ...core.validation import Floats
from ...schemes.stencils import central
from .cache import entry_point
from .default import begin, end, go_on
from .functions import JIT
from .kernels import TABLE, UNCALM, VECTOR
from .workspace import workspace

# Seconds that the rule takes longer in plain floats; a third of that for each kernel, which are compiled together.
SAVED = 4e-5 / 3


class Judge(NamedTuple):
    """What decides on f's values at and around an x of n entries: see `default.begin`, `go_on` and `end`."""

    begin: Callable[[Floats, Floats, Floats], int]
    go_on: Callable[[Floats, Floats, int, float, Floats, Floats], int]
    end: Callable[[Floats, Floats, Floats], bool]
    spare: list[Floats]  # append and pop are atomic
    size: int
    uncalm: int = UNCALM

    def workspace(self) -> Floats:
        """Return what the three work in."""
        try:
            return self.spare.pop()
        except IndexError:
            return workspace(central(2), None, self.size, 0, 0)


_SIGNATURES: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (begin, (VECTOR, VECTOR, TABLE)),
    (go_on, (VECTOR, VECTOR, types.int64, types.float64, VECTOR, TABLE)),
    (end, (VECTOR, VECTOR, VECTOR)),
)


def judge(n: int, gradients: int) -> Judge | None:
    """Return what decides at x of n entries; None until it is worth compiling, see `cache.entry_point`.

    `gradients` could have been had by it since it was asked for.

    Raises
    ------
    CannotRun
        Where numba does not compile.
    """
    if not JIT:
        raise CannotRun("numba does not compile (NUMBA_DISABLE_JIT)")
    first, second, third = (entry_point(kernel, signature, gradients * SAVED) for kernel, signature in _SIGNATURES)
    return None if first is None or second is None or third is None else Judge(first, second, third, [], n)
