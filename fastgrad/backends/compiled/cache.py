"""f compiled for lanes, kept on the disk beside numba's own files where f is decorated with ``cache=True``.

numba's cache cannot hold it: it takes no function that refers to another jitted one. A file is taken only where
everything that went into it is as it was: the code of f and of the jitted functions that it calls, what they captured,
this package's lift, the versions and the processor.
"""

from __future__ import annotations

import os
import sys
import types as python_types
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from ...inspecting.captures import STABLE_MODULES, captures
from ...lifting import lanes

_SIMPLE = (bool, int, float, complex, str, bytes, type(None), np.generic)


class _Unknown(Exception):
    """Something that f captured, or gets as an argument, has no fingerprint."""


def _is_data(kind: Any) -> bool:
    """Whether the name of a numba type says all about it: that of a function does not say what it does."""
    if isinstance(kind, types.BaseTuple):
        return all(map(_is_data, kind))
    return isinstance(getattr(kind, "dtype", kind), (types.Number, types.Boolean, types.NoneType, types.UnicodeType))


def lanes_of(f: Any, ndim: int, kinds: tuple[Any, ...], fastmath: bool) -> Any:
    """Return f compiled for lanes: from the disk, if it is kept there, or anew.

    Raises
    ------
    CannotLift
        As `compile_lanes`.
    """
    if not isinstance(getattr(f, "_cache", None), FunctionCache):
        return lanes.compile_lanes(f, ndim, kinds, fastmath=fastmath)
    path, mark = None, b""
    with suppress(_Unknown, OSError, AttributeError, RecursionError):
        if not all(map(_is_data, kinds)):
            raise _Unknown
        wanted = repr((f.py_func.__module__, f.py_func.__qualname__, ndim, kinds, fastmath, lanes.lane_width()))
        name = f"{f.py_func.__name__}.lanes-{sha256(wanted.encode()).hexdigest()[:16]}"
        path, mark = Path(f._cache.cache_path) / name, sha256(wanted.encode() + _surroundings() + _print(f)).digest()
    if path is not None:
        with suppress(OSError):
            content = path.read_bytes()
            digest, body = content[:32], content[32:]
            if sha256(body).digest() == digest and body[:32] == mark:  # machine code with a flipped bit would run
                found = lanes.thaw_lanes(body[32:])
                if found is not None:
                    return found
    lifted = lanes.compile_lanes(f, ndim, kinds, fastmath=fastmath)
    frozen = lifted.frozen() if path is not None else None
    if path is not None and frozen is not None:
        body = mark + frozen
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.write_bytes(sha256(body).digest() + body)
            partial.replace(path)
    return lifted


@cache
def _surroundings() -> bytes:
    """What compiles the same f to something else."""
    files = sorted(Path(lanes.__file__).parent.glob("*.py"))
    about = (
        sys.version,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        {key: value for key, value in sorted(os.environ.items()) if key.startswith(("NUMBA_", "FASTGRAD_"))},
    )
    return repr(about).encode() + b"".join(sha256(file.read_bytes()).digest() for file in files)


def _print(value: Any) -> bytes:
    """Bytes that differ wherever f compiles to something else."""
    if isinstance(value, Dispatcher):
        function, options = value.py_func, repr((sorted(value.targetoptions.items()), value.locals)).encode()
        taken = b"".join(name.name.encode() + b"=" + _print(name.value) for name in captures(value))
        return b"jitted" + options + _print(function.__code__) + _print(function.__defaults__) + taken
    if isinstance(value, python_types.CodeType):
        return b"code" + value.co_code + repr((value.co_names, value.co_varnames)).encode() + _print(value.co_consts)
    if isinstance(value, tuple):
        return b"(" + b",".join(map(_print, value)) + b")"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return repr((value.dtype, value.shape, value.strides)).encode() + value.tobytes()
    if isinstance(value, _SIMPLE):
        return repr((type(value), value)).encode()
    if (getattr(value, "__module__", None) or "").partition(".")[0] in STABLE_MODULES and hasattr(
        value, "__qualname__"
    ):
        return f"{value.__module__}.{value.__qualname__}".encode()
    if isinstance(value, np.ufunc):
        return value.__name__.encode()
    raise _Unknown
