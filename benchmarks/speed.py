"""How fast is fastgrad, as ratios within one run: ``python -m benchmarks.speed WHAT``.

targets    what has to be reached, each with its limit
c          the compiled backend against the same loops in C (gcc -O3 -march=native; benchmarks/loops.c)
lanes      several points in one SIMD register against one after another, the same table of points
lifting    numpy code, unmodified: the lifts and "auto" against the textbook's loop, over tests/corpus.py
jax        prepared gradients against ``jax.jit(jax.grad(f))`` on the CPU, float64, one thread (extra ``benchmark``)
solvers    SciPy's solvers with its own differences and with ours: evaluations of f, time, and f at the minimum, badly
           scaled problems among them; and the solvers that want Jacobians
pictures   the README's: error against time, and the paths of three descents, as SVG files in benchmarks/pictures
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from importlib import import_module
from itertools import product
from math import exp, log
from pathlib import Path
from statistics import fmean, median
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba import njit, typeof, types
from scipy.integrate import solve_ivp
from scipy.optimize import approx_fprime, curve_fit, least_squares, minimize, root
from scipy.optimize._numdiff import approx_derivative

from fastgrad import Gradient, gradient_descent, numerical_gradient
from fastgrad.adapters.scipy import installed
from fastgrad.backends.compiled.kernels import sweep
from fastgrad.lifting.lanes import compile_lanes, evaluate_table_lanes, lane_width
from fastgrad.tools.timing import peak_memory, rounds_of

from . import problems
from .problems import PROBLEMS, Problem, cases
from .regressions import first_seconds, import_seconds, in_a_process

H = 1e-4


def textbook(f: Callable[..., Any], x: Any, h: float = H, most: int | None = None) -> Any:
    """The loop as textbooks print it; of at most so many entries."""
    gradient = np.zeros_like(x)
    it = np.nditer(x, flags=["multi_index"], op_flags=[["readwrite"]])
    while not it.finished and (most is None or it.iterindex < most):
        i = it.multi_index
        kept = x[i]
        x[i] = float(kept) + h
        above = f(x)
        x[i] = kept - h
        below = f(x)
        gradient[i] = (above - below) / (2 * h)
        x[i] = kept
        it.iternext()
    return gradient


def ratio(numerator: Callable[[], Any], denominator: Callable[[], Any], rounds: int = 30, least: float = 2e-3) -> float:
    """Median of how many times as long the first takes."""
    times = rounds_of({"a": numerator, "b": denominator}, rounds, least)
    return median(a / b for a, b in zip(times["a"], times["b"], strict=True))


def geometric(values: list[float]) -> float:
    return exp(fmean(map(log, values))) if values else float("nan")


# C -------------------------------------------------------------------------------------------------------------------

C_SIZES: dict[str, tuple[int, ...]] = {
    "rosenbrock": (10, 100, 1000),
    "extended_rosenbrock": (100, 1000),
    "powell_singular": (12, 100, 1000),
    "wood": (100, 1000),
    "discrete_boundary_value": (100, 1000),
    "broyden_tridiagonal": (100, 1000),
    "broyden_banded": (100, 1000),
    "chained_powell": (100, 1000),
    "styblinski_tang": (100, 1000),
    "dixon_price": (100, 1000),
    "zakharov": (100, 1000),
    "lennard_jones": (39, 99, 999),
    "squared_hinge": (64,),
}
VECTORS = "_vectors"  # Rosenbrock written with vector types, by hand


def c_library(folder: Path) -> ctypes.CDLL | None:
    """The C loops as a library; None without gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    source, library = Path(__file__).with_name("loops.c"), folder / "loops.so"
    # the same operations in the same order: no contraction to fused multiply-adds that numba does not make
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([gcc, *flags, str(source), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def c_gradient(library: ctypes.CDLL, name: str, args: tuple[Any, ...] = ()) -> Callable[[Any, Any], Any]:
    """The gradient in C as a function of x and out."""
    function = getattr(library, name if name.endswith(VECTORS) else f"{name}_gradient")
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p]
    step = np.cbrt(3 * np.finfo(np.float64).eps / np.sqrt(12))
    if args:
        matrix, labels, penalty = args
        give = getattr(library, f"{name}_data")
        give.restype = None
        give.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_double]
        give(matrix.ctypes.data, labels.ctypes.data, labels.size, penalty)
    return lambda x, out: function(x.ctypes.data, x.size, step, out.ctypes.data)


