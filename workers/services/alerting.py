"""The life of an alert: firing, acknowledged, silenced, closed. One open alert for each cause.

Detection writes rows; what is to be sent are rows too (`services.deliveries`). An alert that comes back within its
rule's cool-down is reopened. Channels that received "Resolved" are notified again, others are not. A silence belongs to
the cause: it lasts until its end, however often the alert is resolved and reopened meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.alarms import ACKNOWLEDGED, FIRING, GROUPED, RESOLVED, SILENCED
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound
from workers.domain.masking import mask_text
from workers.domain.numbers import check_number
from workers.domain.texts import check_text
from workers.domain.untrusted import visible_line
from workers.services import alert_closings, audit, conditions, deliveries, events, rule_history
from workers.services.alert_messages import AGAIN, CLOSING, ENDED, FIRED, NOT_WATCHED, OPENING, next_message
from workers.services.alert_overflow import MORE, MOST_OPEN_PER_RULE, fold
from workers.services.alert_rows import REOPENED, new_row, seen
from workers.services.closings import RECOVERED, UNKNOWN, Closing
from workers.services.facts import Facts, Found, about_of, gather
from workers.services.telling import tell_kind
from workers.store import alerts
from workers.store.types import Row
from workers.yard import Yard

if TYPE_CHECKING:
    from workers.services.monitoring import Sweep

OPEN = (FIRING, ACKNOWLEDGED, SILENCED)
LONGEST_SILENCE_SECONDS = 30 * 86400.0
LONGEST_NOTE = 500


def evaluate(yard: Yard, numbers: Mapping[str, Any], sweep: Sweep, now: datetime) -> None:
    """Judge every rule by what this sweep has found; raise, renew and close alerts. Raises Unavailable."""
    with yard.database.read() as connection:
        open_ones = alerts.open_alerts(connection)
        rules = alerts.rules(connection)
        formers = rule_history.formers(connection, rules, open_ones)
        judged = [*rules, *(former.rule for former in formers.values())]
        facts = gather(connection, yard.settings, judged, numbers, sweep.reset, sweep.failed, now, open_ones)
        found = {rule["id"]: (rule, fold(rule, _found(rule, facts), open_ones)) for rule in rules}
        closings = alert_closings.explain(connection, found, open_ones, formers, facts)
    with yard.database.write() as connection:
        changed = observe(connection, yard, found, now, closings)
    tell(yard, changed)
    deliveries.enqueue_due(yard)


def observe(
    connection: Connection,
    yard: Yard,
    found: Mapping[str, tuple[Row, Sequence[Found]]],
    now: datetime,
    closings: Mapping[str, Closing] | None = None,
) -> list[Row]:
    """Bring the alerts of these rules to what was found now; the alerts that changed their state.

    `closings` says how alerts end that are not found, by id; of those without one the cause is gone.
    """
    changed: list[Row | None] = []
    closings = closings or {}
    open_ones = {row["cause"]: row for row in alerts.open_alerts(connection)}
    present: set[str] = set()
    for rule, causes in found.values():
        for one in causes:
            cause = f"{rule['id']}:{one.about}"[:300]
            present.add(cause)
            if known := open_ones.get(cause):
                changed.append(_renew(connection, yard, rule, known, one, now))
        changed += _raise_new(connection, yard, rule, causes, open_ones, now)
    quiet = timedelta(seconds=2 * yard.settings.monitor_interval_seconds)
    for cause, row in open_ones.items():
        rule_row = found.get(row["rule_id"], (None, ()))[0]
        closing = closings.get(row["id"], RECOVERED if rule_row else UNKNOWN)
        if cause not in present:
            changed.append(_end(connection, yard, row, rule_row, closing, now, quiet))
    return [row for row in changed if row is not None]


def acknowledge(yard: Yard, alert_id: str, note: str, actor: Actor) -> Row:
    """Say that somebody looks after it. Raises NotFound, BadInput, Conflict when it is resolved."""
    note = check_note(note)
    now = utcnow()
    values = {
        "status": ACKNOWLEDGED,
        "acknowledged_at": now,
        "acknowledged_by": str(actor),
        "note": note or None,
    }
    return _by_person(yard, alert_id, actor, "alert.acknowledged", {**values, "silenced_until": None}, now)


def check_note(note: str) -> str:
    """Return a note as it is kept: one line without secrets. Raises BadInput when it is too long."""
    check_text(note, "note", LONGEST_NOTE)
    return visible_line(mask_text(note.strip()))[:LONGEST_NOTE]


def silence(yard: Yard, alert_id: str, seconds: float, actor: Actor) -> Row:
    """Send nothing about it for a while. Raises NotFound, BadInput, Conflict when it is resolved."""
    seconds = check_number("seconds", seconds, 60, LONGEST_SILENCE_SECONDS)
    now = utcnow()
    values = {"status": SILENCED, "silenced_until": now + timedelta(seconds=seconds), "silenced_by": str(actor)}
    return _by_person(yard, alert_id, actor, "alert.silenced", values, now)


def unsilence(yard: Yard, alert_id: str, actor: Actor) -> Row:
    """End a silence. Raises NotFound, Conflict when there is none."""
    now = utcnow()
    values = {"status": FIRING, "silenced_until": None, "silenced_by": None}
    return _by_person(yard, alert_id, actor, "alert.unsilenced", values, now, (SILENCED,))


def reopen(yard: Yard, alert_id: str, actor: Actor) -> Row:
    """Take an acknowledgement back. Raises NotFound, and Conflict when there is none."""
    values = {"status": FIRING, **dict.fromkeys(("acknowledged_at", "acknowledged_by", "note"))}
    return _by_person(yard, alert_id, actor, "alert.reopened", values, utcnow(), (ACKNOWLEDGED,))


def get(connection: Connection, alert_id: str) -> Row:
    """Fetch an alert; NotFound."""
    row = alerts.get(connection, alert_id)
    if row is None:
        raise NotFound(f"There is no alert {alert_id}. It may have been deleted by retention.")
    return row


def tell(yard: Yard, changed: Sequence[Row]) -> None:
    """Tell viewers of alerts that changed: the bell, and a toast for those that fire. Never raises."""
    for row in changed:
        told = {"id": row["id"], "status": row["status"], "severity": row["severity"], "title": row["title"]}
        yard.live.publish({"type": "alert", **told, "detail": row["detail"]})
        tell_kind(yard, "alert", row["id"], row["status"])


def _raise_new(
    connection: Connection, yard: Yard, rule: Row, causes: Sequence[Found], open_ones: Mapping[str, Row], now: datetime
) -> list[Row | None]:
    """Raise an alert for each cause that has none, up to a number of open alerts of one rule; see `alert_overflow`."""
    new = [one for one in causes if f"{rule['id']}:{one.about}"[:300] not in open_ones]
    own = [row for row in open_ones.values() if row["rule_id"] == rule["id"] and about_of(row) != MORE]
    room = max(0, MOST_OPEN_PER_RULE - len(own))
    raised = [one for one in new if one.about != MORE][:room] + [one for one in new if one.about == MORE]
    return [_raise(connection, yard, rule, one, now) for one in raised]


def _raise(connection: Connection, yard: Yard, rule: Row, one: Found, now: datetime) -> Row | None:
    cause = f"{rule['id']}:{one.about}"[:300]
    cooled = now - timedelta(seconds=rule["cooldown_seconds"])
    before = alerts.resolved_since(connection, cause, cooled) if rule["cooldown_seconds"] else None
    if before is not None:
        return _reopen(connection, yard, rule, before, one, now)
    silence = _silence_of(connection, cause, now)
    row = {**new_row(rule, cause, one, now), **silence}
    if not alerts.add(connection, row):
        return None  # another monitor was first
    told = {name: row[name] for name in ("id", "kind", "severity", "title", "detail", "value", "threshold")}
    events.note(connection, "alert.raised", told, "system:monitor")
    alerts.change_rule(connection, rule["id"], {"last_fired_at": now})
    if not silence:
        _notify(connection, yard, row, rule, FIRED, now)
    return row


def _reopen(connection: Connection, yard: Yard, rule: Row, before: Row, one: Found, now: datetime) -> Row | None:
    values = {**seen(before, rule, one, now), **REOPENED, "opened_at": now, "flaps": before["flaps"] + 1}
    values |= {"status": FIRING}
    silence = _silence_of(connection, before["cause"], now)
    after = alerts.change(connection, before["id"], [RESOLVED], values | silence)
    if after is not None:
        alerts.withdraw_deliveries(connection, after["id"], CLOSING, "The alert recurred before this message was sent.")
        if not silence:
            notified = alerts.channels_notified(connection, after["id"])
            if deliveries.prepare(connection, yard.settings, after, rule, FIRED, now, except_for=notified):
                alerts.claim_notice(connection, after, now)
    return after


def _silence_of(connection: Connection, cause: str, now: datetime) -> dict[str, Any]:
    """Return the values of an alert whose cause is silenced beyond now; none when it is not."""
    row = alerts.newest_of(connection, cause)
    if row is None or row["silenced_until"] is None or row["silenced_until"] <= now:
        return {}
    return {"status": SILENCED, "silenced_until": row["silenced_until"], "silenced_by": row["silenced_by"]}


def _renew(connection: Connection, yard: Yard, rule: Row, known: Row, one: Found, now: datetime) -> Row | None:
    values = seen(known, rule, one, now)
    ends = known["status"] == SILENCED and known["silenced_until"] <= now
    if ends:
        values |= {"status": FIRING, "silenced_until": None, "silenced_by": None}
    after = alerts.change(connection, known["id"], [known["status"]], values)
    if after is None:
        return None
    about = FIRED if ends else next_message(known, after, rule, now)
    if about:
        _notify(connection, yard, {**after, "notified_at": known["notified_at"]}, rule, about, now)
    return after if ends else None


def _notify(connection: Connection, yard: Yard, alert: Row, rule: Row, about: str, now: datetime) -> None:
    """Write a message to every channel of the rule, unless another monitor has; an older one that waits is replaced."""
    if alerts.claim_notice(connection, alert, now):
        alerts.withdraw_deliveries(connection, alert["id"], OPENING, "Replaced by a newer message.")
        deliveries.prepare(connection, yard.settings, alert, rule, about, now)


def _found(rule: Row, facts: Facts) -> list[Found]:
    return conditions.find(rule, facts) if rule["is_enabled"] else []


def _end(
    connection: Connection, yard: Yard, row: Row, rule: Row | None, closing: Closing, now: datetime, quiet: timedelta
) -> Row | None:
    """Close an alert that is not found: one that has recovered when that lasts, any other one at once."""
    if closing == UNKNOWN:
        return None
    if closing == RECOVERED and row["clear_since"] is None:
        alerts.change(connection, row["id"], OPEN, {"clear_since": now})
        return None
    if closing == RECOVERED and now - row["clear_since"] < quiet:
        return None
    return close(connection, yard, row, rule, closing, now)


def close(
    connection: Connection, yard: Yard, row: Row, rule: Row | None, closing: Closing, now: datetime
) -> Row | None:
    """Close an open alert and notify the channels that know of it; return its row, or None when it was not open.

    What has become part of another alert is closed without a message: that alert has its own.
    """
    why = visible_line(mask_text(closing.why))
    values = {"status": RESOLVED, "resolved_at": now, "closed_as": closing.how, "closed_why": why or None}
    after = alerts.change(connection, row["id"], OPEN, values)
    if after is None:
        return None
    reason = why or "The alert was resolved before this message was sent."
    alerts.withdraw_deliveries(connection, after["id"], OPENING, reason)
    is_silenced = row["status"] == SILENCED and row["silenced_until"] > now
    if not is_silenced and closing.how != GROUPED:
        notified = alerts.channels_notified(connection, after["id"])
        about = ENDED if closing.how == RESOLVED else NOT_WATCHED
        deliveries.prepare(connection, yard.settings, after, rule, about, now, only=notified)
    return after


def _by_person(
    yard: Yard,
    alert_id: str,
    actor: Actor,
    action: str,
    values: Mapping[str, Any],
    now: datetime,
    before: Sequence[str] = OPEN,
) -> Row:
    with yard.database.write() as connection:
        row = get(connection, alert_id)
        after = alerts.change(connection, alert_id, before, values)
        if after is None:
            raise Conflict(f"The alert is {row['status']}.", state=row["status"])
        shown = {"status": row["status"]}
        if after["status"] == ACKNOWLEDGED:
            alerts.withdraw_deliveries(
                connection, alert_id, AGAIN, "The alert was acknowledged before this message was sent."
            )
        if after["status"] == SILENCED:
            alerts.withdraw_deliveries(
                connection, alert_id, OPENING, "The alert was silenced before this message was sent."
            )
        audit.record(connection, actor, action, "alert", alert_id, now, shown, {name: after[name] for name in values})
    tell(yard, [after])
    return after
