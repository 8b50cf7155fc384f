"""f behind a compiled loop, around one point."""

from __future__ import annotations

from math import isfinite
from sys import byteorder
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.call import Call
from ...core.errors import CannotRun
from ...core.evaluation import BOTH_WAYS, InFloats, Values
from ...core.point import Point
from ...core.validation import FLOAT64, Floats, Ints
from ...inspecting.cfunctions import CFunction
from ...lifting import lanes
from ...schemes.stencils import Stencil, central
from ...schemes.steps import Step
from . import functions, kernels
from .callable import make_jitted
from .descent import CompiledDescent
from .functions import COMPLEX, JIT, Target, jitted, positional
from .fused import FusedGradient
from .tables import Table
from .workspace import let_go

CENTRAL = central(2)


class Compiled(InFloats):
    """f behind a compiled kernel."""

    origin = 0.0
    sees_own = False

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.own: NDArray[Any] | None = None
        self.way = "scalar kernel"
        self._eager, self._workers, self._fast, self._imaginary = (
            call.eager,
            call.threads,
            call.fastmath,
            call.imaginary,
        )
        self._point, self._base = point, point.base
        if call.batch_axis is not None:
            raise CannotRun("f takes many points at once; the compiled loop calls it with one")
        if isinstance(call.f, CFunction):
            if call.args or call.kwargs:
                raise TypeError("a C function takes (x, n) only; `args` and `kwargs` must be empty")
            self._known, self._args = jitted(kernels.call_c_function, True), (call.f.address,)
            self._kept = call.f
        else:
            self._known = jitted(call.f, explicit)
            self._args = positional(call)

    @staticmethod
    def check(call: Call, point: Point) -> None:
        """Refuse, for every backend, a jitted f that answers from data that numba has frozen."""
        try:
            known = jitted(call.f, True)
        except CannotRun:
            return
        if point.own is not None and known.shares_memory(point.own):
            raise ValueError(
                "`f` captured the very array `x`, which numba froze when it compiled f: it does not see it change. "
                "Let f use its argument instead"
            )

    @staticmethod
    def quick(call: Call, stencil: Stencil, rule: Step | None, explicit: bool = False) -> FusedGradient | None:
        """Return a prepared gradient by a rule for the step, or by the default one; None where there is none."""
        if call.batch_axis is not None:
            raise CannotRun("f takes many points at once; the compiled loop calls it with one")
        if rule is None:
            possible = stencil is CENTRAL and not call.fastmath and byteorder == "little"
        else:
            possible = stencil.symmetric or not call.fastmath
        possible = possible and JIT and call.threads == 1
        return FusedGradient(call, stencil, rule) if possible else None

    @staticmethod
    def descent(call: Call, stencil: Stencil, rule: Step) -> CompiledDescent:
        """Return a compiled descent along gradients by a fixed rule."""
        return CompiledDescent(call, stencil, rule)

    jitted = staticmethod(make_jitted)

    def notes(self) -> list[str]:
        if not JIT:
            return []
        if self._imaginary:
            return [f"one point at a time: {COMPLEX}"]
        return [self._known.lanes_reason(self._base.ndim, self._args, self._fast)]

    def fastmath(self) -> str:
        """Say what `fastmath` does for this f."""
        if functions.NO_FASTMATH or self._imaginary:
            return f"no effect: {functions.NO_FASTMATH or COMPLEX}"
        target = self._target(FLOAT64)
        if target.scalar_reason:
            return f"no effect: f runs one point at a time: {target.scalar_reason}"
        if not target.vectorised:
            return "no effect: f calls no function that the vector mathematics library has"
        return f"{', '.join(target.vectorised)} within {lanes.MAX_ULP} ulp, from the vector mathematics library"

    def _target(self, dtype: np.dtype[Any]) -> Target:
        return self._known.target(dtype, self._base.ndim, self._args, self._fast)

    def line(self, points: Values) -> Values:
        target = self._target(points.dtype)
        return np.array([self._at(target, point) for point in points], points.dtype)

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        target, values = self._target(FLOAT64), []
        for point in self._base.reshape(-1) + multiples * np.array(vector):
            value = float(self._at(target, point))
            values.append(value)
            if not isfinite(value):
                break
        return values

    def _at(self, target: Target, point: Values) -> Any:
        self.nfev += 1
        x = point.reshape(self._base.shape).copy()
        if target.fast and target.lanes and point.size:  # they round differently: let the noise be seen
            first = np.array([0]), np.array(point[:1]).reshape(1, 1)
            return Table(target, self._args, x, *first).evaluate(1)[0, 0]
        try:
            return target.call(x, *self._args)
        except BaseException:
            let_go(x)
            raise

    def sweep(self, index: Ints, points: Values) -> Values:
        base = self._base if points.dtype.kind == "f" else self._base.astype(np.complex128)
        target = self._target(points.dtype)
        if self._eager:
            target.lift()
        where = np.ascontiguousarray(index, np.int64)
        at_once = self._eager or self._workers > 1
        table = Table(target, self._args, base, where, np.ascontiguousarray(points), at_once)
        try:
            return table.evaluate(self._workers)
        finally:
            self.nfev += table.nfev
            self.way = "lanes" if target.lanes else "scalar kernel"
