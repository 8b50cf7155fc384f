"""x as a dictionary of arrays: f gets one, the result is one, and closures work that read the arrays themselves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import (
    Gradient,
    Info,
    check_gradient,
    explain,
    gradient_descent,
    jvp,
    numerical_diff,
    numerical_gradient,
    value_and_gradient,
    vjp,
)
from fastgrad.core.structure import Structure

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(20, 8)), RNG.integers(0, 3, 20)


class Net:
    """The textbook's: layers that keep what they compute."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.params = {"W1": rng.normal(size=(8, 6)), "b1": np.zeros(6), "W2": rng.normal(size=(6, 3))}

    def loss(self, x: Any, t: Any) -> Any:
        self.hidden = np.tanh(np.dot(x, self.params["W1"]) + self.params["b1"])
        y = np.dot(self.hidden, self.params["W2"])
        y = np.exp(y - y.max(axis=1, keepdims=True))
        self.y = y / y.sum(axis=1, keepdims=True)
        return -np.mean(np.log(self.y[np.arange(len(t)), t]))

    def gradient(self, x: Any, t: Any) -> dict[str, Any]:
        self.loss(x, t)
        d = (self.y - np.eye(3)[t]) / len(t)
        back = d @ self.params["W2"].T * (1 - self.hidden**2)
        return {"W1": x.T @ back, "b1": back.sum(axis=0), "W2": self.hidden.T @ d}


def pure(p: dict[str, Any]) -> Any:
    hidden = np.tanh(IMAGES @ p["W1"] + p["b1"])
    return np.sum((hidden @ p["W2"]) ** 2)


def nested() -> dict[str, Any]:
    return {"encoder": {"W": RNG.normal(size=(2, 3)), "b": [0.5, -0.5]}, "scale": 2.0}


def of_nested(p: Any) -> Any:
    return p["scale"] ** 2 * np.sum(p["encoder"]["W"] ** 2) + np.sum(np.asarray(p["encoder"]["b"]) ** 3)


def same(found: Any, expected: Any, **tolerance: Any) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert_allclose(found[key], value, **tolerance)
        assert np.shape(found[key]) == np.shape(value)


def test_a_net_and_its_own_parameters() -> None:
    net = Net()
    kept = {key: value.copy() for key, value in net.params.items()}
    arrays = list(net.params.values())
    gradient, info = numerical_gradient(lambda p: net.loss(IMAGES, LABELS), net.params, full_output=True)
    same(gradient, net.gradient(IMAGES, LABELS), atol=1e-9)
    assert info["W1"].way == "lift in place"
    assert isinstance(info["b1"], Info)
    same(net.params, kept, rtol=0)
    assert all(a is b for a, b in zip(net.params.values(), arrays, strict=True))


@pytest.mark.parametrize("backend", ["auto", "python"])
def test_f_of_its_argument(backend: str) -> None:
    p = Net().params
    seen = []

    def f(q: dict[str, Any]) -> Any:
        seen.append((list(q), all(a is not b for a, b in zip(q.values(), p.values(), strict=True))))
        return pure(q)

    by_array = {
        key: numerical_gradient(lambda a, key=key: pure({**p, key: a}), value, backend="python")
        for key, value in p.items()
    }
    same(numerical_gradient(pure, p, backend=backend), by_array, rtol=1e-6, atol=1e-6)
    same(numerical_gradient(f, p, backend="python"), by_array, rtol=1e-6, atol=1e-6)
    assert all(keys == ["W1", "b1", "W2"] and own for keys, own in seen)
    assert numerical_gradient(pure, p, full_output=True)[1]["W1"].backend == "numpy"


def test_f_that_writes_into_its_argument() -> None:
    p = {"a": np.array([1.0, 2.0]), "b": np.array([3.0])}

    def f(q: Any) -> Any:
        q["b"] *= 2.0
        q["a"] += 1.0
        return np.sum(q["a"] ** 2) * q.pop("b")[0]

    same(numerical_gradient(f, p), {"a": [24.0, 36.0], "b": [26.0]}, rtol=1e-8)
    same(p, {"a": [1.0, 2.0], "b": [3.0]}, rtol=0)


