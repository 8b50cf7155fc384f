"""Processes by fork, for one sweep: f runs as it is, with all that it has captured, and nothing of it is pickled."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import pickle
import selectors
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from time import monotonic, perf_counter, sleep
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..core.errors import WorkerError
from .executor import Function, Gathering, Points, Receive, Values, append_like, chunks_of, working
from .failures import Failure
from .forking import unsafe

# A forked worker and all that goes with it cost 3 to 15 ms: sweeps that are known to be shorter run here.
SHORT = 0.02
TRIAL = 0.005  # seconds in which to see whether a sweep is one
FLUSH_SECONDS = 0.01  # how long values may wait in a worker to be sent together
FLUSH_BYTES = 1 << 20
PATIENCE = 0.5  # seconds that a worker has to clean up, before it is killed
LOOK = 0.25  # seconds between two looks whether all are alive

INTERRUPTED = 130  # what a shell calls the exit code of a program that Ctrl-C has ended

_TASK = struct.Struct("<qq")  # the first point and the one after the last
_REPLY = struct.Struct("<cqqqq")  # kind, first point, how many, dimensions of each, bytes that follow: lengths, values
_DTYPES = {b"d": np.dtype(np.float64), b"D": np.dtype(np.complex128)}
_FAILED = b"F"


class Processes:
    """Forked for each sweep, with a copy of everything that this process has.

    Points and f are there already; values come back as plain numbers. Each worker gets its next points when it is done
    with those before.
    """

    way = "processes"

    def __init__(self, workers: int, reason: str) -> None:
        self.workers = workers
        self.reason = reason
        self._seconds: float | None = None  # of one evaluation, as far as is known

    def may_perturb(self, thing: object) -> bool:
        """Whether a forked worker has one of its own: memory mapped from a file, or shared, is not copied."""
        owner: Any = thing
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        while isinstance(owner, memoryview):
            owner = owner.obj
        return not isinstance(owner, mmap.mmap)

    def evaluate(self, function: Function, points: Points, receive: Receive | None = None) -> Values:
        gathering = Gathering(len(points), receive)
        begun = self._begin(function, points, gathering)
        if begun < gathering.count:
            with _Crew(function, points, min(self.workers, gathering.count - begun)) as crew:
                crew.run(gathering, begun)
            self._seconds = crew.busy / (gathering.count - begun)
        return gathering.result()

    def _begin(self, function: Function, points: Points, gathering: Gathering) -> int:
        """Evaluate here what is not worth a fork, or not safe; return where the rest begins."""
        count, known = len(points), self._seconds
        danger = "" if count < 2 else unsafe()  # f itself may have started threads since the last sweep
        self.reason = danger or self.reason
        if not danger and count > 1 and (known is None or known > TRIAL or known * count > 10.0 * SHORT):
            return 0
        values: list[Any] = []
        began = perf_counter()
        try:
            while len(values) < count:
                append_like(values, function(points[len(values)]))
                here = perf_counter() - began
                self._seconds = here / len(values)
                # the first evaluations are slower than the rest: the estimate improves as they go on
                if here > TRIAL and not danger and self._seconds * (count - len(values)) > SHORT:
                    break
        finally:
            gathering.put(0, np.array(values))
        return len(values)


class _Worker:
    """A forked child, as its parent sees it."""

    def __init__(self, pid: int, place: int, channel: socket.socket) -> None:
        self.pid = pid
        self.place = place
        self.channel = channel
        self.start = self.next = self.stop = 0  # its points: the first, the next that will arrive, and the end
        self.began = 0.0
        self.received = bytearray()
        self.status: int | None = None

    def ended(self) -> bool:
        """Whether the process is no more; if so, what f has left running in it ends, too."""
        if self.status is None:
            try:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return False
                self.signal(signal.SIGKILL)  # while its number cannot be another's yet
                self.status = os.waitpid(self.pid, 0)[1]
            except ChildProcessError:  # someone else has waited for it
                self.status = 0
        return True

    def signal(self, number: int) -> None:
        """Signal the worker and all programs that f has started in it."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def replies(self) -> Iterator[tuple[bytes, int, int, int, bytes]]:
        """Take the whole messages from what was received."""
        while len(self.received) >= _REPLY.size:
            kind, first, count, ndim, size = _REPLY.unpack_from(self.received)
            if len(self.received) < _REPLY.size + size:
                return
            body = bytes(self.received[_REPLY.size : _REPLY.size + size])
            del self.received[: _REPLY.size + size]
            yield kind, first, count, ndim, body


