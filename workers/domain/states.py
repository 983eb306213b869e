"""The states of a job and the arrows between them: the only table of what may follow what."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"  # due later
    PENDING = "pending"  # on a queue
    PROCESSING = "processing"  # a worker runs it
    RETRY_SCHEDULED = "retry_scheduled"  # failed, tries left, waits for the next
    COMPLETED = "completed"  # done
    FAILED = "failed"  # no tries left, or a permanent error
    CANCELED = "canceled"  # a person or a task called it off


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})
WAITING = frozenset({Status.SCHEDULED, Status.PENDING, Status.RETRY_SCHEDULED})

# What takes a job from one state to another; the words are the names of its events.
TRANSITIONS: dict[tuple[Status, Status], frozenset[str]] = {
    (Status.SCHEDULED, Status.PENDING): frozenset({"due", "run_now"}),
    (Status.SCHEDULED, Status.CANCELED): frozenset({"canceled"}),
    (Status.PENDING, Status.PROCESSING): frozenset({"started"}),
    (Status.PENDING, Status.CANCELED): frozenset({"canceled"}),
    (Status.PROCESSING, Status.COMPLETED): frozenset({"completed", "skipped"}),
    (Status.PROCESSING, Status.FAILED): frozenset({"failed", "timed_out", "lost"}),
    (Status.PROCESSING, Status.RETRY_SCHEDULED): frozenset({"failed", "timed_out", "lost", "interrupted"}),
    (Status.PROCESSING, Status.CANCELED): frozenset({"canceled"}),
    (Status.PROCESSING, Status.PENDING): frozenset({"reset"}),
    (Status.RETRY_SCHEDULED, Status.PENDING): frozenset({"due", "run_now"}),
    (Status.RETRY_SCHEDULED, Status.CANCELED): frozenset({"canceled"}),
    (Status.FAILED, Status.PENDING): frozenset({"retried"}),
    (Status.CANCELED, Status.PENDING): frozenset({"retried", "restored"}),
    (Status.CANCELED, Status.SCHEDULED): frozenset({"restored"}),
    (Status.CANCELED, Status.RETRY_SCHEDULED): frozenset({"restored"}),
}

# Events that tell something without moving the job.
NOTES = frozenset({"enqueued", "requeued", "cancel_requested", "payload_edited", "delayed"})


def may_move(before: Status, after: Status, event: str) -> bool:
    """Tell whether this event takes a job from one state to the other."""
    return event in TRANSITIONS.get((before, after), frozenset())
