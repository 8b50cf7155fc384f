"""Looks at single components: differences by any stencil, or what bounds and walls leave of it, and their errors."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from operator import mul

from .around import Around
from .constants import NEGLIGIBLE
from .line import Line, median
from .looks import Look, by_parabola, by_stencil, by_two_points, of_two_points

First = tuple[float, float, float, float, float]  # step, slope, first, bend, sigma


class Components(Around):
    """f along single components."""

    line: Line  # what the seven values say
    rho: float  # f's noise relative to f
    size: float  # how much f changes on the scale of x, as far as is known
    length = inf  # on which most components change, in scales of x
    first: list[First]  # the first difference of each component

    looks: dict[int, list[Look]]  # all differences of the components in doubt
    walls: dict[int, int]  # how often f was not finite beside a component

    def negligible(self, top: float) -> float:
        """Return the effect below which a component's own is negligible, where the largest of all is `top`."""
        return max(NEGLIGIBLE * top, 1e-6 * self.line.size)

    def learn(self, top: float, lengths: list[float]) -> float:
        """Note what the first looks show: f's size, by the largest effect, and the length that most components show.

        Where f'' happens to vanish a component looks like a line. Returns what is `negligible`.
        """
        line = self.line
        if 2 * len(lengths) > self.m > 1 and not line.rough:
            self.length = median(lengths)
        self.size = max(line.variation, line.size, top)
        return max(NEGLIGIBLE * top, 1e-6 * line.size)  # written out: a frame less

    def _take_up(self, rows: Iterable[int]) -> None:
        """Make looks of the first differences of some components."""
        for i in rows:
            if i in self.looks:
                continue
            self.looks[i] = []
            step, slope, change, bend, sigma = self.first[i]
            if not isfinite(change + bend):
                self.walls[i] = 1
            elif self.plain:
                self.looks[i].append(of_two_points(step, slope, change, bend, sigma, self.line.variation))
            else:
                self.looks[i].append(self._by_stencil(i, step, slope, [change], sigma))
                self._fear_curvature(self.looks[i][0], self.scale[i])

    def _evaluate(self, rows: list[int], steps: list[float], careful: bool = True) -> list[Look | None]:
        """Look at components with these steps; where one side is not finite, the second time to the other.

        None where that is in vain. At exploring points (`careful`) f has no value where it raises.
        """
        points = [self._place(i, h) for i, h in zip(rows, steps, strict=True)]
        values = self._values(rows, points, careful)
        found = [
            self._judge(i, where, there) if where else None
            for i, where, there in zip(rows, points, values, strict=True)
        ]
        lost = [k for k, look in enumerate(found) if look is None and points[k]]
        beside: list[tuple[int, tuple[float, ...], float]] = []
        for k in lost:
            i, x = rows[k], self.x[rows[k]]
            self.walls[i] = self.walls.get(i, 0) + 1
            ends = [(a, v) for a, v in zip(points[k], values[k], strict=True) if isfinite(v)]
            if ends and self.walls[i] > 1:
                far, end = max(ends, key=lambda pair: abs(pair[0] - x))
                middle = x + 0.5 * (far - x)
                if x != middle != far:
                    beside.append((k, (middle, far), end))
        if beside:
            halves = self._values([rows[k] for k, _, _ in beside], [where[:1] for _, where, _ in beside], True)
            for (k, where, end), (half,) in zip(beside, halves, strict=True):
                if isfinite(half):
                    found[k] = self._parabola(rows[k], where, [half, end], edge=True)
        for i, look in zip(rows, found, strict=True):
            if look is not None:
                self.looks[i].append(look)
        return found

    def _judge(self, i: int, points: tuple[float, ...], values: list[float]) -> Look | None:
        """Difference these values, relative to f(x); None where one is not finite."""
        if not isfinite(sum(values)):
            return None
        x, line, f0 = self.x[i], self.line, self.f0
        sigma = max(line.sigma, self.rho * max([abs(f0 + value) for value in values]))
        if len(points) == 2 and points[1] < x < points[0]:
            above, below = values
            return by_two_points(0.5 * (points[0] - points[1]), above, below, sigma, line.variation)
        nodes = self.stencil.nodes
        if len(points) != nodes.size or (
            len(points) == 2 and abs(points[0] - x) * 4 < 3 * abs(points[1] - x) and self.room
        ):
            return self._parabola(i, points, values, edge=False)
        spans = [point - x for point in points]
        if self.stencil.symmetric:
            quotients = [
                (a - b) / (u - v)
                for a, b, u, v in zip(values[0::2], values[1::2], spans[0::2], spans[1::2], strict=True)
            ]
        else:
            quotients = [value / span for value, span in zip(values, spans, strict=True)]
        slope = sum(map(mul, quotients, self.stencil.quotients.tolist()))
        return self._by_stencil(i, float(abs(spans[0] / nodes[0])), slope, values, sigma)

    def _by_stencil(self, i: int, h: float, slope: float, values: list[float], sigma: float) -> Look:
        bend = self.line.bend / self.m / self.scale[i] / self.scale[i]  # no square: it may overflow
        return by_stencil(self.stencil, h, slope, values, sigma, self.line.variation, bend)

    def _parabola(self, i: int, points: tuple[float, ...], values: list[float], edge: bool) -> Look:
        x, f0 = self.x[i], self.f0
        sigma = max(self.line.sigma, self.rho * max([abs(f0 + value) for value in values]))
        one, two = values
        return by_parabola(points[0] - x, points[1] - x, one, two, sigma, self.line.variation, edge)

    def _fear_curvature(self, look: Look, length: float) -> None:
        """Let the first difference of one point know that the line may see little: f is unmoved by a common shift."""
        if self.stencil.nodes.size == 1:
            look.fear = max(look.fear, 0.5 * self.size * (look.step / length) / length)
