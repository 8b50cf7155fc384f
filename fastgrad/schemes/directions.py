"""f along directions: what a line through x says of its outputs, and differences with any step for each direction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Bounds, Floats, Ints
from .constants import EPS, TINY, USUAL
from .judgements import Looks, joined, judged_by, reach_of, sides_of
from .outputs import Explorer, look_along, step_of
from .seeds import Seeds
from .stencils import Stencil

Mask = NDArray[np.bool_]
ENOUGH = 3e-9  # relative noise that needs no improvement: a further look costs two evaluations of all outputs
OF_ONE_POINT = 1e-3  # the same for differences of order 1, of which nobody expects more
LEAST = 2.0**-60  # no step is smaller
Try = tuple[int, float, bool]  # which stencil, its step, and whether f ends within the one that was wanted
_NONE = np.empty(0, dtype=np.intp)


class Directions:
    """f along directions.

    `line`: what seven values on a line through x say of each output.
    `step`: of the first look.
    `suffices`: relative noise that needs no improvement; `usual` is that of each output.
    `best`, of shape (m,): the step of outputs that stand still on the line; 0 for others.
    `common`: the length on which most entries change.
    `reasons`: from a direction to why it is not differentiable.
    """

    def __init__(
        self,
        run: Explorer,
        seeds: Seeds,
        bounds: Bounds | None,
        x: Floats,
        noise: float | None,
        shrinks: bool | Mask,
        stencil: Stencil,
        unit: float = 1.0,
    ) -> None:
        self.run, self.seeds, self.stencil, self.size = run, seeds, stencil, x.size
        self.f0 = f0 = run.value()
        self.stencils = sides_of(stencil)
        self.room = None if bounds is None else seeds.room(x - bounds[0], bounds[1] - x)
        low, high = stencil.reach
        side = 1 if low == 0.0 else -1 if high == 0.0 else 0
        self.line = line = look_along(run, seeds, x, bounds, noise, shrinks, side, unit)
        best, self.step = step_of(line, seeds.terms, stencil)
        # near a singularity the third derivative may be any
        self._of_line = [line.variation, line.bend, np.where(line.rough, np.inf, 100.0)]
        self.suffices = ENOUGH if stencil.order > 1 else OF_ONE_POINT
        self.usual = np.maximum(self.suffices, USUAL * best**stencil.order)
        self.best = np.where(line.coarse, best, 0.0)
        self._rho = np.full(f0.shape, 0.3 * EPS)
        if noise is None:
            self._rho = line.sigma / np.maximum(np.maximum(np.abs(f0), line.spread), TINY)
        self.common = np.inf
        self.reasons: dict[int, str] = {}

    def reach(self, stencil: Stencil, g: int) -> float:
        """How large a step leaves a stencil's points within the bounds."""
        return np.inf if self.room is None else reach_of(stencil, self.room[0][g], self.room[1][g])

    def values(self, seeds: Seeds, t: Floats, stencil: Stencil) -> Floats:
        """Return f - f(x) at the nodes, of shape (directions, nodes, outputs)."""
        found = self.run.explore(seeds.points(t[:, None] * stencil.nodes))
        return found.reshape(t.size, stencil.nodes.size, self.f0.size) - self.f0

    def judged(self, seeds: Seeds, t: Floats, values: Floats, stencil: Stencil) -> Looks:
        """Judge differences along directions by such values; noise grows with f: the largest among some points."""
        rises = [seeds.picked(values[:, k]) for k in range(values.shape[1])]
        top = np.abs(self.f0 + values).max(axis=1)
        sigma = np.maximum(self.line.sigma, self._rho * np.where(np.isfinite(top), top, 0.0))
        return judged_by(
            stencil, seeds, t, rises, seeds.picked(sigma), [seeds.of_outputs(each) for each in self._of_line]
        )

    def looked(self, directions: Ints, t: list[float], sided: list[bool]) -> tuple[Ints, Looks | None]:
        """Look at directions, each with a step of its own; to one side where f or the bounds end on the other.

        Beyond an end of f only where that is allowed, `sided`. Returns where in the list f is finite, and looks there.
        """
        wanted = zip(directions.tolist(), t, sided, strict=True)
        pending = {place: self._tries(*each) for place, each in enumerate(wanted)}
        found: list[Looks] = []
        where: list[int] = []
        while pending:
            asked = {place: tried for place, tries in pending.items() if (tried := next(tries, None)) is not None}
            pending = {place: pending[place] for place in asked}
            for which in range(len(self.stencils)):
                some = {place: tried for place, tried in asked.items() if tried[0] == which}
                finite, look = self._at(directions[list(some)], list(some.values())) if some else (_NONE, None)
                if look is not None:
                    found.append(look)
                    there = [list(some)[k] for k in finite.tolist()]
                    where += there
                    pending = {place: tries for place, tries in pending.items() if place not in there}
        if len(found) < 2:
            return np.array(where, dtype=np.intp), found[0] if found else None
        order = np.argsort(where)
        return np.sort(where), joined(found).of(order, self.seeds.only(directions[where]).entries(order))

    def _tries(self, g: int, t: float, sided: bool) -> Iterator[Try]:
        t = max(t, LEAST)
        stencil, *sides = self.stencils
        roomy = self.reach(stencil, g) >= t
        if roomy:
            yield 0, t, False
        if sided or not roomy:
            reaches = {which: self.reach(side, g) for which, side in enumerate(sides, 1)}
            for which in sorted(reaches, key=lambda which: -reaches[which]):
                step = min(t / max(map(abs, self.stencils[which].reach)), reaches[which])
                if step > 0.0:
                    yield which, step, roomy

    def _at(self, directions: Ints, tries: list[Try]) -> tuple[Ints, Looks | None]:
        """Look at directions by one stencil. Returns where f is finite, and the looks there."""
        which, t = tries[0][0], np.array([step for _, step, _ in tries])
        stencil, seeds = self.stencils[which], self.seeds.only(directions)
        values = self.values(seeds, t, stencil)
        alive = np.isfinite(self.f0)
        finite = np.flatnonzero(np.isfinite(values if alive.all() else values[:, :, alive]).all(axis=(1, 2)))
        if not finite.size:
            return finite, None
        if finite.size < t.size:
            seeds, t, values = seeds.only(finite), t[finite], values[finite]
        look = self.judged(seeds, t, values, stencil)
        if which:  # all of the curvature may be an error at an edge; behind bounds f goes on, as a rule
            look.edge = np.array([tries[k][2] for k in finite.tolist()])
            share = seeds.of_directions(np.where(look.edge, 1.0, 0.1))
            look.fear = np.maximum(look.fear, share * look.second / (2.0 * seeds.of_directions(t)))
        return finite, look
