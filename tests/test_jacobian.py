"""Jacobians of functions of every form, against derivatives written by hand."""

from __future__ import annotations

import math
import pickle
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.optimize import NonlinearConstraint, least_squares, minimize, root

from benchmarks.operators import brusselator, brusselator_jacobian
from fastgrad import (
    AccuracyWarning,
    Jacobian,
    NonFiniteWarning,
    hvp,
    jacobian_sparsity,
    jvp,
    numerical_hessian,
    numerical_jacobian,
    vjp,
)

M = np.random.default_rng(3).normal(size=(7, 5)) / 3


def point(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 1.5, n)


def holds(jacobian: Any, info: Any, exact: Any) -> bool:
    return bool((np.abs(jacobian - exact) <= info.error + 1e-15 * np.abs(exact).max()).all())


CASES = {
    "vector": (lambda x: np.tanh(M @ x), lambda x: (1 - np.tanh(M @ x) ** 2)[:, None] * M, point(5)),
    "list": (lambda x: [x[0] * x[1], x[1] ** 2], lambda x: np.array([[x[1], x[0]], [0, 2 * x[1]]]), point(2)),
    "tuple": (lambda x: (x[0], np.exp(x[0])), lambda x: np.array([[1.0], [np.exp(x[0])]]), point(1)),
    "number": (lambda x: x @ x, lambda x: 2 * x, point(4)),
    "matrix of a matrix": (
        lambda x: x @ x.T,
        lambda x: np.einsum("ik,jl->ijkl", np.eye(2), x) + np.einsum("jk,il->ijkl", np.eye(2), x),
        point(6).reshape(2, 3),
    ),
    "one entry": (lambda x: np.array([x[0] ** 3]), lambda x: np.array([[3 * x[0] ** 2]]), point(1)),
    "a number of x": (lambda x: np.array([x, x**2]), lambda x: np.array([1.0, 2 * x]), np.array(1.5)),
    "constant row": (lambda x: np.array([x[0], 1.0]), lambda x: np.array([[1.0, 0], [0, 0]]), point(2)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"backend": "python"}, {"method": "central", "order": 4}, {"h": "fixed"}])
