"""The labels of a pandas Series or DataFrame, or an xarray DataArray: put on what f gets, and on the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from .errors import describe

# what an array says of an index by a label, and of `loc` or `sel`
WANTS = (IndexError, AttributeError)


def has_labels(x: object) -> bool:
    """Whether x is a pandas Series or DataFrame, or an xarray DataArray."""
    return hasattr(x, "iloc") or hasattr(x, "dims")


class Labels:
    """The labels of x.

    Parameters
    ----------
    x : Series, DataFrame or DataArray
        Told by what they offer: neither library is loaded for the question.
    """

    __slots__ = ("_labelled",)

    def __init__(self, x: Any) -> None:
        kind: Any = type(x)
        if hasattr(x, "iloc") and hasattr(x, "columns"):
            self._labelled: Callable[[Any], Any] = lambda values: kind(values, index=x.index, columns=x.columns)
        elif hasattr(x, "iloc"):
            self._labelled = lambda values: kind(values, index=x.index, name=x.name)
        elif hasattr(x, "dims"):
            self._labelled = lambda values: x.copy(data=values)
        else:
            raise TypeError(
                f"`labels` needs an x that has some: a pandas Series or DataFrame, or an xarray DataArray; got "
                f"{describe(x)}"
            )

    def on(self, values: NDArray[Any]) -> Any:
        """Return an array of x's shape with the labels of x."""
        return self._labelled(values)

    def giving(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return f, which gets its argument labelled."""

        def of_labelled(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
            return f(self._labelled(x), *args, **kwargs)

        return of_labelled

    @staticmethod
    def seen(f: Callable[..., Any], x: object) -> Callable[..., Any]:
        """Return f as it is, or where x has labels, f that gets them wherever it cannot do with a plain array."""
        return Labels(x)._where_wanted(f) if has_labels(x) else f

    def _where_wanted(self, f: Callable[..., Any]) -> Callable[..., Any]:
        labelled = self.giving(f)

        def of_either(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
            try:
                return f(x, *args, **kwargs)
            except WANTS as without:
                try:
                    return labelled(x, *args, **kwargs)
                except WANTS:
                    raise without from None

        return of_either
