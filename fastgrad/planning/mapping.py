"""Derivatives at many points: f lifted over all of them, shared among workers, or one after another.

The values of f at k points are one function of all their entries, whose Jacobian has k blocks. All points have their
first entry moved together, then their second: n colours, and as many evaluations as for one point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.points import Points
from ..core.call import Call
from ..core.errors import CannotRun, NonFiniteWarning, NotTrusted, warn
from ..core.options import WATCHING, Options
from ..core.validation import Floats, finite, real_array
from ..executors.executor import Failures, Rows
from ..executors.table import executor_for
from ..inspecting.kinds import PLAIN, kind_of
from ..inspecting.purity import known_nature
from ..schemes.columns import by_itself, by_stencil
from ..schemes.seeds import Colors, units_of
from ..schemes.table import ADAPTIVE, rule_for, stencil_and_name
from ..sparsity.patterns import Pattern

FEW = 8  # with fewer points a lift over them gains nothing
MANY = 100  # entries of x: from there on a lift over the steps has enough to do with one point
ENTRIES = 1 << 16  # of all points that are moved together
BLURRED = 1e-6  # a bar that is a larger share of a point's largest derivative is not good enough: that point goes alone
# what the lift over points knows; any other option takes one point at a time
KNOWN = frozenset({"h", "args", "kwargs", "backend", "method", "order", "rel_step", "noise"})

One = Callable[[Floats], NDArray[Any]]


def mapped(one: One, f: object, options: Options, points: object, workers: object) -> NDArray[Any]:
    """Differentiate at each of some points.

    `one`: differentiates at one point.
    `f`: the function, which gets the point first.
    `points`, of shape (k, *x.shape)
    `workers`: as in `Options`; None: those of the options.

    Returns ndarray of shape (k, *shape of what `one` returns).
    """
    given = real_array("points", points)
    if not given.ndim:
        raise ValueError("`points` must be an array of points, one a row; got a single number")
    rows = np.array(given, dtype=np.float64, order="C", subok=False)
    finite("points", rows)
    watching = {name: getattr(options, name) for name in WATCHING}
    if workers is not None:
        watching["workers"] = Options(workers=workers).workers
    if len(rows) and Call(one, **watching).shared:
        return _shared(one, rows, watching)
    if _may_lift(f, options, rows):
        try:
            return _together(one, f, options, rows)
        except (CannotRun, NotTrusted):
            pass
    found = [one(point) for point in rows]
    if not found:
        return np.empty(rows.shape)
    other = next((each for each in found if each.shape != found[0].shape), None)
    if other is not None:
        raise ValueError(
            "`f` must return values of one shape at all `points`: derivatives come out in the shapes "
            f"{found[0].shape} and {other.shape}; call it one by one"
        )
    return np.array(found)


def _shared(one: Any, rows: Floats, watching: dict[str, Any]) -> NDArray[Any]:
    """Let workers differentiate, each at points of its own, by an f that it evaluates alone."""
    rebuild, (f, given) = one.__reduce__()
    kept = {name: value for name, value in given.items() if name not in WATCHING or name == "timeout"}
    one = rebuild(f, kept)
    call = Call(one, **watching | {"timeout": None})
    points = Rows(rows.reshape(len(rows), -1), rows.shape[1:])
    failures: Failures | None = {} if call.on_error == "nan" else None
    found = executor_for(call).evaluate(one, points, None, failures)
    if failures:
        first = min(failures)
        error = failures[first].exception()
        if len(failures) == len(rows):
            raise error
        warn(
            f"the derivative at {len(failures)} of {len(rows)} points is nan: `f` failed, first at "
            f"{points.describe(first)}: {type(error).__name__}: {error}",
            NonFiniteWarning,
        )
    return found


def _may_lift(f: object, options: Options, rows: Floats) -> bool:
    k, n = len(rows), rows[0].size if len(rows) else 0
    if not k >= FEW or not 0 < n < MANY or rows.ndim < 2 or options.given().keys() - KNOWN:
        return False
    if options.backend not in ("auto", "numpy") or kind_of(f) != PLAIN or options.method == ADAPTIVE:
        return False
    if stencil_and_name(options)[0].imaginary:
        return False
    return not known_nature(f, (*options.args, *(options.kwargs or {}).values())).keeps


def _together(one: One, f: Any, options: Options, rows: Floats) -> NDArray[Any]:
    """Differentiate at many points at once; those of which no digit is certain, alone."""
    n = rows[0].size
    count = max(FEW, ENTRIES // n)
    parts = []
    for start in range(0, len(rows), count):
        points = rows[start : start + count]
        run = Points(Call(f, options.args, options.kwargs), points)
        with np.errstate(all="ignore"):
            derivatives, bars = _blocks(run, points, options)
            size = np.abs(derivatives).max(axis=(1, 2), initial=0.0)
            alone = ~(np.nan_to_num(bars, nan=np.inf).max(axis=(1, 2), initial=0.0) <= BLURRED * size)
        result = derivatives.reshape(len(points), *run.shape, *rows.shape[1:])
        for place in np.flatnonzero(alone):
            result[place] = one(points[place])
        parts.append(result)
    return np.concatenate(parts)


def _blocks(run: Points, points: Floats, options: Options) -> tuple[Floats, Floats]:
    """The Jacobian at each point, shape (k, m, n), and its bars: 0 where the steps were given and f is finite."""
    k, x = len(points), points.reshape(-1)
    n = x.size // k
    m = run.value().size // k
    columns = np.repeat(np.arange(x.size).reshape(k, 1, n), m, axis=1).reshape(-1)
    pattern = Pattern((k * m, x.size), np.arange(k * m + 1) * n, columns)
    colors = np.tile(np.arange(n), k)
    stencil, _ = stencil_and_name(options)
    rule = rule_for(options, stencil, points.shape[1:])
    if rule is not None:
        units = np.concatenate([rule.at(point.reshape(-1), None) for point in points])
        found = by_stencil(run, Colors(x, pattern, colors, units), stencil, None, x)
        slopes = found.jacobian.reshape(k, m, n)
        return slopes, np.where(np.isfinite(slopes), 0.0, np.inf)
    own = np.concatenate([units_of(point.reshape(-1)) for point in points])
    relative = units_of(x, relative=True)

    def seeds(units: Floats) -> Colors:
        # a point is not to be moved by the scale of others
        return Colors(x, pattern, colors, relative if np.array_equal(units, relative) else own)

    found = by_itself(run, seeds, None, x, options.noise, stencil)
    assert found.error is not None
    bars = found.error if found.doubtful is None else np.where(found.doubtful, np.inf, found.error)
    return found.jacobian.reshape(k, m, n), bars.reshape(k, m, n)
