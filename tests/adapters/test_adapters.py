"""The adapters beside the packages whose interfaces they have: shapes, values, and what is put back."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.optimize import _differentiable_functions, _numdiff

from fastgrad import numerical_hessian, numerical_jacobian
from fastgrad.adapters import jacobi, numdifftools, scipy, statsmodels
from fastgrad.adapters.scipy.solvers import PLACES
from fastgrad.core.errors import AccuracyWarning, NonFiniteWarning, TrustWarning
from fastgrad.stencils import central

X = np.array([0.5, -1.2, 2.0])
M = np.arange(12.0).reshape(4, 3) / 7
FUNCTIONS = {
    "number": lambda x: np.exp(x[0]) * np.sum(x**2),
    "vector": lambda x: np.sin(M[:, : len(x)] @ x),
    "one": lambda x: np.array([x[0] * x[-1]]),
}
TOLERANCE = {"2-point": 1e-5, "3-point": 1e-7, "cs": 1e-9}


def same(mine: object, theirs: object, tolerance: float) -> None:
    assert np.shape(mine) == np.shape(theirs)
    np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"abs_step": 1e-5},
        {"abs_step": -1e-5},
        {"rel_step": 1e-5},
        {"bounds": (-9, 9)},
        {"bounds": (-1.2, 2)},
        {"workers": map},
        {"f0": None, "args": ()},
    ],
    ids=str,
)
def test_approx_derivative(n, f, method, options):
    options = {k: v for k, v in options.items() if k in signature(_numdiff.approx_derivative).parameters}
    theirs = _numdiff.approx_derivative(f, X[:n], method, **options)
    same(scipy.approx_derivative(f, X[:n], method, **options), theirs, TOLERANCE[method])
    made, info = scipy.approx_derivative(f, X[:n], method, full_output=True, **options)
    same(made, theirs, TOLERANCE[method])
    assert set(info) == {"nfev"}


def test_at_a_corner_of_the_bounds():
    """No central difference has room anywhere."""
    options = {"bounds": (X, X + 1)}
    theirs = _numdiff.approx_derivative(FUNCTIONS["vector"], X, **options)
    same(scipy.approx_derivative(FUNCTIONS["vector"], X, **options), theirs, 1e-6)


def test_what_is_fixed_has_no_slope():
    x, f, room = X + 3, FUNCTIONS["vector"], np.array([1.0, 0.0, 1.0])
    pairs = list(zip(x - room, x + room, strict=True))
    for made in (scipy.approx_derivative(f, x, bounds=(x - room, x + room)), numerical_jacobian(f, x, bounds=pairs)):
        same(made, _numdiff.approx_derivative(f, x) * room, 1e-7)
    assert not numerical_jacobian(f, x, bounds=(x, x)).any()
    many = np.linspace(1, 2, 30)  # as many as a lift takes
    room = np.where(np.arange(30) == 3, 0.0, 1.0)
    free = {"bounds": (many - room, many + room)}
    same(numerical_jacobian(lambda x: x**2, many, **free), np.diag(2 * many * room), 1e-7)
    same(numerical_hessian(lambda x: np.sum(x**3), many, **free), np.diag(6 * many * room), 1e-4)


def test_steps_are_used_as_they_are():
    """The slope of a cube betrays its step, of either sign."""
    steps = np.array([0.25, -0.5, 0.125])
    for method in ("2-point", "3-point"):
        for options in ({"abs_step": steps}, {"rel_step": 0.25}):
            args = (lambda x: np.sum(x**3), X, method)
            same(scipy.approx_derivative(*args, **options), _numdiff.approx_derivative(*args, **options), 1e-12)


def test_sparse_and_operator():
    from scipy.sparse import csr_array

    def f(x):
        return x**3 - np.roll(x, 1)

    x = np.linspace(1, 2, 6)
    pattern = csr_array(np.eye(6) + np.roll(np.eye(6), -1, axis=1))
    theirs = _numdiff.approx_derivative(f, x, sparsity=pattern)
    mine = scipy.approx_derivative(f, x, sparsity=pattern)
    assert mine.format == theirs.format
    same(mine.toarray(), theirs.toarray(), 1e-7)
    operator = scipy.approx_derivative(f, x, as_linear_operator=True)
    same(operator @ x, theirs @ x, 1e-6)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"method": "4-point"}, "method"),
        ({"bounds": ([0, 0], [1, 1])}, "bounds"),
        ({"bounds": (5, 9)}, "violates"),
        ({"as_linear_operator": True, "bounds": (-5, 9)}, "Bounds"),
    ],
)
def test_refusals_of_scipy(wrong, word):
    with pytest.raises(ValueError, match=word):
        scipy.approx_derivative(np.sum, X, **wrong)


def test_checks():
    f, slope = FUNCTIONS["number"], lambda x: scipy.approx_derivative(FUNCTIONS["number"], x, "cs")
    assert scipy.check_grad(f, slope, X) < 1e-5
    assert scipy.check_grad(f, slope, X, direction="random", rng=1) < 1e-5
    assert scipy.check_grad(f, slope, X, direction="random", seed=np.random.default_rng(1)) < 1e-5
    assert scipy.check_derivative(f, slope, X) < 1e-8
    assert scipy.check_derivative(f, lambda x: slope(x) + 1, X) > 0.01
    same(scipy.approx_fprime(X, f, 1e-6), optimize.approx_fprime(X, f, 1e-6), 1e-8)


def test_differentiate():
    peer = pytest.importorskip("scipy.differentiate")  # from SciPy 1.15 on
    for name, f, x, value in (
        ("derivative", np.exp, X, "df"),
        ("derivative", np.exp, 1.0, "df"),
        ("jacobian", lambda x: np.stack([x[0] * x[1], np.sin(x[2])]), X, "df"),
        ("hessian", lambda x: x[0] ** 2 * x[1] + x[2], X, "ddf"),
    ):
        mine, theirs = getattr(scipy, name)(f, x), getattr(peer, name)(f, x)
        assert set(mine) == {name for name in theirs if not name.startswith("_")}
        same(mine[value], theirs[value], 1e-5)
        assert np.all(mine["success"])
        for field in ("success", "status", "nit", "error"):
            assert field not in theirs or np.asarray(mine[field]).dtype == np.asarray(theirs[field]).dtype


STEERED: tuple[dict[str, Any], ...] = (
    {"order": 4}, {"order": 1}, {"maxiter": 1}, {"maxiter": 3}, {"step_factor": 3.0}, {"step_factor": 0.5, "order": 2},
    {"order": 2, "tolerances": {"rtol": 1e-13}}, {"order": 6, "initial_step": 0.1}, {"initial_step": 0},
)  # fmt: skip


@pytest.mark.parametrize("steered", STEERED, ids=str)
def test_the_iteration_that_is_asked_for(steered: dict[str, Any]) -> None:
    """Its estimates to rounding, and its counts, of numbers, arrays, several outputs, and points side by side."""
    peer = pytest.importorskip("scipy.differentiate")
    pair = lambda x: np.stack([x[0] * np.cos(x[1]), x[0] ** 2 * np.sin(x[1]), x[0] * x[1]])  # noqa: E731
    points = np.array([[0.5, 0.6, 0.7], [0.25, 0.3, 0.1]])
    for name, f, x, more in (
        ("derivative", np.exp, 0.5, {}),
        ("derivative", lambda x, p: x**p, points, {"args": (np.array([1.0, 2.0, 3.0]),)}),
        ("derivative", np.sin, points, {"step_direction": [[1], [-1]]}),
        ("derivative", lambda x: np.stack([x, np.sin(3 * x)]), 0.5, {"preserve_shape": True}),
        ("jacobian", pair, points[:, 0], {"step_direction": [-1, 0]}),
        ("jacobian", pair, points, {}),
        ("hessian", optimize.rosen, points, {}),
    ):
        mine, theirs = getattr(scipy, name)(f, x, **more, **steered), getattr(peer, name)(f, x, **more, **steered)
        counted = name != "hessian" and "tolerances" not in steered  # else rounding decides when it ends
        for field in (name for name in theirs if not name.startswith("_")):
            assert mine[field].dtype == theirs[field].dtype
            if mine[field].dtype.kind == "f":
                np.testing.assert_allclose(mine[field], theirs[field], 1e-7, 1e-7)
            elif counted:
                np.testing.assert_array_equal(mine[field], theirs[field])


def test_a_callback_sees_each_iteration_and_may_end_it() -> None:
    pytest.importorskip("scipy.differentiate")
    seen: list[int] = []

    def callback(result: Any) -> None:
        seen.append(int(result.nit[0]))
        if len(seen) == 3:
            raise StopIteration

    found = scipy.derivative(np.exp, X, callback=callback, tolerances={"rtol": 1e-15})
    assert seen == [0, 1, 2]
    assert (found.status == -4).all()


def test_an_old_scipy_does_not_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.differentiate", None)
    for verb in (scipy.derivative, scipy.jacobian, scipy.hessian):
        with pytest.raises(ImportError, match="maxiter, order, step_factor.*SciPy 1.15 or newer: update it, or leave"):
            verb(np.exp, X, maxiter=3)
    same(scipy.derivative(np.exp, X).df, np.exp(X), 1e-9)


def test_differentiate_of_points_side_by_side():
    peer = pytest.importorskip("scipy.differentiate")
    points = np.array([[0.5, 1.5, 2.5], [1.0, 2.0, 3.0]])
    for shape in ((2,), (2, 3), (2, 1, 3)):
        x = points[:, 0] if shape == (2,) else points.reshape(shape)
        for f in (lambda x: np.stack([x[0] * x[1], np.sin(x[0]), x[1] ** 2]), lambda x: x[0] * x[1] ** 2):
            same(scipy.jacobian(f, x).df, peer.jacobian(f, x).df, 1e-7)
        same(scipy.hessian(f, x).ddf, peer.hessian(f, x).ddf, 1e-5)


def test_differentiate_keeps_sides_reach_and_tolerances():
    inside = np.array([0.25, 0.5])

    def f(x):
        assert np.all((x >= 0.25) & (x <= 1.0)), x
        return np.exp(x)

    for found in (
        scipy.jacobian(f, inside, initial_step=0.5 - 1e-9, step_direction=[1, 1]).df,
        np.diag(scipy.derivative(f, inside, initial_step=0.5 - 1e-9, step_direction=1).df),
    ):
        same(found, np.diag(np.exp(inside)), 1e-6)
    met = scipy.derivative(np.exp, inside, tolerances={"atol": 1e-6})
    missed = scipy.derivative(np.exp, inside, tolerances={"rtol": 1e-30})
    assert met.success.all()
    assert (missed.status == -1).all()
    for wrong in ({"atol": -1}, {"tol": 1}):
        with pytest.raises(ValueError, match="tolerances"):
            scipy.derivative(np.exp, inside, tolerances=wrong)
    for wrong in ({"callback": 1}, {"preserve_shape": 2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            scipy.derivative(np.exp, inside, **wrong)
    lines = scipy.derivative(lambda x: np.stack([x, np.sin(3 * x)]), 0.5, preserve_shape=True)
    same(lines.df, np.array([1, 3 * np.cos(1.5)]), 1e-8)
    powers = np.array([1, 2, 3])
    powers_of = lambda x: x ** powers.reshape(-1, *[1] * (x.ndim - 1))  # noqa: E731
    for f in (powers_of, lambda x: np.sin(powers_of(x))):  # each entry is a function of its own
        peer = pytest.importorskip("scipy.differentiate").derivative(f, X, preserve_shape=True)
        same(scipy.derivative(f, X, preserve_shape=True).df, peer.df, 1e-7)
    assert scipy.derivative(np.exp, np.float32(0.5)).df.dtype == np.float32


def test_installed_serves_every_solver_and_is_put_back():
    before = {(m, n): getattr(import_module(m), n, None) for m, n, _ in PLACES if _exists(m)}
    elsewhere = []

    def count():
        points = []
        _differentiable_functions.approx_derivative(lambda x: points.append(x) or np.sum(x), X)
        elsewhere.append(len(points))

    with pytest.raises(ZeroDivisionError), scipy.installed(), scipy.installed():
        for method in ("BFGS", "L-BFGS-B", "trust-constr", "SLSQP"):
            found = optimize.minimize(lambda x: (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2, [-1.2, 1], method=method)
            np.testing.assert_allclose(found.x, 1, atol=1e-2)
        np.testing.assert_allclose(
            optimize.least_squares(lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1]).x, 1, atol=1e-6
        )
        np.testing.assert_allclose(optimize.root(lambda x: [x[0] + x[1] - 3, x[0] * x[1] - 2], [0, 5.0]).x, [1, 2])
        t = np.arange(9.0)
        fit = optimize.curve_fit(lambda t, a, b: a * np.exp(-b * t), t, 3 * np.exp(-t / 2), [1, 1.0])[0]
        np.testing.assert_allclose(fit, [3, 0.5], atol=1e-6)
        for method in ("BDF", "Radau"):
            ode = integrate.solve_ivp(lambda t, y: [-1000 * y[0] + y[1], -y[1]], (0, 1), [1.0, 1.0], method=method)
            assert abs(ode.y[1, -1] - np.exp(-1)) < 2e-3
        count()
        other = threading.Thread(target=count)
        other.start()
        other.join()
        1 / 0  # noqa: B018
    count()
    assert elsewhere[0] != elsewhere[1] == elsewhere[2]
    assert {key: getattr(import_module(key[0]), key[1], None) for key in before} == before


def _exists(module):
    try:
        import_module(module)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_statsmodels(n, f):
    peer = pytest.importorskip("statsmodels.tools.numdiff")
    x = X[:n]
    for epsilon in (None, 1e-4):
        for centered in (False, True):
            given = {"epsilon": epsilon, "centered": centered}
            same(statsmodels.approx_fprime(x, f, **given), peer.approx_fprime(x, f, **given), 1e-6)
    same(statsmodels.approx_fprime_cs(x, f), peer.approx_fprime_cs(x, f), 1e-12)
    if f is FUNCTIONS["number"]:
        for name in ("approx_hess", "approx_hess1", "approx_hess2", "approx_hess3"):
            same(getattr(statsmodels, name)(x, f, 1e-2), getattr(peer, name)(x, f, 1e-2), 1e-9)
        same(statsmodels.approx_hess(x, f), peer.approx_hess_cs(x, f), 1e-4)
        same(statsmodels.approx_hess_cs(x, f), peer.approx_hess_cs(x, f), 1e-6)
        for name in ("approx_hess1", "approx_hess2"):
            given = {"epsilon": 1e-3, "return_grad": True}
            same(getattr(statsmodels, name)(x, f, **given)[1], getattr(peer, name)(x, f, **given)[1], 1e-9)


def test_statsmodels_where_complex_steps_err():
    """Its own answer is wrong in silence; one that is no answer would end a fit that does without."""
    cubes = lambda x: np.conj(x) * x**2  # noqa: E731
    with pytest.warns(TrustWarning, match="central differences are taken"):
        same(statsmodels.approx_fprime_cs(X, lambda x: np.sum(cubes(x))), 3 * X**2, 1e-8)
    with pytest.warns(TrustWarning, match="central differences are taken"):
        same(statsmodels.approx_fprime_cs(X, cubes, 1e-8), np.diag(3 * X**2), 1e-8)
    with pytest.warns(TrustWarning, match="central differences are taken"):
        same(statsmodels.approx_hess_cs(X, lambda x: np.sum(cubes(x))), np.diag(6 * X), 1e-8)
    with pytest.raises(ValueError, match="of my own"):
        statsmodels.approx_fprime_cs(X, raiser(ValueError("of my own")))


def test_statsmodels_where_a_fit_has_failed():
    peer, x = pytest.importorskip("statsmodels.tools.numdiff"), np.array([0.5, np.nan, 2.0])
    for f in FUNCTIONS.values():
        for name in ("approx_fprime", "approx_fprime_cs"):
            mine, theirs = (np.asarray(getattr(module, name)(x, f)) for module in (statsmodels, peer))
            assert mine.shape == theirs.shape
            assert np.isnan(mine).all()
    for name in ("approx_hess", "approx_hess1", "approx_hess_cs"):
        mine, theirs = (getattr(module, name)(x, FUNCTIONS["number"]) for module in (statsmodels, peer))
        np.testing.assert_array_equal(mine, theirs)


def raiser(error: Exception) -> Any:
    def f(x: Any) -> Any:
        raise error

    return f


def test_statsmodels_to_the_other_side():
    """A negative step is one downwards."""
    peer = pytest.importorskip("statsmodels.tools.numdiff")
    for epsilon in (-0.25, np.array([0.25, -0.5, 0.125])):
        for f in FUNCTIONS.values():
            same(statsmodels.approx_fprime(X, f, epsilon), peer.approx_fprime(X, f, epsilon), 1e-12)
    assert statsmodels.approx_hess is not statsmodels.approx_hess3  # each has a docstring of its own
    same(statsmodels.approx_fprime_cs(X[None], lambda x: x**2), peer.approx_fprime_cs(X[None], lambda x: x**2), 1e-12)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_numdifftools(n, f):
    peer = pytest.importorskip("numdifftools")
    names = ["Jacobian", "Gradient"] + ["Hessian", "Hessdiag"] * (f is FUNCTIONS["number"])
    for name in names:
        same(getattr(numdifftools, name)(f)(X[:n]), getattr(peer, name)(f)(X[:n]), 1e-5)
    if f is FUNCTIONS["number"]:
        same(numdifftools.directionaldiff(f, X, [1, 2, 3]), peer.directionaldiff(f, X, [1, 2, 3]), 1e-7)
    for order in (0, 1, 2):
        for x in (1.0, X, X.reshape(3, 1)):
            same(numdifftools.Derivative(np.exp, n=order)(x), peer.Derivative(np.exp, n=order)(x), 1e-6)
    full = numdifftools.Gradient(f, full_output=True)(X)
    assert set(full._fields) == {"estimate", "error_estimate", "final_step", "best_index"}


def test_a_right_gradient_is_nearer_than_by_one_sided_differences():
    f, slope = (
        lambda x: np.exp(-x[0]) * np.sin(7.0 * x[1]),
        lambda x: np.exp(-x[0]) * np.array([-np.sin(7.0 * x[1]), 7.0 * np.cos(7.0 * x[1])]),
    )
    x = np.array([-3.0, 0.3])
    assert scipy.check_grad(f, slope, x) < 0.1 * optimize.check_grad(f, slope, x)
    with scipy.installed():
        assert optimize.check_grad(f, slope, x) == scipy.check_grad(f, slope, x)


@pytest.mark.parametrize("step", [None, "MaxStepGenerator"])
def test_a_function_of_numdifftools_classes_that_is_set_later(step):
    peer = pytest.importorskip("numdifftools")
    made = numdifftools.Hessian(None, step=step and getattr(peer, step)(base_step=1e-2))
    for scale in (1.0, 2.0):
        made.fun = lambda x, scale=scale: scale * x[0] ** 2 * x[1]
        same(made([3.0, 4.0]), scale * np.array([[8.0, 6.0], [6.0, 0.0]]), 1e-5)


def test_refusals_of_numdifftools():
    for options, word in (({"method": "hybrid"}, "`method`"), ({"steps": 3}, "steps")):
        with pytest.raises(ValueError, match=word):
            numdifftools.Derivative(np.exp, **options)
    with pytest.raises(ValueError, match="`order`"):
        numdifftools.Hessian(np.sum, order=4)
    with pytest.raises(ValueError, match="`n`"):
        numdifftools.Gradient(np.sum, n=2)(X)
    for f, x, word in ((lambda x: 1j * np.sum(x), X, "complex valued"), (np.sum, X + 1j, "complex variable")):
        with pytest.raises(ValueError, match=word):
            numdifftools.Jacobian(f, method="complex")(x)


@pytest.mark.parametrize("method", ["central", "central2", "complex", "multicomplex", "forward", "backward"])
def test_numdifftools_by_every_method(method):
    """A one-sided difference looks to its side only, and every method finds the same."""
    seen = []

    def f(x, c=1.0):
        seen.append(np.max(np.real(x)))
        return np.exp(x[0]) * x[1] * c

    x, exact = np.array([0.3, 2.0]), np.exp(0.3) * np.array([[2.0, 1.0], [1.0, 0.0]])
    same(numdifftools.Gradient(f, method=method)(x, c=2.0), 2 * exact[0], 1e-6)
    same(numdifftools.Hessian(f, method=method)(x, 2.0), 2 * exact, 1e-5)
    same(numdifftools.Hessdiag(f, method=method, order=4)(x), np.diag(exact), 1e-7)
    sides = {"forward": min, "backward": max}
    if method in sides:
        assert sides[method](seen) == 2.0


@pytest.mark.parametrize("n", range(1, 7))
def test_higher_derivatives_of_numdifftools(n):
    exact = np.imag(1j**n * np.exp(1j * X))
    for order in (2, 4):
        full = numdifftools.Derivative(np.sin, n=n, order=order, full_output=True)(X)
        error = np.abs(full.estimate - exact)
        assert np.all(error <= 10 * full.error_estimate + 1e-12)
        assert np.max(error) < 1e-6
    same(numdifftools.Derivative(np.log, n=2)(1e-3), np.array(-1e6), 1e-6)  # to the left there is nothing soon
    if n > 1:  # the points are those of the formula
        step = numdifftools.Derivative(lambda x: x ** (n + 2), n=n, step=0.5)(0.0)
        assert step != 0.0
        assert step == pytest.approx(central(2, n).error_constant * 0.5**2 * math.factorial(n + 2))


def test_numdifftools_of_points_side_by_side():
    """Of an x of several points, an elementwise function of what it couples not, and of complex values."""
    peer = pytest.importorskip("numdifftools")
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def f(x):
        return np.array([x[0] * x[1], x[0] ** 2, x[1] ** 3])

    same(numdifftools.Jacobian(f)(points), peer.Jacobian(f)(points), 1e-7)
    turned = numdifftools.Jacobian(lambda x: (1 + 2j) * x**2)(X)
    assert turned.dtype == complex
    np.testing.assert_allclose(turned, np.diag((2 + 4j) * X), atol=1e-7)
    np.testing.assert_allclose(numdifftools.Hessian(lambda x: np.sum(x**3))(X + 1j), np.diag(6 * (X + 1j)), atol=1e-5)
    both = numdifftools.Hessian(lambda x: np.array([x[0] * x[1], x[1] ** 2]))(X[:2])
    same(both, np.array([[[0, 1], [1, 0]], [[0, 0], [0, 2.0]]]), 1e-5)
    held = np.array([True, False, True])
    with pytest.warns(RuntimeWarning, match="not finite"):
        partly = numdifftools.Derivative(lambda x: np.where(held, np.exp(x), np.nan), full_output=True)(X)
    same(partly.estimate[held], np.exp(X)[held], 1e-7)
    assert np.isnan(partly.estimate[1])


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_jacobi(n, f):
    peer = pytest.importorskip("jacobi")
    x, mask = X[:n], np.array([True, False, True])[:n]
    for options in ({}, {"mask": mask}, {"method": 0}, {"method": 1}, {"method": -1}):
        mine, theirs = jacobi.jacobi(f, x, **options), peer.jacobi(f, x, **options)
        same(mine[0], theirs[0], 1e-6)
        assert mine[1].shape == theirs[1].shape
    for cov in (0.3, np.array([0.1, 0.2, 0.3])[:n], (np.eye(3) + 0.1)[:n, :n]):
        same(jacobi.propagate(f, x, cov)[1], peer.propagate(f, x, cov)[1], 1e-6)


def test_propagate_of_pairs_and_diagonals():
    peer = pytest.importorskip("jacobi")
    for cov in (0.3, np.array([0.1, 0.2, 0.3]), np.eye(3) + 0.1):
        same(jacobi.propagate(np.exp, X, cov)[1], peer.propagate(np.exp, X, cov)[1], 1e-6)
        given = (lambda a, b: a * b, X, cov, X, cov)  # the same array twice: one of them moves
        same(jacobi.propagate(*given)[1], peer.propagate(*given)[1], 1e-6)
    same(jacobi.jacobi(np.exp, X, diagonal=True)[0], peer.jacobi(np.exp, X, diagonal=True)[0], 1e-7)
    told: dict[str, Any] = {}
    for options in ({"step": (0.1, 0.5)}, {"diagnostic": told, "diagonal": True}):  # of jacobi's own iteration
        for mine, theirs in zip(jacobi.jacobi(np.exp, X, **options), peer.jacobi(np.exp, X, **options), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert told["method"] == [0]
    for name, value in (("maxiter", 0), ("maxgrad", -1), ("rtol", -1.0)):
        with pytest.raises(ValueError, match=name):
            jacobi.jacobi(np.exp, X, **{name: value})


@pytest.mark.parametrize("given", [{}, {"maxgrad": 1}, {"maxgrad": 5}, {"maxiter": 1}, {"rtol": 0.1}], ids=str)
def test_bars_of_jacobi(given: dict[str, Any]) -> None:
    """They hold; without a tolerance they are as small as a closer look makes them."""
    for f, exact in ((np.exp, np.diag(np.exp(X))), (lambda x: np.outer(x, x)[0], None)):
        exact = np.array([[2 * X[0], 0, 0], [X[1], X[0], 0], [X[2], 0, X[0]]]) if exact is None else exact
        slope, error = jacobi.jacobi(f, X, **given)
        assert np.all(np.abs(slope - exact) <= 4.0 * error + 1e-15)
        assert given or error.max() < 1e-10


def test_where_one_side_is_nan() -> None:
    """Automatic: the other side; central: no derivative."""
    above, below = (lambda x: x if x >= 0 else np.nan), (lambda x: x if x <= 0 else np.nan)
    for f, side in ((above, 1), (below, -1)):
        for method in (None, side):
            slope, error = jacobi.jacobi(f, 0.0, method=method)
            assert abs(slope - 1.0) <= error < 1e-9
        slope, error = jacobi.jacobi(f, 0.0, method=0)
        assert np.isnan(slope)
        assert error == np.inf


def test_jacobi_of_what_is_not_known():
    """NaN in x or in fn(x) is lost data: its rows and columns are, and nothing else."""
    peer = pytest.importorskip("jacobi")
    x, nan = np.array([2.0, np.nan, 3.0]), np.nan
    cov = np.array([[3.0, nan, 1.0], [nan, nan, nan], [1.0, nan, 5.0]])
    for f in (lambda x: x**2, lambda x: np.where([True, True, False], x * 3, nan)):
        mine = jacobi.jacobi(f, x)
        same(mine[0], peer.jacobi(f, x)[0], 1e-7)
        np.testing.assert_array_equal(np.isinf(mine[1]), np.isnan(mine[0]))
        for diagonal in (False, True):
            mine, theirs = (m.propagate(f, x, cov, diagonal=diagonal)[1] for m in (jacobi, peer))
            same(mine, theirs, 1e-6)
    assert jacobi.jacobi(np.exp, [])[0].shape == (0, 0)
    assert not jacobi.jacobi(np.exp, [1.0, 2.0], mask=[False, False])[0].any()
    same(jacobi.jacobi(lambda x: x if x >= 0 else nan, 0.0, method=1)[0], np.array(1.0), 1e-9)
    same(jacobi.propagate(np.exp, 2.0, [0.3])[1], peer.propagate(np.exp, 2.0, [0.3])[1], 1e-6)
    for fn in (lambda x: [1, [1, 2]], lambda x: "s"):
        with pytest.raises(ValueError, match="cannot be converted"):
            jacobi.propagate(fn, (1, 2), (0.1, 0.1))


def test_nothing_loads_them():
    code = "import sys, fastgrad; sys.exit(any(m.startswith('fastgrad.adapters') or m == 'scipy' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_step_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has them is numdifftools' own; without a base step the usual ones."""
    peer = pytest.importorskip("numdifftools")
    bowl = lambda x: x[0] ** 2 * x[1] + np.cos(x[2])  # noqa: E731
    for name, f in (
        ("Derivative", np.sin),
        ("Jacobian", np.sin),
        ("Gradient", bowl),
        ("Hessian", bowl),
        ("Hessdiag", bowl),
    ):
        for given in (
            {"step": peer.MinStepGenerator(base_step=1e-3, num_steps=6, step_ratio=2.0)},
            {"step": numdifftools.MaxStepGenerator(base_step=0.1, num_steps=8, step_ratio=2.0)},
            {"num_extrap": 5},
        ):
            mine, theirs = (getattr(module, name)(f, **given)(X) for module in (numdifftools, peer))
            np.testing.assert_array_equal(mine, theirs)
        usual = getattr(numdifftools, name)(f, step=peer.MinStepGenerator(num_steps=5))(X)
        np.testing.assert_array_equal(usual, getattr(numdifftools, name)(f)(X))
    assert numdifftools.Derivative(np.sin, n=2, num_extrap=5, full_output=True)(X)[0] == pytest.approx(-np.sin(X))
    given = peer.MinStepGenerator(base_step=1e-3)
    monkeypatch.setitem(sys.modules, "numdifftools", None)
    with pytest.raises(ImportError, match="pip install numdifftools, or leave them out"):
        numdifftools.Derivative(np.sin, step=given)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_right_jacobian_beside_bounds_on_both_sides(sparse):
    from scipy.sparse import csr_array

    def f(x):
        return np.array([float(a) ** 3 - float(b) * float(a) for a, b in zip(x, np.roll(x, 1), strict=True)])

    def slope(x):
        n = len(x)
        exact = np.diag(3.0 * x**2 - np.roll(x, 1))
        exact[np.arange(n), np.arange(n) - 1] -= x
        return csr_array(exact) if sparse else exact

    bound = 4.9 + 0.1 * np.arange(20)
    x = bound * np.where(np.arange(20) % 2, 1 - 1e-7, -1 + 1e-7)
    assert scipy.check_derivative(f, slope, x, (-bound, bound)) < 1e-9
    assert scipy.check_derivative(f, lambda x: 1.001 * slope(x), x, (-bound, bound)) > 1e-4


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_hessians_to_one_side_of_what_does_not_lift(method: str) -> None:
    """To some ten digits, and within bars, from points on that side alone; f may end farther out."""
    x = np.array([0.5, 1.2, -0.7])

    def f(y: Any) -> float:
        values = y.tolist()
        assert all((v >= at) if method == "forward" else (v <= at) for v, at in zip(values, x.tolist(), strict=True))
        return math.exp(values[0]) * math.sin(values[1]) + values[2] ** 3 * math.sqrt(values[0])

    e, s, c, r = math.exp(0.5), math.sin(1.2), math.cos(1.2), math.sqrt(0.5)
    exact = np.array([
        [e * s + 0.25 * 0.343 / r**3, e * c, 1.5 * 0.49 / r],
        [e * c, -e * s, 0.0],
        [1.5 * 0.49 / r, 0.0, -6 * 0.7 * r],
    ])  # fmt: skip
    found = numdifftools.Hessian(f, method=method, full_output=True)(x)
    np.testing.assert_allclose(found.estimate, exact, rtol=0.0, atol=3e-8)
    assert (np.abs(found.estimate - exact) <= found.error_estimate).all()


