"""Sparse Jacobians in owner lanes, no pattern given: f runs once for a few colours, and each value lists its entries."""

from __future__ import annotations

from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
from numba import types

from ...core.errors import CannotRun
from ...core.point import quiet
from ...core.validation import FLOAT64, Floats, Ints
from ...lifting import owners
from ...lifting.owners import CannotLift
from ...lifting.owners.header import CONFLICT, COSTLY, DIFFERENT, FLAGS, LOG, LOSSES, STALE, UNCONFIRMED, UNUSUAL
from ...sparsity import Pattern
from . import jacobians
from .cache import compiling, entry_point, kernel
from .functions import kind_of
from .native import call_at, call_into, part
from .owners import A_PASS, Colours, Owner, Owners, Refused, Work, _somewhere, _words
from .vectors import Compiled, Entry
from .workspace import let_go


FULL, BRANCH = -1, -2  # in place of how many entries there are


@kernel
def listed(
    address, before, after, like, run, args, x, codes, rows, header, lost, here, values, owners, slopes, indptr, indices,
    data, work, sigma, confirm,
):  # fmt: skip
    """Write the entries of the Jacobian, row by row, in the order of columns; returns why not (0), and how many."""
    n, m, colours = x.size, here.size, codes.shape[2]
    if header[LOSSES] != 0:
        header[LOSSES] = 0
        for i in range(lost.size):
            lost[i] = 0
    if confirm and not call_into(address, x, here, before, after, like):
        return UNUSUAL, 0
    for p in range(codes.shape[0]):
        start, shape = p * m * colours, (m, colours)
        call_at(run, x, (args, codes, rows, p, header, values, part(owners, start, shape), part(slopes, start, shape)))
        if header[LOG] != 0 or header[FLAGS] != 0:
            return header[FLAGS], 0
    if header[LOSSES] != 0:
        return 0, BRANCH
    size, found, plain = 0, part(values, 0, (m,)), part(here, 0, (m,))
    for r in range(m):
        if confirm and found[r] != plain[r]:
            return DIFFERENT, 0
        start = size
        for p in range(codes.shape[0]):
            for c in range(colours):
                code, slope = owners[p, r, c], slopes[p, r, c]
                if code == 0:
                    continue
                if size == indices.size:
                    return 0, FULL
                if not abs(slope) < inf:
                    return UNUSUAL, 0
                j, e = (code & 0x7FFFFFFF) - 1, size
                while e > start and indices[e - 1] > j:
                    indices[e], data[e] = indices[e - 1], data[e - 1]
                    e -= 1
                indices[e], data[e] = j, slope
                size += 1
        indptr[r + 1] = size
    if confirm and not jacobians.confirmed(
        address, before, after, like, x, here, work, indptr, indices, part(data, 0, (size,)), sigma
    ):
        return UNCONFIRMED, size
    return 0, size


class Lists(NamedTuple):
    """The memory of one run, and what it gives."""

    here: Floats
    values: Floats
    owners: Ints
    slopes: Floats
    indptr: Ints
    indices: Ints
    data: Floats
    work: Floats
    sigma: Floats

    @classmethod
    def of(cls, value: tuple[int, ...], n: int, codes: Ints, room: int) -> Lists:
        m, passes, colours = prod(value), *codes.shape[::2]
        return cls(
            np.empty(value),
            np.empty(value),
            np.empty((passes, m, colours), np.int64),
            np.empty((passes, m, colours)),
            np.zeros(m + 1, np.int64),
            np.empty(room, np.int64),
            np.empty(room),
            np.empty(jacobians.workspace_size(n, m, 1)),
            np.zeros(m),
        )


