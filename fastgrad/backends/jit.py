"""The compiled backend: @njit functions, plain functions that compile, C function pointers."""

from __future__ import annotations

import inspect
import threading
import types as python_types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, typeof, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from .._validate import FLOAT64, Floats, Ints, number
from ..errors import CannotRun, TrustWarning, describe, warn
from ..evaluation import Values
from ..point import Point, quiet
from ..stencils import Stencil
from ..steps import Step
from . import kernels
from .captures import Capture, captures
from .cfunctions import CFunction
from .table import Call

# A hundred different lambdas cost 110 s and 275 MB to compile (measured): keep this many, and say so once.
MOST_COMPILED = 64
WARN_COMPILED = 16

_compiling = threading.RLock()


class Target:
    """f, compiled for one kind of x and of extra arguments, as the kernels need it.

    Attributes
    ----------
    address
        Where the compiled f is (f itself where numba's compiler is disabled).
    packed : bool
        Whether it takes its extra arguments as one tuple.
    """

    def __init__(self, f: Callable[..., Any], shape_kind: types.Array, kinds: tuple[types.Type, ...]) -> None:
        self.packed = False
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
        self.address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

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
        return any(isinstance(c.value, np.ndarray) and np.may_share_memory(c.value, array) for c in self.captured)

    def target(self, dtype: np.dtype[Any], ndim: int, args: tuple[Any, ...]) -> Target:
        """Return f compiled for x of this kind and these extra arguments."""
        key = dtype.char, ndim, tuple(map(_kind, args))
        target = self._targets.get(key)
        if target is None or (self.captured and self._stale(target)):
            with _compiling:
                scalar = types.complex128 if dtype.kind == "c" else types.float64
                target = Target(self.f, types.Array(scalar, ndim, "C"), tuple(map(_type, args)))
                self._targets[key] = target
        return target

    def _stale(self, target: Target) -> bool:
        """Whether the user has recompiled f since."""
        kept = target._kept
        return (
            isinstance(kept, tuple)
            and kept[0] is self.f
            and not any(kept[1] is overload for overload in self.f.overloads.values())
        )


def _kind(value: Any) -> Any:
    """Tell apart what numba types differently, without asking numba: its typeof takes 10 µs."""
    kind = type(value)
    if kind is np.ndarray:
        return value.dtype, value.ndim, value.flags.num
    if kind in (float, bool, np.float64) or (kind is int and -(2**63) <= value < 2**63):
        return kind
    return _type(value)


def _type(value: Any) -> Any:
    try:
        return typeof(value)
    except (ValueError, NumbaError) as error:
        raise CannotRun(f"numba has no type for an extra argument: {error}") from error


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
    if used and all(known._stale(t) for t in used):
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


class Compiled:
    """f behind a compiled kernel."""

    origin = 0.0
    sees_own = False

    def __init__(self, call: Call, point: Point, explicit: bool = False) -> None:
        self.nfev = 0
        self._base = point.base
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
    def quick(call: Call, stencil: Stencil, rule: Step | None) -> FusedGradient | None:
        """Return a prepared gradient by a fixed rule."""
        return None if rule is None else FusedGradient(call.f, stencil, rule)

    def value(self) -> float:
        if self._value is None:
            self._value = float(self.line(self._base.reshape(1, -1))[0])
        return self._value

    @staticmethod
    def descent(call: Call, stencil: Stencil, rule: Step) -> CompiledDescent:
        """Return a compiled descent along gradients by a fixed rule."""
        return CompiledDescent(call.f, stencil, rule)

    def known_value(self, value: float) -> None:
        self._value = value

    def line(self, points: Values) -> Values:
        target = self._known.target(points.dtype, self._base.ndim, self._args)
        args = (self._args,) if target.packed else self._args
        values = np.empty(len(points), points.dtype)
        for row, point in enumerate(points):
            self.nfev += 1
            values[row] = kernels.evaluate(target.address, args, np.array(point).reshape(self._base.shape))
        return values

    def sweep(self, index: Ints, points: Values) -> Values:
        base = self._base if points.dtype.kind == "f" else self._base.astype(np.complex128)
        target = self._known.target(points.dtype, self._base.ndim, self._args)
        args = (self._args,) if target.packed else self._args
        values = np.empty(points.shape, points.dtype)
        y = np.empty_like(base)
        flat, table = base.reshape(-1), np.ascontiguousarray(points)
        start, refill = 0, False
        where = index.astype(np.int64, copy=False)
        while start < index.size:
            done = kernels.sweep(target.address, args, flat, y, where, table, values, start, refill)
            if done < 0:  # f writes into its argument: begin again, with a fresh copy for each evaluation
                self.nfev += (-1 - done) * points.shape[1]
                start, refill = 0, True
            else:
                start = done
        self.nfev += points.size
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
    """A prepared gradient by a fixed rule, in one call of one kernel; safe to call from several threads."""

    def __init__(self, f: Any, stencil: Stencil, rule: Step) -> None:
        self._f = f
        self._pointer: tuple[Any, ...] = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._pointer else f, True)
        self._stencil, self._rule = stencil, rule
        self._spare: list[Floats] = []  # of work arrays; append and pop are atomic
        self._direct: tuple[Any, Any, tuple[Any, ...]] | None = None

    def __call__(self, x: Floats, args: tuple[Any, ...], out: Floats) -> int:
        """Write the gradient at x, C-contiguous float64, to `out`.

        Returns nfev, or 0 where something is unusual and the general way is to decide.
        """
        if self._known.captured and not self._pointer:
            self._known = jitted(self._f, True)
            self._direct = None
            if self._known.shares_memory(x):
                return 0
        run, address, args = (None if args else self._direct) or self._prepare(x, args)
        before = quiet()
        try:
            work = self._spare.pop()
        except IndexError:
            work = kernels.workspace(self._stencil, self._rule, x.size)
        n = x.size
        done = run(address, args, work, x, out)
        while 0 <= done < n:
            done = run(address, args, work, x, out)
        self._spare.append(work)
        if done != n or before < 0 or quiet() != before:
            return 0
        return n * self._stencil.nodes.size + (not self._stencil.symmetric)

    def _prepare(self, x: Floats, args: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
        """Return the kernel, f's address and its extra arguments as the kernel takes them."""
        args = self._pointer or positional(Call(self._f, args))
        target = self._known.target(FLOAT64, x.ndim, args)
        args = (args,) if target.packed else args
        if args:
            return kernels.gradient_in_steps, target.address, args
        run: Any = kernels.gradient
        if kernels.JIT:  # past numba's dispatcher, which looks at the type of each argument: 0.5 µs
            run = kernels.entry_point(run, x.ndim)
        direct = self._direct = run, target.address, args
        return direct


class CompiledDescent:
    """A whole descent in one compiled loop; see `fastgrad.descent`."""

    def __init__(self, f: Any, stencil: Stencil, rule: Step) -> None:
        self._pointer: tuple[Any, ...] = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._pointer else f, True)
        self._stencil, self._rule = stencil, rule

    def __call__(
        self, start: Floats, rate: float, steps: int, tol: float, hopeless: Callable[[float], float], trail: Any
    ) -> tuple[Floats, str]:
        """Take the steps from `start`; returns the last point and why it stopped, and fills in the trail."""
        x, n = start.copy(), start.size
        args = self._pointer
        target = self._known.target(FLOAT64, x.ndim, args)
        args = (args,) if target.packed else args
        work = kernels.workspace(self._stencil, self._rule, n)
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
