"""Jacobians of jitted functions: by compiled loops, to the bits of the plain loop."""

from __future__ import annotations

import gc
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config, njit
from scipy.sparse import coo_array

from fastgrad import Jacobian, numerical_jacobian
from fastgrad.backends.compiled import cache, kernels
from fastgrad.backends.compiled.functions import WIDTH
from fastgrad.core.validation import Floats

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


@njit
def broyden(x):
    n = x.size
    out = np.empty(n)
    for i in range(n):
        out[i] = (3 - 2 * x[i]) * x[i] + 1
        if i > 0:
            out[i] -= x[i - 1]
        if i < n - 1:
            out[i] -= 2 * x[i + 1]
    return out


@njit
def twisted(x):
    out = broyden(x)
    out[7] += 1e-3 * x[11]
    return out


@njit
def decay(p):
    out = np.empty(12)
    for i in range(12):
        out[i] = p[0] * np.exp(-p[1] * i / 6) + np.sin(p[2] * i) / (1 + p[3] ** 2)
    return out


@njit
def kinked(x):
    return np.abs(x - x[::-1]) + np.maximum(x, 0.1)


@njit
def noisy(x):
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = np.round(x[i] * x[i - 1] * 1e7) * 1e-7
    return out


@njit
def integers(x):
    return np.round(x * 3.0).astype(np.int64)


@njit
def matrix(x):
    return np.outer(x, x[:2])


@njit
def writes(x):
    x *= 2.0
    return x + 1.0


@njit
def steep(x):
    return np.exp(30.0 * x) + np.sqrt(np.abs(x[0])) * x


@njit
def filled(t, x, out, scale):
    for i in range(x.size):
        out[i] = scale[0] * x[i] * x[i - 1] + t


@njit
def forced(t, x, scale):
    return scale * x * np.sin(t * x)


@njit
def of_all_kinds(x):
    """Outputs that are smooth, kinked, rounded, in waves, in single precision, at a root, still, steep, and steps."""
    n = x.size
    out = np.empty(n)
    for i in range(n):
        a, b, kind = x[i], x[(i + 1) % n], i % 9
        if kind == 0:
            out[i] = a * a * b - 3.0 * a + b
        elif kind == 1:
            out[i] = abs(a - b) + 0.5 * a
        elif kind == 2:
            out[i] = np.round(a * b * 1e7) * 1e-7
        elif kind == 3:
            out[i] = np.sin(40.0 * a) * b
        elif kind == 4:
            out[i] = np.float32(a) * np.float32(b)
        elif kind == 5:
            out[i] = np.sqrt(abs(a)) + b
        elif kind == 6:
            out[i] = 3.0
        elif kind == 7:
            out[i] = np.exp(5.0 * a) - b
        else:
            out[i] = (a > b) + 1e-3 * a
    return out


# of other types of results and arguments, and for patterns, the default rule's kernels are compiled for many seconds
BY_RULE = pytest.param(None, marks=pytest.mark.slow)
FUNCTIONS = [broyden, decay, kinked, noisy, writes, steep]
CASES = [(f, h) for f in FUNCTIONS for h in (None, 1e-5)] + [(integers, 1e-5)]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in ((integers, None), (matrix, None), (matrix, 1e-5))]
TRIDIAGONAL = np.eye(14) + np.eye(14, k=1) + np.eye(14, k=-1)


def points(n: int) -> list[Floats]:
    rng = np.random.default_rng(n)
    fixed = [np.linspace(-1, 1.1, n), np.ones(n), np.zeros(n), np.arange(1.0, n + 1.0)]
    return fixed + [rng.normal(size=n) * 10.0**k for k in (-3, 0, 0, 3)]


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning", "ignore::fastgrad.NonFiniteWarning")
@pytest.mark.parametrize(("f", "h"), [*CASES, *SLOW])
def test_bits_of_the_plain_loop(f: Any, h: float | None) -> None:
    n = 4 if f is decay else 9
    compiled, plain = Jacobian(f, h, compile="eager"), Jacobian(f, h, backend="python")
    for x in points(n):
        x = x / 10.0 if f is steep else x
        before = x.copy()
        for _ in range(2):
            np.testing.assert_array_equal(compiled(x), plain(x))
        (first, one), (second, other) = compiled.with_info(x), plain.with_info(x)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(one.step, other.step)
        assert one.nfev == other.nfev
        np.testing.assert_array_equal(x, before)


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning", "ignore::fastgrad.NonFiniteWarning")
@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 12))])
def test_outputs_of_all_kinds_beside_each_other(seed: int) -> None:
    rng, told = np.random.default_rng(seed), []
    for n in (1, 3, 9, 13, 27):
        compiled, plain = Jacobian(of_all_kinds, compile="eager"), Jacobian(of_all_kinds, backend="python")
        for scale in (1e-3, 1.0, 1.0, 30.0):
            x = rng.normal(size=n) * scale * 10.0 ** rng.integers(-1, 2, n)
            x[rng.random(n) < 0.1] = 0.0
            made = []
            for jacobian in (compiled, plain):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    made.append((jacobian(x).tobytes(), [str(one.message) for one in caught]))
            assert made[0] == made[1], x
            told += made[0][1]
    assert told  # of kinks and steps: some warn


