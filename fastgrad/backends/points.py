"""f at many whole points in one call: the dense lift of a function that was written for one."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted
from ..core.validation import Array, Floats
from ..lifting.signals import Signal
from .batched import agree
from .table import load
from .vectors import values_of


class Points:
    """The values of f at k points, as those of one function of all their entries; any of them may be moved.

    CannotRun, by any evaluation, if f cannot be lifted.

    `call`: f and its arguments.
    `points`, of shape (k, *x.shape): where.
    """

    def __init__(self, call: Call, points: Floats) -> None:
        self.nfev = 0  # points at which f was evaluated so far
        self._call, self._points = call, points
        self._value: Floats | None = None
        self.shape: tuple[int, ...] = ()  # of f at one point

    def value(self) -> Floats:
        if self._value is None:
            found = self._lifted(self._points)
            self.shape = found.shape[1:]
            self._check(crc32(self._points.tobytes()) % len(found), found)
            self._value = found.reshape(-1)
        return self._value

    def at(self, points: Iterable[Floats]) -> Floats:
        rows = [self._lifted(row.reshape(self._points.shape)).reshape(-1) for row in points]
        return np.array(rows).reshape(len(rows), self.value().size)

    explore = at

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        raise CannotRun("complex points are taken one at a time")

    def _lifted(self, points: Floats) -> Floats:
        self.nfev += len(points)
        try:
            found: Array = load("dense lift").at_points(self._call, points)
        except (Signal, Exception) as failure:
            raise CannotRun(f"f cannot be lifted: {failure}") from failure
        if found.dtype.kind == "c" or (self._value is not None and found.size != self._value.size):
            raise CannotRun("f returns complex numbers, or another shape at other points")
        return found

    def _check(self, place: int, found: Floats) -> None:
        """Evaluate one of the points plainly: it must agree."""
        self.nfev += 1
        plain = values_of(self._call.value(self._points[place].copy()))
        if plain.shape != self.shape:
            raise NotTrusted("f returns another shape when it is lifted")
        values = found.reshape(len(found), -1)
        pairs = zip(plain.reshape(-1).tolist(), values[place].tolist(), values.T, strict=True)
        if not all(agree(alone, among, column) for alone, among, column in pairs):
            raise NotTrusted("f gives another value for a point among many than for the same point alone")
