"""What changed between two commits beyond noise: ``python -m benchmarks.regressions [BASE [CHANGED]]``.

By default the working tree is compared with where its branch left `main`; on `main` with the last commit, or with its
parent if nothing has been edited. Exit code 1: fewer digits, more evaluations, or a gradient that is gone. Time never
is a reason, unless --fail-above asks for it.

Two processes, each with one of the two versions of fastgrad and today's `benchmarks`, are measured in turn on one core,
so that both meet the same state of the machine. Each pair of times gives a ratio; the interval is that of their median
(order statistics: no assumption on the noise). Processes of the same code differ, too, by where their memory lies: so
a comparison starts several pairs, and what counts is the hull of their intervals.

What is compared are ways to a gradient × cases (a problem and its n), and what is paid once; the asv suite stores the
same figures for each commit. Both run this file of today against the fastgrad of another day: what that lacks is
`Missing`, and nothing else of fastgrad is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import Timer
from typing import Any, NamedTuple

import numba
import numpy as np

import fastgrad
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


# Two commits ----------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]
WORKING_TREE = "the working tree"
SAMPLE = 2e-3  # seconds of calls that make one time
ROUNDS, FEWEST, BUDGET = 31, 11, 4.0  # times of each cell; fewer once a case has lasted so many seconds
CONFIDENCE = 0.98
MARGIN = 0.05  # a change of less is not worth a line
ROUNDING = 0.3  # digits that an error gains or loses by rounding alone: a factor of two
QUICK = {"rosenbrock 10": ("python", "auto", "jitted"), "rosenbrock 1000": ("lifted", "jitted")}

Key = tuple[str, str]  # way, case


def everything() -> list[Key]:
    return [(way, case) for case in CASES for way in cells(case)]


# One version, in a process of its own ------------------------------------------------------------


def work(requests: Iterator[str]) -> None:
    """Answer lines of JSON, in a process that has one version of fastgrad."""
    ready: dict[Key, Cell] = {}
    _say({"fastgrad": fastgrad.__file__})
    for line in requests:
        task, way, case = json.loads(line)
        if task == "time":
            _say(ready[way, case].seconds(SAMPLE))
            continue
        try:
            cell = ready[way, case] = Cell(way, case)
            _say({"lost_digits": cell.lost_digits(), "nfev": cell.nfev()})
        except Missing as reason:
            _say({"missing": str(reason)})


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


class Worker:
    """A process that has the fastgrad of one tree."""

    def __init__(self, tree: Path) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        # the tree is first on the path (-m: the current folder), with its own disk cache beside its files
        environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.regressions", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=tree,
            env=environment,
        )
        try:
            found = Path(self.answer()["fastgrad"])
            if not found.is_relative_to(tree.resolve()):
                raise RuntimeError(f"wanted the fastgrad in {tree}, got {found}")
        except RuntimeError:
            self.close()
            raise

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"a worker ended with {self._process.returncode}:\n{self._errors.read()}")
        return json.loads(line)

    def send(self, task: str, key: Key) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([task, *key]) + "\n")
        self._process.stdin.flush()

    def ask(self, task: str, key: Key) -> Any:
        self.send(task, key)
        return self.answer()

    def stay(self, cores: set[int]) -> None:
        """Run on these processor cores only."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, cores)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # it ends there
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