class VectorOwner(Owner):
    """f of many values in owner lanes, for x and f(x) of one shape and one kind of extra arguments.

    Which coordinates share a run is decided at a point that follows from the shape alone, and anew where f goes another
    way.
    """

    def __init__(self, f: Any, entry: Entry, shape: tuple[int, ...], value: tuple[int, ...], args: tuple[Any, ...]):
        self.declined = ""
        self.passes = self.colours = 0
        self._spare: list[Work] = []
        self._buffers = 1
        self._entry_point, self._value = entry, value
        self.pattern: Pattern | None = None
        before, after = (tuple(t.types) for t in entry.kinds[1:3])
        try:
            found = owners.compile_outputs(f, len(shape), before, after, entry.shape is not None, len(value))
            jitted, compiled, self._entry = found
            self._run = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
            self._alive = jitted, compiled
            number, whole, array = types.float64, types.int64, types.Array
            x, y = array(number, len(shape), "C"), array(number, len(value), "C")
            ints, floats, codes = array(whole, 1, "C"), array(number, 1, "C"), array(whole, 3, "C")
            kinds = (
                *entry.kinds, whole, types.Tuple(before + after), x, codes, array(types.int32, 1, "C"), ints, ints, y, y,
                codes, array(number, 3, "C"), ints, ints, floats, floats, floats, types.boolean,
            )  # fmt: skip
            self._kernel = entry_point(listed, kinds, inf)
            self._decide(_somewhere(shape), args)
        except CannotLift as error:
            self.declined = error.reason
        except Refused as error:
            self.declined = str(error)

    def _decide(self, x: Floats, args: tuple[Any, ...]) -> None:
        self._look(x, args)
        if x.size < A_PASS * self.passes:
            raise Refused(f"{self.colours} colours for {x.size} coordinates: columns are no slower")
        lists = Lists.of(self._value, x.size, self._found.codes, 0)
        flags, _ = self._listed(x, args, self._found, self._work(x.size), lists, False)
        if flags & (CONFLICT | STALE | COSTLY):
            raise Refused(_words(flags))

    def _call(
        self, x: Floats, args: tuple[Any, ...], found: Colours, out: Floats, work: Work, confirm: bool
    ) -> tuple[int, float, int, int]:
        lists = Lists.of(self._value, x.size, found.codes, 0)
        return self._listed(x, args, found, work, lists, confirm)[0], 0.0, 0, 1

    def _listed(
        self, x: Floats, args: tuple[Any, ...], found: Colours, work: Work, lists: Lists, confirm: bool
    ) -> tuple[int, int]:
        try:
            done: tuple[int, int] = self._kernel(
                *self._entry_point.given(args), self._run, args, x, *found, work.header, work.lost, *lists, confirm
            )
        except BaseException:
            owners.leave(work.header)
            let_go(*lists)
            raise
        return done

    def entries(self, x: Floats, args: tuple[Any, ...]) -> tuple[Pattern, Floats]:
        """Return where the Jacobian can differ from zero, and its entries.

        Raises
        ------
        Refused
            Where x is not for owner lanes.
        """
        n, m, found, work = x.size, prod(self._value), self._found, self._work(x.size)
        room = 4 * max(n, m) if self.pattern is None else self.pattern.size
        for _ in range(3):
            lists = Lists.of(self._value, n, found.codes, room)
            try:
                flags, size = self._listed(x, args, found, work, lists, True)
            except Exception as error:  # f's own are raised by the way that takes over
                raise Refused(f"f raised {type(error).__name__}") from error
            if size == FULL:
                room = m * found.codes.shape[0] * found.codes.shape[2]
            elif flags & CONFLICT:  # f goes another way here than where it was coloured
                found = self._colour(self._terms(x, args), n)
            else:
                break
        if flags or size < 0:
            raise Refused("f branches at x, or ends there" if size == BRANCH else _words(flags))
        self._spare.append(work)
        pattern, indices = self.pattern, lists.indices[:size]
        same = pattern is not None and np.array_equal(pattern.indices, indices)
        if pattern is None or not (same and np.array_equal(pattern.indptr, lists.indptr)):
            pattern = self.pattern = Pattern((m, n), lists.indptr, indices.copy())
        return pattern, lists.data if size == room else lists.data[:size].copy()


class OwnerJacobian:
    """A sparse Jacobian in owner lanes, for x and f(x) of one shape; safe to call from several threads.

    Parameters
    ----------
    compiled : Compiled
        f.
    shape, value : tuple of int
        Of x and of f(x).
    """

    suit = staticmethod(Owners.suit)

    def __init__(self, compiled: Compiled, shape: tuple[int, ...], value: tuple[int, ...]) -> None:
        self._f, self.shape, self._value = compiled, shape, value
        self._kinds: dict[Any, VectorOwner] = {}
        self._known = compiled.known()

    def at(self, x: Floats, args: tuple[Any, ...]) -> VectorOwner:
        """Return what was decided for such arguments.

        Raises
        ------
        CannotRun
            Where f is not for owner lanes.
        """
        known = self._f.known()
        if known is not self._known:  # compiled anew since
            self._known, self._kinds = known, {}
        if known.captured and known.shares_memory(x):
            raise CannotRun("f captured the very array x")
        key = tuple(map(kind_of, args))
        owner = self._kinds.get(key)
        if owner is None:
            with compiling:
                owner = self._kinds.get(key)
                if owner is None:
                    entry = self._f.entry(len(self.shape), args)
                    owner = VectorOwner(known.f, entry, self.shape, self._value, args)
                    self._kinds[key] = owner
        if owner.declined:
            raise CannotRun(f"not in owner lanes: {owner.declined}")
        return owner

    def entries(self, x: Floats, args: tuple[Any, ...]) -> tuple[VectorOwner, Pattern, Floats]:
        """Return how the Jacobian was made, where it can differ from zero, and its entries.

        Raises
        ------
        CannotRun
            Where f, or x, is not for owner lanes.
        """
        owner = self.at(x, args)
        try:
            return owner, *owner.entries(x, args)
        except Refused as reason:
            raise CannotRun(f"not in owner lanes here: {reason}") from reason

    def __call__(self, x: Any, args: tuple[Any, ...]) -> Any:
        """Return the Jacobian at x; None where something is unusual and the general way decides."""
        if type(x) is not np.ndarray or x.dtype is not FLOAT64 or x.shape != self.shape or not x.flags.carray:
            return None
        before = quiet()
        try:
            _, pattern, data = self.entries(x, args)
        except CannotRun:
            return None
        return pattern.array(data) if quiet() is before is not None else None
