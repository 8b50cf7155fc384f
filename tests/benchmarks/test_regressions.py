"""The comparison of two commits finds what changed and nothing else; the site holds all that it shows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import regressions, site
from benchmarks.regressions import CASES, WAYS, Cell, Figures, Missing, cells, compare, exists, measure, report

ROOT = Path(__file__).resolve().parents[2]
KEYS = [("python", "rosenbrock 10"), ("batched", "rosenbrock 100")]


def figures(ratio, noise, starts=3, before=(6.0, 20), after=(6.0, 20), seed=0):
    """What a change by `ratio` looks like in processes that differ by `noise` and times that differ by thrice it."""
    rng = np.random.default_rng(seed)
    made = Figures()
    for _ in range(starts):
        own = rng.normal(scale=noise)
        times = np.exp(rng.normal(scale=3 * noise, size=(31, 2)) + np.array([0.0, own + np.log(ratio)]))
        made.times.append([(float(a), float(b)) for a, b in times])
    for side, (lost, nfev) in zip(made.exact, (before, after), strict=True):
        side += [{"lost_digits": lost, "nfev": nfev}] * starts
    return made


def test_noise_alone_is_no_change():
    moved = [figures(1.0, noise, seed=seed).beyond_noise() for seed in range(100) for noise in (0.01, 0.05, 0.2)]
    assert sum(moved) <= 1


@pytest.mark.parametrize("ratio", [0.7, 1.4])
def test_a_change_is_seen_through_noise(ratio):
    moved = [figures(ratio, 0.03, seed=seed) for seed in range(100)]
    assert sum(m.beyond_noise() for m in moved) >= 95
    assert all((m.ratio()[0] > 1) == (ratio > 1) for m in moved)


@pytest.mark.parametrize(
    ("after", "said", "worse"),
    [
        ((6.0, 20), "", False),
        ((6.2, 20), "lost_digits 6 → 6.2", False),  # a factor of 1.6 in the error: rounding
        ((6.5, 20), "lost_digits 6 → 6.5", True),
        ((5.0, 20), "lost_digits 6 → 5", False),
        ((6.0, 21), "nfev 20 → 21", True),
        ((6.0, 19), "nfev 20 → 19", False),
    ],
)
def test_digits_and_evaluations_are_compared_exactly(after, said, worse):
    lines, failed = report({KEYS[0]: figures(1.0, 0.01, after=after)}, None)
    assert failed == worse
    assert (said in lines[0]) if said else len(lines) == 2
    assert any(line.startswith("WORSE") for line in lines) == worse


def test_what_is_gone_is_worse_and_what_is_new_is_not():
    gone, new = Figures(), Figures()
    for side, other in ((gone.exact[0], gone.exact[1]), (new.exact[1], new.exact[0])):
        side.append({"lost_digits": 6.0, "nfev": 20})
        other.append({"missing": "no such option"})
    assert gone.exact_changes() == [("gone: no such option", True)]
    assert new.exact_changes() == [("new", False)]
    assert report({KEYS[0]: gone}, None)[1]
    assert not report({KEYS[0]: new}, None)[1]


def test_time_fails_only_where_asked():
    slow = {KEYS[0]: figures(2.0, 0.01)}
    assert "slower" in report(slow, None)[0][0]
    assert not report(slow, None)[1]
    assert report(slow, 1.5)[1]
    assert not report(slow, 3.0)[1]


@pytest.fixture
def trees(tmp_path):
    """Two copies of fastgrad, and how to change the second."""
    made = [tmp_path / "base", tmp_path / "changed"]
    for tree in made:
        tree.mkdir()
        regressions.unpack(regressions.WORKING_TREE, tree)

    def change(code):
        with (made[1] / "fastgrad" / "__init__.py").open("a") as file:
            file.write(code)

    return *made, change


def test_the_same_code_has_no_exact_change(trees):
    base, changed, _ = trees
    found = compare(base, changed, KEYS, starts=1)
    assert [f.exact_changes() for f in found.values()] == [[], []]
    assert all(len(f.times[0]) >= regressions.FEWEST for f in found.values())


def test_a_slow_inaccurate_and_wasteful_copy_is_found(trees):
    base, changed, change = trees
    change(
        """
import dataclasses

_call, _one_shot = Gradient.__call__, numerical_gradient

def _slow(self, x, *args, **options):
    for _ in range(3):
        _call(self, x, *args, **options)
    return _call(self, x, *args, **options) * (1 + 1e-3)

def numerical_gradient(*args, **options):
    gradient, info = _one_shot(*args, **options)
    return gradient, dataclasses.replace(info, nfev=info.nfev + 1)

Gradient.__call__ = _slow
"""
    )
    found = compare(base, changed, KEYS, starts=1)
    lines, failed = report(found, None)
    assert failed
    for f in found.values():
        assert f.beyond_noise()
        assert 2.0 < f.ratio()[0] < 8.0
        (evaluations, _), (digits, worse) = f.exact_changes()
        assert evaluations.startswith("nfev")
        assert digits.startswith("lost_digits")
        assert worse
    assert sum(line.startswith("WORSE") for line in lines) == 4
    assert sum(line.startswith("slower") for line in lines) == 2


def test_a_copy_that_lacks_an_option_is_compared_in_the_rest(trees):
    base, changed, change = trees
    change(
        """
