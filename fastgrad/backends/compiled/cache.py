"""What is kept on the disk: our kernels, and f compiled for lanes beside numba's own files where it is ``cache=True``.

numba's cache cannot hold lanes: it takes no function that refers to another jitted one. A file is taken only where
everything that went into it is as it was: the code of f and of the jitted functions that it calls, what they captured,
this package's lift, the versions and the processor.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import types as python_types
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba import config, njit, types
from numba.core.caching import FunctionCache, NullCache
from numba.core.datamodel import default_manager
from numba.core.dispatcher import Dispatcher

from ...core.bytecode import package_of
from ...core.errors import CannotRun
from ...inspecting.captures import STABLE_MODULES, captures
from ...lifting import lanes, native
from ...schemes import steps

_SIMPLE = (bool, int, float, complex, str, bytes, type(None), np.generic)
# A kernel is worth compiling when what it would have saved is so many times what that takes: no rule that does not know
# what is to come is better than 1, which never takes more than twice as long as the best.
WORTH_COMPILING = 1.0
SECONDS = 1.0  # that compiling most kernels takes
compiling = threading.RLock()
_entries: dict[Any, Entry] = {}  # for each kernel and signature
Found = TypeVar("Found")


def once(table: dict[Any, Found], key: object, make: Callable[[], Found]) -> Found:
    """Return what a table has for a key; whoever asks first makes it, and all others wait."""
    found = table.get(key)
    if found is None:
        with compiling:
            found = table.get(key)
            if found is None:
                found = table[key] = make()
    return found


@cache
def source_stamp() -> str:
    """Digest all sources that kernels are made of: one that is made of others' is not to be loaded."""
    here, lift, schemes = (Path(str(place)).parent for place in (__file__, native.__file__, steps.__file__))
    names = "native.py", "lanes/kernel.py", "owners/layout.py", "owners/colours.py"
    sources = [*here.glob("*.py"), *(lift / name for name in names)]
    sources += [schemes / f"{name}.py" for name in ("steps", "constants", "line", "looks", "outputs")]
    return sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's disk cache, which a damaged file or a full disk does not stop: what cannot be loaded is compiled."""

    def __init__(self, function: object, bare: bool) -> None:
        super().__init__(function)
        self._bare = bare
        file = self._cache_file
        file._source_stamp = source_stamp()  # numba's own is of the one file that the function is in
        dump, load = file._dump, file._load_data

        def signed(data: object) -> bytes:
            content: bytes = dump(data)
            return content + sha256(content).digest()

        def checked(name: str) -> Any:
            content = Path(file._data_path(name)).read_bytes()
            if sha256(content[:-32]).digest() != content[-32:]:  # machine code with a flipped bit would run
                raise ValueError(f"{name} is damaged")
            return load(name)  # a pickle ends where it says: the digest behind it is not read

        file._dump, file._load_data = signed, checked

    def _index_key(self, sig: object, codegen: object) -> Any:
        return *super()._index_key(sig, codegen), self._bare

    def load_overload(self, sig: object, target_context: object) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001  unpickling damaged files raises anything
            self._give_up_files()
            return None

    def save_overload(self, sig: object, data: object) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # noqa: BLE001  the kernel itself is fine
            self._give_up_files()

    def _give_up_files(self) -> None:
        """Empty the index, so that the files are written anew; leave the disk alone where that fails."""
        try:
            self.flush()
        except OSError:
            self.disable()


class LateCache:
    """A `KernelCache` that looks for its folder when it is first used: that takes 1 ms or 2, of each kernel."""

    def __init__(self, function: object, bare: bool) -> None:
        self._function, self._bare = function, bare
        self.disk_only = False

    def load_overload(self, sig: object, target_context: object) -> Any:
        found = self._cache.load_overload(sig, target_context)
        if found is None and self.disk_only:
            raise FileNotFoundError(str(sig))
        return found

    @cached_property
    def _cache(self) -> Any:
        try:
            return KernelCache(self._function, self._bare)
        except (RuntimeError, AttributeError, OSError):  # no folder to keep it in; another numba's inside; no sources
            return NullCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def kernel(function: object = None, *, seconds: float = SECONDS) -> Any:
    """Compile a loop of ours; from the disk where a process has compiled it before, if a folder is writable.

    Its twin `bare` counts no references: numba's code takes one to each argument, and never returns it where f raises.
    `seconds`: what compiling it takes, for `entry_point`.
    """
    if function is None:
        return partial(kernel, seconds=seconds)
    compiled, bare = (
        njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, _nrt=counts)(function) for counts in (True, False)
    )
    compiled._cache, bare._cache = LateCache(function, False), LateCache(function, True)
    compiled.bare = bare
    compiled.seconds = bare.seconds = seconds
    return compiled


