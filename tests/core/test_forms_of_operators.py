"""Jacobians, Hessians and products at whatever holds x: f that reads it sees the steps, or the error says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import hvp, jvp, numerical_hessian, numerical_jacobian, vjp

pandas = pytest.importorskip("pandas")
X = np.array([0.5, -1.0, 2.0])
V = np.array([1.0, 2.0, -1.0])
FORMS: dict[str, Callable[[Any], Any]] = {
    "array": np.array,
    "list": list,
    "list of floats": lambda v: v.tolist(),
    "Series": lambda v: pandas.Series(v.copy()),
    "tuple": lambda v: tuple(v.tolist()),
}


def many(values: Any) -> Any:
    return np.sin(np.asarray(values, dtype=float)) * np.arange(1.0, 4.0)


def one(values: Any) -> float:
    return float(np.sum(np.asarray(values, dtype=float) ** 3))


J = np.diag(np.cos(X) * np.arange(1.0, 4.0))
H = np.diag(6.0 * X)
OPERATORS: dict[str, tuple[Callable[[Any, Any], Any], Any, Any]] = {
    "numerical_jacobian": (numerical_jacobian, many, J),
    "jvp": (lambda f, x: jvp(f, x, V), many, J @ V),
    "vjp": (lambda f, x: vjp(f, x, V), many, V @ J),
    "numerical_hessian": (numerical_hessian, one, H),
    "hvp": (lambda f, x: hvp(f, x, V), one, H @ V),
}


def result_of(result: Any) -> Any:
    return result[-1] if isinstance(result, tuple) else result


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OPERATORS)
def test_closures(name: str, form: str) -> None:
    operator, f, exact = OPERATORS[name]
    x = FORMS[form](X)
    if form == "tuple":
        with pytest.raises(TypeError, match="`x` is a tuple"):
            operator(lambda _: f(x), x)
    else:
        assert_allclose(result_of(operator(lambda _: f(x), x)), exact, rtol=1e-5, atol=1e-6)
    assert_array_equal(np.asarray(x), X)
    assert_allclose(result_of(operator(f, x)), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "tuple"])
@pytest.mark.parametrize("name", OPERATORS)
def test_x_is_put_back(name: str, form: str) -> None:
    operator, f, _ = OPERATORS[name]
    x = FORMS[form](X)
    before = [(type(v), float(v)) for v in x]
    calls = 0

    def stops(_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return f(x)

    with pytest.raises(KeyboardInterrupt):
        operator(stops, x)
    assert [(type(v), float(v)) for v in x] == before
