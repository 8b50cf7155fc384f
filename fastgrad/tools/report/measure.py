"""What the dashboard shows beyond `compare`: error against cost, and error against the step. Plain data, no drawing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ...gradient import Gradient
from ..compare import (
    CANDIDATES,
    Candidate,
    Comparison,
    compare,
    open_candidate,
    reference_gradient,
    sampled,
    score,
)
from ..machine import machine, versions
from ..peers import Peer
from ..timing import Progress, Run, interleaved, relative_error, unheard
from ..workload import Form, Workload
from .figures import plain

# What reads the JSON can rely on within one number.
SCHEMA = 2

# What is shown without a choice: real data, and two problems over all their sizes.
SUITE = tuple(
    (name, n)
    for name, sizes in {
        "rosenbrock": (10, 100, 1000, 10_000),
        "lennard_jones": (6, 39, 99, 999),
        "ackley": (10, 100, 1000),
        "logistic_regression": (64,),
        "squared_hinge": (64,),
        "two_layer_network": (760,),
    }.items()
    for n in sizes
)
QUICK_SUITE = (("rosenbrock", 10), ("rosenbrock", 100), ("rosenbrock", 1000), ("lennard_jones", 39))

Knob = tuple[str, dict[str, Any]]

# A curve a method; the knob, from cheap to accurate. `h="fixed"` is what tells the stencils' own costs apart.
METHODS: dict[str, tuple[Knob, ...]] = {
    "central": tuple((f"order {order}", {"order": order}) for order in (2, 4, 6, 8)),
    "forward": tuple((f"order {order}", {"method": "forward", "order": order}) for order in (1, 2, 3, 4)),
    "complex": (("complex step", {"method": "complex"}),),
    "automatic": (("automatic step", {}), ("automatic step, noise probed", {"noise": "probe"})),
    "adaptive": tuple((f"rtol {rtol:.0e}", {"method": "adaptive", "rtol": rtol}) for rtol in (1e-6, 1e-10, 1e-13)),
}
CHOOSES_STEP = ("automatic", "adaptive")

# name, dtype, options: the V of truncation and round-off error
STEP_CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("central, order 2", "float64", {}),
    ("central, order 4", "float64", {"order": 4}),
    ("forward, order 1", "float64", {"method": "forward", "order": 1}),
    ("central, order 2", "float32", {"dtype": "keep"}),
)
STEPS = tuple(10.0 ** (k / 2) for k in range(-26, 1))
TEXTBOOK = 1e-4
MOST_COORDINATES = 64  # in the study of the step


def document(
    comparisons: Iterable[Comparison], budget: float, unavailable: Iterable[tuple[str, str]] = (), **more: Any
) -> dict[str, Any]:
    """Return all that was measured, with the machine and the versions, as JSON takes it.

    `comparisons`: the tables.
    `budget`: seconds, as asked for.
    `unavailable`: workloads that cannot be made here, and why.
    **more: ``curves``, ``steps``, ``regrets``.
    """
    found: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": machine(),
            "budget": budget,
            "comparisons": [asdict(result) for result in comparisons],
            "unavailable": [{"workload": name, "reason": reason} for name, reason in unavailable],
            **more,
        }
    )
    return found


def _followed(result: Comparison) -> list[Candidate]:
    """Choose the candidates that get curves: one a backend and form of f, in lanes where that works."""
    names = [str(s) for s in result.scores if not s.peer]
    found = {(c.backend, c.form): c for c in CANDIDATES if c.fixed and str(c) in names}
    if len(found) > 1 and ("python", "plain") in found:
        found.pop(("python", "jitted"), None)
    return list(found.values())


def work_precision(
    workload: Workload, result: Comparison, *, budget: float, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Measure error, time and evaluations of every method on every backend that the comparison found to work.

    Returns list of dict: a curve each: ``workload``, ``who``, ``ran``, ``method`` and ``points``, a list of ``knob``,
    ``seconds``, ``nfev``, ``error``.
    """
    report = progress or unheard
    # compiled once for all points; the comparison has measured what it costs
    forms = {name: Form(form.fresh(), form.batch_axis) for name, form in workload.forms.items()}
    workload = replace(workload, forms=forms)
    followed = _followed(result)
    kinds = [(c, method, knob) for c in followed for method, knobs in METHODS.items() for knob in knobs]
    first = followed[0]
    allowance = budget / (16 * len(kinds))  # each is called some ten times before it is timed, and four times then
    sample = sampled(workload, forms[first.form], allowance)
    target = reference_gradient(workload, forms[first.form], sample)
    runs: list[tuple[Candidate, str, str, Run]] = []
    with warnings.catch_warnings(action="ignore"):  # numpy's, where a method does not suit f
        for number, (candidate, method, (knob, options)) in enumerate(kinds):
            asked = replace(candidate, options=(*candidate.options, *options.items()), fixed=method not in CHOOSES_STEP)
            try:
                runs.append((candidate, method, knob, open_candidate(asked, workload, sample, allowance, briefly=True)))
            except Exception:  # noqa: BLE001  f does not take complex numbers, or this backend not this method
                continue
            finally:
                report(0.5 * (number + 1) / len(kinds))
        interleaved([run for *_, run in runs], 0.5 * budget, lambda share: report(0.5 + 0.5 * share))
    curves: dict[tuple[str, str], dict[str, Any]] = {}
    for candidate, method, knob, run in runs:
        found = score(run, runs[0][3], target.gradient)
        curve = curves.setdefault(
            (str(candidate), method),
            {"workload": workload.name, "who": str(candidate), "ran": found.ran, "method": method, "points": []},
        )
        # few rounds for each of many points: the fastest is the one that nothing disturbed
        curve["points"].append({"knob": knob, "seconds": min(run.samples), "nfev": found.nfev, "error": found.error})
    return [plain(curve) for curve in curves.values()]


