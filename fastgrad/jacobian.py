"""numerical_jacobian, and Jacobian, which binds f once and is called many times."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from time import perf_counter
from typing import Any, NamedTuple, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backends.vectors import Several, Vectors
from .core.errors import describe
from .core.options import No, Variables, Yes
from .core.point import Point, as_point
from .core.signature import OfFunction
from .core.validation import FLOAT64, Args, Floats, index_array, real_array
from .gradient import may_share, numerical_gradient
from .inspecting.kinds import is_jitted
from .planning.mapping import mapped
from .planning.matrix import Matrix
from .planning.operators import Made, Operator
from .planning.settings import DETECT, JacobianDict, JacobianInfo, Settings
from .planning.structured import Structured, in_structure
from .sparsity import color_columns

__all__ = ["Jacobian", "jacobian_sparsity", "numerical_jacobian"]


class Jacobian:
    r"""The Jacobian of a function, prepared once and called many times.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns an array of any shape, a list or a tuple of numbers, or one number.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step. By default the steps choose themselves: from the noise of each of f's values, and a second look
        at the columns where another step would do better.
    args, kwargs : tuple, dict
        What f gets besides x; never perturbed.
    backend : {"auto", "python", "numpy"}
        "python": one plain evaluation for each point. "numpy": f is lifted, that is, called once with an array-like
        that tells every nonzero entry at full precision. "auto" lifts from 20 entries of x on, where it can prove that
        safe; and runs the loops around a jitted f in compiled code, to the same bits, once that pays (at once with
        ``compile="eager"``).
        A sparse Jacobian of a jitted f of 1000 entries (40 with "eager") whose values depend on few each is listed by
        f itself, in owner lanes, in a few runs and with no pattern given.
    method : {"central", "forward", "backward", "complex", "adaptive"} or Stencil
        The kind of difference; all but "complex" choose their steps by f's noise, unless `h` is given ("fixed": usual
        steps, without a look at f). "complex" needs an f that is analytic and accepts complex x. "adaptive" climbs a
        ladder of steps for each entry until its error bar meets the tolerance, on points that all values of f share:
        some 20 evaluations a column, and no colours.
    order : int
        Order of accuracy: even for central, 1 and up for one-sided.
    rel_step : float or array_like, optional
        Step relative to \|x\|, as in SciPy's ``approx_derivative``.
    bounds : (lower, upper) or scipy.optimize.Bounds, optional
        f is never evaluated outside.
    indices : int, sequence of int or boolean mask, optional
        Only these columns; the result's last axis has one entry for each.
    labels : {None, True, False}
        True: f gets a Series, a DataFrame or a DataArray as x is, or as x holds; the axes of the result that are of a
        Series have its labels. None: the same where f cannot do with arrays, by its own IndexError or AttributeError.
    noise : float, optional
        Standard deviation of the noise of f's values, where it is known.
    rtol, atol : float
        Tolerance of method="adaptive".
    argnum : int
        The place of x among f's arguments: 1 for ``f(t, y)`` of an ODE, with ``args=(t,)``.
    sparse : bool
        Return a SciPy ``csr_array`` of shape (f(x).size, x.size).
    sparsity : None, "detect", matrix, or (matrix, groups)
        Where the Jacobian can differ from zero; the result is a ``csr_array``. "detect": found by lifting f. A matrix,
        dense or sparse: columns that share no row are differenced together. With groups: as these say, as in SciPy. A
        wrong pattern is noticed, by one random direction.
    out : int or tuple of int, optional
        The shape of what f fills instead of returning it: ``f(x, out)``, as compiled functions do.

    Notes
    -----
    A column is :math:`(f(x + h e_j) - f(x - h e_j)) / (2 h)`, with the achieved step in the divisor. Lifted, f carries
    differences instead of values, so that nothing cancels (Reps and Rall 2003, Higher-Order and Symbolic Computation
    16, 93). Columns of one colour: Curtis, Powell and Reid 1974, IMA J. Appl. Math. 13, 117.

    Calls share nothing that could change a result. A pattern that was not given is that of f's path at x, found anew in
    each call; `sparsity` and `colors` show what all of them found.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian = Jacobian(lambda x: np.array([x[0] * x[1], x[1] ** 2]))
    >>> np.round(jacobian(np.array([3.0, 4.0])), 6)
    array([[4., 3.],
           [0., 8.]])

    For an ODE, ``jac=`` of ``scipy.integrate.solve_ivp``:

    >>> jacobian = Jacobian(lambda t, y: [y[1], -t * y[0]], argnum=1)
    >>> np.round(jacobian(2.0, [1.0, 0.0]), 6)
    array([[ 0.,  1.],
           [-2.,  0.]])
    """

    def __init__(self, f: Any, h: Any = None, **options: Unpack[JacobianDict]) -> None:
        self._operator = Operator(f, Settings.of(h, options))

    __signature__ = OfFunction(lambda own: _called_with(own._operator))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._operator.f, self._operator.settings.given())

    def __repr__(self) -> str:
        f = self._operator.f
        return f"Jacobian({getattr(f, '__name__', describe(f))}{self._operator.settings})"

    def _arguments(self, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Split what f is called with into x and the rest."""
        argnum = self._operator.settings.argnum
        if len(arguments) == 1:
            return arguments[0], self._operator.args
        if len(arguments) <= argnum:
            raise TypeError(
                f"a Jacobian with `argnum={argnum}` is called with f's arguments, x at place {argnum}, or with x "
                f"alone; got {len(arguments)} arguments"
            )
        return arguments[argnum], arguments[:argnum] + arguments[argnum + 1 :]

    def __call__(self, *arguments: Any, **kwargs: Any) -> Any:
        """Return the Jacobian, for f's own arguments: ``J(x, *args)``, or ``J(t, y)`` with ``argnum=1``; or for x
        alone. By name they take the place of the prepared `kwargs`, as ``least_squares(..., kwargs=...)`` gives them.

        Returns
        -------
        ndarray of shape ``f(x).shape + x.shape``, or csr_array; of a dictionary x as for `numerical_jacobian`
        """
        operator = self._operator
        if kwargs:
            return _rebuild(operator.f, {**operator.settings.given(), "kwargs": kwargs})(*arguments)
        x, args = (arguments[0], operator.args) if len(arguments) == 1 else self._arguments(arguments)
        jacobian = None
        if operator.fused is not None:
            jacobian = operator.fused.__call__(x, args)  # 70 ns less than to call the object
        elif not (isinstance(x, dict) or operator.settings.options.labels):
            with suppress(Several):
                jacobian = operator.at_once(x, args)
        if jacobian is not None:
            return jacobian
        return self._found(x, args, bars=False).matrix()

    def value_and_jacobian(self, *arguments: Any) -> tuple[Any, Any]:
        """Return f(x) and the Jacobian there.

        Examples
        --------
        >>> value, slope = Jacobian(lambda x: [x[0] * 2, x[1]]).value_and_jacobian([3.0, 4.0])
        >>> value
        array([6., 4.])
        """
        found = self._found(*self._arguments(arguments), bars=False)
        return found.of_outputs(found.run.value()), found.matrix()

    def with_info(self, *arguments: Any, f0: Any = None) -> tuple[Any, JacobianInfo]:
        """Return the Jacobian, and how it was made."""
        found = self._found(*self._arguments(arguments), f0)
        made = found.made
        info = made.info(
            self._operator.settings,
            found.run.nfev,
            found.began,
            step=found.of_inputs(made.step),
            error=None if made.error is None else found.shaped(made.error),
            noise=None if made.noise is None else found.of_outputs(made.noise),
        )
        return found.matrix(), info

    def map(self, points: ArrayLike, workers: Any = None) -> NDArray[Any]:
        """Return the Jacobian at each of many points: of shape (k, *f(x).shape, *x.shape).

        Parameters
        ----------
        points, workers
            As for `Gradient.map`; f's other arguments are those of `args`.

        Examples
        --------
        >>> jacobian = Jacobian(lambda x: [x[0] * x[1], x[1]])
        >>> np.round(jacobian.map([[1.0, 2.0], [3.0, 4.0]]), 6)
        array([[[2., 1.],
                [0., 1.]],
        <BLANKLINE>
               [[4., 3.],
                [0., 1.]]])
        """
        settings = self._operator.settings
        if settings.is_sparse:
            raise ValueError("`map` stacks dense Jacobians: leave out `sparse` and `sparsity`, or call it one by one")
        return mapped(self, self._operator.placed, settings.options, points, workers)

    def explain(self, *arguments: Any) -> str:
        """Say how the Jacobian at x is made, and why, in words; it is made for that."""
        return str(self.with_info(*arguments)[1])

    def _found(self, x: Any, args: tuple[Any, ...], f0: Any = None, bars: bool = True) -> _Found:
        """Make the Jacobian at x."""
        operator = self._operator

        def plain() -> _Found:
            made, run, point, began = operator.at(x, args, f0, bars)
            chosen, shape = index_array(operator.settings.options.indices, point.base.shape), point.base.shape
            return _Found(made, run, point, began, shape if chosen is None else chosen.shape, None)

        def structured(labelled: bool) -> _Found:
            form = Structured(operator.placed, x, operator.settings, labelled)
            value = form.evaluated(args, f0)
            made, run, point, began = Operator(form.f, form.settings).at(form.point, args, value, bars)
            run.nfev += f0 is None
            return _Found(made, run, point, began, (), form)

        def counted(found: _Found, nfev: int) -> _Found:
            found.run.nfev += nfev
            return found

        return in_structure(x, operator.settings, plain, structured, operator.placed, args, counted)

    # ---- products

    def jvp(self, x: Any, v: Any, *args: Any, full_output: bool = False) -> Any:
        """Return the Jacobian times a vector of x's shape, from differences along it: of f(x)'s shape.

        Where x is a dictionary of arrays, v is such a one; where f(x) is one, or has labels that f asks for in x, so
        does the result. With `full_output`, ``(product, info)``, as of `with_info`; its step is that of t in
        f(x + t v).
        """
        operator, given, began = self._operator, args or self._operator.args, perf_counter()

        def plain() -> tuple[Any, JacobianInfo]:
            vector = like("v", v, np.shape(x), "x")
            found, run, _ = operator.along(x, vector.reshape(-1), given)
            info = operator.told_along(found, run, began, lambda flat: flat.reshape(run.shape))
            return found.jacobian.reshape(run.shape), info

        def structured(labelled: bool) -> tuple[Any, JacobianInfo]:
            form = Structured(operator.placed, x, operator.settings, labelled)
            vector, value = form.vector("v", v, form.inputs), form.evaluated(given)
            inner = Operator(form.f, form.settings)
            found, run, _ = inner.along(form.point, vector, given, value)
            run.nfev += 1
            return form.of_outputs(found.jacobian.reshape(-1)), inner.told_along(found, run, began, form.of_outputs)

        done = in_structure(x, operator.settings, plain, structured, operator.placed, given, more_evaluations)
        return done if full_output else done[0]

    def vjp(self, x: Any, w: Any, *args: Any, full_output: bool = False) -> Any:
        """Return a vector of f(x)'s shape times the Jacobian: the gradient of ``sum(w * f(x))``, of x's shape.

        Where x is a dictionary of arrays, so is the result; where f(x) is one, w is such a one. With `full_output`,
        ``(product, info)``, as of `fastgrad.numerical_gradient`: of a dictionary x one info for each array.
        """
        operator = self._operator
        call = operator.call(args or operator.args)
        options = {**operator.settings.options.given(), "args": call.args, "kwargs": call.kwargs}

        def plain() -> Any:
            run = operator.opened(call.but(journal=None), as_point(x))  # which is of the sum's values
            return weighted(call.f, like("w", w, run.shape, "f(x)"))

        def structured(labelled: bool) -> Any:
            form = Structured(operator.placed, x, operator.settings, labelled)
            value = form.evaluated(call.args)
            weights = form.vector("w", w, form.outputs)
            return weighted(form.outputs.listing(call.f), weights.reshape(np.shape(value)))

        total = in_structure(x, operator.settings, plain, structured, call.f, call.args)
        if not full_output:
            return numerical_gradient(total, x, **options)
        product, info = numerical_gradient(total, x, full_output=True, **options)
        return product, info if isinstance(info, dict) else replace(info, nfev=info.nfev + 1)

    def operator(self, x: ArrayLike, *args: Any) -> Any:
        """Return the Jacobian at x as a SciPy ``LinearOperator``: products by `jvp` and `vjp`, and no matrix."""
        linalg = import_module("scipy.sparse.linalg")
        x = as_point(x).base.copy()
        run = self._operator.opened(self._operator.call(args or self._operator.args), as_point(x))
        return linalg.LinearOperator(
            (run.value().size, x.size),
            matvec=lambda v: self.jvp(x, np.reshape(v, x.shape), *args).ravel(),
            rmatvec=lambda w: self.vjp(x, np.reshape(w, run.shape), *args).ravel(),
            dtype=np.float64,
        )

    @property
    def sparsity(self) -> Any:
        """The pattern, as a boolean ``csr_array``: given, or found and united so far; None if neither."""
        pattern = self._operator.pattern
        return None if pattern is None else pattern.array()

    @property
    def colors(self) -> NDArray[np.intp] | None:
        """The colour of each column of that pattern; None if there is none."""
        operator = self._operator
        if operator.colors is None and operator.pattern is not None:
            operator.colors = color_columns(operator.pattern)
        return operator.colors


