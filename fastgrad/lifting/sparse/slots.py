"""Differences of one array, and what can be done to them: meet, reduce, rearrange, contract, spread out.

A slot is a layout and the differences there, of shape (k, ...). The difference of an array in row r is the *sum* of its
slots, so linear operations never look at how slots lie to each other. Nonlinear ones first let them `meet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import inf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arraylike import Array
from ..signals import CannotLift, Outrun, Signal
from ..work import (
    FLOP,
    FUNCTION,
    HEAVY,
    MARGIN,
    SPARSE_ARRAY,
    SPARSE_CELL,
    SPARSE_FACTOR,
    SPARSE_FILL,
    SPARSE_FUNCTION,
    SPARSE_LISTED,
    SPARSE_RULE,
    SPARSE_SLOT,
    WIDE,
    WIDER,
    SparseWork,
    weight_at,
)
from .layout import (
    NO_AXIS,
    Box,
    Dim,
    Entries,
    Layout,
    Shape,
    Slot,
    c_strides,
    flat_indices,
    scalar_box,
    window,
)
from .meeting import MOST_SLOTS, Made, meeting, packed, sums

Slots = tuple[Slot, ...]
FILLED = 16  # times as many cells as entries are faster than entries
SMALL = 32  # entries of a slot, on average, that are listed rather than compared with many others
SHORT = 64  # sums over fewer neighbours are taken by np.einsum
ROUNDED = 2.0**-50  # of a value: by so much equal ones differ that were computed in two ways
MAGNIFIED = 2.0**60  # a factor that makes what underflowed worth a look
LOST = 2.0**-1000  # underflows lose less than this, times such a factor
# functions whose slope at 0 is infinite, by their names
STEEP = frozenset({
    "sqrt", "cbrt", "reciprocal", "log", "log2", "log10", "power", "float_power",
    "logit", "gammaln", "gamma", "psi", "exp1", "expi",
})  # fmt: skip
_FULL = "differences of many entries"


class TooWide(Signal):
    """The rows change so many entries that fewer rows at a time are better; says how many each changes."""

    def __init__(self, per_row: float) -> None:
        super().__init__(per_row)
        self.per_row = per_row


class Run:
    """One evaluation of f on some rows.

    `rows`, `columns`: how many points: `rows` coordinates, `columns` values of each.
    `cells`: how many differences of one column an array may have before `TooWide` is raised.
    `work`: of the sweep that this run is a part of.
    `lead`: over the dense lift, in counted work: the sweep's so far, and this run's.
    `counting`: whether what is made is to be counted, or to be looked at.
    `lost`: rows that took another branch than x; they are evaluated plainly afterwards.
    `filled`: an array of so many times as many cells as entries differ is filled with zeros; 1 keeps zeros out of
        patterns.
    `tied`: rows in which f chose between what is equal at x (``max(a, a)``, ``abs(0)``): f may have a kink there. None
        where nobody asks.
    `rounded`: whether some function had no rule, so that its differences carry the round-off of its values; or made
        much of what had underflowed.
    `faint`: whether anything underflowed: what is lost by that is nothing beside f, unless it is magnified.
    """

    __slots__ = (
        "_array", "_cell", "_number", "cells", "columns", "counting", "faint", "filled", "lead", "lost", "points",
        "rounded", "rows", "tied", "work",
    )  # fmt: skip

    def __init__(
        self, rows: int, columns: int, cells: int, work: SparseWork, ties: bool = False, filled: int = FILLED
    ) -> None:
        self.rows, self.columns, self.cells, self.work, self.filled = rows, columns, cells, work, filled
        self.points = rows * columns
        self.lead = work.lead
        self.counting = self.lead < inf or self.imaginary
        self._array, self._number, self._cell = work.of_dense(self.points)
        self.lost = np.zeros(rows, dtype=bool)
        self.tied = np.zeros(rows, dtype=bool) if ties else None
        self.rounded = self.faint = False

    def again(self) -> Run:
        """Return the same run, as before anything was done."""
        return Run(self.rows, self.columns, self.cells, self.work, self.tied is not None, self.filled)

    def takes(self, other: Run) -> None:
        """Note what another run of the same rows has found out."""
        self.lost |= other.lost
        self.rounded |= other.rounded
        self.faint |= other.faint
        self.lead = other.lead
        if self.tied is not None and other.tied is not None:
            self.tied |= other.tied

    imaginary = False  # a run at a complex point
    faintest = 2.0**-880  # differences of 2**-80 of what is smaller lose digits

    def underflows(self, *_: object) -> None:
        """Note that something underflowed: numpy calls this."""
        self.faint = True

    def magnifies(self, ufunc: np.ufunc, first: Any, second: Any = None) -> None:
        """Note a function that makes much of what may have underflowed."""
        if ufunc is np.multiply:
            much = max(np.abs(v).max(initial=0.0) for v in (first, second)) > MAGNIFIED
        elif ufunc is np.divide:
            much = np.abs(second).min(initial=1.0) < 1.0 / MAGNIFIED
        else:
            much = ufunc.__name__ in STEEP and np.abs(first).min(initial=1.0) < self.faintest
        self.rounded |= bool(much)

    def multiplied(self, d: Array, others: Sequence[Any], product: Array) -> None:
        """Look for underflows of np.einsum, of which numpy does not tell."""
        small = np.abs(product) < self.faintest
        if not self.faint and small.any():
            zeros = small & (product == 0)
            self.faint = not np.array_equal(zeros, small) or all(np.all(v) for v in (d, *others))

    watching = False  # a run that asks for what nonlinear operations bring together

    def meets(self, ufunc: np.ufunc | None, first: Slots, second: Slots, shape: Shape) -> None:
        """Note what meets at each position of two operands; asked for where `watching` only."""

    def allow(self, size: int) -> None:
        """Raise TooWide if an array with so many differences should not be made."""
        if size > self.cells and size > 8 * self.rows and self.rows > 1:
            raise TooWide(size / self.rows)

    def fills(self, entries: int, size: int) -> None:
        """Count the spreading to an array of this size that differs in so many entries; and on trial what makes it."""
        spreading = SPARSE_FILL * self.columns * entries
        cost = spreading + SPARSE_CELL * self.columns * entries
        if cost > self.lead and cost > self.lead + self._array + self._cell * size:
            raise Outrun(_FULL, to="dense")
        self.lead -= spreading

    def made(self, base: Any, slots: Slots) -> None:
        """Count an operation by its result: an array at x, and its differences."""
        cells = slots[0][1].size if len(slots) == 1 else sum([d.size for _, d in slots])
        if cells > WIDE:
            cells = int(WIDER * cells)
        lead = self.lead - SPARSE_CELL * cells - SPARSE_ARRAY
        if len(slots) > 1:
            lead -= SPARSE_SLOT * (len(slots) - 1)
        if not base.ndim:
            lead += self._number
        elif base.base is None:
            lead += self._array + self._cell * base.size
        else:  # a view
            lead += self._array
        self.lead = lead
        if lead < 0.0:
            raise Outrun(_FULL, to="dense")

    def function(self) -> None:
        """Count a function of numpy: it is made of several operations."""
        self.lead += (FUNCTION - 1) * self._array - SPARSE_FUNCTION

    def heavy(self, ufunc: np.ufunc, first: Any, size: int, cells: int) -> None:
        """Count beforehand what a function costs beyond `+`: all of an array of this size, here so many differences."""
        each = weight_at(ufunc, first)
        # rules of differences are made of faster functions; the result itself is counted when it is made
        own = SPARSE_RULE + min(each, 2 * HEAVY)
        self.lead += MARGIN * each * self.points * size
        self._spends(own * cells, self._cell * size)

    def product(self, multiplications: int) -> None:
        """Count a product of matrices, by the multiplications that one point takes."""
        self.lead += MARGIN * FLOP * self.points * multiplications

    def multiplies(self, multiplications: int, cells: int) -> None:
        """Count beforehand the multiplications of a product of so many differences."""
        self._spends(FLOP * multiplications + SPARSE_FACTOR * cells)

    def _spends(self, cost: float, coming: float = 0.0) -> None:
        self.lead -= cost
        if self.lead + coming < 0.0:
            raise Outrun(_FULL, to="dense")

    def listed(self, entries: int) -> None:
        """Count differences that are listed one by one."""
        self.lead -= SPARSE_LISTED * entries

    def note_ties(self, equal: Any, layout: Layout, d: Array | None) -> None:
        """Note the rows that differ where f chooses between what is equal at x, by the positions where it is."""
        if d is not None and self.tied is not None and np.any(equal):
            self.tied |= rows_of(((layout, (d != 0) & equal),), self)

    def note_ties_among(self, below: Any, sizes: Any, layout: Layout, d: Array) -> None:
        """Note the rows that move several extremes along the last axis apart; each entry is `below` the extreme."""
        if self.tied is None or not below.shape[-1]:
            return
        best = np.abs(below) <= ROUNDED * np.abs(at(sizes, layout))
        several = best & (best.sum(axis=-1, keepdims=True) > 1)
        if several.any():
            first = np.argmax(best, axis=-1)[..., None]
            first = first.reshape((1,) * (d.ndim - first.ndim) + first.shape)
            self.tied |= rows_of(((layout, (d != np.take_along_axis(d, first, axis=-1)) & several),), self)


def alike(a: Any, b: Any) -> Any:
    """Where two are equal but for rounding: then it is chance which of them is the larger one."""
    return (a == b) | (np.abs(a - b) <= ROUNDED * np.minimum(np.abs(a), np.abs(b)))


def at(array: Any, layout: Layout) -> Any:
    """The entries of an unperturbed array at a layout's positions."""
    if isinstance(layout, Box):
        return array[window(layout)]
    return np.ravel(array)[layout.position]


