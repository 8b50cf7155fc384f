"""What differences along directions say of their entries, in arrays: noise, and truncation as hope and fear see it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import EPS, KINK, NOISE, SHORT, TINY
from .seeds import Seeds
from .stencils import Stencil, backward, central, forward

LONG = 1 << 14  # entries of a list
CENTRAL = central(2)
Rises = list[Floats]  # f - f(x) at the nodes of a stencil


@dataclass(slots=True)
class Looks:
    """Differences along directions, and what their values say: noise, and truncation as hope and fear see it.

    All but `edge` have the layout of the entries; `t` may have one number a row.
    """

    t: Floats
    derivative: Floats
    first: Floats  # |f+ - f-|
    second: Floats  # |f+ + f- - 2 f0|
    sigma: Floats
    noise: Floats
    hope: Floats  # decides on the next step
    fear: Floats  # makes the bar
    edge: NDArray[np.bool_]  # of each direction: whether f ends within the stencil that was wanted

    def of(self, directions: Any, entries: Any) -> Looks:
        """Return those at some directions, which are these entries."""
        return Looks(
            self.t[entries],
            self.derivative[entries],
            self.first[entries],
            self.second[entries],
            self.sigma[entries],
            self.noise[entries],
            self.hope[entries],
            self.fear[entries],
            self.edge[directions],
        )

    @property
    def still(self) -> NDArray[np.bool_]:
        """Which entries did not change by a bit."""
        found: NDArray[np.bool_] = (self.first == 0) & (self.second == 0)
        return found

    @property
    def kinked(self) -> NDArray[np.bool_]:
        """Which may have a kink within the step."""
        found: NDArray[np.bool_] = (self.second > 8.0 * self.sigma) & (self.second > KINK * self.first)
        return found


NUMBERS = [field.name for field in fields(Looks)][:-1]


def joined(looks: list[Looks]) -> Looks:
    """Return looks at some directions, and at more, as one."""
    return Looks(*[np.concatenate([getattr(look, name) for look in looks]) for name in [*NUMBERS, "edge"]])


def sides_of(stencil: Stencil) -> list[Stencil]:
    """Return a stencil and those to one side that do as well."""
    return [stencil, forward(stencil.order), backward(stencil.order)]


def reach_of(stencil: Stencil, down: float, up: float) -> float:
    """Return how large a step leaves a stencil's points within the bounds."""
    low, high = stencil.reach
    return float(min(down / -low if low else np.inf, up / high if high else np.inf))


def slopes_of(stencil: Stencil, seeds: Seeds, t: Floats, rises: Rises) -> Floats:
    """Combine differences at a stencil's nodes, with a step for each direction.

    Those of pairs need not be relative to f(x).
    """
    nodes = [t * node for node in stencil.nodes.tolist()]
    if stencil.symmetric:
        pairs = range(0, len(nodes), 2)
        slopes = [(rises[k] - rises[k + 1]) / seeds.span(nodes[k], nodes[k + 1]) for k in pairs]
    else:
        slopes = [rise / seeds.span(node, 0.0 * t) for rise, node in zip(rises, nodes, strict=True)]
    total: Any = sum(weight * slope for weight, slope in zip(stencil.quotients.tolist(), slopes, strict=True))
    return np.asarray(total)


def judged_by(stencil: Stencil, seeds: Seeds, t: Floats, rises: Rises, sigma: Floats, of_line: Rises) -> Looks:
    """Judge differences by any stencil, as `looks.by_stencil` does, with a step for each direction.

    Of the line are known how much f varies on x's scale, its second derivative, and how much fear may exceed hope.
    """
    size, bend, most = of_line
    no = np.zeros(t.shape, dtype=bool)
    if stencil is CENTRAL or stencil == CENTRAL:
        above, below = rises
        return _judged(0.5 * seeds.span(t, -t), above, below, sigma, size, most, no)
    derivative = slopes_of(stencil, seeds, t, rises)
    inverse, gains, product = stencil.taylor
    terms = [sum(w * rise for w, rise in zip(row, rises, strict=True)) for row in inverse]
    seen = [np.maximum(np.abs(term), gain * sigma) for term, gain in zip(terms, gains, strict=True)]
    t = seeds.of_directions(t)
    first, second, noise = 2.0 * np.abs(terms[0]), np.zeros_like(sigma), stencil.amplification_rms * sigma / t
    if len(terms) == 1:  # one point tells nothing of the curvature
        hope = np.maximum(product * seen[0] * (seen[0] / np.maximum(size, seen[0])) / t, 0.5 * bend * t)
        fear = np.maximum(hope, 0.5 * t * np.maximum(size, np.abs(derivative)))
        return Looks(t, derivative, first, second, sigma, noise, hope, fear, no)
    total = np.maximum(size, seen[0])
    hope, fear = (product * _neglected(terms, seen, gains, sigma, total, trust) / t for trust in (8.0, 3.0))
    second, sigma = 2.0 * np.abs(terms[1]), sigma * max(1.0, gains[1] / sqrt(1.5))
    return Looks(t, derivative, first, second, sigma, noise, hope, fear, no)


