"""The table of issue 4: what lifting an unmodified numpy function gains over the textbook's loop.

Run ``python -m benchmarks.lifting [sizes...]``. Both get the same f and the same h, interleaved in one process; the
figures are ratios of medians, their geometric means over the problems, and the worst of "auto".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastgrad import Gradient, numerical_gradient
from tests.corpus import CORPUS, Workload

H = 1e-4
LOCAL = frozenset({
    "sphere", "sphere_method", "rosenbrock", "rosenbrock_pairs", "rastrigin", "styblinski_tang", "levy", "dixon_price",
    "second_differences", "broyden_tridiagonal", "smooth_total_variation", "huber", "clipped", "soft_threshold",
    "numerically_stable_softplus", "log_barrier", "trapezoid_integral", "reversed_and_rolled", "padded_smoothing",
    "elastic_net", "mixed_functions",
})  # fmt: skip
QUADRATIC = frozenset({"outer_product_fit", "pairwise_repulsion", "gaussian_mixture", "polynomial_fit"})  # memory in n
LONGEST = 2.0  # seconds of one loop; beyond, some of its coordinates stand for all


class Row(NamedTuple):
    """Ratios of the loop's time to that of a prepared gradient, of "auto" and one-shot "auto"."""

    name: str
    lifted: float
    prepared: float
    one_shot: float
    allowed: float  # auto's time over 1.15 loops + 10 µs, the worse of the two


def textbook(w: Workload, most: int) -> float:
    """Seconds of the textbook's loop, extrapolated from at most so many coordinates."""
    x, f, args = w.x.copy(), w.f, w.args  # some f write into x
    flat = x.reshape(-1)
    slopes = np.zeros(flat.size)
    few = min(most, flat.size)
    began = perf_counter()
    for i in range(few):
        kept = flat[i]
        flat[i] = kept + H
        above = f(x, *args)
        flat[i] = kept - H
        below = f(x, *args)
        slopes[i] = (above - below) / (2 * H)
        flat[i] = kept
    return (perf_counter() - began) * flat.size / few


def timed(call: Callable[[], Any]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def measure(name: str, w: Workload, budget: float) -> Row:
    auto = Gradient(w.f, H, args=w.args)
    explicit: Gradient | None = Gradient(w.f, H, args=w.args, backend="numpy")
    x, args = w.x, w.args
    once = textbook(w, 10)
    most = max(10, int(w.x.size * min(1.0, LONGEST / max(once, 1e-9) / 10)))
    for _ in range(7):
        auto(w.x)
        numerical_gradient(w.f, w.x, H, args=w.args)
        try:
            if explicit is not None:
                explicit(w.x)
        except (TypeError, ValueError):
            explicit = None
    times: list[tuple[float, ...]] = []
    began = perf_counter()
    while len(times) < 5 or (perf_counter() - began < budget and len(times) < 200):
        times.append(
            (
                textbook(w, most),
                timed(lambda: explicit(x)) if explicit is not None else np.nan,
                timed(lambda: auto(x)),
                timed(lambda: numerical_gradient(w.f, x, H, args=args)),
            )
        )
    loop, lifted, prepared, one_shot = np.median(np.array(times), axis=0)
    return Row(name, loop / lifted, loop / prepared, loop / one_shot, max(prepared, one_shot) / (1.15 * loop + 1e-5))


def mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else float("nan")


def main(sizes: list[int], verbose: bool) -> None:
    np.seterr(all="ignore")
    print("    n  lifted     all: numpy  auto  one-shot     local: numpy  auto     auto's worst of its allowance")
    for n in sizes:
        rows = []
        for problem in CORPUS:
            left_out = (n >= 1000 and problem.name in QUADRATIC) or (n > 1000 and problem.name not in LOCAL)
            if left_out or not problem.scales:
                continue
            row = measure(problem.name, problem.at(n), 0.05 if n <= 100 else 0.2)
            rows.append(row)
            if verbose:
                print(f"      {row.name:30s}", *(f"{ratio:8.2f}" for ratio in row[1:]))
        liftable = [r for r in rows if np.isfinite(r.lifted)]
        local = [r for r in liftable if r.name in LOCAL]
        worst = max(rows, key=lambda r: r.allowed)
        print(
            f"{n:6d} {len(liftable):3d} of {len(rows):3d} {mean([r.lifted for r in liftable]):9.2f} "
            f"{mean([r.prepared for r in liftable]):6.2f} {mean([r.one_shot for r in liftable]):7.2f} "
            f"{mean([r.lifted for r in local]):14.2f} {mean([r.prepared for r in local]):7.2f} "
            f"      {worst.allowed:.2f} ({worst.name})",
            flush=True,
        )


if __name__ == "__main__":
    main([int(a) for a in sys.argv[1:] if a.isdigit()] or [10, 100, 1000, 10_000], "-v" in sys.argv)
