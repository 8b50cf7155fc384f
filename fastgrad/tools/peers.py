"""Other packages' gradients, each used as its documentation says, where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..core.validation import Args, Array, Floats, Ints
from .timing import Run, peak_memory

Function = Callable[[Floats], Any]
Gradient = Callable[[Floats], Any]


class Peer(NamedTuple):
    """A way to differentiate, of another package; its text is its name in the table, ``package/name``."""

    # whose it is, and what it is called there
    package: str
    name: str
    module: str  # what has to be imported for it
    # ``bind(module, f)`` returns the gradient: a function of x, an array of one dimension
    bind: Callable[[Any, Function], Gradient]
    code: str = ""  # a line to paste, where {f} stands for a function of x alone
    # whether it calls f from Python, at single points, as many times as there are coordinates or more: then a part of
    # the coordinates can stand for all. False: it traces f, which must be written for the package.
    differences: bool = True

    def __str__(self) -> str:
        return f"{self.package}/{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        return self.package, self.name

    @property
    def present(self) -> bool:
        """Whether it can take part: installed, and, if f has to be written for it, used by the user's modules."""
        if not self.differences:
            return self.package in sys.modules
        return importlib.util.find_spec(self.module.partition(".")[0]) is not None


def _jax_grad(jax: ModuleType, f: Function) -> Gradient:
    gradient = jax.jit(jax.grad(f))
    return lambda x: np.asarray(gradient(x))  # waits for the result


# One a peer. scipy.differentiate.jacobian is not among them: its f must take many points at once, (n, k) -> (1, k).
PEERS = (
    Peer("scipy", "approx_fprime", "scipy.optimize", lambda module, f: lambda x: module.approx_fprime(x, f),
         "from scipy.optimize import approx_fprime; g = approx_fprime(x, {f})"),
    # what scipy.optimize.least_squares uses
    Peer("scipy", "3-point", "scipy.optimize._numdiff",
         lambda module, f: lambda x: module.approx_derivative(f, x, method="3-point"),
         "from scipy.optimize._numdiff import approx_derivative; g = approx_derivative({f}, x)"),
    Peer("numdifftools", "Gradient", "numdifftools", lambda module, f: module.Gradient(f),
         "import numdifftools; g = numdifftools.Gradient({f})(x)"),
    Peer("jacobi", "jacobi", "jacobi", lambda module, f: lambda x: module.jacobi(f, x)[0],
         "import jacobi; g = jacobi.jacobi({f}, x)[0]"),
    Peer("statsmodels", "centered", "statsmodels.tools.numdiff",
         lambda module, f: lambda x: module.approx_fprime(x, f, centered=True),
         "from statsmodels.tools.numdiff import approx_fprime; g = approx_fprime(x, {f}, centered=True)"),
    Peer("statsmodels", "complex step", "statsmodels.tools.numdiff",
         lambda module, f: lambda x: module.approx_fprime_cs(x, f),
         "from statsmodels.tools.numdiff import approx_fprime_cs; g = approx_fprime_cs(x, {f})"),
    Peer("jax", "grad", "jax", _jax_grad, "import jax; gradient = jax.jit(jax.grad({f})); g = gradient(x)",
         differences=False),
)  # fmt: skip


class TooSlow(BaseException):
    """Raised in f when a peer has used its time; not an Exception, for a peer may catch those."""


class _Counted:
    """f, counted, and stopped at a time."""

    def __init__(self, f: Function, until: float) -> None:
        self.f, self.until, self.nfev = f, until, 0

    def __call__(self, x: Floats) -> Any:
        self.nfev += 1
        if perf_counter() > self.until:
            raise TooSlow
        return self.f(x)


def open_peer(peer: Peer, f: Callable[..., Any], x: Array, args: Args, sample: Ints | None, allowance: float) -> Run:
    """Call a peer, for as many coordinates as can be done in some `allowance` seconds; of `sample`, if it is given.

    TooSlow if two coordinates take several times as long.
    """
    module = import_module(peer.module)
    shape, flat = x.shape, np.ravel(x).astype(np.float64)

    def of_all(values: Any) -> Any:
        return f(values.reshape(shape), *args)

    whole = f if len(shape) == 1 and not args else of_all
    if not peer.differences:
        return _first(peer, module, whole, flat, None, float("inf"))[0]
    pool = np.arange(x.size) if sample is None else sample
    few = min(pool.size, 2)
    opened, warm = _part(peer, module, whole, flat, pool, few, 4.0 * allowance)
    affordable = min(pool.size, int(allowance / max(warm / few, 1e-9)))
    if affordable <= few:
        return opened
    larger, _ = _part(peer, module, whole, flat, pool, affordable, 8.0 * allowance)
    larger.extra += opened.extra
    return larger


def _part(
    peer: Peer, module: ModuleType, f: Function, x: Floats, pool: Ints, count: int, seconds: float
) -> tuple[Run, float]:
    """Call a peer on f as a function of some of its coordinates."""
    if count >= x.size:
        return _first(peer, module, f, x, None, seconds)
    where = pool[np.linspace(0, pool.size - 1, count).astype(np.intp)]

    def of_some(values: Any) -> Any:
        point = x.astype(np.result_type(x, values))
        point[where] = values
        return f(point)

    run, warm = _first(peer, module, of_some, x[where], where, seconds)
    run.scale = x.size / where.size
    run.nfev = round(run.nfev * run.scale)
    return run, warm


def _first(
    peer: Peer, module: ModuleType, f: Function, x: Floats, where: Ints | None, seconds: float
) -> tuple[Run, float]:
    """Return what a peer gives and costs, and the seconds of a warm call."""
    counted = _Counted(f, perf_counter() + seconds)
    bind = partial(peer.bind, module)
    began = perf_counter()
    gradient = np.asarray(bind(counted)(x.copy()), dtype=np.float64).reshape(-1)
    first_call = perf_counter() - began
    if gradient.shape != x.shape:
        raise ValueError(f"{peer} gives {gradient.size} numbers for a gradient of {x.size}")
    bound = bind(f)
    bound(x.copy())  # what it compiles, it compiles for this f
    call = partial(bound, x)
    began = perf_counter()
    call()
    warm = perf_counter() - began
    cost: dict[str, Any] = {"extra": max(0.0, first_call - warm), "nfev": counted.nfev, "memory": peak_memory(call)}
    return Run(call, backend=peer.package, form=peer.name, gradient=gradient, where=where, peer=True, **cost), warm
