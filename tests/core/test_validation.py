"""What f may return, and what `bounds` may mean."""

from __future__ import annotations

import math
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, sparse

from fastgrad import numerical_gradient
from fastgrad.core.validation import bounds_arrays, complex_number, number


class Tensor:
    """A number as jax, torch and others wrap it: no ndarray, but with a shape, and an item."""

    def __init__(self, value: Any, shape: tuple[int, ...] = ()) -> None:
        self.value, self.shape = value, shape

    def item(self) -> Any:
        return self.value

    def __float__(self) -> float:
        if self.shape:
            raise TypeError("only scalars can be converted")
        return float(self.value)

    def __repr__(self) -> str:
        return f"Tensor({self.value})"


class WithIndex:
    def __index__(self) -> int:
        return 7


NUMBERS = [
    (2.5, 2.5), (7, 7.0), (True, 1.0), (np.float64(2.5), 2.5), (np.float32(0.5), 0.5), (np.int8(-3), -3.0),
    (np.bool_(True), 1.0), (np.longdouble(2.5), 2.5), (np.array(2.5), 2.5), (np.array([2.5]), 2.5),
    (np.array([[7]]), 7.0), (np.array(Decimal("2.5")), 2.5), (np.array([Fraction(5, 2)]), 2.5), ([2.5], 2.5),
    ((np.array([2.5]),), 2.5), (Decimal("2.5"), 2.5), (Fraction(5, 2), 2.5), (Tensor(2.5), 2.5),
    (Tensor(2.5, (1,)), 2.5),
    (Tensor(2.5, (1, 1)), 2.5), (WithIndex(), 7.0), (10**400, math.inf), (-(10**400), -math.inf),
    (Fraction(10**400), math.inf), (np.ma.array(2.5), 2.5), (np.ma.array([2.5], mask=[False]), 2.5),
    (math.inf, math.inf),
]  # fmt: skip


def name(value: object) -> str:
    """Name a case without the address of an object: it would be another one in each process."""
    return repr(value).partition(" at 0x")[0][:60]


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=name)
def test_numbers(value: Any, expected: float) -> None:
    result = number(value)
    assert type(result) is float
    assert result == expected


def test_not_a_number_is_a_number() -> None:
    for value in (math.nan, np.float32("nan"), Decimal("nan"), np.array([np.nan])):
        assert math.isnan(number(value))


class Graded(namedtuple("Graded", "value slope")):
    pass


