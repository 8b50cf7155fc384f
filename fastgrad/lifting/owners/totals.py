"""What becomes of totals: code of its own, called where a number may be one.

Where `s += term` brings a second owner of a colour, the differences of s retire into a buffer, owner by owner, as
addition is linear. All else that a total meets makes a new buffer, at a cost of O(n): the rules are applied to a few
cells at a time, by the same code that applies them to the differences in a register.

Why no run writes where it should not: compiled code writes through three kinds of addresses.

- The header, its log and its flags of lost owners: memory that the caller holds until the run is over. Whoever enters a
  run tells its thread which header is its own, and puts back the one before, also where f raises.
- A buffer, by a number's tag. Tags are made in `new_buffer` only, of a slot that exists. Numbers are copied as a whole,
  and wherever there may be a number that nobody has made there are zeros, which say that it is no total: in variables
  (`ZeroedLower`) and in arrays. f is compiled with bounds checked, or an index beyond an array could read anything.
- A cell of a buffer, by an owner's code. Codes are 0, a coordinate's, or joined from these by `or`; the table that they
  come from is read within bounds (`point.entry`). What joins two coordinates is seen before it is used (`conflicts`),
  and then written nowhere.

A buffer that was taken again since, or has grown, has another serial number: whoever uses it sees that the number is
stale, and the run is refused. What it holds is then wrong, but no other memory.
"""

from llvmlite import ir
from numba.core import cgutils

from .emitting import Number, Vector, clashes, conflicts, flag, header_of, none_set, splat
from .header import (
    BUFFERS,
    CAPACITY,
    CELLS,
    CLOCK,
    CONFLICT,
    COSTLY,
    LIMIT,
    LOG,
    LOGGED,
    LOST,
    NEXT,
    SLOTS,
    STALE,
    USED,
)
from .types import F64, I32, I64, Total

WORD = I64.as_pointer()


# ---- numbers in memory, for code out of line


def words_of(colours):
    """{base, differences, codes, tag, serial}, 8 bytes each."""
    return 3 + 3 * colours


def flatten(builder, number, colours):
    words = cgutils.alloca_once(builder, ir.ArrayType(I64, words_of(colours)))
    start = builder.bitcast(words, WORD)
    put(builder, start, number.base, 0)
    put(builder, start, number.d.value, 1)
    put(builder, start, number.code, 1 + 2 * colours)
    put(builder, start, I64(0) if number.tag is None else number.tag, 1 + 3 * colours)
    put(builder, start, I64(0) if number.serial is None else number.serial, 2 + 3 * colours)
    return start


def put(builder, words, value, at):
    builder.store(value, builder.bitcast(builder.gep(words, [I64(at)]), value.type.as_pointer()), align=8)


def read(builder, words, colours):
    kinds, places = Total(colours).ll.elements, (0, 1, 1 + 2 * colours, 1 + 3 * colours, 2 + 3 * colours)
    parts = [
        builder.load(builder.bitcast(builder.gep(words, [I64(at)]), kind.as_pointer()), align=8)
        for at, kind in zip(places, kinds, strict=True)
    ]
    return Number(builder, *parts)


def room(builder, colours):
    """Memory for a number: a plain zero, until somebody writes to it."""
    kind = ir.ArrayType(I64, words_of(colours))
    words = cgutils.alloca_once(builder, kind)
    builder.store(ir.Constant(kind, None), words)
    return builder.bitcast(words, WORD)


def unflatten(builder, words, base, colours):
    """The number that was written there, but for its differences, which are in its buffer."""
    number = read(builder, words, colours)
    number.base, number.d = base, Vector(builder, ir.Constant(number.d.value.type, None))
    return number


def call(builder, name, colours, body, *args):
    """Call code of its own, made by `body(builder, header, *args)`, once in each module."""
    module, name = builder.module, f"fastgrad_owners_{colours}_{name}"
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in args]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block("entry"))
        body(inside, header_of(inside), *function.args)
        inside.ret_void()
    builder.call(function, args)


# ---- the run's header and its buffers


def field(builder, header, k):
    return builder.inttoptr(builder.add(header, I64(8 * k)), WORD)


def taken(builder, header, k, step=1):
    """The field's value, which becomes larger by a step."""
    place = field(builder, header, k)
    before = builder.load(place)
    builder.store(builder.add(before, I64(step)), place)
    return before


def is_logging(builder, header):
    return builder.icmp_signed("!=", builder.load(field(builder, header, LOG)), I64(0))


def affordable(builder, header):
    """i1: may the run cost one more operation on whole totals?"""
    used = taken(builder, header, USED)
    fine = builder.icmp_signed("<", used, builder.load(field(builder, header, LIMIT)))
    flag(builder, builder.not_(fine), COSTLY)
    return fine


