"""Second looks at the components in doubt: better steps, kinks, edges, and what has no effect at all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from itertools import pairwise
from math import inf, sqrt, ulp

import numpy as np

from .components import Components
from .constants import ENDS, FINER, REACH, ROUNDS, STILL, TOO_LARGE, nearest_power
from .looks import Look, better_step

FEW_STILL = 4  # so many components without effect are moved together, to see that they have none
WAY_OUT = 6  # steps that a component gets to find where f is finite

Looking = Generator[float, "Look | None", None]


class Again(Components):
    """f along the components in doubt."""

    # the usual step in scales of x, and the noise of a slope, relative to it, that needs no improvement
    step: float
    enough: float
    torn = False  # whether the line contradicts the bars so much that its own steps were taken
    reason: list[str]  # why a component is not certain
    slopes: dict[int, tuple[float, float]]  # the slopes from below and above, where there is a kink

    def _look_again(self, doubtful: list[int], h: list[float]) -> None:
        """Look again at components in doubt, all of them side by side: each asks for steps, one after the other."""
        self._take_up(doubtful)
        if not doubtful:
            return
        rough = self._who_is_rough(h)
        dead = self._without_effect(doubtful)
        asking: list[tuple[int, Looking, float]] = []
        for i in doubtful:
            if i not in dead and self._may_move(i):
                looking = self._again(i, h[i], rough is not None and rough[i])
                wanted = next(looking, None)
                if wanted is not None:
                    asking.append((i, looking, wanted))
        while asking:
            found = self._evaluate([i for i, _, _ in asking], [step for _, _, step in asking])
            before, asking = asking, []
            for (i, looking, _), look in zip(before, found, strict=True):
                with suppress(StopIteration):
                    asking.append((i, looking, looking.send(look)))

    def _again(self, i: int, h: float, rough: bool) -> Looking:
        looks = self.looks[i]
        if not looks:
            yield from self._leave(i, h)
        if looks:
            look = looks[0]
            if rough or look.edge or self._suspect(i, look):
                yield from self._shrink(i)
            else:
                yield from self._improve(i)

    def _who_is_rough(self, h: list[float]) -> list[bool] | None:
        """Return which components can make the line rough; if none shows it, it may be any."""
        line = self.line
        if not line.rough:
            return None
        if line.odd:
            return [True] * self.m
        some = []
        for i, (size, length) in enumerate(zip(h, self.scale, strict=True)):
            looks = self.looks[i]
            share = min(1.0, size / length / line.rough_spacing)
            some.append(
                bool(looks) and looks[0].second > 8.0 * looks[0].sigma and looks[0].second >= 0.2 * line.rough * share
            )
        return some if any(some) else [True] * self.m

    def _suspect(self, i: int, look: Look) -> bool:
        """Say whether there may be a kink that matters, by the first look alone."""
        scale = self.scale[i]
        return look.kinked and look.second * scale / look.step > max(1e-3, 30.0 * look.step / scale) * self.size

    def _leave(self, i: int, h: float) -> Looking:
        """Find a step with which f is finite."""
        base = abs(self.x[i]) or h
        for _ in range(WAY_OUT):
            if self.looks[i]:
                return
            h = max(min(h / ENDS, nearest_power(self.step * base)), self._least(i))
            yield h

    def _shrink(self, i: int) -> Looking:
        """Look with steps 64 times smaller, until f is smooth or it is clear that it will not be."""
        looks, least = self.looks[i], 1e-3 * self.size / self.scale[i]
        for _ in range(ROUNDS):
            last = looks[-1]
            h = max(nearest_power(last.step * FINER), self._least(i))
            if h >= last.step or (yield h) is None:
                break
            look = looks[-1]
            slack, apart = 4.0 * (look.noise + last.noise), abs(look.slope - last.slope)
            if apart <= slack:
                break
            if look.side or last.side:
                if apart < 0.05 * abs(look.slope):
                    look.fear = max(look.fear, apart)
                    break
            elif look.second <= 8.0 * look.sigma and apart <= 1.5 * last.jump + slack:  # the kink is left behind
                break
            elif apart <= 252.0 * look.noise:  # the error falls like h
                look.fear = max(look.fear, 2.0 * apart / 63.0)
                break
        ordered = sorted(looks, key=lambda look: look.step)
        a, b = ordered[0], ordered[min(1, len(ordered) - 1)]
        apart = abs(a.slope - b.slope) - 4.0 * (a.noise + b.noise)
        where = f"{a.step:.0e}"
        below, above = a.sides()
        grain = 8.0 * ulp(self.x[i]) * max(abs(below), abs(above))  # f may round where x enters it
        kinked = not a.side and a.kinked and a.second > grain
        if a is not b and kinked and a.second > b.second * (a.step / b.step) ** 1.5:
            # the second difference falls like h, not like h**2: two slopes
            self.slopes[i] = below, above
            a.fear = max(a.fear, 0.5 * abs(above - below))
            below, above = below * self.unit, above * self.unit
            self.reason[i] = f"f has a kink within {where} of x: its slopes there are {below:.3g} and {above:.3g}"
        elif apart > 0.1 * max(abs(a.slope), least) and (a.side or apart > 1.5 * b.jump):
            grows = abs(a.slope) > 2.0 * abs(b.slope)
            a.fear = max(a.fear, abs(a.slope) if grows else apart)
            self.reason[i] = "the slope grows without bound" if grows else "the slope changes as the step shrinks"
        elif a.side and (left := _left(ordered)):
            a.fear = max(a.fear, left)  # a itself may be all noise
            if left > 0.05 * max(abs(a.slope), least):
                self.reason[i] = "the slope changes as the step shrinks"
        elif any(
            abs(q.slope - p.slope) > 1.5 * q.jump + 4.0 * (p.noise + q.noise) + 0.1 * max(abs(p.slope), least)
            for p, q in pairwise(ordered)
            if not q.side
        ):
            self.reason[i] = f"differences of f with steps down to {where} disagree"
        elif not a.side:  # a step between the largest without the kink and the smallest with it
            clean = [q for q in ordered if abs(q.slope - a.slope) <= 4.0 * (q.noise + a.noise)][-1]
            above_it = [q for q in ordered if q.step > clean.step]
            if above_it and clean.noise > 1e-10 * abs(clean.slope):
                yield nearest_power(sqrt(clean.step * above_it[0].step))

    def _improve(self, i: int) -> Looking:
        """The step is too large or too small: up to three better ones."""
        looks, scale = self.looks[i], self.scale[i]
        for _ in range(max(ROUNDS, 2 + self.stencil.order // 2)):
            look = looks[-1]
            p = look.order
            look.hope = max(look.hope, look.expected(self.length * scale))
            best = better_step(p, look.step, look.slope, look.noise, look.hope, look.fear, self.enough)
            if not best:
                break
            down = look.hope > TOO_LARGE * look.noise
            if look.without_effect and not self.line.flat and look.noise <= STILL * self.size / scale:
                break  # f does not depend on it
            if p > 2 and down and look.hope > 1e-3 * abs(look.slope):  # far beyond f's length nothing decays as h**p
                best = min(best, look.step / 16.0)
            best = max(nearest_power(min(max(best, look.step * REACH[0]), look.step * REACH[1])), self._least(i))
            larger = [q.step for q in looks if q.step > look.step]
            if larger and not down:
                best = min(best, nearest_power(sqrt(look.step * min(larger))))
            if any(0.3 < best / q.step < 3.3 for q in looks) or (yield best) is None:
                break

    def _without_effect(self, doubtful: list[int]) -> set[int]:
        """Return components that f does not depend on, as far as much larger steps show.

        Those that showed no effect are moved together, by the two steps that each would be looked at again with: two
        evaluations for all, as long as f does not change by a bit. Where it does, halves are moved, as long as that
        costs less than looking at each.
        """
        still = [
            i
            for i in doubtful
            if self.looks[i]
            and self.looks[i][0].without_effect
            and (self.line.flat or self.looks[i][0].noise > STILL * self.size / self.scale[i])
        ]
        if len(still) < FEW_STILL or self.line.rough or self.side:
            return set()
        found: set[int] = set()
        groups, left = [still], 2 + len(still) // FEW_STILL
        lower, upper = self.room or ([inf] * self.m, [inf] * self.m)
        while groups and left > 0:
            group = groups.pop(0)
            points = []
            for times, sign in ((REACH[1], 1.0), (REACH[1] ** 2, -1.0)):
                vector = np.zeros(self.m)
                for k, i in enumerate(group):  # sizes differ, or equal effects would cancel
                    size = sign * times * self.looks[i][0].step * (1.0 + (k * 0.6180339887498949) % 1.0)
                    size *= -1.0 if (k * 0.7548776662466927) % 1.0 < 0.5 else 1.0
                    vector[i] = min(max(size, -lower[i]), upper[i])
                points += self._at_multiples(vector, (1.0,))
            left -= 2
            if points == [self.f0, self.f0]:
                found.update(group)
            elif len(group) >= FEW_STILL:
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
        return found


def _left(looks: list[Look]) -> float:
    """Return by how much the slope may still change with steps finer than all: its last changes, continued.

    The looks are sorted by their steps; what noise explains is no change. Beside an edge a smooth f changes 64 times
    less with a step 64 times smaller, a power of 3/2 8 times less, and below a half nothing is known to come to an end.
    """
    changes = [apart for p, q in pairwise(looks) if (apart := abs(q.slope - p.slope)) > 4.0 * (p.noise + q.noise)]
    if len(changes) < 2:
        return 0.0
    ratio = min(changes[0] / changes[1], 0.5)
    return changes[0] * ratio / (1.0 - ratio)
