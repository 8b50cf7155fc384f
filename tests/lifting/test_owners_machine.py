"""Random programs as data: one jitted f runs whatever its tables say, so that thousands are checked in a minute.

Compiling a program for owner lanes takes 0.4 s however many share an f, as it is the operations that cost (measured
with 1 to 50 in one f); 5,000 of them would take half an hour on two cores. Here the operations are compiled once. What
these programs cover: every rule, of numbers and of totals, in registers and arrays; inner sums, second totals,
conditions, strides and widths; the colours, passes and confirmation of each. What compilation makes of differing
sources is covered by the compiled programs of `test_owners`.
"""

import random
import re

import numpy as np
import pytest
from numba import njit

from fastgrad import Gradient, numerical_gradient
from tests.lifting.test_owners import BINARY, RESULTS, UNARY, Names

pytestmark = pytest.mark.usefixtures("fenced")

REGISTERS, S, Q, FREE = 24, 0, 1, 2  # two totals, and the first register for anything else
ORDERS = {
    "load": "r[c] = x[i + a]",
    "recall": "r[c] = w[i + a]",
    "keep": "w[i] = r[a]",
    "constant": "r[c] = k",
    "add": "r[c] += r[a]",
    "subtract": "r[c] -= r[a]",
    "add thirds": "if i % 3 == 0:\n            r[c] += r[a]",
    "choose": "r[c] = r[a] if r[a] > r[b] else 0.5 * r[b]",
}
OF_ONE = [text.format("r[a]") for text in UNARY]
OF_TWO = [text.format("r[a]", "r[b]") for text in BINARY]
OF_TOTALS = [re.sub(r"\bq\b", f"r[{Q}]", re.sub(r"\bs\b", f"r[{S}]", text)) for text in RESULTS]
EXPRESSIONS = OF_ONE + OF_TWO + OF_TOTALS
STATEMENTS = [*ORDERS.values(), *(f"r[c] = {text}" for text in EXPRESSIONS)]
NUMBER = {name: k for k, name in enumerate([*ORDERS, *EXPRESSIONS])}

SOURCE = "def execute(r, w, x, n, i, rows, constants):\n    for k in range(len(rows)):\n"
SOURCE += "        op, c, a, b = rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3]\n        k = constants[k]\n"
SOURCE += "".join(
    f"        {'el' if number else ''}if op == {number}:\n            {text.replace(chr(10), chr(10) + '    ')}\n"
    for number, text in enumerate(STATEMENTS)
)
names = {"np": np}
exec(SOURCE, names)
execute = njit(names["execute"])


@njit
def machine(x, first, second, last, constants, width, stride):
    """Two loops over x, the first of which may fill an array, and what becomes of the totals in the end."""
    n = len(x)
    r, w = np.zeros(REGISTERS), np.zeros(n)
    r[Q] = 0.5
    for i in range(0, n - width + 1, stride):
        execute(r, w, x, n, i, first, constants[0])
    for i in range(0, n - width + 1, stride):
        execute(r, w, x, n, i, second, constants[1])
    execute(r, w, x, n, 0, last, constants[2])
    return r[S]


