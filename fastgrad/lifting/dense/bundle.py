"""An array-like that looks like one array and holds many: ufuncs, operators and indexing.

A `Bundle` keeps its points along a hidden first axis of ``data``. Leading, because numpy's broadcasting
then aligns constants as it would for one point, its reductions over the point's own axes see the same
memory in the same order (so they round alike), and its stacked matrix functions work as they are.
"""

from __future__ import annotations

import operator
import re
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, NoReturn

import numpy as np

from ...core.validation import Args
from ..arraylike import Array, ArrayLike, Handler, stacked
from ..signals import CannotLift, Diverged, Signal
from ..substitutes import Constant, uses_math
from ..work import (
    BIG,
    CELL,
    COMPOUND,
    FLOP,
    FUNCTION,
    PLAIN_ARRAY,
    SPARSE_ARRAY,
    SPARSE_CELL,
    DenseWork,
    weight,
    weight_at,
)


class NotAsked(CannotLift):
    """numpy converts without asking; f may go on with other bindings (see `rebinding`)."""


class WritesArgument(Signal):
    """f assigns into its argument: it needs a copy of the tile."""


# What stays what it is in an operation with a bundle's data, whatever the bundle's shape.
SCALARS = frozenset({float, int, bool, complex, np.float64, np.float32, np.int64, np.int32, np.bool_, np.complex128})
BASIC = frozenset({int, slice, type(None), type(Ellipsis), np.int64, np.int32, np.intp})

# Arrays beyond this size are noted: they leave the second-level cache. Far beyond, f is stopped and begun again
# with fewer points.
LARGE = 512 * 1024
TOO_LARGE = 2 * LARGE
COUNTED = 8 * BIG  # bytes from which an operation is counted by its size


class Memory(threading.local):
    """What was noted while f ran, in this thread."""

    largest = 0  # bytes of an array for one point
    careful = False  # few points at a time, to find that out
    boxed = False  # numpy made an array of objects from bundles
    filled: frozenset[int] = frozenset()  # entries of such arrays for one point as each entry of x changes in all
    work = DenseWork()  # of this sweep
    run: object = None  # what bundles made meanwhile belong to, where somebody asks whether one survives


memory = Memory()


class TooLarge(Signal):
    """f makes arrays so much larger than x that fewer points at a time are faster."""

    def __init__(self, filled: bool = False) -> None:
        super().__init__()
        # whether each entry of x changes all of such an array, which is no advantage of the sparse lift then
        self.filled = filled


def expect_heavy(ufunc: np.ufunc, inputs: tuple[Any, ...], least: int = BIG) -> None:
    """Count beforehand what an operation costs beyond that of `+`, if it is large: it is what costs most."""
    size = max((v.data.size for v in inputs if type(v) is Bundle), default=0)
    if size > least and memory.work.racing:
        first = inputs[0].data if type(inputs[0]) is Bundle else inputs[0]
        memory.work.pays(weight_at(ufunc, first) * size)


def note_large(array: Array) -> None:
    """Count an operation on a large array, and remember the largest."""
    note_size(array.size, len(array), array.nbytes)


