r"""What two values beside f(x) say about the error of a central difference.

Plain functions of scalars or arrays, written once: numpy runs them on arrays, `of_floats` on Python's floats, and
numba compiles them as they are for the kernels.
"""

from __future__ import annotations

import math
import operator
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["bar", "judge", "near", "of_floats", "troubled", "worse"]

# Noise of a central difference: sigma / (sqrt(2) h).
HALF_ROOT = 0.7071067811865476
# A step is too large where truncation exceeds so many times the noise: two numbers cannot tell better.
TOO_LARGE = 30.0
# It is too small where a step 6 times larger would be the best: noise > 2 * 6**3 times truncation.
TOO_SMALL = 432.0
ENOUGH = 3e-10  # relative noise that nobody need improve at two evaluations
USUAL = 0.3  # in units of (noise/variation)**(2/3), the relative noise of a good central difference
BAR_NOISE, BAR_TRUNCATION = 4.0, 4.0
MOVED = 0.5  # in scales of x: a remembered step is not used farther away


def judge(first: Any, second: Any, step: Any, noise: Any, size: Any) -> Any:
    r"""Estimate the errors of a central difference from its own values and f(x).

    Parameters
    ----------
    first, second : float or ndarray
        :math:`|f_+ - f_-|` and :math:`|f_+ + f_- - 2 f_0|`.
    step : float or ndarray
        h.
    noise : float or ndarray
        Standard deviation of the noise of f.
    size : float
        How much f varies on its length scale.

    Returns
    -------
    noise, hopeful, fearful : float or ndarray
        Error by noise, and two estimates of the truncation error :math:`h^2 |f'''| / 6`.

    Notes
    -----
    The length L on which f changes is :math:`h\sqrt{F/|\Delta^2 f|}`, if f varies by F on it, and
    :math:`h |f_+ - f_-| / 2|\Delta^2 f|`, if its slope varies by itself. The third derivative is then
    :math:`f''/L` or :math:`f'/L^2`. The longer L is hopeful and decides whether to evaluate again; the
    shorter is fearful and makes the error bars (Gill, Murray, Saunders and Wright 1983, SIAM J. Sci.
    Stat. Comput. 4, 310, measure f'' in this way).
    """
    bent = np.maximum(second, 4.0 * noise)
    change = np.maximum(first, 2.0 * noise)
    by_size = np.sqrt(bent / np.maximum(size, change))  # h / L
    by_slope = 2.0 * bent / change
    hopeful = bent * np.minimum(by_size, by_slope) / (6.0 * step)
    short = np.maximum(by_size, np.minimum(by_slope, 1.0))
    fearful = np.maximum(0.5 * first * short, bent) * short / (6.0 * step)
    return HALF_ROOT * noise / step, hopeful, np.minimum(fearful, 100.0 * hopeful)


def troubled(slope: Any, noise: Any, hopeful: Any, fearful: Any, usual: Any, patience: Any) -> Any:
    """Say whether another step would do clearly better: too large, too small, or not finite.

    `usual` is the relative noise to be expected, ``USUAL * (level / variation)**(2/3)``; `patience`, 1 or more, is how
    much worse than usual a component may look (`worse`).
    """
    size = np.abs(slope)
    small = (noise > patience * TOO_SMALL * fearful) & (noise > ENOUGH * size) & (noise > usual * size)
    return (hopeful > patience * TOO_LARGE * noise) | small | np.logical_not(size < np.inf)


def worse(noise: Any, hopeful: Any, fearful: Any) -> Any:
    """Return the least `patience` with which these errors are no trouble."""
    return np.maximum(hopeful / (TOO_LARGE * noise), noise / (TOO_SMALL * fearful))


def bar(noise: Any, truncation: Any) -> Any:
    """Return the error bar: holds in some 98 of 100 cases, and is some 10 times the error."""
    return BAR_NOISE * noise + BAR_TRUNCATION * truncation


def near(x: Any, remembered: Any, scale: Any) -> Any:
    """Say whether x is where it was, so that a remembered step may be tried first."""
    return np.abs(x - remembered) <= MOVED * scale


def of_floats(function: Any) -> Any:
    """Return the same function for Python's floats, finite ones: `numpy` takes ten times as long for one number."""
    return FunctionType(function.__code__, {**function.__globals__, "np": _FLOATS}, function.__name__)


_FLOATS = SimpleNamespace(maximum=max, minimum=min, sqrt=math.sqrt, abs=abs, logical_not=operator.not_, inf=math.inf)
