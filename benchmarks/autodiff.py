"""Prepared gradients against automatic differentiation: ``jax.jit(jax.grad(f))`` on the CPU, float64, one thread.

python -m benchmarks.autodiff [rounds [sizes ...]]

jax comes with the extra ``benchmark``. Its forms are the table's plain numpy forms with `jax.numpy` for `numpy`, as a
user of jax would write them; their gradients are checked against the table's exact ones. Each is timed twice: from and
to jax's own arrays, and from and to numpy arrays, as an optimiser written with numpy meets it. The result is waited
for in either case. Of the rounds the shortest counts: jax hands its work to a thread, and what else runs on the
machine slows that down several times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import exp, log
from statistics import fmean
from types import FunctionType
from typing import Any, NamedTuple

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

from fastgrad import Gradient

from .problems import PROBLEMS, Problem
from .timing import interleaved

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

SIZES = 2, 10, 30, 100, 1000
# of which n has to be a multiple. The table's others have one size only, or assign to entries of arrays or branch on x,
# which jax does not trace
NAMES = {
    "rosenbrock": 1,
    "powell_singular": 4,
    "wood": 4,
    "variably_dimensioned": 1,
    "trigonometric": 1,
    "penalty_1": 1,
    "brown_almost_linear": 1,
    "discrete_integral_equation": 1,
    "broyden_banded": 1,
    "chained_powell": 4,
    "chained_cragg_levy": 4,
    "generalized_broyden": 1,
    "ackley": 1,
    "rastrigin": 1,
    "griewank": 1,
    "styblinski_tang": 1,
    "levy": 1,
    "dixon_price": 1,
    "zakharov": 1,
    "lennard_jones": 3,
    "quadratic_form": 1,
    "rayleigh_quotient": 1,
    "log_sum_exp": 1,
    "huber": 1,
    "hinge": 1,
}


def jax_form(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, written with jax.numpy."""
    return FunctionType(f.__code__, {**f.__globals__, "np": jnp}, f.__name__, f.__defaults__, f.__closure__)


class Row(NamedTuple):
    """One problem at one size; seconds a gradient."""

    name: str
    n: int
    ours: float
    arrays: float
    numpy: float

    @property
    def gain(self) -> float:
        """How many times as long jax takes, from and to numpy arrays."""
        return self.numpy / self.ours


def measure(problem: Problem, n: int, rounds: int) -> Row:
    x, args = problem.make(n)
    x = np.ascontiguousarray(x, np.float64)
    ours = Gradient(problem.jitted, args=args, compile="eager")  # jax compiles at once, too
    slope = jax.jit(jax.grad(jax_form(problem.f)))
    theirs, inside = jnp.asarray(x), tuple(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args)
    np.testing.assert_allclose(slope(theirs, *inside), problem.gradient(x, *args), rtol=1e-9, atol=1e-9)
    for _ in range(4):  # the automatic step settles
        ours(x)
    times = interleaved(
        {
            "ours": lambda: ours(x),
            "arrays": lambda: slope(theirs, *inside).block_until_ready(),
            "numpy": lambda: np.asarray(slope(x, *inside)),
        },
        rounds,
        1e-3,
    )
    return Row(problem.name, n, *(min(times[k]) for k in ("ours", "arrays", "numpy")))


def sized(n: int) -> list[tuple[Problem, int]]:
    """The problems, each with its size next to n."""
    return [(PROBLEMS[name], max(-(-n // block) * block, min(PROBLEMS[name].sizes))) for name, block in NAMES.items()]


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for n in map(int, sys.argv[2:]) if len(sys.argv) > 2 else SIZES:
        rounds = most if n < 1000 else 3
        rows = [measure(problem, size, rounds) for problem, size in sized(n)]
        for row in rows:
            print(
                f"{row.name:28} n = {row.n:5}  fastgrad {1e6 * row.ours:9.2f} µs  jax {1e6 * row.arrays:9.2f} µs, "
                f"from numpy {1e6 * row.numpy:9.2f} µs  {row.gain:8.2f}x",
                flush=True,
            )
        for what in ("arrays", "numpy"):
            gains = [getattr(row, what) / row.ours for row in rows]
            faster = sum(gain > 1.0 for gain in gains)
            print(
                f"n = {n}, jax's {what}: fastgrad is faster on {faster} of {len(rows)}, "
                f"{exp(fmean(map(log, gains))):.2f}x in the geometric mean",
                flush=True,
            )


if __name__ == "__main__":
    main()
