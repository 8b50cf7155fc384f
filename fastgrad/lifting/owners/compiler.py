"""Compiling an unmodified scalar function for owner lanes."""

import operator
import warnings
from math import inf

import numpy as np
from numba import carray, njit, types
from numba.core import config, errors
from numba.core import ir as numba_ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, FunctionPass, register_pass
from numba.core.typed_passes import NopythonTypeInference
from numba.core.untyped_passes import LiteralUnroll
from numba.extending import intrinsic

from ..lanes.capability import CannotLift
from ..lanes.compiler import IMPURE, SubstituteGlobals, Twins, cannot_lift, frozen, place
from .arrays import ALLOCATORS, ALLOWED, allocator
from .emitting import BUFFERS, CAPACITY, CELLS, FLAGS, LOG, LOGGED, LOST, NEXT, STALE, STATES, THREAD_KEY, USED
from .operators import KNOWN, accumulate_add, accumulate_subtract
from .point import as_point, begin, finish
from .totals import MOST_TAILS, RING, memory
from .types import Owned, Point

__all__ = [
    "BUFFERS",
    "CAPACITY",
    "CELLS",
    "COLOURS",
    "HEADER",
    "LOG",
    "LOGGED",
    "LOST",
    "MOST_TAILS",
    "RING",
    "SELF",
    "compile_owners",
]

COLOURS = 4  # in a pass: 2 are faster for two colours, 8 rarely (measured)
SELF = STATES  # of a header: its own address
HEADER = STATES + 1
UNUSUAL, UNCONFIRMED = 128, 256  # what the kernel adds to the reasons
CHECKS = 2.0**-17, 2.0**-25  # steps, relative to x, of the plain differences that confirm a gradient

ACCUMULATE = {operator.iadd: accumulate_add, operator.isub: accumulate_subtract}
ADDITIVE = {operator.add: accumulate_add, operator.sub: accumulate_subtract}


@register_pass(mutates_CFG=False, analysis_only=False)
class MarkAccumulators(FunctionPass):
    """`s += term` and `s = s + a - b` -> functions of our own, before single assignment renames s.

    numba types `+=` by `iadd`, but lowers it by `add`, typed anew.
    """

    _name = "fastgrad_mark_accumulators"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        for block in state.func_ir.blocks.values():
            made = {}
            for statement in block.body:
                if not isinstance(statement, numba_ir.Assign):
                    continue
                value, target = statement.value, statement.target.name
                if isinstance(value, numba_ir.Expr) and value.op == "inplace_binop" and value.fn in ACCUMULATE:
                    mark(statement, ACCUMULATE[value.fn])
                    continue
                if isinstance(value, numba_ir.Expr) and value.op == "binop" and value.fn in ADDITIVE:
                    made[target] = statement
                chain = []  # s = s + a - b is (s + a) - b
                left = value.name if isinstance(value, numba_ir.Var) else target
                while left in made and (not chain or left != target):
                    chain.append(made[left])
                    left = made[left].value.lhs.name
                if chain and left == target:
                    for step in chain:
                        mark(step, ADDITIVE[step.value.fn])
                    made.clear()
        return True


def mark(assignment, stub):
    e = assignment.value
    assignment.value = numba_ir.Expr(
        "inplace_binop",
        e.loc,
        fn=stub,
        immutable_fn=stub,
        lhs=e.lhs,
        rhs=e.rhs,
        static_lhs=numba_ir.UNDEFINED,
        static_rhs=numba_ir.UNDEFINED,
    )


def is_owned(t):
    return isinstance(t, (Owned, Point)) or isinstance(getattr(t, "dtype", None), Owned)


@register_pass(mutates_CFG=False, analysis_only=True)
class CheckOwned(AnalysisPass):
    """Only what is known to mean the same on owned numbers as on floats may meet one."""

    _name = "fastgrad_check_owned"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        typemap, calltypes = state.typemap, state.calltypes
        where = place(state.func_ir.loc)
        for t in typemap.values():
            parts = [getattr(t, part, None) for part in ("dtype", "key_type", "value_type", "type")]
            if any(map(is_owned, parts)) and not isinstance(t, (types.Array, types.IterableType, types.BaseTuple)):
                raise CannotLift(f"perturbed values in a {t}, {where}")
            if isinstance(t, types.List) and is_owned(t.dtype):
                raise CannotLift(f"perturbed values in a {t}, {where}")
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                expr = getattr(statement, "value", None)
                if not isinstance(expr, numba_ir.Expr) or expr.op != "call":
                    continue
                if not any(map(is_owned, calltypes[expr].args)):
                    continue
                function = typemap[expr.func.name]
                if isinstance(function, (types.Dispatcher, types.RecursiveCall)):
                    continue  # compiled for owner lanes, and checked, in its turn
                key = getattr(function, "typing_key", None)
                if isinstance(function, types.BoundFunction) or not (
                    any(key is known for known in KNOWN) or key in ALLOWED or is_allocator(key)
                ):
                    raise CannotLift(f"{getattr(key, '__name__', key)} of perturbed values, {place(expr.loc)}")
        return False


def is_allocator(key):
    return getattr(key, "__module__", None) == allocator.__module__


class OwnerCompiler(CompilerBase):
    """numba's pipeline with the passes above. Subclasses say what stands for a global of f."""

    def define_pipelines(self):
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(MarkAccumulators, LiteralUnroll)
        pipeline.add_pass_after(SubstituteGlobals, LiteralUnroll)
        pipeline.add_pass_after(CheckOwned, NopythonTypeInference)
        pipeline.finalize()
        return [pipeline]


