"""Compiled loops that reach f by its address: compiled once for all f of a signature.

They hold nothing of f, allocate nothing (an array allocated here would leak when f raises), and never fuse or reorder
floating-point operations. Everything besides f, x and the result lies in one array, `work`, because each further
argument costs 70 ns a call (measured); its layout is in `parts`.
"""

from __future__ import annotations

import math
import platform
import sys
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache, NullCache
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from ...core.point import address_of_changes
from ...core.validation import FLOAT64, Floats, Ints
from ...schemes import diagnosis, noise, steps
from ...schemes.noise import CHANGED, EPS, NOISIER, TINY, UNIFORM, Noise, round_off
from ...schemes.stencils import Stencil
from ...schemes.steps import HALF_ROOT, Step

JIT = not config.DISABLE_JIT

NO_LANES = "NUMBA_DISABLE_JIT is set"
if JIT:
    try:
        from ...lifting.lanes import evaluate_table_lanes

        NO_LANES = ""
    except (ImportError, AttributeError, TypeError) as error:  # they use numba's inside, which may have changed
        NO_LANES = f"this numba's inside is not the one that lanes know: {error}"
if NO_LANES:

    def evaluate_table_lanes(run, scalar, args, x, tile, progress, y, index, points, values):  # type: ignore[no-untyped-def]
        return 0


# A kernel returns to Python after so many ticks of the processor's counter (20 to 100 ms), so that Ctrl-C answers.
TICKS = 100_000_000

# `work` starts with these numbers; the arrays of `parts` follow
COUNT, NODES, SYMMETRIC, FLOOR, OTHERWISE, DYADIC, ABSOLUTES, RELATIVES, START, REFILL, HERE = range(11)
# of lanes: address of the bundle loop (bits of an integer; 0: none), where its tile starts and how wide it is, which
# point it is at; ticks spent and when to decide anew; how many points were evaluated twice, beyond half of them, and
# the ticks that a row takes; whether they round differently (fastmath), so that f(x) is to be evaluated in them, too;
# how often few points were timed, and the fewest ticks that they took one by one and in lanes
RUN, TILE, WIDTH, PROGRESS, SPENT, BUDGET, WASTE, PACE, FAST, TIMED, ONE_BY_ONE, IN_LANES = range(11, 23)
# of a remembered automatic step: where its arrays start, between which |f(x)| it holds, and what is known of the noise
MEMORY, LEAST, MOST, MEASURED, LEVEL, RELATIVE, VARIATION, USUAL, FINE = range(23, 32)
# after how many rows to look at the clock first; and bits of integers: f's address; whether a thread is in `enter`, and
# what it compares with there: ndarray, its float64, where `point` counts changes
UNWATCHED, ADDRESS, BUSY, NDARRAY, DTYPE, CHANGES, HEADER = range(32, 39)

# what `gradient` returns besides the number of coordinates done; a lost step at i is -(i + 1).
# RECONSIDER: all done, but whether f should run in lanes is to be decided.
NOT_FINITE, DISTURBED, RECONSIDER, UNUSUAL = 1, 2, 3, 4

# Lanes take half a second or more to compile: worth it after about a second of f alone.
WORTH_LANES = 2.5e9  # ticks
MOST_WASTE = 4096.0  # points
# For few points, one bundle may not pay: with up to so many bundles, either way is timed so often, unless it takes more
# than so many ticks.
FEW, TRIALS, NOT_TIMED = 8, 5, 3e7
# Reading the clock takes 11 ns, as long as f of ten coordinates: where f was fast, look first after so many rows.
MOST_UNWATCHED = 64.0


def entry_point(function: Any, *signature: Any) -> Any:
    """Return a kernel compiled for exactly these types, without type dispatch: it must get just these."""
    if not JIT:
        return function
    function.compile(signature)
    return function.get_overload(signature)


VECTOR = types.Array(types.float64, 1, "C")


def in_one(ndim: int) -> Any:
    """Return ``run(work, x, out)`` for an f without extra arguments, past numba's dispatcher."""
    array = types.Array(types.float64, ndim, "C")
    return entry_point(alone, VECTOR, array, array)


