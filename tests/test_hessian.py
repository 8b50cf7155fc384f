"""Hessians and their products, against differences in extended precision that share nothing with them."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import numba
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from fastgrad import AccuracyWarning, Hessian, NonFiniteWarning, hessian_sparsity, hvp, numerical_hessian
from fastgrad.sparsity import as_pattern

A = np.random.default_rng(7).normal(size=(6, 6))
T = np.linspace(0.1, 1.0, 9)


def point(n: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 1.5, n)


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def hess_rosenbrock(x: Any) -> Any:
    beside, main = -400 * x[:-1], np.zeros(x.size)
    main[:-1] = 2 + 1200 * x[:-1] ** 2 - 400 * x[1:]
    main[1:] += 200
    return sp.diags_array([beside, main, beside], offsets=[-1, 0, 1]).tocsr()


def bratu(x: Any) -> Any:
    m = round(np.sqrt(x.size))
    u = np.pad(x.reshape(m, m), 1)
    return 0.5 * np.sum(np.diff(u, axis=0) ** 2) + 0.5 * np.sum(np.diff(u, axis=1) ** 2) - np.sum(np.exp(u)) / m**2


def extended(f: Any, x: Any, v: Any, w: Any) -> float:
    """v H w by mixed differences of order 6 in extended precision."""
    assert np.finfo(np.longdouble).eps < 1e-18
    h = np.longdouble(2.0**-11)
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    total = np.longdouble(0)
    for j, a in weights.items():
        for k, b in weights.items():
            for s in (1, -1):
                for t in (1, -1):
                    total += s * t * a * b * np.longdouble(f(x + h * (s * j * v + t * k * w)))
    return float(total / (60 * h) ** 2)


# what goes wrong silently where a complex point is not thought of
TRAPS = {
    "abs": lambda x: np.sum(abs(np.sin(3 * x)) * x[::-1]),
    "fabs": lambda x: np.sum(np.fabs(x - 5) ** 3),
    "norm": lambda x: np.linalg.norm(x) ** 3,
    "norm 1": lambda x: np.linalg.norm(x - 3, 1) ** 2,
    "norm of rows": lambda x: np.sum(np.linalg.norm(x.reshape(2, 3), axis=1) ** 3),
    "var": lambda x: np.var(x) * x[0],
    "std": lambda x: np.std(x) * np.mean(x),
    "hypot": lambda x: np.sum(np.hypot(x[:3], x[3:])),
    "logaddexp": lambda x: np.sum(np.logaddexp(x[:3], 2 * x[3:])),
    "cbrt": lambda x: np.sum(np.cbrt(x - 2.0)),
    "sign": lambda x: np.sum(np.sign(x - 1.03) * x**3),
    "log": lambda x: np.sum(np.log(x) ** 2 * np.log1p(x)),
    "log2": lambda x: np.sum(np.log2(x) * np.log10(x[::-1]) ** 2),
    "exp": lambda x: np.exp(np.sum(np.sin(x))) + np.sum(np.expm1(x) ** 2),
    "tan": lambda x: np.sum(np.tan(0.5 * x) * np.tanh(x) * np.arctan(x)),
    "powers": lambda x: np.sum(x**2.5) * np.prod(x) + np.sum(1 / x) + np.sum(x**-3),
    "max": lambda x: np.max(x) ** 2 * np.min(x) + np.sum(np.maximum(x, 0.8) ** 3),
    "where": lambda x: np.sum(np.where(x > 0.9, x**3, np.sin(x))),
    "clip": lambda x: np.sum(np.clip(x, 0.7, 1.2) ** 2 * x),
    "quadratic form": lambda x: x @ (A @ x) + np.dot(x, x) ** 2,
    "einsum": lambda x: np.einsum("i,ij,j->", x**2, A, np.cos(x)),
    "pad": lambda x: np.sum(np.pad(x, 1) ** 2 * np.arange(8.0)) + np.sum(np.diff(np.pad(x**2, 2)) ** 2),
    "diag": lambda x: np.sum((np.diag(x) @ A) ** 2),
    "softmax": lambda x: np.sum((np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x)))) ** 2),
    "cumsum": lambda x: np.sum(np.cumsum(x) ** 3),
    "zeros_like": lambda x: _filled(x),  # noqa: PLW0108
    "vdot": lambda x: np.vdot(x, x**2),
    "conj": lambda x: np.sum(np.conj(x) * x**2),
    "outer": lambda x: np.sum(np.outer(x, x) ** 2 * A),
    "curve": lambda x: np.sum((x[0] * np.exp(-x[1] * T) + x[2] - T) ** 2),
    "sqrt of sum": lambda x: np.sqrt(1.0 + np.sum(x**2)),
    "float power": lambda x: np.sum(np.float_power(x, 1.7)),
    "average": lambda x: np.average(x**2, weights=np.arange(1.0, 7.0)) * np.mean(x),
    "argmax": lambda x: x[np.argmax(x)] ** 3 + np.sum(x**2),
    "sort": lambda x: np.sum(np.sort(x) ** 2 * np.arange(6.0)),
}


def _filled(x: Any) -> Any:
    r = np.zeros_like(x)
    r[1:] = x[1:] - x[:-1] ** 2
    r[0] = x[0]
    return np.sum(r**2)


@pytest.mark.parametrize("name", TRAPS)
def test_products_are_right(name: str) -> None:
    f, x, v = TRAPS[name], point(), np.random.default_rng(1).normal(size=6)
    product = hvp(f, x, v)
    expected = np.array([extended(f, x.astype(np.longdouble), v, w) for w in np.eye(6)])
    np.testing.assert_allclose(product, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", TRAPS)
def test_what_is_lifted_is_exact(name: str) -> None:
    f, x = TRAPS[name], point()
    hessian, info = numerical_hessian(f, x, full_output=True)
    np.testing.assert_array_equal(hessian, hessian.T)
    v, w = point(seed=4), point(seed=5)
    expected = extended(f, x.astype(np.longdouble), v, w)
    if info.way == "complex lift":
        assert abs(v @ hessian @ w - expected) <= 1e-11 * np.abs(hessian).max()
    else:
        assert abs(v @ hessian @ w - expected) <= max(1e-4 * np.abs(hessian).max(), v @ info.error @ w)


def test_most_are_lifted() -> None:
    ways = {name: numerical_hessian(f, point(), full_output=True)[1].way for name, f in TRAPS.items()}
    refused = [name for name, way in ways.items() if way != "complex lift"]
    assert len(refused) <= 0.1 * len(TRAPS), refused


@pytest.mark.parametrize("n", [2, 10, 100])
def test_rosenbrock(n: int) -> None:
    x, exact = point(n), hess_rosenbrock(point(n))
    hessian, info = numerical_hessian(rosenbrock, x, full_output=True)
    assert info.way == "complex lift"
    assert np.abs(hessian - exact).max() <= 1e-15 * abs(exact).max()
    assert (np.abs(hessian - exact.toarray()) <= info.error).all()


@pytest.mark.parametrize("n", [10, 3000])
def test_sparse(n: int) -> None:
    x, exact = point(n), hess_rosenbrock(point(n))
    hessian, info = numerical_hessian(rosenbrock, x, sparse=True, full_output=True)
    assert isinstance(hessian, sp.csr_array)
    assert (info.way, info.colors) == ("complex lift", 3)
    assert abs(hessian - exact).max() <= 1e-15 * abs(exact).max()
    assert abs(hessian - hessian.T).max() == 0


def test_two_dimensional_energy() -> None:
    x = point(64)
    hessian, info = numerical_hessian(bratu, x, sparsity="detect", full_output=True)
    full = numerical_hessian(bratu, x)
    assert info.way == "complex lift"
    np.testing.assert_allclose(hessian.toarray(), full, rtol=0, atol=1e-14)
    assert hessian.nnz == np.count_nonzero(full)


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
@pytest.mark.parametrize("name", TRAPS)
def test_no_entry_is_missing_from_the_pattern(name: str) -> None:
    f = TRAPS[name]
    try:
        pattern = hessian_sparsity(f, point()).toarray()
    except TypeError:
        pytest.skip("not watched")
    hessian = numerical_hessian(f, point(), backend="python")
    assert not (np.abs(hessian) > 1e-4 * np.abs(hessian).max())[~pattern].any()


def test_a_wrong_pattern_is_noticed() -> None:
    x = point(10)
    wrong = hess_rosenbrock(x).tolil()
    wrong[3, 4] = wrong[4, 3] = 0
    for options in ({}, {"backend": "python"}):
        with pytest.raises(ValueError, match="`sparsity` lacks an entry"):
            numerical_hessian(rosenbrock, x, sparsity=wrong, **options)
    with pytest.raises(ValueError, match="`sparsity` of a Hessian must be symmetric"):
        Hessian(rosenbrock, sparsity=np.triu(np.ones((3, 3))))


def gradient_of_rosenbrock(x: Any) -> Any:
    out = np.zeros_like(x)
    out[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    out[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return out


@pytest.mark.parametrize("options", [{}, {"sparsity": "given"}])
def test_given_gradient(options: dict[str, Any]) -> None:
    x = point(30)
    exact = hess_rosenbrock(x)
    if options:
        options = {"sparsity": exact}
    hessian, info = numerical_hessian(rosenbrock, x, grad=gradient_of_rosenbrock, full_output=True, **options)
    assert info.way == "gradients"
    dense = hessian.toarray() if options else hessian
    np.testing.assert_allclose(dense, exact.toarray(), rtol=0, atol=1e-9 * abs(exact).max())
    np.testing.assert_array_equal(dense, dense.T)
    error = info.error.toarray() if options else info.error
    assert (np.abs(dense - exact.toarray()) <= error).all()
    v = point(30, 3)
    product = hvp(rosenbrock, x, v, grad=gradient_of_rosenbrock)
    np.testing.assert_allclose(product, exact @ v, rtol=0, atol=1e-9 * abs(exact).max())


@pytest.mark.parametrize(
    ("n", "way", "digits"), [(4, "second differences", 10), (35, "second differences", 10), (36, "gradients", 6)]
)
def test_without_a_lift(n: int, way: str, digits: int) -> None:
    x = point(n)
    exact = hess_rosenbrock(x).toarray()
    f = numba.njit(rosenbrock) if way == "gradients" else lambda x: rosenbrock(np.array(x.tolist()))
    hessian, info = numerical_hessian(f, x, full_output=True)
    assert info.way == way
    assert np.abs(hessian - exact).max() <= 10.0**-digits * np.abs(exact).max()
    assert (np.abs(hessian - exact) <= info.error).all()


def test_closures_and_shapes() -> None:
    x = point(4).reshape(2, 2)
    kept = x.tobytes()
    hessian = numerical_hessian(lambda _: np.sum(x**3) + x[0, 0] * x[1, 1], x)
    assert hessian.shape == (2, 2, 2, 2)
    expected = np.diag(6 * x.ravel())
    expected[0, 3] = expected[3, 0] = 1.0
    np.testing.assert_allclose(hessian.reshape(4, 4), expected, atol=1e-5)
    assert x.tobytes() == kept
    assert numerical_hessian(lambda x: x**3, 2.0).shape == ()
    np.testing.assert_allclose(numerical_hessian(lambda x: x**3, 2.0), 12.0, rtol=1e-6)
    assert hvp(lambda x: np.sum(x**3), x, x).shape == (2, 2)


def test_a_kink_is_not_lifted_over() -> None:
    x = np.array([0.0, 1.0, 2.0])
    hessian = Hessian(lambda x: np.sum(np.abs(x) ** 3) + np.abs(x[0]))
    with pytest.warns(RuntimeWarning):
        hessian(x)


def test_noise_is_not_lifted_over() -> None:
    x = point(3)
    hessian, info = numerical_hessian(lambda x: sum(v**3 for v in x.tolist()), x, full_output=True)
    assert info.way == "second differences"
    np.testing.assert_allclose(hessian, np.diag(6 * x), atol=1e-9)
    rng = np.random.default_rng(0)
    with pytest.warns(AccuracyWarning, match="no digit is certain of . entries"):  # those that are 0
        hessian, info = numerical_hessian(lambda x: np.sum(x**3) + 1e-4 * rng.normal(), x, full_output=True)
    assert info.way == "second differences"
    assert (np.abs(hessian - np.diag(6 * x)) <= info.error).all()
    assert np.abs(hessian - np.diag(6 * x)).max() < 0.05


def cubes(x: Any, a: float) -> Any:
    return a * np.sum(x**3)


def test_prepared() -> None:
    hessian = pickle.loads(pickle.dumps(Hessian(cubes, args=(2.0,))))
    x = point(3)
    np.testing.assert_allclose(hessian(x), np.diag(12 * x), rtol=1e-12)
    np.testing.assert_allclose(hessian(x, 1.0), np.diag(6 * x), rtol=1e-12)
    np.testing.assert_allclose(hessian.hvp(x, x), 12 * x * x, rtol=1e-12)
    np.testing.assert_allclose(hessian.operator(x) @ x, 12 * x * x, rtol=1e-12)
    assert "complex lift" in hessian.explain(x)
    assert "cubes" in repr(hessian)
    sparse = Hessian(cubes, args=(2.0,), sparse=True)
    sparse(x)
    assert as_pattern(sparse.sparsity).size == 3
    assert sparse.colors.tolist() == [0, 0, 0]


def coupled(x: Any) -> Any:
    return np.sum(x[1:] ** 2 * x[:-1]) if x[0] > 0 else np.sum(x**2 * x[::-1])


def kinked(x: Any) -> Any:
    return np.sum(np.abs(x) * np.roll(x, 1) ** 2)


@pytest.mark.parametrize("f", [coupled, kinked])
@pytest.mark.parametrize("options", [{"sparse": True}, {"sparsity": "detect"}])
def test_no_bit_depends_on_the_calls_before(f: Any, options: dict[str, Any]) -> None:
    prepared, rng = Hessian(f, **options), np.random.default_rng(0)
    for k in range(5):
        x = rng.normal(size=12)
        x[3] *= k != 3  # there f is not lifted, and the pattern of others must not be missed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            (one, told), (other, known) = prepared.with_info(x), Hessian(f, **options).with_info(x)
        assert told.nfev == known.nfev
        assert told.way == known.way
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("options", [{}, {"sparse": True}, {"method": "adaptive"}])
@pytest.mark.parametrize("f", [lambda x: np.nan, lambda x: np.sum(np.log(x))])
def test_where_f_is_not_finite_it_is_said_once(f: Any, options: dict[str, Any]) -> None:
    with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        hessian = numerical_hessian(f, -np.ones(3), **options)
    assert np.isnan(hessian.toarray().diagonal() if "sparse" in options else hessian).all()
    assert [(w.category, w.filename) for w in told] == [(NonFiniteWarning, __file__)]


def test_adaptive_steps() -> None:
    """Ladders on ladders, where f cannot be lifted: the digits of a gradient."""
    count = 0

    def f(x: Any) -> Any:
        nonlocal count
        count += 1
        return math.exp(x[0]) * x[1] ** 2 + math.sin(x[2]) * x[1]

    x = [0.5, 1.5, -2.0]
    e, s, c = math.exp(0.5), math.sin(-2.0), math.cos(-2.0)
    exact = np.array([[2.25 * e, 3 * e, 0.0], [3 * e, 2 * e, c], [0.0, c, -1.5 * s]])
    hessian, info = numerical_hessian(f, x, method="adaptive", full_output=True)
    assert info.nfev == count
    assert (np.abs(hessian - exact) <= info.error).all()
    assert np.abs(hessian - exact).max() < 1e-10


def test_in_scipys_hands() -> None:
    x0 = np.full(6, -1.0)
    hessian = Hessian(rosenbrock)
    for given in ({"hess": hessian}, {"hessp": hessian.hvp}):
        found = minimize(
            rosenbrock, x0, jac=gradient_of_rosenbrock, method="trust-ncg", options={"gtol": 1e-8}, **given
        )
        np.testing.assert_allclose(gradient_of_rosenbrock(found.x), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hvp(rosenbrock, point(3), point(4)), "`v` must have the shape of x"),
        (lambda: hvp(rosenbrock, point(3), [np.nan] * 3), "`v` must be finite"),
        (lambda: numerical_hessian(lambda x: x, point(3)), "one number"),
        (lambda: numerical_hessian(rosenbrock, [np.nan, 1.0]), "`x` must be finite"),
        (lambda: numerical_hessian(rosenbrock, None), "`x` must hold real numbers"),
        (lambda: numerical_hessian(lambda x: None, point(3)), "`f` must return one number, got None"),
        (lambda: numerical_hessian(lambda x: "1", point(3)), "`f` must return one number"),
        (lambda: numerical_hessian(lambda x: [[1.0], [1.0, 2.0]], point(3)), "`f` must return one number"),
        (lambda: numerical_hessian(rosenbrock, point(3), out=3), "`out` is no option here"),
        (lambda: numerical_hessian(rosenbrock, point(3), method="complex"), "`method` 'complex' needs `grad`"),
        (lambda: numerical_hessian(rosenbrock, point(3), method="adaptive", h=1.0), "leave out `h`"),
        (lambda: numerical_hessian(rosenbrock, point(3), sparsity=np.eye(3)[::-1] + [[1, 0, 0]] * 3), "symmetric"),
        (lambda: hvp(rosenbrock, point(3), None), "`v` must hold real numbers"),
        (lambda: numerical_hessian(rosenbrock, point(3), grad=3), "`grad` must be"),
        (lambda: numerical_hessian(rosenbrock, point(3), grad=lambda x: x[:2]), "`grad` must return"),
        (lambda: numerical_hessian(rosenbrock, point(3), indices=[0]), "`indices` has no meaning"),
        (lambda: numerical_hessian(rosenbrock, point(3), sparsity=np.eye(4)), "`sparsity` must have"),
        (lambda: hessian_sparsity(lambda x: x.tolist()[0], point(3)), "`f` cannot be watched"),
    ],
)
def test_wrong_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("f", [rosenbrock, lambda x: float(rosenbrock(x))])
@pytest.mark.parametrize("n", [5, 30])
@pytest.mark.parametrize(
    "options", [{}, {"sparse": True}, {"backend": "python"}, {"h": 1e-4}, {"sparsity": True}], ids=str
)
def test_by_what_bounds_fix_the_second_derivative_is_zero(f: Any, n: int, options: dict[str, Any]) -> None:
    x, v = point(n), point(n, 1)
    lower, upper, fixed = np.full(n, -3.0), np.full(n, 3.0), [1, 3]
    lower[fixed] = upper[fixed] = x[fixed]
    exact = hess_rosenbrock(x).toarray()
    if "sparsity" in options:
        options = {"sparsity": exact != 0}
    exact[fixed], exact[:, fixed] = 0.0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, info = numerical_hessian(f, x, bounds=(lower, upper), full_output=True, **options)
        product = hvp(f, x, v, bounds=(lower, upper), **options)
    dense, bars = (part.toarray() if sp.issparse(part) else part for part in (found, info.error))
    np.testing.assert_allclose(dense, exact, rtol=0, atol=0.1)
    np.testing.assert_allclose(product, exact @ v, rtol=0, atol=0.1)
    assert not product[fixed].any()
    assert bars is None or (np.abs(dense - exact) <= bars + 1e-12).all()
    if f is rosenbrock and not options.keys() & {"backend", "h"}:
        assert info.way == "complex lift"
        np.testing.assert_allclose(dense, exact, rtol=0, atol=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(np.maximum(x, 0.0) ** 2 + 10.0 * x**2),
        lambda x: np.sum(np.sign(x) * x**2 + 10.0 * x**2),  # whose second difference at 0 is that of 10 x**2
        lambda x: np.sum(np.where(x > 0.0, 3.0, 1.0) * x**2),
        lambda x: np.sum(np.abs(x) * x + x**4),
        lambda x: np.sum(np.floor(x + 1.0) * x**2),
    ],
)
def test_one_kink_among_many_is_seen(f: Any) -> None:
    x = point(60) * np.where(np.arange(60) % 2, 1.0, -1.0)
    assert Hessian(f).with_info(x)[1].way == "complex lift"
    x[7] = 0.0
    v = point(60, 1)
    with pytest.warns(AccuracyWarning):
        assert Hessian(f).with_info(x)[1].way != "complex lift"
    with pytest.warns(AccuracyWarning):
        hvp(f, x, v)


@pytest.mark.parametrize("n", [4, 40])
def test_choices_between_equals_that_make_no_kink_are_lifted(n: int) -> None:
    def log_sum_exp(x: Any) -> Any:
        return np.log(np.sum(np.exp(x - np.max(x)))) + np.max(x)

    def cubes(x: Any) -> Any:
        return np.sum(np.maximum(x, 0.0) ** 3 + np.abs(x) ** 3)

    x = point(n)
    x[: n // 2] = x.max()
    p = np.exp(x) / np.sum(np.exp(x))
    found, info = numerical_hessian(log_sum_exp, x, full_output=True)
    assert info.way == "complex lift"
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), rtol=0, atol=1e-15)
    x[: n // 2] = 0.0
    found, info = numerical_hessian(cubes, x, full_output=True)
    assert info.way == "complex lift"
    np.testing.assert_allclose(found, np.diag(12.0 * x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x[:-1] ** (x[1:] + 1.0)),
        lambda x: np.sum(2.0**x),
        lambda x: np.sum((-x) ** np.array([2, 3, 4, 1, 2, -3])),
        lambda x: np.sum(x ** np.array([2.5, 0.5, -1.5, 1.0, 3.0, 0.0])),
    ],
)
def test_powers_of_every_kind_are_lifted(f: Any) -> None:
    x, v, w = point(), point(6, 1), point(6, 2)
    product = hvp(f, x, v)
    assert Hessian(f).with_info(x)[1].way == "complex lift"
    assert w @ product == pytest.approx(extended(f, x, v, w), rel=1e-11)  # as exact as differences in long doubles


def test_complex_numbers_of_its_own() -> None:
    """The real part of what is complex at real points, too, has no continuation: no lift takes it for one."""
    x = np.array([-0.2, 0.6, 0.8])
    for f, exact in (
        (lambda y: (1j * np.inner(y, y)).real, np.zeros((3, 3))),
        (lambda y: np.real(1j * (y * y)).sum(), np.zeros((3, 3))),
        (lambda y: np.real(np.exp(1j * y)).sum(), -np.diag(np.cos(x))),
        (lambda y: np.real(y * y).sum(), 2.0 * np.eye(3)),
    ):
        found, info = numerical_hessian(f, x, full_output=True)
        assert np.all(np.abs(found - exact) <= 10.0 * info.error + 1e-15)
        assert info.error.max() < 1e-6


@pytest.mark.parametrize("n", [3, 12, 30])
def test_x_moves_wherever_f_finds_it_as_for_gradients(n):
    """The lift moves the argument alone: an f that holds x's own array, too, had a Hessian of another function."""
    data = np.linspace(1.0, 2.0, n)
    exact = np.diag(-2.0 * np.sin(data) - data * np.cos(data))
    f = lambda p: np.sum(np.cos(p) * data)  # noqa: E731
    np.testing.assert_allclose(numerical_hessian(f, data), exact, atol=1e-5)
    np.testing.assert_allclose(hvp(f, data, np.ones(n)), exact.sum(axis=1), atol=1e-5)
    apart = numerical_hessian(f, data.copy(), full_output=True)
    np.testing.assert_allclose(apart[0], np.diag(-data * np.cos(data)), atol=1e-12)
    assert apart[1].way == "complex lift"


