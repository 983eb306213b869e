"""Why is it not running? One sentence for each waiting job, from facts alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from workers.domain.states import Status


@dataclass(frozen=True, slots=True)
class WaitFacts:
    """What is known about a job that waits; times are aware, rates are jobs a minute."""

    status: Status
    queue: str
    now: datetime
    due_at: datetime | None = None
    attempt: int = 1
    max_retries: int = 0
    error: str | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    redis_trouble: str | None = None
    workers: int = 0
    busy: int = 0
    ahead: int = 0
    ahead_is_capped: bool = False
    rate_per_minute: float = 0.0


def sentence(facts: WaitFacts) -> str:
    """Say why a job is where it is."""
    if facts.status == Status.SCHEDULED:
        return f"It is scheduled for {_clock(facts.due_at)} and goes onto {facts.queue} then."
    if facts.status == Status.RETRY_SCHEDULED:
        return f"Attempt {facts.attempt} failed; the next try is due at {_clock(facts.due_at)}."
    if facts.status == Status.PENDING:
        return _pending(facts)
    if facts.status == Status.PROCESSING:
        return "It is running."
    return f"It has ended: {facts.status.value}."


def _pending(facts: WaitFacts) -> str:
    if facts.paused_at is not None:
        by = f" by {facts.paused_by}" if facts.paused_by else ""
        return f"The queue {facts.queue} was paused{by} at {_clock(facts.paused_at)}; resume it to go on."
    if facts.redis_trouble is not None:
        return facts.redis_trouble
    if facts.workers == 0:
        return f"No worker listens to {facts.queue}. Start one: python app.py worker --queues {facts.queue}."
    if facts.ahead == 0:
        if facts.busy >= facts.workers:
            return f"It is next: every worker of {facts.queue} is busy ({facts.busy} of {facts.workers})."
        return "It is next; a worker is about to take it."
    ahead = (
        f"{facts.ahead:,}{'+' if facts.ahead_is_capped else ''} job{'s are' if facts.ahead != 1 else ' is'} ahead of it"
    )
    if facts.rate_per_minute <= 0:
        return f"{ahead} on {facts.queue}; none has ended there in the last ten minutes."
    return f"{ahead} on {facts.queue}, about {_span(facts.ahead / facts.rate_per_minute)} at the present rate."


def _clock(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"


def _span(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"{round(minutes)} min"
    return f"{round(minutes / 60)} h"
