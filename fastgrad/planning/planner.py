"""Which way to evaluate f: a pure function of what f is, of the options and of x's size.

How long a lift may try is counted in work, not in seconds (`fastgrad.lifting.work`): the plan names the first way, and
what takes over where that refuses or spends its lead.
"""

from __future__ import annotations

from typing import NamedTuple

from ..backends.table import load
from ..core.call import Call
from ..core.options import AUTO
from ..core.point import Point
from ..inspecting.kinds import C_FUNCTION, JITTED, PLAIN
from ..inspecting.purity import Nature, known_nature
from ..inspecting.straight import straight
from .choices import (
    BATCHED,
    COMPILED,
    DENSE,
    DENSE_FIRST,
    IN_PLACE,
    IN_PLACE_DENSE_FIRST,
    JUDGED,
    PARALLEL,
    REFERENCE,
    SPARSE_FIRST,
    Way,
    by_owners,
)

__all__ = [
    "FACTS", "FEW", "GIVEN", "LOOKING", "SIZES", "UNROUNDED", "Facts", "Plan", "Sizes", "Step", "does_little",
    "plan_read", "plan_unread", "read", "with_owners",
]  # fmt: skip


class Sizes(NamedTuple):
    """From how many entries of x on lifts are the faster ones, for most f."""

    # below, a lift gains nothing. The loop's time over that of the dense lift, geometric means over a hundred functions
    # of 1 to 400 µs at 6, 8, 10, 13, 16 entries: 0.86, 0.97, 1.09, 1.19, 1.32 with steps chosen at f's values; where
    # the rule runs compiled, 0.61, 0.73, 0.85, 0.96, 1.09; with given steps 1.01, 1.25, 1.54, 1.77, 2.07. Of an f that
    # does next to nothing, and of loops over entries, the code tells: see `does_little`.
    few: int
    # from here on the sparse lift is tried first. Dense over sparse, attempts in vain included, at 60, 100, 140, 170,
    # 199 entries: 0.85, 1.06, 1.42, 1.64, 1.77 where differences are taken unrounded, which spares the sparse lift all
    # looks at noise and steps and makes it right to the last digits; else 0.54, 0.63, 0.80, 0.89, 0.94. What n alone
    # gets wrong the race of the lifts puts right.
    many: int


UNROUNDED = Sizes(12, 100)
LOOKING = Sizes(12, 200)
GIVEN = Sizes(6, 200)
SIZES = {"unrounded": UNROUNDED, "looking": LOOKING, "given": GIVEN}  # by how a scheme comes by its steps
MOST_OF_LITTLE = 25  # entries: of more even calls of an f that does nothing take longer than a lift's beginning
MANY_IN_PLACE = 24  # measured on networks' biases: 0.3x to 0.8x of the loop at 16 to 20 entries, 2x to 4x at 30 to 50

NOTHING_KEPT = Nature("", ())


class Facts(NamedTuple):
    """What is known of a function object, and of how it stands to x."""

    kind: str  # plain, compiled by numba, or a C function
    nature: Nature = NOTHING_KEPT  # what a plain f may keep and read
    reads_x: bool = False  # whether f may read the very array x, without being given it


class Step(NamedTuple):
    """A way to try, and why."""

    way: Way
    reason: str


class Plan(NamedTuple):
    """The ways to evaluate f, in the order in which they are tried."""

    steps: tuple[Step, ...]  # the first is tried; each next one takes over where the one before refuses
    explicit: bool = False  # whether the caller asked for this backend by name
    refused: tuple[str, ...] = ()  # why others are left out
    # whether why a way refused is not told: it was timed, which says nothing of what the planner would have tried
    discreet: bool = False


def plan_unread(
    kind: str, backend: str, batch: bool, imaginary: bool, few: bool, ndim: int, shared: bool = False
) -> Plan | None:
    """Choose the ways to evaluate f where its code, which takes long to read, decides nothing; else None.

    `kind`: plain, compiled by numba, or a C function.
    `backend`: as the caller gave it.
    `batch`: whether f was declared to take many points.
    `imaginary`: whether the points are complex.
    `few`: whether a lift is out of the question: see `Sizes` and `does_little`.
    `ndim`: dimensions of x.
    `shared`: whether workers share the evaluations, or a journal keeps them.
    """
    if shared:
        return _SHARED
    if backend == AUTO:
        if batch:
            return _DECLARED
        if kind != PLAIN:
            return _C_FUNCTION if kind == C_FUNCTION else _JITTED
        return FEW if few else _PLAIN if ndim == 0 else None
    return None if backend == "numpy" and kind == PLAIN and not batch else _EXPLICIT[backend, batch, imaginary]


