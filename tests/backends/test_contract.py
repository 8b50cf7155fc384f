"""The contract of every backend, on every problem, for every method and order.

The expected value is the stencil applied to the integral of the exact gradient (`expected`, in conftest.py): it shares
no code with fastgrad's evaluation and holds the truncation error, so the tolerance is for round-off only.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import config, njit
from numpy.testing import assert_array_equal

from benchmarks.problems import PROBLEMS, Problem
from fastgrad import Gradient, numerical_gradient
from fastgrad.backends import table
from fastgrad.core import options
from fastgrad.core.evaluation import InFloats
from fastgrad.planning import choices, planner
from fastgrad.schemes.stencils import METHODS

EPS = np.finfo(np.float64).eps
SCHEMES = [("central", p) for p in (2, 4, 6, 8)]
SCHEMES += [(side, p) for side in ("forward", "backward") for p in (1, 2, 3)]
SCHEMES += [("complex", 2)]

# Evaluating f is off by some roundings of f itself and of what it is made of: x_i dg/dx_i is how much a relative error
# of x_i (that is, of the first operation on it) changes f. Measured over the whole table: at most 1.2 such
# units for numpy's pairwise sums, 4.6 for a loop over 1797 samples.
ROUNDINGS = 12
# The complex step subtracts nothing, but f may. Measured: 5.1 units of the largest partial derivative at most.
COMPLEX_ROUNDINGS = 16


def small(problem: Problem) -> int:
    """The largest n up to 12, or the smallest there is."""
    return max((n for n in problem.sizes if n <= 12), default=min(problem.sizes))


def point(problem: Problem) -> tuple[Any, tuple[Any, ...]]:
    if problem.unavailable:
        pytest.skip(problem.unavailable)
    return problem.make(small(problem))


def form(problem: Problem, backend: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The form of a problem that a backend takes."""
    if backend == "numpy":
        if problem.batched is None:
            pytest.skip("has no batched form")
        return problem.batched, {"batch_axis": 0}
    if backend == "numba":
        return jitted(problem), {}
    return problem.f, {}


def jitted(problem: Problem) -> Callable[..., Any]:
    if config.DISABLE_JIT and "data" in problem.tags and min(problem.sizes) > 10:
        pytest.skip("takes minutes as plain Python")
    return problem.jitted


def takes_complex(problem: Problem, backend: str) -> bool:
    return ("complex-loop" if backend == "numba" else "complex") in problem.tags


def steps(problem: Problem, x: Any, method: str) -> Any:
    """Steps that are exact at most x, and within reach of no kink; the default for the complex step."""
    if method == "complex":
        return None
    exponents = np.ceil(np.log2(np.maximum(np.abs(x), 2.0**-12)))
    return np.exp2(exponents - (17 if "branch" in problem.tags else 10))


def round_off(problem: Problem, x: Any, args: tuple[Any, ...], exact: Any) -> float:
    """A bound of the error of one evaluation of f around x."""
    return float(ROUNDINGS * EPS * (abs(problem.f(x, *args)) + np.sum(np.abs(exact * x))))


def check(problem: Problem, backend: str, method: str, order: int, f: Any, expected: Any, **options: Any) -> None:
    """The contract; raises AssertionError where it is broken."""
    x, args = point(problem)
    before = x.copy()
    gradient, info = numerical_gradient(
        f, x, args=args, backend=backend, method=method, order=order, full_output=True, **options
    )
    assert_array_equal(x.view(np.int64), before.view(np.int64))
    assert gradient.shape == x.shape
    assert info.backend == backend

    stencil = METHODS[method](order)
    exact = problem.gradient(x, *args)
    noise = round_off(problem, x, args, exact)
    for i in np.random.default_rng(0).permutation(x.size)[:12].tolist():
        h = float(info.step.flat[i])
        bound = float(stencil.amplification) * noise / h + 8 * EPS * abs(exact.flat[i]) + 1e-300
        if stencil.imaginary:
            bound += COMPLEX_ROUNDINGS * EPS * float(np.abs(exact).max())
        found, wanted = gradient.flat[i], expected(problem.gradient, x, args, i, h, stencil)
        assert abs(found - wanted) <= bound, f"coordinate {i}: {found} instead of {wanted}, off by more than {bound}"


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("backend", ["python", "numpy", "numba"])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=str)
def test_contract(problem: Problem, backend: str, method: str, order: int, expected: Any) -> None:
    if method == "complex" and not takes_complex(problem, backend):
        pytest.skip("does not take a complex x")
    f, options = form(problem, backend)
    check(problem, backend, method, order, f, expected, h=steps(problem, point(problem)[0], method), **options)


