"""Functions of many values in lanes: f's own bits at each point, or word that it is to be evaluated point by point."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config, njit, typeof

from fastgrad.lifting.lanes import BLOCK, CannotLift, call_lanes, compile_lanes_of_outputs
from tests.lifting.test_lanes import UNHURRIED, bits, expression, number, statement

if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


compiled = cache(compile_lanes_of_outputs)


@njit
def run(address, x, tile, here, out, blocks, every, args):
    return call_lanes(address, (x, tile, here, out, blocks, every, args))


def assert_same(f: Any, x: Any, table: Any, before: Any = (), after: Any = (), filled: Any = None) -> bool:
    """Compare f in lanes with f at each row of a table, and at x; returns whether the lanes agreed."""

    def plainly(point: Any) -> Any:
        if filled is None:
            return np.array(f(*before, point.copy(), *after), dtype=float)
        out = np.zeros(filled)
        f(*before, point.copy(), out, *after)
        return out

    here = plainly(x)
    kinds = tuple(tuple(map(typeof, args)) for args in (before, after))
    lifted = compiled(f, x.ndim, *kinds, filled is not None, here.ndim)
    lanes, wanted = np.resize(table, (lifted.width, *x.shape)), []
    tile = np.ascontiguousarray(lanes.reshape(lifted.width, -1).T)
    for point in lanes:
        try:
            wanted.append(plainly(point).reshape(-1))
        except (ArithmeticError, ValueError):
            wanted.append(None)
    for every in (True, False):
        out, blocks = np.full((lifted.width, here.size), 77.0), np.full(here.size // BLOCK + 1, -1)
        count = run(lifted.address, x, tile, here, out, blocks, every, before + after)
        if count < 0:
            return False
        listed = np.isin(np.arange(here.size) // BLOCK, blocks[:count] // BLOCK)
        assert listed.all() or not every
        for row, values in zip(out, wanted, strict=True):
            assert values is not None, "f raises there"
            np.testing.assert_array_equal(bits(row[listed]), bits(values[listed]))
            np.testing.assert_array_equal(values[~listed], here.reshape(-1)[~listed])
    return True


@njit
def chain(x):
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = math.sin(x[i]) * x[i - 1] + 1.0 / (2.0 + x[i] ** 2)
    return out


@njit
def sums(x):
    return np.array([np.sum(x), x[0] * x[1], 3.0])


CASES = {
    "a loop": (chain, {}),
    "numbers": (sums, {}),
    "an array expression": (njit(lambda x: np.exp(x) - 2.0 * x[::-1]), {}),
    "x backwards": (njit(lambda x: x[::-1]), {}),
    "x itself": (njit(lambda x: x), {}),
    "a matrix": (njit(lambda x: np.outer(x, x[:3])), {}),
    "transposed": (njit(lambda x: np.outer(x, x[:3]).T.copy()), {}),
    "a constant": (njit(lambda x: np.ones(3)), {}),
    "a product": (njit(lambda x, a: a @ x), {"after": (np.random.default_rng(0).normal(size=(5, 37)),)}),
}


LONG = ("a matrix", "transposed", "a product", "numbers", "an array expression")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CASES])
def test_values(name: str) -> None:
    f, how = CASES[name]
    rng = np.random.default_rng(0)
    assert assert_same(f, rng.normal(size=37), rng.normal(size=(8, 37)), **how)


def test_a_filled_array_is_zero_before() -> None:
    @njit
    def fills(t, x, out, scale):
        for i in range(1, x.size):
            out[i] += scale[0] * x[i] * x[i - 1] + t

    x = np.random.default_rng(0).normal(size=(2, 20))
    assert assert_same(fills, x[0], x, (2.0,), (np.array([3.0]),), filled=20)


def test_few_blocks_move() -> None:
    x = np.random.default_rng(0).normal(size=100)
    table = np.tile(x, (8, 1))
    table[np.arange(8), 40 + np.arange(8) // 2] += [1e-3, -1e-3] * 4
    assert assert_same(chain, x, table)


@pytest.mark.parametrize(
    "f",
    [
        pytest.param(njit(lambda x: x * 2.0 if x[0] > 0.0 else x * 3.0), marks=pytest.mark.slow),
        pytest.param(njit(lambda x: np.ones(2 if x[0] > 0.0 else 3) * x[0]), marks=pytest.mark.slow),
        njit(lambda x: x / x[0]),
    ],
)
def test_branches_and_what_raises_are_left_alone(f: Any) -> None:
    assert not assert_same(f, np.ones(2), np.array([[1.0, 2.0], [0.0, 2.0]]))


def test_another_shape_than_at_x_is_told() -> None:
    lifted = compiled(chain, 1, (), (), False, 1)
    out, blocks = np.empty((lifted.width, 4)), np.empty(1, np.int64)
    assert run(lifted.address, np.ones(3), np.ones((3, lifted.width)), np.ones(4), out, blocks, True, ()) == -1


def test_an_f_that_writes_into_x_is_refused() -> None:
    @njit
    def writes(x):
        x *= 2.0
        return x + 1.0

    with pytest.raises(CannotLift):
        compile_lanes_of_outputs(writes, 1, (), (), False, 1)


programs = given(
    body=st.lists(statement, min_size=0, max_size=3),
    entry=expression,
    ending=st.sampled_from(["out", "out[::-1]", "out * s", "np.abs(out) + x", "np.maximum(out, x)[1:]", "out - w"]),
    start=st.sampled_from(["np.empty(x.size)", "np.zeros(x.size)", "x.copy()", "np.ones_like(x)", "0.5 * x"]),
    model=st.sampled_from(["python", "numpy"]),
    base=st.lists(number, min_size=2, max_size=19),
    far=st.lists(number, min_size=9, max_size=9),
)


def a_program(body: Any, entry: str, ending: str, start: str, model: str, base: Any, far: Any) -> None:
    source = (
        f"def f(x, c, k):\n    s = 0.25\n    w = c\n    out = {start}\n    for i in range(x.size):\n        v = x[i]\n"
    )
    source += "".join(f"        {line}\n" for line in body) + f"        out[i] = {entry}\n    return {ending}\n"
    scope: dict[str, Any] = {"np": np, "math": math}
    exec(source, scope)
    x, f = np.array(base), njit(error_model=model)(scope["f"])
    near = np.tile(x, (8, 1))
    near[np.arange(8), np.arange(8) // 2 % x.size] += [1e-3, -1e-3] * 4
    for table in (near, np.resize(np.array(far), (8, x.size))):
        try:
            assert_same(f, x, table, after=(0.75, 2))
        except CannotLift as reason:
            pytest.fail(f"{reason}\n{source}")
        except (ArithmeticError, ValueError):
            return  # at x itself


test_random_programs = UNHURRIED(max_examples=2)(programs(a_program))
test_many_random_programs = pytest.mark.slow(UNHURRIED(max_examples=60)(programs(a_program)))


@pytest.mark.slow
def test_what_f_returned_is_read_before_it_is_freed() -> None:
    """Where malloc gives every large piece its own pages, to read what was freed ends the process."""
    program = """
import numpy as np
from numba import njit
from tests.lifting.test_lanes_outputs import assert_same

x = np.linspace(1.0, 2.0, 20_000)
assert_same(njit(lambda x: 2.0 * x + 1.0), x, np.stack([x, x + 0.5]))
assert_same(njit(lambda x: (2.0 * x).reshape(100, 200)[:, ::2]), x, np.stack([x, x + 0.5]))
"""
    alone = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    subprocess.run([sys.executable, "-c", program], env=alone, check=True)
