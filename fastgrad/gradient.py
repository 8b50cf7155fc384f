"""The dispatcher: numerical_gradient, and Gradient, which binds f once and is called many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any, Literal, TypeGuard, overload

import numpy as np
from numpy import empty, ndarray
from numpy.typing import ArrayLike, NDArray

from .backends.table import BACKENDS
from .backends.table import backend as load_backend
from .core.call import Call, Memo
from .core.errors import CannotRun, NotTrusted, TrustWarning, describe, warn
from .core.evaluation import Evaluation
from .core.options import ADAPTIVE, Plan
from .core.point import Point, as_point
from .core.result import Info
from .core.validation import FLOAT64, Floats, bounds_arrays, everything, function, index_array, known_value, one_of
from .inspecting.cfunctions import c_function, is_c_function
from .planning.choices import AUTO, Choice, choices, is_jitted
from .schemes.scheme import Task
from .schemes.stencils import Stencil
from .schemes.telling import tell
from .schemes.trust import check_analytic, reads_own_array

__all__ = ["Gradient", "explain", "numerical_gradient", "value_and_gradient"]

Function = Callable[..., Any]
MOST_SHAPES = 16  # of x that a prepared gradient is kept ready for


# a backend's shortest way to a gradient, for plain float64 arrays of one shape: it writes to `out`, and returns 0 where
# the general way is to decide
Way = Callable[[Floats, tuple[Any, ...], Floats], int]


def _shortest(plan: Plan, call: Call, choice: Choice, shape: tuple[int, ...]) -> Way | None:
    """Ask a backend for its shortest way, if it has one."""
    compiling = choice.backend == "numba"
    # what a jitted function has captured is to be checked, which only that one's does
    if not plan.plain or 0 in shape or (call.kwargs if compiling else is_jitted(call.f)):
        return None
    make = getattr(load_backend(choice.backend), "quick", None)
    try:
        way = make and make(call, plan.stencil, plan.rule_for(shape), choice.explicit)
    except CannotRun:
        return None
    return way and way.__call__  # 70 ns less than to call the object


def _is_plain(x: object) -> TypeGuard[Floats]:
    return type(x) is ndarray and x.dtype is FLOAT64 and x.flags.carray


def _quickly(way: Way, x: Floats, args: tuple[Any, ...], out: Floats | None) -> Floats | None:
    """Go the shortest way; None where the general one is to decide."""
    shape = x.shape
    if out is None:
        out = empty(shape)
    elif not (_is_plain(out) and out.shape == shape) or np.may_share_memory(out, x):  # x is needed to the end
        return None
    try:
        return out if way(x, args, out) else None
    except CannotRun:
        return None


@lru_cache(maxsize=128, typed=True)
def _hashable_plan(*options: Any) -> Plan:
    return Plan(*options)


@lru_cache(maxsize=64, typed=True)
def _shared(f: Any, *options: Any) -> Gradient:
    """Return the gradient of a compiled f that all one-shot calls share: one look-up instead of a preparation."""
    if not is_jitted(f):
        raise TypeError("not to be kept alive")
    return Gradient(f, **dict(zip(Plan.NAMES, options, strict=True)))


def _plan(*options: Any) -> Plan:
    try:
        return _hashable_plan(*options)
    except TypeError:  # an array or a list among them, or a wrong type: then Plan says so
        return Plan(*options)


class Gradient:
    r"""The gradient of a function, prepared once and called many times.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number. A numba dispatcher or a C function pointer (``cfunc``, ctypes,
        ``scipy.LowLevelCallable`` of signature ``double(double *, int64_t)``) runs compiled.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step. By default, and for "auto", the steps choose themselves: from the noise of f and a second look at
        the components where another step would do better. "fixed": the best fixed rule for the
        stencil (`fastgrad.schemes.steps.fixed_step`), relative to max(\|x\|, 1).
    args, kwargs : tuple, dict
        What f gets after x; never perturbed.
    backend : {"auto", "python", "numpy", "numba"}
        How f is evaluated. "auto" chooses, and falls back to the reference ("python") where it cannot prove another
        safe.
    method : {"central", "forward", "backward", "complex", "adaptive"} or Stencil
        The kind of difference. "complex" needs an f that is analytic and accepts complex x. "adaptive" climbs a ladder
        of steps for each component until its error bar meets the tolerance: 6 to 10 evaluations a component.
    order : int
        Order of accuracy: even for central, 1 and up for one-sided.
    rel_step : float or array_like, optional
        Step relative to \|x\|, as in SciPy's ``approx_derivative``; where x is 0 the fixed rule is used.
    bounds : (lower, upper) or scipy.optimize.Bounds, optional
        f is never evaluated outside. Near a bound the difference is one-sided, of the same order.
    indices : int, sequence of int or boolean mask, optional
        Only these partial derivatives, at the cost of these only; the result has one entry for each.
    batch_axis : {None, 0, -1}
        None: f takes one point. 0: f takes points ``(k, *x.shape)``; -1: ``(*x.shape, k)``; and returns ``(k,)``.
    noise : None, "probe" or float
        What is known of f's noise. None: it is measured where that costs at most a quarter of the gradient (14
        components or more) or where something looks wrong; "probe": always; a number: its standard deviation (0:
        rounding only).
    rtol, atol : float
        Tolerance of method="adaptive".
    dtype : {None, "keep"}
        "keep": f gets float32 (or float16) if x is; by default it gets float64, which costs nothing and is far more
        accurate. The result has x's dtype in either case.
    compile : {None, "eager"}
        For functions compiled by numba, which can run several points in one SIMD register, to the same bits: None
        compiles that as soon as the work so far says that it pays (about a second of f), "eager" at once.
    workers : int
        Threads that evaluate a compiled f side by side, to the same bits; other backends use one.
    fastmath : bool
        Allow functions compiled by numba to take exp, log, sin, cos, tanh, pow and their kin from the system's vector
        mathematics library (glibc's libmvec), several points at a time: 3 to 6 times as fast, each within 4 units in
        the last place instead of 1. Lanes are compiled at once then, and the noise is always measured. Where there is
        no such library, and for other backends, it has no effect; `Info.fastmath` and `explain` say what it did.
    effort : {None, "measure"}
        How the way to evaluate a plain f is found: None tries lifts while that costs little; "measure" times each way
        three times, in the first calls, and stays with the fastest.
    learned : list of dict, optional
        What another gradient of the same f has `learned`: nothing is tried again.

    Raises
    ------
    TypeError, ValueError
        If an option is not valid; the message names it, shows the value and lists what is valid.

    Notes
    -----
    The central difference of order 2 is :math:`(f(x + h e_i) - f(x - h e_i)) / (2 h)`, with the achieved step in the
    divisor. Safe to call from several threads; picklable where f is.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = Gradient(lambda x: x[0] ** 2 + x[1] ** 2)
    >>> np.round(gradient(np.array([3.0, 4.0])), 6)
    array([6., 8.])
    """

    def __init__(
        self,
        f: Any,
        h: Any = None,
        *,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        backend: str = AUTO,
        method: str | Stencil = "central",
        order: int = 2,
        rel_step: Any = None,
        bounds: Any = None,
        indices: Any = None,
        batch_axis: int | None = None,
        noise: float | str | None = None,
        rtol: float = 1e-13,
        atol: float = 0.0,
        dtype: str | None = None,
        compile: str | None = None,
        workers: int = 1,
        fastmath: bool = False,
        effort: str | None = None,
        learned: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        one_of("effort", effort, (None, "measure"))
        self.f = f
        self._effort = effort
        self._args, self._kwargs = args, kwargs
        self._plan = Plan(
            h,
            backend,
            method,
            order,
            rel_step,
            bounds,
            indices,
            batch_axis,
            noise,
            rtol,
            atol,
            dtype,
            compile,
            workers,
            fastmath,
        )
        self._memo = memo = Memo(measure=effort is not None)
        if learned is not None:
            load_backend("numpy").recall(memo, learned)  # type: ignore[attr-defined]
        self._call = _as_call(self._plan, f, args, kwargs, memo)
        self._choices = choices(self._call, backend)
        self._ways: dict[tuple[int, ...], Way | None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"args": self._args, "kwargs": self._kwargs, "effort": self._effort, "learned": self.learned}
        return _rebuild, (self.f, {**options, **self._plan.options()})

    def __repr__(self) -> str:
        given = {k: v for k, v in self._plan.options().items() if v is not None}
        options = ", ".join(f"{k}={describe(v)}" for k, v in given.items())
        return f"Gradient({getattr(self.f, '__name__', describe(self.f))}, {options})"

    def __call__(self, x: ArrayLike, *args: Any, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the gradient at x.

        Parameters
        ----------
        x : array_like
            The point, of any shape; promoted to float64.
        *args
            What f gets after x in this call, instead of the prepared `args`.
        out : ndarray, optional
            Where to put the result, of the result's shape.

        Returns
        -------
        ndarray
            The partial derivatives, of x's shape (or one for each of `indices`). float32 and float16 x give a result
            of their dtype, all else float64.

        Raises
        ------
        TypeError, ValueError
            If x is not a finite real array, a step is lost at x, or f does not return one number. f's own exceptions
            come through.
        """
        return self._at(x, args or self._call.args, out)

    def _at(self, x: Any, args: tuple[Any, ...], out: NDArray[Any] | None) -> NDArray[Any]:
        if _is_plain(x):
            shape = x.shape
            try:
                way = self._ways[shape]
            except KeyError:
                way = self._way(shape)
            if way is not None:
                result = _quickly(way, x, args, out)
                if result is not None:
                    return result
        gradient = self._generally(x, args, None, False)[0]
        if out is None:
            return gradient
        if not isinstance(out, ndarray) or out.shape != gradient.shape:
            raise ValueError(f"`out` must be an array of the result's shape {gradient.shape}, got {describe(out)}")
        out[...] = gradient
        return out

    def _generally(self, x: Any, args: tuple[Any, ...], f0: Any, bars: bool) -> tuple[NDArray[Any], Info, Evaluation]:
        return _evaluate(self._plan, self._call, self._choices, x, args, f0, bars)

    def _way(self, shape: tuple[int, ...]) -> Way | None:
        if len(self._ways) >= MOST_SHAPES:
            self._ways.clear()
        way = self._ways[shape] = _shortest(self._plan, self._call, self._choices[0], shape)
        return way

    def value_and_gradient(self, x: ArrayLike, *args: Any) -> tuple[float, NDArray[Any]]:
        """Return f(x) and the gradient there, for one evaluation more at most.

        Examples
        --------
        >>> value, slope = Gradient(lambda x: x @ x).value_and_gradient([3.0, 4.0])
        >>> value
        25.0
        """
        gradient, _, run = self._generally(x, args or self._call.args, None, False)
        return run.value(), gradient

    @property
    def learned(self) -> list[dict[str, Any]]:
        """What was found out about the ways to evaluate f, as plain data: to be saved as JSON, for `learned`.

        One entry for each shape of x: the seconds of one point by each way, and why a lift was refused.

        Examples
        --------
        >>> import numpy as np
        >>> gradient = Gradient(lambda x: np.sum(x**2), 1e-4, effort="measure")
        >>> for _ in range(8):
        ...     _ = gradient(np.ones(20))
        >>> sorted(gradient.learned[0]["seconds"])
        ['dense', 'loop', 'sparse']
        """
        return [{"shape": list(shape), **ways.facts()} for shape, ways in self._memo.ways.items()]

    def with_info(self, x: ArrayLike, *args: Any, f0: Any = None) -> tuple[NDArray[Any], Info]:
        """Return the gradient and how it was made.

        Parameters
        ----------
        x : array_like
            The point.
        *args
            As for a call.
        f0 : float, optional
            f(x), if it is known: saves its evaluation where one is needed.
        """
        return self._generally(x, args or self._call.args, f0, True)[:2]

    def explain(self, x: ArrayLike) -> str:
        """Say what would be done at x, and why, in words."""
        point = as_point(x)
        plan, stencil = self._plan, self._plan.stencil
        refused: list[str] = []
        lines, carries = ["no backend takes this f"], False
        for choice in self._choices:
            try:
                run = load_backend(choice.backend)(self._call, point, choice.explicit)
            except CannotRun as reason:
                refused.append(f"not {choice.backend!r}: {reason}")
                continue
            lines = [f"backend {choice.backend!r}: {choice.reason}; {BACKENDS[choice.backend][2]}", *run.notes()]
            carries = run.carries(point.base.size)
            if plan.fastmath:
                lines.append(f"fastmath: {_what_fastmath_did(run)}")
            break
        chosen = index_array(self._plan.indices, point.base.shape)
        count = point.base.size if chosen is None else chosen.size
        lines += refused
        least = count * stencil.nodes.size + (plan.automatic or plan.name == ADAPTIVE or not stencil.symmetric)
        if stencil.imaginary:
            least = count + 2  # and the check
        more = ""
        if plan.automatic or plan.name == ADAPTIVE:
            more = " or more: the steps choose themselves"
            more += ", full precision where the sparse lift carries differences unrounded" if carries else ""
        lines.append(
            f"{plan.name} difference of order {stencil.order}: {least} evaluations of f for {count} partial "
            f"derivatives{more}"
        )
        return "\n".join(lines)


def _evaluate(
    plan: Plan, call: Call, candidates: tuple[Choice, ...], x: Any, args: tuple[Any, ...], f0: Any, bars: bool
) -> tuple[NDArray[Any], Info, Evaluation]:
    """The general way: any x, any options, every check."""
    began = perf_counter()
    point = as_point(x)
    shape = point.base.shape
    scheme = plan.scheme_for(shape, bars)
    bounds = None if plan.bounds is None else bounds_arrays(plan.bounds, point.base)
    chosen = None if plan.indices is None else index_array(plan.indices, shape)
    index = everything(point.base.size) if chosen is None else chosen
    if args is not call.args:
        call = call.but(args=args)
    given = call.f
    if plan.dtype is not None and point.dtype is not FLOAT64:
        call = _keeping(call, point.dtype)
        candidates = choices(call, "python" if plan.backend == "numba" else plan.backend)
    if is_jitted(given):
        load_backend("numba").check(Call(given), point)  # type: ignore[attr-defined]
    known = None if f0 is None else known_value(f0)
    nfev, reason = 0, ""
    for choice in candidates:
        last = choice is candidates[-1]
        run: Evaluation | None = None
        try:
            run = load_backend(choice.backend)(call, point, choice.explicit)
            if known is not None:
                run.known_value(known)
            memory = None if call.memo is None else call.memo.memory
            estimate = scheme.differentiate(run, Task(point, index, chosen is None, bounds, bars, memory))
            if call.memo is not None and estimate.memory is not None:
                call.memo.memory = estimate.memory
            _check_own_array(run, call, point, estimate.gradient)
            if plan.stencil.imaginary:
                check_analytic(run, point, index, estimate.gradient)
            break
        except CannotRun as error:
            if last:
                raise TypeError(f"`backend` {choice.backend!r} does not take this f: {error}") from error
            reason = f"; {error}"
        except NotTrusted as error:
            if last:
                raise ValueError(str(error)) from error
            warn(f"backend {choice.backend!r} was given up for 'python': {error}", TrustWarning)
            reason = f"; {error}"
        except (TypeError, ValueError, IndexError):
            if last or call.batch_axis is None:
                raise
            # what a wrongly declared `batch_axis` makes of f; if f itself is wrong, the reference will say so
        nfev += run.nfev if run is not None else 0
    assert run is not None
    tell(estimate.flags, point, index)
    whole: tuple[int, ...] = shape if chosen is None else index.shape
    gradient = estimate.gradient.reshape(whole)
    if point.dtype is not FLOAT64:
        gradient = gradient.astype(point.dtype)
    info = Info(
        backend=choice.backend,
        reason=choice.reason + reason,
        method=plan.name,
        order=plan.stencil.order,
        step=estimate.step.reshape(whole),
        nfev=nfev + run.nfev,
        seconds=perf_counter() - began,
        error=None if estimate.error is None else estimate.error.reshape(whole),
        reached=None if estimate.reached is None else estimate.reached.reshape(whole),
        noise=estimate.noise,
        fastmath=_what_fastmath_did(run) if plan.fastmath else None,
    )
    return gradient, info, run


def _what_fastmath_did(run: Evaluation) -> str:
    said = getattr(run, "fastmath", None)
    return said() if said else "no effect: f is not compiled, and calls the functions that it names"


def _keeping(call: Call, dtype: np.dtype[Any]) -> Call:
    """Let f get x in its own dtype."""
    f = call.f

    def narrow(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
        return f(x.astype(dtype), *args, **kwargs)

    return call.but(f=narrow)


def _check_own_array(run: Evaluation, call: Call, point: Point, gradient: Floats) -> None:
    """A gradient of nothing but zeros may mean that f reads the caller's array, which was not perturbed."""
    if run.sees_own or not gradient.size or (gradient.any() and not (point.perturbable and point.dtype is not FLOAT64)):
        return
    run.nfev += 2
    if not reads_own_array(call, point):
        return
    own = point.own
    if own is not None and own.dtype.kind in "iub":
        raise TypeError(
            f"`x` is an {own.dtype} array that f reads itself instead of its argument: integers cannot be perturbed. "
            "Make it a float array: x = x.astype(float), before f is made"
        )
    raise NotTrusted(
        "f ignores its argument and reads the caller's array, which only backend='python' perturbs, in place, and only "
        "if it is a writable float array whose entries do not overlap"
    )


def _as_call(plan: Plan, f: Any, args: Any, kwargs: Mapping[str, Any] | None, memo: Memo | None = None) -> Call:
    if is_c_function(f):
        f = c_function(f)
    function(f)
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"`kwargs` must be a dictionary of f's keyword arguments, got {describe(kwargs)}")
    # as in SciPy, a single argument may stand without its tuple
    return Call(
        f,
        args if type(args) is tuple else (args,),
        dict(kwargs) if kwargs else {},
        plan.batch_axis,
        memo,
        plan.compile == "eager",
        plan.workers,
        plan.fastmath,
        plan.stencil.imaginary,
    )


def _rebuild(f: Any, options: dict[str, Any]) -> Gradient:
    return Gradient(f, **options)


@overload
def numerical_gradient(
    f: Any,
    x: ArrayLike,
    h: Any = None,
    *,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    backend: str = "auto",
    method: str | Stencil = "central",
    order: int = 2,
    rel_step: Any = None,
    bounds: Any = None,
    f0: Any = None,
    indices: Any = None,
    batch_axis: int | None = None,
    noise: float | str | None = None,
    rtol: float = 1e-13,
    atol: float = 0.0,
    dtype: str | None = None,
    compile: str | None = None,
    workers: int = 1,
    fastmath: bool = False,
    full_output: Literal[False] = False,
) -> NDArray[Any]: ...


@overload
def numerical_gradient(
    f: Any,
    x: ArrayLike,
    h: Any = None,
    *,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    backend: str = "auto",
    method: str | Stencil = "central",
    order: int = 2,
    rel_step: Any = None,
    bounds: Any = None,
    f0: Any = None,
    indices: Any = None,
    batch_axis: int | None = None,
    noise: float | str | None = None,
    rtol: float = 1e-13,
    atol: float = 0.0,
    dtype: str | None = None,
    compile: str | None = None,
    workers: int = 1,
    fastmath: bool = False,
    full_output: Literal[True],
) -> tuple[NDArray[Any], Info]: ...


def numerical_gradient(
    f: Any,
    x: ArrayLike,
    h: Any = None,
    *,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    backend: str = "auto",
    method: str | Stencil = "central",
    order: int = 2,
    rel_step: Any = None,
    bounds: Any = None,
    f0: Any = None,
    indices: Any = None,
    batch_axis: int | None = None,
    noise: float | str | None = None,
    rtol: float = 1e-13,
    atol: float = 0.0,
    dtype: str | None = None,
    compile: str | None = None,
    workers: int = 1,
    fastmath: bool = False,
    full_output: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], Info]:
    r"""Return the gradient of f at x by finite differences.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    x : array_like
        The point, of any shape. Not changed, whatever happens; f may read it instead of its argument, as the textbook's
        ``lambda W: net.loss(x, t)`` does.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step; with ``h=1e-4`` the points are the textbook's.
    args, kwargs, backend, method, order, rel_step, bounds, indices, batch_axis, noise, rtol, atol, dtype, compile,
    workers, fastmath
        As for `Gradient`.
    f0 : float, optional
        f(x), if it is known: saves its evaluation where one is needed.
    full_output : bool
        Return ``(gradient, info)``.

    Returns
    -------
    gradient : ndarray
        Of x's shape, or one entry for each of `indices`.
    info : Info
        How it was made; only with `full_output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, a step is lost at x, or f does not return one number. f's own exceptions come
        through.

    See Also
    --------
    Gradient : prepared once, called many times.

    Notes
    -----
    The central difference of order 2 is :math:`(f(x + h e_i) - f(x - h e_i)) / (2 h)`; higher orders and one-sided
    differences are in `fastgrad.schemes.stencils` (Fornberg 1988, Math. Comp. 51, 699).

    Repeated calls with the same compiled f share one prepared `Gradient`: with the automatic step they remember its
    noise and steps, so the last digits, within the error bar, may depend on earlier calls. A given `h` has no memory.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(numerical_gradient(lambda x: x[0] ** 2 + x[1] ** 2, np.array([3.0, 4.0])), 6)
    array([6., 8.])
    """
    if type(indices) is tuple:
        indices = list(indices)  # no key of a cache: (True, False) equals (1, 0), which are other components
    options = (
        h,
        backend,
        method,
        order,
        rel_step,
        bounds,
        indices,
        batch_axis,
        noise,
        rtol,
        atol,
        dtype,
        compile,
        workers,
        fastmath,
    )
    if hasattr(f, "py_func") and not kwargs and f0 is None and not full_output:
        try:
            shared = _shared(f, *options)
        except TypeError:  # another kind of f; an array among the options, or a wrong one: the general way says so
            pass
        else:
            if type(args) is not tuple:
                return shared._at(x, (args,), None)
            return shared._at(x, args, None) if args else shared(x)
    plan = _plan(*options)
    call = _as_call(plan, f, args, kwargs)
    candidates = choices(call, backend)
    if plan.plain and not full_output and f0 is None and _is_plain(x):
        way = _shortest(plan, call, candidates[0], x.shape)
        result = None if way is None else _quickly(way, x, call.args, None)
        if result is not None:
            return result
    gradient, info, _ = _evaluate(plan, call, candidates, x, call.args, f0, full_output)
    return (gradient, info) if full_output else gradient


def value_and_gradient(f: Any, x: ArrayLike, h: Any = None, **options: Any) -> tuple[float, NDArray[Any]]:
    """Return f(x) and the gradient of f there.

    Parameters
    ----------
    f, x, h, **options
        As for `Gradient`.

    Examples
    --------
    >>> value, slope = value_and_gradient(lambda x: x @ x, [3.0, 4.0])
    >>> value
    25.0
    """
    return Gradient(f, h, **options).value_and_gradient(x)


def explain(f: Any, x: ArrayLike, h: Any = None, **options: Any) -> str:
    """Say what ``numerical_gradient(f, x, h, **options)`` would do, and why, in words.

    Examples
    --------
    >>> print(explain(lambda x: x @ x, [3.0, 4.0]))
    backend 'python': f is a plain Python function of one point: the reference takes any, closures included; \
one point at a time, in Python, on the caller's own array
    not 'numpy': x has fewer than 8 entries: too few to try a lift in one call
    central difference of order 2: 5 evaluations of f for 2 partial derivatives or more: the steps choose themselves
    """
    return Gradient(f, h, **options).explain(x)
