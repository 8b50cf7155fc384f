"""Functions of numpy that are made of others, for the array-likes of both lifts: each as numpy itself makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arraylike import is_bundle, stacked

Function = Callable[..., Any]


def axes_of(function: Function, ndim: int, *args: Any, **kwargs: Any) -> tuple[int, ...]:
    """Return the order into which a function of numpy brings the axes of an array of so many."""
    order: tuple[int, ...] = function(np.empty(tuple(range(ndim))), *args, **kwargs).shape
    return order


def _reshaping(function: Function) -> Function:
    """What only gives its argument another shape."""

    def reshaped(a: Any, *args: Any, **kwargs: Any) -> Any:
        return np.reshape(a, function(np.empty(np.shape(a), bool), *args, **kwargs).shape)

    return reshaped


def _permuting(function: Function) -> Function:
    """What only changes the order of the axes."""
    return lambda a, *args, **kwargs: np.transpose(a, axes_of(function, np.ndim(a), *args, **kwargs))


def _average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return np.mean(a, axis=axis)
    weights = stacked(weights)
    if np.shape(weights) != np.shape(a):
        if np.ndim(weights) != 1 or not isinstance(axis, int):
            return NotImplemented
        along = np.reshape(weights, [-1 if i == axis % np.ndim(a) else 1 for i in range(np.ndim(a))])
        return np.sum(np.multiply(a, along), axis=axis) / np.sum(weights)
    return np.sum(np.multiply(a, weights), axis=axis) / np.sum(weights, axis=axis)


def _hstack(tup: Sequence[Any], **kwargs: Any) -> Any:
    parts = [part if is_bundle(part) and part.ndim else np.atleast_1d(stacked(part)) for part in tup]
    return np.concatenate(parts, axis=0 if parts[0].ndim == 1 else 1, **kwargs)


def _vstack(tup: Sequence[Any], **kwargs: Any) -> Any:
    return np.concatenate([np.atleast_2d(stacked(part)) for part in tup], axis=0, **kwargs)


def _column_stack(tup: Sequence[Any]) -> Any:
    parts = map(stacked, tup)
    return np.concatenate([np.reshape(part, (-1, 1)) if np.ndim(part) < 2 else part for part in parts], axis=1)


def _vdot(a: Any, b: Any) -> Any:
    return np.dot(np.conj(np.ravel(stacked(a))), np.ravel(stacked(b)))


def _outer(a: Any, b: Any) -> Any:
    return np.ravel(stacked(a))[:, None] * np.ravel(stacked(b))


def _broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = np.where(condition, choice, out)
    return out


def _polyval(p: Any, x: Any) -> Any:
    """Horner's scheme."""
    p, x = (v if is_bundle(v) else np.asarray(v) for v in (stacked(p), stacked(x)))
    value = np.zeros_like(x)
    for coefficient in p:
        value = value * x + coefficient
    return value


def _kron(a: Any, b: Any) -> Any:
    a, b = stacked(a), stacked(b)
    ndim = max(np.ndim(a), np.ndim(b))
    first, second = ((1,) * (ndim - np.ndim(v)) + np.shape(v) for v in (a, b))
    left = np.reshape(a, [n for length in first for n in (length, 1)])
    right = np.reshape(b, [n for length in second for n in (1, length)])
    return np.reshape(left * right, [n * m for n, m in zip(first, second, strict=True)])


def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    powers = [np.ones_like(x, dtype=np.result_type(x.dtype, int))]
    for _ in range(1, np.size(x) if N is None else N):
        powers.append(powers[-1] * x)
    return np.stack(powers if increasing else powers[::-1], axis=-1)


COMPOSITES: dict[Function, Function] = {
    np.append: lambda arr, values, axis=None: np.concatenate((arr, values), axis),
    np.average: _average,
    np.broadcast_arrays: _broadcast_arrays,
    np.column_stack: _column_stack,
    np.dstack: lambda tup: np.concatenate([np.atleast_3d(stacked(part)) for part in tup], axis=2),
    np.ediff1d: lambda ary: np.diff(np.ravel(ary)),
    np.fliplr: lambda m: np.flip(m, 1),
    np.flipud: lambda m: np.flip(m, 0),
    np.hstack: _hstack,
    np.kron: _kron,
    np.outer: _outer,
    np.polyval: _polyval,
    np.select: _select,
    np.vander: _vander,
    np.vdot: _vdot,
    np.vstack: _vstack,
    **{f: _reshaping(f) for f in (np.expand_dims, np.squeeze, np.atleast_1d, np.atleast_2d, np.atleast_3d)},
    **{f: _permuting(f) for f in (np.swapaxes, np.moveaxis, np.rollaxis, np.matrix_transpose)},
}
