"""The loop around f in owner lanes: a pass for each few colours, and plain evaluations that confirm the gradient."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np
from numba import types

from ...lifting.owners.header import BUFFERS, CELLS, FIRST, FLAGS, LOG, SERIAL, STALE, TAG, UNCONFIRMED, UNUSUAL
from .cache import inner, kernel
from .native import call_at

LARGER, SMALLER = 2.0**-17, 2.0**-25  # steps, relative to x, of the plain differences that confirm a gradient


def signature(args: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Return the types of the arguments of `gradient`."""
    number, whole, array = types.float64, types.int64, types.Array
    x = array(number, ndim, "C")
    ints, floats = array(whole, 1, "C"), array(number, 3, "C")
    codes = array(whole, 3, "C")
    return whole, whole, types.Tuple(args), x, codes, number, x, ints, floats, codes, ints, x, types.boolean


@inner
def confirmed(at, args, x, value, g, lost, moved):
    """Compare with f as it is: its value to the bit, and a plain difference along a direction from x's bytes."""
    flat, y = x.reshape(x.size), moved.reshape(x.size)
    bits = flat.view(np.uint64)
    for i in range(flat.size):  # a slice would need numba's memory, which entry points do without
        y[i] = flat[i]
    if call_at(at, moved, args) != value:
        return False
    for h in (LARGER, SMALLER):
        slope, square = 0.0, 0.0
        for i in range(flat.size):
            mixed = (bits[i] + np.uint64(i) * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
            step = h * (abs(flat[i]) if flat[i] != 0.0 else 1.0)
            if mixed >> np.uint64(63) == np.uint64(0):
                step = -step
            if lost[i + 1]:
                step = 0.0
            y[i] = flat[i] + step
            part = g[i] * (y[i] - (flat[i] - step)) if step != 0.0 else 0.0
            slope += part
            square += part * part
        above = call_at(at, moved, args)
        for i in range(flat.size):
            y[i] = flat[i] - (y[i] - flat[i])
        below = call_at(at, moved, args)
        noise = 2.0**-52 * (abs(above) + abs(below)) * (8.0 + sqrt(flat.size))
        if abs(above - below - slope) <= 1e-3 * sqrt(square) + noise:
            return True
    return False


@kernel
def gradient(at, run, args, x, codes, h, out, header, buffers, serials, lost, moved, confirm):
    """Write the gradient to `out`.

    Returns why it cannot be had (0: it can), f(x), and how many coordinates change a branch. With a log: the terms.
    """
    value, losses = 0.0, 0
    lost[:] = 0
    flat, g = x.reshape(x.size), out.reshape(x.size)
    for p in range(codes.shape[0]):
        value = call_at(run, x, (args, codes, p, h, header))
        if header[LOG] != 0:
            return header[FLAGS], value, 0
        if header[FLAGS] != 0:
            return header[FLAGS], value, 0
        k = (header[TAG] - header[BUFFERS]) // (16 * header[CELLS])
        if header[SERIAL] != serials[k, 0, 0]:
            return STALE, value, 0
        for i in range(flat.size):
            d = (buffers[k, i + FIRST, 0] - buffers[k, i + FIRST, 1]) / (2.0 * (h * max(abs(flat[i]), 1.0)))
            g[i] = d if p == 0 else g[i] + d
    lost[0] = 0
    finite = abs(value) < inf
    for i in range(g.size):
        losses += lost[i + 1]
        finite &= (abs(g[i]) < inf) | (lost[i + 1] != 0)
    if not finite:
        return UNUSUAL, value, losses
    if confirm and not confirmed(at, args, x, value, g, lost, moved):
        return UNCONFIRMED, value, losses
    return 0, value, losses
