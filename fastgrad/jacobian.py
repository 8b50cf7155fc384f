"""numerical_jacobian, and Jacobian, which binds f once and is called many times."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backends.vectors import Vectors
from .core.errors import describe
from .core.point import Point, as_point
from .core.structure import Structure
from .core.validation import FLOAT64, Floats, index_array, real_array
from .gradient import may_share, numerical_gradient
from .inspecting.kinds import is_jitted
from .planning.mapping import mapped
from .planning.operators import Made, Operator
from .planning.settings import DETECT, JacobianDict, JacobianInfo, Settings
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

    def __call__(self, *arguments: Any) -> Any:
        """Return the Jacobian, for f's own arguments: ``J(x, *args)``, or ``J(t, y)`` with ``argnum=1``; or for x
        alone.

        Returns
        -------
        ndarray of shape ``f(x).shape + x.shape``, or csr_array
        """
        operator = self._operator
        x, args = (arguments[0], operator.args) if len(arguments) == 1 else self._arguments(arguments)
        jacobian = operator.at_once(x, args)
        if jacobian is not None:
            return jacobian
        made, run, point, _ = operator.at(x, args, bars=False)
        return self._shaped(made, run, point)

    def value_and_jacobian(self, *arguments: Any) -> tuple[NDArray[np.float64], Any]:
        """Return f(x) and the Jacobian there.

        Examples
        --------
        >>> value, slope = Jacobian(lambda x: [x[0] * 2, x[1]]).value_and_jacobian([3.0, 4.0])
        >>> value
        array([6., 4.])
        """
        x, args = self._arguments(arguments)
        made, run, point, _ = self._operator.at(x, args, bars=False)
        return run.value().reshape(run.shape), self._shaped(made, run, point)

    def with_info(self, *arguments: Any, f0: Any = None) -> tuple[Any, JacobianInfo]:
        """Return the Jacobian, and how it was made."""
        x, args = self._arguments(arguments)
        made, run, point, began = self._operator.at(x, args, f0)
        settings, shape = self._operator.settings, self._shape(run, point)
        info = JacobianInfo(
            made.way,
            made.reason,
            settings.name,
            settings.stencil.order,
            made.step.reshape(point.base.shape),
            run.nfev,
            perf_counter() - began,
            None if made.error is None else made.error.shaped(shape),
            None if made.noise is None else made.noise.reshape(run.shape),
            made.colors,
            made.failures,
        )
        return self._shaped(made, run, point), info

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

    def _shape(self, run: Vectors, point: Point) -> tuple[int, ...]:
        index = index_array(self._operator.settings.options.indices, point.base.shape)
        return (*run.shape, *(point.base.shape if index is None else index.shape))

    def _shaped(self, made: Made, run: Vectors, point: Point) -> Any:
        result = made.matrix.shaped(self._shape(run, point))
        return result if point.dtype is FLOAT64 else result.astype(point.dtype)

    # ---- products

    def _each(self, structure: Structure, args: tuple[Any, ...]) -> Iterator[tuple[Jacobian, Any]]:
        """Return the Jacobian with respect to each array of a dictionary, the others constant, and that array."""
        operator, settings = self._operator, self._operator.settings
        given = {**settings.options.given(), "args": args or operator.args}
        for leaf, g in structure.functions(operator.placed):
            yield Jacobian(g, **structure.options(given, leaf)), leaf.value

    def jvp(self, x: Any, v: Any, *args: Any) -> NDArray[Any]:
        """Return the Jacobian times a vector of x's shape, from differences along it: of f(x)'s shape.

        Where x is a dictionary of arrays, v is such a one.
        """
        if isinstance(x, dict):
            structure = Structure(x)
            vectors = structure.alike("v", v)
            parts = self._each(structure, args)
            products = [part.jvp(leaf, vector) for (part, leaf), vector in zip(parts, vectors, strict=True)]
            return np.asarray(np.sum(products, axis=0))
        vector = like("v", v, np.shape(x), "x")
        found, run, _ = self._operator.along(x, vector.reshape(-1), args or self._operator.args)
        product: NDArray[Any] = found.jacobian.reshape(run.shape)
        return product

    def vjp(self, x: Any, w: ArrayLike, *args: Any) -> Any:
        """Return a vector of f(x)'s shape times the Jacobian: the gradient of ``sum(w * f(x))``, of x's shape.

        Where x is a dictionary of arrays, so is the result.
        """
        if isinstance(x, dict):
            structure = Structure(x)
            return structure.filled([part.vjp(leaf, w) for part, leaf in self._each(structure, args)])
        operator = self._operator
        call = operator.call(args or operator.args)
        run = operator.opened(call.but(journal=None), as_point(x))  # which is of the sum's values
        weights = like("w", w, run.shape, "f(x)")
        given = {**operator.settings.options.given(), "args": call.args, "kwargs": call.kwargs}
        product: NDArray[Any] = numerical_gradient(weighted(call.f, weights), x, **given)
        return product

    def operator(self, x: ArrayLike, *args: Any) -> Any:
        """Return the Jacobian at x as a SciPy ``LinearOperator``: products by `jvp` and `vjp`, and no matrix."""
        linalg = import_module("scipy.sparse.linalg")
        x = np.array(x, dtype=np.float64)
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
    f: Any,
    x: ArrayLike,
    h: Any = None,
    *,
    f0: Any = None,
    full_output: Literal[False] = False,
    **options: Unpack[JacobianDict],
) -> Any: ...


@overload
def numerical_jacobian(
    f: Any, x: ArrayLike, h: Any = None, *, f0: Any = None, full_output: Literal[True], **options: Unpack[JacobianDict]
) -> tuple[Any, JacobianInfo]: ...


def numerical_jacobian(
    f: Any, x: ArrayLike, h: Any = None, *, f0: Any = None, full_output: bool = False, **options: Unpack[JacobianDict]
) -> Any:
    """Return the Jacobian of f at x by finite differences.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns an array of any shape, a list or a tuple of numbers, or one number.
    x : array_like
        The point, of any shape. Not changed, whatever happens; f may read it instead of its argument.
    h, **options
        As for `Jacobian`: argnum, sparse, sparsity, out, args, kwargs, backend, method, order, rel_step, bounds,
        indices, noise, rtol, atol, workers, journal, progress.
    f0 : array_like, optional
        f(x), if it is known: saves its evaluation.
    full_output : bool
        Return ``(jacobian, info)``.

    Returns
    -------
    jacobian : ndarray or csr_array
        Of shape ``f(x).shape + x.shape``, never squeezed; sparse, of shape ``(f(x).size, x.size)``, with `sparse` or
        `sparsity`.
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
    if full_output or f0 is not None:
        result = jacobian.with_info(x, f0=f0)
        return result if full_output else result[0]
    return jacobian(x)


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
    the entries that are not zero.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian_sparsity(lambda x: x[1:] * x[:-1], np.zeros(4)).nnz
    6
    """
    given: dict[str, Any] = {**options, "sparsity": DETECT}
    return Operator(f, Settings.of(None, given)).detect(x).array()
