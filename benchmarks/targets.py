"""What fastgrad has to reach, each as a ratio within one run.

python -m benchmarks.targets
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numba import njit

import fastgrad
from fastgrad import Gradient, gradient_descent, numerical_gradient

from . import c_baseline
from .problems import PROBLEMS, cases
from .timing import interleaved


class Figure(NamedTuple):
    """One line: what was measured, its value, and the limit."""

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        reached = self.value >= self.limit if self.at_least else self.value <= self.limit
        sign = ">=" if self.at_least else "<="
        verdict = "reached" if reached else "MISSED "
        return f"{verdict}  {self.value:9.2f} {self.unit:3} {sign} {self.limit:g}  {self.what}"


def textbook(f: Callable[..., Any], x: Any, h: float = 1e-4) -> Any:
    """The loop as textbooks print it."""
    gradient = np.zeros_like(x)
    it = np.nditer(x, flags=["multi_index"], op_flags=[["readwrite"]])
    while not it.finished:
        i = it.multi_index
        kept = x[i]
        x[i] = float(kept) + h
        above = f(x)
        x[i] = kept - h
        below = f(x)
        gradient[i] = (above - below) / (2 * h)
        x[i] = kept
        it.iternext()
    return gradient


def one_batch(f: Callable[..., Any], x: Any, h: float = 1e-4) -> Any:
    """All 2n rows at once, as one writes it."""
    step = h * np.eye(x.size)
    values = f(np.concatenate([x + step, x - step]))
    return (values[: x.size] - values[x.size :]) / (2 * h)


def ratio(numerator: Callable[[], Any], denominator: Callable[[], Any], rounds: int = 30, least: float = 2e-3) -> float:
    times = interleaved({"a": numerator, "b": denominator}, rounds, least)
    return median(a / b for a, b in zip(times["a"], times["b"], strict=True))


def compiled_against_c() -> Iterator[Figure]:
    found = [r for (_, n), r in c_baseline.ratios().items() if n >= 99]
    if found:
        yield Figure("numba against the same loop in C, n >= 100, median", median(found), 1.1, "x")
        yield Figure("numba against the same loop in C, n >= 100, worst", max(found), 1.3, "x")


def calls() -> Iterator[Figure]:
    f, g = PROBLEMS["rosenbrock"].jitted, _scaled
    for n in (2, 10):
        x, _ = PROBLEMS["rosenbrock"].make(n)
        automatic, fixed, out = Gradient(f), Gradient(f, "fixed"), np.empty(n)
        for _ in range(4):  # the kernels are loaded, the automatic step settles
            automatic(x)
            fixed(x)
        times = interleaved(
            {
                "automatic": lambda x=x, g=automatic: g(x),
                "fixed": lambda x=x, g=fixed: g(x),
                "out": lambda x=x, g=automatic, out=out: g(x, out=out),
                "one-shot": lambda x=x: numerical_gradient(f, x),
                "one-shot, h": lambda x=x: numerical_gradient(f, x, h=1e-4),
                "one-shot, args": lambda x=x: numerical_gradient(g, x, args=(100.0,)),
                "textbook": lambda x=x: textbook(f, x),
            }
        )
        us = {name: 1e6 * median(t) for name, t in times.items()}
        for name, what, limit in (
            ("automatic", f"prepared Gradient, @njit f, n = {n}, automatic step", 1.2),
            ("fixed", "  fixed step", 1.2),
            ("out", "  automatic step, out=", 1.2),
            ("one-shot", f"numerical_gradient, @njit f, n = {n}, warm", 5.0),
            ("one-shot, h", "  h=1e-4", 5.0),
            ("one-shot, args", "  args=(a,)", 5.0),
        ):
            yield Figure(f"{what} (at least {1e6 * min(times[name]):.2f})", us[name], limit, "µs")
        gain = us["textbook"] / us["one-shot"]
        yield Figure("  the textbook's loop over the same f, against it", gain, 1.0, "x", True)


@njit
def _scaled(x: Any, a: float) -> Any:
    total = 0.0
    for i in range(x.size - 1):
        total += a * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


CACHED = """
from numba import njit
@njit(cache=True)
def f(x):
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total
"""


def warm_start() -> Iterator[Figure]:
    """The first gradient of a second process against the first call of f there, both from before numba's import."""
    begin = (
        "import time; began = time.perf_counter(); import numpy as np; from cached import f; x = np.linspace(0, 1, 10)"
    )
    end = "print(time.perf_counter() - began)"
    ways = {
        "f": "f(x)",
        "automatic": "from fastgrad import numerical_gradient; numerical_gradient(f, x)",
        "h": "from fastgrad import numerical_gradient; numerical_gradient(f, x, 1e-4)",
    }
    root = Path(fastgrad.__file__).parents[1]
    with TemporaryDirectory() as folder:
        (Path(folder) / "cached.py").write_text(CACHED, "utf-8")
        path = os.pathsep.join([str(root), folder])
        # as a user's Python does, it keeps byte code
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(10):
            for name, way in ways.items():
                command = [sys.executable, "-c", f"{begin}; {way}; {end}"]
                run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                if turn:
                    seconds[name].append(float(run.stdout))
    for name in ("automatic", "h"):
        ratios = [a / b for a, b in zip(seconds[name], seconds["f"], strict=True)]
        yield Figure(f"first gradient of a cached f in a second process, {name}, to f itself", median(ratios), 1.2, "x")


