"""A network as a beginner's textbook builds it, and its numerical gradient: this is what the book's reader writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class DigitsNet:
    """64-50-10, sigmoid and softmax: `params` (name -> array), `loss` and the exact `gradient` of that."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.params = {
            "W1": 0.1 * rng.normal(size=(64, 50)),
            "b1": np.zeros(50),
            "W2": 0.1 * rng.normal(size=(50, 10)),
            "b2": np.zeros(10),
        }

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the hidden layer and the probabilities of the classes."""
        p = self.params
        hidden: Floats = 1 / (1 + np.exp(-(np.dot(x, p["W1"]) + p["b1"])))
        scores = np.dot(hidden, p["W2"]) + p["b2"]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, scores / scores.sum(axis=1, keepdims=True)

    def loss(self, x: Floats, t: Ints) -> float:
        """Return the mean cross-entropy of the labels."""
        y = self.predict(x)[1]
        return float(-np.sum(np.log(y[np.arange(len(t)), t])) / len(t))

    def gradient(self, x: Floats, t: Ints, name: str) -> Floats:
        """Return the exact gradient with respect to one array."""
        hidden, y = self.predict(x)
        y[np.arange(len(t)), t] -= 1
        of_scores = y / len(t)
        of_hidden = of_scores @ self.params["W2"].T * hidden * (1 - hidden)
        found: Floats = {
            "W1": x.T @ of_hidden, "b1": of_hidden.sum(axis=0), "W2": hidden.T @ of_scores, "b2": of_scores.sum(axis=0)
        }[name]  # fmt: skip
        return found


def loss_of(net: DigitsNet, x: Floats, t: Ints) -> Callable[[Floats], float]:
    """Return the loss as the textbook gives it to its loop: as a function that ignores its argument."""
    return lambda _: net.loss(x, t)


def loop(f: Callable[[Floats], Any], x: Floats) -> Floats:
    """The textbook's numerical gradient: change an entry of x, call f, and put the entry back."""
    h = 1e-4
    grad = np.zeros_like(x)
    for i in range(x.size):
        kept = x[i]
        x[i] = kept + h
        above = f(x)
        x[i] = kept - h
        below = f(x)
        grad[i] = (above - below) / (2 * h)
        x[i] = kept
    return grad
