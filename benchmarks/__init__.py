"""What fastgrad is measured on and against: one table of problems, asv's suite, and single questions."""

import os

# threads of a matrix product wait for each other where the machine has something else to do: that would be timed
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