def in_python(address: Any, work: Floats, x: Floats, out: Floats) -> int:
    """Do what `alone` does where the kernels run as Python, and an address does not fit into `work`."""
    return int(gradient(address, (), work, x, out))


def nearest(ndim: int) -> Any:
    """Return the same for any objects; None where it would not know arrays when it sees them."""
    if not ARRAYS_AS_EXPECTED:
        return None
    array = Borrowed(ndim)
    return entry_point(enter, Borrowed(1), array, array)


class InSteps:
    """`gradient` or `automatic` in two calls: new extra arguments compile the evaluation only, 2 s less.

    Parameters
    ----------
    remembered : bool
        Whether to do `automatic`.
    ndim, kinds
        Of x, and the type of the tuple of the extra arguments.
    address
        Of f.
    threaded : callable, optional
        Evaluates the table instead: ``threaded(address, args, work, x)`` returns as `rows_one_by_one`.
    """

    def __init__(self, remembered: bool, ndim: int, kinds: Any, address: Any, threaded: Any = None) -> None:
        self._address, self._threaded = address, threaded
        array = types.Array(types.float64, ndim, "C")
        self._kinds = types.intp, kinds, VECTOR, array
        self._scalar = entry_point(begin if threaded else rows_one_by_one, *self._kinds)
        self._lanes: Any = None
        self._end = entry_point(settle if remembered else combine, VECTOR, VECTOR, VECTOR)

    def run(self, args: tuple[Any, ...], work: Floats, x: Floats, out: Floats) -> int:
        address, rows = self._address, self._scalar
        if work.item(WIDTH) and not self._threaded:
            rows = self._lanes = self._lanes or entry_point(rows_either_way, *self._kinds)
        elif self._threaded and work.item(FAST):
            rows = self._lanes = self._lanes or entry_point(begin_in_lanes, *self._kinds)
        code: int = rows(address, args, work, x)
        if self._threaded and code >= 0:
            code = self._threaded(address, args, work, x)
        if code == x.size:
            code = self._end(work, x, out) if x.ndim == 1 else self._end(work, x.reshape(-1), out.reshape(-1))
        return code


def is_undecided(work: Floats) -> bool:
    """Whether so much was spent, or wasted, that lanes are due; `ended`, for Python."""
    return bool(work[SPENT] > work[BUDGET] or work[WASTE] > MOST_WASTE)


def tables(work: Floats) -> tuple[Ints, Floats, Floats]:
    """View index, points and values within `work`, from Python."""
    n, k = int(work[COUNT]), int(work[NODES])
    at = HEADER + 2 * k + int(work[ABSOLUTES]) + int(work[RELATIVES])
    table = work[at + 2 * n : at + 2 * n + 2 * n * k].reshape(2, n, k)
    return work[at + n : at + 2 * n].view(np.int64), table[0], table[1]


def aligned(size: int) -> Floats:
    """Return zeros that start at a cache line: vectors that straddle two take twice as long to load."""
    room = np.zeros(size + 7)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + size]