def entries_of(slots: Iterable[Slot], shape: Shape, run: Run) -> list[tuple[Array, Array, Array]]:
    """Row, flat position and differences of each slot, listed; a pair may occur in several."""
    listed = []
    for layout, d in slots:
        if isinstance(layout, Box):
            run.allow(layout.size)
            row, position = flat_indices(layout, shape)
            d = np.broadcast_to(d, (d.shape[0], *row.shape))
            listed.append((row.ravel(), position.ravel(), d.reshape(d.shape[0], -1)))
        else:
            listed.append((layout.row, layout.position, d))
    return listed


def as_entries(operands: Sequence[Slots], shape: Shape, run: Run) -> list[tuple[Layout, list[Array | None]]]:
    """Let any slots meet: one list of all entries that differ in any operand."""
    layouts = {id(slots[0][0]) if len(slots) == 1 else None for slots in operands if slots}
    if len(layouts) == 1 and None not in layouts:
        layout = next(slots[0][0] for slots in operands if slots)
        if isinstance(layout, Entries):
            return [(layout, [slots[0][1] if slots else None for slots in operands])]
    size = prod(shape)
    listed = [entries_of(slots, shape, run) for slots in operands]
    keys = [row * size + position for entries in listed for row, position, _ in entries]
    every = np.concatenate(keys)
    run.listed(every.size)
    unique, inverse = np.unique(every, return_inverse=True)
    row, position = np.divmod(unique, size)
    differences: list[Array | None] = []
    begin = 0
    for entries in listed:
        if not entries:
            differences.append(None)
            continue
        total = np.zeros((run.columns, unique.size), dtype=np.result_type(*(d for _, _, d in entries)))
        for _, _, d in entries:
            where = inverse[begin : begin + d.shape[1]]
            begin += d.shape[1]
            total[:, where] = adding(total)(total[:, where], d)  # a slot has each entry once
        differences.append(total)
    return [(Entries(row, position), differences)]


