"""What becomes of totals: code of its own, called where a number may be one.

Where `s += term` brings a second owner of a colour, the slopes of s retire into a buffer, owner by owner, as addition
is linear. Used in anything else, a total is from then on an owner of its own, as coordinates are, with a slope of 1 in
itself (places beside the colours' are for such owners): its buffer stands still, and when f is through, whatever the
result's slope in that owner is, each of the buffer's is multiplied with it and added. So a total in every term (a mean,
a normalisation) costs one such sum of O(n), however often it is used. What is not linear, and would join two owners
of a place, gets a buffer of its own first. What grows by `p *= factor` is
a total, too: its buffer holds slopes relative to p, which are sums of the factors' (its serial numbers are below 0).

What takes in few terms, and is used then, as states that go from step to step are, need not pay for a whole buffer:
where a run has records, a total begins as a list of owners and slopes, and becomes a buffer where that is full.

Why no run writes where it should not: compiled code writes through four kinds of addresses.

- The header, its log and its flags of lost owners: memory that the caller holds until the run is over. Whoever enters a
  run tells its thread which header is its own, and puts back the one before, also where f raises.
- A buffer, by a number's tag. Tags are made in `new_buffer` only, of a slot that exists. Numbers are copied as a whole,
  and wherever there may be a number that nobody has made there are zeros, which say that it is no total: in variables
  (`ZeroedLower`) and in arrays. f is compiled with bounds checked, or an index beyond an array could read anything.
  numba does not check those of functions that f calls, ours in `arrays` among them: they ask for sizes first.
- A place in a record, by how many it has: what has no room for a whole number more becomes a buffer first.
- A cell of a buffer, by an owner's code. Codes are 0, a coordinate's, a used total's (there are cells for as many as
  there are buffers and records), or joined from these by `or`; the table that they come from is read within bounds
  (`point.entry`). What joins two owners is seen before it is used (`conflicts`), and then written nowhere.

A buffer that has grown has another serial number, and one that stands still has none: whoever uses an older one sees
that the number is stale, and the run is refused. What it holds is then wrong, but no other memory.
"""

from functools import wraps

from llvmlite import ir
from numba.core import cgutils, types

from ..lanes.types import splat
from . import emitting
from . import layout as at
from .emitting import Emitted, Number, Slopes, clashes, conflicts, flag, header_of, none_set, refuse
from .layout import CONFLICT, COSTLY, FIRST, PLAIN, RECORDED, ROOM, STALE, TIED, TOTALS
from .types import F64, I32, I64, Owned, Sum, Term, Total

WORD = I64.as_pointer()
MANY = 24  # coordinates: what sums more is taken for a total while the pattern is looked for


# ---- numbers in memory, for code out of line


def flatten(builder, number, colours):
    """{base, slopes, codes, tag, serial}, 8 bytes each."""
    t = Total(colours)
    words = cgutils.alloca_once(builder, ir.ArrayType(I64, 3 + 2 * t.slopes))
    start, wide = builder.bitcast(words, WORD), number.as_wide_as(t)
    put(builder, start, wide.base, 0)
    put(builder, start, wide.d.value, 1)
    put(builder, start, wide.code, 1 + t.slopes)
    put(builder, start, I64(0) if number.tag is None else number.tag, 1 + 2 * t.slopes)
    put(builder, start, I64(0) if number.serial is None else number.serial, 2 + 2 * t.slopes)
    return start


def put(builder, words, value, k):
    builder.store(value, builder.bitcast(builder.gep(words, [I64(k)]), value.type.as_pointer()), align=8)


def read(builder, words, colours):
    t = Total(colours)
    places = (0, 1, 1 + t.slopes, 1 + 2 * t.slopes, 2 + 2 * t.slopes)
    parts = [
        builder.load(builder.bitcast(builder.gep(words, [I64(k)]), kind.as_pointer()), align=8)
        for k, kind in zip(places, t.ll.elements, strict=True)
    ]
    return Number(builder, *parts)


