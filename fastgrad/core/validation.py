"""What callers pass, made into what the rest relies on: or an error that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .errors import describe

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_REAL_SCALARS = (float, bool, np.floating, np.integer, np.bool_)
FLOAT64 = np.dtype(np.float64)


@lru_cache(maxsize=32)
def everything(size: int) -> Ints:
    """Return the index of all components, in order; shared, and not to be written to."""
    index = np.arange(size)
    index.flags.writeable = False
    return index


def one_of(name: str, value: object, valid: Sequence[object]) -> None:
    """Refuse a value that is not in the list of valid ones."""
    same = (value is v or (not isinstance(value, bool) and isinstance(value, type(v)) and value == v) for v in valid)
    if not any(same):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, valid))}; got {describe(value)}")


def function(f: object, name: str = "f", what: str = "a function of an array that returns one number") -> None:
    """Refuse what cannot be called."""
    if not callable(f):
        raise TypeError(f"`{name}` must be {what}, got {describe(f)}")


def real_array(name: str, value: object) -> NDArray[Any]:
    """Return a value as an array of real numbers, of whatever real dtype it has."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"`{name}` must be a rectangular array of real numbers, got {describe(value)}") from error
    if array.dtype.kind not in "fiub":
        remedy = (
            "; for a function of complex variables differentiate its real and imaginary parts"
            if array.dtype.kind == "c"
            else f"; convert it first, for example with np.asarray({name}, dtype=float)"
        )
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}: {describe(value)}{remedy}")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"`{name}` has masked entries, which have no value; fill or drop them first")
    return array


def finite(name: str, array: Floats) -> None:
    """Refuse NaN and infinity, naming the first coordinate."""
    if not np.isfinite(array).all():
        where = where_first(~np.isfinite(array))
        raise ValueError(f"`{name}` must be finite, got {array[where]} at coordinate {coordinate(where)}")


