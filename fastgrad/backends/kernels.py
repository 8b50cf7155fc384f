"""Compiled loops that reach f by its address: compiled once for all f of a signature.

They hold nothing of f, allocate nothing (an array allocated here would leak when f raises), and never fuse or reorder
floating-point operations. Everything besides f, x and the result lies in one array, `work`, because each further
argument costs 70 ns a call (measured); its layout is in `parts`.
"""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from .._validate import Floats
from ..stencils import Stencil
from ..steps import HALF_ROOT, Step

JIT = not config.DISABLE_JIT

# A kernel returns to Python after so many ticks of the processor's counter (20 to 100 ms), so that Ctrl-C answers.
TICKS = 100_000_000

# `work` starts with these numbers; the arrays of `parts` follow
COUNT, NODES, SYMMETRIC, FLOOR, OTHERWISE, DYADIC, ABSOLUTES, RELATIVES, START, REFILL, HERE, HEADER = range(12)

# what `gradient` returns besides the number of coordinates done; a lost step at i is -(i + 1)
NOT_FINITE, DISTURBED = 1, 2


def entry_point(function: Any, ndim: int) -> Any:
    """Return `gradient` compiled for x of so many dimensions and no extra arguments, without type dispatch.

    It must get exactly: int, (), float64[::1], and two C-contiguous float64 arrays of `ndim` dimensions.
    """
    vector, array = types.Array(types.float64, 1, "C"), types.Array(types.float64, ndim, "C")
    signature = types.intp, types.Tuple(()), vector, array, array
    function.compile(signature)
    return function.get_overload(signature)


def gradient_in_steps(address: Any, args: tuple[Any, ...], work: Floats, x: Floats, out: Floats) -> int:
    """Do what `gradient` does, in three calls: 2 µs slower; new extra arguments compile only `sweep`, 2 s less."""
    n, k = x.size, int(work[NODES])
    flat, at = x.reshape(-1), HEADER + 2 * int(work[NODES]) + int(work[ABSOLUTES]) + int(work[RELATIVES])
    y, index = work[at : at + n].reshape(x.shape), work[at + n : at + 2 * n].view(np.int64)
    table = work[at + 2 * n : at + 2 * n + 2 * n * k].reshape(2, n, k)
    if not work[START]:
        code = int(place(work, flat))
        if code < 0:
            return code
        if not work[SYMMETRIC]:
            work[HERE] = evaluate(address, args, x.copy())
    done = int(sweep(address, args, flat, y, index, table[0], table[1], int(work[START]), bool(work[REFILL])))
    work[START] = done if 0 < done < n else 0
    if done < 0:
        return n + DISTURBED
    return done if done < n else int(combine(work, flat, out.reshape(-1)))


def workspace(stencil: Stencil, rule: Step, count: int) -> Floats:
    """Return a filled `work` array for gradients of `count` coordinates."""
    absolute, relative = np.atleast_1d(rule.absolute), np.atleast_1d(rule.relative)
    nodes = stencil.nodes
    size = HEADER + 2 * nodes.size + absolute.size + relative.size + 2 * count * (1 + nodes.size)
    work = np.zeros(size)
    work[[COUNT, NODES, SYMMETRIC]] = count, nodes.size, stencil.symmetric
    work[[FLOOR, OTHERWISE, DYADIC]] = rule.floor, rule.otherwise, rule.dyadic
    work[[ABSOLUTES, RELATIVES]] = absolute.size, relative.size
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

else:  # NUMBA_DISABLE_JIT: the kernels run as Python, an address is the function itself

    def call_at(address: Any, x: NDArray[Any], args: tuple[Any, ...]) -> Any:
        return address(x, *args)

    def call_c(address: Any, x: NDArray[Any]) -> Any:
        raise NotImplementedError("C functions need numba's compiler; NUMBA_DISABLE_JIT is set")

    def part(array: NDArray[Any], start: int, shape: tuple[int, ...]) -> NDArray[Any]:
        return array.reshape(-1)[start : start + math.prod(shape)].reshape(shape)

    def ticks() -> int:
        return 0


def kernel(function: Any) -> Any:
    """Compile a loop of ours; from the disk where a process has compiled it before, if a folder is writable."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(**options, cache=True)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(**options)(function)


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
def sweep(address, args, base, y, index, points, values, start, refill):  # type: ignore[no-untyped-def]
    """Evaluate f with one entry of x replaced, from row `start` on.

    Returns the next row, or -1 - row if f wrote into x.

    `y` is x's working copy, of its shape; f may have written into an entry of it, which is seen when the entry's turn
    comes or at the end. With `refill` it is made anew before each evaluation instead.
    """
    flat = part(y, 0, (y.size,))
    if start == 0:
        for i in range(base.size):
            flat[i] = base[i]
    began = ticks()
    checked, stride = start, 1
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
        if row - checked + 1 >= stride:
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
    for i in range(flat.size):
        a = absolute[i if absolute.size > 1 else 0]
        r = relative[i if relative.size > 1 else 0]
        h = step_at(flat[i], a, r, work[FLOOR], work[OTHERWISE], work[DYADIC])
        for j in range(nodes.size):
            point = flat[i] + h * nodes[j]
            if point == flat[i] or not abs(point) < np.inf:
                return -(i + 1)
            points[i, j] = point
    return 0


@kernel
def combine(work, flat, result):  # type: ignore[no-untyped-def]
    """Combine the values to partial derivatives; returns the code of `gradient`."""
    nodes, quotients, _, _, _, _, points, values = parts(work)
    symmetric, here = work[SYMMETRIC] != 0.0, work[HERE]
    finite = True
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
    return flat.size if finite else flat.size + NOT_FINITE


@kernel
def gradient(address, args, work, x, out):  # type: ignore[no-untyped-def]
    """One gradient by one stencil. Returns how many coordinates are done, or a code.

    Compiled for functions without extra arguments; `gradient_in_steps` serves the others.
    """
    n = x.size
    _, _, _, _, buffer, index, points, values = parts(work)
    y, flat = part(buffer, 0, x.shape), part(x, 0, (n,))
    start = int(work[START])
    if start == 0:
        code = place(work, flat)
        if code < 0:
            return code
        if work[SYMMETRIC] == 0.0:
            for i in range(n):
                buffer[i] = flat[i]
            work[HERE] = call_at(address, y, args)
    done = sweep(address, args, flat, y, index, points, values, start, work[REFILL] != 0.0)
    work[START] = done if 0 < done < n else 0
    if done < 0:
        return n + DISTURBED
    if done < n:
        return done
    return combine(work, flat, part(out, 0, (n,)))


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
        if code != n:
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
