"""What is said of components that no digit is certain of."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import AccuracyWarning, warn
from ..core.point import Point
from ..core.validation import Ints
from .constants import NOT_FINITE

__all__ = ["tell"]

SHOWN = 3
MEANS_ZERO = "take it for 0 where only f's rounding depends on it (a bias before a normalisation, a shift of a softmax)"
REMEDIES = (
    ("digits", "rewrite what cancels inside f (expm1, log1p, hypot), or use method='complex' where f is analytic"),
    ("kink", "use method='forward' or 'backward' for the slope to one side"),
    ("the slope ", "keep x away from where f has no derivative (`bounds`), or use a one-sided `method`"),
    ("jumps", "give f more digits, or an `h` much larger than its jumps"),
    ("is 0, or", MEANS_ZERO),
    ("0 is as likely", MEANS_ZERO),
    ("hides what is less", MEANS_ZERO),
    ("digit is certain", "declare f's noise with `noise`, or try method='complex' or 'adaptive'"),
    ("disagree", "f may have kinks or jumps beside x: give an `h` that passes over them, or a one-sided `method`"),
)


def tell(flags: Sequence[str] | None, point: Point, index: Ints) -> None:
    """Warn once, at the user's line, of the components that are flagged: the first three by name, and how many.

    `flags`: as in `Estimate.flags`.
    `point`, `index`: as in `Task`.
    """
    said = [] if flags is None else [(i, flag) for i, flag in enumerate(flags) if flag and not _told(flag)]
    if not said:
        return
    named = [f"component {point.name(int(index[i]))}: {flag}" for i, flag in said[:SHOWN]]
    more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    remedies = [remedy for word, remedy in REMEDIES if any(word in flag for _, flag in said)]
    advice = f". To do: {'; or '.join(dict.fromkeys(remedies))}" if remedies else ""
    warn(
        f"no digit of {len(said)} of {index.size} partial derivatives is certain ({'; '.join(named)}{more}){advice}",
        AccuracyWarning,
    )


def _told(flag: str) -> bool:
    """Return whether a `NonFiniteWarning` has said so."""
    return flag in (NOT_FINITE, "f(x) is not finite")
