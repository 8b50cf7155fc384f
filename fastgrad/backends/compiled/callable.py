"""A gradient that compiled code calls: `Gradient.jitted`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, objmode, types
from numba.core.callconv import errcode_t, excinfo_ptr_t
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ...core.call import Call
from ...core.errors import CannotRun
from ...inspecting.cfunctions import CFunction
from ...lifting.native import array_type, emits, part
from ...schemes.stencils import Stencil
from ...schemes.steps import Step
from . import kernels
from .cache import inner
from .default import by_rule
from .functions import JIT, Target, jitted
from .native import STACK, array_at, header, on_the_stack
from .workspace import HEADER_SIZE, lay_out

lay_out_compiled = inner(lay_out)


def make_jitted(call: Call, stencil: Stencil, rule: Step | None, general: Callable[[Any, tuple[Any, ...]], Any]) -> Any:
    """Return a jitted function ``gradient(x, *args)``, with the bits that the gradient has outside.

    CannotRun where f is not compiled by numba.

    `call`, `stencil`, `rule`: as for `FusedGradient`.
    `general`: ``general(x, args)`` returns the gradient where the kernel does not decide; it is called with the
        interpreter.
    """
    if not JIT or isinstance(call.f, CFunction):
        raise CannotRun("only an f that numba compiles has a gradient that compiled code can call")
    known = jitted(call.f, False)
    targets: dict[Any, Target] = {}  # what compiled callers link to lives as long as they may be compiled
    loop = by_rule if rule is None else kernels.by_step
    absolute, relative = (np.atleast_1d(a) for a in ((rule.absolute, rule.relative) if rule else (0.0, 0.0)))
    floor, otherwise, dyadic = (rule.floor, rule.otherwise, rule.dyadic) if rule else (0.0, 0.0, False)
    nodes, quotients, symmetric, ruled = stencil.nodes, stencil.quotients, stencil.symmetric, rule is None
    most = max(absolute.size, relative.size)

    def target_of(x: Any, args: Any) -> Target:
        key = x.ndim, args
        if key not in targets:
            targets[key] = Target(known.f, array_type(x.ndim), tuple(map(types.unliteral, args)))
        return targets[key]

    @intrinsic
    def attempt(typingctx, args, work, x, out):
        """Run the kernel; returns its code, and numba's own of what f raised, with where that is described."""
        target = target_of(x, tuple(args))
        kinds = kernels.signature(target.kinds, array_type(x.ndim))
        loop.compile(kinds)
        kernel, function = loop.overloads[kinds], target.native[1]
        result = types.UniTuple(types.int64, 3)

        def codegen(context, builder, signature, values):
            context.add_linking_libs([kernel.library, function.library])
            passed, work, x, out = values
            given = [
                context.cast(builder, builder.extract_value(passed, i), kind, types.unliteral(kind))
                for i, kind in enumerate(signature.args[0])
            ]
            if target.packed:
                given = [context.make_tuple(builder, kinds[0][0], given)]
            packed = context.make_tuple(builder, kinds[0], given)
            number = context.get_value_type(types.int64)
            address = builder.ptrtoint(context.declare_function(builder.module, function.fndesc), number)
            array = context.make_array(signature.args[1])(context, builder, work)
            # the address is the first number of the record
            builder.store(address, builder.bitcast(array.data, number.as_pointer()))
            status, code = context.call_internal_no_propagate(
                builder, kernel.fndesc, kernel.signature, [packed, work, x, out]
            )
            code = builder.select(status.is_error, number(0), code)
            failed = builder.select(status.is_error, builder.sext(status.code, number), number(0))
            where = builder.ptrtoint(status.excinfoptr, number)
            return context.make_tuple(builder, result, [code, failed, where])

        return result(args, work, x, out), codegen

    @njit
    def generally(x, args):
        with objmode(found="float64[::1]"):
            found = np.ascontiguousarray(general(x, args), dtype=np.float64).reshape(-1)
        return found.reshape(x.shape)

    @inner
    def lay_out_size(n):
        numbers = HEADER_SIZE + 2 * nodes.size + absolute.size + relative.size
        return numbers + n * (5 + 2 * nodes.size) + 32

    @njit
    def gradient(x, *args):
        base = contiguous(x)
        n = base.size
        size = lay_out_size(n)
        work = array_at(on_the_stack(), size) if size <= STACK else np.empty(size)  # 40 ns less
        head = header(work)
        lay_out_compiled(head, n, nodes.size, absolute.size, relative.size, 0, ruled)
        for i in range(nodes.size):
            work[head.nodes_at + i], work[head.quotients_at + i] = nodes[i], 0.0
        for i in range(quotients.size):
            work[head.quotients_at + i] = quotients[i]
        for i in range(absolute.size):
            work[head.absolute_at + i] = absolute[i]
        for i in range(relative.size):
            work[head.relative_at + i] = relative[i]
        index = work.view(np.int64)
        for i in range(n):
            index[head.index_at + i] = i
        work[head.meter_at] = 0.0
        head.symmetric, head.dyadic, head.refill, head.unwatched, head.start = symmetric, dyadic, 0, 0, 0
        head.lanes, head.fast, head.timed, head.floor, head.otherwise = 0, 0, 0, floor, otherwise
        head.spent, head.budget = 0.0, np.inf
        shape = base.shape
        out = np.empty(shape)
        # a kernel that raises keeps a reference to all that it was given: it gets views that own nothing
        given = part(work, 0, (work.size,)), part(base, 0, shape), part(out, 0, shape)
        code, failed, where = 0, 0, 0
        if most <= 1 or most == n:
            code, failed, where = attempt(args, given[0], given[1], given[2])
            while failed == 0 and 0 <= code < n:
                code, failed, where = attempt(args, given[0], given[1], given[2])
        code += 0 * work.size  # until here it is needed
        if code == n and failed == 0:
            return out
        if failed != 0 and not ruled:
            raise_again(failed, where)
            return np.empty(shape)  # never; but nothing else is held here any more
        return generally(base, args)

    return gradient


def contiguous(x: object) -> Any:
    """Return x as a C-contiguous float64 array: itself, if it is one."""
    raise NotImplementedError


@overload(contiguous)
def _contiguous(x):
    if not isinstance(x, types.Array) or not isinstance(x.dtype, (types.Float, types.Integer, types.Boolean)):
        raise TypingError(f"`x` must be an array of real numbers, got {x}")
    if x == array_type(x.ndim):
        return lambda x: x
    return lambda x: np.ascontiguousarray(x).astype(np.float64)


@emits(types.void)
def raise_again(context, builder, kind, failed, where):
    """Raise what a kernel raised, after its caller has let go of what it holds."""
    code, described = builder.trunc(failed, errcode_t), builder.inttoptr(where, excinfo_ptr_t)
    status = context.call_conv._get_return_status(builder, code, described)
    with builder.if_then(status.is_error, likely=True):
        context.call_conv.return_status_propagate(builder, status)
