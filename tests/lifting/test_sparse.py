"""The sparse lift against the plain loop: the same numbers, from one call of f."""

from __future__ import annotations

import importlib
import operator
import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad.core.call import Call
from fastgrad.lifting.arraylike import has_bundles, stacked
from fastgrad.lifting.signals import CannotLift
from fastgrad.lifting.sparse import lift, sweep
from fastgrad.lifting.sparse.layout import Box, Dim, broadcast, flat_indices, permute, place, reshape, take
from fastgrad.lifting.sparse.meeting import relation
from fastgrad.lifting.sparse.rules import BINARY, UNARY
from tests.corpus import CORPUS

sweeping = importlib.import_module("fastgrad.lifting.sparse.sweeping")
EPS = np.finfo(float).eps


def plain(f, x, index, points, args=()):
    """f(point) - f(x), one point at a time."""
    base = np.asarray(f(x.copy(), *args))
    values = np.empty((*points.shape, *base.shape), dtype=np.result_type(points, base))
    for row, i in enumerate(index):
        for column, value in enumerate(points[row]):
            point = x.astype(points.dtype)
            point.flat[i] = value
            values[row, column] = np.asarray(f(point, *args)) - base
    return base, values


def steps(x, h, columns=(1.0, -1.0)):
    return x.reshape(-1, 1) + h * np.asarray(columns)


def assert_agrees(f, x, h=1e-3, args=(), index=None, columns=(1.0, -1.0), tolerance=1e-12):
    """Lift f, compare with the loop; what the lift may miss is the loop's own rounding error."""
    index = np.arange(x.size) if index is None else np.asarray(index)
    points = steps(x.reshape(-1)[index], h, columns)
    before = x.copy()
    base, values, *_ = sweep(Call(f, args), x, index, points)
    with np.errstate(all="ignore"):
        base_plain, expected = plain(f, x, index, points, args)
    assert np.array_equal(x, before)
    np.testing.assert_allclose(base, base_plain, rtol=1e-13)
    scale = np.abs(base_plain).max(initial=0) + np.abs(expected).max(initial=0)
    assert np.abs(values - expected).max(initial=0) <= tolerance * max(scale, 1.0)
    return values


def rng(seed=0):
    return np.random.default_rng(seed)


# ---------------------------------------------------------------------------------------------------------------
# Rules: each difference to nearly the last bit, where subtracting function values would lose it
# ---------------------------------------------------------------------------------------------------------------

EXACT = {
    np.square: lambda v: v * v,
    np.sqrt: mpmath.sqrt,
    np.cbrt: mpmath.cbrt,
    np.reciprocal: lambda v: 1 / v,
    np.exp: mpmath.exp,
    np.exp2: lambda v: mpmath.mpf(2) ** v,
    np.expm1: mpmath.expm1,
    np.log: mpmath.log,
    np.log2: lambda v: mpmath.log(v) / mpmath.log(2),
    np.log10: mpmath.log10,
    np.log1p: mpmath.log1p,
    np.sin: mpmath.sin,
    np.cos: mpmath.cos,
    np.tan: mpmath.tan,
    np.sinh: mpmath.sinh,
    np.cosh: mpmath.cosh,
    np.tanh: mpmath.tanh,
    np.arctan: mpmath.atan,
    np.absolute: abs,
}


@pytest.mark.parametrize("ufunc", EXACT, ids=lambda u: u.__name__)
@pytest.mark.parametrize("h", [1e-9, 1e-5, 1e-2, 0.5, 3.0])
@pytest.mark.parametrize("count", [20, 300])
def test_difference_rule(ufunc, h, count):
    b = rng(1).uniform(0.3, 1.2, count)
    d = rng(2).uniform(-0.25 if h > 0.25 else -h, h, (1, count))
    got = UNARY[ufunc](d, b, ufunc(b))[0]
    worst = 0.0
    with mpmath.workdps(60):
        for i in range(0, count, 1 + count // 20):
            low, high = mpmath.mpf(float(b[i])), mpmath.mpf(float(b[i])) + mpmath.mpf(float(d[0, i]))
            exact = EXACT[ufunc](high) - EXACT[ufunc](low)
            # relative to the slope, which a difference may be far below (cos near a maximum)
            slope = abs(exact) + abs(mpmath.mpf(float(d[0, i]))) / 10
            worst = max(worst, float(abs(exact - mpmath.mpf(float(got[i]))) / slope))
    assert worst <= 30 * EPS


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 7, -1, -2, -5, 0.5, 1.5, -0.7])
@pytest.mark.parametrize("h", [1e-9, 1e-4, 0.2])
def test_power_rule(exponent, h):
    b = rng(1).uniform(0.3, 1.2, 20)
    d = rng(2).uniform(-h, h, (1, 20))
    difference = BINARY[np.power](d, b, None, np.asarray(float(exponent)), b**exponent)
    got = ((b + d) ** exponent - b**exponent if difference is None else difference)[0]
    with mpmath.workdps(60):
        for i in range(20):
            low = mpmath.mpf(float(b[i]))
            high = low + mpmath.mpf(float(d[0, i]))
            exact = high ** mpmath.mpf(exponent) - low ** mpmath.mpf(exponent)
            # a large step has the plain difference's accuracy, a small one all digits
            floor = 50 * EPS * abs(exact) + (4 * EPS * float(b[i]) ** exponent if h > 0.1 else 0)
            assert abs(exact - mpmath.mpf(float(got[i]))) <= floor


