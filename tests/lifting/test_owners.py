"""Owner lanes: right to the last digits, or refused, and the same bits at every call."""

import math
import random
import sys
import threading
import types as python_types
import warnings
from collections import namedtuple
from functools import reduce

import numpy as np
import pytest
from numba import njit

from benchmarks.problems import PROBLEMS
from fastgrad import Gradient, numerical_gradient, numerical_jacobian

pytestmark = pytest.mark.usefixtures("fenced")


Weights = namedtuple("Weights", "outer inner")


class Names:
    """numpy and math on complex numbers of extended precision."""

    def __getattr__(self, name):
        return getattr(np, {"atan": "arctan"}.get(name, name))

    def zeros(self, shape):
        return np.zeros(shape, np.clongdouble)

    empty = zeros

    def ones(self, shape):
        return self.zeros(shape) + 1

    def hypot(self, a, b):
        return np.sqrt(a * a + b * b)

    def prod(self, a):
        return np.multiply.reduce(a)

    def arctan2(self, a, b):
        return np.arctan(a / b)

    def abs(self, a):
        return a * np.sign(a.real)

    @property
    def linalg(self):
        return python_types.SimpleNamespace(norm=lambda a: np.sqrt(np.sum(a * a)))


def exact(f, x, *args):
    """Complex steps of 1e-300 in extended precision: exact to 1e-18, one coordinate at a time."""
    changed = {
        "np": Names(),
        "math": Names(),
        "abs": lambda v: v if np.real(v) >= 0 else -v,
        "int": lambda v: int(np.real(v)),
        "max": lambda *all: reduce(lambda a, b: b if np.real(b) > np.real(a) else a, all),
        "min": lambda *all: reduce(lambda a, b: b if np.real(b) < np.real(a) else a, all),
    }
    changed |= {name: v.py_func for name, v in f.py_func.__globals__.items() if hasattr(v, "py_func")}
    plain = python_types.FunctionType(f.py_func.__code__, {**f.py_func.__globals__, **changed}, None, None, None)
    y, out = x.astype(np.clongdouble), np.empty(x.shape, np.longdouble)
    for k in np.ndindex(x.shape):
        y[k] += 1j * np.longdouble(1e-300)
        out[k] = np.imag(plain(y, *args)) / np.longdouble(1e-300)
        y[k] = x[k]
    return out


def way(gradient, x, *args):
    return gradient.with_info(x, *args)[1].way


@njit
def valley(x):
    s = 0.0
    for i in range(x.size - 1):
        a = x[i + 1] - x[i] * x[i]
        s += 100 * a * a + (1 - x[i]) ** 2
    return s


@njit
def tridiagonal(x):
    n = len(x)
    s = 0.0
    for i in range(n):
        r = (3.0 - 2.0 * x[i]) * x[i] + 1.0
        if i > 0:
            r -= x[i - 1]
        if i < n - 1:
            r -= 2.0 * x[i + 1]
        s += r * r
    return s


@njit
def square(v):
    return v * v


@njit
def springs(u, stiffness, rest):
    n, m = u.shape
    s = 0.0
    for i in range(n):
        for j in range(m):
            if i + 1 < n:
                s += stiffness * square(u[i + 1, j] - u[i, j] - rest[i])
            s += np.exp(0.3 * u[i, j]) / (2.0 + u[i, j - 1] ** 2)
    return s / (n * m)


@njit
def bending(x):
    curvature = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        curvature[i] = x[i - 1] - 2.0 * x[i] + x[i + 1]
    s = 0.0
    for i in range(len(x)):
        s += curvature[i] ** 2 + np.cos(x[i])
    return s


@njit
def tails(x):
    a = b = 0.0
    for v in x:
        a += v * v
        b += np.cos(2 * np.pi * v)
    return 20 - 20 * np.exp(-0.2 * np.sqrt(a / len(x))) - np.exp(b / len(x))


@njit
def branches(x):
    s = 0.0
    for i in range(1, len(x)):
        r = x[i] - x[i - 1]
        s += r * r if abs(r) < 0.5 else max(r, -r) - 0.25
    return s


@njit
def wandering(x):
    s = 0.0
    for i in range(len(x) - 3):
        s += (x[i] * x[i + 1] if x[i] > 0.0 else x[i] * x[i + 2] * x[i + 3]) ** 2
    return s


@njit
def product(x):
    p = 1.0
    for v in x:
        p *= 1.0 + 0.01 * v
    return p


