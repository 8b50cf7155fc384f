"""Energies, fits and images as people write them for numba: loops, slices, tuples, helpers, local arrays, lists of
neighbours. Each with a point and its other arguments.
"""

import math
from collections import namedtuple

import numpy as np
from numba import njit

TABLE = {}
numbers = np.random.default_rng(7)
LINE, GRID = numbers.uniform(-2, 2, 200), numbers.normal(size=(14, 15)) * 0.5


BY_HAND = {}


def add(x, *args):
    """Put f into the table."""

    def kept(f):
        TABLE[f.py_func.__name__] = f, x, args
        return f

    return kept


def by_hand(f):
    """Of a function of the same name, written with what is there for complex numbers of extended precision."""

    def kept(same):
        BY_HAND[f.py_func.__name__] = njit(same)
        return same

    return kept


SIDE = 12
NODES = np.array([(i / 11, j / 11) for i in range(SIDE) for j in range(SIDE)])
CORNERS = [SIDE * i + j for i in range(SIDE - 1) for j in range(SIDE - 1)]
TRIANGLES = np.array([(c, c + 1, c + SIDE) for c in CORNERS] + [(c + 1, c + SIDE + 1, c + SIDE) for c in CORNERS])
FRAME = np.add.outer(np.sin(np.arange(8) / 3), np.cos(np.arange(13) / 4))


@add(LINE)
@njit
def fput(q):
    n = q.shape[0]
    e = 0.0
    for i in range(n + 1):
        left = q[i - 1] if i > 0 else 0.0
        right = q[i] if i < n else 0.0
        d = right - left
        e += 0.5 * d**2 + 0.25 / 3 * d**3 + 0.1 * d**4
    return e


@njit
def bond(a, b, coupling):
    return -coupling * np.cos(a - b)


@add(numbers.uniform(-3, 3, (14, 15)), 0.8)
@njit
def xy_model(theta, coupling):
    n, m = theta.shape
    energy = 0.0
    for i in range(n):
        for j in range(m):
            energy += bond(theta[i, j], theta[(i + 1) % n, j], coupling)
            energy += bond(theta[i, j], theta[i, (j + 1) % m], coupling)
    return energy


@add(GRID, GRID[::-1].copy(), 0.2, 1e-3)
@njit
def tv_denoise(u, image, weight, eps):
    n, m = u.shape
    total = 0.0
    for i in range(n):
        for j in range(m):
            dx = u[i + 1, j] - u[i, j] if i + 1 < n else 0.0
            dy = u[i, j + 1] - u[i, j] if j + 1 < m else 0.0
            total += weight * math.sqrt(dx * dx + dy * dy + eps)
            total += 0.5 * (u[i, j] - image[i, j]) ** 2
    return total


@add(GRID)
@njit
def minimal_surface(z):
    n, m = z.shape
    area = 0.0
    h = 1.0 / (n - 1)
    for i in range(n - 1):
        for j in range(m - 1):
            a = (z[i + 1, j + 1] - z[i, j]) / h
            b = (z[i + 1, j] - z[i, j + 1]) / h
            area += np.sqrt(1.0 + 0.5 * (a * a + b * b)) * h * h
    return area


@add(LINE, np.cumsum(numbers.uniform(0.5, 1.0, 200)))
@njit
def spline_fit(y, t):
    """A natural cubic spline's bending through divided differences."""
    s = 0.0
    for k in range(1, len(y) - 1):
        h0 = t[k] - t[k - 1]
        h1 = t[k + 1] - t[k]
        second = 2.0 * ((y[k + 1] - y[k]) / h1 - (y[k] - y[k - 1]) / h0) / (h0 + h1)
        s += 0.5 * (h0 + h1) * second**2
    for k, value in enumerate(y):
        s += 0.1 * (value - math.sin(t[k])) ** 2
    return s


@add(numbers.uniform(0, 10, (80, 3)), numbers.integers(0, 80, (120, 2)))
@njit
def pair_list(pos, pairs):
    """Radial functions with a cutoff over a neighbour list, positions in 3-D."""
    e = 0.0
    for p in range(pairs.shape[0]):
        a = pairs[p, 0]
        b = pairs[p, 1]
        if a == b:
            continue
        d2 = 0.0
        for k in range(3):
            d = pos[a, k] - pos[b, k]
            d2 += d * d
        if d2 > 60.0:
            continue
        e += math.exp(-0.1 * d2) * (1.0 - d2 / 60.0) ** 2
    return e


