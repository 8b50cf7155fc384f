"""effort="measure": the one place where a clock chooses. Each way is timed at first, and the fastest stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import describe
from .choices import DENSE, IN_PLACE, REFERENCE, SPARSE, Way
from .planner import Plan, Step

TRIES = 3  # of each way: the first loads code and touches new memory, and tells little
WAYS = {way.name: way for way in (REFERENCE, DENSE, SPARSE, IN_PLACE)}
_LAST = Step(REFERENCE, "the way that was measured to be fastest refuses f here")


class Measured:
    """What the ways to evaluate f were measured to take, at points of one shape."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # of one gradient by each way; the least that was measured
        self.refused: dict[str, str] = {}  # why a way was refused
        self._tries = dict.fromkeys(WAYS, 0)

    def next(self, real: bool) -> Plan:
        """Return the plan of the next call: the way that was timed least often, or the fastest."""
        usable = [w for w in WAYS if w not in self.refused and (real or w != SPARSE.name)]
        rarest = min(usable, key=lambda w: self._tries[w])
        if self._tries[rarest] < TRIES:
            name, why = rarest, "timed, to find the fastest"
        else:
            name, why = min(usable, key=lambda w: self.seconds[w]), "measured to be the fastest"
        step = Step(WAYS[name], why)
        return Plan((step,) if name == REFERENCE.name else (step, _LAST), discreet=True)

    def note(self, plan: Plan, way: Way, seconds: float, why: str) -> None:
        """Remember how a call went: the time of the way that ran, and why the wanted one did not."""
        wanted = plan.steps[0].way
        if way is not wanted:
            self.refused[wanted.name] = why
            return
        self._tries[way.name] += 1
        self.seconds[way.name] = min(seconds, self.seconds.get(way.name, seconds))

    def facts(self) -> dict[str, Any]:
        """Return what was measured as plain data."""
        return {"seconds": dict(self.seconds), "refused": dict(self.refused)}


def recalled(learned: Iterable[Mapping[str, Any]]) -> dict[tuple[int, ...], Measured]:
    """Return what another gradient has learned, by the shape of x."""
    if not isinstance(learned, (list, tuple)):
        raise ValueError(f"`learned` must be a list, as `Gradient.learned` returned it, got {describe(learned)}")
    found: dict[tuple[int, ...], Measured] = {}
    for facts in learned:
        measured = Measured()
        try:
            shape = tuple(map(int, facts["shape"]))
            measured.seconds = {str(way): float(value) for way, value in facts["seconds"].items()}
            measured.refused = {str(way): str(why) for way, why in facts["refused"].items()}
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"`learned` must be what `Gradient.learned` returned, got {describe(facts)}") from error
        unknown = {*measured.seconds, *measured.refused} - WAYS.keys()
        if unknown or REFERENCE.name in measured.refused:
            raise ValueError(f"`learned` may name the ways {', '.join(map(repr, WAYS))}; got {describe(facts)}")
        measured._tries |= dict.fromkeys(measured.seconds, TRIES)
        found[shape] = measured
    return found
