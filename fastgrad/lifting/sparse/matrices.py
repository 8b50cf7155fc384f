"""Functions of a matrix: linear in what changes where that is nothing beside its entries, else anew for each point.

Each rule is the first derivative of its function (Giles 2008, Collected matrix derivative results for forward and
reverse mode algorithmic differentiation). Steps of 2**-80 square to nothing, so that is all of the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .bundle import FUNCTIONS, SparseBundle
from .functions import as_numpy, base_of, handles, product, slots_of
from .slots import as_rows, refuse, spread, spread_box

Rule = Callable[[Any, Any], Callable[[Any], Any]]  # of a matrix and the function's value there: from change to change


def _lower(change: Any) -> Any:
    """What numpy reads of a matrix that it takes for symmetric."""
    return np.tril(change) + np.tril(change, -1).T


def _cholesky(a: Any, factor: Any) -> Callable[[Any], Any]:
    inverse = np.linalg.inv(factor)
    half = np.tril(np.ones(a.shape)) - 0.5 * np.eye(len(a))
    return lambda change: factor @ (half * (inverse @ _lower(change) @ inverse.T))


def _eigenvalues(a: Any, values: Any) -> Callable[[Any], Any]:
    vectors = np.linalg.eigh(_apart(a, values))[1]
    return lambda change: np.sum((_lower(change) @ vectors) * vectors, axis=0)


def _singular_values(a: Any, values: Any) -> Callable[[Any], Any]:
    left, _, right = np.linalg.svd(_apart(a, values, 0.0), full_matrices=False)
    return lambda change: np.sum((change @ right.T) * left, axis=0)


def _apart(a: Any, values: Any, *others: float) -> Any:
    """The matrix, if all of these values differ: else they have no derivative."""
    if np.iscomplexobj(a) or np.diff(np.sort([*values, *others])).min() <= 1e-8 * np.abs(values).max():
        raise refuse("equal eigenvalues or singular values, or those of a matrix at a complex point")
    return a


def _pseudoinverse(a: Any, inverse: Any) -> Callable[[Any], Any]:
    if np.linalg.matrix_rank(a) < min(a.shape):
        raise refuse("np.linalg.pinv of a matrix without full rank")
    rows, columns = np.eye(len(a)) - a @ inverse, np.eye(a.shape[1]) - inverse @ a
    wide, tall = inverse @ inverse.T, inverse.T @ inverse
    return lambda c: -(inverse @ c @ inverse) + wide @ c.T @ rows + columns @ c.T @ tall


def _trace_with(inverse: Any, scale: Any = 1.0) -> Callable[[Any], Any]:
    return lambda change: scale * np.sum(inverse.T * change)


def _inverse(a: Any, inverse: Any) -> Callable[[Any], Any]:
    return lambda change: -(inverse @ change @ inverse)


def _log_determinant(a: Any) -> Any:
    return np.linalg.slogdet(a)[1]


RULES: dict[Callable[..., Any], Rule] = {
    np.linalg.inv: _inverse,
    np.linalg.pinv: _pseudoinverse,
    np.linalg.det: lambda a, value: _trace_with(np.linalg.inv(a), value),
    _log_determinant: lambda a, value: _trace_with(np.linalg.inv(a)),
    np.linalg.cholesky: _cholesky,
    np.linalg.eigvalsh: _eigenvalues,
    np.linalg.svdvals: _singular_values,
}


NOTHING = 2.0**-60  # of the largest entry: what differs by less is changed to first order


def _little(a: SparseBundle) -> bool:
    """Whether so little differs that its square is nothing."""
    largest = NOTHING * float(np.abs(a.base).max(initial=0.0))
    return all(float(np.abs(d).max(initial=0.0)) <= largest for _, d in a.slots)


def of_matrix(function: Callable[..., Any], a: SparseBundle) -> SparseBundle:
    """A function of one matrix, by its rule where no difference shows in its entries."""
    if a.ndim != 2:
        raise refuse(f"np.linalg.{function.__name__} of stacks of matrices")
    run, slots, rule = a.run, a.slots, RULES[function]
    run.product(a.size * min(a.shape))
    base = function(a.base.real)
    if a.dtype.kind == "c":  # beside x by nothing: the same rule tells how far
        base = base + 1j * rule(a.base.real, base)(a.base.imag)
    if _little(a):
        found = slots_of(rule(a.base, base)(SparseBundle(np.zeros_like(a.base), slots, run)))
    else:
        run.rounded = True
        change = function(a.base + spread(slots, a.shape, run)) - base
        box = spread_box(base.shape, run)
        found = ((box, change) if base.ndim else as_rows(box, change),)
    if run.watching:
        run.meets(None, found, (), base.shape)
    return SparseBundle(base, found, run)


for _function in RULES:
    FUNCTIONS[_function] = lambda a, _function=_function: of_matrix(_function, a)


@handles(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    plain = np.linalg.slogdet(a.base.real)
    return type(plain)(plain[0], of_matrix(_log_determinant, a))


@handles(np.linalg.svd)
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    if compute_uv:
        raise refuse("np.linalg.svd with its vectors")
    return of_matrix(np.linalg.svdvals, a)


@handles(np.linalg.solve)
def _solve(a: Any, b: Any) -> Any:
    base = np.linalg.solve(base_of(a), base_of(b))
    if np.ndim(base_of(a)) != 2:
        raise refuse("np.linalg.solve of stacks of matrices")
    labels = [1, 2][: base.ndim], [0, 2][: base.ndim]
    if isinstance(a, SparseBundle) and not _little(a):
        return product(base, np.linalg.inv(a), [0, 1], b, *labels)
    out = product(base, np.linalg.inv(base_of(a)), [0, 1], b - a @ base, *labels)
    if out.run.watching and isinstance(a, SparseBundle):
        out.run.meets(None, out.slots, (), base.shape)
    return out


@handles(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    base, residuals, rank, values = np.linalg.lstsq(base_of(a), base_of(b), rcond)
    found = product(base, np.linalg.pinv(a), [0, 1], b, [1, 2][: base.ndim], [0, 2][: base.ndim])
    if rank < min(base_of(a).shape):
        raise refuse("np.linalg.lstsq with a matrix without full rank")
    if residuals.size:
        left = b - a @ found
        residuals = as_numpy(np.sum(left * left, axis=0, keepdims=base.ndim == 1), residuals)
    return found, residuals, rank, values


@handles(np.polyfit)
def _polyfit(x: Any, y: Any, deg: int, rcond: Any = None, w: Any = None) -> Any:
    """Linear in what is fitted."""
    if isinstance(x, SparseBundle) or isinstance(w, SparseBundle):
        raise refuse("np.polyfit at perturbed places, or with perturbed weights")
    linear = np.polyfit(x, np.eye(len(x)), deg, rcond, w=w)
    labels = [1, 2][: y.ndim], [0, 2][: y.ndim]
    return product(np.polyfit(x, y.base, deg, rcond, w=w), linear, [0, 1], y, *labels)
