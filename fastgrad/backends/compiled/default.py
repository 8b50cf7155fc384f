"""The default step rule where f is smooth: `schemes.automatic` in one call of one kernel, to the same bits.

One line of seven points, one sweep, and the judgement that no component needs a second look; where that is not clear,
the rule's own arithmetic, with better steps. Kinks, walls, noise, and components without a certain digit are for the
general rule; so tests here may be stricter than there, never laxer.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ...lifting.native import call_at, part
from ...schemes import constants, line, looks
from ...schemes.constants import (
    BAR_NOISE,
    BAR_TRUNCATION,
    CERTAIN,
    COUPLED,
    ENOUGH,
    EPS,
    KINK,
    NEGLIGIBLE,
    NOISE,
    REACH,
    ROUNDS,
    SMALLEST,
    SPACING,
    STILL,
    TINY,
    TOO_LARGE,
    USUAL,
)
from ...schemes.stencils import central
from .cache import inner, kernel, uncounted
from .kernels import TICKS, UNCALM, ended, power_of_two, refresh, rows, table
from .native import array_at, header, integers, ticks
from .workspace import HEADER_SIZE

calm, suits, truncation, better_step = map(
    uncounted, (constants.calm, constants.suits, looks.truncation, looks.better_step)
)
choose, look_once, truncation_of_one = map(uncounted, (looks.choose, line.look_once, looks.truncation_of_one))

SHORTEST, LONGEST = REACH
AMPLIFICATION = central(2).amplification_rms
SIGNS, THIRDS = np.array(line.SIGNS), np.array(constants.THIRDS)
MULTIPLIER, INCREMENT, TOP_BITS = np.uint64(line.MULTIPLIER), np.uint64(line.INCREMENT), np.uint64(line.TOP_BITS)
# The smallest power of ten that is 1e4 units in the last place of a number, by the exponent of the number.
SMALLEST_EXPONENT, LARGEST_EXPONENT = 64, 2000
DECIMALS = np.array(
    [10.0 ** math.ceil(math.log10(1e4 * 2.0 ** (e - 1075))) for e in range(SMALLEST_EXPONENT, LARGEST_EXPONENT)]
)


def _after() -> NDArray[np.uint32]:
    """What a byte does to a checksum when 0 to 15 more follow: sixteen bytes at a time (Intel's "slicing")."""
    first = np.arange(256)
    for _ in range(8):
        first = np.where(first & 1, first >> 1 ^ 0xEDB88320, first >> 1)  # the polynomial of zlib, reversed
    after = [first]
    for _ in range(15):
        after.append(after[-1] >> 8 ^ first[after[-1] & 0xFF])
    return np.array(after, dtype=np.uint32)


AFTER = _after()


@uncounted
def crossed(word, more):
    """What eight bytes do to a checksum when so many more follow."""
    low, high = AFTER[more + 7, word & 0xFF] ^ AFTER[more + 6, (word >> 8) & 0xFF], np.int64(0)
    low ^= AFTER[more + 5, (word >> 16) & 0xFF] ^ AFTER[more + 4, (word >> 24) & 0xFF]
    high ^= AFTER[more + 3, (word >> 32) & 0xFF] ^ AFTER[more + 2, (word >> 40) & 0xFF]
    return np.int64(low ^ high ^ AFTER[more + 1, (word >> 48) & 0xFF] ^ AFTER[more, (word >> 56) & 0xFF])


@uncounted
def checksum(flat):
    """`zlib.crc32` of the bytes of x."""
    crc, words = np.int64(0xFFFFFFFF), integers(flat)
    for i in range(0, words.size - 1, 2):  # a look into a table waits for the one before it, whatever the bytes
        crc = crossed(words[i] ^ crc, 8) ^ crossed(words[i + 1], 0)
    if words.size % 2:
        crc = crossed(words[words.size - 1] ^ crc, 0)
    return np.uint64(crc ^ 0xFFFFFFFF)


@uncounted
def checksum_of(word):
    """`zlib.crc32` of eight bytes."""
    return np.uint64(crossed(word ^ 0xFFFFFFFF, 0) ^ 0xFFFFFFFF)


@uncounted
def spacing_of(x):
    """`math.ulp` of a finite number, by its bits."""
    bits = np.float64(x).view(np.int64) & 0x7FF0000000000000
    return max(EPS * np.int64(bits).view(np.float64), SMALLEST)


@uncounted
def on_a_lattice(value, top, unit):
    """Say whether a value may lie on the binary lattice of `line.quantum`, and whether on a decimal one."""
    steps = value / (16.0 * spacing_of(top))
    whole = abs(value * unit)
    exponent = np.float64(whole).view(np.int64) >> 52
    decimal = True
    if SMALLEST_EXPONENT < exponent < LARGEST_EXPONENT - 100:
        tens = whole / DECIMALS[exponent - SMALLEST_EXPONENT]
        decimal = abs(tens - np.rint(tens)) < 1e-3
    return np.floor(steps) == steps, decimal


@uncounted
def place_line(work, flat, side):
    """Choose scales and direction of the line; whether some entry is far smaller than its scale, or UNCALM.

    `side`: 1 or -1 where f is to be evaluated to this side of x alone, else 0.
    """
    head, n = header(work), flat.size
    vector, scale = part(work, head.vector_at, (n,)), part(work, head.scale_at, (n,))
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(flat[i]))
    least = min(1.0, largest) if largest > 0.0 else 1.0
    if not (least > 1e-270 and largest < 1e290):
        return UNCALM
    seed, short = checksum(flat), 0
    first = np.int64(seed)
    for i in range(n):
        size = abs(flat[i])
        scale[i] = max(size, least)
        if size > 0.0 and scale[i] > 16.0 * size:
            short = 1
        seed = seed * MULTIPLIER + INCREMENT
        move = power_of_two(SPACING * scale[i]) * (THIRDS[(first + i) & 1] * SIGNS[np.int64(seed >> TOP_BITS)])
        if side != 0.0:
            move = math.copysign(move, side)
        if size > 0.0:
            grain = 4.0 * spacing_of(size)
            grains = move / grain
            if abs(grains) <= 8.0:
                move = math.copysign(8.0, grains) * grain
            elif abs(grains) < 2.0**52:
                move = np.rint(grains) * grain
        vector[i] = move
    return short


