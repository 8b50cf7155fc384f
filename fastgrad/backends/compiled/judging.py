"""Rules as machine code, for an f that only Python can call: they judge its values.

numba compiles each once, into a file of its own; llvmlite alone loads that, in a tenth of the time that numba takes.
"""

from __future__ import annotations

import os
from collections import defaultdict
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
from ...core.validation import Floats
from ...schemes.calm import Settled
from ...schemes.line import Line
from ...schemes.smooth import LARGEST, Looked
from ...schemes.stencils import backward, central, forward
from ..table import load
from ..vectors import Vectors
from .workspace import HEADER, aligned, record, workspace

DIGEST = 32  # bytes
# It is called in numba's own convention: where the result and what is raised go, then the arguments. Without
# their types ctypes converts nothing, in half the time.
_KERNEL = PYFUNCTYPE(c_int)
_SOURCES = {
    "backends/compiled": (
        "cache", "columns", "default", "entries", "jacobians", "kernels", "native", "outputs", "workspace",
    ),
    "lifting": ("native",),
    "schemes": ("constants", "line", "looks", "outputs", "stencils", "steps"),
}  # fmt: skip

# where the record of a workspace says what is known of f
_KNOWN = [
    list(HEADER.names or ()).index(name)
    for name in ("unit", "sigma", "third", "bend", "size", "variation", "slope", "doubt", "step", "enough")
]
_STENCILS = {0: central(2), 1: forward(1), -1: backward(1)}

Kernel = Callable[..., int]
DONE, DOUBTFUL = 0, -2  # as in `columns`


class Step:
    """One step of a kernel, which gets integers: calling it gives the integer that it returns."""

    def __init__(self, kernel: Kernel, *given: int) -> None:
        self._answer, self._raised = c_int64(), c_void_p()
        places = (c_void_p(addressof(place)) for place in (self._answer, self._raised))
        self._run = partial(kernel, *places, *map(c_int64, given))

    def __call__(self) -> int:
        return -1 if self._run() else self._answer.value


class Area:
    """What `default.judge` works in, for one x of n entries at a time.

    By the differences of two points (`side` 0), or of one above (1) or below (-1) and x.

    `x`, `vector`, `steps`, `result`, of shape (n,): the point, the line's direction, the steps of the sweep, and the
        gradient.
    `seen`, of shape (7,): f at x, and on the line.
    `values`, of shape (k n,): f in the sweep, k values for each entry.
    `calm`: the first, second and third step of the rule: 1 where f is calm so far.
    """

    def __init__(self, kernel: Kernel, n: int, side: int) -> None:
        stencil = _STENCILS[side]
        numbers = workspace(stencil, None, n, 0, 0)
        work = aligned(numbers.size + n + 7 + n)
        own, self.x, self.seen, self.result = np.split(work, np.cumsum([numbers.size, n, 7]))
        own[:] = numbers
        head = record(work)
        self.vector, self.steps = (work[at : at + n] for at in (head.vector_at, head.lengths_at))
        self.values = work[head.values_at :][: stencil.nodes.size * n]
        self._scale, self._work = work[head.scale_at :][:n], work
        self.calm = tuple(Step(kernel, work.ctypes.data, step) for step in range(3))

    def looked(self, line: list[float], swept: list[float]) -> Looked | None:
        """Return what is known of f where the third step is not calm; None where squares may leave the range of floats.

        `line`, `swept`: f's values on the line, and in the sweep.
        """
        unit, sigma, third, bend, size, variation, slope, doubt, step, enough = self._work[_KNOWN].tolist()
        value, scale, vector = float(self.seen[0]), self._scale.tolist(), self.vector.tolist()
        spread = max(*line, value) - value, value - min(*line, value)
        if not (max(*spread, unit, *scale) < LARGEST and min(unit, *scale) * LARGEST > 1.0):
            return None
        known = Line.of_one_look((sigma, third, bend, size, variation, slope, doubt), max(spread) / unit, vector)
        known.rescale(unit)
        return Looked(scale, vector, known, [value, *line, *swept], step, enough)