@njit
def coupled(x):
    s = 0.0
    for i in range(len(x)):
        for j in range(i):
            s += x[i] * x[j]
    return s


@njit
def listed(x):
    squares = [(i, v * v) for i, v in enumerate(x)]
    for i in range(len(x)):
        squares.append((i, np.sin(np.array([x[i], x[i - 1], 0.5])).sum()))  # noqa: PERF401  as people do
    s = 0.0
    for i, v in squares:
        s += i * v
    return s + sum([v + x[i] for i, v in squares])


@njit
def rotating(x):
    z = 1.0 + 0.0j
    for v in x:
        z *= np.exp(1j * v)
    return z.real


@njit
def about_the_mean(x):
    m = 0.0
    for v in x:
        m += v / len(x)
    s = 0.0
    for v in x:
        s += abs(v - m) * (v - m) ** 2
    return s


@njit
def whole(x):
    """Totals, products and one variable in every term; totals of totals; one that grows after it was used."""
    z = p = 1.0
    for i in range(len(x)):
        z += np.exp(x[i])
        p *= 1.0 + 0.1 * x[i]
    early = z / len(x)
    z += x[0] * x[1]
    s = np.prod(1.0 + 0.01 * x)
    p *= 2.0 + x[2]
    for i in range(1, len(x)):
        share = np.exp(x[i]) / z
        s += share * np.log(share) + (x[i] - early) ** 2 * x[i - 1] * np.cos(x[0]) / (1.0 + p * p)
    return np.sqrt(1.0 + s * s) * p + z


