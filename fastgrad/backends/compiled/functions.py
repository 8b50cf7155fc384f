"""The compiled backend: @njit functions, plain functions that compile, C function pointers."""

from __future__ import annotations

import inspect
import os
import threading
import types as python_types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import gcd
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numba import njit, typeof, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from ...core.call import Call, Memo
from ...core.errors import CannotRun, TrustWarning, describe, warn
from ...core.evaluation import InFloats, Values
from ...core.point import Point, quiet
from ...core.validation import FLOAT64, Floats, Ints, number
from ...executors.threads import run_all
from ...inspecting.captures import Capture, arrays_in, captures
from ...inspecting.cfunctions import CFunction
from ...schemes.stencils import Stencil, central
from ...schemes.steps import Step
from . import kernels

# A hundred different lambdas cost 110 s and 275 MB to compile (measured): keep this many, and say so once.
MOST_COMPILED = 64
WARN_COMPILED = 16

_compiling = threading.RLock()

COMPLEX = "complex x is not for lanes"

# Lanes take half a second or more to compile: worth it after so many seconds of f alone, or before twice as many more.
WORTH_LANES = 1.0
# A thread that is handed a task begins some 30 µs later than the one that hands it: worth it from a few times that on.
HANDED = 3e-5
WORTH_THREADS = 1.5e-4

NO_LANES = kernels.NO_LANES or ("FASTGRAD_LANES is 0" if os.environ.get("FASTGRAD_LANES") == "0" else "")
NO_FASTMATH = NO_LANES
if not NO_LANES:
    from ...lifting import lanes
    from .cache import lanes_of

    NO_FASTMATH = "" if lanes.fastmath_available() else "this system has no vector mathematics library (libmvec)"
WIDTH = 0 if NO_LANES else lanes.lane_width()


class Target:
    """f, compiled for one kind of x and of extra arguments, as the kernels need it.

    Attributes
    ----------
    address
        Where the compiled f is (f itself where numba's compiler is disabled).
    packed : bool
        Whether it takes its extra arguments as one tuple.
    kinds
        The types of its extra arguments, as it takes them.
    lanes : int
        Where f compiled for lanes is; 0 where it is not, or not yet.
    scalar_reason : str
        What keeps f from running in lanes; empty where nothing does, or it has not been tried.
    fast : bool
        Whether lanes may take exp, log, ... from the system's vector mathematics library. Then they are compiled at
        once: a value must not depend on how long f has been running.
    vectorised : tuple of str
        The functions that they take from there.
    pace : dict
        Seconds that a row of a table takes, by the size of x and the number of points in a row.
    """

    def __init__(
        self, f: Callable[..., Any], shape_kind: types.Array, kinds: tuple[types.Type, ...], fast: bool = False
    ) -> None:
        self.packed = False
        self.kinds = kinds
        self.lanes = 0
        self.fast = fast
        self.vectorised: tuple[str, ...] = ()
        self.pace: dict[tuple[int, int], float] = {}
        self.scalar_reason = NO_LANES
        self._spent = 0.0
        if shape_kind.dtype != types.float64:
            self.scalar_reason = COMPLEX
        elif f is kernels.call_c_function:
            self.scalar_reason = "a C function takes one point"
        self._kept: Any = f
        if not kernels.JIT:
            self.address: Any = lambda x, *args: (complex if x.dtype.kind == "c" else number)(f(x, *args))
            return
        compiled = None
        if getattr(f, "_can_compile", False) and not _takes_any(f):
            compiled = self._compile(f, (shape_kind, *kinds))
        if compiled is None or compiled.signature.return_type != shape_kind.dtype:
            self._refuse_result(compiled)
            self.packed = True
            f = _adapter(f, compiled is not None and isinstance(compiled.signature.return_type, types.Array))
            compiled = self._compile(f, (shape_kind, types.Tuple(kinds) if kinds else types.Tuple(())))
        self._kept = f, compiled
        if self.packed:
            self.kinds = (types.Tuple(kinds),)
        self._ndim = shape_kind.ndim
        self.address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        if fast:
            self.lift()

    @property
    def settled(self) -> bool:
        """Whether it is known if f runs in lanes."""
        return bool(self.lanes or self.scalar_reason)

    def lift(self) -> None:
        """Compile f for lanes, or find out why that cannot be."""
        with _compiling:
            if self.settled:
                return
            try:
                lifted = lanes_of(self._kept[0], self._ndim, self.kinds, self.fast)
            except lanes.CannotLift as error:
                self.scalar_reason = error.reason
            else:
                self._kept = *self._kept, lifted
                self.lanes, self.vectorised = lifted.address, lifted.vectorised

    def sink(self) -> None:
        """Take f out of lanes for good: its points nearly always part at a branch."""
        self.scalar_reason = "its points nearly always take different branches"
        self.lanes = 0

    def spend(self, seconds: float, remaining: float) -> None:
        """Count the time that f took one point at a time; compile lanes as soon as they pay."""
        self._spent += seconds
        if (self._spent > WORTH_LANES or remaining > 2.0 * WORTH_LANES) and not self.settled:
            self.lift()

    @staticmethod
    def _compile(f: Any, signature: tuple[types.Type, ...]) -> Any:
        try:
            f.compile(signature)
            return f.overloads[signature]
        except (NumbaError, TypeError) as error:
            first = str(error).strip().splitlines()
            raise CannotRun(
                f"numba cannot compile f for {signature[0]}: {describe(' '.join(first[:3]), 300)}"
            ) from error
        except KeyError as error:
            raise CannotRun(f"numba compiled f for another signature than {signature}") from error

    @staticmethod
    def _refuse_result(compiled: Any) -> None:
        if compiled is None:
            return
        result = compiled.signature.return_type
        if isinstance(result, (types.Integer, types.Boolean, types.Float, types.Array, types.Literal)):
            return
        raise TypeError(
            f"`f` must return one real number, got {result} (as numba types it); return its real part or a sum"
        )


