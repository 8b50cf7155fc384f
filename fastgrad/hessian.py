"""numerical_hessian, and Hessian, which binds f once and is called many times."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from math import isqrt
from time import perf_counter
from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backends.table import load
from .backends.vectors import Vectors
from .core.call import Call
from .core.errors import AccuracyWarning, CannotRun, NotTrusted, describe, quietly, warn
from .core.labels import Labels
from .core.options import WATCHING, No, Options, OptionsDict, Variables, Yes
from .core.point import Point, as_point
from .core.signature import OfFunction
from .core.validation import FLOAT64, Floats, Ints, bounds_arrays, function, moving
from .executors.table import reads
from .gradient import Gradient
from .jacobian import like, more_evaluations
from .planning.checked import Checked, tell_of_kinks, unliftable
from .planning.differenced import ByArray, Differenced
from .planning.hessians import bend, by_few, colored, dense, pattern_of, surest, tell, tell_of, verify
from .planning.matrix import Matrix, Watched, symmetric
from .planning.operators import Lacking, Made, Operator, put_back, refuse_unmoved, unreadable
from .planning.settings import JacobianInfo, Settings
from .planning.structured import Structured, in_structure
from .schemes.columns import Found
from .schemes.constants import CERTAIN, NEGLIGIBLE, STILL
from .schemes.outputs import signs
from .schemes.seconds import FAINT, seconds
from .schemes.seeds import units_of
from .sparsity import Pattern, as_pattern, color_symmetric, split

__all__ = ["Hessian", "hessian_sparsity", "numerical_hessian"]


class HessianDict(OptionsDict, total=False):
    """The types of a Hessian's options, for signatures: those of a gradient, and its own."""

    sparse: bool
    sparsity: Any


LIFT, GRADIENTS, SECONDS = "complex lift", "gradients", "second differences"
LACKING = 1e3  # where f contradicts the bars of a pattern's entries so many times, one is not there
LACKS = (
    "`sparsity` lacks an entry: along a random direction the gradient changes by more than the entries account for; "
    "give the whole pattern, or 'detect'"
)
ASYMMETRIC = (
    "derivatives of the gradient's entry i along j and of j along i differ; either the gradient is noisy, or it is not "
    "that of `f`"
)
OTHERWISE = "f's own values along a random direction bend otherwise; either they are noisy, or `grad` is not f's"
FEW_OF_PRODUCT = 6  # with so few entries of x the whole Hessian takes fewer evaluations than nine gradients
FEW_COORDINATES = 30
# of the options of a Hessian, those that its gradients have, too
OF_GRADIENTS = ("kwargs", "backend", "bounds", "noise")