@njit
def slices(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@njit
def reshaped(x):
    u = x.reshape(-1, 4)
    w = np.exp(-0.5 * u[1:] * u[:-1])
    return w.mean() + u[1:].sum() ** 2 + np.dot(x, x)


@njit
def filled(x):
    w = np.zeros_like(x)
    w[1:] += 0.5 * x[:-1]
    w -= x
    for i, v in enumerate(x):
        w[i] *= v
    return np.sum(np.abs(w) ** 1.5) + np.linalg.norm(w)


@njit
def regression(x, a, y):
    s = 0.0
    for i in range(len(y)):
        z = 0.0
        for j in range(len(x)):
            z += a[i, j] * x[j]
        s += np.log1p(np.exp(-y[i] * z))
    return s + 0.01 * np.dot(x, x)


@njit
def angles(x):
    s = 0.0
    for i in range(len(x) - 1):
        s += np.arctan2(x[i], 3.0 + x[i + 1]) * np.hypot(x[i], 1.0 + x[i + 1] ** 2)
        s += np.arcsin(0.4 * x[i]) * np.arcsinh(2.0 * x[i + 1]) + np.arctanh(0.4 * x[i]) - np.arccos(0.3 * x[i + 1])
    return s


@njit
def jumps(x):
    s = 0.0
    for i in range(len(x)):
        s += (x[i] - round(x[i])) ** 2 + np.sign(x[i]) * x[i] * int(10 + x[i - 1]) + np.floor(x[i]) * x[i]
    return s


def sample(seed, shape=200):
    return np.random.default_rng(seed).normal(size=shape).clip(-1.9, 1.9)


ARGS = {
    springs: (0.7, np.linspace(0.0, 1.0, 12)),
    regression: (np.cos(np.arange(6000.0)).reshape(30, 200) / 10, np.where(np.arange(30) % 3, 1.0, -1.0)),
}
LOCAL = (valley, tridiagonal, springs, bending, tails, branches, wandering, coupled)
MORE = (slices, reshaped, filled, regression, angles, about_the_mean, product, whole, listed)


LONG = (regression, listed, reshaped, whole, filled, springs, angles)  # to compile


@pytest.mark.parametrize("f", [pytest.param(f, marks=[pytest.mark.slow] * (f in LONG)) for f in LOCAL + MORE])
def test_right_to_the_last_digits(f):
    args, shape = ARGS.get(f, ()), (12, 17) if f is springs else 200
    gradient = Gradient(f, args=args, compile="eager")
    for seed in range(3):
        x = sample(seed, shape)
        right = exact(f, x, *args)
        g, info = gradient.with_info(x)
        assert info.way == "owner lanes", info.reason
        assert np.abs(g - right).max() <= 2e-15 * np.abs(right).max()
        assert (np.abs(g - right) <= info.error).all()
        assert np.array_equal(gradient(x), g)


def test_the_same_bits_and_evaluations_whatever_was_called_before():
    points = [sample(seed) for seed in range(6)]
    gradient = Gradient(wandering, compile="eager")
    once, counts = [gradient(x) for x in points], [gradient.with_info(x)[1].nfev for x in points]
    for _ in range(100):
        assert all([np.array_equal(gradient(x), g) for x, g in zip(points, once, strict=True)])
    backwards = Gradient(wandering, compile="eager")
    assert all([np.array_equal(backwards(x), g) for x, g in zip(points[::-1], once[::-1], strict=True)])
    assert [backwards.with_info(x)[1].nfev for x in points] == counts
    out = np.empty(200)
    assert gradient(points[0], out=out) is out
    assert np.array_equal(out, once[0])


def test_one_call_does_not_wait_for_it():
    x = sample(1)
    lanes = Gradient(valley)(x)
    assert np.array_equal(numerical_gradient(valley, x, compile="eager"), lanes)
    assert not np.array_equal(Gradient(valley, compile="eager")(x), lanes)
    assert way(Gradient(valley), x) != "owner lanes"
    assert way(Gradient(valley), sample(1, 1000)) == "owner lanes"


def test_what_is_refused_goes_to_lanes():
    x = sample(2)
    gradient = Gradient(rotating, compile="eager")
    assert np.array_equal(gradient(x), numerical_gradient(rotating, x))
    _, info = gradient.with_info(x)
    assert info.way != "owner lanes"
    assert "not in owner lanes" in info.reason


def test_jumps_are_where_they_are():
    x = sample(7)
    gradient = Gradient(jumps, compile="eager")
    g, info = gradient.with_info(x)
    assert info.way == "owner lanes", info.reason
    assert np.allclose(g, 2 * (x - np.round(x)) + np.sign(x) * np.trunc(10 + np.roll(x, 1)) + np.floor(x), atol=1e-13)


def test_an_index_beyond_the_array_reads_nothing():
    @njit
    def beyond(x):
        w, s = np.zeros(3), 0.0
        for i in range(len(x)):
            w[i % 3] = x[i]
            s += x[i] * x[i + 1 - 3 * len(x)] + w[i]
        return s

    assert "IndexError" in Gradient(beyond, compile="eager").explain(sample(1))


def test_no_memory_of_negative_size_is_cleared():
    @njit
    def negative(x):
        w, s = (
            np.zeros(len(x) - 201),
            0.0,
        )  # room for other things hid the sign
        for i in range(len(x)):
            s += x[i] ** 2
        for i in range(len(w)):
            w[i] = x[i]
        return s + w.sum()

    with pytest.raises(ValueError, match="negative"):
        Gradient(negative, compile="eager")(sample(1, 200))


@pytest.mark.slow
def test_comprehensions_tables_and_parts_along_an_axis():
    @njit
    def tables(x, weights):
        r = np.array([x[i + 1] - x[i] ** 2 for i in range(len(x) - 1)])
        g = x.reshape((-1, 10))
        around = np.concatenate((g[:, 1:], g[:, :1]), axis=1)
        framed = np.vstack((np.zeros((1, 10)), g))
        s = np.sum(r * r) + np.sum((g - around) ** 2) + np.sum(np.diff(framed, 2) ** 2)
        return s + np.sum(weights.inner[0] * (x - np.roll(g, 1).ravel()) ** 2)

    weights = Weights(np.linspace(0.5, 1.5, 200), (np.array(2.0).reshape(1),))
    x = sample(1, 200)
    g, info = Gradient(tables, args=(weights,), compile="eager").with_info(x)
    assert info.way == "owner lanes", info.reason
    right = exact(tables, x, weights)
    assert np.abs(g - right).max() <= 1e-15 * np.abs(right).max()


def test_what_nobody_has_set_is_zero():
    @njit
    def unset(x):
        s = 0.0
        for i in range(len(x)):
            if i > len(x):
                t = x[i] * x[i]
            s += x[i] + t
            s += t * x[i]
        return s

    Gradient(unset, compile="eager")(sample(1))  # whatever f makes of it: nothing is read or written by chance


def test_where_the_first_call_was_decides_nothing():
    """Dense at one point, sparse at another: whether owner lanes are for f follows from neither."""

    @njit
    def either(x):
        s = 0.0
        for i in range(len(x)):
            if x[0] > 0.0:
                s += x[i] ** 3
            else:
                for j in range(len(x)):
                    s += x[i] * x[j] ** 2
        return s

    points = [sample(6), sample(6)]
    points[0][0], points[1][0] = 1.0, -1.0
    there, back = Gradient(either, compile="eager"), Gradient(either, compile="eager")
    forward, backward = [there(x) for x in points], [back(x) for x in points[::-1]]
    assert np.array_equal(forward, backward[::-1])
    assert np.array_equal([there(x) for x in points], forward)


def test_coordinates_at_a_branch_are_evaluated_plainly():
    x = np.repeat([0.0, 0.5, 3.0, 9.0], 25)
    gradient = Gradient(branches, compile="eager")
    g = gradient(x)
    assert np.array_equal(g, gradient.with_info(x)[0])
    assert np.allclose(g, numerical_gradient(branches, x, backend="python"), rtol=0, atol=1e-5)


@njit
def remembering(x):
    """From x[0] = 3 on, what was read at one place meets what is read there in the next round."""
    s, before = 0.0, x[0]
    for i in range(1, len(x)):
        v = x[i]
        s += v * before if x[0] > 3.0 else v * v
        before = v
    return s


def test_explain_names_places_or_colours_and_passes():
    said = Gradient(tridiagonal, compile="eager").explain(sample(0))
    assert "owner lanes" in said
    assert "a slope for each place where f reads x, in one run of f" in said
    said = Gradient(slices, compile="eager").explain(sample(0))
    assert "colours of coordinates in one run of f" in said
    assert "colours for" not in said


def test_iterations_within_a_term_have_places():
    """A step depends on what it is added to; a series within a loop reads the same entry in each round."""
    nodes = np.array([0.1, 0.4, 0.7])

    @njit
    def root(a, b):
        y = 1.0
        for _ in range(50):
            step = (y * y * y + a * y - b) / (3.0 * y * y + a)
            y -= step
            if abs(step) < 1e-15:
                break
        return y

    @njit
    def f(x):
        s = 0.0
        for i in range(x.size - 1):
            e = 1.0
            for k in range(3):
                e += nodes[k] * x[i] ** k
            s += e * root(x[i], x[i + 1])
        return s

    x = sample(3, 40)
    a, b = np.abs(x[:-1]) + 0.5, np.abs(x[1:]) + 0.5
    x = np.append(a, b[-1])
    b = x[1:]
    gradient = Gradient(f, compile="eager")
    g, info = gradient.with_info(x)
    assert info.way == "owner lanes"
    assert "a slope for each place" in gradient.explain(x)
    y = np.array([root(*pair) for pair in zip(a, b, strict=True)])
    e, slope = 1.1 + 0.4 * a + 0.7 * a**2, 0.4 + 1.4 * a
    right, divisor = np.zeros(x.size), 3.0 * y**2 + a
    right[:-1] += slope * y - e * y / divisor
    right[1:] += e / divisor
    assert np.abs(g - right).max() <= 1e-14 * np.abs(right).max()


def test_owners_that_meet_at_one_place_go_to_colours():
    gradient, x, counts = Gradient(remembering, compile="eager"), sample(3, 5000), []
    for first in (1.0, 4.0, 1.0, 4.0):
        x[0] = first
        beside = np.zeros(5002)
        beside[1:-1] = x
        right = beside[2:] + beside[:-2] if first > 3.0 else np.where(np.arange(5000), 2.0 * x, 0.0)
        g, info = gradient.with_info(x)
        assert info.way == "owner lanes", info.reason
        assert np.abs(g - right).max() <= 1e-15 * np.abs(right).max()
        assert np.array_equal(g, gradient(x))
        counts.append(info.nfev)
    assert counts[:2] == counts[2:]
    assert counts[1] > counts[0]  # the run that found them


def test_a_total_that_grows_after_its_use_goes_to_colours():
    @njit
    def guarded(x):
        s, t = 0.0, 0.0
        for v in x:
            s += v * v
            t += s * v
        return t

    gradient, x = Gradient(guarded, compile="eager"), sample(1)
    g = gradient(x)
    assert "a slope for each place" not in gradient.explain(x)
    assert np.allclose(g, numerical_gradient(guarded, x, backend="python"), rtol=1e-6, atol=1e-6)
    assert np.array_equal(g, gradient(x))


def test_threads_have_nothing_in_common():
    points = [sample(seed) for seed in range(8)]
    functions = [Gradient(f, compile="eager") for f in (tails, bending)]
    once = [[gradient(x) for x in points] for gradient in functions]
    wrong = []

    def work(which):
        for k in range(300):
            at = (k + which) % len(points)
            if not np.array_equal(functions[which % 2](points[at]), once[which % 2][at]):
                wrong.append((which, at))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@njit
def strict(x):
    s = 0.0
    for i in range(len(x) - 1):
        if x[i] > 5.0:
            raise ValueError("beyond 5")
        s += x[i] * x[i + 1]
    return s


def test_exceptions_of_f_come_through():
    gradient = Gradient(strict, compile="eager")
    x = sample(3)
    assert way(gradient, x) == "owner lanes"
    x[7] = 6.0
    with pytest.raises(ValueError, match="beyond 5"):
        gradient(x)
    x[7] = 1.0
    assert way(gradient, x) == "owner lanes"


def test_arrays_among_the_arguments_stay_alive():
    rest = np.linspace(0.0, 1.0, 12)
    gradient = Gradient(springs, args=(0.7, rest), compile="eager")
    x = sample(5, (12, 17))
    g = gradient(x)
    held = sys.getrefcount(rest)
    for _ in range(50):
        assert np.array_equal(gradient(x), g)
    assert sys.getrefcount(rest) == held
    assert np.array_equal(rest, np.linspace(0.0, 1.0, 12))


@pytest.mark.parametrize("n", [200, 5000])
def test_conflicts_write_nowhere(n):
    """A point where the owners of one colour meet, though they did not where the colours were found."""

    @njit
    def pairs(x):
        s = 0.0
        for i in range(len(x) - 1):
            j = i + 1 if x[0] < 3.0 else len(x) - 2 - i
            t = 0.0
            for k in range(1):  # what sums other entries within a loop is for colours
                t += x[i + k]
            s += t * x[j] * x[j] + x[i]
        return s

    gradient = Gradient(pairs, compile="eager")
    i = np.arange(n - 1)
    counts = []
    for first in (1.0, 4.0, 1.0, 4.0):
        x = sample(4, n)
        x[0] = first
        j = i + 1 if first < 3.0 else n - 2 - i
        right = np.zeros(n)
        np.add.at(right, i, x[j] ** 2 + 1.0)
        np.add.at(right, j, 2.0 * x[i] * x[j])
        g, info = gradient.with_info(x)
        assert np.abs(g - right).max() <= 1e-8 * np.abs(right).max()
        assert (info.way == "owner lanes") == (first < 3.0 or n == 5000)
        counts.append(info.nfev)
    assert counts[:2] == counts[2:]


def test_ties_of_owners_that_have_met_write_nowhere():
    """Two owners of one colour joined, 64 | 128 = 192 of 130, are no place in the list of who changes a branch."""

    @njit
    def tied(x):
        s = 0.0
        for i in range(len(x) - 1):
            j = i + 1 if x[0] < 3.0 else (i + 64) % len(x)
            a, b = x[i] * x[j], x[j] * x[i]
            s += a if a > b else 0.5 * b
        return s

    gradient = Gradient(tied, compile="eager")
    x = sample(4, 130)
    assert gradient.with_info(x)[1].way == "owner lanes"
    x[0] = 4.0
    g, info = gradient.with_info(x)
    assert "owners of one colour met" in info.reason
    assert np.array_equal(gradient(x), g)


@njit
def of_planes(x):
    """`np.cross` of a vector in space and one of a plane, whose third component is not there to be read."""
    s = 0.0
    for i in range(len(x) - 3):
        c = np.cross(x[i : i + 3] * 1.0, x[i : i + 2] * x[i + 1 : i + 3])
        s += c[0] * c[1] + c[2]
    return s


@njit
def of_nothing(x):
    """The median of no numbers is nan, which f leaves out."""
    m = np.median((x * x)[:0].copy())
    return np.sum(x * x) + (m if m == m else 0.0)


@njit
def beyond(x, at):
    y = x * x
    return y.flat[at] + np.sum(y)


@pytest.mark.parametrize(
    ("f", "args", "way"),
    [
        pytest.param(of_planes, (), "owner lanes", marks=pytest.mark.slow),
        pytest.param(of_nothing, (), "lanes", marks=pytest.mark.slow),
        (beyond, (7,), "lanes"),
    ],
)
def test_numbers_that_are_not_there_are_not_read(f, args, way):
    """numba checks no bounds in what f calls, and none of `flat`: owners made of anything would write anywhere."""
    x = sample(5, 160)
    g, info = Gradient(f, args=args, compile="eager").with_info(x)
    assert info.way == way
    exact = numerical_gradient(f, x, args=args)
    assert np.allclose(g, exact, rtol=1e-9, atol=1e-9)


@njit
def uneven(x, axis):
    y = x * x
    return np.sum(np.stack((y[:3], y[:2], y[:4]), axis)) + np.sum(y)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
def test_uneven_rows_raise_as_in_f(axis):
    with pytest.raises(ValueError, match="same shape"):
        Gradient(uneven, args=(axis,), compile="eager")(sample(5, 160))


# ---- the largest one so far


@njit
def soft_largest(x):
    m = -np.inf
    for v in x:
        m = max(m, v)
    s = 0.0
    for v in x:
        s += np.exp(v - m)
    return m + np.log(s)


@njit
def spread_of_terms(x):
    least = x[0] * x[1]
    for i in range(1, len(x) - 1):
        least = min(x[i] * x[i + 1], least)
    s = 0.0
    for i in range(len(x)):
        s += (x[i] - least) ** 2
    return s


@njit
def pooled(x):
    s = 0.0
    for i in range(0, len(x) - 4, 2):
        best = x[i]
        for k in range(1, 4):
            best = max(best, x[i + k] * x[i])
        s += best * best
    return s


@pytest.mark.slow
@pytest.mark.parametrize("f", [soft_largest, spread_of_terms, pooled])
def test_the_largest_so_far_may_meet_everyone(f):
    gradient = Gradient(f, compile="eager")
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=200)
        g, info = gradient.with_info(x)
        assert info.way == "owner lanes", info.reason
        right = exact(f, x)
        # the slope in the largest one is 1 less a sum that comes near to it
        assert np.abs(g - right).max() <= 1e-15 * max(1.0, np.abs(right).max())