def new_buffer(builder, header):
    """The next buffer, for as long as nobody needs its slot, and its serial number."""
    slot = builder.urem(taken(builder, header, NEXT), builder.load(field(builder, header, SLOTS)))
    size = builder.mul(builder.load(field(builder, header, CELLS)), I64(16))
    buffer = builder.add(builder.load(field(builder, header, BUFFERS)), builder.mul(slot, size))
    # the lower half of a serial number counts what a total takes in
    serial = builder.add(taken(builder, header, CLOCK, 1 << 32), I64(1 << 32))
    builder.store(serial, builder.inttoptr(buffer, WORD))
    return buffer, serial


def block_at(builder, buffer, k, colours):
    """Pointer to a few cells, a whole register of them; those before the first hold the serial number."""
    vector = ir.VectorType(F64, 2 * colours).as_pointer()
    return builder.inttoptr(builder.add(buffer, builder.mul(k, I64(16 * colours))), vector)


def blocks(builder, header, colours):
    """Go through the blocks of cells."""
    count = builder.udiv(builder.load(field(builder, header, CELLS)), I64(colours))
    return cgutils.for_range(builder, count, start=I64(1))


def clear(builder, header, buffer, colours):
    size = builder.mul(builder.sub(builder.load(field(builder, header, CELLS)), I64(colours)), I64(16))
    start = builder.inttoptr(builder.add(buffer, I64(16 * colours)), ir.IntType(8).as_pointer())
    cgutils.memset(builder, start, size, 0)


def deposit(builder, buffer, number, colours, sign=1):
    """Add a number's differences to the cells of their owners; two owners joined are no owner's cell."""
    met = conflicts(builder, number.code)
    flag(builder, met, CONFLICT)
    codes = builder.select(met, ir.Constant(number.code.type, None), number.code)
    # owners are counted from 1
    cells = builder.inttoptr(builder.add(buffer, I64(16 * (colours - 1))), ir.VectorType(F64, 2).as_pointer())
    for c in range(colours):
        code = builder.extract_element(codes, I32(c))
        with builder.if_then(builder.icmp_signed("!=", code, I64(0)), likely=True):
            cell = builder.gep(cells, [builder.and_(code, I64(0x7FFFFFFF))])
            pair = ir.Constant(ir.VectorType(I32, 2), [2 * c, 2 * c + 1])
            pair = builder.shuffle_vector(number.d.value, ir.Constant(number.d.value.type, ir.Undefined), pair)
            add = builder.fadd if sign > 0 else builder.fsub
            builder.store(add(builder.load(cell, align=8), pair), cell, align=8)


def is_total(builder, *numbers):
    """i1, or None where none of them can be one."""
    some = None
    for tag in [n.tag for n in numbers if n.tag is not None]:
        yes = builder.icmp_signed(">", tag, I64(0))
        some = yes if some is None else builder.or_(some, yes)
    return some


def buffer_of(builder, header, number, colours):
    """A total's buffer; for any other number one of its own."""
    place = cgutils.alloca_once_value(builder, number.tag)
    with builder.if_then(builder.not_(is_total(builder, number))):
        buffer, _ = new_buffer(builder, header)
        clear(builder, header, buffer, colours)
        deposit(builder, buffer, number, colours)
        builder.store(buffer, place)
    return builder.load(place)


def check(builder, number):
    """Flag a total whose buffer is another's by now, or has grown. To be done before another buffer is taken."""
    with builder.if_then(is_total(builder, number)):
        found = builder.load(builder.inttoptr(number.tag, WORD))
        flag(builder, builder.icmp_signed("!=", found, number.serial), STALE)


def give(builder, out, buffer, serial, colours):
    put(builder, out, buffer, 1 + 3 * colours)
    put(builder, out, serial, 2 + 3 * colours)


# ---- what is called


def log(builder, number, colours):
    """Tell who met in a term, while the pattern is looked for."""

    def body(inside, header, words):
        with inside.if_then(is_logging(inside, header)):
            tell(inside, header, read(inside, words, colours), colours)

    call(builder, "tell", colours, body, flatten(builder, number, colours))


def tell(builder, header, term, colours):
    at = taken(builder, header, LOGGED)
    with builder.if_then(builder.icmp_signed("<", at, builder.load(field(builder, header, CAPACITY)))):
        place = builder.add(builder.load(field(builder, header, LOG)), builder.mul(at, I64(8 * colours)))
        builder.store(term.code, builder.inttoptr(place, term.code.type.as_pointer()), align=8)


def grow(builder, s, term, base, sign, colours):
    """Make s a total, and add the term; while the pattern is looked for: tell who met in the term."""

    def body(inside, header, first, second, out):
        s, term = read(inside, first, colours), read(inside, second, colours)
        with inside.if_else(is_logging(inside, header)) as (yes, no):
            with yes:
                tell(inside, header, term, colours)
                put(inside, out, inside.or_(s.code, term.code), 1 + 2 * colours)
            with no, inside.if_then(affordable(inside, header)):
                buffer, serial = new_buffer(inside, header)
                clear(inside, header, buffer, colours)
                deposit(inside, buffer, s, colours)
                deposit(inside, buffer, term, colours, sign)
                give(inside, out, buffer, serial, colours)

    out = room(builder, colours)
    name = "grow" if sign > 0 else "shrink"
    call(builder, name, colours, body, flatten(builder, s, colours), flatten(builder, term, colours), out)
    return unflatten(builder, out, base, colours)


