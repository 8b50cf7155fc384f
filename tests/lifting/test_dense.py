"""The dense lift's sweep: f unmodified, the loop's values, and no lift where it would be wrong."""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad.core.call import Call
from fastgrad.lifting.dense import Bundle, sweep
from fastgrad.lifting.signals import CannotLift, Diverged, where_in
from tests.corpus import CORPUS, Problem

NOT_LIFTED = {"float_conversion"}  # a Python float is no number of numpy: it divides by zero with an error


def table(x: Any, h: float = 1e-4) -> tuple[Any, Any]:
    """The points of a central difference."""
    return np.arange(x.size), x.reshape(-1)[:, None] + np.array([h, -h])


def loop(f: Callable[..., Any], x: Any, index: Any, points: Any, args: Any = ()) -> Any:
    """The oracle: one evaluation for each point, on a fresh copy."""
    rows = []
    for i, row in zip(index, points, strict=True):
        for value in row:
            y = x.astype(points.dtype)
            y.reshape(-1)[i] = value
            rows.append(np.asarray(f(y, *args)))
    return np.array(rows).reshape(*points.shape, *rows[0].shape)


def assert_lifts(f: Callable[..., Any], x: Any, args: Any = (), ulp: float = 0, h: float = 1e-4) -> Any:
    index, points = table(x, h)
    values = sweep(Call(f, args), x, index, points)
    expected = loop(f, x, index, points, args)
    assert values.shape == expected.shape
    if ulp:
        np.testing.assert_allclose(values, expected, rtol=ulp * 2.3e-16)
    else:
        np.testing.assert_array_equal(values, expected)
    return values


def refused(f: Callable[..., Any], x: Any = None, match: str | None = None) -> CannotLift:
    x = np.array([1.0, 2.0, 3.0]) if x is None else x
    with pytest.raises(CannotLift, match=match) as caught:
        sweep(Call(f), x, *table(x))
    return caught.value


# --- the corpus ------------------------------------------------------------------------------------------


SUMS = {"sorted_values"}  # in another order
if sys.version_info >= (3, 12):
    SUMS.add("math_module_loop")  # sum() compensates the rounding of floats since, and of nothing else


@pytest.mark.parametrize("problem", CORPUS, ids=lambda p: p.name)
def test_corpus(problem: Problem) -> None:
    """Right to a few units in the last place where a sum may be ordered differently, else bit for bit."""
    f, x, args = problem.workload()
    index, points = table(x)
    before = x.copy()
    if problem.name in NOT_LIFTED:
        refused(f, x)
        return
    values = sweep(Call(f, args), x, index, points)
    expected = loop(f, x, index, points, args)
    if problem.style not in ("matrix", "model", "class") and problem.name not in SUMS:
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(values, expected, rtol=1e-14)
    np.testing.assert_array_equal(x, before)


def test_share_of_the_corpus() -> None:
    lifted = [p for p in CORPUS if p.name not in NOT_LIFTED]
    assert len(CORPUS) >= 80
    assert len(lifted) / len(CORPUS) >= 0.85


@pytest.mark.parametrize("problem", [p for p in CORPUS if p.scales and p.name not in NOT_LIFTED], ids=lambda p: p.name)
def test_corpus_in_several_tiles(problem: Problem) -> None:
    f, x, args = problem.at(31)
    index, points = table(x)
    values = sweep(Call(f, args), x, index, points, tile_bytes=4096)
    np.testing.assert_allclose(values, loop(f, x, index, points, args), rtol=2e-14)


# --- the sweep table -----------------------------------------------------------------------------------------


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("index", [[0, 1, 2, 3, 4, 5], [2, 5], [3, 3, 0, 3]])
@pytest.mark.parametrize("tile_bytes", [1, 500, 10**6])
def test_any_table(columns: int, index: list[int], tile_bytes: int) -> None:
    x = np.random.default_rng(0).normal(size=6)
    where = np.array(index, dtype=np.intp)
    points = x[where][:, None] + np.random.default_rng(1).normal(size=(len(index), columns))
    values = sweep(Call(rosenbrock), x, where, points, tile_bytes=tile_bytes)
    np.testing.assert_array_equal(values, loop(rosenbrock, x, where, points))


