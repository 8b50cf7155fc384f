"""Dense lift: f, written for one point, runs on an array-like that holds many points.

The points lie along a hidden first axis. What numpy computes entry by entry, along axes or for stacks of
matrices it computes for all points in one call; any other function of numpy is called point by point.
Values are the loop's, bit for bit, except where numpy itself orders a sum differently: products with a
constant matrix (one matrix product for all points), reductions of transposed or gathered arrays, and
complex arithmetic, a few units in the last place each.
"""

from . import functions as functions
from .bundle import Bundle, TooLarge
from .sweep import at_points, sweep, tile_points

__all__ = ["Bundle", "TooLarge", "at_points", "sweep", "tile_points"]