def _judged(
    t: Floats, above: Floats, below: Floats, sigma: Floats, variation: Floats, most: Floats, no: NDArray[np.bool_]
) -> Looks:
    """Judge central differences by their values, relative to f(x); long lists in parts that stay in the cache."""
    numbers = t, above, below, sigma, variation, most
    if above.ndim > 1 or above.size <= LONG:
        return _judged_at_once(no, *numbers)
    parts = [slice(begin, begin + LONG) for begin in range(0, above.size, LONG)]
    looks = joined([_judged_at_once(no, *[each[part] for each in numbers]) for part in parts])
    looks.edge = no
    return looks


def _judged_at_once(
    no: NDArray[np.bool_], t: Floats, above: Floats, below: Floats, sigma: Floats, variation: Floats, most: Floats
) -> Looks:
    derivative, first, second = (above - below) / (2.0 * t), np.abs(above - below), np.abs(above + below)
    bent, rise = np.maximum(second, 4.0 * sigma), np.maximum(first, 2.0 * sigma)
    by_size, by_slope = t * np.sqrt(np.maximum(variation, rise) / bent), t * rise / (2.0 * bent)
    longer, shorter = np.maximum(by_size, by_slope), np.minimum(by_size, np.maximum(by_slope, t))
    slope = first / (2.0 * t)
    hope = np.maximum(slope * (t / longer) ** 2, bent / longer) / 6.0
    fear = np.where(second > 4.0 * sigma, np.maximum(slope * (t / shorter) ** 2, second / shorter) / 6.0, hope)
    fear = np.minimum(fear, most * hope)
    return Looks(t, derivative, first, second, sigma, _noise(t, derivative, second, sigma), hope, fear, no)


def _noise(t: Floats, derivative: Floats, second: Floats, sigma: Floats) -> Floats:
    """Return the noise of slopes; that x itself is rounded as it enters f counts where steps are short.

    Where squares of residuals are almost 0 so is their own rounding, and steps become as short.
    """
    noise: Floats = NOISE * sigma / t
    if (short := t < SHORT).any():
        steepest = np.abs(derivative) + second / (2.0 * t)
        noise = np.where(short, np.maximum(noise, NOISE * EPS / t * steepest), noise)
    return noise


def _neglected(terms: Any, seen: Any, gains: list[float], sigma: Floats, total: Floats, trust: float) -> Floats:
    """Do as `looks._neglected`, for arrays."""
    before = [total, *seen]
    tail, head = np.sqrt(seen[-1] / before[-3]), np.sqrt(seen[1] / total)
    if len(terms) > 2:
        tail = np.maximum(tail, np.sqrt(seen[-2] / before[-4]))
        fourth = np.sqrt(seen[min(3, len(terms) - 1)] / seen[1])
        middle = np.where(np.abs(terms[1]) > 8.0 * gains[1] * sigma, fourth, 0.0)
        head = np.maximum(head, np.maximum(np.sqrt(seen[2] / seen[0]), middle))
    last = np.abs(terms[-1]) > trust * gains[-1] * sigma
    resolved = last | (np.abs(terms[-2]) > trust * gains[-2] * sigma)
    rate = np.minimum(np.where(resolved, tail, np.minimum(tail, head)), 2.0)
    found: Floats = np.maximum(seen[-2] * rate * rate, np.where(last, seen[-1] * rate, 0.0))
    return found


def left_of(small: Looks, large: Looks, larger: Looks | None = None) -> Floats:
    """Return by how much slopes may still change with finer steps, as `again._left` does.

    From two steps alone a power of 3/2 is taken for granted: each change is then an eighth of the one before.
    """
    change = _change(small, large)
    ratio = np.full_like(change, 0.125)
    if larger is not None:
        before = _change(large, larger)
        np.copyto(ratio, np.minimum(change / np.maximum(before, TINY), 0.5), where=before > 0.0)
    return change * ratio / (1.0 - ratio)


def _change(small: Looks, large: Looks) -> Floats:
    apart = np.abs(small.derivative - large.derivative)
    return np.where(apart > 4.0 * (small.noise + large.noise), apart, 0.0)
