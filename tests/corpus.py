"""Plain numpy objective functions as people write them: what a lift must evaluate unmodified, and right.

Each is written for one point. `CORPUS` holds them at a small size; those with `scales` set exist at any n
(`problem.at(n)`), which is what speed is measured on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.linalg import norm

Function = Callable[..., Any]


class Workload(NamedTuple):
    """A function, where its gradient is wanted, and its further arguments."""

    f: Function
    x: Any
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One entry: `name`, and `at(n)` which makes it at size n (the size is fixed unless `scales`)."""

    name: str
    at: Callable[[int], Workload]
    scales: bool
    style: str

    def workload(self) -> Workload:
        """The problem at its small size."""
        return self.at(12)


CORPUS: list[Problem] = []


def draw(*shape: int, seed: int = 0) -> Any:
    """Standard normal numbers, away from zero (so that |x| and 1/x are smooth at the points tried)."""
    numbers = np.random.default_rng(seed).normal(size=shape)
    return numbers + 0.25 * np.sign(numbers)


def any_size(style: str) -> Callable[[Function], Function]:
    """Register a function of a vector of any length."""

    def register(f: Function) -> Function:
        CORPUS.append(Problem(f.__name__, lambda n: Workload(f, draw(n)), True, style))
        return f

    return register


def fixed(style: str, x: Any, *args: Any) -> Callable[[Function], Function]:
    """Register a function of an x of this shape only."""

    def register(f: Function) -> Function:
        CORPUS.append(Problem(f.__name__, lambda n: Workload(f, np.array(x, float), args), False, style))
        return f

    return register


def built(style: str) -> Callable[[Function], Function]:
    """Register a maker: n -> (f, x) or (f, x, args)."""

    def register(make: Function) -> Function:
        CORPUS.append(Problem(make.__name__, lambda n: Workload(*make(n)), True, style))
        return make

    return register


# --- reductions and slices -------------------------------------------------------------------------------------


@any_size("reduction")
def sphere(x):
    return np.sum(x**2)


@any_size("reduction")
def sphere_method(x):
    return (x * x).sum()


@any_size("slices")
def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@any_size("slices")
def rosenbrock_pairs(x):
    odd, even = x[::2], x[1::2]
    m = min(len(odd), len(even))
    return np.sum(100.0 * (even[:m] - odd[:m] ** 2.0) ** 2.0 + (1 - odd[:m]) ** 2.0)


@any_size("reduction")
def rastrigin(x):
    A = 10
    return A * len(x) + np.sum(x**2 - A * np.cos(2 * np.pi * x))


@any_size("reduction")
def ackley(x, a=20, b=0.2, c=2 * np.pi):
    d = x.size
    return -a * np.exp(-b * np.sqrt(np.sum(x**2) / d)) - np.exp(np.sum(np.cos(c * x)) / d) + a + np.exp(1)


@any_size("reduction")
def griewank(x):
    i = np.arange(1, x.shape[0] + 1)
    return 1 + np.sum(x**2) / 4000 - np.prod(np.cos(x / np.sqrt(i)))


@any_size("reduction")
def schwefel(x):
    return 418.9829 * x.size - np.sum(x * np.sin(np.sqrt(np.abs(x))))


@any_size("reduction")
def styblinski_tang(x):
    return np.sum(x**4 - 16 * x**2 + 5 * x) / 2


@any_size("slices")
def levy(x):
    w = 1 + (x - 1) / 4
    first = np.sin(np.pi * w[0]) ** 2
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return first + middle + last


@any_size("reduction")
def zakharov(x):
    s = np.sum(0.5 * np.arange(1, len(x) + 1) * x)
    return np.sum(np.square(x)) + s**2 + s**4


@any_size("slices")
def dixon_price(x):
    i = np.arange(2, len(x) + 1)
    return (x[0] - 1) ** 2 + np.sum(i * (2 * x[1:] ** 2 - x[:-1]) ** 2)


