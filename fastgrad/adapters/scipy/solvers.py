"""What SciPy's solvers difference by themselves, and what does so in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from importlib import import_module
from inspect import signature
from math import isfinite
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import issparse

from ...core.validation import Array, Function
from ...jacobian import numerical_jacobian
from ...schemes.constants import EPS
from ..solving import Run, VectorRun
from .derivatives import UNBOUNDED, approx_derivative, limits_of, workers_of

__all__ = ["PLACES", "installed"]

DEFAULTS = (1e-8, EPS**0.5)  # the solvers' own steps, which they hand on as if given
FEW = 24  # entries of x: from more on, a function of many values is lifted

# one for each objective of a run, which SciPy wraps anew in each; what is known of it ends with it
_runs: WeakKeyDictionary[Any, Run] = WeakKeyDictionary()


class _Seen:
    """A function of a run of MINPACK or SLSQP, which ask for Jacobians where they have evaluated it."""

    def __init__(self, f: Function, args: Any, constrains: bool = False) -> None:
        self._constrains = constrains
        self._f, self._args = f, args if isinstance(args, tuple) else (args,)
        self._run: VectorRun | None = None
        self._at, self._value = b"", None

    def __call__(self, x: Array) -> Any:
        value = self._value = self._f(x, *self._args)
        self._at = x.tobytes()
        return value

    def known(self, x: Array) -> Any:
        return self._value if self._at == x.tobytes() else self(x)

    def jacobian(self, x: Array, method: str = "2-point", bounds: Any = UNBOUNDED) -> Array:
        f0 = np.array(self.known(x), ndmin=1)
        if not _has_few_doubles(x, f0):
            return np.atleast_2d(approx_derivative(self._f, x, method, f0=f0, bounds=bounds, args=self._args))
        if self._run is None:
            self._run = VectorRun(method, limits_of(bounds, x), curved=self._constrains)
        return self._run.jacobian(lambda y: np.atleast_1d(self._f(y, *self._args)), x.copy(), f0)[0]


def _has_few_doubles(x: Any, f0: Any) -> bool:
    return x.size <= FEW and all(isinstance(a, np.ndarray) and a.ndim == 1 and a.dtype == np.float64 for a in (x, f0))


# ---- what stands in SciPy's place: each gets first what SciPy has there, then that one's arguments


def _approx_derivative(original: Function, /, fun: Any, x0: Any, *rest: Any, **options: Any) -> Any:
    step = options.get("abs_step")
    if isinstance(step, float) and step in DEFAULTS:
        options["abs_step"] = None
        if "bounds" not in options and "f0" in options:  # of `approx_fprime` and `check_grad`, of no solver
            options["method"] = "3-point"
    if options.get("as_linear_operator"):
        return original(fun, x0, *rest, **options)  # a product for one evaluation, which a solver wants many of
    kind = None if rest else _kind_of_run(fun, x0, options)
    if kind is None:
        return approx_derivative(fun, x0, *rest, **options)
    x = np.array(x0, dtype=np.float64, ndmin=1)
    f0 = fun.known(x) if isinstance(fun, _Seen) else options["f0"]
    if not isfinite(float(np.sum(f0)) + sum(x.tolist())):
        return original(fun, x0, **options)  # nobody has a gradient there, and the solver knows what to do
    if isinstance(fun, _Seen):
        return fun.jacobian(x, options["method"], options["bounds"])
    return _of_run(kind, fun, x, f0, options)


def _kind_of_run(fun: Any, x: Any, options: dict[str, Any]) -> type[Run] | None:
    """Return what keeps what is known of a run's objective; None for another function, or steps not left to SciPy."""
    given = options.get
    free = given("rel_step") is None and given("abs_step") is None
    if not free or given("method") not in ("2-point", "3-point") or given("args"):
        return None
    if isinstance(fun, _Seen):
        return VectorRun
    name, f0 = type(fun).__name__, given("f0")
    if name == "_VectorFunWrapper":
        return VectorRun if given("sparsity") is None and _has_few_doubles(x, f0) else None
    scalar = name == "_ScalarFunctionWrapper" or _is_older_wrapper(fun)
    return Run if scalar and isinstance(f0, (float, int, np.integer)) else None


def _of_run(kind: type[Run], fun: Any, x: Array, f0: Any, options: dict[str, Any]) -> Any:
    """Return the derivative of the objective of a run, and tell SciPy what it took."""
    run = _runs.get(fun)
    if run is None:
        run = _runs[fun] = _begun(kind, fun, x, options)
    slope, nfev = run.jacobian(fun, x, f0) if isinstance(run, VectorRun) else run.gradient(x, float(f0))
    if options.get("full_output"):
        return slope, {"nfev": nfev}
    if (counter := _held(fun).get("self")) is not None:
        counter.nfev += nfev
    return slope


def _begun(kind: type[Run], fun: Any, x: Array, options: dict[str, Any]) -> Run:
    method, bounds = options["method"], limits_of(options.get("bounds", UNBOUNDED), x)
    workers = workers_of(options.get("workers"))
    if kind is VectorRun:
        return VectorRun(method, bounds, workers)
    # the user's own f: SciPy's wrapper counts calls, which no lift may pass
    held = {"fun": fun.f, "args": fun.args} if hasattr(fun, "f") else _held(fun)
    return Run(held["fun"], method, tuple(held["args"]), bounds, workers)


def _is_older_wrapper(fun: Any) -> bool:
    """Whether this closure wraps the objective in older versions of SciPy, and counts its calls."""
    wrapper = isinstance(fun, FunctionType) and fun.__name__ == "fun_wrapped"
    return wrapper and {"fun", "args", "self"} <= {*fun.__code__.co_freevars}