class OwnerTwins(Twins):
    """Private copies of f and of the jitted functions that it calls."""

    def __init__(self, colours, wide_allocations):
        self.lane, self.of, self.allocates = Owned(colours), {}, False
        self.lane.fast = False
        self.allocators = (
            {function: allocator(value, colours) for function, value in ALLOCATORS.items()} if wide_allocations else {}
        )
        self.pipeline_class = type("OwnerCompiler", (OwnerCompiler,), {"substitute": staticmethod(self.substitute)})

    def substitute(self, found):
        known = super().substitute(found)
        return known if found in self.of or found in self.allocators else None

    def twin(self, dispatcher):
        twin = super().twin(dispatcher)
        if config.BOUNDSCHECK or dispatcher.targetoptions.get("boundscheck"):
            raise CannotLift("indices are checked against bounds")
        return twin


@intrinsic
def read_only(typingctx, args, kinds):
    """The extra arguments as f may only read them."""
    wanted = kinds.instance_type

    def codegen(context, builder, sig, values):
        items = [
            context.cast(builder, builder.extract_value(values[0], i), a, b)
            for i, (a, b) in enumerate(zip(args, wanted, strict=True))
        ]
        return context.make_tuple(builder, wanted, items)

    return wanted(args, kinds), codegen


def compile_owners(dispatcher, ndim, arg_types, colours=COLOURS):
    """Compile f for owner lanes.

    Returns
    -------
    callable
        ``run(x, args, codes, h, out, header, lost, moved, confirm)``: the gradient, a pass for each few colours, in
        `out`. Returns why it cannot be had (0: it can), f(x), and how many coordinates change a branch.

    Raises
    ------
    CannotLift
        f does something that owner lanes do not cover.
    """
    if THREAD_KEY is None:
        raise CannotLift("this system has no POSIX threads")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NumbaWarning)
        twins = OwnerTwins(colours, False)
        try:
            return _compile(dispatcher, ndim, arg_types, twins, colours)
        except Exception as error:
            if not twins.allocates:
                raise cannot_lift(error, dispatcher) from error
        try:
            return _compile(dispatcher, ndim, arg_types, OwnerTwins(colours, True), colours)
        except Exception as error:
            raise cannot_lift(error, dispatcher) from error


def _compile(f, ndim, arg_types, twins, colours):
    kind, twin = Owned(colours), twins.twin(f)
    kinds = types.Tuple(tuple(frozen(t, twins) for t in arg_types))

    def run(x, args, codes, h, out, header, lost, moved, confirm):
        before = begin(header[SELF])
        given = read_only(args, kinds)
        value, losses, reason = 0.0, 0, 0
        lost[:] = 0
        flat, g = x.reshape(x.size), out.reshape(x.size)
        for p in range(codes.shape[0]):
            header[FLAGS], header[USED], header[NEXT], header[LOGGED] = 0, 0, 0, 0
            tag, serial, value = finish(twin(as_point(x, codes[p], h, kind), *given), kind)
            if header[LOG] != 0:
                reason = header[FLAGS]
                break
            if serial != carray(memory(tag, np.int64), 1)[0]:
                header[FLAGS] |= STALE
            reason = header[FLAGS]
            if reason != 0:
                break
            cells = carray(memory(tag, np.float64), (lost.size, 2))
            for i in range(flat.size):
                d = (cells[i + 1, 0] - cells[i + 1, 1]) / (2.0 * (h * max(abs(flat[i]), 1.0)))
                g[i] = d if p == 0 else g[i] + d
        begin(before)
        lost[0] = 0
        for one in lost:
            losses += one
        if reason == 0 and header[LOG] == 0:
            finite = abs(value) < inf
            for i in range(g.size):
                finite &= (abs(g[i]) < inf) | (lost[i + 1] != 0)
            if not finite:
                reason = UNUSUAL
            elif confirm:
                reason = check(x, args, value, g, lost, moved)
        return reason, value, losses

    @njit(error_model="numpy")
    def check(x, args, value, g, lost, moved):
        """Compare with f as it is: its value to the bit, and a plain difference along a direction from x's bytes."""
        flat, y = x.reshape(x.size), moved.reshape(x.size)
        bits = flat.view(np.uint64)
        y[:] = flat
        if f(moved, *args) != value:
            return UNCONFIRMED
        for h in CHECKS:
            slope, square = 0.0, 0.0
            for i in range(flat.size):
                mixed = (bits[i] + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
                mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
                step = h * (abs(flat[i]) if flat[i] != 0.0 else 1.0)
                step = 0.0 if lost[i + 1] else step if mixed >> np.uint64(63) else -step
                y[i] = flat[i] + step
                part = 0.0 if lost[i + 1] else g[i] * (y[i] - (flat[i] - step))
                slope += part
                square += part * part
            above = f(moved, *args)
            for i in range(flat.size):
                y[i] = flat[i] - (y[i] - flat[i])
            below = f(moved, *args)
            noise = 2.0**-52 * (abs(above) + abs(below)) * (8.0 + np.sqrt(flat.size))
            if abs(above - below - slope) <= 1e-3 * np.sqrt(square) + noise:
                return 0
        return UNCONFIRMED

    double, intp, array = types.float64, types.int64, types.Array
    signature = (
        array(double, ndim, "C"),
        types.Tuple(arg_types),
        array(intp, 3, "C"),
        double,
        array(double, ndim, "C"),
        array(intp, 1, "C"),
        array(intp, 1, "C"),
        array(double, ndim, "C"),
        types.boolean,
    )
    jitted = njit(run, nogil=True, no_cfunc_wrapper=True, error_model="numpy")
    jitted.compile(signature)
    compiled = jitted.overloads[signature]
    external = [function.name for function in compiled.library._final_module.functions if function.is_declaration]
    for part, effect in IMPURE.items():
        if any(part in name for name in external):
            raise CannotLift(effect)
    return compiled.entry_point
