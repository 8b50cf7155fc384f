"""auto never gives a function that may keep things anything but plain arrays; one that cannot keep any is lifted."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastgrad import Gradient, numerical_gradient
from fastgrad.backends.purity import keeps

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


@pytest.mark.parametrize(
    "f", [pure, captured(), np.sum, functools.partial(lambda a, x: np.sum(a @ x), A), lambda x: x @ x]
)
def test_what_cannot_keep_anything(f: Any) -> None:
    assert keeps(f) == ""


@pytest.mark.parametrize("f", [appends, caches, random, Model().loss, counter(), attribute])
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
