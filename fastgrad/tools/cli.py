"""The command line: ``fastgrad compare``, ``fastgrad report`` and ``fastgrad info``."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from .. import __version__
from . import network
from .compare import Comparison, compare
from .display import LEGEND, Display
from .jacobians import JACOBIAN_PEERS, compare_jacobians, is_vector
from .machine import machine, versions
from .naming import UsageError, arguments, function, names, point
from .peers import PEERS, Peer
from .workload import Workload, problems

BUDGET, QUICK = 12.0, 1.5
REPORT_BUDGET, REPORT_QUICK = 240.0, 12.0

EXAMPLES = """\
examples:
  fastgrad compare                                real workloads: which backend is fastest on this machine
  fastgrad compare rosenbrock --n 1000            one problem of the table
  fastgrad compare model:loss --x0 "1, 2, 3"      your own function: module:function
  fastgrad compare ./fit.py:loss --x0 ./fit.py:start --args ./fit.py:data --grad ./fit.py:gradient
  fastgrad report                                 charts of the real workloads, in one HTML file
  fastgrad report ./fit.py:loss --n 10,100,1000   of your own function, at three sizes
  fastgrad info                                   versions, processor, SIMD width, threads
"""

OWN = ("x0", "x0_file", "args", "grad", "batch_axis")


class RaisedError(UsageError):
    """The user's function raised; its traceback has been shown."""

    code = 1


class Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    `argv`: the arguments, without the program's name; by default those of the process.

    Returns int: 0; 1 where the user's function raised; 2 where the command cannot run as given; 130 after Ctrl-C.
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
    commands = parser.add_subparsers(title="commands", required=True, metavar="{compare,report,info}", dest="command")

    run = _measuring(commands, "compare", "time and score the backends on real workloads, or on your own function")
    run.set_defaults(run=_compare)
    run.add_argument("--quick", action="store_true", help=f"short: the same as --budget {QUICK}")
    run.add_argument("--budget", type=float, metavar="SECONDS", help=f"timing per workload, about (default {BUDGET:g})")
    run.add_argument("--json", metavar="FILE", type=Path, help="save everything")
    run.add_argument("--html", metavar="FILE", type=Path, help="save it as a page with charts")

    draw = _measuring(commands, "report", "charts of error, time, evaluations, memory and cold start, in one HTML file")
    draw.set_defaults(run=_report)
    draw.add_argument(
        "--out", metavar="FILE", type=Path, default=Path("fastgrad-report.html"), help="the page (%(default)s)"
    )
    draw.add_argument("--quick", action="store_true", help=f"few workloads, and --budget {REPORT_QUICK:g}")
    draw.add_argument(
        "--budget", type=float, metavar="SECONDS", help=f"timing in all, about (default {REPORT_BUDGET:g})"
    )
    draw.add_argument("--json", metavar="FILE", type=Path, help="save the data")
    draw.add_argument("--from", metavar="FILE", type=Path, dest="saved", help="draw saved data (--json) again")
    draw.add_argument(
        "--regrets", metavar="FILE", type=Path, help="a table of what auto picked, to show: JSON, a list of objects"
    )

    info = commands.add_parser("info", help="versions, processor, SIMD width, threads")
    info.set_defaults(run=_info)
    return parser


