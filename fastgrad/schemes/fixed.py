"""The scheme that does not look at f: steps by a rule."""

from __future__ import annotations

from math import isfinite

import numpy as np

from ..core.evaluation import Evaluation
from ..core.validation import FLOAT64
from .differencing import difference
from .scheme import NOT_ASKED_FOR, Estimate, Steps, Task
from .stencils import Stencil
from .steps import Step

FEW = 40  # components: as many are faster in plain floats than in arrays


class Fixed:
    """Steps by a rule that does not look at f."""

    steps: Steps = "given"

    def __init__(self, stencil: Stencil, rule: Step, name: str) -> None:
        self.stencil, self.rule, self.name = stencil, rule, name
        self._short = None  # a stencil with a single quotient: how that is made in plain floats
        if stencil.symmetric and stencil.nodes.size == 2:
            self._short = self._between
        elif stencil.nodes.size == 1 and stencil.deriv == 1 and not stencil.imaginary:
            self._short = self._beside

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        point = task.point
        if (
            self._short is not None
            and task.everything
            and task.bounds is None
            and point.base.size <= FEW
            and point.dtype is FLOAT64
        ):
            found = self._short(run, task)
            if found is not None:
                return found
        return Estimate(*difference(run, point, task.index, task.everything, self.stencil, self.rule, task.bounds))

    def _beside(self, run: Evaluation, task: Task) -> Estimate | None:
        """Do the same in plain floats, from points to one side; None where a step is lost or f is not finite."""
        x, side = task.point.base.reshape(-1).tolist(), float(self.stencil.nodes[0])
        steps = self.rule.scalars(x)
        spans = [(e + side * h) - e for e, h in zip(x, steps, strict=True)]
        if not all(spans):
            return None
        here = run.value() - run.origin
        slopes = [(value - here) / span for value, span in zip(run.around(steps, (side,)), spans, strict=True)]
        if not isfinite(sum(slopes)):
            return None
        return Estimate(np.array(slopes), np.abs(spans) if task.bars else NOT_ASKED_FOR)

    def _between(self, run: Evaluation, task: Task) -> Estimate | None:
        """Do the same in plain floats, from pairs; None where a step is lost or f is not finite."""
        base = task.point.base
        x = base.tolist() if base.ndim == 1 else base.reshape(-1).tolist()
        steps = self.rule.scalars(x)
        spans = []
        for e, h in zip(x, steps, strict=True):
            above, below = e + h, e - h
            if not below < e < above:
                return None
            spans.append(above - below)
        values = iter(run.around(steps))
        slopes = [(above - below) / span for span, above, below in zip(spans, values, values, strict=True)]
        if not isfinite(sum(slopes)):
            return None
        return Estimate(np.array(slopes), 0.5 * np.array(spans) if task.bars else NOT_ASKED_FOR)
