"""What is done around a gradient: little, and around a compiled one next to nothing; and still nothing wrong."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import tracemalloc
import types
import weakref
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from numba import config, njit

from fastgrad import Gradient, numerical_gradient
from fastgrad import gradient as gradient_module
from fastgrad.backends import judged
from fastgrad.backends.compiled import cache
from fastgrad.core.point import exclusive

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


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


@njit
def of_matrix(x):
    total = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            total += (i + 1) * x[i, j] ** 2 + j * x[i, j]
    return total


@njit
def weighted(x, w):
    total = 0.0
    for i in range(x.size):
        total += w * x[i] ** 3
    return total


def settled(gradient: Gradient, x: Any) -> Gradient:
    """After its first call it has found its shortest way."""
    gradient(x)
    way = gradient._quick._fused[x.shape]
    assert way is not None
    assert way(x, (), np.empty(x.shape))
    return gradient


POINTS = [np.array([0.3, 0.7]), np.linspace(0.5, 1.5, 10), np.linspace(-1.0, 2.0, 101)]


@pytest.mark.parametrize("x", POINTS, ids=len)
@pytest.mark.parametrize("options", [{}, {"h": 1e-4}, {"h": "fixed"}, {"method": "forward"}, {"order": 4, "h": 1e-3}])
def test_the_shortest_way_gives_the_bits_of_the_general_one(x: Any, options: dict[str, Any]) -> None:
    gradient = Gradient(rosenbrock, **options)
    if "h" in options:
        settled(gradient, x)
    near, out = gradient(x), np.empty_like(x)
    assert gradient(x, out=out) is out
    np.testing.assert_array_equal(near, out)
    if options.get("h") is not None:  # order 4 is summed in another order there
        np.testing.assert_allclose(near, gradient.with_info(x)[0], rtol=1e-14 if "order" in options else 0.0)
    np.testing.assert_array_equal(gradient(x), near)


@pytest.mark.parametrize("h", [pytest.param(None, marks=pytest.mark.slow), 1e-4])
def test_two_dimensions_and_several_shapes_in_turn(h: float | None) -> None:
    gradient = Gradient(of_matrix, h)
    for turn in range(4):
        for shape in ((2, 3), (3, 2), (1, 6)):
            x = np.arange(6.0).reshape(shape) + turn
            i, j = np.indices(shape)
            np.testing.assert_allclose(gradient(x), 2.0 * (i + 1) * x + j, rtol=1e-7)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("h", [None, 1e-4])
def test_x_that_is_not_finite_is_named(wrong: float, h: float | None) -> None:
    x = np.array([0.5, 0.6, 0.7])
    gradient = Gradient(rosenbrock, h)
    gradient(x)
    x[1] = wrong
    with pytest.raises(ValueError, match="`x` must be finite.*coordinate 1"):
        gradient(x)
    with pytest.raises(ValueError, match="`x` must be finite.*coordinate 1"):
        gradient(x, out=np.empty(3))
    x[1] = 1e300
    with pytest.raises(ValueError, match=r"`h`"):
        settled(Gradient(rosenbrock, 1e-4), np.array([0.5, 0.6, 0.7]))(x)


class Own(np.ndarray):
    pass


@pytest.mark.parametrize(
    "like",
    [
        lambda x: x.tolist(),
        lambda x: x.astype(np.float32),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.view(Own),
        lambda x: x.astype(">f8"),
        lambda x: np.frombuffer(x.tobytes()),
        lambda x: np.frombuffer(b"1234" + x.tobytes(), np.uint8)[4:].view(np.float64),
        lambda x: x.astype(object).astype(float),
    ],
    ids=["list", "float32", "strided", "reversed", "subclass", "big-endian", "read-only", "unaligned", "again"],
)
def test_other_kinds_of_x_get_the_same_gradient(like: Any) -> None:
    x = np.array([0.5, 1.0, 1.5])  # exact in float32
    gradient = settled(Gradient(rosenbrock, 1e-4), x)
    result = gradient(like(x))
    np.testing.assert_allclose(result, gradient(x), rtol=1e-6)
    assert result.shape == (3,)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x[:], lambda x: np.concatenate([x, x])[1:4]])
def test_out_may_be_x_itself(make: Any) -> None:
    x = np.array([0.5, 0.6, 0.7])
    gradient = Gradient(rosenbrock)
    expected, given = gradient(x), x.copy()
    out = make(given)
    assert gradient(given, out=out) is out
    np.testing.assert_array_equal(out, expected)
    far = x + 30.0
    expected = Gradient(rosenbrock)(far)
    np.testing.assert_allclose(gradient(far, out=far), expected, rtol=1e-9)


def test_out_of_other_kinds() -> None:
    x = np.array([0.5, 0.6, 0.7])
    gradient = settled(Gradient(rosenbrock, 1e-4), x)
    expected = gradient(x)
    for out in (np.empty(6)[::2], np.empty(3, np.float32), np.empty(3).view(Own)):
        assert gradient(x, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-6)
    for wrong in (np.empty(2), np.empty((3, 1)), [0.0] * 3):
        with pytest.raises(ValueError, match="`out` must be an array of floats of the result's shape"):
            gradient(x, out=wrong)
    with pytest.raises(ValueError, match="read-only"):
        gradient(x, out=np.frombuffer(bytes(24)))


def test_out_means_that_nothing_is_allocated() -> None:
    x = np.linspace(0.5, 1.5, 1000)
    gradient, out = settled(Gradient(rosenbrock, "fixed"), x), np.empty(1000)
    tracemalloc.start()
    try:
        gradient(x, out=out)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(5):
            gradient(x, out=out)
        assert tracemalloc.get_traced_memory()[1] - before < 1000  # a result would take 8000 bytes
        gradient(x)
        assert tracemalloc.get_traced_memory()[1] - before > 8000
    finally:
        tracemalloc.stop()


def test_an_f_that_raises_is_called_again_as_before() -> None:
    @njit
    def f(x):
        if x[0] > 0.75:
            raise ArithmeticError("too far")
        return x[0] ** 2 + x[1]

    x, far = np.array([0.5, 1.0]), np.array([0.8, 1.0])
    gradient = settled(Gradient(f, 1e-4), x)
    for _ in range(3):
        with pytest.raises(ArithmeticError, match="too far"):
            gradient(far)
        np.testing.assert_array_equal(far, [0.8, 1.0])
        np.testing.assert_allclose(gradient(x), [1.0, 1.0], rtol=1e-9)
    settled(gradient, x)


def test_a_gradient_in_use_by_other_threads() -> None:
    x = np.linspace(0.5, 1.5, 200)
    gradient = settled(Gradient(rosenbrock, 1e-4), x)
    expected = [gradient(x + 0.1 * i) for i in range(8)]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(300) if not np.array_equal(gradient(x + 0.1 * i), expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_is_taken_from_an_x_that_may_be_perturbed_in_place() -> None:
    x = np.array([0.5, 0.6])
    way = settled(Gradient(rosenbrock, 1e-4), x)._quick._fused[x.shape]
    assert way is not None
    with exclusive(np.empty(3)):
        assert not way(x, (), np.empty(2))
    assert way(x, (), np.empty(2))


def test_what_f_has_captured_is_still_checked() -> None:
    data = np.array([1.0, 2.0])

    @njit
    def f(x):
        return x[0] * data[0] + x[1] * data[1]

    x = np.array([0.5, 0.6])
    gradient = Gradient(f, 1e-4)
    for _ in range(4):
        np.testing.assert_allclose(gradient(x), [1.0, 2.0], rtol=1e-9)
    data[0] = 5.0
    with pytest.raises(ValueError, match="captured 'data'"):
        gradient(x)
    f.recompile()
    np.testing.assert_allclose(gradient(x), [5.0, 2.0], rtol=1e-9)


@pytest.mark.parametrize("h", [pytest.param(None, marks=pytest.mark.slow), 1e-4])
def test_extra_arguments_of_several_kinds(h: float | None) -> None:
    x = np.array([0.5, 2.0])
    gradient = Gradient(weighted, 1e-4, args=(2.0,))
    for _ in range(3):
        np.testing.assert_allclose(gradient(x), 6.0 * x**2, rtol=1e-7)
        np.testing.assert_allclose(gradient(x, 3), 9.0 * x**2, rtol=1e-7)
        np.testing.assert_allclose(numerical_gradient(weighted, x, h, args=(2.0,)), 6.0 * x**2, rtol=1e-7)
        np.testing.assert_allclose(numerical_gradient(weighted, x, h, args=4.0), 12.0 * x**2, rtol=1e-7)


def test_a_component_that_gets_worse_is_looked_at_again() -> None:
    @njit
    def f(x, sharp):
        return np.exp(sharp * x[0]) + x[1] ** 2

    x = np.array([0.5, 0.7])
    gradient = Gradient(f)
    for _ in range(4):
        gradient(x, 1.0)
    for sharp in (1.0, 4.0):
        np.testing.assert_allclose(gradient(x, sharp), [sharp * np.exp(sharp * x[0]), 1.4], rtol=1e-8)


def test_one_shot_calls_share_a_gradient_of_a_compiled_f() -> None:
    gradient_module._shared.cache_clear()
    x = np.linspace(0.5, 1.5, 10)
    for h in (None, 1e-4):
        for _ in range(3):
            numerical_gradient(rosenbrock, x, h)
    info = gradient_module._shared.cache_info()
    assert (info.currsize, info.hits) == (2, 4)
    assert info.maxsize == 64
    np.testing.assert_array_equal(numerical_gradient(rosenbrock, x, np.full(10, 1e-4)), Gradient(rosenbrock, 1e-4)(x))
    for wrong in ({"workers": True}, {"order": 2.0}, {"batch_axis": False}, {"h": True}):
        with pytest.raises((TypeError, ValueError), match=f"`{next(iter(wrong))}`"):
            numerical_gradient(rosenbrock, x, **wrong)


def test_a_plain_f_is_not_kept_alive() -> None:
    f = lambda x: x @ x  # noqa: E731
    f.py_func = f  # type: ignore[attr-defined]  # it may look like a compiled one
    alive = weakref.ref(f)
    np.testing.assert_allclose(numerical_gradient(f, np.array([3.0, 4.0])), [6.0, 8.0], rtol=1e-9)
    del f.py_func  # type: ignore[attr-defined]
    del f
    gc.collect()
    assert alive() is None


def test_a_settled_gradient_can_be_pickled() -> None:
    x = np.array([3.0, 4.0])
    gradient = settled(Gradient(rosenbrock, 1e-4), x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(gradient))(x), gradient(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mask_is_not_taken_for_the_equal_tuple_of_integers(compiled: bool) -> None:
    def f(x):  # type: ignore[no-untyped-def]
        return x[0] ** 2 + 2.0 * x[1] ** 2

    function = njit(f) if compiled else f
    x = np.array([1.0, 2.0])
    for indices, expected in (((1, 0), [8.0, 2.0]), ((True, False), [2.0]), ((1, 0), [8.0, 2.0])):
        np.testing.assert_allclose(numerical_gradient(function, x, 1e-4, indices=indices), expected, rtol=1e-8)


def test_an_array_in_a_captured_tuple_is_frozen_too() -> None:
    data = (np.array([2.0]), (np.array([3.0]),))

    @njit
    def f(x):  # type: ignore[no-untyped-def]
        return data[0][0] * data[1][0][0] * x[0] ** 2

    x = np.ones(1)
    prepared = Gradient(f, 1e-4)
    for gradient in (prepared, lambda x: numerical_gradient(f, x, 1e-4)):
        np.testing.assert_allclose(gradient(x), [12.0], rtol=1e-8)
    data[1][0][0] = 5.0
    for gradient in (prepared, lambda x: numerical_gradient(f, x, 1e-4)):
        with pytest.raises(ValueError, match="captured 'data'"):
            gradient(x)


def test_a_module_in_a_module_is_frozen_too() -> None:
    outer, inner = types.ModuleType("outer"), types.ModuleType("inner")
    outer.inner, inner.factor = inner, 2.0  # type: ignore[attr-defined]
    space: dict[str, Any] = {"outer": outer}
    exec("def f(x):\n    return outer.inner.factor * x[0] ** 2", space)
    f, x = njit(space["f"]), np.ones(1)
    np.testing.assert_allclose(numerical_gradient(f, x, 1e-4), [4.0], rtol=1e-8)
    inner.factor = 5.0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="captured 'outer.inner.factor'"):
        numerical_gradient(f, x, 1e-4)


OWN = str(Path(gradient_module.__file__).parent)


def work_of(call: Callable[[], object]) -> tuple[int, int]:
    """How many frames and bytecodes of fastgrad's own a call takes, when it is not the first: no clock is as exact."""
    frames = bytecodes = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal frames, bytecodes
        if not frame.f_code.co_filename.startswith(OWN):
            return None
        frame.f_trace = trace  # first: from Python 3.13 on bytecodes are traced only where it is there
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        frames += event == "call"
        bytecodes += event == "opcode"
        return trace

    call()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return frames, bytecodes