@pytest.mark.parametrize(("method", "order"), [("central", 2), ("forward", 1)])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=str)
def test_contract_at_the_default_step(problem: Problem, method: str, order: int, expected: Any) -> None:
    check(problem, "python", method, order, problem.f, expected, h="fixed")


class Null(InFloats):
    """A backend that evaluates nothing and returns zeros."""

    origin, sees_own, nfev, own, way = 0.0, True, 0, None, "null"

    def __init__(self, call: Any, point: Any, explicit: bool) -> None:
        self._point = point

    def sweep(self, index: Any, points: Any) -> Any:
        return np.zeros(points.shape, points.dtype)

    def line(self, points: Any) -> Any:
        return np.zeros(len(points), points.dtype)

    def value(self) -> float:
        return 0.0


@pytest.mark.parametrize(("method", "order"), SCHEMES)
def test_a_null_backend_breaks_the_contract(
    monkeypatch: pytest.MonkeyPatch, method: str, order: int, expected: Any
) -> None:
    module = types.ModuleType("fastgrad.backends.null")
    module.Null = Null  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(table._PLACES, "null", ("null", "Null"))
    way = choices.COMPILED._replace(name="null", backend="null", place="null")
    monkeypatch.setitem(options.VALID, "backend", (*options.VALID["backend"], "null"))
    plan = planner.Plan((planner.Step(way, "asked for"),), True)
    for imaginary in (False, True):
        monkeypatch.setitem(planner._EXPLICIT, ("null", False, imaginary), plan)
    for problem in PROBLEMS.values():
        if problem.unavailable:
            continue
        with pytest.raises(AssertionError, match="instead of"):
            check(problem, "null", method, order, problem.f, expected, h=steps(problem, point(problem)[0], method))


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=str)
def test_numba_gives_the_bits_of_the_reference(problem: Problem, method: str, order: int) -> None:
    """The same compiled f, called from Python and from the kernel."""
    if method == "complex":
        pytest.skip("numba's complex arithmetic is inlined differently; the contract holds for it")
    x, args = point(problem)
    options: dict[str, Any] = {"args": args, "method": method, "order": order, "full_output": True}
    if x.size > 100:
        options["indices"] = np.arange(0, x.size, 37)
    f = jitted(problem)
    reference, info = numerical_gradient(f, x, backend="python", **options)
    compiled, other = numerical_gradient(f, x, backend="numba", **options)
    assert_array_equal(compiled, reference)
    assert_array_equal(other.step, info.step)


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("backend", ["python", "numpy", "numba"])
@pytest.mark.parametrize("name", ["rosenbrock", "ginzburg_landau", "quadratic_form"])
def test_prepared_gives_the_numbers_of_one_shot(name: str, backend: str, method: str, order: int) -> None:
    """`Gradient` has shorter ways than `full_output`, which takes the general one."""
    problem = PROBLEMS[name]
    f, options = form(problem, backend)
    x, args = point(problem)
    options |= {"h": "fixed", "backend": backend, "method": method, "order": order}
    general = numerical_gradient(f, x, args=args, full_output=True, **options)[0]
    out = np.empty_like(x)
    prepared = Gradient(f, args=args, **options)
    for result in (
        numerical_gradient(f, x, args=args, **options),
        prepared(x),
        Gradient(f, **options)(x, *args),
        prepared(x, out=out),
        prepared.value_and_gradient(x)[1],
    ):
        # the quotients are added in another order
        np.testing.assert_allclose(result, general, rtol=0, atol=8 * EPS * np.abs(general).max())
    assert result.shape == out.shape
    assert_array_equal(out, prepared(x))


