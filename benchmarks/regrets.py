"""What "auto" loses against the best way: ``python -m benchmarks.regrets [NAME ...] [--sizes 2,10] [--json FILE]``.

The functions: the table of problems in its four forms (`keeping`: a closure over f that counts its calls), the tests'
corpus, and functions that were held out while the planner's rule and constants were chosen (below). In each cell, auto
and every way that can evaluate this form are timed side by side, in interleaved rounds. `ratio`: the time of
``numerical_gradient(f, x)`` over that of the fastest way, forced, with all that a one-shot call has to do; `prepared`:
that of a prepared `Gradient`, over the fastest way with nothing left to prepare; `measured`: the same with
effort="measure". All take the same steps. On a machine that is shared, ``--cpu`` takes the processor's time of this
thread instead: not for jitted f, whose threads it does not see.
"""

from __future__ import annotations

import argparse
import json
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from timeit import Timer
from typing import Any, NamedTuple

import numpy as np

from fastgrad import Gradient, numerical_gradient
from fastgrad.core.options import Options
from fastgrad.core.point import as_point
from fastgrad.inspecting.purity import keeps
from fastgrad.planning.choices import (
    BATCHED,
    COMPILED,
    DENSE,
    IN_PLACE,
    IN_PLACE_DENSE_FIRST,
    REFERENCE,
    SPARSE,
    Way,
)
from fastgrad.planning.planner import Plan, Step
from fastgrad.planning.run import Done, call_of, run
from fastgrad.schemes.table import scheme_for
from fastgrad.tools.timing import rounds_of
from tests.corpus import CORPUS

from .problems import PROBLEMS

SIZES = (2, 5, 6, 10, 30, 100, 199, 300, 1000, 3000)
# the reference last: whether it is hopeless shows by the others
WAYS = {
    "plain": (SPARSE, DENSE, REFERENCE),
    # others leave bundles where f keeps things
    "keeping": (IN_PLACE._replace(name="lift in place, sparse first"), IN_PLACE_DENSE_FIRST, REFERENCE),
    "batched": (BATCHED, REFERENCE),
    "jitted": (COMPILED, REFERENCE),
}
LONGEST = 0.3  # seconds of one gradient: cells in which the fastest takes longer are left out
SLOWEST = 5e-3  # seconds of one evaluation, likewise
HOPELESS = 3.0  # a way that takes so many times the fastest is not timed again
PATIENCE = 10.0 * LONGEST  # for the first call of a way
ROUNDS, SHORTEST, BUDGET = 9, 5e-4, 1.5
LEAST = 6  # entries from which on the goals hold

Run = Callable[[], Any]


# Held out while the planner's rule was chosen; the dense lift's forfeit was chosen with these in view, too ------------


def spring_chain(x: Any) -> Any:
    """A chain of springs between walls, in a double well each."""
    stretch = np.diff(np.concatenate([[0.0], x, [1.0]]))
    return 0.5 * np.sum(stretch**2) + np.sum((x**2 - 0.25) ** 2)


def beam_energy(x: Any) -> Any:
    curvature = x[2:] - 2.0 * x[1:-1] + x[:-2] if x.size > 2 else x
    return np.dot(curvature, curvature) + 1e-2 * np.dot(x, x)


def poisson_deviance(x: Any, a: Any, counts: Any) -> Any:
    rate = a @ x
    return np.sum(np.exp(rate) - counts * rate)


def student_t_fit(x: Any, a: Any, y: Any) -> Any:
    return np.sum(np.log1p((y - a.dot(x)) ** 2 / 4.0))


def portfolio(x: Any, covariance: Any, gain: Any) -> Any:
    w = np.exp(x - np.max(x))
    w = w / np.sum(w)
    return w @ covariance @ w - 0.1 * gain @ w