@pytest.mark.slow
def test_the_largest_of_equal_ones_is_taken_as_central_differences_do():
    x = np.ones(100)
    assert np.abs(Gradient(soft_largest, compile="eager")(x) - 0.01).max() <= 1e-6


# ---- faults of ours


def faulty(monkeypatch, table, name, fault):
    from fastgrad.lifting.owners import operators

    monkeypatch.setitem(getattr(operators, table), name, fault)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_wrong_rule_is_found_out(monkeypatch, offset):
    faulty(monkeypatch, "UNARY", "sin", lambda b, y, z: z * 1.1)

    @njit
    def waves(x):
        s = offset
        for v in x:
            s += np.sin(v) + v * v
        return s

    gradient = Gradient(waves, compile="eager")
    for seed in range(4):
        x = sample(seed)
        g, info = gradient.with_info(x)
        assert "plain differences do not confirm it" in info.reason
        assert np.abs(g - np.cos(x) - 2.0 * x).max() <= 1e-6
        assert np.array_equal(gradient(x), g)


def test_a_wrong_rule_is_found_out_where_f_is_flat(monkeypatch):
    faulty(monkeypatch, "BINARY", "multiply", lambda a, b, y, z: (b, a + 0.01))

    @njit
    def bowl(x):
        s = 0.0
        for v in x:
            s += (v - 0.3) * (v - 0.3)
        return s

    info = Gradient(bowl, compile="eager").with_info(np.full(100, 0.3))[1]
    assert "plain differences do not confirm it" in info.reason