def over_c(compile: str | None = None, sizes: dict[str, tuple[int, ...]] = C_SIZES) -> dict[tuple[str, int], float]:
    """Time of the compiled backend over the time of C, for each problem and n; empty without gcc.

    With compile="eager" f runs in lanes.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        library = c_library(Path(folder))
        if library is None:
            return {}
        for name, several in sizes.items():
            problem = PROBLEMS[name.removesuffix(VECTORS)]
            for n in () if problem.unavailable else several:
                x, args = problem.make(n)
                x = np.ascontiguousarray(x, np.float64)
                ours, theirs = np.empty(n), np.empty(n)
                gradient = Gradient(problem.jitted, "fixed", args=args, compile=compile)
                c = c_gradient(library, name, args)
                gradient(x, out=ours)
                c(x, theirs)
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(ours).max())
                enough = max(5, min(30, int(3e9 / (2 * n * problem.operations(n)))))
                found[name, n] = ratio(
                    lambda g=gradient, x=x, o=ours: g(x, out=o), lambda c=c, x=x, o=theirs: c(x, o), enough
                )
    return found


def c() -> None:
    scalar, lanes = over_c(), over_c("eager")
    if not scalar:
        print("there is no gcc: nothing to compare with")
        return
    print(f"{'':26}{'time over that of C':>22}\n{'problem':20}{'n':>6}{'one by one':>12}{'in lanes':>10}")
    for name, n in scalar:
        print(f"{name:20}{n:6}{scalar[name, n]:12.2f}{lanes[name, n]:10.2f}")
    large = [1.0 / found for (_, n), found in lanes.items() if n >= 64]
    print(f"in lanes, n >= 64: {geometric(large):.2f} times as fast as C (geometric mean), at least {min(large):.2f}")
    for (_, n), found in over_c("eager", {f"rosenbrock{VECTORS}": C_SIZES["rosenbrock"]}).items():
        print(f"rosenbrock, n = {n}: {found:.2f} of the time of C written with vector types")


# Lanes ---------------------------------------------------------------------------------------------------------------


@njit(nogil=True, error_model="numpy")
def table_in_lanes(lane, scalar, args, x, tile, progress, y, index, points, values):
    evaluate_table_lanes(lane, scalar, args, x, tile, progress, y, index, points, values)


@njit(nogil=True, error_model="numpy")
def table_one_by_one(scalar, args, x, y, index, points, values):
    sweep(scalar, args, x.ravel(), y, index, points, values, 0, False, index.size)


def gain_of_lanes(f: Any, x: Any, args: Any, width: int, fastmath: bool) -> tuple[float, bool]:
    """How many times as long one point after another takes, and whether the values are the same bits."""
    signature = types.float64(typeof(x), *map(typeof, args))
    f.compile(signature)
    compiled = f.overloads[signature.args]
    scalar = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    lifted = compile_lanes(f, x.ndim, tuple(map(typeof, args)), width=width, fastmath=fastmath)
    index, points = np.arange(x.size), np.stack([x + 1e-6, x - 1e-6], 1)
    tile, progress, y = np.empty((x.size, lifted.width)), np.zeros(1, np.intp), np.empty_like(x)
    a, b = np.empty_like(points), np.empty_like(points)
    gain = ratio(
        lambda: table_one_by_one(scalar, args, x, y, index, points, b),
        lambda: table_in_lanes(lifted.address, scalar, args, x, tile, progress, y, index, points, a),
        9,
    )
    return gain, np.array_equal(a, b, equal_nan=True)


def lanes(widths: list[int]) -> None:
    table: dict[tuple[str, int, bool], list[float]] = {}
    for problem, n in cases(min_n=30, max_n=1000, max_operations=3e8, without="nd"):
        if problem.unavailable:
            continue
        x, args = problem.make(n)
        kind = "arithmetic" if "arithmetic" in problem.tags else "transcendental"
        line = f"{kind:15s}{problem.name:28s}{x.size:5d}"
        for width in widths:
            for fastmath in (False, True) if kind == "transcendental" else (False,):
                gain, same = gain_of_lanes(problem.jitted, x, args, width, fastmath)
                table.setdefault((kind, width, fastmath), []).append(gain)
                line += f"  W={width}{'f' if fastmath else ' '} {gain:5.2f}x {'same' if same else 'differ'}"
        print(line, flush=True)
    for (kind, width, fastmath), gains in table.items():
        fast = " fastmath" if fastmath else ""
        print(f"{kind:15s} W={width}{fast}: mean {geometric(gains):.2f}x, worst {min(gains):.2f}x")


# Lifting -------------------------------------------------------------------------------------------------------------

LOCAL = frozenset({
    "sphere", "sphere_method", "rosenbrock", "rosenbrock_pairs", "rastrigin", "styblinski_tang", "levy", "dixon_price",
    "second_differences", "broyden_tridiagonal", "smooth_total_variation", "huber", "clipped", "soft_threshold",
    "numerically_stable_softplus", "log_barrier", "trapezoid_integral", "reversed_and_rolled", "padded_smoothing",
    "elastic_net", "mixed_functions",
})  # fmt: skip
QUADRATIC = frozenset({"outer_product_fit", "pairwise_repulsion", "gaussian_mixture", "polynomial_fit"})  # memory in n
LONGEST = 0.2  # seconds of one loop; beyond, some of its coordinates stand for all


class Lifted(NamedTuple):
    """Ratios of the loop's time to that of a prepared gradient, of "auto" and one-shot "auto"."""

    name: str
    lifted: float
    prepared: float
    one_shot: float
    allowed: float  # auto's time over 1.15 loops + 10 µs, the worse of the two