def write(builder, words, number, colours):
    t = Total(colours)
    put(builder, words, number.d.value, 1)
    put(builder, words, number.code, 1 + t.slopes)
    put(builder, words, I64(PLAIN) if number.tag is None else number.tag, 1 + 2 * t.slopes)
    put(builder, words, I64(0) if number.serial is None else number.serial, 2 + 2 * t.slopes)


def call(builder, name, colours, body, *args):
    """Call code of its own for so many colours."""
    emitting.call(builder, f"{colours}_{name}", body, *args)


def out_of_line(body):
    """Make a call of code of its own: ``body(builder, header, *words, colours)``. Numbers are passed by their words."""

    @wraps(body)
    def called(builder, *given):
        *args, colours = given
        words = (flatten(builder, a, colours) if isinstance(a, Number) else a for a in args)
        call(builder, body.__name__, colours, lambda *inside: body(*inside, colours), *words)

    return called


# ---- the run's header and its buffers


def field(builder, header, k):
    return builder.inttoptr(builder.add(header, I64(8 * k)), WORD)


def load(builder, header, k):
    return builder.load(field(builder, header, k))


def taken(builder, header, k, step=1):
    """The field's value, which becomes larger by a step."""
    place = field(builder, header, k)
    before = builder.load(place)
    builder.store(builder.add(before, I64(step)), place)
    return before


def is_logging(builder, header):
    return builder.icmp_signed("!=", load(builder, header, at.LOG), I64(0))


def new_buffer(builder, header):
    """The next buffer, of zeros, and its serial number. If there is none left: the last one, and the run is refused."""
    slot, last = taken(builder, header, at.NEXT), builder.sub(load(builder, header, at.SLOTS), I64(1))
    beyond = builder.icmp_signed(">", slot, last)
    flag(builder, beyond, COSTLY)
    slot = builder.select(beyond, last, slot)
    size = builder.mul(load(builder, header, at.CELLS), I64(8))
    buffer = builder.add(load(builder, header, at.BUFFERS), builder.mul(slot, size))
    builder.store(I64(-1), field(builder, buffer, at.COUNT))
    with builder.if_then(builder.not_(beyond)):
        start = builder.inttoptr(builder.add(buffer, I64(8 * FIRST)), ir.IntType(8).as_pointer())
        cgutils.memset(builder, start, builder.sub(size, I64(8 * FIRST)), 0)
    return buffer, begun(builder, header, buffer)


def begun(builder, header, buffer):
    """A buffer's serial number, whose lower half counts what a total takes in."""
    serial = builder.add(taken(builder, header, at.CLOCK, 1 << 32), I64(1 << 32))
    builder.store(serial, field(builder, buffer, at.SERIAL))
    builder.store(I64(0), field(builder, buffer, at.USED_AT))
    return serial


def new_total(builder, header, numbers, colours, product=False):
    """A total that begins with some numbers' slopes: its tag, and its serial number.

    Where there are records, they are a list that costs as much as it is long. A buffer costs as much as x is long.
    """
    tag, serial = (cgutils.alloca_once(builder, I64) for _ in range(2))
    some = builder.icmp_signed("<", load(builder, header, at.RECORD), load(builder, header, at.MOST_RECORDS))
    with builder.if_else(some) as (yes, no):
        with yes:
            size = I64(8 * (FIRST + 2 * ROOM))
            record = builder.add(
                load(builder, header, at.RECORDS), builder.mul(taken(builder, header, at.RECORD), size)
            )
            number = signed(builder, begun(builder, header, record), product)
            builder.store(builder.xor(number, I64(RECORDED)), field(builder, record, at.SERIAL))
            builder.store(I64(0), field(builder, record, at.COUNT))
            for one in numbers:
                append(builder, record, one, colours)
            builder.store(record, tag)
            builder.store(number, serial)
        with no:
            buffer, number = new_buffer(builder, header)
            number = signed(builder, number, product)
            builder.store(number, field(builder, buffer, at.SERIAL))
            for one in numbers:
                deposit(builder, buffer, one, colours)
            builder.store(buffer, tag)
            builder.store(number, serial)
    return builder.load(tag), builder.load(serial)