def _measuring(commands: Any, name: str, told: str) -> Any:
    """Add a command, with the options that say what is measured, and where."""
    parser = commands.add_parser(name, help=told, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "target",
        nargs="*",
        help="module:function, ./file.py:function, or a name in the table of problems, digits (a network); without it, "
        "the real workloads",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--x0", metavar="X", help='the point: "1, 2, 3", "[[1, 2], [3, 4]]" or module:x0')
    place.add_argument("--x0-file", metavar="FILE", help="the point from a .npy or .csv file")
    place.add_argument(
        "--n",
        type=_sizes,
        metavar="N[,N...]",
        help="a random point of N entries in [0.5, 1.5); a problem's size; several, for speed against N",
    )
    parser.add_argument("--args", metavar="A", help='what the function gets after x: "(1.5, 2)" or module:args')
    parser.add_argument(
        "--grad",
        metavar="G",
        help="its exact gradient, module:function; without it, the adaptive gradient",
    )
    parser.add_argument("--batch-axis", type=int, choices=(0, -1), help="it takes many points along this axis")
    parser.add_argument("--no-peers", action="store_true", help="leave out other packages (SciPy, numdifftools, ...)")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be whole numbers, as 10,100,1000; got {text!r}") from None


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


# What is measured --------------------------------------------------------------------------------

Maker = tuple[str, Callable[[], Workload]]
Missing = list[tuple[str, str]]
T = TypeVar("T")


def _budget(options: argparse.Namespace, usual: float, quick: float) -> float:
    if options.budget is None:
        return quick if options.quick else usual
    if not (isfinite(options.budget) and options.budget > 0):
        raise UsageError(f"--budget must be a positive number of seconds, got {options.budget}")
    return float(options.budget)


def _writable(flag: str, path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"{flag} {path}: there is no directory {path.absolute().parent}")


def _peers(options: argparse.Namespace) -> tuple[Peer, ...]:
    return () if options.no_peers else PEERS


def _workloads(
    options: argparse.Namespace, usual: Callable[[], Iterable[tuple[Any, int]]]
) -> tuple[list[Maker], Missing]:
    """Return what to measure, each as a name and how it is made, and what is not available here."""
    own = [target for target in options.target if ":" in target]
    named = [target for target in options.target if ":" not in target]
    if not own:
        for option in OWN:
            if getattr(options, option) is not None:
                flag = option.replace("_", "-")
                raise UsageError(
                    f"--{flag} goes with a function of your own: fastgrad compare module:function --{flag}"
                )
    if not options.target and options.n is not None:
        raise UsageError("--n goes with a function or a problem: fastgrad compare rosenbrock --n 1000")
    makers: list[Maker] = [maker for target in own for maker in _own_function(options, target)]
    missing: Missing = []
    if network.NAME in named:
        named = [name for name in named if name != network.NAME]
        missing += [(network.NAME, network.unavailable())] if network.unavailable() else []
        makers += [] if missing else _network(options.n)
    chosen = [cell for name in named for cell in _problem(name, options.n)]
    if not options.target:
        chosen = list(usual())
    makers += [
        (f"{problem.name}, n = {n}", partial(Workload.of_problem, problem, n))
        for problem, n in chosen
        if not problem.unavailable
    ]
    missing += [(problem.name, problem.unavailable) for problem, _ in chosen if problem.unavailable]
    return makers, missing


def _network(sizes: tuple[int, ...] | None) -> list[Maker]:
    """The arrays of the network on digits, by their sizes."""
    for size in sizes or ():
        if size not in network.ARRAYS:
            told = ", ".join(f"{n} ({name})" for n, name in network.ARRAYS.items())
            raise UsageError(f"--n of {network.NAME} must be one of {told}; got {size}")
    wanted = sizes or (max(network.ARRAYS),)
    return [(f"{network.NAME}, n = {size}", partial(network.workload, size)) for size in wanted]


def _problem(name: str, sizes: tuple[int, ...] | None) -> list[tuple[Any, int]]:
    table = problems().PROBLEMS
    if name not in table:
        near = difflib.get_close_matches(name, table) or sorted(table)
        raise UsageError(
            f"{name!r} is neither module:function nor in the table of problems: {', '.join([*near, network.NAME])}"
        )
    problem = table[name]
    wanted = (problem.size_near(100),) if sizes is None else sizes
    for size in wanted:
        if size not in problem.sizes:
            raise UsageError(f"--n of {name} must be one of {', '.join(map(str, problem.sizes))}; got {size}")
    return [(problem, size) for size in wanted]


def _own_function(options: argparse.Namespace, target: str) -> list[Maker]:
    f = function("the function", target)
    args = arguments(options.args)
    gradient = None if options.grad is None else function("--grad", options.grad)
    called = names(options, target, args)
    several = options.n is not None and len(options.n) > 1

    def make(size: int | None, name: str) -> Workload:
        x = point(options, size)
        work = Workload.of_function(name, f, x, args, gradient, options.batch_axis, called)
        return replace(work, problem=target)

    if options.n is not None and min(options.n) < 1:
        raise UsageError(f"--n must be 1 or more, got {min(options.n)}")
    makers: list[Maker] = []
    for size in options.n or (None,):
        point(options, size)  # what is wrong with it is said before anything is measured
        name = f"{target}, n = {size}" if several else target
        makers.append((name, partial(make, size, name)))
    return makers


def _guarded(name: str, measure: Callable[[], T]) -> T:
    """Measure, and tell an error of the user's function, which is theirs to see, from one that fastgrad words."""
    try:
        return measure()
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
    return str(space.get("__name__", "")).partition(".")[0] == __package__.partition(".")[0]


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of fastgrad, and what lies above, as far as there are others below."""
    walk = trace
    while walk is not None and walk.tb_next is not None and _is_ours(walk.tb_frame.f_globals):
        walk = walk.tb_next
    return walk


def _display() -> Display:
    try:
        return Display()
    except ImportError as error:
        raise UsageError(str(error)) from error


def _each(display: Display, makers: list[Maker], measure: Callable[..., T]) -> Iterator[tuple[str, T]]:
    """Measure what each makes, and show how far that is; returns the names, too."""
    for number, (name, make) in enumerate(makers):
        with display.progress(f"{name} ({number + 1} of {len(makers)})") as progress:
            found = _guarded(name, partial(measure, make, progress=progress))
        yield name, found


# fastgrad compare --------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    budget = _budget(options, BUDGET, QUICK)
    _writable("--json", options.json)
    _writable("--html", options.html)
    if options.html is not None:
        _drawable()
    display = _display()
    makers, unavailable = _workloads(options, lambda: problems().workloads())
    results: list[Comparison] = []
    for _, result in _each(display, makers, partial(_compared, budget=budget, peers=_peers(options))):
        display.comparison(result)
        results.append(result)
    for name, reason in unavailable:
        display.text(f"{name}: not available. {reason}\n")
    if results:
        display.text(LEGEND, style="dim")
    if options.json is not None or options.html is not None:
        data = _lazy("measure").document(results, budget, unavailable)
        _save(options.json, data)
        if options.html is not None:
            _write("--html", options.html, _lazy("page").render(data, " ".join(["fastgrad compare", *options.target])))
    return 0


def _compared(
    make: Callable[[], Workload], budget: float, peers: tuple[Peer, ...], progress: Callable[[float], None] | None
) -> Comparison:
    """Compare gradients; Jacobians, if the function returns many values."""
    workload = make()
    if not is_vector(workload):
        return compare(workload, budget=budget, peers=peers, progress=progress)
    others = JACOBIAN_PEERS if peers else ()
    return compare_jacobians(workload, budget=budget, peers=others, progress=progress)


def _save(path: Path | None, data: dict[str, Any]) -> None:
    if path is not None:
        _write("--json", path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def _write(flag: str, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from error


def _lazy(name: str) -> Any:
    """Load a module of the report, which --help does not wait for."""
    return import_module(f".report.{name}", __package__)


# fastgrad report ---------------------------------------------------------------------------------


def _report(options: argparse.Namespace) -> int:
    budget = _budget(options, REPORT_BUDGET, REPORT_QUICK)
    _writable("--out", options.out)
    _writable("--json", options.json)
    _drawable()
    regrets = None if options.regrets is None else _rows(options.regrets)
    data = _measured(options, budget) if options.saved is None else _saved(options)
    if regrets is not None:
        data["regrets"] = regrets
    _save(options.json, data)
    page: str = _lazy("page").render(data, " ".join(["fastgrad report", *options.target]))
    _write("--out", options.out, page)
    print(f"{options.out}: {len(page.encode()) / 1e6:.1f} MB, complete in itself; open it in a browser")
    return 0


def _drawable() -> None:
    for package in ("plotly", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"the charts need {package}: pip install 'fastgrad[report]'")


def _measured(options: argparse.Namespace, budget: float) -> dict[str, Any]:
    display, report = _display(), _lazy("measure")
    suite = report.QUICK_SUITE if options.quick else report.SUITE
    makers, unavailable = _workloads(options, lambda: [(problems().PROBLEMS[name], n) for name, n in suite])
    study = partial(report.study, budget=budget / max(1, len(makers)), peers=_peers(options))
    found: list[tuple[Comparison, list[dict[str, Any]], dict[str, Any]]] = []
    for name, made in _each(display, makers, study):
        found.append(made)
        display.text(f"{name}: {made[0].recommendation}")
        display.text(f"   {made[0].code}")
    for name, reason in unavailable:
        display.text(f"{name}: not available. {reason}")
    everything: dict[str, Any] = report.document(
        [comparison for comparison, _, _ in found],
        budget,
        unavailable,
        curves=[curve for _, curves, _ in found for curve in curves],
        steps=[steps for _, _, steps in found],
    )
    return everything


def _read(flag: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag} {path}: {error}") from error


def _saved(options: argparse.Namespace) -> dict[str, Any]:
    if options.target:
        raise UsageError(f"--from {options.saved} draws what was measured: leave out {' '.join(options.target)}")
    data = _read("--from", options.saved)
    schema = _lazy("measure").SCHEMA
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise UsageError(f"--from {options.saved}: not the data of this version's --json (schema {schema})")
    return data


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = _read("--regrets", path)
    if isinstance(rows, dict):
        rows = rows.get("regrets")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f'--regrets {path}: must be a list of objects, or {{"regrets": that list}}')
    return rows
