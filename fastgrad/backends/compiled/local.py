"""Sparse Jacobians in owner lanes, no pattern given: each value of f lists its entries."""

from __future__ import annotations

from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import CannotRun
from ...core.point import quiet
from ...core.validation import FLOAT64, Args, Floats, Ints
from ...lifting import owners
from ...lifting.owners.layout import CONFLICT, COSTLY, STALE
from ...sparsity import Pattern
from . import listed
from .cache import entry_point, once
from .functions import kind_of
from .owners import A_PASS, Colours, Owner, Owners, Refused, Work, _somewhere, _words, compiled
from .vectors import Compiled, VectorTarget
from .workspace import let_go


class Lists(NamedTuple):
    """The memory of one run at a time, and what it gives."""

    here: Floats
    values: Floats
    owners: Ints
    slopes: Floats
    indptr: Ints
    work: Floats
    indices: Ints
    data: Floats

    @classmethod
    def of(cls, value: tuple[int, ...], n: int, codes: Ints, room: int) -> Lists:
        m, passes, colours = prod(value), *codes.shape[::2]
        return cls(
            np.empty(value),
            np.empty(value),
            np.empty((passes, m, colours), np.int64),
            np.empty((passes, m, colours)),
            np.zeros(m + 1, np.int64),
            np.empty(2 * n + 2 * m),
            np.empty(room, np.int64),
            np.empty(room),
        )


