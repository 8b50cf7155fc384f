"""The planner is a pure function; what runs is what it says."""

from __future__ import annotations

import gc
import math
import random
import signal
import threading
import time
import timeit
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import Gradient, explain, numerical_gradient
from fastgrad.core.call import Call
from fastgrad.core.point import quiet
from fastgrad.inspecting import purity
from fastgrad.inspecting.kinds import C_FUNCTION, JITTED, PLAIN
from fastgrad.inspecting.purity import Nature
from fastgrad.planning import planner
from fastgrad.planning.planner import GIVEN, LOOKING, MANY_IN_PLACE, UNROUNDED, Facts, plan_read, plan_unread

PURE = Facts(PLAIN)


def plan(facts, n, backend="auto", batch=False, imaginary=False, sizes=UNROUNDED):
    unread = plan_unread(facts.kind, backend, batch, imaginary, n < sizes.few, 1)
    return unread or plan_read(facts, backend, imaginary, n, 1, sizes)


def ways(*args, **kwargs):
    return [step.way.name for step in plan(*args, **kwargs).steps]


@pytest.mark.parametrize("sizes", [UNROUNDED, LOOKING, GIVEN])
def test_size_chooses_the_first_way(sizes):
    assert ways(PURE, sizes.few - 1, sizes=sizes) == ["reference"]
    assert ways(PURE, sizes.few, sizes=sizes) == ["dense lift", "reference"]
    assert ways(PURE, sizes.many - 1, sizes=sizes) == ["dense lift", "reference"]
    assert ways(PURE, sizes.many, sizes=sizes) == ["sparse lift", "reference"]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "sparse lift"),
        ({"method": "adaptive"}, "sparse lift"),
        ({"h": 1e-4}, "dense lift"),
        ({"method": "forward"}, "dense lift"),
        ({"noise": 1e-9}, "dense lift"),
        ({"method": "complex"}, "dense lift"),
    ],
)
def test_where_differences_are_taken_unrounded_the_sparse_lift_pays_sooner(options, first):
    x = np.linspace(0.5, 1.5, UNROUNDED.many)
    info = numerical_gradient(lambda x: np.sum(x**3), x, full_output=True, **options)[1]
    assert info.way == first


def test_kind_chooses_the_backend():
    assert ways(Facts(JITTED), 3) == ["scalar kernel", "reference"]
    assert ways(Facts(C_FUNCTION), 3) == ["scalar kernel"]
    assert ways(PURE, 1000, batch=True) == ["batched", "reference"]


def test_what_f_keeps_or_reads_rules_lifts_out():
    for facts in (Facts(PLAIN, Nature("f stores 'out' beyond its call", ())), Facts(PLAIN, reads_x=True)):
        assert ways(facts, MANY_IN_PLACE - 1) == ["reference"]
        assert ways(facts, MANY_IN_PLACE) == ["lift in place", "reference"]
        assert ways(facts, MANY_IN_PLACE, imaginary=True) == ["reference"]


@pytest.mark.parametrize("backend", ["python", "numpy", "numba"])
def test_what_is_asked_for_is_all_that_is_tried(backend):
    chosen = plan(PURE, 1000, backend)
    assert [step.way.backend for step in chosen.steps] == [backend]
    assert chosen.explicit


def test_complex_points_take_the_dense_lift():
    assert ways(PURE, 1000, imaginary=True) == ["dense lift", "reference"]


def test_the_plan_has_no_memory():
    assert all(plan(PURE, n) == plan(PURE, n) for n in range(300))


def captured(x):
    return x @ np.dot(x, weights)


def weighted(x, scale=2.0):
    return x[0] * np.dot(scale, scale)


def looping(x):
    total = 0.0
    for entry in x:
        total += entry
    return total


