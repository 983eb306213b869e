"""The tables. Rows of `jobs` are the truth about every job; what they mean is in docs/glossary.md."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from workers.store.types import BigId, LogText, MaskedText, UtcDateTime

# A transition raises the version to the next whole step, so it outranks all progress told before it.
VERSION_STEP = 1_000_000
REFUSED = "action IN ('sign_in.failed', 'request.refused')"


class Base(DeclarativeBase):
    """All tables of Taskyard."""

    type_annotation_map = {datetime: UtcDateTime(), str: Text()}


def _id(**options: Any) -> Mapped[str]:
    return mapped_column(String(36), **options)


class Job(Base):
    """One request to run a task."""

    __tablename__ = "jobs"

    id: Mapped[str] = _id(primary_key=True)
    task: Mapped[str] = mapped_column(String(200))
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[str] = mapped_column(String(8))
    payload: Mapped[str]  # JSON
    # What a search looks at in place of payload and key: null = these themselves, they hold no secret; empty = nothing.
    search_text: Mapped[str | None] = mapped_column(Text, server_default="")
    status: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float] = mapped_column(Float, default=0.0)  # 0 to 100
    done: Mapped[int | None] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(BigInteger)
    step: Mapped[str | None] = mapped_column(MaskedText)
    message: Mapped[str | None] = mapped_column(MaskedText)
    scheduled_for: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # when a scheduled or retry_scheduled row goes on
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    max_retries: Mapped[int] = mapped_column(Integer)
    interruptions: Mapped[int] = mapped_column(Integer, server_default="0")  # attempts ended by a stop of their worker
    timeout_seconds: Mapped[float] = mapped_column(Float)
    retry_delays: Mapped[str | None]  # JSON list of seconds
    next_retry_at: Mapped[datetime | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    # Of the task and payload that the idempotency key was first used for; null without a key, and in rows of earlier versions.
    request_hash: Mapped[str | None] = mapped_column(String(64))
    unique_key: Mapped[str | None] = mapped_column(String(255))  # set while a unique task's job is not final
    parent: Mapped[str | None] = mapped_column(String(36))
    batch: Mapped[str | None] = mapped_column(String(36))
    schedule: Mapped[str | None] = mapped_column(String(36))
    rerun_of: Mapped[str | None] = mapped_column(String(36))
    worker: Mapped[str | None] = mapped_column(String(200))
    heartbeat_at: Mapped[datetime | None]
    progress_at: Mapped[datetime | None]  # when it last told of its progress
    leave_until: Mapped[datetime | None]  # the monitor lets it be until then, as somebody wished
    created_at: Mapped[datetime]
    pending_at: Mapped[datetime | None]  # when the present wait on the queue began
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    canceled_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[str | None]
    updated_at: Mapped[datetime]
    wait_ms: Mapped[int | None] = mapped_column(BigInteger)  # the last attempt's wait on the queue
    run_ms: Mapped[int | None] = mapped_column(BigInteger)  # the last attempt's run
    error: Mapped[str | None] = mapped_column(MaskedText)
    traceback: Mapped[str | None] = mapped_column(MaskedText)
    result: Mapped[str | None]  # JSON
    skipped_reason: Mapped[str | None] = mapped_column(MaskedText)
    callback_url: Mapped[str | None]
    created_by: Mapped[str] = mapped_column(String(200), default="")
    version: Mapped[int] = mapped_column(BigInteger, default=VERSION_STEP)

    __table_args__ = (
        Index("ix_jobs_status", "status", "id"),
        Index("ix_jobs_queue", "queue", "status", "id"),
        Index("ix_jobs_task", "task", "status", "id"),
        Index(
            "ix_jobs_due",
            "due_at",
            sqlite_where=text("status IN ('scheduled', 'retry_scheduled')"),
            postgresql_where=text("status IN ('scheduled', 'retry_scheduled')"),
        ),
        Index(
            "ix_jobs_waiting",
            "queue",
            "priority",
            "pending_at",
            "id",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_jobs_beating",
            "heartbeat_at",
            sqlite_where=text("status = 'processing'"),
            postgresql_where=text("status = 'processing'"),
        ),
        Index(
            "ix_jobs_worker",
            "worker",
            "id",
            sqlite_where=text("worker IS NOT NULL"),
            postgresql_where=text("worker IS NOT NULL"),
        ),
        Index(
            "ix_jobs_priority",
            "priority",
            "id",
            sqlite_where=text("priority <> 'normal'"),
            postgresql_where=text("priority <> 'normal'"),
        ),
        Index(
            "uq_jobs_idempotency_key",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "uq_jobs_unique_key",
            "unique_key",
            unique=True,
            sqlite_where=text("unique_key IS NOT NULL"),
            postgresql_where=text("unique_key IS NOT NULL"),
        ),
        Index(
            "ix_jobs_parent",
            "parent",
            "id",
            sqlite_where=text("parent IS NOT NULL"),
            postgresql_where=text("parent IS NOT NULL"),
        ),
        Index(
            "ix_jobs_rerun_of",
            "rerun_of",
            sqlite_where=text("rerun_of IS NOT NULL"),
            postgresql_where=text("rerun_of IS NOT NULL"),
        ),
        Index(
            "ix_jobs_schedule",
            "schedule",
            "id",
            sqlite_where=text("schedule IS NOT NULL"),
            postgresql_where=text("schedule IS NOT NULL"),
        ),
        Index(
            "ix_jobs_batch",
            "batch",
            "id",
            sqlite_where=text("batch IS NOT NULL"),
            postgresql_where=text("batch IS NOT NULL"),
        ),
    )


class Attempt(Base):
    """One try at running a job."""

    __tablename__ = "attempts"
    __table_args__ = {"sqlite_with_rowid": False}

    job_id: Mapped[str] = _id(primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    worker: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    # completed, skipped, failed, timed_out, lost, interrupted, canceled, reset; none while it runs
    outcome: Mapped[str | None] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(MaskedText)
    traceback: Mapped[str | None] = mapped_column(MaskedText)
    wait_ms: Mapped[int | None] = mapped_column(BigInteger)
    run_ms: Mapped[int | None] = mapped_column(BigInteger)
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)


class JobEvent(Base):
    """One thing that happened to a job; written in the transaction that made it happen."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = _id()
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(32))
    from_status: Mapped[str | None] = mapped_column(String(16))
    to_status: Mapped[str | None] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer)
    actor: Mapped[str] = mapped_column(String(200), default="")
    detail: Mapped[str | None]  # JSON

    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)