# Two versions --------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What was measured of one cell in both versions: for each pair of processes, one exact figure, several times."""

    exact: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(default_factory=lambda: ([], []))
    times: list[list[tuple[float, float]]] = field(default_factory=list)

    def ratio(self) -> tuple[float, float, float]:
        """Median and interval of changed / base; the interval is the hull of those of the pairs of processes."""
        logs = [[math.log(changed / base) for base, changed in pairs] for pairs in self.times]
        from scipy.stats import quantile_test  # asv's environments have no SciPy

        intervals = [quantile_test(log, p=0.5).confidence_interval(CONFIDENCE) for log in logs]
        return (
            math.exp(median(value for log in logs for value in log)),
            math.exp(min(interval.low for interval in intervals)),
            math.exp(max(interval.high for interval in intervals)),
        )

    def beyond_noise(self) -> bool:
        """Whether time has changed."""
        if not self.times:
            return False
        _, low, high = self.ratio()
        return low > 1 + MARGIN or high < 1 / (1 + MARGIN)

    def exact_changes(self) -> list[tuple[str, bool]]:
        """What changed in accuracy and evaluations, and whether each is a regression."""
        missing = [any("missing" in figures for figures in side) for side in self.exact]
        if missing[1] and not missing[0]:
            return [(f"gone: {self.exact[1][0]['missing']}", True)]
        if missing[0]:
            return [] if missing[1] else [("new", False)]
        changes: list[tuple[str, bool]] = []
        for name, tolerance in (("nfev", 0.0), ("lost_digits", ROUNDING)):
            before, after = ([figures[name] for figures in side] for side in self.exact)
            if set(before) & set(after):  # what varies from process to process by itself is no change
                continue
            text = f"{name} {_shown(median(before))} → {_shown(median(after))}"
            changes.append((text, min(after) > max(before) + tolerance))
        return changes


def _shown(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def compare(base: Path, changed: Path, keys: Sequence[Key], starts: int) -> dict[Key, Figures]:
    """Measure the fastgrad in two trees."""
    found = {key: Figures() for key in keys}
    by_case: dict[str, list[Key]] = {}
    for key in keys:
        by_case.setdefault(key[1], []).append(key)
    for start in range(starts):
        with contextlib.ExitStack() as stack:
            workers = {}
            for i in (0, 1) if start % 2 else (1, 0):  # each in turn is the first process, too
                workers[i] = Worker((base, changed)[i])
                stack.callback(workers[i].close)
            for group in by_case.values():
                _compare_case([workers[0], workers[1]], {key: found[key] for key in group}, start)
    return found


def _compare_case(workers: Sequence[Worker], found: dict[Key, Figures], start: int) -> None:
    both = []
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    for worker in workers:
        worker.stay(set(cores))
    for key, figures in found.items():
        for worker in workers:  # compile side by side
            worker.send("prepare", key)
        for side, worker in zip(figures.exact, workers, strict=True):
            side.append(worker.answer())
        if not any("missing" in side[-1] for side in figures.exact):
            both.append(key)
            figures.times.append([])
    for worker in workers:  # never at work at once: the same core for both is fair
        worker.stay({cores[start % len(cores)]})
    began = perf_counter()
    for done in range(ROUNDS):
        if done >= FEWEST and perf_counter() - began > BUDGET:
            break
        for key in both:
            # each in turn is first
            times = {i: workers[i].ask("time", key) for i in ((0, 1) if done % 2 else (1, 0))}
            found[key].times[-1].append((times[0], times[1]))


def report(found: dict[Key, Figures], fail_above: float | None, verbose: bool = False) -> tuple[list[str], bool]:
    """Say what changed, and whether that is to fail."""
    lines, failed, slower, faster, exact = [], False, 0, 0, 0
    timed = {key: figures for key, figures in found.items() if figures.times}
    for (way, case), figures in found.items():
        name = f"{case}, {way}:"
        for text, regression in figures.exact_changes():
            exact += regression
            failed |= regression
            lines.append(f"{'WORSE ' if regression else '      '} {name:42s} {text}")
        if not figures.times:
            continue
        ratio, low, high = figures.ratio()
        moved = figures.beyond_noise()
        slower += moved and ratio > 1
        faster += moved and ratio < 1
        failed |= fail_above is not None and low > fail_above
        if moved or verbose:
            base, changed = (median(pair[i] for pairs in figures.times for pair in pairs) for i in (0, 1))
            verdict = ("slower" if ratio > 1 else "faster") if moved else "      "
            lines.append(
                f"{verdict} {name:42s} {1e6 * base:.4g} → {1e6 * changed:.4g} µs, "
                f"ratio {ratio:.2f} ({low:.2f} to {high:.2f})"
            )
    if timed:
        ratios = [figures.ratio() for figures in timed.values()]
        mean = math.exp(sum(math.log(ratio[0]) for ratio in ratios) / len(ratios))
        width = median(high / low for _, low, high in ratios)
        lines.append(
            f"{len(timed)} gradients timed: {slower} slower, {faster} faster beyond noise; geometric mean of the "
            f"ratios {mean:.3f}; intervals as wide as {100 * (width - 1):.0f} % (median)"
        )
    lines.append(f"{len(found)} compared exactly: {exact} worse in digits or evaluations")
    return lines, failed


# Git ---------------------------------------------------------------------------------------------


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True).stdout


