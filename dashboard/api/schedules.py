"""Schedules over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.answers import accepted
from dashboard.api.contract import Instant, Strict, operation, read_body, read_query
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters.plain import plain
from dashboard.revisions import answer_with_revision, expected_by_call
from dashboard.security import requires
from dashboard.slices import json_answer
from workers.domain.clock import parse_instant, rfc3339
from workers.domain.cron import LONGEST_EXPRESSION, LONGEST_INTERVAL_SECONDS
from workers.domain.errors import BadInput
from workers.domain.firing import MOST_CAUGHT_UP
from workers.domain.names import MAX_RETRIES, MAX_TIMEOUT_SECONDS
from workers.services import firing, schedules
from workers.services.schedule_checks import LONGEST_FINISH_SECONDS, LONGEST_JITTER_SECONDS
from workers.store import schedules as rows
from workers.store.types import Row

bp = Blueprint("schedules_api", __name__, url_prefix="/api/v1")


class ScheduleQuery(Strict):
    """Which schedules."""

    q: str = Field("", max_length=100)
    tag: str = Field("", max_length=40)
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)


class FireQuery(Strict):
    """Which fires of a schedule."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=40)


class RhythmFields(Strict):
    """When it fires: one of the first three, on the clocks of a zone."""

    cron: str | None = Field(None, max_length=LONGEST_EXPRESSION, examples=["30 2 * * MON-FRI", "@daily"])
    interval_seconds: int | None = Field(None, ge=1, le=LONGEST_INTERVAL_SECONDS)
    once_at: Instant | None = None
    timezone: str = Field("UTC", max_length=64, examples=["Europe/Berlin"])
    starts_at: Instant | None = None
    ends_at: Instant | None = None


class PreviewRequest(RhythmFields):
    """A rhythm, and from when on how many fires of it are told."""

    after: Instant | None = None
    count: int = Field(10, ge=1, le=schedules.MOST_PREVIEWED)


class ScheduleChange(RhythmFields):
    """What can be set of a schedule; what is left out stays."""

    name: str | None = Field(None, min_length=1, max_length=100)
    task: str | None = Field(None, max_length=200)
    payload: dict[str, Any] | None = None
    jitter_seconds: int = Field(0, ge=0, le=LONGEST_JITTER_SECONDS)
    overlap: Literal["allow", "skip", "queue_one"] = "allow"
    missed: Literal["skip", "run_once", "catch_up"] = "run_once"
    catch_up_max: int = Field(5, ge=1, le=MOST_CAUGHT_UP)
    finish_within_seconds: float | None = Field(None, gt=0, le=LONGEST_FINISH_SECONDS)
    queue: str | None = Field(None, max_length=64)
    priority: Literal["high", "normal", "low"] | None = None
    max_retries: int | None = Field(None, ge=0, le=MAX_RETRIES)
    timeout_seconds: float | None = Field(None, gt=0, le=MAX_TIMEOUT_SECONDS)
    tags: list[str] = Field(default_factory=list, max_length=20)
    enabled: bool = True


class NewSchedule(ScheduleChange):
    """A schedule; it needs a name, a task and one rhythm."""

    name: str = Field(min_length=1, max_length=100)
    task: str = Field(max_length=200)


@bp.get("/schedules")
@requires("viewer")
@operation("List schedules by name", tag="schedules", query=ScheduleQuery, answer="Schedules")
def page() -> ResponseReturnValue:
    """Answer a page of schedules."""
    asked = read_query(ScheduleQuery)
    found = rows.page(conn(), asked.q, asked.tag, asked.cursor, asked.limit + 1)
    shown = found[: asked.limit]
    following = shown[-1]["name"] if len(found) > asked.limit else None
    return json_answer(schedules=map(_shown, shown), next_cursor=following)


@bp.post("/schedules")
@requires("operator")
@operation("Create a schedule", tag="schedules", body=NewSchedule, answer="Schedule", status=201)
def create() -> ResponseReturnValue:
    """Create a schedule."""
    row = schedules.create(yard(), _given(read_body(NewSchedule)), actor())
    answer = answer_with_revision(_shown(row), row, 201)
    answer.headers["Location"] = f"/api/v1/schedules/{row['id']}"
    return answer


@bp.post("/schedules/preview")
@requires("viewer")
@operation(
    "Preview the next runs of a recurrence; nothing is stored", tag="schedules", body=PreviewRequest, answer="Preview"
)
def preview() -> ResponseReturnValue:
    """Tell the next fires."""
    asked = read_body(PreviewRequest)
    told = schedules.preview(asked.model_dump(exclude={"after", "count"}), asked.after, asked.count)
    fires = [
        {"fire_at": rfc3339(one["fire_at"]), "local_time": one["local_time"].isoformat(), "note": one["note"]}
        for one in told["fires"]
    ]
    return jsonify(description=told["description"], fires=fires)


@bp.get("/schedules/<id:schedule_id>")
@requires("viewer")
@operation("Get a schedule", tag="schedules", answer="Schedule")
def one(schedule_id: str) -> ResponseReturnValue:
    """Answer a schedule."""
    row = schedules.get(conn(), schedule_id)
    return answer_with_revision(_shown(row), row)


@bp.patch("/schedules/<id:schedule_id>")
@requires("operator")
@operation("Update a schedule", tag="schedules", body=ScheduleChange, answer="Schedule", is_guarded=True)
def change(schedule_id: str) -> ResponseReturnValue:
    """Update a schedule."""
    given = _given(read_body(ScheduleChange))
    row = schedules.change(yard(), schedule_id, given, actor(), expected_by_call())
    return answer_with_revision(_shown(row), row)


@bp.delete("/schedules/<id:schedule_id>")
@requires("operator")
@operation("Delete a schedule with its history; its jobs are kept", tag="schedules", status=204, is_guarded=True)
def delete(schedule_id: str) -> ResponseReturnValue:
    """Delete a schedule."""
    schedules.remove(yard(), schedule_id, actor(), expected_by_call())
    return "", 204


@bp.post("/schedules/<id:schedule_id>/runs")
@requires("operator")
@operation("Run the task of a schedule once now", tag="schedules", answer="Enqueued", status=202)
def run(schedule_id: str) -> ResponseReturnValue:
    """Run now."""
    return accepted(firing.run_now(yard(), schedule_id, actor()))


@bp.get("/schedules/<id:schedule_id>/fires")
@requires("viewer")
@operation("List the runs of a schedule, newest first", tag="schedules", query=FireQuery, answer="Fires")
def fires(schedule_id: str) -> ResponseReturnValue:
    """Answer a page of fires with what became of their jobs."""
    asked = read_query(FireQuery)
    schedules.get(conn(), schedule_id)
    try:
        before: datetime | None = parse_instant(asked.cursor) if asked.cursor else None
    except ValueError as error:
        raise BadInput("The cursor is invalid. Start from the first page.", field="cursor") from error
    found = rows.fires(conn(), schedule_id, before, asked.limit + 1)
    shown = found[: asked.limit]
    following = rfc3339(shown[-1]["fire_at"]) if len(found) > asked.limit else None
    return json_answer(fires=[plain(row) for row in shown], next_cursor=following)


def _given(model: Strict) -> dict[str, Any]:
    return model.model_dump(exclude_unset=True)


def _shown(row: Row) -> dict[str, Any]:
    return schedules.as_json(row, declared()[row["task"]])
