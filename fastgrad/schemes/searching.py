"""Schemes that look at f to choose the step: automatic and adaptive. They take f by any evaluation of it."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite

import numpy as np

from ..core.errors import CannotRun, NotTrusted
from ..core.evaluation import Evaluation, Values
from ..core.point import Point
from ..core.validation import FLOAT64, Floats, Ints
from .adaptive import STENCIL, adaptive
from .automatic import PROBE_PAYS, Memory, Outcome, automatic
from .differencing import warn_not_finite
from .few import FEW, Given, first_round
from .scheme import Estimate, Task
from .stencils import Stencil, central
from .unrounded import nearby


class Automatic:
    """Steps from f's noise and a second look at the components where another would do better."""

    def __init__(self, stencil: Stencil, noise: float | str | None, bars: bool, name: str) -> None:
        self.stencil, self.noise, self.bars, self.name = stencil, noise, bars, name

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        point, index, everything, bounds = task.point, task.index, task.everything, task.bounds
        x = point.base.reshape(-1)
        if self.stencil is central(2) and self.noise is None and point.dtype is FLOAT64:
            exactly = nearby(run, x, index, bounds, self.bars)
            if exactly is not None:
                return exactly
        here = run.value() - run.origin
        careful, memory = _Careful(run), _recalled(task.memory, x)
        sweep = Given(careful.sweep)
        simple = everything and bounds is None and not self.bars and self.stencil is central(2)
        known = memory is not None or (self.noise is None and x.size < PROBE_PAYS)
        if simple and known and 0 < x.size <= FEW and isfinite(here):
            found = first_round(sweep, careful.line, index, x, here, run.origin, memory)
            if found is not None:
                return _estimate(found, run, point, index, everything)
        outcome = automatic(
            sweep,
            careful.line,
            x,
            here,
            index=index,
            stencil=self.stencil,
            bounds=bounds,
            noise=self.noise,
            memory=memory,
            origin=run.origin,
            bars=self.bars,
        )
        return _estimate(outcome, run, point, index, everything)


class Adaptive:
    """A ladder of steps for each component, to a tolerance."""

    stencil = STENCIL
    name = "adaptive"

    def __init__(self, noise: float | str | None, rtol: float, atol: float) -> None:
        self.noise, self.rtol, self.atol = noise, rtol, atol

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        point, index, everything, bounds = task.point, task.index, task.everything, task.bounds
        x = point.base.reshape(-1)
        if self.noise is None and point.dtype is FLOAT64:
            exactly = nearby(run, x, index, bounds, True)
            if exactly is not None:
                return self._judged(exactly)
        here = run.value() - run.origin
        careful = _Careful(run)
        outcome = adaptive(
            careful.sweep,
            careful.line,
            x,
            here,
            index=index,
            bounds=bounds,
            rtol=self.rtol,
            atol=self.atol,
            noise=self.noise,
            memory=_recalled(task.memory, x),
            origin=run.origin,
        )
        return self._judged(_estimate(outcome, run, point, index, everything))

    def _judged(self, found: Estimate) -> Estimate:
        """Say which components met the tolerance."""
        wanted = np.maximum(self.rtol * np.abs(found.gradient), self.atol)
        return found._replace(reached=found.error <= wanted)


class _Careful:
    """Exploring evaluations: where f raises, its value counts as nan, as outside of its domain.

    The first sweep is what any difference needs: there f's exception comes through.
    """

    def __init__(self, run: Evaluation) -> None:
        self._run = run
        self._first = True

    def sweep(self, index: Ints, points: Values) -> Values:
        run, first, self._first = self._run, self._first, False
        if first:
            return run.sweep(index, points)
        try:
            return run.sweep(index, points)
        except (CannotRun, NotTrusted):
            raise
        except Exception:  # noqa: BLE001 - whatever f raises there
            values = np.full(points.shape, np.nan)
            for row in range(index.size):
                with suppress(Exception):
                    values[row] = run.sweep(index[row : row + 1], points[row : row + 1])[0]
            return values

    def line(self, points: Values) -> Values:
        try:
            return self._run.line(points)
        except (CannotRun, NotTrusted):
            raise
        except Exception:  # noqa: BLE001
            return np.full(len(points), np.nan)


def _recalled(memory: object, x: Floats) -> Memory | None:
    return memory if isinstance(memory, Memory) and memory.x.size == x.size else None


def _estimate(outcome: Outcome, run: Evaluation, point: Point, index: Ints, everything: bool) -> Estimate:
    failed = np.flatnonzero(np.isnan(outcome.gradient))
    if failed.size:
        i = failed[0]
        warn_not_finite(point, index[failed], float(outcome.point[i]), run.value())
    return Estimate(
        outcome.gradient,
        outcome.step,
        outcome.error,
        None,
        outcome.noise.level,
        memory=outcome.memory if everything else None,
    )
