"""When a failed attempt is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

BASE_SECONDS = 60.0
LONGEST_SECONDS = 24 * 3600.0
JITTER = 0.1
LONGEST_AFTER_SECONDS = 366 * 86_400.0


def delay_seconds(attempt: int, retry_delays: Sequence[float] | None = None, rng: random.Random | None = None) -> float:
    """Tell the seconds to wait after a failed attempt (numbered from 1).

    A task's own list is used as it stands, its last entry for every later attempt. Else 60·2ⁿ seconds (1, 2, 4 minutes …),
    a day at most, with 10 % jitter so that jobs which failed together do not come back together.
    """
    if retry_delays:
        return float(retry_delays[min(attempt, len(retry_delays)) - 1])
    chance = rng or random
    plain = min(BASE_SECONDS * 2.0 ** min(attempt - 1, 20), LONGEST_SECONDS)
    return plain * chance.uniform(1 - JITTER, 1 + JITTER)


def tries_left(attempt: int, max_retries: int, interruptions: int = 0) -> bool:
    """Return whether another automatic attempt is allowed after this one; attempts that were interrupted do not count."""
    return attempt - interruptions <= max_retries


def retry_seconds(after: Any) -> float | None:
    """Return the seconds that `Retry(after=…)` asks for, a year at most; None for what is no time, so the usual delay applies.

    Accepts a number, its text and a timedelta. Never raises: a wrong value must not cost the attempt its ending.
    """
    try:
        seconds = after.total_seconds() if issubclass(type(after), timedelta) else float(after)
    except BaseException:  # the value's methods are the task's own code
        return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_AFTER_SECONDS)
