"""The array-like that f sees: the unperturbed array, and the few entries in which each row differs from it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, Self
from weakref import ReferenceType, ref

import numpy as np

from ..arraylike import Array, ArrayLike, Handler
from .layout import (
    Box,
    Dim,
    Entries,
    Item,
    Shape,
    Slot,
    broadcast,
    groups,
    insert_axes,
    permute,
    place,
    refined,
    reshape,
    take,
)
from .meeting import MOST_SLOTS
from .rules import BINARY, UNARY, selection
from .slots import (
    Run,
    Slots,
    added,
    alike,
    as_rows,
    at,
    collected,
    gathered,
    in_one_list,
    layouts_of,
    mapped,
    meet,
    rearranged,
    refuse,
    rows_of,
    spread,
    spread_box,
    summed,
    trimmed,
)
from .special import OF_MATH, SLOPES, Slope, known_slope, of_numpy, small, special_rule

Derive = Callable[["SparseBundle"], Slots]  # a view's slots from its owner's
CONTINUED: dict[np.ufunc, Handler] = {}  # what is not analytic, at a complex point; filled by hessian.py
FUNCTIONS: dict[Any, Handler] = {}  # numpy function -> what it is for a bundle; filled by functions.py
METHODS: dict[tuple[np.ufunc, str], Handler] = {}  # likewise for np.add.reduce and its kin


# named, since `isinstance(v, int | slice)` makes the union anew each time
LISTS, TRUTHS, BASIC = (list, tuple), (bool, np.bool_), (int, np.integer, slice)


OWN = 2.0**-200  # imaginary parts that a complex point makes are far below


class SparseBundle(ArrayLike):
    """An array of f, at x and at all points of a run."""

    __slots__ = ("__weakref__", "base", "disjoint", "known", "owner", "run", "slots", "split", "views")

    def __init__(self, base: Any, slots: Slots, run: Run, disjoint: bool = False) -> None:
        if run.counting:
            run.made(base, slots)
        self.base: Array = base  # f's array at x
        self.slots = slots  # what each row adds to it. For a boolean array a difference says that the truth changes.
        self.run = run
        self.disjoint = disjoint or len(slots) < 2  # no (row, position) differs in two slots
        self.split: SparseBundle | None = None  # the same entries, its axes split so that the differences lie in boxes
        self.known: tuple[Any, ...] = ()  # the last function of it, the slots it was for, and the result
        # in f's eyes slices share memory: a write into one is a write into all
        self.owner: tuple[SparseBundle, Any] | None = None  # whose memory this is, and the index of it (None: no index)
        self.views: list[tuple[ReferenceType[SparseBundle], Derive]] = []

    @classmethod
    def joining(cls, base: Any, split: SparseBundle) -> SparseBundle:
        """The entries of an array whose axes are split, in the shape of `base`; listed only if somebody asks."""
        out = cls(base, (), split.run)
        out.split, out.disjoint = split, split.disjoint
        del out.slots
        return out

    def __getattr__(self, name: str) -> Any:
        split = self.split if name == "slots" else None
        if split is None:
            raise AttributeError(name)
        self.slots = split._reshaped(self.shape)
        return self.slots

    # what an array tells about itself

    @property
    def shape(self) -> Shape:
        return self.base.shape

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.base.dtype

    @property
    def T(self) -> SparseBundle:  # noqa: N802
        return self.transpose()

    @property
    def real(self) -> SparseBundle:
        """Itself: at a complex point the continuation of f; no such thing is there of complex numbers of f's own."""
        if self.base.dtype.kind == "c" and (np.abs(self.base.imag) > OWN).any():
            raise refuse("the real part of complex numbers of its own")
        return self

    def __len__(self) -> int:
        return len(self.base)

    def __iter__(self) -> Iterator[SparseBundle]:
        return (self[i] for i in range(len(self.base)))

    # what has no meaning for many points

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        # scipy.sparse asks for an array, and hands over to __rmatmul__ if it gets an object instead
        if sys._getframe(1).f_globals.get("__name__", "").startswith("scipy.sparse"):
            held = np.empty((), dtype=object)
            held[()] = self
            return held
        if not self.slots:
            return np.asarray(self.base, *args)
        raise refuse("np.asarray, np.array or an assignment into a plain array")

    def _number(self) -> Any:
        if self.slots:
            raise refuse("float(), int(), math functions, .item() or .tolist()")
        return self.base

    def _text(self, *args: Any) -> str:
        if self.slots:
            raise refuse("text made from an array")
        return str(self.base)

    __repr__ = __str__ = __format__ = _text

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        return int(self.settled() if self.dtype.kind in "iub" else self._number().__index__())

    def __complex__(self) -> complex:
        return complex(self._number())

    def item(self, *args: int) -> Any:
        return self._number().item(*args) if self.ndim else self  # of one number: itself, and f may go on

    def tolist(self) -> Any:
        return self._number().tolist()

    def settled(self) -> Any:
        """The plain array at x. Rows in which it differs are lost, and evaluated plainly in the end."""
        if self.slots:
            self.run.lost |= rows_of(self.slots, self.run)
        return self.base

    def truth(self) -> Any:
        """Where the array is not zero at x; rows in which that differs are lost."""
        truth = self if self.dtype == bool else elementwise(np.not_equal, self, 0)
        return truth.settled() if isinstance(truth, SparseBundle) else truth

    def __bool__(self) -> bool:
        return bool(self.truth())

    # where f sees numpy, math and float through substitutes

    def number(self) -> SparseBundle:
        return self

    def of_math(self, function: Any, ufunc: np.ufunc | None, numbers: Any) -> Any:
        if ufunc is not None:
            return ufunc(*numbers)
        if function.__name__ not in OF_MATH:
            raise refuse(f"math.{function.__name__}")
        return _by_slope(function, partial(SLOPES[function.__name__], None), numbers[0])

    def times(self, matrix: Any) -> Any:
        return METHODS[np.matmul, "__call__"](matrix, self)

    def fresh(self, made: Array) -> Any:
        if made.dtype != np.float64 or not made.ndim:
            return made
        return SparseBundle(made.astype(np.complex128) if self.run.imaginary else made, (), self.run)

    # elementwise operations

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__":
            target = kwargs.pop("out", None)
            if target is not None:
                if len(target) != 1 or type(target[0]) is not SparseBundle or not target[0].ndim:
                    raise refuse(f"np.{ufunc.__name__} with out= of another array")
                where = kwargs.pop("where", True)
                found = self.__array_ufunc__(ufunc, method, *inputs, **kwargs)
                return target[0]._in_place(found if where is True else choose(where, found, target[0]))
            if any(value is not None for key, value in kwargs.items() if key != "dtype" or value != self.dtype):
                raise refuse(f"np.{ufunc.__name__} with {', '.join(kwargs)}=")
            if ufunc.signature is not None:
                return METHODS[ufunc, method](*inputs)
            return elementwise(ufunc, *inputs)
        handler = METHODS.get((ufunc, method))
        if handler is None:
            raise refuse(f"np.{ufunc.__name__}.{method}")
        return handler(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        handler = FUNCTIONS.get(func)
        if handler is None:
            return func(*(constant(v, func) for v in args), **{name: constant(v, func) for name, v in kwargs.items()})
        for value in args:
            if type(value) is SparseBundle:
                value.run.function()
                break
        result = handler(*args, **kwargs)
        if result is NotImplemented:
            raise refuse(f"np.{func.__name__} with these arguments")
        return result

    def resolved(self) -> SparseBundle:
        """The same, with each (row, position) in one slot at most."""
        if not self.disjoint:
            met = meet([self.slots], self.shape, self.run)
            self.slots = tuple((layout, d) for layout, (d,) in met if d is not None)
            self.disjoint = True
        return self

    def stretched(self, shape: Shape) -> Slots:
        """The slots after broadcasting to a shape."""
        old = self.shape
        if old == shape:
            return self.slots
        slots: list[Slot] = []
        for layout, d in self.slots:
            if isinstance(layout, Box):
                box, d = broadcast(layout, d, old, shape)
                self.run.allow(box.size)
                self.run.fills(box.size, prod(shape))
                slots.append((box, d))
            else:
                source = np.broadcast_to(np.arange(self.size).reshape(old), shape)
                slots.extend(rearranged(((layout, d),), source, old, self.run))
        return tuple(slots)

    def as_numbers(self) -> SparseBundle:
        """Count truth as 0 and 1."""
        if self.base.dtype.kind != "b":
            return self
        slots = self.resolved().slots
        changed = tuple((layout, d * (1.0 - 2.0 * at(self.base, layout))) for layout, d in slots)
        return SparseBundle(self.base, changed, self.run, disjoint=True)

    def astype(self, dtype: Any, *args: Any, copy: bool = True, **kwargs: Any) -> Any:
        dtype = np.dtype(dtype)
        if self.run.imaginary and dtype.kind == "f" and self.dtype.kind == "c":  # at a complex point, floats are that
            dtype = self.dtype
        if dtype == self.dtype and not copy:
            return self
        if dtype == self.dtype or (dtype.kind == "f" and dtype.itemsize == 8 and self.dtype.kind in "bfiu"):
            numbers = self.as_numbers()
            return SparseBundle(self.base.astype(dtype), numbers.slots, self.run, numbers.disjoint)
        if dtype.kind in "iu" and self.dtype.kind == "f":
            return elementwise(np.trunc, self).settled().astype(dtype)
        raise refuse(f"astype({dtype})")

    # indexing

    def __getitem__(self, key: Any) -> Any:
        key = plain_key(key)
        base = self.base[key]
        items = basic_items(key, self.shape)
        if items is None:
            source = np.arange(self.size).reshape(self.shape)[key]
            return SparseBundle(base, gathered(self.slots, source, self.shape, self.run), self.run)
        axes, new = items
        out = SparseBundle(base, self._taken(axes, new, key), self.run, self.disjoint)
        if out.shape:
            self._share(out, key, lambda owner: owner._taken(axes, new, key))
        return out

    def _share(self, view: SparseBundle, key: Any, derive: Derive) -> None:
        """Note that a view has this memory, and how it gets its slots."""
        view.owner = self, key
        if len(self.views) > 50:
            self.views = [pair for pair in self.views if pair[0]() is not None]
        self.views.append((ref(view), derive))

    def _written(self) -> None:
        """Tell owner and views of a write."""
        owner: SparseBundle = self
        while owner.owner is not None:
            above, key = owner.owner
            if key is None:
                raise refuse("a write into a transposed or reshaped array")
            above._place(key, owner.slots, owner.shape)
            owner = above
        owner._refresh()

    def _refresh(self) -> None:
        for reference, derive in self.views:
            view = reference()
            if view is not None:
                view.slots, view.split = derive(self), None
                view.disjoint = len(view.slots) < 2
                view._refresh()

    def _taken(self, axes: tuple[Item, ...], new: Shape, key: Any) -> Slots:
        slots: list[Slot] = []
        for layout, d in self.slots:
            if isinstance(layout, Entries):
                source = np.arange(self.size).reshape(self.shape)[key]
                slots.extend(rearranged(((layout, d),), source, self.shape, self.run))
                continue
            taken = take(layout, axes)
            if taken is not None:
                box, index = taken
                if new:
                    box = insert_axes(box, new)
                slots.append((box, d[index]) if box.start else as_rows(box, d[index]))
        return tuple(slots)

    def __setitem__(self, key: Any, value: Any) -> None:
        if _is_mask(key, self.shape) and self._masked(key, value):
            return
        if type(value) is SparseBundle and value.owner is not None:
            owner, known = value.owner
            if owner is self and type(key) is type(known) is slice and key == known:  # a view of this memory
                return
        key = plain_key(key)
        target = self.base[key]
        slots: Slots = ()
        if isinstance(value, SparseBundle):
            if self.dtype != value.dtype:
                raise refuse("an assignment that changes the type")
            if value.ndim > target.ndim:
                value = value.reshape(value.shape[value.ndim - target.ndim :])
            slots = value.stretched(target.shape)
            value = value.base
        self.base[key] = value
        if slots or self.slots:
            self._place(key, slots, target.shape)
            self._written()

    def _masked(self, mask: Any, value: Any) -> bool:
        """Write one number where a mask of this shape is true, as np.where would; False if that is no way."""
        if np.ndim(value) or isinstance(value, SparseBundle) or self.dtype.kind != "f":
            return False
        if not self.slots and not isinstance(mask, SparseBundle):
            return False
        out = choose(mask, value, self)
        if isinstance(self.base, np.ndarray):
            self.base[...] = out.base
        self.slots, self.disjoint, self.split = out.slots, out.disjoint, None
        if self.owner is not None or self.views:
            self._written()
        return True

    def _place(self, key: Any, slots: Slots, shape: Shape) -> None:
        """Replace the differences at an index by others."""
        items = basic_items(key, self.shape)
        if items is None or items[1] or any(isinstance(layout, Entries) for layout, _ in self.slots + slots):
            self._place_entries(key, slots, shape)
            return
        axes = items[0]
        fits = {layout: d for layout, d in slots if [other for other, _ in slots].count(layout) == 1}
        kept, left = [], set(fits)
        for layout, d in self.slots:
            assert isinstance(layout, Box)
            overwritten = take(layout, axes)
            if overwritten is not None:
                here, index = overwritten
                if here.size == layout.size:
                    continue
                change: Any = fits[here] if here in left else 0
                if not _is_view(change, d[index]):  # an operation in place often leaves a slot as it was
                    d = np.array(np.broadcast_to(d, (d.shape[0], *(dim.length for dim in layout.dims))))
                    d[index] = change
                left.discard(here)
            kept.append((layout, d))
        new = [
            (place(layout, axes), d)
            for layout, d in slots
            if isinstance(layout, Box) and (layout in left or layout not in fits)
        ]
        self.slots, self.split = collected(tuple(kept), tuple(new), self.shape, self.run), None
        self.disjoint = len(self.slots) < 2

    def _place_entries(self, key: Any, slots: Slots, shape: Shape) -> None:
        target = np.arange(self.size).reshape(self.shape)[key]
        if np.unique(target).size != target.size:
            raise refuse("an assignment that writes an entry twice")
        kept = []
        if self.slots:
            layout, d = in_one_list(self.slots, self.shape, self.run)
            stays = ~np.isin(layout.position, target)
            kept.append((Entries(layout.row[stays], layout.position[stays]), d[:, stays]))
        if slots:
            layout, d = in_one_list(slots, shape, self.run)
            kept.append((Entries(layout.row, np.ravel(target)[layout.position]), d))
        self.slots, self.split = tuple(kept), None
        self.disjoint = True

    # rearrangements

    def reshape(self, *shape: Any, order: str = "C") -> SparseBundle:
        new = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        base = np.reshape(self.base, new)
        if order == "F":  # the same entries, read by columns
            return self.transpose().reshape(tuple(reversed(base.shape))).transpose()
        if order != "C":
            raise refuse(f"reshape in order {order!r}")
        source = self if self.split is None else self.split
        out = source._joined_as(base)
        if out.shape and np.may_share_memory(base, self.base):
            self._share(out, None, lambda owner: owner._reshaped(base.shape))
        return out

    def _joined_as(self, base: Any) -> SparseBundle:
        """The same entries as a reshaped array; with more axes than that has where only so they lie in boxes."""
        slots = self._in_boxes(base.shape)
        if slots is not None:
            return SparseBundle(base, slots, self.run, self.disjoint)
        shape = refined(self.shape, base.shape)
        split = None if shape is None else self._in_boxes(shape)
        if shape is None or split is None:
            return SparseBundle(base, self._reshaped(base.shape), self.run, self.disjoint)
        return SparseBundle.joining(base, SparseBundle(base.reshape(shape), split, self.run, self.disjoint))

    def _in_boxes(self, shape: Shape) -> Slots | None:
        """The slots of a reshaped array, if all of them are boxes there."""
        slots: list[Slot] = []
        for slot in self.slots:
            moved = self._moved(slot, shape)
            if moved is None:
                return None
            slots.append(moved)
        return tuple(slots)

    def _moved(self, slot: Slot, shape: Shape) -> Slot | None:
        """A slot of a reshaped array, if it is a box there, too."""
        layout, d = slot
        return reshape(layout, d, self.shape, shape) if isinstance(layout, Box) and self.size else None

    def _reshaped(self, shape: Shape) -> Slots:
        slots: list[Slot] = []
        for slot in self.slots:
            moved = self._moved(slot, shape)
            slots.extend((moved,) if moved else rearranged((slot,), np.arange(self.size), self.shape, self.run))
        return tuple(slots)

    def transpose(self, *axes: Any) -> SparseBundle:
        if len(axes) == 1 and not isinstance(axes[0], int | np.integer):
            axes = axes[0] or ()
        order = tuple(a % self.ndim for a in axes) if axes else tuple(reversed(range(self.ndim)))
        if order == tuple(range(self.ndim)):
            return self
        base = self.base.transpose(order)
        if self.split is not None:
            axes_of = groups(self.shape, self.split.shape)
            out = SparseBundle.joining(base, self.split.transpose([i for a in order for i in axes_of[a]]))
        else:
            out = SparseBundle(base, self._transposed(order), self.run, self.disjoint)
        self._share(out, None, lambda owner: owner._transposed(order))
        return out

    def _transposed(self, order: Shape) -> Slots:
        slots: list[Slot] = []
        for layout, d in self.slots:
            if isinstance(layout, Box):
                box, moved = permute(layout, order)
                slots.append((box, d.transpose(moved)))
            else:
                source = np.arange(self.size).reshape(self.shape).transpose(order)
                slots.extend(rearranged(((layout, d),), source, self.shape, self.run))
        return tuple(slots)

    def copy(self, order: str = "C") -> SparseBundle:
        if self.split is not None:
            return SparseBundle.joining(self.base.copy(), self.split)
        return SparseBundle(self.base.copy(), self.slots, self.run, self.disjoint)

    # reductions that everything else is made of

    def total(self, axis: Any = None, keepdims: bool = False) -> SparseBundle:
        """The sum over some axes."""
        axes = normal_axes(axis, self.ndim)
        base = np.sum(self.base, axis=axis)
        if self.split is not None:
            shape = kept(self.shape, axes) if keepdims else base.shape
            part = self.split.total(self.split_axes(axes)).reshape(shape)
            return SparseBundle(base.reshape(shape), part.slots, self.run) if part.split is None else part
        numbers = self.as_numbers()
        out = SparseBundle(base, summed(numbers.slots, self.shape, axes, self.run), self.run)
        return out.reshape(kept(self.shape, axes)) if keepdims else out

    def split_axes(self, axes: Shape) -> Shape:
        """The axes that some axes are split into."""
        assert self.split is not None
        of = groups(self.shape, self.split.shape)
        return tuple(i for a in axes for i in of[a])

    def extreme(self, compare: np.ufunc, axis: Any = None, keepdims: bool = False) -> SparseBundle:
        """The maximum (compare=np.maximum) or minimum over some axes.

        A row that changes one position is compared with the best of all others, which is the second best where its own
        position held the best.
        """
        axes = normal_axes(axis, self.ndim)
        if self.split is not None:
            shape = tuple(1 if a in axes else n for a, n in enumerate(self.shape) if keepdims or a not in axes)
            return self.split.extreme(compare, self.split_axes(axes)).reshape(shape)
        if not self.slots:
            return SparseBundle(compare.reduce(self.base, axis=axes, keepdims=keepdims), (), self.run)
        others = tuple(a for a in range(self.ndim) if a not in axes)
        best = compare.reduce(self.base, axis=axes)
        shape = best.shape
        moved = self.transpose(others + axes).reshape((*shape, -1)).resolved()
        if self.run.imaginary:
            out = moved.leading(compare)
            return out.reshape(kept(self.shape, axes)) if keepdims else out
        last = len(shape)
        slots = moved.slots
        narrow = len(slots) == 1 and (
            isinstance(slots[0][0], Box) and not any(dim.axis == last and not dim.row for dim in slots[0][0].dims)
        )
        if narrow:
            box, d = slots[0]
            assert isinstance(box, Box)
            count = moved.base.shape[-1]
            if count > 1:
                which = 1 if compare is np.minimum else count - 2
                second = np.partition(moved.base, which, axis=-1)[..., which]
            else:
                second = np.full(shape, -np.inf if compare is np.maximum else np.inf)
            winner = (np.argmax if compare is np.maximum else np.argmin)(moved.base, axis=-1)
            held = np.asarray(best)[..., None]
            rest = np.where(np.arange(count) == winner[..., None], np.asarray(second)[..., None], held) - held
            less, own = at(rest, box), at(moved.base - held, box)
            if self.run.tied is not None:
                self.run.note_ties(at(alike(rest + held, moved.base), box), box, d)
            change = compare(less, own + d)
            changed = summed(((box, change),), moved.shape, (last,), self.run)
            changed = tuple(slot for box, d in changed if isinstance(box, Box) for slot in trimmed(box, d))
        else:
            box, below, d = moved.along_last(moved.base - np.asarray(best)[..., None])
            smaller = Box(box.row, box.start[:-1], box.dims[:-1])
            change = _extreme_change(compare, below, d)
            changed = ((smaller, change) if shape else as_rows(smaller, change),)
            self.run.note_ties_among(below, moved.base, box, d)
        out = SparseBundle(best, changed, self.run)
        return out.reshape(kept(self.shape, axes)) if keepdims else out

    def leading(self, compare: np.ufunc) -> SparseBundle:
        """The extreme along the last axis at a complex point: the entry that it is at x, whatever the differences."""
        real, count = self.base.real, self.shape[-1]
        box, below, d = self.along_last(real - compare.reduce(real, axis=-1, keepdims=True))
        self.run.note_ties_among(below, real, box, d)
        winner = (np.argmax if compare is np.maximum else np.argmin)(real, axis=-1)
        flat = np.arange(winner.size).reshape(winner.shape) * count + winner
        return self.reshape(-1)[flat]  # type: ignore[no-any-return]

    def along_last(self, below: Array) -> tuple[Box, Array, Array]:
        """All that rows change along the last axis: a box in which that is free and whole, constants there, and the d.

        Boxes in which each row changes the last axis from end to end stay as they are; all else is spread out.
        """
        moved = self.resolved()
        if len(moved.slots) == 1:
            box, d = moved.slots[0]
            if isinstance(box, Box) and box.dims and box.dims[-1] == Dim(self.shape[-1], 0, self.ndim - 1, 1):
                return box, at(below, box), np.broadcast_to(d, (len(d), *(dim.length for dim in box.dims)))
        return spread_box(self.shape, self.run), below, spread(moved.slots, self.shape, self.run)

    # operators that are no ufunc by themselves

    def __pow__(self, other: Any) -> Any:
        if type(other) in (int, float):
            if other == 2:
                return elementwise(np.square, self)
            if other == 0.5 and self.ndim:  # as numpy: exact for arrays, np.power for scalars
                return elementwise(np.sqrt, self)
        return elementwise(np.power, self, other)

    def __matmul__(self, other: Any) -> Any:
        return METHODS[np.matmul, "__call__"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return METHODS[np.matmul, "__call__"](other, self)

    def _in_place(self, out: Any) -> Self:
        if not self.ndim:  # a numpy scalar: the name is bound anew
            return out  # type: ignore[no-any-return]
        if not isinstance(out, SparseBundle):
            out = SparseBundle(out, (), self.run)
        if out.shape != self.shape or out.dtype != self.dtype:
            raise refuse("an in-place operation that changes shape or type")
        self.base[...] = out.base
        self.slots, self.disjoint, self.split = out.slots, out.disjoint, None
        if self.owner is not None or self.views:
            self._written()
        return self


def _extreme_change(compare: np.ufunc, below: Any, d: Array) -> Array:
    """How the extreme along the last axis changes, where `below` is each entry less the extreme.

    Where no difference can close the gap to the second best, the winner stays, and its difference is taken: numpy's
    own reduction over few neighbours in memory is ten times slower.
    """
    count = below.shape[-1]
    if count > 1 and d.size > 1024:
        with np.errstate(all="ignore"):
            reach = float(d.real.max()) - float(d.real.min())
        which = 1 if compare is np.minimum else count - 2
        gap = np.abs(np.partition(below, which, axis=-1)[..., which])
        winner = (np.argmax if compare is np.maximum else np.argmin)(below, axis=-1)
        held = np.arange(gap.size) * count + winner.ravel()
        each = d.reshape(-1, *below.shape)
        out: Array = np.take(each.reshape(len(each), -1), held, axis=-1).reshape(-1, *gap.shape)
        close = ~(gap > reach)  # also where reach is NaN
        if close.any():
            out[:, close] = compare.reduce(below[close] + each[:, close], axis=-1)
        return out.reshape(d.shape[:-1])
    return compare.reduce(below + d, axis=-1)  # type: ignore[no-any-return]


def constant(value: Any, func: Any) -> Any:
    """An argument of a function that the lift does not know: an array at x, if no row differs in it."""
    if isinstance(value, LISTS):
        return [constant(part, func) for part in value]
    if not isinstance(value, SparseBundle):
        return value
    if value.slots:
        raise refuse(f"np.{func.__name__}")
    return value.base


def plain_key(key: Any) -> Any:
    """An index in which computed positions and masks are those at x."""
    if isinstance(key, SparseBundle):
        return key.settled()
    if isinstance(key, tuple):
        return tuple(part.settled() if isinstance(part, SparseBundle) else part for part in key)
    return key


def _is_view(value: Any, part: Array) -> bool:
    """Whether a value is this part of an array itself."""
    if type(value) is not np.ndarray or value.shape != part.shape or value.strides != part.strides:
        return False
    return bool(value.__array_interface__["data"] == part.__array_interface__["data"])


def _is_mask(key: Any, shape: Shape) -> bool:
    return isinstance(key, np.ndarray | SparseBundle) and key.dtype == bool and key.shape == shape


def basic_items(key: Any, shape: Shape) -> tuple[tuple[Item, ...], Shape] | None:
    """An index as one item an axis and the places of new axes in the result; None if it is not basic."""
    if len(shape) == 1 and type(key) is slice:
        start, stop, step = key.indices(shape[0])
        return ((start, step, len(range(start, stop, step))),), ()
    if len(shape) == 1 and type(key) is int:
        return (key % shape[0],), ()
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, TRUTHS) for part in parts):
        return None
    used = sum(isinstance(part, BASIC) for part in parts)
    if used + sum(part is None or part is Ellipsis for part in parts) < len(parts):
        return None
    if not any(part is Ellipsis for part in parts):
        parts = (*parts, Ellipsis)
    items: list[Item] = []
    new: list[int] = []
    out = 0
    for part in parts:
        if part is None:
            new.append(out)
            out += 1
        elif part is Ellipsis:
            for _ in range(len(shape) - used):
                items.append((0, 1, shape[len(items)]))
                out += 1
        elif isinstance(part, slice):
            start, stop, step = part.indices(shape[len(items)])
            items.append((start, step, len(range(start, stop, step))))
            out += 1
        else:
            items.append(int(part) % shape[len(items)])
    return tuple(items), tuple(new)


