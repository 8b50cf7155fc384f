"""Exceptions on their way from a worker: with their type, their attributes and the remote traceback."""

from __future__ import annotations

import copyreg
import io
import pickle
import traceback

from ..core.validation import Args


class RemoteTraceback(Exception):
    """Where an exception was raised in a worker: the cause of the exception that is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in a worker:\n\n{self.text}"


class Failure:
    """An exception that f raised in a worker.

    Within one process it is the exception itself. Pickled, it is as much of it as can travel.
    """

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def exception(self) -> BaseException:
        return self._error

    def __reduce__(self) -> Args:
        error, kind = self._error, type(self._error)
        return _arrived, (
            _pickled(error),
            (kind.__module__, kind.__qualname__, id(kind)),
            next(filter(None, map(_pickled, kind.__mro__))),
            _pickled(error.args) or pickle.dumps((_text(error),)),
            {name: data for name, value in vars(error).items() if (data := _pickled(value))},
            "".join(traceback.format_exception(error)),
        )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide what happened
        return f"<{type(error).__name__} that cannot be printed>"


def _dumps(value: object) -> bytes:
    """Pickle as exceptions say themselves: dask has all of them pickled otherwise, and StopIteration lose its value."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {
        kind: reduce
        for kind, reduce in copyreg.dispatch_table.items()
        if not (isinstance(kind, type) and issubclass(kind, BaseException))
    }
    pickler.dump(value)
    return buffer.getvalue()


def _pickled(value: object) -> bytes | None:
    """Pickle a value; None where something else comes back."""
    try:
        data = _dumps(value)
        back = pickle.loads(data)
    except Exception:  # noqa: BLE001 - an object may raise anything when it is pickled
        return None
    if isinstance(value, BaseException) and isinstance(back, BaseException) and _text(back) != _text(value):
        return None  # its __init__ words the message, and has done so twice
    return data if type(back) is type(value) else None


def _arrived(
    whole: bytes | None, name: tuple[str, str, int], base: bytes, args: bytes, attributes: dict[str, bytes], text: str
) -> Failure:
    error = _whole(whole) or _remade(_found(name, pickle.loads(base)), pickle.loads(args), name)
    for attribute, data in attributes.items():
        error.__dict__[attribute] = pickle.loads(data)
    error.__cause__ = RemoteTraceback(text)
    return Failure(error)


def _whole(data: bytes | None) -> BaseException | None:
    try:
        error = None if data is None else pickle.loads(data)
    except Exception:  # noqa: BLE001 - its class may be found in the worker only
        return None
    return error if isinstance(error, BaseException) else None


def _remade(kind: type[BaseException], args: Args, name: tuple[str, str, int]) -> BaseException:
    """Make an exception without its __init__, which may want other arguments than it kept."""
    try:
        error = kind.__new__(kind, *args)
    except Exception:  # noqa: BLE001 - a __new__ of the user's
        error = RuntimeError.__new__(_like(name, RuntimeError))
    error.args = args
    return error


def _found(name: tuple[str, str, int], base: type[BaseException]) -> type[BaseException]:
    """Find a class that cannot be imported by its name, among those that derive from one that can; or make its like."""
    module, qualified, address = name
    if (base.__module__, base.__qualname__) == (module, qualified):
        return base
    like = [kind for kind in _below(base) if (kind.__module__, kind.__qualname__) == (module, qualified)]
    # a function that makes a class makes another each time; in a forked worker it has the address that it has here
    return next((kind for kind in like if id(kind) == address), like[-1] if like else _like(name, base))


def _like(name: tuple[str, str, int], base: type[BaseException]) -> type[BaseException]:
    module, qualified, _ = name
    return type(qualified.rpartition(".")[2], (base,), {"__module__": module, "__qualname__": qualified})


def _below(kind: type[BaseException]) -> list[type[BaseException]]:
    return [found for child in kind.__subclasses__() for found in (child, *_below(child))]