def in_one_list(slots: Slots, shape: Shape, run: Run) -> tuple[Entries, Array]:
    """All slots of one array, of which there are some, as one list of entries."""
    ((layout, (d,)),) = as_entries([slots], shape, run)
    assert isinstance(layout, Entries)
    assert d is not None
    return layout, d


def together(operands: Sequence[Slots], shape: Shape, run: Run) -> list[tuple[Layout, list[Array | None]]]:
    """Let any slots meet: in a full array where they fill a good part of one, else listed entry by entry.

    Listing sorts, which costs some 100 ns an entry; a cell of a full array costs about 1 ns an operation.
    """
    full = run.rows * prod(shape)
    if full <= run.filled * sum(layout.size for slots in operands for layout, _ in slots):
        return [(spread_box(shape, run), [spread(slots, shape, run) if slots else None for slots in operands])]
    return as_entries(operands, shape, run)


def adding(d: Array) -> np.ufunc:
    """What adds differences like these: of truth, what changes twice does not change."""
    return np.bitwise_xor if d.dtype == bool else np.add


def assembled(made: Made, ds: Sequence[Array], run: Run, negative: int | None = None) -> Array | None:
    """The differences that a plan makes of those of some slots; those from the `negative`th on are subtracted."""
    if made is None:
        return None
    if negative is None:
        negative = len(ds)
    if isinstance(made, int):
        return ds[made] if made < negative else np.negative(ds[made])
    lengths, size, parts, whole = made
    slot = parts[0].slot
    first = ds[slot]
    columns, kind = len(first), first.dtype
    begin, out = 1, first
    if whole:
        if first.shape[1:] != lengths:
            first = first.reshape(columns, *lengths)
        if slot >= negative:
            out = np.negative(first, order="C")
        elif whole > 1:
            slot, begin = parts[1].slot, 2
            second = ds[slot].reshape(first.shape)
            out = adding(first)(first, second) if slot < negative else np.subtract(first, second)
        elif len(parts) > 1:
            out = first.copy("C")
        else:
            return first
    else:
        run.allow(size)
        begin, out = 0, np.zeros((columns, *lengths), dtype=kind)
    add, item = adding(out), out.itemsize
    for slot, of_part, offset, strides in parts[begin:]:
        steps = [size * item, *(step * item for step in strides)]
        view: Array = np.ndarray((columns, *of_part), kind, out, offset * item, steps)
        (add if slot < negative else np.subtract)(view, ds[slot], out=view)
    return out