def normal_axes(axis: Any, ndim: int) -> Shape:
    """Axes as a sorted tuple of numbers from 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))))


def kept(shape: Shape, axes: Shape) -> Shape:
    """A shape with these axes of length 1, as `keepdims` asks for."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def elementwise(ufunc: np.ufunc, *inputs: Any) -> Any:
    """Apply a ufunc to operands of which at least one is a bundle."""
    if ufunc in CONTINUED and any([type(v) is SparseBundle and v.base.dtype.kind == "c" for v in inputs]):
        return CONTINUED[ufunc](*inputs)
    if len(inputs) == 1:
        return unary(ufunc, inputs[0])
    if len(inputs) != 2 or ufunc.nout != 1:
        raise refuse(f"np.{ufunc.__name__}")
    p, q = inputs
    if p is q and ufunc is np.multiply:
        return unary(np.square, p)
    left, right = type(p) is SparseBundle, type(q) is SparseBundle
    a, b = p.base if left else p, q.base if right else q
    whole = q if right and q.split is not None else p if left and p.split is not None else None
    if whole is not None and np.broadcast_shapes(np.shape(p), np.shape(q)) == whole.shape:
        return _joined_again(elementwise(ufunc, *(as_split(v, whole) for v in inputs)), whole.shape)
    if not (left and right) and isinstance(b if left else a, LISTS):
        return elementwise(ufunc, *(np.asarray(v) if isinstance(v, LISTS) else v for v in inputs))
    y = ufunc(a, b)
    kind = y.dtype.kind
    if kind == "b":
        return _condition(ufunc, p, q, a, b, y)
    if kind not in "fc":
        raise refuse(f"np.{ufunc.__name__} of integers")
    run, shape, minus = p.run if left else q.run, y.shape, ufunc is np.subtract
    if minus and right and b.shape != shape:  # negated before it is stretched
        q, minus = SparseBundle(b, mapped(q.as_numbers().slots, np.negative), run, q.disjoint), False
    first: Slots = _at_shape(p, shape) if left else ()
    second: Slots = _at_shape(q, shape) if right else ()
    if not first and not second:
        return SparseBundle(y, (), run)
    if ufunc is np.add or ufunc is np.subtract:
        if not second:
            return SparseBundle(y, first, run, p.disjoint)
        if not first:
            return SparseBundle(y, mapped(second, np.negative) if minus else second, run, q.disjoint)
        same = len(first) == len(second) > 1 and p.disjoint and q.disjoint and layouts_of(first) == layouts_of(second)
        slots = added(first, second, run, minus)
        if len(slots) > MOST_SLOTS and shape:
            slots = (in_one_list(slots, shape, run),)
        return SparseBundle(y, slots, run, same)
    if run.faint:
        run.magnifies(ufunc, a, b)
    if not second and (ufunc is np.multiply or ufunc is np.divide):
        return SparseBundle(y, _scaled(ufunc, first, b, shape), run, p.disjoint)
    if not first and ufunc is np.multiply:
        return SparseBundle(y, _scaled(ufunc, second, a, shape), run, q.disjoint)
    a, b = spread_constant(a, shape), spread_constant(b, shape)
    disjoint = (not first or p.disjoint) and (not second or q.disjoint)
    if not disjoint or (first and second):
        met = meet([first, second], shape, run)
    else:
        met = [(w, [d, None] if first else [None, d]) for w, d in first or second]
    if run.counting:
        run.heavy(ufunc, a, y.size, sum(max(d.size for d in both if d is not None) for _, both in met))
    if run.watching:
        run.meets(ufunc, first, second, shape)
    if ufunc is np.multiply:
        return SparseBundle(y, tuple([(w, times(da, a, db, b, w)) for w, (da, db) in met]), run, True)
    rule, tie = BINARY.get(ufunc), TIES.get(ufunc) if run.tied is not None else None
    slots_out = []
    for layout, (da, db) in met:
        a_here, b_here = constant_at(a, layout), constant_at(b, layout)
        y_here = at(y, layout)
        if tie is not None:
            run.note_ties(tie(np.real(a_here), np.real(b_here), da, db), layout, _either(da, db))
        d = None if rule is None else rule(da, a_here, db, b_here, y_here)
        if d is None:
            run.rounded = True
            d = ufunc(a_here if da is None else a_here + da, b_here if db is None else b_here + db) - y_here
        slots_out.append((layout, d))
    return SparseBundle(y, tuple(slots_out), run, True)


