"""The one array that a kernel works in: a record of numbers, then arrays that the record says the places of.

One array, because each argument of a kernel takes 70 ns (measured); a record within it, because a name costs nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.validation import Floats
from ...schemes.constants import ROUNDS
from ...schemes.stencils import Stencil
from ...schemes.steps import Step

_INTEGERS = (
    "address",  # of f
    "count",  # of coordinates
    "symmetric",  # whether the stencil needs no f(x)
    "dyadic",  # and the other numbers of a `Step`: floor, otherwise
    "start",  # the row to go on with
    "refill",  # whether f writes into its argument: it is made anew for each evaluation
    "unwatched",  # rows before the first look at the clock; 0: none is wanted
    "lanes",  # the address of f's bundle loop; 0: one point at a time
    "width",  # of a bundle
    "fast",  # whether f rounds differently in lanes: then it always runs in them
    "timed",  # how often few points were timed: see `kernels.rows`
)
_FLOATS = (
    "floor",
    "otherwise",
    "here",  # f(x)
    "spent",  # ticks in f, one point at a time
    "budget",  # after how many of them to ask for lanes
    "one_by_one",  # the fewest ticks of a row of few points, and
    "in_lanes",  # the same in lanes
    # what the line says, for the judgement of the sweep: see `default`
    "unit",
    "sigma",
    "rho",
    "variation",
    "size",
    "third",
    "slope",
    "doubt",
    "bend",
    "step",
    "enough",
    # what the stencil is to the default rule
    "side",
    "power",  # of f's relative noise that the step is
    "best",
    "amplification",
)
# where they are in `work`, and how long they are
_ARRAYS = ("nodes", "quotients", "absolute", "relative", "y", "index", "points", "values")
_FURTHER = ("vector", "scale", "lengths", "looks", "progress", "meter", "tile")

HEADER = np.dtype(
    [
        *((name, np.int64) for name in _INTEGERS),
        *((name, np.float64) for name in _FLOATS),
        *((f"{name}_at", np.int64) for name in (*_ARRAYS, *_FURTHER)),
        *((f"{name}_size", np.int64) for name in ("nodes", "absolute", "relative")),
    ]
)
HEADER_SIZE = HEADER.itemsize // 8


def aligned(size: int) -> Floats:
    """Return zeros that start at a cache line: vectors that straddle two take twice as long to load."""
    room = np.zeros(size + 7)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + size]


def let_go(*arrays: NDArray[Any]) -> None:
    """Free the memory of arrays that nobody is going to use: compiled code that raises keeps its arguments for ever."""
    for array in arrays:
        owner = array if array.base is None else array.base
        with suppress(ValueError, AttributeError):
            owner.resize(0, refcheck=False)


def record(work: Floats) -> Any:
    """View the record of a workspace."""
    return work[:HEADER_SIZE].view(HEADER).view(np.recarray)[0]


def lay_out(head: Any, count: int, nodes: int, absolute: int, relative: int, width: int, lined: bool) -> int:
    """Write to the record where all arrays are; returns the size of the whole. Compiled for kernels as it stands."""
    head.count, head.nodes_size, head.absolute_size, head.relative_size = count, nodes, absolute, relative
    head.nodes_at = HEADER_SIZE
    head.quotients_at = head.nodes_at + nodes
    head.absolute_at = head.quotients_at + nodes
    head.relative_at = head.absolute_at + absolute
    head.y_at = head.relative_at + relative
    head.index_at = head.y_at + count
    head.points_at = head.index_at + count
    head.values_at = head.points_at + count * nodes
    head.vector_at = head.values_at + count * nodes
    head.scale_at = head.vector_at + (count if lined else 0)
    head.lengths_at = head.scale_at + (count if lined else 0)
    head.looks_at = head.lengths_at + (count if lined else 0)
    head.progress_at = head.looks_at + (4 * (1 + ROUNDS) if lined else 0)
    head.meter_at = head.progress_at + 1
    head.tile_at = (head.meter_at + 2 + 7) // 8 * 8
    head.width = width
    return int(head.tile_at + count * width)


def workspace(stencil: Stencil, rule: Step | None, count: int, width: int, address: int) -> Floats:
    """Return a filled workspace for gradients of `count` coordinates; without a rule, for the default one."""
    absolute, relative = (np.atleast_1d(a) for a in ((rule.absolute, rule.relative) if rule else (0.0, 0.0)))
    sizes = count, stencil.nodes.size, absolute.size, relative.size, width, rule is None
    work = aligned(lay_out(record(np.zeros(HEADER_SIZE)), *sizes))
    head = record(work)
    lay_out(head, *sizes)
    for at, numbers in (
        (head.nodes_at, stencil.nodes),
        (head.quotients_at, stencil.quotients),
        (head.absolute_at, absolute),
        (head.relative_at, relative),
        (head.index_at, np.arange(count).view(np.float64)),
    ):
        work[at : at + numbers.size] = numbers
    head.address, head.symmetric, head.unwatched, head.budget = address, stencil.symmetric, 1, np.inf
    head.side, head.power = 0.0 if stencil.symmetric else np.sign(sum(stencil.reach)), 1.0 / (stencil.order + 1)
    head.best, head.amplification = stencil.best, stencil.amplification_rms
    if rule:
        head.floor, head.otherwise, head.dyadic = rule.floor, rule.otherwise, rule.dyadic
    return work
