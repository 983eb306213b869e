"""What becomes of the moments at which a schedule was due: fired, or missed under its policy. Pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

OVERLAPS = ("allow", "skip", "queue_one")
MISSED = ("skip", "run_once", "catch_up")
MOST_CAUGHT_UP = 100
# A fire that comes no later than this is late, not missed; every policy runs it.
GRACE = timedelta(seconds=60)
# The newest moments that `plan` has to see: a minute of a schedule that fires every second, and what may be caught up.
NEWEST = 62 + MOST_CAUGHT_UP


@dataclass(frozen=True, slots=True)
class Plan:
    """Moments to fire now, oldest first, and how many are passed over, the last of them."""

    fire: tuple[datetime, ...] = ()
    missed: int = 0
    last_missed: datetime | None = None


def plan(
    policy: str,
    catch_up_max: int,
    count: int,
    newest: Sequence[datetime],
    now: datetime,
    grace: timedelta = GRACE,
) -> Plan:
    """Judge the moments that are due: `count` of them, of which these are the newest, oldest first.

    skip: what was missed is not run. run_once: one run stands for everything due. catch_up: the newest `catch_up_max` of
    what was missed are run.
    """
    in_grace = tuple(one for one in newest if now - one <= grace)
    late = count - len(in_grace)
    if not late:
        return Plan(in_grace)
    fire = in_grace
    if policy == "run_once":
        fire = (newest[-1],)
    elif policy == "catch_up":
        older = newest[: len(newest) - len(in_grace)]
        fire = (*older[-catch_up_max:], *in_grace)
    chosen = set(fire)
    passed = [one for one in newest if one not in chosen]
    missed = count - len(fire)
    return Plan(fire, missed, passed[-1] if passed and missed else None)
