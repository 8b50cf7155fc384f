"""Many points in one call of an f that finds the caller's array by itself, or keeps what it computes.

The bundle takes the array's place wherever f finds it (`fastgrad.lifting.in_place`), and everything is put back. Each
gradient is checked: f at x plain, lifted, and plain again, which is also what f's objects hold in the end; and one
perturbed point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import Unrounded, Values
from ..core.point import Point
from ..core.validation import FLOAT64, Array, Floats, Ints
from ..inspecting.purity import Nature
from ..lifting.signals import CannotLift
from .lifted import DENSE, SPARSE, Attempt, Lifted
from .table import load

Result = TypeVar("Result")
NOTHING_KEPT = Nature("", ())
WAY = "lift in place"


class LiftedInPlace(Lifted):
    """f at many points at once, with a bundle in place of the caller's array: the sparse lift of a pure function.

    CannotRun if f cannot be lifted so; the message says why.

    `call`: f and its arguments.
    `point`: where.
    `nature`: what f can read and keep.
    `lifts`, {"dense", "sparse"}: which to try, in this order, where f keeps what it computes and does not find x: the
        sparse one otherwise.
    `explicit`: whether the caller asked for this way, so that nobody else says what f raises beside x.
    """

    _instead = (Attempt(SPARSE, False),)  # f may write into arrays that it keeps

    def __init__(
        self, call: Call, point: Point, nature: Nature, lifts: tuple[str, ...] = (SPARSE,), explicit: bool = False
    ) -> None:
        reason = _unsuited(call, point, nature)
        if reason:
            raise CannotRun(reason)
        own = point.base.copy() if point.own is None else point.own
        try:
            self._inside = load("place of x")(call.f, own, call.args, call.kwargs)
            with self._inside.exclusively():  # what f can reach is not to be looked at while another bundle is there
                self._inside.look()
        except CannotLift as signal:
            raise CannotRun(f"f cannot be lifted in place: {signal}") from signal
        pure = call.but(f=self._inside, args=(), kwargs={})
        # what holds the array and keeps results is its own business: seen from here, f is a function of its argument
        lifts = (SPARSE,) if self._inside.found else lifts
        racing = not explicit and len(lifts) > 1
        super().__init__(pure, Point(point.base, None, point.dtype), lifts, racing, NOTHING_KEPT)
        self.sees_own, self._explicit, self._written = True, explicit, call.f
        self.way = WAY
        self._exclusively(self.value)

    def known_value(self, value: float) -> None:
        """Do nothing: f(x) was evaluated, for lifting is checked by it."""

    def notes(self) -> list[str]:
        found = self._inside.found
        places = "1 place" if found == 1 else f"{found} places"
        told = f"a bundle takes the place of x in {places} where f finds it" if found else "f keeps results"
        return [f"the {WAY}: {told}; everything is put back after each run"]

    def differences(self, index: Ints, steps: Floats, away: Floats, bars: bool) -> Unrounded | None:
        return self._exclusively(partial(super().differences, index, steps, away, bars))

    def sweep(self, index: Ints, points: Values) -> Values:
        return self._exclusively(partial(super().sweep, index, points))

    def line(self, points: Values) -> Values:
        return self._exclusively(partial(super().line, points))

    def _exclusively(self, act: Callable[[], Result]) -> Result:
        """Keep other threads away meanwhile, and end with f at x: its objects hold that, and it must be what it was.

        No generator: a StopIteration of f's own comes through.
        """
        with self._inside.exclusively():
            before = self._value
            result = act()
            self.way = WAY
            if before is None:
                return result
            again = self._plainly(self._point.base)
            if again != before and not (np.isnan(again) and np.isnan(before)):
                raise CannotRun(f"f gives {before!r} and then {again!r} at the same x")
            return result

    def _check_one(self, point: Array, seen: object, values: Values) -> None:
        try:
            super()._check_one(point, seen, values)
        except NotTrusted as doubt:  # f's state may feed back into its values: then the loop, as ever, has the say
            raise CannotRun(str(doubt)) from doubt

    def _refusal(self, index: Ints, points: Values) -> CannotRun:
        """Say why, unless f raises an exception of its own and nobody is next who would say so."""
        refusal = super()._refusal(index, points) if self._explicit else None
        told = self._refusals.get(SPARSE) or self._refusals[DENSE]
        instead = "; backend='python' takes it" if refusal else ""
        return CannotRun(f"f cannot be lifted in place: {told.reason}{instead}")


def _unsuited(call: Call, point: Point, nature: Nature) -> str:
    """Say why a call cannot be lifted in place, before anything is evaluated; empty if it may be."""
    own = point.own
    if call.imaginary:
        return "complex points do not fit into the caller's array"
    if point.base.ndim == 0 or not point.base.size:
        return "x is a single number, or empty"
    if not nature.keeps and (own is None or not nature.may_read(own)):
        return "f is a function of its argument alone, for which there are the other lifts"
    if str(getattr(call.f, "__module__", "")).startswith("fastgrad."):
        return "f gets x in another form, as an option says"
    if own is None:
        return ""
    if own.dtype != FLOAT64 or not own.dtype.isnative:
        return f"x is an array of {own.dtype}, in whose place no float64 can be"
    if call.shares_memory(own):
        return "an argument shares memory with x, and must not be perturbed"
    return ""