class JobLog(Base):
    """One line that a job logged or printed."""

    __tablename__ = "job_logs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = _id()
    attempt: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(16))  # debug, info, warning, error, print, gap
    line: Mapped[str] = mapped_column(LogText)

    __table_args__ = (Index("ix_job_logs_job", "job_id", "id"),)


class Task(Base):
    """The catalogue: what workers can run, published by them."""

    __tablename__ = "tasks"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    doc: Mapped[str] = mapped_column(Text, default="")
    payload_schema: Mapped[str]  # JSON Schema
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[str] = mapped_column(String(8))
    max_retries: Mapped[int | None] = mapped_column(Integer)
    timeout_seconds: Mapped[float | None] = mapped_column(Float)
    retry_delays: Mapped[str | None]  # JSON list of seconds
    max_concurrent: Mapped[int | None] = mapped_column(Integer)
    is_unique: Mapped[bool] = mapped_column(default=False)
    secret_fields: Mapped[str | None]  # JSON list of names whose values are masked in payloads and results
    module: Mapped[str] = mapped_column(String(200), default="")
    previous_name: Mapped[str] = mapped_column(String(200), server_default="")  # its default name in earlier versions
    published_at: Mapped[datetime]


class Queue(Base):
    """A named line of jobs."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]


class Worker(Base):
    """A process that runs jobs, as it last told of itself."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    queues: Mapped[str]  # JSON list; ["*"] = every queue but those of SYSTEM_QUEUES
    state: Mapped[str] = mapped_column(String(16))  # starting, idle, busy, stopping, stopped
    job_id: Mapped[str | None] = mapped_column(String(36))
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    jobs_done: Mapped[int] = mapped_column(BigInteger, default=0)
    jobs_failed: Mapped[int] = mapped_column(BigInteger, default=0)
    cpu_percent: Mapped[float | None] = mapped_column(Float)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    clock_offset_seconds: Mapped[float | None] = mapped_column(Float)  # the database's clock ahead of the host's
    resumed_at: Mapped[datetime | None]  # its first heartbeat after a pause in which it could write none

    __table_args__ = (Index("ix_workers_stopped", "stopped_at"),)


class JobCount(Base):
    """How many jobs are in each state of each queue; kept by triggers on `jobs`, summed over slots."""

    __tablename__ = "job_counts"
    __table_args__ = {"sqlite_with_rowid": False}

    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str] = mapped_column(String(16), primary_key=True)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger, default=0)


class JobMinute(Base):
    """What ended in each minute, by queue and task; kept by triggers on `jobs`, summed over slots."""

    __tablename__ = "job_minutes"
    __table_args__ = {"sqlite_with_rowid": False}

    minute: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # minutes since 1970 UTC
    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    task: Mapped[str] = mapped_column(String(200), primary_key=True)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    completed: Mapped[int] = mapped_column(BigInteger, default=0)
    failed: Mapped[int] = mapped_column(BigInteger, default=0)
    retried: Mapped[int] = mapped_column(BigInteger, default=0)
    canceled: Mapped[int] = mapped_column(BigInteger, default=0)
    run_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    wait_ms: Mapped[int] = mapped_column(BigInteger, default=0)


