"""Functions whose gradients are hard to difference, with references in 60 digits.

A family is one function of a random generator: it draws constants and a point and returns a
`Problem`. Each f is written once on a list of components and a namespace of mathematics, so that
the same code runs on float64 columns (many points at once) and on mpmath numbers at the exact
float64 point. Noise exists in the first namespace only: the reference is the clean function.

Classes (the letters of the table): S smooth, B badly scaled x, H hard length scale, C
cancellation, N noise, K kinks and edges nearby. MGH: the functions of Moré, Garbow and Hillstrom
(1981, ACM TOMS 7, 17), each at its standard start and at points around it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Function = Callable[[Sequence[Any], Any], Any]
DIGITS = 100  # the reference differences lose 30 of them
SPACING = mpmath.mpf(10) ** -30


class Floating:
    """Mathematics on float64 arrays, with all the noise a family asks for."""

    exp, log, sin, cos, tanh, sqrt, arctan = np.exp, np.log, np.sin, np.cos, np.tanh, np.sqrt, np.arctan
    pi = np.pi

    @staticmethod
    def maximum(a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    @staticmethod
    def single(x: Sequence[Any]) -> list[Any]:
        """Go on in float32."""
        return [np.asarray(v, np.float32) for v in x]

    @staticmethod
    def printed(value: Any, digits: int) -> Any:
        """Write with so many significant digits and read back, as from another program's output."""
        flat = np.array([float(f"{v:.{digits - 1}e}") for v in np.atleast_1d(value)])
        return flat.reshape(np.shape(value))

    @staticmethod
    def jitter(value: Any, x: Sequence[Any], absolute: float, relative: float = 0.0) -> Any:
        """Add deterministic noise: a hash of the bits of x, uniform."""
        columns = np.atleast_2d(np.stack([np.atleast_1d(np.asarray(v, float)) for v in x]).T)
        hashes = [zlib.crc32(np.ascontiguousarray(c).tobytes()) / 2.0**32 - 0.5 for c in columns]
        noise = np.array(hashes).reshape(np.shape(value))
        return value * (1.0 + relative * noise) + absolute * noise

    @staticmethod
    def other(noisy: Callable[[], Any], _exact: Callable[[], Any]) -> Any:
        return noisy()


class Exact:
    """The same on mpmath numbers, without noise."""

    exp, log, sin, cos = mpmath.exp, mpmath.log, mpmath.sin, mpmath.cos
    tanh, sqrt, arctan = mpmath.tanh, mpmath.sqrt, mpmath.atan
    pi = mpmath.mp.mpf(float(np.pi))

    maximum = staticmethod(max)

    @staticmethod
    def single(x: Sequence[Any]) -> Sequence[Any]:
        return x

    @staticmethod
    def printed(value: Any, digits: int) -> Any:
        return value

    @staticmethod
    def jitter(value: Any, x: Sequence[Any], absolute: float, relative: float = 0.0) -> Any:
        return value

    @staticmethod
    def other(_noisy: Callable[[], Any], exact: Callable[[], Any]) -> Any:
        return exact()


@dataclass(frozen=True)
class Problem:
    """One instance: f, the point, and the length on which f changes along each component."""

    f: Function
    x: Floats
    length: Floats
    family: str = ""
    kind: str = ""
    held_out: bool = False
    seed: int = 0

    def __call__(self, points: Floats) -> Any:
        """Evaluate f at one point (n,) or at the columns of (n, k)."""
        with np.errstate(all="ignore"):
            value = self.f(list(points), Floating)
        return np.asarray(value, np.float64) if points.ndim == 2 else float(value)

    def gradient(self) -> Floats:
        """Return the gradient from central differences in 100 digits: right in all of float64's."""
        with mpmath.workdps(DIGITS):
            x = [mpmath.mpf(float(v)) for v in self.x]
            partial = []
            for i, length in enumerate(self.length):
                h = SPACING * mpmath.mpf(float(length))
                above, below = list(x), list(x)
                above[i], below[i] = x[i] + h, x[i] - h
                partial.append(float((self.f(above, Exact) - self.f(below, Exact)) / (2 * h)))
        return np.array(partial)

    def noise(self, directions: int = 400) -> float:
        """Return the standard deviation of f's error, from points in a small ball around x."""
        rng = np.random.default_rng(7)
        spread = 1e-4 * self.length[:, None] * rng.standard_normal((self.x.size, directions))
        values = np.asarray(self(self.x[:, None] + spread))
        with mpmath.workdps(40):
            columns = (self.x[:, None] + spread).T
            exact = [self.f([mpmath.mpf(float(v)) for v in c], Exact) for c in columns]
            error = [float(mpmath.mpf(float(v)) - e) for v, e in zip(values, exact, strict=True)]
        return float(np.std(error))


