"""What a check found: a verdict on each component by its error bar, and a report that names the worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.validation import Floats, Ints
from ..schemes.scheme import Estimate

RIGHT, WRONG, UNKNOWN = "right", "wrong", "cannot tell"
WORST = 5
# Bars hold in some 98 of 100 components, and what is beyond them is rarely so many times as large.
DOUBT = 2.0
# At a kink the slopes to both sides are as certain as this share of their gap.
SLACK = 1e-3


class Failure(NamedTuple):
    """One number that is wrong, or cannot be told: where, both values, the bar, and which of the two, with the reason.

    Attributes
    ----------
    where : str
        Its index, name or label.
    given, expected, error : float
    verdict : str
        "wrong", or "cannot tell: ..."
    """

    where: str
    given: float
    expected: float
    error: float
    verdict: str


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradient` found. True if the gradient is right; prints as a report.

    Attributes
    ----------
    verdict : {"right", "wrong", "cannot tell"}
        "cannot tell": nothing contradicts the gradient, but f shows no certain digit of some of it.
    given, expected, error : ndarray
        The gradient that was checked, the numerical one and its error bars; along directions, the products with these.
        Where x is a dictionary, its entries one after another.
    wrong, unknown : ndarray of bool
        Which of them are wrong, and which cannot be told.
    reasons : ndarray of str
        Why not.
    directions : int or None
        How many random directions were used; None: every component.
    nfev : int
        Evaluations of f.
    failures : list of Failure
        Those that are wrong or cannot be told, the worst first.
    """

    verdict: str
    given: Floats
    expected: Floats
    error: Floats
    wrong: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    reasons: NDArray[np.str_]
    directions: int | None
    nfev: int
    labels: Callable[[int], str] | None = field(default=None, compare=False)

    _subject: ClassVar[str] = "gradient"
    _part: ClassVar[str] = "component"

    def __bool__(self) -> bool:
        return self.verdict == RIGHT

    def __str__(self) -> str:
        what = self._part if self.directions is None else "direction"
        lines = [
            f"the {self._subject} is {self.verdict}"
            if self.verdict != UNKNOWN
            else f"cannot tell whether the {self._subject} is right",
            f"{np.count_nonzero(self.wrong)} of {self.wrong.size} {_plural(what)} wrong, "
            f"{np.count_nonzero(self.unknown)} cannot be told; {self.nfev} evaluations of f",
        ]
        lines += [
            f"  {what} {where}: given {given:.10g}, numerical {expected:.10g} ± {error:.2g} ({kind})"
            for where, given, expected, error, kind in self._worst(WORST)
        ]
        return "\n".join(lines)

    @property
    def failures(self) -> list[Failure]:
        return self._worst(None)

    def _worst(self, count: int | None) -> list[Failure]:
        bad = self.wrong | self.unknown
        with np.errstate(all="ignore"):
            excess = np.where(bad, np.abs(self.given - self.expected) / np.maximum(self.error, 1e-300), -1.0)
        excess[np.isnan(excess)] = np.inf
        places = np.argsort(-excess, axis=None, kind="stable")[: np.count_nonzero(bad)][:count].tolist()
        found = []
        for flat in places:
            given, expected, error = (float(a.reshape(-1)[flat]) for a in (self.given, self.expected, self.error))
            kind = WRONG if self.wrong.reshape(-1)[flat] else f"{UNKNOWN}: {self.reasons.reshape(-1)[flat]}"
            found.append(Failure(self._label(flat), given, expected, error, kind))
        return found

    __repr__ = __str__

    def _label(self, flat: int) -> str:
        """Name one of the numbers that were compared."""
        if self.labels is not None:
            return self.labels(flat)
        where = tuple(int(i) for i in np.unravel_index(flat, self.given.shape))
        return str(where[0] if len(where) == 1 else where)


