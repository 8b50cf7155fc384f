"""What a check is asked for: said once, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np

from ..core.errors import describe
from ..core.options import Watching, check_names, tolerance
from ..core.validation import Floats, Function


class CheckDict(Watching, total=False):
    """The types of the options of all checks, for signatures."""

    rtol: float
    atol: float
    directions: int | None
    seed: int
    args: Any
    kwargs: Mapping[str, Any] | None
    backend: str
    bounds: Any
    labels: bool | None
    noise: float | None


class GradientCheckDict(CheckDict, total=False):
    """And those of a gradient's."""

    batch_axis: int | None
    compile: str | None
    dtype: str | None
    fastmath: bool


class JacobianCheckDict(CheckDict, total=False):
    """And those of a Jacobian's."""

    argnum: int
    out: Any


class HessianCheckDict(CheckDict, total=False):
    """And those of a Hessian's."""

    grad: Function | None


@dataclass(frozen=True)
class Asked:
    """How near the given derivatives have to be, and along how many directions they are compared."""

    rtol: float = 1e-5
    atol: float = 0.0
    directions: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        many = self.directions
        if many is not None and (isinstance(many, bool) or not isinstance(many, int) or many < 1):
            raise ValueError(f"`directions` must be a whole number, 1 or more, or None; got {describe(many)}")
        for name in ("rtol", "atol"):
            object.__setattr__(self, name, tolerance(name, getattr(self, name)))

    @classmethod
    def of(cls, verb: str, given: object, valid: type[Any]) -> tuple[Asked, dict[str, Any]]:
        """Return what was asked for, and the other options, of those that a TypedDict lists.

        Raises
        ------
        TypeError, ValueError
            If there is another option, or one of these is not valid.
        """
        options = dict(cast("Mapping[str, Any]", given))
        check_names(options, valid, f"of {verb}")
        own = {name: options.pop(name) for name in (field.name for field in fields(cls)) if name in options}
        return cls(**own), options

    @property
    def count(self) -> int:
        """How many directions there are; of every entry by itself, none."""
        return self.directions or 0

    def allowed(self, expected: Floats) -> Floats:
        """Return how far from these derivatives the given ones may be."""
        with np.errstate(under="ignore"):
            return np.maximum(self.rtol * np.abs(expected), self.atol)
