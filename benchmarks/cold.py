"""What is paid once: import, a first gradient, and a first gradient where numba's disk cache is warm.

Each is measured in processes of its own, with disk caches of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORT = "import time, numpy; t = time.process_time(); import fastgrad; print(time.process_time() - t)"

FIRST = """
import time, numpy as np, numba
from fastgrad import numerical_gradient
from {module} import f
x = np.linspace(0.9, 1.1, 12)
if {kernels}:  # those of fastgrad are compiled once for all f; the disk holds them
    numerical_gradient(numba.njit(lambda x: x[0]), x)
began = time.perf_counter()
{call}
print(time.perf_counter() - began)
"""

SOURCES = {
    "rosenbrock": """
    total = 0.0
    for i in range(x.size - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total
""",
    "ackley": """
    squares = cosines = 0.0
    for v in x:
        squares += v * v
        cosines += np.cos(2.0 * np.pi * v)
    return -20.0 * np.exp(-0.2 * np.sqrt(squares / x.size)) - np.exp(cosines / x.size) + 20.0 + np.e
""",
}


def _seconds(code: str, folder: str, cache: Path | None = None) -> float:
    # the folder last on the path: fastgrad is the one that this process has
    path = os.pathsep.join([*(entry for entry in sys.path if entry), folder])
    environment = {**os.environ, "PYTHONPATH": path}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, cwd=folder
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    return float(run.stdout.split()[-1])


def import_seconds() -> float:
    """CPU seconds of `import fastgrad` beyond numpy's."""
    with tempfile.TemporaryDirectory() as folder:
        return min(_seconds(IMPORT, folder) for _ in range(5))


def first_seconds(name: str) -> dict[str, float]:
    """Seconds until the first gradient of a jitted function: compiled, and from numba's disk cache; and of f there."""
    with tempfile.TemporaryDirectory() as folder:
        for module, cached in (("fresh", False), ("kept", True)):
            Path(folder, f"{module}.py").write_text(
                f"import numpy as np, numba\n\n@numba.njit(cache={cached})\ndef f(x):{SOURCES[name]}"
            )
        cache = Path(folder, "cache")
        gradient = "numerical_gradient(f, x)"
        compiled = FIRST.format(module="fresh", kernels=True, call=gradient)
        kept = FIRST.format(module="kept", kernels=False, call=gradient)
        own = FIRST.format(module="kept", kernels=False, call="f(x)")
        _seconds(compiled, folder, cache)  # the kernels, onto the disk
        _seconds(kept, folder, cache)
        return {
            "first": min(_seconds(compiled, folder, cache) for _ in range(2)),
            "warm": min(_seconds(kept, folder, cache) for _ in range(3)),
            "own": min(_seconds(own, folder, cache) for _ in range(3)),
        }
