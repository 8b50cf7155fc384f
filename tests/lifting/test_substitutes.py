"""What numpy gives an array-like no say in is covered by one table, for the dense, the sparse and the lift in place."""

import functools
import math
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy import array as made
from numpy import linalg
from numpy import zeros as nothing
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import numerical_gradient, numerical_hessian, numerical_jacobian
from fastgrad.core.call import Call
from fastgrad.lifting.dense.sweep import sweep
from fastgrad.lifting.substitutes import TABLE, Float, present

xp = np
X = np.random.default_rng(3).uniform(0.3, 0.9, size=30)
M = np.random.default_rng(4).normal(size=(30, 30))
ELSEWHERE = types.ModuleType("elsewhere")  # a package that is neither f's nor a library
exec(
    "import numpy\ndef squares(v):\n    out = numpy.zeros(4)\n    out[1:] = v[:3] ** 2\n    return out\n",
    vars(ELSEWHERE),
)


def written(x: Any) -> Any:
    r = nothing(5)
    r[1:3] = x[4:6] * x[0]
    E = xp.eye(3)
    E[0, 1] = x[2]
    return np.concatenate([r, E.ravel()])


def imports(x: Any) -> Any:
    import math as m

    import numpy
    from numpy import ones as one

    out = one(3)
    out[0] = m.sqrt(np.sum(x * x))
    return numpy.array([out[0], out[1] * x[1], x[2]])


class Curve:
    """Holds functions of numpy, and a constant."""

    like = staticmethod(np.zeros_like)

    def __init__(self) -> None:
        self.M, self.convert = M[:4], np.asarray

    def __call__(self, x: Any) -> Any:
        out = self.like(self.M[:, 0])
        out[:] = self.M.dot(self.convert(x, dtype=float))
        return out


CURVE = Curve()
STYLES: dict[str, Callable[[Any], Any]] = {
    "array": lambda x: made([[x[0], 1.0], [x[1] * x[2], 2.0]]).ravel(),
    "array of floats": lambda x: np.array([x[0] + x[1], 1], dtype=float) * x[2],
    "written": written,
    "imports": imports,
    "object": lambda x: CURVE(x),  # noqa: PLW0108
    "another package": lambda x: ELSEWHERE.squares(x) * x[:4],
    "partial": functools.partial(lambda a, x: a.dot(x) ** 2, M[:3]),
    "math": lambda x: np.exp(-x[:3]) * math.sqrt(1 + np.sum(x**2)) + math.atan2(np.sum(x), 2.0),
    "r_": lambda x: np.r_[x[1:4] - x[:3] ** 2, x[0], 1.0],
    "c_": lambda x: np.c_[x[:3], x[3:6] ** 2].ravel(),
    "atleast_1d": lambda x: np.atleast_1d(x[0] * x[1]),
    "vectorize": lambda x: np.vectorize(lambda a, b: a * a + b)(x[:6].reshape(2, 3), 2.0).ravel(),
    "full": lambda x: np.full(3, x[0] ** 2) * x[1:4] + np.full_like(M[0, :3], x[1]),
    "sum of a list": lambda x: np.sum([x[0], x[1] ** 2]) * x[:2] + np.mean([x[:2], x[2:4]], axis=0),
    "norm of a list": lambda x: linalg.norm([x[0], x[1] ** 2]) * x[:2],
    "lists within": lambda x: np.concatenate([[x[0], 1.0], x[3:5] ** 2]) + np.hstack([[x[0] * x[1]], [1.0, 2.0, 3.0]]),
    "nan_to_num": lambda x: np.nan_to_num(x[:3] ** 2),
    "cross": lambda x: np.cross(x[:3], x[3:6] ** 2),
    "gradient": lambda x: np.gradient(x[:6] ** 2, 0.1),
    "constant beside": lambda x: np.fft.rfft(np.ones(6)).real[:3] * x[:3],
}  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_dense(name: str) -> None:
    """Bit for bit, but for products of matrices."""
    f, index, points = STYLES[name], np.arange(X.size), X[:, None] + np.array([1e-4, -1e-4])
    values = sweep(Call(f), X, index, points)
    plain = np.empty_like(values)
    for i, j in np.ndindex(points.shape):
        x = X.copy()
        x[i] = points[i, j]
        plain[i, j] = f(x)
    if name in ("object", "partial"):
        assert_allclose(values, plain, rtol=1e-14, atol=1e-15)
    else:
        assert_array_equal(values, plain)


@pytest.mark.parametrize("name", [*STYLES, "float"])
def test_sparse(name: str) -> None:
    f = STYLES.get(name, lambda x: np.array([float(x[0]) ** 2, x[1] * float(np.sum(x))]))
    jacobian, info = numerical_jacobian(f, X, full_output=True)
    assert info.way == "sparse lift", info.reason
    assert_allclose(jacobian, numerical_jacobian(f, X, backend="python"), rtol=0, atol=1e-8 * np.abs(jacobian).max())


@pytest.mark.parametrize("name", [*STYLES, "float"])
def test_in_place(name: str) -> None:
    """All but what f imports while it runs, which is seen through a copy of f only."""
    f = STYLES.get(name, lambda x: np.array([float(x[0]) ** 2, x[1] * float(np.sum(x))]))
    W = X.copy()

    def loss(_: Any) -> Any:
        return np.sum(f(W) ** 2)

    gradient, info = numerical_gradient(loss, W, full_output=True)
    if name != "imports":
        assert info.way == "lift in place", info.reason
    assert_allclose(gradient, numerical_gradient(loss, W, backend="python"), rtol=1e-6, atol=1e-8)
    assert_array_equal(W, X)


def test_complex_points() -> None:
    """A float that f asks for is complex there."""

    def f(x: Any) -> Any:
        y = np.asarray(x, dtype=float)
        r = np.zeros(3, dtype=float)
        r[:] = y[:3] ** 2 * float(y[3])
        return r @ r

    hessian, info = numerical_hessian(f, X[:6], full_output=True)
    assert info.way == "complex lift", info.reason
    assert_allclose(hessian, numerical_hessian(f, X[:6], backend="python"), rtol=1e-4, atol=1e-4)


def test_other_threads_see_numpy_as_it_is() -> None:
    found: list[Any] = []

    def fresh(values: Any) -> Any:
        return "mine"

    def elsewhere() -> None:
        found.extend((TABLE[np.zeros](3), TABLE[np.array]([1.0]), present.fresh))

    present.fresh = fresh
    try:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert TABLE[np.zeros](3) == "mine"
    finally:
        present.fresh = None
    zeros, ones, there = found
    assert type(zeros) is type(ones) is np.ndarray
    assert there is None
    assert type(TABLE[np.zeros](3)) is np.ndarray


def test_float_is_a_type_for_numpy() -> None:
    assert np.zeros(2, dtype=Float).dtype == np.arange(2).astype(Float).dtype == np.float64
    assert isinstance(1.0, Float)
    assert Float("2.5") == 2.5