def _takes_any(f: Any) -> bool:
    kinds = (p.kind for p in inspect.signature(f.py_func).parameters.values())
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _adapter(f: Any, returns_array: bool) -> Any:
    """Wrap f so that it returns a float and takes its extra arguments as one tuple."""
    if returns_array:

        def adapted(x, args):  # type: ignore[no-untyped-def]
            result = f(x, *args)
            if result.size != 1:
                raise ValueError(
                    "`f` must return one number, got an array; the derivative of a vector is its Jacobian: "
                    "pass one component at a time, or a sum"
                )
            return result.dtype.type(result.ravel()[0]) * 1.0
    else:

        def adapted(x, args):  # type: ignore[no-untyped-def]
            return f(x, *args) * 1.0

    return njit(adapted)


class Jitted:
    """What is known of one function: how it is compiled for each kind of argument."""

    def __init__(self, f: Any) -> None:
        self.f = f
        self.function = f.py_func if isinstance(f, Dispatcher) else None
        self.captured: list[Capture] = captures(f) if self.function is not None else []
        self._arrays = [array for c in self.captured for array in arrays_in(c.value)]
        self._targets: dict[Any, Target] = {}
        if self.function is not None and kernels.JIT:
            self._refresh_frozen()

    def _refresh_frozen(self) -> None:
        """Compile anew what may have been compiled when captured data were different."""
        if any(c.is_data for c in self.captured):
            stack = [c.value for c in self.captured if isinstance(c.value, Dispatcher)]
            for dispatcher in (*stack, self.f):
                if dispatcher.overloads and dispatcher._can_compile:
                    dispatcher.recompile()

    def changed(self) -> str | None:
        """Name something captured that numba has frozen and that is different now."""
        for capture in self.captured:
            if capture.changed():
                return capture.name
        return None

    def shares_memory(self, array: NDArray[Any]) -> bool:
        """Whether f, or a jitted function that it calls, captured the array's memory."""
        return any(np.may_share_memory(a, array) for a in self._arrays)

    def target(self, dtype: np.dtype[Any], ndim: int, args: tuple[Any, ...], fast: bool = False) -> Target:
        """Return f compiled for x of this kind and these extra arguments; see `Target` for `fast`."""
        fast = fast and not NO_FASTMATH
        key = dtype.char, ndim, tuple(map(_kind, args)), fast
        target = self._targets.get(key)
        if target is None or (self.captured and self.stale(target)):
            with _compiling:
                scalar = types.complex128 if dtype.kind == "c" else types.float64
                target = Target(self.f, types.Array(scalar, ndim, "C"), tuple(map(_type, args)), fast)
                self._targets[key] = target
        return target

    def lanes_reason(self, ndim: int, args: tuple[Any, ...], fast: bool = False) -> str:
        """Say whether f runs in lanes for such arguments, and what stops it, for people to read."""
        target = self.target(FLOAT64, ndim, args, fast)
        if target.lanes:
            return f"{WIDTH} points at a time, in lanes"
        if target.scalar_reason:
            return f"one point at a time: {target.scalar_reason}"
        return "one point at a time, so far: lanes are compiled when that pays"

    def stale(self, target: Target) -> bool:
        """Whether the user has recompiled f since."""
        kept = target._kept
        return (
            isinstance(kept, tuple)
            and kept[0] is self.f
            and not any(kept[1] is overload for overload in self.f.overloads.values())
        )


