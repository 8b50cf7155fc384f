"""auto never gives a function that may keep things anything but plain arrays; one that cannot keep any is lifted."""

from __future__ import annotations

import functools
import queue
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastgrad import Gradient, numerical_gradient
from fastgrad.inspecting.purity import keeps, nature

X = np.random.default_rng(3).normal(size=400)
A = np.random.default_rng(4).normal(size=(3, 400))
STORE: list[Any] = []
LAST: dict[str, Any] = {}


def helper(x: Any) -> Any:
    return x * x


def pure(x: Any) -> Any:
    return np.sum(helper(A @ x)) + sum(v for v in [1.0, 2.0])


def appends(x: Any) -> Any:
    STORE.append(x)
    return np.sum(x * x)


def caches(x: Any) -> Any:
    if "x" not in LAST or not np.array_equal(LAST["x"], x):
        LAST["x"], LAST["value"] = x.copy(), np.sum(x * x)
    return LAST["value"]


def random(x: Any) -> Any:
    return np.sum(x * x) + 0.0 * np.random.default_rng(0).normal()


class Model:
    def __init__(self) -> None:
        self.seen: Any = None

    def loss(self, x: Any) -> Any:
        self.seen = x
        return np.sum(x * x)


def counter() -> Any:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.sum(x * x)

    return f


def attribute(x: Any) -> Any:
    attribute.last = x  # type: ignore[attr-defined]
    return np.sum(x * x)


def captured() -> Any:
    scale, matrix = 2.0, A.copy()
    return lambda x: scale * np.sum((matrix @ x) ** 2)


