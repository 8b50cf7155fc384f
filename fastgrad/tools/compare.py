"""Time and score the backends, and other packages, on one workload; the command line, the report and the tests call it.

What is measured is plain data: `fastgrad.tools.report` draws it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import ceil, inf, isfinite
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..backends.table import load
from ..core.validation import Args, Array, Floats, Ints
from ..gradient import Gradient
from .peers import PEERS, Peer, TooSlow, open_peer
from .timing import Progress, Run, interleaved, peak_memory, relative_error, unheard
from .workload import FORMS, Form, FormKind, Names, Workload

# Of the budget at most this share goes into one gradient; beyond it, a part of the coordinates stands for all.
LONGEST = 1 / 64
# All are measured where that takes so many times this share; to find out how a part stands for all, it may take longer.
GENEROUS, PATIENT = 4.0, 30.0
# Coordinates; of fewer, an evaluation of f(x) beside the differences would count too much.
FEWEST = 2
# Calls after the first one in which a prepared gradient finds its way.
SETTLING = 5
# Quartiles further apart than this share of the median: the machine was busy with something else.
UNSTEADY = 0.25
# A peer is recommended only if its error is at most so many times that of fastgrad's best.
AS_ACCURATE = 10.0

EXACT = "the exact gradient"
ADAPTIVE = "the adaptive gradient, of which the error bar is known: no exact gradient was given"

Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Candidate:
    """A backend on one form of f; it takes part where the workload has this form."""

    # of `fastgrad.Gradient` and of `FORMS`
    backend: str
    form: str
    way: str = ""  # what tells it from others of the same backend and form; then it takes part only if it ran this way
    options: Options = ()  # of `fastgrad.Gradient`, besides
    write: Options | None = None  # the options that the user has to write, where they differ from the backend and these
    # whether the step is the fixed one, so that all make the same evaluations; otherwise it chooses itself
    fixed: bool = True
    # whether half of the coordinates take half of the time; a lift has fixed costs, so that a part of them stands badly
    # for all
    proportional: bool = False
    fewest: int = 0  # entries of x from which it takes part

    def __str__(self) -> str:
        return f"{self.backend}/{self.form}{self.way and ' ' + self.way}"

    @property
    def key(self) -> tuple[str, str]:
        """What variants have in common."""
        return self.backend, self.form

    def code(self, form: Form, names: Names) -> str:
        """Return a line to paste."""
        written = {"backend": self.backend, **dict(self.options)} if self.write is None else dict(self.write)
        if form.batch_axis is not None:
            written["batch_axis"] = form.batch_axis
        return names.line("Gradient", "gradient", "g", written)


EAGER = (("compile", "eager"),)

# One line a candidate. The first that applies is the reference of the times; of equals, the earlier is the simpler.
CANDIDATES = (
    Candidate("python", "plain", proportional=True),
    Candidate("python", "jitted", proportional=True),
    Candidate("auto", "default", write=(), fixed=False),
    Candidate("numpy", "lifted"),
    Candidate("numpy", "batched", write=()),
    Candidate("numba", "jitted", write=()),
    Candidate("numba", "jitted", "lanes", EAGER, write=EAGER),
    Candidate("numba", "jitted", "owner lanes", EAGER, write=EAGER, fixed=False, fewest=40),
    Candidate("numba", "compiled"),
    Candidate("numba", "compiled", "lanes", EAGER),
)


@dataclass(frozen=True)
class Score:
    """How one candidate did on one workload."""

    # the candidate; of a peer its package and function
    backend: str
    form: str
    seconds: float  # one gradient, prepared and warm: the median over the rounds
    quartiles: tuple[float, float]  # of the same
    faster: float  # times faster than the reference: the median of the ratios within each round
    error: float  # max |g - g*| / max |g*|, with g* the gradient that the comparison names
    nfev: int  # evaluations of f for one gradient
    # peak bytes above those before the call, as `tracemalloc` sees them in a separate call: Python's and numpy's; what
    # a compiled f allocates itself is not seen
    memory: int
    # seconds of the first call, with everything that had to be compiled for f. The kernels, which know f only by its
    # address, are compiled once for each kind of arguments and kept on disk: they are not in it.
    first_call: float
    # gradients after which the first call's extra time is saved, against the reference; None: nothing is compiled, or
    # it never is
    payback: int | None
    # rounds, and gradients in each
    rounds: int
    loops: int
    ran: str = ""  # the way that f was evaluated, as `fastgrad.Info` names it; "" for a peer
    # partial derivatives that were measured. Fewer than x has where the whole gradient would have taken too much of the
    # budget; times and evaluations are scaled to the whole.
    coordinates: int = 0
    peer: bool = False  # whether it is another package

    def __str__(self) -> str:
        return f"{self.backend}/{self.form}"

    @property
    def kind(self) -> FormKind:
        """What the form asks of its author; not of a peer."""
        return FORMS[self.form.partition(" ")[0]]

    def described(self) -> str:
        """Return its name, with the way that f was evaluated where the name does not say it."""
        return f"{self} ({self.ran})" if self.ran and self.kind.several else str(self)

    def overlaps(self, other: Score) -> bool:
        """Whether the ranges between the quartiles have a point in common."""
        return self.quartiles[0] <= other.quartiles[1] and other.quartiles[0] <= self.quartiles[1]


@dataclass(frozen=True)
class Refusal:
    """Why a candidate or a peer did not take part."""

    backend: str
    form: str
    reason: str
    peer: bool = False


@dataclass(frozen=True)
class Comparison:
    """The candidates on one workload."""

    # its name, what is the same at every size, and where it comes from
    workload: str
    problem: str
    source: str
    shape: tuple[int, ...]  # the shape of x
    coordinates: int  # partial derivatives that the reference was measured on
    exact: str  # what the error is measured against
    # the error bar of that, relative as the errors are; None if it is exact. An error below it says no more.
    bar: float | None
    scores: tuple[Score, ...]  # the reference first, peers last
    refusals: tuple[Refusal, ...]  # what could not take part
    winners: tuple[str, ...]  # the fastest; several where their quartiles overlap
    recommendation: str  # what to use and why
    code: str  # the line of code to paste
    unsteady: bool  # whether the machine was too busy for the times to be trusted


Competitor = Candidate | Peer


class Target(NamedTuple):
    """What errors are measured against: all of the gradient, nan where it is not known."""

    gradient: Floats
    described: str
    bar: float | None


def compare(
    workload: Workload,
    *,
    budget: float = 10.0,
    candidates: Sequence[Candidate] = CANDIDATES,
    peers: Sequence[Peer] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Time and score the candidates that apply to a workload.

    ValueError if no candidate applies, or the exact gradient is not of x's shape.

    `workload`: the function and the point. Compile times are cold only if its jitted form was not called before.
    `budget`: seconds of timing, about; compiling comes on top.
    `candidates`: what to compare; the first that applies is the reference.
    `peers`: other packages to compare with (`fastgrad.tools.peers.PEERS`); those that are not installed are left out.
    `progress`: called with the share that is done, from 0 to 1.

    Returns Comparison: plain data.

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
    applicable = [c for c in candidates if c.form in workload.forms and workload.x.size >= c.fewest]
    if not applicable:
        raise ValueError(f"`workload` has the forms {list(workload.forms)}, which no candidate takes")
    form = workload.forms[applicable[0].form]
    allowance = LONGEST * budget
    sample = sampled(workload, form, allowance)
    target = reference_gradient(workload, form, sample)
    if any(FORMS[candidate.form].compiles for candidate in applicable):
        _load_kernels(workload)
    own = [(c, partial(open_candidate, c, workload, sample, allowance)) for c in applicable]
    present = [peer for peer in (*workload.rivals, *peers) if peer.present]
    others = [(peer, partial(_open_peer, peer, workload, form, sample, allowance)) for peer in present]
    runs, refusals = measured(own, others, budget, progress)
    return concluded(
        workload, runs, refusals, target, workload.source, partial(_recommend, workload=workload, bar=target.bar)
    )


def measured(
    own: Sequence[tuple[Competitor, Callable[[], Run]]],
    others: Sequence[tuple[Competitor, Callable[[], Run]]],
    budget: float,
    progress: Progress | None,
) -> tuple[list[Run], tuple[Refusal, ...]]:
    """Open and time all, each given with how it is opened; what raises is a refusal, but for the first, the reference.

    Of a backend and form that cannot run, variants are not tried: it is said once.
    """
    report = progress or unheard
    runs: list[Run] = []
    refusals: dict[Any, Refusal] = {}
    with warnings.catch_warnings(action="ignore"):  # the peers': overflows, discarded imaginary parts
        for number, (who, opened) in enumerate((*own, *others)):
            key, peer = (who.key, number >= len(own)), number >= len(own)
            if key in refusals:
                continue
            try:
                runs.append(opened())
            except (Exception, TooSlow) as error:
                if not runs:
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                if isinstance(error, TooSlow):
                    reason = (
                        "skipped: two partial derivatives take too long for this budget; --budget SECONDS allows more"
                    )
                backend, _, form = str(who).partition("/")
                refusals[key] = Refusal(backend, form, reason, peer)
            report(0.3 * (number + 1) / (len(own) + len(others)))
        interleaved(runs, budget, lambda share: report(0.3 + 0.7 * share))
    return runs, tuple(refusals.values())


def concluded(
    workload: Workload,
    runs: list[Run],
    refusals: tuple[Refusal, ...],
    target: Target,
    source: str,
    recommend: Callable[[list[Score], tuple[Score, ...]], tuple[str, str]],
) -> Comparison:
    """Return what the times say; `recommend` makes a reason and a line of code of the winners and all scores."""
    scores = tuple(score(run, runs[0], target.gradient) for run in runs)
    winners = winners_of(scores)
    recommendation, code = recommend(winners, scores)
    return Comparison(
        workload=workload.name,
        problem=workload.problem or workload.name,
        source=source,
        shape=workload.x.shape,
        coordinates=scores[0].coordinates,
        exact=target.described,
        bar=target.bar,
        scores=scores,
        refusals=refusals,
        winners=tuple(map(str, winners)),
        recommendation=recommendation,
        code=code,
        unsteady=float(np.median([(s.quartiles[1] - s.quartiles[0]) / s.seconds for s in scores])) > UNSTEADY,
    )


def sampled(workload: Workload, form: Form, allowance: float) -> Ints | None:
    """Choose the coordinates to measure: all (None), or as many as can be done in `allowance` seconds."""
    x, size = workload.x, workload.x.size
    f, point = form.fresh(), x if form.batch_axis is None else np.expand_dims(x, form.batch_axis)
    times = []
    for _ in range(3):  # the first may compile f
        began = perf_counter()
        f(point.copy(), *workload.args)
        times.append(perf_counter() - began)
    once = max(min(times), 1e-9)
    affordable = max(FEWEST, int(allowance / (2 * once)))
    if affordable >= size:
        return None
    return np.sort(np.random.default_rng(0).choice(size, affordable, replace=False)).astype(np.intp)


def reference_gradient(workload: Workload, form: Form, sample: Ints | None) -> Target:
    """Return the gradient that errors are measured against, flat, and what it is."""
    x, args = workload.x, workload.args
    if workload.gradient is not None:
        gradient = np.asarray(workload.gradient(x.copy(), *args), dtype=np.float64)
        if gradient.shape != x.shape:
            raise ValueError(f"`gradient` must return x's shape {x.shape}, got shape {gradient.shape}")
        return Target(gradient.ravel(), EXACT, None)
    options: dict[str, Any] = {"args": args, "backend": "python", "indices": sample, "batch_axis": form.batch_axis}
    found, info = Gradient(form.fresh(), method="adaptive", **options).with_info(x)
    whole = np.full(x.size, np.nan)
    whole[slice(None) if sample is None else sample] = found.ravel()
    assert info.error is not None
    bar = relative_error(found.ravel() + info.error.ravel(), found.ravel())
    return Target(whole, ADAPTIVE, bar)


_loaded: set[Args] = set()


def _load_kernels(workload: Workload) -> None:
    """Compile the kernels, or load them, on a function of no interest: they are kept for all f with such arguments.

    Otherwise the first call of the first candidate on a new machine would take seconds that no later process needs.
    """
    kinds = tuple((type(a), getattr(a, "dtype", None), getattr(a, "ndim", None)) for a in workload.args)
    if (workload.x.ndim, kinds) in _loaded:
        return
    _loaded.add((workload.x.ndim, kinds))
    with suppress(Exception):  # without numba's compiler, or with arguments that it does not take
        f = import_module("numba").njit(lambda x, *args: np.sum(x))
        Gradient(f, "fixed", args=workload.args, compile="eager")(workload.x)


def open_candidate(
    candidate: Candidate, workload: Workload, sample: Ints | None, allowance: float, *, briefly: bool = False
) -> Run:
    """Make the first call, and everything that is not timed in rounds; `briefly` leaves out the memory."""
    form, x = workload.forms[candidate.form], workload.x
    if candidate.backend == "numba":
        load("compiled")  # loads numba, which is not what compiling f costs
    f = form.fresh()

    def prepared(indices: Ints | None) -> Gradient:
        return Gradient(
            f,
            "fixed" if candidate.fixed else None,
            args=workload.args,
            backend=candidate.backend,
            indices=indices,
            batch_axis=form.batch_axis,
            **dict(candidate.options),
        )

    gradient, where, part = prepared(sample), sample, 1.0 if sample is None else x.size / sample.size
    scale = part
    began = perf_counter()
    gradient(x)
    first_call = perf_counter() - began
    warm = _settle(gradient, x, allowance)
    extra = max(0.0, first_call - warm)
    if sample is not None and warm * part <= (GENEROUS if candidate.proportional else PATIENT) * allowance:
        whole = prepared(None)
        whole(x)
        took = _settle(whole, x, allowance)
        if took <= GENEROUS * allowance:
            gradient, where, part, scale = whole, None, 1.0, 1.0
        else:
            scale = took / warm
    result, info = gradient.with_info(x)
    if candidate.way not in info.way:
        raise ValueError(f"it would run by the {info.way}. {gradient.explain(x)}")
    return Run(
        call=lambda: gradient(x),
        scale=scale,
        backend=candidate.backend,
        form=str(candidate).partition("/")[2],
        gradient=result.ravel(),
        where=where,
        extra=extra,
        nfev=round(info.nfev * part),
        memory=0 if briefly else peak_memory(lambda: gradient(x)),
        ran=info.way,
        compiles=FORMS[candidate.form].compiles,
    )


def _settle(gradient: Gradient, x: Array, allowance: float) -> float:
    """Call until the way is found, within `allowance` seconds; return the time of the fastest call."""
    began = perf_counter()
    fastest = inf
    for _ in range(SETTLING):
        before = perf_counter()
        gradient(x)
        now = perf_counter()
        fastest = min(fastest, now - before)
        if now - began > allowance:
            break
    return fastest


def _open_peer(peer: Peer, workload: Workload, form: Form, sample: Ints | None, allowance: float) -> Run:
    f = workload.of_argument or form.fresh()
    if (axis := form.batch_axis) is not None:
        several = f
        f = lambda x, *args: several(np.expand_dims(x, axis), *args)[0]  # noqa: E731
    return open_peer(peer, f, workload.x, workload.args, sample, allowance)


def score(run: Run, reference: Run, exact: Floats) -> Score:
    low, median, high = run.quartiles()
    saved = float(np.median(reference.samples)) - median
    extra = run.extra - (reference.extra if reference.compiles else 0.0)
    pays = run.compiles and run is not reference and saved > 0
    wanted = exact if run.where is None else exact[run.where]
    known = ~np.isnan(wanted)
    return Score(
        backend=run.backend,
        form=run.form,
        seconds=median,
        quartiles=(low, high),
        faster=float(np.median(np.divide(reference.samples, run.samples))),
        error=relative_error(run.gradient[known], wanted[known]),
        nfev=run.nfev,
        memory=run.memory,
        first_call=run.extra + median,
        payback=max(0, ceil(extra / saved)) if pays else None,
        rounds=len(run.samples),
        loops=run.loops,
        ran=run.ran,
        coordinates=run.gradient.size if run.coordinates is None else run.coordinates,
        peer=run.peer,
    )


def winners_of(scores: tuple[Score, ...]) -> list[Score]:
    """Return the fastest, and all that the noise does not tell from it; in the order of the table."""
    own = [s for s in scores if not s.peer]
    finite = [s.error for s in own if isfinite(s.error)]
    # all are central differences of order 2: one that is much worse than another computes something else
    limit = max(1e-6, 100 * min(finite)) if finite else inf
    right = [s for s in own if s.error <= limit] or own
    best = min(right, key=lambda s: s.seconds)
    return [s for s in right if s.overlaps(best)]


def _recommend(
    winners: list[Score], scores: tuple[Score, ...], workload: Workload, bar: float | None
) -> tuple[str, str]:
    """Say what to use and why, and return the line of code for it."""
    default = next((s for s in scores if s.form == "default"), None)
    chosen = default if default in winners and default is not None else winners[0]
    same = default is not None and default.ran == chosen.ran
    reason = _reason(chosen, winners, scores, default.ran if same and default is not None else "")
    taken = default if same and default is not None else chosen
    candidate = next((c for c in CANDIDATES if str(c) == str(taken)), CANDIDATES[0])
    form = workload.forms.get(candidate.form, Form(len))
    code = candidate.code(form, workload.names)

    limit = AS_ACCURATE * max(chosen.error if isfinite(chosen.error) else inf, bar or 0.0)
    peers = [s for s in scores if s.peer and s.error <= limit and s.seconds < chosen.seconds and not s.overlaps(chosen)]
    if peers:
        best = min(peers, key=lambda s: s.seconds)
        reason = f"{best}, {best.faster:.3g}x faster than the reference and as accurate; of fastgrad's own, {reason}"
        peer = next(p for p in (*workload.rivals, *PEERS) if str(p) == str(best))
        code = f"{workload.names.imports}{peer.code.format(f=workload.names.function())}"
    return reason, code


def _reason(chosen: Score, winners: list[Score], scores: tuple[Score, ...], by_itself: str) -> str:
    own = [s for s in scores if not s.peer]
    asks = chosen.kind.asks
    told = chosen.described()
    if len(own) == 1:
        return f"{told}, the only candidate: {asks}"
    if len(winners) > 1:
        names = " and ".join(map(str, winners))
        return f"no clear winner between {names}: their times overlap; the simplest, {told}: {asks}"
    if chosen is scores[0]:
        return f"{told}: nothing is faster than the reference; {asks}"
    line = f"{told}, {chosen.faster:.3g}x faster than the reference: {asks}"
    if by_itself and chosen.form != "default":
        line += "; fastgrad chooses this by itself"
    if chosen.payback is None:
        return line
    line += f"; compiling pays back after {chosen.payback} gradient{'s' * (chosen.payback != 1)}"
    others = [s for s in own if not s.kind.compiles and s.faster > 1.1 and not s.overlaps(scores[0])]
    if others:
        second = max(others, key=lambda s: s.faster)
        line += f", for fewer take {second} ({second.faster:.3g}x)"
    return line
