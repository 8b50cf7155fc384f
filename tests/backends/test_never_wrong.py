"""Never silently wrong: the thirteen points of the design, on every backend. Right, or a clear error; x as it was."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numba import config, njit
from numba.core.event import install_recorder
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.problems import PROBLEMS
from fastgrad import (
    AccuracyWarning,
    Gradient,
    NonFiniteWarning,
    TrustWarning,
    explain,
    numerical_gradient,
    value_and_gradient,
)
from fastgrad.backends.compiled.fused import FusedGradient
from fastgrad.backends.compiled.tables import Table

needs_compiler = pytest.mark.skipif(config.DISABLE_JIT, reason="needs numba's compiler")
unix = pytest.mark.skipif(os.name != "posix", reason="needs signals and fork")


class Nothing:
    """An object that is no number; of one name in every process, for the names of tests."""

    def __repr__(self) -> str:
        return "object"


NOTHING = Nothing()


def cube(x: Any) -> Any:
    return np.sum(x * x * x)


def cube_batched(x: Any) -> Any:
    return np.sum(x * x * x, axis=1)


cube_jitted = njit(cube)
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "python": (cube, {}),
    "numpy": (cube_batched, {"batch_axis": 0}),
    "numba": (cube_jitted, {}),
}
X = np.array([0.3, -1.2, 2.5, 0.7])


@pytest.fixture(params=FORMS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def x() -> Any:
    return X.copy()


def call(backend: str, x: Any, **options: Any) -> Any:
    f, form = FORMS[backend]
    return numerical_gradient(f, x, backend=backend, **form, **options)


# 1. x is the caller's, whatever happens -----------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StopIteration, SystemExit, MemoryError])
@pytest.mark.parametrize("at", [0, 1, 4, 7])
@pytest.mark.parametrize("options", [{}, {"full_output": True}, {"method": "forward"}, {"method": "complex"}], ids=str)
def test_x_is_restored_when_f_raises(x: Any, error: type[BaseException], at: int, options: Any) -> None:
    calls = 0

    def f(_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > min(at, 3 if options.get("method") else at):
            raise error("from f")
        return cube(_)

    with pytest.raises(error, match="from f"):
        numerical_gradient(f, x, **options)
    assert_array_equal(x, X)


def test_f_that_writes_into_its_argument(x: Any) -> None:
    def f(y: Any) -> Any:
        y *= 2.0
        y[0] = y[0] + 1.0
        return cube(y)

    exact = 6 * (2 * X + np.array([1.0, 0, 0, 0])) ** 2
    for options in ({}, {"full_output": True}, {"method": "forward", "h": 1e-7}):
        result = numerical_gradient(f, x, **options)
        assert_allclose(result[0] if options.get("full_output") else result, exact, rtol=1e-5)
        assert_array_equal(x, X)


@pytest.mark.parametrize("method", ["central", "forward", "complex"])
def test_compiled_f_that_writes_into_its_argument(x: Any, method: str) -> None:
    @njit
    def f(y: Any) -> Any:
        for i in range(y.size):
            y[i] = 2.0 * y[i]
        return y[0] * y[0] * y[0] + y[1] * y[2] * y[3]

    exact = 8 * np.array([3 * X[0] ** 2, X[2] * X[3], X[1] * X[3], X[1] * X[2]])
    for _ in range(2):
        assert_allclose(numerical_gradient(f, x, backend="numba", method=method), exact, rtol=1e-6)
        assert_allclose(Gradient(f, backend="numba", method=method)(x), exact, rtol=1e-6)
    assert_array_equal(x, X)


def test_batched_f_that_writes_into_its_argument(x: Any) -> None:
    def f(points: Any) -> Any:
        points *= 2.0
        return np.sum(points**3, axis=1)

    assert_allclose(numerical_gradient(f, x, batch_axis=0), 24 * X**2, rtol=1e-8)
    assert_array_equal(x, X)


def test_f_that_writes_into_the_callers_array(x: Any) -> None:
    def f(y: Any) -> Any:
        x[-1] += 1.0
        return cube(y)

    for options in ({}, {"full_output": True}):
        result = numerical_gradient(f, x, **options)
        assert_allclose(result[0] if options else result, 3 * X**2, rtol=1e-8)
        assert_array_equal(x, X)


def test_eight_threads_on_one_x(backend: str, x: Any) -> None:
    wanted = call(backend, x)
    start = threading.Barrier(8)

    def work(_: int) -> list[Any]:
        start.wait()
        return [call(backend, x) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for result in results:
                assert_array_equal(result, wanted)
    assert_array_equal(x, X)


def test_threads_on_one_x_by_different_backends(x: Any) -> None:
    """One thread perturbs x in place while the others read it."""
    names = [*FORMS, "python"] * 2
    wanted = {name: call(name, x) for name in FORMS}
    start = threading.Barrier(len(names))

    def work(name: str) -> bool:
        start.wait()
        return all((call(name, x) == wanted[name]).all() for _ in range(40))

    with ThreadPoolExecutor(len(names)) as pool:
        assert all(pool.map(work, names))
    assert_array_equal(x, X)


def test_threads_share_one_prepared_gradient(backend: str) -> None:
    f, form = FORMS[backend]
    gradient = Gradient(f, "fixed", backend=backend, **form)  # the automatic step remembers earlier calls
    points = np.random.default_rng(0).normal(size=(8, 50, 4))
    wanted = np.array([[gradient(p) for p in row] for row in points])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda row: [gradient(p) for p in row], points))
    assert_array_equal(results, wanted)


# 2. closures of the book --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_closure_over_x_is_right_or_refused(method: str, x: Any) -> None:
    def f(_: Any) -> Any:
        return cube(x)

    def f_batched(points: Any) -> Any:
        return np.full(len(points), cube(x))

    for options in ({"backend": "python"}, {"backend": "auto"}, {"backend": "auto", "batch_axis": 0}):
        function = f_batched if "batch_axis" in options else f
        if "batch_axis" in options:
            with pytest.warns(TrustWarning):
                result = numerical_gradient(function, x, method=method, **options)
        else:
            result = numerical_gradient(function, x, method=method, **options)
        assert_allclose(result, 3 * X**2, rtol=1e-5)
    with pytest.raises(ValueError, match="reads the caller's array"):
        numerical_gradient(f_batched, x, method=method, backend="numpy", batch_axis=0)
    with pytest.raises((ValueError, TypeError), match="capture|reads the caller's array"):
        numerical_gradient(njit(f), x, method=method, backend="numba")
    assert_array_equal(x, X)


def test_a_closure_over_x_that_cannot_be_perturbed_is_refused(x: Any) -> None:
    x.flags.writeable = False
    with pytest.raises(ValueError, match="reads the caller's array"):
        numerical_gradient(lambda _: cube(x), x)
    wide = np.broadcast_to(2.0, 3)
    with pytest.raises(ValueError, match="reads the caller's array"):
        numerical_gradient(lambda _: cube(wide), wide)


def test_a_closure_by_the_complex_step_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="`f` returned the real number"):
        numerical_gradient(lambda _: float(cube(x)), x, method="complex")


def test_args_that_are_x_itself(x: Any) -> None:
    """f(x, x): only the first is perturbed."""

    def f(y: Any, a: Any) -> Any:
        return np.sum(y * a)

    assert_allclose(numerical_gradient(f, x, args=(x,)), X, rtol=1e-9)
    assert_allclose(numerical_gradient(f, x, args=(x,), full_output=True)[0], X, rtol=1e-9)
    assert_allclose(numerical_gradient(f, x, kwargs={"a": x}), X, rtol=1e-9)
    assert_allclose(numerical_gradient(f, x, args=(x[:],)), X, rtol=1e-9)
    assert_allclose(numerical_gradient(njit(f), x, args=(x,)), X, rtol=1e-9)


def test_a_constant_f_has_the_gradient_zero(backend: str, x: Any) -> None:
    constants = {"python": lambda x: 7.0, "numpy": lambda x: np.full(len(x), 7.0), "numba": njit(lambda x: 7.0)}
    assert_array_equal(numerical_gradient(constants[backend], x, backend=backend, **FORMS[backend][1]), np.zeros(4))


def test_a_noisy_constant_is_no_closure(x: Any) -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(AccuracyWarning, match="its noise"):
        assert np.isfinite(numerical_gradient(lambda x: rng.normal(), x)).all()
    assert_array_equal(x, X)


# 3. batches are checked ---------------------------------------------------------------------------

WRONG_BATCHES: dict[str, Any] = {
    "one number for all": np.sum,
    "summed over the wrong axis": lambda x: np.sum(x, axis=0),
    "rows influence each other": lambda x: np.sum((x - x.mean(axis=0)) ** 3, axis=1),
    "first row only": lambda x: np.full(len(x), cube(x[0])),
    "a column": lambda x: np.sum(x**3, axis=1, keepdims=True),
    "for one point": lambda x: x[0] ** 2 + x[1] ** 2,
}


@pytest.mark.parametrize("name", WRONG_BATCHES)
@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_a_wrong_batch_is_refused(name: str, n: int) -> None:
    x = np.linspace(0.5, 1.5, n)
    with pytest.raises((ValueError, TypeError, IndexError)):
        numerical_gradient(WRONG_BATCHES[name], x, backend="numpy", batch_axis=0)


def test_a_wrong_batch_axis_falls_back_with_a_warning() -> None:
    """For one point at a time it is right, whatever its rows do to each other."""
    x = np.linspace(0.5, 1.5, 4)

    def coupled(points: Any) -> Any:
        return np.sum(points**3, axis=1) * len(points)

    with pytest.warns(TrustWarning, match="given up"):
        result = numerical_gradient(coupled, x, batch_axis=0)
    assert_allclose(result, 3 * x**2, rtol=1e-8)


# 4. what numba freezes ----------------------------------------------------------------------------

scale = 2.0
table = np.array([1.0, 2.0, 3.0, 4.0])


@needs_compiler
def test_a_frozen_global_never_answers_from_old_data(x: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @njit
    def f(x: Any) -> Any:
        return scale * np.sum(table * x)

    assert_allclose(numerical_gradient(f, x), 2.0 * table, rtol=1e-9)
    monkeypatch.setitem(globals(), "scale", 3.0)
    _right_or_refused(f, x, 3.0 * table)
    monkeypatch.setitem(globals(), "scale", 2.0)
    table[0] = 10.0
    try:
        _right_or_refused(f, x, 2.0 * table)
    finally:
        table[0] = 1.0


@needs_compiler
def test_a_frozen_cell_never_answers_from_old_data(x: Any) -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])

    @njit
    def inner(x: Any) -> Any:
        return weights[0] * np.sum(x)

    @njit
    def f(x: Any) -> Any:
        return inner(x) + np.sum(weights * x)

    prepared = Gradient(f)
    assert_allclose(prepared(x), 1.0 + weights, rtol=1e-9)
    weights[:] = 5.0
    _right_or_refused(f, x, np.full(4, 10.0))
    with pytest.raises(ValueError, match="`args="):
        prepared(x)


def _right_or_refused(f: Any, x: Any, wanted: Any) -> None:
    try:
        result = numerical_gradient(f, x)
    except ValueError as error:
        assert "`args=" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert_allclose(result, wanted, rtol=1e-9)


@needs_compiler
def test_recompiling_makes_it_right_again(x: Any) -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])

    @njit
    def f(x: Any) -> Any:
        return np.sum(weights * x)

    assert_allclose(numerical_gradient(f, x), weights, rtol=1e-9)
    weights[:] = 5.0
    f.recompile()
    assert_allclose(numerical_gradient(f, x), weights, rtol=1e-9)


@needs_compiler
def test_a_plain_function_with_data_is_not_compiled_silently(x: Any) -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match=r"'weights'.*args="):
        numerical_gradient(lambda x: np.sum(weights * x), x, backend="numba")
    for factor in (1.0, 3.0):  # a constant is compiled anew
        result = numerical_gradient(lambda x, factor=factor: factor * np.sum(x), x, backend="numba")
        assert_allclose(result, np.full(4, factor), rtol=1e-9)
        assert_allclose(numerical_gradient(_times(factor), x, backend="numba"), np.full(4, factor), rtol=1e-9)


def _times(factor: float) -> Any:
    def f(x: Any) -> Any:
        return factor * np.sum(x)

    return f


# 5. what f returns --------------------------------------------------------------------------------


def test_f_reuses_its_output_buffer(x: Any) -> None:
    buffer, batch = np.zeros(1), np.zeros(64)

    def f(x: Any) -> Any:
        buffer[0] = cube(x)
        return buffer

    def f_batched(points: Any) -> Any:
        batch[: len(points)] = cube_batched(points)
        return batch[: len(points)]

    assert_allclose(numerical_gradient(f, x), 3 * X**2, rtol=1e-8)
    assert_allclose(numerical_gradient(f, x, method="forward"), 3 * X**2, rtol=1e-5)
    assert_allclose(numerical_gradient(f_batched, x, batch_axis=0), 3 * X**2, rtol=1e-8)


def test_f_returns_a_view_of_its_argument(x: Any) -> None:
    assert_allclose(numerical_gradient(lambda x: x[1:2], x), [0, 1, 0, 0], atol=1e-9)


@pytest.mark.parametrize("wrap", [float, np.float64, np.array, lambda v: np.array([v]), lambda v: np.array([[v]]),
                                  lambda v: [v], np.longdouble], ids=range(7))  # fmt: skip
def test_one_number_in_any_wrapping(x: Any, wrap: Any) -> None:
    assert_allclose(numerical_gradient(lambda x: wrap(cube(x)), x), 3 * X**2, rtol=1e-8)


def test_a_float32_result(x: Any) -> None:
    assert_allclose(numerical_gradient(lambda x: np.float32(cube(x)), x, 1e-2), 3 * X**2, rtol=1e-2)


@pytest.mark.parametrize(("value", "word"), [
    (np.array([1.0, 2.0]), "Jacobian"), ([1.0, 2.0], "Jacobian"), (np.zeros(0), "Jacobian"),
    (None, "None"), ("1.0", "'1.0'"), (1j, "complex"), (np.complex128(1j), "complex"), ({}, "dict"),
    (np.datetime64("2020-01-01"), "datetime64"), (NOTHING, "object"), (b"1", "b'1'"),
])  # fmt: skip
def test_what_is_no_number_is_an_error(x: Any, value: Any, word: str) -> None:
    for options in ({}, {"method": "forward"}, {"full_output": True}):
        with pytest.raises((TypeError, ValueError), match=f"(?s)`f` .*{word}"):
            numerical_gradient(lambda x: value, x, **options)
        assert_array_equal(x, X)


@needs_compiler
@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), 1j, None, "1.0"], ids=str)
def test_what_is_no_number_is_an_error_in_numba(x: Any, value: Any) -> None:
    @njit
    def f(x: Any) -> Any:
        return value

    with pytest.raises((TypeError, ValueError), match="`f`|numba cannot compile"):
        numerical_gradient(f, x, backend="numba")


def test_a_compiled_f_that_returns_other_numbers(x: Any) -> None:
    for f, wanted in [
        (njit(lambda x: 3), 0 * X),
        (njit(lambda x: x[0] > 5.0), 0 * X),
        (njit(lambda x: np.array([np.sum(x * x)])), 2 * X),
    ]:
        assert_allclose(numerical_gradient(f, x, backend="numba"), wanted, rtol=1e-8)


# 6. steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0.0, -1e-4, np.nan, np.inf, "small", 1j, [1e-4, 1e-4], np.array([1e-4, 0, 1e-4, 1e-4]),
                               True, np.zeros((4, 1)), NOTHING, np.array(["a"] * 4)], ids=str)  # fmt: skip
def test_bad_steps(backend: str, x: Any, h: Any) -> None:
    for name in ("h", "rel_step"):
        with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
            call(backend, x, **{name: h})
    assert_array_equal(x, X)


def test_a_bad_step_names_its_coordinate(backend: str, x: Any) -> None:
    with pytest.raises(ValueError, match="`h` must be positive.*coordinate 2"):
        call(backend, x, h=np.array([1e-4, 1e-4, -1.0, 1e-4]))


def test_a_step_that_vanishes_or_overflows(backend: str) -> None:
    for prepared in (False, True):
        for value, h, word in [(1e16, 1e-4, "vanishes"), (1.7e308, 1e308, "overflows"), (1.0, 1e-17, "vanishes")]:
            x = np.array([1.0, 2.0, value, 3.0])
            with np.errstate(all="ignore"), pytest.raises(ValueError, match=f"`h` {word} at coordinate 2"):
                if prepared:
                    f, form = FORMS[backend]
                    Gradient(f, np.array([0.5, 0.5, h, 0.5]), backend=backend, **form)(x)
                else:
                    call(backend, x, h=np.array([0.5, 0.5, h, 0.5]))
            assert x[2] == value


def test_the_divisor_is_the_achieved_step(backend: str) -> None:
    """At 1e8 a step of 1e-7 is achieved as 1.5e-7 or so; a linear f would show 2h as the divisor."""
    slopes = {"python": lambda x: x[0], "numpy": lambda x: x[:, 0], "numba": njit(lambda x: x[0])}
    form = FORMS[backend][1]
    for h in (1e-7, 3e-7, 1e-4):
        assert numerical_gradient(slopes[backend], np.array([1e8]), h, backend=backend, **form)[0] == 1.0


def test_both_kinds_of_step_are_refused(x: Any) -> None:
    with pytest.raises(ValueError, match="`rel_step`"):
        numerical_gradient(cube, x, 1e-4, rel_step=1e-4)


@pytest.mark.parametrize("bad", [
    np.array([1j, 2.0]), np.array([1, "a"], object), np.array(["2020"], "M8[D]"), "abc", None, {}, NOTHING,
    np.array(["x"]), [[1.0], [1.0, 2.0]], np.array([1.0, np.nan]), np.array([np.inf, 1.0]), [1.0, None],
    np.ma.masked_array([1.0, 2.0], [True, False]),
], ids=str)  # fmt: skip
def test_bad_x(backend: str, bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="`x`"):
        call(backend, bad)
    f, form = FORMS[backend]
    with pytest.raises((TypeError, ValueError), match="`x`"):
        Gradient(f, backend=backend, **form)(bad)


def test_a_bad_x_names_its_coordinate(backend: str) -> None:
    with pytest.raises(ValueError, match="`x` must be finite, got nan at coordinate 1"):
        call(backend, np.array([1.0, np.nan]))


# 7. NaN and infinity ------------------------------------------------------------------------------


def test_nan_is_reported(backend: str) -> None:
    nan = {
        "python": lambda x: x[0] if x[1] < 0 else np.nan,
        "numpy": lambda x: np.where(x[:, 1] < 0, x[:, 0], np.nan),
        "numba": njit(lambda x: x[0] if x[1] < 0 else np.nan),
    }
    with pytest.warns(NonFiniteWarning, match="coordinate 0.*x = 1.0.*step"):
        result = numerical_gradient(nan[backend], np.array([1.0, 2.0]), backend=backend, **FORMS[backend][1])
    assert np.isnan(result).all()


def test_the_edge_of_the_domain_is_one_sided(backend: str) -> None:
    def root(x: Any) -> Any:
        return math.sqrt(x[0]) ** 3 + x[1] if x[0] >= 0 else np.nan

    edge = {"python": root, "numpy": lambda x: np.array([root(row) for row in x]), "numba": njit(root)}
    result = numerical_gradient(edge[backend], np.array([0.0, 1.0]), backend=backend, **FORMS[backend][1])
    assert_allclose(result, [0.0, 1.0], atol=1e-2)
    with pytest.warns(AccuracyWarning, match="component 0 was not differentiated as asked: f is not finite"):
        left = numerical_gradient(edge[backend], np.array([1e-9, 1.0]), 1e-6, backend=backend, **FORMS[backend][1])
    assert np.isfinite(left).all()


def test_infinite_values_do_not_give_finite_gradients(backend: str) -> None:
    f = {
        "python": lambda x: np.inf,
        "numpy": lambda x: np.full(len(x), np.inf),
        "numba": njit(lambda x: np.inf),
    }
    # without its compiler numba's loops are Python, whose inf - inf warns
    with np.errstate(invalid="ignore"), pytest.warns(NonFiniteWarning):
        assert np.isnan(numerical_gradient(f[backend], X, backend=backend, **FORMS[backend][1])).all()


# 8. and 9. dtype and shape: test_properties.py; here what they must not do ------------------------


def test_the_result_is_a_new_array(backend: str, x: Any) -> None:
    result = call(backend, x)
    assert not np.may_share_memory(result, x)
    result[...] = 0
    assert_array_equal(x, X)
    f, form = FORMS[backend]
    gradient = Gradient(f, backend=backend, **form)
    first = gradient(x)
    kept = first.copy()
    gradient(2 * x)
    assert_array_equal(first, kept)


def test_out(backend: str, x: Any) -> None:
    f, form = FORMS[backend]
    gradient = Gradient(f, backend=backend, **form)
    wanted = gradient(x)
    for out in (np.empty(4), np.empty(8)[::2], np.empty(4, np.float32)):
        assert gradient(x, out=out) is out
        assert_allclose(out, wanted, rtol=1e-6 if out.dtype == np.float32 else 0)
    for wrong in (np.empty(3), np.empty((4, 1)), [0.0] * 4):
        with pytest.raises((TypeError, ValueError), match="`out`"):
            gradient(x, out=wrong)


def test_out_may_be_x(backend: str, x: Any) -> None:
    f, form = FORMS[backend]
    wanted = call(backend, x)
    Gradient(f, backend=backend, **form)(x, out=x)
    assert_array_equal(x, wanted)


# 10. f's own exceptions ---------------------------------------------------------------------------


class Custom(Exception):
    pass


@pytest.mark.parametrize("error", [Custom, StopIteration, ZeroDivisionError, IndexError, TypeError, GeneratorExit])
@pytest.mark.parametrize("batch", [{}, {"batch_axis": 0}, {"batch_axis": 0, "backend": "numpy"}], ids=str)
def test_exceptions_come_through(x: Any, error: type[BaseException], batch: Any) -> None:
    def f(x: Any) -> Any:
        raise error("from f")

    with pytest.raises(error, match="from f") as caught:
        numerical_gradient(f, x, **batch)
    assert caught.traceback[-1].name == "f"


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, IndexError, StopIteration])
def test_exceptions_come_through_compiled_code(x: Any, error: type[Exception]) -> None:
    @njit
    def f(x: Any) -> Any:
        if x[2] > 2.5:
            raise error("from f")
        return x[0]

    gradient = Gradient(f, backend="numba")
    for _ in range(2):
        with pytest.raises(error, match="from f"):
            gradient(x)
        with pytest.raises(error, match="from f"):
            numerical_gradient(f, x, backend="numba")
    assert_allclose(gradient(X - 1.0), [1, 0, 0, 0], atol=1e-9)


@needs_compiler
def test_zero_division_stays_an_error_for_the_owner_of_f(x: Any) -> None:
    @njit
    def f(x: Any) -> Any:
        return 1.0 / x[0]

    assert numerical_gradient(f, np.array([2.0]))[0] == pytest.approx(-0.25, rel=1e-8)
    with pytest.raises(ZeroDivisionError):
        f(np.zeros(1))


# 11. threads, nesting, processes ------------------------------------------------------------------


def test_nested_gradients(x: Any) -> None:
    """The gradient of a gradient's component: the inner one perturbs its own copy, or x again."""

    def slope(y: Any) -> Any:
        return numerical_gradient(cube, y, 2.0**-13)[1]

    result = numerical_gradient(slope, x, 2.0**-13)
    assert_allclose(result, [0.0, 6 * X[1], 0.0, 0.0], atol=1e-4)

    def of_closure(_: Any) -> Any:
        return numerical_gradient(lambda _: cube(x), x, 2.0**-13)[1]

    assert_allclose(numerical_gradient(of_closure, x, 2.0**-13), [0.0, 6 * X[1], 0.0, 0.0], atol=1e-4)
    compiled = Gradient(cube_jitted, 2.0**-13)
    assert_allclose(numerical_gradient(lambda y: compiled(y)[1], x, 2.0**-13), [0.0, 6 * X[1], 0.0, 0.0], atol=1e-4)
    assert_array_equal(x, X)


