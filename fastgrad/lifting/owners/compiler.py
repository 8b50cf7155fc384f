"""Compiling an unmodified scalar function for owner lanes."""

import operator
from itertools import product

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core import ir as numba_ir
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler_machinery import AnalysisPass, FunctionPass, register_pass
from numba.core.imputils import impl_ret_borrowed
from numba.core.ir_utils import build_definitions
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering
from numba.core.untyped_passes import LiteralUnroll, ReconstructSSA

from ..lanes.arrays import ARRAY_FUNCTIONS
from ..lanes.capability import CannotLift
from ..lanes.compiler import CheckCoverage, LaneCompiler, Twins, compiled_alone, first_of, frozen
from ..lanes.types import is_wide
from ..native import array_type, emits
from . import arrays  # noqa: F401  it tells numba about them
from . import layout as at
from .emitting import THREAD_KEY
from .layout import COLOURS
from .operators import GROW, KNOWN, MARKED, MOST_SUMS, ORDINARY, SLOW, running_maximum, running_minimum
from .point import AN_ENTRY, as_entries, as_point, begin, entry_size, finish, numbered, opened
from .types import Owned, Total

ACCUMULATE = {inplace: stub for stub, (inplace, _) in MARKED.items()}
GROWING = {plain: stub for stub, (_, plain) in MARKED.items()}
CHOOSING = {max: running_maximum, min: running_minimum}


@register_pass(mutates_CFG=False, analysis_only=False)
class MarkAccumulators(FunctionPass):
    """`s += term`, `s = s + a - b`, `s = s * a * b`, `s = max(s, term)` -> functions of our own.

    Before single assignment renames s.

    Not an array's entry that is multiplied: those of sums are totals, but seldom those of products.

    numba types `+=` by `iadd`, but lowers it by `add`, typed anew.
    """

    _name = "fastgrad_mark_accumulators"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        for block in state.func_ir.blocks.values():
            made, entries, choosing = {}, set(), {}
            for statement in block.body:
                if not isinstance(statement, numba_ir.Assign):
                    continue
                value, target = statement.value, statement.target.name
                if isinstance(value, numba_ir.Expr) and value.op in ("getitem", "static_getitem"):
                    entries.add(target)
                if isinstance(value, (numba_ir.Global, numba_ir.FreeVar)) and isinstance(value.value, type(max)):
                    choosing[target] = CHOOSING.get(value.value)
                if isinstance(value, numba_ir.Expr) and value.op == "call" and choosing.get(value.func.name):
                    made[target] = statement
                if isinstance(value, numba_ir.Expr) and value.op == "inplace_binop" and value.fn in ACCUMULATE:
                    if not (value.fn is operator.imul and value.lhs.name in entries):
                        mark(statement, ACCUMULATE[value.fn], value.lhs, value.rhs)
                    continue
                if isinstance(value, numba_ir.Expr) and value.op == "binop" and value.fn in GROWING:
                    made[target] = statement
                chain = []  # s = s + a - b is (s + a) - b
                left = value.name if isinstance(value, numba_ir.Var) else target
                if left in made and made[left].value.op == "call":
                    call = made.pop(left)
                    numbers = sorted(call.value.args, key=lambda v: v.name != target)
                    if len(numbers) == 2 and numbers[0].name == target and not call.value.kws:
                        mark(call, choosing[call.value.func.name], *numbers)
                    continue
                while left in made and made[left].value.op != "call" and (not chain or left != target):
                    chain.append(made[left])
                    left = made[left].value.lhs.name
                if chain and left == target and len({step.value.fn is operator.mul for step in chain}) == 1:
                    for step in chain:
                        mark(step, GROWING[step.value.fn], step.value.lhs, step.value.rhs)
                    made.clear()
        return True


def mark(assignment, stub, left, right):
    assignment.value = numba_ir.Expr(
        "inplace_binop",
        assignment.value.loc,
        fn=stub,
        immutable_fn=stub,
        lhs=left,
        rhs=right,
        static_lhs=numba_ir.UNDEFINED,
        static_rhs=numba_ir.UNDEFINED,
    )