@pytest.mark.parametrize("ufunc", sorted(UNARY, key=lambda u: u.__name__), ids=lambda u: u.__name__)
@pytest.mark.parametrize("h", [1e-6, 1e-2, 2.0])
def test_every_unary_rule_is_the_function(ufunc, h):
    b = rng(1).uniform(0.2, 2.0, 400) + (2.0 if h > 1 else 0.0)
    d = rng(2).uniform(-h, h, (2, 400))
    if ufunc in (np.arcsin, np.arccos, np.arctanh):
        b, d = b / 7.0, d / 7.0
    change = UNARY[ufunc](d, b, ufunc(b))
    if change is None:  # no series is short enough
        assert h >= 1e-2
        assert ufunc in (np.arcsin, np.arccos, np.arctanh, np.arcsinh)
        return
    np.testing.assert_allclose(change, ufunc(b + d) - ufunc(b), rtol=1e-9, atol=2e-12)


# ---------------------------------------------------------------------------------------------------------------
# Layouts: views of the differences are views of the array
# ---------------------------------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def whole(shape):
    """The box of x itself: row r changes entry r."""
    dims, step = [], int(np.prod(shape))
    for axis, length in enumerate(shape):
        step //= length
        dims.append(Dim(length, step, axis, 1))
    return Box(0, (0,) * len(shape), tuple(dims))


def pairs(box, shape):
    row, position = flat_indices(box, shape)
    return row, position


