"""Does f depend on the array that the caller holds, rather than on its argument?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backends.captures import holds
from .backends.table import Call
from .point import Point, exclusive


def reads_own_array(call: Call, point: Point) -> bool:
    """Tell a closure that reads the caller's array from a function that is constant around x, in two evaluations.

    Perturbs every entry of the caller's array, evaluates f at the same argument, and restores. An array that cannot be
    written is looked for among what f can be seen to hold.
    """
    own = point.own
    if own is None or own.size == 0:
        return False
    call = call.of_one_point()
    if not own.flags.writeable:
        return holds(call.f, own)
    with exclusive(own):
        before = own.copy()
        plain = _outcome(call, point)
        try:
            own[...] = _nudged(before)
            perturbed = _outcome(call, point)
        finally:
            own[...] = before
        return plain != perturbed and plain == _outcome(call, point)


def _nudged(array: Any) -> Any:
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind in "iu":
        return array + 1
    return array * (1 + 2.0**-8) + 2.0**-8


def _outcome(call: Call, point: Point) -> tuple[str, bytes | str]:
    """What f does at x, in a form that can be compared."""
    try:
        return "value", np.asarray(call.f(point.base.copy(), *call.args, **call.kwargs)).tobytes()
    except Exception as error:  # whatever f raises is an outcome here
        return "raised", repr(error)
