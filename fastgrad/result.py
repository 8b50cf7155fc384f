"""What a gradient reports of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._validate import Floats

__all__ = ["Info"]


@dataclass(frozen=True)
class Info:
    """How a gradient was made; prints as a plan.

    Attributes
    ----------
    backend : str
        The backend that evaluated f.
    reason : str
        Why it was chosen.
    method : str
        The kind of difference.
    order : int
        Its order of accuracy.
    step : ndarray
        The realised step of each component, of the gradient's shape.
    nfev : int
        Evaluations of f, counted as they were made, probes and checks included.
    seconds : float
        Wall-clock time of the whole call.
    """

    backend: str
    reason: str
    method: str
    order: int
    step: Floats
    nfev: int
    seconds: float

    def __str__(self) -> str:
        if self.step.size == 0:
            steps = "none"
        elif np.ptp(self.step) == 0:
            steps = f"{self.step.flat[0]:.3g}"
        else:
            steps = f"{np.nanmin(self.step):.3g} to {np.nanmax(self.step):.3g}"
        return (
            f"backend  {self.backend}: {self.reason}\n"
            f"method   {self.method}, order {self.order}\n"
            f"step     {steps}\n"
            f"nfev     {self.nfev}\n"
            f"seconds  {self.seconds:.3g}"
        )
