"""What is told of each component: the best of its looks, a bar, and why no digit of it is certain."""

from __future__ import annotations

from math import hypot, inf, nan, sqrt, ulp
from operator import mul

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .again import Again
from .constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    COUPLED,
    EPS,
    FINER,
    JUMPS,
    MANY,
    NEGLIGIBLE,
    NOISE,
    NOT_FINITE,
    SPACING,
    TINY,
    TORN,
    nearest_power,
)
from .differencing import warn_not_finite
from .looks import Look, fear_of_many
from .memory import Memory
from .scheme import NOT_ASKED_FOR, Estimate

IN_JUMPS = "f moves in jumps: its slope is 0, or hidden by them"


class Report(Again):
    """What is known of f's derivatives at x, once it was looked at."""

    def _choose(self, i: int) -> tuple[float, float, float]:
        """Return derivative, bar and step of the look with the smallest error.

        Truncation is measured against the next smaller step, if there is one.
        """
        looks = sorted(self.looks[i], key=lambda look: look.step)
        shortest = min(self.length * self.scale[i], self.scale[i])
        if self.line.flat and not self.torn:  # a step that f does not resolve tells nothing
            looks = [look for look in looks if not look.without_effect] or looks[-1:]
        least, best = inf, looks[0]
        bar = inf
        for k, look in enumerate(looks):
            expected = look.expected(shortest)
            error = max(look.fear, expected)
            if k > 0:
                finer = looks[k - 1].noise
                gap = abs(look.slope - looks[k - 1].slope) - 2.0 * finer
                error = max(gap, min(look.fear, 3.0 * finer), min(expected, finer))
            noise = max(look.noise, self._of_spacing(i, look))
            if not least <= noise + error:
                least, best = noise + error, look
                bar = BAR_NOISE * noise + BAR_TRUNCATION * error
        return best.slope, bar, best.step

    def _of_spacing(self, i: int, look: Look) -> float:
        """Return the noise of a slope where x itself is rounded as it enters f; 0 for steps of many of x's spacings.

        Where squares of residuals are almost 0 so is their own rounding, and steps become as short.
        """
        spacing = ulp(self.x[i])
        return NOISE * spacing / look.step * max(map(abs, look.sides())) if look.step < MANY * spacing else 0.0

    def _short_report(self, gradient: list[float], doubtful: list[int], top: float) -> Estimate | None:
        """Report without bars, which calm components do not need for their flags; None where some are needed after all.

        `top` is the largest effect of a component on its scale, by the first look.
        """
        line, scale, reason, looks, first = self.line, self.scale, self.reason, self.looks, self.first
        if line.flat or line.rough or line.vector is None or inf in gradient or -inf in gradient:
            return None
        # what is hidden is negligible in scales
        if 0.0 in gradient and (min(scale) < NEGLIGIBLE * max(scale) or top < 1e-3 * line.size):
            return None
        bars: dict[int, float] = {}
        steps: dict[int, float] = {}
        if doubtful:
            if not all(looks[i] for i in doubtful):
                return None
            for i in doubtful:
                gradient[i], bars[i], steps[i] = self._choose(i)
            before = top
            top = max([abs(slope) * length for slope, length in zip(gradient, scale, strict=True)])
            if top < 0.7 * before:
                return None
        gap = abs(sum(map(mul, line.vector, gradient)) - line.slope) - line.doubt
        if gap > 0.0 and not any(reason):
            least = 0.98 * BAR_NOISE * self.stencil.amplification_rms
            known = [
                v * bars.get(i, least * seen[4] / seen[0])
                for i, (v, seen) in enumerate(zip(line.vector, first, strict=True))
            ]
            if gap > hypot(*known):
                return None
        unit, slopes, flags = self.unit, None, None
        if bars:
            least = self.negligible(top)
            third = line.third / self.m**COUPLED if self.plain else 0.0
            for i, bar in bars.items():
                length, h = scale[i], steps[i] / scale[i]
                bar = max(bar, min(third * h * h / (3.0 * length), 1000.0 * bar), EPS * self.size / length)
                dead = all(look.without_effect for look in looks[i])
                if not (reason[i] or dead or bar <= CERTAIN * max(abs(gradient[i]), least / length) < inf):
                    return None  # it knows more of the third derivative
            flags, slopes = reason if any(reason) else None, self._two_slopes()
        step, memory = NOT_ASKED_FOR, None
        if self.task.memory is not None:
            step = np.array([steps.get(i, seen[0]) for i, seen in enumerate(first)])
            memory = self._memory(step)
        found = np.array([*map(unit.__mul__, gradient)])
        return Estimate(found, step, None, None, line.sigma * unit, flags, slopes, memory)

    def _report(self, table: Floats) -> Estimate:
        """Report with bars. `table`: step, slope, first, bend and sigma of the first look at each component."""
        line, looks, reason, m = self.line, self.looks, self.reason, self.m
        scale = np.array(self.scale)
        step, slope, first, bend, sigma = table.copy()
        sooner = np.minimum(self.length * scale, scale)
        expected = np.abs(slope) * (step / sooner) ** 2 / 6.0
        bar = BAR_NOISE * (NOISE * sigma / step)
        truncated = np.maximum(fear_of_many(step, first, np.abs(bend), sigma, line.variation), expected)
        bar += BAR_TRUNCATION * truncated
        third = 6.0 * truncated * (scale / step) ** 2 * scale  # as each component shows it, per scale
        movable = np.ones(m, bool)
        for i, seen in looks.items():
            if seen:
                length = self.scale[i]
                third[i] = max(6.0 * look.fear * (length / look.step) * (length / look.step) * length for look in seen)
                slope[i], bar[i], step[i] = self._choose(i)
            elif self.room is not None and not self._may_move(i):
                slope[i], bar[i], step[i] = self._fixed(i)
                movable[i] = self.room[0][i] + self.room[1][i] > 0.0
            else:
                slope[i], bar[i], step[i] = nan, inf, nan
        for i in np.flatnonzero(~np.isfinite(slope)).tolist():  # differences that overflow, too
            slope[i], bar[i], reason[i] = nan, inf, reason[i] or NOT_FINITE
        second = self._contradicted(slope, bar)
        if second > 1.0 and self.stencil.order > 2:  # wide stencils are fooled by a period that divides their step
            return self._narrower()
        if second > TORN and line.spacing >= SPACING and not self.torn:
            vector = np.abs(np.asarray(line.vector))
            far = np.flatnonzero((vector > 0.0) & (step > vector / FINER)).tolist()
            if far:
                return self._as_near_as_the_line(table, far, vector)
        if second > 1.0:
            bar *= 1.25 * second  # the line's slope errs, too
        for i, pair in self.slopes.items():  # at a kink all between the two slopes is right
            bar[i] = max(bar[i], abs(pair[0] - slope[i]), abs(pair[1] - slope[i]))
        # bars must allow for the line's third derivative, if that is not what the components show themselves
        if self.stencil.order == 2 and 0.0 < line.third > 2.0 * self._third_along(third, scale):
            bar = np.fmax(bar, np.fmin(line.third / m**COUPLED * (step / scale) ** 2 / (3.0 * scale), 1000.0 * bar))
        bar = np.where(movable, np.maximum(bar, EPS * self.size / scale), bar)
        if line.flat and line.spread > 0.0 and line.sigma > JUMPS * max(line.variation, np.nanmax(first, initial=0.0)):
            reason[:] = [IN_JUMPS] * m
        top = float(np.nanmax(np.abs(slope) * scale, initial=0.0))
        # what is negligible on the scale of a short line may not be on that of the wider one
        reach = np.abs(line.vector) / line.spacing if line.wider and line.vector is not None else scale
        enough = CERTAIN * np.maximum(np.abs(slope), self.negligible(top) / reach)
        for i in np.flatnonzero(~(bar <= enough) & movable).tolist():
            again = looks.get(i)
            dead = all(look.without_effect for look in again) if again else first[i] == 0.0 == bend[i]
            if not reason[i] and not (dead and second <= 1.0):
                self._no_digit(i, float(bar[i]), float(slope[i]))
        for i in np.flatnonzero(self._hidden(slope, bar)).tolist():
            reason[i] = reason[i] or f"rounding of f hides what is less than {float(bar[i]) * self.unit:.0e}"
        failed = np.flatnonzero(np.isnan(slope))
        if failed.size:
            i = int(failed[0])
            tried = self.x[i] + self._least(i)
            warn_not_finite(self.task.point, self.task.index[failed], tried, self.run.value())
        flags = reason if any(reason) else None
        return Estimate(
            slope * self.unit,
            step,
            bar * self.unit,
            None,
            line.sigma * self.unit,
            flags,
            self._two_slopes(),
            self._memory(step),
        )

    def _hidden(self, slope: Floats, bar: Floats) -> NDArray[np.bool_]:
        """Say of which components without effect the noise hides slopes as steep as the steepest.

        In scales of x they may be negligible, as the 1 of a sum with 1e150 is; but their derivative is another number.
        """
        sizes = np.abs(slope)
        steepest, top = (float(np.nanmax(each, initial=0.0)) for each in (sizes, sizes * self.scale))
        tells = top > 0.0 and top >= 1e-6 * self.line.size
        found: NDArray[np.bool_] = tells & (slope == 0.0) & (bar > CERTAIN * steepest)
        return found

    def _agreed(self, slope: Floats, noise: Floats) -> bool:
        """Say whether the line agrees with the gradient so well that the bars of calm components need not grow."""
        line = self.line
        if line.vector is None:
            return True
        vector = np.asarray(line.vector)
        gap = abs(float(vector @ slope) - line.slope) - line.doubt
        known = vector * noise
        return gap <= 0.0 or gap <= 2.8 * sqrt(float(known @ known))

    def _as_near_as_the_line(self, table: Floats, far: list[int], vector: Floats) -> Estimate:
        """Look with the line's own steps, by which the slope is another one, where others are far longer; report again.

        What seems a slope there may be a third derivative of which no short step shows anything.
        """
        self.torn, self.first = True, list(zip(*table.tolist(), strict=True))
        rows = [i for i in far if self._may_move(i)]
        self._take_up(rows)
        self._evaluate(rows, [nearest_power(float(vector[i])) for i in rows])
        return self._report(table)

    def _third_along(self, third: Floats, scale: Floats) -> float:
        """Return the size of f's third derivative along the line, from those of the components."""
        along = third * (np.asarray(self.line.vector) / scale / self.line.spacing) ** 3
        along[~np.isfinite(along)] = 0.0
        return sqrt(float(along @ along))

    def _fixed(self, i: int) -> tuple[float, float, float]:
        """Return 0 for a component that must not move; for one without room to move, that nothing is known."""
        assert self.room is not None
        return (0.0, 0.0, nan) if self.room[0][i] == 0.0 == self.room[1][i] else (nan, inf, nan)

    def _contradicted(self, slope: Floats, bar: Floats) -> float:
        """Return how many times farther the line's slope is from the gradient than bars and noise allow."""
        line = self.line
        if line.vector is None or any(self.reason):
            return 0.0
        vector = np.asarray(line.vector)
        gap = abs(float(vector @ np.where(vector == 0.0, 0.0, slope)) - line.slope)
        moved = np.where(vector == 0.0, 0.0, vector * bar)
        return gap / (sqrt(float(np.sum(moved**2))) + line.doubt)

    def _no_digit(self, i: int, bar: float, slope: float) -> None:
        """Say why no digit is certain; noise that was declared is known to its owner."""
        if self.noise is not None:
            return
        line = self.line
        rounding = 0.5 * EPS * abs(self.f0)
        if line.sigma > 20.0 * max(rounding, TINY):
            times = f", {line.sigma / rounding:.0e} times rounding" if rounding > 0.0 else ""
            self.reason[i] = f"f loses digits near x: its noise is {line.sigma * self.unit:.0e}{times}"
        elif any(look.side for look in self.looks.get(i, ())):
            self.reason[i] = f"the slope at the edge of f's domain may be wrong by {bar * self.unit:.0e}"
        else:
            zero = "0 is as likely, and " * (abs(slope) <= bar)
            self.reason[i] = f"no digit is certain: {zero}it may be wrong by {bar * self.unit:.0e}"

    def _two_slopes(self) -> Floats | None:
        if not self.slopes:
            return None
        slopes = np.full((self.m, 2), nan)
        for i, pair in self.slopes.items():
            slopes[i] = pair
        return slopes * self.unit

    def _nothing(self, value: float) -> Estimate:
        """Return the gradient where f(x) itself is not finite, or where no component is wanted."""
        index = self.task.index
        unknown = np.full(index.size, nan)
        if index.size:
            warn_not_finite(self.task.point, index, float(self.task.point.base.reshape(-1)[index[0]]), value)
        flags = ["f(x) is not finite"] * index.size or None
        return Estimate(unknown, unknown.copy(), np.full(index.size, inf), None, None, flags)

    def _narrower(self) -> Estimate:
        """Start again with a stencil of order 2."""
        raise NotImplementedError

    def _here(self, step: Floats) -> Memory | None:
        """Return what is known here, if steps may be used at other points at all."""
        line = self.line
        if line.rough or line.flat or not self.task.everything or not self.plain:
            return None
        size = max(abs(self.f0), line.spread) * self.unit
        return Memory(np.array(self.x), np.array(self.scale), step.copy(), line.sigma * self.unit, size)

    def _memory(self, step: Floats) -> Memory | None:
        """Return what may be used near here, if it is asked for and all is smooth here."""
        return None if self.task.memory is None or any(self.reason) or self.walls else self._here(step)
