"""The comparison: its figures are those of what was run, and a wrong or noisy candidate does not win."""

import dataclasses
import json
import pickle
import sys
from time import perf_counter

import numpy as np
import pytest
from numba import njit

from fastgrad import compare as comparing
from fastgrad.compare import CANDIDATES, FORMS, Candidate, Form, Score, Workload, compare, problems

QUICK = 0.02


def squares(x):
    return np.sum(x**2)


def squares_batched(x):
    return np.sum(x**2, axis=1)


def squares_loop(x):
    total = 0.0
    for value in x:
        total += value * value
    return total


def squares_gradient(x):
    return 2 * x


def busy(seconds):
    """A function that takes a given time."""

    def f(x):
        until = perf_counter() + seconds
        while perf_counter() < until:
            pass
        return x @ x

    return f


def workload(n=5, **forms):
    forms = forms or {"plain": Form(squares), "batched": Form(squares_batched, 0), "jitted": Form(squares_loop, jit={})}
    return Workload("squares", np.linspace(1.0, 2.0, n), forms, gradient=squares_gradient)


def score(name, low, median, high, *, error=1e-10, payback=None):
    backend, form = name.split("/")
    return Score(backend, form, median, (low, high), 1.0 / median, error, 10, 0, median, payback, 5, 1)


def test_every_form_is_scored_and_the_reference_comes_first():
    result = compare(workload(), budget=QUICK)
    assert [str(s) for s in result.scores] == ["python/plain", "python/jitted", "numpy/batched", "numba/jitted"]
    assert result.scores[0].faster == 1.0
    assert [s.nfev for s in result.scores] == [10, 10, 11, 10]  # a batch has one check row
    assert all(s.error < 1e-8 for s in result.scores)
    assert all(s.quartiles[0] <= s.seconds <= s.quartiles[1] for s in result.scores)
    assert all(s.rounds >= 3 and s.loops >= 1 and s.first_call >= s.seconds for s in result.scores)
    assert (result.shape, result.coordinates, result.exact) == ((5,), 5, "the exact gradient")
    assert result.refusals == ()


def test_every_candidate_has_a_form_that_is_described():
    assert {c.form for c in CANDIDATES} == set(FORMS)


def test_the_first_call_is_cold_for_each_candidate():
    if not hasattr(njit(squares_loop), "py_func"):
        pytest.skip("numba's compiler is disabled")
    result = compare(workload(), budget=QUICK)
    compiled = {str(s): s for s in result.scores if FORMS[s.form].compiles}
    # compiling takes 100 ms and more, a gradient of these microseconds
    assert all(s.first_call > 0.02 > 10 * s.seconds for s in compiled.values())
    assert compiled["numba/jitted"].payback is None or compiled["numba/jitted"].payback > 10


def test_a_faster_form_is_found_faster():
    forms = {"plain": Form(busy(5e-4)), "batched": Form(lambda x: busy(5e-4)(np.ones(1)) * 0 + np.sum(x**2, axis=1), 0)}
    result = compare(workload(20, **forms), budget=0.3)
    slow, fast = result.scores
    assert slow.seconds > 40 * 5e-4 * 0.9
    assert fast.faster > 5
    assert result.winners == ("numpy/batched",)
    assert "numpy/batched" in result.recommendation


def test_a_costly_function_is_measured_on_a_sample_and_scaled():
    result = compare(workload(400, plain=Form(busy(1e-3))), budget=0.3)
    assert 1 <= result.coordinates < 40
    assert result.scores[0].nfev == 2 * result.coordinates
    assert result.scores[0].seconds >= 0.8  # of 800 ms
    assert result.scores[0].error < 1e-8


def test_x_is_left_alone():
    work = workload()
    before = work.x.tobytes()
    compare(work, budget=QUICK)
    assert work.x.tobytes() == before


def test_what_computes_something_else_does_not_win():
    def wrong(x):
        return 3.0 * x[0]

    result = compare(workload(200, plain=Form(squares), jitted=Form(wrong, jit={})), budget=QUICK)
    found = {str(s): s for s in result.scores}
    assert found["numba/jitted"].error > 0.1
    assert found["numba/jitted"].seconds < found["python/plain"].seconds
    assert result.winners == ("python/plain",)


def test_a_candidate_that_cannot_run_is_reported():
    def coupled(x):
        return np.sum(x**2, axis=1) + x[0, 0]

    def untyped(x):
        return undefined(x)  # noqa: F821

    result = compare(
        workload(plain=Form(squares), batched=Form(coupled, 0), compiled=Form(untyped)),
        budget=QUICK,
    )
    assert [str(s) for s in result.scores] == ["python/plain"]
    assert [(r.backend, r.form) for r in result.refusals] == [("numpy", "batched"), ("numba", "compiled")]
    assert all(r.reason and "\n" not in r.reason for r in result.refusals)
    assert "only candidate" in result.recommendation


def test_an_exception_in_the_reference_comes_through():
    def broken(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        compare(workload(plain=Form(broken)), budget=QUICK)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (Workload("none", np.ones(2), {}), "`workload`"),
        (Workload("shape", np.ones(2), {"plain": Form(squares)}, gradient=lambda x: np.ones(3)), "`gradient`"),
    ],
)
def test_wrong_workloads(work, message):
    with pytest.raises(ValueError, match=message):
        compare(work, budget=QUICK)


def analytic(x):
    return np.sum(np.sin(x))


def not_analytic(x):
    return np.sum(np.abs(x) ** 3)


def takes_real_numbers_only(x):
    return sum(float(v) ** 3 for v in x.tolist())