@register_pass(mutates_CFG=False, analysis_only=False)
class FindPlaces(FunctionPass):
    """Whatever may read x says at which place of f it does, and what accumulates in a loop is a sum.

    After single assignment: an index that is written alike is the same one, and so is its place. What was marked to
    accumulate, but does so in no loop, is plain arithmetic. A sum that begins anew in each round of another loop is not
    for numbers with places.
    """

    _name = "fastgrad_find_places"

    def __init__(self):
        FunctionPass.__init__(self)

    def run_pass(self, state):
        blocks, first, places = state.func_ir.blocks, state.func_id.unique_id << 16, {}
        loops = [set(loop.body) for loop in compute_cfg_from_blocks(blocks).loops().values()]
        made = {s.target.name: (s.value, label) for label, b in blocks.items() for s in b.find_insts(numba_ir.Assign)}
        mark_sums(made, loops, [s for b in blocks.values() for s in b.find_insts(numba_ir.Assign)])
        written = Written(made)
        for block in blocks.values():
            body = []
            for statement in block.body:
                body.append(statement)
                if not (isinstance(statement, numba_ir.Assign) and is_read(statement.value)):
                    continue
                loc, target, known = statement.loc, statement.target, written.of(statement.target.name)
                place = first + places.setdefault(known, len(places))
                statement.target, function, which = (target.scope.make_temp(loc) for _ in range(3))
                body += [
                    numba_ir.Assign(numba_ir.FreeVar(0, "numbered", numbered, loc), function, loc),
                    numba_ir.Assign(numba_ir.Const(place, loc), which, loc),
                    numba_ir.Assign(numba_ir.Expr.call(function, [statement.target, which], (), loc), target, loc),
                ]
            block.body = body
        state.func_ir._definitions = build_definitions(blocks)
        return True


def is_read(value):
    return isinstance(value, numba_ir.Expr) and value.op in ("getitem", "static_getitem", "pair_first")


class Written:
    """Expressions as they are written: of one key, they have one value wherever both are seen."""

    def __init__(self, made):
        self.made, self.keys = made, {}

    def of(self, name):
        if name not in self.keys:
            value, _ = self.made.get(name, (None, None))
            self.keys[name] = name
            if isinstance(value, numba_ir.Const) and isinstance(value.value, int):
                self.keys[name] = "constant", value.value
            elif isinstance(value, numba_ir.Var):
                self.keys[name] = self.of(value.name)
            elif isinstance(value, numba_ir.Expr) and value.op in ("getitem", "binop", "build_tuple"):
                parts = (self.of(part.name) for part in value.list_vars())
                self.keys[name] = value.op, value._kws.get("fn"), *parts
        return self.keys[name]


def mark_sums(made, loops, statements):
    """Let what accumulates in one of these loops, sets of blocks, be a sum.

    An iteration is plain arithmetic: the term depends on what it is added to, as a step of Newton's does; or what
    begins anew for each term of f reads the same entries of x in each of its rounds, as a series does.
    """
    inside = set().union(*loops)

    def before(name):
        value, _ = made.get(name, (None, None))
        if isinstance(value, numba_ir.Var):
            return {value.name}
        if isinstance(value, numba_ir.Expr) and value.op == "phi":
            return {each.name for each in value.incoming_values if isinstance(each, numba_ir.Var)}
        return {value.lhs.name} if accumulates(value) else set()

    def needed(name):
        value, _ = made.get(name, (None, None))
        return {each.name for each in value.list_vars()} if isinstance(value, numba_ir.Expr) else before(name)

    def behind(name, step=before):
        found, left = set(), [name]
        while left:
            new = step(left.pop()) - found
            found |= new
            left += new
        return found

    def accumulates(value):
        return isinstance(value, numba_ir.Expr) and value.op == "inplace_binop" and (value.fn, 0) in GROW

    def turns(name, loop):
        """Whether it is another one in each round."""
        value, label = made.get(name, (None, None))
        return label in loop and isinstance(value, numba_ir.Expr) and value.op in ("phi", "pair_first")

    def is_entry(name, loop):
        """Whether it is read in the loop at an index that turns, and of no array that f has captured."""
        value, label = made.get(name, (None, None))
        if not (label in loop and isinstance(value, numba_ir.Expr) and value.op == "getitem"):
            return False
        captured = isinstance(made.get(value.value.name, (None, None))[0], (numba_ir.Global, numba_ir.FreeVar))
        index = behind(value.index.name, needed) | {value.index.name}
        return not captured and any(turns(each, loop) for each in index)

    places = {}
    circles = []
    for statement in statements:
        name = statement.target.name
        if accumulates(statement.value):
            circles.append((statement, {other for other in behind(name) if name in behind(other)}))
    for statement, circle in circles:
        value, term = statement.value, statement.value.rhs.name
        parts = behind(term, needed) | {term}
        if circle and circle.isdisjoint(parts):
            begins = {name for each in circle for name in before(each)} - circle
            place = 1 + places.setdefault(statement.target.unversioned_name, len(places)) % MOST_SUMS
            if any(made.get(name, (None, None))[1] in inside for name in begins):
                loop = min((loop for loop in loops if {made[each][1] for each in circle} <= loop), key=len)
                if not any(is_entry(part, loop) for part in parts):
                    continue
                place = 0
            mark(statement, GROW[value.fn, place], value.lhs, value.rhs)


