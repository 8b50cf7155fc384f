"""Running f on the points of a sweep, in as many runs as memory asks for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.call import Call
from ..arraylike import Array
from ..signals import CannotLift, raised
from ..work import SparseWork
from .bundle import SparseBundle
from .layout import Box, Dim, Entries, Shape
from .slots import FILLED, LOST, Run, Slots, TooWide, entries_of, spread

CELLS = 1 << 19  # differences of one column in an array that stay in the cache
MANY = 4096  # coordinates that are swept faster than a few are looked up
MOST_CELLS = 1 << 23  # differences of one column in an array, at any price
FEWEST_ROWS = 32  # with fewer, evaluating f at x once a run is no longer cheap


class Lifted(NamedTuple):
    """f's value for one run."""

    base: Any  # f(x)
    slots: Slots  # what the rows add to it
    run: Run  # which rows were lost to another branch, among other things

    def entries(self) -> list[tuple[Array, Array, Array]]:
        """Rows, flat positions in f's value, and differences of shape (k, entries); equal pairs add up."""
        return entries_of(self.slots, np.shape(self.base), self.run)

    def differences(self) -> Array:
        """Return f less f(x), shape (k, rows, *shape)."""
        return spread(self.slots, np.shape(self.base), self.run)

    def lost(self) -> float:
        """Return what differences may lack because something underflowed."""
        return LOST * max(1.0, float(np.abs(self.base).max(initial=0.0))) if self.run.faint else 0.0

    def tied(self) -> bool:
        """Return whether f chose between what is equal at x."""
        return self.run.tied is not None and bool(self.run.tied.any())


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next array.

    glibc returns arrays of some 100 kB to the system until it has seen a larger one freed, and then touching a new
    array costs more than computing it: half the time of a sweep over a dense layer went there. Elsewhere this is void.
    """
    np.empty(31 << 20, dtype=np.uint8)  # never touched, so it takes no memory; 32 MB is the most that glibc heeds


class Swept(NamedTuple):
    """The values of a sweep."""

    base: Any  # f(x)
    values: Array  # shape (m, k) or (m, k, *shape of base): f at the points, less `base`
    # the rows that were evaluated plainly, and have the round-off of that: they took another branch than x, or were not
    # finite
    plain: NDArray[np.intp]
    # whether f used a function without a difference rule. If not, the values of all other rows are accurate relative to
    # themselves, however small the step.
    rounded: bool


class Differences(NamedTuple):
    """f near x less f(x), each accurate relative to itself."""

    values: Array  # shape (m, k)
    # shape (m,): rows in which f chose between what is equal at x: f may have a kink there, and one side does not tell
    # the other
    tied: NDArray[np.bool_]
    lost: float  # what the values may lack because something underflowed


@lru_cache(maxsize=64)
def _boxes(start: int, stop: int, shape: Shape) -> tuple[tuple[int, int, Box], ...]:
    """The same, of rows that begin there."""
    return tuple(
        (begin - start, end - start, Box(begin - start, at, dims)) for begin, end, at, dims in boxes(start, stop, shape)
    )


def boxes(start: int, stop: int, shape: Shape) -> Iterator[tuple[int, int, Shape, tuple[Dim, ...]]]:
    """Cut a range of flat positions into boxes: (begin, end, position, dims)."""
    if not shape:
        yield start, stop, (), ()
        return
    inner = prod(shape[1:])
    if start % inner == 0 and stop % inner == 0:
        count = (stop - start) // inner
        dims: list[Dim] = []
        step = stop - start
        for axis, length in enumerate((count, *shape[1:])):
            step //= length
            dims.append(Dim(length, step, axis, 1))
        yield start, stop, (start // inner, *(0 for _ in shape[1:])), tuple(dims)
        return
    while start < stop:
        first = start // inner
        end = min(stop, (first + 1) * inner) if start % inner or stop < (first + 1) * inner else stop - stop % inner
        if start % inner == 0 and end % inner == 0:
            yield from boxes(start, end, shape)
        else:
            for begin, to, position, ties in boxes(start - first * inner, end - first * inner, shape[1:]):
                moved = tuple(dim._replace(axis=dim.axis + 1) for dim in ties)
                yield begin + first * inner, to + first * inner, (first, *position), moved
        start = end


def initial_slots(shape: Shape, index: NDArray[np.intp] | range, d: Array) -> Slots:
    """The slots of x itself: each row changes one entry, by d[:, row]."""
    first = int(index[0])
    if not isinstance(index, range) and not _consecutive(index):
        return ((Entries(np.arange(len(index)), index), d),)
    slots = []
    for begin, end, box in _boxes(first, first + len(index), shape):
        slots.append((box, d[:, begin:end].reshape(d.shape[0], *(dim.length for dim in box.dims))))
    return tuple(slots)


def evaluated(call: Call, bundle: SparseBundle) -> SparseBundle:
    """Call f on a bundle.

    CannotLift if f does something that a sparse bundle does not support, whatever it raised then.
    """
    signals = raised()
    try:
        with np.errstate(all="ignore", under="call", call=bundle.run.underflows):
            value = call.value(bundle)
    except Exception as error:  # a signal is none
        raise CannotLift(f"f raised {type(error).__name__} on a sparse bundle: {error}") from error
    if raised() != signals:
        raise CannotLift("f caught the refusal of an operation")
    if not isinstance(value, SparseBundle):
        raise CannotLift("f's result does not depend on its argument, or is not one array")
    return value


def lift(
    call: Call,
    x: Array,
    index: NDArray[np.intp] | range,
    d: Array,
    *,
    cells: int = MOST_CELLS,
    work: SparseWork | None = None,
    ties: bool = False,
    filled: int = FILLED,
) -> Lifted:
    """Call f once on all points of a run.

    Outrun if the dense lift is faster. CannotLift if f does something that a sparse bundle does not support, whatever
    it raised then. TooWide if the rows change so many entries that fewer at a time are better.

    `index`, of shape (m,), or range: the flat position of the entry that row r changes; a range if these follow each
        other.
    `d`, of shape (k, m): what is added to it.
    `work`: of the sweep that this run is a part of.
    `ties`: whether to note the rows in which f chooses between what is equal at x.
    `filled`: as of a `Run`.
    """
    work = SparseWork() if work is None else work
    work.nfev += d.size
    run = Run(d.shape[1], d.shape[0], cells, work, ties, filled)
    value = evaluated(call, SparseBundle(x.copy(), initial_slots(x.shape, index, d), run))
    if value.dtype.kind != "f":
        raise CannotLift(f"f returned {value.dtype}")
    if run.faint and not value.ndim:
        run.rounded |= bool(abs(value.base) < run.faintest)
    return Lifted(value.base, value.slots, run)


def sweep(call: Call, x: Array, index: NDArray[np.intp], points: Array, work: SparseWork | None = None) -> Swept:
    """Evaluate f at x with one entry replaced, for many points at once.

    Outrun if the dense lift is faster. CannotLift if f cannot be evaluated like this.

    `call`: of a numpy function written for one point.
    `x`: the common point.
    `index`, of shape (m,): the flat position that row r replaces.
    `points`, of shape (m, k): the values it takes.
    `work`: where the work is counted; it says whether the lift is to give up where the dense one is faster.

    Returns Swept: f(x), and f at the points less f(x).
    """
    keep_freed_memory()
    rows, _ = points.shape
    if not rows or not x.size:
        raise CannotLift("there is nothing to perturb")
    work = SparseWork() if work is None else work
    if _consecutive(index):
        return _swept(call, x, index, points, work)
    # neighbours at fixed offsets are worth more than a short list, and f may take only them
    if len(np.unique(index)) < rows or x.size > max(4 * rows, MANY):
        try:
            return _swept(call, x, index, points, work)
        except CannotLift:
            pass
    order = np.argsort(index, kind="stable")
    first = np.flatnonzero(np.diff(index[order], prepend=-1))
    nth = np.empty(rows, dtype=np.intp)  # the how manieth row of its coordinate
    nth[order] = np.arange(rows) - np.repeat(first, np.diff(first, append=rows))
    base: Any = None
    values: Any = None
    plain: list[Array] = []
    rounded = False
    for layer in range(int(nth.max()) + 1):
        mine = np.flatnonzero(nth == layer)
        everywhere = np.repeat(x.reshape(-1, 1), points.shape[1], axis=1).astype(points.dtype)
        everywhere[index[mine]] = points[mine]
        base, all_values, not_lifted, rounding = _swept(call, x, np.arange(x.size), everywhere, work)
        if values is None:
            values = np.empty((rows, *all_values.shape[1:]), dtype=all_values.dtype)
        values[mine] = all_values[index[mine]]
        plain.append(mine[np.isin(index[mine], not_lifted)])
        rounded |= rounding
    return Swept(base, values, np.concatenate(plain), rounded)


def differences(
    call: Call, x: Array, index: NDArray[np.intp], d: Array, work: SparseWork | None = None
) -> Differences | None:
    """Evaluate f at x with something added to one entry, less f(x): however little that is.

    `index`, of shape (m,): the flat positions, each once.
    `d`, of shape (m, k): what row r adds to its entry; x + d need not be a number of its own.

    Returns Differences or None: None where f uses a function without a difference rule, or is no single number.
    """
    keep_freed_memory()
    order = None if _consecutive(index) else np.argsort(index, kind="stable")
    every = index if order is None else np.arange(x.size)
    if order is None:
        steps = d
    else:  # neighbours at fixed offsets are worth more than a short list
        steps = np.zeros((x.size, d.shape[1]))
        steps[index] = d
    values, tied, lost = np.empty(steps.shape), np.zeros(len(steps), dtype=bool), 0.0
    for begin, lifted, part in _runs(call, x, every, np.ascontiguousarray(steps.T), work, True):
        if lifted.run.rounded or part.ndim != 2:
            return None
        end = begin + part.shape[1]
        values[begin:end] = part.T
        lost = max(lost, lifted.lost())
        tied[begin:end] = lifted.run.lost if lifted.run.tied is None else lifted.run.lost | lifted.run.tied
    return Differences(values, tied, lost) if order is None else Differences(values[index], tied[index], lost)


def _consecutive(index: NDArray[np.intp]) -> bool:
    return bool(index[-1] - index[0] == len(index) - 1 and (np.diff(index) == 1).all())


def _runs(
    call: Call, x: Array, index: NDArray[np.intp], d: Array, work: SparseWork | None, ties: bool = False
) -> Iterator[tuple[int, Lifted, Array]]:
    """Lift f in as many runs as memory asks for: the first row, f's value, and its differences of each."""
    work = SparseWork() if work is None else work
    rows = d.shape[1]
    inner = x.size // x.shape[0] if x.ndim else 1
    begin = 0
    while begin < rows:
        now = rows - begin if work.together is None else min(work.together, rows - begin)
        part = slice(begin, begin + now)
        cells = CELLS if now > FEWEST_ROWS else MOST_CELLS
        try:
            lifted = lift(call, x, index[part], d[:, part], cells=cells, work=work, ties=ties)
            spread_out = lifted.differences()
        except TooWide as wide:  # what this run has spent is sunk
            together = min(now - 1, max(FEWEST_ROWS if now > FEWEST_ROWS else 1, int(CELLS / wide.per_row)))
            work.together = together - together % inner if together > inner else together
            continue
        work.lead = lifted.run.lead
        if not np.isfinite(lifted.base).all():
            raise CannotLift("f is not finite at x")
        yield begin, lifted, spread_out
        begin += now


def _swept(call: Call, x: Array, index: NDArray[np.intp], points: Array, work: SparseWork) -> Swept:
    """As `sweep`, for coordinates that are worth one run as they are."""
    rows, columns = points.shape
    d = np.ascontiguousarray((points - x.reshape(-1)[index][:, None]).T)
    parts: list[Array] = []
    lost: list[Array] = []
    base: Any = None
    rounded = False
    for begin, lifted, part in _runs(call, x, index, d, work):
        base = lifted.base
        rounded |= lifted.run.rounded
        bad = lifted.run.lost | ~np.isfinite(part).all(axis=(0, *range(2, part.ndim)))
        lost.append(begin + np.flatnonzero(bad))
        parts.append(np.moveaxis(part, 0, 1))
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    again = np.concatenate(lost)
    if again.size > 2 + rows // 8:
        raise CannotLift("the points take different branches, or f is not finite at many of them")
    work.nfev += again.size * columns
    for row in again:
        for column in range(columns):
            point = x.astype(points.dtype)
            point.flat[index[row]] = points[row, column]
            values[row, column] = np.asarray(call.value(point)) - base
    return Swept(base if np.ndim(base) else float(base), values, again, rounded)
