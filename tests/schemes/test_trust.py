"""The check of the complex step: every component is seen, and right gradients pass."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from benchmarks.accuracy_problems import FAMILIES, Floating
from fastgrad import jvp, numerical_gradient, numerical_jacobian, vjp

N = 20
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, N)
X = np.random.default_rng(2).uniform(0.3, 1.7, N) * np.where(np.arange(N) % 3 == 0, -1.0, 1.0)

FAULTS = {
    "abs": abs,
    "real": lambda v: 1.3 * v.real,
    "conj": lambda v: np.conj(v) ** 2,
    "comparison": lambda v: v**2 if v == v.real else 0.0 * v + v.real**2,
    "modulus": lambda v: np.sqrt((v * np.conj(v)).real),
}


@pytest.mark.parametrize("size", [1.0, 1e-3, 30.0])
@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_component_that_loses_its_imaginary_part_is_seen(fault, place, size):
    def f(x):
        rest = WEIGHTS * x**2 + np.sin(x)
        return 3.0 + np.sum(rest) - rest[place] + size * FAULTS[fault](x[place])

    with pytest.raises(ValueError, match="not analytic"):
        numerical_gradient(f, X, method="complex", backend="python")


@pytest.mark.parametrize("constant", [0.0, 1e3, 1e6])
def test_two_variables(constant):
    f = lambda x: constant + x[0] ** 2 + abs(x[1])  # noqa: E731
    with pytest.raises(ValueError, match="not analytic"):
        numerical_gradient(f, np.array([1.0, 2.0]), method="complex", backend="python")


@pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.kind in "SBHC" and n != "units"])
def test_analytic_functions_pass(name):
    for seed in range(3):
        problem = FAMILIES[name].instance(seed)
        try:
            with np.errstate(all="ignore"):
                problem.f(list(problem.x + 0j), Floating)
        except TypeError:  # it compares
            continue
        f = lambda x: problem.f(list(x), Floating)  # noqa: B023, E731
        with np.errstate(all="ignore"):
            found = numerical_gradient(f, problem.x, method="complex", backend="python")
        rel = 1e-4 if problem.kind == "C" else 1e-6  # f itself loses digits there
        assert found == pytest.approx(problem.gradient(), rel=rel, abs=1e-9 * np.abs(found).max())


@pytest.mark.parametrize("x", [np.ones(2), np.array([1.0, 10.0])])
def test_minima_pass(x):
    t = np.arange(1, 11) * 0.1
    y = np.exp(-t * x[0]) - 5 * np.exp(-t * x[1])
    f = lambda v: np.sum((np.exp(-t * v[0]) - 5 * np.exp(-t * v[1]) - y) ** 2)  # noqa: E731
    assert numerical_gradient(f, x, method="complex", backend="python") == pytest.approx(np.zeros(2), abs=1e-14)


def test_functions_on_short_lengths_pass():
    for k in (1e2, 1e4, 1e6):
        f = lambda x: np.sin(k * x[0]) + x[1]  # noqa: B023, E731
        found = numerical_gradient(f, np.array([1.3, 0.4]), method="complex", backend="python")
        assert found == pytest.approx([k * np.cos(k * 1.3), 1.0], rel=1e-9)


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, x: numerical_jacobian(f, x, method="complex"),
        lambda f, x: numerical_jacobian(f, x, method="complex", sparsity=np.ones((x.size, x.size))),
        lambda f, x: jvp(f, x, np.ones(x.size), method="complex"),
        lambda f, x: vjp(f, x, np.ones(x.size), method="complex"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_one_output_that_is_not_analytic_is_seen(derivative, place):
    x = np.array([1.0, -2.0, 3.0, 4.0])
    analytic = lambda x: 1e3 + np.cumsum(np.sin(x))  # noqa: E731
    derivative(analytic, x)  # raises nothing

    def faulty(x):
        values = analytic(x)
        values[place] += 0.1 * abs(x[0] - 3.0)
        return values

    with pytest.raises(ValueError, match="not analytic"):
        derivative(faulty, x)


@pytest.mark.parametrize("seed", range(20))
def test_an_output_whose_terms_cancel_is_analytic(seed):
    random = np.random.default_rng(seed)
    features, x, v = random.normal(size=(6, 4)), random.normal(size=4), random.normal(size=4)

    def constrained(x):
        weights = np.exp(features @ x)
        shares = weights / weights.sum()
        return np.concatenate([[shares.sum() - 1.0], features.T @ shares])

    shares = np.exp(features @ x) / np.exp(features @ x).sum()
    right = (features.T * shares) @ features - np.outer(features.T @ shares, shares @ features)
    for length in (1.0, 1e-17):
        product = jvp(constrained, x, length * v, method="complex")
        np.testing.assert_allclose(product[1:], length * (right @ v), rtol=1e-9)
    jacobian = numerical_jacobian(constrained, x, method="complex")
    np.testing.assert_allclose(jacobian[1:], right, atol=1e-12)
    assert np.abs(jacobian[0]).max() < 1e-15


def gamma(x, wrong=0.0):
    """Ask whether a number is complex, as statsmodels' negative binomial does."""
    if np.iscomplex(x).any():
        return special.loggamma(x).sum() + wrong
    return special.gammaln(x).sum()


@pytest.mark.parametrize("backend", ["python", "auto"])
def test_an_f_that_asks_for_an_imaginary_part(backend):
    x = np.array([0.7, 1.3, 4.0])
    found = numerical_gradient(gamma, x, method="complex", backend=backend)
    np.testing.assert_allclose(found, special.digamma(x), rtol=1e-13)
    found = numerical_jacobian(lambda x: gamma(x) * np.ones(2), x, method="complex")
    np.testing.assert_allclose(found, [special.digamma(x)] * 2, rtol=1e-13)
    with pytest.raises(ValueError, match="other values for complex numbers"):
        numerical_gradient(gamma, x, method="complex", backend=backend, args=(1.0,))
