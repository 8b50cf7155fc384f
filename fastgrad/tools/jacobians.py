"""Time and score the ways to a Jacobian, and other packages', on one function of many values."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import CannotRun, describe
from ..core.validation import Floats
from ..jacobian import Jacobian
from .compare import EXACT, UNSTEADY, Comparison, Progress, Refusal, Run, Score, score, winners_of
from .timing import interleaved, peak_memory
from .workload import Workload

__all__ = ["WAYS", "JacobianPeer", "compare_jacobians", "is_vector"]

MOST = 4_000_000  # entries of a Jacobian that is compared, which is dense for that
ADAPTIVE = "the adaptive Jacobian, of which the error bar is known: no exact one was given"

Function = Callable[[Floats], Any]


class Way(NamedTuple):
    """A way to a Jacobian: its name in the table, the form that says what it asks for, and its options."""

    backend: str
    form: str
    options: dict[str, Any]

    def code(self, workload: Workload) -> str:
        """Return a line to paste."""
        names = workload.names
        words = [names.f, *([f"args={names.args}"] if names.args else [])]
        words += [f"{name}={value!r}" for name, value in self.options.items()]
        call = ", ".join(words).replace("'", '"')
        return f"{names.imports}from fastgrad import Jacobian; jacobian = Jacobian({call}); J = jacobian(x)"


# The first is the reference of the times.
WAYS = (
    Way("python", "plain columns", {"backend": "python"}),
    Way("auto", "default", {}),
    Way("numpy", "lifted", {"backend": "numpy"}),
    Way("auto", "default sparse", {"sparse": True}),
)


class JacobianPeer(NamedTuple):
    """Another package's way: what has to be imported, and how f is bound, for x and the pattern of its Jacobian."""

    package: str
    name: str
    module: str
    bind: Callable[[Any, Function, Any], Callable[[Floats], Any]]


def _scipy(method: str) -> Callable[[Any, Function, Any], Callable[[Floats], Any]]:
    return lambda module, f, pattern: lambda x: module.approx_derivative(f, x, method=method)


def _grouped(module: Any, f: Function, pattern: Any) -> Callable[[Floats], Any]:
    given = pattern(), module.group_columns(pattern())
    return lambda x: module.approx_derivative(f, x, method="3-point", sparsity=given)


JACOBIAN_PEERS = (
    JacobianPeer("scipy", "2-point", "scipy.optimize._numdiff", _scipy("2-point")),
    JacobianPeer("scipy", "3-point", "scipy.optimize._numdiff", _scipy("3-point")),
    JacobianPeer("scipy", "3-point, pattern given", "scipy.optimize._numdiff", _grouped),
    JacobianPeer("numdifftools", "Jacobian", "numdifftools", lambda module, f, pattern: module.Jacobian(f)),
)


def is_vector(workload: Workload) -> bool:
    """Whether f returns many values at x."""
    form = next(iter(workload.forms.values()))
    if form.batch_axis is not None:
        return False
    value = form.fresh()(workload.x.copy(), *workload.args)
    return isinstance(value, (list, tuple, np.ndarray)) and np.size(value) > 1


