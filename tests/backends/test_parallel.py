"""Many evaluations side by side: the reference's bits and evaluations, whoever makes them."""

from __future__ import annotations

import concurrent.futures as cf
import itertools
import math
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastgrad
from fastgrad import Gradient, numerical_gradient, numerical_hessian, numerical_jacobian
from fastgrad.backends.parallel import ParallelVectors
from fastgrad.backends.vectors import Vectors
from fastgrad.core.call import Call
from fastgrad.core.point import as_point
from fastgrad.executors.executor import Serial

A = np.random.default_rng(5).normal(size=24)
X = np.random.default_rng(6).normal(size=(4, 6))


def f(x: NDArray[Any]) -> float:
    return float(np.sum(np.sin(x.reshape(-1)) * A[: x.size]))


def rough(x: NDArray[Any]) -> float:
    """Not finite on one side of x, so that steps are looked for."""
    return float(np.sum(np.sqrt(x.reshape(-1) - X.reshape(-1)[: x.size] + 1e-7)))


@pytest.fixture(scope="module")
def threads() -> Iterator[cf.Executor]:
    with cf.ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(params=["2", "-1", "threads", "map", "journal", "journal and 2", "progress"])
def options(request: pytest.FixtureRequest, threads: cf.Executor, tmp_path: Path) -> dict[str, Any]:
    journal = tmp_path / "journal.sqlite"
    return {
        "2": {"workers": 2},
        "-1": {"workers": -1},
        "threads": {"workers": threads},
        "map": {"workers": map},
        "journal": {"journal": journal},
        "journal and 2": {"journal": journal, "workers": np.int64(2)},
        "progress": {"progress": lambda done, total: None},
    }[request.param]


def the_same(g: Callable[..., Any], x: Any, options: dict[str, Any], **others: Any) -> fastgrad.Info:
    expected, plain = numerical_gradient(g, x, backend="python", full_output=True, **others)
    gradient, info = numerical_gradient(g, x, full_output=True, **options, **others)
    assert gradient.tobytes() == expected.tobytes()
    assert gradient.shape == expected.shape
    # two more tell whether an f reads a float32 x, which workers that have none cannot show it
    more = 2 * (getattr(x, "dtype", None) == np.float32 and info.way in ("executor", "map"))
    assert info.nfev == plain.nfev + more
    assert (info.error is None) == (plain.error is None)
    return info


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"h": 1e-4},
        {"method": "forward"},
        {"method": "adaptive"},
        {"order": 4},
        {"indices": [1, 5]},
        {"bounds": (X, X + 1.0)},
    ],
    ids=str,
)
def test_the_bits_and_evaluations_of_the_reference(options: dict[str, Any], others: dict[str, Any]) -> None:
    info = the_same(f, X, options, **others)
    assert info.backend == "python"
    assert info.way in ("processes", "executor", "map", "serial")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_f_is_not_finite(options: dict[str, Any]) -> None:
    the_same(rough, X, options)


@pytest.mark.parametrize(
    "x", [np.float64(0.3), np.zeros(0), np.ones(1), [1.0, 2.0], X.astype(np.float32), X.T], ids=repr
)
def test_any_x(options: dict[str, Any], x: Any) -> None:
    the_same(f, x, options)


def test_the_complex_step(options: dict[str, Any]) -> None:
    the_same(lambda x: np.sum(np.exp(x)), X, options, method="complex")


def test_arguments(options: dict[str, Any]) -> None:
    the_same(lambda x, a, b=1.0: float(np.sum(x * a) ** 2 * b), X, options, args=(3.0,), kwargs={"b": 2.0})


def test_x_that_f_reads_instead_of_its_argument(options: dict[str, Any]) -> None:
    x = X.copy()
    info = the_same(lambda _: f(x), x, options)
    assert numerical_gradient(lambda _: f(x), x, backend="python").any()
    assert x.tobytes() == X.tobytes()
    assert info.way in ("processes", "serial")


def test_a_list_that_f_reads_instead_of_its_argument(options: dict[str, Any]) -> None:
    x = [1.0, 2.0, 3.0]
    assert np.allclose(numerical_gradient(lambda _: x[0] ** 2 + x[1] * x[2], x, **options), [2.0, 3.0, 2.0])
    assert x == [1.0, 2.0, 3.0]


