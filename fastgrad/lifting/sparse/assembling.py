"""What residuals are assembled by: sums scattered by index, blocks, grids, tables that are interpolated."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..arraylike import Array
from .bundle import FUNCTIONS, METHODS, SparseBundle
from .functions import base_of, handles, pointwise, run_of, scattered
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
    """Interpolate in a table: a weighted sum of what it holds, where that is what is perturbed."""
    if isinstance(xp, SparseBundle):
        raise refuse("np.interp between perturbed nodes")
    if not isinstance(fp, SparseBundle):
        return pointwise(lambda v: np.interp(v, xp, fp, left=left, right=right), x)
    if isinstance(x, SparseBundle) or left is not None or right is not None:
        raise refuse("np.interp at perturbed places in a perturbed table, or with left= or right=")
    x, xp = np.asarray(x), np.asarray(xp)
    before = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(xp.size - 2, 0))
    after = np.minimum(before + 1, xp.size - 1)
    width = xp[after] - xp[before]
    share = np.clip((x - xp[before]) / np.where(width > 0, width, 1.0), 0.0, 1.0)
    found = fp[before] * (1.0 - share) + fp[after] * share
    return SparseBundle(np.interp(x, xp, fp.base), found.slots, fp.run)


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
    axes = range(f.ndim) if axis is None else [axis]
    if edge_order != 1 or any(np.ndim(h) for h in spacing) or len(spacing) not in (0, 1, len(axes)):
        raise refuse("np.gradient with uneven spacing or another edge_order")
    steps = list(spacing or (1.0,)) * (1 if len(spacing) == len(axes) else len(axes))
    found = []
    for along, h in zip(axes, steps, strict=True):
        lead = (slice(None),) * (along % f.ndim)
        first = (f[(*lead, slice(1, 2))] - f[(*lead, slice(0, 1))]) / h
        inner = (f[(*lead, slice(2, None))] - f[(*lead, slice(None, -2))]) / (2.0 * h)
        last = (f[(*lead, slice(-1, None))] - f[(*lead, slice(-2, -1))]) / h
        found.append(np.concatenate([first, inner, last], axis=along))
    return found[0] if len(found) == 1 else found


def filled() -> bool:
    """Whether the tables of the bundle are filled, which importing this module does."""
    return np.block in FUNCTIONS and (np.matmul, "__call__") in METHODS
