# mypy: disable-error-code="no-any-return"
"""The one table of objective functions that the tests, the benchmarks and the command line share.

Each problem comes in up to four forms that compute the same thing:

``name``
    plain numpy for one point, as a user would write it;
``name_loop``
    scalar loops, written for numba (`Problem.jitted` compiles it);
``name_batched``
    many points at once, ``(k, *x.shape) -> (k,)``, where that is natural;
``name_gradient``
    the exact gradient, derived by hand.

`PROBLEMS`, at the end of the file, is the table.

References
----------
.. [MGH] Moré, Garbow, Hillstrom (1981), Testing unconstrained optimization software,
   ACM Transactions on Mathematical Software 7(1), 17-41. Cited with the number of the problem.
.. [LV] Lukšan, Vlček (1999), Sparse and partially separable test problems for unconstrained and
   equality constrained optimization, report V-767, Institute of Computer Science, Prague.
.. [SB] Surjanovic, Bingham, Virtual Library of Simulation Experiments: test functions and datasets,
   Simon Fraser University.
.. [StRD] NIST Statistical Reference Datasets, nonlinear regression.
"""

import functools
import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["PROBLEMS", "WORKLOADS", "Problem", "cases", "workloads"]

Array: TypeAlias = NDArray[Any]
Scalar: TypeAlias = Any  # a float; complex where x is
Point: TypeAlias = tuple[Array, tuple[Any, ...]]


@functools.cache
def _compiled(loop: Callable[..., Scalar]) -> Callable[..., Scalar]:
    return numba.njit(loop)


@dataclass(frozen=True)
class Problem:
    """An objective function in its several forms, with its exact gradient.

    Parameters
    ----------
    name : str
        Key in `PROBLEMS`.
    source : str
        Where the function comes from.
    sizes : tuple of int
        The values of n = x.size that make sense.
    make : callable
        ``make(n) -> (x, args)``: a point without special properties and the constants. The same on
        every call, and freshly allocated.
    f, loop, gradient : callable
        ``f(x, *args)``, see the module's docstring.
    tags : frozenset of str
        arithmetic      only + - * /, integer powers, comparisons and absolute values
        transcendental  exp, log, sqrt, trigonometric or real powers
        local           an entry of x enters a bounded number of terms of one sum
        dense           every entry of x enters most terms
        branch          has a kink, or a condition on x; the points of `make` keep away from it,
                        except that the data of the squared hinge have many kinks of the slope
        data            needs measured data
        fixed-size      only one n
        nd              x has more than one dimension
        complex         `f` and `batched` are analytic and accept a complex x
        complex-loop    so does `loop`, without loss: numba computes z**k, k > 2, in polar form, and
                        for a negative real part the rounding swamps a tiny imaginary part
    cost : tuple of (float, int)
        (c, p): one evaluation takes about c * n**p operations.
    batched : callable, optional
        ``batched(x, *args)`` for x of shape (k, *shape), returning (k,).
    needs : str
        The module that holds the data; "" for none.
    """

    name: str
    source: str
    sizes: tuple[int, ...]
    make: Callable[[int], Point]
    f: Callable[..., Scalar]
    loop: Callable[..., Scalar]
    gradient: Callable[..., Array]
    tags: frozenset[str]
    cost: tuple[float, int]
    batched: Callable[..., Array] | None = None
    needs: str = ""

    @property
    def jitted(self) -> Callable[..., Scalar]:
        """`loop` compiled by numba, once a process."""
        return _compiled(self.loop)

    @property
    def unavailable(self) -> str:
        """Why `make` cannot work here, or ""."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"{self.name}: its data come with the module `{self.needs}`: {_INSTALL}"
        return ""

    def __str__(self) -> str:
        return self.name

    def size_near(self, n: int) -> int:
        """The size in the table that is nearest to n, as a ratio."""
        return min(self.sizes, key=lambda size: abs(math.log(size / n)))

    def operations(self, n: int) -> float:
        """Estimate the operations of one evaluation."""
        factor, power = self.cost
        return factor * n**power


# Points -------------------------------------------------------------------------------------------


def _rng(n: int) -> np.random.Generator:
    return np.random.default_rng([1981, n])


def _uniform(n: int, low: float, high: float) -> Point:
    return _rng(n).uniform(low, high, n), ()


def _near(n: int, start: tuple[float, ...], spread: float) -> Point:
    """Around the problem's standard start, repeated to length n."""
    return np.resize(start, n) + spread * _rng(n).uniform(-1.0, 1.0, n), ()


def _relatively_near(n: int, start: tuple[float, ...], spread: float) -> Point:
    """Around a start whose entries have different sizes."""
    return np.resize(start, n) * (1.0 + spread * _rng(n).uniform(-1.0, 1.0, n)), ()


def _decaying(n: int, centre: float) -> Point:
    """Keep sum_i i (x_i - centre) small, so that its fourth power does not hide the rest."""
    return centre + _rng(n).uniform(-1.0, 1.0, n) / np.arange(1, n + 1), ()


# Moré, Garbow and Hillstrom -----------------------------------------------------------------------


def rosenbrock(x: Array) -> Scalar:
    """sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def rosenbrock_batched(x: Array) -> Array:
    return np.sum(100.0 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1.0 - x[:, :-1]) ** 2, axis=1)


def rosenbrock_gradient(x: Array) -> Array:
    g = np.zeros_like(x)
    t = x[1:] - x[:-1] ** 2
    g[:-1] = -400.0 * x[:-1] * t - 2.0 * (1.0 - x[:-1])
    g[1:] += 200.0 * t
    return g


def extended_rosenbrock(x: Array) -> Scalar:
    """sum over pairs (a, b) of 100 (b - a^2)^2 + (1 - a)^2."""
    a, b = x[::2], x[1::2]
    return np.sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2)


def extended_rosenbrock_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(0, x.size, 2):
        total += 100.0 * (x[i + 1] - x[i] * x[i]) ** 2 + (1.0 - x[i]) ** 2
    return total


def extended_rosenbrock_batched(x: Array) -> Array:
    a, b = x[:, ::2], x[:, 1::2]
    return np.sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2, axis=1)


def extended_rosenbrock_gradient(x: Array) -> Array:
    a, b = x[::2], x[1::2]
    g = np.empty_like(x)
    g[::2] = -400.0 * a * (b - a**2) - 2.0 * (1.0 - a)
    g[1::2] = 200.0 * (b - a**2)
    return g


def powell_singular(x: Array) -> Scalar:
    """sum over blocks (a, b, c, d) of (a + 10b)^2 + 5(c - d)^2 + (b - 2c)^4 + 10(a - d)^4."""
    a, b, c, d = x.reshape(-1, 4).T
    return np.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


def powell_singular_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(0, x.size, 4):
        total += (x[i] + 10.0 * x[i + 1]) ** 2
        total += 5.0 * (x[i + 2] - x[i + 3]) ** 2
        total += (x[i + 1] - 2.0 * x[i + 2]) ** 4
        total += 10.0 * (x[i] - x[i + 3]) ** 4
    return total


def powell_singular_batched(x: Array) -> Array:
    a, b, c, d = x[:, ::4], x[:, 1::4], x[:, 2::4], x[:, 3::4]
    blocks = (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4
    return np.sum(blocks, axis=1)


def powell_singular_gradient(x: Array) -> Array:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    g = np.empty_like(x)
    g[::4] = 2 * (a + 10 * b) + 40 * (a - d) ** 3
    g[1::4] = 20 * (a + 10 * b) + 4 * (b - 2 * c) ** 3
    g[2::4] = 10 * (c - d) - 8 * (b - 2 * c) ** 3
    g[3::4] = -10 * (c - d) - 40 * (a - d) ** 3
    return g


def wood(x: Array) -> Scalar:
    """Wood's function of four variables, summed over blocks of four."""
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return (
        np.sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2)
        + np.sum(90.0 * (d - c**2) ** 2 + (1.0 - c) ** 2)
        + np.sum(10.0 * (b + d - 2.0) ** 2 + 0.1 * (b - d) ** 2)
    )


def wood_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(0, x.size, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        total += 100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 + 90.0 * (d - c * c) ** 2
        total += (1.0 - c) ** 2 + 10.0 * (b + d - 2.0) ** 2 + 0.1 * (b - d) ** 2
    return total


def wood_batched(x: Array) -> Array:
    a, b, c, d = np.moveaxis(x.reshape(len(x), -1, 4), 2, 0)
    t = 100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2 + 90.0 * (d - c**2) ** 2 + (1.0 - c) ** 2
    return np.sum(t + 10.0 * (b + d - 2.0) ** 2 + 0.1 * (b - d) ** 2, axis=1)


def wood_gradient(x: Array) -> Array:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    g = np.empty_like(x)
    g[::4] = -400.0 * a * (b - a**2) - 2.0 * (1.0 - a)
    g[1::4] = 200.0 * (b - a**2) + 20.0 * (b + d - 2.0) + 0.2 * (b - d)
    g[2::4] = -360.0 * c * (d - c**2) - 2.0 * (1.0 - c)
    g[3::4] = 180.0 * (d - c**2) + 20.0 * (b + d - 2.0) - 0.2 * (b - d)
    return g


def beale(x: Array) -> Scalar:
    """sum over i = 1, 2, 3 of (y_i - x_1 (1 - x_2^i))^2, y = 1.5, 2.25, 2.625."""
    a, b = x
    return (1.5 - a * (1.0 - b)) ** 2 + (2.25 - a * (1.0 - b**2)) ** 2 + (2.625 - a * (1.0 - b**3)) ** 2


def beale_loop(x: Array) -> Scalar:
    total = 0.0
    power = 1.0
    for y in (1.5, 2.25, 2.625):
        power = power * x[1]
        total += (y - x[0] * (1.0 - power)) ** 2
    return total


def beale_batched(x: Array) -> Array:
    return beale(x.T)


def beale_gradient(x: Array) -> Array:
    y, i = np.array([1.5, 2.25, 2.625]), np.arange(1, 4)
    r = y - x[0] * (1.0 - x[1] ** i)
    return np.array([-2.0 * np.sum(r * (1.0 - x[1] ** i)), 2.0 * x[0] * np.sum(r * i * x[1] ** (i - 1))])


def brown_badly_scaled(x: Array) -> Scalar:
    """(x_1 - 1e6)^2 + (x_2 - 2e-6)^2 + (x_1 x_2 - 2)^2."""
    return (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2.0) ** 2


def brown_badly_scaled_loop(x: Array) -> Scalar:
    return (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2.0) ** 2


def brown_badly_scaled_batched(x: Array) -> Array:
    return brown_badly_scaled(x.T)


def brown_badly_scaled_gradient(x: Array) -> Array:
    a, b = x
    t = 2.0 * (a * b - 2.0)
    return np.array([2.0 * (a - 1e6) + t * b, 2.0 * (b - 2e-6) + t * a])


def helical_valley(x: Array) -> Scalar:
    """100 [(x_3 - 10 theta)^2 + (r - 1)^2] + x_3^2 in polar coordinates, theta in turns."""
    theta = np.arctan(x[1] / x[0]) / (2.0 * np.pi)
    if x[0] < 0:
        theta = theta + 0.5
    r = np.sqrt(x[0] ** 2 + x[1] ** 2)
    return 100.0 * ((x[2] - 10.0 * theta) ** 2 + (r - 1.0) ** 2) + x[2] ** 2


def helical_valley_loop(x: Array) -> Scalar:
    theta = math.atan(x[1] / x[0]) / (2.0 * math.pi)
    if x[0] < 0.0:
        theta += 0.5
    r = math.sqrt(x[0] * x[0] + x[1] * x[1])
    return 100.0 * ((x[2] - 10.0 * theta) ** 2 + (r - 1.0) ** 2) + x[2] ** 2


def helical_valley_gradient(x: Array) -> Array:
    theta = np.arctan(x[1] / x[0]) / (2.0 * np.pi) + (0.5 if x[0] < 0 else 0.0)
    r = np.sqrt(x[0] ** 2 + x[1] ** 2)  # also in extended precision, and at a complex point
    s, t = 200.0 * (x[2] - 10.0 * theta), 200.0 * (r - 1.0)
    a, b = x[0] / r, x[1] / r
    turn = 10.0 / (2.0 * np.pi * r)
    return np.array([s * turn * b + t * a, -s * turn * a + t * b, s + 2.0 * x[2]])


def box_3d(x: Array, t: Array) -> Scalar:
    """sum_i [exp(-t_i x_1) - exp(-t_i x_2) - x_3 (exp(-t_i) - exp(-10 t_i))]^2."""
    r = np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10.0 * t))
    return np.sum(r**2)


