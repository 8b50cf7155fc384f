r"""Step rules: from x and a stencil's numbers to the step h of each component."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import frexp, inf, ldexp, sqrt

import numpy as np

from ..core.validation import Floats, Ints, positive
from .stencils import Stencil

__all__ = ["Step", "fixed_step", "step_rule"]

# A correctly rounded result is off by at most eps/2, uniformly: a standard deviation of eps/sqrt(12).
ROUND_OFF = float(np.finfo(np.float64).eps) / sqrt(12)

HALF_ROOT = sqrt(0.5)
NORMAL = float(np.finfo(np.float64).smallest_normal)
MANY = 1000  # numbers from which bits are faster than numpy's functions
UP_FROM_ROOT = (1 << 52) - (int(np.float64(sqrt(2.0)).view(np.int64)) & ((1 << 52) - 1))

# The complex step subtracts nothing: its truncation error vanishes for any tiny step, at any scale of x.
COMPLEX_STEP = 2.0**-332  # 1.1e-100, a power of two: dividing by it is exact


@dataclass(frozen=True)
class Step:
    r"""The rule :math:`h_i = a_i + r_i \max(|x_i|, \phi)`, and `otherwise` where that is 0.

    Attributes
    ----------
    absolute, relative : ndarray of shape () or (n,)
        a and r.
    floor : float
        The size below which a component counts as of this size.
    otherwise : float
        The step where the rule gives 0 (a purely relative step at 0).
    dyadic : bool
        Round h to the nearest power of two, so that x + h is exact where it can be.
    """

    absolute: Floats
    relative: Floats
    floor: float = 0.0
    otherwise: float = 0.0
    dyadic: bool = False

    @property
    def constant(self) -> float | None:
        """The step of all components, wherever they are; None if there is no such step."""
        if self.absolute.ndim or self.relative.ndim or self.relative:
            return None
        return float(self.absolute)

    def at(self, x: Floats, index: Ints | None) -> Floats:
        """Return the steps of the coordinates in `index` (all if None); x holds these components only."""
        absolute, relative = self.absolute, self.relative
        if index is not None:
            absolute = absolute[index] if absolute.ndim else absolute
            relative = relative[index] if relative.ndim else relative
        if self.relative.ndim == 0 and self.relative == 0.0:
            return absolute if absolute.ndim else np.full(x.shape, absolute)
        h = absolute + relative * np.maximum(np.abs(x), self.floor)
        if self.otherwise:
            h = np.where(h == 0.0, self.otherwise, h)
        return power_of_two(h) if self.dyadic else h

    def scalars(self, x: list[float]) -> list[float]:
        """Return the same steps as `at`, to the bit, from plain floats: faster below some thirty components."""
        absolute, relative = self.absolute.tolist(), self.relative.tolist()
        a = absolute if self.absolute.ndim else [absolute] * len(x)
        if self.relative.ndim == 0 and relative == 0.0:
            return a
        r = relative if self.relative.ndim else [relative] * len(x)
        floor, otherwise = self.floor, self.otherwise
        h = [ai + ri * max(abs(v), floor) or otherwise for v, ai, ri in zip(x, a, r, strict=True)]
        return [ldexp(1.0, e - (m < HALF_ROOT)) for m, e in map(frexp, h)] if self.dyadic else h


def power_of_two(h: Floats, own: bool = False) -> Floats:
    """Round to the nearest power of two (in the logarithm); `own`: in place, of numbers that are normal."""
    if np.size(h) > MANY and (own or (h.min() >= NORMAL and h.max() < inf)):
        # three times as fast: what is rounded is the exponent
        bits = h.view(np.int64) if own else h.view(np.int64).copy()
        bits += UP_FROM_ROOT
        bits &= -1 << 52
        return bits.view(np.float64)
    mantissa, exponent = np.frexp(h)
    rounded: Floats = np.ldexp(1.0, exponent - (mantissa < HALF_ROOT))
    return rounded


def relative_size(stencil: Stencil) -> float:
    r"""Return the step that is best where f and its derivatives are of size 1.

    Minimises :math:`C h^p + K \sigma / h` with the stencil's error constant C, order p and noise
    amplification K (root mean square): :math:`h = (K \sigma / (p C))^{1/(p+1)}`
    (Gill, Murray and Saunders 1981, Practical Optimization, section 8.6).
    """
    p = stencil.order
    return float((stencil.amplification_rms * ROUND_OFF / (p * float(stencil.error_constant))) ** (1 / (p + 1)))


@lru_cache(maxsize=64)
def fixed_step(stencil: Stencil) -> Step:
    """Return the best fixed rule for a stencil, from its own numbers.

    Parameters
    ----------
    stencil : Stencil
        The formula.

    Returns
    -------
    Step
        Relative to max(|x|, 1), a power of two.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.schemes.stencils import central
    >>> fixed_step(central(2)).at(np.array([1.0, 1000.0]), None)
    array([3.81469727e-06, 3.90625000e-03])
    """
    if stencil.imaginary:
        return Step(np.array(COMPLEX_STEP), np.array(0.0))
    return Step(np.array(0.0), np.array(relative_size(stencil)), floor=1.0, dyadic=True)


def step_rule(h: object, rel_step: object, stencil: Stencil, shape: tuple[int, ...]) -> Step:
    """Return the rule that a user's `h` and `rel_step` mean.

    Raises
    ------
    TypeError, ValueError
        If a step is not a positive finite number, or not of x's shape, or both are given.
    """
    fixed = fixed_step(stencil)
    if rel_step is not None:
        if h is not None:
            raise ValueError(
                f"give `h` (absolute) or `rel_step` (relative to |x|), not both; got h={h!r}, rel_step={rel_step!r}"
            )
        relative = positive("rel_step", rel_step, shape)
        relative = relative.reshape(-1) if relative.ndim else relative
        otherwise = float(fixed.at(np.zeros(1), None)[0])
        return Step(np.array(0.0), relative, otherwise=otherwise)
    if h is None or (isinstance(h, str) and h == "fixed"):
        return fixed
    if isinstance(h, str):
        raise ValueError(f"`h` must be a positive number, an array of x's shape, 'fixed' or None; got {h!r}")
    absolute = positive("h", h, shape)
    return Step(absolute.reshape(-1) if absolute.ndim else absolute, np.array(0.0))