_init = Gradient.__init__

def _without(self, f, *args, backend="auto", **options):
    if backend == "python":
        raise TypeError("no such option")
    _init(self, f, *args, backend=backend, **options)

Gradient.__init__ = _without
"""
    )
    found = compare(base, changed, KEYS, starts=1)
    assert "gone" in found[KEYS[0]].exact_changes()[0][0]
    assert not found[KEYS[0]].times
    assert found[KEYS[1]].times


def test_a_worker_that_dies_says_why(trees):
    base, changed, change = trees
    change("raise SystemError('broken on purpose')\n")
    with pytest.raises(RuntimeError, match="broken on purpose"):
        compare(base, changed, KEYS, starts=1)


@pytest.fixture
def clone(tmp_path):
    """A repository of one commit that holds this checkout."""
    there = tmp_path / "clone"
    there.mkdir()
    for name in ("fastgrad", "benchmarks"):
        shutil.copytree(ROOT / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(there), *identity, *command], check=True)
    return there


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.regressions", *arguments],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_one_commit_has_nothing_to_compare_with(clone):
    done = run(clone, "--quick")
    assert done.returncode == 0, done.stderr
    assert "nothing to compare" in done.stdout


def test_an_edited_checkout_is_compared_with_its_commit(clone):
    with (clone / "fastgrad" / "__init__.py").open("a") as file:
        file.write("_c = Gradient.__call__\nGradient.__call__ = lambda self, x: _c(self, x) * 1.001\n")
    done = run(clone, "--starts", "1", "-k", "brown_badly", "--quick")
    assert done.returncode == 2
    assert "leaves nothing to compare" in done.stderr
    done = run(clone, "--starts", "1", "--quick", "-k", "python")
    assert done.returncode == 1, done.stderr
    assert "WORSE  rosenbrock 10, python" in done.stdout


def test_an_unknown_commit_is_named(clone):
    done = run(clone, "nonsense")
    assert done.returncode == 2
    assert "`nonsense` is no commit of this repository" in done.stderr


# The cells ---------------------------------------------------------------------------------------


def test_the_cells_exist():
    for case in CASES:
        assert "auto" in cells(case)
    assert not exists("python", "rosenbrock 10000")
    assert {way for case in CASES for way in cells(case)} == set(WAYS)
    assert {(way, case) for case, ways in regressions.QUICK.items() for way in ways} <= set(regressions.everything())


@pytest.mark.parametrize("case", ["rosenbrock 10", "ackley 10", "brown_badly_scaled 2"])
def test_no_way_is_missing_today(case):
    found = measure(case, rounds=3)
    assert [way for way, value in found.items() if isinstance(value, str)] == []
    for value in found.values():
        assert np.isfinite(list(value.values())).all()
        assert value["lost_digits"] < 10.5


def test_a_cell_that_does_not_exist_is_missing():
    with pytest.raises(Missing):
        Cell("python", "rosenbrock 10000")


# The site ----------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path):
    """What `asv publish` and asv-tachyon leave, in small."""
    folder = tmp_path / "html"
    (folder / "graphs").mkdir(parents=True)
    benchmarks = {"a.track_x": {"type": "track"}, "a.time_y": {"type": "time", "less_is_better": False}}
    (folder / "index.json").write_text(json.dumps({"benchmarks": benchmarks}))
    (folder / "graphs" / "x y.json").write_text("[[1, 2.0]]")
    (folder / "index.html").write_text(
        '<head><script type="module" crossorigin src="./assets/a.js"></script>'
        '<link rel="stylesheet" crossorigin href="./assets/a.css"></head><body></body>'
    )
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / f"{'a' * 40}.html").write_text("report")
    (reports / f"{'c' * 40}.html").write_text("of a commit that is not tracked")
    return folder, reports


def test_the_site_is_complete(published):
    folder, reports = published
    site.build(folder, reports, {"b" * 40: ("2026-01-02", "x < y"), "a" * 40: ("2026-01-01", "first")})
    index = json.loads((folder / "index.json").read_text())
    assert all(benchmark["less_is_better"] is True for benchmark in index["benchmarks"].values())
    page = (folder / "commits.html").read_text()
    assert page.index("b" * 10) < page.index("a" * 10)
    assert "x &lt; y" in page
    assert page.count("reports/") == 1
    assert f'href="reports/{"a" * 40}.html"' in page
    assert [path.name for path in (folder / "reports").iterdir()] == [f"{'a' * 40}.html"]
    stored = (folder / "data.js").read_text()
    for name in ("index.json", "graphs/x y.json", "commits.json"):
        assert json.dumps(name) in stored
    shell = (folder / "index.html").read_text()
    assert "commits.html" in shell
    assert "module" not in shell
    assert "crossorigin" not in shell


def test_another_shell_is_refused(published):
    folder, reports = published
    (folder / "index.html").write_text("<body>something else</body>")
    with pytest.raises(SystemExit, match="not the one"):
        site.build(folder, reports, {})
