"""Many points in one call of an f that finds the caller's array by itself, or keeps what it computes.

The bundle takes the array's place wherever f finds it (`fastgrad.lifting.in_place`), and everything is put back. Each
gradient is checked: f at x plain, lifted, and plain again, which is also what f's objects hold in the end; and one
perturbed point.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module
from math import hypot, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun
from ..core.evaluation import InFloats, Values
from ..core.point import Point
from ..core.validation import FLOAT64, Ints, everything, number
from ..inspecting.purity import Nature
from ..lifting.signals import Signal, where_in
from .batched import agree

WORTH_IT_FROM = 16  # entries of x: below, the fixed cost of 3 to 5 ms is more than the loop
FEW = 16  # so few points are evaluated plainly
NEAR = 2.0**-40  # times the scale of x: the step of the first run, which only tells whether f can be lifted
FARTHER = 2.0**21  # times as far from x as the nearest points: where unrounded differences are compared with f itself
EPS = float(np.finfo(np.float64).eps)


@cache
def _in_place() -> Any:
    return import_module("...lifting.in_place", __name__)


@cache
def _sparse() -> Any:
    return import_module("...lifting.sparse", __name__)


class LiftedInPlace(InFloats):
    """f at many points at once, with a bundle in place of the caller's array.

    Parameters
    ----------
    call : Call
        f and its arguments.
    point : Point
        Where.
    nature : Nature
        What f can read and keep.

    Raises
    ------
    CannotRun
        If f cannot be lifted so; the message says why.
    """

    way = "lift in place"

    def __init__(self, call: Call, point: Point, nature: Nature) -> None:
        self.nfev = 0
        self.own: NDArray[Any] | None = point.own
        self.sees_own = True
        self._call, self._point = call, point
        self._rounded = False
        self._refused = ""
        reason = _unsuited(call, point, nature)
        if reason:
            raise CannotRun(reason)
        module = _in_place()
        self._lock = module.alone.lock
        with self._lock:
            own = point.base.copy() if point.own is None else point.own
            self._inside = module.InPlace(call.f, own, call.args, call.kwargs)
            self._value = self._plain(point.base)
            first = everything(point.base.size)[:1]
            entry = float(point.base.reshape(-1)[0])
            h = NEAR * (abs(entry) or 1.0)
            self._swept(first, np.array([[entry + h, entry - h]]))
        if self._refused:
            raise CannotRun(self._refused)

    @property
    def origin(self) -> float:
        """What values are relative to: f(x)."""
        return self._value if isfinite(self._value) else 0.0

    def value(self) -> float:
        return self._value

    def known_value(self, value: float) -> None:
        """Do nothing: f(x) was evaluated, for lifting is checked by it."""

    def notes(self) -> list[str]:
        places = "1 place" if self._inside.found == 1 else f"{self._inside.found} places"
        told = (
            f"a bundle takes the place of x in {places} where f finds it" if self._inside.found else "f keeps results"
        )
        return [f"the lift in place: {told}; everything is put back after each run"]

    def carries(self, count: int) -> bool:
        return not (self._rounded or self._refused)

    def differences(self, index: Ints, points: Values) -> Values | None:
        with self._lock:
            swept = self._swept(index, points)
            if swept is None:
                return None
            values: Values = swept.values
            self._rounded = swept.rounded or bool(swept.plain.size) or not bool(np.isfinite(values).all())
            if not self._rounded:
                self._rounded = not self._agrees_farther_away(index, points, values)
            self._as_it_was()
        return None if self._rounded or self._refused else values

    def sweep(self, index: Ints, points: Values) -> Values:
        if points.dtype.kind == "c":
            raise CannotRun("complex points do not fit into the caller's array")
        x = self._point.base.reshape(-1)
        if points.size <= FEW:
            rows = np.repeat(x[None], points.size, axis=0)
            rows[np.arange(points.size), index.repeat(points.shape[1])] = points.reshape(-1)
            return self.line(rows).reshape(points.shape)
        with self._lock:
            swept = self._swept(index, points)
            if swept is not None:
                self._check_one(index, points, swept.values)
                self._as_it_was()
        if self._refused or swept is None:
            raise CannotRun(self._refused)
        values: Values = swept.values
        return values if self.origin == self._value else values + self._value

    def line(self, points: Values) -> Values:
        with self._lock:
            values = np.array([self._plain(row) for row in points]) - self.origin
            self._as_it_was()
        return values

    def _plain(self, point: Values) -> float:
        self.nfev += 1
        return number(self._inside(point.reshape(self._point.base.shape)))

    def _swept(self, index: Ints, points: Values) -> Any:
        """All points lifted; None if that is refused, and then the reason is noted.

        Where f stops with numpy as it is, it is tried once more with names that mean the substitutes.
        """
        if self._refused:
            return None
        x = self._point.base
        for _ in range(2):
            reason = ""
            try:
                swept = _sparse().sweep(self._inside, x, index, points)
                self.nfev += points.size + swept.plain.size * points.shape[1]
                if swept.values.shape != points.shape:
                    if swept.values.size != points.size:
                        reason = "f returns an array"
                        break
                    swept = swept._replace(values=swept.values.reshape(points.shape))
                if not agree(self._value, number(swept.base), np.append(swept.values, 0.0)):
                    reason = f"f gives {self._value!r} at x, and {number(swept.base)!r} when it is lifted there"
                    break
                return swept
            except Signal as signal:
                where = where_in(self._call.f, signal.__traceback__)
                reason = f"{signal} ({where})" if where else str(signal)
            finally:
                self._inside.forget()
            if self._inside.filling:
                break
            self._inside.fill()
        self._refused = reason
        return None

    def _as_it_was(self) -> None:
        """Evaluate f at x: f's objects hold that afterwards, and it must be what it was."""
        again = self._plain(self._point.base)
        if again != self._value and not (np.isnan(again) and np.isnan(self._value)):
            self._refused = f"f gives {self._value!r} and then {again!r} at the same x"

    def _check_one(self, index: Ints, points: Values, values: Values) -> None:
        """Compare one perturbed point, another one for another x, with f evaluated plainly there."""
        x = self._point.base
        row = zlib.crc32(x.tobytes()) % index.size
        column = row % points.shape[1]
        point = x.copy()
        point.reshape(-1)[index[row]] = points[row, column]
        plain = self._plain(point)
        lifted = self._value + values[row, column]
        if not agree(plain, lifted, values):
            self._refused = f"f gives {plain!r} at a point alone, and {lifted!r} there when it is lifted"

    def _agrees_farther_away(self, index: Ints, points: Values, values: Values) -> bool:
        """Compare the slopes with plain evaluations on both sides of x, along a direction that follows from x."""
        x = self._point.base.reshape(-1)
        turned = zlib.crc32(x.tobytes())
        away = (points[:, 0] - x[index]) * FARTHER
        away[(turned + np.arange(index.size) * 7) % 11 < 5] *= -1.0
        both = np.stack([x, x])
        both[0, index] += away
        both[1, index] -= away
        try:
            above, below = map(self._plain, both)
        except Exception:  # noqa: BLE001 - whatever f raises there: nobody asked for that point
            return False
        with np.errstate(all="ignore"):
            expected = (values[:, 0] - values[:, 1]) * (away / (points[:, 0] - points[:, 1]))
            total = float(expected.sum())
        # hypot, for squares may overflow or vanish: any difference would be below an infinite doubt
        doubt = 1e-3 * hypot(*expected.tolist()) + 100.0 * EPS * (abs(above) + abs(below))
        return bool(abs(2.0 * total - (above - below)) <= doubt < inf)


def _unsuited(call: Call, point: Point, nature: Nature) -> str:
    """Say why a call cannot be lifted in place, before anything is evaluated; empty if it may be."""
    own = point.own
    if call.batch_axis is not None:
        return "f was declared to take many points at once"
    if call.imaginary:
        return "complex points do not fit into the caller's array"
    if point.base.ndim == 0 or not point.base.size:
        return "x is a single number, or empty"
    if own is None:
        return ""
    if own.dtype != FLOAT64 or not own.dtype.isnative:
        return f"x is an array of {own.dtype}, in whose place no float64 can be"
    if call.shares_memory(own):
        return "an argument shares memory with x, and must not be perturbed"
    return ""
