"""The values of a filter: lists with exclusions, names and families, ids. Each reader raises ValueError with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.domain.errors import BadInput
from workers.domain.ids import is_id
from workers.domain.names import PRIORITIES, check_queue
from workers.domain.states import Status

STUCK = "stuck"  # a condition of running jobs, not a state
STATUSES = (*map(str, Status), STUCK)
SYSTEM = "system"
MOST_VALUES = 50
_FAMILY = re.compile(r"[A-Za-z0-9_.]{1,199}\*?")
_WORKER = re.compile(r"[^\s,*\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, slots=True)
class Choice:
    """Values of which one must hold, if there are any, and values of which none may."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def read_choice(text: str, check: Callable[[str], str]) -> Choice:
    """Read `a,b,-c`: a or b, but not c."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("it has no value")
    if len(parts) > MOST_VALUES:
        raise ValueError(f"it has {len(parts)} values; at most {MOST_VALUES} are possible")
    only = [check(part) for part in parts if not part.startswith("-")]
    without = [check(part[1:].strip()) for part in parts if part.startswith("-")]
    return Choice(tuple(dict.fromkeys(only)), tuple(dict.fromkeys(without)))


def write_choice(only: Sequence[str], without: Sequence[str]) -> str:
    """Write a choice as `read_choice` reads it."""
    return ",".join([*map(str, only), *(f"-{value}" for value in without)])


def check_status(text: str) -> str:
    """Return a status, or `stuck`; `Retry scheduled` and `cancelled` are understood too."""
    name = re.sub(r"[\s-]+", "_", text.lower())
    return _one_of("canceled" if name == "cancelled" else name, STATUSES, "status")


def check_priority(text: str) -> str:
    """Return a priority."""
    return _one_of(text.lower(), PRIORITIES, "priority")


def check_include(text: str) -> str:
    """Return what a list can include beside its ordinary jobs."""
    return _one_of(text, (SYSTEM,), "value")


def check_task(text: str) -> str:
    """Return the name of a task, or of a family such as `reports.*`."""
    if not _FAMILY.fullmatch(text):
        raise ValueError(f"'{text[:60]}' is not the name of a task. Write reports.daily, or reports.* for a family")
    return text


def check_queue_family(text: str) -> str:
    """Return the name of a queue, or the beginning of several followed by `*`."""
    try:
        check_queue(text.removesuffix("*"))
    except BadInput:
        raise ValueError(f"'{text[:70]}' is not the name of a queue. Write emails, or emails-* for a family") from None
    return text


def check_worker(text: str) -> str:
    """Return the name of a worker."""
    if not _WORKER.fullmatch(text):
        raise ValueError(
            f"'{text[:60]}' is not the name of a worker. Write the whole name, as the Workers page shows it"
        )
    return text


def check_id(text: str) -> str:
    """Return a UUID."""
    if not is_id(text):
        raise ValueError(f"'{text[:60]}' is not an id. Write a UUID")
    return text


def _one_of(text: str, options: Sequence[str], noun: str) -> str:
    if text not in options:
        raise ValueError(f"Unknown {noun} '{text[:60]}'. Use one of: {', '.join(options)}.")
    return text
