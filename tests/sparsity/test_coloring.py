"""Colourings, checked by definitions that share nothing with how they are found."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad.sparsity import as_pattern, color_columns, color_symmetric, coloring
from fastgrad.sparsity.patterns import as_groups, clashing, split


def rows_are_apart(dense: Any, colors: Any) -> bool:
    return all(len(set(colors[np.flatnonzero(row)])) == np.count_nonzero(row) for row in dense)


def entries_stand_alone(dense: Any, colors: Any) -> bool:
    """Each entry (i, j): only column j of its colour has a row i, or only column i of its colour has a row j."""
    same = colors[:, None] == colors[None, :]
    alone = (dense.astype(int) @ same.astype(int)) == 1  # (i, j): how many columns of j's colour row i has
    return bool(np.all(alone | alone.T | ~dense))


def sparse_entries_stand_alone(matrix: Any, colors: Any) -> bool:
    """The same of a sparse matrix."""
    of_color = sp.csr_array((np.ones(colors.size), (np.arange(colors.size), colors)))
    rows, columns = matrix.nonzero()
    counts = ((matrix != 0).astype(float) @ of_color).tocsr()  # (i, c): how many columns of colour c row i has
    return bool(np.all((counts[rows, colors[columns]] == 1) | (counts[columns, colors[rows]] == 1)))


def no_path_of_two_colors(dense: Any, colors: Any) -> bool:
    graph = dense & ~np.eye(len(dense), dtype=bool)
    for a, b, c, d in itertools.permutations(range(len(dense)), 4):
        if graph[a, b] and graph[b, c] and graph[c, d] and len({colors[i] for i in (a, b, c, d)}) < 3:
            return False
    return not (graph & (colors[:, None] == colors[None, :])).any()


@st.composite
def matrices(draw: Any, square: bool = False) -> Any:
    m = draw(st.integers(1, 12))
    n = m if square else draw(st.integers(1, 12))
    density = draw(st.floats(0.0, 1.0))
    return np.random.default_rng(draw(st.integers(0, 10**6))).random((m, n)) < density


@settings(max_examples=100, deadline=None)
@given(matrices())
def test_no_row_has_two_columns_of_one_color(dense: Any) -> None:
    colors = color_columns(dense)
    assert colors.shape == (dense.shape[1],)
    assert rows_are_apart(dense, colors)
    assert set(colors) == set(range(colors.max() + 1))


@settings(max_examples=100, deadline=None)
@given(matrices(square=True))
def test_star_coloring_tells_every_entry(half: Any) -> None:
    dense = half | half.T | np.eye(len(half), dtype=bool)
    colors = color_symmetric(dense)
    assert entries_stand_alone(dense, colors)
    if len(dense) <= 6:
        assert no_path_of_two_colors(dense, colors)


def test_the_checks_can_fail() -> None:
    tridiagonal = np.eye(6, dtype=bool) | np.eye(6, k=1, dtype=bool) | np.eye(6, k=-1, dtype=bool)
    two = np.arange(6) % 2
    assert not rows_are_apart(tridiagonal, two)
    assert not entries_stand_alone(tridiagonal, two)
    assert not sparse_entries_stand_alone(sp.csr_array(tridiagonal), two)
    assert sparse_entries_stand_alone(sp.csr_array(tridiagonal), np.arange(6) % 3)
    assert not no_path_of_two_colors(tridiagonal, two)


def grid(*sizes: int) -> Any:
    total = sp.csr_array((1, 1))
    for size in sizes:
        line = sp.diags_array([np.ones(size - 1), np.ones(size), np.ones(size - 1)], offsets=[-1, 0, 1])
        total = sp.kron(total, sp.eye_array(size)) + sp.kron(sp.eye_array(total.shape[0]), line)
    return total.tocsr()


@pytest.mark.parametrize(
    ("sizes", "bound", "factor"),
    [
        ((300,), 3, 1.0),
        ((60, 60), 5, 1.4),
        ((13, 13, 13), 7, 2.0),
        pytest.param((46, 46, 46), 7, 2.0, marks=pytest.mark.slow),
    ],
)
def test_grids_take_few_colors(sizes: tuple[int, ...], bound: int, factor: float) -> None:
    matrix = grid(*sizes)
    pattern, colors = as_pattern(matrix), color_columns(matrix)
    assert np.diff(pattern.indptr).max() == bound
    assert clashing(pattern, colors) is None
    assert colors.max() + 1 <= factor * bound
    star = color_symmetric(matrix)
    assert star.max() + 1 <= colors.max() + 1
    assert sparse_entries_stand_alone(matrix, star)


def test_compiled_and_plain_loops_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = grid(20, 21)
    plain = color_columns(matrix), color_symmetric(matrix)
    monkeypatch.setattr(coloring, "COMPILED_FROM", 0)
    for colors, expected in zip((color_columns(matrix), color_symmetric(matrix)), plain, strict=True):
        np.testing.assert_array_equal(colors, expected)


def test_small_ones_load_neither_numba_nor_scipy() -> None:
    code = (
        "import sys, numpy, fastgrad.sparsity as s; s.color_columns(numpy.eye(9)); s.color_symmetric(numpy.eye(9));"
        "print({'numba', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_full_row_takes_all_colors() -> None:
    np.testing.assert_array_equal(color_columns(np.ones((1, 5))), np.arange(5))
    assert color_columns(np.zeros((3, 0))).shape == (0,)
    np.testing.assert_array_equal(color_columns(np.zeros((0, 2))), [0, 0])


def test_stored_zeros_count() -> None:
    stored = sp.csr_array((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 1, 2])), shape=(2, 2))
    assert as_pattern(stored).size == 2
    assert as_pattern(stored.toarray()).size == 1


def test_patterns() -> None:
    pattern = as_pattern([[0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(pattern.rows, [0, 1, 2, 2])
    np.testing.assert_array_equal(pattern.by_column[0], [0, 2, 4])
    np.testing.assert_array_equal(pattern.by_column[1], [1, 2, 0, 2])
    assert not pattern.symmetric
    upper = as_pattern(np.triu(np.ones((3, 3))))
    np.testing.assert_array_equal(upper.symmetrized().array().toarray(), np.ones((3, 3)))
    lower = as_pattern(np.eye(3))
    assert upper.united(lower).size == upper.size
    assert lower.united(upper).size == upper.size


def test_groups_as_in_scipy() -> None:
    structure, groups = split((np.eye(3), [4, 4, 1]))
    np.testing.assert_array_equal(as_groups(groups, as_pattern(structure)), [1, 1, 0])
    assert split(np.eye(2))[1] is None
    with pytest.raises(ValueError, match=r"columns 0 and 1 into one group, but both are in row 0"):
        as_groups([0, 0], as_pattern([[1, 1]]))
    with pytest.raises(ValueError, match=r"`sparsity` must give one group .* for each of the 2 columns"):
        as_groups([0], as_pattern([[1, 1]]))


@pytest.mark.parametrize("wrong", ["structure", [[1, 2], [3]], np.ones(3), np.ones((2, 2), dtype=object)])
def test_what_is_no_matrix_is_named(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="`structure` must be"):
        color_columns(wrong)


def test_an_asymmetric_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="`structure` must be symmetric"):
        color_symmetric([[1, 1], [0, 1]])
    with pytest.raises(ValueError, match="`structure` must be symmetric"):
        color_symmetric(np.ones((2, 3)))
