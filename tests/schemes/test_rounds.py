"""Second looks of Jacobians: all directions in step, by the decisions that plain floats state."""

from __future__ import annotations

from math import cbrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastgrad import numerical_jacobian
from fastgrad.backends.vectors import Vectors
from fastgrad.core.validation import everything
from fastgrad.schemes import looks
from fastgrad.schemes.judgements import CENTRAL, Looks
from fastgrad.schemes.rounds import Rounds
from fastgrad.schemes.seeds import Columns

ROWS, M = 300, 7


@pytest.fixture
def rule() -> Any:
    """What the judgement of entries needs to know of f."""
    rng = np.random.default_rng(2)
    step = 10.0 ** rng.uniform(-6, -3, M)
    line = SimpleNamespace(variation=10.0 ** rng.uniform(-3, 3, M))
    usual = np.maximum(3e-9, 0.3 * step * step)
    return SimpleNamespace(line=line, usual=usual, best=np.zeros(M), common=0.3, suffices=3e-9, stencil=CENTRAL)


def entries(seed: int, size: np.ndarray) -> Looks:
    rng = np.random.default_rng(seed)
    derivative, noise, hope, more = (10.0 ** rng.uniform(low, high, (ROWS, M)) for low, high in LIMITS)
    t = 2.0 ** rng.integers(-25, -8, (ROWS, 1))
    first = np.where(rng.random((ROWS, M)) < 0.1, 0.0, 2.0 * t * derivative)
    derivative, noise, hope = (numbers * size for numbers in (np.where(first == 0.0, 0.0, derivative), noise, hope))
    edge = np.zeros(ROWS, dtype=bool)
    return Looks(t, derivative, first, 0.0 * first, noise * t / 0.71, noise, hope, more * hope, edge)


LIMITS = ((-8, 1), (-14, -3), (-14, -2), (0, 2))  # of derivatives, noise and hope, in sizes; and of fear in hope


def test_arrays_decide_as_plain_floats(rule):
    size, seeds = rule.line.variation, Columns(np.ones(ROWS), everything(ROWS), np.ones(ROWS))
    look = entries(3, size)
    down, up, enough, best = Rounds.wants(rule, look, seeds)
    seen = set()
    for g in range(ROWS):
        t, lacking = float(look.t[g, 0]), False
        for i in range(M):
            slope, noise, hope, fear = (
                float(numbers[g, i]) for numbers in (look.derivative, look.noise, look.hope, look.fear)
            )
            hope, still = max(hope, abs(slope) * (t / rule.common) ** 2 / 6.0), look.first[g, i] == 0.0
            want, cube = looks.wanted(slope, noise, hope, fear, still, float(size[i]), float(rule.usual[i]), 0.0)
            seen.add(want)
            assert want != looks.UNSURE  # nothing random is as near
            assert (down[g, i], up[g, i]) == (want == looks.SMALLER, want in (looks.LARGER, looks.LACKING))
            assert want == looks.NEITHER or best[g, i] == pytest.approx(t * cbrt(cube), rel=1e-14)
            lacking |= want == looks.LACKING
        assert enough[g] == (lacking or 4 * np.count_nonzero(up[g]) > np.count_nonzero(look.first[g]))
    assert seen == {looks.SMALLER, looks.NEITHER, looks.LARGER, looks.LACKING}


def test_arrays_choose_as_plain_floats(rule):
    some = sorted((entries(seed, rule.line.variation) for seed in range(3)), key=lambda look: float(look.t[0, 0]))
    for k, look in enumerate(some):
        look.t = np.full((ROWS, 1), 2.0 ** (6 * k - 24))
    value, bar = Rounds.chosen(rule, some)
    for g, i in np.ndindex(ROWS, M):
        rows = [
            [float(look.t[g, 0]), float(look.derivative[g, i]), float(look.noise[g, i]), float(look.fear[g, i])]
            for look in some
        ]
        slope, least, _, sure = looks.choose(rows[::-1], len(rows), rule.common)
        assert not sure or (slope, least) == (value[g, i], bar[g, i])


def test_directions_are_looked_at_in_step(monkeypatch):
    """One after the other, they asked for as many evaluations, two at a time."""
    asked: list[int] = []
    explore = Vectors.explore

    def watched(self, points):
        found = explore(self, points)
        asked.append(len(found))
        return found

    monkeypatch.setattr(Vectors, "explore", watched)
    matrix, x = np.random.default_rng(0).normal(size=(2, 19, 19))
    with pytest.warns(match="no digit is certain"):
        _, info = numerical_jacobian(lambda x: np.tanh(3.0 * matrix @ x), x[0], full_output=True, backend="python")
    assert info.nfev == sum(asked) + 1 > 80
    assert len(asked) <= 3 + 1 + 3  # lines, the first look and further ones
