"""What derivatives are called with: f's own arguments, which libraries look for by name."""

from __future__ import annotations

import inspect
from functools import partial, update_wrapper
from typing import Any

import numpy as np
import pytest

from fastgrad import Gradient, Hessian, Jacobian

X = np.array([1.0, 2.0, -0.5])


def cubes(x: Any, scale: Any, power: Any = 3) -> Any:
    return scale * np.sum(x**power)


def residuals(x: Any, scale: Any, power: Any = 3) -> Any:
    return scale * x**power


def fill(x: Any, out: Any) -> None:
    out[:] = x**2


@pytest.mark.parametrize("make", [Gradient, Hessian, Jacobian])
def test_a_derivative_shows_its_functions_arguments(make: Any) -> None:
    assert str(inspect.signature(make(lambda p: p @ p))) == "(p)"
    assert [*inspect.signature(make(cubes)).parameters] == ["x", "scale", "power"]
    assert [*inspect.signature(make(cubes, args=(2.0,))).parameters] == ["x", "power"]
    assert [*inspect.signature(make(cubes, kwargs={"power": 2})).parameters] == ["x", "scale"]
    assert "f" in inspect.signature(make).parameters  # the class's own


def test_where_f_shows_less_than_is_asked_for_the_calls_own_is_shown() -> None:
    for jacobian in (Jacobian(fill, out=3), Jacobian(lambda t, y: -t * y, argnum=1)):
        assert [*inspect.signature(jacobian).parameters] == ["arguments", "kwargs"]


@pytest.mark.parametrize(("make", "f"), [(Gradient, cubes), (Hessian, cubes), (Jacobian, residuals)])
def test_arguments_by_name(make: Any, f: Any) -> None:
    positional, prepared = make(f)(X, 2.0, 4), make(f, kwargs={"scale": 2.0, "power": 4})(X)
    np.testing.assert_array_equal(make(f)(X, scale=2.0, power=4), positional)
    np.testing.assert_array_equal(make(f)(X, 2.0, power=4), positional)
    np.testing.assert_array_equal(prepared, positional)


@pytest.mark.parametrize(("make", "f"), [(Gradient, cubes), (Hessian, cubes), (Jacobian, residuals)])
def test_partial_applications_that_look_like_it(make: Any, f: Any) -> None:
    derivative = make(f)
    applied = update_wrapper(partial(derivative, scale=2.0), derivative)  # as optimagic hands a `jac` on
    assert [*inspect.signature(applied).parameters] == ["x", "scale", "power"]
    np.testing.assert_array_equal(applied(X), derivative(X, 2.0))
