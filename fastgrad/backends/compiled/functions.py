"""What is known of a function that numba compiles: itself compiled for each kind of argument, what it captured."""

from __future__ import annotations

import inspect
import os
import types as python_types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numba import config, njit, typeof, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from ...core.call import Call
from ...core.errors import CannotRun, TrustWarning, describe, warn
from ...core.validation import FLOAT64, Args, number
from ...inspecting.captures import Capture, arrays_in, captures
from ...lifting import lanes
from ...lifting.native import address_of
from . import kernels
from .cache import Entry, compiling, entry, lanes_of

JIT = not config.DISABLE_JIT

# A hundred different lambdas cost 110 s and 275 MB to compile (measured): keep this many, and say so once.
MOST_COMPILED = 64
WARN_COMPILED = 16

COMPLEX = "complex x is not for lanes"

# Lanes take half a second or more to compile: worth it after so many seconds of f alone, or before twice as many more.
WORTH_LANES = 1.0

NO_LANES = "" if JIT else "NUMBA_DISABLE_JIT is set"
NO_LANES = NO_LANES or ("FASTGRAD_LANES is 0" if os.environ.get("FASTGRAD_LANES") == "0" else "")
NO_FASTMATH = NO_LANES
if not (NO_FASTMATH or lanes.fastmath_available()):
    NO_FASTMATH = "this system has no vector mathematics library (libmvec)"
WIDTH = 0 if NO_LANES else lanes.lane_width()


