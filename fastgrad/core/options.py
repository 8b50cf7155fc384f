"""The options of a gradient: said once, checked once."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from .errors import describe
from .validation import Args, one_of

Variables = ArrayLike | dict[Any, Any]  # what x may be
Yes = Literal[True]  # of `full_output`, for signatures
No = Literal[False]

AUTO = "auto"
BACKENDS = ("python", "numpy", "numba")
WATCHING = ("workers", "journal", "progress", "on_error", "timeout")


class OptionsDict(TypedDict, total=False):
    """The types of the options, for signatures: what `Options` has, but for h, which may stand without its name."""

    args: Any
    kwargs: Mapping[str, Any] | None
    backend: str
    method: Any
    order: int | None
    rel_step: Any
    bounds: Any
    indices: Any
    batch_axis: int | None
    noise: float | None
    rtol: float
    atol: float
    dtype: str | None
    labels: bool | None
    compile: str | None
    workers: Any
    journal: Any
    progress: Any
    on_error: str
    timeout: float | None
    fastmath: bool
    remember: bool
    effort: str | None


class Watching(TypedDict, total=False):
    """Those that say who evaluates f, and what is made of it on the way."""

    workers: Any
    journal: Any
    progress: Any
    on_error: str
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Options:
    """All that a caller may say besides f and x; documented at `fastgrad.Gradient`."""

    h: Any = None
    args: Any = ()
    kwargs: Mapping[str, Any] | None = None
    backend: str = AUTO
    method: Any = "central"
    order: int | None = None
    rel_step: Any = None
    bounds: Any = None
    indices: Any = None
    batch_axis: int | None = None
    noise: float | None = None
    rtol: float = 1e-13
    atol: float = 0.0
    dtype: str | None = None
    labels: bool | None = None
    compile: str | None = None
    workers: Any = 1
    journal: Any = None
    progress: Any = False
    on_error: str = "raise"
    timeout: float | None = None
    fastmath: bool = False
    remember: bool = False
    effort: str | None = None

    def __post_init__(self) -> None:
        for name, valid in VALID.items():
            value = getattr(self, name)
            if value is not valid[0]:
                one_of(name, value, valid)
        for name, check in CHECKS.items():
            value = getattr(self, name)
            if value is not _DEFAULT_OF.get(name):
                object.__setattr__(self, name, check(name, value))

    @classmethod
    def of(cls, h: Any, options: Mapping[str, Any]) -> Options:
        """Return the options that a caller of a gradient gave. TypeError if there is another one."""
        check_names(options, OptionsDict)
        return cls(h, **options)

    def given(self) -> dict[str, Any]:
        """Return those that are not the default."""
        return {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not field.default
        }


STEPS = ("delta", "eps", "epsilon", "step", "step_size", "stepsize")  # what a step is called elsewhere


def check_names(options: Mapping[str, Any], valid: type[Any], where: str = "here") -> None:
    """Refuse options that a TypedDict does not list; `where` says whose they are."""
    known = valid.__annotations__
    for name, value in options.items():
        if name not in known:
            step = "; the step is `h`, or `rel_step`" if name in STEPS and "rel_step" in known else ""
            raise TypeError(f"`{name}` is no option {where}, got {describe(value)}; valid are {', '.join(known)}{step}")


def tolerance(name: str, value: Any) -> float:
    """Return a tolerance: a finite number, 0 or more."""
    return _not_negative(name, value, "a finite number, 0 or more")


def _not_negative(name: str, value: Any, wanted: str, zero: bool = True) -> float:
    """Return a finite number that is not negative; whether it may be zero."""
    real = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not real or not 0 <= value < inf or not (zero or value):
        raise ValueError(f"`{name}` must be {wanted}; got {describe(value)}")
    return float(value)


def _noise(name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value == "probe"):
        return None
    return _not_negative(name, value, "None or the standard deviation of f's noise, 0 or more")


def _timeout(name: str, value: Any) -> float:
    return _not_negative(name, value, "the seconds of one evaluation, above 0, or None", zero=False)


def _workers(name: str, value: Any) -> Any:
    if hasattr(type(value), "__index__") and not isinstance(value, (bool, np.bool_)):
        if (number := operator.index(value)) < 1 and number != -1:
            raise ValueError(f"`workers` must be 1 or more, or -1 for one a core; got {describe(value)}")
        return number
    if not any(callable(getattr(value, name, None)) for name in ("evaluate", "submit", "get_executor", "__call__")):
        raise TypeError(
            "`workers` must be a whole number (-1: one a core), a concurrent.futures.Executor, a dask Client or a "
            f"map-like callable workers(function, iterable); got {describe(value)}"
        )
    return value


def _progress(name: str, value: Any) -> Any:
    if value is not True and not callable(value):
        raise TypeError(f"`progress` must be True, False or a callable progress(done, total); got {describe(value)}")
    return value


def _journal(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError as error:
        raise TypeError(f"`journal` must be the path of a file, got {describe(value)}") from error


def _kwargs(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"`kwargs` must be a dictionary of f's keyword arguments, got {describe(value)}")
    return dict(value)


def _args(name: str, value: Any) -> Args:
    return value if type(value) is tuple else (value,)  # as in SciPy, a single argument may stand without its tuple


VALID: dict[str, Args] = {
    "backend": (AUTO, *BACKENDS),
    "batch_axis": (None, 0, -1),
    "dtype": (None, "keep"),
    "labels": (None, False, True),
    "compile": (None, "eager"),
    "on_error": ("raise", "nan"),
    "fastmath": (False, True),
    "remember": (False, True),
    "effort": (None, "measure"),
}
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "args": _args,
    "kwargs": _kwargs,
    "noise": _noise,
    "rtol": tolerance,
    "atol": tolerance,
    "workers": _workers,
    "journal": _journal,
    "progress": _progress,
    "timeout": _timeout,
}


_DEFAULT_OF: dict[str, Any] = {}
_DEFAULT_OF |= {field.name: field.default for field in fields(Options)}
DEFAULT = Options()
