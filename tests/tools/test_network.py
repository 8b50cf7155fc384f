"""The textbook's network on digits: right in every form, and the textbook's loop beside it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastgrad import explain
from fastgrad.tools import network
from fastgrad.tools.cli import main
from fastgrad.tools.compare import CANDIDATES, compare

pytest.importorskip("sklearn")


@pytest.mark.parametrize("size", network.ARRAYS)
def test_the_exact_gradient_is_that_of_the_loop(size):
    work = network.workload(size)
    before = work.x.copy()
    exact = work.gradient(work.x)
    some = np.random.default_rng(0).permutation(size)[:40]
    flat = work.x.reshape(-1)

    def of_some(values):
        point = before.reshape(-1).copy()
        point[some] = values
        return work.of_argument(point.reshape(work.x.shape))

    slopes = network.textbook.loop(of_some, flat[some])
    assert_array_equal(work.x, before)
    assert_allclose(slopes, exact.reshape(-1)[some], atol=1e-7 * np.abs(exact).max())


def test_it_is_lifted_and_the_loop_is_beside_it():
    work = network.workload(500)
    before = work.x.copy()
    result = compare(work, budget=0.3)
    names = {str(score): score for score in result.scores}
    assert {"python/plain", "auto/default", "textbook/loop"} <= {*names}
    assert names["auto/default"].ran == "lift in place"
    assert names["auto/default"].error < 1e-12
    assert names["textbook/loop"].error < 1e-6
    assert CANDIDATES[0].code(work.forms["plain"], work.names).endswith('gradient(net.params["W2"])')
    assert_array_equal(work.x, before)
    assert "lift in place" in explain(work.forms["default"].f, work.x)


def test_the_command_knows_it(capsys):
    assert main(["compare", "digits", "--n", "10", "--budget", "0.05", "--no-peers"]) == 0
    out = capsys.readouterr().out
    assert "digits, b2, n = 10" in out
    assert "textbook/loop" in out
    assert main(["compare", "digits", "--n", "11"]) == 2
    assert "3200 (W1)" in capsys.readouterr().err