@inner
def look_along(args, work, x):
    """Evaluate the line, and place the points of the sweep; 0, or UNCALM where one look does not tell enough."""
    head, n = header(work), x.size
    flat, y, shaped = part(x, 0, (n,)), part(work, header(work).y_at, (n,)), part(work, header(work).y_at, x.shape)
    vector = part(work, head.vector_at, (n,))
    refresh(work, flat)
    value = call_at(head.address, shaped, args)
    short = place_line(work, flat, 0.0)
    if short == UNCALM or not abs(value) < np.inf:
        return UNCALM
    w0 = w1 = w2 = w4 = w5 = w6 = 0.0
    for k in range(-3, 4):
        if k == 0:
            continue
        for i in range(n):
            y[i] = flat[i] + k * vector[i]
        w = call_at(head.address, shaped, args)
        if k == -3:
            w0 = w
        elif k == -2:
            w1 = w
        elif k == -1:
            w2 = w
        elif k == 1:
            w4 = w
        elif k == 2:
            w5 = w
        else:
            w6 = w
    return judge_line(work, flat, 0.0, short, value, w0, w1, w2, w4, w5, w6)


@uncounted
def unit_of(value):
    """Return the power of two above |value|, by its bits; 1 for 0."""
    if value == 0.0:
        return 1.0
    exponent = ((np.float64(value).view(np.int64) >> 52) & 0x7FF) - 1022
    return np.int64((min(max(exponent, -1000), 1000) + 1023) << 52).view(np.float64)


