"""The error against h has the slope of the stencil's order, on every backend."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numba import njit

from fastgrad import numerical_diff, numerical_gradient
from fastgrad.schemes.stencils import METHODS, Stencil, backward, central, complex_step, forward, richardson

REAL = [("central", p) for p in (2, 4, 6, 8)]
REAL += [(side, p) for side in ("forward", "backward") for p in (1, 2, 3, 4)]
X = np.array([0.3, 0.12, 0.4])  # 4 x_1 + 0.3 is near pi / 4: no derivative of the sine is small


def f(x: Any) -> Any:
    return np.exp(3.0 * x[0]) * np.sin(4.0 * x[1] + 0.3) * np.exp(-4.0 * x[2])


def f_batched(x: Any) -> Any:
    return np.exp(3.0 * x[:, 0]) * np.sin(4.0 * x[:, 1] + 0.3) * np.exp(-4.0 * x[:, 2])


f_jitted = njit(f)


def exact(x: Any) -> Any:
    return f(x) * np.array([3.0, 4.0 / math.tan(4.0 * x[1] + 0.3), -4.0])


BACKENDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "python": (f, {}),
    "numpy": (f_batched, {"batch_axis": 0}),
    "numba": (f_jitted, {}),
}


@pytest.mark.parametrize(("method", "order"), REAL)
@pytest.mark.parametrize("backend", BACKENDS)
def test_slope(backend: str, method: str, order: int) -> None:
    """The slope between steps where truncation is far above round-off."""
    function, options = BACKENDS[backend]
    large = 2.0**-4 if order > 4 else 2.0**-7
    errors = []
    for h in (large, large / 4):
        gradient = numerical_gradient(function, X, h, backend=backend, method=method, order=order, **options)
        errors.append(np.abs(gradient - exact(X)))
    assert (errors[1] > 0).all()
    slopes = np.log2(errors[0] / errors[1]) / 2
    assert slopes == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slope_of_the_complex_step(backend: str) -> None:
    function, options = BACKENDS[backend]
    errors = []
    for h in (2.0**-6, 2.0**-8):
        gradient = numerical_gradient(function, X, h, backend=backend, method="complex", **options)
        errors.append(np.abs(gradient - exact(X)))
    assert np.log2(errors[0] / errors[1]) / 2 == pytest.approx(2, abs=0.05)
    best = numerical_gradient(function, X, backend=backend, method="complex", **options)
    np.testing.assert_allclose(best, exact(X), rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize(("method", "order"), REAL)
def test_error_constant(method: str, order: int) -> None:
    """C h**p f^(p+1): for exp all derivatives are the same, so the error over h**p is C itself."""
    stencil = METHODS[method](order)
    h = 2.0**-4 if order > 3 else 2.0**-10
    error = abs(numerical_diff(math.exp, 0.0, h, method=method, order=order) - 1.0)
    assert error / h**order == pytest.approx(float(stencil.error_constant), rel=0.2)


@pytest.mark.parametrize(("method", "order"), [*REAL, ("complex", 2)])
def test_polynomials_up_to_the_order_are_exact(method: str, order: int) -> None:
    """An independent check of the weights, in exact arithmetic: x**q differentiates exactly for q <= p, not beyond."""
    stencil = METHODS[method](order)
    x, h = Fraction(3, 7), Fraction(1, 5)

    def slope(q: int) -> Fraction:
        if stencil.imaginary:  # Im (x + ih)^q / h
            terms = (math.comb(q, k) * x ** (q - k) * h**k * (-1) ** (k // 2) for k in range(1, q + 1, 2))
            return sum(terms, Fraction(0)) / h
        values = (w * (x + o * h) ** q for o, w in zip(stencil.offsets, stencil.weights, strict=True))
        return sum(values, Fraction(0)) / h

    for q in range(1, order + 1):
        assert slope(q) == q * x ** (q - 1)
    assert slope(order + 1) != (order + 1) * x**order
    assert stencil.order == order


def test_published_weights() -> None:
    """Fornberg 1988, tables 1 and 3."""
    fractions = {
        central(6): {1: (3, 4), 2: (-3, 20), 3: (1, 60), -1: (-3, 4), -2: (3, 20), -3: (-1, 60)},
        central(8): {1: (4, 5), 2: (-1, 5), 3: (4, 105), 4: (-1, 280)}
        | {-1: (-4, 5), -2: (1, 5), -3: (-4, 105), -4: (1, 280)},
        forward(2): {0: (-3, 2), 1: (2, 1), 2: (-1, 2)},
        forward(4): {0: (-25, 12), 1: (4, 1), 2: (-3, 1), 3: (4, 3), 4: (-1, 4)},
        backward(3): {0: (11, 6), -1: (-3, 1), -2: (3, 2), -3: (-1, 3)},
    }  # fmt: skip
    for stencil, table in fractions.items():
        assert dict(zip(stencil.offsets, stencil.weights, strict=True)) == {o: Fraction(*w) for o, w in table.items()}


def test_richardson_raises_the_order() -> None:
    assert richardson(richardson(central(2)), 4).order == 6
    assert richardson(forward(1)).order == 2
    assert richardson(complex_step()).order == 4


def test_a_stencil_checks_itself() -> None:
    with pytest.raises(ValueError, match="`weights`"):
        Stencil((Fraction(1), Fraction(-1)), (Fraction(1, 2), Fraction(1, 2)))
    with pytest.raises(ValueError, match="`offsets`"):
        Stencil((Fraction(1), Fraction(1)), (Fraction(1, 2), Fraction(1, 2)))


@pytest.mark.parametrize(("method", "order", "word"), [
    ("central", 3, "even"), ("central", 0, "even"), ("forward", 0, "1 or more"), ("complex", 4, "2"),
])  # fmt: skip
def test_a_wrong_order_is_refused(method: str, order: int, word: str) -> None:
    with pytest.raises(ValueError, match=rf"`order` must be .*{word}"):
        numerical_gradient(f, X, method=method, order=order)


@pytest.mark.parametrize("order", [2.0, "2", [2], True])
def test_an_order_that_is_no_integer_is_a_type_error(order: Any) -> None:
    with pytest.raises(TypeError, match="`order`"):
        numerical_gradient(f, X, order=order)
