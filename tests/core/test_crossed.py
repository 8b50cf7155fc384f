"""Gradients within gradients, in threads that want each other's arrays: nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastgrad.core.point as point_module
from fastgrad import numerical_gradient


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("options", [{}, {"backend": "python"}], ids=["auto", "python"])
def test_crossed_gradients_in_two_threads_do_not_wait_for_each_other(n: int, options: Any) -> None:
    arrays = np.arange(1.0, n + 1), np.arange(2.0, n + 2)
    inside = [threading.Event(), threading.Event()]

    def work(i: int) -> Any:
        mine, other = arrays[i], arrays[1 - i]

        def f(_: Any) -> float:
            if not inside[i].is_set():
                inside[i].set()
                inside[1 - i].wait(0.3)  # each holds its array, as far as both can
            return float(mine @ numerical_gradient(lambda _: np.sum(other**2), other, 1e-3, **options))

        return numerical_gradient(f, mine, 1e-3, **options)

    before = [array.copy() for array in arrays]
    found: list[Any] = [None, None]

    def note(i: int) -> None:
        try:
            found[i] = work(i)
        except RuntimeError as error:
            found[i] = error

    threads = [threading.Thread(target=note, args=(i,), daemon=True) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300.0)
        assert not thread.is_alive()
    assert sum(isinstance(one, RuntimeError) for one in found) < 2
    for i, one in enumerate(found):
        if isinstance(one, RuntimeError):
            assert "wait for ever" in str(one)
        else:
            assert_allclose(one, 2 * arrays[1 - i], rtol=1e-6)
        assert_array_equal(arrays[i], before[i])
    assert not point_module._waiting
    assert_allclose(work(0), 2 * arrays[1], rtol=1e-6)  # nobody holds anything


def test_waiting_within_another_gradient_is_no_deadlock() -> None:
    shared = np.arange(1.0, 5.0)

    def work(i: int) -> Any:
        mine = np.arange(1.0 + i, 4.0 + i)

        def f(_: Any) -> float:
            return float(np.sum(mine) * np.sum(numerical_gradient(lambda _: np.sum(shared**2), shared, 1e-3)))

        return numerical_gradient(f, mine, 1e-3)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(12)):
            assert_allclose(found, np.full(3, 2 * shared.sum()), rtol=1e-6)
