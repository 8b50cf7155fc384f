"""asv's suite: time, accuracy, evaluations, memory, compile and import time, for each backend, problem and n.

asv run; asv publish; asv preview. A quick check that all of it works:
asv run --python=same --quick --dry-run --show-stderr
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from typing import Any

import numba
import numpy as np

from benchmarks.forms import BACKENDS, MOST_OPERATIONS, form, size_near
from benchmarks.problems import PROBLEMS

try:
    from fastgrad import Gradient, gradient_descent, numerical_gradient
except ImportError:  # a commit before this interface: its benchmarks fail, discovery does not
    Gradient = gradient_descent = numerical_gradient = None  # type: ignore[assignment, misc]

NAMES = ["rosenbrock", "powell_singular", "ackley", "trigonometric", "quadratic_form", "lennard_jones"]
SIZES = [10, 100, 1000]


class Prepared:
    """A prepared gradient: `gradient(x)`."""

    params: Any = [BACKENDS, NAMES, SIZES]
    param_names = ["backend", "problem", "n"]
    timeout = 120

    def setup(self, backend: str, name: str, n: int) -> None:
        problem = PROBLEMS[name]
        size = size_near(problem, n)
        if 2 * size * problem.operations(size) > MOST_OPERATIONS or problem.unavailable:
            raise NotImplementedError("too long")
        self.problem = problem
        self.x, self.args = problem.make(size)
        f, form_options = form(problem, backend)
        self.f, self.options = f, {"args": self.args, "backend": backend, **form_options}
        self.gradient = Gradient(f, **self.options)
        self.gradient(self.x)

    def time_gradient(self, backend: str, name: str, n: int) -> None:
        self.gradient(self.x)

    def track_lost_digits(self, backend: str, name: str, n: int) -> float:
        """Of 16, in the worst component against the largest."""
        exact = self.problem.gradient(self.x, *self.args)
        error = np.abs(self.gradient(self.x) - exact).max() / np.abs(exact).max()
        return float(16 + np.log10(np.clip(np.nan_to_num(error, nan=1.0), 1e-16, 1.0)))

    def track_nfev(self, backend: str, name: str, n: int) -> int:
        return int(numerical_gradient(self.f, self.x, full_output=True, **self.options)[1].nfev)

    def track_peak_memory(self, backend: str, name: str, n: int) -> int:
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

    track_lost_digits.unit = "digits"  # type: ignore[attr-defined]
    track_nfev.unit = "evaluations"  # type: ignore[attr-defined]
    track_peak_memory.unit = "bytes"  # type: ignore[attr-defined]


class OneShot(Prepared):
    """`numerical_gradient(f, x)`: what a call costs that prepares nothing; and its methods."""

    params: Any = [BACKENDS, ["rosenbrock", "ackley"], [10, 100]]

    def time_one_shot(self, backend: str, name: str, n: int) -> None:
        numerical_gradient(self.f, self.x, **self.options)

    def time_full_output(self, backend: str, name: str, n: int) -> None:
        numerical_gradient(self.f, self.x, full_output=True, **self.options)

    def time_order_4(self, backend: str, name: str, n: int) -> None:
        numerical_gradient(self.f, self.x, order=4, **self.options)

    def time_complex_step(self, backend: str, name: str, n: int) -> None:
        numerical_gradient(self.f, self.x, method="complex", **self.options)

    time_gradient = track_lost_digits = track_nfev = track_peak_memory = None  # type: ignore[assignment]


SCHEMES: dict[str, dict[str, Any]] = {
    "fixed": {"h": "fixed"},
    "auto": {"noise": "probe"},
    "adaptive": {"method": "adaptive"},
}


class Schemes(Prepared):
    """Ways to choose the step: accuracy beside time and evaluations, prepared, and anew each time (no memory)."""

    params: Any = [list(SCHEMES), ["rosenbrock", "ackley", "thurber", "brown_badly_scaled", "lennard_jones"], [10, 100]]
    param_names = ["scheme", "problem", "n"]

    def setup(self, scheme: str, name: str, n: int) -> None:
        super().setup("numba", name, n)
        self.options |= SCHEMES[scheme]
        self.gradient = Gradient(self.f, **self.options)
        self.gradient(self.x)

    def time_anew(self, scheme: str, name: str, n: int) -> None:
        Gradient(self.f, **self.options)(self.x)

    track_peak_memory = None  # type: ignore[assignment]


class FirstCall:
    """How long a jitted function takes until its first gradient is there."""

    params = ["rosenbrock", "lennard_jones", "ackley"]
    param_names = ["problem"]
    number = repeat = 1
    timeout = 120
    unit = "s"

    def track_compile(self, name: str) -> float:
        problem = PROBLEMS[name]
        x, args = problem.make(size_near(problem, 10))
        # the kernels themselves are compiled once a process, for any function
        numerical_gradient(numba.njit(lambda x, *args: x[0]), x, args=args)
        fresh = numba.njit(problem.loop)
        began = time.perf_counter()
        numerical_gradient(fresh, x, args=args)
        return time.perf_counter() - began

    track_compile.unit = "s"  # type: ignore[attr-defined]


class Import:
    """What `import fastgrad` costs beyond numpy."""

    timeout = 120

    def track_import(self) -> float:
        code = "import time, numpy; t = time.process_time(); import fastgrad; print(time.process_time() - t)"
        runs = [
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)
        ]
        return min(float(run.stdout) for run in runs)

    track_import.unit = "s"  # type: ignore[attr-defined]


class Descent:
    """A hundred steps downhill."""

    params = [["python", "numba"], [2, 100]]
    param_names = ["backend", "n"]

    def setup(self, backend: str, n: int) -> None:
        problem = PROBLEMS["rosenbrock"]
        self.f = form(problem, backend)[0]
        self.x, _ = problem.make(n)
        self.time_descent(backend, n)

    def time_descent(self, backend: str, n: int) -> None:
        gradient_descent(self.f, self.x, lr=1e-4, step_num=100, backend=backend)