def test_complex_points() -> None:
    x = np.random.default_rng(0).normal(size=5)
    index = np.arange(5)
    points = x[:, None] + 1e-100j
    values = sweep(Call(rosenbrock), x, index, points)
    assert values.dtype == np.complex128
    np.testing.assert_allclose(values.imag, loop(rosenbrock, x, index, points).imag, rtol=1e-14)


def test_args_and_keywords() -> None:
    x = np.arange(1.0, 5.0)
    index, points = table(x)
    values = sweep(Call(lambda x, a, *, b: np.sum(a * x**b), (2.0,), {"b": 3}), x, index, points)
    np.testing.assert_array_equal(values, loop(lambda y: np.sum(2.0 * y**3), x, index, points))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**2,
        lambda x: np.outer(x, x)[1:],
        lambda x: [x[0] * x[1], x[2], 3.0],
        lambda x: (x[0], np.sin(x[1])),
        lambda x: np.array([x[0] * x[1], x[2] - 1, 2.0]),
        lambda x: np.array([[x[0], 1.0], [x[1] * x[2], x[0]]]),
        lambda x: x > 1,
        np.argmax,
        lambda x: x.sum(keepdims=True),
    ],
)
def test_results_of_other_shapes_and_dtypes(f: Callable[[Any], Any]) -> None:
    assert_lifts(f, np.array([0.5, 2.0, 4.0]))


@pytest.mark.parametrize(
    "f", [lambda x: x, lambda x: x[::-1], lambda x: np.squeeze(x[1:2]), lambda x: x[1:], lambda x: [x, x]]
)
def test_results_that_are_views_of_the_argument(f: Callable[[Any], Any]) -> None:
    x = np.linspace(0, 1, 20)
    index, points = table(x)
    np.testing.assert_array_equal(sweep(Call(f), x, index, points, tile_bytes=1), loop(f, x, index, points))


def test_a_single_point_is_not_lifted() -> None:
    with pytest.raises(CannotLift, match="one point"):
        sweep(Call(rosenbrock), np.ones(3), np.array([1]), np.array([[2.0]]))


# --- what f does to its argument -------------------------------------------------------------------------------


def assigns(x: Any) -> Any:
    x[0] = x[1] * 2
    x[1:] += 1
    return np.sum(x**2)


def views_alias(x: Any) -> Any:
    head, again = x[:2], x.reshape(-1)
    x[0] = 7 * x[1]
    again[1] = x[2]
    return np.sum(head) + x.sum()


def swap_by_name(x: Any) -> Any:
    t = x[0]
    x[0], x[1] = x[1], t
    return x[0] - 3 * x[1] + t


def swap_by_index(x: Any) -> Any:
    x[[0, 1]] = x[[1, 0]]
    return x[0] - 3 * x[1]


def sorts_in_place(x: Any) -> Any:
    x.sort()
    return x @ np.arange(3.0)


def in_place_through_a_view(x: Any) -> Any:
    middle = x[1:2]
    middle *= 5
    y = x.copy()
    y -= x
    x /= 2
    return x.sum() + y.sum()


def loop_that_reads_what_it_wrote(x: Any) -> Any:
    for i, v in enumerate(x):
        if i + 1 < len(x):
            x[i + 1] += 0.5 * v
    return x[-1]


def augmented_scalar(x: Any) -> Any:
    s = x[0]
    s += 1
    s *= x[1]
    return s + x[0]


def fills(x: Any) -> Any:
    y = np.empty_like(x)
    y.fill(2)
    y[1] = x[1]
    y[y > 100] = 0
    np.put(y, [0], x[2])
    np.add.at(y, [0, 0], 1.0)
    return y.sum()


