"""f of many values, evaluated plainly: one evaluation gives all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import nan, prod
from typing import Any

import numpy as np
from numpy import array, empty, ndarray
from numpy.typing import NDArray

from ..core.call import Call
from ..core.errors import NotTrusted, describe
from ..core.point import Point, exclusive
from ..core.validation import FLOAT64, Floats, number
from ..schemes.constants import OUTSIDE

Shape = tuple[int, ...]

REAL = (
    "`f` returned real numbers for a complex argument, so it dropped the imaginary part (abs, float, an array made by "
    "np.zeros, or a closure may do that) and the complex step cannot work; use method='central'"
)

OTHER_SHAPE = "`f` must return values of one shape at all points, got {} at x and {} beside it"


class Several(TypeError):
    """f returns a dictionary."""


def values_of(result: object, kinds: str = "fiub") -> NDArray[Any]:
    """Turn what f returned into an array of its own at once: f may use its buffer again.

    TypeError or ValueError if it is no array, list or tuple of real numbers, nor one.
    """
    if type(result) is np.ndarray and result.dtype is FLOAT64:
        return result.copy()
    if result is None:
        raise TypeError(
            "`f` must return an array, a list or a tuple of numbers, or a number; got None: is a `return` missing?"
        )
    if hasattr(result, "tocoo"):
        raise TypeError(f"`f` must return a dense array, got {describe(result)}; return its .toarray()")
    try:
        array = np.asarray(result)
    except ValueError as error:
        raise ValueError(
            f"`f` must return an array, a list or a tuple of numbers, or a number; got a ragged {describe(result)}"
        ) from error
    if array.dtype.kind == "O":  # of numbers of other libraries, perhaps: mpmath's, fractions
        with suppress(TypeError, ValueError):
            array = np.array([number(one) for one in array.flat]).reshape(array.shape)
    if array.dtype.kind not in kinds:
        hint = "; return its real part, or its abs" if array.dtype.kind == "c" else ""
        kind = Several if isinstance(result, Mapping) else TypeError
        raise kind(
            f"`f` must return an array, a list or a tuple of real numbers, or a number; got {describe(result)}{hint}"
        )
    if isinstance(result, np.ma.MaskedArray) and np.ma.is_masked(result):
        raise TypeError(f"`f` must not return masked entries, which have no value: {describe(result)}; fill them")
    return np.array(array, dtype=np.complex128 if array.dtype.kind == "c" else np.float64)


class Vectors:
    """f around one point x, for one Jacobian.

    Closures that read the caller's array see it perturbed, because it is perturbed in place; and f gets a fresh copy,
    because it may write into its argument, return a view of it or keep it.
    """

    def __init__(self, call: Call, point: Point) -> None:
        self.nfev = 0  # evaluations of f so far
        container = point.container
        if container is not None and not container.among((call.args, call.kwargs)):
            call = call.but(f=point.following(call.f))
        if not point.base.ndim:
            call = call.but(f=point.numbered(call.f))
        self._call = call
        self._point = point
        self._value: NDArray[np.float64] | None = None
        self._lifted: NDArray[np.float64] | None = None
        self._in_place = point.perturbable and not call.shares_memory(point.own)

    @property
    def shape(self) -> Shape:
        """The shape of f(x)."""
        return self._known().shape

    def value(self) -> Floats:
        """Return f(x), flat; remembered."""
        return self._at_x().reshape(-1)

    def known_value(self, value: object) -> None:
        """Take f(x) from the caller."""
        try:
            self._value = values_of(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`f0` must be f(x); got {describe(value)}") from error

    def lifted(self, value: Floats) -> None:
        """Take f(x) from a lift, for others to be compared with; who asks for the value itself gets the plain one."""
        self._lifted = value

    def _known(self) -> Floats:
        """Return f(x), or what a lift found for it."""
        return self._at_x() if self._lifted is None or self._value is not None else self._lifted

    def _at_x(self) -> Floats:
        if self._value is None:
            called = self._called()
            self.nfev += 1
            self._value = values_of(called(self._point.base.copy()))
        return self._value

    def at(self, points: Iterable[Floats]) -> Floats:
        """Evaluate f at whole flat points; returns one row of values for each."""
        return self._at(points, False)

    def explore(self, points: Iterable[Floats]) -> Floats:
        """Do as `at` at points that nobody asked for: where f raises as outside of its domain, its values are nan."""
        return self._at(points, True)

    def beside(self, point: Floats) -> Floats:
        """Do as `explore` at one flat point, which becomes f's own, as the values may be: these are read at once."""
        base, own = self._point.base, self._point.own
        if own is None or not self._in_place:
            return self._alone(point.reshape(base.shape))
        with exclusive(own):
            try:
                own[...] = point.reshape(own.shape)
                found = self._alone(point.reshape(base.shape))
                return found.copy() if np.may_share_memory(found, own) else found
            finally:
                own[...] = base

    def _alone(self, x: Floats) -> Floats:
        called = self._called()
        self.nfev += 1
        try:
            found: Floats = called(x)
        except OUTSIDE:
            return np.full(self._known().size, nan)
        if type(found) is not ndarray or found.dtype is not FLOAT64:
            found = values_of(found)
        if found.shape != self._known().shape:
            raise NotTrusted("f returns another shape when it is lifted")
        return found.reshape(-1)

    def _at(self, points: Iterable[Floats], exploring: bool) -> Floats:
        self._known()  # now, while the caller's array is as it was
        base, own = self._point.base, self._point.own
        # a copy: f may write into its argument, or keep it
        rows = array(points if isinstance(points, ndarray) else list(points), dtype=FLOAT64)
        if base.ndim != 1:
            rows = rows.reshape(-1, *base.shape)
        if own is None or not self._in_place:
            return self._each(rows, exploring, None)
        with exclusive(own):
            try:
                return self._each(rows, exploring, own)
            finally:
                own[...] = base

    def _each(self, rows: Floats, exploring: bool, own: NDArray[Any] | None) -> Floats:
        called, shape = self._called(), self._known().shape
        values = empty((len(rows), *shape))
        for k, x in enumerate(rows):
            if own is not None:
                own[...] = x  # whole, for f may have written there; rounded, where x is float32: f's argument is not
            self.nfev += 1
            try:
                found = called(x)
            except OUTSIDE:
                if not exploring:
                    raise
                values[k] = nan
                continue
            if type(found) is not ndarray or found.dtype is not FLOAT64:
                found = values_of(found)
            if found.shape != shape:
                raise ValueError(OTHER_SHAPE.format(shape, found.shape))
            values[k] = found
        return values if len(shape) == 1 else values.reshape(len(rows), prod(shape))  # there may be none

    def _called(self) -> Callable[[Floats], Any]:
        """Return what is called with an array that is f's own: f itself, where it takes no more than that."""
        call = self._call
        f, args, kwargs = call.f, call.args, call.kwargs
        return (lambda x: f(x, *args, **kwargs)) if args or kwargs else f

    def at_complex(self, points: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
        """Evaluate f at whole complex points; returns one row of complex values for each."""
        call, rows = self._call, []
        for point in points:
            self.nfev += 1
            result = values_of(call.f(point.reshape(self._point.base.shape).copy(), *call.args, **call.kwargs), "fiubc")
            if result.dtype.kind != "c":
                raise TypeError(REAL)
            rows.append(result)
        return self._rows(rows)

    def _rows(self, rows: list[NDArray[Any]]) -> NDArray[Any]:
        shape = self.shape
        for row in rows:
            if row.shape != shape:
                raise ValueError(OTHER_SHAPE.format(shape, row.shape))
        return np.array(rows).reshape(len(rows), prod(shape))  # there may be none
