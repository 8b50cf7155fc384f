"""The ways to evaluate f: one table entry each. Below, nobody compares a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..backends.table import load
from ..core.call import Call
from ..core.evaluation import Evaluation
from ..core.point import Point
from ..inspecting.purity import Nature


class Way(NamedTuple):
    """A way to evaluate f at many points."""

    name: str  # what `Info.way` says, unless the evaluation itself knows better (lanes, the lift that won)
    backend: str  # the public name that it belongs to
    does: str  # what it does, in words
    place: str
    # from the class that evaluates f, the call, the point, the nature of f, and whether the caller asked for this
    # backend by name. None: the class takes the call and the point.
    make: Callable[[Any, Call, Point, Nature, bool], Any] | None = None

    def open(self, call: Call, point: Point, nature: Nature, explicit: bool) -> Evaluation:
        """Open an evaluation of f around a point; CannotRun where this way does not take such an f."""
        kind, make = load(self.place), self.make
        evaluation: Evaluation = kind(call, point) if make is None else make(kind, call, point, nature, explicit)
        return evaluation


def _lifted(name: str, does: str, *lifts: str) -> Way:
    return Way(
        name,
        "numpy",
        does,
        "lifted",
        lambda kind, call, point, nature, explicit: kind(call, point, lifts, not explicit, nature),
    )


_MANY = "f runs on an array-like that stands for many points"
_ONCE = "f runs once, on x and all differences from it, unrounded"
_ELSE = "the other lift takes over where that has less to do"

REFERENCE = Way(
    "reference",
    "python",
    "one point at a time, in Python, on the caller's own array",
    "reference",
)
JUDGED = REFERENCE._replace(place="judged")  # the same bits
PARALLEL = Way(
    "parallel",
    "python",
    "many evaluations side by side, each as the reference makes it",
    "parallel",
)
BATCHED = Way(
    "batched",
    "numpy",
    "many points in one call of f",
    "batched",
)
COMPILED = Way(
    "scalar kernel",
    "numba",
    "one fused compiled loop",
    "compiled",
    lambda kind, call, point, nature, explicit: kind(call, point, explicit),
)
DENSE = _lifted("dense lift", _MANY, "dense")
SPARSE = _lifted("sparse lift", _ONCE, "sparse")
DENSE_FIRST = _lifted("dense lift", f"{_MANY}; {_ELSE}", "dense", "sparse")
SPARSE_FIRST = _lifted("sparse lift", f"{_ONCE}; {_ELSE}", "sparse", "dense")


def _in_place(*lifts: str) -> Way:
    return Way(
        "lift in place",
        "numpy",
        "f runs on many points at once, and finds them wherever it finds the caller's array; what it keeps is put back",
        "in place",
        lambda kind, call, point, nature, explicit: kind(call, point, nature, lifts, explicit),
    )


IN_PLACE_DENSE_FIRST = _in_place("dense", "sparse")
IN_PLACE = _in_place("sparse", "dense")


def by_owners(owners: object) -> Way:
    """Return the way of a prepared gradient that has decided for owner lanes, or against them."""
    return Way(
        "owner lanes",
        "numba",
        "f runs once for a few colours of coordinates, and carries differences unrounded",
        "owner lanes",
        lambda kind, call, point, nature, explicit: kind(call, point, owners),
    )
