"""Where the perturbed entries of an array are: boxes at fixed offsets, or a list of entries.

Row r of a sweep perturbs one entry of x. What it changes in an array that f computes is described once for all
rows, by the axes of an array of differences d of shape (k, length, length, ...): one step along such an axis
changes the row by `row`, the position along one axis of f's array by `step`, or both.

===========  ========  =====================================================================================
row step     axis      meaning
===========  ========  =====================================================================================
not 0        j         tied: the entry moves along axis j with the row, as in ``x[1:]``
0            j         free: every row changes all these positions along axis j, as in ``A @ x``
not 0        none      left over: the rows differ, the position does not, as in ``np.sum(x)``
===========  ========  =====================================================================================

Slices, transposes and reductions only edit this description, and two arrays meet without searching or sorting.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arraylike import Array

Shape = tuple[int, ...]
NO_AXIS = -1


class Dim(NamedTuple):
    """One axis of the differences: what a step along it does to the row and to the position."""

    length: int
    row: int
    axis: int
    step: int


class Box(NamedTuple):
    """Differences at fixed offsets.

    Attributes
    ----------
    row : int
        The row of the first difference.
    start : tuple of int
        Its position in f's array.
    dims : tuple of Dim
        One for each axis of the differences after the first; left-over ones first, then by array axis.
    """

    row: int
    start: Shape
    dims: tuple[Dim, ...]

    @property
    def size(self) -> int:
        """Number of differences in each column."""
        size = 1
        for dim in self.dims:
            size *= dim.length
        return size


class Entries:
    """Differences at any (row, flat position), in the order of rows, then positions, each at most once."""

    __slots__ = ("position", "row")

    def __init__(self, row: NDArray[np.intp], position: NDArray[np.intp]) -> None:
        self.row, self.position = row, position

    @property
    def size(self) -> int:
        """Number of differences in each column."""
        return self.row.size


Layout = Box | Entries
Slot = tuple[Layout, Array]


def scalar_box(row: int, rows: int) -> Box:
    """The box of a scalar that differs in some consecutive rows."""
    return Box(row, (), (Dim(rows, 1, NO_AXIS, 0),))


@lru_cache(maxsize=4096)
def window(box: Box) -> tuple[slice | int, ...]:
    """The index of a box's positions in f's array; their axes broadcast against the differences."""
    index: list[slice | int] = list(box.start)
    for length, _, axis, step in box.dims:
        if axis != NO_AXIS:
            first = box.start[axis]
            stop = first + step * length
            index[axis] = slice(first, stop if stop >= 0 else None, step)
    return tuple(index)


def flat_indices(box: Box, shape: Shape) -> tuple[Array, Array]:
    """The rows and the flat positions of a box's differences, each shaped like them."""
    strides = c_strides(shape)
    row: Any = np.asarray(box.row)
    position: Any = np.asarray(sum(p * s for p, s in zip(box.start, strides, strict=True)))
    lengths = tuple(dim.length for dim in box.dims)
    for i, (length, row_step, axis, step) in enumerate(box.dims):
        t = np.arange(length).reshape((length,) + (1,) * (len(lengths) - i - 1))
        row = row + row_step * t
        if axis != NO_AXIS:
            position = position + step * strides[axis] * t
    return np.broadcast_to(row, lengths), np.broadcast_to(position, lengths)


