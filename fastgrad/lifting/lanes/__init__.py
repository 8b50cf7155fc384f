"""The lane lift: a scalar numba function on W points at once, one in each SIMD lane, bit for bit as one by one."""

from .compiler import CannotLift, LaneFunction, compile_lanes, lane_width, thaw_lanes
from .kernel import evaluate_table_lanes, evaluate_table_scalar
from .mathematics import MAX_ULP
from .mathematics import available as fastmath_available

__all__ = [
    "MAX_ULP",
    "CannotLift",
    "LaneFunction",
    "compile_lanes",
    "evaluate_table_lanes",
    "evaluate_table_scalar",
    "fastmath_available",
    "lane_width",
    "thaw_lanes",
]
