"""What rounding within f makes of derivatives that are not differences: they are taken where it rounds otherwise.

A lift carries differences unrounded; what f multiplies them with is rounded, and where large terms cancel, nothing in
the derivative itself tells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.validation import Floats
from .outputs import signs

RE_ROUNDED = 2.0**-25  # a step, in x: f rounds otherwise there, and so does what it computes within, as 1e8 + x
AFAR = 2.0**-17  # where it computes 1e11 + x: of few entries none rounds otherwise nearer
NODES = np.array([0.0, 1.0, -1.37, 2.21])  # rounding is a saw, of which even ones often show nothing
THIRD_DIFFERENCE = 1.0 / np.prod(NODES[:, None] - NODES + np.eye(NODES.size), axis=1)
THIRD_DIFFERENCE /= np.sqrt(THIRD_DIFFERENCE @ THIRD_DIFFERENCE)
OF_ROUNDING = 8.0  # times what that changes


def of_rounding(
    x: Floats,
    here: Floats,
    derivative: Callable[[Floats], Floats | None],
    room: Floats | None = None,
    step: float = RE_ROUNDED,
) -> Floats:
    """Return by how much a derivative differs where all that f rounds within is rounded otherwise.

    A third difference along x, of which what is smooth has nothing.

    `x`: flat.
    `here`: the derivative there.
    `derivative`: the same at other flat points; None where there is none, and nothing is known then.
    `room`: by how much each entry of x may move to both sides.
    `step`: how far it does, in x.
    """
    along, seen = signs(x, x.size), [here]
    with np.errstate(all="ignore"):
        for node in NODES[1:].tolist():
            moved = node * step * along * x
            found = derivative(x + (moved if room is None else np.clip(moved, -room, room)))
            if found is None:
                return np.zeros(here.shape)
            seen.append(found)
        differs: Floats = np.abs(THIRD_DIFFERENCE @ np.array(seen))
        differs[~np.isfinite(differs)] = 0.0
        size, some = np.abs(here), here != 0.0
        usual = float(np.median(differs[some] / size[some])) if some.any() else 0.0  # one of them may be 0 by chance
        return OF_ROUNDING * np.maximum(differs, usual * size)
