"""Sending alerts: each message to each channel is a row, sent by a job of its own, tried again until it is taken."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection

from workers.broker.channel_calls import LONGEST_SECONDS
from workers.domain.clock import utcnow
from workers.domain.errors import NotFound, TaskyardError
from workers.domain.ids import new_id
from workers.domain.masking import mask_text
from workers.domain.untrusted import visible_line
from workers.services import alert_messages, channels
from workers.services.alert_messages import ENDED, NOT_WATCHED, OPENING
from workers.services.channels import Channel, Reply
from workers.services.enqueueing import NewJob, enqueue_system
from workers.settings import Settings
from workers.store import alerts
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger(__name__)
TASK = "system.deliver"
DELAYS_SECONDS = (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
CLAIM_SECONDS = LONGEST_SECONDS + 60.0  # no call takes longer, so no second one begins beside it
STEP = 20
GONE = "The channel no longer exists."
OVERDUE = timedelta(seconds=60)


def prepare(
    connection: Connection,
    settings: Settings,
    alert: Row,
    rule: Row | None,
    about: str,
    now: datetime,
    *,
    only: Collection[str] | None = None,
    except_for: Collection[str] = (),
) -> int:
    """Write the messages of an alert to the channels of its rule, in the transaction that raised or closed it.

    `about` is one of those of `alert_messages`. `only` are ids of channels that know of the alert: they receive it
    whatever channels its rule has now. `except_for` are ids too. Return how many messages there are.
    """
    known = channels.every(connection, settings)
    chosen = _channels_of(rule, known) if only is None else [channel for channel in known if channel.id in only]
    rows = [_message(settings, alert, channel, about, now) for channel in chosen if channel.id not in except_for]
    alerts.add_deliveries(connection, rows)
    return len(rows)


def enqueue_due(yard: Yard) -> int:
    """Enqueue a job for each message whose moment has come; tells how many. Never raises: the next sweep finds them."""
    now = utcnow()
    try:
        with yard.database.read() as connection:
            # A message that is tried again has its job already; it is overdue only when that was lost.
            due = alerts.due_deliveries(connection, now, 500)
        for row in due:
            if not row["tries"] or now - row["due_at"] > OVERDUE:
                key = f"deliver:{row['id']}:{row['tries']}"
                enqueue_system(yard, NewJob(TASK, {"delivery_id": row["id"]}, idempotency_key=key, created_by="system"))
    except TaskyardError as error:
        log.warning("alerts are sent later: %s", error)
        return 0
    return len(due)


def send(yard: Yard, delivery_id: str) -> tuple[bool, str]:
    """Send one message, once at a time; whether it needs no further attempt, and the channel's answer. Raises Unavailable.

    A message that the channel has received but not answered in time is not sent again: it would arrive twice. Only a
    process that dies between sending and writing so repeats it.
    """
    now = utcnow()
    with yard.database.write() as connection:
        row = alerts.claim(connection, delivery_id, now, now + timedelta(seconds=CLAIM_SECONDS))
        if row is None:
            return True, "another process sends or has sent it"
        alert = alerts.get(connection, row["alert_id"])
        is_gone = not any(one.id == row["channel"] for one in channels.every(connection, yard.settings))
        if is_gone:
            alerts.settle(connection, delivery_id, row["tries"], {"status": "failed", "answer": GONE})
            if alert is not None and row["about"] in OPENING:
                _redirect(connection, yard.settings, row, alert, now)
    if is_gone:
        enqueue_due(yard)
        return True, GONE
    severity = _severity(row["about"], alert)
    reply = _sent(yard, row, severity)
    with yard.database.write() as connection:
        alerts.settle(connection, delivery_id, row["tries"], _outcome(row, reply, utcnow()))
    return reply.is_taken or reply.is_unanswered, reply.answer


def send_due(yard: Yard, older_than_seconds: float) -> int:
    """Send what has waited for so long, in this process: for when nobody runs jobs. Tells how many were tried."""
    before = utcnow() - timedelta(seconds=older_than_seconds)
    with yard.database.read() as connection:
        due = alerts.due_deliveries(connection, before, STEP)
    for row in due:
        send(yard, row["id"])
    return len(due)


def _channels_of(rule: Row | None, known: list[Channel]) -> list[Channel]:
    if rule is None:
        return known
    chosen, absent = channels.of_rule(rule, known)
    if absent:
        log.warning("the rule %r: %s", rule["name"], channels.why_absent(rule, absent))
    return chosen


def _redirect(connection: Connection, settings: Settings, row: Row, alert: Row, now: datetime) -> None:
    """Write a message whose channel is gone to the channels that its rule has now, those that have not received it."""
    rule = alerts.rule(connection, alert["rule_id"]) if alert["rule_id"] else None
    same = [one for one in alerts.deliveries(connection, [alert["id"]])[alert["id"]] if one["about"] == row["about"]]
    received = {one["channel"] for one in same if one["created_at"] >= row["created_at"]}
    if rule is not None:
        prepare(connection, settings, alert, rule, row["about"], now, except_for=received)


def _message(settings: Settings, alert: Row, channel: Channel, about: str, now: datetime) -> dict[str, object]:
    message = alert_messages.compose(settings, alert, about, channel.timezone or settings.timezone, now)
    return {
        "id": new_id(now),
        "alert_id": alert["id"],
        "channel": channel.id,
        "about": about,
        "status": "pending",
        "title": message.title,
        "body": message.body,
        "tries": 0,
        "answer": None,
        "created_at": now,
        "due_at": now,
        "sent_at": None,
    }


def _severity(about: str, alert: Row | None) -> str:
    if about == ENDED or alert is None:
        return "resolved"
    return "info" if about == NOT_WATCHED else str(alert["severity"])


def _sent(yard: Yard, row: Row, severity: str) -> Reply:
    try:
        with yard.database.read() as connection:
            channel = channels.get(connection, yard.settings, row["channel"])
    except NotFound as error:
        return Reply(False, str(error))
    try:
        return channels.call(yard.settings, channel, row["title"], row["body"], severity)
    except Exception as error:
        # Apprise has a hundred plug-ins; whatever one of them raises is an answer like any other.
        log.exception("the channel %s failed", channel.name)
        return Reply(False, visible_line(mask_text(f"{type(error).__name__}: {error}".replace(channel.url, "…"))))


def _outcome(row: Row, reply: Reply, now: datetime) -> dict[str, object]:
    answer = reply.answer
    if reply.is_taken:
        return {"status": "sent", "answer": answer, "sent_at": now}
    if reply.is_unanswered:
        return {"status": "unconfirmed", "answer": answer, "sent_at": now}
    if row["tries"] > len(DELAYS_SECONDS):
        return {"status": "failed", "answer": answer}
    wait = DELAYS_SECONDS[row["tries"] - 1]
    return {"status": "pending", "answer": answer, "due_at": now + timedelta(seconds=wait)}
