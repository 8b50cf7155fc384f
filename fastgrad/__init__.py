"""fastgrad: numerical gradients of any Python function, fast, accurate and never silently wrong."""

from .checking import GradientCheck, check_gradient
from .core.errors import AccuracyWarning, DivergenceWarning, NonFiniteWarning, TrustWarning
from .core.result import Info
from .derivative import numerical_diff
from .descent import DescentResult, gradient_ascent, gradient_descent
from .gradient import Gradient, explain, numerical_gradient, value_and_gradient
from .hessian import Hessian, hessian_sparsity, numerical_hessian
from .jacobian import Jacobian, jacobian_sparsity, numerical_jacobian
from .planning.operators import JacobianInfo
from .products import hvp, jvp, vjp
from .sparsity import color_columns, color_symmetric

__version__ = "0.1.0"

__all__ = [
    "AccuracyWarning",
    "DescentResult",
    "DivergenceWarning",
    "Gradient",
    "GradientCheck",
    "Hessian",
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
    "hessian_sparsity",
    "hvp",
    "jacobian_sparsity",
    "jvp",
    "numerical_diff",
    "numerical_gradient",
    "numerical_hessian",
    "numerical_jacobian",
    "value_and_gradient",
    "vjp",
]
