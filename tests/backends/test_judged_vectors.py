"""What settles usual Jacobians, in few passes over arrays or compiled: the bits, points and warnings of the rule."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import numpy as np
import pytest

from benchmarks.problems import PROBLEMS
from fastgrad import Jacobian, numerical_jacobian
from fastgrad.backends import judged
from fastgrad.backends.compiled import judging
from fastgrad.core.validation import Floats
from fastgrad.schemes import calm

config = pytest.importorskip("numba").config
if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)


class Watched:
    """The compiled rule; counts how often it has decided."""

    def __init__(self, judge: Any) -> None:
        self._judge, self.settled, self.asked = judge, 0, 0

    def entries(self, *arguments: Any) -> Floats | None:
        found: Floats | None = self._judge.entries(*arguments)
        self.asked += 1
        self.settled += found is not None
        return found


class Never:
    """What never settles anything."""

    def entries(self, *_: Any) -> None:
        return None


NEVER = Never()


@pytest.fixture(scope="module")
def judge() -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(judging.judge("columns", True))
        patch.setattr(judged.JACOBIANS, "judge", watched)
        yield watched


@pytest.fixture
def same(judge: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a Jacobian by the whole rule, where all is calm and by the compiled rule, and compare all that shows."""
    monkeypatch.setattr(judged.JACOBIANS, "_next", inf)

    def compared(f: Callable[..., Any], x: Any, once: bool = False, **options: Any) -> None:
        found = []
        for known in (NEVER, None, judge):
            monkeypatch.setattr(judged.JACOBIANS, "judge", known)
            found.append(made(f, np.array(x), once, options))
        assert found[0] == found[1] == found[2]

    return compared