def box_3d_loop(x: Array, t: Array) -> Scalar:
    total = 0.0
    for i in range(t.size):
        constant = np.exp(-t[i]) - np.exp(-10.0 * t[i])
        total += (np.exp(-t[i] * x[0]) - np.exp(-t[i] * x[1]) - x[2] * constant) ** 2
    return total


def box_3d_batched(x: Array, t: Array) -> Array:
    a, b, c = x.T[:, :, None]
    r = np.exp(-t * a) - np.exp(-t * b) - c * (np.exp(-t) - np.exp(-10.0 * t))
    return np.sum(r**2, axis=1)


def box_3d_gradient(x: Array, t: Array) -> Array:
    a, b, c = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t) - np.exp(-10.0 * t)
    r = 2.0 * (a - b - x[2] * c)
    return np.array([-np.sum(r * t * a), np.sum(r * t * b), -np.sum(r * c)])


def _make_box_3d(n: int) -> Point:
    x, _ = _near(n, (0.5, 10.0, 15.0), 0.4)
    return x, (0.1 * np.arange(1, 11),)


# Moré, Garbow and Hillstrom, problem 15
_KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
_KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.16, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])


def kowalik_osborne(x: Array, u: Array, y: Array) -> Scalar:
    """sum_i [y_i - x_1 (u_i^2 + u_i x_2) / (u_i^2 + u_i x_3 + x_4)]^2: an enzyme reaction."""
    return np.sum((y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])) ** 2)


def kowalik_osborne_loop(x: Array, u: Array, y: Array) -> Scalar:
    total = 0.0
    for i in range(u.size):
        v = u[i]
        r = y[i] - x[0] * (v * v + v * x[1]) / (v * v + v * x[2] + x[3])
        total += r * r
    return total


def kowalik_osborne_batched(x: Array, u: Array, y: Array) -> Array:
    a, b, c, d = x.T[:, :, None]
    return np.sum((y - a * (u**2 + u * b) / (u**2 + u * c + d)) ** 2, axis=1)


def kowalik_osborne_gradient(x: Array, u: Array, y: Array) -> Array:
    top, bottom = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    r = 2.0 * (y - x[0] * top / bottom) / bottom
    s = r * x[0] * top / bottom
    return np.array([-np.sum(r * top), -np.sum(r * x[0] * u), np.sum(s * u), np.sum(s)])


def _make_kowalik_osborne(n: int) -> Point:
    x, _ = _relatively_near(n, (0.25, 0.39, 0.415, 0.39), 0.1)
    return x, (_KOWALIK_U.copy(), _KOWALIK_Y.copy())


def variably_dimensioned(x: Array) -> Scalar:
    """sum_i (x_i - 1)^2 + s^2 + s^4, s = sum_i i (x_i - 1)."""
    s = np.sum(np.arange(1, x.size + 1) * (x - 1.0))
    return np.sum((x - 1.0) ** 2) + s**2 + s**4


def variably_dimensioned_loop(x: Array) -> Scalar:
    total = 0.0
    s = 0.0
    for i in range(x.size):
        t = x[i] - 1.0
        total += t * t
        s += (i + 1) * t
    return total + s**2 + s**4


def variably_dimensioned_batched(x: Array) -> Array:
    s = (x - 1.0) @ np.arange(1.0, x.shape[1] + 1.0)
    return np.sum((x - 1.0) ** 2, axis=1) + s**2 + s**4


def variably_dimensioned_gradient(x: Array) -> Array:
    i = np.arange(1, x.size + 1)
    s = np.dot(i, x - 1.0)
    return 2.0 * (x - 1.0) + (2.0 * s + 4.0 * s**3) * i


def trigonometric(x: Array) -> Scalar:
    """sum_i [n - sum_j cos x_j + i (1 - cos x_i) - sin x_i]^2."""
    n = x.size
    i = np.arange(1, n + 1)
    return np.sum((n - np.sum(np.cos(x)) + i * (1.0 - np.cos(x)) - np.sin(x)) ** 2)


def trigonometric_loop(x: Array) -> Scalar:
    n = x.size
    cosines = 0.0
    for i in range(n):
        cosines += np.cos(x[i])
    total = 0.0
    for i in range(n):
        total += (n - cosines + (i + 1) * (1.0 - np.cos(x[i])) - np.sin(x[i])) ** 2
    return total


def trigonometric_batched(x: Array) -> Array:
    n = x.shape[1]
    c = np.cos(x)
    r = n - np.sum(c, axis=1, keepdims=True) + np.arange(1, n + 1) * (1.0 - c) - np.sin(x)
    return np.sum(r**2, axis=1)


def trigonometric_gradient(x: Array) -> Array:
    i = np.arange(1, x.size + 1)
    c, s = np.cos(x), np.sin(x)
    r = x.size - c.sum() + i * (1.0 - c) - s
    return 2.0 * (s * r.sum() + r * (i * s - c))


def penalty_1(x: Array) -> Scalar:
    """1e-5 sum_i (x_i - 1)^2 + (sum_i x_i^2 - 1/4)^2."""
    return 1e-5 * np.sum((x - 1.0) ** 2) + (np.sum(x**2) - 0.25) ** 2


def penalty_1_loop(x: Array) -> Scalar:
    distance = 0.0
    square = 0.0
    for v in x:
        distance += (v - 1.0) ** 2
        square += v * v
    return 1e-5 * distance + (square - 0.25) ** 2


def penalty_1_batched(x: Array) -> Array:
    distance, square = np.sum((x - 1.0) ** 2, axis=1), np.sum(x**2, axis=1)
    return 1e-5 * distance + (square - 0.25) ** 2


def penalty_1_gradient(x: Array) -> Array:
    return 2e-5 * (x - 1.0) + 4.0 * (np.sum(x**2) - 0.25) * x


def penalty_2(x: Array) -> Scalar:
    """(x_1 - 0.2)^2 + 1e-5 sum (e_i + e_{i-1} - y_i)^2 + 1e-5 sum (e_i - exp(-1/10))^2 + s^2.

    e_i = exp(x_i / 10), y_i = exp(i / 10) + exp((i-1) / 10), both sums over i = 2..n,
    s = sum_j (n-j+1) x_j^2 - 1.
    """
    n = len(x)
    i = np.arange(1, n + 1)
    e, d = np.exp(x / 10.0), np.exp(i / 10.0)
    first = np.sum((e[1:] + e[:-1] - d[1:] - d[:-1]) ** 2)
    second = np.sum((e[1:] - np.exp(-0.1)) ** 2)
    s = np.sum((n + 1 - i) * x**2) - 1.0
    return (x[0] - 0.2) ** 2 + 1e-5 * (first + second) + s**2


def penalty_2_loop(x: Array) -> Scalar:
    n = len(x)
    total = 0.0
    s = n * x[0] * x[0] - 1.0
    for i in range(1, n):
        y = np.exp((i + 1) / 10.0) + np.exp(i / 10.0)
        e = np.exp(x[i] / 10.0)
        total += (e + np.exp(x[i - 1] / 10.0) - y) ** 2
        total += (e - np.exp(-0.1)) ** 2
        s += (n - i) * x[i] * x[i]
    return (x[0] - 0.2) ** 2 + 1e-5 * total + s * s


def penalty_2_gradient(x: Array) -> Array:
    n = len(x)
    i = np.arange(1, n + 1)
    e, d = np.exp(x / 10.0), np.exp(i / 10.0)
    r = 2e-6 * (e[1:] + e[:-1] - d[1:] - d[:-1])
    g = 4.0 * (np.sum((n + 1 - i) * x**2) - 1.0) * (n + 1 - i) * x
    g[0] += 2.0 * (x[0] - 0.2)
    g[1:] += e[1:] * (r + 2e-6 * (e[1:] - np.exp(-0.1)))
    g[:-1] += e[:-1] * r
    return g


def brown_almost_linear(x: Array) -> Scalar:
    """sum_{i<n} (x_i + sum_j x_j - n - 1)^2 + (prod_j x_j - 1)^2."""
    n = len(x)
    return np.sum((x[:-1] + x.sum() - (n + 1)) ** 2) + (x.prod() - 1.0) ** 2


def brown_almost_linear_loop(x: Array) -> Scalar:
    n = x.shape[0]
    s = 0.0
    product = 1.0
    for i in range(n):
        s += x[i]
        product *= x[i]
    total = (product - 1.0) ** 2
    for i in range(n - 1):
        total += (x[i] + s - (n + 1)) ** 2
    return total


def brown_almost_linear_batched(x: Array) -> Array:
    r = x[:, :-1] + np.sum(x, axis=1, keepdims=True) - (x.shape[1] + 1)
    return np.sum(r**2, axis=1) + (np.prod(x, axis=1) - 1.0) ** 2


