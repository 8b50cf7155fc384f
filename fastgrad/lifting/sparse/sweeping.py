"""Running f on the points of a sweep, in as many runs as memory asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..signals import CannotLift, raised
from .bundle import SparseBundle
from .functions import filled
from .layout import Box, Dim, Entries, Shape
from .slots import Run, Slots, TooWide, entries_of, spread

Array = NDArray[Any]
assert filled()  # importing numpy's functions registers them with the bundle
NOTHING: Mapping[str, Any] = {}
CELLS = 1 << 18  # differences of one column in an array that stay in the cache
MANY = 4096  # coordinates that are swept faster than a few are looked up
MOST_CELLS = 1 << 23  # differences of one column in an array, at any price
FEWEST_ROWS = 32  # with fewer, evaluating f at x once a run is no longer cheap


class Lifted(NamedTuple):
    """f's value for one run.

    Attributes
    ----------
    base : ndarray or numpy scalar
        f(x).
    slots : tuple of (layout, differences)
        What the rows add to it.
    run : Run
        Which rows were lost to another branch, among other things.
    """

    base: Any
    slots: Slots
    run: Run

    def entries(self) -> list[tuple[Array, Array, Array]]:
        """Rows, flat positions in f's value, and differences of shape (k, entries); equal pairs add up."""
        return entries_of(self.slots, np.shape(self.base), self.run)

    def differences(self) -> Array:
        """Return f less f(x), shape (k, rows, *shape)."""
        return spread(self.slots, np.shape(self.base), self.run)


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next array.

    glibc returns arrays of some 100 kB to the system until it has seen a larger one freed, and then touching a new
    array costs more than computing it: half the time of a sweep over a dense layer went there. Elsewhere this is void.
    """
    np.empty(31 << 20, dtype=np.uint8)  # never touched, so it takes no memory; 32 MB is the most that glibc heeds


class Swept(NamedTuple):
    """The values of a sweep.

    Attributes
    ----------
    base : float or ndarray
        f(x).
    values : ndarray, shape (m, k) or (m, k, *shape of base)
        f at the points, less `base`.
    plain : ndarray of intp
        The rows that were evaluated plainly, and have the round-off of that: they took another branch than x, or were
        not finite.
    rounded : bool
        Whether f used a function without a difference rule. If not, the values of all other rows are accurate
        relative to themselves, however small the step.
    """

    base: Any
    values: Array
    plain: NDArray[np.intp]
    rounded: bool


def boxes(start: int, stop: int, shape: Shape) -> Iterator[tuple[int, int, Shape, tuple[Dim, ...]]]:
    """Cut a range of flat positions into boxes: (begin, end, position, dims)."""
    if not shape:
        yield start, stop, (), ()
        return
    inner = int(np.prod(shape[1:]))
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


def initial_slots(shape: Shape, index: NDArray[np.intp], d: Array) -> Slots:
    """The slots of x itself: each row changes one entry, by d[:, row]."""
    first = int(index[0])
    if index[-1] - first != len(index) - 1 or (np.diff(index) != 1).any():
        return ((Entries(np.arange(len(index)), index), d),)
    slots = []
    for begin, end, position, dims in boxes(first, first + len(index), shape):
        part = d[:, begin - first : end - first].reshape(d.shape[0], *(dim.length for dim in dims))
        slots.append((Box(begin - first, position, dims), part))
    return tuple(slots)


def lift(
    f: Callable[..., Any],
    x: Array,
    index: NDArray[np.intp],
    d: Array,
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
    cells: int = MOST_CELLS,
) -> Lifted:
    """Call f once on all points of a run.

    Parameters
    ----------
    index : ndarray of intp, shape (m,)
        The flat position of the entry that row r changes.
    d : ndarray, shape (k, m)
        What is added to it.

    Raises
    ------
    CannotLift
        If f does something that a sparse bundle does not support, whatever it raised then.
    TooWide
        If the rows change so many entries that fewer at a time are better.
    """
    run = Run(d.shape[1], d.shape[0], cells)
    bundle = SparseBundle(x.copy(), initial_slots(x.shape, index, d), run)
    signals = raised()
    try:
        with np.errstate(all="ignore"):
            value = f(bundle, *args, **kwargs)
    except (CannotLift, TooWide):
        raise
    except Exception as error:
        raise CannotLift(f"f raised {type(error).__name__} on a sparse bundle: {error}") from error
    if raised() != signals:
        raise CannotLift("f caught the refusal of an operation")
    if not isinstance(value, SparseBundle):
        raise CannotLift("f's result does not depend on its argument, or is not one array")
    if value.dtype.kind != "f":
        raise CannotLift(f"f returned {value.dtype}")
    return Lifted(value.base, value.slots, run)


def sweep(
    f: Callable[..., Any],
    x: Array,
    index: NDArray[np.intp],
    points: Array,
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> Swept:
    """Evaluate f at x with one entry replaced, for many points at once.

    Parameters
    ----------
    f : callable
        A numpy function written for one point, ``f(x, *args, **kwargs)``.
    x : ndarray of float64, C-contiguous
        The common point.
    index : ndarray of intp, shape (m,)
        The flat position that row r replaces.
    points : ndarray, shape (m, k)
        The values it takes.

    Returns
    -------
    Swept
        f(x), and f at the points less f(x).

    Raises
    ------
    CannotLift
        If f cannot be evaluated like this.
    """
    keep_freed_memory()
    rows, _ = points.shape
    if not rows or not x.size:
        raise CannotLift("there is nothing to perturb")
    if index[-1] - index[0] == rows - 1 and (np.diff(index) == 1).all():
        return _consecutive(f, x, index, points, args, kwargs)
    # neighbours at fixed offsets are worth more than a short list, and f may take only them
    if len(np.unique(index)) < rows or x.size > max(4 * rows, MANY):
        try:
            return _consecutive(f, x, index, points, args, kwargs)
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
        base, all_values, not_lifted, rounding = _consecutive(f, x, np.arange(x.size), everywhere, args, kwargs)
        if values is None:
            values = np.empty((rows, *all_values.shape[1:]), dtype=all_values.dtype)
        values[mine] = all_values[index[mine]]
        plain.append(mine[np.isin(index[mine], not_lifted)])
        rounded |= rounding
    return Swept(base, values, np.concatenate(plain), rounded)


def _inside(lifted: Lifted) -> Array:
    """Spread the differences out; a fault of ours is a reason not to lift, and no error of the caller's."""
    try:
        return lifted.differences()
    except (CannotLift, TooWide):
        raise
    except Exception as error:
        raise CannotLift(f"{type(error).__name__} in the sparse lift itself: {error}") from error


