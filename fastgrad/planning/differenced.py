"""The numerical gradient of f around one point, as what a Hessian differences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import quietly
from ..core.point import Point, as_point
from ..core.structure import as_seen
from ..core.validation import Args, Floats


class _Joined(NamedTuple):
    """The gradients with respect to all arrays of a dictionary, one after another."""

    gradient: Floats
    error: Floats | None
    nfev: int
    backend: str


class ByArray:
    """The gradient of an f that reads the arrays of a dictionary itself: lifted at each of them, where they are."""

    def __init__(self, flat: Any, each: Any) -> None:
        self.f, self._flat, self._each = flat.f, flat, each

    def _run(self, x: Any, args: Args, f0: Any, bars: bool) -> Any:
        if not (isinstance(x, Point) and isinstance(x.given, dict)):
            return self._flat._run(x, args, f0, bars)
        structure, done = self._each._each(x.given, args, lambda one, leaf: one._run(leaf, (), f0, bars))
        slopes, errors = ([one.gradient for one in done], [one.estimate.error for one in done])
        error = structure.joined(errors) if bars else None
        return _Joined(structure.joined(slopes), error, sum(one.nfev for one in done), "numpy")

    def with_info(self, x: object, *args: object) -> tuple[Floats, Any]:
        done = self._run(as_point(x), args, None, True)
        return done.gradient, done


class Differenced:
    """The numerical gradient of f around one point, and how many evaluations of f it took so far."""

    def __init__(self, gradient: Any, point: Point, hold: bool) -> None:
        self.gradient, self.nfev = gradient, 0
        own, container = point.own, point.container
        self._held: Any = None
        if not hold:
            return
        if container is not None and container.perturbable:
            self._held = container.given
        elif own is not None and point.perturbable:
            self._held = own

    def __call__(self, y: Floats, *args: object, **_: object) -> NDArray[Any]:
        return self.with_cost(y, *args)[0]

    def with_cost(self, y: Floats, *args: Any, **_: Any) -> tuple[NDArray[Any], int]:
        """Return the gradient, and how many evaluations of f it took: a worker cannot say that otherwise."""
        here = None if self._held is None else as_seen(self._held)
        held = here is not None and np.array_equal(here.base, y if here.own is None else y.astype(here.own.dtype))
        with quietly():  # whoever differences it tells
            done = self.gradient._run(here if held else y, args, None, False)
        self.nfev += done.nfev
        return done.gradient, done.nfev