def brown_almost_linear_gradient(x: Array) -> Array:
    r = x[:-1] + x.sum() - (len(x) + 1)
    product = np.prod(x)
    g = 2.0 * r.sum() + 2.0 * (product - 1.0) * product / x
    g[:-1] += 2.0 * r
    return g


def _make_brown_almost_linear(n: int) -> Point:
    """Points whose product is near one, whatever n (at the standard start, 2^-n, it vanishes)."""
    return 1.0 + 0.5 * _rng(n).uniform(-1.0, 1.0, n) / math.sqrt(n), ()


def chebyquad(x: Array) -> Scalar:
    """sum_i [mean_j T_i(x_j) - integral of T_i]^2, T_i Chebyshev's polynomials on [0, 1]."""
    t = 2.0 * x - 1.0
    previous, current = np.ones_like(t), t
    total: Scalar = 0.0
    for i in range(1, x.size + 1):
        integral = -1.0 / (i * i - 1) if i % 2 == 0 else 0.0
        total = total + (np.mean(current) - integral) ** 2
        previous, current = current, 2.0 * t * current - previous
    return total


def chebyquad_loop(x: Array) -> Scalar:
    n = x.size
    means = np.zeros_like(x)
    for j in range(n):
        t = 2.0 * x[j] - 1.0
        previous = t
        current = 2.0 * t * t - 1.0
        means[0] += previous / n
        for i in range(1, n):
            means[i] += current / n
            following = 2.0 * t * current - previous
            previous = current
            current = following
    total = 0.0
    for i in range(n):
        integral = -1.0 / ((i + 1) * (i + 1) - 1) if i % 2 == 1 else 0.0
        total += (means[i] - integral) ** 2
    return total


def chebyquad_gradient(x: Array) -> Array:
    n = x.size
    t = 2.0 * x - 1.0
    previous, current = np.ones_like(t), t
    slope_previous, slope = np.zeros_like(t), np.ones_like(t)
    g = np.zeros_like(x)
    for i in range(1, n + 1):
        integral = -1.0 / (i * i - 1) if i % 2 == 0 else 0.0
        g += 2.0 * (np.mean(current) - integral) * 2.0 * slope / n
        slope_previous, slope = slope, 2.0 * current + 2.0 * t * slope - slope_previous
        previous, current = current, 2.0 * t * current - previous
    return g


def discrete_boundary_value(x: Array) -> Scalar:
    """sum_i [2 x_i - x_{i-1} - x_{i+1} + h^2 (x_i + t_i + 1)^3 / 2]^2, t_i = i h, h = 1 / (n+1)."""
    h = 1.0 / (x.size + 1)
    t = h * np.arange(1, x.size + 1)
    r = 2.0 * x + 0.5 * h**2 * (x + t + 1.0) ** 3
    r[1:] -= x[:-1]
    r[:-1] -= x[1:]
    return np.sum(r**2)


def discrete_boundary_value_loop(x: Array) -> Scalar:
    n = x.size
    h = 1.0 / (n + 1)
    total = 0.0
    for i in range(n):
        r = 2.0 * x[i] + 0.5 * h * h * (x[i] + (i + 1) * h + 1.0) ** 3
        if i > 0:
            r -= x[i - 1]
        if i < n - 1:
            r -= x[i + 1]
        total += r * r
    return total


def discrete_boundary_value_batched(x: Array) -> Array:
    n = x.shape[1]
    h = 1.0 / (n + 1)
    r = 2.0 * x + 0.5 * h**2 * (x + h * np.arange(1, n + 1) + 1.0) ** 3
    r[:, 1:] -= x[:, :-1]
    r[:, :-1] -= x[:, 1:]
    return np.sum(r**2, axis=1)


def discrete_boundary_value_gradient(x: Array) -> Array:
    h = 1.0 / (x.size + 1)
    s = x + h * np.arange(1, x.size + 1) + 1.0
    r = 2.0 * x + 0.5 * h**2 * s**3
    r[1:] -= x[:-1]
    r[:-1] -= x[1:]
    g = r * (2.0 + 1.5 * h**2 * s**2)
    g[1:] -= r[:-1]
    g[:-1] -= r[1:]
    return 2.0 * g


def discrete_integral_equation(x: Array) -> Scalar:
    """sum_i [x_i + h/2 ((1-t_i) sum_{j<=i} t_j c_j + t_i sum_{j>i} (1-t_j) c_j)]^2.

    c_j = (x_j + t_j + 1)^3, t_j = j h, h = 1 / (n+1).
    """
    n = len(x)
    h = 1.0 / (n + 1)
    t = np.arange(1, n + 1) * h
    c = (x + t + 1.0) ** 3
    left = np.cumsum(t * c)
    right = np.sum((1.0 - t) * c) - np.cumsum((1.0 - t) * c)
    return np.sum((x + 0.5 * h * ((1.0 - t) * left + t * right)) ** 2)


def discrete_integral_equation_loop(x: Array) -> Scalar:
    n = len(x)
    h = 1.0 / (n + 1)
    right = 0.0
    for j in range(n):
        t = (j + 1) * h
        right += (1.0 - t) * (x[j] + t + 1.0) ** 3
    left = 0.0
    total = 0.0
    for i in range(n):
        t = (i + 1) * h
        c = (x[i] + t + 1.0) ** 3
        left += t * c
        right -= (1.0 - t) * c
        total += (x[i] + 0.5 * h * ((1.0 - t) * left + t * right)) ** 2
    return total


def discrete_integral_equation_gradient(x: Array) -> Array:
    n = len(x)
    h = 1.0 / (n + 1)
    t = np.arange(1, n + 1) * h
    c = (x + t + 1.0) ** 3
    left = np.cumsum(t * c)
    right = np.sum((1.0 - t) * c) - np.cumsum((1.0 - t) * c)
    r = x + 0.5 * h * ((1.0 - t) * left + t * right)
    below = np.cumsum(t * r) - t * r
    above = np.cumsum(((1.0 - t) * r)[::-1])[::-1]
    return 2.0 * r + 3.0 * h * (x + t + 1.0) ** 2 * (t * above + (1.0 - t) * below)


def broyden_tridiagonal(x: Array) -> Scalar:
    """sum_i [(3 - 2 x_i) x_i - x_{i-1} - 2 x_{i+1} + 1]^2, x_0 = x_{n+1} = 0."""
    p = np.concatenate([[0.0], x, [0.0]])
    return np.sum(((3.0 - 2.0 * x) * x - p[:-2] - 2.0 * p[2:] + 1.0) ** 2)


def broyden_tridiagonal_loop(x: Array) -> Scalar:
    n = x.size
    total = 0.0
    for i in range(n):
        r = (3.0 - 2.0 * x[i]) * x[i] + 1.0
        if i > 0:
            r -= x[i - 1]
        if i < n - 1:
            r -= 2.0 * x[i + 1]
        total += r**2
    return total


def broyden_tridiagonal_batched(x: Array) -> Array:
    p = np.pad(x, ((0, 0), (1, 1)))
    return np.sum(((3.0 - 2.0 * x) * x - p[:, :-2] - 2.0 * p[:, 2:] + 1.0) ** 2, axis=1)


def broyden_tridiagonal_gradient(x: Array) -> Array:
    p = np.pad(x, 1)
    r = (3.0 - 2.0 * x) * x - p[:-2] - 2.0 * p[2:] + 1.0
    g = r * (3.0 - 4.0 * x)
    g[:-1] -= r[1:]
    g[1:] -= 2.0 * r[:-1]
    return 2.0 * g


def broyden_banded(x: Array) -> Scalar:
    """sum_i [x_i (2 + 5 x_i^2) + 1 - sum_j x_j (1 + x_j)]^2, j from i-5 to i+1 without i."""
    n = len(x)
    t = np.pad(x * (1.0 + x), (5, 1))
    band = t[:n] + t[1 : n + 1] + t[2 : n + 2] + t[3 : n + 3] + t[4 : n + 4] + t[6 : n + 6]
    return np.sum((x * (2.0 + 5.0 * x**2) + 1.0 - band) ** 2)


def broyden_banded_loop(x: Array) -> Scalar:
    n = len(x)
    total = 0.0
    for i in range(n):
        r = x[i] * (2.0 + 5.0 * x[i] * x[i]) + 1.0
        for j in range(max(0, i - 5), min(n, i + 2)):
            if j != i:
                r -= x[j] * (1.0 + x[j])
        total += r * r
    return total


def broyden_banded_gradient(x: Array) -> Array:
    n = len(x)
    t = np.pad(x * (1.0 + x), (5, 1))
    r = x * (2.0 + 5.0 * x**2) + 1.0 - sum(t[k : k + n] for k in (0, 1, 2, 3, 4, 6))
    p = np.pad(r, (1, 5))
    rows = sum(p[k : k + n] for k in (0, 2, 3, 4, 5, 6))
    return 2.0 * (r * (2.0 + 15.0 * x**2) - (1.0 + 2.0 * x) * rows)


# Lukšan and Vlček: chained functions --------------------------------------------------------------


def chained_powell(x: Array) -> Scalar:
    """Powell's singular function of (x_i, .., x_{i+3}), summed over i = 1, 3, 5, .., n-3."""
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    return np.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