def test_logarithms_beside_one_keep_their_digits() -> None:
    for x in (1e-9, -5.7e-7, 0.3):
        hessian = numerical_hessian(lambda x: np.log1p(x[0] ** 2) * x[1], np.array([x, 2.0]))
        exact = np.array([[4.0 * (1 - x**2) / (1 + x**2) ** 2, 2 * x / (1 + x**2)], [2 * x / (1 + x**2), 0.0]])
        np.testing.assert_allclose(hessian, exact, rtol=1e-14)


def test_steps_of_the_lift_are_of_an_entry_s_own_size() -> None:
    for x in (np.array([2e-20, 3e-3]), np.array([1e-9, 4.0])):
        hessian, info = numerical_hessian(lambda x: x[0] ** 3 * x[1] + x[1] ** 2, x, full_output=True)
        exact = np.array([[6 * x[0] * x[1], 3 * x[0] ** 2], [3 * x[0] ** 2, 2.0]])
        np.testing.assert_allclose(hessian, exact, rtol=1e-14)
    hessian, info = numerical_hessian(lambda x: x[0] ** 3, np.zeros(1), full_output=True)
    assert abs(hessian[0, 0]) <= info.error[0, 0] < 1e-20


def test_a_sparse_hessian_keeps_the_entries_that_come_out_as_zero() -> None:
    def f(x: Any) -> float:
        v = [float(one) for one in x.tolist()]
        return v[0] ** 3 + v[1] ** 3 + v[2] * v[3]

    hessian = numerical_hessian(f, np.zeros(5), backend="python", sparse=True)
    assert set(zip(*hessian.tocoo().coords, strict=True)) == {(i, i) for i in range(5)} | {
        (0, 1),
        (1, 0),
        (2, 3),
        (3, 2),
    }
    assert set(zip(*np.nonzero(np.abs(hessian.toarray()) > 1e-9), strict=True)) == {(2, 3), (3, 2)}


def test_differences_of_gradients_use_the_pattern_that_watching_shows() -> None:
    def f(x: Any) -> Any:
        return np.sum((x[1:] - x[:-1] ** 2) ** 2)

    x = np.linspace(0.1, 1.0, 40)
    hessian, info = numerical_hessian(f, x, 1e-3, sparse=True, full_output=True)
    assert info.colors is not None
    assert hessian.nnz == 118
    np.testing.assert_allclose(hessian.toarray(), numerical_hessian(f, x), atol=1e-4)