def compare_jacobians(
    workload: Workload,
    *,
    budget: float = 10.0,
    peers: Sequence[JacobianPeer] = JACOBIAN_PEERS,
    progress: Progress | None = None,
) -> Comparison:
    """Time and score the ways to the Jacobian of a function of many values.

    Parameters
    ----------
    workload : Workload
        The function and the point; its `gradient`, if given, is the exact Jacobian.
    budget : float
        Seconds of timing, about.
    peers : sequence of JacobianPeer
        Other packages to compare with; those that are not installed are left out.
    progress : callable, optional
        Called with the share that is done, from 0 to 1.

    Returns
    -------
    Comparison
        As for gradients; an error is the largest of J - J* over the largest of J*, in size.

    Raises
    ------
    ValueError
        If the Jacobian is too large, or the exact one is not of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> squares = Workload.of_function("squares", lambda x: x**2, np.linspace(1.0, 2.0, 30))
    >>> result = compare_jacobians(squares, budget=0.01, peers=())
    >>> [str(score) for score in result.scores][:2], result.scores[0].error < 1e-8
    (['python/plain columns', 'auto/default'], True)
    """
    form = next(iter(workload.forms.values()))
    f, x, args = form.fresh(), workload.x, workload.args
    shape = np.shape(f(x.copy(), *args))
    size = int(np.prod(shape)) * x.size
    if size > MOST:
        raise ValueError(
            f"the Jacobian has {size} entries, and at most {MOST} are compared; choose a smaller point (--n), or use "
            "Jacobian(f, sparse=True) itself"
        )
    report = progress or (lambda share: None)
    exact, described, bar = _exact(workload, f, (*shape, *x.shape))
    present = [peer for peer in peers if importlib.util.find_spec(peer.package) is not None]
    runs: list[Run] = []
    refusals: list[Refusal] = []
    with warnings.catch_warnings(action="ignore"):
        for number, way in enumerate(WAYS):
            try:
                runs.append(_own(way, f, workload))
            except (TypeError, ValueError, CannotRun, ImportError) as error:
                if not runs:
                    raise
                refusals.append(Refusal(way.backend, way.form, " ".join(str(error).split())))
            report(0.3 * (number + 1) / (len(WAYS) + len(present)))
        for number, peer in enumerate(present, len(WAYS)):
            try:
                runs.append(_peer(peer, f, workload))
            except Exception as error:  # noqa: BLE001 - a peer may raise anything
                refusals.append(Refusal(peer.package, peer.name, " ".join(str(error).split()), True))
            report(0.3 * (number + 1) / (len(WAYS) + len(present)))
        interleaved(runs, budget, lambda share: report(0.3 + 0.7 * share))
    scores = tuple(_scored(run, runs[0], exact, x.size) for run in runs)
    winners = winners_of(scores)
    best = winners[0]
    way = next(way for way in WAYS if (way.backend, way.form) == (best.backend, best.form))
    unsteady = float(np.median([(s.quartiles[1] - s.quartiles[0]) / s.seconds for s in scores]))
    return Comparison(
        workload=workload.name,
        problem=workload.problem or workload.name,
        source=f"a Jacobian of shape {(*shape, *x.shape)}",
        shape=x.shape,
        coordinates=x.size,
        exact=described,
        bar=bar,
        scores=scores,
        refusals=tuple(refusals),
        winners=tuple(map(str, winners)),
        recommendation=f"{best} ({best.ran}), {best.faster:.3g}x faster than plain columns",
        code=way.code(workload),
        unsteady=unsteady > UNSTEADY,
    )


def _exact(workload: Workload, f: Any, shape: tuple[int, ...]) -> tuple[Floats, str, float | None]:
    """Return what errors are measured against, flat, what it is, and its relative error bar."""
    if workload.gradient is not None:
        exact = workload.gradient(workload.x.copy(), *workload.args)
        exact = np.asarray(exact.toarray() if hasattr(exact, "toarray") else exact, dtype=np.float64)
        if exact.shape != shape and exact.size != np.prod(shape):
            raise ValueError(f"the exact Jacobian must have shape {shape}, got {describe(exact.shape)}")
        return exact.reshape(-1), EXACT.replace("gradient", "Jacobian"), None
    found, info = Jacobian(f, args=workload.args, method="adaptive").with_info(workload.x)
    top = float(np.abs(found).max(initial=0.0)) or 1.0
    return found.reshape(-1), ADAPTIVE, float(info.error.max(initial=0.0)) / top


def _own(way: Way, f: Any, workload: Workload) -> Run:
    jacobian, x = Jacobian(f, args=workload.args, **way.options), workload.x
    began = perf_counter()
    jacobian(x)
    first = perf_counter() - began
    result, info = jacobian.with_info(x)
    return Run(
        call=lambda: jacobian(x),
        backend=way.backend,
        form=way.form,
        gradient=_flat(result),
        first_call=first,
        nfev=info.nfev,
        memory=peak_memory(lambda: jacobian(x)),
        ran=info.way,
    )


def _peer(peer: JacobianPeer, f: Any, workload: Workload) -> Run:
    x, args, count = workload.x.reshape(-1), workload.args, 0

    def flat(y: NDArray[Any]) -> NDArray[Any]:
        nonlocal count
        count += 1
        return np.asarray(f(np.reshape(y, workload.x.shape), *args), dtype=np.float64).reshape(-1)

    def pattern() -> Any:
        found = Jacobian(f, args=args, sparse=True)(workload.x)
        return import_module("scipy.sparse").csr_matrix(found)

    call = peer.bind(import_module(peer.module), flat, pattern)
    began = perf_counter()
    call(x.copy())
    first = perf_counter() - began
    count = 0
    result = call(x.copy())
    evaluated = count
    return Run(
        call=lambda: call(x),
        backend=peer.package,
        form=peer.name,
        gradient=_flat(result),
        first_call=first,
        nfev=evaluated,
        memory=peak_memory(lambda: call(x)),
        peer=True,
    )


def _flat(result: Any) -> Floats:
    dense = result.toarray() if hasattr(result, "toarray") else result
    return np.asarray(dense, dtype=np.float64).reshape(-1)


def _scored(run: Run, reference: Run, exact: Floats, n: int) -> Score:
    return replace(score(run, reference, exact), coordinates=n)
