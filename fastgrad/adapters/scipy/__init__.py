"""SciPy's derivatives: of `scipy.optimize`, of `scipy.differentiate`, and those that its solvers make by themselves.

Of SciPy's own tests of `_numdiff` all pass, and of `scipy.differentiate` all but two, which count the iterations and
evaluations that its own first step takes. Of those of `scipy.optimize`, run within `installed()`, these do not: one
whose `sparsity` has not the shape of the Jacobian, which is refused here; one that compares dense and coloured forward
differences to the bit; and one of a cost of 1.5e-14, where 1e-14 is asked for.
"""

from .derivatives import approx_derivative, approx_fprime, check_derivative, check_grad, derivative, hessian, jacobian
from .solvers import installed

__all__ = [
    "approx_derivative", "approx_fprime", "check_derivative", "check_grad", "derivative", "hessian", "installed",
    "jacobian",
]  # fmt: skip
