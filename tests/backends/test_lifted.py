"""Plain functions of one point under backend="numpy" and "auto": lifted, and right, or given up for the reference."""

from __future__ import annotations

import contextlib
import importlib
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import AccuracyWarning, Gradient, TrustWarning, numerical_gradient
from fastgrad.backends.lifted import Lifted
from fastgrad.core.call import Call
from fastgrad.core.errors import CannotRun
from fastgrad.core.point import as_point
from fastgrad.inspecting.purity import nature
from tests.corpus import CORPUS, Problem

EPS = np.finfo(float).eps
SCHEMES = [("central", 2), ("central", 4), ("forward", 1), ("backward", 2), ("complex", 2)]
H = 1e-4


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def scaled(x: Any, a: Any, power: int = 2) -> Any:
    return np.sum(a * x**power) + np.prod(np.cos(x))


def spot(*shape: int) -> Any:
    return np.random.default_rng(5).normal(size=shape)


def rounding(f: Any, x: Any, args: tuple[Any, ...], h: float = H) -> float:
    """What the rounding of f's values may make of a difference quotient."""
    return 400.0 * EPS * max(1.0, abs(float(np.ravel(f(x.copy(), *args))[0]))) / h


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["numpy", "auto", "prepared"])
@pytest.mark.parametrize("problem", CORPUS, ids=lambda p: p.name)
def test_corpus(problem: Problem, backend: str) -> None:
    w = problem.at(40) if problem.scales and backend == "auto" else problem.workload()
    expected = numerical_gradient(w.f, w.x, H, args=w.args, backend="python")
    before = w.x.copy()
    if backend == "numpy":
        try:
            results = [numerical_gradient(w.f, w.x, H, args=w.args, backend="numpy")]
        except TypeError as error:
            assert "lift" in str(error) or "read" in str(error)  # noqa: PT017 - what cannot be lifted says so
            return
    elif backend == "auto":
        results = [numerical_gradient(w.f, w.x, H, args=w.args)]
    else:
        prepared = Gradient(w.f, H, args=w.args)
        results = [prepared(w.x) for _ in range(4)]
    for result in results:
        assert_allclose(result, expected, rtol=1e-9, atol=rounding(w.f, w.x, w.args))
    assert_array_equal(w.x, before)


def test_most_of_the_corpus_is_lifted() -> None:
    count = 0
    for problem in CORPUS:
        w = problem.workload()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                numerical_gradient(w.f, w.x, H, args=w.args, backend="numpy")
            except (TypeError, ValueError):
                continue
        count += 1
    assert len(CORPUS) >= 80
    assert count >= 0.85 * len(CORPUS)


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("shape", [(12,), (300,), (6, 5), (3, 4, 2)])
def test_methods_orders_and_shapes(method: str, order: int, shape: tuple[int, ...]) -> None:
    x = 0.3 * spot(*shape)
    a = spot(*shape)
    for f, args, kwargs in ((lambda x: rosenbrock(x.ravel()), (), {}), (scaled, (a,), {"power": 3})):
        options: dict[str, Any] = {"args": args, "kwargs": kwargs, "method": method, "order": order}
        h = None if method == "complex" else 2.0**-13
        got, info = numerical_gradient(f, x, h, backend="numpy", full_output=True, **options)
        expected = numerical_gradient(f, x, h, backend="python", **options)
        assert got.shape == shape
        assert info.backend == "numpy"
        assert_allclose(got, expected, rtol=1e-8, atol=3e-8)


@pytest.mark.parametrize("h", [None, 1e-4])
@pytest.mark.parametrize("n", [2, 35, 400])
def test_default_and_given_steps(h: float | None, n: int) -> None:
    x = spot(n)
    expected = numerical_gradient(rosenbrock, x, h, backend="python")
    for backend in ("numpy", "auto"):
        got = numerical_gradient(rosenbrock, x, h, backend=backend)
        assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_dense_lift_is_bit_identical() -> None:
    x = spot(20)
    expected = numerical_gradient(rosenbrock, x, H, backend="python")
    got, info = numerical_gradient(rosenbrock, x, H, full_output=True)
    assert info.backend == "numpy"
    assert_array_equal(got, expected)


