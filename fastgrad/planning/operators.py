"""How a Jacobian is made: from options and what f is to one way, and running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, prod
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.judged import JudgedVectors
from ..backends.table import load
from ..backends.vectors import Vectors
from ..core.call import Call
from ..core.errors import AccuracyWarning, CannotRun, NonFiniteWarning, NotTrusted, describe, warn
from ..core.labels import Labels, has_labels
from ..core.point import Point, as_point, exclusive
from ..core.validation import (
    FLOAT64,
    Args,
    Bounds,
    Floats,
    Ints,
    bounds_arrays,
    coordinate,
    everything,
    function,
    index_array,
    moving,
)
from ..inspecting.captures import holds
from ..inspecting.kinds import is_jitted
from ..inspecting.purity import known_nature
from ..schemes.columns import Explorer, Found, Values, by_itself, by_stencil, sharper
from ..schemes.constants import CERTAIN, EPS, TINY
from ..schemes.differencing import refuse_lost_steps
from ..schemes.outputs import small_and_dim
from ..schemes.rounding import of_rounding
from ..schemes.seeds import Along, Colors, Columns, Seeds, length_of, units_of
from ..schemes.stencils import central
from ..schemes.trust import check_analytic, refuse_unseen
from ..schemes.unrounded import BENT
from ..sparsity import Pattern, as_pattern, color_columns, split
from ..sparsity.patterns import as_groups
from .matrix import Layout, Matrix, Watched, as_sparse, disagrees
from .rows import OnLine, climbed
from .settings import JacobianInfo, Settings

LIFT_FROM = 20  # entries of x: with fewer, plain evaluations are faster than the lift's 0.7 ms
FEW = 100  # numbers that Python adds up faster than numpy
SPARSE_LIFT, OWNERS, COLORS, COLUMNS = "sparse lift", "owner lanes", "colored columns", "columns"
ALONG = "one direction"
AT_BOUNDS = 2.0**-10  # of max(1, |x|): a bound that is as near limits a step
BAR = 8.0 * EPS  # of the largest entry of a row: the error of what carries no round-off


STEP = 2.0**-80  # in scales of x, of differences that carry no round-off

_NO_STEPS = np.empty(0)


def unrounded(units: Floats) -> Floats:
    """Return steps, given the scales of x, for differences that carry no round-off."""
    with np.errstate(under="ignore"):
        return units * STEP


@dataclass
class Made:
    """A Jacobian, and what is known of it."""

    matrix: Matrix
    error: Matrix | None
    step: Floats
    way: str
    reason: str
    noise: Floats | None = None
    colors: int | None = None
    failures: tuple[str, ...] = ()

    def info(self, settings: Settings, nfev: int, began: float, **shaped: object) -> JacobianInfo:
        """Return what is told of it; `shaped`: step, error and noise as the caller sees them."""
        return JacobianInfo(
            way=self.way,
            reason=self.reason,
            method=settings.name,
            order=settings.stencil.order,
            nfev=nfev,
            seconds=perf_counter() - began,
            colors=self.colors,
            failures=self.failures,
            **shaped,
        )


class Lacking(ValueError):
    """A pattern lacks an entry."""


class _Rounded(CannotRun):
    """A lift that tells where the entries are, and not their values."""

    def __init__(self, reason: str, pattern: Pattern) -> None:
        super().__init__(reason)
        self.pattern = pattern


@dataclass
class Around:
    """f around one x, and what is asked for there."""

    run: Vectors
    call: Call
    point: Point
    bounds: Bounds | None = None
    bars: bool = True

    @cached_property
    def x(self) -> Floats:
        """The point, flat."""
        return self.point.base.reshape(-1)

    def notice(self, matrix: Matrix, found: Found) -> None:
        """Compare a Jacobian of a given pattern with f along one direction: an entry that it lacks would show.

        Lacking if one does.
        """
        if not np.isfinite(found.jacobian).all():
            return
        wrong = disagrees(self.run, self.x, units_of(self.x), matrix, self.bounds, found)
        if wrong is None:
            return
        shape = self.run.shape
        where = coordinate(tuple(int(i) for i in np.unravel_index(wrong, shape))) if shape else "()"
        raise Lacking(
            f"`sparsity` lacks an entry: along a random direction f({where}) changes by more than the entries of its "
            "row account for; give the whole pattern, or 'detect'"
        )


class Operator:
    """What is prepared for the Jacobians of one f: nothing of it can change a result."""

    what = "Jacobian"  # what its Jacobian is to the caller

    def __init__(self, f: Any, settings: Settings) -> None:
        function(f, what="a function of an array that returns an array, a list, a tuple or a number")
        self.settings = settings
        self.args: Args = settings.options.args
        self.kwargs: Mapping[str, Any] = settings.options.kwargs or {}
        self.f = f
        self.placed = _placed(f, settings.argnum, settings.out)
        self.pattern: Pattern | None = None  # of the Jacobian: as it was given, or as far as it is known
        self.colors: Ints | None = None  # of the columns of that pattern, once they were needed
        self.groups: Any = None
        self._layout: Layout | None = None
        self._listed: Any = None
        self._compiled = self._many_values()
        # what returns the Jacobian at x in compiled code, or None where the general way is to decide
        self.fused: Any = None
        self._may_fuse = self._compiled is not None
        self._simple = settings.simple and not is_jitted(f)
        self._call: Call | None = None
        self._structure, self._groups = (None, None)
        if settings.sparsity is not None and not isinstance(settings.sparsity, str):
            self._structure, self._groups = split(settings.sparsity)
            self.pattern = as_pattern(self._structure)

    def call(self, args: Args) -> Call:
        return self.settings.call(self.placed, args)

    def _many_values(self) -> Any:
        """Return f behind compiled loops; None where it is not compiled, or who calls it, and how, was given."""
        options = self.settings.options
        if not is_jitted(self.f) or options.backend == "python" or options.kwargs or self.settings.watched:
            return None
        try:
            return load("many values").of(self.f, self.settings.argnum, self.settings.out)
        except CannotRun:
            return None

    def opened(self, call: Call, point: Point) -> Vectors:
        """Open the plain evaluation of f: by workers where there are some, by a compiled loop where f is compiled."""
        if self.settings.is_sparse and self.settings.options.labels is not False and has_labels(point.given):
            call = call.but(f=Labels.seen(call.f, point.given))  # what is sparse has none
        if call.shared:
            shared: Vectors = load("parallel vectors")(call, point)
            return shared
        if self._compiled is not None:
            with suppress(CannotRun):
                compiled: Vectors = load("compiled vectors")(call, point, self._compiled)
                return compiled
        return Vectors(call, point)

    def at_once(self, x: object, args: Args) -> Any:
        """Return the Jacobian at x as the caller sees it by a short road; None where the general one is to be taken.

        That is one call of a kernel, or where there is nothing to ask: f and x are plain, and x is short.
        """
        if self._simple and type(x) is np.ndarray and x.dtype is FLOAT64 and x.ndim:
            return self._directly(x, args) if 0 < x.size < (LIFT_FROM if self.settings.may_lift else inf) else None
        if self._may_fuse and not self.settings.is_sparse and type(x) is np.ndarray:
            self._may_fuse = False
            point = as_point(x)
            run = self.opened(self.call(args), point)
            if point.base.size and run.value().size:
                self._fuse(run, point, None)
        return None if self.fused is None else self.fused(x, args)

    def _directly(self, x: Floats, args: Args) -> Any:
        point, call = as_point(x), self._call
        if call is None or args is not self.args:
            call = self.call(args)
            if args is self.args:
                self._call = call
        run, index = Vectors(call, point), everything(x.size)
        around = Around(run, call, point, bars=False)
        with put_back(point):
            if not run.value().size:
                return None
            found = self._found(around, lambda units: Columns(around.x, index, units), True)
        if not (point.perturbable or found.jacobian.any()):
            refuse_unmoved(call, point)
        warn_of(found, run, point, index.__getitem__, self.what)
        matrix = found.jacobian.T
        return matrix if len(run.shape) == x.ndim == 1 else matrix.reshape(*run.shape, *x.shape)

    def _fuse(self, run: Vectors, point: Point, pattern: Pattern | None) -> None:
        """Prepare a Jacobian in one call of a kernel, for an x and an f(x) like these."""
        settings, options = self.settings, self.settings.options
        if self._compiled is None or self.call(()).shared:
            return
        simple = options.bounds is options.indices is options.noise is None and not (
            settings.adaptive or options.labels
        )
        simple = simple and settings.stencil == central(2) and point.dtype is FLOAT64
        simple = simple and settings.is_sparse == (pattern is not None)
        known = self.fused is not None and self.fused.shape == point.base.shape
        if not simple or known or not point.base.ndim:
            return
        rule = None if settings.measured else settings.rule(point.base.shape)
        colors, eager = None if pattern is None else self.colors, options.compile == "eager"
        self.fused = load("fused jacobian")(self._compiled, point.base.shape, run.shape, rule, pattern, colors, eager)

    # ---- one Jacobian

    def at(self, x: object, args: Args, f0: object = None, bars: bool = True) -> tuple[Made, Vectors, Point, float]:
        """Make the Jacobian at x."""
        began = perf_counter()
        point = as_point(x)
        call = self.call(args)
        self._refuse_frozen(point)
        run = self.opened(call, point)
        if f0 is not None:
            run.known_value(f0)
        bounds = bounds_arrays(self.settings.options.bounds, point.base)
        with put_back(point):
            made = self._made(Around(run, call, point, bounds, bars))
        made.failures = tuple(getattr(run, "failures", ()))
        entries = made.matrix.entries
        if not entries[:1].any() and not entries.any():  # looking at all takes as long as a sum
            refuse_unmoved(call, point)
        return made, run, point, began

    def _refuse_frozen(self, point: Point) -> None:
        """Refuse a jitted f that answers from data that numba has frozen."""
        if is_jitted(self.f):
            load("compiled").check(Call(self.f), point)

    def _made(self, around: Around) -> Made:
        settings, run, point, n = self.settings, around.run, around.point, around.x.size
        if not n:
            return self._empty(around)
        pattern: Pattern | None = None
        if self._structure is not None:  # whether it is wrong must not depend on the way
            assert self.pattern is not None
            pattern = as_pattern(self.pattern, (run.value().size, n))
            if self._groups is not None and self.colors is None:
                self.colors = as_groups(self._groups, pattern)
        index = index_array(settings.options.indices, point.base.shape)
        refused = "asked for"
        if settings.options.backend != "python" and not around.call.shared:
            refused = self._unliftable(around)
            if not refused:
                try:
                    return self._lifted(around)
                except (CannotRun, NotTrusted) as reason:
                    refused = str(reason)
                    if isinstance(reason, _Rounded) and settings.sparsity is not None and self._structure is None:
                        pattern = reason.pattern
            elif self._suits_owners(around):
                try:
                    return self._by_owners(around)
                except (CannotRun, NotTrusted) as reason:
                    refused = f"{refused}; {reason}"
            if settings.options.backend == "numpy":
                raise TypeError(f"`backend` 'numpy' does not take this f: {refused}; use 'auto' or 'python'")
            if settings.is_sparse and settings.unliftable and pattern is None and index is None and n >= LIFT_FROM:
                run.value()  # f's own errors come from a plain call
                pattern = self._watched(around)  # of steps that were given, the structure is the lift's, too
        if not run.value().size:
            return self._empty(around)
        if pattern is not None and not settings.adaptive:
            try:
                return self._colored(around, refused, pattern)
            except Lacking:
                if self._structure is not None:
                    raise
        columns = everything(n) if index is None else index
        return self._by_columns(around, columns, refused)

    def _empty(self, around: Around) -> Made:
        index = index_array(self.settings.options.indices, around.point.base.shape)
        m, n = around.run.value().size, around.x.size if index is None else index.size
        empty = Matrix(np.empty((m, n)))
        if self.settings.is_sparse:
            none = np.empty(0, dtype=np.intp)
            empty = Matrix(np.empty(0), Pattern.of(none, none, (m, n)))
        return Made(empty, empty, np.full(around.x.size, np.nan), COLUMNS, "there is nothing to differentiate")

    # ---- by columns, one at a time or by colours

    def _by_columns(self, around: Around, index: Ints, reason: str) -> Made:
        run, point, bounds, x, every = around.run, around.point, around.bounds, around.x, index
        free = moving(bounds)
        if free is not None:
            index = every[free[every]]
        watched = Watched(run, x) if self.settings.is_sparse else None
        if not index.size:
            found = Found(np.zeros((0, run.value().size)), None, np.ones(0))
        elif self.settings.adaptive:
            found = climbed(watched or run, point, index, bounds, self.settings.options)
        else:
            judged = not around.bars and bounds is None and index is everything(x.size) and watched is None
            found = self._found(around, lambda units: Columns(x, index, units), judged, watched)
        noise = found.noise
        self._check_analytic(run, point, index, found.jacobian.T)
        warn_of(found, run, point, lambda g: index[g], self.what)
        if index.size < every.size:  # what must not move has a derivative of 0
            rows = np.isin(every, index)
            found = found._replace(
                jacobian=_among_zeros(found.jacobian, rows),
                error=None if found.error is None else _among_zeros(found.error, rows),
            )
        matrix, error = Matrix(found.jacobian.T), None if found.error is None else Matrix(found.error.T)
        if watched is not None:
            matrix, error = as_sparse(matrix, error, watched.changes[:, every], (run.value().size, x.size))
            self._unite(matrix.pattern)
        step = np.full(x.size, np.nan)
        if found.units is not None:
            step[index] = found.step * found.units[index]
        self._fuse(run, point, None)
        return Made(matrix, error, step, COLUMNS, reason, noise)

    def _colored(self, around: Around, reason: str, pattern: Pattern) -> Made:
        run, point, bounds, x = around.run, around.point, around.bounds, around.x
        colors = self.colors if pattern is self.pattern and self._structure is not None else None
        if colors is None:
            colors = color_columns(pattern)
        if self._structure is None:
            self._unite(pattern)
        else:
            self.colors = colors
        free, moves = moving(bounds), np.ones(pattern.size, dtype=bool)
        left, mine = pattern, colors
        if free is not None:
            moves, mine = free[pattern.indices], np.where(free, colors, -1)
            left = Pattern.of(pattern.rows[moves], pattern.indices[moves], pattern.shape)
        if bounds is not None:
            mine = _on_one_side(x, bounds, mine)
        found = self._found(around, lambda units: Colors(x, left, mine, units))

        def widened(entries: Floats) -> Matrix:
            data = np.zeros(pattern.size)
            data[moves] = entries
            return Matrix(data, pattern)

        matrix, error = widened(found.jacobian), None if found.error is None else widened(found.error)
        found = found._replace(error=None if error is None else error.entries)
        if self.settings.stencil.imaginary:
            moved = everything(x.size) if free is None else np.flatnonzero(free)
            self._check_analytic(run, point, moved, matrix.array[:, moved])
        around.notice(matrix, found)
        warn_of(found, run, point, lambda g: int(np.argmax(mine == g)), self.what)
        self._fuse(run, point, pattern)
        count = int(mine.max(initial=-1)) + 1
        assert found.units is not None
        step, stepped = np.full(x.size, np.nan), mine >= 0
        step[stepped] = found.step[mine[stepped]] * found.units[stepped]
        return Made(matrix, error, step, COLORS, reason, found.noise, count)

    def _found(
        self,
        around: Around,
        seeds_of: Callable[[Floats], Seeds],
        judged: bool = False,
        watched: Watched | None = None,
    ) -> Found:
        """Differentiate along some directions; `judged`: along all columns, anywhere, and nobody asks for bars."""
        settings, run, point, bounds, x = self.settings, around.run, around.point, around.bounds, around.x
        run.value()
        if settings.measured:
            explorer: Explorer = watched or run
            if judged and settings.plainest:
                explorer = known = JudgedVectors(run)
                found = known.settled(x)
                if found is not None:
                    jacobian, doubtful = found
                    return Found(jacobian, None, _NO_STEPS, doubtful=doubtful)
            return by_itself(explorer, seeds_of, bounds, x, settings.noise, settings.stencil)
        stencil = settings.stencil
        units = settings.rule(point.base.shape).at(x, None)
        refuse_lost_steps(point, x, everything(x.size), units, stencil)
        return by_stencil(watched or run, seeds_of(units), stencil, bounds, x)._replace(units=units)

    def _check_analytic(self, run: Values, point: Point, index: Ints, jacobian: Any) -> None:
        if not self.settings.stencil.imaginary:
            return
        try:
            check_analytic(run.at_complex, point, index, run.value(), jacobian)
        except NotTrusted as doubt:
            raise ValueError(str(doubt)) from doubt

    # ---- by the lift

    def _unliftable(self, around: Around) -> str:
        """Say why the lift is not tried; empty if it is."""
        settings, explicit = self.settings, self.settings.options.backend == "numpy"
        if settings.unliftable:
            return settings.unliftable
        if settings.options.indices is not None:
            return "some columns only"
        if around.x.size < LIFT_FROM and not explicit:
            return f"x has fewer than {LIFT_FROM} entries: plain evaluations are faster"
        return self._unreadable(around.call, around.point)

    def _unreadable(self, call: Call, point: Point) -> str:
        """Say why f must not be lifted, whatever the options; empty if it may be."""
        if self.settings.out is not None:
            return "f fills an array"
        return unreadable(self.f, call, point, self.settings.options.backend == "numpy")

    def _lifted(self, around: Around) -> Made:
        run, call, base, bounds, x = around.run, around.call, around.point.base, around.bounds, around.x
        units = units_of(x)
        signed = unrounded(units)
        if bounds is not None:
            signed = np.where(x >= bounds[1], -signed, signed)
        is_sparse = self.settings.is_sparse
        listed = load("listed")(self.f, call, base, signed[None], self._listed, is_sparse)
        if is_sparse:
            self._listed = listed  # its positions save time where the next are the same, and change nothing
        run.nfev += 1
        run.lifted(listed.base)
        value, outputs, inputs = listed.base.reshape(-1), listed.outputs, listed.inputs
        if not _finite(value):
            raise CannotRun("f is not finite at x")
        shape = value.size, x.size
        if listed.lost.any():
            raise CannotRun("f branches at x")
        if bounds is not None and not _finite(listed.slopes):  # else the comparison tells
            raise CannotRun("f ends at x")
        if listed.rounded:
            raise _Rounded("f uses a function that has no difference rule", Pattern.of(outputs, inputs, shape))
        free = moving(bounds)
        slopes = listed.slopes[0] if free is None else np.where(free[inputs], listed.slopes[0], 0.0)
        matrix = self._arranged(outputs, inputs, slopes, shape)
        if disagrees(run, x, units, matrix, bounds, lifted=None if listed.tied else value) is not None:
            if not _finite(slopes):
                raise _Rounded("f ends at x", Pattern.of(outputs, inputs, shape))
            raise NotTrusted("the lift and plain evaluations disagree: f is noisy, has a kink at x, or reads x itself")
        error = None
        if around.bars:
            shown = listed.slopes[0]

            def beside(flat: Floats) -> Floats | None:
                run.nfev += 1
                try:
                    again = load("listed")(self.f, call, flat.reshape(base.shape), signed[None], listed, is_sparse)
                except CannotRun:
                    return None
                alike = again.outputs is outputs or (
                    np.array_equal(again.outputs, outputs) and np.array_equal(again.inputs, inputs)
                )
                return again.slopes[0] if alike else None

            room = None if bounds is None else np.minimum(x - bounds[0], bounds[1] - x)
            doubt = self._arranged(outputs, inputs, of_rounding(x, shown, beside, room), shape)
            error = unrounded_bars(matrix, doubt, units, listed.lacks / np.abs(signed))
        return Made(
            matrix,
            error,
            signed if bounds is None else np.abs(signed),
            SPARSE_LIFT,
            "every nonzero in one run of f",
            None,
        )

    def _suits_owners(self, around: Around) -> bool:
        """Whether a compiled f of many values is tried in owner lanes: where no step, pattern or bound was given."""
        settings, point = self.settings, around.point
        if self._compiled is None or not settings.is_sparse or self._structure is not None or around.bounds is not None:
            return False
        usual = settings.automatic and not settings.adaptive and point.dtype is FLOAT64 and point.base.ndim > 0
        suits: bool = usual and load("owner jacobian").suit(point.base.size, settings.options.compile == "eager")
        return suits

    def _by_owners(self, around: Around) -> Made:
        """List the entries in owner lanes, which confirm them by a plain difference along a direction."""
        run, call, x = around.run, around.call, around.point.base
        if self.fused is None or self.fused.shape != x.shape:
            self.fused = load("owner jacobian")(self._compiled, x.shape, run.shape)
        owner, pattern, data, nfev = self.fused.entries(x, call.args)
        run.nfev += nfev
        self._unite(pattern)
        matrix = Matrix(data, pattern)
        runs = "one run" if owner.passes == 1 else f"{owner.passes} runs"
        reason = f"{owner.colours} colours of coordinates in {runs} of f"
        error = None
        if around.bars:

            def beside(flat: Floats) -> Floats | None:
                try:
                    _, other, data, nfev = self.fused.entries(flat.reshape(x.shape), call.args)
                except (CannotRun, NotTrusted):
                    return None
                run.nfev += nfev
                return data if other.same(pattern) else None

            doubt = matrix.like(of_rounding(x.reshape(-1), data, beside))
            error = unrounded_bars(matrix, doubt, units_of(x.reshape(-1)), np.zeros(x.size))
        return Made(matrix, error, np.full(x.size, np.nan), OWNERS, reason, colors=owner.colours)

    def _unite(self, found: Pattern | None) -> None:
        """Add a pattern that was found to those that `Jacobian.sparsity` shows; no Jacobian is made by that."""
        if self._structure is not None or found is None:
            return
        if self.pattern is None or self.pattern.shape != found.shape:
            self.pattern, self.colors = found, None
            return
        united = self.pattern.united(found)
        if united is not self.pattern:
            self.pattern, self.colors = united, None

    def _arranged(self, outputs: Ints, inputs: Ints, slopes: Floats, shape: tuple[int, int]) -> Matrix:
        """Put listed differences into a matrix; where they are is remembered, and checked."""
        if not self.settings.is_sparse:
            dense = np.zeros(shape)
            if outputs.size:
                dense = np.bincount(outputs * shape[1] + inputs, slopes, prod(shape)).astype(np.float64).reshape(shape)
            return Matrix(dense)
        layout = self._layout
        if layout is None or not layout.holds(outputs, inputs, shape):
            layout = self._layout = Layout.of(outputs, inputs, shape)
            self._unite(layout.pattern)
        return Matrix(layout.data(slopes), layout.pattern)

    def detect(self, x: object) -> Pattern:
        """Find the pattern at x: by the lift, or of what changes as one entry of x moves."""
        point = as_point(x)
        call = self.call(self.args)
        run = self.opened(call, point)
        bounds = bounds_arrays(self.settings.options.bounds, point.base)
        with put_back(point):
            run.value()
            around = Around(run, call, point, bounds)
            pattern = self._watched(around)
            if pattern is not None:
                return pattern
            made = self._by_columns(around, everything(point.base.size), "")
        assert made.matrix.pattern is not None
        return made.matrix.pattern

    def _watched(self, around: Around) -> Pattern | None:
        """Return the pattern that the lift shows; None where f cannot be lifted."""
        run, x = around.run, around.x
        if self._unreadable(around.call, around.point):
            return None
        try:
            found = load("listed")(self.f, around.call, around.point.base, unrounded(units_of(x))[None], None, True)
        except CannotRun:
            return None
        run.nfev += 1
        shape = run.value().size, x.size
        return None if found.lost.any() else Pattern.of(found.outputs, found.inputs, shape)

    # ---- products

    def along(self, x: object, vector: Floats, args: Args, f0: object = None) -> tuple[Found, Vectors, Point]:
        """Differentiate along one direction; the step is of t in f(x + t v), for each value of f."""
        settings = self.settings
        point = as_point(x)
        run = self.opened(self.call(args), point)
        if f0 is not None:
            run.known_value(f0)
        flat = point.base.reshape(-1)
        bounds = bounds_arrays(settings.options.bounds, point.base)
        free = moving(bounds)
        vector = vector if free is None else np.where(free, vector, 0.0)
        with put_back(point):
            if not flat.size or not run.value().size or not vector.any():
                found = Found(np.zeros(run.value().size), None, np.ones(1))
            elif settings.adaptive:
                found = OnLine(run, flat, vector, bounds).climbed(settings.options)
            elif settings.measured:
                found = self._along(run, flat, vector, bounds, None)
                if found.error is not None and small_and_dim(flat, found.jacobian, found.error):
                    wide = self._along(run, flat, vector, bounds, np.ones(flat.size))
                    surer = sharper(wide, found)
                    taken = np.where(surer.jacobian == wide.jacobian, wide.step, found.step)
                    found = surer._replace(step=taken.reshape(-1))
            else:
                stencil = settings.stencil
                if settings.options.rel_step is not None:
                    raise ValueError(
                        "`rel_step` has no meaning along a direction; give `h`, the step of t in f(x + t v)"
                    )
                step = float(settings.rule(()).at(np.ones(1), None)[0])
                found = by_stencil(run, Along(flat, vector * step, None), stencil, bounds, flat)
                found = found._replace(jacobian=found.jacobian / step, step=found.step * step)
                origin = OnLine(run, flat, vector, bounds)
                with np.errstate(all="ignore"):
                    along = found.jacobian.reshape(-1, 1) / origin.length
                self._check_analytic(origin, origin.origin, everything(1), along)
        if not found.jacobian.any():
            refuse_unmoved(self.call(args), point)
        if found.error is not None and found.doubtful is not None and (found.jacobian == 0.0).any():
            # of a slope that rounding may hide, f's size over that of x is the measure: there is no other slope
            usual = np.abs(run.value()) * (np.abs(vector).max() / np.abs(flat).max(initial=TINY))
            hidden = (found.jacobian == 0.0) & (found.error > CERTAIN * usual) & (usual > 0.0)
            found = found._replace(doubtful=found.doubtful | hidden)
        warn_along(found)
        return found, run, point

    def _along(self, run: Vectors, x: Floats, vector: Floats, bounds: Bounds | None, units: Floats | None) -> Found:
        """Do so with steps of these units, or of their own choice."""
        settings = self.settings

        def seeds_of(chosen: Floats) -> Seeds:
            return Along(x, vector, chosen if units is None else units)

        found = by_itself(run, seeds_of, bounds, x, settings.noise, settings.stencil)
        taken = found.units if units is None else units
        assert taken is not None
        return found._replace(step=found.step / length_of(vector, taken))

    def told_along(self, found: Found, run: Vectors, began: float, shaped: Callable[[Floats], Any]) -> JacobianInfo:
        """Return what is told of a product."""
        error, step = found.error, float(found.step.min(initial=inf))
        made = Made(Matrix(found.jacobian), None, np.array(step), ALONG, "differences along the vector")
        return made.info(
            self.settings,
            run.nfev,
            began,
            step=made.step,
            error=None if error is None else shaped(error.reshape(-1)),
            noise=None if found.noise is None else shaped(found.noise),
        )


def refuse_unmoved(call: Call, point: Point) -> None:
    """Refuse an f that reads what the caller gave as x, and what cannot be changed, instead of its argument.

    TypeError or ValueError if it does: all derivatives came out as 0.
    """
    container = point.container
    shown = point.perturbable and not call.shares_memory(point.own) if container is None else container.perturbable
    if point.held and not shown:
        try:
            refuse_unseen(call, point)
        except NotTrusted as doubt:
            raise ValueError(str(doubt)) from doubt


def unreadable(f: object, call: Call, point: Point, explicit: bool = False) -> str:
    """Say why f must not be lifted, whatever the options; empty if it may be.

    `explicit`: whether the caller asks for it, and answers for what f keeps.
    """
    if is_jitted(f):
        return "f is compiled by numba"
    if point.base.ndim == 0:
        return "x is a single number"
    if point.dtype is not FLOAT64:
        return f"x is {point.dtype}"
    known, container = known_nature(f, (*call.args, *call.kwargs.values())), point.container
    if container is not None and (known.finds(container.pieces) or holds(f, container.given)):
        return "f reads the caller's own list"
    return f"f may keep what it is given: {known.keeps}" if known.keeps and not explicit else ""


@np.errstate(all="ignore")
def unrounded_bars(matrix: Matrix, rounding: Matrix, units: Floats, lacks: Floats) -> Matrix:
    """Return the bars of entries that carry no round-off of their own.

    `rounding`: by how much they differ where f rounds otherwise.
    `lacks`: of each column, what they may lack because something underflowed.
    """
    largest = matrix.largest()
    steepest = float(matrix.each(np.multiply, largest, units).max(initial=0.0))
    more = lacks + BENT * STEP * steepest / units  # where the slope is 0, what one side truncates is all there is
    return matrix.like(rounding.entries + matrix.by_rows(BAR, more).entries)


class put_back:  # noqa: N801 - used like a function, as contextlib's are
    """Leave the caller's array as it is, whatever happens to it meanwhile."""

    def __init__(self, point: Point) -> None:
        self._point = point

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        own = self._point.own
        if own is not None and self._point.perturbable:
            with exclusive(own):
                own[...] = self._point.base


