"""What becomes of totals, out of line.

Where `s += term` brings a second owner of a colour, the differences of s retire into a buffer, owner by owner, as
addition is linear: that is compiled. All else that a total may meet costs O(n) and happens a few times in a run of f:
there numpy applies the rules to whole buffers, called back from compiled code, and nothing needs to be compiled.
"""

import ctypes
from functools import cache

import numpy as np
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from .header import (
    BUFFERS,
    CAPACITY,
    CELLS,
    CLOCK,
    CONFLICT,
    COSTLY,
    FAILED,
    FLAGS,
    HEADER,
    LARGE,
    LOG,
    LOGGED,
    LOST,
    MOST_TAILS,
    NEXT,
    NOTHING,
    PLAIN,
    RING,
    SMALL,
    STALE,
    USED,
)
from .rules import make_rules

WORD, REAL = types.CPointer(types.int64), types.CPointer(types.float64)


# ---- compiled: the beginning of a total, and the log of terms


@intrinsic
def memory(typingctx, address, dtype):
    pointer = types.CPointer(dtype.dtype)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, dtype), codegen


@njit
def deposit(state, buffer, number, differences, colours, sign):
    cells = carray(memory(buffer, np.float64), (state[CELLS], 2))
    for c in range(colours):
        code = number[1 + 2 * colours + c]
        if code != 0:
            if code & (code >> 32) & 0xFFFFFFFF:
                state[FLAGS] |= CONFLICT
            else:
                owner = code & 0xFFFFFFFF
                cells[owner, 0] += sign * differences[1 + 2 * c]
                cells[owner, 1] += sign * differences[2 + 2 * c]


def grow(words, colours, sign, s, s_differences, t, t_differences, out):
    """Make s a total, and add the term; while the pattern is looked for: log who met in the term. Sign 0: log only."""
    state = carray(words, HEADER)
    s, t = carray(s, 3 + 3 * colours), carray(t, 3 + 3 * colours)
    out = carray(out, 3 + 3 * colours)
    if sign == 0 or state[LOG] != 0:
        if state[LOG] != 0:
            at = state[LOGGED]
            state[LOGGED] += 1
            if at < state[CAPACITY]:
                log = carray(memory(state[LOG], np.int64), (state[CAPACITY], colours))
                for c in range(colours):
                    log[at, c] = t[1 + 2 * colours + c]
        for c in range(colours):
            out[1 + 2 * colours + c] = s[1 + 2 * colours + c] | t[1 + 2 * colours + c]
        out[1 + 3 * colours] = -1
        return
    buffer = state[BUFFERS] + 16 * state[CELLS] * (state[NEXT] % RING)
    state[NEXT] += 1
    state[USED] += 1
    state[CLOCK] += 1 << 32  # the lower half counts what the total takes in
    carray(memory(buffer, np.int64), 1)[0] = state[CLOCK]
    if state[USED] > MOST_TAILS:
        state[FLAGS] |= COSTLY
    else:
        carray(memory(buffer, np.float64), (state[CELLS], 2))[1:] = 0.0
        deposit(state, buffer, s, carray(s_differences, 1 + 2 * colours), colours, 1.0)
        deposit(state, buffer, t, carray(t_differences, 1 + 2 * colours), colours, 1.0 * sign)
    out[1 + 3 * colours] = buffer
    out[2 + 3 * colours] = state[CLOCK]


_GROW = types.void(WORD, types.int64, types.int64, WORD, REAL, WORD, REAL, WORD)


@cache
def compiled_grow():
    """Compile `grow`; from the disk where a process has compiled it before, if a folder is writable."""
    try:
        return cfunc(_GROW, error_model="numpy", cache=True)(grow)
    except (RuntimeError, OSError):  # no folder to keep it in
        return cfunc(_GROW, error_model="numpy")(grow)


# ---- called back: the rules on whole buffers


def _choose(a, b, p, q):
    return np.where(a >= b, p, q)


UNARY, BINARY = make_rules(np.sqrt, _choose)
UNARY_NAMES, BINARY_NAMES = list(UNARY), list(BINARY)
COMPARISONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
PREDICATES = list(COMPARISONS)