def chained_powell_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(0, x.size - 3, 2):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        total += (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4
    return total


def chained_powell_batched(x: Array) -> Array:
    a, b, c, d = x[:, :-3:2], x[:, 1:-2:2], x[:, 2:-1:2], x[:, 3::2]
    blocks = (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4
    return np.sum(blocks, axis=1)


def chained_powell_gradient(x: Array) -> Array:
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    g = np.zeros_like(x)
    g[:-3:2] += 2 * (a + 10 * b) + 40 * (a - d) ** 3
    g[1:-2:2] += 20 * (a + 10 * b) + 4 * (b - 2 * c) ** 3
    g[2:-1:2] += 10 * (c - d) - 8 * (b - 2 * c) ** 3
    g[3::2] += -10 * (c - d) - 40 * (a - d) ** 3
    return g


def chained_cragg_levy(x: Array) -> Scalar:
    """sum of (exp(a) - b)^4 + 100 (b - c)^6 + tan(c - d)^4 + a^8 + (d - 1)^2.

    Over (a, b, c, d) = (x_i, .., x_{i+3}), i = 1, 3, 5, .., n-3.
    """
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    t = (np.exp(a) - b) ** 4 + 100.0 * (b - c) ** 6 + np.tan(c - d) ** 4 + a**8 + (d - 1.0) ** 2
    return np.sum(t)


def chained_cragg_levy_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(0, x.size - 3, 2):
        total += (np.exp(x[i]) - x[i + 1]) ** 4 + 100.0 * (x[i + 1] - x[i + 2]) ** 6
        total += np.tan(x[i + 2] - x[i + 3]) ** 4 + x[i] ** 8 + (x[i + 3] - 1.0) ** 2
    return total


def chained_cragg_levy_gradient(x: Array) -> Array:
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    p, q, t = 4.0 * (np.exp(a) - b) ** 3, 600.0 * (b - c) ** 5, np.tan(c - d)
    s = 4.0 * t**3 * (1.0 + t**2)
    g = np.zeros_like(x)
    g[:-3:2] += p * np.exp(a) + 8.0 * a**7
    g[1:-2:2] += q - p
    g[2:-1:2] += s - q
    g[3::2] += 2.0 * (d - 1.0) - s
    return g


def generalized_broyden(x: Array) -> Scalar:
    """sum_i |(3 - 2 x_i) x_i - x_{i-1} - x_{i+1} + 1|^(7/3), x_0 = x_{n+1} = 0."""
    p = np.pad(x, 1)
    return np.sum(np.abs((3.0 - 2.0 * x) * x - p[:-2] - p[2:] + 1.0) ** (7.0 / 3.0))


def generalized_broyden_loop(x: Array) -> Scalar:
    n = x.size
    total = 0.0
    for i in range(n):
        left = x[i - 1] if i > 0 else 0.0
        right = x[i + 1] if i + 1 < n else 0.0
        total += abs((3.0 - 2.0 * x[i]) * x[i] - left - right + 1.0) ** (7.0 / 3.0)
    return total


def generalized_broyden_gradient(x: Array) -> Array:
    p = np.pad(x, 1)
    r = (3.0 - 2.0 * x) * x - p[:-2] - p[2:] + 1.0
    d = 7.0 / 3.0 * np.sign(r) * np.abs(r) ** (4.0 / 3.0)
    g = d * (3.0 - 4.0 * x)
    g[:-1] -= d[1:]
    g[1:] -= d[:-1]
    return g


def _make_generalized_broyden(n: int) -> Point:
    """The third derivative is infinite where a residual is zero: these lie in [-5.3, -1.4]."""
    return _rng(n).uniform(-1.3, -1.0, n), ()


def generalized_brown(x: Array) -> Scalar:
    """sum_i (x_{i-1}^2)^(x_i^2 + 1) + (x_i^2)^(x_{i-1}^2 + 1)."""
    s = x**2
    return np.sum(s[:-1] ** (s[1:] + 1.0) + s[1:] ** (s[:-1] + 1.0))


def generalized_brown_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(1, x.size):
        a, b = x[i - 1] ** 2, x[i] ** 2
        total += a ** (b + 1.0) + b ** (a + 1.0)
    return total


def generalized_brown_batched(x: Array) -> Array:
    s = x**2
    return np.sum(s[:, :-1] ** (s[:, 1:] + 1.0) + s[:, 1:] ** (s[:, :-1] + 1.0), axis=1)


def generalized_brown_gradient(x: Array) -> Array:
    s = x**2
    a, b = s[:-1], s[1:]
    g = np.zeros_like(x)
    g[:-1] += (b + 1.0) * a**b + b ** (a + 1.0) * np.log(b)
    g[1:] += (a + 1.0) * b**a + a ** (b + 1.0) * np.log(a)
    return 2.0 * x * g


# Global optimization ------------------------------------------------------------------------------


def ackley(x: Array) -> Scalar:
    """-20 exp(-0.2 sqrt(mean x^2)) - exp(mean cos(2 pi x)) + 20 + e."""
    radius = np.sqrt(np.mean(x**2))
    return -20.0 * np.exp(-0.2 * radius) - np.exp(np.mean(np.cos(2.0 * np.pi * x))) + 20.0 + np.e


def ackley_loop(x: Array) -> Scalar:
    square = 0.0
    cosine = 0.0
    for v in x:
        square += v * v
        cosine += np.cos(2.0 * np.pi * v)
    n = x.size
    return -20.0 * np.exp(-0.2 * np.sqrt(square / n)) - np.exp(cosine / n) + 20.0 + np.e


def ackley_batched(x: Array) -> Array:
    radius = np.sqrt(np.mean(x**2, axis=1))
    wave = np.mean(np.cos(2.0 * np.pi * x), axis=1)
    return -20.0 * np.exp(-0.2 * radius) - np.exp(wave) + 20.0 + np.e


def ackley_gradient(x: Array) -> Array:
    n = x.size
    radius = np.sqrt(np.mean(x**2))
    wave = np.exp(np.mean(np.cos(2.0 * np.pi * x))) * np.sin(2.0 * np.pi * x)
    return 4.0 * np.exp(-0.2 * radius) * x / (n * radius) + 2.0 * np.pi * wave / n


def rastrigin(x: Array) -> Scalar:
    """10 n + sum_i x_i^2 - 10 cos(2 pi x_i)."""
    return 10.0 * len(x) + np.sum(x**2 - 10.0 * np.cos(2.0 * np.pi * x))


def rastrigin_loop(x: Array) -> Scalar:
    total = 10.0 * len(x)
    for i in range(len(x)):
        total += x[i] ** 2 - 10.0 * np.cos(2.0 * np.pi * x[i])
    return total


def rastrigin_batched(x: Array) -> Array:
    t = np.sum(x**2 - 10.0 * np.cos(2.0 * np.pi * x), axis=1)
    return 10.0 * x.shape[1] + t


def rastrigin_gradient(x: Array) -> Array:
    return 2.0 * x + 20.0 * np.pi * np.sin(2.0 * np.pi * x)


def griewank(x: Array) -> Scalar:
    """1 + sum_i x_i^2 / 4000 - prod_i cos(x_i / sqrt(i))."""
    i = np.arange(1, x.size + 1)
    return 1.0 + np.sum(x**2) / 4000.0 - np.prod(np.cos(x / np.sqrt(i)))


def griewank_loop(x: Array) -> Scalar:
    square = 0.0
    product = 1.0
    for i in range(x.size):
        square += x[i] * x[i]
        product *= np.cos(x[i] / math.sqrt(i + 1.0))
    return 1.0 + square / 4000.0 - product


def griewank_batched(x: Array) -> Array:
    root = np.sqrt(np.arange(1, x.shape[1] + 1))
    product = np.prod(np.cos(x / root), axis=1)
    return 1.0 + np.sum(x**2, axis=1) / 4000.0 - product


def griewank_gradient(x: Array) -> Array:
    root = np.sqrt(np.arange(1, x.size + 1))
    return x / 2000.0 + np.prod(np.cos(x / root)) * np.tan(x / root) / root


def styblinski_tang(x: Array) -> Scalar:
    """1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i."""
    return np.sum(x**4 - 16.0 * x**2 + 5.0 * x) / 2.0


def styblinski_tang_loop(x: Array) -> Scalar:
    total = 0.0
    for i in range(x.shape[0]):
        square = x[i] * x[i]
        total += square * square - 16.0 * square + 5.0 * x[i]
    return total / 2.0


def styblinski_tang_batched(x: Array) -> Array:
    return np.sum(x**4 - 16.0 * x**2 + 5.0 * x, axis=1) / 2.0


def styblinski_tang_gradient(x: Array) -> Array:
    return 2.0 * x**3 - 16.0 * x + 2.5


def levy(x: Array) -> Scalar:
    """sin^2(pi w_1) + sum_{i<n} (w_i-1)^2 (1 + 10 sin^2(pi w_i + 1)) + last, w = 1 + (x-1)/4.

    last = (w_n - 1)^2 (1 + sin^2(2 pi w_n)).
    """
    w = 1.0 + (x - 1.0) / 4.0
    middle = (w[:-1] - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * w[:-1] + 1.0) ** 2)
    last = (w[-1] - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * w[-1]) ** 2)
    return np.sin(np.pi * w[0]) ** 2 + np.sum(middle) + last


def levy_loop(x: Array) -> Scalar:
    n = x.size
    total = np.sin(np.pi * (1.0 + (x[0] - 1.0) / 4.0)) ** 2
    for i in range(n - 1):
        w = 1.0 + (x[i] - 1.0) / 4.0
        total += (w - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * w + 1.0) ** 2)
    w = 1.0 + (x[n - 1] - 1.0) / 4.0
    return total + (w - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * w) ** 2)


def levy_batched(x: Array) -> Array:
    w = 1.0 + (x - 1.0) / 4.0
    v, last = w[:, :-1], w[:, -1]
    middle = np.sum((v - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * v + 1.0) ** 2), axis=1)
    end = (last - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * last) ** 2)
    return np.sin(np.pi * w[:, 0]) ** 2 + middle + end


def levy_gradient(x: Array) -> Array:
    w = 1.0 + (x - 1.0) / 4.0
    v, last = w[:-1], w[-1]
    g = np.zeros_like(x)
    g[:-1] = 2.0 * (v - 1.0) * (1.0 + 10.0 * np.sin(np.pi * v + 1.0) ** 2)
    g[:-1] += (v - 1.0) ** 2 * 10.0 * np.pi * np.sin(2.0 * (np.pi * v + 1.0))
    g[-1] = 2.0 * (last - 1.0) * (1.0 + np.sin(2.0 * np.pi * last) ** 2)
    g[-1] += (last - 1.0) ** 2 * 2.0 * np.pi * np.sin(4.0 * np.pi * last)
    g[0] += np.pi * np.sin(2.0 * np.pi * w[0])
    return g / 4.0


def dixon_price(x: Array) -> Scalar:
    """(x_1 - 1)^2 + sum_{i>=2} i (2 x_i^2 - x_{i-1})^2."""
    i = np.arange(2, x.size + 1)
    return (x[0] - 1.0) ** 2 + np.sum(i * (2.0 * x[1:] ** 2 - x[:-1]) ** 2)


def dixon_price_loop(x: Array) -> Scalar:
    total = (x[0] - 1.0) ** 2
    for i in range(1, x.size):
        total += (i + 1) * (2.0 * x[i] ** 2 - x[i - 1]) ** 2
    return total


def dixon_price_batched(x: Array) -> Array:
    i = np.arange(2, x.shape[1] + 1)
    chain = np.sum(i * (2.0 * x[:, 1:] ** 2 - x[:, :-1]) ** 2, axis=1)
    return (x[:, 0] - 1.0) ** 2 + chain


def dixon_price_gradient(x: Array) -> Array:
    i = np.arange(2, x.size + 1)
    r = 2.0 * i * (2.0 * x[1:] ** 2 - x[:-1])
    g = np.zeros_like(x)
    g[0] = 2.0 * (x[0] - 1.0)
    g[1:] = 4.0 * r * x[1:]
    g[:-1] -= r
    return g


def zakharov(x: Array) -> Scalar:
    """sum_i x_i^2 + s^2 + s^4, s = sum_i i x_i / 2."""
    s = np.dot(0.5 * np.arange(1, x.size + 1), x)
    return np.sum(x**2) + s**2 + s**4


