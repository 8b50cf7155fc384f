"""Owner lanes: a scalar numba function of local terms, run once for a few colours of coordinates at a time."""

from importlib import import_module
from typing import Any

from ..lanes.capability import CannotLift

__all__ = ["CannotLift", "compile_outputs", "compile_owners", "compile_places", "leave"]

# the compiler uses numba's inside, and takes 0.2 s to load
_LATER = {
    "compile_outputs": ".outputs",
    "compile_owners": ".compiler",
    "compile_places": ".compiler",
    "leave": ".emitting",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LATER[name], __name__), name)
    except (ImportError, AttributeError, TypeError) as error:  # it may have changed
        raise CannotLift(f"this numba's inside is not the one that owner lanes know: {error}") from error