def batches() -> Iterator[Figure]:
    problems = [
        p for p in PROBLEMS.values() if p.batched and not p.needs and 1000 in p.sizes and p.name != "lennard_jones"
    ]
    gains, loops = [], {}
    for problem in problems:
        x, args = problem.make(1000)
        if x.ndim != 1:
            continue
        gradient = Gradient(problem.batched, "fixed", args=args, batch_axis=0)
        whole = lambda p=problem, x=x, a=args: one_batch(lambda points: p.batched(points, *a), x)  # noqa: E731
        gains.append(ratio(whole, lambda g=gradient, x=x: g(x), 7, 1e-4))
    for n in (10, 100, 1000):
        for problem in problems:
            x, args = problem.make(n if n in problem.sizes else min(problem.sizes, key=lambda s: abs(s - n)))
            gradient = Gradient(problem.batched, "fixed", args=args, batch_axis=0)
            loop = Gradient(problem.f, "fixed", args=args, backend="python")
            loops[problem.name, n] = ratio(lambda g=loop, x=x: g(x), lambda g=gradient, x=x: g(x), 7, 1e-4)
    yield Figure("one batch of all 2n rows against numpy, n = 1000, geometric mean", _geometric(gains), 2.0, "x", True)
    yield Figure("  the same, worst problem", min(gains), 2.0, "x", True)
    for n in (10, 100, 1000):
        least, name = min((r, k[0]) for k, r in loops.items() if k[1] == n)
        yield Figure(f"the loop against numpy, n near {n}, worst problem ({name})", least, 1.0, "x", True)
    x, args = PROBLEMS["rosenbrock"].make(10_000)
    gradient = Gradient(PROBLEMS["rosenbrock"].batched, "fixed", args=args, batch_axis=0)
    tracemalloc.start()
    gradient(x)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    yield Figure("extra memory of numpy, Rosenbrock, n = 10,000", peak, 32.0, "MB")


def reference() -> Iterator[Figure]:
    ratios = []
    for problem, n in cases(min_n=10, max_n=100, max_operations=2e7, without="data"):
        x, args = problem.make(n)
        f = (lambda y, p=problem, a=args: p.f(y, *a)) if args else problem.f
        gradient = Gradient(f, 1e-4, backend="python")
        ratios.append(ratio(lambda g=gradient, x=x: g(x), lambda f=f, x=x: textbook(f, x), 9, 1e-4))
    yield Figure("python against the textbook's loop, n >= 10, geometric mean", _geometric(ratios), 1.15, "x")
    yield Figure("  the same, worst case", max(ratios), 1.15, "x")

    def nothing(x: Any) -> float:
        return 0.5 * x.item(0)

    x = np.array([1.0])
    times = interleaved({"one": lambda: numerical_gradient(nothing, x, 1e-4, backend="python"),
                         "loop": lambda: _plain_loop(nothing, x)})  # fmt: skip
    yield Figure(
        "what a call of python costs around the loop", 1e6 * (median(times["one"]) - median(times["loop"])), 10, "µs"
    )


def _plain_loop(f: Callable[..., Any], x: Any, h: float = 1e-4) -> Any:
    """What no loop can leave out: two copies, two calls, one quotient."""
    kept = x[0]
    x[0] = kept + h
    above = f(x.copy())
    x[0] = kept - h
    below = f(x.copy())
    x[0] = kept
    return np.array([(above - below) / (2 * h)])


def descents() -> Iterator[Figure]:
    @njit
    def bowl(x: Any) -> Any:
        return x[0] * x[0] + 3.0 * x[1] * x[1]

    x0, steps = np.array([-3.0, 4.0]), 1000
    gradient = Gradient(bowl, "fixed")

    def from_python() -> Any:
        x = x0.copy()
        for _ in range(steps):
            x -= 0.01 * gradient(x)
        return x

    gain = ratio(from_python, lambda: gradient_descent(bowl, x0, lr=0.01, step_num=steps))
    yield Figure("compiled descent against compiled gradients called from Python, n = 2", gain, 10.0, "x", True)


def imports() -> Iterator[Figure]:
    code = "import time, numpy; t = time.perf_counter(); import fastgrad; print(1e3 * (time.perf_counter() - t))"
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        run = partial(subprocess.run, env=environment, capture_output=True, text=True, check=True)
        runs = [run([sys.executable, "-c", code]) for _ in range(10)][1:]
    yield Figure("import fastgrad, beyond numpy", median(float(run.stdout) for run in runs), 30.0, "ms")


def _geometric(values: list[float]) -> float:
    return exp(fmean(log(v) for v in values))


def main() -> None:
    for part in (imports, warm_start, calls, descents, reference, batches, compiled_against_c):
        for figure in part():
            print(figure, flush=True)


if __name__ == "__main__":
    main()
