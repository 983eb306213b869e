"""Alerts: those that are open, one with its messages, the rules, the channels."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.confirmation import confirm
from dashboard.context import actor, conn, yard
from dashboard.pages.undo import undo_of
from dashboard.presenters import alerts as presenter
from dashboard.rendering import render
from dashboard.revisions import expected_by_form
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.alarms import ACKNOWLEDGED, FIRING, KINDS, RESOLVED, SEVERITIES, SILENCED
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Edited, NotFound
from workers.domain.ids import is_id
from workers.domain.numbers import parse_number
from workers.services import alerting, channels, rules
from workers.store import alerts

bp = Blueprint("alerts", __name__)
TABS = {"open": (FIRING, ACKNOWLEDGED), "silenced": (SILENCED,), "resolved": (RESOLVED,)}
PAGE = 50
SILENCES = ((3600, "1 hour"), (4 * 3600, "4 hours"), (86400, "1 day"), (7 * 86400, "1 week"))


@bp.get("/alerts")
@requires("viewer")
def page() -> Response:
    """List alerts, rules and, to admins, channels."""
    tab = request.args.get("tab", "open")
    if tab not in TABS:
        raise NotFound("Unknown list of alerts.")
    before = request.args.get("before")
    if before is not None and not is_id(before):
        raise BadInput("The cursor is invalid. Open the first page.", field="before")
    now, connection = utcnow(), conn()
    known = channels.every(connection, yard().settings)
    rule_rows = alerts.rules(connection)
    found = alerts.page(connection, TABS[tab], before, PAGE + 1)
    shown = found[:PAGE]
    sent = alerts.deliveries(connection, [row["id"] for row in shown])
    return render(
        "alerts/page.html",
        {"alerts": "alerts/_alerts.html"},
        active_page="alerts",
        tab=tab,
        alerts=presenter.alert_rows(shown, {row["id"]: row for row in rule_rows}, sent, known, now),
        older=shown[-1]["id"] if len(found) > PAGE else None,
        rules=[presenter.rule_shown(row, known, yard().settings) for row in rule_rows],
        channels=known,
        timezone=yard().settings.timezone,
        silences=SILENCES,
        severity_icons=presenter.SEVERITY_ICONS,
        now=now,
    )


@bp.get("/alerts/bell")
@requires("viewer")
def bell() -> str:
    """Draw the bell alone, for the live update of every page."""
    return render_template("alerts/_bell.html")


@bp.get("/alerts/<id:alert_id>")
@requires("viewer")
def one(alert_id: str) -> str:
    """Show an alert with its messages."""
    now, connection = utcnow(), conn()
    row = alerting.get(connection, alert_id)
    rule = alerts.rule(connection, row["rule_id"]) if row["rule_id"] else None
    known = channels.every(connection, yard().settings)
    sent = alerts.deliveries(connection, [alert_id])
    (shown,) = presenter.alert_rows([row], {rule["id"]: rule} if rule else {}, sent, known, now)
    return render_template(
        "alerts/one.html",
        active_page="alerts",
        alert=shown,
        silences=SILENCES,
        severity_icons=presenter.SEVERITY_ICONS,
        now=now,
    )


@bp.post("/alerts/<id:alert_id>/acknowledgements")
@requires("operator")
def acknowledge(alert_id: str) -> ResponseReturnValue:
    """Say that I look after it."""
    alerting.acknowledge(yard(), alert_id, request.form.get("note", ""), actor())
    return done("Alert acknowledged.", "/alerts", stay=True, undo=undo_of("alert", alert_id))


@bp.post("/alerts/<id:alert_id>/silences")
@requires("operator")
def silence(alert_id: str) -> ResponseReturnValue:
    """Send nothing about it for a while."""
    alerting.silence(yard(), alert_id, _number("seconds"), actor())
    return done("Alert silenced.", "/alerts", stay=True)


@bp.post("/alerts/<id:alert_id>/unsilences")
@requires("operator")
def unsilence(alert_id: str) -> ResponseReturnValue:
    """End a silence."""
    alerting.unsilence(yard(), alert_id, actor())
    return done("Silence ended.", "/alerts", stay=True)


@bp.route("/alert-rules/<rule:rule_id>", methods=["GET", "POST"])
@requires("admin")
def rule(rule_id: str) -> ResponseReturnValue:
    """Show the form of a rule, or change it. `new` with a kind makes one."""
    if request.method != "POST":
        return _rule_form(rule_id)
    values: dict[str, Any] = {}
    try:
        values = _rule_values()
        if rule_id == "new":
            rules.create(yard(), request.form.get("kind", ""), values, actor())
        else:
            rules.change(yard(), rule_id, values, actor(), expected_by_form())
    except Edited as error:
        # What was typed stays; saving it again is an edit of what is stored now.
        return _rule_form(rule_id, {**values, "revision": error.revision}, error), 409
    except BadInput as error:
        return _rule_form(rule_id, {**_rule_typed(), **values}, error), 422
    return done("Rule saved.", "/alerts")


@bp.post("/alert-rules/<rule:rule_id>/deletions")
@requires("admin")
def remove_rule(rule_id: str) -> ResponseReturnValue:
    """Delete a rule, after a question."""
    row = rules.get(conn(), rule_id)
    confirm(f"Delete the rule {row['name']}?", "The rule raises no more alerts. This cannot be undone.", "Delete rule")
    rules.remove(yard(), rule_id, actor())
    return done("Rule deleted.", "/alerts")


@bp.post("/alert-rules/<rule:rule_id>/tests")
@requires("admin")
def test_rule(rule_id: str) -> ResponseReturnValue:
    """Try a rule's channels and say what they answered."""
    return _told(rules.test(yard(), rule_id, actor()))


