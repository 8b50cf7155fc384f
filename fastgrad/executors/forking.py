"""Whether this process may be forked: what would break the child, in words."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import sleep
from types import FrameType

from ..inspecting.captures import reached

# Where a thread that holds no lock of f's waits: a pool's, a notebook's, a progress bar's.
WAITS = {
    "concurrent.futures.thread": ("_worker",),
    "fastgrad.executors.threads": ("_work",),
    "ipykernel.heartbeat": ("run",),
    "ipykernel.iostream": ("_watch_pipe_fd",),
    "ipykernel.parentpoller": ("run",),
    "multiprocessing.connection": ("_recv", "wait"),
    "multiprocessing.pool": ("_handle_tasks",),
    "queue": ("get",),
    "selectors": ("select",),
    "socket": ("accept", "readinto"),
    "threading": ("_wait_for_tstate_lock", "join", "wait"),
    "zmq.sugar": ("device",),
    "zmq.sugar.poll": ("poll",),
}
# A library's threads spin for up to 0.1 s before they wait, and only then does the system say where.
LOOKS, PAUSE = 60, 0.005


# What does its work by threads of this process, by the modules of the classes: a forked child has none of them.
THREADED = {
    "_queue", "concurrent.futures.process", "concurrent.futures.thread", "distributed.client", "loky.process_executor",
    "loky.reusable_executor", "multiprocessing.pool", "queue", "threading",
}  # fmt: skip
HARMLESS = ("Condition", "Event", "Semaphore", "_RLock", "local")


def uses_threads(f: object) -> str:
    """Say what f holds that a forked child would wait for in vain; empty if nothing is seen."""
    found = reached(f, lambda thing: type(thing).__module__ in THREADED and type(thing).__name__ not in HARMLESS)
    if found is None:
        return ""
    return f"f holds a {type(found).__name__}, which works by threads that a forked child has not"


def unsafe() -> str:
    """Say why a forked child could hang or crash; empty if nothing is known that would make it."""
    if not hasattr(os, "fork"):
        return "this system has no fork"
    if sys.platform == "darwin":
        return "macOS' own libraries do not survive a fork"
    return next(filter(None, (probe() for probe in _PROBES)), "")


def _numba() -> str:
    layer = sys.modules.get("numba.np.ufunc.parallel")
    # its own check ends a forked child that enters a parallel loop; numba's other layers start anew in the child
    if layer is not None and getattr(layer, "_is_initialized", False) and layer._threading_layer == "omp":
        return "numba's OpenMP threads are running, which would end a forked child"
    return ""


def _frameworks() -> str:
    torch = sys.modules.get("torch.cuda")
    if torch is not None and getattr(torch, "_initialized", False):
        return "torch uses a GPU, which a forked child cannot"
    backends = getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None)
    if backends or "tensorflow" in sys.modules:
        return f"{'jax' if backends else 'tensorflow'} runs threads of its own, which a forked child would wait for"
    return ""


def _python_threads() -> str:
    here = threading.get_ident()
    frames = sys._current_frames()
    frames.pop(here, None)  # this function's, which would hold itself, and with it whoever asked and waits for its end
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None and not _waits(frame):
            return f"the thread {thread.name!r} is running, and may hold a lock that a forked child would wait for"
    return ""


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_name in WAITS.get(frame.f_globals.get("__name__", ""), ())


def _openmp() -> str:
    """GNU's OpenMP does not start its threads anew in a child (OpenBLAS with threads of its own does)."""
    try:
        alone = not _where_threads_wait()
    except OSError:
        alone = False
    # to list what is mapped takes the system a millisecond or two where numba has compiled much
    if not alone and (spans := _mapped("libgomp")) and _any_thread_in(spans):
        return "threads of GNU OpenMP are running, which a forked child would wait for"
    return ""


def _mapped(name: str) -> list[tuple[int, int]]:
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    spans = [line.partition(" ")[0].split("-") for line in lines if name in line]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


def _any_thread_in(spans: list[tuple[int, int]]) -> bool:
    """Whether a thread waits in this code, as its pool's threads do between two loops, or may be spinning there."""
    for _ in range(LOOKS):
        try:
            places = _where_threads_wait()
        except PermissionError:  # the system does not say
            return True
        if any(low <= place < high for low, high in spans for place in places.values()):
            return True
        _of_others.update(thread for thread, place in places.items() if place)
        if places.keys() <= _of_others:
            return False
        sleep(PAUSE)
    return True


def _where_threads_wait() -> dict[str, int]:
    """Return the addresses at which threads that are not Python's wait; 0 for one that runs."""
    known = {str(thread.native_id) for thread in threading.enumerate()}
    places = {}
    for task in Path("/proc/self/task").iterdir():
        if task.name not in known:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended by now
                last = (task / "syscall").read_text().split()[-1]
                places[task.name] = 0 if last == "running" else int(last, 16)
    return places


# threads that were seen to wait elsewhere: they belong to BLAS or another library, and may spin now
_of_others: set[str] = set()

_PROBES: tuple[Callable[[], str], ...] = (_numba, _frameworks, _openmp, _python_threads)
