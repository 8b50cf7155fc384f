"""Functions of one entry, and of which one entry is returned, made of those of many."""

from __future__ import annotations

import numpy as np

from ..core.validation import Array, Function

__all__ = ["along", "entry_of"]


def along(f: Function, x: Array, i: tuple[int, ...]) -> Function:
    """Return f as a function of one entry of x, which may be complex; the others stay where they are."""

    def of_one(y: Array, *args: object, **kwargs: object) -> object:
        moved = x.astype(np.result_type(x, y))
        moved[i] = y
        return f(moved, *args, **kwargs)

    return of_one


def entry_of(f: Function, i: tuple[int, ...]) -> Function:
    """Return one entry of what f returns, as a function."""
    return lambda *args, **kwargs: np.asarray(f(*args, **kwargs))[i]
