"""Rows of `alerts`, `alert_rules`, `alert_channels` and `alert_deliveries`; each change of an alert is guarded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, insert, not_, or_, select, update

from workers.store.dialects import insert_or_ignore
from workers.store.monitor_models import Alert, AlertChannel, AlertDelivery, AlertRule
from workers.store.types import Row

ALERTS = cast(Table, Alert.__table__)
RULES = cast(Table, AlertRule.__table__)
CHANNELS = cast(Table, AlertChannel.__table__)
DELIVERIES = cast(Table, AlertDelivery.__table__)


def rules(connection: Connection) -> Sequence[Row]:
    """List every rule, the oldest first."""
    return connection.execute(select(RULES).order_by(RULES.c.created_at, RULES.c.id)).mappings().all()


def rule(connection: Connection, rule_id: str, *, locked: bool = False) -> Row | None:
    """Fetch one rule; `locked` keeps others from it until the transaction ends."""
    chosen = select(RULES).where(RULES.c.id == rule_id)
    return connection.execute(chosen.with_for_update() if locked else chosen).mappings().one_or_none()


def rules_of(connection: Connection, kind: str) -> Sequence[Row]:
    """List the rules of a kind, the oldest first."""
    chosen = select(RULES).where(RULES.c.kind == kind).order_by(RULES.c.created_at, RULES.c.id)
    return connection.execute(chosen).mappings().all()


def add_rule(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Put a rule in; False when there is one with this id."""
    return _put(connection, RULES, row)