def signed(builder, serial, product):
    return builder.or_(serial, I64(1 << 63)) if product else serial


@out_of_line
def append(builder, header, record, words, colours):
    """List a number's slopes in a record, which has room for them; two owners joined are none."""
    number = read(builder, words, colours)
    met = conflicts(builder, number.code)
    flag(builder, met, CONFLICT)
    codes = builder.select(met, ir.Constant(number.code.type, None), number.code)
    for c in range(codes.type.count):
        owner = builder.and_(builder.extract_element(codes, I32(c)), I64(0x7FFFFFFF))
        with builder.if_then(builder.icmp_signed("!=", owner, I64(0))):
            place = builder.add(record, builder.shl(taken(builder, record, at.COUNT), I64(4)))
            builder.store(owner, field(builder, place, FIRST))
            slope = builder.bitcast(builder.extract_element(number.d.value, I32(c)), I64)
            builder.store(slope, field(builder, place, FIRST + 1))


def extended(builder, header, s, term, colours):
    """A total in a record with one more term: its tag and serial number. A record that is full becomes a buffer."""
    tag, serial = (cgutils.alloca_once_value(builder, v) for v in (s.tag, builder.add(s.serial, I64(1))))
    full = builder.icmp_signed(">", load(builder, s.tag, at.COUNT), I64(ROOM - term.code.type.count))
    with builder.if_else(full) as (yes, no):
        with yes:
            builder.store(I64(0), field(builder, s.tag, at.SERIAL))
            buffer, number = new_buffer(builder, header)
            number = builder.or_(number, builder.and_(s.serial, I64(1 << 63)))
            builder.store(number, field(builder, buffer, at.SERIAL))
            with cgutils.for_range(builder, load(builder, s.tag, at.COUNT)) as loop:
                place = builder.add(s.tag, builder.shl(loop.index, I64(4)))
                cell = builder.add(buffer, builder.shl(load(builder, place, FIRST), I64(3)))
                cell = builder.bitcast(field(builder, cell, FIRST - 1), F64.as_pointer())
                slope = builder.bitcast(load(builder, place, FIRST + 1), F64)
                builder.store(builder.fadd(builder.load(cell), slope), cell)
            deposit(builder, buffer, term, colours)
            builder.store(buffer, tag)
            builder.store(number, serial)
        with no:
            append(builder, s.tag, term, colours)
            builder.store(builder.xor(builder.load(serial), I64(RECORDED)), field(builder, s.tag, at.SERIAL))
    return builder.load(tag), builder.load(serial)


def code_of(builder, owner):
    """An owner, and its complement in the upper half."""
    return builder.or_(owner, builder.shl(builder.xor(owner, I64(0x7FFFFFFF)), I64(32)))


def in_memory(builder, vector):
    """Where the elements of a vector are, to be read one by one: taking them out of a register is slower by a third."""
    place = cgutils.alloca_once(builder, vector.type)
    builder.store(vector, place)
    start = builder.bitcast(place, vector.type.element.as_pointer())
    # the compiler is not to see what was stored, or it takes the elements from the register
    builder.asm(ir.FunctionType(ir.VoidType(), [start.type]), "", "r,~{memory}", [start], True)
    return start