def test_sparse_lift_is_at_least_as_accurate() -> None:
    x = spot(1000)
    slope = 2.0 * x + np.cos(x)
    f = lambda x: np.sum(x**2 + np.sin(x))  # noqa: E731
    loop, lift = (numerical_gradient(f, x, 1e-6, backend=b) for b in ("python", "numpy"))
    assert np.abs(lift - slope).max() < np.abs(loop - slope).max()


def test_indices_bounds_and_retries() -> None:
    x = np.abs(spot(50)) + 0.1
    f = lambda x: np.sum(np.log(x)) + x @ x  # noqa: E731
    for options in ({"indices": [3, 7, 40, 2]}, {"bounds": (x - 1e-6, np.inf)}):
        got = numerical_gradient(f, x, H, backend="numpy", **options)
        assert_allclose(got, numerical_gradient(f, x, H, backend="python", **options), atol=rounding(f, x, ()))


def test_not_finite_to_one_side_is_tried_to_the_other() -> None:
    x = np.abs(spot(60)) + 0.1
    x[4] = 0.0
    f = lambda x: np.sum(np.sqrt(x)) + np.sum(x)  # noqa: E731
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        got = numerical_gradient(f, x, H, backend="auto")
        assert_allclose(got, numerical_gradient(f, x, H, backend="python"), rtol=1e-6)


def test_evaluations_are_counted() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return rosenbrock(x)

    x = spot(30)
    _, info = numerical_gradient(f, x, H, backend="numpy", full_output=True)
    assert info.nfev >= 60 + calls - 2  # one call for all points, the others for one
    assert calls < 10


# What must not be lifted


def test_what_stops_a_lift_is_named() -> None:
    def uses_float(x: Any) -> Any:
        scale = float(x[0])
        return scale * np.sum(x)

    with pytest.raises(TypeError, match=r"(?s)float\(\).*uses_float, line \d+: scale = float"):
        numerical_gradient(uses_float, spot(50), H, backend="numpy")
    _, info = numerical_gradient(uses_float, spot(500), H, full_output=True)
    assert info.backend == "python"


@pytest.mark.parametrize("n", [5, 40, 400])
@pytest.mark.parametrize("backend", ["numpy", "auto", "prepared"])
def test_closures_over_the_callers_array(n: int, backend: str) -> None:
    x = spot(n)
    kinds = [
        (lambda w: np.sum(x**2), 2.0 * x),
        (lambda w: np.sum(w**2) + np.sum(np.sin(x)), 2.0 * x + np.cos(x)),
        (lambda w: np.sum(w**2) + x[3] ** 2, 2.0 * x + 2.0 * x * (np.arange(n) == 3)),
        (lambda w: np.sum(w * x.copy()), 2.0 * x),
    ]
    for f, expected in kinds:
        before = x.copy()
        if backend in ("numpy", "auto"):
            assert_allclose(numerical_gradient(f, x, H, backend=backend), expected, atol=1e-6)
        else:
            prepared = Gradient(f, H)
            for _ in range(4):
                assert_allclose(prepared(x), expected, atol=1e-6)
        assert_array_equal(x, before)


@pytest.mark.parametrize("n", [40, 400])
def test_noise_falls_back_and_is_named(n: int) -> None:
    draws = np.random.default_rng(0)
    f = lambda x: np.sum(x**2) + 1e-3 * draws.normal()  # noqa: E731
    # a generator that f holds is seen before f is lifted, so that nothing is wasted and nothing warned of
    _, info = numerical_gradient(f, spot(n), H, full_output=True)
    assert info.backend == "python"
    assert "Generator" in info.reason
    with pytest.raises(TypeError, match="random numbers"):
        numerical_gradient(f, spot(n), H, backend="numpy")


