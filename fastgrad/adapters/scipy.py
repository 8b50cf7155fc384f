"""SciPy's derivatives: of `scipy.optimize`, of `scipy.differentiate`, and those that its solvers make by themselves.

Of SciPy's own tests of `_numdiff` all pass, and of `scipy.differentiate` all but two, which count the iterations and
evaluations that its own first step takes. Of those of `scipy.optimize`, run within `installed()`, these do not: one
whose `sparsity` has not the shape of the Jacobian, which is refused here; one that compares dense and coloured forward
differences to the bit; and one of a cost of 1.5e-14, where 1e-14 is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from importlib import import_module
from math import isfinite
from threading import RLock
from types import FunctionType
from typing import Any, TypedDict, Unpack
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult
from scipy.sparse import csr_array, find, issparse
from scipy.sparse.linalg import LinearOperator

from ..core.errors import needed
from ..core.validation import Args, Array, Function
from ..gradient import numerical_gradient
from ..hessian import numerical_hessian
from ..jacobian import numerical_jacobian
from ..products import jvp
from .solving import Run, VectorRun

__all__ = [
    "approx_derivative", "approx_fprime", "check_derivative", "check_grad", "derivative", "hessian", "installed",
    "jacobian",
]  # fmt: skip

EPS = float(np.finfo(np.float64).eps)
EPSILON = EPS**0.5
INF = float(np.inf)
FEW = 24  # entries of x: from more on, a function of many values is lifted
METHODS = ("2-point", "3-point", "cs")
POWER = {"2-point": 1 / 2, "3-point": 1 / 3, "cs": 1 / 2}  # of the rounding unit: SciPy's relative steps


def _steps(
    method: str, x: Array, rel_step: ArrayLike | None, abs_step: ArrayLike | None, eps: float
) -> NDArray[np.float64] | None:
    """Return the signed step of each entry, in SciPy's manner; None where no step is given."""
    if rel_step is None and abs_step is None:
        return None
    sign = np.where(x >= 0, 1.0, -1.0)
    step = np.asarray(rel_step * sign * np.abs(x) if abs_step is None else abs_step, dtype=np.float64)
    usual = eps ** POWER[method] * sign * np.maximum(1.0, np.abs(x))
    return np.where(x + step - x == 0, usual, np.broadcast_to(step, x.shape))


