"""The tables of the monitor: its sweeps and what they found, alerts with their rules, channels and deliveries, histograms."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workers.store.models import Base
from workers.store.types import BigId


class Sweep(Base):
    """One pass of the monitor."""

    __tablename__ = "sweeps"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    took_ms: Mapped[int] = mapped_column(BigInteger)
    reset: Mapped[int] = mapped_column(Integer)  # stuck jobs put back to pending
    failed: Mapped[int] = mapped_column(Integer)  # stuck jobs without tries left
    requeued: Mapped[int] = mapped_column(Integer)  # jobs that Redis had lost
    promoted: Mapped[int] = mapped_column(Integer)  # due jobs that nobody had put on their queue
    workers_lost: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None]  # the steps that failed, and why

    __table_args__ = (Index("ix_sweeps_at", "at"),)


class SweepFinding(Base):
    """What a sweep did to one job, with the evidence that it acted on."""

    __tablename__ = "sweep_findings"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    job_id: Mapped[str] = mapped_column(String(36))
    task: Mapped[str] = mapped_column(String(200))
    attempt: Mapped[int] = mapped_column(Integer)  # the one that was stuck
    verdict: Mapped[str] = mapped_column(String(16))  # worker_lost, silent, over_limit
    sentence: Mapped[str]
    evidence: Mapped[str]  # JSON
    done: Mapped[str] = mapped_column(String(16))  # reset, failed
    actor: Mapped[str] = mapped_column(String(200))
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None]

    __table_args__ = (Index("ix_sweep_findings_at", "at", "id"), Index("ix_sweep_findings_job", "job_id"))


class AlertRule(Base):
    """When an alert is raised."""

    __tablename__ = "alert_rules"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(100))
    threshold: Mapped[float] = mapped_column(Float)
    window_seconds: Mapped[float] = mapped_column(Float)
    severity: Mapped[str] = mapped_column(String(16))  # critical, warning, info
    cooldown_seconds: Mapped[float] = mapped_column(Float)
    repeat_seconds: Mapped[float] = mapped_column(Float, server_default="0")  # while it is open; 0 = never
    scope: Mapped[str] = mapped_column(String(200))  # a queue or task, `*` at its end allowed; empty = all
    channels: Mapped[str]  # JSON list of ids; empty = every channel
    is_enabled: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    last_fired_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")  # moves with every edit


class AlertChannel(Base):
    """Where alerts go: an address that Apprise understands."""

    __tablename__ = "alert_channels"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    url: Mapped[str]
    timezone: Mapped[str] = mapped_column(String(64), server_default="")  # empty = the installation's
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))


class Alert(Base):
    """One cause for alarm, from its first sign to its end."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    rule_id: Mapped[str | None] = mapped_column(String(36))
    kind: Mapped[str] = mapped_column(String(32))
    cause: Mapped[str] = mapped_column(String(300))  # rule and what it is about: one open alert each
    status: Mapped[str] = mapped_column(String(16))  # firing, acknowledged, silenced, resolved
    severity: Mapped[str] = mapped_column(String(16))
    title: Mapped[str]
    detail: Mapped[str]
    link: Mapped[str] = mapped_column(Text, default="")
    host: Mapped[str] = mapped_column(String(255), server_default="")
    value: Mapped[float] = mapped_column(Float)
    threshold: Mapped[float] = mapped_column(Float)
    history: Mapped[str]  # JSON list of the last values, one a sweep
    count: Mapped[int] = mapped_column(Integer)  # sweeps that saw it
    flaps: Mapped[int] = mapped_column(Integer)  # times it came back within the cool-down
    first_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]  # since when it is open this time: its first sign, or its last recurrence
    last_at: Mapped[datetime]
    clear_since: Mapped[datetime | None]  # not seen since; resolved when that lasts
    notified_at: Mapped[datetime | None]  # when its last message was written; repetitions count from it
    notified_value: Mapped[float | None] = mapped_column(Float)
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]
    note: Mapped[str | None]
    silenced_until: Mapped[datetime | None]
    silenced_by: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    closed_as: Mapped[str | None] = mapped_column(String(16))  # resolved, grouped, unwatched; none while it is open
    closed_why: Mapped[str | None]  # a sentence; none when its cause is gone
    subjects: Mapped[str | None]  # JSON: the value of each schedule that one alert is about

    __table_args__ = (
        Index(
            "uq_alerts_open",
            "cause",
            unique=True,
            sqlite_where=text("resolved_at IS NULL"),
            postgresql_where=text("resolved_at IS NULL"),
        ),
        Index("ix_alerts_status", "status", "id"),
        Index("ix_alerts_cause", "cause", "resolved_at"),
    )


class AlertDelivery(Base):
    """One message of an alert to one channel."""

    __tablename__ = "alert_deliveries"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    channel: Mapped[str] = mapped_column(String(100))  # its id; `url-…` for those of ALERT_URLS
    about: Mapped[str] = mapped_column(String(16))  # fired, repeated, worsened, resolved, unwatched
    status: Mapped[str] = mapped_column(String(16))  # pending, sending, sent, unconfirmed, failed, canceled
    title: Mapped[str]
    body: Mapped[str]
    tries: Mapped[int] = mapped_column(Integer)
    answer: Mapped[str | None]  # what the channel said last
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_alert_deliveries_alert", "alert_id", "id"),
        Index(
            "ix_alert_deliveries_due",
            "due_at",
            sqlite_where=text("status IN ('pending', 'sending')"),
            postgresql_where=text("status IN ('pending', 'sending')"),
        ),
    )


class JobHistogram(Base):
    """How long attempts ran and waited in each five minutes, as counts in buckets; kept by triggers on `jobs`."""

    __tablename__ = "job_histograms"
    __table_args__ = {"sqlite_with_rowid": False}

    # The first of the five, in minutes since 1970 UTC.
    minute: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    task: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(4), primary_key=True)  # run, wait
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger, default=0)