def c_strides(shape: Shape) -> Shape:
    """How far apart in flat C order two neighbours along each axis are."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


# ---------------------------------------------------------------------------------------------------------------
# Views: the box, and the index that takes its differences out of the old ones
# ---------------------------------------------------------------------------------------------------------------

Item = int | tuple[int, int, int]  # a position, or (start, step, length)


@lru_cache(maxsize=4096)
def take(box: Box, items: tuple[Item, ...]) -> tuple[Box, tuple[slice | int, ...]] | None:
    """Apply one basic index to each axis; None if no difference is left."""
    row = box.row
    dims: list[Dim] = []
    start: list[int] = []
    by_axis = {dim.axis: dim for dim in box.dims if dim.axis != NO_AXIS}
    index: list[slice | int] = [slice(None)]
    for dim in box.dims:
        if dim.axis == NO_AXIS:
            dims.append(dim)
            index.append(slice(None))
    for axis, (item, first) in enumerate(zip(items, box.start, strict=True)):
        tie = by_axis.get(axis)
        length, row_step, _, step = tie or (1, 0, axis, 1)
        if isinstance(item, int):
            t, rest = divmod(item - first, step)
            if rest or not 0 <= t < length:
                return None
            row += row_step * t
            if tie:
                index.append(t)
            continue
        origin, stride, count = item
        # positions first + step*t that are origin + stride*u with 0 <= u < count
        common = gcd(step, stride)
        if (origin - first) % common:
            return None
        every = abs(stride) // common
        t = (origin - first) // common * pow(step // common, -1, every) % every if every > 1 else 0
        u, step_u = (first + step * t - origin) // stride, step * every // stride
        left = (length - t + every - 1) // every  # how many t remain
        if step_u > 0:
            skip = max(0, -(u // step_u))
            left = min(left, (count - 1 - u) // step_u + 1)
        else:
            skip = max(0, -((count - 1 - u) // -step_u))
            left = min(left, u // -step_u + 1)
        t, u, left = t + every * skip, u + step_u * skip, left - skip
        if left <= 0 or t >= length:
            return None
        row += row_step * t
        if tie:
            dims.append(Dim(left, row_step * every, len(start), step_u))
            index.append(slice(t, t + every * (left - 1) + 1, every))
        start.append(u)
    return Box(row, tuple(start), tuple(dims)), tuple(index)


def place(box: Box, items: tuple[Item, ...]) -> Box:
    """The inverse of `take`: the box of an array that is written at these items of a larger one."""
    start, renamed, axis = [], {NO_AXIS: (NO_AXIS, 0)}, 0
    for at, item in enumerate(items):
        if isinstance(item, int):
            start.append(item)
        else:
            start.append(item[0] + item[1] * box.start[axis])
            renamed[axis] = at, item[1]
            axis += 1
    dims = tuple(Dim(n, r, renamed[a][0], s * renamed[a][1]) for n, r, a, s in box.dims)
    return Box(box.row, tuple(start), dims)


def permute(box: Box, axes: Shape) -> tuple[Box, Shape]:
    """Transpose; also the transposition of the differences."""
    start = tuple(box.start[a] for a in axes)
    moved = [dim if dim.axis == NO_AXIS else dim._replace(axis=axes.index(dim.axis)) for dim in box.dims]
    order = sorted(range(len(moved)), key=lambda i: (moved[i].axis, i if moved[i].axis == NO_AXIS else 0))
    return Box(box.row, start, tuple(moved[i] for i in order)), (0, *(i + 1 for i in order))


@lru_cache(maxsize=4096)
def insert_axes(box: Box, where: Shape) -> Box:
    """Insert axes of length 1, at these places of the result."""
    start = list(box.start)
    for at in where:
        start.insert(at, 0)
    kept = [a for a in range(len(start)) if a not in where]
    dims = tuple(dim if dim.axis == NO_AXIS else dim._replace(axis=kept[dim.axis]) for dim in box.dims)
    return Box(box.row, tuple(start), dims)


def broadcast(box: Box, d: Array, old: Shape, new: Shape) -> tuple[Box, Array]:
    """Stretch axes of length 1: the same difference at all positions."""
    extra = len(new) - len(old)
    box = insert_axes(box, tuple(range(extra))) if extra else box
    stretched = [j for j in range(len(new)) if new[j] != 1 and (j < extra or old[j - extra] == 1)]
    if not stretched:
        return box, d
    shape = [d.shape[0], *(dim.length for dim in box.dims)]
    spread = shape.copy()
    dims = list(box.dims)
    for j in stretched:
        at = sum(1 for dim in dims if dim.axis < j)
        if at < len(dims) and dims[at].axis == j:  # a tie to an axis of length 1: the row is left over
            dim = dims.pop(at)
            if dim.length != 1:
                raise AssertionError("an axis of length 1 has one position")
            box = box._replace(start=(*box.start[:j], 0, *box.start[j + 1 :]))
            del shape[at + 1], spread[at + 1]
        dims.insert(at, Dim(new[j], 0, j, 1))
        shape.insert(at + 1, 1)
        spread.insert(at + 1, new[j])
    return box._replace(dims=tuple(dims)), np.broadcast_to(d.reshape(shape), spread)


def reshape(box: Box, d: Array, old: Shape, new: Shape) -> tuple[Box, Array] | None:
    """Reshape; None if the positions do not stay at fixed offsets."""
    found = reshaped(box, old, new)
    return None if found is None else (found, d.reshape(d.shape[0], *(dim.length for dim in found.dims)))


@lru_cache(maxsize=4096)
def reshaped(box: Box, old: Shape, new: Shape) -> Box | None:
    """The box of a reshaped array, the order of whose differences is that of the old one's."""
    by_axis = {dim.axis: dim for dim in box.dims}
    dims = [dim for dim in box.dims if dim.axis == NO_AXIS]
    start: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):
        # the shortest groups of axes, old[i:i2] and new[j:j2], with the same number of elements
        i2, j2 = min(i + 1, len(old)), min(j + 1, len(new))
        size_old = old[i] if i < len(old) else 1
        size_new = new[j] if j < len(new) else 1
        while size_old != size_new:
            if size_old < size_new:
                size_old *= old[i2]
                i2 += 1
            else:
                size_new *= new[j2]
                j2 += 1
        # fuse the old group into one axis: a position and at most one run
        first, run, inner = 0, Dim(1, 0, 0, 1), 1
        for axis in range(i2 - 1, i - 1, -1):
            first += inner * box.start[axis]
            if axis in by_axis:
                dim = by_axis[axis]
                if run.length == 1:
                    run = Dim(dim.length, dim.row, 0, dim.step * inner)
                elif dim.length > 1:
                    joins = dim.row == run.row * run.length and dim.step * inner == run.step * run.length
                    if not joins:
                        return None
                    run = run._replace(length=run.length * dim.length)
            inner *= old[axis]
        length, row, _, step = run
        present = any(axis in by_axis for axis in range(i, i2))
        # split it over the new group
        sizes = new[j:j2]
        inners = c_strides(sizes)
        digits = [first // inner % size for inner, size in zip(inners, sizes, strict=True)] if size_new else []
        if length == 1:
            start.extend(digits)
            if present and sizes:  # keep the tie, so that neighbours still recognise it
                dims.append(Dim(1, row, j2 - 1, 1))
        elif len(sizes) == 1:
            start.append(first)
            dims.append(Dim(length, row, j, step))
        else:
            start.extend(digits)
            done = 1
            inner_dims = []
            for at in range(len(sizes) - 1, -1, -1):
                size, inner = sizes[at], inners[at]
                if done == length or size == 1:
                    continue
                if step * done % inner:
                    return None
                stride = step * done // inner
                remaining = length // done
                whole = digits[at] == 0 and stride == 1 and remaining % size == 0
                fits = 0 <= digits[at] + stride * (remaining - 1) < size
                if stride == 0 or (not whole and not fits):
                    if step * done % (inner * size):
                        return None
                    continue
                count = size if whole and remaining >= size else remaining
                inner_dims.append(Dim(count, row * done, j + at, stride))
                done *= count
            if done != length:
                return None
            dims.extend(reversed(inner_dims))
        i, j = i2, j2
    return Box(box.row, tuple(start), tuple(dims))


@lru_cache(maxsize=4096)
def refined(old: Shape, new: Shape) -> Shape | None:
    """The coarsest shape that is made of both by splitting axes; None if there is none."""
    ends = {*c_strides(old), *c_strides(new), max(1, prod(old))}
    steps = sorted(ends, reverse=True)
    if 0 in steps or any(outer % inner for outer, inner in pairwise(steps)):
        return None
    return tuple(outer // inner for outer, inner in pairwise(steps))


@lru_cache(maxsize=4096)
def groups(shape: Shape, split: Shape) -> tuple[range, ...]:
    """The axes that each axis of a shape is split into."""
    found, at = [], 0
    for length in shape:
        begin, size = at, 1
        while size < length:
            size *= split[at]
            at += 1
        found.append(range(begin, at))
    return tuple(found)


# ---------------------------------------------------------------------------------------------------------------
# Two boxes in one array
# ---------------------------------------------------------------------------------------------------------------


class Hull(NamedTuple):
    """Two boxes on one lattice: the smallest box around both, and where each lies in it."""

    box: Box
    first: tuple[slice, ...]
    second: tuple[slice, ...]


DISJOINT, OVERLAPPING = "disjoint", "overlapping"
NEARBY = 4096  # rows between two scalars' rows that cost less than a slot more


def _conformed(box: Box, other: Box) -> Box:
    """Give a box the ties of the other where it has only one position, which any tie describes."""
    mine = {dim.axis: dim for dim in box.dims if dim.axis != NO_AXIS}
    theirs = {dim.axis: dim for dim in other.dims if dim.axis != NO_AXIS}
    rows = {dim.row: dim for dim in box.dims if dim.axis == NO_AXIS and dim.length > 1}
    for dim in other.dims:
        if dim.axis == NO_AXIS:
            rows.setdefault(dim.row, dim._replace(length=1))
    for axis, dim in theirs.items():
        if axis not in mine or mine[axis].length == 1:
            mine[axis] = dim._replace(length=1)
    dims = sorted(rows.values(), key=lambda dim: -dim.row) + [mine[axis] for axis in sorted(mine)]
    return box._replace(dims=tuple(dims))


@lru_cache(maxsize=4096)
def relation(a: Box, b: Box) -> Hull | str:
    """How two boxes lie: on one lattice (a Hull), disjoint, or overlapping in some other way."""
    if not a.start and not b.start and len(a.dims) == len(b.dims) == 1:
        low = min(a.row, b.row)
        size_a, size_b = a.dims[0].length, b.dims[0].length
        count = max(a.row + size_a, b.row + size_b) - low
        if count > 4 * (size_a + size_b) + NEARBY and _apart(a, b):
            return DISJOINT
        of_a, of_b = slice(a.row - low, a.row - low + size_a), slice(b.row - low, b.row - low + size_b)
        return Hull(scalar_box(low, count), (slice(None), of_a), (slice(None), of_b))
    first, second = _conformed(a, b), _conformed(b, a)
    signature = [dim[1:] for dim in first.dims]
    if signature != [dim[1:] for dim in second.dims]:
        return DISJOINT if _apart(a, b) else OVERLAPPING
    tied = {dim.axis for dim in first.dims}
    if any(p != q for j, (p, q) in enumerate(zip(a.start, b.start, strict=True)) if j not in tied):
        return DISJOINT
    rest = second.row - first.row
    shifts = [0] * len(signature)
    for i, (row, axis, step) in enumerate(signature):
        if axis != NO_AXIS:
            shift, odd = divmod(second.start[axis] - first.start[axis], step)
            if odd:
                return DISJOINT
            shifts[i] = shift
            rest -= row * shift
    left_over = [i for i, (_, axis, _) in enumerate(signature) if axis == NO_AXIS]
    for i in left_over:
        row = signature[i][0]
        shifts[i] = round(rest / row) if len(left_over) > 1 else rest // row
        rest -= row * shifts[i]
    if rest:
        return DISJOINT if len(left_over) <= 1 or _apart(a, b) else OVERLAPPING
    lengths, at_first, at_second = [], [], []
    for shift, m, n in zip(shifts, first.dims, second.dims, strict=True):
        low, high = min(0, shift), max(m.length, shift + n.length)
        lengths.append(high - low)
        at_first.append(slice(-low, m.length - low))
        at_second.append(slice(shift - low, shift - low + n.length))
    if not _once_each(dim._replace(length=n) for dim, n in zip(first.dims, lengths, strict=True)):  # in the hull, too
        return DISJOINT if _apart(a, b) else OVERLAPPING
    if prod(lengths) > 4 * (a.size + b.size) and _apart(a, b):
        return DISJOINT
    row, start = first.row, list(first.start)
    dims = []
    for at, length, dim in zip(at_first, lengths, first.dims, strict=True):
        row -= dim.row * at.start
        if dim.axis != NO_AXIS:
            start[dim.axis] -= dim.step * at.start
        dims.append(dim._replace(length=length))
    return Hull(Box(row, tuple(start), tuple(dims)), (slice(None), *at_first), (slice(None), *at_second))


def _apart(a: Box, b: Box) -> bool:
    """Whether the rows, or the positions along one axis, are in separate ranges."""
    spans = []
    for box in (a, b):
        low, high = [box.row, *box.start], [box.row, *box.start]
        for length, row, axis, step in box.dims:
            high[0] += row * (length - 1)
            if axis != NO_AXIS:
                (high if step > 0 else low)[axis + 1] += step * (length - 1)
        spans.append((low, high))
    (low_a, high_a), (low_b, high_b) = spans
    return any(ha < lb or hb < la for la, ha, lb, hb in zip(low_a, high_a, low_b, high_b, strict=True))


class Inside(NamedTuple):
    """Where a box lies in a larger one, which differs at each of its rows wherever it differs at all.

    Attributes
    ----------
    first : tuple of int
        Of the first difference: how far along each axis of the larger box's differences.
    moves : tuple of tuple of int
        The same, of one step along each axis of the smaller one's.
    """

    first: tuple[int, ...]
    moves: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=4096)
def inside(big: Box, small: Box) -> Inside | None:
    """Where all of a box lies in another one whose rows and positions do not depend on each other; None if not."""
    rows, *more = [i for i, dim in enumerate(big.dims) if dim.row] or [-1]
    if more or (rows >= 0 and big.dims[rows].axis != NO_AXIS):
        return None
    free = {dim.axis: i for i, dim in enumerate(big.dims) if dim.axis != NO_AXIS}
    first, last = [0] * len(big.dims), [0] * len(big.dims)
    moves = [[0] * len(big.dims) for _ in small.dims]
    # along the rows, and along each array axis: which axis of the differences that is, and how far apart they begin
    ways = [(rows, small.row - big.row, [dim.row for dim in small.dims])]
    for axis, (there, here) in enumerate(zip(big.start, small.start, strict=True)):
        steps = [dim.step if dim.axis == axis else 0 for dim in small.dims]
        ways.append((free.get(axis, -1), here - there, steps))
    for at, offset, steps in ways:
        if at < 0:
            if offset or any(step and dim.length > 1 for step, dim in zip(steps, small.dims, strict=True)):
                return None
            continue
        unit = big.dims[at].row or big.dims[at].step
        if offset % unit or any(step % unit for step in steps):
            return None
        low = high = first[at] = offset // unit
        for i, (step, dim) in enumerate(zip(steps, small.dims, strict=True)):
            moves[i][at] = step // unit
            reach = moves[i][at] * (dim.length - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
        last[at] = high
        if low < 0 or high >= big.dims[at].length:
            return None
    return Inside(tuple(first), tuple(map(tuple, moves)))


Pile = tuple[Box, tuple[int, ...], int]  # the box of some boxes, which they are, and the new axis of the differences


@lru_cache(maxsize=4096)
def piled(boxes: tuple[Box, ...]) -> tuple[Pile, ...]:
    """Boxes that are alike and at even distances, along an axis of the array or from row to row, as one box."""
    axes = range(len(boxes[0].start))
    for along in (*reversed(axes), NO_AXIS):
        alike: dict[object, list[int]] = {}
        for i, box in enumerate(boxes):
            if along == NO_AXIS:
                alike.setdefault((box.start, box.dims), []).append(i)
            elif all(dim.axis != along for dim in box.dims):
                alike.setdefault((box.row, box.dims, box.start[:along], box.start[along + 1 :]), []).append(i)
        found = []
        for same in alike.values():
            where = [boxes[i].row if along == NO_AXIS else boxes[i].start[along] for i in same]
            same = [i for _, i in sorted(zip(where, same, strict=True))]
            where.sort()
            step = where[1] - where[0] if len(where) > 1 else 0
            if not step or any(b - a != step for a, b in pairwise(where)):
                continue
            box = boxes[same[0]]
            dim = Dim(len(same), step, NO_AXIS, 0) if along == NO_AXIS else Dim(len(same), 0, along, step)
            dims = sorted((*box.dims, dim), key=lambda dim: (dim.axis, -dim.row))
            if _once_each(dims):
                found.append((box._replace(dims=tuple(dims)), tuple(same), dims.index(dim)))
        if found:
            return tuple(found)
    return ()


def _once_each(dims: Iterable[Dim]) -> bool:
    """Whether no row is met twice: row steps that reach beyond all smaller ones together."""
    reach = 0
    for step, length in sorted((dim.row, dim.length) for dim in dims if dim.row):
        if step <= reach:
            return False
        reach += step * (length - 1)
    return True


@lru_cache(maxsize=4096)
def intersection(a: Box, b: Box) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """The common (row, position) pairs of two boxes, as an index into the differences of each.

    None where they have no simple form; both indices are empty tuples where there are none.
    """
    steps = sorted({dim.row for box in (a, b) for dim in box.dims if dim.row}, reverse=True)
    ranges = []  # of each row digit, in the coordinates of a and of b
    row_a, row_b = a.row, b.row
    dims_a, dims_b = ({dim.row: dim for dim in box.dims if dim.row} for box in (a, b))
    if any(sum(1 for dim in box.dims if dim.row == step) > 1 for box in (a, b) for step in steps):
        return None
    for above, step in zip([0, *steps], steps, strict=False):
        length_a = dims_a[step].length if step in dims_a else 1
        length_b = dims_b[step].length if step in dims_b else 1
        digit_a, digit_b = row_a // step, row_b // step
        row_a, row_b = row_a % step, row_b % step
        if above and max(digit_a + length_a, digit_b + length_b) * step > above:
            return None  # the digits carry
        low, high = max(digit_a, digit_b), min(digit_a + length_a, digit_b + length_b)
        ranges.append((low - digit_a, low - digit_b, high - low))
    if row_a != row_b or any(count <= 0 for _, _, count in ranges):
        return (), ()
    axes_a, axes_b = ({dim.axis: dim for dim in box.dims if dim.axis != NO_AXIS} for box in (a, b))
    free = [j for j in axes_a if j in axes_b and axes_a[j].row == axes_b[j].row == 0]
    meshes = len(steps) + len(free)

    def mesh(i: int, length: int) -> Array:
        return np.arange(length).reshape((length,) + (1,) * (meshes - i - 1))

    at_a: dict[Dim, Any] = {}
    at_b: dict[Dim, Any] = {}
    keep: Any = np.True_
    for i, (step, (in_a, in_b, count)) in enumerate(zip(steps, ranges, strict=True)):
        t = mesh(i, count)
        for dims, at, offset in ((dims_a, at_a, in_a), (dims_b, at_b, in_b)):
            if step in dims:
                at[dims[step]] = t + offset
    for j, (p, q) in enumerate(zip(a.start, b.start, strict=True)):
        m, n = axes_a.get(j), axes_b.get(j)
        if j in free and m and n:
            if m.step != 1 or n.step != 1:
                return None
            low, high = max(p, q), min(p + m.length, q + n.length)
            if low >= high:
                return (), ()
            t = mesh(len(steps) + free.index(j), high - low)
            at_a[m], at_b[n] = t + (low - p), t + (low - q)
            continue
        position_a: Any = p + m.step * at_a[m] if m and m.row else None if m else p
        position_b: Any = q + n.step * at_b[n] if n and n.row else None if n else q
        if position_a is None or position_b is None:  # one of them is free: it holds the other's position
            dim, at, begin, position = (m, at_a, p, position_b) if position_a is None else (n, at_b, q, position_a)
            assert dim is not None
            if dim.step != 1:
                return None
            at[dim] = position - begin
            keep = keep & (at[dim] >= 0) & (at[dim] < dim.length)
        else:
            keep = keep & (np.asarray(position_a) == position_b)
    shape = np.broadcast_shapes(np.shape(keep), *(np.shape(t) for t in (*at_a.values(), *at_b.values())))
    chosen = np.nonzero(np.broadcast_to(keep, shape))
    if not chosen[0].size if shape else not keep:
        return (), ()

    def index(box: Box, at: dict[Dim, Any]) -> tuple[Any, ...]:
        return (slice(None), *(np.broadcast_to(at[dim], shape)[chosen] for dim in box.dims))

    return index(a, at_a), index(b, at_b)