@dataclass(frozen=True)
class Family:
    make: Callable[[np.random.Generator], tuple[Function, Any, Any]]
    name: str
    kind: str
    held_out: bool

    def instance(self, seed: int) -> Problem:
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        f, x, length = self.make(rng)
        x = np.array(x, float)
        lengths = np.broadcast_to(np.asarray(length, float), x.shape).copy()
        return Problem(f, x, lengths, self.name, self.kind, self.held_out, seed)


FAMILIES: dict[str, Family] = {}


def family(kind: str, held_out: bool = False) -> Callable[[Any], Any]:
    def enter(make: Any) -> Any:
        FAMILIES[make.__name__] = Family(make, make.__name__, kind, held_out)
        return make

    return enter


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Any:
    return rng.uniform(low, high, shape).tolist()


def _signed(rng: np.random.Generator, low: float, high: float, n: int) -> list[float]:
    out: list[float] = (rng.uniform(low, high, n) * rng.choice([-1.0, 1.0], n)).tolist()
    return out


def _dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sum(u * v for u, v in zip(a, b, strict=True))


# ---------------------------------------------------------------------------- S: smooth


@family("S")
def rosenbrock(rng):
    n = 10
    a, b, c = _uniform(rng, 50, 150, n), _uniform(rng, 0.5, 1.5, n), _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return sum(a[i] * (x[i + 1] - b[i] * x[i] ** 2) ** 2 + c[i] * (1.1 - x[i]) ** 2 for i in range(n - 1))

    return f, rng.uniform(-1.5, 1.5, n), 1.0


@family("S")
def quadratic_form(rng):
    n = 12
    half = rng.standard_normal((n, n))
    matrix, linear = (half @ half.T).tolist(), _uniform(rng, -3, 3, n)

    def f(x, m):
        return _dot(x, [_dot(row, x) for row in matrix]) / 2 + _dot(linear, x) + 0.3

    return f, rng.standard_normal(n), 1.0


@family("S", held_out=True)
def exponentials(rng):
    n = 8
    a, b = _signed(rng, 0.5, 2, n), _uniform(rng, 0.3, 1.7, n)

    def f(x, m):
        return sum(a[i] * m.exp(b[i] * x[i]) for i in range(n)) + 0.1 * m.exp(0.2 * sum(x))

    return f, rng.uniform(-1, 1, n), 1.0


@family("S")
def logistic_regression(rng):
    n, rows = 6, 20
    data, labels = rng.standard_normal((rows, n)).tolist(), rng.choice([-1.0, 1.0], rows).tolist()

    def f(x, m):
        return sum(m.log(1 + m.exp(-y * _dot(r, x))) for r, y in zip(data, labels, strict=True)) + 0.05 * _dot(x, x)

    return f, rng.standard_normal(n), 1.0


@family("S")
def sines(rng):
    n = 12
    a, b, c = _signed(rng, 0.5, 2, n), _uniform(rng, 0.5, 2, n), _uniform(rng, 0, 6, n)

    def f(x, m):
        return sum(a[i] * m.sin(b[i] * x[i] + c[i] + 0.3 * x[i - 1]) for i in range(n))

    return f, rng.uniform(-3, 3, n), 1.0


@family("S", held_out=True)
def rational(rng):
    n = 5
    rows = rng.standard_normal((8, n)).tolist()
    c = _uniform(rng, 0.5, 2, 8)

    def f(x, m):
        return sum(k / (1 + _dot(r, x) ** 2) for r, k in zip(rows, c, strict=True))

    return f, rng.uniform(-1, 1, n), 1.0


