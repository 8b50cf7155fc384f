"""Where each way to evaluate f is. The module is loaded when it is first used: numba takes half a second."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..core.errors import CannotRun

_PLACES = {
    "reference": ("reference", "Reference"),
    "judged": ("judged", "Judged"),
    "judge": ("compiled.judging", "judge"),
    "object code": ("compiled.cache", "object_code"),
    "parallel": ("parallel", "Parallel"),
    "parallel vectors": ("parallel", "ParallelVectors"),
    "batched": ("batched", "Batched"),
    "lifted": ("lifted", "Lifted"),
    "spared": (".lifting.work", "is_spared"),
    "dense lift": (".lifting.dense", ""),
    "sparse lift": (".lifting.sparse", ""),
    "place of x": (".lifting.in_place", "InPlace"),
    "in place": ("in_place", "LiftedInPlace"),
    "listed": ("listed", "listed"),
    "curvature": ("listed", "Curvature"),
    "compiled": ("compiled.evaluation", "Compiled"),
    "compiled vectors": ("compiled.vectors", "CompiledVectors"),
    "many values": ("compiled.vectors", "Compiled"),
    "fused jacobian": ("compiled.vectors", "FusedJacobian"),
    "owners": ("compiled.owners", "Owners"),
    "owner lanes": ("compiled.owners", "OwnerLanes"),
    "owner jacobian": ("compiled.local", "OwnerJacobian"),
}


@cache
def load(name: str) -> Any:
    """Load what evaluates f in one way, by its name; or the module that has it all.

    CannotRun where it cannot be loaded: it uses numba's inside, which may have changed.
    """
    module, attribute = _PLACES[name]
    try:
        found = import_module(f".{module}", __package__)
        return getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError, TypeError) as error:
        raise CannotRun(f"{module} cannot be loaded: {error}") from error