def zakharov_loop(x: Array) -> Scalar:
    square = 0.0
    s = 0.0
    for i in range(x.size):
        square += x[i] * x[i]
        s += 0.5 * (i + 1) * x[i]
    return square + s * s + s**4


def zakharov_batched(x: Array) -> Array:
    s = x @ (0.5 * np.arange(1, x.shape[1] + 1))
    return np.sum(x**2, axis=1) + s**2 + s**4


def zakharov_gradient(x: Array) -> Array:
    i = 0.5 * np.arange(1, x.size + 1)
    s = np.sum(i * x)
    return 2.0 * x + (2.0 * s + 4.0 * s**3) * i


# Physics and images -------------------------------------------------------------------------------


def lennard_jones(x: Array) -> Scalar:
    """4 sum over pairs of r^-12 - r^-6; x holds the atoms' coordinates, three for each."""
    atoms = x.reshape(-1, 3)
    i, j = np.triu_indices(len(atoms), 1)
    s = 1.0 / np.sum((atoms[i] - atoms[j]) ** 2, axis=1) ** 3
    return 4.0 * np.sum(s**2 - s)


def lennard_jones_loop(x: Array) -> Scalar:
    n = x.size // 3
    total = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            dx = x[3 * i] - x[3 * j]
            dy = x[3 * i + 1] - x[3 * j + 1]
            dz = x[3 * i + 2] - x[3 * j + 2]
            r2 = dx * dx + dy * dy + dz * dz
            s = 1.0 / (r2 * r2 * r2)
            total += s * s - s
    return 4.0 * total


def lennard_jones_batched(x: Array) -> Array:
    atoms = x.reshape(len(x), -1, 3)
    i, j = np.triu_indices(atoms.shape[1], 1)
    s = 1.0 / np.sum((atoms[:, i] - atoms[:, j]) ** 2, axis=2) ** 3
    return 4.0 * np.sum(s**2 - s, axis=1)


def lennard_jones_gradient(x: Array) -> Array:
    atoms = x.reshape(-1, 3)
    d = atoms[:, None] - atoms[None, :]
    r2 = np.sum(d**2, axis=2)
    np.fill_diagonal(r2, np.inf)
    weight = -48.0 / r2**7 + 24.0 / r2**4
    return np.sum(weight[:, :, None] * d, axis=1).ravel()


def _make_lennard_jones(n: int) -> Point:
    """Atoms of a face-centred cubic crystal nearest to a point inside it, shaken by 4 %."""
    atoms = n // 3
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    crystal = grid[grid.sum(axis=1) % 2 == 0] * (1.12 / math.sqrt(2.0))
    order = np.argsort(np.sum((crystal - [0.1, 0.07, 0.03]) ** 2, axis=1), kind="stable")
    return (crystal[order[:atoms]] + 0.04 * _rng(n).normal(size=(atoms, 3))).ravel(), ()


def _make_grid(n: int) -> Point:
    side = math.isqrt(n)
    return _rng(n).uniform(-0.9, 1.1, (side, side)), ()


def ginzburg_landau(u: Array) -> Scalar:
    """1/2 sum over grid edges of (difference)^2 + h^2/4 sum (u^2 - 1)^2; u = 0 around the grid."""
    h = 1.0 / (u.shape[0] + 1)
    p = np.pad(u, 1)
    edges = np.sum((p[1:, :] - p[:-1, :]) ** 2) + np.sum((p[:, 1:] - p[:, :-1]) ** 2)
    return 0.5 * edges + 0.25 * h**2 * np.sum((u**2 - 1.0) ** 2)


def ginzburg_landau_loop(u: Array) -> Scalar:
    rows, columns = u.shape
    h = 1.0 / (rows + 1)
    edges = 0.0
    well = 0.0
    for i in range(rows):
        for j in range(columns):
            v = u[i, j]
            above = u[i - 1, j] if i > 0 else 0.0
            left = u[i, j - 1] if j > 0 else 0.0
            edges += (v - above) ** 2 + (v - left) ** 2
            if i == rows - 1:
                edges += v * v
            if j == columns - 1:
                edges += v * v
            well += (v * v - 1.0) ** 2
    return 0.5 * edges + 0.25 * h * h * well


def ginzburg_landau_batched(u: Array) -> Array:
    h = 1.0 / (u.shape[1] + 1)
    p = np.pad(u, ((0, 0), (1, 1), (1, 1)))
    edges = np.sum((p[:, 1:] - p[:, :-1]) ** 2, axis=(1, 2))
    edges = edges + np.sum((p[:, :, 1:] - p[:, :, :-1]) ** 2, axis=(1, 2))
    return 0.5 * edges + 0.25 * h**2 * np.sum((u**2 - 1.0) ** 2, axis=(1, 2))


def ginzburg_landau_gradient(u: Array) -> Array:
    h = 1.0 / (u.shape[0] + 1)
    p = np.pad(u, 1)
    neighbours = p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2]
    return 4.0 * u - neighbours + h**2 * u * (u**2 - 1.0)


def minimal_surface(u: Array, border: Array) -> Scalar:
    """Area over the unit square of the surface with heights u inside and `border` around.

    Each cell of side h counts h^2 sqrt(1 + (a^2 + b^2) / (2 h^2)), a and b the differences along
    its diagonals.
    """
    h = 1.0 / (u.shape[0] + 1)
    z = np.pad(u, 1) + border
    a = z[1:, 1:] - z[:-1, :-1]
    b = z[1:, :-1] - z[:-1, 1:]
    return h**2 * np.sum(np.sqrt(1.0 + (a**2 + b**2) / (2.0 * h**2)))


def _height_at(u: Array, border: Array, i: int, j: int) -> Scalar:
    if 0 < i <= u.shape[0] and 0 < j <= u.shape[1]:
        return u[i - 1, j - 1]
    return border[i, j]


_height = _compiled(_height_at)  # a jitted function that takes x, called by another


def minimal_surface_loop(u: Array, border: Array) -> Scalar:
    h = 1.0 / (u.shape[0] + 1)
    total = 0.0
    for i in range(u.shape[0] + 1):
        for j in range(u.shape[1] + 1):
            a = _height(u, border, i + 1, j + 1) - _height(u, border, i, j)
            b = _height(u, border, i + 1, j) - _height(u, border, i, j + 1)
            total += np.sqrt(1.0 + (a * a + b * b) / (2.0 * h * h))
    return h * h * total


def minimal_surface_gradient(u: Array, border: Array) -> Array:
    h = 1.0 / (u.shape[0] + 1)
    z = np.pad(u, 1) + border
    a = z[1:, 1:] - z[:-1, :-1]
    b = z[1:, :-1] - z[:-1, 1:]
    weight = 0.5 / np.sqrt(1.0 + (a**2 + b**2) / (2.0 * h**2))
    g = np.zeros_like(z)
    g[1:, 1:] += weight * a
    g[:-1, :-1] -= weight * a
    g[1:, :-1] += weight * b
    g[:-1, 1:] -= weight * b
    return g[1:-1, 1:-1].copy()


def _make_minimal_surface(n: int) -> Point:
    u, _ = _make_grid(n)
    side = u.shape[0]
    border = _rng(n + 1).uniform(-0.5, 0.5, (side + 2, side + 2))
    border[1:-1, 1:-1] = 0.0
    return 0.5 * u, (border,)


def total_variation(x: Array, y: Array, weight: float) -> Scalar:
    """1/2 |x - y|^2 + weight sum_i sqrt((x_{i+1} - x_i)^2 + 0.01^2): denoising a signal."""
    return 0.5 * np.sum((x - y) ** 2) + weight * np.sum(np.sqrt(np.diff(x) ** 2 + 1e-4))


def total_variation_loop(x: Array, y: Array, weight: float) -> Scalar:
    fidelity = (x[0] - y[0]) ** 2
    variation = 0.0
    for i in range(1, x.size):
        fidelity += (x[i] - y[i]) ** 2
        variation += np.sqrt((x[i] - x[i - 1]) ** 2 + 1e-4)
    return 0.5 * fidelity + weight * variation


def total_variation_batched(x: Array, y: Array, weight: float) -> Array:
    variation = np.sum(np.sqrt(np.diff(x, axis=1) ** 2 + 1e-4), axis=1)
    return 0.5 * np.sum((x - y) ** 2, axis=1) + weight * variation


def total_variation_gradient(x: Array, y: Array, weight: float) -> Array:
    d = np.diff(x)
    slope = weight * d / np.sqrt(d**2 + 1e-4)
    g = x - y
    g[1:] += slope
    g[:-1] -= slope
    return g


def _make_total_variation(n: int) -> Point:
    rng = _rng(n)
    y = np.sign(np.sin(0.37 * np.arange(n) + 0.2)) + 0.2 * rng.normal(size=n)
    return y + 0.2 * rng.normal(size=n), (y, 0.53)


# Linear algebra -----------------------------------------------------------------------------------


def quadratic_form(x: Array, a: Array, b: Array) -> Scalar:
    """1/2 x'Ax - b'x, A dense."""
    return 0.5 * x @ a @ x - b @ x


def quadratic_form_loop(x: Array, a: Array, b: Array) -> Scalar:
    total = 0.0
    for i in range(x.size):
        row = 0.0
        for j in range(x.size):
            row += a[i, j] * x[j]
        total += x[i] * (0.5 * row - b[i])
    return total


def quadratic_form_batched(x: Array, a: Array, b: Array) -> Array:
    return 0.5 * np.sum((x @ a) * x, axis=1) - x @ b


def quadratic_form_gradient(x: Array, a: Array, b: Array) -> Array:
    return 0.5 * (a @ x + x @ a) - b


def _make_quadratic_form(n: int) -> Point:
    rng = _rng(n)
    root = rng.normal(size=(n, n)) / math.sqrt(n)
    a = root @ root.T + np.eye(n)
    return rng.normal(size=n), (np.ascontiguousarray(0.5 * (a + a.T)), rng.normal(size=n))


def rayleigh_quotient(x: Array, a: Array) -> Scalar:
    """x'Ax / x'x."""
    return np.dot(x, np.dot(a, x)) / np.dot(x, x)


def rayleigh_quotient_loop(x: Array, a: Array) -> Scalar:
    top = 0.0
    bottom = 0.0
    for i in range(x.size):
        row = 0.0
        for j in range(x.size):
            row += a[i, j] * x[j]
        top += x[i] * row
        bottom += x[i] * x[i]
    return top / bottom


def rayleigh_quotient_batched(x: Array, a: Array) -> Array:
    return np.sum((x @ a) * x, axis=1) / np.sum(x**2, axis=1)


def rayleigh_quotient_gradient(x: Array, a: Array) -> Array:
    square = x @ x
    return (a @ x + x @ a - 2.0 * (x @ a @ x / square) * x) / square


