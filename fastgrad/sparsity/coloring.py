"""Colouring: which columns of a sparse matrix one difference gives together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial
from importlib import import_module
from typing import Any

import numpy as np

from .kernels import greedy, smallest_last, star
from .patterns import Indices, Pattern, as_pattern

COMPILED_FROM = 200_000  # steps of the loops that take longer in Python (0.1 s) than numba takes to load
MOST_STEPS = 300_000_000  # of a second order of the columns: beyond, rows are so full that it would gain little


def color_columns(structure: Any) -> Indices:
    """Color the columns of a matrix so that no row has two of one colour.

    Then one difference of f for each colour, along all its columns at once, gives every entry of the Jacobian.

    Parameters
    ----------
    structure : array_like or scipy.sparse array
        Not zero where the matrix may not be.

    Returns
    -------
    ndarray of int
        The colour of each column, from 0: the `groups` of SciPy's ``approx_derivative``.

    Notes
    -----
    Greedy (Curtis, Powell and Reid 1974, IMA J. Appl. Math. 13, 117), in natural and in smallest-last order (Coleman
    and Moré 1983, SIAM J. Numer. Anal. 20, 187); the one with fewer colours is returned. As many colours as the fullest
    row has entries are needed at least.

    Examples
    --------
    >>> import numpy as np
    >>> color_columns(np.eye(4) + np.eye(4, k=1) + np.eye(4, k=-1))
    array([0, 1, 2, 0])
    """
    pattern = as_pattern(structure, name="structure")
    columns = pattern.shape[1]
    fullest = int(np.diff(pattern.indptr).max(initial=0))
    if fullest == columns:
        return np.arange(columns)
    search = _Search(pattern)
    search.tries("greedy", fullest)
    return search.colors


def color_symmetric(structure: Any) -> Indices:
    """Color a symmetric matrix so that Hessian-vector products, one for each colour, give every entry.

    Parameters
    ----------
    structure : array_like or scipy.sparse array
        Symmetric, and not zero where the matrix may not be; the diagonal counts as such.

    Returns
    -------
    ndarray of int
        The colour of each column, from 0: a star colouring. Neighbours differ, and every path of four vertices has
        three colours or more; so each entry stands alone in the product of its row or of its column.

    Notes
    -----
    Greedy (Gebremedhin, Tarafdar, Manne and Pothen 2007, SIAM J. Sci. Comput. 29, 1042, algorithm 4.1), in natural and
    in smallest-last order. A colouring of the columns is a star colouring, too: on grids it often has fewer colours.
    The one with the fewest is returned.

    Examples
    --------
    >>> import numpy as np
    >>> arrow = np.eye(5)
    >>> arrow[0] = arrow[:, 0] = 1
    >>> color_symmetric(arrow)
    array([0, 1, 1, 1, 1])
    """
    pattern = as_pattern(structure, name="structure")
    if not pattern.symmetric:
        raise ValueError(
            f"`structure` must be symmetric, with (j, i) wherever it has (i, j); got a matrix of shape {pattern.shape} "
            "that is not: for a Jacobian use color_columns"
        )
    search = _Search(pattern)
    search.tries("star", 0)
    search.tries("greedy", int(np.diff(pattern.indptr).max(initial=0)))
    return search.colors


class _Search:
    """Colourings of one graph, each tried only as far as it may be better than the best of those before."""

    def __init__(self, pattern: Pattern) -> None:
        self.colors: Indices = np.empty(0, dtype=np.intp)  # the best
        self._n = pattern.shape[1]
        self._count = self._n + 1  # more than any has
        self._steps = int((np.diff(pattern.indptr).astype(np.float64) ** 2).sum())
        self._run: Callable[..., Any] = _plainly
        self._form: Callable[[Any], Any] = np.ndarray.tolist
        if self._steps > COMPILED_FROM:
            narrow = np.int32 if max(*pattern.shape, pattern.size) < 2**31 else np.intp
            self._run, self._form = _compiled, partial(np.asarray, dtype=narrow)
        self._graph = tuple(map(self._form, (*pattern.by_column, pattern.indptr, pattern.indices)))

    def tries(self, loop: str, least: int) -> None:
        """Color in natural, then in smallest-last order; fewer colours than `least` are not to be had."""
        graph = self._graph[:2] if loop == "star" else self._graph
        for last in (False, True):
            if self._count <= least or (last and self._steps > MOST_STEPS):
                return
            order = self._smallest_last if last else self._form(np.arange(self._n))
            found = self._new()
            count = self._run(loop, *graph, order, self._count, found, self._new(1))
            if count < self._count:
                self.colors, self._count = np.asarray(found, dtype=np.intp), count

    @cached_property
    def _smallest_last(self) -> Any:
        order = self._new()
        self._run("smallest_last", *self._graph, *(self._new(more) for more in (0, 0, 1, 0, 0)), order)
        return order

    def _new(self, more: int = 0) -> Any:
        return self._form(np.full(self._n + more, -1))


LOOPS: dict[str, Callable[..., Any]] = {"greedy": greedy, "smallest_last": smallest_last, "star": star}


def _plainly(name: str, *arguments: Any) -> Any:
    return LOOPS[name](*arguments)


def _compiled(name: str, *arguments: Any) -> Any:
    try:
        return _jitted(name, True)(*arguments)
    except Exception:  # noqa: BLE001  no folder to keep it in, or what is kept there is damaged: anything may be raised
        return _jitted(name, False)(*arguments)


@cache
def _jitted(name: str, kept: bool) -> Any:
    """Compile a loop; kept on the disk, for it holds nothing of the caller's."""
    return import_module("numba").njit(cache=kept)(LOOPS[name])
