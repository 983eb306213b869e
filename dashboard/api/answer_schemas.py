"""JSON Schemas of what calls answer, and which other calls can follow with the ids in an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.domain.alarms import SEVERITIES
from workers.domain.states import Status

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {}
_STATUS: Schema = {"enum": [str(one) for one in Status]}
_ID: Schema = {"type": "string", "format": "uuid"}
_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _page(name: str, item: Schema) -> Schema:
    rows: Schema = {"type": "array", "items": item}
    cursor: Schema = {"type": ["string", "integer", "null"]}
    return _object(**{name: rows, "next_cursor": cursor})


_ENQUEUED = _object(job_id=_ID, status=_STATUS, status_url=_TEXT, deduplicated=_FLAG)
_JOB = _object(
    id=_ID,
    task=_TEXT,
    queue=_TEXT,
    priority={"enum": ["high", "normal", "low"]},
    status=_STATUS,
    attempt=_WHOLE,
    max_retries=_WHOLE,
    timeout_seconds=_NUMBER,
    progress={"type": ["number", "null"]},
    error={"type": ["string", "null"]},
    scheduled_for=_INSTANT,
    created_at=_INSTANT,
    version=_WHOLE,
)
_ALERT = _object(
    id=_ID,
    kind=_TEXT,
    status={"enum": ["firing", "acknowledged", "silenced", "resolved"]},
    severity={"enum": list(SEVERITIES)},
    title=_TEXT,
    value=_NUMBER,
    silenced_until=_INSTANT,
)
_RULE = _object(id=_TEXT, kind=_TEXT, name=_TEXT, threshold=_NUMBER, severity={"enum": list(SEVERITIES)})
_CHANNEL = _object(id=_TEXT, name=_TEXT, scheme=_TEXT, is_setting=_FLAG)
_TEST = _object(channel=_TEXT, taken=_FLAG, answer=_TEXT)
_BULK_ACTION = _object(id=_ID, action=_TEXT, status=_TEXT, total=_WHOLE, done=_WHOLE, refused=_WHOLE, filter=_object())
_SCHEDULE = _object(
    id=_ID,
    name=_TEXT,
    task=_TEXT,
    timezone=_TEXT,
    enabled=_FLAG,
    payload=_object(),
    tags={"type": "array", "items": _TEXT},
    next_fire_at=_INSTANT,
    starts_at=_INSTANT,
    ends_at=_INSTANT,
    once_at=_INSTANT,
)
_TRIGGER = _object(id=_ID, name=_TEXT, kind=_TEXT, listens=_TEXT, task=_TEXT, enabled=_FLAG, conditions=_object())
_QUEUE = _object(name=_TEXT, pending=_WHOLE, processing=_WHOLE, paused_at=_INSTANT)
_WORKER = _object(name=_TEXT, host=_TEXT, state=_TEXT)

ANSWERS: dict[str, Schema] = {
    "Alert": _ALERT,
    "AlertChannel": _CHANNEL,
    "AlertChannels": _page("alert_channels", _CHANNEL),
    "AlertRule": _RULE,
    "AlertRules": _page("alert_rules", _RULE),
    "Alerts": _page("alerts", _ALERT),
    "Attempts": _page("attempts", _object()),
    "BulkAction": _BULK_ACTION,
    "BulkActions": _page("bulk_actions", _BULK_ACTION),
    "Enqueued": _ENQUEUED,
    "EnqueuedMany": _object(jobs={"type": "array", "items": _ENQUEUED}),
    "Event": _object(name=_TEXT, heard_by=_WHOLE),
    "Events": _page("events", _object(event=_TEXT)),
    "Explanation": _object(sentence=_TEXT, facts=_object()),
    "Fires": _page("fires", _object(fire_at=_INSTANT)),
    "Firings": _page("firings", _object(id=_ID, facts=_ANY)),
    "Health": _object(health={"type": "array", "items": _object(at=_INSTANT)}, step=_WHOLE),
    "Job": _JOB,
    "Jobs": _page("jobs", _JOB),
    "Leave": _object(status=_TEXT),
    "Logs": _page("logs", _object(id=_WHOLE, line=_TEXT, level=_TEXT)),
    "Pool": _object(workers=_WHOLE),
    "Preview": _object(description=_TEXT, fires={"type": "array", "items": _object(fire_at=_INSTANT, note=_TEXT)}),
    "Queue": _QUEUE,
    "Queues": _page("queues", _QUEUE),
    "Refusals": _page("refusals", _object(job_id=_ID, why=_TEXT)),
    "Schedule": _SCHEDULE,
    "Schedules": _page("schedules", _SCHEDULE),
    "StuckJobs": _page("stuck_jobs", _object(job=_JOB, verdict=_TEXT, why=_TEXT)),
    "Sweep": _object(job_id=_ID),
    "Sweeps": _page("sweeps", _object(at=_INSTANT)),
    "TaskMetrics": _object(buckets={"type": "array"}, tasks={"type": "array"}, step=_WHOLE),
    "Tasks": _page("tasks", _object(name=_TEXT, queue=_TEXT, payload_schema=_object())),
    "Test": _TEST,
    "Tests": _object(tests={"type": "array", "items": _TEST}),
    "Trial": _object(fires=_FLAG, why=_TEXT, payload=_ANY),
    "Trigger": _TRIGGER,
    "Triggers": _page("triggers", _TRIGGER),
    "Worker": _WORKER,
    "Workers": _page("workers", _WORKER),
}
# Where an answer holds an id, the parameter that takes it, and the addresses that have that parameter.
_IDS = {
    "Enqueued": ("job_id", "job_id", "/api/v1/jobs/"),
    "EnqueuedMany": ("jobs/0/job_id", "job_id", "/api/v1/jobs/"),
    "Jobs": ("jobs/0/id", "job_id", "/api/v1/jobs/"),
    "Schedule": ("id", "schedule_id", "/api/v1/schedules/"),
    "Schedules": ("schedules/0/id", "schedule_id", "/api/v1/schedules/"),
    "Trigger": ("id", "trigger_id", "/api/v1/triggers/"),
    "Triggers": ("triggers/0/id", "trigger_id", "/api/v1/triggers/"),
    "Alerts": ("alerts/0/id", "alert_id", "/api/v1/alerts/"),
    "AlertRule": ("id", "rule_id", "/api/v1/alert-rules/"),
    "AlertRules": ("alert_rules/0/id", "rule_id", "/api/v1/alert-rules/"),
    "AlertChannel": ("id", "channel_id", "/api/v1/alert-channels/"),
    "AlertChannels": ("alert_channels/0/id", "channel_id", "/api/v1/alert-channels/"),
    "BulkAction": ("id", "action_id", "/api/v1/bulk-actions/"),
    "Queues": ("queues/0/name", "name", "/api/v1/queues/"),
    "Workers": ("workers/0/name", "name", "/api/v1/workers/"),
}


def add_links(paths: dict[str, Any], answers: dict[str, tuple[str, int]]) -> None:
    """Add links to answers of lists and of what is made, which lead to the calls on one of those; by operation id."""
    for operations in paths.values():
        for method, operation in operations.items():
            answer, status = answers[operation["operationId"]]
            if answer in _IDS and method in {"get", "post"}:
                operation["responses"][str(status)]["links"] = _links(paths, answer)


def _links(paths: dict[str, Any], answer: str) -> dict[str, Any]:
    pointer, parameter, prefix = _IDS[answer]
    wanted = f"{prefix}{{{parameter}}}"
    return {
        operation["operationId"]: {
            "operationId": operation["operationId"],
            "parameters": {f"path.{parameter}": f"$response.body#/{pointer}"},
        }
        for path, operations in paths.items()
        if path == wanted or path.startswith(f"{wanted}/")
        for operation in operations.values()
    }
