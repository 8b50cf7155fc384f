"""A gradient inside the user's compiled code: the values from outside, f's own exceptions, and nothing leaked."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba import config, njit
from numba.core.runtime import _nrt_python, rtsys

from fastgrad import Gradient
from fastgrad.backends.compiled.callable import make_jitted
from fastgrad.core.call import Call
from fastgrad.core.errors import CannotRun
from fastgrad.schemes.stencils import central, forward
from fastgrad.schemes.steps import step_rule

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


@njit
def f(x, factor, weights):
    if x[0] > 2.0:
        raise ValueError("too far")
    return factor * np.exp(x[0]) + weights[0] * x[1] ** 2 + weights[1] * np.sin(x[0] * x[1])


WEIGHTS = np.array([2.0, 3.0])


CENTRAL, FORWARD = central(2), forward(1)


def made(h: float | None, stencil: Any = CENTRAL, method: str = "central") -> tuple[Any, Gradient]:
    outside = Gradient(f, h, method=method)
    rule = None if h is None else step_rule(h, None, stencil, (2,))
    return make_jitted(Call(f), stencil, rule, lambda x, args: outside(x, *args)), outside


@pytest.mark.parametrize(
    ("h", "stencil", "method"),
    [
        pytest.param(1e-4, CENTRAL, "central", marks=pytest.mark.slow),
        pytest.param(1e-6, FORWARD, "forward", marks=pytest.mark.slow),
        pytest.param(None, CENTRAL, "central", marks=pytest.mark.slow),
    ],
)
def test_the_values_from_outside_and_what_f_raises(h: Any, stencil: Any, method: str) -> None:
    gradient, outside = made(h, stencil, method)

    @njit
    def descend(x, steps):
        for _ in range(steps):
            x = x - 0.01 * gradient(x, 2, WEIGHTS)
        return x

    x = np.array([0.3, 0.7])
    expected = x.copy()
    for _ in range(5):
        expected = expected - 0.01 * outside(expected, 2, WEIGHTS)
    np.testing.assert_array_equal(descend(x, 5), expected)
    for start in ([1.0, 2.0], [0.0, 0.0], [0.5, 1e-9]):  # not all of them are calm
        point = np.array(start)
        np.testing.assert_array_equal(gradient(point, 2, WEIGHTS), outside(point, 2, WEIGHTS))
    twice = np.repeat(x, 2)[::2]
    np.testing.assert_array_equal(gradient(twice, 2, WEIGHTS), outside(x, 2, WEIGHTS))
    with pytest.raises(ValueError, match="too far"):
        descend(np.array([2.5, 1.0]), 1)
    np.testing.assert_array_equal(x, [0.3, 0.7])


def leaked(call: Any) -> int:
    """How many blocks of memory 50 calls leave behind."""
    for turn in range(51):
        if turn == 1:
            before = rtsys.get_allocation_stats()
        with pytest.raises(ValueError, match="too far"):
            call(np.array([2.5, 1.0]))
    after = rtsys.get_allocation_stats()
    return int(after.mi_alloc - before.mi_alloc - after.mi_free + before.mi_free)


@pytest.fixture
def counted() -> Any:
    """Let numba count what it allocates."""
    _nrt_python.memsys_enable_stats()
    yield
    _nrt_python.memsys_disable_stats()


@pytest.mark.skipif(
    numba.version_info.short == (0, 60), reason="where f raises, numba 0.60 also leaks what the frames above it hold"
)
@pytest.mark.usefixtures("counted")
def test_no_more_leaks_when_f_raises_than_without_us() -> None:
    gradient, _ = made(1e-4)

    @njit
    def inside(x):
        return gradient(x, 2, WEIGHTS)

    @njit
    def alone(x):  # what raises in numba's code holds on to its arguments
        return f(x, 2, WEIGHTS)

    assert leaked(inside) <= leaked(alone)


def test_a_plain_function_has_none() -> None:
    with pytest.raises(CannotRun):
        make_jitted(Call(lambda x: x @ x), central(2), None, lambda x, args: x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"h": 1e-4},
        pytest.param({"h": 1e-6, "method": "forward"}, marks=pytest.mark.slow),
        pytest.param({"h": np.array([1e-4, 1e-5])}, marks=pytest.mark.slow),
    ],
)
def test_jitted_has_the_bits_of_the_gradient(options: dict[str, Any]) -> None:
    outside = Gradient(f, **options)
    slope = outside.jitted
    assert outside.jitted is slope

    @njit
    def descend(x, steps):
        for _ in range(steps):
            x = x - 0.01 * slope(x, 2, WEIGHTS)
        return x

    expected = np.array([0.3, 0.7])
    for _ in range(5):
        expected = expected - 0.01 * outside(expected, 2, WEIGHTS)
    np.testing.assert_array_equal(descend(np.array([0.3, 0.7]), 5), expected)
    with pytest.raises(ValueError, match="too far"):
        descend(np.array([2.5, 1.0]), 1)


def test_jitted_says_what_it_cannot_do() -> None:
    with pytest.raises(TypeError, match="njit"):
        _ = Gradient(lambda x: x @ x).jitted
    refused: list[dict[str, Any]] = [
        {"bounds": (0, 1)},
        {"indices": [0]},
        {"remember": True},
        {"args": (1.0,)},
        {"noise": 0.0},
        {"workers": 2},
        {"fastmath": True},
        {"dtype": "keep"},
        {"method": "complex"},
        {"method": "adaptive"},
        {"backend": "python"},
    ]
    for options in refused:
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` cannot be honoured"):
            _ = Gradient(f, **options).jitted
