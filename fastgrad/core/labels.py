"""The labels of a pandas Series or DataFrame, or an xarray DataArray: put on what f gets, and on the gradient.

So with what a named tuple or an array of another kind (``numpy.matrix``) has more than an array: f may need it, or mean
something else by ``*``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .call import NO_KWARGS
from .errors import describe
from .validation import Args, Array, Function, coordinate_of

# what an array says of an index by a label, and of `loc` or `sel`
WANTS = (IndexError, AttributeError)
SAME = 1e-9  # relative: sums are rounded elsewhere


def has_labels(x: object) -> bool:
    """Whether x is a pandas Series or DataFrame, an xarray DataArray, a named tuple or an array of another kind."""
    return _in_a_table(x) or _is_named(x) or _of_its_own_kind(x)


def _in_a_table(x: object) -> bool:
    return hasattr(x, "iloc") or hasattr(x, "dims")


def _is_named(x: object) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def _of_its_own_kind(x: object) -> bool:
    return isinstance(x, np.ndarray) and type(x) not in (np.ndarray, np.memmap)


class Labels:
    """The labels of x.

    `x`: a Series, DataFrame, DataArray, named tuple or array of another kind; the first three are told by what they
        offer: neither library is loaded for the question.
    """

    __slots__ = ("_labelled", "_x")

    def __init__(self, x: Any) -> None:
        kind: Any = type(x)
        self._x = x
        if hasattr(x, "iloc") and hasattr(x, "columns"):
            self._labelled: Callable[[Any], Any] = lambda values: kind(values, index=x.index, columns=x.columns)
        elif hasattr(x, "iloc"):
            self._labelled = lambda values: kind(values, index=x.index, name=x.name)
        elif hasattr(x, "dims"):
            self._labelled = lambda values: x.copy(data=values)
        elif _is_named(x):
            self._labelled = lambda values: kind(*values)
        elif _of_its_own_kind(x):
            self._labelled = self._alike
        else:
            raise TypeError(
                f"`labels` needs an x that has some: a pandas Series or DataFrame, or an xarray DataArray; got "
                f"{describe(x)}"
            )

    def _alike(self, values: Array) -> Any:
        """Return an array of the kind of x, with what that passes on."""
        array = values.view(type(self._x))
        array.__array_finalize__(self._x)
        return array

    def on(self, values: Array) -> Any:
        """Return an array of x's shape with the labels of x."""
        return self._labelled(values)

    def change(self, f: Function, args: Args = (), kwargs: Mapping[str, Any] = NO_KWARGS) -> tuple[bool, int]:
        """Whether f makes another value of x with its labels than of a plain array, and the evaluations that this took.

        It may ask which of them it got.
        """
        values, nfev = np.asarray(self._x), 0
        found = []
        try:
            for of in (f, self.giving(f)):
                nfev += 1
                found.append(np.asarray(of(values.copy(), *args, **kwargs)))
            plain, labelled = found
            same = plain.shape == labelled.shape and np.allclose(plain, labelled, SAME, SAME, equal_nan=True)
        except Warning:  # the user has warnings raised: f's own is no answer to the question
            raise
        except Exception:  # noqa: BLE001 - it takes one of them only, and that shows
            same = True
        return not same, nfev

    def name(self, flat: int) -> str:
        """Return the labels of an entry, by its place."""
        if not _in_a_table(self._x):
            return str(self._x._fields[flat]) if _is_named(self._x) else coordinate_of(flat, self._x.shape)
        where = np.unravel_index(flat, np.shape(self._x))
        axes = [self._x.index, *([self._x.columns] if len(where) > 1 else [])] if hasattr(self._x, "iloc") else [
            self._x[dim].values if dim in self._x.coords else range(size) for dim, size in self._x.sizes.items()
        ]  # fmt: skip
        return ", ".join(str(labels[i]) for labels, i in zip(axes, where, strict=True))

    def plain(self, name: str, given: Any) -> Any:
        """Return what has the labels of x as an array in the order of x; anything else as it is.

        ValueError if it has other labels.
        """
        if not (_in_a_table(given) and _in_a_table(self._x)):
            return given
        ours = given.reindex_like(self._x)
        ours = ours.transpose(*self._x.dims) if hasattr(ours, "dims") else ours
        if np.size(ours) != np.size(given) or np.count_nonzero(ours.isnull()) != np.count_nonzero(given.isnull()):
            raise ValueError(f"`{name}` must have the labels of x, got {describe(given)}")
        return np.asarray(ours)

    def giving(self, f: Function) -> Function:
        """Return f, which gets its argument labelled."""

        def of_labelled(x: Array, *args: Any, **kwargs: Any) -> Any:
            return f(self._labelled(x), *args, **kwargs)

        return of_labelled

    @staticmethod
    def seen(f: Function, x: object) -> Function:
        """Return f as it is, or where x has labels, f that gets them wherever it cannot do with a plain array."""
        return Labels(x).where_wanted(f) if has_labels(x) else f

    def where_wanted(self, f: Function) -> Function:
        """Return f, which gets its argument labelled wherever it cannot do with a plain array."""
        return self.either(f, self.giving(f))

    @staticmethod
    def either(plain: Function, labelled: Function) -> Function:
        """Return f with arrays, or wherever it cannot do with these, f with labels."""

        def of_either(x: Array, *args: Any, **kwargs: Any) -> Any:
            try:
                return plain(x, *args, **kwargs)
            except WANTS as without:
                try:
                    return labelled(x, *args, **kwargs)
                except WANTS:
                    raise without from None

        return of_either