@any_size("slices")
def broyden_tridiagonal(x):
    r = (3 - 2 * x) * x + 1
    r[1:] -= x[:-1]
    r[:-1] -= 2 * x[1:]
    return np.sum(r**2)


@any_size("slices")
def second_differences(x):
    return 0.5 * np.sum((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2) + np.sum(np.cosh(0.1 * x))


@any_size("reduction")
def smooth_total_variation(x):
    return np.sqrt(np.diff(x) ** 2 + 1e-4).sum() + 0.5 * np.sum((x - 1) ** 2)


@any_size("reduction")
def euclidean_norm(x):
    return np.linalg.norm(x)


@any_size("reduction")
def norms(x):
    return norm(x, 1) + norm(x) ** 2 + norm(x, 3) + np.linalg.norm(x, np.inf)


@any_size("reduction")
def logsumexp(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top)))


@any_size("reduction")
def entropy_of_softmax(x):
    e = np.exp(x - x.max())
    p = e / e.sum()
    return -np.sum(p * np.log(p))


@any_size("reduction")
def variance_and_mean(x):
    return x.var() + x.std(ddof=1) + np.mean(x) ** 3


@any_size("reduction")
def skewness(x):
    z = (x - np.mean(x)) / np.std(x)
    return np.mean(z**3)


@any_size("reduction")
def product_of_cosines(x):
    return np.prod(np.cos(0.1 * x))


@any_size("reduction")
def cumulative(x):
    return np.sum(np.cumsum(x) ** 2) + np.cumprod(1 + 0.01 * x)[-1]


@any_size("reduction")
def soft_threshold(x):
    return np.sum(np.sign(x) * np.maximum(np.abs(x) - 0.1, 0))


@any_size("reduction")
def huber(x, delta=0.7):
    a = np.abs(x)
    return np.where(a < delta, 0.5 * x**2, delta * (a - 0.5 * delta)).sum()


@any_size("reduction")
def elastic_net(x):
    return 0.5 * np.abs(x).sum() + 0.25 * (x**2).sum()


@any_size("reduction")
def clipped(x):
    return np.sum(np.clip(x, -1, 1) ** 2) + x.clip(0).sum()


@any_size("reduction")
def log_barrier(x):
    u = x**2 + 1
    return -np.sum(np.log(u)) + np.log1p(u).mean()


@any_size("reduction")
def numerically_stable_softplus(x):
    return np.logaddexp(0, x).sum() + np.mean(np.log1p(np.exp(-np.abs(x))))


@any_size("reduction")
def extremes(x):
    return np.max(x) - np.min(x) + x.max() * x.min() + np.ptp(x)


@any_size("reduction")
def median_deviation(x):
    return np.sum((x - np.median(x)) ** 2)


@any_size("reduction")
def weighted_average(x):
    w = np.arange(1.0, x.size + 1)
    return np.average(x**2, weights=w)


@any_size("reduction")
def mixed_functions(x):
    y = np.sin(x) * np.exp(-(x**2)) + np.arctan(x) / (1 + x**2) - np.tanh(x) ** 3
    return np.sum(np.sqrt(1 + y**2)) + np.hypot(x, 1).mean()


@any_size("slices")
def trapezoid_integral(x):
    t = np.linspace(0, 1, len(x))
    return np.sum(0.5 * (x[1:] ** 2 + x[:-1] ** 2) * np.diff(t))


@any_size("slices")
def autocorrelation(x):
    c = x - x.mean()
    return np.dot(c[:-1], c[1:]) / np.dot(c, c)


@any_size("slices")
def reversed_and_rolled(x):
    return np.sum(x * x[::-1]) + np.sum((x - np.roll(x, 1)) ** 2) + np.sum(np.flip(x)[:3])


@any_size("slices")
def padded_smoothing(x):
    p = np.pad(x, 1, mode="edge")
    return np.sum((p[2:] + p[:-2] - 2 * p[1:-1]) ** 2)