@add(LINE)
@njit
def tight_binding(x):
    """Each site's square root of the sum over neighbours (second-moment approximation), and repulsion."""
    n = len(x)
    total = 0.0
    for i in range(n):
        rho = 0.0
        rep = 0.0
        for j in range(max(0, i - 2), min(n, i + 3)):
            if j == i:
                continue
            d = abs(x[i] - x[j] + 1.3 * (i - j))
            rho += np.exp(-2.0 * (d - 1.0))
            rep += np.exp(-5.0 * (d - 1.0))
        total += 0.3 * rep - np.sqrt(rho)
    return total


@add(LINE)
@njit
def small_accumulators(x):
    """Sums kept in a small local array."""
    acc = np.zeros(3)
    for i in range(len(x)):
        acc[i % 3] += x[i] ** 2 * (1.0 + i % 3)
    return acc[0] + np.log1p(acc[1]) + math.sqrt(1.0 + acc[2])


@njit
def rotate(a, b, angle):
    c = math.cos(angle)
    s = math.sin(angle)
    return c * a - s * b, s * a + c * b


@add(LINE)
@njit
def tuples(x):
    s = 0.0
    for i in range(0, len(x) - 1, 2):
        u, v = rotate(x[i], x[i + 1], 0.3)
        s += u**4 + 2 * v**2 + u * v
    return s


@add(LINE, LINE[::-1].copy(), np.abs(LINE) + 0.1)
@njit
def zipped(x, y, sigma):
    chi = 0.0
    for a, b, s in zip(x, y, sigma):  # noqa: B905  numba knows no strict
        chi += ((a - b) / s) ** 2
    return chi / 2


@add(LINE)
@njit
def rolled(x):
    y = np.roll(x, 1)
    d = x - y
    return np.sum(np.sqrt(1.0 + d * d)) + np.sum(x * y)


@add(GRID)
@njit
def laplacian_smoothing(u):
    lap = np.zeros_like(u)
    n, m = u.shape
    for i in range(1, n - 1):
        for j in range(1, m - 1):
            lap[i, j] = u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1] - 4 * u[i, j]
    s = 0.0
    for i in range(n):
        for j in range(m):
            s += lap[i, j] ** 2 + 0.05 * u[i, j] ** 2
    return s


@add(numbers.normal(size=(16, 13)) * 0.3, FRAME, np.roll(FRAME, 1, 0), 0.1)
@njit
def optical_flow(uv, a, b, alpha):
    n, m = a.shape
    u = uv[:n]
    v = uv[n:]
    e = 0.0
    for i in range(1, n - 1):
        for j in range(1, m - 1):
            ix = 0.5 * (a[i, j + 1] - a[i, j - 1])
            iy = 0.5 * (a[i + 1, j] - a[i - 1, j])
            it = b[i, j] - a[i, j]
            res = ix * u[i, j] + iy * v[i, j] + it
            e += math.sqrt(res * res + 1e-3)
            smooth = (u[i, j + 1] - u[i, j]) ** 2 + (u[i + 1, j] - u[i, j]) ** 2
            smooth += (v[i, j + 1] - v[i, j]) ** 2 + (v[i + 1, j] - v[i, j]) ** 2
            e += alpha * smooth
    return e


@add(numbers.normal(size=SIDE * SIDE), NODES, TRIANGLES)
@njit
def finite_elements(u, nodes, triangles):
    """Dirichlet energy and a nonlinear potential of linear elements."""
    e = 0.0
    local = np.empty(3)
    for t in range(len(triangles)):
        for k in range(3):
            local[k] = u[triangles[t, k]]
        x0, y0 = nodes[triangles[t, 0]]
        x1, y1 = nodes[triangles[t, 1]]
        x2, y2 = nodes[triangles[t, 2]]
        det = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        gx = ((y1 - y2) * local[0] + (y2 - y0) * local[1] + (y0 - y1) * local[2]) / det
        gy = ((x2 - x1) * local[0] + (x0 - x2) * local[1] + (x1 - x0) * local[2]) / det
        mean = (local[0] + local[1] + local[2]) / 3.0
        e += 0.5 * abs(det) * (0.5 * (gx * gx + gy * gy) + mean**4 - mean)
    return e