def test_pickle(backend: str, x: Any) -> None:
    if backend == "numba":
        f, form = PROBLEMS["rosenbrock"].loop, {}
        if not config.DISABLE_JIT:
            f = PROBLEMS["rosenbrock"].jitted
    else:
        f, form = FORMS[backend]
    gradient = Gradient(f, 1e-5, backend=backend, order=4, **form)
    again = pickle.loads(pickle.dumps(gradient))
    assert_array_equal(again(x), gradient(x))
    gradient(x)
    assert_array_equal(pickle.loads(pickle.dumps(gradient))(x), gradient(x))


def _in_child(backend: str, x: Any, queue: Any) -> None:
    queue.put((call(backend, x), x))


@unix
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads: the very case
def test_after_a_fork(backend: str, x: Any) -> None:
    """Also while other threads of the parent hold the locks."""
    wanted = call(backend, x)
    context = multiprocessing.get_context("fork")
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            call("python", x)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            queue = context.Queue()
            child = context.Process(target=_in_child, args=(backend, X.copy(), queue))
            child.start()
            result, point = queue.get(timeout=300)
            child.join(300)
            assert child.exitcode == 0
            assert_array_equal(result, wanted)
            assert_array_equal(point, X)
    finally:
        stop.set()
        busy.join()


