"""Functions of Moré, Garbow and Hillstrom (1981), written on components, with their standard starts.

Each is a sum of squares; numbers in the comments are those of the paper. A problem is the function at
its start and at points around it (`points`), with random constants nowhere: these are for the record,
not for tuning.
"""

from __future__ import annotations

import zlib

import numpy as np

from benchmarks.accuracy_problems import Problem

BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
KOWALIK_Y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
KOWALIK_U = [4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]
GAUSSIAN_HALF = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
GAUSSIAN = [*GAUSSIAN_HALF, 0.3989, *reversed(GAUSSIAN_HALF)]
MEYER = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
OSBORNE = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414,
    0.411, 0.406,
]  # fmt: skip


def _squares(residuals):
    return sum(r * r for r in residuals)


def rosenbrock(x, m):  # 1
    return _squares([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def freudenstein_roth(x, m):  # 2
    return _squares([
        -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1],
        -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1],
    ])  # fmt: skip


def powell_badly_scaled(x, m):  # 3
    return _squares([1e4 * x[0] * x[1] - 1, m.exp(-x[0]) + m.exp(-x[1]) - 1.0001])


def brown_badly_scaled(x, m):  # 4
    return _squares([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x, m):  # 5
    return _squares([y - x[0] * (1 - x[1] ** i) for i, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


def jennrich_sampson(x, m):  # 6
    return _squares([2 + 2 * i - (m.exp(i * x[0]) + m.exp(i * x[1])) for i in range(1, 11)])


def helical_valley(x, m):  # 7, for x[0] > 0
    angle = m.arctan(x[1] / x[0]) / (2 * float(np.pi))
    return _squares([10 * (x[2] - 10 * angle), 10 * (m.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def bard(x, m):  # 8
    return _squares([
        y - (x[0] + i / ((16 - i) * x[1] + min(i, 16 - i) * x[2])) for i, y in enumerate(BARD, 1)
    ])  # fmt: skip


def gaussian(x, m):  # 9
    return _squares([
        x[0] * m.exp(-x[1] * ((8 - i) / 2 - x[2]) ** 2 / 2) - y for i, y in enumerate(GAUSSIAN, 1)
    ])  # fmt: skip


def meyer(x, m):  # 10
    return _squares([x[0] * m.exp(x[1] / (45 + 5 * i + x[2])) - y for i, y in enumerate(MEYER, 1)])


def box(x, m):  # 12
    return _squares([
        m.exp(-i / 10 * x[0]) - m.exp(-i / 10 * x[1]) - x[2] * (float(np.exp(-i / 10)) - float(np.exp(-i)))
        for i in range(1, 11)
    ])  # fmt: skip


def powell_singular(x, m):  # 13
    return _squares([x[0] + 10 * x[1]]) + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4


def wood(x, m):  # 14
    return (
        100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2
        + 10 * (x[1] + x[3] - 2) ** 2 + (x[1] - x[3]) ** 2 / 10
    )  # fmt: skip


def kowalik_osborne(x, m):  # 15
    return _squares([
        y - x[0] * (u * u + u * x[1]) / (u * u + u * x[2] + x[3]) for y, u in zip(KOWALIK_Y, KOWALIK_U, strict=True)
    ])  # fmt: skip


def brown_dennis(x, m):  # 16
    return _squares([
        (x[0] + i / 5 * x[1] - float(np.exp(i / 5))) ** 2
        + (x[2] + x[3] * float(np.sin(i / 5)) - float(np.cos(i / 5))) ** 2
        for i in range(1, 21)
    ])  # fmt: skip


def osborne_1(x, m):  # 17
    return _squares([
        y - (x[0] + x[1] * m.exp(-10.0 * i * x[3]) + x[2] * m.exp(-10.0 * i * x[4])) for i, y in enumerate(OSBORNE)
    ])  # fmt: skip


def biggs_exp6(x, m):  # 18
    total = []
    for i in range(1, 14):
        t = i / 10
        y = float(np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t))
        total.append(x[2] * m.exp(-t * x[0]) - x[3] * m.exp(-t * x[1]) + x[5] * m.exp(-t * x[4]) - y)
    return _squares(total)


def penalty_1(x, m):  # 23
    return 1e-5 * _squares([v - 1 for v in x]) + (_squares(x) - 0.25) ** 2


def variably_dimensioned(x, m):  # 25
    s = sum((j + 1) * (v - 1) for j, v in enumerate(x))
    return _squares([v - 1 for v in x]) + s**2 + s**4


def trigonometric(x, m):  # 26
    n = len(x)
    total = n - sum(m.cos(v) for v in x)
    return _squares([total + (i + 1) * (1 - m.cos(v)) - m.sin(v) for i, v in enumerate(x)])


def brown_almost_linear(x, m):  # 27
    n, s, product = len(x), sum(x), 1.0
    for v in x:
        product = product * v
    return _squares([v + s - (n + 1) for v in x[:-1]]) + (product - 1) ** 2


def broyden_tridiagonal(x, m):  # 30
    n = len(x)
    return _squares([
        (3 - 2 * x[i]) * x[i] - (x[i - 1] if i else 0.0) - 2 * (x[i + 1] if i + 1 < n else 0.0) + 1 for i in range(n)
    ])  # fmt: skip


# function, standard start
TABLE = [
    (rosenbrock, [-1.2, 1.0]),
    (freudenstein_roth, [0.5, -2.0]),
    (powell_badly_scaled, [0.0, 1.0]),
    (brown_badly_scaled, [1.0, 1.0]),
    (beale, [1.0, 1.0]),
    (jennrich_sampson, [0.3, 0.4]),
    (helical_valley, [1.0, 0.3, 0.2]),
    (bard, [1.0, 1.0, 1.0]),
    (gaussian, [0.4, 1.0, 0.0]),
    (meyer, [0.02, 4000.0, 250.0]),
    (box, [0.0, 10.0, 20.0]),
    (powell_singular, [3.0, -1.0, 0.0, 1.0]),
    (wood, [-3.0, -1.0, -3.0, -1.0]),
    (kowalik_osborne, [0.25, 0.39, 0.415, 0.39]),
    (brown_dennis, [25.0, 5.0, -5.0, -1.0]),
    (osborne_1, [0.5, 1.5, -1.0, 0.01, 0.02]),
    (biggs_exp6, [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
    (penalty_1, [1.0, 2.0, 3.0, 4.0]),
    (variably_dimensioned, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
    (trigonometric, [0.1] * 10),
    (brown_almost_linear, [0.5] * 8),
    (broyden_tridiagonal, [-1.0] * 10),
]


def points(seed: int) -> list[Problem]:
    """Return every function at its start and at three points around it."""
    problems = []
    for f, start in TABLE:
        rng = np.random.default_rng([seed, zlib.crc32(f.__name__.encode())])
        base = np.array(start)
        length = np.where(base != 0.0, np.abs(base), 1.0)
        for k in range(4):
            around = 0.2 * k * length * rng.uniform(-1, 1, base.size)
            x = base + np.where(base != 0.0, around, 0.05 * around)
            problems.append(Problem(f, x, length, f.__name__, "MGH", True, seed))
    return problems
