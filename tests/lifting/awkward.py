"""Awkward closures over an array: each is either lifted and right, or refused and right.

Each makes f and the array that f finds by itself; `EXPECTED` says whether a bundle can take the array's place.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import functools
import gc
import itertools
import math
import operator
import random
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import zeros

Case = Callable[[], tuple[Callable[[Any], Any], Any]]
A = np.random.default_rng(0).normal(size=(30, 12))
Y = np.random.default_rng(1).normal(size=30)
GLOBAL_W = np.random.default_rng(2).normal(size=12)
HIDDEN_W = np.random.default_rng(2).normal(size=12)
HISTORY: list[Any] = []
CACHE: dict[int, Any] = {}
COUNT = 0
EXPECTED: dict[Case, str] = {}


def lifted(make: Case) -> Case:
    EXPECTED[make] = "lifted"
    return make


def refused(make: Case) -> Case:
    EXPECTED[make] = "refused"
    return make


def weights(*shape: int) -> Any:
    return np.random.default_rng(3).normal(size=shape or (12,))


def mse(p: Any) -> Any:
    return np.mean((p - Y) ** 2)


class Net:
    calls = 0

    def __init__(self) -> None:
        self.W = weights()
        self.params = {"W": self.W}
        self.buffer = np.zeros(30)
        self.log: list[Any] = []
        self.out: Any = None

    def loss(self) -> Any:
        return mse(np.tanh(A @ self.params["W"]))


# where the array is found


@lifted
def two_names():
    n = Net()
    return (lambda _: mse(np.tanh(A @ n.W)) + np.sum(n.params["W"] ** 2)), n.W


@lifted
def argument_and_closure():
    n = Net()
    return (lambda w: n.loss() + np.sum(w**2)), n.W


@lifted
def global_array():
    return (lambda _: mse(np.tanh(A @ GLOBAL_W))), GLOBAL_W


@lifted
def hidden_name_that_is_also_in_the_code():
    return (lambda _: mse(np.tanh(A @ globals()["GLOBAL" + "_W"])) + np.sum(GLOBAL_W)), GLOBAL_W


@refused
def hidden_name():
    return (lambda _: mse(np.tanh(A @ globals()["HIDDEN" + "_W"]))), HIDDEN_W


@lifted
def slots():
    class S:
        __slots__ = ("W", "out")

        def __init__(self) -> None:
            self.W = weights()

    s = S()

    def f(_):
        s.out = A @ s.W
        return mse(s.out)

    return f, s.W


@lifted
def slots_of_base_and_derived():
    class B:
        __slots__ = ("__W",)

        def __init__(self) -> None:
            self.__W = weights()

        def base(self):
            return self.__W

    class S(B):
        __slots__ = ("__W", "__dict__")

        def __init__(self) -> None:
            super().__init__()
            self.__W = self.base()
            self.more = self.base()

        def loss(self):
            return mse(A @ self.__W) + np.sum(self.base() ** 3) + np.sum(self.more)

    s = S()
    return (lambda _: s.loss()), s.base()


@lifted
def caching_property():
    class P:
        def __init__(self) -> None:
            self._W = weights()
            self._c: Any = None

        @property
        def W(self):
            if self._c is None or self._c[0] is not self._W:
                self._c = (self._W, self._W * 2)
            return self._W

    p = P()
    return (lambda _: mse(A @ p.W) + np.sum(p._c[0])), p._W


@lifted
def cached_property():
    class P:
        def __init__(self) -> None:
            self.W = weights()

        @functools.cached_property
        def twice(self):
            return 2 * self.W

    made = P()

    def f(_):
        made.__dict__.pop("twice", None)
        return mse(A @ made.twice)

    return f, made.W


@lifted
def own_setattr():
    class P:
        def __init__(self) -> None:
            self.W = weights()

        def __setattr__(self, k, v):
            self.__dict__.setdefault("_names", []).append(k)
            object.__setattr__(self, k, v)

    p = P()

    def f(_):
        p.out = A @ p.W
        return mse(p.out)

    return f, p.W


@lifted
def own_getattr():
    class P:
        def __init__(self) -> None:
            self.params = {"W": weights()}

        def __getattr__(self, k):
            return self.__dict__["params"][k]

    p = P()
    return (lambda _: mse(A @ p.W)), p.params["W"]


@lifted
def tuples():
    T = collections.namedtuple("T", "W b")
    t = T(weights(), 1.0)
    box = [(t, {"k": (t,)})]
    return (lambda _: mse(A @ box[0][0].W + box[0][1]["k"][0].W[0])), t.W


@lifted
def frozen_dataclass():
    @dataclasses.dataclass(frozen=True)
    class D:
        W: Any
        tags: list[str] = dataclasses.field(default_factory=list)

    d = D(weights())
    return (lambda _: mse(A @ d.W)), d.W


@lifted
def partial_object():
    W = weights()
    return functools.partial(lambda w, _: mse(A @ w), W), W


@lifted
def partial_keyword_in_a_list():
    W = weights()
    calls = [functools.partial(lambda w: mse(A @ w), w=W)]
    return (lambda _: calls[0]()), W


@lifted
def default_argument():
    W = weights()
    return (lambda _, w=W: mse(A @ w)), W


@lifted
def keyword_default():
    W = weights()

    def f(_, *, w=W):
        return mse(A @ w)

    return f, W


@lifted
def attribute_of_a_function():
    def f(_):
        f.calls += 1
        return mse(A @ f.W)

    f.W, f.calls = weights(), 0
    return f, f.W


@lifted
def class_attribute():
    class K:
        W = weights()
        calls = 0

        @classmethod
        def loss(cls):
            cls.calls += 1
            cls.made_here = cls.W * 2
            return mse(A @ cls.W)

    return (lambda _: K.loss()), K.W


@lifted
def views_of_flat():
    theta = weights(24)
    W1, b = theta[:12].reshape(3, 4), theta[12:]
    return (lambda _: np.sum(np.tanh(W1) @ b[:4]) + np.sum(b**2) + np.sum(W1.T**3)), theta


@lifted
def strided_view():
    theta = weights(24)
    half = theta[::2]
    return (lambda _: mse(A @ half)), theta


@lifted
def column_of_x():
    W = weights(12, 3)
    column, corner = W[:, 1], W[:4, :2]
    return (lambda _: mse(A @ column) + np.sum(corner**2)), W


@refused
def part_of_a_larger_array():
    theta = weights(24)
    held = {"W": theta[4:16], "all": theta}
    return (lambda _: mse(A @ held["W"])), held["W"]


@refused
def x_as_other_numbers():
    W = weights()
    bits = W.view(np.int64)
    return (lambda _: mse(A @ W) + 0 * bits[0]), W


@lifted
def hidden_path():
    n = Net()
    proxy = types.MappingProxyType({"n": n.params})
    return (lambda _: n.loss() + np.sum(next(iter(proxy.values()))["W"] ** 2)), n.W


@lifted
def weak_reference():
    n = Net()
    reference = weakref.ref(n)
    keep = [n]
    return (lambda _: reference().loss() + len(keep)), n.W


@refused
def found_by_the_collector():
    n = Net()
    secret = ["secret-w", n.W]

    def f(_):
        found = [o for o in gc.get_objects() if type(o) is list and len(o) == 2 and o[0] is secret_name]
        return n.loss() + np.sum(np.asarray(found[0][1]) ** 2)

    secret_name = secret[0]
    ALIVE.append(secret)
    return f, n.W


ALIVE: list[Any] = []


@lifted
def key_of_a_dictionary():
    class Key:
        def __init__(self) -> None:
            self.W = weights()

    d = {Key(): 2.0}
    return (lambda _: sum(v * mse(A @ k.W) for k, v in d.items())), next(iter(d)).W


@lifted
def element_of_a_set():
    class Element:
        def __init__(self) -> None:
            self.W = weights()

    s = {Element()}
    return (lambda _: sum(mse(A @ k.W) for k in s)), next(iter(s)).W


@lifted
def simple_namespace():
    n = types.SimpleNamespace(W=weights(), seen=0)

    def f(_):
        n.seen += 1
        n.out = A @ n.W
        return mse(n.out)

    return f, n.W


@lifted
def dictionary_of_a_class_of_its_own():
    class Params(dict):
        __getattr__ = dict.__getitem__
        __setattr__ = dict.__setitem__

    p = Params(W=weights())

    def f(_):
        p.out = A @ p.W
        return mse(p.out)

    return f, p.W


@lifted
def list_of_a_class_of_its_own():
    class Layers(list):
        def forward(self, x):
            for layer in self:
                x = x @ layer
            self.last = x
            return x

    layers = Layers([weights()])
    return (lambda _: mse(layers.forward(A))), layers[0]


@lifted
def user_dictionary():
    u = collections.UserDict(W=weights())
    return (lambda _: mse(A @ u["W"])), u["W"]


@lifted
def deque_of_arrays():
    d = collections.deque([weights(), 1.0], maxlen=2)

    def f(_):
        d.rotate(2)
        return mse(A @ d[0] * d[1])

    return f, d[0]


@lifted
def ordered_dict():
    class Layer:
        def __init__(self, W) -> None:
            self.W, self.x = W, None

        def forward(self, x):
            self.x = x
            return np.tanh(np.dot(x, self.W))

    W1, W2 = weights(12, 5), weights(5, 3)
    layers = collections.OrderedDict(a=Layer(W1), b=Layer(W2))

    def f(_):
        h = A
        for layer in layers.values():
            h = layer.forward(h)
        layers.move_to_end("a")
        first = next(iter(layers))
        layers.move_to_end("b")
        return np.sum(h**2) + len(first)

    return f, W1


@lifted
def abstract_layers():
    class Mode(enum.Enum):
        TRAIN = 1

    class Layer(abc.ABC):
        mode = Mode.TRAIN

        @abc.abstractmethod
        def forward(self, x): ...

    class Dense(Layer):
        __hash__ = object.__hash__

        def __init__(self, W) -> None:
            self.W, self.out = W, None

        def forward(self, x):
            self.out = np.dot(x, self.W) if self.mode is Mode.TRAIN else x
            return self.out

    W = weights()
    layer = Dense(W)
    return (lambda _: mse(layer.forward(A))), W


@lifted
def bound_method():
    class M(Net):
        def f(self, _):
            self.out = self.loss()
            return self.out

    m = M()
    return m.f, m.W


@lifted
def callable_object():
    class M(Net):
        def __call__(self, _):
            self.out = self.loss()
            return self.out

    m = M()
    return m, m.W


@lifted
def operator_module():
    n = Net()
    get = operator.attrgetter("W")
    return (lambda _: mse(A @ get(n))), n.W


# what is kept


@lifted
def keeps_outputs():
    n = Net()

    def f(_):
        n.out = np.tanh(A @ n.W)
        n.log.append(n.out)
        Net.calls += 1
        return mse(n.out)

    return f, n.W


@lifted
def uses_argument_and_keeps():
    n = Net()

    def f(w):
        n.out = np.tanh(A @ w)
        return mse(n.out)

    return f, weights()


@lifted
def global_history():
    n = Net()

    def f(_):
        global COUNT
        COUNT = COUNT + 1
        v = n.loss()
        HISTORY.append(v)
        CACHE[len(CACHE)] = v
        return v

    return f, n.W


@lifted
def new_global():
    n = Net()

    def f(_):
        global MADE_BY_F
        MADE_BY_F = A @ n.W
        return mse(MADE_BY_F)

    return f, n.W


@lifted
def running_mean():
    n = Net()
    n.mean = np.zeros(30)

    def f(_):
        p = A @ n.W
        n.mean = 0.9 * n.mean + 0.1 * p
        return mse(p)

    return f, n.W


@lifted
def changes_its_class():
    class One(Net):
        pass

    class Two(One):
        pass

    n = One()

    def f(_):
        n.__class__ = Two
        n.__dict__ = dict(n.__dict__, extra=n.W)
        return mse(A @ n.extra)

    return f, n.W


@lifted
def deletes_and_makes_anew():
    n = Net()

    def f(_):
        W = n.W
        del n.W
        n.params.clear()
        n.params["V"] = n.W = W
        n.params["W"] = n.params.pop("V")
        return n.loss() + np.sum(n.W)

    return f, n.W


@lifted
def sorts_a_list():
    n = Net()
    n.order = [3, 1, 2]

    def f(_):
        n.order.reverse()
        n.order.append(True)
        n.order.remove(1)
        return n.loss()

    return f, n.W


@lifted
def del_method():
    class D:
        def __init__(self, v) -> None:
            self.v = v

        def __del__(self) -> None:
            pass

    n = Net()

    def f(_):
        return mse(D(A @ n.W).v)

    return f, n.W


@lifted
def keeps_in_a_cycle():
    n = Net()

    def f(_):
        p = A @ n.W
        cycle = [p]
        cycle.append(cycle)
        return mse(p)

    return f, n.W


@lifted
def writes_buffer():
    n = Net()

    def f(_):
        n.buffer[...] = A @ n.W
        return mse(n.buffer)

    return f, n.W


@lifted
def copyto():
    n = Net()

    def f(_):
        np.copyto(n.buffer, A @ n.W)
        return mse(n.buffer)

    return f, n.W


@lifted
def out_argument():
    n = Net()

    def f(_):
        np.dot(A, n.W, out=n.buffer)
        return mse(n.buffer)

    return f, n.W


@lifted
def writes_plain_buffer():
    n = Net()

    def f(_):
        n.buffer += 0.0
        n.buffer[0] = 1.0
        return n.loss()

    return f, n.W


@lifted
def statistics_in_place():
    n = Net()
    n.mean = np.zeros(30)

    def f(_):
        p = A @ n.W
        n.mean *= 0.9
        n.mean += 0.1 * p
        return mse(p)

    return f, n.W


@lifted
def out_of_a_fresh_array():
    n = Net()

    def f(_):
        p = A @ n.W
        np.maximum(p, 0.0, out=p)
        np.exp(p, p)
        return mse(p)

    return f, n.W


@refused
def writes_buffer_and_reads_a_view_of_it():
    n = Net()
    n.half = n.buffer[:15]

    def f(_):
        n.buffer[...] = A @ n.W
        return mse(n.buffer) + np.sum(n.half)

    return f, n.W


@refused
def buffer_feeds_back():
    n = Net()

    def f(_):
        n.buffer *= 0.9
        n.buffer += 0.1 * (A @ n.W)
        return mse(n.buffer)

    return f, n.W


@refused
def least_recently_used():
    n = Net()

    @functools.lru_cache
    def inner(k):
        return n.loss()

    return (lambda _: inner(0) + n.loss()), n.W


@refused
def state_feeds_back():
    n = Net()
    n.mean = np.zeros(30)

    def f(_):
        n.mean = 0.9 * n.mean + 0.1 * (A @ n.W)
        return mse(n.mean)

    return f, n.W


@refused
def writes_x():
    n = Net()

    def f(_):
        n.W *= 1.0000001
        return n.loss()

    return f, n.W


@refused
def keeps_in_a_library():
    n = Net()

    def f(_):
        v = n.loss()
        np._kept_by_test = v
        return v

    return f, n.W


@refused
def keeps_inner_in_a_library():
    n = Net()

    def f(_):
        p = A @ n.W
        np._kept_by_test = p
        return mse(p)

    return f, n.W


@refused
def iterator():
    n = Net()
    n.it = iter(range(10**9))
    return (lambda _: n.loss() * next(n.it)), n.W


@refused
def counter():
    n = Net()
    n.it = itertools.count()
    return (lambda _: n.loss() + 0 * next(n.it)), n.W


@refused
def generator():
    n = Net()
    n.it = (i for i in range(10**9))
    return (lambda _: n.loss() + 0 * next(n.it)), n.W


@refused
def bytes_that_change():
    n = Net()
    n.bytes = bytearray(4)

    def f(_):
        n.bytes[0] = (n.bytes[0] + 1) % 256
        return n.loss()

    return f, n.W


@refused
def method_of_an_array():
    n = Net()
    n.fill = n.buffer.fill
    return (lambda _: n.loss() + 0 * (n.fill(1.0) or 0.0)), n.W


@refused
def metaclass():
    class Meta(type):
        pass

    class K(metaclass=Meta):
        W = weights()

    return (lambda _: mse(A @ K.W)), K.W


@refused
def array_of_objects():
    n = Net()
    n.layers = np.array([n, None], dtype=object)
    return (lambda _: n.layers[0].loss()), n.W


@refused
def float32():
    n = Net()
    n.W = n.W.astype(np.float32)
    return (lambda _: mse(A @ n.W)), n.W


@refused
def numpy_random():
    n = Net()
    return (lambda _: n.loss() + 1e-3 * np.random.rand()), n.W


@refused
def random_module():
    n = Net()
    return (lambda _: n.loss() + 1e-3 * random.random()), n.W


@refused
def own_generator():
    n = Net()
    n.rng = np.random.default_rng(1)
    return (lambda _: n.loss() + 1e-3 * n.rng.random()), n.W


@refused
def own_random():
    n = Net()
    n.rng = random.Random(1)
    return (lambda _: n.loss() + 1e-3 * n.rng.random()), n.W


# what f does with it


@lifted
def float_at_end():
    n = Net()
    return (lambda _: float(n.loss())), n.W


@lifted
def item_at_end():
    n = Net()
    return (lambda _: n.loss().item()), n.W


@lifted
def asarray():
    n = Net()
    return (lambda _: mse(A @ np.asarray(n.W))), n.W


@lifted
def method_dot():
    n = Net()
    return (lambda _: mse(A.dot(n.W))), n.W


@lifted
def fresh_zeros():
    n = Net()

    def f(_):
        out = zeros(30)
        for k in range(3):
            out[k * 10 : (k + 1) * 10] = A[k * 10 : (k + 1) * 10] @ n.W
        return mse(out)

    return f, n.W


@lifted
def array_of_list():
    n = Net()
    return (lambda _: mse(np.array([A[i] @ n.W for i in range(30)]))), n.W


@lifted
def math_function():
    n = Net()
    return (lambda _: math.exp(n.loss())), n.W


@refused
def swallows():
    n = Net()

    def f(_):
        try:
            return float(np.frombuffer(n.W)[0]) + n.loss()
        except:  # noqa: E722
            return n.loss()

    return f, n.W


@refused
def ignores_all():
    return (lambda _: 1.0), weights()
