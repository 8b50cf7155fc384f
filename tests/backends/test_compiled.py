"""The compiled backend gives the same bits in every way: in a Python loop, in a kernel, in lanes, in threads."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit, types

from benchmarks.problems import PROBLEMS
from fastgrad import Gradient, explain, numerical_gradient
from fastgrad.backends.compiled import functions as jit
from fastgrad.backends.compiled import kernels, tables
from fastgrad.backends.compiled.evaluation import Compiled
from fastgrad.backends.compiled.functions import jitted
from fastgrad.backends.compiled.fused import FusedGradient
from fastgrad.backends.compiled.tables import Table
from fastgrad.backends.compiled.workspace import record
from fastgrad.core.call import Call
from fastgrad.core.point import as_point
from fastgrad.executors.threads import run_all
from fastgrad.schemes.stencils import Stencil, backward, central, forward
from fastgrad.schemes.steps import fixed_step

if jit.NO_LANES:
    pytest.skip(jit.NO_LANES, allow_module_level=True)

from fastgrad.backends.compiled import cache as lane_store
from fastgrad.lifting.lanes import compile_lanes, thaw_lanes


@pytest.fixture(autouse=True)
def kernels_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile kernels when they are first wanted; `in_python` undoes it."""
    monkeypatch.setattr(lane_store, "WORTH_COMPILING", 0.0)


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel is worth compiling, and none is on the disk."""
    monkeypatch.setattr(lane_store, "WORTH_COMPILING", math.inf)
    monkeypatch.setattr(lane_store, "_on_disk", lambda kernel, signature: False)
    monkeypatch.setattr(lane_store, "_entries", {})
    for kernel in (kernels.sweep, kernels.by_step, kernels.descend):
        monkeypatch.setattr(kernel, "overloads", {})


def rosenbrock(x):
    total = 0.0
    for i in range(x.size - 1):
        a, b = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * a * a + b * b
    return total


def weighted(x, w, power):
    total = 0.0
    for i in range(x.size):
        total += w[i] * x[i] ** power
    return total


def lifted(f, ndim=1, args=()):
    """Let f run in lanes from now on."""
    target = jitted(f, True).target(np.dtype(np.float64), ndim, args)
    target.lift()
    return target


def test_numerical_gradient_has_the_same_bits_before_and_after_lanes() -> None:
    x = np.random.default_rng(1).normal(size=37)
    f = njit(rosenbrock)
    options: dict[str, Any] = {"backend": "numba", "h": "fixed"}
    before = [numerical_gradient(f, x, **options), numerical_gradient(f, x, **options, full_output=True)]
    assert lifted(f).lanes
    after = [numerical_gradient(f, x, **options), numerical_gradient(f, x, **options, full_output=True)]
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1][0], after[1][0])
    assert before[1][1].nfev == after[1][1].nfev
    assert jitted(f, True).lanes_reason(1, ()).startswith(f"{jit.WIDTH} points")


@pytest.mark.parametrize("h", [None, 1e-4])
def test_a_first_gradient_compiles_f_alone_to_the_same_bits(h: Any, request: pytest.FixtureRequest) -> None:
    x = np.random.default_rng(2).uniform(0.5, 1.5, 10)
    warm, info = numerical_gradient(njit(rosenbrock), x, h, full_output=True)
    np.testing.assert_array_equal(numerical_gradient(njit(rosenbrock), x, h), warm)
    request.getfixturevalue("in_python")
    f = njit(rosenbrock)
    cold, cold_info = numerical_gradient(f, x, h, full_output=True)
    np.testing.assert_array_equal(cold, warm)
    np.testing.assert_array_equal(numerical_gradient(f, x, h), warm)
    assert cold_info.nfev == info.nfev
    assert len(f.overloads) == 1
    assert not kernels.sweep.overloads
    assert not kernels.by_step.overloads


SOME = ["rosenbrock", "wood", *[name for name, p in PROBLEMS.items() if {"nd", "branch"} & p.tags][:6]]


@pytest.mark.parametrize("name", [*SOME[:4], *(pytest.param(name, marks=pytest.mark.slow) for name in SOME[4:])])
@pytest.mark.parametrize(
    "stencil", [central(2), central(4), forward(1), backward(2)], ids=["central 2", "central 4", "forward", "backward"]
)
def test_problems_have_the_same_bits(name: str, stencil: Stencil) -> None:
    problem = PROBLEMS[name]
    if problem.unavailable:
        pytest.skip(problem.unavailable)
    x, args = problem.make(min(problem.sizes))
    x = np.ascontiguousarray(x, np.float64)
    f, rule = problem.jitted, fixed_step(stencil)
    quick = Compiled.quick(Call(f, args), stencil, rule)
    assert quick is not None
    scalar, lanes = np.empty_like(x), np.empty_like(x)
    target = jitted(f, True).target(x.dtype, x.ndim, args)
    target.lift()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "lanes", 0)
        patch.setattr(target, "scalar_reason", "to compare")
        assert quick(x, args, scalar)
    again = Compiled.quick(Call(f, args, eager=True), stencil, rule)
    assert again is not None
    assert again(x, args, lanes)
    np.testing.assert_array_equal(scalar, lanes)


def test_what_cannot_lift_stays_scalar_and_says_why() -> None:
    @njit
    def f(x):
        x[0] *= 1.0
        return x[0] ** 2

    gradient = np.empty(1)
    quick = Compiled.quick(Call(f, eager=True), central(2), fixed_step(central(2)))
    assert quick is not None
    quick(np.array([3.0]), (), gradient)
    reason = jitted(f, True).lanes_reason(1, ())
    assert reason.startswith("one point at a time: ")
    assert "line" in reason
    np.testing.assert_allclose(numerical_gradient(f, np.array([3.0]), backend="numba"), [6.0], rtol=1e-8)


def test_lanes_come_when_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    f, x = njit(rosenbrock), np.linspace(0.5, 1.5, 20)
    monkeypatch.setattr(kernels, "WORTH_LANES", 0.0)
    quick = Compiled.quick(Call(f), central(2), fixed_step(central(2)))
    assert quick is not None
    first, second = np.empty(20), np.empty(20)
    target = jitted(f, True).target(x.dtype, 1, ())
    assert not target.settled
    assert quick(x, (), first)
    assert target.lanes
    assert quick(x, (), second)
    np.testing.assert_array_equal(first, second)


def test_lanes_come_in_the_general_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    f, x = njit(rosenbrock), np.linspace(0.5, 1.5, 20)
    monkeypatch.setattr(jit, "WORTH_LANES", 0.0)
    expected = numerical_gradient(f, x, "fixed", backend="numba", full_output=True)[0]
    assert jitted(f, True).target(x.dtype, 1, ()).lanes
    np.testing.assert_array_equal(numerical_gradient(f, x, "fixed", backend="numba", full_output=True)[0], expected)


def test_always_divergent_goes_back_to_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    @njit
    def kinked(x):
        total = 0.0
        for v in x:
            total += v if v > 0.0 else -3.0 * v
        return total

    x = np.zeros(48)  # each bundle holds points on both sides; fewer points would just be timed
    quick = Compiled.quick(Call(kinked, eager=True), central(2), fixed_step(central(2)))
    assert quick is not None
    out = np.empty(48)
    assert quick(x, (), out)
    target = jitted(kinked, True).target(x.dtype, 1, ())
    assert target.lanes
    monkeypatch.setattr(kernels, "MOST_WASTE", 100.0)
    for _ in range(300):
        assert quick(x, (), out)
        np.testing.assert_array_equal(out, -1.0)
    assert not target.lanes
    assert "branches" in target.scalar_reason
    target.lift()
    assert not target.lanes


def transcendental(x):
    total = 0.0
    for v in x:
        total += math.exp(-v) + math.sin(3.0 * v) * math.log(2.0 + v * v) + (1.5 + v) ** 1.3
    return total


fastmath = pytest.mark.skipif(bool(jit.NO_FASTMATH), reason=jit.NO_FASTMATH)


@fastmath
@pytest.mark.parametrize(
    "options",
    [{}, {"h": "fixed"}, {"method": "forward"}, {"method": "forward", "h": "fixed"}, {"method": "adaptive"}],
    ids=str,
)
@pytest.mark.parametrize("n", [3, 40])
def test_fastmath_is_close_says_so_and_is_off_by_default(options: dict[str, Any], n: int) -> None:
    f, x = njit(transcendental), np.linspace(-1.0, 1.0, n)
    exact, info = numerical_gradient(f, x, full_output=True, **options)
    assert info.fastmath is None
    first, info = numerical_gradient(f, x, full_output=True, fastmath=True, **options)
    assert info.fastmath is not None
    assert info.fastmath.startswith("exp, log, pow, sin within 4 ulp")
    assert "within 4 ulp" in str(info)
    # 4 units in the last place of four terms for each x, in each of two values
    noise = 4.0 * 2.0 * 4 * n * 4.5 * np.finfo(float).eps
    np.testing.assert_allclose(first, exact, rtol=0, atol=noise / info.step.min() + 1e-6 * ("h" in options))
    gradient = Gradient(f, fastmath=True, **options)
    for _ in range(3):  # the first call is the general way, the next is the shortest
        np.testing.assert_array_equal(gradient(x), first)
    assert "fastmath: exp, log, pow, sin within 4 ulp" in gradient.explain(x)
    np.testing.assert_array_equal(numerical_gradient(f, x, full_output=True, **options)[0], exact)  # f is as it was


@fastmath
def test_the_noise_of_fastmath_is_measured_where_it_is_made() -> None:
    f, x = njit(transcendental), np.linspace(-1.0, 1.0, 5)
    run = Compiled(Call(f, fastmath=True), as_point(x))
    table = run.sweep(np.arange(5), x[:, None])  # x itself
    np.testing.assert_array_equal(table, run.value())
    np.testing.assert_array_equal(run.line(np.stack([x, x])), run.value())
    info = numerical_gradient(f, x, fastmath=True, full_output=True)[1]
    assert info.nfev >= 2 * 5 + 1 + 6  # probed, though n is small


@fastmath
def test_fastmath_with_extra_arguments_workers_and_pickles() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.random(30), rng.random(30)

    @njit
    def f(x, w):
        total = 0.0
        for i in range(x.size):
            total += math.exp(w[i] * x[i])
        return total

    expected = w * np.exp(w * x)
    for options in ({"h": "fixed"}, {}, {"method": "forward", "h": "fixed"}, {"workers": 2}):
        gradient = Gradient(f, args=(w,), fastmath=True, **options)  # type: ignore[arg-type]
        for _ in range(2):
            np.testing.assert_allclose(gradient(x), expected, rtol=1e-5)
        assert "fastmath=True" in repr(gradient)
    assert gradient.__reduce__()[1][1]["fastmath"] is True


@pytest.mark.parametrize(
    ("f", "options", "reason"),
    [
        (lambda x: x @ x, {"backend": "python"}, "not compiled"),
        (lambda x: x @ x, {"backend": "numpy"}, "not compiled"),
        (njit(lambda x: x[0] * x[1]), {}, "no function that the vector mathematics library has"),
        (njit(lambda x: np.exp(x[0])), {"method": "complex"}, "complex x"),
        (njit(lambda x: {1: np.exp(x[0])}[1]), {}, "one point at a time"),
    ],
)
def test_fastmath_without_effect_says_so(f: Any, options: dict[str, Any], reason: str) -> None:
    x = np.array([0.5, 2.0])
    gradient, info = numerical_gradient(f, x, fastmath=True, full_output=True, **options)
    assert info.fastmath is not None
    assert info.fastmath.startswith("no effect")
    assert reason in info.fastmath or jit.NO_FASTMATH
    assert f"fastmath: {info.fastmath}" in explain(f, x, fastmath=True, **options)
    np.testing.assert_allclose(gradient, numerical_gradient(f, x, **options), rtol=1e-6)


def test_fastmath_without_the_library_is_the_scalar_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "NO_FASTMATH", "this system has no vector mathematics library (libmvec)")
    f, x = njit(transcendental), np.linspace(-1.0, 1.0, 20)
    fast, info = numerical_gradient(f, x, "fixed", fastmath=True, full_output=True)
    np.testing.assert_array_equal(fast, numerical_gradient(f, x, "fixed"))
    assert info.fastmath == "no effect: this system has no vector mathematics library (libmvec)"


def test_fastmath_is_a_boolean() -> None:
    with pytest.raises(ValueError, match="`fastmath` must be"):
        Gradient(rosenbrock, fastmath="yes")  # type: ignore[arg-type]


def test_explain_says_that_complex_x_is_not_for_lanes() -> None:
    assert "complex x is not for lanes" in explain(njit(rosenbrock), np.ones(3), method="complex")


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("slow", ["lanes", "one by one", "neither"])
def test_few_points_run_in_the_faster_way_to_the_same_bits(n: int, slow: str) -> None:
    f, x = njit(rosenbrock), np.random.default_rng(n).normal(size=n)
    rule = fixed_step(central(2))
    expected, out = np.empty(n), np.empty(n)
    scalar = Compiled.quick(Call(f), central(2), rule)
    lanes = Compiled.quick(Call(f, eager=True), central(2), rule)
    assert scalar is not None
    assert lanes is not None
    assert scalar(x, (), expected)
    for _ in range(2 * kernels.TRIALS + 3):
        assert lanes(x, (), out)
        np.testing.assert_array_equal(out, expected)
    head = record(next(iter(lanes._runs.values())).spare[0])
    assert head.timed == 2 * kernels.TRIALS
    ticking = head.one_by_one > 0.0  # on processors that have no counter lanes it is
    assert (head.in_lanes > 0.0) == ticking
    head.in_lanes = 1e6 if slow == "lanes" else 1.0
    head.one_by_one = 1e6 if slow == "one by one" else 1.0
    spent = head.spent
    assert lanes(x, (), out)
    np.testing.assert_array_equal(out, expected)
    if ticking:
        assert (head.spent > spent) == (slow == "lanes")  # only the loop over single points counts it


def test_a_task_of_a_thread_may_ask_for_threads_and_exceptions_come_in_order() -> None:
    def nested(_: threading.Event) -> list[int]:
        return run_all([lambda _: 1, lambda _: 2, lambda _: 3])

    assert run_all([nested, nested, nested]) == [[1, 2, 3]] * 3

    def fail(number: int) -> Callable[[threading.Event], None]:
        def task(_: threading.Event) -> None:
            raise ValueError(str(number))

        return task

    with pytest.raises(ValueError, match="1"):
        run_all([lambda _: None, fail(1), fail(2)])
    with pytest.raises(ValueError, match="0"):
        run_all([fail(0), fail(1), lambda _: None])
    assert run_all([lambda _: 7, lambda _: 8]) == [7, 8]  # and they work on


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("args", [(), (np.linspace(0.0, 1.0, 600), 4)])
def test_workers_give_the_same_bits(eager: bool, args: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WORTH_THREADS", 0.0)
    f, x = njit(weighted if args else rosenbrock), np.random.default_rng(3).normal(size=600)
    stencil = central(4)
    found = []
    for workers in (1, 3):
        call = Call(f, args, eager=eager, workers=workers)
        run = Compiled(call, as_point(x))
        index = np.arange(600)
        points = x[:, None] + 1e-3 * stencil.nodes
        values = run.sweep(index, points)
        assert run.nfev == values.size
        found.append(values)
    np.testing.assert_array_equal(*found)


def test_workers_of_an_f_that_writes_into_x(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WORTH_THREADS", 0.0)

    @njit
    def f(x):
        total = 0.0
        for i in range(x.size):
            x[i] *= x[i]
            total += x[i]
        return total

    x = np.linspace(1.0, 2.0, 300)
    run = Compiled(Call(f, workers=2), as_point(x))
    index, points = np.arange(300), x[:, None] + np.array([1e-3, -1e-3])
    values = run.sweep(index, points)
    np.testing.assert_array_equal(values, Compiled(Call(f), as_point(x)).sweep(index, points))
    np.testing.assert_allclose((values[:, 0] - values[:, 1]) / 2e-3, 2.0 * x, rtol=1e-9)


def test_workers_raise_what_the_first_point_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WORTH_THREADS", 0.0)

    @njit
    def f(x):
        for i in range(100, x.size):
            if x[i] != 1.0:
                if i == 150:
                    raise ValueError("the first")
                if i > 250:
                    raise IndexError("a later one")
        return 1.0

    run = Compiled(Call(f, workers=2), as_point(np.ones(300)))
    with pytest.raises(ValueError, match="the first"):
        run.sweep(np.arange(300), np.full((300, 1), 1.5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_workers_after_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WORTH_THREADS", 0.0)
    f, x = njit(rosenbrock), np.linspace(0.0, 1.0, 200)
    index, points = np.arange(200), x[:, None] + 1e-3
    expected = Compiled(Call(f, workers=2), as_point(x)).sweep(index, points)
    child = os.fork()
    if child == 0:
        values = Compiled(Call(f, workers=2), as_point(x)).sweep(index, points)
        os._exit(0 if np.array_equal(values, expected) else 1)
    for _ in range(30_000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert status == 0


@pytest.fixture
def slow_sum() -> Callable[..., float]:
    @njit
    def f(x):  # some 2 ms, in lanes 4 ms a bundle
        total = 0.0
        for _ in range(1000):
            for v in x:
                total = 0.5 * total + v * v
        return total

    return f


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_stops_lanes(slow_sum: Any, workers: int, ctrl_c: Any) -> None:
    x = np.random.default_rng(0).random(5000)  # some 12 s of work
    gradient = Gradient(slow_sum, 1e-4, compile="eager", workers=workers)
    gradient(x[:8].copy())  # compiles
    with ctrl_c(FusedGradient.__call__.__code__, Table._rows.__code__):
        gradient(x)


def _in_process(code: str, **environment: str) -> str:
    root = Path(jit.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lanes_can_be_switched_off() -> None:
    code = (
        "from numba import njit; from fastgrad.backends.compiled.functions import jitted; "
        "print(jitted(njit(lambda x: x[0] * x[1]), True).lanes_reason(1, ()))"
    )
    assert "one point at a time: FASTGRAD_LANES is 0" in _in_process(code, FASTGRAD_LANES="0")
    assert "so far" in _in_process(code, FASTGRAD_LANES="4")


LOAD = (
    "from numba import types; from fastgrad.backends.compiled.kernels import VECTOR, call_c_function as kernel; "
    "kernel.compile((VECTOR, types.intp)); print(sum(kernel.stats.cache_hits.values()))"
)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("truncate", "nbi"),
        ("flip", "nbc"),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in (("empty", "nbi"), ("flip", "nbi"), ("empty", "nbc"), ("truncate", "nbc"))
        ),
    ],
)
def test_a_damaged_disk_cache_is_made_anew(tmp_path: Path, damage: str, kind: str) -> None:
    folder = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert _in_process(LOAD, **folder) == "0\n"
    assert _in_process(LOAD, **folder) == "1\n"
    files = list(tmp_path.rglob(f"kernels.call_c_function*.{kind}"))
    assert files
    for file in files:
        content = bytearray(file.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 0x10
        file.write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "flip": content}[damage])
    assert _in_process(LOAD, **folder) == "0\n"
    assert _in_process(LOAD, **folder) == "1\n"


SECOND = f"import fastgrad; print(fastgrad.__file__); {LOAD}"


def _a_copy(folder: Path) -> Path:
    """The package, installed where the tests may change it."""
    package = Path(jit.__file__).parents[2]
    return Path(shutil.copytree(package, folder / "fastgrad", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.mark.parametrize(
    "source",
    [
        "schemes/steps.py",
        *(
            pytest.param(source, marks=pytest.mark.slow)
            for source in ("lifting/lanes/kernel.py", "backends/compiled/workspace.py")
        ),
    ],
)
def test_kernels_of_other_sources_are_not_loaded(tmp_path: Path, source: str) -> None:
    package = _a_copy(tmp_path)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for expected in ("0", "1"):
        assert _in_process(SECOND, **environment).splitlines() == [str(package / "__init__.py"), expected]
    changed = package / source
    changed.write_text(changed.read_text("utf-8") + "\n", "utf-8")
    for expected in ("0", "1"):
        assert _in_process(SECOND, **environment).splitlines()[1] == expected


@pytest.mark.parametrize("home", [True, False])
def test_where_the_package_is_not_writable_kernels_go_to_the_users_folder(tmp_path: Path, home: bool) -> None:
    package = _a_copy(tmp_path)
    (package / "backends/compiled/__pycache__").touch()  # not even root makes a folder of that
    users = tmp_path / "home"
    users.mkdir() if home else users.touch()
    environment = {"PYTHONPATH": str(tmp_path), "HOME": str(users), "XDG_CACHE_HOME": str(users), "NUMBA_CACHE_DIR": ""}
    environment["PYTHONSAFEPATH"] = "1"
    assert _in_process(SECOND, **environment).splitlines()[1] == "0"
    assert _in_process(SECOND, **environment).splitlines()[1] == ("1" if home else "0")
    assert bool(list(tmp_path.rglob("kernels.call_c_function*.nbc"))) == home


CACHED = """
import math
from numba import njit