def change_rule(connection: Connection, rule_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a rule."""
    connection.execute(update(RULES).where(RULES.c.id == rule_id).values(**values))


def remove_rule(connection: Connection, rule_id: str) -> None:
    """Delete a rule; its alerts stay."""
    connection.execute(delete(RULES).where(RULES.c.id == rule_id))


def rename_channel(connection: Connection, before: str, after: str) -> None:
    """Give the messages to a channel its new id."""
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.channel == before).values(channel=after))


def channels(connection: Connection) -> Sequence[Row]:
    """List the channels that people made."""
    return connection.execute(select(CHANNELS).order_by(CHANNELS.c.name)).mappings().all()


def channel(connection: Connection, channel_id: str) -> Row | None:
    """Fetch one of them."""
    return connection.execute(select(CHANNELS).where(CHANNELS.c.id == channel_id)).mappings().one_or_none()


def add_channel(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Put a channel in; False when its name is taken."""
    return _put(connection, CHANNELS, row)


def remove_channel(connection: Connection, channel_id: str) -> None:
    """Delete a channel."""
    connection.execute(delete(CHANNELS).where(CHANNELS.c.id == channel_id))


def get(connection: Connection, alert_id: str) -> Row | None:
    """Fetch one alert."""
    return connection.execute(select(ALERTS).where(ALERTS.c.id == alert_id)).mappings().one_or_none()


def open_alerts(connection: Connection) -> Sequence[Row]:
    """List every alert that is not resolved, the newest first."""
    chosen = select(ALERTS).where(ALERTS.c.resolved_at.is_(None)).order_by(ALERTS.c.id.desc())
    return connection.execute(chosen).mappings().all()


def page(connection: Connection, statuses: Sequence[str], before: str | None, limit: int) -> Sequence[Row]:
    """List alerts in these states (all when empty) from before an id, the newest first."""
    chosen = select(ALERTS).order_by(ALERTS.c.id.desc()).limit(limit)
    if statuses:
        chosen = chosen.where(ALERTS.c.status.in_(statuses))
    if before:
        chosen = chosen.where(ALERTS.c.id < before)
    return connection.execute(chosen).mappings().all()


def counts(connection: Connection) -> dict[str, int]:
    """Tell how many alerts are in each open state."""
    chosen = select(ALERTS.c.status, func.count()).where(ALERTS.c.resolved_at.is_(None)).group_by(ALERTS.c.status)
    return {status: int(n) for status, n in connection.execute(chosen)}


def resolved_since(connection: Connection, cause: str, since: datetime) -> Row | None:
    """Fetch the alert of this cause that was closed last, if that was after a moment and not as part of another one."""
    was_grouped = ALERTS.c.closed_as.is_not_distinct_from("grouped")
    chosen = select(ALERTS).where(ALERTS.c.cause == cause, ALERTS.c.resolved_at >= since, not_(was_grouped))
    return connection.execute(chosen.order_by(ALERTS.c.resolved_at.desc()).limit(1)).mappings().one_or_none()


def newest_of(connection: Connection, cause: str) -> Row | None:
    """Fetch the newest alert of a cause."""
    chosen = select(ALERTS).where(ALERTS.c.cause == cause).order_by(ALERTS.c.id.desc()).limit(1)
    return connection.execute(chosen).mappings().one_or_none()


def add(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Open an alert; False when its cause already has an open one."""
    return _put(connection, ALERTS, row)


def change(connection: Connection, alert_id: str, before: Iterable[str], values: Mapping[str, Any]) -> Row | None:
    """Set columns of an alert that is in one of these states; the row as it is now, None when it is not."""
    changed = update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.status.in_(list(before))).values(**values)
    return connection.execute(changed.returning(*ALERTS.columns)).mappings().one_or_none()


def claim_notice(connection: Connection, alert: Row, now: datetime) -> bool:
    """Write that an alert's next message is written now; False when another monitor has, or it is not firing any more."""
    mine = (ALERTS.c.id == alert["id"], ALERTS.c.status == "firing")
    same = ALERTS.c.notified_at.is_not_distinct_from(alert["notified_at"])
    claimed = update(ALERTS).where(*mine, same).values(notified_at=now, notified_value=alert["value"])
    return connection.execute(claimed.returning(ALERTS.c.id)).first() is not None


def open_alerts_of(connection: Connection, rule_id: str) -> Sequence[Row]:
    """List the alerts of a rule that are not resolved."""
    mine = select(ALERTS).where(ALERTS.c.rule_id == rule_id, ALERTS.c.resolved_at.is_(None))
    return connection.execute(mine).mappings().all()


def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to so many alerts that were resolved before, with their deliveries; tells how many."""
    old = select(ALERTS.c.id).where(ALERTS.c.resolved_at < before).limit(limit)
    return connection.execute(delete(ALERTS).where(ALERTS.c.id.in_(old))).rowcount


def add_deliveries(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put messages in, to be sent."""
    if rows:
        connection.execute(insert(DELIVERIES), [dict(row) for row in rows])


def deliveries(connection: Connection, alert_ids: Sequence[str]) -> dict[str, list[Row]]:
    """List the messages of these alerts, oldest first."""
    chosen = select(DELIVERIES).where(DELIVERIES.c.alert_id.in_(alert_ids)).order_by(DELIVERIES.c.id)
    found: dict[str, list[Row]] = {alert_id: [] for alert_id in alert_ids}
    for row in connection.execute(chosen).mappings():
        found[row["alert_id"]].append(row)
    return found


def due_deliveries(connection: Connection, now: datetime, limit: int) -> Sequence[Row]:
    """List the messages whose moment has come, those among them that somebody began to send and never ended."""
    waiting = DELIVERIES.c.status.in_(["pending", "sending"])
    chosen = select(DELIVERIES).where(waiting, DELIVERIES.c.due_at <= now).order_by(DELIVERIES.c.due_at)
    return connection.execute(chosen.limit(limit)).mappings().all()


def withdraw_deliveries(connection: Connection, alert_id: str, about: Collection[str], reason: str) -> None:
    """Cancel the messages of an alert that no channel has been given yet."""
    mine = (DELIVERIES.c.alert_id == alert_id, DELIVERIES.c.about.in_(list(about)))
    waiting = (*mine, DELIVERIES.c.status == "pending")
    connection.execute(update(DELIVERIES).where(*waiting).values(status="canceled", answer=reason))


def channels_notified(connection: Connection, alert_id: str) -> set[str]:
    """Return the channels whose newest message says that the alert is open."""
    given = (DELIVERIES.c.alert_id == alert_id, DELIVERIES.c.status.in_(["sending", "sent", "unconfirmed"]))
    chosen = select(DELIVERIES.c.channel, DELIVERIES.c.about).where(*given).order_by(DELIVERIES.c.id)
    newest = {row.channel: row.about for row in connection.execute(chosen)}
    return {channel for channel, about in newest.items() if about not in {"resolved", "unwatched"}}


def claim(connection: Connection, delivery_id: str, now: datetime, until: datetime) -> Row | None:
    """Take a message to send it: nobody else may until then. None when somebody else has it or it is done."""
    claimed = (
        update(DELIVERIES)
        .where(
            DELIVERIES.c.id == delivery_id,
            or_(DELIVERIES.c.status == "pending", DELIVERIES.c.status == "sending"),
            DELIVERIES.c.due_at <= now,
        )
        .values(status="sending", tries=DELIVERIES.c.tries + 1, due_at=until)
        .returning(*DELIVERIES.columns)
    )
    return connection.execute(claimed).mappings().one_or_none()


def settle(connection: Connection, delivery_id: str, tries: int, values: Mapping[str, Any]) -> None:
    """Write how a try at sending ended, unless another try has begun since."""
    mine = (DELIVERIES.c.id == delivery_id, DELIVERIES.c.tries == tries)
    connection.execute(update(DELIVERIES).where(*mine).values(**values))


def _put(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    put = insert_or_ignore(connection, table).returning(table.c.id)
    return connection.execute(put, dict(row)).scalar_one_or_none() is not None
