"""Imports point one way, stand at the top of a module, and `import fastgrad` stays light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastgrad

ROOT = Path(fastgrad.__file__).parent
# each module imports from layers above its own only, or from its own, in circles never
LAYERS = """
errors
_validate stencils point result
steps noise
backends.borrowed backends.captures backends.cfunctions backends.threads evaluation diagnosis
backends.purity
lifting lifting.signals
lifting.sparse.layout lifting.sparse.rules
lifting.sparse.slots
lifting.sparse.bundle
lifting.sparse.functions
lifting.sparse.sweeping lifting.sparse
lifting.dense.bundle
lifting.dense.functions
lifting.dense.rebinding
lifting.dense.sweep lifting.dense
lifting.lanes.types lifting.lanes.capability
lifting.lanes.mathematics
lifting.lanes.operators lifting.lanes.frozen
lifting.lanes.arrays lifting.lanes.kernel
lifting.lanes.compiler
lifting.lanes
backends.table backends.kernels
backends.ways
backends.reference backends.batched backends.lane_store
backends.lifted backends.jit backends
automatic few adaptive differencing trust dispatch
fixed
schemes
plan
gradient
derivative checking
descent
_problems workload machine timing peers
compare
report report.figures report.measure report.page
display naming
cli
__main__
"""
ORDER = {name: level for level, line in enumerate(LAYERS.split("\n")) for name in line.split()}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
INSIDE = {name: path for name, path in MODULES.items() if name != "__init__"}


def imported(name: str, path: Path) -> set[str]:
    """The modules of fastgrad that one of them imports."""
    found = set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            parts = [p for p in base if p]
            found |= {".".join([*parts, alias.name]) for alias in node.names} | {".".join(parts)}
    return {f for f in found if f in INSIDE and f not in (name, "")}


@pytest.mark.parametrize("name", INSIDE)
def test_imports_point_one_way(name: str) -> None:
    assert name in ORDER, f"`{name}` has no place in LAYERS"
    for other in imported(name, INSIDE[name]):
        assert ORDER[other] <= ORDER[name], f"{name} must not import {other}"


def test_no_circles() -> None:
    graph = {name: imported(name, path) for name, path in INSIDE.items()}
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


@pytest.mark.parametrize("name", MODULES)
def test_no_imports_inside_functions(name: str) -> None:
    """`import_module` loads a backend lazily, from its table, and a scheme that looks at f; nothing else is lazy."""
    for function in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = [n.lineno for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not inner, f"{name}, line {inner[0]}"


def test_import_loads_neither_numba_nor_scipy() -> None:
    code = "import sys, fastgrad; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"numba", "llvmlite", "scipy", "sklearn", "rich", "concurrent"} & set(loaded)


def test_import_does_not_load_what_looks_at_f() -> None:
    code = "import sys, fastgrad; print(*sorted(m for m in sys.modules if m.startswith('fastgrad.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fastgrad.gradient" in loaded
    assert not {"fastgrad.schemes.searching", "fastgrad.schemes.automatic", "fastgrad.schemes.noise"} & set(loaded)


def test_a_gradient_of_a_plain_function_does_not_load_numba() -> None:
    code = (
        "import sys, fastgrad; fastgrad.numerical_gradient(lambda x: x @ x, [1.0, 2.0]); print('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_all_is_what_is_there() -> None:
    for name in fastgrad.__all__:
        assert hasattr(fastgrad, name)
    public = {n for n, v in vars(fastgrad).items() if not n.startswith("_") and not hasattr(v, "__path__")}
    modules = {n for n in public if f"fastgrad.{n}" in sys.modules}
    assert public - modules == set(fastgrad.__all__)
    assert fastgrad.__all__ == sorted(fastgrad.__all__)


@pytest.mark.parametrize("name", [n for n in INSIDE if n not in ("__main__", "_problems")])
def test_all_of_each_module_exists(name: str) -> None:
    module = importlib.import_module(f"fastgrad.{name}")
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", fastgrad.__all__)
def test_what_is_public_is_documented(name: str) -> None:
    assert getattr(fastgrad, name).__doc__
