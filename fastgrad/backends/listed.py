"""Entries of Jacobians and Hessians, listed by the sparse lift in one run of f."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import CannotRun
from ..core.validation import Floats
from ..lifting.signals import CannotLift, Signal, where_in
from ..lifting.sparse.hessian import gradient_beside, interactions
from ..lifting.sparse.jacobian import Listed, entries

IMAGINARY = 1e-100  # times a direction, added to x as an imaginary part: its square vanishes


def listed(f: object, call: Call, x: Floats, d: Floats, before: Listed | None = None, sparse: bool = False) -> Listed:
    """List the entries of the Jacobian of f, called as `call` says, that one run shows; d is added to each entry of x.

    Where the result is to be sparse, what is zero by f's structure is left out.

    CannotRun where f cannot be lifted.
    """
    lift = partial(entries, call, x, d, before=before, sparse=sparse)
    found: tuple[Listed, bool] = _lifted(f, lift, before is not None and before.substitutes)
    return found[0]._replace(substitutes=found[1])


def _lifted(f: Any, lift: Any, substitutes: bool) -> tuple[Any, bool]:
    """Lift f as it is; where it stops at something that gives a bundle no say, with substitutes from then on."""
    try:
        if not substitutes:
            try:
                return lift(substitutes=False), False
            except CannotLift:
                pass
        return lift(substitutes=True), True
    except Signal as signal:
        raise _refusal(f, signal) from signal


def _refusal(f: Any, signal: Signal) -> CannotRun:
    where = where_in(f, signal.__traceback__)
    return CannotRun(f"{signal} ({where})" if where else str(signal))


class Curvature:
    """Second derivatives of a scalar f by lifting it at a complex point.

    The gradient of an analytic f at x + i t v has the imaginary part t H v, without any subtraction: the complex step
    (Squire and Trapp 1998, SIAM Review 40, 110), applied to unrounded differences.
    """

    def __init__(self, f: object, call: Call, x: Floats, steps: Floats) -> None:
        self._f, self._call, self._x, self._steps = f, call, x, steps
        self._substitutes = False
        # entries of x that move apart what f chose between and is equal at x, as all products so far have found
        self.tied = np.zeros(x.size, dtype=bool)

    def _lifted(self, lift: Any, x: Any) -> Any:
        found, self._substitutes = _lifted(self._f, partial(lift, self._call, x, self._steps), self._substitutes)
        return found

    def product(self, vector: Floats) -> Floats:
        """Return the Hessian times a flat vector. CannotRun where f cannot be lifted at a complex point."""
        scale = float(np.abs(vector).max(initial=0.0)) or 1.0
        beside = self._x + 1j * (IMAGINARY / scale * vector).reshape(self._x.shape)
        gradient, tied = self._lifted(gradient_beside, beside)
        self.tied |= tied
        product: Floats = gradient.imag / IMAGINARY * scale
        return product

    def pattern(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """List the pairs of coordinates that some nonlinear operation of f brings together; some more than once.

        CannotRun where f cannot be lifted.
        """
        found: tuple[NDArray[np.intp], NDArray[np.intp]] = self._lifted(interactions, self._x)
        return found
