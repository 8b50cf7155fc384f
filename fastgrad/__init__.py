"""fastgrad: numerical gradients of any Python function, fast, accurate and never silently wrong."""

from .checking import GradientCheck, check_gradient
from .core.errors import DivergenceWarning, NonFiniteWarning, TrustWarning
from .core.result import Info
from .derivative import numerical_diff
from .descent import DescentResult, gradient_ascent, gradient_descent
from .gradient import Gradient, explain, numerical_gradient, value_and_gradient
from .jacobian import Jacobian, jacobian_sparsity, numerical_jacobian
from .planning.operators import JacobianInfo
from .sparsity import color_columns, color_symmetric

__version__ = "0.1.0"

__all__ = [
    "DescentResult",
    "DivergenceWarning",
    "Gradient",
    "GradientCheck",
    "Info",
    "Jacobian",
    "JacobianInfo",
    "NonFiniteWarning",
    "TrustWarning",
    "check_gradient",
    "color_columns",
    "color_symmetric",
    "explain",
    "gradient_ascent",
    "gradient_descent",
    "jacobian_sparsity",
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
    "value_and_gradient",
]