def _scaled(ufunc: np.ufunc, slots: Slots, factor: Any, shape: Shape) -> Slots:
    """The slots of a product with a constant, or of a quotient by one."""
    if not getattr(factor, "ndim", 0):
        return tuple([(layout, ufunc(d, factor)) for layout, d in slots])
    factor = spread_constant(factor, shape)
    return tuple([(layout, ufunc(d, at(factor, layout))) for layout, d in slots])


def _at_shape(p: SparseBundle, shape: Shape) -> Slots:
    """The slots of an operand, as numbers, after broadcasting."""
    if p.base.dtype.kind == "b":
        p = p.as_numbers()
    return p.slots if p.base.shape == shape else p.stretched(shape)


def times(da: Array | None, a: Any, db: Array | None, b: Any, layout: Any) -> Any:
    """The difference of a product, of whose factors one at least differs."""
    if db is None:
        return da * constant_at(b, layout)
    if da is None:
        return constant_at(a, layout) * db
    out = constant_at(b, layout) + db
    out *= da
    out += constant_at(a, layout) * db
    return out


def _operation(_: Handler, ufunc: np.ufunc) -> tuple[Handler, Handler]:
    """A binary operator and its reflection: lean, since f is called for its elementwise arithmetic."""
    return lambda self, other: elementwise(ufunc, self, other), lambda self, other: elementwise(ufunc, other, self)


