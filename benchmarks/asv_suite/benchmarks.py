"""asv's suite: time, accuracy, evaluations, memory, `auto`'s choice, first calls and import, over commits.

asv run; python -m benchmarks.site. A quick check that all of it works:
asv run --python=same --quick --dry-run --show-stderr

A class measures all it shows in one process, its ways interleaved, and each figure is then looked up: asv's own timing
starts a process for each of the hundreds of figures, compiles there again, and after a `setup` times one call alone.
"""

from __future__ import annotations

from math import nan
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.networks import NETWORKS, measured
from benchmarks.operators import CASES as OPERATORS
from benchmarks.operators import measure as measure_operator
from benchmarks.problems import PROBLEMS
from benchmarks.regressions import CASES, SOURCES, WAYS, exists, first_seconds, import_seconds, measure

try:
    from fastgrad import gradient_descent
except ImportError:  # a commit before this interface: its benchmarks are skipped, discovery does not fail
    gradient_descent = None  # type: ignore[assignment]

Figures = dict[str, dict[str, dict[str, float] | str]]
SHORT = [case for case, (_, n) in CASES.items() if n <= 100]
CHOICES = {"plain": ("auto", ("python", "lifted")), "jitted": ("jitted", ("jitted", "lanes"))}


def of(figures: Figures, way: str, case: str) -> dict[str, float]:
    """The figures of a cell, none if it does not exist; NotImplementedError, which asv skips, where a commit cannot."""
    found = figures[case].get(way, {})
    if isinstance(found, str):
        raise NotImplementedError(found)
    return found


class Measured:
    """The cells of `benchmarks.regressions`, measured once."""

    def setup_cache(self) -> Figures:
        return {case: measure(case) for case in CASES}

    setup_cache.timeout = 600  # type: ignore[attr-defined]


class Gradients(Measured):
    """A prepared gradient, called again: `gradient(x)`."""

    params: Any = [list(WAYS), list(CASES)]
    param_names = ["way", "case"]

    def setup(self, figures: Figures, way: str, case: str) -> None:
        self.found = of(figures, way, case)

    def track_time(self, figures: Figures, way: str, case: str) -> float:
        return self.found.get("seconds", nan)

    def track_lost_digits(self, figures: Figures, way: str, case: str) -> float:
        """Of 16, in the worst component against the largest."""
        return self.found.get("lost_digits", nan)

    def track_nfev(self, figures: Figures, way: str, case: str) -> float:
        return self.found.get("nfev", nan)

    def track_peak_memory(self, figures: Figures, way: str, case: str) -> float:
        """Bytes that a gradient allocates at its peak, besides what stays."""
        return self.found.get("peak_memory", nan)

    track_time.unit = "seconds"  # type: ignore[attr-defined]
    track_lost_digits.unit = "digits"  # type: ignore[attr-defined]
    track_nfev.unit = "evaluations"  # type: ignore[attr-defined]
    track_peak_memory.unit = "bytes"  # type: ignore[attr-defined]


class OneShot(Measured):
    """`numerical_gradient(f, x)`: what a call costs that prepares nothing."""

    params: Any = [list(WAYS), SHORT]
    param_names = ["way", "case"]

    def setup(self, figures: Figures, way: str, case: str) -> None:
        self.found = of(figures, way, case)

    def track_time(self, figures: Figures, way: str, case: str) -> float:
        return self.found.get("one_shot", nan)

    track_time.unit = "seconds"  # type: ignore[attr-defined]


class Choice(Measured):
    """The time of what `auto` chose, over that of the best way for the same form of f: 1 is perfect."""

    params: Any = [list(CHOICES), list(CASES)]
    param_names = ["form", "case"]

    def setup(self, figures: Figures, kind: str, case: str) -> None:
        auto, explicit = CHOICES[kind]
        times = [of(figures, way, case).get("seconds", nan) for way in explicit if exists(way, case)]
        self.regret = of(figures, auto, case).get("seconds", nan) / min(times, default=nan)

    def track_regret(self, figures: Figures, kind: str, case: str) -> float:
        return self.regret

    track_regret.unit = "times the best"  # type: ignore[attr-defined]