def apply(builder, name, rule, numbers, constants, base, colours):
    """A new total, block by block: rule(builder, the numbers with differences of a block, constants).

    Numbers that are no `Owned` are None there: their value is among the constants.
    """
    known = [k for k, number in enumerate(numbers) if number is not None]
    count = len(known)

    def body(inside, header, *args):
        found, plain, out = [read(inside, words, colours) for words in args[:count]], args[count:-1], args[-1]
        with inside.if_then(affordable(inside, header)):
            buffers = [buffer_of(inside, header, number, colours) for number in found]
            for number in found:
                check(inside, number)
            made, serial = new_buffer(inside, header)
            with blocks(inside, header, colours) as loop:
                here = [None] * len(numbers)
                for k, number, buffer in zip(known, found, buffers, strict=True):
                    d = inside.load(block_at(inside, buffer, loop.index, colours), align=8)
                    here[k] = Number(inside, number.base, d, None)
                moved = rule(inside, here, plain)
                inside.store(moved.value, block_at(inside, made, loop.index, colours), align=8)
            give(inside, out, made, serial, colours)

    out = room(builder, colours)
    given = [flatten(builder, numbers[k], colours) for k in known]
    call(builder, f"rule_{name}", colours, body, *given, *constants, out)
    return unflatten(builder, out, base, colours)


def compare(builder, predicate, a, b, colours):
    """Where a comparison comes out otherwise than at x: that owner is lost, and nobody else is."""

    def body(inside, header, first, second):
        with inside.if_then(inside.not_(is_logging(inside, header))):
            a, b = read(inside, first, colours), read(inside, second, colours)
            lost = inside.inttoptr(inside.load(field(inside, header, LOST)), WORD)
            emit = inside.fcmp_unordered if predicate == "!=" else inside.fcmp_ordered

            def differ(da, db):
                moved = emit(predicate, (da + a.base).value, (db + b.base).value)
                return inside.xor(moved, splat(inside, emit(predicate, a.base, b.base), moved.type))

            with inside.if_else(is_total(inside, a, b)) as (yes, no):
                with yes, inside.if_then(affordable(inside, header)):
                    buffers = [buffer_of(inside, header, number, colours) for number in (a, b)]
                    check(inside, a)
                    check(inside, b)
                    with blocks(inside, header, colours) as loop:
                        da, db = (
                            Vector(inside, inside.load(block_at(inside, buffer, loop.index, colours), align=8))
                            for buffer in buffers
                        )
                        other = differ(da, db)
                        with inside.if_then(inside.not_(none_set(inside, other)), likely=False):
                            before = inside.mul(inside.sub(loop.index, I64(1)), I64(colours))
                            owners = [inside.add(before, I64(c + 1)) for c in range(colours)]
                            lose(inside, lost, other, owners)
                with no:
                    for number in (a, b):
                        flag(inside, conflicts(inside, number.code), CONFLICT)
                    still = Vector(inside, ir.Constant(a.d.value.type, None))
                    together, of_a, of_b = differ(a.d, b.d), differ(a.d, still), differ(still, b.d)
                    for number, alone in ((a, of_a), (b, of_b)):
                        owners = [
                            inside.and_(inside.extract_element(number.code, I32(c)), I64(0x7FFFFFFF))
                            for c in range(colours)
                        ]
                        # two owners of one colour: each with the other's value
                        apart = twice(inside, clashes(inside, inside.or_(a.code, b.code)), colours)
                        lose(inside, lost, inside.select(apart, alone, together), owners)

    names = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "==": "equal", "!=": "not_equal"}
    call(builder, names[predicate], colours, body, *(flatten(builder, n, colours) for n in (a, b)))


def twice(builder, mask, colours):
    """For both differences of each colour."""
    return builder.shuffle_vector(
        mask,
        ir.Constant(mask.type, ir.Undefined),
        ir.Constant(ir.VectorType(I32, 2 * colours), [c for c in range(colours) for _ in range(2)]),
    )


def lose(builder, lost, other, owners):
    """Note the owners of the differences that are set; 0 is nobody's."""
    for c, owner in enumerate(owners):
        pair = builder.or_(*(builder.extract_element(other, I32(2 * c + k)) for k in (0, 1)))
        with builder.if_then(pair):
            builder.store(I64(1), builder.gep(lost, [owner]))


def settle(builder, number, colours):
    """What f returned, as a total: its buffer and serial number; while the pattern is looked for, none."""

    def body(inside, header, words, out):
        with inside.if_then(inside.not_(is_logging(inside, header))):
            number = read(inside, words, colours)
            buffer = buffer_of(inside, header, number, colours)
            check(inside, number)
            give(inside, out, buffer, inside.load(inside.inttoptr(buffer, WORD)), colours)

    out = room(builder, colours)
    call(builder, "settle", colours, body, flatten(builder, number, colours), out)
    return unflatten(builder, out, number.base, colours)