class Run:
    """The memory of the run that calls back, and of a number in it, as arrays."""

    def __init__(self, address, colours):
        self.colours = colours
        self.state = self.array(address, HEADER, np.int64)
        self.used_up = False

    @staticmethod
    def array(address, size, dtype):
        return np.frombuffer((ctypes.c_int64 * size).from_address(address), dtype)

    def number(self, address):
        words = self.array(address, 3 + 3 * self.colours, np.int64)
        return words, words.view(np.float64)

    def cells(self, buffer):
        return self.array(buffer, 2 * int(self.state[CELLS]), np.float64).reshape(-1, 2)

    def flag(self, reason):
        self.state[FLAGS] |= reason

    def new_buffer(self):
        state = self.state
        buffer = int(state[BUFFERS] + 16 * state[CELLS] * (state[NEXT] % RING))
        state[NEXT] += 1
        state[USED] += 1
        state[CLOCK] += 1 << 32
        self.array(buffer, 1, np.int64)[0] = state[CLOCK]
        if state[USED] > MOST_TAILS:
            self.flag(COSTLY)
            self.used_up = True
        return buffer

    def differences(self, address):
        """Return a number's value, and its differences, owner by owner: of a constant, of nobody's or in a buffer."""
        words, reals = self.number(address)
        at = 1 + 3 * self.colours
        tag = int(words[at])
        if tag >= 0:
            cells = self.cells(tag)
            if cells.view(np.int64)[0, 0] != words[at + 1]:
                self.flag(STALE)
            return reals[0], cells[1:]
        spread = np.zeros((int(self.state[CELLS]) - 1, 2))
        if tag == PLAIN:
            for c in range(self.colours):
                code = int(words[1 + 2 * self.colours + c])
                if code & (code >> 32) & 0xFFFFFFFF:
                    self.flag(CONFLICT)
                elif code:
                    spread[(code & 0xFFFFFFFF) - 1] += reals[1 + 2 * c : 3 + 2 * c]
        else:
            assert tag == NOTHING
        return reals[0], spread

    def give(self, buffer, out):
        words, _ = self.number(out)
        words[1 + 3 * self.colours] = buffer
        words[2 + 3 * self.colours] = self.array(buffer, 1, np.int64)[0]

    def put(self, found, small, out):
        """Leave new differences in a buffer of their own."""
        buffer = self.new_buffer()
        self.give(buffer, out)
        if not self.used_up:
            if not (np.abs(small) < SMALL).all():
                self.flag(LARGE)
            self.cells(buffer)[1:] = found


def _called_back(*kinds):
    """A function that compiled code calls by its address. It cannot raise there: it says that the run has failed."""

    def register(function):
        def guarded(address, *args):
            try:
                with np.errstate(all="ignore"):
                    function(Run(address, args[1]), *args)
            except BaseException:  # noqa: BLE001  the run is repeated another way, where Ctrl-C answers again
                Run.array(address, HEADER, np.int64)[FLAGS] |= FAILED

        return ctypes.CFUNCTYPE(None, ctypes.c_int64, *kinds)(guarded)

    return register


_INT, _FLOAT = ctypes.c_int64, ctypes.c_double


@_called_back(_INT, _INT, _INT, _FLOAT, _FLOAT, _INT)
def total_unary(run, rule, colours, a, y, z, out):
    base, d = run.differences(a)
    run.put(*UNARY[UNARY_NAMES[rule]](d, base, y, z), out)


@_called_back(_INT, _INT, _INT, _INT, _FLOAT, _FLOAT, _INT)
def total_binary(run, rule, colours, a, b, y, z, out):
    base_a, da = run.differences(a)
    base_b, db = run.differences(b)
    run.put(*BINARY[BINARY_NAMES[rule]](da, base_a, db, base_b, y, z), out)


@_called_back(_INT, _INT, _INT, _INT)
def compare(run, predicate, colours, a, b):
    """Where a comparison comes out otherwise than at x: that owner is lost, and nobody else is."""
    if run.state[LOG]:
        return
    run.state[USED] += 1
    if run.state[USED] > 16 * MOST_TAILS:  # each costs O(n), as a call of f does
        run.flag(COSTLY)
        return
    holds = COMPARISONS[PREDICATES[predicate]]
    base_a, da = run.differences(a)
    base_b, db = run.differences(b)
    other = (holds(base_a + da, base_b + db) != holds(base_a, base_b)).any(axis=1)
    run.array(int(run.state[LOST]), int(run.state[CELLS]), np.int64)[1:][other] = 1


@_called_back(_INT, _INT, _INT, _INT)
def settle(run, _, colours, a, out):
    """What f returned is no total: make it one."""
    if run.state[LOG]:
        words, _ = run.number(out)
        words[1 + 3 * colours] = -1
    else:
        _, d = run.differences(a)
        run.put(d, 0.0, out)


def address_of(callback):
    return ctypes.cast(callback, ctypes.c_void_p).value