class Target:
    """f, compiled for one kind of x and of extra arguments.

    `call`: f from Python, past numba's dispatcher; it returns a float, or a complex number for a complex x.
    `packed`: whether f at `address` takes its extra arguments as one tuple.
    `lanes`: where f compiled for lanes is; 0 where it is not, or not yet.
    `scalar_reason`: what keeps f from running in lanes; empty where nothing does, or it has not been tried.
    `fast`: whether lanes may take exp, log, ... from the system's vector mathematics library. Then they are compiled at
        once: a value must not depend on how long f has been running.
    `vectorised`: the functions that they take from there.
    `pace`: seconds that a row of a table takes, by the size of x and the number of points in a row.
    """

    def __init__(self, f: Any, shape_kind: types.Array, kinds: tuple[types.Type, ...], fast: bool = False) -> None:
        self.lanes = 0
        self.fast = fast
        self.vectorised: tuple[str, ...] = ()
        self.pace: dict[tuple[int, int], float] = {}
        self.owners: dict[str, Any] = {}  # f compiled for owner lanes, or why it cannot be, by what compiles it
        self.scalar_reason = NO_LANES
        self._spent = 0.0
        self._entries: dict[Any, Entry] = {}
        self._kind, self._kinds = shape_kind, kinds
        if shape_kind.dtype != types.float64:
            self.scalar_reason = COMPLEX
        elif f is kernels.call_c_function:
            self.scalar_reason = "a C function takes one point"
        self._f = f
        compiled: Any = None
        if JIT and getattr(f, "_can_compile", False) and not _takes_any(f):
            compiled = _compile(f, (shape_kind, *kinds))
        self._compiled = compiled
        self.packed = compiled is None or compiled.signature.return_type != shape_kind.dtype
        if self.packed and compiled is not None:
            _refuse_result(compiled.signature.return_type)
        entry = f if compiled is None else compiled.entry_point
        if self.packed:
            as_number = complex if shape_kind.dtype == types.complex128 else number
            self.call: Callable[..., Any] = lambda x, *args: as_number(entry(x, *args))
        else:
            self.call = entry
        if JIT and compiled is None:
            _ = self.address  # numba may refuse f
        if fast:
            self.lift()

    @cached_property
    def native(self) -> tuple[Any, Any]:
        """What kernels call: a jitted function, and what numba has compiled of it."""
        if not self.packed:
            return self._f, self._compiled
        gives_array = self._compiled is not None and isinstance(self._compiled.signature.return_type, types.Array)
        adapted = _adapter(self._f, gives_array)
        return adapted, _compile(adapted, (self._kind, *self.kinds))

    @cached_property
    def address(self) -> int:
        """Where the compiled f is."""
        return address_of(self.native[1])

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of the extra arguments, as f at `address` takes them."""
        return (types.Tuple(self._kinds),) if self.packed else self._kinds

    def pack(self, args: Args) -> tuple[Any, ...]:
        """Return the extra arguments as f at `address` takes them."""
        return (args,) if self.packed else args

    def kernel(self, which: object, signature: Callable[..., tuple[Any, ...]], worth: float) -> Any:
        """Return a kernel whose types follow from those of the arguments and of x; None until it is worth compiling."""
        if not JIT:
            return None
        known = self._entries.get(which)
        if known is None:
            known = self._entries[which] = entry(which, signature(self.kinds, self._kind))
        return known.point(worth)

    @property
    def settled(self) -> bool:
        """Whether it is known if f runs in lanes."""
        return bool(self.lanes or self.scalar_reason)

    def lift(self) -> None:
        """Compile f for lanes, or find out why that cannot be."""
        with compiling:
            if self.settled:
                return
            try:
                how = self._kind.ndim, self.kinds, self.fast
                lifted = lanes_of(lanes.compile_lanes, self.native[0], *how)
            except lanes.CannotLift as error:
                self.scalar_reason = error.reason
            else:
                self._lifted = lifted
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

    @property
    def stale(self) -> bool:
        """Whether the user has recompiled f since."""
        compiled = self._compiled
        return compiled is not None and not any(compiled is overload for overload in self._f.overloads.values())


def _compile(f: Any, signature: tuple[types.Type, ...]) -> Any:
    try:
        f.compile(signature)
        return f.overloads[signature]
    except (NumbaError, TypeError) as error:
        first = str(error).strip().splitlines()
        raise CannotRun(f"numba cannot compile f for {signature[0]}: {describe(' '.join(first[:3]), 300)}") from error
    except KeyError as error:
        raise CannotRun(f"numba compiled f for another signature than {signature}") from error


def _refuse_result(result: object) -> None:
    if isinstance(result, types.Optional):
        raise CannotRun(f"f may return None: numba types its result {result}")
    if not isinstance(result, (types.Integer, types.Boolean, types.Float, types.Array, types.Literal)):
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
        self.targets: dict[Any, Target] = {}
        self.many_values: dict[Any, Any] = {}  # the same as a function of many values, by how it is called
        if self.function is not None and JIT:
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

    def target(self, dtype: np.dtype[Any], ndim: int, args: Args, fast: bool = False) -> Target:
        """Return f compiled for x of this kind and these extra arguments; see `Target` for `fast`."""
        fast = fast and not NO_FASTMATH
        key = dtype.char, ndim, tuple(map(kind_of, args)), fast
        target = self.targets.get(key)
        if target is None or (self.captured and target.stale):
            with compiling:
                scalar = types.complex128 if dtype.kind == "c" else types.float64
                target = Target(self.f, types.Array(scalar, ndim, "C"), tuple(map(_type, args)), fast)
                self.targets[key] = target
        return target

    def lanes_reason(self, ndim: int, args: Args, fast: bool = False) -> str:
        """Say whether f runs in lanes for such arguments, and what stops it, for people to read."""
        target = self.target(FLOAT64, ndim, args, fast)
        if target.lanes:
            return f"{WIDTH} points at a time, in lanes"
        if target.scalar_reason:
            return f"one point at a time: {target.scalar_reason}"
        return "one point at a time, so far: lanes are compiled when that pays"


_OF_ONE_TYPE = frozenset({float, bool, np.float64})
# the flags of an array that numba types: contiguous in C's order, or else in Fortran's; aligned, writeable
_C, _OTHERS = 0x1 | 0x100 | 0x400, 0x2 | 0x100 | 0x400


def kind_of(value: Any) -> Any:
    """Tell apart what numba types differently, without asking numba: its typeof takes 10 µs."""
    kind = type(value)
    if kind in _OF_ONE_TYPE or (kind is int and -(2**63) <= value < 2**63):
        return kind
    if kind is np.ndarray:
        flags = value.flags.num
        return value.dtype, value.ndim, flags & (_C if flags & 1 else _OTHERS)
    return _type(value)


def _type(value: object) -> Any:
    try:
        return typeof(value)
    except (ValueError, NumbaError) as error:
        raise CannotRun(f"numba has no type for an extra argument: {error}") from error


_known: weakref.WeakKeyDictionary[Any, Jitted] = weakref.WeakKeyDictionary()
_plain: OrderedDict[Any, Jitted] = OrderedDict()
_code_counts: dict[Any, int] = {}


def jitted(f: object, explicit: bool) -> Jitted:
    """Return what is known of a function; compiles nothing yet.

    CannotRun if it is not a function that numba compiles, or a plain one that was not asked for. ValueError if it
    captures data that numba has frozen and that have changed since, or (plain) captures data at all.
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
    if not explicit and JIT:
        raise CannotRun("f is not jitted")
    if not isinstance(f, python_types.FunctionType):
        if JIT:
            raise CannotRun(f"numba compiles functions, got a {type(f).__name__}; decorate the function with @njit")
        return Jitted(f)
    return _compile_plain(f)


def _if_recompiled(known: Jitted) -> Jitted | None:
    used = known.targets.values()
    return Jitted(known.f) if used and all(target.stale for target in used) else None


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
    with compiling:
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


def _constant(value: object) -> Any:
    return value if value.__hash__ is not None else id(value)


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