@any_size("slices")
def zero_padded(x):
    p = np.concatenate([[0.0], x, [0.0]])
    return np.sum(np.diff(p) ** 2) + np.sum(x**4) / 4


# --- loops over x ----------------------------------------------------------------------------------------------


@any_size("loop")
def sphere_loop(x):
    s = 0
    for v in x:
        s += v**2
    return s


@any_size("loop")
def rosenbrock_loop(x):
    s = 0.0
    for i in range(len(x) - 1):
        s = s + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return s


@any_size("loop")
def generator_sum(x):
    return sum(xi**2 + np.cos(xi) for xi in x)


@any_size("loop")
def zipped_loop(x):
    return sum(a * b - 0.1 * a for a, b in zip(x[:-1], x[1:], strict=True))  # noqa: RUF007


@any_size("loop")
def enumerated_loop(x):
    total = 0.0
    for i, xi in enumerate(x):
        total += (i + 1) * xi * xi
    return total / (2 * x.size)


@any_size("loop")
def reduced(x):
    return reduce(lambda a, b: a + b * b, x, 0.0)


@any_size("loop")
def horner(x):
    value = 0.0
    for c in x[::-1]:
        value = value * 0.9 + c
    return value**2


@any_size("loop")
def hinge_loop(x):
    s = 0.0
    for v in x:
        if v > 0:
            s += v**2
        else:
            s -= 0.5 * v
    return s


@any_size("loop")
def max_builtin_loop(x):
    return max(abs(v) for v in x) + sum(max(v, 0.0) for v in x) + min(x)


@any_size("loop")
def while_loop(x):
    i, s = 0, 0.0
    while i < x.size:
        s += np.sqrt(1 + x[i] ** 2)
        i += 1
    return s


@any_size("loop")
def product_loop(x):
    p = 1.0
    for i in range(x.shape[0]):
        p *= 1 + 0.01 * x[i]
    return -np.log(np.abs(p))


@any_size("loop")
def recurrence(x):
    u, v = 0.1, 0.2
    for xi in x:
        u, v = 0.5 * u + np.tanh(v + xi), 0.9 * v - 0.1 * u * xi
    return u * u + v * v


@any_size("loop")
def loop_into_zeros_like(x):
    y = np.zeros_like(x)
    for i in range(1, len(x)):
        y[i] = y[i - 1] * 0.5 + x[i] * x[i - 1]
    return np.sum(y**2)


@any_size("loop")
def loop_into_list(x):
    terms = []
    for i in range(len(x)):
        terms.append(x[i] ** 2 / (1 + i))  # noqa: PERF401
    return sum(terms)


@fixed("math", draw(6))
def math_module_loop(x):
    return sum(math.sin(v) + math.sqrt(1 + v * v) for v in x)


@fixed("math", draw(6))
def float_conversion(x):
    a, b = float(x[0]), float(x[1])
    return a * a + b * np.sum(x)


# --- a few named variables ------------------------------------------------------------------------------------


@fixed("unpacked", [1.3, 0.8])
def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


@fixed("unpacked", [0.4, -0.7])
def beale(p):
    x, y = p
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


@fixed("unpacked", [2.9, 3.3])
def easom(v):
    x, y = v
    return -np.cos(x) * np.cos(y) * np.exp(-((x - np.pi) ** 2 + (y - np.pi) ** 2))


@fixed("unpacked", [3.0, -1.0, 0.0, 1.0])
def powell_singular(x):
    a, b, c, d = x
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


@fixed("unpacked", [-3.0, -1.0, -3.0, -1.0])
def wood(x):
    return (
        100 * (x[0] ** 2 - x[1]) ** 2
        + (x[0] - 1) ** 2
        + (x[2] - 1) ** 2
        + 90 * (x[2] ** 2 - x[3]) ** 2
        + 10.1 * ((x[1] - 1) ** 2 + (x[3] - 1) ** 2)
        + 19.8 * (x[1] - 1) * (x[3] - 1)
    )


