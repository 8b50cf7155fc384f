"""What a scheme is, a way to choose the step; the one that does not look at f; how the others are loaded."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..core.evaluation import Evaluation
from .differencing import difference
from .scheme import Estimate, Task
from .stencils import Stencil
from .steps import Step


class Fixed:
    """Steps by a rule that does not look at f."""

    def __init__(self, stencil: Stencil, rule: Step, name: str) -> None:
        self.stencil, self.rule, self.name = stencil, rule, name

    def differentiate(self, run: Evaluation, task: Task) -> Estimate:
        return Estimate(*difference(run, task.point, task.index, task.everything, self.stencil, self.rule, task.bounds))


@cache
def searching(name: str) -> Any:
    """Load a scheme that looks at f, by its name; they take as long to import as all the rest of fastgrad."""
    return getattr(import_module(".searching", __package__), name)
