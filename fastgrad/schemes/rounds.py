"""Second looks at the directions in doubt, in step: each asks for steps, and all are evaluated and judged at once.

What is asked for follows from a direction's own values alone: it gets the same bits in any company.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, Ints
from .constants import BAR_NOISE, BAR_TRUNCATION, FINER, GAIN, TINY, TOO_LARGE
from .directions import Directions, Mask
from .judgements import NUMBERS, Looks, left_of
from .seeds import Seeds

TOGETHER = 1 << 14  # entries: of more, numpy's loops take all of the time
MANY = 0.25  # a larger step is tried if so large a share of the entries gain by it,
LACKING = 1e-6  # or one whose relative noise is so large
WITHOUT_EFFECT = 1e-5  # of an output's size: f does not depend on what has no effect down to this noise
SMALL = 0.1  # of an output's size: noise of smaller entries is measured against this
ATTEMPTS, SHORTER = 6, 1024.0  # to find f finite
LOOKS = 3  # further ones


@dataclass
class Part:
    """Some directions, and what is found of them."""

    directions: Ints  # which
    seeds: Seeds  # these alone
    # derivatives with respect to t, and their bars
    slopes: Floats
    bars: Floats


@dataclass
class _Open:
    """Directions that are looked at again."""

    places: Ints  # where they are in their part
    # as in `Part`
    directions: Ints
    seeds: Seeds
    # entries that may not be smooth, and those that are looked at still
    rough: Mask
    open: Mask
    # all looks at them, and the mean step of each direction
    looks: list[Looks]
    means: list[Floats]

    def only(self, some: Ints) -> _Open:
        """Return some of the directions."""
        if some.size == self.places.size:
            return self
        seeds, entries = self.seeds.only(some), self.seeds.entries(some)
        looks, means = [look.of(some, entries) for look in self.looks], [mean[some] for mean in self.means]
        return _Open(
            self.places[some],
            self.directions[some],
            seeds,
            self.rough[entries],
            self.open[entries],
            looks,
            means,
        )

    def take(self, look: Looks) -> None:
        """Add a look at all."""
        self.looks.append(look)
        self.means.append(self.seeds.means(look.t))


class Rounds(Directions):
    """f along the directions in doubt."""

    def look_again(self, part: Part, again: Ints, first: Looks, walled: Ints) -> None:
        """Look again at some directions of a part; at those that are `walled` for the first time."""
        alive = part.seeds.of_outputs(np.isfinite(self.f0))
        lost = part.seeds.counts(alive & ~np.isfinite(first.derivative)) > 0
        lost[walled] = True
        width = max(1, TOGETHER * part.seeds.count // max(1, first.derivative.size))
        for begin in range(0, again.size, width):
            some = again[begin : begin + width]
            stays = some[~lost[some]]
            if stays.size:
                self._go_on(part, stays, first.of(stays, part.seeds.entries(stays)))
            leaves = some[lost[some]]
            if leaves.size:
                self._leave(part, leaves)

    def _leave(self, part: Part, places: Ints) -> None:
        """Find steps with which f is finite; from the second on, to one side too."""
        t = self.step
        for attempt in range(ATTEMPTS):
            where, look = self.looked(part.directions[places], [t] * places.size, [attempt > 0] * places.size)
            if look is not None:
                seeds = part.seeds.only(places[where])
                there = np.isfinite(look.derivative) | ~seeds.of_outputs(np.isfinite(self.f0))
                whole = np.flatnonzero(seeds.counts(~there) == 0)
                if whole.size:
                    self._go_on(part, places[where[whole]], look.of(whole, seeds.entries(whole)))
                    places = np.delete(places, where[whole])
                    if not places.size:
                        return
            t /= SHORTER
        self.reasons |= dict.fromkeys(part.directions[places].tolist(), "f is not finite beside x")
        entries = part.seeds.entries(places)
        part.slopes[entries], part.bars[entries] = np.nan, np.inf

    def _go_on(self, part: Part, places: Ints, look: Looks) -> None:
        """Look further at directions, by this first look."""
        seeds = part.seeds.only(places)
        rough = self.rough(look, seeds)
        group = _Open(places, part.directions[places], seeds, rough, np.ones(rough.shape, dtype=bool), [], [])
        group.take(look)
        shrinks = look.edge | (seeds.counts(rough) > 0)
        for those, go in ((shrinks, self._shrink), (~shrinks, self._improve)):
            if those.any():
                go(part, group.only(np.flatnonzero(those)))

    def _step(self, part: Part, group: _Open, t: list[float], sided: list[bool]) -> _Open | None:
        """Look at directions with these steps: those with the step 0, or where f is not finite, are finished."""
        wanted = [k for k, step in enumerate(t) if step]
        look: Looks | None = None
        there = np.empty(0, dtype=np.intp)
        if wanted:
            going = np.array(wanted)
            where, look = self.looked(group.directions[going], [t[k] for k in wanted], [sided[k] for k in wanted])
            there = going[where]
        if look is not None and not np.isfinite(look.derivative).all():
            seeds = group.seeds.only(there)
            finite = np.flatnonzero(seeds.counts(~np.isfinite(look.derivative)) == 0)
            there, look = there[finite], look.of(finite, seeds.entries(finite))
        group = self._without(part, group, there)
        if look is None or not there.size:
            return None
        group.take(look)
        return group

    def _without(self, part: Part, group: _Open, going: Ints) -> _Open:
        """Finish all directions but these."""
        if going.size < group.places.size:
            self._finish(part, group.only(np.delete(np.arange(group.places.size), going)))
        return group.only(going)

    def rough(self, look: Looks, seeds: Seeds) -> Mask:
        """Which entries may not be smooth: their values show it, or the line did, to which any may have contributed."""
        size, line_rough = seeds.of_outputs(self.line.variation), seeds.of_outputs(self.line.rough)
        kinked = look.kinked & (look.second / look.t > np.maximum(1e-3, 30.0 * look.t) * size)
        found: Mask = kinked | (line_rough & (np.maximum(look.first, look.second) > 8.0 * look.sigma))
        return found

    def _shrink(self, part: Part, group: _Open) -> None:
        """f is not smooth here: steps 64 times smaller, until it is or it is clear that it will not be."""
        for _ in range(LOOKS):
            last = group.looks[-1]
            steps = (group.seeds.least(last.t) * FINER).tolist()
            following = self._step(part, group, steps, last.edge.tolist())
            if following is None:
                return
            group = following
            last, look = group.looks[-2:]
            slack = 4.0 * (look.noise + last.noise)
            apart = np.abs(look.derivative - last.derivative)
            edge, quiet = group.seeds.of_directions(look.edge | last.edge), apart <= slack
            close = apart < 0.05 * np.abs(look.derivative)
            behind = (look.second <= 8.0 * look.sigma) & (apart <= 1.5 * last.second / (2.0 * last.t) + slack)
            falls = apart <= 252.0 * look.noise
            fear = np.where(edge, apart, 3.0 * apart / 63.0)
            fears = (apart > slack) & np.where(edge, close, group.rough & ~behind & falls)
            look.fear = np.where(fears, np.maximum(look.fear, fear), look.fear)
            settled = quiet | np.where(edge, close, behind | falls | ~group.rough)
            group = self._without(part, group, np.flatnonzero(group.seeds.counts(~settled) > 0))
            if not group.places.size:
                return
        self._finish(part, group)

    def _improve(self, part: Part, group: _Open) -> None:
        """The step is too large or too small for some entries that count: up to three better ones."""
        for _ in range(LOOKS):
            seeds = group.seeds
            down, up, enough, best = self.wants(group.looks[-1], seeds, group.open)
            smaller = seeds.counts(down) > 0
            which = np.where(seeds.of_directions(smaller), down, up)
            steps = _better_steps(seeds.medians(best, which), group.means, smaller)
            # what was too large for some is no reason to look at the others again
            group.open = which | (group.open & seeds.of_directions(smaller))
            following = self._step(part, group, np.where(smaller | enough, steps, 0.0).tolist(), [False] * len(steps))
            if following is None:
                return
            group = following
        self._finish(part, group)

    def wants(self, look: Looks, seeds: Seeds, open_still: Mask | bool = True) -> tuple[Mask, Mask, Mask, Floats]:
        """Say which entries want smaller steps, and which larger ones; in which directions these count; and the steps.

        They follow from truncation that falls as it should; of what shows nothing, from its output.
        """
        size, usual, alone = (seeds.of_outputs(each) for each in (self.line.variation, self.usual, self.best))
        t, steep, order = look.t, np.abs(look.derivative), self.stencil.order
        hope = np.maximum(look.hope, steep * (t / self.common) ** 2 / 6.0)
        counts, larger = np.maximum(steep, SMALL * size), np.maximum(size, steep)
        down = open_still & (hope > TOO_LARGE * look.noise) & (hope > self.suffices * SMALL * larger)
        up = open_still & ~down & (look.noise > usual * counts)
        if not (down.any() or up.any()):
            return down, up, seeds.counts(up) > 0, look.fear
        ratio = look.noise / (order * np.maximum(np.where(down, hope, look.fear), TINY))
        best = t * (np.cbrt(ratio) if order == 2 else ratio ** (1.0 / (order + 1)))
        best = np.where(look.still, np.maximum(best, alone), best)
        up &= (best > GAIN * t) & ~(look.still & (look.noise <= WITHOUT_EFFECT * np.maximum(size, look.noise)))
        many = seeds.counts(up) > MANY * seeds.counts(look.first != 0)
        return down, up, many | (seeds.counts(up & (look.noise > LACKING * counts)) > 0), best

    def _finish(self, part: Part, group: _Open) -> None:
        """Note derivatives and bars."""
        seeds, looks, means = group.seeds, group.looks, group.means
        if len(looks) > 1:
            order = np.argsort(means, axis=0, kind="stable")
            if (order[:-1] > order[1:]).any():
                looks = _sorted(looks, order[:, seeds.owner])
                means = list(np.take_along_axis(np.array(means), order, axis=0))
        slopes, bars = self.chosen(looks)
        if len(looks) > 1 and group.rough.any():
            bars = self._differentiable(group, looks, means, bars)
        entries = part.seeds.entries(group.places)
        part.slopes[entries], part.bars[entries] = slopes, bars

    def _differentiable(self, group: _Open, looks: list[Looks], means: list[Floats], bars: Floats) -> Floats:
        """Say where f has a kink; the bar then covers both slopes."""
        seeds, rough, size = group.seeds, group.rough, group.seeds.of_outputs(self.line.variation)
        small, large, *others = looks
        bars = np.where(rough, np.maximum(bars, 2.0 * left_of(small, large, *others[:1])), bars)
        falls = [(fine / coarse) ** 1.5 for fine, coarse in zip(*[mean.tolist() for mean in means[:2]], strict=True)]
        kink = rough & small.kinked & (small.second > large.second * seeds.of_directions(np.array(falls)))
        apart = np.abs(small.derivative - large.derivative) - 4.0 * (small.noise + large.noise)
        changes = rough & ~kink & (apart > 0.1 * np.maximum(np.abs(small.derivative), 1e-3 * size))
        changes &= apart > 1.5 * large.second / (2.0 * large.t)
        for why, where in (("the slope changes as the step shrinks", changes), ("f has two slopes there", kink)):
            self.reasons |= dict.fromkeys(group.directions[seeds.counts(where) > 0].tolist(), why)
        bars = np.where(kink, np.maximum(bars, small.second / small.t), bars)
        return np.where(changes, np.maximum(bars, np.abs(small.derivative)), bars)

    def chosen(self, looks: list[Looks]) -> tuple[Floats, Floats]:
        """Take of each entry the look with the smallest error, and its bar; the looks are sorted by their steps."""
        value = bar = least = None
        order, common = self.stencil.order, min(self.common, 1.0)
        for k, q in enumerate(looks):
            expected = np.abs(q.derivative) * (q.t / common) ** order / (6.0 if order > 1 else 2.0)
            truncation = np.maximum(q.fear, expected)
            if k:
                finer = looks[k - 1].noise
                gap = np.abs(q.derivative - looks[k - 1].derivative) - 2.0 * finer
                truncation = np.maximum(gap, np.maximum(np.minimum(q.fear, 3.0 * finer), np.minimum(expected, finer)))
            error, mine = q.noise + truncation, BAR_NOISE * q.noise + BAR_TRUNCATION * truncation
            if value is None or bar is None or least is None:
                value, bar, least = q.derivative.copy(), mine, error
                continue
            better = ~(least <= error)
            value, bar, least = (
                np.where(better, new, old) for new, old in ((q.derivative, value), (mine, bar), (error, least))
            )
        assert value is not None
        assert bar is not None
        return value, bar


def _better_steps(best: Floats, means: list[Floats], smaller: Mask) -> Floats:
    """Return powers of two near the best steps, or between those before where larger; 0 where that is near one."""
    mean = means[-1]
    wanted = np.minimum(np.minimum(np.maximum(best, mean * 1e-6), mean * 1e4), 0.5)
    steps = np.array([2.0 ** round(log2(t)) for t in wanted.tolist()])
    if len(means) > 1:
        before = np.array(means)
        larger = np.where(before > mean, before, np.inf).min(axis=0)
        for k in np.flatnonzero((larger < np.inf) & ~smaller).tolist():
            steps[k] = min(steps[k], 2.0 ** round(log2(sqrt(mean[k] * larger[k]))))
    ratios = steps / means
    steps[((ratios > 0.3) & (ratios < 3.3)).any(axis=0)] = 0.0
    return steps


def _sorted(looks: list[Looks], order: NDArray[Any]) -> list[Looks]:
    """Sort looks in this order, of shape (looks, rows of entries)."""
    rows = np.arange(order.shape[1])
    numbers = {name: np.array([getattr(look, name) for look in looks])[order, rows] for name in NUMBERS}
    return [replace(look, **{name: numbers[name][k] for name in NUMBERS}) for k, look in enumerate(looks)]
