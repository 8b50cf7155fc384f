"""What is tracked over commits: ways to a gradient × cases (a problem and its n), and what is paid once.

The asv suite stores these figures for each commit, `benchmarks.regressions` compares two commits by them. Both run this
file of today against the fastgrad of another day: what that lacks is `Missing`, and nothing else of fastgrad is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.problems import PROBLEMS

try:
    from fastgrad import Gradient, numerical_gradient
except ImportError:  # a commit before this interface
    Gradient = numerical_gradient = None  # type: ignore[assignment, misc]


class Missing(NotImplementedError):
    """This cell does not exist, or this commit cannot do it yet: asv skips it."""


class Way(NamedTuple):
    """How a gradient is asked for: the form of the problem, and the options."""

    form: str
    options: dict[str, Any]
    most: float = 3e8  # operations of a gradient by one evaluation after another; beyond, it shows nothing more
    needs: str = ""  # a tag that the problem must have


WAYS = {
    "python": Way("f", {"backend": "python"}, 5e7),
    "lifted": Way("f", {"backend": "numpy"}, 1e10),
    "lifted fixed h": Way("f", {"backend": "numpy", "h": "fixed"}, 1e10),
    "auto": Way("f", {}, 1e10),
    "batched": Way("batched", {"backend": "numpy", "batch_axis": 0}, 5e7),
    "jitted": Way("loop", {}),  # compiled for itself: what lanes have taught f would show here, too
    "lanes": Way("jitted", {"compile": "eager"}),  # owner lanes, from 40 variables on, where f is for them
    "lanes fixed h": Way("jitted", {"compile": "eager", "h": "fixed"}),
    "adaptive": Way("jitted", {"method": "adaptive"}, 5e7),
    "order 4": Way("jitted", {"order": 4}, 5e7),
    "complex": Way("jitted", {"method": "complex"}, 5e7, "complex-loop"),
}

CASES = {
    f"{name} {n}": (name, n)
    for name, sizes in {
        "rosenbrock": (10, 100, 1000, 10_000),
        "ackley": (10, 100, 1000, 10_000),
        "lennard_jones": (39, 999),
        "squared_hinge": (64,),
        "thurber": (7,),
        "brown_badly_scaled": (2,),
    }.items()
    for n in sizes
}


def exists(way: str, case: str) -> bool:
    """Whether the problem has the form and a gradient of it is short enough."""
    name, n = CASES[case]
    problem, asked = PROBLEMS[name], WAYS[way]
    return (
        2 * n * problem.operations(n) <= asked.most
        and (not asked.needs or asked.needs in problem.tags)
        and getattr(problem, asked.form) is not None
    )


def cells(case: str) -> Iterator[str]:
    """Yield the ways that exist for a case."""
    return (way for way in WAYS if exists(way, case))


@dataclass
class Cell:
    """One prepared gradient, and what is measured of it; `Missing` where this fastgrad cannot do it."""

    way: str
    case: str

    def __post_init__(self) -> None:
        if not exists(self.way, self.case):
            raise Missing(f"{self.way} of {self.case}: no such form, or too long")
        name, n = CASES[self.case]
        self.problem = PROBLEMS[name]
        if self.problem.unavailable:
            raise Missing(self.problem.unavailable)
        asked = WAYS[self.way]
        self.f: Any = getattr(self.problem, asked.form)
        if asked.form == "loop":
            self.f = numba.njit(self.f)
        self.x, self.args = self.problem.make(n)
        self.options = {"args": self.args, **asked.options}
        try:
            self.gradient = Gradient(self.f, **self.options)
            for _ in range(3):  # compiles, and lets automatic steps and choices settle
                self.gradient(self.x)
        except (TypeError, ValueError) as error:  # an option or a form of f that this commit does not know
            raise Missing(f"{self.way} of {self.case}: {error}") from error
        self.number = 0

    def seconds(self, least: float) -> float:
        """Seconds of one call, from as many as last `least` seconds together."""
        timer = Timer(self.call)
        if not self.number:
            self.number = max(1, round(least / min(timer.repeat(3, 1))))
        return timer.timeit(self.number) / self.number

    def call(self) -> None:
        self.gradient(self.x)

    def one_shot(self) -> None:
        numerical_gradient(self.f, self.x, **self.options)

    def lost_digits(self) -> float:
        """Of 16, in the worst component against the largest."""
        exact = self.problem.gradient(self.x, *self.args)
        error = np.abs(self.gradient(self.x) - exact).max() / np.abs(exact).max()
        return float(16 + np.log10(np.clip(np.nan_to_num(error, nan=1.0, posinf=1.0), 1e-16, 1.0)))

    def nfev(self) -> int:
        return int(numerical_gradient(self.f, self.x, full_output=True, **self.options)[1].nfev)

    def peak_memory(self) -> int:
        """Bytes that a gradient allocates at its peak, besides what stays."""
        tracemalloc.start()
        try:
            self.gradient(self.x)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            self.gradient(self.x)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()


def measure(case: str, rounds: int = 15, least: float = 2e-3, budget: float = 1.5) -> dict[str, dict[str, float] | str]:
    """Return all figures of a case by way, the times interleaved; a text where the way is missing.

    Rounds end before `rounds` when they have lasted `budget` seconds.
    """
    found: dict[str, dict[str, float] | str] = {}
    ready: dict[str, Cell] = {}
    for way in cells(case):
        try:
            ready[way] = Cell(way, case)
        except Missing as reason:
            found[way] = str(reason)
    times: dict[str, list[float]] = {way: [] for way in ready}
    began = perf_counter()
    for done in range(rounds):
        for way, cell in ready.items():
            times[way].append(cell.seconds(least))
        if done >= 2 and perf_counter() - began > budget:
            break
    for way, cell in ready.items():
        found[way] = {
            "seconds": median(times[way]),
            "lost_digits": cell.lost_digits(),
            "nfev": cell.nfev(),
            "peak_memory": cell.peak_memory(),
        }
        if cell.x.size <= 100:
            cell.one_shot()
            found[way]["one_shot"] = median(Timer(cell.one_shot).repeat(15, 1))  # type: ignore[index]
    return found


# What is paid once: each is measured in processes of its own, with disk caches of its own -----------------------------

IMPORT = "import time, numpy; t = time.process_time(); import fastgrad; print(time.process_time() - t)"
FIRST = """
import time, numpy as np, numba
from fastgrad import numerical_gradient
from {module} import f
x = np.linspace(0.9, 1.1, 12)
if {kernels}:  # those of fastgrad are compiled once for all f; the disk holds them
    numerical_gradient(numba.njit(lambda x: x[0]), x)