def _needs_counting(kind: object) -> bool:
    """Whether numba takes an argument apart with its own memory: lists, strings, instances; not arrays."""
    if isinstance(kind, types.BaseTuple):
        return any(map(_needs_counting, kind))
    return not isinstance(kind, types.Array) and bool(default_manager[kind].contains_nrt_meminfo())


def inner(function: object, fastmath: object = False, **counts: bool) -> Any:
    """Compile what only kernels call: it is kept within them."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "fastmath": fastmath, **counts}
    return njit(nogil=True, error_model="numpy", **options)(function)


# What counts no references, whichever kernel is the first to be compiled: else an inner function does as that does.
uncounted = partial(inner, _nrt=False)
# What gets more arrays than a call has registers for, once for each direction: passing them took 20 ns.
inlined = partial(uncounted, forceinline=True)


def object_code(module: str, integers: int) -> tuple[str, bytes, list[str]]:
    """Compile `judge` of a module, which gets so many integers.

    Returns its name, the object code, and the symbols that this does not define itself.
    """
    if config.DISABLE_JIT:
        raise CannotRun("numba does not compile (NUMBA_DISABLE_JIT)")
    judge, signature = import_module(f".{module}", __package__).judge, (types.int64,) * integers
    judge.compile(signature)
    compiled = judge.overloads[signature]
    library = compiled.library
    foreign = re.findall(r"^declare .*?@(\w+)\(", library.get_llvm_str(), re.MULTILINE)
    return compiled.fndesc.llvm_func_name, library.serialize_using_object_code()[2][0], foreign


class Entry:
    """A kernel for exactly these types, past numba's dispatcher, which looks at each argument."""

    def __init__(self, kernel: Any, signature: tuple[Any, ...]) -> None:
        self._kernel = kernel if any(map(_needs_counting, signature)) else kernel.bare
        self._signature = signature
        self._owed: float | None = None  # seconds that could have been saved
        self._found: Any = None

    def point(self, worth: float) -> Any:
        """Return what to call; None until it is worth compiling, or is found on the disk.

        `worth` is how many seconds it would save this time: when it is compiled depends on this, never what it gives.
        """
        if self._found is None:
            with compiling:
                first, self._owed = self._owed is None, (self._owed or 0.0) + worth
                kernel, signature = self._kernel, self._signature
                if self._owed >= WORTH_COMPILING * kernel.seconds:
                    kernel.compile(signature)
                elif not (first and _on_disk(kernel, signature)):
                    return None
                self._found = kernel.overloads[signature].entry_point
        return self._found


def entry(kernel: object, signature: tuple[Any, ...]) -> Entry:
    """Return the one entry to a kernel for these types; hashing these takes some microseconds."""
    key = kernel, signature
    found = _entries.get(key)
    return _entries.setdefault(key, Entry(kernel, signature)) if found is None else found


def entry_point(kernel: object, signature: tuple[Any, ...], worth: float) -> Any:
    """Return a kernel for exactly these types, or None: see `Entry.point`."""
    return entry(kernel, signature).point(worth)


def _on_disk(kernel: Any, signature: tuple[Any, ...]) -> bool:
    """Load a kernel from the disk, if it is there."""
    kernel._cache.disk_only = True
    try:
        kernel.compile(signature)
    except FileNotFoundError:
        return False
    finally:
        kernel._cache.disk_only = False
    return True


class _Unknown(Exception):
    """Something that f captured, or gets as an argument, has no fingerprint."""


def _is_data(kind: object) -> bool:
    """Whether the name of a numba type says all about it: that of a function does not say what it does."""
    if isinstance(kind, types.BaseTuple):
        return all(map(_is_data, kind))
    return isinstance(getattr(kind, "dtype", kind), (types.Number, types.Boolean, types.NoneType, types.UnicodeType))


def lanes_of(compile_lanes: Any, f: Any, *how: Any) -> Any:
    """Return ``compile_lanes(f, *how)``: from the disk, if it is kept there, or anew. CannotLift as `compile_lanes`."""
    if not isinstance(getattr(f, "_cache", None), FunctionCache):
        return compile_lanes(f, *how)
    path, mark = None, b""
    with suppress(_Unknown, OSError, AttributeError, RecursionError):
        if not all(_is_data(kind) for kinds in how if isinstance(kinds, tuple) for kind in kinds):
            raise _Unknown
        wanted = repr((f.py_func.__module__, f.py_func.__qualname__, compile_lanes.__name__, how, lanes.lane_width()))
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
    lifted = compile_lanes(f, *how)
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
    files = [*sorted(Path(lanes.__file__).parent.glob("*.py")), Path(native.__file__)]
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


def _print(value: object) -> bytes:
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
    if package_of(value) in STABLE_MODULES and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}".encode()
    if isinstance(value, np.ufunc):
        return value.__name__.encode()
    raise _Unknown
