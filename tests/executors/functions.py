"""Functions and points for the tests of the executors: importable, so that any worker can have them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgrad.executors.executor import Entries, Rows

WEIGHTS = np.random.default_rng(3).normal(size=7)
ROWS = Rows(np.random.default_rng(4).normal(size=(40, 7)), (7,))


def entries() -> Entries:
    base = np.arange(6.0).reshape(2, 3)
    return Entries(base, np.repeat(np.arange(6), 2), np.linspace(-1.0, 1.0, 12))


def loss(x: NDArray[Any]) -> float:
    return float(np.sum(np.sin(x).reshape(-1) * WEIGHTS[: x.size]))


def residuals(x: NDArray[Any]) -> NDArray[Any]:
    return np.cos(x.reshape(-1)[:3]) * x.reshape(-1)[3]


def matrix(x: NDArray[Any]) -> NDArray[Any]:
    return np.outer(x.reshape(-1)[:2], x.reshape(-1)[:3])


def scribbling(x: NDArray[Any]) -> float:
    """Write into the argument: another evaluation must not see it."""
    x *= 2.0
    return float(x.sum())


def complex_loss(x: NDArray[Any]) -> complex:
    return complex(np.sum(np.exp(1j * x)))


def process(x: NDArray[Any]) -> float:
    return float(os.getpid())


class Told(Exception):
    """An exception that pickle cannot make again: its __init__ wants more than it keeps."""

    def __init__(self, one: object, other: object) -> None:
        super().__init__(f"{one} and {other}")
        self.one = one


def failing(x: NDArray[Any]) -> float:
    if x.reshape(-1)[0] > 0.5:
        raise Told(x.reshape(-1)[0], "more")
    return loss(x)


def stopping(x: NDArray[Any]) -> float:
    raise StopIteration(5)


def dying(x: NDArray[Any]) -> float:
    if x.reshape(-1)[0] > 1.5:
        os._exit(3)
    return loss(x)


class Meeting:
    """Whoever evaluates it, once so many processes have begun to, however late one of them is."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder, self.processes = folder, processes

    def __call__(self, x: NDArray[Any]) -> float:
        (self.folder / str(os.getpid())).touch()
        until = time.monotonic() + 300.0
        while len(list(self.folder.iterdir())) < self.processes and time.monotonic() < until:
            time.sleep(1e-3)
        return float(os.getpid())
