"""The form of a problem that each backend takes."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

BACKENDS = ["python", "numpy", "numba"]
# a gradient of more operations would keep a benchmark waiting without showing more
MOST_OPERATIONS = 3e8


def size_near(problem: Any, n: int) -> int:
    """The size of the problem's table that is nearest to n."""
    return min(problem.sizes, key=lambda size: abs(log(size / n)))


def form(problem: Any, backend: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The form of a problem for a backend, with its options; NotImplementedError, which asv skips, if it has none."""
    if backend == "numba":
        return problem.jitted, {}
    if backend == "numpy":
        if problem.batched is None:
            raise NotImplementedError("has no batched form")
        return problem.batched, {"batch_axis": 0}
    return problem.f, {}