def over_the_loop(name: str, f: Any, x: Any, args: tuple[Any, ...], budget: float) -> Lifted:
    auto, explicit = Gradient(f, H, args=args), Gradient(f, H, args=args, backend="numpy")
    own = x.copy()  # some f write into x
    few = min(10, x.size)

    def loop() -> Any:
        return textbook(lambda y: f(y, *args), own, H, few)

    once = median(rounds_of({"loop": loop}, 3, 1e-4)["loop"]) / few
    few = max(few, min(x.size, int(LONGEST / once)))
    calls = {"loop": loop, "prepared": lambda: auto(x), "one-shot": lambda: numerical_gradient(f, x, H, args=args)}
    try:
        explicit(x)
    except (TypeError, ValueError):
        pass
    else:
        calls["lifted"] = lambda: explicit(x)
    times = rounds_of(calls, 100, 1e-4, budget)
    loop_time = median(times["loop"]) * x.size / few
    lifted, prepared, one_shot = (median(times.get(k, [np.nan])) for k in ("lifted", "prepared", "one-shot"))
    allowed = max(prepared, one_shot) / (1.15 * loop_time + 1e-5)
    return Lifted(name, loop_time / lifted, loop_time / prepared, loop_time / one_shot, allowed)


def lifting(sizes: list[int], verbose: bool) -> None:
    from tests.corpus import CORPUS

    np.seterr(all="ignore")
    print("    n  lifted     all: numpy  auto  one-shot     local: numpy  auto     auto's worst of its allowance")
    for n in sizes:
        rows = []
        for problem in CORPUS:
            left_out = (n >= 1000 and problem.name in QUADRATIC) or (n > 1000 and problem.name not in LOCAL)
            if left_out or not problem.scales:
                continue
            row = over_the_loop(problem.name, *problem.at(n), 0.1 if n <= 100 else 0.5)
            rows.append(row)
            if verbose:
                print(f"      {row.name:30s}", *(f"{each:8.2f}" for each in row[1:]))
        liftable = [r for r in rows if np.isfinite(r.lifted)]
        local = [r for r in liftable if r.name in LOCAL]
        worst = max(rows, key=lambda r: r.allowed)
        print(
            f"{n:6d} {len(liftable):3d} of {len(rows):3d} {geometric([r.lifted for r in liftable]):9.2f} "
            f"{geometric([r.prepared for r in liftable]):6.2f} {geometric([r.one_shot for r in liftable]):7.2f} "
            f"{geometric([r.lifted for r in local]):14.2f} {geometric([r.prepared for r in local]):7.2f} "
            f"      {worst.allowed:.2f} ({worst.name})",
            flush=True,
        )