def made(f: Callable[..., Any], own: Any, once: bool, options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the Jacobian, warnings, and the points that f has seen, in its argument and in the caller's array."""
    seen: list[tuple[bytes, bytes]] = []

    def watched(y: Floats, *rest: Any) -> Any:
        seen.append((y.tobytes(), own.tobytes()))
        return f(y, *rest)

    options = {"backend": "python"} | options
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = numerical_jacobian(watched, own, **options) if once else Jacobian(watched, **options)(own)
            result: Any = found.tobytes(), found.shape, found.dtype
        except Exception as error:  # noqa: BLE001  f's own
            result = repr(error)
    return result, sorted(seen), [(one.category, str(one.message)) for one in told], own.tobytes()


SMALL = [problem for problem in PROBLEMS.values() if not problem.unavailable and min(problem.sizes) <= 30]
MATRIX = np.random.default_rng(0).normal(size=(40, 40)) / 4.0


def raises(x: Floats) -> Floats:
    if x[0] > 0.3:
        raise ValueError("outside")
    return x**2


FUNCTIONS: dict[str, Callable[[Floats], Any]] = {
    "broyden": lambda x: (3 - 2 * x) * x + 1 - np.roll(x, 1) - 2 * np.roll(x, -1),
    "tanh": lambda x: np.tanh(MATRIX[: x.size, : x.size] @ x.ravel()),
    "saturated": lambda x: np.tanh(12.0 * MATRIX[: x.size, : x.size] @ x.ravel()),
    "sigmoids beside 3": lambda x: 3.0 + 1e-8 / (1.0 + np.exp(-12.0 * MATRIX[: x.size, : x.size] @ x.ravel())),
    "many": lambda x: np.sin(MATRIX[:, : x.size] @ x.ravel()),
    "few": lambda x: [x.sum() ** 2, x.ravel()[0] * x.ravel()[-1]],
    "oscillates": lambda x: np.sin(5 * x) + np.cos(8 * np.roll(x, 1)),
    "short": lambda x: np.sin(1e3 * x) + 2.0 * x,
    "steep": lambda x: np.exp(20 * x),
    "kinks": lambda x: np.abs(x - x.mean()),
    "kink at 0": np.abs,
    "roots": lambda x: np.sqrt(np.abs(x)),
    "edge": np.sqrt,
    "raises": lambda x: raises(x.ravel()),
    "decimals": lambda x: np.round(x * x, 6),
    "single": lambda x: x.astype(np.float32) ** 2 * 1.0,
    "one of them single": lambda x: np.array([float(np.float32(x.sum())), x.sum() ** 2, np.exp(x.max())]),
    "one still": lambda x: [x.ravel()[0], 3.0, x.sum(), 0.0],
    "one still nearby": lambda x: [x.sum() ** 2, np.floor(100.0 * x.sum()), x.ravel()[0] * x.sum()],
    "constant": lambda x: np.ones(3),
    "scalar": lambda x: x.ravel() @ MATRIX[: x.size, : x.size] @ x.ravel(),
    "matrix": lambda x: np.outer(x, x.ravel()[:2]),
    "nan": lambda x: np.append(x * x, np.nan),
    "nan beside": lambda x: np.where(x > x.mean(), x, np.nan),
    "far": lambda x: 1e8 + 1e-3 * np.sin(x),
    "waves": lambda x: 1e-9 * np.sin(1e9 * x) + x,
    "tiny": lambda x: 1e-150 * np.cos(x) + 1e-150,
    "vanishes": lambda x: 1e-200 * x * x,
    "huge": lambda x: 1e250 * np.exp(x),
    "integers": lambda x: [int(v) for v in x.ravel() * 100.0],
    "nothing": lambda x: [],
    "two shapes": lambda x: np.ones(3) if x.ravel()[0] == x.ravel()[0].round(4) else np.ones(4),
}


def points(n: int) -> list[Floats]:
    rng = np.random.default_rng(n)
    fixed = [np.linspace(-1, 1.1, n), np.ones(n), np.zeros(n), np.arange(1.0, n + 1.0), np.full(n, 1e-280)]
    some = [rng.normal(size=n) * 10.0**k for k in (-300, -4, 0, 0, 4)]
    return [*fixed, *some, rng.normal(size=n) * np.logspace(-6, 6, n), rng.normal(size=(n, 2))]


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_bits_points_and_warnings_of_the_rule_in_arrays(same: Callable[..., None], f: Callable[[Floats], Any]) -> None:
    for n in (1, 2, 3, 7, 19):
        for k, x in enumerate(points(n)):
            same(f, x, once=k % 2 == 0)


@pytest.mark.parametrize("problem", SMALL, ids=lambda p: p.name)
def test_the_same_of_scalar_problems(same: Callable[..., None], problem: Any) -> None:
    x, args = problem.make(min(problem.sizes))
    for factor in (1.0, 1.1):
        same(problem.f, np.array(x, float) * factor, once=factor > 1.0, args=args)


def random_function(rng: np.random.Generator, n: int, m: int) -> Callable[[Floats], Floats]:
    """Compose an f of m values of what vector functions are made of, some of it awkward."""
    outer = [np.sin, np.tanh, np.exp, np.abs, np.square, lambda v: np.sqrt(np.abs(v)), lambda v: np.round(v, 7)]
    outer += [lambda v: v.astype(np.float32).astype(float), lambda v: np.maximum(v, 0.1), lambda v: 0.0 * v + 2.0]
    scale = 10.0 ** rng.uniform(-2, 2)
    matrix = rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.6) * scale
    which, shift = rng.choice(len(outer), size=m, p=[0.2, 0.2, 0.15, *[0.45 / 7] * 7]), rng.normal(size=m)

    def f(x: Floats) -> Floats:
        inner = matrix @ x + shift
        return np.array([outer[k](inner[i : i + 1])[0] for i, k in enumerate(which)]) * (1.0 + x[0] * x[-1])

    return f


