"""Processes by fork, for one gradient: f runs as it is, with all that it has captured, and nothing of it is pickled."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import gc
import mmap
import os
import resource
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import cache, partial
from math import inf
from multiprocessing.connection import Connection, Pipe, wait
from time import monotonic, perf_counter, sleep, thread_time
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..core.call import working
from ..core.errors import WorkerError
from ..core.validation import Array
from .executor import FLUSH_SECONDS, Executor, Function, Gathering, Points, attempt, chunks_of, evaluate_here
from .failures import Failure
from .forking import unsafe

# Forking workers costs 3 to 15 ms, and several times that on a busy machine: shorter sweeps run here, unless workers
# are there from an earlier one.
SHORT, BRIEF = 0.03, 0.002
PATIENCE = 0.5  # seconds that a worker has to clean up, before it is killed
REST = 1.0  # seconds that workers wait for another sweep: nothing of one whose objects live on lasts longer
LOOK = 0.25  # seconds between two looks whether all are alive

INTERRUPTED = 130  # what a shell calls the exit code of a program that Ctrl-C has ended

# what a worker is told besides its points, and what it answers
_RESTING, _WOKEN, _ENDING, _HERE = "rest", "wake", "end", "here"


class Processes(Executor):
    """Forked when they are first wanted, with a copy of everything that this process has.

    f and the points of that sweep are there already; values come back as plain numbers. Each worker gets its next
    points when it is done with those before. They wait for the sweeps that follow, of the same function, and end with
    this object, or as soon as anything fails.
    """

    way = "processes"
    stops = True

    def __init__(self, workers: int, reason: str, timeout: float = inf, apart: bool = False) -> None:
        super().__init__(reason)
        self.workers = workers
        self.timeout = timeout  # of one evaluation, in seconds
        self.apart = apart or timeout < inf  # no evaluation in this process, which it might end
        self._seconds: float | None = None  # of one evaluation, as far as is known
        self._crew: _Crew | None = None
        self._end: weakref.finalize[..., Processes] | None = None

    def may_perturb(self, thing: object) -> bool:
        """Whether a forked worker has one of its own: memory mapped from a file, or shared, is not copied."""
        owner: Any = thing
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        while isinstance(owner, memoryview):
            owner = owner.obj
        return not isinstance(owner, mmap.mmap)

    def gather(self, function: Function, points: Points, gathering: Gathering) -> None:
        if self._crew is not None and self._crew.function is not function:
            self.dismiss()
        try:
            begun = self._begin(function, points, gathering)
            if begun < gathering.count:
                if self._crew is None:
                    self._crew = _Crew(function, self.workers, self.timeout)
                    self._end = weakref.finalize(self, _ended, self._crew)
                self._seconds = self._crew.run(points, gathering, begun) / (gathering.count - begun)
                if gathering.end < gathering.count or not self._crew.rest():
                    self.dismiss()
        except BaseException:
            self.dismiss()
            raise

    def dismiss(self) -> None:
        """End the workers that wait for another sweep."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.stop()
        if self._end is not None:
            self._end.detach()

    def _begin(self, function: Function, points: Points, gathering: Gathering) -> int:
        """Evaluate here what is not worth a fork, or not safe; return where the rest begins."""
        count, known, short = len(points), self._seconds, SHORT if self._crew is None else BRIEF
        long = count > 1 and (known is None or known * count > 1.5 * short)
        if (self.apart or long) and self._may_share():
            return 0
        watch, done, looking = _Stopwatch(), 0, not long
        while not gathering.complete:
            done = evaluate_here(function, points, done, gathering)
            self._seconds = watch.seconds() / done
            # the first evaluations are slower than the rest: the estimate improves as they go on
            if looking and self._seconds * (count - done) > short:
                if self._may_share():
                    break
                looking = False
        return done

    def _may_share(self) -> bool:
        """Whether workers are there, or may be forked: look again, f itself may have started threads by now."""
        if self._crew is not None and self._crew.wake():
            return True
        self.dismiss()
        danger = unsafe()
        self.reason = danger or self.reason
        if danger and self.timeout < inf:
            raise ValueError(f"`timeout` cannot be kept any more: {danger}")
        return not danger


