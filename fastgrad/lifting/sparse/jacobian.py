"""The sparse lift of a vector-valued f: one run lists every entry of its Jacobian, unrounded."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core.call import Call
from ..arraylike import Array, stacked
from ..rebinding import rebound
from ..signals import CannotLift
from .layout import Box, by_rows
from .slots import FILLED, TooWide
from .sweeping import CELLS, Lifted, keep_freed_memory, lift


class Listed(NamedTuple):
    """The entries of a Jacobian."""

    base: Array  # f(x)
    # flat positions in f(x) and in x; equal pairs add up
    outputs: Array
    inputs: Array
    slopes: Array  # shape (k, entries): f at x + d[:, input] less f(x), over d, at this output
    # whether f used a function without a difference rule: then differences carry the round-off of its values
    rounded: bool
    lost: Array  # inputs that send f another way than x does: their entries mean nothing
    # where the entries are, as the lift describes it: where two are equal, so are `outputs` and `inputs`. Empty if
    # there is no such short description.
    layouts: tuple[Any, ...]
    substitutes: bool = False  # whether f saw numpy through substitutes
    lacks: float = 0.0  # what these differences may lack because something underflowed
    tied: bool = False  # whether f chose between what is equal at x: then these are slopes to one side


def entries(
    call: Call,
    x: Array,
    d: Array,
    *,
    before: Listed | None = None,
    substitutes: bool = False,
    sparse: bool = False,
) -> Listed:
    """Run f with each entry of x changed by d, shape (k, x.size), and list what changes.

    CannotLift if f cannot be evaluated like this.

    `before`: of an earlier run: its positions are taken where they are the same, for listing them takes as long as f.
    `substitutes`: whether f is to see numpy and constant arrays through substitutes that take bundles.
    `sparse`: whether entries that are zero by f's structure are to be kept out, which may take longer.
    """
    keep_freed_memory()
    filled = 1 if sparse else FILLED
    given = rebound(call) if substitutes else call
    of_array = Call(lambda bundle: stacked(given.value(bundle)))
    begin, together = 0, x.size
    outputs: list[Array] = []
    inputs: list[Array] = []
    values: list[Array] = []
    layouts: list[Any] = []
    lost = np.zeros(x.size, dtype=bool)
    rounded, base, lacks, tied = False, np.empty(0), 0.0, False
    while begin < x.size:
        end = min(x.size, begin + together)
        try:
            steps = np.ascontiguousarray(d[:, begin:end])
            lifted = lift(of_array, x, range(begin, end), steps, ties=True, filled=filled)
            layouts.append((begin, np.shape(lifted.base), tuple(layout for layout, _ in lifted.slots)))
            if before is not None and steps.size == d.size and before.layouts == tuple(layouts) and _short(layouts):
                with np.errstate(all="ignore"):  # who asked looks whether they are finite
                    return _refilled(before, lifted, steps)
            listed = lifted.entries()
        except TooWide as wide:
            if end - begin == 1:
                raise CannotLift("one entry of x changes too many others") from wide
            layouts = layouts[:-1] if layouts and layouts[-1][0] == begin else layouts
            together = min(end - begin - 1, max(1, int(CELLS / wide.per_row)))
            continue
        base, rounded = np.asarray(lifted.base), rounded or lifted.run.rounded
        lacks = max(lacks, lifted.lost())
        lost[begin:end], tied = lifted.run.lost, tied or lifted.tied()
        for row, position, change in listed:
            outputs.append(position)
            inputs.append(row + begin)
            values.append(change)
        begin = end
    short = tuple(layouts) if _short(layouts) else ()
    none = np.empty(0, dtype=np.intp)
    where = np.concatenate([none, *outputs]), np.concatenate([none, *inputs])
    with np.errstate(all="ignore"):  # who asked looks whether they are finite
        slopes = np.concatenate([np.empty((len(d), 0)), *values], axis=1) / d[:, where[1]]
    return Listed(base, *where, slopes, rounded, lost, short, lacks=lacks, tied=tied)


def _short(layouts: list[Any]) -> bool:
    return all(isinstance(layout, Box) for _, _, every in layouts for layout in every)


def _refilled(before: Listed, lifted: Lifted, steps: Array) -> Listed:
    """The slopes of a run whose entries are where those of an earlier one were."""
    slopes = np.empty((lifted.run.columns, before.outputs.size))
    begin = 0
    for layout, d in lifted.slots:
        assert isinstance(layout, Box)
        size, lengths, first, strides = by_rows(layout)
        of_rows: Array = np.ndarray((len(d), *lengths), steps.dtype, steps, 8 * first, (steps.strides[0], *strides))
        np.divide(d, of_rows, out=slopes[:, begin : begin + size].reshape(of_rows.shape))
        begin += size
    return before._replace(
        base=np.asarray(lifted.base),
        slopes=slopes,
        rounded=lifted.run.rounded,
        lost=lifted.run.lost,
        lacks=lifted.lost(),
        tied=lifted.tied(),
    )
