"""From options to a scheme: stencil and step rule, each by its own table entry."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from ..core.errors import describe
from ..core.options import Options
from ..core.validation import one_of
from .fixed import Fixed
from .scheme import Scheme
from .stencils import METHODS, Stencil
from .steps import Step, step_rule

ADAPTIVE = "adaptive"
# SciPy's names: what they mean, and the order that they have
ALIASES = {"2-point": ("forward", 1), "3-point": ("central", 2), "cs": ("complex", 2)}
# of each method where none is given: a one-sided difference of order 1 takes one evaluation a component
USUAL_ORDER = {"forward": 1, "backward": 1}


@cache
def _searching(name: str) -> Any:
    """Load a scheme that looks at f, by its name; they take as long to import as all the rest of fastgrad."""
    return getattr(import_module(".searching", __package__), name)


@cache
def settling() -> Any:
    """Load what differentiates at many entries at a time (`entries.settle`)."""
    return import_module(".entries", __package__).settle


def is_automatic(options: Options) -> bool:
    """Whether the step is fastgrad's to choose, by looking at f."""
    return options.rel_step is None and (options.h is None or (isinstance(options.h, str) and options.h == "auto"))


@lru_cache(maxsize=64, typed=True)
def _stencil(method: str, order: int | None) -> Stencil:
    if method in ALIASES:
        method, usual = ALIASES[method]
        if order not in (None, usual):
            raise ValueError(f"`order` of SciPy's method is {usual}, got {order}; use method={method!r}")
        order = usual
    return METHODS[method](USUAL_ORDER.get(method, 2) if order is None else order)


def stencil_and_name(options: Options) -> tuple[Stencil, str]:
    """Return the stencil that the options ask for, and what to call it."""
    method = options.method
    if isinstance(method, Stencil):
        if method.deriv != 1:
            raise ValueError(f"`method` must be a stencil of the first derivative, got deriv={method.deriv}")
        return method, f"stencil {', '.join(map(str, method.offsets))}"
    one_of("method", method, (*METHODS, ADAPTIVE, *ALIASES))
    if method == ADAPTIVE:
        stencil: Stencil = _searching("Adaptive").stencil
        return stencil, method
    try:
        return _stencil(method, options.order), ALIASES.get(method, (method, 0))[0]
    except TypeError as error:
        raise TypeError(f"`order` must be a whole number, got {describe(options.order)}") from error


@lru_cache(maxsize=16)
def _automatic(stencil: Stencil, noise: float | None, name: str) -> Scheme:
    scheme: Scheme = _searching("Automatic")(stencil, noise, name)
    return scheme


def rule_for(options: Options, stencil: Stencil, shape: tuple[int, ...]) -> Step | None:
    """Return the fixed step rule for an x of this shape; None if the steps choose themselves."""
    if options.method == ADAPTIVE or (is_automatic(options) and not stencil.imaginary):
        return None
    return step_rule(None if is_automatic(options) else options.h, options.rel_step, stencil, shape)


def scheme_for(options: Options, shape: tuple[int, ...]) -> Scheme:
    """Return how to differentiate at an x of this shape.

    TypeError or ValueError if a method, order or step is not valid.
    """
    stencil, name = stencil_and_name(options)
    noise = options.noise
    if name == ADAPTIVE:
        if not is_automatic(options):
            raise ValueError(
                f"method='adaptive' chooses its steps: leave out `h` and `rel_step`, got h={describe(options.h)}"
            )
        scheme: Scheme = _searching("Adaptive")(noise, options.rtol, options.atol)
        return scheme
    rule = rule_for(options, stencil, shape)
    if rule is None:
        return _automatic(stencil, noise, name)
    return Fixed(stencil, rule, name)
