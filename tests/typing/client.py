"""A small typed program of a user: it has to run, and to be clean under mypy --strict and pyright in strict mode."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastgrad
from fastgrad import (
    DescentResult,
    Gradient,
    GradientCheck,
    Info,
    JacobianInfo,
    check_gradient,
    gradient_descent,
    hvp,
    jvp,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    value_and_gradient,
    vjp,
)

Floats = NDArray[np.float64]


def paraboloid(x: Floats) -> float:
    return float(x @ x)


def twice(x: Floats) -> Floats:
    return 2.0 * x


def of_parameters(p: dict[str, Any]) -> float:
    return float(p["b"] * p["w"] @ p["w"])


def main() -> None:
    x = np.array([3.0, 4.0])

    assert_type(numerical_gradient(paraboloid, x), NDArray[Any])
    assert_type(numerical_gradient(paraboloid, [3.0, 4.0], method="forward", order=1), NDArray[Any])
    slope, info = numerical_gradient(paraboloid, x, full_output=True)
    assert_type(info, Info)
    assert_type(info.nfev, int)
    np.testing.assert_allclose(slope, [6.0, 8.0], rtol=1e-9)

    prepared = Gradient(paraboloid, bounds=(0.0, 10.0))
    assert_type(prepared(x), NDArray[Any])
    value, slope = value_and_gradient(paraboloid, x)
    assert_type(value, float)
    assert value == 25.0

    matrix, about = numerical_jacobian(twice, x, full_output=True)
    assert_type(about, JacobianInfo)
    np.testing.assert_allclose(matrix, [[2.0, 0.0], [0.0, 2.0]], atol=1e-8)
    _, about = numerical_hessian(paraboloid, x, full_output=True)
    assert_type(about, JacobianInfo)

    direction = np.array([1.0, 0.0])
    assert_type(jvp(twice, x, direction), NDArray[Any])
    assert_type(vjp(twice, x, direction), NDArray[Any])
    assert_type(hvp(paraboloid, x, direction), NDArray[Any])

    parameters = {"w": x, "b": 1.0}
    product = hvp(of_parameters, parameters, {"w": direction, "b": 0.0})
    assert_type(product, dict[Any, Any])
    np.testing.assert_allclose(product["w"], [2.0, 0.0], atol=1e-8)
    blocks, about = numerical_hessian(of_parameters, parameters, full_output=True)
    assert_type(about, JacobianInfo)
    np.testing.assert_allclose(blocks["w"]["b"], [6.0, 8.0], atol=1e-8)

    check = check_gradient(paraboloid, twice, x)
    assert_type(check, GradientCheck)
    result: DescentResult = gradient_descent(paraboloid, x, lr=0.1, full_output=True)
    assert result.values[-1] < 1e-6

    print(f"fastgrad {fastgrad.__version__}: {info.backend}, {info.nfev} evaluations")


if __name__ == "__main__":
    main()
