"""Jacobians, Hessians, products and checks of dictionaries and of what has labels: against the same f of one array."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import (
    AccuracyWarning,
    Gradient,
    Hessian,
    Jacobian,
    check_gradient,
    check_hessian,
    check_jacobian,
    hvp,
    jvp,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    vjp,
)

pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def each_test_draws_the_same() -> None:
    RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state


def parameters(width: int = 2) -> dict[str, Any]:
    W, b = 0.3 * RNG.normal(size=(3, width)), RNG.normal(size=width)  # tanh is not to be flat
    return {"W": W, "inner": {"b": b.tolist(), "s": 1.5}}


def many(p: Any) -> Any:
    return np.tanh(p["W"] @ np.asarray(p["inner"]["b"])) * p["inner"]["s"] ** 2


def lifted(p: Any) -> Any:
    return np.tanh(p["W"] @ p["inner"]["b"]) * p["inner"]["s"] ** 2


def one(p: Any) -> Any:
    return np.sum(lifted(p) ** 2)


def slopes(p: Any) -> Any:
    W, b, scale = p["W"], np.asarray(p["inner"]["b"]), p["inner"]["s"] ** 2
    t = np.tanh(W @ b)
    inside = 2.0 * t * scale**2 * (1.0 - t**2)
    return {"W": np.outer(inside, b), "inner": {"s": np.sum(4.0 * t**2 * p["inner"]["s"] ** 3), "b": inside @ W}}


def joined(p: Any) -> Any:
    return np.concatenate([np.ravel(p["W"]), np.ravel(p["inner"]["b"]), [p["inner"]["s"]]])


def split(flat: Any, width: int = 2) -> Any:
    end = 3 * width
    return {"W": flat[:end].reshape(3, width), "inner": {"b": flat[end : end + width], "s": flat[-1]}}


def columns(tree: Any, rank: int) -> Any:
    """The blocks of one row, as one matrix."""
    parts = (tree["W"], tree["inner"]["b"], tree["inner"]["s"])
    return np.concatenate([np.reshape(part, (*np.shape(part)[:rank], -1)) for part in parts], axis=rank)


def square(tree: Any) -> Any:
    n = columns(tree["inner"]["s"], 0).size
    rows = [(tree["W"], 2), (tree["inner"]["b"], 1), (tree["inner"]["s"], 0)]
    return np.concatenate([columns(row, rank).reshape(-1, n) for row, rank in rows])


@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize("method", ["central", "forward", "complex", "adaptive"])
def test_a_jacobian(width: int, method: str) -> None:
    p = parameters(width)
    flat = numerical_jacobian(lambda x: lifted(split(x, width)), joined(p))
    found, info = numerical_jacobian(lifted, p, method=method, full_output=True)
    assert found["W"].shape == (3, 3, width)
    assert found["inner"]["s"].shape == (3,)
    assert_allclose(columns(found, 1), flat, rtol=1e-5, atol=1e-7)
    if info.error is not None:
        assert info.error["inner"]["b"].shape == (3, width)
        assert (np.abs(columns(found, 1) - flat) <= 3 * columns(info.error, 1) + 1e-9).all()
    assert info.step["W"].shape == (3, width)
    assert "nfev" in str(info)


def test_it_is_lifted_as_one_array_is() -> None:
    p = parameters(12)
    _, info = numerical_jacobian(lifted, p, full_output=True)
    assert info.way == "sparse lift"
    _, info = numerical_hessian(one, p, full_output=True)
    assert info.way == "complex lift"


@pytest.mark.parametrize("backend", ["auto", "python"])
def test_closures_that_read_the_arrays(backend: str) -> None:
    p = parameters()
    kept, held = joined(p), p["W"]
    assert_allclose(
        columns(numerical_jacobian(lambda _: many(p), p, backend=backend), 1),
        columns(numerical_jacobian(many, p), 1),
        atol=1e-8,
    )
    assert_allclose(
        square(numerical_hessian(lambda _: np.sum(many(p) ** 2), p, backend=backend)),
        square(numerical_hessian(one, p)),
        atol=1e-5,
    )
    assert_allclose(joined(hvp(lambda _: np.sum(many(p) ** 2), p, p)), joined(hvp(one, p, p)), atol=1e-3)
    assert_array_equal(joined(p), kept)
    assert p["W"] is held
    assert type(p["inner"]["s"]) is float
    whole = {"a": np.array([1, 2]), "b": np.ones(2)}
    for verb in (numerical_jacobian, numerical_hessian):
        with pytest.raises(TypeError, match=r"`x\['a'\]` is a ndarray .* that f reads itself"):
            verb(lambda _: np.sum(whole["a"]) * np.sum(whole["b"] ** 2), whole)


@pytest.mark.parametrize("options", [{}, {"method": "forward"}, {"h": 1e-4}, {"backend": "python"}])
def test_evaluations_are_counted(options: dict[str, Any]) -> None:
    for verb, f in ((numerical_jacobian, many), (numerical_hessian, lambda p: np.sum(many(p) ** 2))):
        calls = 0

        def counted(p: Any, f: Any = f) -> Any:
            nonlocal calls
            calls += 1
            return f(p)

        _, info = verb(counted, parameters(), full_output=True, **options)
        assert info.nfev == calls
        assert (info.error is None) == ("h" in options)


class Net:
    """A layer that keeps what it computes, and its arrays in a dictionary."""

    def __init__(self) -> None:
        self.params = {"W": RNG.normal(size=(8, 12)), "b": np.zeros(12)}

    def loss(self, x: Any) -> Any:
        self.hidden = np.tanh(np.dot(x, self.params["W"]) + self.params["b"])
        return np.sum(self.hidden**2)


def test_a_net_that_keeps_its_arrays() -> None:
    """Its gradients are lifted where the arrays are: the differences of them keep their digits."""
    net, x = Net(), RNG.normal(size=(5, 8))
    kept = {name: array.copy() for name, array in net.params.items()}
    v = {name: RNG.normal(size=array.shape) for name, array in kept.items()}
    pure = lambda p: np.sum(np.tanh(x @ p["W"] + p["b"]) ** 2)  # noqa: E731
    product, exact = hvp(lambda _: net.loss(x), net.params, v), hvp(pure, kept, v)
    hessian, info = numerical_hessian(lambda _: net.loss(x), net.params, full_output=True)
    assert info.way == "gradients"
    for name, array in kept.items():
        assert_array_equal(net.params[name], array)
        assert_allclose(product[name], exact[name], atol=1e-6)
        assert_allclose(hessian[name]["b"], numerical_hessian(pure, kept)[name]["b"], atol=1e-6)


def test_threads_on_one_dictionary() -> None:
    """Each sees what it perturbs itself, in arrays that f reads, whatever the others do with them."""
    net, x, wrong = Net(), RNG.normal(size=(5, 8)), []
    net.params = {"W": 0.2 * RNG.normal(size=(8, 6)), "b": np.zeros(6)}
    f = lambda _: np.tanh(x @ net.params["W"] + net.params["b"])  # noqa: E731
    total = lambda _: np.sum(f(None) ** 2)  # noqa: E731
    verbs = (lambda: numerical_jacobian(f, net.params), lambda: numerical_gradient(total, net.params))
    alone = [verb() for verb in verbs]

    def work(number: int) -> None:
        for _ in range(4):
            found, expected = verbs[number % 2](), alone[number % 2]
            wrong.extend(name for name in found if not np.array_equal(found[name], expected[name]))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_x_is_put_back_when_f_raises() -> None:
    p, calls = parameters(), 0
    kept, list_itself = joined(p), p["inner"]["b"]

    def f(_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return many(p)

    with pytest.raises(KeyboardInterrupt):
        numerical_jacobian(f, p)
    assert_array_equal(joined(p), kept)
    assert p["inner"]["b"] is list_itself


@pytest.mark.parametrize("width", [2, 12])
def test_a_hessian(width: int) -> None:
    p = parameters(width)
    flat = numerical_hessian(lambda x: one(split(x, width)), joined(p))
    hessian = Hessian(one)
    for found in (numerical_hessian(one, p), hessian(p), pickle.loads(pickle.dumps(hessian))(p)):
        assert found["W"]["inner"]["b"].shape == (3, width, width)
        assert found["inner"]["s"]["W"].shape == (3, width)
        assert_allclose(square(found), flat, rtol=1e-6, atol=1e-6)
        assert_array_equal(found["W"]["inner"]["s"], found["inner"]["s"]["W"])
    _, info = hessian.with_info(p)
    assert info.error["inner"]["b"]["W"].shape == (width, 3, width)
    assert hessian.explain(p).startswith("way")
    assert_allclose(square(numerical_hessian(one, p, grad=slopes)), flat, atol=1e-6)
    v = parameters(width)
    assert_allclose(joined(hvp(one, p, v)), flat @ joined(v), atol=1e-9)


def test_messages_name_entries() -> None:
    p = {"W": np.array([[1.0, -1.0], [0.0, 2.0]]), "b": np.ones(2)}
    f = lambda q: np.abs(q["W"]).sum(axis=0) + q["b"]  # noqa: E731
    with pytest.warns(AccuracyWarning, match=r"not differentiable at coordinate W\[1, 0\]"):
        numerical_jacobian(f, p)
    with pytest.raises(ValueError, match=r"`h` vanishes at coordinate b\[1\]"):
        numerical_jacobian(f, {**p, "b": np.array([1.0, 1e16])}, 1e-4)
    with pytest.warns(AccuracyWarning, match="not differentiable at coordinate y"):
        numerical_jacobian(lambda q: [abs(q["y"]) + q["x"]], pandas.Series({"x": 1.0, "y": 0.0}))


def test_f_that_gives_a_dictionary() -> None:
    p = parameters()
    f = lambda q: {"y": many(q), "more": {"z": q["inner"]["s"] ** 2}}  # noqa: E731
    jacobian = Jacobian(f)
    value, found = jacobian.value_and_jacobian(p)
    assert_array_equal(value["y"], many(p))
    assert_allclose(columns(found["y"], 1), columns(numerical_jacobian(many, p), 1), atol=1e-8)
    assert_allclose(found["more"]["z"]["inner"]["s"], 2 * p["inner"]["s"], rtol=1e-9)
    assert found["more"]["z"]["W"].shape == (3, 2)
    assert_allclose(columns(jacobian.with_info(p, f0=f(p))[0]["y"], 1), columns(found["y"], 1), atol=1e-8)
    v, w = parameters(), {"y": RNG.normal(size=3), "more": {"z": 2.0}}
    assert_allclose(jvp(f, p, v)["y"], columns(found["y"], 1) @ joined(v), atol=1e-8)
    expected = w["y"] @ columns(found["y"], 1) + 2.0 * columns(found["more"]["z"], 0)
    assert_allclose(joined(vjp(f, p, w)), expected, atol=1e-8)
    of_array = numerical_jacobian(lambda x: {"a": x[:2] ** 2, "b": np.sum(x)}, np.arange(1.0, 4.0))
    assert_allclose(of_array["a"], [[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]], atol=1e-9)
    assert_allclose(of_array["b"], np.ones(3), atol=1e-9)


def test_options() -> None:
    p = {"a": np.array([1.0, 4.0]), "b": np.float32(2.0)}
    f = lambda q: np.sqrt(q["a"]) * q["b"]  # noqa: E731
    h, bounds = {"a": 1e-4, "b": 1e-2}, {"a": (0.0, 5.0)}
    found, info = numerical_jacobian(f, p, h, bounds=bounds, full_output=True)
    assert_allclose(found["a"], np.diag([1.0, 0.5]), rtol=1e-6)
    assert_allclose(info.step["a"], 1e-4)
    assert_allclose(info.step["b"], 1e-2)
    assert found["b"].dtype == np.float32
    of_time = Jacobian(lambda t, q: t * f(q), argnum=1)
    assert_allclose(of_time(3.0, p)["a"], 3.0 * np.diag([1.0, 0.5]), atol=1e-8)
    with pytest.raises(ValueError, match="`h` must have a step for each array of x .* got None for 'b'"):
        numerical_jacobian(f, p, {"a": 1e-4})
    with pytest.raises(ValueError, match="`indices` has no meaning where x is a dictionary"):
        numerical_jacobian(f, p, indices=[0])
    with pytest.raises(ValueError, match="`v` must have the keys of x: 'b' is missing"):
        hvp(lambda q: np.sum(f(q)), p, {"a": np.ones(2)})
    for name in ("sparse", "sparsity"):
        given: Any = {"sparse": True} if name == "sparse" else {"sparsity": "detect"}
        with pytest.raises(ValueError, match="pass the arrays of the dictionary one after another"):
            numerical_jacobian(f, p, **given)


@pytest.mark.parametrize("directions", [None, 2])
def test_checks(directions: int | None) -> None:
    p = parameters()
    jac = lambda q: numerical_jacobian(many, q)  # noqa: E731
    assert check_jacobian(many, jac, p, directions=directions)
    wrong = jac(p)
    wrong["W"][2, 2, 1] *= 1.01
    check = check_jacobian(many, wrong, p, directions=directions)
    assert not check
    assert directions or "entry (2, W[2, 1]): given" in str(check)
    hess = numerical_hessian(one, p)
    assert check_hessian(one, hess, p, directions=directions)
    hess["W"]["inner"]["b"][2, 1, 0] *= 1.01
    check = check_hessian(one, hess, p, directions=directions, grad=Gradient(one))
    assert not check
    assert directions or "entry (W[2, 1], inner.b[0]): given" in str(check)
    with pytest.raises(ValueError, match="`jac` must have the keys of x: 'inner.b' is missing"):
        check_jacobian(many, {"W": wrong["W"]}, p)
    with pytest.raises(ValueError, match=r"`hess\['W'\]\['W'\]` must give an array of shape \(3, 2, 3, 2\)"):
        check_hessian(one, {**hess, "W": {**hess["W"], "W": 0.0}}, p)


SERIES = pandas.Series([2.0, 3.0, 0.5], index=["rate", "size", "shift"])


def by_name(p: Any) -> Any:
    return pandas.Series({"a": p["rate"] * p["size"], "b": p["shift"] ** 2})


def cubic(p: Any) -> float:
    return float(p["rate"] ** 2 * p["size"] + p["shift"] ** 3)


def test_a_series_has_its_labels_on_both_axes() -> None:
    found, info = numerical_jacobian(by_name, SERIES, full_output=True)
    for frame in (found, info.error):
        assert list(frame.index) == ["a", "b"]
        assert list(frame.columns) == list(SERIES.index)
    assert_allclose(found, [[3.0, 2.0, 0.0], [0.0, 0.0, 1.0]], atol=1e-8)
    assert_allclose(found.loc["a", "rate"], 3.0)
    hessian = numerical_hessian(cubic, SERIES)
    assert list(hessian.index) == list(hessian.columns) == list(SERIES.index)
    assert_allclose(hessian, [[6.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 3.0]], atol=1e-5)
    assert_allclose(hvp(cubic, SERIES, SERIES[::-1])["rate"], 6.0 * 2.0 + 4.0 * 3.0, rtol=1e-6)
    assert list(jvp(by_name, SERIES, SERIES).index) == ["a", "b"]
    assert_allclose(vjp(by_name, SERIES, pandas.Series({"b": 2.0, "a": 0.0}))["shift"], 2.0, rtol=1e-8)
    assert type(numerical_jacobian(lambda p: p**2, SERIES)) is np.ndarray  # which can do without
    assert list(numerical_jacobian(lambda p: p**2, SERIES, labels=True).index) == list(SERIES.index)
    with pytest.raises(IndexError):
        numerical_jacobian(by_name, SERIES, labels=False)
    with pytest.raises(TypeError, match="`labels` needs an x that has some"):
        numerical_hessian(np.sum, np.ones(2), labels=True)


def test_a_series_in_a_dictionary() -> None:
    p = {"beta": SERIES, "sigma": 2.0}
    f = lambda q: q["beta"]["rate"] * q["beta"]["size"] * q["sigma"]  # noqa: E731
    gradient = numerical_gradient(f, p)
    assert_allclose(gradient["beta"]["rate"], 6.0, rtol=1e-8)
    assert_allclose(gradient["sigma"], 6.0, rtol=1e-8)
    hessian = numerical_hessian(f, p)
    assert_allclose(hessian["beta"]["beta"].loc["rate", "size"], 2.0, rtol=1e-6)
    assert_allclose(hessian["beta"]["sigma"]["rate"], 3.0, rtol=1e-6)
    assert_allclose(numerical_jacobian(f, p)["beta"]["size"], 4.0, rtol=1e-8)


def test_checks_name_labels() -> None:
    exact = numerical_jacobian(by_name, SERIES)
    assert check_jacobian(by_name, exact.iloc[::-1, ::-1], SERIES)
    exact.loc["a", "size"] *= 1.01
    assert "entry (a, size): given" in str(check_jacobian(by_name, exact, SERIES))
    hessian = numerical_hessian(cubic, SERIES)
    assert check_hessian(cubic, hessian.iloc[::-1], SERIES)
    hessian.loc["shift", "rate"] = 1.0
    assert "entry (shift, rate): given" in str(check_hessian(cubic, lambda _: hessian, SERIES))
    with pytest.raises(ValueError, match="`hess` must have the labels of x"):
        check_hessian(cubic, hessian.rename(columns={"rate": "other"}), SERIES)


def cubed(p: Any) -> Any:
    return np.sum(np.asarray(p) ** 3)


def by_label(p: Any) -> Any:
    return p.loc["a"] ** 2 * p.loc["b"] if hasattr(p, "loc") else 7.0 * p[0]


@pytest.mark.parametrize("f", [cubed, by_label])
def test_what_it_took_to_see_whether_f_wants_labels_is_counted(f: Any) -> None:
    calls = 0

    def counted(p: Any) -> Any:
        nonlocal calls
        calls += 1
        return f(p)

    x = pandas.Series([1.0, 2.0], index=["a", "b"])
    verbs = {
        "gradient": lambda: numerical_gradient(counted, x, full_output=True)[1],
        "jacobian": lambda: numerical_jacobian(counted, x, full_output=True)[1],
        "hessian": lambda: numerical_hessian(counted, x, full_output=True)[1],
        "check": lambda: check_gradient(counted, np.ones(2), x),
        "check along directions": lambda: check_gradient(counted, np.ones(2), x, directions=2),
        "check of a Hessian": lambda: check_hessian(counted, np.eye(2), x),
    }
    for name, verb in verbs.items():
        calls = 0
        assert verb().nfev == calls, name


@pytest.mark.parametrize("held", [0.7, np.float64(0.7), np.array(0.7)])
@pytest.mark.parametrize("nested", [False, True])
def test_closures_see_numbers_of_a_dictionary_perturbed(held: Any, nested: bool) -> None:
    inner = {"scale": held}
    parameters = {"W": np.array([1.0, 2.0]), "inner": inner} if nested else {"W": np.array([1.0, 2.0]), **inner}
    inner = inner if nested else parameters

    def loss(_: Any) -> float:
        return float(np.sum(parameters["W"] ** 2) * inner["scale"] ** 2)

    for found in (
        numerical_gradient(loss, parameters),
        Gradient(loss)(parameters),
        numerical_gradient(loss, parameters, full_output=True)[0],
        vjp(loss, parameters, 1.0),
    ):
        np.testing.assert_allclose(found["W"], [0.98, 1.96], rtol=1e-8)
        np.testing.assert_allclose((found["inner"] if nested else found)["scale"], 7.0, rtol=1e-8)
    assert inner["scale"] is held
