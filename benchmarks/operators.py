"""Jacobians, Hessians and products: time, error and evaluations, and how they stand to other packages.

python -m benchmarks.operators           the cases, each beside its peer, interleaved in one process
python -m benchmarks.operators products  Hessian-vector products on the table of problems: error, and gradients' times

asv tracks the same cases (`benchmarks.asv_suite`).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from math import log10, nan
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

from benchmarks.problems import PROBLEMS

try:
    from fastgrad import Gradient, Hessian, Jacobian, hvp
except ImportError:  # a commit before this interface
    Gradient = Hessian = Jacobian = hvp = None  # type: ignore[assignment, misc]


class Case(NamedTuple):
    """A matrix of derivatives.

    Attributes
    ----------
    make : callable
        Returns the prepared object, its point, and the exact matrix.
    peer : str
        Whom it is measured against; none where it is empty.
    against : callable
        From f and x: what that is, as a call that returns the matrix; None where there is none.
    """

    make: Callable[[], tuple[Any, Any, Any]]
    peer: str = ""
    against: Callable[[Any, Any, Any], Callable[[], Any]] | None = None


def brusselator(y: Any) -> Any:
    u, v = y[0::2], y[1::2]
    c = 0.02 * (len(u) + 1) ** 2
    up, vp = np.concatenate(([1.0], u, [1.0])), np.concatenate(([3.0], v, [3.0]))
    du = 1.0 + u * u * v - 4.0 * u + c * (up[:-2] - 2 * u + up[2:])
    dv = 3.0 * u - u * u * v + c * (vp[:-2] - 2 * v + vp[2:])
    return np.stack((du, dv), axis=1).ravel()


@njit
def brusselator_loop(y: Any) -> Any:
    """The same, compiled."""
    n = len(y) // 2
    out, c = np.empty(2 * n), 0.02 * (n + 1) ** 2
    for i in range(n):
        u, v = y[2 * i], y[2 * i + 1]
        u0, v0 = (y[2 * i - 2], y[2 * i - 1]) if i > 0 else (1.0, 3.0)
        u1, v1 = (y[2 * i + 2], y[2 * i + 3]) if i < n - 1 else (1.0, 3.0)
        out[2 * i] = 1.0 + u * u * v - 4.0 * u + c * (u0 - 2 * u + u1)
        out[2 * i + 1] = 3.0 * u - u * u * v + c * (v0 - 2 * v + v1)
    return out


def brusselator_jacobian(y: Any) -> Any:
    n = y.size // 2
    u, v, c = y[0::2], y[1::2], 0.02 * (n + 1) ** 2
    main = np.stack((2 * u * v - 4.0 - 2 * c, -u * u - 2 * c), axis=1).ravel()
    above, below = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    above[0::2], below[0::2] = u * u, 3.0 - 2 * u * v
    far = np.full(2 * n - 2, c)
    return sp.diags_array([far, below, main, above, far], offsets=[-2, -1, 0, 1, 2]).tocsr()


def broyden(x: Any) -> Any:
    """Broyden's tridiagonal residuals, in place (Moré, Garbow and Hillstrom 1981, problem 30)."""
    out = (3.0 - 2.0 * x) * x + 1.0
    out[1:] -= x[:-1]
    out[:-1] -= 2.0 * x[1:]
    return out


def broyden_jacobian(x: Any) -> Any:
    ones = np.ones(x.size - 1)
    return sp.diags_array([-ones, 3.0 - 4.0 * x, -2.0 * ones], offsets=[-1, 0, 1]).tocsr()


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_loop(x: Any) -> Any:
    """The same, of a form that cannot be lifted."""
    x = np.array([float(v) for v in x])
    return float(rosenbrock(x))


def rosenbrock_hessian(x: Any) -> Any:
    main = np.append(1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0, 0.0) + np.append(0.0, np.full(x.size - 1, 200.0))
    beside = -400.0 * x[:-1]
    return sp.diags_array([beside, main, beside], offsets=[-1, 0, 1]).tocsr()


def tanh_of(n: int) -> tuple[Any, Any, Any]:
    m, x = np.random.default_rng(n).normal(size=(n, n)) / np.sqrt(n), np.random.default_rng(1).normal(size=n)
    return lambda x: np.tanh(m @ x), x, (1.0 - np.tanh(m @ x) ** 2)[:, None] * m


def _dense_jacobian(n: int, **options: Any) -> tuple[Any, Any, Any]:
    f, x, exact = tanh_of(n)
    return Jacobian(f, **options), x, exact


