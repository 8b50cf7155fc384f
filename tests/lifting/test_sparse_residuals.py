"""The sparse lift on residuals as users write them: all entries of their Jacobians, unrounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from fastgrad import hessian_sparsity, jacobian_sparsity, numerical_hessian, numerical_jacobian

N = 40
RNG = np.random.default_rng(0)
M, T, DATA = RNG.normal(size=(30, N)), np.linspace(0, 1, 25), RNG.normal(size=25)
A = sp.random_array((30, N), density=0.1, rng=1).tocsr()
X = RNG.uniform(0.5, 1.5, N)


def zeros_then_loop(x: Any) -> Any:
    r = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        r[i] = x[i - 1] - 2 * x[i] ** 2 + x[i + 1]
    return r


def zeros_then_slices(x: Any) -> Any:
    r = np.zeros(x.shape)
    r[1:-1] = x[:-2] - 2 * x[1:-1] + x[2:] + np.exp(x[1:-1])
    r[0], r[-1] = x[0], x[-1]
    return r


def empty_then_slices(x: Any) -> Any:
    r = np.empty(2 * len(x))
    r[0::2], r[1::2] = x**2, np.sin(x)
    return r


def rotate(points: Any, turns: Any) -> Any:
    theta = np.linalg.norm(turns, axis=1)[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        v = np.nan_to_num(turns / theta)
    dot = np.sum(points * v, axis=1)[:, np.newaxis]
    return np.cos(theta) * points + np.sin(theta) * np.cross(v, points) + dot * (1 - np.cos(theta)) * v


def bundle_adjustment(x: Any) -> Any:
    """As in SciPy's cookbook."""
    cameras, points = x[:16].reshape((4, 4))[:, :3], x[16:].reshape((8, 3))
    turned = rotate(points[np.arange(20) % 8], cameras[np.arange(20) % 4])
    return (turned[:, :2] / turned[:, 2, np.newaxis]).ravel()


def peaks(x: Any) -> Any:
    """A sum over terms, into an array made like a constant one."""
    total = np.zeros_like(T)
    for height, centre, width in x[:12].reshape(-1, 3):
        total += height * np.exp(-(((T - centre) / width) ** 2))
    return total - DATA


def imports_inside(x: Any) -> Any:
    from scipy.linalg import toeplitz

    return toeplitz([2.0, -1.0] + [0.0] * (N - 2)) @ x - x**2


def scatters(x: Any) -> Any:
    forces = np.zeros((8, 2))
    np.add.at(forces, np.arange(20) % 8, x.reshape(20, 2) ** 2)
    np.subtract.at(forces, (np.arange(5), 1), x[:5])
    np.add.at(forces, 3, 1.0)
    return forces.ravel() * x[:16]


STYLES = {
    "peaks": peaks,
    "imports inside": imports_inside,
    "scatters": scatters,
    "bincount": lambda x: np.bincount(np.arange(N) % 7, weights=x**2, minlength=9),
    "diff of a ring": lambda x: np.diff(x**2, append=x[:1]) - np.diff(x, prepend=0.0),
    "diff of a grid": lambda x: np.diff(x.reshape(8, 5), n=2, axis=0, append=0.0).ravel() * x[0],
    "block": lambda x: np.block([[x[:4].reshape(2, 2) ** 2, M[:2, :1]], [x[4:7]]]).ravel(),
    "meshgrid": lambda x: math.prod(np.meshgrid(x[:4], T[:3], x[4:6], indexing="ij")).ravel(),
    "meshgrid, images": lambda x: np.hypot(*np.meshgrid(x[:4], x[5:8])).ravel(),
    "multi_dot": lambda x: np.linalg.multi_dot([M[:3], M.T @ M, x**2]),
    "table": lambda x: np.interp(3 * T, np.arange(N), x**2),
    "array of scalars": lambda x: np.array([x[0] ** 2 + x[1], np.sin(x[2]) * x[0], x[3] / x[1]]),
    "list": lambda x: [x[0] ** 2 + x[1], np.sin(x[2]) * x[0]],
    "tuple": lambda x: (x[0] * x[1], -0.1 * x[1] + x[0]),
    "list comprehension": lambda x: np.array([xi**2 - 1 for xi in x]),
    "list of sums": lambda x: np.array([np.sum(x[i : i + 3] ** 2) for i in range(10)]),
    "math": lambda x: np.array([math.sin(x[0]) * math.exp(x[1]), math.sqrt(x[2]), math.pi * x[3]]),
    "zeros, loop": zeros_then_loop,
    "zeros, slices": zeros_then_slices,
    "empty, slices": empty_then_slices,
    "r_": lambda x: np.r_[x[1:] - x[:-1] ** 2, x[0], 1.0],
    "concatenate with a list": lambda x: np.concatenate([x[1:] ** 2, [x[0]], [1.0]]),
    "asarray": lambda x: np.asarray(x, dtype=float) ** 2,
    "array of x": lambda x: np.array(x) ** 2,
    "atleast_1d": lambda x: np.atleast_1d(x[0] * x[1]),
    "dot of a constant": lambda x: M.dot(x) ** 2,
    "dot of a sparse constant": lambda x: A.dot(x**2),
    "sparse @": lambda x: A @ x**3,
    "gradient": lambda x: np.gradient(x**2, 0.1),
    "gradient of a grid": lambda x: np.gradient(x.reshape(8, 5) ** 2, axis=1).ravel(),
    "Fortran order": lambda x: (x.reshape(8, 5) ** 2).flatten(order="F"),
    "reshaped in Fortran order": lambda x: x.reshape((8, 5), order="F")[2] ** 2,
    "columns": lambda x: np.array([x[:20] * x[20:], x[:20]]).T.ravel(),
    "minmod": lambda x: 0.5 * (np.sign(x[1:]) + np.sign(x[:-1])) * np.minimum(abs(x[1:]), abs(x[:-1])),
    "curve": lambda x: x[0] * np.exp(-x[1] * T) + x[2] - DATA,
    "cross": lambda x: np.cross(x[:39].reshape(13, 3) ** 2, x[1:40].reshape(13, 3)).ravel(),
    "bundle adjustment": bundle_adjustment,
    "vectorize": lambda x: np.vectorize(lambda a, b: a * math.sin(a) + b)(x.reshape(8, 5), 2.0).ravel(),
    "full": lambda x: np.full(3, x[0] ** 2) * x[1:4],
}


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_lifted(name: str) -> None:
    f, before = STYLES[name], [a.copy() for a in (M, T, DATA)]
    jacobian, info = numerical_jacobian(f, X, full_output=True)
    assert info.way == "sparse lift", info.reason
    plain, bars = numerical_jacobian(f, X, backend="python", full_output=True)
    assert np.mean(np.abs(jacobian - plain) <= bars.error + info.error) >= 0.98
    np.testing.assert_allclose(jacobian, plain, rtol=0, atol=1e-8 * np.abs(jacobian).max())
    for kept, array in zip(before, (M, T, DATA), strict=True):
        np.testing.assert_array_equal(kept, array)


