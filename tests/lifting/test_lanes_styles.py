"""Objective functions in styles that people write run in lanes, to the same bits."""

import math

import numpy as np
import pytest
from numba import njit

from fastgrad.lifting.lanes import CannotLift
from tests.lifting.test_lanes import Both, assert_same, central

DATA = np.random.default_rng(5).normal(size=(7, 5))
TIMES = np.linspace(0.1, 1.0, 7)
OBSERVED = np.sin(TIMES)


@njit
def softplus(z):
    return math.log1p(math.exp(-abs(z))) + max(z, 0.0)


@njit
def distance(a, b):
    return np.sqrt(np.sum((a - b) ** 2))


@njit
def head_and_tail(x):
    return x[0], x[1], x[2:]


@njit
def oscillator(y, p):
    out = np.empty(2)
    out[0] = y[1]
    out[1] = -p[0] * y[0] - p[1] * y[1]
    return out


@njit
def oscillator_tuple(y, v, a, b):
    return v, -a * y - b * v


def runge_kutta(x):
    y, h = np.array([1.0, 0.0]), 0.1
    for _ in range(6):
        a = oscillator(y, x)
        b = oscillator(y + h / 2 * a, x)
        c = oscillator(y + h / 2 * b, x)
        d = oscillator(y + h * c, x)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y[0] ** 2 + y[1]


def euler_in_tuples(x):
    y, v = 1.0, 0.0
    for _ in range(10):
        dy, dv = oscillator_tuple(y, v, x[0], x[1])
        y, v = y + 0.05 * dy, v + 0.05 * dv
    return y * y + v


def control(x):
    angle, speed, cost = x[0], x[1], 0.0
    for k in range(2, x.size):
        speed += 0.05 * (-9.8 * math.sin(angle) + x[k])
        angle += 0.05 * speed
        cost += angle * angle + 0.1 * speed * speed + 0.01 * x[k] ** 2
    return cost


def logistic(x, a, y):
    loss = 0.0
    for i in range(a.shape[0]):
        z = 0.0
        for j in range(a.shape[1]):
            z += a[i, j] * x[j]
        loss += softplus(-y[i] * z)
    return loss / a.shape[0] + 0.01 * np.dot(x, x)


def cross_entropy(x, a, y):
    p = np.clip(1 / (1 + np.exp(-(a @ x))), 1e-12, 1 - 1e-12)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def exponential_fit(x, t, y):
    a, b, c = x
    total = 0.0
    for ti, yi in zip(t, y):  # noqa: B905
        total += (a * math.exp(-b * ti) + c - yi) ** 2
    return total


def network(x, a, y):
    first, bias, second = x[:15].reshape(5, 3), x[15:18], x[18:21]
    hidden = np.tanh(a @ first + bias)
    return np.mean((hidden @ second - y) ** 2)


def network_in_loops(x, a, y):
    total, hidden = 0.0, np.zeros(3)
    for i in range(a.shape[0]):
        hidden[:] = 0.0
        for k in range(3):
            for j in range(5):
                hidden[k] += a[i, j] * x[k * 5 + j]
            hidden[k] = max(0.0, hidden[k])
        out = x[15]
        for k in range(3):
            out += hidden[k] * x[16 + k]
        total += (out - y[i]) ** 2
    return total


def list_of_terms(x):
    terms = []
    for i in range(len(x) - 1):
        terms.append((x[i + 1] - x[i]) ** 2)  # noqa: PERF401
    return sum(terms)


def comprehension(x):
    return sum([v * v for v in x])


def array_of_residuals(x):
    r = np.array([x[0] - 1, x[1] * x[2], np.sin(x[3])])
    return r @ r


def rotation(x):
    c, s = math.cos(x[0]), math.sin(x[0])
    rotated = np.array([[c, -s], [s, c]]) @ np.array([x[1], x[2]])
    return np.sum((rotated - np.array([1.0, 0.0])) ** 2)


def distances(x):
    p, energy = x.reshape(-1, 2), 0.0
    for i in range(p.shape[0]):
        for j in range(i + 1, p.shape[0]):
            energy += 1 / distance(p[i], p[j])
    return energy


def norms(x):
    p, energy = x.reshape(4, 3), 0.0
    for i in range(4):
        for j in range(i):
            energy += np.linalg.norm(p[i] - p[j])
    return energy


