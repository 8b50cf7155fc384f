"""The numba types of owner lanes: numbers that know whom they depend on.

A number is its value at x and, for each of S *colours*, its slope in one coordinate, and a code that says which one,
its *owner*. Coordinates of one colour never meet in one term, so S of them ride in one register through one run of f.
"""

from llvmlite import ir
from numba import types
from numba.core.typeconv import Conversion
from numba.extending import models, register_model

from ..lanes.types import Number
from .layout import TOTALS

F64, I64, I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(32)


class Owned(Number):
    """A float that knows its owners: {value, S slopes, S codes}.

    A code is ``i | ~i << 32`` for coordinate i, counted from 1, and 0 for nobody. `or` joins two codes, and
    ``code & code >> 32`` is 0 exactly where they name one owner at most: a conflict stays one.
    """

    total = False
    mask = types.boolean

    def __init__(self, colours):
        self.colours = colours
        super().__init__(name=f"{type(self).__name__}({colours})")

    def joined(self, numbers, grows):
        """The type of what is made of such numbers; `grows`: of a sum that may be a total."""
        total = any(isinstance(t, Total) for t in numbers) or (grows and isinstance(numbers[1], Owned))
        return (Total if total else Owned)(self.colours)

    def unify(self, typingctx, other):
        if isinstance(other, Owned):
            return other if other.total else self
        return self if is_number(other) else None

    def can_convert_from(self, typingctx, other):
        if isinstance(other, Owned):
            return Conversion.promote if self.total and not other.total else None
        return Conversion.promote if is_number(other) else None

    @property
    def wide(self):
        return Total(self.colours)

    @property
    def slopes(self):
        return self.colours + TOTALS * self.total

    @property
    def ll(self):
        parts = [F64, ir.VectorType(F64, self.slopes), ir.VectorType(I64, self.slopes)]
        return ir.LiteralStructType(parts + [I64, I64] * self.total)


class Total(Owned):
    """What ``s += term`` may give: an `Owned`, and a buffer (0: none yet) with its serial number.

    In a buffer, each owner has a cell for its slope: no owner of a colour is in another's way. Used in anything but
    sums, a total is an owner of its own from then on, with places beside those of the colours.
    """

    total = True


class Term(Owned):
    """A float that knows its owners: {value, slopes, owners}, one of each for every place in f that reads x.

    Which places those are is known when f is compiled; who is the owner of each, counted from 1, is in the number.
    """

    colours = 0

    def __init__(self, places):
        self.places = tuple(sorted(places))
        types.Type.__init__(self, name=f"Term{self.places}")

    def joined(self, numbers, grows):
        places = {place for t in numbers if isinstance(t, Owned) for place in t.places}
        return Term(places) if len(places) <= MOST_PLACES else None

    def unify(self, typingctx, other):
        if isinstance(other, Owned):
            return other if isinstance(other, Sum) else Term({*self.places, *other.places})
        return self if is_number(other) else None

    def can_convert_from(self, typingctx, other):
        if isinstance(other, Term):
            return Conversion.promote if {*other.places} <= {*self.places} else None
        return Conversion.promote if is_number(other) else None

    @property
    def wide(self):
        return self

    @property
    def ll(self):
        return ir.LiteralStructType([F64] + [F64] * len(self.places) + [I64] * len(self.places))


class Sum(Term):
    """What grows by terms in a loop: {value, buffer (0: none yet), serial number}. Used, it is a place of its own."""

    def __init__(self, place):
        super().__init__({place})
        types.Type.__init__(self, name=f"Sum({place})")

    def unify(self, typingctx, other):
        return self if isinstance(other, Term) or is_number(other) else None

    def can_convert_from(self, typingctx, other):
        return Conversion.promote if isinstance(other, Term) or is_number(other) else None

    @property
    def ll(self):
        return ir.LiteralStructType([F64, I64, I64])


MOST_PLACES = 24  # in a number: more slopes are not carried one by one


class Point(types.Type):
    """What f gets for x: the values, and of each coordinate which row of the table of codes is its own."""

    def __init__(self, number, ndim):
        self.number, self.ndim = number, ndim
        super().__init__(name=f"Point({number}, {ndim})")


class PointIterator(types.SimpleIteratorType):
    """What runs over the entries of a `Point`."""

    def __init__(self, point):
        self.point = point
        super().__init__(f"iter({point})", point.number)


@register_model(Owned)
@register_model(Total)
class OwnedModel(models.PrimitiveModel):
    """Vectors in registers, wide integers in arrays: numba's allocations are not aligned for vectors of 8 doubles."""

    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.ll)
        wide = ir.IntType(64 * fe_type.slopes)
        self.data = ir.LiteralStructType([F64, wide, wide] + [I64, I64] * fe_type.total)

    def get_data_type(self):
        return self.data

    def as_data(self, builder, value):
        return self._converted(builder, value, self.data)

    def from_data(self, builder, value):
        return self._converted(builder, value, self.be_type)

    def _converted(self, builder, value, kind):
        out = ir.Constant(kind, ir.Undefined)
        for k, part in enumerate(kind.elements):
            item = builder.extract_value(value, k)
            out = builder.insert_value(out, item if item.type == part else builder.bitcast(item, part), k)
        return out


@register_model(Term)
@register_model(Sum)
class TermModel(models.PrimitiveModel):
    """Numbers beside each other: what the compiler keeps in registers."""

    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.ll)


@register_model(Point)
class PointModel(models.StructModel):
    """Views of memory that the kernel keeps."""

    def __init__(self, dmm, fe_type):
        super().__init__(
            dmm,
            fe_type,
            [
                ("data", types.CPointer(types.float64)),
                ("codes", types.CPointer(types.int64)),
                ("rows", types.CPointer(types.int32)),
                ("first", types.int64),
                ("step", types.int64),
                ("shape", types.UniTuple(types.intp, fe_type.ndim)),
            ],
        )


@register_model(PointIterator)
class PointIteratorModel(models.StructModel):
    """The point, and how far it has come."""

    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, [("point", fe_type.point), ("at", types.EphemeralPointer(types.intp))])


def is_number(t):
    return isinstance(t, (types.Float, types.Integer, types.Boolean))
