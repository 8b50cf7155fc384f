"""numpy's functions and an array's methods, for a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from ..arraylike import Array, Handler, entering
from ..composites import COMPOSITES
from .bundle import FUNCTIONS, METHODS, SparseBundle, choose, elementwise, normal_axes, plain_key
from .layout import Box, Entries, Shape, groups, insert_axes, place
from .meeting import MOST_SLOTS
from .rules import expm1, log1p, scaled
from .slots import (
    ROUNDED,
    Run,
    Slots,
    added,
    as_rows,
    at,
    collected,
    contracted,
    copied,
    crossed,
    entries_of,
    gathered,
    mapped,
    rearranged,
    refuse,
    rows_of,
    spread,
    spread_box,
)

_function: Any  # of numpy, in the loops below that fill the tables


handles = entering(FUNCTIONS)


def base_of(value: Any) -> Any:
    """The array at x."""
    return value.base if isinstance(value, SparseBundle) else np.asarray(value)


def slots_of(value: Any) -> Slots:
    """The differences, none for a constant."""
    return value.as_numbers().slots if isinstance(value, SparseBundle) else ()


def as_numpy(found: SparseBundle, value: Any) -> SparseBundle:
    """The same with the value as numpy rounds it, in an order of its own; at a complex point as it is."""
    return found if found.dtype.kind == "c" else SparseBundle(value, found.slots, found.run)


def run_of(values: Any) -> Run:
    """The run of the first bundle."""
    return next(value.run for value in values if isinstance(value, SparseBundle))


# ---------------------------------------------------------------------------------------------------------------
# Reductions. Composites keep numpy's own base, which rounds in its own order.
# ---------------------------------------------------------------------------------------------------------------


@handles(np.sum)
def _sum(
    a: Any, axis: Any = None, dtype: Any = None, keepdims: Any = False, initial: Any = None, where: Any = None
) -> Any:
    if dtype is not None and np.dtype(dtype) != np.float64:
        raise refuse("np.sum with dtype=")
    total = (a if where is None else choose(where, a, 0.0)).total(axis, keepdims is True)
    return total if initial is None else total + initial


@handles(np.mean)
def _mean(a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    total = _sum(a, axis, keepdims=keepdims)
    count = a.size // max(total.size, 1)
    base = np.mean(a.base, axis=axis, keepdims=keepdims is True)
    return SparseBundle(base, mapped(total.slots, lambda d: d / count), a.run)


@handles(np.var)
def _var(a: Any, axis: Any = None, ddof: int = 0, keepdims: Any = False) -> Any:
    away = a - _mean(a, axis, keepdims=True)
    total = _sum(away * away, axis, keepdims=keepdims)
    plain = np.var(a.base.real, axis=axis, ddof=ddof, keepdims=keepdims is True)
    return as_numpy(total / (a.size // max(total.size, 1) - ddof), plain)


@handles(np.std)
def _std(a: Any, axis: Any = None, ddof: int = 0, keepdims: Any = False) -> Any:
    return np.sqrt(_var(a, axis, ddof, keepdims))


def _extreme(compare: np.ufunc) -> Handler:
    """np.max or np.min."""

    def handler(a: Any, axis: Any = None, keepdims: Any = False, initial: Any = None) -> Any:
        found = a.extreme(compare, axis, keepdims is True)
        return found if initial is None else compare(found, initial)

    return handler


_max, _min = FUNCTIONS[np.max], FUNCTIONS[np.min] = _extreme(np.maximum), _extreme(np.minimum)


def _position(compare: np.ufunc, which: Any, a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """np.argmax or np.argmin: an integer array whose differences are lost only if f makes use of them."""
    base = which(np.real(a.base), axis=axis, keepdims=keepdims is True)
    if a.split is None and not a.slots:
        return base
    if axis is None or not isinstance(axis, int | np.integer):
        if keepdims is True:
            raise refuse("np.argmax or np.argmin of all entries with keepdims=")
        return _position(compare, which, a.reshape(-1), 0)
    axis = int(axis) % a.ndim
    if a.split is not None and len(a.split_axes((axis,))) == 1:
        return _position(compare, which, a.split, a.split_axes((axis,))[0]).reshape(base.shape)
    moved = a.as_numbers().transpose([*(i for i in range(a.ndim) if i != axis), axis])
    best = np.reshape(base, moved.shape[:-1])
    real = np.real(moved.base)
    box, below, d = moved.along_last(real - compare.reduce(real, axis=-1, keepdims=True))
    a.run.note_ties_among(below, real, box, d)
    if a.run.imaginary:
        return base
    count = below.shape[-1]
    if count > 1:
        order = 1 if compare is np.minimum else count - 2
        gap = np.abs(np.partition(below, order, axis=-1)[..., order])
        close = ~(gap > float(d.real.max(initial=0.0)) - float(d.real.min(initial=0.0)))
        if close.any():
            smaller = Box(box.row, box.start[:-1], box.dims[:-1])
            each = d.reshape(-1, *below.shape)
            change = np.zeros((len(each), *gap.shape), dtype=np.intp)
            change[:, close] = which(below[close] + each[:, close], axis=-1) - at(best, smaller)[close]
            if change.any():
                slots = ((smaller, change.reshape(d.shape[:-1])),)
                out = SparseBundle(best, slots if best.ndim else (as_rows(*slots[0]),), a.run)
                return out.reshape(base.shape)
    return base


FUNCTIONS[np.argmax] = lambda a, axis=None, keepdims=False: _position(np.maximum, np.argmax, a, axis, keepdims)
FUNCTIONS[np.argmin] = lambda a, axis=None, keepdims=False: _position(np.minimum, np.argmin, a, axis, keepdims)


def _of_factors(a: SparseBundle, base: Any, collect: Callable[[SparseBundle], SparseBundle]) -> SparseBundle:
    """Products of entries: P (exp(sum(log(1 + d/b))) - 1), where `collect` adds up as they multiply."""
    if not np.all(a.base):
        raise refuse("a product over zeros")
    logs = tuple((layout, log1p(d / at(a.base, layout))) for layout, d in a.resolved().slots)
    total = collect(SparseBundle(np.zeros_like(a.base), logs, a.run, True)).resolved().slots
    if a.run.watching:
        a.run.meets(None, total, (), np.shape(base))
    return SparseBundle(base, tuple((layout, scaled(expm1(d), at(base, layout))) for layout, d in total), a.run, True)


@handles(np.prod)
def _prod(a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    base = np.prod(a.base, axis=axis, keepdims=keepdims is True)
    return _of_factors(a, base, lambda logs: logs.total(axis, keepdims is True))


@handles(np.cumprod)
def _cumprod(a: Any, axis: Any = None) -> Any:
    return _of_factors(a, np.cumprod(a.base, axis=axis), lambda logs: _cumsum(logs, axis))


def _of_truth(function: Any) -> Handler:
    """What is decided by the truth at x."""
    return lambda a, axis=None: function(a.truth(), axis=axis)


for _function in (np.any, np.all, np.count_nonzero):
    FUNCTIONS[_function] = _of_truth(_function)


@handles(np.cumsum)
def _cumsum(a: Any, axis: Any = None) -> Any:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis % a.ndim)
    slots, base = slots_of(a), np.cumsum(a.base, axis=axis)
    total = np.cumsum(spread(slots, a.shape, a.run), axis=2 + axis)
    if a.run.filled > 1 or not slots:
        return SparseBundle(base, ((spread_box(a.shape, a.run), total),), a.run)
    there = np.cumsum(spread(mapped(slots, np.ones_like), a.shape, a.run)[0], axis=1 + axis).reshape(a.run.rows, -1)
    row, position = np.nonzero(there)
    return SparseBundle(base, ((Entries(row, position), total.reshape(*total.shape[:2], -1)[:, row, position]),), a.run)


MATRIX_NORMS: dict[Any, Handler] = {
    1: lambda a: _max(abs(a).total(0)),
    np.inf: lambda a: _max(abs(a).total(1)),
    2: lambda a: np.linalg.svdvals(a)[0],
    "nuc": lambda a: np.sum(np.linalg.svdvals(a)),
}


@handles(np.linalg.norm)
def _norm(
    a: Any,
    ord: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    plain = np.linalg.norm(a.base.real, ord, axis, keepdims)
    vectors = a.ndim == 1 or isinstance(axis, int)
    if ord is None or (ord == "fro" and not vectors) or (ord == 2 and vectors):
        out = np.sqrt(_sum(a * a, axis, keepdims=keepdims))
    elif ord == 1 and vectors:
        out = _sum(abs(a), axis, keepdims=keepdims)
    elif ord == np.inf and vectors:
        out = _max(abs(a), axis, keepdims)
    elif vectors and isinstance(ord, int | float) and 0 < ord < np.inf:
        out = _sum(abs(a) ** ord, axis, keepdims=keepdims) ** (1.0 / ord)
    elif a.ndim == 2 and axis is None and not keepdims and ord in MATRIX_NORMS:
        out = MATRIX_NORMS[ord](a)
    else:
        raise refuse(f"np.linalg.norm with ord={ord!r}")
    return as_numpy(out, plain)


# ---------------------------------------------------------------------------------------------------------------
# Products: linear in each operand, d(a b) = da b + a db + da db
# ---------------------------------------------------------------------------------------------------------------


def _separate(first: Slots, second: Slots) -> bool:
    """Whether no row changes both."""

    def span(slots: Slots) -> list[tuple[int, int]]:
        return [
            (layout.row, layout.row + sum(dim.row * (dim.length - 1) for dim in layout.dims))
            if isinstance(layout, Box)
            else (int(layout.row.min()), int(layout.row.max()))
            for layout, _ in slots
        ]

    return all(high < low2 or high2 < low for low, high in span(first) for low2, high2 in span(second))


def _multiplications(*operands: tuple[Any, Sequence[int]]) -> int:
    """How many a product takes at one point: its operands with their labels."""
    return prod({label: n for array, of in operands for label, n in zip(of, np.shape(array), strict=True)}.values())


def product(base: Any, a: Any, la: Sequence[int], b: Any, lb: Sequence[int], out: Sequence[int]) -> Any:
    """The einsum of two operands, of which `base` is the value at x."""
    run = run_of((a, b))
    for value, labels in ((a, la), (b, lb)):
        if isinstance(value, SparseBundle) and value.split is not None:
            return _split_product(base, value, labels, a, la, b, lb, out)
    first, second = slots_of(a), slots_of(b)
    if not first and not second:
        return SparseBundle(base, (), run)
    slots: Slots = ()
    multiplications = _multiplications((base_of(a), la), (base_of(b), lb))
    run.product(multiplications)
    both = bool(first and second)
    of_entries = both and list(la) == list(lb) and not out
    # at a complex point, where steps are tiny, the product of two differences is nothing
    of_points = both and not of_entries and not run.imaginary and not _separate(first, second)
    if of_points:
        run.allow(run.rows * np.size(base))
        run.multiplies(run.points * multiplications, run.points * (base_of(a).size + base_of(b).size))
    if run.watching and both:
        _watched(run, first, a.shape, la, second, b.shape, lb, out, base)
    if first:
        slots = contracted(first, a.shape, la, [(base_of(b), lb)], out, run)
    if second:
        slots = added(slots, contracted(second, b.shape, lb, [(base_of(a), la)], out, run), run)
    if of_entries:
        slots = added(slots, crossed(first, second, a.shape, run), run)
    elif of_points:
        da, db = spread(first, a.shape, run), spread(second, b.shape, run)
        slots = added(slots, ((spread_box(np.shape(base), run), _for_each(da, la, db, lb, out)),), run)
    return SparseBundle(base, slots, run)


def _for_each(da: Any, la: Sequence[int], db: Any, lb: Sequence[int], out: Sequence[int]) -> Any:
    """The einsum of the differences of each point, along the first two axes."""
    left, right = [label for label in la if label not in lb], [label for label in lb if label not in la]
    shared = [label for label in la if label in lb]
    if sorted((*left, *right)) != sorted(out):
        column = 1 + max((*la, *lb, *out), default=0)
        both = [column, column + 1]
        return np.einsum(da, [*both, *la], db, [*both, *lb], [*both, *out])
    # as products of matrices: 10x to 20x faster
    a = da.transpose(0, 1, *(2 + la.index(label) for label in (*left, *shared)))
    b = db.transpose(0, 1, *(2 + lb.index(label) for label in (*shared, *right)))
    lengths = (*a.shape[: 2 + len(left)], *b.shape[2 + len(shared) :])
    size = prod(b.shape[2 : 2 + len(shared)])
    product = a.reshape(*a.shape[:2], -1, size) @ b.reshape(*b.shape[:2], size, -1)
    have = (*left, *right)
    return product.reshape(lengths).transpose(0, 1, *(2 + have.index(label) for label in out))


def _split_product(
    base: Any, like: SparseBundle, labels: Sequence[int], a: Any, la: Sequence[int], b: Any, lb: Sequence[int], out: Any
) -> Any:
    """The same with the axes of both operands split as those of one of them."""
    assert like.split is not None
    parts = dict(zip(labels, groups(like.shape, like.split.shape), strict=True))
    lengths = like.split.shape
    begin = 1 + max((*la, *lb, *out), default=0)

    def split(value: Any, of: Sequence[int]) -> tuple[Any, list[int]]:
        shape, names = [], []
        for label, n in zip(of, np.shape(base_of(value)), strict=True):
            axes = parts.get(label)
            shape += [n] if axes is None else [lengths[i] for i in axes]
            names += [label] if axes is None else [begin + i for i in axes]
        return like.split if value is like else np.reshape(value, shape), names

    a, la = split(a, la)
    b, lb = split(b, lb)
    names = [name for label in out for name in ([label] if label not in parts else [begin + i for i in parts[label]])]
    sizes = {name: n for v, of in ((a, la), (b, lb)) for name, n in zip(of, np.shape(base_of(v)), strict=True)}
    number = {name: i for i, name in enumerate(dict.fromkeys((*la, *lb)))}
    found = product(
        np.reshape(base, [sizes[name] for name in names]),
        a,
        [number[name] for name in la],
        b,
        [number[name] for name in lb],
        [number[name] for name in names],
    )
    return found.reshape(np.shape(base))


def _watched(
    run: Run,
    first: Slots,
    of_first: tuple[int, ...],
    la: Sequence[int],
    second: Slots,
    of_second: tuple[int, ...],
    lb: Sequence[int],
    out: Sequence[int],
    base: Any,
) -> None:
    """What a product brings together: at each place of two vectors, else at each place of the result."""
    if list(la) == list(lb) and not out:
        run.meets(np.multiply, first, second, of_first)
        return
    ones_a, ones_b = np.ones(of_first), np.ones(of_second)
    shape = np.shape(base)
    reached = contracted(first, of_first, la, [(ones_b, lb)], out, run)
    run.meets(np.multiply, reached, contracted(second, of_second, lb, [(ones_a, la)], out, run), shape)


def _matmul(a: Any, b: Any) -> Any:
    if not isinstance(a, SparseBundle) and not isinstance(a, np.ndarray | list | tuple):
        return _sparse_matmul(b, a.T)  # scipy.sparse: A @ x
    if not isinstance(b, SparseBundle) and not isinstance(b, np.ndarray | list | tuple):
        return _sparse_matmul(a, b)
    base = np.matmul(base_of(a), base_of(b))
    na, nb = np.ndim(base_of(a)), np.ndim(base_of(b))
    batch = max(na, nb) - 2
    if batch > 0 and min(na, nb) > 2 and base_of(a).shape[: na - 2] != base_of(b).shape[: nb - 2]:
        raise refuse("np.matmul of stacks that broadcast")
    row, inner, column = 60, 61, 62
    la = [*range(batch - (na - 2), batch), row, inner] if na > 1 else [inner]
    lb = [*range(batch - (nb - 2), batch), inner, column] if nb > 1 else [inner]
    out = [*range(batch), *([row] if na > 1 else []), *([column] if nb > 1 else [])]
    return product(base, a, *_small(la, lb, out, b))


def _small(la: list[int], lb: list[int], out: list[int], b: Any) -> tuple[Any, ...]:
    """Number the labels from 0, since np.einsum takes few."""
    names = {label: i for i, label in enumerate(dict.fromkeys((*la, *lb, *out)))}
    return [names[i] for i in la], b, [names[i] for i in lb], [names[i] for i in out]


def _sparse_matmul(a: Any, matrix: Any) -> SparseBundle:
    """x @ A for a scipy.sparse A: each entry of x meets the entries of its row of A."""
    if a.ndim != 1:
        raise refuse("products of scipy.sparse matrices with other than vectors")
    rows = matrix.tocsr()
    return scattered(a, rows.indptr, rows.indices, rows.data, rows.T @ a.base)


def scattered(a: SparseBundle, begin: Array, column: Array, weight: Array, base: Array) -> SparseBundle:
    """Add each entry of a vector, times weights, to entries of another: the columns of its row of a matrix by rows."""
    slots: Slots = ()
    for row, position, d in entries_of(a.slots, a.shape, a.run):
        count = begin[position + 1] - begin[position]
        a.run.allow(int(count.sum()))
        entry, nth = copied(count)
        which = nth + begin[position[entry]]
        key, inverse = np.unique(row[entry] * base.size + column[which], return_inverse=True)
        terms = d[:, entry] * weight[which]
        if key.size == entry.size:
            total = np.empty_like(terms)
            total[:, inverse] = terms
        else:
            total = np.zeros((d.shape[0], key.size), dtype=d.dtype)
            for total_column, column_terms in zip(total, terms, strict=True):
                np.add.at(total_column, inverse, column_terms)
        slots = (*slots, (Entries(*np.divmod(key, base.size)), total))
    return SparseBundle(base, slots, a.run)


@handles(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if out is not None:
        if not isinstance(out, SparseBundle):
            raise refuse("np.dot with out= of a plain array")
        return out._in_place(_dot(a, b))
    if not np.ndim(base_of(a)) or not np.ndim(base_of(b)):
        return a * b
    return _over(np.dot(base_of(a), base_of(b)), a, b, [-1], [-2 if np.ndim(base_of(b)) > 1 else -1])


@handles(np.inner)
def _inner(a: Any, b: Any) -> Any:
    if not np.ndim(base_of(a)) or not np.ndim(base_of(b)):
        return a * b
    return _over(np.inner(base_of(a), base_of(b)), a, b, [-1], [-1])


@handles(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    na = np.ndim(base_of(a))
    if isinstance(axes, int):
        axes = list(range(na - axes, na)), list(range(axes))
    over_a, over_b = ([axis] if isinstance(axis, int) else list(axis) for axis in axes)
    return _over(np.tensordot(base_of(a), base_of(b), (over_a, over_b)), a, b, over_a, over_b)


def _over(base: Any, a: Any, b: Any, over_a: Sequence[int], over_b: Sequence[int]) -> Any:
    """The sum of products over some axes of both operands, in the order of the others."""
    na, nb = np.ndim(base_of(a)), np.ndim(base_of(b))
    la, lb = list(range(na)), list(range(na, na + nb))
    for i, j in zip(over_a, over_b, strict=True):
        lb[j % nb] = i % na
    summing = {i % na for i in over_a}
    return product(base, a, la, b, lb, [label for label in la + lb if label not in summing])


def _without_dots(names: list[str], right: str, dims: list[int]) -> tuple[list[str], str]:
    """The subscripts with letters for the ellipsis."""
    free = "".join(c for c in ascii_letters if c not in "".join(names))
    counts = [n - len(name) + 3 if "." in name else 0 for name, n in zip(names, dims, strict=True)]
    most = max(counts)
    names = [name.replace("...", free[most - n : most]) for name, n in zip(names, counts, strict=True)]
    return names, right.replace("...", free[:most])


def _without_diagonals(name: str, value: Any) -> tuple[str, Any]:
    """An operand with each letter once."""
    for letter in dict.fromkeys(name):
        while isinstance(value, SparseBundle) and name.count(letter) > 1:
            i = name.index(letter)
            value = np.diagonal(value, 0, i, name.index(letter, i + 1))
            name = name.replace(letter, "", 2) + letter
    return name, value


@handles(np.einsum)
def _einsum(subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    if not isinstance(subscripts, str):
        raise refuse("np.einsum without subscripts")
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    if not arrow:
        right = "..." * ("." in left) + "".join(sorted(c for c in set(left) - {",", "."} if left.count(c) == 1))
    names, right = _without_dots(left.split(","), right, [np.ndim(base_of(value)) for value in operands])
    base = np.einsum(subscripts, *(base_of(value) for value in operands))
    names, operands = zip(*map(_without_diagonals, names, operands), strict=True)  # type: ignore[assignment]
    number = {name: i for i, name in enumerate(dict.fromkeys("".join(names)))}
    labels = [[number[name] for name in part] for part in names]
    out = [number[name] for name in right]
    lengths: dict[int, int] = {}
    for part, value in zip(labels, operands, strict=True):
        if any(lengths.setdefault(label, n) != n for label, n in zip(part, np.shape(base_of(value)), strict=True)):
            raise refuse("np.einsum that stretches an axis of length 1")
    run = run_of(operands)
    bundles = [i for i, value in enumerate(operands) if isinstance(value, SparseBundle)]
    if len(bundles) == 1:
        i = bundles[0]
        others = [(np.asarray(v), labels[j]) for j, v in enumerate(operands) if j != i]
        run.product(prod(lengths.values()))
        return SparseBundle(
            base, contracted(slots_of(operands[i]), operands[i].shape, labels[i], others, out, run), run
        )
    # several operands are perturbed: two at a time
    value, have = operands[0], labels[0]
    for i in range(1, len(operands)):
        needed = {*out, *(label for part in labels[i + 1 :] for label in part)}
        keep = [label for label in dict.fromkeys(have + labels[i]) if label in needed]
        keep = out if i == len(operands) - 1 else keep
        step = np.einsum(base_of(value), have, base_of(operands[i]), labels[i], keep)
        if isinstance(value, SparseBundle) or isinstance(operands[i], SparseBundle):
            value = product(step, value, have, operands[i], labels[i], keep)
        else:
            value = step
        have = keep
    return SparseBundle(base, value.slots, run)


# ---------------------------------------------------------------------------------------------------------------
# Putting together and taking apart
# ---------------------------------------------------------------------------------------------------------------


@handles(np.concatenate)
def _concatenate(arrays: Sequence[Any], axis: Any = 0) -> Any:
    if axis is None:
        return _concatenate([np.ravel(a) for a in arrays])
    bases = [base_of(a) for a in arrays]
    base = np.concatenate(bases, axis=axis)
    return _side_by_side(arrays, [part.shape for part in bases], base, axis % base.ndim)


@handles(np.stack)
def _stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    base = np.stack([base_of(a) for a in arrays], axis)
    axis %= base.ndim
    return _side_by_side(arrays, [(*base.shape[:axis], 1, *base.shape[axis + 1 :])] * len(arrays), base, axis)


def _side_by_side(arrays: Sequence[Any], shapes: Sequence[Shape], base: Any, axis: int) -> SparseBundle:
    """Arrays, each as one of this shape, one after another along an axis."""
    run, begin = run_of(arrays), 0
    moved: list[Any] = []
    for a, shape in zip(arrays, shapes, strict=True):
        slots = slots_of(a)
        items = tuple([(begin if i == axis else 0, 1, n) for i, n in enumerate(shape)]) if slots else ()
        for layout, d in slots:
            if isinstance(layout, Box):
                box = layout if len(layout.start) == len(shape) else insert_axes(layout, (axis,))
                moved.append((place(box, items), d))
            else:
                index = tuple(slice(s, s + n) for s, _, n in items)
                target = np.arange(base.size).reshape(base.shape)[index]
                moved.append((Entries(layout.row, np.ravel(target)[layout.position]), d))
        begin += shape[axis]
    return SparseBundle(base, collected((), tuple(moved), base.shape, run), run)


@handles(np.broadcast_to)
def _broadcast_to(a: Any, shape: Any) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return SparseBundle(np.broadcast_to(a.base, shape).copy(), a.stretched(shape), a.run, a.disjoint)


@handles(np.flip)
def _flip(a: Any, axis: Any = None) -> Any:
    axes = normal_axes(axis, a.ndim)
    return a[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(a.ndim))]


@handles(np.roll)
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return _roll(a.reshape(-1), shift, 0).reshape(a.shape)
    if not isinstance(axis, int):
        return reduce(lambda part, move: _roll(part, *move), zip(shift, axis, strict=True), a)
    length = a.shape[axis]
    cut = -shift % length if length else 0
    if not cut:
        return a.copy()
    before = (slice(None),) * (axis % a.ndim)
    return _concatenate((a[(*before, slice(cut, None))], a[(*before, slice(None, cut))]), axis)


@handles(np.pad)
def _pad(a: Any, width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    base = np.pad(a.base, width, mode, **kwargs)  # type: ignore[call-overload]
    if mode not in ("constant", "edge", "wrap", "reflect", "symmetric"):
        raise refuse(f"np.pad with mode {mode!r}")
    if mode != "constant":
        source = np.pad(np.arange(a.size).reshape(a.shape), width, mode, **kwargs)  # type: ignore[call-overload]
        return SparseBundle(base, rearranged(a.slots, source, a.shape, a.run), a.run, a.disjoint)
    pairs = np.broadcast_to(np.asarray(width), (a.ndim, 2))
    out = SparseBundle(np.zeros(base.shape, a.dtype), (), a.run)
    out[tuple(slice(before, before + n) for (before, _), n in zip(pairs.tolist(), a.shape, strict=True))] = a
    return SparseBundle(base, out.slots, a.run, a.disjoint)


FUNCTIONS.update(COMPOSITES)


def moving(function: Any) -> None:
    """Register a function that only repeats, drops or moves entries."""

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        source = function(np.arange(a.size).reshape(a.shape), *args, **kwargs)
        slots = rearranged(a.slots, source, a.shape, a.run)
        return SparseBundle(function(a.base, *args, **kwargs), slots, a.run, a.disjoint)

    FUNCTIONS[function] = handler


for _function in (
    np.tile, np.repeat, np.take, np.delete, np.rot90, np.diagonal, np.resize, np.fft.fftshift, np.fft.ifftshift,
    np.lib.stride_tricks.sliding_window_view,
):  # fmt: skip
    moving(_function)


@handles(np.compress)
def _compress(condition: Any, a: Any, axis: Any = None) -> Any:
    return np.take(a, np.flatnonzero(plain_key(condition)), axis)


# --- put in order: as at x. Rows that may change the order are lost


def _order(function: Any, a: SparseBundle, *args: Any, axis: int = -1) -> Array:
    """np.argsort or np.argpartition."""
    real = np.real(a.base)
    rank = np.argsort(real, axis=axis)
    gap = np.diff(np.take_along_axis(real, rank, axis), axis=axis, prepend=-np.inf, append=np.inf)
    nearest = np.minimum(np.take(gap, range(a.shape[axis]), axis), np.take(gap, range(1, a.shape[axis] + 1), axis))
    room = np.empty_like(real)
    np.put_along_axis(room, rank, 0.5 * nearest, axis)
    room -= ROUNDED * np.abs(real)
    for layout, d in a.slots:
        a.run.lost |= rows_of(((layout, (d != 0) & (np.abs(d) >= at(room, layout))),), a.run)
    order: Array = function(real, *args, axis=axis)
    return order


@handles(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    indices = plain_key(indices)
    if not isinstance(arr, SparseBundle):
        return np.take_along_axis(arr, indices, axis)
    source = np.take_along_axis(np.arange(arr.size).reshape(arr.shape), indices, axis)
    base = np.take_along_axis(arr.base, indices, axis)
    return SparseBundle(base, gathered(arr.slots, source, arr.shape, arr.run), arr.run)


def _along(a: SparseBundle, axis: Any) -> tuple[SparseBundle, int]:
    """An array and its axis, or the flat one."""
    return (a.reshape(-1), 0) if axis is None else (a, axis)


@handles(np.argsort)
def _argsort(a: Any, axis: Any = -1, kind: Any = None) -> Array:
    a, axis = _along(a, axis)
    return _order(partial(np.argsort, kind=kind), a, axis=axis)


@handles(np.argpartition)
def _argpartition(a: Any, kth: Any, axis: Any = -1) -> Array:
    a, axis = _along(a, axis)
    return _order(np.argpartition, a, kth, axis=axis)


@handles(np.sort)
def _sort(a: Any, axis: Any = -1, kind: Any = None) -> Any:
    a, axis = _along(a, axis)
    return _take_along_axis(a, _argsort(a, axis), axis)


@handles(np.partition)
def _partition(a: Any, kth: Any, axis: Any = -1) -> Any:
    a, axis = _along(a, axis)
    return _take_along_axis(a, _argpartition(a, kth, axis), axis)


def _quantile(function: Any, scale: float, a: Any, q: Any, axis: Any = None) -> Any:
    """Between two neighbours in order."""
    plain = function(a.base.real, q, axis=axis)
    a, axis = _along(a, axis)
    line = np.moveaxis(np.sort(a, axis), axis, 0)
    place = np.asarray(q) / scale * (len(line) - 1)
    low = np.minimum(place.astype(int), len(line) - 2) if len(line) > 1 else np.zeros(place.shape, int)
    share = (place - low).reshape(place.shape + (1,) * (line.ndim - 1))
    return as_numpy(line[low] + (line[np.minimum(low + 1, len(line) - 1)] - line[low]) * share, plain)


FUNCTIONS[np.quantile] = partial(_quantile, np.quantile, 1.0)
FUNCTIONS[np.percentile] = partial(_quantile, np.percentile, 100.0)
FUNCTIONS[np.median] = lambda a, axis=None: _quantile(lambda a, q, axis: np.median(a, axis), 1.0, a, 0.5, axis)


def _places(function: Any, v: Any) -> Array:
    """Where entries stand among fixed ones: as at x."""
    if not isinstance(v, SparseBundle):
        return np.asarray(function(v))
    real = np.real(v.base)
    found = np.asarray(function(real))
    edge = (function(np.nextafter(real, -np.inf)) != found) | (function(np.nextafter(real, np.inf)) != found)
    for layout, d in v.slots:
        v.run.note_ties(at(edge, layout), layout, d)
        if not v.run.imaginary:
            moved = function(at(v.base, layout) + d) != at(found, layout)
            v.run.lost |= rows_of(((layout, moved),), v.run)
    return found


@handles(np.searchsorted)
def _searchsorted(a: Any, v: Any, side: Any = "left") -> Array:
    if isinstance(a, SparseBundle):
        raise refuse("np.searchsorted in a perturbed array")
    return _places(lambda v: np.searchsorted(a, v, side), v)


FUNCTIONS[np.digitize] = lambda x, bins, right=False: _places(lambda v: np.digitize(v, bins, right), x)


@handles(np.diag)
def _diag(a: Any, k: int = 0) -> Any:
    if a.ndim == 2:
        return FUNCTIONS[np.diagonal](a, k)
    length = a.size + abs(k)
    out = SparseBundle(np.zeros((length, length), a.dtype), (), a.run)
    i = np.arange(a.size)
    out[i + max(-k, 0), i + max(k, 0)] = a
    return out


@handles(np.trace)
def _trace(a: Any, offset: int = 0) -> Any:
    total = FUNCTIONS[np.diagonal](a, offset).total()
    return SparseBundle(np.trace(a.base, offset), total.slots, a.run)


for _function in (np.triu, np.tril):
    FUNCTIONS[_function] = lambda a, k=0, _function=_function: choose(_function(np.ones(a.shape, bool), k), a, 0.0)


@handles(np.split, np.array_split)
def _split(a: Any, parts: Any, axis: int = 0) -> Any:
    pieces = np.array_split(np.arange(a.shape[axis]), parts)
    before = (slice(None),) * (axis % a.ndim)
    return [a[(*before, slice(int(p[0]), int(p[-1]) + 1) if p.size else slice(0, 0))] for p in pieces]


def _like(function: Any) -> Handler:
    """An array like a bundle that no row changes."""

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(a, SparseBundle) or any(isinstance(value, SparseBundle) for value in args):
            return NotImplemented
        return SparseBundle(function(a.base, *args, **kwargs), (), a.run)

    return handler


for _function in (np.zeros_like, np.ones_like, np.full_like):
    FUNCTIONS[_function] = _like(_function)
FUNCTIONS[np.empty_like] = FUNCTIONS[np.zeros_like]


FUNCTIONS.update({
    np.nansum: lambda a, axis=None: np.sum(np.where(np.isnan(a), 0.0, a), axis),
    np.copy: lambda a: a.copy(),
    np.iscomplexobj: lambda x: bool(x.dtype.kind == "c"),
    np.ndim: lambda a: a.ndim,
    np.ptp: lambda a, axis=None: _max(a, axis) - _min(a, axis),
    np.ravel: lambda a, order="C": a.reshape(-1, order=order),
    np.real: lambda val: val.real,
    np.real_if_close: lambda a: a.real,
    np.reshape: lambda a, shape, order="C": a.reshape(shape, order=order),
    np.shape: lambda a: a.shape,
    np.size: lambda a: a.size,
    np.transpose: lambda a, axes=None: a.transpose(axes),
})  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------
# Choices, differences, and functions of each entry
# ---------------------------------------------------------------------------------------------------------------


@handles(np.where)
def _where(condition: Any, *values: Any) -> Any:
    if not values:
        return np.where(condition.truth())
    return choose(condition, *values)


@handles(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    out = a if low is None else np.maximum(a, low)
    return out if high is None else np.minimum(out, high)


@handles(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    ndim = np.ndim(base_of(y))
    before = (slice(None),) * (axis % ndim)
    width = dx
    if x is not None:
        along = np.ndim(base_of(x)) == 1
        width = np.diff(x, axis=0 if along else axis)
        width = width.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)]) if along else width
    return np.sum(width * (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2.0, axis)


@handles(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    base = np.convolve(base_of(a), base_of(v), mode)  # type: ignore[call-overload]
    if np.size(base_of(v)) > np.size(base_of(a)):
        a, v = v, a
    size, taps = np.size(base_of(a)), np.size(base_of(v))
    if taps > MOST_SLOTS:
        raise refuse("np.convolve with a long kernel")
    n = size + taps - 1
    out: Any = 0.0
    for i, weight in enumerate(v):
        out = out + np.pad(a, (i, n - size - i)) * weight
    low, high = {"full": (0, n), "same": ((taps - 1) // 2, (taps - 1) // 2 + size), "valid": (taps - 1, size)}[mode]
    return SparseBundle(base, out[low:high].slots, out.run)


@handles(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    if np.size(base_of(v)) > np.size(base_of(a)):
        raise refuse("np.correlate with a longer kernel")
    return _convolve(a, v[::-1], mode)


@handles(np.piecewise)
def _piecewise(x: Any, condlist: Any, funclist: Sequence[Any]) -> Any:
    conditions = list(condlist) if np.ndim(base_of(condlist[0])) or not x.ndim else [condlist]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~reduce(np.logical_or, conditions))
    out = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        here = plain_key(condition)
        if np.any(here):
            out[here] = function(x[here]) if callable(function) else function
    return out


@handles(np.copyto)
def _copyto(dst: Any, src: Any, casting: Any = None, where: Any = True) -> None:
    _own(dst)[...] = src if where is True else choose(where, src, dst)


@handles(np.putmask)
def _putmask(a: Any, mask: Any, values: Any) -> None:
    if np.shape(values) not in ((), a.shape):
        raise refuse("np.putmask with values of another shape")
    _own(a)[...] = choose(mask, values, a)


def _own(a: Any) -> SparseBundle:
    if not isinstance(a, SparseBundle):
        raise refuse("a function that writes into a plain array")
    return a


@handles(np.put)
def _put(a: Any, ind: Any, v: Any) -> None:
    _own(a)[np.unravel_index(plain_key(ind), a.shape)] = v


@handles(np.fill_diagonal)
def _fill_diagonal(a: Any, val: Any) -> None:
    every = np.arange(min(a.shape))
    _own(a)[(every,) * a.ndim] = val


def pointwise(function: Callable[..., Any], a: SparseBundle) -> SparseBundle:
    """A function of each entry that is no ufunc."""
    a.run.rounded = True
    y = function(a.base)
    slots = []
    for layout, d in a.resolved().slots:
        slots.append((layout, function(at(a.base, layout) + d) - at(y, layout)))
    return SparseBundle(y, tuple(slots), a.run, True)


@handles(np.nan_to_num)
def _nan_to_num(x: Any, **kwargs: Any) -> Any:
    if np.isfinite(x.base).all():
        return x.copy()
    return pointwise(lambda v: np.asarray(np.nan_to_num(v, **kwargs)), x)


FUNCTIONS[np.sinc] = lambda x: pointwise(np.sinc, x)
for _function in (np.round, np.around):
    FUNCTIONS[_function] = lambda a, decimals=0: (
        pointwise(lambda v: np.round(v, decimals), a) if decimals else np.rint(a)
    )


# ---------------------------------------------------------------------------------------------------------------

METHODS[np.matmul, "__call__"] = _matmul
METHODS[np.vecdot, "__call__"] = lambda a, b: np.sum(a * b, axis=-1)
METHODS[np.add, "accumulate"] = lambda a, axis=0: _cumsum(a, axis)
METHODS[np.multiply, "accumulate"] = lambda a, axis=0: _cumprod(a, axis)
for _ufunc, _function in {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}.items():
    _handler = FUNCTIONS[_function]
    METHODS[_ufunc, "reduce"] = lambda a, axis=0, _handler=_handler, **kwargs: _handler(a, axis, **kwargs)
for _ufunc in (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.hypot):
    METHODS[_ufunc, "outer"] = lambda a, b, _ufunc=_ufunc: elementwise(
        _ufunc, np.reshape(a, base_of(a).shape + (1,) * np.ndim(base_of(b))), b
    )


for _name in (
    "sum", "mean", "var", "std", "max", "min", "argmax", "argmin", "argsort", "prod", "any", "all", "cumsum",
    "cumprod", "dot", "ravel", "squeeze", "swapaxes", "clip", "round", "trace", "diagonal", "repeat", "take",
):  # fmt: skip
    setattr(SparseBundle, _name, FUNCTIONS[getattr(np, _name)])
OF_ITS_OWN: dict[str, Handler] = {
    "conj": FUNCTIONS[np.real],
    "conjugate": FUNCTIONS[np.real],
    "flatten": lambda self, order="C": self.reshape(-1, order=order).copy(),
}
for _name, _handler in OF_ITS_OWN.items():
    setattr(SparseBundle, _name, _handler)