def _updated(_: Handler, forward: Handler) -> Handler:
    return lambda self, other: self._in_place(forward(self, other))


SparseBundle.operators(_operation, _updated, lambda _, ufunc: lambda self: elementwise(ufunc, self))


def as_split(value: Any, like: SparseBundle) -> Any:
    """An operand with its axes split as those of a bundle of the same number of axes, or more."""
    if value is like:
        return like.split
    shape = np.shape(value)
    if not shape:
        return value
    assert like.split is not None
    of = groups(like.shape, like.split.shape)[like.ndim - len(shape) :]
    lengths = [like.split.shape[i] if n > 1 else 1 for n, axes in zip(shape, of, strict=True) for i in axes]
    return np.reshape(value, lengths)


def _joined_again(value: Any, shape: Shape) -> Any:
    """A result of split operands as an array of the shape that is not split."""
    if isinstance(value, SparseBundle):
        return SparseBundle.joining(value.base.reshape(shape), value)
    return value.reshape(shape)


def _near(a: Any, b: Any, da: Array | None, db: Array | None) -> Any:
    """Where two operands that differ by different amounts are equal, or may change places."""
    apart = 0.0 if da is None else da
    if db is not None:
        apart = apart - db
    return (apart != 0) & (alike(a, b) | (np.abs(a - b) <= np.abs(apart)))


