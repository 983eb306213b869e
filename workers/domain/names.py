"""What names may look like: queues, tasks, priorities."""

from __future__ import annotations

import re

from workers.domain.errors import BadInput

PRIORITIES = ("high", "normal", "low")
DEFAULT_MAX_RETRIES = {"high": 5, "normal": 3, "low": 2}
DEFAULT_TIMEOUT_SECONDS = 1800
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600
MAX_RETRIES = 100
SYSTEM_QUEUE = "system"

_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}")


def check_queue(name: str) -> str:
    """Return the queue's name, or refuse it with BadInput."""
    if not isinstance(name, str) or not _QUEUE.fullmatch(name):
        raise BadInput(
            "A queue's name has 1 to 64 letters, digits, dots, dashes or underscores and starts with a letter or digit.",
            field="queue",
        )
    return name


def check_task(name: str) -> str:
    """Return the task's name, or refuse it with BadInput."""
    if not isinstance(name, str) or len(name) > 200 or not _TASK.fullmatch(name):
        raise BadInput("A task's name looks like reports.daily: words with dots between.", field="task")
    return name


def check_priority(name: str) -> str:
    """Return the priority, or refuse it with BadInput."""
    if name not in PRIORITIES:
        raise BadInput("A priority is high, normal or low.", field="priority")
    return name


def rq_id(job_id: str, attempt: int) -> str:
    """Name the carrier of one attempt in RQ; the same attempt has the same name everywhere."""
    return f"{job_id}-{attempt}"


def split_rq_id(text: str) -> tuple[str, int]:
    """Undo `rq_id`; the number is 0 when it is not one of ours."""
    job_id, _, attempt = text.rpartition("-")
    return job_id, int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 0