def _sparse_jacobian(n: int, f: Any = brusselator, exact: Any = brusselator_jacobian) -> tuple[Any, Any, Any]:
    y = np.random.default_rng(2).uniform(0.5, 1.5, n)
    return Jacobian(f, sparse=True), y, exact(y)


def _hessian(f: Any, n: int, **options: Any) -> tuple[Any, Any, Any]:
    x = np.random.default_rng(3).normal(size=n)
    exact = rosenbrock_hessian(x)
    return Hessian(f, **options), x, exact if options.get("sparse") else exact.toarray()


class _Product:
    """A Hessian times one vector, in the form of a prepared object."""

    def __init__(self, f: Any, v: Any) -> None:
        self.f, self._v, self._hessian = f, v, Hessian(f)

    def __call__(self, x: Any) -> Any:
        return self._hessian.hvp(x, self._v)

    def with_info(self, x: Any) -> tuple[Any, Any]:
        return self(x), SimpleNamespace(nfev=nan)


def _product(n: int) -> tuple[Any, Any, Any]:
    x, v = np.random.default_rng(3).normal(size=(2, n))
    return _Product(rosenbrock, v), x, rosenbrock_hessian(x) @ v


def _scipy(prepared: Any, x: Any, exact: Any) -> Callable[[], Any]:
    derivative = import_module("scipy.optimize._numdiff").approx_derivative
    f = prepared._operator.f
    if not sp.issparse(exact):
        return lambda: derivative(f, x, method="3-point")
    groups = import_module("scipy.optimize._numdiff").group_columns(exact)
    return lambda: derivative(f, x, method="3-point", sparsity=(exact, groups))


def _numdifftools(prepared: Any, x: Any, exact: Any) -> Callable[[], Any]:
    nd = import_module("numdifftools")
    if isinstance(prepared, Hessian):
        return lambda: nd.Hessian(prepared.f)(x)
    return lambda: nd.Jacobian(prepared._operator.f)(x)


def _four_points(prepared: Any, x: Any, exact: Any) -> Callable[[], Any]:
    hess = import_module("statsmodels.tools.numdiff").approx_hess3
    return lambda: hess(x, prepared.f)


def _gradients(prepared: Any, x: Any, exact: Any) -> Callable[[], Any]:
    gradient = Gradient(prepared.f)
    return lambda: gradient(x)


CASES = {
    "sparse Jacobian, brusselator 10000": Case(partial(_sparse_jacobian, 10_000), "SciPy, pattern given", _scipy),
    "sparse Jacobian, brusselator 100000": Case(partial(_sparse_jacobian, 100_000), "SciPy, pattern given", _scipy),
    "sparse Jacobian, broyden 10000": Case(
        partial(_sparse_jacobian, 10_000, broyden, broyden_jacobian), "SciPy, pattern given", _scipy
    ),
    "sparse Jacobian, broyden 100000": Case(
        partial(_sparse_jacobian, 100_000, broyden, broyden_jacobian), "SciPy, pattern given", _scipy
    ),
    "sparse Jacobian, compiled brusselator 10000": Case(
        partial(_sparse_jacobian, 10_000, brusselator_loop), "SciPy, pattern given", _scipy
    ),
    "sparse Jacobian, compiled brusselator 100000": Case(
        partial(_sparse_jacobian, 100_000, brusselator_loop), "SciPy, pattern given", _scipy
    ),
    "Jacobian, tanh 1000": Case(partial(_dense_jacobian, 1000), "SciPy 3-point", _scipy),
    "Jacobian, tanh 100": Case(partial(_dense_jacobian, 100), "numdifftools", _numdifftools),
    "Jacobian by columns, tanh 100": Case(partial(_dense_jacobian, 100, backend="python"), "SciPy 3-point", _scipy),
    "adaptive Jacobian, tanh 10": Case(
        partial(_dense_jacobian, 10, backend="python", method="adaptive"), "numdifftools", _numdifftools
    ),
    "Hessian, rosenbrock 30": Case(partial(_hessian, rosenbrock, 30), "numdifftools", _numdifftools),
    "Hessian by values, rosenbrock 10": Case(
        partial(_hessian, rosenbrock_loop, 10), "statsmodels, 4 points", _four_points
    ),
    "product, rosenbrock 10000": Case(partial(_product, 10_000), "a gradient", _gradients),
    "sparse Hessian, rosenbrock 100000": Case(
        partial(_hessian, rosenbrock, 100_000, sparse=True), "a gradient", _gradients
    ),
}
SHORT = [name for name in CASES if "100000" not in name]


def error_of(found: Any, exact: Any) -> float:
    """max |A - A*| / max |A*|."""
    return float(abs(found - exact).max() / abs(exact).max())


