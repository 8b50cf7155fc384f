"""Time and score the backends on one workload; the command line, the benchmarks and the tests all call it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from timeit import Timer
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._validate import Floats, Ints
from .backends.table import backend
from .dispatch import is_jitted
from .gradient import Gradient, numerical_gradient

__all__ = ["CANDIDATES", "FORMS", "Candidate", "Comparison", "Form", "Refusal", "Score", "Workload", "compare"]

# Quartiles need a few rounds; more rounds of shorter loops follow the machine's drift better than few long ones.
MOST_ROUNDS, FEWEST_ROUNDS = 15, 3
# Of the budget at most this share goes into one gradient of the reference; beyond it, a sample of the coordinates.
LONGEST = 1 / 16
# Quartiles further apart than this share of the median: the machine was busy with something else.
UNSTEADY = 0.25

EXACT = "the exact gradient"

Progress = Callable[[float], None]


class Form(NamedTuple):
    """One way in which the function is written.

    `jit`: numba's options where it is to be compiled, anew for each candidate, or first calls would find it compiled.
    """

    f: Callable[..., Any]
    batch_axis: int | None = None
    jit: Mapping[str, Any] | None = None

    def fresh(self) -> Callable[..., Any]:
        """Return the function, not compiled yet."""
        return self.f if self.jit is None else import_module("numba").njit(**self.jit)(self.f)


class FormKind(NamedTuple):
    """What a form of f asks of its author, and whether numba compiles it."""

    advice: str
    compiles: bool = False


FORMS = {
    "plain": FormKind('f as it is: numerical_gradient(f, x, backend="{backend}")'),
    "batched": FormKind("f written for many points at once: numerical_gradient(f, x, batch_axis={batch_axis})"),
    "jitted": FormKind("f as loops under @numba.njit: numerical_gradient(f, x)", compiles=True),
    "compiled": FormKind('f as it is, compiled for you: numerical_gradient(f, x, backend="numba")', compiles=True),
}


@dataclass(frozen=True)
class Candidate:
    """A backend on one form of f; it takes part where the workload has this form."""

    backend: str
    form: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.form}"


# One line a candidate. The first that applies is the reference of the times; of equals, the earlier is the simpler.
CANDIDATES = (
    Candidate("python", "plain"),
    Candidate("python", "jitted"),
    Candidate("numpy", "batched"),
    Candidate("numba", "jitted"),
    Candidate("numba", "compiled"),
)


@dataclass(frozen=True)
class Workload:
    """A function in its several forms, and the point at which its gradient is wanted.

    Attributes
    ----------
    name : str
        What it is called in reports.
    x : ndarray
        The point.
    forms : mapping of str to Form
        The keys are those of `FORMS`; all compute the same.
    args : tuple
        What f gets after x.
    gradient : callable, optional
        ``gradient(x, *args)``, exact.
    source : str
        Where the function comes from.
    """

    name: str
    x: NDArray[Any]
    forms: Mapping[str, Form]
    args: tuple[Any, ...] = ()
    gradient: Callable[..., Any] | None = None
    source: str = ""

    @staticmethod
    def of_problem(problem: Any, n: int) -> Workload:
        """Return an entry of the problem table at a size; its jitted form is not compiled yet."""
        x, args = problem.make(n)
        forms = {"plain": Form(problem.f), "jitted": Form(problem.loop, jit={})}
        if problem.batched is not None:
            forms["batched"] = Form(problem.batched, 0)
        return Workload(f"{problem.name}, n = {x.size}", x, forms, args, problem.gradient, problem.source)

    @staticmethod
    def of_function(
        name: str,
        f: Callable[..., Any],
        x: NDArray[Any],
        args: tuple[Any, ...] = (),
        gradient: Callable[..., Any] | None = None,
        batch_axis: int | None = None,
    ) -> Workload:
        """Return a user's own function, in the forms that can be had from it without rewriting it."""
        if is_jitted(f):
            forms = {"jitted": _jitted_form(f)}
        elif batch_axis is not None:
            forms = {"plain": Form(f, batch_axis), "batched": Form(f, batch_axis)}
        else:
            forms = {"plain": Form(f)}
            if isinstance(f, FunctionType):
                forms["compiled"] = Form(f)
        return Workload(name, x, forms, args, gradient)


def _jitted_form(f: Any) -> Form:
    """Take a user's dispatcher apart, unless it has fixed signatures, which a new one would not have."""
    if not f._can_compile:
        return Form(f)
    return Form(f.py_func, jit={k: v for k, v in f.targetoptions.items() if k != "nopython"})