class _Crew:
    """The workers of one sweep: none of them outlives it."""

    def __init__(self, function: Function, points: Points, workers: int) -> None:
        self._function = function
        self._points = points
        self._count = workers
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        # which point each is at, in memory that all share: a worker that dies cannot say it any more
        self._at = np.frombuffer(mmap.mmap(-1, 8 * workers), np.int64)
        self.busy = 0.0  # seconds that workers were busy, all together

    def __enter__(self) -> _Crew:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()  # or each child would print it again
        try:
            for place in range(self._count):
                self._fork(place)
        except BaseException:
            self._stop(politely=False)
            raise
        return self

    def _fork(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        # Ctrl-C between the fork and the child's first line would let the child go on as if it were its parent
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # from Python 3.12 on any fork of a process with threads warns; they have been looked at
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                _live(theirs, parent, before, self._function, self._points, self._at[place : place + 1])
            with contextlib.suppress(OSError):  # the child does so, too: whichever comes first
                os.setpgid(pid, pid)
            worker = _Worker(pid, place, ours)
            self._workers.append(worker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def __exit__(self, kind: object, *error: object) -> None:
        self._stop(politely=True)

    def run(self, gathering: Gathering, start: int) -> None:
        """Hand out the points from one on, until all that are needed have arrived."""
        looked = monotonic()
        for worker in self._workers:
            start = self._give(worker, start, gathering)
        while not gathering.complete:
            for key, _ in self._selector.select(LOOK):
                worker = key.data
                if not self._receive(worker, gathering):
                    self._lost(worker, gathering)
                if worker.next == worker.stop:
                    start = self._give(worker, start, gathering)
            if monotonic() - looked > LOOK:
                looked = monotonic()
                for worker in self._workers:
                    # something that f has started may hold the channel of a worker that is no more
                    if worker.ended() and not self._drained(worker, gathering):
                        self._lost(worker, gathering)

    def _give(self, worker: _Worker, start: int, gathering: Gathering) -> int:
        """Give a worker its next points; return where the rest begins."""
        now = perf_counter()
        if worker.stop > worker.start:
            self.busy += now - worker.began
        worker.began = now
        stop = min(start + chunks_of(start, gathering.count, self._count), gathering.end)
        worker.start = worker.next = worker.stop = start
        if start < stop:
            worker.stop = stop
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end will be noticed
                worker.channel.sendall(_TASK.pack(start, stop))
            return stop
        return start

    def _receive(self, worker: _Worker, gathering: Gathering) -> bool:
        """Take what a worker has sent; whether it is still there."""
        try:
            data = worker.channel.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        worker.received += data
        for kind, first, count, ndim, body in worker.replies():
            if kind == _FAILED:
                failure: Failure = pickle.loads(body)
                gathering.put(first, np.empty(0), failure)
                worker.next = worker.stop
            else:
                shape = np.frombuffer(body, np.int64, ndim)
                values = np.frombuffer(body, _DTYPES[kind], offset=shape.nbytes)
                worker.next = first + count
                gathering.put(first, values.reshape(count, *shape))
        return bool(data)

    def _drained(self, worker: _Worker, gathering: Gathering) -> bool:
        """Whether all points of a worker that has ended are here, once the rest of what it sent is read."""
        worker.channel.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._receive(worker, gathering):
                pass
        return worker.next == worker.stop

    def _lost(self, worker: _Worker, gathering: Gathering) -> None:
        self._selector.unregister(worker.channel)
        deadline = monotonic() + PATIENCE
        while not worker.ended():
            if monotonic() > deadline:  # it has closed its channel, but lives
                worker.signal(signal.SIGKILL)
            sleep(1e-3)
        if worker.next == worker.stop or worker.next >= gathering.end:
            worker.next = worker.stop = gathering.count + 1  # it gets no more, and what it had is not needed
            worker.stop += 1
            return
        code = os.waitstatus_to_exitcode(worker.status or 0)
        if code in (-signal.SIGINT, INTERRUPTED):
            raise KeyboardInterrupt
        number, arrived = int(self._at[worker.place]), gathering.count - gathering.missing(0, gathering.count).size
        raise WorkerError(
            f"worker process {worker.pid} {_how_it_ended(code)} while it evaluated `f` at point {number} of "
            f"{gathering.count}, {self._points.describe(number)}; {arrived} points had arrived. Use fewer `workers` if "
            "memory is short; with a `journal` what has arrived is kept"
        )

    def _stop(self, politely: bool) -> None:
        """End all workers: by a message those that wait for one, by Ctrl-C those that are busy, and then by force."""
        try:
            for worker in self._workers:
                if worker.next == worker.stop:
                    with contextlib.suppress(OSError):
                        worker.channel.sendall(_TASK.pack(0, 0))
                else:
                    worker.signal(signal.SIGINT if politely else signal.SIGKILL)
            deadline = monotonic() + PATIENCE
            pause = 1e-4
            while sum(not worker.ended() for worker in self._workers) and monotonic() < deadline:
                # not by a sleep: a worker that ends closes its channel
                self._wait_for_ends(pause)
                pause = min(2.0 * pause, 0.05)
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
                while not worker.ended():
                    sleep(1e-4)
                worker.channel.close()
            self._selector.close()

    def _wait_for_ends(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            worker = key.data
            try:
                gone = not worker.channel.recv(1 << 16)
            except OSError:
                gone = True
            if gone:
                self._selector.unregister(worker.channel)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = " (the system may be out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


# --- in the child ---------------------------------------------------------------------------------------------------


def _live(
    channel: socket.socket,
    parent: int,
    mask: set[signal.Signals | int],
    function: Function,
    points: Points,
    at: NDArray[np.int64],
) -> NoReturn:
    code = 0
    try:
        gc.freeze()  # what the parent has is not to be finalised here
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _end_with(parent)
        working.set(True)
        _serve(channel, function, points, at)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001 - the parent sees the channel closed
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(code)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent is no more, whatever ended it (Linux)."""
    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        _libc().prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _serve(channel: socket.socket, function: Function, points: Points, at: NDArray[np.int64]) -> None:
    while True:
        task = channel.recv(_TASK.size, socket.MSG_WAITALL)
        if len(task) < _TASK.size:
            return
        start, stop = _TASK.unpack(task)
        if start == stop:
            return
        values: list[Any] = []
        number, size, flushed = start, 0, perf_counter()
        try:
            while number < stop:
                at[0] = number
                append_like(values, function(points[number]))
                number += 1
                size += getattr(values[-1], "nbytes", 8)
                now = perf_counter()
                if now - flushed > FLUSH_SECONDS or size > FLUSH_BYTES:
                    _send(channel, number, values)
                    values, size, flushed = [], 0, now
            _send(channel, number, values)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            _send(channel, number, values)
            body = pickle.dumps(Failure(error))
            channel.sendall(_REPLY.pack(_FAILED, number, 0, 0, len(body)) + body)


def _send(channel: socket.socket, end: int, values: list[Any]) -> None:
    if not values:
        return
    array = np.array(values)
    kind = b"D" if array.dtype.kind == "c" else b"d"
    body = np.array(array.shape[1:], np.int64).tobytes() + array.astype(_DTYPES[kind]).tobytes()
    channel.sendall(_REPLY.pack(kind, end - len(values), len(values), array.ndim - 1, len(body)) + body)
