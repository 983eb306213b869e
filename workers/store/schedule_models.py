"""The tables of schedules: what fires when, and what became of each fire."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workers.store.models import Base


class Schedule(Base):
    """A rule that makes jobs: by cron, by interval, or once."""

    __tablename__ = "schedules"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    task: Mapped[str] = mapped_column(String(200))
    payload: Mapped[str]  # JSON
    cron: Mapped[str | None] = mapped_column(String(200))
    interval_seconds: Mapped[int | None] = mapped_column(Integer)
    once_at: Mapped[datetime | None]
    timezone: Mapped[str] = mapped_column(String(64))
    jitter_seconds: Mapped[int] = mapped_column(Integer)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    overlap: Mapped[str] = mapped_column(String(16))  # allow, skip, queue_one
    missed: Mapped[str] = mapped_column(String(16))  # skip, run_once, catch_up
    catch_up_max: Mapped[int] = mapped_column(Integer)
    finish_within_seconds: Mapped[float | None] = mapped_column(Float)  # an alert is raised when it takes longer
    queue: Mapped[str | None] = mapped_column(String(64))  # none = as the task has it; so the next three
    priority: Mapped[str | None] = mapped_column(String(8))
    max_retries: Mapped[int | None] = mapped_column(Integer)
    timeout_seconds: Mapped[float | None] = mapped_column(Float)
    tags: Mapped[str]  # JSON list
    enabled: Mapped[bool]
    declared_by: Mapped[str | None] = mapped_column(String(200), unique=True)  # the task whose code declares it
    declared_hash: Mapped[str | None] = mapped_column(String(64))  # of what the code declares
    next_fire_at: Mapped[datetime | None]  # none = never again, or not enabled
    next_due_at: Mapped[datetime | None]  # that moment and its jitter
    last_fire_at: Mapped[datetime | None]  # the last moment that was dealt with
    last_completed_fire_at: Mapped[datetime | None]  # of the runs that completed, the last; deadlines count from there
    last_job_id: Mapped[str | None] = mapped_column(String(36))  # the job of that moment, if it made one
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger)  # of the row: moves with every run
    revision: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")  # moves with every edit only
    refused_reason: Mapped[str | None] = mapped_column(Text)  # why its last run was refused; none when it was not
    # Whether it was enabled when its task stopped declaring it; none when people have decided since.
    enabled_when_declared: Mapped[bool | None]

    __table_args__ = (
        Index(
            "ix_schedules_due",
            "next_due_at",
            sqlite_where=text("next_due_at IS NOT NULL"),
            postgresql_where=text("next_due_at IS NOT NULL"),
        ),
    )


class ScheduleFire(Base):
    """One due moment of a schedule, and what became of it; the key makes it one, whoever hears of it."""

    __tablename__ = "schedule_fires"
    __table_args__ = (
        Index("ix_schedule_fires_outcome", "outcome", "at"),
        {"sqlite_with_rowid": False},
    )

    schedule_id: Mapped[str] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    fire_at: Mapped[datetime] = mapped_column(primary_key=True)
    at: Mapped[datetime]  # when it was dealt with
    late_ms: Mapped[int] = mapped_column(BigInteger)  # after its due moment
    # fired, manual, held (waits for the run before it), overlapped, missed, refused
    outcome: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str | None] = mapped_column(String(36))
    missed_count: Mapped[int] = mapped_column(Integer)  # moments that were passed over, this one the last of them
    detail: Mapped[str | None]  # why it was refused
