"""The rule compiled for an f of Python's own: the bits, points and evaluations of the rule in plain floats."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import AWKWARD
from benchmarks.problems import PROBLEMS
from fastgrad.backends import judged
from fastgrad.backends.compiled import judging
from fastgrad.backends.reference import Reference
from fastgrad.core.call import Call
from fastgrad.core.errors import CannotRun
from fastgrad.core.point import Point, as_point
from fastgrad.core.validation import Floats, everything
from fastgrad.schemes.scheme import Task
from fastgrad.schemes.searching import Automatic
from fastgrad.schemes.stencils import backward, central, forward
from tests.corpus import CORPUS

config = pytest.importorskip("numba").config
if config.DISABLE_JIT:
    pytest.skip("NUMBA_DISABLE_JIT is set", allow_module_level=True)

RULES = [
    Automatic(central(2), None, "central"),
    *(Automatic(kind(1), None, "one side") for kind in (forward, backward)),
]


@pytest.fixture(autouse=True, scope="module")
def loads_at_once() -> None:
    """Load, and compile, at first use."""
    judged.GRADIENTS.judge = judged.GRADIENTS.judge or judging.judge("gradients", True)


def compiled(call: Call, point: Point) -> Reference:
    """Return f with the compiled rule."""
    return judged.Judged(call, point)


class InFloats(judged.Judged):
    """f with the rule in one function of plain floats."""

    def settled(self, side: int) -> Floats | None:
        usual = side == 0 and self._base.ndim == 1 and self._base.size
        return self._settled_in_floats(self._base) if usual else None


def made(kind: Callable[..., Reference], f: Callable[..., Any], x: Any, args: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return gradient, nfev, warnings, and each point that f has seen in its argument and in the caller's array."""
    own = np.array(x, float)
    seen: list[Any] = []

    def watched(y: Floats, *rest: Any) -> Any:
        seen.append((y.tobytes(), own.tobytes()))
        return f(y, *rest)

    found: list[Any] = []
    for rule in RULES:
        own[...] = x
        point = as_point(own)
        run = kind(Call(watched, args), point)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                estimate = rule.differentiate(run, Task(point, everything(own.size)))
                found += [estimate.gradient.tobytes(), str(estimate.flags), str(estimate.slopes)]
            except Exception as error:  # noqa: BLE001  f's own
                found.append(repr(error))
        found += [run.nfev, [str(one.message) for one in told]]
    return found, seen


def functions() -> Iterator[Any]:
    for problem in PROBLEMS.values():
        if not problem.unavailable and min(problem.sizes) <= judged.MOST:
            x, args = problem.make(min(problem.sizes))
            yield pytest.param(problem.f, x, args, id=problem.name)
    for style in CORPUS:
        f, x, args = style.at(10 if style.scales else 12)
        yield pytest.param(f, x, args, id=f"corpus-{style.name}")


KINDS = (compiled, InFloats)


@pytest.mark.parametrize(("f", "x", "args"), [*functions()])
def test_bits_points_and_evaluations_of_the_whole_rule(f: Any, x: Any, args: tuple[Any, ...]) -> None:
    x, rng = np.array(x, float), np.random.default_rng(3)
    for turn in range(4):
        if turn:
            x = x * (1.0 + 0.1 * rng.normal(size=x.shape))
        wanted = made(Reference, f, x, args)
        for kind in KINDS:
            assert made(kind, f, x, args) == wanted


@pytest.mark.parametrize("case", AWKWARD, ids=lambda case: case.name)
def test_the_same_where_f_is_awkward(case: Any) -> None:
    wanted = made(Reference, case.f, case.at)
    for kind in KINDS:
        assert made(kind, case.f, case.at) == wanted


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
    "steep": lambda x: np.exp(3.0 * x).sum(),  # second looks, of one entry or several
    "cubes": lambda x: np.sum(x**3),
    "raises beside": lambda x: 1.0 / max(float(x[0]) - 0.3 + 1e-3, 0.0) + np.exp(x[-1]),
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_same_at_points_of_many_sizes(f: Callable[[Floats], Any]) -> None:
    rng = np.random.default_rng(7)
    for n in (1, 2, 3, 7, 20):
        fixed = [np.zeros(n), np.ones(n), np.linspace(-1.0, 1.1, n), np.full(n, 1e-280), np.full(n, 0.3)]
        some = [rng.normal(size=n) * 10.0**k for k in (-300, -9, -3, 0, 0, 4, 20)]
        for x in [*fixed, *some, rng.normal(size=n) * np.logspace(-9, 6, n), rng.normal(size=(n, 2))]:
            wanted = made(Reference, f, x)
            for kind in KINDS:
                assert made(kind, f, x) == wanted


@pytest.mark.parametrize("beyond", [None, math.nan, math.inf])
def test_the_same_where_f_ends_within_a_second_look(beyond: float | None) -> None:
    rng = np.random.default_rng(9)
    for away in np.logspace(-5.5, -1.5, 25).tolist():
        x = rng.normal(size=3)

        def f(y: Floats, edge: float = x[0] + away) -> float:
            if y[0] > edge:
                if beyond is None:
                    raise ValueError("no value")
                return beyond
            return float(np.exp(3.0 * y).sum())

        wanted = made(Reference, f, x)
        for kind in KINDS:
            assert made(kind, f, x) == wanted


