"""What makes a function this function: its code, its arguments and the data that it holds, in digests with names."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ..core.bytecode import hides_code, package_of, said
from ..core.call import Call
from ..inspecting.captures import captures

# What these say of themselves is all that they are.
_PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), np.generic, np.dtype)
_CODE = type, types.FunctionType, types.BuiltinFunctionType, np.ufunc
_DEEP = 12  # containers in containers


def fingerprint(call: Call, x: Sequence[object] = ()) -> dict[str, str]:
    """Return the digest of each part of a function, by what it is in words.

    `call`: f and its arguments.
    `x`: what holds the caller's x: where f finds it, its contents are no part of f.
    """
    study = _Study(x)
    study.parts["the version of Python"] = _digest([repr(sys.version_info[:2]).encode()])
    study.function("f", call.f)
    for number, value in enumerate(call.args):
        study.add(f"args[{number}]", value)
    for name, value in call.kwargs.items():
        study.add(f"kwargs[{name!r}]", value)
    return study.parts


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Word what is another."""
    other = [name for name in now if before.get(name, now[name]) != now[name]]
    new, gone = [name for name in now if name not in before], [name for name in before if name not in now]
    said = [(other, "another"), (new, "new"), (gone, "gone")]
    return "; ".join(f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {what}" for names, what in said if names)


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class _Study:
    """The parts of a function; each object is looked at once."""

    def __init__(self, x: Sequence[object]) -> None:
        self.parts: dict[str, str] = {}
        self._x = x
        self._seen: dict[int, tuple[str, object]] = {}  # with the object: its number must not become another's

    def add(self, name: str, value: object) -> None:
        """Take data that f holds."""
        if _is_function(value):
            self.function(name, value)
        else:
            self.parts[name] = _digest(self._describe(value, name, 0))

    def function(self, name: str, f: Any) -> None:
        """Take a function with what it has captured."""
        if id(f) in self._seen:
            return
        self._seen[id(f)] = name, f
        if isinstance(f, functools.partial):
            self.function(f"{name}'s function", f.func)
            for number, value in enumerate(f.args):
                self.add(f"{name}'s argument {number}", value)
            for key, value in sorted(f.keywords.items()):
                self.add(f"{name}'s argument {key!r}", value)
            return
        if isinstance(f, types.MethodType):
            if not _of_a_library(f.__func__):
                self.function(name, f.__func__)
            self.parts[f"{name}'s object"] = _digest(self._describe(f.__self__, name, 0))
            return
        inner = getattr(f, "py_func", f)
        if not isinstance(inner, types.FunctionType):
            del self._seen[id(f)]  # it is still to be looked at
            self.parts[name] = _digest(self._describe(f, name, 0))
            return
        self.parts[f"the code of {name}"] = _digest(_code(inner.__code__))
        for number, value in enumerate(inner.__defaults__ or ()):
            self.add(f"default {number} of {name}", value)
        for key, value in (inner.__kwdefaults__ or {}).items():
            self.add(f"default {key!r} of {name}", value)
        # its own counters, which are no part of what it is
        own_state = said(inner.__code__).assigned
        for capture in captures(inner):
            value = capture.value
            if capture.name in own_state or capture.name.startswith("default ") or _of_a_package(inner, capture.name):
                continue
            if _is_function(value):
                self.function(repr(capture.name) if name == "f" else f"{capture.name!r} in {name}", value)
            elif not isinstance(value, types.ModuleType):
                self.add(f"the data {capture.name!r}", value)

    def _describe(self, value: Any, name: str, depth: int) -> Iterator[bytes]:
        """Write out a value, the same in every process."""
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}:".encode()
        if self._is_x(value):
            yield b"x"
        elif isinstance(value, _PLAIN):
            yield repr(value).encode("utf-8", "surrogatepass")
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"{value.dtype.str}{value.shape}".encode()
            yield np.ascontiguousarray(value).tobytes()
        elif isinstance(value, (bytearray, memoryview)):
            yield bytes(value)
        elif id(value) in self._seen:
            yield f"as {self._seen[id(value)][0]}".encode()
        elif depth > _DEEP:
            yield b"..."
        else:
            self._seen[id(value)] = f"{name}, {len(self._seen)}", value
            yield from self._inside(value, name, depth + 1)

    def _is_x(self, value: object) -> bool:
        array = isinstance(value, np.ndarray)
        return any(
            value is piece or (array and isinstance(piece, np.ndarray) and np.may_share_memory(value, piece))
            for piece in self._x
        )

    def _inside(self, value: Any, name: str, depth: int) -> Iterator[bytes]:
        if isinstance(value, types.ModuleType):
            yield value.__name__.encode()
        elif isinstance(value, type):
            yield f"{value.__module__}.{value.__qualname__}".encode()
            yield from self._methods(value)
        elif hides_code(value):
            raise TypeError(
                f"`journal` needs to know f again, and {name} is or holds {value!r}: np.frompyfunc hides its function; "
                "call that, or np.vectorize of it"
            )
        elif _of_a_library(value):  # SciPy's ufuncs do not say their module
            yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}".encode()
        elif _is_function(value):
            within = _Study(self._x)
            within._seen = self._seen
            del self._seen[id(value)]
            within.function(name, value)
            yield repr(sorted(within.parts.items())).encode()
        elif type(value) in (set, frozenset):
            yield from sorted(b"".join(self._describe(item, name, depth)) for item in value)
        elif type(value) is dict:
            for item in value.items():
                yield from self._items(item, name, depth)
        elif type(value) in (list, tuple):
            yield from self._items(value, name, depth)
        elif type(value) is np.ndarray:
            yield str(value.shape).encode()
            yield from self._items(value.flat, name, depth)
        else:
            yield from self._methods(type(value))
            yield from self._items(_state(value), name, depth)

    def _items(self, items: Iterable[Any], name: str, depth: int) -> Iterator[bytes]:
        for item in items:
            yield from self._describe(item, name, depth)
        yield b"end"

    def _methods(self, kind: type) -> Iterator[bytes]:
        for base in kind.__mro__:
            if not _of_a_library(base):
                for name, value in sorted(vars(base).items()):
                    inner = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
                    if isinstance(inner, types.FunctionType):
                        yield name.encode() + b"".join(_code(inner.__code__))