class Hessian:
    r"""The Hessian of a function, prepared once and called many times.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step of the differences of gradients. By default the steps choose themselves.
    grad : callable, optional
        ``grad(x, *args, **kwargs)``, the gradient of f, of x's shape: then it is differenced, once. Some 13 values of
        f along one direction are compared with the result: bars grow where they contradict it. A `fastgrad.Gradient`
        tells its own errors, which bars allow for.
    sparse : bool
        Return a SciPy ``csr_array`` of shape (x.size, x.size).
    sparsity : None, "detect" or matrix
        Where the Hessian can differ from zero; the result is a ``csr_array``. "detect": found by watching f. A wrong
        pattern is noticed, by one random direction.
    **options
        As for `fastgrad.Jacobian`: `args`, `kwargs`, `backend`, `method`, `bounds`, `noise` and others. With
        method="adaptive" gradients and their differences climb ladders of steps: some 200 n evaluations of f an
        entry's row, and errors as of gradients.

    Notes
    -----
    A numpy f is lifted: it is called once, unmodified, at :math:`x + 10^{-100} i v`, with all differences of its
    gradient carried unrounded, and :math:`H v` is the imaginary part of that gradient, times :math:`10^{100}` (the
    complex step of Squire and Trapp 1998, SIAM Review 40, 110). Functions such as ``abs`` and ``max`` are continued
    from the side on which x is. The result is compared with a plain second difference. Where f cannot be lifted, its
    values are differenced twice, at four points for a pair of coordinates and again at twice the steps (some 4 n^2
    evaluations), or where `bounds` leave room on one side only, at six there; or its gradients once, where f is not
    smooth, `h` is given, or where x has more than 30 entries and gradients take few evaluations. Of differences of
    gradients each entry is found twice, as (i, j) and as (j, i): the surer one is taken, and where they contradict each
    other their bars grow, which is told where no digit is left: a noisy gradient shows, and a `grad` that is not one.

    A sparse Hessian takes one product for each colour of a star colouring (Gebremedhin, Tarafdar, Manne and Pothen
    2007, SIAM J. Sci. Comput. 29, 1042).

    Examples
    --------
    >>> import numpy as np
    >>> hessian = Hessian(lambda x: x[0] ** 2 * x[1])
    >>> np.round(hessian(np.array([3.0, 4.0])), 4)
    array([[8., 6.],
           [6., 0.]])
    """

    def __init__(self, f: Any, h: Any = None, *, grad: Any = None, **options: Unpack[HessianDict]) -> None:
        function(f)
        self.f, self._grad = f, grad
        self._settings = Settings.of(h, options, HessianDict)
        sparsity = self._settings.sparsity
        if self._settings.stencil.imaginary and grad is None:
            raise ValueError(
                "`method` 'complex' needs `grad`, a gradient that takes complex x: numerical ones do not; leave it out"
            )
        if self._settings.options.indices is not None:
            raise ValueError("`indices` has no meaning for a Hessian; take rows of the result, or `hvp`")
        if grad is not None:
            function(grad, "grad", "a function of an array that returns the gradient")
        self._given: Pattern | None = None
        if sparsity is not None and not isinstance(sparsity, str):
            self._given = as_pattern(split(sparsity)[0])
            if not self._given.symmetric:
                raise ValueError("`sparsity` of a Hessian must be symmetric, with (j, i) wherever it has (i, j)")
            self._given = self._given.symmetrized()
        self._pattern = self._given
        self._coloring: tuple[Pattern, Ints] | None = None
        # a numerical gradient tells its errors, the caller's, too
        self._numerical = grad is None or isinstance(grad, Gradient)
        self._gradient: Any = grad if self._numerical else None
        self._arrays: Gradient | None = None
        self._spent = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.f, {**self._settings.given(), "grad": self._grad})

    def __repr__(self) -> str:
        return f"Hessian({getattr(self.f, '__name__', describe(self.f))}{self._settings})"

    __signature__ = OfFunction(lambda own: (own.f, own._settings.options.args, own._settings.options.kwargs or {}))

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the Hessian at x: symmetric, of shape ``x.shape + x.shape``, or a ``csr_array``.

        Where x is a dictionary of arrays, it is one of dictionaries: ``H["W"]["b"]`` is of shape
        ``x["W"].shape + x["b"].shape``. What f gets by name takes the place of the prepared `kwargs`.
        """
        if kwargs:
            remade, (f, options) = self.__reduce__()
            return remade(f, {**options, "kwargs": kwargs})(x, *args)
        return self._answered(x, args, False)[0]

    def with_info(self, x: Any, *args: Any) -> tuple[Any, JacobianInfo]:
        """Return the Hessian, and how it was made."""
        return self._answered(x, args, True)

    def _answered(self, x: Any, args: tuple[Any, ...], bars: bool) -> tuple[Any, JacobianInfo]:
        def plain() -> tuple[Any, JacobianInfo]:
            return self._with_info(x, args, bars)

        def structured(labelled: bool) -> tuple[Any, JacobianInfo]:
            form, inner = self._structured(x, labelled, args)
            found, info = inner._with_info(form.point, args, bars)
            if inner._settings.is_sparse:
                return found, info
            error = None if info.error is None else form.matrix(_square(info.error))
            told = {"step": form.of_inputs(info.step.reshape(-1)), "error": error}
            return form.matrix(_square(found)), replace(info, **told)

        given = args or self._settings.options.args
        return in_structure(x, self._settings, plain, structured, self.f, given, more_evaluations)

    def _structured(self, x: Any, labelled: bool, args: tuple[Any, ...]) -> tuple[Structured, Hessian]:
        """Return the Hessian with respect to all entries of a dictionary, or of what has labels."""
        form = Structured(self.f, x, self._settings, labelled)
        inner = Hessian(form.f, grad=form.gradient(self._grad), **form.settings.given())
        inner._arrays, inner._spent = self._by_arrays(form, x, args)
        return form, inner

    def _by_arrays(self, form: Structured, x: Any, args: tuple[Any, ...]) -> tuple[Gradient | None, int]:
        """Return the gradient with respect to each array of a dictionary, where f reads them itself and can be lifted.

        All of it or none: of values some of which are exact, and some not, no one step suits the differences. And the
        evaluations that it took to find out.
        """
        options, settings = self._settings.options, self._settings
        ordinary = settings.automatic and options.bounds is None and options.noise is None and not settings.watched
        if form.labelled or self._grad is not None or not ordinary or options.backend == "python":
            return None, 0
        if not reads(self.f, form.point):
            return None, 0
        gradient = Gradient(self.f, args=options.args, kwargs=options.kwargs, backend="numpy")
        try:
            with quietly():
                done = gradient._each(x, args, lambda one, leaf: one._run(leaf, (), None, False))[1]
        except (TypeError, ValueError):
            return None, 0
        return gradient, sum(one.nfev for one in done)

    def _with_info(self, x: Any, args: tuple[Any, ...], bars: bool) -> tuple[Any, JacobianInfo]:
        began = perf_counter()
        point = as_point(x)
        call = self._call(args, point)
        with put_back(point):
            made, nfev = self._made(x, call, point, bars)
        shape = (*point.base.shape, *point.base.shape)
        error = None if made.error is None else made.error.shaped(shape)
        info = made.info(
            self._settings, nfev + self._spent, began, step=made.step.reshape(point.base.shape), error=error
        )
        result = made.matrix.shaped(shape)
        return (result if point.dtype is FLOAT64 else result.astype(point.dtype)), info

    def explain(self, x: Any, *args: Any) -> str:
        """Say how the Hessian at x is made, and why, in words; it is made for that."""
        return str(self.with_info(x, *args)[1])

    def hvp(self, x: Any, v: Any, *args: Any, full_output: bool = False) -> Any:
        """Return the Hessian at x times a vector of x's shape: ``hessp=`` of ``scipy.optimize.minimize``.

        Where x is a dictionary of arrays, v is such a one, and so is the result. With `full_output`,
        ``(product, info)``, as of `with_info`; error bars of a lifted product take one lift more.
        """

        def plain() -> tuple[Any, JacobianInfo]:
            return self._hvp(x, v, args, full_output)

        def structured(labelled: bool) -> tuple[Any, JacobianInfo]:
            form, inner = self._structured(x, labelled, args)
            vector = form.vector("v", v, form.inputs).reshape(form.point.base.shape)
            product, info = inner._hvp(form.point, vector, args, full_output)
            error = None if info.error is None else form.of_inputs(info.error.reshape(-1))
            return form.of_inputs(product.reshape(-1)), replace(info, error=error)

        given = args or self._settings.options.args
        done = in_structure(x, self._settings, plain, structured, self.f, given, more_evaluations)
        return done if full_output else done[0]

    def _hvp(self, x: Any, v: Any, args: tuple[Any, ...], bars: bool) -> tuple[NDArray[Any], JacobianInfo]:
        began = perf_counter()
        point = as_point(x)
        vector = like("v", v, point.base.shape, "x").reshape(-1)
        call = self._call(args, point)
        with put_back(point):
            made, nfev = self._product(x, vector, call, point, bars)
        shape = point.base.shape
        error = None if made.error is None else made.error.shaped(shape)
        product = made.matrix.shaped(shape)
        info = made.info(self._settings, nfev + self._spent, began, step=made.step, error=error)
        return (product if point.dtype is FLOAT64 else product.astype(point.dtype)), info

    def _product(self, x: Any, vector: Floats, call: Call, point: Point, bars: bool) -> tuple[Made, int]:
        reason = self._refused(call, point)
        if not reason:
            checked = Checked(call, point, self._bounds(point))
            try:
                checked.value()
                products = checked.products()
                product = products.product(vector)
                checked.nfev += 1
                checked.look_at_ties(products.tied, products.product)
                checked.compare(vector, product)
                error = Matrix(checked.bars_along(vector, product)) if bars else None
                return Made(Matrix(product), error, np.array(np.nan), LIFT, "one run of f"), checked.nfev
            except (CannotRun, NotTrusted) as refusal:
                tell_of_kinks(refusal)
                reason = str(refusal)
        if point.base.size <= FEW_OF_PRODUCT and self._before_seconds(x, call, point) is not None:
            with suppress(CannotRun):
                made, nfev = self._by_seconds(call, point, reason, None)
                assert made.error is not None
                error = Matrix(made.error.dot(np.abs(vector)))
                return replace(made, matrix=Matrix(made.matrix.dot(vector)), error=error), nfev
        operator = self._of_gradients(x, call)
        found, run, _ = operator.along(x, vector, call.args)
        product, nfev = found.jacobian.reshape(-1), max(run.nfev, getattr(operator.f, "nfev", 0))
        if vector.any() and not product.any():
            refuse_unmoved(call, point)  # no gradient beside x sees what x itself is held in
        error = None
        if found.error is not None and vector.any():
            error, more = self._bars_along(x, vector, call, point, found, run.value())
            nfev += more
        return Made(Matrix(product), error, np.array(found.step.min(initial=np.inf)), GRADIENTS, reason), nfev

    def _bars_along(
        self, x: Any, vector: Floats, call: Call, point: Point, found: Found, slopes: Floats
    ) -> tuple[Matrix, int]:
        """Widen the bars of a product by errors of gradients and what f's values contradict; warn if no digit is left.

        Nothing is said of bars that are small beside what the slopes would come to if they changed on the scale of x.
        """
        assert found.error is not None
        product, bars, of_slopes, nfev = found.jacobian.reshape(-1), found.error.reshape(-1), np.zeros(1), 0
        if self._numerical:
            with quietly():
                info = self._gradient.with_info(x, *call.args)[1]
            nfev, of_slopes = info.nfev, of_slopes if info.error is None else np.ravel(info.error)
        units = units_of(point.base.reshape(-1))
        with np.errstate(all="ignore"):
            bars = bars + of_slopes / found.step
            doubt = float(np.sqrt(np.sum((bars * vector) ** 2)))
            gap, more = self._gap(call, point, vector, float(product @ vector), doubt)
            reach = float(np.abs(vector / units).max())
            bars = bars + gap / (units * reach)
            sizes, usual = np.abs(product * units), float(np.abs(slopes * units).max()) * reach
            least = np.maximum(sizes, max(NEGLIGIBLE * float(sizes.max()), FAINT * usual))
            count = np.count_nonzero((bars * units > CERTAIN * least) & (usual > 0.0))
        if count:
            why = "f's own values along the vector bend otherwise" if gap else "the gradients that are differenced err"
            warn(
                f"no digit is certain of {count} entries of the product: {why}; see `error` of full_output=True",
                AccuracyWarning,
            )
        return Matrix(bars), nfev + more

    def _gap(self, call: Call, point: Point, vector: Floats, curvature: float, doubt: float) -> tuple[float, int]:
        """Return by how much f's values along a vector contradict v H v and its bar, 0 if not; and the evaluations."""
        bounds = self._bounds(point)
        free = moving(bounds)
        run = self._opened(call.but(journal=None), point)  # which is of what is differenced
        vector = vector if free is None else np.where(free, vector, 0.0)
        if not vector.any():
            return 0.0, 0
        seen = bend(run, point.base.reshape(-1), vector, self._settings.noise, bounds)
        gap = 0.0 if seen is None else abs(seen[0] - curvature)
        return (gap if seen is not None and gap > doubt + seen[1] else 0.0), run.nfev

    def _opened(self, call: Call, point: Point) -> Vectors:
        shared: Vectors = load("parallel vectors")(call, point) if call.shared else Vectors(call, point)
        return shared

    def operator(self, x: ArrayLike, *args: Any) -> Any:
        """Return the Hessian at x as a SciPy ``LinearOperator``: products by `hvp`, and no matrix."""
        linalg = import_module("scipy.sparse.linalg")
        x = as_point(x).base.copy()

        def product(v: Floats) -> NDArray[Any]:
            return self._hvp(x, np.reshape(v, x.shape), args, False)[0].reshape(-1)

        return linalg.LinearOperator((x.size, x.size), matvec=product, rmatvec=product, dtype=np.float64)

    @property
    def sparsity(self) -> Any:
        """The pattern, as a boolean ``csr_array``: as it was given, or what all calls found; None if neither."""
        return None if self._pattern is None else self._pattern.array()

    @property
    def colors(self) -> NDArray[np.intp] | None:
        """The colour of each column of that pattern; None if there is none."""
        return None if self._pattern is None else self._colored(self._pattern)

    # ---- how it is made

    def _call(self, args: tuple[Any, ...], point: Point) -> Call:
        return self._settings.call(self._of(point), args or self._settings.options.args)

    def _of(self, point: Point) -> Any:
        """Return f; where the result is sparse, and so has no labels, with those of x where f wants them."""
        labels = self._settings.is_sparse and self._settings.options.labels is not False
        return Labels.seen(self.f, point.given) if labels else self.f

    def _bounds(self, point: Point) -> tuple[Floats, Floats] | None:
        bounds = self._settings.options.bounds
        return None if bounds is None else bounds_arrays(bounds, point.base)

    def _refused(self, call: Call, point: Point) -> str:
        if self._grad is not None:
            return "`grad` was given"
        if call.shared:
            return "workers share the gradients, or they are watched"
        return unliftable(call.f, call, point, self._settings)

    def _made(self, x: Any, call: Call, point: Point, bars: bool) -> tuple[Made, int]:
        n = point.base.size
        reason, pattern = self._refused(call, point), None
        if self._given is not None:
            pattern = as_pattern(self._given, (n, n))
        if not reason and n:
            bounds = self._bounds(point)
            checked = Checked(call, point, bounds)
            try:
                checked.value()  # f's own errors come from a plain call
                with np.errstate(all="ignore"):  # what is not finite is refused, and differenced instead
                    products = checked.products()
                    if self._settings.is_sparse and self._given is None:
                        pattern = pattern_of(products, n)
                        self._unite(pattern)
                    return self._lifted(checked, products, pattern, bars), checked.nfev
            except (CannotRun, NotTrusted) as refusal:
                tell_of_kinks(refusal)
                reason = str(refusal)
        if self._settings.options.backend == "numpy":
            raise TypeError(f"`backend` 'numpy' does not take this f: {reason}; use 'auto' or 'python'")
        watchable = self._settings.is_sparse and self._given is None and pattern is None and not call.shared
        if watchable and n and self._settings.options.backend != "python" and not unreadable(call.f, call, point):
            with suppress(CannotRun), np.errstate(all="ignore"):
                pattern = pattern_of(Checked(call, point, None).products(), n)
        spent = self._before_seconds(x, call, point)
        if spent is not None:
            with suppress(CannotRun):  # where f is not smooth, gradients find out more
                made, nfev = self._by_seconds(call, point, reason, pattern)
                return made, spent + nfev
        try:
            return self._by_gradients(x, call, point, reason, pattern)
        except Lacking:
            if self._given is not None:
                raise
            return self._by_gradients(x, call, point, reason, None)

    def _colored(self, pattern: Pattern) -> Ints:
        """Return the colours of a pattern; of the last one they are known."""
        if self._coloring is None or not self._coloring[0].same(pattern):
            self._coloring = pattern, color_symmetric(pattern)
        return self._coloring[1]

    def _unite(self, found: Pattern) -> None:
        """Add a pattern that was found to those that `sparsity` shows; no Hessian is made by that."""
        known = self._pattern
        self._pattern = found if known is None or known.shape != found.shape else known.united(found)

    def _lifted(self, checked: Checked, products: Any, pattern: Pattern | None, bars: bool) -> Made:
        direction = checked.direction()
        n = direction.size
        step = np.full(n, np.nan)
        if pattern is None:
            full, runs = by_few(products, n, direction) or (dense(products, n), n)
            checked.nfev += runs
            matrix = symmetric(Matrix(full))
            why, count = "column" if runs == n else "color", None
        else:
            colors = self._colored(pattern)
            matrix = symmetric(Matrix(colored(products, pattern, colors), pattern))
            why, count = "color", int(colors.max()) + 1
            checked.nfev += count + 1
            try:
                verify(products, matrix, direction)
            except CannotRun as lacking:
                if self._given is None:
                    raise
                raise Lacking(LACKS) from lacking
        checked.look_at_ties(products.tied, matrix.dot)
        checked.compare(direction, matrix.dot(direction))
        error = checked.bars(matrix) if bars else None
        return Made(matrix, error, step, LIFT, f"a gradient at a complex point for each {why}", None, count)

    def _before_seconds(self, x: Any, call: Call, point: Point) -> int | None:
        """Evaluations that it took to find out that second differences of f's values are the way; None if they are not.

        Of many entries of x a row takes some 4 n evaluations: gradients may be lifted in place or run compiled.
        """
        settings, own = self._settings, point.own
        simple = self._grad is None and settings.automatic and not settings.adaptive
        doubles = point.dtype is FLOAT64 and (own is None or own.dtype is FLOAT64)
        if not (simple and doubles and point.base.size):
            return None
        if point.base.size <= FEW_COORDINATES:
            return 0
        with quietly():
            info = self._differenced(x).gradient.with_info(x, *call.args)[1]
        return info.nfev if info.backend == "python" else None

    def _by_seconds(self, call: Call, point: Point, reason: str, pattern: Pattern | None) -> tuple[Made, int]:
        n = point.base.size
        run = self._opened(call, point)
        if run.value().size != 1:
            raise CannotRun("f does not return one number")
        rows, columns = np.divmod(np.arange(n * n), n) if pattern is None else (pattern.rows, pattern.indices)
        bounds = self._bounds(point)
        flat = point.base.reshape(-1)
        watched = Watched(run, flat) if pattern is None and self._settings.is_sparse else None
        found = seconds(watched or run, flat, rows, columns, self._settings.noise, bounds)
        if not (found.entries.any() or found.usual):
            if bounds is None:
                raise CannotRun("f does not change")
            refuse_unmoved(call, point)  # or f reads what was not moved
            found = found._replace(usual=STILL * abs(float(run.value()[0])))  # between bounds nothing can tell more
        if self._settings.noise is None:
            tell(found, rows, columns, units_of(point.base.reshape(-1)))
        if pattern is not None and found.contradicted > LACKING:
            if self._given is not None:
                raise Lacking(LACKS)
            return self._by_seconds(call, point, reason, None)
        if pattern is None:
            matrix, error = Matrix(found.entries.reshape(n, n)), Matrix(found.error.reshape(n, n))
            if watched is not None:  # of what f depends on: values cannot tell zero from nothing
                some = watched.changes[0, rows] & watched.changes[0, columns] | (found.entries != 0.0)
                kept = Pattern.of(rows[some], columns[some], (n, n)).symmetrized()
                where = kept.rows * n + kept.indices
                matrix, error = (Matrix(part[where], kept) for part in (found.entries, found.error))
        else:
            matrix, error = (Matrix(part, pattern) for part in (found.entries, found.error))
        failures = tuple(getattr(run, "failures", ()))
        return Made(matrix, error, found.step, SECONDS, reason, failures=failures), run.nfev

    def _of_gradients(self, x: Any, call: Call, pattern: Pattern | None = None) -> Operator:
        """The Jacobian of the gradient."""
        settings = self._settings
        left = ("h", "backend", "noise") if self._grad is not None else ("h", "backend", "noise", "timeout")
        options = {k: v for k, v in settings.options.given().items() if k not in left}
        inner = Settings(
            Options(settings.options.h, **{**options, "args": call.args, "backend": "python"}),
            0,
            settings.is_sparse,
            None if settings.adaptive else pattern,
        )
        operator = Operator(self._grad if self._grad is not None else self._differenced(x), inner)
        operator.what = "Hessian"
        return operator

    def _differenced(self, x: Any) -> Any:
        """The numerical gradient of f, at the caller's own array, which f may read, where that holds the point."""
        point = as_point(x)
        f = self._of(point)
        if self._gradient is None or self._gradient.f is not f:
            given = self._settings.options.given()
            names = (*OF_GRADIENTS, "method", "rtol", "atol") if self._settings.adaptive else OF_GRADIENTS
            taken = {name: given[name] for name in names if name in given}
            if not given.keys().isdisjoint(WATCHING):
                # in a worker it runs serially; at x itself, here, by workers of this machine
                taken = {"backend": "python", **taken, "timeout": given.get("timeout")}
                taken["workers"] = workers if isinstance(workers := given.get("workers", 1), int) else 1
            self._gradient = Gradient(f, **taken)
            if self._arrays is not None:
                self._gradient = ByArray(self._gradient, self._arrays)
        shared = not self._settings.options.given().keys().isdisjoint(WATCHING)
        # else an executor, whose workers do not share the caller's array, would take the gradient for one that reads it
        # and gradients at float32 would be taken where the array rounds to
        asks = shared or (point.own is not None and point.own.dtype is not FLOAT64)
        return Differenced(self._gradient, point, not asks or reads(f, point))

    def _by_gradients(self, x: Any, call: Call, point: Point, reason: str, pattern: Pattern | None) -> tuple[Made, int]:
        operator = self._of_gradients(x, call, pattern)
        made, run, _, _ = operator.at(x, call.args)
        nfev = max(run.nfev, getattr(run, "cost", 0), getattr(operator.f, "nfev", 0))
        if run.shape != point.base.shape:
            raise ValueError(f"`grad` must return an array of x's shape {point.base.shape}, got shape {run.shape}")
        matrix, error = made.matrix, made.error
        if not matrix.entries.any():
            refuse_unmoved(call, point)  # no gradient beside x sees what x itself is held in
        if matrix.pattern is not None and not matrix.pattern.symmetric:
            # an entry that came out as zero
            pattern = matrix.pattern.symmetrized()
            matrix, error = _refilled(matrix, pattern), None if error is None else _refilled(error, pattern)
        if error is not None and self._numerical:
            error, more = self._with_bars_of_gradient(x, call, error, made.step)
            nfev += more
        if error is None:
            matrix = symmetric(matrix)
        else:
            before = matrix, error
            matrix, error, contradicted = surest(matrix, error)
            units = units_of(point.base.reshape(-1))
            usual = float(np.abs(run.value().reshape(-1) * units).max(initial=0.0))
            if contradicted:
                tell_of(before, (matrix, error), units, usual, ASYMMETRIC)
            way = signs(point.base.reshape(-1), units.size) * units
            with np.errstate(all="ignore"):
                doubt = float(np.sqrt(matrix.like(error.entries**2).dot(way**2) @ way**2))
                gap, more = self._gap(call, point, way, float(matrix.dot(way) @ way), doubt)
                wider = error.like(error.entries + gap * error.each(np.multiply, 1.0 / units, 1.0 / units))
            nfev += more
            if gap:
                tell_of((matrix, error), (matrix, wider), units, usual, OTHERWISE)
                error = wider
        return Made(matrix, error, made.step, GRADIENTS, reason, None, made.colors, made.failures), nfev

    def _with_bars_of_gradient(self, x: Any, call: Call, error: Matrix, step: Floats) -> tuple[Matrix, int]:
        """Widen bars by what the errors of two gradients make of a difference: their steps may change between them."""
        with quietly():
            info = self._gradient.with_info(x, *call.args)[1]
        if info.error is None:
            return error, info.nfev
        flat = np.ravel(info.error)
        step = np.where(np.isnan(step), np.inf, step)  # of what does not move
        with np.errstate(all="ignore"):  # a bar may well be infinite
            return error.like(error.entries + error.each(np.divide, flat, step)), info.nfev


