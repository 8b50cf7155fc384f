"""The pattern of a sparse matrix: where it can differ from zero, whatever form the caller's is in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import describe, needed
from ..core.validation import Array, Floats

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Positions of a matrix, row by row, in the order of columns, each once.

    Examples
    --------
    >>> as_pattern([[1, 0], [1, 1]]).indices
    array([0, 0, 1])
    """

    shape: tuple[int, int]  # rows and columns
    indptr: Indices  # shape (rows + 1,): row i has the positions indptr[i] to indptr[i + 1]
    indices: Indices  # their columns

    @classmethod
    def of(cls, rows: Any, columns: Any, shape: tuple[int, int]) -> Pattern:
        """Make a pattern of positions in any order, with repetitions."""
        rows, columns = np.asarray(rows, dtype=np.intp), np.asarray(columns, dtype=np.intp)
        key = np.sort(rows * max(shape[1], 1) + columns)
        first = np.ones(key.size, dtype=bool)  # np.unique takes thirty times as long: it hashes
        np.not_equal(key[1:], key[:-1], out=first[1:])
        row, column = np.divmod(key[first], max(shape[1], 1))
        return cls(shape, _pointers(row, shape[0]), column)

    @property
    def size(self) -> int:
        """How many positions there are."""
        return self.indices.size

    @cached_property
    def rows(self) -> Indices:
        """The row of each position."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    @cached_property
    def by_column(self) -> tuple[Indices, Indices]:
        """The same, column by column: pointers, and the rows."""
        m = max(self.shape[0], 1)
        key = np.sort(self.indices * m + self.rows)  # several times as fast as an argsort
        return _pointers(self.indices, self.shape[1]), key % m

    @cached_property
    def symmetric(self) -> bool:
        """Whether (j, i) is there wherever (i, j) is."""
        if self.shape[0] != self.shape[1]:
            return False
        pointers, rows = self.by_column
        return np.array_equal(pointers, self.indptr) and np.array_equal(rows, self.indices)

    def symmetrized(self) -> Pattern:
        """Add (j, i) wherever (i, j) is, and the diagonal."""
        diagonal = np.arange(self.shape[0])
        rows, columns = self.rows, self.indices
        return Pattern.of(
            np.concatenate([rows, columns, diagonal]), np.concatenate([columns, rows, diagonal]), self.shape
        )

    def same(self, other: Pattern) -> bool:
        """Whether another pattern has the same positions."""
        return (
            self.shape == other.shape
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.indptr, other.indptr)
        )

    def united(self, other: Pattern) -> Pattern:
        """Return the positions that either of two patterns has."""
        if self.same(other):
            return self
        rows, columns = np.concatenate([self.rows, other.rows]), np.concatenate([self.indices, other.indices])
        return Pattern.of(rows, columns, self.shape)

    def find(self, rows: Indices, columns: Indices) -> Indices:
        """Return where positions that the pattern has are in it."""
        n = max(self.shape[1], 1)
        return np.searchsorted(self.rows * n + self.indices, rows * n + columns)

    @cached_property
    def _narrow(self) -> tuple[Array, Array]:
        """Columns and pointers as SciPy has them: half as long where that is enough."""
        enough = max(*self.shape, self.size) < 2**31
        kind = np.int32 if enough else np.intp
        return self.indices.astype(kind), self.indptr.astype(kind)

    def array(self, data: Floats | None = None) -> Any:
        """Return a SciPy ``csr_array`` with these values; of ones, for a pattern itself.

        It is the caller's: ``eliminate_zeros`` and others write into it.
        """
        out = self.around(np.ones(self.size, dtype=bool) if data is None else data)
        out.indices, out.indptr = (part.copy() for part in self._narrow)
        return out

    def around(self, data: Floats) -> Any:
        """Return the same for products only: it has the memory of the pattern."""
        checked = self._checked
        out = object.__new__(type(checked))
        vars(out).update(vars(checked))  # as copy.copy, in a tenth of the time
        out.data = data
        return out

    @cached_property
    def _checked(self) -> Any:
        """A SciPy array of zeros: it looks through its indices, once for all."""
        return csr_array((np.broadcast_to(0.0, self.size), *self._narrow), self.shape)


def _pointers(index: Indices, count: int) -> Indices:
    out = np.zeros(count + 1, dtype=np.intp)
    np.cumsum(np.bincount(index, minlength=count), out=out[1:])
    return out


def csr_array(parts: tuple[Any, Array, Array], shape: tuple[int, int]) -> Any:
    """Make a SciPy array. ImportError where SciPy, which nothing else needs, is not installed."""
    sparse = needed(
        "scipy.sparse",
        "a sparse result is a SciPy array, and SciPy is not installed: pip install 'fastgrad[sparse]', or leave out "
        "`sparse` and `sparsity` for a dense one",
    )
    return sparse.csr_array(parts, shape=shape)


def as_pattern(structure: Any, shape: tuple[int, int] | None = None, name: str = "sparsity") -> Pattern:
    """Return the pattern of a sparse matrix, a dense array of zeros and others, or a `Pattern`.

    TypeError or ValueError if it is none of these, or of another shape than the one that is wanted.
    """
    if isinstance(structure, Pattern):
        pattern = structure
    elif hasattr(structure, "tocoo"):
        listed = structure.tocoo()  # zeros that are stored count: their owner stored them on purpose
        pattern = Pattern.of(listed.row, listed.col, tuple(structure.shape))
    else:
        try:
            dense = np.asarray(structure)
        except ValueError as error:
            raise ValueError(f"`{name}` must be a rectangular matrix, got {describe(structure)}") from error
        if dense.dtype.kind not in "fiub":
            raise TypeError(
                f"`{name}` must be None, 'detect', a matrix (dense or of scipy.sparse) that is not zero where the "
                f"derivative may not be, or such a matrix and the groups of its columns; got {describe(structure)}"
            )
        if dense.ndim != 2:
            raise ValueError(f"`{name}` must be a matrix, got shape {dense.shape}")
        rows, columns = np.nonzero(dense)
        pattern = Pattern.of(rows, columns, dense.shape)
    if shape is not None and pattern.shape != shape:
        raise ValueError(
            f"`{name}` must have one row for each entry of f(x) and one column for each of x, so shape {shape}; "
            f"got shape {pattern.shape}"
        )
    return pattern


def split(sparsity: Any) -> tuple[Any, Any]:
    """Split what a caller gave into a structure and the groups of its columns, None if there are none."""
    if isinstance(sparsity, tuple) and len(sparsity) == 2 and np.ndim(sparsity[1]) == 1:
        structure = sparsity[0]
        if hasattr(structure, "tocoo") or isinstance(structure, Pattern) or np.ndim(structure) == 2:
            return sparsity
    return sparsity, None


def as_groups(groups: Any, pattern: Pattern) -> Indices:
    """Return a caller's groups as colours from 0; columns of one group must share no row."""
    given = np.asarray(groups)
    if given.shape != (pattern.shape[1],) or given.dtype.kind not in "iu":
        raise ValueError(
            f"`sparsity` must give one group (a whole number) for each of the {pattern.shape[1]} columns, "
            f"got {describe(groups)}"
        )
    colors = np.unique(given, return_inverse=True)[1].astype(np.intp)
    clash = clashing(pattern, colors)
    if clash is not None:
        row, first, second = clash
        raise ValueError(
            f"`sparsity` puts the columns {first} and {second} into one group, but both are in row {row}: their "
            "entries could not be told apart; leave out the groups"
        )
    return colors


def clashing(pattern: Pattern, colors: Indices) -> tuple[int, int, int] | None:
    """Find a row and two of its columns that have one colour; None if there are none."""
    key = pattern.rows * (int(colors.max(initial=0)) + 1) + colors[pattern.indices]
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    if not twice.size:
        return None
    first, second = order[twice[0]], order[twice[0] + 1]
    return int(pattern.rows[first]), int(pattern.indices[first]), int(pattern.indices[second])
