"""The lane lift: a scalar numba function on W points at once, one in each SIMD lane, bit for bit as one by one."""

from importlib import import_module
from typing import Any

from .capability import CannotLift, lane_width
from .kernel import BLOCK, call_lanes, evaluate_table_lanes
from .mathematics import MAX_ULP
from .mathematics import available as fastmath_available

__all__ = [
    "BLOCK", "MAX_ULP", "CannotLift", "LaneFunction", "call_lanes", "compile_lanes", "compile_lanes_of_outputs",
    "evaluate_table_lanes", "fastmath_available", "lane_width", "thaw_lanes",
]  # fmt: skip

# loading the compiler takes 0.16 s, a quarter of numba's own start
_LATER = {"LaneFunction": ".frozen", "thaw_lanes": ".frozen"}
_LATER |= dict.fromkeys(("compile_lanes", "compile_lanes_of_outputs"), ".compiler")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LATER[name], __name__), name)
    except (ImportError, AttributeError, TypeError) as error:  # it uses numba's inside, which may have changed
        raise CannotLift(f"this numba's inside is not the one that lanes know: {error}") from error
