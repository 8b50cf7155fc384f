"""labels=True: f and the caller see the labels of x."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastgrad import (
    Gradient,
    check_gradient,
    gradient_descent,
    hvp,
    jvp,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    value_and_gradient,
    vjp,
)

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")


def by_name(p: Any) -> Any:
    return float(p["rate"] ** 2 * p["size"] + np.exp(p["shift"]))


NAMES = ["rate", "size", "shift"]
SLOPES = [12.0, 4.0, np.exp(0.5)]
SERIES = pandas.Series([2.0, 3.0, 0.5], index=NAMES, name="parameters")


@pytest.mark.parametrize("method", ["central", "forward", "complex", "adaptive"])
def test_a_series(method: str) -> None:
    def f(p: Any) -> Any:
        assert type(p) is pandas.Series
        assert p.name == "parameters"
        return p["rate"] ** 2 * p["size"] + np.exp(p["shift"])

    before = SERIES.copy()
    found: Any = numerical_gradient(f, SERIES, labels=True, method=method)
    pandas.testing.assert_series_equal(SERIES, before)
    assert type(found) is pandas.Series
    assert list(found.index) == NAMES
    assert_allclose(found[NAMES], SLOPES, rtol=1e-6)


def test_a_table_of_one_row() -> None:
    table = SERIES.to_frame().T
    f = lambda p: by_name(p.iloc[0])  # noqa: E731
    found: Any = numerical_gradient(f, table, labels=True)
    assert type(found) is pandas.DataFrame
    assert_allclose(found["size"].iloc[0], 4.0, rtol=1e-8)
    assert_allclose(found.to_numpy(), [SLOPES], rtol=1e-8)


def test_a_data_array() -> None:
    x = xarray.DataArray(SERIES.to_numpy(), coords={"p": NAMES}, dims="p")
    f = lambda p: by_name({name: p.sel(p=name) for name in NAMES})  # noqa: E731
    found: Any = numerical_gradient(f, x, labels=True)
    assert type(found) is xarray.DataArray
    assert_allclose(found.sel(p="rate"), 12.0, rtol=1e-8)


def test_where_f_cannot_do_without() -> None:
    """By its own index f asks for labels; with `labels=False` it does not get them, and otherwise nobody does."""
    table, data = SERIES.to_frame().T, xarray.DataArray(SERIES.to_numpy(), coords={"p": NAMES}, dims="p")
    asking: list[tuple[Any, Any]] = [
        (by_name, SERIES),
        (lambda p: by_name(dict(zip(NAMES, (p.rate, p["size"], p.loc["shift"]), strict=True))), SERIES),
        (lambda p: by_name(p.iloc[0]), table),
        (lambda p: by_name({name: p.sel(p=name) for name in NAMES}), data),
        (by_name, SERIES.astype(np.float32)),
    ]
    for f, x in asking:
        found = numerical_gradient(f, x)
        assert type(found) is type(x)
        assert_allclose(np.ravel(np.asarray(found)), SLOPES, rtol=1e-6)
        with pytest.raises((IndexError, AttributeError)):
            numerical_gradient(f, x, labels=False)
    with pytest.raises(KeyError, match="missing"):
        numerical_gradient(lambda p: p["missing"], SERIES)
    with pytest.raises(IndexError, match="list index"):
        numerical_gradient(lambda p: NAMES[5], SERIES)


def test_of_jacobians_and_hessians() -> None:
    jacobian = numerical_jacobian(lambda p: [p["rate"] * p["size"], p["shift"] ** 2], SERIES)
    assert_allclose(jacobian, [[3.0, 2.0, 0.0], [0.0, 0.0, 1.0]], atol=1e-8)
    exact = np.array([[6.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, np.exp(0.5)]])
    assert_allclose(numerical_hessian(by_name, SERIES), exact, atol=1e-4)
    assert_allclose(hvp(by_name, SERIES, [1.0, 0.0, 0.0]), exact[0], atol=1e-4)
    assert_allclose(jvp(by_name, SERIES, [0.0, 0.0, 1.0]), np.exp(0.5), atol=1e-8)


def test_more_entries_than_a_lift_needs() -> None:
    names = [f"p{i}" for i in range(40)]
    x = pandas.Series(np.linspace(0.1, 1.0, 40), index=names)
    f = lambda p: float((p**2).sum() + p["p7"])  # noqa: E731
    found: Any = numerical_gradient(f, x, labels=True)
    assert_allclose(found, 2 * x.to_numpy() + (np.array(names) == "p7"), rtol=1e-8)


def test_integers_and_closures() -> None:
    whole = pandas.Series([2, 3], index=["a", "b"])
    assert_allclose(
        numerical_gradient(lambda p: float(p["a"] ** 2 * p["b"]), whole, labels=True), [12.0, 4.0], rtol=1e-8
    )
    x = SERIES.copy()
    assert_allclose(numerical_gradient(lambda _: by_name(x), x, labels=True), SLOPES, rtol=1e-8)
    pandas.testing.assert_series_equal(x, SERIES)


def test_prepared() -> None:
    gradient = Gradient(by_name, labels=True)
    for again in (gradient, pickle.loads(pickle.dumps(gradient))):
        assert_allclose(again(SERIES), SLOPES, rtol=1e-8)
    value, slope = value_and_gradient(by_name, SERIES, labels=True)
    assert value == by_name(SERIES)
    assert_allclose(slope, SLOPES, rtol=1e-8)
    found, info = gradient.with_info(SERIES)
    assert info.error is not None
    assert info.error.shape == (3,)
    assert_allclose(found, SLOPES, rtol=1e-8)
    assert_allclose(numerical_gradient(by_name, SERIES, labels=True, indices=[2, 0]), [SLOPES[2], SLOPES[0]], rtol=1e-8)


@pytest.mark.parametrize("x", [np.ones(2), [1.0, 2.0], 3.0, (1.0,), {"a": 1.0}])
def test_what_has_no_labels_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match=r"`labels`|`x`"):
        numerical_gradient(np.sum, x, labels=True)
    with pytest.raises(ValueError, match="`labels`"):
        numerical_gradient(np.sum, x, labels="yes")  # type: ignore[arg-type]


def test_without_labels_arrays() -> None:
    assert type(numerical_gradient(np.sum, SERIES)) is np.ndarray


def test_a_check_names_entries_by_label() -> None:
    """f and grad get labels where they want them; what grad gives is put into x's order."""
    exact = numerical_gradient(by_name, SERIES, labels=True)
    backwards = lambda p: pandas.Series(exact)[::-1]  # noqa: E731
    assert check_gradient(by_name, backwards, SERIES)
    assert check_gradient(by_name, backwards, SERIES, directions=2)
    wrong = pandas.Series(exact)
    wrong.iloc[1] *= 1.1
    for checked in (
        check_gradient(by_name, wrong, SERIES),
        check_gradient(by_name, lambda p: wrong * (p[SERIES.index[0]] / SERIES.iloc[0]), SERIES, labels=True),
    ):
        (failure,) = checked.failures
        assert failure.where == str(SERIES.index[1])
        assert failure.verdict == "wrong"
        assert f"component {SERIES.index[1]}: given" in str(checked)
    with pytest.raises(ValueError, match="`grad` must have the labels of x"):
        check_gradient(by_name, wrong.rename({SERIES.index[0]: "other"}), SERIES)
    table = pandas.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["r", "s"], columns=["u", "v"])
    (failure,) = check_gradient(lambda t: float(t.loc["s", "u"] ** 2), np.zeros((2, 2)), table).failures
    assert failure.where == "s, u"
    array = xarray.DataArray([[1.0, 2.0]], dims=("i", "j"), coords={"j": ["u", "v"]})
    (failure,) = check_gradient(lambda t: float(t.sel(j="v").item() ** 2), np.zeros((1, 2)), array).failures
    assert failure.where == "0, v"


