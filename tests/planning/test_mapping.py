"""Derivatives at many points: as good as at each alone, whatever f is, and however they are made."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import AccuracyWarning, Gradient, Jacobian, NonFiniteWarning
from fastgrad.planning import mapping

RNG = np.random.default_rng(0)
SCALED = RNG.normal(size=(40, 3)) * np.logspace(-6, 6, 40)[:, None]


def squares(x: Any) -> Any:
    return np.sum(x**2)


def shifted(x: Any, a: float, b: float = 0.0) -> Any:
    return np.sum(np.exp(-((x - a) ** 2))) + b


def test_the_textbooks_field() -> None:
    """`gradient_2d`: one gradient a row."""
    x0, x1 = (g.ravel() for g in np.meshgrid(np.arange(-2.0, 2.5, 0.25), np.arange(-2.0, 2.5, 0.25)))
    points = np.stack([x0, x1], axis=1)
    kept = points.copy()
    field = Gradient(squares, 1e-4).map(points)
    assert_allclose(field, 2 * points, atol=1e-9)
    assert_array_equal(points, kept)
    assert_allclose(Gradient(lambda x: x[0] ** 2 + x[1] ** 2).map(points.tolist()), 2 * points, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"h": 1e-5}, {"rel_step": 1e-6}, {"order": 4, "h": "fixed"}, {"noise": 0.0}])
def test_lifted_over_the_points(options: dict[str, Any]) -> None:
    calls = 0

    def counted(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return squares(x)

    points = RNG.uniform(0.5, 1.5, (200, 4))
    assert_allclose(Gradient(squares, **options).map(points), 2 * points, rtol=1e-8)
    counting = Gradient(counted, **options).map(points)  # keeps something: one point after another
    assert calls > 200
    assert_allclose(counting, 2 * points, rtol=1e-8)


@pytest.mark.parametrize("points", [SCALED, SCALED.reshape(40, 1, 3), RNG.normal(size=(30, 20))])
def test_each_point_on_its_own_scale(points: Any) -> None:
    cubes = Gradient(lambda x: np.sum(x**3))
    exact = 3 * points**2
    field = cubes.map(points)
    assert field.shape == points.shape
    top = exact.reshape(len(points), -1).max(axis=1).reshape(-1, *[1] * (points.ndim - 1))
    assert (np.abs(field - exact) <= 1e-7 * top).all()


def test_points_that_need_more_go_alone() -> None:
    points = RNG.normal(size=(50, 2))
    points[7, 0] = 0.0
    f = lambda x: np.abs(x[0]) + x[1] ** 2  # noqa: E731
    with pytest.warns(AccuracyWarning, match="kink"):
        field = Gradient(f).map(points)
    exact = np.stack([np.sign(points[:, 0]), 2 * points[:, 1]], axis=1)
    assert_allclose(field, exact, atol=1e-8)


def test_where_f_ends() -> None:
    points = np.abs(RNG.normal(size=(30, 2)))
    points[4] = -1.0
    with np.errstate(all="ignore"), pytest.warns(NonFiniteWarning):
        field = Gradient(lambda x: np.sum(np.sqrt(x))).map(points)
    assert np.isnan(field[4]).all()
    rest = np.arange(30) != 4
    assert_allclose(field[rest], 0.5 / np.sqrt(points[rest]), rtol=1e-6)


def test_any_f() -> None:
    points = RNG.uniform(0.5, 1.5, (12, 3))
    assert_allclose(
        Gradient(lambda x: math.exp(x[0]) * x[1] + x[2]).map(points)[:, 0], np.exp(points[:, 0]) * points[:, 1]
    )

    @numba.njit
    def compiled(x):
        return x[0] * x[1] + x[2]

    assert_allclose(Gradient(compiled).map(points)[:, 0], points[:, 1], rtol=1e-9)
    assert_allclose(Gradient(shifted, args=(0.5,), kwargs={"b": 2.0}).map(points), [
        -2 * (p - 0.5) * np.exp(-((p - 0.5) ** 2)) for p in points
    ], rtol=1e-7, atol=1e-9)  # fmt: skip
    some = Gradient(squares, indices=[2], bounds=(0.0, 2.0), method="forward").map(points)
    assert_allclose(some, 2 * points[:, 2:], rtol=1e-5)
    assert Gradient(squares).map(np.empty((0, 3))).shape == (0, 3)
    assert_allclose(Gradient(squares).map([1.0, 2.0]), [2.0, 4.0], rtol=1e-8)  # points that are numbers


@pytest.mark.parametrize("workers", [2, "pool"])
def test_by_workers(workers: Any) -> None:
    points = RNG.normal(size=(20, 3))
    gradient = Gradient(squares)
    alone = np.array([gradient(p) for p in points])
    if workers == "pool":
        with ThreadPoolExecutor(2) as pool:
            assert_array_equal(gradient.map(points, workers=pool), alone)
    else:
        assert_array_equal(gradient.map(points, workers=workers), alone)


def test_jacobians() -> None:
    points = RNG.uniform(0.5, 1.5, (60, 3))
    f = lambda x: np.stack([x[0] * x[1], x[2] ** 2])  # noqa: E731
    exact = np.zeros((60, 2, 3))
    exact[:, 0, 0], exact[:, 0, 1], exact[:, 1, 2] = points[:, 1], points[:, 0], 2 * points[:, 2]
    for jacobian in (Jacobian(f), Jacobian(f, 1e-6), Jacobian(lambda t, x: t * f(x), argnum=1, args=(1.0,))):
        assert_allclose(jacobian.map(points), exact, atol=1e-8)
    assert_allclose(Jacobian(lambda x: [float(x[0]), x[1] * x[2]]).map(points[:3])[:, 1, 2], points[:3, 1], rtol=1e-8)
    assert_allclose(Jacobian(f).map(points, workers=2), exact, atol=1e-8)


def test_the_lift_is_taken_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    together = mapping._together
    monkeypatch.setattr(mapping, "_together", lambda *a: taken.append(1) or together(*a))
    points = RNG.normal(size=(20, 3))
    Gradient(squares).map(points)
    assert taken == [1]
    noise = np.random.default_rng(1)
    Gradient(lambda x: np.sum(x) + 1e-3 * noise.normal(), 0.1).map(points)  # not the same twice: one at a time
    for option in ({"bounds": (-10, 10)}, {"indices": [0]}, {"backend": "python"}, {"method": "adaptive"}):
        Gradient(squares, **option).map(points)
    assert taken == [1] or len(taken) == 2


def test_errors_come_through() -> None:
    def f(x: Any) -> Any:
        if x[0] > 2:
            raise KeyError("beyond")
        return x[0]

    with pytest.raises(KeyError, match="beyond"):
        Gradient(f).map([[1.0], [3.0]])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (3.0, "`points` must be an array of points"),
        ([[1.0], [1.0, 2.0]], "`points` must be a rectangular array"),
        ([["a"]], "`points` must hold real numbers"),
        (None, "`points` must hold real numbers"),
        ([[1.0, np.nan]], r"`points` must be finite, got nan at coordinate \(0, 1\)"),
    ],
)
def test_wrong_points_are_named(points: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Gradient(squares).map(points)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match="`workers`"):
        Gradient(squares).map([[1.0]], workers=0)
    with pytest.raises(ValueError, match="leave out `sparse`"):
        Jacobian(lambda x: x, sparse=True).map([[1.0]])
