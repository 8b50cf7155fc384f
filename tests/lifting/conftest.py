"""Fences around the memory that owner lanes write to: whoever writes beyond it is found out, not its neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgrad.backends.compiled import owners

WIRE = -0x0123456789ABCDF


@pytest.fixture
def fenced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fences twice as large as a row of what is within: two owners joined are less than twice an owner."""
    plain = owners.Owner._work
    wires: list[NDArray[np.int64]] = []
    seen: set[int] = set()

    def within(array: NDArray[np.generic]) -> NDArray[np.generic]:
        words, bytes_ = 2 * array.shape[-1] + 64, array.nbytes
        whole = np.empty(2 * words + -(-bytes_ // 8), np.int64)
        wires.extend((whole[:words], whole[len(whole) - words :]))
        for wire in wires[-2:]:
            wire[:] = WIRE
        return whole[words : len(whole) - words].view(np.uint8)[:bytes_].view(array.dtype).reshape(array.shape)

    def work(self: owners.Owner) -> owners.Work:
        given = plain(self)
        if id(given) in seen:  # it comes back
            return given
        header, buffers, lost = within(given.header), within(given.buffers), within(given.lost)
        records, sources = within(given.records), within(given.sources)
        entries = within(given.entries) if given.entries.size else given.entries
        header[:], lost[:] = given.header, given.lost  # of the others, what is used is written first
        listed = records.view(np.float64)
        made = owners.Work(header, buffers, records, listed, sources, lost, given.moved, entries).addressed()
        seen.add(id(made))
        kept.append(made)
        return made

    kept: list[owners.Work] = []  # no other takes its number
    monkeypatch.setattr(owners.Owner, "_work", work)
    yield
    for wire in wires:
        assert (wire == WIRE).all(), np.flatnonzero(wire != WIRE)
