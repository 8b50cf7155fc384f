"""What the tests share: settings, and the oracle of a finite difference."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import CodeType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from numpy.typing import NDArray

from fastgrad.schemes.stencils import Stencil

# derandomised: a failure in one run is a failure in every run; and on a busy machine nothing is too slow
settings.register_profile(
    "fastgrad",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastgrad")
# nor are constants taken from the modules that are imported by then: which these are hangs on the tests before
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants


def pytest_collection_finish() -> None:
    """Set aside what has been collected: for each full collection to look through it takes 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def collector_at_rest() -> Iterator[None]:
    """No collection that nobody asked for, and none that hypothesis watches: what is raised by its hook is lost.

    An interrupt is, and pytest keeps what was lost, with all that its frames hold.
    """
    hooks = gc.callbacks[:]
    gc.collect()
    gc.callbacks.clear()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.callbacks[:] = hooks


@pytest.fixture
def ctrl_c(collector_at_rest: None) -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """Ctrl-C while this thread is seen in some code, which must answer before a second of work is done.

    No clock on the wall decides: a loaded machine gives the process less time, and what it does in it counts.
    Nothing may be compiled within: an interrupt within a callback of the compiler's is lost.
    """
    here = threading.get_ident()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

    def runs(code: tuple[CodeType, ...]) -> bool:
        frame = sys._current_frames().get(here)
        while frame is not None and frame.f_code not in code:
            frame = frame.f_back
        return frame is not None

    @contextmanager
    def sent(*code: CodeType) -> Iterator[None]:
        over, spent = threading.Event(), [0.0]

        def watch() -> None:
            seen = 0
            while not over.wait(1e-3):
                seen += runs(code)
                if seen == 10:
                    spent[0] = time.process_time()
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
            worked = time.process_time() - spent[0]
        finally:
            over.set()
            thread.join()
        assert worked < 1.0

    yield sent
    signal.signal(signal.SIGINT, previous)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)


def stencil_of_exact_gradient(
    gradient: Callable[..., Any], x: NDArray[Any], args: tuple[Any, ...], i: int, h: float, stencil: Stencil
) -> float:
    """Return what a stencil gives for f along coordinate i, without evaluating f.

    f(x + o h e_i) - f(x) is the integral of the partial derivative, here by Gauss-Legendre quadrature of the exact one.
    So the truncation error is in the expected value, and the tolerance is for round-off only.
    """
    if stencil.imaginary:
        return float(gradient(x, *args).flat[i])
    total = 0.0
    for offset, weight in zip(stencil.offsets, stencil.weights, strict=True):
        reach = float(offset) * h
        mean = 0.0
        for node, share in zip(NODES, WEIGHTS, strict=True):
            y = x.copy()
            y.flat[i] += 0.5 * reach * (node + 1.0)
            mean += 0.5 * share * gradient(y, *args).flat[i]
        total += float(weight * offset) * mean
    return total


@pytest.fixture
def expected() -> Callable[..., float]:
    return stencil_of_exact_gradient
