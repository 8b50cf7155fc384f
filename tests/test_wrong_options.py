"""What every verb says of an option that it does not have, and of bounds that are none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgrad

X = np.array([3.0, 4.0])
SCALAR: dict[str, Any] = {"f": lambda x: x @ x, "gradient": lambda x: 2.0 * x, "hessian": lambda x: 2.0 * np.eye(2)}
VECTOR: dict[str, Any] = {"f": lambda x: x * x, "jacobian": lambda x: 2.0 * np.diag(x)}
OF_VECTORS = ("Jacobian", "check_jacobian", "jacobian_sparsity", "jvp", "numerical_jacobian", "vjp")
UNBOUNDED = ("gradient_ascent", "gradient_descent", "hessian_sparsity", "numerical_diff")  # bounds are no option


def _takes_options(verb: Any) -> bool:
    if not callable(verb) or (isinstance(verb, type) and issubclass(verb, Exception)):
        return False
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(verb).parameters.values())


VERBS = sorted(name for name in fastgrad.__all__ if _takes_options(getattr(fastgrad, name)))


def _call(name: str, **options: Any) -> Any:
    """Call a verb, and what it prepares, at X."""
    verb: Callable[..., Any] = getattr(fastgrad, name)
    functions = [*(VECTOR if name in OF_VECTORS else SCALAR).values()]
    given = []
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            is_point = parameter.name in ("x", "x0", "v", "w", "point", "points")
            given.append(X if is_point else functions[min(len(given), len(functions) - 1)])
    made = verb(*given, **options)
    return made(X) if isinstance(verb, type) else made


def test_all_verbs_are_found() -> None:
    assert {"Gradient", "Hessian", "Jacobian", "check_gradient", "explain", "hvp", "numerical_diff"} <= set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_an_unknown_option_is_named_beside_the_valid_ones(name: str) -> None:
    with pytest.raises(TypeError, match=r"^`sparsty` is no option .*\bworkers\b.*journal"):
        _call(name, sparsty=1)


@pytest.mark.parametrize("name", [name for name in VERBS if name not in UNBOUNDED])
def test_crossed_bounds_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"^`bounds` must have no lower bound above the upper one; got \[3.0, 2.0\]"):
        _call(name, bounds=(3, 2))