def nearest_centre(x, a):
    centres, total = x.reshape(2, 5), 0.0
    for i in range(a.shape[0]):
        best = np.inf
        for k in range(2):
            d = np.sum((a[i] - centres[k]) ** 2)
            if d < best:
                best = d
        total += best
    return total


def factorization(x, a):
    u, v = x[:14].reshape(7, 2), x[14:24].reshape(5, 2)
    return np.sum((a - u @ v.T) ** 2)


def polynomial(x):
    coefficients, total = np.array([1.0, -2.0, 0.5]), 0.0
    for v in x:
        value = 0.0
        for c in coefficients:
            value = value * v + c
        total += value
    return total


def newton(x):
    z, k = x[0], 0
    while k < 10:
        z = z - (z * z * z - x[1]) / (3 * z * z + 1e-3)
        k += 1
    return z


def kepler(x):
    total = 0.0
    for mean in x:
        e = mean
        for _ in range(6):
            e = e - (e - 0.3 * math.sin(e) - mean) / (1 - 0.3 * math.cos(e))
        total += e
    return total


def early_return(x):
    if np.any(x < -10):
        return 1e10
    for i in range(x.size):
        if np.isnan(x[i]):
            return np.inf
    return np.sum(x * x)


def clipped(x):
    low = np.full(x.size, -0.5)
    return np.sum(np.clip(x, low, 1.0)) + np.sum(x.clip(-1, 0.5)) + np.sum(np.clip(x, None, 0.3))


def running_sums(x):
    return np.sum(np.cumsum(x) ** 2) + np.sum(np.diff(x) ** 2) + np.ptp(x)


def softmax(x, a):
    z, total = a @ x.reshape(5, 3), 0.0
    for i in range(z.shape[0]):
        m = z[i].max()
        total += np.log(np.sum(np.exp(z[i] - m))) + m - z[i, i % 3]
    return total


def powers_of_entries(x):
    total = 0.0
    for i, v in enumerate(x):
        total += abs(v) ** (i + 2)
    return total


def image(u):
    dx, dy = u[1:, :] - u[:-1, :], u[:, 1:] - u[:, :-1]
    return np.sum(dx**2) + np.sum(dy**2) + 0.25 * np.sum((u**2 - 1) ** 2)


def quadratic(x, a):
    return x.dot(a.dot(x)) + np.dot(np.dot(x, a), x) + 0.5 * x @ (a @ x)


def largest(x):
    return x[np.argmax(x)] ** 2 + x[0]


def masks(x):
    positive = x > 0
    return np.sum(x * positive) + np.sum(np.where(positive, x, 0.0))


def kernel_matrix(x):
    n = x.size
    k = np.eye(n)
    for i in range(n):
        for j in range(i):
            k[i, j] = k[j, i] = 0.5 * math.exp(-((x[i] - x[j]) ** 2))
    return np.linalg.det(k) + np.sum(np.log(np.diag(np.linalg.cholesky(k))))


def linear_system(x, a):
    y = np.linalg.solve(a[:5, :5] + 10 * np.eye(5), x)
    return y @ y


def moved(x):
    y = np.concatenate((x[:2], x[3:]))
    return np.sum(y**2) + np.sum((x - np.roll(x, 1)) ** 2) + np.append(x, 2.0)[-2] + np.flip(x)[0] * x[1]


def tables(x):
    a, b = x[:3], x[3:]
    total = np.sum(np.stack((a, b)) ** 2) + np.stack((a, b), axis=1)[1, 1] + np.stack((b, a * a), axis=-1)[2, 0]
    total += np.sum(np.vstack((a, b, a + b))[:, 1] * np.repeat(x, 2)[4:7])
    for row in np.column_stack((a, b)):
        total += row @ row
    return total


def inner_function(x):
    def g(v):
        return v * v + 1

    total = 0.0
    for v in x:
        total += g(v)
    return total


def along_axes(u):
    total = np.sum(np.sum(u, axis=1) ** 2) + np.sum(u.sum(axis=0) ** 2) + np.sum(u.T.sum(0))
    for row in u:
        total += row @ row
    return total