def test_nested_with_lists_and_numbers() -> None:
    p = nested()
    W = p["encoder"]["W"].copy()
    for gradient in (numerical_gradient(of_nested, p), Gradient(of_nested)(p), value_and_gradient(of_nested, p)[1]):
        assert_allclose(gradient["encoder"]["W"], 8.0 * W, atol=1e-8)
        assert_allclose(gradient["encoder"]["b"], [0.75, 0.75], atol=1e-8)
        assert_allclose(gradient["scale"], 4.0 * np.sum(W**2), rtol=1e-8)
        assert np.shape(gradient["scale"]) == ()
    assert value_and_gradient(of_nested, p)[0] == of_nested(p)
    assert_array_equal(p["encoder"]["W"], W)
    assert explain(of_nested, p).startswith("encoder.W: backend")


def test_x_is_put_back_whatever_happens() -> None:
    net = Net()
    kept = {key: value.copy() for key, value in net.params.items()}
    for stop in (3, 40, 80):
        calls = 0

        def f(_: Any, stop: int = stop) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            return net.loss(IMAGES, LABELS)

        with pytest.raises(KeyboardInterrupt):
            numerical_gradient(f, net.params, backend="python")
        same(net.params, kept, rtol=0)


def test_options_by_array() -> None:
    p = {"a": np.array([0.0, 1.0]), "b": np.array(2.0, dtype=np.float32)}
    f = lambda q: np.sum(np.sqrt(q["a"])) + q["b"] ** 2  # noqa: E731
    gradient, info = numerical_gradient(
        f, {**p, "a": [1.0, 4.0]}, {"a": 1e-4, "b": 1e-2}, bounds={"a": (0.0, 5.0)}, full_output=True
    )
    same(gradient, {"a": [0.5, 0.25], "b": 4.0}, rtol=1e-5)
    assert gradient["b"].dtype == np.float32
    assert_allclose(info["a"].step, 1e-4)
    assert_allclose(info["b"].step, 1e-2, rtol=1e-5)
    same(Gradient(lambda q, a: a * np.sum(q["x"]), args=(2.0,))({"x": np.ones(3)}, 3.0), {"x": [3.0] * 3}, rtol=1e-9)


def test_products() -> None:
    p = {"A": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}
    v = {"A": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}
    f = lambda q: np.asarray(q["A"] @ q["b"])  # noqa: E731
    assert_allclose(jvp(f, p, v), v["A"] @ p["b"] + p["A"] @ v["b"], atol=1e-9)
    w = np.array([1.0, -2.0, 0.5])
    expected = {"A": np.outer(w, p["b"]), "b": p["A"].T @ w}
    same(vjp(f, p, w), expected, atol=1e-9)
    same(vjp(lambda _: p["A"] @ p["b"], p, w), expected, atol=1e-9)  # which reads the arrays themselves
    assert_allclose(jvp(lambda _: p["A"] @ p["b"], p, v), v["A"] @ p["b"] + p["A"] @ v["b"], atol=1e-9)
    assert_allclose(jvp(lambda t, q: t * f(q), p, v, argnum=1, args=(2.0,)), 2 * jvp(f, p, v), atol=1e-8)


@pytest.mark.parametrize("directions", [None, 2])
def test_check_gradient_names_entries(directions: int | None) -> None:
    net = Net()
    loss, grad = lambda _: net.loss(IMAGES, LABELS), lambda _: net.gradient(IMAGES, LABELS)
    check = check_gradient(loss, grad, net.params, directions=directions)
    assert check.verdict == "right", check
    wrong = net.gradient(IMAGES, LABELS)
    wrong["W1"][3, 2] *= 1.5
    check = check_gradient(loss, wrong, net.params, directions=directions)
    assert check.verdict == "wrong"
    assert np.count_nonzero(check.wrong) == 1
    assert ("W1[3, 2]: given" if directions is None else "of W1: given") in str(check)
    assert check.wrong.size == (48 + 6 + 18 if directions is None else 6)


