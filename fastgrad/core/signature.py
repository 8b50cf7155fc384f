"""What a derivative is called with, as `inspect.signature` shows it: what its f is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from .validation import Args


class OfFunction:
    """`__signature__` of a derivative's instances: libraries that hand their arguments on by f's names ask for it.

    Arguments that are prepared are not asked for any longer. The class itself keeps its own signature.
    """

    def __init__(self, parts: Callable[[Any], tuple[Any, Args, Mapping[str, Any]]]) -> None:
        self._parts = parts

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError("__signature__")
        f, args, kwargs = self._parts(instance)
        try:
            whole = signature(f)
            first, *others = whole.parameters.values()
        except (TypeError, ValueError) as unknown:  # of C functions: then the method's own is shown
            raise AttributeError("__signature__") from unknown
        placed = [p for p in others if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
        prepared = {p.name for p in placed[: len(args)]} | kwargs.keys()
        left = [first, *(p for p in others if p.name not in prepared)]
        return whole.replace(parameters=left, return_annotation=Parameter.empty)
