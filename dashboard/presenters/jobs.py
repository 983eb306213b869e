"""A job as JSON and as words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dashboard.context import secret_names
from dashboard.threads import run_in_thread
from workers.domain import payloads
from workers.domain.clock import rfc3339
from workers.domain.masking import mask, mask_result, mask_text
from workers.store.job_lists import SHORT_PAYLOAD
from workers.store.types import Row

LARGE = 20_000  # characters whose masking would hold up the event loop
_PLAIN = (
    "id task queue priority status progress done total step message attempt max_retries timeout_seconds idempotency_key "
    "parent batch schedule rerun_of worker wait_ms run_ms error traceback skipped_reason callback_url created_by version"
).split()
_TEXTS = ("callback_url", "idempotency_key")
_TIMES = (
    "scheduled_for next_retry_at heartbeat_at created_at started_at completed_at failed_at canceled_at cancel_requested_at"
).split()


def as_json(row: Row, secret: Collection[str] | None = None) -> dict[str, Any]:
    """Return a row of `jobs` with the names of its columns; instants in RFC 3339, secrets masked.

    `secret` names the fields that the job's task has declared as secret; within a request they are looked up.
    """
    secret = secret_names(row["task"]) if secret is None else secret
    shown = {name: row[name] for name in _PLAIN if name in row}
    shown |= {name: mask_text(row[name]) for name in _TEXTS if row.get(name)}
    shown |= {name: rfc3339(row[name]) for name in _TIMES}
    if "payload" in row:
        shown["payload"] = mask(payloads.load(row["payload"]), secret)
    if "result" in row:
        shown["result"] = mask_result(payloads.load(row["result"]), secret)
    return shown


def large_as_json(row: Row) -> dict[str, Any]:
    """Do the same as `as_json`, of a large row in a thread."""
    secret = secret_names(row["task"])
    size = sum(len(row[name] or "") for name in ("payload", "result", "traceback") if name in row)
    return run_in_thread(as_json, row, secret) if size > LARGE else as_json(row, secret)


def says(row: Row) -> str:
    """Say in a few words what a job has to say: its error, its message, or the first words of its payload."""
    if row["error"] and row["status"] in {"failed", "retry_scheduled", "canceled"}:
        return str(row["error"]).splitlines()[0][:300]
    if row["skipped_reason"]:
        return f"skipped: {row['skipped_reason']}"[:300]
    parts = [row["step"], row["message"]]
    if row["status"] == "retry_scheduled":
        parts.append("will be tried again")
    return " · ".join(str(part) for part in parts if part)[:300] or _payload(row)


def _payload(row: Row) -> str:
    # The list carries short payloads only; a long one is for its own page.
    text = row.get("short_payload") or row.get("payload") or ""
    given = mask(payloads.load(text), secret_names(row["task"])) if 0 < len(text) <= SHORT_PAYLOAD else {}
    return " · ".join(f"{name} {_value(value)}" for name, value in given.items() if value is not None)[:300]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else payloads.dump(value)
