"""The lift in place: right or refused, and everything put back, whatever happens."""

from __future__ import annotations

import contextlib
import gc
import pickle
import random
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.networks import SMALL, book_gradient
from fastgrad import numerical_gradient
from fastgrad.backends.in_place import LiftedInPlace
from fastgrad.backends.lifted import DENSE, SPARSE
from fastgrad.core.call import Call
from fastgrad.core.errors import CannotRun
from fastgrad.core.point import as_point, lock_of
from fastgrad.inspecting.purity import Nature
from fastgrad.lifting import in_place
from fastgrad.lifting.dense.bundle import Bundle
from fastgrad.lifting.in_place import InPlace, alone
from fastgrad.lifting.signals import CannotLift, Signal
from fastgrad.lifting.sparse import lift
from fastgrad.lifting.sparse.bundle import SparseBundle
from fastgrad.schemes.unrounded import nearby
from tests.lifting import awkward
from tests.lifting.memories import Snapshot

H = 1e-4
KEEPS = Nature("f stores an attribute", ())
SKIPPED = set(threading.enumerate())


def opened(f: Callable[..., Any], x: Any, *args: Any) -> LiftedInPlace:
    return LiftedInPlace(Call(f, args), as_point(x), KEEPS)


def by_steps(f: Callable[..., Any], x: Any) -> Any:
    """The central difference with the book's step."""
    run = opened(f, x)
    points = x.reshape(-1, 1) + np.array([H, -H])
    values = run.sweep(np.arange(x.size), points)
    return ((values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1])).reshape(x.shape)


def unrounded(f: Callable[..., Any], x: Any) -> Any:
    """The gradient by differences that are not rounded."""
    run = opened(f, x)
    estimate = nearby(run, x.reshape(-1), np.arange(x.size), None, False)
    if estimate is None:  # a kink next to x, where one side does not tell of the other
        return numerical_gradient(f, x, backend="numpy")
    return estimate.gradient.reshape(x.shape)


def once(f: Callable[..., Any], x: Any) -> None:
    """One run on a bundle of all entries."""
    lift(Call(InPlace(f, x)), x.copy(), np.arange(x.size), np.full((2, x.size), 1e-6))


def bundles() -> set[int]:
    """By identity: what an error of another test keeps alive is not this one's."""
    gc.collect()
    return {id(thing) for thing in gc.get_objects() if type(thing) in (SparseBundle, Bundle)}


@pytest.fixture(scope="module")
def before() -> set[int]:
    """What other tests have made is set aside: to look through all of it takes half a second for each test."""
    found = bundles()
    gc.freeze()
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(before: set[int]) -> Any:
    yield
    if hasattr(np, "_kept_by_test"):
        del np._kept_by_test
    assert bundles() <= before
    assert not alone.open


@pytest.mark.parametrize("make", awkward.EXPECTED, ids=lambda make: make.__name__)
def test_awkward_closures(make: awkward.Case) -> None:
    f, x = make()
    before = x.copy()
    if awkward.EXPECTED[make] == "refused":
        with pytest.raises(CannotRun) as refused:
            by_steps(f, x)
        assert len(str(refused.value)) > 10
    else:
        state = np.random.get_state()[1].tobytes(), random.getstate()
        gradient = by_steps(f, x)
        assert_array_equal(x, before)
        assert state == (np.random.get_state()[1].tobytes(), random.getstate())
        expected = book_gradient(f, x)
        assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9 * (1 + np.abs(expected).max()))
        assert_allclose(unrounded(f, x), expected, rtol=1e-5, atol=1e-7 * (1 + np.abs(expected).max()))
    if make is not awkward.writes_x:
        assert_array_equal(x, before)


@pytest.mark.parametrize("make", awkward.EXPECTED, ids=lambda make: make.__name__)
def test_everything_is_put_back_after_a_run(make: awkward.Case) -> None:
    f, x = make()
    f(x)
    generators = pickle.dumps([np.random.get_state(), random.getstate()])
    snapshot = Snapshot(f, x, awkward.__dict__)
    with contextlib.suppress(Signal):
        once(f, x)
    assert snapshot.differences() == []
    assert pickle.dumps([np.random.get_state(), random.getstate()]) == generators


