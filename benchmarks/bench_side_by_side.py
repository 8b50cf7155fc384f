"""The backends side by side, grouped by problem and n.

python -m pytest benchmarks/bench_side_by_side.py --benchmark-columns=median,iqr,rounds -k rosenbrock
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad import Gradient

from .forms import BACKENDS, MOST_OPERATIONS, form
from .problems import cases

GROUPS = [
    (problem, n)
    for problem, n in cases(min_n=10, max_n=1000, max_operations=MOST_OPERATIONS)
    if n in (10, 100, 1000) or "data" in problem.tags or "nd" in problem.tags
]


def pytest_generate_tests(metafunc: Any) -> None:
    sides = [
        (problem, n, backend)
        for problem, n in GROUPS
        for backend in BACKENDS
        if not problem.unavailable and (backend != "numpy" or problem.batched)
    ]
    metafunc.parametrize(("problem", "n", "backend"), sides, ids=[f"{p}-{n}-{b}" for p, n, b in sides])


def test_gradient(benchmark: Any, problem: Any, n: int, backend: str) -> None:
    x, args = problem.make(n)
    f, options = form(problem, backend)
    gradient = Gradient(f, "fixed", args=args, backend=backend, **options)
    exact = problem.gradient(x, *args)
    benchmark.group = f"{problem} n={n}"
    result = benchmark(gradient, x)
    error = float(np.abs(result - exact).max() / np.abs(exact).max())
    benchmark.extra_info["error"] = error
    assert error < 1e-2
