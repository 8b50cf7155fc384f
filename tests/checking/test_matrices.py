"""check_jacobian and check_hessian: right matrices are right, wrong ones wrong, patterns too, and x is not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from fastgrad import JacobianCheck, check_hessian, check_jacobian

DIRECTIONS = [None, 1, 3]
FAULTS = [1.01, 0.99, 2.0, 0.0, -1.0]
M = np.random.default_rng(3).normal(size=(7, 5)) / 3
X = np.random.default_rng(0).uniform(0.5, 1.5, 5)


def plainly(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same in a form that cannot be lifted."""
    return lambda x, *args: f(np.array(np.asarray(x).tolist()), *args)


def tanh(x: Any) -> Any:
    return np.tanh(M @ x)


def jac_tanh(x: Any) -> Any:
    return (1 - np.tanh(M @ x) ** 2)[:, None] * M


def chain(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def hess_chain(x: Any) -> Any:
    main = np.append(1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0, 0.0) + np.append(0.0, np.full(x.size - 1, 200.0))
    beside = -400.0 * x[:-1]
    return np.diag(main) + np.diag(beside, 1) + np.diag(beside, -1)


def jac_products(x: Any) -> Any:
    """Of `products`, sparse."""
    return sp.diags_array([x[1:], x[:-1]], offsets=[0, 1], shape=(x.size - 1, x.size)).tocsr()


def products(x: Any) -> Any:
    return x[1:] * x[:-1]


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("f", [tanh, plainly(tanh)])
def test_wrong_entries_of_a_jacobian_are_caught(f: Any, directions: int | None) -> None:
    right = check_jacobian(f, jac_tanh, X, directions=directions)
    assert right.verdict == "right", right
    assert bool(right)
    for i, j in np.ndindex(7, 5):
        for fault in FAULTS:
            wrong = jac_tanh(X)
            wrong[i, j] *= fault
            check = check_jacobian(f, wrong, X, directions=directions)
            assert check.verdict == "wrong"
            assert check.wrong[i, j] if directions is None else check.wrong[:, i].any(), (i, j, fault)
            assert np.count_nonzero(check.wrong) == 1


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("f", [chain, plainly(chain)])
def test_wrong_entries_of_a_hessian_are_caught(f: Any, directions: int | None) -> None:
    x = np.random.default_rng(1).normal(size=3)
    assert check_hessian(f, hess_chain, x, directions=directions).verdict == "right"
    for i, j in ((0, 0), (1, 2), (0, 2)):
        for fault in (0.01, -1.0):
            wrong = hess_chain(x)
            wrong[i, j] += fault * (abs(wrong[i, j]) or 10.0)
            wrong[j, i] = wrong[i, j]
            check = check_hessian(f, wrong, x, directions=directions)
            assert check.verdict == "wrong", (i, j, fault)
            assert "Hessian is wrong" in str(check)


def test_each_entry_on_its_own_scale() -> None:
    scale = np.logspace(-6, 6, 4)
    f = lambda x: np.array([np.sum((x / scale) ** 3), np.sum(np.cos(x / scale)), np.sum(x[::-1] ** 2 / scale**2)])  # noqa: E731
    x = scale * [0.7, -1.3, 0.4, 1.9]
    jac = np.stack([3 * x**2 / scale**3, -np.sin(x / scale) / scale, 2 * x / scale[::-1] ** 2])
    assert check_jacobian(f, jac, x).verdict == "right"
    for i, j in ((0, 0), (0, 3), (1, 0), (1, 3)):
        wrong = jac.copy()
        wrong[i, j] *= 1.01
        check = check_jacobian(f, wrong, x)
        assert check.wrong[i, j], str(check)


@pytest.mark.parametrize("f", [products, plainly(products)])
def test_entries_missing_from_a_pattern_are_told(f: Any) -> None:
    x = np.linspace(0.5, 1.5, 40)
    right = check_jacobian(f, jac_products, x)
    assert right.verdict == "right"
    assert right.missing is not None
    assert right.missing.shape == (0, 2)
    lacking = jac_products(x).tolil()
    lacking[3, 4] = lacking[7, 7] = 0.0
    lacking = lacking.tocsr()
    lacking.eliminate_zeros()
    check = check_jacobian(f, lacking, x)
    assert check.verdict == "wrong"
    assert check.missing.tolist() == [[3, 4], [7, 7]]
    assert check.entries[check.wrong].tolist() == [[3, 4], [7, 7]]
    assert "2 entries missing from the pattern: (3, 4), (7, 7)" in str(check)
    assert not check_jacobian(f, lacking, x, directions=2)
    more = jac_products(x).tolil()
    more[3, 30] = 0.5
    assert check_jacobian(f, more.tocsr(), x).verdict == "wrong"


def test_an_entry_that_is_zero_at_x_may_be_missing() -> None:
    x = np.linspace(0.0, 1.5, 40)
    lacking = jac_products(x)
    lacking.eliminate_zeros()
    check = check_jacobian(products, lacking, x)
    assert check.verdict == "right"
    assert check.missing.tolist() == [[0, 1]]


def test_the_pattern_of_a_hessian() -> None:
    x = np.random.default_rng(1).normal(size=30)
    assert check_hessian(chain, lambda x: sp.csr_array(hess_chain(x)), x)
    lacking = hess_chain(x)
    lacking[4, 5] = lacking[5, 4] = 0.0
    check = check_hessian(chain, sp.csr_array(lacking), x)
    assert check.verdict == "wrong"
    assert check.missing.tolist() == [[4, 5], [5, 4]]


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_closures_read_x_and_it_is_put_back(directions: int | None) -> None:
    x = X.copy()
    assert check_jacobian(lambda _: tanh(x), jac_tanh, x, directions=directions)
    assert check_hessian(lambda _: chain(x), hess_chain, x, directions=directions)
    assert_array_equal(x, X)

    calls = 0

    def stops(_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise KeyboardInterrupt
        return tanh(x)

    with pytest.raises(KeyboardInterrupt):
        check_jacobian(stops, jac_tanh(X), x, directions=directions)
    assert_array_equal(x, X)


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_shapes_places_and_arguments(directions: int | None) -> None:
    x = X[:4].reshape(2, 2)
    f = lambda t, y, a: a * t * y @ y  # noqa: E731
    eye = np.eye(2)
    jac = lambda t, y, a: a * t * (np.einsum("ik,lj->ijkl", eye, y) + np.einsum("ik,jl->ijkl", y, eye))  # noqa: E731
    check = check_jacobian(f, jac, x, argnum=1, args=(2.0, 3.0), directions=directions)
    assert check.verdict == "right", check
    assert check.given.shape == ((2, 2, 2, 2) if directions is None else (directions, 4))
    cubes = lambda x, a: a * np.sum(x**3)  # noqa: E731
    hess = lambda x, a: np.diag(6 * a * x.ravel()).reshape(2, 2, 2, 2)  # noqa: E731
    assert check_hessian(cubes, hess, x, args=2.0, directions=directions)
    assert check_jacobian(lambda x, out: out.__setitem__(slice(None), x**2), np.diag(2 * X), X, out=5)


def test_within_bounds() -> None:
    x = np.array([0.0, 1.0, 2.0])
    jac = np.array([[7.0, 0.0, 0.0], [0.0, 0.5, 0.0]])  # what is fixed cannot be told

    def root(x: Any) -> Any:
        assert (x >= [0, 0.5, 2.0]).all()
        return np.sqrt(x[:2])

    check = check_jacobian(root, jac, x, bounds=([0.0, 0.5, 2.0], [0.0, 1.5, 2.0]))
    assert check.verdict == "right", check


def test_at_a_kink_every_slope_between_is_right() -> None:
    f = lambda x: np.array([abs(float(x[0])), float(x[1]) ** 2])  # noqa: E731
    x = np.array([0.0, 1.0])
    for slope in (-1.0, 0.0, 0.5, 1.0):
        assert check_jacobian(f, [[slope, 0.0], [0.0, 2.0]], x).verdict == "right"
    assert check_jacobian(f, [[1.5, 0.0], [0.0, 2.0]], x).verdict == "wrong"


def test_noise_is_no_proof() -> None:
    rng = np.random.default_rng(5)
    f = lambda x: np.array([float(x[0]) + rng.normal(), float(x[1])])  # noqa: E731
    check = check_jacobian(f, np.eye(2) * [1.0001, 1.0], [1.0, 1.0])
    assert check.verdict == "cannot tell", check
    assert check.unknown.tolist() == [[True, True], [False, False]]


def test_the_count_is_honest() -> None:
    count = 0

    def counted(x: Any) -> Any:
        nonlocal count
        count += 1
        return plainly(tanh)(x)

    wrong = jac_tanh(X)
    wrong[0, 0] = 0.0
    for directions in DIRECTIONS:
        count = 0
        assert check_jacobian(counted, wrong, X, directions=directions).nfev == count

    def counted_chain(x: Any) -> Any:
        nonlocal count
        count += 1
        return plainly(chain)(x)

    for directions in DIRECTIONS:
        count = 0
        check = check_hessian(counted_chain, hess_chain, X, directions=directions)
        assert check.nfev == count
        if directions is not None:
            assert count < 300 * directions


@pytest.mark.filterwarnings("error")
def test_the_report() -> None:
    check = check_jacobian(tanh, jac_tanh(X) * 1.1, X)
    assert isinstance(check, JacobianCheck)
    assert str(check) == repr(check)
    assert "the Jacobian is wrong" in str(check)
    assert "35 of 35 entries wrong" in str(check)
    assert "entry (" in str(check)
    assert "cannot tell" in str(check_jacobian(lambda x: np.array([np.nan]), [[1.0]], [1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_jacobian(tanh, np.eye(5), X), r"`jac` must give an array of shape \(7, 5\)"),
        (lambda: check_jacobian(tanh, sp.eye_array(5).tocsr(), X), "`jac` must give a sparse matrix of shape"),
        (lambda: check_jacobian(tanh, sp.eye_array(5).tocsr(), X, directions=1), "`jac` must give a sparse matrix"),
        (lambda: check_jacobian(tanh, lambda x: "no", X), "`jac` must hold real numbers"),
        (lambda: check_jacobian(3, jac_tanh, X), "`f` must be"),
        (lambda: check_jacobian(tanh, jac_tanh, [np.nan] * 5), "`x` must be finite"),
        (lambda: check_jacobian(tanh, jac_tanh, X, directions=0), "`directions` must be"),
        (lambda: check_jacobian(tanh, jac_tanh, X, rtol=-1.0), "`rtol` must be"),
        (lambda: check_jacobian(tanh, jac_tanh, X, h=1e-4), "`h` is no option of check_jacobian, got"),
        (lambda: check_hessian(chain, np.eye(4), X), r"`hess` must give an array of shape \(5, 5\)"),
        (lambda: check_hessian(chain, [None], X), "`hess` must hold real numbers"),
        (lambda: check_hessian(tanh, np.eye(5), X), "one number"),
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_workers_share_the_points_of_a_direction() -> None:
    """To the same numbers; and who asks for them is heard."""
    seen: list[int] = []

    def counting(function: Any, iterable: Any) -> Any:
        seen.append(1)
        return map(function, iterable)

    wrong = 1.01 * hess_chain(X)
    for hess in (hess_chain, wrong):
        alone = check_hessian(chain, hess, X, directions=2)
        shared = check_hessian(chain, hess, X, directions=2, workers=counting)
        np.testing.assert_array_equal(shared.expected, alone.expected)
        assert (bool(shared), shared.nfev) == (bool(alone), alone.nfev)
    assert seen


@pytest.mark.parametrize("where", [1, -1])
def test_along_directions_a_hessian_that_is_not_symmetric_is_wrong(where: int) -> None:
    right, x = 2.0 * np.ones((5, 5)), np.linspace(0.5, 1.5, 5)
    assert check_hessian(lambda x: np.sum(x) ** 2, right, x, directions=2)
    skew = np.eye(5, k=1) - np.eye(5, k=-1)
    assert not check_hessian(lambda x: np.sum(x) ** 2, right + 0.5 * where * skew, x, directions=2)
