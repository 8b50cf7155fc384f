"""What a gradient reports of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .validation import Floats


@dataclass(frozen=True)
class Info:
    """How a gradient was made; prints as a plan.

    Attributes
    ----------
    backend : str
        The backend that evaluated f.
    way : str
        How: "reference", "batched", "dense lift", "sparse lift", "scalar kernel" or "lanes".
    reason : str
        Why it was chosen, and why others were refused.
    method : str
        The kind of difference.
    order : int
        Its order of accuracy.
    step : ndarray
        The realised step of each component, of the gradient's shape.
    nfev : int
        Evaluations of f, counted as they were made, probes and checks included. A call of f that a lift makes counts as
        many points as it stands for, also where it is cut short to be begun again with fewer at once. Error bars cost
        a lift with unrounded differences as many points again and some twenty: 2n + 20 in all, beside n without
        `full_output`, and 5n + 20 where f seems to round much within, as what adds x to large numbers does.
    seconds : float
        Wall-clock time of the whole call.
    error : ndarray or None
        An error bar for each component, of the gradient's shape; None where the steps were given. It holds in some 98
        of 100 cases (adaptive: 99), if f has no bias: an ODE solver at a loose tolerance errs smoothly, which no
        difference can see.
    reached : ndarray of bool or None
        Which components met the tolerance of method="adaptive".
    noise : float or None
        Standard deviation of f's noise, measured or given.
    flags : ndarray of str or None
        For each component why no digit of it is certain; empty where one is. None: none is flagged.
    slopes : ndarray or None
        The derivatives from below and from above, one axis more than the gradient, where f has a kink at x; else nan.
    fastmath : str or None
        What `fastmath` did: which functions are faster and how exact they still are, or why it had no effect; None
        where it was not asked for.
    failures : tuple of str
        With on_error="nan": the points at which f failed, and how.
    """

    backend: str
    way: str
    reason: str
    method: str
    order: int
    step: Floats
    nfev: int
    seconds: float
    error: Floats | None = None
    reached: NDArray[np.bool_] | None = None
    noise: float | None = None
    flags: NDArray[np.object_] | None = None
    slopes: Floats | None = None
    fastmath: str | None = None
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = self.step[np.isfinite(self.step)]
        if known.size == 0:
            steps = "none"
        elif np.ptp(known) == 0:
            steps = f"{known[0]:.3g}"
        else:
            steps = f"{known.min():.3g} to {known.max():.3g}"
        lines = (
            f"backend  {self.backend}, {self.way}: {self.reason}\n"
            f"method   {self.method}, order {self.order}\n"
            f"step     {steps}\n"
            f"nfev     {self.nfev}\n"
            f"seconds  {self.seconds:.3g}"
        )
        if self.error is not None and self.error.size:
            lines += f"\nerror    {np.max(self.error):.3g} at most"
        if self.noise is not None:
            lines += f"\nnoise    {self.noise:.3g}"
        if self.fastmath is not None:
            lines += f"\nfastmath {self.fastmath}"
        if self.failures:
            lines += f"\nfailed   {len(self.failures)} evaluations, the first at {self.failures[0]}"
        if self.reached is not None and not self.reached.all():
            lines += f"\nmissed   {np.count_nonzero(~self.reached)} components do not meet the tolerance"
        return lines