_OF_ONE_TYPE = frozenset({float, bool, np.float64})


def _kind(value: Any) -> Any:
    """Tell apart what numba types differently, without asking numba: its typeof takes 10 µs."""
    kind = type(value)
    if kind in _OF_ONE_TYPE or (kind is int and -(2**63) <= value < 2**63):
        return kind
    if kind is np.ndarray:
        return value.dtype, value.ndim, value.flags.num
    return _type(value)


def _type(value: Any) -> Any:
    try:
        return typeof(value)
    except (ValueError, NumbaError) as error:
        raise CannotRun(f"numba has no type for an extra argument: {error}") from error


class Table:
    """A table of points to evaluate f at: in lanes or not, in one thread or in several, to the same bits.

    Attributes
    ----------
    nfev : int
        How many evaluations it took.
    disturbed : bool
        Whether f writes into its argument. Then it gets a fresh copy for each evaluation.
    """

    def __init__(
        self, target: Target, args: tuple[Any, ...], x: Values, index: Ints, points: Values, values: Values
    ) -> None:
        self._target, self._args, self._x = target, args, x
        self._index, self._points, self._values = index, points, values
        self.nfev, self.disturbed = 0, False

    def evaluate(self, workers: int) -> None:
        """Fill the values."""
        count, columns = self._points.shape
        if not self._fill(count, workers):
            self.nfev += count * columns
            self.disturbed = True
            self._fill(count, workers)
        self.nfev += count * columns

    def _fill(self, count: int, workers: int) -> bool:
        """Evaluate all rows; False if f was seen to write into its argument."""
        if workers == 1:
            return self._rows(0, count, None)
        key, first = (self._x.size, self._points.shape[1]), 0
        seconds = self._target.pace.get(key)
        if seconds is None:  # for a row, when it was last seen
            first, began = min(count, max(WIDTH, 1)), perf_counter()
            if not self._rows(0, first, None):
                return False
            seconds = self._target.pace[key] = (perf_counter() - began) / max(first, 1)
        if seconds * (count - first) < WORTH_THREADS:
            began = perf_counter()
            done = self._rows(first, count, None)
            if count - first >= WIDTH:
                self._target.pace[key] = (perf_counter() - began) / (count - first)
            return done
        # this thread begins at once, the others when they have woken up: it takes so many rows more
        more = HANDED / seconds if seconds > 0.0 else 0.0
        each = max(0.0, (count - first - more) / workers)
        whole = WIDTH // gcd(WIDTH, key[1]) if WIDTH else 1  # rows that fill bundles
        inner = [first + round((count - each * i - first) / whole) * whole for i in range(workers - 1, 0, -1)]
        cuts = [first, *(min(count, cut) for cut in inner), count]
        return all(run_all([partial(self._rows, a, b) for a, b in pairwise(cuts) if a < b]))

    def _rows(self, first: int, last: int, stop: threading.Event | None) -> bool:
        """Evaluate rows with buffers of their own, until told to stop."""
        target, args, x = self._target, self._args, self._x
        index, points, values = (a[first:last] for a in (self._index, self._points, self._values))
        y, flat, tile = np.empty_like(x), x.reshape(-1), None
        done, count = 0, last - first
        while done < count and not (stop is not None and stop.is_set()):
            began, before = perf_counter(), done
            run = target.lanes
            if run and not self.disturbed:
                if tile is None:
                    tile = kernels.aligned(x.size * WIDTH).reshape(x.size, WIDTH)
                    progress, meter = np.zeros(1, np.int64), np.zeros(2)
                done = kernels.sweep_lanes(
                    run, target.address, args, x, y, tile, progress, index, points, values, done, meter
                )
                if meter[0] > kernels.MOST_WASTE:
                    target.sink()
                continue
            done = kernels.sweep(target.address, args, flat, y, index, points, values, done, self.disturbed, 1)
            if done < 0:
                return False
            seconds = perf_counter() - began
            target.spend(seconds, seconds * (count - done) / (done - before))
        return True


