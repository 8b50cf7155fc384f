"""One sweep by the dense lift: f called on bundles of points, tile by tile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.call import Call
from ..arraylike import Array
from ..rebinding import rebound
from ..signals import CannotLift, Diverged, Outrun, raised
from ..work import LOOP_TILES, DenseWork
from .bundle import LARGE, Bundle, NotAsked, TooLarge, WritesArgument, gathered, memory

# Measured on 15 functions at n = 100, 300 and 1000: of 32 kB to 1 MB, 256 kB is the best or within 1.15x of it (a
# second-level cache of 512 kB); 32 kB is 1.6x to 2.6x slower at n = 100 and 300, 1 MB 1.5x slower at n = 1000.
TILE_BYTES = 256 * 1024
# larger by LOOP_TILES for a loop over the entries of x, which uses a column at a time: 4x to 10x faster at n = 1000
TILE_POINTS = 16  # at least, however large x is: below, numpy's overhead shows
FEW_POINTS = 8  # at a time, to find out how large f's arrays are
MOST_BYTES = 32 * 1024  # of one array for one point: beyond, an operation costs much more than numpy's overhead
ALONE = 3  # so few points are evaluated plainly when the others went another way
SPLITS = 8  # a tile that falls into more groups than this is evaluated plainly

_busy = threading.local()


def tile_points(size: int) -> int:
    """How many points of an x of this size are evaluated at once."""
    return max(TILE_POINTS, TILE_BYTES // max(1, 8 * size))


def sweep(
    call: Call,
    x: Array,
    index: NDArray[np.intp],
    points: Array,
    *,
    tile_bytes: int = TILE_BYTES,
    work: DenseWork | None = None,
) -> Array:
    """Evaluate f at x with one entry replaced, many points in one call of the unmodified f.

    Outrun if another way is faster. CannotLift if f does something that the lift does not know, raises, or returns what
    does not depend on its argument. The error that f raised is the cause; f plainly evaluated tells what it means.

    `call`: of a function written for one point.
    `x`: the point. It is not written to, and f never gets it.
    `index`, of shape (m,): the entry of x, in C order, that row r replaces.
    `points`, of shape (m, k): the values that this entry takes.
    `tile_bytes`: how much memory the points of one call of f may take.
    `work`: where the work is counted; it says whether the lift is to give up where another way is faster.

    Returns ndarray, shape (m, k) or (m, k, *shape of what f returns): ``f`` at each of the points.
    """
    m, k = points.shape
    flat = x.reshape(-1)
    _free_for(m * k, x.ndim)
    work = DenseWork() if work is None else work
    run = _Run(call, x.shape, work)
    n, most = flat.size, max(1, min(m, max(TILE_POINTS, tile_bytes // max(1, x.nbytes)) // k))
    tile = _filled(most * k, flat, points.dtype)
    results = []
    memory.largest, memory.careful, memory.filled, memory.work = 0, False, frozenset(), work
    work.anew()
    _busy.now = True
    try:
        start, step = 0, most
        while start < m:
            rows = index[start : start + step].repeat(k)
            perturbed = np.arange(0, rows.size * n, n)
            perturbed += rows
            entries = tile.reshape(-1)
            entries[perturbed] = points[start : start + step].reshape(-1)
            try:
                work.begins(rows.size)
                results.append(run.evaluate(tile[: rows.size]))
                work.decided()
                start, step = start + step, most
            except TooLarge as large:
                if work.racing and not large.filled:
                    raise Outrun("arrays much larger than x", to="sparse") from None
                memory.careful, step = True, max(1, FEW_POINTS // k)
            if start < m:
                entries[perturbed] = flat[rows]
                if memory.largest > MOST_BYTES:
                    raise CannotLift(f"f makes arrays of {memory.largest} bytes for a point, too large to gain")
                if memory.largest:
                    step = max(1, min(most, LARGE // memory.largest // k))
                elif work.entries >= n and len(tile) < m * k:  # f is a loop over x: its arrays are small
                    step = most = max(most, min(m, LOOP_TILES * tile_bytes // x.nbytes // k))
                    tile = _filled(most * k, flat, points.dtype)
                work.anew()
    finally:
        work.hopeless = memory.largest > MOST_BYTES
        _busy.now, memory.work = False, DenseWork()  # a bundle that outlives the sweep races no more
    values = _joined(results)
    return values.reshape(m, k, *values.shape[1:])


def _free_for(points: int, ndim: int) -> None:
    """Raise where so many points of so many dimensions are not to be lifted, or not now."""
    if points < 2 or ndim == 0:  # a 0-d array differs from the scalars that it is made of
        raise CannotLift("there is only one point, or x is a scalar")
    if getattr(_busy, "now", False):
        raise CannotLift("f is being lifted for a gradient around this one")


def _filled(points: int, flat: Array, dtype: Any) -> Array:
    """The base point over and over: each round writes the perturbed entries, and puts them back for the next."""
    tile = np.empty((points, flat.size), dtype)
    tile[...] = flat
    return tile


def _joined(results: list[Array]) -> Array:
    if len(results) == 1:
        return results[0]
    if any(r.shape[1:] != results[0].shape[1:] for r in results):
        raise CannotLift("f returns arrays of different shapes")
    return np.concatenate(results)


class _Run:
    """f with its arguments, and what was learned about it."""

    def __init__(self, call: Call, shape: tuple[int, ...], work: DenseWork) -> None:
        self.original = self.call = call
        self.shape = shape
        self.bound = False  # f runs with other bindings
        self.work = work
        self.writes = False  # f assigns into its argument: it gets a copy of each tile

    def evaluate(self, tile: Array) -> Array:
        """f at each row of a tile."""
        try:
            return self.lifted(tile)
        except Diverged as split:
            groups = self.apart(np.arange(len(tile)), split)
        splits = 1
        parts: list[tuple[Array, Array]] = []
        alone = 0
        while groups:
            rows = groups.pop()
            if rows.size <= ALONE or splits > SPLITS:
                alone += rows.size
                if 2 * alone > len(tile) > 4 * ALONE:
                    raise CannotLift("most points take a branch of their own")
                parts.append((rows, self.plainly(tile[rows])))
                continue
            try:
                parts.append((rows, self.lifted(tile[rows], constant=True)))
            except Diverged as split:
                splits += 1
                groups += self.apart(rows, split)
        values = _joined([part for _, part in parts])
        values[np.concatenate([rows for rows, _ in parts])] = values.copy()
        return values

    @staticmethod
    def apart(rows: NDArray[np.intp], split: Diverged) -> list[NDArray[np.intp]]:
        """The rows of a group that diverged as two groups: by the branch they take, if that is known."""
        if split.apart is not None and split.apart.shape == rows.shape:
            return [rows[~split.apart], rows[split.apart]]
        return [rows[: rows.size // 2], rows[rows.size // 2 :]]

    def lifted(self, tile: Array, constant: bool = False) -> Array:
        """f at all rows in one call; `constant` results are right where f has seen its argument."""
        try:
            return self.values(self.called(tile), tile, constant)
        except WritesArgument:
            if self.writes:
                raise CannotLift("f assigns into a read-only array") from None
            self.writes = True
        except CannotLift as reason:
            # arrays of objects, and what numpy converts without asking, are no obstacle with other bindings
            if not ((memory.boxed or isinstance(reason, NotAsked)) and self.rebind()):
                raise
        return self.lifted(tile, constant)

    def called(self, tile: Array) -> Any:
        """What f returns for the bundle of all rows."""
        shown = tile.reshape(len(tile), *self.shape)
        if self.writes:
            shown = shown.copy()
        else:
            shown.flags.writeable = False
        memory.boxed, before = False, raised()
        self.work.nfev += len(tile)
        try:
            result = self.call.value(Bundle(shown))
        except Exception as error:
            if isinstance(error.__cause__, Diverged):  # numpy raises an error of its own from ours
                raise error.__cause__ from None
            kind = NotAsked if isinstance(error.__cause__, CannotLift) else CannotLift
            raise kind(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__) from error
        if raised() != before:
            raise CannotLift("f catches every exception, the lift's own signals too")
        return result

    def values(self, result: object, tile: Array, constant: bool) -> Array:
        """What f returned as one array."""
        if type(result) is not Bundle:
            result = gathered(result)
        if type(result) is Bundle:
            values = as_values(result.data)
            if len(values) != len(tile):
                raise CannotLift("f returns what it kept from another call")
            return values.copy() if np.may_share_memory(values, tile) else values
        if not constant:
            raise CannotLift("f's result does not depend on its argument")
        same = as_values(np.asarray(result))
        return np.broadcast_to(same, (len(tile), *same.shape))

    def rebind(self) -> bool:
        """See numpy and constants through substitutes from now on; whether that is new."""
        if self.bound:
            return False
        self.bound = True
        self.work.anew()
        self.call = rebound(self.call)
        return True

    def plainly(self, tile: Array) -> Array:
        """f at each row, one by one."""
        rows = tile.reshape(len(tile), *self.shape)
        self.work.nfev += len(tile)
        results = [self.original.value(row.copy()) for row in rows]
        return as_values(np.stack([np.asarray(r) for r in results]))


def as_values(array: Array) -> Array:
    """Values of f as float64 or complex128."""
    if array.dtype.kind not in "biufc":
        raise CannotLift(f"f returns an array of {array.dtype}")
    if array.dtype == np.float64:
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)


def at_points(call: Call, points: Array) -> Array:
    """Evaluate f at whole points, many in one call of the unmodified f.

    CannotLift as `sweep`.

    `points`, of shape (k, *shape): what f is to get, one after another.

    Returns ndarray, shape (k, *shape of what f returns).
    """
    _free_for(len(points), points.ndim - 1)
    work = DenseWork()
    run = _Run(call, points.shape[1:], work)
    rows = points.reshape(len(points), -1)
    most, start, results = tile_points(rows.shape[1]), 0, []
    memory.largest, memory.careful, memory.work = 0, False, work
    _busy.now = True
    try:
        while start < len(rows):
            try:
                results.append(run.evaluate(rows[start : start + most].copy()))
            except TooLarge:
                if memory.careful and most == FEW_POINTS:
                    raise CannotLift(f"f makes arrays of {memory.largest} bytes for a point") from None
                memory.careful, most = True, FEW_POINTS
                continue
            start += most
    finally:
        _busy.now, memory.work = False, DenseWork()
    return _joined(results)