def approx_derivative(
    fun: Function,
    x0: ArrayLike,
    method: str = "3-point",
    rel_step: ArrayLike | None = None,
    abs_step: ArrayLike | None = None,
    f0: Any = None,
    bounds: Any = (-np.inf, np.inf),
    sparsity: Any = None,
    as_linear_operator: bool = False,
    args: Args = (),
    kwargs: Mapping[str, Any] | None = None,
    full_output: bool = False,
    workers: Any = None,
) -> Any:
    """Return the derivatives of a vector-valued function, as ``scipy.optimize._numdiff.approx_derivative`` does.

    Parameters
    ----------
    fun, x0, f0, bounds, sparsity, as_linear_operator, args, kwargs, full_output, workers
        As SciPy's.
    method : {"3-point", "2-point", "cs"}
        The kind of difference.
    rel_step, abs_step : float or array_like, optional
        Used as they are; the sign of "2-point" is the side. Without either the steps choose themselves.

    Returns
    -------
    ndarray, csr_array or LinearOperator
        Of shape (m, n), and (n,) where m is 1; with `full_output` and a dictionary with "nfev".

    Examples
    --------
    >>> import numpy as np
    >>> np.round(approx_derivative(lambda x: x[0] * np.sin(x), [1.0, 0.0]), 6)
    array([[1.381773, 0.      ],
           [0.      , 1.      ]])
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}: `method` must be one of {METHODS}")
    x = np.atleast_1d(np.asarray(x0))
    if x.ndim > 1:
        raise ValueError("`x0` must have at most 1 dimension.")
    dtype = x.dtype
    x = x.astype(np.float64)
    lower, upper = (np.asarray(b, dtype=np.float64) for b in bounds)
    if any(b.ndim and b.shape != x.shape for b in (lower, upper)):
        raise ValueError("Inconsistent shapes between bounds and `x0`.")
    bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
    if as_linear_operator and bounded:
        raise ValueError("Bounds not supported when `as_linear_operator` is True.")
    kwargs = dict(kwargs or {})
    if _is_narrow(dtype):
        fun = _keeping(fun, dtype)
    nfev = 0
    if f0 is None:
        f0, nfev = fun(x.copy(), *args, **kwargs), 1
        if np.ndim(f0) > 1:
            raise RuntimeError("`fun` return value has more than 1 dimension.")
    elif np.ndim(f0) > 1:
        raise ValueError("`f0` passed has more than 1 dimension.")
    if np.any((x < lower) | (x > upper)):
        raise ValueError("`x0` violates bound constraints.")
    common: dict[str, Any] = {"method": method, "args": args, "kwargs": kwargs}
    if as_linear_operator:
        if abs_step is not None or sparsity is not None:
            raise ValueError("`abs_step` and `sparsity` mean nothing to a linear operator: give `rel_step`, or none")
        operator = _operator(fun, x, np.size(f0), rel_step, common)
        return (operator, {"nfev": nfev}) if full_output else operator
    common["workers"] = _workers(workers)
    if bounded:
        common["bounds"] = (np.broadcast_to(lower, x.shape), np.broadcast_to(upper, x.shape))
    narrow = [d for d in (dtype, np.asarray(f0).dtype) if _is_narrow(d)]
    eps = max((float(np.finfo(d).eps) for d in narrow), default=EPS)
    if narrow and method == "cs" and rel_step is None and abs_step is None:
        rel_step = 0.0  # a step of its own would vanish in short floats: SciPy's usual one
    step = _steps(method, x, rel_step, abs_step, eps)
    if step is None and method == "2-point" and narrow:
        common["method"] = "3-point"  # whose steps look at how coarse f is
    result, made = _differentiated(fun, x, f0, step, sparsity, common)
    result = result.astype(dtype) if _is_narrow(dtype) else result
    return (result, {"nfev": nfev + made}) if full_output else result


def _workers(given: Any) -> Any:
    """Return SciPy's workers as ours: it hands on `map` for none, or its wrapper of it."""
    return 1 if given is None or getattr(given, "_mapfunc", given) is map else given


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize < 8


def _keeping(fun: Function, dtype: np.dtype[Any]) -> Function:
    """Return a function that gets x in the caller's precision, as SciPy gives it."""

    def narrow(x: Array, *args: Any, **kwargs: Any) -> Any:
        return fun(x.astype(dtype if x.dtype.kind == "f" else np.result_type(dtype, np.complex64)), *args, **kwargs)

    return narrow


def _differentiated(
    fun: Any, x: Array, f0: Any, step: Array | None, sparsity: Any, common: dict[str, Any]
) -> tuple[Any, int]:
    """Return the derivatives in SciPy's shape, and the evaluations."""
    scalar = np.ndim(f0) == 0 and sparsity is None
    verb: Any = numerical_gradient if scalar else numerical_jacobian
    if sparsity is not None:
        common["sparsity"] = sparsity
    known = {} if np.asarray(f0).dtype.kind == "c" else {"f0": f0}

    turn = np.ones(x.size) if step is None or common["method"] != "2-point" else np.where(step < 0, -1.0, 1.0)
    if turned := bool((turn < 0).any()):
        fun, x = partial(_turned, fun, turn), turn * x
        if "bounds" in common:
            lower, upper = common["bounds"]
            common["bounds"] = np.where(turn < 0, -upper, lower), np.where(turn < 0, -lower, upper)
    found, info = verb(fun, x, None if step is None else np.abs(step), full_output=True, **known, **common)
    if turned and sparsity is not None:
        found.data *= turn[found.indices]
    elif turned:
        found = np.where(turn < 0, 0.0 - found, found)
    if sparsity is None and np.size(f0) == 1:
        found = np.ravel(found)
    return found, info.nfev