def where_first(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true entry."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def coordinate(where: tuple[int, ...]) -> str:
    """Word an index as a user would write it."""
    return str(where[0]) if len(where) == 1 else str(where)


def coordinate_of(flat: int, shape: tuple[int, ...]) -> str:
    """Word a position in C order as a user would index x."""
    return coordinate(tuple(int(i) for i in np.unravel_index(flat, shape))) if shape else "()"


def number(value: object) -> float:
    """Turn what f returned into a float at once: it may be a buffer that f uses again."""
    kind = type(value)
    if kind is float or kind is np.float64 or kind is int:
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")  # type: ignore[operator]
    if isinstance(value, _REAL_SCALARS):
        return float(value)
    return _unusual_number(value, complex_allowed=False).real


def known_value(f0: object) -> float:
    """Return the value of f at x that the caller gave."""
    try:
        return number(f0)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`f0` must be f(x), one real number; got {describe(f0)}") from error


def complex_number(value: object) -> complex:
    """Turn what f returned for a complex argument into a complex number."""
    if not isinstance(value, complex):  # np.complex128 is a complex
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            raise TypeError(
                f"`f` returned the real number {describe(value)} for a complex argument, so it dropped the imaginary "
                "part (abs, float, a comparison or a closure may do that) and the complex step cannot work; "
                "use method='central'"
            )
    return complex(_unusual_number(value, complex_allowed=True))


def _unusual_number(value: Any, *, complex_allowed: bool) -> complex:
    if value is None:
        raise TypeError("`f` must return one number, got None; is a `return` missing?")
    if isinstance(value, (str, bytes)):
        raise TypeError(f"`f` must return one number, got {describe(value)}")
    if isinstance(value, (complex, np.complexfloating)) and not complex_allowed:
        raise TypeError(
            f"`f` must return one real number, got the complex {describe(value)}; return its real part, or its abs"
        )
    shape = getattr(value, "shape", None)
    if shape is None and isinstance(value, (list, tuple)):
        shape = np.shape(value)
    if shape is not None and shape != ():
        if int(np.prod(shape)) != 1:
            raise ValueError(
                f"`f` must return one number, got shape {tuple(shape)}: {describe(value)}; the derivative of a vector "
                "is its Jacobian: pass one component at a time, or a sum"
            )
        return _unusual_number(np.asarray(value).reshape(())[()], complex_allowed=complex_allowed)
    if complex_allowed:
        return complex(value)
    if isinstance(value, np.ndarray):
        return _unusual_number(value[()], complex_allowed=False)
    if not isinstance(value, (SupportsFloat, SupportsIndex)) or isinstance(value, (np.datetime64, np.timedelta64)):
        raise TypeError(f"`f` must return one number, got a {type(value).__name__}: {describe(value)}")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")  # type: ignore[operator]
    except (TypeError, ValueError) as error:
        raise TypeError(f"`f` must return one number, got a {type(value).__name__}: {describe(value)}") from error


def positive(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    """Return a step: a positive finite number, or one for each component of x."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        raise TypeError(f"`{name}` must be a positive number, or an array of x's shape {shape}; got {describe(value)}")
    array = real_array(name, value)
    if array.dtype.kind == "b":
        raise TypeError(f"`{name}` must be a positive number, got booleans: {describe(value)}")
    array = array.astype(np.float64)
    if array.shape not in ((), shape):
        raise ValueError(f"`{name}` must be one number or of x's shape {shape}, got shape {array.shape}")
    valid = np.isfinite(array) & (array > 0)
    if not valid.all():
        where = where_first(~valid)
        at = f" at coordinate {coordinate(where)}" if where else ""
        hint = "; for steps to the other side use method='backward'" if array[where] < 0 else ""
        raise ValueError(f"`{name}` must be positive and finite, got {array[where]}{at}{hint}")
    return array


def bounds_arrays(bounds: Any, x: Floats) -> tuple[Floats, Floats] | None:
    """Return flat lower and upper bounds, None if there are none; x must lie within."""
    if bounds is None:
        return None
    try:
        lower, upper = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`bounds` must be a pair (lower, upper) of numbers or arrays of x's shape, got {describe(bounds)}"
        ) from error
    sides = []
    for name, side, empty in (("lower", lower, -np.inf), ("upper", upper, np.inf)):
        array = np.float64(empty) if side is None else real_array(f"bounds ({name})", side).astype(np.float64)
        try:
            sides.append(np.broadcast_to(array, x.shape).reshape(-1))
        except ValueError as error:
            raise ValueError(
                f"`bounds` must be numbers or arrays of x's shape {x.shape}, got a {name} bound of shape {array.shape}"
            ) from error
    low, high = sides
    flat = x.reshape(-1)
    outside = ~((low <= flat) & (flat <= high))  # NaN bounds count as violated
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"`x` must lie within `bounds`, got x = {flat[i]} outside [{low[i]}, {high[i]}] at coordinate "
            f"{coordinate(where_first(outside.reshape(x.shape)))}"
        )
    if not (np.isfinite(low).any() or np.isfinite(high).any()):
        return None
    return low, high


def index_array(indices: Any, shape: tuple[int, ...]) -> Ints | None:
    """Return flat C-order coordinates, None for all of them."""
    if indices is None:
        return None
    size = int(np.prod(shape))
    array = np.asarray(indices)
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.intp)
    if array.dtype.kind == "b":
        if array.shape != shape:
            raise ValueError(f"`indices` as a mask must have x's shape {shape}, got shape {array.shape}")
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(
            f"`indices` must be an integer, a sequence of integers (into x in C order) or a boolean mask of x's shape, "
            f"got {describe(indices)}"
        )
    flat = np.atleast_1d(array)
    wrong = (flat < -size) | (flat >= size)
    if wrong.any():
        raise ValueError(f"`indices` must lie in [{-size}, {size}) for x of shape {shape}, got {flat[wrong][0]}")
    return np.where(flat < 0, flat + size, flat).astype(np.intp)
