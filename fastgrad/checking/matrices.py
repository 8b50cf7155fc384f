"""check_jacobian and check_hessian: is an analytic matrix of derivatives right, and is its pattern?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from ..backends.vectors import Vectors
from ..core.call import Call
from ..core.errors import quietly
from ..core.options import Options
from ..core.point import Point, as_point
from ..core.validation import Floats, Ints, bounds_arrays, real_array
from ..hessian import Hessian
from ..planning.matrix import Matrix
from ..planning.operators import BAR, Operator, put_back
from ..planning.rows import OnLine, of_rows
from ..planning.run import call_of
from ..planning.settings import Settings
from ..planning.structured import Structured, in_structure
from ..sparsity.patterns import Pattern, as_pattern
from .asked import Asked, HessianCheckDict, JacobianCheckDict
from .gradient import BLURRED, CANCELLED, on_line, scales, short, ways
from .report import HessianCheck, JacobianCheck, Seen, counted, joined, judged, reasons_of, seen_of

# What contradicts the bar of an entry by so much is wrong, and no finer look is needed.
CONCLUSIVE = 1e3
# A bar of such a share of an entry leaves no digit.
NO_DIGIT = 0.5
LEAST = 1e-6  # of two entries of x that move together, the one with less effect counts at least so much of the other


def check_jacobian(f: Any, jac: Any, x: Any, **options: Unpack[JacobianCheckDict]) -> JacobianCheck:
    r"""Check an analytic Jacobian against a numerical one that knows its own error.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns an array of any shape, a list or a tuple of numbers, or one number.
    jac : callable, array_like or sparse matrix
        ``jac(x, *args, **kwargs)``, called as f is, returns an array of shape ``f(x).shape + x.shape``, or a sparse
        matrix of shape ``(f(x).size, x.size)``; or that array or matrix.
    x : array_like or dict of array_like
        Where; a point without special properties shows the most. Of a dictionary f and `jac` get one, and `jac` gives
        one of matrices, as `numerical_jacobian` does; the report names entries as ``(1, W1[3, 2])``. Of a pandas Series
        both get labels where they want them, and what `jac` gives may be labelled, too, in any order.
    rtol, atol : float
        An entry is wrong if it differs by more than ``max(rtol * |derivative|, atol)`` and the error bars; each is
        judged on its own scale.
    directions : int, optional
        Compare along so many directions instead of every entry: 9 evaluations of f for each in the median, whatever
        the size of x, and every value of f is compared. Each direction moves its share of x's entries, those whose
        columns contribute as much as each other.
    seed : int
        Of the signs of the directions.
    argnum, out
        As for `Jacobian`.
    **options
        args, kwargs, backend, bounds, labels, noise, workers, journal, progress, on_error, timeout: as for `Jacobian`.

    Returns
    -------
    JacobianCheck
        True if the Jacobian is right. Of a sparse one it also says which entries are missing from the pattern: those
        that f has by `jacobian_sparsity`, and are 0 at x, make no verdict.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or `jac` does not give an array of that shape.

    Notes
    -----
    The numerical Jacobian is that of `numerical_jacobian`, with its error bars. Entries whose bar hides an error of one
    per cent, or that contradict the given value, are looked at again by method="adaptive".

    Examples
    --------
    >>> import numpy as np
    >>> f = lambda x: np.array([x[0] * x[1], x[1] ** 2])
    >>> jac = lambda x: np.array([[x[1], x[0]], [0.0, 2 * x[1]]])
    >>> bool(check_jacobian(f, jac, [3.0, 4.0]))
    True
    >>> print(check_jacobian(f, lambda x: jac(x) + [[0, 0], [0, 0.1]], [3.0, 4.0]))  # doctest: +ELLIPSIS
    the Jacobian is wrong
    1 of 4 entries wrong, 0 cannot be told; ... evaluations of f
      entry (1, 1): given 8.1, numerical 8 ± ... (wrong)
    """
    asked, told = Asked.of("check_jacobian", options, JacobianCheckDict)
    argnum, out = told.pop("argnum", 0), told.pop("out", None)
    settings = Settings(Options(**told), argnum, out=out)
    before, after, kwargs = settings.arguments()

    def plain() -> JacobianCheck:
        point = as_point(x)
        given = jac(*before, point.base.copy(), *after, **kwargs) if callable(jac) else jac
        with quietly():
            if asked.directions is not None:
                return _along(Operator(f, settings), point, x, given, asked)
            return _by_entry(f, given, x, settings, asked)

    def structured(labelled: bool) -> JacobianCheck:
        form = Structured(Operator(f, settings).placed, x, settings, labelled)
        form.evaluated(settings.options.args)
        given = form.given("jac", jac(*before, form.at(), *after, **kwargs) if callable(jac) else jac)
        check = check_jacobian(form.f, given, form.point, **asdict(asked), **form.settings.options.given())
        return check if hasattr(given, "tocoo") or asked.directions else replace(check, labels=form.entry)

    return in_structure(x, settings, plain, structured, Operator(f, settings).placed, settings.options.args, counted)


def check_hessian(f: Any, hess: Any, x: Any, **options: Unpack[HessianCheckDict]) -> JacobianCheck:
    r"""Check an analytic Hessian against a numerical one that knows its own error.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    hess : callable, array_like or sparse matrix
        ``hess(x, *args, **kwargs)`` returns an array of shape ``x.shape + x.shape``, or a sparse matrix of shape
        ``(x.size, x.size)``; or that array or matrix.
    x, rtol, atol, seed
        As for `check_jacobian`.
    directions : int, optional
        Compare :math:`v^T H v` along so many random directions instead of every entry: some 100 evaluations of f for
        each, whatever the size of x. All entries move, so that a wrong one shows unless the others outweigh it by far.
    grad : callable, optional
        ``grad(x, *args, **kwargs)``, the gradient of f, if there is one that is right: it is differenced, once.
    **options
        args, kwargs, backend, bounds, labels, noise, workers, journal, progress, on_error, timeout: as for `Hessian`.

    Returns
    -------
    JacobianCheck
        True if the Hessian is right; as for `check_jacobian`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or `hess` does not give an array of that shape.

    Examples
    --------
    >>> import numpy as np
    >>> f = lambda x: x[0] ** 2 * x[1]
    >>> hess = lambda x: np.array([[2 * x[1], 2 * x[0]], [2 * x[0], 0.0]])
    >>> bool(check_hessian(f, hess, [3.0, 4.0])), bool(check_hessian(f, lambda x: 1.01 * hess(x), [3.0, 4.0]))
    (True, False)
    """
    asked, told = Asked.of("check_hessian", options, HessianCheckDict)
    grad = told.pop("grad", None)
    settings = Settings(Options(**told))
    args, kwargs = settings.options.args, settings.options.kwargs or {}

    def plain() -> JacobianCheck:
        point = as_point(x)
        given = hess(point.base.copy(), *args, **kwargs) if callable(hess) else hess
        with quietly():
            if asked.directions is not None:
                return _curvatures(f, settings.options, point, given, asked)
            return _by_entry_of_hessian(f, given, x, grad, told, asked)

    def structured(labelled: bool) -> JacobianCheck:
        form = Structured(f, x, settings, labelled)
        given = form.given("hess", hess(form.at(), *args, **kwargs) if callable(hess) else hess)
        inner = form.gradient(grad)
        check = check_hessian(form.f, given, form.point, grad=inner, **asdict(asked), **form.settings.options.given())
        return check if hasattr(given, "tocoo") or asked.directions else replace(check, labels=form.entry)

    return in_structure(x, settings, plain, structured, f, settings.options.args, counted)


# ---- entry by entry ------------------------------------------------------------------------------------------


def _by_entry(f: Any, given: Any, x: Any, settings: Settings, asked: Asked) -> JacobianCheck:
    """Compare every entry of a Jacobian."""
    if hasattr(given, "tocoo"):
        settings = replace(settings, sparse=True)
    chosen = settings.options
    made, run, point, _ = Operator(f, settings).at(x, chosen.args)
    shape = (*run.shape, *point.base.shape)
    both = _both("jac", given, made.matrix, made.error, shape, point.base.size)
    bounds = bounds_arrays(chosen.bounds, point.base)

    def again(rows: Ints, columns: Ints) -> _Look:
        with put_back(point):
            return _looked(run, point, rows, columns, bounds, chosen)

    seen = both.seen(again, asked)._replace(nfev=run.nfev)
    if bounds is not None:
        fixed = (bounds[0] == bounds[1])[both.columns]  # there is nothing to compare with
        seen.low[fixed], seen.high[fixed], seen.reasons[fixed] = -np.inf, np.inf, ""
    return both.judged(seen, asked, shape, JacobianCheck)


def _by_entry_of_hessian(f: Any, given: Any, x: Any, grad: Any, options: dict[str, Any], asked: Asked) -> JacobianCheck:
    """Compare every entry of a Hessian."""
    options = {**options, "labels": False}
    found, info = Hessian(f, grad=grad, sparse=hasattr(given, "tocoo"), **options).with_info(x)
    shape, n = info.step.shape * 2, info.step.size
    both, nfev = _both("hess", given, _matrix(found), _matrix(info.error), shape, n), info.nfev

    def again(rows: Ints, columns: Ints) -> _Look:
        nonlocal nfev
        # without a journal, which is of other gradients
        finer = {**options, "method": "adaptive", "backend": "python", "journal": None}
        better, told = Hessian(f, grad=grad, **finer).with_info(x)
        nfev += told.nfev
        look = _Look.nothing(rows.size)
        look.expected[:] = better.reshape(n, n)[rows, columns]
        look.error[:] = told.error.reshape(n, n)[rows, columns]
        return look

    seen = both.seen(again, asked)._replace(nfev=nfev)
    return both.judged(seen, asked, shape, HessianCheck)


class _Look(NamedTuple):
    """Some entries, looked at again."""

    expected: Floats
    error: Floats
    reasons: NDArray[np.str_]
    slopes: Floats

    @classmethod
    def nothing(cls, count: int) -> _Look:
        return cls(
            np.full(count, np.nan),
            np.full(count, np.inf),
            np.full(count, "", dtype="<U200"),
            np.full((count, 2), np.nan),
        )


class _Both(NamedTuple):
    """The entries that the given or the numerical matrix has; all lists."""

    rows: Ints
    columns: Ints
    given: Floats
    expected: Floats
    error: Floats
    missing: Ints | None

    def seen(self, again: Callable[[Ints, Ints], _Look], asked: Asked) -> Seen:
        """Judge the numerical entries, and look again at those that hide an error or contradict the given ones."""
        expected, error = self.expected.copy(), self.error.copy()
        reasons = np.where(np.isfinite(expected), "", "f is not finite beside x").astype("<U200")
        slopes = np.full((expected.size, 2), np.nan)
        with np.errstate(all="ignore"):
            gap = np.abs(self.given - expected)
            beyond = gap > error + asked.allowed(expected)
            doubtful = (error > BLURRED * np.abs(self.given)) | beyond | np.isnan(gap)
            place = np.flatnonzero(doubtful & (gap != 0.0) & ~(gap > CONCLUSIVE * error))
            if place.size:
                look = again(self.rows[place], self.columns[place])
                kinks = np.isfinite(look.slopes).all(axis=1)
                slopes[place] = look.slopes
                better = (look.error < error[place]) | ~(error[place] <= NO_DIGIT * np.abs(expected[place]))
                reasons[place[better]] = look.reasons[better]
                better &= np.isfinite(look.expected) & ~kinks
                expected[place[better]], error[place[better]] = look.expected[better], look.error[better]
        return seen_of(expected, error, reasons, slopes, 0)

    def judged(self, seen: Seen, asked: Asked, shape: tuple[int, ...], kind: type[JacobianCheck]) -> JacobianCheck:
        allowed = asked.allowed(seen.expected)
        if self.missing is None:
            return judged(self.given.reshape(shape), seen, allowed, None, kind)
        entries = np.stack([self.rows, self.columns], axis=1)
        return judged(self.given, seen, allowed, None, kind, entries=entries, missing=self.missing)


def _matrix(values: Any) -> Matrix:
    """Return what a caller sees of a matrix as rows and columns."""
    if hasattr(values, "tocoo"):
        return Matrix(values.data, as_pattern(values))
    return Matrix(np.asarray(values))


def _both(name: str, given: Any, found: Matrix, error: Matrix | None, shape: tuple[int, ...], n: int) -> _Both:
    """Lay a given matrix and a numerical one, of n columns, beside each other.

    TypeError or ValueError if the given one does not hold numbers, or is of another shape.
    """
    assert error is not None
    if found.pattern is None:
        analytic = _of_shape(name, given, shape)
        rows, columns = np.divmod(np.arange(analytic.size), max(n, 1))
        return _Both(rows, columns, analytic.reshape(-1), found.entries.reshape(-1), error.entries.reshape(-1), None)
    rows, columns, data = _listed(name, given, found.pattern.shape)
    theirs, ours = Pattern.of(rows, columns, found.pattern.shape), found.pattern
    union = ours.united(theirs)
    values, expected, doubt = np.zeros(union.size), np.zeros(union.size), np.zeros(union.size)
    np.add.at(values, union.find(rows, columns), data)
    largest = np.zeros(union.shape[0])
    np.fmax.at(largest, ours.rows, np.abs(found.entries))
    doubt[:] = BAR * largest[union.rows]  # of what f does not have
    mine = union.find(ours.rows, ours.indices)
    expected[mine], doubt[mine] = found.entries, error.entries
    lacking = np.ones(union.size, dtype=bool)
    lacking[union.find(theirs.rows, theirs.indices)] = False
    missing = np.stack([union.rows[lacking], union.indices[lacking]], axis=1)
    return _Both(union.rows, union.indices, values, expected, doubt, missing)


def _of_shape(name: str, given: Any, shape: tuple[int, ...]) -> Floats:
    array = real_array(name, given).astype(np.float64)
    if array.shape != shape:
        raise ValueError(f"`{name}` must give an array of shape {shape}, got shape {array.shape}")
    return array


def _listed(name: str, given: Any, shape: tuple[int, int]) -> tuple[Ints, Ints, Floats]:
    """List the stored entries of a sparse matrix."""
    if given.shape != shape:
        raise ValueError(f"`{name}` must give a sparse matrix of shape {shape}, got shape {given.shape}")
    listed = given.tocoo()
    data = real_array(name, listed.data).astype(np.float64)
    return listed.row.astype(np.intp), listed.col.astype(np.intp), data


# ---- along directions ----------------------------------------------------------------------------------------


def _along(operator: Operator, point: Point, x: Any, given: Any, asked: Asked) -> JacobianCheck:
    """Compare the products with some directions, value by value of f."""
    options, flat = operator.settings.options, point.base.reshape(-1)
    bounds = bounds_arrays(options.bounds, point.base)
    run = operator.opened(operator.call(options.args), point)
    value = run.value()
    rows, columns, data = _entries("jac", given, (*run.shape, *point.base.shape), (value.size, flat.size))
    with np.errstate(all="ignore"):
        largest = np.zeros(value.size)
        np.fmax.at(largest, rows, np.abs(data))
        effect = np.zeros(flat.size)
        np.fmax.at(effect, columns, np.abs(data) / np.where(largest > 0.0, largest, 1.0)[rows])
    sides, looks, allowed, nfev = [], [], [], run.nfev
    for way in ways(flat, effect, bounds, asked):
        found, line, _ = operator.along(x, way, options.args, f0=run.value().reshape(run.shape))
        assert found.error is not None
        moved = np.where(way[columns] != 0.0, data * way[columns], 0.0)
        side: Floats = np.bincount(rows, moved, value.size).astype(np.float64)
        norms = np.sqrt(np.bincount(rows, moved**2, value.size))
        expected, bars = found.jacobian.reshape(-1), found.error.reshape(-1)
        both = _Both(np.arange(value.size), np.zeros(value.size, dtype=np.intp), side, expected, bars, None)

        def again(rows: Ints, columns: Ints, run: Vectors = line, way: Floats = way) -> _Look:
            beside = OnLine(run, flat, way, bounds)
            with put_back(point):
                return _looked(beside, beside.origin, rows, columns, beside.room(), options, beside.length)

        seen = both.seen(again, asked)
        size = np.maximum(np.abs(seen.expected), CANCELLED * norms)
        sides.append(side)
        looks.append(seen)
        allowed.append(np.maximum(asked.rtol * size, asked.atol * float(np.abs(way).sum())))
        nfev += line.nfev
    return judged(np.array(sides), joined(looks, nfev), np.concatenate(allowed), asked.directions, JacobianCheck)


def _looked(
    run: Any, point: Point, rows: Ints, columns: Ints, bounds: Any, options: Options, length: float = 1.0
) -> _Look:
    """Look at some entries again, by ladders of steps."""
    look = _Look.nothing(rows.size)
    wanted = {int(row): columns[rows == row] for row in np.unique(rows)}
    for row, found in of_rows(run, point, wanted, bounds, options):
        assert found.error is not None
        mine = rows == row
        look.expected[mine], look.error[mine] = found.gradient * length, found.error * length
        look.reasons[mine] = reasons_of(found)
        if found.slopes is not None:
            look.slopes[mine] = found.slopes * length
    return look


def _entries(name: str, given: Any, shape: tuple[int, ...], sides: tuple[int, int]) -> tuple[Ints, Ints, Floats]:
    if hasattr(given, "tocoo"):
        return _listed(name, given, sides)
    array = _of_shape(name, given, shape).reshape(-1)
    rows, columns = np.divmod(np.arange(array.size), max(sides[1], 1))
    return rows, columns, array


def _curvatures(f: Any, options: Options, point: Point, given: Any, asked: Asked) -> JacobianCheck:
    """Compare the curvatures of f along some directions."""
    flat = point.base.reshape(-1)
    bounds = bounds_arrays(options.bounds, point.base)
    rows, columns, data = _entries("hess", given, (*point.base.shape,) * 2, (flat.size,) * 2)
    scale = scales(flat)
    with np.errstate(all="ignore"):
        effect = np.zeros(flat.size)
        np.fmax.at(effect, rows, np.abs(data) * scale[rows] * scale[columns])
        effect = np.sqrt(np.maximum(effect, LEAST * effect.max(initial=0.0)))
        least = effect.min(initial=np.inf)
        reach = scale * (least / effect if 0.0 < least < np.inf else 1.0)
    if bounds is not None:
        room = np.minimum(flat - bounds[0], bounds[1] - flat)
        reach = np.where(room > 0.0, reach, 0.0)
    rng = np.random.default_rng(asked.seed)
    sides, looks, allowed = [], [], []
    for _ in range(asked.count):
        way = short(reach * rng.choice([-1.0, 1.0], flat.size) * rng.uniform(0.5, 1.0, flat.size))
        terms = way[rows] * data * way[columns]
        # one triangle counts more than the other: else nothing would tell of a matrix that is not symmetric
        weighted = terms * (1.0 + 0.5 * np.sign(rows - columns))
        side = np.array([np.where((way[rows] != 0.0) & (way[columns] != 0.0), weighted, 0.0).sum()])

        def curvature(line: Call, limits: Any, side: Floats = side) -> Seen:
            told = {"bounds": limits, "noise": options.noise, "backend": "python", "workers": line.workers}
            found, info = Hessian(line.f, **told).with_info(np.zeros(1))
            zero, nfev = np.zeros(1, dtype=np.intp), info.nfev

            def again(rows: Ints, columns: Ints) -> _Look:
                nonlocal nfev
                better, more = Hessian(line.f, method="adaptive", **told).with_info(np.zeros(1))
                nfev += more.nfev
                return _Look.nothing(1)._replace(expected=better.reshape(1), error=more.error.reshape(1))

            both = _Both(zero, zero, side, found.reshape(1), info.error.reshape(1), None)
            return both.seen(again, asked)._replace(nfev=nfev)

        seen = on_line(call_of(f, options, False), point, way, bounds, curvature)
        size = max(abs(float(seen.expected[0])), CANCELLED * float(np.sqrt(np.nansum(terms**2))))
        sides.append(side)
        looks.append(seen)
        allowed.append(np.array([max(asked.rtol * size, asked.atol * float(np.abs(way).sum()) ** 2)]))
    return judged(np.concatenate(sides), joined(looks, 0), np.concatenate(allowed), asked.directions, HessianCheck)
