"""The step that looks at itself, for the Jacobian: entries are judged by their own values, directions have their steps.

One evaluation gives all outputs, and these may want different steps: a direction is evaluated again, with at most three
further steps, where some entry that counts is in doubt; each entry then takes the step that is best for it. So with any
stencil; the central difference of order 2 has a judgement of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats
from .constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    EPS,
    FINER,
    GAIN,
    KINK,
    NEGLIGIBLE,
    NOISE,
    SPACING,
    TINY,
    TOO_LARGE,
    USUAL,
)
from .outputs import Beyond, Short, look_along, step_of
from .seeds import Seeds, units_of
from .stencils import Stencil, backward, central, forward

Bounds = tuple[Floats, Floats]
TILE = 1 << 16  # entries that are judged together
LONG = 1 << 14  # entries of a list
ENOUGH = 3e-9  # relative noise that needs no improvement: a further look costs two evaluations of all outputs
OF_ONE_POINT = 1e-3  # the same for differences of order 1, of which nobody expects more
MANY = 0.25  # a larger step is tried if so large a share of the entries gain by it,
LACKING = 1e-6  # or one whose relative noise is so large
WITHOUT_EFFECT = 1e-5  # of an output's size: f does not depend on what has no effect down to this noise
SMALL = 0.1  # of an output's size: noise of smaller entries is measured against this
LEAST = 2.0**-60  # no step is smaller
TORN = 10.0  # times that the line contradicts the bars
CENTRAL = central(2)
Rises = list[Floats]  # f - f(x) at the nodes of a stencil
Span = Callable[[float, float], Any]  # how far apart two nodes come out after rounding


class Explorer(Protocol):
    """f of many values around one point."""

    def value(self) -> Floats:
        """Return f(x), flat."""
        ...

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole points that nobody asked for: where f raises as outside of its domain, it is nan.

        Returns one row of values for each.
        """
        ...


class Values(Explorer, Protocol):
    """The same, where points are asked for."""

    def at(self, points: Iterable[Floats]) -> Floats:
        """Do as `explore`, but what f raises comes through."""
        ...

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        """Evaluate f at whole complex points; returns one row of complex values for each."""
        ...


class Found(NamedTuple):
    """Entries of a Jacobian, in the layout of their directions.

    Attributes
    ----------
    jacobian : ndarray
        The derivatives.
    error : ndarray or None
        Their error bars.
    step : ndarray of shape (directions,)
        Of t, of the first look.
    units : ndarray of shape (n,) or None
        How far t = 1 moves each coordinate.
    noise : ndarray of shape (m,) or None
        Of each output.
    doubtful : ndarray of bool or None
        Entries of which no digit is certain.
    reasons : dict
        From a direction to why it is not differentiable.
    contradicted : ndarray of shape (m,) or None
        So many times the bars of each output were widened, because its slope along the line says something else.
    """

    jacobian: Floats
    error: Floats | None
    step: Floats
    units: Floats | None = None
    noise: Floats | None = None
    doubtful: NDArray[np.bool_] | None = None
    reasons: dict[int, str] | None = None
    contradicted: Floats | None = None


@dataclass(slots=True)
class _Look:
    """Differences along directions, and what their values say: noise, and truncation as hope and fear see it."""

    t: Any  # a number, or one for each entry
    derivative: Floats
    first: Floats  # |f+ - f-|
    second: Floats  # |f+ + f- - 2 f0|
    sigma: Floats
    noise: Floats
    hope: Floats  # decides on the next step
    fear: Floats  # makes the bar
    edge: bool = False  # whether f ends within the stencil that was wanted

    def of(self, index: Any) -> _Look:
        """The same of some entries."""
        t = self.t[index] if np.ndim(self.t) else self.t
        return _Look(
            t,
            self.derivative[index],
            self.first[index],
            self.second[index],
            self.sigma[index],
            self.noise[index],
            self.hope[index],
            self.fear[index],
            self.edge,
        )