def workspace(stencil: Stencil, rule: Step | None, count: int, width: int, address: Any) -> Floats:
    """Return a filled `work` array for gradients of `count` coordinates; without a rule, for remembered steps."""
    absolute, relative = (np.atleast_1d(a) for a in ((rule.absolute, rule.relative) if rule else (0.0, 0.0)))
    nodes = stencil.nodes
    tables_end = HEADER + 2 * nodes.size + absolute.size + relative.size + 2 * count * (1 + nodes.size)
    memory = 0 if rule else 4 * count
    tile = -(-(tables_end + memory) // 8) * 8  # used where WIDTH says that f runs in lanes
    work = aligned(tile + count * width)
    work[[COUNT, NODES, SYMMETRIC]] = count, nodes.size, stencil.symmetric
    if rule:
        work[[FLOOR, OTHERWISE, DYADIC]] = rule.floor, rule.otherwise, rule.dyadic
    work[[ABSOLUTES, RELATIVES]] = absolute.size, relative.size
    work[[TILE, BUDGET, MEMORY, UNWATCHED]] = tile, np.inf, 0.0 if rule else tables_end, 1.0
    if JIT:
        integers = address, id(np.ndarray), id(FLOAT64), address_of_changes()
        work[[ADDRESS, NDARRAY, DTYPE, CHANGES]] = np.array(integers, np.int64).view(np.float64)
    at = HEADER  # in the order of `parts`
    for numbers, length in (
        (nodes, nodes.size),
        (stencil.quotients, nodes.size),
        (absolute, absolute.size),
        (relative, relative.size),
        (np.empty(0), count),
        (np.arange(count).view(np.float64), count),
    ):
        work[at : at + numbers.size] = numbers
        at += length
    return work


def remember(work: Floats, noise: Noise, fine: bool, *arrays: Floats) -> None:
    """Write what `recall` and `settle` need: `arrays` are x, scale, step, patience of `schemes.automatic.Memory`."""
    work[[LEAST, MOST]] = noise.magnitude / CHANGED, max(noise.magnitude, noise.variation) * CHANGED
    known = noise if noise.measured else round_off(1.0)
    work[[MEASURED, FINE]] = noise.measured, fine
    work[[LEVEL, RELATIVE, VARIATION]] = known.level, known.relative, known.variation
    work[USUAL] = diagnosis.USUAL * known.ratio ** (2 / 3)
    at = int(work[MEMORY])
    work[at : at + 4 * arrays[0].size].reshape(4, -1)[:] = arrays


if JIT:

    @intrinsic
    def call_at(typingctx, address, x, args):  # type: ignore[no-untyped-def]
        """Call the function at `address` with x and the entries of a tuple, in numba's calling convention."""
        kinds = (x, *args.types)
        result = x.dtype

        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            at, first, rest = values
            function = context.call_conv.get_function_type(result, kinds)
            unpacked = [builder.extract_value(rest, i) for i in range(len(args.types))]
            status, value = context.call_conv.call_function(
                builder, builder.inttoptr(at, function.as_pointer()), result, kinds, [first, *unpacked]
            )
            with builder.if_then(status.is_error, likely=False):
                context.call_conv.return_status_propagate(builder, status)
            return value

        return result(address, x, args), codegen

    @intrinsic
    def call_c(typingctx, address, x):  # type: ignore[no-untyped-def]
        """Call the C function ``double f(double *, int64_t)`` at `address`."""

        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            double, size = ir.DoubleType(), ir.IntType(64)
            array = context.make_array(signature.args[1])(context, builder, values[1])
            pointer = builder.inttoptr(values[0], ir.FunctionType(double, [double.as_pointer(), size]).as_pointer())
            return builder.call(pointer, [array.data, context.cast(builder, array.nitems, types.intp, types.int64)])

        return types.float64(address, x), codegen

    @intrinsic
    def part(typingctx, array, start, shape):  # type: ignore[no-untyped-def]
        """View entries of a C-contiguous array in another shape, without owning them.

        Counting the references of a dozen slices took 250 ns, and each reshape 40 ns.
        """

        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            source = context.make_array(signature.args[0])(context, builder, values[0])
            start = context.cast(builder, values[1], signature.args[1], types.intp)
            lengths = cgutils.unpack_tuple(builder, values[2])
            kinds = signature.args[2].types
            lengths = [context.cast(builder, n, kind, types.intp) for n, kind in zip(lengths, kinds, strict=True)]
            size = context.get_constant(types.intp, context.get_abi_sizeof(source.data.type.pointee))
            strides = [size]
            for length in lengths[:0:-1]:
                strides.insert(0, builder.mul(strides[0], length))
            view = context.make_array(signature.return_type)(context, builder)
            populate_array(view, builder.gep(source.data, [start]), lengths, strides[: len(lengths)], size, None)
            return view._getvalue()

        return types.Array(array.dtype, len(shape.types), "C")(array, start, shape), codegen

    @intrinsic
    def ticks(typingctx):  # type: ignore[no-untyped-def]
        """Read the processor's counter; 0 where user code may not."""

        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            if platform.machine() not in ("x86_64", "AMD64", "i686"):
                return context.get_constant(types.int64, 0)
            counter = builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(ir.IntType(64), ()))
            return builder.call(counter, ())

        return types.int64(), codegen

    from .borrowed import Borrowed, as_expected, lent, overlap, plain, release, seize, word_at

    ARRAYS_AS_EXPECTED = as_expected()