def hidden_layer(x: Any, inputs: Any, wanted: Any) -> Any:
    """A network of one output, all parameters in one vector."""
    width = x.size // (inputs.shape[1] + 1)
    cut = width * inputs.shape[1]
    hidden = np.tanh(inputs @ x[:cut].reshape(inputs.shape[1], width))
    return np.mean((hidden @ x[cut : cut + width] - wanted) ** 2) + 1e-3 * np.sum(x**2)


def attention(x: Any) -> Any:
    rows = x[: x.size // 2 * 2].reshape(-1, 2)
    scores = rows @ rows.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.sum(((weights / weights.sum(axis=1, keepdims=True)) @ rows) ** 2)


def autoregression(x: Any, y: Any) -> Any:
    """Least squares of a filter: as many taps as x has."""
    loss = 0.0
    for start in range(8):
        loss = loss + (y[start + x.size] - x @ y[start : start + x.size]) ** 2
    return loss


def heat_steps(x: Any) -> Any:
    u = x
    for _ in range(12):
        u = u + 0.2 * (np.roll(u, 1) - 2.0 * u + np.roll(u, -1)) - 0.01 * u**3
    return np.sum(u**2)


def logistic_map(x: Any) -> Any:
    state, total = 0.3, 0.0
    for rate in x:
        state = state * (1.0 - state) * (3.0 + 0.1 * np.tanh(rate))
        total += state
    return total


def kalman(x: Any) -> Any:
    """Minus the log likelihood of a local level, its data the entries."""
    mean, variance, loss = 0.0, 1.0, 0.0
    for value in x:
        total = variance + 0.5
        surprise = value - mean
        loss = loss + 0.5 * (np.log(total) + surprise**2 / total)
        gain = variance / total
        mean, variance = mean + gain * surprise, (1.0 - gain) * variance + 0.1
    return loss


def image_smoothing(x: Any) -> Any:
    side = int(np.sqrt(x.size))
    image = x[: side * side].reshape(side, side)
    return np.sum(np.sqrt(1e-2 + np.diff(image, axis=0)[:, :-1] ** 2 + np.diff(image, axis=1)[:-1] ** 2)) + image.sum()


def kernel_density(x: Any) -> Any:
    distance = x[:, None] - x[None, :]
    return -np.sum(np.log(np.mean(np.exp(-0.5 * distance**2), axis=1)))


def polynomial_norm(x: Any) -> Any:
    t = np.linspace(-1.0, 1.0, 64)
    value = np.zeros_like(t)
    for c in x[:40]:
        value = value * t + c
    return np.mean(value**2) + np.sum(x**2)


def moments(x: Any) -> Any:
    centred = x - x.mean()
    return np.mean(centred**4) / np.mean(centred**2) ** 2 + np.median(x) * 0.1


def penalised(x: Any) -> Any:
    gap = np.maximum(0.0, 1.0 - x[::2].sum()) + np.where(x > 1.5, (x - 1.5) ** 2, 0.0).sum()
    return np.linalg.norm(x) + 10.0 * gap**2


def _data(n: int, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    rng = np.random.default_rng([n, 11])
    return tuple(rng.normal(size=shape) / np.sqrt(shape[-1]) for shape in shapes)


HELD_OUT: tuple[tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]]], ...] = (
    (spring_chain, lambda n: ()),
    (beam_energy, lambda n: ()),
    (poisson_deviance, lambda n: _data(n, (50, n), (50,))),
    (student_t_fit, lambda n: _data(n, (400, n), (400,))),
    (portfolio, lambda n: _data(n, (n, n), (n,))),
    (hidden_layer, lambda n: _data(n, (60, max(1, n // 9)), (60,))),
    (attention, lambda n: ()),
    (autoregression, lambda n: _data(n, (n + 8,))),
    (heat_steps, lambda n: ()),
    (logistic_map, lambda n: ()),
    (kalman, lambda n: ()),
    (image_smoothing, lambda n: ()),
    (kernel_density, lambda n: ()),
    (polynomial_norm, lambda n: ()),
    (moments, lambda n: ()),
    (penalised, lambda n: ()),
)


# The cells -----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One function in one form, at one point."""

    source: str
    name: str
    form: str
    f: Callable[..., Any]
    x: Any
    args: tuple[Any, ...]

    def options(self) -> dict[str, Any]:
        return {"args": self.args, "batch_axis": 0 if self.form == "batched" else None}


class Cell(NamedTuple):
    """One case, measured; the ways by their names in `Info.way`, the times as ratios, `seconds` of the fastest."""

    source: str
    name: str
    form: str
    n: int
    picked: str
    best: str
    ratio: float
    prepared: float
    measured: float | None
    seconds: float


def counting(f: Callable[..., Any]) -> Callable[..., Any]:
    """A closure over f that counts its calls."""
    calls = 0

    def counted(x: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        return f(x, *args)

    return counted


def cases(sizes: Iterable[int], names: Iterable[str]) -> Iterator[Case]:
    names = set(names)
    for problem in PROBLEMS.values():
        if problem.unavailable or (names and problem.name not in names):
            continue
        for n in sorted({problem.size_near(n) for n in sizes}):
            x, args = problem.make(n)
            counted = counting(problem.f)
            forms = {"plain": problem.f, "keeping": counted, "batched": problem.batched, "jitted": problem.jitted}
            yield from (Case("table", problem.name, k, f, x, args) for k, f in forms.items() if f is not None)
    for entry in CORPUS:
        if names and entry.name not in names:
            continue
        for n in sizes if entry.scales else (12,):
            work = entry.at(n)
            form = "keeping" if keeps(work.f) else "plain"
            yield Case("corpus", entry.name, form, work.f, np.asarray(work.x, float), work.args)
    for f, data in HELD_OUT:
        for n in sizes if not names or f.__name__ in names else ():
            x = np.random.default_rng(n).normal(size=n)
            yield Case("held out", f.__name__, "plain", f, x, data(n))


def forced(case: Case, way: Way) -> tuple[Callable[[], Done], Callable[[], Done]]:
    """A gradient by one way: with all that a one-shot call has to do, and with all of it done before."""
    only = Plan((Step(way, "forced"),), explicit=True)

    def one_shot() -> Done:
        options = Options("fixed", **case.options())
        scheme = scheme_for(options, case.x.shape)
        return run(call_of(case.f, options, False), options, scheme, as_point(case.x), only=only)

    options = Options("fixed", **case.options())
    call, scheme = call_of(case.f, options, False), scheme_for(options, case.x.shape)
    return one_shot, lambda: run(call, options, scheme, as_point(case.x), only=only)


class TooSlow(BaseException):
    """Not an Exception: a lift hands those over to the next way."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow after so many seconds."""

    def stop(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def usable(case: Case) -> dict[str, tuple[Run, Run]]:
    """The ways that evaluate f here, but for the hopeless ones; none where all would take too long."""
    point = case.x[None] if case.form == "batched" else case.x
    evaluation = min(Timer(lambda: case.f(point.copy(), *case.args)).repeat(4, 1))
    found: dict[str, tuple[Run, Run]] = {}
    seconds: dict[str, float] = {}
    for way in WAYS[case.form] if evaluation <= SLOWEST else ():
        if way is REFERENCE and 2 * case.x.size * evaluation > HOPELESS * min([LONGEST, *seconds.values()]):
            continue
        one_shot, prepared = forced(case, way)
        try:
            with warnings.catch_warnings(), limited(PATIENCE):
                warnings.simplefilter("error")
                done = one_shot()
        except (Exception, TooSlow):  # noqa: BLE001 - whatever keeps a way from being one
            continue
        if done.way is way and (way is COMPILED or way.name.startswith(done.evaluation.way)):
            found[way.name] = one_shot, prepared
            seconds[way.name] = min(Timer(one_shot).repeat(3, 1))
    quickest = min(seconds.values(), default=np.inf)
    if quickest > LONGEST:
        return {}
    return {name: calls for name, calls in found.items() if seconds[name] <= HOPELESS * quickest}


def measure(case: Case, clock: Callable[[], float]) -> Cell | None:
    ways = usable(case)
    if not ways:
        return None
    f, x, options = case.f, case.x, case.options()
    auto, thorough = Gradient(f, "fixed", **options), Gradient(f, "fixed", effort="measure", **options)
    calls: dict[str, Run] = {
        "one-shot": lambda: numerical_gradient(f, x, "fixed", **options),
        "prepared": lambda: auto(x),
    }
    with suppress(TooSlow), limited(3.0 * PATIENCE):  # it tries the hopeless ways, too
        for _ in range(9):  # three of each way
            thorough(x)
        calls["measured"] = lambda: thorough(x)
    for name, (one_shot, prepared) in ways.items():
        calls |= {f"one-shot {name}": one_shot, f"prepared {name}": prepared}
    times = rounds_of(calls, ROUNDS, SHORTEST, BUDGET, clock)

    def fastest(kind: str) -> str:
        return min((f"{kind} {name}" for name in ways), key=lambda name: median(times[name]))

    def over(name: str, best: str) -> float:
        return median(a / b for a, b in zip(times[name], times[best], strict=True))

    one, kept = fastest("one-shot"), fastest("prepared")
    _, info = numerical_gradient(f, x, "fixed", full_output=True, **options)
    return Cell(
        case.source,
        case.name,
        case.form,
        x.size,
        info.way,
        one.removeprefix("one-shot "),
        over("one-shot", one),
        over("prepared", kept),
        over("measured", kept) if "measured" in calls else None,
        median(times[one]),
    )


def shares(ratios: list[float]) -> str:
    if not ratios:
        return "none"
    close, fair = (100.0 * sum(ratio <= limit for ratio in ratios) / len(ratios) for limit in (1.25, 2.0))
    return f"{close:5.1f} % within 1.25x, {fair:5.1f} % within 2x, worst {max(ratios):5.2f}"


def summary(found: list[Cell]) -> Iterator[str]:
    for form in WAYS:
        for source in dict.fromkeys(cell.source for cell in found):
            for told, least in (("", 0), (f", n >= {LEAST}", LEAST)):
                some = [c for c in found if (c.form, c.source) == (form, source) and c.n >= least]
                if some:
                    yield f"{form}, {source}{told}: {len(some)} cells"
                    for kind, ratios in (
                        ("one-shot", [c.ratio for c in some]),
                        ("prepared", [c.prepared for c in some]),
                        ("measured", [c.measured for c in some if c.measured is not None]),
                    ):
                        yield f"    {kind:10s}{shares(ratios)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--form", choices=WAYS, help="only this form of f")
    parser.add_argument("--source", choices=("table", "corpus", "held out"), help="only these functions")
    parser.add_argument("--json", type=Path, help="save all cells")
    parser.add_argument("--cpu", action="store_true", help="the processor's time of this thread, not the clock's")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these functions")
    options = parser.parse_args()
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")
    found: list[Cell] = []
    for case in cases([int(n) for n in options.sizes.split(",")], options.names):
        if options.form not in (None, case.form) or options.source not in (None, case.source):
            continue
        cell = measure(case, thread_time if options.cpu else perf_counter)
        if cell is None:
            continue
        found.append(cell)
        mark = "" if max(cell.ratio, cell.prepared) <= 1.25 else "  <--"
        print(
            f"{cell.name:28s} {cell.form:8s} {cell.n:6d}  {cell.picked:14s} {cell.best:14s} {cell.ratio:6.2f} "
            f"{cell.prepared:6.2f} {cell.measured or np.nan:6.2f}{mark}",
            flush=True,
        )
    print(*summary(found), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({"regrets": [cell._asdict() for cell in found]}, indent=1))


if __name__ == "__main__":
    main()
