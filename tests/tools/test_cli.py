"""The command line: what it shows, what it saves, and what it says when something is wrong."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgrad import __version__
from fastgrad.tools.cli import main
from fastgrad.tools.display import COLUMNS
from fastgrad.tools.workload import problems

pty = pytest.importorskip("pty", reason="needs a POSIX terminal")

USER = """\
import math

import numpy as np

start = np.array([1.1, 0.9])
table = np.array([[1.0, 2.0], [3.0, 4.0]])
data = (np.linspace(0, 1, 20), 2.5)
number = 3


class Model:
    @staticmethod
    def loss(x):
        return np.sum(x**2)


def loss(x, t, scale):
    return scale * np.sum((x[0] * np.exp(-x[1] * t)) ** 2)


def gradient(x, t, scale):
    e = np.exp(-2 * x[1] * t)
    return scale * np.array([2 * x[0] * np.sum(e), np.sum(-2 * t * x[0] ** 2 * e)])


def wrong_shape(x, t, scale):
    return np.ones(3)


def vector(x):
    return x


def outside(x):
    return math.log(-abs(x[0]))


def many(x):
    return np.sum(x**4, axis=-1)


class Sum:
    def __call__(self, x):
        return float(np.sum(x**2))


total = Sum()
"""

FAST = ("--budget", "0.02")


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A directory of the user's, with modules that no other test has."""
    name = f"user_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def run(capsys, *argv):
    """Run in this process; return the exit code, what was printed and what was said."""
    code = main(list(argv))
    return code, *capsys.readouterr()


def process(*argv, **options):
    """Run in a process of its own."""
    command = [sys.executable, "-m", "fastgrad", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)


def test_a_problem_of_the_table(capsys):
    code, out, err = run(capsys, "compare", "rosenbrock", "--n", "10", *FAST)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    header = next(line for line in lines if line.startswith(COLUMNS[0]))
    assert [header.find(name) for name in COLUMNS] == sorted(header.find(name) for name in COLUMNS)
    assert all(name in header for name in COLUMNS)
    for candidate in (
        "python/plain ",
        "python/jitted ",
        "auto/default ",
        "numpy/lifted ",
        "numpy/batched ",
        "numba/jitted  ",
    ):
        assert sum(line.startswith(candidate) for line in lines) == 1
    assert sum(line.startswith("-> ") for line in lines) == 1
    assert "\ng* is" not in out


def test_without_a_target_the_real_workloads_and_what_is_missing(capsys, monkeypatch, tmp_path):
    table = problems()
    chosen = ((table.PROBLEMS["logistic_regression"], 64), (table.PROBLEMS["rosenbrock"], 2))
    monkeypatch.setattr(table, "workloads", lambda: chosen)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "sklearn" else find(name, *a))
    file = tmp_path / "all.json"
    code, out, err = run(capsys, "compare", *FAST, "--json", str(file))
    assert (code, err) == (0, "")
    assert "rosenbrock, n = 2\n" in out
    assert "logistic_regression: not available" in out
    assert "scikit-learn" in out
    saved = json.loads(file.read_text())
    assert [c["workload"] for c in saved["comparisons"]] == ["rosenbrock, n = 2"]
    assert [u["workload"] for u in saved["unavailable"]] == ["logistic_regression"]


def test_the_default_workloads_are_those_that_were_promised():
    names = {problem.name for problem, _ in problems().workloads()}
    assert names >= {"logistic_regression", "two_layer_network", "lennard_jones", "rosenbrock", "squared_hinge"}


def test_json_has_everything(capsys, tmp_path):
    file = tmp_path / "report.json"
    assert run(capsys, "compare", "beale", *FAST, "--json", str(file))[0] == 0
    saved = json.loads(file.read_text())
    assert saved["schema"] == 2
    assert saved["versions"]["numpy"] == np.__version__
    assert saved["machine"]["threads"] >= 1
    assert saved["budget"] == 0.02
    (comparison,) = saved["comparisons"]
    assert comparison["shape"] == [2]
    for score in comparison["scores"]:
        low, high = score["quartiles"]
        assert low <= score["seconds"] <= high
        assert score["peer"] or 0 <= score["error"] < 1e-6
        assert score["peer"] or score["nfev"] >= 4
    assert any(score["peer"] for score in comparison["scores"])