def commit(name: str) -> str | None:
    """The full hash of a commit, None if there is none of this name here."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def default_base() -> str | None:
    """Where the branch left main; on main what the working tree was edited from, or the parent of its commit."""
    head = commit("HEAD")
    for main in ("main", "origin/main"):
        try:
            left = git("merge-base", "HEAD", main).decode().strip()
        except (subprocess.CalledProcessError, FileNotFoundError):
            continue
        if left != head:
            return left
    if head is not None and git("status", "--porcelain", "--", "fastgrad").strip():
        return head
    return commit("HEAD~1")


def unpack(name: str, into: Path) -> None:
    """Put the fastgrad of a commit, or of the working tree, into a folder."""
    if name == WORKING_TREE:
        shutil.copytree(ROOT / "fastgrad", into / "fastgrad", ignore=shutil.ignore_patterns("__pycache__"))
        return
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", name, "fastgrad"))) as archive:
        archive.extractall(into, filter="data")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regressions", description=__doc__.split("\n\n")[0])
    parser.add_argument("base", nargs="?", help="a commit (default: where the branch left main, or the last commit)")
    parser.add_argument("changed", nargs="?", help="another (default: the working tree)")
    parser.add_argument("--quick", action="store_true", help="a few gradients only, in less than a minute")
    parser.add_argument("--fail-above", type=float, metavar="RATIO", help="exit code 1 if a time surely grew by more")
    parser.add_argument("--no-fail", action="store_true", help="report only: exit code 0 whatever has changed")
    parser.add_argument("--starts", type=int, default=3, help="pairs of processes (default: 3)")
    parser.add_argument("-k", default="", metavar="TEXT", help="only gradients whose case or way contains this")
    parser.add_argument("-v", "--verbose", action="store_true", help="show all times, changed or not")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(iter(sys.stdin))
        return 0
    base = commit(options.base) if options.base else default_base()
    if base is None:
        if options.base:
            parser.error(f"`{options.base}` is no commit of this repository")
        print("nothing to compare: no earlier commit is here (no repository, its first commit, or a shallow clone)")
        return 0
    changed = commit(options.changed) if options.changed else WORKING_TREE
    if changed is None:
        parser.error(f"`{options.changed}` is no commit of this repository")
    keys = [(way, case) for case, ways in QUICK.items() for way in ways] if options.quick else everything()
    keys = [key for key in keys if any(options.k in name for name in key)]
    if not keys:
        parser.error(f"`-k {options.k}` leaves nothing to compare; cases: {', '.join(CASES)}")
    print(f"{base[:10]} → {changed if changed == WORKING_TREE else changed[:10]}", flush=True)
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, side) for side in ("base", "changed")]
        for name, tree in zip((base, changed), trees, strict=True):
            tree.mkdir()
            unpack(name, tree)
        found = compare(*trees, keys, min(2, options.starts) if options.quick else options.starts)
    lines, failed = report(found, options.fail_above, options.verbose)
    print(*lines, f"{perf_counter() - began:.0f} s", sep="\n")
    return int(failed and not options.no_fail)


if __name__ == "__main__":
    sys.exit(main())