@family("S")
def log_sum_exp(rng):
    n = 14
    a = _uniform(rng, 0.2, 1.5, n)

    def f(x, m):
        return m.log(sum(m.exp(a[i] * x[i]) for i in range(n)))

    return f, rng.standard_normal(n), 1.0


@family("S", held_out=True)
def quartic(rng):
    n = 20
    a, b = _signed(rng, 0.1, 1, n), _signed(rng, 0.5, 2, n)

    def f(x, m):
        return sum(a[i] * x[i] ** 4 + b[i] * x[i] * x[i - 1] * x[i - 2] for i in range(n)) + 0.7 * x[0]

    return f, rng.uniform(-2, 2, n), 1.0


@family("S")
def neural_network(rng):
    inputs, hidden = 3, 5
    data = rng.standard_normal((6, inputs)).tolist()
    target = rng.standard_normal(6).tolist()

    def f(x, m):
        total = 0.0
        for row, y in zip(data, target, strict=True):
            out = x[-1]
            for j in range(hidden):
                base = j * (inputs + 2)
                out = out + x[base + inputs + 1] * m.tanh(_dot(row, x[base : base + inputs]) + x[base + inputs])
            total = total + (out - y) ** 2
        return total / 12

    return f, 0.7 * rng.standard_normal(hidden * (inputs + 2) + 1), 1.0


@family("S")
def gaussian_bump(rng):
    n = 4
    c = _uniform(rng, -1, 1, n)

    def f(x, m):
        return m.exp(-sum((x[i] - c[i]) ** 2 for i in range(n)) / 2)

    return f, rng.uniform(-1, 1, n), 1.0


@family("S", held_out=True)
def lennard_jones(rng):
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])[:6]
    x = 1.12 * grid + rng.uniform(-0.08, 0.08, (6, 3))

    def f(x, m):
        total = 0.0
        for i in range(6):
            for j in range(i):
                r2 = sum((x[3 * i + k] - x[3 * j + k]) ** 2 for k in range(3))
                total = total + 4 * (1 / r2**6 - 1 / r2**3)
        return total

    return f, x.ravel(), 1.0


@family("S")
def wood_chain(rng):
    n = 40
    a = _uniform(rng, 0.5, 1.5, n)

    def f(x, m):
        return sum(
            a[i] * (x[i] ** 2 - x[i + 1]) ** 2 + (x[i] - 1.3) ** 2 + a[i] * m.cos(x[i + 1]) for i in range(n - 1)
        )

    return f, rng.uniform(-2, 2, n), 1.0


# ---------------------------------------------------------------------------- B: badly scaled x


def _scales(rng: np.random.Generator, n: int, low: float = -8, high: float = 8) -> list[float]:
    out: list[float] = (10.0 ** rng.permutation(np.linspace(low, high, n) + rng.uniform(-0.4, 0.4, n))).tolist()
    return out


@family("B")
def scaled_quadratic(rng):
    n = 8
    s, a = _scales(rng, n), _uniform(rng, 0.5, 2, n)

    def f(x, m):
        u = [x[i] / s[i] for i in range(n)]
        return sum(a[i] * (u[i] - 0.3) ** 2 + 0.4 * u[i] * u[i - 1] ** 2 for i in range(n))

    return f, np.array(s) * rng.uniform(0.5, 2, n), s


@family("B")
def scaled_exponentials(rng):
    n = 10
    s, a = _scales(rng, n), _signed(rng, 0.5, 2, n)

    def f(x, m):
        return sum(a[i] * m.exp(x[i] / s[i]) for i in range(n)) + sum(x[i] / s[i] for i in range(n)) ** 2 / 10

    return f, np.array(s) * rng.uniform(-1.5, 1.5, n), s


@family("B", held_out=True)
def arrhenius(rng):
    temperatures = np.linspace(300, 600, 7).tolist()
    a, e, k = 10.0 ** rng.uniform(6, 9), rng.uniform(2e4, 4e4), 10.0 ** rng.uniform(-7, -5)
    data = _uniform(rng, 0.5, 2, 7)

    def f(x, m):
        return sum((x[2] * x[0] * m.exp(-x[1] / (8.314 * t)) - d) ** 2 for t, d in zip(temperatures, data, strict=True))

    return f, np.array([a, e, k]), [a, e / 8, k]