def layouts_of(slots: Slots) -> tuple[Layout, ...]:
    """Where some slots are."""
    return tuple([layout for layout, _ in slots])


def added(first: Slots, second: Slots, run: Run, minus: bool = False) -> Slots:
    """The slots of a sum; `minus`: of a difference."""
    if not second:
        return first
    if len(second) == 1:
        layout, other = second[0]
        if not first:
            return ((layout, np.negative(other)),) if minus else second
        if len(first) == 1 and first[0][0] == layout:
            one = first[0][1]
            return ((layout, np.subtract(one, other) if minus else adding(one)(one, other)),)
    plan = sums(layouts_of(first), layouts_of(second), run.rows)
    ds, slots = [d for _, d in first + second], []
    negative = len(first) if minus else len(ds)
    for layout, (made,) in plan.layouts:
        d = ds[made] if type(made) is int and made < negative else assembled(made, ds, run, negative)
        assert d is not None
        slots.append((layout, d))
    return tuple(slots)


def collected(first: Slots, second: Slots, shape: Shape, run: Run) -> Slots:
    """The slots of a sum whose terms may be many: small ones, as loops over entries make, are listed at once.

    A plan compares each with each: 10 s for a thousand entries of f written one by one, where a list takes 1 ms.
    """
    every = first + second
    if shape and len(every) > MOST_SLOTS and sum([layout.size for layout, _ in every]) <= SMALL * len(every):
        return (in_one_list(every, shape, run),)
    return added(first, second, run)


Found = list[tuple[Layout, list[Array | None]]]  # layouts, and the differences of each operand there


def meet(operands: Sequence[Slots], shape: Shape, run: Run) -> Found:
    """Bring the differences of operands of one shape together.

    Returns list of (layout, differences of each operand): None is a difference of zero. Each (row, position) differs in
    one of the layouts at most.
    """
    layouts = tuple([tuple([layout for layout, _ in slots]) for slots in operands])
    if len(layouts[0]) == 1 and layouts.count(layouts[0]) == len(layouts):
        return [(layouts[0][0], [slots[0][1] for slots in operands])]
    listed = Entries in [type(layout) for each in layouts for layout in each]
    plan = None if listed else meeting(layouts, run.rows)
    if plan is None:
        return together(operands, shape, run)
    ds = [d for slots in operands for _, d in slots]
    found: Found = [
        (layout, [ds[how] if type(how) is int else None if how is None else assembled(how, ds, run) for how in made])
        for layout, made in plan.layouts
    ]
    for i, j, in_big, in_small in plan.common:  # what is common moves to the bigger one
        (big, es), (_, moving) = found[i], found[j]
        for which, d in enumerate(moving):
            if d is None:
                continue
            e = es[which]
            if e is None:
                assert isinstance(big, Box)
                run.allow(big.size)
                e = np.zeros((len(d), *(dim.length for dim in big.dims)), dtype=d.dtype)
            else:
                e = e.copy("C")
            e[in_big] = adding(e)(e[in_big], d[in_small])
            es[which] = e
            moving[which] = left = d.copy()
            left[in_small] = 0
    return found