def _either(da: Array | None, db: Array | None) -> Array | None:
    """Where one of two operands differs."""
    if da is None or db is None:
        return db if da is None else da
    either: Array = (da != 0) | (db != 0)
    return either


def spread_constant(value: Any, shape: Shape) -> Any:
    """Broadcast an operand to the shape of the result, unless it is one number."""
    if not getattr(value, "ndim", 0) or value.shape == shape:  # np.ndim of a float takes as long as its product
        return value
    return np.broadcast_to(value, shape)


def constant_at(value: Any, layout: Any) -> Any:
    """An operand's entries at a layout's positions."""
    return at(value, layout) if getattr(value, "ndim", 0) else value


def unary(ufunc: np.ufunc, p: SparseBundle) -> Any:
    b = p.base
    if ufunc.nout != 1:
        raise refuse(f"np.{ufunc.__name__}")
    if p.split is not None:
        return _joined_again(unary(ufunc, p.split), p.shape)
    if p.run.imaginary and ufunc not in UNARY and b.dtype.kind == "c":
        same, slope_of = of_numpy(ufunc), known_slope(ufunc)
        if same is not None:
            return elementwise(same, p)
        if slope_of is not None:
            return _by_slope(ufunc, slope_of, p)
    y = ufunc(b)
    kind = y.dtype.kind
    if kind == "b":
        if ufunc in (np.logical_not, np.invert) and b.dtype == bool:
            return SparseBundle(y, p.slots, p.run, p.disjoint)
        for layout, d in p.resolved().slots:
            _note_edges(ufunc, p, b, layout, d)
        slots = tuple((w, ufunc(at(b, w) + d) ^ at(y, w)) for w, d in p.slots)
        return _truth(y, slots, p.run)
    if kind not in "fc":
        raise refuse(f"np.{ufunc.__name__} of integers")
    known = p.known
    if known and known[0] is ufunc and known[1] is p.slots:  # softmax is written with two exponentials
        return SparseBundle(y, known[2], p.run, True)
    asked = p
    p = p.as_numbers()
    if ufunc is np.negative:
        return SparseBundle(y, mapped(p.slots, np.negative), p.run, p.disjoint)
    if ufunc in (np.positive, np.conjugate):
        return p.copy()
    if p.run.counting:
        p.run.heavy(ufunc, b, y.size, sum(d.size for _, d in p.slots))
    if p.run.faint:
        p.run.magnifies(ufunc, b)
    if p.run.watching:
        p.run.meets(ufunc, p.slots, (), y.shape)
    rule = UNARY.get(ufunc) or special_rule(ufunc)
    out = []
    for layout, d in p.resolved().slots:
        b_here, y_here = at(b, layout), at(y, layout)
        _note_edges(ufunc, p, b, layout, d)
        change = None if rule is None else rule(d, b_here, y_here)
        if change is None:
            p.run.rounded = True
            change = ufunc(b_here + d) - y_here
        out.append((layout, change))
    slots = tuple(out)
    if slots:
        asked.known = ufunc, asked.slots, slots
    return SparseBundle(y, slots, p.run, True)


