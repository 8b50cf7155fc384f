"""The command line: ``fastgrad compare`` and ``fastgrad info``."""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial, reduce
from importlib import import_module
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .compare import EXACT, Comparison, Score, Workload, compare, machine, problems, versions

__all__ = ["main"]

# What reads the JSON can rely on within one number.
SCHEMA = 1
BUDGET, QUICK = 12.0, 1.5
# Wide enough for every table: a pipe has no width, and a cut line would be lost without a word.
PIPE_WIDTH = 1000

EXAMPLES = """\
examples:
  fastgrad compare                                real workloads: which backend is fastest on this machine
  fastgrad compare rosenbrock --n 1000            one problem of the table
  fastgrad compare model:loss --x0 "1, 2, 3"      your own function: module:function
  fastgrad compare ./fit.py:loss --x0 ./fit.py:start --args ./fit.py:data --grad ./fit.py:gradient
  fastgrad info                                   versions, processor, SIMD width, threads
"""


class UsageError(Exception):
    """Something on the command line is wrong; one line says what."""

    code = 2


class RaisedError(UsageError):
    """The user's function raised; its traceback has been shown."""

    code = 1


class Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, without the program's name; by default those of the process.

    Returns
    -------
    int
        0; 1 where the user's function raised; 2 where the command cannot run as given; 130 after Ctrl-C.
    """
    try:
        options = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"fastgrad: error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("fastgrad: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has read enough; the interpreter would complain when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> Parser:
    parser = Parser(
        prog="fastgrad",
        description="Numerical gradients: which backend is fastest, and how accurate is each, on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastgrad {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="{compare,info}", dest="command")

    run = commands.add_parser(
        "compare",
        help="time and score the backends on real workloads, or on your own function",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(run=_compare)
    run.add_argument(
        "target",
        nargs="?",
        help="module:function, ./file.py:function, or a name in the table of problems; without it, the real workloads",
    )
    point = run.add_mutually_exclusive_group()
    point.add_argument("--x0", metavar="X", help='the point: "1, 2, 3", "[[1, 2], [3, 4]]" or module:x0')
    point.add_argument("--x0-file", metavar="FILE", help="the point from a .npy or .csv file")
    point.add_argument("--n", type=int, help="a random point of n entries in [0.5, 1.5); a problem's size")
    run.add_argument("--args", metavar="A", help='what the function gets after x: "(1.5, 2)" or module:args')
    run.add_argument("--grad", metavar="G", help="its exact gradient, module:function")
    run.add_argument("--batch-axis", type=int, choices=(0, -1), help="the function takes many points along this axis")
    run.add_argument("--quick", action="store_true", help=f"short: the same as --budget {QUICK}")
    run.add_argument("--budget", type=float, metavar="SECONDS", help=f"timing per workload, about (default {BUDGET:g})")
    run.add_argument("--json", metavar="FILE", type=Path, help="save everything")

    info = commands.add_parser("info", help="versions, processor, SIMD width, threads")
    info.set_defaults(run=_info)
    return parser


def _joined(argv: Sequence[str]) -> list[str]:
    """Join ``--x0 -1,2`` to ``--x0=-1,2``: argparse takes a value that begins with a minus for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in ("--x0", "--args") and word[:1] == "-" and word[1:2] in tuple("0123456789."):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


# fastgrad info -----------------------------------------------------------------------------------


def _info(options: argparse.Namespace) -> int:
    for name, version in versions().items():
        print(f"{name:<16}{version or 'not installed'}")
    here = machine()
    simd = f"{here['simd']}: {here['simd_bits']} bits, {here['simd_doubles']} doubles" if here["simd"] else "none known"
    lines = {
        "system": here["system"],
        "processor": f"{here['processor']} (LLVM: {here['llvm_cpu']})",
        "SIMD width": simd,
        "threads": f"{here['threads']} for this process, of {here['cores']}",
        "OMP_NUM_THREADS": here["omp_num_threads"] or "not set",
    }
    for name, value in lines.items():
        print(f"{name:<16}{value}")
    return 0


# fastgrad compare --------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    budget = _budget(options)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: there is no directory {options.json.absolute().parent}")
    display = Display()
    makers, unavailable = _workloads(options)
    results: list[Comparison] = []
    for number, (name, make) in enumerate(makers):
        with display.progress(f"{name} ({number + 1} of {len(makers)})") as progress:
            result = _guarded(name, make, budget, progress)
        display.comparison(result)
        results.append(result)
    for name, reason in unavailable:
        display.text(f"{name}: not available. {reason}\n")
    if results:
        display.text(LEGEND, style="dim")
    if options.json is not None:
        _save(options.json, budget, results, unavailable)
    return 0


