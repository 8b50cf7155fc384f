"""The default rule in a kernel: the bits of the general rule where all is calm, and nothing where it is not."""

from __future__ import annotations

import math
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config, njit

from benchmarks.problems import PROBLEMS
from fastgrad import Gradient, numerical_gradient
from fastgrad.backends.compiled import cache, default
from fastgrad.backends.compiled.evaluation import Compiled
from fastgrad.core.call import Call
from fastgrad.core.point import as_point
from fastgrad.schemes.automatic import Search
from fastgrad.schemes.scheme import Estimate, Task
from fastgrad.schemes.stencils import central

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)

CENTRAL = central(2)


@pytest.fixture(autouse=True)
def kernels_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile kernels when they are first wanted."""
    monkeypatch.setattr(cache, "WORTH_COMPILING", 0.0)


@njit
def rosenbrock(x):
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def generally(f: Any, x: Any, args: tuple[Any, ...] = ()) -> tuple[Estimate, int]:
    """Differentiate by the general rule."""
    point = as_point(x)
    run = Compiled(Call(f, args), point)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Search(run, Task(point, np.arange(x.size)), CENTRAL, None).estimate(), run.nfev


SOME = [name for name, p in PROBLEMS.items() if not p.unavailable][::3]


LONG = ("softmax_regression", "total_variation", "hinge", "thurber", "log_sum_exp")  # to compile


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in SOME])
def test_the_bits_of_the_general_rule_or_nothing(name: str) -> None:
    problem, rng = PROBLEMS[name], np.random.default_rng(1)
    start, args = problem.make(min(problem.sizes))
    start = np.ascontiguousarray(start, np.float64)
    fused = Compiled.quick(Call(problem.jitted, args), CENTRAL, None)
    assert fused is not None
    for turn in range(4):
        x = start * (1.0 + 0.05 * rng.normal(size=start.shape)) if turn else start
        out = np.empty_like(x)
        done = fused(x, args, out)
        if done:
            expected, evaluations = generally(problem.jitted, x, args)
            np.testing.assert_array_equal(out.reshape(-1), expected.gradient)
            assert not expected.flags
            assert evaluations >= 2 * x.size + 7


@pytest.mark.parametrize("n", [1, 2, 5, 10, 11, 30])
def test_smooth_functions_are_calm(n: int) -> None:
    @njit
    def f(x):
        total = 0.0
        for i in range(x.size):
            total += (i + 1.0) * np.sin(x[i]) * np.exp(0.5 * x[i])
        return total

    rng = np.random.default_rng(n)
    fused = Compiled.quick(Call(f), CENTRAL, None)
    assert fused is not None
    settled = 0
    for _ in range(40):
        x, out = rng.uniform(0.2, 1.2, n), np.empty(n)
        expected, _ = generally(f, x)
        done = fused(x, (), out)
        if done:
            settled += 1
            np.testing.assert_array_equal(out, expected.gradient)
    assert settled >= 38


def test_a_few_values_on_a_lattice_are_chance() -> None:
    @njit
    def f(x):
        return x[0] ** 2 / 20.0 + x[1] ** 2

    fused, rng, out = Compiled.quick(Call(f), CENTRAL, None), np.random.default_rng(0), np.empty(2)
    assert fused is not None
    for x in rng.uniform(1.0, 3.0, (2000, 2)):  # at one of 256 both first values lie on the binary one
        assert fused(x, (), out) > 0


def test_better_steps_are_taken_within_the_kernel() -> None:
    rng = np.random.default_rng(3)
    fused = Compiled.quick(Call(rosenbrock), CENTRAL, None)
    assert fused is not None
    again = 0
    for _ in range(40):
        x, out = rng.standard_normal(30), np.empty(30)
        if fused(x, (), out):
            expected, evaluations = generally(rosenbrock, x)
            np.testing.assert_array_equal(out, expected.gradient)
            assert not expected.flags
            again += evaluations > 2 * 30 + 7
    assert again > 20


@njit
def nth(values, k):
    return default.nth(values, values.size, k)


def test_the_kth_smallest() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 101):
        values = rng.integers(0, 20, n).astype(float)
        values[rng.random(n) < 0.3] = np.inf
        for k in range(n):
            assert nth(values.copy(), k) == np.sort(values)[k]


TROUBLES = {
    "kink": (njit(lambda x: abs(x[0] - 1e-9) + x[1] ** 2), [0.0, 0.3]),
    "jumps": (njit(lambda x: np.floor(1e4 * x[0]) + x[1]), [0.37, 0.3]),
    "few digits": (njit(lambda x: round(np.exp(x[0]) + x[1] ** 2, 6)), [0.37, 0.3]),
    "float32": (njit(lambda x: np.float64(np.float32(np.exp(x[0]) + x[1] ** 2))), [0.37, 0.3]),
    "cancelling": (njit(lambda x: (np.exp(x[0]) - 1.0) / x[0] + x[1]), [1e-7, 0.3]),
    "edge": (njit(lambda x: np.sqrt(x[0]) + x[1]), [1e-12, 0.3]),
    "infinite slope": (njit(lambda x: abs(x[0]) ** 0.5 + x[1]), [0.0, 0.3]),
    "integers": (njit(lambda x: x[0] + 2.0 * x[1]), [3.0, 4.0]),
    "flat": (njit(lambda x: x[0] ** 4 + x[1] ** 4), [0.0, 0.0]),
    "nan": (njit(lambda x: np.log(-x[0]) + x[1]), [1.0, 0.3]),
    "raises": (njit(lambda x: 1.0 / int(x[0] > 0.37) + x[1]), [0.3700001, 0.3]),
    "tiny": (njit(lambda x: np.exp(x[0]) + x[1]), [1e-300, 1e-300]),
    "huge": (njit(lambda x: x[0] * 1e-290 + x[1]), [1e295, 1.0]),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_not_calm_is_left_to_the_general_rule(trouble: str) -> None:
    f, start = TROUBLES[trouble]
    x, out = np.array(start), np.empty(2)
    fused = Compiled.quick(Call(f), CENTRAL, None)
    assert fused is not None
    if fused(x, (), out):
        expected, _ = generally(f, x)
        np.testing.assert_array_equal(out, expected.gradient)
        assert not expected.flags
    if trouble in ("kink", "jumps", "few digits", "float32", "edge", "infinite slope", "flat", "nan", "raises"):
        assert not fused(x, (), out)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_the_checksum_is_that_of_zlib(values: list[float]) -> None:
    x = np.array(values)
    assert checksum(x) == zlib.crc32(x.tobytes())


@njit
def checksum(x):
    return default.checksum(x)


@njit
def spacing(x):
    return default.spacing_of(x)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_spacing_of_floats(x: float) -> None:
    assert spacing(x) == math.ulp(x)


def test_the_same_bits_one_shot_prepared_and_in_threads() -> None:
    points = [np.random.default_rng(i).uniform(0.5, 1.5, 10) for i in range(12)]
    expected = [generally(rosenbrock, x)[0].gradient for x in points]
    gradient, wrong = Gradient(rosenbrock), []

    def work(shift: int) -> None:
        for turn in range(30):
            i = (turn + shift) % len(points)
            found = gradient(points[i]), numerical_gradient(rosenbrock, points[i])
            wrong.extend(i for each in found if not np.array_equal(each, expected[i]))

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_lanes_give_the_same_bits() -> None:
    f = njit(rosenbrock.py_func)
    for n in (2, 10):
        x = np.random.default_rng(n).uniform(0.5, 1.5, n)
        one, other = np.empty(n), np.empty(n)
        scalar = Compiled.quick(Call(njit(rosenbrock.py_func)), CENTRAL, None)
        lanes = Compiled.quick(Call(f, eager=True), CENTRAL, None)
        assert scalar is not None
        assert lanes is not None
        found = scalar(x, (), one)
        assert lanes(x, (), other) == found
        if found:
            np.testing.assert_array_equal(one, other)


def test_an_f_that_raises_where_the_rule_only_explores() -> None:
    @njit
    def f(x):
        if x[0] > 1.0:
            raise ValueError("beyond")
        return np.exp(x[0]) + x[1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near = numerical_gradient(f, np.array([1.0 - 2e-5, 0.5]))
    np.testing.assert_allclose(near, [np.e, 1.0], rtol=1e-4)


def test_an_f_that_raises_leaves_no_result_behind(monkeypatch):
    @njit
    def raises(x):
        if x[0] > 0.0:
            raise ValueError("no")
        return x[0]

    made = []
    monkeypatch.setattr("fastgrad.planning.quick.empty", lambda shape: made.append(np.empty(shape)) or made[-1])
    gradient, x = Gradient(raises, backend="numba", compile="eager"), np.ones(300)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            gradient(x)
    assert made
    assert all(array.size == 0 for array in made)  # numba keeps what a kernel that raises was given