@family("B")
def small_offsets(rng):
    # components of 1e-9 to 1 in a function that changes on length 1: relative steps drown in noise
    n = 9
    a = _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return sum(m.sin(a[i] * x[i] + 0.4 + i) * (1 + 0.2 * x[i - 1]) for i in range(n))

    return f, np.array(_scales(rng, n, -9, 0)), 1.0


@family("B", held_out=True)
def power_law(rng):
    n = 6
    p, x = _signed(rng, 0.3, 2.5, n), _scales(rng, n)
    logs = float(np.log(np.abs(x)) @ np.array(p))

    def f(x, m):
        return (
            m.exp(sum(p[i] * m.log(x[i]) for i in range(n)) - logs)
            + 0.1 * sum((m.log(x[i])) ** 2 for i in range(n)) / 50
        )

    return f, x, x


@family("B")
def scaled_rosenbrock(rng):
    n = 6
    s, a = _scales(rng, n, -6, 6), _uniform(rng, 5, 15, n)

    def f(x, m):
        u = [x[i] / s[i] for i in range(n)]
        return sum(a[i] * (u[i + 1] - u[i] ** 2) ** 2 + (1.2 - u[i]) ** 2 for i in range(n - 1))

    return f, np.array(s) * rng.uniform(0.3, 2, n), s


@family("B")
def zeros_among_scales(rng):
    # some components are exactly 0, and their scale is nowhere to be seen
    n = 8
    s = _scales(rng, n, -3, 3)
    u = rng.uniform(0.3, 1.5, n) * (rng.random(n) < 0.6)

    def f(x, m):
        return sum(m.exp(x[i] / s[i] * 0.8) + m.sin(x[i] / s[i] + i) for i in range(n))

    return f, np.array(s) * u, s


@family("B", held_out=True)
def units(rng):
    # pharmacokinetics: dose in grams, rates per second, volume in litres
    dose, ka, ke, vol = (
        10 ** rng.uniform(-3, -1),
        10 ** rng.uniform(-4, -3),
        10 ** rng.uniform(-6, -5),
        10 ** rng.uniform(3, 5),
    )
    times = (np.linspace(0.2, 3, 8) / ka).tolist()
    data = _uniform(rng, 0.1, 0.9, 8)
    unit = dose / vol

    def f(x, m):
        total = 0.0
        for t, d in zip(times, data, strict=True):
            c = x[0] * x[1] / (x[3] * (x[1] - x[2])) * (m.exp(-x[2] * t) - m.exp(-x[1] * t))
            total = total + (c / unit - d) ** 2
        return total

    x = np.array([dose, ka, ke, vol])
    return f, x, x * np.array([1, 1, 10, 1])


# ---------------------------------------------------------------------------- H: hard length scale


@family("H")
def fast_sine(rng):
    n = 6
    w, c = _uniform(rng, 60, 150, n), _uniform(rng, 0, 6, n)

    def f(x, m):
        return sum(m.sin(w[i] * x[i] + c[i]) for i in range(n))

    return f, rng.uniform(-2, 2, n), (1 / np.array(w)).tolist()


@family("H")
def steep_exponential(rng):
    n = 5
    a = _signed(rng, 10, 25, n)

    def f(x, m):
        return sum(m.exp(a[i] * x[i]) for i in range(n)) + _dot(x, x)

    return f, rng.uniform(0.2, 1, n), (1 / np.abs(a)).tolist()


@family("H", held_out=True)
def sharp_fronts(rng):
    n = 15
    w, c = _uniform(rng, 50, 400, n), rng.uniform(-1, 1, n)
    x = c + rng.uniform(-1.5, 1.5, n) / np.array(w)
    c = c.tolist()

    def f(x, m):
        return sum(m.tanh(w[i] * (x[i] - c[i])) + 0.3 * x[i] * x[i - 1] for i in range(n))

    return f, x, (1 / np.array(w)).tolist()