def spread(slots: Slots, shape: Shape, run: Run) -> Array:
    """All differences, in an array of shape (columns, rows, *shape)."""
    run.allow(run.rows * prod(shape))
    if len(slots) == 1 and slots[0][0] == spread_box(shape, run):
        d = slots[0][1]
        return d if d.flags.writeable else d.copy()  # a view that was only stretched
    kind = np.result_type(*(d for _, d in slots)) if slots else np.dtype(np.float64)
    out = np.zeros((run.columns, run.rows, *shape), dtype=kind)
    if not out.size:
        return out
    strides = out.strides
    flat = out.reshape(run.columns, run.rows, -1)
    for layout, d in slots:
        if isinstance(layout, Box):
            offset = layout.row * strides[1] + sum(p * s for p, s in zip(layout.start, strides[2:], strict=True))
            steps = [
                dim.row * strides[1] + (dim.step * strides[2 + dim.axis] if dim.axis != NO_AXIS else 0)
                for dim in layout.dims
            ]
            lengths = [dim.length for dim in layout.dims]
            view: Array = np.ndarray((run.columns, *lengths), kind, out, offset, (strides[0], *steps))
            adding(out)(view, d, out=view)
        else:
            where = slice(None), layout.row, layout.position
            flat[where] = adding(out)(flat[where], d)
    return out


def spread_box(shape: Shape, run: Run) -> Box:
    """The layout of what `spread` returns."""
    return _whole(shape, run.rows)


@lru_cache(maxsize=4096)
def _whole(shape: Shape, rows: int) -> Box:
    free = (Dim(length, 0, axis, 1) for axis, length in enumerate(shape))
    return Box(0, (0,) * len(shape), (Dim(rows, 1, NO_AXIS, 0), *free))


def ordered(box: Box, d: Array) -> tuple[Box, Array]:
    """Put the axes of the differences in order: left over by falling row step, then by array axis."""
    box, order = _order(box)
    return box, d if order is None else d.transpose(order)


@lru_cache(maxsize=4096)
def _order(box: Box) -> tuple[Box, Shape | None]:
    """The box in order, and the transposition of the differences; None if they are."""
    order = sorted(range(len(box.dims)), key=lambda i: (box.dims[i].axis, -box.dims[i].row))
    if order == list(range(len(order))):
        return box, None
    return box._replace(dims=tuple(box.dims[i] for i in order)), (0, *(i + 1 for i in order))


def joined_rows(box: Box, d: Array) -> tuple[Box, Array]:
    """Make one axis of left-over ones whose rows follow each other: then it meets others of the same rows."""
    joined = _with_joined_rows(box)
    return joined, d if len(joined.dims) == len(box.dims) else d.reshape(len(d), *(dim.length for dim in joined.dims))


@lru_cache(maxsize=4096)
def _with_joined_rows(box: Box) -> Box:
    dims = box.dims
    for i in range(len(dims) - 2, -1, -1):
        outer, inner = dims[i], dims[i + 1]
        if outer.axis == inner.axis == NO_AXIS and outer.row == inner.row * inner.length:
            fused = Dim(outer.length * inner.length, inner.row, NO_AXIS, 0)
            dims = (*dims[:i], fused, *dims[i + 2 :])
    return box if dims is box.dims else box._replace(dims=dims)


def total(d: Array, axes: Shape) -> Array:
    """The sum over some axes. numpy's is slow over a few neighbours in memory: 8x at 10 of them."""
    if not axes:
        return d
    near = min(range(d.ndim), key=lambda i: (abs(d.strides[i]) or 1 << 62, -i))
    if near in axes and d.shape[near] < SHORT and d.size > 4096:
        labels = list(range(d.ndim))
        out: Array = np.einsum(d, labels, [i for i in labels if i not in axes])
        return out
    return d.sum(axis=axes)  # type: ignore[no-any-return]


def as_rows(box: Box, d: Array) -> Slot:
    """The differences of a scalar, row by row."""
    if len(box.dims) == 1 and box.dims[0].row == 1:
        return scalar_box(box.row, box.dims[0].length), d
    if not box.dims:
        return scalar_box(box.row, 1), d[:, None]
    count = 1 + sum(dim.row * (dim.length - 1) for dim in box.dims)
    out = np.zeros((d.shape[0], count), dtype=d.dtype)
    steps = [dim.row * out.itemsize for dim in box.dims]
    view: Array = np.ndarray(d.shape, d.dtype, out, 0, (out.strides[0], *steps))
    view[...] = d
    return scalar_box(box.row, count), out