@st.composite
def slicings(draw, shape):
    key, items = [], []
    for length in shape:
        kind = draw(st.sampled_from(["all", "int", "slice"]))
        if kind == "int":
            i = draw(st.integers(0, length - 1))
            key.append(i)
            items.append(i)
        else:
            part = slice(None) if kind == "all" else draw(st.slices(length))
            start, stop, step = part.indices(length)
            if not len(range(start, stop, step)):
                part, (start, stop, step) = slice(None), (0, length, 1)
            key.append(part)
            items.append((start, step, len(range(start, stop, step))))
    return tuple(key), tuple(items)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_slices_of_slices_follow_numpy(data):
    shape = data.draw(SHAPES)
    rows = np.arange(int(np.prod(shape))).reshape(shape)  # which row changes each entry
    box, d = whole(shape), rows[None]
    for _ in range(3):
        key, items = data.draw(slicings(rows.shape))
        rows = rows[key]
        taken = take(box, items)
        assert taken is not None  # every entry is changed by some row
        box, index = taken
        d = d[index]
        row, position = pairs(box, rows.shape)
        assert np.array_equal(d[0], row)
        assert np.array_equal(np.ravel(rows)[position], row)
        assert row.size == rows.size
        if not rows.ndim:
            break
        axes = tuple(data.draw(st.permutations(range(rows.ndim))))
        box, moved = permute(box, axes)
        rows, d = rows.transpose(axes), d.transpose(moved)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_reshape_follows_numpy_or_declines(data):
    shape = data.draw(SHAPES)
    key, items = data.draw(slicings(shape))
    rows = np.arange(int(np.prod(shape))).reshape(shape)[key]
    taken = take(whole(shape), items)
    assert taken is not None
    box, index = taken
    d = np.arange(int(np.prod(shape))).reshape(1, *shape)[index]
    sizes = [n for n in range(1, rows.size + 1) if rows.size % n == 0]
    first = data.draw(st.sampled_from(sizes))
    new = data.draw(
        st.sampled_from([(rows.size,), (first, -1), (-1, first), (1, first, rows.size // first), (rows.size, 1)])
    )
    rows2 = rows.reshape(new)
    moved = reshape(box, d, rows.shape, rows2.shape)
    if moved is None:
        assert key != (slice(None),) * len(shape)  # the whole array can always be reshaped
        return
    box, d = moved
    row, position = pairs(box, rows2.shape)
    assert np.array_equal(d[0], row)
    assert np.array_equal(np.ravel(rows2)[position], row)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_place_is_the_inverse_of_take(data):
    shape = data.draw(SHAPES)
    key, items = data.draw(slicings(shape))
    inner = np.zeros(shape)[key].shape
    box = place(whole(inner), items)
    row, position = pairs(box, shape)
    expected = np.arange(int(np.prod(shape))).reshape(shape)[key]
    assert np.array_equal(position.ravel()[np.argsort(row.ravel())], np.ravel(expected))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_relation_of_two_slices_is_true(data):
    shape = data.draw(SHAPES)
    same = data.draw(st.sampled_from([shape, tuple(n + 1 for n in shape)]))
    boxes = []
    for _ in range(2):
        items = []
        for length, n in zip(same, shape, strict=True):
            step = data.draw(st.sampled_from([1, -1])) if length == n else 1
            start = (length - 1 if step < 0 else 0) + (data.draw(st.integers(0, length - n)) if length > n else 0)
            items.append((start, step, n))
        taken = take(whole(same), tuple(items))
        assert taken is not None
        part = data.draw(slicings(shape))[1]
        kept = take(taken[0], tuple((0, 1, n) if isinstance(i, int) else i for i, n in zip(part, shape, strict=True)))
        assert kept is not None
        boxes.append(
            place(kept[0], tuple((0, 1, n) if isinstance(i, int) else i for i, n in zip(part, shape, strict=True)))
        )
    sets = [set(zip(*(v.ravel().tolist() for v in pairs(box, shape)), strict=True)) for box in boxes]
    how = relation(*boxes)
    if how == "disjoint":
        assert not sets[0] & sets[1]
    elif how != "overlapping":
        row, position = pairs(how.box, shape)
        listed = list(zip(row.ravel().tolist(), position.ravel().tolist(), strict=True))
        assert len(set(listed)) == len(listed)
        for box, at in zip(boxes, (how.first, how.second), strict=True):
            inside_row, inside_position = row[at[1:]], position[at[1:]]
            mine_row, mine_position = pairs(box, shape)
            assert np.array_equal(inside_row.ravel(), mine_row.ravel())
            assert np.array_equal(inside_position.ravel(), mine_position.ravel())


def test_broadcast_makes_positions_free():
    box, d = broadcast(whole((3,)), np.arange(3.0)[None], (3,), (2, 3))
    row, position = pairs(box, (2, 3))
    assert d.shape == (1, *row.shape)
    assert sorted(zip(row.ravel().tolist(), position.ravel().tolist(), strict=True)) == [
        (r, p) for r in range(3) for p in (r, r + 3)
    ]


# ---------------------------------------------------------------------------------------------------------------
# The corpus of plain numpy functions, and the table of covered operations
# ---------------------------------------------------------------------------------------------------------------

LIFTED: list[bool] = []


@pytest.mark.parametrize("problem", CORPUS, ids=lambda p: p.name)
def test_corpus_is_right_or_refused(problem):
    work = problem.workload()
    x = np.array(work.x, dtype=float)
    try:
        assert_agrees(work.f, x, 1e-4, work.args, tolerance=1e-11)
        LIFTED.append(True)
    except CannotLift:
        LIFTED.append(False)


def test_most_of_the_corpus_lifts():
    if len(LIFTED) < len(CORPUS):
        pytest.skip("runs after the whole corpus")
    assert np.mean(LIFTED) >= 0.8


A = rng(5).normal(size=(7, 6))
B = rng(6).normal(size=(6, 6))
W = rng(7).uniform(0.5, 1.5, size=(3, 4))

VECTOR = {  # of a vector of 6
    "shifts": lambda x: np.sum((x[1:] - x[:-1] ** 2) ** 2 * x[:-1]),
    "strides": lambda x: np.sum(x[::2] * x[1::2]) + np.sum(x[::-1] * np.arange(6.0)) + np.sum(x[4::-2] ** 3),
    "palindrome": lambda x: np.sum((x + x[::-1]) ** 2 * np.exp(x[::-1])),
    "pairwise": lambda x: np.sum(np.cos(x[:, None] - x[None, :]) * x),
    "pairwise product": lambda x: np.sum(np.sqrt(1 + (x[:, None] * x) ** 2)),
    "three ways": lambda x: np.sum(np.sin(x[:, None, None] + x[:, None] * x)),
    "outer": lambda x: np.sum(np.outer(x, x) ** 2) + np.sum(np.add.outer(x, 2 * x) ** 3),
    "norms": lambda x: np.linalg.norm(x) + np.linalg.norm(x, 1) + np.linalg.norm(x, np.inf),
    "unit": lambda x: np.sum((x / np.sqrt(np.sum(x**2))) ** 4),
    "logsumexp": lambda x: np.max(x) + np.log(np.sum(np.exp(x - np.max(x)))),
    "softmax": lambda x: np.sum((np.exp(x) / np.exp(x).sum()) ** 2),
    "moments": lambda x: np.var(x) + np.std(x, ddof=1) + x.mean() ** 3 + np.ptp(x),
    "products": lambda x: np.prod(1 + x**2) + np.prod(np.cos(x[1:] - x[:-1])),
    "cumulated": lambda x: np.sum(np.cumsum(x) ** 2),
    "matrix": lambda x: np.sum((A @ x) ** 2) + x @ B @ x + np.dot(x, B.T.dot(np.ones(6))),
    "matrix of itself": lambda x: np.sum((np.outer(x, x) @ B) ** 2),
    "affine": lambda x: np.sum(np.tanh(x @ B + 1) ** 2),
    "einsum": lambda x: np.einsum("i,ij,j->", x, B, x) + np.einsum("i,i", x, x) + np.einsum("ij,j->i", A, x)[3],
    "tensordot": lambda x: np.sum(np.tensordot(A, x, axes=([1], [0])) ** 3),
    "solve": lambda x: np.sum(np.linalg.solve(B, x) ** 2),
    "indexed": lambda x: np.sum((x[[0, 2, 2, 5]] - x[[1, 1, 3, 4]]) ** 2),
    "masked": lambda x: np.sum(x[np.array([True, False, True, True, False, True])] ** 2 * 3),
    "own mask": lambda x: np.sum(x[x > 0] ** 2),
    "where": lambda x: np.sum(np.where(x > 0, x**2, -x) + np.where(np.arange(6) > 2, x, 0)),
    "condition times": lambda x: np.sum((x > 0) * x**2 + ~(x > 0) * x),
    "clip": lambda x: np.sum(np.clip(x, -0.5, 0.5) ** 2 + np.maximum(x, x[::-1]) + np.minimum(0, x) + np.abs(x)),
    "rolled": lambda x: np.sum((np.roll(x, 1) - x) ** 2 * np.roll(x, -2)),
    "padded": lambda x: np.sum(np.diff(np.pad(x, 1)) ** 2) + np.sum(np.diff(np.pad(x, (2, 1), mode="edge"), 2) ** 2),
    "joined": lambda x: np.sum(np.concatenate([x[3:], x[:2], [1.0]]) ** 2 * np.arange(6)),
    "stacked": lambda x: np.sum(np.stack([x, x**2]) * np.vstack([x[::-1], x])) + np.hstack([x, x[:1]]) @ np.ones(7),
    "reshaped": lambda x: np.sum(x.reshape(2, 3) @ x.reshape(3, 2)) + np.sum(x.reshape(2, 3).T.ravel() * np.arange(6)),
    "tiled": lambda x: np.sum(np.tile(x, 2) * np.repeat(x, 2)) + np.sum(np.diag(x) ** 2) + np.trace(np.outer(x, x)),
    "flipped": lambda x: np.sum(np.flip(x) * np.cos(x)),
    "convolved": lambda x: (
        np.sum(np.convolve(x, [1.0, -2.0, 1.0]) ** 2) + np.sum(np.convolve(x, [1.0, 3.0], "same") ** 2)
    ),
    "interpolated": lambda x: np.sum(np.interp(x, [-3.0, 0.1, 3.0], [1.0, 2.0, -1.0])),
    "loop": lambda x: sum((x[i + 1] - x[i] ** 2) ** 2 for i in range(5)),
    "iterated": lambda x: sum(v**2 for v in x) + (x[0] if x[0] > x[1] else x[1]),
    "branch": lambda x: x[0] ** 2 if x[1] > -100 and np.all(x < 50) else x[2],
    "powers": lambda x: np.sum(x**3 + x**4 - x**-2 + np.abs(x) ** 1.5 + (1 + x**2) ** -0.5 + 2.0**x),
    "trigonometric": lambda x: np.sum(np.sin(x) * np.cos(x) + np.tan(x / 4) + np.arctan(x) + np.arctan2(x, 2.0)),
    "hyperbolic": lambda x: np.sum(np.sinh(x) / np.cosh(x) + np.tanh(x) + np.log1p(np.exp(x)) + np.logaddexp(x, 0)),
    "quotients": lambda x: np.sum(x[1:] / (1 + x[:-1] ** 2) + 1 / (2 + np.cos(x[1:]))),
    "trapezoid": lambda x: np.trapezoid(x**2, dx=0.1),
    "made of others": lambda x: (
        np.sum(np.column_stack([x, np.sin(x)]) ** 3)
        + np.sum(np.append(x, x[:2] ** 2) * np.arange(8))
        + np.average(x**2, weights=np.arange(1.0, 7.0))
        + np.vdot(x, x[::-1])
        + np.polyval(x[:3], x[3]) * np.sum(np.ediff1d(x) ** 2)
    ),
    "chosen": lambda x: np.sum(np.select([x > 1, x > 0], [x**2, np.exp(x)], -x)),
    "of more axes": lambda x: np.sum(np.atleast_3d(x) ** 2) * np.sum(np.atleast_2d(x) @ B) * np.sum(np.vstack([x, x])),
    "zeros like it": lambda x: np.sum(np.ones_like(x) * x + np.zeros_like(x, float) + np.full_like(x, 3.0) * x**2),
    "a rosenbrock entry by entry": lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] * x[0]) ** 2,
}

MATRIX = {  # of a 3 x 4 array
    "grid": lambda u: np.sum((u[1:, :] - u[:-1, :]) ** 2) + np.sum((u[:, 1:] - u[:, :-1]) ** 2),
    "surface": lambda u: np.sum(np.sqrt(1 + (u[1:, :-1] - u[:-1, :-1]) ** 2 + (u[:-1, 1:] - u[:-1, :-1]) ** 2)),
    "laplace": lambda u: np.sum((4 * u[1:-1, 1:-1] - u[2:, 1:-1] - u[:-2, 1:-1] - u[1:-1, 2:] - u[1:-1, :-2]) ** 2),
    "axes": lambda u: (
        np.sum(u.sum(axis=0) ** 2) + np.sum(u.mean(axis=1) ** 3) + np.sum(u.sum(axis=1, keepdims=True) * u)
    ),
    "rows": lambda u: np.sum(u[0] * u[1]) + np.sum(u[:, 2] ** 3) + u[1, 2] * u[2, 1],
    "transposed": lambda u: np.sum((u.T @ W) ** 2) + np.sum(u @ u.T) + np.trace(u @ u.T),
    "softmax": lambda u: np.sum(np.log(np.sum(np.exp(u - u.max(axis=1, keepdims=True)), axis=1))),
    "centred": lambda u: np.sum((u - u.mean(axis=0)) ** 4),
    "distances": lambda u: np.sum(np.sqrt(np.sum((u[:, None, :] - u[None, :, :]) ** 2, axis=-1) + 0.1)),
    "picked": lambda u: np.sum(u[np.arange(3), [0, 3, 1]] ** 2) + u[[0, 2]][:, [1, 3]].sum() ** 2,
    "broadcast": lambda u: np.sum(u * u[0] - W * u[:, :1]),
    "raveled": lambda u: np.sum((u.ravel()[1:] - u.ravel()[:-1]) ** 2),
    "extremes": lambda u: np.sum(u.max(axis=0) ** 2) + np.sum(u.min(axis=1)) + u.max() * u.min(),
    "triangles": lambda u: np.sum(np.triu(u) ** 2) + np.sum(np.tril(u, -1)),
    "diagonal": lambda u: np.sum(np.diagonal(u) ** 3),
    "rolled": lambda u: np.sum((np.roll(u, 1, axis=0) - u) ** 2 + (np.roll(u, -1, axis=1) * u)),
    "einsum": lambda u: np.sum(np.einsum("ij,kj->ik", u, W) ** 2),
    "swapped": lambda u: np.sum(np.swapaxes(u, 0, 1)[1:] * u[:, 1:].T),
    "axes moved": lambda u: (
        np.sum(np.rollaxis(u[:, :, None] * u[:, None, :], 2)[1] ** 2)
        + np.sum(np.moveaxis(u[None] * W, [0, 1], [2, 0])[2] ** 3)
        + np.sum(np.matrix_transpose(u) @ W)
    ),
    "contracted": lambda u: np.sum(np.inner(u, u) ** 2) + np.sum(np.dot(u, W.T) * np.tensordot(W, u, (1, 1))),
    "positions": lambda u: (
        np.sum(u[np.argmax(u + 99 * W, axis=0), np.arange(4)] ** 2) + u.ravel()[(u + 99 * W).argmin()]
    ),
}


@pytest.mark.parametrize("h", [1e-6, 1e-2, 0.4])
@pytest.mark.parametrize("name", VECTOR)
def test_of_a_vector(name, h):
    f = VECTOR[name]
    for seed in range(3):
        x = rng(seed).normal(size=6)
        x += 0.7 * np.sign(x)  # away from kinks and poles by more than the largest step
        assert_agrees(f, x, h, tolerance=1e-11)


@pytest.mark.parametrize("h", [1e-6, 0.3])
@pytest.mark.parametrize("name", MATRIX)
def test_of_a_matrix(name, h):
    assert_agrees(MATRIX[name], rng(3).normal(size=(3, 4)), h, tolerance=1e-11)


@pytest.mark.parametrize("cells", [1, 8, 40])
@pytest.mark.parametrize("name", MATRIX)
def test_in_tiles(name, cells, monkeypatch):
    monkeypatch.setattr(sweeping, "CELLS", cells)
    monkeypatch.setattr(sweeping, "MOST_CELLS", cells)
    monkeypatch.setattr(sweeping, "FEWEST_ROWS", 2)
    assert_agrees(MATRIX[name], rng(3).normal(size=(3, 4)), 1e-3, tolerance=1e-11)


@pytest.mark.parametrize("name", [*VECTOR])
def test_some_coordinates_some_of_them_twice_with_several_steps(name):
    x = rng(4).normal(size=6)
    x += 0.7 * np.sign(x)
    columns = (1.0, -1.0, 2.0, -2.0, 0.5)
    assert_agrees(VECTOR[name], x, 0.05, index=[4, 1], columns=columns, tolerance=1e-11)
    assert_agrees(VECTOR[name], x, 0.05, index=[2, 3, 2, 0, 5, 2, 1, 1], columns=columns, tolerance=1e-11)
    assert_agrees(VECTOR[name], x, 0.05, index=[5, 3, 1, 0, 2], columns=(1.0,), tolerance=1e-11)


ANALYTIC = ["shifts", "strides", "pairwise", "unit", "matrix", "powers", "hyperbolic", "quotients", "reshaped"]


@pytest.mark.parametrize("name", ANALYTIC)
def test_complex_step(name):
    x = rng(4).normal(size=6)
    x += 0.7 * np.sign(x)
    h = 1e-100
    f = (
        VECTOR[name]
        if name not in ("powers", "hyperbolic")
        else lambda x: np.sum(x**3 - x**-2 + np.tanh(x) * np.exp(x))
    )
    _, values, *_ = sweep(Call(f), x, np.arange(6), steps(x.astype(complex), 1j * h, (1.0,)))
    _, expected = plain(f, x, np.arange(6), steps(x.astype(complex), 1j * h, (1.0,)))
    np.testing.assert_allclose(values[:, 0].imag / h, expected[:, 0].imag / h, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# Random expressions
# ---------------------------------------------------------------------------------------------------------------

LENGTH = 7
STEPS = {
    "sin": np.sin,
    "square": np.square,
    "tanh": np.tanh,
    "shrink": lambda v: 0.5 * v + 0.1,
    "softplus": lambda v: np.log1p(np.exp(v)),
    "reverse": lambda v: v[::-1],
    "roll": lambda v: np.roll(v, 2),
    "shift": lambda v: np.concatenate([v[1:], v[:1] * 0.5]),
    "neighbours": lambda v: np.pad(v[1:] * v[:-1], (0, 1)),
    "permute": lambda v: v[[3, 1, 0, 2, 6, 6, 4]],
    "centre": lambda v: v - np.mean(v),
    "mix": lambda v: np.tanh(MIX @ v),
    "relu": lambda v: np.maximum(v, -0.05),
    "choose": lambda v: np.where(v > 0.02, v, 0.3 * v),
    "weights": lambda v: v * WEIGHTS,
}
PAIRED = {
    "add": lambda v, w: v + w,
    "subtract": lambda v, w: v - w,
    "multiply": lambda v, w: v * w,
    "divide": lambda v, w: v / (2 + w * w),
    "pairs": lambda v, w: np.sum(np.cos(v[:, None] - w), axis=1) / LENGTH,
    "maximum": np.maximum,
    "hypot": lambda v, w: np.hypot(v, 1 + w),
}
MIX = rng(8).normal(size=(LENGTH, LENGTH)) / LENGTH
WEIGHTS = rng(9).uniform(0.5, 1.5, LENGTH)
programs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9)),
        st.tuples(st.sampled_from(sorted(PAIRED)), st.integers(0, 9), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=8,
)