def test_a_descent_keeps_labels() -> None:
    seen: list[Any] = []
    x = pandas.Series({"a": 3.0, "b": -2.0})
    bowl = lambda p: float((p["a"] - 1.0) ** 2 + p["b"] ** 2)  # noqa: E731
    found = gradient_descent(bowl, x, 0.1, 100, callback=lambda p: seen.append(p["a"]))
    assert list(found.index) == ["a", "b"]
    assert_allclose(found, [1.0, 0.0], atol=1e-6)
    assert len(seen) == 100
    with_slopes = gradient_descent(
        bowl, x, 0.1, 100, grad=lambda p: pandas.Series({"b": 2 * p["b"], "a": 2 * p["a"] - 2})
    )
    assert_allclose(with_slopes, found, atol=1e-8)
    done = gradient_descent(bowl, x, 0.1, 2, full_output=True)
    assert [list(p.index) for p in (done.x, *done.path)] == [["a", "b"]] * 4
    assert list(x) == [3.0, -2.0]
    with pytest.raises(ValueError, match="ignores its argument"):
        gradient_descent(lambda _: bowl(x), x)


def as_it_comes(p: Any) -> Any:
    """Ask what it got: a column of a frame is one parameter vector, and an array is another thing."""
    vector = p["value"].to_numpy() if isinstance(p, pandas.DataFrame) else 10.0 * np.asarray(p).ravel()
    return vector**3


