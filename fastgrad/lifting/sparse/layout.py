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
    """Differences at fixed offsets."""

    row: int  # the row of the first difference
    start: Shape  # its position in f's array
    # one for each axis of the differences after the first; left-over ones first, then by array axis
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


@lru_cache(maxsize=4096)
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


@lru_cache(maxsize=4096)
def by_rows(box: Box) -> tuple[int, Shape, int, Shape]:
    """How many differences a box has, their lengths; the first row, and how many bytes along each axis the rows go."""
    return box.size, tuple(dim.length for dim in box.dims), box.row, tuple(8 * dim.row for dim in box.dims)


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


@lru_cache(maxsize=4096)
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
    out, shape, spread = _stretched(box, old, new)
    return out, np.broadcast_to(d.reshape(len(d), *shape), (len(d), *spread)) if shape != spread else d


@lru_cache(maxsize=4096)
def _stretched(box: Box, old: Shape, new: Shape) -> tuple[Box, Shape, Shape]:
    """The box of a stretched array, and the lengths of its differences before and after."""
    extra = len(new) - len(old)
    box = insert_axes(box, tuple(range(extra))) if extra else box
    stretched = [j for j in range(len(new)) if new[j] != 1 and (j < extra or old[j - extra] == 1)]
    dims = list(box.dims)
    shape = [dim.length for dim in dims]
    spread = shape.copy()
    for j in stretched:
        at = sum(1 for dim in dims if dim.axis < j)
        if at < len(dims) and dims[at].axis == j:  # a tie to an axis of length 1: the row is left over
            dim = dims.pop(at)
            if dim.length != 1:
                raise AssertionError("an axis of length 1 has one position")
            box = box._replace(start=(*box.start[:j], 0, *box.start[j + 1 :]))
            del shape[at], spread[at]
        dims.insert(at, Dim(new[j], 0, j, 1))
        shape.insert(at, 1)
        spread.insert(at, new[j])
    return box._replace(dims=tuple(dims)), tuple(shape), tuple(spread)


def reshape(box: Box, d: Array, old: Shape, new: Shape) -> tuple[Box, Array] | None:
    """Reshape; None if the positions do not stay at fixed offsets."""
    found = reshaped(box, old, new)
    return None if found is None else (found, d.reshape(len(d), *by_rows(found)[1]))


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
