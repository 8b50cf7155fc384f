"""What every backend offers: an evaluation of f around one point."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .point import Point
from .validation import Array, Floats, Ints, everything

Values = NDArray[Any]  # float64, or complex128 for the complex step
BOTH_WAYS = np.array([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]])  # multiples of a vector
ONE_WAY = np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
TWO_SIDES = 1.0, -1.0  # nodes of a central difference


class Unrounded(NamedTuple):
    """Differences from f(x) that are accurate relative to themselves, however near to x."""

    values: Floats  # shape (m,): f there, less f(x)
    # shape (m,): where that tells of one side of x only: f chose between what is equal at x, as ``max(a, a)`` or
    # ``abs(0)`` do. Plain central differences are the way to go in such a row.
    tied: NDArray[np.bool_]
    # shape (m,), or None: by how much the values differ where f rounds otherwise what it multiplies differences with
    rounding: Floats | None = None
    lost: float = 0.0  # what the values may lack because something in f underflowed


class Evaluation(Protocol):
    """f around one point x, for one gradient.

    `nfev`: points at which f was evaluated so far.
    `origin`: what values are relative to: f = origin + values. 0 unless a lift carries differences.
    `way`: how f is evaluated: "reference", "batched", "dense lift", "sparse lift", "scalar kernel", "lanes", ...
    `own`: the caller's array, where it is perturbed in place: whoever runs the evaluation puts it back.
    `sees_own`: whether f, if it reads the caller's array instead of its argument, sees it perturbed.
    `trusted`: whether its owner has seen values for many points at once agree with plain ones, at other x, and looks
        itself at what they give here: then none of a sweep is evaluated plainly, too.
    `looked`: what `settled` has found out of f along a line where it does not decide, for who goes on, once; or None.
    """

    nfev: int
    way: str
    own: Array | None
    sees_own: bool
    trusted: bool
    looked: Any

    @property
    def origin(self) -> float: ...

    def sweep(self, index: Ints, points: Values) -> Values:
        """Evaluate f at x with one entry replaced.

        `index`, of shape (m,): the coordinate that row r replaces, in C order.
        `points`, of shape (m, k): the values that this coordinate takes.

        Returns ndarray, shape (m, k): f there, less `origin`.
        """
        ...

    def carries(self, count: int) -> bool:
        """Whether `differences` of so many components may have an answer: asked before its points are made."""
        ...

    def differences(self, index: Ints, steps: Floats, away: Floats, bars: bool) -> Unrounded | None:
        """Evaluate f where something is added to one entry of x, less f(x), if that can be had unrounded; else None.

        `index`, of shape (m,): the coordinates, each once.
        `steps`, of shape (m,): what is added to them: x plus that need not be a number of its own.
        `away`, of shape (m,): steps at which the slopes can be compared with plain evaluations on both sides of x.
        `bars`: whether `rounding` is wanted.
        """
        ...

    def line(self, points: Values) -> Values:
        """Evaluate f plainly at whole points, shape (k, n), of the points' dtype; returns shape (k,), less `origin`."""
        ...

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        """Evaluate f plainly at x + k vector, for each of the multiples, up to the first value that is not finite."""
        ...

    def around(self, steps: list[float], nodes: tuple[float, ...] = TWO_SIDES) -> list[float]:
        """Evaluate f at x_i + node h_i, of each coordinate in turn: what `sweep` does, in plain floats."""
        ...

    def pair(self, i: int, up: float, down: float) -> list[float]:
        """Evaluate f at x with coordinate i replaced by each of two values."""
        ...

    def settled(self, side: int) -> Floats | None:
        """Return the gradient of the default rule, without bars, where nothing is in doubt and it is sooner had here.

        Else None; values of f that are known by then are not evaluated again. By the central difference of order 2
        (`side` 0), or by one point above (1) or below (-1) and x.
        """
        ...

    def value(self) -> float:
        """Evaluate f at x itself, not less `origin`; remembered."""
        ...

    def notes(self) -> list[str]:
        """Say how f is evaluated and what stops it from being evaluated faster, in words."""
        ...

    def known_value(self, value: float) -> None:
        """Take f(x) from the caller."""
        ...


class InFloats:
    """The parts of an `Evaluation` in plain floats, by those in arrays; a backend may have shorter ones.

    It needs `_point`, `sweep` and `line` of the evaluation that it is mixed into.
    """

    _point: Point
    _value: float | None = None  # f(x), once it is known
    nfev = 0
    trusted = False
    looked: Any = None

    def value(self) -> float:
        if self._value is None:
            self._value = float(self.line(self._point.base.reshape(1, -1))[0])
        return self._value

    def known_value(self, value: float) -> None:
        self._value = value

    def notes(self) -> list[str]:
        return []

    def sweep(self, index: Ints, points: Values) -> Values:
        raise NotImplementedError

    def line(self, points: Values) -> Values:
        raise NotImplementedError

    def carries(self, count: int) -> bool:
        return False

    def settled(self, side: int) -> Floats | None:
        return None

    def differences(self, index: Ints, steps: Floats, away: Floats, bars: bool) -> Unrounded | None:
        return None

    def along(self, vector: list[float], multiples: Floats = BOTH_WAYS) -> list[float]:
        values: list[float] = []
        for row in self._point.base.reshape(-1) + multiples * np.array(vector):
            values += self.line(row[None, :]).tolist()
            if not isfinite(values[-1]):
                break
        return values

    def around(self, steps: list[float], nodes: tuple[float, ...] = TWO_SIDES) -> list[float]:
        x, h = self._point.base.reshape(-1, 1), np.array(steps)[:, None]
        values: list[float] = self.sweep(everything(x.size), x + h * np.array(nodes)).reshape(-1).tolist()
        return values

    def pair(self, i: int, up: float, down: float) -> list[float]:
        values: list[float] = self.sweep(np.array([i]), np.array([[up, down]]))[0].tolist()
        return values