def _turned(fun: Function, turn: Array, x: Array, *args: Any, **kwargs: Any) -> Any:
    """Evaluate a function of entries of which some are turned round: a step ahead in these is one back in its own."""
    return fun(turn * x, *args, **kwargs)


def _operator(fun: Any, x: Array, m: int, rel_step: ArrayLike | None, common: dict[str, Any]) -> Any:
    def product(p: Array) -> Array:
        p = np.ravel(p)
        length = np.linalg.norm(p)
        if length == 0:
            return np.zeros(m)
        return np.ravel(jvp(fun, x, p, None if rel_step is None else np.asarray(rel_step) / length, **common))

    return LinearOperator((m, x.size), matvec=product, dtype=np.float64)


def approx_fprime(xk: ArrayLike, f: Function, epsilon: ArrayLike | None = None, *args: Any) -> Array:
    """Return the derivatives of f, as ``scipy.optimize.approx_fprime`` does.

    Parameters
    ----------
    xk, f, *args
        As SciPy's.
    epsilon : float or array_like, optional
        The step of a forward difference, used as it is. By default the steps choose themselves, on both sides: one
        side leaves a right gradient some 1e-6 off, which is what `check_grad` asks for.

    Returns
    -------
    ndarray
        Of x's shape, or (m, n).

    Examples
    --------
    >>> import numpy as np
    >>> np.round(approx_fprime(np.ones(2), lambda x, c: c * x[0] ** 2 + x[1], None, 3.0), 4)
    array([6., 1.])
    """
    x = np.asarray(xk, dtype=np.float64)
    method = "3-point" if epsilon is None else "2-point"
    result: Array = approx_derivative(f, x, method=method, abs_step=epsilon, args=args)
    return result


def check_grad(
    func: Function,
    grad: Function,
    x0: ArrayLike,
    *args: Any,
    epsilon: ArrayLike | None = None,
    direction: str = "all",
    rng: Any = None,
    seed: Any = None,
) -> Any:
    """Return the 2-norm of the difference between a gradient and forward differences, as SciPy's ``check_grad``.

    Parameters
    ----------
    func, grad, x0, *args, direction, rng
        As SciPy's; `seed` is its older name of `rng`.
    epsilon : float or array_like, optional
        The step; by default the steps choose themselves.

    Returns
    -------
    float
        The norm; with direction="random" of the derivative along one direction.

    Examples
    --------
    >>> bool(check_grad(lambda x: x[0] ** 2, lambda x: [2 * x[0]], [1.5]) < 1e-6)
    True
    """
    x = np.asarray(x0, dtype=np.float64)
    if direction == "all":
        return np.sqrt(np.sum(np.abs(grad(x, *args) - approx_fprime(x, func, epsilon, *args)) ** 2))
    if direction != "random":
        raise ValueError(f"{direction!r} is not a valid `direction`: 'all' or 'random'")
    slope = np.asanyarray(grad(x, *args))
    if slope.ndim > 1:
        raise ValueError("'random' can only be used with scalar valued func")
    v = np.random.default_rng(seed if rng is None else rng).standard_normal(size=x.shape)
    found = approx_fprime(np.zeros(1), lambda w: func(x + w * v, *args), epsilon)
    return np.sqrt(np.sum(np.abs(np.dot(slope, v) - found) ** 2))


