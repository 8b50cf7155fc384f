"""The one array that a kernel works in: a record of numbers, then arrays that the record says the places of.

One array, because each argument of a kernel takes 70 ns (measured); a record within it, because a name costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.validation import Floats, Ints
from ...schemes.stencils import Stencil
from ...schemes.steps import Step

_INTEGERS = (
    "address",  # of f
    "count",  # of coordinates
    "symmetric",  # whether the stencil needs no f(x)
    "dyadic",  # and the other numbers of a `Step`: floor, otherwise
    "start",  # the row to go on with
    "refill",  # whether f writes into its argument: it is made anew for each evaluation
    "unwatched",  # rows before the first look at the clock
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
    # what the line says, for the judgement of the sweep; see `calm`
    "unit",
    "sigma",
    "rho",
    "variation",
    "size",
    "third",
    "slope",
    "doubt",
    "step",
    "ratio",
)
# where they are in `work`, and how long they are
_ARRAYS = ("nodes", "quotients", "absolute", "relative", "y", "index", "points", "values")
_FURTHER = ("vector", "scale", "progress", "meter", "tile")

HEADER = np.dtype(
    [
        *((name, np.int64) for name in _INTEGERS),
        *((name, np.float64) for name in _FLOATS),
        *((f"{name}_at", np.int64) for name in (*_ARRAYS, *_FURTHER)),
        *((f"{name}_size", np.int64) for name in ("nodes", "absolute", "relative")),
    ]
)


def aligned(size: int) -> Floats:
    """Return zeros that start at a cache line: vectors that straddle two take twice as long to load."""
    room = np.zeros(size + 7)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + size]


def record(work: Floats) -> Any:
    """View the record of a workspace."""
    return work[: HEADER.itemsize // 8].view(HEADER)[0]


def workspace(stencil: Stencil, rule: Step | None, count: int, width: int, address: int) -> Floats:
    """Return a filled workspace for gradients of `count` coordinates; without a rule, for the default one."""
    absolute, relative = (np.atleast_1d(a) for a in ((rule.absolute, rule.relative) if rule else (0.0, 0.0)))
    nodes = stencil.nodes
    empty, table = np.empty(0), count * nodes.size
    contents: dict[str, tuple[Floats | Ints, int]] = {  # what is written there, and how much room it has
        "nodes": (nodes, nodes.size),
        "quotients": (stencil.quotients, nodes.size),
        "absolute": (absolute, absolute.size),
        "relative": (relative, relative.size),
        "y": (empty, count),
        "index": (np.arange(count).view(np.float64), count),
        "points": (empty, table),
        "values": (empty, table),
        "vector": (empty, 0 if rule else count),
        "scale": (empty, 0 if rule else count),
        "progress": (empty, 1),
        "meter": (empty, 2),
        "tile": (empty, count * width),
    }
    at, places = HEADER.itemsize // 8, {}
    for name, (_, size) in contents.items():
        places[name] = at = -(-at // 8) * 8 if name == "tile" else at
        at += size
    work = aligned(at)
    head = record(work)
    for name, (numbers, _) in contents.items():
        head[f"{name}_at"] = places[name]
        work[places[name] : places[name] + numbers.size] = numbers
    head["address"], head["count"], head["symmetric"] = address, count, stencil.symmetric
    head["nodes_size"], head["absolute_size"], head["relative_size"] = nodes.size, absolute.size, relative.size
    head["unwatched"], head["width"], head["budget"] = 1, width, np.inf
    if rule:
        head["floor"], head["otherwise"], head["dyadic"] = rule.floor, rule.otherwise, rule.dyadic
    return work
