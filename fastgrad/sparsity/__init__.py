"""Which entries of a Jacobian or Hessian can differ from zero, and which of its columns can be had together."""

from .coloring import color_columns, color_symmetric
from .patterns import Pattern, as_pattern, split

__all__ = ["Pattern", "as_pattern", "color_columns", "color_symmetric", "split"]