def check_derivative(
    fun: Function,
    jac: Function,
    x0: ArrayLike,
    bounds: Any = (-np.inf, np.inf),
    args: Args = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Return the largest relative error of a Jacobian, as ``scipy.optimize._numdiff.check_derivative`` does.

    It is compared with differences of fourth order: a right Jacobian is to be 1e-9 off at most, beside a bound as well.

    Parameters
    ----------
    fun, jac, x0, bounds, args, kwargs
        As SciPy's.

    Returns
    -------
    float
        The largest error, relative to max(1, abs(entry)).

    Examples
    --------
    >>> bool(check_derivative(lambda x: x**2, lambda x: np.diag(2 * x), np.array([1.0, 2.0])) < 1e-9)
    True
    """
    kwargs = dict(kwargs or {})
    told, x = jac(x0, *args, **kwargs), np.atleast_1d(np.asarray(x0, dtype=np.float64))
    options: dict[str, Any] = {"order": 4, "bounds": bounds, "args": args, "kwargs": kwargs}
    if not issparse(told):
        found = np.asarray(numerical_jacobian(fun, x, **options))
        found = found.ravel() if found.size == x.size else found
        return np.max(np.abs(told - found) / np.maximum(1, np.abs(found)))
    found = numerical_jacobian(fun, x, sparsity=told, **options)
    rows, columns, error = find(csr_array(told) - found)
    there = found[rows, columns]  # sparse itself in newer versions of SciPy
    there = np.ravel(there.toarray() if issparse(there) else there)
    return np.max(np.abs(error) / np.maximum(1, np.abs(there)), initial=0.0)


# ---- scipy.differentiate


STEP = 0.5  # SciPy's first step
TOLERANCES = {"atol": 0.0, "rtol": 0.0}
STEERING: dict[str, Any] = {"maxiter": 10, "order": 8, "step_factor": 2.0}
NO_SCALARS = "Tolerances and step parameters must be non-negative scalars"


class Steering(TypedDict, total=False):
    """What steers SciPy's own iteration."""

    maxiter: int
    order: int
    step_factor: float


def _asked_for(steering: Mapping[str, Any], initial_step: ArrayLike, step_direction: ArrayLike = 0) -> bool:
    """Whether SciPy's own iteration is meant: by an option that steers it, or a step that only that has words for."""
    for name in steering:
        if name not in STEERING:
            raise TypeError(
                f"`{name}` is no option here; SciPy's are {', '.join(STEERING)}, and those of the signature"
            )
    steered = any(value is not STEERING[name] and value != STEERING[name] for name, value in steering.items())
    return steered or not (np.asarray(initial_step) > 0).all() or bool(np.isnan(step_direction).any())


def _theirs(name: str, *args: Any, **options: Any) -> Any:
    """Let SciPy iterate as it is told to. ImportError if it is too old to do so."""
    module = needed(
        "scipy.differentiate",
        f"{', '.join(STEERING)} and steps of both signs steer the iteration of SciPy 1.15 or newer: update it, or "
        "leave them out",
    )
    return getattr(module, name)(*args, **options)


def _tolerances(tolerances: Mapping[str, float | None] | None) -> dict[str, float]:
    given = {**TOLERANCES, **{k: v for k, v in (tolerances or {}).items() if v is not None}}
    numbers = all(isinstance(v, (int, float, np.number)) and v >= 0 for v in given.values())
    if given.keys() != TOLERANCES.keys() or not numbers:
        raise ValueError(f"{NO_SCALARS}: `tolerances` must have 'atol' and 'rtol'; got {tolerances!r}")
    return given


def _within(x: Array, initial_step: ArrayLike, step_direction: ArrayLike) -> dict[str, Any]:
    """Return the bounds that SciPy's steps keep: no farther from x than the first, and on its side."""
    steps, sides = np.asarray(initial_step, dtype=np.float64), np.sign(step_direction)
    if (steps == STEP).all() and not np.any(sides):
        return {}
    reach = np.where(steps == STEP, np.inf, steps)  # which nobody gave
    lower, upper = (np.broadcast_to(x + side, x.shape) for side in (-reach, reach))
    return {"bounds": (np.where(sides > 0, x, lower), np.where(sides < 0, x, upper))}


def _result(
    name: str, df: Array, error: Any, tolerances: Mapping[str, float | None] | None, dtype: np.dtype[Any], **counts: Any
) -> OptimizeResult:
    """Return SciPy's result: what is finite is a success, if its error bar keeps the tolerance that was given."""
    given = _tolerances(tolerances)
    error = np.full(df.shape, np.nan) if error is None else np.asarray(error)
    with np.errstate(invalid="ignore"):
        kept = (error <= given["atol"] + given["rtol"] * np.abs(df)) | (not tolerances)
    status = np.where(np.isfinite(df), np.where(kept, 0, -1), -3).astype(np.int32)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    df, error = df.astype(dtype), error.astype(dtype)
    counts = {name: np.full(df.shape, count, dtype=np.int32)[()] for name, count in counts.items()}
    return OptimizeResult(success=(status == 0)[()], status=status[()], **{name: df[()]}, error=error[()], **counts)


def derivative(
    f: Function,
    x: ArrayLike,
    *,
    args: Any = (),
    tolerances: Mapping[str, float | None] | None = None,
    initial_step: ArrayLike = STEP,
    step_direction: ArrayLike = 0,
    preserve_shape: bool = False,
    callback: Any = None,
    **steering: Unpack[Steering],
) -> OptimizeResult:
    """Return the derivative of an elementwise function, with the fields of ``scipy.differentiate.derivative``.

    Parameters
    ----------
    f, x, args, step_direction
        As SciPy's.
    tolerances : dict, optional
        What counts as success: an error of at most ``atol + rtol * abs(df)``. Status -1 says that it is not. By default
        what is finite is a success.
    initial_step : float or array_like
        f is not evaluated farther from x, if it is given.
    preserve_shape : bool
        True: f gets all of x, and returns an array whose last axes are those of x.
    callback, **steering
        Any of these (maxiter, order, step_factor) asks for SciPy's own iteration, from SciPy 1.15 on, with its errors,
        counts and status.

    Returns
    -------
    OptimizeResult
        success, status, df, error, nit, nfev, x.

    Examples
    --------
    >>> round(float(derivative(np.exp, 0.0).df), 8)
    1.0
    """
    if not callable(f) or not (callback is None or callable(callback)):
        name, wrong = ("callback", callback) if callable(f) else ("f", f)
        raise ValueError(f"`{name}` must be callable, got {wrong!r}")
    if preserve_shape not in (True, False):
        raise ValueError(f"`preserve_shape` must be True or False, got {preserve_shape!r}")
    args, given = args if isinstance(args, tuple) else (args,), np.asarray(x)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"Abscissae and function output must be real numbers, got x of {given.dtype}")
    _tolerances(tolerances)
    if _asked_for(steering, initial_step, step_direction) or callback is not None:
        first = {"initial_step": initial_step, "step_direction": step_direction, "preserve_shape": preserve_shape}
        return _theirs("derivative", f, x, args=args, tolerances=tolerances, callback=callback, **first, **steering)
    places: Array = given.astype(np.float64)
    if preserve_shape:
        if args:
            raise ValueError("`preserve_shape` and `args` are not taken together here: give f what it needs otherwise")
        x, places = places, np.broadcast_to(places, np.shape(f(places.copy())))
    places, steps, sides, *others = np.broadcast_arrays(places, initial_step, step_direction, *args)
    df, error, nfev = np.empty(places.shape), np.empty(places.shape), np.zeros(places.shape, np.int64)
    for i in np.ndindex(places.shape):
        df[i], made = numerical_gradient(
            _of_entry(f, np.asarray(x), i) if preserve_shape else _number(f), places[i],
            args=tuple(other[i] for other in others), full_output=True,
            method="adaptive", **_within(places[i], steps[i], sides[i]),
        )  # fmt: skip
        error[i], nfev[i] = np.nan if made.error is None else made.error, made.nfev
    result = _result("df", df, error, tolerances, given.dtype, nit=1, nfev=nfev)
    result.x = places.astype(np.result_type(result.df))[()]
    return result


