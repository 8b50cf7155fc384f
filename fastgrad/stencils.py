"""Public names of `fastgrad.schemes.stencils`."""

from .schemes.stencils import *  # noqa: F403
from .schemes.stencils import __all__  # noqa: F401
