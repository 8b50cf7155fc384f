"""A whole descent in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numba import types

from ...core.call import Call
from ...core.validation import FLOAT64, Args, Floats
from ...inspecting.cfunctions import CFunction
from ...lifting.native import array_type
from ...schemes.stencils import Stencil
from ...schemes.steps import Step
from . import kernels
from .cache import entry_point
from .functions import jitted
from .fused import GENERAL, FusedGradient
from .workspace import record


class CompiledDescent:
    """A whole descent by one rule for the step; see `fastgrad.descent`."""

    def __init__(self, call: Call, stencil: Stencil, rule: Step) -> None:
        f = call.f
        self._args: Args = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._args else f, True)
        self._fused = FusedGradient(call, stencil, rule)
        self._eager = call.eager

    def __call__(
        self, start: Floats, rate: float, steps: int, tol: float, hopeless: Callable[[float], float], trail: Any
    ) -> tuple[Floats, str] | None:
        """Take the steps from `start`; returns the last point and why it stopped, and fills in the trail.

        None while it is not worth compiling: then nothing has happened.
        """
        x, n = start.copy(), start.size
        target = self._known.target(FLOAT64, x.ndim, self._args)
        if self._eager:
            target.lift()
        array, kinds = array_type(x.ndim), types.Tuple(target.kinds)
        numbers = (types.float64,) * 3
        signature = kinds, kernels.VECTOR, array, array, *numbers, types.boolean, kernels.TABLE, kernels.VECTOR
        descend = entry_point(kernels.descend, signature, inf if self._eager else steps * GENERAL)
        if descend is None:
            return None
        args, work = target.pack(self._args), self._fused.workspace(target, n)
        head = record(work)
        slope = np.empty_like(x)
        path = trail.path.reshape(len(trail.path), n)
        most = hopeless(target.call(x.copy(), *self._args))
        ended = n
        while trail.steps < steps and ended == n:
            rows, values = path[trail.steps :] if trail.record else path, trail.values[trail.steps : steps]
            taken, ended = descend(args, work, x, slope, rate, tol, most, trail.record, rows, values)
            trail.steps += taken
            if head.spent > head.budget or work[head.meter_at] > kernels.MOST_WASTE:
                self._fused.reconsider(target, work)
            if ended == n + kernels.DISTURBED:
                head.refill, ended = 1, n
        if ended == n:
            trail.note(x, target.call(x.copy(), *self._args))
            return x, "step_num reached" if np.isfinite(trail.values[trail.steps]) else "f is not finite"
        if ended == -n - 1:
            return x, "tol reached"
        if ended < 0:
            if trail.steps == 0:
                i = -ended - 1
                raise ValueError(
                    f"`h` vanishes or overflows at coordinate {i}: x = {x.reshape(-1)[i]}; use another `h`"
                )
            trail.lost = f"the step is lost at coordinate {-ended - 1}"
            return x, "diverged"
        if abs(trail.values[trail.steps]) > most:
            return x, "diverged"
        return x, "f is not finite" if not np.isfinite(trail.values[trail.steps]) else "the gradient is not finite"
