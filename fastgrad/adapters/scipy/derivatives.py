"""Derivatives that stand for SciPy's own: those of `scipy.optimize`, and those of `scipy.differentiate`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult
from scipy.sparse import csr_array, find, issparse
from scipy.sparse.linalg import LinearOperator

from ...core.errors import needed
from ...core.validation import Args, Array, Floats, Function
from ...gradient import numerical_gradient
from ...hessian import numerical_hessian
from ...jacobian import numerical_jacobian
from ...products import jvp
from ...schemes.constants import EPS
from ..entries import along, entry_of

__all__ = [
    "approx_derivative", "approx_fprime", "check_derivative", "check_grad", "derivative", "hessian", "jacobian",
]  # fmt: skip

POWER = {"2-point": 1 / 2, "3-point": 1 / 3, "cs": 1 / 2}  # of the rounding unit: SciPy's relative steps
UNBOUNDED = (-np.inf, np.inf)


# ---- scipy.optimize


def approx_derivative(
    fun: Function,
    x0: ArrayLike,
    method: str = "3-point",
    rel_step: ArrayLike | None = None,
    abs_step: ArrayLike | None = None,
    f0: Any = None,
    bounds: Any = UNBOUNDED,
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
    if method not in POWER:
        raise ValueError(f"Unknown method {method!r}: `method` must be one of {tuple(POWER)}")
    given = np.atleast_1d(np.asarray(x0))
    if given.ndim > 1:
        raise ValueError("`x0` must have at most 1 dimension.")
    x, dtype = given.astype(np.float64), given.dtype
    limits = limits_of(bounds, x)
    if as_linear_operator and limits:
        raise ValueError("Bounds not supported when `as_linear_operator` is True.")
    called: dict[str, Any] = {"args": args, "kwargs": dict(kwargs or {})}
    if _is_narrow(dtype):
        fun = _keeping(fun, dtype)
    f0, nfev = _value_at(fun, x, f0, **called)
    if limits and ((x < limits[0]) | (x > limits[1])).any():
        raise ValueError("`x0` violates bound constraints.")
    if as_linear_operator:
        if abs_step is not None or sparsity is not None:
            raise ValueError("`abs_step` and `sparsity` mean nothing to a linear operator: give `rel_step`, or none")
        operator = _operator(fun, x, np.size(f0), rel_step, method=method, **called)
        return (operator, {"nfev": nfev}) if full_output else operator
    narrow = [d for d in (dtype, np.asarray(f0).dtype) if _is_narrow(d)]
    step = _steps(method, x, rel_step, abs_step, narrow)
    if step is None and method == "2-point" and narrow:
        method = "3-point"  # whose steps look at how coarse f is
    options = {"method": method, "bounds": limits, "workers": workers_of(workers), **called}
    result, made = _differentiated(fun, x, f0, step, sparsity, options)
    result = result.astype(dtype) if _is_narrow(dtype) else result
    return (result, {"nfev": nfev + made}) if full_output else result


def limits_of(bounds: Any, x: Floats) -> tuple[Floats, Floats] | None:
    """Return the least and the greatest value of each entry of x; None where no entry has any."""
    lower, upper = (np.asarray(b, dtype=np.float64) for b in bounds)
    if any(b.ndim and b.shape != x.shape for b in (lower, upper)):
        raise ValueError("Inconsistent shapes between bounds and `x0`.")
    if not ((lower > -np.inf).any() or (upper < np.inf).any()):
        return None
    return np.broadcast_to(lower, x.shape), np.broadcast_to(upper, x.shape)


def workers_of(given: Any) -> Any:
    """Return SciPy's workers as ours: it hands on `map` for none, or its wrapper of it."""
    return 1 if given is None or getattr(given, "_mapfunc", given) is map else given