def _by_slope(function: Any, slope_of: Slope, p: SparseBundle) -> SparseBundle:
    """A function of real numbers, also at a complex point: to it the imaginary part is as small as a difference."""
    real, beside = p.base.real, p.base.imag
    y = np.asarray(function(real))[()]
    slope, bend = slope_of(real, y)
    if not (np.isfinite(bend).all() and all(small(d, constant_at(bend, layout)) for layout, d in p.slots)):
        raise refuse(f"{function.__name__} here")
    if p.run.faint:
        p.run.magnifies(function, real)
    if p.run.watching:
        p.run.meets(None, p.slots, (), y.shape)
    if p.base.dtype.kind == "c":
        y, slope = y + 1j * (beside * slope), slope + 1j * (beside * bend * slope)
    slots = tuple([(layout, d * constant_at(slope, layout)) for layout, d in p.slots])
    return SparseBundle(y, slots, p.run, p.disjoint)


def _note_edges(ufunc: np.ufunc, p: SparseBundle, b: Any, layout: Any, d: Array) -> None:
    if p.run.tied is not None and ufunc in EDGES:
        p.run.note_ties(EDGES[ufunc](np.real(at(b, layout))), layout, d)


# where they may have a kink, or no finite slope, or change
EDGES: dict[np.ufunc, Callable[[Any], Any]] = {
    **dict.fromkeys((np.absolute, np.fabs, np.sqrt, np.cbrt, np.sign, np.signbit, np.logical_not), lambda b: b == 0),
    **dict.fromkeys((np.floor, np.ceil, np.trunc), lambda b: b == np.floor(b)),
    np.rint: lambda b: b - 0.5 == np.floor(b),
}
TIES: dict[np.ufunc, Callable[[Any, Any, Array | None, Array | None], Any]] = {
    **dict.fromkeys((np.maximum, np.minimum, np.fmax, np.fmin), _near),
    np.hypot: lambda a, b, *_: (a == 0) & (b == 0),
    np.arctan2: lambda a, b, *_: (a == 0) & (b <= 0),
    np.remainder: lambda a, b, *_: np.remainder(a, b) == 0,
    np.power: lambda a, b, *_: (a == 0) & (b != np.floor(b)),
    np.float_power: lambda a, b, *_: (a == 0) & (b != np.floor(b)),
}
LOGICAL = (np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor)


