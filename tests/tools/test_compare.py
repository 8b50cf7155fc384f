"""The comparison: its figures are those of what was run, and a wrong or noisy candidate does not win."""

import dataclasses
import json
import pickle
import subprocess
import sys
from time import perf_counter

import numpy as np
import pytest
from numba import njit

from fastgrad.tools import compare as comparing
from fastgrad.tools.compare import CANDIDATES, Score, compare
from fastgrad.tools.jacobians import JACOBIAN_PEERS, WAYS, compare_jacobians, is_vector
from fastgrad.tools.machine import machine, versions
from fastgrad.tools.peers import PEERS, Peer
from fastgrad.tools.timing import Run, relative_error
from fastgrad.tools.workload import FORMS, Form, Names, Workload, problems

QUICK = 0.02
JIT = hasattr(njit(lambda x: x), "py_func")


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
    names = ["python/plain", "python/jitted", "numpy/batched", "numba/jitted", "numba/jitted lanes"]
    assert [str(s) for s in result.scores] == names[: 5 if JIT else 4]
    assert result.scores[0].faster == 1.0
    assert [s.nfev for s in result.scores][:4] == [10, 10, 11, 10]  # a batch has one check row
    assert all(s.error < 1e-8 for s in result.scores)
    assert all(s.quartiles[0] <= s.seconds <= s.quartiles[1] for s in result.scores)
    assert all(s.rounds >= 3 and s.loops >= 1 and s.first_call >= s.seconds for s in result.scores)
    assert (result.shape, result.coordinates, result.exact) == ((5,), 5, "the exact gradient")
    assert result.bar is None
    assert len(result.refusals) == (0 if JIT else 1)


def test_every_candidate_has_a_form_that_is_described():
    assert {c.form for c in CANDIDATES} == set(FORMS)
    assert len({str(c) for c in CANDIDATES}) == len(CANDIDATES)


def test_the_first_call_is_cold_for_each_candidate():
    if not JIT:
        pytest.skip("numba's compiler is disabled")
    result = compare(workload(), budget=QUICK)
    compiled = {str(s): s for s in result.scores if s.kind.compiles}
    # compiling takes 100 ms and more, a gradient of these microseconds
    assert all(s.first_call > 0.02 > 10 * s.seconds for s in compiled.values())
    assert compiled["numba/jitted"].payback is None or compiled["numba/jitted"].payback > 10


def test_a_plain_function_is_compiled_anew_for_each_candidate():
    if not JIT:
        pytest.skip("numba's compiler is disabled")
    result = compare(Workload.of_function("f", squares_loop, np.linspace(1, 2, 5)), budget=QUICK)
    found = {str(s): s.first_call for s in result.scores}
    assert found["numba/compiled"] > 0.02
    assert found["numba/compiled lanes"] > 0.02
    form = Workload.of_function("f", squares_loop, np.ones(2)).forms["compiled"]
    assert form.fresh() is not form.fresh()
    assert form.fresh()(np.array([1.0, 2.0])) == 5.0


def test_a_faster_form_is_found_faster():
    forms = {"plain": Form(busy(5e-4)), "batched": Form(lambda x: busy(5e-4)(np.ones(1)) * 0 + np.sum(x**2, axis=1), 0)}
    result = compare(workload(20, **forms), budget=0.5)
    slow, fast = result.scores
    assert slow.seconds > 40 * 5e-4 * 0.9
    assert fast.faster > 5
    assert result.winners == ("numpy/batched",)
    assert "numpy/batched" in result.recommendation
    assert result.code.endswith("gradient = Gradient(f, batch_axis=0); g = gradient(x)")


def test_a_costly_function_is_measured_on_a_sample_and_scaled(monkeypatch):
    monkeypatch.setattr(comparing, "LONGEST", 1 / 64)
    result = compare(workload(400, plain=Form(busy(1e-3))), budget=0.3)
    assert 2 <= result.coordinates < 40
    assert result.scores[0].coordinates == result.coordinates
    assert result.scores[0].nfev == 800  # of the whole gradient, as the time
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
    ("f", "exact"),
    [(analytic, np.cos), (not_analytic, lambda x: 3 * x**2), (takes_real_numbers_only, lambda x: 3 * x**2)],
)
def test_without_an_exact_gradient_the_adaptive_one_with_its_bar_is_the_reference(f, exact):
    x = np.linspace(0.5, 1.5, 4)
    found, described, bar = comparing.reference_gradient(Workload("f", x, {"plain": Form(f)}), Form(f), None)
    assert described.startswith("the adaptive gradient")
    assert "no exact gradient" in described
    assert 0 < bar < 1e-9
    assert np.abs(found - exact(x)).max() <= bar * np.abs(exact(x)).max()