@pytest.mark.parametrize("n", [40, 400])
def test_side_effects_that_change_the_value(n: int) -> None:
    count = 0

    def f(x: Any) -> Any:
        nonlocal count
        count += 1
        return np.sum(x**2) + 0.01 * count

    with pytest.raises(TypeError, match="and then .* at the same x"):
        numerical_gradient(f, spot(n), H, backend="numpy")


def test_fs_own_exception_comes_through() -> None:
    class Unlucky(Exception):
        pass

    def f(x: Any) -> Any:
        raise Unlucky("13")

    for backend in ("numpy", "auto"):
        with pytest.raises(Unlucky, match="13"):
            numerical_gradient(f, spot(60), H, backend=backend)


def test_a_vector_is_named() -> None:
    for backend in ("numpy", "auto"):
        with pytest.raises(ValueError, match="must return one"):
            numerical_gradient(lambda x: x**2, spot(60), H, backend=backend)


def test_batched_functions_take_the_shortest_way() -> None:
    def several(points: Any) -> Any:
        calls.append(len(points))
        return np.sum(points**2, axis=1)

    calls: list[int] = []
    x = spot(9)
    gradient = Gradient(several, H, batch_axis=0)
    for _ in range(3):
        assert_allclose(gradient(x), 2 * x, rtol=1e-9)
    assert calls == 3 * [18, 1]
    last = Gradient(lambda points: np.sum(points**2, axis=0), H, batch_axis=-1)
    assert_allclose(last(x), gradient(x), rtol=1e-9)
    coupled = Gradient(lambda points: np.sum(points**2, axis=1) - np.mean(points), H, batch_axis=0)
    with pytest.warns(TrustWarning, match="influence"):
        coupled(x)
    with pytest.raises(ValueError, match="influence"):
        Gradient(coupled.f, H, batch_axis=0, backend="numpy")(x)


def test_a_loop_over_entries_is_given_up_early() -> None:
    """An attempt that cannot pay stops: f counts the operations that it does in lifts."""
    done = 0

    def f(x: Any) -> float:
        nonlocal done
        total = 0.0
        for v in x:
            done += 1
            total = total + v * v
        return total

    x = spot(60)
    numerical_gradient(f, x, H)
    assert done < 1.5 * 60 * 120


# Faults of a lift stay inside


def summed_squares(x: Any) -> Any:
    return np.sum(np.tanh(x) * x) + np.max(x[:3] * 2.0)


FAULTS = [
    ("fastgrad.lifting.sparse.slots", "summed"),
    ("fastgrad.lifting.sparse.bundle", "summed"),
    ("fastgrad.lifting.sparse.sweeping", "spread"),
    ("fastgrad.lifting.sparse.sweeping", "initial_slots"),
    ("fastgrad.lifting.dense.sweep", "_filled"),
    ("fastgrad.lifting.dense.sweep", "_joined"),
    ("fastgrad.lifting.dense.bundle", "matmul"),
]


