"""Sparse Jacobians of compiled functions in owner lanes: right to the last digits with no pattern given, or refused."""

import threading
import types as python_types

import numpy as np
import pytest
from numba import njit

from fastgrad import AccuracyWarning, Jacobian, numerical_jacobian
from tests.lifting.test_owners import Names

pytestmark = pytest.mark.usefixtures("fenced")


@njit
def tridiagonal(x):
    n = len(x)
    r = np.empty(n)
    for i in range(n):
        value = (3.0 - 2.0 * x[i]) * x[i] + 1.0
        if i > 0:
            value -= x[i - 1]
        if i < n - 1:
            value -= 2.0 * x[i + 1]
        r[i] = value
    return r


@njit
def sliced(x):
    return np.sin(x[1:]) * x[:-1] + 0.5 * x[1:] ** 2


@njit
def flux(a, b):
    return 0.5 * (a * a + b * b) - 0.1 * (b - a)


@njit
def conservation(t, x, dt):
    """An ODE's right side: x is the second argument, each value depends on three."""
    n = len(x)
    out = np.zeros(n)
    for i in range(n):
        out[i] = -(flux(x[i], x[(i + 1) % n]) - flux(x[i - 1], x[i])) / dt + np.sin(t)
    return out


@njit
def reaction(u, out, d):
    """Fills a grid of another size than x: five points each, the boundary left at zero."""
    n, m = u.shape
    for i in range(1, n - 1):
        for j in range(1, m - 1):
            lap = u[i + 1, j] + u[i - 1, j] + u[i, j + 1] + u[i, j - 1] - 4.0 * u[i, j]
            out[i - 1, j - 1] += d * lap + np.exp(-u[i, j]) * u[i, j] ** 3


@njit
def rows(x):
    """Two equations a node, and some that are constant."""
    n = len(x) // 2
    out = np.ones((n, 3))
    for i in range(n):
        w = np.zeros(2)
        for k in range(2):
            w[k] += x[2 * i + k] * x[2 * i]
        out[i, 0], out[i, 1] = w[0] + w[1], max(w[0], w[1])
    return out


@njit
def running(x):
    return np.cumsum(x * x)


@njit
def about_the_mean(x):
    return (x - np.mean(x)) ** 2


@njit
def steep(x):
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = abs(x[i]) if x[i] > 0.0 else x[i - 1] ** 2
    return out


def sample(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def exact(f, x, before=(), after=(), out=None):
    """The Jacobian by complex steps in extended precision, a column at a time."""
    changed = {"np": Names(), "abs": lambda v: v if v.real >= 0 else -v, "flux": flux.py_func}
    changed["max"] = lambda a, b: b if b.real > a.real else a
    plain = python_types.FunctionType(f.py_func.__code__, {**f.py_func.__globals__, **changed})
    y, columns = x.astype(np.clongdouble), []
    for k in np.ndindex(x.shape):
        y[k] += 1e-100j
        if out is None:
            value = plain(*before, y, *after)
        else:
            value = np.zeros(out, np.clongdouble)
            plain(*before, y, value, *after)
        columns.append(np.imag(value).ravel() / np.longdouble(1e-100))
        y[k] = x[k]
    return np.array(columns).T


CASES = {
    "tridiagonal": (tridiagonal, 200, (), (), None),
    "sliced": (sliced, 200, (), (), None),
    "conservation": (conservation, 200, (0.3,), (0.5,), None),
    "reaction": (reaction, (12, 17), (), (0.7,), (10, 15)),
    "rows": (rows, 200, (), (), None),
}


def jacobian_of(case, **options):
    f, shape, before, after, out = CASES[case]
    given = {"argnum": len(before), "args": before + after, "out": out, "compile": "eager", "sparse": True}
    return Jacobian(f, **{name: value for name, value in (given | options).items() if value is not None}), shape


SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in ("sliced", "conservation", "rows")]


@pytest.mark.parametrize("case", ["tridiagonal", "reaction", *SLOW])
def test_right_to_the_last_digits(case):
    f, shape, before, after, out = CASES[case]
    jacobian, _ = jacobian_of(case)
    for seed in range(2):
        x = sample(shape, seed)
        right = exact(f, x, before, after, out)
        found, info = jacobian.with_info(x)
        assert info.way == "owner lanes", info.reason
        assert "in one run of f" in info.reason or "runs of f" in info.reason
        wrong = np.abs(found.toarray() - right)
        assert wrong.max() <= 1e-15 * np.abs(right).max()
        assert (wrong <= info.error.toarray()).all()
        assert found.nnz <= 6 * found.shape[0]
        again = jacobian(x)
        assert np.array_equal(again.toarray(), found.toarray())
        assert np.array_equal(again.indices, found.indices)


def test_one_shot_is_the_same():
    x = sample(1000)
    found = numerical_jacobian(tridiagonal, x, sparse=True)
    assert np.array_equal(found.toarray(), Jacobian(tridiagonal, sparsity="detect")(x).toarray())
    assert found.nnz == 2998


@pytest.mark.parametrize("f", [running, about_the_mean])
def test_what_is_not_local_is_declined(f):
    x = sample(60)
    jacobian = Jacobian(f, sparse=True, compile="eager")
    found, info = jacobian.with_info(x)
    assert info.way == "columns"
    assert "not in owner lanes" in info.reason
    assert np.allclose(found.toarray(), Jacobian(f)(x), atol=1e-8)
    assert np.allclose(jacobian(x).toarray(), found.toarray(), rtol=0, atol=1e-8)


def test_another_way_at_another_point():
    """Where f branches otherwise than where it was coloured, and at the branch itself."""
    jacobian = Jacobian(steep, sparse=True, compile="eager")
    for seed in range(4):
        x = sample(80, seed)
        found, info = jacobian.with_info(x)
        assert info.way == "owner lanes", info.reason
        assert np.abs(found.toarray() - exact(steep, x)).max() <= 1e-15
    x[5] = 0.0  # an output jumps there: bars of its whole row allow for that
    with pytest.warns(AccuracyWarning, match="no digit is certain of 80 entries"):
        assert jacobian.with_info(x)[1].way == "columns"


def test_given_steps_patterns_and_bounds_go_as_before():
    x = sample(60)
    options = ({"h": 1e-6}, {"bounds": (-9.0, 9.0)}, {"sparsity": np.ones((60, 60))}, {"sparse": False})
    for given in options:
        jacobian = Jacobian(tridiagonal, compile="eager", **({"sparse": True} | given))
        assert jacobian.with_info(x)[1].way != "owner lanes"


def test_threads_and_other_shapes():
    jacobian, _ = jacobian_of("tridiagonal")
    points = [sample(n, n) for n in (60, 90, 60, 120)]
    once = [jacobian(x).toarray() for x in points]
    wrong = []

    def work(which):
        for k in range(40):
            at = (k + which) % len(points)
            if not np.array_equal(jacobian(points[at]).toarray(), once[at]):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_exceptions_of_f_come_through():
    @njit
    def strict(x):
        if x[3] > 5.0:
            raise ValueError("beyond 5")
        return x * x

    jacobian, x = Jacobian(strict, sparse=True, compile="eager"), sample(60)
    assert jacobian(x).nnz == 60
    x[3] = 6.0
    with pytest.raises(ValueError, match="beyond 5"):
        jacobian(x)
    x[3] = 1.0
    assert jacobian.with_info(x)[1].way == "owner lanes"
