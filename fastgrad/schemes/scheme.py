"""What a scheme is: a way to choose the step, and to say what is known of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.evaluation import Evaluation
from ..core.point import Point
from ..core.validation import Bounds, Floats, Ints
from .stencils import Stencil

NOT_ASKED_FOR = np.empty(0)  # steps, without bars


@dataclass(slots=True)  # not frozen: that costs 0.6 µs
class Task:
    """What is to be differentiated."""

    point: Point  # where
    index: Ints  # shape (m,): the coordinates, in C order
    everything: bool = True  # whether these are all of them, in order
    bounds: Bounds | None = None  # lower and upper; f is never evaluated outside
    bars: bool = False  # whether error bars are wanted, for each component
    # what the same scheme returned in `Estimate.memory` before, where the owner asked for that: () at first. None:
    # nothing is to be remembered.
    memory: Any = None


class Estimate(NamedTuple):
    """Partial derivatives, and what is known of them; all of shape (m,), None where it is not known."""

    # the derivatives, and the realised steps; `NOT_ASKED_FOR` without bars
    gradient: Floats
    step: Floats
    error: Floats | None = None  # error bars
    reached: NDArray[np.bool_] | None = None  # which components met a tolerance
    noise: float | None = None  # standard deviation of f's noise
    # for each component, why no digit of it is certain; empty where one is. None: none is flagged.
    flags: tuple[str, ...] | list[str] | None = None
    # shape (m, 2) or None: the one-sided derivatives from below and above, where f has a kink at x; nan elsewhere
    slopes: Floats | None = None
    memory: Any = None  # for `Task.memory` of the next call

    def at(self, places: Ints) -> Estimate:
        """Return the same of some of the components, each as often as it is named."""
        return self._replace(
            gradient=self.gradient[places],
            step=self.step[places] if self.step.size else self.step,
            error=None if self.error is None else self.error[places],
            reached=None if self.reached is None else self.reached[places],
            flags=None if self.flags is None else [self.flags[i] for i in places],
            slopes=None if self.slopes is None else self.slopes[places],
        )


# Steps are given, or chosen by looking at f, or need no choice where an evaluation carries differences unrounded.
Steps = Literal["given", "looking", "unrounded"]


class Scheme(Protocol):
    """A way to choose the step."""

    stencil: Stencil
    name: str
    steps: Steps

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        """Differentiate along the coordinates of the task."""
        ...
