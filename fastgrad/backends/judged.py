"""The rules where compiled code decides on f's values: to the bits of those in floats and in arrays, in less time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from math import inf, isfinite
from threading import Thread
from typing import Any

import numpy as np

from ..core.evaluation import BOTH_WAYS, ONE_WAY, TWO_SIDES, Values
from ..core.validation import Floats, Ints
from ..schemes import calm
from ..schemes.calm import Settled
from ..schemes.constants import OUTSIDE
from ..schemes.smooth import Noted, again, gradient
from .reference import Reference
from .table import load
from .vectors import Vectors

MOST = 60  # entries: of more the rule judges in arrays
# Seconds that a rule takes to load, and llvmlite where it is not in the process, as it is with numba.
LOADS, LLVM = 0.008, 0.03
# What the compiled rule saves where plain floats do not settle a Jacobian, and arrays are to: at least.
ARRAYS = 1e-3


class Awaited:
    """A compiled rule, loaded once it has saved what that takes: decides on time alone.

    `name`: of the rule.
    `saves`, `compiles`: seconds that it saves each time, and that it takes to compile where it is not on the disk.
    """

    def __init__(self, name: str, saves: float, compiles: float) -> None:
        self._name, self._saves, self._compiles = name, saves, compiles
        self.judge: Any = None
        self._saved, self._next = 0.0, LOADS  # seconds that it would have saved, and is to until it is asked for

    def wanted(self, saves: float | None = None) -> Any:
        """Return the rule; None until it is worth loading. `saves`: seconds, where that is more than usual."""
        if self.judge is None:
            self._saved += self._saves if saves is None else saves
            if self._saved >= self._next:
                self._load()
        return self.judge

    def _load(self) -> None:
        if self._saved < LOADS + LLVM and "llvmlite" not in sys.modules:
            self._next = LOADS + LLVM
            return
        self._next = inf
        # in a thread: what a signal raises between two calls of LLVM, as Ctrl-C does, would end the process later
        loading = Thread(target=self._found, args=(self._saved >= self._compiles,), daemon=True)
        with suppress(RuntimeError):  # an interpreter that is about to end begins none
            loading.start()
            loading.join()

    def _found(self, compiles: bool) -> None:
        with suppress(Exception):  # CannotRun, or what else its inside says: plain floats do
            self.judge = load("judge")(self._name, compiles)
            self._next = self._compiles


GRADIENTS = Awaited("gradients", saves=2e-5, compiles=4.0)
JACOBIANS = Awaited("columns", saves=1.5e-4, compiles=9.0)


class Judged(Reference):
    """f in a plain loop, and the rule for the usual case of smooth functions: compiled, once it is worth loading.

    Where that does not decide, the whole rule goes on with the values that are known.
    """

    _asked = False

    def settled(self, side: int) -> Floats | None:
        base = self._base
        if self._asked or not 0 < base.size <= MOST:
            return None
        self._asked = True
        judge = GRADIENTS.judge or GRADIENTS.wanted()
        if judge is not None:
            return self._settled_by(judge, side)
        return None if side or base.ndim != 1 or self._value is not None else self._settled_in_floats(base)

    @np.errstate(all="ignore")
    def _settled_in_floats(self, base: Floats) -> Floats | None:
        values: list[float] = []  # at x, on the line, in the sweep
        try:
            found = gradient(self._f, base.copy() if self.own is None else self.own, base, values)
        except BaseException as error:
            self.nfev += 1
            if not (isinstance(error, OUTSIDE) and 0 < len(values) < 7):  # at an exploring point
                raise
            found = None
            self._knows("along", [])
        else:
            if isinstance(found, np.ndarray):
                return found
            if found is None and len(values) > 1:
                self._knows("along", values[1:])
        finally:
            self.nfev += len(values)
        self._value, self.looked = values[0], found
        if found is None:
            return None
        noted: Noted = {}
        settled = again(self, base.tolist(), found, noted)
        if settled is None:
            self._knows("around", values[7:])
            self._remembers(noted)
        return settled

    @np.errstate(all="ignore")
    def _settled_by(self, judge: Any, side: int) -> Floats | None:
        value = self.value()
        if not isfinite(value):
            return None
        n = self._base.size
        area = judge.area(n, side)
        first, second, third = area.calm
        try:
            area.x[:] = self._base.reshape(-1)
            if first() != 1:
                return None
            try:
                line = self.along(area.vector.tolist(), ONE_WAY if side else BOTH_WAYS)
            except OUTSIDE:
                line = []
            calm = len(line) == 6 and isfinite(line[-1])
            if calm:
                area.seen[:] = [value, *line]
                calm = second() == 1
            if calm:
                swept = area.values[:] = self.around(area.steps.tolist(), (float(side),) if side else TWO_SIDES)
                if third() == 1:
                    return area.result.copy()  # type: ignore[no-any-return]
                looked = None if side else area.looked(line, swept)
                if looked is not None:
                    noted: Noted = {}
                    settled = again(self, area.x.tolist(), looked, noted)
                    if settled is not None:
                        return settled
                    self._remembers(noted)
                self._knows("around", swept)
            self._knows("along", line)
            return None
        finally:
            judge.spare[n, side].append(area)

    def _knows(self, name: str, values: list[float]) -> None:
        """Let the next call of a method give values that are known."""

        def known(*_: object) -> list[float]:
            delattr(self, name)
            return values

        setattr(self, name, known)

    def _remembers(self, noted: Noted) -> None:
        """Let `pair` and `sweep` give what is known, once: the values, or what f raises."""
        if not noted:
            return

        def pair(i: int, up: float, down: float) -> list[float]:
            found = noted.pop((i, up, down), None)
            if not noted:  # nothing refers to itself any longer
                vars(self).pop("pair", None), vars(self).pop("sweep", None)
            if found is None:
                return Reference.pair(self, i, up, down)
            if isinstance(found, Exception):
                raise found
            return list(found)

        def sweep(index: Ints, points: Values) -> Values:
            places = [(i, *row) for i, row in zip(index.tolist(), points.tolist(), strict=True)]
            if not any(place in noted for place in places):
                return Reference.sweep(self, index, points)
            return np.array([pair(*place) for place in places])

        self.pair, self.sweep = pair, sweep  # type: ignore[method-assign]


class JudgedVectors:
    """f around a point, judged in plain floats or by compiled code in the usual case of smooth functions.

    Where that does not decide, the rule in arrays goes on with the values that are known.
    """

    def __init__(self, run: Vectors) -> None:
        self._run = run
        self._known: dict[bytes, list[Floats]] = {}

    def settled(self, x: Floats) -> Settled | None:
        """Return what `calm.entries` does."""
        noted: list[tuple[Floats, Floats]] = []
        judge = JACOBIANS.wanted()
        with np.errstate(all="ignore"):
            found: Settled | None = (judge or calm).entries(self._run, x, noted)
        for points, values in [] if found is not None else noted:
            for point, value in zip(points, values, strict=True):
                self._known.setdefault(point.tobytes(), []).append(value)
        if found is None and judge is None:
            JACOBIANS.wanted(ARRAYS)
        return found

    def value(self) -> Floats:
        """Return f(x), flat."""
        return self._run.value()

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points, but for those whose values are known and have not been asked for since."""
        if not self._known:
            return self._run.explore(points)
        asked = np.asarray(points if isinstance(points, np.ndarray) else list(points))
        values, new = np.empty((len(asked), self.value().size)), []
        for k, point in enumerate(asked):
            found = self._known.get(point.tobytes())
            if found:
                values[k] = found.pop()
            else:
                new.append(k)
        if new:
            values[new] = self._run.explore(asked[new])
        return values