NO_NUMBERS = [
    (None, "None"), ((1.0, np.array([2.0, 4.0])), "tuple of 2"), (Graded(1.0, 2.0), "Graded of 2"),
    ([1.0, 2.0], "list of 2"),
    ([], "list of 0"), ([[1.0, 2.0]], "list of 2"), (((1.0, 2.0),), "tuple of 2"), ({"loss": 1.0}, "dict"),
    ({1.0}, "set"),
    (np.ma.masked, "masked"), (np.ma.array([1.0], mask=[True]), "masked"), (np.ma.array(1.0, mask=True), "masked"),
    (np.array(None), "None"), (np.array({"loss": 1.0}), "dict"),
    (np.array([(1.0, 2.0), None], object)[:1], "tuple of 2"),
    (np.array([1.0, 2.0]), r"shape \(2,\).*Jacobian"), (np.zeros((0,)), r"shape \(0,\)"),
    (np.zeros((2, 1)), r"shape \(2, 1\)"),
    (Tensor([1.0, 2.0], (2,)), r"shape \(2,\)"), (1 + 2j, "complex"), (np.complex64(1), "complex"),
    (np.array(1j), "complex"),
    ("1.0", "'1.0'"), (b"1.0", "b'1.0'"), (np.str_("1.0"), "1.0"), (np.array("1.0"), "1.0"),
    (bytearray(b"1"), "bytearray"),
    (np.datetime64("2020-01-01"), "datetime64"), (np.timedelta64(3, "s"), "timedelta64"),
    (Decimal("sNaN"), "Decimal"),
    (len, "builtin_function"), ((v for v in [1.0]), "generator"), (Ellipsis, "ellipsis"), (sparse.eye(1), "dia_"),
    (np.array([(1.0, 2)], dtype=[("a", float), ("b", int)]), "tuple of 2"), (range(3), "range"), (object(), "object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "named"), NO_NUMBERS, ids=name)
def test_what_is_no_number_is_named(value: Any, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"`f` must return one .*{named}"):
        number(value)
    with pytest.raises((TypeError, ValueError), match=rf"`f` must return one .*{named}"):
        numerical_gradient(lambda x: value, np.array([1.0, 2.0]))


def test_complex_numbers() -> None:
    for value in (1 + 2j, np.complex64(1 + 2j), np.array(1 + 2j), np.array([1 + 2j]), [1 + 2j], Tensor(1 + 2j, (1,))):
        assert complex_number(value) == 1 + 2j
    for value in (1.0, 1, np.float32(1), np.array([1.0]), Decimal(1), Tensor(1.0)):
        with pytest.raises(TypeError, match="imaginary part"):
            complex_number(value)
    for value in (None, np.ma.masked, {"loss": 1j}, (1j, 2j)):
        with pytest.raises((TypeError, ValueError), match="`f` must return one"):
            complex_number(value)


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_pairs_for_every_n(n: int) -> None:
    x = np.linspace(0.5, 1.0, n)
    low, high = np.linspace(-1.0, 0.4, n), np.linspace(1.5, 2.0, n)
    pairs: list[Any] = list(zip(low.tolist(), high.tolist(), strict=True))
    found = bounds_arrays(pairs, x)
    assert found is not None
    assert_array_equal(found[0], low)
    assert_array_equal(found[1], high)
    pairs[0] = (None, pairs[0][1])
    pairs[-1] = (pairs[-1][0], None)
    found = bounds_arrays(pairs, x)
    low[0], high[-1] = -np.inf, np.inf
    if n > 1:
        assert found is not None
        assert_array_equal(found[0], low)
        assert_array_equal(found[1], high)
    else:
        assert found is None  # none at all


def test_pairs_of_other_shapes() -> None:
    x = np.array([[0.5, 1.5], [2.5, 3.5]])
    found = bounds_arrays([(0, 1), (1, 2), (2, 3), (3, 4)], x)
    assert found is not None
    assert_array_equal(found[0], [0, 1, 2, 3])
    found = bounds_arrays(np.array([[0, 1], [1, 2], [2, 3]]), np.array([0.5, 1.5, 2.5]))
    assert found is not None
    assert_array_equal(found[1], [1, 2, 3])


SIDES = [
    (np.array([0.0, 1.0]), np.array([5.0, 6.0])), [np.array([0.0, 1.0]), np.array([5.0, 6.0])],
    ([0.0, 1.0], [5.0, 6.0]),
    optimize.Bounds([0.0, 1.0], [5.0, 6.0]), (np.array([0.0, 1.0]), [5, 6]),
]  # fmt: skip
PAIRS = [[(0.0, 5.0), (1.0, 6.0)], [[0.0, 5.0], [1.0, None]], ((0.0, 5.0), (None, 6.0)), [(0, 5), (None, None)]]
EITHER = [
    [[0.0, 5.0], [0.0, 5.0]],
    ((0.0, 5.0), (0.0, 5.0)),
    np.array([[0.0, 5.0], [0.0, 5.0]]),
    ([0.0, 0.0], (5.0, 5.0)),
]


def test_two_entries_are_pairs_or_sides_or_refused() -> None:
    x = np.array([2.0, 3.0])
    for bounds in SIDES:
        found = bounds_arrays(bounds, x)
        assert found is not None
        assert_array_equal(found, [[0.0, 1.0], [5.0, 6.0]])
    for bounds in PAIRS:
        found = bounds_arrays(bounds, x)
        assert found is not None
        assert (found[0][0], found[1][0]) == (0.0, 5.0)
    for bounds in EITHER:
        with pytest.raises(ValueError, match=r"`bounds` may mean two pairs .* or .*list of tuples"):
            bounds_arrays(bounds, x)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_number_for_all(n: int) -> None:
    x = np.linspace(0.5, 1.0, n)
    for bounds in ((0.0, 2.0), [0.0, 2.0], (np.float64(0), 2), np.array([0.0, 2.0]), (0.0, np.full(n, 2.0))):
        found = bounds_arrays(bounds, x)
        assert found is not None
        assert_array_equal(found[0], np.zeros(n))
        assert_array_equal(found[1], np.full(n, 2.0))
    assert bounds_arrays((None, None), x) is None
    assert bounds_arrays((None, np.inf), x) is None


def test_a_single_number_and_nothing() -> None:
    assert bounds_arrays([], np.zeros(0)) is None
    found = bounds_arrays((0.0, 2.0), np.array(1.0))
    assert found is not None
    assert_array_equal(found, [[0.0], [2.0]])


@pytest.mark.parametrize("bounds", [
    5.0, "ab", {}, {"lower": 0}, [(0, 1)], [(0, 1, 2), (0, 1, 2), (0, 1, 2)], [(0, 1), (0, 1), (0, 1), (0, 1)],
    [(0, 1), 3, (0, 1)], zip([0, 0, 0], [9, 9, 9], strict=True), [(0, 1), (0,), (0, 1)], (0, 1, 2),
], ids=name)  # fmt: skip
def test_wrong_bounds_are_refused(bounds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="`bounds`"):
        bounds_arrays(bounds, np.array([0.5, 0.6, 0.7]))


def test_x_outside_is_refused() -> None:
    for bounds in ([(0, 1), (2, 3)], ([0, 2], [1, 3]), [(0, None), (2, None)], (np.nan, 5.0)):
        with pytest.raises(ValueError, match=r"`x` must lie within `bounds`"):
            bounds_arrays(bounds, np.array([0.5, 1.5]))


def test_a_fixed_parameter_passes() -> None:
    found = bounds_arrays([(0, 5), (3, 3)], np.array([2.0, 3.0]))
    assert found is not None
    assert_array_equal(found, [[0.0, 3.0], [5.0, 3.0]])


@dataclass
class Weights:
    W: Any
    b: Any


@pytest.mark.parametrize(
    ("x", "remedy"),
    [
        ([np.ones((2, 3)), np.ones(2)], r"dict\(enumerate\(x\)\)"),
        ((np.ones((2, 3)), np.ones(2)), r"dict\(enumerate\(x\)\)"),
        (Weights(np.ones((2, 3)), np.ones(2)), r"vars\(x\)"),
        ("abc", r"np\.asarray\(x, dtype=float\)"),
        ({1.0, 2.0}, r"list\(x\)"),
        ({"a": 1.0}.values(), r"list\(x\)"),
    ],
)
def test_what_is_no_array_is_told_how_to_be_passed(x: Any, remedy: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"(?s)`x` must .*{remedy}"):
        numerical_gradient(lambda p: 0.0, x)


def test_a_list_of_arrays_goes_as_a_dictionary() -> None:
    arrays = [np.ones((2, 3)), np.ones(2)]
    found = numerical_gradient(lambda p: np.sum((p[0] @ np.ones(3) + p[1]) ** 2), dict(enumerate(arrays)))
    assert_allclose(found[0], np.full((2, 3), 8.0), rtol=1e-9)
    assert_allclose(found[1], np.full(2, 8.0), rtol=1e-9)
