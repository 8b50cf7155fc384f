"""f, which finds the caller's array by itself, as a pure function of its argument."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import ref

import numpy as np

from ...core.point import exclusive, lock_of, stand_in
from ...core.validation import Args
from ..arraylike import Array
from ..dense.bundle import Bundle, gathered, memory
from ..signals import CannotLift, Outrun, forgive, raised
from ..sparse.bundle import SparseBundle
from ..sparse.slots import TooWide
from ..substitutes import present
from .places import Place
from .seen import Seen
from .walk import Walk

NOTHING: Mapping[str, Any] = {}
SLACK = 1e3 * float(np.finfo(np.float64).eps)  # relative: a bundle's sums may be added up in another order
# names of functions that do not ask a bundle: of arrays that are made to be written into, and of a constant's product
UNASKED = frozenset({"zeros", "empty", "zeros_like", "empty_like", "dot"})
TRIES = 1000  # interruptions that putting back survives
SHARED: Sequence[Any] = [getattr(f, "__self__", None) for f in (random.getstate, np.random.get_state)]


class Alone:
    """What all functions share that find x by themselves: ``with exclusive(alone):``.

    A second transaction would take the bundles of the first for what is to be put back. Whoever makes several
    evaluations that belong together holds its lock around them: it may be taken again by the same thread.

    `open`: whether a bundle is where x was.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget the threads that were within: after a fork they do not exist."""
        self.open = False


alone = Alone()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=alone.renew)


class InPlace:
    """f as a pure function: a bundle takes the place of x wherever f finds it, for one run.

    What makes it safe, in this order:

    1. Nothing is lifted that the walk cannot see through.
    2. All that f can reach and change is noted first, and put back whatever happens.
    3. All other arrays that f can reach are shown as read-only views: f that writes into one stops there, and is begun
       again with copies that are bundles, too.
    4. Meanwhile x itself holds NaN: a way to x that the walk missed shows in f's value at x.
    5. A bundle that survives the run was kept where the walk did not look: the references to its run are counted.

    6. f's value at x must be the one that f gave without a bundle, if it was evaluated there before.

    CannotLift if x is no such array.

    `f`: ``f(W, *args, **kwargs)``, which may ignore W.
    `x`: the caller's array.
    `args`, `kwargs`: what f gets beside W.
    """

    def __init__(self, f: Callable[..., Any], x: Array, args: Args = (), kwargs: Mapping[str, Any] = NOTHING) -> None:
        if not (type(x) is np.ndarray and x.dtype == np.float64 and x.flags.c_contiguous and x.flags.writeable):
            raise CannotLift("x is no C-contiguous, writeable array of float64")
        self._roots = f, args, dict(kwargs)
        self._x = x
        with self.exclusively():
            self._base = x.copy()
        self._walk: Walk | None = None
        self._stale = False  # whether f may have bound other things since that
        self._seen: Seen | None = None
        self._value: Any = None  # f at x
        self._back = True  # whether everything is as it was
        self.found = 0  # in how many places f can find x
        self.filling = False  # whether f sees numpy through the substitutes
        self._ways: list[tuple[bool, bool]] = []  # left to try: with substitutes, and with arrays to be written into
        self._stopped = False  # whether f did not come to its end

    def forget(self) -> None:
        """Look anew before the next run: f may have bound other things by then."""
        self._stale = True

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep other threads from lifting in place, and from perturbing x, for several evaluations.

        Neither lock is waited for while the other is held: a thread that perturbs x may be about to lift within f.
        """
        taken = False
        while not taken:
            with exclusive(alone):
                mine = lock_of(self._x)
                taken = mine.acquire(blocking=False)
                if taken:
                    try:
                        yield
                    finally:
                        mine.release()
            if not taken:
                with exclusive(self._x):
                    pass

    def look(self) -> None:
        """Find all places that f can reach. CannotLift if something in them cannot be seen through."""
        if self._stale and self._walk is not None and not self._walk.renewed():
            self._walk = None
        self._stale = False
        if self._walk is None:
            self._walk = Walk(*self._roots)
            effect = self._walk.effect()
            if effect:
                raise CannotLift(f"f uses {effect!r}: its effects are to be seen at each evaluation")
            if not self._ways:
                # an array that f makes is likely to get differences: an attempt without substitutes would fail
                filling = not self._walk.names.isdisjoint(UNASKED)
                self._ways = [(filling, False), (not filling, False), (True, True)]
            self._seen = None
        if self._seen is None:
            self.filling, writing = self._ways[0]
            self._seen = Seen(self._x, self._walk, self._roots, self.filling, writing)
            self.found = self._seen.found

    def __call__(self, argument: SparseBundle | Bundle | Array) -> Any:
        """Evaluate f, at all points of a bundle or at the point that an array is."""
        with self.exclusively():
            if isinstance(argument, Bundle):
                return self._dense(argument)
            if not isinstance(argument, SparseBundle):
                return self._plain(argument)
            while True:
                signals = raised()
                try:
                    return self._lifted(argument)
                except (TooWide, Outrun):
                    raise
                except (CannotLift, Exception):
                    if not self._stopped or len(self._ways) == 1:
                        raise
                # numpy did not ask the bundle, or f writes into an array that is kept: once more, the next way
                forgive(signals)
                del self._ways[0]
                self._seen = None

    def _plain(self, point: Array) -> Any:
        self.forget()
        f, args, kwargs = self._roots
        try:
            try:
                self._x[...] = point
                value = f(self._x.copy(), *args, **kwargs)
            finally:
                self._x[...] = self._base
        finally:  # an interruption may have hit the first
            self._x[...] = self._base
        if self._value is None and np.array_equal(point, self._base):
            self._value = value
        return value

    def _lifted(self, given: SparseBundle) -> Any:
        run = given.run.again()  # of its own, so that what survives is told apart
        given.base.flags.writeable = False  # f must not write into x
        bundle = SparseBundle(given.base, given.slots, run, given.disjoint)
        slots = bundle.slots
        stand_in(bundle, self._x)
        value = self._transaction(bundle, bundle.copy())
        if bundle.slots is not slots:
            raise CannotLift("f writes into x")
        given.run.takes(run)
        if isinstance(value, SparseBundle):
            if self._value is not None and not value.ndim and np.array_equal(given.base, self._base):
                self._check(value)
            value = SparseBundle(value.base, value.slots, given.run, value.disjoint)
        elif isinstance(value, (list, tuple)):
            value = None  # no number: said by whoever called this
        bundle.known = ()
        shown = [ref(bundle)]
        del bundle
        self._nothing_survives(run, shown)
        return value

    def _dense(self, given: Bundle) -> Any:
        """Evaluate an f that keeps what it computes, and does not find x by itself."""
        self.look()
        if self.found or self._ways[0][1]:
            raise CannotLift("f finds x by itself, or writes into arrays that it keeps")
        memory.run = run = object()
        try:
            value = gathered(self._transaction(None, Bundle(given.data)))
        finally:
            memory.run = None
        if type(value) is Bundle:
            value = Bundle(value.data)
        self._nothing_survives(run, ())
        return value

    def _check(self, lifted: SparseBundle) -> None:
        """Compare f's value at x with the one that f gave by itself."""
        expected, found = float(self._value), float(lifted.base)
        reach = max((float(np.abs(d).max()) for _, d in lifted.slots if d.size), default=0.0)
        if not abs(found - expected) <= SLACK * abs(expected) + 1e-7 * reach:
            raise CannotLift(f"f gives {expected!r} at x, and {found!r} when it is lifted there")

    def _transaction(self, bundle: SparseBundle | None, argument: SparseBundle | Bundle) -> Any:
        """Run f on an argument, with a bundle in place of x, and put everything back."""
        if alone.open:
            raise CannotLift("f is being lifted for a gradient around this one")
        self.look()
        assert self._walk is not None
        assert self._seen is not None
        places, chance = self._walk.places, Chance(self._walk)
        (f, args, kwargs), writes = self._seen.of(bundle)
        self._back, self._stopped = False, True
        try:
            try:
                try:
                    alone.open = True
                    present.fresh = bundle.fresh if bundle is not None and self.filling else None
                    for place, key, new in writes:
                        place.put(key, new)
                    self._x[...] = np.nan
                    value = f(argument, *args, **kwargs)
                    self._stopped = False
                finally:
                    self._put_back(places, chance)
            finally:  # an interruption may have come before that began
                if not self._back:
                    self._put_back(places, chance)
        finally:
            if not self._back:
                self._put_back(places, chance)
        self._seen.done()
        if chance.drawn:
            raise CannotLift("f draws random numbers")
        return value

    def _put_back(self, places: Sequence[Place], chance: Chance) -> None:
        interruption: BaseException | None = None
        for _ in range(TRIES):
            try:
                self._x[...] = self._base
                for place in places:
                    place.restore()
                chance.restore()
                present.fresh = None
                alone.open = False
                self._back = True
                break
            except BaseException as error:  # noqa: BLE001 - a Ctrl-C must not stop this halfway: it is raised afterwards
                interruption = error
        if interruption is not None:
            raise interruption

    @staticmethod
    def _nothing_survives(run: object, shown: Sequence[ref[SparseBundle]]) -> None:
        """Raise if f keeps a bundle of the run.

        Another thread may hold the one that it found in place of x: to ask for the gradient there, for example.
        """
        known = 3  # our name, the caller's, and the argument of getrefcount
        if sys.getrefcount(run) <= known:
            return
        gc.collect()
        if sys.getrefcount(run) <= known:
            return
        if threading.active_count() > 1:
            innocent = {id(reference()) for reference in shown}
            if all(id(b) in innocent for b in gc.get_referrers(run) if type(b) in (SparseBundle, Bundle)):
                return
        raise CannotLift("f keeps what it computed where it cannot be put back")


class Chance:
    """The states of what random numbers are drawn from: a place of its own kind.

    Where f can draw none, nothing is noted: to ask numpy for the state that it shares takes 80 us.
    """

    def __init__(self, walk: Walk) -> None:
        self._accesses = list(map(_access, [*SHARED, *walk.generators])) if walk.may_draw() else []
        self._before = self._now()
        self.drawn = False

    def _now(self) -> list[Any]:
        return [read() for read, _ in self._accesses]

    def restore(self) -> None:
        if _equal(self._now(), self._before):
            return
        self.drawn = True
        for (_, write), state in zip(self._accesses, self._before, strict=True):
            write(state)


def _equal(now: Any, before: Any) -> bool:
    if isinstance(now, np.ndarray):
        return np.array_equal(now, before)
    if isinstance(now, dict):
        return all(_equal(now[name], before[name]) for name in before)
    if isinstance(now, (list, tuple)) and now and not isinstance(now[0], int):
        return all(map(_equal, now, before))
    return bool(now == before)


def _access(generator: object) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Return what reads the state of a source of random numbers, and what writes it."""
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate
    if isinstance(generator, np.random.RandomState):
        return generator.get_state, generator.set_state
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return partial(getattr, bits, "state"), partial(setattr, bits, "state")
