"""What callers pass, made into what the rest relies on: or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any, SupportsComplex, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .errors import describe

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Function = Callable[..., Any]
Args = tuple[Any, ...]
Bounds = tuple[Floats, Floats]

_REAL_SCALARS = (int, np.floating, np.integer, np.bool_)
_NO_NUMBERS = (str, bytes, bytearray, np.datetime64, np.timedelta64)
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


def real_array(name: str, value: object) -> Array:
    """Return a value as an array of real numbers, of whatever real dtype it has."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        several = isinstance(value, (list, tuple)) and all(isinstance(part, (np.ndarray, np.generic)) for part in value)
        remedy = f"; pass several arrays as a dictionary, dict(enumerate({name})): f gets one like it" * several
        raise ValueError(
            f"`{name}` must be a rectangular array of real numbers, got {describe(value)}{remedy}"
        ) from error
    if array.dtype.kind not in "fiub":
        remedy = f"; convert it first, for example with np.asarray({name}, dtype=float)"
        if array.dtype.kind == "c":
            remedy = "; for a function of complex variables differentiate its real and imaginary parts"
        elif value is None:
            remedy = ""
        elif is_dataclass(value):
            remedy = f"; pass its arrays as a dictionary, vars({name}): f gets one like it"
        elif not array.ndim and isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            remedy = f"; pass list({name})"
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
    if isinstance(value, float):  # np.float64 is one
        return float(value)
    if isinstance(value, _REAL_SCALARS) and type(value).__name__ != "timedelta64":  # which is a np.integer, too
        return _rounded(value)
    if type(value) is np.ndarray and value.size == 1 and value.dtype.kind in "fiub":
        return float(value.item())
    return _unusual_number(value).real


