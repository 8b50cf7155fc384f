"""A gradient in one call of one kernel."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import numpy as np

from ...core.call import Call
from ...core.errors import CannotRun
from ...core.point import quiet
from ...core.validation import FLOAT64, Args, Floats
from ...inspecting.cfunctions import CFunction
from ...schemes.stencils import Stencil
from ...schemes.steps import Step
from . import kernels
from .default import by_rule
from .functions import WIDTH, Target, jitted, kind_of, positional
from .workspace import let_go, record, workspace

# Seconds that the general way takes longer than a kernel.
GENERAL = 1e-4


class FusedGradient:
    """A prepared gradient in one call of one kernel, for x of one shape; safe to call from several threads.

    What is done at each call is written out: a microsecond is all that it may take.
    """

    def __init__(self, call: Call, stencil: Stencil, rule: Step | None) -> None:
        self._f = f = call.f
        self._pointer: tuple[Any, ...] = (f.address,) if isinstance(f, CFunction) else ()
        self._known = jitted(kernels.call_c_function if self._pointer else f, True)
        self._stencil, self._rule = stencil, rule
        self._eager, self._fast = call.eager, call.fastmath
        self._guarded = bool(self._known.captured) and not self._pointer
        self._named = bool(getattr(getattr(f, "py_func", f), "__defaults__", None))
        self._size = -1
        self._runs: dict[Any, _Run] = {}  # for each kind of extra arguments
        self._alone: tuple[_Run, tuple[Any, ...]] | None = None  # without any

    def __call__(self, x: Floats, args: Args, out: Floats) -> bool:
        """Write the gradient at x, C-contiguous float64, to `out`.

        Returns whether it did: where something is unusual the general way is to decide.
        """
        alone = self._alone
        if args or alone is None:
            found = self._prepare(x, args)
            if found is None:
                return False
            run, args = found
        else:
            run, args = alone
        kernel, spare, target = run
        before = quiet()
        try:
            work = spare.pop()
        except IndexError:
            work = self.workspace(target, x.size)
        try:
            done = kernel(args, work, x, out)
        except Exception:
            let_go(work)
            if self._rule is None:  # perhaps at a point that only explores
                return False
            raise
        if done != self._size:
            done = self._resume(done, run, args, work, x, out)
        spare.append(work)
        return done == self._size and quiet() is before is not None

    def _resume(self, done: int, run: _Run, args: Args, work: Floats, x: Floats, out: Floats) -> int:
        """Go on where a kernel has returned before its end, perhaps in lanes now."""
        n, head = x.size, record(work)
        while 0 <= done < n:
            remaining = head.spent * (n - done) / max(done, 1)
            if max(head.spent, 0.5 * remaining) > head.budget or work[head.meter_at]:
                self.reconsider(run.target, work)
            done = run.kernel(args, work, x, out)
        if done != n + kernels.RECONSIDER:
            return done
        self.reconsider(run.target, work)
        return n

    def reconsider(self, target: Target, work: Floats) -> None:
        """Take f out of lanes, or into them."""
        head = record(work)
        if work[head.meter_at] > kernels.MOST_WASTE:
            target.sink()
        elif not head.lanes:
            target.lift()
        _set_lanes(target, work)

    def workspace(self, target: Target, count: int) -> Floats:
        """Return what a kernel works in."""
        work = workspace(self._stencil, self._rule, count, WIDTH, target.address)
        _set_lanes(target, work)
        return work

    def _prepare(self, x: Floats, args: Args) -> tuple[_Run, tuple[Any, ...]] | None:
        """Return what to run, and the extra arguments as it takes them; None while that is not compiled."""
        given = args
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
        kinds = tuple(map(kind_of, args))
        run = self._runs.get(kinds)
        if run is None:
            target = self._known.target(FLOAT64, x.ndim, args, self._fast)
            if self._eager:
                target.lift()
            loop = by_rule if self._rule is None else kernels.by_step
            kernel = target.kernel(loop, kernels.signature, inf if self._eager or target.fast else GENERAL)
            if kernel is None:
                return None
            self._size = x.size
            run = _Run(kernel, [], target)
            if len(self._runs) > 8:
                self._runs.clear()
            self._runs[kinds] = run
        packed = run.target.pack(args)
        if not (given or self._guarded):
            self._alone = run, packed
        return run, packed


class _Run(NamedTuple):
    """A kernel for one kind of extra arguments, spare workspaces, and what it calls."""

    kernel: Any
    spare: list[Floats]  # append and pop are atomic
    target: Target


def _set_lanes(target: Target, work: Floats) -> None:
    head = record(work)
    head.lanes, head.fast = target.lanes, bool(target.fast and target.lanes)
    head.budget = np.inf if target.settled else kernels.WORTH_LANES
    work[head.meter_at] = 0.0
