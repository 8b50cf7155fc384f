"""jvp and vjp against Jacobians written by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastgrad import AccuracyWarning, Hessian, Jacobian, NonFiniteWarning, hvp, jvp, vjp

M = np.random.default_rng(3).normal(size=(7, 5)) / 3


def f(x: Any) -> Any:
    return np.tanh(M @ x)


def exact(x: Any) -> Any:
    return (1 - np.tanh(M @ x) ** 2)[:, None] * M


X, V, W = np.linspace(0.5, 1.5, 5), np.array([1.0, -2.0, 0.5, 3.0, 0.0]), np.arange(7.0)


@pytest.mark.parametrize("options", [{}, {"h": 1e-5}, {"method": "forward"}, {"method": "complex"}])
def test_along_a_direction(options: dict[str, Any]) -> None:
    product = jvp(f, X, V, **options)
    tolerance = 1e-6 if "method" in options else 1e-9
    np.testing.assert_allclose(product, exact(X) @ V, rtol=0, atol=tolerance * np.abs(V).max())


def test_directions_of_any_length() -> None:
    for length in (1e-12, 1e12):
        np.testing.assert_allclose(jvp(f, X, length * V), length * (exact(X) @ V), rtol=1e-8, atol=1e-10 * length)
    np.testing.assert_array_equal(jvp(f, X, np.zeros(5)), np.zeros(7))


def test_weighted_gradient() -> None:
    np.testing.assert_allclose(vjp(f, X, W), W @ exact(X), rtol=0, atol=1e-9)
    np.testing.assert_allclose(vjp(lambda x: [x[0], x[1] ** 2], [1.0, 2.0], [3.0, 1.0]), [3.0, 4.0], rtol=1e-9)
    np.testing.assert_allclose(vjp(lambda x: x @ x, X, 2.0), 4 * X, rtol=1e-9)


def test_lifted_where_x_is_long() -> None:
    x = np.linspace(0.5, 1.5, 500)
    w = np.cos(np.arange(499.0))
    expected = np.zeros(500)
    expected[1:] += w * x[:-1]
    expected[:-1] += w * x[1:]
    np.testing.assert_allclose(vjp(lambda x: x[1:] * x[:-1], x, w), expected, rtol=1e-12, atol=1e-14)


def test_shapes_and_places() -> None:
    x = X[:4].reshape(2, 2)
    assert jvp(lambda x: x @ x, x, x).shape == (2, 2)
    np.testing.assert_allclose(jvp(lambda x: x @ x, x, x), 2 * x @ x, rtol=1e-9)
    np.testing.assert_allclose(vjp(lambda x: x @ x, x, np.eye(2)), 2 * x.T, rtol=1e-9)
    product = jvp(lambda t, y: [t * y[0] * y[1]], [2.0, 3.0], [1.0, 0.0], argnum=1, args=(2.0,))
    np.testing.assert_allclose(product, [6.0], rtol=1e-9)
    jacobian = Jacobian(lambda x, a: a * f(x), args=(1.0,))
    np.testing.assert_allclose(jacobian.jvp(X, V, 2.0), 2 * exact(X) @ V, atol=1e-8)
    np.testing.assert_allclose(jacobian.vjp(X, W, 2.0), 2 * W @ exact(X), atol=1e-8)


def test_closures_that_read_the_callers_array() -> None:
    x = X.copy()
    np.testing.assert_allclose(jvp(lambda _: f(x), x, V), exact(X) @ V, rtol=0, atol=1e-9)
    np.testing.assert_allclose(vjp(lambda _: f(x), x, W), W @ exact(X), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jvp(f, X, V[:3]), "`v` must have the shape of x"),
        (lambda: vjp(f, X, W[:3]), r"`w` must have the shape of f\(x\)"),
        (lambda: jvp(f, X, ["a"] * 5), "`v` must hold real numbers"),
        (lambda: jvp(f, X, None), "`v` must hold real numbers"),
        (lambda: jvp(f, X, [np.nan] * 5), "`v` must be finite"),
        (lambda: jvp(f, [np.nan] * 5, V), "`x` must be finite"),
        (lambda: jvp(lambda x: None, X, V), "`f` must return an array.*None"),
        (lambda: vjp(lambda x: [[1.0], [1.0, 2.0]], X, W), "`f` must return an array.*ragged"),
        (lambda: vjp(f, X, "text"), "`w` must hold real numbers"),
        (lambda: jvp(f, X, V, sparsty=1), "`sparsty` is no option here"),
        (lambda: jvp(f, X, V, rel_step=1e-3), "`rel_step` has no meaning along"),
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize(
    ("f", "x", "category"),
    [
        (np.abs, [0.0, 1.0], AccuracyWarning),
        (lambda x: np.sum(np.sqrt(np.abs(x))), [0.0, 1.0], AccuracyWarning),
        (lambda x: x / 0.0, [1.0, 2.0], NonFiniteWarning),
    ],
)
def test_products_tell_where_there_is_no_derivative(f, x, category):
    for call in (lambda: jvp(f, x, [1.0, 1.0]), lambda: jvp(f, x, [1.0, 0.0], backend="python")):
        with pytest.warns(category), np.errstate(all="ignore"):
            call()


def flat_sum(x: Any) -> float:
    return sum(math.sin(v) * v for v in x.tolist())


def test_products_tell_their_errors() -> None:
    x, v = np.linspace(0.3, 1.5, 9), np.linspace(1.0, -1.5, 9)
    exact = v * (2.0 * np.cos(x) - x * np.sin(x))
    for f in (flat_sum, lambda x: np.sum(np.sin(x) * x)):
        product, info = hvp(f, x, v, full_output=True)
        assert info.error.shape == x.shape
        assert (np.abs(product - exact) <= info.error).all()
        assert info.error.max() < 1e-5
    slopes = np.sin(x) + x * np.cos(x)
    product, told = jvp(lambda x: np.sin(x) * x, x, v, full_output=True)
    assert (np.abs(product - slopes * v) <= told.error).all()
    assert told.way == "one direction"
    product, of_gradient = vjp(lambda x: np.sin(x) * x, x, v, full_output=True)
    assert (np.abs(product - slopes * v) <= of_gradient.error).all()


def test_products_tell_their_errors_in_the_structure_of_x() -> None:
    p = {"a": np.array([0.5, 1.5]), "b": 2.0}

    def f(p: Any) -> Any:
        return np.sum(np.sin(p["a"])) * p["b"] ** 2

    def many(p: Any) -> Any:
        return {"y": p["a"] * p["b"], "z": p["b"]}

    _, info = hvp(f, p, p, full_output=True)
    assert info.error["a"].shape == (2,)
    _, info = jvp(many, p, p, full_output=True)
    assert info.error["y"].shape == (2,)
    _, of_gradient = vjp(many, p, {"y": np.ones(2), "z": 1.0}, full_output=True)
    assert np.shape(of_gradient["b"].error) == ()


def test_evaluations_of_products_are_counted() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.array([math.sin(v) for v in x])

    x = np.linspace(0.3, 1.5, 9)
    for product in (jvp, vjp):
        calls = 0
        assert product(f, x, x, full_output=True)[1].nfev == calls
    calls = 0
    assert hvp(lambda x: float(f(x).sum()), x, x, full_output=True)[1].nfev == calls


def test_a_product_of_slopes_that_rounding_hides_is_told() -> None:
    x = np.full(8, 0.5)
    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        hvp(lambda x: 1e15 + sum(math.sin(v) for v in x.tolist()), x, np.ones(8))


def test_a_product_of_a_gradient_that_is_not_that_of_f_is_told() -> None:
    x, v = np.linspace(0.3, 1.5, 9), np.linspace(1.0, -1.5, 9)
    exact = v * (2.0 * np.cos(x) - x * np.sin(x))

    def forward(x: Any) -> Any:
        return np.array([(flat_sum(x + 1e-3 * e) - flat_sum(x)) / 1e-3 for e in np.eye(9)])

    product, info = hvp(flat_sum, x, v, grad=forward, full_output=True)
    assert (np.abs(product - exact) <= info.error).all()
    with pytest.warns(AccuracyWarning, match="bend otherwise"):
        hvp(flat_sum, x, v, grad=np.cos)


def test_products_of_a_sparse_hessian_by_values() -> None:
    hessian = Hessian(lambda x: math.exp(float(x[0])) * float(x[1]), sparse=True, backend="python")
    np.testing.assert_allclose(hessian.hvp([0.0, 2.0], [1.0, 3.0]), [5.0, 1.0], rtol=1e-8)