def test_a_wrong_value_is_told_and_not_used(monkeypatch):
    faulty(monkeypatch, "FUNCTIONS_OF_TWO", "hypot", math.atan2)

    @njit
    def lengths(x):
        s = 0.0
        for i in range(1, len(x)):
            s += math.hypot(x[i - 1], x[i])
        return s

    x, gradient = sample(1), Gradient(lengths, compile="eager")
    with pytest.warns(RuntimeWarning, match="Please report this f"):
        g = gradient(x)
    assert np.array_equal(g, numerical_gradient(lengths, x))


# ---- f that may round as it likes


@njit(fastmath=True)
def square_of(v):
    return v * v


@njit
def residuals(x, offset):
    s = -offset
    for i in range(x.size - 1):
        s += square_of(x[i + 1] - x[i] * x[i])
    return s


@pytest.mark.slow
def test_values_of_fastmath_are_told_to_some_roundings(monkeypatch):
    gradient = Gradient(residuals, compile="eager")
    x = sample(4)
    assert way(gradient, x, 0.0) == "owner lanes"
    right = exact(residuals, x, 0.0)
    for offset in (0.0, residuals(x, 0.0)):  # with the second, the value is a few roundings
        assert np.abs(gradient(x, offset) - right).max() <= 1e-15 * np.abs(right).max()

    faulty(monkeypatch, "BINARY", "multiply", lambda a, b, y, z: (b, a * 1.1))
    again = njit(residuals.py_func)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g, info = Gradient(again, args=(0.0,), compile="eager").with_info(x)
    assert "plain differences do not confirm it" in info.reason
    assert np.abs(g - right).max() <= 1e-6 * np.abs(right).max()


