"""Lanes against the scalar twin, the same sweep table, in one process: interleaved rounds, medians, ratios.

python benchmarks/lanes_speed.py [--widths 4,8] [--rounds 9]
"""

import argparse
import math
import time

import numpy as np
from numba import njit, typeof, types
from sklearn.datasets import load_digits

from fastgrad.lifting.lanes import compile_lanes, evaluate_table_lanes, evaluate_table_scalar, lane_width


@njit
def rosenbrock(x):
    s = 0.0
    for i in range(x.size - 1):
        a = x[i + 1] - x[i] * x[i]
        b = 1 - x[i]
        s += 100 * a * a + b * b
    return s


@njit
def powell(x):
    s = 0.0
    for i in range(0, x.size - 3, 4):
        s += (
            (x[i] + 10 * x[i + 1]) ** 2
            + 5 * (x[i + 2] - x[i + 3]) ** 2
            + (x[i + 1] - 2 * x[i + 2]) ** 4
            + 10 * (x[i] - x[i + 3]) ** 4
        )
    return s


@njit
def wood(x):
    s = 0.0
    for i in range(0, x.size - 3, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        s += (
            100 * (b - a**2) ** 2
            + (1 - a) ** 2
            + 90 * (d - c**2) ** 2
            + (1 - c) ** 2
            + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2)
            + 19.8 * (b - 1) * (d - 1)
        )
    return s


@njit
def broyden(x):
    n = x.size
    s = 0.0
    for i in range(n):
        left = x[i - 1] if i > 0 else 0.0
        right = x[i + 1] if i < n - 1 else 0.0
        r = (3 - 2 * x[i]) * x[i] - left - 2 * right + 1
        s += r * r
    return s


@njit
def chained(x):
    s = 0.0
    for i in range(x.size - 1):
        s += (x[i] ** 2 + x[i + 1] ** 2) ** 2 - 4 * x[i] + 3
    return s


@njit
def dixon_price(x):
    s = (x[0] - 1) ** 2
    for i in range(1, x.size):
        s += (i + 1) * (2 * x[i] ** 2 - x[i - 1]) ** 2
    return s


@njit
def lennard_jones(x):
    n = x.size // 3
    e = 0.0
    for i in range(n):
        for j in range(i):
            dx, dy, dz = x[3 * i] - x[3 * j], x[3 * i + 1] - x[3 * j + 1], x[3 * i + 2] - x[3 * j + 2]
            r2 = 1.0 / (dx * dx + dy * dy + dz * dz)
            r6 = r2 * r2 * r2
            e += 4 * (r6 * r6 - r6)
    return e


@njit
def squared_hinge(x, data, label):
    loss = 0.0
    for i in range(data.shape[0]):
        score = 0.0
        for j in range(x.size):
            score += data[i, j] * x[j]
        margin = 1 - label[i] * score
        if margin > 0:
            loss += margin * margin
    return loss


@njit
def numpy_rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@njit
def least_squares(x, a, b):
    r = a @ x - b
    return np.sum(r * r)


@njit
def ackley(x):
    a = b = 0.0
    for v in x:
        a += v * v
        b += math.cos(2 * math.pi * v)
    return -20 * math.exp(-0.2 * math.sqrt(a / x.size)) - math.exp(b / x.size) + 20 + math.e


@njit
def logistic(x):
    s = 0.0
    for v in x:
        s += math.log(1 + math.exp(-v))
    return s


@njit
def griewank(x):
    s, p = 0.0, 1.0
    for i in range(x.size):
        s += x[i] ** 2 / 4000
        p *= math.cos(x[i] / math.sqrt(i + 1))
    return s - p + 1


@njit(nogil=True, error_model="numpy")
def repeat_lanes(repeats, lane_address, scalar_address, args, x, tile, progress, y, index, points, values):
    for _ in range(repeats):
        evaluate_table_lanes(lane_address, scalar_address, args, x, tile, progress, y, index, points, values)