def summed(slots: Slots, shape: Shape, axes: Shape, run: Run) -> Slots:
    """The slots of a sum over some axes."""
    kept = tuple(a for a in range(len(shape)) if a not in axes)
    out: Slots = ()
    for layout, d in slots:
        if isinstance(layout, Entries):
            new: Slot = _summed_entries(layout, d, shape, kept, run)
        else:
            over, box = _folded(layout, axes, kept)
            box, d = joined_rows(*ordered(box, total(d, over)))
            new = (box, d) if kept else as_rows(box, d)
        out = added(out, (new,), run)
    return out


@lru_cache(maxsize=4096)
def _folded(box: Box, axes: Shape, kept: Shape) -> tuple[Shape, Box]:
    """The axes of a box's differences that a sum over some axes takes, and the box of that sum."""
    over = tuple(i + 1 for i, dim in enumerate(box.dims) if dim.axis in axes and not dim.row)
    dims = []
    for dim in box.dims:
        if dim.axis == NO_AXIS:
            dims.append(dim)
        elif dim.axis not in axes:
            dims.append(dim._replace(axis=kept.index(dim.axis)))
        elif dim.row:
            dims.append(Dim(dim.length, dim.row, NO_AXIS, 0))
    return over, Box(box.row, tuple(box.start[a] for a in kept), tuple(dims))


def _summed_entries(layout: Entries, d: Array, shape: Shape, kept: Shape, run: Run) -> Slot:
    coordinates = np.unravel_index(layout.position, shape)
    left = tuple(shape[a] for a in kept)
    size = prod(left)
    position = np.zeros_like(layout.position)
    for axis, stride in zip(kept, c_strides(left), strict=True):
        position += stride * coordinates[axis]
    key = layout.row * size + position
    if not kept:
        return scalar_box(0, run.rows), _by_key(key, d, run.rows)
    unique, inverse = np.unique(key, return_inverse=True)
    return Entries(*np.divmod(unique, size)), _by_key(inverse, d, unique.size)


def _by_key(key: Array, d: Array, count: int) -> Array:
    """Sum the differences that have one key."""
    if np.iscomplexobj(d):
        return _by_key(key, d.real, count) + 1j * _by_key(key, d.imag, count)
    return np.stack([np.bincount(key, column, count) for column in d])


def copied(copies: Array) -> tuple[Array, Array]:
    """Of entries each taken so many times: which one each is, and the how manieth of it."""
    entry = np.repeat(np.arange(copies.size), copies)
    return entry, np.arange(entry.size) - np.repeat(np.cumsum(copies) - copies, copies)


def rearranged(slots: Slots, source: Array, shape: Shape, run: Run) -> Slots:
    """The slots of an array whose entry o is the old entry at flat position source.flat[o]."""
    if not slots:
        return ()
    flat = np.ravel(source)
    count = np.bincount(flat, minlength=prod(shape))
    once = bool(count.max(initial=0) <= 1)
    if once:
        target = np.full(count.size, -1)
        target[flat] = np.arange(flat.size)
    else:
        order = np.argsort(flat, kind="stable")
        begin = np.cumsum(count) - count
    out = []
    for row, position, d in entries_of(slots, shape, run):
        run.listed(position.size + count.size)
        if once:
            new = target[position]
            kept = np.flatnonzero(new >= 0)
            out.append((Entries(row[kept], new[kept]), d[:, kept]))
            continue
        copies = count[position]
        run.allow(int(copies.sum()))
        entry, nth = copied(copies)
        out.append((Entries(row[entry], order[begin[position[entry]] + nth]), d[:, entry]))
    return tuple(slot for slot in out if slot[0].size)


