"""What changed between two commits beyond noise: ``python -m benchmarks.regressions [BASE [CHANGED]]``.

By default the working tree is compared with where its branch left `main`; on `main` with the last commit, or with its
parent if nothing has been edited. Exit code 1: fewer digits, more evaluations, or a gradient that is gone. Time never
is a reason, unless --fail-above asks for it.

Two processes, each with one of the two versions of fastgrad and today's `benchmarks`, are measured in turn on one core,
so that both meet the same state of the machine. Each pair of times gives a ratio; the interval is that of their median
(order statistics: no assumption on the noise). Processes of the same code differ, too, by where their memory lies: so
a comparison starts several pairs, and what counts is the hull of their intervals.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from scipy.stats import quantile_test

import fastgrad
from benchmarks.cells import CASES, Cell, Missing, cells

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