@pytest.mark.parametrize("labels", [None, True])
def test_f_that_asks_whether_it_got_labels(labels: bool | None) -> None:
    values = np.array([1.0, -2.0, 0.5])
    table = pandas.DataFrame({"value": values}, index=["a", "b", "c"])
    total = lambda p: as_it_comes(p).sum()  # noqa: E731
    slope = numerical_gradient(total, table, labels=labels)
    assert list(slope.index) == ["a", "b", "c"]
    assert_allclose(slope["value"], 3.0 * values**2, rtol=1e-8)
    exact = np.diag(3.0 * values**2)
    assert_allclose(np.asarray(numerical_jacobian(as_it_comes, table, labels=labels)).reshape(3, 3), exact, atol=1e-7)
    assert_allclose(
        np.asarray(numerical_hessian(total, table, labels=labels)).reshape(3, 3), np.diag(6.0 * values), atol=1e-5
    )
    v = pandas.DataFrame({"value": np.ones(3)}, index=table.index)
    assert_allclose(np.ravel(jvp(as_it_comes, table, v, labels=labels)), exact.sum(axis=1), rtol=1e-7)
    assert_allclose(np.ravel(vjp(as_it_comes, table, np.ones(3), labels=labels)), exact.sum(axis=0), rtol=1e-7)
    assert_allclose(np.ravel(hvp(total, table, v, labels=labels)), 6.0 * values, rtol=1e-5)
    assert check_gradient(total, lambda p: 3.0 * p**2, table)
    assert check_gradient(total, lambda p: 3.0 * p**2, table, directions=2)
    bowl = lambda p: float(np.sum((np.asarray(p) - (1.0 if isinstance(p, pandas.DataFrame) else 5.0)) ** 2))  # noqa: E731
    assert_allclose(gradient_descent(bowl, table, 0.1, 100)["value"], 1.0, atol=1e-6)


class Scaled(np.ndarray):
    """An array that knows its unit."""

    unit: float

    def __array_finalize__(self, of: object) -> None:
        self.unit = getattr(of, "unit", 1.0)

    def energy(self) -> float:
        return self.unit * float(np.sum(np.asarray(self) ** 2))


class Rates(NamedTuple):
    birth: float
    death: float


def scaled() -> Scaled:
    x = np.array([1.0, 2.0, 3.0]).view(Scaled)
    x.unit = 5.0
    return x


with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    ROW = np.matrix([[1.0, 2.0, 3.0]])
# x, f of it, and its first and second derivatives: of a plain array f would be another number, or an error
KINDS: dict[str, tuple[Any, Callable[[Any], float], list[float], list[float]]] = {
    "matrix, its product": (ROW, lambda x: (x * x.T)[0, 0], [2.0, 4.0, 6.0], [2.0, 2.0, 2.0]),
    "matrix, its attribute": (ROW, lambda x: float(np.sum(x.A1**3)), [3.0, 12.0, 27.0], [6.0, 12.0, 18.0]),
    "subclass": (scaled(), lambda x: x.energy(), [10.0, 20.0, 30.0], [10.0, 10.0, 10.0]),
    "masked": (np.ma.array([1.0, 2.0]), lambda x: float((x.filled(0.0) ** 2).sum()), [2.0, 4.0], [2.0, 2.0]),
    "named tuple": (Rates(2.0, 0.5), lambda x: x.birth**2 + 3.0 * x.death**2, [4.0, 3.0], [2.0, 6.0]),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", KINDS)
def test_f_gets_the_kind_of_x_where_it_makes_a_difference(kind: str) -> None:
    x, f, first, second = KINDS[kind]
    shape, n = np.shape(x), np.size(x)
    v = np.ones(shape)
    for gradient in (numerical_gradient(f, x), Gradient(f)(x), value_and_gradient(f, x)[1]):
        assert type(gradient) is type(x)
        assert_allclose(np.ravel(gradient), first, rtol=1e-8)
    assert getattr(numerical_gradient(f, x), "unit", None) == getattr(x, "unit", None)
    assert_allclose(numerical_hessian(f, x).reshape(n, n), np.diag(second), atol=1e-6)
    assert_allclose(np.ravel(hvp(f, x, v)), second, atol=1e-6)
    assert_allclose(np.ravel(numerical_jacobian(lambda x: [f(x), 1.0], x)[0]), first, rtol=1e-8)
    assert_allclose(jvp(lambda x: [f(x), 1.0], x, v)[0], sum(first), rtol=1e-8)
    assert check_gradient(f, np.reshape(first, shape), x)
    assert not check_gradient(f, np.reshape(first, shape) + 0.1, x)
    slow = gradient_descent(f, x, lr=1e-3, step_num=1)
    assert type(slow) is type(x)
    assert_allclose(np.ravel(slow), np.ravel(x) - 1e-3 * np.array(first), rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_where_an_array_does_the_derivative_is_one(kind: str) -> None:
    x = KINDS[kind][0]
    gradient = numerical_gradient(lambda x: np.sum(np.square(x)), x)
    assert type(gradient) is np.ndarray
    assert_allclose(gradient, 2.0 * np.asarray(x), rtol=1e-8)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_product_of_another_shape() -> None:
    assert_allclose(numerical_jacobian(lambda x: x * x.T, ROW), [[[[2.0, 4.0, 6.0]]]], rtol=1e-8)


def test_a_check_names_the_fields() -> None:
    check = check_gradient(lambda x: x.birth**2 + x.death, lambda x: [2.0 * x.birth, 3.0], Rates(2.0, 0.5))
    assert "death" in str(check)


def test_a_warning_that_f_raises_for_labels_comes_through() -> None:
    def f(x: Any) -> float:
        if isinstance(x, pandas.Series):
            warnings.warn("old", FutureWarning, stacklevel=1)
        return float(np.sum(np.asarray(x) ** 2))

    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with pytest.raises(FutureWarning, match="old"):
            numerical_gradient(f, SERIES)
