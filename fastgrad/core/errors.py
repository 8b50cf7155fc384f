"""The warnings of fastgrad, its internal signals, and the one way in which it words an error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType

_silent: ContextVar[bool] = ContextVar("silent", default=False)


class AccuracyWarning(RuntimeWarning):
    """No digit of a partial derivative is certain, or it was not made as asked."""


class NonFiniteWarning(RuntimeWarning):
    """A partial derivative is NaN because f is not finite at every point that was tried."""


class DivergenceWarning(RuntimeWarning):
    """A descent went uphill: its learning rate is too large."""


class TrustWarning(RuntimeWarning):
    """A faster evaluation of f was found unreliable, and the reference was used instead."""


class WorkerError(RuntimeError):
    """A worker that evaluated f was lost, and its evaluations with it."""


class CannotRun(Exception):
    """A backend does not take this function or these arguments; ``auto`` goes on to the next."""


class NotTrusted(Exception):
    """A backend's values do not agree with f evaluated plainly."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's code that called fastgrad."""
    if _silent.get():
        return
    level, frame = 2, sys._getframe(1)
    # numpy's are its decorators of ours
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("fastgrad", "numpy"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep fastgrad's own warnings back: who asks for derivatives on the way to others tells what counts."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def needed(module: str, otherwise: str) -> ModuleType:
    """Import a module of a package that fastgrad does without. ImportError that says what else to do."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(otherwise) from error


def describe(value: object, limit: int = 80) -> str:
    """Show a value in an error message, in bounded space."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
