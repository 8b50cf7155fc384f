"""How many digits of a gradient are right, and is it told where none is? The tables of fastgrad and its peers.

    python -m benchmarks.accuracy [--seeds 4] [--only ours|peers] [--set tuned|held-out|mgh|awkward] [--families]

Every method differentiates the same functions at the same points; references are in 100 digits
(`accuracy_problems.Problem.gradient`). *digits* of one instance: minus the logarithm of its worst
component's error relative to ``max(|g_i|, 1e-3 max_j |g_j L_j| / L_i)``, which does not depend on units,
clipped to [-1, 16.5]. *gm* is the mean of the digits, *worst* the worst instance, *ev/n* evaluations of f
per component, *fail* the share of instances without a right first digit, *bars* the share of components
whose error is within the error bar (biased functions excepted: no bar can see a bias), *loose* the
median of bar over error.

Of the forty awkward functions, by which no constant of fastgrad was chosen, each verdict is *right*, *flagged* (a warning
names what is not certain) or *silent*: finite, not flagged, and wrong by more than 10 %, or by more than ten times its
error bar where there is one. Where a gradient does not exist only a flag is right.
"""

from __future__ import annotations

import argparse
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import scipy.integrate
from numpy.typing import NDArray

from benchmarks.accuracy_problems import DIGITS, FAMILIES, Problem
from fastgrad import AccuracyWarning, numerical_gradient
from fastgrad.core.errors import NonFiniteWarning

Floats = NDArray[np.float64]
BIASED = {"ode_tolerance"}
CLASSES = "SBHCNK"


class Counted:
    """A problem around its point that counts the points at which it is evaluated."""

    def __init__(self, problem: Problem | Awkward) -> None:
        self.problem, self.nfev = problem, 0

    def __call__(self, x: Floats) -> float:
        self.nfev += 1
        return float(self.problem(np.asarray(x, float)))


Answer = tuple[Floats, Floats | None]
Method = Callable[[Counted, Floats], Answer]


def _ours(**options: Any) -> Method:
    def method(f: Counted, x: Floats) -> Answer:
        gradient, info = numerical_gradient(f, x, backend="python", full_output=True, **options)
        return gradient, info.error

    return method


OURS: dict[str, Method] = {
    "auto, noise='probe'": _ours(noise="probe"),
    "auto, default": _ours(),
    "auto, order 4": _ours(noise="probe", order=4),
    "adaptive, rtol=1e-13": _ours(method="adaptive", rtol=1e-13),
    "adaptive, rtol=1e-7": _ours(method="adaptive", rtol=1e-7),
}


def _textbook(f: Counted, x: Floats) -> Answer:
    steps = np.diag(np.full(x.size, 1e-4))
    return np.array([(f(x + h) - f(x - h)) / 2e-4 for h in steps]), None


def _scipy_forward(f: Counted, x: Floats) -> Answer:
    import scipy.optimize

    return np.asarray(scipy.optimize.approx_fprime(x, f)), None


def _scipy_central(f: Counted, x: Floats) -> Answer:
    from scipy.optimize._numdiff import approx_derivative

    return np.asarray(approx_derivative(f, x, method="3-point")).reshape(x.shape), None


def _numdifftools(f: Counted, x: Floats) -> Answer:
    import numdifftools

    found = numdifftools.Gradient(f, order=4, full_output=True)(x)
    return np.asarray(found[0]).reshape(x.shape), np.asarray(found[1]).reshape(x.shape)


def _jacobi(f: Counted, x: Floats) -> Answer:
    import jacobi

    gradient, error = jacobi.jacobi(f, x)
    return np.asarray(gradient).reshape(x.shape), np.asarray(error).reshape(x.shape)


PEERS: dict[str, Method] = {
    "textbook, h=1e-4": _textbook,
    "SciPy approx_fprime": _scipy_forward,
    "SciPy 3-point": _scipy_central,
    "jacobi": _jacobi,
    "numdifftools, order 4": _numdifftools,
}


@dataclass(frozen=True)
class Score:
    """One method on one instance."""

    family: str
    kind: str
    digits: float
    cost: float
    held: NDArray[np.bool_] | None
    loose: float


def digits(problem: Problem, gradient: Floats, exact: Floats) -> float:
    """Return the right digits of the worst component."""
    size = np.maximum(np.abs(exact), 1e-3 * np.abs(exact * problem.length).max() / problem.length)
    error = np.abs(gradient - exact) / size
    worst = float(np.where(np.isfinite(error), error, np.inf).max())
    return float(np.clip(-np.log10(max(worst, 1e-99)), -1.0, 16.5))


