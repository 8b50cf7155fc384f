"""What the owner of a gradient may carry to its next call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.validation import Floats

MOVED = 0.5  # in scales of x: a remembered step is not used farther away
AGREES = 4.0  # noise within this factor is the same


class Memory(NamedTuple):
    """Where a gradient was, the noise there, and the steps."""

    x: Floats
    scale: Floats
    step: Floats
    noise: float
    size: float

    def serves(self, here: Memory) -> bool:
        """Whether the steps may be used here: near in each coordinate, where f is as noisy as it was."""
        if self.x.size != here.x.size:
            return False
        near = np.abs(here.x - self.x) <= MOVED * np.minimum(here.scale, self.scale)
        same = self.noise <= AGREES * here.noise <= AGREES**2 * self.noise
        alike = self.size <= AGREES * here.size <= AGREES**2 * self.size
        return bool(same and alike and near.all())