def _budget(options: argparse.Namespace) -> float:
    if options.budget is None:
        return QUICK if options.quick else BUDGET
    if not (isfinite(options.budget) and options.budget > 0):
        raise UsageError(f"--budget must be a positive number of seconds, got {options.budget}")
    return float(options.budget)


Maker = tuple[str, Callable[[], Workload]]
Progress = Callable[[float], None]


def _workloads(options: argparse.Namespace) -> tuple[list[Maker], list[tuple[str, str]]]:
    """Return what to compare, each as a name and how it is made, and what is not available here."""
    target: str | None = options.target
    if target is not None and ":" in target:
        return [_own_function(options, target)], []
    for option in ("x0", "x0_file", "args", "grad", "batch_axis"):
        if getattr(options, option) is not None:
            flag = option.replace("_", "-")
            raise UsageError(f"--{flag} goes with a function of your own: fastgrad compare module:function --{flag}")
    table = problems()
    if target is None:
        if options.n is not None:
            raise UsageError("--n goes with a function or a problem: fastgrad compare rosenbrock --n 1000")
        chosen = table.workloads()
    else:
        if target not in table.PROBLEMS:
            near = difflib.get_close_matches(target, table.PROBLEMS) or sorted(table.PROBLEMS)
            raise UsageError(f"{target!r} is neither module:function nor in the table of problems: {', '.join(near)}")
        problem = table.PROBLEMS[target]
        size = min(problem.sizes, key=lambda n: abs(n - 100)) if options.n is None else options.n
        if size not in problem.sizes:
            raise UsageError(f"--n of {target} must be one of {', '.join(map(str, problem.sizes))}; got {size}")
        chosen = ((problem, size),)
    makers: list[Maker] = [
        (f"{problem.name}, n = {n}", partial(Workload.of_problem, problem, n))
        for problem, n in chosen
        if not problem.unavailable
    ]
    return makers, [(problem.name, problem.unavailable) for problem, _ in chosen if problem.unavailable]


def _own_function(options: argparse.Namespace, target: str) -> Maker:
    f = _function("the function", target)
    x = _point(options)
    args = _args(options.args)
    gradient = None if options.grad is None else _function("--grad", options.grad)
    return target, partial(Workload.of_function, target, f, x, args, gradient, options.batch_axis)


def _guarded(name: str, make: Callable[[], Workload], budget: float, progress: Progress | None) -> Comparison:
    """Compare, and tell an error of the user's function, which is theirs to see, from one that fastgrad words."""
    try:
        return compare(make(), budget=budget, progress=progress)
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if _is_ours(frames[-1].f_globals) and isinstance(error, (TypeError, ValueError)):
            raise UsageError(f"{name}: {error}") from error
        traceback.print_exception(type(error), error, _theirs(error.__traceback__))
        raise RaisedError(
            f"{name} raised {type(error).__name__}: is this the point, and are these the arguments that it wants? "
            "(--x0, --args)"
        ) from error


def _is_ours(space: dict[str, Any]) -> bool:
    return str(space.get("__name__", "")).partition(".")[0] == __package__


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of fastgrad, and what lies above, as far as there are others below."""
    walk = trace
    while walk is not None and walk.tb_next is not None and _is_ours(walk.tb_frame.f_globals):
        walk = walk.tb_next
    return walk


# What the user names -----------------------------------------------------------------------------


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
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _function(what: str, target: str) -> Callable[..., Any]:
    f = _load(what, target)
    if not callable(f):
        raise UsageError(f"{what}: {target} is not a function but {type(f).__name__}")
    return f  # type: ignore[no-any-return]


def _literal(flag: str, text: str) -> Any:
    """Read numbers, tuples and lists, or load ``module:name``."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if ":" in text:
            return _load(flag, text)
        raise UsageError(f"{flag} must be numbers or module:name, got {text!r}") from None


def _point(options: argparse.Namespace) -> NDArray[np.float64]:
    if options.n is not None:
        if options.n < 1:
            raise UsageError(f"--n must be 1 or more, got {options.n}")
        return np.asarray(np.random.default_rng(0).uniform(0.5, 1.5, options.n))
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