class _Stopwatch:
    """What f takes: of the processor where it never waits, whoever else uses that meanwhile; else by the clock."""

    def __init__(self) -> None:
        self._clock, self._used, self._waits = perf_counter(), thread_time(), self._waited()

    def seconds(self) -> float:
        clock, used = perf_counter() - self._clock, thread_time() - self._used
        return used if self._waited() == self._waits else clock

    def _waited(self) -> int:
        return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw


class _Worker:
    """A forked child, as its parent sees it."""

    def __init__(self, pid: int, place: int, channel: Connection) -> None:
        self.pid = pid
        self.place = place
        self.channel = channel
        self.knows = True  # the points of this sweep, in which it was forked
        self.next = self.stop = 0  # its points: the next that will arrive, and the end
        self.status: int | None = None
        self.stopped_at: int | None = None  # the point at which it was late

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

    def tell(self, message: object) -> bool:
        """Send the worker something; whether it was there to take it."""
        try:
            self.channel.send(message)
        except OSError:
            return False
        return True

    def answers(self) -> bool:
        try:
            return bool(self.channel.recv() == _HERE)
        except (EOFError, OSError):
            return False


def _heard(workers: list[_Worker], seconds: float) -> list[_Worker]:
    """Wait for so long until some of the workers have sent something, or are no more; return these."""
    channels = wait([worker.channel for worker in workers], seconds)
    return [worker for worker in workers if worker.channel in channels]


