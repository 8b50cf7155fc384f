"""The compiled backend against the same central-difference loop in C (gcc -O3 -march=native), in one interleaved run.

python -m benchmarks.c_baseline
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fastgrad import Gradient

from .problems import PROBLEMS
from .timing import interleaved

SOURCE = r"""
#include <math.h>
#include <stdint.h>

static double rosenbrock(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n - 1; i++) {
        double t = x[i + 1] - x[i] * x[i], u = 1.0 - x[i];
        total += 100.0 * (t * t) + u * u;
    }
    return total;
}

static double powell_singular(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 4) {
        double p = x[i] + 10.0 * x[i + 1], q = x[i + 2] - x[i + 3];
        double r = x[i + 1] - 2.0 * x[i + 2], s = x[i] - x[i + 3];
        total += p * p;
        total += 5.0 * (q * q);
        total += (r * r) * (r * r);
        total += 10.0 * ((s * s) * (s * s));
    }
    return total;
}

static double lennard_jones(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 3)
        for (int64_t j = i + 3; j < n; j += 3) {
            double a = x[i] - x[j], b = x[i + 1] - x[j + 1], c = x[i + 2] - x[j + 2];
            double r2 = a * a + b * b + c * c, s = 1.0 / (r2 * r2 * r2);
            total += s * s - s;
        }
    return 4.0 * total;
}

/* the step is a power of two near h max(|x|, 1), as the fixed rule's; the divisor is the achieved step */
#define GRADIENT(f)                                                                  \
    void f##_gradient(double *x, int64_t n, double h0, double *out) {                \
        for (int64_t i = 0; i < n; i++) {                                            \
            double kept = x[i], h = h0 * fmax(fabs(kept), 1.0), above, below, plus;  \
            int exponent;                                                            \
            double mantissa = frexp(h, &exponent);                                   \
            h = ldexp(1.0, exponent - (mantissa < 0.7071067811865476));              \
            above = kept + h, below = kept - h;                                      \
            x[i] = above;                                                            \
            plus = f(x, n);                                                          \
            x[i] = below;                                                            \
            out[i] = (plus - f(x, n)) / (above - below);                             \
            x[i] = kept;                                                             \
        }                                                                            \
    }
GRADIENT(rosenbrock)
GRADIENT(powell_singular)
GRADIENT(lennard_jones)
"""
SIZES = {"rosenbrock": (10, 100, 1000), "powell_singular": (12, 100, 1000), "lennard_jones": (39, 99, 999)}


def build(folder: Path) -> ctypes.CDLL | None:
    """The C loops as a library; None without gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    source, library = folder / "loops.c", folder / "loops.so"
    source.write_text(SOURCE)
    # the same operations in the same order: no contraction to fused multiply-adds that numba does not make
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([gcc, *flags, str(source), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def c_gradient(library: ctypes.CDLL, name: str) -> Any:
    """The gradient in C as a function of x and out."""
    function = getattr(library, f"{name}_gradient")
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p]
    step = np.cbrt(3 * np.finfo(np.float64).eps / np.sqrt(12))
    return lambda x, out: function(x.ctypes.data, x.size, step, out.ctypes.data)


def ratios(rounds: int = 30) -> dict[tuple[str, int], float]:
    """Time of the compiled backend over the time of C, for each problem and n; empty without gcc."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        if library is None:
            return {}
        for name, sizes in SIZES.items():
            for n in sizes:
                x, _ = PROBLEMS[name].make(n)
                ours, theirs = np.empty(n), np.empty(n)
                gradient, c = Gradient(PROBLEMS[name].jitted, "fixed"), c_gradient(library, name)
                gradient(x, out=ours)
                c(x, theirs)
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(ours).max())
                times = interleaved(
                    {"numba": lambda g=gradient, x=x, o=ours: g(x, out=o), "c": lambda c=c, x=x, o=theirs: c(x, o)},
                    rounds,
                )
                found[name, n] = median(a / b for a, b in zip(times["numba"], times["c"], strict=True))
    return found


def main() -> None:
    found = ratios()
    if not found:
        print("there is no gcc: nothing to compare with")
    for (name, n), ratio in found.items():
        print(f"{name:18} n={n:<5} numba takes {ratio:5.2f} of the time of C")


if __name__ == "__main__":
    main()