def score(method: Method, problem: Problem, exact: Floats) -> Score:
    counted = Counted(problem)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        gradient, bar = method(counted, problem.x.copy())
        right = digits(problem, gradient, exact)
        held, loose = None, np.nan
        if bar is not None and problem.family not in BIASED:
            error = np.abs(gradient - exact)
            held = error <= bar
            loose = float(np.median(bar / np.maximum(error, 1e-16 * np.abs(exact) + 1e-300)))
    return Score(problem.family, problem.kind, right, counted.nfev / problem.x.size, held, loose)


def summary(scores: Sequence[Score]) -> str:
    right, bars = [s.digits for s in scores], [s.held for s in scores if s.held is not None]
    line = f"{np.mean(right):5.2f}/{min(right):4.1f}"
    line += f"{np.mean([s.cost for s in scores]):7.1f}{100 * np.mean([d < 1 for d in right]):7.1f}"
    if bars:
        line += f"{100 * np.concatenate(bars).mean():7.1f}{np.nanmedian([s.loose for s in scores]):7.1f}"
    return line


def table(methods: dict[str, Method], cases: Iterable[tuple[Problem, Floats]], families: bool) -> None:
    cases = list(cases)
    kinds = [k for k in CLASSES if any(p.kind == k for p, _ in cases)]
    heads = "".join(f"{k + ' gm/worst':>14}{'ev/n':>6}" for k in kinds)
    print(f"{'':22}{heads}{'ALL gm/worst':>14}{'ev/n':>6}{'fail%':>7}{'bars%':>7}{'loose':>7}")
    for name, method in methods.items():
        scores = [score(method, p, exact) for p, exact in cases]
        line = f"{name:22}"
        for kind in kinds:
            some = [s for s in scores if s.kind == kind]
            line += f"{np.mean([s.digits for s in some]):9.2f}/{min(s.digits for s in some):4.1f}"
            line += f"{np.mean([s.cost for s in some]):6.1f}"
        print(line + "    " + summary(scores), flush=True)
        if families:
            for family in dict.fromkeys(s.family for s in scores):
                print(f"    {family:24}{summary([s for s in scores if s.family == family])}")