@add(LINE)
@njit
def potts(x):
    """Soft Potts: neighbours attract each other by a bell of their distance; only every other bond."""
    n = x.shape[0]
    e = 0.0
    for i in range(0, n, 2):
        for step in (1, 7):
            j = (i + step) % n
            e -= np.exp(-4.0 * (x[i] - x[j]) ** 2)
        e += 0.01 * x[i] * x[i]
    return e


@add(numbers.uniform(0, 8, 200), numbers.normal(size=200))
@njit
def radial_basis(c, weights):
    """Gaussians of moving centres on a fixed grid, cut off."""
    total = 0.0
    for g in range(80):
        p = 0.1 * g
        value = 0.0
        for k in range(c.size):
            d = p - c[k]
            if abs(d) < 0.5:
                value += weights[k] * math.exp(-d * d * 8.0)
        total += (value - math.sin(p)) ** 2
    return total


@add(numbers.uniform(0.1, 5.0, 200))
@njit
def binned(x):
    """Interpolation in a table by int()."""
    table = np.array([0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0])
    s = 0.0
    for v in x:
        k = int(v)
        w = v - k
        s += ((1 - w) * table[k] + w * table[k + 1]) * v
    return s


@add(np.sort(numbers.uniform(0, 20, 200)))
@njit
def sorted_gaps(x):
    """Gaps that are penalised where too small; continue elsewhere."""
    s = 0.0
    for i in range(len(x) - 1):
        gap = x[i + 1] - x[i]
        if gap > 0.2:
            continue
        s += (0.2 - gap) ** 3
    return s


@add(np.append(LINE[:-2], [0.7, 1.3]), np.linspace(0, 1, 198))
@njit
def global_parameters(p, t):
    """Local values, and two parameters that are in every term."""
    n = len(t)
    scale = p[n]
    shift = p[n + 1]
    s = 0.0
    for i in range(n):
        s += (scale * p[i] + shift - t[i]) ** 2 + 0.1 * p[i] ** 2
    return s


@add(numbers.uniform(-1, 1, 200))
@njit
def polynomial(x):
    """Coefficients in a local array, Horner's scheme; the power by **."""
    c = np.array([1.0, -0.5, 0.25, 2.0])
    s = 0.0
    for i in range(len(x)):
        y = 0.0
        for a in c:
            y = y * x[i] + a
        s += y**2 + (x[i] ** 2 + 1.0) ** 1.5
    return s / len(x)


@add(LINE)
@njit
def transposed(x):
    a = x.reshape((20, 10))
    b = a.T
    s = 0.0
    for i in range(10):
        for j in range(19):
            s += (b[i, j + 1] - b[i, j]) ** 2 * np.tanh(b[i, j])
    return s


@add(LINE)
@njit
def median_of_three(x):
    s = 0.0
    for i in range(1, len(x) - 1):
        a, b, c = x[i - 1], x[i], x[i + 1]
        if a > b:
            a, b = b, a
        if b > c:
            b, c = c, b
        if a > b:
            a, b = b, a
        s += (x[i] - b) ** 2 + b
    return s


@add(numbers.normal(size=(6, 7, 8)))
@njit
def grid_3d(u):
    a, b, c = u.shape
    s = 0.0
    for i in range(a):
        for j in range(b):
            for k in range(c):
                s += (u[i, j, k] - u[(i + 1) % a, j, k]) ** 2 + (u[i, j, k] - u[i, (j + 1) % b, k]) ** 2
                s += (u[i, j, k] - u[i, j, (k + 1) % c]) ** 2 + 0.25 * (u[i, j, k] ** 2 - 1) ** 2
    return s


@njit
def fill(u, out):
    for i in range(len(u) - 1):
        out[i] = u[i + 1] - u[i]


@add(LINE)
@njit
def helper_fills(x):
    d = np.empty(len(x) - 1)
    fill(x, d)
    s = 0.0
    for v in d:
        s += math.sqrt(1 + v * v)
    return s


@add(LINE)
@njit
def newton_inside(x):
    """An inner solution to a tolerance."""
    s = 0.0
    for v in x:
        y = 1.0
        for _ in range(50):
            step = (y**3 + y - v) / (3 * y * y + 1)
            y -= step
            if abs(step) < 1e-12:
                break
        s += y * y
    return s