def by_place(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


def until_the_end(x):
    i, total = 0, 0.0
    while i < x.size:
        total += np.sqrt(1 + x[i] ** 2)
        i += 1
    return total


def of_arrays(x):
    total = 0.0
    for entry in x:
        total = total + entry * x
    return total @ total


def over_a_part(x):
    part = x[1:]
    for _ in range(3):
        part = part * part
    return part @ part


def nested(x):
    return sum(a * b for a in x for b in x)


weights, large = 2.0, np.ones(2000)


@pytest.mark.parametrize(
    ("f", "most"),
    [
        (lambda x: x @ x, 15),
        (lambda x: x.dot(x), 15),
        (lambda x: np.dot(x, x), 15),
        (lambda x: x[0] ** 2 / 20 + x[1] ** 2, 22),
        (lambda x: (x - 1.0) @ (x - 1.0), 9),
        (lambda x: (x - weights) @ (x - weights), 9),
        (lambda x: np.sum(x**2), 0),
        (lambda x: (x * x).sum(), 8),
        (lambda x: np.exp(x).max(), 8),
        (lambda x: 2 * np.linalg.norm(x), 8),
        (captured, 11),
        (lambda x: x @ large[: x.size], 0),
        (weighted, 0),
        (looping, 16),
        (by_place, 11),
        (until_the_end, 11),
        (lambda x: sum(entry * entry for entry in x[1:]), 14),
        (lambda x: sum(x[i] * x[i + 1] for i in range(len(x) - 1)), 13),
        (lambda x: sum(math.sin(entry) for entry in x), 15),
        (of_arrays, 0),
        (over_a_part, 0),
        (nested, 0),
        (lambda x: x[0] if x[0] > 1.0 else x[1] ** 2, 0),
        (np.sum, 0),
    ],
)
def test_a_lift_is_not_tried_where_all_evaluations_take_less_than_to_begin_it(f, most):
    tried = [n for n in range(GIVEN.few, 60) if not planner.does_little(Call(f), n, 1)]
    assert tried == list(range(max(most + 1, GIVEN.few), 60))
    assert not planner.does_little(Call(f, (2.0,)), 8, 1)
    assert not planner.does_little(Call(f), 8, 2)
    for n in (8, 12, 21):
        x = np.linspace(0.5, 1.5, n)
        info = numerical_gradient(f, x, 1e-4, full_output=True)[1]
        assert (info.nfev == 2 * n and info.way == "reference") == (n <= most)


def test_facts_are_kept_for_one_object_and_dropped_with_it():
    def make(kept):
        return lambda x: np.sum(x**2) + len(kept)

    x = np.ones(30)
    f, store = make(()), []

    def keeping(x):
        return (store.append(0), np.sum(x**2))[1]

    numerical_gradient(f, x)
    numerical_gradient(keeping, x)
    assert 2 <= len(store) < 40  # the plain evaluations were seen, and the lifted ones put back
    assert f in purity._natures
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None


def test_facts_are_looked_up_again_when_f_finds_something_else():
    x, W = np.linspace(1.0, 2.0, 12), {"array": np.ones(12)}

    def f(x):
        return np.sum(W["array"] * x**2)

    np.testing.assert_allclose(numerical_gradient(f, x), 2 * x, rtol=1e-8)
    W["array"] = x  # f reads x itself now
    np.testing.assert_allclose(numerical_gradient(f, x), 3 * x**2, rtol=1e-8)
    assert explain(f, x).startswith("backend 'python'")


def test_what_kept_its_argument_is_read_again_when_it_no_longer_can():
    def made(log):
        space = {"np": np, "log": log}
        exec("def f(x):\n    if log is not None:\n        log.append(x)\n    return np.sum(np.sin(x) * x)", space)
        return space["f"]

    x = np.linspace(1.0, 2.0, 300)
    f, expected = made([]), numerical_gradient(made(None), x, full_output=True)[1]
    assert numerical_gradient(f, x, full_output=True)[1].way != expected.way
    f.__globals__["log"] = None
    found = numerical_gradient(f, x, full_output=True)[1]
    assert (found.way, found.nfev) == (expected.way, expected.nfev)


def test_a_refusal_holds_for_its_call():
    space = {"sum": np.sum, "sin": math.sin, "far": True}
    exec("def f(x):\n    return sin(x[0]) + sum(x**2) if far else sum(x**2)", space)
    f, x = space["f"], np.linspace(1.0, 2.0, 20)
    refused = [numerical_gradient(f, x, full_output=True)[1] for _ in range(3)]
    assert {info.way for info in refused} == {"reference"}
    assert len({info.nfev for info in refused}) == 1  # the attempt is made, and counted, each time
    space["far"] = False
    fresh = {**space}
    exec("def f(x):\n    return sin(x[0]) + sum(x**2) if far else sum(x**2)", fresh)
    after, info = numerical_gradient(f, x, full_output=True)
    expected, other = numerical_gradient(fresh["f"], x, full_output=True)
    assert info.way == other.way == "dense lift"
    assert after.tobytes() == expected.tobytes()


@pytest.mark.parametrize("n", [2, 5, 6, 40, 199, 200, 400])
def test_explain_says_what_runs(n):
    x = np.linspace(0.5, 1.5, n)
    for f in (lambda x: np.sum(x**2), lambda _: np.sum(x**2), lambda x: float(sum(v**2 for v in x.tolist()))):
        info = numerical_gradient(f, x, full_output=True)[1]
        assert explain(f, x).startswith(f"backend {info.backend!r}, {info.way}:"), explain(f, x)


def test_measuring_ends_with_one_way_and_can_be_passed_on():
    x = np.linspace(0.5, 1.5, 30)
    gradient = Gradient(lambda x: np.sum(np.sin(x) * x), 1e-4, effort="measure")
    for _ in range(12):
        gradient(x)
    (learned,) = gradient.learned
    fastest = min(learned["seconds"], key=learned["seconds"].get)
    again = Gradient(gradient.f, 1e-4, learned=gradient.learned)
    assert gradient.with_info(x)[1].way == again.with_info(x)[1].way == fastest
    assert {again(x).tobytes() for _ in range(5)} == {gradient(x).tobytes()}


def test_measuring_knows_the_lift_in_place(monkeypatch):
    monkeypatch.setattr("fastgrad.gradient.perf_counter", time.thread_time)  # whoever else uses the processor
    scale, W = np.linspace(0.5, 1.5, 300), np.linspace(-1.0, 1.0, 300)
    gradient = Gradient(lambda _: np.sum(np.sin(W) * scale), effort="measure")
    for _ in range(9):
        gradient(W)
    (learned,) = gradient.learned
    assert {"reference", "lift in place"} == {*learned["seconds"]}
    assert learned["seconds"]["lift in place"] < learned["seconds"]["reference"]
    assert gradient.with_info(W)[1].way == "lift in place"
    pure = Gradient(lambda x: np.sum(np.sin(x) * scale), effort="measure")
    for _ in range(12):
        pure(W)
    assert "lift in place" in pure.learned[0]["refused"]


@pytest.mark.parametrize("wrong", [{}, [3], [{"shape": [2]}], [{"shape": [2], "seconds": {"magic": 1}, "refused": {}}]])
def test_what_was_not_learned_is_refused(wrong):
    with pytest.raises(ValueError, match="`learned`"):
        Gradient(lambda x: x @ x, learned=wrong)


class Interrupt(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
@pytest.mark.parametrize("n", [2, 12, 300])
@pytest.mark.parametrize("h", [None, 1e-4])
@pytest.mark.usefixtures("collector_at_rest")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # an interrupt while f's source is opened
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one that comes within a destructor
def test_x_is_put_back_whenever_an_interrupt_comes(n, h):
    x = np.linspace(0.1, 1.0, n)
    before = x.tobytes()
    chance = random.Random(n)

    def f(_):
        return float(np.sum(x * x))  # reads the array that is perturbed in place

    def interrupt(*_):
        raise Interrupt

    assert threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGALRM, interrupt)
    numerical_gradient(f, x, h)  # loads what it needs
    took = min(timeit.repeat(lambda: numerical_gradient(f, x, h), number=1, repeat=20))
    caught = 0
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.1, 3.0) * took)
                numerical_gradient(f, x, h)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                caught += 1
            assert x.tobytes() == before
            assert quiet() is not None  # nor is x locked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert caught > 10


@pytest.mark.parametrize("f", [lambda x: x @ x + np.sin(x).sum(), lambda x: np.abs(x - 1.0).sum(), lambda x: x[0] ** 3])
def test_what_needs_no_plan_is_as_what_is_planned(f: Callable[[Any], Any]) -> None:
    rng, plain, planned = np.random.default_rng(4), Gradient(f), Gradient(f, rtol=2.0**-30)  # which changes nothing
    for n in (1, 2, 5, 11):
        x = rng.normal(size=n)
        kept = x.copy()
        found, wanted = plain._run(x, (), None, False), planned._run(x, (), None, False)
        assert found.gradient.tobytes() == wanted.gradient.tobytes() == numerical_gradient(f, x).tobytes()
        assert (found.nfev, found.way, found.reason) == (wanted.nfev, wanted.way, wanted.reason)
        assert x.tobytes() == kept.tobytes()