class Program:
    """Tables of orders, drawn at random. What is read was written in the same turn of the loop."""

    def __init__(self, seed):
        self.draw = draw = random.Random(seed)
        self.width, self.stride, self.n = draw.choice([1, 2, 3]), draw.choice([1, 1, 2]), draw.choice([45, 62, 130])
        self.constants = np.array([[round(draw.uniform(-2, 2), 2) for _ in range(60)] for _ in range(3)])
        array = draw.random() < 0.3
        self.tables = [self.loop(False, True) if array else self.table([]), self.loop(array, False), self.end()]
        self.x = np.random.default_rng(seed).normal(size=self.n)

    def table(self, rows):
        return np.array(rows, np.int64).reshape(-1, 4)

    def grown(self, rows, known, count):
        """Some operations more, on what is known."""
        draw = self.draw
        for _ in range(count):
            c = max([*known, FREE - 1]) + 1
            text = draw.choice(OF_ONE if draw.random() < 0.5 else OF_TWO)
            name = "choose" if draw.random() < 0.08 else text
            rows.append((NUMBER[name], c, draw.choice(known), draw.choice(known)))
            known.append(c)
        return known[-1]

    def loop(self, recalls, keeps):
        draw, rows, known = self.draw, [], []
        for offset in range(self.width):
            rows.append((NUMBER["load"], FREE + offset, offset, 0))
            known.append(FREE + offset)
        if recalls:
            rows.append((NUMBER["recall"], FREE + self.width, draw.randrange(self.width), 0))
            known.append(FREE + self.width)
        if draw.random() < 0.5:
            rows.append((NUMBER["constant"], known[-1] + 1, 0, 0))
            known.append(known[-1] + 1)
        if draw.random() < 0.4:  # an inner sum
            total = self.grown(rows, known, 1)
            count = draw.randint(1, 3)
            rows += [
                (NUMBER[draw.choice(["add", "subtract"])], total, draw.choice(known[:-1]), 0) for _ in range(count)
            ]
        term = self.grown(rows, known, draw.randint(1, 8))
        if keeps:
            rows.append((NUMBER["keep"], 0, term, 0))
        if not keeps or draw.random() < 0.3:
            rows.append((NUMBER[draw.choice(["add", "subtract"])], S, term, 0))
        if draw.random() < 0.5:
            rows.append((NUMBER[draw.choice(["add", "add thirds"])], Q, draw.choice(known), 0))
        return self.table(rows)

    def end(self):
        draw, rows = self.draw, []
        if draw.random() < 0.3:
            rows.append((NUMBER["load"], FREE, draw.randrange(3), 0))
            result = self.grown(rows, [S, Q, FREE], draw.randint(1, 3))
            rows.append((NUMBER["add"], S, result, 0))
        rows.append((NUMBER[draw.choice(OF_TOTALS)], S, 0, 0))
        return self.table(rows)

    @property
    def args(self):
        return *self.tables, self.constants, self.width, self.stride

    def exact(self, kind=np.clongdouble):
        """The gradient by complex steps in extended precision, all turns of a loop and all coordinates together."""
        n = self.n
        x = np.repeat(self.x.astype(kind)[:, None], n, axis=1)
        x[np.diag_indices(n)] += 1e-100j
        given = {"np": Names(), "x": x, "n": n}
        given["abs"] = lambda v: np.where(v.real >= 0, v, -v)
        given["max"] = lambda a, b: np.where(np.real(b) > np.real(a), b, a)
        given["min"] = lambda a, b: np.where(np.real(b) < np.real(a), b, a)
        w, totals = np.zeros_like(x), {S: np.zeros(n, kind), Q: np.full(n, 0.5, kind)}
        turns = np.arange(0, n - self.width + 1, self.stride)
        for table, constants, i in zip(self.tables, self.constants, (turns, turns, None), strict=True):
            r = {} if i is not None else totals
            for (op, c, a, b), k in zip(table.tolist(), constants, strict=False):
                name = list(NUMBER)[op]
                if name in ("load", "recall"):
                    r[c] = (x if name == "load" else w)[(0 if i is None else i) + a].copy()
                elif name == "keep":
                    w[i] = r[a]
                elif name == "constant":
                    r[c] = np.full_like(x[i], k)
                elif name == "choose":
                    r[c] = np.where(r[a].real > r[b].real, r[a], 0.5 * r[b])
                elif name in ("add", "subtract", "add thirds"):
                    term = -r[a] if name == "subtract" else r[a]
                    if c > Q or i is None:
                        r[c] = r[c] + term
                    else:
                        totals[c] = totals[c] + (term[i % 3 == 0] if name == "add thirds" else term).sum(axis=0)
                else:
                    r[c] = eval(name, given, {"r": r, "a": a, "b": b})
        return totals[S].imag / np.real(kind(1e-100)), float(totals[S].real[0])


def check(seed):
    """Right to the last digits or refused; returns whether it was in owner lanes."""
    program = Program(seed)
    x, args = program.x, program.args
    gradient = Gradient(machine, args=args, compile="eager")
    g, info = gradient.with_info(x)
    assert np.array_equal(gradient(x), g, equal_nan=True), seed
    if info.way != "owner lanes":
        assert "not in owner lanes" in info.reason, (seed, info.reason)
        assert np.array_equal(g, numerical_gradient(machine, x, args=args), equal_nan=True), seed
        return False
    right, value = program.exact()
    assert np.isclose(value, machine(x, *args), rtol=1e-9), seed  # the oracle runs the same program
    # the sine of 1e4 is not certain to more digits than x is, and terms may cancel: as a complex step in floats sees
    # it, or one that rounds x otherwise
    error, enough = np.abs(g - right).max(), 1e-12 * np.abs(right).max()
    rounded = 0.0 if error <= enough else np.abs(program.exact(np.complex128)[0] - right).max()
    if error > max(enough, 10.0 * rounded):
        program.x = x * (1.0 + 2.0**-53 * np.random.default_rng(seed).choice([-1.0, 1.0], x.size).astype(np.longdouble))
        rounded = np.abs(program.exact()[0] - right).max()
    assert error <= max(enough, 10.0 * rounded), seed
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of those that are refused, as they overflow
@pytest.mark.parametrize("first", range(0, 5000, 50))
def test_fifty_programs(first):
    assert sum(check(seed) for seed in range(first, first + 50)) >= 30
