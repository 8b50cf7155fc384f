"""Functions as people write them for numba are taken by owner lanes, and right to the last digits."""

import math

import numpy as np
import pytest
from numba import njit

from fastgrad import Gradient
from tests.lifting.energies import BY_HAND, TABLE
from tests.lifting.test_owners import exact

pytestmark = pytest.mark.usefixtures("fenced")

QUICK = ("pair_list", "sorted_gaps", "tuple_index", "binned")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TABLE]
)
def test_lifted_and_right(name):
    f, x, args = TABLE[name]
    gradient = Gradient(f, args=args, compile="eager")
    g, info = gradient.with_info(x)
    right = exact(BY_HAND.get(name, f), x, *args)
    assert info.way == "owner lanes", info.reason
    assert np.abs(g - right).max() <= 1e-14 * np.abs(right).max()
    assert np.array_equal(gradient(x), g)


@njit
def special(x):
    s = 0.0
    for v in x:
        s += math.lgamma(v) + math.gamma(1.0 + 0.1 * v) + np.cbrt(v) + np.exp2(0.1 * v)
    return s


def test_special_functions():
    functions = pytest.importorskip("scipy.special")
    x = np.random.default_rng(1).uniform(0.1, 20.0, 60)
    y = 1.0 + 0.1 * x
    right = functions.digamma(x) + 0.1 * functions.digamma(y) * functions.gamma(y)
    right += np.cbrt(x) / (3.0 * x) + 0.1 * np.log(2.0) * 2.0 ** (0.1 * x)
    g, info = Gradient(special, compile="eager").with_info(x)
    assert info.way == "owner lanes", info.reason
    assert np.abs(g - right).max() <= 2e-15 * np.abs(right).max()
