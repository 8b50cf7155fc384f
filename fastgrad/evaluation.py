"""What every backend offers: an evaluation of f around one point."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from ._validate import Ints

Values = NDArray[Any]  # float64, or complex128 for the complex step


class Evaluation(Protocol):
    """f around one point x, for one gradient.

    Attributes
    ----------
    nfev : int
        Points at which f was evaluated so far.
    origin : float
        What values are relative to: f = origin + values. 0 unless a lift carries differences.
    sees_own : bool
        Whether f, if it reads the caller's array instead of its argument, sees it perturbed.
    """

    nfev: int
    sees_own: bool

    @property
    def origin(self) -> float: ...

    def sweep(self, index: Ints, points: Values) -> Values:
        """Evaluate f at x with one entry replaced.

        Parameters
        ----------
        index : ndarray of intp, shape (m,)
            The coordinate that row r replaces, in C order.
        points : ndarray, shape (m, k)
            The values that this coordinate takes.

        Returns
        -------
        ndarray, shape (m, k)
            f there, less `origin`.
        """
        ...

    def carries(self, count: int) -> bool:
        """Whether `differences` of so many components may have an answer: asked before its points are made."""
        ...

    def differences(self, index: Ints, points: Values) -> Values | None:
        """Do as `sweep`, but only if the values are accurate relative to themselves, however near to x; else None.

        They are then no differences of two rounded values of f.
        """
        ...

    def line(self, points: Values) -> Values:
        """Evaluate f at whole points, shape (k, n), of the points' dtype; returns shape (k,), less `origin`."""
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
