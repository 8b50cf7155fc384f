r"""The step that looks at itself: one line, one sweep, and a second look only where it pays.

A difference of order p errs by noise, :math:`K \sigma / h`, and by truncation, :math:`C h^p |f^{(p+1)}|`. Seven
values of f on a line through x (`line`) measure the noise and are a second opinion on the gradient; each component is
judged by the very values that its difference needs (`looks`); components where another step is clearly better, and
those beside a kink or an edge of f's domain, are evaluated again. What remains uncertain is said. Nothing is kept, no
clock decides, and pseudo-random signs come from x's own bytes: the same call gives the same bits.

One gradient in the making passes five rooms, each of which builds on the one before: `around` evaluates f, `components`
looks at single ones, `again` looks again, `report` tells, and here is the order of it all, with the first sweep.
"""

from __future__ import annotations

from math import inf, isfinite, nan, sqrt, ulp

import numpy as np

from .around import CENTRAL
from .components import First
from .constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    ENOUGH,
    EPS,
    KINK,
    STILL,
    TINY,
    TOO_LARGE,
    USUAL,
    calm,
    certain,
    nearest_powers,
)
from .line import Course, CourseOfMany, Line, look_along
from .looks import calm_of_many, truncation_of_one
from .memory import Memory
from .report import Report
from .scheme import Estimate
from .stencils import backward, forward
from .steps import power_of_two

__all__ = ["Search"]

NARROW = {0: CENTRAL, 1: forward(2), -1: backward(2)}  # by the side


