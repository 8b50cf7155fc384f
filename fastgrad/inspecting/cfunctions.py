"""C function pointers: numba's cfunc, ctypes, SciPy's LowLevelCallable."""

from __future__ import annotations

import ctypes
from typing import Any

from ..core.validation import FLOAT64, Floats

WANTED = "must have the C signature double(double *, int64_t)"
_INTEGERS = ("long", "longlong", "int64_t", "ssize_t", "intptr_t", "npy_intp", "Py_ssize_t")
_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]  # what all ctypes functions are instances of
_POINTER = ctypes.POINTER(ctypes.c_double)


class CFunction:
    """A C function ``double f(double *x, int64_t n)``, called from Python."""

    def __init__(self, address: int, kept: object) -> None:
        self.address = address
        self.kept = kept  # the pointer is valid as long as this lives
        self._function = ctypes.CFUNCTYPE(ctypes.c_double, _POINTER, ctypes.c_int64)(address)

    def __call__(self, x: Floats) -> float:
        return float(self._function(x.ctypes.data_as(_POINTER), x.size))


def is_c_function(f: object) -> bool:
    """Whether f is one of the objects that stand for a C function."""
    kind = type(f)
    return (
        isinstance(f, _FUNCTION)
        or kind.__name__ == "LowLevelCallable"
        or (kind.__name__, kind.__module__) == ("CFunc", "numba.core.ccallback")
    )


def c_function(f: Any) -> CFunction:
    """Return such an object as a CFunction. TypeError if it has another signature than double(double *, int64_t)."""
    if isinstance(f, _FUNCTION):
        return CFunction(_checked_ctypes(f), f)
    if type(f).__name__ == "CFunc":
        if str(f._sig) != "(float64*, int64) -> float64":
            raise TypeError(f"`f` {WANTED}, got the cfunc {f._sig}; declare it float64(CPointer(float64), int64)")
        return CFunction(f.address, f)
    if str(f.signature).replace(" ", "") not in {f"double(double*,{i})" for i in _INTEGERS}:
        raise TypeError(f"`f` {WANTED}, got a LowLevelCallable of {f.signature!r}")
    if f.user_data is not None:
        raise TypeError("`f` must be a LowLevelCallable without user_data: it is called as f(x, n)")
    if isinstance(f.function, _FUNCTION):
        return CFunction(ctypes.cast(f.function, ctypes.c_void_p).value or 0, f)
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return CFunction(get(tuple.__getitem__(f, 0), str(f.signature).encode()), f)


def _checked_ctypes(f: Any) -> int:
    arguments: Any = f.argtypes or ()
    integers = (ctypes.c_int64, ctypes.c_ssize_t, ctypes.c_long, ctypes.c_longlong)
    if len(arguments) == 2:
        first, second = arguments[0], arguments[1]
        is_double = first in (_POINTER, ctypes.c_void_p) or getattr(first, "_dtype_", None) == FLOAT64
        if f.restype is ctypes.c_double and is_double and second in integers:
            return ctypes.cast(f, ctypes.c_void_p).value or 0
    raise TypeError(f"`f` {WANTED}; set its `restype` and `argtypes`, got {f.restype} and {f.argtypes}")
