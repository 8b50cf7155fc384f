"""The options of a Jacobian, checked once, and what is told of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..core.call import Call
from ..core.errors import describe
from ..core.options import DEFAULT, WATCHING, Options, OptionsDict, check_names
from ..core.structure import flattened
from ..core.validation import Args, one_of
from ..schemes.stencils import Stencil, central
from ..schemes.steps import Step, step_rule
from ..schemes.table import ADAPTIVE, is_automatic, scheme_for, stencil_and_name

DETECT = "detect"
BACKENDS = ("auto", "python", "numpy")
# options that a function of many values does not take, and what to do instead
WITHOUT = {"batch_axis": ": pass f for one point", "dtype": ": f gets float64", "remember": "", "effort": ""}
SIMPLE = {"method": (str,), "order": (int,), "backend": (str,)}  # options that every verb has, and what they are


class JacobianDict(OptionsDict, total=False):
    """The types of a Jacobian's options, for signatures: those of a gradient, and its own."""

    argnum: int
    sparse: bool
    sparsity: Any
    out: Any


@dataclass(frozen=True)
class Settings:
    """The options of a Jacobian: those of a gradient, and its own; checked once."""

    options: Options = DEFAULT
    argnum: int = 0
    sparse: bool = False
    sparsity: Any = None
    out: Any = None

    @classmethod
    def of(cls, h: object, given: Mapping[str, Any], valid: type[Any] = JacobianDict) -> Settings:
        """Sort what a caller gave, of the options that a TypedDict lists; what is usual is sorted once.

        TypeError if there is another one.
        """
        plain = all(type(value) in SIMPLE.get(name, ()) for name, value in given.items())
        if plain and (h is None or type(h) in (float, str)):
            return _usual(h, tuple(given.items()))
        return cls._sorted(h, given, valid)

    @classmethod
    def _sorted(cls, h: object, given: Mapping[str, Any], valid: type[Any] = JacobianDict) -> Settings:
        check_names(given, valid)
        own = {field.name for field in fields(cls)} - {"options"}
        options = {name: value for name, value in given.items() if name not in own}
        return cls(Options(h, **options), **{name: given[name] for name in given.keys() & own})

    def __str__(self) -> str:
        return "".join(f", {name}={describe(value)}" for name, value in self.given().items())

    def given(self) -> dict[str, Any]:
        """Return what is not the default, as keywords."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not f.default}
        options: Options = own.pop("options", DEFAULT)
        return options.given() | own

    def __post_init__(self) -> None:
        options = self.options
        for name, hint in WITHOUT.items():
            value = getattr(options, name)
            if value != getattr(DEFAULT, name):
                raise ValueError(f"`{name}` has no meaning for functions of many values, got {describe(value)}{hint}")
        if options.backend not in BACKENDS:
            one_of("backend", options.backend, BACKENDS)
        one_of("sparse", self.sparse, (False, True))
        if isinstance(self.argnum, bool) or not isinstance(self.argnum, int) or self.argnum < 0:
            raise ValueError(f"`argnum` must be the place of x among f's arguments, 0 or more; got {self.argnum!r}")
        if self.out is not None:
            object.__setattr__(self, "out", _shape(self.out))
        if isinstance(self.sparsity, str):
            one_of("sparsity", self.sparsity, (None, DETECT))
        if options.indices is not None and self.is_sparse:
            raise ValueError("give `indices` (some columns, dense) or `sparse` and `sparsity`, not both")
        if self.adaptive:
            scheme_for(options, ())  # which says what it does not go with
            if self.sparsity is not None and not isinstance(self.sparsity, str):
                raise ValueError(
                    "`sparsity` has no use with method='adaptive', whose steps differ from entry to entry, got "
                    f"{describe(self.sparsity)}; leave it out, or the method"
                )

    def arguments(self) -> tuple[tuple[Any, ...], tuple[Any, ...], Mapping[str, Any]]:
        """Return what f gets before and after x, and by keyword."""
        options = self.options
        return options.args[: self.argnum], options.args[self.argnum :], options.kwargs or {}

    def call(self, f: Any, args: Args) -> Call:
        """Return how f is called."""
        if not self.watched:
            return Call(f, args, self.options.kwargs)
        watching = {name: getattr(self.options, name) for name in WATCHING}
        return Call(f, args, self.options.kwargs or {}, **watching)

    @cached_property
    def stencil(self) -> Stencil:
        return stencil_and_name(self.options)[0]

    @cached_property
    def name(self) -> str:
        return stencil_and_name(self.options)[1]

    @property
    def adaptive(self) -> bool:
        """Whether each entry climbs a ladder of steps."""
        return isinstance(self.options.method, str) and self.options.method == ADAPTIVE

    @cached_property
    def measured(self) -> bool:
        """Whether the steps follow from f's values."""
        return is_automatic(self.options) and not self.stencil.imaginary

    @cached_property
    def automatic(self) -> bool:
        """The same, where no stencil was asked for either: what needs no steps at all may take its place."""
        return self.measured and (self.stencil == central(2) or self.adaptive)

    @cached_property
    def plainest(self) -> bool:
        """Whether the steps follow from f's values alone, by the default rule."""
        return self.automatic and not self.adaptive and self.noise is None

    @property
    def unliftable(self) -> str:
        """Why f is not lifted, as far as the options say; empty where they do not."""
        if not self.automatic:
            return "the steps were given" if not self.measured else "the stencil was given"
        return "f is noisy" if self.options.noise else ""

    @cached_property
    def may_lift(self) -> bool:
        """Whether f may be lifted, as far as the options know."""
        return self.automatic and self.options.backend == "auto" and not self.options.noise

    @cached_property
    def watched(self) -> bool:
        """Whether evaluations go by workers, or are watched."""
        return not self.options.given().keys().isdisjoint(WATCHING)

    @cached_property
    def simple(self) -> bool:
        """Whether all columns are wanted, dense, anywhere, by evaluations one after the other."""
        options = self.options
        plain = not (self.is_sparse or self.adaptive or self.stencil.imaginary or self.watched)
        return plain and options.bounds is None and options.indices is None and options.backend != "numpy"

    def rule(self, shape: tuple[int, ...]) -> Step:
        """Return the step rule for an x of this shape."""
        found = self._rules.get(shape)
        if found is None:
            options = self.options
            h = None if is_automatic(options) else options.h
            self._rules.clear()  # of one shape: those of a thousand would be kept for nothing
            found = self._rules[shape] = step_rule(h, options.rel_step, self.stencil, shape)
        return found

    @cached_property
    def _rules(self) -> dict[tuple[int, ...], Step]:
        return {}

    @property
    def noise(self) -> float | None:
        """The noise of f's values, where it is known."""
        noise = self.options.noise
        return noise if isinstance(noise, float) else None

    @property
    def is_sparse(self) -> bool:
        return self.sparse or self.sparsity is not None


