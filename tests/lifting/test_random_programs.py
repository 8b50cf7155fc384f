"""Random programs through both lifts, against the plain loop: the same numbers, or a refusal; never a fault."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from fastgrad.core.call import Call
from fastgrad.lifting import dense, sparse
from fastgrad.lifting.signals import Signal
from tests.lifting.programs import Program

H = 1e-3
BLOCK = 25
QUICK, SLOW = range(12), range(12, 252)


def loop(program: Program, index: Any, points: Any) -> Any:
    values = np.empty(points.shape)
    for row, i in enumerate(index):
        for column, entry in enumerate(points[row]):
            x = program.x.copy()
            x[i] = entry
            values[row, column] = program.f(x)
    return values


def table(program: Program, seed: int) -> tuple[Any, Any]:
    """All components, those from one on, or a few of them."""
    numbers = np.random.default_rng(seed)
    index = np.arange(program.x.size)
    choice = numbers.random()
    if choice < 0.2:
        index = index[numbers.integers(index.size - 1) :]
    elif choice < 0.3:
        index = numbers.choice(index, size=2 + index.size // 3, replace=False)
    return index, program.x[index, None] + np.array([H, -H])


def assert_close(program: Program, got: Any, expected: Any, scale: float) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            got, expected, rtol=1e-9, atol=1e-12 * (1.0 + scale), err_msg=program.source + repr(program.x.tolist())
        )


def by_dense(program: Program, seed: int) -> None:
    index, points = table(program, seed)
    tile_bytes = (1, 2000, 10**6)[seed % 3]
    values = dense.sweep(Call(program.f), program.x, index, points, tile_bytes=tile_bytes)
    expected = loop(program, index, points)
    assert_close(program, values, expected, np.abs(expected).max())


def by_sparse(program: Program, seed: int) -> None:
    index, points = table(program, seed)
    base, values, *_ = sparse.sweep(Call(program.f), program.x, index, points)
    expected = loop(program, index, points)
    assert_close(program, base + values, expected, np.abs(expected).max())


def by_one_side(program: Program, seed: int) -> None:
    """Slopes of one side at a tiny step: those of the central difference, wherever no tie is reported."""
    index, _ = table(program, seed)
    found = sparse.differences(Call(program.f), program.x, index, np.full((index.size, 1), 2.0**-80))
    if found is None:
        raise Signal("rounded")
    h = 1e-5
    values = loop(program, index, program.x[index, None] + np.array([h, -h, 2 * h, -2 * h]))
    near, far = values[:, 0] - values[:, 1], values[:, 2] - values[:, 3]
    central, wider = near / (2 * h), far / (4 * h)
    slopes = found.values[:, 0] * 2.0**80
    rounding = 1e-15 * (1.0 + np.abs(values).max()) / h
    doubt = 10.0 * np.abs(central - wider) + 10.0 * rounding + 1e-8 * np.abs(central).max()
    wrong = ~found.tied & ~(np.abs(slopes - central) <= doubt)
    assert not wrong.any(), f"{np.flatnonzero(wrong)}\n{slopes}\n{central}\n{program.source}{program.x.tolist()}"


def outcomes(check: Any, block: int, ties: bool = False) -> Counter[str]:
    counted: Counter[str] = Counter()
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        program = Program(seed, ties)
        try:
            with np.errstate(all="ignore"):
                check(program, seed)
        except Signal as refusal:
            counted[str(refusal)] += 1
        else:
            counted["lifted"] += 1
    return counted


BLOCKS = [*QUICK, *(pytest.param(block, marks=pytest.mark.slow) for block in SLOW)]


@pytest.mark.parametrize("block", BLOCKS)
def test_dense(block: int) -> None:
    counted = outcomes(by_dense, block)
    assert counted["lifted"] >= 0.8 * BLOCK, counted


@pytest.mark.parametrize("block", BLOCKS)
def test_sparse(block: int) -> None:
    counted = outcomes(by_sparse, block)
    assert counted["lifted"] >= 0.6 * BLOCK, counted


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("block", BLOCKS)
def test_one_side(block: int, ties: bool) -> None:
    counted = outcomes(by_one_side, block, ties)
    assert counted["lifted"] >= 0.4 * BLOCK, counted
