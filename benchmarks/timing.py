"""Times that can be compared: interleaved in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int = 30, least: float = 2e-3
) -> dict[str, list[float]]:
    """Seconds of one call of each, `rounds` times in turn, so that all meet the same state of the machine.

    A call is repeated within a round until it lasts `least` seconds.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        number = 1
        while (passed := _time(call, number)) < least:
            number = max(2 * number, int(1.2 * number * least / max(passed, 1e-9)))
        repeats[name] = number
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_time(call, repeats[name]) / repeats[name])
    return times


def _time(call: Callable[[], Any], number: int) -> float:
    began = perf_counter()
    for _ in range(number):
        call()
    return perf_counter() - began
