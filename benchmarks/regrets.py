"""What "auto" loses against the best way: the whole problem table in all its forms.

Run ``python -m benchmarks.regrets [--sizes 2,10] [--json FILE]``. In each cell, auto and every backend and lift that
can evaluate this form are timed side by side, in interleaved rounds; `ratio` is the median of auto's time over that
of the fastest, `probing` what the first calls of auto took beyond the later ones, in gradients, and `measured` the
ratio of a gradient with effort="measure". All use the same steps.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastgrad import Gradient
from fastgrad.backends.compiled.functions import jitted

from .forms import size_near
from .problems import PROBLEMS, Problem

SIZES = (2, 10, 100, 1000, 10_000)
LONGEST = 0.5  # seconds of one gradient: cells in which the fastest takes longer are left out
ROUNDS = 9
CALLS = 30  # of auto, of which the first ones probe

Run = Callable[[], Any]


class Cell(NamedTuple):
    """One problem in one form at one size."""

    problem: str
    form: str
    n: int
    picked: str
    best: str
    ratio: float
    probing: float
    measured: float
    seconds: float


def learned(x: Any, way: str) -> list[dict[str, Any]]:
    """What makes a gradient take this lift."""
    others = {other: 1.0 for other in ("dense", "sparse", "loop") if other != way}
    return [{"shape": list(x.shape), "seconds": {way: 1e-12, **others}, "refused": {}}]


def candidates(problem: Problem, form: str, x: Any, args: Any) -> Iterator[tuple[str, Gradient]]:
    """Yield all ways to evaluate a form; some may turn out to be none."""
    f: Any = {"plain": problem.f, "batched": problem.batched, "jitted": problem.jitted}[form]
    axis = 0 if form == "batched" else None
    yield "python", Gradient(f, "fixed", args=args, backend="python", batch_axis=axis)
    if form == "plain":
        for way in ("dense", "sparse"):
            yield f"numpy ({way})", Gradient(f, "fixed", args=args, backend="numpy", learned=learned(x, way))
    if form == "batched":
        yield "numpy", Gradient(f, "fixed", args=args, batch_axis=0, backend="numpy")
    if form == "jitted":
        import numba

        scalar = numba.njit(problem.loop)
        scalar(x, *args)
        jitted(scalar, True).target(x.dtype, x.ndim, args).sink()
        yield "numba", Gradient(scalar, "fixed", args=args, backend="numba")
        yield "numba (lanes)", Gradient(f, "fixed", args=args, backend="numba", compile="eager")


def took(call: Run) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def repeats(call: Run) -> int:
    """How many calls take a millisecond."""
    return max(1, min(1000, int(1e-3 / max(min(took(call) for _ in range(5)), 1e-7))))


def usable(gradient: Gradient, x: Any) -> float | None:
    """Seconds of a gradient; None where it cannot be had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gradient(x)
            return min(took(lambda: gradient(x)) for _ in range(3))
    except Exception:  # noqa: BLE001 - whatever keeps a way from being one
        return None


def picked(gradient: Gradient, x: Any) -> str:
    """Say what auto runs, in the words of `candidates`."""
    told = gradient.explain(x)
    backend = told.split("'")[1]
    for detail in ("dense", "sparse", "lanes"):
        if f"the {detail} lift," in told.splitlines()[1] or f"in {detail}" in told.splitlines()[1]:
            return f"{backend} ({detail})"
    return backend


def measure(problem: Problem, form: str, n: int) -> Cell | None:
    x, args = problem.make(n)
    ways: dict[str, Gradient] = {}
    once: dict[str, float] = {}
    for name, gradient in candidates(problem, form, x, args):
        if name == "python" and 2 * n * problem.operations(n) > 1e10:
            continue
        seconds = usable(gradient, x)
        if seconds is not None:
            ways[name], once[name] = gradient, seconds
    quickest = min(once.values(), default=np.inf)
    if quickest > LONGEST:
        return None
    ways = {name: way for name, way in ways.items() if once[name] <= 4 * quickest}
    f: Any = {"plain": problem.f, "batched": problem.batched, "jitted": problem.jitted}[form]
    axis = 0 if form == "batched" else None
    auto = Gradient(f, "fixed", args=args, batch_axis=axis)
    first = [took(lambda: auto(x)) for _ in range(CALLS if quickest < 0.05 else 6)]
    thorough = Gradient(f, "fixed", args=args, batch_axis=axis, effort="measure")
    for _ in range(12 if quickest < 0.05 else 9):
        thorough(x)
    calls: dict[str, Run] = {name: (lambda way=way: way(x)) for name, way in ways.items()}
    calls |= {"auto": lambda: auto(x), "measure": lambda: thorough(x)}
    loops = {name: repeats(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS if quickest < 0.05 else 3):
        for name in calls if turn % 2 else reversed(calls):
            call, count = calls[name], loops[name]
            began = perf_counter()
            for _ in range(count):
                call()
            times[name].append((perf_counter() - began) / count)
    best = min(ways, key=lambda name: median(times[name]))
    ratio, measured = (
        median(a / b for a, b in zip(times[name], times[best], strict=True)) for name in ("auto", "measure")
    )
    usual = median(times["auto"])
    probing = (sum(first) - len(first) * usual) / usual
    return Cell(problem.name, form, x.size, picked(auto, x), best, ratio, probing, measured, median(times[best]))


def cells(sizes: list[int], names: list[str]) -> Iterator[Cell]:
    for problem in PROBLEMS.values():
        if problem.unavailable or (names and problem.name not in names):
            continue
        chosen = sorted({size_near(problem, n) for n in sizes})
        for n in chosen:
            for form in ("plain", "batched", "jitted"):
                if form == "batched" and problem.batched is None:
                    continue
                cell = measure(problem, form, n)
                if cell is not None:
                    yield cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    np.seterr(all="ignore")
    found: list[Cell] = []
    for cell in cells([int(n) for n in options.sizes.split(",")], options.names):
        found.append(cell)
        mark = "" if cell.ratio <= 1.25 else "  <--"
        print(
            f"{cell.problem:26s} {cell.form:8s} {cell.n:6d}  {cell.picked:15s} {cell.best:15s} {cell.ratio:6.2f} "
            f"{cell.measured:6.2f} {cell.probing:8.1f}{mark}",
            flush=True,
        )
    for form in ("plain", "batched", "jitted"):
        some = [c for c in found if c.form == form]
        if some:
            good, fair = (sum(c.ratio <= limit for c in some) / len(some) for limit in (1.25, 2.0))
            close = sum(c.measured <= 1.1 for c in some) / len(some)
            print(
                f"{form}: {len(some)} cells, auto within 1.25x of the best in {good:.1%}, within 2x in {fair:.1%}, "
                f"worst {max(c.ratio for c in some):.2f}; effort='measure' within 1.1x in {close:.1%}"
            )
    if options.json:
        options.json.write_text(json.dumps({"regrets": [c._asdict() for c in found]}, indent=1))


if __name__ == "__main__":
    main()