def matrix_assignments(x: Any) -> Any:
    M = np.zeros_like(x, shape=(3, 3))
    M[0] = x
    M[:, 1] = 2 * x
    M[[1, 2], [0, 2]] = x[:2]
    M[np.eye(3, dtype=bool)] += 1
    np.fill_diagonal(M, 4.0)
    M[2:, :2] = x[0]
    M[..., 2] = x[None, :] ** 2
    M[M < -1e9] = x[1]
    return np.sum(M * M.T) + M[1].sum()


@pytest.mark.parametrize(
    "f",
    [
        assigns,
        views_alias,
        swap_by_name,
        swap_by_index,
        sorts_in_place,
        in_place_through_a_view,
        loop_that_reads_what_it_wrote,
        augmented_scalar,
        fills,
        matrix_assignments,
    ],
)
def test_assignments(f: Callable[[Any], Any]) -> None:
    x = np.array([0.3, -1.2, 2.5])
    before = x.copy()
    ulp = 8 if f is sorts_in_place else 0
    assert_lifts(f, x, ulp=ulp)
    np.testing.assert_array_equal(x, before)


def test_assignments_in_several_tiles_do_not_meet() -> None:
    x = np.linspace(-1, 1, 40)

    def f(x: Any) -> Any:
        x[:-1] *= x[1:]
        return x.sum()

    index, points = table(x)
    np.testing.assert_array_equal(sweep(Call(f), x, index, points, tile_bytes=100), loop(f, x, index, points))


# --- branches ---------------------------------------------------------------------------------------------------


def test_uniform_branches() -> None:
    assert_lifts(lambda x: x[0] if x[0] > x[1] else x[1] ** 2, np.array([1.0, 2.0, 3.0]))


def test_only_points_that_diverge_are_evaluated_apart() -> None:
    """A kink between two points of one coordinate of many: two bundles, not a loop."""
    calls = []

    def f(x: Any) -> Any:
        calls.append(len(x.data) if type(x) is Bundle else 1)
        s = 0.0
        for v in x:
            s = s + (v if v > 0 else -2 * v)
        return s

    x = np.linspace(1, 2, 30)
    x[17] = 0.00002
    assert_lifts(f, x)
    lifted = calls[:-60]
    assert lifted == [60, 59, 1] or lifted == [60, 1, 59]


def test_a_constant_branch() -> None:
    x = np.array([1.0, 2e-5, 3.0])
    assert_lifts(lambda x: np.inf if np.any(x < 0) else np.log(x).sum(), x)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[np.argmax(x)] * x[0],
        lambda x: np.sum(x[x > 1.0] ** 2),
        lambda x: x[int(x[1] * 1e4) % 3],
        lambda x: sum(range(math.floor(x[2] * 20000) % 5)) + x[0],
        lambda x: np.unique(np.round(x, 3)).size * x[0],
        lambda x: np.sort(x)[np.flatnonzero(np.sort(x) >= 1)[0]],
        lambda x: max(x[0], x[1]) + min(x),
        lambda x: x[0] if x[0] in x[1:] else x[1],
        lambda x: (x[0] and x[1]) or x[2],
        lambda x: np.sum(x) if not (x == 1.0).all() else np.prod(x),
    ],
)
def test_kinks_between_the_points(f: Callable[[Any], Any]) -> None:
    assert_lifts(f, np.array([1.00003, 1.0, 1.00001]))


def test_points_that_all_go_their_own_way_are_left_to_the_loop() -> None:
    x = np.linspace(0, 1, 20)
    refused(lambda x: x[0] + int(np.sum(x**2) * 1e12) % 3, x, "branch")


def test_an_exception_at_some_points_only() -> None:
    def f(A: Any) -> Any:
        try:
            return np.log(np.diag(np.linalg.cholesky(A))).sum()
        except np.linalg.LinAlgError:
            return -np.sum(A**2)

    A = np.array([[1.0, 0.99999], [0.99999, 1.0]])
    assert_lifts(f, A, h=1e-4)


