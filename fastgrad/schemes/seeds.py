"""Which directions a Jacobian is differenced along, and which of its entries each direction gives.

Along direction g the points are x + t u, where u holds the unit of each coordinate that belongs to g: a power of two
near its scale. So t is a number without dimension, and one step fits all directions of a well-scaled f.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, Ints, everything
from ..sparsity.patterns import Pattern
from .steps import power_of_two

Rows = NDArray[np.intp]
LARGEST = 2.0**1023  # power of two
LEAST = 2.0**-1022  # an x below this counts as 0


def units_of(x: Floats, relative: bool = False) -> Floats:
    """Return a power of two near the scale of each coordinate; `relative` to itself alone, unless it is 0.

    The scale is |x|, or up to 1 where other entries are larger.
    """
    size = np.abs(x)
    largest = float(np.maximum.reduce(size, initial=0.0))
    least = min(1.0, largest) if largest > LEAST else 1.0
    if relative:
        scale = np.where(x != 0, np.maximum(size, 1e-290), np.maximum(size, least))
    else:
        scale = np.maximum(size, least, out=size) if size.ndim else np.maximum(size, least)
    return power_of_two(scale if largest <= LARGEST else np.minimum(scale, LARGEST), own=True)


def length_of(vector: Floats, units: Floats) -> float:
    """Return the power of two by which a vector is to be divided for t = 1 to move x by its scale."""
    return float(2.0 ** round(log2(float(np.abs(vector / units).max(initial=0.0)) or 1.0)))


class Seeds(Protocol):
    """Directions, and the layout of the entries that they give.

    Entries come as an array of shape (directions, outputs) where every direction gives all outputs, else as a list.

    Attributes
    ----------
    count : int
        How many directions.
    coordinates : int
        Of how many coordinates they are made.
    terms : int or ndarray of shape (m,)
        On how many of these each output depends, at most.
    """

    count: int
    coordinates: int
    terms: Any

    def point(self, g: int, t: complex) -> NDArray[Any]:
        """Return x + t u, a new array."""
        ...

    def points(self, part: slice, nodes: Floats) -> Floats:
        """Return x + t u for each direction of a part and each t, direction by direction."""
        ...

    def room(self, below: Floats, above: Floats) -> tuple[Floats, Floats]:
        """How far t may go down and up along each direction, so that all coordinates stay between two limits."""
        ...

    def line(self, factors: Floats) -> Floats:
        """Return the sum of all directions, each coordinate times its factor, so that small multiples are exact."""
        ...

    def factors(self, vector: Floats) -> Floats:
        """Do the inverse of `line`."""
        ...

    def parts(self, size: int) -> list[slice]:
        """Cut the directions into parts of so many entries."""
        ...

    def picked(self, values: Floats, part: slice) -> Floats:
        """Take the entries out of the values, shape (directions in the part, outputs), along some directions."""
        ...

    def of_outputs(self, numbers: NDArray[Any], part: slice) -> NDArray[Any]:
        """Give each entry the number of its output."""
        ...

    def of(self, g: int, part: slice) -> Any:
        """Return the index of the entries of one direction among those of a part."""
        ...

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count the entries of each direction in a part that a mask holds."""
        ...

    def alone(self, g: int, values: NDArray[Any], mine: Any) -> NDArray[Any]:
        """Take the entries of one direction, `mine`, out of numbers of all outputs."""
        ...

    def span_alone(self, g: int, up: float, down: float, mine: Any) -> Any:
        """Do as `span` for the entries of one direction."""
        ...

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        """Sum combine(entry times its coordinate's factor) over the entries of each output."""
        ...

    def largest(self, entries: Floats) -> Floats:
        """Return the largest size of the entries of each output; those that are not finite do not count."""
        ...

    def span(self, part: slice, up: Floats, down: Floats) -> Floats:
        """Return how far apart x + up u and x + down u come out after rounding, in units, for each entry."""
        ...

    def in_x(self, entries: Floats, part: slice) -> Floats:
        """Make derivatives with respect to t derivatives with respect to the coordinates."""
        ...


