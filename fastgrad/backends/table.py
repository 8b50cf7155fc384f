"""What every backend must offer, and where each is."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Protocol

from ..core.call import Call
from ..core.errors import CannotRun
from ..core.evaluation import Evaluation
from ..core.point import Point


class Backend(Protocol):
    """One way to evaluate f at many points."""

    def __call__(self, call: Call, point: Point, explicit: bool) -> Evaluation:
        """Open an evaluation of f around a point; `explicit` if the user asked for this backend by name.

        Raises
        ------
        CannotRun
            Where this backend does not take such an f.
        """
        ...


# name: (module, class, what it does); the module is loaded when it is first used, for numba takes half a second
BACKENDS = {
    "python": ("reference", "Reference", "one point at a time, in Python, on the caller's own array"),
    "numpy": ("lifted", "VECTORISED", "many points in one numpy call"),
    "numba": ("compiled.evaluation", "Compiled", "one fused compiled loop"),
}


@cache
def backend(name: str) -> Backend:
    """Load a backend by its name.

    Raises
    ------
    CannotRun
        Where it cannot be loaded: it uses numba's inside, which may have changed.
    """
    module, attribute, _ = BACKENDS[name]
    try:
        return getattr(import_module(f".{module}", __package__), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, TypeError) as error:
        raise CannotRun(f"backend {name!r} cannot be loaded: {error}") from error