def deposit(builder, buffer, number, colours, sign=1):
    """Add a number's slopes to the cells of their owners; two owners joined are no owner's cell."""
    met = conflicts(builder, number.code)
    flag(builder, met, CONFLICT)
    codes = builder.select(met, ir.Constant(number.code.type, None), number.code)
    # owners are counted from 1
    cells = builder.inttoptr(builder.add(buffer, I64(8 * (FIRST - 1))), F64.as_pointer())
    add = builder.fadd if sign > 0 else builder.fsub

    owners, slopes = (in_memory(builder, vector) for vector in (codes, number.d.value))

    def deposit_each(places, likely):
        for c in places:
            code = builder.load(builder.gep(owners, [I32(c)]))
            with builder.if_then(builder.icmp_signed("!=", code, I64(0)), likely=likely):
                cell = builder.gep(cells, [builder.and_(code, I64(0x7FFFFFFF))])
                builder.store(add(builder.load(cell), builder.load(builder.gep(slopes, [I32(c)]))), cell)

    deposit_each(range(colours), True)
    if codes.type.count > colours:
        with builder.if_then(builder.not_(none_set(builder, totals_in(builder, codes, colours))), likely=False):
            deposit_each(range(colours, codes.type.count), False)


def totals_in(builder, codes, colours):
    """Which places of used totals are taken."""
    places = ir.Constant(ir.VectorType(I32, TOTALS), list(range(colours, colours + TOTALS)))
    codes = builder.shuffle_vector(codes, codes, places)
    return builder.icmp_signed("!=", codes, ir.Constant(codes.type, None))


def is_total(builder, *numbers):
    """i1, or None where none of them can be one."""
    some = None
    for tag in [n.tag for n in numbers if n.tag is not None]:
        yes = builder.icmp_signed("!=", tag, I64(PLAIN))
        some = yes if some is None else builder.or_(some, yes)
    return some


def is_product(builder, number):
    """i1: does it grow by factors?"""
    return builder.icmp_signed("<", number.serial, I64(0))


def is_live(builder, number):
    """i1: is a total's buffer as it was then? Where it only grows, that is so."""
    return builder.icmp_signed("==", load(builder, number.tag, at.SERIAL), number.serial)


def is_recorded(builder, number):
    """i1: is a total's record as it was then?"""
    return builder.icmp_signed("==", load(builder, number.tag, at.SERIAL), builder.xor(number.serial, I64(RECORDED)))


def used(builder, header, number):
    """Let a total stand still; returns which of those it is, and which owner it is from then on."""
    buffer = number.tag
    with builder.if_then(builder.or_(is_live(builder, number), is_recorded(builder, number))):
        last = builder.sub(load(builder, header, at.OWNERS), I64(1))
        place = taken(builder, header, at.FROZEN)
        place = builder.select(builder.icmp_signed("<", place, last), place, last)
        builder.store(I64(0), field(builder, buffer, at.SERIAL))
        builder.store(number.serial, field(builder, buffer, at.USED_AT))
        builder.store(place, field(builder, buffer, at.OWNER))
        there = builder.add(load(builder, header, at.SOURCES), builder.shl(place, I64(3)))
        builder.store(buffer, builder.inttoptr(there, WORD))
    then = load(builder, buffer, at.USED_AT)
    same = builder.icmp_signed("==", then, number.serial)
    flag(builder, builder.not_(same), STALE)
    place = builder.select(same, load(builder, buffer, at.OWNER), I64(0))
    return place, builder.add(load(builder, header, at.COORDINATES), builder.add(place, I64(1)))


@out_of_line
def use(builder, header, words, colours):
    """Make a total in memory an owner of its own; nothing else changes."""
    number = read(builder, words, colours)
    with builder.if_then(is_total(builder, number)):
        place, owner = used(builder, header, number)
        _, slopes, codes, *_ = Total(colours).ll.elements
        lane = builder.add(builder.urem(place, I64(TOTALS)), I64(colours))
        own = builder.icmp_signed(
            "==", ir.Constant(codes, [I64(c) for c in range(codes.count)]), splat(builder, lane, codes)
        )
        code = builder.select(own, splat(builder, code_of(builder, owner), codes), ir.Constant(codes, None))
        one = builder.select(is_product(builder, number), number.base, F64(1.0))
        d = builder.select(own, splat(builder, one, slopes), ir.Constant(slopes, None))
        write(builder, words, Number(builder, number.base, d, code), colours)