def gathered(slots: Slots, source: Array, shape: Shape, run: Run) -> Slots:
    """As `rearranged`, but boxes of many free positions stay boxes: each row then differs wherever it is gathered."""
    out: Slots = ()
    coordinates: Any = None
    for layout, d in slots:
        rows = 1
        if isinstance(layout, Box):
            for dim in layout.dims:
                rows *= dim.length if dim.row else 1
        if isinstance(layout, Entries) or rows * source.size > 2 * layout.size:
            out = out + rearranged(((layout, d),), source, shape, run)
            continue
        lead = len(layout.dims) - len(shape)
        if lead >= 0 and layout.dims[lead:] == spread_box(shape, run).dims[1:] and not any(layout.start):
            # each row differs everywhere: taken from a flat array
            left = list(layout.dims[:lead])
            value = np.take(d.reshape(*d.shape[: lead + 1], -1), source, axis=-1)
            free = [Dim(n, 0, axis, 1) for axis, n in enumerate(source.shape)]
            box = Box(layout.row, (0,) * source.ndim, (*left, *free))
            out = added(out, ((box, value) if source.ndim else as_rows(box, value),), run)
            continue
        if coordinates is None:
            coordinates = np.unravel_index(source, shape)
        moving = [dim for dim in layout.dims if dim.row]
        trailing = (1,) * source.ndim
        index: list[Any] = [slice(None)]
        keep: Any = np.True_
        ties = {dim.axis: dim for dim in layout.dims}
        for axis, (start, position) in enumerate(zip(layout.start, coordinates, strict=True)):
            if axis not in ties:
                keep = keep & (position == start)
        for dim in layout.dims:
            t: Any = np.arange(dim.length)
            if dim.row:
                t = t.reshape(*(-1 if dim is other else 1 for other in moving), *trailing)
                if dim.axis != NO_AXIS:
                    keep = keep & (coordinates[dim.axis] == layout.start[dim.axis] + dim.step * t)
            else:
                t, odd = np.divmod(coordinates[dim.axis] - layout.start[dim.axis], dim.step)
                keep = keep & (odd == 0) & (t >= 0) & (t < dim.length)
                t = np.where((t >= 0) & (t < dim.length), t, 0)
            index.append(t)
        value = np.where(keep, d[tuple(index)], 0.0 if d.dtype != bool else False)
        left = [Dim(dim.length, dim.row, NO_AXIS, 0) for dim in moving]
        free = [Dim(n, 0, axis, 1) for axis, n in enumerate(source.shape)]
        value = np.broadcast_to(value, (d.shape[0], *(dim.length for dim in left + free)))
        box, value = ordered(Box(layout.row, (0,) * source.ndim, (*left, *free)), value)
        out = added(out, ((box, value) if source.ndim else as_rows(box, value),), run)
    return out


def trimmed(box: Box, d: Array) -> Slots:
    """Drop the rows at both ends in which nothing differs."""
    changed = d != 0
    row, dims, index = box.row, [], [slice(None)]
    for i, dim in enumerate(box.dims):
        here = np.flatnonzero(changed.any(axis=tuple(j for j in range(d.ndim) if j != i + 1)))
        if not here.size:
            return ()
        if dim.row and dim.axis == NO_AXIS:
            first, last = int(here[0]), int(here[-1])
            row += dim.row * first
            dims.append(dim._replace(length=last + 1 - first))
            index.append(slice(first, last + 1))
        else:
            dims.append(dim)
            index.append(slice(None))
    return ((box._replace(row=row, dims=tuple(dims)), d[tuple(index)]),)


def crossed(first: Slots, second: Slots, shape: Shape, run: Run) -> Slots:
    """The slots of sum(da * db) over all axes."""
    out: Slots = ()
    for layout, (da, db) in meet([first, second], shape, run):
        if da is None or db is None:
            continue
        if isinstance(layout, Entries):
            out = added(out, summed(((layout, da * db),), shape, tuple(range(len(shape))), run), run)
            continue
        labels = list(range(da.ndim))
        kept = [0, *(i + 1 for i, dim in enumerate(layout.dims) if dim.row)]
        box = Box(layout.row, (), tuple(Dim(dim.length, dim.row, NO_AXIS, 0) for dim in layout.dims if dim.row))
        out = added(out, (as_rows(*ordered(box, np.einsum(da, labels, db, labels, kept))),), run)
    return out


def _as_matrices(d: Array, labels: list[int], other: Any, of_other: list[int], result: list[int]) -> Array | None:
    """An einsum as one product of two matrices, or None: numpy's own way takes one product for each row (20x)."""
    shared = [label for label in labels if label in of_other]
    left = [label for label in labels if label not in shared]
    right = [label for label in of_other if label not in shared]
    if not shared or any(label in result for label in shared) or any(label not in result for label in (*left, *right)):
        return None
    a = d.transpose([labels.index(label) for label in (*left, *shared)])
    b = other.transpose([of_other.index(label) for label in (*shared, *right)])
    lengths = (*a.shape[: len(left)], *b.shape[len(shared) :])
    size = prod(b.shape[: len(shared)])
    product = (a.reshape(-1, size) @ b.reshape(size, -1)).reshape(lengths)
    have = (*left, *right)
    return np.ascontiguousarray(product.transpose([have.index(label) for label in result]))