@fixed("unpacked", [0.3, 0.6])
def goldstein_price(x):
    x, y = x[0], x[1]
    one = 1 + (x + y + 1) ** 2 * (19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2)
    two = 30 + (2 * x - 3 * y) ** 2 * (18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2)
    return one * two


@fixed("unpacked", [0.9, 0.1])
def residual_list(x):
    r = np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
    return np.sum(r**2)


@fixed("unpacked", [0.4, -0.3, 0.2])
def rotation_matrix(p):
    a, u, v = p
    c, s = np.cos(a), np.sin(a)
    rotated = np.array([[c, -s], [s, c]]) @ np.array([u, v])
    return rotated[0] ** 2 + 3 * rotated[1]


@fixed("unpacked", [1.2, 0.7, 0.3])
def head_and_tail(x):
    first, *rest = x
    return first**2 * sum(np.exp(-r) for r in rest)


# --- matrix products and data --------------------------------------------------------------------------------------


@built("matrix")
def quadratic_form(n):
    A = draw(n, n, seed=1)
    A = A @ A.T / n + np.eye(n)
    b = draw(n, seed=2)
    return lambda x: 0.5 * x @ A @ x - b @ x, draw(n)


@built("matrix")
def quadratic_transposed(n):
    A, b = draw(n, n, seed=1), draw(n, seed=2)
    return lambda x: x.T.dot(A).dot(x) + np.dot(b.T, x) + 3, draw(n)


@built("matrix")
def least_squares(n):
    A, b = draw(2 * n, n, seed=1), draw(2 * n, seed=2)

    def loss(x):
        r = A @ x - b
        return 0.5 * r @ r

    return loss, draw(n)


@built("matrix")
def least_squares_args(n):
    def loss(x, A, b):
        return np.sum((np.dot(A, x) - b) ** 2) / len(b)

    return loss, draw(n), (draw(2 * n, n, seed=1), draw(2 * n, seed=2))


@built("matrix")
def ridge(n):
    X, y, lam = draw(40, n, seed=1), draw(40, seed=2), 0.1

    def objective(w):
        return np.mean((y - X.dot(w)) ** 2) + lam * np.dot(w, w)

    return objective, draw(n)


@built("matrix")
def logistic_regression(n):
    X = draw(50, n, seed=1) / np.sqrt(n)
    y = (draw(50, seed=2) > 0) * 2.0 - 1

    def loss(w):
        return np.mean(np.log1p(np.exp(-y * (X @ w)))) + 1e-3 * np.sum(w**2)

    return loss, draw(n)


@built("matrix")
def logistic_cross_entropy(n):
    X = draw(50, n, seed=1) / np.sqrt(n)
    y = (draw(50, seed=2) > 0).astype(float)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def loss(w):
        p = sigmoid(np.dot(X, w))
        return -np.mean(y * np.log(p + 1e-7) + (1 - y) * np.log(1 - p + 1e-7))

    return loss, draw(n)


@built("matrix")
def poisson_regression(n):
    X = 0.1 * draw(30, n, seed=1)
    y = np.random.default_rng(3).poisson(2.0, 30)
    return lambda beta: np.sum(np.exp(X @ beta) - y * (X @ beta)), 0.1 * draw(n)


@built("matrix")
def squared_hinge(n):
    X = draw(40, n, seed=1)
    y = np.sign(draw(40, seed=2))
    return lambda w: np.sum(np.maximum(0, 1 - y * X.dot(w)) ** 2) + 0.5 * w.dot(w), draw(n) / n


@built("matrix")
def gaussian_log_likelihood(n):
    S = draw(n, n, seed=1)
    precision = S @ S.T / n + np.eye(n)
    mean = draw(n, seed=4)

    def nll(mu):
        d = mean - mu
        return 0.5 * d @ precision @ d + 0.5 * n * np.log(2 * np.pi)

    return nll, draw(n)


