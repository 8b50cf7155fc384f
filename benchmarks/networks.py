"""Networks as a beginner's textbook builds them: closures over objects that hold their parameters in dictionaries.

Each network has `params` (name -> array) and `loss(x, t)`. Gradients are wanted of ``lambda W: net.loss(x, t)`` at
``net.params[name]``: the function ignores its argument, and layers hold the very array. `NETWORKS` makes them, with
their data, for tests, asv and ``python -m benchmarks.networks``, which measures all of them beside the book's own loop.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastgrad import numerical_gradient

# ------------------------------------------------------------------------------------------------------- functions


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(0, a)


def softmax(a):
    if a.ndim == 2:
        flipped = a.T
        flipped = flipped - np.max(flipped, axis=0)
        return (np.exp(flipped) / np.sum(np.exp(flipped), axis=0)).T
    a = a - np.max(a)
    return np.exp(a) / np.sum(np.exp(a))


def softmax_last(a):
    """The form of the second volume: along the last axis, in place."""
    if a.ndim == 2:
        a = a - a.max(axis=1, keepdims=True)
        a = np.exp(a)
        a /= a.sum(axis=1, keepdims=True)
    elif a.ndim == 1:
        a = a - np.max(a)
        a = np.exp(a) / np.sum(np.exp(a))
    return a


def cross_entropy_error(y, t):
    if y.ndim == 1:
        t = t.reshape(1, t.size)
        y = y.reshape(1, y.size)
    if t.size == y.size:
        t = t.argmax(axis=1)
    count = y.shape[0]
    return -np.sum(np.log(y[np.arange(count), t] + 1e-7)) / count


def im2col(images, height, width, stride=1, pad=0):
    n, c, h, w = images.shape
    out_h = (h + 2 * pad - height) // stride + 1
    out_w = (w + 2 * pad - width) // stride + 1
    padded = np.pad(images, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    columns = np.zeros((n, c, height, width, out_h, out_w))
    for i in range(height):
        last_i = i + stride * out_h
        for j in range(width):
            last_j = j + stride * out_w
            columns[:, :, i, j, :, :] = padded[:, :, i:last_i:stride, j:last_j:stride]
    return columns.transpose(0, 4, 5, 1, 2, 3).reshape(n * out_h * out_w, -1)


# ---------------------------------------------------------------------------------------------------------- layers


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out


class Sigmoid:
    def __init__(self):
        self.out = None

    def forward(self, x):
        out = sigmoid(x)
        self.out = out
        return out


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.x = self.original_x_shape = self.dW = self.db = None

    def forward(self, x):
        self.original_x_shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        return np.dot(self.x, self.W) + self.b


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = self.y = self.t = None

    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        self.loss = cross_entropy_error(self.y, self.t)
        return self.loss


class Dropout:
    def __init__(self, ratio=0.5):
        self.ratio = ratio
        self.mask = None

    def forward(self, x, train_flg=True):
        if train_flg:
            self.mask = np.random.rand(*x.shape) > self.ratio
            return x * self.mask
        return x * (1.0 - self.ratio)


class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.input_shape = self.running_mean = self.running_var = None
        self.batch_size = self.xc = self.xn = self.std = None

    def forward(self, x, train_flg=True):
        self.input_shape = x.shape
        if x.ndim != 2:
            x = x.reshape(x.shape[0], -1)
        return self._forward(x, train_flg).reshape(*self.input_shape)

    def _forward(self, x, train_flg):
        if self.running_mean is None:
            _, d = x.shape
            self.running_mean = np.zeros(d)
            self.running_var = np.zeros(d)
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc**2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size = x.shape[0]
            self.xc, self.xn, self.std = xc, xn, std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xn = (x - self.running_mean) / np.sqrt(self.running_var + 10e-7)
        return self.gamma * xn + self.beta


class Convolution:
    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.stride, self.pad = W, b, stride, pad
        self.x = self.col = self.col_W = self.dW = self.db = None

    def forward(self, x):
        fn, _, fh, fw = self.W.shape
        n, _, h, w = x.shape
        out_h = 1 + int((h + 2 * self.pad - fh) / self.stride)
        out_w = 1 + int((w + 2 * self.pad - fw) / self.stride)
        col = im2col(x, fh, fw, self.stride, self.pad)
        col_W = self.W.reshape(fn, -1).T
        out = np.dot(col, col_W) + self.b
        out = out.reshape(n, out_h, out_w, -1).transpose(0, 3, 1, 2)
        self.x, self.col, self.col_W = x, col, col_W
        return out


class Pooling:
    def __init__(self, pool_h, pool_w, stride=2, pad=0):
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad
        self.x = self.arg_max = None

    def forward(self, x):
        n, c, h, w = x.shape
        out_h = int(1 + (h - self.pool_h) / self.stride)
        out_w = int(1 + (w - self.pool_w) / self.stride)
        col = im2col(x, self.pool_h, self.pool_w, self.stride, self.pad).reshape(-1, self.pool_h * self.pool_w)
        arg_max = np.argmax(col, axis=1)
        out = np.max(col, axis=1)
        out = out.reshape(n, out_h, out_w, c).transpose(0, 3, 1, 2)
        self.x, self.arg_max = x, arg_max
        return out


# -------------------------------------------------------------------------------------------------------- networks


class TwoLayerNet:
    """Functions only: nothing is written while the loss is computed."""

    def __init__(self, inputs, hidden, outputs, std=0.01, rng=None):
        rng = rng or np.random.default_rng(0)
        self.params = {
            "W1": std * rng.normal(size=(inputs, hidden)),
            "b1": np.zeros(hidden),
            "W2": std * rng.normal(size=(hidden, outputs)),
            "b2": np.zeros(outputs),
        }

    def predict(self, x):
        W1, W2 = self.params["W1"], self.params["W2"]
        b1, b2 = self.params["b1"], self.params["b2"]
        a1 = np.dot(x, W1) + b1
        z1 = sigmoid(a1)
        a2 = np.dot(z1, W2) + b2
        return softmax(a2)

    def loss(self, x, t):
        return cross_entropy_error(self.predict(x), t)


class LayerNet:
    """An OrderedDict of layers that share their arrays with `params`, and store what they see."""

    def __init__(self, sizes, std=0.1, rng=None, batchnorm=False, activation=Relu, dropout=0.0, decay=0.0):
        rng = rng or np.random.default_rng(0)
        self.params, self.layers, self.decay, self.depth = {}, OrderedDict(), decay, len(sizes) - 1
        for i in range(1, len(sizes)):
            self.params[f"W{i}"] = std * rng.normal(size=(sizes[i - 1], sizes[i]))
            self.params[f"b{i}"] = np.zeros(sizes[i])
            self.layers[f"Affine{i}"] = Affine(self.params[f"W{i}"], self.params[f"b{i}"])
            if i < len(sizes) - 1:
                if batchnorm:
                    self.params[f"gamma{i}"] = np.ones(sizes[i])
                    self.params[f"beta{i}"] = np.zeros(sizes[i])
                    self.layers[f"BatchNorm{i}"] = BatchNormalization(self.params[f"gamma{i}"], self.params[f"beta{i}"])
                self.layers[f"Activation{i}"] = activation()
                if dropout:
                    self.layers[f"Dropout{i}"] = Dropout(dropout)
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=True):
        for key, layer in self.layers.items():
            if "Dropout" in key or "BatchNorm" in key:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x, t, train_flg=True):
        y = self.predict(x, train_flg)
        weight_decay = 0
        if self.decay:
            for i in range(1, self.depth + 1):
                W = self.params[f"W{i}"]
                weight_decay += 0.5 * self.decay * np.sum(W**2)
        return self.last_layer.forward(y, t) + weight_decay


class SimpleConvNet:
    """conv - relu - pool - affine - relu - affine - softmax."""

    def __init__(self, input_dim=(1, 28, 28), filters=30, size=5, hidden=100, outputs=10, std=0.05, rng=None):
        rng = rng or np.random.default_rng(0)
        side = input_dim[1] - size + 1
        pooled = filters * (side // 2) ** 2
        self.params = {
            "W1": std * rng.normal(size=(filters, input_dim[0], size, size)),
            "b1": np.zeros(filters),
            "W2": std * rng.normal(size=(pooled, hidden)),
            "b2": np.zeros(hidden),
            "W3": std * rng.normal(size=(hidden, outputs)),
            "b3": np.zeros(outputs),
        }
        p = self.params
        self.layers = OrderedDict()
        self.layers["Conv1"] = Convolution(p["W1"], p["b1"])
        self.layers["Relu1"] = Relu()
        self.layers["Pool1"] = Pooling(2, 2, stride=2)
        self.layers["Affine1"] = Affine(p["W2"], p["b2"])
        self.layers["Relu2"] = Relu()
        self.layers["Affine2"] = Affine(p["W3"], p["b3"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)


# ----------------------------------------------------------------------- recurrent networks, as the second volume


class Embedding:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]
        self.idx = None

    def forward(self, idx):
        (W,) = self.params
        self.idx = idx
        return W[idx]


class TimeEmbedding:
    def __init__(self, W, dtype=np.float64):
        self.params, self.grads, self.W, self.dtype = [W], [np.zeros_like(W)], W, dtype
        self.layers = None

    def forward(self, xs):
        n, t = xs.shape
        _, d = self.W.shape
        out = np.empty((n, t, d), dtype=self.dtype)
        self.layers = []
        for step in range(t):
            layer = Embedding(self.W)
            out[:, step, :] = layer.forward(xs[:, step])
            self.layers.append(layer)
        return out


class RNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache = None

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h_next = np.tanh(np.dot(h_prev, Wh) + np.dot(x, Wx) + b)
        self.cache = (x, h_prev, h_next)
        return h_next


class TimeRNN:
    def __init__(self, Wx, Wh, b, stateful=False, dtype=np.float64):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers, self.h, self.dh, self.stateful, self.dtype = None, None, None, stateful, dtype

    def forward(self, xs):
        n, t, _ = xs.shape
        h = self.params[0].shape[1]
        self.layers = []
        hs = np.empty((n, t, h), dtype=self.dtype)
        if not self.stateful or self.h is None:
            self.h = np.zeros((n, h), dtype=self.dtype)
        for step in range(t):
            layer = RNN(*self.params)
            self.h = layer.forward(xs[:, step, :], self.h)
            hs[:, step, :] = self.h
            self.layers.append(layer)
        return hs


class LSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache = None

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        _, h = h_prev.shape
        a = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f, g = sigmoid(a[:, :h]), np.tanh(a[:, h : 2 * h])
        i, o = sigmoid(a[:, 2 * h : 3 * h]), sigmoid(a[:, 3 * h :])
        c_next = f * c_prev + g * i
        h_next = o * np.tanh(c_next)
        self.cache = (x, h_prev, c_prev, i, f, g, o, c_next)
        return h_next, c_next


class TimeLSTM:
    def __init__(self, Wx, Wh, b, stateful=False, dtype=np.float64):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers, self.h, self.c, self.stateful, self.dtype = None, None, None, stateful, dtype

    def forward(self, xs):
        n, t, _ = xs.shape
        h = self.params[1].shape[0]
        self.layers = []
        hs = np.empty((n, t, h), dtype=self.dtype)
        if not self.stateful or self.h is None:
            self.h = np.zeros((n, h), dtype=self.dtype)
        if not self.stateful or self.c is None:
            self.c = np.zeros((n, h), dtype=self.dtype)
        for step in range(t):
            layer = LSTM(*self.params)
            self.h, self.c = layer.forward(xs[:, step, :], self.h, self.c)
            hs[:, step, :] = self.h
            self.layers.append(layer)
        return hs


class TimeAffine:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        n, t, _ = x.shape
        W, b = self.params
        out = np.dot(x.reshape(n * t, -1), W) + b
        self.x = x
        return out.reshape(n, t, -1)


class TimeSoftmaxWithLoss:
    def __init__(self):
        self.params, self.grads, self.cache, self.ignore_label = [], [], None, -1

    def forward(self, xs, ts):
        n, t, v = xs.shape
        if ts.ndim == 3:
            ts = ts.argmax(axis=2)
        mask = ts != self.ignore_label
        xs, ts, mask = xs.reshape(n * t, v), ts.reshape(n * t), mask.reshape(n * t)
        ys = softmax_last(xs)
        ls = np.log(ys[np.arange(n * t), ts])
        ls *= mask
        loss = -np.sum(ls)
        loss /= mask.sum()
        self.cache = (ts, ys, mask, (n, t, v))
        return loss


class SimpleRnnlm:
    """Embedding - RNN or LSTM - affine - softmax; `params` is a dictionary here, so that all nets are asked alike."""

    def __init__(self, vocab=20, wordvec=10, hidden=16, lstm=False, stateful=False, rng=None):
        rng = rng or np.random.default_rng(0)
        gates = 4 if lstm else 1
        self.params = {
            "embed": rng.normal(size=(vocab, wordvec)) / 10,
            "Wx": rng.normal(size=(wordvec, gates * hidden)) / np.sqrt(wordvec),
            "Wh": rng.normal(size=(hidden, gates * hidden)) / np.sqrt(hidden),
            "b": np.zeros(gates * hidden),
            "W": rng.normal(size=(hidden, vocab)) / np.sqrt(hidden),
            "c": np.zeros(vocab),
        }
        p = self.params
        recurrent = TimeLSTM if lstm else TimeRNN
        self.layers = [
            TimeEmbedding(p["embed"]),
            recurrent(p["Wx"], p["Wh"], p["b"], stateful=stateful),
            TimeAffine(p["W"], p["c"]),
        ]
        self.loss_layer = TimeSoftmaxWithLoss()

    def predict(self, xs):
        for layer in self.layers:
            xs = layer.forward(xs)
        return xs

    def loss(self, xs, ts):
        return self.loss_layer.forward(self.predict(xs), ts)


# ------------------------------------------------------------------------------------------------- ready to be used

Made = tuple[Any, Any, Any]  # the network, x and t


def images(rng, batch, size, classes=10, dead=0.0):
    """Random pictures between 0 and 1, some of whose pixels are always 0, and one-hot labels."""
    x = rng.random((batch, size))
    if dead:
        x[:, rng.permutation(size)[: int(dead * size)]] = 0.0
    return x, np.eye(classes)[rng.integers(0, classes, batch)]


def make_two_layer(inputs=784, hidden=50, batch=100, dead=0.0) -> Made:
    rng = np.random.default_rng(1)
    return (TwoLayerNet(inputs, hidden, 10, rng=rng), *images(rng, batch, inputs, dead=dead))


def make_layers(sizes=(784, 50, 10), batch=100, **kwargs) -> Made:
    rng = np.random.default_rng(2)
    return (LayerNet(sizes, rng=rng, **kwargs), *images(rng, batch, sizes[0], sizes[-1]))


def make_conv(side=12, filters=8, hidden=30, batch=10) -> Made:
    rng = np.random.default_rng(3)
    x, t = images(rng, batch, side * side)
    return SimpleConvNet((1, side, side), filters, 5, hidden, rng=rng), x.reshape(batch, 1, side, side), t


def make_rnn(batch=10, time=5, **kwargs) -> Made:
    rng = np.random.default_rng(4)
    net = SimpleRnnlm(rng=rng, **kwargs)
    vocab = net.params["c"].size
    xs = rng.integers(0, vocab, (batch, time))
    return net, xs, rng.integers(0, vocab, (batch, time))


# name -> how to make it, and which of its arrays are measured
NETWORKS: dict[str, tuple[Callable[[], Made], tuple[str, ...]]] = {
    "sigmoid 784-50-10": (make_two_layer, ("W1", "b1", "W2", "b2")),
    "sigmoid 784-100-10": (lambda: make_two_layer(hidden=100), ("W1", "W2")),
    "relu layers 784-50-10": (make_layers, ("W1", "b1", "W2", "b2")),
    "relu 100-50-50-10 decay": (lambda: make_layers((100, 50, 50, 10), decay=0.1), ("W1", "W2", "W3")),
    "batch norm 784-50-10": (lambda: make_layers(batchnorm=True), ("W1", "gamma1", "W2")),
    "conv 12x12, 8 filters": (make_conv, ("W1", "b1", "W2", "W3")),
    "rnn, 5 steps": (make_rnn, ("embed", "Wx", "Wh", "W")),
    "lstm, 5 steps": (lambda: make_rnn(lstm=True), ("embed", "Wx", "Wh", "b", "W")),
    "dropout 64-20-10": (lambda: make_layers((64, 20, 10), dropout=0.3), ("W1",)),
    "stateful rnn": (lambda: make_rnn(stateful=True), ("Wh",)),
}
# the same, so small that the book's loop is quick: all arrays of each are tested
SMALL: dict[str, Callable[[], Made]] = {
    "sigmoid": lambda: make_two_layer(24, 7, batch=12),
    "sigmoid, dead inputs": lambda: make_two_layer(24, 7, batch=12, dead=0.5),
    "relu": lambda: make_layers((24, 7, 10), batch=12),
    "sigmoid layers": lambda: make_layers((24, 7, 10), batch=12, activation=Sigmoid),
    "deep, decay": lambda: make_layers((20, 9, 8, 7, 5), batch=12, decay=0.1),
    "batch norm": lambda: make_layers((24, 7, 10), batch=12, batchnorm=True),
    "conv": lambda: make_conv(side=8, filters=3, hidden=6, batch=4),
    "rnn": lambda: make_rnn(batch=4, time=3, vocab=8, wordvec=5, hidden=6),
    "lstm": lambda: make_rnn(batch=4, time=3, vocab=8, wordvec=5, hidden=4, lstm=True),
}


def book_gradient(f, x, h=1e-4, where=None):
    """The loop that the book has its readers write, in other words; over all entries or some."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape) if where is None else where:
        before = x[i]
        x[i] = float(before) + h
        above = f(x)
        x[i] = before - h
        below = f(x)
        grad[i] = (above - below) / (2 * h)
        x[i] = before
    return grad