def test_against_exact_derivatives(name: str, options: dict[str, Any]) -> None:
    f, exact, x = CASES[name]
    jacobian, info = numerical_jacobian(f, x, full_output=True, **options)
    expected = exact(x)
    assert jacobian.shape == np.shape(f(x)) + x.shape
    np.testing.assert_allclose(jacobian, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    if not options or "backend" in options:
        assert holds(jacobian, info, expected)


@pytest.mark.parametrize("n", [2, 6, 20, 60])
@pytest.mark.parametrize("backend", ["auto", "python", "numpy"])
def test_of_a_stiff_equation(n: int, backend: str) -> None:
    x, exact = point(n), brusselator_jacobian(point(n)).toarray()
    jacobian, info = numerical_jacobian(brusselator, x, backend=backend, full_output=True)
    assert holds(jacobian, info, exact)
    lifted = info.way == "sparse lift"
    assert lifted == (backend == "numpy" or (backend == "auto" and n >= 20))
    assert np.abs(jacobian - exact).max() <= (1e-15 if lifted else 1e-9) * np.abs(exact).max()


@pytest.mark.parametrize("n", [20, 200, 5000])
def test_sparse(n: int) -> None:
    x, exact = point(n), brusselator_jacobian(point(n))
    jacobian, info = numerical_jacobian(brusselator, x, sparse=True, full_output=True)
    assert isinstance(jacobian, sp.csr_array)
    assert jacobian.shape == (n, n)
    assert info.way == "sparse lift"
    assert abs(jacobian - exact).max() <= 1e-15 * abs(exact).max()
    jacobian, info = numerical_jacobian(brusselator, x, backend="python", sparsity=exact, full_output=True)
    assert (info.way, info.colors) == ("colored columns", 4)
    assert info.nfev <= 2 * 4 + 40
    assert abs(jacobian - exact).max() <= 1e-10 * abs(exact).max()
    assert (abs(jacobian - exact).toarray() <= info.error.toarray()).all() if n < 1000 else True


@pytest.mark.parametrize("structure", ["dense", "csr", "coo", "groups"])
def test_forms_of_a_pattern(structure: str) -> None:
    x, exact = point(12), brusselator_jacobian(point(12))
    given_as = {
        "dense": exact.toarray(),
        "csr": exact,
        "coo": exact.tocoo(),
        "groups": (exact != 0, np.arange(12) % 5),
    }[structure]
    jacobian = numerical_jacobian(brusselator, x, backend="python", sparsity=given_as)
    np.testing.assert_allclose(jacobian.toarray(), exact.toarray(), rtol=0, atol=1e-9 * abs(exact).max())


@pytest.mark.parametrize("h", [None, 1e-5])
def test_a_wrong_pattern_is_noticed(h: Any) -> None:
    x = point(12)
    wrong = brusselator_jacobian(x).tolil()
    wrong[5, 7] = 0
    assert wrong.tocsr().nnz < brusselator_jacobian(x).nnz
    with pytest.raises(ValueError, match="`sparsity` lacks an entry"):
        numerical_jacobian(brusselator, x, h, backend="python", sparsity=wrong)
    with pytest.raises(ValueError, match=r"`sparsity` must have .* shape \(12, 12\)"):
        numerical_jacobian(brusselator, x, sparsity=np.eye(11), backend="python")


def test_detected() -> None:
    x = point(40)
    jacobian = Jacobian(brusselator, sparsity="detect")
    exact = brusselator_jacobian(x)
    assert abs(jacobian(x) - exact).max() <= 1e-15 * abs(exact).max()
    assert (jacobian.sparsity != (exact != 0)).nnz == 0
    assert jacobian.colors.max() + 1 == 4
    assert (jacobian_sparsity(brusselator, x) != (exact != 0)).nnz == 0


def test_zeros_in_the_pattern_are_kept() -> None:
    pattern = jacobian_sparsity(lambda x: x[1:] * x[:-1], np.zeros(30))
    assert pattern.nnz == 58
    assert numerical_jacobian(lambda x: x[1:] * x[:-1], np.zeros(30), sparse=True).nnz == 58


def test_a_prepared_one_keeps_its_layout_and_gives_the_same_bits() -> None:
    jacobian = Jacobian(brusselator, sparse=True)
    for seed in range(3):
        x = point(100, seed)
        np.testing.assert_array_equal(jacobian(x).toarray(), numerical_jacobian(brusselator, x, sparse=True).toarray())


def test_patterns_are_united_over_calls() -> None:
    def f(x: Any) -> Any:
        return x * 2.0 if x[0] > 0 else x[::-1] * 3.0

    jacobian = Jacobian(f, sparse=True)
    x = point(30)
    assert jacobian(x).nnz == 30
    x[0] = -1.0
    assert jacobian(x).nnz == 30
    assert jacobian.sparsity.nnz == 60


def branching(x: Any) -> Any:
    return x * 2.0 if x[0] > 0 else x[::-1] ** 3


def rounding(x: Any) -> Any:
    """Of entries that a lift lists, and cannot give."""
    y = np.roll(x, 1) if x[0] > 0 else x[::-1]
    return np.interp(x, [-3.0, 0.0, 3.0], [0.0, 1.0, 5.0]) + y**2


def vanishing(x: Any) -> Any:
    """Some entries are 0 at one x and not at another; it cannot be lifted."""
    return np.array([float(v) for v in x]) ** 2 + x * np.array([max(float(v), 0.0) for v in np.roll(x, 3)])


@pytest.mark.parametrize("f", [branching, rounding, vanishing])
@pytest.mark.parametrize("options", [{"sparse": True}, {"sparsity": "detect"}])
def test_no_bit_depends_on_the_calls_before(f: Any, options: dict[str, Any]) -> None:
    prepared, rng = Jacobian(f, **options), np.random.default_rng(0)
    for _ in range(6):
        x = rng.normal(size=30)
        (one, told), (other, known) = prepared.with_info(x), Jacobian(f, **options).with_info(x)
        assert told.nfev == known.nfev
        assert told.way == known.way
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    assert prepared.sparsity.nnz > one.nnz


def test_closures_that_read_the_callers_array() -> None:
    x = point(3)
    kept = x.copy()
    jacobian = numerical_jacobian(lambda _: np.array([x[0] * x[1], x[2] ** 2]), x)
    np.testing.assert_allclose(jacobian, [[x[1], x[0], 0], [0, 0, 2 * x[2]]], atol=1e-9)
    np.testing.assert_array_equal(x, kept)
    x = point(40)
    jacobian, info = numerical_jacobian(lambda _: x**2, x, full_output=True)
    np.testing.assert_allclose(jacobian, np.diag(2 * x), atol=1e-9)
    assert info.way == "columns"


def test_x_is_the_callers_bit_for_bit() -> None:
    x = point(30)
    kept, seen = x.tobytes(), []

    def f(y: Any) -> Any:
        seen.append(y)
        y[0] += 1.0  # its own copy
        x[3] = 7.0  # ours
        if len(seen) == 9:
            raise KeyError("mine")
        return y**2

    with pytest.raises(KeyError, match="mine"):
        numerical_jacobian(f, x)
    assert x.tobytes() == kept


def test_a_buffer_that_f_uses_again() -> None:
    out = np.empty(3)

    def f(x: Any) -> Any:
        np.multiply(x, x, out=out)
        return out

    np.testing.assert_allclose(numerical_jacobian(f, np.array([1.0, 2.0, 3.0])), np.diag([2.0, 4, 6]), atol=1e-9)


def test_noise_is_measured_for_each_output() -> None:
    rng = np.random.default_rng(1)

    def f(x: Any) -> Any:
        return np.array([x @ x + 1e-6 * rng.standard_normal(), x.sum(), np.float32(x[0] * x[1])])

    x = point(5)
    jacobian, info = numerical_jacobian(f, x, full_output=True)
    exact = np.array([2 * x, np.ones(5), [x[1], x[0], 0, 0, 0]])
    assert holds(jacobian, info, exact)
    assert 1e-7 < info.noise[0] < 1e-5
    assert info.noise[1] < 1e-14
    assert 1e-9 < info.noise[2] < 1e-6
    assert np.abs(jacobian - exact)[1].max() < 1e-8


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([1e-6, 1e-2, 1.0, 1e3]))
def test_bars_hold(seed: int, n: int, scale: float) -> None:
    """Functions with entries of many lengths and sizes, in one vector."""
    rng = np.random.default_rng(seed)
    x, a = rng.normal(size=n) * scale, rng.normal(size=(4, n)) / scale
    jacobian, info = numerical_jacobian(
        lambda x: np.array([np.sin(a[0] @ x), np.exp(a[1] @ x), 1e4 + (a[2] @ x) ** 2, np.cos(30.0 * (a[3] @ x))]),
        x,
        full_output=True,
    )
    exact = np.array([
        np.cos(a[0] @ x) * a[0],
        np.exp(a[1] @ x) * a[1],
        2 * (a[2] @ x) * a[2],
        -30.0 * np.sin(30.0 * (a[3] @ x)) * a[3],
    ])  # fmt: skip
    row = np.abs(a).max(axis=1, keepdims=True)
    wrong = np.abs(jacobian - exact) > info.error + 1e-13 * row
    assert np.count_nonzero(wrong) <= 0.1 * wrong.size
    assert (np.abs(jacobian - exact) <= 1e-6 * row)[[0, 1, 3]].all()  # the large constant costs the other its digits


