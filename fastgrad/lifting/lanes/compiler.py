"""Compiling an unmodified scalar function for lanes."""

import re
import types as python_types
import warnings
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from llvmlite.ir import VectorType
from numba import njit, types
from numba.core import cgutils, errors, ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import NopythonTypeInference
from numba.core.untyped_passes import LiteralUnroll
from numba.extending import intrinsic, register_jitable

from ..native import address_of, array_of, array_type, borrowed, emits, part
from .arrays import ALLOCATORS, ARRAY_ATTRIBUTES, ARRAY_FUNCTIONS, SUBSTITUTES, empty_bundle, filled_with
from .capability import CannotLift, lane_width
from .frozen import LaneFunction
from .kernel import BLOCK
from .mathematics import vectorised
from .operators import SCALAR_FUNCTIONS, TRUTHS
from .types import I32, I64, Bundle, Lane, any_lane, assemble, divergence_slot, is_wide, splat

# --- the private compilation: f and the jitted functions that it calls are compiled as copies, so that nothing shows in
# --- the user's own dispatchers (`f.signatures` stays as it was)


@register_pass(mutates_CFG=False, analysis_only=False)
class SubstituteGlobals(FunctionPass):
    """Jitted functions -> their private twins; numpy functions -> ours, where numba's do not know about lanes."""

    _name = "fastgrad_substitute_globals"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        known = {}
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                if isinstance(statement, ir.Print):
                    raise CannotLift(f"print, {place(statement.loc)}")
                if not isinstance(statement, ir.Assign):
                    continue
                value, loc = statement.value, statement.loc
                if isinstance(value, (ir.Global, ir.FreeVar, ir.Const)):
                    found = value.value
                elif (
                    isinstance(value, ir.Expr)
                    and value.op == "getattr"
                    and isinstance(known.get(value.value.name), python_types.ModuleType)
                ):
                    found = getattr(known[value.value.name], value.attr, None)
                else:
                    continue
                known[statement.target.name] = found
                replacement = state.pipeline.substitute(found)
                if replacement is not None:
                    statement.value = ir.FreeVar(0, replacement.__name__, replacement, loc)
        return True


@register_pass(mutates_CFG=False, analysis_only=True)
class CheckCoverage(AnalysisPass):
    """Only what is known to mean the same on lanes as on floats may meet a lane."""

    _name = "fastgrad_check_coverage"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        typemap, calltypes = state.typemap, state.calltypes
        for t in typemap.values():
            if isinstance(t, types.Array) and not isinstance(t, Bundle) and is_wide(t):
                raise CannotLift(f"perturbed values in a {t}, {place(state.func_ir.loc)}")
            if isinstance(t, state.pipeline.refused) and any(is_wide(getattr(t, part, None)) for part in CONTAINED):
                raise CannotLift(f"perturbed values in a {t}, {place(state.func_ir.loc)}")
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                expr = getattr(statement, "value", None)
                if not isinstance(expr, ir.Expr):
                    continue
                if expr.op == "getattr" and is_wide(typemap[expr.value.name]):
                    if expr.attr not in ARRAY_ATTRIBUTES:
                        raise CannotLift(f".{expr.attr} of a perturbed array, {place(expr.loc)}")
                elif expr.op in ("getitem", "static_getitem") and isinstance(
                    typemap[expr.value.name], state.pipeline.unindexed
                ):
                    raise CannotLift(f"an index into {typemap[expr.value.name]}, {place(expr.loc)}")
                elif expr.op == "call" and any(map(is_wide, calltypes[expr].args)):
                    function = typemap[expr.func.name]
                    if isinstance(function, types.BoundFunction):
                        continue  # its name was checked as an attribute
                    key = getattr(function, "typing_key", None)
                    if isinstance(function, (types.Dispatcher, types.RecursiveCall)):
                        continue  # compiled for lanes, and checked, in its turn
                    if not any(key in known for known in state.pipeline.covered):
                        name = getattr(key, "__name__", key or function)
                        raise CannotLift(f"{name} of perturbed values, {place(expr.loc)}")
        return False


CONTAINED = ("dtype", "key_type", "value_type", "type")
CONTAINERS = (types.Set, types.ListType, types.DictType, types.Optional)


def place(loc: ir.Loc) -> str:
    return f"line {loc.line} of {Path(loc.filename).name}"


