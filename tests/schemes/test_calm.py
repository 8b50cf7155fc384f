"""Where all is calm a Jacobian without bars takes fewer passes; its bits and its evaluations are those with bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import Jacobian
from fastgrad.core.validation import Floats
from fastgrad.schemes import columns
from fastgrad.schemes.calm import calmly

MATRIX = np.random.default_rng(0).normal(size=(19, 19)) / 4.0

FUNCTIONS: dict[str, Callable[[Floats], Any]] = {
    "broyden": lambda x: (3 - 2 * x) * x + 1 - np.roll(x, 1) - 2 * np.roll(x, -1),
    "tanh": lambda x: np.tanh(MATRIX[: x.size, : x.size] @ x),
    "oscillates": lambda x: np.sin(5 * x) + np.cos(8 * np.roll(x, 1)),
    "steep": lambda x: np.exp(20 * x),
    "kinks": lambda x: np.abs(x - x.mean()),
    "roots": lambda x: np.sqrt(np.abs(x)),
    "decimals": lambda x: np.round(x * x, 6),
    "single": lambda x: x.astype(np.float32) ** 2 * 1.0,
    "constant": lambda x: [x[0], 3.0, x.sum(), 0.0],
    "scalar": lambda x: x @ MATRIX[: x.size, : x.size] @ x,
    "matrix": lambda x: np.outer(x, x[:2]),
    "ends": lambda x: np.log(x[0]) * x,
}


def points(n: int) -> list[Floats]:
    rng = np.random.default_rng(n)
    fixed = [np.linspace(-1, 1.1, n), np.ones(n), np.zeros(n), np.arange(1.0, n + 1.0)]
    return fixed + [rng.normal(size=n) * 10.0**k for k in (-4, 0, 4)] + [rng.normal(size=n) * np.logspace(-6, 6, n)]


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning", "ignore::fastgrad.NonFiniteWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_bits_and_evaluations_of_the_whole_rule(f: Callable[[Floats], Any]) -> None:
    calls = [0]

    def counted(x: Floats) -> Any:
        calls[0] += 1
        return f(x)

    for n in (3, 7, 19):
        for x in points(n):
            jacobian = Jacobian(counted, backend="python")
            calls[0] = 0
            found, counts = jacobian(x), calls[0]
            wanted, info = jacobian.with_info(x)
            np.testing.assert_array_equal(found, wanted)
            assert counts == info.nfev


def test_usual_functions_are_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = []

    def watched(*arguments: Any) -> Any:
        found = calmly(*arguments)
        given_up.append(found is None)
        return found

    monkeypatch.setattr(columns, "calmly", watched)
    for name in ("broyden", "tanh", "scalar"):
        for n in (3, 7, 19):
            Jacobian(FUNCTIONS[name], backend="python")(np.linspace(-1, 1.1, n))
    assert np.mean(given_up) < 0.4
