"""Why is it not running? A few sentences for each waiting job, from facts alone.

What holds a job, whoever is in front of it, is a list of functions: each looks at the facts and names one cause, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from workers.domain.plurals import counted, plural
from workers.domain.staleness import spoken
from workers.domain.states import Status

OVERDUE_SECONDS = 30.0  # a scheduler moves what is due within a second
LONGEST_ESTIMATE_MINUTES = 24 * 60.0


@dataclass(frozen=True, slots=True)
class WaitFacts:
    """What is known about a job that waits; times are aware, spans in seconds, rates in jobs a minute."""

    status: Status
    queue: str
    now: datetime
    task: str = ""
    task_is_known: bool = True  # some worker has published it
    due_at: datetime | None = None
    schedule: str | None = None  # the id of the schedule whose run it is
    attempt: int = 1
    max_retries: int = 0
    error: str | None = None
    redis_trouble: str | None = None  # why Redis takes or gives no jobs now
    paused_at: datetime | None = None
    paused_by: str | None = None
    workers: int = 0  # that listen to the queue and are alive
    lost_workers: int = 0  # that listened to it and have gone silent
    busy: int = 0  # of them, with a job of whatever queue
    busy_elsewhere: int = 0  # of them, with a job of another queue
    longest_run_seconds: float | None = None  # of the jobs that they run now
    ahead: int = 0  # on the same queue
    ahead_is_capped: bool = False
    waiting_elsewhere: int = 0  # on the other queues that the same workers serve
    rate_per_minute: float = 0.0  # attempts that ended on the queue in the last minute


def sentence(facts: WaitFacts) -> str:
    """Say why a job is where it is."""
    if facts.status == Status.PROCESSING:
        return "The job is running."
    if facts.status not in {Status.SCHEDULED, Status.RETRY_SCHEDULED, Status.PENDING}:
        return f"The job has ended: {facts.status.value}."
    return " ".join(causes(facts) or [_place(facts)])


def causes(facts: WaitFacts) -> list[str]:
    """List what holds a job, the first cause first; empty when it only waits for its turn."""
    found = [cause(facts) for cause in _CAUSES]
    return [one for one in found if one is not None]


def _time(facts: WaitFacts) -> str | None:
    if facts.status not in {Status.SCHEDULED, Status.RETRY_SCHEDULED}:
        return None
    due = _clock(facts.due_at)
    late = (facts.now - facts.due_at).total_seconds() if facts.due_at else 0.0
    if late > OVERDUE_SECONDS:
        return (
            f"The job was due at {due}, {spoken(late)} ago, but no scheduler has moved it to {facts.queue}. "
            "Check that a scheduler is running: python app.py doctor."
        )
    if facts.status == Status.RETRY_SCHEDULED:
        return f"Attempt {facts.attempt} failed; the next attempt is due at {due}."
    of_schedule = "The job is a run of a schedule, due at" if facts.schedule else "The job is scheduled for"
    return f"{of_schedule} {due}. It moves to {facts.queue} then."


def _redis(facts: WaitFacts) -> str | None:
    if facts.status != Status.PENDING or facts.redis_trouble is None:
        return None
    return facts.redis_trouble


def _unknown_task(facts: WaitFacts) -> str | None:
    if facts.task_is_known:
        return None
    return f"No worker has published the task {facts.task}. Start a worker whose TASK_MODULES includes it."


def _pause(facts: WaitFacts) -> str | None:
    if facts.paused_at is None:
        return None
    by = f" by {facts.paused_by}" if facts.paused_by else ""
    return f"The queue {facts.queue} was paused{by} at {_clock(facts.paused_at)}. Resume the queue to run its jobs."


def _no_worker(facts: WaitFacts) -> str | None:
    if facts.status != Status.PENDING or facts.workers:
        return None
    lost = ""
    if facts.lost_workers:
        lost = f" {counted(facts.lost_workers, 'worker')} of this queue {plural(facts.lost_workers, 'is', 'are')} lost."
    return f"No worker listens to {facts.queue}.{lost} Start one: python app.py worker --queues {facts.queue}."


_CAUSES: tuple[Callable[[WaitFacts], str | None], ...] = (_time, _redis, _unknown_task, _pause, _no_worker)


def _place(facts: WaitFacts) -> str:
    """Say where a job is in its queue, and what its workers do."""
    if facts.ahead == 0:
        if facts.busy < facts.workers:
            return "The job is next; a worker is about to start it."
        return f"The job is next: {_work(facts)}"
    number = f"{facts.ahead:,}{'+' if facts.ahead_is_capped else ''}"
    ahead = f"{number} {plural(facts.ahead, 'job is', 'jobs are')} ahead of it on {facts.queue}{_estimate(facts)}."
    work = _work(facts)
    return f"{ahead} {work[0].upper()}{work[1:]}"


def _estimate(facts: WaitFacts) -> str:
    rate = facts.rate_per_minute
    if rate <= 0:
        return "; none ended there in the last minute"
    minutes = facts.ahead / rate
    about = "at least" if facts.ahead_is_capped else "about"
    shown = f"{about} {_span(round(minutes))}"
    if minutes < 1:
        shown = "less than a minute"
    elif minutes > LONGEST_ESTIMATE_MINUTES:
        shown = "more than a day"
    return f", {shown} at the rate of the last minute ({counted(max(rate, 1), 'job')})"


def _span(minutes: int) -> str:
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _work(facts: WaitFacts) -> str:
    busy, total = facts.busy, facts.workers
    if not busy:
        return f"{counted(total, 'worker')} {plural(total, 'listens', 'listen')}, none of them busy."
    if busy >= total:
        words = [f"every worker of {facts.queue} is busy ({busy:,} of {total:,})"]
    else:
        words = [f"{busy:,} of {counted(total, 'worker')} {plural(busy, 'is', 'are')} busy"]
    if facts.busy_elsewhere:
        words.append(f"{facts.busy_elsewhere:,} with jobs of other queues")
    if facts.longest_run_seconds is not None:
        words.append(f"the longest for {spoken(facts.longest_run_seconds)}")
    if facts.waiting_elsewhere:
        words.append(f"{counted(facts.waiting_elsewhere, 'job')} waiting on other queues that they serve")
    return f"{', '.join(words)}."


def _clock(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"