_known: weakref.WeakKeyDictionary[Any, Jitted] = weakref.WeakKeyDictionary()
_plain: OrderedDict[Any, Jitted] = OrderedDict()
_code_counts: dict[Any, int] = {}


def jitted(f: Any, explicit: bool) -> Jitted:
    """Return what is known of a function; compiles nothing yet.

    Raises
    ------
    CannotRun
        If it is not a function that numba compiles, or a plain one that was not asked for.
    ValueError
        If it captures data that numba has frozen and that have changed since, or (plain) captures data at all.
    """
    if isinstance(f, Dispatcher):
        if f.targetoptions.get("forceobj"):
            raise CannotRun("f is jitted in object mode")
        known = _known.get(f)
        if known is None:
            known = _known.setdefault(f, Jitted(f))
        changed = known.changed()
        if changed is not None:
            fresh = _if_recompiled(known)
            if fresh is None:
                raise ValueError(
                    f"`f` captured {changed!r}, which has changed since numba compiled it and froze it: f itself still "
                    "answers from the old data. Pass it as an argument by `args=`, or call f.recompile() first"
                )
            known = _known[f] = fresh
        return known
    if not explicit and kernels.JIT:
        raise CannotRun("f is not jitted")
    if not isinstance(f, python_types.FunctionType):
        if kernels.JIT:
            raise CannotRun(f"numba compiles functions, got a {type(f).__name__}; decorate the function with @njit")
        return Jitted(f)
    return _compile_plain(f)


def _if_recompiled(known: Jitted) -> Jitted | None:
    used = [t for t in known._targets.values() if not t.packed]
    if used and all(known.stale(t) for t in used):
        return Jitted(known.f)
    return None


