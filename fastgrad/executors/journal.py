"""Every evaluation on disk as it arrives: the same call, run again, evaluates only what is missing."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..core.call import Call
from ..core.validation import Ints
from .executor import Around, Executor, Failures, Function, Gathering, Points, Receive, Values
from .fingerprint import differences, fingerprint

MAGIC = b"SQLite format 3\0"
OURS = 0x66677264  # "fgrd", where SQLite has a place for a number that tells whose file it is
FORMAT = 1
PATIENCE = 30.0  # seconds to wait for another process that writes into the same journal

_TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE evaluations (point BLOB, turn INTEGER, dtype TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (point, turn)) WITHOUT ROWID",
)


class Journaled(Around):
    """An executor whose evaluations are kept in a file, which this process alone writes.

    A point that a gradient evaluates twice, to see whether f repeats itself, is kept twice. An evaluation that failed
    is not kept: the same call, run again, tries it again.
    """

    def __init__(self, executor: Executor, path: str, call: Call, x: Sequence[object] = ()) -> None:
        super().__init__(executor)
        self._path = Path(path)
        self._file = _open(self._path, fingerprint(call, x))
        weakref.finalize(self, self._file.close)
        self._turns: Counter[bytes] = Counter()
        self.found = 0  # evaluations that were in the journal already

    def evaluate(
        self, function: Function, points: Points, receive: Receive | None = None, failures: Failures | None = None
    ) -> Values:
        keys = self._numbered(points.keys())
        known = self._known(keys)
        self.found += len(known)
        gathering = Gathering(len(keys), receive, failures)
        gathering.take(np.array(list(known), np.intp), np.array(list(known.values())))
        missing = np.array([number for number in range(len(keys)) if number not in known], np.intp)
        failed: Failures | None = None if failures is None else {}

        def received(numbers: Ints, arrived: Values | None) -> None:
            if arrived is not None:
                self._write([keys[number] for number in missing[numbers]], arrived)
                gathering.take(missing[numbers], arrived)
            elif failed is not None:
                for number in numbers.tolist():
                    gathering.fail(int(missing[number]), failed[number])

        if missing.size:
            self._executor.evaluate(function, points.take(missing), received, failed)
        return gathering.result()

    def _numbered(self, points: list[bytes]) -> list[tuple[bytes, int]]:
        keys = []
        for point in points:
            keys.append((point, self._turns[point]))
            self._turns[point] += 1
        return keys

    def _known(self, keys: list[tuple[bytes, int]]) -> dict[int, Values]:
        """Return what is in the file, by the numbers of the points."""
        found = {}
        with self._using():
            for number, key in enumerate(keys):
                row = self._file.execute(
                    "SELECT dtype, shape, value FROM evaluations WHERE point = ? AND turn = ?", key
                ).fetchone()
                if row is not None:
                    found[number] = np.frombuffer(row[2], row[0]).reshape(json.loads(row[1]))
        return found

    def _write(self, keys: list[tuple[bytes, int]], values: Values) -> None:
        dtype, shape = values.dtype.str, json.dumps(values.shape[1:])
        rows = [(*key, dtype, shape, value.tobytes()) for key, value in zip(keys, values, strict=True)]
        with self._using(), self._file:
            self._file.executemany("INSERT OR IGNORE INTO evaluations VALUES (?, ?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _unusable(self._path, error) from error


def _open(path: Path, function: dict[str, str]) -> sqlite3.Connection:
    """Open a journal of this function, or begin one.

    ValueError if the file is none, is damaged, or is of another function: it is left as it is.
    """
    _look_at(path)
    try:
        file = sqlite3.connect(path, timeout=PATIENCE, isolation_level="IMMEDIATE", check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error
    try:
        if not path.stat().st_size:
            _begin(file, function)
        _check(path, file, function)
        file.execute("PRAGMA journal_mode = WAL")
        # a killed process loses nothing by this; a power cut loses the last evaluations, never the file
        file.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        file.close()
        raise _unusable(path, error) from error
    except BaseException:
        file.close()
        raise
    return file


def _look_at(path: Path) -> None:
    """Refuse what is no journal, from its first bytes: SQLite itself would write to a file that it opens."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"`journal` {str(path)!r} is in no directory that exists") from None
        return
    except OSError as error:
        raise type(error)(f"`journal` {str(path)!r} cannot be used: {error.strerror}") from error
    if not head:
        return
    if not head.startswith(MAGIC):
        raise ValueError(
            f"`journal` {str(path)!r} is no journal of evaluations; it is left as it is: give another path"
        )
    if len(head) < 100:
        raise _damaged(path, "it ends within its first 100 bytes")
    if int.from_bytes(head[68:72], "big") != OURS:
        raise ValueError(
            f"`journal` {str(path)!r} is an SQLite file of something else; it is left as it is: give another path"
        )
    # what is not yet moved from the write-ahead log may be beyond the end
    log = path.with_name(path.name + "-wal")
    page = int.from_bytes(head[16:18], "big")
    wanted = (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    if size < wanted and not (log.exists() and log.stat().st_size):
        raise _damaged(path, f"it has {size} bytes of {wanted}")


def _begin(file: sqlite3.Connection, function: dict[str, str]) -> None:
    """Make the tables, all or nothing, unless another process has done so by now."""
    file.execute("BEGIN IMMEDIATE")
    if file.execute("PRAGMA application_id").fetchone() != (OURS,):
        file.execute(f"PRAGMA application_id = {OURS}")
        file.execute(f"PRAGMA user_version = {FORMAT}")
        for table in _TABLES:
            file.execute(table)
        file.execute("INSERT INTO about VALUES ('function', ?)", (json.dumps(function),))
    file.commit()


def _check(path: Path, file: sqlite3.Connection, function: dict[str, str]) -> None:
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise ValueError(f"`journal` {str(path)!r} is of format {version}; this version of fastgrad writes {FORMAT}")
    (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise _damaged(path, state)
    (text,) = file.execute("SELECT value FROM about WHERE name = 'function'").fetchone()
    before: dict[str, str] = json.loads(text)
    if before != function:
        raise ValueError(
            f"`journal` {str(path)!r} is of another function: {differences(before, function)}. It is left as it is: "
            "give each function a journal of its own (a list or cache that f writes to is data, too)"
        )


def _damaged(path: Path, how: str) -> ValueError:
    return ValueError(
        f"`journal` {str(path)!r} is damaged: {how}. It is left as it is: give another path, or restore it from a copy"
    )


def _unusable(path: Path, error: sqlite3.DatabaseError) -> Exception:
    if isinstance(error, sqlite3.OperationalError):  # locked, full, read-only
        return OSError(f"`journal` {str(path)!r} cannot be used: {error}")
    return _damaged(path, str(error))