@register_pass(mutates_CFG=False, analysis_only=True)
class CountWork(AnalysisPass):
    """How many terms f's loops and whole arrays are written to sum, and how many slow functions to take."""

    _name = "fastgrad_count_work"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        twins, blocks, typemap = state.pipeline.twins, state.func_ir.blocks, state.typemap
        looped = set().union(*(loop.body for loop in compute_cfg_from_blocks(blocks).loops().values()))
        for label, block in blocks.items():
            for statement in block.body:
                expr = getattr(statement, "value", None)
                if not isinstance(expr, numba_ir.Expr) or expr.op not in ("inplace_binop", "call", "binop"):
                    continue
                kinds = state.calltypes[expr].args
                repeated = label in looped or twins.is_called(state.func_id.func) or any(map(is_array, kinds))
                if not (repeated and any(map(is_wide, kinds))):
                    continue
                if expr.op == "inplace_binop":
                    twins.sums += expr.fn in ORDINARY
                else:
                    function = expr.fn if expr.op == "binop" else getattr(typemap[expr.func.name], "typing_key", None)
                    twins.slow += function in SLOW and not isinstance(kinds[-1], types.IntegerLiteral)
        return False


def is_array(t):
    return isinstance(t, types.Array)


class ZeroedLower(Lower):
    """Variables are zero where f reads them before they are set: a number made of anything would write anywhere."""

    def alloca_lltype(self, name, lltype, datamodel=None):
        place = super().alloca_lltype(name, lltype, datamodel)
        with self.builder.goto_entry_block():
            self.builder.store(cgutils.get_null_value(lltype), place)
        return place


@register_pass(mutates_CFG=True, analysis_only=False)
class ZeroedLowering(NativeLowering):
    """numba's, with the variables above."""

    _name = "fastgrad_zeroed_lowering"

    @property
    def lowering_class(self):
        return ZeroedLower