began = time.perf_counter()
{call}
print(time.perf_counter() - began)
"""
SOURCES = {
    "rosenbrock": """
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total
""",
    "ackley": """
    squares = cosines = 0.0
    for v in x:
        squares += v * v
        cosines += np.cos(2.0 * np.pi * v)
    return -20.0 * np.exp(-0.2 * np.sqrt(squares / x.size)) - np.exp(cosines / x.size) + 20.0 + np.e
""",
}


def in_a_process(code: str, folder: str, cache: Path | None = None) -> float:
    """Return the number that a fresh process prints last."""
    # the folder last on the path: fastgrad is the one of this process. Byte code is kept, as a user's Python does
    path = os.pathsep.join([*(entry for entry in sys.path if entry), folder])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, cwd=folder
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    return float(run.stdout.split()[-1])


def import_seconds() -> float:
    """CPU seconds of `import fastgrad` beyond numpy's."""
    with tempfile.TemporaryDirectory() as folder:
        return min(in_a_process(IMPORT, folder) for _ in range(5))


def first_seconds(name: str) -> dict[str, float]:
    """Seconds until the first gradient of a jitted function, and of the first call of the function itself.

    `bare` and `compile`: the gradient and f where no disk holds anything; `first`: where it holds fastgrad's kernels;
    `warm` and `own`: the gradient and f where it holds f, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        for module, cached in (("fresh", False), ("kept", True)):
            Path(folder, f"{module}.py").write_text(
                f"import numpy as np, numba\n\n@numba.njit(cache={cached})\ndef f(x):{SOURCES[name]}"
            )
        cache = Path(folder, "cache")
        gradient = "numerical_gradient(f, x)"
        bare = FIRST.format(module="fresh", kernels=False, call=gradient)
        compiled = FIRST.format(module="fresh", kernels=True, call=gradient)
        kept = FIRST.format(module="kept", kernels=False, call=gradient)
        alone, own = (FIRST.format(module=module, kernels=False, call="f(x)") for module in ("fresh", "kept"))
        found = {
            "bare": min(in_a_process(bare, folder, Path(folder, f"empty{i}")) for i in range(2)),
            "compile": min(in_a_process(alone, folder, cache) for _ in range(2)),
        }
        in_a_process(compiled, folder, cache)  # the kernels, onto the disk
        in_a_process(kept, folder, cache)
        return found | {
            "first": min(in_a_process(compiled, folder, cache) for _ in range(2)),
            "warm": min(in_a_process(kept, folder, cache) for _ in range(3)),
            "own": min(in_a_process(own, folder, cache) for _ in range(3)),
        }