def _called_with(operator: Operator) -> tuple[Any, Args, Mapping[str, Any]]:
    settings = operator.settings
    if settings.out is not None or settings.argnum:  # x alone, or more than f shows
        raise AttributeError("__signature__")
    return operator.f, settings.options.args, settings.options.kwargs or {}


class _Found(NamedTuple):
    """A Jacobian at one x, and how the caller sees it."""

    made: Made
    run: Vectors
    point: Point
    began: float
    columns: tuple[int, ...]
    form: Structured | None

    def shaped(self, matrix: Matrix) -> Any:
        """Return a matrix of its shape."""
        if self.form is not None:
            return self.form.matrix(matrix)
        return matrix.shaped((*self.run.shape, *self.columns))

    def matrix(self) -> Any:
        result = self.shaped(self.made.matrix)
        return result if self.form is not None or self.point.dtype is FLOAT64 else result.astype(self.point.dtype)

    def of_inputs(self, flat: Floats) -> Any:
        return flat.reshape(self.point.base.shape) if self.form is None else self.form.of_inputs(flat)

    def of_outputs(self, flat: Floats) -> Any:
        return flat.reshape(self.run.shape) if self.form is None else self.form.of_outputs(flat)


def more_evaluations(found: tuple[Any, JacobianInfo], nfev: int) -> tuple[Any, JacobianInfo]:
    """Return a result and its info, with evaluations of f that it took besides."""
    return (found[0], replace(found[1], nfev=found[1].nfev + nfev)) if nfev else found