@family("H")
def narrow_peaks(rng):
    n = 4
    width = 10.0 ** rng.uniform(-4, -2, n)
    c = rng.uniform(-2, 2, n)
    x = c + width * rng.uniform(-1.5, 1.5, n)
    w, c = width.tolist(), c.tolist()

    def f(x, m):
        return sum(1 / (1 + ((x[i] - c[i]) / w[i]) ** 2) for i in range(n)) + m.exp(-_dot(x, x) / 9)

    return f, x, w


@family("H", held_out=True)
def poles(rng):
    n = 7
    gap = 10.0 ** rng.uniform(-4, -1, n)
    c = rng.uniform(-2, 2, n)
    x = c + gap * rng.choice([-1, 1], n)
    c = c.tolist()

    def f(x, m):
        return sum(0.01 / (x[i] - c[i]) + m.cos(x[i]) for i in range(n))

    return f, x, gap.tolist()


@family("H")
def near_domain_edge(rng):
    n = 8
    x = 10.0 ** rng.uniform(-7, -1, n)
    shift = _uniform(rng, 1, 3, n)
    edge = np.array(shift) + x
    gap = (edge - np.array(shift)).tolist()

    def f(x, m):
        return sum(m.log(x[i] - shift[i]) * 0.3 + m.sqrt(x[i] - shift[i]) * x[i - 1] for i in range(n))

    return f, edge, gap


@family("H")
def far_sine(rng):
    n = 10
    a = _signed(rng, 0.5, 2, n)

    def f(x, m):
        return sum(a[i] * m.sin(x[i]) * m.cos(0.1 * x[i - 1]) for i in range(n))

    return f, rng.uniform(100, 1000, n), 1.0


@family("H", held_out=True)
def mixed_frequencies(rng):
    n = 16
    w = (10.0 ** rng.uniform(0, 3, n)).tolist()

    def f(x, m):
        return sum(m.sin(w[i] * x[i]) + 0.5 * x[i] ** 2 for i in range(n))

    return f, rng.uniform(-2, 2, n), (1 / np.maximum(np.array(w), 1)).tolist()


# ---------------------------------------------------------------------------- C: cancellation


@family("C")
def large_constant(rng):
    n = 6
    big, a = 10.0 ** rng.uniform(4, 9), _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return big + sum(m.sin(a[i] * x[i]) * m.exp(0.3 * x[i - 1]) for i in range(n))

    return f, rng.uniform(-1, 1, n), 1.0


@family("C")
def variance_formula(rng):
    n = 15
    offset = 10.0 ** rng.uniform(2, 4)

    def f(x, m):
        return sum(v * v for v in x) / n - (sum(x) / n) ** 2

    return f, offset + rng.standard_normal(n), 1.0


@family("C", held_out=True)
def small_difference(rng):
    n = 5
    a, size = _uniform(rng, 0.5, 2, n), 10.0 ** rng.uniform(3, 6)

    def f(x, m):
        big = size * m.exp(0.1 * sum(x))
        return (big + sum(m.cos(a[i] * x[i]) for i in range(n))) - big

    return f, rng.uniform(-1, 1, n), 1.0


@family("C", held_out=True)
def constant_and_scales(rng):
    n = 14
    s, big = _scales(rng, n, -4, 4), 10.0 ** rng.uniform(3, 7)

    def f(x, m):
        return big + sum(m.exp(0.5 * x[i] / s[i]) for i in range(n))

    return f, np.array(s) * rng.uniform(0.5, 2, n), s


@family("C")
def one_among_large(rng):
    # one term dominates the value, the others carry their own gradients
    n = 7
    a = _uniform(rng, 0.5, 2, n)
    c = 10.0 ** rng.uniform(2, 5)

    def f(x, m):
        return c * x[0] ** 2 + sum(a[i] * m.sin(x[i] * x[i - 1]) for i in range(1, n))

    return f, rng.uniform(0.5, 2, n), 1.0


# ---------------------------------------------------------------------------- N: noise


