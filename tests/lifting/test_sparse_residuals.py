"""The sparse lift on residuals as users write them: all entries of their Jacobians, unrounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from fastgrad import hessian_sparsity, jacobian_sparsity, numerical_hessian, numerical_jacobian
from fastgrad.lifting.sparse import meeting

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


def square(x: Any) -> Any:
    return x[:16].reshape(4, 4) + 3 * np.eye(4)


def copied_where(x: Any) -> Any:
    r = np.ones(N)
    np.copyto(r, x**2, where=x > 1)
    np.putmask(r, x > 1.4, 0.0)
    return r


def put_into(x: Any) -> Any:
    r = np.zeros((8, 5))
    np.put(r, np.arange(0, N, 2), x[:20] ** 2)
    np.fill_diagonal(r, x[20:25])
    return r @ x[:5]


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
    "running product": lambda x: np.cumprod(0.6 + 0.4 * x),
    "products of rows": lambda x: np.prod(x.reshape(8, 5), axis=1),
    "sorted": lambda x: np.sort(x) ** 2,
    "in order": lambda x: x[np.argsort(x)] * np.arange(N),
    "rows in order": lambda x: np.take_along_axis(x.reshape(8, 5), np.argsort(x.reshape(8, 5), axis=1), 1).ravel() ** 2,
    "partition": lambda x: np.partition(x, 7)[:7] ** 2,
    "median": lambda x: x**2 - np.median(x),
    "quantiles": lambda x: np.quantile(x.reshape(8, 5), [0.25, 0.7], axis=1).ravel() ** 2,
    "interpolated at x": lambda x: np.interp(x, 3 * T, DATA, right=0.0),
    "interpolated in x": lambda x: np.interp(T[3:], T[:20], x[:20] ** 2),
    "searched table": lambda x: DATA[np.searchsorted(T, x - 0.3) - 1] * x,
    "classes": lambda x: np.take(DATA[:3], np.digitize(x, [0.8, 1.2])) * x**2,
    "solution": lambda x: np.linalg.solve(np.outer(x[:6], x[6:12]) + 3 * np.diag(x[12:18]), x[18:24]),
    "solution of a constant": lambda x: np.linalg.solve(np.diag(x[:6]) + M[:6, :6], M[:6, :2]).ravel(),
    "inverse": lambda x: np.linalg.inv(square(x)).ravel(),
    "pseudoinverse": lambda x: np.linalg.pinv(x[:6].reshape(3, 2) + np.eye(3, 2)).ravel(),
    "determinant": lambda x: np.array([np.linalg.det(square(x)), np.linalg.slogdet(square(x))[1]]),
    "Cholesky": lambda x: np.linalg.cholesky(square(x) @ square(x).T)[np.tril_indices(4)],
    "power of a matrix": lambda x: np.linalg.matrix_power(square(x), 3).ravel(),
    "their residuals": lambda x: np.linalg.lstsq(M[:, :5] + np.eye(30, 5) * x[30], x[:30], rcond=None)[1],
    "polyfit": lambda x: np.polyfit(T, x[:25] ** 2, 2),
    "convolved with itself": lambda x: np.convolve(x[:5], x[5:]),
    "autocorrelation": lambda x: np.correlate(x[:9], x[:9], "full"),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 3).mean(axis=1) ** 2,
    "einsum with dots": lambda x: np.einsum("...i,...i->...", x.reshape(2, 4, 5), x.reshape(2, 4, 5)).ravel(),
    "einsum of a diagonal": lambda x: np.einsum("ii->i", square(x)) * np.einsum("ii", square(x)),
    "kron": lambda x: np.kron(x[:4].reshape(2, 2), x[4:7] ** 2).ravel(),
    "vander": lambda x: np.vander(x[:5], 4) @ x[5:9],
    "dstack": lambda x: np.dstack([x[:20], x[20:] ** 2]).ravel(),
    "compress": lambda x: np.compress([True, False] * 20, x) ** 2,
    "resize": lambda x: np.resize(x, 50) ** 2,
    "where=": lambda x: np.divide(1.0, x, out=np.zeros_like(x), where=x > 0.9),
    "out=": lambda x: np.multiply(x, x, out=np.empty_like(x)),
    "piecewise": lambda x: np.piecewise(x, [x < 0.8, x > 1.2], [lambda t: t**2, 0.0, lambda t: 1.6 * t]),
    "copyto": copied_where,
    "put": put_into,
    "gradient at the ends": lambda x: np.gradient(x**2, 0.1, edge_order=2),
    "uneven gradient": lambda x: np.gradient(x[:25] ** 2, T**2 + T),
    "integrals": lambda x: np.trapezoid(x.reshape(8, 5) ** 2, T[:5], axis=1),
    "remainder": lambda x: np.remainder(3 * x, 0.7) * x,
    "nearest image": lambda x: (3 * x - np.round(3 * x)) * np.floor(2 * x),
    "covariance": lambda x: np.cov(x.reshape(4, 10)).ravel(),
    "correlation": lambda x: np.corrcoef(x.reshape(4, 10))[0, 1:],
    "weighted mean": lambda x: np.average(x.reshape(8, 5), axis=0, weights=np.arange(1.0, 9.0)) ** 2,
    "some of a sum": lambda x: x * np.sum(x, where=x > 1) + np.max(x, initial=1.2),
    "norms": lambda x: x / np.linalg.norm(x, 3) * np.linalg.norm(square(x), 1) * np.linalg.norm(square(x), np.inf),
    "along an axis": lambda x: np.apply_along_axis(lambda row: row @ row - row[0], 1, x.reshape(8, 5)),
    "nansum": lambda x: x * np.nansum(np.where(x > 1, x, np.nan)),
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


def by_entries(x: Any) -> Any:
    return np.array([x[i] ** 2 - (x[i - 1] if i else 0.0) + np.sin(x[i]) for i in range(x.size)])


@pytest.mark.parametrize("residuals", [zeros_then_loop, by_entries])
def test_a_loop_over_entries_plans_no_meeting_of_each_with_each(
    residuals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 entries there were millions of comparisons of two boxes, a minute of them."""
    compared = 0

    def counted(*boxes: Any) -> Any:
        nonlocal compared
        compared += 1
        return relation(*boxes)

    relation = meeting.relation
    monkeypatch.setattr(meeting, "relation", counted)
    x = np.random.default_rng(3).uniform(0.5, 1.5, 150)
    found = numerical_jacobian(residuals, x, backend="numpy", sparse=True)
    assert compared < 60 * x.size
    plain, bars = numerical_jacobian(residuals, x, backend="python", full_output=True)
    assert np.mean(np.abs(found.toarray() - plain) <= bars.error + 1e-15) >= 0.98
    assert found.nnz <= 3 * x.size


