"""Where each way to evaluate f is. The module is loaded when it is first used: numba takes half a second."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

_PLACES = {
    "reference": ("reference", "Reference"),
    "batched": ("batched", "Batched"),
    "lifted": ("lifted", "Lifted"),
    "compiled": ("compiled.functions", "Compiled"),
    "listed": ("listed", "listed"),
    "curvature": ("listed", "Curvature"),
}


@cache
def load(name: str) -> Any:
    """Load what evaluates f in one way, by its name."""
    module, attribute = _PLACES[name]
    return getattr(import_module(f".{module}", __package__), attribute)