def _compile_plain(f: python_types.FunctionType) -> Jitted:
    captured = captures(f)
    data = [c.name for c in captured if c.is_data]
    if data:
        raise ValueError(
            f"`f` captures the data {data[0]!r}, which numba would freeze when it compiles f; pass it as an argument: "
            f"numerical_gradient(f, x, args=({data[0]},)), or use backend='python'"
        )
    # functions are equal that have the same code and captured the same constants: a lambda made anew each call
    key = f.__code__, f.__defaults__, tuple((c.name, type(c.value), _constant(c.value)) for c in captured)
    with _compiling:
        known = _plain.get(key)
        if known is None:
            count = _code_counts[f.__code__] = _code_counts.get(f.__code__, 0) + 1
            if count == WARN_COMPILED:
                warn(
                    f"{f.__name__} was compiled {count} times, with other captured constants each time; "
                    "pass them as arguments by `args=`, which costs nothing",
                    TrustWarning,
                )
            known = _plain[key] = Jitted(njit(f))
            while len(_plain) > MOST_COMPILED:
                _plain.popitem(last=False)
        else:
            _plain.move_to_end(key)
    return known


def _constant(value: Any) -> Any:
    return value if value.__hash__ is not None else id(value)


class Compiled(InFloats):
    """f behind a compiled kernel."""

    origin = 0.0
    sees_own = False

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.nfev = 0
        self.own: NDArray[Any] | None = None
        self.way = "scalar kernel"
        self._eager, self._workers, self._fast, self._imaginary = (
            call.eager,
            call.workers,
            call.fastmath,
            call.imaginary,
        )
        self._point, self._base = point, point.base
        self._value: float | None = None
        if call.batch_axis is not None:
            raise CannotRun("f takes many points at once; the compiled loop calls it with one")
        if isinstance(call.f, CFunction):
            if call.args or call.kwargs:
                raise TypeError("a C function takes (x, n) only; `args` and `kwargs` must be empty")
            self._known, self._args = jitted(kernels.call_c_function, True), (call.f.address,)
            self._kept = call.f
        else:
            self._known = jitted(call.f, explicit)
            self._args = positional(call)

    @staticmethod
    def check(call: Call, point: Point) -> None:
        """Refuse, for every backend, a jitted f that answers from data that numba has frozen."""
        try:
            known = jitted(call.f, True)
        except CannotRun:
            return
        if point.own is not None and known.shares_memory(point.own):
            raise ValueError(
                "`f` captured the very array `x`, which numba froze when it compiled f: it does not see it change. "
                "Let f use its argument instead"
            )

    @staticmethod
    def quick(
        call: Call, stencil: Stencil, rule: Step | None, explicit: bool = False, memo: Memo | None = None
    ) -> FusedGradient | None:
        """Return a prepared gradient by a fixed rule; without one, by the steps that `memo` remembers."""
        if call.batch_axis is not None:
            raise CannotRun("f takes many points at once; the compiled loop calls it with one")
        memo = call.memo if memo is None else memo
        if rule is not None:
            return FusedGradient(call, stencil, rule, None)
        return FusedGradient(call, stencil, None, memo) if memo is not None and stencil is central(2) else None

    def value(self) -> float:
        if self._value is None:
            self._value = float(self.line(self._base.reshape(1, -1))[0])
        return self._value

    @staticmethod
    def descent(call: Call, stencil: Stencil, rule: Step) -> CompiledDescent:
        """Return a compiled descent along gradients by a fixed rule."""
        return CompiledDescent(call, stencil, rule)

    def notes(self) -> list[str]:
        if not kernels.JIT:
            return []
        if self._imaginary:
            return [f"one point at a time: {COMPLEX}"]
        return [self._known.lanes_reason(self._base.ndim, self._args, self._fast)]

    def fastmath(self) -> str:
        """Say what `fastmath` does for this f."""
        if NO_FASTMATH or self._imaginary:
            return f"no effect: {NO_FASTMATH or COMPLEX}"
        target = self._target(FLOAT64)
        if target.scalar_reason:
            return f"no effect: f runs one point at a time: {target.scalar_reason}"
        if not target.vectorised:
            return "no effect: f calls no function that the vector mathematics library has"
        return f"{', '.join(target.vectorised)} within {lanes.MAX_ULP} ulp, from the vector mathematics library"

    def _target(self, dtype: np.dtype[Any]) -> Target:
        return self._known.target(dtype, self._base.ndim, self._args, self._fast)

    def known_value(self, value: float) -> None:
        self._value = value

    def line(self, points: Values) -> Values:
        target = self._target(points.dtype)
        args = (self._args,) if target.packed else self._args
        values = np.empty(len(points), points.dtype)
        for row, point in enumerate(points):
            self.nfev += 1
            x = np.array(point).reshape(self._base.shape)
            if target.fast and target.lanes and point.size:  # they round differently: let the noise be seen
                first = point[:1].reshape(1, 1)
                Table(target, args, x, np.zeros(1, np.int64), first, values[row : row + 1].reshape(1, 1)).evaluate(1)
            else:
                values[row] = kernels.evaluate(target.address, args, x)
        return values

    def sweep(self, index: Ints, points: Values) -> Values:
        base = self._base if points.dtype.kind == "f" else self._base.astype(np.complex128)
        target = self._target(points.dtype)
        if self._eager:
            target.lift()
        args = (self._args,) if target.packed else self._args
        values = np.empty(points.shape, points.dtype)
        where = np.ascontiguousarray(index, np.int64)
        table = Table(target, args, base, where, np.ascontiguousarray(points), values)
        try:
            table.evaluate(self._workers)
        finally:
            self.nfev += table.nfev
        return values