def test_where_f_is_not_differentiable_it_says_so() -> None:
    with pytest.warns(AccuracyWarning, match="not differentiable at coordinate 0"):
        numerical_jacobian(lambda x: np.abs(x - [0.5, 2.0]), np.array([0.5, 1.0]))
    with pytest.warns(AccuracyWarning, match="not differentiable at coordinate 4"):
        numerical_jacobian(lambda x: np.maximum(x, 0.7), np.where(np.arange(30) == 4, 0.7, point(30)))


def test_bounds_and_edges() -> None:
    x = np.array([0.0, 1.0, 4.0])
    tried = []

    def f(x: Any) -> Any:
        tried.append(x.copy())
        return (x + 1.0) ** 2

    jacobian = numerical_jacobian(f, x, bounds=(0.0, 4.0))
    np.testing.assert_allclose(jacobian, np.diag(2 * (x + 1)), atol=1e-7)
    assert min(map(np.min, tried)) >= 0.0
    assert max(map(np.max, tried)) <= 4.0
    jacobian = numerical_jacobian(f, x, "fixed", bounds=(0.0, 4.0))
    np.testing.assert_allclose(jacobian, np.diag(2 * (x + 1)), atol=1e-7)
    edge = np.array([1e-9, 1.0, 2.0])
    np.testing.assert_allclose(numerical_jacobian(np.sqrt, edge), np.diag(0.5 / np.sqrt(edge)), rtol=1e-8)


def test_outside_of_the_domain() -> None:
    jacobian = numerical_jacobian(lambda x: np.array([math.log(x[0]), x[1] ** 2]), [1e-7, 3.0])
    np.testing.assert_allclose(jacobian, [[1e7, 0.0], [0.0, 6.0]], rtol=1e-7)
    with pytest.raises(ValueError, match="math domain error"):
        numerical_jacobian(lambda x: np.array([math.sqrt(x[0]), x[1]]), [0.0, 1.0], 1e-3)
    with pytest.warns(NonFiniteWarning):
        rows = numerical_jacobian(lambda x: np.where(x > 0.5, x, np.nan), np.linspace(0, 1, 25))
    np.testing.assert_array_equal(np.isnan(rows).any(axis=1), np.linspace(0, 1, 25) <= 0.5)


def test_jumps_are_flagged() -> None:
    with pytest.warns(AccuracyWarning, match="no digit is certain of 4 entries"):
        numerical_jacobian(lambda x: np.floor(x * 10), [1.03, 2.0])


@pytest.mark.parametrize("method", ["forward", "backward", "complex", "2-point", "3-point", "cs"])
def test_methods(method: str) -> None:
    f, exact, x = CASES["vector"]
    np.testing.assert_allclose(numerical_jacobian(f, x, method=method), exact(x), atol=2e-7)


def test_adaptive_steps() -> None:
    """Each entry climbs a ladder of its own, on points that all values of f share."""
    count = 0

    def f(x: Any) -> Any:
        nonlocal count
        count += 1
        return np.array([math.exp(x[0]) * x[1], 1e6 * math.sin(x[1]), x[2] ** 3, 1.0])

    x = [0.5, 1.5, -2.0]
    exact = np.zeros((4, 3))
    exact[0, :2], exact[1, 1], exact[2, 2] = [1.5 * math.exp(0.5), math.exp(0.5)], 1e6 * math.cos(1.5), 12.0
    jacobian, info = numerical_jacobian(f, x, method="adaptive", full_output=True)
    assert info.nfev == count < 100
    assert info.method == "adaptive"
    assert (np.abs(jacobian - exact) <= 1e-12 * np.maximum(np.abs(exact), 1.0)).all()
    assert holds(jacobian, info, exact)
    some = numerical_jacobian(f, x, method="adaptive", indices=[1])
    np.testing.assert_allclose(some[:, 0], exact[:, 1], rtol=1e-12, atol=1e-12)
    listed = numerical_jacobian(f, x, method="adaptive", sparse=True)
    np.testing.assert_allclose(listed.toarray(), exact, rtol=1e-12, atol=1e-12)
    v = np.array([1e3, -2e3, 500.0])
    np.testing.assert_allclose(jvp(f, x, v, method="adaptive"), exact @ v, rtol=1e-11)
    w = np.array([1.0, 1e-6, 1.0, 1.0])
    np.testing.assert_allclose(vjp(f, x, w, method="adaptive"), w @ exact, rtol=1e-11)
    x = point(60)
    assert numerical_jacobian(brusselator, x, method="adaptive", full_output=True)[1].way == "sparse lift"