@pytest.mark.parametrize(
    ("n", "options", "most_frames", "most_bytecodes"),
    [
        (2, {}, 16, 2400),  # 150 of them make the points of the line, and save 1.2 us of three calls of numpy
        (5, {}, 16, 3120),
        (2, {"h": 1e-4}, 16, 1050),
        (5, {"h": 1e-4}, 16, 1550),
        (2, {"method": "forward"}, 38, 3600),
        (5, {"method": "forward"}, 45, 5150),  # 91 of them ask whether rounding hides the three that f does not read
    ],
)
def test_how_much_a_one_shot_call_of_a_plain_f_takes(
    n: int, options: dict[str, Any], most_frames: int, most_bytecodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "LOADS", inf)
    monkeypatch.setattr(judged, "GRADIENTS", judged.Awaited("gradients", 1.0, inf))  # the rule in plain floats
    x = np.arange(3.0, 3.0 + n)
    frames, bytecodes = work_of(lambda: numerical_gradient(lambda x: x[0] ** 2 / 20.0 + x[1] ** 2, x, **options))
    assert 0 < frames <= most_frames
    assert 0 < bytecodes <= most_bytecodes


@pytest.mark.parametrize(
    ("steep", "most_frames", "most_bytecodes"),
    [(1.0, 20, 3700), (3.0, 80, 8900)],  # 71 and 6,963, 198 and 11,660 where the whole rule decides
    ids=["bends", "other steps"],
)
def test_how_much_a_closer_look_takes(
    steep: float, most_frames: int, most_bytecodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "LOADS", inf)
    monkeypatch.setattr(judged, "GRADIENTS", judged.Awaited("gradients", 1.0, inf))
    x = np.array([0.3, 1.5, -0.7, 0.1, 1.0])
    frames, bytecodes = work_of(lambda: numerical_gradient(lambda x: np.exp(steep * x).sum(), x))
    assert 0 < frames <= most_frames
    assert 0 < bytecodes <= most_bytecodes
