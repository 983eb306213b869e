"""Alert rules: the ones that come with Taskyard, and what people make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.alarms import KINDS, SEVERITIES, repeat_seconds
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, NotFound
from workers.domain.ids import new_id
from workers.domain.numbers import check_flag, check_number
from workers.domain.texts import check_text
from workers.domain.untrusted import check_label
from workers.services import alerting, audit, channels, deliveries, rule_checks, rule_history
from workers.services.closings import unwatched
from workers.services.revisions import Expected, check_revision
from workers.store import alerts
from workers.store.types import Row
from workers.yard import Yard

LONGEST_SECONDS = 7 * 86400.0
MOST_CHANNELS = 100
_CHANGEABLE = ("name", "threshold", "window_seconds", "severity", "cooldown_seconds", "repeat_seconds", "scope", "channels", "is_enabled")  # fmt: skip


def ensure(yard: Yard) -> None:
    """Make the rules that come with Taskyard, those that this installation has never had."""
    now = utcnow()
    with yard.database.write() as connection:
        for kind in KINDS.values():
            row = {"id": f"rule-{kind.name}", "kind": kind.name, **defaults(kind.name), "created_at": now}
            alerts.add_rule(connection, {**row, "updated_at": now, "last_fired_at": None})
        channels.ensure_ids(connection, yard.settings.alert_urls, now)


def defaults(kind: str) -> dict[str, Any]:
    """Tell what a rule of this kind starts with. Raises BadInput for a kind that there is not."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(f"Unknown kind of rule {kind!r}. Use one of: {', '.join(KINDS)}.", field="kind")
    about = KINDS[kind]
    return {
        "name": about.title,
        "threshold": about.threshold,
        "window_seconds": about.window_seconds,
        "severity": about.severity,
        "cooldown_seconds": 300.0,
        "repeat_seconds": repeat_seconds(about.severity),
        "scope": "",
        "channels": "[]",
        "is_enabled": True,
    }


def get(connection: Connection, rule_id: str, *, locked: bool = False) -> Row:
    """Fetch a rule; `locked` keeps others from it until the transaction ends. Raises NotFound."""
    row = alerts.rule(connection, rule_id, locked=locked)
    if row is None:
        raise NotFound(f"There is no alert rule {rule_id}.")
    return row


def create(yard: Yard, kind: str, values: Mapping[str, Any], actor: Actor) -> Row:
    """Make a rule of a kind; what is not given is as the kind has it. Raises BadInput."""
    now = utcnow()
    checked = _checked(values)
    chosen = {"repeat_seconds": repeat_seconds(checked["severity"])} if "severity" in checked else {}
    row = {**defaults(kind), **chosen, **checked, "id": new_id(), "kind": kind, "created_at": now, "updated_at": now}
    rule_checks.check(yard.settings, row, row)
    with yard.database.write() as connection:
        row = _with_channel_ids(connection, yard, row)
        alerts.add_rule(connection, {**row, "last_fired_at": None})
        audit.record(connection, actor, "alert_rule.created", "alert_rule", row["id"], now, None, row)
        return get(connection, row["id"])


def change(yard: Yard, rule_id: str, values: Mapping[str, Any], actor: Actor, expected: Expected = None) -> Row:
    """Change a rule. Raises NotFound, BadInput, and Edited when its revision is not an `expected` one."""
    now = utcnow()
    checked = _checked(values)
    closed: list[Row] = []
    with yard.database.write() as connection:
        before = get(connection, rule_id, locked=True)
        check_revision("this alert rule", before["revision"], expected, values, as_json(before))
        # A form sends every value: only what differs is a change.
        checked = {name: value for name, value in checked.items() if value != before[name]}
        checked = _with_channel_ids(connection, yard, checked)
        rule_checks.check(yard.settings, {**before, **checked}, checked)
        if checked:
            moved = {"updated_at": now, "revision": before["revision"] + 1}
            alerts.change_rule(connection, rule_id, {**checked, **moved})
            shown = {name: before[name] for name in checked}
            audit.record(connection, actor, "alert_rule.changed", "alert_rule", rule_id, now, shown, checked)
        after = get(connection, rule_id)
        if checked.get("is_enabled") is False:
            closed = _close_alerts(connection, yard, after, rule_history.why_disabled(after, str(actor)), now)
    if closed:
        alerting.tell(yard, closed)
        deliveries.enqueue_due(yard)
    return after