class _Whole:
    """Directions that have an entry of each output."""

    def picked(self, values: Floats, part: slice) -> Floats:
        return values

    def of_outputs(self, numbers: NDArray[Any], part: slice) -> NDArray[Any]:
        return numbers

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        total: Floats = combine(entries * factors[:, None]).sum(axis=0)
        return total

    def largest(self, entries: Floats) -> Floats:
        found: Floats = np.fmax.reduce(np.abs(entries), axis=0, initial=0.0)
        return found

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        found: NDArray[np.intp] = np.count_nonzero(mask, axis=1)
        return found

    def alone(self, g: int, values: NDArray[Any], mine: Any) -> NDArray[Any]:
        return values


class Columns(_Whole):
    """One coordinate at a time."""

    def __init__(self, x: Floats, index: Ints, units: Floats) -> None:
        self._every = index is everything(x.size)
        self._x, self._index, self._units = x, index, units if self._every else units[index]
        self.count = self.coordinates = self.terms = index.size

    def point(self, g: int, t: complex) -> NDArray[Any]:
        y = self._x.astype(np.complex128) if isinstance(t, complex) else self._x.copy()
        y[self._index[g]] += t * self._units[g]
        return y

    def points(self, part: slice, nodes: Floats) -> Floats:
        count = part.stop - part.start
        rows = np.empty((count * nodes.size, self._x.size))
        rows[...] = self._x
        if self._every and count == self.count:
            for k, node in enumerate(nodes.tolist()):  # the diagonal
                rows.reshape(-1)[k * count :: nodes.size * count + 1] += node * self._units
            return rows
        index, units = self._index[part].repeat(nodes.size), self._units[part, None]
        rows[np.arange(len(rows)), index] += (nodes * units).reshape(-1)
        return rows

    def room(self, below: Floats, above: Floats) -> tuple[Floats, Floats]:
        return below[self._index] / self._units, above[self._index] / self._units

    def line(self, factors: Floats) -> Floats:
        if self._every:
            return exact(self._units * factors, self._x)
        out = np.zeros_like(self._x)
        out[self._index] = exact(self._units * factors, self._x[self._index])
        return out

    def factors(self, vector: Floats) -> Floats:
        found: Floats = (vector if self._every else vector[self._index]) / self._units
        return found

    def parts(self, size: int) -> list[slice]:
        return _cut(self.count, size)

    def of(self, g: int, part: slice) -> Any:
        return g - part.start

    def span(self, part: slice, up: Floats, down: Floats) -> Floats:
        x, units = self._x if self._every else self._x[self._index], self._units
        x, units = x[part], units[part]
        apart: Floats = (((x + up * units) - (x + down * units)) / units)[:, None]
        return apart

    def span_alone(self, g: int, up: float, down: float, mine: Any) -> Any:
        x, unit = self._x[self._index[g]], self._units[g]
        return ((x + up * unit) - (x + down * unit)) / unit

    def in_x(self, entries: Floats, part: slice) -> Floats:
        return entries / self._units[part, None]


class Along(_Whole):
    """One direction of the caller's: a Jacobian-vector product."""

    count = coordinates = terms = 1

    def __init__(self, x: Floats, vector: Floats, units: Floats | None) -> None:
        self._length = 1.0 if units is None else length_of(vector, units)
        self._x, self._vector = x, vector / self._length

    def point(self, g: int, t: complex) -> NDArray[Any]:
        moved: NDArray[Any] = self._x + t * self._vector
        return moved

    def points(self, part: slice, nodes: Floats) -> Floats:
        return np.array([self.point(g, float(t)) for g in range(part.start, part.stop) for t in nodes])

    def room(self, below: Floats, above: Floats) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(self._vector == 0, np.inf, np.where(self._vector > 0, above, below) / np.abs(self._vector))
            down = np.where(self._vector == 0, np.inf, np.where(self._vector > 0, below, above) / np.abs(self._vector))
        return np.array([down.min(initial=np.inf)]), np.array([up.min(initial=np.inf)])

    def line(self, factors: Floats) -> Floats:
        along: Floats = self._vector * factors[0]
        return along

    def factors(self, vector: Floats) -> Floats:
        i = int(np.argmax(np.abs(self._vector)))
        return np.array([vector[i] / self._vector[i]])

    def parts(self, size: int) -> list[slice]:
        return [slice(0, 1)]

    def of(self, g: int, part: slice) -> Any:
        return 0

    def span(self, part: slice, up: Floats, down: Floats) -> Floats:
        apart: Floats = (up - down)[:, None]
        return apart

    def span_alone(self, g: int, up: float, down: float, mine: Any) -> Any:
        return up - down

    def in_x(self, entries: Floats, part: slice) -> Floats:
        slopes: Floats = entries * self._length
        return slopes


