"""When a failed attempt is tried again."""

from __future__ import annotations

import random
from collections.abc import Sequence

BASE_SECONDS = 60.0
LONGEST_SECONDS = 24 * 3600.0
JITTER = 0.1


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


def tries_left(attempt: int, max_retries: int) -> bool:
    """Tell whether another automatic attempt is allowed after this one."""
    return attempt <= max_retries
