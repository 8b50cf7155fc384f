"""Public names of `fastgrad.schemes.steps`."""

from .schemes.steps import *  # noqa: F403
from .schemes.steps import __all__  # noqa: F401
