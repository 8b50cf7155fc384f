"""The step that looks at itself, for the Jacobian: entries are judged by their own values, directions have their steps.

One evaluation gives all outputs, and these may want different steps: a direction is evaluated again, with at most three
further steps, where some entry that counts is in doubt; each entry then takes the step that is best for it. So with any
stencil; the central difference of order 2 has a judgement of its own.

One Jacobian in the making passes four rooms, each of which builds on the one before: `judgements` says what values
mean, `directions` evaluates f, `rounds` looks again, and here is the order of it all, with the first look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Bounds, Floats, Ints
from .constants import CERTAIN, EPS, FINER, NEGLIGIBLE, SPACING, TORN
from .directions import Mask
from .judgements import CENTRAL, reach_of, sides_of, slopes_of
from .outputs import Beyond, Explorer, Short
from .rounds import Part, Rounds
from .seeds import Seeds, units_of
from .stencils import Stencil, backward, forward

__all__ = ["Explorer", "Found", "Values", "by_itself", "by_stencil", "sharper"]

TILE = 1 << 16  # entries that are judged together


class Values(Explorer, Protocol):
    """The same, where points are asked for."""

    def at(self, points: Iterable[Floats]) -> Floats:
        """Do as `explore`, but what f raises comes through."""
        ...

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        """Evaluate f at whole complex points; returns one row of complex values for each."""
        ...


class Found(NamedTuple):
    """Entries of a Jacobian, in the layout of their directions."""

    jacobian: Floats  # the derivatives
    error: Floats | None  # their error bars
    step: Floats  # shape (directions,): of t, of the first look
    units: Floats | None = None  # shape (n,) or None: how far t = 1 moves each coordinate
    noise: Floats | None = None  # shape (m,) or None: of each output
    doubtful: NDArray[np.bool_] | None = None  # entries of which no digit is certain
    reasons: dict[int, str] | None = None  # from a direction to why it is not differentiable
    # shape (m,) or None: so many times the bars of each output were widened, because its slope along the line says
    # something else
    contradicted: Floats | None = None


def by_stencil(run: Values, seeds: Seeds, stencil: Stencil, bounds: Bounds | None, x: Floats) -> Found:
    """Differentiate by one stencil whose step is the unit of each coordinate; one-sided or shorter near a bound."""
    f0, steps, stencils = run.value(), np.ones(seeds.count), sides_of(stencil)
    chosen = np.zeros(seeds.count, dtype=np.intp)
    if bounds is not None and not stencil.imaginary:
        room = seeds.room(x - bounds[0], bounds[1] - x)
        for g, (down, up) in enumerate(zip(*[side.tolist() for side in room], strict=True)):
            reaches = [reach_of(side, down, up) for side in stencils]
            fits = next((i for i, reach in enumerate(reaches) if reach >= 1.0), int(np.argmax(reaches)))
            chosen[g], steps[g] = fits, min(1.0, reaches[fits])
    parts = [
        _entries(run, some, [stencils[i] for i in chosen[directions].tolist()], steps[directions], f0)
        for directions, some in seeds.parts(max(1, TILE // max(f0.size * stencil.nodes.size, x.size)))
    ]
    return Found(parts[0] if len(parts) == 1 else np.concatenate(parts), None, steps)


def _entries(run: Values, seeds: Seeds, stencils: list[Stencil], t: Floats, f0: Floats) -> Floats:
    """The entries of some directions, each by its stencil and with its step."""
    first = stencils[0]
    if first.imaginary:
        values = run.at_complex(seeds.point(g, 1j) for g in range(seeds.count)).imag
        return seeds.in_x(seeds.picked(values))
    with np.errstate(all="ignore"):
        if all(each is first for each in stencils):
            return seeds.in_x(_slopes(run, seeds, first, t, f0))
        entries = seeds.picked(np.empty((seeds.count, f0.size)))
        for stencil in dict.fromkeys(stencils):
            those = np.array([g for g, each in enumerate(stencils) if each is stencil])
            entries[seeds.entries(those)] = _slopes(run, seeds.only(those), stencil, t[those], f0)
        return seeds.in_x(entries)


def _slopes(run: Values, seeds: Seeds, stencil: Stencil, t: Floats, f0: Floats) -> Floats:
    values = run.at(seeds.points(t[:, None] * stencil.nodes)).reshape(seeds.count, stencil.nodes.size, -1)
    if not stencil.symmetric:
        values = values - f0
    return slopes_of(stencil, seeds, t, [seeds.picked(values[:, k]) for k in range(stencil.nodes.size)])


def by_itself(
    run: Explorer,
    seeds_of: Callable[[Floats], Seeds],
    bounds: Bounds | None,
    x: Floats,
    noise: float | None,
    stencil: Stencil = CENTRAL,
) -> Found:
    """Differentiate by a stencil whose steps follow from f's noise and from what its values show.

    `seeds_of`: makes the directions of a unit for each coordinate.
    """
    with np.errstate(all="ignore"):
        units = units_of(x)
        shrinks: bool | Mask = bool(((units > 16.0 * np.abs(x)) & (x != 0)).any())
        unseen: Mask | None = None
        try:
            try:
                made = Search(run, seeds_of(units), bounds, x, noise, shrinks, stencil, float(units.max(initial=0.0)))
            except Short as short:
                units, unseen = np.ones(x.size), short.outputs
                made = Search(run, seeds_of(units), bounds, x, noise, ~unseen, stencil)
                unseen = None
        except Beyond as beyond:
            units = units_of(x, relative=True)
            made = Search(run, seeds_of(units), bounds, x, noise, False, stencil)
            stands_still = beyond.moved & (made.line.spread == 0.0)  # near x: rounding, or a kink farther away
            unseen = stands_still if unseen is None else unseen | stands_still
        found = made.found(unseen)
        if made.torn(found):
            found = sharper(found, made.nearer(unseen))
        if stencil.order > 2 and found.contradicted is not None and (found.contradicted > 1.0).any():
            # wide stencils are fooled by a period that divides their step
            side = next((side(2) for side in (forward, backward) if side(2).reach == stencil.reach), CENTRAL)
            return by_itself(run, seeds_of, bounds, x, noise, side)
        return found._replace(units=units)


def sharper(wide: Found, found: Found) -> Found:
    """Take of each entry what is surer of two; where these contradict each other, its bar covers both."""
    assert wide.error is not None
    assert wide.doubtful is not None
    assert found.error is not None
    assert found.doubtful is not None
    better = ~(found.error <= wide.error)
    value, bars = (np.where(better, a, b) for a, b in ((wide.jacobian, found.jacobian), (wide.error, found.error)))
    gap = np.abs(wide.jacobian - found.jacobian)
    torn, size = gap > wide.error + found.error, np.abs(value)
    bars, largest = np.where(torn, np.maximum(bars, gap), bars), size.max(initial=0.0)
    doubtful = np.where(better, wide.doubtful, found.doubtful) | (bars > CERTAIN * largest)
    doubtful |= torn & (bars > CERTAIN * np.maximum(size, NEGLIGIBLE * largest))
    return found._replace(jacobian=value, error=bars, doubtful=doubtful, reasons=found.reasons and wide.reasons)


class Search(Rounds):
    """One Jacobian in the making."""

    def found(self, unseen: Mask | None) -> Found:
        """Differentiate; of outputs that change elsewhere only, nothing is certain."""
        seeds, line = self.seeds, self.line
        steps = np.full(seeds.count, self.step)
        parts = [self._part(*part) for part in seeds.parts(max(1, TILE // max(self.f0.size, self.size)))]
        slopes, bars, dead = (
            parts[0] if len(parts) == 1 else (np.concatenate(each) for each in zip(*parts, strict=True))
        )
        # the line's slope must agree with the Jacobian, output by output
        gap = np.abs(seeds.at_outputs(slopes, line.factors, lambda e: e) - line.slope)
        known = np.sqrt(seeds.at_outputs(bars, line.factors, np.square)) + line.doubt
        contradicted = np.where((gap > known) & (not self.reasons), gap / known, 1.0)
        bars = bars * seeds.of_outputs(contradicted)
        size = seeds.of_outputs(line.variation)
        if line.third.any() and self.stencil.order == 2:
            third = seeds.of_outputs(line.third / seeds.terms)
            bars = np.maximum(bars, np.minimum(third * self.step**2 / 3.0, 1000.0 * bars))
        bars = np.maximum(bars, EPS * size)
        largest = seeds.of_outputs(seeds.largest(slopes))
        doubtful = ~(bars <= CERTAIN * np.maximum(np.abs(slopes), np.maximum(NEGLIGIBLE * largest, 1e-6 * size)))
        doubtful &= ~dead
        doubtful |= seeds.of_outputs(line.jumps if unseen is None else line.jumps | unseen)
        jacobian, error = seeds.in_x(slopes), seeds.in_x(bars)
        # rounding hides entries as large as the largest of their output: see `report.Report._hidden`
        tells = (largest > 0.0) & (largest >= 1e-6 * size)
        steepest = seeds.of_outputs(seeds.largest(jacobian))
        doubtful |= tells & (jacobian == 0.0) & (error > CERTAIN * steepest)
        return Found(jacobian, error, steps, None, line.sigma, doubtful, self.reasons, contradicted)

    def torn(self, found: Found) -> bool:
        """Whether the line's slopes are quite others, and its steps far shorter: what was found may be farther away."""
        assert found.contradicted is not None
        return self.step > SPACING / FINER and bool((found.contradicted > TORN).any())

    def nearer(self, unseen: Mask | None) -> Found:
        """Differentiate with the line's own steps."""
        self.step = SPACING
        return self.found(unseen)

    def _part(self, directions: Ints, seeds: Seeds) -> tuple[Floats, Floats, Mask]:
        """Derivatives with respect to t of some directions' entries, their bars, and which did not change at all."""
        t, f0 = self.step, self.f0
        walled = np.array([k for k, g in enumerate(directions.tolist()) if self.reach(self.stencil, g) < t], np.intp)
        steps = np.full(seeds.count, t)
        if walled.size:
            free = np.delete(np.arange(seeds.count), walled)
            values = np.zeros((seeds.count, self.stencil.nodes.size, f0.size))
            values[free] = self.values(seeds.only(free), steps[free], self.stencil)
        else:
            values = self.values(seeds, steps, self.stencil)
        look = self.judged(seeds, steps, values, self.stencil)
        finite = np.isfinite(look.derivative)
        if self.stencil == CENTRAL:
            lengths = look.t * look.first / (2.0 * look.second)
            shown = finite & (np.minimum(look.first, look.second) > 8.0 * look.sigma)
            if self.seeds.count > 1 and 2 * np.count_nonzero(shown) > shown.size and not self.line.rough.any():
                self.common = _median(lengths[shown])
        part = Part(directions, seeds, *self.chosen([look]))
        alive = seeds.of_outputs(np.isfinite(f0))
        down, _, again, _ = self.wants(look, seeds)
        again |= seeds.counts(self.rough(look, seeds) | down | (alive & ~finite)) > 0
        again[walled] = True
        if again.any():
            self.look_again(part, np.flatnonzero(again), look, walled)
        return np.where(alive, part.slopes, np.nan), np.where(alive, part.bars, np.inf), look.still


def _median(values: Floats) -> float:
    """Return what np.median does, in a quarter of its time."""
    half = values.size // 2
    values.partition((half - 1, half))
    return float(values[half] if values.size % 2 else 0.5 * (values[half - 1] + values[half]))
