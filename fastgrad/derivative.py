"""numerical_diff: the derivative of a function of one variable, elementwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .core.evaluation import InFloats, Values
from .core.options import WATCHING, Options, Watching
from .core.point import Point, as_point
from .core.validation import FLOAT64, Args, Array, Floats, Function, Ints, everything, function
from .gradient import Gradient
from .schemes.scheme import Estimate, Scheme, Task
from .schemes.stencils import Stencil
from .schemes.table import is_automatic, rule_for, scheme_for, settling, stencil_and_name
from .schemes.telling import tell

__all__ = ["numerical_diff"]

MOVED = 2.0**-8  # of one entry, relative: the others must not feel it
SAME = 1e-12  # they may, in the last digits: vector instructions round differently beside a special value


def numerical_diff(
    f: Function,
    x: ArrayLike,
    h: Any = None,
    *,
    args: Any = (),
    method: str = "central",
    order: int | None = None,
    **watching: Unpack[Watching],
) -> Any:
    r"""Return the derivative of a function of one variable, at a number or at each entry of an array.

    Parameters
    ----------
    f : callable
        ``f(x, *args)``: a number for a number; an array of x's shape for an array, computed elementwise. A function
        that takes single numbers only (``math.sin``, one with an ``if``) is called for one entry at a time.
    x : array_like
        Where: a number (integers too) or an array.
    h : float or array_like of x's shape or "fixed", optional
        Absolute step. By default each entry chooses its own, as a number does: all entries share the calls of f.
    args : tuple
        What f gets after x.
    method, order
        As for `numerical_gradient`.
    workers, journal, progress, on_error, timeout, optional
        As for `numerical_gradient`: f is called for one entry at a time then, and workers differentiate side by side.

    Returns
    -------
    float or ndarray
        A float for a number, else an array of x's shape.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or f's result has neither x's shape nor is one number.

    Notes
    -----
    The textbook's :math:`(f(x + h) - f(x - h)) / (2 h)`, at its points, with the achieved step in the divisor. One
    entry is moved alone first: a function that couples the entries is refused.

    Examples
    --------
    >>> import numpy as np
    >>> round(numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5), 8)
    0.2
    >>> np.round(numerical_diff(np.sin, np.array([0.0, np.pi])), 8)
    array([ 1., -1.])
    >>> x = np.array([1e-6, 1.0, 1e6])
    >>> np.round(numerical_diff(np.log, x) * x, 6)
    array([1., 1., 1.])
    """
    function(f)
    for name in watching:
        if name not in WATCHING:
            raise TypeError(
                f"`{name}` is no option of numerical_diff; of those of `Gradient` {', '.join(WATCHING)} are"
            )
    options = Options(h, args=args, method=method, order=order, **watching)
    stencil, _ = stencil_and_name(options)
    point = as_point(x)
    if point.base.ndim == 0:
        return _at(f, float(point.base), options, stencil)
    if point.base.size == 0:
        return np.zeros(point.base.shape, point.dtype)
    result = None if watching else _together(f, point.base, options, stencil)
    if result is None and watching and (h is None or np.ndim(h) == 0):
        result = _prepared(f, options, stencil).map(point.base.reshape(-1)).reshape(point.base.shape)
    if result is None:  # one at a time
        steps = [h] * point.base.size if h is None or isinstance(h, str) else np.broadcast_to(h, point.base.shape).flat
        each = [
            _at(f, entry, replace(options, h=step), stencil) for entry, step in zip(point.base.flat, steps, strict=True)
        ]
        result = np.array(each).reshape(point.base.shape)
    return result if point.dtype is FLOAT64 else result.astype(point.dtype)


def _at(f: Function, x: float, options: Options, stencil: Stencil) -> float:
    """Return the derivative at one number."""
    return float(_prepared(f, options, stencil)(float(x)))


def _prepared(f: Function, options: Options, stencil: Stencil) -> Gradient:
    """Return the derivative as a function of one number, which f gets as a Python number."""
    convert, args = complex if stencil.imaginary else float, options.args

    def of_array(y: Array) -> Any:
        value = f(convert(y), *args)
        return value.real if stencil.imaginary and y.dtype.kind != "c" else value  # f may always return complex numbers

    return Gradient(of_array, **{**options.given(), "args": (), "backend": "python"})


class _Together:
    """f of an array, all entries at a time; `None` for a result that is no array of this shape."""

    def __init__(self, f: Function, x: Floats, args: Args) -> None:
        self._f, self._args, self.x = f, args, x

    def __call__(self, points: Values) -> Values | None:
        try:
            result = np.asarray(self._f(points.copy(), *self._args))
        except (TypeError, ValueError):
            return None  # math.sin, or `if x > 0`: it takes numbers only; if f is wrong otherwise, the loop shows it
        return result.copy() if result.shape == self.x.shape and result.dtype.kind in "fiubc" else None

    def refuse_coupled(self, here: Values) -> None:
        """Move one entry alone: no other value may change."""
        middle, moved = self.x.size // 2, self.x.copy()
        moved.reshape(-1)[middle] = moved.reshape(-1)[middle] * (1.0 + MOVED) or MOVED
        there = self(moved)
        if there is None:
            return
        changed = ~np.isclose(there, here, rtol=SAME, atol=0.0, equal_nan=True).reshape(-1)
        changed[middle] = False
        if changed.any():
            i = int(np.argmax(changed))
            raise ValueError(
                f"`f` is not elementwise: entry {i} of its result is {here.flat[i]}, and {there.flat[i]} once entry "
                f"{middle} of x has moved; use numerical_gradient for a function of many variables"
            )


def _together(f: Function, x: Floats, options: Options, stencil: Stencil) -> Floats | None:
    """Differentiate at all entries at once; None if f does not take arrays."""
    values = _Together(f, x, options.args)
    here = values(x)
    if here is None or (here.dtype.kind == "c" and not stencil.imaginary):
        return None
    values.refuse_coupled(here)
    rule = rule_for(options, stencil, x.shape)
    if rule is None:
        return _each(values, x, here, scheme_for(options, (1,))) if is_automatic(options) else None
    step = rule.at(x.reshape(-1), None).reshape(x.shape)
    unit = 1j if stencil.imaginary else 1.0
    points = [x + unit * node * step for node in stencil.nodes]
    if any(np.any(p == x) or not np.isfinite(p).all() for p in points):
        return None  # the loop names the entry
    done = [v for v in map(values, points) if v is not None]
    if len(done) < len(points):
        return None
    with np.errstate(all="ignore"):
        if stencil.imaginary:
            slopes = [v.imag / step for v in done]
        elif stencil.symmetric:
            pairs = range(0, len(done), 2)
            slopes = [(done[j] - done[j + 1]) / (points[j] - points[j + 1]) for j in pairs]
        else:
            slopes = [(v - here) / (p - x) for v, p in zip(done, points, strict=True)]
    result = np.tensordot(stencil.quotients, np.array(slopes), axes=1)
    return result if np.isfinite(result).all() and result.dtype.kind == "f" else None


# ---- the automatic step of each entry ------------------------------------------------------------------------


class _Asks(BaseException):
    """The scheme of one entry waits for values of f."""


class _Entry(InFloats):
    """f at one entry of x: what is known of it, and what is asked for."""

    way = "elementwise"
    origin = 0.0
    sees_own = True

    def __init__(self, x: float) -> None:
        self.own: Array | None = None
        self._point = Point(np.array([x]), None, FLOAT64)
        self._known: dict[float, float] = {}
        self.asked: list[float] = []

    def known_value(self, value: float) -> None:
        self.tell(float(self._point.base[0]), value)

    def tell(self, point: float, value: float) -> None:
        """Answer what was asked."""
        self._known[point] = value
        self.nfev = len(self._known)

    def _values(self, points: list[float]) -> list[float]:
        known = self._known
        self.asked = [p for p in dict.fromkeys(points) if p not in known]
        if self.asked:
            raise _Asks
        return [known[p] for p in points]

    def value(self) -> float:
        return self._values(self._point.base.tolist())[0]

    def line(self, points: Values) -> Values:
        return np.array(self._values(points.reshape(-1).tolist()))

    def sweep(self, index: Ints, points: Values) -> Values:
        return self.line(points).reshape(points.shape)

    def differentiate(self, scheme: Scheme) -> Estimate | None:
        """Return the derivative; None where more is asked for first."""
        try:
            return scheme.differentiate(self, Task(self._point, everything(1)))
        except _Asks:
            return None


def _each(values: _Together, x: Floats, here: Values, scheme: Scheme) -> Floats | None:
    """Let every entry choose its step as if it were alone.

    What is beyond doubt is settled in arrays. The scheme of each other entry runs until it needs a value that is not
    known; these are gathered, f is called for all entries at once, and the schemes run again from the start: nothing in
    them depends on anything but the values.
    """

    def of_flat(points: Floats) -> Floats | None:
        found = values(points.reshape(x.shape))
        return None if found is None or found.dtype.kind == "c" else found.reshape(-1).astype(np.float64)

    flat = x.reshape(-1)
    settled = settling()(of_flat, flat, here.reshape(-1).astype(np.float64), scheme)
    if settled is None:
        return None
    slopes, open_ones = settled.slopes, np.flatnonzero(~settled.sure).tolist()
    entries = {i: _Entry(float(flat[i])) for i in open_ones}
    for points, found in settled.seen:
        for i, entry in entries.items():
            entry.tell(float(points[i]), float(found[i]))
    flags = [""] * flat.size
    while open_ones:
        waiting = []
        for i in open_ones:
            estimate = entries[i].differentiate(scheme)
            if estimate is None:
                waiting.append(i)
            else:
                slopes[i], flags[i] = estimate.gradient[0], estimate.flags[0] if estimate.flags else ""
        for turn in range(max((len(entries[i].asked) for i in waiting), default=0)):
            asking = [i for i in waiting if turn < len(entries[i].asked)]
            points = flat.copy()
            points[asking] = [entries[i].asked[turn] for i in asking]
            answer = of_flat(points)
            if answer is None:
                return None
            for i in asking:
                entries[i].tell(float(points[i]), float(answer[i]))
        open_ones = waiting
    tell(flags, Point(x, None, FLOAT64), everything(x.size))
    result: Floats = slopes.reshape(x.shape)
    return result