# ---- sums of terms whose slopes have places: always a total from the first term on


def as_number(context, builder, value, t, colours):
    """A value of any type of number; a sum is used by this."""
    if isinstance(t, Sum):
        number = sum_of(context, builder, value, t)
        owner, one = asked(builder, use_sum, number), Emitted(builder, F64(1.0))
        return Number(builder, number.base, Slopes(dict.fromkeys(t.places, one)), dict.fromkeys(t.places, owner))
    if isinstance(t, Term):
        base, *parts = (builder.extract_value(value, k) for k in range(1 + 2 * len(t.places)))
        slopes = (Emitted(builder, part) for part in parts)
        owners = parts[len(t.places) :]
        return Number(
            builder, base, Slopes(dict(zip(t.places, slopes, strict=False))), dict(zip(t.places, owners, strict=True))
        )
    if isinstance(t, Owned):
        return Number.read(builder, value)
    base = context.cast(builder, value, t, types.float64)
    return Number.plain(builder, base, Owned(colours)) if colours else Number(builder, base, Slopes({}), {})


def asked(builder, body, number):
    """What this code of its own makes of {buffer, serial number} of a sum: the first of them afterwards."""
    start = builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I64, 2)), WORD)
    put(builder, start, number.tag, 0)
    put(builder, start, number.serial, 1)
    call(builder, body.__name__, 0, body, start)
    return builder.load(start)


def use_sum(builder, header, words):
    """{buffer, serial number} of a sum -> its owner."""
    sum_ = Number(builder, F64(0.0), Slopes({}), {}, builder.load(words), builder.load(builder.gep(words, [I64(1)])))
    with builder.if_then(is_total(builder, sum_)):
        builder.store(used(builder, header, sum_)[1], words)


def sum_of(context, builder, value, t, colours=0):
    """A value as what a sum of terms begins with: where that is, it gets its buffer."""
    if isinstance(t, Sum):
        base, tag, serial = (builder.extract_value(value, k) for k in range(3))
        return Number(builder, base, Slopes({}), {}, tag, serial)
    number = as_number(context, builder, value, t, 0)
    begun = Number(builder, number.base, Slopes({}), {}, I64(PLAIN), I64(0))
    begun.tag = asked(builder, new_sum, begun)
    begun.serial = load(builder, begun.tag, at.SERIAL)
    return grow_sum(context, builder, begun, number, number.base, 1)


def grow_sum(context, builder, s, term, base, sign):
    """A sum and a term, in the sum's buffer; where it is not the sum of then any more, the run ends."""
    if not term.d.of:
        return Number(builder, base, Slopes({}), {}, s.tag, s.serial)
    refuse(context, builder, builder.not_(is_total(builder, s)), STALE)  # nobody has set it
    refuse(context, builder, builder.not_(is_live(builder, s)), STALE)
    serial = builder.add(s.serial, I64(1))
    builder.store(serial, field(builder, s.tag, at.SERIAL))
    cells = builder.inttoptr(builder.add(s.tag, I64(8 * (FIRST - 1))), F64.as_pointer())
    add = builder.fadd if sign > 0 else builder.fsub
    for place, slope in term.d.of.items():
        cell = builder.gep(cells, [term.code[place]])
        builder.store(add(builder.load(cell), slope.value), cell)
    return Number(builder, base, Slopes({}), {}, s.tag, serial)


def flag_grown(builder, total):
    """Flag a total that has grown since it was taken, unless that was when it was used."""
    then = load(builder, total.tag, at.USED_AT)
    fine = builder.or_(is_live(builder, total), builder.icmp_signed("==", then, total.serial))
    flag(builder, builder.not_(fine), STALE)