@pytest.mark.parametrize(
    ("point", "shape"),
    [
        (("--x0", "1, 2"), [2]),
        (("--x0", "-1,2"), [2]),
        (("--x0", "-1"), [1]),
        (("--x0=.5",), [1]),
        (("--x0", "[[1, 2], [3, 4.5]]"), [2, 2]),
        (("--x0", "{module}:start"), [2]),
        (("--x0", "./{module}.py:table"), [2, 2]),
        (("--x0-file", "x.npy"), [3, 2]),
        (("--x0-file", "x.csv"), [3]),
        (("--n", "5"), [5]),
    ],
)
def test_ways_to_give_the_point(capsys, user, point, shape):
    np.save("x.npy", np.ones((3, 2)))
    np.savetxt("x.csv", [1.0, 2.0, 3.0], delimiter=",")
    words = [word.format(module=user) for word in point]
    code, _, err = run(capsys, "compare", f"{user}:total", *words, *FAST, "--json", "r.json")
    assert (code, err) == (0, "")
    (comparison,) = json.loads(Path("r.json").read_text())["comparisons"]
    assert comparison["shape"] == shape


@pytest.mark.slow
def test_own_function_with_arguments_and_gradient(capsys, user):
    words = ["--x0", f"{user}:start", "--args", f"{user}:data", "--grad", f"{user}:gradient", "--no-peers"]
    code, out, err = run(capsys, "compare", f"{user}:loss", *words, *FAST, "--json", "r.json")
    assert (code, err) == (0, "")
    assert "g* is the exact gradient, unless" in out
    (comparison,) = json.loads(Path("r.json").read_text())["comparisons"]
    rows = [(s["backend"], s["form"]) for s in comparison["scores"]]
    assert rows[:3] == [("python", "plain"), ("auto", "default"), ("numpy", "lifted")]
    assert ("numba", "compiled") in rows
    assert not any(s["peer"] for s in comparison["scores"])
    assert comparison["exact"] == "the exact gradient"
    assert all(s["error"] < 1e-8 for s in comparison["scores"])


def test_own_function_in_a_file_without_gradient(capsys, user):
    code, out, _ = run(capsys, "compare", f"./{user}.py:Model.loss", "--n", "3", *FAST)
    assert code == 0
    assert "\ng* is the adaptive gradient" in out
    assert "≤ " in out
    assert "no exact gradient was given" in out


def test_own_batched_function(capsys, user):
    code, out, _ = run(capsys, "compare", f"{user}:many", "--n", "30", "--batch-axis", "0", *FAST)
    assert code == 0
    assert "python/plain " in out
    assert "numpy/batched " in out


def test_a_file_named_like_a_loaded_module(capsys, user):
    Path("json.py").write_text("def f(x):\n    return float(x @ x)\n")
    assert run(capsys, "compare", "./json.py:f", "--n", "2", *FAST)[0] == 0
    assert hasattr(sys.modules["json"], "loads")


