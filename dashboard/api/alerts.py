"""Alerts, their rules and channels over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.contract import Instant, Strict, operation, read_body, read_query
from dashboard.context import actor, conn, yard
from dashboard.presenters.alerts import as_json
from dashboard.presenters.plain import plain
from dashboard.revisions import answer_with_revision, expected_by_call
from dashboard.security import requires
from dashboard.slices import json_answer
from workers.domain.alarms import KINDS
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.ids import is_id
from workers.services import alerting, channels, rules
from workers.store import alerts

bp = Blueprint("alerts_api", __name__, url_prefix="/api/v1")
Status = Literal["firing", "acknowledged", "silenced", "resolved"]
Severity = Literal["critical", "warning", "info"]


class AlertQuery(Strict):
    """Which alerts."""

    status: Status | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)


class Acknowledgement(Strict):
    """Somebody looks after it."""

    note: str = Field("", max_length=alerting.LONGEST_NOTE)


class Silence(Strict):
    """For how long nothing is sent about it: seconds, or until an instant."""

    seconds: float | None = Field(None, ge=60, le=alerting.LONGEST_SILENCE_SECONDS)
    until: Instant | None = None


class RuleChange(Strict):
    """What can be set of a rule; what is left out stays."""

    name: str | None = Field(None, min_length=1, max_length=100)
    threshold: float | None = Field(None, ge=0, le=1e12)
    window_seconds: float | None = Field(None, ge=0, le=rules.LONGEST_SECONDS)
    severity: Severity | None = None
    cooldown_seconds: float | None = Field(None, ge=0, le=rules.LONGEST_SECONDS)
    repeat_seconds: float | None = Field(None, ge=0, le=rules.LONGEST_SECONDS)  # while it is open; 0 = never
    scope: str | None = Field(None, max_length=200)
    channels: list[str] | None = Field(None, max_length=100)
    is_enabled: bool | None = None


class NewRule(RuleChange):
    """A rule of a kind; what is left out is as the kind has it."""

    kind: str = Field(max_length=32, examples=list(KINDS))


class NewChannel(Strict):
    """A place that Apprise can send to."""

    name: str = Field(min_length=1, max_length=100)
    url: str = Field(min_length=1, max_length=2000, examples=["slack://TokenA/TokenB/TokenC/#ops"])
    timezone: str = Field("", max_length=64, examples=["Europe/Berlin"])  # empty = the installation's


@bp.get("/alerts")
@requires("viewer")
@operation("List alerts, newest first", tag="alerts", query=AlertQuery, answer="Alerts")
def page() -> ResponseReturnValue:
    """Answer a page of alerts."""
    asked = read_query(AlertQuery)
    if asked.cursor is not None and not is_id(asked.cursor):
        raise BadInput("The cursor is invalid. Start from the first page.", field="cursor")
    wanted = [asked.status] if asked.status else []
    rows = alerts.page(conn(), wanted, asked.cursor, asked.limit + 1)
    shown = rows[: asked.limit]
    following = shown[-1]["id"] if len(rows) > asked.limit else None
    return json_answer(alerts=[as_json(row) for row in shown], next_cursor=following)


@bp.get("/alerts/<id:alert_id>")
@requires("viewer")
@operation("Get an alert with its deliveries", tag="alerts", answer="Alert")
def one(alert_id: str) -> ResponseReturnValue:
    """Answer an alert."""
    row = alerting.get(conn(), alert_id)
    sent = alerts.deliveries(conn(), [alert_id])[alert_id]
    return jsonify(**as_json(row), deliveries=[plain(delivery) for delivery in sent])


@bp.put("/alerts/<id:alert_id>/acknowledgement")
@requires("operator")
@operation("Acknowledge an alert", tag="alerts", body=Acknowledgement, answer="Alert")
def acknowledge(alert_id: str) -> ResponseReturnValue:
    """Acknowledge."""
    return jsonify(as_json(alerting.acknowledge(yard(), alert_id, read_body(Acknowledgement).note, actor())))


@bp.put("/alerts/<id:alert_id>/silence")
@requires("operator")
@operation("Silence an alert until a time", tag="alerts", body=Silence, answer="Alert")
def silence(alert_id: str) -> ResponseReturnValue:
    """Silence."""
    return jsonify(as_json(alerting.silence(yard(), alert_id, _seconds(read_body(Silence)), actor())))


@bp.delete("/alerts/<id:alert_id>/silence")
@requires("operator")
@operation("End the silence of an alert", tag="alerts", answer="Alert")
def unsilence(alert_id: str) -> ResponseReturnValue:
    """End the silence of an alert."""
    return jsonify(as_json(alerting.unsilence(yard(), alert_id, actor())))


@bp.get("/alert-rules")
@requires("viewer")
@operation("List alert rules", tag="alerts", answer="AlertRules")
def rule_page() -> ResponseReturnValue:
    """Answer every rule."""
    return json_answer(alert_rules=[plain(rules.as_json(row)) for row in alerts.rules(conn())], next_cursor=None)


@bp.post("/alert-rules")
@requires("admin")
@operation("Create a rule", tag="alerts", body=NewRule, answer="AlertRule", status=201)
def create_rule() -> ResponseReturnValue:
    """Create a rule."""
    given = read_body(NewRule)
    row = rules.create(yard(), given.kind, _given(given, "kind"), actor())
    answer = answer_with_revision(plain(rules.as_json(row)), row, 201)
    answer.headers["Location"] = f"/api/v1/alert-rules/{row['id']}"
    return answer


@bp.get("/alert-rules/<rule:rule_id>")
@requires("viewer")
@operation("Get a rule", tag="alerts", answer="AlertRule")
def rule(rule_id: str) -> ResponseReturnValue:
    """Answer a rule."""
    row = rules.get(conn(), rule_id)
    return answer_with_revision(plain(rules.as_json(row)), row)


@bp.patch("/alert-rules/<rule:rule_id>")
@requires("admin")
@operation("Update a rule", tag="alerts", body=RuleChange, answer="AlertRule", is_guarded=True)
def change_rule(rule_id: str) -> ResponseReturnValue:
    """Update a rule."""
    row = rules.change(yard(), rule_id, _given(read_body(RuleChange)), actor(), expected_by_call())
    return answer_with_revision(plain(rules.as_json(row)), row)


@bp.delete("/alert-rules/<rule:rule_id>")
@requires("admin")
@operation("Delete a rule that a user created", tag="alerts", status=204, is_guarded=True)
def remove_rule(rule_id: str) -> ResponseReturnValue:
    """Delete a rule."""
    rules.remove(yard(), rule_id, actor(), expected_by_call())
    return "", 204


@bp.post("/alert-rules/<rule:rule_id>/tests")
@requires("admin")
@operation("Send a test message to the channels of a rule and return their responses", tag="alerts", answer="Tests")
def test_rule(rule_id: str) -> ResponseReturnValue:
    """Try a rule's channels."""
    return jsonify(tests=rules.test(yard(), rule_id, actor()))