# 12. Ctrl-C ---------------------------------------------------------------------------------------


@unix
@pytest.mark.parametrize("prepared", [False, True])
def test_ctrl_c_answers_within_a_second(backend: str, prepared: bool, ctrl_c: Any) -> None:
    f, form, evaluating = {
        "python": (PROBLEMS["rosenbrock"].f, {}, [PROBLEMS["rosenbrock"].f.__code__]),
        "numpy": (PROBLEMS["rosenbrock"].batched, {"batch_axis": 0}, [PROBLEMS["rosenbrock"].batched.__code__]),
        "numba": (
            PROBLEMS["rosenbrock"].jitted,
            {"h": "fixed", "compile": "eager"},
            [Table._rows.__code__, FusedGradient.__call__.__code__],
        ),
    }[backend]
    if backend == "numba" and config.DISABLE_JIT:
        pytest.skip("needs numba's compiler")
    gradient = Gradient(f, backend=backend, **form)

    def differentiate(x: Any) -> Any:
        return gradient(x) if prepared else numerical_gradient(f, x, backend=backend, full_output=True, **form)

    differentiate(np.ones(10))  # all that is compiled
    x = np.linspace(0.0, 1.0, 250_000 if backend == "numba" else 40_000)  # some 20 s of work
    before = x.copy()
    with install_recorder("numba:compile") as compiled, ctrl_c(*evaluating):
        differentiate(x)
    assert not compiled.buffer
    assert_array_equal(x, before)