def positional(call: Call) -> tuple[Any, ...]:
    """Return the extra arguments in the order of f's parameters."""
    f = getattr(call.f, "py_func", call.f)
    if not call.kwargs and (not isinstance(f, python_types.FunctionType) or not f.__defaults__):
        return call.args
    bound = inspect.signature(f).bind(None, *call.args, **call.kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise CannotRun("numba functions with keyword-only arguments are not supported")
    return bound.args[1:]


class FusedGradient:
    """A prepared gradient in one call of one kernel, for x of one shape; safe to call from several threads.

    By a fixed rule; or, without one, a central difference by the steps that `memo` remembers, for as long as these are
    right. What is done at each call is written out: a microsecond is all that it may take.
    """

    def __init__(self, call: Call, stencil: Stencil, rule: Step | None, memo: Memo | None) -> None:
        self._f = f = call.f
        self._pointer: tuple[Any, ...] = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._pointer else f, True)
        self._stencil, self._rule, self._memo = stencil, rule, Memo() if memo is None else memo
        self._eager, self._workers, self._fast = call.eager, call.workers, call.fastmath
        self._guarded = bool(self._known.captured) and not self._pointer
        self._named = bool(getattr(getattr(f, "py_func", f), "__defaults__", None))
        self._shape: tuple[int, ...] = ()
        self._size, self._nfev = -1, 0
        # for each kind of extra arguments; without any, a second time
        self._runs: dict[Any, _Run] = {}
        self._alone: _Run | None = None
        self._nearest: tuple[Any, Floats] | None = None
        self._entered: Any = None  # what the work array of `_nearest` remembers
        self._asked = False
        self._long = False  # whether it takes a kernel more than one call

    def __call__(self, x: Floats, args: tuple[Any, ...], out: Floats) -> int:
        """Write the gradient at x, C-contiguous float64, to `out`.

        Returns nfev, or 0 where something is unusual and the general way is to decide.
        """
        memory, run, extra = self._memo.memory, self._alone, None
        if args or run is None:
            run, extra = self._prepare(x, args)
        kernel, spare, target, _ = run
        before = quiet()
        try:
            held = spare.pop()
        except IndexError:
            held = self._workspace(target, x.size), _NOTHING
        if held[1] is not memory:
            if self._rule is None:
                if memory is None or memory.x.size != x.size:
                    return 0
                _remember(held[0], memory)
            held = held[0], memory
        done = kernel(held[0], x, out) if extra is None else kernel(extra, held[0], x, out)
        if done != self._size:
            done = self._resume(done, kernel if extra is None else partial(kernel, extra), target, held[0], x, out)
        spare.append(held)
        return self._nfev if done == self._size and quiet() == before >= 0 else 0

    def nearest(self) -> tuple[Callable[[Floats, Any, Any], bool], Floats] | None:
        """Return ``run`` and ``work`` where ``run(work, x, out)`` does all of a call without extra arguments.

        It may get any objects, and says whether it has done it. Where it raises, `work` is not to be used again.
        """
        run, memory = self._alone, self._memo.memory
        if run is None or self._long:
            return None
        if not self._asked:  # loading the kernel takes 20 ms: not for a single gradient
            self._asked = True
            return None
        entered = self._nearest and self._nearest[1]
        if entered is not None and kernels.is_undecided(entered):
            self._decide(run.target, entered)
            self._nearest = None  # not to change what another thread may be using
        if self._nearest is None or self._entered is not memory:
            kernel = kernels.nearest(len(self._shape))
            if kernel is None:
                return None
            work = self._workspace(run.target, self._size)
            if memory is not None:
                _remember(work, memory)
            self._nearest, self._entered = (kernel, work), memory
        return self._nearest

    def _resume(self, done: int, kernel: Any, target: Target, work: Floats, x: Floats, out: Floats) -> int:
        """Go on where a kernel has returned before its end, perhaps in lanes now."""
        n = x.size
        while 0 <= done < n:
            self._long = True
            remaining = work[kernels.SPENT] * (n - done) / max(done, 1)
            if max(work[kernels.SPENT], 0.5 * remaining) > work[kernels.BUDGET] or work[kernels.WASTE]:
                self._reconsider(target, work)
            done = kernel(work, x, out)
        if done == n + kernels.RECONSIDER:
            self._reconsider(target, work)
            return n
        return done

    def _reconsider(self, target: Target, work: Floats) -> None:
        self._decide(target, work)
        self._set_lanes(target, work)

    @staticmethod
    def _decide(target: Target, work: Floats) -> None:
        """Take f out of lanes, or into them."""
        if work[kernels.WASTE] > kernels.MOST_WASTE:
            target.sink()
        elif not work[kernels.WIDTH]:
            target.lift()

    @staticmethod
    def _set_lanes(target: Target, work: Floats) -> None:
        run = target.lanes
        work[kernels.RUN] = np.int64(run).view(np.float64)
        work[kernels.WIDTH] = WIDTH if run else 0
        work[kernels.BUDGET] = np.inf if target.settled else kernels.WORTH_LANES
        work[kernels.WASTE] = 0.0
        work[kernels.FAST] = target.fast and target.lanes != 0

    def _workspace(self, target: Target, count: int) -> Floats:
        work = kernels.workspace(self._stencil, self._rule, count, WIDTH, target.address)
        self._set_lanes(target, work)
        return work

    def _prepare(self, x: Floats, args: tuple[Any, ...]) -> tuple[_Run, tuple[Any, ...] | None]:
        """Return what to run, and the extra arguments as it takes them: None if it takes none."""
        if self._pointer:
            args = self._pointer
        elif self._named:
            args = positional(Call(self._f, args))
        if self._guarded:
            if self._known.changed() is not None:
                self._known = jitted(self._f, True)  # compiled anew since, or it raises
                self._runs.clear()
            if self._known.shares_memory(x):
                raise CannotRun("f captured the very array x")
        kinds = tuple(map(_kind, args))
        run = self._runs.get(kinds)
        if run is None:
            run = self._run_for(x, args)
            if len(self._runs) > 8:
                self._runs.clear()
            self._runs[kinds] = run
        if run.steps:
            return run, (args,) if run.target.packed else args
        if not self._guarded:
            self._alone = run
        return run, None

    def _run_for(self, x: Floats, args: tuple[Any, ...]) -> _Run:
        """Return a kernel past numba's dispatcher, which looks at the type of each argument: 0.5 µs and more."""
        target = self._known.target(FLOAT64, x.ndim, args, self._fast)
        if self._eager:
            target.lift()
        self._shape, self._size, self._nfev = x.shape, x.size, x.size * self._stencil.nodes.size
        remembered = self._rule is None
        if remembered or not self._stencil.symmetric:
            self._nfev += 1
        if not (args or target.packed or self._workers > 1):
            kernel = kernels.in_one(x.ndim) if kernels.JIT else partial(kernels.in_python, target.address)
            return _Run(kernel, [], target, False)
        threaded = None if self._workers == 1 else partial(_in_threads, target, self._workers)
        steps = kernels.InSteps(remembered, x.ndim, types.Tuple(target.kinds), target.address, threaded)
        return _Run(steps.run, [], target, True)


