"""Loops of calibrated length in interleaved rounds: a change of the machine's speed meets all that is timed alike."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from time import perf_counter
from timeit import Timer
from typing import Any

import numpy as np

from ..core.validation import Floats, Ints

# Quartiles need a few rounds; more rounds of shorter loops follow the machine's drift better than few long ones.
MOST_ROUNDS, FEWEST_ROUNDS = 15, 3

Progress = Callable[[float], None]


def unheard(share: float) -> None:
    """Be told how far it is, and do nothing."""


@dataclass
class Timed:
    """A call while it is being measured."""

    call: Callable[[], Any]  # makes one gradient
    scale: float = 1.0  # the times are multiplied by it: a part of the gradient stands for the whole
    loops: int = 1  # calls in a round
    clock: Callable[[], float] = perf_counter  # of the seconds
    samples: list[float] = field(default_factory=list)  # seconds of one call, one for each round

    def calibrate(self, slot: float) -> None:
        """Choose how many calls make a loop of about `slot` seconds."""
        once = Timer(self.call, timer=self.clock).timeit(1)
        while once < slot / 8:  # the first ones are slower than the rest
            self.loops *= 8
            once = Timer(self.call, timer=self.clock).timeit(self.loops)
        self.loops = max(1, round(self.loops * slot / once))

    def time(self) -> None:
        """Take one sample."""
        self.samples.append(self.scale * Timer(self.call, timer=self.clock).timeit(self.loops) / self.loops)

    def quartiles(self) -> tuple[float, float, float]:
        """Return the quartiles of the samples, the median in the middle."""
        low, median, high = (float(q) for q in np.quantile(self.samples, (0.25, 0.5, 0.75)))
        return low, median, high


@dataclass
class Run(Timed):
    """A candidate or a peer while it is being measured."""

    backend: str = ""
    form: str = ""
    gradient: Floats = field(default_factory=lambda: np.empty(0))
    where: Ints | None = None
    coordinates: int | None = None  # where these are not the entries of `gradient`
    extra: float = 0.0  # seconds of the first call beyond a warm one; not scaled
    nfev: int = 0
    memory: int = 0
    ran: str = ""
    compiles: bool = False
    peer: bool = False


def interleaved(runs: Sequence[Timed], budget: float, report: Progress) -> None:
    """Time all in turns, for about `budget` seconds, in three rounds at least; `report` gets the share that is done."""
    _take_turns(runs, budget / (MOST_ROUNDS * max(1, len(runs))), MOST_ROUNDS, budget, report)
    report(1.0)


def rounds_of(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int = 30,
    least: float = 2e-3,
    budget: float = inf,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of one call of each, `rounds` times in turns; fewer once `budget` seconds have passed.

    A call is repeated within a round until it lasts about `least` seconds.
    """
    runs = {name: Timed(call, clock=clock) for name, call in calls.items()}
    _take_turns(list(runs.values()), least, rounds, budget, unheard)
    return {name: run.samples for name, run in runs.items()}


def _take_turns(runs: Sequence[Timed], slot: float, rounds: int, budget: float, report: Progress) -> None:
    """Take one sample of each in every round, in the other order every second time."""
    began = perf_counter()
    for run in runs:
        run.calibrate(slot)
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and perf_counter() - began > budget:
            break
        for run in runs[:: 1 if number % 2 else -1]:
            run.time()
        report((number + 1) / rounds)


def peak_memory(call: Callable[[], Any]) -> int:
    """Return the most bytes that a call has at a time, as Python and numpy allocate them."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def relative_error(gradient: Floats, exact: Floats) -> float:
    """Relative error in the maximum norm; absolute where the exact gradient is zero."""
    if not exact.size:
        return 0.0
    error = float(np.max(np.abs(gradient - exact)) / (np.max(np.abs(exact)) or 1.0))
    return error if isfinite(error) else float("nan")
