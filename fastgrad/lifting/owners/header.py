"""What a run keeps: a header of integers, one for each run, so that threads have nothing in common."""

FLAGS, USED, NEXT, BUFFERS, CELLS, CLOCK, LOG, LOGGED, CAPACITY, LOST = range(10)
SELF, TAG, SERIAL, HEADER = range(10, 14)  # its own address; the buffer of f's differences; then its size

# why a run is refused
CONFLICT, LARGE, STALE, DIVISION, COSTLY, BRANCH, FAILED, UNUSUAL, UNCONFIRMED = (1 << k for k in range(9))

PLAIN, NOTHING = -1, -2  # in place of a buffer: a number that is no total; a constant
SMALL = 2.0**-10  # the series of the rules are exact to the last bit below this
RING = 16  # buffers of totals; a total whose buffer was taken again is stale, which is noticed
MOST_TAILS = 64  # operations on whole totals in one run of f
COLOURS = 4  # in a pass: 2 are faster for two colours, 8 rarely (measured)
