"""The sparse lift of a vector-valued f: one run lists every entry of its Jacobian, unrounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..signals import CannotLift
from .functions import has_bundles, stacked
from .slots import TooWide
from .sweeping import CELLS, NOTHING, keep_freed_memory, lift

Array = NDArray[Any]


class Listed(NamedTuple):
    """The entries of a Jacobian.

    Attributes
    ----------
    base : ndarray
        f(x).
    outputs, inputs : ndarray of intp
        Flat positions in f(x) and in x; equal pairs add up.
    values : ndarray, shape (k, entries)
        f at x + d[:, input] less f(x), at this output.
    rounded : bool
        Whether f used a function without a difference rule: then differences carry the round-off of its values.
    lost : ndarray of bool
        Inputs that send f another way than x does: their entries mean nothing.
    """

    base: Array
    outputs: Array
    inputs: Array
    values: Array
    rounded: bool
    lost: Array


def entries(
    f: Callable[..., Any], x: Array, d: Array, *, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = NOTHING
) -> Listed:
    """Run f with each entry of x changed by d, shape (k, x.size), and list what changes.

    Raises
    ------
    CannotLift
        If f cannot be evaluated like this.
    """
    keep_freed_memory()

    def of_array(bundle: Any, *args: Any, **kwargs: Any) -> Any:
        value = f(bundle, *args, **kwargs)
        return stacked(value) if isinstance(value, list | tuple) and has_bundles(value) else value

    begin, together = 0, x.size
    outputs, inputs, values = [], [], []
    lost = np.zeros(x.size, dtype=bool)
    rounded, base = False, np.empty(0)
    while begin < x.size:
        part = np.arange(begin, min(x.size, begin + together))
        try:
            lifted = lift(of_array, x, part, np.ascontiguousarray(d[:, part]), args=args, kwargs=kwargs)
            listed = lifted.entries()
        except TooWide as wide:
            if part.size == 1:
                raise CannotLift("one entry of x changes too many others") from wide
            together = min(part.size - 1, max(1, int(CELLS / wide.per_row)))
            continue
        base, rounded = np.asarray(lifted.base), rounded or lifted.run.rounded
        lost[part] = lifted.run.lost
        for row, position, change in listed:
            outputs.append(position)
            inputs.append(row + begin)
            values.append(change)
        begin += part.size
    if not outputs:
        none = np.empty(0, dtype=np.intp)
        return Listed(base, none, none, np.empty((len(d), 0)), rounded, lost)
    return Listed(base, np.concatenate(outputs), np.concatenate(inputs), np.concatenate(values, axis=1), rounded, lost)
