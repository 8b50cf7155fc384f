"""Fast mathematics: the system's vector mathematics library (glibc's libmvec), where asked for and present.

Its functions are not the scalar ones bit for bit: glibc gives their error as at most 4 ulp (`MAX_ULP`), where its
scalar functions stay within 1 or 2. Hence opt-in.

Names follow the vector function ABI of the architecture, `_ZGV<isa>N<lanes>v_<name>`.
https://sourceware.org/glibc/wiki/libmvec
"""

import ctypes
import math
import operator
import platform
from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

MAX_ULP = 4
F64, I32 = ir.DoubleType(), ir.IntType(32)

FUNCTIONS = {
    getattr(module, name): name
    for module in (math, np)
    for name in ("exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "expm1", "log1p", "log2", "log10", "hypot")
} | {
    function: name
    for name, functions in {
        "exp2": (np.exp2,),
        "atan": (math.atan, np.arctan),
        "asin": (math.asin, np.arcsin),
        "acos": (math.acos, np.arccos),
        "atan2": (math.atan2, np.arctan2),
        "erf": (math.erf,),
        "erfc": (math.erfc,),
        "cbrt": (np.cbrt,),
        "pow": (math.pow, np.power, operator.pow, operator.ipow, pow),
    }.items()
    for function in functions
}


@cache
def _library():
    """libmvec, and the vector sizes that the processor has, largest first: (lanes, letter of the ABI)."""
    try:
        library = ctypes.CDLL("libmvec.so.1")
    except OSError:
        return None, ()
    features = llvm.get_host_cpu_features()
    known = {"x86_64": ((8, "e", "avx512f"), (4, "d", "avx2"), (2, "b", "sse2")), "aarch64": ((2, "n", "neon"),)}.get(
        platform.machine(), ()
    )
    return library, tuple((lanes, letter) for lanes, letter, feature in known if features.get(feature))


@cache
def symbol(name, arity, width):
    """(symbol, its lanes) of the widest form of at most `width` lanes, made known to LLVM; None if there is none."""
    library, sizes = _library()
    for lanes, letter in sizes:
        mangled = f"_ZGV{letter}N{lanes}{'v' * arity}_{name}"
        if lanes <= width and hasattr(library, mangled):
            llvm.add_symbol(mangled, ctypes.cast(getattr(library, mangled), ctypes.c_void_p).value)
            return mangled, lanes
    return None


def available() -> bool:
    """Is there a vector form of the exponential function?"""
    return symbol("exp", 1, 64) is not None


def make_known(name, width):
    """Make a function of libmvec known to LLVM, as it was when code that was kept on the disk was compiled."""
    symbol(name, 2 if name in ("atan2", "hypot", "pow") else 1, width)


def vectorised(symbols):
    """The functions among these symbols that are libmvec's."""
    return tuple(sorted({name.partition("_")[2] for name in symbols if name.startswith("_ZGV") for name in [name[4:]]}))


def vector_function(function, scalar, lane):
    """What emits this function on vectors, for fast lanes; None where it has to run lane by lane."""
    name = FUNCTIONS.get(function)
    if not lane.fast or name is None or any(t != types.float64 for t in (scalar.return_type, *scalar.args)):
        return None
    found = symbol(name, len(scalar.args), lane.width)
    if found is None:
        return None
    mangled, lanes = found

    def emit(context, builder, vectors):
        part = ir.VectorType(F64, lanes)
        callee = cgutils.get_or_insert_function(builder.module, ir.FunctionType(part, [part] * len(vectors)), mangled)
        result = ir.Constant(ir.VectorType(F64, lane.width), ir.Undefined)
        for start in range(0, lane.width, lanes):
            mask = ir.Constant(ir.VectorType(I32, lanes), list(range(start, start + lanes)))
            pieces = [builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), mask) for v in vectors]
            value = builder.call(callee, pieces)
            for k in range(lanes):
                result = builder.insert_element(result, builder.extract_element(value, I32(k)), I32(start + k))
        return result

    return emit
