"""How many digits of a gradient are right? The table of fastgrad and its peers.

    python -m benchmarks.accuracy [--seeds 4] [--only ours|peers] [--set tuned|held-out|mgh] [--families]

Every method differentiates the same functions at the same points; references are in 100 digits
(`accuracy_problems.Problem.gradient`). *digits* of one instance: minus the logarithm of its worst
component's error relative to ``max(|g_i|, 1e-3 max_j |g_j L_j| / L_i)``, which does not depend on units,
clipped to [-1, 16.5]. *gm* is the mean of the digits, *worst* the worst instance, *ev/n* evaluations of f
per component, *fail* the share of instances without a right first digit, *bars* the share of components
whose error is within the error bar (biased functions excepted: no bar can see a bias), *loose* the
median of bar over error.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jacobi
import numdifftools
import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.optimize._numdiff import approx_derivative

from benchmarks import mgh
from benchmarks.accuracy_problems import FAMILIES, Problem
from fastgrad import numerical_gradient

Floats = NDArray[np.float64]
BIASED = {"ode_tolerance"}
CLASSES = "SBHCNK"


class Counted:
    """A problem around its point that counts the points at which it is evaluated."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.nfev = problem, 0

    def __call__(self, x: Floats) -> float:
        self.nfev += 1
        return float(self.problem(np.asarray(x, float)))


Answer = tuple[Floats, Floats | None]
Method = Callable[[Counted, Floats], Answer]


def _ours(**options: Any) -> Method:
    def method(f: Counted, x: Floats) -> Answer:
        gradient, info = numerical_gradient(f, x, backend="python", full_output=True, **options)
        return gradient, info.error

    return method


OURS: dict[str, Method] = {
    "auto, noise='probe'": _ours(noise="probe"),
    "auto, default": _ours(),
    "auto, order 4": _ours(noise="probe", order=4),
    "adaptive, rtol=1e-13": _ours(method="adaptive", rtol=1e-13),
    "adaptive, rtol=1e-7": _ours(method="adaptive", rtol=1e-7),
}


def _textbook(f: Counted, x: Floats) -> Answer:
    steps = np.diag(np.full(x.size, 1e-4))
    return np.array([(f(x + h) - f(x - h)) / 2e-4 for h in steps]), None


def _scipy_forward(f: Counted, x: Floats) -> Answer:
    return np.asarray(scipy.optimize.approx_fprime(x, f)), None


def _scipy_central(f: Counted, x: Floats) -> Answer:
    return np.asarray(approx_derivative(f, x, method="3-point")).reshape(x.shape), None


def _numdifftools(f: Counted, x: Floats) -> Answer:
    found = numdifftools.Gradient(f, order=4, full_output=True)(x)
    return np.asarray(found[0]).reshape(x.shape), np.asarray(found[1]).reshape(x.shape)


def _jacobi(f: Counted, x: Floats) -> Answer:
    gradient, error = jacobi.jacobi(f, x)
    return np.asarray(gradient).reshape(x.shape), np.asarray(error).reshape(x.shape)


PEERS: dict[str, Method] = {
    "textbook, h=1e-4": _textbook,
    "SciPy approx_fprime": _scipy_forward,
    "SciPy 3-point": _scipy_central,
    "jacobi": _jacobi,
    "numdifftools, order 4": _numdifftools,
}


@dataclass(frozen=True)
class Score:
    """One method on one instance."""

    family: str
    kind: str
    digits: float
    cost: float
    held: NDArray[np.bool_] | None
    loose: float


def digits(problem: Problem, gradient: Floats, exact: Floats) -> float:
    """Return the right digits of the worst component."""
    size = np.maximum(np.abs(exact), 1e-3 * np.abs(exact * problem.length).max() / problem.length)
    error = np.abs(gradient - exact) / size
    worst = float(np.where(np.isfinite(error), error, np.inf).max())
    return float(np.clip(-np.log10(max(worst, 1e-99)), -1.0, 16.5))


def score(method: Method, problem: Problem, exact: Floats) -> Score:
    counted = Counted(problem)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        gradient, bar = method(counted, problem.x.copy())
        right = digits(problem, gradient, exact)
        held, loose = None, np.nan
        if bar is not None and problem.family not in BIASED:
            error = np.abs(gradient - exact)
            held = error <= bar
            loose = float(np.median(bar / np.maximum(error, 1e-16 * np.abs(exact) + 1e-300)))
    return Score(problem.family, problem.kind, right, counted.nfev / problem.x.size, held, loose)


def summary(scores: Sequence[Score]) -> str:
    right, bars = [s.digits for s in scores], [s.held for s in scores if s.held is not None]
    line = f"{np.mean(right):5.2f}/{min(right):4.1f}"
    line += f"{np.mean([s.cost for s in scores]):7.1f}{100 * np.mean([d < 1 for d in right]):7.1f}"
    if bars:
        line += f"{100 * np.concatenate(bars).mean():7.1f}{np.nanmedian([s.loose for s in scores]):7.1f}"
    return line


def table(methods: dict[str, Method], cases: Iterable[tuple[Problem, Floats]], families: bool) -> None:
    cases = list(cases)
    kinds = [k for k in CLASSES if any(p.kind == k for p, _ in cases)]
    heads = "".join(f"{k + ' gm/worst':>14}{'ev/n':>6}" for k in kinds)
    print(f"{'':22}{heads}{'ALL gm/worst':>14}{'ev/n':>6}{'fail%':>7}{'bars%':>7}{'loose':>7}")
    for name, method in methods.items():
        scores = [score(method, p, exact) for p, exact in cases]
        line = f"{name:22}"
        for kind in kinds:
            some = [s for s in scores if s.kind == kind]
            line += f"{np.mean([s.digits for s in some]):9.2f}/{min(s.digits for s in some):4.1f}"
            line += f"{np.mean([s.cost for s in some]):6.1f}"
        print(line + "    " + summary(scores), flush=True)
        if families:
            for family in dict.fromkeys(s.family for s in scores):
                print(f"    {family:24}{summary([s for s in scores if s.family == family])}")


def instances(held_out: bool, seeds: Iterable[int]) -> list[Problem]:
    return [f.instance(s) for f in FAMILIES.values() if f.held_out == held_out for s in seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="instances of each family")
    parser.add_argument("--first", type=int, default=2000, help="the first seed; 0 to 7 were used to choose constants")
    parser.add_argument("--only", choices=["ours", "peers"])
    parser.add_argument("--set", choices=["tuned", "held-out", "mgh"])
    parser.add_argument("--families", action="store_true", help="also each family")
    options = parser.parse_args()
    methods = {**(PEERS if options.only != "ours" else {}), **(OURS if options.only != "peers" else {})}
    seeds = range(options.first, options.first + options.seeds)
    sets = {
        "tuned": lambda: instances(False, seeds),
        "held-out": lambda: instances(True, seeds),
        "mgh": lambda: mgh.points(options.first),
    }
    for name, make in sets.items():
        if options.set in (None, name):
            problems = make()
            print(f"\n{name}: {len(problems)} instances of {len({p.family for p in problems})} functions")
            table(methods, ((p, p.gradient()) for p in problems), options.families)


if __name__ == "__main__":
    main()
