"""The automatic step of many functions of one variable at a time, as far as nothing is in doubt.

What `automatic` does with one component, in arrays: every entry has its own line of seven values, its own noise and
step. Entries in any doubt are not settled here: they are left to `automatic` itself, which meets the same points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import (
    ENOUGH,
    EPS,
    FIFTH,
    FOURTH,
    HALF_ROOT,
    NEGLIGIBLE,
    QUIET,
    SIXTH,
    SPACING,
    THIRD,
    THIRDS,
    TINY,
    USUAL,
)
from .line import INCREMENT, LAST, MULTIPLIER, SIGNS, TOP_BITS
from .looks import calm_of_many
from .scheme import Scheme
from .stencils import central
from .steps import power_of_two

__all__ = ["Settled", "settle"]

MULTIPLES = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
Values = Callable[[Floats], Floats | None]


class Settled(NamedTuple):
    """What was found out about all entries at once."""

    slopes: Floats  # shape (m,): the derivatives, where they are beyond doubt
    sure: NDArray[np.bool_]  # shape (m,): where that is
    seen: list[tuple[Floats, Floats]]  # all that was evaluated


def settle(values: Values, x: Floats, here: Floats, scheme: Scheme) -> Settled | None:
    """Differentiate at the entries of x that are beyond doubt; None if f fails.

    `values`: f of many points, one for each entry; None if it fails.
    `x`, `here`, of shape (m,): where, and f there.
    `scheme`: only for the central difference of order 2 is anything settled.
    """
    seen = [(x, here)]
    if scheme.stencil != central(2):
        return Settled(np.empty(x.size), np.zeros(x.size, dtype=bool), seen)

    def look(points: Floats) -> Floats:
        found = values(points)
        if found is None:
            raise _FailsError
        seen.append((points, found))
        return found

    try:
        slopes, sure = _settle(look, x, here)
    except _FailsError:
        return None
    return Settled(slopes, sure, seen)


class _FailsError(Exception):
    """f does not take these points."""


def _settle(look: Callable[[Floats], Floats], x: Floats, here: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    with np.errstate(all="ignore"):
        unit = np.exp2(np.clip(np.frexp(here)[1], -1000, 1000))
        unit[here == 0.0] = 1.0
        scale = np.where(x != 0.0, np.abs(x), 1.0)
        least = 4.0 * np.spacing(np.abs(x))
        vector = _vectors(x, scale, least)
        row = [look(x + multiple * vector) / unit for multiple in MULTIPLES]
        f0 = here / unit
        row.insert(3, f0)
        line = _Lines(np.stack(row, axis=1), f0, unit)
        ratio = np.clip(line.sigma / line.variation, 1e-17, 1e-2)
        step = ratio ** (1.0 / 3.0)
        shorter = np.maximum((3.0 * line.sigma / np.where(line.third > 0.0, line.third, 1.0)) ** (1.0 / 3.0), 1e-13)
        step = np.where((line.third > 0.0) & (shorter < 0.5 * step), shorter, step)
        h = np.maximum(power_of_two(step * scale), least)
        h = np.where(np.isfinite(h) & line.settled, h, np.maximum(SPACING * scale, least))
        up, down = look(x + h) / unit, look(x - h) / unit
        h = 0.5 * ((x + h) - (x - h))
        rho = line.sigma / np.maximum(np.maximum(np.abs(f0), line.spread), TINY)
        noise = np.maximum(line.sigma, rho * np.maximum(np.abs(up), np.abs(down)))
        difference, bend = (up - f0) - (down - f0), (up - f0) + (down - f0)
        change, bent, slope = np.abs(difference), np.abs(bend), difference / (2.0 * h)
        enough = np.maximum(ENOUGH, USUAL * ratio ** (2.0 / 3.0)) / 1.42
        negligible = np.maximum(NEGLIGIBLE * np.abs(slope) * scale, 1e-6 * line.size)
        sure = line.settled & (change > 0.0) & calm_of_many(change, bent, noise, line.variation, enough)
        sure &= (noise <= 5e-5 * negligible * h / scale) & (3.0 * line.third * step * step <= negligible)
        # the second opinion may differ by what both may err
        sure &= np.abs(vector * slope - line.slope) <= line.doubt + np.abs(vector) * 2.8 * noise / h
    return slope * unit, sure


def _vectors(x: Floats, scale: Floats, grain: Floats) -> Floats:
    """Return the spacing of each entry's line, as `line.Course` makes it for a single one."""
    seeds = [crc32(entry) for entry in np.ascontiguousarray(x).view(np.uint64)[:, None]]
    signs = [THIRDS[seed & 1] * SIGNS[(seed * MULTIPLIER + INCREMENT & LAST) >> TOP_BITS] for seed in seeds]
    step = power_of_two(SPACING * scale) * np.array(signs)
    grains = np.abs(step) / grain
    rounded = np.where(grains < 2.0**52, np.maximum(np.round(grains), 8.0) * grain, np.abs(step))
    vector: Floats = np.where(x != 0.0, np.copysign(rounded, step), step)
    return vector