def _rebuild(f: Any, options: dict[str, Any]) -> Jacobian:
    return Jacobian(f, **options)


def weighted(f: Any, weights: Floats) -> Any:
    """Return sum(weights * f)."""

    def total(x: Any, *args: Any, **kwargs: Any) -> Any:
        value = f(x, *args, **kwargs)
        if isinstance(value, np.ndarray) or not isinstance(value, (list, tuple)):
            return (weights * value).sum()
        return sum(w * v for w, v in zip(weights, value, strict=True))

    return total


def like(name: str, value: object, shape: tuple[int, ...], what: str) -> Floats:
    """Return a vector of a wanted shape."""
    array = real_array(name, value).astype(np.float64)
    if array.shape != shape:
        raise ValueError(f"`{name}` must have the shape of {what}, {shape}; got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {describe(value)}")
    return array


@overload
def numerical_jacobian(
    f: Any, x: Variables, h: Any = None, *, f0: Any = None, full_output: No = False, **options: Unpack[JacobianDict]
) -> Any: ...


@overload
def numerical_jacobian(
    f: Any, x: Variables, h: Any = None, *, f0: Any = None, full_output: Yes, **options: Unpack[JacobianDict]
) -> tuple[Any, JacobianInfo]: ...


def numerical_jacobian(
    f: Any, x: Variables, h: Any = None, *, f0: Any = None, full_output: bool = False, **options: Unpack[JacobianDict]
) -> Any:
    """Return the Jacobian of f at x by finite differences.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns an array of any shape, a list or a tuple of numbers, or one number.
    x : array_like or dict of array_like
        The point, of any shape. Not changed, whatever happens; f may read it instead of its argument. Of a dictionary
        (nested, if need be), f gets one, too.
    h, **options
        As for `Jacobian`: argnum, sparse, sparsity, out, args, kwargs, backend, method, order, rel_step, bounds,
        indices, labels, noise, rtol, atol, workers, journal, progress.
    f0 : array_like, optional
        f(x), if it is known: saves its evaluation.
    full_output : bool
        Return ``(jacobian, info)``.

    Returns
    -------
    jacobian : ndarray or csr_array
        Of shape ``f(x).shape + x.shape``, never squeezed; sparse, of shape ``(f(x).size, x.size)``, with `sparse` or
        `sparsity`. Of a dictionary, a dictionary: each array in it of shape ``f(x).shape + x["W"].shape``; where f
        returns a dictionary, one of these for each array of f(x). Of a pandas Series that f reads by its labels, or
        with labels=True, a DataFrame.
    info : JacobianInfo
        How it was made, with error bars in the Jacobian's layout; only with `full_output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, a step is lost at x, f does not return numbers, or a given pattern lacks an entry.
        f's own exceptions come through.

    See Also
    --------
    Jacobian : prepared once, called many times.

    Notes
    -----
    As for `Jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(numerical_jacobian(lambda x: [x[0] + x[1], x[0] * x[1]], [3.0, 4.0]), 6)
    array([[1., 1.],
           [4., 3.]])
    >>> jacobian = numerical_jacobian(lambda p: p["W"] @ p["b"], {"W": np.ones((2, 3)), "b": np.arange(3.0)})
    >>> jacobian["W"].shape, jacobian["b"].shape
    ((2, 2, 3), (2, 3))
    >>> jacobian = numerical_jacobian(lambda x: x**2 - np.roll(x, 1), np.arange(30.0), sparsity="detect")
    >>> jacobian.nnz, float(jacobian[2, 1])
    (60, -1.0)
    """
    alone = f0 is not None or full_output or "indices" in options  # (True, False) equals (1, 0), other columns
    if hasattr(f, "py_func") and not alone and may_share(options):
        args, k = options.pop("args", ()), options.get("argnum", 0)
        try:
            shared = _shared(f, h, **options)
        except TypeError:  # another kind of f; an array among the options, or a wrong one: the general way says so
            options["args"] = args
        else:
            args = args if type(args) is tuple else (args,)
            return shared(*args[:k], x, *args[k:]) if args else shared(x)
    jacobian = Jacobian(f, h, **options)
    if full_output:
        return jacobian.with_info(x, f0=f0)
    return jacobian(x) if f0 is None else jacobian._found(x, jacobian._operator.args, f0, bars=False).matrix()


@lru_cache(maxsize=64, typed=True)
def _shared(f: Any, h: Any, **options: Any) -> Jacobian:
    """Return the Jacobian of a compiled f that all one-shot calls share: one look-up instead of a preparation."""
    if not is_jitted(f):
        raise TypeError("not to be kept alive")
    return Jacobian(f, h, **options)


def jacobian_sparsity(f: Any, x: ArrayLike, **options: Unpack[JacobianDict]) -> Any:
    """Return where the Jacobian of f can differ from zero, as a boolean ``csr_array`` of shape (f(x).size, x.size).

    Parameters
    ----------
    f, x
        As for `numerical_jacobian`.
    **options
        `args`, `kwargs`, `argnum` and `bounds`.

    Notes
    -----
    The pattern is that of f's path at x: of another branch nothing is known. Where f cannot be lifted, it is that of
    the values that change as one entry of x moves.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian_sparsity(lambda x: x[1:] * x[:-1], np.zeros(4)).nnz
    6
    """
    given: dict[str, Any] = {**options, "sparsity": DETECT}
    return Operator(f, Settings.of(None, given)).detect(x).array()