def _args(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return ()
    value = _literal("--args", text)
    return value if isinstance(value, tuple) else (value,)


def _save(path: Path, budget: float, results: list[Comparison], unavailable: list[tuple[str, str]]) -> None:
    report = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        "budget": budget,
        "comparisons": [_plain(asdict(result)) for result in results],
        "unavailable": [{"workload": name, "reason": reason} for name, reason in unavailable],
    }
    try:
        path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {path}: {error.strerror}") from error


def _plain(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


# What is shown -----------------------------------------------------------------------------------

COLUMNS = ("backend/f", "time", "spread", "faster", "error", "nfev", "memory", "1st call", "payback")
LEGEND = """\
time      of one gradient, prepared and warm: the median of interleaved rounds
spread    half the distance between the quartiles of the time, as a share of it
faster    than the first row, the reference: the median of the ratios within each round
error     max |g - g*| / max |g*|; g* is the exact gradient, unless another is named
memory    peak above what was there before, as Python and numpy allocate it
1st call  with everything that had to be compiled for it
payback   gradients after which compiling is paid for, against the reference"""
# Below this many columns the table needs the narrower gap.
ROOMY = 90


class Display:
    """Tables and the progress bar: on a terminal with colours, in a pipe plain and whole."""

    def __init__(self) -> None:
        try:
            self._table, self._progress = import_module("rich.table"), import_module("rich.progress")
            console = import_module("rich.console")
        except ImportError as error:
            raise UsageError("`fastgrad compare` needs rich for its tables: pip install 'fastgrad[cli]'") from error
        self._out = console.Console(highlight=False, markup=False)
        self._err = console.Console(stderr=True, highlight=False)
        if not self._out.is_terminal:
            self._out = console.Console(highlight=False, markup=False, width=PIPE_WIDTH)
        self._micro = "µ" if (self._out.encoding or "").lower().startswith("utf") else "u"

    def progress(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show how far one workload is, on a terminal."""
        if not (self._err.is_terminal and self._out.is_terminal):
            return nullcontext()
        return self._bar(name)

    def _bar(self, name: str) -> AbstractContextManager[Progress]:
        bar = self._progress.Progress(console=self._err, transient=True)
        task = bar.add_task(name, total=1.0)

        class Shown(AbstractContextManager[Progress]):
            def __enter__(self) -> Progress:
                bar.start()
                return lambda share: bar.update(task, completed=share)

            def __exit__(self, *error: object) -> None:
                bar.stop()

        return Shown()

    def text(self, line: str, style: str | None = None) -> None:
        """Print text; a terminal breaks long lines itself."""
        self._out.print(line, style=style, soft_wrap=True)

    def comparison(self, result: Comparison) -> None:
        """Print the table of one workload, what it means, and the recommendation."""
        self.text(result.workload, style="bold")
        if result.source:
            self.text(result.source, style="dim")
        gap = 2 if self._out.width >= ROOMY else 1
        table = self._table.Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for number, name in enumerate(COLUMNS):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for score in result.scores:
            style = "green" if str(score) in result.winners else None
            table.add_row(*self._row(score), style=style)
        self._out.print(table)
        for refusal in result.refusals:
            self.text(f"{refusal.backend}/{refusal.form}: {refusal.reason:.300}", style="dim")
        if result.exact != EXACT:
            self.text(f"g* is {result.exact}", style="dim")
        size = int(np.prod(result.shape))
        if result.coordinates < size:
            self.text(
                f"measured on {result.coordinates} of {size} partial derivatives, times scaled to all; "
                "--budget SECONDS allows more",
                style="dim",
            )
        if result.unsteady:
            self.text("the machine is unsteady: the quartiles are far apart; stop what else is running", "yellow")
        self.text(f"-> {result.recommendation}\n", style="bold")

    def _row(self, score: Score) -> tuple[str, ...]:
        low, high = score.quartiles
        return (
            str(score),
            self._seconds(score.seconds),
            f"{(high - low) / (2 * score.seconds):.0%}",
            f"{score.faster:.3g}x",
            f"{score.error:.1e}",
            f"{score.nfev:,}",
            _bytes(score.memory),
            self._seconds(score.first_call),
            "" if score.payback is None else f"{score.payback:,}",
        )

    def _seconds(self, seconds: float) -> str:
        for unit, size in (("s", 1.0), ("ms", 1e-3), (f"{self._micro}s", 1e-6)):
            if seconds >= size:
                return f"{_digits(seconds / size)} {unit}"
        return f"{_digits(seconds * 1e9)} ns"


def _digits(value: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _bytes(count: int) -> str:
    return f"{_digits(count / 2**20)} MB" if count >= 2**20 else f"{_digits(count / 2**10)} kB"
