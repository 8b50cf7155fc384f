"""The sparse lift for second derivatives: at a complex point, and watching which entries of x meet.

At x + i t v an analytic f has a gradient whose imaginary part is t H v. Functions that are not analytic, but piecewise
so, are continued from the side on which x is: the absolute value of a complex number, for one, would be its modulus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.call import Call
from ..arraylike import Array
from ..rebinding import rebound
from ..signals import CannotLift
from ..work import SparseWork
from . import bundle as operations
from .bundle import SparseBundle, choose, elementwise, unary
from .slots import Run, Slots, at, copied, entries_of, refuse, spread, spread_box
from .sweeping import MOST_CELLS, evaluated, initial_slots, keep_freed_memory

FEW = 8  # entries of x: with fewer, differences of zero cost less than looking after where the others are
MOST_PAIRS = 1 << 24  # of entries of x that meet: a Hessian with more is no sparse one

ANALYTIC = frozenset({
    np.negative, np.positive, np.square, np.sqrt, np.reciprocal, np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10,
    np.log1p, np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh, np.arcsin, np.arccos, np.arctan, np.arcsinh,
    np.arccosh, np.arctanh, np.add, np.subtract, np.multiply, np.divide, np.power, np.float_power,
})  # fmt: skip


class ComplexRun(Run):
    """A run at a complex point: what drops the imaginary part, or is not known to be analytic, is refused."""

    __slots__ = ()
    imaginary = True
    faintest = 2.0**-548  # imaginary parts are 1e-100 of that

    def made(self, base: Any, slots: Slots) -> None:
        if slots and base.dtype.kind == "f":
            raise refuse("a function that drops the imaginary part, at a complex point")

    def heavy(self, ufunc: np.ufunc, first: Any, size: int, cells: int) -> None:
        if ufunc not in ANALYTIC:
            raise refuse(f"np.{ufunc.__name__} at a complex point")


class WatchingRun(Run):
    """A run that notes which rows nonlinear operations bring together."""

    __slots__ = ("_first", "_second", "_size")
    watching = True

    def __init__(self, rows: int) -> None:
        super().__init__(rows, 1, MOST_CELLS, SparseWork(), filled=1)
        self._first: list[Array] = []
        self._second: list[Array] = []
        self._size = 0

    def meets(self, ufunc: np.ufunc | None, first: Slots, second: Slots, shape: tuple[int, ...]) -> None:
        if ufunc in LINEAR:
            return
        mine, others = self._listed(first, shape), self._listed(second, shape)
        if ufunc is np.multiply:
            self._pair(mine, others)
            return
        both = tuple(np.concatenate(pair) for pair in zip(mine, others, strict=True))
        self._pair((both[0], both[1]), (both[0], both[1]))

    def _listed(self, slots: Slots, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Rows and positions."""
        listed = entries_of(slots, shape, self)
        none = np.empty(0, dtype=np.intp)
        return (
            np.concatenate([none, *(row for row, _, _ in listed)]),
            np.concatenate([none, *(position for _, position, _ in listed)]),
        )

    def _pair(self, first: tuple[Array, Array], second: tuple[Array, Array]) -> None:
        """Pair each row of the first with those of the second at the same position."""
        (row, position), (other, place) = first, second
        if not row.size or not other.size:
            return
        order = np.argsort(place, kind="stable")
        count = np.bincount(place, minlength=int(position.max()) + 1)
        begin = np.cumsum(count) - count
        copies = count[position]
        total = int(copies.sum())
        self._size += total
        if self._size > MOST_PAIRS:
            raise CannotLift("too many entries of x meet: the Hessian is not sparse")
        entry, nth = copied(copies)
        self._first.append(row[entry])
        self._second.append(other[order[begin[position[entry]] + nth]])

    def pairs(self) -> tuple[Array, Array]:
        none = np.empty(0, dtype=np.intp)
        return np.concatenate([none, *self._first]), np.concatenate([none, *self._second])


# piecewise linear: they bring nothing together
LINEAR = frozenset({
    np.negative, np.positive, np.conjugate, np.absolute, np.fabs, np.maximum, np.minimum, np.fmax, np.fmin, np.add,
    np.subtract, np.sign, np.floor, np.ceil, np.rint, np.trunc, np.deg2rad, np.rad2deg, np.degrees, np.radians,
})  # fmt: skip


def _edges(p: SparseBundle, edges: Any) -> None:
    """Note what differs where a function is on an edge, by its real part at x."""
    for layout, d in p.resolved().slots:
        p.run.note_ties(at(edges, layout), layout, d)


def _side(p: SparseBundle) -> Array:
    """1 or -1, by the real part at x."""
    _edges(p, p.base.real == 0)
    return np.where(p.base.real >= 0, 1.0, -1.0)


def _step(ufunc: np.ufunc) -> Callable[[SparseBundle], Array]:
    """A function that is constant but for its jumps."""

    def constant(p: SparseBundle) -> Array:
        real, beside = p.base.real, np.spacing(np.abs(p.base.real))
        here: Array = ufunc(real)
        _edges(p, (ufunc(real - beside) != here) | (ufunc(real + beside) != here))
        return here

    return constant