def settle_sum(builder, header, words):
    """{buffer, serial number} of the sum that f returned -> its buffer."""
    sum_ = Number(builder, F64(0.0), Slopes({}), {}, builder.load(words), builder.load(builder.gep(words, [I64(1)])))
    with builder.if_else(is_total(builder, sum_)) as (yes, no):
        with yes:
            flag_grown(builder, sum_)
        with no:
            new_sum(builder, header, words)


def new_sum(builder, header, words):
    """{buffer, serial number} of no total yet -> a buffer."""
    builder.store(new_buffer(builder, header)[0], words)


# ---- what is called


@out_of_line
def log(builder, header, words, colours):
    """Tell who met in a term, while the pattern is looked for."""
    with builder.if_then(is_logging(builder, header)):
        tell(builder, header, read(builder, words, colours), colours)


def tell(builder, header, term, colours):
    seen = taken(builder, header, at.LOGGED)
    code = builder.shuffle_vector(term.code, term.code, ir.Constant(ir.VectorType(I32, colours), list(range(colours))))
    with builder.if_then(builder.icmp_signed("<", seen, load(builder, header, at.CAPACITY))):
        place = builder.add(load(builder, header, at.LOG), builder.mul(seen, I64(8 * colours)))
        builder.store(code, builder.inttoptr(place, code.type.as_pointer()), align=8)


def grow(builder, s, term, base, sign, colours, product=False):
    """Make s a total, and add the term; while the pattern is looked for: tell who met in the term.

    Of a product, the term has its relative slopes.
    """

    def body(inside, header, first, second):
        term = read(inside, second, colours)
        with inside.if_else(is_logging(inside, header)) as (yes, no):
            with yes:
                s = read(inside, first, colours)
                new = inside.and_(inside.icmp_signed("==", s.serial, I64(0)), conflicts(inside, s.code))
                with inside.if_then(new):  # what it begins with is a term, too: told once
                    tell(inside, header, s, colours)
                tell(inside, header, term, colours)
                s.code, s.serial = inside.or_(s.code, term.code), I64(1)
                write(inside, first, s, colours)
            with no:
                s = read(inside, first, colours)
                term.d = term.d if sign > 0 else -term.d
                tag, serial = (cgutils.alloca_once_value(inside, v) for v in (I64(PLAIN), I64(0)))
                with inside.if_then(is_total(inside, s)):
                    same = is_product(inside, s) if product else inside.not_(is_product(inside, s))
                    with inside.if_then(inside.and_(is_recorded(inside, s), same)):
                        for value, place in zip(extended(inside, header, s, term, colours), (tag, serial), strict=True):
                            inside.store(value, place)
                with inside.if_then(inside.icmp_signed("==", inside.load(tag), I64(PLAIN))):
                    use(inside, first, colours)  # it was used, and is not to grow any more
                    s = read(inside, first, colours)
                    if product:
                        s.d = s.d / s.base
                    made = new_total(inside, header, [s, term], colours, product)
                    for value, place in zip(made, (tag, serial), strict=True):
                        inside.store(value, place)
                write(inside, first, empty(inside, base, inside.load(tag), inside.load(serial), colours), colours)

    words = flatten(builder, s, colours)
    name = "multiply" if product else "grow" if sign > 0 else "shrink"
    call(builder, name, colours, body, words, flatten(builder, term, colours))
    grown = read(builder, words, colours)
    grown.base = base
    return grown


def empty(builder, base, buffer, serial, colours):
    """A total whose slopes are in its buffer."""
    number = Number.plain(builder, base, Total(colours))
    number.tag, number.serial = buffer, serial
    return number


