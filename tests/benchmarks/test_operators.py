"""The cases of Jacobians and Hessians that asv tracks: their exact matrices are right, and theirs are found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks import operators
from fastgrad import numerical_hessian, numerical_jacobian

SMALL = [name for name in operators.SHORT if not name.endswith("1000")]


@pytest.mark.parametrize("name", SMALL)
def test_every_case_is_measured(name: str) -> None:
    found = operators.measure(name, rounds=1)
    assert found["seconds"] > 0
    assert found["nfev"] >= 2 or name.startswith("product")
    assert found["lost_digits"] < 6.5


def test_the_exact_matrices_are_right() -> None:
    y = np.random.default_rng(0).uniform(0.5, 1.5, 12)
    plain = numerical_jacobian(operators.brusselator, y, backend="python")
    assert_allclose(operators.brusselator_jacobian(y).toarray(), plain, atol=1e-8)
    plain = numerical_jacobian(operators.broyden, y, backend="python")
    assert_allclose(operators.broyden_jacobian(y).toarray(), plain, atol=1e-8)
    plain = numerical_hessian(operators.rosenbrock_loop, y)
    assert_allclose(operators.rosenbrock_hessian(y).toarray(), plain, atol=1e-3)
    f, x, exact = operators.tanh_of(5)
    assert_allclose(exact, numerical_jacobian(f, x, backend="python"), atol=1e-8)


def test_peers_give_the_same() -> None:
    case = operators.CASES["Hessian by values, rosenbrock 10"]
    prepared, x, exact = case.make()
    assert case.against is not None
    assert operators.error_of(case.against(prepared, x, exact)(), exact) < 1e-5
