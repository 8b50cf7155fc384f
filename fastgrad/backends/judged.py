"""The reference, where compiled code decides on f's values: to the bits of the rule in plain floats, in less time."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import CannotRun
from ..core.evaluation import BOTH_WAYS, ONE_WAY, TWO_SIDES
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

    def settled(self, side: int) -> Floats | None:
        global _wanted
        judge = _judges.get((self._base.size, side))
        if judge is not None:
            return self._settled(judge, side)
        _wanted += 1
        if _wanted >= _next:
            _load(self._base.size, side)
        return None

    @np.errstate(all="ignore")
    def _settled(self, judge: Judge, side: int) -> Floats | None:
        value = self.value()
        if not isfinite(value):
            return None
        area = judge.area()
        try:
            area.x[:] = self._base.reshape(-1)
            if not area.judge(0):
                return None
            try:
                line = self.along(area.vector.tolist(), ONE_WAY if side else BOTH_WAYS)
            except OUTSIDE:
                line = []
            calm = len(line) == 6 and isfinite(line[-1])
            if calm:
                area.seen[:] = [value, *line]
                calm = area.judge(1)
            if calm:
                swept = area.values[:] = self.around(area.steps.tolist(), (float(side),) if side else TWO_SIDES)
                if area.judge(2):
                    return area.result.copy()
                self._knows("around", swept)
            self._knows("along", line)
            return None
        finally:
            judge.give_back(area)

    def _knows(self, name: str, values: list[float]) -> None:
        """Let the next call of a method give values that are known."""

        def known(*_: object) -> list[float]:
            delattr(self, name)
            return values

        setattr(self, name, known)


def _load(n: int, side: int) -> None:
    """Load the compiled rule, if that is worth it."""
    global _next
    if not 0 < n <= MOST:
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