def test_an_x_that_the_workers_would_share(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=5)
    x[:] = np.arange(1.0, 6.0)
    assert np.allclose(numerical_gradient(lambda _: float(np.sum(x**2)), x, workers=2), 2.0 * np.arange(1.0, 6.0))
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_x_is_put_back_after_an_exception(options: dict[str, Any]) -> None:
    x = X.copy()

    def g(y: NDArray[Any]) -> float:
        if (y != X).any():
            raise LookupError("there")
        return 0.0 * float(x.sum())

    with pytest.raises(LookupError, match="there"):
        numerical_gradient(g, x, **options)
    assert x.tobytes() == X.tobytes()


def test_a_function_that_writes_into_its_argument(options: dict[str, Any]) -> None:
    def g(x: NDArray[Any]) -> float:
        x *= 2.0
        return f(x)

    the_same(g, X, options)


def test_gradients_within_f_are_serial(options: dict[str, Any]) -> None:
    def g(x: NDArray[Any]) -> float:
        return float(np.sum(numerical_gradient(f, x, 1e-3, workers=2) ** 2))

    x = X[:2, :3].copy()
    expected = numerical_gradient(
        lambda x: float(np.sum(numerical_gradient(f, x, 1e-3, backend="python") ** 2)), x, 1e-2, backend="python"
    )
    assert numerical_gradient(g, x, 1e-2, **options).tobytes() == expected.tobytes()


def test_a_journal_gives_a_second_call_for_nothing(tmp_path: Path) -> None:

    def g(x: NDArray[Any]) -> float:
        os.write(channel, b".")
        return f(x)

    ours, channel = os.pipe()
    try:
        journal = tmp_path / "journal"
        first, info = numerical_gradient(g, X, journal=journal, full_output=True)
        made = len(os.read(ours, 10_000))
        again, repeated = numerical_gradient(g, X, journal=journal, workers=2, full_output=True)
        os.write(channel, b"!")
        assert os.read(ours, 10_000) == b"!"
    finally:
        os.close(ours)
        os.close(channel)
    assert made == info.nfev == repeated.nfev
    assert first.tobytes() == again.tobytes()


def test_other_points_share_a_journal(tmp_path: Path) -> None:
    gradient = Gradient(f, journal=tmp_path / "journal")
    assert gradient(X).tobytes() == numerical_gradient(f, X, backend="python").tobytes()
    assert gradient(X + 1.0).tobytes() == numerical_gradient(f, X + 1.0, backend="python").tobytes()


def test_the_journal_of_another_function(tmp_path: Path) -> None:
    numerical_gradient(f, X, journal=tmp_path / "journal")
    with pytest.raises(ValueError, match="`journal` .* is of another function: the code of f is another"):
        numerical_gradient(rough, X, journal=tmp_path / "journal")


def test_progress_is_told_of_all_evaluations() -> None:
    told: list[tuple[int, int]] = []
    _, info = numerical_gradient(f, X, progress=lambda done, total: told.append((done, total)), full_output=True)
    assert told[-1] == (info.nfev, info.nfev)


