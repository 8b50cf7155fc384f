"""SciPy's solvers with its own differences and within `fastgrad.adapters.scipy.installed`, in one run.

``python -m benchmarks.solvers [--repeats K] [names ...]``: for each problem and solver the evaluations of f, the time,
and f at the minimum found, without and with fastgrad; then problems at whose scales SciPy's differences stop early,
and the solvers that want Jacobians.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import curve_fit, least_squares, minimize, root

from fastgrad.adapters.scipy import installed

from . import problems

SOLVERS = ("BFGS", "L-BFGS-B", "trust-constr")

# f, and where to start (Moré, Garbow, Hillstrom 1981; Lukšan, Vlček 1999)
PROBLEMS: dict[str, tuple[Callable[..., Any], Any]] = {
    "rosenbrock 2": (problems.rosenbrock, np.array([-1.2, 1.0])),
    "beale 2": (problems.beale, np.array([1.0, 1.0])),
    "helical_valley 3": (problems.helical_valley, np.array([-1.0, 0.1, 0.0])),
    "wood 4": (problems.wood, np.array([-3.0, -1.0, -3.0, -1.0])),
    "powell_singular 8": (problems.powell_singular, np.tile([3.0, -1.0, 0.0, 1.0], 2)),
    "trigonometric 10": (problems.trigonometric, np.full(10, 0.1)),
    "rosenbrock 20": (problems.rosenbrock, np.tile([-1.2, 1.0], 10)),
    "variably_dimensioned 20": (problems.variably_dimensioned, 1.0 - np.arange(1.0, 21.0) / 20.0),
    "broyden_tridiagonal 50": (problems.broyden_tridiagonal, np.full(50, -1.0)),
    "chained_cragg_levy 100": (problems.chained_cragg_levy, np.r_[1.0, np.full(99, 2.0)]),
}


def rosenbrock_of_units(x: Any) -> Any:
    """Rosenbrock's valley, its second variable in millionths."""
    return problems.rosenbrock(np.stack([x[0], 1e6 * x[1]]))


def stiff_bowl(x: Any) -> Any:
    """A bowl with curvatures from 1 to 1e10."""
    return np.sum(10.0 ** np.linspace(0, 10, len(x)) * (x - 1.0) ** 2) + np.sum((x - 1.0) ** 4)


def high_valley(x: Any) -> Any:
    """Rosenbrock's valley on a plateau of 1e6."""
    return 1e6 + problems.rosenbrock(x)


BADLY_SCALED: dict[str, tuple[Callable[..., Any], Any]] = {
    "brown_badly_scaled 2": (problems.brown_badly_scaled, np.array([1.0, 1.0])),
    "rosenbrock_of_units 2": (rosenbrock_of_units, np.array([-1.2, 1e-6])),
    "stiff_bowl 4": (stiff_bowl, np.zeros(4)),
    "high_valley 2": (high_valley, np.array([-1.2, 1.0])),
}


def valley(x: Any) -> Any:
    """The residuals of Rosenbrock's valley."""
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def tridiagonal(x: Any) -> Any:
    """Broyden's tridiagonal equations (Moré, Garbow, Hillstrom 1981, problem 30)."""
    found = (3.0 - 2.0 * x) * x + 1.0
    found[1:] -= x[:-1]
    found[:-1] -= 2.0 * x[1:]
    return found


def decay(t: Any, a: float, b: float, c: float) -> Any:
    """An exponential decay to a level."""
    return a * np.exp(-b * t) + c


def van_der_pol(t: float, y: Any) -> Any:
    """Van der Pol's oscillator."""
    return np.array([y[1], 100.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])


TIMES = np.linspace(0.0, 4.0, 50)
SEEN = decay(TIMES, 2.5, 1.3, 0.5) + 0.05 * np.cos(40.0 * TIMES)
JACOBIANS: dict[str, Callable[[], Any]] = {
    "root valley 2": lambda: root(valley, [-1.2, 1.0]),
    "root tridiagonal 20": lambda: root(tridiagonal, -np.ones(20)),
    "curve_fit decay 3": lambda: curve_fit(decay, TIMES, SEEN),
    "least_squares valley 2": lambda: least_squares(valley, [-1.2, 1.0]),
    "least_squares decay 3": lambda: least_squares(lambda p: decay(TIMES, *p) - SEEN, np.ones(3)),
    "least_squares tridiagonal 20": lambda: least_squares(tridiagonal, -np.ones(20)),
    "solve_ivp BDF van_der_pol 2": lambda: solve_ivp(van_der_pol, (0.0, 200.0), [2.0, 0.0], method="BDF"),
}


def solved(solve: Callable[[], Any], repeats: int) -> list[tuple[Any, float]]:
    """Return SciPy's result and the least seconds, without and with fastgrad, taken in turns."""
    found: list[tuple[Any, float]] = [(None, np.inf), (None, np.inf)]
    for _ in range(repeats):
        for i, context in enumerate((nullcontext, installed)):
            with context(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                began = time.thread_time()
                result = solve()
                found[i] = result, min(found[i][1], time.thread_time() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()

    def asked(name: str) -> bool:
        return not given.names or any(word in name for word in given.names)

    print(f"{'problem':26}{'solver':14}{'nfev':>13}{'ratio':>7}{'ms':>16}{'ratio':>7}   f, without and with fastgrad")
    for title, table in (("", PROBLEMS), ("badly scaled", BADLY_SCALED)):
        print(title)
        ratios = []
        for name, (f, x) in table.items():
            if not asked(name):
                continue
            for solver in SOLVERS:
                (theirs, before), (ours, after) = solved(partial(minimize, f, x, method=solver), given.repeats)
                ratios.append((ours.nfev / theirs.nfev, after / before))
                print(
                    f"{name:26}{solver:14}{theirs.nfev:6}{ours.nfev:7}{ratios[-1][0]:7.2f}"
                    f"{before * 1e3:8.1f}{after * 1e3:8.1f}{ratios[-1][1]:7.2f}   {theirs.fun:.3g} {ours.fun:.3g}"
                )
        if ratios:
            means = np.exp(np.mean(np.log(ratios), axis=0))
            print(f"geometric means: nfev {means[0]:.2f}, time {means[1]:.2f}")
    print("of many values")
    for name, solve in JACOBIANS.items():
        if asked(name):
            (_, before), (_, after) = solved(solve, given.repeats)
            print(f"{name:60}{before * 1e3:8.2f}{after * 1e3:8.2f}{after / before:7.2f}")


if __name__ == "__main__":
    main()
