"""A textbook's network on real digits as a workload: f ignores its argument, and reads the array itself."""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..core.validation import Floats
from . import textbook
from .peers import Peer
from .workload import Form, Names, Workload, load_file

NAME = "digits"
ARRAYS = {3200: "W1", 50: "b1", 500: "W2", 10: "b2"}  # its arrays, by their sizes
BATCH = 100
LOOP = Peer(
    "textbook",
    "loop",
    textbook.__name__,
    lambda module, f: lambda x: module.loop(f, x),
    "g = numerical_gradient({f}, x)",
)


def unavailable() -> str:
    """Say what is missing; nothing if all is there."""
    return "" if importlib.util.find_spec("sklearn") else "It needs scikit-learn's digits: pip install scikit-learn."


@cache
def _users() -> ModuleType:
    """Load the textbook's code under a name of its own, as a user's: into fastgrad's own functions nothing looks."""
    return load_file(Path(textbook.__file__), "_textbook")


def workload(size: int) -> Workload:
    """Return the array of this size as a workload, and the textbook's loop as its rival."""
    rng = np.random.default_rng(0)
    images, labels = import_module("sklearn.datasets").load_digits(return_X_y=True)
    chosen = rng.permutation(len(images))[:BATCH]
    x, t, name = images[chosen] / 16.0, labels[chosen], ARRAYS[size]
    net: Any = _users().DigitsNet(rng)
    W = net.params[name]
    kept = W.copy()

    def of_argument(values: Floats) -> Any:
        W[...] = values
        try:
            return net.loss(x, t)
        finally:
            W[...] = kept

    form = Form(_users().loss_of(net, x, t))
    return Workload(
        f"{NAME}, {name}, n = {size}",
        W,
        {"plain": form, "lifted": form, "default": form},
        gradient=lambda _: net.gradient(x, t, name),
        source="A textbook's network on scikit-learn's digits.",
        problem=NAME,
        names=Names(f="lambda W: net.loss(x, t)", x=f'net.params["{name}"]'),
        of_argument=of_argument,
        rivals=(LOOP,),
    )