FACTOR = 2.0

@njit(cache=True)
def inner(v):
    return v * v * FACTOR

@njit(cache=True)
def f(x):
    total = 0.0
    for v in x:
        total += inner(v) * math.exp(-v)
    return total
"""
USE = """
import numpy as np
from fastgrad import numerical_gradient
from fastgrad.backends.compiled.functions import jitted
from fastgrad.backends.compiled.fused import FusedGradient
from fastgrad.backends.compiled.tables import Table
from fastgrad.lifting import lanes
from cached_module import f

compiled, compile_lanes = [], lanes.compile_lanes
lanes.compile_lanes = lambda *args, **options: compiled.append(1) or compile_lanes(*args, **options)
x = np.linspace(-1.0, 1.0, 50)
gradient = numerical_gradient(f, x, "fixed", compile="eager")
assert jitted(f, True).target(x.dtype, 1, ()).lanes
fast = numerical_gradient(f, x, "fixed", fastmath=True)
assert np.abs(fast - gradient).max() < 1e-9 * np.abs(gradient).max()
print(len(compiled), gradient.tobytes().hex())
"""


@pytest.mark.slow
@fastmath
def test_lanes_of_a_cached_f_are_kept_on_the_disk(tmp_path: Path) -> None:
    module = tmp_path / "cached_module.py"
    root = str(Path(jit.__file__).parents[3])

    def run() -> tuple[int, str]:
        count, gradient = _in_process(USE, PYTHONPATH=os.pathsep.join([root, str(tmp_path)])).split()
        return int(count), gradient

    module.write_text(CACHED)
    first = run()
    assert first[0] == 2  # with fastmath, and without
    assert run() == (0, first[1])
    files = list(tmp_path.rglob("f.lanes-*"))
    assert len(files) == 2
    for damage in (lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[:-900] + bytes([c[-900] ^ 16]) + c[-899:]):
        for file in files:
            file.write_bytes(damage(file.read_bytes()))
        assert run() == (2, first[1])
        assert run() == (0, first[1])
    for change in (CACHED.replace("2.0", "3.0"), CACHED.replace("v * v *", "v * v * v *")):
        module.write_text(change)
        changed = run()
        assert changed[0] == 2
        assert changed[1] != first[1]
    module.write_text(CACHED)
    assert run() == first


def test_lanes_on_the_disk_that_need_what_is_not_here_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = compile_lanes(njit(rosenbrock), 1).frozen()
    assert kept is not None
    assert thaw_lanes(kept) is not None
    monkeypatch.setattr("llvmlite.binding.address_of_symbol", lambda name: None)
    assert thaw_lanes(kept) is None


def test_a_fingerprint_tells_what_compiles_differently() -> None:
    data = np.arange(3.0)

    def made(factor: Any) -> Any:
        return njit(lambda x: x[0] * factor)

    prints = [lane_store._print(made(v)) for v in (2, 2.0, -0.0, 0.0, np.float32(2), (1, 2), data, data[::2].copy())]
    assert len(set(prints)) == len(prints)
    assert lane_store._print(made(2)) == lane_store._print(made(2))
    for unknown in ([1.0], object(), lambda x: x):
        with pytest.raises(lane_store._Unknown):
            lane_store._print(made(unknown))
    assert not lane_store._is_data(types.Dispatcher(made(1)))
    assert lane_store._is_data(types.UniTuple(types.Array(types.float64, 1, "C"), 2))


@pytest.mark.parametrize("n", [2, 40])
def test_a_function_that_may_return_none_runs_as_any_other(n: int) -> None:
    @njit
    def halves(x):  # type: ignore[no-untyped-def]
        if x[0] > 0:
            return x @ x
        return None

    x = np.linspace(1.0, 2.0, n)
    np.testing.assert_allclose(numerical_gradient(halves, x), 2 * x, rtol=1e-8)
    with pytest.raises(TypeError, match="must return one number, got None"):
        numerical_gradient(halves, -x)
    with pytest.raises(TypeError, match="may return None"):
        numerical_gradient(halves, x, backend="numba")