@dataclass(frozen=True)
class Score:
    """How one candidate did on one workload.

    Attributes
    ----------
    backend, form : str
        The candidate.
    seconds : float
        One gradient, prepared and warm: the median over the rounds.
    quartiles : (float, float)
        Of the same.
    faster : float
        Times faster than the reference: the median of the ratios within each round.
    error : float
        max |g - g*| / max |g*|, with g* the gradient that the comparison names.
    nfev : int
        Evaluations of f for the coordinates that were measured.
    memory : int
        Peak bytes above those before the call, as `tracemalloc` sees them in a separate call: Python's and numpy's;
        what a compiled f allocates itself is not seen.
    first_call : float
        Seconds of the first call, with everything that had to be compiled for it. The kernels, which know f only by its
        address, are compiled once for each kind of arguments and kept on disk: later processes do not pay for them.
    payback : int or None
        Gradients after which the first call's extra time is saved, against the reference; None: nothing is
        compiled, or it never is.
    rounds, loops : int
        Rounds, and gradients in each.
    """

    backend: str
    form: str
    seconds: float
    quartiles: tuple[float, float]
    faster: float
    error: float
    nfev: int
    memory: int
    first_call: float
    payback: int | None
    rounds: int
    loops: int

    def __str__(self) -> str:
        return f"{self.backend}/{self.form}"

    def overlaps(self, other: Score) -> bool:
        """Whether the ranges between the quartiles have a point in common."""
        return self.quartiles[0] <= other.quartiles[1] and other.quartiles[0] <= self.quartiles[1]


@dataclass(frozen=True)
class Refusal:
    """Why a candidate could not take part."""

    backend: str
    form: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """The candidates on one workload.

    Attributes
    ----------
    workload, source : str
        Its name and where it comes from.
    shape : tuple of int
        The shape of x.
    coordinates : int
        Partial derivatives that were measured. Fewer than x has where one whole gradient of the reference would
        have taken too much of the budget; times are scaled to the whole.
    exact : str
        What the error is measured against.
    scores : tuple of Score
        The reference first.
    refusals : tuple of Refusal
        Candidates that could not take part.
    winners : tuple of str
        The fastest; several where their quartiles overlap.
    recommendation : str
        In one line.
    unsteady : bool
        Whether the machine was too busy for the times to be trusted.
    """

    workload: str
    source: str
    shape: tuple[int, ...]
    coordinates: int
    exact: str
    scores: tuple[Score, ...]
    refusals: tuple[Refusal, ...]
    winners: tuple[str, ...]
    recommendation: str
    unsteady: bool


@dataclass
class _Run:
    """A candidate while it is being measured."""

    candidate: Candidate
    call: Callable[[], Any]
    gradient: Floats
    first_call: float
    nfev: int
    memory: int
    loops: int = 1
    samples: list[float] = field(default_factory=list)

    def calibrate(self, slot: float) -> None:
        """Choose how many gradients make a loop of about `slot` seconds."""
        once = Timer(self.call).timeit(1)
        while once < slot / 8:  # the first ones are slower than the rest
            self.loops *= 8
            once = Timer(self.call).timeit(self.loops)
        self.loops = max(1, round(self.loops * slot / once))

    def time(self) -> None:
        self.samples.append(Timer(self.call).timeit(self.loops) / self.loops)


