"""What residuals are assembled by: sums scattered by index, blocks, grids, tables that are interpolated."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..arraylike import Array, stacked
from .bundle import METHODS, SparseBundle, normal_axes
from .functions import as_numpy, base_of, handles, run_of, scattered
from .slots import refuse


@handles(np.bincount)
def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if isinstance(x, SparseBundle):
        raise refuse("np.bincount of a perturbed array")
    places = np.asarray(x)
    base: Array = np.bincount(places, weights.base.real, minlength)
    if weights.base.dtype.kind == "c":
        base = base + 1j * np.bincount(places, weights.base.imag, minlength)
    return _gathered(weights, places, base)


def _gathered(values: SparseBundle, places: Array, base: Array) -> SparseBundle:
    """Add each entry of a vector to the entry of another that is its place."""
    return scattered(values, np.arange(places.size + 1), places, np.ones(places.size), base)


def _add_at(a: Any, indices: Any, values: Any) -> None:
    if not isinstance(a, SparseBundle) or isinstance(indices, SparseBundle):
        raise refuse("np.add.at of a plain array, or with a perturbed index")
    base = np.array(a.base)  # numpy's own order of additions
    np.add.at(base, indices, base_of(values))
    more: Any = a
    if isinstance(values, SparseBundle):
        places = np.arange(a.size).reshape(a.shape)[indices]
        flat: Any = np.broadcast_to(values, places.shape).reshape(-1)
        more = more + _gathered(flat, places.reshape(-1), np.zeros_like(a.base).reshape(-1)).reshape(a.shape)
    a[...] = SparseBundle(base, more.slots, a.run)


METHODS[np.add, "at"] = _add_at
METHODS[np.subtract, "at"] = lambda a, indices, values: _add_at(a, indices, -values)


@handles(np.interp)
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """Interpolate in a table: a weighted sum of two neighbours."""
    x, xp, fp = (value if isinstance(value, SparseBundle) else np.asarray(value) for value in (x, xp, fp))
    plain = [np.real(base_of(value)) for value in (x, xp, fp)]
    last = np.size(base_of(xp)) - 1
    after = np.clip(np.searchsorted(xp, x, side="right"), 1, last)
    first, width = xp[after - 1], xp[after] - xp[after - 1]
    share = np.clip((x - first) / width, 0.0, 1.0)
    found = fp[after - 1] * (1.0 - share) + fp[after] * share
    for beyond, value in ((np.less(x, xp[0]), left), (np.greater(x, xp[-1]), right)):
        found = found if value is None else np.where(beyond, value, found)
    return as_numpy(found, np.interp(plain[0], plain[1], plain[2], left, right))


@handles(np.block)
def _block(arrays: Any) -> Any:
    depth, rest = 0, arrays
    while isinstance(rest, list):
        depth, rest = depth + 1, rest[0]

    def joined(part: Any, axis: int) -> Any:
        if isinstance(part, list):
            return np.concatenate([joined(inner, axis + 1) for inner in part], axis=axis)
        return np.reshape(part, (1,) * (depth - np.ndim(base_of(part))) + np.shape(base_of(part)))

    return joined(arrays, -depth)


@handles(np.meshgrid)
def _meshgrid(*arrays: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    count = len(arrays)
    axes = [i if indexing == "ij" or i > 1 or count == 1 else 1 - i for i in range(count)]
    parts = [
        np.reshape(a, tuple(-1 if i == axis else 1 for i in range(count))) for a, axis in zip(arrays, axes, strict=True)
    ]
    shape = np.broadcast_shapes(*(np.shape(base_of(part)) for part in parts))
    grids = parts if sparse else [np.broadcast_to(part, shape) for part in parts]
    return tuple(grids)


@handles(np.linalg.multi_dot)
def _multi_dot(arrays: Any) -> Any:
    found = reduce(np.dot, arrays)
    return SparseBundle(np.linalg.multi_dot([base_of(a) for a in arrays]), found.slots, run_of(arrays))


@handles(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> Any:
    if n < 1:
        raise refuse("np.linalg.matrix_power of no factor, or of inverses")
    return SparseBundle(np.linalg.matrix_power(a.base, n), reduce(np.matmul, [a] * n).slots, a.run)


@handles(np.cov)
def _cov(m: Any, rowvar: bool = True, ddof: int = 1) -> Any:
    rows = np.atleast_2d(m) if rowvar or m.ndim == 1 else m.T
    away = rows - np.mean(rows, axis=1, keepdims=True)
    plain = np.cov(m.base.real, rowvar=rowvar, ddof=ddof)
    return as_numpy(np.squeeze(away @ away.T / (rows.shape[1] - ddof)), plain)


@handles(np.corrcoef)
def _corrcoef(x: Any, rowvar: bool = True) -> Any:
    between = np.cov(x, rowvar=rowvar)
    sizes = np.sqrt(np.diagonal(between))
    return between / sizes[:, None] / sizes


@handles(np.apply_along_axis)
def _apply_along_axis(func1d: Any, axis: int, arr: Any) -> Any:
    lines = np.moveaxis(arr, axis, -1)
    found = stacked([func1d(line) for line in lines.reshape(-1, arr.shape[axis])])
    return np.moveaxis(found.reshape((*lines.shape[:-1], *found.shape[1:])), -1, axis if found.ndim > 1 else -1)


@handles(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    shape = np.shape(base_of(a))
    axis %= len(shape)
    end = (*shape[:axis], 1, *shape[axis + 1 :])
    parts = [part if part is a or np.ndim(base_of(part)) else np.broadcast_to(part, end)
             for part in (prepend, a, append) if part is not None]  # fmt: skip
    a = parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
    before = (slice(None),) * axis
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


@handles(np.cross)
def _cross(a: Any, b: Any) -> Any:
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise refuse("np.cross of other vectors than those of length 3")
    (a0, a1, a2), (b0, b1, b2) = ([v[..., i] for i in range(3)] for v in (a, b))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


@handles(np.gradient)
def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    axes = range(f.ndim) if axis is None else normal_axes(axis, f.ndim)
    steps = list(spacing or (1.0,)) * (1 if len(spacing) == len(axes) else len(axes))
    found = []
    for along, h in zip(axes, steps, strict=True):
        line = np.moveaxis(f, along, 0)
        width: Any = h * np.ones(len(line) - 1) if not np.ndim(h) else np.diff(h)
        width = width.reshape(-1, *(1,) * (f.ndim - 1))
        slope = np.diff(line, axis=0) / width
        both = width[:-1] + width[1:]
        inner = slope[:-1] * (width[1:] / both) + slope[1:] * (width[:-1] / both)
        first, last = slope[:1], slope[-1:]
        if edge_order == 2:
            first = first + (slope[:1] - slope[1:2]) * (width[:1] / both[:1])
            last = last + (slope[-1:] - slope[-2:-1]) * (width[-1:] / both[-1:])
        joined: Any = np.moveaxis(np.concatenate([first, inner, last]), 0, along)
        plain = np.gradient(f.base.real, h, axis=along, edge_order=edge_order)  # type: ignore[call-overload]
        found.append(as_numpy(joined, plain))
    return found[0] if len(found) == 1 else found