def plan_read(facts: Facts, backend: str, imaginary: bool, n: int, ndim: int, sizes: Sizes = UNROUNDED) -> Plan:
    """Choose the ways to evaluate a plain f of one point by what its code says, at an x of n entries.

    `facts`: what f is.
    `backend`, `imaginary`, `ndim`: as for `plan_unread`.
    `n`: entries of x.
    `sizes`: from which on lifts are tried, as the scheme asks for them.
    """
    why = facts.nature.keeps or ("f reads the caller's array itself" if facts.reads_x else "")
    in_place = bool(why) and not imaginary and ndim > 0
    if backend != AUTO:
        return _IN_PLACE_ONLY if in_place else _EXPLICIT[backend, False, imaginary]
    if why:
        steps = _IN_PLACE[n >= LOOKING.many] if in_place and n >= MANY_IN_PLACE else _PLAIN.steps
        return Plan(steps, False, (f"not lifted as a function of its argument alone: {why}",))
    way = DENSE if imaginary else DENSE_FIRST if n < sizes.many else SPARSE_FIRST
    return _LIFTED[way.name, imaginary]


def does_little(call: Call, n: int, ndim: int) -> bool:
    """Whether all evaluations of f on both sides of n entries take no longer than a lift does.

    By its code: straight lines on an x of one dimension, as `x @ x` or `x[0] ** 2 / 20 + x[1] ** 2`, and loops over its
    entries that do something with each.
    """
    if n > MOST_OF_LITTLE or ndim != 1 or call.args or call.kwargs:
        return False
    does = straight(call.f)
    if does is None:
        return False
    numbers, functions = does.besides + n * does.numbers, n * does.functions
    return bool(load("spared")(2 * n, does.entries, does.operations, does.reductions, numbers, functions))


def _only(way: Way) -> Plan:
    return Plan((Step(way, "asked for"),), True)


_REFERENCE = Step(JUDGED, "f is a plain function, and the reference takes any, closures included")
FEW = Plan((_REFERENCE,), False, ("x has few entries, or f does little: a lift would cost more than it saves",))
_PLAIN = Plan((_REFERENCE,))
_LIFTED = {
    (way.name, imaginary): Plan((Step(way, "f is a plain function of one point, lifted to many"), _REFERENCE))
    for way, imaginary in ((DENSE, True), (DENSE_FIRST, False), (SPARSE_FIRST, False))
}
_IN_PLACE = tuple(
    (Step(way, "f finds the caller's array by itself, or keeps what it computes"), _REFERENCE)
    for way in (IN_PLACE_DENSE_FIRST, IN_PLACE)
)
_IN_PLACE_ONLY = _only(IN_PLACE)
_SHARED = Plan((Step(PARALLEL, "`workers`, `journal`, `progress`, `on_error` or `timeout` is given"), _REFERENCE))
_JITTED = Plan((
    Step(COMPILED, "f is compiled by numba"), Step(REFERENCE, "numba cannot compile f for these arguments")
))  # fmt: skip


def with_owners(owners: object) -> Plan:
    """Return the plan of a prepared gradient of a compiled f, for which owner lanes are tried first."""
    first = Step(by_owners(owners), "f is compiled by numba, and prepared for many calls at a large x")
    return Plan((first, *_JITTED.steps))


_C_FUNCTION = Plan((Step(COMPILED, "f is a C function"),))
_DECLARED = Plan((
    Step(BATCHED, "f was declared to take many points at once (`batch_axis`)"),
    Step(REFERENCE, "f did not keep what `batch_axis` declares"),
))  # fmt: skip
_EXPLICIT = {
    (backend, batch, imaginary): _only(way)
    for batch in (False, True)
    for imaginary in (False, True)
    for backend, way in {
        "python": REFERENCE,
        "numpy": BATCHED if batch else DENSE if imaginary else SPARSE_FIRST,
        "numba": COMPILED,
    }.items()
}


FACTS = {kind: Facts(kind) for kind in (PLAIN, JITTED, C_FUNCTION)}


def read(call: Call, point: Point) -> Facts:
    """Return what the code of a plain f says."""
    known = known_nature(call.f, (*call.args, *call.kwargs.values()))
    reads_x = point.own is not None and known.may_read(point.own)
    reads_x |= point.container is not None and known.finds(point.container.pieces)
    return Facts(PLAIN, known, reads_x)


def is_shared(call: Call, backend: str, kind: str) -> bool:
    """Whether an executor evaluates f plainly: what is compiled has threads of its own for a number of workers."""
    if backend not in (AUTO, "python") or call.batch_axis is not None or kind == C_FUNCTION:
        if call.watched:
            raise ValueError(
                "`journal`, `progress`, `on_error`, `timeout` and `workers` that are not a number are for an f of one "
                "point that Python calls: leave `backend` and `batch_axis` out"
            )
        return False
    return call.watched or (call.workers != 1 and (kind == PLAIN or backend == "python"))