@pytest.mark.usefixtures("collector_at_rest")
def test_the_oracle_can_fail() -> None:
    n = awkward.Net()
    f = lambda _: n.loss()  # noqa: E731
    for change in (
        lambda: n.log.append(1),
        lambda: n.params.update(V=1),
        lambda: n.W.__setitem__(0, 1.0),
        lambda: setattr(n.W.flags, "writeable", False),
        lambda: setattr(n, "more", 1),
        lambda: setattr(awkward.Net, "more", 1),
    ):
        snapshot = Snapshot(f.__closure__)
        assert snapshot.differences() == []
        change()
        assert snapshot.differences() != []
    del awkward.Net.more  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SMALL)
def test_networks(name: str) -> None:
    net, x, t = SMALL[name]()
    loss = lambda _: net.loss(x, t)  # noqa: E731
    for array in net.params.values():
        before = array.copy()
        expected = book_gradient(loss, array)
        loss(array)
        assert_allclose(by_steps(loss, array), expected, rtol=0, atol=1e-7 * np.abs(expected).max() + 1e-11)
        found = unrounded(loss, array)
        # one of these may step across a kink that is next to x
        oracles = numerical_gradient(loss, array, backend="python"), book_gradient(loss, array, 1e-7)
        errors = np.min([np.abs(found - oracle) for oracle in oracles], axis=0)
        assert errors.max() <= 1e-6 * np.abs(expected).max() + 2e-8
        assert_array_equal(array, before)


@pytest.mark.parametrize("name", SMALL)
def test_layers_hold_what_belongs_to_x(name: str) -> None:
    net, x, t = SMALL[name]()
    loss = lambda _: net.loss(x, t)  # noqa: E731
    W = next(iter(net.params.values()))
    loss(W)
    last = getattr(net, "last_layer", None)
    at_x = getattr(last, "loss", None)
    by_steps(loss, W)
    if last is not None:
        assert type(last.loss) is np.float64
        assert last.loss == at_x
    opened(loss, W).line(np.ones((3, W.size)))
    if last is not None:
        assert last.loss == at_x


def test_pictures_of_what_is_found() -> None:
    net, x, t = SMALL["relu"]()
    run = opened(lambda _: net.loss(x, t), net.params["W1"])
    assert "2 places" in run.notes()[0]  # params, and the layer
    assert run.way == "lift in place"
    assert run.value() == net.loss(x, t)


def test_evaluations_are_counted() -> None:
    net, x, t = SMALL["sigmoid"]()
    W, calls = net.params["W1"], [0]

    def loss(_: Any) -> Any:
        calls[0] += 1
        return net.loss(x, t)

    run = opened(loss, W)
    plain = calls[0]
    assert plain == 1  # the lifted run is put back, its count too
    points = W.reshape(-1, 1) + np.array([H, -H])
    run.sweep(np.arange(W.size), points)
    assert calls[0] == plain + 2  # one perturbed point, and x
    assert run.nfev == 1 + points.size + 2


# --- f that keeps what it computes, and is given x -------------------------------------------------------------------


class Keeper:
    """Keeps what it is given and computes, in many places."""

    def __init__(self, n: int = 30) -> None:
        self.calls, self.history, self.best = 0, [], {}
        self.last = self.value = self.draws = None
        self.buffer = np.zeros(n)
        self.A = np.random.default_rng(9).normal(size=(n, n))

    def counts(self, x: Any) -> Any:
        self.calls += 1
        return np.sum(np.exp(0.1 * x) * x)

    def remembers(self, x: Any) -> Any:
        self.last = x
        self.value = np.sum(x**4) + x[0] * x[-1]
        self.history.append((x, self.value))
        self.best["value"] = self.value
        return self.value

    def compares(self, x: Any) -> Any:
        value = np.sum(x**2)
        self.best["value"] = min(self.best.get("value", np.inf), value)
        return value

    def loops(self, x: Any) -> Any:
        self.value = 0.0
        for entry in x:
            self.value = self.value + entry**2 / (1.0 + entry**2)
            self.history.append(self.value)
        return self.value

    def decides(self, x: Any) -> Any:
        self.calls += 1
        return np.sum(x**2) if x[3] > self.threshold else np.sum(x**3)

    threshold = 0.0

    def writes(self, x: Any) -> Any:
        self.calls += 1
        self.buffer[:] = self.A @ x
        return np.sum(self.buffer**2)

    def hides(self, x: Any) -> Any:
        """Where nobody looks."""
        np._kept_by_test = x * 2.0  # type: ignore[attr-defined]
        return np.sum(x**2)

    def draws_numbers(self, x: Any) -> Any:
        self.draws = random.random()
        return np.sum(x**2)