@family("N")
def single_precision(rng):
    n = 10
    a = _uniform(rng, 50, 150, n)

    def f(x, m):
        y = m.single(x)
        return sum(a[i] * (y[i + 1] - y[i] ** 2) ** 2 + (1 - y[i]) ** 2 for i in range(n - 1))

    return f, rng.uniform(-1.5, 1.5, n), 1.0


@family("N")
def printed_output(rng):
    n = 4
    a, digits = _uniform(rng, 0.5, 2, n), int(rng.integers(6, 12))

    def f(x, m):
        return m.printed(sum(m.exp(a[i] * x[i]) for i in range(n)) + x[0] * x[1], digits)

    return f, rng.uniform(-1, 1, n), 1.0


@family("N", held_out=True)
def additive_noise(rng):
    n = 16
    level, a = 10.0 ** rng.uniform(-11, -4), _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return m.jitter(sum(m.sin(a[i] * x[i]) + 0.5 * x[i] ** 2 for i in range(n)), x, level)

    return f, rng.uniform(-2, 2, n), 1.0


@family("N")
def relative_noise(rng):
    n = 6
    level, a = 10.0 ** rng.uniform(-10, -4), _uniform(rng, 0.3, 1, n)

    def f(x, m):
        return m.jitter(m.exp(_dot(a, x)) + _dot(x, x), x, 0.0, level)

    return f, rng.uniform(-1, 1, n), 1.0


@family("N", held_out=True)
def loose_root(rng):
    # f holds a root found by Newton's method with a loose tolerance
    n = 5
    a, tolerance = _uniform(rng, 0.5, 2, n), 10.0 ** rng.uniform(-9, -5)

    def solve(target, stop):
        y = target * 0 + 1.0
        for _ in range(200):
            step = (y**3 + y - target) / (3 * y**2 + 1)
            y = y - (step if stop is None else np.where(np.abs(step) > stop, step, 0.0))
            if stop is None and abs(step) < mpmath.mpf(10) ** -(DIGITS - 5):
                return y
        return y

    def f(x, m):
        target = sum(a[i] * x[i] ** 2 for i in range(n)) + 1.0
        # a fixed-point iteration stopped early has an error of the size of its tolerance
        root = m.other(lambda: solve(target, 1e-15), lambda: solve(target, None))
        return m.jitter(root**2 + 0.3 * x[0], x, tolerance)

    return f, rng.uniform(-1.5, 1.5, n), 1.0


@family("N")
def ode_tolerance(rng):
    # logistic growth by an adaptive Heun-Euler pair: steps are accepted or refused, so f jumps
    rate, cap, y0 = rng.uniform(0.5, 1.5), rng.uniform(2, 4), rng.uniform(0.2, 0.5)
    tolerance = 10.0 ** rng.uniform(-9, -7)

    def integrate(r, k, y):
        out = []
        for r1, k1, y1 in zip(*map(np.atleast_1d, (r, k, y)), strict=True):
            t, h = 0.0, 0.05
            while t < 3.0:
                if not (abs(y1) < 1e6 and h > 1e-9):  # far from x the solution may escape
                    y1 = np.nan
                    break
                h = min(h, 3.0 - t)
                s1 = r1 * y1 * (1 - y1 / k1)
                y2 = y1 + h / 2 * s1
                s2 = r1 * y2 * (1 - y2 / k1)
                y3 = y1 - h * s1 + 2 * h * s2
                s3 = r1 * y3 * (1 - y3 / k1)
                third = y1 + h * (s1 + 4 * s2 + s3) / 6
                error = abs(third - (y1 + h * s2))
                if error <= tolerance:
                    t, y1 = t + h, third
                h *= min(4.0, max(0.2, 0.9 * (tolerance / max(error, 1e-300)) ** (1 / 3)))
            out.append(y1)
        return np.array(out).reshape(np.shape(r))

    def exact(r, k, y, m):
        return k / (1 + (k - y) / y * m.exp(-r * 3.0))

    def f(x, m):
        end = m.other(lambda: integrate(x[0], x[1], x[2]), lambda: exact(x[0], x[1], x[2], m))
        return (end - 1.0) ** 2 + 0.1 * end

    return f, np.array([rate, cap, y0]), 1.0


