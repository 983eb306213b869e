"""What a bulk action may touch: the states that permit it, and a filter narrowed to them and to the jobs that exist now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.filters import JobFilter
from workers.domain.names import SYSTEM_TASKS, is_reserved_queue
from workers.domain.states import FINAL, WAITING, Status

ALLOWED: dict[str, frozenset[Status]] = {
    "retry": frozenset({Status.FAILED, Status.CANCELED}),
    "run_now": frozenset({Status.SCHEDULED, Status.RETRY_SCHEDULED}),
    "cancel": WAITING | {Status.PROCESSING},
    "delete": FINAL | WAITING,
}


def permits(action: str, wanted: JobFilter) -> bool:
    """Return whether a filter can hold jobs whose state permits an action."""
    try:
        narrow(action, wanted, utcnow())
    except BadInput:
        return False
    return True


def narrow(action: str, wanted: JobFilter, now: datetime) -> JobFilter:
    """Return the filter of the jobs that exist now and whose state permits an action. Raises BadInput."""
    if action not in ALLOWED:
        raise BadInput("The action must be retry, run_now, cancel or delete.", field="action")
    _refuse_reserved(wanted)
    names_states = bool(wanted.status or wanted.is_stuck)
    chosen = tuple(sorted(set(wanted.status) & ALLOWED[action] if names_states else ALLOWED[action]))
    is_stuck = wanted.is_stuck and Status.PROCESSING in ALLOWED[action]
    if not chosen and not is_stuck:
        named = [*wanted.status, *(["stuck"] if wanted.is_stuck else [])]
        raise BadInput(f"Nothing that is {', '.join(named)} can be: {action}.", field="filter")
    until = min(wanted.until, now) if wanted.until else now
    return replace(wanted, status=chosen, is_stuck=is_stuck, until=until, without_tasks=SYSTEM_TASKS)


def _refuse_reserved(wanted: JobFilter) -> None:
    reserved = next((queue for queue in wanted.queue if is_reserved_queue(queue)), None)
    if reserved:
        raise BadInput(f"The queue {reserved} is reserved for system jobs, which cannot be changed.", field="queue")
    own = [task for task in wanted.task if task in SYSTEM_TASKS or task.startswith("system.")]
    if own:
        raise BadInput(f"{own[0]} is a system task. Its jobs cannot be changed.", field="task")