def test_descent() -> None:
    p = {"a": np.array([1.0, -2.0]), "inner": {"b": np.float32(3.0)}}
    bowl = lambda q: np.sum((q["a"] - 1.0) ** 2) + (q["inner"]["b"] + 1.0) ** 2  # noqa: E731
    seen: list[Any] = []
    done = gradient_descent(bowl, p, lr=0.1, step_num=100, full_output=True, callback=seen.append)
    assert_allclose(done.x["a"], [1.0, 1.0], atol=1e-8)
    assert_allclose(done.x["inner"]["b"], -1.0, atol=1e-6)
    assert done.x["inner"]["b"].dtype == np.float32
    assert len(done.path) == 101 == len(done.values) == 1 + len(seen)
    assert_array_equal(done.path[0]["a"], p["a"])
    analytic = lambda q: {"a": 2 * (q["a"] - 1), "inner": {"b": 2 * (q["inner"]["b"] + 1)}}  # noqa: E731
    assert_allclose(gradient_descent(bowl, p, lr=0.1, grad=analytic)["a"], done.x["a"], atol=1e-8)
    net = Net()
    with pytest.raises(ValueError, match="`f` ignores its argument and reads `init_x` itself"):
        gradient_descent(lambda _: net.loss(IMAGES, LABELS), net.params)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"a": np.ones(2), "b": {"c": [1.0, np.nan]}}, r"`x\['b'\]\['c'\]` must be finite, got nan at coordinate 1"),
        ({"a": "text"}, r"`x\['a'\]` must hold real numbers"),
        ({"a": None}, r"`x\['a'\]` must hold real numbers"),
        ({"a": [[1.0], [1.0, 2.0]]}, r"`x\['a'\]` must be a rectangular array"),
    ],
)
def test_wrong_x_is_named(x: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        numerical_gradient(lambda q: 0.0, x)


def test_wrong_arguments_are_named() -> None:
    x = {"a": np.ones(3), "b": np.ones(2)}
    f = lambda q: np.sum(q["a"]) * q["b"]  # noqa: E731
    for v, message in (
        (np.ones(5), "`v` must be a dictionary"),
        ({"a": np.ones(3)}, "`v` must have the keys of x: 'b' is missing"),
        ({**x, "c": 1.0}, "got 'c', too"),
        ({**x, "b": np.ones(3)}, r"`v\['b'\]` must have the shape of x there, \(2,\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            jvp(f, x, v)
    with pytest.raises(ValueError, match="`indices` has no meaning where x is a dictionary"):
        numerical_gradient(lambda q: np.sum(q["a"]), x, indices=[0])
    with pytest.raises(ValueError, match="`grad` must have the keys"):
        check_gradient(lambda q: np.sum(q["a"]), {"a": np.ones(3)}, x)
    shared = np.ones(4)
    with pytest.raises(ValueError, match="holds the same memory as 'a' and as 'b'"):
        numerical_gradient(lambda q: 0.0, {"a": shared, "b": shared[1:]})
    halves = {"a": shared[::2], "b": shared[1::2]}  # of one array, but each its own
    same(numerical_gradient(lambda _: np.sum(shared**2), halves), {"a": [2.0] * 2, "b": [2.0] * 2}, rtol=1e-8)
    with pytest.raises(TypeError, match="`x` is a dictionary, which is for derivatives"):
        numerical_diff(lambda q: q["a"], x)


def test_nothing_in_it() -> None:
    with pytest.raises(ValueError, match="`x` must hold arrays, got {}"):
        numerical_gradient(lambda q: 1.0, {})
    with pytest.raises(ValueError, match=r"`x\['a'\]` must hold arrays, got {}"):
        numerical_gradient(lambda q: 1.0, {"a": {}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(numerical_gradient(lambda q: 1.0, {"a": np.empty((0, 2))}), {"a": np.empty((0, 2))}, rtol=0)


def test_flat_and_back() -> None:
    structure = Structure(nested())
    flat = np.arange(9.0)
    assert_array_equal(structure.joined(structure.alike("v", structure.split(flat))), flat)
    assert [structure.label(i) for i in (0, 5, 7, 8)] == ["encoder.W[0, 0]", "encoder.W[1, 2]", "encoder.b[1]", "scale"]
