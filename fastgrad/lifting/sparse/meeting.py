"""Several boxes in one array: how two of them lie, and a plan of how the differences of operands come together.

A plan follows from the boxes alone, and is remembered: a function of this kind, evaluated again, finds all of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..arraylike import Array
from .layout import NO_AXIS, Box, Dim, Entries, Layout, Shape, c_strides, scalar_box


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
    """Where a box lies in a larger one, which differs at each of its rows wherever it differs at all."""

    first: tuple[int, ...]  # of the first difference: how far along each axis of the larger box's differences
    moves: tuple[tuple[int, ...], ...]  # the same, of one step along each axis of the smaller one's


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


# ---------------------------------------------------------------------------------------------------------------
# Plans
# ---------------------------------------------------------------------------------------------------------------

MOST_SLOTS = 40  # more of them are listed entry by entry


class Part(NamedTuple):
    """The differences of one slot of an operand among those of a box: at these places, added to what is there."""

    slot: int
    lengths: Shape
    inside: Inside


class Put(NamedTuple):
    """The same as numpy takes it: in entries of a C-contiguous array."""

    slot: int
    lengths: Shape
    offset: int
    strides: Shape


class Assembly(NamedTuple):
    """How the differences of a box are made of those of some slots."""

    lengths: Shape  # of the box
    size: int  # number of differences
    parts: tuple[Put, ...]  # to be added up in this order
    whole: int  # the first so many of them are alike, and have all that there is, in order


Made = int | Assembly | None  # the slot itself, what is made of some, or nothing that differs
Found = list[tuple[Layout, list[list[Part]]]]  # layouts, and the parts of each operand there


class Meeting(NamedTuple):
    """How the differences of operands come together."""

    layouts: tuple[tuple[Layout, tuple[Made, ...]], ...]
    # pairs of the above that overlap: which they are, and what they have in common, as an index into each
    common: tuple[tuple[int, int, Any, Any], ...] = ()


def _own(slot: int, layout: Layout) -> Part:
    """A slot as the whole of its own layout."""
    lengths = tuple(dim.length for dim in layout.dims) if isinstance(layout, Box) else (layout.size,)
    return Part(slot, lengths, Inside((0,) * len(lengths), _unit(len(lengths), range(len(lengths)))))


def _unit(axes: int, which: Iterable[int]) -> tuple[Shape, ...]:
    """Steps along some of so many axes; -1 is no step."""
    return tuple(tuple(int(i == axis) for i in range(axes)) for axis in which)


def _moved(parts: Iterable[Part], where: Inside) -> list[Part]:
    """The same parts as those of a larger box, in which theirs lies there."""
    axes = range(len(where.first))

    def steps(here: Shape) -> Shape:
        return tuple(sum(n * move[i] for n, move in zip(here, where.moves, strict=True)) for i in axes)

    return [
        Part(
            part.slot,
            part.lengths,
            Inside(
                tuple(a + b for a, b in zip(where.first, steps(part.inside.first), strict=True)),
                tuple(map(steps, part.inside.moves)),
            ),
        )
        for part in parts
    ]


def _in_hull(box: Box, at: tuple[slice, ...]) -> Inside:
    """Where a box lies in a hull, which may know an axis more of one position."""
    longer = iter([i for i, part in enumerate(at) if part.stop - part.start > 1])
    which = [next(longer) if dim.length > 1 else -1 for dim in box.dims]
    return Inside(tuple(part.start for part in at), _unit(len(at), which))


def _within(box: Box, rows: int) -> bool:
    """Whether a box has only rows of the run: a lattice around two boxes may reach farther than both."""
    last = box.row
    for dim in box.dims:
        last += dim.row * (dim.length - 1)
    return box.row >= 0 and last < rows


def _joined(found: Found, layout: Layout, parts: list[list[Part]], rows: int) -> None:
    """Add differences to those found, on a common lattice where there is one."""
    for i, (other, others) in enumerate(found):
        if other == layout:
            found[i] = other, [mine + more for mine, more in zip(others, parts, strict=True)]
            return
        if isinstance(other, Box) and isinstance(layout, Box):
            hull = relation(other, layout)
            if isinstance(hull, Hull) and _within(hull.box, rows):
                del found[i]
                first, second = _in_hull(other, hull.first[1:]), _in_hull(layout, hull.second[1:])
                merged = [_moved(e, first) + _moved(d, second) for e, d in zip(others, parts, strict=True)]
                _joined(found, hull.box, merged, rows)
                return
    found.append((layout, parts))


def _heaped(boxes: tuple[Box, ...], before: int = 0) -> list[tuple[Box, list[Part]]]:
    """The same boxes, fewer of them: those side by side are one box. So many slots are counted before these."""
    heap = [(box, [_own(slot, box)]) for slot, box in enumerate(boxes, before)]
    while len(heap) > 1:
        piles = piled(tuple(box for box, _ in heap))
        if not piles:
            break
        made = []
        for box, which, at in piles:
            axes = len(box.dims)
            others = _unit(axes, [i for i in range(axes) if i != at])
            parts = []
            for n, i in enumerate(which):
                parts += _moved(heap[i][1], Inside(tuple(n * (i == at) for i in range(axes)), others))
            made.append((box, parts))
        used = {i for _, which, _ in piles for i in which}
        heap = [pair for i, pair in enumerate(heap) if i not in used] + made
    return heap


def _absorbed(found: Found) -> None:
    """Add what lies in a larger box to that: a box less to look after is worth its few differences more."""
    found.sort(key=lambda item: -item[0].size)
    j = 1
    while j < len(found):
        small, parts = found[j]
        for i in range(j):
            big, ours = found[i]
            where = inside(big, small) if isinstance(big, Box) and isinstance(small, Box) else None
            if where is not None:
                found[i] = big, [mine + _moved(more, where) for mine, more in zip(ours, parts, strict=True)]
                del found[j]
                break
        else:
            j += 1


def _made(layout: Layout, parts: Sequence[Part]) -> Made:
    """What is made of some parts of a layout."""
    if not parts:
        return None
    lengths = tuple(dim.length for dim in layout.dims) if isinstance(layout, Box) else (layout.size,)
    strides = c_strides(lengths)
    puts = []
    for part in parts:
        offset, *steps = (
            sum(n * step for n, step in zip(move, strides, strict=True))
            for move in (part.inside.first, *part.inside.moves)
        )
        puts.append(Put(part.slot, part.lengths, offset, tuple(steps)))
    size, whole = prod(lengths), 0
    for put in puts:
        shorter = [pair for pair in zip(put.lengths, put.strides, strict=True) if pair[0] > 1]
        if prod(put.lengths) < size or [step for _, step in shorter] != list(c_strides(tuple(n for n, _ in shorter))):
            break
        whole += 1
    if whole == len(puts) == 1 and puts[0].lengths == lengths:
        return puts[0].slot
    return Assembly(lengths, size, tuple(puts), whole)


def _finished(found: Found, common: Sequence[tuple[int, int, Any, Any]] = ()) -> Meeting:
    layouts = tuple((layout, tuple(_made(layout, each) for each in parts)) for layout, parts in found)
    return Meeting(layouts, tuple(common))


def _sums(first: tuple[Layout, ...], second: tuple[Layout, ...], rows: int) -> Meeting:
    found: Found = [(layout, [[_own(slot, layout)]]) for slot, layout in enumerate(first)]
    for slot, layout in enumerate(second, len(first)):
        _joined(found, layout, [[_own(slot, layout)]], rows)
    return _finished(found)


_known_sums = lru_cache(maxsize=4096)(_sums)


def sums(first: tuple[Layout, ...], second: tuple[Layout, ...], rows: int) -> Meeting:
    """The layouts of a sum, whose slots are those of both operands together."""
    listed = Entries in map(type, first + second)  # arrays, not to be kept
    return (_sums if listed else _known_sums)(first, second, rows)


@lru_cache(maxsize=4096)
def packed(boxes: tuple[Box, ...]) -> Meeting:
    """As few boxes as hold the same."""
    found: Found = [(box, [parts]) for box, parts in _heaped(boxes)]
    _absorbed(found)
    return _finished(found)


@lru_cache(maxsize=4096)
def meeting(operands: tuple[tuple[Box, ...], ...], rows: int) -> Meeting | None:
    """The layouts in which each (row, position) of some operands differs once at most; None if there are too many.

    The slots of all operands are counted on.
    """
    found: Found = []
    before = 0
    for i, boxes in enumerate(operands):
        heap = _heaped(boxes, before)
        before += len(boxes)
        for box, parts in heap:
            _joined(found, box, [parts if i == j else [] for j in range(len(operands))], rows)
    _absorbed(found)
    if len(found) > MOST_SLOTS:
        return None
    common = []
    for j in range(1, len(found)):
        for i in range(j):
            big, small = found[i][0], found[j][0]
            assert isinstance(big, Box)
            assert isinstance(small, Box)
            if relation(big, small) is DISJOINT:
                continue
            both = intersection(big, small)
            if both is None:
                return None
            if both[0]:
                common.append((i, j, *both))
    return _finished(found, common)