def _square(values: Any) -> Matrix:
    """Return a dense Hessian with a row for each entry of x."""
    n = isqrt(values.size)
    return Matrix(values.reshape(n, n))


def _refilled(matrix: Matrix, pattern: Pattern) -> Matrix:
    """Return a sparse matrix with zeros where a larger pattern has entries."""
    assert matrix.pattern is not None
    entries = np.zeros(pattern.size)
    entries[pattern.find(matrix.pattern.rows, matrix.pattern.indices)] = matrix.entries
    return Matrix(entries, pattern)


def _rebuild(f: Any, options: dict[str, Any]) -> Hessian:
    return Hessian(f, **options)


@overload
def numerical_hessian(
    f: Any, x: Variables, h: Any = None, *, grad: Any = None, full_output: No = False, **options: Unpack[HessianDict]
) -> Any: ...


@overload
def numerical_hessian(
    f: Any, x: Variables, h: Any = None, *, grad: Any = None, full_output: Yes, **options: Unpack[HessianDict]
) -> tuple[Any, JacobianInfo]: ...


def numerical_hessian(
    f: Any, x: Variables, h: Any = None, *, grad: Any = None, full_output: bool = False, **options: Unpack[HessianDict]
) -> Any:
    """Return the Hessian of f at x.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    x : array_like or dict of array_like
        The point, of any shape. Not changed, whatever happens. Of a dictionary (nested, if need be), f gets one, too.
    h, grad, **options
        As for `Hessian`: sparse, sparsity, args, kwargs, backend, method, order, rel_step, bounds, labels, noise, rtol,
        atol, workers.
    full_output : bool
        Return ``(hessian, info)``.

    Returns
    -------
    hessian : ndarray or csr_array
        Symmetric, of shape ``x.shape + x.shape``; sparse, of shape ``(x.size, x.size)``, with `sparse` or `sparsity`.
        Of a dictionary, a dictionary of dictionaries: ``hessian["W"]["b"]`` of shape ``x["W"].shape + x["b"].shape``.
        Of a pandas Series that f reads by its labels, or with labels=True, a DataFrame.
    info : JacobianInfo
        How it was made, with error bars; only with `full_output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, f does not return one number, or a given pattern lacks an entry. f's own exceptions
        come through.

    See Also
    --------
    Hessian : prepared once, called many times.

    Notes
    -----
    As for `Hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> np.round(numerical_hessian(lambda x: np.exp(x[0]) * x[1], [0.0, 2.0]), 4)
    array([[2., 1.],
           [1., 0.]])
    >>> hessian = numerical_hessian(lambda p: p["scale"] * np.sum(p["w"] ** 2), {"w": np.ones(3), "scale": 2.0})
    >>> np.round(hessian["w"]["scale"], 6)
    array([2., 2., 2.])
    """
    hessian = Hessian(f, h, grad=grad, **options)
    return hessian.with_info(x) if full_output else hessian(x)


def hessian_sparsity(f: Any, x: ArrayLike, **options: Unpack[OptionsDict]) -> Any:
    """Return where the Hessian of f can differ from zero, as a boolean ``csr_array``; the diagonal is always there.

    Parameters
    ----------
    f, x
        As for `numerical_hessian`.
    **options
        `args` and `kwargs`.

    Raises
    ------
    TypeError
        If f cannot be watched.

    Notes
    -----
    Two coordinates meet where a nonlinear operation of f depends on both. The pattern is that of f's path at x, and may
    have more entries than the Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> hessian_sparsity(lambda x: np.sum(x[1:] * x[:-1]), np.zeros(4)).nnz
    10
    """
    chosen = Options.of(None, options)
    point = as_point(x)
    call = Call(f, chosen.args, chosen.kwargs or {})
    try:
        return pattern_of(Checked(call, point, None).products(), point.base.size).array()
    except CannotRun as refusal:
        raise TypeError(f"`f` cannot be watched: {refusal}") from refusal
