"""A function in its several forms, the point, and the exact gradient: what `fastgrad.tools.compare` compares on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from ..core.validation import Args, Array, Function
from ..inspecting.kinds import is_jitted
from .peers import Peer


class Form(NamedTuple):
    """One way in which the function is written.

    `jit`: numba's options where it is to be compiled, anew for each candidate, or first calls would find it compiled.
    `copied`: whether fastgrad compiles it, which finds a function that it has compiled before.
    """

    f: Function
    batch_axis: int | None = None
    jit: Mapping[str, Any] | None = None
    copied: bool = False

    def fresh(self) -> Function:
        """Return the function, not compiled yet."""
        if self.copied:
            f = self.f
            copy = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
            copy.__kwdefaults__ = f.__kwdefaults__
            return copy
        return self.f if self.jit is None else import_module("numba").njit(**self.jit)(self.f)


class FormKind(NamedTuple):
    """What a form of f asks of its author, whether numba compiles it, and whether there are several ways to run it."""

    asks: str
    compiles: bool = False
    several: bool = False


FORMS = {
    "plain": FormKind("f as it is"),
    "lifted": FormKind("f as it is, lifted to many points for you", several=True),
    "batched": FormKind("f written for many points at once"),
    "jitted": FormKind("f as loops under @numba.njit", compiles=True),
    "compiled": FormKind("f as it is, compiled for you", compiles=True),
    "default": FormKind("f as it is, all choices left to fastgrad", several=True),
}


class Names(NamedTuple):
    """How the user's code calls what is compared: the lines to paste are made of it."""

    imports: str = ""  # statements that make the names known, each ended by "; "
    # expressions; `args` is empty where f gets nothing after x
    f: str = "f"
    args: str = ""
    x: str = "x"

    def line(self, kind: str, prepared: str, result: str, options: Mapping[str, Any]) -> str:
        """Return a line to paste: a prepared derivative, and its call."""
        words = [self.f, *([f"args={self.args}"] if self.args else [])]
        words += [f"{name}={value!r}" for name, value in options.items()]
        call = ", ".join(words).replace("'", '"')
        return (
            f"{self.imports}from fastgrad import {kind}; {prepared} = {kind}({call}); {result} = {prepared}({self.x})"
        )

    def function(self) -> str:
        """Return an expression for f of x alone."""
        return f"lambda x: {self.f}(x, *{self.args})" if self.args else self.f


NAMES = Names()


@dataclass(frozen=True)
class Workload:
    """A function in its several forms, and the point at which its gradient is wanted."""

    name: str  # what it is called in reports
    x: Array  # the point
    forms: Mapping[str, Form]  # the keys are those of `FORMS`; all compute the same
    args: Args = ()  # what f gets after x
    gradient: Function | None = None  # ``gradient(x, *args)``, exact
    source: str = ""  # where the function comes from
    problem: str = ""  # what is the same at every size; the name, if it is not given
    names: Names = NAMES  # how the user's code calls f, args and x
    # what other packages are given for f, where that reads the very array x instead of its argument
    of_argument: Function | None = None
    rivals: tuple[Peer, ...] = ()  # whom this workload is measured beside, whatever other packages are

    @staticmethod
    def of_problem(problem: Any, n: int) -> Workload:
        """Return an entry of the problem table at a size; its jitted form is not compiled yet."""
        x, args = problem.make(n)
        forms = {
            "plain": Form(problem.f),
            "lifted": Form(problem.f),
            "default": Form(problem.f),
            "jitted": Form(problem.loop, jit={}),
        }
        if problem.batched is not None:
            forms["batched"] = Form(problem.batched, 0)
        return Workload(
            f"{problem.name}, n = {x.size}",
            x,
            forms,
            args,
            problem.gradient,
            problem.source,
            problem.name,
            Names(args="args" if args else ""),
        )

    @staticmethod
    def of_function(
        name: str,
        f: Function,
        x: Array,
        args: Args = (),
        gradient: Function | None = None,
        batch_axis: int | None = None,
        names: Names | None = None,
    ) -> Workload:
        """Return a user's own function, in the forms that can be had from it without rewriting it."""
        if is_jitted(f):
            form = _jitted_form(f)
            forms = {"jitted": form, "default": form}
        elif batch_axis is not None:
            form = Form(f, batch_axis)
            forms = {"plain": form, "batched": form, "default": form}
        else:
            form = Form(f)
            forms = {"plain": form, "lifted": form, "default": form}
            if isinstance(f, FunctionType):
                forms["compiled"] = Form(f, copied=True)
        return Workload(name, x, forms, args, gradient, names=names or Names(args="args" if args else ""))


def _jitted_form(f: Any) -> Form:
    """Take a user's dispatcher apart, unless it has fixed signatures, which a new one would not have."""
    if not getattr(f, "_can_compile", False):
        return Form(f)
    return Form(f.py_func, jit={k: v for k, v in f.targetoptions.items() if k != "nopython"})


def load_file(path: Path, name: str) -> ModuleType:
    """Load a file of Python as a module of this name, so that its functions pickle.

    ModuleNotFoundError if there is no such file.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"there is no file {path}", name=name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@cache
def problems() -> ModuleType:
    """Load the table of problems: a module of the installed package, a file of the checkout."""
    name = f"{__package__}._problems"
    if importlib.util.find_spec(name) is not None:
        return import_module(name)
    return load_file(Path(__file__).resolve().parents[2] / "benchmarks" / "problems.py", name)