def _condition(ufunc: np.ufunc, p: Any, q: Any, a: Any, b: Any, y: Any) -> Any:
    """A comparison, or a logical operation on comparisons: the base alone where no row differs."""
    run = p.run if isinstance(p, SparseBundle) else q.run
    if run.imaginary and ufunc not in LOGICAL:
        return _decided(ufunc, p, q, np.real(a), np.real(b))
    operands = []
    for value in (p, q):
        if isinstance(value, SparseBundle):
            operands.append((value if ufunc in LOGICAL else value.as_numbers()).stretched(y.shape))
        else:
            operands.append(())
    a, b = spread_constant(a, y.shape), spread_constant(b, y.shape)
    slots = []
    for layout, ds in meet(operands, y.shape, run):
        here = []
        if run.tied is not None and ufunc not in LOGICAL:
            # whether they move apart is not to be seen: tanh(x) and x are equal at 0 to first order
            equal = constant_at(a, layout) == constant_at(b, layout)
            for d in ds:
                run.note_ties(equal, layout, d)
        for value, d in zip((a, b), ds, strict=True):
            v = constant_at(value, layout)
            here.append(v if d is None else v ^ d if d.dtype == bool else v + d)
        slots.append((layout, ufunc(*here) ^ at(y, layout)))
    return _truth(y, tuple(slots), run)


