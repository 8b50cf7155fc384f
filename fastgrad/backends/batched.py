"""All ±h points at once: f of many points, in tiles that fit the cache."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted, describe
from ..core.evaluation import InFloats, Values
from ..core.point import Point
from ..core.validation import Array, Ints, complex_number, number

# Measured on Rosenbrock, Ackley and least squares, n from 10 to 10,000: 128 kB is within 1.4x of the best of 16 kB
# to 32 MB; one batch of all 2n rows is 2x to 4x slower at n = 1000. Below 16 rows numpy's own overhead shows.
TILE_BYTES = 128 * 1024
TILE_ROWS = 16


class Batched(InFloats):
    """A function that was declared to take many points at once."""

    origin = 0.0
    sees_own = False

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        if call.batch_axis is None:
            raise CannotRun("f takes one point; declare `batch_axis` if it takes many")
        self.own: Array | None = None
        self.way = "batched"
        self._call = call
        self._point, self._base = point, point.base
        self._last = call.batch_axis == -1
        self._copies = False

    def value(self) -> float:
        if self._value is None:
            self._value = number(self._evaluate(self._base.reshape(1, -1), 1)[0])
        return self._value

    def line(self, points: Values) -> Values:
        rows = self._spare_row(len(points))
        padded = np.concatenate([points, np.repeat(self._base.reshape(1, -1), rows - len(points), axis=0)])
        return self._evaluate(padded, rows)[: len(points)]

    def sweep(self, index: Ints, points: Values) -> Values:
        m, k = points.shape
        values = np.empty(points.shape, points.dtype)
        if not m:
            return values
        flat = self._base.reshape(-1)
        per_tile = max(1, min(m, max(TILE_ROWS, TILE_BYTES // max(1, flat.size * points.itemsize)) // k))
        rows = 0
        for start in range(0, m, per_tile):
            coordinates = index[start : start + per_tile]
            used = coordinates.size * k
            if self._spare_row(used) != rows:
                rows = self._spare_row(used)
                # filled once: each round writes the perturbed entries and puts them back
                tile = np.empty((flat.size, rows) if self._last else (rows, flat.size), points.dtype)
                tile[...] = flat[:, None] if self._last else flat
            by_point = tile.T if self._last else tile
            place = np.arange(used), np.repeat(coordinates, k)
            by_point[place] = points[start : start + per_tile].reshape(-1)
            result = self._evaluate(by_point, rows)
            values[start : start + per_tile] = result[:used].reshape(-1, k)
            by_point[place] = flat[place[1]]
        self._check_one(index, points, values, per_tile)
        return values

    def _spare_row(self, rows: int) -> int:
        """Avoid every dimension of x, so that a batch on the wrong axis cannot have the right shape."""
        while rows in self._base.shape:
            rows += 1
        return rows

    def _evaluate(self, by_point: Values, rows: int) -> Array:
        """f of these points, as an array of shape (rows,) that f no longer holds."""
        call, shape = self._call, self._base.shape
        batch = by_point.T.reshape(*shape, rows) if self._last else by_point.reshape(rows, *shape)
        self.nfev += rows
        if self._copies:
            result = call.value(batch.copy())
        else:
            shown = batch.view()
            shown.flags.writeable = False  # f must not damage the tile
            try:
                result = call.value(shown)
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                self._copies = True  # f works in its argument: it gets a copy of each tile
                self.nfev -= rows
                return self._evaluate(by_point, rows)
        return self._as_values(result, rows, by_point.dtype.kind == "c")

    def _as_values(self, result: object, rows: int, is_complex: bool) -> Array:
        array = np.asarray(result)
        if array.shape != (rows,) and not (rows == 1 and array.size == 1):
            raise NotTrusted(
                f"`f` was declared to take {rows} points along axis {self._call.batch_axis} and must return shape "
                f"({rows},), got shape {array.shape}; check `batch_axis`, or leave it out"
            )
        if array.dtype.kind == "O" or (array.dtype.kind == "c") > is_complex or array.dtype.kind not in "fiubc":
            raise TypeError(
                f"`f` must return one real number for each point, got dtype {array.dtype}: {describe(result)}"
            )
        if is_complex and array.dtype.kind != "c":
            complex_number(array.reshape(-1)[0])
        return array.reshape(rows).astype(np.complex128 if is_complex else np.float64)

    def _check_one(self, index: Ints, points: Values, values: Values, per_tile: int) -> None:
        """Evaluate one point of the batch alone: rows that influence each other, and noise, show."""
        # never the first point of a tile, the one that a function which uses only one row gets right
        k = points.shape[1]
        place = crc32(self._base.data) % points.size  # another one at each x, the same one at the same x
        if place % (per_tile * k) == 0 and points.size > 1:
            place = place + 1 if place + 1 < points.size else place - 1
        row, column = divmod(place, k)
        alone = self._base.reshape(1, -1).astype(points.dtype)
        alone[0, index[row]] = points[row, column]
        plain, batch = self._evaluate(alone, 1)[0], values[row, column]
        if not agree(plain, batch, values):
            raise NotTrusted(
                f"`f` gives {batch!r} for a point within a batch and {plain!r} for the same point alone: its rows "
                "influence each other, or it is not deterministic; leave `batch_axis` out"
            )


def agree(plain: complex, other: complex, values: Values) -> bool:
    """Whether two evaluations of one point differ by rounding only.

    A different order of summation may change the last digits, and more of them where f cancels; what matters is
    that the difference is small beside the differences that the gradient is made of.
    """
    if plain == other:
        return True
    if not np.isfinite(plain):
        return not np.isfinite(other)
    with np.errstate(all="ignore"):
        finite = values[np.isfinite(values)]
        spread = float(np.ptp(finite.real)) if finite.size else 0.0
        size = abs(plain)
        return bool(abs(plain - other) <= 1e3 * np.finfo(np.float64).eps * size + 1e-7 * spread)
