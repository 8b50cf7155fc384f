"""Counted work: when a lift gives up, and that it is the same each time."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from fastgrad.core.call import Call
from fastgrad.lifting import dense, sparse
from fastgrad.lifting.signals import Outrun
from fastgrad.lifting.work import DenseWork, SparseWork, weight


def table(x: Any) -> tuple[Any, Any]:
    return np.arange(x.size), x[:, None] + np.array([1e-4, -1e-4])


def dense_work(f: Any, n: int) -> tuple[str, DenseWork]:
    x = np.linspace(0.5, 1.5, n)
    work = DenseWork(2 * n, racing=True)
    try:
        dense.sweep(Call(f), x, *table(x), work=work)
    except Outrun as outrun:
        return outrun.to, work
    return "", work


def sparse_work(f: Any, n: int) -> tuple[str, SparseWork]:
    x = np.linspace(0.5, 1.5, n)
    work = SparseWork(2 * n, dense.tile_points(n), racing=True)
    try:
        sparse.sweep(Call(f), x, *table(x), work=work)
    except Outrun as outrun:
        return outrun.to, work
    return "", work


def pairs(x: Any) -> Any:
    return np.sum((x[:, None] - x[None, :]) ** 2)


def powers(x: Any) -> Any:
    return np.sum(sum(x**k for k in range(3, 12)))


def walk(x: Any) -> Any:
    total = 0.0
    for _ in range(20):
        for v in x:
            total = total * 0.5 + v
    return total


def smoothed(x: Any) -> Any:
    for _ in range(30):
        x = np.cumsum(x) / x.size
    return np.sum(x)


@pytest.mark.parametrize(
    ("f", "n", "to"),
    [
        (pairs, 100, "sparse"),
        (pairs, 12, ""),
        (powers, 150, "sparse"),
        (powers, 12, ""),
        (walk, 6, "loop"),
        (walk, 60, ""),
        (smoothed, 100, ""),
        (lambda x: np.sum(np.sin(x)) + x[0], 6, ""),
    ],
)
def test_the_dense_lift_gives_way(f: Any, n: int, to: str) -> None:
    assert dense_work(f, n)[0] == to


@pytest.mark.parametrize(
    ("f", "n", "to"), [(pairs, 300, ""), (powers, 300, ""), (smoothed, 300, "dense"), (np.sum, 300, "")]
)
def test_the_sparse_lift_gives_way(f: Any, n: int, to: str) -> None:
    assert sparse_work(f, n)[0] == to


@pytest.mark.parametrize("f", [pairs, powers, walk, smoothed])
def test_the_same_work_is_counted_from_every_thread(f: Any) -> None:
    counted: list[Any] = []

    def count() -> None:
        for n in (6, 40, 120):
            to, work = dense_work(f, n)
            way, other = sparse_work(f, n)
            counted.append((n, to, work.nfev, way, other.nfev, other.lead))

    count()
    alone = counted.copy()
    counted.clear()
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(counted) == set(alone)
    assert len(counted) == 4 * len(alone)


def waves(x: Any) -> Any:
    return np.sum(x**2 - 10.0 * np.cos(x) + 10.0) + np.sum(np.sin(x) * x) + np.sum(np.exp(-(x**2)))


def test_the_first_of_several_tiles_decides() -> None:
    """At 199 entries there are three: what one loses, the other two would lose again."""
    to, work = dense_work(waves, 199)
    assert to == "sparse"
    assert work.nfev <= dense.tile_points(199)
    assert dense_work(waves, 60)[0] == ""


def test_a_large_array_is_counted_before_it_is_made() -> None:
    made = []

    def f(x: Any) -> Any:
        differences = np.ones((400, 1)) - x
        made.append(differences)
        return np.sum(differences)

    assert dense_work(f, 150)[0] == "sparse"
    assert made == []


def test_products_of_two_perturbed_arrays_are_counted() -> None:
    """Each entry of x changes a row of both factors: their differences are multiplied point by point."""
    rows = np.random.default_rng(1).normal(size=(40, 60))
    to, _ = sparse_work(lambda x: np.sum((rows / x) @ (rows / x).T), 60)
    assert to == "dense"


def test_without_a_race_nobody_gives_up() -> None:
    x = np.linspace(0.5, 1.5, 60)
    for f in (pairs, powers, walk, smoothed):
        work = DenseWork(2 * x.size)
        dense.sweep(Call(f), x, *table(x), work=work)
        assert work.nfev >= 2 * x.size
        other = SparseWork(2 * x.size)
        sparse.sweep(Call(f), x, *table(x), work=other)
        assert other.nfev >= 2 * x.size
        assert other.lead == np.inf


def test_functions_are_weighed() -> None:
    foreign = np.frompyfunc(abs, 1, 1)
    assert 0.0 == weight(np.add) < weight(np.exp) < weight(np.hypot) < weight(foreign)


def of_entries(x: Any) -> Any:
    return sum(math.exp(v) for v in x)


def of_totals(x: Any) -> Any:
    total = sum(v * v for v in x) + sum(x[i] * x[i - 1] for i in range(len(x)))
    return math.sqrt(1.0 + total) + math.exp(-total)


@pytest.mark.parametrize(("f", "to"), [(of_entries, "loop"), (of_totals, "")])
def test_functions_of_math_are_a_loop_of_calls_unless_long_loops_go_before_them(f: Any, to: str) -> None:
    for n in (30, 200):  # in one tile, and in several
        assert dense_work(f, n)[0] == to
