"""The reference, where compiled code decides on f's values: to the bits of the rule in plain floats, in less time."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import CannotRun
from ..core.evaluation import BOTH_WAYS, TWO_SIDES
from ..core.validation import Floats
from ..schemes.constants import OUTSIDE
from .reference import Reference
from .table import load

if TYPE_CHECKING:
    from .compiled.judging import Judge

MOST = 60  # entries: of more the rule judges in arrays
# Gradients after which the compiled rule has saved, at 40 µs each, what it takes to load it: 4 ms where llvmlite is in
# the process, as it is with numba, else 40; and to compile it, where it is not on the disk.
WORTH_LOADING, WORTH_LLVM, WORTH_COMPILING = 100, 1_000, 100_000

_judges: dict[tuple[int, int], Judge] = {}
_wanted = 0  # gradients without: decides on time alone
_next = WORTH_LOADING  # of them, to ask again


class Judged(Reference):
    """f in a plain loop, and the compiled rule for the usual case of smooth functions, once it is worth loading.

    Where that does not decide, the rule in plain floats goes on with the values that are known.
    """

    _line: list[float] | None = None  # f's values that nobody has taken yet
    _swept: list[float] | None = None

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        known, self._line = self._line, None
        return super().along(vector, multiples) if known is None else known

    def around(self, steps: list[float], nodes: tuple[float, ...] = TWO_SIDES) -> list[float]:
        known, self._swept = self._swept, None
        return super().around(steps, nodes) if known is None else known

    def settled(self, side: int) -> Floats | None:
        judge = _judges.get((self._base.size, side))
        if judge is not None:
            return self._settled(judge)
        _loads(self._base.size, side)
        return None

    @np.errstate(all="ignore")
    def _settled(self, judge: Judge) -> Floats | None:
        base = self._base
        value = self.value()
        if not isfinite(value):
            return None
        flat, shaped = (base, self._as_given) if base.ndim == 1 else (base.reshape(-1), self._shaped)
        area = judge.area()
        try:
            area.x[:] = flat
            if not area.judge(0):
                return None
            try:
                self._line = values = self._at_each(shaped(area.line.copy()), True)
            except OUTSIDE:
                self._line = values = []
            if not (len(values) == 6 and isfinite(values[-1])):
                return None
            area.seen[:] = [value, *values]
            if not area.judge(1):
                return None
            self._swept = area.values[:] = self._at_each(shaped(area.swept.copy()))
            return area.result.copy() if area.judge(2) else None
        finally:
            judge.give_back(area)


def _loads(n: int, side: int) -> None:
    """Load the compiled rule, where that is worth it."""
    global _next, _wanted
    _wanted += 1
    if _wanted < _next or not 0 < n <= MOST:
        return
    if _wanted < WORTH_LLVM and "llvmlite" not in sys.modules:
        _next = WORTH_LLVM
        return
    try:
        judge = load("judge")(n, side, _wanted >= WORTH_COMPILING)
    except CannotRun:
        _next = sys.maxsize
    else:
        if judge is None:
            _next = WORTH_COMPILING
        else:
            _judges[n, side] = judge
