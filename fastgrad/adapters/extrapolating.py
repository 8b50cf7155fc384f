"""numdifftools' step generators, and what differences at their steps come to where these shrink to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MaxStepGenerator", "MinStepGenerator", "extrapolated"]

LEVELS = 3  # of extrapolation: each amplifies rounding


@dataclass
class MinStepGenerator:
    """Steps that grow from the smallest by a ratio.

    Attributes
    ----------
    base_step : float or array_like, optional
        The smallest one. By default the steps choose themselves, and nothing else here has anything to act on.
    step_ratio : float, optional
        Of one step to the next; by default 2.
    num_steps : int, optional
        How many; by default as many as `num_extrap` extrapolations take.
    step_nom : float or array_like, optional
        What `base_step` is relative to; by default log(e + abs(x)), at least 1.
    offset : float
        The ratio to this power is a factor of all.
    num_extrap : int
    use_exact_steps : bool
        Round steps to numbers that x + step keeps.
    check_num_steps : bool
        Every difference is complete by itself here: there is nothing to check.
    scale : float, optional
        Of numdifftools' default of `base_step`.

    Examples
    --------
    >>> [float(step) for step in MinStepGenerator(base_step=0.25, num_steps=3, step_nom=1.0)(0.0)]
    [1.0, 0.5, 0.25]
    """

    base_step: Any = None
    step_ratio: float | None = None
    num_steps: int | None = None
    step_nom: Any = None
    offset: float = 0.0
    num_extrap: int = 0
    use_exact_steps: bool = True
    check_num_steps: bool = True
    scale: float | None = None

    def __call__(self, x: ArrayLike, method: str = "forward", n: int = 1, order: int = 2) -> list[NDArray[Any]]:
        """Return the steps, the largest one first."""
        size = np.maximum(np.log(np.e + np.abs(x)), 1.0) if self.step_nom is None else np.asarray(self.step_nom, float)
        base = np.asarray(self.base_step, dtype=np.float64)
        count = self.num_steps or self._count()
        steps = [base * size * (self.step_ratio or 2.0) ** (k + self.offset) for k in self._powers(count)]
        return [(1.0 + step) - 1.0 if self.use_exact_steps else step for step in steps]

    def _count(self) -> int:
        return 1 + self.num_extrap

    def _powers(self, count: int) -> range:
        return range(count - 1, -1, -1)


@dataclass
class MaxStepGenerator(MinStepGenerator):
    """Steps that shrink from the largest by a ratio: `base_step` is that; by default 15 steps.

    Examples
    --------
    >>> [float(step) for step in MaxStepGenerator(base_step=2.0, num_steps=3)(0.0)]
    [2.0, 1.0, 0.5]
    """

    def _count(self) -> int:
        return 15 + self.num_extrap

    def _powers(self, count: int) -> range:
        return range(0, -count, -1)


def extrapolated(
    difference: Callable[[NDArray[Any]], Any], steps: list[NDArray[Any]], power: int, between: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    r"""Return the limit of differences, what it may be wrong by, and the smallest step it rests on.

    Of two differences, whose errors are as :math:`h^p` first, the combination :math:`D_2 + (D_2 - D_1) / (r^p - 1)` is
    of the next power (Richardson 1911), r being the ratio of the steps. Each number is taken from where the table
    changes least, of which the doubt is the larger change beside.
    """
    with np.errstate(all="ignore"):
        level = [np.asarray(difference(step)) for step in steps]
        shape = level[0].shape
        found, doubt, used = level[0], np.full(shape, np.nan), np.asarray(steps[0])
        if len(steps) == 1:
            return found, doubt, used
        doubt, place = np.full(shape, np.inf), np.zeros(shape, dtype=np.intp)
        for turn in range(min(LEVELS + 1, len(steps) - 1)):
            apart = [np.abs(finer - coarser) for coarser, finer in pairwise(level)]
            for i, change in enumerate(apart):
                beside = np.maximum(change, apart[i + 1] if i + 1 < len(apart) else change)
                better = beside < doubt
                found, doubt = np.where(better, level[i + 1], found), np.where(better, beside, doubt)
                place = np.where(better, turn + i + 1, place)
            ratios = [np.ravel(a / b)[0] for a, b in zip(steps, steps[turn + 1 :], strict=False)]
            level = [b + (b - a) / (r**power - 1.0) for a, b, r in zip(level, level[1:], ratios, strict=False)]
            power += between
    return np.where(np.isfinite(doubt), found, np.nan), doubt, np.asarray(steps[int(place.max(initial=0))])