def compare(
    workload: Workload,
    *,
    budget: float = 10.0,
    candidates: Sequence[Candidate] = CANDIDATES,
    progress: Progress | None = None,
) -> Comparison:
    """Time and score the candidates that apply to a workload.

    Parameters
    ----------
    workload : Workload
        The function and the point. Compile times are cold only if its jitted form was not called before.
    budget : float
        Seconds of timing, about; compiling comes on top.
    candidates : sequence of Candidate
        What to compare; the first that applies is the reference.
    progress : callable, optional
        Called with the share that is done, from 0 to 1.

    Returns
    -------
    Comparison
        Plain data.

    Raises
    ------
    ValueError
        If no candidate applies, or the exact gradient is not of x's shape.

    Notes
    -----
    Loops of calibrated length in interleaved rounds, so that a change of the machine's speed meets all candidates
    alike. An exception in the reference comes through; a candidate that raises is reported as a refusal.

    Examples
    --------
    >>> import numpy as np
    >>> squares = Workload("squares", np.ones(3), {"plain": Form(lambda x: x @ x)}, gradient=lambda x: 2 * x)
    >>> result = compare(squares, budget=0.01)
    >>> [str(score) for score in result.scores], result.scores[0].nfev
    (['python/plain'], 6)
    """
    applicable = [c for c in candidates if c.form in workload.forms]
    if not applicable:
        raise ValueError(f"`workload` has the forms {list(workload.forms)}, which no candidate takes")
    report = progress or (lambda share: None)
    indices = _sample(workload, workload.forms[applicable[0].form], budget)
    exact, described = _exact(workload, workload.forms[applicable[0].form], indices)

    runs: list[_Run] = []
    refusals: list[Refusal] = []
    for number, candidate in enumerate(applicable):
        try:
            runs.append(_open(candidate, workload, indices))
        except Exception as error:  # whatever it is, it is this candidate's; the reference's is f's own
            if not runs:
                raise
            refusals.append(Refusal(candidate.backend, candidate.form, " ".join(str(error).split())))
        report(0.3 * (number + 1) / len(applicable))
    _rounds(runs, budget, report)

    scale = 1.0 if indices is None else workload.x.size / indices.size
    scores = tuple(_score(run, runs[0], exact, scale) for run in runs)
    winners = _winners(scores)
    return Comparison(
        workload=workload.name,
        source=workload.source,
        shape=workload.x.shape,
        coordinates=exact.size,
        exact=described,
        scores=scores,
        refusals=tuple(refusals),
        winners=tuple(map(str, winners)),
        recommendation=_recommendation(winners, scores, workload),
        unsteady=float(np.median([(s.quartiles[1] - s.quartiles[0]) / s.seconds for s in scores])) > UNSTEADY,
    )


def _sample(workload: Workload, form: Form, budget: float) -> Ints | None:
    """Choose the coordinates to measure: all (None), or as many as the budget has time for."""
    x, size = workload.x, workload.x.size
    f, point = form.fresh(), x if form.batch_axis is None else np.expand_dims(x, form.batch_axis)
    times = []
    for _ in range(3):  # the first may compile f
        began = perf_counter()
        f(point.copy(), *workload.args)
        times.append(perf_counter() - began)
    once = max(min(times), 1e-9)
    affordable = max(1, int(LONGEST * budget / (2 * once)))
    if affordable >= size:
        return None
    return np.sort(np.random.default_rng(0).choice(size, affordable, replace=False)).astype(np.intp)


def _exact(workload: Workload, form: Form, indices: Ints | None) -> tuple[Floats, str]:
    """Return the gradient that errors are measured against, flat, and what it is."""
    x, args = workload.x, workload.args
    if workload.gradient is not None:
        gradient = np.asarray(workload.gradient(x.copy(), *args), dtype=np.float64)
        if gradient.shape != x.shape:
            raise ValueError(f"`gradient` must return x's shape {x.shape}, got shape {gradient.shape}")
        return gradient.ravel() if indices is None else gradient.ravel()[indices], EXACT
    options: dict[str, Any] = {"args": args, "backend": "python", "indices": indices, "batch_axis": form.batch_axis}
    f = form.fresh()
    central = numerical_gradient(f, x, order=6, **options).ravel()
    label = "the central difference of order 6, the best available: no exact gradient was given"
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy's, of discarded imaginary parts
            step = numerical_gradient(f, x, method="complex", **options).ravel()
    except Exception:  # noqa: BLE001  f is not written for complex numbers, and may raise anything
        return central, label
    if not _error(central, step) < 1e-6:  # f is not analytic, or reads complex numbers otherwise
        return central, label
    return step, "the complex step, which agrees with the central difference of order 6: no exact gradient was given"