def _judged(t: Any, above: Floats, below: Floats, sigma: Floats, variation: Floats, most: Floats) -> _Look:
    """Judge central differences by their values, relative to f(x); long lists in parts that stay in the cache."""
    if above.ndim > 1 or above.size <= LONG:
        return _judged_at_once(t, above, below, sigma, variation, most)
    looks = []
    for begin in range(0, above.size, LONG):
        part = slice(begin, begin + LONG)
        each = t[part] if np.ndim(t) else t
        looks.append(_judged_at_once(each, above[part], below[part], sigma[part], variation[part], most[part]))
    return _Look(
        t,
        np.concatenate([look.derivative for look in looks]),
        np.concatenate([look.first for look in looks]),
        np.concatenate([look.second for look in looks]),
        sigma,
        np.concatenate([look.noise for look in looks]),
        np.concatenate([look.hope for look in looks]),
        np.concatenate([look.fear for look in looks]),
    )


def _judged_at_once(t: Any, above: Floats, below: Floats, sigma: Floats, variation: Floats, most: Floats) -> _Look:
    derivative, first, second = (above - below) / (2.0 * t), np.abs(above - below), np.abs(above + below)
    bent, rise = np.maximum(second, 4.0 * sigma), np.maximum(first, 2.0 * sigma)
    by_size, by_slope = t * np.sqrt(np.maximum(variation, rise) / bent), t * rise / (2.0 * bent)
    longer, shorter = np.maximum(by_size, by_slope), np.minimum(by_size, np.maximum(by_slope, t))
    slope = first / (2.0 * t)
    hope = np.maximum(slope * (t / longer) ** 2, bent / longer) / 6.0
    fear = np.where(second > 4.0 * sigma, np.maximum(slope * (t / shorter) ** 2, second / shorter) / 6.0, hope)
    fear = np.minimum(fear, most * hope)
    return _Look(t, derivative, first, second, sigma, NOISE * sigma / t, hope, fear)


def _judged_by(stencil: Stencil, t: float, rises: Rises, span: Span, sigma: Floats, of_line: Rises) -> _Look:
    """Judge differences by any stencil, as `looks.by_stencil` does: `span` tells the distance of two nodes.

    Of the line are known how much f varies on x's scale, its second derivative, and how much fear may exceed hope.
    """
    size, bend, most = of_line
    if stencil is CENTRAL or stencil == CENTRAL:
        above, below = rises
        return _judged(0.5 * span(t, -t), above, below, sigma, size, most)
    derivative = _slope(stencil, t, rises, span)
    inverse, gains, product = stencil.taylor
    terms = [sum(w * rise for w, rise in zip(row, rises, strict=True)) for row in inverse]
    seen = [np.maximum(np.abs(term), gain * sigma) for term, gain in zip(terms, gains, strict=True)]
    first, second, noise = 2.0 * np.abs(terms[0]), np.zeros_like(sigma), stencil.amplification_rms * sigma / t
    if len(terms) == 1:  # one point tells nothing of the curvature
        hope = np.maximum(product * seen[0] * (seen[0] / np.maximum(size, seen[0])) / t, 0.5 * bend * t)
        fear = np.maximum(hope, 0.5 * t * np.maximum(size, np.abs(derivative)))
        return _Look(t, derivative, first, second, sigma, noise, hope, fear)
    total = np.maximum(size, seen[0])
    hope, fear = (product * _neglected(terms, seen, gains, sigma, total, trust) / t for trust in (8.0, 3.0))
    return _Look(
        t, derivative, first, 2.0 * np.abs(terms[1]), sigma * max(1.0, gains[1] / sqrt(1.5)), noise, hope, fear
    )


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


def _mean(t: Any) -> float:
    """Return the mean of a step, or of the steps of some entries; np.mean takes as long as ten differences."""
    return float(np.add.reduce(t)) / t.size if isinstance(t, np.ndarray) and t.ndim else float(t)


def _median(values: Floats) -> float:
    """Return what np.median does, in a quarter of its time."""
    half = values.size // 2
    values.partition((half - 1, half))
    return float(values[half] if values.size % 2 else 0.5 * (values[half - 1] + values[half]))


