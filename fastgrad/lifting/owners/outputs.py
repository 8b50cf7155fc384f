"""Functions of many values in owner lanes: each value tells whom it depends on, and how."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import register_jitable

from ..lanes.arrays import empty_bundle
from ..lanes.capability import CannotLift
from ..lanes.compiler import frozen, of_many_values
from ..lanes.types import Bundle
from ..native import array_of, array_type, emits
from . import layout as at
from . import totals
from .compiler import compile_owners, compiled_run, read_only
from .emitting import conflicts, flag, none_set
from .layout import COLOURS, CONFLICT, UNUSUAL
from .point import as_entries, as_point, begin, opened
from .totals import is_total
from .types import I32, I64, Total


@emits(types.void)
def keep(context, builder, kind, number, k, values, owners, slopes, total):
    """Keep a value, the codes of its owners, and its slopes. A total has more owners than there is room for."""
    colours = kind.total.instance_type.colours
    number = totals.as_number(context, builder, number, kind.number, colours)
    values, owners = array_of(context, builder, kind.values, values), array_of(context, builder, kind.owners, owners)
    slopes = array_of(context, builder, kind.slopes, slopes)
    builder.store(number.base, builder.gep(values.data, [k]))
    for array, vector in ((owners, number.code), (slopes, number.d.value)):
        own = builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, colours), list(range(colours))))
        place = builder.gep(array.data, [builder.mul(k, I64(colours))])
        builder.store(own, builder.bitcast(place, own.type.as_pointer()), align=8)
    several = conflicts(builder, number.code)
    if number.tag is not None:
        several = builder.or_(several, is_total(builder, number))
        totals_own = ir.Constant(number.code.type, [I64(-(c >= colours)) for c in range(number.code.type.count)])
        used = builder.icmp_signed("!=", builder.and_(number.code, totals_own), totals.no_code(number))
        several = builder.or_(several, builder.not_(none_set(builder, used)))
    with builder.if_then(several, likely=False):
        totals.log(builder, number, colours)
        flag(builder, cgutils.true_bit, CONFLICT)


def compile_outputs(dispatcher, ndim, before, after, filled, ndim_out, colours=COLOURS):
    """Compile f of many values for owner lanes; its arguments as those of `compile_lanes_of_outputs`.

    Returns the first three of `compile_owners`, of ``run(x, args, codes, rows, pass, header, values, owners, slopes)``,
    which writes for each value of f the codes of its owners in each colour, and its slopes.
    """

    def make(f, ndim, arg_types, twins, kind, entries):
        kind = entries or kind
        kinds = types.Tuple(tuple(frozen(t, twins) for t in arg_types))
        as_x, bundle = as_entries if entries else as_point, Bundle(Total(colours), ndim_out, "C")
        empty = register_jitable(lambda shape: empty_bundle(shape, bundle))
        called = of_many_values(twins.twin(f), len(before), filled, empty)

        def run(x, args, codes, rows, which, header, values, owners, slopes):
            previous = opened(header)
            given = read_only(args, kinds)
            found = as_x(x, codes, rows, which, header[at.LOG] != 0, header[at.ENTRIES], kind)
            out = called(found, values.shape, given)
            if out.shape == values.shape:
                for k, place in enumerate(np.ndindex(out.shape)):
                    keep(out[place], k, values, owners, slopes, kind)
            else:
                header[at.FLAGS] |= UNUSUAL
            begin(previous)
            return 0.0

        results = array_type(ndim_out), array_type(2, types.int64), array_type(2)
        made = compiled_run(run, ndim, arg_types, entries, *results)
        if not twins.exact:
            raise CannotLift("f is compiled with fastmath")
        return made

    return compile_owners(dispatcher, ndim, before + after, colours, make)[:3]
