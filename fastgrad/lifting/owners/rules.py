"""The slopes of functions: what a difference d of an argument makes of the result, for each unit of d.

A difference at a step whose square is nothing beside it (2**-80) is linear in the step to the last bit: rules are its
factors, and no series or step is needed. Here y = u(b), and z is another function at b. A rule is written once, on
anything that has Python's operators.
"""

import math
from collections.abc import Callable
from typing import Any

Rules = dict[str, Callable[..., Any]]


def make_rules(sqrt: Callable[[Any], Any]) -> tuple[Rules, Rules]:
    """Rules of one argument, (b, y, z) -> factor, and of two, (a, b, y, z) -> factors of both, by name."""
    unary: Rules = {
        "exp": lambda b, y, z: y,
        "exp_minus_1": lambda b, y, z: y + 1.0,
        "log": lambda b, y, z: 1.0 / b,
        "log_1_plus": lambda b, y, z: 1.0 / (b + 1.0),
        "log_2": lambda b, y, z: 1.0 / (b * math.log(2)),
        "log_10": lambda b, y, z: 1.0 / (b * math.log(10)),
        "exp_2": lambda b, y, z: y * math.log(2),
        "root": lambda b, y, z: 0.5 / y,
        "cubic_root": lambda b, y, z: 1.0 / (y * y * 3.0),
        "sin": lambda b, y, z: z,
        "cos": lambda b, y, z: -z,
        "tan": lambda b, y, z: 1.0 + y * y,
        "sinh": lambda b, y, z: z,
        "tanh": lambda b, y, z: (1.0 - y) * (1.0 + y),
        "atan": lambda b, y, z: 1.0 / (1.0 + b * b),
        "asin": lambda b, y, z: 1.0 / sqrt((1.0 - b) * (1.0 + b)),
        "acos": lambda b, y, z: -1.0 / sqrt((1.0 - b) * (1.0 + b)),
        "atanh": lambda b, y, z: 1.0 / ((1.0 - b) * (1.0 + b)),
        "asinh": lambda b, y, z: 1.0 / sqrt(1.0 + b * b),
        "acosh": lambda b, y, z: 1.0 / sqrt((b - 1.0) * (b + 1.0)),
        "gamma": lambda b, y, z: y * z,
        "log_gamma": lambda b, y, z: z,
        "erf": lambda b, y, z: z,
        "erfc": lambda b, y, z: -z,
    }
    binary: Rules = {
        "multiply": lambda a, b, y, z: (b, a),
        "divide": lambda a, b, y, z: (1.0 / b, -y / b),
        "power": lambda a, b, y, z: (b * (y / a), y * z),  # z = log(a)
        "hypot": lambda a, b, y, z: (a / y, b / y),
        "atan2": lambda a, b, y, z: (b / (a * a + b * b), -a / (a * a + b * b)),
    }
    return unary, binary