@add(LINE, numbers.permutation(200))
@njit
def permuted(x, order):
    y = x[order]
    return np.sum((y[1:] - y[:-1]) ** 2)


@add(LINE)
@njit
def tuple_index(x):
    s = 0.0
    for i in range(len(x) - 2):
        t = (x[i], x[i + 1], x[i + 2])
        m = min(t[0], t[1], t[2])
        s += (t[0] - m) * (t[1] - m) + max(t[2], 0.0, t[0])
    return s


@add(LINE)
@njit
def counted(x):
    """A count of branches, an int that grows; divides in the end."""
    s = 0.0
    count = 0
    for v in x:
        if v > 0.3:
            s += v * v
            count += 1
    return s / count


@add(numbers.uniform(0, 1, (60, 4)))
@njit
def hermite(p):
    s = 0.0
    for k in range(len(p)):
        a, b, c, d = p[k]
        for t in np.linspace(0.0, 1.0, 5):
            y = a + t * (b + t * (c + t * d))
            s += y * y
    return s


@add(numbers.uniform(0, 4, (60, 3)))
@njit
def dihedral_angles(r):
    """Small vectors: of rows, of lists, their products and lengths."""
    e = 0.0
    for i in range(len(r) - 3):
        first = r[i + 1] - r[i]
        second = np.array([r[i + 2, 0] - r[i + 1, 0], r[i + 2, 1] - r[i + 1, 1], r[i + 2, 2] - r[i + 1, 2]])
        n, m = np.cross(first, second), np.cross(second, r[i + 3] - r[i + 2])
        e += np.dot(n, m) / (np.linalg.norm(n) * np.linalg.norm(m)) + sum([v * v for v in first])
    return e


@add(np.tile([1.0, 0.1, 0.05, 1.2], 50) + LINE / 20)
@njit
def elements(x):
    """Small matrices: determinants, inverses, solutions and products."""
    e = 0.0
    force = np.array([1.0, 2.0])
    for k in range(0, len(x), 4):
        f = x[k : k + 4].copy().reshape(2, 2)
        c = f.T @ f
        j = np.linalg.det(f)
        y = np.linalg.solve(f, force)
        e += 0.5 * (np.trace(c) - 2.0 - 2.0 * np.log(j)) + 0.5 * (j - 1.0) ** 2
        e += np.linalg.inv(f)[0, 1] * np.outer(y, force)[1, 0] + (force @ f)[1]
    return e


@by_hand(elements)
def elements_by_hand(x):
    e = 0.0
    for k in range(0, len(x), 4):
        p, q, r, s = x[k : k + 4]
        j = p * s - q * r
        e += 0.5 * (p * p + q * q + r * r + s * s - 2.0 - 2.0 * np.log(j)) + 0.5 * (j - 1.0) ** 2
        e += (-q / j) * ((-r + 2.0 * p) / j) + q + 2.0 * s
    return e


@add(LINE)
@njit
def ranked(x):
    """Order statistics: each entry weighs by its rank."""
    y = np.sort(np.abs(x))
    s = 0.0
    for i in range(len(y)):
        s += i * y[i] ** 2
    return s / len(x) + np.sum((x - np.median(x)) ** 4) + np.ptp(x) * x[np.argmax(x)]


@add(LINE, 30.0)
@njit
def quantiles(x, percent):
    low, high = np.percentile(x, percent), np.quantile(x, 0.75)
    return np.sum(np.sqrt(1.0 + (x - low) ** 2)) + high**2


@by_hand(quantiles)
def quantiles_by_hand(x, percent):
    y = np.sort(x)
    ends = []
    for part in (percent / 100.0, 0.75):
        place = part * (len(x) - 1)
        k = int(place)
        ends.append(y[k] + (y[k + 1] - y[k]) * (place - k))
    return np.sum(np.sqrt(1.0 + (x - ends[0]) ** 2)) + ends[1] ** 2


KNOTS = np.linspace(-2.5, 2.5, 27)
HEIGHTS = np.cos(KNOTS)


@add(LINE)
@njit
def tables(x):
    s = 0.0
    for v in x:
        k = np.searchsorted(KNOTS, v) - 1
        w = (v - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k])
        s += ((1.0 - w) * HEIGHTS[k] + w * HEIGHTS[k + 1]) ** 2 * np.interp(v, KNOTS, HEIGHTS)
    return s + np.sum(np.interp(x, KNOTS, HEIGHTS))