@pytest.mark.parametrize("h", [None, 1e-5])
def test_the_kernel_does_all_of_it(h: float | None) -> None:
    jacobian, x = Jacobian(broyden, h, compile="eager"), np.linspace(-1, 1.1, 9)
    jacobian(x)
    found = jacobian._operator.fused(x, ())
    np.testing.assert_array_equal(found, Jacobian(broyden, h, backend="python")(x))


@pytest.mark.parametrize("h", [BY_RULE, 1e-5])
def test_colored(h: float | None) -> None:
    jacobian = Jacobian(broyden, h, sparsity=TRIDIAGONAL, compile="eager")
    plain = Jacobian(broyden, h, sparsity=TRIDIAGONAL, backend="python")
    for x in points(14):
        for _ in range(2):
            found, wanted = jacobian(x), plain(x)
            np.testing.assert_array_equal(found.toarray(), wanted.toarray())
    assert jacobian._operator.fused(np.linspace(-1, 1.1, 14), ()) is not None


@pytest.mark.parametrize("h", [BY_RULE, 1e-5])
def test_colored_of_many(h: float | None) -> None:
    """More entries than there are signs: where the random direction begins follows from the sum of x's bits."""
    n = 5000
    rows, columns = np.repeat(np.arange(n), 3), (np.arange(n)[:, None] + [-1, 0, 1]).reshape(-1)
    inside = (columns >= 0) & (columns < n)
    pattern = coo_array((np.ones(inside.sum()), (rows[inside], columns[inside])), shape=(n, n))
    x = np.random.default_rng(1).uniform(0.5, 1.5, n)
    jacobian = Jacobian(broyden, h, sparsity=pattern, compile="eager")
    jacobian(x)
    found, wanted = jacobian._operator.fused(x, ()), jacobian.with_info(x)[0]
    np.testing.assert_array_equal(found.data, wanted.data)
    jacobian._operator.fused._f = Jacobian(twisted, h, sparsity=pattern, compile="eager")._operator._compiled
    jacobian._operator.fused._kinds.clear()
    jacobian._operator.fused._alone = None
    assert jacobian._operator.fused(x, ()) is None  # one output of `twisted` has an entry more


@pytest.mark.parametrize("h", [BY_RULE, 1e-5])
def test_a_missing_entry_is_noticed(h: float | None) -> None:
    pattern = TRIDIAGONAL.copy()
    jacobian, x = Jacobian(broyden, h, sparsity=pattern, compile="eager"), np.linspace(-1, 1.1, 14)
    jacobian(x)
    jacobian = Jacobian(broyden, h, sparsity=np.triu(pattern), compile="eager")
    with pytest.raises(ValueError, match="lacks an entry"):
        jacobian(x)
    jacobian._operator.fused = Jacobian(broyden, h, sparsity=pattern, compile="eager")._operator.fused
    with pytest.raises(ValueError, match="lacks an entry"):
        jacobian(x)


@pytest.mark.parametrize("h", [BY_RULE, 1e-5])
def test_arguments_and_filled_arrays(h: float | None) -> None:
    x, scale = np.linspace(0.5, 1.5, 7), np.array([3.0])
    first = Jacobian(filled, h, argnum=1, args=(2.0, scale), out=7, compile="eager")
    second = Jacobian(filled, h, argnum=1, args=(2.0, scale), out=7, backend="python")
    for _ in range(2):
        np.testing.assert_array_equal(first(x), second(x))
        np.testing.assert_array_equal(first(4.0, x, scale), second(4.0, x, scale))
    first = Jacobian(forced, h, argnum=1, args=(2.0, 3.0), compile="eager")
    second = Jacobian(forced, h, argnum=1, args=(2.0, 3.0), backend="python")
    for t in (1.0, 2.0, 3, 4):  # a whole number is another type
        np.testing.assert_array_equal(first(t, x, 2.0), second(t, x, 2.0))