@family("N", held_out=True)
def single_network(rng):
    n = 12
    w = rng.standard_normal((5, n)).tolist()

    def f(x, m):
        y = m.single(x)
        return sum((m.tanh(_dot(r, y)) - 0.2) ** 2 for r in w) + 0.1 * _dot(y, y)

    return f, 0.5 * rng.standard_normal(n), 1.0


# ---------------------------------------------------------------------------- K: kinks and edges nearby


@family("K")
def absolute_values(rng):
    n = 8
    c = rng.uniform(-2, 2, n)
    x = c + 10.0 ** rng.uniform(-6, -1, n) * rng.choice([-1, 1], n)
    a, c = _uniform(rng, 0.5, 2, n), c.tolist()

    def f(x, m):
        return sum(a[i] * abs(x[i] - c[i]) + 0.4 * m.sin(x[i] + x[i - 1]) for i in range(n))

    return f, x, 1.0


@family("K")
def hinge(rng):
    n, rows = 6, 12
    data = rng.standard_normal((rows, n))
    x = rng.standard_normal(n)
    margin = (data @ x + 10.0 ** rng.uniform(-5, 0, rows) * rng.choice([-1, 1], rows)).tolist()
    data = data.tolist()

    def f(x, m):
        return sum(m.maximum(b - _dot(r, x), 0.0 * x[0]) for r, b in zip(data, margin, strict=True)) + 0.5 * _dot(x, x)

    return f, x, 1.0


@family("K", held_out=True)
def largest_of_planes(rng):
    n = 5
    rows = rng.standard_normal((2, n))
    x = rng.standard_normal(n)
    lift = float((rows[0] - rows[1]) @ x + 10.0 ** rng.uniform(-6, -2) * rng.choice([-1, 1]))
    rows = rows.tolist()

    def f(x, m):
        return m.maximum(_dot(rows[0], x), _dot(rows[1], x) + lift) + 0.2 * _dot(x, x)

    return f, x, 1.0


@family("K", held_out=True)
def huber(rng):
    n = 15
    d = 10.0 ** rng.uniform(-5, -2, n)
    x = d * (1 + 10.0 ** rng.uniform(-4, -1, n) * rng.choice([-1, 1], n))
    d = d.tolist()

    def f(x, m):
        total = 0.0
        for i in range(n):
            inner = m.maximum(abs(x[i]) - d[i], 0.0 * x[i])
            clipped = abs(x[i]) - inner
            total = total + clipped**2 / (2 * d[i]) + inner
        return total

    return f, x, d


@family("K")
def square_roots_at_zero(rng):
    n = 7
    x = 10.0 ** rng.uniform(-8, -1, n)

    def f(x, m):
        return sum(m.sqrt(x[i]) * (1.3 + 0.2 * x[i - 1]) for i in range(n)) + sum(x[i] * m.log(x[i]) for i in range(n))

    return f, x, x


@family("K")
def piecewise_quadratic(rng):
    n = 20
    c = rng.uniform(-1, 1, n)
    x = c + 10.0 ** rng.uniform(-7, -1, n) * rng.choice([-1, 1], n)
    a, c = _uniform(rng, 2, 8, n), c.tolist()

    def f(x, m):
        return sum(x[i] ** 2 + a[i] * m.maximum(x[i] - c[i], 0.0 * x[i]) ** 2 + 0.2 * x[i] * x[i - 1] for i in range(n))

    return f, x, 1.0


# ---------------------------------------------------------------------------- few variables, and what misleads a rule


@family("C", held_out=True)
def cancelling_ratios(rng):
    n = int(rng.integers(1, 5))
    x = 10.0 ** rng.uniform(-6, -2, n) * rng.choice([-1, 1], n)
    a = _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return sum((m.exp(a[i] * x[i]) - 1) / x[i] for i in range(n))

    return f, x, 1.0


@family("C", held_out=True)
def annuities(rng):
    # the present value of so many payments at a small rate
    terms = int(rng.integers(12, 361))

    def f(x, m):
        return x[1] * (1 - m.exp(-terms * m.log(1 + x[0]))) / x[0]

    return f, [10.0 ** rng.uniform(-5, -2), rng.uniform(50, 500)], [1.0 / terms, 100.0]


