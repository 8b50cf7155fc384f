"""f reads what the caller gave as x instead of its argument: every verb follows it there, or refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_allclose

from fastgrad import Gradient, hvp, jvp, numerical_gradient, numerical_hessian, numerical_jacobian, vjp

X = np.array([1.0, 2.0, 3.0])
WEIGHTS = np.array([1.0, 2.0, 3.0])
Function = Callable[[Any], Any]


def frozen(x: Any) -> Any:
    x = x.copy()
    x.flags.writeable = False
    return x


CHANGEABLE: dict[str, Function] = {
    "float64": np.copy,
    "float32": lambda x: x.astype(np.float32),
    "strided": lambda x: np.repeat(x, 2)[::2],
    "list": lambda x: x.tolist(),
}
UNCHANGEABLE: dict[str, Function] = {
    "integers": lambda x: x.astype(int),
    "bytes": lambda x: x.astype(np.uint8),
    "booleans": lambda x: x > 1.5,
    "read-only": frozen,
    "overlapping": lambda x: as_strided(x.copy(), (3,), (0,)),
    "another byte order": lambda x: x.astype(">f8"),
    "tuple": lambda x: tuple(x.tolist()),
    "range": lambda x: range(1, 4),
}
SECOND = np.diag(2.0 * WEIGHTS)
# of f, a sum of weighted squares, and of r, the squares themselves
VERBS: dict[str, tuple[Callable[[Function, Function, Any], Any], Function]] = {
    "gradient": (lambda f, r, x: numerical_gradient(f, x), lambda x: 2.0 * WEIGHTS * x),
    "prepared": (lambda f, r, x: Gradient(f)(x), lambda x: 2.0 * WEIGHTS * x),
    "jacobian": (lambda f, r, x: numerical_jacobian(r, x), lambda x: np.diag(2.0 * x)),
    "sparse": (lambda f, r, x: numerical_jacobian(r, x, sparse=True).toarray(), lambda x: np.diag(2.0 * x)),
    "jacobian by h": (lambda f, r, x: numerical_jacobian(r, x, h=2.0**-9), lambda x: np.diag(2.0 * x)),
    "jvp": (lambda f, r, x: jvp(r, x, np.ones(3)), lambda x: 2.0 * x),
    "vjp": (lambda f, r, x: vjp(r, x, np.ones(3)), lambda x: 2.0 * x),
    "hessian": (lambda f, r, x: numerical_hessian(f, x), lambda x: SECOND),
    "hessian by h": (lambda f, r, x: numerical_hessian(f, x, h=2.0**-6), lambda x: SECOND),
    "hessian of grad": (lambda f, r, x: numerical_hessian(f, x, grad=lambda x: WEIGHTS * 2.0 * r(x) ** 0.5),
                        lambda x: SECOND),
    "hvp": (lambda f, r, x: hvp(f, x, np.ones(3)), lambda x: 2.0 * WEIGHTS),
}  # fmt: skip


def reading(x: Any) -> tuple[Function, Function]:
    return (
        lambda _: float(np.sum(WEIGHTS * np.asarray(x, dtype=float) ** 2)),
        lambda _: np.asarray(x, dtype=float) ** 2,
    )


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", CHANGEABLE)
def test_what_can_be_changed_is_followed(kind: str, verb: str) -> None:
    x = CHANGEABLE[kind](X)
    differentiate, exact = VERBS[verb]
    assert_allclose(differentiate(*reading(x), x), exact(X), rtol=2e-3, atol=2e-3)
    assert_allclose(x, X, rtol=0)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", UNCHANGEABLE)
def test_what_cannot_be_changed_is_refused(kind: str, verb: str) -> None:
    x = UNCHANGEABLE[kind](X)
    with pytest.raises((TypeError, ValueError), match="instead of its argument|ignores its argument"):
        VERBS[verb][0](*reading(x), x)


@pytest.mark.parametrize("kind", UNCHANGEABLE)
def test_a_derivative_that_is_zero_is_not_refused(kind: str) -> None:
    x = UNCHANGEABLE[kind](X)
    assert not numerical_jacobian(lambda x: np.ones(2), x).any()
    assert not numerical_hessian(lambda x: 1.0, x, h=0.1).any()
    assert not hvp(lambda x: 1.0, x, np.ones(3)).any()


@pytest.mark.parametrize("method", ["central", "forward", "adaptive"])
def test_jacobians_at_float32_lose_no_digits(method: str) -> None:
    k = np.arange(1, 11)
    x = np.array([0.3, 0.4], dtype=np.float32)
    exact = -k[:, None] * np.exp(k[:, None] * x.astype(float))
    jacobian = numerical_jacobian(lambda x: -(np.exp(k * x[0]) + np.exp(k * x[1])), x, method=method)
    assert jacobian.dtype == np.float32
    assert_allclose(jacobian, exact, rtol=2e-7)


@pytest.mark.parametrize("call", range(1, 5))
def test_a_stop_of_f_itself_comes_through(call: int) -> None:
    x, count = np.linspace(1.0, 2.0, 50), 0

    class Net:
        weights = x
        seen: Any = None

        def loss(self, _: Any) -> float:
            nonlocal count
            count += 1
            if count >= call:
                raise StopIteration("f's own")
            self.seen = self.weights**2
            return float(np.sum(self.seen))

    with pytest.raises(StopIteration, match="f's own"):
        numerical_gradient(Net().loss, x)
