"""Colouring: which columns of a sparse matrix one difference gives together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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
    return _better(pattern, fullest, lambda run, graph, order, new: run("greedy", *graph, order, *new))


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
    stars = _better(pattern, 0, lambda run, graph, order, new: run("star", *graph[:2], order, *new))
    columns = color_columns(pattern)
    return columns if columns.max(initial=-1) < stars.max(initial=-1) else stars


def _better(pattern: Pattern, least: int, color: Callable[..., None]) -> Indices:
    """Color in natural order; and in smallest-last order too, unless the first is as good as can be."""
    n = pattern.shape[1]
    graph = (*pattern.by_column, pattern.indptr, pattern.indices)
    steps = int((np.diff(pattern.indptr).astype(np.float64) ** 2).sum())
    run: Callable[..., None] = _plainly
    form: Callable[[Any], Any] = np.ndarray.tolist
    if steps > COMPILED_FROM:
        run, form = _compiled, np.asarray
    graph_in_form = tuple(map(form, graph))

    def attempt(order: Any) -> Indices:
        found = form(np.full(n, -1))
        color(run, graph_in_form, order, (found, form(np.full(n + 1, -1))))
        return np.asarray(found, dtype=np.intp)

    natural = attempt(form(np.arange(n)))
    if natural.max(initial=-1) + 1 <= least or steps > MOST_STEPS:
        return natural
    order = form(np.full(n, -1))
    workspace = [form(np.full(n + (name == "head"), -1)) for name in ("degree", "mark", "head", "after", "before")]
    run("smallest_last", *graph_in_form, *workspace, order)
    other = attempt(order)
    return other if other.max(initial=-1) < natural.max(initial=-1) else natural


LOOPS: dict[str, Callable[..., None]] = {"greedy": greedy, "smallest_last": smallest_last, "star": star}


def _plainly(name: str, *arguments: Any) -> None:
    LOOPS[name](*arguments)


def _compiled(name: str, *arguments: Any) -> None:
    try:
        _jitted(name, True)(*arguments)
    except Exception:  # noqa: BLE001  no folder to keep it in, or what is kept there is damaged: anything may be raised
        _jitted(name, False)(*arguments)


@cache
def _jitted(name: str, kept: bool) -> Any:
    """Compile a loop; kept on the disk, for it holds nothing of the caller's."""
    return import_module("numba").njit(cache=kept)(LOOPS[name])
