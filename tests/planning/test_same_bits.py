"""Same call, same bits, same evaluations: in any process, busy or not, from any thread, whatever was called before.

Fresh processes, each with a history of its own, make the same gradients by every entry, many times; the test compares
all that they have found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.problems import PROBLEMS, Problem
from fastgrad import Gradient, numerical_gradient, value_and_gradient
from tests.corpus import CORPUS

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4
THREADS = 3  # the process that calls from several threads at once
MOST_OPERATIONS = 2e7  # of one gradient

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fixed": {"h": "fixed"},
    "h": {"h": 1e-4},
    "forward": {"method": "forward"},
    "order 4": {"order": 4},
    "adaptive": {"method": "adaptive"},
    "some": {"indices": [1, 0]},
}
FORMS = ("plain", "lifted", "batched", "jitted")
QUICK = ("rosenbrock", "huber")
QUICK_CORPUS = ("cumulative", "extremes", "while_loop")
STYLES = {entry.name: entry for entry in CORPUS}


class Cell(NamedTuple):
    """A gradient that is asked for: of a problem of the table, or "code" of the corpus, where many are refused."""

    problem: str
    n: int
    form: str
    options: str


def cells(quick: bool) -> Iterator[Cell]:
    for problem in PROBLEMS.values():
        if problem.unavailable or (quick and problem.name not in QUICK):
            continue
        for form in FORMS:
            for n in sorted({problem.size_near(n) for n in ((2, 10, 300) if form == "plain" else (10, 300))}):
                if (form == "batched" and problem.batched is None) or 2 * n * problem.operations(n) > MOST_OPERATIONS:
                    continue
                for options in OPTIONS if n == 10 and form == "plain" and not quick else ("default", "fixed"):
                    yield Cell(problem.name, n, form, options)
    for name, entry in STYLES.items():
        if not quick or name in QUICK_CORPUS:
            for n in (10, 100) if entry.scales else (12,):  # Python loops over 300 entries would take most of the time
                yield Cell(name, n, "code", "default")


def call_of(cell: Cell) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
    if cell.form == "code":
        f, point, rest = STYLES[cell.problem].at(cell.n)
        return f, np.asarray(point, float), {"args": rest}
    problem: Problem = PROBLEMS[cell.problem]
    x, args = problem.make(cell.n)
    options = {"args": args, **OPTIONS[cell.options]}
    if cell.form == "batched":
        return problem.batched, x, {**options, "batch_axis": 0}  # type: ignore[return-value]
    if cell.form == "lifted":
        return problem.f, x, {**options, "backend": "numpy"}
    return problem.jitted if cell.form == "jitted" else problem.f, x, options


# One process ---------------------------------------------------------------------------------------------------------


def made_by(keeps: bool) -> Callable[[Any], Any]:
    """Closures from one factory, of which one may be lifted and the other may not."""
    seen: list[float] = []

    def f(x: Any) -> Any:
        if keeps:
            seen.append(x[0])
        return np.sum(x**2 + np.abs(x))

    return f


def disturb(f: Any, x: Any, options: dict[str, Any], prepared: Gradient | None, turn: int) -> None:
    """Call other gradients, and this one elsewhere: kinks, NaN, exceptions, refusals, jumps of x."""
    rng = np.random.default_rng(turn)
    gradient = prepared or (lambda point: numerical_gradient(f, point, **options))

    def fails(point: Any) -> Any:
        raise ArithmeticError(point[0])

    def other(g: Any, **more: Any) -> Any:
        return lambda: numerical_gradient(g, rng.normal(size=x.size), **more)

    far, origin = x * (1.0 + 30.0 * rng.random()) + 1.0, np.zeros_like(x)
    deeds: list[Callable[[], Any]] = [
        lambda: gradient(x + 1e-3 * rng.normal(size=x.shape)),
        lambda: gradient(far),
        lambda: gradient(origin),
        lambda: gradient(np.resize(x, 4 * x.size) if x.ndim == 1 else x),
        lambda: numerical_gradient(f, x, **{**options, "backend": "numpy"}),
        lambda: [measured(x) for measured in [Gradient(f, **options, effort="measure")] for _ in range(9)],
        lambda: numerical_gradient(made_by(False), origin),
        lambda: numerical_gradient(lambda y: np.sum(np.log(y)), -np.abs(x)),
        other(fails),
        other(made_by(True)),
        other(made_by(True), backend="numpy"),
        other(made_by(False), backend="numpy"),
        other(lambda y: float(y[0] * 1e-12 * rng.random())),
    ]
    for deed in rng.permutation(len(deeds))[: 1 + turn % len(deeds)]:
        with suppress(Exception):
            deeds[deed]()


def entries(f: Any, x: Any, options: dict[str, Any], prepared: Gradient) -> dict[str, Callable[[], Any]]:
    """All ways to ask for the same gradient."""
    out = np.empty(2 if "indices" in options else x.shape)
    found: dict[str, Callable[[], Any]] = {
        "one-shot": lambda: numerical_gradient(f, x, **options),
        "full_output": lambda: numerical_gradient(f, x, full_output=True, **options),
        "prepared": lambda: prepared(x),
        "with_info": lambda: prepared.with_info(x),
        "out": lambda: prepared(x, out=out),
        "value": lambda: value_and_gradient(f, x, **options)[1],
    }
    if hasattr(f, "py_func"):
        found["eager"] = lambda: numerical_gradient(f, x, full_output=True, compile="eager", **options)
    return found


def found_in(cell: Cell, process: int, turns: int) -> dict[str, list[str]]:
    """Digests of the gradient, and evaluations, each with the entries that gave them."""
    f, x, options = call_of(cell)
    prepared = Gradient(f, **options)
    results: dict[str, set[str]] = {}

    def call(entry: str, ask: Callable[[], Any]) -> None:
        answer = ask()
        gradient, info = answer if isinstance(answer, tuple) else (answer, None)
        results.setdefault(f"bits {sha256(gradient.tobytes()).hexdigest()[:12]}", set()).add(entry)
        if info is not None:
            results.setdefault(f"nfev {info.nfev}", set()).add(entry)

    for turn in range(turns):
        if process:  # the first has no history but its own
            disturb(f, x, options, prepared if turn % 2 else None, turn + 100 * process)
        asked = list(entries(f, x, options, prepared).items())
        for entry, ask in asked[turn % len(asked) :] + asked[: turn % len(asked)]:
            call(entry, ask)
        if process == THREADS and turn == 0:
            threads = [threading.Thread(target=call, args=pair) for pair in asked if pair[0] != "out"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    return {result: sorted(who) for result, who in results.items()}


def main() -> None:
    quick, turns, process = (int(word) for word in sys.argv[1:])
    warnings.simplefilter("ignore")
    asked = list(cells(bool(quick)))
    order = np.random.default_rng(process).permutation(len(asked)) if process else range(len(asked))
    with np.errstate(all="ignore"):
        print(json.dumps([[int(i), found_in(asked[i], process, turns)] for i in order]))


# All of them ---------------------------------------------------------------------------------------------------------

Results = dict[str, list[str]]


def run_all(quick: bool, turns: int) -> list[Results]:
    """Run the processes, and gather for each cell who has found what."""
    found: list[Results] = [{} for _ in cells(quick)]
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[str]:
            child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
            stack.enter_context(child)  # which waits for it
            stack.callback(child.kill)
            return child

        def gather(process: int, child: subprocess.Popen[str]) -> None:
            answer, _ = child.communicate()
            assert child.returncode == 0
            for number, results in json.loads(answer):
                for result, who in results.items():
                    found[number].setdefault(result, []).extend(f"{process}: {entry}" for entry in who)

        command = ("-m", __name__, str(int(quick)), str(turns))
        gather(0, start(*command, "0"))  # by itself; the others all at once, with one beside them that never rests
        start("-c", "while True: pass")
        children = [(process, start(*command, str(process))) for process in range(1, PROCESSES)]
        for process, child in children:
            gather(process, child)
    return found


def differences(asked: Iterable[Cell], found: Iterable[Results]) -> list[str]:
    """Say which cells have more than one answer, and who gave which."""
    differ = []
    for cell, results in zip(asked, found, strict=True):
        for kind in ("bits", "nfev"):
            several = {result: who for result, who in results.items() if result.startswith(kind)}
            if len(several) != 1:
                differ.append(f"{' '.join(map(str, cell))}: {several or f'no {kind}'}")
    return differ


def test_the_same_bits_in_every_process() -> None:
    assert differences(cells(True), run_all(True, turns=2)) == []


@pytest.mark.slow
def test_the_same_bits_in_every_process_for_all_problems() -> None:
    turns = 5  # each with six entries: 30 calls of every cell and process
    assert differences(cells(False), run_all(False, turns)) == []


def test_one_other_bit_or_evaluation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("rosenbrock", 5, "plain", "fixed")
    right = found_in(cell, 0, 1)
    assert differences([cell], [right]) == []
    honest = Gradient.with_info

    def last_bit(self: Gradient, x: Any) -> Any:
        gradient, info = honest(self, x)
        gradient[-1] = np.nextafter(gradient[-1], np.inf)
        return gradient, info

    def one_more(self: Gradient, x: Any) -> Any:
        gradient, info = honest(self, x)
        return gradient, replace(info, nfev=info.nfev + 1)

    for wrong, kind in ((last_bit, "bits"), (one_more, "nfev")):
        entry = partial(wrong, Gradient(PROBLEMS["rosenbrock"].f, "fixed"))
        with monkeypatch.context() as patch:
            patch.setattr(f"{__name__}.entries", lambda *all, entry=entry: {"wrong": partial(entry, all[1])})
            (told,) = differences([cell], [merged(right, found_in(cell, 0, 1))])
        assert kind in told
        assert "wrong" in told


def test_timing_the_ways_of_f_does_not_change_what_is_planned_later() -> None:
    """By itself the dense lift refuses arrays of n² entries; the plan has another way for them."""

    def f(x: Any) -> Any:
        return np.sum(np.exp(-((x[:, None] - x[None, :]) ** 2)))

    large, small = np.linspace(0.0, 1.0, 100), np.linspace(0.0, 1.0, 10)
    before = [numerical_gradient(f, x, full_output=True) for x in (large, small)]
    timed = Gradient(f, effort="measure")
    for _ in range(9):
        timed(large)
    for x, (gradient, info) in zip((large, small), before, strict=True):
        again, told = numerical_gradient(f, x, full_output=True)
        assert (again.tobytes(), told.way, told.nfev) == (gradient.tobytes(), info.way, info.nfev)


def merged(one: Results, other: Results) -> Results:
    return {result: one.get(result, []) + other.get(result, []) for result in one | other}


if __name__ == "__main__":
    main()