def _finite(values: Floats) -> bool:
    """Whether all are; their sum, which takes half as long, may overflow."""
    if values.size <= FEW:
        return isfinite(sum(values.reshape(-1).tolist())) or bool(np.isfinite(values).all())
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def _among_zeros(part: Floats, rows: NDArray[np.bool_]) -> Floats:
    whole = np.zeros((rows.size, part.shape[1]))
    whole[rows] = part
    return whole


def warn_of(found: Found, run: Vectors, point: Point, place_of: Callable[[int], Any], what: str) -> None:
    """Warn where f is not finite, not differentiable, or no digit of an entry is certain."""
    if not _finite(found.jacobian):
        warn(f"the {what} is not finite everywhere: `f` is not finite at x, or beside it", NonFiniteWarning)
    for g, reason in sorted((found.reasons or {}).items())[:1]:
        more = len(found.reasons or {}) - 1
        also = f", and {more} more" if more else ""
        warn(
            f"`f` is not differentiable at coordinate {point.name(int(place_of(g)))}{also}: {reason}",
            AccuracyWarning,
        )
    if found.doubtful is not None and not found.reasons and (found.doubtful & np.isfinite(found.jacobian)).any():
        count = np.count_nonzero(found.doubtful)
        warn(f"no digit is certain of {count} entries of the {what}: see `error` of full_output=True", AccuracyWarning)


