"""A compiled f that raises leaves nothing behind, in any form: numba's code keeps what it was given."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import config, njit, typed

from fastgrad import Gradient, gradient_descent, numerical_gradient
from fastgrad.core.validation import Floats

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


@njit
def f(x, weights):
    if x[-1] > 1.0:
        raise ValueError("too far")
    return x[0] * weights[0]


@njit
def alone(x):
    if x[-1] > 1.0:
        raise ValueError("too far")
    return x[0] ** 2


SIZE, CALLS = 20_000, 300
Form = Callable[[Floats], Any]
FORMS: dict[str, Form] = {
    "one-shot": lambda x: numerical_gradient(alone, x),
    "one-shot, h": lambda x: numerical_gradient(alone, x, 1e-4),
    "info": lambda x: Gradient(alone, 1e-4).with_info(x),
    "threads": lambda x: numerical_gradient(alone, x, 1e-4, workers=2),
    "prepared": Gradient(alone),
    "prepared, h": Gradient(alone, 1e-4),
    "eager": Gradient(alone, compile="eager"),
    "eager, h": Gradient(alone, 1e-4, compile="eager"),
    "eager, forward": Gradient(alone, 1e-6, method="forward", compile="eager"),
    "descent": lambda x: gradient_descent(alone, x, lr=1e-3, step_num=10**6),
}


def resident() -> int:
    """How much memory the process has, in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of the process")
@pytest.mark.parametrize("form", FORMS)
def test_memory_stays_as_it_is(form: str) -> None:
    x = np.zeros(SIZE)
    x[-1] = 1.5

    def many(calls: int) -> None:
        for _ in range(calls):
            with pytest.raises(ValueError, match="too far"):
                FORMS[form](x)

    many(50)
    grown = []
    for _ in range(3):  # a leak is one each time; what else the process may begin to keep meanwhile is not
        before = resident()
        many(CALLS)
        grown.append(resident() - before)
        if grown[-1] < CALLS * SIZE * 8 // 10:  # less than a tenth of x a call
            return
    pytest.fail(f"it grew by {grown} bytes in {CALLS} calls each")


def test_the_callers_arrays_are_not_kept() -> None:
    # with h: by default f is called alone in the end, and numba's own code keeps what it gets
    gradient, x, weights, out = Gradient(f, 1e-4, compile="eager"), np.full(30, 1.5), np.ones(3), np.empty(30)
    before = [sys.getrefcount(a) for a in (x, weights, out)]
    for _ in range(20):
        with pytest.raises(ValueError, match="too far"):
            gradient(x, weights, out=out)
    assert [sys.getrefcount(a) for a in (x, weights, out)] == before


@pytest.mark.parametrize("h", [pytest.param(None, marks=pytest.mark.slow), 1e-4])
def test_arguments_that_numba_counts(h: float | None) -> None:
    @njit
    def scaled(x, factors):
        return x[0] ** 2 * len(factors)

    gradient = Gradient(scaled, h, backend="numba", compile="eager")
    text = "".join(map(chr, (97, 98)))
    counts = []
    for _ in range(5):
        np.testing.assert_allclose(gradient(np.ones(3), text), [4.0, 0.0, 0.0], atol=1e-9)
        counts.append(sys.getrefcount(text))
    assert counts[1:] == counts[:-1]
    np.testing.assert_allclose(gradient(np.ones(3), typed.List([2.0, 3.0])), [4.0, 0.0, 0.0], atol=1e-9)
