"""Functions of numpy with an edge, at it, beside it, and away from it: the Jacobian is right, or it says so.

The lift tells slopes to one side where f has an edge that nothing notices: the class of silent errors to watch. Most of
these functions are in no table of edges.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import numerical_jacobian
from fastgrad.lifting.sparse import bundle

N, PLACE, HALF = 24, 5, np.full(24, 0.5)


def beside(x: Any, function: Callable[..., Any], **kwargs: Any) -> Any:
    """A function of each entry and 0.5, side by side."""
    return function(np.stack([x, HALF]), axis=0, **kwargs)


def diagonal(x: Any) -> Any:
    return np.diag(x[4:8] - 0.5)


def floor_at_half(x: Any) -> Any:
    y = x * 1.0
    y[y < 0.5] = 0.5
    return y


TWICE = np.ones(2)
EDGES: dict[str, tuple[Callable[[Any], Any], float]] = {
    "heaviside": (lambda x: (x - 0.5) * np.heaviside(x - 0.5, 1.0), 0.5),
    "nextafter": (lambda x: np.nextafter(x, 0.5) + np.abs(x - 0.5), 0.5),
    "ldexp": (lambda x: np.ldexp(x - 0.5, 3) * np.where(x < 0.5, 1, 2), 0.5),
    "modf": (lambda x: np.modf(2.0 * x)[0] * x, 0.5),
    "modf, whole": (lambda x: np.modf(2.0 * x)[1] * (x - 0.5), 0.5),
    "frexp": (lambda x: np.frexp(x)[0], 0.5),
    "fmod": (lambda x: np.fmod(x, 0.25), 0.5),
    "mod": (lambda x: np.mod(x, 0.25), 0.5),
    "mod, below": (lambda x: np.mod(0.5, x), 0.25),
    "floor_divide": (lambda x: (x // 0.25) * (x - 0.5), 0.5),
    "sinc": (lambda x: np.abs(np.sinc(x)), 1.0),
    "unwrap": (lambda x: np.unwrap(x, period=1.0), 1.4),
    "interp": (lambda x: np.interp(x, [0.2, 0.5, 0.8], [1.0, 2.0, 0.0]), 0.5),
    "interp, beyond": (lambda x: np.interp(x, [0.2, 0.5], [1.0, 2.0]), 0.5),
    "digitize": (lambda x: np.array([0.0, 1.0, 3.0])[np.digitize(x, [0.2, 0.5])] * (x - 0.5), 0.5),
    "searchsorted": (lambda x: np.array([0.0, 1.0, 2.0])[np.searchsorted([0.3, 0.5], x)] * (x - 0.5), 0.5),
    "clip": (lambda x: np.clip(x, 0.4, 0.5), 0.5),
    "clip, bound": (lambda x: np.clip(0.5, x, x + 1.0), 0.5),
    "i0": (lambda x: np.abs(np.i0(x) - np.i0(0.5)), 0.5),
    "piecewise": (
        lambda x: np.piecewise(x, [x < 0.5, x >= 0.5], [lambda t: t, lambda t: 3.0 * t - 1.0]), 0.5,
    ),
    "select": (lambda x: np.select([x < 0.5, x < 0.7], [x, 2.0 * x - 0.5], 5.0 * x - 2.6), 0.5),
    "choose": (lambda x: np.choose((x > 0.5).astype(int), [x, 2.0 * x - 0.5]), 0.5),
    "histogram": (lambda x: np.histogram(np.arange(N), bins=4, weights=np.abs(x - 0.5))[0], 0.5),
    "bincount": (lambda x: np.bincount(np.arange(N) % 5, weights=np.abs(x - 0.5)), 0.5),
    "cumprod": (lambda x: np.abs(np.cumprod(x[:8])), 0.0),
    "prod": (lambda x: np.abs(np.prod(x[3:8])) * TWICE, 0.0),
    **{
        f"percentile, {method}": (
            lambda x, method=method: np.percentile(np.concatenate([x, [0.5, 0.5]]), 50, method=method) * TWICE, 0.5,
        )
        for method in ("linear", "lower", "higher", "midpoint", "nearest", "hazen", "inverted_cdf")
    },
    "median": (lambda x: np.median(np.stack([x, HALF, HALF]), axis=0), 0.5),
    "ptp": (lambda x: beside(x, np.ptp), 0.5),
    "sort": (lambda x: beside(x, np.sort)[0], 0.5),
    "argmin": (lambda x: np.stack([x, 1 - x])[np.argmin(np.stack([x, 1 - x]), axis=0), np.arange(N)], 0.5),
    "partition": (lambda x: np.partition(np.stack([x, HALF]), 0, axis=0)[0], 0.5),
    "trapezoid": (lambda x: np.trapezoid(np.abs(x - 0.5)) * TWICE, 0.5),
    "norm 1": (lambda x: np.linalg.norm(x - 0.5, 1) * TWICE, 0.5),
    "norm 2": (lambda x: np.linalg.norm(np.stack([x - 0.5, 0 * x]), axis=0), 0.5),
    "norm 3": (lambda x: np.linalg.norm(np.stack([x - 0.5, 0 * x]), 3, axis=0), 0.5),
    "norm inf": (lambda x: np.linalg.norm(np.stack([x - 0.5, 0.2 * HALF]), np.inf, axis=0), 0.6),
    "norm -inf": (lambda x: np.linalg.norm(np.stack([x - 0.5, 0.2 * HALF]), -np.inf, axis=0), 0.6),
    "nuclear norm": (lambda x: np.linalg.norm(diagonal(x), "nuc") * TWICE, 0.5),
    "spectral norm": (lambda x: np.linalg.norm(np.diag([x[5] - 0.5, 0.1 + 0 * x[0]]), 2) * TWICE, 0.6),
    "matrix norm 1": (lambda x: np.linalg.norm(np.diag(x[5:6] - 0.5), 1) * TWICE, 0.5),
    "matrix_power": (lambda x: np.abs(np.linalg.matrix_power(diagonal(x), 1)).ravel(), 0.5),
    "cond": (lambda x: np.linalg.cond(np.diag(np.concatenate([x[5:6], [0.5, 0.3]]))) * TWICE, 0.5),
    "kron": (lambda x: np.abs(np.kron(x - 0.5, [1.0, 2.0])), 0.5),
    "einsum": (lambda x: np.abs(np.einsum("i,j->ij", x - 0.5, [1.0, 2.0])).ravel(), 0.5),
    "tensordot": (lambda x: np.abs(np.tensordot(x - 0.5, np.ones((1, 3)), axes=0)).ravel(), 0.5),
    "convolve": (lambda x: np.abs(np.convolve(x - 0.5, [1.0], "same")), 0.5),
    "correlate": (lambda x: np.abs(np.correlate(x - 0.5, [1.0], "same")), 0.5),
    "copysign": (lambda x: np.copysign(1.0, x - 0.5) * (x - 0.5), 0.5),
    "copysign, size": (lambda x: np.copysign(x - 0.5, 1.0), 0.5),
    "sign": (lambda x: np.sign(x - 0.5) * (x - 0.5), 0.5),
    "fix": (lambda x: np.fix(x) * (x - 1.0), 1.0),
    "round": (lambda x: np.round(10.0 * x) * (x - 0.55), 0.55),
    "nanmax": (lambda x: beside(x, np.nanmax), 0.5),
    "max, initial": (lambda x: np.max(np.stack([x, x]), axis=0, initial=0.5), 0.5),
    "maximum.accumulate": (lambda x: np.maximum.accumulate(np.stack([x, HALF]), axis=0)[1], 0.5),
    "maximum.reduce": (lambda x: np.maximum.reduce(np.stack([x, HALF]), axis=0), 0.5),
    "float_power": (lambda x: np.float_power(np.abs(x - 0.5), 1.0), 0.5),
    "power": (lambda x: ((x - 0.5) ** 2) ** 0.5, 0.5),
    "sqrt": (lambda x: np.sqrt((x - 0.5) ** 2), 0.5),
    "cbrt": (lambda x: np.cbrt(np.abs((x - 0.5) ** 3)), 0.5),
    "hypot": (lambda x: np.hypot(x - 0.5, 0.0), 0.5),
    "arccos": (lambda x: np.arccos(np.cos(x - 0.5)), 0.5),
    "arccosh": (lambda x: np.arccosh(np.cosh(x - 0.5)), 0.5),
    "logical_and": (lambda x: np.where(np.logical_and(x >= 0.5, x < 2), 2.0 * x - 0.5, x), 0.5),
    "mask": (floor_at_half, 0.5),
    "diff": (lambda x: np.abs(np.diff(np.concatenate([x[:6], [0.5]]))), 0.5),
    "triu": (lambda x: np.abs(np.triu(np.outer(x[4:8] - 0.5, np.ones(2)))).ravel(), 0.5),
    "std": (lambda x: beside(x, np.std), 0.5),
    "polyval": (lambda x: np.abs(np.polyval([1.0, 0.0], x - 0.5)), 0.5),
    "cross": (lambda x: np.abs(np.cross(np.stack([x - 0.5, 0 * x, 0 * x], -1), [0.0, 0.0, 1.0])).ravel(), 0.5),
    "inner": (lambda x: np.abs(np.inner(x[4:8] - 0.5, [0.0, 1.0, 0.0, 0.0])) * TWICE, 0.5),
    "trace": (lambda x: np.abs(np.trace(np.diag(x[5:6] - 0.5))) * TWICE, 0.5),
    "eigvalsh": (lambda x: np.linalg.eigvalsh(np.diag(np.concatenate([x[5:6], [0.5]]))), 0.5),
    "svd": (lambda x: np.linalg.svd(np.diag(x[5:6] - 0.5), compute_uv=False), 0.5),
    "det": (lambda x: np.abs(np.linalg.det(np.diag(x[5:7] - 0.5))) * TWICE, 0.5),
}  # fmt: skip
QUICK = {"fmod", "interp", "clip, bound", "argmin", "hypot", "mod, below", "mask"}
NAMES = [pytest.param(name, id=name, marks=() if name in QUICK else pytest.mark.slow) for name in EDGES]


def one_sided(f: Callable[[Any], Any], x: Any, h: float) -> Any:
    """The slope of one side, by extrapolation."""
    here = np.asarray(f(x.copy()), float).ravel()

    def slope(step: float) -> Any:
        moved = x.copy()
        moved[PLACE] += step
        return (np.asarray(f(moved), float).ravel() - here) / (moved[PLACE] - x[PLACE])

    coarse, fine, finest = slope(h), slope(h / 2), slope(h / 4)
    return (4.0 * (2.0 * finest - fine) - (2.0 * fine - coarse)) / 3.0


def silently_wrong(f: Callable[[Any], Any], x: Any, h: float, tolerance: float) -> str:
    """What the Jacobian says without a word, and should not; empty if it is right, or tells."""
    with np.errstate(all="ignore"):
        right, left = one_sided(f, x, h), one_sided(f, x, -h)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jacobian, info = numerical_jacobian(f, x, sparse=True, full_output=True)
    if any("fastgrad" in warning.category.__module__ for warning in caught):
        return ""
    found, bar = jacobian.toarray()[:, PLACE], info.error.toarray()[:, PLACE]
    allowed = tolerance * (1.0 + np.abs(left) + np.abs(right)) + bar
    wrong = ~(np.abs(found - 0.5 * (left + right)) <= allowed) & np.isfinite(left) & np.isfinite(right)
    return (
        f"{info.way}: {found[wrong]}, from the left {left[wrong]}, from the right {right[wrong]}" if wrong.any() else ""
    )


def point(value: float, *more: int) -> Any:
    x = np.random.default_rng(5).uniform(0.3, 0.9, N)
    x[[PLACE, *more]] = value
    return x


@pytest.mark.parametrize("name", NAMES)
def test_an_edge_is_told(name: str) -> None:
    f, edge = EDGES[name]
    for x in (point(edge), point(edge, PLACE + 1), np.full(N, edge)):
        assert not silently_wrong(f, x, 2.0**-14, 2e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name.values != ("arccos",)])  # whose f is rounded there
def test_beside_an_edge_the_slope_is_that_of_this_side(name: str) -> None:
    f, edge = EDGES[name]
    for x in (point(edge + 1e-9), point(edge - 3e-7)):
        assert not silently_wrong(f, x, 2.0**-32, 3e-4)
    for x in (point(edge + 0.0137), point(edge - 0.0219)):
        assert not silently_wrong(f, x, 2.0**-14, 2e-5)


def test_an_edge_that_nothing_notices_would_be_seen_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "TIES", {})
    # beside an edge f has another slope, which the bars of what f rounds within tell of, too
    monkeypatch.setattr("fastgrad.planning.operators.of_rounding", lambda x, here, *more: np.zeros(here.shape))

    def edged(place: float) -> Callable[[Any], Any]:
        return lambda x: np.hypot(x - place, 0.0)

    assert any(silently_wrong(edged(place), point(place), 2.0**-14, 2e-5) for place in np.linspace(0.1, 2.0, 20))
