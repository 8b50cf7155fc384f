"""Which directions a Jacobian is differenced along, and which of its entries each direction gives.

Along direction g the points are x + t u, where u holds the unit of each coordinate that belongs to g: a power of two
near its scale. So t is a number without dimension, and one step fits all directions of a well-scaled f.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from math import frexp, ldexp, log2
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, Ints, everything
from ..sparsity.patterns import Pattern
from .constants import HALF_ROOT
from .line import median
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


def units_of_few(x: list[float]) -> list[float]:
    """Do as `units_of`, in plain floats."""
    sizes = [min(abs(v), LARGEST) for v in x]
    largest = max(sizes)
    least, units = min(1.0, largest) if largest > LEAST else 1.0, []
    for size in sizes:
        mantissa, exponent = frexp(size if size > least else least)
        units.append(ldexp(1.0, exponent - (mantissa < HALF_ROOT)))
    return units


def length_of(vector: Floats, units: Floats) -> float:
    """Return the power of two by which a vector is to be divided for t = 1 to move x by its scale."""
    return float(2.0 ** round(log2(float(np.abs(vector / units).max(initial=0.0)) or 1.0)))


class Seeds(Protocol):
    """Directions, and the layout of the entries that they give.

    Entries come as an array of shape (directions, outputs) where every direction gives all outputs, else as a list.
    """

    count: int  # how many directions
    coordinates: int  # of how many coordinates they are made
    terms: Any  # shape (m,): on how many of these each output depends, at most

    @property
    def owner(self) -> Ints:
        """The direction of each entry of the list, or of each row of the array."""
        ...

    def point(self, g: int, t: complex) -> NDArray[Any]:
        """Return x + t u, a new array."""
        ...

    def points(self, t: Floats) -> Floats:
        """Return x + t u for each direction and each t, of shape (directions or 1, nodes), direction by direction."""
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

    def parts(self, size: int) -> list[tuple[Ints, Seeds]]:
        """Cut the directions into parts of so many entries: which they are, and these alone."""
        ...

    def only(self, directions: Ints) -> Seeds:
        """Return some of the directions, in their order."""
        ...

    def entries(self, directions: Ints) -> Ints:
        """Return the index of the entries of some directions among all, direction by direction."""
        ...

    def picked(self, values: Floats) -> Floats:
        """Take the entries out of the values along all directions, shape (directions, outputs)."""
        ...

    def of_outputs(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Give each entry the number of its output."""
        ...

    def of_directions(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Give each entry the number of its direction."""
        ...

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count the entries of each direction that a mask holds."""
        ...

    def means(self, t: Floats) -> Floats:
        """Return the mean of the steps of each direction's entries."""
        ...

    def least(self, t: Floats) -> Floats:
        """Return the smallest of these."""
        ...

    def medians(self, numbers: Floats, mask: NDArray[np.bool_]) -> Floats:
        """Return the median of each direction's entries that a mask holds; anything where it holds none."""
        ...

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        """Sum combine(entry times its coordinate's factor) over the entries of each output."""
        ...

    def largest(self, entries: Floats) -> Floats:
        """Return the largest size of the entries of each output; those that are not finite do not count."""
        ...

    def span(self, up: Floats, down: Floats) -> Floats:
        """Return how far apart x + up u and x + down u come out after rounding, in units, for each entry.

        Both have one number for each direction.
        """
        ...

    def in_x(self, entries: Floats) -> Floats:
        """Make derivatives with respect to t derivatives with respect to the coordinates."""
        ...


class _Whole:
    """Directions that have an entry of each output."""

    count: int

    @property
    def owner(self) -> Ints:
        return everything(self.count)

    def entries(self, directions: Ints) -> Ints:
        return directions

    def picked(self, values: Floats) -> Floats:
        return values

    def of_outputs(self, numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers

    def of_directions(self, numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers[:, None]

    def means(self, t: Floats) -> Floats:
        return t[:, 0]

    def least(self, t: Floats) -> Floats:
        return t[:, 0]

    def medians(self, numbers: Floats, mask: NDArray[np.bool_]) -> Floats:
        held, rows = np.sort(np.where(mask, numbers, np.inf)), everything(self.count)
        half = np.maximum(self.counts(mask), 1)
        found: Floats = 0.5 * (held[rows, (half - 1) // 2] + held[rows, half // 2])
        return found

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        total: Floats = combine(entries * factors[:, None]).sum(axis=0)
        return total

    def largest(self, entries: Floats) -> Floats:
        found: Floats = np.fmax.reduce(np.abs(entries), axis=0, initial=0.0)
        return found

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        found: NDArray[np.intp] = np.add.reduce(mask, axis=1, dtype=np.intp)  # np.count_nonzero: 1.2 to 2 times as long
        return found


class Columns(_Whole):
    """One coordinate at a time."""

    def __init__(self, x: Floats, index: Ints, units: Floats) -> None:
        self._every = index is everything(x.size)
        self._x, self._index, self._units_of_x = x, index, units
        self._units = units if self._every else units[index]
        self.count = self.coordinates = self.terms = index.size

    def point(self, g: int, t: complex) -> NDArray[Any]:
        y = self._x.astype(np.complex128) if isinstance(t, complex) else self._x.copy()
        y[self._index[g]] += t * self._units[g]
        return y

    def points(self, t: Floats) -> Floats:
        count, nodes = self.count, t.shape[1]
        rows = np.empty((count * nodes, self._x.size))
        rows[...] = self._x
        if self._every:
            for k in range(nodes):  # the diagonal
                rows.reshape(-1)[k * count :: nodes * count + 1] += t[:, k] * self._units
            return rows
        rows[np.arange(len(rows)), self._index.repeat(nodes)] += (t * self._units[:, None]).reshape(-1)
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

    def parts(self, size: int) -> list[tuple[Ints, Seeds]]:
        every = everything(self.count)
        if self.count <= size:
            return [(every, self)]
        cut = [every[begin : begin + size] for begin in range(0, self.count, size)]
        return [(some, self.only(some)) for some in cut]

    def only(self, directions: Ints) -> Columns:
        return Columns(self._x, self._index[directions], self._units_of_x)

    def span(self, up: Floats, down: Floats) -> Floats:
        x, units = self._x if self._every else self._x[self._index], self._units
        apart: Floats = (((x + up * units) - (x + down * units)) / units)[:, None]
        return apart

    def in_x(self, entries: Floats) -> Floats:
        return entries / self._units[:, None]


class Along(_Whole):
    """One direction of the caller's: a Jacobian-vector product."""

    count = coordinates = terms = 1

    def __init__(self, x: Floats, vector: Floats, units: Floats | None) -> None:
        self._length = 1.0 if units is None else length_of(vector, units)
        self._x, self._vector = x, vector / self._length

    def point(self, g: int, t: complex) -> NDArray[Any]:
        moved: NDArray[Any] = self._x + t * self._vector
        return moved

    def points(self, t: Floats) -> Floats:
        return np.array([self.point(0, node) for node in t.reshape(-1).tolist()])

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

    def parts(self, size: int) -> list[tuple[Ints, Seeds]]:
        return [(everything(1), self)]

    def only(self, directions: Ints) -> Along:
        return self

    def span(self, up: Floats, down: Floats) -> Floats:
        apart: Floats = (up - down)[:, None]
        return apart

    def in_x(self, entries: Floats) -> Floats:
        slopes: Floats = entries * self._length
        return slopes


class Colors:
    """All coordinates of one colour at a time; entries in the order of a pattern's, row by row.

    Coordinates of the colour -1, which the pattern must not have, never move.
    """

    def __init__(self, x: Floats, pattern: Pattern, colors: Ints, units: Floats) -> None:
        self._x, self._units, self._colors, self._outputs = x, units, colors, pattern.shape[0]
        self.count, self.coordinates = int(colors.max(initial=-1)) + 1, x.size
        self._rows, self._columns = pattern.rows, pattern.indices
        self.terms = np.maximum(np.diff(pattern.indptr), 1)
        self.owner = colors[self._columns]

    @cached_property
    def _entries(self) -> list[Ints]:
        order = np.argsort(self.owner, kind="stable")
        ends = np.cumsum(np.bincount(self.owner, minlength=self.count))
        return np.split(order, ends[:-1])

    def point(self, g: int, t: complex) -> NDArray[Any]:
        y = self._x.astype(np.complex128) if isinstance(t, complex) else self._x.copy()
        mine = self._colors == g
        y[mine] += t * self._units[mine]
        return y

    def points(self, t: Floats) -> Floats:
        steps = np.broadcast_to(t, (self.count, t.shape[1])).tolist()
        return np.array([self.point(g, node) for g, nodes in enumerate(steps) for node in nodes])

    def room(self, below: Floats, above: Floats) -> tuple[Floats, Floats]:
        down, up = np.full(self.count, np.inf), np.full(self.count, np.inf)
        moves = self._colors >= 0
        np.minimum.at(down, self._colors[moves], (below / self._units)[moves])
        np.minimum.at(up, self._colors[moves], (above / self._units)[moves])
        return down, up

    def line(self, factors: Floats) -> Floats:
        return np.where(self._colors >= 0, exact(self._units * factors, self._x), 0.0)

    def factors(self, vector: Floats) -> Floats:
        return vector / self._units

    def parts(self, size: int) -> list[tuple[Ints, Seeds]]:
        return [(everything(self.count), self)]

    def only(self, directions: Ints) -> Colors:
        some, those = copy(self), self.entries(directions)
        some.__dict__.pop("_entries", None)
        place = np.full(self.count + 1, -1)
        place[directions] = everything(directions.size)
        some.count, some._colors = directions.size, place[self._colors]
        some._rows, some._columns, some.owner = self._rows[those], self._columns[those], place[self.owner[those]]
        return some

    def entries(self, directions: Ints) -> Ints:
        return np.concatenate([everything(0), *[self._entries[g] for g in directions.tolist()]])

    def picked(self, values: Floats) -> Floats:
        return values[self.owner, self._rows]

    def of_outputs(self, numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers[self._rows]

    def of_directions(self, numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers[self.owner]

    def means(self, t: Floats) -> Floats:
        return np.array([float(np.add.reduce(t[those])) / those.size for those in self._entries])

    def least(self, t: Floats) -> Floats:
        return np.array([float(np.minimum.reduce(t[those])) for those in self._entries])

    def medians(self, numbers: Floats, mask: NDArray[np.bool_]) -> Floats:
        held = [numbers[those[mask[those]]] for those in self._entries]
        return np.array([median(mine.tolist()) if mine.size else np.inf for mine in held])

    def at_outputs(self, entries: Floats, factors: Floats, combine: Callable[[Floats], Floats]) -> Floats:
        weights = combine(entries * factors[self._columns])
        return np.bincount(self._rows, weights, self._outputs).astype(np.float64)

    def largest(self, entries: Floats) -> Floats:
        found = np.zeros(self._outputs)
        np.fmax.at(found, self._rows, np.abs(entries))
        return found

    def span(self, up: Floats, down: Floats) -> Floats:
        x, units = self._x[self._columns], self._units[self._columns]
        apart: Floats = ((x + up[self.owner] * units) - (x + down[self.owner] * units)) / units
        return apart

    def counts(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(self.owner[mask], minlength=self.count)

    def in_x(self, entries: Floats) -> Floats:
        return entries / self._units[self._columns]


def exact(vector: Floats, x: Floats) -> Floats:
    """Round a vector so that x + k vector is exact for small k, where it is long enough."""
    grain = 4.0 * np.spacing(np.abs(x))
    grains = np.rint(vector / grain)
    sizes = np.abs(grains)
    return np.where((x != 0) & (sizes >= 8.0) & (sizes < 2.0**52), grains * grain, vector)
