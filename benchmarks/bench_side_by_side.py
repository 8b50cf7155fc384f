"""The backends side by side, grouped by problem and n.

python -m pytest benchmarks/bench_side_by_side.py --benchmark-columns=median,iqr,rounds -k rosenbrock
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad import Gradient

from .problems import Problem, cases

# a gradient of more operations would keep the rest waiting without showing more
MOST_OPERATIONS = 3e8
GROUPS = [
    (problem, n)
    for problem, n in cases(min_n=10, max_n=1000, max_operations=MOST_OPERATIONS)
    if n in (10, 100, 1000) or "data" in problem.tags or "nd" in problem.tags
]


def forms(problem: Problem) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The form of f that each backend takes, with its options."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {"python": (problem.f, {}), "numba": (problem.jitted, {})}
    return found if problem.batched is None else {**found, "numpy": (problem.batched, {"batch_axis": 0})}


def pytest_generate_tests(metafunc: Any) -> None:
    sides = [(p, n, backend) for p, n in GROUPS if not p.unavailable for backend in forms(p)]
    metafunc.parametrize(("problem", "n", "backend"), sides, ids=[f"{p}-{n}-{b}" for p, n, b in sides])


def test_gradient(benchmark: Any, problem: Problem, n: int, backend: str) -> None:
    x, args = problem.make(n)
    f, options = forms(problem)[backend]
    gradient = Gradient(f, "fixed", args=args, backend=backend, **options)
    exact = problem.gradient(x, *args)
    benchmark.group = f"{problem} n={n}"
    result = benchmark(gradient, x)
    error = float(np.abs(result - exact).max() / np.abs(exact).max())
    benchmark.extra_info["error"] = error
    assert error < 1e-2