def _cube_root(p: SparseBundle) -> Any:
    side = _side(p)
    return elementwise(np.power, p * side, 1.0 / 3.0) * side


def _length(p: Any, q: Any) -> Any:
    return elementwise(np.sqrt, p * p + q * q)


def _angle(p: Any, q: Any) -> Any:
    """np.arctan2, by the smaller of both quotients."""
    a, b = (np.real(v.base if isinstance(v, SparseBundle) else v) for v in (p, q))
    if isinstance(p, SparseBundle):
        _edges(p, (np.broadcast_to(a == 0, p.shape) & (b <= 0)))
    steep = np.abs(a) > np.abs(b)
    turned = np.arctan(choose(steep, q, p) / choose(steep, p, q)) * np.where(steep, -1.0, 1.0)
    quarters = np.round((np.arctan2(a, b) - turned.base.real) / (0.5 * np.pi))
    return turned + quarters * (0.5 * np.pi)


def _sum_of_powers(p: Any, q: Any) -> Any:
    """np.logaddexp, with what is larger at x taken out."""
    larger = np.maximum(*(np.real(v.base if isinstance(v, SparseBundle) else v) for v in (p, q)))
    return np.log(np.exp(p - larger) + np.exp(q - larger)) + larger


def _log_beside_one(p: SparseBundle) -> Any:
    """np.log1p: numpy's own loses the real part of small complex numbers."""
    found = unary(np.log1p, p)
    found.base = np.log1p(p.base.real) + 1j * (p.base.imag / (1.0 + p.base.real))
    return found


def _one_of(compare: np.ufunc) -> Callable[[Any, Any], Any]:
    """np.maximum or its kin: the operand that it is at x, whatever the differences."""
    return lambda p, q: choose(elementwise(compare, p, q), p, q)


operations.CONTINUED.update({
    np.maximum: _one_of(np.greater_equal),
    np.fmax: _one_of(np.greater_equal),
    np.minimum: _one_of(np.less_equal),
    np.fmin: _one_of(np.less_equal),
    np.sign: _step(np.sign),
    np.floor: _step(np.floor),
    np.ceil: _step(np.ceil),
    np.rint: _step(np.rint),
    np.trunc: _step(np.trunc),
    np.remainder: lambda p, q: p - q * _step(np.floor)(p / q),
    np.absolute: lambda p: p * _side(p),
    np.fabs: lambda p: p * _side(p),
    np.conjugate: lambda p: p.copy(),
    np.cbrt: _cube_root,
    np.hypot: _length,
    np.arctan2: _angle,
    np.logaddexp: _sum_of_powers,
    np.log1p: _log_beside_one,
})  # fmt: skip


def _run(
    run: Run,
    call: Call,
    x: Array,
    d: Array,
    substitutes: bool,
) -> SparseBundle:
    """Call f on a bundle of this run: a scalar, or CannotLift."""
    keep_freed_memory()
    if substitutes:
        call = rebound(call)
    if run.imaginary and x.size <= FEW:
        every = np.zeros((1, x.size, x.size), dtype=d.dtype)
        every[0].flat[:: x.size + 1] = d[0]
        slots: Slots = ((spread_box(x.shape, run), every.reshape(1, x.size, *x.shape)),)
    else:
        slots = initial_slots(x.shape, range(x.size), d)
    value = evaluated(call, SparseBundle(x.copy(), slots, run))
    if value.size != 1:
        raise CannotLift("f's result is not one number")
    return value


def gradient_beside(
    call: Call,
    x: Array,
    steps: Array,
    substitutes: bool = False,
) -> tuple[Array, Array]:
    """Return the gradient of f at a complex point, from differences by these steps, flat.

    CannotLift if f cannot be evaluated like this, or has no difference rule for a function that it uses.

    Returns
    -------
    gradient, tied : ndarray
        Tied are the entries that move apart what f chose between and is equal at x: f may have a kink there.
    """
    run = ComplexRun(x.size, 1, MOST_CELLS, SparseWork(), ties=True)
    value = _run(run, call, x, steps[None].astype(np.complex128), substitutes)
    if run.rounded or run.lost.any():
        raise CannotLift("f branches at x" if run.lost.any() else "f uses a function that has no difference rule")
    gradient: Array = spread(value.slots, value.shape, run).reshape(-1)
    assert run.tied is not None
    with np.errstate(all="ignore"):  # who asked looks whether it is finite
        return gradient / steps, run.tied


def interactions(
    call: Call,
    x: Array,
    steps: Array,
    substitutes: bool = False,
) -> tuple[Array, Array]:
    """List the pairs of entries of x that nonlinear operations of f bring together; the Hessian is 0 elsewhere.

    CannotLift if f cannot be evaluated like this.
    """
    run = WatchingRun(x.size)
    _run(run, call, x, steps[None], substitutes)
    if run.lost.any():
        raise CannotLift("f branches at x")
    return run.pairs()