else:  # NUMBA_DISABLE_JIT: the kernels run as Python, an address is the function itself

    def call_at(address: Any, x: NDArray[Any], args: tuple[Any, ...]) -> Any:
        return address(x, *args)

    def call_c(address: Any, x: NDArray[Any]) -> Any:
        raise NotImplementedError("C functions need numba's compiler; NUMBA_DISABLE_JIT is set")

    def part(array: NDArray[Any], start: int, shape: tuple[int, ...]) -> NDArray[Any]:
        return array.reshape(-1)[start : start + math.prod(shape)].reshape(shape)

    def ticks() -> int:
        return 0

    ARRAYS_AS_EXPECTED = False


@cache
def source_stamp() -> str:
    """Digest all sources that kernels are made of: one that is made of others' is not to be loaded."""
    modules = [sys.modules[__name__], diagnosis, noise, steps]
    modules += [sys.modules[name] for name in (as_expected.__module__, evaluate_table_lanes.__module__)]
    return sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's disk cache, which a damaged file or a full disk does not stop: what cannot be loaded is compiled."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        file = self._cache_file
        file._source_stamp = source_stamp()  # numba's own is of the one file that the function is in
        dump, load = file._dump, file._load_data

        def signed(data: Any) -> bytes:
            content: bytes = dump(data)
            return content + sha256(content).digest()

        def checked(name: str) -> Any:
            content = Path(file._data_path(name)).read_bytes()
            if sha256(content[:-32]).digest() != content[-32:]:  # machine code with a flipped bit would run
                raise ValueError(f"{name} is damaged")
            return load(name)  # a pickle ends where it says: the digest behind it is not read

        file._dump, file._load_data = signed, checked

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001  unpickling damaged files raises anything
            self._give_up_files()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # noqa: BLE001  the kernel itself is fine
            self._give_up_files()

    def _give_up_files(self) -> None:
        """Empty the index, so that the files are written anew; leave the disk alone where that fails."""
        try:
            self.flush()
        except OSError:
            self.disable()


class LateCache:
    """A `KernelCache` that looks for its folder when it is first used: that takes 1 ms or 2, of each kernel."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @cached_property
    def _cache(self) -> Any:
        try:
            return KernelCache(self._function)
        except (RuntimeError, AttributeError, OSError):  # no folder to keep it in; another numba's inside; no sources
            return NullCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def kernel(function: Any) -> Any:
    """Compile a loop of ours; from the disk where a process has compiled it before, if a folder is writable."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    if JIT:
        compiled._cache = LateCache(function)
    return compiled


@njit
def call_c_function(x: Floats, address: int) -> float:
    return call_c(address, x)  # type: ignore[no-any-return]


@kernel
def power_of_two(h: float) -> float:
    """`steps.power_of_two` for one step; by its bits, for frexp and ldexp cost 15 ns a component."""
    bits = np.float64(h).view(np.int64) & 0x7FF0000000000000
    below = np.int64(bits).view(np.float64)
    return 2.0 * below if h >= 2.0 * HALF_ROOT * below else below


@kernel
def step_at(x: float, absolute: float, relative: float, floor: float, otherwise: float, dyadic: float) -> float:
    """`Step.at` for one component."""
    h = absolute + relative * max(abs(x), floor)
    if h == 0.0:
        h = otherwise
    if dyadic != 0.0:
        h = power_of_two(h)
    return h


@kernel
def sweep(address, args, base, y, index, points, values, start, refill, stride):  # type: ignore[no-untyped-def]
    """Evaluate f with one entry of x replaced, from row `start` on.

    Returns the next row, or -1 - row if f wrote into x. The first look at the clock is after `stride` rows.

    `y` is x's working copy, of its shape; f may have written into an entry of it, which is seen when the entry's turn
    comes or at the end. With `refill` it is made anew before each evaluation instead.
    """
    flat = part(y, 0, (y.size,))
    if start == 0:
        for i in range(base.size):
            flat[i] = base[i]
    began = ticks() if stride < index.size - start else 0
    checked = start
    for row in range(start, index.size):
        i = index[row]
        if not refill and flat[i] != base[i]:
            return -1 - row
        for column in range(points.shape[1]):
            if refill:
                for j in range(base.size):
                    flat[j] = base[j]
            flat[i] = points[row, column]
            values[row, column] = call_at(address, y, args)
        flat[i] = base[i]
        if row - checked + 1 >= stride and row + 1 < index.size:
            passed = ticks() - began
            if passed > TICKS:
                return row + 1
            if passed < TICKS // 8:
                stride *= 2
            checked = row + 1
    if not refill:
        for i in range(base.size):
            if flat[i] != base[i]:
                return -1 - index.size
    return index.size


