"""What the user names on the command line: functions, points, arguments."""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Args, Function
from .workload import Names, load_file


class UsageError(Exception):
    """Something on the command line is wrong; one line says what."""

    code = 2


def _load(what: str, target: str) -> Any:
    """Return the object that ``module:name`` or ``./file.py:name`` stands for."""
    source, _, path = target.rpartition(":")
    if not source or not path:
        raise UsageError(f"{what} must be module:name or ./file.py:name, got {target!r}")
    try:
        module = _file(Path(source)) if source.endswith(".py") else _module(source)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: importing {source} failed with {type(error).__name__}: {error}") from error
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        names = difflib.get_close_matches(path, [n for n in vars(module) if not n.startswith("_")])
        hint = f"; did you mean {' or '.join(names)}?" if names else ""
        raise UsageError(f"{what}: {source} has no {path!r}{hint}") from error


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    return import_module(name)


def _file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None:
        name = f"_fastgrad_user_{name}"  # called like a module that is in use
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `python file.py` does
    return load_file(path, name)


def function(what: str, target: str) -> Function:
    """Return the function that ``module:function`` stands for; `what` names it in messages."""
    f: Function = _load(what, target)
    if not callable(f):
        raise UsageError(f"{what}: {target} is not a function but {type(f).__name__}")
    return f


def _literal(flag: str, text: str) -> Any:
    """Read numbers, tuples and lists, or load ``module:name``."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if ":" in text:
            return _load(flag, text)
        raise UsageError(f"{flag} must be numbers or module:name, got {text!r}") from None


def point(options: argparse.Namespace, size: int | None = None) -> NDArray[np.float64]:
    """Return the point that the options tell, or a random one of a size."""
    if size is not None:
        return np.asarray(np.random.default_rng(0).uniform(0.5, 1.5, size))
    if options.x0_file is not None:
        flag, value = f"--x0-file {options.x0_file}", _read(options.x0_file)
    elif options.x0 is not None:
        flag, value = "--x0", _literal("--x0", options.x0)
    else:
        raise UsageError('where? give --x0 "1, 2, 3", --x0 module:x0, --x0-file FILE or --n N')
    try:
        x: NDArray[np.float64] = np.array(value, dtype=np.float64, order="C", ndmin=1)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{flag} must be an array of real numbers, got {value!r:.80}") from error
    if not x.size or not np.isfinite(x).all():
        raise UsageError(f"{flag} must be finite numbers, at least one; got {value!r:.80}")
    return x


def _read(name: str) -> Any:
    try:
        if name.endswith(".npy"):
            return np.load(name, allow_pickle=False)
        return np.loadtxt(name, delimiter=",")
    except (OSError, ValueError) as error:
        raise UsageError(f"--x0-file {name}: {error}") from error


def arguments(text: str | None) -> Args:
    """Return what ``--args`` stands for, as a tuple."""
    if text is None:
        return ()
    value = _literal("--args", text)
    return value if isinstance(value, tuple) else (value,)


def names(options: argparse.Namespace, target: str, args: Args) -> Names:
    """Return how the user's own code would call what these options tell."""
    imports: dict[str, list[str]] = {}

    def imported(text: str) -> str:
        source, _, path = text.rpartition(":")
        module = Path(source).stem if source.endswith(".py") else source
        if all(word.isidentifier() for word in module.split(".")):
            imports.setdefault(module, []).append(path.partition(".")[0])
        return path

    f, given, where = imported(target), repr(args) if args else "", ""
    if options.args is not None and ":" in options.args:
        given = imported(options.args)
        if not isinstance(_load("--args", options.args), tuple):
            given = f"({given},)"
    if options.x0 is not None and ":" in options.x0:
        path = imported(options.x0)
        where = "" if path == "x" else f"x = {path}; "
    lines = (f"from {module} import {', '.join(dict.fromkeys(found))}; " for module, found in imports.items())
    return Names("".join(lines) + where, f, given)