@pytest.mark.parametrize("seed", [*range(48), *(pytest.param(k, marks=pytest.mark.slow) for k in range(48, 1000))])
def test_the_same_of_random_functions(same: Callable[..., None], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = (int(k) for k in rng.integers(1, 9, size=2))
    same(random_function(rng, n, m), rng.normal(size=n) * 10.0 ** rng.uniform(-3, 3), seed % 2 == 0)


OPTIONS: list[dict[str, Any]] = [
    {"bounds": (0.0, 4.0)},
    {"bounds": ([0.25, -1.0, 0.5], [0.25, 4.0, 4.0])},
    {"indices": [2, 0]},
    {"noise": 1e-9},
    {"method": "forward"},
    {"order": 4},
    {"h": 1e-5},
    {"backend": "auto"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_other_options_are_for_the_rule_in_arrays(same: Callable[..., None], options: dict[str, Any]) -> None:
    for f in (FUNCTIONS["broyden"], FUNCTIONS["kinks"]):
        for once in (False, True):
            same(f, [0.25, 0.5, 3.0], once, **options)
            same(f, np.array([0.25, 0.5, 3.0], np.float32), once, **options)


def test_a_value_that_is_known_is_not_evaluated(same: Callable[..., None], judge: Watched) -> None:
    x, before = np.array([0.25, 0.5, 3.0]), judge.settled
    for f in (FUNCTIONS["broyden"], FUNCTIONS["kinks"], FUNCTIONS["one still"]):
        same(f, x, once=True, f0=f(x))
    assert judge.settled > before


def test_a_closure_sees_its_array_perturbed(judge: Watched) -> None:
    own = np.array([0.5, 2.0, -1.0])
    found = Jacobian(lambda _: own * own[0])(own)
    np.testing.assert_allclose(found, own[0] * np.eye(3) + np.outer(own, [1.0, 0.0, 0.0]), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(own, [0.5, 2.0, -1.0])


@pytest.mark.parametrize("name", ["broyden", "tanh", "many", "few"])
def test_where_all_is_calm_few_passes_settle_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(judged.JACOBIANS, "judge", watched := Watched(calm))
    for n in (2, 5, 10):
        for seed in range(10):
            Jacobian(FUNCTIONS[name], backend="python")(np.random.default_rng(seed).uniform(0.5, 1.5, n))
    assert watched.asked == 30
    assert watched.settled > 15


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
@pytest.mark.parametrize("name", ["broyden", "tanh", "saturated", "many", "few", "oscillates", "one still", "scalar"])
def test_usual_jacobians_are_settled(judge: Watched, name: str) -> None:
    rng, before, asked = np.random.default_rng(8), judge.settled, judge.asked
    for n in (2, 5, 19):
        for _ in range(10):
            Jacobian(FUNCTIONS[name], backend="python")(rng.normal(size=n))
    assert judge.asked - asked == 30
    assert judge.settled - before > 20


def test_far_steps_that_the_line_contradicts_are_not_settled(same: Callable[..., None], judge: Watched) -> None:
    matrix = np.array(
        [
            [4.115493424946864, -0.18981902433533257],
            [2.4353958567940093, -0.7580736323292105],
            [-0.11987600650693074, 0.7441486956730791],
            [-0.39786760910033375, -0.2097861698763022],
            [1.0517899118281504, -5.6360120576214205],
        ]
    )
    before = judge.settled
    same(lambda x: np.tanh(matrix @ x).astype(np.float32).astype(float), [1.0725929408179449, -3.015674345326748])
    assert judge.settled == before


@pytest.mark.parametrize("calls", [1, 50])
def test_few_jacobians_load_no_numba(calls: int) -> None:
    code = f"""
import sys, numpy, fastgrad
for _ in range({calls}):
    fastgrad.numerical_jacobian(lambda x: x * x[0], numpy.ones(3))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [1e7, 1e12, 1e20, 1e150])
def test_what_rounding_hides(size: float, same: Callable[..., None]) -> None:
    for small in (1.0, 1e-3):
        same(lambda x: np.array([x[0] + x[1], x[1] * x[1]]), [size, small])
        same(lambda x: [min(x[0], 1e100) ** 2 + x[1], 2.0 * x[0], 7.0], [size, -small])