def note_size(size: int, points: int, nbytes: int) -> None:
    """Count an operation that makes so many numbers for so many points."""
    work = memory.work
    if work.racing:  # the sparse lift pays for an operation at least, and for what changes
        changes = SPARSE_CELL * size if size // points in memory.filled else 0.0
        work.pays(CELL * size - changes, SPARSE_ARRAY)
    if nbytes > LARGE:
        memory.largest = max(memory.largest, nbytes // points)
        if nbytes > TOO_LARGE and not memory.careful:
            raise TooLarge


def note_filled(size: int, points: int) -> None:
    """Remember that in arrays of this size the sparse lift will not be sparse."""
    if 8 * size > COUNTED and memory.work.racing:
        memory.filled |= {size // points}


def expect_large(data: Array) -> None:
    """A new axis announces an array of all pairs, as in ``x[:, None] - x[None, :]``."""
    if data.nbytes * data.size // len(data) > TOO_LARGE and not memory.careful:
        raise TooLarge


def expect_entries(points: int, entries: int, filled: bool = False) -> None:
    """Stop before an array of so many entries for each point is made."""
    if 8 * points * entries > TOO_LARGE and not memory.careful:
        memory.largest = max(memory.largest, 8 * entries)
        raise TooLarge(filled)


# numpy function -> the same for bundles; filled by the module of functions.
HANDLERS: dict[Callable[..., Any], Handler] = {}


def _operation(op: Callable[[Any, Any], Any], ufunc: np.ufunc) -> tuple[Handler, Handler]:
    """A binary operator and its reflection. Lean, because at n = 10 what it costs is what the lift costs."""

    def forward(self: Bundle, other: Any) -> Any:
        kind = type(other)
        if kind is Bundle:
            a, b = self.data, other.data
            if a.ndim == b.ndim:
                result = op(a, b)
                if result.nbytes > COUNTED:
                    note_large(result)
                return Bundle(result)
        elif kind in SCALARS or (kind is np.ndarray and other.ndim < self.data.ndim and other.dtype != object):
            result = op(self.data, other)
            if result.nbytes > COUNTED:
                note_large(result)
            return Bundle(result)
        elif not _operable(other):
            return NotImplemented
        return self.__array_ufunc__(ufunc, "__call__", self, other)

    def reflected(self: Bundle, other: object) -> Any:
        if type(other) in SCALARS:
            result = op(other, self.data)
            if result.nbytes > COUNTED:
                note_large(result)
            return Bundle(result)
        if not _operable(other):
            return NotImplemented
        return self.__array_ufunc__(ufunc, "__call__", other, self)

    return forward, reflected


def _in_place(op: Callable[[Any, Any], Any], forward: Handler) -> Handler:
    def update(self: Bundle, other: object) -> Any:
        if self.data.ndim == 1:  # a scalar for one point: the name is bound anew
            return forward(self, other)
        if not self.data.flags.writeable:
            raise WritesArgument
        value = operand(other)
        op(self.data, raw(value, self.ndim) if type(value) is Bundle else value)
        return self

    return update


def _operable(other: object) -> bool:
    return isinstance(other, np.ndarray | np.generic | float | int | complex | list | tuple | Bundle) or other is None


class Bundle(ArrayLike):
    """Many arrays of one shape that are used like one of them.

    `data`: the points along the first axis, which is hidden.

    Notes
    -----
    ``isinstance(bundle, np.ndarray)`` is true, as it would be for one point (and
    ``isinstance(bundle, np.float64)`` where one point would give a scalar), by way of ``__class__``;
    it is no subclass, so that nothing in numpy can touch ``data`` without asking.
    """

    __slots__ = ("data", "run")

    def __init__(self, data: Array) -> None:
        self.data = data
        self.run = memory.run

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return np.ndarray if self.data.ndim > 1 else self.data.dtype.type

    shape = property(lambda self: self.data.shape[1:])
    ndim = property(lambda self: self.data.ndim - 1)
    dtype = property(lambda self: self.data.dtype)
    itemsize = property(lambda self: self.data.itemsize)
    strides = property(lambda self: self.data.strides[1:])
    size = property(lambda self: self.data[0].size)
    nbytes = property(lambda self: self.data[0].nbytes)
    real = property(lambda self: Bundle(self.data.real))
    imag = property(lambda self: Bundle(self.data.imag))

    @property
    def T(self) -> Bundle:  # noqa: N802 (numpy's name)
        data = self.data
        return self if data.ndim < 3 else Bundle(data.transpose(0, *range(data.ndim - 1, 0, -1)))

    @property
    def mT(self) -> Bundle:  # noqa: N802
        if self.data.ndim < 3:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return Bundle(self.data.swapaxes(-1, -2))

    @property
    def flat(self) -> Bundle:
        flattened = self.data.reshape(len(self.data), -1)
        if not np.shares_memory(flattened[:1], self.data[:1]):
            raise CannotLift("`flat` of an array that is not contiguous")
        return Bundle(flattened)

    # --- numpy's protocols --------------------------------------------------------------------------

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        # np.array([x[0], x[1]]) becomes an array of objects, in which numpy computes with the
        # bundles one by one; where it meets other bundles or is the result, `absorb` stacks it.
        if self.data.ndim == 1 and dtype in (None, object):
            memory.boxed = True
            box = np.empty((), object)
            box[()] = self
            return box
        raise NotAsked("np.array or np.asarray of an array that holds many points")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **kwargs: object) -> Any:
        memory.work.operates()
        if weight(ufunc):
            expect_heavy(ufunc, inputs)
        if method != "__call__" or ufunc.signature is not None or kwargs:
            return _uncommon(ufunc, method, inputs, kwargs)
        try:
            if len(inputs) == 1:
                result = ufunc(self.data)
            else:
                operands = aligned(inputs)
                most = 8
                for value in operands:
                    if type(value) not in SCALARS:
                        most *= value.size
                if most > COUNTED:
                    self._note_before(inputs, np.broadcast(*operands).size)
                result = ufunc(*operands)
        except FloatingPointError as error:  # np.errstate(all="raise"): at which of the points?
            raise CannotLift(f"np.{ufunc.__name__}: {error}") from error
        if type(result) is not np.ndarray:
            return tuple(map(Bundle, result))
        if len(inputs) == 1 and result.nbytes > COUNTED:
            note_large(result)
        return Bundle(result)

    def _note_before(self, inputs: tuple[Any, ...], size: int) -> None:
        """Count an operation before it makes so many numbers: memory that is new costs more than the operation."""
        if 8 * size > COUNTED:
            points = len(self.data)
            if any(type(v) is Bundle and v.data.ndim == 1 for v in inputs):
                note_filled(size, points)  # a number made of x, such as its mean, meets an array
            note_size(size, points, 8 * size)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if kwargs and kwargs.get("out") is not None:
            return written(kwargs.pop("out"), func, args, kwargs)
        memory.work.operates(FUNCTION)
        handler = HANDLERS.get(func)
        if handler is not None:
            try:
                result = handler(*args, **kwargs)
            except Exception:  # noqa: BLE001 (its own doing, or f's error: point by point tells)
                result = NotImplemented
            if result is not NotImplemented:
                if type(result) is Bundle and result.data.nbytes > COUNTED and result.data.base is None:
                    note_large(result.data)
                return result
        return per_point(func, args, kwargs)

    # --- what asks for one number -------------------------------------------------------------------

    def __bool__(self) -> bool:
        data = self.data
        # counting bytes costs a third of np.count_nonzero
        true = data.tobytes().count(1) if data.dtype == bool else np.count_nonzero(data)
        if data.size != len(data):
            return bool(data[0])  # numpy's own complaint
        if true == len(data):
            return True
        if true == 0:
            return False
        raise Diverged("a condition is true for some points only", data.reshape(-1).astype(bool))

    def __int__(self) -> int:
        return int(same_for_all(self.data.reshape(len(self.data)).astype(np.int64)))

    __trunc__ = __int__

    def __index__(self) -> int:
        if self.data.ndim > 1 or self.data.dtype.kind not in "iu":
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        return int(same_for_all(self.data))

    def __floor__(self) -> int:
        return Bundle(np.floor(self.data)).__int__()

    def __ceil__(self) -> int:
        return Bundle(np.ceil(self.data)).__int__()

    def __round__(self, ndigits: int | None = None) -> Any:
        rounded = Bundle(np.round(self.data, ndigits or 0))
        return rounded.__int__() if ndigits is None else rounded

    def _refuse(self, *args: object) -> NoReturn:
        raise CannotLift("text or plain numbers made from an array that holds many points")

    def __float__(self) -> float:
        kind = NotAsked if uses_math(sys._getframe(1)) else CannotLift
        raise kind("float() or a function of `math` of an array that holds many points")

    __complex__ = __str__ = __repr__ = __format__ = __reduce__ = _refuse
    item = tolist = tobytes = _refuse

    def __getattr__(self, name: str) -> Any:
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise CannotLift(f"`.{name}` of an array that holds many points")
        raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")

    def __copy__(self) -> Bundle:
        return Bundle(self.data.copy())

    def __deepcopy__(self, memo: object) -> Bundle:
        return Bundle(self.data.copy())

    # --- where f sees numpy, math and float through substitutes ------------------------------------

    def settled(self) -> Any:
        return same_for_all(self.data)

    def number(self) -> NoReturn:
        raise CannotLift("float() of an array that holds many points")  # which is no float: 1 / 0.0 would not raise

    def of_math(self, function: Any, ufunc: np.ufunc | None, numbers: Any) -> Any:
        """Number by number: numpy's own functions may round differently."""
        points = len(self.data)
        memory.work.calls(points)
        if not all(v.data.ndim == 1 if type(v) is Bundle else type(v) in SCALARS for v in numbers):
            return per_point(function, numbers, {})
        columns = (v.data.tolist() if type(v) is Bundle else repeat(v, points) for v in numbers)
        try:
            return Bundle(np.array(list(map(function, *columns))))
        except Exception:  # noqa: BLE001 (at which of the points?)
            return per_point(function, numbers, {})

    def times(self, matrix: object) -> Bundle:
        if self.ndim != 1:
            raise CannotLift("a sparse matrix times an array that is not a vector")
        return Bundle(np.ascontiguousarray((matrix @ self.data.T).T))

    def fresh(self, made: Array) -> Any:
        points = len(self.data)
        return made.view(Constant) if made.nbytes * points > LARGE else Bundle(np.repeat(made[None], points, axis=0))

    # --- as a sequence ------------------------------------------------------------------------------

    def __len__(self) -> int:
        if self.data.ndim == 1:
            raise TypeError("len() of unsized object")
        return int(self.data.shape[1])

    def __iter__(self) -> Iterator[Bundle]:
        data = self.data
        if data.ndim == 1:
            raise TypeError("iteration over a 0-d array")
        if data.ndim == 2 and not data.flags.writeable:  # nobody can change it meanwhile
            rows = iter(np.ascontiguousarray(data.T))
            memory.work.takes(data.shape[1], rows)
            return map(Bundle, rows)
        return (self[i] for i in range(data.shape[1]))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __getitem__(self, key: Any) -> Bundle:
        data = self.data
        kind = type(key)
        if kind is int and data.ndim == 2:
            memory.work.takes(1)
            return Bundle(data[:, key].copy())  # a scalar for one point: no view; contiguous, too
        if kind is slice and data.ndim > 1:
            return Bundle(data[:, key])
        if data.ndim == 1 and key != () and key is not Ellipsis and key is not None:
            raise IndexError("invalid index to scalar variable.")
        keys = constant_keys(key)
        if all(type(k) in BASIC for k in keys):
            if None in keys:
                expect_large(data)
            part = data[(slice(None), *keys)]
            if part.ndim == 1 and Ellipsis in keys:
                raise CannotLift("a 0-d view")
            return Bundle(part.copy() if part.ndim == 1 else part)
        if len(keys) == 1 and keys[0].dtype.kind in "iu":
            expect_entries(len(data), keys[0].size * data[0, 0].size)
            return Bundle(data.take(keys[0], axis=1))
        return Bundle(data.reshape(len(data), -1).take(self._positions(keys), axis=1))

    def _positions(self, keys: tuple[Any, ...]) -> Array:
        """Where in C order the entries selected by any kind of index are: the rules are numpy's own."""
        places: Array = np.arange(self.data[0].size).reshape(self.shape)[keys]
        return places

    def __setitem__(self, key: Any, value: Any) -> None:
        data = self.data
        if data.ndim == 1:
            raise CannotLift("assignment into a scalar or a 0-d array")
        if not data.flags.writeable:
            raise WritesArgument
        value = operand(value)
        if type(key) is Bundle and key.data.dtype == bool and key.shape == self.shape and dimensions(value) == 0:
            new = raw(value, self.ndim) if type(value) is Bundle else value
            np.copyto(data, new, where=key.data, casting="unsafe")
            return
        keys = constant_keys(key)
        if not all(type(k) in BASIC for k in keys):
            keys = np.unravel_index(self._positions(keys), self.shape)  # next to each other: no axis moves
        where = (slice(None), *keys)
        if type(value) is Bundle:
            target = data[where].ndim - 1
            new = raw(value, target)
            while new.ndim > target + 1:  # as numpy does, drop leading axes of length 1
                new = new.squeeze(axis=1)
            data[where] = new
        else:
            data[where] = value

    # --- operators ----------------------------------------------------------------------------------

    def __pow__(self, other: object, modulus: None = None) -> Any:
        if self.data.ndim == 1 and type(other) in SCALARS:
            return Bundle(_scalar_power(self.data, other))
        if not (type(other) in SCALARS and other == 2):  # a square is a product
            expect_heavy(np.power, (self,), BIG // 8)
        return _array_power(self, other)

    def __matmul__(self, other: object) -> Any:
        return matmul(self, other) if _operable(other) else NotImplemented

    def __rmatmul__(self, other: object) -> Any:
        return matmul(other, self) if _operable(other) else NotImplemented


Bundle.operators(_operation, _in_place, lambda op, _: lambda self: Bundle(op(self.data)))
_array_power, _ = _operation(operator.pow, np.power)


def _scalar_power(base: Array, exponent: Any) -> Array:
    """base ** exponent as numpy computes it for a scalar base: by pow, where it would square an array.

    The two differ in the last bit for one square in 1000.
    """
    if base.dtype == np.float64 and type(exponent) in (int, float, np.float64):
        power: Array = np.float_power(base, exponent)
    elif base.dtype.kind in "fc":
        power = base ** np.full(base.shape, exponent, np.result_type(base.dtype, exponent))
    else:
        power = base**exponent
    return power


# --- operands -----------------------------------------------------------------------------------------


def raw(bundle: Bundle, ndim: int) -> Array:
    """The data of a bundle whose points shall have this many axes, new ones of length 1 in front."""
    data = bundle.data
    missing = ndim + 1 - data.ndim
    return data if missing <= 0 else data.reshape(data.shape[:1] + (1,) * missing + data.shape[1:])


def _bundles(value: object) -> Iterator[Bundle]:
    if type(value) is Bundle:
        yield value
    elif isinstance(value, list | tuple):
        for v in value:
            yield from _bundles(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from _bundles(v)


def gathered(value: object) -> Any:
    """Nested lists, or an array of objects, that hold bundles as one bundle; anything else as it is."""
    value = stacked(value)
    return absorb(value) if isinstance(value, np.ndarray) and value.dtype == object else value


def absorb(array: Array) -> Any:
    """A bundle from an array of objects some of which are bundles of scalars; else the array itself."""
    entries = array.reshape(-1).tolist()
    if not any(type(e) is Bundle for e in entries):
        return array
    made: Any = np.stack(entries)
    return Bundle(made.data.reshape(len(made.data), *array.shape))


def operand(value: Any) -> Any:
    """A bundle, or a constant that numpy takes as it is."""
    kind = type(value)
    if kind is Bundle or kind in SCALARS:
        return value
    if kind is list or kind is tuple:
        value = stacked(value)
        if type(value) is Bundle:
            return value
        kind = type(value)
    if kind is np.ndarray:
        array = value
    elif isinstance(value, np.matrix | np.ma.MaskedArray):
        raise CannotLift(f"an operation with a {kind.__name__}")
    else:
        array = np.asarray(value)
    return absorb(array) if array.dtype.kind == "O" else array


def dimensions(value: Any) -> int:
    """The number of axes of an operand."""
    return 0 if type(value) in SCALARS else value.ndim


def aligned(values: Any) -> Any:
    """The data of bundles and constants so that they broadcast as they would for one point."""
    values = [operand(v) for v in values]
    ndim = 0
    for v in values:
        if type(v) not in SCALARS and v.ndim > ndim:
            ndim = v.ndim
    return [raw(v, ndim) if type(v) is Bundle else v for v in values]


def same_for_all(data: Array) -> Any:
    """What all points agree on."""
    first = data[0]
    same = data == first
    if same.all():
        return first
    raise Diverged("an index or a mask differs between the points", same.reshape(len(data), -1).all(axis=1))


def constant_keys(key: object) -> tuple[Any, ...]:
    """An index as a tuple of numpy's basic kinds and of constant arrays."""
    keys = key if type(key) is tuple else (key,)
    if all(type(k) in BASIC for k in keys):
        return keys
    return tuple(k if type(k) in BASIC else _constant_key(k) for k in keys)


def _constant_key(key: object) -> Any:
    if type(key) is slice:
        return key
    value = operand(key)
    array = same_for_all(value.data) if type(value) is Bundle else np.asarray(value)
    return np.asarray(array, dtype=np.intp) if array.size == 0 and array.dtype != bool else np.asarray(array)


# --- ufuncs beyond the plain call --------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Any:
    """The product ``a @ b`` where either or both are bundles.

    A constant matrix meets all points in one product; two bundles are multiplied point by point
    within one call of numpy.
    """
    a, b = operand(a), operand(b)
    dims, other = dimensions(a), dimensions(b)
    if dims == 0 or other == 0:
        raise ValueError("matmul: Input operand does not have enough dimensions")
    work, points = memory.work, len(a.data if type(a) is Bundle else b.data)
    if work.racing:  # each entry of the left operand is multiplied with each column of the right one, at each point
        left = a.data.size if type(a) is Bundle else a.size * points
        columns = 1 if other == 1 else b.shape[-1]
        entries = left // points // max(1, a.shape[-1]) * columns
        filled = dims == 1 or other == 1  # of a constant matrix and x: each entry of x changes all
        expect_entries(points, entries, filled)
        changes = SPARSE_CELL * points * entries if filled else 0.0
        if any(type(v) is Bundle and v.data.size // points in memory.filled for v in (a, b)):
            changes += FLOP * left * columns  # all is multiplied there, too
        work.multiplies(left * columns, changes)
    if type(b) is not Bundle and other <= 2:
        product = a.data @ b
        if dims == 1:
            note_filled(product.size, points)
        return Bundle(product)
    if type(a) is not Bundle and dims <= 2:
        if other > 1:
            return Bundle(np.matmul(a, b.data))
        product = b.data @ a.T
        note_filled(product.size, points)
        return Bundle(product)
    if dims == other == 1:
        return Bundle(_row_dot(a.data, b.data))
    left = a if dims > 1 else a[None, :]
    right = b if other > 1 else b[:, None]
    product = np.matmul(*aligned((left, right)))
    if other == 1:
        product = product[..., 0]
    if dims == 1:
        product = product[..., 0, :] if other > 1 else product[..., 0]
    return Bundle(product)


def _row_dot(a: Array, b: Array) -> Array:
    """The dot products of rows, each rounded as one alone."""
    is_complex = a.dtype.kind == "c"  # vecdot conjugates
    product: Array = np.matmul(a[:, None, :], b[:, :, None])[:, 0, 0] if is_complex else np.vecdot(a, b)
    return product


def _uncommon(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """ufuncs with keywords, their methods, and generalised ufuncs."""
    if kwargs.get("out") is not None:
        (target,) = kwargs.pop("out")
        return written(target, ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)
    if method != "__call__":
        return _method(ufunc, method, inputs, kwargs)
    if ufunc is np.matmul and not kwargs:
        return matmul(*inputs)
    if ufunc.signature is not None:
        return _general(ufunc, inputs, kwargs)
    where = kwargs.pop("where", True)
    *inputs, where = aligned((*inputs, where))
    result = ufunc(*inputs, where=where, **kwargs)
    return Bundle(result) if type(result) is np.ndarray else tuple(map(Bundle, result))


def written(out: object, func: Callable[..., Any], args: Args, kwargs: dict[str, Any]) -> Any:
    """A function that is told where to write its result, and maybe at which entries alone."""
    if type(out) is not Bundle:
        raise NotAsked(f"np.{getattr(func, '__name__', func)} with `out=`")  # which may be an array that f has made
    where = kwargs.pop("where", True) if isinstance(func, np.ufunc) else True  # of a reduction: what to take
    result = func(*args, **kwargs)
    out[...] = result if where is True else np.where(where, result, out)
    return out


def _general(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A generalised ufunc: the axes before its core axes broadcast, with the points in front of them."""
    signature = str(ufunc.signature)
    if kwargs or "?" in signature:
        return per_point(ufunc, inputs, kwargs)
    values = [operand(v) for v in inputs]
    cores = [len(re.findall(r"\w+", core)) for core in re.findall(r"\(.*?\)", signature.split("->")[0])]
    loops = max(dimensions(v) - core for v, core in zip(values, cores, strict=True))
    plain = [raw(v, loops + core) if type(v) is Bundle else v for v, core in zip(values, cores, strict=True)]
    result = ufunc(*plain)
    return tuple(map(Bundle, result)) if isinstance(result, tuple) else Bundle(result)


def _method(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``ufunc.reduce``, ``accumulate``, ``outer`` and the others."""
    first = inputs[0]
    if method in ("reduce", "accumulate") and type(first) is Bundle and first.ndim and len(inputs) == 1:
        axis = kwargs.pop("axis", 0)
        if isinstance(axis, int) and kwargs.keys() <= {"dtype", "keepdims", "out"}:
            axis = np.lib.array_utils.normalize_axis_index(axis, first.ndim) + 1
            return Bundle(getattr(ufunc, method)(first.data, axis=axis, **kwargs))
        kwargs["axis"] = axis
    if method == "outer" and len(inputs) == 2 and not kwargs:
        left, right = (operand(v) for v in inputs)
        return ufunc(left[(..., *(None,) * dimensions(right))] if dimensions(right) else left, right)
    return per_point(getattr(ufunc, method), inputs, kwargs)


# --- anything else: one point after the other ---------------------------------------------------------------


def _at(value: object, row: int) -> Any:
    if type(value) is Bundle:
        return value.data[row]
    if isinstance(value, list | tuple):
        return type(value)(_at(v, row) for v in value) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {k: _at(v, row) for k, v in value.items()}
    return value


WRITERS = {np.copyto, np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis}


def per_point(func: Callable[..., Any], args: Args, kwargs: dict[str, Any]) -> Any:
    """Call a function for each point and stack what it returns: right for any function of numpy.

    No faster than the loop, but it keeps the rest of f lifted. Where some points raise, f might
    catch it, so these must be evaluated apart.
    """
    name = getattr(func, "__name__", str(func))
    args = tuple(absorb(a) if type(a) is np.ndarray and a.dtype == object else a for a in args)
    bundles = list(_bundles((args, kwargs)))
    if not bundles:
        return func(*args, **kwargs)
    writes = func in WRITERS or name == "at"
    if writes:
        if type(args[0]) is not Bundle:
            raise CannotLift(f"np.{name} into an array that does not hold many points")
        if not args[0].data.flags.writeable:
            raise WritesArgument
    memory.work.pays(COMPOUND * PLAIN_ARRAY * len(bundles[0].data) - SPARSE_ARRAY)
    results: list[Any] = []
    errors: dict[int, Exception] = {}
    for row in range(len(bundles[0].data)):
        try:
            results.append(func(*_at(args, row), **_at(kwargs, row)))
        except Exception as error:  # noqa: BLE001 (raised below)
            errors[row] = error
    if errors:
        if results:
            failed = np.zeros(len(bundles[0].data), bool)
            failed[list(errors)] = True
            raise Diverged(f"np.{name} fails for some points only", failed)
        raise errors[0]
    return None if writes else _stack(results, name, bundles)


def _stack(results: list[Any], name: str, bundles: list[Bundle]) -> Any:
    first = results[0]
    if isinstance(first, list | tuple):
        if any(len(r) != len(first) for r in results):
            raise Diverged(f"np.{name} gives different numbers of results")
        parts = [_stack(list(part), name, bundles) for part in zip(*results, strict=True)]
        return parts if type(first) is list else type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if not isinstance(first, np.ndarray | np.generic | float | int | complex | bool):
        raise CannotLift(f"np.{name} returns {type(first).__name__}")
    arrays = [np.asarray(r) for r in results]
    kinds = [(a.shape, a.dtype) for a in arrays]
    if any(kind != kinds[0] for kind in kinds):
        raise Diverged(f"np.{name} gives results of different shapes", np.array([k == kinds[0] for k in kinds]))
    is_view = isinstance(first, np.ndarray) and first.base is not None
    if is_view and any(np.may_share_memory(first, b.data) for b in bundles):
        raise CannotLift(f"np.{name} gives a view")
    if arrays[0].dtype == object:
        raise CannotLift(f"np.{name} gives an array of objects")
    return Bundle(np.stack(arrays))
