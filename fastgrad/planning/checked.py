"""How a lifted Hessian is checked: by plain values of f along a direction, and where f may have a kink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.table import load
from ..core.call import Call
from ..core.errors import AccuracyWarning, CannotRun, NotTrusted, warn
from ..core.point import Point, exclusive
from ..core.validation import Bounds, Floats, moving, number
from ..schemes.constants import EPS, OUTSIDE
from ..schemes.outputs import signs
from ..schemes.rounding import of_rounding
from ..schemes.seeds import units_of
from .matrix import Matrix, symmetric
from .operators import STEP, unreadable, unrounded
from .settings import Settings

# steps, in scales of x, of the plain second difference that checks a lifted Hessian: the shorter ones where f has waves
BESIDE = tuple(2.0**-k for k in (11, 15, 19, 23, 27))
SMALL = 2.0**-10  # all of x: f may change on the scale 1 all the same
NEAREST = 1e-150  # a scale of x: squares of what the lift and its check move it by must not vanish
SHORTEST = 1e-100  # a scale of the lift's steps
FAINTEST = 1e-184  # of a second derivative: times the lift's step and its imaginary part, the smallest normal number
AGREE = 1e-3  # as near must it come
FALLING = 2.0**-8, 2.0**-9  # steps at which v H v is about 0 beside what is truncated, which falls by 16 from the first
LEAST_FALL = 7.5
NEARER = 2.0**-3  # of that step: whether what it misses falls
DISAGREES = "the lift and a plain second difference disagree: f has a kink at x, or reads x itself"
BAR = 64.0 * EPS  # of the largest entry of a row: the error of a lifted Hessian


class Kinked(NotTrusted):
    """f has no second derivative at x."""


def tell_of_kinks(refusal: Exception) -> None:
    """Warn of what the lift has found and differences may not see."""
    if isinstance(refusal, Kinked):
        warn(str(refusal), AccuracyWarning)


def unliftable(f: object, call: Call, point: Point, settings: Settings) -> str:
    """Say why f is not lifted to a complex point; empty if that is tried."""
    if settings.options.backend == "python":
        return "asked for"
    return settings.unliftable or unreadable(f, call, point)


class _Free:
    """Products by a Hessian whose rows and columns are 0 where x does not move."""

    def __init__(self, products: Any, free: NDArray[np.bool_]) -> None:
        self.pattern, self.tied, self._products, self._free = products.pattern, products.tied, products, free

    def product(self, vector: Floats) -> Floats:
        found: Floats = self._products.product(vector * self._free) * self._free
        return found


class Checked:
    """f around one point: products by the lift, and plain values that check them."""

    def __init__(self, call: Call, point: Point, bounds: Bounds | None) -> None:
        self.nfev = 0  # evaluations of f so far
        self._call, self._point, self._bounds = call, point, bounds
        self._value: float | None = None
        self._third: float | None = None
        self._units = units_of(point.base.reshape(-1))
        # f may change on the length of an entry's own size, however small: steps that carry no round-off cost nothing
        self._relative = units_of(point.base.reshape(-1), relative=True)
        self._own = np.maximum(self._relative, np.minimum(self._units, SHORTEST))
        own = point.own
        # whether f reads the caller's array, and is to find each point there
        self._shown = own is not None and point.perturbable and not call.shares_memory(own)

    def products(self, base: Floats | None = None) -> Any:
        """Return products by the lift at a complex point; each raises CannotRun where f cannot be lifted."""
        if self._units.min(initial=1.0) < NEAREST:
            raise CannotRun("x is too near to 0 for an imaginary part beside it")
        steps, bounds, free = unrounded(self._own), self._bounds, moving(self._bounds)
        if bounds is not None:
            steps = np.where(self._point.base.reshape(-1) >= bounds[1], -steps, steps)
        found = load("curvature")(self._call.f, self._call, self._point.base if base is None else base, steps)
        return found if free is None else _Free(found, free)

    def _rounded(self, vector: Floats, product: Floats) -> Floats:
        """Return by how much a product differs where all that f rounds within, as 1 + x, is rounded otherwise."""
        x, shape, room = self._point.base.reshape(-1), self._point.base.shape, None
        if self._bounds is not None:
            room = np.minimum(x - self._bounds[0], self._bounds[1] - x)

        def beside(point: Floats) -> Floats | None:
            self.nfev += 1
            try:
                found: Floats = self.products(point.reshape(shape)).product(vector)
            except (CannotRun, NotTrusted):
                return None
            return found

        return of_rounding(x, product, beside, room)

    def value(self) -> float:
        if self._value is None:
            self._value = self._at(self._point.base)
        return self._value

    def _at(self, x: Floats) -> float:
        """Evaluate f at a point, which the caller's array holds meanwhile: a product by the lift does not know that."""
        self.nfev += 1
        own, call = self._point.own, self._call
        if own is None or not self._shown:
            return number(call.value(x.copy()))
        with exclusive(own):
            own[...] = x
            try:
                return number(call.value(x.copy()))
            finally:
                own[...] = self._point.base

    def direction(self) -> Floats:
        """A direction that follows from x's own bytes."""
        x = self._point.base.reshape(-1)
        return signs(x, x.size) * self._units

    def compare(self, vector: Floats, product: Floats) -> None:
        """Compare v H v with a plain second difference along v.

        NotTrusted where they differ, or f is not finite beside x.
        """
        x = self._point.base.reshape(-1)
        # where some entries are much smaller than others, their scale may be their own size; and f's may be larger
        scales = self._units, self._relative
        if self._units.max(initial=0.0) < SMALL:
            scales = np.ones(x.size), *scales[1:]
        if any(
            self._agrees(vector, product, units, step, may_be_blind=step == BESIDE[0] and units is scales[0])
            for step in BESIDE
            for units in scales
        ):
            return
        if not self._falls(vector, product):
            raise NotTrusted(DISAGREES)

    @np.errstate(all="ignore")
    def bars(self, matrix: Matrix) -> Matrix:
        """Return the error bars of a lifted Hessian that agrees: rounding, and what the lift's own step may truncate.

        Of the third derivative is known that f changed by no more than it did beside x; and what is too faint vanishes.
        """
        direction, largest = self.direction(), matrix.largest()
        of_rounding = self._rounded(direction, matrix.dot(direction))
        rounding = BAR * matrix.each(np.maximum, largest, largest)
        more = matrix.like(matrix.each(np.divide, of_rounding + self._truncated / self._units, self._units))
        return matrix.like(rounding + symmetric(more).entries + self._faint)

    @np.errstate(all="ignore")
    def bars_along(self, vector: Floats, product: Floats) -> Floats:
        """Return the same of a product."""
        size = float(np.max(np.abs(product) * self._units, initial=0.0))
        truncated = self._truncated * np.sum(np.abs(vector) / self._units)
        faint = self._faint * np.sum(np.abs(vector))
        bars: Floats = (BAR * size + truncated) / self._units + self._rounded(vector, product) + faint
        return bars

    @property
    def _truncated(self) -> float:
        """What the lift's step may truncate of a second derivative, in scales of x; rounding may hide f's changes."""
        if self._third is None:  # bounds left no room to look to both sides
            self._third = abs(self._inside() - self.value()) / BESIDE[0] ** 3
        return 4.0 * max(self._third, EPS * abs(self.value()) / BESIDE[0] ** 3) * STEP

    def _inside(self) -> float:
        """Return f beside x, where bounds leave room."""
        x, moved = self._point.base.reshape(-1), BESIDE[0] * self._units
        if self._bounds is not None:
            moved = np.clip(np.where(self._bounds[1] - x < moved, x - moved, x + moved), *self._bounds) - x
        try:
            return self._at((x + moved).reshape(self._point.base.shape))
        except OUTSIDE:
            return self.value()

    @property
    def _faint(self) -> float:
        """How large a second derivative may be that vanishes."""
        return FAINTEST / float(self._own.min(initial=1.0))

    def look_at_ties(self, tied: NDArray[np.bool_], product: Callable[[Floats], Floats]) -> None:
        """Compare second differences to both sides, along entries of x at which f may have a kink, with the lift.

        Among all others one kink is not seen, and the difference of both sides may hide it. Where f is smooth, what is
        left falls with the step.

        Kinked where it does not.
        """
        if not tied.any():
            return
        vector = np.where(tied, self.direction() * BESIDE[0], 0.0)
        x, shape = self._point.base.reshape(-1), self._point.base.shape
        if self._bounds is not None:
            vector *= (np.minimum(x - self._bounds[0], self._bounds[1] - x) > 2.0 * np.abs(vector)).astype(np.float64)
        if not vector.any():
            return
        terms, here = vector * product(vector), self.value()
        with np.errstate(all="ignore"):
            for side in (1.0, -1.0):
                gaps = []
                for t in (side, side * NEARER):
                    try:
                        near, far = (self._at((x + k * t * vector).reshape(shape)) for k in (1.0, 2.0))
                    except OUTSIDE as error:
                        raise NotTrusted(DISAGREES) from error
                    size = abs(far) + 2.0 * abs(near) + abs(here)
                    gaps.append(abs((far - near) - (near - here) - t * t * float(terms.sum())) / (t * t))
                doubt = AGREE * float(np.abs(terms).sum()) + 32.0 * EPS * size / NEARER**2
                if not gaps[1] <= max(doubt, 0.5 * gaps[0]) < np.inf:
                    first, *more = np.flatnonzero(vector).tolist()
                    among = f", or one of {len(more)} more" if more else ""
                    raise Kinked(
                        f"`f` chooses between what is equal at x, where coordinate {self._point.name(first)}{among} "
                        "changes: it has no second derivative there"
                    )

    def _agrees(self, vector: Floats, product: Floats, units: Floats, step: float, may_be_blind: bool) -> bool:
        """Say whether f bends along a vector as the product has it; also where there is no room to look."""
        seen = self._bend(vector, product, units, step)
        if seen is None:
            return True
        gap, terms, rounding = seen
        if rounding >= AGREE * terms and not may_be_blind:
            return False  # nothing is seen there
        return bool(gap <= AGREE * terms + rounding < np.inf)

    def _falls(self, vector: Floats, product: Floats) -> bool:
        """Say whether what f bends otherwise falls as what a second difference truncates does, where v H v is about 0.

        A kink's falls by 2, that of another second derivative by 4.
        """
        far, near = (self._bend(vector, product, self._units, step) for step in FALLING)
        if far is None or near is None:
            return False
        return bool(far[2] < near[0] <= far[0] / LEAST_FALL)

    def _bend(self, vector: Floats, product: Floats, units: Floats, step: float) -> tuple[float, float, float] | None:
        """Compare a second difference along a vector with the product: the gap, the size of its terms, and rounding.

        None where there is no room to look; an infinite gap where f is not finite.
        """
        x, shape = self._point.base.reshape(-1), self._point.base.shape
        reach = float(np.abs(vector / units).max(initial=0.0))
        if not reach:
            return None
        free = moving(self._bounds)
        moved = vector * (step / reach) * (1.0 if free is None else free)
        if self._bounds is not None:
            room = np.minimum(x - self._bounds[0], self._bounds[1] - x)
            if (room < np.abs(moved)).any():
                return None
        try:
            above, below = self._at((x + moved).reshape(shape)), self._at((x - moved).reshape(shape))
        except OUTSIDE:
            return np.inf, 0.0, 0.0
        with np.errstate(all="ignore"):
            terms = moved * product * (step / reach)
            above, below = above - self.value(), below - self.value()
            size = abs(above) + abs(below) + 4.0 * abs(self.value())
            self._third = max(abs(above), abs(below)) / step**3
            gap = abs(above + below - float(terms.sum()))
            return gap, float(np.abs(terms).sum()), 32.0 * EPS * size
