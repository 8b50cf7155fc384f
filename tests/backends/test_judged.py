"""The rule compiled for an f of Python's own: the bits, points and evaluations of the rule in plain floats."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import AWKWARD
from benchmarks.problems import PROBLEMS
from fastgrad.backends import judged
from fastgrad.backends.reference import Reference
from fastgrad.core.call import Call
from fastgrad.core.errors import CannotRun
from fastgrad.core.point import Point, as_point
from fastgrad.core.validation import Floats, everything
from fastgrad.schemes.scheme import Task
from fastgrad.schemes.searching import Automatic
from fastgrad.schemes.stencils import central
from tests.corpus import CORPUS

config = pytest.importorskip("numba").config
if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)

RULE = Automatic(central(2), None, "central")


@pytest.fixture(autouse=True)
def loads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and compile at first use."""
    from fastgrad.backends.compiled import cache

    monkeypatch.setattr(cache, "WORTH_COMPILING", 0.0)
    monkeypatch.setattr(judged, "WORTH_LOADING", 0)
    monkeypatch.setattr(judged, "ASKED", 1)


def compiled(call: Call, point: Point) -> Reference:
    """Return f with the compiled rule."""
    if point.base.size not in judged._judges:
        judged.judged(call, point).settled()  # loads it for the next time
    return judged.judged(call, point)


def made(kind: Callable[..., Reference], f: Callable[..., Any], x: Any, args: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return gradient, nfev, warnings, and each point that f has seen in its argument and in the caller's array."""
    own = np.array(x, float)
    seen = []

    def watched(y: Floats, *rest: Any) -> Any:
        seen.append((y.tobytes(), own.tobytes()))
        return f(y, *rest)

    point = as_point(own)
    run = kind(Call(watched, args), point)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            estimate = RULE.differentiate(run, Task(point, everything(own.size)))
            found = estimate.gradient.tobytes(), str(estimate.flags), str(estimate.slopes)
        except Exception as error:  # noqa: BLE001  f's own
            found = repr(error), "", ""
    return found, run.nfev, seen, [str(one.message) for one in told]


def functions() -> Iterator[Any]:
    for problem in PROBLEMS.values():
        if not problem.unavailable and min(problem.sizes) <= judged.MOST:
            x, args = problem.make(min(problem.sizes))
            yield pytest.param(problem.f, x, args, id=problem.name)
    for style in CORPUS:
        f, x, args = style.at(10 if style.scales else 12)
        yield pytest.param(f, x, args, id=f"corpus-{style.name}")


@pytest.mark.parametrize(("f", "x", "args"), [*functions()])
def test_bits_points_and_evaluations_of_the_rule_in_floats(f: Any, x: Any, args: tuple[Any, ...]) -> None:
    x, rng = np.array(x, float), np.random.default_rng(3)
    for turn in range(4):
        if turn:
            x = x * (1.0 + 0.1 * rng.normal(size=x.shape))
        assert made(compiled, f, x, args) == made(Reference, f, x, args)


@pytest.mark.parametrize("case", AWKWARD, ids=lambda case: case.name)
def test_the_same_where_f_is_awkward(case: Any) -> None:
    assert made(compiled, case.f, case.at) == made(Reference, case.f, case.at)


MATRIX = np.random.default_rng(5).normal(size=(40, 40)) / 6.0
FUNCTIONS: dict[str, Callable[[Floats], Any]] = {
    "smooth": lambda x: np.tanh(MATRIX[: x.size, : x.size] @ x) @ x + x @ x,
    "one entry": lambda x: np.exp(x[0]) + 1e-3 * x[-1],
    "constant": lambda x: 3.0,
    "kink": lambda x: np.abs(x).sum(),
    "noisy": lambda x: float(np.float32(x @ x)),
    "steps": lambda x: np.round(x @ x, 9),
    "edge": lambda x: np.sqrt(x).sum(),
    "raises": lambda x: 1.0 / max(float(x[0]) - 0.3, 0.0),
    "far": lambda x: 1e8 + 1e-3 * np.sin(x).sum(),
    "tiny": lambda x: 1e-150 * np.cos(x).sum() + 1e-150,
    "vanishes": lambda x: 1e-200 * (x @ x) * (1.0 + 1e-9 * np.sin(1e9 * x.sum())),
    "huge": lambda x: 1e250 * np.exp(x).sum(),
    "short": lambda x: np.sin(1e3 * x).sum() + 2.0 * x[0],
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_same_at_points_of_many_sizes(f: Callable[[Floats], Any]) -> None:
    rng = np.random.default_rng(7)
    for n in (1, 2, 3, 7, 20):
        fixed = [np.zeros(n), np.ones(n), np.linspace(-1.0, 1.1, n), np.full(n, 1e-280), np.full(n, 0.3)]
        some = [rng.normal(size=n) * 10.0**k for k in (-300, -9, -3, 0, 0, 4, 20)]
        for x in [*fixed, *some, rng.normal(size=n) * np.logspace(-9, 6, n), rng.normal(size=(n, 2))]:
            assert made(compiled, f, x) == made(Reference, f, x)


def test_usual_gradients_are_settled() -> None:
    rng = np.random.default_rng(8)
    runs = [compiled(Call(FUNCTIONS["smooth"]), as_point(rng.normal(size=5))) for _ in range(100)]
    assert sum(run.settled() is not None for run in runs) > 80


@pytest.mark.parametrize("calls", [1, 100])
def test_few_gradients_load_no_numba(calls: int) -> None:
    code = f"""
import sys, numpy, fastgrad
for _ in range({calls}):
    fastgrad.numerical_gradient(lambda x: x @ x, numpy.ones(3))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_loaded_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuses(name: str) -> Any:
        asked.append(name)
        raise CannotRun("another numba")

    monkeypatch.setattr(judged, "load", refuses)
    monkeypatch.setattr(judged, "_judges", {})
    monkeypatch.setattr(judged, "_wanted", 0)
    x = np.array([1.0, 2.0])
    for _ in range(3):
        assert made(compiled, FUNCTIONS["smooth"], x) == made(Reference, FUNCTIONS["smooth"], x)
    assert asked == ["judge"]