def test_adaptive_steps_within_bounds_and_at_a_kink() -> None:
    def f(x: Any) -> Any:
        assert (np.asarray(x) >= 0).all()
        return [math.sqrt(x[0]), x[1] ** 2]

    jacobian = numerical_jacobian(f, [1e-3, 0.0], method="adaptive", bounds=(0, np.inf))
    np.testing.assert_allclose(jacobian, [[0.5 / math.sqrt(1e-3), 0.0], [0.0, 0.0]], rtol=1e-9, atol=1e-6)
    assert abs(jvp(f, [1e-3, 0.0], [1.0, 1.0], method="adaptive", bounds=(0, np.inf))[0] * math.sqrt(1e-3) - 0.5) < 1e-6
    with pytest.warns(AccuracyWarning, match="coordinate 0"):
        numerical_jacobian(lambda x: [abs(float(x[0])), float(x[1])], [0.0, 1.0], method="adaptive")


def test_evaluations_are_counted() -> None:
    calls = 0

    def f(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return np.tanh(M @ x)

    for options in ({}, {"h": 1e-5}, {"method": "forward"}, {"method": "complex"}):
        calls = 0
        _, info = numerical_jacobian(f, point(5), full_output=True, **options)
        assert info.nfev == calls
    calls = 0
    numerical_jacobian(f, point(5), 1e-5, f0=np.tanh(M @ point(5)))
    assert calls == 10


def test_some_columns() -> None:
    f, exact, x = CASES["vector"]
    np.testing.assert_allclose(numerical_jacobian(f, x, indices=[3, 1]), exact(x)[:, [3, 1]], atol=1e-9)


def test_narrow_and_whole_numbers() -> None:
    x = np.array([1.0, 2.0], dtype=np.float32)
    jacobian = numerical_jacobian(lambda x: x**2, x)
    assert jacobian.dtype == np.float32
    np.testing.assert_allclose(jacobian, np.diag([2.0, 4.0]), rtol=1e-6)
    np.testing.assert_allclose(numerical_jacobian(lambda x: x**2, [1, 2]), np.diag([2.0, 4.0]), atol=1e-8)
    assert numerical_jacobian(lambda x: x, np.zeros((0,))).shape == (0, 0)
    assert numerical_jacobian(lambda x: np.zeros(0), np.zeros(2)).shape == (0, 2)


@pytest.mark.parametrize(
    ("f", "x", "options", "message"),
    [
        (lambda x: None, [1.0], {}, "`f` must return an array.*None.*return"),
        (lambda x: "abc", [1.0], {}, "`f` must return an array"),
        (lambda x: [[1.0], [1.0, 2.0]], [1.0], {}, "ragged"),
        (lambda x: x * 1j, [1.0], {}, "real numbers.*real part"),
        (lambda x: np.zeros(2 + (x[0] > 1)), [1.0], {}, "one shape at all points"),
        (lambda x: x, [np.nan], {}, "`x` must be finite"),
        (lambda x: x, ["a"], {}, "`x` must hold real numbers"),
        (3, [1.0], {}, "`f` must be"),
        (lambda x: x, [1.0], {"sparsity": "dense"}, "`sparsity` must be one of"),
        (lambda x: x, [1.0], {"sparse": 3}, "`sparse` must be one of"),
        (lambda x: x, [1.0], {"argnum": -1}, "`argnum` must be"),
        (lambda x: x, [1.0], {"batch_axis": 0}, "`batch_axis` has no meaning"),
        (lambda x: x, [1.0], {"method": "adaptive", "h": 1e-3}, "leave out `h`"),
        (lambda x: x, [1.0], {"method": "adaptive", "sparsity": [[1]]}, "`sparsity` has no use with"),
        (lambda x: x, [1.0], {"f0": "a"}, "`f0` must be f"),
        (lambda x: x, [1e16], {"h": 1e-4}, "`h` vanishes at coordinate 0"),
        (lambda x: x, [1.0], {"indices": [0], "sparse": True}, "`indices`"),
        (lambda x: x, [1.0], {"sparsty": "detect"}, "`sparsty` is no option here, got 'detect'; valid are"),
        (lambda x: x, None, {}, "`x` must hold real numbers"),
        (lambda x: x, [[1.0], [1.0, 2.0]], {}, "`x` must be a rectangular array"),
        (lambda x: x["a"], {"a": [1.0]}, {"sparse": True}, "`sparse` and `sparsity` are of an x that is one array"),
        (lambda x: [x[0], None], [1.0], {}, "`f` must return an array"),
        (lambda x: {"a": x}, [1.0], {"sparse": True}, "`sparse` and `sparsity` are of an f that returns one array"),
        (lambda x: {"a": {}}, [1.0], {}, r"`f\(x\)\['a'\]` must hold arrays"),
        (lambda x: x, [1.0], {"sparsity": [[1, 0]]}, r"`sparsity` must have one row.*\(1, 1\)"),
        (lambda x: x, [1.0], {"sparsity": [1]}, "`sparsity` must be a matrix"),
        (lambda x: x, [1.0], {"sparsity": [["a"]]}, "`sparsity` must be None, 'detect'"),
        (lambda x: x, [1.0], {"sparsity": [[1], [1, 2]]}, "`sparsity` must be a rectangular matrix"),
        (lambda x: x, [1.0, 2.0], {"sparsity": (np.ones((2, 2)), [0, 0])}, "`sparsity` puts the columns 0 and 1"),
        (lambda x: x, [1.0, 2.0], {"sparsity": (np.ones((2, 2)), [0])}, "`sparsity` must give one group"),
        (lambda x: x, [1.0], {"bounds": (2.0, 3.0)}, "`x` must lie within `bounds`"),
        (lambda x: x, [1.0], {"f0": None, "out": -1}, "`out` must be the shape"),
    ],
)
def test_wrong_input_is_named(f: Any, x: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        numerical_jacobian(f, x, **options)


def test_other_arguments() -> None:
    jacobian = Jacobian(lambda t, y, a: a * np.array([y[1], -t * y[0]]), argnum=1, args=(2.0, 3.0))
    expected = np.array([[0, 3.0], [-6.0, 0]])
    np.testing.assert_allclose(jacobian([1.0, 2.0]), expected, atol=1e-8)
    np.testing.assert_allclose(jacobian(2.0, [1.0, 2.0], 3.0), expected, atol=1e-8)
    with pytest.raises(TypeError, match="`args` must hold the 1 arguments"):
        numerical_jacobian(lambda t, y: y, [1.0], argnum=1)


def test_an_f_that_fills_an_array() -> None:
    def f(x: Any, out: Any, a: float) -> None:
        out[0], out[1] = a * x[0] * x[1], x[1] ** 2

    jacobian = numerical_jacobian(f, [3.0, 4.0], out=2, args=(2.0,))
    np.testing.assert_allclose(jacobian, [[8.0, 6.0], [0.0, 8.0]], atol=1e-8)
    with pytest.raises(ValueError, match="`out` must be the shape"):
        numerical_jacobian(f, [3.0, 4.0], out="ab")


@pytest.mark.parametrize("options", [{}, {"h": "fixed"}, {"sparsity": np.eye(30) + np.eye(30, k=1) + np.eye(30, k=-1)}])
def test_compiled_functions(options: dict[str, Any]) -> None:
    numba = pytest.importorskip("numba")

    @numba.njit
    def returns(x: Any) -> Any:
        r = np.empty(x.size)
        for i in range(x.size):
            r[i] = (3 - x[i]) * x[i] - (x[i - 1] if i else 0.0) - 2 * (x[i + 1] if i + 1 < x.size else 0.0)
        return r

    @numba.njit
    def fills(x: Any, r: Any) -> None:
        for i in range(x.size):
            r[i] = (3 - x[i]) * x[i] - (x[i - 1] if i else 0.0) - 2 * (x[i + 1] if i + 1 < x.size else 0.0)

    x = point(30)
    exact = np.diag(3 - 2 * x) - np.eye(30, k=-1) - 2 * np.eye(30, k=1)
    for f, more in ((returns, {}), (fills, {"out": 30})):
        jacobian = numerical_jacobian(f, x, **options, **more)
        dense = jacobian.toarray() if "sparsity" in options else jacobian
        np.testing.assert_allclose(dense, exact, rtol=0, atol=1e-8)


def test_a_refusal_holds_as_long_as_f_finds_the_same() -> None:
    way = [float]

    def f(x: Any) -> Any:
        return np.array([way[0](v) for v in x]) ** 2

    jacobian, x = Jacobian(f), point(30)
    for _ in range(2):
        assert jacobian.with_info(x)[1].way == "columns"
    np.testing.assert_allclose(jacobian(x), np.diag(2 * x), atol=1e-8)


def squares(x: Any) -> Any:
    return x**2


def test_pickled_and_shown() -> None:
    jacobian = pickle.loads(pickle.dumps(Jacobian(squares, 1e-4, sparsity="detect", argnum=0)))
    np.testing.assert_allclose(jacobian([1.0, 2.0]).toarray(), np.diag([2.0, 4]), atol=1e-7)
    assert "squares" in repr(jacobian)
    assert "sparse lift" in Jacobian(squares).explain(point(30))


def test_same_call_same_bits() -> None:
    f, _, x = CASES["vector"]
    jacobian = Jacobian(f)
    first = jacobian(x)
    jacobian(x + 1)
    np.testing.assert_array_equal(first, jacobian(x))


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"fastgrad\[sparse\]"):
        numerical_jacobian(squares, [1.0, 2.0], sparse=True)
    np.testing.assert_allclose(numerical_jacobian(squares, [1.0, 2.0]), np.diag([2.0, 4.0]), atol=1e-8)


# ---- in SciPy's hands


def residuals(p: Any, t: Any, y: Any) -> Any:
    return p[0] * np.exp(-p[1] * t) + p[2] - y


def test_least_squares() -> None:
    t = np.linspace(0, 3, 30)
    y = residuals([2.0, 1.3, 0.5], t, 0.0)
    found = least_squares(residuals, [1.0, 1.0, 0.0], jac=Jacobian(residuals), args=(t, y), xtol=1e-15, ftol=1e-15)
    np.testing.assert_allclose(found.x, [2.0, 1.3, 0.5], rtol=1e-7)
    named = least_squares(
        residuals, [1.0, 1.0, 0.0], jac=Jacobian(residuals), kwargs={"t": t, "y": y}, xtol=1e-15, ftol=1e-15
    )
    np.testing.assert_array_equal(named.x, found.x)


def test_least_squares_sparse() -> None:
    def broyden(x: Any) -> Any:
        f = (3 - x) * x + 1
        f[1:] -= x[:-1]
        f[:-1] -= 2 * x[1:]
        return f

    found = least_squares(broyden, -np.ones(200), jac=Jacobian(broyden, sparse=True))
    assert np.abs(broyden(found.x)).max() < 1e-6


def test_root_and_constraints() -> None:
    def f(x: Any) -> Any:
        return [x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1.0, 0.5 * (x[1] - x[0]) ** 3 + x[1]]

    found = root(f, [0.0, 0.0], jac=Jacobian(f))
    np.testing.assert_allclose(found.x, [0.8411639, 0.1588361], rtol=1e-6)
    constraint = NonlinearConstraint(lambda x: x[0] ** 2 + x[1], -np.inf, 1.0, jac=Jacobian(lambda x: x[0] ** 2 + x[1]))
    best = minimize(lambda x: -x[0] - x[1], [0.0, 0.0], constraints=[constraint], method="SLSQP")
    np.testing.assert_allclose(best.x, [0.5, 0.75], atol=1e-4)


@pytest.mark.parametrize("method", ["BDF", "Radau"])
def test_stiff_solvers(method: str) -> None:
    def decay(t: float, y: Any) -> Any:
        return brusselator(y)

    y0 = point(40)
    solved = [
        solve_ivp(decay, (0, 0.5), y0, method=method, jac=jac, rtol=1e-6, atol=1e-8).y[:, -1]
        for jac in (Jacobian(decay, argnum=1), Jacobian(decay, argnum=1, sparse=True), None)
    ]
    np.testing.assert_allclose(solved[0], solved[2], rtol=1e-4)
    np.testing.assert_allclose(solved[1], solved[2], rtol=1e-4)


def test_operator() -> None:
    x = point(30)
    operator = Jacobian(brusselator).operator(x)
    exact, v = brusselator_jacobian(x), point(30, 5)
    np.testing.assert_allclose(operator @ v, exact @ v, rtol=0, atol=1e-8 * abs(exact).max())
    np.testing.assert_allclose(operator.T @ v, exact.T @ v, rtol=0, atol=1e-8 * abs(exact).max())


def test_no_warnings_where_all_is_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f, _, x in CASES.values():
            numerical_jacobian(f, x)


@pytest.mark.parametrize("backend", ["auto", "python", "numpy"])
@pytest.mark.parametrize("n", [4, 40, 300])
def test_a_wrong_sparsity_is_refused_whatever_the_way(n, backend):
    def f(x: Any) -> Any:
        return np.sin(x) + x[::-1]

    x = np.linspace(1.0, 2.0, n)
    whole = sp.csr_array(np.eye(n) + np.eye(n)[::-1])
    for wrong in (np.eye(n - 1, n), np.eye(n, n + 1), (whole, np.zeros(n, dtype=int)), (whole, np.arange(n - 1))):
        with pytest.raises(ValueError, match="`sparsity`"):
            numerical_jacobian(f, x, sparsity=wrong, backend=backend)


@pytest.mark.parametrize("x", [np.array([0.0]), np.array([1e160, 1.0]), np.array([np.finfo(float).max, -1.0])])
@pytest.mark.parametrize("f", [lambda x: 1.0 / (x[0] * 0.0), lambda x: np.inf * np.sum(x)])
def test_an_f_that_is_not_finite_at_x_gives_nan_and_a_warning(f: Any, x: Any):
    v = np.ones(x.size)
    verbs: list[Any] = [
        lambda: numerical_jacobian(f, x),
        lambda: jvp(f, x, v),
        lambda: vjp(f, x, 1.0),
        lambda: numerical_hessian(f, x),
        lambda: hvp(f, x, v),
    ]
    for verb in verbs:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert np.isnan(verb()).all()
        assert any(issubclass(w.category, NonFiniteWarning) for w in told)


def tied_pairs(x: Any) -> Any:
    return x[:-1] ** 3 + 2.0 * x[1:] ** 2


def with_a_loop(x: Any) -> Any:
    return [float(v) for v in tied_pairs(x)]  # which cannot be lifted


FIXED = [
    {}, {"sparse": True}, {"sparsity": "detect"}, {"h": "fixed"}, {"h": 1e-6}, {"method": "forward"},
    {"method": "complex"}, {"order": 4}, {"noise": 1e-15}, {"backend": "python"}, {"backend": "python", "sparse": True},
]  # fmt: skip


@pytest.mark.parametrize("f", [tied_pairs, with_a_loop])
@pytest.mark.parametrize("options", FIXED, ids=str)
@pytest.mark.parametrize("n", [6, 30])
def test_by_what_bounds_fix_the_derivative_is_zero(f: Any, options: dict[str, Any], n: int) -> None:
    if f is with_a_loop and options.get("method") == "complex":
        pytest.skip("float() drops the imaginary part")
    x, v, w = point(n), point(n, 1), point(n - 1, 2)
    lower, upper, fixed = np.full(n, -3.0), np.full(n, 3.0), [2, 4]
    lower[fixed] = upper[fixed] = x[fixed]
    i, exact = np.arange(n - 1), np.zeros((n - 1, n))
    exact[i, i], exact[i, i + 1] = 3 * x[:-1] ** 2, 4 * x[1:]
    pattern = exact != 0
    exact[:, fixed] = 0.0
    given = {name: value for name, value in options.items() if name not in ("sparse", "sparsity")}
    seen: list[Any] = []

    def watched(x: Any) -> Any:
        if type(x) is np.ndarray:
            seen.append(np.real(x[fixed]))
        return f(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for every in (options, {**given, "sparsity": pattern}):
            found, info = numerical_jacobian(watched, x, bounds=(lower, upper), full_output=True, **every)
            dense, bars = (part.toarray() if sp.issparse(part) else part for part in (found, info.error))
            np.testing.assert_allclose(dense, exact, rtol=0, atol=1e-4 if "method" in every else 1e-7)
            assert not dense[:, fixed].any()
            assert bars is None or (np.abs(dense - exact) <= bars + 1e-14).all()
        np.testing.assert_allclose(jvp(watched, x, v, bounds=(lower, upper), **given), exact @ v, rtol=1e-4)
        np.testing.assert_allclose(vjp(watched, x, w, bounds=(lower, upper), **given), w @ exact, rtol=1e-4)
    np.testing.assert_array_equal(seen, np.tile(x[fixed], (len(seen), 1)))


@pytest.mark.parametrize("n", [4, 30])
def test_what_is_done_to_a_sparse_result_does_not_change_the_next(n: int) -> None:
    prepared, x = Jacobian(tied_pairs, sparse=True, backend="numpy"), np.arange(float(n))
    first = prepared(x)
    first.eliminate_zeros()
    first.indices[:] = 0
    first.data[:] = np.nan
    pattern = prepared.sparsity
    pattern.indices[:] = 0
    np.testing.assert_array_equal(prepared(x + 1.0).toarray(), numerical_jacobian(tied_pairs, x + 1.0, backend="numpy"))
    given = Jacobian(with_a_loop, sparsity=pattern_of_pairs(n))
    given(x).indices[:] = 0
    np.testing.assert_allclose(given(x).toarray(), numerical_jacobian(tied_pairs, x), rtol=0, atol=1e-6 * n**2)


def pattern_of_pairs(n: int) -> Any:
    return sp.eye_array(n - 1, n) + sp.eye_array(n - 1, n, k=1)


def test_colors_whose_coordinates_are_at_bounds_on_both_sides() -> None:
    """A step to one side leaves room for all of them only where they are parted."""

    def f(x: Any) -> list[float]:
        y = [0.0, *map(float, x), 0.0]
        return [(y[i] - y[i - 1]) ** 3 + y[i] * y[i + 1] for i in range(1, len(y) - 1)]

    n = 12
    x = np.where(np.arange(n) % 2, 2.0 - 1e-10, -2.0 + 1e-10)
    x[::5] = 0.3
    y = np.concatenate([[0.0], x, [0.0]])
    slope = 3.0 * (y[1:-1] - y[:-2]) ** 2
    exact = np.diag(slope + y[2:]) - np.diag(slope[1:], -1) + np.diag(x[:-1], 1)
    found, info = numerical_jacobian(f, x, bounds=(-2.0, 2.0), sparsity=exact != 0, full_output=True)
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-6, atol=1e-7)
    assert info.colors <= 6


def test_every_coordinate_fixed_by_bounds() -> None:
    found = numerical_jacobian(lambda x: x**2, np.ones(3), bounds=(1.0, 1.0), sparsity=np.eye(3), backend="python")
    assert not found.toarray().any()


@pytest.mark.parametrize("backend", ["auto", "python"])
def test_masked_values_are_refused(backend: str) -> None:
    masked = lambda x: np.ma.masked_array(x**2, [False, True, False])  # noqa: E731
    with pytest.raises(TypeError, match="masked entries"):
        numerical_jacobian(masked, np.array([1.0, 2.0, 3.0]), backend=backend)
    assert numerical_jacobian(lambda x: np.ma.array(x**2), np.array([1.0, 2.0]), backend=backend)[1, 1].round(6) == 4.0


@pytest.mark.parametrize(
    ("f", "slope", "evaluations"),
    [
        (np.sin, np.cos, 2),  # lifted, and to one side
        (
            lambda x: np.exp(4e6 * x),
            lambda x: 4e6 * np.exp(4e6 * x),
            4,
        ),  # which curves too much: to the other side, too
        (lambda x: np.minimum(x, 2.0), np.ones_like, 2),  # a choice, but none between equals
        (np.abs, np.sign, None),  # one side would tell nothing where it is up
        (lambda x: np.maximum(x, 0.0), lambda x: 0.5 + 0.5 * np.sign(x), None),
        (lambda x: np.where(x > 0.0, x, 0.5 * x), lambda x: 0.75 + 0.25 * np.sign(x), None),
    ],
)
def test_one_side_confirms_what_was_lifted_unless_f_chooses_between_equals(
    f: Any, slope: Any, evaluations: int | None
) -> None:
    x = np.linspace(-1e-4, 1e-4, 41)
    x[20] = 0.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, info = numerical_jacobian(f, x, full_output=True)
    assert (info.way == "sparse lift") == (evaluations is not None)
    np.testing.assert_allclose(found, np.diag(slope(x)), rtol=1e-9, atol=1e-9)
    if evaluations is None:
        assert any("not differentiable" in str(warning.message) for warning in caught)
    else:
        assert info.nfev == evaluations + 3  # for the bars


def _squares(x: Any) -> Any:
    y = x * x
    y[1:] += 3.0 * x[1:] * x[:-1] ** 2
    return y


def _squares_one_by_one(x: Any) -> Any:
    return np.array([float(v) ** 2 for v in x.tolist()])


@pytest.mark.filterwarnings("ignore:no digit is certain")  # of zeros beside which squares are truncated
@pytest.mark.parametrize("n", [4, 30])
@pytest.mark.parametrize(
    "options", [{}, {"h": 1e-4}, {"method": "forward"}, {"method": "adaptive"}, {"sparsity": "detect"}]
)
def test_entries_that_come_out_as_zero_stay_in_a_sparse_jacobian_whatever_the_way(
    n: int, options: dict[str, Any]
) -> None:
    for f in (_squares, _squares_one_by_one):
        jacobian, info = numerical_jacobian(f, np.zeros(n), sparse=True, full_output=True, **options)
        assert (jacobian[np.arange(n), np.arange(n)] == 0.0).all() or options.get("method") == "forward"
        assert set(zip(*jacobian.nonzero(), strict=True)) <= {(i, i) for i in range(n)}
        positions = set(zip(*jacobian.tocoo().coords, strict=True))
        assert positions >= {(i, i) for i in range(n)}
        assert info.error is None or info.error.nnz == jacobian.nnz
        assert numerical_jacobian(f, np.zeros(n), sparse=True, **options).nnz == jacobian.nnz
    assert jacobian_sparsity(_squares_one_by_one, np.zeros(n)).nnz == n


def test_given_steps_use_the_pattern_that_the_lift_shows() -> None:
    x = np.linspace(0.1, 1.0, 60)
    jacobian, info = numerical_jacobian(_squares, x, 1e-4, sparse=True, full_output=True)
    assert info.colors == 2
    assert jacobian.nnz == 119
    assert info.nfev == 8
    np.testing.assert_allclose(jacobian.toarray(), numerical_jacobian(_squares, x), atol=1e-7)


@pytest.mark.parametrize("kind", [Fraction, Decimal, float])
@pytest.mark.parametrize("n", [3, 12])
def test_numbers_of_other_libraries_are_values(kind: Any, n: int) -> None:
    x = point(n)
    of = lambda x: np.array([kind(float(v)) ** 2 for v in x], dtype=object)  # noqa: E731
    assert_allclose(numerical_jacobian(of, x), np.diag(2 * x), atol=1e-8)
    assert_allclose(numerical_jacobian(lambda x: [*of(x)], x), np.diag(2 * x), atol=1e-8)
    assert_allclose(numerical_hessian(lambda x: sum(of(x)), x), np.diag(np.full(n, 2.0)), atol=1e-4)
    for wrong in (None, "1.0", {}):
        with pytest.raises(TypeError, match="must return an array"):
            numerical_jacobian(lambda x, wrong=wrong: np.array([x[0], wrong], dtype=object), x)


def test_a_number_of_a_matrix_has_its_shape() -> None:
    x = np.arange(1.0, 7.0).reshape(2, 3)
    np.testing.assert_allclose(numerical_jacobian(lambda x: np.sum(x**2), x), 2.0 * x, rtol=1e-8)
    np.testing.assert_allclose(numerical_jacobian(lambda x: [np.sum(x**2)], x), 2.0 * x[None], rtol=1e-8)


@pytest.mark.parametrize("n", [5, 30])
@pytest.mark.parametrize("options", [{}, {"h": 1e-4}, {"sparsity": "detect"}])
def test_no_values_have_a_sparse_jacobian_without_rows(n: int, options: dict[str, Any]) -> None:
    assert numerical_jacobian(lambda x: x[:0], np.ones(n), sparse=True, **options).shape == (0, n)


def test_an_f_that_returns_what_it_should_fill_is_told() -> None:
    with pytest.raises(TypeError, match=r"`f` must fill the array .* returned array.*; leave out `out`"):
        numerical_jacobian(lambda x, out: x**2, [1.0, 2.0], out=2)


def test_values_of_other_shapes_at_other_points_are_told() -> None:
    with pytest.raises(ValueError, match=r"`points`: .* \(2, 2\) and \(1, 2\)"):
        Jacobian(lambda x: x[: 1 + int(x[0] > 0)] ** 2).map([[1.0, 1.0], [-1.0, 1.0]])