@built("matrix")
def portfolio(n):
    R = 0.01 * draw(60, n, seed=1)
    mu, cov = R.mean(axis=0), np.atleast_2d(np.cov(R.T))

    def negative_sharpe(w):
        w = w / np.sum(np.abs(w))
        return -(w @ mu) / np.sqrt(w @ cov @ w)

    return negative_sharpe, draw(n)


@built("matrix")
def outer_product_fit(n):
    M = draw(n, n, seed=1)
    return lambda x: np.sum((M - np.outer(x, x)) ** 2), draw(n)


@built("matrix")
def solved_system(n):
    A = draw(n, n, seed=1) + 3 * n * np.eye(n)
    return lambda x: np.sum(np.linalg.solve(A, x**2) ** 2), draw(n)


@built("matrix")
def einsum_form(n):
    A = draw(n, n, seed=1)
    return lambda x: np.einsum("i,ij,j", x, A, x) + np.einsum("i,i->", x, x), draw(n)


@fixed("matrix", draw(4, 4) + 4 * np.eye(4))
def log_determinant(A):
    return np.linalg.slogdet(A)[1] + np.trace(A @ A.T)


@fixed("matrix", draw(4, 4))
def determinant_and_inverse(M):
    S = M @ M.T + np.eye(4)
    return np.log(np.linalg.det(S)) + np.linalg.inv(S).sum()


@fixed("matrix", draw(4, 3))
def cholesky_log_likelihood(F):
    L = np.linalg.cholesky(F @ F.T + np.eye(4))
    z = np.linalg.solve(L, np.ones(4))
    return 0.5 * z @ z + np.log(np.diag(L)).sum()


@fixed("matrix", draw(4, 4))
def largest_singular_value(A):
    return np.linalg.norm(A, 2) + np.linalg.svd(A, compute_uv=False)[0]


@fixed("matrix", draw(5))
def symmetric_eigenvalues(x):
    T = np.diag(x) + np.diag(np.ones(4), 1) + np.diag(np.ones(4), -1)
    return np.linalg.eigvalsh(T)[0]


# --- n-d x, reductions with axes ----------------------------------------------------------------------------------


@fixed("n-d", draw(5, 4))
def frobenius(X):
    return np.sum(X**2) + np.linalg.norm(X)


@fixed("n-d", draw(6, 4))
def softmax_rows(W):
    e = np.exp(W - W.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.mean(np.log(p[np.arange(6), np.array([0, 1, 2, 3, 0, 1])]))


@fixed("n-d", draw(7, 6))
def grid_energy(u):
    return 0.5 * np.sum((u[1:, :] - u[:-1, :]) ** 2) + 0.5 * np.sum((u[:, 1:] - u[:, :-1]) ** 2) - u.mean()


@fixed("n-d", draw(7, 6))
def laplacian_residual(u):
    lap = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1]
    return np.mean((lap + 1.0) ** 2)


@fixed("n-d", draw(6, 6))
def periodic_ising(s):
    return -np.sum(s * (np.roll(s, 1, axis=0) + np.roll(s, -1, axis=1)))


@fixed("n-d", 2 * draw(5, 3))
def lennard_jones_pairs(pos):
    i, j = np.triu_indices(len(pos), k=1)
    r2 = np.sum((pos[i] - pos[j]) ** 2, axis=1)
    inv6 = 1 / r2**3
    return 4 * np.sum(inv6**2 - inv6)


@fixed("n-d", 2 * draw(5, 3))
def coulomb_broadcast(pos):
    d = pos[:, None, :] - pos[None, :, :]
    r = np.sqrt((d**2).sum(axis=-1) + np.eye(5))
    return np.sum(np.triu(1 / r, k=1))


@fixed("n-d", draw(3, 4))
def linear_layer(W):
    x = np.array([[0.1, 0.5, -0.3], [1.0, 0.2, 0.3]])
    y = np.maximum(x @ W, 0)
    return np.sum((y - 1) ** 2) / 2