def _open(candidate: Candidate, workload: Workload, indices: Ints | None) -> _Run:
    """Make the first call, and everything that is not timed in rounds."""
    form = workload.forms[candidate.form]
    backend(candidate.backend)  # loads numba, which is not what compiling f costs
    gradient = Gradient(
        form.fresh(),
        "fixed",  # the same evaluations for every backend
        args=workload.args,
        backend=candidate.backend,
        indices=indices,
        batch_axis=form.batch_axis,
    )
    x = workload.x
    began = perf_counter()
    result = gradient(x)
    first_call = perf_counter() - began
    _, info = gradient.with_info(x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        gradient(x)
        memory = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return _Run(candidate, lambda: gradient(x), result.ravel(), first_call, info.nfev, memory)


def _rounds(runs: list[_Run], budget: float, report: Progress) -> None:
    slot = budget / (MOST_ROUNDS * len(runs))
    began = perf_counter()
    for run in runs:
        run.calibrate(slot)
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and perf_counter() - began > budget:
            break
        for run in runs if number % 2 else reversed(runs):
            run.time()
        report(0.3 + 0.7 * (number + 1) / MOST_ROUNDS)
    report(1.0)


def _error(gradient: Floats, exact: Floats) -> float:
    """Relative error in the maximum norm; absolute where the exact gradient is zero."""
    if not exact.size:
        return 0.0
    return float(np.max(np.abs(gradient - exact)) / (np.max(np.abs(exact)) or 1.0))


def _score(run: _Run, reference: _Run, exact: Floats, scale: float) -> Score:
    low, median, high = (scale * float(q) for q in np.quantile(run.samples, (0.25, 0.5, 0.75)))
    extra = max(0.0, run.first_call - median / scale)
    saved = scale * float(np.median(reference.samples)) - median
    compiles = FORMS[run.candidate.form].compiles and run is not reference
    return Score(
        backend=run.candidate.backend,
        form=run.candidate.form,
        seconds=median,
        quartiles=(low, high),
        faster=float(np.median(np.divide(reference.samples, run.samples))),
        error=_error(run.gradient, exact),
        nfev=run.nfev,
        memory=run.memory,
        first_call=extra + median,
        payback=ceil(extra / saved) if compiles and saved > 0 else None,
        rounds=len(run.samples),
        loops=run.loops,
    )


def _winners(scores: tuple[Score, ...]) -> list[Score]:
    """Return the fastest, and all that the noise does not tell from it; in the order of the table."""
    finite = [s.error for s in scores if isfinite(s.error)]
    # all use the same stencil: one that is much worse than another computes something else
    limit = max(1e-6, 100 * min(finite)) if finite else float("inf")
    right = [s for s in scores if s.error <= limit] or list(scores)
    best = min(right, key=lambda s: s.seconds)
    return [s for s in right if s.overlaps(best)]


def _recommendation(winners: list[Score], scores: tuple[Score, ...], workload: Workload) -> str:
    """Say in one line what to use."""
    simplest = winners[0]
    batch_axis = workload.forms[simplest.form].batch_axis
    advice = FORMS[simplest.form].advice.format(backend=simplest.backend, batch_axis=batch_axis)
    if len(winners) > 1:
        names = " and ".join(map(str, winners))
        return f"no clear winner between {names}: their times overlap; the simplest, {simplest}: {advice}"
    if len(scores) == 1:
        return f"{simplest}, the only candidate: {advice}"
    if simplest is scores[0]:
        return f"{simplest}: nothing is faster than the reference; {advice}"
    line = f"{simplest}, {simplest.faster:.3g}x faster than the reference: {advice}"
    if simplest.payback is None:
        return line
    line += f"; compiling pays back after {simplest.payback} gradient{'s' * (simplest.payback != 1)}"
    others = [s for s in scores if not FORMS[s.form].compiles and s.faster > 1.1 and not s.overlaps(scores[0])]
    if others:
        second = max(others, key=lambda s: s.faster)
        line += f", for fewer take {second} ({second.faster:.3g}x)"
    return line


@cache
def problems() -> ModuleType:
    """Load the table of problems: a module of the installed package, a file of the checkout."""
    name = f"{__package__}._problems"
    if importlib.util.find_spec(name) is not None:
        return import_module(name)
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "problems.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"the table of problems is neither installed nor at {path}", name=name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # so that its functions pickle
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# The widest that the processor has of these counts; as LLVM names its features.
SIMD_BITS = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}

PACKAGES = ("fastgrad", "numpy", "numba", "llvmlite", "scipy", "scikit-learn")


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter here; None for one that is not installed."""
    metadata = import_module("importlib.metadata")  # a fifth of the time that `fastgrad --help` takes
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    if found["fastgrad"] is None:  # run from a checkout
        found["fastgrad"] = sys.modules[str(__package__)].__version__
    return found


def machine() -> dict[str, Any]:
    """Return what times depend on: the processor, its SIMD registers, the threads there are."""
    llvm = import_module("llvmlite.binding")  # what numba compiles for
    features = llvm.get_host_cpu_features()
    name = next((feature for feature in SIMD_BITS if features.get(feature)), None)
    bits = SIMD_BITS[name] if name else None
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "llvm_cpu": llvm.get_host_cpu_name(),
        "simd": name,
        "simd_bits": bits,
        "simd_doubles": bits and bits // 64,
        "cores": os.cpu_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _processor() -> str:
    """Return the processor's name as it is sold, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine()