@kernel
def sweep_lanes(run, address, args, x, y, tile, progress, index, points, values, start, meter):  # type: ignore[no-untyped-def]
    """Do what `sweep` does, several points at a time.

    `meter` counts the points that had to be evaluated again, and remembers the ticks that a row takes: each part of the
    table fills the tile anew, so there should be few.
    """
    began = before = ticks()
    n, k = points.shape
    while start < n:
        pace = meter[1]
        m = min(n - start, max(tile.shape[1], int(0.25 * TICKS / pace)) if pace > 0.0 else tile.shape[1])
        rows, some, into = part(index, start, (m,)), part(points, start * k, (m, k)), part(values, start * k, (m, k))
        repeated = evaluate_table_lanes(run, address, args, x, tile, progress, y, rows, some, into)
        meter[0] = max(0.0, meter[0] + repeated - 0.5 * (m * k))
        start += m
        now = ticks()
        meter[1] = max((now - before) / m, 1e-3)
        before = now
        if now - began > TICKS:
            break
    return start


@kernel
def evaluate(address, args, x):  # type: ignore[no-untyped-def]
    """Evaluate f once."""
    return call_at(address, x, args)


@kernel
def parts(work):  # type: ignore[no-untyped-def]
    """The arrays within `work`."""
    n, k = int(work[COUNT]), int(work[NODES])
    nodes = HEADER
    quotients = nodes + k
    absolute = quotients + k
    relative = absolute + int(work[ABSOLUTES])
    y = relative + int(work[RELATIVES])
    index = y + n
    points = index + n
    values = points + n * k
    return (
        part(work, nodes, (k,)),
        part(work, quotients, (k,)),
        part(work, absolute, (relative - absolute,)),
        part(work, relative, (y - relative,)),
        part(work, y, (n,)),
        part(work, index, (n,)).view(np.int64),
        part(work, points, (n, k)),
        part(work, values, (n, k)),
    )


@kernel
def place(work, flat):  # type: ignore[no-untyped-def]
    """Fill the table of points; returns -(i + 1) where the step of coordinate i is lost, else 0."""
    nodes, _, absolute, relative, _, _, points, _ = parts(work)
    floor, otherwise, dyadic = work[FLOOR], work[OTHERWISE], work[DYADIC]
    if nodes.size == 2 and absolute.size == 1 and relative.size == 1:  # the same without leaving the loop: SIMD
        a, r, first, second, lost = absolute[0], relative[0], nodes[0], nodes[1], False
        for i in range(flat.size):
            h = step_at(flat[i], a, r, floor, otherwise, dyadic)
            above, below = flat[i] + h * first, flat[i] + h * second
            points[i, 0], points[i, 1] = above, below
            lost |= (above == flat[i]) | (below == flat[i]) | (not abs(above) < np.inf) | (not abs(below) < np.inf)
        if not lost:
            return 0
    for i in range(flat.size):
        a = absolute[i if absolute.size > 1 else 0]
        r = relative[i if relative.size > 1 else 0]
        h = step_at(flat[i], a, r, floor, otherwise, dyadic)
        for j in range(nodes.size):
            point = flat[i] + h * nodes[j]
            if point == flat[i] or not abs(point) < np.inf:
                return -(i + 1)
            points[i, j] = point
    return 0


@kernel
def ended(work, n):  # type: ignore[no-untyped-def]
    """Return the code of a gradient that is done: RECONSIDER where so much was spent, or wasted, that lanes are due."""
    return n + RECONSIDER if work[SPENT] > work[BUDGET] or work[WASTE] > MOST_WASTE else n


