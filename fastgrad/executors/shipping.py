"""f on its way to workers that are not forked: once for all its points, and by cloudpickle where there is that."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter

import numpy as np

from ..core.errors import describe
from .executor import Failures, Function, Gathering, Points, Values, evaluate_some
from .failures import Failure

# In a worker: the functions that came last. A gradient's function has a key of its own, so that what a worker holds
# is always what the gradient was given.
_MOST = 4
_unpacked: OrderedDict[bytes, Function] = OrderedDict()


Part = tuple[int, Points, bool]  # the number of the first point, the points, and whether failures are put up with


@dataclass(frozen=True)
class Reply:
    """What came of a part of the points."""

    first: int  # the number of the first
    values: Values  # those that f returned
    failures: Failures  # what it raised, by the places among these points
    seconds: float  # what it took
    broken: Failure | None = None  # why f could not be unpacked

    def into(self, gathering: Gathering) -> None:
        if self.broken is not None:
            raise self.broken.exception()
        gathering.put(self.first, self.values, self.failures)


class Task:
    """f at some of its points: called in a worker, and pickled only where that is another process.

    Pickled, it is bytes of f until it is first called, where an exception has somewhere to go.
    """

    def __init__(self, function: Function | None, key: bytes = b"", data: bytes = b"") -> None:
        self._function, self._key, self._data = function, key, data

    def __call__(self, part: Part) -> Reply:
        first, points, tolerant = part
        try:
            function = self._unpacked() if self._function is None else self._function
        except BaseException as error:  # noqa: BLE001 - whoever asked raises it
            return Reply(first, np.empty(0), {}, 0.0, Failure(error))
        began = perf_counter()
        values, failures = evaluate_some(function, points, tolerant)
        return Reply(first, values, failures, perf_counter() - began)

    def _unpacked(self) -> Function:
        found = _unpacked.get(self._key)
        if found is None:
            found = _unpacked[self._key] = pickle.loads(self._data)
            while len(_unpacked) > _MOST:
                _unpacked.popitem(last=False)
        return found

    def packed(self) -> bytes:
        """Return f as bytes."""
        if self._function is not None and not self._data:
            self._key, self._data = os.urandom(16), _pack(self._function)
        return self._data

    def __reduce__(self) -> tuple[type[Task], tuple[None, bytes, bytes]]:
        data = self.packed()
        return Task, (None, self._key, data)


def _pack(function: Function) -> bytes:
    """Pickle a function: by value where it cannot be imported, or comes from the main module, as cloudpickle does."""
    try:
        packer = import_module("cloudpickle")
        remedy = "make what it has captured picklable"
    except ImportError:
        packer, remedy = pickle, "pip install 'fastgrad[parallel]', which brings cloudpickle"
    try:
        return bytes(packer.dumps(function))
    except Exception as error:
        raise TypeError(
            f"`f` cannot be sent to the workers: {describe(error)}; {remedy}, or give `workers` as a number: processes "
            "of this machine get f as it is"
        ) from error