def usable(builder, numbers, colours, need=None):
    """The numbers, one or two, as they may be used in anything but sums; always, or where they need it.

    While the pattern is looked for, what many coordinates have a part in is taken for a total.
    """
    t = Total(colours)
    if all(number.tag is None for number in numbers):
        return numbers
    if need is None:
        joined = [number.as_wide_as(t).code for number in numbers]
        meet = conflicts(builder, builder.or_(joined[0], joined[-1]))
        need = builder.or_(is_total(builder, *numbers), meet)
    movable = [n.tag is not None for n in numbers]

    def body(inside, header, *words):
        with inside.if_else(is_logging(inside, header)) as (yes, no):
            with yes:
                for there, may in zip(words, movable, strict=True):
                    if may:
                        write(inside, there, without_many(read(inside, there, colours), colours), colours)
            with no:
                for there, may in zip(words, movable, strict=True):
                    if may:
                        use(inside, there, colours)
                if len(words) == 2:
                    first, second = (read(inside, there, colours) for there in words)
                    both = inside.or_(first.code, second.code)
                    # without totals in either, it is for other colours to keep them apart, if the result is used; or
                    # each is listed, which is cheap where there are records
                    some = inside.not_(none_set(inside, totals_in(inside, both, colours)))
                    listed = inside.icmp_signed("!=", load(inside, header, at.MOST_RECORDS), I64(0))
                    meet = inside.and_(conflicts(inside, both), inside.or_(some, listed))
                    with inside.if_then(meet):
                        for there, may in zip(words, movable, strict=True):
                            if may:
                                retire(inside, header, there, colours)

    places = [cgutils.alloca_once(builder, t.ll) if may else None for may in movable]
    with builder.if_else(need, likely=False) as (yes, no):
        with yes:
            words = [flatten(builder, number, colours) for number in numbers]
            call(builder, "usable" + "".join("_total" if may else "_number" for may in movable), colours, body, *words)
            for there, place in zip(words, places, strict=True):
                if place is not None:
                    builder.store(read(builder, there, colours).pack(t), place)
        with no:
            for number, place in zip(numbers, places, strict=True):
                if place is not None:
                    builder.store(number.pack(t), place)
    return [
        number if place is None else Number.read(builder, builder.load(place))
        for number, place in zip(numbers, places, strict=True)
    ]


def retire(builder, header, words, colours):
    """Move a number's slopes to a buffer, and make it an owner of its own."""
    number = read(builder, words, colours)
    with builder.if_then(builder.not_(none_set(builder, builder.icmp_signed("!=", number.code, no_code(number))))):
        tag, serial = new_total(builder, header, [number], colours)
        write(builder, words, empty(builder, number.base, tag, serial, colours), colours)
        use(builder, words, colours)


@out_of_line
def separate(builder, header, words, colours):
    """Make a number an owner of its own; while the pattern is looked for, it depends on nobody."""
    with builder.if_else(is_logging(builder, header)) as (yes, no):
        with yes:
            number = read(builder, words, colours)
            marks = ir.Constant(number.code.type, [I64(~0x7FFFFFFF7FFFFFFF)] * number.code.type.count)
            number.code = builder.and_(number.code, marks)
            write(builder, words, number, colours)
        with no:
            use(builder, words, colours)
            retire(builder, header, words, colours)


def chosen_of_many(builder, number, m, term, colours):
    """The larger one of m and a term: an owner of its own, if m has been chosen so from more than `MANY` terms.

    How many they were is where a total has its serial number. Of fewer, all may meet, while the pattern is looked for.
    """
    codes = number.code.type
    before = I64(0) if m.tag is None else builder.select(is_total(builder, m), I64(0), m.serial)
    count = builder.add(before, I64(1))
    logging, joined = is_logging(builder, header_of(builder)), builder.or_(m.code, term.code)
    with builder.if_then(logging, likely=False):
        with builder.if_then(builder.icmp_signed("==", before, I64(0))):  # what it begins with: told once
            log(builder, m, colours)
        log(builder, term, colours)
    number.code = builder.select(logging, joined, number.code)
    coordinates = ir.Constant(codes, [I64(-(c < colours)) for c in range(codes.count)])
    some = builder.icmp_signed("!=", builder.and_(number.code, coordinates), no_code(number))
    many = builder.and_(builder.icmp_signed(">", count, I64(MANY)), builder.not_(none_set(builder, some)))
    words = flatten(builder, number, colours)
    with builder.if_then(builder.or_(many, is_total(builder, number)), likely=False):
        separate(builder, words, colours)
    number = read(builder, words, colours)
    number.serial = count
    return number