# Functions of Moré, Garbow and Hillstrom (1981), written on components, with their standard starts ----------------------
# Each is a sum of squares; numbers in the comments are those of the paper. For the record, not for tuning.

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
MGH = [
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
    for f, start in MGH:
        rng = np.random.default_rng([seed, zlib.crc32(f.__name__.encode())])
        base = np.array(start)
        length = np.where(base != 0.0, np.abs(base), 1.0)
        for k in range(4):
            around = 0.2 * k * length * rng.uniform(-1, 1, base.size)
            x = base + np.where(base != 0.0, around, 0.05 * around)
            problems.append(Problem(f, x, length, f.__name__, "MGH", True, seed))
    return problems


# Awkward functions of few variables -----------------------------------------------------------------------------------

NONE = np.nan  # no derivative


@dataclass(frozen=True)
class Awkward:
    """f, a point, and the exact gradient: as numbers, or as f on mpmath numbers; errors below `floor` do not count."""

    name: str
    f: Callable[[Floats], Any]
    x: Sequence[float]
    exact: Callable[[list[Any]], Any] | Sequence[float]
    floor: float = 0.0
    at: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", np.array(self.x, float))

    def __call__(self, x: Floats) -> float:
        return float(self.f(x))

    def gradient(self) -> Floats:
        """Return the exact gradient at the float64 point."""
        if not callable(self.exact):
            return np.array(self.exact, float)
        partial = []
        with mpmath.workdps(DIGITS):
            x = [mpmath.mpf(float(v)) for v in self.at]
            for i, v in enumerate(x):
                h = mpmath.mpf(10) ** -40 * max(abs(v), mpmath.mpf(10) ** -10)
                above, below = [*x], [*x]
                above[i], below[i] = v + h, v - h
                partial.append(float((self.exact(above) - self.exact(below)) / (2 * h)))
        return np.array(partial)


def judge(case: Awkward, gradient: Floats, bar: Floats | None, flagged: bool) -> str:
    """Return "right", "flagged" or "silent"."""
    exact = case.gradient()
    size = np.nan_to_num(np.abs(exact))
    enough = np.maximum(size, np.maximum(1e-3 * size.max(), case.floor))
    with np.errstate(all="ignore"):
        gap = np.abs(gradient - exact)
        wrong = np.isnan(exact) | (gap > 0.1 * enough)
        if bar is not None:
            wrong |= gap > 10.0 * bar + 1e-15 * enough
    if (wrong & np.isfinite(gradient)).any() and not flagged:
        return "silent"
    return "flagged" if flagged or not np.isfinite(gradient).all() else "right"


_rng = np.random.default_rng(20261)
LAYER, OUTER, POINT = _rng.normal(size=(5, 5)), _rng.normal(size=5), _rng.normal(size=5)
BIAS = -LAYER @ POINT + np.array([0.4, 2e-7, -0.8, 1.1, -0.6])
SLOPES = np.where(LAYER @ POINT + BIAS > 0.0, 1.0, 0.1)
DATA, LABELS, WEIGHTS = _rng.normal(size=(8, 8)), np.where(_rng.random(8) < 0.5, -1.0, 1.0), _rng.normal(size=8)
DATA[2] *= (1.0 - 1e-8) / (LABELS[2] * (DATA[2] @ WEIGHTS))  # its margin is 1e-8 within the hinge
ACTIVE = LABELS * (DATA @ WEIGHTS) < 1.0
MATRIX = _rng.normal(size=(6, 6)).astype(np.float32)
SAMPLE = _rng.normal(2.0, 3.0, 40)
BEST = [float(SAMPLE.mean()), float(np.log(SAMPLE.std()))]
TARGET = np.array([1.3, -0.4, 2.2])


def _fixed_point(a: float) -> float:
    x = 1.0
    for _ in range(200):
        new = np.cos(a * x)
        if abs(new - x) < 1e-10:
            break
        x = new
    return float(x)


def _fixed_point_exact(a: list[Any]) -> Any:
    return mpmath.findroot(lambda x: x - mpmath.cos(a[0] * x), 0.8)


def _single(x: Floats) -> float:
    z = MATRIX @ x.astype(np.float32)
    e = np.exp(z - z.max())
    return float(np.log(e.sum()) + z.max() - z[1])


def _single_exact(x: list[Any]) -> Any:
    z = [sum(mpmath.mpf(float(a)) * v for a, v in zip(row, x, strict=True)) for row in MATRIX]
    return mpmath.log(sum(mpmath.exp(v) for v in z)) - z[1]


def _hashed(x: Floats, size: float) -> float:
    return 1.0 + size * (zlib.crc32(x.tobytes()) / 2.0**31 - 1.0)


def _pieces(x: Floats) -> float:
    return float(np.interp(x[0], [0.0, 1.0, 2.0, 4.0], [0.0, 0.1, 0.35, 1.2])) + float(np.exp(x[1]))


mp = mpmath

# ruff: noqa: E501
AWKWARD = [
    # digits are lost inside
    Awkward("log(1+x)/x at 3e-8", lambda x: np.log(1 + x[0]) / x[0], [3e-8], lambda x: mp.log(1 + x[0]) / x[0]),
    Awkward("(sinh x - x)/x^3", lambda x: (np.sinh(x[0]) - x[0]) / x[0] ** 3, [2e-4], lambda x: (mp.sinh(x[0]) - x[0]) / x[0] ** 3),
    Awkward("sqrt(x+1)-sqrt(x) at 1e9", lambda x: np.sqrt(x[0] + 1) - np.sqrt(x[0]), [1e9], lambda x: mp.sqrt(x[0] + 1) - mp.sqrt(x[0])),
    Awkward("(1-cos)/sin at 1e-7", lambda x: (1 - np.cos(x[0])) / np.sin(x[0]), [1e-7], lambda x: (1 - mp.cos(x[0])) / mp.sin(x[0])),
    Awkward("exp(x)-exp(-x)-2x", lambda x: np.exp(x[0]) - np.exp(-x[0]) - 2 * x[0], [1e-3], lambda x: mp.exp(x[0]) - mp.exp(-x[0]) - 2 * x[0]),
    Awkward("small root of a quadratic", lambda x: (-x[1] + np.sqrt(x[1] ** 2 - 4 * x[0] * x[2])) / (2 * x[0]), [1.1, 1e5, 0.9], lambda x: (-x[1] + mp.sqrt(x[1] ** 2 - 4 * x[0] * x[2])) / (2 * x[0])),
    Awkward("log(1+exp(x)) at -33", lambda x: np.log(1 + np.exp(x[0])), [-33.0], lambda x: mp.log(1 + mp.exp(x[0]))),
    Awkward("x - sin x at 1e-4", lambda x: x[0] - np.sin(x[0]), [1e-4], lambda x: x[0] - mp.sin(x[0])),
    Awkward("1 - sigmoid at 34", lambda x: 1 - 1 / (1 + np.exp(-x[0])), [34.0], lambda x: 1 - 1 / (1 + mp.exp(-x[0]))),
    # x tells nothing of f's scale
    Awkward("scales 1e-14 and 1e5", lambda x: np.sum((x / [1e-14, 1e5]) ** 4), [1.7e-14, 0.6e5], lambda x: (x[0] / mp.mpf(1e-14)) ** 4 + (x[1] / mp.mpf(1e5)) ** 4),
    Awkward("exp(x)+y at 1e-30", lambda x: np.exp(x[0]) + x[1], [1e-30, 3.0], [1.0, 1.0]),
    Awkward("1e280 |x|^2", lambda x: 1e280 * np.sum(x**2), [0.3, -1.2], [0.6e280, -2.4e280]),
    Awkward("sin at 1e8", lambda x: np.sin(x[0]), [1e8 + 0.25], lambda x: mp.sin(x[0])),
    Awkward("1/(x-1) at 1+1e-7", lambda x: 1 / (x[0] - 1), [1 + 1e-7], lambda x: 1 / (x[0] - 1)),
    Awkward("log at 1e-300", lambda x: np.log(x[0]), [1e-300], [1e300]),
    Awkward("x^0.1 at 1e-9, with others", lambda x: x[0] ** 0.1 + np.cos(x[1]), [1e-9, 0.8], lambda x: x[0] ** mp.mpf(0.1) + mp.cos(x[1])),
    # no derivative
    Awkward("cbrt(x-1) at 1", lambda x: np.cbrt(x[0] - 1), [1.0], [NONE]),
    Awkward("max at a tie", lambda x: np.max(x) + x @ x, [0.7, 0.7, 0.1], [NONE, NONE, 0.2]),
    Awkward("norm at 0", lambda x: np.sqrt(x @ x) + x[0], [0.0, 0.0, 0.0], [NONE] * 3),
    Awkward("x log x at 0", lambda x: x[0] * np.log(x[0]) if x[0] > 0 else 0.0 * x[0], [0.0], [NONE]),
    Awkward("floor at 2", lambda x: np.floor(x[0]) + 0.1 * x[0], [2.0], [NONE]),
    # kinks and jumps beside x
    Awkward("pooling, tie 3e-8", lambda x: np.max(x[:2]) * 2 + np.max(x[2:]), [0.4, 0.4 + 3e-8, 1.1, -0.2], [0.0, 2.0, 1.0, 0.0]),
    Awkward("tariff, kink 5e-7 below", _pieces, [2.0 + 5e-7, 0.2], [0.425, float(np.exp(0.2))]),
    Awkward("|x-y| at 1e-9", lambda x: abs(x[0] - x[1]) + x[0] * x[1], [0.6 + 1e-9, 0.6], [1.6, -0.4 + 1e-9]),
    Awkward("leaky network, kink 2e-7", lambda x: OUTER @ np.where(LAYER @ x + BIAS > 0, LAYER @ x + BIAS, 0.1 * (LAYER @ x + BIAS)), POINT.tolist(), ((OUTER * SLOPES) @ LAYER).tolist()),
    Awkward("hinge loss, margin 1e-8", lambda w: np.sum(np.maximum(0.0, 1.0 - LABELS * (DATA @ w))) + 0.1 * w @ w, WEIGHTS.tolist(), (0.2 * WEIGHTS - (LABELS * ACTIVE) @ DATA).tolist()),
    # noise
    Awkward("float32 softmax loss", _single, [0.2, -0.5, 0.9, 0.1, -1.3, 0.6], _single_exact),
    Awkward("printed with six digits", lambda x: float(f"{np.exp(x[0]) * np.sin(x[1]):.5e}"), [0.4, 1.1], lambda x: mp.exp(x[0]) * mp.sin(x[1])),
    Awkward("fixed point to 1e-10", lambda x: _fixed_point(x[0]), [0.9], _fixed_point_exact),
    Awkward("quad of a peak", lambda x: scipy.integrate.quad(lambda t: 1 / (t * t + x[0] ** 2), -1, 1)[0], [0.05], lambda x: 2 * mp.atan(1 / x[0]) / x[0]),
    Awkward("hash noise 1e-6", lambda x: float(np.sum(np.cosh(x))) * _hashed(x, 1e-6), [0.4, -0.9, 1.2, 0.7], lambda x: sum(mp.cosh(v) for v in x)),
    Awkward("float16 inside", lambda x: float(np.sum(x.astype(np.float16) ** 2)), [1.3, 0.6], [2.6, 1.2]),
    # gradients of zero
    Awkward("(x-c)^4 at c", lambda x: np.sum((x - TARGET) ** 4), TARGET.tolist(), [0.0] * 3, 1e-3),
    Awkward("Rosenbrock n6 at 1", lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), [1.0] * 6, [0.0] * 6, 1e-2),
    Awkward("cosh - 1 at 0", lambda x: np.cosh(x[0]) - 1, [0.0], [0.0], 1e-3),
    Awkward("likelihood at its best", lambda v: np.sum(v[1] + 0.5 * ((SAMPLE - v[0]) * np.exp(-v[1])) ** 2), BEST, [0.0, 0.0], 1e-2),
    # short lengths
    Awkward("sin(1e4 x) + x^2", lambda x: np.sin(1e4 * x[0]) + x[0] ** 2, [0.83], lambda x: mp.sin(10000 * x[0]) + x[0] ** 2),
    Awkward("bump of width 1e-5", lambda x: x[0] + 3 * np.exp(-(((x[0] - 0.4) / 1e-5) ** 2)), [0.4 + 0.6e-5], lambda x: x[0] + 3 * mp.exp(-(((x[0] - mp.mpf(0.4)) / mp.mpf(1e-5)) ** 2))),
    Awkward("tanh(1e6(x-0.3))", lambda x: np.tanh(1e6 * (x[0] - 0.3)) + x[1], [0.3 + 1e-7, 0.5], lambda x: mp.tanh(10**6 * (x[0] - mp.mpf(0.3))) + x[1]),
    Awkward("sin(1/x) at 1e-3", lambda x: np.sin(1 / x[0]), [1.07e-3], lambda x: mp.sin(1 / x[0])),
]  # fmt: skip