class _Lines:
    """What `line.Seven` and `line.look_along` say of seven values, where f is smooth down to a little noise."""

    def __init__(self, w: Floats, f0: Floats, unit: Floats) -> None:
        a = np.diff(w, axis=1)
        thirds = np.diff(a, n=2, axis=1)
        fourths = np.diff(thirds, axis=1)
        fifths = np.diff(fourths, axis=1)
        levels = np.stack([
            THIRD * np.sqrt((thirds**2).sum(axis=1)),
            FOURTH * np.sqrt((fourths**2).sum(axis=1)),
            FIFTH * np.sqrt((fifths**2).sum(axis=1)),
            SIXTH * np.abs(fifths[:, 1] - fifths[:, 0]),
        ])  # fmt: skip
        top = np.abs(w).max(axis=1)
        self.spread = np.abs(w - f0[:, None]).max(axis=1)
        floor = np.maximum(np.maximum(0.5 * EPS * np.abs(f0), 0.25 * EPS * top), TINY)
        quiet = (levels[2] <= 3.0 * floor) & (levels[3] <= 3.0 * floor)
        middle = np.median(levels, axis=0)
        self.sigma = np.where(
            quiet,
            np.maximum(floor, HALF_ROOT * np.hypot(levels[2], levels[3])),
            np.median(levels[1:], axis=0),
        )
        curved = levels[0] > 4.0 * np.maximum(self.sigma, levels[1])
        self.third = np.where(curved, np.median(np.abs(thirds), axis=1) / SPACING**3, 0.0)
        self.slope = (45.0 * (w[:, 4] - w[:, 2]) - 9.0 * (w[:, 5] - w[:, 1]) + (w[:, 6] - w[:, 0])) / 60.0
        self.doubt = 4.0 * self.sigma + 0.1 * np.abs(fifths).max(axis=1)
        rise = np.abs(w[:, 6] - w[:, 0])
        bend = np.abs((w[:, 6] - f0) + (w[:, 0] - f0))
        self.size = np.maximum(
            rise / (6.0 * SPACING), np.where(bend > 8.0 * self.sigma, bend / (9.0 * SPACING**2), 0.0)
        )
        seen = np.maximum(np.abs(f0), self.spread)
        self.variation = np.maximum(np.minimum(self.size, seen), 10.0 * self.sigma)
        self.settled = (
            np.isfinite(w).all(axis=1)
            & (np.count_nonzero(a == 0.0, axis=1) < 4)
            & (quiet | (middle <= QUIET * floor))
            & (rise >= 10.0 * self.sigma)
            & ~_latticed(w * unit[:, None], top * unit)
        )


def _latticed(values: Floats, top: Floats) -> NDArray[np.bool_]:
    """Whether the values may lie on a lattice of binary or decimal fractions: then `line.quantum` is to say which."""
    binary = (np.fmod(values, 16.0 * np.spacing(top)[:, None]) == 0.0).all(axis=1)
    decimal = np.array([float(f"{value:.11e}") == value for value in values[:, 0].tolist()])
    latticed: NDArray[np.bool_] = binary | decimal
    return latticed