class LaneCompiler(CompilerBase):
    """numba's pipeline with the two passes above. Subclasses say what stands for a global of f."""

    substitute: Any
    covered: tuple[Any, ...] = (SCALAR_FUNCTIONS, TRUTHS, ARRAY_FUNCTIONS)
    refused: tuple[Any, ...] = CONTAINERS
    unindexed: tuple[Any, ...] = ()

    def define_pipelines(self):
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(SubstituteGlobals, LiteralUnroll)
        pipeline.add_pass_after(CheckCoverage, NopythonTypeInference)
        pipeline.finalize()
        return [pipeline]


KEPT_OPTIONS = ("boundscheck", "debug", "looplift", "noalias", "forceinline")


class Twins:
    """Private copies of f and of the jitted functions that it calls, one family for each compilation."""

    compiler: type[CompilerBase] = LaneCompiler

    def __init__(self, lane, wide_allocations):
        self.lane, self.of, self.allocates = lane, {}, False
        self.allocators = {function: make(lane) for function, make in ALLOCATORS.items()} if wide_allocations else {}
        self.pipeline_class = type("PrivateCompiler", (self.compiler,), {"substitute": staticmethod(self.substitute)})

    def substitute(self, found):
        """What stands for a global of f, or None: the global itself."""
        if isinstance(found, Dispatcher):
            return self.twin(found)
        if not callable(found) or not isinstance(found, Hashable):
            return None
        self.allocates |= found in ALLOCATORS
        return self.allocators.get(found) or SUBSTITUTES.get(found)

    def twin(self, dispatcher):
        if dispatcher in self.of:
            return self.of[dispatcher]
        if dispatcher in self.of.values() or (dispatcher.py_func.__module__ or "").startswith("numba."):
            return None
        options = dispatcher.targetoptions
        name = dispatcher.py_func.__name__
        if not dispatcher._can_compile:
            raise CannotLift(f"the signatures of {name} are fixed by its decorator")
        for option in self.refused():
            if options.get(option):
                raise CannotLift(f"{name} is compiled with {option}={options[option]}")
        if not options.get("nopython", True):
            raise CannotLift(f"{name} is not compiled in nopython mode")
        twin = type(dispatcher)(
            dispatcher.py_func,
            locals=dispatcher.locals,
            targetoptions=self.options(options),
            pipeline_class=self.pipeline_class,
        )
        self.of[dispatcher] = twin
        return twin

    def refused(self):
        """The options of a function that make it another one in lanes."""
        return ("parallel", "forceobj") + (() if self.lane.fast else ("fastmath",))

    def options(self, options):
        """What a twin is compiled with, where the function itself is compiled with these."""
        return {
            **{key: options[key] for key in KEPT_OPTIONS if key in options},
            "nopython": True,
            "no_cpython_wrapper": True,
            "no_cfunc_wrapper": True,
            # the error model is f's own: where it raises on a zero divisor, lanes call that a divergence
            "error_model": options.get("error_model", "python"),
        }


def frozen(t, twins):
    """The type of an argument in lanes: f may not write to it there, or it would do so once for each bundle."""
    if isinstance(t, types.Array):
        return t.copy(readonly=True)
    if isinstance(t, types.BaseTuple):
        items = [frozen(item, twins) for item in t]
        return types.BaseTuple.from_types(items, getattr(t, "instance_class", None))
    if isinstance(t, types.Dispatcher):
        return types.Dispatcher(twins.twin(t.dispatcher))
    if isinstance(t, (types.Number, types.Boolean, types.NoneType, types.Omitted, types.UnicodeType, types.Literal)):
        return t
    raise CannotLift(f"an argument of type {t}, which f might change")


@emits(lambda x, tile, bundle: bundle.instance_type)
def as_bundle(context, builder, kind, x, tile, bundle):
    """The tile as an array of lanes with x's shape."""
    point, buffer = array_of(context, builder, kind.x, x), array_of(context, builder, kind.tile, tile)
    lane = kind.result.dtype
    data = builder.bitcast(buffer.data, context.get_data_type(lane).as_pointer())
    shape = cgutils.unpack_tuple(builder, point.shape)
    return borrowed(context, builder, kind.result, data, shape, I64(8 * lane.width))


def row_of(context, builder, kind, tile, i, lane):
    """Where a row of the tile is, as a vector."""
    data = array_of(context, builder, kind, tile).data
    return builder.bitcast(builder.gep(data, [builder.mul(i, i.type(lane.width))]), lane.vector.as_pointer())