def test_wrong_calls_are_what_a_plain_call_says() -> None:
    jacobian = Jacobian(forced, argnum=1, args=(2.0,), compile="eager")
    with pytest.raises(TypeError, match="argument"):
        jacobian(np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        Jacobian(broyden, compile="eager")(np.array([1.0, np.nan]))


def test_values_of_one_shape() -> None:
    @njit
    def ragged(x):
        return np.ones(3 if x[0] == 1.0 else 2) * x[1]

    for h in (None, 1e-5):
        with pytest.raises(ValueError, match="one shape"):
            Jacobian(ragged, h, compile="eager")(np.ones(2))


@njit
def limited(x):
    if x[-1] > 1.0:
        raise ValueError("too far")
    return np.sqrt(x)


@njit
def edge(x, out, limit):
    if x[-1] > limit[0]:
        raise ValueError("too far")
    for i in range(out.size):
        out[i] = x[i] ** 2


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of the process")
@pytest.mark.parametrize(("h", "limit"), [pytest.param(None, 1.0, marks=pytest.mark.slow), (1e-4, 1.0), (1e-4, 0.5)])
def test_an_f_that_raises_leaves_nothing_behind(h: float | None, limit: float) -> None:
    size, calls = 20_000, 100
    x, good = np.zeros(size), np.zeros(size)
    x[-1] = 1.0
    jacobian = Jacobian(edge, h, out=1, args=(np.array([limit]),), compile="eager", sparsity=np.eye(1, size))
    jacobian(good)  # from now on in one kernel

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def many(count: int) -> None:
        for _ in range(count):
            with suppress(ValueError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                jacobian(x)

    many(30)
    grown = []
    for _ in range(3):  # a leak is one each time; what else the process may begin to keep meanwhile is not
        before = resident()
        many(calls)
        grown.append(resident() - before)
        if grown[-1] < calls * size * 8 // 10:
            return
    pytest.fail(f"it grew by {grown} bytes in {calls} calls each")


def test_where_f_ends() -> None:
    x = np.array([0.5, 1.0 - 1e-9])
    compiled, plain = Jacobian(limited, compile="eager"), Jacobian(limited, backend="python")
    for _ in range(2):
        np.testing.assert_array_equal(compiled(x), plain(x))


def test_captured_data_that_changed_are_refused() -> None:
    data = np.array([1.0, 2.0])

    @njit
    def captures(x):
        return data * x

    jacobian, x = Jacobian(captures, compile="eager"), np.ones(2)
    np.testing.assert_allclose(jacobian(x), np.diag(data))
    jacobian(x)
    data[0] = 5.0
    with pytest.raises(ValueError, match="captured"):
        jacobian(x)


@pytest.mark.parametrize("options", [{"sparse": True}, {"sparsity": "detect"}])
def test_sparse_without_a_pattern(options: dict[str, Any]) -> None:
    jacobian, x = Jacobian(broyden, 1e-5, compile="eager", **options), np.linspace(-1, 1.1, 14)
    for _ in range(2):
        np.testing.assert_array_equal(jacobian(x).toarray(), Jacobian(broyden, 1e-5, backend="python")(x))


def test_one_shot() -> None:
    x = np.linspace(-1, 1.1, 9)
    np.testing.assert_array_equal(numerical_jacobian(broyden, x), numerical_jacobian(broyden, x, backend="python"))


def branching(x):
    return np.abs(x - 0.5) if x[0] > 0.3 else x * x[::-1]


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
@pytest.mark.parametrize("h", [pytest.param(None, marks=pytest.mark.slow), 1e-5])
@pytest.mark.parametrize("python", [broyden.py_func, branching])
def test_the_same_bits_in_lanes_and_not(python: Any, h: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "WORTH_LANES", 0.0)
    f, n = njit(python), 37
    jacobian, plain = Jacobian(f, h, compile="eager"), Jacobian(f, h, backend="python")
    jacobian(np.linspace(-1.0, 1.1, n))
    fused = jacobian._operator.fused
    assert fused._lanes((), False)[0][1] == WIDTH  # which take turns with one point at a time at first
    for first in (0.1, 0.3 + 1e-7, 0.5):
        x = np.linspace(first, 1.1, n)
        wanted = plain(x)
        for _ in range(8):
            found = fused(x, ())
            assert found is not None or python is branching
            np.testing.assert_array_equal(jacobian(x), wanted)


def test_lanes_are_compiled_when_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    f, x = njit(lambda x: x * x[::-1]), np.linspace(0.1, 1.1, 9)
    jacobian = Jacobian(f, 1e-5)
    for _ in range(3):
        expected = jacobian(x)
    known = jacobian._operator._compiled
    assert known.lanes(1, 1, (), False) is None
    monkeypatch.setattr(kernels, "WORTH_LANES", 0.0)
    monkeypatch.setattr(cache, "WORTH_COMPILING", 0.0)
    jacobian = Jacobian(f, 1e-5)
    for _ in range(3):
        np.testing.assert_array_equal(jacobian(x), expected)
    assert known.lanes(1, 1, (), False)[1] == WIDTH