KEPT: dict[str, tuple[str, ...]] = {  # and which lifts refuse it
    "counts": (),
    "remembers": (),
    "loops": (),
    "decides": (),
    "compares": (SPARSE,),  # half of the points are less than f at x
    "writes": (DENSE,),
    "hides": (DENSE, SPARSE),
    "draws_numbers": (DENSE, SPARSE),
}


@pytest.mark.usefixtures("collector_at_rest")
@pytest.mark.parametrize("lift", [DENSE, SPARSE])
@pytest.mark.parametrize("name", KEPT)
def test_what_f_keeps_is_put_back(name: str, lift: str) -> None:
    keeper, x = Keeper(), np.random.default_rng(5).normal(size=30)
    f, index, points = getattr(keeper, name), np.arange(30), x.reshape(-1, 1) + np.array([H, -H])
    f(x.copy())
    snapshot, state = Snapshot(vars(keeper)), random.getstate()
    values: Any = None
    with contextlib.suppress(CannotLift):
        values = import_module(f"fastgrad.lifting.{lift}").sweep(Call(InPlace(f, x)), x.copy(), index, points)
    assert random.getstate() == state
    assert snapshot.differences() == []
    assert (values is None) == (lift in KEPT[name])
    if values is not None:
        values = values.values + f(x) if lift == SPARSE else values
        expected = [[f(np.where(index == i, entry, x)) for entry in row] for i, row in enumerate(points)]
        assert_allclose(values, expected, rtol=1e-13)


def test_what_comes_and_goes_between_runs_is_found() -> None:
    """An array where a number was, and a number where an array was, by an evaluation between two runs."""

    class Turns:
        held: Any = 0.5
        calls = 0

        def loss(self, x: Any) -> Any:
            self.calls += 1
            value = np.sum(x**2) + (1.0 if isinstance(self.held, np.ndarray) else 2.0)
            self.held = 0.5 if isinstance(self.held, np.ndarray) else np.full(4, 0.125)
            return value

    turns, x = Turns(), np.random.default_rng(1).normal(size=30)
    points, inside = x.reshape(-1, 1) + np.array([H, -H]), InPlace(turns.loss, x)
    turns.loss(x.copy())
    for _ in range(4):
        before = vars(turns).copy()
        values = import_module("fastgrad.lifting.dense").sweep(Call(inside), x.copy(), np.arange(30), points)
        assert vars(turns) == before
        expected = np.sum(x**2) - x[:, None] ** 2 + points**2 + (1.0 if isinstance(turns.held, np.ndarray) else 2.0)
        assert_allclose(values, expected, rtol=1e-12)
        turns.loss(x.copy())
        inside.forget()


@pytest.mark.parametrize(
    "name", ["counts", "remembers", "loops", "decides", "compares", "writes", "hides", "draws_numbers"]
)
@pytest.mark.parametrize("n", [30, 250])
def test_f_that_keeps_gives_what_it_gives_alone(name: str, n: int) -> None:
    keeper, x = Keeper(n), np.random.default_rng(n).normal(size=n)
    f = getattr(keeper, name)
    plain = numerical_gradient(f, x, backend="python")
    found, info = numerical_gradient(f, x, full_output=True)
    assert (info.way == "lift in place") == (name not in ("hides", "draws_numbers"))
    assert_allclose(found, plain, rtol=1e-6, atol=1e-8 * np.abs(plain).max())


