"""Random programs of numpy on one flat vector: slices reshaped to matrices, layers, reductions, gathers, choices.

A program is grown line by line: each line is run on plain numbers as it is written, and kept if it gives finite numbers
of moderate size. So every program is valid numpy, whatever shapes meet in it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 400  # entries of an array
ELEMENTWISE = [
    "np.tanh({a})",
    "np.sin({a})",
    "np.cos({a})",
    "np.exp(-{a} * {a})",
    "{a} ** 2",
    "{a} ** 3",
    "1.0 / (1.0 + {a} * {a})",
    "np.maximum({a}, 0.0)",
    "np.maximum({a}, 0.1)",
    "np.minimum({a}, 0.4)",
    "np.abs({a})",
    "np.where({a} > 0.05, {a}, 0.3 * {a})",
    "np.sqrt(1.0 + {a} * {a})",
    "np.log1p({a} * {a})",
    "np.clip({a}, -0.5, 0.7)",
    "np.arctan({a})",
    "-{a}",
    "0.5 * {a} - 1.0",
    "{a} / 3.0",
    "np.log(2.0 + np.sin({a}))",
    "{a} * (1.0 - {a})",
    "np.square({a}) + {a}",
    "np.expm1(0.1 * {a})",
    "np.floor(3.0 * {a}) * {a}",
    "np.remainder({a}, 0.3)",
    "np.interp({a}, [-1.0, 0.1, 1.0], [0.5, -0.3, 2.0])",
    "np.piecewise({a}, [{a} < 0.1, {a} > 0.5], [np.sin, 0.5, lambda v: v * v])",
    "np.divide(1.0, {a}, out=np.ones_like({a}), where={a} > 0.2)",
]
REDUCING = [
    "{a}.sum(axis={i})",
    "np.mean({a}, axis={i})",
    "np.mean({a}, axis={i}, keepdims=True)",
    "np.max({a}, axis={i})",
    "np.min({a}, axis={i}, keepdims=True)",
    "np.std({a}, axis={i})",
    "np.var({a}, axis={i}, keepdims=True)",
    "np.sqrt(np.sum({a} * {a}, axis={i}) + 0.1)",
    "np.linalg.norm({a}, axis={i})",
    "np.cumsum({a}, axis={i})",
    "{a} - {a}.max(axis={i}, keepdims=True)",
    "{a} - {a}.mean(axis={i}, keepdims=True)",
    "np.ptp({a}, axis={i})",
    "softmax({a}, {i})",
    "np.sort({a}, axis={i})",
    "np.median({a}, axis={i})",
    "np.quantile({a}, [0.2, 0.9], axis={i})",
    "np.cumprod(1.0 + 0.1 * {a}, axis={i})",
    "np.prod(1.0 + 0.1 * {a}, axis={i})",
    "np.gradient({a}, 0.5, axis={i}, edge_order=2)",
    "np.trapezoid({a}, axis={i})",
    "np.sum({a})",
    "np.mean({a})",
    "np.max({a})",
    "{a}.sum(axis={i}, keepdims=True)",
]
MOVING = [
    "{a}.T",
    "{a}.reshape(-1)",
    "{a}.reshape({shape})",
    "{a}[::-1]",
    "{a}[1:]",
    "{a}[..., :-1]",
    "{a}[{rows}]",
    "{a}[..., {cols}]",
    "{a}[{row}]",
    "{a}[..., ::2]",
    "np.roll({a}, 1, axis={i})",
    "np.concatenate([{a}, {b}], axis={i})",
    "np.stack([{a}, {b}])",
    "np.pad({a}, 1)",
    "np.repeat({a}, 2, axis={i})",
    "np.swapaxes({a}, 0, -1)",
    "{a}[None]",
    "{a}[..., None]",
    "{a}[np.arange({n}), {each}]",
    "np.hstack([{a}, {b}])",
    "np.flip({a}, {i})",
    "np.diff({a}, axis={i})",
    "{a}.ravel()[{flat}]",
    "np.broadcast_to({a}, (2, *{a}.shape))",
]
MEETING = [
    "{a} + {b}",
    "{a} - {b}",
    "{a} * {b}",
    "{a} / (1.0 + {b} * {b})",
    "np.maximum({a}, {b})",
    "np.minimum({a}, {b})",
    "np.hypot({a}, {b} + 0.2)",
    "np.logaddexp({a}, {b})",
    "{a} @ {b}",
    "{a} @ {b}",
    "{a} @ {b} + {c}",
    "np.tanh({a} @ {b} + {c})",
    "np.dot({a}, {b})",
    "np.outer({a}, {b})",
    "np.where({a} > {b}, {a}, {b} * {b})",
    "np.einsum('ij,kj->ik', {a}, {b})",
    "np.einsum('ij,ij->j', {a}, {b})",
    "np.tensordot({a}, {b}, axes=1)",
    "{a}[:, None] - {b}",
    "np.inner({a}, {b})",
    "np.kron({a}, {b})",
    "np.linalg.solve(definite({a}), {a})",
    "np.linalg.inv(definite({a})) @ {a}",
    "np.linalg.slogdet(definite({a}))[1] * {b}",
    "np.linalg.cholesky(definite({a})) @ {a}",
    "np.linalg.pinv({a} + np.eye(*{a}.shape)) @ {a}",
    "np.convolve({a}, {b})",
]
WRITING = [
    "{t} = {a}.copy(); {t}[{t} > 0.1] = 0.0",
    "{t} = {a}.copy(); {t}[1:] = 0.5 * {t}[:-1]",
    "{t} = {a} * 1.0; {t} += {b}",
    "{t} = {a}.copy(); {t} *= {b}",
    "{t} = {a}.copy(); {t}[{row}] = 0.3",
    "{t} = {a}.copy(); {t}[{row}] += {a}[{row}] ** 2",
]
ENDS = [
    "np.mean({a} ** 2)",
    "np.sum({a} * {a}) + 0.01 * np.sum(p ** 2)",
    "np.sum(np.sin({a}))",
    "np.sum({a}) * 0.1 + p[0]",
]


def softmax(a: Any, axis: int) -> Any:
    e = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def definite(a: Any) -> Any:
    return np.eye(len(a)) + 0.1 * a @ a.T


class Program:
    """A random function of a vector p.

    Attributes
    ----------
    f : callable
    source : str
    x : ndarray
        Where it is to be differentiated.
    """

    f: Callable[..., Any]

    def __init__(self, seed: int, ties: bool = False) -> None:
        rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        self._rng, self._names = rng, 0
        self._space: dict[str, Any] = {"np": np, "softmax": softmax, "definite": definite}
        self._known: dict[str, Any] = {}
        self._perturbed = {"p"}
        self._lines: list[str] = []
        shapes = self._shapes(rng)
        lead = rng.randrange(4)
        size = lead + sum(int(np.prod(s)) for s in shapes) + 1
        # ties: many entries are zero or equal, so that choices are between equals
        self.x: NDArray[np.float64] = numbers.integers(-2, 3, size) / 2.0 if ties else numbers.normal(size=size)
        self._space["p"] = self.x.copy()
        begin = lead
        for shape in shapes:
            count = int(np.prod(shape))
            self._try(f"{self._name()} = p[{begin}:{begin + count}]" + (f".reshape{shape}" if len(shape) > 1 else ""))
            begin += count
        first = shapes[0][0]
        for name, shape in (("X", (rng.randrange(1, 6), first)), ("Y", (first,))):
            self._space[name] = self._known[name] = numbers.normal(size=shape)
        for _ in range(40):
            if len(self._lines) >= len(shapes) + rng.randrange(4, 14):
                break
            self._grow()
        perturbed = sorted(self._perturbed & self._known.keys(), key=list(self._known).index)
        for _ in range(20):
            if self._try(f"out = {rng.choice(ENDS)}".replace("{a}", rng.choice(perturbed[-4:]))):
                break
        else:
            self._lines.append("out = np.sum(p * p)")
        self.source = "def f(p):\n" + "".join(f"    {line}\n" for line in self._lines) + "    return out\n"
        space = {name: self._space[name] for name in ("np", "softmax", "definite", "X", "Y")}
        space["__name__"] = "programs"
        exec(self.source, space)
        self.f = space["f"]

    @staticmethod
    def _shapes(rng: random.Random) -> list[tuple[int, ...]]:
        sizes = [rng.randrange(1, 7) for _ in range(rng.randrange(2, 5))]
        shapes: list[tuple[int, ...]] = []
        for a, b in pairwise(sizes):
            shapes += [(a, b), (b,)] if rng.random() < 0.7 else [(a, b)]
        if rng.random() < 0.3:
            shapes.append((rng.randrange(1, 4), rng.randrange(1, 4), rng.randrange(1, 4)))
        return shapes

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def _try(self, line: str) -> bool:
        """Keep a line if it runs, on numbers, to something that can be gone on with."""
        space = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in self._space.items()}
        try:
            exec(line, space)
        except (ValueError, IndexError, TypeError, AttributeError):
            return False
        name = line.partition(" = ")[0]
        value = space[name]
        if not np.size(value) or np.size(value) > MOST or np.ndim(value) > 4:
            return False
        if np.asarray(value).dtype != float or not np.isfinite(value).all() or np.abs(value).max() > 100:
            return False
        self._space[name] = self._known[name] = value
        if set(re.findall(r"\w+", line)) & self._perturbed:
            self._perturbed.add(name)
        self._lines.append(line)
        return True

    def _grow(self) -> None:
        rng = self._rng
        names = list(self._known)
        a, b, c = (rng.choice(names[-6:] if rng.random() < 0.7 else names) for _ in range(3))
        if not {a, b, c} & self._perturbed:
            return
        shape = np.shape(self._known[a])
        rows, last = (shape[0], shape[-1]) if shape else (1, 1)
        factors = [i for i in range(1, int(np.prod(shape)) + 1) if np.prod(shape) % i == 0]
        split = rng.choice(factors)
        t = self._name()
        kind = rng.choice([ELEMENTWISE, REDUCING, MOVING, MEETING, MEETING, WRITING])
        line = rng.choice(kind)
        line = line if kind is WRITING else f"{t} = {line}"
        for mark, value in {
            "{a}": a,
            "{b}": b,
            "{c}": c,
            "{t}": t,
            "{i}": rng.randrange(max(1, len(shape))),
            "{shape}": (split, -1),
            "{rows}": [rng.randrange(rows) for _ in range(rng.randrange(1, 5))],
            "{cols}": [rng.randrange(last) for _ in range(rng.randrange(1, 4))],
            "{row}": rng.randrange(rows),
            "{n}": rows,
            "{each}": [rng.randrange(last) for _ in range(rows)],
            "{flat}": [rng.randrange(int(np.prod(shape))) for _ in range(4)],
        }.items():
            line = line.replace(mark, str(value))
        self._try(line)