@pytest.mark.parametrize(
    ("kind", "side", "least"), [(compiled, 0, 80), (compiled, 1, 60), (compiled, -1, 60), (InFloats, 0, 80)]
)
def test_usual_gradients_are_settled(kind: Any, side: int, least: int) -> None:
    rng = np.random.default_rng(8)
    runs = [kind(Call(FUNCTIONS["smooth"]), as_point(rng.normal(size=5))) for _ in range(100)]
    assert sum(run.settled(side) is not None for run in runs) > least


@pytest.mark.parametrize("calls", [1, 100])
def test_few_gradients_load_no_numba(calls: int) -> None:
    code = f"""
import sys, numpy, fastgrad
for _ in range({calls}):
    fastgrad.numerical_gradient(lambda x: x @ x, numpy.ones(3))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def fresh(code: str, folder: Path) -> str:
    """Run code in a process of its own, which keeps what is compiled in a folder."""
    variables = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=variables, capture_output=True, text=True)
    return done.stdout


def test_what_is_compiled_is_kept_and_loaded_without_numba(tmp_path: Path) -> None:
    name = judging._file("gradients")
    kept = judging._kept("gradients")
    assert kept is not None
    (tmp_path / name).write_bytes(kept + sha256(kept).digest())
    code = """
import sys, numpy
from fastgrad import numerical_gradient
from fastgrad.backends import judged
judged.LOADS = judged.LLVM = judged.GRADIENTS._next = 0
x, f = numpy.array([0.3, 0.7, 1.1]), lambda x: numpy.sin(x) @ x
found = [numerical_gradient(f, x).tobytes().hex() for _ in range(2)]
print(found[0] == found[1], judged.GRADIENTS.judge is not None, "numba" in sys.modules)
"""
    assert fresh(code, tmp_path).split() == ["True", "True", "False"]
    flipped = bytearray(kept + sha256(kept).digest())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / name).write_bytes(flipped)
    only = (
        f"from fastgrad.backends.compiled import judging\njudging._folders = lambda: [judging.Path({str(tmp_path)!r})]"
    )
    assert fresh(only + code, tmp_path).split() == ["True", "False", "False"]


def test_a_symbol_that_is_missing_is_a_refusal() -> None:
    with pytest.raises(CannotRun, match="no_such_function"):
        judging._loaded(b"judge\nno_such_function\n")


def awaited(monkeypatch: pytest.MonkeyPatch, answer: Any) -> tuple[judged.Awaited, list[Any]]:
    """Return a rule that is asked for at once, and what it is asked for."""
    asked: list[Any] = []

    def load(_: str) -> Any:
        def judge(*given: Any) -> Any:
            asked.append(given)
            return answer()

        return judge

    monkeypatch.setattr(judged, "load", load)
    return judged.Awaited("gradients", saves=1.0, compiles=3.0), asked


def test_what_cannot_be_loaded_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise CannotRun("another numba")

    rule, asked = awaited(monkeypatch, refuses)
    assert [rule.wanted() for _ in range(5)] == [None] * 5
    assert asked == [("gradients", False)]
    monkeypatch.setattr(judged, "GRADIENTS", rule)
    x = np.array([1.0, 2.0])
    assert made(compiled, FUNCTIONS["smooth"], x) == made(Reference, FUNCTIONS["smooth"], x)


def test_what_is_not_on_the_disk_is_compiled_when_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, asked = awaited(monkeypatch, lambda: "it" if asked[-1][1] else None)
    assert [rule.wanted() for _ in range(4)] == [None, None, "it", "it"]
    assert asked == [("gradients", False), ("gradients", True)]


def test_what_takes_longer_without_it_is_loaded_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "LOADS", 2.5)
    rule, asked = awaited(monkeypatch, lambda: "it")
    assert rule.wanted() is None
    assert not asked
    assert rule.wanted(1.5) == "it"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "integers", "first"),
    [
        ("default", 2, "default.by_rule.compile(kernels.signature((lists,), x))"),
        ("columns", 3, "jacobians.by_rule.compile((types.intp, nothing, some, x, x, x, x, work, types.none))"),
    ],
)
def test_what_is_compiled_first_leaves_no_references_to_count(
    tmp_path: Path, module: str, integers: int, first: str
) -> None:
    """numba lets an inner function count references where the first kernel that needs it does."""
    code = f"""
from numba import types
from fastgrad.backends.compiled import cache, default, jacobians, kernels
lists, x, work = types.ListType(types.float64), *(types.Array(types.float64, k, "C") for k in (1, 2))
nothing, some = types.Tuple(()), types.Tuple((lists,))
{first}
print(*cache.object_code({module!r}, {integers})[2])
"""
    assert "NRT" not in fresh(code, tmp_path)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends threads no signals")
def test_loading_goes_on_where_a_signal_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, rule = threading.Event(), threading.Event(), object()
    waiting = threading.get_ident()

    def slowly(name: str, compiles: bool) -> object:
        begun.set()
        signal.pthread_kill(waiting, signal.SIGALRM)
        assert ended.wait(300.0)
        return rule

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(judged, "load", lambda name: slowly)
    awaited = judged.Awaited("gradients", saves=1.0, compiles=math.inf)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            awaited.wanted()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert begun.is_set()
    assert awaited.wanted() is None  # nor is it loaded twice
    ended.set()
    for _ in range(30_000):
        if awaited.judge is not None:
            break
        time.sleep(0.01)
    assert awaited.judge is rule