def _rounded(value: Any) -> float:
    """Return the nearest float: infinity where a whole number or a fraction is larger than all."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def known_value(f0: object) -> float:
    """Return the value of f at x that the caller gave."""
    try:
        return number(f0)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`f0` must be f(x), one real number; got {describe(f0)}") from error


def complex_number(value: object) -> complex:
    """Turn what f returned for a complex argument into a complex number."""
    if isinstance(value, complex):  # np.complex128 is one
        return complex(value)
    result = _unusual_number(value, complex_allowed=True)
    if isinstance(result, float):
        raise TypeError(
            f"`f` returned the real number {describe(value)} for a complex argument, so it dropped the imaginary "
            "part (abs, float, a comparison or a closure may do that) and the complex step cannot work; "
            "use method='central'"
        )
    return result


def _unusual_number(value: Any, *, complex_allowed: bool = False, inner: bool = False) -> complex:
    """Turn what is neither a float nor a numpy scalar into a number; a float, unless it is complex."""
    if value is None:
        raise TypeError("`f` must return one number, got None; is a `return` missing?")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"`f` must return one number, got a masked one, which has no value: {describe(value)}")
    if isinstance(value, (complex, np.complexfloating)):
        if complex_allowed:
            return complex(value)
        raise TypeError(
            f"`f` must return one real number, got the complex {describe(value)}; return its real part, or its abs"
        )
    if isinstance(value, (list, tuple)):
        if len(value) == 1 and not inner:
            return _unusual_number(value[0], complex_allowed=complex_allowed)
        raise ValueError(
            f"`f` must return one number, got a {type(value).__name__} of {len(value)}: {describe(value)}; "
            "of a function that returns (value, gradient) take `lambda x: f(x)[0]`; the derivative of a vector is its "
            "Jacobian: pass one component at a time, or a sum"
        )
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and (shape != () or isinstance(value, np.ndarray)):
        if any(length != 1 for length in shape):
            raise ValueError(
                f"`f` must return one number, got shape {tuple(shape)}: {describe(value)}; the derivative of a vector "
                "is its Jacobian: pass one component at a time, or a sum"
            )
        # arrays of every library have it; where it gives no plain number there is none
        item = getattr(value, "item", None)
        if item is not None and not inner:
            return _unusual_number(item(), complex_allowed=complex_allowed, inner=True)
    elif not isinstance(value, _NO_NUMBERS) and isinstance(value, (SupportsFloat, SupportsIndex)):
        try:
            return _rounded(value)
        except (TypeError, ValueError):
            if complex_allowed and isinstance(value, SupportsComplex):
                with suppress(TypeError, ValueError):
                    return complex(value)
    raise TypeError(f"`f` must return one number, got a {type(value).__name__}: {describe(value)}")


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


def bounds_arrays(bounds: Any, x: Floats) -> Bounds | None:
    """Return flat lower and upper bounds, None if there are none; x must lie within."""
    if bounds is None:
        return None
    lower, upper = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else _sides(bounds, x)
    sides = []
    for name, side, empty in (("lower", lower, -np.inf), ("upper", upper, np.inf)):
        array = np.float64(empty) if side is None else real_array(f"bounds ({name})", side).astype(np.float64)
        try:
            sides.append(np.broadcast_to(array, x.shape).reshape(-1))
        except ValueError as error:
            raise ValueError(
                f"`bounds` must be {_BOUNDS}; got a {name} bound of shape {array.shape} for x of shape {x.shape}"
            ) from error
    low, high = sides
    crossed = low > high
    if crossed.any():
        i = int(np.argmax(crossed))
        raise ValueError(
            f"`bounds` must have no lower bound above the upper one; got [{low[i]}, {high[i]}] at coordinate "
            f"{coordinate(where_first(crossed.reshape(x.shape)))}"
        )
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


def moving(bounds: Bounds | None) -> NDArray[np.bool_] | None:
    """Return which entries of x bounds leave free; None if they fix none. By what is fixed the derivative is 0."""
    free = None if bounds is None else bounds[0] < bounds[1]
    return None if free is None or free.all() else free


_BOUNDS = "(lower, upper), two numbers or arrays of x's shape, or a list of a pair (low, high) for each entry of x"


def _sides(bounds: Any, x: Floats) -> tuple[Any, Any]:
    """Return the lower and the upper side of what is either these two, or one pair for each entry of x.

    Two tuples in a list are pairs, as in SciPy; two arrays are the sides. What may mean either is refused, whatever the
    values: which of them is meant must not depend on them.
    """
    try:
        rows = list(bounds) if isinstance(bounds, (list, tuple, np.ndarray)) else None
        pairs = rows is not None and x.ndim and len(rows) == x.size and all(np.ndim(_known(row)) == 1 for row in rows)
        pairs = pairs and all(len(row) == 2 for row in rows or ())
    except ValueError:  # a ragged row
        rows = None
    if rows is None or not (pairs or len(rows) == 2):
        raise ValueError(f"`bounds` must be {_BOUNDS}; got {describe(bounds)}")
    if pairs and len(rows) == 2:
        as_in_scipy = isinstance(bounds, list) and all(isinstance(row, tuple) for row in rows)
        two_arrays = not isinstance(bounds, np.ndarray) and all(isinstance(row, np.ndarray) for row in rows)
        two_lists = isinstance(bounds, tuple) and not any(isinstance(row, tuple) for row in rows)
        open_ended = any(side is None for row in rows for side in row)
        if two_arrays or (two_lists and not open_ended):
            pairs = False
        elif not (as_in_scipy or open_ended):
            raise ValueError(
                "`bounds` may mean two pairs (low, high) or (lower, upper): write a list of tuples for pairs, "
                f"[(low, high), (low, high)], or a tuple of arrays, (np.array(lower), np.array(upper)); got "
                f"{describe(bounds)}"
            )
    if not pairs:
        return rows[0], rows[1]
    sides = [[empty if row[j] is None else row[j] for row in rows] for j, empty in ((0, -np.inf), (1, np.inf))]
    return np.reshape(sides[0], x.shape), np.reshape(sides[1], x.shape)


def _known(row: Any) -> Any:
    """Return a pair with numbers where it has no bound."""
    return [0.0 if side is None else side for side in row] if isinstance(row, (list, tuple)) else row


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