def _held(wrapper: FunctionType) -> dict[str, Any]:
    return dict(zip(wrapper.__code__.co_freevars, (c.cell_contents for c in wrapper.__closure__ or ()), strict=True))


def _num_jac(
    original: Function, /, fun: Function, t: float, y: Any, f: Any, threshold: Any, factor: Any, sparsity: Any = None
) -> Any:
    if np.iscomplexobj(y):
        return original(fun, t, y, f, threshold, factor, sparsity)
    if sparsity is None and _has_few_doubles(y, f):
        run = _runs.setdefault(fun, VectorRun())
        assert isinstance(run, VectorRun)
        return run.jacobian(lambda y: fun(t, y), y.copy(), f, at_once=True)[0], factor
    found = numerical_jacobian(lambda y: fun(t, y[:, None])[:, 0], y, f0=f, method="2-point", sparsity=sparsity)
    return found.tocsc() if issparse(found) else found, factor


def _minpack(
    jac: str, original: Function, /, func: Function, x0: Any, args: Any = (), *rest: Any, **options: Any
) -> Any:
    """Give MINPACK a Jacobian where it has none, by the name that it has for one."""
    if not rest and options.get(jac) is None and options.get("eps") is None and not options.get("epsfcn"):
        seen = _Seen(func, args)
        func, args, options = seen, (), {**options, jac: seen.jacobian, "col_deriv": 0}
    return original(func, x0, args, *rest, **options)


def _minimize_slsqp(original: Function, /, *args: Any, **options: Any) -> Any:
    """Let constraints without a Jacobian, too, remember where they were evaluated."""
    given = signature(original).bind(*args, **options)
    constraints = given.arguments.get("constraints", ())
    several = (constraints,) if isinstance(constraints, dict) else constraints
    given.arguments["constraints"] = tuple(map(_seen, several))
    return original(*given.args, **given.kwargs)


def _seen(constraint: Any) -> Any:
    if isinstance(constraint, dict) and constraint.get("jac") is None and callable(f := constraint.get("fun")):
        return {**constraint, "fun": _Seen(f, constraint.get("args", ()), constrains=True), "args": ()}
    return constraint


# where SciPy differences, and by what name; what does so in its place
PLACES: tuple[tuple[str, str, Function], ...] = (
    ("scipy.optimize._differentiable_functions", "approx_derivative", _approx_derivative),
    ("scipy.optimize._slsqp_py", "approx_derivative", _approx_derivative),
    ("scipy.optimize._optimize", "approx_derivative", _approx_derivative),
    ("scipy.optimize._root_scalar", "approx_derivative", _approx_derivative),
    ("scipy.optimize._lsq.least_squares", "approx_derivative", _approx_derivative),
    ("scipy.optimize._minimize", "_minimize_slsqp", _minimize_slsqp),
    ("scipy.optimize._slsqp_py", "_minimize_slsqp", _minimize_slsqp),
    ("scipy.integrate._ivp.radau", "num_jac", _num_jac),
    ("scipy.integrate._ivp.bdf", "num_jac", _num_jac),
    ("scipy.optimize._minpack_py", "leastsq", partial(_minpack, "Dfun")),
    ("scipy.optimize._minpack_py", "_root_hybr", partial(_minpack, "jac")),
    ("scipy.optimize._root", "_root_hybr", partial(_minpack, "jac")),
)

_on: ContextVar[bool] = ContextVar("_on", default=False)
_lock = RLock()
_kept: list[tuple[ModuleType, str, Function]] = []
_users = 0


def _where_on(original: Function, replacement: Function) -> Callable[..., Any]:
    @wraps(original)
    def chosen(*args: Any, **options: Any) -> Any:
        return replacement(original, *args, **options) if _on.get() else original(*args, **options)

    return chosen


@contextmanager
def installed() -> Iterator[None]:
    """Let SciPy's solvers use fastgrad wherever they would difference by themselves.

    Notes
    -----
    It replaces functions within SciPy (of `minimize`, `least_squares`, `root`, `curve_fit`, and of the implicit methods
    of `solve_ivp`) as long as any thread is inside, and puts them back; threads that are not inside get SciPy's own. A
    run of `minimize` begins with forward differences (central ones for "3-point") and goes on to better ones where
    these are not good enough beside the gradient (`fastgrad.adapters.solving.Run`), and so do Jacobians of up to 23
    variables, those of constraints among them (of `least_squares` where SciPy gives each run's function a wrapper of
    its own, as 1.17 does; in older versions they are those of `approx_derivative`); what it knows ends with it. Where f
    is not finite at a trial point SciPy's own differences answer, and so they do for products of a Hessian, of one
    evaluation each. A step that you give is used, unless it is 1e-8 or sqrt(eps), which cannot be told from the
    solvers' own default.

    Examples
    --------
    >>> from scipy.optimize import minimize
    >>> with installed():
    ...     result = minimize(lambda x: (x[0] - 1) ** 2 + x[1] ** 2, [3.0, 4.0])
    >>> np.abs(np.round(result.x, 4))
    array([1., 0.])
    """
    global _users
    with _lock:
        if not _users:
            for module_name, name, replacement in PLACES:
                module = import_module(module_name)
                original = getattr(module, name, None)
                if original is not None:
                    _kept.append((module, name, original))
                    setattr(module, name, _where_on(original, replacement))
        _users += 1
    token = _on.set(True)
    try:
        yield
    finally:
        _on.reset(token)
        with _lock:
            _users -= 1
            while not _users and _kept:
                setattr(*_kept.pop())
