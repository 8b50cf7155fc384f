"""The calling patterns of textbooks and of SciPy, one test each; the oracle is the textbook's own loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

from benchmarks.problems import PROBLEMS
from benchmarks.speed import H, textbook
from fastgrad import Gradient, gradient_descent, numerical_diff, numerical_gradient


def agrees(result: Any, oracle: Any, size: float = 1.0) -> None:
    """Up to the divisor: 2h against the achieved step, which differ by eps |x| / h at most."""
    assert result.shape == oracle.shape
    assert_allclose(result, oracle, rtol=4 * np.finfo(float).eps * max(1.0, size) / H, atol=1e-300)


class Network:
    """Two layers that hold references to the very arrays in `params`, as the textbook's do."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.params = {
            "W1": rng.normal(size=(4, 3)),
            "b1": np.zeros(3),
            "W2": rng.normal(size=(3, 2)),
            "b2": np.zeros(2),
        }
        self.layers = [(self.params["W1"], self.params["b1"]), (self.params["W2"], self.params["b2"])]

    def loss(self, x: Any, t: Any) -> Any:
        for w, b in self.layers:
            x = np.tanh(x @ w + b)
        scores = x - x.max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(t)), t])


DATA = np.random.default_rng(1).normal(size=(5, 4))
LABELS = np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize("key", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("backend", ["auto", "python"])
def test_closure_over_the_parameters(backend: str, key: str) -> None:
    net = Network()
    loss_w = lambda W: net.loss(DATA, LABELS)  # noqa: E731
    oracle = textbook(loss_w, net.params[key])
    own, before = net.params[key], net.params[key].copy()
    agrees(numerical_gradient(loss_w, own, H, backend=backend), oracle)
    assert np.abs(oracle).max() > 1e-3
    assert net.params[key] is own
    assert_array_equal(own, before)
    # the default step, too, sees the closure
    assert_allclose(numerical_gradient(loss_w, own, backend=backend), oracle, rtol=1e-6, atol=1e-9)


def test_closures_of_every_kind() -> None:
    w = np.array([0.3, -0.2, 0.9])

    class Net:
        W = w
        parts = (w,)

    net = Net()

    def ignores(W: Any) -> Any:
        return np.sum(w**3)

    def reads_attribute(_: Any) -> Any:
        return np.sum(net.W**3)

    def reads_part(_: Any) -> Any:
        return np.sum(net.parts[0] ** 3)

    def uses_both(W: Any) -> Any:
        return np.sum(w * w * W)

    for f in (ignores, reads_attribute, reads_part, uses_both, lambda _: np.sum(w**3)):
        agrees(numerical_gradient(f, w, H), textbook(f, w))


def test_a_closure_over_a_view() -> None:
    stack = np.random.default_rng(2).normal(size=(3, 4))

    def f(_: Any) -> Any:
        return np.sum(stack**3)

    agrees(numerical_gradient(f, stack[1], H), textbook(f, stack[1]))


def test_four_dimensions() -> None:
    w = np.random.default_rng(3).normal(size=(2, 3, 2, 2))

    def f(_: Any) -> Any:
        return np.sum(np.sin(w) * w)

    expected = textbook(f, w)
    rounding = 4 * np.finfo(float).eps * np.sum(np.abs(np.sin(w) * w)) / H  # of the textbook's: f is lifted here
    assert_allclose(numerical_gradient(f, w, H), expected, rtol=1e-11, atol=rounding)


PURE: dict[str, Any] = {
    "book": lambda x: x[0] ** 2 + x[1] ** 2,
    "sum of squares": lambda x: np.sum(x**2),
    "returns shape (1,)": lambda x: np.array([np.sum(x**2)]),
    "returns a 0-d array": lambda x: np.array(np.sum(x**2)),
}


@pytest.mark.parametrize("f", PURE.values(), ids=PURE)
def test_pure_functions(f: Any) -> None:
    for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
        result = numerical_gradient(f, np.array(point), H)
        assert result.shape == (2,)
        assert_allclose(result, 2 * np.array(point), atol=1e-9)
        assert_allclose(numerical_gradient(f, point), 2 * np.array(point), atol=1e-9)  # a list


def test_f_returns_an_int() -> None:
    assert_array_equal(numerical_gradient(lambda x: 7, np.array([3.0, 4.0])), [0.0, 0.0])
    assert_array_equal(numerical_gradient(lambda x: int(x[0] * 2**20), np.array([3.0]), 2.0**-10), [2.0**20])


@pytest.mark.parametrize(("name", "n"), [("rosenbrock", 10), ("ginzburg_landau", 9), ("griewank", 10)])
def test_the_points_are_the_textbooks_in_its_order(name: str, n: int) -> None:
    x, args = PROBLEMS[name].make(n)

    def recorded(points: list[bytes]) -> Any:
        def f(x: Any) -> Any:
            points.append(x.tobytes())
            return PROBLEMS[name].f(x, *args)

        return f

    book: list[bytes] = []
    ours: list[bytes] = []
    general: list[bytes] = []
    oracle = textbook(recorded(book), x.copy())
    agrees(numerical_gradient(recorded(ours), x, H, backend="python"), oracle, float(np.abs(x).max()))
    numerical_gradient(recorded(general), x, H, backend="python", full_output=True)
    assert ours == book
    assert general == book


def test_integer_points_are_promoted() -> None:
    assert_allclose(numerical_gradient(PURE["book"], np.array([3, 4]), H), [6.0, 8.0], rtol=1e-10)
    assert_allclose(numerical_gradient(PURE["book"], [3, 4]), [6.0, 8.0], rtol=1e-9)


def test_a_closure_over_an_integer_array_is_a_type_error() -> None:
    x = np.array([3, 4])
    with pytest.raises(TypeError, match="`x`.*int64.*float"):
        numerical_gradient(lambda _: np.sum(x**2), x)


def test_descent_of_the_book() -> None:
    init = np.array([-3.0, 4.0])
    x = np.array(init)
    for _ in range(100):
        x -= 0.1 * textbook(PURE["book"], x)
    result = gradient_descent(PURE["book"], init, lr=0.1, step_num=100, h=H)
    assert_array_equal(init, [-3.0, 4.0])
    assert_allclose(result, x, rtol=1e-9, atol=1e-14)


def test_numerical_diff_of_the_book() -> None:
    def function_1(x: Any) -> Any:
        return 0.01 * x**2 + 0.1 * x

    book = (function_1(5 + H) - function_1(5 - H)) / (2 * H)
    for five in (5, 5.0, np.float64(5), np.array(5)):
        assert numerical_diff(function_1, five, H) == pytest.approx(book, rel=1e-9)
        assert isinstance(numerical_diff(function_1, five), float)
    xs = np.arange(0.0, 20.0, 0.5)
    assert_allclose(numerical_diff(function_1, xs), 0.02 * xs + 0.1, rtol=1e-9)


def test_two_dimensional_x_is_one_tensor() -> None:
    """The rows are not points of their own."""
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert_allclose(numerical_gradient(np.prod, x), np.prod(x) / x, rtol=1e-8)


def test_float32_data_with_float64_parameters() -> None:
    data = np.random.default_rng(4).normal(size=(20, 3)).astype(np.float32)
    w = np.array([0.3, -0.2, 0.5])
    result = numerical_gradient(lambda w: np.mean((data @ w - 1.0) ** 2), w)
    wide = data.astype(float)
    assert_allclose(result, 2 * wide.T @ (wide @ w - 1.0) / 20, rtol=1e-8)


def test_float32_parameters_are_promoted() -> None:
    w = np.array([0.3, -0.2, 0.5], np.float32)
    result = numerical_gradient(lambda w: np.sum(w**3), w)
    assert result.dtype == np.float32
    assert_allclose(result, 3 * w.astype(float) ** 2, rtol=2e-7)


def test_a_closure_over_float32_parameters() -> None:
    w = np.array([0.3, -0.2, 0.5], np.float32)
    before = w.copy()
    result = numerical_gradient(lambda _: np.sum(w.astype(float) ** 3), w)
    assert_allclose(result, 3 * before.astype(float) ** 2, rtol=1e-4)
    assert_array_equal(w, before)


def test_unusual_arrays() -> None:
    f = PURE["sum of squares"]
    x = np.arange(1.0, 7.0)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert_allclose(numerical_gradient(f, frozen), 2 * x)
    assert_allclose(numerical_gradient(f, x[::-1]), 2 * x[::-1])
    assert_array_equal(x, np.arange(1.0, 7.0))
    assert_allclose(numerical_gradient(f, np.broadcast_to(3.0, 4)), np.full(4, 6.0))
    assert numerical_gradient(f, np.array([])).shape == (0,)
    assert numerical_gradient(f, np.zeros((0, 3))).shape == (0, 3)
    assert numerical_gradient(f, 3.0).shape == ()
    assert numerical_gradient(f, np.array(3.0)) == pytest.approx(6.0)


@pytest.mark.parametrize("backend", ["python", "numba"])
def test_prepared_gradient_as_jac_of_scipy(backend: str) -> None:
    problem = PROBLEMS["rosenbrock"]
    f = problem.jitted if backend == "numba" else problem.f
    x0, _ = problem.make(10)
    before = x0.copy()
    found = optimize.minimize(f, x0, jac=Gradient(f, backend=backend), method="BFGS", options={"gtol": 1e-6})
    exact = optimize.minimize(problem.f, x0, jac=problem.gradient, method="BFGS", options={"gtol": 1e-6})
    assert_array_equal(x0, before)
    assert_allclose(found.x, exact.x, atol=1e-4)


def test_jac_of_scipy_gets_args() -> None:
    def f(x: Any, a: float, b: Any) -> Any:
        return a * np.sum((x - b) ** 2)

    target = np.array([1.0, 2.0])
    for args in [(3.0, target), (0.5, -target)]:
        found = optimize.minimize(f, np.zeros(2), args=args, jac=Gradient(f))
        assert_allclose(found.x, args[1], atol=1e-6)


def test_a_single_argument_without_its_tuple() -> None:
    assert_allclose(numerical_gradient(lambda x, a: a * np.sum(x**2), [1.0, 2.0], args=3.0), [6.0, 12.0])


def test_keyword_arguments() -> None:
    def f(x: Any, a: float, *, power: int) -> Any:
        return a * np.sum(x**power)

    result = numerical_gradient(f, [1.0, 2.0], args=(2.0,), kwargs={"power": 3})
    assert_allclose(result, [6.0, 24.0], rtol=1e-8)


def test_bounds_of_scipy() -> None:
    def f(x: Any) -> Any:
        assert (x >= 0).all()
        return np.sum(np.sqrt(x) ** 3)

    x = np.array([0.0, 1.0])
    for bounds in [(0.0, np.inf), (0, None), ([0.0, 0.0], [np.inf, 2.0]), optimize.Bounds(0.0, np.inf)]:
        assert_allclose(numerical_gradient(f, x, bounds=bounds)[1], 1.5, rtol=1e-7)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_vectorized_convention_of_scipy(backend: str) -> None:
    """The points are in the last axis: (n, k) -> (k,)."""
    x = np.linspace(0.1, 0.8, 5)
    result = numerical_gradient(lambda x: np.sum(np.sin(x), axis=0), x, batch_axis=-1, backend=backend)
    assert_allclose(result, np.cos(x), rtol=1e-9)


def test_a_jitted_function_of_two_dimensional_x() -> None:
    @njit
    def f(x: Any) -> Any:
        return np.sum(x * x)

    x = np.arange(6.0).reshape(2, 3)
    assert_allclose(numerical_gradient(f, x), 2 * x, rtol=1e-9, atol=1e-9)
    assert_allclose(numerical_gradient(f, x.T), 2 * x.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["auto", "python", "numpy"])
@pytest.mark.parametrize("method", ["central", "forward", "complex", "adaptive"])
def test_an_index_may_be_named_twice(method: str, backend: str) -> None:
    """It is differentiated once, and nothing about it is less certain."""
    x = np.linspace(0.3, 2.7, 12)
    f = lambda x: np.sum(np.sin(x) * x)  # noqa: E731
    chosen = [3, -1, 3, 0, 11]
    twice, info = numerical_gradient(f, x, indices=chosen, method=method, backend=backend, full_output=True)
    once = numerical_gradient(f, x, indices=[0, 3, 11], method=method, backend=backend)
    assert_array_equal(twice, once[[1, 2, 1, 0, 2]])
    assert info.step.shape == (5,)
    assert_allclose(twice, (np.cos(x) * x + np.sin(x))[chosen], rtol=1e-6)


def test_out_holds_floats() -> None:
    gradient, x = Gradient(PURE["sum of squares"]), np.array([0.1, 0.2])
    for wrong in (
        np.zeros(2, int),
        np.zeros(2, bool),
        np.zeros(2, complex),
        np.zeros(2, object),
        np.zeros(3),
        [0.0, 0.0],
    ):
        with pytest.raises(ValueError, match="`out`"):
            gradient(x, out=wrong)
    for out in (np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 2))[:, 0]):
        assert gradient(x, out=out) is out
        assert_allclose(out, 2 * x, rtol=1e-6)


def test_a_descent_on_a_list_that_f_reads() -> None:
    """It would stand still, and call that a minimum."""
    for start in ([0.0, 3.0], np.array([0.0, 3.0]), (0.0, 3.0)):
        with pytest.raises((TypeError, ValueError), match="`f` ignores its argument"):
            gradient_descent(lambda _, s=start: np.sum((np.asarray(s) - 1.0) ** 2), start)
        assert_array_equal(start, [0.0, 3.0])
