"""fastgrad: numerical gradients of any Python function, fast, accurate and never silently wrong."""

from .checking import GradientCheck, check_gradient
from .core.errors import AccuracyWarning, DivergenceWarning, NonFiniteWarning, TrustWarning
from .core.result import Info
from .derivative import numerical_diff
from .descent import DescentResult, gradient_ascent, gradient_descent
from .gradient import Gradient, explain, numerical_gradient, value_and_gradient

__version__ = "0.1.0"

__all__ = [
    "AccuracyWarning",
    "DescentResult",
    "DivergenceWarning",
    "Gradient",
    "GradientCheck",
    "Info",
    "NonFiniteWarning",
    "TrustWarning",
    "check_gradient",
    "explain",
    "gradient_ascent",
    "gradient_descent",
    "numerical_diff",
    "numerical_gradient",
    "value_and_gradient",
]
