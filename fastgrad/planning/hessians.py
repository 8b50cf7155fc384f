"""How a Hessian is made of products with vectors, or of differences that know both of each two entries."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import AccuracyWarning, CannotRun, warn
from ..core.validation import Bounds, Floats, Ints
from ..schemes.columns import Values
from ..schemes.constants import CERTAIN, NEGLIGIBLE, OUTSIDE, TINY
from ..schemes.seconds import FAINT, Seconds, seconds
from ..sparsity import Pattern, color_symmetric
from .matrix import Matrix
from .rows import OnLine

FEW = 16  # with fewer columns, a pattern saves nothing


class Products(Protocol):
    """Hessian-vector products at one point."""

    def product(self, vector: Floats) -> Floats:
        """Return the Hessian times a flat vector."""
        ...


@np.errstate(all="ignore")
def bend(
    run: Values, x: Floats, vector: Floats, noise: float | None, bounds: Bounds | None
) -> tuple[float, float] | None:
    """Return v H v from f's values along v alone, in some 13 evaluations, and its bar; None where they do not tell."""
    line, zero = OnLine(run, x, vector, bounds), np.zeros(1, dtype=np.intp)
    try:
        if run.value().size != 1:
            return None
        found = seconds(line, np.zeros(1), zero, zero, noise, line.room())
    except (CannotRun, *OUTSIDE):
        return None
    entry, bar = np.array([found.entries[0], found.error[0]]) * line.length * line.length
    return float(entry), float(bar)


def dense(products: Products, n: int) -> Floats:
    """Return the Hessian, one product for each column."""
    out = np.empty((n, n))
    for j in range(n):
        unit = np.zeros(n)
        unit[j] = 1.0
        out[j] = products.product(unit)
    return out


def by_few(products: Any, n: int, direction: Floats) -> tuple[Floats, int] | None:
    """Return a dense Hessian from fewer products than columns, and how many; None where f shows no sparse pattern."""
    if n < FEW:
        return None
    try:
        pattern = pattern_of(products, n)
        if 4 * int(np.diff(pattern.indptr).max()) > n:
            return None
        colors = color_symmetric(pattern)
        matrix = Matrix(colored(products, pattern, colors), pattern)
        verify(products, matrix, direction)
    except CannotRun:
        return None
    full = np.zeros((n, n))
    full[pattern.rows, pattern.indices] = matrix.entries
    return full, int(colors.max()) + 2


def colored(products: Products, pattern: Pattern, colors: Ints) -> Floats:
    """Return the entries of a sparse Hessian, one product for each colour of a star colouring.

    Each entry stands alone in its row among the columns of its colour, or so does the one that mirrors it.
    """
    count = int(colors.max(initial=-1)) + 1
    table = np.array([products.product((colors == color).astype(np.float64)) for color in range(count)])
    rows, columns = pattern.rows, pattern.indices
    of_column = rows * count + colors[columns]
    alone = np.bincount(of_column, minlength=pattern.shape[0] * count)[of_column] == 1
    entries: Floats = np.where(alone, table[colors[columns], rows], table[colors[rows], columns])
    return entries


def surest(matrix: Matrix, error: Matrix) -> tuple[Matrix, Matrix, bool]:
    """Return the surer of each entry and its mirror image, their mean where neither is; bars; and whether these grew.

    Both are the same derivative, and come of two entries of the gradient: where they differ by more than their bars
    allow, the gradient is noisier than it looks beside x, and the bars of its entries grow by as much. What is surer
    may not be so sure as it looks, either: half of what the two differ by is its bar at least.
    """
    mirror, value, bar = matrix.mirror, matrix.entries, error.entries
    with np.errstate(all="ignore"):
        gap, known = np.abs(value - mirror(value)), bar + mirror(bar)
        times = np.where(gap > known, gap / np.maximum(known, TINY), 1.0)
        contradicted = bool((times > 1.0).any())
        widest = matrix.like(times).largest()
        bar = bar * matrix.each(np.maximum, widest, np.ones(widest.size))
        other = mirror(bar)
        mine, its = bar < 0.5 * other, other < 0.5 * bar
        # halved first: a sum may overflow
        value = np.where(mine, value, np.where(its, mirror(value), 0.5 * value + 0.5 * mirror(value)))
        bar = np.where(mine | its, np.maximum(np.minimum(bar, other), 0.5 * gap), 0.5 * bar + 0.5 * other)
    return matrix.like(value), matrix.like(bar), contradicted


def pattern_of(curvature: Any, n: int) -> Pattern:
    """Return the symmetric pattern that watching f shows, the diagonal included.

    CannotRun where f cannot be watched.
    """
    rows, columns = curvature.pattern()
    return Pattern.of(rows, columns, (n, n)).symmetrized()


def verify(products: Products, matrix: Matrix, vector: Floats) -> None:
    """Compare a sparse Hessian with one more product: an entry that its pattern lacks would show.

    CannotRun if one does.
    """
    expected = products.product(vector)
    seen = matrix.dot(vector)
    doubt = 1e-9 * (matrix.like(np.abs(matrix.entries)).dot(np.abs(vector)) + np.abs(expected))
    if not (np.abs(seen - expected) <= doubt + 1e-300).all():
        raise CannotRun("the pattern of the Hessian lacks an entry")


def tell(found: Seconds, rows: Ints, columns: Ints, units: Floats) -> None:
    """Warn where no digit of an entry is certain."""
    count = np.count_nonzero(doubtful(found.entries, found.error, units[rows], units[columns], found.usual))
    if count:
        warn(f"no digit is certain of {count} entries of the Hessian: see `error` of full_output=True", AccuracyWarning)


def tell_of(before: tuple[Matrix, Matrix], after: tuple[Matrix, Matrix], units: Floats, usual: float, why: str) -> None:
    """Warn of entries of which no digit is certain since something contradicts them."""
    pattern = before[0].pattern
    across = (units[:, None], units) if pattern is None else (units[pattern.rows], units[pattern.indices])
    was, now = (doubtful(matrix.entries, error.entries, *across, usual) for matrix, error in (before, after))
    count = np.count_nonzero(now & ~was)
    if count:
        warn(f"no digit is certain of {count} entries of the Hessian: {why}", AccuracyWarning)


def doubtful(entries: Floats, error: Floats, down: Floats, across: Floats, usual: float) -> NDArray[np.bool_]:
    """Say of which entries no digit is certain; in scales of x, small ones are measured against the largest.

    Nothing is said of bars that are small beside what `usual` slopes would come to if they changed on the scale of x;
    but what is negligible there may hide another number as large as the largest: see `report.Report._hidden`.
    """
    with np.errstate(all="ignore"):  # entries next to overflow: what is infinite is not certain
        sizes, scale = np.abs(entries), down * across
        size, largest = sizes * scale, sizes.max(initial=0.0, where=error <= CERTAIN * sizes)
        found: NDArray[np.bool_] = ~(error * scale <= CERTAIN * np.maximum(size, NEGLIGIBLE * size.max(initial=0.0)))
        found &= ~(error * scale <= CERTAIN * FAINT * usual)
        found |= (error > CERTAIN * largest) & (largest > 0.0)
    return found