# 13. errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "name", "shown"), [
    ({"backend": "fortran"}, "backend", "'fortran'"), ({"backend": None}, "backend", "None"),
    ({"method": "middle"}, "method", "'middle'"), ({"order": 3}, "order", "3"), ({"order": "two"}, "order", "'two'"),
    ({"batch_axis": 1}, "batch_axis", "1"), ({"batch_axis": False}, "batch_axis", "False"),
    ({"indices": 4}, "indices", "4"), ({"indices": [0.5]}, "indices", "0.5"), ({"indices": [-5]}, "indices", "-5"),
    ({"indices": [True]}, "indices", r"\(1,\)"), ({"indices": "all"}, "indices", "'all'"),
    ({"bounds": (0.0, 1.0)}, "bounds", "outside"), ({"bounds": 3.0}, "bounds", "3.0"),
    ({"bounds": ([0.0], [1.0, 2.0])}, "bounds", "shape"), ({"bounds": (2.0, 1.0)}, "bounds", "no lower bound above"),
    ({"h": "tiny"}, "h", "'tiny'"), ({"f0": "zero"}, "f0", "'zero'"), ({"kwargs": 3}, "kwargs", "3"),
], ids=str)  # fmt: skip
def test_errors_name_the_argument_and_show_the_value(x: Any, options: Any, name: str, shown: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"(?s)`{name}`.*{shown}"):
        numerical_gradient(cube, x, **options)
    assert_array_equal(x, X)