@pytest.mark.parametrize("n", [1, 2])
def test_a_derivative_that_is_nan_is_told(n: int) -> None:
    x = np.array([0.5, 1.0, 5.0])
    with pytest.warns(NonFiniteWarning, match=r"\b(derivative|nan)\b"):
        found = numdifftools.Derivative(lambda x: np.where(x == 1.0, np.nan, np.exp(x)), n=n)(x)
    np.testing.assert_allclose(found[[0, 2]], np.exp(x[[0, 2]]), rtol=1e-8)
    assert np.isnan(found[1])


def test_statsmodels_complex_hessian_of_one_number():
    """An array of one number is one; of more there is no Hessian, and none is made up."""
    hessian = np.array([[-4.0, 2.0], [2.0, 0.0]])
    same(statsmodels.approx_hess_cs([1.0, -2.0], lambda x: np.array([x[0] ** 2 * x[1]])), hessian, 1e-9)
    assert np.isnan(statsmodels.approx_hess_cs([np.nan, 1.0], lambda x: x[0] ** 2)).all()
    with pytest.raises(ValueError, match="one number"):
        statsmodels.approx_hess_cs([1.0, -2.0], lambda x: x**2)


@pytest.mark.parametrize("steps", [{"rel_step": 1e-6}, {"abs_step": [-1e-6, 1e-6]}])
def test_scipy_steps_of_both_signs(steps):
    """Forward differences in entries of x whose steps go down, dense, coloured and within bounds."""
    peer = pytest.importorskip("scipy.optimize._numdiff")
    f = lambda x: np.array([x[0] * x[1], np.sin(x[0]), x[1] ** 2])  # noqa: E731
    pattern = np.array([[1, 1], [1, 0], [0, 1]])
    options = {"method": "2-point", "bounds": ([0.0, -3.0], [2.0, 0.0]), **steps}
    mine, theirs = (m.approx_derivative(f, np.array([1.0, -2.0]), **options) for m in (scipy, peer))
    same(mine, theirs, 1e-5)
    coloured = scipy.approx_derivative(f, np.array([1.0, -2.0]), sparsity=pattern, **options)
    same(coloured.toarray(), theirs, 1e-5)