@pytest.mark.slow
def test_a_jacobian_of_fastmath_goes_in_lanes():
    @njit(fastmath=True)
    def squares(x):
        return x * x

    x = sample(4)
    assert np.abs(np.diag(numerical_jacobian(squares, x)) - 2.0 * x).max() <= 1e-6


# ---- random programs


UNARY = (
    "np.exp(0.3*({}))", "np.sin({})", "np.cos({})", "np.tanh({})", "np.arctan({})", "np.log(1.5+({})**2)",
    "np.sqrt(1.0+({})**2)", "np.sinh(0.3*({}))", "np.cosh(0.3*({}))", "np.log1p(({})**2)", "np.expm1(0.2*({}))",
    "({})**2", "({})**3", "-({})", "(1.0+({})**2)**0.7", "(2.0+({})**2)**-2", "np.tan(0.2*np.sin({}))",
    "np.log2(2.0+({})**2)", "np.log10(2.0+({})**2)", "abs({})",
)  # fmt: skip
BINARY = (
    "({}) + ({})", "({}) - ({})", "({}) * ({})", "({}) / (2.0 + ({})**2)", "(1.2 + np.sin({}))**(({})*0.5)",
    "max({}, {})", "min({}, {})",
)  # fmt: skip
RESULTS = (
    "s", "0.5 * s", "s + q", "s * 0.3 - q / n", "np.log(1.0 + s * s) + q", "s * q", "np.sqrt(1.0 + s * s / n)",
    "s / (1.0 + q * q)", "s + x[0] * x[1]", "max(s, q) + s", "abs(s) ** 1.3 - q", "(s + 1.0) ** 2 * np.sin(q)",
)  # fmt: skip