def test_nfev_is_what_was_called() -> None:
    calls = np.zeros(1, dtype=np.int64)

    def plain(x: Any) -> Any:
        calls[0] += 1
        return np.sum(np.sin(x))

    def batched(x: Any) -> Any:
        calls[0] += len(x)
        return np.sum(np.sin(x), axis=1)

    @njit
    def jitted(x: Any, counter: Any) -> Any:
        counter[0] += 1
        return np.sum(np.sin(x))

    x = np.linspace(0.1, 0.7, 5)  # too few for a lift, which calls f once for many points
    ways: list[tuple[Any, dict[str, Any]]] = [
        (plain, {"backend": "python"}),
        (plain, {}),
        (batched, {"batch_axis": 0}),
        (batched, {"batch_axis": 0, "backend": "numpy"}),
        (batched, {"batch_axis": 0, "backend": "python"}),
        (jitted, {"args": (calls,)}),
        (jitted, {"args": (calls,), "backend": "python"}),
    ]
    kinds: list[dict[str, Any]] = [{"method": m, "order": p} for m, p in SCHEMES if m != "complex"]
    f0 = float(np.sum(np.sin(x)))
    kinds += [{"indices": [1, 3]}, {"f0": f0}, {"method": "forward", "f0": f0}, {"bounds": (0.1, 0.7)}]
    for f, how in ways:
        for kind in kinds:
            calls[0] = 0
            _, info = numerical_gradient(f, x, full_output=True, **how, **kind)
            assert info.nfev == calls[0], (f, how, kind)


@pytest.mark.parametrize(("method", "order", "per_coordinate", "extra"), [
    ("central", 2, 2, 0), ("central", 4, 4, 0), ("central", 8, 8, 0),
    ("forward", 1, 1, 1), ("forward", 3, 3, 1), ("backward", 1, 1, 1),
])  # fmt: skip
def test_nfev_is_no_more_than_the_stencil_needs(method: str, order: int, per_coordinate: int, extra: int) -> None:
    def f(x: Any) -> Any:
        return np.sum(x * x)

    x = np.linspace(0.1, 0.7, 7)
    kind: dict[str, Any] = {"h": "fixed", "method": method, "order": order, "full_output": True, "backend": "python"}
    assert numerical_gradient(f, x, **kind)[1].nfev == 7 * per_coordinate + extra
    assert numerical_gradient(f, x, indices=[2, 4, 5], **kind)[1].nfev == 3 * per_coordinate + extra
    assert numerical_gradient(f, x, f0=float(f(x)), **kind)[1].nfev == 7 * per_coordinate


def test_the_complex_step_needs_one_evaluation_a_coordinate_and_few_for_its_check() -> None:
    """Along all of 7 components, then 3, then 1; two steps for the first, one for each other; and f at x."""
    x = np.linspace(0.1, 0.7, 7)
    how: dict[str, Any] = {"method": "complex", "backend": "python", "full_output": True}
    assert numerical_gradient(lambda x: np.sum(x * x), x, **how)[1].nfev == 7 + 2 * (2 + 1 + 1) + 1


@pytest.mark.skipif(config.DISABLE_JIT, reason="needs numba's compiler")
@pytest.mark.parametrize("name", ["rosenbrock", "lennard_jones", "ginzburg_landau"])
def test_auto_chooses_the_compiled_loop_for_jitted_functions(name: str) -> None:
    problem = PROBLEMS[name]
    x, args = point(problem)
    _, info = numerical_gradient(problem.jitted, x, args=args, full_output=True)
    assert info.backend == "numba"
    assert "compiled" in info.reason


def test_auto_takes_the_reference_for_plain_and_the_batch_for_declared_functions() -> None:
    problem = PROBLEMS["rosenbrock"]
    x, args = problem.make(2)  # too few to lift
    assert numerical_gradient(problem.f, x, args=args, full_output=True)[1].backend == "python"
    x, args = point(problem)
    assert numerical_gradient(problem.batched, x, args=args, batch_axis=0, full_output=True)[1].backend == "numpy"
