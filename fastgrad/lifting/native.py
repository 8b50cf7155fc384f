"""What numba has no words for, as code that LLVM gets: a function behind an address, views that own nothing."""

from inspect import Parameter, Signature, signature
from types import SimpleNamespace
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


def emits(result, prefer_literal=False, **cast):
    """Make a function for compiled code of what emits its code: ``code(context, builder, kind, *values)``.

    The names behind `kind` are those of its arguments; `kind` has the type of each by its name, and the `result`'s.
    Without a value, it returns nothing of use.

    `result`: the type of the result, or what tells it by the types of the arguments; None where these are none for it.
    `prefer_literal`: whether types of constants say which.
    `cast`: types that arguments are converted to.
    """

    def register(code):
        names = list(signature(code).parameters)[3:]

        def typed(typingctx, *given):
            returned = result if isinstance(result, types.Type) else result(*given)
            if returned is None:
                return None

            def codegen(context, builder, sig, values):
                kind = SimpleNamespace(result=sig.return_type, **dict(zip(names, sig.args, strict=True)))
                found = code(context, builder, kind, *values)
                return context.get_dummy_value() if found is None else found

            return returned(*(cast.get(name, t) for name, t in zip(names, given, strict=True))), codegen

        typed.__name__, typed.__doc__, typed.__module__ = code.__name__, code.__doc__, code.__module__
        arguments = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("typingctx", *names)]
        typed.__signature__ = Signature(arguments)
        return intrinsic(prefer_literal=prefer_literal)(typed)

    return register


def array_type(ndim: int, dtype: Any = types.float64) -> Any:
    """The type of a C-contiguous array."""
    return types.Array(dtype, ndim, "C")


def address_of(compiled: Any) -> int:
    """Where what numba has compiled is."""
    address: int = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return address


def array_of(context, builder, kind, value):
    """The parts of an array of this type."""
    return context.make_array(kind)(context, builder, value)


def borrowed(context, builder, kind, data, shape, itemsize):
    """A C-contiguous array of this type that owns nothing, over memory; its lengths are integers of the compiler's.

    What owns no memory needs no (atomic) counting of references: of a dozen slices that took 250 ns.
    """
    strides = [itemsize]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    view = context.make_array(kind)(context, builder)
    populate_array(view, data, shape, strides[: len(shape)], itemsize, None)
    return view._getvalue()


def called(context, builder, address, result, kinds, values):
    """Call what is at an address, in numba's own convention: what became of it, and what it returned."""
    function = context.call_conv.get_function_type(result, kinds)
    return context.call_conv.call_function(
        builder, builder.inttoptr(address, function.as_pointer()), result, kinds, values
    )


def raise_on(context, builder, status):
    """Raise what a call has raised."""
    with builder.if_then(status.is_error, likely=False):
        context.call_conv.return_status_propagate(builder, status)


@emits(lambda address, x, args: x.dtype)
def call_at(context, builder, kind, address, x, args):
    """Call the function at an address with x and the entries of a tuple; what it raises propagates."""
    kinds, values = (kind.x, *kind.args.types), [x, *cgutils.unpack_tuple(builder, args)]
    status, value = called(context, builder, address, kind.result, kinds, values)
    raise_on(context, builder, status)
    return value


@emits(lambda array, start, shape: types.Array(array.dtype, len(shape.types), "C"))
def part(context, builder, kind, array, start, shape):
    """View entries of a C-contiguous array in another shape, without owning them."""
    source = array_of(context, builder, kind.array, array)
    start = context.cast(builder, start, kind.start, types.intp)
    lengths = [
        context.cast(builder, n, t, types.intp)
        for n, t in zip(cgutils.unpack_tuple(builder, shape), kind.shape.types, strict=True)
    ]
    size = context.get_constant(types.intp, context.get_abi_sizeof(source.data.type.pointee))
    return borrowed(context, builder, kind.result, builder.gep(source.data, [start]), lengths, size)