class Search(Report):
    """One gradient in the making; values are in units of a power of two near |f(x)|.

    `ratio`: f's noise, relative to how much it varies on x's scale.
    """

    @np.errstate(all="ignore")  # as a context it takes three calls
    def estimate(self) -> Estimate:
        """Find the gradient."""
        task, stencil = self.task, self.stencil
        value, m = self.run.value(), task.index.size
        self.looks, self.walls, self.slopes, self.reason = {}, {}, {}, [""] * m
        if not (isfinite(value) and m):
            return self._nothing(value)
        course, f0 = self.begin(value), self.f0
        if course is None:
            self.scale, _, line, *_ = self.run.looked
            line.rescale(self.scaling)
            self.run.looked = None
        else:
            if self.noise is None and self.room is None:
                line = look_along(self, course, f0, self.unit)
            else:
                line = self._line(course)
            scale = course.scale
            self.scale = scale if isinstance(scale, list) else scale.tolist()
        self.line, sigma = line, line.sigma
        self.rho = 0.3 * EPS if self.noise is not None else sigma / max(abs(f0), line.spread, TINY)
        self.ratio = ratio = min(max(sigma / line.variation, 1e-17), 1e-2)
        plain = self.plain
        if plain:
            step = ratio ** (1.0 / 3.0)
            usual = USUAL * step * step
        else:  # the best if f changes by its variation on its scale
            p = stencil.order
            step = (stencil.best * ratio) ** (1.0 / (p + 1))
            usual = USUAL * ratio ** (p / (p + 1.0))
        if line.third > 0.0:  # n separate terms show sqrt(n) f''', coupled ones up to n**1.5 f'''
            shorter = max((3.0 * sigma * sqrt(m) / line.third) ** (1.0 / 3.0), 1e-13)
            usual_step = ratio ** (1.0 / 3.0)
            if shorter * m ** (1.0 / 3.0) < 0.5 * usual_step:
                step = shorter * m ** (1.0 / 6.0) if plain else step * (shorter * m ** (1.0 / 6.0) / usual_step)
        self.step, self.enough = step, max(ENOUGH, usual)
        h = None if task.memory is None else self._remembered()
        if not self.few:
            return self._many(h)
        if h is None:
            h = nearest_powers(self.step, self.scale)
            if min(h) < TINY:  # else they are far more than some units in the last place of x
                h = [max(size, 4.0 * ulp(entry)) for entry, size in zip(self.x, h, strict=True)]
        gradient, doubtful, top = self._two_sides(h) if plain else self._one_side(h)
        unclear = line.rough or line.flat or line.vector is None or line.third > 0.0
        if unclear and self._all_in_doubt(self.negligible(top)):
            doubtful = list(range(m))
        if doubtful:
            self._look_again(doubtful, h)
        if not self.task.bars:
            short = self._short_report(gradient, doubtful, top)
            if short is not None:
                return short
        if not plain:
            self._take_up(range(m))
        return self._report(np.array(self.first).T)

    def _line(self, course: Course | CourseOfMany) -> Line:
        if self.noise is not None:
            return Line.declared(self.noise * self.scaling, self.f0)
        if self.room is not None and not any(map(max, *self.room)):
            return Line.declared(0.0, self.f0)  # nothing may move
        return look_along(self, course, self.f0, self.unit)

    def _two_sides(self, h: list[float]) -> tuple[list[float], list[int], float]:
        """Return central differences, which of them are in doubt, and the largest effect of one on its scale."""
        line, x, scale, origin = self.line, self.x, self.scale, self.origin
        here = self.f0 - origin
        sigma, rho, variation = line.sigma, self.rho, line.variation
        values, scaling, enough = self.run.around(h), self.scaling, self.enough / 1.42
        first: list[First] = []
        gradient: list[float] = []
        lengths, doubtful = [], []
        top = bow = coarse = still = 0.0
        for entry, size, length, up, down in zip(x, h, scale, values[::2], values[1::2], strict=True):
            up, down = up * scaling, down * scaling
            above, below = up - here, down - here
            size = 0.5 * ((entry + size) - (entry - size))
            up, down = abs(up + origin), abs(down + origin)
            noise = rho * (up if up > down else down)
            if noise < sigma:
                noise = sigma
            difference, bend = above - below, above + below
            change, bent, slope = abs(difference), abs(bend), difference / (2.0 * size)
            if bent > 8.0 * noise < change:
                lengths.append(size * change / (2.0 * bent) / length)
            effect, relative = abs(slope) * length, size / length
            if top < effect < inf:
                top = effect
            grain = noise / relative
            gradient.append(slope)
            first.append((size, slope, change, bend, noise))
            if change == 0.0 == bent:  # f does not depend on it
                still = max(still, grain)
                continue
            usual = bent <= KINK * change and noise <= enough * change and bent * bent <= 63.0 * noise * change < inf
            if not (usual or calm(change, bent, noise, variation, enough)):
                doubtful.append(len(gradient) - 1)
            if grain > coarse:
                coarse = grain
            arch = change * relative * relative / noise
            if arch > bow:
                bow = arch
        self.first = first
        least, length = self.learn(top, lengths), self.length
        if bow > 42.0 * length * length or coarse > 5e-5 * least or still > 1.4 * STILL * self.size:
            doubtful = [
                i
                for i, (size, _, change, _, noise) in enumerate(first)
                if i in doubtful or not certain(change, noise, size / scale[i], length, least)
            ]
        return gradient, doubtful, top

    def _one_side(self, h: list[float]) -> tuple[list[float], list[int], float]:
        """Do the same for differences of one point and x."""
        line, x, scale, stencil, f0 = self.line, self.x, self.scale, self.stencil, self.f0
        here, scaling = f0 - self.origin, self.scaling
        sigma, rho, variation, enough = line.sigma, self.rho, line.variation, self.enough
        (node,) = nodes = tuple(stencil.nodes.tolist())
        ((inverse,),), (gain,), product = stencil.taylor
        amplification, bend = stencil.amplification_rms, line.bend / self.m
        gradient, errors, doubtful = [], [], []
        self.first = first = []
        top = 0.0
        for entry, size, length, value in zip(x, h, scale, self.run.around(h, nodes), strict=True):
            rise, span = value * scaling - here, (entry + size * node) - entry
            noise = rho * abs(f0 + rise)
            if noise < sigma:
                noise = sigma
            slope, size = rise / span + 0.0, abs(span / node)
            seen = max(gain * noise, abs(inverse * rise))
            errors.append(truncation_of_one(size, seen, product, variation, bend / length / length))
            gradient.append(slope)
            first.append((size, slope, abs(rise), 0.0, noise))
            effect = abs(slope) * length
            if top < effect < inf:
                top = effect
        least = self.learn(top, [])
        for i, ((size, slope, _, _, noise), length, error) in enumerate(zip(first, scale, errors, strict=True)):
            noise, steep, relative = amplification * noise / size, abs(slope), size / length
            fear = max(error, 0.5 * self.size * relative / length)
            bar = BAR_NOISE * noise + BAR_TRUNCATION * max(fear, 0.5 * steep * relative)
            well = error <= TOO_LARGE * noise and (noise <= enough * steep or noise <= 35.0 * fear)
            if not (well and (bar <= CERTAIN * steep < inf or bar * length <= CERTAIN * least)):
                doubtful.append(i)
        return gradient, doubtful, top

    def _many(self, remembered: list[float] | None) -> Estimate:
        """Sweep, and judge in arrays: the central difference of all at once, anything else look by look."""
        x, scale, least = np.array(self.x), np.array(self.scale), np.array(self.least)
        h = self.step * scale
        h = np.maximum(np.where(h > 0.0, power_of_two(h), 0.0), least)
        if remembered is not None:
            h = np.array(remembered)
        room = self.room
        if not self.plain or (room is not None and (h > np.minimum(*map(np.array, room))).any()):
            return self._each(h.tolist())
        points = np.stack([x + h, x - h], axis=1)
        if self.task.bounds is not None:
            lower, upper = (side[self.task.index][:, None] for side in self.task.bounds)
            np.clip(points, lower, upper, out=points)
        values = self.run.sweep(self.task.index, points) * self.scaling
        line, here = self.line, self.f0 - self.origin
        h = 0.5 * (points[:, 0] - points[:, 1])
        above, below = values[:, 0] - here, values[:, 1] - here
        sizes = np.abs(values + self.origin).max(axis=1)
        noise = np.maximum(line.sigma, np.where(np.isnan(sizes), 0.0, self.rho * sizes))
        difference, bend = above - below, above + below
        change, bent, slope = np.abs(difference), np.abs(bend), difference / (2.0 * h)
        seen = (bent > 8.0 * noise) & (8.0 * noise < change)
        effect = np.abs(slope) * scale
        top = float(effect[effect < inf].max(initial=0.0))
        negligible = self.learn(top, (h[seen] * change[seen] / (2.0 * bent[seen]) / scale[seen]).tolist())
        length = self.length
        still = (change == 0.0) & (bent == 0.0)
        relative = h / scale
        if self._all_in_doubt(negligible):
            doubtful = list(range(self.m))
        else:
            fine = calm_of_many(change, bent, noise, line.variation, self.enough / 1.42)
            sure = noise <= 5e-5 * negligible * relative
            sure &= change * relative * relative <= 42.0 * length * length * noise
            # what has no effect has a bar of noise alone
            dead = still & (noise <= 1.4 * STILL * self.size * relative)
            doubtful = np.flatnonzero(~(dead | (fine & sure))).tolist()
        table = np.stack([h, slope, change, bend, noise])
        self.first = list(zip(*table.tolist(), strict=True)) if doubtful else []
        if doubtful:
            self._look_again(doubtful, h.tolist())
        elif not (
            self.task.bars
            or (still.any() and self._hidden(slope, BAR_NOISE * noise / h).any())
            or not self._agreed(slope, noise / h)
        ):
            return Estimate(slope * self.unit, h, None, None, line.sigma * self.unit, None, None, self._memory(h))
        return self._report(table)

    def _each(self, h: list[float]) -> Estimate:
        """Sweep by any stencil and within bounds, and judge look by look."""
        everything = list(range(self.m))
        self.looks = {i: [] for i in everything}
        self.first = []
        self.size = self.line.variation
        self._evaluate(everything, h, careful=False)
        found = [(looks[0], self.scale[i]) for i, looks in self.looks.items() if looks]
        top = max([abs(look.slope) * length for look, length in found], default=0.0)
        lengths = [
            look.step * look.first / (2.0 * look.second) / length
            for look, length in found
            if self.plain and min(look.first, look.second) > 8.0 * look.sigma
        ]
        self.learn(top, lengths)
        for look, length in found:
            self._fear_curvature(look, length)
        self._look_again(everything, h)
        table = np.full((5, self.m), nan)
        return self._report(table)

    def _all_in_doubt(self, least: float) -> bool:
        line = self.line
        if self.noise is None and line.vector is None:
            return True
        return bool(line.rough or line.flat or 3.0 * line.third * self.step * self.step > self.m * least)

    def _remembered(self) -> list[float] | None:
        """Return the steps of the owner's last call, where they may be used."""
        memory, here = self.task.memory, self._here(np.empty(0))
        if not isinstance(memory, Memory) or here is None or not memory.serves(here):
            return None
        return [max(step, self._least(i)) for i, step in enumerate(memory.step.tolist())]

    def _narrower(self) -> Estimate:
        return Search(self.run, self.task, NARROW[self.side], self.noise).estimate()