def _decided(ufunc: np.ufunc, p: Any, q: Any, a: Any, b: Any) -> Any:
    """A comparison at a complex point: that of the real parts at x."""
    equal = np.asarray(a == b)
    for value in (p, q):
        if isinstance(value, SparseBundle):
            for layout, d in value.stretched(equal.shape):
                value.run.note_ties(at(equal, layout), layout, d)
    return ufunc(a, b)


def _truth(base: Any, slots: Slots, run: Run) -> Any:
    slots = tuple((layout, d) for layout, d in slots if d.any())
    if slots:
        return SparseBundle(base, slots, run, True)
    return base


def choose(condition: Any, p: Any, q: Any) -> Any:
    """np.where with three arguments."""
    c, a, b = (v.base if isinstance(v, SparseBundle) else v for v in (condition, p, q))
    bundles = [v for v in (condition, p, q) if isinstance(v, SparseBundle)]
    run = bundles[0].run
    y = np.where(c, a, b)
    if isinstance(condition, SparseBundle) and condition.dtype != bool:
        condition = elementwise(np.not_equal, condition, 0)
        c = condition.base if isinstance(condition, SparseBundle) else condition
    operands: list[Any] = [
        v.stretched(y.shape)
        if isinstance(v, SparseBundle) and v.dtype == bool and v is condition
        else v.as_numbers().stretched(y.shape)
        if isinstance(v, SparseBundle)
        else ()
        for v in (condition, p, q)
    ]
    if y.dtype.kind not in "fc":
        raise refuse("np.where of truth values or integers")
    c, a, b = (spread_constant(np.asarray(v), y.shape) for v in (c, a, b))
    slots = []
    for layout, (dc, da, db) in meet(operands, y.shape, run):
        a_here, b_here, c_here = constant_at(a, layout), constant_at(b, layout), constant_at(c, layout)
        if dc is None:
            # the side not chosen may be infinite or NaN: it must not be touched
            d = np.where(c_here, 0.0 if da is None else da, 0.0 if db is None else db)
        else:
            d = selection(c_here ^ dc, da, a_here, db, b_here, at(y, layout))
        slots.append((layout, d))
    return SparseBundle(y, tuple(slots), run, True)
