"""Time and score the ways to a Jacobian, and other packages', on one function of many values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ..core.errors import describe
from ..core.validation import Array, Floats, Function
from ..jacobian import Jacobian
from .compare import EXACT, Candidate, Comparison, Score, Target, concluded, measured
from .peers import Peer
from .timing import Progress, Run, peak_memory
from .workload import Workload

MOST = 4_000_000  # entries of a Jacobian that is compared, which is dense for that
ADAPTIVE = "the adaptive Jacobian, of which the error bar is known: no exact one was given"


# The first is the reference of the times.
WAYS = (
    Candidate("python", "plain columns", options=(("backend", "python"),)),
    Candidate("auto", "default"),
    Candidate("numpy", "lifted", options=(("backend", "numpy"),)),
    Candidate("auto", "default sparse", options=(("sparse", True),)),
)


class _Flat:
    """f of a flat x, whose values are flat, too; counted."""

    def __init__(self, f: Function, workload: Workload) -> None:
        self._f, self._workload, self.nfev = f, workload, 0

    def __call__(self, x: Array) -> Array:
        self.nfev += 1
        value = self._f(np.reshape(x, self._workload.x.shape), *self._workload.args)
        return np.asarray(value, dtype=np.float64).reshape(-1)

    def pattern(self) -> Any:
        """Return where its Jacobian is not zero."""
        found = Jacobian(self._f, args=self._workload.args, sparse=True)(self._workload.x)
        return import_module("scipy.sparse").csr_matrix(found)


def _scipy(method: str) -> Callable[[Any, Any], Callable[[Floats], Any]]:
    return lambda module, f: lambda x: module.approx_derivative(f, x, method=method)


def _grouped(module: Any, f: Any) -> Callable[[Floats], Any]:
    pattern = f.pattern()
    given = pattern, module.group_columns(pattern)
    return lambda x: module.approx_derivative(f, x, method="3-point", sparsity=given)


JACOBIAN_PEERS = (
    Peer("scipy", "2-point", "scipy.optimize._numdiff", _scipy("2-point")),
    Peer("scipy", "3-point", "scipy.optimize._numdiff", _scipy("3-point")),
    Peer("scipy", "3-point, pattern given", "scipy.optimize._numdiff", _grouped),
    Peer("numdifftools", "Jacobian", "numdifftools", lambda module, f: module.Jacobian(f)),
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
    peers: Sequence[Peer] = JACOBIAN_PEERS,
    progress: Progress | None = None,
) -> Comparison:
    """Time and score the ways to the Jacobian of a function of many values.

    ValueError if the Jacobian is too large, or the exact one is not of its shape.

    `workload`: the function and the point; its `gradient`, if given, is the exact Jacobian.
    `budget`: seconds of timing, about.
    `peers`: other packages to compare with; those that are not installed are left out.
    `progress`: called with the share that is done, from 0 to 1.

    Returns Comparison: as for gradients; an error is the largest of J - J* over the largest of J*, in size.

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
    target = _exact(workload, f, (*shape, *x.shape))
    own = [(way, partial(_own, way, f, workload)) for way in WAYS]
    others = [(peer, partial(_peer, peer, f, workload)) for peer in peers if peer.present]
    runs, refusals = measured(own, others, budget, progress)

    def recommend(winners: list[Score], scores: tuple[Score, ...]) -> tuple[str, str]:
        best = winners[0]
        way = next(way for way in WAYS if str(way) == str(best))
        code = workload.names.line("Jacobian", "jacobian", "J", dict(way.options))
        return f"{best} ({best.ran}), {best.faster:.3g}x faster than plain columns", code

    return concluded(workload, runs, refusals, target, f"a Jacobian of shape {(*shape, *x.shape)}", recommend)


def _exact(workload: Workload, f: Any, shape: tuple[int, ...]) -> Target:
    """Return what errors are measured against, flat, what it is, and its relative error bar."""
    if workload.gradient is not None:
        exact = workload.gradient(workload.x.copy(), *workload.args)
        exact = np.asarray(exact.toarray() if hasattr(exact, "toarray") else exact, dtype=np.float64)
        if exact.shape != shape and exact.size != np.prod(shape):
            raise ValueError(f"the exact Jacobian must have shape {shape}, got {describe(exact.shape)}")
        return Target(exact.reshape(-1), EXACT.replace("gradient", "Jacobian"), None)
    found, info = Jacobian(f, args=workload.args, method="adaptive").with_info(workload.x)
    top = float(np.abs(found).max(initial=0.0)) or 1.0
    return Target(found.reshape(-1), ADAPTIVE, float(info.error.max(initial=0.0)) / top)


def _own(way: Candidate, f: Any, workload: Workload) -> Run:
    jacobian, x = Jacobian(f, args=workload.args, **dict(way.options)), workload.x
    run = _run(way, lambda: jacobian(x), x.size)
    run.nfev, run.ran = (info := jacobian.with_info(x)[1]).nfev, info.way
    return run


def _peer(peer: Peer, f: Any, workload: Workload) -> Run:
    x, flat = workload.x.reshape(-1), _Flat(f, workload)
    call = peer.bind(import_module(peer.module), flat)
    run = _run(peer, lambda: call(x.copy()), x.size)
    flat.nfev, run.peer = 0, True
    call(x.copy())
    run.nfev = flat.nfev
    return run


def _run(who: Candidate | Peer, call: Callable[[], Any], n: int) -> Run:
    """Make the first call, and measure the memory of another."""
    backend, form = who.key
    result = call()
    dense = result.toarray() if hasattr(result, "toarray") else result
    flat = np.asarray(dense, dtype=np.float64).reshape(-1)
    return Run(call, backend=backend, form=form, gradient=flat, coordinates=n, memory=peak_memory(call))
