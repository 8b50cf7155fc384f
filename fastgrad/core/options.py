"""The options of a gradient, checked once: everything but f and x."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.table import BACKENDS
from ..planning.choices import AUTO
from ..schemes.fixed import Fixed, searching
from ..schemes.scheme import Scheme
from ..schemes.stencils import METHODS, Stencil
from ..schemes.steps import Step, step_rule
from .errors import describe
from .validation import one_of

ADAPTIVE = "adaptive"


class Plan:
    """The options of a gradient, checked; f is not among them."""

    NAMES = (
        "h",
        "backend",
        "method",
        "order",
        "rel_step",
        "bounds",
        "indices",
        "batch_axis",
        "noise",
        "rtol",
        "atol",
        "dtype",
        "compile",
        "workers",
        "fastmath",
    )

    def __init__(
        self,
        h: Any,
        backend: str,
        method: str | Stencil,
        order: int,
        rel_step: Any,
        bounds: Any,
        indices: Any,
        batch_axis: int | None,
        noise: float | str | None,
        rtol: float,
        atol: float,
        dtype: str | None,
        compile: str | None,
        workers: int,
        fastmath: bool = False,
    ) -> None:
        one_of("backend", backend, (AUTO, *BACKENDS))
        one_of("batch_axis", batch_axis, (None, 0, -1))
        one_of("dtype", dtype, (None, "keep"))
        one_of("compile", compile, (None, "eager"))
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"`workers` must be a whole number of threads, 1 or more; got {describe(workers)}")
        one_of("fastmath", fastmath, (False, True))
        self.compile, self.workers, self.fastmath = compile, workers, fastmath
        self.h, self.backend, self.method, self.order, self.rel_step = h, backend, method, order, rel_step
        self.bounds, self.indices, self.batch_axis = bounds, indices, batch_axis
        self.noise, self.rtol, self.atol, self.dtype = _noise(noise), rtol, atol, dtype
        # rounding is not all that there is: how much more is to be seen
        looked = "probe" if fastmath and self.noise is None else self.noise
        automatic = rel_step is None and (h is None or (isinstance(h, str) and h == AUTO))
        self._scheme: Scheme | None = None
        if isinstance(method, Stencil):
            self.stencil, name = method, f"stencil {', '.join(map(str, method.offsets))}"
            if method.deriv != 1:
                raise ValueError(f"`method` must be a stencil of the first derivative, got deriv={method.deriv}")
        else:
            one_of("method", method, (*METHODS, ADAPTIVE))
            name = method
            if method == ADAPTIVE:
                if not automatic:
                    raise ValueError(f"method='adaptive' chooses its steps: leave out `h` and `rel_step`, got h={h!r}")
                self._scheme = searching("Adaptive")(looked, tolerance("rtol", rtol), tolerance("atol", atol))
                self.stencil = self._scheme.stencil
            else:
                self.stencil = METHODS[method](order)
        self.name = name
        self.automatic = automatic and not self.stencil.imaginary and self._scheme is None
        if self.automatic:
            self._scheme = searching("Automatic")(self.stencil, looked, name)
        # what one compiled or plain loop does without further questions
        self.plain = (
            bounds is None and indices is None and dtype is None and not self.stencil.imaginary and name != ADAPTIVE
        )
        self._fixed: dict[tuple[int, ...], Fixed] = {}

    def options(self) -> dict[str, Any]:
        """Return the options as they were given."""
        return {name: getattr(self, name) for name in self.NAMES}

    def rule_for(self, shape: tuple[int, ...]) -> Step | None:
        """Return the fixed step rule for an x of this shape; None if the steps choose themselves."""
        if self._scheme is not None:
            return None
        return self._fixed_for(shape).rule

    def scheme_for(self, shape: tuple[int, ...], bars: bool) -> Scheme:
        """Return how the step is chosen; with error bars where they are wanted."""
        if self._scheme is None:
            return self._fixed_for(shape)
        return self._scheme

    def _fixed_for(self, shape: tuple[int, ...]) -> Fixed:
        scheme = self._fixed.get(shape)
        if scheme is None:
            h = None if isinstance(self.h, str) and self.h == AUTO else self.h
            scheme = Fixed(self.stencil, step_rule(h, self.rel_step, self.stencil, shape), self.name)
            if len(self._fixed) > 16:
                self._fixed.clear()
            self._fixed[shape] = scheme
        return scheme


def _noise(noise: Any) -> float | str | None:
    if noise is None or (isinstance(noise, str) and noise == "probe"):
        return noise
    valid = isinstance(noise, (int, float, np.floating, np.integer)) and not isinstance(noise, bool)
    if not valid or not 0 <= noise < np.inf:
        raise ValueError(
            f"`noise` must be None, 'probe' or the standard deviation of f's noise, 0 or more; got {describe(noise)}"
        )
    return float(noise)


def tolerance(name: str, value: Any) -> float:
    """Return a tolerance: a finite number, 0 or more."""
    valid = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not valid or not 0 <= value < np.inf:
        raise ValueError(f"`{name}` must be a finite number, 0 or more; got {describe(value)}")
    return float(value)