class Cold:
    """What is paid once."""

    def setup_cache(self) -> dict[str, Any]:
        if gradient_descent is None:
            return {}
        return {"import": import_seconds(), **{name: first_seconds(name) for name in SOURCES}}

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    params: Any = [list(SOURCES)]
    param_names = ["problem"]

    def setup(self, figures: dict[str, Any], *problem: str) -> None:
        if not figures:
            raise NotImplementedError("no such interface")

    def track_first_gradient(self, figures: dict[str, Any], problem: str) -> float:
        """Of a jitted function, its compilation included."""
        return float(figures[problem]["first"])

    def track_first_without_cache(self, figures: dict[str, Any], problem: str) -> float:
        """The first gradient where no disk cache holds anything, over compiling the function itself."""
        return float(figures[problem]["bare"] / figures[problem]["compile"])

    def track_warm_start(self, figures: dict[str, Any], problem: str) -> float:
        """The first gradient of a function in numba's disk cache, over the first call of the function itself."""
        return float(figures[problem]["warm"] / figures[problem]["own"])

    def track_import(self, figures: dict[str, Any]) -> float:
        """CPU seconds of `import fastgrad` beyond numpy's."""
        return float(figures["import"])

    track_first_gradient.unit = "seconds"  # type: ignore[attr-defined]
    track_first_without_cache.unit = "times f"  # type: ignore[attr-defined]
    track_warm_start.unit = "times f"  # type: ignore[attr-defined]
    track_import.unit = "seconds"  # type: ignore[attr-defined]
    track_import.params = []  # type: ignore[attr-defined]


class Operators:
    """Jacobians, Hessians and their like: `benchmarks.operators`."""

    params: Any = [list(OPERATORS)]
    param_names = ["case"]

    def setup_cache(self) -> dict[str, dict[str, float]]:
        try:
            return {case: measure_operator(case) for case in OPERATORS}
        except NotImplementedError:
            return {}

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def setup(self, figures: dict[str, dict[str, float]], case: str) -> None:
        if case not in figures:
            raise NotImplementedError("no such interface")

    def track_time(self, figures: dict[str, dict[str, float]], case: str) -> float:
        return figures[case]["seconds"]

    def track_lost_digits(self, figures: dict[str, dict[str, float]], case: str) -> float:
        """Of 16, in the worst entry against the largest."""
        return figures[case]["lost_digits"]

    def track_nfev(self, figures: dict[str, dict[str, float]], case: str) -> float:
        return figures[case]["nfev"]

    track_time.unit = "seconds"  # type: ignore[attr-defined]
    track_lost_digits.unit = "digits"  # type: ignore[attr-defined]
    track_nfev.unit = "evaluations"  # type: ignore[attr-defined]


class Descent:
    """A hundred steps downhill."""

    params: Any = [["python", "numba"], [2, 100]]
    param_names = ["backend", "n"]

    def setup(self, backend: str, n: int) -> None:
        if gradient_descent is None:
            raise NotImplementedError("no such interface")
        problem = PROBLEMS["rosenbrock"]
        f, x = problem.jitted if backend == "numba" else problem.f, problem.make(n)[0]
        times = []
        for _ in range(6):  # the first compiles
            began = perf_counter()
            gradient_descent(f, x, lr=1e-4, step_num=100, backend=backend)
            times.append(perf_counter() - began)
        self.seconds = median(times[1:])

    def track_descent(self, backend: str, n: int) -> float:
        return self.seconds

    track_descent.unit = "seconds"  # type: ignore[attr-defined]


class Networks:
    """A textbook's networks: gradients of closures over arrays that layers hold, beside the textbook's loop."""

    cells = {
        f"{network}, {array}": (network, array)
        for network, arrays in (
            ("relu 100-50-50-10 decay", ("W2", "W3")),
            ("conv 12x12, 8 filters", ("W1", "W2")),
            ("rnn, 5 steps", ("Wh",)),
            ("lstm, 5 steps", ("Wh", "b")),
        )
        for array in arrays
    }
    params: Any = [list(cells)]
    param_names = ["array"]

    def setup_cache(self) -> dict[str, dict[str, float | int | str]]:
        return {
            name: measured(NETWORKS[network][0](), array, rounds=3, some=40)._asdict()
            for name, (network, array) in self.cells.items()
        }

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_gain(self, figures: dict[str, dict[str, float]], name: str) -> float:
        """Of the default gradient over the loop."""
        return figures[name]["book"] / figures[name]["default"]

    def track_gain_given_h(self, figures: dict[str, dict[str, float]], name: str) -> float:
        return figures[name]["book"] / figures[name]["fixed"]

    def track_nfev(self, figures: dict[str, dict[str, float]], name: str) -> float:
        """Of the default gradient with its error bars, for each entry."""
        return figures[name]["nfev"] / figures[name]["n"]

    track_gain.unit = track_gain_given_h.unit = "times"  # type: ignore[attr-defined]
    track_nfev.unit = "evaluations"  # type: ignore[attr-defined]