def _state(value: Any) -> list[Any]:
    """Return all that an object is: what it would be pickled as, or its attributes where it cannot be pickled."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - files, sockets, locks and their like have no contents: their kind is all
        return sorted(getattr(value, "__dict__", {}).items())
    if isinstance(reduced, str):
        return [reduced]
    return [list(part) if isinstance(part, Iterator) else part for part in reduced]


def _is_function(value: Any) -> bool:
    """Whether there is code of the user's own to be read."""
    kinds = (types.FunctionType, types.MethodType, functools.partial)
    return (isinstance(value, kinds) or hasattr(value, "py_func")) and not _of_a_library(value)


def _code(code: types.CodeType) -> Iterator[bytes]:
    """Write out what the code does; not where it stands, nor what Python's own specialising has made of it."""
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags)).encode()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode("utf-8", "surrogatepass")


def _of_a_library(value: object) -> bool:
    """Whether this is code that is not the user's own: it is known by its name."""
    if not isinstance(value, _CODE):
        return False
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):  # `values.append` is a function, too
        return False
    package = package_of(value)
    return _installed(package) if package else isinstance(value, np.ufunc)


@lru_cache(maxsize=256)
def _installed(package: str) -> bool:
    # fastgrad by name, too: from a checkout its caches, which every call changes, would be part of the fingerprint
    if package in sys.stdlib_module_names or package in ("fastgrad", "numba", "numpy", "scipy"):
        return True
    origin = getattr(getattr(sys.modules.get(package), "__spec__", None), "origin", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(origin).parts))


def _of_a_package(inner: types.FunctionType, name: str) -> bool:
    """Whether a captured name is an attribute of an installed module: `os.environ` is no part of f."""
    first, _, rest = name.partition(".")
    module = inner.__globals__.get(first)
    return bool(rest) and isinstance(module, types.ModuleType) and _installed(package_of(module))


def _digest(pieces: Iterable[bytes]) -> str:
    digest = blake2b(digest_size=12)
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()