def _left(small: _Look, large: _Look, larger: _Look | None = None) -> Floats:
    """Return by how much slopes may still change with finer steps, as `automatic._left` does.

    From two steps alone a power of 3/2 is taken for granted: each change is then an eighth of the one before.
    """
    change = _change(small, large)
    ratio = np.full_like(change, 0.125)
    if larger is not None:
        before = _change(large, larger)
        np.copyto(ratio, np.minimum(change / np.maximum(before, TINY), 0.5), where=before > 0.0)
    return change * ratio / (1.0 - ratio)


def _change(small: _Look, large: _Look) -> Floats:
    apart = np.abs(small.derivative - large.derivative)
    return np.where(apart > 4.0 * (small.noise + large.noise), apart, 0.0)


def by_stencil(run: Values, seeds: Seeds, stencil: Stencil, bounds: Bounds | None, x: Floats) -> Found:
    """Differentiate by one stencil whose step is the unit of each coordinate; one-sided or shorter near a bound."""
    f0 = run.value()
    steps, parts = np.ones(seeds.count), seeds.parts(max(1, TILE // max(f0.size * stencil.nodes.size, x.size)))
    if bounds is None or stencil.imaginary:
        found = [_together(run, seeds, part, stencil, f0) for part in parts]
        return Found(found[0] if len(found) == 1 else np.concatenate(found), None, steps)
    room, sides, found = seeds.room(x - bounds[0], bounds[1] - x), _sides(stencil), []
    for part in parts:
        chosen = []
        for g in range(part.start, part.stop):
            reaches = [_reach(side, room[0][g], room[1][g]) for side in sides]
            which = next((i for i, reach in enumerate(reaches) if reach >= 1.0), int(np.argmax(reaches)))
            chosen.append(sides[which])
            steps[g] = min(1.0, reaches[which])
        found.append(_differences(run, seeds, part, chosen, steps[part], f0))
    return Found(np.concatenate(found), None, steps)


def _sides(stencil: Stencil) -> list[Stencil]:
    return [stencil, forward(stencil.order), backward(stencil.order)]


def _reach(stencil: Stencil, down: float, up: float) -> float:
    low, high = stencil.reach
    return float(min(down / -low if low else np.inf, up / high if high else np.inf))


def _together(run: Values, seeds: Seeds, part: slice, stencil: Stencil, f0: Floats) -> Floats:
    """The entries of some directions, by one stencil and unit steps."""
    count = part.stop - part.start
    if stencil.imaginary:
        values = run.at_complex(seeds.point(g, 1j) for g in range(part.start, part.stop)).imag
        return seeds.in_x(seeds.picked(values, part), part)
    with np.errstate(all="ignore"):
        ones, values = np.ones(count), run.at(seeds.points(part, stencil.nodes)).reshape(count, stencil.nodes.size, -1)
        if not stencil.symmetric:
            values = values - f0
        rises = [seeds.picked(values[:, k], part) for k in range(stencil.nodes.size)]
        entries = _slope(stencil, 1.0, rises, lambda up, down: seeds.span(part, up * ones, down * ones))
        return seeds.in_x(entries, part)


def _differences(run: Values, seeds: Seeds, part: slice, chosen: list[Stencil], steps: Floats, f0: Floats) -> Floats:
    """The entries of some directions, each by its stencil."""
    if all(each is chosen[0] for each in chosen) and (steps == 1.0).all():
        return _together(run, seeds, part, chosen[0], f0)
    with np.errstate(all="ignore"):
        entries = seeds.picked(np.empty((len(chosen), f0.size)), part)
        for g, stencil, t in zip(range(part.start, part.stop), chosen, steps.tolist(), strict=True):
            entries[seeds.of(g, part)] = _alone(run, seeds, g, part, stencil, t, f0)
        return seeds.in_x(entries, part)


def _alone(run: Values, seeds: Seeds, g: int, part: slice, stencil: Stencil, t: float, f0: Floats) -> Floats:
    """The entries of one direction, by its stencil."""
    mine = seeds.of(g, part)
    values = run.at([seeds.point(g, t * node) for node in stencil.nodes.tolist()])
    rises = [seeds.alone(g, v, mine) for v in values - (0.0 if stencil.symmetric else f0)]
    return _slope(stencil, t, rises, lambda up, down: seeds.span_alone(g, up, down, mine))


def _slope(stencil: Stencil, t: float, rises: Rises, span: Span) -> Floats:
    """Combine differences at a stencil's nodes; those of pairs need not be relative to f(x)."""
    nodes = (t * stencil.nodes).tolist()
    if stencil.symmetric:
        slopes = [(rises[k] - rises[k + 1]) / span(nodes[k], nodes[k + 1]) for k in range(0, len(nodes), 2)]
    else:
        slopes = [rise / span(node, 0.0) for rise, node in zip(rises, nodes, strict=True)]
    total: Any = sum(weight * slope for weight, slope in zip(stencil.quotients.tolist(), slopes, strict=True))
    return np.asarray(total)


def by_itself(
    run: Explorer,
    seeds_of: Callable[[Floats], Seeds],
    bounds: Bounds | None,
    x: Floats,
    noise: float | None,
    stencil: Stencil = CENTRAL,
) -> Found:
    """Differentiate by a stencil whose steps follow from f's noise and from what its values show.

    Parameters
    ----------
    seeds_of : callable
        Makes the directions of a unit for each coordinate.
    """
    with np.errstate(all="ignore"):
        units = units_of(x)
        shrinks: bool | NDArray[np.bool_] = bool(((units > 16.0 * np.abs(x)) & (x != 0)).any())
        unseen: NDArray[np.bool_] | None = None
        try:
            try:
                made = _Automatic(
                    run, seeds_of(units), bounds, x, noise, shrinks, stencil, float(units.max(initial=0.0))
                )
            except Short as short:
                units, unseen = np.ones(x.size), short.outputs
                made = _Automatic(run, seeds_of(units), bounds, x, noise, ~unseen, stencil)
                unseen = None
        except Beyond:
            units = units_of(x, relative=True)
            made = _Automatic(run, seeds_of(units), bounds, x, noise, False, stencil)
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


class _Automatic:
    """One Jacobian in the making."""

    def __init__(
        self,
        run: Explorer,
        seeds: Seeds,
        bounds: Bounds | None,
        x: Floats,
        noise: float | None,
        shrinks: bool | NDArray[np.bool_],
        stencil: Stencil,
        unit: float = 1.0,
    ) -> None:
        self._run, self._seeds, self._stencil, self._power = run, seeds, stencil, 1.0 / (stencil.order + 1)
        self._f0 = f0 = run.value()
        self._size = x.size
        self._room = None if bounds is None else seeds.room(x - bounds[0], bounds[1] - x)
        low, high = stencil.reach
        side = 1 if low == 0.0 else -1 if high == 0.0 else 0
        self._line = line = look_along(
            run.explore,
            x,
            f0,
            seeds.coordinates,
            seeds.terms,
            seeds.line,
            seeds.factors,
            bounds,
            noise,
            shrinks,
            side,
            unit,
        )
        best, self._step = step_of(line, seeds.terms, stencil)
        # near a singularity the third derivative may be any
        self._of_line = [line.variation, line.bend, np.where(line.rough, np.inf, 100.0)]
        self._suffices = ENOUGH if stencil.order > 1 else OF_ONE_POINT
        self._usual = np.maximum(self._suffices, USUAL * best**stencil.order)
        self._best = np.where(line.coarse, best, 0.0)
        self._rho = np.full(f0.shape, 0.3 * EPS)
        if noise is None:
            self._rho = line.sigma / np.maximum(np.maximum(np.abs(f0), line.spread), TINY)
        self._steps = np.full(seeds.count, self._step)
        self._reasons: dict[int, str] = {}
        self._common = np.inf

    def found(self, unseen: NDArray[np.bool_] | None) -> Found:
        """Differentiate; of outputs that change elsewhere only, nothing is certain."""
        seeds, line = self._seeds, self._line
        parts = [self._part(part) for part in seeds.parts(max(1, TILE // max(self._f0.size, self._size)))]
        slopes, bars, dead = (np.concatenate([p[k] for p in parts]) for k in range(3))
        everything = slice(0, seeds.count)
        # the line's slope must agree with the Jacobian, output by output
        gap = np.abs(seeds.at_outputs(slopes, line.factors, lambda e: e) - line.slope)
        known = np.sqrt(seeds.at_outputs(bars, line.factors, np.square)) + line.doubt
        contradicted = np.where((gap > known) & (not self._reasons), gap / known, 1.0)
        bars = bars * seeds.of_outputs(contradicted, everything)
        size = seeds.of_outputs(line.variation, everything)
        if line.third.any() and self._stencil.order == 2:
            third = seeds.of_outputs(line.third / seeds.terms, everything)
            bars = np.maximum(bars, np.minimum(third * self._step**2 / 3.0, 1000.0 * bars))
        bars = np.maximum(bars, EPS * size)
        largest = seeds.of_outputs(seeds.largest(slopes), everything)
        doubtful = ~(bars <= CERTAIN * np.maximum(np.abs(slopes), np.maximum(NEGLIGIBLE * largest, 1e-6 * size)))
        doubtful &= dead == 0
        doubtful |= seeds.of_outputs(line.jumps if unseen is None else line.jumps | unseen, everything)
        jacobian, error = seeds.in_x(slopes, everything), seeds.in_x(bars, everything)
        # rounding hides entries as large as the largest of their output: see `report.Report._hidden`
        tells = (largest > 0.0) & (largest >= 1e-6 * size)
        steepest = seeds.of_outputs(seeds.largest(jacobian), everything)
        doubtful |= tells & (jacobian == 0.0) & (error > CERTAIN * steepest)
        return Found(jacobian, error, self._steps, None, line.sigma, doubtful, self._reasons, contradicted)

    def torn(self, found: Found) -> bool:
        """Whether the line's slopes are quite others, and its steps far shorter: what was found may be farther away."""
        assert found.contradicted is not None
        return self._step > SPACING / FINER and bool((found.contradicted > TORN).any())

    def nearer(self, unseen: NDArray[np.bool_] | None) -> Found:
        """Differentiate with the line's own steps."""
        self._step = SPACING
        self._steps[:] = SPACING
        return self.found(unseen)

    # ---- the first look, at all directions of a part

    def _part(self, part: slice) -> tuple[Floats, Floats, Floats]:
        """Derivatives with respect to t of some directions' entries, their bars, and 1 where nothing changed at all."""
        run, seeds, t, f0, nodes = self._run, self._seeds, self._step, self._f0, self._stencil.nodes
        directions = range(part.start, part.stop)
        walled = [] if self._room is None else [g for g in directions if self._reach(self._stencil, g) < t]
        if walled:
            free = [g for g in directions if g not in walled]
            points = (seeds.point(g, t * node) for g in free for node in nodes)
            values = run.explore(points).reshape(len(free), nodes.size, f0.size) - f0
            moved = np.zeros((len(directions), nodes.size, f0.size))
            moved[[g - part.start for g in free]] = values
            values = moved
        else:
            values = run.explore(seeds.points(part, t * nodes)).reshape(len(directions), nodes.size, f0.size) - f0
        look = self._look(part, t, values)
        finite = np.isfinite(look.derivative)
        if self._stencil == CENTRAL:
            lengths = look.t * look.first / (2.0 * look.second)
            shown = finite & (np.minimum(look.first, look.second) > 8.0 * look.sigma)
            if seeds.count > 1 and 2 * np.count_nonzero(shown) > shown.size and not self._line.rough.any():
                self._common = _median(lengths[shown])
        slopes, bars = self._chosen([look])
        alive = seeds.picked(np.broadcast_to(np.isfinite(f0), (part.stop - part.start, f0.size)), part)
        size = seeds.of_outputs(self._line.variation, part)
        rough, down, up = self._doubts(look, part, size)
        dead = ((look.first == 0) & (look.second == 0)).astype(np.float64)
        must = rough | down | (alive & ~finite)
        if not (walled or must.any() or up.any()):
            return np.where(alive, slopes, np.nan), np.where(alive, bars, np.inf), dead
        again = seeds.counts(must | (up & self._lacks(look, size))) > 0
        again |= seeds.counts(up) > MANY * seeds.counts(look.first != 0)
        again[[g - part.start for g in walled]] = True
        for g in (np.flatnonzero(again) + part.start).tolist():
            mine = seeds.of(g, part)
            slopes[mine], bars[mine] = self._again(g, part, mine, None if g in walled else look.of(mine))
        return np.where(alive, slopes, np.nan), np.where(alive, bars, np.inf), dead

    def _look(self, part: slice, t: float, values: Floats) -> _Look:
        """Judge the differences along some directions; `values` are f - f(x), of shape (directions, nodes, outputs)."""
        seeds, ones = self._seeds, np.ones(part.stop - part.start)
        rises = [seeds.picked(values[:, k], part) for k in range(values.shape[1])]
        sigma = seeds.picked(self._sigma_at(values.swapaxes(0, 1)), part)
        of_line = [seeds.of_outputs(numbers, part) for numbers in self._of_line]
        return _judged_by(
            self._stencil, t, rises, lambda up, down: seeds.span(part, up * ones, down * ones), sigma, of_line
        )

    def _reach(self, stencil: Stencil, g: int) -> float:
        """How large a step leaves a stencil's points within the bounds."""
        return np.inf if self._room is None else _reach(stencil, self._room[0][g], self._room[1][g])

    def _rough(self, look: _Look, line_rough: Any, size: Floats) -> NDArray[np.bool_]:
        """Which entries may not be smooth: their values show it, or the line did, to which any may have contributed."""
        kinked = (look.second > 8.0 * look.sigma) & (look.second > KINK * look.first)
        kinked &= look.second / look.t > np.maximum(1e-3, 30.0 * look.t) * size
        found: NDArray[np.bool_] = kinked | (line_rough & (np.maximum(look.first, look.second) > 8.0 * look.sigma))
        return found

    def _doubts(self, look: _Look, part: slice, size: Floats) -> tuple[Any, Any, Any]:
        """Which entries are not smooth, and which want a smaller or a larger step."""
        seeds, t = self._seeds, look.t
        rough = self._rough(look, seeds.of_outputs(self._line.rough, part), size)
        hope, steep = look.hope, np.abs(look.derivative)
        if self._common < np.inf:
            hope = np.maximum(hope, steep * (t / self._common) ** 2 / 6.0)
        down = hope > TOO_LARGE * look.noise
        if down.any():
            down &= hope > self._suffices * SMALL * np.maximum(size, steep)
        up = look.noise > seeds.of_outputs(self._usual, part) * np.maximum(steep, SMALL * size)
        if up.any():
            up &= self._better(look, look.fear, seeds.of_outputs(self._best, part)) > GAIN * t
            # f does not depend on it
            still = (look.first == 0) & (look.second == 0)
            up &= ~(still & (look.noise <= WITHOUT_EFFECT * np.maximum(size, look.noise)))
        return rough, down, up

    # ---- further looks, at one direction

    def _better(self, look: _Look, truncation: Floats, best: Floats) -> Floats:
        """Return a better step: where truncation falls as it should, and for what shows nothing that of its output."""
        order = self._stencil.order
        ratio = look.noise / (order * np.maximum(truncation, TINY))
        step = look.t * (np.cbrt(ratio) if order == 2 else ratio**self._power)
        found: Floats = np.where((look.first == 0) & (look.second == 0), np.maximum(step, best), step)
        return found

    def _lacks(self, look: _Look, size: Floats) -> NDArray[np.bool_]:
        """Which entries have hardly any digit."""
        lacks: NDArray[np.bool_] = look.noise > LACKING * np.maximum(np.abs(look.derivative), SMALL * size)
        return lacks

    def _enough(self, up: Any, look: _Look, size: Floats) -> bool:
        """Whether a larger step is worth two evaluations: many entries gain, or one has hardly any digit."""
        return bool((up & self._lacks(look, size)).any() or np.count_nonzero(up) > MANY * np.count_nonzero(look.first))

    def _again(self, g: int, part: slice, mine: Any, first: _Look | None) -> tuple[Floats, Floats]:
        seeds = self._seeds
        size = seeds.alone(g, self._line.variation, mine)
        looks = [] if first is None else [first]
        alive = np.isfinite(seeds.alone(g, self._f0, mine))
        if first is None or not np.isfinite(first.derivative[alive]).all():
            looks = self._leave(g, part, mine, alive)
            if not looks:
                self._reasons[g] = "f is not finite beside x"
                return np.full(size.shape, np.nan), np.full(size.shape, np.inf)
        look = looks[-1]
        rough = self._rough(look, seeds.alone(g, self._line.rough, mine), size)
        if look.edge or rough.any():
            self._shrink(g, part, mine, looks, rough)
        else:
            self._improve(g, part, mine, looks, size)
        values, bars = self._chosen(looks)
        if rough.any():
            bars = self._differentiable(g, looks, rough, values, bars, size)
        return values, bars

    def _one(self, g: int, part: slice, mine: Any, t: float, sided: bool = False) -> _Look | None:
        """Look at one direction with another step; to one side where f or the bounds end on the other."""
        t = max(float(t), LEAST)
        stencil, *sides = _sides(self._stencil)
        roomy = self._reach(stencil, g) >= t
        if roomy:
            look = self._look_alone(g, mine, t, stencil)
            if look is not None or not sided:
                return look
        for side in sorted(sides, key=lambda s: -self._reach(s, g)):
            farthest = max(map(abs, side.reach))
            step = min(t / farthest, self._reach(side, g))
            look = self._look_alone(g, mine, step, side) if step > 0.0 else None
            if look is not None:
                look.edge = roomy  # all of the curvature may be an error there; behind bounds f goes on, as a rule
                look.fear = np.maximum(look.fear, (1.0 if roomy else 0.1) * look.second / (2.0 * step))
                return look
        return None

    def _look_alone(self, g: int, mine: Any, t: float, stencil: Stencil) -> _Look | None:
        """Look at one direction by a stencil; None where f is not finite."""
        seeds, f0 = self._seeds, self._f0
        values = self._run.explore([seeds.point(g, t * node) for node in stencil.nodes.tolist()]) - f0
        if not np.isfinite(values[:, np.isfinite(f0)]).all():
            return None
        sigma = seeds.alone(g, self._sigma_at(values), mine)
        rises = [seeds.alone(g, v, mine) for v in values]
        of_line = [seeds.alone(g, numbers, mine) for numbers in self._of_line]
        return _judged_by(stencil, t, rises, lambda up, down: seeds.span_alone(g, up, down, mine), sigma, of_line)

    def _sigma_at(self, values: Floats) -> Floats:
        """Noise grows with f: the largest among some points."""
        top = np.abs(self._f0 + values).max(axis=0)
        grown: Floats = np.maximum(self._line.sigma, self._rho * np.where(np.isfinite(top), top, 0.0))
        return grown

    def _leave(self, g: int, part: slice, mine: Any, alive: NDArray[np.bool_]) -> list[_Look]:
        """Find a step with which f is finite; from the second on, to one side too."""
        t = self._step
        for attempt in range(6):
            look = self._one(g, part, mine, t, sided=attempt > 0)
            if look is not None and np.isfinite(look.derivative[alive]).all():
                return [look]
            t /= 1024.0
        return []

    def _shrink(self, g: int, part: slice, mine: Any, looks: list[_Look], rough: Any) -> None:
        """f is not smooth here: steps 64 times smaller, until it is or it is clear that it will not be."""
        for _ in range(3):
            last = looks[-1]
            look = self._one(g, part, mine, float(np.min(last.t)) * FINER, sided=last.edge)
            if look is None or not np.isfinite(look.derivative).all():
                return
            looks.append(look)
            slack = 4.0 * (look.noise + last.noise)
            apart = np.abs(look.derivative - last.derivative)
            if look.edge or last.edge:
                close = apart < 0.05 * np.abs(look.derivative)
                look.fear = np.where(close & (apart > slack), np.maximum(look.fear, apart), look.fear)
                if (close | (apart <= slack)).all():
                    return
                continue
            behind = (look.second <= 8.0 * look.sigma) & (apart <= 1.5 * last.second / (2.0 * last.t) + slack)
            falls = apart <= 252.0 * look.noise
            look.fear = np.where(
                rough & ~behind & falls & (apart > slack), np.maximum(look.fear, 3.0 * apart / 63.0), look.fear
            )
            if ((apart <= slack) | behind | falls)[rough].all():
                return

    def _improve(self, g: int, part: slice, mine: Any, looks: list[_Look], size: Floats) -> None:
        """The step is too large or too small for some entries that count: up to three better ones."""
        usual, alone = (self._seeds.alone(g, numbers, mine) for numbers in (self._usual, self._best))
        open_still = np.ones(size.shape, dtype=bool)
        for _ in range(3):
            q = looks[-1]
            q.hope = np.maximum(q.hope, np.abs(q.derivative) * (q.t / self._common) ** 2 / 6.0)
            counts = np.maximum(np.abs(q.derivative), SMALL * size)
            down = open_still & (q.hope > TOO_LARGE * q.noise)
            down &= q.hope > self._suffices * SMALL * np.maximum(size, np.abs(q.derivative))
            best = self._better(q, np.where(down, q.hope, q.fear), alone)
            up = open_still & ~down & (best > GAIN * q.t) & (q.noise > usual * counts)
            up &= ~((q.first == 0) & (q.second == 0) & (q.noise <= WITHOUT_EFFECT * np.maximum(size, q.noise)))
            smaller = bool(down.any())
            which = down if smaller else up
            if not (smaller or self._enough(up, q, size)):
                return
            means = [_mean(look.t) for look in looks]
            mean = means[-1]
            t = 2.0 ** round(log2(min(max(_median(best[which]), mean * 1e-6), mean * 1e4, 0.5)))
            larger = [other for other in means if other > mean]
            if larger and not smaller:
                t = min(t, 2.0 ** round(log2(sqrt(mean * min(larger)))))
            if any(0.3 < t / other < 3.3 for other in means):
                return
            look = self._one(g, part, mine, t)
            if look is None or not np.isfinite(look.derivative).all():
                return
            looks.append(look)
            # what was too large for some is no reason to look at the others again
            open_still = which | open_still if smaller else which

    def _differentiable(
        self, g: int, looks: list[_Look], rough: Any, values: Floats, bars: Floats, size: Floats
    ) -> Floats:
        """Say where f has a kink; the bar then covers both slopes."""
        if len(looks) == 1:
            return bars
        small, large, *others = sorted(looks, key=lambda q: _mean(q.t))
        bars = np.where(rough, np.maximum(bars, 2.0 * _left(small, large, *others[:1])), bars)
        kinked = (small.second > 8.0 * small.sigma) & (small.second > KINK * small.first)
        ratio = _mean(small.t) / _mean(large.t)
        kink = rough & kinked & (small.second > large.second * ratio**1.5)
        apart = np.abs(small.derivative - large.derivative) - 4.0 * (small.noise + large.noise)
        changes = rough & ~kink & (apart > 0.1 * np.maximum(np.abs(small.derivative), 1e-3 * size))
        changes &= apart > 1.5 * large.second / (2.0 * large.t)
        if kink.any():
            self._reasons[g] = "f has two slopes there"
        elif changes.any():
            self._reasons[g] = "the slope changes as the step shrinks"
        bars = np.where(kink, np.maximum(bars, small.second / small.t), bars)
        return np.where(changes, np.maximum(bars, np.abs(small.derivative)), bars)

    def _chosen(self, looks: list[_Look]) -> tuple[Floats, Floats]:
        """Take of each entry the look with the smallest error, and its bar."""
        ordered = sorted(looks, key=lambda q: _mean(q.t)) if len(looks) > 1 else looks
        value = bar = least = None
        order = self._stencil.order
        for k, q in enumerate(ordered):
            share = 6.0 if order > 1 else 2.0
            expected = np.abs(q.derivative) * (q.t / min(self._common, 1.0)) ** order / share
            truncation = np.maximum(q.fear, expected)
            if k:
                finer = ordered[k - 1].noise
                gap = np.abs(q.derivative - ordered[k - 1].derivative) - 2.0 * finer
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
