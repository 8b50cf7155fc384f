"""Schemes that look at f to choose the step: automatic and adaptive. They take f by any evaluation of it."""

from __future__ import annotations

import numpy as np

from ..core.evaluation import Evaluation
from ..core.validation import FLOAT64
from .adaptive import STENCIL, adaptive
from .automatic import Search
from .scheme import NOT_ASKED_FOR, Estimate, Steps, Task
from .stencils import Stencil, backward, central, forward
from .unrounded import nearby


class Automatic:
    """Steps that choose themselves.

    `stencil`: the formula.
    `noise`: standard deviation of f's noise, as its owner declares it; else it is measured.
    `name`: of the method.
    """

    def __init__(self, stencil: Stencil, noise: float | None, name: str) -> None:
        self.stencil, self.noise, self.name = stencil, noise, name
        self._side = SIDES.get(stencil) if noise is None else None
        self.steps: Steps = "unrounded" if self._side == 0 else "looking"

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        point, side = task.point, self._side
        if side is not None and point.dtype is FLOAT64:
            if side == 0 and run.carries(task.index.size):
                exactly = nearby(run, point.base.reshape(-1), task.index, task.bounds, task.bars)
                if exactly is not None:
                    return exactly
            if task.everything and task.bounds is None and task.memory is None and not task.bars:
                settled = run.settled(side)
                if settled is not None:
                    return Estimate(settled, NOT_ASKED_FOR)
        return Search(run, task, self.stencil, self.noise).estimate()


SIDES = {central(2): 0, forward(1): 1, backward(1): -1}  # of the stencils that an evaluation may settle by itself


class Adaptive:
    """A ladder of steps for each component, to a tolerance."""

    stencil = STENCIL
    name = "adaptive"

    def __init__(self, noise: float | None, rtol: float, atol: float) -> None:
        self.noise, self.rtol, self.atol = noise, rtol, atol
        self.steps: Steps = "unrounded" if noise is None else "looking"

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        if self.noise is None and task.point.dtype is FLOAT64:
            exactly = nearby(run, task.point.base.reshape(-1), task.index, task.bounds, True)
            if exactly is not None and exactly.error is not None:
                wanted = np.maximum(self.rtol * np.abs(exactly.gradient), self.atol)
                return exactly._replace(reached=exactly.error <= wanted)
        return adaptive(run, task, self.noise, self.rtol, self.atol)