def _of_entry(f: Function, x: Array, i: tuple[int, ...]) -> Callable[[Array], Any]:
    """Return an entry of f(x) as a function of the entry of x that it belongs to."""

    def entry(y: Array) -> Any:
        moved = x.copy()
        moved[i[len(i) - x.ndim :]] = y
        return np.asarray(f(moved))[i]

    return entry


def _number(f: Function) -> Function:
    def number(y: Array, *args: Any) -> Any:
        value = f(y, *args)
        if np.size(value) != 1:
            raise ValueError(
                "When `preserve_shape=False`, the shape of the array returned by `f` must be that of its arguments; "
                f"got {np.shape(value)} for a number"
            )
        return np.reshape(value, ())

    return number


def jacobian(
    f: Function,
    x: ArrayLike,
    *,
    tolerances: Mapping[str, float | None] | None = None,
    initial_step: ArrayLike = STEP,
    step_direction: ArrayLike = 0,
    **steering: Unpack[Steering],
) -> OptimizeResult:
    """Return the Jacobian, with the fields of ``scipy.differentiate.jacobian``.

    Parameters
    ----------
    f, x
        As SciPy's: x of shape (m,), or (m, ...) for several points.
    tolerances, initial_step, step_direction
        As for `derivative`; the last two of x's shape, or one that broadcasts to (m,).
    **steering
        maxiter, order, step_factor: as for `derivative`.

    Returns
    -------
    OptimizeResult
        success, status, df, error, nit, nfev.

    Examples
    --------
    >>> np.round(jacobian(lambda x: x**2, np.array([1.0, 2.0])).df, 6)
    array([[2., 0.],
           [0., 4.]])
    """
    given, points = _points(x)
    _tolerances(tolerances)
    if _asked_for(steering, initial_step, step_direction):
        first = {"initial_step": initial_step, "step_direction": step_direction}
        return _theirs("jacobian", f, x, tolerances=tolerances, **first, **steering)
    steps = (np.reshape(a, np.shape(a) + (1,) * (points.ndim - np.ndim(a))) for a in (initial_step, step_direction))
    found, info = numerical_jacobian(f, points, full_output=True, **_within(points, *steps))
    # of several points each has a Jacobian of its own: where f couples none, the others' parts are zeros
    apart = tuple(range(1 - points.ndim, 0))
    df, error = (np.sum(a, axis=apart) for a in (found, info.error))
    df, error = (np.moveaxis(a, -1, a.ndim - points.ndim) for a in (df, error))
    return _result("df", df, error, tolerances, given.dtype, nit=1, nfev=info.nfev)


