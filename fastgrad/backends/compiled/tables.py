"""Tables of points: f at each, in lanes or not, in one thread or in several, to the same bits."""

from __future__ import annotations

import threading
from functools import partial
from itertools import pairwise
from math import gcd, inf
from time import perf_counter
from typing import Any

import numpy as np

from ...core.evaluation import Values
from ...core.validation import Args, Ints
from ...executors.threads import run_all
from . import kernels
from .functions import WIDTH, Target
from .workspace import aligned, let_go

# A thread that is handed a task begins some 30 µs later than the one that hands it: worth it from a few times that on.
HANDED = 3e-5
WORTH_THREADS = 1.5e-4
# Seconds that a point takes longer in a loop in Python than in a kernel.
IN_PYTHON = 3e-7


class Table:
    """A table of points to evaluate f at.

    `nfev`: how many evaluations it took.
    `disturbed`: whether f writes into its argument. Then it gets a fresh copy for each evaluation.
    """

    def __init__(
        self, target: Target, args: Args, x: Values, index: Ints, points: Values, at_once: bool = False
    ) -> None:
        self._target, self._args, self._x = target, args, x
        self._index, self._points, self._values = index, points, np.empty(points.shape, points.dtype)
        self._worth = inf if at_once else points.size * IN_PYTHON
        self.nfev, self.disturbed = 0, False

    def evaluate(self, workers: int) -> Values:
        """Return the values."""
        count, columns = self._points.shape
        if not self._fill(count, workers):
            self.nfev += count * columns
            self.disturbed = True
            self._fill(count, workers)
        self.nfev += count * columns
        return self._values

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

    def _kernel(self, in_lanes: bool) -> Any:
        if in_lanes:
            return self._target.kernel(kernels.sweep_lanes, kernels.lanes_signature, inf)  # f took longer to compile
        return self._target.kernel(kernels.sweep, kernels.sweep_signature, self._worth)

    def _rows(self, first: int, last: int, stop: threading.Event | None) -> bool:
        """Evaluate rows with buffers of their own, until told to stop."""
        target, x = self._target, self._x
        index, points, values = (a[first:last] for a in (self._index, self._points, self._values))
        y, flat, tile = np.empty_like(x), x.reshape(-1), None
        done, count = 0, last - first
        kernel = None if target.lanes else self._kernel(False)
        args = target.pack(self._args)
        while done < count and not (stop is not None and stop.is_set()):
            began, before = perf_counter(), done
            lanes = target.lanes
            if lanes and not self.disturbed:
                if tile is None:
                    bundled = self._kernel(True)
                    tile = aligned(x.size * WIDTH).reshape(x.size, WIDTH)
                    progress, meter = np.zeros(1, np.int64), np.zeros(2)
                done = bundled(lanes, target.address, args, x, y, tile, progress, index, points, values, done, meter)
                if meter[0] > kernels.MOST_WASTE:
                    target.sink()
                continue
            if kernel is None and lanes:
                kernel = self._kernel(False)
            if kernel is None:
                try:
                    done = self._in_python(y, index, points, values, done)
                except BaseException:
                    let_go(y)
                    raise
            else:
                done = kernel(target.address, args, flat, y, index, points, values, done, self.disturbed, 1)
            if done < 0:
                return False
            seconds = perf_counter() - began
            target.spend(seconds, seconds * (count - done) / (done - before))
        return True

    def _in_python(self, y: Values, index: Ints, points: Values, values: Values, start: int) -> int:
        """Do what `kernels.sweep` does; it returns to look at the clock after the first rows."""
        call, args, flat = self._target.call, self._args, y.reshape(-1)
        base = self._x.reshape(-1)
        if start == 0:
            flat[:] = base
        end = min(len(index), max(2 * start, 8))
        for row, (i, some) in enumerate(zip(index[start:end].tolist(), points[start:end].tolist(), strict=True), start):
            here = base[i]
            if not self.disturbed and flat[i] != here:
                return -1 - row
            for column, point in enumerate(some):
                if self.disturbed:
                    flat[:] = base
                flat[i] = point
                values[row, column] = call(y, *args)
            flat[i] = here
        if end == len(index) and not self.disturbed and not np.array_equal(flat, base):
            return -1 - end
        return end