class OwnerCompiler(LaneCompiler):
    """The pipeline of lanes, with the passes above."""

    covered = (KNOWN, ARRAY_FUNCTIONS, {operator.getitem, operator.setitem, np.ndindex, numbered})
    unindexed = (types.NumpyFlatType,)  # numba reads beyond it, whatever it is told of bounds

    def define_pipelines(self):
        (pipeline,) = super().define_pipelines()
        pipeline.add_pass_after(MarkAccumulators, LiteralUnroll)
        pipeline.add_pass_after(CountWork, CheckCoverage)
        pipeline.passes = [
            (ZeroedLowering, why) if which is NativeLowering else (which, why) for which, why in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


class PlaceCompiler(OwnerCompiler):
    """The same for numbers with places."""

    def define_pipelines(self):
        (pipeline,) = super().define_pipelines()
        pipeline.add_pass_after(FindPlaces, ReconstructSSA)
        pipeline.finalize()
        return [pipeline]


class OwnerTwins(Twins):
    """Private copies of f and of the jitted functions that it calls.

    `exact`: whether none of them has leave to round otherwise than it is written.
    `sums`, `slow`: how many additions to a sum, and how many functions that take as long as several operations, they
        are written with where they are repeated.
    """

    compiler = OwnerCompiler
    exact = True
    sums = slow = 0

    def __init__(self, *how):
        super().__init__(*how)
        self.pipeline_class.twins = self

    def is_called(self, function):
        """Whether it is another one than f, the first."""
        return next(iter(self.of)).py_func is not function

    def twin(self, dispatcher):
        self.exact = self.exact and not dispatcher.targetoptions.get("fastmath")
        return super().twin(dispatcher)

    def refused(self):
        return "parallel", "forceobj"

    def options(self, options):
        return {**super().options(options), "boundscheck": True}  # see `totals`: what no number is must not be read


class PlaceTwins(OwnerTwins):
    """Such copies for numbers with places."""

    compiler = PlaceCompiler


@emits(lambda args, wanted: wanted.instance_type)
def read_only(context, builder, kind, args, wanted):
    """The extra arguments as f may only read them."""

    def cast(value, t, other):
        if not isinstance(t, types.BaseTuple):
            return context.cast(builder, value, t, other)
        items = [cast(builder.extract_value(value, i), a, b) for i, (a, b) in enumerate(zip(t, other, strict=True))]
        return context.make_tuple(builder, other, items)

    return impl_ret_borrowed(context, builder, kind.result, cast(args, kind.args, kind.result))


def compile_owners(dispatcher, ndim, arg_types, colours=COLOURS, make=None):
    """Compile f for owner lanes.

    Returns a dispatcher of ``run(x, args, codes, rows, pass, header)``, one pass through f, which returns f(x), and
    leaves in the header where the slopes of f are; what numba has compiled of it; how many bytes an entry of x takes,
    in memory whose address is in the header, or 0 where it takes none; whether f's value is told to the bit, as it is
    not where f is compiled with fastmath and rounds as it likes; and how many functions such as `exp` f is written to
    take for each term that it sums.

    CannotLift where f does something that owner lanes do not cover.
    """
    # What f allocates holds floats first. x is an array only where f takes it for one: its entries are large; and one
    # of totals only where f writes to what it has copied from it.
    forms = product((None, Owned(colours), Total(colours)), (False, True))
    ways = ((OwnerTwins(Total(colours), wide), Owned(colours), entries) for entries, wide in forms)
    return _first_of(ways, dispatcher, make or _compile, ndim, arg_types)


def compile_places(dispatcher, ndim, arg_types):
    """Compile f for numbers with a slope for each place where f reads x; as `compile_owners`, without any colours.

    `slow` is for each coordinate, if each sum has as many terms as there are coordinates.
    """
    twins = PlaceTwins(AN_ENTRY, False)
    *found, _ = _first_of([(twins, AN_ENTRY, None)], dispatcher, _compile_places, ndim, arg_types)
    return *found, float(twins.slow)


def _compile_places(*how):
    found = _compile(*how)
    if any("MemInfo_alloc" in function.name for function in found[1].library._final_module.functions):
        raise CannotLift("f allocates memory, which numba does not return where a run ends early")
    return found


def _first_of(ways, dispatcher, make, ndim, arg_types):
    if THREAD_KEY is None:
        raise CannotLift("this system has no POSIX threads")

    def told(twins, kind, entries):
        made = make(dispatcher, ndim, arg_types, twins, kind, entries)
        return *made, twins.exact, twins.slow / max(twins.sums, 1)

    return first_of(ways, dispatcher, told)


def _compile(f, ndim, arg_types, twins, kind, entries):
    kind, twin = entries or kind, twins.twin(f)
    kinds = types.Tuple(tuple(frozen(t, twins) for t in arg_types))
    as_x = as_entries if entries else as_point

    def run(x, args, codes, rows, which, header):
        before = opened(header)
        given = read_only(args, kinds)
        found = as_x(x, codes, rows, which, header[at.LOG] != 0, header[at.ENTRIES], kind)
        header[at.RESULT], value = finish(twin(found, *given), kind)
        begin(before)
        return value

    return compiled_run(run, ndim, arg_types, entries)


def compiled_run(run, ndim, arg_types, entries, *more):
    """Compile a pass through f, which must have no effect but its result; `more` are the types of what it fills."""
    codes, rows, header = array_type(3, types.int64), array_type(1, types.int32), array_type(1, types.int64)
    signature = array_type(ndim), types.Tuple(arg_types), codes, rows, types.int64, header, *more
    jitted, compiled, _ = compiled_alone(run, signature)
    return jitted, compiled, entry_size(entries) if entries else 0