@fixed("n-d", draw(4, 3))
def matrix_factorisation(U):
    V = np.arange(12.0).reshape(3, 4) / 10
    return np.sum((U @ V - np.eye(4)) ** 2) + 0.1 * (U**2).sum()


@fixed("n-d", draw(2, 3, 4))
def three_axes(T):
    return np.sum(T.mean(axis=(0, 2)) ** 2) + np.einsum("ijk,ijk->", T, T) + T.max(axis=1).sum()


@fixed("n-d", draw(3, 4))
def transposes_and_reshapes(X):
    Y = X.T.reshape(2, 6)
    return np.sum(Y[0] * Y[1]) + np.ravel(X)[::2].sum() + X.reshape(-1)[3] * np.swapaxes(X, 0, 1)[1, 2]


@fixed("n-d", draw(4, 3))
def row_norms(X):
    return np.linalg.norm(X, axis=1).sum() + np.sum(np.sqrt(np.sum(X**2, axis=0)))


@fixed("n-d", draw(5, 2))
def loop_over_rows(points):
    s = 0.0
    for a, b in zip(points[:-1], points[1:], strict=True):  # noqa: RUF007
        s += np.linalg.norm(b - a)
    return s


@fixed("n-d", draw(2, 5))
def complex_signal(p):
    z = p[0] + 1j * p[1]
    return np.sum(np.abs(z) ** 2) + (z * np.conj(z[::-1])).real.sum() + np.angle(z[0])


@fixed("n-d", draw(8))
def spectrum(x):
    return np.sum(np.abs(np.fft.rfft(x)) ** 2)


@fixed("n-d", draw(3, 3))
def stacked_blocks(X):
    top = np.hstack([X, np.eye(3)])
    both = np.vstack([top, np.concatenate([X.T, X], axis=1)])
    return np.sum(both**2) + np.stack([X[0], X[1]]).sum() + np.trace(X)


# --- index arrays, masks and branches --------------------------------------------------------------------------------


@any_size("indexing")
def gathered(x):
    i = np.arange(len(x))[::-1]
    return np.sum((x[i] - 0.5 * x) ** 2) + x[[0, -1, 0]].sum() + np.take(x, [1, 2]).prod()


@any_size("indexing")
def boolean_mask(x):
    keep = np.arange(x.size) % 3 == 0
    return np.sum(x[keep] ** 2) - np.sum(x[~keep])


@any_size("indexing")
def own_mask(x):
    return np.sum(x[x > 0] ** 2) + np.sum(np.abs(x[x <= 0]))


@any_size("indexing")
def assigned_mask(x):
    y = x.copy()
    y[y < 0] = 0
    y[0] = 2 * x[1]
    y[-2:] *= 3
    return np.sum(y**2)


@any_size("indexing")
def assigned_blocks(x):
    r = np.empty_like(x)
    r[::2] = 10 * x[::2] ** 2
    r[1::2] = 1 - x[1::2]
    return r @ r


@any_size("indexing")
def preallocated_residuals(x):
    r = np.zeros(x.size)
    r[1:] = 10 * (x[1:] - x[:-1] ** 2)
    r[0] = 1 - x[0]
    return np.sum(r**2)


@any_size("indexing")
def sorted_values(x):
    y = np.sort(x)
    w = np.linspace(1, 0, len(x))
    return np.dot(w, y) + x[np.argsort(x)][-1] + x[np.argmax(x)] ** 2


@any_size("indexing")
def counted(x):
    return np.sum(x**2) / np.count_nonzero(x > 0.1) + np.any(x > 1) * x[0]


@any_size("branch")
def branch_on_sum(x):
    s = x.sum()
    if s > 0:
        return s**2
    return -3 * s + np.sum(x**2)


@any_size("branch")
def penalty(x):
    value = np.sum((x - 1) ** 2)
    if np.any(x < -100):
        value += 1e6
    if not np.all(np.isfinite(x)):
        return np.inf
    return value