def test_a_reference_of_a_part_knows_only_that_part():
    sample = np.array([1, 3])
    work = Workload("f", np.linspace(0.5, 1.5, 5), {"plain": Form(analytic)})
    found = comparing.reference_gradient(work, Form(analytic), sample).gradient
    assert np.isfinite(found).tolist() == [False, True, False, True, False]
    np.testing.assert_allclose(found[sample], np.cos(work.x[sample]), rtol=1e-10)


def test_own_functions_are_taken_in_the_forms_that_they_have():
    x = np.ones(2)
    assert set(Workload.of_function("f", squares, x).forms) == {"plain", "lifted", "default", "compiled"}
    assert set(Workload.of_function("f", max, x).forms) == {"plain", "lifted", "default"}
    batched = Workload.of_function("f", squares_batched, x, batch_axis=0)
    assert batched.forms == dict.fromkeys(("plain", "batched", "default"), Form(squares_batched, 0))
    dispatcher = njit(squares_loop)
    if JIT:
        jitted = Workload.of_function("f", dispatcher, x)
        assert set(jitted.forms) == {"jitted", "default"}
        assert jitted.forms["jitted"].fresh() is not dispatcher
        fixed = njit("float64(float64[::1])")(squares_loop)
        assert Workload.of_function("f", fixed, x).forms["jitted"].fresh() is fixed


def test_overlapping_times_have_no_winner():
    a, b, c = (
        score("python/plain", 1.0, 1.1, 1.2),
        score("numpy/batched", 0.9, 1.0, 1.1),
        score("numba/jitted", 2, 3, 4),
    )
    assert comparing.winners_of((a, b, c)) == [a, b]
    line, code = comparing._recommend([a, b], (a, b, c), workload(), None)
    assert line.startswith("no clear winner between python/plain and numpy/batched")
    assert code == 'from fastgrad import Gradient; gradient = Gradient(f, backend="python"); g = gradient(x)'
    clear = score("numpy/batched", 0.1, 0.2, 0.3)
    assert comparing.winners_of((a, clear, c)) == [clear]


def test_not_a_number_does_not_win():
    right, wrong = score("python/plain", 1, 2, 3), score("numba/jitted", 0.1, 0.2, 0.3, error=float("nan"))
    assert comparing.winners_of((right, wrong)) == [right]
    assert comparing.winners_of((wrong,)) == [wrong]


def test_the_recommendation_says_when_compiling_pays_back():
    reference, batched = score("python/plain", 0.9, 1.0, 1.1), score("numpy/batched", 0.1, 0.2, 0.3)
    jitted = score("numba/jitted", 0.01, 0.01, 0.01, payback=7)
    line, _ = comparing._recommend([jitted], (reference, batched, jitted), workload(), None)
    assert "100x faster" in line
    assert "pays back after 7 gradients, for fewer take numpy/batched (5x)" in line


def test_payback_and_scale_are_arithmetic():
    def run(seconds, extra, scale=1.0, compiles=False, where=None):
        return Run(
            list,
            scale,
            samples=[scale * seconds] * 5,
            backend="numba",
            form="jitted",
            gradient=np.ones(2),
            where=where,
            extra=extra,
            nfev=8,
            compiles=compiles,
        )

    exact = np.array([1.0, 2.0])
    reference, compiled = run(0.5, 0.0), run(0.25, 1.0, compiles=True)
    scored = comparing.score(compiled, reference, exact)
    assert (scored.payback, scored.faster, scored.first_call, scored.error) == (4, 2.0, 1.25, 0.5)
    # on half of the coordinates: each gradient saves twice as much, compiling costs the same
    halved = comparing.score(run(0.25, 1.0, 2.0, compiles=True), run(0.5, 0.0, 2.0), exact)
    assert (halved.payback, halved.seconds, halved.first_call, halved.nfev) == (2, 0.5, 1.5, 8)
    # a reference that compiles, too, has to wait as well
    assert comparing.score(compiled, run(0.5, 0.5, compiles=True), exact).payback == 2
    assert comparing.score(run(1.0, 1.0, compiles=True), reference, exact).payback is None
    assert comparing.score(reference, reference, exact).payback is None
    # the error is of the coordinates that were measured and are known
    part = comparing.score(run(0.5, 0.0, where=np.array([0, 2])), reference, np.array([1.0, 7.0, np.nan]))
    assert (part.error, part.coordinates) == (0.0, 2)