@bp.get("/alert-channels")
@requires("admin")
@operation("List channels", tag="alerts", answer="AlertChannels")
def channel_page() -> ResponseReturnValue:
    """Answer every channel, without its secrets."""
    told = [one.shown() for one in channels.every(conn(), yard().settings)]
    return json_answer(alert_channels=told, next_cursor=None)


@bp.post("/alert-channels")
@requires("admin")
@operation("Create a channel", tag="alerts", body=NewChannel, answer="AlertChannel", status=201)
def create_channel() -> ResponseReturnValue:
    """Create a channel."""
    given = read_body(NewChannel)
    made = channels.create(yard(), given.name, given.url, actor(), given.timezone)
    return jsonify(made.shown()), 201


@bp.delete("/alert-channels/<channel:channel_id>")
@requires("admin")
@operation("Delete a channel", tag="alerts", status=204)
def remove_channel(channel_id: str) -> ResponseReturnValue:
    """Delete a channel."""
    channels.remove(yard(), channel_id, actor())
    return "", 204


@bp.post("/alert-channels/<channel:channel_id>/tests")
@requires("admin")
@operation("Send a test message to a channel and return its response", tag="alerts", answer="Test")
def test_channel(channel_id: str) -> ResponseReturnValue:
    """Try a channel."""
    return jsonify(channels.test(yard(), channel_id, actor()))


def _given(model: Strict, *without: str) -> dict[str, Any]:
    return model.model_dump(exclude_unset=True, exclude_none=True, exclude=set(without))


def _seconds(given: Silence) -> float:
    if (given.seconds is None) == (given.until is None):
        raise BadInput("Set either seconds or until.", field="seconds")
    if given.seconds is not None:
        return given.seconds
    until: datetime = given.until or utcnow()
    return (until - utcnow()).total_seconds()
