"""The sparse lift: f at many points at once, as f at x and what each point changes.

All points of a sweep share x but for one entry. f is called once, on an array-like that holds its arrays at x and, for
each point, only the entries that differ. Elementwise operations touch those alone, and a reduction adds up
differences, so that the large common part never meets them: less work, and none of its round-off.
"""

from . import assembling as assembling
from . import matrices as matrices
from .sweeping import Differences, Lifted, Swept, differences, lift, sweep

__all__ = ["Differences", "Lifted", "Swept", "differences", "lift", "sweep"]