# --- interruptions ---------------------------------------------------------------------------------------------------


class InterruptAt:
    """A trace function that raises at its nth event in the lift's own code or f's."""

    FILES = ("transaction.py", "places.py", "seen.py", "walk.py", "substitutes.py", "networks.py", "awkward.py")

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, frame: types.FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.endswith(self.FILES):
            return None
        self.count += 1
        if self.count == self.at:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self

    def during(self, call: Callable[[], None]) -> None:
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)


@pytest.mark.usefixtures("collector_at_rest")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interruption within a generator
@pytest.mark.parametrize("name", ["relu", "batch norm"])
def test_interrupted_at_any_line(name: str) -> None:
    net, x, t = SMALL[name]()
    W = net.params["W1"]
    loss = lambda _: net.loss(x, t)  # noqa: E731
    loss(W)
    snapshot = Snapshot(loss.__closure__)
    whole = InterruptAt(-1)
    whole.during(lambda: once(loss, W))
    assert whole.count > 1000
    for at in range(1, whole.count, 211):
        InterruptAt(at).during(lambda: once(loss, W))
        assert snapshot.differences() == [], at
        assert not alone.open
    taken: list[bool] = []

    def take() -> None:
        lock = lock_of(alone)
        taken.append(lock.acquire(timeout=300))
        lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert taken == [True]


@pytest.mark.usefixtures("collector_at_rest")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one that comes within a destructor
def test_interrupted_at_any_moment() -> None:
    net, x, t = SMALL["relu"]()
    W = net.params["W1"]
    loss = lambda _: net.loss(x, t)  # noqa: E731
    loss(W)
    snapshot = Snapshot(loss.__closure__)
    rng, interrupted = np.random.default_rng(1), 0

    def ring(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(1500):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(5e-5, 2.5e-3))
                try:
                    once(loss, W)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert snapshot.differences() == []
            assert not alone.open
    finally:
        signal.signal(signal.SIGALRM, kept)
    assert interrupted > 100


@pytest.mark.usefixtures("collector_at_rest")
def test_interrupted_over_and_over_while_putting_back(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, t = SMALL["relu"]()
    loss = lambda _: net.loss(x, t)  # noqa: E731
    loss(net.params["W1"])
    snapshot, countdown = Snapshot(loss.__closure__), [40]
    restore = in_place.places.Dictionary.restore

    def interrupted(self: Any) -> None:
        countdown[0] -= 1
        if countdown[0] > 0 and countdown[0] % 2:
            raise KeyboardInterrupt
        restore(self)

    monkeypatch.setattr(in_place.places.Dictionary, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        once(loss, net.params["W1"])
    monkeypatch.undo()
    assert snapshot.differences() == []
    assert not alone.open


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError, StopIteration, SystemExit, MemoryError])
def test_f_raises_anywhere(kind: type[BaseException]) -> None:
    n = awkward.Net()
    steps = [0, 0]

    def maybe() -> None:
        steps[0] += 1
        if type(n.W) is SparseBundle and steps[0] == steps[1]:
            raise kind

    def f(_: Any) -> Any:
        steps[0] = 0
        maybe()
        n.out = awkward.A @ n.W
        maybe()
        n.log.append(n.out)
        maybe()
        n.params["V"] = n.out
        maybe()
        return awkward.mse(n.out)

    f(n.W)
    for at in range(1, 5):
        steps[1] = at
        snapshot = Snapshot(n)
        expected = CannotLift if issubclass(kind, Exception) else kind
        with pytest.raises(expected):
            once(f, n.W)
        assert snapshot.differences() == []


# --- nested, and threads ---------------------------------------------------------------------------------------------


def test_nested_gradients() -> None:
    net, x, t = SMALL["sigmoid"]()
    W, b = net.params["W1"], net.params["b2"]
    inner = lambda _: net.loss(x, t)  # noqa: E731

    def outer(_: Any) -> Any:
        try:
            slopes = by_steps(inner, b)
        except CannotRun:
            slopes = book_gradient(inner, b)
        return np.sum(slopes**2)

    snapshot = Snapshot(net)
    with pytest.raises(CannotRun):
        by_steps(outer, W)
    assert snapshot.differences() == []