def _value_at(fun: Function, x: Floats, f0: Any, args: Args, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    """Return f(x), which the caller may have given, and the evaluations."""
    if f0 is None:
        value = fun(x.copy(), *args, **kwargs)
        if np.ndim(value) > 1:
            raise RuntimeError("`fun` return value has more than 1 dimension.")
        return value, 1
    if np.ndim(f0) > 1:
        raise ValueError("`f0` passed has more than 1 dimension.")
    return f0, 0


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize < 8


def _keeping(fun: Function, dtype: np.dtype[Any]) -> Function:
    """Return a function that gets x in the caller's precision, as SciPy gives it."""

    def narrow(x: Array, *args: Any, **kwargs: Any) -> Any:
        return fun(x.astype(dtype if x.dtype.kind == "f" else np.result_type(dtype, np.complex64)), *args, **kwargs)

    return narrow


def _steps(
    method: str, x: Floats, rel_step: ArrayLike | None, abs_step: ArrayLike | None, narrow: list[np.dtype[Any]]
) -> Floats | None:
    """Return the signed step of each entry, in SciPy's manner; None where no step is given."""
    if rel_step is None and abs_step is None:
        if method != "cs" or not narrow:
            return None
        rel_step = 0.0  # a step of its own would vanish in short floats: SciPy's usual one
    eps = max((float(np.finfo(d).eps) for d in narrow), default=EPS)
    sign = np.where(x >= 0, 1.0, -1.0)
    step = np.asarray(rel_step * sign * np.abs(x) if abs_step is None else abs_step, dtype=np.float64)
    usual = eps ** POWER[method] * sign * np.maximum(1.0, np.abs(x))
    return np.where(x + step - x == 0, usual, np.broadcast_to(step, x.shape))


def _differentiated(
    fun: Function, x: Floats, f0: Any, step: Floats | None, sparsity: Any, options: dict[str, Any]
) -> tuple[Any, int]:
    """Return the derivatives in SciPy's shape, and the evaluations."""
    if step is not None and options["method"] == "2-point" and (step < 0).any():
        return _differentiated_back(fun, x, f0, step, sparsity, options)
    known = {} if np.iscomplexobj(f0) else {"f0": f0}
    size = None if step is None else np.abs(step)
    if sparsity is not None:
        found, info = numerical_jacobian(fun, x, size, sparsity=sparsity, full_output=True, **known, **options)
        return found, info.nfev
    verb: Function = numerical_jacobian if np.ndim(f0) else numerical_gradient
    found, info = verb(fun, x, size, full_output=True, **known, **options)
    return np.ravel(found) if np.size(f0) == 1 else found, info.nfev


def _differentiated_back(
    fun: Function, x: Floats, f0: Any, step: Floats, sparsity: Any, options: dict[str, Any]
) -> tuple[Any, int]:
    """Return forward differences of which some go back: turned round, these entries go ahead."""
    back = step < 0
    turn = np.where(back, -1.0, 1.0)
    if options["bounds"]:
        lower, upper = options["bounds"]
        options = {**options, "bounds": (np.where(back, -upper, lower), np.where(back, -lower, upper))}
    found, nfev = _differentiated(partial(_turned, fun, turn), turn * x, f0, np.abs(step), sparsity, options)
    if sparsity is None:
        return np.where(back, 0.0 - found, found), nfev
    found.data *= turn[found.indices]
    return found, nfev


def _turned(fun: Function, turn: Floats, x: Array, *args: Any, **kwargs: Any) -> Any:
    return fun(turn * x, *args, **kwargs)


def _operator(fun: Function, x: Floats, m: int, rel_step: ArrayLike | None, **options: Any) -> LinearOperator:
    def product(p: Array) -> Array:
        p = np.ravel(p)
        length = np.linalg.norm(p)
        if length == 0:
            return np.zeros(m)
        return np.ravel(jvp(fun, x, p, None if rel_step is None else np.asarray(rel_step) / length, **options))

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
    found: Array = approx_derivative(f, x, method=method, abs_step=epsilon, args=args)
    return found


def check_grad(
    func: Function,
    grad: Function,
    x0: ArrayLike,
    *args: Any,
    epsilon: ArrayLike | None = None,
    direction: str = "all",
    rng: Any = None,
    seed: Any = None,
) -> float:
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
    if direction not in ("all", "random"):
        raise ValueError(f"{direction!r} is not a valid `direction`: 'all' or 'random'")
    told = grad(x, *args)
    if direction == "all":
        apart = told - approx_fprime(x, func, epsilon, *args)
    else:
        slope = np.asanyarray(told)
        if slope.ndim > 1:
            raise ValueError("'random' can only be used with scalar valued func")
        v = np.random.default_rng(seed if rng is None else rng).standard_normal(size=x.shape)
        apart = np.dot(slope, v) - approx_fprime(np.zeros(1), lambda w: func(x + w * v, *args), epsilon)
    norm: float = np.sqrt(np.sum(np.abs(apart) ** 2))
    return norm


def check_derivative(
    fun: Function,
    jac: Function,
    x0: ArrayLike,
    bounds: Any = UNBOUNDED,
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
Tolerances = Mapping[str, float | None] | None


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


def _tolerances(tolerances: Tolerances) -> dict[str, float]:
    given = {**TOLERANCES, **{k: v for k, v in (tolerances or {}).items() if v is not None}}
    numbers = all(isinstance(v, (int, float, np.number)) and v >= 0 for v in given.values())
    if given.keys() != TOLERANCES.keys() or not numbers:
        raise ValueError(
            "Tolerances and step parameters must be non-negative scalars: `tolerances` must have 'atol' and 'rtol'; "
            f"got {tolerances!r}"
        )
    return given


def _within(x: Floats, initial_step: ArrayLike, step_direction: ArrayLike = 0) -> dict[str, Any]:
    """Return the bounds that SciPy's steps keep: no farther from x than the first, and on its side.

    Where x has more axes than these, they are those of its first ones.
    """
    steps, sides = (np.reshape(a, np.shape(a) + (1,) * (x.ndim - np.ndim(a))) for a in (initial_step, step_direction))
    if (steps == STEP).all() and not np.any(sides):
        return {}
    reach = np.where(steps == STEP, np.inf, steps)  # which nobody gave
    lower, upper = (np.broadcast_to(x + side, x.shape) for side in (-reach, reach))
    return {"bounds": (np.where(sides > 0, x, lower), np.where(sides < 0, x, upper))}


def _result(
    name: str, df: Array, error: Array, tolerances: Tolerances, dtype: np.dtype[Any], **counts: ArrayLike
) -> OptimizeResult:
    """Return SciPy's result: what is finite is a success, if its error bar keeps the tolerance that was given."""
    least = _tolerances(tolerances)
    with np.errstate(invalid="ignore"):
        kept = (error <= least["atol"] + least["rtol"] * np.abs(df)) | (not tolerances)
    status = np.where(np.isfinite(df), np.where(kept, 0, -1), -3).astype(np.int32)
    told: dict[str, Array] = {"success": status == 0, "status": status}
    told |= {key: value.astype(dtype) for key, value in ((name, df), ("error", error))}
    told |= {key: np.full(df.shape, count, dtype=np.int32) for key, count in counts.items()}
    return OptimizeResult({key: value[()] for key, value in told.items()})


def derivative(
    f: Function,
    x: ArrayLike,
    *,
    args: Any = (),
    tolerances: Tolerances = None,
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
    if preserve_shape and args:
        raise ValueError("`preserve_shape` and `args` are not taken together here: give f what it needs otherwise")
    point, dtype = _doubles(given)
    places = np.broadcast_to(point, np.shape(f(point.copy()))) if preserve_shape else point
    places, steps, sides, *others = np.broadcast_arrays(places, initial_step, step_direction, *args)
    df, error, nfev = np.empty(places.shape), np.empty(places.shape), np.zeros(places.shape, np.int64)
    for i in np.ndindex(places.shape):
        g = entry_of(along(f, point, i[len(i) - point.ndim :]), i) if preserve_shape else _number(f)
        told = {"args": tuple(other[i] for other in others), **_within(places[i], steps[i], sides[i])}
        df[i], made = numerical_gradient(g, places[i], method="adaptive", full_output=True, **told)
        error[i], nfev[i] = np.nan if made.error is None else made.error, made.nfev
    result = _result("df", df, error, tolerances, dtype, nit=1, nfev=nfev)
    result.x = places.astype(np.result_type(result.df))[()]
    return result


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
    tolerances: Tolerances = None,
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
    points, dtype = _points(x)
    _tolerances(tolerances)
    first = {"initial_step": initial_step, "step_direction": step_direction}
    if _asked_for(steering, **first):
        return _theirs("jacobian", f, x, tolerances=tolerances, **first, **steering)
    found, info = numerical_jacobian(f, points, full_output=True, **_within(points, **first))
    # of several points each has a Jacobian of its own: where f couples none, the others' parts are zeros
    apart = tuple(range(1 - points.ndim, 0))
    df, error = (np.sum(a, axis=apart) for a in (found, info.error))
    df, error = (np.moveaxis(a, -1, a.ndim - points.ndim) for a in (df, error))
    return _result("df", df, error, tolerances, dtype, nit=1, nfev=info.nfev)


def hessian(
    f: Function,
    x: ArrayLike,
    *,
    tolerances: Tolerances = None,
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
    points, dtype = _points(x)
    least = 100.0 * float(np.finfo(dtype).eps)
    if 0.0 < (rtol := _tolerances(tolerances)["rtol"]) < least:
        warnings.warn(f"The specified `rtol={rtol}`, but error bars below {least} mean nothing", RuntimeWarning, 2)
    if _asked_for(steering, initial_step):
        return _theirs("hessian", f, x, tolerances=tolerances, initial_step=initial_step, **steering)
    m, others = len(points), points.shape[1:]

    def total(x: Array) -> Any:
        value = f(x)
        if np.shape(value) != others:
            raise ValueError(f"`f` must return one number for each of the points {others}; got {np.shape(value)}")
        return np.sum(value)

    found, info = numerical_hessian(total if others else f, points, full_output=True, **_within(points, initial_step))
    error = np.zeros(found.shape) if info.error is None else info.error  # None: nothing may move
    pair = (m, points.size // m, m, points.size // m)
    ddf, error = (np.einsum("ikjk->ijk", a.reshape(pair)).reshape(m, m, *others) for a in (found, error))
    return _result("ddf", ddf, error, tolerances, dtype, nfev=info.nfev)


def _points(x: ArrayLike) -> tuple[Floats, np.dtype[Any]]:
    """Return the points, and the type of what is found there."""
    given = np.asarray(x)
    if not given.ndim or not len(given):
        raise ValueError(f"Argument `x` must be at least 1-D, and not empty; got shape {given.shape}")
    return _doubles(given)


def _doubles(given: Array) -> tuple[Floats, np.dtype[Any]]:
    return given.astype(np.float64), given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)
