"""The tables of triggers: what they listen for, when they fired and why, and events that are not dealt with yet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from workers.store.models import Base
from workers.store.types import BigId


class Trigger(Base):
    """A rule that makes a job when something happens."""

    __tablename__ = "triggers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(8))  # queue, event, data
    listens: Mapped[str] = mapped_column(String(200))  # a queue; or an event's name, `*` allowed
    hears_jobs: Mapped[
        bool
    ]  # whether what it listens for can be the end of a job; read by the trigger of store.hearing
    measure: Mapped[str | None] = mapped_column(String(16))  # of a queue: depth, oldest_seconds
    above: Mapped[float | None] = mapped_column(Float)
    conditions: Mapped[str]  # JSON: path in the event → value, or {"above": n}, {"below": n}
    task: Mapped[str] = mapped_column(String(200))
    payload: Mapped[str]  # JSON; texts that begin with $. are paths in the event
    cooldown_seconds: Mapped[float] = mapped_column(Float)
    cap_per_hour: Mapped[int] = mapped_column(Integer)
    enabled: Mapped[bool]
    stopped_reason: Mapped[str | None]  # why Taskyard itself switched it off
    last_fired_at: Mapped[datetime | None]
    passed_over: Mapped[int] = mapped_column(Integer)  # events since then that cool-down or cap let go by
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))
    updated_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")  # moves with every edit

    __table_args__ = (
        Index(
            "ix_triggers_hears_jobs",
            "id",
            sqlite_where=text("hears_jobs AND enabled"),
            postgresql_where=text("hears_jobs AND enabled"),
        ),
    )


class TriggerFiring(Base):
    """One time that a trigger fired, with the facts that caused it."""

    __tablename__ = "trigger_firings"
    __table_args__ = (
        Index("ix_trigger_firings_trigger", "trigger_id", "id"),
        Index("ix_trigger_firings_job", "job_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    trigger_id: Mapped[str] = mapped_column(ForeignKey("triggers.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(16))  # fired, refused, looped
    facts: Mapped[str]  # JSON
    depth: Mapped[int] = mapped_column(Integer)  # firings before it in the same chain
    job_id: Mapped[str | None] = mapped_column(String(36))
    detail: Mapped[str | None]  # why it was refused


class Event(Base):
    """Something that happened and that triggers have not heard yet; the row goes when they have."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(200))
    payload: Mapped[str]  # JSON
    actor: Mapped[str] = mapped_column(String(200))
    job_id: Mapped[str | None] = mapped_column(String(36))  # the job that it happened to, or in
