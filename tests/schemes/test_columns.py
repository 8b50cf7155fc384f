"""The columns rule: steps of any stencil follow from f's noise, and bars hold."""

from __future__ import annotations

import warnings
from zlib import crc32

import numpy as np
import pytest

from fastgrad import AccuracyWarning, Jacobian, numerical_jacobian
from fastgrad.schemes import calm
from fastgrad.schemes.seeds import exact, units_of, units_of_few

MATRIX = np.random.default_rng(1).normal(size=(4, 4))
STENCILS = [
    {"method": "forward"},
    {"method": "backward"},
    {"method": "forward", "order": 2},
    {"order": 4},
    {"order": 6},
]
ROUNDED = {
    "single": lambda values: values.astype(np.float32),
    "decimals": lambda values: np.round(values, 6),
    "noise": lambda values: values + np.array([1e-8 * (crc32(value.tobytes()) / 2**31 - 1.0) for value in values]),
}


@pytest.mark.parametrize("blur", ROUNDED.values(), ids=ROUNDED)
@pytest.mark.parametrize("options", STENCILS, ids=str)
def test_steps_of_any_stencil_follow_from_noise(options, blur):
    """Fixed steps were wrong by more than the entries themselves here, and a true pattern was said to lack some."""

    def smooth(x):
        return np.tanh(MATRIX @ x) + x**2

    for seed in range(5):
        x, v = np.random.default_rng(seed).normal(size=(2, 4))
        exact = (1.0 - np.tanh(MATRIX @ x) ** 2)[:, None] * MATRIX + np.diag(2.0 * x)
        jacobian, info = numerical_jacobian(lambda x: blur(smooth(x)), x, full_output=True, **options)
        assert np.mean(np.abs(jacobian - exact) <= info.error) >= 0.9
        tolerance = (2e-2 if info.order == 1 else 2e-3) * np.abs(exact).max()
        np.testing.assert_allclose(jacobian, exact, atol=tolerance)
        sparse = numerical_jacobian(lambda x: blur(smooth(x)), x, sparsity=np.ones((4, 4)), **options)
        np.testing.assert_allclose(sparse.toarray(), exact, atol=tolerance)
        product = Jacobian(lambda x: blur(smooth(x)), **options).jvp(x, v)
        np.testing.assert_allclose(product, exact @ v, atol=4.0 * tolerance)


@pytest.mark.parametrize("options", [*STENCILS, {}], ids=str)
def test_bars_of_any_stencil_hold(options):
    held, rng = [], np.random.default_rng(5)
    for _ in range(40):
        matrix, x = (
            rng.normal(size=(3, 3)) * 10.0 ** rng.uniform(-1, 1),
            rng.normal(size=3) * 10.0 ** rng.uniform(-2, 2),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # saturated entries have no digits
            jacobian, info = numerical_jacobian(lambda x, m=matrix: np.sin(m @ x), x, full_output=True, **options)
        held.append(np.abs(jacobian - np.cos(matrix @ x)[:, None] * matrix) <= info.error)
    assert np.mean(held) >= 0.97


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("method", "sign"), [("forward", 1.0), ("backward", -1.0)])
def test_one_sided_stencils_stay_on_their_side(method, sign, order):
    x, seen = sign * np.array([1.0, 0.25]), []

    def f(x):
        seen.append(x)
        return np.round(np.sqrt(sign * x) * x[0], 9)

    jacobian = numerical_jacobian(f, x, method=method, order=order)
    assert (sign * np.array(seen) >= np.abs(x)).all()
    np.testing.assert_allclose(jacobian, [[1.5, 0.0], [0.5, 1.0]], atol=1e-3)


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")
def test_bars_hold_beside_a_root_that_is_odd():
    """A central difference of sign(x)|x|**1.5 at 0 has no second difference that would tell of its error."""
    held, rng = [], np.random.default_rng(3)
    for near in (0.0, 1e-9, -1e-7, 1e-6):
        for _ in range(5):
            matrix, x = rng.normal(size=(3, 3)), rng.normal(size=3)
            x[0] = near
            jacobian, info = numerical_jacobian(
                lambda x, m=matrix: m @ (np.sign(x) * np.abs(x) ** 1.5), x, full_output=True
            )
            held.append(np.abs(jacobian - matrix * 1.5 * np.sqrt(np.abs(x))) <= info.error)
    assert np.mean(held) >= 0.97


def test_outputs_that_stand_still_are_seen_from_afar():
    """The line did not change the first output, whose noise was then taken for that of a double: 0.6 was 0 +- 1e-11."""

    def f(x):
        return np.array([np.round(0.6 * x[0] - 0.5 * x[1], 4), np.sin(x[0]) * x[1]])

    jacobian, info = numerical_jacobian(f, np.array([0.0276, 0.0456]), full_output=True)
    exact = np.array([[0.6, -0.5], [0.0456 * np.cos(0.0276), np.sin(0.0276)]])
    assert (np.abs(jacobian - exact) <= info.error).all()
    np.testing.assert_allclose(jacobian, exact, atol=0.02)


def _noise(values, size):
    return values + np.array([size * (crc32(value.tobytes()) / 2**31 - 1.0) for value in values])