def test_two_arrays_of_one_network_in_threads() -> None:
    net, x, t = SMALL["relu"]()
    loss = lambda _: net.loss(x, t)  # noqa: E731
    expected = {key: unrounded(loss, array) for key, array in net.params.items()}
    before = {key: array.copy() for key, array in net.params.items()}

    def ask(key: str) -> tuple[str, Any]:
        return key, unrounded_of_what_is_there(loss, net.params[key])

    with ThreadPoolExecutor(4) as pool:
        for key, found in pool.map(ask, list(net.params) * 15):
            assert_array_equal(found, expected[key])
    for key, array in net.params.items():
        assert type(array) is np.ndarray
        assert array.flags.writeable
        assert_array_equal(array, before[key])


def unrounded_of_what_is_there(f: Callable[..., Any], x: Any) -> Any:
    """As a user asks, with whatever was found in place of the array."""
    point = as_point(x)
    run = LiftedInPlace(Call(f), point, KEEPS)
    estimate = nearby(run, point.base.reshape(-1), np.arange(point.base.size), None, False)
    assert estimate is not None
    return estimate.gradient.reshape(point.base.shape)


def test_two_networks_that_share_layers_in_threads() -> None:
    first, x, t = SMALL["sigmoid layers"]()
    second, y, _ = SMALL["sigmoid layers"]()
    second.layers["Affine1"] = first.layers["Affine1"]
    second.params["W1"] = first.params["W1"]
    losses = [lambda _: first.loss(x, t), lambda _: second.loss(y, t)]
    W = first.params["W1"]
    expected = [unrounded(loss, W) for loss in losses]
    with ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(lambda i: unrounded_of_what_is_there(losses[i % 2], W), range(30))):
            assert_array_equal(found, expected[i % 2])


# --- effects ---------------------------------------------------------------------------------------------------------


class Told:
    """A network whose methods print, the ones that f calls or the others."""

    def __init__(self) -> None:
        self.W = np.linspace(-1.0, 1.0, 30)

    def loss(self) -> Any:
        return np.sum(np.tanh(self.W) ** 2)

    def fit(self) -> None:
        print(self.loss())

    def loud(self) -> Any:
        print("loud")
        return self.loss()

    def timed(self) -> Any:
        return self.loss() + 0.0 * time.time()