@pytest.mark.parametrize("name", STYLES)
def test_sums_of_squares(name: str) -> None:
    residuals = STYLES[name]

    def total(x: Any) -> Any:
        return np.sum(np.array(residuals(x)) ** 2)

    hessian, info = numerical_hessian(total, X, full_output=True)
    assert info.way == "complex lift", info.reason
    v = RNG.normal(size=N)
    gradient = [numerical_jacobian(total, X + t * v) for t in (2.0**-13, -(2.0**-13))]
    np.testing.assert_allclose(
        hessian @ v, (gradient[0] - gradient[1]) * 2.0**12, rtol=0, atol=1e-5 * np.abs(hessian).max()
    )


def test_what_stays_refused_is_right_all_the_same() -> None:
    for f in (
        lambda x: np.fft.rfft(x).real,
        lambda x: np.interp(x, 3 * T, DATA),
        lambda x: np.array([complex(x[0]).real ** 2]),
    ):
        jacobian, info = numerical_jacobian(f, X, full_output=True)
        assert info.way == "columns"
        assert np.isfinite(jacobian).all()


def bundles(cameras: int, points: int, seen: int) -> tuple[Any, int]:
    """Residuals in the style of bundle adjustment: each depends on one camera of six numbers and one point of three."""
    rng = np.random.default_rng(cameras)
    which, what, measured = rng.integers(0, cameras, seen), np.arange(seen) % points, rng.normal(size=(seen, 2))

    def residuals(x: Any) -> Any:
        camera, point = x[: 6 * cameras].reshape(cameras, 6), x[6 * cameras :].reshape(points, 3)
        moved = rotate(point[what], camera[which, :3]) + camera[which, 3:6]
        return (moved[:, :2] / moved[:, 2, np.newaxis] - measured).ravel()

    return residuals, 6 * cameras + 3 * points


K = np.random.default_rng(4).integers(0, 30, 60)
PATTERNS = {
    **{f"bundles {size}": bundles(*size) for size in ((4, 8, 20), (3, 30, 60), (5, 100, 150))},
    "springs": (lambda x: np.exp(x[K[:30]] - x[K[30:]]) * x[K[:30]], 30),
    "shuffled": (lambda x: x[np.arange(30) * 7 % 30] * x + np.sin(x[np.arange(30) * 7 % 30]), 30),
    "running sums": (lambda x: np.cumsum(x) ** 2, 30),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_list_what_is_there_however_few_entries_x_has(name: str) -> None:
    f, n = PATTERNS[name]
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    found = jacobian_sparsity(f, x)
    dense = numerical_jacobian(f, x, backend="numpy")
    nonzero = np.abs(dense) > 1e-10 * np.abs(dense).max()
    assert not (nonzero & ~found.toarray()).any()
    assert found.nnz <= 1.05 * np.count_nonzero(dense)
    some, info = numerical_jacobian(f, x, sparse=True, backend="numpy", full_output=True)
    assert some.nnz == found.nnz
    assert info.way == "sparse lift"
    np.testing.assert_allclose(some.toarray(), dense, rtol=1e-12, atol=1e-13 * np.abs(dense).max())
    # two entries of x interact where a residual has both
    union = (nonzero.T.astype(int) @ nonzero.astype(int)) > 0
    watched = hessian_sparsity(lambda x: np.sum(np.array(f(x)) ** 2), x)
    assert watched.nnz <= 1.05 * np.count_nonzero(union | np.eye(n, dtype=bool))
    assert not (union & ~watched.toarray()).any()