@emits(lambda array, i: array.dtype, i=types.intp)
def entry_of(context, builder, kind, array, i):
    """array[i] of a C-contiguous array, i >= 0: numba's own indexing allows for negative ones."""
    place = builder.gep(array_of(context, builder, kind.array, array).data, [i])
    return context.unpack_value(builder, kind.result, place)


@emits(lambda points, start, last, lane: lane.instance_type, start=types.intp, last=types.intp)
def load_points(context, builder, kind, points, start, last, lane):
    """points[start:start+width] as a vector, where `last` is not among the first of them; beyond it, it is repeated."""
    vector, width = kind.result.vector, kind.result.width
    data = array_of(context, builder, kind.points, points).data
    result = cgutils.alloca_once(builder, vector)
    whole = builder.icmp_signed("<=", builder.add(start, start.type(width - 1)), last)
    with builder.if_else(whole, likely=True) as (all_there, some):
        with all_there:
            pointer = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
            builder.store(builder.load(pointer, align=8), result)
        with some:
            items = []
            for k in range(width):
                at = builder.add(start, start.type(k))
                at = builder.select(builder.icmp_signed("<", at, last), at, last)
                items.append(builder.load(builder.gep(data, [at])))
            builder.store(assemble(builder, items), result)
    return builder.load(result)


@emits(types.void, i=types.intp, first=types.intp, end=types.intp)
def set_lanes(context, builder, kind, tile, i, first, end, value):
    """tile[i, first:end] = value[first:end], as a vector: the vector load of f need not wait for narrower stores."""
    pointer = row_of(context, builder, kind.tile, tile, i, kind.value)
    integers = VectorType(I64, kind.value.width)
    lanes = integers(list(range(kind.value.width)))
    chosen = builder.and_(
        builder.icmp_signed(">=", lanes, splat(builder, first, integers)),
        builder.icmp_signed("<", lanes, splat(builder, end, integers)),
    )
    builder.store(builder.select(chosen, value, builder.load(pointer, align=8)), pointer, align=8)


@emits(types.void)
def set_row(context, builder, kind, tile, i, value, lane):
    """tile[i, :] = value"""
    lane = kind.lane.instance_type
    builder.store(splat(builder, value, lane.vector), row_of(context, builder, kind.tile, tile, i, lane), align=8)


@emits(types.void, i=types.intp)
def set_column(context, builder, kind, table, i, value):
    """table[:, i] = value, a lane"""
    array, place = array_of(context, builder, kind.table, table), i
    step = builder.extract_value(array.shape, 1)
    for k in range(kind.value.width):
        builder.store(builder.extract_element(value, I32(k)), builder.gep(array.data, [place]))
        place = builder.add(place, step)


@emits(types.boolean)
def differs(context, builder, kind, value, number):
    """Whether some lane is another number."""
    return any_lane(builder, builder.fcmp_unordered("!=", value, splat(builder, number, kind.value.vector)))


@intrinsic
def as_lane(typingctx, value, lane):
    """What f returned as a lane: numbers that do not depend on x, too."""
    lane_type = lane.instance_type
    if not typingctx.can_convert(value, lane_type):
        raise errors.TypingError(f"f returned {value}")

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[0], value, lane_type)

    return lane_type(value, lane), codegen


@emits(types.void)
def store_lane(context, builder, kind, value, out, start, count):
    """out.flat[start:start+count] = the first `count` lanes of value"""
    lane = kind.value
    pointer = builder.gep(array_of(context, builder, kind.out, out).data, [start])
    full = builder.icmp_signed("==", count, count.type(lane.width))
    with builder.if_else(full, likely=True) as (whole, some):
        with whole:
            builder.store(value, builder.bitcast(pointer, lane.vector.as_pointer()), align=8)
        with some:
            for k in range(lane.width - 1):
                with builder.if_then(builder.icmp_signed("<", count.type(k), count)):
                    builder.store(builder.extract_element(value, I32(k)), builder.gep(pointer, [I64(k)]))


@emits(types.intp)
def thread_slot(context, builder, kind):
    """Where this thread's divergences are counted."""
    return builder.ptrtoint(divergence_slot(builder), I64)


