"""asv imports all that lies here, at every commit that it measures: nothing else may."""

import sys
from pathlib import Path

# last: `fastgrad` is the installed commit, only `benchmarks` is the checkout's
sys.path.append(str(Path(__file__).resolve().parents[2]))