class Gradients:
    """What decides on one value of f at and around x."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        # areas that nobody works in, by the number of entries and the side; append and pop are atomic
        self.spare: dict[tuple[int, int], list[Area]] = defaultdict(list)

    def area(self, n: int, side: int) -> Area:
        """Return what nobody else works in."""
        try:
            return self.spare[n, side].pop()
        except IndexError:
            return Area(self._kernel, n, side)


class Room:
    """What `columns.judge` works in, for one x of n entries and m values at a time.

    `whole`: all of it; zeros at first.
    `x`, `f0`, `result`, of shape (n,), (m,) and (n, m): the point, f there, and the Jacobian, column by column.
    `doubtful`, of shape (n, m): 1 for entries of which no digit is certain, where `step` says that there are some.
    `points`, `values`: where f is wanted, and f there: as many rows as `step` says, unless that is negative.
    """

    def __init__(self, kernel: Kernel, n: int, m: int) -> None:
        self.shape, most = (n, m), max(6, 2 * n)
        self.whole = np.zeros(max(Step(kernel, 0, n, m)(), 0))
        flat = np.split(self.whole, np.cumsum([n, m, n * m, n * m, most * n, most * m]))
        self.x, self.f0 = flat[:2]
        self.step = Step(kernel, self.whole.ctypes.data, n, m)
        if self.whole.size:
            shapes = (n, m), (n, m), (most, n), (most, m)
            self.result, self.doubtful, self.points, self.values = (
                each.reshape(shape) for each, shape in zip(flat[2:6], shapes, strict=True)
            )


class Columns:
    """What decides on many values of f at and around x."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._spare: list[Room] = []  # the last; append and pop are atomic

    def entries(self, run: Vectors, x: Floats, noted: list[tuple[Floats, Floats]]) -> Settled | None:
        """Return the Jacobian, column by column, and of which entries no digit is certain; None where it is not sure.

        Notes points, and f's values there.
        """
        f0 = run.value()
        try:
            room = self._spare.pop()
        except IndexError:
            room = None
        if room is None or room.shape != (x.size, f0.size):
            room = Room(self._kernel, x.size, f0.size)
        if not room.whole.size:
            return None
        room.whole.fill(0.0)
        room.x[:], room.f0[:] = x, f0
        while (count := room.step()) > 0:
            asked = room.points[:count].copy()
            room.values[:count] = found = run.explore(asked)
            noted.append((asked, found))
        result: Settled | None = None
        if count in (DONE, DOUBTFUL):
            result = room.result.copy(), room.doubtful == 1.0 if count == DOUBTFUL else None
        self._spare.append(room)
        return result


# the class of each rule, its module, and how many integers it gets
_RULES: dict[str, tuple[Callable[[Kernel], Gradients | Columns], str, int]] = {
    "gradients": (Gradients, "default", 2),
    "columns": (Columns, "columns", 3),
}


def judge(name: str, compiles: bool) -> Gradients | Columns | None:
    """Return what decides; None where the kernel is not on the disk, and not to be compiled.

    CannotRun where numba does not compile, or what it compiled cannot be loaded.
    """
    kind, module, integers = _RULES[name]
    content = _kept(name)
    if content is None and compiles:
        symbol, code, foreign = load("object code")(module, integers)
        content = b"\n".join((symbol.encode(), " ".join(foreign).encode(), code))
        _keep(name, content)
    return None if content is None else kind(_loaded(content))


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
def _digest() -> str:
    """Digest all that goes into a file, to name it after."""
    package = Path(__file__).parents[2]
    sources = [package / folder / f"{name}.py" for folder, names in _SOURCES.items() for name in names]
    about = llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    content = repr(about).encode() + b"".join(path.read_bytes() for path in sources)
    return sha256(content).hexdigest()[:32]


def _file(name: str) -> str:
    return f"{name}.{_digest()}.o"


def _kept(name: str) -> bytes | None:
    for folder in _folders():
        with suppress(OSError):
            content = (folder / _file(name)).read_bytes()
            if sha256(content[:-DIGEST]).digest() == content[-DIGEST:]:  # machine code with a flipped bit would run
                return content[:-DIGEST]
    return None


def _keep(name: str, content: bytes) -> None:
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            partial_file = folder / f"{_file(name)}.{os.getpid()}"
            partial_file.write_bytes(content + sha256(content).digest())
            partial_file.replace(folder / _file(name))
            return