def _einsum(d: Array, labels: list[int], others: list[Any], result: list[int], run: Run) -> Array:
    """np.einsum(d, labels, *others, result) in C order; a mere product as one, since numpy's is slow across memory."""
    summing = set(labels) - set(result)
    if len(others) == 2 and summing and d.size > 1000:
        fast = _as_matrices(d, labels, others[0], others[1], result)
        if fast is not None:
            return fast
    if len(others) != 2 or summing or not set(others[1]) <= set(result):
        out: Array = np.einsum(d, labels, *others, result, order="C", optimize=bool(summing) and d.size > 1000)
        run.multiplied(d, others[::2], out)
        return out
    factors = []
    for array, have in ((d, labels), (others[0], others[1])):
        order = [have.index(label) for label in result if label in have]
        lengths = iter(array.transpose(order).shape)
        shape = [next(lengths) if label in have else 1 for label in result]
        factors.append(np.ascontiguousarray(array.transpose(order)).reshape(shape))
    product: Array = factors[0] * factors[1]
    return product


def contracted(
    slots: Slots,
    shape: Shape,
    labels: Sequence[int],
    others: Sequence[tuple[Array, Sequence[int]]],
    out_labels: Sequence[int],
    run: Run,
) -> Slots:
    """The slots of an einsum that is linear in the perturbed operand (whose labels differ from each other)."""
    if any(isinstance(layout, Entries) for layout, _ in slots):
        slots = ((spread_box(shape, run), spread(slots, shape, run)),)
    column = 1 + max((*labels, *out_labels, *(label for _, other in others for label in other)), default=0)
    lengths = {label: n for array, other in others for label, n in zip(other, array.shape, strict=True)}
    out: Slots = ()
    ds = [d for _, d in slots]
    for layout, (made,) in packed(tuple([layout for layout, _ in slots])).layouts:
        d = assembled(made, ds, run)
        assert isinstance(layout, Box)
        assert d is not None
        ties = {dim.axis: dim for dim in layout.dims if dim.axis != NO_AXIS}
        items = {
            label: window(layout)[axis] for axis, label in enumerate(labels)
        }  # where each label runs, or the one position it has
        operands: list[Any] = []
        for array, other in others:
            index = tuple(items.get(label, slice(None)) for label in other)
            operands += [array[index], [a for a in other if not isinstance(items.get(a), int)]]
        d_labels, left = [column], []
        for i, dim in enumerate(layout.dims):
            label = column + 1 + i if dim.axis == NO_AXIS else labels[dim.axis]
            d_labels.append(label)
            if dim.row and label not in out_labels:  # left over, before or now
                left.append((Dim(dim.length, dim.row, NO_AXIS, 0), label))
        left.sort(key=lambda pair: -pair[0].row)  # so that what joins into one axis lies side by side
        dims, result = [dim for dim, _ in left], [column, *(label for _, label in left)]
        start, new = [], 1
        for axis, label in enumerate(out_labels):
            old = labels.index(label) if label in labels else None
            if old is None:
                new *= lengths[label]
                start.append(0)
                dims.append(Dim(lengths[label], 0, axis, 1))
            else:
                start.append(layout.start[old])
                if old not in ties:
                    continue
                dims.append(ties[old]._replace(axis=axis))
            result.append(label)
        run.allow(prod(dim.length for dim in dims))
        run.multiplies(d.size * new, d.size)
        value = _einsum(d, d_labels, operands, result, run)
        box, value = joined_rows(*ordered(Box(layout.row, tuple(start), tuple(dims)), value))
        out = added(out, ((box, value) if out_labels else as_rows(box, value),), run)
    return out


def mapped(slots: Slots, change: Callable[[Array], Array]) -> Slots:
    """The slots after a change of the differences themselves."""
    return tuple([(layout, change(d)) for layout, d in slots])


def rows_of(slots: Slots, run: Run) -> NDArray[np.bool_]:
    """The rows in which any difference is not zero."""
    touched = np.zeros(run.rows, dtype=bool)
    for layout, d in slots:
        changed = (d != 0).any(axis=0)
        if isinstance(layout, Entries):
            touched[layout.row[changed]] = True
            continue
        changed = np.broadcast_to(changed, tuple(dim.length for dim in layout.dims))
        where = np.nonzero(changed)
        row = np.full(where[0].shape, layout.row)
        for t, dim in zip(where, layout.dims, strict=True):
            row += dim.row * t
        touched[row] = True
    return touched


def refuse(what: str) -> CannotLift:
    """Word the refusal of an operation."""
    return CannotLift(f"the sparse lift does not take {what}")
