"""An f of many values that numba compiles: evaluated by a compiled loop, and Jacobians in one call of one kernel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy import ndarray, zeros
from numpy.typing import NDArray

from ...core.call import Call
from ...core.errors import CannotRun
from ...core.point import Point, quiet
from ...core.validation import FLOAT64, Args, Floats, Ints
from ...lifting import lanes
from ...lifting.native import address_of, array_type
from ...schemes.constants import OUTSIDE
from ...schemes.steps import Step
from ...sparsity import Pattern
from ..vectors import Vectors
from . import kernels
from .cache import Entry, entry, lanes_of, once
from .functions import JIT, NO_LANES, Jitted, _compile, _type, jitted, kind_of
from .jacobians import DONE, LATER, RECONSIDER, by_rule, by_step, most, rows, workspace
from .workspace import let_go

# What a kernel saves, in seconds, for each evaluation; and where it makes a Jacobian from the first point to the last,
# for each, and for each of its entries, by given steps and by the default rule: measured in one run with the seconds
# that compiling takes. When it is compiled follows from that, not what it gives.
EVALUATION = 2e-6
BY_STEP, BY_RULE = (3e-4, 4e-8), (6e-4, 1.5e-7)
INTEGERS = array_type(1, types.int64)
LISTS = types.UniTuple(INTEGERS, 8)  # that `listed` makes


class VectorTarget(NamedTuple):
    """f, compiled for one kind of x and of arguments, as kernels call it."""

    address: int  # where it is
    kinds: tuple[Any, ...]  # the types of what kernels get: address, arguments before x, after x, and `like`
    place: int  # how many arguments come before x
    like: NDArray[Any] | None  # of the type that f returns; None where it fills an array
    shape: tuple[int, ...] | None  # of what it fills
    # to kernels that call it, by the kernel and its arrays' dimensions: numba's types take 27 µs to make and hash
    entries: dict[Any, Entry]

    def kernel(self, which: object, ndims: tuple[int, ...], last: types.Type, worth: float) -> Any:
        """Return a kernel that gets arrays of so many dimensions, then `last`; None until it is worth compiling."""
        found = self.entries.get((which, ndims))
        if found is None:
            arrays = (array_type(ndim) for ndim in ndims)
            found = self.entries[which, ndims] = entry(which, (*self.kinds, *arrays, last))
        return found.point(worth)

    def given(self, args: Args) -> tuple[Any, ...]:
        """Return the first arguments of a kernel."""
        return self.address, args[: self.place], args[self.place :], self.like


class Compiled:
    """An f of many values behind compiled loops, for any x and arguments.

    CannotRun where numba does not compile f.

    `f`: ``f(x, *args)``, jitted.
    `place`: the place of x among f's arguments.
    `out`: the shape of what f fills instead of returning it.
    """

    def __init__(self, f: Any, place: int, out: tuple[int, ...] | None) -> None:
        if not JIT:
            raise CannotRun("NUMBA_DISABLE_JIT is set")
        self._f, self._place, self._out = f, place, out
        self._known = jitted(f, False)
        parameters = inspect.signature(f.py_func).parameters.values()
        if not getattr(f, "_can_compile", False) or any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
            raise CannotRun("f takes any number of arguments, or is not to be compiled for others")
        self._count = len(parameters)
        self._targets: dict[Any, VectorTarget] = {}
        self.kernels: dict[Any, Any] = {}  # what `FusedJacobian` has found for it

    @classmethod
    def of(cls, f: object, place: int, out: tuple[int, ...] | None) -> Compiled:
        """Return what is known of f already, or find it out."""
        known = jitted(f, False).many_values
        found: Compiled = known.get((place, out)) or known.setdefault((place, out), cls(f, place, out))
        return found

    def known(self) -> Jitted:
        """Return what is known of f, which may have been compiled anew.

        ValueError if f answers from data that numba has frozen and that have changed.
        """
        if self._known.captured:
            fresh = jitted(self._f, True)
            if fresh is not self._known:
                self._known = fresh
                self._targets.clear()
                self.kernels.clear()
        return self._known

    def target(self, ndim: int, args: Args) -> VectorTarget:
        """Return f compiled for an x of so many dimensions, and arguments of these types."""
        key = ndim, tuple(map(kind_of, args))
        return once(self._targets, key, lambda: self._compiled(ndim, tuple(map(_type, args))))

    def _compiled(self, ndim: int, kinds: tuple[Any, ...]) -> VectorTarget:
        place, out = self._place, self._out
        if 1 + (out is not None) + len(kinds) != self._count or len(kinds) < place:
            raise CannotRun("f has defaults")  # or is called wrongly, which a plain call says best
        x = array_type(ndim)
        filled = () if out is None else (array_type(len(out)),)
        compiled = _compile(self._f, (*kinds[:place], x, *filled, *kinds[place:]))
        result, like = compiled.signature.return_type, None
        if out is None:
            real = isinstance(result, types.Array) and isinstance(
                result.dtype, types.Integer | types.Float | types.Boolean
            )
            if not real or (result.ndim != 1 and result.layout != "C"):
                raise CannotRun(f"f returns {result}")
            like = np.empty((0,) * result.ndim, np.dtype(str(result.dtype)))
        elif not isinstance(result, types.NoneType):
            raise CannotRun(f"f fills an array, and returns {result}")
        tuples = types.Tuple(kinds[:place]), types.Tuple(kinds[place:])
        kinds = types.intp, *tuples, types.none if like is None else result
        return VectorTarget(address_of(compiled), kinds, place, like, out, {})

    def lanes(self, ndim: int, ndim_out: int, args: Args, lift: bool) -> tuple[int, int] | None:
        """Return where f compiled for lanes is, and how many points these are; 0 and 0 where it cannot be.

        None where nobody has asked to `lift` it yet.
        """
        key = "lanes", ndim, ndim_out, *map(kind_of, args)
        if not lift and key not in self.kernels:
            return None

        def make() -> tuple[int, int, Any]:
            target = self.target(ndim, args)
            before, after = (tuple(t.types) for t in target.kinds[1:3])
            real = target.like is None or target.like.dtype == np.float64
            with suppress(lanes.CannotLift):
                if real and not NO_LANES:
                    how = ndim, before, after, target.shape is not None, ndim_out
                    lifted = lanes_of(lanes.compile_lanes_of_outputs, self._known.f, *how)
                    return lifted.address, lifted.width, lifted  # which keeps it alive
            return 0, 0, None

        found: tuple[int, int, Any] = once(self.kernels, key, make)
        return found[:2]


class CompiledVectors(Vectors):
    """An f of many values around one point, evaluated by a compiled loop where that pays."""

    def __init__(self, call: Call, point: Point, compiled: Compiled) -> None:
        super().__init__(call, point)
        if call.kwargs:
            raise CannotRun("f has keyword arguments")
        if point.own is not None and compiled.known().shares_memory(point.own):
            raise CannotRun("f captured the very array x")
        self._target = compiled.target(point.base.ndim, call.args)

    def _called(self) -> Callable[[Floats], Any]:
        shape, f, args = self._point.base.shape, self._call.f, self._call.args

        def called(point: Floats) -> Any:
            x = point.reshape(shape).copy()
            try:
                return f(x, *args)
            except BaseException:
                let_go(x)  # compiled code that raises keeps its arguments for ever
                raise

        return called

    def _at(self, points: Iterable[Floats], exploring: bool) -> Floats:
        shape, table = self.shape, np.array(points if isinstance(points, np.ndarray) else list(points))
        target, x = self._target, self._point.base
        if not len(table) or (target.shape is not None and target.shape != shape):
            return super()._at(table, exploring)
        loop = target.kernel(rows, (x.ndim, 2, 1 + len(shape)), INTEGERS, EVALUATION * len(table))
        if loop is None:
            return super()._at(table, exploring)
        values, progress, y = np.empty((len(table), *shape)), np.zeros(1, np.int64), np.empty_like(x)
        given, before = target.given(self._call.args), self.nfev
        try:
            while progress[0] < len(table):
                try:
                    if not loop(*given, y, table, values, progress):
                        self.nfev = before
                        return super()._at(table, exploring)  # which says what is wrong
                except OUTSIDE:
                    if not exploring:
                        raise
                    values[progress[0]] = np.nan
                    progress[0] += 1
        except BaseException:
            let_go(y, values)
            raise
        finally:
            self.nfev = before + int(progress[0])
        return values.reshape(len(table), -1)


def listed(pattern: Pattern, colors: Ints) -> tuple[Ints, ...]:
    """List the directions of a colored Jacobian as kernels read them.

    Returns the columns, colour by colour, and where each colour begins among them; where it begins among the entries;
    of these, colour by colour, the outputs, the columns, and the places in the result; and the pattern.
    """
    columns = np.argsort(colors, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(colors))])
    of_entries = colors[pattern.indices]
    places = np.argsort(of_entries, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(of_entries, minlength=starts.size - 1))])
    lists = (
        columns,
        starts,
        first,
        pattern.rows[places],
        pattern.indices[places],
        places,
        pattern.indptr,
        pattern.indices,
    )
    return tuple(np.ascontiguousarray(each, np.int64) for each in lists)


class FusedJacobian:
    """A prepared Jacobian in one call of one kernel, for x and f(x) of one shape; safe to call from several threads.

    `compiled`: f.
    `shape`: of x.
    `value`: of f(x).
    `rule`: of central differences; None: the default rule.
    `pattern`, `colors`: of a sparse Jacobian.
    `eager`: whether to compile at once.
    """

    def __init__(
        self,
        compiled: Compiled,
        shape: tuple[int, ...],
        value: tuple[int, ...],
        rule: Step | None,
        pattern: Pattern | None = None,
        colors: Ints | None = None,
        eager: bool = False,
    ) -> None:
        self._f, self.shape, self._value, self._rule = compiled, shape, value, rule
        n, m = int(np.prod(shape)), int(np.prod(value))
        self._n, self.pattern, self._flat = n, pattern, len(shape) == len(value) == 1
        self._entries, directions, together = (n, m) if pattern is None else (pattern.size,), n, most(n, m)
        self._listed = None
        if pattern is not None:
            assert colors is not None
            self._listed = listed(pattern, colors)
            directions, together = self._listed[1].size - 1, pattern.size
        self._sizes = n, m, directions, together
        self._eager = eager
        one, each = BY_RULE if rule is None else BY_STEP
        entries = n * m if pattern is None else pattern.size
        self._worth = inf if eager else one + EVALUATION * 2 * directions + each * entries
        self._moving = rule if rule is not None and rule.constant is None else None  # steps follow x
        self._kinds: dict[Any, Any] = {}  # by the types of extra arguments: what is known of f, kernel, target, memory
        self._kernel = by_rule if rule is None else by_step
        # what no direction moves stays 0, but for colours and given steps: there every entry is written
        self._room = zeros if rule is None or pattern is None else np.empty
        self._alone: Any = None  # what `_prepared` returns without extra arguments

    def __call__(self, x: object, args: Args) -> Any:
        """Return the Jacobian at x; None where something is unusual and the general way decides."""
        if type(x) is not ndarray or x.dtype is not FLOAT64 or x.shape != self.shape or not x.flags.carray:
            return None
        found = self._alone
        if args or found is None:
            found = self._prepared(x, args)
            if found is None:
                return None
        kernel, address, first, last, like, spare = found
        before = quiet()
        try:
            work, here = spare.pop()  # as append, atomic
        except IndexError:
            work, here = self._workspace(args)
        if self._moving is not None:
            work[self._n : 2 * self._n] = self._moving.at(x.reshape(-1), None)
        out = self._room(self._entries)
        try:
            done = LATER
            while done == LATER:
                done = kernel(address, first, last, like, x, here, work, out, self._listed)
        except Exception:  # noqa: BLE001  perhaps at a point that only explores
            let_go(work, here, out)
            return None
        if done == RECONSIDER:
            self._lanes(args, True)
            spare.clear()  # which has no room for them
        else:
            spare.append((work, here))
            if done != DONE:
                return None
        if not quiet() is before is not None:
            return None
        if self.pattern is not None:
            return self.pattern.array(out)
        return out.T if self._flat else out.T.reshape(self._value + self.shape)

    def _prepared(self, x: Floats, args: Args) -> Any:
        """Return the kernel, the four arguments that it gets first, and memory; None until it is worth compiling."""
        captured = self._f._known.captured
        if captured and self._f.known().shares_memory(x):
            return None
        key = tuple(map(kind_of, args))
        known, kernel, target, spare = self._kinds.get(key, (None,) * 4)
        if known is not self._f._known:
            try:
                target = self._f.target(len(self.shape), args)
            except CannotRun:
                return None
            if target.shape is not None and target.shape != self._value:
                return None
            ndims = len(self.shape), len(self._value), 1, len(self._entries)
            kernel = target.kernel(self._kernel, ndims, types.none if self._listed is None else LISTS, self._worth)
            if kernel is None:
                return None
            spare = []
            self._kinds[key] = self._f._known, kernel, target, spare
        assert target is not None
        found = kernel, *target.given(args), spare
        if not (args or captured):
            self._alone = found
        return found

    def _workspace(self, args: Args) -> tuple[Floats, Floats]:
        """Return what a kernel works in, and room for f(x)."""
        lifted, budget = self._lanes(args, self._eager)
        work = workspace(*self._sizes, *lifted, budget, self.pattern is not None)
        if self._rule is not None and self._moving is None:
            work[self._n : 2 * self._n] = self._rule.constant
        return work, np.empty(self._value)

    def _lanes(self, args: Args, lift: bool) -> tuple[tuple[int, int], float]:
        """Return `Compiled.lanes`, and after how many ticks to ask for them; finds out what they are with `lift`."""
        found = self._f.lanes(len(self.shape), len(self._value), args, lift)
        return ((0, 0), kernels.WORTH_LANES) if found is None else (found, inf)