def filter_of_kalman(x):
    p, m = np.eye(2), np.zeros(2)
    f, loss = np.array([[1.0, 0.1], [0.0, 1.0]]), 0.0
    for k in range(4):
        m = f @ m
        p = f @ p @ f.T + np.eye(2) * x[0] ** 2
        s = p[0, 0] + x[1] ** 2
        gain, r = p[:, 0] / s, 0.5 * k - m[0]
        m = m + gain * r
        loss += math.log(s) + r * r / s
        p = p - np.outer(gain, p[0, :])
    return loss


def moving_average(x):
    errors, total = np.zeros(12), 0.0
    for t in range(2, 12):
        errors[t] = math.sin(t) - x[0] * math.sin(t - 1) - x[1] * errors[t - 1] - x[2] * errors[t - 2]
        total += errors[t] ** 2
    return total


def table_lookup(x):
    places, values = np.array([-3.0, -1.0, 0.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.0, -1.0, 5.0])
    return np.interp(x[0], places, values) + np.sum(np.interp(x, places, values))


def functions_of_arrays(x):
    total = np.sum(np.asarray(x) ** 2) + np.copy(x).sum() + np.ravel(x)[0] + np.reshape(x, (2, 3))[1, 2]
    return total + np.transpose(x).sum() + np.sum(np.ascontiguousarray(x[::2]))


def unpacked(x):
    a, b, rest = head_and_tail(x)
    return a * b + rest.sum()


SIGNS = np.sign(OBSERVED - 0.5)
STYLES = [
    (runge_kutta, 2, ()),
    (euler_in_tuples, 2, ()),
    (control, 6, ()),
    (logistic, 5, (DATA, SIGNS)),
    (cross_entropy, 5, (DATA, (SIGNS + 1) / 2)),
    (exponential_fit, 3, (TIMES, OBSERVED)),
    (network, 21, (DATA, OBSERVED)),
    (network_in_loops, 19, (DATA, OBSERVED)),
    (list_of_terms, 6, ()),
    (comprehension, 6, ()),
    (array_of_residuals, 6, ()),
    (rotation, 3, ()),
    (distances, 6, ()),
    (norms, 12, ()),
    (nearest_centre, 10, (DATA,)),
    (factorization, 24, (DATA,)),
    (polynomial, 6, ()),
    (newton, 2, ()),
    (kepler, 6, ()),
    (early_return, 6, ()),
    (clipped, 6, ()),
    (running_sums, 6, ()),
    (softmax, 15, (DATA,)),
    (powers_of_entries, 6, ()),
    (image, (4, 5), ()),
    (quadratic, 5, (DATA[:5].copy(),)),
    (largest, 6, ()),
    (masks, 6, ()),
    (kernel_matrix, 4, ()),
    (linear_system, 5, (DATA,)),
    (moved, 6, ()),
    (tables, 6, ()),
    (inner_function, 6, ()),
    (along_axes, (3, 4), ()),
    (filter_of_kalman, 2, ()),
    (moving_average, 3, ()),
    (table_lookup, 6, ()),
    (functions_of_arrays, 6, ()),
    (unpacked, 6, ()),
]


# to compile
LONG = (
    tables, filter_of_kalman, table_lookup, running_sums, linear_system, along_axes, image, kernel_matrix,
    quadratic, clipped, network, moved, factorization, functions_of_arrays, logistic, rotation, distances,
    exponential_fit, masks,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning")
@pytest.mark.parametrize(
    ("f", "shape", "args"),
    [pytest.param(*style, marks=[pytest.mark.slow] * (style[0] in LONG), id=style[0].__name__) for style in STYLES],
)
def test_style(f, shape, args):
    x = np.random.default_rng(0).normal(size=shape)
    both = Both(njit(f), x.ndim, args)
    assert assert_same(both, x, central(x)) <= x.size  # it did run in lanes
    far = np.random.default_rng(1).normal(size=(x.size, 3))
    far[0] = 0.0, -0.0, np.nan
    assert_same(both, x, far)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: abs(complex(x[0], x[1])), "complex"),
        (lambda x: np.sum(x, axis=1)[0] if x.ndim > 1 else x[np.argsort(x)[0]], "argsort"),
    ],
)
def test_what_lanes_do_not_cover_says_so(f, reason):
    with pytest.raises(CannotLift, match=reason):
        Both(njit(f))