def test_an_exception_at_all_points() -> None:
    def f(A: Any) -> Any:
        try:
            return np.linalg.cholesky(A).sum()
        except np.linalg.LinAlgError:
            return np.sum(A**2)

    assert_lifts(f, -np.eye(2))


# --- what is not lifted -----------------------------------------------------------------------------------------


class Foreign:
    """Something that converts with float()."""

    def __mul__(self, other: Any) -> float:
        return float(other)


def swallows_everything(x: Any) -> Any:
    try:
        return math.sin(x[0])
    except:  # noqa: E722
        return x[1]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: math.sin(float(x[0])),
        lambda x: float(x[0]) ** 2,
        lambda x: x[0].item(),
        lambda x: sum(x.tolist()),
        lambda x: x.tobytes()[0] + x[0],
        lambda x: len(str(x)) + x[0],
        lambda x: len(f"{x[0]:.3f}") + x[0],
        lambda x: np.sum(x, out=np.zeros(())),
        lambda x: x.view(np.int64).sum() + x[0],
        lambda x: {x[0]: 1}[x[0]],
        lambda x: Foreign() * x[0],
        lambda x: np.random.default_rng(0).normal(x[0]),
        lambda x: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]) * x,
        memoryview,
        lambda x: x[7],
        lambda x: x.no_such_thing,
        lambda x: "text",
        swallows_everything,
    ],
)
def test_not_lifted(f: Callable[[Any], Any]) -> None:
    refused(f)


def accumulates(x: Any) -> Any:
    out = np.arange(3.0)
    out += x
    return out.sum()


def writes_into_data(x: Any) -> Any:
    DATA[0] = x[0]
    return DATA.sum()


DATA = np.array([1.0, 2.0, 3.0])


def test_constants_are_not_written() -> None:
    refused(accumulates)
    refused(writes_into_data)
    np.testing.assert_array_equal(DATA, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: DATA.sum(), lambda x: x.size, lambda x: None])
def test_a_result_that_ignores_the_argument(f: Callable[[Any], Any]) -> None:
    refused(f, match="does not depend|returns an array of object")


def test_the_cause_and_the_line_are_kept() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        return float(y[0])

    error = refused(f)
    assert where_in(f, error.__traceback__).endswith("return float(y[0])")
    error = refused(lambda x: 1 / 0 + x)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "1 / 0" in where_in(refused, error.__traceback__)


def test_interrupts_pass() -> None:
    def f(x: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(Call(f), np.ones(2), *table(np.ones(2)))


def test_errors_of_plain_evaluations_pass() -> None:
    """Where points diverge they are evaluated plainly, and then f's error is f's own."""

    def f(x: Any) -> Any:
        if x[0] < 1:
            raise OSError("f's own")
        return x.sum()

    with pytest.raises(OSError, match="f's own"):
        sweep(Call(f), np.ones(2), *table(np.ones(2)))


def test_a_lift_within_a_lift() -> None:
    inner: list[str] = []

    def f(x: Any) -> Any:
        try:
            sweep(Call(rosenbrock), np.ones(3), *table(np.ones(3)))
        except CannotLift as error:
            inner.append(str(error))
        return np.sum(x)

    refused(f)
    assert "around" in inner[0]
    assert_lifts(rosenbrock, np.ones(3))  # and is possible again


def test_threads() -> None:
    x = np.random.default_rng(0).normal(size=50)
    index, points = table(x)
    expected = sweep(Call(rosenbrock), x, index, points)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.extend(sweep(Call(rosenbrock), x, index, points) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(np.array_equal(r, expected) for r in results)


def test_arrays_much_larger_than_x() -> None:
    """All pairs of 60 entries at 120 points leave the cache: fewer points at a time, the same values."""
    assert_lifts(lambda x: np.sum(np.abs(x[:, None] - x[None, :])), np.linspace(0, 1, 60) ** 2)
    refused(lambda x: np.sum((x[:, None] - x) ** 2), np.linspace(0, 1, 150), "too large")


# --- with other bindings -------------------------------------------------------------------------------------------

MATRIX = np.random.default_rng(5).normal(size=(4, 3))


def helper(x: Any) -> Any:
    return MATRIX.dot(x)


class Model:
    """Keeps an array, and uses another method."""

    def __init__(self) -> None:
        self.A, self.seen = MATRIX, 0

    def residual(self, x: Any) -> Any:
        self.seen += 1
        return self.A.dot(np.asarray(x))

    def loss(self, x: Any, power: int = 2) -> Any:
        return np.sum(self.residual(x) ** power)


MODEL = Model()
SPARSE = scipy.sparse.csr_matrix(np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, -1.0]]))