@any_size("branch")
def newton_iteration(x):
    a = 1 + np.sum(x**2)
    y = a
    while abs(y * y - a) > 1e-10 * a:
        y = 0.5 * (y + a / y)
    return y


@any_size("branch")
def guarded(x):
    try:
        return np.log(1 + x @ x)
    except ValueError:
        return np.inf


@any_size("in place")
def writes_its_argument(x):
    x -= 0.5
    x[0] *= 2
    return np.sum(x**2)


@any_size("in place")
def swaps_entries(x):
    t = x[0]
    x[0] = x[1]
    x[1] = t
    return np.sum(x * np.arange(len(x)))


@any_size("in place")
def in_place_chain(x):
    y = x - 0.1
    z = y
    y **= 2
    z += 1
    return y.sum() * z[0]


@any_size("asarray")
def as_array_first(x):
    x = np.asarray(x)
    return np.sum(x**2)


@any_size("asarray")
def as_array_like_scipy(x):
    x = np.asanyarray(x)
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0, axis=0, dtype=x.dtype)


@any_size("asarray")
def checks_for_an_array(x):
    if not isinstance(x, np.ndarray):
        raise TypeError("x must be an array")
    return np.sum(np.cos(x))


# --- simulations and models ----------------------------------------------------------------------------------------


@built("model")
def curve_fit(n):
    t = np.linspace(0, 1, 40)
    y = 2 * np.exp(-1.3 * t) + 0.1 * np.sin(9 * t)

    def misfit(p):
        a, b, c = p
        return np.sum((y - (a * np.exp(-b * t) + c)) ** 2)

    return misfit, np.array([1.5, 1.0, 0.1])


@built("model")
def polynomial_fit(n):
    t = np.linspace(-1, 1, 50)
    y = np.cos(3 * t)
    return lambda c: np.mean((np.polyval(c, t) - y) ** 2), draw(n)


@built("model")
def interpolated(n):
    t = np.linspace(0, 10, 40)
    table = np.sin(t)
    return lambda x: np.sum(np.interp(5 + x, t, table) ** 2), draw(n)


@built("model")
def euler_simulation(n):
    dt = 0.05

    def final_cost(controls):
        position, velocity, cost = 1.0, 0.0, 0.0
        for u in controls:
            position, velocity = position + dt * velocity, velocity + dt * (u - np.sin(position))
            cost = cost + dt * (position**2 + 0.1 * u**2)
        return cost + 10 * position**2

    return final_cost, draw(n)


@built("model")
def vector_simulation(n):
    def energy(v0):
        q, p = np.linspace(0, 1, len(v0)), v0
        for _ in range(10):
            force = -np.sin(q)
            p = p + 0.1 * force
            q = q + 0.1 * p
        return np.sum(p**2) / 2 - np.sum(np.cos(q))

    return energy, draw(n)


@built("model")
def matrix_recurrence(n):
    W = draw(n, n, seed=1) / np.sqrt(n)

    def run(h):
        for _ in range(4):
            h = np.tanh(W @ h)
        return h.sum()

    return run, draw(n)


class Quadratic:
    """An objective as an object that keeps its data, and counts its calls."""

    def __init__(self, n: int) -> None:
        self.A, self.b, self.calls = draw(n, n, seed=1), draw(n, seed=2), 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return self.residual(x).dot(self.residual(x))

    def residual(self, x: Any) -> Any:
        """A x - b."""
        return self.A.dot(x) - self.b


@built("class")
def callable_object(n):
    return Quadratic(n), draw(n)


@built("class")
def bound_method(n):
    model = Quadratic(n)
    return model.__call__, draw(n)


class Affine:
    """A layer of a network, as the textbook writes it: it keeps its last input."""

    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b
        self.x: Any = None

    def forward(self, x: Any) -> Any:
        """x W + b."""
        self.x = x
        return np.dot(x, self.W) + self.b