@emits(types.int64)
def divergences(context, builder, kind, slot):
    """How many there have been."""
    return builder.load_atomic(builder.inttoptr(slot, I64.as_pointer()), "monotonic", 8)


# Parts of the names of external symbols that f must not call: once for a whole bundle is not once for each point.
IMPURE = {"random_state": "random numbers", "printf": "output", "puts": "output", "PySys_": "output"}


def compile_lanes(
    function: object, ndim: int, arg_types: tuple[Any, ...] = (), fastmath: bool = False, *, width: int | None = None
) -> LaneFunction:
    """Compile f for lanes.

    CannotLift where f does something that lanes do not cover. Nothing is wrong with f: evaluate it point by point.

    `function`: numba dispatcher or Python function
    `ndim`: of f's first argument, a C-contiguous float64 array.
    `arg_types`: of f's further arguments.
    `fastmath`: take exp, log, ... from the system's vector mathematics library: no longer bit-identical.
    `width`: points per bundle; `lane_width()` if not given.
    """
    return _linked(
        function, Lane(width or lane_width(), fastmath), lambda f, twins: _compile(f, twins, ndim, arg_types)
    )


def first_of(ways: Iterable[tuple[Any, ...]], dispatcher: Any, make: Any) -> Any:
    """Return ``make(*way)`` for the first way that compiles; each begins with twins.

    What f allocates is narrow first: the points share what they do not change. Only where that does not type, f may be
    filling it with lanes. Whatever stops a compilation is no reason to fail.

    CannotLift where none does.
    """
    failure, allocates = Exception(), False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NumbaWarning)  # said already, if ever, when f itself was compiled
        for way in ways:
            if way[0].allocators and not allocates:
                continue
            try:
                return make(*way)
            except Exception as error:  # noqa: BLE001  the next way, and then the scalar evaluation
                failure, allocates = error, way[0].allocates
    raise cannot_lift(failure, dispatcher) from failure


def _compile(dispatcher, twins, ndim, arg_types):
    lane = twins.lane
    f = twins.twin(dispatcher)
    arguments = tuple(frozen(t, twins) for t in arg_types)
    width, kind = lane.width, Bundle(lane, ndim, "C", readonly=True)

    def run(x, tile, index, points, values, progress, args):
        base, pairs = part(x, 0, (x.size,)), part(points, 0, (points.size,))
        for i in range(base.size):
            set_row(tile, i, entry_of(base, i), lane)
        bundle = as_bundle(x, tile, kind)
        total, (rows, columns) = points.size, points.shape
        slot = thread_slot()
        start = progress[0]
        row = start // columns
        offset = row * columns - start  # the lane that the row starts at, perhaps before this bundle
        while start < total:
            progress[0] = start
            perturbed = load_points(pairs, start, total - 1, lane)
            end, after = row, offset
            while after < width and end < rows:
                i = entry_of(index, end)
                end, after = end + 1, after + columns
                set_lanes(tile, i, after - columns, after if end < rows else width, perturbed)
            before = divergences(slot)
            result = as_lane(f(bundle, *args), lane)
            agreed = divergences(slot) == before
            for r in range(row, end):
                i = entry_of(index, r)
                set_row(tile, i, entry_of(base, i), lane)
            if not agreed:
                return start
            store_lane(result, values, start, min(width, total - start))
            row, offset = end, after - width
            if offset > 0:  # the last row goes on in the next bundle
                row, offset = row - 1, offset - columns
            start += width
        return total

    x, table, whole = array_type(ndim), array_type(2), array_type(1, types.intp)
    return run, (x, table, whole, table, table, whole, types.Tuple(arguments))


def compile_lanes_of_outputs(
    function: object, ndim: int, before: tuple[Any, ...], after: tuple[Any, ...], filled: bool, ndim_out: int
) -> LaneFunction:
    """Compile f of many values for lanes.

    CannotLift as `compile_lanes`.

    `function`: numba dispatcher
    `ndim`: of x, a C-contiguous float64 array.
    `before`, `after`: of the arguments before x, and of those behind it and what f fills.
    `filled`: whether f fills an array of floats behind x, or returns one.
    `ndim_out`: dimensions of that array.

    Returns LaneFunction: of ``run(x, tile, here, out, blocks, every, args)``: the points are in `tile`. It returns how
    many blocks of `BLOCK` values have one that is not at all points what `here` says, or all where `every` one is asked
    for; lists where they begin, and writes them to `out`, a row for each point. -1 where the lanes disagreed, or f
    returned another shape.
    """
    lane = Lane(lane_width())
    return _linked(function, lane, lambda f, twins: _compile_outputs(f, twins, ndim, before, after, filled, ndim_out))


