"""Whatever holds x: f that reads it sees the steps, or the error says why it cannot; and it is put back."""

from __future__ import annotations

import array
import collections
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import NonFiniteWarning, numerical_gradient, numerical_hessian, numerical_jacobian
from fastgrad.core import point
from fastgrad.core.point import as_point, exclusive, quiet

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")
BACKENDS = ["auto", "python"]
X = np.array([[0.5, -1.25, 3.0], [2.0, 0.75, -0.5]])


class Opaque:
    """Converts to an array by a copy: nobody knows how to change what is in it."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.values)


class Watched(list[Any]):
    """A list of a class of its own, that counts its changes."""

    changes = 0

    def __setitem__(self, index: Any, value: Any) -> None:
        self.changes += 1
        super().__setitem__(index, value)


def frozen(values: Any) -> Any:
    values = np.array(values)
    values.flags.writeable = False
    return values


@dataclass(frozen=True)
class Form:
    """How to make a container of values, and how to look at it as a closure does."""

    make: Callable[[Any], Any]
    read: Callable[[Any], Any] = np.asarray


def of_columns(values: Any) -> Any:
    """A table whose columns were added one by one: no common block of memory."""
    table = pandas.DataFrame(index=range(len(values)))
    for j in range(values.shape[1]):
        table[f"column {j}"] = values[:, j].copy()
    return table


LINES = {
    "list": Form(lambda v: v.tolist()),
    "list of numpy scalars": Form(list),
    "list of 0-d arrays": Form(lambda v: [np.array(e) for e in v]),
    "own class of list": Form(lambda v: Watched(v.tolist())),
    "deque": Form(lambda v: collections.deque(v.tolist())),
    "UserList": Form(lambda v: collections.UserList(v.tolist())),
    "array.array": Form(lambda v: array.array("d", v)),
    "memoryview": Form(lambda v: memoryview(v.copy())),
    "Series": Form(lambda v: pandas.Series(v.copy(), index=list("abc"))),
    "Series by labels": Form(
        lambda v: pandas.Series(v.copy(), list("abc")), lambda s: np.array([s["a"], s["b"], s["c"]])
    ),
    "column of a DataFrame": Form(lambda v: pandas.DataFrame({"p": v, "q": v})["p"]),
    "Index-free Series of floats with NA": Form(
        lambda v: pandas.Series(v, dtype="Float64"), lambda s: s.to_numpy(float)
    ),
    "DataArray": Form(lambda v: xarray.DataArray(v.copy(), dims="k")),
    "Variable": Form(lambda v: xarray.Variable("k", v.copy())),
    "strided": Form(lambda v: np.repeat(v, 2)[::2]),
}
TABLES = {
    "nested lists": Form(lambda v: v.tolist()),
    "tuple of lists": Form(lambda v: tuple(v.tolist())),
    "list of arrays": Form(lambda v: [row.copy() for row in v]),
    "list of Series": Form(lambda v: [pandas.Series(row.copy()) for row in v]),
    "DataFrame": Form(lambda v: pandas.DataFrame(v.copy())),
    "DataFrame of columns": Form(of_columns),
    "DataArray": Form(lambda v: xarray.DataArray(v.copy(), dims=("row", "column"))),
    "Fortran": Form(np.asfortranarray),
}
FORMS = [(form, X[0]) for form in LINES.values()] + [(form, X) for form in TABLES.values()]
ids = [*LINES, *(f"{name}, 2-D" for name in TABLES)]


def energy(values: Any) -> float:
    values = np.asarray(values, dtype=float)
    return float(np.sum(np.sin(values) * np.arange(1.0, 1.0 + values.size).reshape(values.shape)))


def slope(values: Any) -> Any:
    return np.cos(values) * np.arange(1.0, 1.0 + values.size).reshape(values.shape)


def snapshot(x: Any) -> Any:
    """What a container holds: the objects, their types and their bits."""
    if isinstance(x, (list, tuple, collections.deque, collections.UserList)):
        return [(id(item), snapshot(item)) for item in x]
    return type(x), getattr(x, "dtype", None), np.asarray(x).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("form", "values"), FORMS, ids=ids)
def test_a_closure_sees_the_steps(form: Form, values: Any, backend: str) -> None:
    x = form.make(values)
    before = snapshot(x)
    found = numerical_gradient(lambda _: energy(form.read(x)), x, backend=backend)
    assert_allclose(found, slope(values), rtol=1e-8)
    assert snapshot(x) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("form", "values"), FORMS, ids=ids)
def test_a_closure_that_uses_its_argument_too(form: Form, values: Any, backend: str) -> None:
    """As with an array: both change."""
    x = form.make(values)
    f = lambda y: float(np.sum(np.asarray(y) * np.asarray(form.read(x), dtype=float)))  # noqa: E731
    assert_allclose(numerical_gradient(f, x, backend=backend), 2 * values, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("form", "values"), FORMS, ids=ids)
def test_a_function_of_its_argument(form: Form, values: Any, backend: str) -> None:
    assert_allclose(numerical_gradient(energy, form.make(values), backend=backend), slope(values), rtol=1e-8)


@pytest.mark.parametrize("stop", [KeyError, KeyboardInterrupt, StopIteration, SystemExit])
@pytest.mark.parametrize(("form", "values"), FORMS, ids=ids)
def test_put_back_whatever_happens(form: Form, values: Any, stop: type[BaseException]) -> None:
    x = form.make(values)
    before, calls = snapshot(x), 0

    def f(_: Any) -> float:
        nonlocal calls
        calls += 1
        if calls >= 4:
            raise stop
        return energy(form.read(x))

    with pytest.raises(stop):
        numerical_gradient(f, x)
    assert snapshot(x) == before


def test_put_back_where_f_writes() -> None:
    x = [1.0, 2.0, 3.0]

    def f(_: Any) -> float:
        x[0], result = 99.0, sum(v * v for v in x)
        return result

    numerical_gradient(f, x)
    assert x == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("n", [2, 12, 300])
def test_a_longer_list(n: int) -> None:
    """From some size on other backends are tried first."""
    x = np.linspace(0.1, 1.0, n).tolist()
    exact = 2 * np.array(x)
    for f in (lambda _: np.sum(np.array(x) ** 2), lambda y: np.sum(y * np.array(x))):
        assert_allclose(numerical_gradient(f, x), exact, rtol=1e-7)


def test_integers_in_a_list() -> None:
    """A list holds floats as well as integers; and gets its integers back."""
    x = [1, 2, 3]
    assert_allclose(numerical_gradient(lambda _: sum(v**3 for v in x), x), [3.0, 12.0, 27.0], rtol=1e-8)
    assert [type(v) for v in x] == [int, int, int]


def test_a_closure_over_a_part() -> None:
    x = [[1.0, 2.0], [3.0, 4.0]]
    row = x[1]
    assert_allclose(numerical_gradient(lambda _: row[0] * row[1], x), [[0.0, 0.0], [4.0, 3.0]], rtol=1e-8)
    table = pandas.DataFrame({"p": [1.0, 2.0], "q": [3.0, 4.0]})
    assert_allclose(numerical_gradient(lambda _: (table["p"] ** 2).sum(), table["p"]), [2.0, 4.0], rtol=1e-8)


def test_the_argument_itself() -> None:
    """What is passed by `args` stays as it is, as with an array."""
    x = [1.0, 2.0]
    f = lambda y, a: float(y[0] * a[0] + y[1] * a[1])  # noqa: E731
    assert_allclose(numerical_gradient(f, x, args=(x,)), x, rtol=1e-8)
    assert_allclose(numerical_gradient(lambda y, a: f(y, a["x"]), x, args=({"x": x},)), x, rtol=1e-8)


def unchangeable() -> list[Any]:
    row = [1.0, 2.0]
    return [
        (1.0, 2.0),
        [(1.0, 2.0), (3.0, 4.0)],
        [row, row],
        range(1, 3),
        pandas.Series([1, 2]),
        pandas.DataFrame({"p": [1.0, 2.0], "q": [3, 4]}),
        pandas.Series(frozen([1.0, 2.0]), copy=False),
        xarray.DataArray(frozen([1.0, 2.0])),
        frozen([1.0, 2.0]),
        np.broadcast_to(3.0, 2),
        np.array([1, 2]),
        Opaque([1.0, 2.0]),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", range(len(unchangeable())))
def test_what_cannot_be_changed_is_an_error(which: int, backend: str) -> None:
    x = unchangeable()[which]
    before = snapshot(x)
    closures: list[Any] = [lambda _: energy(x), lambda _, x=x: energy(x)]
    for f in closures:
        with pytest.raises((TypeError, ValueError), match=r"`x`|caller's"):
            numerical_gradient(f, x, backend=backend)
    assert snapshot(x) == before
    # one that uses its argument is differentiated
    assert_allclose(numerical_gradient(energy, x, backend=backend), slope(np.asarray(x, dtype=float)), rtol=1e-8)
    # and one that is constant has no slope
    assert not numerical_gradient(lambda _: 7.0, x, backend=backend).any()


def test_what_a_point_knows() -> None:
    for x in (3.0, 3, np.float64(3), True):
        assert not as_point(x).held
    point = as_point([1.0, 2.0])
    assert point.held
    assert point.own is None
    assert point.container is not None
    point = as_point(np.array([1.0, 2.0]))
    assert point.held
    assert point.container is None
    series = pandas.Series([1.0, 2.0])
    own = as_point(series).own
    assert own is not None
    assert own.flags.writeable
    assert not np.asarray(series).flags.writeable or np.shares_memory(own, np.asarray(series))
    assert_array_equal(own, series)


def test_a_lock_is_shared_by_all_threads_that_want_it_and_then_forgotten() -> None:
    x, inside, most = np.ones(2), 0, 0
    wrong: list[BaseException] = []

    def hammer() -> None:
        nonlocal inside, most
        try:
            for _ in range(200):
                with exclusive(x[:1]):
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0.0)  # others run
                    inside -= 1
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert most == 1
    gc.collect()  # tests before it: errors hold frames, and these hold locks
    assert quiet() is not None


def test_a_lock_that_its_owner_lets_go_this_very_moment_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(dict[int, Any]):
        """Holds the lock of another thread, which ends before it can be taken."""

        late = True

        def setdefault(self, key: int, default: Any = None) -> Any:
            if self.late:
                self.late = False
                return weakref.ref(threading.RLock())
            return super().setdefault(key, default)

    locks = Late()
    monkeypatch.setattr(point, "_locks", locks)
    with exclusive(np.ones(2)):
        assert len(locks) == 1
    assert not locks


@pytest.mark.parametrize("x", [2.0, 2, np.float64(2.0)])
@pytest.mark.parametrize("of", [numerical_gradient, numerical_jacobian, numerical_hessian])
def test_a_number_reaches_f_as_one(of: Callable[..., Any], x: float) -> None:
    kinds = set()

    def f(p: float) -> float:
        kinds.add(type(p))
        return np.exp(p) + 0.0 * round(p) + {None: 1.0}.get(p, 0.0)  # type: ignore[arg-type]

    assert of(f, x) == of(np.exp, np.array(2.0))
    assert kinds == {np.float64}
    assert of(f, x, workers=2) == of(f, x)
    assert_allclose(numerical_gradient(lambda p: p["a"] ** 2 + round(p["b"]), {"a": x, "b": x})["a"], 4.0, rtol=1e-8)


def test_a_number_divides_by_zero_as_an_array_does() -> None:
    with np.errstate(all="ignore"), pytest.warns(NonFiniteWarning):
        assert np.isnan(numerical_gradient(lambda p: 1.0 / p, 0.0))