def _make_rayleigh_quotient(n: int) -> Point:
    x, (a, _) = _make_quadratic_form(n)
    return x, (a,)


def log_sum_exp(x: Array, a: Array, b: Array) -> Scalar:
    """log sum_i exp(a_i'x + b_i), computed without overflow."""
    z = a @ x + b
    top = np.max(z)
    return top + np.log(np.sum(np.exp(z - top)))


def log_sum_exp_loop(x: Array, a: Array, b: Array) -> Scalar:
    top = -np.inf
    total = 0.0
    for i in range(b.size):
        z = b[i]
        for j in range(x.size):
            z += a[i, j] * x[j]
        if z > top:
            total = total * np.exp(top - z) + 1.0
            top = z
        else:
            total += np.exp(z - top)
    return top + np.log(total)


def log_sum_exp_batched(x: Array, a: Array, b: Array) -> Array:
    z = x @ a.T + b
    top = np.max(z, axis=1)
    return top + np.log(np.sum(np.exp(z - top[:, None]), axis=1))


def log_sum_exp_gradient(x: Array, a: Array, b: Array) -> Array:
    z = a @ x + b
    p = np.exp(z - np.max(z))
    return p @ a / p.sum()


def _make_log_sum_exp(n: int) -> Point:
    rng = _rng(n)
    return rng.normal(size=n), (rng.normal(size=(50, n)) / math.sqrt(n), rng.normal(size=50))


def matrix_factorization(x: Array, a: Array) -> Scalar:
    """1/4 |A - XX'|^2 (Frobenius), A symmetric."""
    return 0.25 * np.sum((a - x @ x.T) ** 2)


def matrix_factorization_loop(x: Array, a: Array) -> Scalar:
    rows, rank = x.shape
    total = 0.0
    for i in range(rows):
        for j in range(rows):
            r = a[i, j]
            for k in range(rank):
                r -= x[i, k] * x[j, k]
            total += r * r
    return 0.25 * total


def matrix_factorization_batched(x: Array, a: Array) -> Array:
    return 0.25 * np.sum((a - x @ x.transpose(0, 2, 1)) ** 2, axis=(1, 2))


def matrix_factorization_gradient(x: Array, a: Array) -> Array:
    return (x @ x.T - a) @ x