@by_hand(tables)
def tables_by_hand(x):
    s = 0.0
    for v in x:
        k = int(np.searchsorted(KNOTS, np.real(v))) - 1
        w = (v - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k])
        y = HEIGHTS[k] + w * (HEIGHTS[k + 1] - HEIGHTS[k])
        s += y**3 + y
    return s


@add(LINE)
@njit
def periodic(x):
    """Angles and boxes: remainders, rounding, what lies between whole numbers; and some rarer functions."""
    s = 0.0
    for i in range(len(x) - 1):
        d = (x[i + 1] - x[i] + np.pi) % (2.0 * np.pi) - np.pi
        box = x[i] - x[i - 1]
        box -= 3.0 * np.round(box / 3.0)
        s += d * d + box**4 + np.fmod(x[i], 0.9) * (x[i] // 0.5) + np.mod(x[i], 0.7 + x[i + 1] ** 2)
        s += np.logaddexp(x[i], x[i + 1]) + np.copysign(x[i], x[i + 1]) * np.sinc(x[i]) + np.radians(x[i])
        s += (x[i] > 0.3) * x[i] ** 2
    return s + np.sum(x % 0.3)


@by_hand(periodic)
def periodic_by_hand(x):
    def whole(v):
        return np.floor(np.real(v))

    s = 0.0
    for i in range(len(x) - 1):
        d = x[i + 1] - x[i] + np.pi
        d -= 2.0 * np.pi * whole(d / (2.0 * np.pi)) + np.pi
        box = x[i] - x[i - 1]
        box -= 3.0 * np.rint(np.real(box / 3.0))
        width = 0.7 + x[i + 1] ** 2
        s += d * d + box**4 + (x[i] - 0.9 * np.trunc(np.real(x[i] / 0.9))) * whole(x[i] / 0.5)
        s += x[i] - width * whole(x[i] / width) + np.log(np.exp(x[i]) + np.exp(x[i + 1])) + x[i] * np.pi / 180.0
        size = x[i] * np.sign(np.real(x[i])) * np.sign(np.real(x[i + 1]))
        s += size * np.sin(np.pi * x[i]) / (np.pi * x[i]) + (x[i] ** 2 if np.real(x[i]) > 0.3 else 0.0)
    return s + np.sum(x - 0.3 * np.floor(np.real(x) / 0.3))


Spring = namedtuple("Spring", "stiffness rest")


@add(LINE, Spring(2.0, 0.7))
@njit
def soft_maximum(x, spring):
    """The largest of all, in every term; those of rows; and a tuple with names."""
    m = np.max(x)
    s = m + np.log(np.sum(np.exp(x - m)))
    for row in x.reshape(40, 5):
        e = np.exp(row - row.max())
        s -= np.log(e[1] / e.sum()) + spring.stiffness * (row[1] - row[0] - spring.rest) ** 2
    return s


@add(LINE)
@njit
def convolved(x):
    return np.sum(np.convolve(x, np.array([0.25, 0.5, 0.25])) ** 2) + np.cumsum(x)[-1] ** 2 + sum(x[1:] * x[:-1])


@add(LINE)
@njit
def begins_with_a_term(x):
    s = x[0] * x[1] * x[2]
    for u, v in zip(x[:100], x[100:]):  # noqa: B905  numba knows no strict
        s += (u - v) ** 2 * (1.0 + 0.1 * u)
    return s


@add(LINE)
@njit
def stacked(x):
    """Points of the plane from their coordinates, by rows and by columns; a mesh twice as fine."""
    a, b = x[:100], x[100:]
    rows, columns, steep = np.stack((a, b)), np.column_stack((a, b)), np.stack((b, a * a), axis=-1)
    s = np.sum(np.vstack((a, b * b)) ** 2)
    for i in range(99):
        s += np.sqrt((rows[0, i + 1] - rows[0, i]) ** 2 + (columns[i + 1, 1] - columns[i, 1]) ** 2 + 0.1)
        s += steep[i, 0] * steep[i + 1, 1]
    fine = np.repeat(a, 2)
    return s + np.sum((fine[1:] - fine[:-1] + 0.1) ** 2)