class Relu:
    """A layer of a network, with an assignment to a mask."""

    def forward(self, x: Any) -> Any:
        """max(x, 0)."""
        mask = x <= 0
        out = x.copy()
        out[mask] = 0
        return out


def softmax(x: Any) -> Any:
    """The textbook's, with its transposes."""
    if x.ndim == 2:
        x = x.T
        x = x - np.max(x, axis=0)
        y = np.exp(x) / np.sum(np.exp(x), axis=0)
        return y.T
    x = x - np.max(x)
    return np.exp(x) / np.sum(np.exp(x))


def cross_entropy_error(y: Any, t: Any) -> Any:
    """The textbook's, for labels."""
    if y.ndim == 1:
        t = t.reshape(1, t.size)
        y = y.reshape(1, y.size)
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + 1e-7)) / batch_size


@fixed("class", draw(3, 4))
def layers_of_objects(x):
    first, second = Affine(draw(4, 5, seed=1), np.zeros(5)), Affine(draw(5, 3, seed=2), np.ones(3))
    hidden = Relu().forward(first.forward(x))
    return cross_entropy_error(softmax(second.forward(hidden)), np.array([0, 2, 1]))


@fixed("class", draw(4, 3))
def weights_by_argument(W):
    x = np.array([[0.6, 0.9, -0.3, 0.1], [0.2, -0.4, 0.8, 0.5]])
    return cross_entropy_error(softmax(np.dot(x, W)), np.array([2, 0]))


@fixed("class", draw(4 * 5 + 5 + 5 * 3 + 3))
def network_from_flat_vector(theta):
    X, t = draw(6, 4, seed=5), np.array([0, 1, 2, 0, 1, 2])
    W1, b1 = theta[:20].reshape(4, 5), theta[20:25]
    W2, b2 = theta[25:40].reshape(5, 3), theta[40:]
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    z -= z.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -logp[np.arange(6), t].mean()


@built("model")
def partial_arguments(n):
    def f(x, scale, shift=0.0):
        return np.sum(np.tanh(scale * (x - shift)) ** 2)

    return partial(f, shift=0.3), draw(n), (0.5,)


@built("model")
def gaussian_mixture(n):
    data = draw(30, seed=3)

    def nll(x):
        mu, log_sigma = x[: n // 2], x[n // 2 : 2 * (n // 2)]
        z = (data[:, None] - mu) / np.exp(log_sigma)
        logp = -0.5 * z**2 - log_sigma - 0.5 * np.log(2 * np.pi)
        m = logp.max(axis=1)
        return -np.sum(m + np.log(np.exp(logp - m[:, np.newaxis]).mean(axis=1)))

    return nll, draw(n)


@built("model")
def gaussian_process(n):
    t = np.linspace(0, 1, n)
    K = np.exp(-0.5 * (t[:, None] - t) ** 2 / 0.01) + 0.1 * np.eye(n)
    Kinv = np.linalg.inv(K)
    return lambda f: 0.5 * f.dot(Kinv).dot(f) + np.sum(np.logaddexp(0, -f)), draw(n)


@built("model")
def pairwise_repulsion(n):
    def energy(x):
        d = x[:, None] - x[None, :]
        return np.sum(1 / (1 + d**2)) + np.sum(x**2)

    return energy, draw(n)


@built("model")
def kernel_sum(n):
    centres = np.linspace(-2, 2, 9)
    weights = np.cos(centres)

    def f(x):
        phi = np.exp(-((x.reshape(-1, 1) - centres) ** 2))
        return (phi @ weights).sum() ** 2

    return f, draw(n)


@built("model")
def convolved(n):
    kernel = np.array([0.25, 0.5, 0.25])
    target = np.ones(n)
    return lambda x: np.sum((np.convolve(x, kernel, mode="same") - target) ** 2), draw(n)


@built("model")
def sum_of_helpers(n):
    terms = [np.sin, np.cos, np.tanh, lambda v: v**3]
    return lambda x: sum(np.sum(t(x)) for t in terms), draw(n)