WHOLE = (
    ["    m = 0.0", "    for v in x:", "        m += v / n"],
    ["    m = 1.0", "    for i in range(n):", "        m *= 1.0 + 0.1 * np.sin(x[i])"],
    ["    m = 0.1", "    for i in range(1, n):", "        m += x[i] * x[i - 1]", "    m = np.tanh(m / n)"],
    ["    k = 1.0", "    m = 0.0", "    for v in x:", "        m = m - v * v", "        k = k * (1.0 + 0.02 * v)",
     "    m = m / n + k", "    m = m * k"],
)  # fmt: skip


def expression(draw, depth, leaves):
    if depth == 0 or draw.random() < 0.15:
        return draw.choice(leaves) if draw.random() < 0.85 else repr(round(draw.uniform(-2, 2), 2))
    if draw.random() < 0.5:
        return draw.choice(UNARY).format(expression(draw, depth - 1, leaves))
    return draw.choice(BINARY).format(expression(draw, depth - 1, leaves), expression(draw, depth - 1, leaves))


def program(draw):
    """The source of a random sum of local terms, with inner sums, a second total and what becomes of them."""
    width = draw.choice([1, 2, 3])
    leaves = ["x[i]"] + [f"x[i + {j}]" for j in range(1, width)]
    lines = ["def f(x):", "    s = 0.0", "    q = 0.5", "    n = len(x)"]
    if draw.random() < 0.4:  # a total that is used in terms
        lines += draw.choice(WHOLE)
        leaves += ["m"]
    lines += [f"    for i in range(0, n - {width - 1}, {draw.choice([1, 1, 2])}):"]
    if draw.random() < 0.4:
        inner = expression(draw, 2, ["x[i + j]", "x[i]"])
        lines += [f"        t = {expression(draw, 2, leaves)}", f"        for j in range({width}):"]
        lines += [f"            t {draw.choice('+-')}= {inner}"]
        leaves = [*leaves, "t", "t"]
    if draw.random() < 0.4:
        lines += [f"        u = {expression(draw, 2, leaves)}"]
        leaves = [*leaves, "u", "u"]
    grown = draw.choice(["s += {}", "s -= {}", "s = s + {}", "s = s - {}", "s = s + {} - x[i]"])
    lines += ["        " + grown.format(f"({expression(draw, 3, leaves)})")]
    if draw.random() < 0.5:
        lines += ["        if i % 3 == 0:", f"            q += {expression(draw, 2, leaves)}"]
    return "\n".join([*lines, f"    return {draw.choice(RESULTS)}"])