def _tanh(rng):
    matrix = rng.normal(size=(4, 3)) * 10.0 ** rng.uniform(-1, 1)
    x = rng.normal(size=3) * 10.0 ** rng.uniform(-2, 1)
    return (lambda x: np.tanh(matrix @ x)), (1.0 - np.tanh(matrix @ x) ** 2)[:, None] * matrix, x


def _decay(rng):
    t = np.linspace(0.0, 2.0, 8)
    x = np.array([rng.uniform(0.5, 3.0), rng.uniform(0.1, 3.0), rng.normal()])
    decay = np.exp(-x[1] * t)
    exact = np.stack([decay, -t * x[0] * decay, np.ones_like(t)], axis=1)
    return (lambda x: x[0] * np.exp(-x[1] * t) + x[2]), exact, x


def _waves(rng):
    matrix, x, k = rng.normal(size=(3, 3)), rng.normal(size=3), 10.0 ** rng.uniform(0, 3)
    return (lambda x: np.sin(k * (matrix @ x))), (k * np.cos(k * (matrix @ x)))[:, None] * matrix, x


def _odd_root(rng):
    matrix, x = rng.normal(size=(3, 3)), rng.normal(size=3)
    x[rng.integers(3)] = rng.choice([0.0, 1e-9, 1e-7, -1e-6, 1e-5])
    return (lambda x: matrix @ (np.sign(x) * np.abs(x) ** 1.5)), matrix * 1.5 * np.sqrt(np.abs(x)), x


def _even_root(rng):
    matrix, x = rng.normal(size=(3, 3)), rng.normal(size=3) * 10.0 ** rng.integers(-8, 1, size=3)
    return (lambda x: matrix @ np.abs(x) ** 1.5), matrix * 1.5 * np.sign(x) * np.sqrt(np.abs(x)), x


def _single(rng):
    matrix, x = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3)
    double = matrix.astype(np.float64)
    exact = (1.0 - np.tanh(double @ x) ** 2)[:, None] * double
    return (lambda x: np.tanh(matrix @ x.astype(np.float32)).astype(np.float64)), exact, x


def _noisy(rng):
    f, exact, x = _decay(rng)
    size = 10.0 ** rng.uniform(-10, -4)
    return (lambda x: _noise(f(x), size)), exact, x


FAMILIES = {f.__name__[1:]: f for f in (_tanh, _decay, _waves, _odd_root, _even_root, _single, _noisy)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_bars_hold_over_families(family):
    """Those of other stencils than the usual one are as good, but where f is not smooth."""
    for options, least in (({}, 0.97), ({"order": 4}, 0.95), ({"method": "forward"}, 0.9)):
        held = []
        for seed in range(150):
            f, exact, x = family(np.random.default_rng([seed, 41]))
            jacobian, info = numerical_jacobian(f, x, full_output=True, **options)
            held.append(np.mean(np.abs(jacobian - exact) <= info.error))
        assert np.mean(held) >= least, options


@pytest.mark.filterwarnings("ignore")
def test_a_term_of_single_precision_among_doubles_is_noise():
    """It is no kink: where the line shows one of its steps, or a closer look does. 72 % of the bars held before."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng([5, seed])
        matrix, x = rng.normal(size=(4, 3)), rng.normal(size=3)
        exact = (np.cos(matrix @ x) + 1.0 - np.tanh(matrix @ x) ** 2)[:, None] * matrix
        jacobian, info = numerical_jacobian(
            lambda x, m=matrix: np.sin(m @ x) + np.float32(np.tanh(m @ x)), x, full_output=True
        )
        held.append(np.abs(jacobian - exact) <= info.error)
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize(("waves", "at"), [(1e4, 0.0), (3e3, 0.345584192064786)])
def test_slopes_of_waves_shorter_than_the_steps_are_told(waves, at):
    """Beside 1e8 steps are long: a slope of 1 was 0, with bars of 1e-3. The line says another, and so do its steps."""
    with pytest.warns(AccuracyWarning, match="no digit"):
        found, info = numerical_jacobian(
            lambda x: np.array([1e8 + 1e-4 * np.sin(waves * x[0]) + x[1]]), np.array([at, 0.8]), full_output=True
        )
    right = 1e-4 * waves * np.cos(waves * at)
    assert abs(found[0, 0] - right) <= 1.01 * info.error[0, 0]


def test_what_stands_still_beside_a_small_x_and_moves_farther_away_is_told():
    def f(x):
        return np.array([np.arccos(np.cos(x[0]))])  # |x0|, but cos(1e-12) is 1

    with pytest.warns(AccuracyWarning, match="no digit is certain"):
        numerical_jacobian(f, [1.7e-12, 1.5])


def test_scales_and_moves_of_few_entries_are_those_of_arrays():
    rng = np.random.default_rng(0)
    for size in (1.0, 1e-3, 1e-300, 1e300, 1.7e308):
        x = size * rng.uniform(-1.0, 1.0, 9) * [0.0, 1e-9, 1e-3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        units = units_of(x)
        np.testing.assert_array_equal(units_of_few(x.tolist()), units)
        moves = rng.uniform(1.0, 2.0, 9) * 2.0**-17 * units
        with np.errstate(all="ignore"):
            expected = exact(moves, x)
        found = [calm._exact(move, v) for move, v in zip(moves.tolist(), x.tolist(), strict=True)]
        np.testing.assert_array_equal(found, expected)
