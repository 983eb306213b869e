"""The tasks of the sample schedules, in a real worker and against real counterparts; and the samples themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import update

from tests.conftest import running_worker
from tests.integration.smtp import mail_server
from tests.support import eventually
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.services import execution, jobs, schedule_samples
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import schedules as rows
from workers.store.jobs import JOBS
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


def allowing(yard: Yard) -> Yard:
    """Return the same Taskyard as a process with ALLOW_PRIVATE_HTTP=1 sees it."""
    return replace(yard, settings=replace(yard.settings, allow_private_http=True))


def run(yard: Yard, task: str, **payload: Any) -> dict[str, Any]:
    """Run a task to its end; its row."""
    made = jobs.enqueue(yard, NewJob(task, payload, max_retries=0)).job_id
    found: dict[str, Any] = {}

    def ended() -> None:
        with yard.database.read() as connection:
            found.update(jobs.get(connection, made))
        assert found["status"] in {"completed", "failed"}

    eventually(ended, within=60)
    return found


def done(yard: Yard, ending: str = "completed") -> str:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id
    execution.begin(yard, made, 1, "w")
    execution.end(yard, made, 1, Ending(ending, error="no" if ending == "failed" else None))
    return made


def test_mails_leave_the_outbox_once_and_what_is_refused_is_kept(light_yard: Yard) -> None:
    with mail_server() as server, running_worker(light_yard, SMTP_URL=server.url, MAIL_TO="ops@example.org"):
        assert run(light_yard, "email.flush_outbox")["skipped_reason"] == "no mail waiting"
        run(light_yard, "email.send", to="ann@example.org", subject="Grüße", body="Your order <1> is on its way.")
        run(light_yard, "email.send", to="refused@example.org", subject="x", body="y")
        done(light_yard)
        run(light_yard, "email.digest")
        told = run(light_yard, "email.flush_outbox")
        assert json.loads(told["result"]) == {"sent": 2, "failed": 1}
        subjects = [line for mail in server.mails for line in mail.splitlines() if line.startswith("Subject: ")]
        assert len(subjects) == 2
        assert "jobs completed, 0 failed in the last 24 hours" in subjects[1].replace("\r", "")
        for _ in range(4):
            run(light_yard, "email.flush_outbox")
        assert len(server.mails) == 2
        kept = [path.name for path in (light_yard.settings.data_dir / "mail" / "failed").iterdir()]
        assert len(kept) == 1
        assert run(light_yard, "email.flush_outbox")["skipped_reason"] == "no mail waiting"


def test_without_a_mail_server_mails_are_files_and_without_a_reader_no_digest_is_written(light_yard: Yard) -> None:
    with running_worker(light_yard):
        assert "MAIL_TO" in run(light_yard, "email.digest")["skipped_reason"]
        run(light_yard, "email.send", to="ann@example.org", subject="Hello", body="There.")
        run(light_yard, "email.flush_outbox")
        (file,) = (light_yard.settings.data_dir / "mail" / "sent").iterdir()
        assert b"Subject: Hello" in file.read_bytes()
        with pytest.raises(BadInput, match="subject"):
            run(light_yard, "email.send", to="ann@example.org", subject="a\nBcc: x@example.org", body="")


def test_reports_say_what_ran_and_reach_slack(light_yard: Yard, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/slack", method="POST").respond_with_data("ok")
    for ending in ("completed", "completed", "failed"):
        done(light_yard, ending)
    with light_yard.database.write() as connection:  # into the minutes that are over
        connection.exec_driver_sql("UPDATE job_minutes SET minute = minute - 5")
    with running_worker(light_yard, ALLOW_PRIVATE_HTTP="1"):
        told = run(allowing(light_yard), "reports.daily_analytics", slack_webhook=httpserver.url_for("/slack"))
        assert json.loads(told["result"])["tasks"]["samples.noop"]["completed"] == 2
        files = sorted(path.name for path in (light_yard.settings.files_dir / told["id"]).rglob("*") if path.is_file())
        assert files == ["report.html", "report.json"]
        ((request, _),) = httpserver.log
        assert json.loads(request.get_data())["blocks"][0]["text"]["text"] == "2 jobs completed, 1 failed"
        usage = run(light_yard, "reports.monthly_usage", months_ago=0)
        assert json.loads(usage["result"])["completed"] >= 2
        assert run(light_yard, "metrics.dashboard")["status"] == "completed"
        assert (
            json.loads(light_yard.redis.get(light_yard.redis.names.key("cache", "metrics.dashboard")))["statuses"][
                "completed"
            ]
            >= 2
        )


def test_a_clean_up_deletes_what_is_old_and_skips_when_nothing_is(light_yard: Yard) -> None:
    with running_worker(light_yard):
        assert run(light_yard, "maintenance.cleanup")["skipped_reason"] == "nothing to delete"
        old = done(light_yard)
        long_ago = utcnow() - timedelta(days=60)
        with light_yard.database.write() as connection:
            moved = {"updated_at": long_ago, "id": "00000000" + old[8:]}
            connection.execute(update(JOBS).where(JOBS.c.id == old).values(**moved))
        assert json.loads(run(light_yard, "maintenance.cleanup")["result"])["jobs"] == 1


def test_a_suppliers_stock_is_kept_in_step(light_yard: Yard, httpserver: HTTPServer) -> None:
    url = httpserver.url_for("/stock")
    httpserver.expect_ordered_request("/stock").respond_with_json([{"sku": "a", "quantity": 3}, {"sku": "b"}])
    httpserver.expect_ordered_request("/stock").respond_with_json([{"sku": "a", "quantity": 3}])
    httpserver.expect_ordered_request("/stock").respond_with_data("<html>", status=200)
    with running_worker(light_yard, ALLOW_PRIVATE_HTTP="1"):
        assert "no source: set the supplier" in run(light_yard, "inventory.sync")["skipped_reason"]
        first = json.loads(run(allowing(light_yard), "inventory.sync", url=url)["result"])
        assert (first["changed"], first["errors"][0]["record"]) == (1, 1)
        assert run(allowing(light_yard), "inventory.sync", url=url)["skipped_reason"] == "none of 1 items has changed"
        assert run(allowing(light_yard), "inventory.sync", url=url)["status"] == "failed"


def test_every_sample_schedule_is_installed_by_one_click_once(light_yard: Yard) -> None:
    assert schedule_samples.install(light_yard, ADA) == len(schedule_samples.SAMPLES) == 7
    assert schedule_samples.install(light_yard, ADA) == 0
    with light_yard.database.read() as connection:
        found = rows.page(connection)
        assert schedule_samples.missing(connection) == []
    assert all(row["next_fire_at"] > utcnow() for row in found)