def hessian(
    f: Function,
    x: ArrayLike,
    *,
    tolerances: Mapping[str, float | None] | None = None,
    initial_step: ArrayLike = STEP,
    **steering: Unpack[Steering],
) -> OptimizeResult:
    """Return the Hessian, with the fields of ``scipy.differentiate.hessian``.

    Parameters
    ----------
    f, x, tolerances, initial_step
        As for `jacobian`.
    **steering
        maxiter, order, step_factor: as for `derivative`.

    Returns
    -------
    OptimizeResult
        success, status, ddf, error, nfev.

    Examples
    --------
    >>> np.round(hessian(lambda x: x[0] ** 2 * x[1], np.array([1.0, 2.0])).ddf, 4)
    array([[4., 2.],
           [2., 0.]])
    """
    given, points = _points(x)
    least = 100.0 * float(np.finfo(given.dtype if given.dtype.kind == "f" else np.float64).eps)
    if 0.0 < (rtol := _tolerances(tolerances)["rtol"]) < least:
        warnings.warn(f"The specified `rtol={rtol}`, but error bars below {least} mean nothing", RuntimeWarning, 2)
    if _asked_for(steering, initial_step):
        return _theirs("hessian", f, x, tolerances=tolerances, initial_step=initial_step, **steering)
    steps = np.reshape(initial_step, np.shape(initial_step) + (1,) * (points.ndim - np.ndim(initial_step)))
    several = points.ndim > 1

    def total(x: Array) -> Any:
        value = f(x)
        if np.shape(value) != points.shape[1:]:
            raise ValueError(
                f"`f` must return one number for each of the points {points.shape[1:]}; got {np.shape(value)}"
            )
        return np.sum(value)

    found, info = numerical_hessian(total if several else f, points, full_output=True, **_within(points, steps, 0))
    error = np.zeros(found.shape) if info.error is None else info.error  # None: nothing may move
    m, others = len(points), points.shape[1:]
    pair = (m, points.size // m, m, points.size // m)
    ddf, error = (np.einsum("ikjk->ijk", a.reshape(pair)).reshape(m, m, *others) for a in (found, error))
    return _result("ddf", ddf, error, tolerances, given.dtype, nfev=info.nfev)


def _points(x: ArrayLike) -> tuple[Array, Array]:
    given = np.asarray(x)
    if not given.ndim or not len(given):
        raise ValueError(f"Argument `x` must be at least 1-D, and not empty; got shape {given.shape}")
    return given, given.astype(np.float64)


# ---- what SciPy's solvers difference by themselves

_on: ContextVar[bool] = ContextVar("_on", default=False)
_lock = RLock()
_kept: list[tuple[Any, str, Any]] = []
_users = 0


def _in_solver(original: Any) -> Any:
    def replaced(fun: Any, x0: Any, *rest: Any, **options: Any) -> Any:
        step = options.get("abs_step")
        if isinstance(step, float) and step in (1e-8, EPSILON):  # the solvers' own, which they hand on as if given
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
        run = _runs.get(fun)
        if run is None:
            run = _runs[fun] = _run(fun, x, options, kind)
        slope, nfev = run.jacobian(fun, x, f0) if isinstance(run, VectorRun) else run.gradient(x, float(f0))
        if options.get("full_output"):
            return slope, {"nfev": nfev}
        if (counter := _held(fun).get("self")) is not None:
            counter.nfev += nfev
        return slope

    return replaced


# one for each objective of a run, which SciPy wraps anew in each; what is known of it ends with it
_runs: WeakKeyDictionary[Any, Run] = WeakKeyDictionary()


def _kind_of_run(fun: Any, x: Any, options: dict[str, Any]) -> type[Run] | None:
    """Return what keeps what is known of the objective of a run; None where SciPy differentiates something else.

    Or where it is not SciPy that chooses the steps.
    """
    given = options.get
    free = given("rel_step") is None and given("abs_step") is None
    simple = free and given("method") in ("2-point", "3-point") and not given("args")
    if not simple:
        return None
    if isinstance(fun, _Seen):
        return VectorRun
    name, f0 = type(fun).__name__, given("f0")
    if name == "_VectorFunWrapper":
        return VectorRun if given("sparsity") is None and _has_few_doubles(x, f0) else None
    if name != "_ScalarFunctionWrapper":
        inner = isinstance(fun, FunctionType) and fun.__name__ == "fun_wrapped"
        if not inner or not {"fun", "args", "self"} <= {*fun.__code__.co_freevars}:
            return None
    return Run if isinstance(f0, (float, int, np.integer)) else None


def _has_few_doubles(x: Any, f0: Any) -> bool:
    return x.size <= FEW and all(isinstance(a, np.ndarray) and a.ndim == 1 and a.dtype == np.float64 for a in (x, f0))


def _run(fun: Any, x: Array, options: dict[str, Any], kind: type[Run]) -> Run:
    bounds = _limits(options.get("bounds", (-INF, INF)), x)
    workers = _workers(options.get("workers"))
    if kind is not Run:
        return VectorRun(options["method"], bounds, workers)
    # the user's own f: SciPy's wrapper counts calls, which no lift may pass
    held = {"fun": fun.f, "args": fun.args} if hasattr(fun, "f") else _held(fun)
    return Run(held["fun"], options["method"], tuple(held["args"]), bounds, workers)


def _limits(bounds: Any, x: Array) -> list[NDArray[np.float64]] | None:
    given = [np.broadcast_to(np.asarray(b, dtype=np.float64), x.shape) for b in bounds]
    return given if any(np.isfinite(b).any() for b in given) else None


def _held(fun: Any) -> dict[str, Any]:
    """Return what the closure holds that wraps the objective in older versions of SciPy, and counts its calls."""
    return {name: cell.cell_contents for name, cell in zip(fun.__code__.co_freevars, fun.__closure__, strict=True)}


def _for_ode(original: Any) -> Any:
    def replaced(fun: Any, t: float, y: Any, f: Any, threshold: Any, factor: Any, sparsity: Any = None) -> Any:
        if np.iscomplexobj(y):
            return original(fun, t, y, f, threshold, factor, sparsity)
        if sparsity is None and _has_few_doubles(y, f):
            run = _runs.setdefault(fun, VectorRun())
            assert isinstance(run, VectorRun)
            return run.jacobian(lambda y: fun(t, y), y.copy(), f, at_once=True)[0], factor
        found = numerical_jacobian(lambda y: fun(t, y[:, None])[:, 0], y, f0=f, method="2-point", sparsity=sparsity)
        return found.tocsc() if issparse(found) else found, factor

    return replaced


class _Seen:
    """A function of a run of MINPACK or SLSQP, which ask for Jacobians where they have evaluated it."""

    def __init__(self, f: Any, args: Any, constrains: bool = False) -> None:
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

    def jacobian(self, x: Array, method: str = "2-point", bounds: Any = (-INF, INF)) -> Any:
        f0 = np.array(self.known(x), ndmin=1)
        if not _has_few_doubles(x, f0):
            return np.atleast_2d(approx_derivative(self._f, x, method, f0=f0, bounds=bounds, args=self._args))
        if self._run is None:
            self._run = VectorRun(method, _limits(bounds, x), curved=self._constrains)
        return self._run.jacobian(lambda y: np.atleast_1d(self._f(y, *self._args)), x.copy(), f0)[0]


def _for_minpack(name: str) -> Callable[[Any], Any]:
    """Give MINPACK a Jacobian where it has none."""

    def given(original: Any) -> Any:
        def replaced(func: Any, x0: Any, args: Any = (), *rest: Any, **options: Any) -> Any:
            if not rest and options.get(name) is None and options.get("eps") is None and not options.get("epsfcn"):
                func, args = _Seen(func, args), ()
                options = {**options, name: func.jacobian, "col_deriv": 0}
            return original(func, x0, args, *rest, **options)

        return replaced

    return given


def _for_slsqp(original: Any) -> Any:
    """Let constraints without a Jacobian, too, remember where they were evaluated."""

    def replaced(
        func: Any,
        x0: Any,
        args: Any = (),
        jac: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        *rest: Any,
        **options: Any,
    ) -> Any:
        given = (constraints,) if isinstance(constraints, dict) else constraints
        seen = tuple(
            {**c, "fun": _Seen(c["fun"], c.get("args", ()), True), "args": ()}
            if isinstance(c, dict) and c.get("jac") is None and callable(c.get("fun"))
            else c
            for c in given
        )
        return original(func, x0, args, jac, bounds, seen, *rest, **options)

    return replaced


PLACES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    *(
        (f"scipy.optimize.{module}", "approx_derivative", _in_solver)
        for module in ("_differentiable_functions", "_slsqp_py", "_optimize", "_root_scalar", "_lsq.least_squares")
    ),
    ("scipy.optimize._minimize", "_minimize_slsqp", _for_slsqp),
    ("scipy.optimize._slsqp_py", "_minimize_slsqp", _for_slsqp),
    ("scipy.integrate._ivp.radau", "num_jac", _for_ode),
    ("scipy.integrate._ivp.bdf", "num_jac", _for_ode),
    ("scipy.optimize._minpack_py", "leastsq", _for_minpack("Dfun")),
    ("scipy.optimize._minpack_py", "_root_hybr", _for_minpack("jac")),
    ("scipy.optimize._root", "_root_hybr", _for_minpack("jac")),
)


def _where_on(original: Any, replaced: Any) -> Any:
    @wraps(original)
    def chosen(*args: Any, **options: Any) -> Any:
        return (replaced if _on.get() else original)(*args, **options)

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
                    setattr(module, name, _where_on(original, replacement(original)))
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
