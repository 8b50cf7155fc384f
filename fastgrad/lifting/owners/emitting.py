"""Emitting code: floats and vectors with Python's operators."""

import ctypes
import sys

from llvmlite import ir
from numba.core import cgutils

from ..lanes.types import splat
from .layout import BEFORE, CONFLICT, FLAGS, PLAIN
from .types import F64, I32, I64, Sum, Term

_KEY = ctypes.c_ulong if sys.platform == "darwin" else ctypes.c_uint


def _thread_key():
    """A place of each thread's own, where a run leaves the address of its header; None where there is none."""
    try:
        system = ctypes.CDLL(None)
        key = _KEY()
        return (key.value, system) if system.pthread_key_create(ctypes.byref(key), None) == 0 else (None, system)
    except (OSError, AttributeError, TypeError):
        return None, None


THREAD_KEY, _SYSTEM = _thread_key()
_KEY_TYPE = ir.IntType(8 * ctypes.sizeof(_KEY))


class Emitted:
    """A float or a vector of them, or code for one, in arithmetic."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _other(self, other):
        if isinstance(other, Emitted):
            other = other.value
        kind, vector = self.value.type, isinstance(self.value.type, ir.VectorType)
        if isinstance(other, (int, float)):
            return ir.Constant(kind, [F64(float(other))] * kind.count) if vector else F64(float(other))
        return splat(self.builder, other, kind) if vector and other.type != kind else other

    def __add__(self, other):
        return Emitted(self.builder, self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other):
        return Emitted(self.builder, self.builder.fsub(self.value, self._other(other)))

    def __rsub__(self, other):
        return Emitted(self.builder, self.builder.fsub(self._other(other), self.value))

    def __mul__(self, other):
        return Emitted(self.builder, self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other):
        return Emitted(self.builder, self.builder.fdiv(self.value, self._other(other)))

    def __rtruediv__(self, other):
        return Emitted(self.builder, self.builder.fdiv(self._other(other), self.value))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return Emitted(self.builder, self.builder.fneg(self.value))


def emitted_sqrt(number):
    callee = number.builder.module.declare_intrinsic("llvm.sqrt", [F64])
    return Emitted(number.builder, number.builder.call(callee, [number.value]))


def none_set(builder, mask):
    bits = ir.IntType(mask.type.count)
    return builder.icmp_unsigned("==", builder.bitcast(mask, bits), bits(0))


class Slopes:
    """The slopes of a `Term`, in the same arithmetic: emitted floats, by their place."""

    def __init__(self, of):
        self.of = of

    @property
    def value(self):
        return self

    def __add__(self, other):
        of = {**self.of, **other.of}
        return Slopes({**of, **{place: self.of[place] + other.of[place] for place in self.of.keys() & other.of.keys()}})

    def __sub__(self, other):
        return self + -other

    def __mul__(self, factor):
        return Slopes({place: slope * factor for place, slope in self.of.items()})

    def __neg__(self):
        return Slopes({place: -slope for place, slope in self.of.items()})


def chosen(builder, condition, a, b):
    """One of two numbers' slopes."""
    if not isinstance(a, Slopes):
        return Emitted(builder, builder.select(condition, a.value, b.value))
    zero, of = Emitted(builder, F64(0.0)), {}
    for place in sorted({**a.of, **b.of}):
        pair = (slopes.of.get(place, zero).value for slopes in (a, b))
        of[place] = Emitted(builder, builder.select(condition, *pair))
    return Slopes(of)


def joined(context, builder, a, b):
    """The code of a number that is made of two."""
    if not isinstance(a, dict):
        return builder.or_(a, b)
    code = {**a, **b}
    for place in a.keys() & b.keys():
        mine, other = a[place], b[place]
        if mine is not other:  # nobody, 0, may be joined with anybody
            code[place] = builder.select(builder.icmp_signed("==", mine, I64(0)), other, mine)
            there = builder.icmp_signed("!=", builder.mul(mine, other), I64(0))
            refuse(context, builder, builder.and_(there, builder.icmp_signed("!=", mine, other)), CONFLICT)
    return code


