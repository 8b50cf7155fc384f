"""What a run keeps: a header of integers, one for each run, so that threads have nothing in common."""

FLAGS, NEXT, FROZEN, BUFFERS, CELLS, CLOCK, LOG, LOGGED, CAPACITY, LOST, LOSSES = range(11)
SELF, BEFORE, RESULT, SLOTS, COORDINATES, ENTRIES, SOURCES, OWNERS = range(11, 19)
RECORDS, RECORD, MOST_RECORDS, TAKEN, LISTED, HEADER = range(19, 25)
# NEXT, FROZEN: how many buffers are taken, and how many of them stand still; LOSSES: whether any owner is lost;
# SELF: its own address; BEFORE: the header that this thread had before; RESULT: the buffer of f's slopes;
# SLOTS: how many buffers there are; ENTRIES: memory for x as an array; SOURCES: where the buffers and records of used
# totals are told, of which there are OWNERS at most; RECORDS: memory for lists of few slopes, of which RECORD are
# taken, and there are MOST_RECORDS; TAKEN, LISTED: how many buffers and records a pass has taken at most; then its
# size

# why a run is refused
CONFLICT, STALE, DIVISION, COSTLY, TIED, UNUSUAL, DIFFERENT, UNCONFIRMED = (1 << k for k in range(8))

PLAIN = 0  # in place of a buffer: a number that is no total. Memory filled with zeros holds plain zeros
COLOURS = 4  # in a pass: so many slopes are a register of the machines that are in use
TOTALS = 4  # slopes for totals that have been used: so many of them can meet at no cost
FIRST = 5  # the cells of a buffer before that of the first owner; they hold, as integers:
SERIAL, USED_AT, OWNER, COUNT = range(4)
# its serial number; that at which it was used; which owner it has been since then; and, of a record, how many slopes.
# The last is nobody's: what is added there is lost
ROOM = 32  # slopes in a record, which is a list of owners and slopes behind the same cells
RECORDED = 1 << 62  # what a record's serial number differs by from that of its total: it is no buffer to be added to