# jax -----------------------------------------------------------------------------------------------------------------

# of which n has to be a multiple. The table's others have one size only, or assign to entries of arrays or branch on x,
# which jax does not trace
JAX = {
    "rosenbrock": 1, "powell_singular": 4, "wood": 4, "variably_dimensioned": 1, "trigonometric": 1, "penalty_1": 1,
    "brown_almost_linear": 1, "discrete_integral_equation": 1, "broyden_banded": 1, "chained_powell": 4,
    "chained_cragg_levy": 4, "generalized_broyden": 1, "ackley": 1, "rastrigin": 1, "griewank": 1, "styblinski_tang": 1,
    "levy": 1, "dixon_price": 1, "zakharov": 1, "lennard_jones": 3, "quadratic_form": 1, "rayleigh_quotient": 1,
    "log_sum_exp": 1, "huber": 1, "hinge": 1,
}  # fmt: skip


def jax_times(modules: Any, problem: Problem, n: int, rounds: int) -> dict[str, float]:
    """Seconds of a gradient of fastgrad, and of jax from and to its own arrays and numpy's.

    jax's form is the table's plain numpy form with `jax.numpy` for `numpy`, as its user would write it. The result is
    waited for. The shortest time counts: jax hands its work to a thread, and what else runs on the machine slows that
    down several times.
    """
    jax, jnp = modules
    x, args = problem.make(n)
    x, f = np.ascontiguousarray(x, np.float64), problem.f
    ours = Gradient(problem.jitted, args=args, compile="eager")  # jax compiles at once, too
    inside = FunctionType(f.__code__, {**f.__globals__, "np": jnp}, f.__name__, f.__defaults__, f.__closure__)  # type: ignore[attr-defined]
    slope = jax.jit(jax.grad(inside))
    theirs, rest = jnp.asarray(x), tuple(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args)
    np.testing.assert_allclose(slope(theirs, *rest), problem.gradient(x, *args), rtol=1e-9, atol=1e-9)
    calls = {
        "ours": lambda: ours(x),
        "arrays": lambda: slope(theirs, *rest).block_until_ready(),
        "numpy": lambda: np.asarray(slope(x, *rest)),
    }
    return {name: min(times) for name, times in rounds_of(calls, rounds, 1e-3).items()}


