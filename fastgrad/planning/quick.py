"""What goes before the planner: the compiled loop that does all of a prepared gradient, owner lanes, and `jitted`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import prod
from typing import Any, TypeGuard

import numpy as np
from numpy import empty, ndarray

from ..backends.table import load
from ..core.call import Call
from ..core.errors import CannotRun, describe
from ..core.options import AUTO, Options
from ..core.validation import FLOAT64, Floats
from ..inspecting.kinds import PLAIN, is_jitted, kind_of
from ..schemes.stencils import Stencil, central
from ..schemes.table import ADAPTIVE, is_automatic, rule_for
from .planner import Plan, with_owners

__all__ = ["Quick", "jitted"]

# what a gradient inside compiled code can honour
JITTED_OPTIONS = frozenset({"h", "method", "order", "rel_step", "backend", "compile"})
MOST_SHAPES = 16  # of x that a prepared gradient is kept ready for

# a compiled loop that does all of a gradient, for plain float64 arrays of one shape: it writes to `out`, and returns
# whether it did, or the general way is to decide
Fused = Callable[[Floats, tuple[Any, ...], Floats], bool]


def is_plain(x: object) -> TypeGuard[Floats]:
    """Whether compiled loops take an array as it is."""
    return type(x) is ndarray and x.dtype is FLOAT64 and x.flags.carray


class Quick:
    """The compiled ways of a prepared gradient, by the shape of x."""

    def __init__(self, call: Call, options: Options, stencil: Stencil) -> None:
        self._call, self._options, self._stencil = call, options, stencil
        self._fused: dict[tuple[int, ...], Fused | None] = {}
        self._owners: dict[tuple[int, ...], Any] = {}
        automatic, named = is_automatic(options), options.backend == "numba"
        ordinary = (
            (named or options.backend == AUTO)
            and options.bounds is None
            and options.indices is None
            and options.dtype is None
            and not (options.labels or options.remember or call.kwargs or call.watched)
            and call.batch_axis is None
            and not (automatic and options.noise is not None)
        )
        self._may_fuse = (
            ordinary
            and (named or kind_of(call.f) != PLAIN)
            and not stencil.imaginary
            and not (isinstance(options.method, str) and options.method == ADAPTIVE)
        )
        # whether owner lanes are a way: for all of a default gradient of a jitted f
        self.may_own = ordinary and automatic and not options.fastmath and stencil == central(2) and is_jitted(call.f)

    def gradient(self, x: object, args: tuple[Any, ...], out: Any) -> Floats | None:
        """Return the gradient at x; None where the general way is to decide."""
        if type(x) is not ndarray or x.dtype is not FLOAT64 or not x.flags.carray:  # `is_plain`, 60 ns faster
            return None
        shape = x.shape
        try:
            fused = self._fused[shape]
        except KeyError:
            fused = self._fuse(shape)
        if fused is None:
            return None
        ours, done = out is None, False
        if ours:
            out = empty(shape)
        elif not (is_plain(out) and out.shape == shape) or np.may_share_memory(out, x):  # x is needed to the end
            return None
        try:
            done = fused(x, args, out)
        except CannotRun:
            return None
        finally:
            if ours and not done:
                out.resize(0, refcheck=False)  # compiled code that raises keeps its arguments for ever
        return out if done else None

    def _fuse(self, shape: tuple[int, ...]) -> Fused | None:
        if len(self._fused) >= MOST_SHAPES:
            self._fused.clear()
        fused: Fused | None = None
        if self._may_fuse and 0 not in shape:
            with suppress(CannotRun):
                rule = rule_for(self._options, self._stencil, shape)
                made = load("compiled").quick(self._call, self._stencil, rule)
                fused = made and made.__call__  # 70 ns less than to call the object
        owners = self._owners_of(shape)
        if owners is not None:
            fused = owners.fused(fused)
        self._fused[shape] = fused
        return fused

    def _owners_of(self, shape: tuple[int, ...]) -> Any:
        """Return what decides, once and for all, about owner lanes at x of this shape; None where they are out."""
        if not self.may_own:
            return None
        if shape not in self._owners:
            owners = None
            with suppress(CannotRun):
                kind = load("owners")
                suits = kind.suit(prod(shape), self._options.compile == "eager", self._call.f)
                owners = kind(self._call, shape) if suits else None
            self._owners[shape] = owners
        return self._owners[shape]

    def owned(self, shape: tuple[int, ...]) -> Plan | None:
        """Return the plan that tries owner lanes first, where they are a way at x of this shape."""
        owners = self._owners_of(shape)
        return None if owners is None else with_owners(owners)


def jitted(
    f: Any, call: Call, options: Options, stencil: Stencil, general: Callable[[Any, tuple[Any, ...]], Any]
) -> Any:
    """Return the gradient as a function for compiled code; `general` is the gradient outside. See `Gradient.jitted`."""
    how = "use `numba.njit` for f, as in Gradient(numba.njit(f)).jitted"
    if not is_jitted(f):
        raise TypeError(f"`f` must be compiled by numba to be called from compiled code, got {describe(f)}; {how}")
    wrong = sorted(options.given().keys() - JITTED_OPTIONS)
    if wrong:
        raise ValueError(
            f"`{wrong[0]}` cannot be honoured in compiled code, got {describe(getattr(options, wrong[0]))}; "
            f"`jitted` knows {', '.join(sorted(JITTED_OPTIONS))} (extra arguments go to the call)"
        )
    if options.method == "adaptive" or stencil.imaginary or options.backend not in ("auto", "numba"):
        name = "method" if options.backend in ("auto", "numba") else "backend"
        raise ValueError(
            f"`{name}` cannot be honoured in compiled code, got {describe(getattr(options, name))}; "
            "valid are method 'central', 'forward', 'backward' or a real stencil, and backend 'auto' or 'numba'"
        )
    steps = (options.h, options.rel_step)
    shape = next((np.shape(step) for step in steps if not isinstance(step, str) and np.ndim(step)), ())
    rule = rule_for(options, stencil, shape)
    try:
        return load("compiled").jitted(call, stencil, rule, general)
    except CannotRun as error:
        raise TypeError(f"`f` cannot be called from compiled code: {error}; {how}") from error