def run_program(program, x):
    made = [x]
    for name, *which in program:
        operands = [made[i % len(made)] for i in which]
        made.append((STEPS[name] if len(which) == 1 else PAIRED[name])(*operands))
    return np.sum(made[-1] * WEIGHTS) + np.mean(made[len(made) // 2] ** 2)


@settings(max_examples=400, deadline=None)
@given(programs, st.integers(0, 1000), st.sampled_from([1e-7, 1e-3, 0.2]))
def test_random_expressions(program, seed, h):
    x = rng(seed).normal(size=LENGTH)
    with np.errstate(all="ignore"):
        scale = abs(run_program(program, x))
    if not scale < 1e6:
        return
    assert_agrees(lambda x: run_program(program, x), x, h, tolerance=1e-11)


# ---------------------------------------------------------------------------------------------------------------
# Accuracy: against exact gradients, no worse than the loop
# ---------------------------------------------------------------------------------------------------------------


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x):
    g = np.zeros_like(x)
    g[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


SMOOTH = {
    "rosenbrock": (rosenbrock, rosenbrock_gradient),
    "norm": (lambda x: np.sqrt(np.sum(x**2)), lambda x: x / np.sqrt(np.sum(x**2))),
    "logsumexp": (lambda x: np.log(np.sum(np.exp(x))), lambda x: np.exp(x) / np.sum(np.exp(x))),
    "large constant": (lambda x: 1e9 + np.sum(np.sin(x)), np.cos),
    "mean of exps": (lambda x: np.exp(np.mean(np.exp(x))), lambda x: np.exp(x + np.mean(np.exp(x))) / x.size),
    "ratio": (
        lambda x: np.sum(x**2) / (1 + np.sum(np.cos(x)) ** 2),
        lambda x: (
            2 * x / (1 + np.sum(np.cos(x)) ** 2)
            + np.sum(x**2) * 2 * np.sum(np.cos(x)) * np.sin(x) / (1 + np.sum(np.cos(x)) ** 2) ** 2
        ),
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_no_cancellation(name):
    """With a step far below the loop's best, the loop's round-off dominates, and ours is not there."""
    f, exact = SMOOTH[name]
    x = rng(11).normal(size=50)
    h = 1e-8
    points = steps(x, h)
    errors = []
    swept = sweep(Call(f), x, np.arange(50), points)
    assert not swept.rounded
    for _, values, *_ in (swept, plain(f, x, np.arange(50), points)):
        g = (values[:, 0] - values[:, 1]) / (points[:, 0] - points[:, 1])
        errors.append(np.abs(g - exact(x)).max() / np.abs(exact(x)).max())
    assert errors[0] <= 1e-13
    assert errors[0] < errors[1] / 100


# ---------------------------------------------------------------------------------------------------------------
# Branches, writes, other results, and what is refused
# ---------------------------------------------------------------------------------------------------------------


def test_rows_that_take_another_branch_are_evaluated_plainly():
    calls = []

    def f(x):
        calls.append(type(x).__name__)
        return np.sum(x) if x[3] > 0.5 else np.sum(x**2)

    x = np.linspace(0.1, 1.9, 19)
    x[3] = 0.5 + 1e-6
    values = assert_agrees(f, x, 1e-3)
    assert calls.count("ndarray") - (2 * 19 + 1) == 2  # besides the loop's: the two points of that one row
    assert abs(values[3, 1]) > 1


def test_what_was_not_lifted_is_said():
    x = np.array([0.5, 0.5 + 1e-6, 3.0, 4.0, 0.1])
    f = lambda x: np.sum(x**2) if x[1] > 0.5 else np.sum(x)  # noqa: E731
    assert sweep(Call(f), x, np.arange(5), steps(x, 1e-3)).plain.tolist() == [1]
    index = np.array([3, 1, 0, 1])
    assert sweep(Call(f), x, index, steps(x[index], 1e-3)).plain.tolist() == [1, 3]
    assert not sweep(Call(lambda x: np.sum(x**1.5)), x, index, steps(x[index], 1e-3)).rounded
    assert not sweep(Call(lambda x: np.sum(np.logaddexp(x, 0))), x, index, steps(x[index], 1e-3)).rounded
    assert not sweep(Call(lambda x: np.sum(np.arctan2(x, 2.0))), x, index, steps(x[index], 1e-4)).rounded
    assert sweep(Call(lambda x: np.sum(np.arccosh(x + 1.0))), x, index, steps(x[index], 1e-3)).rounded


def test_a_kink_inside_the_step_is_no_branch():
    x = np.array([1e-4, -1e-4, 0.3, 2e-4])
    assert_agrees(lambda x: np.sum(np.abs(x) + np.maximum(x, 0) + np.where(x > 0, x, -3 * x)), x, 1e-3)
    assert_agrees(lambda x: np.max(x) + np.min(x), x, 1e-3)
    assert_agrees(lambda x: max(x) * min(x), np.arange(20.0), 1e-3)


# --- axes that only lie in boxes when they are split ---------------------------------------------------------------

IMAGES = rng(4).normal(size=(3, 4, 4, 5))  # batch, height, width, inputs
DENSE, SMALLER = rng(6).normal(size=(8, 4)), rng(7).normal(size=(24, 3))


def pixels(W):
    """(batch * height * width * filters): each row changes one filter's, along an axis merged with free ones."""
    return (np.dot(IMAGES.reshape(-1, 5), W.reshape(2, 5).T)).reshape(3, 4, 4, 2)


def windows(W):
    """As a textbook's pooling: (windows and filters, entries of the window)."""
    image = pixels(W).transpose(0, 3, 1, 2)
    columns = np.zeros_like(image, shape=(3, 2, 2, 2, 2, 2))
    for i in range(2):
        for j in range(2):
            columns[:, :, i, j] = image[:, :, i::2, j::2]
    return columns.transpose(0, 4, 5, 1, 2, 3).reshape(-1, 4)


def written(W):
    out = pixels(W).reshape(12, 8).copy()
    out[3:5, ::2] = 2.0
    out[0] *= 3.0
    out *= 0.5
    out[out < -1.0] = 0.0
    return out


def view_written(W):
    flat = pixels(W).reshape(12, 8).copy()
    block = flat[2:4]
    block *= 2.0
    return np.sum(flat**2) + np.sum(block**3)


SPLIT = {
    "max": lambda W: np.sum(np.max(windows(W), axis=1) ** 2),
    "min of both": lambda W: np.min(windows(W)) + np.min(windows(W), axis=0) @ np.arange(4.0),
    "max, kept": lambda W: np.sum((windows(W) - windows(W).max(axis=1, keepdims=True)) ** 2),
    "argmax": lambda W: np.sum(windows(W)[np.arange(24), windows(W).argmax(axis=1)] ** 2),
    "argmin along windows": lambda W: np.sum(windows(W) ** 2) + windows(W).argmin(axis=0)[0],
    "sums": lambda W: np.sum(np.sum(windows(W), axis=0) ** 2) + np.sum(windows(W).mean(axis=1) ** 2),
    "elementwise": lambda W: np.sum(np.exp(np.tanh(windows(W)) * 2.0) / (1.0 + windows(W) ** 2)),
    "constants": lambda W: np.sum(windows(W) * np.arange(4.0) * np.arange(24.0)[:, None] + np.ones((24, 4)) ** 2),
    "stretched": lambda W: np.sum(windows(W)[:, None, :] * np.ones((3, 1)) * windows(W)[None, :3, :1].sum()),
    "two splits": lambda W: np.sum(windows(W).reshape(12, 8) * pixels(W).reshape(12, 8)),
    "two products": lambda W: np.sum(np.dot(windows(W).T, windows(W)) ** 2),
    "product": lambda W: np.sum(np.dot(pixels(W).reshape(12, 8), DENSE) ** 2),
    "product from the left": lambda W: np.sum((SMALLER.T @ windows(W)) ** 2),
    "dense layer": lambda W: np.sum(np.maximum(pixels(W).transpose(0, 3, 1, 2).reshape(3, -1) @ np.ones((32, 2)), 0)),
    "transposed": lambda W: np.sum(windows(W).T @ SMALLER) + np.sum(windows(W).T.reshape(2, -1)[0] ** 3),
    "reshaped again": lambda W: np.sum(np.exp(windows(W)).reshape(3, 2, 2, 2, 4).sum(axis=(1, 2)) ** 2),
    "masks": lambda W: np.sum(np.where(windows(W) > 0.1, windows(W), 0.2 * windows(W)) ** 2),
    "written": lambda W: np.sum(written(W) ** 2),
    "a view written": view_written,
    "copied": lambda W: np.sum(windows(W).copy() ** 2) + np.sum(windows(W).ravel()[5:11] ** 2),
    "batch norm": lambda W: np.sum((windows(W) - windows(W).mean(axis=0)) / np.sqrt(windows(W).var(axis=0) + 1e-3)),
}


@pytest.mark.parametrize("name", SPLIT)
def test_axes_merged_with_free_ones(name):
    assert_agrees(SPLIT[name], rng(8).normal(size=(2, 5)))
    assert_agrees(SPLIT[name], rng(9).normal(size=(2, 5)), index=[7, 2, 3])


def test_a_pooled_convolution_lies_in_boxes():
    W = rng(8).normal(size=(2, 5))
    x, index, d = W, np.arange(W.size), np.full((1, W.size), 1e-3)
    layouts = []

    def f(W):
        pooled = np.max(windows(W), axis=1)
        layouts.extend(layout for layout, _ in pooled.reshape(3, 2, 2, 2).slots)
        return np.sum(pooled**2)

    lift(Call(f), x, index, d)
    assert layouts
    assert all(isinstance(layout, Box) for layout in layouts)
    assert sum(layout.size for layout in layouts) == W.size * 12  # each row: the windows of its own filter


@pytest.mark.parametrize("gates", [2, 4])
def test_boxes_side_by_side_are_one(gates):
    """As in a gated network: each gate's weights change the same state, in rows of their own."""
    size = 3
    inputs, mix = rng(3).normal(size=(4, 2)), rng(4).normal(size=(size, size))
    count = []

    def f(W):
        a = np.dot(inputs, W)
        parts = [np.tanh(a[:, g * size : (g + 1) * size]) for g in range(gates)]
        state = parts[0]
        for part in parts[1:]:
            state = state * part + part
        out = np.tanh(state @ mix + state)
        if hasattr(out, "slots"):
            count.append(len(out.slots))
        return np.sum(out**2)

    assert_agrees(f, rng(5).normal(size=(2, gates * size)))
    assert set(count) == {1}


def test_infinite_where_not_chosen():
    x = np.array([0.5, 2.0, 3.0])
    assert_agrees(lambda x: np.sum(np.where(np.eye(3) > 0, 0, np.log(np.abs(x[:, None] - x) + np.eye(3)))), x, 1e-3)
    assert_agrees(lambda x: np.sum(np.sqrt((x[:, None] - x) ** 2)), x, 1e-3)


def test_out_of_the_domain():
    x = np.array([1e-4, 1.0, 2.0, 3.0])
    index = np.arange(4)
    points = steps(x, 1e-3)
    with np.errstate(invalid="ignore"):
        _, values, *_ = sweep(Call(lambda x: np.sum(np.log(x))), x, index, points)
    assert np.isnan(values[0, 1])
    assert np.isfinite(values.ravel()[[0, 2, 3, 4, 5, 6, 7]]).all()
    with pytest.raises(CannotLift, match="not finite"), np.errstate(all="ignore"):
        sweep(Call(lambda x: np.sum(np.log(x))), x - 1, index, steps(x - 1, 1e-3))


def writes(x):
    y = x.copy()
    view = y[1:4]
    other = y[2:]
    view *= 2.0
    y[0] = x[5] ** 2
    y[-1] -= other[0]
    view[1:] = x[:2]
    z = np.zeros_like(x)
    z[1:-1] = x[2:] - 2 * x[1:-1] + x[:-2]
    z[z > 100] = 0
    z[[0, 5]] = x[[5, 1]] * y[[1, 2]]
    w = z
    w += 1
    x[0] = 3.0
    x[1:] *= x[:-1]
    return np.sum(y**3) + np.sum(other * np.arange(4.0)) + z @ x


def test_writes_and_views_as_in_numpy():
    assert_agrees(writes, rng(1).normal(size=6), 0.01)


@pytest.mark.parametrize("operation", ["imod", "ifloordiv", "ipow", "itruediv"])
def test_every_operator_in_place_writes_into_what_a_view_shows(operation):
    def f(x):
        y = 3.0 * x
        part = y[1:]
        getattr(operator, operation)(part, 2.5)
        return np.sum(y * y * np.arange(1.0, 5.0))

    assert_agrees(f, rng(3).uniform(0.9, 1.6, size=4), 0.01)


def test_nested_lists_of_entries():
    def f(x):
        rows = [[x[0], 1.0], [x[1] * x[2], x[0]]]
        a = stacked(rows) if has_bundles(rows) else np.array(rows)
        return np.sum((a @ x[:2]) ** 2) + np.sum(a**3)

    assert_agrees(f, rng(1).normal(size=4), 0.01)


def test_array_results():
    def f(x):
        return np.stack([x[1:] * x[:-1], np.sin(x[1:]) + np.sum(x)])

    values = assert_agrees(f, rng(1).normal(size=5), 0.01)
    assert values.shape == (5, 2, 2, 4)


def test_a_sparse_jacobian_can_be_read_off():
    x = rng(1).normal(size=1000)
    h = np.full((1, 1000), 1e-6)
    lifted = lift(Call(lambda x: x[2:] * x[:-2] - x[1:-1]), x, np.arange(1000), h)
    listed = lifted.entries()
    assert sum(row.size for row, _, _ in listed) == 3 * 998
    dense = np.zeros((1000, 998))
    for row, position, d in listed:
        np.add.at(dense, (row, position), d[0])
    assert np.array_equal(dense, lifted.differences()[0])


def test_scipy_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    A = sparse.random(40, 30, density=0.1, random_state=1, format="csr")
    for matrix in (A, A.tocsc(), sparse.csr_array(A)):
        assert_agrees(lambda x, matrix=matrix: np.sum(np.tanh(matrix @ x) ** 2), rng(2).normal(size=30), 0.01)
        assert_agrees(lambda x, matrix=matrix: np.sum((x @ matrix) ** 2 * 2), rng(2).normal(size=40), 0.01)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 3.0,
        lambda x: float(x[0]),
        lambda x: np.sum(np.asarray(x)),
        lambda x: np.sum(np.sort(x)),
        lambda x: np.array([x[0], x[1]]).sum(),
        lambda x: [x[0], x[1]],
        lambda x: x.no_such_method(),
        lambda x: 1 / 0,
        lambda x: x > 0,
        lambda x: np.sum(x, out=np.zeros(())),
    ],
)
def test_refused(f):
    x = np.ones(6)
    with pytest.raises(CannotLift):
        sweep(Call(f), x, np.arange(6), steps(x, 0.1))


def test_interruption_passes():
    def f(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(Call(f), np.ones(3), np.arange(3), steps(np.ones(3), 0.1))


def test_many_rows_on_another_branch_are_refused():
    x = np.full(40, 1e-6)
    with pytest.raises(CannotLift, match="branches"):
        sweep(Call(lambda x: sum(v if v > 0 else v * v for v in x)), x, np.arange(40), steps(x, 1e-3))


def test_memory_and_growth_are_linear():
    """One call of f, and differences for each entry once: 40 n 8 bytes for a support of 2."""
    n = 100_000
    x = rng(0).normal(size=n)
    points = steps(x, 1e-5)
    calls = []

    def f(x):
        calls.append(1)
        return rosenbrock(x)

    tracemalloc.start()
    sweep(Call(f), x, np.arange(n), points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(calls) == 1
    assert peak <= 40 * n * 8


@pytest.mark.parametrize("form", ["ik,jk->ij", "ik,kj->ji", "ki,kj->ij", "aik,ajk->aij", "ik,k->i", "abc,abc->"])
def test_products_of_two_arrays_that_one_entry_changes(form):
    """The differences of both factors meet: as products of matrices where the result keeps no shared axis."""
    left, right = form.split("->")[0].split(",")
    lengths = dict(zip("abcijk", (2, 3, 2, 4, 3, 5), strict=True))
    first, second = (rng(len(form)).normal(size=[lengths[name] for name in part]) for part in (left, right))

    def f(x):
        return np.sum(np.sin(np.einsum(form, first * x[0] + x[1], second * x[2] + np.exp(x[0]))))

    assert_agrees(f, rng(3).normal(size=3), tolerance=1e-11)
