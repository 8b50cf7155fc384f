"""Checks of analytic derivatives against numerical ones that know their own error."""

from .gradient import check_gradient
from .matrices import check_hessian, check_jacobian
from .report import GradientCheck, JacobianCheck

__all__ = ["GradientCheck", "JacobianCheck", "check_gradient", "check_hessian", "check_jacobian"]
