"""What a run keeps: a header of integers, one for each run, so that threads have nothing in common."""

FLAGS, USED, NEXT, BUFFERS, CELLS, CLOCK, LOG, LOGGED, CAPACITY, LOST = range(10)
SELF, BEFORE, TAG, SERIAL, SLOTS, LIMIT, ENTRIES, HEADER = range(10, 18)
# SELF: its own address; BEFORE: the header that this thread had before; TAG, SERIAL: the buffer of f's differences;
# SLOTS: how many buffers there are; LIMIT: how many operations on whole totals a run may cost; ENTRIES:
# memory for x as an array; then its size

# why a run is refused
CONFLICT, LARGE, STALE, DIVISION, COSTLY, UNUSUAL, UNCONFIRMED = (1 << k for k in range(7))

PLAIN = 0  # in place of a buffer: a number that is no total. Memory filled with zeros holds plain zeros
SMALL = 2.0**-10  # the series of the rules are exact to the last bit below this
COLOURS = 4  # in a pass: 2 are faster for two colours, 8 rarely (measured)
FIRST = COLOURS  # the cells of a buffer before that of the first owner: they hold its serial number
