"""How an open alert ends that is not found any more.

Its cause is gone, it is part of another alert, nobody looks at its cause any more, or its cause cannot be judged now.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.domain.alarms import GROUPED, RESOLVED, UNWATCHED


@dataclass(frozen=True, slots=True)
class Closing:
    """How an alert ends, and a sentence for people that says why."""

    how: str  # resolved, grouped, unwatched; empty while it is not known
    why: str = ""


RECOVERED = Closing(RESOLVED)
UNKNOWN = Closing("")


def unwatched(why: str) -> Closing:
    """Return the end of an alert whose cause nobody looks at any more."""
    return Closing(UNWATCHED, why)


def grouped(title: str) -> Closing:
    """Return the end of an alert that is part of another one, which has this title."""
    return Closing(GROUPED, f"Grouped into another alert: {title}.")
