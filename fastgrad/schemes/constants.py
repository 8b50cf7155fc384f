"""The constants of the automatic step, and its judgements of a few numbers: numba compiles these as they are."""

from __future__ import annotations

from math import factorial, frexp, inf, ldexp, sqrt

EPS = 2.0**-52
TINY = 1e-300
HALF_ROOT = sqrt(0.5)
SMALLEST = 5e-324

# --- the line
SPACING = 2.0**-17  # of its points, in scales of x: about twice the usual step
# A line's vector is a power of two times one of these: whatever the binary lattice, they fall between its points by a
# third, so that round-off in f differs from point to point. With steps of few binary digits it is often the same at
# all, and is taken for none. (Golden ratios were tried: they come as near as 0.02 to some lattices.)
THIRDS = 4 / 3, 5 / 3
# Each is off by a little, another little for each of 256: three thirds would make a short number, and a kink at 0 in
# three entries the look of a coarse lattice; and the sum of two entries would stand still in half of all cases.
BLURS = tuple(1.0 + 2.0**-17 * ((j + 1) * 0.6180339887498949 % 1.0) for j in range(256))
QUIET = 100.0  # so many times round-off is believed to be noise without a second look
DOUBT = 1e-3  # noise above this share of |f(x)| is looked at three times, at finer and finer spacings
SAME = 0.25  # noise is at least so many times as large at a spacing 8 times finer, a kink 1/8, structure less
SAME_ON_BOTH_SIDES = 0.5  # the same at the third look, where f is even or odd about x: so are roots, which fall by 1/4
LOOKS = 8
NEAR_ZERO = 2.0**-10  # an x whose entries are all below this may be moved as if it were 0
ENDS = 1024.0  # finer by this where f ends, wider where f is flat
# The noise that k-th differences suggest, over their norm, k = 3 to 6 (Moré, Wild 2011, SIAM J. Sci. Comput. 33, 1292)
THIRD, FOURTH, FIFTH, SIXTH = (sqrt(factorial(k) ** 2 / factorial(2 * k) / (7 - k)) for k in (3, 4, 5, 6))

# --- steps
TOO_LARGE = 30.0  # truncation over noise from which a smaller step is tried
GAIN = 6.0  # a larger step is tried if it is so many times larger
ENOUGH = 3e-10  # relative noise that needs no improvement
USUAL = 0.3  # in units of (noise/variation)**(2/3): relative noise of a usual central difference
FINER = 2.0**-6  # from step to step where f is not smooth
KINK = 0.03  # |f+ + f- - 2 f0| / |f+ - f-| from which a kink is suspected
ROUNDS = 3  # second looks at one component
REACH = 1e-6, 1e4  # of one change of step
NOISE = 0.71  # noise of a central difference, in sigma / h
SHORT = 2.0**-28  # in scales of x: with shorter steps, that x is rounded as it enters f is noise of the slope
MANY = 2.0**24  # spacings of x in a step: rounding of x is no noise then
STILL = 1e-6  # noise/h in sizes of f: below this a component without any effect is one that f does not depend on

# --- what is told
BAR_NOISE, BAR_TRUNCATION = 4.0, 3.0
CERTAIN = 0.5  # a component is flagged where its bar exceeds so much of it
COUPLED = 0.75  # f's third derivative is n**0.5 along a line if it has separate terms, up to n**1.5 if they are coupled
NEGLIGIBLE = 1e-3  # of the largest component, in scales: as small a component is measured against this
TORN = 10.0  # times that the line contradicts the bars: they are no use then
JUMPS = 3e-3  # noise over variation from which a staircase is flagged


def nearest_power(h: float) -> float:
    """Round to the nearest power of two (in the logarithm; a tie goes up): x + h is then exact where it can be."""
    if not 0.0 < h < inf:
        return h
    mantissa, exponent = frexp(h)
    return ldexp(1.0, exponent - 1 if mantissa < HALF_ROOT else exponent)


def nearest_powers(factor: float, sizes: list[float]) -> list[float]:
    """Return `nearest_power` of a factor times each of some sizes."""
    powers = []
    for size in sizes:
        mantissa, exponent = frexp(factor * size)
        powers.append(ldexp(1.0, exponent - 1 if mantissa < HALF_ROOT else exponent) if mantissa else 0.0)
    return powers


def calm(first: float, second: float, noise: float, variation: float, enough: float) -> bool:
    r"""Say whether a central difference is beyond doubt: no kink is near, and no other step is clearly better.

    The conditions of `truncation` and of a second look without a root or a division.

    `first`, `second`: :math:`|f_+ - f_-|` and :math:`|f_+ + f_- - 2 f_0|`.
    `noise`: standard deviation of the noise of these values.
    `variation`: how much f varies on its length.
    `enough`: relative noise of f's difference, ``sigma / |f+ - f-|``, that needs no improvement.
    """
    if not first < inf or (second > 8.0 * noise and second > KINK * first):
        return False
    bent, rise = max(second, 4.0 * noise), max(first, 2.0 * noise)
    square, faint = bent * bent, noise * noise * max(variation, rise)
    small = noise <= enough * first or (rise * noise <= 200.0 * square and faint <= 1e4 * square * bent)
    return small and (square <= 63.0 * noise * rise or square * bent <= 16e3 * faint)


def suits(first: float, second: float, noise: float, variation: float) -> bool:
    """Say of what is not `calm` whether no other step is tried, and no bar can reach half of the component.

    As in `looks.truncation`: where f bends visibly fear is by the shorter length, up to 100 times hope, by the longer.
    """
    if not 4.001 * noise < second <= max(KINK * first, 8.0 * noise) or noise > 3.9e-5 * first:
        return False
    square, faint = second * second, noise * noise * max(variation, first)
    cube, grain = square * second, noise * first
    fits = grain <= 200.0 * square or faint <= 1e4 * cube
    fits = fits and grain <= 2e4 * square and faint <= 1e8 * cube
    return fits and (square <= 63.0 * grain or cube <= 16e3 * faint)


def certain(first: float, noise: float, step: float, length: float, least: float) -> bool:
    """Say whether no bar of a calm component can reach half of it.

    `first`, `noise`: as in `calm`.
    `step`: in scales of x.
    `length`: on which most components change, in scales of x.
    `least`: the size, in units of f, below which a component is negligible.
    """
    return noise <= 5e-5 * least * step and first * step * step <= 42.0 * length * length * noise


NOT_FINITE = "f is not finite beside x"
# What f raises outside of its domain, or by computing there: at a point that nobody asked for it counts as nan. All
# else is f's own business, and comes through.
OUTSIDE = (ArithmeticError, ValueError, TypeError)
