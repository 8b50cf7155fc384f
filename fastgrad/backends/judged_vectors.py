"""Jacobians where compiled code decides on f's values: to the bits of the rule in arrays, in less time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import CannotRun
from ..core.validation import Floats
from .table import load
from .vectors import Vectors

if TYPE_CHECKING:
    from .compiled.columns import Judge

# Jacobians after which the compiled rule has saved what it takes to load: with numba, or where that is loaded already.
WORTH_NUMBA, WORTH_LOADING = 1_200, 200
ASKED = 100  # Jacobians from one time to the next that it is asked whether it is on the disk, or worth compiling

_judge: Judge | None = None
_wanted = 0  # Jacobians without: decides on time alone


def judge_of_columns() -> Judge | None:
    """Return the compiled rule; None until it is worth loading."""
    global _judge, _wanted
    if _judge is None:
        _wanted += 1
        if not _wanted % ASKED and _wanted >= (WORTH_LOADING if "numba" in sys.modules else WORTH_NUMBA):
            try:
                _judge = load("judge of columns")(ASKED)
            except CannotRun:
                _wanted = -sys.maxsize
    return _judge


class Judged:
    """f around a point, judged by compiled code in the usual case of smooth functions.

    Where that does not decide, the rule in arrays goes on with the values that are known.
    """

    def __init__(self, run: Vectors, judge: Judge) -> None:
        self._run, self._judge = run, judge
        self._noted: list[tuple[Floats, Floats]] = []

    def settled(self, x: Floats) -> Floats | None:
        """Return the Jacobian, column by column; None where it is not sure."""
        with np.errstate(all="ignore"):
            return self._judge.entries(self._run, x, self._noted)

    def value(self) -> Floats:
        """Return f(x), flat."""
        return self._run.value()

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points, or remember its values, if they are asked for in the same order again."""
        if not self._noted:
            return self._run.explore(points)
        asked = np.asarray(points if isinstance(points, np.ndarray) else list(points))
        known, values = self._noted.pop(0)
        if known.shape == asked.shape and known.tobytes() == asked.tobytes():
            return values
        self._noted.clear()
        return self._run.explore(asked)
