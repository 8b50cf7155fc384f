"""What the array-likes of both lifts have in common: operators, and how they are found in nested lists."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Handler = Callable[..., Any]

# Python's operators by their special names: the function of the operator, and numpy's
BINARY: dict[str, tuple[Callable[[Any, Any], Any], np.ufunc]] = {
    name: (getattr(operator, f"__{name}__"), ufunc)
    for name, ufunc in {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
        "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
        "lshift": np.left_shift, "rshift": np.right_shift, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    }.items()
}  # fmt: skip
UNARY: dict[str, tuple[Callable[[Any], Any], np.ufunc]] = {
    name: (getattr(operator, f"__{name}__"), ufunc)
    for name, ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items()
}
REFLECTED = frozenset(BINARY) - {"lt", "le", "gt", "ge", "eq", "ne"}  # Python reflects comparisons by itself
IN_PLACE = {name: getattr(operator, f"__i{name}__") for name in REFLECTED}


class ArrayLike:
    """Many arrays of one shape that f uses like one of them."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def operators(
        cls,
        made: Callable[[Callable[[Any, Any], Any], np.ufunc], tuple[Callable[..., Any], Callable[..., Any]]],
        in_place: Callable[[Callable[[Any, Any], Any], Callable[[Any, Any], Any]], Callable[[Any, Any], Any]],
        unary: Callable[[Callable[[Any], Any], np.ufunc], Callable[[Any], Any]],
    ) -> None:
        """Give the class all of Python's operators that it does not define itself.

        `made`: from an operator and its ufunc to what stands for it and for its reflection.
        `in_place`: from an operator in place and the plain one to what stands for it.
        `unary`: from an operator of one operand and its ufunc to what stands for it.
        """
        for name, functions_of_one in UNARY.items():
            setattr(cls, f"__{name}__", unary(*functions_of_one))
        for name, functions in BINARY.items():
            forward, reflected = made(*functions)
            forward = vars(cls).get(f"__{name}__", forward)
            setattr(cls, f"__{name}__", forward)
            if name in REFLECTED:
                setattr(cls, f"__r{name}__", reflected)
                setattr(cls, f"__i{name}__", in_place(IN_PLACE[name], forward))

    # what each lift says of its own

    def settled(self) -> Any:
        """The plain array that all points agree on, as an index or a mask."""
        raise NotImplementedError

    def number(self) -> Any:
        """What ``float()`` is to make of one number."""
        raise NotImplementedError

    def of_math(self, function: Callable[..., Any], ufunc: np.ufunc | None, numbers: Any) -> Any:
        """A function of math, or the ufunc that is as good, of numbers of which this is one."""
        raise NotImplementedError

    def times(self, matrix: Any) -> Any:
        """A sparse matrix of SciPy times this vector."""
        raise NotImplementedError

    def fresh(self, made: NDArray[Any]) -> Any:
        """What f, which was given this, is to get for an array that it has made, to write into."""
        raise NotImplementedError

    # and what is the same for both

    def __divmod__(self: Any, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self: Any, other: Any) -> Any:
        return other // self, other % self


def is_bundle(value: Any) -> bool:
    """Whether a value is an array-like; what its kind has beyond the above is no question of types then."""
    return isinstance(value, ArrayLike)


def entering(table: dict[Any, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """Return a decorator that enters what stands for some functions of numpy into a table."""

    def handles(*functions: Any) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            table.update(dict.fromkeys(functions, handler))
            return handler

        return register

    return handles


NESTED = (list, tuple)  # named, since `list | tuple` makes the union anew each time


def has_bundles(value: Any) -> bool:
    """Whether there is an array-like in nested lists, tuples and dictionaries, or the value is one."""
    if isinstance(value, ArrayLike):
        return True
    if isinstance(value, NESTED):
        return any(map(has_bundles, value))
    return isinstance(value, dict) and any(map(has_bundles, value.values()))


def stacked(value: Any) -> Any:
    """Nested lists that hold array-likes as one; anything else as it is."""
    if isinstance(value, NESTED) and has_bundles(value):
        return np.stack([stacked(part) for part in value])
    return value