@pytest.mark.parametrize("f", [None, 3.0, "cube", np.zeros(3)], ids=str)
def test_f_must_be_callable(x: Any, f: Any) -> None:
    for function in (numerical_gradient, value_and_gradient, explain):
        with pytest.raises(TypeError, match="`f` must be a function"):
            function(f, x)
    with pytest.raises(TypeError, match="`f` must be a function"):
        Gradient(f)


def test_valid_values_are_listed(x: Any) -> None:
    with pytest.raises(ValueError, match="'auto', 'python', 'numpy', 'numba'"):
        numerical_gradient(cube, x, backend="fortran")
    with pytest.raises(ValueError, match="'central', 'forward', 'backward', 'complex'"):
        numerical_gradient(cube, x, method="middle")


def test_explain_says_what_and_why(x: Any) -> None:
    assert "'python'" in explain(cube, x)
    assert "8 evaluations" in explain(cube, x, "fixed")
    assert "9 evaluations" in explain(cube, x)
    assert "'numpy'" in explain(cube_batched, x, batch_axis=0)
    if not config.DISABLE_JIT:
        assert "'numba'" in explain(cube_jitted, x)


def test_info_prints_as_a_plan(backend: str, x: Any) -> None:
    _, info = call(backend, x, full_output=True)
    text = str(info)
    for word in (backend, "central", "order 2", "nfev", "seconds"):
        assert word in text
    assert info.seconds > 0
    assert info.step.shape == x.shape