@njit(nogil=True, error_model="numpy")
def repeat_scalar(repeats, scalar_address, args, x, y, index, points, values):
    for _ in range(repeats):
        evaluate_table_scalar(scalar_address, args, x, y, index, points, values, False)


def ratio(f, x, args, width, rounds, fastmath=False):
    """(time of the scalar table / time in lanes, seconds in lanes, are the values the same bits?)"""
    signature = types.float64(typeof(x), *map(typeof, args))
    f.compile(signature)
    compiled = f.overloads[signature.args]
    scalar_address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    lifted = compile_lanes(f, x.ndim, tuple(map(typeof, args)), width=width, fastmath=fastmath)
    index, points = np.arange(x.size), np.stack([x + 1e-6, x - 1e-6], 1)
    tile, progress, y = np.empty((x.size, lifted.width)), np.zeros(1, np.intp), np.empty_like(x)
    a, b = np.empty_like(points), np.empty_like(points)

    def lanes(n):
        repeat_lanes(n, lifted.address, scalar_address, args, x, tile, progress, y, index, points, a)

    def scalar(n):
        repeat_scalar(n, scalar_address, args, x, y, index, points, b)

    times = []
    lanes(1), scalar(1)
    start = time.perf_counter()
    scalar(1)
    repeats = max(1, int(2e-3 / (time.perf_counter() - start)))
    for _ in range(rounds):
        start = time.perf_counter()
        lanes(repeats)
        middle = time.perf_counter()
        scalar(repeats)
        times.append((middle - start, time.perf_counter() - middle))
    lane_time, scalar_time = np.median(times, axis=0) / repeats
    return scalar_time / lane_time, lane_time, np.array_equal(a, b, equal_nan=True)


def problems():
    rng = np.random.default_rng(0)
    digits = load_digits()
    data, label = digits.data / 16, np.where(digits.target < 5, -1.0, 1.0)
    for n in (100, 1000):
        for f in (rosenbrock, powell, wood, broyden, chained, dixon_price):
            yield "arithmetic", f, rng.normal(size=n), ()
    for n in (30, 99):
        cube = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)[: n // 3]
        yield "arithmetic", lennard_jones, (cube + 0.05 * rng.normal(size=cube.shape)).ravel() * 1.1, ()
    yield "arithmetic", squared_hinge, rng.normal(size=64) * 0.1, (data, label)
    for n in (100, 1000):
        yield "numpy", numpy_rosenbrock, rng.normal(size=n), ()
    yield "numpy", least_squares, rng.normal(size=64), (data[:200], label[:200])
    for n in (100, 1000):
        for f in (ackley, logistic, griewank):
            yield "transcendental", f, rng.normal(size=n), ()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", default=str(lane_width()))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    widths = [int(w) for w in options.widths.split(",")]
    table = {}
    for kind, f, x, args in problems():
        modes = [(w, fast) for w in widths for fast in ((False, True) if kind == "transcendental" else (False,))]
        cells = [ratio(f, x, args, w, options.rounds, fast) for w, fast in modes]
        for mode, cell in zip(modes, cells, strict=True):
            table.setdefault((kind, *mode), []).append(cell[0])
        print(
            f"{kind:15s}{f.py_func.__name__:18s}{x.size:5d}  "
            + "  ".join(
                f"W={w}{'f' if fast else ' '} {r:5.2f}x {t * 1e6:9.1f}us {'same' if same else 'differ'}"
                for (w, fast), (r, t, same) in zip(modes, cells, strict=True)
            ),
            flush=True,
        )
    for (kind, width, fast), values in table.items():
        mean = np.exp(np.mean(np.log(values)))
        print(f"{kind:15s} W={width}{' fastmath' if fast else ''}: mean {mean:.2f}x, worst {min(values):.2f}x")


if __name__ == "__main__":
    main()