@pytest.mark.parametrize(
    ("f", "exact", "label"),
    [
        (analytic, np.cos, "complex step"),
        (not_analytic, lambda x: 3 * x**2, "central difference of order 6"),
        (takes_real_numbers_only, lambda x: 3 * x**2, "central difference of order 6"),
    ],
)
def test_without_an_exact_gradient_the_best_available_is_used_and_named(f, exact, label):
    x = np.linspace(0.5, 1.5, 4)
    found, described = comparing._exact(Workload("f", x, {"plain": Form(f)}), Form(f), None)
    assert described.startswith(f"the {label}")
    assert "no exact gradient" in described
    np.testing.assert_allclose(found, exact(x), rtol=1e-10)


def test_own_functions_are_taken_in_the_forms_that_they_have():
    x = np.ones(2)
    assert set(Workload.of_function("f", squares, x).forms) == {"plain", "compiled"}
    assert set(Workload.of_function("f", max, x).forms) == {"plain"}
    batched = Workload.of_function("f", squares_batched, x, batch_axis=0)
    assert batched.forms == {"plain": Form(squares_batched, 0), "batched": Form(squares_batched, 0)}
    dispatcher = njit(squares_loop)
    if hasattr(dispatcher, "py_func"):
        jitted = Workload.of_function("f", dispatcher, x)
        assert set(jitted.forms) == {"jitted"}
        assert jitted.forms["jitted"].fresh() is not dispatcher
        fixed = njit("float64(float64[::1])")(squares_loop)
        assert Workload.of_function("f", fixed, x).forms["jitted"].fresh() is fixed


def test_overlapping_times_have_no_winner():
    a, b, c = (
        score("python/plain", 1.0, 1.1, 1.2),
        score("numpy/batched", 0.9, 1.0, 1.1),
        score("numba/jitted", 2, 3, 4),
    )
    assert comparing._winners((a, b, c)) == [a, b]
    line = comparing._recommendation([a, b], (a, b, c), workload())
    assert line.startswith("no clear winner between python/plain and numpy/batched")
    clear = score("numpy/batched", 0.1, 0.2, 0.3)
    assert comparing._winners((a, clear, c)) == [clear]


def test_not_a_number_does_not_win():
    right, wrong = score("python/plain", 1, 2, 3), score("numba/jitted", 0.1, 0.2, 0.3, error=float("nan"))
    assert comparing._winners((right, wrong)) == [right]
    assert comparing._winners((wrong,)) == [wrong]


def test_the_recommendation_says_when_compiling_pays_back():
    reference, batched = score("python/plain", 0.9, 1.0, 1.1), score("numpy/batched", 0.1, 0.2, 0.3)
    jitted = score("numba/jitted", 0.01, 0.01, 0.01, payback=7)
    line = comparing._recommendation([jitted], (reference, batched, jitted), workload())
    assert "100x faster" in line
    assert "pays back after 7 gradients, for fewer take numpy/batched (5x)" in line


def test_payback_and_scale_are_arithmetic():
    def run(form, seconds, first_call):
        samples = [seconds] * 5
        return comparing._Run(Candidate("numba", form), list, np.ones(2), first_call, 4, 0, samples=samples)

    reference, compiled, slower = run("plain", 0.5, 0.5), run("jitted", 0.25, 1.25), run("jitted", 1.0, 2.0)
    exact = np.array([1.0, 2.0])
    scored = comparing._score(compiled, reference, exact, scale=1.0)
    assert (scored.payback, scored.faster, scored.first_call, scored.error) == (4, 2.0, 1.25, 0.5)
    # on half of the coordinates: each gradient saves twice as much, compiling costs the same
    halved = comparing._score(compiled, reference, exact, scale=2.0)
    assert (halved.payback, halved.seconds, halved.first_call) == (2, 0.5, 1.5)
    assert comparing._score(slower, reference, exact, scale=1.0).payback is None
    assert comparing._score(reference, reference, exact, scale=1.0).payback is None


def test_the_error_is_relative_in_the_maximum_norm():
    assert comparing._error(np.array([1.0, 10.1]), np.array([1.0, 10.0])) == pytest.approx(0.01)
    assert comparing._error(np.array([0.5, 0.0]), np.zeros(2)) == 0.5
    assert comparing._error(np.zeros(0), np.zeros(0)) == 0.0


def test_progress_goes_from_0_to_1():
    shares = []
    compare(workload(plain=Form(squares)), budget=QUICK, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_result_is_plain_data():
    plain = dataclasses.asdict(compare(workload(plain=Form(squares)), budget=QUICK))
    assert json.loads(json.dumps(plain))["scores"][0]["backend"] == "python"


def test_the_problem_table_is_loaded_once_and_pickles():
    table = problems()
    assert problems() is table is sys.modules["fastgrad._problems"]
    for problem, _ in table.workloads():
        assert pickle.loads(pickle.dumps(problem)).f is problem.f


def test_problems_become_workloads():
    problem = problems().PROBLEMS["rosenbrock"]
    work = Workload.of_problem(problem, 10)
    assert set(work.forms) == {"plain", "batched", "jitted"}
    values = [
        work.forms["plain"].f(work.x),
        work.forms["jitted"].fresh()(work.x),
        work.forms["batched"].f(work.x[None])[0],
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-13)


def test_machine_and_versions():
    here = comparing.machine()
    assert 1 <= here["threads"] <= here["cores"]
    assert here["processor"]
    assert here["simd_bits"] is None or here["simd_bits"] in (128, 256, 512)
    assert comparing.versions()["numpy"] == np.__version__
