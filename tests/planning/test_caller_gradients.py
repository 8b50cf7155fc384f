"""Hessians by a caller's `grad`, as exact or as noisy as that is: within a few of their bars, or told."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

from fastgrad import AccuracyWarning, Gradient, numerical_gradient, numerical_hessian

A = np.random.default_rng(1).normal(size=(30, 8))
KEYS = {"W": (8, 5), "b": (5,), "v": (5,)}


def net(p: Any) -> float:
    return float(np.sum((np.tanh(A @ p["W"] + p["b"]) @ p["v"]) ** 2))


def slopes(p: Any) -> Any:
    h = np.tanh(A @ p["W"] + p["b"])
    r = h @ p["v"]
    d = 2.0 * np.outer(r, p["v"]) * (1.0 - h * h)
    return {"W": A.T @ d, "b": d.sum(0), "v": 2.0 * h.T @ r}


def by_array(p: Any) -> Any:
    """One of them exact, and two by differences, whose errors follow their own steps."""
    loops = {k: numerical_gradient(lambda a, k=k: net({**p, k: a}), p[k], backend="python") for k in ("b", "v")}
    return {"W": slopes(p)["W"], **loops}


def whole(blocks: Any) -> np.ndarray:
    sizes = {k: int(np.prod(shape)) for k, shape in KEYS.items()}
    return np.block([[np.reshape(blocks[a][c], (sizes[a], sizes[c])) for c in KEYS] for a in KEYS])


@pytest.mark.parametrize("seed", range(3))
def test_a_gradient_that_is_exact_in_some_entries_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = {k: rng.normal(size=shape) for k, shape in KEYS.items()}
    right = whole(numerical_hessian(net, x, grad=slopes))
    blocks, info = numerical_hessian(net, x, grad=by_array, full_output=True)
    error, bars = np.abs(whole(blocks) - right), whole(info.error)
    assert (error <= 3.0 * bars + 1e-8 * np.abs(right).max()).all()
    exact = np.s_[:40, :]  # one of each pair is known to nine digits: that one is taken
    assert error[exact].max() <= 1e-8 * np.abs(right).max()


@pytest.mark.parametrize("sparse", [False, True])
def test_what_is_no_gradient_is_told(sparse: bool) -> None:
    with pytest.warns(AccuracyWarning, match="not that of `f`"):
        _, info = numerical_hessian(
            np.sum, np.array([1.0, 2.0]), grad=lambda x: np.array([x[1], -x[0]]), sparse=sparse, full_output=True
        )
    assert info.error[0, 1] >= 0.5


def test_a_gradient_with_rounding_only_is_not_doubted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(20):
            x = np.random.default_rng(seed).normal(size=6)
            H, info = numerical_hessian(
                lambda x: np.sum(x**4) * x[0],
                x,
                grad=lambda x: 4 * x**3 * x[0] + np.eye(6)[0] * np.sum(x**4),
                full_output=True,
            )
            assert info.error.max() <= 1e-6 * np.abs(H).max()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_numerical_gradients_of_a_loop_and_a_lift_together(seed: int) -> None:
    """Errors were up to 17 bars: what looks surer of a pair may have the smaller bar by chance."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(12, 8))
    x = {"W": rng.normal(size=(8, 15)), "b": rng.normal(size=15), "c": rng.normal(size=6)}

    def f(p: Any) -> Any:
        return np.sum(np.tanh(a @ p["W"] + p["b"]) ** 2) + sum(float(c) ** 4 for c in p["c"])

    t = np.tanh(a @ x["W"] + x["b"])
    bend = 2.0 * (1.0 - t * t) ** 2 - 4.0 * t * t * (1.0 - t * t)
    gradient = partial(numerical_gradient, f)
    with warnings.catch_warnings(action="ignore"):
        blocks, info = numerical_hessian(f, x, grad=gradient, full_output=True)
    held, total = 0, 0
    for j in range(15):
        for found, bar, exact in (
            (blocks["W"]["W"][:, j, :, j], info.error["W"]["W"][:, j, :, j], a.T @ (bend[:, [j]] * a)),
            (blocks["W"]["b"][:, j, j], info.error["W"]["b"][:, j, j], a.T @ bend[:, j]),
        ):
            assert (np.abs(found - exact) <= 6.0 * bar).all()
            held, total = held + np.count_nonzero(np.abs(found - exact) <= bar), total + bar.size
    assert held >= 0.9 * total
    assert (np.abs(np.diag(blocks["c"]["c"]) - 12.0 * x["c"] ** 2) <= np.diag(info.error["c"]["c"])).all()


def test_a_gradient_object_tells_its_errors() -> None:
    def f(x: Any) -> float:
        return float(np.sum(np.sin(x)) * x[0])

    x = np.linspace(0.3, 1.2, 4)
    _, plain = numerical_hessian(f, x, grad=partial(numerical_gradient, f, backend="python"), full_output=True)
    _, told = numerical_hessian(f, x, grad=Gradient(f, backend="python"), full_output=True)
    assert (told.error >= plain.error).all()
    assert told.error.max() > plain.error.max()
