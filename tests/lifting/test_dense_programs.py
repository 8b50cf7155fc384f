"""Random programs with assignments, views, branches and loops: bit for bit the loop's values, or not lifted."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest

from fastgrad.core.call import Call
from fastgrad.lifting.signals import CannotLift
from tests.lifting.test_dense import loop, sweep, table

N = 6
NAMES = ["x", "y", "z"]
# {v}: one of the names; {e}: an expression for a vector; {s}: one for a scalar; {i}: an index
VECTORS = [
    "({e} + {e})",
    "({e} * {e})",
    "np.where({e} > 0, {e}, {e})",
    "np.where({e} > C, {e}, {e})",
    "np.sin({e})",
    "({e})[P]",
    "({e} - ({e}).mean())",
    "np.cumsum({e})",
    "(({e})**2)",
    "({e} * s)",
    "np.roll({e}, 2)",
    "({e}).reshape(2, 3).T.ravel()",
    "np.maximum({e}, 0.3)",
    "np.maximum({e}, {e})",
    "({e} / (2 + np.abs({e})))",
    "np.concatenate([({e})[3:], ({e})[:3]])",
]
SCALARS = [
    "({e})[1]",
    "({e})[-2]",
    "np.sum({e})",
    "({e}).max()",
    "np.linalg.norm({e})",
    "({e})[1]**2",
    "s * ({e})[0]",
    "abs(({e})[2])",
    "sum({e})",
    "np.prod(np.tanh({e}))",
    "({e})[4] - s",
]
INDICES = ["0", "-1", "1:4", "::-2", "[0, 2, 2]", "P[:3]", "MASK", "{v} > 0.2", "...", "np.argmax({v})"]
STATEMENTS = [
    "{v} = {e}",
    "{v} = {v2}",
    "{v} = {v2}.copy()",
    "{v}[{i}] = {s}",
    "{v}[{i}] = 0.5",
    "{v}[1:4] = {e}[:3]",
    "{v}[::2] = {e}[3:]",
    "{v} += {e}",
    "{v} -= {s}",
    "{v} *= C",
    "{v}[{i}] += {s}",
    "{v}[{i}] *= 0.5",
    "s = {s}",
    "s += {s}",
    "{v} = {v2}[::-1]",
    "{v} = {v2}.reshape(3, 2).T.reshape(-1)",
    "if {s} > {s}: {v} = {e}",
    "for k in range(3): {v}[k] = {v}[k + 1] * 0.5 + {v2}[k]",
    "for e in {v}: s = s * 0.5 + e",
    "{v} = np.zeros_like({v2})",
    "{v}.sort()",
    "np.add.at({v}, [0, 0, 1], 0.25)",
    "{v}[0], {v}[1] = {v}[1], {v}[0]",
    "{v} = np.asarray({v})",
    "{v} = np.array([{s} for k in range(6)])",
    "{v} = np.zeros(6); {v}[2:] = {v2}[2:]",
]


def written(template: str, rng: random.Random, depth: int = 2) -> str:
    """Fill a template from the left; {v} and {v2} are the same name throughout."""
    template = template.replace("{v2}", rng.choice(NAMES)).replace("{v}", rng.choice(NAMES))
    for mark, choices in (("{i}", INDICES), ("{s}", SCALARS), ("{e}", VECTORS)):
        while mark in template:
            simple = mark == "{e}" and (depth == 0 or rng.random() < 0.3)
            part = rng.choice(NAMES) if simple else written(rng.choice(choices), rng, depth - (mark == "{e}"))
            template = template.replace(mark, part, 1)
    return template


def program(rng: random.Random) -> str:
    lines = ["y, z, s = x.copy(), x * 0.7, 0.3"]
    lines += [written(rng.choice(STATEMENTS), rng) for _ in range(rng.randrange(1, 7))]
    lines.append(written("return {s} + np.sum({v})", rng))
    return "def f(x):\n" + "".join(f"    {line}\n" for line in lines)


def outcome(seed: int) -> str:
    """Lift one program and compare."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    source = program(rng)
    names: dict[str, Any] = {"np": np, "C": numbers.normal(size=N), "P": numbers.permutation(N), "__name__": "programs"}
    names["MASK"] = names["C"] > 0
    exec(source, names)
    x = numbers.normal(size=N)
    index, points = table(x, rng.choice([1e-4, 0.5]))
    try:
        values = sweep(Call(names["f"]), x, index, points, tile_bytes=rng.choice([1, 10**6]))
    except CannotLift as refusal:
        return str(refusal)
    np.testing.assert_array_equal(values, loop(names["f"], x, index, points), err_msg=source)
    return "lifted"


@pytest.mark.parametrize("block", range(10))
def test_programs(block: int) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        outcomes = [outcome(seed) for seed in range(40 * block, 40 * block + 40)]
    assert outcomes.count("lifted") >= 36