@family("B", held_out=True)
def tiny_points(rng):
    # x far below the length of f
    n = int(rng.integers(1, 6))
    a = _signed(rng, 0.5, 3, n)

    def f(x, m):
        return sum(m.exp(a[i] * x[i]) for i in range(n))

    return f, 10.0 ** rng.uniform(-25, -12) * rng.uniform(1, 5, n), 1.0


@family("S", held_out=True)
def odd_at_zero(rng):
    n = int(rng.integers(1, 9))
    a = _signed(rng, 0.7, 1.5, n)

    def f(x, m):
        return sum(m.tanh(a[i] * x[i]) + 0.3 * m.sin(x[i]) * x[i - 1] ** 2 for i in range(n))

    return f, np.zeros(n), 1.0


@family("H", held_out=True)
def rippled_parabola(rng):
    n = int(rng.integers(1, 4))
    depth, a, b = rng.uniform(0.1, 0.5), _uniform(rng, 1, 3, n), _uniform(rng, 8, 16, n)

    def f(x, m):
        ripple = depth
        for i in range(n):
            ripple = ripple * m.cos(b[i] * x[i])
        return sum(a[i] * x[i] ** 2 for i in range(n)) - ripple

    return f, rng.uniform(-100, 100, n), [1.0 / v for v in b]


@family("K", held_out=True)
def hidden_rectifier(rng):
    # one unit of a layer changes sign beside x
    n, units = int(rng.integers(2, 7)), 8
    weights, x, out = rng.standard_normal((units, n)), rng.standard_normal(n), _signed(rng, 0.5, 2, units)
    before = rng.uniform(0.2, 1, units) * rng.choice([-1, 1], units)
    before[0] = 10.0 ** rng.uniform(-8, -5) * rng.choice([-1, 1])
    bias = (before - weights @ x).tolist()
    weights = weights.tolist()

    def f(x, m):
        return sum(
            c * m.maximum(_dot(w, x) + b, 0.0 * x[0]) for c, w, b in zip(out, weights, bias, strict=True)
        ) + 0.1 * _dot(x, x)

    return f, x, 1.0


@family("K", held_out=True)
def beside_knots(rng):
    # a table read by straight lines
    n = int(rng.integers(1, 4))
    heights = rng.standard_normal((n, 6)).tolist()
    x = rng.integers(1, 5, n) + 10.0 ** rng.uniform(-8, -4, n) * rng.choice([-1, 1], n)

    def f(x, m):
        total = 0.0 * x[0]
        for i in range(n):
            h = heights[i]
            total = total + h[0] + (h[1] - h[0]) * x[i]
            for k in range(1, 5):
                total = total + (h[k + 1] - 2 * h[k] + h[k - 1]) * m.maximum(x[i] - k, 0.0 * x[i])
        return total + 3.0

    return f, x, 1.0


@family("S", held_out=True)
def mostly_dead(rng):
    n = 30
    live = sorted(rng.choice(n, 6, replace=False).tolist())
    a = _signed(rng, 0.5, 2, n)

    def f(x, m):
        return 20.0 + sum(a[i] * m.sin(x[i]) for i in live) + x[live[0]] * x[live[1]]

    return f, rng.uniform(-2, 2, n), 1.0


@family("N", held_out=True)
def single_of_few(rng):
    n = int(rng.integers(1, 4))
    a = _uniform(rng, 0.5, 2, n)

    def f(x, m):
        y = m.single(x)
        return sum(a[i] * y[i] ** 2 + y[i] for i in range(n)) + y[0] * y[-1]

    return f, rng.uniform(0.3, 1.5, n), 1.0


@family("N", held_out=True)
def noise_of_few(rng):
    n = int(rng.integers(1, 4))
    level, a = 10.0 ** rng.uniform(-12, -5), _uniform(rng, 0.5, 2, n)

    def f(x, m):
        return m.jitter(sum(m.exp(a[i] * x[i]) for i in range(n)), x, level)

    return f, rng.uniform(-1, 1, n), 1.0
