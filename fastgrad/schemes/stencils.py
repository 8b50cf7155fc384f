r"""Stencils: offsets and weights, as exact data that checks itself.

A stencil approximates a derivative by :math:`h^{-d} \sum_j w_j f(x + o_j h)`. Its order of accuracy,
its error constant and its noise amplification are computed from the exact weights, never typed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import factorial, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHODS", "Stencil", "backward", "central", "complex_step", "forward", "richardson"]


@dataclass(frozen=True)
class Stencil:
    r"""A finite-difference formula :math:`f^{(d)}(x) \approx h^{-d} \sum_j w_j f(x + u\, o_j h)`.

    Parameters
    ----------
    offsets : tuple of Fraction
        Where f is evaluated, in multiples of the step h.
    weights : tuple of Fraction
        Exact weights, one for each offset.
    deriv : int
        Order d of the derivative.
    imaginary : bool
        If true, the offsets lie on the imaginary axis (u = 1j) and the imaginary part of f is kept:
        the complex step, which subtracts nothing and so amplifies no round-off.

    Raises
    ------
    ValueError
        If the weights do not give the derivative: they must annihilate lower powers and reproduce
        the power d.

    Notes
    -----
    With the moments :math:`m_q = \sum_j w_j o_j^q / q!` the formula has order p when
    :math:`m_d = 1` and all other moments below d + p vanish (Fornberg 1988, Math. Comp. 51, 699).

    Examples
    --------
    >>> s = central(2)
    >>> s.order, s.error_constant, s.amplification
    (2, Fraction(1, 6), Fraction(1, 1))
    """

    offsets: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]
    deriv: int = 1
    imaginary: bool = False

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.weights) or len(set(self.offsets)) != len(self.offsets):
            raise ValueError(
                f"`offsets` and `weights` must be of one length and the offsets distinct, got "
                f"{self.offsets} and {self.weights}"
            )
        for power in range(self.deriv + 1):
            if self._moment(power) != (power == self.deriv):
                raise ValueError(
                    f"`weights` {self.weights} at `offsets` {self.offsets} do not give derivative "
                    f"{self.deriv}: the moment of power {power} is {self._moment(power)}"
                )

    def _moment(self, power: int) -> Fraction:
        if self.imaginary:
            # the imaginary part of (i o)^q: +o, 0, -o^3, 0, ...
            sign = (0, 1, 0, -1)[power % 4]
        else:
            sign = 1
        total = sum((w * o**power for o, w in zip(self.offsets, self.weights, strict=True)), Fraction(0))
        return sign * total / factorial(power)

    @cached_property
    def order(self) -> int:
        """Order of accuracy p: the truncation error is O(h**p)."""
        power = self.deriv + 1
        while self._moment(power) == 0:
            power += 1
        return power - self.deriv

    @cached_property
    def error_constant(self) -> Fraction:
        """C in the truncation error C h**p |f^(d+p)|."""
        return abs(self._moment(self.deriv + self.order))

    @cached_property
    def amplification(self) -> Fraction:
        """Sum of |w|: a round-off bound of ``e`` in f becomes ``amplification * e / h**d``."""
        return Fraction(0) if self.imaginary else sum((abs(w) for w in self.weights), Fraction(0))

    @cached_property
    def amplification_rms(self) -> float:
        """Root of the sum of w**2: the same for independent errors of a standard deviation."""
        return 0.0 if self.imaginary else sqrt(sum(w * w for w in self.weights))

    @cached_property
    def nodes(self) -> NDArray[np.float64]:
        """The offsets other than 0: what is evaluated once for each coordinate."""
        return np.array([float(o) for o in self.offsets if o != 0])

    @cached_property
    def symmetric(self) -> bool:
        """Whether nodes come as pairs (o, -o) of opposite weights, so that f(x) is not needed."""
        pairs = list(zip(self.offsets, self.weights, strict=True))
        plus, minus = pairs[0::2], pairs[1::2]
        return (
            not self.imaginary
            and len(plus) == len(minus)
            and all(a == (-b[0], -b[1]) for a, b in zip(plus, minus, strict=True))
        )

    @cached_property
    def quotients(self) -> NDArray[np.float64]:
        """Weights that combine difference quotients instead of values; they sum to 1 for d = 1.

        One for each pair of nodes if symmetric, else one for each node (against f(x)). Dividing each
        difference by its own achieved step makes every formula exact for linear f, whatever h is.
        """
        terms = [w * o for o, w in zip(self.offsets, self.weights, strict=True) if o != 0]
        if self.symmetric:
            terms = [2 * w for w in terms[0::2]]
        return np.array([float(w) for w in terms])

    @cached_property
    def reach(self) -> tuple[float, float]:
        """Smallest and largest real offset: how far the formula reaches below and above x."""
        if self.imaginary:
            return 0.0, 0.0
        return float(min(self.offsets)), float(max(self.offsets))

    def mirrored(self) -> Stencil:
        """Return the formula with h < 0: forward becomes backward."""
        sign = (-1) ** self.deriv
        return Stencil(
            tuple(-o for o in self.offsets), tuple(sign * w for w in self.weights), self.deriv, self.imaginary
        )


def _weights(offsets: tuple[Fraction, ...], deriv: int) -> tuple[Fraction, ...]:
    """Exact weights by Lagrange interpolation: the d-th derivative of each basis polynomial at 0."""
    weights = []
    for j, own in enumerate(offsets):
        basis = [Fraction(1)]  # coefficients, lowest power first
        for other in offsets[:j] + offsets[j + 1 :]:
            scaled = [c / (own - other) for c in basis]
            basis = [Fraction(0), *scaled]
            for power, c in enumerate(scaled):
                basis[power] -= other * c
        weights.append(basis[deriv] * factorial(deriv))
    return tuple(weights)


def _order(order: int, multiple: int, method: str) -> int:
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)):
        raise TypeError(f"`order` must be an integer, got {order!r}")
    if order < 1 or order % multiple:
        valid = "an even number, 2 or more" if multiple == 2 else "1 or more"
        raise ValueError(f"`order` must be {valid}, for method={method!r}, got {order!r}")
    return int(order)


@lru_cache(maxsize=64)
def _central(order: int, deriv: int) -> Stencil:
    reach = order // 2 + (deriv - 1) // 2
    offsets = tuple(Fraction(sign * k) for k in range(1, reach + 1) for sign in (1, -1))
    if deriv % 2 == 0:
        offsets = (Fraction(0), *offsets)
    return Stencil(offsets, _weights(offsets, deriv), deriv)


@lru_cache(maxsize=64)
def _forward(order: int, deriv: int) -> Stencil:
    offsets = tuple(Fraction(k) for k in range(order + deriv))
    return Stencil(offsets, _weights(offsets, deriv), deriv)


@lru_cache(maxsize=64)
def _backward(order: int, deriv: int) -> Stencil:
    return _forward(order, deriv).mirrored()


def central(order: int = 2, deriv: int = 1) -> Stencil:
    """Return the central difference of an even order of accuracy, for a derivative of order `deriv`.

    Examples
    --------
    >>> central(4).weights
    (Fraction(2, 3), Fraction(-2, 3), Fraction(-1, 12), Fraction(1, 12))
    """
    return _central(_order(order, 2, "central"), deriv)


def forward(order: int = 1, deriv: int = 1) -> Stencil:
    """Return the forward difference of an order of accuracy: x, x + h, ..., x + (order + deriv - 1) h.

    Examples
    --------
    >>> forward(1).weights
    (Fraction(-1, 1), Fraction(1, 1))
    """
    return _forward(_order(order, 1, "forward"), deriv)


def backward(order: int = 1, deriv: int = 1) -> Stencil:
    """Return the backward difference: the forward one with h < 0.

    Examples
    --------
    >>> backward(1).offsets
    (Fraction(0, 1), Fraction(-1, 1))
    """
    return _backward(_order(order, 1, "backward"), deriv)


_COMPLEX = Stencil((Fraction(1),), (Fraction(1),), 1, imaginary=True)


def complex_step(order: int = 2) -> Stencil:
    """Return the complex step (Squire and Trapp 1998, SIAM Review 40, 110); it has order 2.

    Examples
    --------
    >>> complex_step().order, complex_step().amplification
    (2, Fraction(0, 1))
    """
    if _order(order, 1, "complex") not in (1, 2):
        raise ValueError(f"`order` must be 2 for method='complex', got {order!r}; its error is far below round-off")
    return _COMPLEX


def richardson(stencil: Stencil, ratio: int = 2) -> Stencil:
    r"""Return the stencil that one level of Richardson extrapolation makes of a stencil.

    Parameters
    ----------
    stencil : Stencil
        A formula of order p.
    ratio : int
        The larger step, in multiples of h.

    Returns
    -------
    Stencil
        :math:`(r^p D(h) - D(r h)) / (r^p - 1)`, of a higher order (Richardson 1911).

    Examples
    --------
    >>> richardson(central(2)) == central(4)
    True
    """
    gain = Fraction(ratio) ** stencil.order
    weights: dict[Fraction, Fraction] = {}
    for offset, weight in zip(stencil.offsets, stencil.weights, strict=True):
        weights[offset] = weights.get(offset, Fraction(0)) + gain * weight / (gain - 1)
    for offset, weight in zip(stencil.offsets, stencil.weights, strict=True):
        share = weight / Fraction(ratio) ** stencil.deriv / (gain - 1)
        weights[offset * ratio] = weights.get(offset * ratio, Fraction(0)) - share
    return Stencil(tuple(weights), tuple(weights.values()), stencil.deriv, stencil.imaginary)


METHODS: dict[str, Callable[..., Stencil]] = {
    "central": central,
    "forward": forward,
    "backward": backward,
    "complex": complex_step,
}
