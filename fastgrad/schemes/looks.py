r"""One difference of f along one component, and what its own values say of its errors."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import BAR_NOISE, BAR_TRUNCATION, GAIN, KINK, NOISE, SMALLEST, TINY, TOO_LARGE
from .stencils import Stencil

__all__ = [
    "Look", "better_step", "by_parabola", "by_stencil", "by_two_points", "calm_of_many", "choose", "doubted",
    "fear_of_many", "of_two_points", "truncation", "truncation_of_one", "wanted",
]  # fmt: skip

# What an entry of a Jacobian wants: a smaller step, a larger one, the same because it has hardly any digit; or what is
# to be asked of arrays, as rounding in another order may decide.
SMALLER, NEITHER, LARGER, LACKING, UNSURE = 1, 0, -1, -2, 2
MARGIN = 1e-9  # of what is compared with sums in another order


class Look:
    """One difference: derivative, noise, and truncation as hope (decides on other steps) and fear (makes bars) see it.

    `step`, `slope`: h, and the derivative.
    `sigma`, `noise`: standard deviation of the noise of the values, and of the slope.
    `first`, `second`: the size of f' h and of f'' h**2, with the factors of a central difference: |f+ - f-|, |f+ + f- -
        2 f0|.
    `bend`: `second` with its sign.
    `side`: 1 or -1: all points are to this side of x.
    `edge`: whether that is because f is not finite to the other.
    `order`: the truncation error falls like step**order.
    """

    __slots__ = ("bend", "edge", "fear", "first", "hope", "noise", "order", "second", "side", "sigma", "slope", "step")

    def __init__(self, step: float, slope: float, first: float, bend: float, sigma: float, noise: float) -> None:
        self.step, self.slope, self.first, self.second, self.bend = step, slope, first, abs(bend), bend
        self.sigma, self.noise = sigma, noise
        self.hope = self.fear = 0.0
        self.side, self.edge, self.order = 0, False, 2

    def expected(self, length: float) -> float:
        """Return the truncation error if f changes on this length."""
        return abs(self.slope) * (self.step / length) ** self.order / (6.0 if self.order > 1 else 2.0)

    @property
    def kinked(self) -> bool:
        """Whether there may be a kink within the step."""
        return self.second > 8.0 * self.sigma and self.second > KINK * self.first

    @property
    def jump(self) -> float:
        """How wrong the slope is if all curvature comes from one kink or jump to one side."""
        return self.second / (2.0 * self.step)

    @property
    def without_effect(self) -> bool:
        """Whether f did not change by a bit."""
        return self.first == 0.0 == self.second

    def sides(self) -> tuple[float, float]:
        """Return the slopes from below and from above."""
        return self.slope - self.bend / (2.0 * self.step), self.slope + self.bend / (2.0 * self.step)


def truncation(step: float, first: float, second: float, sigma: float, variation: float) -> tuple[float, float]:
    r"""Estimate the truncation error :math:`h^2 |f'''| / 6` of a central difference: hope, and fear.

    Notes
    -----
    The length L on which f changes is :math:`h\sqrt{F/|\Delta^2 f|}`, if f varies by F on it, and
    :math:`h |f_+ - f_-| / 2|\Delta^2 f|`, if its slope varies by itself. The third derivative is then
    :math:`f''/L` or :math:`f'/L^2`. The longer L is hope, the shorter is fear (Gill, Murray, Saunders and
    Wright 1983, SIAM J. Sci. Stat. Comput. 4, 310, measure f'' in this way).
    """
    bent, rise = max(second, 4.0 * sigma, TINY), max(first, 2.0 * sigma)
    by_size, by_slope = step * sqrt(max(variation, rise) / bent), step * rise / (2.0 * bent)
    hope = bent / (6.0 * max(by_size, by_slope, SMALLEST))
    if second <= 4.0 * sigma:
        return hope, hope
    shorter = max(min(by_size, max(by_slope, step)), SMALLEST)
    return hope, min(bent / (6.0 * shorter) * max(1.0, by_slope / shorter), 100.0 * hope)


def fear_of_many(step: Floats, first: Floats, second: Floats, sigma: Floats, variation: float) -> Floats:
    """Return the fear of `truncation`, for arrays."""
    bent, rise = np.maximum(second, 4.0 * sigma), np.maximum(first, 2.0 * sigma)
    by_size, by_slope = step * np.sqrt(np.maximum(variation, rise) / bent), step * rise / (2.0 * bent)
    hope = bent / (6.0 * np.maximum(by_size, by_slope))
    shorter = np.minimum(by_size, np.maximum(by_slope, step))
    fear = np.minimum(bent / (6.0 * shorter) * np.maximum(1.0, by_slope / shorter), 100.0 * hope)
    return np.where(second > 4.0 * sigma, fear, hope)


def calm_of_many(first: Floats, second: Floats, noise: Floats, variation: float, enough: float) -> NDArray[np.bool_]:
    """Do as `constants.calm`, for arrays."""
    kinked = (second > 8.0 * noise) & (second > KINK * first)
    bent, rise = np.maximum(second, 4.0 * noise), np.maximum(first, 2.0 * noise)
    square, faint = bent * bent, noise * noise * np.maximum(variation, rise)
    small = (noise <= enough * first) | ((rise * noise <= 200.0 * square) & (faint <= 1e4 * square * bent))
    found: NDArray[np.bool_] = (
        (first < inf) & ~kinked & small & ((square <= 63.0 * noise * rise) | (square * bent <= 16e3 * faint))
    )
    return found


def truncation_of_one(step: float, seen: float, product: float, variation: float, bend: float) -> float:
    """Estimate the truncation error of a difference of one point and x; `seen` is the size of its first Taylor term."""
    return max(product * seen * (seen / max(variation, seen)) / step, 0.5 * bend * step)


def better_step(order: int, step: float, slope: float, noise: float, hope: float, fear: float, enough: float) -> float:
    r"""Return the step with the least error, :math:`h (\sigma / p\,t)^{1/(p + 1)}`, where it is clearly better; else 0.

    `noise` is that of the slope; up to `enough` of the slope it needs no improvement.
    """
    down = hope > TOO_LARGE * noise
    if not down and noise <= enough * abs(slope):
        return 0.0
    best = step * (noise / (order * max(hope if down else fear, TINY))) ** (1.0 / (order + 1))
    return best if down or best > GAIN * step else 0.0


def doubted(first: float, second: float, sigma: float, step: float, variation: float, enough: float) -> int:
    """Say what the first look at an entry wants: nothing, a `LARGER` step if many do, or `UNSURE`: another look.

    The conditions of `columns.Search` without a root or a division, and stricter; `enough` is as in `constants.calm`.
    """
    bent, rise, reach = max(second, 4.0 * sigma), max(first, 2.0 * sigma), variation * step
    square, cube, faint = bent * bent, bent * bent * bent, sigma * sigma * max(variation, rise)
    if not first < inf or (second > 7.99 * sigma and second > 0.0299 * first):
        return UNSURE
    if square > 63.0 * sigma * rise and cube > 16e3 * faint and square > 8.9e-10 * rise * max(0.5 * first, reach):
        return UNSURE
    measure, slow, wide = max(first, 0.2 * reach), rise * sigma > 200.0 * square, faint > 1e4 * cube
    # fear is by the shorter length where f bends, up to 100 times hope; hope is by the longer
    longer = ((slow or wide) and second < 4.001 * sigma) or (slow and wide)
    if not (sigma > enough * measure and (longer or rise * sigma > 2e4 * square or faint > 1e8 * cube)):
        return NEITHER
    return UNSURE if 1.42 * sigma > 0.999e-6 * measure else LARGER


def wanted(
    derivative: float,
    noise: float,
    hope: float,
    fear: float,
    still: bool,
    size: float,
    enough: float,
    least: float = 0.0,
) -> tuple[int, float]:
    """Say which step an entry wants at further looks, and the cube of how many times it is as long.

    The conditions of `rounds.Rounds`. `size` is how much its output varies; noise up to `enough` of what counts needs
    no improvement. `least`: the cube of how many times its output wants it at least.
    """
    steep = abs(derivative)
    matters, counts = 3e-10 * max(size, steep), max(steep, 0.1 * size)
    if abs(hope - 30.0 * noise) <= MARGIN * hope or abs(hope - matters) <= MARGIN * hope:
        return UNSURE, 0.0
    if hope > 30.0 * noise and hope > matters:
        return SMALLER, noise / (2.0 * max(hope, TINY))
    ratio, suffices = max(noise / (2.0 * max(fear, TINY)), least), enough * counts
    if not ratio >= 215.999 or noise < (1.0 - MARGIN) * suffices:
        return NEITHER, ratio
    if min(abs(ratio / 216.0 - 1.0), abs(noise - suffices) / noise, abs(noise - 1e-6 * counts) / noise) <= MARGIN:
        return UNSURE, ratio
    if still and abs(noise - 1e-5 * size) <= MARGIN * noise:
        return UNSURE, ratio
    if still and noise <= 1e-5 * size:  # f does not depend on it
        return NEITHER, ratio
    return (LACKING if noise > 1e-6 * counts else LARGER), ratio


def choose(looks: Any, count: int, shortest: float) -> tuple[float, float, float, bool]:
    """Return derivative, bar and step of the look with the smallest error, and whether other rounding would, too.

    Truncation is measured against the next smaller step, if there is one. `looks`: rows of step, slope, noise and fear,
    which come out sorted.
    """
    for k in range(1, count):
        j = k
        while j > 0 and looks[j][0] < looks[j - 1][0]:
            for column in range(4):
                looks[j][column], looks[j - 1][column] = looks[j - 1][column], looks[j][column]
            j -= 1
    best, least, bar, sure = 0, inf, inf, True
    for k in range(count):
        noise, relative = looks[k][2], looks[k][0] / shortest
        expected = abs(looks[k][1]) * (relative * relative) / 6.0
        error = max(looks[k][3], expected)
        if k > 0:
            finer = looks[k - 1][2]
            gap = abs(looks[k][1] - looks[k - 1][1]) - 2.0 * finer
            error = max(gap, min(looks[k][3], 3.0 * finer), min(expected, finer))
            sure &= abs(noise + error - least) > MARGIN * least or looks[k][1] == looks[best][1]
        if not least <= noise + error:
            best, least, bar = k, noise + error, BAR_NOISE * noise + BAR_TRUNCATION * error
    return looks[best][1], bar, looks[best][0], sure


def by_two_points(step: float, above: float, below: float, sigma: float, variation: float) -> Look:
    """Return the central difference of two values, relative to f(x)."""
    difference = above - below
    return of_two_points(step, difference / (2.0 * step), abs(difference), above + below, sigma, variation)


def of_two_points(step: float, slope: float, first: float, bend: float, sigma: float, variation: float) -> Look:
    """Return the same from what is known of it already."""
    look = Look(step, slope, first, bend, sigma, NOISE * sigma / step)
    look.hope, look.fear = truncation(step, look.first, look.second, sigma, variation)
    return look


def by_parabola(near: float, far: float, one: float, two: float, sigma: float, variation: float, edge: bool) -> Look:
    """Return the slope at x of the parabola through x and two points to one side, at `near` and `far` from it.

    Its truncation error is that of a central difference with the step sqrt(near far). Beside an edge of f's domain that
    is not believed: there all of the curvature may be an error.
    """
    change = (one / near - two / far) / (near - far)  # f'' / 2
    slope = one / near - near * change
    size = abs(far)
    if edge:
        sigma = 3.0 * sigma
        bend = 2.0 * abs(two - 2.0 * one)
        look = Look(size, slope, 2.0 * abs(two), bend, sigma, NOISE * sigma / size)
        look.hope = look.fear = look.jump
    else:
        step = sqrt(near / far) * size
        gain = sqrt((far / near) ** 2 + (near / far) ** 2 + (far / near - near / far) ** 2) / abs(far - near)
        bend = 2.0 * step * step * change
        look = Look(step, slope, 2.0 * step * abs(slope), bend, sigma, gain * sigma)
        look.hope, look.fear = truncation(step, look.first, look.second, look.noise * step / NOISE, variation)
    look.side, look.edge = 1 if far > 0.0 else -1, edge
    return look


def by_stencil(
    stencil: Stencil, step: float, slope: float, rises: list[float], sigma: float, variation: float, bend: float
) -> Look:
    r"""Return a difference by any stencil, from its values relative to f(x).

    The values at the nodes determine the Taylor terms :math:`f^{(k)} h^k / k!`, k up to their number; the first one
    neglected is extrapolated by the rate at which these decay. One point tells nothing of the curvature: f is taken to
    change by its size on its length, or to bend by `bend`, its second derivative elsewhere.
    """
    inverse, gains, product = stencil.taylor
    terms = [sum(weight * rise for weight, rise in zip(row, rises, strict=True)) for row in inverse]
    noise = stencil.amplification_rms * sigma / step
    look = Look(step, slope, 2.0 * abs(terms[0]), 2.0 * terms[1] if len(terms) > 1 else 0.0, sigma, noise)
    look.order = stencil.order
    low, high = stencil.reach
    look.side = 1 if low == 0.0 else -1 if high == 0.0 else 0
    if len(terms) > 1:  # as noisy as the second difference is
        look.sigma = sigma * max(1.0, gains[1] / sqrt(1.5))
    seen = [max(abs(term), gain * sigma) for term, gain in zip(terms, gains, strict=True)]
    if len(terms) == 1:
        look.hope = look.fear = truncation_of_one(step, seen[0], product, variation, bend)
        return look
    total = max(variation, seen[0])
    look.hope, look.fear = (
        product * _neglected(terms, seen, gains, sigma, total, trust) / step for trust in (8.0, 3.0)
    )
    return look


def _neglected(
    terms: list[float], seen: list[float], gains: list[float], sigma: float, total: float, trust: float
) -> float:
    """Extrapolate the first neglected Taylor term; the last ones are believed from `trust` times their noise on."""
    before = [total, *seen]
    tail, head = sqrt(seen[-1] / before[-3]), sqrt(seen[1] / total)
    if len(terms) > 2:
        tail = max(tail, sqrt(seen[-2] / before[-4]))
        fourth = seen[min(3, len(terms) - 1)]
        middle = sqrt(fourth / seen[1]) if abs(terms[1]) > 8.0 * gains[1] * sigma else 0.0
        head = max(head, sqrt(seen[2] / seen[0]), middle)
    last = abs(terms[-1]) > trust * gains[-1] * sigma
    resolved = last or abs(terms[-2]) > trust * gains[-2] * sigma
    rate = min(tail if resolved else min(tail, head), 2.0)
    return max(seen[-2] * rate * rate, seen[-1] * rate if last else 0.0)