class HealthMetric(Base):
    """How things stood in one minute, measured by the monitor's sweep."""

    __tablename__ = "health_metrics"

    minute: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # minutes since 1970 UTC
    queue_length: Mapped[int] = mapped_column(BigInteger)
    processing_count: Mapped[int] = mapped_column(BigInteger)
    failed_last_hour: Mapped[int] = mapped_column(BigInteger)
    oldest_wait_seconds: Mapped[float] = mapped_column(Float)
    workers_busy: Mapped[int] = mapped_column(Integer)
    workers_total: Mapped[int] = mapped_column(Integer)
    stuck_count: Mapped[int | None] = mapped_column(Integer)  # stuck jobs that the sweep reset or failed
    queues: Mapped[str | None]  # JSON: for each queue its depth and the age of its oldest job in seconds
    cpu_percent: Mapped[float | None] = mapped_column(Float)
    memory_percent: Mapped[float | None] = mapped_column(Float)
    disk_percent: Mapped[float | None] = mapped_column(Float)  # of the disk that DATA_DIR is on
    database_bytes: Mapped[int | None] = mapped_column(BigInteger)
    probe_ms: Mapped[float | None] = mapped_column(Float)  # how long PROBE_URL took; none without one
    probe_error: Mapped[str | None]


class BulkAction(Base):
    """One action on many jobs; itself worked by a job."""

    __tablename__ = "bulk_actions"

    id: Mapped[str] = _id(primary_key=True)
    action: Mapped[str] = mapped_column(String(16))  # retry, run_now, cancel, delete
    selection: Mapped[str]  # JSON: {"filter": {…}} or {"ids": […]}
    rate_per_second: Mapped[float | None] = mapped_column(Float)
    status: Mapped[str] = mapped_column(String(16))  # pending, processing, completed, aborted, failed
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    refused: Mapped[int] = mapped_column(BigInteger, default=0)
    cursor: Mapped[str | None]
    job_id: Mapped[str | None] = mapped_column(String(36))
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))
    ended_at: Mapped[datetime | None]
    abort_requested_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_bulk_actions_created", "created_at", "id"),)


class BulkActionItem(Base):
    """What a bulk action did to one job, kept where it was refused."""

    __tablename__ = "bulk_action_items"

    bulk_action_id: Mapped[str] = mapped_column(ForeignKey("bulk_actions.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = _id(primary_key=True)
    outcome: Mapped[str] = mapped_column(String(16))  # refused
    detail: Mapped[str | None]

    __table_args__ = (Index("ix_bulk_action_items_job", "job_id"),)


class UploadUse(Base):
    """A job whose payload names an uploaded file."""

    __tablename__ = "upload_uses"

    upload: Mapped[str] = mapped_column(String(100), primary_key=True)  # without the `upload:` of payloads
    job_id: Mapped[str] = _id(primary_key=True)

    __table_args__ = (Index("ix_upload_uses_job", "job_id"), {"sqlite_with_rowid": False})


class FurtherKey(Base):
    """An idempotency key whose request was answered with the unfinished job of a unique task."""

    __tablename__ = "further_keys"

    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    job_id: Mapped[str] = _id()
    request_hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ix_further_keys_job", "job_id"), {"sqlite_with_rowid": False})


class FileRemoval(Base):
    """A deleted job whose files are still to be deleted."""

    __tablename__ = "file_removals"
    __table_args__ = {"sqlite_with_rowid": False}

    job_id: Mapped[str] = _id(primary_key=True)


class User(Base):
    """A person who signs in."""

    __tablename__ = "users"

    id: Mapped[str] = _id(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(16))
    epoch: Mapped[int] = mapped_column(Integer, default=1)  # raised to end the sessions of earlier versions
    must_change_password: Mapped[bool] = mapped_column(default=False)
    password_expires_at: Mapped[datetime | None]  # of a one-time password
    totp_secret: Mapped[str | None] = mapped_column(String(64))  # null: no second factor
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # the step of the last code; none up to it is accepted
    recovery_codes: Mapped[str | None]  # JSON list of hashes
    created_at: Mapped[datetime]
    last_sign_in_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]


class ApiToken(Base):
    """A key for programs; only its hash is kept."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = _id(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    prefix: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who did what, with before and after."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(64))
    target_kind: Mapped[str] = mapped_column(String(32))
    target_id: Mapped[str] = mapped_column(String(255))
    before: Mapped[str | None]  # JSON
    after: Mapped[str | None]  # JSON

    __table_args__ = (
        Index("ix_audit_target", "target_kind", "target_id", "id"),
        Index("ix_audit_at", "at", "id"),
        # What is deleted after a time, see `services.audit`.
        Index("ix_audit_refusals", "at", sqlite_where=text(REFUSED), postgresql_where=text(REFUSED)),
    )


class Setting(Base):
    """A value kept by name: last_sync_time and the like, and the installation's own."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    value: Mapped[str]  # JSON
    updated_at: Mapped[datetime]


class OnceMark(Base):
    """A thing that was done and must not be done again."""

    __tablename__ = "once_marks"

    scope: Mapped[str] = mapped_column(String(200))
    key: Mapped[str] = mapped_column(String(255))
    job_id: Mapped[str | None] = mapped_column(String(36))
    attempt: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime]
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)

    __table_args__ = (UniqueConstraint("scope", "key", name="uq_once_marks"),)