def test_explain_says_who(threads: cf.Executor) -> None:
    assert "processes: 2 processes, forked for it" in fastgrad.explain(f, X, workers=2)
    assert "`workers` is a ThreadPoolExecutor" in fastgrad.explain(f, X, workers=threads)
    x = X.copy()
    assert "f reads the caller's own x" in fastgrad.explain(lambda _: f(x), x, workers=threads)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)], name="busy")
    thread.start()
    try:
        assert "threads, and no processes: the thread 'busy'" in fastgrad.explain(f, X, workers=2)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"workers": 0}, ValueError, "`workers` must be 1 or more, or -1 for one a core; got 0"),
        ({"workers": -2}, ValueError, "`workers` must be 1 or more"),
        ({"workers": True}, TypeError, "`workers` must be a whole number .* got True"),
        ({"workers": 2.0}, TypeError, "`workers` must be a whole number"),
        ({"workers": "2"}, TypeError, "`workers` must be .*concurrent.futures.Executor"),
        ({"workers": None}, TypeError, "`workers` must be .*map-like"),
        ({"journal": 3.5}, TypeError, "`journal` must be the path of a file, got 3.5"),
        ({"progress": "yes"}, TypeError, "`progress` must be True, False or a callable"),
        ({"workers": map, "backend": "numpy"}, ValueError, "leave `backend` and `batch_axis` out"),
        ({"journal": "j", "batch_axis": 0}, ValueError, "leave `backend` and `batch_axis` out"),
    ],
)
def test_options_that_are_not_valid(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        numerical_gradient(f, X, **options)


def test_a_prepared_gradient_pickles_with_a_number_of_workers() -> None:
    gradient = pickle.loads(pickle.dumps(Gradient(f, workers=2)))
    assert gradient(X).tobytes() == numerical_gradient(f, X, backend="python").tobytes()


@pytest.mark.parametrize("keyword", [{"workers": 2}, {"journal": "journal"}])
def test_compiled_functions(keyword: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    g = numba.njit(lambda x: np.sum(x**2))
    expected = numerical_gradient(g, X.reshape(-1), backend="python")
    gradient, info = numerical_gradient(g, X.reshape(-1), full_output=True, **keyword)
    assert np.allclose(gradient, expected, rtol=1e-12)
    assert info.backend == ("numba" if "workers" in keyword else "python")
    assert (tmp_path / "journal").exists() == ("journal" in keyword)


# --- f of many values -------------------------------------------------------------------------------------------------


def table(x: NDArray[Any]) -> NDArray[Any]:
    return np.outer(np.sin(x.reshape(-1)[:3]), x.reshape(-1)[3:5])


@pytest.mark.parametrize("reads_x", [False, True])
def test_values_of_many(options: dict[str, Any], reads_x: bool) -> None:
    x = X.copy()
    point = as_point(x)
    f = (lambda _: table(x)) if reads_x else table
    plain, parallel = Vectors(Call(f), point), ParallelVectors(Call(f, **options), point)
    rows = [x.reshape(-1) + 1e-3 * i for i in range(9)]
    assert parallel.shape == plain.shape == (3, 2)
    assert parallel.value().tobytes() == plain.value().tobytes()
    assert parallel.at(rows).tobytes() == plain.at(rows).tobytes()
    assert parallel.nfev == plain.nfev == 10
    assert x.tobytes() == X.tobytes()
    if not reads_x:
        moved = [row + 1e-20j for row in rows]
        assert parallel.at_complex(moved).tobytes() == plain.at_complex(moved).tobytes()


def test_many_values_that_are_real_for_a_complex_argument() -> None:
    run = ParallelVectors(Call(np.abs, workers=2), as_point(X))
    with pytest.raises(TypeError, match="dropped the imaginary part"):
        run.at_complex([X.reshape(-1) + 1e-20j] * 3)


def test_many_points_at_a_time_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgrad.backends.parallel.POINT_BYTES", 3 * X.nbytes)
    sizes: list[int] = []

    class Watched(Serial):
        def evaluate(self, function: Any, points: Any, receive: Any = None, failures: Any = None) -> Any:
            sizes.append(len(points))
            return super().evaluate(function, points, receive, failures)

    run = ParallelVectors(Call(table), as_point(X), Watched(""))
    run.at(X.reshape(-1) for _ in range(8))
    assert sizes == [1, 3, 3, 2]


@pytest.mark.parametrize("others", [{}, {"h": 1e-5}, {"sparsity": "detect"}], ids=str)
def test_jacobians(options: dict[str, Any], others: dict[str, Any]) -> None:
    def g(x: NDArray[Any]) -> NDArray[Any]:
        return np.sin(x) * np.roll(x, 1)

    x = X[0].copy()
    expected, plain = numerical_jacobian(g, x, backend="python", full_output=True, **others)
    jacobian, info = numerical_jacobian(g, x, full_output=True, **options, **others)
    assert dense(expected).tobytes() == dense(jacobian).tobytes()
    assert info.nfev == plain.nfev
    if "journal" in options:
        options["journal"] = options["journal"].with_name("of another function")
    assert np.allclose(numerical_jacobian(lambda _: g(x), x, **options), dense(expected))
    assert x.tobytes() == X[0].tobytes()


def test_hessians(options: dict[str, Any]) -> None:
    """Of an f that cannot be lifted: workers evaluate whole gradients."""

    def g(x: NDArray[Any]) -> float:
        return math.fsum(math.sin(a) * b for a, b in itertools.pairwise(x.tolist()))

    x = X[0, :4].copy()
    expected, plain = numerical_hessian(g, x, backend="python", full_output=True)
    hessian, info = numerical_hessian(g, x, full_output=True, **options)
    assert hessian.tobytes() == expected.tobytes()
    assert info.nfev == plain.nfev


def test_a_journal_gives_a_second_jacobian_for_nothing(tmp_path: Path) -> None:
    told: list[int] = []

    def g(x: NDArray[Any]) -> NDArray[Any]:
        return np.sin(x)

    made = [numerical_jacobian(g, X[0], journal=tmp_path / "j", progress=lambda done, total: told.append(done))]
    made.append(numerical_jacobian(g, X[0], journal=tmp_path / "j", workers=_no_map))
    assert made[0].tobytes() == made[1].tobytes()
    assert told


def _no_map(function: Any, items: Any) -> Any:
    raise AssertionError("nothing is missing")


def dense(matrix: Any) -> NDArray[Any]:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