def preallocated(x: Any) -> Any:
    r = np.zeros((2, 3))
    r[0] = x
    r[1, 1:] = x[1:] * x[:-1]
    return np.sum(np.asarray(r) ** 2)


def assembled(x: Any) -> Any:
    M = np.array([[x[0], 1.0, 0.0], [1, x[1], x[2]], [0.0, x[2], 2 * x[0]]], dtype=float)
    return np.linalg.det(M) + M.trace() + np.full(3, x[1]).sum()


def at_own_index(x: Any) -> Any:
    return DATA[x > 0.5] @ DATA[[0, 2]] + DATA[np.argsort(x)][0] * np.sum(x)


def filled_like_data(x: Any) -> Any:
    out = np.zeros_like(DATA)
    out[1] = x[0]
    return out.sum() + np.full_like(DATA, x[2]).sum()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(helper(x) ** 2),
        Model().loss,
        lambda x: MODEL.loss(x),  # noqa: PLW0108
        preallocated,
        assembled,
        filled_like_data,
        at_own_index,
        lambda x: np.asarray(x, dtype=complex).real.sum(),
        lambda x: np.array(x)[1] * x[0],
    ],
)
def test_other_bindings(f: Callable[[Any], Any]) -> None:
    assert_lifts(f, np.array([0.4, 1.3, 0.8]), ulp=16)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum((SPARSE @ x) ** 2),
        lambda x: SPARSE.dot(x).sum(),
        lambda x: x @ SPARSE @ x,
        lambda x: np.sum(SPARSE.T @ x) + (SPARSE * x)[0] + (SPARSE @ np.ones(3)).sum() + SPARSE.shape[0],
    ],
)
def test_sparse_matrices(f: Callable[[Any], Any]) -> None:
    assert_lifts(f, np.array([0.4, 1.3, 0.8]), ulp=16)


def test_bindings_are_seen_as_they_are_now() -> None:
    scale = np.array([1.0, 2.0])
    f = lambda x: scale.dot(x) + 0  # noqa: E731
    x = np.ones(2)
    assert_lifts(f, x)
    scale[0] = 10
    assert_lifts(f, x)
    scale = np.array([3.0, 4.0])
    assert_lifts(f, x)


def test_nothing_of_the_callers_is_changed() -> None:
    model, x = Model(), np.array([0.4, 1.3, 0.8])
    names = set(globals())
    sweep(Call(model.loss), x, *table(x))
    assert model.A is MATRIX
    assert model.seen > 0
    assert set(globals()) == names
    assert globals()["np"] is np


# --- random programs -----------------------------------------------------------------------------------------------