@dataclass(frozen=True, repr=False)
class JacobianCheck(GradientCheck):
    """What `check_jacobian` or `check_hessian` found. True if the matrix is right; prints as a report.

    The attributes of `GradientCheck`, and:

    Attributes
    ----------
    given, expected, error, wrong, unknown, reasons : ndarray
        Of the matrix's shape; of a sparse one, a list of the entries that either side has. Along directions, of shape
        (directions, f(x).size) for a Jacobian, (directions,) for a Hessian.
    entries : ndarray of int, shape (k, 2), or None
        Row and column of each entry of a sparse matrix.
    missing : ndarray of int, shape (k, 2), or None
        Row and column of the entries that f has and the sparse matrix lacks, those that are 0 at x included; None for
        a dense one.
    """

    entries: Ints | None = None
    missing: Ints | None = None

    _subject: ClassVar[str] = "Jacobian"
    _part: ClassVar[str] = "entry"

    def __str__(self) -> str:
        told = super().__str__()
        if self.missing is None or not len(self.missing):
            return told
        shown = ", ".join(str(tuple(pair)) for pair in self.missing[:WORST].tolist())
        more = f" and {len(self.missing) - WORST} more" if len(self.missing) > WORST else ""
        return (
            f"{told}\n{len(self.missing)} {_plural('entry', len(self.missing))} missing from the pattern: {shown}{more}"
        )

    __repr__ = __str__

    def _label(self, flat: int) -> str:
        if self.entries is not None and self.directions is None:
            return str(tuple(self.entries[flat].tolist()))
        return super()._label(flat)


class HessianCheck(JacobianCheck):
    """What `check_hessian` found."""

    _subject: ClassVar[str] = "Hessian"


def _plural(what: str, count: int = 2) -> str:
    return what if count == 1 else f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


Kind = TypeVar("Kind", bound=GradientCheck)


class Seen(NamedTuple):
    """What f shows of its derivatives: values, bars, how low and high they may be, and why no digit is certain."""

    expected: Floats
    error: Floats
    low: Floats
    high: Floats
    reasons: NDArray[np.str_]
    nfev: int


def seen_of(expected: Floats, error: Floats, reasons: NDArray[np.str_], slopes: Floats, nfev: int) -> Seen:
    """Say how low and high derivatives may be: by their bars, or between the slopes from both sides of a kink.

    Parameters
    ----------
    slopes : ndarray, shape (m, 2)
        As in `Estimate`, nan where there is no kink.
    """
    reasons = reasons.copy()
    low, high = expected - DOUBT * error, expected + DOUBT * error
    kinks = np.isfinite(slopes).all(axis=1)
    below, above = np.sort(slopes[kinks], axis=1).T
    low[kinks], high[kinks] = below - SLACK * (above - below), above + SLACK * (above - below)
    reasons[kinks] = ""
    return Seen(expected, error, low, high, reasons, nfev)


def counted(check: Kind, nfev: int) -> Kind:
    """Return a check that has cost so many evaluations more."""
    return replace(check, nfev=check.nfev + nfev)


def joined(looks: list[Seen], nfev: int) -> Seen:
    """Return several in one list."""
    lists = zip(*(look[:-1] for look in looks), strict=True)
    return Seen._make([*map(np.concatenate, lists), nfev + sum(look.nfev for look in looks)])


def joined_checks(checks: list[GradientCheck], labels: Callable[[int], str]) -> GradientCheck:
    """Return several as one, with names for their numbers."""
    verdicts = [check.verdict for check in checks]

    lists = {
        name: np.concatenate([getattr(check, name).reshape(-1) for check in checks])
        for name in ("given", "expected", "error", "wrong", "unknown", "reasons")
    }
    return GradientCheck(
        next((verdict for verdict in (WRONG, UNKNOWN) if verdict in verdicts), RIGHT),
        **lists,
        directions=checks[0].directions if checks else None,
        nfev=sum(check.nfev for check in checks),
        labels=labels,
    )


def reasons_of(estimate: Estimate) -> NDArray[np.str_]:
    """Return why no digit is certain, for each component; empty where one is."""
    flags = [""] * estimate.gradient.size if estimate.flags is None else list(estimate.flags)
    return np.where(np.isfinite(estimate.gradient) | (np.array(flags) != ""), flags, "f is not finite beside x")


def judged(given: Floats, seen: Seen, allowed: Floats, directions: int | None, kind: type[Kind], **more: Any) -> Kind:
    """Return the check of numbers that may differ from what was seen by so much."""
    flat = given.reshape(-1)
    with np.errstate(invalid="ignore"):
        outside = ~(np.isfinite(flat) & (flat >= seen.low - allowed) & (flat <= seen.high + allowed))
    certain = seen.reasons == ""
    wrong, unknown = outside & certain, ~certain
    verdict = WRONG if wrong.any() else UNKNOWN if unknown.any() else RIGHT
    lists = {**seen._asdict(), "wrong": wrong, "unknown": unknown}
    names = ("expected", "error", "wrong", "unknown", "reasons")
    shaped: dict[str, Any] = {name: lists[name].reshape(given.shape) for name in names}
    return kind(verdict, given, **shaped, directions=directions, nfev=seen.nfev, **more)
