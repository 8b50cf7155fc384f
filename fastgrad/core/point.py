"""The point x: the caller's own array, and a float64 copy of it that nobody disturbs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from math import isfinite
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from .container import Container, memory_of
from .errors import describe
from .validation import FLOAT64, Floats, coordinate_of, finite, real_array

FEW = 20

# The reference perturbs the caller's array in place. Meanwhile other threads must not copy it, nor perturb it: one
# re-entrant lock for each block of memory in use, and a mark of who used one last, which tells a copy made without it
# that it may have been disturbed (numpy releases the GIL while it copies a large array). Who uses a lock keeps it
# alive, so that an interrupt, wherever it comes, leaves none behind; it dies together with its entry, in C.
_RLock = type(threading.RLock())  # the class itself: what threading calls it by is a function
_locks: dict[int, ref[Any]] = {}
_guard = _RLock()  # of those that wait
_waiting: dict[int, tuple[Any, list[Any]]] = {}  # threads that hold locks and wait for another: that one, and those
_latest: object = object()


def _forget_locks() -> None:
    global _guard, _locks, _waiting
    _guard, _locks, _waiting = _RLock(), {}, {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)  # the threads that held them do not exist there


def exclusive(holder: object) -> AbstractContextManager[Any]:
    """Keep other threads from reading or perturbing an array's memory, or another container of x, in a `with`.

    A thread that holds nothing else gets the lock itself: no interrupt comes between acquiring it and the block, for it
    is written in C. One that does is differentiating within another gradient's f, and is let in by turns.

    RuntimeError if it could wait for ever.
    """
    lock = lock_of(holder)
    held = _held() if len(_locks) > 1 else []
    return _in_turn(lock, held) if held and lock not in held else lock


@contextmanager
def exclusively(holders: list[Any]) -> Iterator[None]:
    """Do the same for several, one after another in the same order everywhere."""
    with ExitStack() as stack:
        for holder in holders:
            stack.enter_context(exclusive(holder))
        yield


def _held() -> list[Any]:
    """The locks of this thread."""
    every = [known() for known in list(_locks.values())]
    return [lock for lock in every if lock is not None and lock._is_owned()]


@contextmanager
def _in_turn(lock: Any, held: list[Any]) -> Iterator[None]:
    """Wait for a lock with others in hand, unless it is held by a thread that waits for one of these.

    Who waits here says so, and releases nothing meanwhile. Threads that wait for each other all wait here: each of them
    holds a lock. The last one to come finds the circle.
    """
    me = threading.get_ident()
    try:
        with _guard:
            wanted = lock
            while True:
                behind = next((there for there, mine in _waiting.values() if wanted in mine), None)
                if behind is None:
                    break
                if behind in held:
                    raise RuntimeError(
                        "this gradient within another one's f would wait for ever: it needs `x` of a gradient that "
                        "runs in another thread, whose f in turn needs an `x` of this thread. Ask for both in one "
                        "thread, in the same order in all threads, or give each thread arrays of its own"
                    )
                wanted = behind
            _waiting[me] = lock, held
        with lock:
            _waiting.pop(me, None)
            yield
    finally:
        _waiting.pop(me, None)


def lock_of(holder: object) -> Any:
    """Return the lock itself, for who never waits for it with another one in hand."""
    global _latest
    while isinstance(holder, np.ndarray) and holder.base is not None:  # the block of memory that an array views
        holder = holder.base
    key = id(holder)
    lock = _RLock()
    while True:
        # First the entry, then the mark: who finds neither has read before anything is perturbed. A reference that is
        # not taken is gone before its lock, or it would take another's entry away.
        _latest = known = _locks.setdefault(key, ref(lock, partial(_locks.pop, key)))
        shared = known()
        if shared is not None:  # another thread may have let it go just now
            return shared


def quiet() -> object:
    """Return None while an array is being perturbed in place, else a mark that is another after each time one is."""
    mark = _latest
    return None if _locks else mark


def undisturbed(array: NDArray[Any]) -> NDArray[Any]:
    """Copy an array as C-contiguous, not as another thread has perturbed it."""
    mark = _latest
    if not _locks:
        copied = array.copy()
        if mark is _latest:
            return copied
    with exclusive(array):
        return array.copy()


class Point:
    """Where the gradient is wanted.

    `base`: a C-contiguous copy of x. Never written to.
    `own`: the caller's array, or the memory of what it gave as x (a Series, a DataArray): closures may read it.
    `container`: what the caller gave, where it keeps its entries elsewhere (a list, a tuple): closures may read that.
    `perturbable`: whether the caller's array can hold a perturbed value and be restored, entry by entry.
    `dtype`: what the gradient is returned as: float32 and float16 stay, all else becomes float64.
    `given`: x as the caller gave it, which may have labels.
    `naming`: what an entry is called, by its place among all, where that is more than an index.
    """

    naming: Callable[[int], str] | None = None
    perturbable = False

    def __init__(
        self,
        base: Floats,
        own: NDArray[Any] | None,
        dtype: np.dtype[Any],
        container: Container | None = None,
        given: object = None,
    ) -> None:
        self.base, self.own, self.dtype, self.container, self.given = base, own, dtype, container, given
        if own is not None and (own.dtype is FLOAT64 or _holds_floats(own.dtype)):
            flags = own.flags
            self.perturbable = flags.carray or (flags.writeable and (flags.forc or not _overlaps_itself(own)))

    @property
    def plain(self) -> bool:
        """Whether x was given as an array of float64 of one dimension that can be perturbed, and nothing more."""
        return type(self.given) is np.ndarray and self.perturbable and self.base.ndim == 1 and self.dtype is FLOAT64

    @property
    def held(self) -> bool:
        """Whether the caller holds x in something that f may read instead of its argument."""
        return self.own is not None or self.container is not None

    def numbered(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return f, which gets a number where x was given as one: numpy's, which divides by 0 as its arrays do."""
        if self.base.ndim or not isinstance(self.given, (float, int, np.generic)):
            return f
        return lambda x, *args, **kwargs: f(x[()], *args, **kwargs)

    def name(self, flat: int) -> str:
        """Word the place of an entry as a user would write it."""
        return coordinate_of(flat, self.base.shape) if self.naming is None else self.naming(flat)

    def following(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return f with the caller's container holding each point at which it is evaluated, as long as that takes."""
        container = self.container
        if container is None or not container.perturbable:
            return f

        def seen(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
            if x.dtype.kind == "c":  # a closure shows: what it reads is real
                return f(x, *args, **kwargs)
            with exclusively(container.holders):
                try:
                    container.write(x)
                    return f(x, *args, **kwargs)
                finally:
                    container.restore()

        return seen

    def representable(self, points: Floats, x: Floats) -> Floats:
        """Round points to what a float32 or float16 x can hold, except where that would lose the step.

        Then f sees the same step in its argument and, if it reads it, in the caller's array.
        """
        with np.errstate(over="ignore"):
            rounded = points.astype(self.dtype).astype(np.float64)
        return np.where((rounded == x) | ~np.isfinite(rounded), points, rounded)


def uneven(shape: tuple[int, ...]) -> NDArray[Any]:
    """Return small moves, each entry another: softmax, differences and norms do not see a common one."""
    size = 1
    for length in shape:
        size *= length
    moves: NDArray[Any] = 2.0**-8 * (1.0 + np.arange(size) * 0.6180339887498949 % 1.0)
    return moves.reshape(shape)


# What another thread's function sees in place of an array, for the time of a run: the thing, the array, and the thread.
# Whoever finds it there in the meantime, and asks for the gradient at it, means the array.
_stand_ins: dict[int, tuple[ref[Any], NDArray[Any], int]] = {}


def stand_in(shown: Any, array: NDArray[Any]) -> None:
    """Note that a thing is seen in place of an array, as long as it lives."""
    key = id(shown)
    _stand_ins[key] = ref(shown, partial(_stand_ins.pop, key)), array, threading.get_ident()


def meant(x: Any) -> Any:
    """Return the array in place of which another thread's function sees a thing; anything else as it is."""
    found = _stand_ins.get(id(x))
    return x if found is None or found[0]() is not x or found[2] == threading.get_ident() else found[1]


def _holds_floats(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize <= 8 and dtype.isnative


def _overlaps_itself(array: NDArray[Any]) -> bool:
    reach = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * (length - 1) + reach
    return False


def as_point(x: object) -> Point:
    """Return x as a Point; a Point as it is.

    TypeError if x does not hold real numbers. ValueError if x is not rectangular, or holds NaN or infinity.
    """
    if type(x) is Point:
        return x
    if _stand_ins:
        x = meant(x)
    container = None
    if type(x) is np.ndarray and x.dtype is FLOAT64:
        mark = _latest
        base = undisturbed(x) if _locks else x.copy()
        if mark is not _latest:  # another thread may have perturbed it meanwhile
            base = undisturbed(x)
        own: NDArray[Any] | None = x
        dtype: np.dtype[Any] = FLOAT64
    else:
        if isinstance(x, dict):
            raise TypeError(
                "`x` is a dictionary, which is for derivatives, products, checks and gradient_descent; pass one of its "
                f"arrays, or all of them as one: got the keys {describe(list(x))}"
            )
        before = quiet()
        given = real_array("x", x)
        if isinstance(x, np.ndarray):
            own = given
        elif isinstance(x, (float, int, np.generic)):
            own = None
        else:
            if before is None or before is not quiet():  # another thread may have perturbed it meanwhile
                with exclusive(x):
                    given = real_array("x", x)
            own = None if isinstance(x, (list, tuple)) else memory_of(x, given)
            container = Container(x, given.ndim) if own is None else None
        base = np.array(undisturbed(given), dtype=np.float64, order="C", subok=False)
        dtype = given.dtype if given.dtype.kind == "f" and given.dtype.itemsize < 8 else FLOAT64
    # of few entries a sum in Python is the fastest test: it is finite if all of them are, unless it overflows
    if not (base.ndim == 1 and base.size <= FEW and isfinite(sum(base.tolist()))) and not np.isfinite(base).all():
        finite("x", base)
    return Point(base, own, dtype, container, x)
