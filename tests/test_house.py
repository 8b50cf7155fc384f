"""Imports point one way, stand at the top of a module, and `import fastgrad` stays light."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

import fastgrad
from fastgrad.core.options import Options, OptionsDict

ROOT = Path(fastgrad.__file__).parent
# a room imports from its own line or from lines below
ROOMS = """
__main__
tools adapters
checking descent derivative
hessian products
jacobian
gradient
planning
backends
executors
schemes stencils steps
sparsity
inspecting
lifting
core
"""
FLOOR = {room: -level for level, line in enumerate(ROOMS.split("\n")) for room in line.split()}
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
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            parts = [p for p in base if p]
            found |= {".".join([*parts, alias.name]) for alias in node.names} | {".".join(parts)}
    return {f for f in found if f in INSIDE and f not in (name, "")}


@pytest.mark.parametrize("name", INSIDE)
def test_imports_go_down(name: str) -> None:
    room = name.partition(".")[0]
    assert room in FLOOR, f"`{room}` is no room of the house"
    for other in imported(name, INSIDE[name]):
        assert FLOOR[other.partition(".")[0]] <= FLOOR[room], f"{name} must not import {other}"


def test_no_circles() -> None:
    # a room's __init__ may gather what its files have
    graph = {name: imported(name, path) for name, path in INSIDE.items()}
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"a circle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


@pytest.mark.parametrize("name", MODULES)
def test_no_imports_inside_functions(name: str) -> None:
    """`import_module` loads lazily, from one table a room; nothing else is lazy."""
    for function in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = [n.lineno for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not inner, f"{name}, line {inner[0]}"


def loaded_by(code: str) -> set[str]:
    """What a fresh process has loaded after this code."""
    code = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_loads_neither_numba_nor_scipy() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by("import fastgrad")}
    assert "numpy" in loaded
    assert not {"numba", "llvmlite", "scipy", "sklearn", "rich", "concurrent", "multiprocessing", "sqlite3"} & loaded


def test_import_does_not_load_what_looks_at_f() -> None:
    loaded = loaded_by("import fastgrad")
    assert "fastgrad.gradient" in loaded
    assert not {name for name in loaded if name.startswith(("fastgrad.lifting.", "fastgrad.tools"))}
    assert not {"fastgrad.schemes.automatic", "fastgrad.schemes.adaptive"} & loaded


def test_verbs_but_the_gradient_are_loaded_when_they_are_asked_for() -> None:
    later = {f"fastgrad.{name}" for name in ("checking", "derivative", "descent", "hessian", "jacobian", "products")}
    assert not {*later, "fastgrad.planning.operators", "fastgrad.sparsity"} & loaded_by("import fastgrad")
    assert later <= loaded_by("from fastgrad import *")
    assert set(fastgrad.__all__) <= set(dir(fastgrad))
    with pytest.raises(AttributeError, match="module 'fastgrad' has no attribute 'numerical_gradeint'"):
        fastgrad.numerical_gradeint  # noqa: B018


def test_a_gradient_of_a_plain_function_does_not_load_numba() -> None:
    assert "numba" not in loaded_by("import fastgrad; fastgrad.numerical_gradient(lambda x: x @ x, [1.0, 2.0])")


def test_all_is_what_is_there() -> None:
    for name in fastgrad.__all__:
        assert hasattr(fastgrad, name)
    public = {n for n, v in vars(fastgrad).items() if not n.startswith("_") and not hasattr(v, "__path__")}
    modules = {n for n in public if f"fastgrad.{n}" in sys.modules}
    assert public - modules == set(fastgrad.__all__)
    assert fastgrad.__all__ == sorted(fastgrad.__all__)


@pytest.mark.parametrize("name", [n for n in INSIDE if n not in ("__main__", "tools._problems")])
def test_all_of_each_module_exists(name: str) -> None:
    module = importlib.import_module(f"fastgrad.{name}")
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", ["stencils", "steps"])
def test_a_module_that_is_public_needs_no_import_of_its_own(name: str) -> None:
    asked = f"import fastgrad; print(fastgrad.{name}.__name__)"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True).strip() == f"fastgrad.{name}"


@pytest.mark.parametrize("name", fastgrad.__all__)
def test_what_is_public_is_documented(name: str) -> None:
    assert getattr(fastgrad, name).__doc__


def test_the_options_are_said_once() -> None:
    """The dataclass, its TypedDict twin and the docstring of Gradient have the same options, in the same order."""
    names = [field.name for field in fields(Options)]
    assert names[0] == "h"
    assert list(OptionsDict.__annotations__) == names[1:]
    hints = get_type_hints(Options)
    assert {name: hints[name] for name in names[1:]} == get_type_hints(OptionsDict)
    documented = inspect.getdoc(fastgrad.Gradient).partition("Parameters\n")[2].partition("\nRaises")[0]
    heads = [line.partition(" :")[0] for line in documented.split("\n") if " : " in line and line[0] != " "]
    said = [name for head in heads for name in head.split(", ")]
    assert [name for name in said if name not in ("f", "learned")] == names