@uncounted
def judge_line(work, flat, side, short, value, w0, w1, w2, w4, w5, w6):
    """Choose the steps of the sweep by f(x) and the six values on the line, and place its points; 0 or UNCALM."""
    head, n = header(work), flat.size
    scale, points, steps = part(work, head.scale_at, (n,)), table(work)[0], part(work, head.lengths_at, (n,))
    unit = unit_of(value)
    scaling, f0 = 1.0 / unit, value / unit
    w0, w1, w2, w4, w5, w6 = w0 * scaling, w1 * scaling, w2 * scaling, w4 * scaling, w5 * scaling, w6 * scaling
    low, high = min(w0, w1, w2, f0, w4, w5, w6), max(w0, w1, w2, f0, w4, w5, w6)
    spread, top = max(high - f0, f0 - low), max(high, -low)
    floor, reach = max(0.5 * EPS * abs(f0), 0.25 * EPS * top, TINY), max(abs(f0), spread)
    a, b, c, d = (f0, w0, w1, w2) if side != 0.0 else (w0, w1, w2, f0)
    sigma, third, bend, size, variation, slope, doubt = look_once(n, floor, reach, side != 0.0, a, b, c, d, w4, w5, w6)
    if sigma == 0.0 or (short != 0 and spread > 10.0 * abs(f0) > 0.0):
        return UNCALM
    binary, decimal = on_a_lattice(w0, top, unit)
    if binary or decimal:
        for w in (w1, w2, f0, w4, w5, w6):  # one in sixteen is on the binary one by chance
            here = on_a_lattice(w, top, unit)
            binary, decimal = binary and here[0], decimal and here[1]
        if binary or decimal:
            return UNCALM
    ratio = min(max(sigma / variation, 1e-17), 1e-2)
    usual_step = ratio ** (1.0 / 3.0)
    if side == 0.0:
        step = usual_step
        usual = USUAL * step * step
    else:
        step = (head.best * ratio) ** head.power
        usual = USUAL * ratio ** (1.0 - head.power)
    head.enough = max(ENOUGH, usual)
    if third > 0.0:
        shorter = max((3.0 * sigma * math.sqrt(n) / third) ** (1.0 / 3.0), 1e-13)
        if shorter * n ** (1.0 / 3.0) < 0.5 * usual_step:
            shorter *= n ** (1.0 / 6.0)
            step = shorter if side == 0.0 else step * (shorter / usual_step)
    for i in range(n):
        steps[i] = h = max(power_of_two(step * scale[i]), 4.0 * spacing_of(flat[i]))
        if side == 0.0:
            points[i, 0], points[i, 1] = flat[i] + h, flat[i] - h
        else:
            points[i, 0] = flat[i] + h * side
    head.here, head.unit, head.sigma, head.rho, head.variation = f0, unit, sigma, sigma / max(reach, TINY), variation
    head.size, head.third, head.step = size, third, step
    head.slope, head.doubt, head.bend = slope, doubt, bend
    return 0


@uncounted
def difference(head, above, below, up, down):
    """Return step, slope, and size of the first and second difference and of the noise, from two points and values."""
    scaling, f0 = 1.0 / head.unit, head.here
    up, down = up * scaling, down * scaling
    noise = max(head.sigma, head.rho * max(abs(up), abs(down)))
    rise, fall, size = up - f0, down - f0, 0.5 * (above - below)
    first = rise - fall
    return size, first / (2.0 * size), abs(first), abs(rise + fall), noise


@uncounted
def nth(values, count, k):
    """Return the k-th smallest of the first numbers, from 0 (Hoare 1961, Comm. ACM 4, 321); moves them about."""
    low, high = 0, count - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@inner