WRONG = {
    "compare nothing_like_it:f --n 2": "No module named 'nothing_like_it'",
    "compare ./missing.py:f --n 2": "there is no file",
    "compare {m}:los --n 2": "has no 'los'; did you mean loss?",
    "compare {m}: --n 2": "module:name",
    "compare {m}:number --n 2": "not a function but int",
    "compare {m}:loss": "--x0",
    "compare {m}:loss --x0 abc": "--x0 must be numbers or module:name, got 'abc'",
    "compare {m}:loss --x0 1,'a'": "--x0 must be an array of real numbers",
    "compare {m}:loss --x0 1,1e999": "--x0 must be finite",
    "compare {m}:loss --x0 []": "at least one",
    "compare {m}:loss --x0 1 --n 2": "not allowed with",
    "compare {m}:loss --x0-file none.npy": "--x0-file none.npy",
    "compare {m}:loss --n 0": "--n must be 1 or more",
    "compare {m}:loss --n 2 --grad {m}:number": "--grad: {m}:number is not a function",
    "compare {m}:loss --n 2 --args {m}:data --grad {m}:wrong_shape": "`gradient` must return x's shape",
    "report {m}:loss --n 10,x": "--n: it must be whole numbers, as 10,100,1000; got '10,x'",
    "report {m}:vector --n 2": "`f` must return one number",
    "compare {m}:loss --n 2 --budget 0": "--budget must be a positive number",
    "compare {m}:loss --n 2 --budget nan": "--budget must be a positive number",
    "compare {m}:loss --n 2 --json no/such/file.json": "there is no directory",
    "compare rosenbrok": "rosenbrock",
    "compare rosenbrock --n 7": "must be one of 2, 10, 100",
    "compare rosenbrock --n 0": "must be one of 2, 10, 100",
    "compare rosenbrock --x0 1,2": "function of your own",
    "compare --n 5": "--n goes with",
    "compare --bogus": "--bogus",
    "bogus": "invalid choice",
    "": "required",
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_are_one_line(capsys, user, words):
    code, out, err = run(capsys, *words.format(m=user).split())
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("fastgrad: error: ")
    assert WRONG[words].format(m=user) in err


def test_a_function_of_many_values_compares_jacobians(capsys, user):
    code, out, _ = run(capsys, "compare", f"{user}:vector", "--n", "30", "--budget", "0.05", "--json", "j.json")
    assert code == 0
    assert "a Jacobian of shape (30, 30)" in out
    assert "scipy/3-point, pattern given" in out
    assert "Jacobian(vector" in out
    saved = json.loads(Path("j.json").read_text("utf-8"))
    assert saved["comparisons"][0]["shape"] == [30]


def test_an_exception_of_the_function_is_shown_with_a_hint(capsys, user):
    code, out, err = run(capsys, "compare", f"{user}:outside", "--n", "2", *FAST)
    assert (code, out) == (1, "")
    assert "math.log(-abs(x[0]))" in err
    assert "ValueError: math domain error" in err
    assert err.count('  File "') == 1  # none of fastgrad's frames
    assert err.splitlines()[-1].startswith("fastgrad: error: ")
    assert "--x0" in err.splitlines()[-1]


def test_a_module_that_does_not_import(capsys, user):
    Path("broken_module.py").write_text("def f(x:\n")
    code, _, err = run(capsys, "compare", "broken_module:f", "--n", "2")
    assert code == 2
    assert "importing broken_module failed with SyntaxError" in err


def test_without_rich_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.table", None)
    code, out, err = run(capsys, "compare", "beale", *FAST)
    assert (code, out) == (2, "")
    assert "pip install 'fastgrad[cli]'" in err


def test_ctrl_c(capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastgrad.tools.cli.compare", interrupted)
    code, _, err = run(capsys, "compare", "beale")
    assert (code, err) == (130, "fastgrad: interrupted\n")


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    found = {line[:16].strip(): line[16:] for line in out.splitlines()}
    assert found["numpy"] == np.__version__
    assert {"python", "numba", "scipy", "processor", "SIMD width", "threads"} <= set(found)
    assert all(found.values())


def test_version_and_help_load_neither_numba_nor_rich():
    assert process("--version").stdout == f"fastgrad {__version__}\n"
    program = (
        "import sys; from fastgrad.tools.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'numba', 'llvmlite', 'rich', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=True)
    assert "fastgrad compare model:loss" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_pipe_gets_plain_whole_lines(user):
    # a narrow terminal's width is inherited; it must not cut what goes to a file
    environment = {**os.environ, "COLUMNS": "40", "PYTHONIOENCODING": "ascii"}
    done = process("compare", f"{user}:total", "--n", "2", *FAST, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert "..." not in done.stdout
    header = next(line for line in done.stdout.splitlines() if line.startswith(COLUMNS[0]))
    assert header.rstrip().endswith(COLUMNS[-1])


def test_a_terminal_gets_a_progress_bar_and_colours(user):
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "fastgrad", "compare", f"{user}:total", "--n", "2", "--budget", "0.5"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as running:
        os.close(slave)
        shown = b""
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:  # Linux: the other side is closed
                break
            if not block:
                break
            shown += block
    os.close(master)
    text = shown.decode()
    assert running.returncode == 0
    assert "total (1 of 1)" in text  # the bar's description
    assert "━" in text
    assert "\x1b[32m" in text  # the winner in green
    assert "python" in text


def test_a_reader_that_goes_away():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fastgrad", "info"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=600, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