@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), AssertionError("broken"), MemoryError(), IndexError("broken")]
)
@pytest.mark.parametrize(("module", "name"), FAULTS)
def test_a_fault_of_a_lift_ends_in_the_plain_evaluation(
    module: str, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise error

    A = spot(300, 300)
    for n in (20, 300):
        x = spot(n)
        f = lambda x, A=A[:n, :n]: summed_squares(x) + x @ A @ x  # noqa: E731
        expected = numerical_gradient(f, x, H, backend="python")
        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module(module), name, broken)
            for h in (H, None):
                assert_allclose(numerical_gradient(f, x, h), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_a_fault_of_both_lifts_is_said_where_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    for module, name in (("sparse.sweeping", "spread"), ("dense.sweep", "_joined")):
        monkeypatch.setattr(importlib.import_module(f"fastgrad.lifting.{module}"), name, broken)
    with pytest.raises(TypeError, match="cannot be lifted: RuntimeError: a bug"):
        numerical_gradient(rosenbrock, spot(30), H, backend="numpy")


@pytest.mark.parametrize("n", [20, 300])
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_an_exception_of_f_beside_x_comes_through(n: int, backend: str) -> None:
    class Outside(Exception):
        pass

    x = np.abs(spot(n)) + 0.5
    x[n // 2] = 1.0

    def f(x: Any) -> Any:
        if x[n // 2] > 1.0:
            raise Outside(f"{x.shape}")
        return np.sum(x**2)

    with pytest.raises(Outside, match=rf"\({n},\)"):
        numerical_gradient(f, x, H, backend=backend)


@pytest.mark.parametrize("n", [12, 250])
def test_a_refusal_holds_for_its_call_only(n: int) -> None:
    """At one x, f leaves its domain; at another one it is lifted as before."""
    inside, outside = np.abs(spot(n)) + 0.5, -np.abs(spot(n)) - 0.5
    kinds = [
        (lambda x: np.sum(np.log(x)), lambda x: 1 / x),
        (lambda x: np.sum(np.sqrt(x)), lambda x: 0.5 / np.sqrt(x)),
        (lambda x: np.sum(x**1.5), lambda x: 1.5 * np.sqrt(x)),
        (lambda x: np.sum(x) if np.all(x > 0) else float(x[0]) ** 2, np.ones_like),
    ]
    for f, slope in kinds:
        gradient = Gradient(f, backend="numpy")
        for x in (inside, outside, inside):
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if x is inside:
                    assert_allclose(gradient(x), slope(x), rtol=1e-8)
                else:
                    with contextlib.suppress(TypeError):
                        gradient(x)


@pytest.mark.parametrize("n", [12, 250])
def test_a_refusal_holds_for_its_closure_only(n: int) -> None:
    def make(part: Any) -> Any:
        return lambda x: np.sum(part(x))

    x = np.linspace(0.1, 1.0, n)
    unliftable = [lambda x: x + math.sin(float(x[0])), lambda x: x * float(x[1]), lambda x: x + len(str(x[0]))]
    for bad in unliftable:
        assert_allclose(numerical_gradient(make(lambda x: x**2), x, backend="numpy"), 2 * x, rtol=1e-8)
        with pytest.raises(TypeError, match="lift"):
            numerical_gradient(make(bad), x, backend="numpy")
        assert_allclose(numerical_gradient(make(lambda x: x**2), x, backend="numpy"), 2 * x, rtol=1e-8)


@pytest.mark.parametrize("n", [30, 400])
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_probe_sees_what_does_not_change_with_a_common_shift_or_factor(n: int, backend: str) -> None:
    draws = np.random.default_rng(0)
    A, t, b = draws.normal(size=(20, n)), draws.integers(0, n, 20), np.zeros(n)

    def cross_entropy() -> Any:
        a = A + b
        e = np.exp(a - a.max(axis=1, keepdims=True))
        return -np.mean(np.log((e / e.sum(axis=1, keepdims=True))[np.arange(20), t]))

    readers = [
        cross_entropy,
        lambda: np.var(b + A[0]),
        lambda: np.sum(np.diff(b) ** 2 + np.diff(b)),
        lambda: b[0] - b[-1],
    ]
    for reader in readers:
        f = lambda w, reader=reader: np.sum(w * 1.5) + reader()  # noqa: E731
        reference = numerical_gradient(f, b, backend="python")
        assert_allclose(numerical_gradient(f, b, backend=backend), reference, rtol=1e-5, atol=1e-9)


def test_f_that_swallows_everything_is_not_believed() -> None:
    def f(x: Any) -> Any:
        try:
            return float(x[0]) ** 2 + np.sum(x)
        except BaseException:  # noqa: BLE001
            return np.sum(x) * 3.0

    for n in (20, 300):
        x = spot(n)
        assert_allclose(numerical_gradient(f, x), np.where(np.arange(n) == 0, 1 + 2 * x, 1.0), rtol=1e-6)
        with pytest.raises(TypeError, match="every exception"):
            numerical_gradient(f, x, backend="numpy")


# What decides


def opened(f: Any, x: Any, racing: bool = True, args: tuple[Any, ...] = ()) -> Lifted:
    lifts = ("sparse", "dense") if x.size >= 200 or not racing else ("dense", "sparse")
    return Lifted(Call(f, args), as_point(x), lifts, racing, nature(f, args))


def swept(run: Lifted, x: Any) -> Any:
    return run.sweep(np.arange(x.size), x.reshape(-1)[:, None] + np.array([H, -H]))


def kernel(x: Any) -> Any:
    d = x[:, None] - x[None, :]
    return np.sum(np.exp(-d * d))


def accumulated(x: Any) -> Any:
    for _ in range(12):
        x = np.cumsum(x) / x.size
    return np.sum(x)


def entries(x: Any) -> Any:
    total = 0.0
    for _ in range(30):
        for v in x:
            total = total + v * v
    return total


@pytest.mark.parametrize(
    ("f", "n", "way"),
    [
        (rosenbrock, 20, "dense lift"),
        (rosenbrock, 1000, "sparse lift"),
        (kernel, 100, "sparse lift"),
        (kernel, 20, "dense lift"),
        (lambda x: sum(v * v for v in x), 300, "dense lift"),
        (accumulated, 250, "dense lift"),
    ],
)
def test_the_way_follows_from_counted_work(f: Any, n: int, way: str) -> None:
    x = spot(n)
    runs = [opened(f, x) for _ in range(3)]
    values = [swept(run, x) for run in runs]
    assert {run.way for run in runs} == {way}
    assert len({(run.nfev, v.tobytes()) for run, v in zip(runs, values, strict=True)}) == 1


def test_a_loop_over_few_entries_is_left_to_the_loop() -> None:
    few = spot(6)
    with pytest.raises(CannotRun, match="plain loop is faster"):
        swept(opened(entries, few), few)
    swept(opened(entries, few, racing=False), few)  # asked for, it runs to its end


def test_evaluations_of_abandoned_attempts_are_counted() -> None:
    x = spot(100)
    run = opened(kernel, x)
    swept(run, x)
    assert run.way == "sparse lift"
    assert run.nfev > 2 * x.size + 2  # the points of the dense lift, as far as it came, the check and f(x)
    calls = 0

    def refused(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return float(np.sum(x)) ** 2

    run = opened(refused, x, racing=False)
    with pytest.raises(CannotRun):
        swept(run, x)
    assert run.nfev == 2 * 2 * x.size + 1
    assert calls == 3


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
@pytest.mark.parametrize("h", [None, H])
@pytest.mark.parametrize("n", [8, 40, 300])
def test_the_same_call_gives_the_same_bits_from_any_thread_and_after_any_history(n: int, h: float | None) -> None:
    kinds = [rosenbrock, kernel, entries, lambda x: np.sum(np.abs(x)), lambda x: np.sum(np.log1p(x * x))]
    x = spot(n)

    def answers() -> list[Any]:
        results = [numerical_gradient(f, x, h, full_output=True) for f in kinds]
        return [(g.tobytes(), info.nfev) for g, info in results]

    first = answers()
    for f in kinds:
        numerical_gradient(f, np.zeros(n))
    with ThreadPoolExecutor(4) as pool:
        assert all(result == first for result in pool.map(lambda _: answers(), range(8)))


def test_gradients_within_lifted_functions() -> None:
    x = spot(30)
    weights = x.copy()

    def outer(v: Any) -> Any:
        inner = numerical_gradient(lambda u: np.sum(u**2 * weights), np.ones(30), H)
        return np.sum(inner * v**2)

    def mixed(v: Any) -> Any:
        return np.sum(numerical_gradient(lambda u: np.sum(u**2 * v), np.ones(30), H))

    for backend in ("auto", "python"):
        assert_allclose(numerical_gradient(outer, x, H, backend=backend), 4 * x * x, rtol=1e-6)
        assert_allclose(numerical_gradient(mixed, x, H, backend=backend), 2.0, rtol=1e-6)