# ---------------------------------------------------------------------------------------------------- the whole table

ROUNDS, SOME = 5, 150  # interleaved; the book's loop is timed on so many entries and scaled to all


class Row(NamedTuple):
    """One array of one network, measured beside the book's loop.

    Attributes
    ----------
    n : int
        Entries of the array.
    book, default, fixed : float
        Seconds of a whole gradient: the book's loop, ours, and ours with h given.
    way : str
        Which ran by default.
    nfev : int
        Evaluations by default, with error bars, which need some n more where differences are unrounded.
    differs : float
        From the book's loop, over the largest component.
    """

    n: int
    book: float
    default: float
    fixed: float
    way: str
    nfev: int
    differs: float


def measured(made: Made, name: str, rounds: int = ROUNDS, some: int = SOME) -> Row:
    """Measure one array of a network."""
    net, x, t = made
    W = net.params[name]

    def loss(_):
        return net.loss(x, t)

    chosen = np.random.default_rng(5).permutation(W.size)[:some]
    where = list(zip(*(axis.tolist() for axis in np.unravel_index(chosen, W.shape)), strict=True))
    seconds: dict[str, list[float]] = {"book": [], "default": [], "fixed": []}
    for _ in range(rounds):
        for who, gradient in (
            ("book", lambda: book_gradient(loss, W, where=where)),
            ("default", lambda: numerical_gradient(loss, W)),
            ("fixed", lambda: numerical_gradient(loss, W, 1e-4)),
        ):
            began = perf_counter()
            found = gradient()
            seconds[who].append(perf_counter() - began)
            if who == "book":
                expected = found.reshape(-1)[chosen]
    slopes, info = numerical_gradient(loss, W, full_output=True)
    differs = np.abs(slopes.reshape(-1)[chosen] - expected).max() / (np.abs(expected).max() or 1.0)
    book, default, fixed = (median(seconds[who]) for who in ("book", "default", "fixed"))
    return Row(W.size, book * W.size / len(where), default, fixed, info.way, info.nfev, float(differs))


def main(arguments=None) -> None:
    """Print the table, of the networks whose names hold the words given."""
    words = sys.argv[1:] if arguments is None else arguments
    print(
        f"{'network':26s} {'array':6s} {'n':>6s} {'book, s':>8s} {'default':>8s} {'given h':>8s}  nfev/n  differs  way"
    )
    for title, (make, names) in NETWORKS.items():
        if not all(word in title for word in words):
            continue
        made = make()
        for name in names:
            row = measured(made, name)
            print(
                f"{title:26s} {name:6s} {row.n:6d} {row.book:8.3f} {row.book / row.default:7.2f}x "
                f"{row.book / row.fixed:7.2f}x {row.nfev / row.n:7.2f} {row.differs:8.0e}  {row.way}",
                flush=True,
            )


if __name__ == "__main__":
    main()
