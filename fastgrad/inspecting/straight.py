"""How much a function does that works on its one argument alone: counted in its bytecode, without a call.

Straight lines, and loops over the entries of the argument in which all is done with numbers.
"""

from __future__ import annotations

import dis
import functools
import inspect
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

# what moves values about, by the beginnings of names: these differ from one Python to the next
_MOVES = (
    "RESUME", "CACHE", "NOP", "LOAD_FAST", "STORE_FAST", "LOAD_CONST", "LOAD_SMALL_INT", "RETURN_", "COPY", "SWAP",
    "POP_TOP", "PRECALL", "PUSH_NULL", "BUILD_SLICE", "LOAD_GLOBAL", "LOAD_DEREF", "COPY_FREE_VARS",
)  # fmt: skip
_IN_LOOPS = (
    "JUMP_", "POP_JUMP_", "FOR_ITER", "GET_ITER", "END_FOR", "POP_ITER", "COMPARE_OP", "KW_NAMES", "UNPACK_SEQUENCE",
    "BUILD_", "LIST_APPEND", "MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE", "YIELD_VALUE", "LOAD_CLOSURE", "MAKE_CELL",
    "RERAISE", "TO_BOOL", "NOT_TAKEN", "GEN_START", "CALL_INTRINSIC_1",
)  # fmt: skip
_ANY = _MOVES + _IN_LOOPS
_COUNTED = ("BINARY_", "UNARY_", "CALL", "COMPARE_OP", "FOR_ITER", "YIELD_VALUE")
_READS = ("LOAD_FAST", "LOAD_DEREF")
_LOADS = (
    "LOAD_FAST", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_SMALL_INT", "LOAD_CLOSURE", "KW_NAMES", "PUSH_NULL",
)  # fmt: skip
_USES = frozenset({"GET_ITER", "UNPACK_SEQUENCE", "CALL", "CALL_KW", "BUILD_TUPLE"})
_TAKES = {"CALL": 2, "CALL_KW": 3, "BUILD_TUPLE": 0}  # from the stack, beside as many as their argument says
_PAIR = re.compile("(LOAD|STORE)_FAST")
_PRODUCTS = frozenset({"dot", "inner", "vdot"})  # of arrays, by numpy or by a method
_ATTRIBUTES = frozenset({"T", "size", "shape", "append", "linalg", "pi", "e"}) | _PRODUCTS
# made of several operations each. `np.sum` and its like cost more than these, and are lifted from six entries on
_REDUCTIONS = frozenset({"sum", "prod", "max", "min", "norm"})
_BUILTINS = {one.__name__: one for one in (len, range, enumerate, zip, reversed, sum, abs, min, max)}
_OF_ARRAYS = (len, enumerate, zip, reversed, sum, min, max, functools.reduce)
_KNOWN: dict[str, Any] = _BUILTINS | {"reduce": functools.reduce, "np": np, "numpy": np, "math": math}
_NOT_CALLED_PLAINLY = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
_SMALL = 1000  # entries of what f has captured: a product with as many takes less than what numpy does around it


class Straight(NamedTuple):
    """What one call does.

    `entries`, `operations`: taken by their place, and all operations, outside of loops.
    `reductions`: how many of these are made of several, as `x.sum()` and `np.linalg.norm(x)`.
    `besides`: of an f with loops, operations with numbers outside of these: then not among the others.
    `numbers`, `functions`: operations with numbers, and numpy's functions of them, for each entry that loops run over.
    `names`, `captured`: globals and variables of outer functions that it reads.
    """

    entries: int
    operations: int
    reductions: int
    besides: int
    numbers: int
    functions: int
    names: frozenset[str]
    captured: frozenset[str]


def straight(f: object) -> Straight | None:
    """Return what a call of f does; None where its code does not tell: branches, what else it captures or calls.

    It then makes nothing but what follows from its argument, and from numbers and small arrays that it reads.
    """
    if type(f) is not FunctionType:
        return None
    found = _straight(f.__code__)
    if found is None or not all(_is_known(name, f.__globals__) for name in found.names):
        return None
    if found.captured:
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        try:
            known = all(_is_small(cell.cell_contents) for name, cell in cells if name in found.captured)
        except ValueError:  # an empty one
            return None
        return found if known else None
    return found


def _is_known(name: str, names: dict[str, Any]) -> bool:
    if name in _KNOWN:
        return names.get(name, _BUILTINS.get(name)) is _KNOWN[name]
    return name in names and _is_small(names[name])


def _is_small(value: object) -> bool:
    if type(value) is np.ndarray:
        return value.size <= _SMALL and value.dtype.kind in "biuf"
    return isinstance(value, (int, float))


@lru_cache(maxsize=512)
def _straight(code: CodeType) -> Straight | None:
    if code.co_argcount != 1 or code.co_kwonlyargcount or code.co_flags & _NOT_CALLED_PLAINLY:
        return None
    count = _Count(code.co_varnames[0])
    try:
        count.read(code, False)
    except _NotToldError:
        return None
    return Straight(
        count.entries, count.operations, count.reductions, count.besides, count.numbers,
        count.functions, frozenset(count.names), frozenset(count.captured & set(code.co_freevars)),
    )  # fmt: skip


