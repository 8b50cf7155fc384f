"""What times depend on: the versions of the packages, the processor, the threads there are."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# The widest that the processor has of these counts; as LLVM names its features.
SIMD_BITS = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}

PACKAGES = (
    "fastgrad", "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "numdifftools", "jacobi", "statsmodels", "jax",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter here; None for one that is not installed."""
    metadata = import_module("importlib.metadata")  # a fifth of the time that `fastgrad --help` takes
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    if found["fastgrad"] is None:  # run from a checkout
        found["fastgrad"] = sys.modules[str(__package__).partition(".")[0]].__version__
    return found


def machine() -> dict[str, Any]:
    """Return what times depend on: the processor, its SIMD registers, the threads there are."""
    llvm = import_module("llvmlite.binding")  # what numba compiles for
    features = llvm.get_host_cpu_features()
    name = next((feature for feature in SIMD_BITS if features.get(feature)), None)
    bits = SIMD_BITS[name] if name else None
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "llvm_cpu": llvm.get_host_cpu_name(),
        "simd": name,
        "simd_bits": bits,
        "simd_doubles": bits and bits // 64,
        "cores": os.cpu_count(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _processor() -> str:
    """Return the processor's name as it is sold, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine()
