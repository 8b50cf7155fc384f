"""What a run keeps: a header of integers, one for each run, so that threads have nothing in common."""

FLAGS, NEXT, FROZEN, BUFFERS, CELLS, CLOCK, LOG, LOGGED, CAPACITY, LOST, LOSSES = range(11)
SELF, BEFORE, RESULT, SLOTS, COORDINATES, ENTRIES, HEADER = range(11, 18)
# NEXT, FROZEN: how many buffers are taken, and how many of them stand still; LOSSES: whether any owner is lost;
# SELF: its own address; BEFORE: the header that this thread had before; RESULT: the buffer of f's slopes;
# SLOTS: how many buffers there are; ENTRIES: memory for x as an array; then its size

# why a run is refused
CONFLICT, STALE, DIVISION, COSTLY, TIED, UNUSUAL, DIFFERENT, UNCONFIRMED = (1 << k for k in range(8))

PLAIN = 0  # in place of a buffer: a number that is no total. Memory filled with zeros holds plain zeros
COLOURS = 4  # in a pass: so many slopes are a register of the machines that are in use
TOTALS = 4  # slopes for totals that have been used: so many of them can meet at no cost
FIRST = 5  # the cells of a buffer before that of the first owner; they hold, as integers:
SERIAL, USED_AT, OWNER, SOURCE = range(4)
# its serial number; that at which it was used; which owner it has been since then; and, in buffer v, the address of the
# one that became the v-th such owner. The last is nobody's: what is added there is lost