def _remember(work: Floats, memory: Any) -> None:
    kernels.remember(work, memory.noise, memory.fine, memory.x, memory.scale, memory.step, memory.patience)


_NOTHING = object()


class _Run(NamedTuple):
    """A kernel for one kind of extra arguments, spare work arrays with what they remember, and what it calls."""

    kernel: Any
    spare: list[tuple[Floats, Any]]  # append and pop are atomic
    target: Target
    steps: bool  # whether the kernel takes extra arguments


def _in_threads(target: Target, workers: int, address: Any, args: tuple[Any, ...], work: Floats, x: Floats) -> int:
    """Do what `kernels.rows_one_by_one` does, in threads."""
    table = Table(target, args, x, *kernels.tables(work))
    table.evaluate(workers)
    return x.size + kernels.DISTURBED if table.disturbed else x.size


class CompiledDescent:
    """A whole descent in one compiled loop; see `fastgrad.descent`."""

    def __init__(self, call: Call, stencil: Stencil, rule: Step) -> None:
        f = call.f
        self._pointer: tuple[Any, ...] = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._pointer else f, True)
        self._fused = FusedGradient(call, stencil, rule, None)

    def __call__(
        self, start: Floats, rate: float, steps: int, tol: float, hopeless: Callable[[float], float], trail: Any
    ) -> tuple[Floats, str]:
        """Take the steps from `start`; returns the last point and why it stopped, and fills in the trail."""
        x, n = start.copy(), start.size
        args = self._pointer
        target = self._known.target(FLOAT64, x.ndim, args)
        args = (args,) if target.packed else args
        if self._fused._eager:
            target.lift()
        work = self._fused._workspace(target, n)
        slope = np.empty_like(x)
        path = trail.path.reshape(len(trail.path), n)
        most = hopeless(float(kernels.evaluate(target.address, args, x.copy())))
        ended = n
        while trail.steps < steps and ended == n:
            rows = path[trail.steps :] if trail.record else path
            taken, ended = kernels.descend(
                target.address,
                args,
                work,
                x,
                slope,
                rate,
                tol,
                most,
                trail.record,
                rows,
                trail.values[trail.steps : steps],
            )
            trail.steps += taken
            if kernels.is_undecided(work):
                self._fused._reconsider(target, work)
            if ended == n + kernels.DISTURBED:
                work[kernels.REFILL], ended = 1.0, n
        if ended == n:
            trail.note(x, float(kernels.evaluate(target.address, args, x.copy())))
            return x, "step_num reached" if np.isfinite(trail.values[trail.steps]) else "f is not finite"
        if ended == -n - 1:
            return x, "tol reached"
        if ended < 0:
            if trail.steps == 0:
                i = -ended - 1
                raise ValueError(
                    f"`h` vanishes or overflows at coordinate {i}: x = {x.reshape(-1)[i]}; use another `h`"
                )
            trail.lost = f"the step is lost at coordinate {-ended - 1}"
            return x, "diverged"
        if abs(trail.values[trail.steps]) > most:
            return x, "diverged"
        return x, "f is not finite" if not np.isfinite(trail.values[trail.steps]) else "the gradient is not finite"