@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.linalg.eigvalsh(a + a.T),
        lambda a: np.linalg.svd(a, compute_uv=False),
        lambda a: np.array([np.linalg.norm(a, 2), np.linalg.norm(a, "nuc")]),
    ],
)
def test_eigenvalues_and_singular_values(f: Any) -> None:
    a = np.random.default_rng(1).normal(size=(5, 5))
    jacobian, info = numerical_jacobian(f, a, full_output=True)
    assert info.way == "sparse lift"
    plain, bars = numerical_jacobian(f, a, backend="python", method="adaptive", full_output=True)
    assert np.mean(np.abs(jacobian - plain) <= bars.error + info.error) >= 0.98
    with pytest.warns(Warning, match="not differentiable"):  # equal ones have no derivative
        _, info = numerical_jacobian(f, np.eye(5), full_output=True)
    assert info.way == "columns"


def test_least_squares() -> None:
    table = M[:, :5]
    found = numerical_jacobian(lambda x: np.linalg.lstsq(table, x**2, rcond=None)[0], X[:30])
    np.testing.assert_allclose(found, np.linalg.pinv(table) * 2 * X[:30], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sort(x)[:3],
        lambda x: x[np.argsort(x)] ** 2,
        lambda x: np.median(x.reshape(5, 5), axis=0),
        lambda x: np.floor(x) * x,
        lambda x: np.round(x + 0.5),
        lambda x: np.remainder(x, 1.0),
        lambda x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 0.0]),
        lambda x: np.array([0.0, 1.0, 3.0])[np.searchsorted([0.5, 1.0], x)] * x,
        lambda x: np.piecewise(x, [x < 1.0], [lambda t: t, lambda t: 2.0 - t]),
    ],
)
def test_where_entries_are_equal_or_on_an_edge_no_slope_is_taken_from_one_side(f: Any) -> None:
    x = np.arange(25.0) % 4 / 2.0
    with pytest.warns(Warning, match=r"not differentiable|no digit"):
        _, info = numerical_jacobian(f, x, full_output=True)
    assert info.way == "columns"


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.hypot(x, x),
        lambda x: np.where(np.signbit(x), -x, x),
        lambda x: np.exp(0.5 * np.log(np.maximum(x * x, 1e-300))),  # flat nearer to 0 than any step
        lambda x: np.maximum(x, -x),
        lambda x: np.where(x > 0, 2 * x, -x),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_one_edge_is_seen_whatever_side_the_check_looks_to(f: Any, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=130)
    x[7] = 0.0
    with pytest.warns(Warning, match=r"not differentiable|no digit"):
        _, info = numerical_jacobian(f, x, full_output=True, sparse=True)
    assert info.way == "columns"


def test_what_stays_refused_is_right_all_the_same() -> None:
    for f in (
        lambda x: np.fft.rfft(x).real,
        lambda x: np.modf(x)[0],
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