def answered(case: Awkward, method: Method | None = None) -> tuple[Floats, Floats | None, bool]:
    """Differentiate, as `numerical_gradient` does by default; with an error bar, and whether a warning was given."""
    with warnings.catch_warnings(record=True) as told, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        if method is None:
            gradient, info = numerical_gradient(case.f, case.at.copy(), full_output=True)
            bar = info.error
        else:
            gradient, bar = method(Counted(case), case.at.copy())
    return gradient, bar, any(issubclass(w.category, (AccuracyWarning, NonFiniteWarning)) for w in told)


def verdicts(methods: dict[str, Method]) -> None:
    """Print how often each method is right, says that it is not, or is silently wrong, and where."""
    for name, method in methods.items():
        count: Counter[str] = Counter()
        for case in AWKWARD:
            try:
                verdict = judge(case, *answered(case, method))
            except Exception:  # noqa: BLE001 - a peer that gives up says so
                verdict = "flagged"
            count[verdict] += 1
            if verdict == "silent":
                print(f"    {name}: silently wrong at {case.name}")
        print(f"{name:22}" + "".join(f"{kind:>10} {count[kind]:2}" for kind in ("right", "flagged", "silent")))


def instances(held_out: bool, seeds: Iterable[int]) -> list[Problem]:
    return [f.instance(s) for f in FAMILIES.values() if f.held_out == held_out for s in seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="instances of each family")
    parser.add_argument("--first", type=int, default=2000, help="the first seed; 0 to 7 were used to choose constants")
    parser.add_argument("--only", choices=["ours", "peers"])
    parser.add_argument("--set", choices=["tuned", "held-out", "mgh", "awkward"])
    parser.add_argument("--families", action="store_true", help="also each family")
    options = parser.parse_args()
    methods = {**(PEERS if options.only != "ours" else {}), **(OURS if options.only != "peers" else {})}
    seeds = range(options.first, options.first + options.seeds)
    sets = {
        "tuned": lambda: instances(False, seeds),
        "held-out": lambda: instances(True, seeds),
        "mgh": lambda: points(options.first),
    }
    for name, make in sets.items():
        if options.set in (None, name):
            problems = make()
            print(f"\n{name}: {len(problems)} instances of {len({p.family for p in problems})} functions")
            table(methods, ((p, p.gradient()) for p in problems), options.families)
    if options.set in (None, "awkward"):
        print(f"\nawkward: {len(AWKWARD)} functions")
        verdicts(methods)


if __name__ == "__main__":
    main()
