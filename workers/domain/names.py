"""What names may look like: queues, tasks, priorities."""

from __future__ import annotations

import re

from workers.domain.errors import BadInput

PRIORITIES = ("high", "normal", "low")
DEFAULT_MAX_RETRIES = {"high": 5, "normal": 3, "low": 2}
DEFAULT_TIMEOUT_SECONDS = 1800
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600
MAX_RETRIES = 100
# The queues of Taskyard's own work, each with a worker of its own: the monitor, what goes out, long bulk actions.
SYSTEM_QUEUE, DELIVERY_QUEUE, BULK_QUEUE = SYSTEM_QUEUES = ("system", "system-deliveries", "system-bulk")
# Only Taskyard itself enqueues these tasks.
BULK_TASK = "system.bulk_action"
SYSTEM_TASKS = ("monitor.sweep", BULK_TASK, "system.callback", "system.deliver")
SYSTEM_KEY = "system:"  # how the idempotency keys of Taskyard's own jobs begin

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = re.compile(r"system([-._].*)?", re.IGNORECASE | re.DOTALL)
_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,15}")


def check_queue(name: str) -> str:
    """Return the queue's name, or refuse it with BadInput."""
    if not isinstance(name, str) or not _QUEUE.fullmatch(name):
        raise BadInput(
            "A queue's name has 1 to 64 letters, digits, dots, dashes or underscores and starts with a letter or digit.",
            field="queue",
        )
    return name


def is_reserved_queue(name: str) -> bool:
    """Return whether a queue is Taskyard's own: `system`, alone or followed by a dash, dot or underscore, in any case."""
    return _RESERVED.fullmatch(name) is not None


def check_open_queue(name: str) -> str:
    """Return the name of a queue that people may use, or refuse it with BadInput."""
    if is_reserved_queue(check_queue(name)):
        raise BadInput(
            f"The queue {name} is reserved for system jobs such as the monitor. Choose another queue.", "queue"
        )
    return name


def check_open_task(name: str) -> str:
    """Return the name of a task that people may run, or refuse it with BadInput."""
    if name in SYSTEM_TASKS:
        raise BadInput(f"{name} is a system task. Choose another task.", field="task")
    return name


def check_task(name: str) -> str:
    """Return the task's name, or refuse it with BadInput."""
    if not isinstance(name, str) or len(name) > 200 or not _TASK.fullmatch(name):
        raise BadInput("A task's name must look like reports.daily: words separated by dots.", field="task")
    return name


def check_priority(name: str) -> str:
    """Return the priority, or refuse it with BadInput."""
    if name not in PRIORITIES:
        raise BadInput("The priority must be high, normal or low.", field="priority")
    return name


def rq_id(job_id: str, attempt: int) -> str:
    """Name the carrier of one attempt in RQ; the same attempt has the same name everywhere."""
    return f"{job_id}-{attempt}"


def split_rq_id(text: str) -> tuple[str, int]:
    """Undo `rq_id`; the number is 0 when it is not one of ours."""
    job_id, _, attempt = text.rpartition("-")
    return job_id, int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 0
