"""A prepared gradient in owner lanes: f runs once for a few colours of coordinates, and carries differences unrounded.

Which way a gradient goes is decided at its first call, by the size of x and by what runs of f tell of its terms, never
by a clock: the last digits are not those of lanes. Where a point is refused, lanes or the scalar kernel take over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from math import inf, nan, prod
from typing import Any, NamedTuple
from warnings import warn

import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from ...core.call import Call
from ...core.errors import CannotRun
from ...core.evaluation import Unrounded, Values
from ...core.point import Point, quiet
from ...core.validation import FLOAT64, Args, Floats, Ints
from ...lifting import owners
from ...lifting.native import address_of
from ...lifting.owners import CannotLift, colours
from ...lifting.owners import layout as at
from ...lifting.owners.layout import COLOURS, CONFLICT, COSTLY, DIFFERENT, FIRST, ROOM, STALE, TIED
from ...schemes.rounding import of_rounding
from . import confirmed
from .cache import entry_point, kernel, once
from .evaluation import Compiled
from .functions import JIT, Jitted, Target, jitted, kind_of, positional

# Compiling takes a second or two: from so many coordinates on it pays for most f; "eager" asks for it where it pays
# after very many calls only: from `FEW` on, or `LEAST` where f may take functions such as `exp`.
MANY, FEW, LEAST = 1000, 16, 8
# From so many coordinates on, finding colours costs less than lanes (0.9 us a term, measured): for one call, as what a
# call gives, and at how many evaluations, is not to depend on earlier ones.
COLOURED_ANEW = 4000
FEW_MEMBERS = 24, 4  # coordinates: terms of more are left out while colours are sought, as they may be of totals
A_PASS = 30  # coordinates that a pass over f's many values must be for, to be no slower than lanes
TERMS, MOST_TERMS = 16, 2**20  # for each coordinate, and in all: more are not looked at
SUMS = 8  # of an f without colours, at a time
MOST_CELLS = 2**22  # in the buffers of totals: 32 MB, of which what is used is taken
MOST_BUFFERS = 4096  # each has a cell for each of them
FIRST_OWNER = 1
# What a gradient costs, in ns (measured on 40 f at n = 8 to 100; what costs more does so either way): lanes `AT_ONCE`,
# `A_STEP` for each coordinate, `A_COORDINATE` for each coordinate and term, and `SLOW` for each of their 2 n points and
# function such as `exp`; owner lanes `BEFORE`, and in each pass `A_RUN`, `A_TERM` for each term, `SLOWER` for each such
# function, `A_CELL` for each cell of a total's buffer, and `A_RECORD` for each record.
AT_ONCE, A_STEP, A_COORDINATE, SLOW = 2400.0, 40.0, 0.22, 5.0
BEFORE, A_RUN, A_TERM, SLOWER, A_CELL, A_RECORD = 2200.0, 800.0, 7.0, 10.0, 0.55, 60.0
EPS = float(np.finfo(np.float64).eps)

decode, greedy = kernel(colours.decode), kernel(colours.greedy)


# by the bits of a run's flags
REASONS = (
    "owners of one colour met",
    "a total was used after it had grown",
    "a divisor is zero",
    "too many operations on totals",
    "a branch hangs on two equal totals",
    "the result is not finite",
    "its value is not f's",
    "plain differences do not confirm it",
)


class Work(NamedTuple):
    """The memory of one run at a time."""

    header: Ints
    buffers: Floats
    records: Ints
    listed: Floats
    sources: Ints
    lost: Ints
    moved: Floats
    entries: NDArray[np.void]

    def addressed(self) -> Work:
        """Tell the header where all else is."""
        for place, memory in (
            (at.SELF, self.header),
            (at.BUFFERS, self.buffers),
            (at.RECORDS, self.records),
            (at.SOURCES, self.sources),
            (at.LOST, self.lost),
            (at.ENTRIES, self.entries),
        ):
            self.header[place] = memory.ctypes.data
        return self


class Colours(NamedTuple):
    """The colours of coordinates: what each pass lets through of each colour's owners; where each one's row begins."""

    codes: Ints
    rows: NDArray[np.int32]


class Found(NamedTuple):
    """f(x) as it was in the pass, the coordinates that change a branch (their entry is 0), and how often f ran."""

    value: float
    losses: Ints
    nfev: int


class Refused(Exception):
    """A point is not for owner lanes."""


class NeedsColours(Refused):
    """A point is for colours only."""


class Owner:
    """f in owner lanes, for x of one shape and one kind of extra arguments: compiled and coloured, or declined.

    Whether f is for owner lanes is decided at a point that follows from the shape alone: the first x of one process is
    not that of another, and both are to go the same way.

    `declined`: why f is not for owner lanes; empty where it is.
    `passes`, `colours`: how many.
    """

    _buffers, _records, _members = 1, 0, FEW_MEMBERS[0]
    compiler, pays = "compile_owners", True

    def __init__(self, target: Any, shape: tuple[int, ...], args: Args) -> None:
        self.declined = ""
        self.passes = self.colours = 0
        self._spare: list[Work] = []
        self._shape = shape
        try:
            self._begin(target, args)
        except (CannotLift, Refused) as error:
            self.declined = str(error)

    def _begin(self, target: Target, args: Args) -> None:
        """Compile f, and decide. CannotLift or Refused where it is not for owner lanes."""
        ndim = len(self._shape)

        def make() -> Any:
            return getattr(owners, self.compiler)(target.native[0], ndim, target.kinds)

        self._run, self._entry, self._exact, self._slow = compiled(target.owners, self.compiler, make)
        self._kernel = entry_point(confirmed.gradient, confirmed.signature(target.kinds, ndim), inf)
        self._address = target.address
        self._decide(_somewhere(self._shape), target.pack(args))
        self._compare(_somewhere(self._shape), target, args)

    def _work(self) -> Work:
        try:
            return self._spare.pop()
        except IndexError:
            pass
        n, count, few = prod(self._shape), self._buffers, self._records
        cells = FIRST + n + count + few
        header, lost, buffers = np.zeros(at.HEADER, np.int64), np.zeros(cells, np.int64), np.empty((count, cells))
        records, sources = np.empty((few, FIRST + 2 * ROOM), np.int64), np.empty(count + few, np.int64)
        header[at.CELLS], header[at.SLOTS], header[at.COORDINATES] = cells, count, n
        header[at.OWNERS], header[at.MOST_RECORDS] = count + few, few
        entries = np.empty(n, np.dtype((np.void, self._entry))) if self._entry else _NOTHING
        work = Work(header, buffers, records, records.view(np.float64), sources, lost, np.empty(self._shape), entries)
        return work.addressed()

    def _decide(self, x: Floats, args: Args) -> None:
        """Colour f's terms, and count what a gradient costs.

        Totals have buffers as long as x. Where that costs too much, they are lists of few slopes, and what sums more
        than a few coordinates is taken for a total.

        Refused where lanes are cheaper, or f is not for owner lanes here: that is not likely to be otherwise elsewhere.
        """
        count, terms = self._look(x, args)
        for self._members in FEW_MEMBERS:
            try:
                self._found = self._colour(terms, x.size)
                self.passes, self.colours = self._found.codes.shape[:2]
                self._settle(x, args, count, self._members != FEW_MEMBERS[0])
            except Refused as error:
                refused = error
            else:
                return
        raise refused

    def _settle(self, x: Floats, args: Args, terms: int, listed: bool) -> None:
        """Decide how much memory a run has for its totals. Refused where lanes are cheaper, or it is not enough."""
        n = x.size
        lead = self._saves(terms, n)
        most = int(lead / (self.passes * A_CELL * n))
        if most < 1:
            raise Refused(f"{self.colours} colours for {n} coordinates: lanes are faster")
        self._buffers = 1 + min(most, MOST_CELLS // n, MOST_BUFFERS)
        if listed:
            self._records = min(int(lead / (self.passes * A_RECORD)), MOST_CELLS // (FIRST + 2 * ROOM))
            self._buffers = min(self._buffers, 4)
        self._spare.clear()
        self._try(x, args)
        taken = self._spare[-1].header
        buffers, records = int(taken[at.TAKEN]), int(taken[at.LISTED])
        if buffers * (n + buffers + records) * A_CELL + records * A_RECORD > lead / self.passes:
            raise Refused(f"{buffers + records} totals for {n} coordinates: lanes are faster")
        spare = buffers // 4 + 8 if listed else max(buffers // 4 + 8, n - buffers)  # elsewhere f may take more
        self._buffers = min(self._buffers, buffers + spare)
        self._records = min(self._records, records + records // 4 + 8)
        self._spare.clear()

    def _saves(self, terms: int, n: int) -> float:
        """Return how many ns lanes take more, or fewer: without what totals cost."""
        slow = float(self._slow) * terms
        lanes = AT_ONCE + n * (A_STEP + terms * A_COORDINATE + 2 * slow * SLOW)
        return float(lanes) - BEFORE - self.passes * (A_RUN + terms * A_TERM + slow * SLOWER)

    def _try(self, x: Floats, args: Args) -> None:
        flags, _ = self._once(x, args, self._found, np.empty_like(x), False)
        if flags & (CONFLICT | STALE | COSTLY):
            raise Refused(_words(flags))

    def _compare(self, x: Floats, target: Target, args: Args) -> None:
        """Compare f's value to the bit, if f is exact: at other points, differences tell it to a few roundings.

        Refused where it is another.
        """
        if not self._exact:
            return
        flags, found = self._once(x, target.pack(args), self._found, np.empty_like(x), False)
        plain = found.value
        with suppress(Exception):  # f may have none here
            plain = plain if flags else target.call(x.copy(), *args)
        if plain != found.value and not flags:
            warn(NOT_THE_VALUE, RuntimeWarning, stacklevel=2)
            raise Refused(_words(DIFFERENT))

    def _look(self, x: Floats, args: Args) -> tuple[int, Ints]:
        """Return how many terms f has, and those at x and, if f has a value there, at its reflection.

        Refused as `_terms`.
        """
        terms = both = self._terms(x, args)
        with suppress(Refused):
            both = np.concatenate([terms, self._terms(-x, args)])
        return len(terms), both

    def _terms(self, x: Floats, args: Args) -> Ints:
        """Return which digits of coordinates meet in each of f's terms, as they are at x.

        Refused where f has more terms than it pays to look at, or is not the same twice.
        """
        n, width = x.size, COLOURS
        table, logs = colours.digit_table(n), []
        capacity = max(TERMS * n + 1000, MOST_TERMS)
        work = self._work()
        header = work.header
        log, rows = np.empty((capacity, width), np.int64), np.arange(0, n * width, width, dtype=np.int32)
        try:
            for first in range(0, len(table), width):
                codes = np.zeros((1, n, width), np.int64)
                for c, digits in enumerate(table[first : first + width]):
                    codes[0, :, c] = colours.bit_codes(digits)
                header[at.LOG], header[at.CAPACITY] = log.ctypes.data, capacity
                try:
                    self._call(x, args, Colours(codes, rows), np.empty_like(x), work, False)
                except Exception as error:
                    raise Refused(f"f raised {type(error).__name__} where its terms were looked at") from error
                seen = int(header[at.LOGGED])
                if seen > capacity:
                    raise Refused("f has more terms than it pays to look at")
                logs.append(log[:seen].copy())
        finally:
            header[at.LOG] = 0
        if len({len(found) for found in logs}) != 1:
            raise Refused("f does not sum the same terms twice")
        self._spare.append(work)
        return np.concatenate(logs, axis=1)[:, : len(table)]

    def _colour(self, terms: Ints, n: int) -> Colours:
        """Find colours in which no two coordinates of a term meet. Refused where too many of them do."""
        members = np.empty(max(64 * n, self._members * len(terms) // 2) + 1000, np.int64)
        moduli = np.array(colours.MODULI)
        starts, whole = decode(np.ascontiguousarray(terms), n, colours.RADIX, moduli, members, self._members)
        if not whole:
            raise Refused("too many coordinates meet in a term: lanes are faster")
        colour = greedy(n, starts, members)
        return Colours(colours.codes_of(colour, COLOURS), (colour * COLOURS).astype(np.int32))

    def gradient(self, x: Floats, args: Args, out: Floats) -> Found:
        """Write the gradient to `out`. Refused where x is not for owner lanes."""
        flags, found = self._once(x, args, self._found, out)
        if flags & CONFLICT and x.size >= COLOURED_ANEW:  # f goes another way here than where it was coloured
            nfev, terms = found.nfev, self._terms(x, args)
            flags, found = self._once(x, args, self._colour(terms, x.size), out)
            found = found._replace(nfev=nfev + -(-terms.shape[1] // COLOURS) + found.nfev)
        if flags & DIFFERENT:
            warn(NOT_THE_VALUE, RuntimeWarning, stacklevel=2)
        if flags:
            raise Refused(_words(flags))
        if found.losses.size > 8 + x.size // 8:
            raise Refused("too many coordinates change a branch")
        return found

    def told(self) -> str:
        """Return how it goes, in words."""
        runs = "one run" if self.passes == 1 else f"{self.passes} runs"
        return f"{self.colours} colours of coordinates in {runs} of f"

    def _call(
        self, x: Floats, args: Args, found: Colours, out: Floats, work: Work, confirm: bool
    ) -> tuple[int, float, int, int]:
        try:
            done: tuple[int, float, int, int] = self._kernel(
                self._address, self._run, args, x, *found, out, *work[:-1], confirm, self._exact
            )
        except BaseException:
            owners.leave(work.header)
            raise
        return done

    def _once(self, x: Floats, args: Args, found: Colours, out: Floats, confirm: bool = True) -> tuple[int, Found]:
        work = self._work()
        try:
            flags, value, losses, nfev = self._call(x, args, found, out, work, confirm)
        except Exception as error:
            if not work.header[at.FLAGS]:  # f's own are raised by the way that takes over
                raise Refused(f"f raised {type(error).__name__}") from error
            flags, value, losses, nfev = int(work.header[at.FLAGS]), nan, 0, 1
        lost = np.flatnonzero(work.lost[FIRST_OWNER : x.size + FIRST_OWNER]) if losses else _NOBODY
        self._spare.append(work)
        return flags, Found(value, lost, nfev)


class Placed(Owner):
    """f for numbers with a slope for each place where it reads x: one run is all, and there are no colours to find."""

    compiler = "compile_places"

    def _decide(self, x: Floats, args: Args) -> None:
        self.passes, self._buffers, self._found = 1, SUMS, Colours(np.zeros((1, 1, 1), np.int64), np.zeros(1, np.int32))
        self.pays = self._saves(x.size, x.size) >= 0.0  # it has as many terms, at a guess: there is no log of them
        if not self.pays:
            raise Refused(f"{x.size} coordinates: lanes are faster")
        self._try(x, args)

    def gradient(self, x: Floats, args: Args, out: Floats) -> Found:
        flags, found = self._once(x, args, self._found, out)
        if flags & (CONFLICT | STALE | COSTLY | TIED):
            raise NeedsColours(_words(flags))
        if flags & DIFFERENT:
            warn(NOT_THE_VALUE, RuntimeWarning, stacklevel=2)
        if flags:
            raise Refused(_words(flags))
        return found

    def told(self) -> str:
        return "a slope for each place where f reads x, in one run of f"


SLOW_ONES = frozenset({
    "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan",
    "arctan2", "atan", "atan2", "power", "pow", "erf",
})  # fmt: skip


def _mentions(f: Any, names: frozenset[str]) -> bool:
    """Whether a jitted function, or one that it calls, is written with one of these names."""
    seen, left = set(), [f]
    while left:
        function = left.pop().py_func
        if names & set(function.__code__.co_names):
            return True
        seen.add(function)
        called = inspect.getclosurevars(function)
        of_it = (*called.globals.values(), *called.nonlocals.values())
        left += [other for other in of_it if isinstance(other, Dispatcher) and other.py_func not in seen]
    return False


NOT_THE_VALUE = (
    "f as it was compiled for owner lanes has another value than f itself: its gradient is taken another way, and is "
    "right. Please report this f to the authors of fastgrad"
)


def _words(flags: int) -> str:
    return ", ".join(why for bit, why in enumerate(REASONS) if flags >> bit & 1)


def _somewhere(shape: tuple[int, ...]) -> Floats:
    """Return a point without anything special about it."""
    steps = np.arange(1, prod(shape) + 1) * 0.6180339887498949  # the golden ratio's never come close to each other
    return np.asarray(0.2 + 0.7 * np.modf(steps)[0]).reshape(shape)


_NOBODY, _NOTHING = np.zeros(0, np.intp), np.empty(0, "V1")


def compiled(table: dict[Any, Any], key: object, make: Callable[[], Any]) -> Any:
    """Return where f compiled for owner lanes is, and what else `make` tells; CannotLift where it cannot be.

    Either is kept in a table with f.
    """

    def made() -> Any:
        try:
            jitted, found, *told = make()
        except CannotLift as error:
            return error
        return (address_of(found), *told), jitted, found  # which keep it alive

    found = once(table, key, made)
    if isinstance(found, CannotLift):
        raise found
    return found[0]


class Owners:
    """f in owner lanes for a prepared gradient: for each kind of extra arguments, decided for good."""

    def __init__(self, call: Call, shape: tuple[int, ...]) -> None:
        self._f, self._shape = call.f, shape
        self._known: Jitted | None = None
        self._alone: Owner | None = None  # without extra arguments: there is nothing to look at
        self._none: Args = ()
        self._kinds: dict[Any, Owner] = {}
        self._coloured: dict[Any, Owner] = {}  # where another has places, which do not do everywhere

    @staticmethod
    def suit(n: int, eager: bool, f: object = None) -> bool:
        """Whether x is large enough."""
        return JIT and (n >= (FEW if eager else MANY) or (eager and n >= LEAST and _mentions(f, SLOW_ONES)))

    def at(self, x: Floats, args: Args) -> tuple[Owner, tuple[Any, ...]]:
        """Return what was decided, and the arguments as f takes them."""
        known = jitted(self._f, True)
        if known is not self._known:  # compiled anew since
            self._known, self._kinds, self._coloured, self._alone = known, {}, {}, None
        if known.captured and known.shares_memory(x):
            raise CannotRun("f captured the very array x")
        args = positional(Call(self._f, args))
        target = known.target(FLOAT64, x.ndim, args)

        def make() -> Owner:
            owner = Placed(target, self._shape, args)
            return Owner(target, self._shape, args) if owner.declined and owner.pays else owner  # colours cost more

        owner, packed = once(self._kinds, tuple(map(kind_of, args)), make), target.pack(args)
        if not (args or known.captured):
            self._alone, self._none = owner, packed
        return owner, packed

    def gradient(self, owner: Owner, packed: Args, x: Floats, args: Args, out: Floats) -> tuple[Owner, Found]:
        """Write the gradient to `out`; returns which owner did so. Refused where x is not for owner lanes."""
        try:
            return owner, owner.gradient(x, packed, out)
        except NeedsColours:
            args = positional(Call(self._f, args))
            target = jitted(self._f, True).target(FLOAT64, x.ndim, args)
            owner = once(self._coloured, tuple(map(kind_of, args)), lambda: Owner(target, self._shape, args))
            if owner.declined:
                raise Refused(owner.declined) from None
            found = owner.gradient(x, packed, out)
            return owner, found._replace(nfev=found.nfev + 1)

    def fused(self, otherwise: Any) -> Any:
        """Return the whole gradient in one call, as `FusedGradient` is; `otherwise` decides where x is refused."""

        def gradient(x: Floats, args: Args, out: Floats) -> bool:
            before = quiet()
            owner, packed = (self._alone, self._none) if self._alone and not args else self.at(x, args)
            if owner.declined:
                return bool(otherwise and otherwise(x, args, out))
            if before is None:
                return False
            try:
                _, found = self.gradient(owner, packed, x, args, out)
            except Refused:
                return bool(otherwise and otherwise(x, args, out))
            return quiet() is before and not found.losses.size

        return gradient


class OwnerLanes(Compiled):
    """f in owner lanes around one point; its plain evaluations are those of the compiled loop."""

    def __init__(self, call: Call, point: Point, prepared: Owners) -> None:
        super().__init__(call, point, True)
        self.way = "owner lanes"
        self._prepared, self._args = prepared, call.args
        self._owner, self._packed = prepared.at(self._base, call.args)
        if self._owner.declined:
            raise CannotRun(f"not in owner lanes: {self._owner.declined}")

    def carries(self, count: int) -> bool:
        return count == self._base.size

    def differences(self, index: Ints, steps: Floats, away: Floats, bars: bool) -> Unrounded | None:
        out = np.empty(self._base.shape)
        try:
            self._owner, (_, losses, nfev) = self._gradient(self._base, out)
        except Refused as reason:
            raise CannotRun(f"not in owner lanes here: {reason}") from reason
        self.nfev += nfev
        gradient = out.reshape(-1)
        rounding = None
        if bars:
            cancelling = 8.0 * EPS * float(np.abs(gradient).max(initial=0.0))  # as much as terms that cancel may err
            rounding = np.maximum(of_rounding(self._base.reshape(-1), gradient, self._beside), cancelling) * steps
        tied = np.zeros(gradient.size, np.bool_)
        tied[losses] = True
        return Unrounded(gradient * steps, tied, rounding)

    def _gradient(self, x: Floats, out: Floats) -> tuple[Owner, Found]:
        return self._prepared.gradient(self._owner, self._packed, x, self._args, out)

    def _beside(self, point: Floats) -> Floats | None:
        """Return the gradient at another point; None if f is not for owner lanes there."""
        gradient = np.empty(self._base.shape)
        try:
            _, (_, losses, nfev) = self._gradient(point.reshape(self._base.shape), gradient)
        except Refused:
            return None
        self.nfev += nfev
        gradient.reshape(-1)[losses] = np.nan
        return gradient.reshape(-1)

    def sweep(self, index: Ints, points: Values) -> Values:
        try:
            return super().sweep(index, points)
        finally:
            self.way = "owner lanes"

    def notes(self) -> list[str]:
        return [self._owner.told()]
