"""Jobs over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.answers import accepted, enqueued
from dashboard.api.contract import (
    Instant,
    Strict,
    describe_errors,
    operation,
    parse_body,
    read_body,
    read_query,
    receive_body,
)
from dashboard.context import actor, conn, declared, yard
from dashboard.large_calls import large_call, working_on_large_call
from dashboard.presenters.jobs import large_as_json
from dashboard.presenters.plain import plain
from dashboard.security import requires
from dashboard.slices import in_slices, json_answer
from dashboard.watchman import redis_trouble
from workers.domain import payloads
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, TooLarge
from workers.domain.masking import mask
from workers.domain.names import MAX_RETRIES, MAX_TIMEOUT_SECONDS
from workers.services import explanations, job_filters, jobs
from workers.services.enqueueing import MAX_BULK, MAX_DELAY_SECONDS, Enqueued, NewJob
from workers.store import attempts, job_lists, logs
from workers.store import jobs as rows

bp = Blueprint("jobs_api", __name__, url_prefix="/api/v1")
MAX_BULK_BYTES = 8 * 1024 * 1024


class JobRequest(Strict):
    """A request to run a task."""

    task: str = Field(max_length=200, examples=["samples.sleep"])
    payload: dict[str, Any] = Field(default_factory=dict, examples=[{"seconds": 5, "steps": 50}])
    queue: str | None = Field(None, max_length=64)
    priority: Literal["high", "normal", "low"] | None = None
    delay_seconds: float | None = Field(None, ge=0, le=MAX_DELAY_SECONDS)
    scheduled_for: Instant | None = None
    idempotency_key: str | None = Field(None, min_length=1, max_length=255)
    max_retries: int | None = Field(None, ge=0, le=MAX_RETRIES)
    timeout_seconds: float | None = Field(None, gt=0, le=MAX_TIMEOUT_SECONDS)
    callback_url: str | None = Field(None, max_length=2000)


class BulkRequest(Strict):
    """Many requests, taken all or none."""

    jobs: list[dict[str, Any]] = Field(max_length=MAX_BULK)


class RetryRequest(Strict):
    """A retry, with another payload if one is given."""

    payload: dict[str, Any] | None = None


class JobQuery(Strict):
    """Which jobs."""

    status: str | None = Field(None, max_length=2000)
    task: str | None = Field(None, max_length=11000)
    queue: str | None = Field(None, max_length=4000)
    priority: str | None = Field(None, max_length=100)
    worker: str | None = Field(None, max_length=11000)
    q: str | None = Field(None, max_length=200)
    created: str | None = Field(None, max_length=100)
    since: str | None = Field(None, max_length=60)
    until: str | None = Field(None, max_length=60)
    schedule: str | None = Field(None, max_length=36)
    batch: str | None = Field(None, max_length=36)
    parent: str | None = Field(None, max_length=36)
    include: str | None = Field(None, max_length=60)
    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", max_length=200)


class LogQuery(Strict):
    """Which lines: after an id, of an attempt, of a level, with words in them."""

    after: int = Field(0, ge=0, le=2**53)
    limit: int = Field(200, ge=1, le=200)
    attempt: int | None = Field(None, ge=1, le=1_000_000)
    level: str = Field("", max_length=60)
    q: str = Field("", max_length=200)


@bp.post("/jobs")
@requires("operator")
@operation("Enqueue a job", tag="jobs", body=JobRequest, answer="Enqueued", status=202)
def enqueue() -> ResponseReturnValue:
    """Enqueue a job: the row is committed before the answer."""
    return accepted(jobs.enqueue(yard(), _new(read_body(JobRequest), str(actor()))))


@bp.post("/jobs/bulk")
@requires("operator")
@operation(
    "Enqueue up to 10,000 jobs, all or none",
    tag="jobs",
    body=BulkRequest,
    answer="EnqueuedMany",
    status=202,
    max_bytes=MAX_BULK_BYTES,
)
@large_call
def enqueue_many() -> ResponseReturnValue:
    """Enqueue many jobs; every bad one is named by its index and none is enqueued."""
    raw = receive_body()
    with working_on_large_call():
        body = parse_body(raw)
        del raw  # 8 MiB that nobody needs any more
        return _enqueue_many(body)


def _enqueue_many(body: dict[str, Any]) -> ResponseReturnValue:
    if set(body) != {"jobs"} or not isinstance(body["jobs"], list):
        raise BadInput('The body must be {"jobs": [ … ]}.', field="jobs")
    if len(body["jobs"]) > MAX_BULK:
        raise TooLarge(f"At most {MAX_BULK:,} jobs at once; there are {len(body['jobs']):,}.", "jobs")
    made = jobs.enqueue_many(yard(), _new_many(body["jobs"]))
    return json_answer(jobs=map(enqueued, made)), 202


@bp.get("/jobs")
@requires("viewer")
@operation("List jobs, newest first", tag="jobs", query=JobQuery, answer="Jobs")
def page() -> ResponseReturnValue:
    """Answer one page of jobs."""
    query = read_query(JobQuery)
    args = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    wanted = job_filters.read(conn(), yard().settings, args, utcnow())
    found = job_lists.jobs_page(conn(), wanted, cursor=query.cursor or None, limit=query.limit, full=True)
    secret = declared()
    shown = (large_as_json(row, secret) for row in found.rows)
    return json_answer(jobs=shown, next_cursor=found.next_cursor)


@bp.get("/jobs/<id:job_id>")
@requires("viewer")
@operation("Get a job", tag="jobs", answer="Job")
def one(job_id: str) -> ResponseReturnValue:
    """Answer one job."""
    return json_answer(**large_as_json(jobs.get(conn(), job_id), declared()))


@bp.delete("/jobs/<id:job_id>")
@requires("operator")
@operation("Delete a job that is not running", tag="jobs", status=204)
def delete(job_id: str) -> ResponseReturnValue:
    """Delete a job."""
    jobs.delete(yard(), job_id, actor())
    return "", 204


@bp.get("/jobs/<id:job_id>/attempts")
@requires("viewer")
@operation("List the attempts of a job, newest first", tag="jobs", answer="Attempts")
def attempts_of(job_id: str) -> ResponseReturnValue:
    """Answer the attempts."""
    jobs.get(conn(), job_id)
    return json_answer(attempts=map(plain, attempts.of_job(conn(), job_id)), next_cursor=None)


@bp.get("/jobs/<id:job_id>/events")
@requires("viewer")
@operation("List the events of a job, oldest first", tag="jobs", answer="Events")
def events_of(job_id: str) -> ResponseReturnValue:
    """Answer the events."""
    job = jobs.get(conn(), job_id)
    secret = declared()[job["task"]]
    found = rows.events(conn(), job)
    shown = ({**plain(row), "detail": mask(payloads.load(row["detail"]), secret)} for row in found)
    return json_answer(events=shown, next_cursor=None)


@bp.get("/jobs/<id:job_id>/logs")
@requires("viewer")
@operation("List the log lines of a job, oldest first", tag="jobs", query=LogQuery, answer="Logs")
def logs_of(job_id: str) -> ResponseReturnValue:
    """Answer lines of the log; `next_cursor` is the `after` of the next page."""
    query = read_query(LogQuery)
    jobs.get(conn(), job_id)
    levels = [part for part in query.level.split(",") if part]
    found = logs.page(
        conn(), job_id, after=query.after, limit=query.limit, attempt=query.attempt, levels=levels, q=query.q or None
    )
    lines = list(in_slices(found))
    following = lines[-1]["id"] if len(lines) == query.limit else None
    return json_answer(logs=map(plain, lines), next_cursor=following)


@bp.get("/jobs/<id:job_id>/explanation")
@requires("viewer")
@operation("Explain why a job is not running", tag="jobs", answer="Explanation")
def explanation(job_id: str) -> ResponseReturnValue:
    """Answer the sentence and the facts behind it."""
    row = jobs.get(conn(), job_id)
    return jsonify(explanations.explain(conn(), row, utcnow(), yard().settings.heartbeat_seconds, redis_trouble()))


@bp.post("/jobs/<id:job_id>/retries")
@requires("operator")
@operation("Retry a failed or canceled job", tag="jobs", body=RetryRequest, answer="Enqueued", status=202)
def retry(job_id: str) -> ResponseReturnValue:
    """Put a job back on its queue."""
    row = jobs.retry(yard(), job_id, actor(), read_body(RetryRequest).payload)
    return accepted(Enqueued(row["id"], row["status"]))


@bp.post("/jobs/<id:job_id>/runs")
@requires("operator")
@operation("Run a waiting job now, or a completed job again as a new job", tag="jobs", answer="Enqueued", status=202)
def run(job_id: str) -> ResponseReturnValue:
    """Run now, or run again."""
    row = jobs.get(conn(), job_id)
    if row["status"] == "completed":
        return accepted(jobs.run_again(yard(), job_id, actor()))
    row = jobs.run_now(yard(), job_id, actor())
    return accepted(Enqueued(row["id"], row["status"]))


@bp.post("/jobs/<id:job_id>/cancellations")
@requires("operator")
@operation(
    "Cancel a job: immediately if it is waiting; if it is running, it is asked to stop, then killed",
    tag="jobs",
    answer="Enqueued",
    status=202,
)
def cancel(job_id: str) -> ResponseReturnValue:
    """Call a job off."""
    row = jobs.cancel(yard(), job_id, actor())
    return accepted(Enqueued(row["id"], row["status"]))


def _new(given: JobRequest, created_by: str) -> NewJob:
    return NewJob(**dict(given), created_by=created_by)  # without a copy of the payload


def _new_many(given: list[Any]) -> list[NewJob]:
    from pydantic import ValidationError

    made, errors = [], []
    created_by = str(actor())
    for index, one in enumerate(in_slices(given)):
        try:
            made.append(_new(JobRequest.model_validate(one), created_by))
        except ValidationError as error:
            errors.append({"index": index, **describe_errors(error, 1)[0]})
            if len(errors) >= 1000:
                break
    if errors:
        raise BadInput(f"{len(errors):,} of the jobs are invalid. No job was enqueued.", errors=errors)
    return made
