"""Triggers and events over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.contract import Strict, operation, read_body, read_query
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters.plain import plain
from dashboard.revisions import answer_with_revision, expected_by_call
from dashboard.security import requires
from dashboard.slices import json_answer
from workers.domain import payloads
from workers.domain.errors import BadInput
from workers.domain.ids import is_id
from workers.services import events, triggers
from workers.services.hearing import shown_facts
from workers.services.triggers import LONGEST_COOLDOWN_SECONDS, MOST_AN_HOUR
from workers.store import trigger_rows
from workers.store.types import Row

bp = Blueprint("triggers_api", __name__, url_prefix="/api/v1")


class PageQuery(Strict):
    """A page of a list."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)


class TriggerChange(Strict):
    """What can be set of a trigger; what is left out stays."""

    name: str | None = Field(None, min_length=1, max_length=100)
    kind: Literal["queue", "event", "data"] = "event"
    listens: str | None = Field(None, max_length=200, examples=["orders.created", "job.failed", "data.orders.*"])
    measure: Literal["depth", "oldest_seconds"] | None = None
    above: float | None = Field(None, ge=0, le=1e12)
    conditions: dict[str, Any] = Field(default_factory=dict, examples=[{"payload.quantity": {"below": 10}}])
    task: str | None = Field(None, max_length=200)
    payload: dict[str, Any] = Field(default_factory=dict, examples=[{"order_id": "$.payload.id"}])
    cooldown_seconds: float = Field(0, ge=0, le=LONGEST_COOLDOWN_SECONDS)
    cap_per_hour: int = Field(60, ge=1, le=MOST_AN_HOUR)
    enabled: bool = True


class NewTrigger(TriggerChange):
    """A trigger; it needs a name, what it listens for, and a task."""

    name: str = Field(min_length=1, max_length=100)
    listens: str = Field(min_length=1, max_length=200)
    task: str = Field(max_length=200)


class NewEvent(Strict):
    """Something that happened."""

    name: str = Field(min_length=1, max_length=events.LONGEST_NAME, examples=["orders.created"])
    payload: dict[str, Any] = Field(default_factory=dict)


class Trial(NewEvent):
    """An event to try a trigger with; nothing is run."""


@bp.post("/events")
@requires("operator")
@operation("Send an event to triggers", tag="triggers", body=NewEvent, answer="Event", status=202)
def emit() -> ResponseReturnValue:
    """Take an event."""
    given = read_body(NewEvent)
    heard_by = events.emit(yard(), given.name, given.payload, actor())
    return jsonify(name=given.name, heard_by=heard_by), 202


@bp.get("/triggers")
@requires("viewer")
@operation("List triggers by name", tag="triggers", query=PageQuery, answer="Triggers")
def page() -> ResponseReturnValue:
    """Answer a page of triggers."""
    asked = read_query(PageQuery)
    found = trigger_rows.page(conn(), asked.cursor, asked.limit + 1)
    shown = found[: asked.limit]
    following = shown[-1]["name"] if len(found) > asked.limit else None
    return json_answer(triggers=map(_shown, shown), next_cursor=following)


@bp.post("/triggers")
@requires("operator")
@operation("Create a trigger", tag="triggers", body=NewTrigger, answer="Trigger", status=201)
def create() -> ResponseReturnValue:
    """Create a trigger."""
    row = triggers.create(yard(), read_body(NewTrigger).model_dump(exclude_unset=True), actor())
    answer = answer_with_revision(_shown(row), row, 201)
    answer.headers["Location"] = f"/api/v1/triggers/{row['id']}"
    return answer


@bp.get("/triggers/<id:trigger_id>")
@requires("viewer")
@operation("Get a trigger", tag="triggers", answer="Trigger")
def one(trigger_id: str) -> ResponseReturnValue:
    """Answer a trigger."""
    row = triggers.get(conn(), trigger_id)
    return answer_with_revision(_shown(row), row)


@bp.patch("/triggers/<id:trigger_id>")
@requires("operator")
@operation("Update a trigger", tag="triggers", body=TriggerChange, answer="Trigger", is_guarded=True)
def change(trigger_id: str) -> ResponseReturnValue:
    """Update a trigger."""
    given = read_body(TriggerChange).model_dump(exclude_unset=True)
    row = triggers.change(yard(), trigger_id, given, actor(), expected_by_call())
    return answer_with_revision(_shown(row), row)


@bp.delete("/triggers/<id:trigger_id>")
@requires("operator")
@operation("Delete a trigger with its trigger runs; its jobs are kept", tag="triggers", status=204, is_guarded=True)
def delete(trigger_id: str) -> ResponseReturnValue:
    """Delete a trigger."""
    triggers.remove(yard(), trigger_id, actor(), expected_by_call())
    return "", 204


@bp.post("/triggers/<id:trigger_id>/tests")
@requires("operator")
@operation("Test a trigger with an event; nothing runs", tag="triggers", body=Trial, answer="Trial")
def test(trigger_id: str) -> ResponseReturnValue:
    """Try a trigger."""
    given = read_body(Trial)
    return jsonify(triggers.attempt(yard(), triggers.get(conn(), trigger_id), given.model_dump()))


@bp.get("/triggers/<id:trigger_id>/firings")
@requires("viewer")
@operation("List the runs of a trigger, newest first", tag="triggers", query=PageQuery, answer="Firings")
def firings(trigger_id: str) -> ResponseReturnValue:
    """Answer a page of firings with the facts that caused them."""
    asked = read_query(PageQuery)
    triggers.get(conn(), trigger_id)
    if asked.cursor is not None and not is_id(asked.cursor):
        raise BadInput("The cursor is invalid. Start from the first page.", field="cursor")
    found = trigger_rows.firings(conn(), trigger_id, asked.cursor, asked.limit + 1)
    shown = found[: asked.limit]
    told = [{**plain(row), "facts": shown_facts(payloads.load(row["facts"]), declared())} for row in shown]
    return json_answer(firings=told, next_cursor=shown[-1]["id"] if len(found) > asked.limit else None)


def _shown(row: Row) -> dict[str, Any]:
    return triggers.as_json(row, declared()[row["task"]])