def _consecutive(
    f: Callable[..., Any],
    x: Array,
    index: NDArray[np.intp],
    points: Array,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Swept:
    """As `sweep`, for coordinates that are worth one run as they are."""
    rows, columns = points.shape
    d = np.ascontiguousarray((points - x.reshape(-1)[index][:, None]).T)
    inner = x.size // x.shape[0] if x.ndim else 1
    together, begin = rows, 0
    parts: list[Array] = []
    lost: list[Array] = []
    base: Any = None
    rounded = False
    while begin < rows:
        part = slice(begin, begin + together)
        cells = CELLS if min(together, rows - begin) > FEWEST_ROWS else MOST_CELLS
        try:
            lifted = lift(f, x, index[part], d[:, part], args=args, kwargs=kwargs, cells=cells)
            differences = _inside(lifted)
        except TooWide as wide:
            now = min(together, rows - begin)
            together = min(now - 1, max(FEWEST_ROWS if now > FEWEST_ROWS else 1, int(CELLS / wide.per_row)))
            if together > inner:
                together -= together % inner
            continue
        base = lifted.base
        rounded |= lifted.run.rounded
        if not np.isfinite(base).all():
            raise CannotLift("f is not finite at x")
        bad = lifted.run.lost | ~np.isfinite(differences).all(axis=(0, *range(2, differences.ndim)))
        lost.append(begin + np.flatnonzero(bad))
        parts.append(np.moveaxis(differences, 0, 1))
        begin += together
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    again = np.concatenate(lost)
    if again.size > 2 + rows // 8:
        raise CannotLift("the points take different branches, or f is not finite at many of them")
    for row in again:
        for column in range(columns):
            point = x.astype(points.dtype)
            point.flat[index[row]] = points[row, column]
            values[row, column] = np.asarray(f(point, *args, **kwargs)) - base
    return Swept(base if np.ndim(base) else float(base), values, again, rounded)