class Colors:
    """All coordinates of one colour at a time; entries in the order of a pattern's, row by row.

    Coordinates of the colour -1, which the pattern must not have, never move.
    """

    def __init__(self, x: Floats, pattern: Pattern, colors: Ints, units: Floats) -> None:
        self._x, self._units, self._colors, self._outputs = x, units, colors, pattern.shape[0]
        self._moves = colors >= 0
        self.count, self.coordinates = int(colors.max(initial=-1)) + 1, x.size
        self._rows, self._columns = pattern.rows, pattern.indices
        self.terms = np.maximum(np.diff(pattern.indptr), 1)
        self._color = colors[self._columns]
        self._entries: list[Ints] | None = None

    def point(self, g: int, t: complex) -> NDArray[Any]:
        y = self._x.astype(np.complex128) if isinstance(t, complex) else self._x.copy()
        mine = self._colors == g
        y[mine] += t * self._units[mine]
        return y

    def points(self, part: slice, nodes: Floats) -> Floats:
        return np.array([self.point(g, float(t)) for g in range(part.start, part.stop) for t in nodes])

    def room(self, below: Floats, above: Floats) -> tuple[Floats, Floats]:
        down, up = np.full(self.count, np.inf), np.full(self.count, np.inf)
        moves = self._moves
        np.minimum.at(down, self._colors[moves], (below / self._units)[moves])
        np.minimum.at(up, self._colors[moves], (above / self._units)[moves])
        return down, up

    def line(self, factors: Floats) -> Floats:
        return np.where(self._moves, exact(self._units * factors, self._x), 0.0)

    def factors(self, vector: Floats) -> Floats:
        return vector / self._units

    def parts(self, size: int) -> list[slice]:
        return [slice(0, self.count)]

    def picked(self, values: Floats, part: slice) -> Floats:
        return values[self._color, self._rows]

    def of_outputs(self, numbers: NDArray[Any], part: slice) -> NDArray[Any]:
        return numbers[self._rows]

    def of(self, g: int, part: slice) -> Any:
        if self._entries is None:
            order = np.argsort(self._color, kind="stable")
            ends = np.cumsum(np.bincount(self._color, minlength=self.count))
            self._entries = np.split(order, ends[:-1])
        return self._entries[g]

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        weights = combine(entries * factors[self._columns])
        return np.bincount(self._rows, weights, self._outputs).astype(np.float64)

    def largest(self, entries: Floats) -> Floats:
        found = np.zeros(self._outputs)
        np.fmax.at(found, self._rows, np.abs(entries))
        return found

    def span(self, part: slice, up: Floats, down: Floats) -> Floats:
        x, units = self._x[self._columns], self._units[self._columns]
        apart: Floats = ((x + up[self._color] * units) - (x + down[self._color] * units)) / units
        return apart

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(self._color[mask], minlength=self.count)

    def alone(self, g: int, values: NDArray[Any], mine: Any) -> NDArray[Any]:
        found: NDArray[Any] = values[self._rows[mine]]
        return found

    def span_alone(self, g: int, up: float, down: float, mine: Any) -> Any:
        x, units = self._x[self._columns[mine]], self._units[self._columns[mine]]
        return ((x + up * units) - (x + down * units)) / units

    def in_x(self, entries: Floats, part: slice) -> Floats:
        return entries / self._units[self._columns]


def exact(vector: Floats, x: Floats) -> Floats:
    """Round a vector so that x + k vector is exact for small k, where it is long enough."""
    grain = 4.0 * np.spacing(np.abs(x))
    grains = np.rint(vector / grain)
    sizes = np.abs(grains)
    return np.where((x != 0) & (sizes >= 8.0) & (sizes < 2.0**52), grains * grain, vector)


def _cut(count: int, size: int) -> list[slice]:
    return [slice(begin, min(count, begin + size)) for begin in range(0, count, size)]
