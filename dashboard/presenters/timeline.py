"""The path of a job through its states, from its events: one stop each, with the time spent there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.presenters.words import duration
from workers.domain import payloads
from workers.domain.masking import mask_text
from workers.domain.states import FINAL, Status
from workers.domain.untrusted import visible_line
from workers.store.types import Row

_VERB = {"scheduled": "held", "pending": "waited", "processing": "ran", "retry_scheduled": "waited"}
_PRESENT = {
    "scheduled": "held for",
    "pending": "waiting for",
    "processing": "running for",
    "retry_scheduled": "waiting for",
}
_NOTES = {
    "retried": "retried",
    "restored": "cancel undone",
    "run_now": "run now",
    "reset": "reset by the monitor",
    "timed_out": "timeout exceeded",
    "interrupted": "interrupted: its worker was stopped",
    "lost": "its process or worker was lost",
    "skipped": "skipped",
    "requeued": "missing in Redis; enqueued again",
}


@dataclass(frozen=True, slots=True)
class Stop:
    """One state on the path."""

    state: str
    word: str
    at: datetime | None
    spent: str
    note: str
    length: int  # 0 to 4, by the logarithm of the time
    attempt: int | None = None
    since: datetime | None = None  # of the present state: the time spent in it goes on
    is_ghost: bool = False


def stops(job: Row, events: Sequence[Row], now: datetime) -> list[Stop]:
    """Draw the path so far, and the end that is expected as a ghost."""
    moves = [one for one in events if one["to_status"]]
    path = [
        _stop(one, moves[index + 1] if index + 1 < len(moves) else None, job, now) for index, one in enumerate(moves)
    ]
    if moves and Status(job["status"]) not in FINAL:
        path.append(Stop("completed", "Completed", None, "expected", "", 0, is_ghost=True))
    return path


def _stop(move: Row, following: Row | None, job: Row, now: datetime) -> Stop:
    state = move["to_status"]
    is_final = Status(state) in FINAL
    seconds = ((following["at"] if following else now) - move["at"]).total_seconds()
    spent = f"{_VERB.get(state, 'stayed')} {duration(max(seconds, 0))}"
    if following is None:
        spent = "" if is_final else _PRESENT.get(state, "for")
    word = state.replace("_", " ").capitalize()
    if state == "processing":
        word = f"Attempt {move['attempt']}"
    return Stop(
        state,
        word,
        move["at"],
        spent,
        _note(move, job),
        _length(seconds),
        move["attempt"] if state == "processing" else None,
        since=move["at"] if following is None and not is_final else None,
    )


def _note(move: Row, job: Row) -> str:
    parts = [_NOTES.get(move["event"], "")]
    detail = payloads.load(move["detail"]) or {}
    if detail.get("error"):
        parts.append(visible_line(mask_text(str(detail["error"])).splitlines()[0])[:120])
    if detail.get("why"):
        parts.append(str(detail["why"])[:200].rstrip("."))
    actor = move["actor"] or ""
    if move["event"] == "started":
        parts.append(actor.replace("worker:", "worker "))
    elif move["event"] == "enqueued":
        parts.append(f"queue {job['queue']}, priority {job['priority']}" + (f", by {actor}" if actor else ""))
    elif move["event"] in {"retried", "run_now", "canceled", "reset"} and actor:
        parts.append(f"by {actor}")
    return "; ".join(part for part in parts if part)


def _length(seconds: float) -> int:
    return min(4, max(0, int(math.log10(max(seconds, 0.01) * 10)) + 1))