def test_the_error_is_relative_in_the_maximum_norm():
    assert relative_error(np.array([1.0, 10.1]), np.array([1.0, 10.0])) == pytest.approx(0.01)
    assert relative_error(np.array([0.5, 0.0]), np.zeros(2)) == 0.5
    assert relative_error(np.zeros(0), np.zeros(0)) == 0.0


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
    assert problems() is table is sys.modules["fastgrad.tools._problems"]
    for problem, _ in table.workloads():
        assert pickle.loads(pickle.dumps(problem)).f is problem.f


def test_problems_become_workloads():
    problem = problems().PROBLEMS["rosenbrock"]
    work = Workload.of_problem(problem, 10)
    assert set(work.forms) == {"plain", "lifted", "default", "batched", "jitted"}
    values = [
        work.forms["plain"].f(work.x),
        work.forms["jitted"].fresh()(work.x),
        work.forms["batched"].f(work.x[None])[0],
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-13)


def test_machine_and_versions():
    here = machine()
    assert 1 <= here["threads"] <= here["cores"]
    assert here["processor"]
    assert here["simd_bits"] is None or here["simd_bits"] in (128, 256, 512)
    assert versions()["numpy"] == np.__version__


# Lifts, lanes, auto ------------------------------------------------------------------------------


def chain(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def chain_gradient(x):
    g = np.zeros_like(x)
    t = x[1:] - x[:-1] ** 2
    g[:-1] = -400.0 * x[:-1] * t - 2.0 * (1.0 - x[:-1])
    g[1:] += 200.0 * t
    return g


@pytest.mark.parametrize(("n", "chosen"), [(30, "dense lift"), (1000, "sparse lift")])
def test_the_row_tells_which_lift_ran(n, chosen):
    x = np.linspace(0.5, 1.5, n)
    plain = {name: Form(chain) for name in ("plain", "lifted", "default")}
    result = compare(Workload("chain", x, plain, gradient=chain_gradient), budget=0.2)
    found = {str(s): s for s in result.scores}
    assert list(found) == ["python/plain", "auto/default", "numpy/lifted"]
    assert found["numpy/lifted"].ran == "sparse lift"  # asked for by name: the more accurate one
    assert found["numpy/lifted"].described() == "numpy/lifted (sparse lift)"
    assert found["auto/default"].ran == chosen
    assert found["python/plain"].described() == "python/plain"
    assert found["numpy/lifted"].coordinates == n
    assert all(s.error < 1e-7 for s in result.scores)


def test_lanes_stand_beside_the_scalar_loop():
    if not JIT:
        pytest.skip("numba's compiler is disabled")
    result = compare(Workload.of_function("f", njit(squares_loop), np.linspace(1, 2, 64)), budget=QUICK)
    found = {str(s): s.ran for s in result.scores}
    assert found["numba/jitted"] == "scalar kernel"
    assert found["numba/jitted lanes"] == "lanes"


def no_lanes(x):
    kept = {0: x[0] * x[1]}
    return kept[0]


def test_what_does_not_run_in_lanes_says_why():
    if not JIT:
        pytest.skip("numba's compiler is disabled")
    result = compare(Workload.of_function("f", njit(no_lanes), np.linspace(1, 2, 8)), budget=QUICK)
    (refusal,) = result.refusals
    assert (refusal.backend, refusal.form) == ("numba", "jitted lanes")
    assert refusal.reason


def test_a_variant_of_what_cannot_run_is_not_reported_again():
    def untyped(x):
        return undefined(x)  # noqa: F821

    result = compare(workload(plain=Form(squares), compiled=Form(untyped)), budget=QUICK)
    assert [(r.backend, r.form) for r in result.refusals] == [("numba", "compiled")]


def test_what_auto_chooses_is_recommended_as_nothing_to_choose():
    plain, auto = score("python/plain", 9, 10, 11), score("auto/default", 2, 2, 2)
    lifted = score("numpy/lifted", 1, 1, 1)
    plain, auto, lifted = (
        dataclasses.replace(s, ran=ran)
        for s, ran in ((plain, "reference"), (auto, "dense lift"), (lifted, "dense lift"))
    )
    line, code = comparing._recommend([lifted], (plain, auto, lifted), workload(), None)
    assert line.startswith("numpy/lifted (dense lift), 1x faster")
    assert "fastgrad chooses this by itself" in line
    assert code == "from fastgrad import Gradient; gradient = Gradient(f); g = gradient(x)"
    other = dataclasses.replace(auto, ran="reference")
    line, code = comparing._recommend([lifted], (plain, other, lifted), workload(), None)
    assert "by itself" not in line
    assert 'Gradient(f, backend="numpy")' in code


@pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
def test_the_line_of_code_runs(candidate):
    """Pasted under the names that it has, it gives the gradient."""
    functions = {"jitted": njit(squares_loop), "batched": squares_batched, "compiled": squares_loop}
    f = functions.get(candidate.form, squares)
    space = {"x": np.array([1.0, 2.0]), "mine": f}
    form = Form(f, 0 if candidate.form == "batched" else None)
    exec(candidate.code(form, Names("", "mine", "")), space)
    np.testing.assert_allclose(space["g"], [2.0, 4.0], rtol=1e-6)


# Other packages ----------------------------------------------------------------------------------

HERE = [p for p in PEERS if p.differences and p.present]


def test_the_peers_that_the_tests_need_are_installed():
    assert {p.package for p in HERE} == {"scipy", "numdifftools", "jacobi", "statsmodels"}


@pytest.mark.parametrize("peer", HERE, ids=str)
def test_a_peer_is_timed_counted_and_scored(peer):
    work = Workload("chain", np.linspace(0.5, 1.5, 12), {"plain": Form(chain)}, gradient=chain_gradient)
    result = compare(work, budget=0.3, peers=[peer])
    assert result.refusals == ()
    mine, other = result.scores
    assert (str(other), other.peer, mine.peer) == (str(peer), True, False)
    assert other.error < 1e-6
    assert other.nfev >= 12
    assert other.seconds > 0
    assert other.first_call >= other.seconds
    assert other.memory > 0
    assert result.winners == ("python/plain",)  # a peer is no candidate


@pytest.mark.parametrize("peer", HERE, ids=str)
def test_the_line_of_code_of_a_peer_runs(peer):
    names = Names("scale = 2.0; ", "mine", "(scale,)")
    space = {"x": np.array([1.0, 2.0]), "mine": lambda x, scale: scale * np.sum(x**2)}
    exec(names.imports + peer.code.format(f=names.function()), space)
    np.testing.assert_allclose(space["g"], [4.0, 8.0], rtol=1e-6)


def test_a_peer_gets_points_of_xs_shape_and_the_arguments():
    seen = set()

    def f(x, scale):
        seen.add(x.shape)
        return scale * np.sum(x**2)

    x = np.linspace(1, 2, 6).reshape(2, 3)
    work = Workload("f", x, {"plain": Form(f)}, args=(3.0,), gradient=lambda x, scale: 2 * scale * x)
    result = compare(work, budget=QUICK, peers=HERE[:1])
    assert seen == {(2, 3)}
    assert result.scores[1].error < 1e-6


def test_a_peer_that_is_not_installed_is_left_out():
    absent = Peer("no_such_package", "gradient", "no_such_package", lambda module, f: f, "")
    assert len(compare(workload(plain=Form(squares)), budget=QUICK, peers=[absent]).scores) == 1


def test_a_slow_peer_is_measured_on_what_fits_or_skipped(monkeypatch):
    monkeypatch.setattr(comparing, "LONGEST", 1 / 64)

    def patient(module, f):
        def gradient(x):
            return np.array([[f(x) for _ in range(400)][-1] for _ in x])

        return gradient

    slow = Peer("numpy", "patient", "numpy", patient, "")
    calls, f = [], busy(1e-4)

    def counted(x):
        calls.append(x)
        return f(x)

    (refusal,) = compare(workload(30, plain=Form(counted)), budget=0.3, peers=[slow]).refusals
    assert refusal.reason.startswith("skipped")
    assert len(calls) < 30 * 400
    quick = HERE[0]
    monkeypatch.setattr(comparing, "LONGEST", 1 / 10)
    result = compare(workload(200, plain=Form(busy(1e-3))), budget=1.0, peers=[quick])
    assert result.scores[1].coordinates < 200
    assert result.scores[1].seconds > 0.19  # of 201 evaluations, a millisecond each


def test_a_peer_that_fails_is_reported():
    def broken(module, f):
        def gradient(x):
            raise RuntimeError("not today")

        return gradient

    result = compare(workload(plain=Form(squares)), budget=QUICK, peers=[Peer("numpy", "broken", "numpy", broken, "")])
    (refusal,) = result.refusals
    assert (refusal.backend, refusal.form, refusal.reason, refusal.peer) == ("numpy", "broken", "not today", True)


def test_a_peer_is_recommended_where_it_is_faster_and_as_accurate():
    mine = score("python/plain", 9, 10, 11, error=1e-10)
    fast = dataclasses.replace(score("jax/grad", 1, 1, 1, error=1e-15), peer=True)
    rough = dataclasses.replace(score("scipy/approx_fprime", 1, 1, 1, error=1e-7), peer=True)
    line, code = comparing._recommend([mine], (mine, fast), workload(), None)
    assert line.startswith("jax/grad, 1x faster")
    assert "of fastgrad's own, python/plain" in line
    assert code == "import jax; gradient = jax.jit(jax.grad(f)); g = gradient(x)"
    assert comparing._recommend([mine], (mine, rough), workload(), None)[0].startswith("python/plain")


def test_jax_takes_part_only_where_the_users_module_uses_it(monkeypatch):
    (jax,) = (p for p in PEERS if p.package == "jax")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert not jax.present
    monkeypatch.setitem(sys.modules, "jax", object())
    assert jax.present


def test_jax_differentiates_a_function_written_for_it():
    code = (
        "import jax, jax.numpy as jnp, numpy as np\n"
        "jax.config.update('jax_enable_x64', True)\n"
        "from fastgrad.tools.compare import *\nfrom fastgrad.tools.peers import PEERS\n"
        "f = lambda x: jnp.sum(x**3)\n"
        "work = Workload('f', np.linspace(1, 2, 5), {'plain': Form(f)}, gradient=lambda x: 3 * x**2)\n"
        "result = compare(work, budget=0.1, peers=[p for p in PEERS if p.package == 'jax'])\n"
        "print(result.scores[1], result.scores[1].error, result.code)\n"
    )
    pytest.importorskip("jax", reason="jax is not installed")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    name, error, *line = done.stdout.split()
    assert name == "jax/grad"
    assert float(error) < 1e-14
    assert "jax.grad(f)" in " ".join(line)


def shifted(x, a):
    return a * x**2 - np.roll(x, 1)


def shifted_jacobian(x, a):
    return np.diag(2 * a * x) - np.roll(np.eye(x.size), -1, axis=1)


def test_jacobians_are_scored_against_the_exact_one():
    x = np.linspace(1.0, 2.0, 30)
    exact = Workload.of_function("shifted", shifted, x, (2.0,), shifted_jacobian)
    assert is_vector(exact)
    assert not is_vector(workload())
    result = compare_jacobians(exact, budget=QUICK)
    assert [str(s) for s in result.scores[: len(WAYS)]] == [f"{way.backend}/{way.form}" for way in WAYS]
    assert all(s.error < 1e-6 for s in result.scores)
    assert {s.ran for s in result.scores if not s.peer} == {"columns", "sparse lift"}
    assert result.scores[0].faster == 1.0
    assert len([s for s in result.scores if s.peer]) + len([r for r in result.refusals if r.peer]) == len(
        JACOBIAN_PEERS
    )
    assert result.exact == "the exact Jacobian"
    assert result.code.startswith("from fastgrad import Jacobian; jacobian = Jacobian(f, args=args")
    without = compare_jacobians(Workload.of_function("shifted", shifted, x, (2.0,)), budget=QUICK, peers=())
    assert without.bar < 1e-12
    wrong = Workload.of_function("shifted", shifted, x, (2.0,), lambda x, a: np.eye(3))
    with pytest.raises(ValueError, match="the exact Jacobian must have shape"):
        compare_jacobians(wrong, budget=QUICK)


def test_what_cannot_be_lifted_is_told():
    plain = Workload.of_function("plain", lambda x: [v**2 for v in x.tolist()], np.linspace(1.0, 2.0, 25))
    result = compare_jacobians(plain, budget=QUICK, peers=())
    assert [str(r.backend) for r in result.refusals] == ["numpy"]
    assert {s.ran for s in result.scores} == {"columns"}
    large = Workload.of_function("large", lambda x: x, np.ones(3000))
    with pytest.raises(ValueError, match="9000000 entries"):
        compare_jacobians(large)