class Network:
    """Objects in attributes and containers, as people write models."""

    scale = 2.0

    def __init__(self) -> None:
        self.params = {"A": A}
        self.parts = [helper, Part()]
        self.history: list[Any] = []
        self.last: dict[str, Any] = {}
        self.queue: Any = queue.SimpleQueue()

    @property
    def weight(self) -> float:
        return self.scale

    def predict(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return self.params["A"] @ x

    def loss(self, x: Any) -> Any:
        return self.weight * np.sum(self.predict(x))

    def logs(self, x: Any) -> Any:
        self.history.append(x)
        return np.sum(x * x)

    def logs_by_another(self, x: Any) -> Any:
        return self.logs(x)

    def logs_by_alias(self, x: Any) -> Any:
        history = self.history
        history += [x]
        return np.sum(x * x)

    def caches(self, x: Any) -> Any:
        self.last["x"] = x
        return np.sum(x * x)

    def sends(self, x: Any) -> Any:
        self.queue.put(x)
        return np.sum(x * x)

    def hides(self, x: Any) -> Any:
        getattr(self, "hist" + "ory").append(x)
        return np.sum(x * x)

    @functools.cached_property
    def computed(self) -> Any:
        return 2.0

    def computes(self, x: Any) -> Any:
        return self.computed * np.sum(x * x)


class Part:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1.5

    def __call__(self, x: Any) -> Any:
        return self.a * x


class Forgetful:
    def __getattr__(self, name: str) -> Any:
        return STORE.append

    def loss(self, x: Any) -> Any:
        self.anything(x)
        return np.sum(x * x)


class Logging:
    def __call__(self, x: Any) -> Any:
        STORE.append(x)
        return x


def by_call(x: Any) -> Any:
    return np.sum(LOG(x) ** 2)


LOG = Logging()
append = STORE.append
NETWORK = Network()


def by_bound_builtin(x: Any) -> Any:
    append(x)
    return np.sum(x * x)


def test_closures_of_one_code_are_told_apart() -> None:
    def make(note: Any) -> Any:
        return lambda x: np.sum(x * x) + 0.0 * len(str(note(1.0)))

    harmless, storing = make(abs), make(STORE.append)
    assert keeps(harmless) == ""
    assert keeps(storing)


def test_arguments_that_may_keep_something() -> None:
    def logs(x: Any, log: Any) -> Any:
        log.append(x)
        return np.sum(x * x)

    log: list[Any] = []
    gradient = Gradient(logs, 1e-4, args=(log,))
    for _ in range(4):
        assert_allclose(gradient(X), 2 * X, rtol=1e-5)
        numerical_gradient(logs, X, 1e-4, kwargs={"log": log})
    assert all(type(x) is np.ndarray for x in log)


def test_arrays_that_f_may_read() -> None:
    assert nature(NETWORK.loss).may_read(A[0])
    assert not nature(NETWORK.loss).may_read(X)
    assert nature(lambda x: np.sum(x * X[::2])).may_read(X)
    assert not nature(lambda x: np.sum(x * x)).may_read(X)


@pytest.mark.parametrize("f", [NETWORK.loss, NETWORK.predict, Part(), functools.partial(NETWORK.loss)])
def test_methods_that_keep_nothing(f: Any) -> None:
    assert keeps(f) == ""


@pytest.mark.parametrize(
    "f",
    [
        NETWORK.logs,
        NETWORK.logs_by_another,
        NETWORK.logs_by_alias,
        NETWORK.caches,
        NETWORK.sends,
        NETWORK.hides,
        NETWORK.computes,
        Forgetful().loss,
        by_call,
        by_bound_builtin,
        LOG,
    ],
)
def test_methods_that_may_keep_something(f: Any) -> None:
    assert keeps(f)


def imports_a_library(x):
    import scipy.special as special
    from numpy.linalg import norm

    return norm(special.expit(x))


def imports_ours(x):
    from tests.inspecting.test_purity import appends as kept

    return kept(x)


def imports_what_nobody_did(x):
    import antigravity  # noqa: F401

    return np.sum(x)


@pytest.mark.parametrize(
    "f",
    [pure, imports_a_library, captured(), np.sum, functools.partial(lambda a, x: np.sum(a @ x), A), lambda x: x @ x],
)
def test_what_cannot_keep_anything(f: Any) -> None:
    assert keeps(f) == ""


@pytest.mark.parametrize(
    "f", [appends, caches, random, Model().loss, counter(), attribute, imports_ours, imports_what_nobody_did]
)
def test_what_may_keep_something(f: Any) -> None:
    assert keeps(f)


@pytest.mark.parametrize("f", [appends, caches, Model().loss, counter(), attribute])
@pytest.mark.parametrize("h", [None, 1e-4])
def test_auto_leaves_it_to_the_reference(f: Any, h: float | None) -> None:
    gradient = Gradient(f, h)
    for _ in range(4):
        assert_allclose(gradient(X), 2 * X, rtol=1e-5, atol=1e-6)
    assert_allclose(f(X), np.sum(X * X))  # and what it kept is of the kind that it expects
    assert all(type(x) is np.ndarray for x in STORE)
    STORE.clear()


def test_a_pure_function_is_lifted() -> None:
    gradient = Gradient(pure)
    for _ in range(4):
        result, info = gradient.with_info(X)
    assert info.backend == "numpy", info.reason
    assert_allclose(result, 2 * A.T @ (A @ X), rtol=1e-6, atol=1e-6)


def test_a_cache_asked_to_be_lifted_is_right_or_refused() -> None:
    for _ in range(3):
        LAST.clear()
        try:
            result = numerical_gradient(caches, X, backend="numpy")
        except (TypeError, ValueError) as error:
            assert "python" in str(error)  # noqa: PT017
        else:
            assert_allclose(result, 2 * X, rtol=1e-5, atol=1e-6)
    LAST.clear()


@pytest.mark.parametrize("h", [1e-4, None])
@pytest.mark.parametrize("n", [5, 40, 300])
@pytest.mark.parametrize("holder", ["attribute", "item", "variable", "class", "slot"])
def test_a_new_array_where_f_reads_the_callers_is_noticed(holder: str, n: int, h: float | None) -> None:
    class Net:
        W: Any

    class Slotted:
        __slots__ = ("W",)
        W: Any

    net, slotted, items = Net(), Slotted(), [np.zeros(0)]
    W: Any = None

    def put(value: Any) -> None:
        nonlocal W
        if holder == "variable":
            W = value
        elif holder == "item":
            items[0] = value
        else:
            holders: dict[str, Any] = {"attribute": net, "class": Net, "slot": slotted}
            holders[holder].W = value

    fs: dict[str, Any] = {
        "attribute": lambda x: (x**2).sum() + (net.W**3).sum(),
        "class": lambda x: (x**2).sum() + (net.W**3).sum(),
        "slot": lambda x: (x**2).sum() + (slotted.W**3).sum(),
        "item": lambda x: (x**2).sum() + (items[0] ** 3).sum(),
        "variable": lambda x: (x**2).sum() + (W**3).sum(),
    }
    f = fs[holder]
    gradient = Gradient(f) if h is None else Gradient(f, h=h)
    x = np.linspace(1.0, 2.0, n)
    for _ in range(30):
        x = x * 1.01
        put(x)
        np.testing.assert_allclose(gradient(x), 2 * x + 3 * x**2, rtol=1e-6)


@pytest.mark.parametrize("n", [5, 40])
def test_what_an_object_of_a_library_holds_is_read(n: int) -> None:
    x = np.linspace(1.0, 2.0, n)
    polynomial = np.poly1d(x)  # keeps x itself
    expected = 2 * x + 0.9 ** np.arange(n - 1, -1, -1.0)

    def f(v: Any) -> Any:
        return (v**2).sum() + polynomial(0.9)

    gradient = Gradient(f)
    for _ in range(5):
        np.testing.assert_allclose(gradient(x), expected, rtol=1e-7)
        np.testing.assert_allclose(numerical_gradient(f, x), expected, rtol=1e-7)


@pytest.mark.parametrize("n", [3, 20, 60])
@pytest.mark.parametrize(
    "made", [lambda f: np.frompyfunc(f, 1, 1), functools.singledispatch], ids=["frompyfunc", "singledispatch"]
)
def test_what_a_library_calls_may_read_anything(made: Any, n: int) -> None:
    x = np.linspace(1.0, 2.0, n)
    square = made(lambda i: x[int(i)] ** 2)  # of the caller's own x: only the reference moves that

    def f(y: Any) -> Any:
        return sum(square(i) for i in range(n)) + (y * y).sum()

    assert keeps(f)
    assert_allclose(numerical_gradient(f, x), 4.0 * x, rtol=1e-8)
    with pytest.raises(TypeError, match="frompyfunc|singledispatch"):
        numerical_gradient(f, x, backend="numpy")
