"""Running a plan: the ways in their order, every check, and x put back whatever happens."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backends.table import load
from ..core.call import Call
from ..core.errors import CannotRun, NotTrusted, TrustWarning, warn
from ..core.evaluation import Evaluation, Values
from ..core.labels import WANTS, Labels, has_labels
from ..core.options import DEFAULT, Options
from ..core.point import Point, as_point, exclusive
from ..core.validation import (
    FLOAT64,
    Floats,
    Ints,
    bounds_arrays,
    everything,
    function,
    index_array,
    known_value,
    moving,
)
from ..inspecting.cfunctions import c_function, is_c_function
from ..inspecting.kinds import JITTED, PLAIN, is_jitted, kind_of
from ..schemes.scheme import NOT_ASKED_FOR, Estimate, Scheme, Task
from ..schemes.telling import tell
from ..schemes.trust import check_analytic, refuse_unseen
from .choices import Way
from .planner import (
    FACTS,
    FEW,
    LOOKING,
    SIZES,
    Facts,
    Plan,
    Step,
    does_little,
    is_shared,
    plan_read,
    plan_unread,
    read,
)

__all__ = ["Done", "at_once", "call_of", "explained", "plan_for", "run", "what_fastmath_did"]


class Done(NamedTuple):
    """A gradient, and how it was made."""

    gradient: NDArray[Any]
    estimate: Estimate
    evaluation: Evaluation
    step: Step
    told: tuple[str, ...]
    nfev: int

    @property
    def way(self) -> Way:
        return self.step.way

    @property
    def reason(self) -> str:
        """Why this way, and not others."""
        return "; ".join((self.step.reason, *self.told))


def call_of(f: Any, options: Options, imaginary: bool) -> Call:
    """Return how f is called by these options."""
    if type(f) is not FunctionType:
        if is_c_function(f):
            f = c_function(f)
        function(f)
    manner = _MANNER(options)
    if manner == _USUAL and not imaginary:
        return Call(f)
    args, kwargs, axis, compiling, workers, fastmath, journal, progress, on_error, timeout = manner
    return Call(
        f,
        args,
        kwargs,
        batch_axis=axis,
        eager=compiling == "eager",
        workers=workers,
        fastmath=fastmath,
        imaginary=imaginary,
        journal=journal,
        progress=progress,
        on_error=on_error,
        timeout=timeout,
    )


_MANNER = attrgetter(
    "args", "kwargs", "batch_axis", "compile", "workers", "fastmath", "journal", "progress", "on_error", "timeout"
)
_USUAL = _MANNER(DEFAULT)


def plan_for(call: Call, options: Options, point: Point, scheme: Scheme | None) -> tuple[Call, Facts, Plan]:
    """Return how f is called at this point, what it is, and the plan for what a scheme asks for."""
    backend, base = options.backend, point.base
    sizes = LOOKING if scheme is None or call.imaginary else SIZES[scheme.steps]
    if options.dtype is not None and point.dtype is not FLOAT64:
        call = _keeping(call, point.dtype)
        backend = "python" if backend == "numba" else backend
    kind = PLAIN if type(call.f) is FunctionType else kind_of(call.f)
    facts, n, ndim, imaginary, batch = FACTS[kind], base.size, base.ndim, call.imaginary, call.batch_axis is not None
    few = n < sizes.few or does_little(call, n, ndim)
    shared = call.shared and is_shared(call, backend, kind)
    planned = plan_unread(kind, backend, batch, imaginary, few, ndim, shared)
    if planned is None:
        facts = read(call, point)
        planned = plan_read(facts, backend, imaginary, n, ndim, sizes)
    return call, facts, planned


def run(
    call: Call,
    options: Options,
    scheme: Scheme,
    point: Point,
    *,
    f0: Any = None,
    bars: bool = False,
    memory: Any = None,
    only: Plan | None = None,
    quiet: bool = False,
    opened: Evaluation | None = None,
) -> Done:
    """Differentiate f at a point, by the first way of the plan that can (`only`: of this plan).

    Components without a certain digit are told (`quiet`: are the caller's to tell). `opened`: what `at_once` has.
    """
    base, nfev = point.base, 0
    if options is DEFAULT and f0 is memory is only is None and opened is None and not bars:
        opened, found = at_once(call, scheme, point)
        if opened is not None and found is not None:
            return Done(found, Estimate(found, NOT_ASKED_FOR), opened, FEW.steps[0], FEW.refused, opened.nfev)
    bounds = None if options.bounds is None else bounds_arrays(options.bounds, base)
    chosen = None if options.indices is None else index_array(options.indices, base.shape)
    index, places = (everything(base.size), None) if chosen is None else _once(chosen)
    labels, given = None, call
    if options.labels or (options.labels is None and type(point.given) is not np.ndarray):
        labels, nfev, call = _labelled(call, point, options.labels)
    call, facts, planned = plan_for(call, options, point, scheme)
    if only is not None:
        planned = only
    if call is not given or facts.kind == JITTED:
        _refuse_frozen(given, point)
    task = Task(point, index, chosen is None, bounds, bars, memory)
    told = planned.refused
    for step in planned.steps:
        evaluation: Evaluation | None = None
        try:
            if facts.reads_x and step.way.backend == "numpy" and point.own is None:
                raise CannotRun("f reads the caller's own list, which only backend='python' perturbs")
            evaluation = opened or step.way.open(call, point, facts.nature, planned.explicit)
            if f0 is not None:
                evaluation.known_value(known_value(f0))
            own = evaluation.own
            if own is None:
                estimate = scheme.differentiate(evaluation, task)
            else:
                with exclusive(own):
                    try:
                        estimate = scheme.differentiate(evaluation, task)
                    finally:
                        own[...] = base  # no call: nothing, not even Ctrl-C, comes between
            if not evaluation.sees_own:
                _check_own_array(evaluation, call, point, estimate.gradient)
            if scheme.stencil.imaginary:
                free = moving(task.bounds)
                moves = slice(None) if free is None else free[index]
                _check_analytic(evaluation, point, index[moves], estimate.gradient[moves])
            break
        except CannotRun as refusal:
            if step is planned.steps[-1]:
                raise TypeError(f"`backend` {step.way.backend!r} does not take this f: {refusal}") from refusal
            if not planned.discreet:
                told += (str(refusal),)
        except NotTrusted as doubt:
            if step is planned.steps[-1]:
                raise ValueError(str(doubt)) from doubt
            warn(f"backend {step.way.backend!r} was given up for 'python': {doubt}", TrustWarning)
            told += (str(doubt),)
        except (TypeError, ValueError, *WANTS) as wrong:
            if step is planned.steps[-1] or call.batch_axis is None:
                if options.labels is None and isinstance(wrong, WANTS) and has_labels(point.given):
                    with suppress(*WANTS):
                        return run(
                            given, replace(options, labels=True), scheme, point, f0=f0, bars=bars, memory=memory,
                            only=only, quiet=quiet,
                        )  # fmt: skip
                raise
            # what a wrongly declared `batch_axis` makes of f; if f itself is wrong, the reference will say so
        nfev += evaluation.nfev if evaluation is not None else 0
    assert evaluation is not None
    if estimate.flags and not quiet:
        tell(estimate.flags, point, index)
    if places is not None:
        estimate = estimate.at(places)
    gradient: NDArray[Any] = estimate.gradient
    if base.ndim != 1:
        gradient = gradient.reshape(base.shape if chosen is None else chosen.shape)
    if point.dtype is not FLOAT64:
        gradient = gradient.astype(point.dtype)
    if labels is not None and chosen is None:
        gradient = labels.on(gradient)
    return Done(gradient, estimate, evaluation, step, told, nfev + evaluation.nfev)


def at_once(call: Call, scheme: Scheme, point: Point) -> tuple[Evaluation | None, Floats | None]:
    """Return the gradient where the planner has nothing to ask, with no option but h, and f wants no closer look.

    Else None, and what was opened: the whole rule goes on from there.
    """
    base = point.base
    if not (type(call.f) is FunctionType and call.usual and point.plain and base.size):
        return None, None
    if base.size >= SIZES[scheme.steps].few and not does_little(call, base.size, 1):
        return None, None
    opened: Evaluation = load("judged")(call, point)  # as `FEW` says
    own = opened.own
    if own is None:
        return opened, None
    with exclusive(own):
        try:
            if scheme.steps == "given":
                return opened, scheme.differentiate(opened, Task(point, everything(base.size))).gradient
            return opened, opened.settled(0)
        finally:
            own[...] = base  # no call: nothing, not even Ctrl-C, comes between


def _once(chosen: Ints) -> tuple[Ints, Ints | None]:
    """Return components that are named more than once only once, and then where each of them is found."""
    index, places = np.unique(chosen, return_inverse=True)
    return (chosen, None) if index.size == chosen.size else (index, places)


def _labelled(call: Call, point: Point, wanted: bool | None) -> tuple[Labels | None, int, Call]:
    """Return the labels of x that f is to get, the evaluations that this took to see, and how f is called then."""
    if not (wanted or has_labels(point.given)):
        return None, 0, call
    labels = Labels(point.given)
    change, nfev = (True, 0) if wanted else labels.change(call.f, call.args, call.kwargs)
    return (labels, nfev, call.but(f=labels.giving(call.f))) if change else (None, nfev, call)


def _refuse_frozen(call: Call, point: Point) -> None:
    """Refuse, for every backend, a jitted f that answers from data that numba has frozen."""
    if is_jitted(call.f):
        with suppress(CannotRun):  # then nothing is known of what it froze
            load("compiled").check(call, point)


def _keeping(call: Call, dtype: np.dtype[Any]) -> Call:
    """Let f get x in its own dtype."""
    f = call.f

    def narrow(x: NDArray[Any], *args: Any, **kwargs: Any) -> Any:
        return f(x.astype(dtype), *args, **kwargs)

    return call.but(f=narrow)


def _check_own_array(evaluation: Evaluation, call: Call, point: Point, gradient: Floats) -> None:
    """A gradient of nothing but zeros may mean that f reads the caller's array, which was not perturbed."""
    if not gradient.size:
        return
    if gradient.any() and not (point.perturbable and point.dtype is not FLOAT64):
        return
    evaluation.nfev += 2
    refuse_unseen(call, point)


def _check_analytic(evaluation: Evaluation, point: Point, index: Ints, gradient: Floats) -> None:
    def at(points: Values) -> Values:
        values: Values = evaluation.line(points) + evaluation.origin
        return values[:, None]

    check_analytic(at, point, index, np.array([evaluation.value()]), gradient[None])


def explained(call: Call, options: Options, scheme: Scheme, x: Any, only: Plan | None) -> str:
    """Say which way of the plan runs at x, and why.

    Whether a lift takes f, and whether it has less to do than the loop, shows when it runs: so it is run.
    """
    point = as_point(x)
    stencil = scheme.stencil
    bounds_arrays(options.bounds, point.base)  # wrong ones are refused here, too
    chosen = index_array(options.indices, point.base.shape)
    count = point.base.size if chosen is None else chosen.size
    planned = only or plan_for(call, options, point, scheme)[2]
    done = None
    if any(step.way.backend == "numpy" for step in planned.steps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(Exception):  # of f's own there is nothing to be explained
                done = run(call, options, scheme, point, only=planned._replace(discreet=True))
    carries = False
    if done is not None:
        way, reason, evaluation = done.way, done.reason, done.evaluation
    else:
        way, reason, evaluation = _first(call, options, point, scheme, planned)
    lines = [f"backend {way.backend!r}, {evaluation.way or way.name}: {reason}; {way.does}", *evaluation.notes()]
    carries = evaluation.carries(count)
    if options.fastmath:
        lines.append(f"fastmath: {what_fastmath_did(evaluation)}")
    lines += [f"not another: {reason}" for reason in planned.refused]
    looks = scheme.steps != "given"
    least = count * stencil.nodes.size + (looks or not stencil.symmetric)
    if stencil.imaginary:
        least = count + 2  # and the check
    more = ""
    if looks:
        more = " or more: the steps choose themselves"
        more += ", full precision where differences are carried unrounded" if carries else ""
    lines.append(
        f"{scheme.name} difference of order {stencil.order}: {least} evaluations of f for {count} partial "
        f"derivatives{more}"
    )
    return "\n".join(lines)


def _first(call: Call, options: Options, point: Point, scheme: Scheme, planned: Plan) -> tuple[Way, str, Evaluation]:
    """Open the first way of the plan that takes f."""
    call, facts, _ = plan_for(call, options, point, scheme)
    told = ""
    for way, reason in planned.steps:
        try:
            return way, reason + told, way.open(call, point, facts.nature, planned.explicit)
        except CannotRun as refusal:
            told += f"; {refusal}"
    raise TypeError(f"`backend` {way.backend!r} does not take this f{told}")


def what_fastmath_did(evaluation: Evaluation) -> str:
    """Say what the option did, in words."""
    said = getattr(evaluation, "fastmath", None)
    return said() if said else "no effect: f is not compiled, and calls the functions that it names"
