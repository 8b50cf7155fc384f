"""fastgrad: numerical gradients of any Python function, fast, accurate and never silently wrong."""

import importlib as _importlib
import typing as _typing

from .core.errors import AccuracyWarning, DivergenceWarning, NonFiniteWarning, TrustWarning
from .core.result import Info
from .gradient import Gradient, explain, numerical_gradient, value_and_gradient

if _typing.TYPE_CHECKING:
    from .checking import GradientCheck, JacobianCheck, check_gradient, check_hessian, check_jacobian
    from .derivative import numerical_diff
    from .descent import DescentResult, gradient_ascent, gradient_descent
    from .hessian import Hessian, hessian_sparsity, numerical_hessian
    from .jacobian import Jacobian, jacobian_sparsity, numerical_jacobian
    from .planning.settings import JacobianInfo
    from .products import hvp, jvp, vjp
    from .sparsity import color_columns, color_symmetric

__version__ = "0.1.0"

__all__ = [
    "AccuracyWarning", "DescentResult", "DivergenceWarning", "Gradient", "GradientCheck", "Hessian", "Info",
    "Jacobian", "JacobianCheck", "JacobianInfo", "NonFiniteWarning", "TrustWarning", "check_gradient", "check_hessian",
    "check_jacobian", "color_columns", "color_symmetric", "explain", "gradient_ascent", "gradient_descent",
    "hessian_sparsity", "hvp", "jacobian_sparsity", "jvp", "numerical_diff", "numerical_gradient", "numerical_hessian",
    "numerical_jacobian", "value_and_gradient", "vjp",
]  # fmt: skip

# what a gradient does not need is loaded when it is first asked for: half of the time that an import takes
_LATER = {
    name: module
    for module, names in {
        ".checking": ("GradientCheck", "JacobianCheck", "check_gradient", "check_hessian", "check_jacobian"),
        ".derivative": ("numerical_diff",),
        ".descent": ("DescentResult", "gradient_ascent", "gradient_descent"),
        ".hessian": ("Hessian", "hessian_sparsity", "numerical_hessian"),
        ".jacobian": ("Jacobian", "jacobian_sparsity", "numerical_jacobian"),
        ".planning.settings": ("JacobianInfo",),
        ".products": ("hvp", "jvp", "vjp"),
        ".sparsity": ("color_columns", "color_symmetric"),
    }.items()
    for name in names
}

if not _typing.TYPE_CHECKING:  # or a wrong name would be of any type

    def __getattr__(name):
        if name in ("stencils", "steps"):
            return _importlib.import_module(f".{name}", __name__)
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_importlib.import_module(_LATER[name], __name__), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
