"""What was learned about the ways to evaluate one function, and which of them is worth a try next.

A plain f can be evaluated in a loop or by a lift. Which is faster is found out by timing, within bounds: an attempt
that fails must cost little beside the loops that were run so far.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import numpy as np

from ..core.call import Call, Memo
from ..core.errors import describe
from ..inspecting.purity import Nature, nature

LOOP, DENSE, SPARSE = "loop", "dense", "sparse"
LIFTS = DENSE, SPARSE

# Measured on the corpus of the tests: a failed or aborted attempt costs 3 to 15 evaluations of a numpy f by the dense
# lift and 15 to 75 by the sparse one, and more where f loops over the entries. With this share of the time of all
# loops so far, attempts stay below a tenth of it.
SHARE = 0.06
LEAST_ATTEMPT = 3e-5  # seconds: below, a lift has hardly begun
# From here the sparse lift tends to be the faster one (n = 100: it is slower for most f, n = 300: faster for most).
SPARSE_FROM = 200
SPARSE_LEAST = 50  # below it is not tried, unless nothing else is left
CLEARLY = 0.9  # of the loop's time: what a lift must stay below to be preferred
SETTLED = 16  # calls, after which what was learned is believed
WORTH_DIGITS = 2.0  # times the dense lift's time, for full precision: the other needs steps that choose themselves
TRIES = 3  # times that a way is measured before it is given up as slower

_PLAIN = (np.ndarray, float, int, np.float64)  # arguments in which nothing can be kept

Attempts = list[tuple[str, float]]


class Ways:
    """What was learned about one function at points of one shape.

    Attributes
    ----------
    seconds : dict
        Of one point by each way; the least that was measured.
    tries : dict
        How often each was measured.
    refused : dict
        Why a lift cannot evaluate f: the operation, and the line in f.
    limits : dict
        Seconds that were not enough.
    looped, tried : float
        Seconds spent in loops, and in attempts that did not pay.
    large : bool
        Whether f was seen to make arrays so large that fewer points at a time are faster.
    rounded : bool
        Whether the sparse lift was seen to round: to evaluate a point plainly, or a function without a difference rule.
    calls : int
        How many gradients were asked for.
    """

    __slots__ = (
        "_nature",
        "calls",
        "large",
        "limits",
        "looped",
        "measure",
        "refused",
        "rounded",
        "seconds",
        "tried",
        "tries",
    )

    def __init__(self, measure: bool = False) -> None:
        self.calls = 0
        self.measure = measure
        self.large = self.rounded = False
        self.looped = self.tried = 0.0
        self.seconds: dict[str, float] = {}
        self.tries: dict[str, int] = {}
        self.limits: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self._nature: Nature | None = None

    @property
    def loop(self) -> float:
        """Seconds of one plain evaluation; inf if unknown."""
        return self.seconds.get(LOOP, inf)

    def nature(self, call: Call) -> Nature:
        """What f can read and keep; looked at again where f's arguments or what f finds may be others."""
        if call.memo is None or call.kwargs or not all(type(a) in _PLAIN for a in call.args):
            return nature(call.f, (*call.args, *call.kwargs.values()))
        if self._nature is None or not self._nature.holds():
            self._nature = nature(call.f)
        return self._nature

    def note(self, way: str, seconds: float) -> None:
        """Remember the time of one point."""
        known = self.seconds.get(way, inf)
        if seconds < known:
            self.seconds[way] = seconds
        self.tries[way] = self.tries.get(way, 0) + 1

    def note_plain(self, seconds: float) -> None:
        """Remember the time of one evaluation by itself, where loops are not measured as they are."""
        if not self.measure:
            self.note(LOOP, seconds)

    def note_loop(self, seconds: float, points: int) -> None:
        """Remember the time of a loop."""
        self.looped += seconds
        self.note(LOOP, seconds / points)

    def best(self) -> str | None:
        """Return the fastest lift that was measured."""
        return min((way for way in LIFTS if way in self.seconds), key=self.seconds.__getitem__, default=None)

    def pays(self, way: str) -> bool:
        """Whether a lift was seen to be faster than the loop."""
        return self.seconds.get(way, inf) < CLEARLY * self.loop

    @property
    def hopeless(self) -> bool:
        """Whether no lift pays, as far as is known by now; now and then that is looked at again."""
        return self.calls > SETTLED and bool(self.calls & 15) and not any(map(self.pays, self.seconds))

    @property
    def reason(self) -> str:
        """Why f is not lifted."""
        for way in LIFTS:
            if way in self.refused:
                return f"f cannot be lifted: {self.refused[way]}"
        return "the plain loop is as fast as a lift"

    # --- what to try ---------------------------------------------------------------------------------

    def forced(self, n: int, points: int, real: bool) -> Attempts:
        """List the lifts to try, and for how long, where the user asked for one."""
        best = self.best()
        if self.measure and (missing := self._unmeasured(LIFTS, real)):
            return [(way, inf) for way in missing]
        if best is not None and real:
            return [(best, inf)]
        if not real:
            return [(DENSE, inf)]
        if n < SPARSE_FROM:
            return [(DENSE, inf), (SPARSE, inf)]
        return [(SPARSE, SHARE * points * self.loop), (DENSE, inf), (SPARSE, inf)]

    def worthwhile(self, n: int, points: int, real: bool, prepared: bool) -> Attempts:
        """List the lifts that may pay, and for how long they may be tried."""
        if self.measure and (missing := self._unmeasured((*LIFTS, LOOP), real)):
            return [] if missing[0] == LOOP else [(way, inf) for way in missing if way != LOOP]
        best = self.best() if real else DENSE if DENSE in self.seconds else None
        loop = points * self.loop
        again: Attempts = [(best, inf if self.measure else loop)] if best is not None and self.pays(best) else []
        if self.measure or (again and self.calls > SETTLED and self.calls & 15):
            return again  # settled: other ways get another chance now and then
        usable = [w for w in self._order(n, real) if w not in self.refused]
        if prepared and self.calls > 1:
            limit = min(loop, points * self.seconds[best]) if best is not None else loop
            for way in usable:
                known = way in self.seconds
                if self.limits.get(way, 0.0) < 0.5 * limit and (not known or self._unsure(way)):
                    return [(way, 2.0 * limit if known else limit), *again]
            return again
        if again:
            return again
        limit = SHARE * (self.looped + loop) - self.tried
        if limit < LEAST_ATTEMPT:
            return []
        return [
            (way, limit)
            for way in usable
            if self.limits.get(way, 0.0) < 0.5 * limit and (way not in self.seconds or self._unsure(way))
        ]

    def exactly(self, n: int, points: int, prepared: bool) -> float:
        """Say how long the sparse lift may be tried for its accuracy: it may be slower than the dense one."""
        loop = points * self.loop
        dense = self.seconds.get(DENSE, inf)
        if n < SPARSE_FROM and dense == inf and DENSE not in self.refused:
            return 0.0
        if SPARSE in self.seconds and self.tries[SPARSE] >= TRIES:
            return inf if self.seconds[SPARSE] < min(self.loop, WORTH_DIGITS * dense) else 0.0
        if (prepared and self.calls > 1) or SPARSE in self.seconds:
            limit = loop
        else:
            limit = SHARE * (self.looped + loop) - self.tried if n >= SPARSE_LEAST else 0.0
        return limit if self.limits.get(SPARSE, 0.0) < 0.5 * limit else 0.0

    @staticmethod
    def _order(n: int, real: bool) -> tuple[str, ...]:
        if not real or n < SPARSE_LEAST:
            return (DENSE,)
        return (SPARSE, DENSE) if n >= SPARSE_FROM else LIFTS

    def _unsure(self, way: str) -> bool:
        """Whether a way that seems slower was measured too rarely to say so."""
        fastest, tries = min(self.seconds.values()), self.tries.get(way, 0)
        # the first time, code is loaded and memory is new: it tells little
        return tries < 2 or (tries < TRIES and fastest < self.seconds[way] < 2.0 * fastest)

    def _unmeasured(self, ways: Iterable[str], real: bool) -> list[str]:
        """List the ways that were not measured often enough, the rarest first; only while there are such."""
        usable = [w for w in ways if w not in self.refused and (real or w != SPARSE)]
        missing = [w for w in usable if self.tries.get(w, 0) < TRIES]
        return sorted(missing, key=lambda w: self.tries.get(w, 0))

    # --- to keep --------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Return what was learned as plain data."""
        return {"seconds": dict(self.seconds), "refused": dict(self.refused)}

    def recall(self, facts: Any) -> None:
        """Take over what was learned in another process."""
        try:
            seconds = {str(way): float(value) for way, value in facts["seconds"].items()}
            refused = {str(way): str(why) for way, why in facts["refused"].items()}
            tuple(map(int, facts["shape"]))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"`learned` must be what `Gradient.learned` returned, got {describe(facts)}") from error
        self.seconds, self.refused = seconds, refused
        self.tries = dict.fromkeys(seconds, TRIES)
        self.calls = 2


def recall(memo: Memo, learned: Iterable[Mapping[str, Any]]) -> None:
    """Take over what another gradient has learned."""
    if not isinstance(learned, (list, tuple)):
        raise ValueError(f"`learned` must be a list, as `Gradient.learned` returned it, got {describe(learned)}")
    for facts in learned:
        ways = Ways()
        ways.recall(facts)
        memo.ways[tuple(facts["shape"])] = ways


# What was learned by one-shot calls: f's code and x's shape -> Ways. Closures over other data share it, so it only
# says what is worth trying.
_learned: OrderedDict[Any, Ways] = OrderedDict()
_MOST_LEARNED = 256


def ways_of(call: Call, shape: tuple[int, ...]) -> Ways:
    """Return what is known of f, of a prepared gradient or of earlier one-shot calls."""
    memo = call.memo
    if memo is not None:
        found: Ways | None = memo.ways.get(shape)
        if found is None:
            found = memo.ways[shape] = Ways(memo.measure)
        return found
    inner: Any = call.f
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if code is None:
        return Ways()
    key = code, shape
    found = _learned.get(key)
    if found is None:
        found = _learned[key] = Ways()
        while len(_learned) > _MOST_LEARNED:
            _learned.popitem(last=False)
    return found