N = 6
UNARY = [
    "np.sin({})",
    "np.exp(-{}**2)",
    "np.sqrt(np.abs({}))",
    "np.tanh({})",
    "-{}",
    "{}**2",
    "np.cumsum({})",
    "{}[::-1]",
    "np.roll({}, 1)",
    "np.sort({})",
    "np.abs({})",
    "{}.copy()",
    "np.maximum({}, 0.1)",
    "np.where({} > 0, 1.5, {})",
    "{} * C",
    "{} - C[::-1]",
    "np.clip({}, -1, 1)",
    "np.flip({})",
    "np.log1p({}**2)",
    "{}[P]",
    "np.concatenate([{}[2:], {}[:2]])",
    "{}.reshape(2, 3).T.reshape(-1)",
    "np.pad({}, 1)[1:-1]",
    "np.outer({}, C)[1]",
    "({} > 0) * 2.0",
    "{}.reshape(3, 2).sum(axis=1).repeat(2)",
]
BINARY = [
    "({} + {})",
    "({} - {})",
    "({} * {})",
    "({} / (1 + np.abs({})))",
    "np.hypot({}, {})",
    "np.maximum({}, {})",
    "np.where(C > 0, {}, {})",
    "({} + {}[0])",
    "({} * {}.sum())",
    "np.arctan2({}, {})",
]
FINAL = [
    "np.sum({})",
    "{}.mean()",
    "np.prod({})",
    "np.max({})",
    "{}[2]",
    "np.linalg.norm({})",
    "sum(v * v for v in {})",
    "np.var({})",
    "({}[0] if {}[0] > {}[1] else {}[1])",
    "{} @ {}",
    "np.median({})",
]


def fill(template: str, parts: list[str]) -> str:
    parts = (parts * template.count("{}"))[: template.count("{}")]
    return f"({template.format(*parts)})"


vectors = st.recursive(
    st.just("x"),
    lambda inner: (
        st.builds(lambda t, a: fill(t, [a]), st.sampled_from(UNARY), inner)
        | st.builds(lambda t, a, b: fill(t, [a, b]), st.sampled_from(BINARY), inner, inner)
    ),
    max_leaves=6,
)
programs = st.builds(lambda t, a: fill(t, [a]), st.sampled_from(FINAL), vectors)


@settings(max_examples=150, deadline=None)
@given(programs, st.integers(0, 10))
def test_random_programs_bit_for_bit(program: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = {"np": np, "C": rng.normal(size=N), "P": rng.permutation(N)}
    f = eval(f"lambda x: {program}", names)
    x = rng.normal(size=N)
    index, points = table(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = sweep(Call(f), x, index, points)
        except CannotLift as refusal:
            assert "does not depend" in str(refusal), program  # noqa: PT017
            return
        np.testing.assert_array_equal(values, loop(f, x, index, points), err_msg=program)


def test_signals_are_not_taken_for_errors_of_f() -> None:
    assert not issubclass(CannotLift, Exception)
    assert not issubclass(Diverged, Exception)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sin(x, out=np.zeros(12)).sum(),
        lambda x: np.multiply(x, x, out=np.empty_like(x))[3] + x[0],
        lambda x: np.divide(1.0, x, out=np.ones_like(x), where=x > 0.5).sum(),
        lambda x: np.matmul(np.eye(12), x, out=np.empty(12))[2] * x[1],
        lambda x: np.dot(np.eye(12) + 1.0, x, out=np.empty(12)).sum(),
        lambda x: np.add.accumulate(x, out=np.empty_like(x)).prod(),
        lambda x: np.add.reduce(x.reshape(3, 4), axis=1, where=x.reshape(3, 4) > 0.5, out=np.zeros(3)).prod(),
        lambda x: np.sum(x.reshape(3, 4), axis=1, where=x.reshape(3, 4) > 0.5, out=np.zeros(3)).prod(),
        lambda x: np.kron(x[:2], x[2:5]).sum(),
        lambda x: np.average(x.reshape(3, 4), axis=0, weights=[1.0, 2.0, 3.0]).prod(),
        lambda x: np.array([2.0, 3.0, 4.0])[np.searchsorted(np.array([0.3, 0.8]), x)] @ x,
    ],
)
def test_where_to_write_and_what_is_made_of_others(f: Callable[[Any], Any]) -> None:
    assert_lifts(f, np.random.default_rng(4).uniform(0.1, 1.5, 12), ulp=4)