def warn_along(found: Found) -> None:
    """Warn of the same where f was differentiated along one direction."""
    finite = np.isfinite(found.jacobian)
    if not finite.all():
        warn("the product is not finite everywhere: `f` is not finite at x, or beside it", NonFiniteWarning)
    for reason in list((found.reasons or {}).values())[:1]:
        warn(f"`f` is not differentiable along the direction: {reason}", AccuracyWarning)
    if found.doubtful is not None and not found.reasons and (found.doubtful & finite).any():
        warn(f"no digit is certain of {np.count_nonzero(found.doubtful)} entries of the product", AccuracyWarning)


def _placed(f: Any, argnum: int, out: tuple[int, ...] | None) -> Any:
    """Let f take x first, wherever it stands, and return what it fills."""
    if out is not None:

        def filled(*args: Any, **kwargs: Any) -> Any:
            array = np.zeros(out)
            try:
                returned = f(*args[: argnum + 1], array, *args[argnum + 1 :], **kwargs)
            except BaseException:
                array.resize(0, refcheck=False)  # compiled code that raises keeps its arguments for ever
                raise
            if isinstance(returned, np.ndarray | list | tuple) and returned is not array and not array.any():
                raise TypeError(
                    "`f` must fill the array that it gets where `out` is given, as in `f(x, out)`; it left zeros there "
                    f"and returned {describe(returned)}; leave out `out`"
                )
            return array

        return _placed(filled, argnum, None)
    if argnum == 0:
        return f

    def placed(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
        if len(args) < argnum:
            raise TypeError(
                f"`args` must hold the {argnum} arguments of f before x (`argnum={argnum}`), got {len(args)}"
            )
        return f(*args[:argnum], x, *args[argnum:], **kwargs)

    return placed


def _on_one_side(x: Floats, bounds: Bounds, colors: Ints) -> Ints:
    """Part colours whose coordinates are near bounds on both sides: a step to one side would leave room for none."""
    moves, count, near = colors >= 0, int(colors.max(initial=-1)) + 1, AT_BOUNDS * np.maximum(np.abs(x), 1.0)
    low, high = moves & (x - bounds[0] < near), moves & (bounds[1] - x < near)
    clash = np.logical_and(*(np.bincount(colors[side], minlength=count).astype(bool) for side in (low, high)))
    if not clash.any():
        return colors
    return np.where(high & ~low & clash[colors], count - 1 + np.cumsum(clash)[colors], colors)