class Number:
    """An Owned or Total in the making: value, slopes, code; of a Total its buffer and serial number, too."""

    def __init__(self, builder, base, d, code, tag=None, serial=None):
        self.builder, self.base, self.code = builder, base, code
        self.d = d if isinstance(d, Slopes) else Emitted(builder, d)
        self.tag, self.serial = tag, serial

    @classmethod
    def read(cls, builder, value):
        return cls(builder, *(builder.extract_value(value, k) for k in range(len(value.type.elements))))

    @classmethod
    def plain(cls, builder, base, t):
        """A number that depends on nobody."""
        return cls(builder, base, *(ir.Constant(part, None) for part in t.ll.elements[1:]))

    def as_wide_as(self, t):
        """The same with places for as many slopes as a `t` has."""
        if isinstance(t, Term):
            return self
        count, wanted = self.code.type.count, t.slopes
        if count == wanted:
            return self
        b, places = self.builder, ir.Constant(ir.VectorType(I32, wanted), list(range(wanted)))
        d, code = (b.shuffle_vector(v, ir.Constant(v.type, None), places) for v in (self.d.value, self.code))
        return Number(b, self.base, d, code, self.tag, self.serial)

    def pack(self, t):
        wide = self.as_wide_as(t)
        value = ir.Constant(t.ll, ir.Undefined)
        if isinstance(t, Sum):
            parts = [self.base, self.tag or I64(PLAIN), self.serial or I64(0)]
        elif isinstance(t, Term):
            nothing = Emitted(self.builder, F64(0.0))
            slopes = [self.d.of.get(place, nothing).value for place in t.places]
            parts = [self.base, *slopes, *(self.code.get(place, I64(0)) for place in t.places)]
        else:
            parts = [wide.base, wide.d.value, wide.code]
        if t.total:
            parts += [I64(PLAIN), I64(0)] if self.tag is None else [self.tag, self.serial]
        for k, part in enumerate(parts):
            value = self.builder.insert_value(value, part, k)
        return value


def header_of(builder):
    """Where the header of the run is that this thread is in, as an integer."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I64, [_KEY_TYPE]), "pthread_getspecific")
    return builder.call(function, [_KEY_TYPE(THREAD_KEY)])


def enter(builder, header):
    """Make this the header of this thread's run."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(I32, [_KEY_TYPE, I64]), "pthread_setspecific"
    )
    builder.call(function, [_KEY_TYPE(THREAD_KEY), header])


def leave(header):
    """Put back the header that this thread had before a run that has raised: it does so itself where it ends."""
    _SYSTEM.pthread_setspecific(_KEY(THREAD_KEY), ctypes.c_void_p(int(header[BEFORE])))


def call(builder, name, body, *args):
    """Call code of its own, made by `body(builder, header, *args)`, once in each module."""
    module, name = builder.module, f"fastgrad_owners_{name}"
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in args]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block("entry"))
        body(inside, header_of(inside), *function.args)
        inside.ret_void()
    builder.call(function, args)


def flag(builder, condition, reason):
    with builder.if_then(condition, likely=False):
        call(builder, "flag", raise_flag, I64(reason))


def refuse(context, builder, condition, reason):
    """End the run: a loop that goes on after a call would keep in memory what it sums, whether that is called or not.

    Where f catches what ends it, the flag stays.
    """
    with builder.if_then(condition, likely=False):
        flag(builder, condition, reason)
        context.call_conv.return_user_exc(builder, ValueError, ("not a point for numbers with places",))


def raise_flag(builder, header, reason):
    flags = builder.inttoptr(builder.add(header, I64(8 * FLAGS)), I64.as_pointer())
    builder.store(builder.or_(builder.load(flags), reason), flags)


def clashes(builder, code):
    """For each colour: does a code hold two owners? It is the owner, and its complement in the upper half."""
    both = builder.and_(code, builder.lshr(code, ir.Constant(code.type, [32] * code.type.count)))
    clean = builder.and_(both, ir.Constant(code.type, [0xFFFFFFFF] * code.type.count))
    return builder.icmp_signed("!=", clean, ir.Constant(code.type, None))


def conflicts(builder, code):
    """i1: of any colour."""
    return builder.not_(none_set(builder, clashes(builder, code)))
