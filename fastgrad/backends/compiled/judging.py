"""The default rule as machine code, for an f that only Python can call.

numba compiles it once, into a file of its own; llvmlite alone loads that, in a tenth of the time that numba takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import CDLL, PYFUNCTYPE, addressof, c_int, c_int64, c_void_p, cast
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from ...core.errors import CannotRun
from ...schemes import constants
from ...schemes.stencils import Stencil, backward, central, forward
from ..table import load
from .workspace import aligned, record, workspace

DIGEST = 32  # bytes
# It is called in numba's own convention: where the result and what is raised go, then the arguments. Without
# their types ctypes converts nothing, in half the time.
_KERNEL = PYFUNCTYPE(c_int)
_SOURCES = ("cache", "default", "kernels", "native", "workspace"), ("constants", "line", "looks", "stencils", "steps")

_STENCILS = {0: central(2), 1: forward(1), -1: backward(1)}

Kernel = Callable[..., int]


class Area:
    """What `default.judge` works in, for one x at a time.

    Attributes
    ----------
    x, vector, steps, result : ndarray of shape (n,)
        The point, the line's direction, the steps of the sweep, and the gradient.
    seen : ndarray of shape (7,)
        f at x, and on the line.
    values : ndarray of shape (k n,)
        f in the sweep, k values for each entry.
    """

    def __init__(self, kernel: Kernel, stencil: Stencil, n: int) -> None:
        numbers = workspace(stencil, None, n, 0, 0)
        work = aligned(numbers.size + n + 7 + n)
        own, self.x, self.seen, self.result = np.split(work, np.cumsum([numbers.size, n, 7]))
        own[:] = numbers
        head = record(work)
        self.vector, self.steps = (work[at : at + n] for at in (head.vector_at, head.lengths_at))
        self.values = work[head.values_at :][: stencil.nodes.size * n]
        self._calm, self._raised = c_int64(), c_void_p()
        given = [c_void_p(place) for place in (addressof(self._calm), addressof(self._raised), work.ctypes.data)]
        self._steps = [partial(kernel, *given, c_int64(step)) for step in range(3)]

    def judge(self, step: int) -> bool:
        """Take the first, second or third step (0, 1, 2) of `default.judge`; whether f is calm so far."""
        return not self._steps[step]() and self._calm.value == 1


class Judge:
    """What decides on f's values at and around an x of n entries.

    Attributes
    ----------
    give_back : callable
        To be called with each area that was used.
    """

    def __init__(self, kernel: Kernel, stencil: Stencil, n: int) -> None:
        self._new = partial(Area, kernel, stencil, n)
        self._spare: list[Area] = []  # append and pop are atomic
        self.give_back = self._spare.append

    def area(self) -> Area:
        """Return what nobody else works in."""
        try:
            return self._spare.pop()
        except IndexError:
            return self._new()


_kernels: list[Kernel] = []  # one, when it is loaded


def judge(n: int, side: int, compiles: bool) -> Judge | None:
    """Return what decides at x of n entries; None where the kernel is not on the disk, and not to be compiled.

    By the differences of two points (`side` 0), or of one above (1) or below (-1) and x.

    Raises
    ------
    CannotRun
        Where numba does not compile, or what it compiled cannot be loaded.
    """
    if not _kernels:
        content = _kept()
        if content is None and compiles:
            symbol, code, foreign = load("judge's code")()
            content = b"\n".join((symbol.encode(), " ".join(foreign).encode(), code))
            _keep(content)
        if content is None:
            return None
        _kernels.append(_loaded(content))
    return Judge(_kernels[0], _STENCILS[side], n)


def _loaded(content: bytes) -> Kernel:
    symbol, foreign, code = content.split(b"\n", 2)
    with suppress(RuntimeError):
        llvm.initialize()  # newer ones do without, and say so
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in foreign.decode().split():
        if llvm.address_of_symbol(name) is None:  # where one is missing, LLVM ends the process
            try:
                llvm.add_symbol(name, cast(getattr(CDLL(None), name), c_void_p).value)
            except (OSError, TypeError, AttributeError) as error:
                raise CannotRun(f"the compiled rule needs {name}, which this process does not have") from error
    try:
        machine = llvm.Target.from_default_triple().create_target_machine()
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        address = engine.get_function_address(symbol.decode())
    except RuntimeError as error:
        raise CannotRun(f"the compiled rule cannot be loaded: {error}") from error
    kernel = _KERNEL(address)
    kernel.argtypes = None  # type: ignore[assignment]  # any, as they are
    kernel.engine = engine  # type: ignore[attr-defined]  # which owns the code
    return kernel


# ---- on the disk


def _folders() -> Iterator[Path]:
    """Yield where it may be kept: where numba keeps what it compiles."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        yield Path(given)
    yield Path(__file__).parent / "__pycache__"
    with suppress(RuntimeError):  # nobody's home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgrad"


@cache
def _name() -> str:
    """Name the file after all that goes into it."""
    here, schemes = (Path(str(module)).parent for module in (__file__, constants.__file__))
    sources = [folder / f"{name}.py" for folder, names in zip((here, schemes), _SOURCES, strict=True) for name in names]
    about = llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    content = repr(about).encode() + b"".join(path.read_bytes() for path in sources)
    return f"judge.{sha256(content).hexdigest()[:32]}.o"


def _kept() -> bytes | None:
    for folder in _folders():
        with suppress(OSError):
            content = (folder / _name()).read_bytes()
            if sha256(content[:-DIGEST]).digest() == content[-DIGEST:]:  # machine code with a flipped bit would run
                return content[:-DIGEST]
    return None


def _keep(content: bytes) -> None:
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            partial_file = folder / f"{_name()}.{os.getpid()}"
            partial_file.write_bytes(content + sha256(content).digest())
            partial_file.replace(folder / _name())
            return
