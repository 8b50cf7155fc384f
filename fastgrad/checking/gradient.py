"""check_gradient: is an analytic gradient right?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ..backends.table import load
from ..core.call import Call
from ..core.labels import Labels, has_labels
from ..core.options import Options
from ..core.point import Point, as_point, exclusive, exclusively
from ..core.structure import Structure
from ..core.validation import Floats, bounds_arrays, real_array
from ..executors.executor import Executor, Function, Points
from ..planning.run import call_of, run
from ..schemes.table import scheme_for
from .asked import Asked, GradientCheckDict
from .report import GradientCheck, Seen, counted, joined, joined_checks, judged, reasons_of, seen_of

# A bar that is a larger share of the derivative hides an error of one per cent: there a second look follows.
BLURRED = 2e-3
# A directional derivative is a sum: its relative error counts as that of so much of its terms, if they cancel.
CANCELLED = 1e-2
# Where all of x is smaller, f may still be a function of scale 1.
TINY = 2.0**-10
# Of components that move together, the one with the least effect counts at least so much of the one with the largest.
LEAST = 1e-6


def check_gradient(
    f: Any, grad: Callable[..., Any] | ArrayLike | dict[Any, Any], x: Any, **options: Unpack[GradientCheckDict]
) -> GradientCheck:
    r"""Check an analytic gradient against a numerical one that knows its own error.

    Parameters
    ----------
    f : callable
        ``f(x, *args, **kwargs)`` returns one number.
    grad : callable or array_like
        ``grad(x, *args, **kwargs)`` returns an array of x's shape; or that array.
    x : array_like or dict of array_like
        Where; a point without special properties shows the most. As in `numerical_gradient` f may read the caller's
        array instead of its argument. Of a dictionary, f and `grad` get one, and `grad` gives one; the report names
        entries as ``W1[3, 2]``, and `directions` are so many for each array. Of a pandas Series or DataFrame, or an
        xarray DataArray, both get labels where they want them, as in `numerical_gradient`; what `grad` gives may be
        labelled, too, in any order, and the report names entries by their labels.
    rtol, atol : float
        A component is wrong if it differs by more than ``max(rtol * |derivative|, atol)`` and the error bars; each is
        judged on its own scale, however large the others are.
    directions : int, optional
        Compare along so many directions instead of every component: some 15 to 30 evaluations of f for each, whatever
        the size of x. Each direction moves its share of the components, those that contribute as much as each other.
        A wrong component shows unless the others outweigh it by far.
    seed : int
        Of the signs of the directions.
    **options
        args, kwargs, and of the further options of `numerical_gradient` backend, batch_axis, bounds, compile, dtype,
        fastmath, labels, noise, workers, journal, progress, on_error, timeout.

    Returns
    -------
    GradientCheck
        True if the gradient is right, so that ``assert check_gradient(f, grad, x)`` is a test, and its failure shows
        the report: the worst components with both values and the error bar.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or `grad` does not give an array of x's shape.

    Notes
    -----
    The numerical gradient is the default one of `numerical_gradient`, with its error bars. Components whose bar hides
    an error of one per cent, or that contradict the given value, are looked at again by method="adaptive". Where f has
    a kink at x, every slope between the two one-sided ones is right; where `bounds` fix a component, any.

    Examples
    --------
    >>> import numpy as np
    >>> f = lambda x: np.sum(x**3)
    >>> bool(check_gradient(f, lambda x: 3 * x**2, np.array([1.0, 2.0])))
    True
    >>> print(check_gradient(f, lambda x: 3 * x**2 + [0.0, 0.1], np.array([1.0, 2.0])))  # doctest: +ELLIPSIS
    the gradient is wrong
    1 of 2 components wrong, 0 cannot be told; ... evaluations of f
      component 1: given 12.1, numerical 12 ± ... (wrong)
    """
    asked, given_options = Asked.of("check_gradient", options, GradientCheckDict)
    if isinstance(x, dict):
        return _of_arrays(f, grad, x, asked, given_options)
    chosen = Options(**given_options)
    call = call_of(f, chosen, False)
    point, labels, nfev = as_point(x), None, 0
    if chosen.labels or (chosen.labels is None and has_labels(x)):
        labels = Labels(x)
        if not chosen.labels:
            change, nfev = labels.change(call.f, call.args, call.kwargs)
            chosen = replace(chosen, labels=change or None)
        grad = (labels.giving if chosen.labels else labels.where_wanted)(grad) if callable(grad) else grad
    given = point.numbered(grad)(point.base.copy(), *call.args, **call.kwargs) if callable(grad) else grad
    analytic = real_array("grad", given if labels is None else labels.plain("grad", given)).astype(np.float64)
    if analytic.shape != point.base.shape:
        raise ValueError(f"`grad` must give an array of x's shape {point.base.shape}, got shape {analytic.shape}")
    if asked.directions is None:
        seen = _look(call, chosen, point, analytic.reshape(-1), asked)
        allowed = asked.allowed(seen.expected)
        return counted(judged(analytic, seen, allowed, None, GradientCheck, labels=labels and labels.name), nfev)
    if labels is not None:
        call = call.but(f=(labels.giving if chosen.labels else labels.where_wanted)(call.f))
    return counted(_along(call, chosen, point, analytic, asked), nfev)


def _of_arrays(f: Any, grad: Any, x: dict[Any, Any], asked: Asked, options: dict[str, Any]) -> GradientCheck:
    """Check the gradient with respect to each array of a dictionary, the others constant."""
    structure, chosen = Structure(x), Options(**options)
    given = grad(structure.copied(), *chosen.args, **(chosen.kwargs or {})) if callable(grad) else grad
    analytic = structure.alike("grad", given)
    with exclusively(structure.holders):
        checks = [
            check_gradient(g, part, leaf.value, **asdict(asked), **structure.options(options, leaf))
            for (leaf, g), part in zip(structure.functions(f), analytic, strict=True)
        ]
    names = [leaf.name for leaf in structure.leaves]
    along = asked.directions
    return joined_checks(checks, structure.label if along is None else lambda i: f"{i % along} of {names[i // along]}")


def _look(call: Call, options: Options, point: Point, given: Floats, asked: Asked) -> Seen:
    """Differentiate f; again, where a bar is so large that it hides an error, or the given value is beyond it."""
    done = run(call, options, scheme_for(options, point.base.shape), point, bars=True, quiet=True)
    estimate, nfev = done.estimate, done.nfev
    assert estimate.error is not None
    expected, error, reasons = estimate.gradient.copy(), estimate.error.copy(), reasons_of(estimate)
    slopes = np.full((expected.size, 2), np.nan) if estimate.slopes is None else estimate.slopes
    kinks = np.isfinite(slopes).all(axis=1)
    with np.errstate(invalid="ignore"):
        gap = np.abs(given - expected)
        again = (error > BLURRED * np.abs(given)) | (gap > error + asked.allowed(expected))
    again = again & (gap > 0.0) & ~kinks
    if again.any():
        place = np.flatnonzero(again)
        finer = replace(options, method="adaptive", indices=place)
        done = run(call, finer, scheme_for(finer, point.base.shape), point, bars=True, quiet=True)
        nfev += done.nfev
        assert done.estimate.error is not None
        better = done.estimate.error < error[place]
        place = place[better]
        expected[place], error[place] = done.estimate.gradient[better], done.estimate.error[better]
        reasons[place] = reasons_of(done.estimate)[better]
    seen = seen_of(expected, error, reasons, slopes, nfev)
    if (limits := bounds_arrays(options.bounds, point.base)) is not None:
        fixed = limits[0] == limits[1]  # there is nothing to compare with
        seen.low[fixed], seen.high[fixed] = -np.inf, np.inf
    return seen


# ---- along directions ----------------------------------------------------------------------------------------


def _along(call: Call, options: Options, point: Point, given: Floats, asked: Asked) -> GradientCheck:
    """Differentiate f along directions, each of which moves its share of the components."""
    base, flat = point.base.reshape(-1), given.reshape(-1)
    bounds = bounds_arrays(options.bounds, point.base)
    sides, seen, allowed = [], [], []
    tiny = base.size > 0 and 0.0 < float(np.abs(base).max()) < TINY
    nfev = 0
    for way in ways(base, flat, bounds, asked):
        side, look = _slope_along(call, options, point, way, bounds, flat, asked)
        if tiny and way.any() and look.error[0] > BLURRED * abs(side[0]):  # x may be far below the scale of f
            nfev += look.nfev
            way = short(way / np.abs(way).max())
            side, look = _slope_along(call, options, point, way, bounds, flat, asked)
        terms = np.where(way != 0.0, flat * way, 0.0)
        size = max(abs(float(look.expected[0])), CANCELLED * float(np.hypot.reduce(terms, initial=0.0)))
        sides.append(side)
        seen.append(look)
        allowed.append(max(asked.rtol * size, asked.atol * float(np.abs(way).sum())))
    return judged(np.concatenate(sides), joined(seen, nfev), np.array(allowed), asked.directions, GradientCheck)


def ways(x: Floats, given: Floats, bounds: tuple[Floats, Floats] | None, asked: Asked) -> list[Floats]:
    """Return directions: the components in the order of what they contribute, an equal share of them to each."""
    rng = np.random.default_rng(asked.seed)
    scale = scales(x)
    signs = rng.choice([-1.0, 1.0], x.size)
    if bounds is not None:
        down, up = x - bounds[0], bounds[1] - x
        signs = np.where(np.where(signs > 0, up, down) > 0, signs, -signs)
        scale = np.where(np.where(signs > 0, up, down) > 0, scale, 0.0)
    effect = np.where(np.isfinite(given), np.abs(given), 0.0) * scale
    found = []
    for share in np.array_split(np.argsort(-effect, kind="stable"), asked.count):
        # what has a larger effect moves less, so that all of the share count alike; what has none moves as the middle
        top = effect[share].max(initial=0.0)
        counted = np.maximum(effect[share], LEAST * top)
        least = counted.min(where=effect[share] > 0.0, initial=top)
        counted[effect[share] == 0.0] = np.sqrt(least * top)
        way = np.zeros(x.size)
        way[share] = signs[share] * scale[share] * (least / counted if top > 0.0 else 1.0)
        found.append(short(way * rng.uniform(0.5, 1.0, x.size)))
    return found


def scales(x: Floats) -> Floats:
    """Return the scale of each entry: its size, or up to 1 where others are larger."""
    size = np.abs(x)
    largest = float(size.max(initial=0.0))
    return np.maximum(size, min(1.0, largest) if largest else 1.0)


def short(values: Floats) -> Floats:
    """Round to 8 binary digits: x + t * way is then exact where it can be."""
    mantissa, exponent = np.frexp(values)
    rounded: Floats = np.ldexp(np.round(mantissa * 256.0) / 256.0, exponent)
    return rounded


def _slope_along(
    call: Call,
    options: Options,
    point: Point,
    way: Floats,
    bounds: tuple[Floats, Floats] | None,
    given: Floats,
    asked: Asked,
) -> tuple[Floats, Seen]:
    """Return what the given gradient says of f at x + t * way, at t = 0, and what f itself shows."""
    side = np.array([np.where(way != 0.0, given * way, 0.0).sum()])

    def slope(line: Call, limits: Any) -> Seen:
        return _look(
            line, Options(noise=options.noise, bounds=limits), as_point(np.zeros(1)), side, replace(asked, atol=0.0)
        )

    return side, on_line(call, point, way, bounds, slope)


class _Along(Executor):
    """An executor of a function of a distance, by that of many distances: whoever evaluates f there shares them."""

    def __init__(self, of_distances: Callable[[Floats], Floats]) -> None:
        super().__init__("workers share the points")
        self._of_distances = of_distances

    def may_perturb(self, thing: object) -> bool:
        return True

    def evaluate(self, function: Function, points: Points, *_: object) -> Floats:
        return self._of_distances(np.array([points[number] for number in range(len(points))]))


def on_line(
    call: Call,
    point: Point,
    way: Floats,
    bounds: tuple[Floats, Floats] | None,
    look: Callable[[Call, tuple[float, float] | None], Seen],
) -> Seen:
    """Look at f at x + t * way, as a function of t and how far that may go.

    A closure sees these points in the caller's own array.
    """
    plain = load("parallel" if call.shared else "reference")(call, point)
    x, own = point.base.reshape(-1), plain.own

    def of_distances(t: Floats) -> Floats:
        moved = x + t * way
        if bounds is not None:
            moved = np.clip(moved, *bounds)
        values: Floats = plain.line(moved)
        return values

    line = Call(lambda t: of_distances(t[None, :])[0], workers=_Along(of_distances) if call.shared else 1)

    limits = None
    if bounds is not None:
        with np.errstate(all="ignore"):
            room = np.where(way > 0, bounds[1] - x, x - bounds[0]) / np.abs(way)
            back = np.where(way > 0, x - bounds[0], bounds[1] - x) / np.abs(way)
        limits = -float(np.nanmin(back, initial=np.inf)), float(np.nanmin(room, initial=np.inf))
    if own is None:
        return look(line, limits)
    with exclusive(own):
        try:
            return look(line, limits)
        finally:
            own[...] = point.base