@kernel
def combine(work, flat, result):  # type: ignore[no-untyped-def]
    """Combine the values to partial derivatives; returns the code of `gradient`."""
    nodes, quotients, _, _, _, _, points, values = parts(work)
    symmetric, here = work[SYMMETRIC] != 0.0, work[HERE]
    finite = True
    if symmetric and nodes.size == 2:  # the same, for half the time
        weight = quotients[0]
        for i in range(flat.size):
            total = 0.0 + weight * ((values[i, 0] - values[i, 1]) / (points[i, 0] - points[i, 1]))
            result[i] = total
            finite &= abs(total) < np.inf
        return ended(work, flat.size) if finite else flat.size + NOT_FINITE
    for i in range(flat.size):
        total = 0.0
        if symmetric:
            for j in range(0, nodes.size, 2):
                total += quotients[j // 2] * ((values[i, j] - values[i, j + 1]) / (points[i, j] - points[i, j + 1]))
        else:
            for j in range(nodes.size):
                total += quotients[j] * ((values[i, j] - here) / (points[i, j] - flat[i]))
        result[i] = total
        finite = finite and abs(total) < np.inf
    return ended(work, flat.size) if finite else flat.size + NOT_FINITE


@kernel
def begin(address, args, work, x):  # type: ignore[no-untyped-def]
    """Place the points, and evaluate f(x) where it is needed; 0, or the code of `gradient`."""
    flat = part(x, 0, (x.size,))
    if work[MEMORY] != 0.0 or work[SYMMETRIC] == 0.0:
        buffer = parts(work)[4]
        for i in range(x.size):
            buffer[i] = flat[i]
        work[HERE] = call_at(address, part(buffer, 0, x.shape), args)
    return recall(work, flat) if work[MEMORY] != 0.0 else place(work, flat)


@kernel
def rows_one_by_one(address, args, work, x):  # type: ignore[no-untyped-def]
    """Evaluate the table of `work`, filled at row 0, from its row START on; returns the next row, or a code."""
    n, start = x.size, int(work[START])
    if start == 0:
        code = begin(address, args, work, x)
        if code < 0:
            return code
    _, _, _, _, buffer, index, points, values = parts(work)
    y, began = part(buffer, 0, x.shape), ticks()
    base, stride = part(x, 0, (n,)), int(work[UNWATCHED])
    done = sweep(address, args, base, y, index, points, values, start, work[REFILL] != 0.0, stride)
    passed = ticks() - began
    work[SPENT] += passed
    work[UNWATCHED] = MOST_UNWATCHED if passed < TICKS // 8 else 1.0
    work[START] = done if 0 < done < n else 0
    return n + DISTURBED if done < 0 else done


@kernel
def here_in_lanes(address, args, work, x):  # type: ignore[no-untyped-def]
    """Evaluate f(x) itself in lanes, into HERE: a table of one point."""
    _, _, _, _, buffer, index, _, _ = parts(work)
    run, tile = part(work, RUN, (1,)).view(np.int64)[0], part(work, int(work[TILE]), (x.size, int(work[WIDTH])))
    progress, meter, y = part(work, PROGRESS, (1,)).view(np.int64), part(work, WASTE, (2,)), part(buffer, 0, x.shape)
    first, point, value = part(index, 0, (1,)), part(x, 0, (1, 1)), part(work, HERE, (1, 1))
    sweep_lanes(run, address, args, x, y, tile, progress, first, point, value, 0, meter)


@kernel
def begin_in_lanes(address, args, work, x):  # type: ignore[no-untyped-def]
    """Do what `begin` does, and evaluate f(x) as the table will be."""
    if work[FAST] == 0.0:
        return begin(address, args, work, x)
    flat = part(x, 0, (x.size,))
    if work[MEMORY] != 0.0 or work[SYMMETRIC] == 0.0:
        here_in_lanes(address, args, work, x)
    return recall(work, flat) if work[MEMORY] != 0.0 else place(work, flat)


@kernel
def rows_in_lanes(address, args, work, x):  # type: ignore[no-untyped-def]
    """Do what `rows_one_by_one` does, several points at a time."""
    n, start = x.size, int(work[START])
    if start == 0:
        code = begin_in_lanes(address, args, work, x)
        if code < 0:
            return code
    _, _, _, _, buffer, index, points, values = parts(work)
    run, tile = part(work, RUN, (1,)).view(np.int64)[0], part(work, int(work[TILE]), (n, int(work[WIDTH])))
    progress, meter = part(work, PROGRESS, (1,)).view(np.int64), part(work, WASTE, (2,))
    y = part(buffer, 0, x.shape)
    done = sweep_lanes(run, address, args, x, y, tile, progress, index, points, values, start, meter)
    work[START] = done if done < n else 0
    return done


@kernel
def rows_either_way(address, args, work, x):  # type: ignore[no-untyped-def]
    """Do what `rows_in_lanes` does; where there are few points, in whichever way is the faster."""
    many = work[COUNT] * work[NODES] >= FEW * work[WIDTH]
    if many or work[FAST] != 0.0 or work[START] != 0.0 or work[IN_LANES] > NOT_TIMED:
        return rows_in_lanes(address, args, work, x)
    if work[TIMED] >= 2.0 * TRIALS:
        if work[ONE_BY_ONE] < work[IN_LANES]:
            return rows_one_by_one(address, args, work, x)
        return rows_in_lanes(address, args, work, x)
    began = ticks()
    if work[TIMED] % 2.0 == 0.0:
        done, way = rows_in_lanes(address, args, work, x), IN_LANES
    else:
        done, way = rows_one_by_one(address, args, work, x), ONE_BY_ONE
    passed = float(ticks() - began)
    if done == x.size:
        fewest = work[way] if work[TIMED] >= 2.0 else np.inf
        work[way] = min(fewest, passed)
        work[TIMED] += 1.0
    return done


# the judgement of `fastgrad.schemes.diagnosis`, compiled as it stands there
judge = kernel(diagnosis.judge)
troubled = kernel(diagnosis.troubled)
near = kernel(diagnosis.near)

# the smallest power of ten that is 1e4 units in the last place of a number, by the exponent of the number
DECIMALS = np.array([10.0 ** math.ceil(math.log10(1e4 * 2.0 ** (e - 1075))) for e in range(64, 2000)])


@kernel
def recall(work, flat):  # type: ignore[no-untyped-def]
    """Place the points by the remembered steps, given f(x); 0, or -1 where something has changed."""
    n, here = flat.size, abs(work[HERE])
    if not (work[LEAST] <= here <= work[MOST] and (work[MEASURED] != 0.0 or here > 1e-280)):
        return -1
    points, memory = parts(work)[6], int(work[MEMORY])
    at, scale, step = part(work, memory, (n,)), part(work, memory + n, (n,)), part(work, memory + 2 * n, (n,))
    far = False
    for i in range(n):
        h, x = step[i], flat[i]
        # a step near the spacing of floats is the general way's to enlarge
        far |= not (near(x, at[i], scale[i]) and h < np.inf and h >= 4.0 * EPS * abs(x) and h >= 1e-300)
        points[i, 0] = x + h
        points[i, 1] = x - h
    return -1 if far else 0


@kernel
def coarse(values, level):  # type: ignore[no-untyped-def]
    """Whether `noise.quantum` of the first eight values may be more than the noise level: f is coarser than thought."""
    count, largest = min(values.size, 8), 0.0
    for i in range(count):
        largest = max(largest, abs(values[i]))
    exponent = np.float64(largest).view(np.int64) >> 52
    if not 100 < exponent < 1900:
        return True
    bits = np.int64((exponent - 48) << 52).view(np.float64)  # 16 units in the last place
    tens = DECIMALS[exponent - 64]
    binary, decimal = True, True
    for i in range(count):
        binary = binary and np.floor(values[i] / bits) == values[i] / bits
        decimal = decimal and abs(values[i] / tens - np.rint(values[i] / tens)) < 1e-3
        if not (binary or decimal):
            return False
    while binary:
        if UNIFORM * bits > NOISIER * level:
            return True
        bits *= 2.0
        for i in range(count):
            binary = binary and np.floor(values[i] / bits) == values[i] / bits
    return decimal


@kernel
def settle(work, flat, result):  # type: ignore[no-untyped-def]
    """Difference and judge the values, as `few.first_round`; UNUSUAL if a component is in trouble."""
    n, here = flat.size, work[HERE]
    _, _, _, _, _, _, points, values = parts(work)
    level, relative, size, usual = work[LEVEL], work[RELATIVE], work[VARIATION], work[USUAL]
    patience = part(work, int(work[MEMORY]) + 3 * n, (n,))
    if work[MEASURED] == 0.0:
        size = max(abs(here), TINY)
        level = EPS * size
        if work[FINE] == 0.0 and coarse(part(values, 0, (2 * n,)), level):  # what was measured knows of it
            return n + UNUSUAL
    count = 0
    for i in range(n):
        above, below = values[i, 0], values[i, 1]
        span = points[i, 0] - points[i, 1]
        h = 0.5 * span
        change = above - below
        sigma = np.maximum(level, relative * np.maximum(np.abs(above), np.abs(below)))
        d = change / span
        e, t, c = judge(np.abs(change), np.abs((above - here) + (below - here)), h, sigma, size)
        result[i] = d
        count += troubled(d, e, t, c, usual, patience[i])
    return n + UNUSUAL if count else ended(work, n)


@kernel
def gradient(address, args, work, x, out):  # type: ignore[no-untyped-def]
    """One gradient, by one stencil or by remembered steps. Returns how many coordinates are done, or a code.

    Compiled for functions without extra arguments; `InSteps` serves the others.
    """
    lanes = work[WIDTH] != 0.0
    code = rows_either_way(address, args, work, x) if lanes else rows_one_by_one(address, args, work, x)
    if code != x.size:
        return code
    flat, result = part(x, 0, (x.size,)), part(out, 0, (x.size,))
    return settle(work, flat, result) if work[MEMORY] != 0.0 else combine(work, flat, result)


@kernel
def bits(work, at):  # type: ignore[no-untyped-def]
    """The integer in an entry of `work`."""
    return part(work, at, (1,)).view(np.int64)[0]


@kernel
def alone(work, x, out):  # type: ignore[no-untyped-def]
    """`gradient` with f's address in `work`: each argument takes 20 to 40 ns."""
    return gradient(bits(work, ADDRESS), (), work, x, out)


@kernel
def enter(borrowed_work, x, out):  # type: ignore[no-untyped-def]
    """`alone` of any objects; whether it is done. Otherwise nothing has happened but to `out`.

    x and `out` must be plain arrays of one shape, no other thread in here, and none perturbing an array in place.
    """
    work = lent(borrowed_work)
    kind, dtype, changes = bits(work, NDARRAY), bits(work, DTYPE), bits(work, CHANGES)
    if not (plain(x, kind, dtype) and plain(out, kind, dtype)):
        return False
    point, result = lent(x), lent(out)
    if point.shape != result.shape or point.size != work[COUNT] or overlap(point, result) or not seize(work, BUSY):
        return False
    before, used = word_at(changes), word_at(changes + 8)
    done = alone(work, point, result) == point.size and used == 0 and word_at(changes) == before
    work[START] = 0.0
    release(work, BUSY)
    return done


@kernel
def descend(address, args, work, x, out, lr, tol, most, record, path, values):  # type: ignore[no-untyped-def]
    """Follow -lr times the gradient from x, in place: as many steps as `values` has entries.

    Writes f before each step to `values` and, if `record`, x to the rows of `path`. Returns how many steps were taken
    and the code of `gradient` that ended it (x.size if none did).
    """
    n = x.size
    flat, slope = part(x, 0, (n,)), part(out, 0, (n,))
    buffer = parts(work)[4]
    y = part(buffer, 0, x.shape)
    began = ticks()
    for step in range(values.size):
        for i in range(n):
            buffer[i] = flat[i]
        here = call_at(address, y, args)
        values[step] = here
        if record:
            for i in range(n):
                path[step, i] = flat[i]
        if not abs(here) <= most:
            return step, n + NOT_FINITE
        work[START] = 0.0
        code = gradient(address, args, work, x, out)
        while 0 <= code < n:
            code = gradient(address, args, work, x, out)
        if code != n and code != n + RECONSIDER:
            return step, code
        largest = 0.0
        for i in range(n):
            largest = max(largest, abs(slope[i]))
        if largest <= tol:
            return step, -n - 1
        for i in range(n):
            flat[i] -= lr * slope[i]
        if ticks() - began > TICKS:
            return step + 1, n
    return values.size, n