def remove(yard: Yard, rule_id: str, actor: Actor, expected: Expected = None) -> None:
    """Delete a rule that people made; those that come with Taskyard are disabled instead.

    Raises NotFound, BadInput, and Edited when its revision is not an `expected` one.
    """
    with yard.database.write() as connection:
        row = get(connection, rule_id, locked=True)
        check_revision("this alert rule", row["revision"], expected, {}, {})
        if rule_id.startswith("rule-"):
            raise BadInput("A built-in rule cannot be deleted. Disable it instead.", field="rule")
        now = utcnow()
        closed = _close_alerts(connection, yard, row, rule_history.why_deleted(row["name"], str(actor)), now)
        alerts.remove_rule(connection, rule_id)
        audit.record(connection, actor, "alert_rule.deleted", "alert_rule", rule_id, now, dict(row))
    alerting.tell(yard, closed)
    deliveries.enqueue_due(yard)


def _close_alerts(connection: Connection, yard: Yard, rule: Row, why: str, now: datetime) -> list[Row]:
    """Close the open alerts of a rule that is judged no more; the alerts that were closed."""
    open_ones = alerts.open_alerts_of(connection, rule["id"])
    closed = [alerting.close(connection, yard, alert, rule, unwatched(why), now) for alert in open_ones]
    return [row for row in closed if row is not None]


def test(yard: Yard, rule_id: str, actor: Actor) -> list[dict[str, Any]]:
    """Send a test message to each channel of a rule; what they said. Raises NotFound."""
    with yard.database.read() as connection:
        goes_to, _ = channels.of_rule(get(connection, rule_id), channels.every(connection, yard.settings))
    return [channels.test(yard, one.id, actor) for one in goes_to]


def as_json(row: Row) -> dict[str, Any]:
    """Make a rule JSON-ready but for its instants."""
    return {**row, "channels": json.loads(row["channels"]), "unit": KINDS[row["kind"]].unit}


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    odd = sorted(set(values) - set(_CHANGEABLE))
    if odd:
        raise BadInput(f"A rule has no field {odd[0]} that can be set.", field=odd[0])
    checked = dict(values)
    for name in ("threshold", "window_seconds", "cooldown_seconds", "repeat_seconds"):
        if name in checked:
            checked[name] = check_number(name, checked[name], 0, _most(name))
    if checked.get("severity", "info") not in SEVERITIES:
        raise BadInput(f"The severity must be one of: {', '.join(SEVERITIES)}.", field="severity")
    if "name" in checked:
        checked["name"] = check_label(checked["name"], 100)
    check_text(checked.get("scope", ""), "scope", 200)
    if "is_enabled" in checked:
        check_flag("is_enabled", checked["is_enabled"])
    if "channels" in checked:
        checked["channels"] = json.dumps(_channel_ids(checked["channels"]))
    return checked


def _channel_ids(value: Any) -> list[str]:
    is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if not is_list or len(value) > MOST_CHANNELS:
        raise BadInput(f"channels must be a list of at most {MOST_CHANNELS} IDs.", field="channels")
    return list(dict.fromkeys(value))


def _most(name: str) -> float:
    return LONGEST_SECONDS if name.endswith("_seconds") else 1e12


def _with_channel_ids(connection: Connection, yard: Yard, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the present ids of the channels; BadInput for a channel that there is not."""
    if "channels" not in values:
        return dict(values)
    known = channels.every(connection, yard.settings)
    ids: dict[str, None] = {}
    for one in json.loads(values["channels"]):
        channel = next((channel for channel in known if channel.is_named(one)), None)
        if channel is None:
            raise BadInput(f"There is no channel {one}.", field="channels")
        ids[channel.id] = None
    return {**values, "channels": json.dumps([*ids])}
