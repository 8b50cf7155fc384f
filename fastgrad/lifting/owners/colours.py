"""Which coordinates meet in a term, told by runs of f itself, and colours in which none of them meet.

Run with the digits of each coordinate's number in place of owners, every term says the set of its digits.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

RADIX = 61  # of 62 free bits: bits 31 and 63 make every code conflict, so that `grow` sees every term
MODULI = (59, 58, 57, 55, 53, 49)


def bit_codes(digits: Integers) -> Integers:
    """One-hot code of a digit 0..60; with `or`, a term's code is the set of its digits."""
    position = np.where(digits < 31, digits, digits + 1)
    return (np.uint64(1) << position.astype(np.uint64) | np.uint64(1 << 31 | 1 << 63)).view(np.int64)


def digit_table(n: int) -> Integers:
    """Digits that tell all coordinates apart, and remainders to filter combinations that nobody made."""
    i = np.arange(n)
    digits, size = [i % RADIX], RADIX
    while size < n:
        digits.append(i // size % RADIX)
        size *= RADIX
    return np.array(digits + [i % m for m in MODULI])


def decode(sets, n, radix, filters, members, most):
    """Which coordinates can have made a term: a superset, those whose every digit is in its sets; and if all are there.

    A term of more coordinates than `most` is left out: if a total is its only nonlinear part, it is no conflict,
    and if not, the run will say so. One coordinate alone meets nobody.
    """
    terms, digits = sets.shape
    plain = digits - filters.size
    starts = np.zeros(terms + 1, np.int64)
    found = np.empty(4096, np.int64)
    values = np.empty((plain, radix), np.int64)
    counts = np.empty(plain, np.int64)
    for t in range(terms):
        combinations = 1
        for k in range(plain):
            counts[k] = 0
            left = sets[t, k] & 0x7FFFFFFF7FFFFFFF  # the bits that make every code conflict are no digits
            v = 0
            while left != 0:
                if left & 1:
                    values[k, counts[k]] = v if v < 31 else v - 1
                    counts[k] += 1
                left >>= 1
                v += 1
            combinations *= counts[k]
            if combinations > 4096:
                combinations = 0
                break
        if combinations == 1:
            combinations = 0
        size = 0
        for c in range(combinations):
            i, left, weight = 0, c, 1
            for k in range(plain):
                i += values[k, left % counts[k]] * weight
                left //= counts[k]
                weight *= radix
            ok = i < n
            for k in range(filters.size):
                v = i % filters[k]
                ok = ok and (sets[t, plain + k] >> (v if v < 31 else v + 1) & 1) == 1
            if ok:
                if size == most:
                    size = 0
                    break
                found[size] = i
                size += 1
        starts[t + 1] = starts[t] + size
        if starts[t + 1] > members.size:
            return starts, False
        members[starts[t] : starts[t + 1]] = found[:size]
    return starts, True


def greedy(n, starts, members):
    """Colours in the coordinates' own order: i mod k for a banded f."""
    terms = starts.size - 1
    first = np.zeros(n + 2, np.int64)
    for m in members[: starts[terms]]:
        first[m + 2] += 1
    for i in range(n):
        first[i + 2] += first[i + 1]
    of = np.empty(starts[terms], np.int64)
    for t in range(terms):
        for k in range(starts[t], starts[t + 1]):
            of[first[members[k] + 1]] = t
            first[members[k] + 1] += 1
    colour = np.full(n, -1)
    taken = np.full(n + 1, -1)
    for i in range(n):
        for k in range(first[i], first[i + 1]):
            for j in range(starts[of[k]], starts[of[k] + 1]):
                c = colour[members[j]]
                if c >= 0:
                    taken[c] = i
        c = 0
        while taken[c] == i:
            c += 1
        colour[i] = c
    return colour


def codes_of(colour: Integers, colours: int) -> Integers:
    """(passes, number of all colours, colours): what each colour lets through of an owner's code in each pass."""
    count = int(colour.max(initial=0)) + 1
    codes = np.zeros((-(-count // colours), count, colours), np.int64)
    each = np.arange(count)
    codes[each // colours, each, each % colours] = -1
    return codes
