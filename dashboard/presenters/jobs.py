"""A job as JSON and as words."""

from __future__ import annotations

from typing import Any

from dashboard.threads import run_in_thread
from workers.domain import payloads
from workers.domain.clock import rfc3339
from workers.domain.masking import mask, mask_result, mask_text, mask_url
from workers.domain.untrusted import visible
from workers.services.secret_fields import Declared
from workers.store.job_lists import SHORT_PAYLOAD
from workers.store.types import Row

LARGE = 20_000  # characters whose masking would hold up the event loop
_PLAIN = (
    "id task queue priority status progress done total step message attempt max_retries timeout_seconds idempotency_key "
    "parent batch schedule rerun_of worker wait_ms run_ms error traceback skipped_reason callback_url created_by version"
).split()
_TIMES = (
    "scheduled_for next_retry_at heartbeat_at created_at started_at completed_at failed_at canceled_at cancel_requested_at"
).split()
_TEXTS = ("idempotency_key",)


def as_json(row: Row, declared: Declared) -> dict[str, Any]:
    """Tell a row of `jobs` with the names of its columns; instants in RFC 3339, secrets masked."""
    secret = declared[row["task"]]
    told = {name: row[name] for name in _PLAIN if name in row}
    told |= {name: rfc3339(row[name]) for name in _TIMES}
    told |= {name: visible(mask_text(told[name])) for name in _TEXTS if told.get(name)}
    if told.get("callback_url"):
        told["callback_url"] = mask_url(told["callback_url"])
    if "payload" in row:
        told["payload"] = mask(payloads.load(row["payload"]), secret)
    if "result" in row:
        told["result"] = mask_result(payloads.load(row["result"]), secret)
    return told


def large_as_json(row: Row, declared: Declared) -> dict[str, Any]:
    """Do the same as `as_json`, of a large row in a thread."""
    size = sum(len(row[name] or "") for name in ("payload", "result", "traceback") if name in row)
    return run_in_thread(as_json, row, declared) if size > LARGE else as_json(row, declared)


def says(row: Row, declared: Declared) -> str:
    """Say in a few words what a job has to say: its error, its message, or the first words of its payload."""
    if row["error"] and row["status"] in {"failed", "retry_scheduled", "canceled"}:
        return str(row["error"]).splitlines()[0][:300]
    if row["skipped_reason"]:
        return f"skipped: {row['skipped_reason']}"[:300]
    parts = [row["step"], row["message"]]
    if row["status"] == "retry_scheduled":
        parts.append("will be retried")
    return " · ".join(str(part) for part in parts if part)[:300] or _payload(row, declared)


def _payload(row: Row, declared: Declared) -> str:
    # The list carries short payloads only; a long one is for its own page.
    text = row.get("short_payload") or row.get("payload") or ""
    given = mask(payloads.load(text), declared[row["task"]]) if 0 < len(text) <= SHORT_PAYLOAD else {}
    return " · ".join(f"{name} {_value(value)}" for name, value in given.items() if value is not None)[:300]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else payloads.dump(value)
