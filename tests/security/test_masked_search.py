"""Search answers from what may be seen: a masked value cannot be recovered letter by letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text, update

from workers import registry
from workers.domain.actors import Actor
from workers.domain.filters import JobFilter
from workers.services import bulk_actions, execution, jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import job_lists, logs
from workers.store.jobs import JOBS
from workers.yard import Yard

OLGA = Actor("user", "olga", "operator")
KEY = "Kx9hunterQz"
PAYLOAD = {"url": "https://example.com/orders", "headers": {"X-Api-Key": KEY, "Accept": "text/plain"}}
LETTERS = ["Kx", "Kx9hunterQz", "kx9HUNTER", "hunter", 'Key":"K', "Qz"]


def enqueue(yard: Yard, **more: Any) -> str:
    return jobs.enqueue(
        yard, NewJob(**{"task": "http.request", "payload": PAYLOAD, "created_by": "olga", **more})
    ).job_id


def found(yard: Yard, words: str) -> list[str]:
    with yard.database.read() as connection:
        rows = job_lists.jobs_page(connection, JobFilter.from_args({"q": words})).rows
    return [row["id"] for row in rows]


def everything_about(yard: Yard, words: str) -> Any:
    """Return all that a search lets a caller see."""
    wanted = JobFilter.from_args({"q": words})
    with yard.database.read() as connection:
        page = job_lists.jobs_page(connection, wanted, limit=1)
        count = job_lists.count_matching(connection, wanted)
        ids = job_lists.ids_matching(connection, wanted, None, 10)
        preview = bulk_actions.preview(connection, "cancel", wanted)
    return [list(page.rows), page.next_cursor, page.previous_cursor, count, ids, preview]


@pytest.mark.parametrize("letters", LETTERS)
def test_letters_of_a_masked_value_find_what_other_letters_find(yard: Yard, letters: str) -> None:
    enqueue(yard)
    assert everything_about(yard, letters + "~")[3] == (0, False)
    assert everything_about(yard, letters) == everything_about(yard, letters[::-1] + "~nothing")


def test_what_is_shown_of_such_a_job_is_found(yard: Yard) -> None:
    job_id = enqueue(yard, idempotency_key="order-4711")
    for words in ("example.com/orders", "X-Api-Key", "text/plain", "order-4711", "http.request", "••••••"):
        assert found(yard, words) == [job_id], words


def test_a_payload_without_secrets_is_searched_as_it_is(yard: Yard) -> None:
    job_id = enqueue(yard, payload={"url": "https://example.com/ünïcode?n=1", "method": "GET"})
    with yard.database.read() as connection:
        assert jobs.get(connection, job_id)["search_text"] is None
    assert found(yard, "ünïcode") == [job_id]


def test_a_key_that_is_a_credential_is_not_searched(yard: Yard) -> None:
    token = "ghp_" + "a1B2" * 9
    enqueue(yard, idempotency_key=f"by {token}", payload={"url": "https://example.com/x"})
    assert found(yard, "a1B2") == []
    assert len(found(yard, "by ••")) == 1


def test_a_declared_field_is_not_searched_from_the_moment_it_is_declared(yard: Yard) -> None:
    job_id = enqueue(yard, task="samples.fail", payload={"message": "open words"})
    assert found(yard, "open words") == [job_id]
    definition = registry.REGISTRY["samples.fail"]
    import dataclasses

    publishing.publish(yard, {"samples.fail": dataclasses.replace(definition, secret=("message",))})
    assert found(yard, "open words") == []
    publishing.publish(yard, registry.REGISTRY)


def test_an_edited_payload_is_searched_as_it_is_shown(yard: Yard) -> None:
    job_id = enqueue(yard)
    jobs.cancel(yard, job_id, OLGA)
    jobs.retry(yard, job_id, OLGA, {"url": "https://example.com/changed", "headers": {"X-Api-Key": KEY + "2"}})
    assert found(yard, "example.com/changed") == [job_id]
    assert found(yard, "hunterQz") == []


def test_an_error_is_searched_as_it_is_stored_masked(yard: Yard) -> None:
    job_id = enqueue(yard)
    assert not isinstance(execution.begin(yard, job_id, 1, "w"), execution.Refused)
    execution.end(yard, job_id, 1, execution.Ending("failed", error=f"ValueError: refused {KEY} there", permanent=True))
    assert found(yard, "refused ••••••") == [job_id]
    assert found(yard, "refused Kx9") == []


def test_lines_of_a_log_are_searched_as_they_are_shown(yard: Yard) -> None:
    from sqlalchemy import insert

    from workers.domain.clock import utcnow
    from workers.store.models import JobLog

    job_id = enqueue(yard)
    line = {"at": utcnow(), "level": "info", "line": "an old line with password=hunter2xyz in it"}
    with yard.database.write() as connection:
        connection.execute(insert(JobLog).values(job_id=job_id, attempt=1, **line))
    with yard.database.read() as connection:
        assert logs.page(connection, job_id, q="hunter") == []
        assert len(logs.page(connection, job_id, q="OLD line")) == 1


def test_the_time_of_a_search_does_not_depend_on_the_secret(yard: Yard) -> None:
    """The statement does not look at the payload of a job that holds secrets: nothing of it can be compared."""
    enqueue(yard)
    with yard.database.read() as connection:
        row = connection.execute(text("SELECT search_text FROM jobs")).scalar_one()
        statement = str(job_lists.contains("x").compile(dialect=connection.dialect))
    assert KEY not in row
    assert json.loads(row)["headers"]["X-Api-Key"] == "••••••"
    assert "CASE WHEN (jobs.search_text IS NULL) THEN jobs.payload ELSE jobs.search_text END" in statement


def test_jobs_from_before_the_upgrade_are_masked_and_searched(yard: Yard) -> None:
    from alembic import command

    from workers.store import migrate

    secret, plain = enqueue(yard), enqueue(yard, payload={"url": "https://example.com/plain"})
    with yard.database.write() as connection:
        command.downgrade(migrate._config(connection), "0005")
        old = {"error": f"password={KEY}", "traceback": f"token = '{KEY}'", "message": f"--token {KEY}"}
        connection.execute(update(JOBS).where(JOBS.c.id == secret).values(old))
    migrate.migrate(yard.database)
    assert found(yard, "example.com/plain") == [plain]
    assert found(yard, "example.com/orders") == [secret]
    assert found(yard, KEY[:5]) == []
    with yard.database.read() as connection:
        row = jobs.get(connection, secret)
    assert KEY not in f"{row['error']}{row['traceback']}{row['message']}"
    assert json.loads(row["payload"]) == PAYLOAD