def of_many_values(f: object, place: int, filled: bool, empty: object) -> Any:
    """Return ``called(x, shape, args)`` for an f of many values, which fills what `empty` makes of a shape, or returns.

    `place`: how many of the arguments come before x.
    """
    if filled:

        def called(x, shape, args):
            values = empty(shape)
            f(*(args[:place] + (x, values) + args[place:]))  # noqa: RUF005  numba knows no stars in tuples
            return values

    else:

        def called(x, shape, args):
            return f(*(args[:place] + (x,) + args[place:]))  # noqa: RUF005

    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")(called)


def _compile_outputs(dispatcher, twins, ndim, before, after, filled, ndim_out):
    lane = twins.lane
    arguments = tuple(frozen(t, twins) for t in before + after)
    of_x, of_values = Bundle(lane, ndim, "C", readonly=True), Bundle(lane, ndim_out, "C")
    zeros = register_jitable(lambda shape: filled_with(empty_bundle(shape, of_values), 0.0))
    called = of_many_values(twins.twin(dispatcher), len(before), filled, zeros)

    def run(x, tile, here, out, blocks, every, args):
        size, f0 = here.size, part(here, 0, (here.size,))
        slot = thread_slot()
        before = divergences(slot)
        found = called(as_bundle(x, tile, of_x), here.shape, args)
        if divergences(slot) != before or found.shape != here.shape:
            return -1
        values, count = found.ravel(), 0  # owned: of a borrowed view `found` would be freed before it is read
        for begin in range(0, size, BLOCK):
            end, some = min(begin + BLOCK, size), every
            for i in range(begin, end):
                some |= differs(as_lane(entry_of(values, i), lane), entry_of(f0, i))
            if some:
                blocks[count] = begin
                count += 1
                for i in range(begin, end):
                    set_column(out, i, as_lane(entry_of(values, i), lane))
        return count

    table, blocks = array_type(2), array_type(1, types.intp)
    return run, (array_type(ndim), table, array_type(ndim_out), table, blocks, types.boolean, types.Tuple(arguments))


def _linked(function: Any, lane: Lane, make: Any) -> LaneFunction:
    """Compile ``make(dispatcher, twins)``, a loop around f and the types of its arguments."""
    dispatcher = function if isinstance(function, Dispatcher) else njit(function)

    def linked(twins: Twins) -> LaneFunction:
        jitted, compiled, external = compiled_alone(*make(dispatcher, twins))
        library, symbol, kept = compiled.library, compiled.fndesc.llvm_func_name, (jitted, compiled, dispatcher)
        return LaneFunction(address_of(compiled), lane.width, vectorised(external), library, symbol, kept)

    found: LaneFunction = first_of(((Twins(lane, wide),) for wide in (False, True)), dispatcher, linked)
    return found


def compiled_alone(run: object, signature: tuple[Any, ...]) -> tuple[Any, Any, list[str]]:
    """Compile what must have no effect but its result; returns what numba makes of it, and what that calls."""
    jitted = njit(run, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")
    jitted.compile(signature)
    compiled = jitted.overloads[signature]
    external = [function.name for function in compiled.library._final_module.functions if function.is_declaration]
    for mark, effect in IMPURE.items():
        if any(mark in name for name in external):
            raise CannotLift(effect)
    return jitted, compiled, external


def cannot_lift(error: Exception, dispatcher: Any) -> CannotLift:
    """The essence of numba's message: what it could not type, and the last line of f's file that it names."""
    if isinstance(error, CannotLift):
        return error
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    what = re.findall(
        r">>> (.*)|(Cannot unify .*|Unknown attribute .*|No conversion .*|f returned .*|"
        r".*not supported.*|unsupported .*|No definition .*|Use of .*)",
        text,
    )
    file = Path(dispatcher.py_func.__code__.co_filename).name
    lines = [line for name, line in re.findall(r'File "([^"]*)", line (\d+)', text) if Path(name).name == file]
    reason = "".join(what[-1]) if what else (text.strip().splitlines() or [type(error).__name__])[0]
    return CannotLift(reason.strip() + (f", line {lines[-1]} of {file}" if lines else ""))