class _Crew:
    """Workers that evaluate a function."""

    _points: Points
    _gathering: Gathering
    _start: int  # of the points that no worker was given yet
    _count: int  # how many share the points of this sweep

    def __init__(self, function: Function, workers: int, timeout: float) -> None:
        self.function = function
        self._most = workers
        self._timeout = timeout
        self._parent = os.getpid()
        self._forked = 0
        self._whole = True
        self._workers: list[_Worker] = []
        self._returned: list[tuple[int, int]] = []  # points that a worker was given and did not evaluate
        # which point each is at, since when, and for how many seconds it was busy, in memory that all share: a worker
        # that dies cannot say it any more
        shared = mmap.mmap(-1, 24 * workers)
        self._at = np.frombuffer(shared, np.int64, workers)
        self._since, self._busy = np.frombuffer(shared, np.float64, 2 * workers, 8 * workers).reshape(2, workers)

    def rest(self) -> bool:
        """Let all wait for another sweep; False where one is no more, or busy with what is not needed."""
        idle = self._whole and all(worker.next == worker.stop for worker in self._workers)
        return idle and all(worker.tell(_RESTING) for worker in self._workers)

    def wake(self) -> bool:
        """Have all answer: only then do they wait for as long as the sweep lasts."""
        return all([worker.tell(_WOKEN) for worker in self._workers]) and all(w.answers() for w in self._workers)

    def _fork(self, place: int) -> None:
        """Fork a worker, and give it its first points: it begins while the next is forked."""
        ours, theirs = Pipe()
        _libc()  # or each child would load it
        _flush()  # or each child would print it again
        # Ctrl-C between the fork and the child's first line would let the child go on as if it were its parent
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # from Python 3.12 on any fork of a process with threads warns; they have been looked at
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                mine = slice(place, place + 1)
                state = self._at[mine], self._since[mine], self._busy[mine]
                _stir(place)
                serve = partial(_serve, theirs, self.function, self._points, *state)
                _live(self._parent, before, serve)
            with contextlib.suppress(OSError):  # the child does so, too: whichever comes first
                os.setpgid(pid, pid)
            worker = _Worker(pid, place, ours)
            self._workers.append(worker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._give(worker)

    def run(self, points: Points, gathering: Gathering, start: int) -> float:
        """Hand out the points from one on, until all that are needed have arrived; return all workers' seconds."""
        self._points, self._gathering, self._start = points, gathering, start
        self._count = min(self._most, gathering.count - start)
        self._at[:], self._since[:], self._busy[:] = -1, inf, 0.0
        looked = monotonic()
        for worker in self._workers:
            worker.knows = False
            self._give(worker)
        while not self._gathering.complete:
            if forking := self._forked < self._count and self._start < self._gathering.end:
                self._fork(self._forked)
                self._forked += 1
            for worker in _heard(self._workers, 0.0 if forking else self._wait()):
                if not self._receive(worker):
                    self._lost(worker)
                elif worker.next == worker.stop:
                    self._give(worker)
            if self._timeout < inf:
                self._stop_who_is_late()
            if monotonic() - looked > LOOK:
                looked = monotonic()
                for worker in self._workers:
                    worker.ended()  # what f has started in one that is no more, and may hold its channel, ends, too
        del self._points, self._gathering  # which hold who asked
        return float(self._busy.sum())

    def _give(self, worker: _Worker) -> None:
        """Give a worker its next points, if there are any."""
        worker.next, worker.stop = start, stop = self._next_part()
        if start < stop:
            part = None if worker.knows else self._points.take(slice(start, stop))
            worker.tell((start, stop, part, self._gathering.tolerant))  # where it is no more its end will be noticed

    def _next_part(self) -> tuple[int, int]:
        end = self._gathering.end
        while self._returned:
            start, stop = self._returned.pop()
            if start < min(stop, end):
                middle = min(start + -(-(stop - start) // self._count), end)
                self._returned.append((middle, stop))
                return start, middle
        start = min(self._start, end)
        self._start = min(start + chunks_of(start, self._gathering.count, self._count), end)
        return start, self._start

    def _receive(self, worker: _Worker) -> bool:
        """Take what a worker has sent; whether it is still there."""
        try:
            first, values, failures = worker.channel.recv()
        except (EOFError, OSError):
            return False
        ended = failures and not self._gathering.tolerant
        worker.next = worker.stop if ended else first + len(values) + len(failures)
        self._gathering.put(first, values, failures)
        return True

    # ---- workers that are late, and those that are no more

    def _wait(self) -> float:
        """Return for how many seconds nothing needs to be done, unless something arrives."""
        if self._timeout == inf:
            return LOOK
        now = perf_counter() - self._timeout
        return max(1e-3, min([LOOK, *(float(self._since[worker.place]) - now for worker in self._workers)]))

    def _stop_who_is_late(self) -> None:
        """Kill workers, and programs that f has started in them: interrupted, f might return something of no worth."""
        now = perf_counter()  # read first: who is held up after this takes no worker for late that is not
        for worker in self._workers:
            number, since = int(self._at[worker.place]), float(self._since[worker.place])
            if now - since > self._timeout and worker.next <= number < worker.stop:
                worker.stopped_at = number
                worker.signal(signal.SIGKILL)

    def _lost(self, worker: _Worker) -> None:
        """Say what became of a worker that is no more; where that is put up with, another takes its place."""
        self._whole = False
        deadline = monotonic() + PATIENCE
        while not worker.ended():
            if monotonic() > deadline:  # it has closed its channel, but lives
                worker.signal(signal.SIGKILL)
            sleep(1e-3)
        self._workers.remove(worker)
        worker.channel.close()
        gathering, number = self._gathering, int(self._at[worker.place])
        if worker.next == worker.stop or worker.next >= gathering.end:
            return  # what it had, if anything, is not needed
        if worker.stopped_at is None:
            gathering.fail(number, Failure(self._how_it_was_lost(worker, number)))
        elif worker.stopped_at == number:
            text = f"`f` took longer than `timeout` = {self._timeout:g} s at {self._which(number)}: it was stopped"
            gathering.fail(number, Failure(TimeoutError(text)))
        else:  # it was at the next point by then
            number = worker.next
            self._returned.append((number, number + 1))
        self._returned += [(number + 1, worker.stop), (worker.next, number)]
        if gathering.complete:
            return
        self._at[worker.place], self._since[worker.place] = -1, inf
        self._fork(worker.place)
        for other in self._workers:
            if other.next == other.stop:
                self._give(other)

    def _how_it_was_lost(self, worker: _Worker, number: int) -> WorkerError:
        """Return what a point is said to have done to its worker, where that is put up with; else raise."""
        code = os.waitstatus_to_exitcode(worker.status or 0)
        if code in (-signal.SIGINT, INTERRUPTED):
            raise KeyboardInterrupt
        ended = f"worker process {worker.pid} {_how_it_ended(code)} while it evaluated `f` at {self._which(number)}"
        if self._gathering.tolerant and worker.next <= number < worker.stop:
            return WorkerError(ended)
        arrived = self._gathering.count - self._gathering.missing(0, self._gathering.count).size
        raise WorkerError(
            f"{ended}; {arrived} points had arrived. Use fewer `workers` if memory is short; with a `journal` what has "
            "arrived is kept"
        )

    def _which(self, number: int) -> str:
        if number < 0:
            return "no point yet"
        return f"point {number} of {self._gathering.count}, {self._points.describe(number)}"

    def stop(self) -> None:
        """End all workers: by a message those that wait for one, by Ctrl-C those that are busy, and then by force."""
        if os.getpid() != self._parent or not self._workers:
            return
        try:
            for worker in self._workers:
                if worker.next == worker.stop:
                    worker.tell(_ENDING)
                else:
                    worker.signal(signal.SIGINT)
            deadline = monotonic() + PATIENCE
            pause, there = 1e-4, self._workers.copy()
            while sum(not worker.ended() for worker in self._workers) and monotonic() < deadline:
                # not by a sleep: a worker that ends closes its channel
                for worker in _heard(there, pause):
                    try:
                        gone = not os.read(worker.channel.fileno(), 1 << 16)  # a Ctrl-C may have come within a message
                    except OSError:
                        gone = True
                    if gone:
                        there.remove(worker)
                pause = min(2.0 * pause, 0.05)
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
                while not worker.ended():
                    sleep(1e-4)
                worker.channel.close()
            self._workers = []


def _ended(crew: _Crew) -> None:
    """End the workers of who is no more; what is raised here goes nowhere, so a Ctrl-C that comes now comes again."""
    try:
        crew.stop()
    except KeyboardInterrupt:
        threading.Thread(target=_interrupt_outside, args=(threading.get_ident(),)).start()


def _interrupt_outside(thread: int) -> None:
    """Interrupt the main thread as soon as it has left who ended the workers, however long it is held up there."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code is weakref.finalize.__call__.__code__:
            sleep(1e-3)
            frame = sys._current_frames().get(thread)
        else:
            frame = frame.f_back
    _thread.interrupt_main()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = " (the system may be out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


# --- in the child ---------------------------------------------------------------------------------------------------


def _live(parent: int, mask: set[signal.Signals | int], serve: Callable[[], None]) -> NoReturn:
    code = 0
    try:
        gc.freeze()  # what the parent has is not to be finalised here
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _end_with(parent)
        working.set(True)
        serve()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001 - the parent sees the channel closed
        code = 1
    finally:
        _flush()
        os._exit(code)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _stir(place: int) -> None:
    """Let the generators that all share draw other numbers here than in other workers: noise would seem small."""
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            generator: Any = sys.modules[name]
            generator.seed(int(generator.random() * 2**31) + place)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent is no more, whatever ended it (Linux)."""
    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        _libc().prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _serve(
    channel: Connection,
    function: Function,
    points: Points,
    at: NDArray[np.int64],
    since: NDArray[np.float64],
    busy: NDArray[np.float64],
) -> None:
    number = 0
    os.register_at_fork(after_in_child=channel.close)  # or the parent would not see the end of this worker

    def noted(point: Array) -> Any:
        nonlocal number
        # in this order: who reads a new number must not read the time of the old one
        since[0] = perf_counter()
        at[0] = number
        number += 1
        return function(point)

    resting = False
    while not resting or channel.poll(REST):
        try:
            task = channel.recv()
        except EOFError:
            return
        if task == _ENDING:
            return
        if task in (_RESTING, _WOKEN):
            resting = task == _RESTING
            if not resting:
                channel.send(_HERE)
            continue
        number, stop, part, tolerant = task
        given = points.take(slice(number, stop)) if part is None else part
        start = number
        while number < stop:
            first, watch = number, _Stopwatch()
            values, failures, _ = attempt(noted, given, first - start, tolerant, FLUSH_SECONDS)
            since[0] = inf
            busy[0] += watch.seconds()
            errors = [failure.exception() for failure in failures.values()]
            for error in errors:
                if isinstance(error, KeyboardInterrupt):
                    raise error
            channel.send((first, values, failures))
            if not all(tolerant and isinstance(error, Exception) for error in errors):
                break