class _NotToldError(Exception):
    """The code does something else."""


class _Said(NamedTuple):
    """An instruction; of those that move two local variables at once, one half."""

    name: str
    value: Any
    argument: int
    effect: int  # on the height of the stack
    place: int
    brackets: bool


def _says(code: CodeType) -> Iterator[_Said]:
    for said in dis.get_instructions(code):
        name, argument, place = said.opname, said.arg or 0, said.offset
        pair = _PAIR.findall(name) if isinstance(said.argval, tuple) else ()
        if len(pair) == 2:
            for kind, value in zip(pair, said.argval, strict=True):
                yield _Said(f"{kind}_FAST", value, argument, 1 if kind == "LOAD" else -1, place, False)
        elif name in _TAKES:
            effect = 1 - argument - _TAKES[name]
            yield _Said(name, said.argval, argument, effect, place, False)
        elif name not in ("PRECALL", "CACHE"):
            effect = dis.stack_effect(said.opcode, said.arg)
            brackets = name in ("BINARY_SUBSCR", "BINARY_SLICE") or said.argrepr == "[]"
            yield _Said(name, said.argval, argument, effect, place, brackets)


class _Count:
    """What is counted in the code of f and of what it defines: comprehensions, generators, lambdas."""

    def __init__(self, x: str) -> None:
        self._x = x
        self.entries = self.operations = self.reductions = self.besides = self.numbers = self.functions = 0
        self.names: set[str] = set()
        self.captured: set[str] = set()

    def read(self, code: CodeType, looping: bool) -> None:
        """Count. `looping`: whether all of this code runs for each entry, or for each in a loop of its own."""
        says = list(_says(code))
        loops: dict[int, int] = {}  # by where they begin: where they end
        for said in says:
            if "JUMP" in said.name and isinstance(said.value, int) and said.value <= said.place:
                loops[said.value] = said.place
        within = [sum(first <= said.place <= last for first, last in loops.items()) for said in says]
        inner = [said.value for said in says if isinstance(said.value, CodeType)]
        if max(within) > 1 or (loops and inner):
            raise _NotToldError
        allowed = _ANY if loops or inner or looping else _MOVES
        source: Any = None  # the global of which attributes are taken
        for k, (said, loop) in enumerate(zip(says, within, strict=True)):
            name, value, loop = said.name, said.value, loop or (looping and not loops)
            if name.startswith("LOAD_GLOBAL"):
                self.names.add(value)
                source = _KNOWN.get(value)
            elif name in ("LOAD_ATTR", "LOAD_METHOD"):
                self._takes(source, value, bool(loop), allowed is _ANY)
                source = None
            elif name.startswith("LOAD_DEREF"):
                self.captured.add(value)
            elif not (name.startswith(_COUNTED) or name.startswith(allowed)):
                raise _NotToldError
            if name.startswith(_COUNTED) and not name.startswith("CALL_INTRINSIC"):
                if loop:
                    self.numbers += 1
                elif allowed is _ANY:
                    self.besides += 1
                else:
                    self.operations += 1
                    self.entries += said.brackets and type(says[k - 1].value) is int
            if value == self._x and allowed is not _MOVES and name.startswith("LOAD_DEREF" if looping else _READS):
                self._follow(says, k, source)
        if looping and not loops:
            self.numbers += 2  # the entry, and the call
        for one in inner:
            self.read(one, True)

    def _takes(self, source: Any, name: str, loop: bool, numbers: bool) -> None:
        """Note an attribute. `numbers`: of what has loops."""
        if source is np and isinstance(np.__dict__.get(name), np.ufunc):
            if loop:
                self.functions += 1
            else:
                self.operations += numbers
        elif name in _REDUCTIONS and source is not np and not numbers:
            self.reductions += 1
        elif not (source is math and loop) and (name not in _ATTRIBUTES or (loop and name in _PRODUCTS)):
            raise _NotToldError

    def _follow(self, says: list[_Said], k: int, source: Any) -> None:
        """See that x, or a slice of it, is but looped over, or asked for entries and for its length.

        `source`: the global that was loaded last.
        """
        height = 1
        for before, said in zip(says[k:], says[k + 1 :], strict=False):
            name = said.name
            if not name.startswith(_LOADS):
                pops = said.argument + _TAKES[name] if name in _TAKES else 2 if said.effect < 0 else 1
                if height <= pops:
                    if not (said.brackets and _is_slice(before, said)):
                        if not (said.brackets or name in _USES or said.value in ("size", "shape")) or (
                            name in _TAKES and source not in _OF_ARRAYS
                        ):
                            raise _NotToldError
                        return
                    height = pops
            height += said.effect
        raise _NotToldError


def _is_slice(before: _Said, said: _Said) -> bool:
    return before.name == "BUILD_SLICE" or said.name == "BINARY_SLICE" or isinstance(before.value, slice)