def step_study(workload: Workload, *, budget: float) -> dict[str, Any]:
    """Measure the error against the step h, in float64 and float32, and where the textbook's and the own steps lie.

    Returns dict: ``workload``; ``curves``: ``name``, ``dtype``, ``h``, ``error``; ``marks``: the same with one h, and
    the range of the steps of the components as ``low`` and ``high``.
    """
    name = next(c.form for c in CANDIDATES if c.form in workload.forms)
    form = Form(workload.forms[name].fresh(), workload.forms[name].batch_axis)
    size = workload.x.size
    sample = sampled(workload, form, budget / (2 * len(STEP_CURVES) * len(STEPS)))
    if sample is None and size > MOST_COORDINATES:
        sample = np.arange(size)
    if sample is not None:
        sample = sample[np.linspace(0, sample.size - 1, min(sample.size, MOST_COORDINATES)).astype(np.intp)]

    exact = {}
    for dtype in ("float64", "float32"):
        there = replace(workload, x=workload.x.astype(dtype).astype(np.float64))
        known = reference_gradient(there, form, sample).gradient
        exact[dtype] = known if sample is None else known[sample]

    def once(dtype: str, h: Any, options: dict[str, Any]) -> tuple[float, Any]:
        gradient = Gradient(
            form.f, h, args=workload.args, backend="python", indices=sample, batch_axis=form.batch_axis, **options
        )
        try:
            found, info = gradient.with_info(workload.x.astype(dtype))
        except (ValueError, ArithmeticError):  # the step is lost at x, or f fails there
            return float("nan"), np.full(1, np.nan)
        return relative_error(found.astype(np.float64).ravel(), exact[dtype]), info.step

    curves, marks = [], []
    with warnings.catch_warnings(action="ignore"):
        for name, dtype, options in STEP_CURVES:
            errors = [once(dtype, h, options)[0] for h in STEPS]
            curves.append({"name": name, "dtype": dtype, "h": list(STEPS), "error": errors})
            if not name.startswith("central, order 2"):
                continue
            error, _ = once(dtype, TEXTBOOK, options)
            marks.append({"name": "textbook, h = 1e-4", "dtype": dtype, "h": TEXTBOOK, "error": error})
            error, step = once(dtype, None, options)
            low, middle, high = (float(v) for v in np.nanquantile(step, (0, 0.5, 1)))
            marks.append(
                {"name": "automatic step", "dtype": dtype, "h": middle, "low": low, "high": high, "error": error}
            )
    found: dict[str, Any] = plain({"workload": workload.name, "curves": curves, "marks": marks})
    return found


# Of a cell's budget: the comparison, the curves, the steps.
SHARES = 0.4, 0.5, 0.1


def study(
    make: Callable[[], Workload], *, budget: float, peers: Sequence[Peer] = (), progress: Progress | None = None
) -> tuple[Comparison, list[dict[str, Any]], dict[str, Any]]:
    """Measure all that the report shows of one workload.

    `make`: returns the workload.
    `budget`: seconds of timing, about; compiling comes on top.
    `peers`: as for `fastgrad.tools.compare.compare`.
    `progress`: called with the share that is done, from 0 to 1.
    """
    report = progress or unheard
    first, second, third = SHARES
    workload = make()
    result = compare(workload, budget=first * budget, peers=peers, progress=lambda share: report(first * share))
    curves = work_precision(
        workload, result, budget=second * budget, progress=lambda share: report(first + second * share)
    )
    steps = step_study(workload, budget=third * budget)
    report(1.0)
    return result, curves, steps