def test_scipy_steps_that_vanish_in_short_floats():
    """The usual step in place of one that is lost is that of the shortest floats, as in SciPy; so of complex steps."""
    coarse = lambda x: np.float32(np.sum(x**2))  # noqa: E731
    same(scipy.approx_fprime(np.array([1.0, 2.0]), coarse, 0.0), np.array([2.0, 4.0]), 1e-3)
    x = np.array([1.0, 2.0], np.float32)
    same(np.asarray(scipy.approx_derivative(lambda x: x**2, x, method="cs"), float), np.diag([2.0, 4.0]), 1e-6)


def test_scipy_hessian_of_many_values_at_several_points():
    """They are no Hessian of one number, and are not added up."""
    with pytest.raises(ValueError, match="one number"):
        scipy.hessian(lambda x: x**2, np.ones((2, 3)))


def test_scipy_check_of_a_sparse_jacobian_that_is_wrong():
    """Any class of sparse matrices."""
    sparse = pytest.importorskip("scipy.sparse")
    f = lambda x: np.array([x[0] * x[1], x[1] ** 2])  # noqa: E731
    slope = lambda x: [[x[1], x[0]], [0, 2 * x[1]]]  # noqa: E731
    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.coo_array):
        assert scipy.check_derivative(f, lambda x, kind=kind: kind(slope(x)), np.array([1.0, 2.0])) < 1e-9
        assert scipy.check_derivative(f, lambda x, kind=kind: 1.1 * kind(slope(x)), np.array([1.0, 2.0])) > 0.05


@pytest.mark.parametrize("x", [[1.5], [1.0, 2.0]])
@pytest.mark.parametrize("f", [lambda x: x[0] ** 2, lambda x: x**2, lambda x: x[:1] ** 2, lambda x: np.exp(1j * x[0])])
def test_numdifftools_shapes_of_hessians(f, x):
    """An array of one number keeps its axis, and a Hessian of one entry both of its own."""
    peer = pytest.importorskip("numdifftools")
    same(numdifftools.Hessian(f)(x), peer.Hessian(f)(x), 1e-5)


def test_numdifftools_says_where_a_high_derivative_is_lost():
    """One-sided differences of order 8 have no digit left; a derivative that is 0 is no such."""
    with pytest.warns(AccuracyWarning, match="derivative 8 at entry"):
        numdifftools.Derivative(np.exp, n=8, method="forward")(1.0)
    for n in (2, 4, 6):
        assert abs(numdifftools.Derivative(np.sin, n=n)(0.0)) < 1e-9
    assert numdifftools.Derivative(lambda x: 3.0 * x, n=2)(1.0) == pytest.approx(0.0, abs=1e-9)