@pytest.mark.parametrize("name", ["loud", "timed"])
def test_effects_are_seen_at_each_evaluation(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = Told()
    f = {"loud": lambda _: net.loud(), "timed": lambda _: net.timed()}[name]
    _, info = numerical_gradient(f, net.W, H, full_output=True)
    assert info.way == "reference"
    assert "its effects are to be seen" in info.reason
    if name == "loud":
        assert capsys.readouterr().out.count("loud") == info.nfev == 60


@pytest.mark.parametrize("reads", ["x", "its argument"])
def test_a_thread_of_fs_meets_no_lift_which_it_would_print_a_traceback_of(
    reads: str, capfd: pytest.CaptureFixture[str]
) -> None:
    x = np.linspace(0.1, 1.0, 40)

    def f(y: Any) -> float:
        found: list[float] = []
        thread = threading.Thread(target=lambda: found.append(float(np.sum((x if reads == "x" else y) ** 3))))
        thread.start()
        thread.join()
        return found[0]

    gradient, info = numerical_gradient(f, x, full_output=True)
    assert info.way == "reference"
    assert_allclose(gradient, 3 * x**2, atol=1e-8)
    assert capfd.readouterr().err == ""


def test_effects_of_methods_that_f_does_not_call_are_none_of_its() -> None:
    net = Told()
    assert numerical_gradient(lambda _: net.loss(), net.W, H, full_output=True)[1].way == "lift in place"


randn, default_rng = np.random.randn, np.random.default_rng  # as `from numpy.random import` makes them


class Drawn:
    """A network whose first weights come from functions that f could call, by their names in `__init__`."""

    def __init__(self) -> None:
        self.W = 0.1 * randn(5, 6) + default_rng(0).normal(size=(5, 6))

    def loss(self) -> Any:
        self.out = np.tanh(np.ones((3, 5)) @ self.W)
        return np.sum(self.out**2)

    def noisy(self) -> Any:
        return self.loss() + 1e-9 * randn()


def test_functions_of_numpys_random_numbers_stop_nothing_where_f_draws_none() -> None:
    net = Drawn()
    gradient, info = numerical_gradient(lambda _: net.loss(), net.W, full_output=True)
    assert info.way == "lift in place"
    assert_allclose(gradient, book_gradient(lambda _: net.loss(), net.W), atol=1e-6)
    assert numerical_gradient(lambda _: net.noisy(), net.W, H, full_output=True)[1].way == "reference"


waiting = iter([1.0])  # nothing that could be put back, of the name of an attribute
shared = np.linspace(0.1, 1.0, 30)
kept = None


class Waits:
    """A network with an attribute that is called as a global of its module is."""

    def __init__(self) -> None:
        self.W, self.waiting = np.linspace(-1.0, 1.0, 30).reshape(5, 6), None

    def loss(self) -> Any:
        self.waiting = np.tanh(np.ones((3, 5)) @ self.W)
        return np.sum(self.waiting**2)


def test_globals_that_are_called_as_attributes_are_none_of_fs() -> None:
    net = Waits()
    gradient, info = numerical_gradient(lambda _: net.loss(), net.W, full_output=True)
    assert info.way == "lift in place"
    assert_allclose(gradient, book_gradient(lambda _: net.loss(), net.W), atol=1e-6)
    assert type(net.waiting) is np.ndarray


def by_modules(_: Any) -> Any:
    here = sys.modules[__name__]
    here.kept = np.sin(here.shared)  # type: ignore[attr-defined]
    return np.sum(here.kept * here.shared)  # type: ignore[attr-defined]


def test_f_may_reach_its_own_module_by_attributes() -> None:
    gradient, info = numerical_gradient(by_modules, shared, full_output=True)
    assert info.way == "lift in place"
    assert_allclose(gradient, np.sin(shared) + shared * np.cos(shared), atol=1e-12)
    assert type(kept) is np.ndarray


# --- what is refused before anything is evaluated --------------------------------------------------------------------


def test_what_cannot_be() -> None:
    n = awkward.Net()
    never: Callable[..., Any] = lambda _, *args: pytest.fail("f was called")  # noqa: E731
    for x, word in (
        (n.W.astype(np.float32), "float32"),
        (np.arange(20), "int64"),
        (np.array(1.0), "single number"),
        (np.ones((20, 20))[::2], "C-contiguous"),
    ):
        with pytest.raises(CannotRun, match=word):
            opened(never, x)
    with pytest.raises(CannotRun, match="shares memory"):
        opened(never, n.W, n.W[2:])
    with pytest.raises(CannotRun, match="complex"):
        LiftedInPlace(Call(never, imaginary=True), as_point(n.W), KEEPS)


def test_arguments_hold_the_network() -> None:
    net, x, t = SMALL["relu"]()
    f = lambda _, net, x: net.loss(x, t)  # noqa: E731
    W = net.params["W1"]
    run = opened(f, W, net, x)
    index = np.arange(W.size)
    values = run.sweep(index, W.reshape(-1, 1) + np.array([H, -H]))
    expected = book_gradient(lambda _: net.loss(x, t), W)
    assert_allclose((values[:, 0] - values[:, 1]).reshape(W.shape) / (2 * H), expected, atol=1e-9)


def test_a_list_is_a_point_of_an_f_that_keeps() -> None:
    n = awkward.Net()

    def f(w: Any) -> Any:
        n.out = np.tanh(awkward.A @ w)
        return awkward.mse(n.out)

    x = n.W.tolist()
    run = opened(f, x)
    values = run.sweep(np.arange(12), np.array(x)[:, None] + np.array([H, -H]))
    assert_allclose((values[:, 0] - values[:, 1]) / (2 * H), book_gradient(f, n.W), atol=1e-9)
    assert type(n.out) is np.ndarray
