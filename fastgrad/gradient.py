"""numerical_gradient, and Gradient, which binds f once and is called many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from time import perf_counter
from types import FunctionType
from typing import Any, Unpack, overload

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from .core.call import Call
from .core.errors import describe
from .core.options import DEFAULT, No, Options, OptionsDict, Yes
from .core.point import Point, as_point, exclusively
from .core.result import Info
from .core.signature import OfFunction
from .core.structure import Structure
from .inspecting.kinds import PLAIN, is_jitted, kind_of
from .planning.measuring import Measured, recalled
from .planning.planner import Plan
from .planning.quick import Quick, jitted
from .planning.run import Done, at_once, call_of, explained, run, what_fastmath_did
from .schemes.scheme import Scheme
from .schemes.table import scheme_for, stencil_and_name

__all__ = ["Gradient", "explain", "numerical_gradient", "value_and_gradient"]

SIMPLE = frozenset({"method", "order", "backend", "noise"})  # options that mean the same at every x
MOST_SHAPES = 16  # of x that schemes are kept for


class Gradient:
    r"""The gradient of a function, prepared once and called many times.

    A gradient depends on f, x and the options alone: the same call gives the same bits, in any process, on a busy
    machine or a quiet one, whatever was called before.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number. A numba dispatcher or a C function pointer (``cfunc``, ctypes,
        ``scipy.LowLevelCallable`` of signature ``double(double *, int64_t)``) runs compiled.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step. By default, and for "auto", the steps choose themselves: from the noise of f and a second look at
        the components where another step would do better. "fixed": the best fixed rule for the stencil
        (`fastgrad.steps.fixed_step`), relative to max(\|x\|, 1).
    args, kwargs : tuple, dict
        What f gets after x; never perturbed.
    backend : {"auto", "python", "numpy", "numba"}
        How f is evaluated. "auto" chooses, and falls back to the reference ("python") where it cannot prove another
        safe.
    method : {"central", "forward", "backward", "complex", "adaptive"} or Stencil
        The kind of difference; "3-point", "2-point" and "cs" are SciPy's names of central, forward of order 1 and
        complex. "complex" needs an f that is analytic and accepts complex x. "adaptive" climbs a ladder of steps for
        each component until its error bar meets the tolerance: 6 to 10 evaluations a component.
    order : int, optional
        Order of accuracy: even for central, 1 and up for one-sided. By default 2, and 1 for "forward" and "backward".
    rel_step : float or array_like, optional
        Step relative to \|x\|, as in SciPy's ``approx_derivative``; where x is 0 the fixed rule is used.
    bounds : (lower, upper), list of (low, high) or scipy.optimize.Bounds, optional
        Numbers or arrays, or as in SciPy a pair for each entry of x; None is no bound. With two entries a list of
        tuples means pairs, and a tuple of two lists or arrays (lower, upper). f is never evaluated outside. Near a
        bound the difference is one-sided, of the same order; where both are equal x is fixed, and the derivative 0.
    indices : int, sequence of int or boolean mask, optional
        Only these partial derivatives, at the cost of these only; the result has one entry for each.
    batch_axis : {None, 0, -1}
        None: f takes one point. 0: f takes points ``(k, *x.shape)``; -1: ``(*x.shape, k)``; and returns ``(k,)``.
    noise : None or float
        What is known of f's noise. None: it is measured; a number: its standard deviation (0: rounding only), and
        evaluations are saved.
    rtol, atol : float
        Tolerance of method="adaptive".
    dtype : {None, "keep"}
        "keep": f gets float32 (or float16) if x is; by default it gets float64, which costs nothing and is far more
        accurate. The result has x's dtype in either case.
    labels : {None, True, False}
        True: f gets a Series, a DataFrame, a DataArray, a named tuple or another kind of array (``numpy.matrix``) as x
        is, and so is the gradient (unless `indices` choose some). None: the same where f makes something else of an
        array, or cannot do with one, by its own IndexError or AttributeError; else arrays.
    compile : {None, "eager"}
        For functions compiled by numba, which can run several points in one SIMD register, to the same bits: None
        compiles that as soon as the work so far says that it pays (about a second of f), "eager" at once.
    workers : int, concurrent.futures.Executor or map-like callable
        Who evaluates f side by side, to the same bits: so many threads for a compiled f, so many processes for a plain
        one (-1: one a core); an executor (a pool, loky's, mpi4py's), a dask Client, or ``workers(function, iterable)``.
        Processes are forked and take closures as they are; where that is not safe, threads; `explain` says why.
    journal : path, optional
        An SQLite file that keeps every evaluation of a plain f as it arrives. The same call, run again, evaluates only
        what is missing, to the same bits.
    progress : bool or callable
        True: a bar on a terminal. A callable is told: ``progress(done, total)``.
    on_error : {"raise", "nan"}
        "nan": an evaluation of a plain f that raises, takes longer than `timeout`, or ends its process counts as NaN;
        the difference is then one-sided, or with a smaller step. `Info.failures` names the points.
    timeout : float, optional
        Seconds that one evaluation may take, in processes of this machine (`workers` a number): it is stopped then, and
        a TimeoutError, or counts as NaN.
    fastmath : bool
        Allow functions compiled by numba to take exp, log, sin, cos, tanh, pow and their kin from the system's vector
        mathematics library (glibc's libmvec), several points at a time: 3 to 6 times as fast, each within 4 units in
        the last place instead of 1. Lanes are compiled at once then. Where there is no such library, and for other
        backends, it has no effect; `Info.fastmath` and `explain` say what it did.
    remember : bool
        Let this object remember noise and steps from call to call, which saves evaluations where the points are near
        to each other. Its last digits, within the error bars, then depend on the points before.
    effort : {None, "measure"}
        How the way to evaluate a plain f is found: None counts the work of each; "measure" times each way three times,
        in the first calls, and stays with the fastest. The ways differ in the last digits, within the error bars.
    learned : list of dict, optional
        What another gradient of the same f has `learned` with effort="measure": then nothing is timed.

    Raises
    ------
    TypeError, ValueError
        If an option is not valid; the message names it, shows the value and lists what is valid.

    Notes
    -----
    The central difference of order 2 is :math:`(f(x + h e_i) - f(x - h e_i)) / (2 h)`, with the achieved step in the
    divisor. Safe to call from several threads; picklable where f is.

    Owner lanes: where f is compiled by numba and sums terms of a few entries each, a prepared gradient with the default
    options runs f once for each few *colours* of entries that never meet in one term, and carries their differences
    unrounded, from 1000 entries of x on (40 with compile="eager"). Terms may share a few totals: means, norms, products
    of all entries. That costs some ten evaluations of f, however many entries x has, and is right to the last digits;
    two evaluations of f as it is confirm each gradient. The first call compiles it, and decides for it or against it,
    for good, by counting f's terms at a point that follows from the shape of x alone, with the extra arguments of that
    call: where these change which entries meet, so may the decision. What a call gives, and at how many evaluations,
    follows from its arguments and that decision, and from no other call. `numerical_gradient` never does so: its last
    digits are those of plain differences.

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
        learned: Iterable[Mapping[str, Any]] | None = None,
        **options: Unpack[OptionsDict],
    ) -> None:
        self.f = f
        self._options = chosen = Options.of(h, options) if options or h is not None else DEFAULT
        self._stencil, self._name = stencil_and_name(chosen)
        self._call = call_of(f, chosen, self._stencil.imaginary)
        self._measured: dict[tuple[int, ...], Measured] | None = None
        if learned is not None:
            self._measured = recalled(learned)
        elif chosen.effort == "measure":
            self._measured = {}
        if kind_of(self._call.f) != PLAIN or chosen.backend != "auto" or chosen.batch_axis is not None:
            self._measured = None  # there is nothing to choose by time
        self._memory: Any = ()
        self._schemes: dict[tuple[int, ...], Scheme] = {}
        self._quick = Quick(self._call, chosen, self._stencil)

    __signature__ = OfFunction(lambda own: (own.f, own._options.args, own._options.kwargs or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        learned = None if self._measured is None else self.learned
        return _rebuild, (self.f, {**self._options.given(), "learned": learned})

    def __repr__(self) -> str:
        options = "".join(f", {k}={describe(v)}" for k, v in self._options.given().items())
        return f"Gradient({getattr(self.f, '__name__', describe(self.f))}{options})"

    @overload
    def __call__(self, x: ArrayLike, *args: Any, out: NDArray[Any] | None = None, **kwargs: Any) -> NDArray[Any]: ...

    @overload
    def __call__(self, x: dict[Any, Any], *args: Any, **kwargs: Any) -> dict[Any, Any]: ...

    def __call__(self, x: Any, *args: Any, out: NDArray[Any] | None = None, **kwargs: Any) -> Any:
        """Return the gradient at x.

        Parameters
        ----------
        x : array_like or dict of array_like
            The point, of any shape; promoted to float64. Of a dictionary (nested, if need be), f gets one, too, and the
            result has its structure.
        *args
            What f gets after x in this call, instead of the prepared `args`.
        out : ndarray, optional
            Where to put the result, of the result's shape.
        **kwargs
            What f gets by name in this call, instead of the prepared `kwargs`.

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
        if kwargs:
            remade, (f, options) = self.__reduce__()
            return remade(f, {**options, "kwargs": kwargs})(x, *args, out=out)
        quick = self._quick.gradient(x, args or self._call.args, out)
        if quick is not None:
            return quick
        if isinstance(x, dict) and out is None:
            structure, found = self._each(x, args, lambda gradient, leaf: gradient(leaf))
            return structure.filled(found)
        gradient = self._run(x, args, None, False).gradient
        if out is None:
            return gradient
        if not isinstance(out, ndarray) or out.shape != gradient.shape or out.dtype.kind != "f":
            raise ValueError(
                f"`out` must be an array of floats of the result's shape {gradient.shape}, got {describe(out)}"
            )
        out[...] = gradient
        return out

    def _each(
        self, x: dict[Any, Any], args: tuple[Any, ...], one: Callable[[Gradient, Any], Any]
    ) -> tuple[Structure, list[Any]]:
        """Return what is wanted of the gradient with respect to each array of a dictionary, the others constant."""
        structure, given = Structure(x), self._options.given() | ({"args": args} if args else {})
        each = (
            (Gradient(g, **structure.options(given, leaf)), structure.alone(leaf))
            for leaf, g in structure.functions(self.f)
        )
        with exclusively(structure.holders):  # of another thread, too, f reads all of them
            return structure, [one(gradient, leaf) for gradient, leaf in each]

    def _run(self, x: Any, args: tuple[Any, ...], f0: Any, bars: bool) -> Done:
        point = as_point(x)
        shape = point.base.shape
        scheme = self._schemes.get(shape)
        if scheme is None:
            if len(self._schemes) >= MOST_SHAPES:
                self._schemes.clear()
            scheme = self._schemes[shape] = scheme_for(self._options, shape)
        call = self._call.but(args=args) if args else self._call
        if self._measured is not None:
            return self._timed(call, scheme, point, f0, bars)
        if not self._options.remember:
            return run(call, self._options, scheme, point, f0=f0, bars=bars, only=self._quick.owned(shape))
        done = run(call, self._options, scheme, point, f0=f0, bars=bars, memory=self._memory)
        self._memory = done.estimate.memory or ()
        return done

    def _timed(self, call: Call, scheme: Scheme, point: Point, f0: Any, bars: bool) -> Done:
        assert self._measured is not None
        measured = self._measured.setdefault(point.base.shape, Measured())
        plan = measured.next(not self._stencil.imaginary)
        began = perf_counter()
        done = run(call, self._options, scheme, point, f0=f0, bars=bars, only=plan)
        measured.note(plan, done.way, perf_counter() - began, done.reason)
        return done

    @overload
    def value_and_gradient(self, x: ArrayLike, *args: Any) -> tuple[float, NDArray[Any]]: ...

    @overload
    def value_and_gradient(self, x: dict[Any, Any], *args: Any) -> tuple[float, dict[Any, Any]]: ...

    def value_and_gradient(self, x: Any, *args: Any) -> Any:
        """Return f(x) and the gradient there, for one evaluation more at most.

        Examples
        --------
        >>> value, slope = Gradient(lambda x: x @ x).value_and_gradient([3.0, 4.0])
        >>> value
        25.0
        """
        if isinstance(x, dict):
            structure, found = self._each(x, args, lambda gradient, leaf: gradient.value_and_gradient(leaf))
            return found[0][0], structure.filled([gradient for _, gradient in found])
        done = self._run(x, args, None, False)
        return done.evaluation.value(), done.gradient

    @property
    def learned(self) -> list[dict[str, Any]]:
        """What effort="measure" found out about the ways to evaluate f, as plain data: as JSON, for `learned`.

        One entry for each shape of x: the seconds of one gradient by each way, and why a lift was refused.

        Examples
        --------
        >>> import numpy as np
        >>> gradient = Gradient(lambda x: np.sum(x**2), 1e-4, effort="measure")
        >>> for _ in range(10):
        ...     _ = gradient(np.ones(20))
        >>> sorted(gradient.learned[0]["seconds"])
        ['dense lift', 'reference', 'sparse lift']
        """
        return [{"shape": list(shape), **m.facts()} for shape, m in (self._measured or {}).items()]

    @cached_property
    def jitted(self) -> Any:
        """The gradient as a function for compiled code: ``g(x, *args)`` inside your own ``@njit`` functions.

        It gives the bits that the gradient has outside, and raises what f raises. Made at first use, then kept.

        Raises
        ------
        TypeError
            If f is not compiled by numba.
        ValueError
            If an option was given that compiled code cannot honour: all but h, method (one-sided or central), order,
            rel_step, backend and compile.

        Examples
        --------
        >>> import numba
        >>> import numpy as np
        >>> @numba.njit
        ... def bowl(x):
        ...     return np.sum((x - 1.0) ** 2)
        >>> slope = Gradient(bowl).jitted
        >>> @numba.njit
        ... def descend(x, steps):
        ...     for _ in range(steps):
        ...         x = x - 0.25 * slope(x)
        ...     return x
        >>> np.round(descend(np.zeros(2), 50), 6)
        array([1., 1.])
        """
        return jitted(self.f, self._call, self._options, self._stencil, lambda x, args: self(x, *args))

    @overload
    def with_info(self, x: ArrayLike, *args: Any, f0: Any = None) -> tuple[NDArray[Any], Info]: ...

    @overload
    def with_info(self, x: dict[Any, Any], *args: Any, f0: Any = None) -> tuple[dict[Any, Any], dict[Any, Any]]: ...

    def with_info(self, x: Any, *args: Any, f0: Any = None) -> Any:
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
        if isinstance(x, dict):
            structure, found = self._each(x, args, lambda gradient, leaf: gradient.with_info(leaf, f0=f0))
            return structure.filled([made for made, _ in found]), structure.filled([info for _, info in found])
        began = perf_counter()
        done = self._run(x, args, f0, True)
        return done.gradient, _info(done, self._options, self._name, self._stencil.order, perf_counter() - began)

    def map(self, points: ArrayLike, workers: Any = None) -> NDArray[Any]:
        """Return the gradient at each of many points: of shape (k, *x.shape), as `points` are.

        Parameters
        ----------
        points : array_like of shape (k, *x.shape)
            One point a row: of a grid, of a sample. f must use its argument.
        workers
            As for `Gradient`, by default its own: who differentiates side by side. Journal and progress are of whole
            gradients then; with on_error="nan" one that fails is NaN, with a warning.

        Notes
        -----
        A numpy f of less than 100 entries is lifted over all points, as many evaluations as for one of them; the last
        digits may then differ from those of a call for one point, within the error bars.

        Examples
        --------
        >>> x0, x1 = np.meshgrid(np.arange(-2.0, 3.0), np.arange(-2.0, 3.0))
        >>> field = Gradient(lambda x: x[0] ** 2 + x[1] ** 2).map(np.stack([x0.ravel(), x1.ravel()], axis=1))
        >>> np.round(field[:2], 6)
        array([[-4., -4.],
               [-2., -4.]])
        """
        mapped = import_module(".planning.mapping", __package__).mapped
        rows: NDArray[Any] = mapped(self, self._call.f, self._options, points, workers)
        return rows

    def explain(self, x: Any) -> str:
        """Say what would be done at x, and why, in words: the plan that runs, tried on one component."""
        if isinstance(x, dict):
            structure, found = self._each(x, (), lambda gradient, leaf: gradient.explain(leaf))
            return "\n".join(f"{leaf.name}: {told}" for leaf, told in zip(structure.leaves, found, strict=True))
        point = as_point(x)
        shape = point.base.shape
        only: Plan | None
        if self._measured is not None:
            only = self._measured.setdefault(shape, Measured()).next(not self._stencil.imaginary)
        else:
            only = self._quick.owned(shape)
        return explained(self._call, self._options, scheme_for(self._options, shape), point, only)


def _once(f: Any, h: Any, **options: Any) -> Gradient:
    """Prepare a gradient for one call, which is not to wait for owner lanes."""
    gradient = Gradient(f, h, **options)
    gradient._quick.may_own = False
    return gradient


@lru_cache(maxsize=64, typed=True)
def _shared(f: Any, h: Any, **options: Any) -> Gradient:
    """Return the gradient of a compiled f that all one-shot calls share: one look-up instead of a preparation."""
    if not is_jitted(f):
        raise TypeError("not to be kept alive")
    return _once(f, h, **options)


@lru_cache(maxsize=64, typed=True)
def _simple(h: float | None, **options: Any) -> tuple[Options, Scheme]:
    """Return checked options, and the scheme for them at an x of any shape."""
    chosen = Options.of(h, options) if options or h is not None else DEFAULT
    return chosen, scheme_for(chosen, ())


def may_share(options: Mapping[str, Any]) -> bool:
    """Whether one-shot calls with these options may share what is prepared: nothing in them is of one call alone."""
    alone = options.keys().isdisjoint(("kwargs", "journal", "progress", "on_error", "timeout"))
    return alone and isinstance(options.get("workers", 1), int)


def _info(done: Done, options: Options, name: str, order: int, seconds: float) -> Info:
    estimate, shape = done.estimate, done.gradient.shape

    def shaped(values: Any) -> Any:
        return None if values is None else np.asarray(values).reshape((*shape, *np.shape(values)[1:]))

    return Info(
        backend=done.way.backend,
        way=done.evaluation.way or done.way.name,
        reason=done.reason,
        method=name,
        order=order,
        step=shaped(estimate.step),
        nfev=done.nfev,
        seconds=seconds,
        error=shaped(estimate.error),
        reached=shaped(estimate.reached),
        noise=estimate.noise,
        flags=None if estimate.flags is None else np.array(estimate.flags, dtype=object).reshape(shape),
        slopes=shaped(estimate.slopes),
        fastmath=what_fastmath_did(done.evaluation) if options.fastmath else None,
        failures=tuple(getattr(done.evaluation, "failures", ())),
    )


def _rebuild(f: Any, options: dict[str, Any]) -> Gradient:
    return Gradient(f, **options)


@overload
def numerical_gradient(
    f: Any, x: ArrayLike, h: Any = None, *, f0: Any = None, full_output: No = False, **options: Unpack[OptionsDict]
) -> NDArray[Any]: ...


@overload
def numerical_gradient(
    f: Any, x: ArrayLike, h: Any = None, *, f0: Any = None, full_output: Yes, **options: Unpack[OptionsDict]
) -> tuple[NDArray[Any], Info]: ...


@overload
def numerical_gradient(
    f: Any, x: dict[Any, Any], h: Any = None, *, full_output: No = False, **options: Unpack[OptionsDict]
) -> dict[Any, Any]: ...


def numerical_gradient(
    f: Any, x: Any, h: Any = None, *, f0: Any = None, full_output: bool = False, **options: Unpack[OptionsDict]
) -> Any:
    r"""Return the gradient of f at x by finite differences.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    x : array_like or dict of array_like
        The point, of any shape. Not changed, whatever happens; f may read it instead of its argument, as the textbook's
        ``lambda W: net.loss(x, t)`` does. Of a dictionary (nested, if need be), such as a net's parameters, f gets one,
        too, and the results have its structure: one gradient for each array.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step; with ``h=1e-4`` the points are the textbook's.
    f0 : float, optional
        f(x), if it is known: saves its evaluation where one is needed.
    full_output : bool
        Return ``(gradient, info)``.
    **options
        args, kwargs, backend, method, order, rel_step, bounds, indices, batch_axis, noise, rtol, atol, dtype, labels,
        compile, workers, journal, progress, on_error, timeout, fastmath: as for `Gradient`.

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
    differences are in `fastgrad.stencils` (Fornberg 1988, Math. Comp. 51, 699).

    An f that holds the very array that is given as `x` finds the moved entries there, too, as in the textbook's loop:
    at ``data``, the gradient of ``lambda w: w @ data`` is ``2 * data``, and ``data`` at ``data.copy()``.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(numerical_gradient(lambda x: x[0] ** 2 + x[1] ** 2, np.array([3.0, 4.0])), 6)
    array([6., 8.])
    """
    if isinstance(x, dict):
        prepared = _once(f, h, **options)
        return prepared.with_info(x, f0=f0) if full_output else prepared(x)
    plain = type(f) is FunctionType
    if not plain and hasattr(f, "py_func") and f0 is None and not full_output and may_share(options):
        args = options.pop("args", ())
        if type(options.get("indices")) is tuple:
            options["indices"] = list(options["indices"])  # no key: (True, False) equals (1, 0), other components
        try:
            shared = _shared(f, h, **options)
        except TypeError:  # another kind of f; an array among the options, or a wrong one: the general way says so
            options["args"] = args
        else:
            return shared(x, *args) if type(args) is tuple else shared(x, args)
    if (not options or options.keys() <= SIMPLE) and (h is None or type(h) is float) and not full_output:
        try:
            chosen, scheme = _simple(h, **options) if options else _simple(h)
        except TypeError:  # a method without a hash, perhaps: the general way says so
            pass
        else:
            imaginary = scheme.stencil.imaginary
            call = Call(f) if plain and not imaginary else call_of(f, chosen, imaginary)
            point, opened = as_point(x), None
            if f0 is None and not options:
                opened, found = at_once(call, scheme, point)
                if found is not None:
                    return found
            return run(call, chosen, scheme, point, f0=f0, opened=opened).gradient
    chosen = Options.of(h, options)
    if full_output or chosen.effort is not None or chosen.remember:
        prepared = _once(f, h, **options)
        return prepared.with_info(x, f0=f0) if full_output else prepared(x)
    point = as_point(x)
    scheme = scheme_for(chosen, point.base.shape)
    return run(call_of(f, chosen, scheme.stencil.imaginary), chosen, scheme, point, f0=f0).gradient


def value_and_gradient(
    f: Any, x: ArrayLike, h: Any = None, **options: Unpack[OptionsDict]
) -> tuple[float, NDArray[Any]]:
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
    return _once(f, h, **options).value_and_gradient(x)


def explain(f: Any, x: ArrayLike, h: Any = None, **options: Unpack[OptionsDict]) -> str:
    """Say what ``numerical_gradient(f, x, h, **options)`` would do, and why, in words.

    Examples
    --------
    >>> print(explain(lambda x: x @ x, [3.0, 4.0]))
    backend 'python', reference: f is a plain function, and the reference takes any, closures included; one point at a \
time, in Python, on the caller's own array
    not another: x has few entries, or f does little: a lift would cost more than it saves
    central difference of order 2: 5 evaluations of f for 2 partial derivatives or more: the steps choose themselves
    """
    return _once(f, h, **options).explain(x)