class VectorOwner(Owner):
    """f of many values in owner lanes, for x and f(x) of one shape and one kind of extra arguments.

    Which coordinates share a run is decided at a point that follows from the shape alone, and anew where f goes another
    way.
    """

    def __init__(
        self, f: Compiled, target: VectorTarget, shape: tuple[int, ...], value: tuple[int, ...], args: Args
    ) -> None:
        self._f, self._value = f, value
        self._ready: list[Lists] = []
        self.pattern: Pattern | None = None
        super().__init__(target, shape, args)

    def _begin(self, target: Any, args: Args) -> None:
        ndims = len(self._shape), len(self._value)
        before, after = (tuple(t.types) for t in target.kinds[1:3])

        def make() -> Any:
            f, filled = self._f.known().f, target.shape is not None
            return owners.compile_outputs(f, ndims[0], before, after, filled, ndims[1])

        self._target = target
        self._run, self._entry = compiled(self._f.kernels, (VectorOwner, *ndims, *target.kinds), make)
        self._kernel = entry_point(listed.listed, listed.signature(target.kinds, *ndims), inf)
        self._decide(_somewhere(self._shape), args)

    def _decide(self, x: Floats, args: Args) -> None:
        self._found = self._colour(self._look(x, args)[1], x.size)
        self.passes, self.colours = self._found.codes.shape[:2]
        if x.size < A_PASS * self.passes:
            raise Refused(f"{self.colours} colours for {x.size} coordinates: columns are no slower")
        lists = Lists.of(self._value, x.size, self._found.codes, 0)
        flags, _ = self._listed(x, args, self._found, self._work(), lists, False)
        if flags & (CONFLICT | STALE | COSTLY):
            raise Refused(_words(flags))

    def _call(
        self, x: Floats, args: Args, found: Colours, out: Floats, work: Work, confirm: bool
    ) -> tuple[int, float, int, int]:
        lists = Lists.of(self._value, x.size, found.codes, 0)
        return self._listed(x, args, found, work, lists, confirm)[0], 0.0, 0, 1

    def _listed(
        self, x: Floats, args: Args, found: Colours, work: Work, lists: Lists, confirm: bool
    ) -> tuple[int, int]:
        try:
            done: tuple[int, int] = self._kernel(
                *self._target.given(args), self._run, args, x, *found, work.header, work.lost, *lists, confirm
            )
        except BaseException:
            owners.leave(work.header)
            let_go(*lists)
            raise
        return done

    def _lists(self, n: int, codes: Ints, room: int) -> Lists:
        """Return memory of another run before this one, where it fits: that of large arrays takes long to get."""
        try:
            lists = self._ready.pop()
        except IndexError:
            lists = Lists.of(self._value, n, codes, room)
        if lists.owners.shape[::2] != codes.shape[::2] or lists.indices.size != room:
            lists = Lists.of(self._value, n, codes, room)
        return lists._replace(data=np.empty(room))

    def entries(self, x: Floats, args: Args) -> tuple[Pattern, Floats, int]:
        """Return where the Jacobian can differ from zero, its entries, and how often f was evaluated.

        Refused where x is not for owner lanes.
        """
        n, m, found, work = x.size, prod(self._value), self._found, self._work()
        room = 4 * max(n, m) if self.pattern is None else self.pattern.size
        nfev = 2  # which confirm the entries
        for _ in range(3):
            lists = self._lists(n, found.codes, room)
            try:
                flags, size = self._listed(x, args, found, work, lists, True)
            except Exception as error:  # f's own are raised by the way that takes over
                raise Refused(f"f raised {type(error).__name__}") from error
            if size == listed.FULL:  # which may follow from earlier calls, and is not counted
                room = m * found.codes.shape[0] * found.codes.shape[2]
            elif flags & CONFLICT:  # f goes another way here than where it was coloured
                terms = self._terms(x, args)
                nfev += 1 + len(found.codes) - (-terms.shape[1] // found.codes.shape[2])
                found = self._colour(terms, n)
            else:
                break
        if flags or size < 0:
            raise Refused("f branches at x, or ends there" if size == listed.BRANCH else _words(flags))
        self._spare.append(work)
        self._ready.append(lists)
        pattern, indices = self.pattern, lists.indices[:size]
        same = pattern is not None and np.array_equal(pattern.indices, indices)
        if pattern is None or not (same and np.array_equal(pattern.indptr, lists.indptr)):
            pattern = self.pattern = Pattern((m, n), lists.indptr.copy(), indices.copy())
        data = lists.data if size == room else lists.data[:size].copy()
        return pattern, data, nfev + 1 + len(found.codes)


class OwnerJacobian:
    """A sparse Jacobian in owner lanes, for x and f(x) of one shape; safe to call from several threads.

    `compiled`: f.
    `shape`, `value`: of x and of f(x).
    """

    suit = staticmethod(Owners.suit)

    def __init__(self, compiled: Compiled, shape: tuple[int, ...], value: tuple[int, ...]) -> None:
        self._f, self.shape, self._value = compiled, shape, value
        self._kinds: dict[Any, VectorOwner] = {}
        self._known = compiled.known()

    def at(self, x: Floats, args: Args) -> VectorOwner:
        """Return what was decided for such arguments. CannotRun where f is not for owner lanes."""
        known = self._f.known()
        if known is not self._known:  # compiled anew since
            self._known, self._kinds = known, {}
        if known.captured and known.shares_memory(x):
            raise CannotRun("f captured the very array x")

        def make() -> VectorOwner:
            return VectorOwner(self._f, self._f.target(len(self.shape), args), self.shape, self._value, args)

        owner = once(self._kinds, tuple(map(kind_of, args)), make)
        if owner.declined:
            raise CannotRun(f"not in owner lanes: {owner.declined}")
        return owner

    def entries(self, x: Floats, args: Args) -> tuple[VectorOwner, Pattern, Floats, int]:
        """Return how the Jacobian was made, where it can differ from zero, its entries, and how often f was evaluated.

        CannotRun where f, or x, is not for owner lanes.
        """
        owner = self.at(x, args)
        try:
            return owner, *owner.entries(x, args)
        except Refused as reason:
            raise CannotRun(f"not in owner lanes here: {reason}") from reason

    def __call__(self, x: object, args: Args) -> Any:
        """Return the Jacobian at x; None where something is unusual and the general way decides."""
        if type(x) is not np.ndarray or x.dtype is not FLOAT64 or x.shape != self.shape or not x.flags.carray:
            return None
        before = quiet()
        try:
            _, pattern, data, _ = self.entries(x, args)
        except CannotRun:
            return None
        return pattern.array(data) if quiet() is before is not None else None
