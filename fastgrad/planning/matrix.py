"""A Jacobian, dense or sparse, and how it is compared with plain evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.vectors import Vectors
from ..core.validation import Bounds, Floats, Ints
from ..schemes.columns import Found
from ..schemes.constants import EPS
from ..schemes.outputs import signs
from ..sparsity import Pattern

FARTHER = 2.0**-19  # the step, in scales of x, of a plain difference that checks what carries no round-off


@dataclass
class Matrix:
    """A matrix of derivatives: dense, or the entries at the positions of a pattern."""

    entries: Floats  # shape (m, n) or (pattern.size,): all that it has
    pattern: Pattern | None = None  # where they are; None: everywhere

    def like(self, entries: Floats) -> Matrix:
        """Return other entries at the same positions."""
        return Matrix(entries, self.pattern)

    def dot(self, vector: Floats) -> Floats:
        product: Floats = (self.entries if self.pattern is None else self.array) @ vector
        return product

    @cached_property
    def array(self) -> Any:
        """The same as a SciPy array, where it is sparse; not for the caller, who may write into it."""
        assert self.pattern is not None
        return self.pattern.around(self.entries)

    def sizes_dot(self, rows: Ints, vector: Callable[[Any], Floats]) -> Floats:
        """Return the product of some rows, all their entries positive, and a vector of which few entries may matter."""
        if self.pattern is None:
            product: Floats = np.abs(self.entries[rows]) @ vector(slice(None))
            return product
        begin = self.pattern.indptr[rows]  # SciPy's index takes ten times as long
        count = self.pattern.indptr[rows + 1] - begin
        which = np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count)
        terms = np.abs(self.entries[which]) * vector(self.pattern.indices[which])
        return np.bincount(np.repeat(np.arange(rows.size), count), terms, rows.size).astype(np.float64, copy=False)

    def largest(self) -> Floats:
        """Return the size of the largest entry of each row."""
        if self.pattern is None:
            found: Floats = np.abs(self.entries).max(axis=1, initial=0.0)
            return found
        found = np.zeros(self.pattern.shape[0])
        np.maximum.at(found, self.pattern.rows, np.abs(self.entries))
        return found

    def each(self, function: np.ufunc, of_rows: Floats, of_columns: Floats) -> Floats:
        """Return a function of two numbers, that of the row and that of the column, for each entry."""
        if self.pattern is None:
            made: Floats = function.outer(of_rows, of_columns)
        else:
            made = function(of_rows[self.pattern.rows], of_columns[self.pattern.indices])
        return made

    def mirror(self, entries: Floats) -> Floats:
        """Return, of entries at these positions, those at the mirrored ones; a pattern is symmetric."""
        return entries.T if self.pattern is None else entries[self._mirrored]

    @cached_property
    def _mirrored(self) -> Ints:
        assert self.pattern is not None
        return np.lexsort((self.pattern.rows, self.pattern.indices))

    def by_rows(self, share: float, more: Floats) -> Matrix:
        """Return a share of the largest entry of each row, and more of each column, in the same layout."""
        return self.like(self.each(np.add, share * self.largest(), more))

    def shaped(self, shape: tuple[int, ...]) -> Any:
        """Return it as the caller sees it: dense of this shape, or a SciPy array."""
        return self.entries.reshape(shape) if self.pattern is None else self.pattern.array(self.entries)


@dataclass
class Layout:
    """How listed entries come into a pattern: which go where, and which are added up."""

    outputs: Ints
    inputs: Ints
    pattern: Pattern
    first: Ints  # of those at each place of the pattern
    more: Ints  # the others,
    places: Ints  # and where they are added

    @classmethod
    def of(cls, outputs: Ints, inputs: Ints, shape: tuple[int, int]) -> Layout:
        key = outputs * max(shape[1], 1) + inputs
        order = np.argsort(key, kind="stable")  # slots come in order: this merges a few runs
        key = key[order]
        begins = np.ones(key.size, dtype=bool)
        np.not_equal(key[1:], key[:-1], out=begins[1:])
        first = order[begins]
        pointers = np.zeros(shape[0] + 1, dtype=np.intp)
        np.cumsum(np.bincount(outputs[first], minlength=shape[0]), out=pointers[1:])
        pattern = Pattern(shape, pointers, inputs[first])
        places = np.cumsum(begins) - 1
        return cls(outputs, inputs, pattern, first, order[~begins], places[~begins])

    def holds(self, outputs: Ints, inputs: Ints, shape: tuple[int, int]) -> bool:
        if self.pattern.shape != shape:
            return False
        if self.outputs is outputs and self.inputs is inputs:
            return True
        return np.array_equal(self.outputs, outputs) and np.array_equal(self.inputs, inputs)

    def data(self, values: Floats) -> Floats:
        data = values.take(self.first)
        if self.more.size:
            np.add.at(data, self.places, values[self.more])
        return data


def symmetric(matrix: Matrix) -> Matrix:
    """Return the mean of a matrix and its mirror image; a sparse one has a symmetric pattern."""
    with np.errstate(all="ignore"):  # halved first: a sum may overflow
        return matrix.like(0.5 * matrix.entries + 0.5 * matrix.mirror(matrix.entries))


def disagrees(
    run: Vectors,
    x: Floats,
    units: Floats,
    matrix: Matrix,
    bounds: Bounds | None,
    found: Found | None = None,
    lifted: Floats | None = None,
) -> int | None:
    """Compare a Jacobian with a plain difference of all outputs along one direction, which follows from x's bytes.

    `lifted`: f(x) by a lift, where the difference from that is enough if it agrees. It sees half of the kinks at x.

    Returns int or None: the first output that changes by something else; None if all agree.
    """
    vector = signs(x, x.size, FARTHER) * units
    if bounds is not None:
        room = np.minimum(x - bounds[0], bounds[1] - x)
        vector = np.where(room > np.abs(vector), vector, 0.0)
        if not vector.any():
            return None
    farther = x + vector
    with np.errstate(all="ignore"):
        if lifted is not None:
            moved = farther - x
            above = run.beside(farther)
            if not _apart(matrix, x, moved, above, lifted, lifted, found).size:
                return None
            above, farther = above.copy(), x + vector
            below = run.explore((x - vector)[None])[0]
        else:
            above, below = run.explore(np.stack([farther, x - vector]))
        rows = _apart(matrix, x, farther - (x - vector), above, below, run.value(), found)
    return int(rows[0]) if rows.size else None


def _apart(
    matrix: Matrix, x: Floats, moved: Floats, above: Floats, below: Floats, value: Floats, found: Found | None
) -> Ints:
    """The outputs that differ between two points by something else than a Jacobian times their distance."""
    expected = matrix.dot(moved)
    if not isfinite(expected.sum()) and not np.isfinite(expected).all():
        return np.flatnonzero(~np.isfinite(expected) & np.isfinite(value))
    gap = above - below
    gap -= expected
    np.abs(gap, out=gap)
    # the terms that cancel in f's values are rounded, too; of many random terms the root is left
    entries = x.size if matrix.pattern is None else max(1.0, matrix.pattern.size / max(value.size, 1))
    share = 1e-3 / sqrt(entries)
    np.abs(expected, out=expected)
    expected *= share  # of all terms together no more than of each
    alike = gap <= expected
    if alike.all():
        return np.empty(0, dtype=np.intp)
    rows = np.flatnonzero(~alike)
    rows = rows[np.isfinite(value[rows])]
    doubt = 100.0 * EPS * (np.abs(above[rows]) + np.abs(below[rows]))
    if found is not None and found.noise is not None:
        doubt += 20.0 * found.noise[rows]
    left = ~(gap[rows] <= expected[rows] + doubt)
    rows, doubt = rows[left], doubt[left]
    if not rows.size:
        return rows
    more = matrix.sizes_dot(rows, lambda index: share * np.abs(moved[index]) + 32.0 * EPS * np.abs(x[index]))
    if found is not None and found.error is not None and matrix.pattern is not None:
        bars = found.error if found.contradicted is None else found.error / found.contradicted[matrix.pattern.rows]
        more += matrix.like(bars).sizes_dot(rows, lambda index: np.abs(moved[index]))
    return rows[~(gap[rows] <= doubt + more)]


class Watched:
    """f around x, and which of its values change as one entry of x moves, however small their derivatives come out."""

    def __init__(self, run: Vectors, x: Floats) -> None:
        self._run, self._x = run, x
        self.value = run.value
        self.changes = np.zeros((run.value().size, x.size), dtype=bool)

    def at(self, points: Iterable[Floats]) -> Floats:
        found: Floats = self._noted(points, self._run.at)
        return found

    def explore(self, points: Iterable[Floats]) -> Floats:
        found: Floats = self._noted(points, self._run.explore)
        return found

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        found: NDArray[np.complex128] = self._noted(points, self._run.at_complex)
        return found

    def _noted(self, points: Any, evaluate: Callable[[Any], Any]) -> Any:
        points = points if isinstance(points, np.ndarray) else list(points)
        values, here = evaluate(points), self.value()
        for point, found in zip(points, values, strict=True):
            moved = np.flatnonzero(point != self._x)
            if moved.size == 1:
                self.changes[:, moved[0]] |= found != here
        return values


def as_sparse(
    matrix: Matrix, error: Matrix | None, changes: NDArray[np.bool_], shape: tuple[int, int]
) -> tuple[Matrix, Matrix | None]:
    """Keep the entries of what changes, zeros among them."""
    rows, columns = np.nonzero(changes)
    pattern = Pattern.of(rows, columns, shape)
    bars = None if error is None else Matrix(error.entries[rows, columns], pattern)
    return Matrix(matrix.entries[rows, columns], pattern), bars