def no_code(number):
    return ir.Constant(number.code.type, None)


def without_many(number, colours):
    """A number without the coordinates that have a part in it, if they are many."""
    b, codes = number.builder, number.code.type
    count = cgutils.get_or_insert_function(b.module, ir.FunctionType(codes, [codes]), f"llvm.ctpop.v{codes.count}i64")
    digits = b.and_(number.code, ir.Constant(codes, [I64(0x7FFFFFFF7FFFFFFF)] * codes.count))
    many = b.icmp_signed(">", b.call(count, [digits]), ir.Constant(codes, [I64(MANY)] * codes.count))
    marks = b.xor(number.code, digits)
    number.code = b.select(none_set(b, many), number.code, marks)
    return number


@out_of_line
def compare(builder, header, first, second, colours):
    """Two numbers are equal, and f asks which one is larger: whoever changes the answer is lost, and nobody else is."""
    with builder.if_then(builder.not_(is_logging(builder, header))):
        a, b = read(builder, first, colours), read(builder, second, colours)
        flag(builder, is_total(builder, a, b), TIED)
        lost = builder.inttoptr(load(builder, header, at.LOST), WORD)
        still = ir.Constant(a.d.value.type, None)
        together, of_a, of_b = (
            builder.fcmp_unordered("!=", p, q)
            for p, q in ((a.d.value, b.d.value), (a.d.value, still), (b.d.value, still))
        )
        met = clashes(builder, builder.or_(a.code, b.code))
        for number, alone in ((a, of_a), (b, of_b)):
            flag(builder, conflicts(builder, number.code), CONFLICT)
            # two owners of one colour: each with the other's value. Two joined in one number are no owner's cell
            other = builder.and_(builder.select(met, alone, together), builder.not_(clashes(builder, number.code)))
            for c in range(other.type.count):
                owner = builder.and_(builder.extract_element(number.code, I32(c)), I64(0x7FFFFFFF))
                owner = builder.select(builder.extract_element(other, I32(c)), owner, I64(0))  # 0 is nobody
                with builder.if_then(builder.icmp_signed("!=", owner, I64(0))):
                    builder.store(I64(1), field(builder, header, at.LOSSES))
                    builder.store(I64(1), builder.gep(lost, [owner]))


def settle(builder, number, colours):
    """The buffer of what f returned; while the pattern is looked for, none."""

    def body(inside, header, words):
        with inside.if_then(inside.not_(is_logging(inside, header))):
            number = read(inside, words, colours)
            place = field(inside, header, at.RESULT)
            inside.store(number.tag, place)
            whole = cgutils.alloca_once_value(inside, I64(0))
            is_sum = inside.and_(is_total(inside, number), inside.not_(is_product(inside, number)))
            with inside.if_then(is_sum):
                listed = inside.icmp_signed(">=", load(inside, number.tag, at.COUNT), I64(0))
                inside.store(inside.select(listed, I64(0), I64(1)), whole)
            with inside.if_else(inside.icmp_signed("!=", inside.load(whole), I64(0))) as (yes, no):
                with yes:
                    flag_grown(inside, number)
                with no:
                    use(inside, words, colours)
                    buffer, _ = new_buffer(inside, header)
                    deposit(inside, buffer, read(inside, words, colours), colours)
                    inside.store(buffer, place)

    call(builder, "settle", colours, body, flatten(builder, number, colours))
    return load(builder, header_of(builder), at.RESULT)