@bp.post("/alert-channels")
@requires("admin")
def create_channel() -> ResponseReturnValue:
    """Make a channel."""
    form = request.form
    zone = form.get("timezone", "").strip()
    made = channels.create(yard(), form.get("name", ""), form.get("url", "").strip(), actor(), zone)
    return done(f"Channel {made.name} added.", "/alerts#channels")


@bp.post("/alert-channels/<channel:channel_id>/tests")
@requires("admin")
def test_channel(channel_id: str) -> ResponseReturnValue:
    """Try a channel and say what it answered."""
    return _told([channels.test(yard(), channel_id, actor())])


@bp.post("/alert-channels/<channel:channel_id>/deletions")
@requires("admin")
def remove_channel(channel_id: str) -> ResponseReturnValue:
    """Delete a channel, after a question."""
    name = next((one.name for one in channels.every(conn(), yard().settings) if one.id == channel_id), None)
    if name is not None:
        detail = "Alerts are no longer sent to this channel. Its URL is deleted. This cannot be undone."
        confirm(f"Delete the channel {name}?", detail, "Delete channel")
    channels.remove(yard(), channel_id, actor())
    return done("Channel deleted.", "/alerts#channels")


def _told(answers: list[dict[str, Any]]) -> ResponseReturnValue:
    if not answers:
        raise BadInput("No channel to test. Add a channel or set ALERT_URLS.", field="channels")
    words = "; ".join(
        f"{one['channel']} {'accepted the message' if one['taken'] else 'refused the message'}: {one['answer']}"
        for one in answers
    )
    if all(one["taken"] for one in answers):
        return done(words, "/alerts", stay=True)
    if request.headers.get("X-Requested-With") == "fetch":
        return {"title": "The test failed for some channels", "detail": words}, 502
    return done(words, "/alerts", kind="error")


def _rule_form(rule_id: str, values: dict[str, Any] | None = None, error: BadInput | Edited | None = None) -> str:
    connection = conn()
    kind = request.values.get("kind", "")
    if rule_id == "new":
        base = {"id": "new", "kind": kind, **rules.defaults(kind)} if kind else None
    else:
        base = dict(rules.get(connection, rule_id))
    known = channels.every(connection, yard().settings)
    shown = presenter.rule_shown(base, known, yard().settings) | (values or {}) if base else None
    return render_template(
        "alerts/rule.html",
        active_page="alerts",
        rule=shown,
        is_own=base is not None and not base["id"].startswith("rule-") and base["id"] != "new",
        kinds=list(KINDS.values()),
        severities=SEVERITIES,
        channels=known,
        error=error,
        differences=error.differences if isinstance(error, Edited) else [],
    )


def _rule_values() -> dict[str, Any]:
    form = request.form
    values: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "threshold": _number("threshold"),
        "severity": form.get("severity", ""),
        "cooldown_seconds": _number("cooldown_seconds"),
        **{name: _number(name) for name in ("repeat_seconds", "window_seconds") if name in form},
        "is_enabled": "is_enabled" in form,
        "channels": form.getlist("channels"),
    }
    if "scope" in form:
        values["scope"] = form["scope"].strip()
    return values


def _rule_typed() -> dict[str, Any]:
    """Return what was typed into the form of a rule, as it was typed."""
    form = request.form
    boxes = {"is_enabled": "is_enabled" in form, "channels": form.getlist("channels")}
    return {**form.to_dict(), **boxes}


def _number(name: str) -> float:
    try:
        return parse_number(request.form.get(name, ""))
    except ValueError as error:
        raise BadInput(f"{name.replace('_', ' ')} {error}.", field=name) from error