def timed(calls: dict[str, Callable[[], Any]], rounds: int, most: float = 20.0) -> dict[str, float]:
    """Medians of interleaved calls, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = perf_counter()
    for _ in range(rounds):
        for name, call in calls.items():
            before = perf_counter()
            call()
            times[name].append(perf_counter() - before)
        if perf_counter() - began > most:
            break
    return {name: median(each) for name, each in times.items()}


def measure(name: str, rounds: int = 5) -> dict[str, float]:
    """Time, lost digits (of 16) and evaluations of a case: what asv stores."""
    if Jacobian is None:
        raise NotImplementedError("no such interface")
    prepared, x, exact = CASES[name].make()
    found, info = prepared.with_info(x)
    error = error_of(found, exact)
    seconds = timed({"own": lambda: prepared(x)}, rounds)["own"]
    return {"seconds": seconds, "lost_digits": max(0.0, 16.0 + log10(max(error, 1e-16))), "nfev": float(info.nfev)}


def compare(names: Iterable[str]) -> None:
    print(f"{'case':46}{'time':>10}{'error':>10}{'nfev':>7}   {'peer':24}{'time':>10}{'error':>10}{'ratio':>8}")
    for name in names:
        case = CASES[name]
        prepared, x, exact = case.make()
        found, info = prepared.with_info(x)
        calls = {"own": lambda: prepared(x)}  # noqa: B023
        if case.against is not None:
            calls["peer"] = case.against(prepared, x, exact)
        with warnings.catch_warnings(action="ignore"):
            times = timed(calls, 7)
            other = calls["peer"]() if case.against is not None else None
        line = f"{name:46}{times['own'] * 1e3:8.2f}ms{error_of(found, exact):10.1e}{info.nfev:7}"
        if other is not None:
            same = np.shape(other) == np.shape(exact) and case.peer != "a gradient"
            error = f"{error_of(other, exact):10.1e}" if same else " " * 10
            line += f"   {case.peer:24}{times['peer'] * 1e3:8.2f}ms{error}{times['peer'] / times['own']:8.2f}"
        print(line, flush=True)


def products(n: int) -> None:
    """Hessian-vector products on the table of problems, against the derivative of the exact gradient."""
    good, cheap, seen = 0, 0, 0
    for name, problem in PROBLEMS.items():
        if problem.unavailable:
            continue
        size = problem.size_near(n)
        x, args = problem.make(size)
        v = np.random.default_rng(5).normal(size=x.shape)
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            expected = _along(lambda y, args=args, problem=problem: problem.gradient(y, *args), x, v)
            product = hvp(problem.f, x, v, args=args)
            prepared, gradient = Hessian(problem.f, args=args), Gradient(problem.f, args=args)
            times = timed({"hvp": lambda: prepared.hvp(x, v), "gradient": lambda: gradient(x)}, 31, 3.0)  # noqa: B023
            error = min(error_of(product, one) for one in expected if np.abs(one).max() > 0.0)
        times_of = times["hvp"] / times["gradient"]
        seen += 1
        good += error <= 1e-14
        cheap += times_of <= 2.0
        way = "" if error <= 1e-14 else prepared.explain(x).partition(chr(10))[0]
        print(f"{name:30}{size:7}{error:10.1e}{times_of:8.2f} gradients  {way}", flush=True)
    print(f"{good} of {seen} at 1e-14, {cheap} within two gradients")


def _along(gradient: Callable[[Any], Any], x: Any, v: Any) -> list[Any]:
    """The derivative of an exact gradient along v: by the complex step, and by differences in extended precision.

    Some gradients drop imaginary parts, some compute in doubles, some change within the step: what agrees with any of
    them to 14 digits is right.
    """
    far, weights, found = x.astype(np.longdouble), {1: 672, 2: -168, 3: 32, 4: -3}, []
    for h in (np.longdouble(2.0**-9), np.longdouble(2.0**-13)):
        terms = [w * (gradient(far + k * h * v) - gradient(far - k * h * v)) for k, w in weights.items()]
        found.append(sum(terms[1:], terms[0]) / (840 * h))
    with suppress(TypeError, ValueError):
        found.append(np.imag(gradient(x + 1e-100j * v)) / 1e-100)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", nargs="?", choices=("cases", "products"), default="cases")
    parser.add_argument("--n", type=int, default=100, help="of the products' problems, about")
    options = parser.parse_args()
    if options.what == "products":
        products(options.n)
    else:
        compare(CASES)


if __name__ == "__main__":
    main()