def look_again(args, work, x, result, seen, whole):
    """Do as `Search` where there are no kinks: take better steps, choose, and say whether a digit of each is certain.

    `seen` components show their lengths. Returns 0 or UNCALM.
    """
    head, n = header(work), result.size
    points, values = table(work)
    flat, y, shaped = part(x, 0, (n,)), part(work, head.y_at, (n,)), part(work, head.y_at, x.shape)
    vector, scale = part(work, head.vector_at, (n,)), part(work, head.scale_at, (n,))
    lengths, looks = part(work, head.lengths_at, (n,)), part(work, head.looks_at, (1 + ROUNDS, 4))
    length, bars = np.inf, lengths
    if 2 * seen > n and n > 1:
        length = nth(lengths, lengths.size, seen // 2)
        if seen % 2 == 0:
            length = (nth(lengths, lengths.size, seen // 2 - 1) + length) / 2.0
    top = agreement = doubt = 0.0
    began = ticks()
    for i in range(n):
        step, slope, first, second, noise = difference(head, points[i, 0], points[i, 1], values[i, 0], values[i, 1])
        size, relative = scale[i], step / scale[i]
        kinked = second > 8.0 * noise and second > KINK * first
        if kinked and second / relative > max(1e-3, 30.0 * relative) * whole:
            return UNCALM
        moved, count = False, 0
        while True:
            if not abs(slope) < np.inf or not first < np.inf:
                return UNCALM
            moved = moved or first > 0.0 or second > 0.0
            error = NOISE * noise / step
            hope, fear = truncation(step, first, second, noise, head.variation)
            looks[count, 0], looks[count, 1], looks[count, 2], looks[count, 3] = step, slope, error, fear
            count += 1
            relative = step / (length * size)
            hope = max(hope, abs(slope) * (relative * relative) / 6.0)
            best = better_step(2, step, slope, error, hope, fear, head.enough)
            if count > ROUNDS or best == 0.0:
                break
            if first == 0.0 and second == 0.0:
                if error <= STILL * whole / size:
                    break
                return UNCALM
            best = max(power_of_two(min(max(best, step * SHORTEST), step * LONGEST)), 4.0 * spacing_of(flat[i]))
            larger, near = np.inf, False
            for k in range(count):
                if looks[k, 0] > step:
                    larger = min(larger, looks[k, 0])
            if larger < np.inf and hope <= TOO_LARGE * error:
                best = min(best, power_of_two(math.sqrt(step * larger)))
            for k in range(count):
                near = near or 0.3 < best / looks[k, 0] < 3.3
            if near:
                break
            if head.fast != 0 or ticks() - began > TICKS:
                return UNCALM
            above, below = flat[i] + best, flat[i] - best
            up = down = 0.0
            for k in range(2):  # one call of f in the code: each is compiled into it
                refresh(work, flat)
                y[i] = below if k else above
                up, down = down, call_at(head.address, shaped, args)
            step, slope, first, second, noise = difference(head, above, below, up, down)
        slope, bar, step, _ = choose(looks, count, min(length * size, size))
        result[i] = slope * head.unit
        agreement += vector[i] * slope
        doubt += vector[i] * bar * (vector[i] * bar)
        top = max(top, abs(slope) * size)
        relative = step / size
        third = head.third / n**COUPLED * relative * relative / (3.0 * size)
        bars[i] = max(bar, min(third, 1000.0 * bar), EPS * whole / size) if moved else 0.0
    gap, least = abs(agreement - head.slope) - head.doubt, max(NEGLIGIBLE * top, 1e-6 * head.size)
    if gap > 0.0 and not gap * gap <= doubt:
        return UNCALM
    for i in range(n):
        if not bars[i] <= CERTAIN * max(abs(result[i] / head.unit), least / scale[i]):
            return UNCALM
    return 0


@uncounted
def settle(work, result):
    """Difference and judge the values: whether all are sure, how many show their lengths, and f's size."""
    head, n = header(work), result.size
    points, values = table(work)
    vector, scale = part(work, head.vector_at, (n,)), part(work, head.scale_at, (n,))
    lengths = part(work, head.lengths_at, (n,))
    enough = head.enough / 1.42
    top = bow = coarse = still = steep = hides = agreement = doubt = 0.0
    seen, sure = 0, True
    for i in range(n):
        size, slope, change, bent, noise = difference(head, points[i, 0], points[i, 1], values[i, 0], values[i, 1])
        length = scale[i]
        relative = size / length
        result[i] = slope * head.unit
        agreement += vector[i] * slope
        error = vector[i] * (0.98 * BAR_NOISE * AMPLIFICATION * noise / size)
        doubt += error * error
        top, steep = max(top, abs(slope) * length), max(steep, abs(slope))
        lengths[i] = np.inf
        if bent > 8.0 * noise and 8.0 * noise < change:
            lengths[i] = relative * change / (2.0 * bent)
            seen += 1
        if change == 0.0 and bent == 0.0:
            still, hides = max(still, noise / relative), max(hides, noise / size)
        else:
            sure = sure and (
                calm(change, bent, noise, head.variation, enough) or suits(change, bent, noise, head.variation)
            )
            coarse = max(coarse, noise / relative)
            # on a shorter length than its root a smaller step would be tried (245: 8.5 TOO_LARGE), or half be uncertain
            bow = max(bow, relative * relative * max(change / (245.0 * noise), 1.12))
    least, whole = max(NEGLIGIBLE * top, 1e-6 * head.size), max(head.variation, head.size, top)
    sure = sure and top < np.inf and coarse <= 4.99e-5 * least and still <= 1.39 * STILL * whole
    gap = abs(agreement - head.slope) - head.doubt
    sure = sure and (gap <= 0.0 or gap * gap <= 0.99 * doubt) and 4.01 * head.third * head.step * head.step <= n * least
    if sure and 2 * seen > n and n > 1:  # the length that most show, their median, may be too short for some
        short, below, above = 0, 0.0, np.inf
        for i in range(n):
            enough_of_it = lengths[i] * lengths[i] >= bow
            short += not enough_of_it
            below, above = (
                max(below, 0.0 if enough_of_it else lengths[i]),
                min(above, lengths[i] if enough_of_it else np.inf),
            )
        middle = 0.5 * (below + above) if 2 * short == seen else below if 2 * short > seen else above
        sure = middle * middle >= bow
    if BAR_NOISE * hides > 0.99 * CERTAIN * steep and 0.0 < top >= 0.99e-6 * head.size:  # see `report.Report._hidden`
        return False, -1, whole
    return sure, seen, whole


@kernel(seconds=2.5)
def by_rule(args, work, x, out):
    """Write one gradient by the default rule; returns how many coordinates are done, or a code: see `kernels`."""
    n = x.size
    if header(work).start == 0:
        code = look_along(args, work, x)
        if code != 0:
            return n + code
    done = rows(args, work, x)
    if done != n:
        return done
    result = part(out, 0, (n,))
    sure, seen, whole = settle(work, result)
    if sure:
        return ended(work)
    if seen < 0:
        return n + UNCALM
    code = look_again(args, work, x, result, seen, whole)
    return n + code if code != 0 else ended(work)


@uncounted
def settle_aside(work, flat, result):
    """Do the same as `settle` for differences of one point and x, as `Search._one_side`: whether all are sure."""
    head, n = header(work), result.size
    points, values = table(work)
    vector, scale = part(work, head.vector_at, (n,)), part(work, head.scale_at, (n,))
    scaling, f0, gain, bend = 1.0 / head.unit, head.here, math.sqrt(2.0), head.bend / n
    top = steepest = hides = agreement = doubt = 0.0
    for i in range(n):
        top = max(top, abs((values[i, 0] * scaling - f0) / (points[i, 0] - flat[i])) * scale[i])
    whole, least = max(head.variation, head.size, top), max(NEGLIGIBLE * top, 1e-6 * head.size)
    sure = 3.01 * head.third * head.step * head.step <= n * least
    for i in range(n):
        rise, span, length = values[i, 0] * scaling - f0, points[i, 0] - flat[i], scale[i]
        noise, slope, size = max(head.sigma, head.rho * abs(f0 + rise)), rise / span + 0.0, abs(span)
        error = truncation_of_one(size, max(gain * noise, abs(rise)), 1.0, head.variation, bend / length / length)
        result[i] = slope * head.unit
        agreement += vector[i] * slope
        noise, steep, relative = head.amplification * noise / size, abs(slope), size / length
        doubt += (vector[i] * (0.98 * BAR_NOISE * noise)) ** 2
        fear = max(error, 0.5 * whole * relative / length)
        bar = BAR_NOISE * noise + BAR_TRUNCATION * max(fear, 0.5 * steep * relative)
        sure = sure and error <= TOO_LARGE * noise and (noise <= head.enough * steep or noise <= 35.0 * fear)
        sure = sure and (bar <= CERTAIN * steep < np.inf or bar * length <= CERTAIN * least)
        steepest, hides = max(steepest, steep), max(hides, bar) if steep == 0.0 else hides
    gap = abs(agreement - head.slope) - head.doubt
    if hides > 0.99 * CERTAIN * steepest and 0.0 < top >= 0.99e-6 * head.size:  # see `report.Report._hidden`
        return False
    return sure and top < np.inf and (gap <= 0.0 or gap * gap <= 0.99 * doubt)


@uncounted
def judge(address, stage):
    """Do the same in three steps, for an f that only Python can call; see `judging.Area`. Returns whether it is calm.

    0 chooses the line's direction, 1 judges f's values there and chooses the steps, 2 judges those in the sweep and
    writes the gradient.
    """
    work = array_at(address, HEADER_SIZE)  # and more
    head, n, side = header(work), header(work).count, header(work).side
    x, seen, result = (
        part(work, head.tile_at, (n,)),
        part(work, head.tile_at + n, (7,)),
        part(work, head.tile_at + n + 7, (n,)),
    )
    if stage == 0:
        head.start = place_line(work, x, side)
        return np.int64(head.start != UNCALM)
    if stage == 1:
        code = judge_line(work, x, side, head.start, seen[0], seen[1], seen[2], seen[3], seen[4], seen[5], seen[6])
        return np.int64(code == 0)
    return np.int64(settle(work, result)[0] if side == 0.0 else settle_aside(work, x, result))
