"""The reference, where compiled code decides on f's values: to the bits of the rule in plain floats, in less time."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy import array, empty

from ..core.call import Call
from ..core.errors import CannotRun
from ..core.evaluation import BOTH_WAYS, TWO_SIDES
from ..core.point import Point
from ..core.validation import Floats
from ..schemes.constants import OUTSIDE
from .reference import Reference
from .table import load

if TYPE_CHECKING:
    from .compiled.judging import Judge

MOST = 60  # entries: of more the rule judges in arrays
# Gradients after which the compiled rule has saved what it takes to load: with numba, or where that is loaded already.
WORTH_NUMBA, WORTH_LOADING = 12_000, 2_500
ASKED = 500  # gradients from one time to the next that it is asked whether it is on the disk, or worth compiling

_judges: dict[int, Judge] = {}
_wanted = 0  # gradients without: decides on time alone


def judged(call: Call, point: Point) -> Reference:
    """Return f in a plain loop, with the compiled rule where that is loaded."""
    judge = _judges.get(point.base.size)
    return Unjudged(call, point) if judge is None else Judged(call, point, judge)


class Unjudged(Reference):
    """f in a plain loop; loads the compiled rule once it is worth that."""

    def settled(self) -> Floats | None:
        global _wanted
        _wanted += 1
        if not _wanted % ASKED and _wanted >= (WORTH_LOADING if "numba" in sys.modules else WORTH_NUMBA):
            n = self._base.size
            try:
                judge: Judge | None = load("judge")(n, ASKED) if 0 < n <= MOST else None
            except CannotRun:
                _wanted = -sys.maxsize
            else:
                if judge is not None:
                    _judges[n] = judge
        return None


class Judged(Reference):
    """f in a plain loop, and the compiled rule for the usual case of smooth functions.

    Where that does not decide, the rule in plain floats goes on with the values that are known.
    """

    _line: list[float] | None = None  # f's values that nobody has taken yet
    _swept: list[float] | None = None

    def __init__(self, call: Call, point: Point, judge: Judge) -> None:
        super().__init__(call, point)
        self._judge = judge

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        known, self._line = self._line, None
        return super().along(vector, multiples) if known is None else known

    def around(self, steps: list[float], nodes: tuple[float, ...] = TWO_SIDES) -> list[float]:
        known, self._swept = self._swept, None
        return super().around(steps, nodes) if known is None else known

    @np.errstate(all="ignore")
    def settled(self) -> Floats | None:
        base, judge = self._base, self._judge
        n = base.size
        value = self.value()
        if not isfinite(value):
            return None
        begin, go_on, end, spare, _, uncalm = judge
        x, shaped = (base, self._as_given) if base.ndim == 1 else (base.reshape(-1), self._shaped)
        work, points, out = judge.workspace(), empty((6, n)), empty(n)
        try:
            code = begin(work, x, points)
            if code == uncalm:
                return None
            try:
                self._line = values = self._at_each(shaped(points), True)
            except OUTSIDE:
                self._line = values = []
            if not (len(values) == 6 and isfinite(values[-1])):
                return None
            points = empty((2 * n, n))
            if go_on(work, x, code, value, array(values), points) == uncalm:
                return None
            self._swept = values = self._at_each(shaped(points))
            return out if end(work, array(values), out) else None
        finally:
            spare.append(work)