def _make_matrix_factorization(n: int) -> Point:
    rng = _rng(n)
    rank = {2: 1, 10: 2, 100: 4, 1000: 8}[n]
    a = rng.normal(size=(n // rank, n // rank))
    return rng.normal(size=(n // rank, rank)), (0.5 * (a + a.T),)


# Regression and classification on made data: kinks ------------------------------------------------


def huber(x: Array, a: Array, b: Array, delta: float) -> Scalar:
    """Sum over r = Ax - b of r^2/2 where |r| <= delta, else delta (|r| - delta/2)."""
    r = np.abs(a @ x - b)
    return np.sum(np.where(r <= delta, 0.5 * r**2, delta * (r - 0.5 * delta)))


def huber_loop(x: Array, a: Array, b: Array, delta: float) -> Scalar:
    total = 0.0
    for i in range(b.size):
        r = -b[i]
        for j in range(x.size):
            r += a[i, j] * x[j]
        r = abs(r)
        if r <= delta:
            total += 0.5 * r * r
        else:
            total += delta * (r - 0.5 * delta)
    return total


def huber_batched(x: Array, a: Array, b: Array, delta: float) -> Array:
    r = np.abs(x @ a.T - b)
    return np.sum(np.where(r <= delta, 0.5 * r**2, delta * (r - 0.5 * delta)), axis=1)


def huber_gradient(x: Array, a: Array, b: Array, delta: float) -> Array:
    return np.clip(a @ x - b, -delta, delta) @ a


def _make_huber(n: int) -> Point:
    """Residuals are chosen first, none within 0.2 delta of a kink; b follows from them."""
    rng = _rng(n)
    delta, rows = 0.71, 50
    a, x = rng.normal(size=(rows, n)) / math.sqrt(n), rng.normal(size=n)
    size = np.where(np.arange(rows) % 2 == 0, rng.uniform(0.1, 0.8, rows), rng.uniform(1.2, 3, rows))
    return x, (a, a @ x - delta * size * rng.choice([-1.0, 1.0], rows), delta)


def hinge(x: Array, a: Array, y: Array, penalty: float) -> Scalar:
    """penalty/2 |x|^2 + mean of max(0, 1 - y_i a_i'x): the linear support vector machine."""
    return 0.5 * penalty * np.sum(x**2) + np.mean(np.maximum(0.0, 1.0 - y * (a @ x)))


def hinge_loop(x: Array, a: Array, y: Array, penalty: float) -> Scalar:
    loss = 0.0
    for i in range(y.size):
        margin = 0.0
        for j in range(x.size):
            margin += a[i, j] * x[j]
        loss += max(0.0, 1.0 - y[i] * margin)
    square = 0.0
    for j in range(x.size):
        square += x[j] * x[j]
    return 0.5 * penalty * square + loss / y.size


def hinge_batched(x: Array, a: Array, y: Array, penalty: float) -> Array:
    loss = np.mean(np.maximum(0.0, 1.0 - y * (x @ a.T)), axis=1)
    return 0.5 * penalty * np.sum(x**2, axis=1) + loss


def hinge_gradient(x: Array, a: Array, y: Array, penalty: float) -> Array:
    active = y * (a @ x) < 1.0
    return penalty * x - (active * y) @ a / y.size


def _make_hinge(n: int) -> Point:
    """Rows whose margin lies within 0.05 of the kink are scaled away from it."""
    rng = _rng(n)
    a, x = rng.normal(size=(50, n)) / math.sqrt(n), 1.5 * rng.normal(size=n)
    y = rng.choice([-1.0, 1.0], 50)
    a[np.abs(1.0 - y * (a @ x)) < 0.05] *= 1.2
    return x, (a, y, 0.013)


def leaky_relu(x: Array, a: Array, y: Array) -> Scalar:
    """Mean squared error of a network with one hidden layer, y ~ v'leaky(a W), slope 0.01.

    x holds W (one column for each hidden unit), then v.
    """
    inputs = a.shape[1]
    hidden = x.size // (inputs + 1)
    w = x[: inputs * hidden].reshape(inputs, hidden)
    v = x[inputs * hidden :]
    z = a @ w
    return np.mean((np.where(z > 0.0, z, 0.01 * z) @ v - y) ** 2)


def leaky_relu_loop(x: Array, a: Array, y: Array) -> Scalar:
    inputs = a.shape[1]
    hidden = x.size // (inputs + 1)
    total = 0.0
    for i in range(y.size):
        r = -y[i]
        for k in range(hidden):
            z = 0.0
            for j in range(inputs):
                z += a[i, j] * x[j * hidden + k]
            if z <= 0.0:
                z = 0.01 * z
            r += z * x[inputs * hidden + k]
        total += r * r
    return total / y.size


def leaky_relu_gradient(x: Array, a: Array, y: Array) -> Array:
    inputs = a.shape[1]
    hidden = x.size // (inputs + 1)
    w, v = x[: inputs * hidden].reshape(inputs, hidden), x[inputs * hidden :]
    z = a @ w
    slope = np.where(z > 0.0, 1.0, 0.01)
    r = 2.0 * ((slope * z) @ v - y) / y.size
    return np.concatenate([(a.T @ (r[:, None] * slope * v)).ravel(), r @ (slope * z)])


def _make_leaky_relu(n: int) -> Point:
    """Hidden units are drawn again until none is within 0.02 of the kink for any sample."""
    rng = _rng(n)
    samples, inputs = 20, 4
    hidden = n // (inputs + 1)
    a = rng.normal(size=(samples, inputs))
    columns: list[Array] = []
    while len(columns) < hidden:
        column = rng.normal(size=inputs)
        if np.min(np.abs(a @ column)) > 0.02:
            columns.append(column)
    v = rng.normal(size=hidden) / math.sqrt(hidden)
    return np.concatenate([np.stack(columns, axis=1).ravel(), v]), (a, rng.normal(size=samples))


# Real data: NIST ----------------------------------------------------------------------------------

_MISRA_X = np.array(
    [
        77.6,
        114.9,
        141.1,
        190.8,
        239.9,
        289.0,
        332.8,
        378.4,
        434.8,
        477.3,
        536.8,
        593.1,
        689.1,
        760.0,
    ]
)
_MISRA_Y = np.array(
    [
        10.07,
        14.73,
        17.94,
        23.93,
        29.61,
        35.18,
        40.02,
        44.82,
        50.76,
        55.05,
        61.01,
        66.4,
        75.47,
        81.78,
    ]
)


def misra1a(b: Array, x: Array, y: Array) -> Scalar:
    """sum_i [y_i - b_1 (1 - exp(-b_2 x_i))]^2: dental research, monomolecular adsorption."""
    return np.sum((y - b[0] * (1.0 - np.exp(-b[1] * x))) ** 2)


def misra1a_loop(b: Array, x: Array, y: Array) -> Scalar:
    total = 0.0
    for i in range(x.size):
        total += (y[i] - b[0] * (1.0 - np.exp(-b[1] * x[i]))) ** 2
    return total


def misra1a_batched(b: Array, x: Array, y: Array) -> Array:
    return np.sum((y - b[:, :1] * (1.0 - np.exp(-b[:, 1:] * x))) ** 2, axis=1)


def misra1a_gradient(b: Array, x: Array, y: Array) -> Array:
    e = np.exp(-b[1] * x)
    r = -2.0 * (y - b[0] * (1.0 - e))
    return np.array([np.sum(r * (1.0 - e)), np.sum(r * b[0] * x * e)])


def _make_misra1a(n: int) -> Point:
    x, _ = _relatively_near(n, (250.0, 0.0005), 0.1)  # the second start of NIST
    return x, (_MISRA_X.copy(), _MISRA_Y.copy())


_THURBER = np.array(
    [
        (-3.067, 80.574), (-2.981, 84.248), (-2.921, 87.264), (-2.912, 87.195), (-2.840, 89.076),
        (-2.797, 89.608), (-2.702, 89.868), (-2.699, 90.101), (-2.633, 92.405), (-2.481, 95.854),
        (-2.363, 100.696), (-2.322, 101.060), (-1.501, 401.672), (-1.460, 390.724),
        (-1.274, 567.534), (-1.212, 635.316), (-1.100, 733.054), (-1.046, 759.087),
        (-0.915, 894.206), (-0.714, 990.785), (-0.566, 1090.109), (-0.545, 1080.914),
        (-0.400, 1122.643), (-0.309, 1178.351), (-0.109, 1260.531), (-0.103, 1273.514),
        (0.010, 1288.339), (0.119, 1327.543), (0.377, 1353.863), (0.790, 1414.509),
        (0.963, 1425.208), (1.006, 1421.384), (1.115, 1442.962), (1.572, 1464.350),
        (1.841, 1468.705), (2.047, 1447.894), (2.200, 1457.628),
    ]
)  # fmt: skip


def thurber(b: Array, x: Array, y: Array) -> Scalar:
    """sum_i [y_i - (b_1 + b_2 x + b_3 x^2 + b_4 x^3) / (1 + b_5 x + b_6 x^2 + b_7 x^3)]^2.

    Electron mobility in semiconductors, x the logarithm of the density.
    """
    top = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    bottom = 1.0 + b[4] * x + b[5] * x**2 + b[6] * x**3
    return np.sum((y - top / bottom) ** 2)


def thurber_loop(b: Array, x: Array, y: Array) -> Scalar:
    total = 0.0
    for i in range(x.size):
        t = x[i]
        top = b[0] + t * (b[1] + t * (b[2] + t * b[3]))
        bottom = 1.0 + t * (b[4] + t * (b[5] + t * b[6]))
        total += (y[i] - top / bottom) ** 2
    return total


def thurber_batched(b: Array, x: Array, y: Array) -> Array:
    powers = x ** np.arange(4)[:, None]
    r = y - b[:, :4] @ powers / (1.0 + b[:, 4:] @ powers[1:])
    return np.sum(r**2, axis=1)


def thurber_gradient(b: Array, x: Array, y: Array) -> Array:
    powers = x ** np.arange(4)[:, None]
    model, bottom = b[:4] @ powers, 1.0 + b[4:] @ powers[1:]
    model = model / bottom
    r = -2.0 * (y - model) / bottom
    return np.concatenate([powers @ r, -(powers[1:] @ (r * model))])


def _make_thurber(n: int) -> Point:
    x, _ = _relatively_near(n, (1300.0, 1500.0, 500.0, 75.0, 1.0, 0.4, 0.05), 0.01)
    return x, (_THURBER[:, 0].copy(), _THURBER[:, 1].copy())


# Real data: 1797 handwritten digits of 8 x 8 pixels -----------------------------------------------

_INSTALL = "pip install scikit-learn, which has the handwritten digits"


@functools.cache
def _digits() -> tuple[Array, Array]:
    """Pixels scaled to [0, 1], (1797, 64), and labels 0 to 9 (1797,)."""
    try:
        # here and not at the top: it takes a second, and most users of this table need no data
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError(f"the handwritten digits need the module `sklearn`: {_INSTALL}") from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    return np.ascontiguousarray(pixels / 16.0), labels.astype(np.int64)


def _sample(rows: int) -> tuple[Array, Array]:
    """A mini-batch: the same `rows` digits each time."""
    pixels, labels = _digits()
    chosen = _rng(rows).choice(len(labels), rows, replace=False)
    return pixels[chosen], labels[chosen]


def logistic_regression(w: Array, a: Array, y: Array, penalty: float) -> Scalar:
    """Mean of log(1 + exp(-y_i a_i'w)) + penalty/2 |w|^2."""
    return np.mean(np.log1p(np.exp(-y * (a @ w)))) + 0.5 * penalty * np.sum(w**2)


def logistic_regression_loop(w: Array, a: Array, y: Array, penalty: float) -> Scalar:
    loss = 0.0
    for i in range(y.size):
        z = 0.0
        for j in range(w.size):
            z += a[i, j] * w[j]
        loss += np.log1p(np.exp(-y[i] * z))
    square = 0.0
    for j in range(w.size):
        square += w[j] * w[j]
    return loss / y.size + 0.5 * penalty * square


def logistic_regression_batched(w: Array, a: Array, y: Array, penalty: float) -> Array:
    loss = np.mean(np.log1p(np.exp(-y * (w @ a.T))), axis=1)
    return loss + 0.5 * penalty * np.sum(w**2, axis=1)


def logistic_regression_gradient(w: Array, a: Array, y: Array, penalty: float) -> Array:
    return penalty * w - (y / (1.0 + np.exp(y * (a @ w)))) @ a / y.size


def squared_hinge(w: Array, a: Array, y: Array, penalty: float) -> Scalar:
    """Mean of max(0, 1 - y_i a_i'w)^2 + penalty/2 |w|^2: the L2 support vector machine."""
    margin = 1.0 - y * (a @ w)
    return np.mean(np.maximum(0.0, margin) ** 2) + 0.5 * penalty * np.dot(w, w)


def squared_hinge_loop(w: Array, a: Array, y: Array, penalty: float) -> Scalar:
    loss = 0.0
    for i in range(y.size):
        z = 0.0
        for j in range(w.size):
            z += a[i, j] * w[j]
        margin = 1.0 - y[i] * z
        if margin > 0.0:
            loss += margin * margin
    square = 0.0
    for j in range(w.size):
        square += w[j] * w[j]
    return loss / y.size + 0.5 * penalty * square


def squared_hinge_batched(w: Array, a: Array, y: Array, penalty: float) -> Array:
    loss = np.mean(np.maximum(0.0, 1.0 - y * (w @ a.T)) ** 2, axis=1)
    return loss + 0.5 * penalty * np.sum(w**2, axis=1)


def squared_hinge_gradient(w: Array, a: Array, y: Array, penalty: float) -> Array:
    margin = np.maximum(0.0, 1.0 - y * (a @ w))
    return penalty * w - 2.0 * (margin * y) @ a / y.size


def _make_odd_or_even(n: int) -> Point:
    """Tell odd digits from even ones."""
    pixels, labels = _digits()
    return 0.3 * _rng(n).normal(size=n), (pixels.copy(), 1.0 - 2.0 * (labels % 2), 0.0173)


def softmax_regression(w: Array, a: Array, labels: Array) -> Scalar:
    """Mean cross entropy of softmax(a w), w of shape (64, 10)."""
    scores = a @ w
    scores = scores - np.max(scores, axis=1, keepdims=True)
    picked = scores[np.arange(len(labels)), labels]
    return np.mean(np.log(np.sum(np.exp(scores), axis=1)) - picked)


def softmax_regression_loop(w: Array, a: Array, labels: Array) -> Scalar:
    pixels, classes = w.shape
    total = 0.0
    for i in range(labels.size):
        exponentials = 0.0
        for c in range(classes):
            score = 0.0
            for j in range(pixels):
                score += a[i, j] * w[j, c]
            exponentials += np.exp(score)
            if c == labels[i]:
                total -= score
        total += np.log(exponentials)
    return total / labels.size


def softmax_regression_batched(w: Array, a: Array, labels: Array) -> Array:
    scores = a @ w
    scores = scores - np.max(scores, axis=2, keepdims=True)
    picked = scores[:, np.arange(len(labels)), labels]
    return np.mean(np.log(np.sum(np.exp(scores), axis=2)) - picked, axis=1)


def _softmax_error(scores: Array, labels: Array) -> Array:
    """Derivative of the mean cross entropy with respect to the scores."""
    p = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    p /= np.sum(p, axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1.0
    return p / len(labels)


def softmax_regression_gradient(w: Array, a: Array, labels: Array) -> Array:
    return a.T @ _softmax_error(a @ w, labels)


def _make_softmax_regression(n: int) -> Point:
    return 0.3 * _rng(n).normal(size=(n // 10, 10)), _sample(200)


def two_layer_network(x: Array, a: Array, labels: Array) -> Scalar:
    """Mean cross entropy of softmax(sigmoid(a W1 + b1) W2 + b2).

    x = W1, b1, W2, b2, all flattened; ten classes.
    """
    inputs = a.shape[1]
    hidden = (x.size - 10) // (inputs + 11)
    w1, b1, w2, b2 = np.split(x, np.cumsum([inputs * hidden, hidden, 10 * hidden]))
    z = 1.0 / (1.0 + np.exp(-(a @ w1.reshape(inputs, hidden) + b1)))
    scores = z @ w2.reshape(hidden, 10) + b2
    scores = scores - np.max(scores, axis=1, keepdims=True)
    p = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
    return -np.mean(np.log(p[np.arange(len(labels)), labels]))


def two_layer_network_loop(x: Array, a: Array, labels: Array) -> Scalar:
    inputs = a.shape[1]
    hidden = (x.size - 10) // (inputs + 11)
    b1 = inputs * hidden
    w2 = b1 + hidden
    b2 = w2 + 10 * hidden
    z = np.zeros(hidden)
    total = 0.0
    for i in range(labels.size):
        for k in range(hidden):
            z[k] = x[b1 + k]
        for j in range(inputs):
            for k in range(hidden):
                z[k] += a[i, j] * x[j * hidden + k]
        for k in range(hidden):
            z[k] = 1.0 / (1.0 + np.exp(-z[k]))
        exponentials = 0.0
        for c in range(10):
            score = x[b2 + c]
            for k in range(hidden):
                score += z[k] * x[w2 + 10 * k + c]
            exponentials += np.exp(score)
            if c == labels[i]:
                total -= score
        total += np.log(exponentials)
    return total / labels.size


def two_layer_network_batched(x: Array, a: Array, labels: Array) -> Array:
    inputs = a.shape[1]
    hidden = (x.shape[1] - 10) // (inputs + 11)
    w1, b1, w2, b2 = np.split(x, np.cumsum([inputs * hidden, hidden, 10 * hidden]), axis=1)
    z = 1.0 / (1.0 + np.exp(-(a @ w1.reshape(-1, inputs, hidden) + b1[:, None, :])))
    scores = z @ w2.reshape(-1, hidden, 10) + b2[:, None, :]
    scores = scores - np.max(scores, axis=2, keepdims=True)
    picked = scores[:, np.arange(len(labels)), labels]
    return np.mean(np.log(np.sum(np.exp(scores), axis=2)) - picked, axis=1)


def two_layer_network_gradient(x: Array, a: Array, labels: Array) -> Array:
    inputs = a.shape[1]
    hidden = (x.size - 10) // (inputs + 11)
    w1, b1, w2, b2 = np.split(x, np.cumsum([inputs * hidden, hidden, 10 * hidden]))
    z = 1.0 / (1.0 + np.exp(-(a @ w1.reshape(inputs, hidden) + b1)))
    error = _softmax_error(z @ w2.reshape(hidden, 10) + b2, labels)
    back = error @ w2.reshape(hidden, 10).T * z * (1.0 - z)
    return np.concatenate([(a.T @ back).ravel(), back.sum(0), (z.T @ error).ravel(), error.sum(0)])


def _make_two_layer_network(n: int) -> Point:
    return 0.4 * _rng(n).normal(size=n), _sample(100)


# The table ----------------------------------------------------------------------------------------

_CHAIN = (2, 10, 100, 1000, 10_000)
_DENSE = (2, 10, 100, 1000)
_BLOCKS = (4, 12, 100, 1000, 10_000)
_GRID = (4, 9, 100, 1024, 10_000)

_ARITHMETIC = "arithmetic complex complex-loop "
_POWERS = "arithmetic complex "
_SMOOTH = "transcendental complex complex-loop "


def _row(
    name: str,
    source: str,
    sizes: tuple[int, ...],
    make: Callable[[int], Point],
    tags: str,
    cost: tuple[float, int],
    needs: str = "",
) -> Problem:
    """One row: the forms of a problem are found by their names."""
    forms = globals()
    return Problem(
        name=name,
        source=source,
        sizes=sizes,
        make=make,
        f=forms[name],
        loop=forms[f"{name}_loop"],
        gradient=forms[f"{name}_gradient"],
        batched=forms.get(f"{name}_batched"),
        tags=frozenset(tags.split()),
        cost=cost,
        needs=needs,
    )


# fmt: off
_TABLE = (
    _row("rosenbrock", "Rosenbrock 1960, chained; LV 1", _CHAIN,
         partial(_near, start=(-1.2, 1.0), spread=0.3), _ARITHMETIC + "local", (9, 1)),
    _row("extended_rosenbrock", "MGH 21", _CHAIN,
         partial(_near, start=(-1.2, 1.0), spread=0.3), _ARITHMETIC + "local", (4, 1)),
    _row("powell_singular", "MGH 22", _BLOCKS,
         partial(_near, start=(3.0, -1.0, 0.0, 1.0), spread=0.3), _POWERS + "local", (5, 1)),
    _row("wood", "MGH 14, in blocks", _BLOCKS,
         partial(_near, start=(-3.0, -1.0), spread=0.5), _ARITHMETIC + "local", (7, 1)),
    _row("beale", "MGH 5", (2,),
         partial(_near, start=(1.0, 1.0), spread=0.5), _ARITHMETIC + "fixed-size", (10, 1)),
    _row("brown_badly_scaled", "MGH 4", (2,),
         partial(_relatively_near, start=(1e6, 2e-6), spread=0.5),
         _ARITHMETIC + "fixed-size", (4, 1)),
    _row("helical_valley", "MGH 7", (3,),
         partial(_near, start=(-1.0, 0.4, 0.3), spread=0.3),
         "transcendental branch fixed-size complex", (20, 1)),
    _row("box_3d", "MGH 12", (3,), _make_box_3d, _SMOOTH + "fixed-size", (250, 1)),
    _row("kowalik_osborne", "MGH 15: measured enzyme reaction", (4,), _make_kowalik_osborne,
         _ARITHMETIC + "fixed-size", (30, 1)),
    _row("variably_dimensioned", "MGH 25", _CHAIN,
         partial(_decaying, centre=1.0), _POWERS + "dense", (5, 1)),
    _row("trigonometric", "MGH 26", _CHAIN,
         partial(_uniform, low=0.1, high=0.9), _SMOOTH + "dense", (70, 1)),
    _row("penalty_1", "MGH 23", _CHAIN,
         partial(_uniform, low=-1.0, high=1.5), _ARITHMETIC + "dense", (5, 1)),
    _row("penalty_2", "MGH 24", (2, 4, 10, 100),
         partial(_uniform, low=0.1, high=0.9), _SMOOTH + "dense", (90, 1)),
    _row("brown_almost_linear", "MGH 27", _CHAIN, _make_brown_almost_linear,
         _ARITHMETIC + "dense", (5, 1)),
    _row("chebyquad", "MGH 35", _DENSE,
         partial(_uniform, low=0.05, high=0.95), _ARITHMETIC + "dense", (4, 2)),
    _row("discrete_boundary_value", "MGH 28", _CHAIN,
         partial(_uniform, low=-0.3, high=0.2), _POWERS + "local", (11, 1)),
    _row("discrete_integral_equation", "MGH 29", _CHAIN,
         partial(_uniform, low=-0.3, high=0.2), _POWERS + "dense", (18, 1)),
    _row("broyden_tridiagonal", "MGH 30", _CHAIN,
         partial(_near, start=(-1.0,), spread=0.4), _ARITHMETIC + "local", (9, 1)),
    _row("broyden_banded", "MGH 31", _CHAIN,
         partial(_near, start=(-1.0,), spread=0.4), _ARITHMETIC + "local", (25, 1)),
    _row("chained_powell", "LV 3", _BLOCKS,
         partial(_near, start=(3.0, -1.0, 0.0, 1.0), spread=0.3), _POWERS + "local", (10, 1)),
    _row("chained_cragg_levy", "LV 4", _BLOCKS,
         partial(_near, start=(1.0, 1.5, 1.5, 1.5), spread=0.4),
         "transcendental complex local", (35, 1)),
    _row("generalized_broyden", "LV 5", _CHAIN, _make_generalized_broyden,
         "transcendental local branch", (30, 1)),
    _row("generalized_brown", "Brown function 2: Lukšan, Matonoha, Vlček 2010, report V-1064, 13", _CHAIN,
         partial(_uniform, low=0.4, high=1.3), _SMOOTH + "local", (80, 1)),
    _row("ackley", "Ackley 1987; SB", _CHAIN,
         partial(_uniform, low=-2.0, high=2.0), _SMOOTH + "dense", (25, 1)),
    _row("rastrigin", "Rastrigin 1974; SB", _CHAIN,
         partial(_uniform, low=-2.0, high=2.0), _SMOOTH + "local", (25, 1)),
    _row("griewank", "Griewank 1981; SB", _CHAIN,
         partial(_uniform, low=-1.5, high=1.5), _SMOOTH + "dense", (40, 1)),
    _row("styblinski_tang", "Styblinski, Tang 1990; SB", _CHAIN,
         partial(_uniform, low=-4.0, high=4.0), _ARITHMETIC + "local", (6, 1)),
    _row("levy", "Levy, Montalvo 1985; SB", _CHAIN,
         partial(_uniform, low=-3.0, high=3.0), _SMOOTH + "local", (30, 1)),
    _row("dixon_price", "Dixon, Price 1989; SB", _CHAIN,
         partial(_uniform, low=-1.5, high=1.5), _ARITHMETIC + "local", (6, 1)),
    _row("zakharov", "Zakharov 1975; SB", _CHAIN,
         partial(_decaying, centre=0.0), _POWERS + "dense", (5, 1)),
    _row("lennard_jones", "Jones 1924; clusters: Hoare, Pal 1971", (6, 39, 99, 999),
         _make_lennard_jones, _ARITHMETIC + "dense", (0.9, 2)),
    _row("ginzburg_landau", "Ginzburg, Landau 1950, on a grid", _GRID, _make_grid,
         _ARITHMETIC + "local nd", (12, 1)),
    _row("minimal_surface", "Griewank, Toint 1982", _GRID, _make_minimal_surface,
         _SMOOTH + "local nd", (18, 1)),
    _row("total_variation", "Rudin, Osher, Fatemi 1992, smoothed, one dimension", _CHAIN,
         _make_total_variation, _SMOOTH + "local", (16, 1)),
    _row("quadratic_form", "textbook", _DENSE, _make_quadratic_form,
         _ARITHMETIC + "dense", (2, 2)),
    _row("rayleigh_quotient", "textbook", _DENSE, _make_rayleigh_quotient,
         _ARITHMETIC + "dense", (2, 2)),
    _row("log_sum_exp", "Boyd, Vandenberghe 2004, section 9.3", _DENSE, _make_log_sum_exp,
         "transcendental dense branch complex", (100, 1)),
    _row("matrix_factorization", "Burer, Monteiro 2003", _DENSE, _make_matrix_factorization,
         _ARITHMETIC + "dense nd", (0.25, 2)),
    _row("huber", "Huber 1964", _DENSE, _make_huber, "arithmetic dense branch", (100, 1)),
    _row("hinge", "Cortes, Vapnik 1995, linear", _DENSE, _make_hinge,
         "arithmetic dense branch complex", (100, 1)),
    _row("leaky_relu", "Maas, Hannun, Ng 2013", (10, 100, 1000), _make_leaky_relu,
         "arithmetic dense branch complex", (40, 1)),
    _row("misra1a", "StRD Misra1a", (2,), _make_misra1a, _SMOOTH + "data fixed-size", (180, 1)),
    _row("thurber", "StRD Thurber", (7,), _make_thurber, _ARITHMETIC + "data fixed-size", (80, 1)),
    _row("logistic_regression", "handwritten digits, odd or even", (64,), _make_odd_or_even,
         _SMOOTH + "dense data fixed-size", (4000, 1), needs="sklearn"),
    _row("squared_hinge", "handwritten digits, odd or even", (64,), _make_odd_or_even,
         "arithmetic dense branch complex data fixed-size", (3600, 1), needs="sklearn"),
    _row("softmax_regression", "200 handwritten digits", (640,), _make_softmax_regression,
         "transcendental dense nd data fixed-size complex complex-loop", (480, 1), needs="sklearn"),
    _row("two_layer_network", "100 handwritten digits, 10 or 20 hidden units", (760, 1510),
         _make_two_layer_network, "transcendental dense data complex", (250, 1), needs="sklearn"),
)
# fmt: on

PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _TABLE}
"""The problems by name."""

WORKLOADS: tuple[tuple[str, int], ...] = (
    ("logistic_regression", 64),
    ("two_layer_network", 760),
    ("lennard_jones", 39),
    ("rosenbrock", 100),
    ("squared_hinge", 64),
)
"""What the command line shows by default: names and n."""


def workloads() -> tuple[tuple[Problem, int], ...]:
    """Return the problems and sizes of `WORKLOADS`; some may be `unavailable`."""
    return tuple((PROBLEMS[name], n) for name, n in WORKLOADS)


def cases(
    *,
    min_n: int = 0,
    max_n: int | None = None,
    max_operations: float | None = None,
    having: str = "",
    without: str = "",
) -> Iterator[tuple[Problem, int]]:
    """Yield the table's (problem, n), within limits.

    Parameters
    ----------
    min_n, max_n : int, optional
        Limits of n.
    max_operations : float, optional
        Limit of the operations of one gradient by central differences,
        2 n `Problem.operations` (n). A compiled loop does about 2e9 of them in a second.
    having, without : str
        Tags, separated by spaces, that each problem must and must not have.

    Notes
    -----
    The problems that are `unavailable` are among them, to be skipped with their reason.
    For pytest: ``parametrize("problem, n", list(cases(max_n=100)), ids=str)``.
    """
    wanted, unwanted = set(having.split()), set(without.split())
    for problem in PROBLEMS.values():
        if not wanted <= problem.tags or unwanted & problem.tags:
            continue
        for n in problem.sizes:
            if n < min_n or (max_n is not None and n > max_n):
                continue
            if max_operations is None or 2 * n * problem.operations(n) <= max_operations:
                yield problem, n
