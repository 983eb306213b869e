"""Pages say what is so: attempts that began, pools that run, numbers that agree, times that go on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from dashboard.presenters.words import attempts_begun, percent
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import execution, jobs, pool
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import attempts
from workers.store import settings as kept
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


def begun(yard: Yard, job_id: str) -> tuple[int, int]:
    """Return how many attempts a job says and how many there are."""
    with yard.database.read() as connection:
        return attempts_begun(jobs.get(connection, job_id)), len(attempts.of_job(connection, job_id))


def test_the_number_of_attempts_is_that_of_those_that_began(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", max_retries=2)).job_id
    assert begun(yard, job_id) == (0, 0)
    execution.begin(yard, job_id, 1, "w")
    assert begun(yard, job_id) == (1, 1)
    execution.end(yard, job_id, 1, Ending("failed", error="no"))
    assert begun(yard, job_id) == (1, 1)
    jobs.run_now(yard, job_id, ADA)
    assert begun(yard, job_id) == (1, 1)
    execution.begin(yard, job_id, 2, "w")
    assert begun(yard, job_id) == (2, 2)
    execution.end(yard, job_id, 2, Ending("failed", error="no", permanent=True))
    jobs.retry(yard, job_id, ADA)
    assert begun(yard, job_id) == (2, 2)
    jobs.cancel(yard, job_id, ADA)
    assert begun(yard, job_id) == (2, 2)


def test_a_job_that_never_ran_has_no_attempt(auth: Any, light_yard: Yard) -> None:
    job_id = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    jobs.cancel(light_yard, job_id, ADA)
    client = auth.client("vera")
    page = client.get(f"/jobs/{job_id}").text
    assert "<dt>Attempts</dt><dd>0 of " in page
    assert "<span>Attempts</span><b>0</b>" in page
    assert "never ran" in client.get("/jobs").text
    assert "No result: the job was canceled." in client.get(f"/jobs/{job_id}?tab=result").text


def test_a_pool_is_resized_only_where_one_runs(yard: Yard) -> None:
    now = utcnow()
    with yard.database.read() as connection:
        assert not pool.is_running(connection, now)
    pool.note_running(yard, now)
    with yard.database.read() as connection:
        assert pool.is_running(connection, now + timedelta(seconds=30))
        assert not pool.is_running(connection, now + timedelta(seconds=60))


def test_the_page_offers_the_size_of_a_pool_while_one_runs(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    page = client.get("/workers").text
    assert "No pool is running" in page
    assert 'action="/pool"' not in page
    form = {"csrf_token": auth.csrf(client), "workers": "3"}
    client.post("/pool", data=form)
    assert "Pool size set to 3 workers. No pool is running" in client.get("/workers").text
    pool.note_running(light_yard, utcnow())
    assert 'action="/pool"' in client.get("/workers").text
    client.post("/pool", data={**form, "workers": "1"})
    page = client.get("/workers").text
    assert "Pool size set to 1 worker." in page
    assert "next pool starts" not in page
    with light_yard.database.read() as connection:
        assert kept.get(connection, "pool.workers") == 1


def test_waiting_times_tick(auth: Any, light_yard: Yard) -> None:
    job_id = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    client = auth.client("vera")
    ticking = r'<time [^>]*data-behavior="elapsed"'
    tile = client.get("/").text.split("Oldest wait</span>", 1)[1].split("</li>", 1)[0]
    assert re.search(ticking, tile)
    row = client.get("/queues").text.split('id="queue-default"', 1)[1].split("</tr>", 1)[0]
    assert re.search(ticking, row)
    path = client.get(f"/jobs/{job_id}").text.split('class="timeline"', 1)[1].split("</ol>", 1)[0]
    assert re.search(r"waiting for\s+" + ticking, path)


def test_one_is_one_and_none_is_not_the_newest(auth: Any, light_yard: Yard) -> None:
    client = auth.client("vera")
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    assert "1 job waiting in" in client.get("/queues").text
    assert "1 job<" in client.get("/jobs").text or "1 job " in client.get("/jobs").text
    assert "1 jobs" not in client.get("/jobs").text + client.get("/queues").text + client.get("/queues/default").text
    assert "the newest 0" not in client.get("/queues/emails").text


def test_nothing_runs_and_no_worker_runs_are_told_apart(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    page = auth.client("vera").get("/").text
    assert "No jobs running" in page
    assert "No workers are running" in page


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    assert [percent(value) for value in (0, 0.01, 7.5, 99.96, 100)] == ["0 %", "< 0.1 %", "7.5 %", "99.9 %", "100 %"]