def against_jax(sizes: list[int]) -> None:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    for n in sizes:
        rows: dict[bool, list[dict[str, float]]] = {True: [], False: []}
        for name, block in JAX.items():
            problem, local = PROBLEMS[name], is_local(name)
            if n > 1000 and not local:
                continue  # 2n evaluations of a dense f take seconds
            size = max(-(-n // block) * block, min(problem.sizes))
            row = jax_times((jax, jax.numpy), problem, size, 60 if n < 1000 else 15)
            rows[local].append(row)
            us = {k: 1e6 * seconds for k, seconds in row.items()}
            print(
                f"{name:28} n = {size:5}  fastgrad {us['ours']:9.2f} µs  jax {us['arrays']:9.2f} µs, "
                f"from numpy {us['numpy']:9.2f} µs  {us['numpy'] / us['ours']:8.2f}x",
                flush=True,
            )
        for local, what in product((True, False), ("arrays", "numpy")):
            gains = [row[what] / row["ours"] for row in rows[local]]
            if gains:
                print(
                    f"n = {n}, {'sums of local terms' if local else 'dense functions'}, jax's {what}: fastgrad is "
                    f"faster on {sum(gain > 1.0 for gain in gains)} of {len(gains)}, "
                    f"{geometric(gains):.2f}x in the geometric mean",
                    flush=True,
                )


@cache
def is_local(name: str) -> bool:
    """Say whether f is for owner lanes at n = 240."""
    problem = PROBLEMS[name]
    x, args = problem.make(240)
    return Gradient(problem.jitted, args=args, compile="eager").with_info(x)[1].way == "owner lanes"


# Targets -------------------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """One line: what was measured, its value, and the limit."""

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        reached = self.value >= self.limit if self.at_least else self.value <= self.limit
        sign = ">=" if self.at_least else "<="
        verdict = "reached" if reached else "MISSED "
        return f"{verdict}  {self.value:9.2f} {self.unit:6} {sign} {self.limit:g}  {self.what}"


def paid_once() -> Iterator[Figure]:
    yield Figure("import fastgrad, beyond numpy", 1e3 * import_seconds(), 30.0, "ms")
    code = (
        "import subprocess, sys, time; began = time.perf_counter(); "
        "subprocess.run([sys.executable, '-m', 'fastgrad', '--help'], stdout=subprocess.DEVNULL, check=True); "
        "print(time.perf_counter() - began)"
    )
    with tempfile.TemporaryDirectory() as folder:
        yield Figure("fastgrad --help", 1e3 * min(in_a_process(code, folder) for _ in range(5)), 300.0, "ms")
    found = first_seconds("rosenbrock")
    extra = found["bare"] - 1.3 * found["compile"]
    yield Figure("first gradient of an @njit f, no cache anywhere, beyond 1.3 times compiling f", extra, 0.2, "s")
    late = 1e3 * (found["warm"] - found["own"])
    yield Figure("first gradient of a cached f in a second process, beyond f's own first call", late, 100.0, "ms")


@njit
def scaled(x: Any, a: float) -> Any:
    total = 0.0
    for i in range(x.size - 1):
        total += a * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def frames(call: Callable[[], Any]) -> int:
    """Count fastgrad's own Python frames in a call."""
    seen = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal seen
        seen += event == "call" and frame.f_globals.get("__name__", "").startswith("fastgrad.")

    call()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def calls_of_plain() -> Iterator[Figure]:
    from scipy.optimize._numdiff import approx_derivative

    def f(x: Any) -> Any:  # about 1 µs
        return 1.0 + x[0] ** 2 / 20 + x[-1] * x[1]

    for n in (2, 5, 10):
        x = np.linspace(0.5, 1.5, n)
        if n == 2:
            yield Figure("frames of one plain gradient, n = 2", frames(lambda x=x: numerical_gradient(f, x)), 35, "")
        times = rounds_of({
            "ours": lambda x=x: numerical_gradient(f, x),
            "scipy": lambda x=x: approx_derivative(f, x, method="2-point"),
            "given": lambda x=x: numerical_gradient(f, x, H),
            "textbook": lambda x=x: textbook(f, x),
        })  # fmt: skip
        us = {name: 1e6 * median(t) for name, t in times.items()}
        yield Figure(f"plain f of 1 µs, n = {n}, one-shot, against SciPy's 2-point", us["ours"] / us["scipy"], 0.7, "x")
        if n != 5:
            beyond = us["given"] - us["textbook"]
            yield Figure("  with h, beyond the textbook's loop", beyond, {2: 10, 10: 25}[n], "µs")


def calls_of_jitted() -> Iterator[Figure]:
    f = PROBLEMS["rosenbrock"].jitted
    for n in (2, 10):
        x, _ = PROBLEMS["rosenbrock"].make(n)
        automatic, fixed, out = Gradient(f), Gradient(f, "fixed"), np.empty(n)
        times = rounds_of(
            {
                "automatic": lambda x=x, g=automatic: g(x),
                "fixed": lambda x=x, g=fixed: g(x),
                "out": lambda x=x, g=automatic, out=out: g(x, out=out),
                "one-shot": lambda x=x: numerical_gradient(f, x),
                "one-shot, h": lambda x=x: numerical_gradient(f, x, h=H),
                "one-shot, args": lambda x=x: numerical_gradient(scaled, x, args=(100.0,)),
                "textbook": lambda x=x: textbook(f, x),
            }
        )
        us = {name: 1e6 * median(t) for name, t in times.items()}
        for name, what, limit in (
            ("automatic", f"prepared Gradient, @njit f, n = {n}, automatic step", 1.7),
            ("fixed", "  fixed step", 1.7),
            ("out", "  automatic step, out=", 1.7),
            ("one-shot", f"numerical_gradient, @njit f, n = {n}, warm", 4.0),
            ("one-shot, h", "  h=1e-4", 4.0),
            ("one-shot, args", "  args=(a,)", 4.0),
        ):
            yield Figure(f"{what} (at least {1e6 * min(times[name]):.2f})", us[name], limit, "µs")
        gain = us["textbook"] / us["one-shot"]
        yield Figure("  the textbook's loop over the same f, against it", gain, 1.0, "x", True)


def descents() -> Iterator[Figure]:
    @njit
    def bowl(x: Any) -> Any:
        return x[0] * x[0] + 3.0 * x[1] * x[1]

    x0, steps = np.array([-3.0, 4.0]), 1000
    gradient = Gradient(bowl, "fixed")

    def from_python() -> Any:
        x = x0.copy()
        for _ in range(steps):
            x -= 0.01 * gradient(x)
        return x

    gain = ratio(from_python, lambda: gradient_descent(bowl, x0, lr=0.01, step_num=steps))
    yield Figure("compiled descent against compiled gradients called from Python, n = 2", gain, 10.0, "x", True)


def reference() -> Iterator[Figure]:
    ratios = []
    for problem, n in cases(min_n=10, max_n=100, max_operations=2e7, without="data"):
        x, args = problem.make(n)
        f = (lambda y, p=problem, a=args: p.f(y, *a)) if args else problem.f
        gradient = Gradient(f, H, backend="python")
        ratios.append(ratio(lambda g=gradient, x=x: g(x), lambda f=f, x=x: textbook(f, x), 9, 1e-4))
    yield Figure("python against the textbook's loop, n >= 10, geometric mean", geometric(ratios), 1.15, "x")
    yield Figure("  the same, worst case", max(ratios), 1.15, "x")


def one_batch(f: Callable[..., Any], x: Any) -> Any:
    """All 2n rows at once, as one writes it."""
    step = H * np.eye(x.size)
    values = f(np.concatenate([x + step, x - step]))
    return (values[: x.size] - values[x.size :]) / (2 * H)


def batches() -> Iterator[Figure]:
    problems = [
        p for p in PROBLEMS.values() if p.batched and not p.needs and 1000 in p.sizes and p.name != "lennard_jones"
    ]
    gains, loops = [], {}
    for problem in problems:
        for n in (10, 100, 1000):
            x, args = problem.make(problem.size_near(n))
            gradient = Gradient(problem.batched, "fixed", args=args, batch_axis=0)
            loop = Gradient(problem.f, "fixed", args=args, backend="python")
            loops[n, problem.name] = ratio(lambda g=loop, x=x: g(x), lambda g=gradient, x=x: g(x), 7, 1e-4)
            if n == 1000 and x.ndim == 1:
                whole = lambda p=problem, x=x, a=args: one_batch(lambda points: p.batched(points, *a), x)  # noqa: E731
                gains.append(ratio(whole, lambda g=gradient, x=x: g(x), 7, 1e-4))
    yield Figure("one batch of all 2n rows against numpy, n = 1000, geometric mean", geometric(gains), 2.0, "x", True)
    yield Figure("  the same, worst problem", min(gains), 2.0, "x", True)
    for n in (10, 100, 1000):
        least, name = min((gain, name) for (size, name), gain in loops.items() if size == n)
        yield Figure(f"the loop against numpy, n near {n}, worst problem ({name})", least, 1.0, "x", True)
    x, args = PROBLEMS["rosenbrock"].make(10_000)
    gradient = Gradient(PROBLEMS["rosenbrock"].batched, "fixed", args=args, batch_axis=0)
    peak = peak_memory(lambda: gradient(x)) / 2**20
    yield Figure("extra memory of numpy, Rosenbrock, n = 10,000", peak, 32.0, "MB")


def compiled_against_c() -> Iterator[Figure]:
    found = [r for (_, n), r in over_c().items() if n >= 99]
    if found:
        yield Figure("numba against the same loop in C, n >= 100, median", median(found), 1.1, "x")
        yield Figure("numba against the same loop in C, n >= 100, worst", max(found), 1.3, "x")


def targets() -> None:
    for part in (paid_once, calls_of_plain, calls_of_jitted, descents, reference, batches, compiled_against_c):
        for figure in part():
            print(figure, flush=True)


# SciPy's solvers ------------------------------------------------------------------------------------------------------

SOLVERS = ("BFGS", "L-BFGS-B", "trust-constr")

# f, and where to start (Moré, Garbow, Hillstrom 1981; Lukšan, Vlček 1999)
SOLVED: dict[str, tuple[Callable[..., Any], Any]] = {
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


def solvers(repeats: int, names: list[str]) -> None:
    def asked(name: str) -> bool:
        return not names or any(word in name for word in names)

    print(f"{'problem':26}{'solver':14}{'nfev':>13}{'ratio':>7}{'ms':>16}{'ratio':>7}   f, without and with fastgrad")
    for title, table in (("", SOLVED), ("badly scaled", BADLY_SCALED)):
        print(title)
        ratios = []
        for name, (f, x) in table.items():
            if not asked(name):
                continue
            for solver in SOLVERS:
                (theirs, before), (ours, after) = solved(partial(minimize, f, x, method=solver), repeats)
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
            (_, before), (_, after) = solved(solve, repeats)
            print(f"{name:60}{before * 1e3:8.2f}{after * 1e3:8.2f}{after / before:7.2f}")


# Pictures -------------------------------------------------------------------------------------------------------------

FOLDER = Path(__file__).parent / "pictures"
# Okabe and Ito: told apart by colour-blind readers, on white and on black
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
STYLE = {
    "font.size": 11,
    "svg.hashsalt": "fastgrad",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def precision(png: bool) -> None:
    """Draw error against time on one unmodified numpy function and on its compiled form."""
    plt, jacobi, numdifftools = map(import_module, ("matplotlib.pyplot", "jacobi", "numdifftools"))
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    problem = PROBLEMS["rosenbrock"]
    for axes, n in zip(panels, (10, 1000), strict=True):
        x, _ = problem.make(n)
        exact = problem.gradient(x)
        f = problem.f
        ours = {
            "plain numpy f": Gradient(f),
            "plain, adaptive": Gradient(f, method="adaptive"),
            "@njit f": Gradient(problem.jitted, compile="eager"),
            "@njit, adaptive": Gradient(problem.jitted, method="adaptive"),
            "@njit, complex step": Gradient(problem.jitted, method="complex"),
        }
        peers: dict[str, Callable[[Any], Any]] = {
            "textbook": lambda x: textbook(problem.f, x),
            "SciPy 2-point": lambda x: approx_fprime(x, problem.f),
            "SciPy 3-point": lambda x: approx_derivative(problem.f, x).ravel(),
            "jacobi": lambda x: jacobi.jacobi(problem.f, x, diagonal=False)[0],
        }
        if n <= 10:
            peers["numdifftools"] = numdifftools.Gradient(f)
        points: dict[str, tuple[float, float]] = {}
        for name, gradient in {**ours, **peers}.items():
            found = gradient(x.copy())
            spent = rounds_of({"one": lambda gradient=gradient, x=x: gradient(x)}, 5 if n > 10 else 15, 1e-3)["one"]
            points[name] = median(spent), max(float(np.abs(found - exact).max() / np.abs(exact).max()), 1e-17)
        for name, (seconds, error) in points.items():
            mine = name in ours
            group = list(ours) if mine else list(peers)
            marker = "osD^v"[group.index(name) % 5]
            axes.plot(
                seconds, error, marker, color=BLUE if mine else ORANGE, markersize=9, linestyle="none",
                markerfacecolor=None if mine else "none", markeredgewidth=1.8,
                label=f"fastgrad, {name}" if mine else name,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="seconds for one gradient", title=f"Rosenbrock, n = {n}")
        axes.margins(0.1)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("largest error / largest entry")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)
    save(figure, "precision", png)


def paths(png: bool) -> None:
    """Draw a descent with a learning rate that is too small, right, and too large."""
    bowl = lambda x: x[0] ** 2 / 20 + x[1] ** 2  # noqa: E731
    plt: Any = import_module("matplotlib.pyplot")
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    a, b = np.meshgrid(np.linspace(-8, 8, 200), np.linspace(-4, 4, 200))
    for axes, lr, told, color in zip(
        panels, (0.05, 0.9, 1.02), ("too small", "right", "too large"), (GREY, GREEN, RED), strict=True
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the third diverges
            result = gradient_descent(bowl, np.array([-7.0, 2.0]), lr=lr, step_num=30, full_output=True)
        path = np.asarray(result.path)
        axes.contour(a, b, bowl(np.stack([a, b])), levels=[0.25, 1, 2, 4, 8, 12], colors="#bbbbbb", linewidths=0.8)
        axes.plot(path[:, 0], path[:, 1], "o-", color=color, markersize=4, linewidth=1.2)
        axes.plot(0, 0, "k+", markersize=10)
        axes.set(title=f"lr = {lr}: {told}", xlim=(-8, 8), ylim=(-4, 4), xlabel="x[0]")
    panels[0].set_ylabel("x[1]")
    save(figure, "descent", png)


def save(figure: Any, name: str, png: bool) -> None:
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    if png:
        figure.savefig(FOLDER / f"{name}.png", dpi=60)


def pictures(png: bool) -> None:
    with import_module("matplotlib").rc_context(STYLE):
        paths(png)
        precision(png)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    sized = {"lifting": [10, 100, 1000, 10_000], "jax": [2, 10, 30, 100, 1000], "lanes": [lane_width()]}
    for what in ("targets", "c", "lanes", "lifting", "jax", "solvers", "pictures"):
        command = commands.add_parser(what)
        if what in sized:
            told = f"{'points in a register' if what == 'lanes' else 'sizes'}, by default {sized[what]}"
            command.add_argument("numbers", nargs="*", type=int, default=sized[what], metavar="N", help=told)
        if what == "lifting":
            command.add_argument("-v", "--verbose", action="store_true", help="show each function")
        if what == "solvers":
            command.add_argument("names", nargs="*", help="only problems whose name contains one of these")
            command.add_argument("--repeats", type=int, default=5)
        if what == "pictures":
            command.add_argument("--png", action="store_true", help="PNG files, too")
    options = parser.parse_args()
    run: dict[str, Callable[[], None]] = {
        "targets": targets,
        "c": c,
        "lanes": lambda: lanes(options.numbers),
        "lifting": lambda: lifting(options.numbers, options.verbose),
        "jax": lambda: against_jax(options.numbers),
        "solvers": lambda: solvers(options.repeats, options.names),
        "pictures": lambda: pictures(options.png),
    }
    run[options.what]()


if __name__ == "__main__":
    main()
