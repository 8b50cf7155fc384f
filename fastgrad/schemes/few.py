"""The automatic step for few components, in plain Python: numpy's own overhead would take longer than f."""

from __future__ import annotations

from math import isfinite, ulp

import numpy as np

from ..core.validation import Floats, Ints
from .automatic import SMALLEST, Line, Memory, Outcome, Sweep, coarse, first_steps, holds, remember, short
from .diagnosis import MOVED, USUAL, judge, of_floats, troubled
from .noise import round_off, scale_of
from .stencils import central

__all__ = ["FEW", "Given", "first_round"]

FEW = 24  # components: measured, numpy judges more of them faster

_judge, _troubled = of_floats(judge), of_floats(troubled)


class Given:
    """A sweep that has been made already: handed out once, when it is asked for again."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._points: Floats | None = None
        self._values: Floats | None = None

    def __call__(self, index: Ints, points: Floats) -> Floats:
        given, values = self._points, self._values
        self._points = self._values = None
        if given is not None and values is not None and np.array_equal(given, points):
            return values
        return self._sweep(index, points)

    def made(self, index: Ints, points: Floats) -> Floats:
        """Make it."""
        self._points, self._values = points, self._sweep(index, points)
        return self._values


def first_round(
    sweep: Given, line: Line, index: Ints, x: Floats, f0: float, origin: float, memory: Memory | None
) -> Outcome | None:
    """Do what `automatic` does for the central difference of all components, up to the first judgement.

    Returns None where something is unusual and `automatic` is to decide; the sweep then holds the values for it.
    """
    value = origin + f0
    if memory is not None and not holds(memory, value):
        memory = None
    known = memory.noise if memory is not None and memory.noise.measured else round_off(value)
    scale = scale_of(x)
    steps, scales = first_steps(central(2), known, scale, x.size).tolist(), scale.tolist()
    entries, patience = x.tolist(), [1.0] * x.size
    if memory is not None:
        recalled = (a.tolist() for a in (memory.x, memory.scale, memory.step, memory.patience))
        for i, (at, length, step, patient) in enumerate(zip(*recalled, strict=True)):
            if abs(entries[i] - at) <= MOVED * length:
                scales[i], patience[i] = length, patient
                steps[i] = step if step < np.inf else steps[i]
    h = [max(step, 4.0 * ulp(v), SMALLEST) for step, v in zip(steps, entries, strict=True)]
    table = [(v + step, v - step) for v, step in zip(entries, h, strict=True)]
    points = np.array(table)
    values = sweep.made(index, points).tolist()
    if not isfinite(sum(map(sum, values))):
        return None
    fine = memory is not None and memory.fine
    if not (known.measured or fine):
        sample = origin + np.array([v for pair in values[:4] for v in pair])
        fine = short(sample, known.level)
        if fine and coarse(sample, known.level, line, x, np.array(h), None, origin):
            return None
    level, relative, size = known.level, known.relative, known.variation
    usual = USUAL * known.ratio ** (2 / 3)
    slopes, halves = [], []
    for (right, left), (above, below), patient in zip(table, values, patience, strict=True):
        span = right - left
        half = 0.5 * span
        change = above - below
        slope = change / span
        sigma = max(level, relative * max(abs(above), abs(below)))
        judged = _judge(abs(change), abs((above - f0) + (below - f0)), half, sigma, size)
        if _troubled(slope, *judged, usual, patient):
            return None
        slopes.append(slope)
        halves.append(half)
    gradient, step = np.array(slopes), np.array(halves)
    found = remember(known, x, np.array(scales), index, step, np.array(patience), fine)
    return Outcome(gradient, step, np.full(x.size, np.nan), points[:, 0], known, found)
