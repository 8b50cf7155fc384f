"""What a scheme is, a way to choose the step; the one that does not look at f; how the others are loaded."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._validate import Floats, Ints
from .backends.table import Memo
from .differencing import Bounds, difference
from .evaluation import Evaluation
from .point import Point
from .stencils import Stencil
from .steps import Step


class Estimate(NamedTuple):
    """Partial derivatives, and what is known of them; all of shape (m,), None where it is not known."""

    gradient: Floats
    step: Floats
    error: Floats | None = None
    reached: NDArray[np.bool_] | None = None
    noise: float | None = None


class Scheme(Protocol):
    """A way to choose the step."""

    stencil: Stencil
    name: str

    def differentiate(
        self, run: Evaluation, point: Point, index: Ints, everything: bool, bounds: Bounds | None, memo: Memo | None
    ) -> Estimate:
        """Differentiate along the coordinates of `index`; `everything` if these are all of them, in order."""
        ...


class Fixed:
    """Steps by a rule that does not look at f."""

    def __init__(self, stencil: Stencil, rule: Step, name: str) -> None:
        self.stencil, self.rule, self.name = stencil, rule, name

    def differentiate(
        self, run: Evaluation, point: Point, index: Ints, everything: bool, bounds: Bounds | None, memo: Memo | None
    ) -> Estimate:
        return Estimate(*difference(run, point, index, everything, self.stencil, self.rule, bounds))


@cache
def searching(name: str) -> Any:
    """Load a scheme that looks at f, by its name; they take as long to import as all the rest of fastgrad."""
    return getattr(import_module(".schemes", __package__), name)