def check_program(seed):
    draw = random.Random(seed)
    source, names = program(draw), {"np": np}
    exec(source, names)
    f = njit(names["f"])
    x = np.random.default_rng(seed).normal(size=draw.choice([45, 130]))
    gradient = Gradient(f, compile="eager")
    with np.errstate(all="ignore"):
        right = exact(f, x)
    g, info = gradient.with_info(x)
    assert np.array_equal(gradient(x), g), source
    if info.way == "owner lanes":
        # the sine of 1e4 is not certain to more digits than x is: there the bars say so
        assert (np.abs(g - right) <= np.maximum(1e-13 * np.abs(right).max(), info.error)).all(), source
    return info.way == "owner lanes"


@pytest.mark.slow
def test_random_programs():
    lifted = [check_program(seed) for seed in range(6)]
    assert sum(lifted) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_more_random_programs(seed):
    check_program(seed)


# ---- the table of problems


# n = 100 residuals share one sum of n terms, which f adds up in order: wrong by 4e-14, it weighs 2 n times, of 18
ROUNDED = {"brown_almost_linear": 1e-12}


def check_problem(name):
    problem = PROBLEMS[name]
    if problem.unavailable:
        pytest.skip(problem.unavailable)
    x, args = problem.make(problem.size_near(200))
    gradient = Gradient(problem.jitted, args=args, compile="eager")
    g, info = gradient.with_info(x)
    assert np.array_equal(gradient(x), g)
    if info.way == "owner lanes":
        right = problem.gradient(x, *args)
        assert np.abs(g - right).max() <= ROUNDED.get(name, 1e-13) * np.abs(right).max()
    else:
        assert x.size < 30 or "not in owner lanes" in info.reason
        assert np.array_equal(g, numerical_gradient(problem.jitted, x, args=args))
    return info.way == "owner lanes"


@njit
def steered(u):
    """Each state takes in the one before: sums of few terms that are used at once."""
    p, v, s = 1.0, 0.0, 0.0
    for i in range(u.size):
        s += p * p + 0.1 * u[i] ** 2
        p += 0.1 * v
        v += 0.1 * (u[i] - np.sin(p))
    return s + 10.0 * p * p


@njit
def stored(u):
    """The same with states in arrays, and a product of many factors."""
    p, v = np.ones(u.size + 1), np.zeros(u.size + 1)
    share, s = 1.0, 0.0
    for i in range(u.size):
        p[i + 1] = p[i] + 0.1 * v[i] * np.cos(p[i])
        v[i + 1] = 0.9 * v[i] + 0.1 * u[i]
        share *= 1.0 + 0.01 * u[i]
        s += share * p[i + 1] ** 2
    return s


@pytest.mark.parametrize("f", [steered, pytest.param(stored, marks=pytest.mark.slow)])
def test_states_that_go_from_step_to_step(f):
    for n in (40, 300):
        x = np.linspace(0.2, 1.1, n) + 0.1 * np.sin(np.arange(n))
        g, info = Gradient(f, compile="eager").with_info(x)
        right = exact(f, x)
        assert info.way == "owner lanes", info.reason
        assert np.abs(g - right).max() <= 1e-14 * np.abs(right).max()


@pytest.mark.parametrize(("f", "sizes", "taken"), [(valley, (8, 12, 16), False), (tails, (8, 20), True)])
def test_few_coordinates_by_counted_work(f, sizes, taken):
    """With functions such as exp owner lanes are the faster way from 8 coordinates on, without from some 20."""
    gradient = Gradient(f, compile="eager")
    for n in sizes:
        assert (way(gradient, np.linspace(0.2, 1.1, n)) == "owner lanes") == taken


def test_slopes_are_those_at_the_numbers_that_f_rounds():
    """Of n = 100 residuals that share a rounded sum: f's own are 4e-13 of the gradient off, and nothing is added."""
    problem = PROBLEMS["brown_almost_linear"]
    x, _ = problem.make(100)
    total, product = 0.0, 1.0
    for v in x:
        total, product = total + v, product * v
    residuals = (x[:-1] + total - (x.size + 1)).astype(np.longdouble)
    right = 2 * residuals.sum() + 2 * (np.longdouble(product) - 1) * product / x.astype(np.longdouble)
    right[:-1] += 2 * residuals
    g, info = Gradient(problem.jitted, compile="eager").with_info(x)
    assert info.way == "owner lanes", info.reason
    assert np.abs(g - right).max() <= 1e-15 * np.abs(right).max()


def test_some_problems():
    assert check_problem("rosenbrock")
    assert check_problem("wood")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_all_problems(name):
    check_problem(name)