@lru_cache(maxsize=64, typed=True)
def _usual(h: float | str | None, given: tuple[tuple[str, Any], ...]) -> Settings:
    return Settings._sorted(h, dict(given))


@dataclass(frozen=True)
class JacobianInfo:
    """How a Jacobian was made; prints as a plan.

    Attributes
    ----------
    way : str
        How it was made: "sparse lift", "owner lanes", "colored columns" or "columns"; a Hessian by a "complex
        lift", by "second differences" or from "gradients"; a product along "one direction".
    reason : str
        Why, and why not faster.
    method, order
        The kind of difference, and its order of accuracy.
    step : ndarray
        The step of each entry of x, of x's shape; nan where none was taken. Where x is a dictionary, or f(x), all that
        is of their shapes has their structures.
    nfev : int
        Evaluations of f, probes and checks included; a lift counts as one.
    seconds : float
        Wall-clock time of the whole call.
    error : ndarray, csr_array or None
        An error bar for each entry, in the Jacobian's layout; None where the steps were given.
    noise : ndarray or None
        Standard deviation of the noise of each of f's values, of f(x)'s shape.
    colors : int or None
        How many colours the columns have.
    failures : tuple of str
        With on_error="nan": the points at which f failed, and how.
    """

    way: str
    reason: str
    method: str
    order: int
    step: Any
    nfev: int
    seconds: float
    error: Any = None
    noise: Any = None
    colors: int | None = None
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"way      {self.way}: {self.reason}", f"method   {self.method}, order {self.order}"]
        if self.colors is not None:
            lines.append(f"colors   {self.colors}")
        step = flattened(self.step)
        known = step[np.isfinite(step)]
        if known.size:
            lines.append(f"step     {known.min():.3g} to {known.max():.3g}")
        lines += [f"nfev     {self.nfev}", f"seconds  {self.seconds:.3g}"]
        if self.error is not None:
            bars = self.error.data if hasattr(self.error, "tocoo") else flattened(self.error)
            if bars.size:
                lines.append(f"error    {np.max(bars):.3g} at most")
        if self.failures:
            lines.append(f"failed   {len(self.failures)} evaluations, the first at {self.failures[0]}")
        return "\n".join(lines)


def _shape(out: object) -> tuple[int, ...]:
    """Return the shape of what f fills."""
    lengths = out if isinstance(out, (tuple, list)) else (out,)
    if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in lengths):
        raise ValueError(
            f"`out` must be the shape of the array that f fills, `f(x, out)`: a whole number or several; "
            f"got {describe(out)}"
        )
    return tuple(int(n) for n in lengths)
