"""Lists: the order of queues, rows by id, and stuck jobs wherever a job or its worker is shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.web.test_job_filters import ids
from workers.domain.clock import utcnow
from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.store import workers
from workers.yard import Yard


def test_queues_are_sorted_as_the_viewer_asks(auth: Any, light_yard: Yard) -> None:
    for queue, count in (("b", 3), ("a", 1), ("c", 2)):
        jobs.enqueue_many(light_yard, [NewJob("samples.noop", queue=queue)] * count)
    client = auth.client("vera")

    def order(sort: str) -> list[str]:
        page = client.get(f"/queues?sort={sort}").text
        return [part.split('"', 1)[0] for part in page.split('id="queue-')[1:] if part[:1] in "abc"]

    assert [order(sort) for sort in ("name", "-name", "waiting", "-waiting")] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["b", "c", "a"],
        ["a", "c", "b"],
    ]
    assert 'aria-sort="descending"' in client.get("/queues?sort=waiting").text
    for sort in ("bogus", "--name", ""):
        assert client.get(f"/queues?sort={sort}").status_code == 422


def test_rows_are_shown_by_id_whatever_the_filter_and_deleted_ones_are_missing(auth: Any, light_yard: Yard) -> None:
    made = [jobs.enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(3)]
    client = auth.client("olga")
    client.post(f"/jobs/{made[0]}/deletions", data={"csrf_token": auth.csrf(client)})
    page = client.get("/jobs/rows?" + "&".join(f"id={one}" for one in [*made, "nonsense", "0" * 40])).text
    assert set(ids(page)) == set(made[1:])
    assert ids(client.get("/jobs/rows").text) == []


@pytest.mark.parametrize("role", ["vera", "olga"])
def test_a_stuck_job_and_a_lost_worker_are_shown_as_such_on_every_page(auth: Any, light_yard: Yard, role: str) -> None:
    made = jobs.enqueue(light_yard, NewJob("samples.sleep", {"seconds": 1}, queue="lost")).job_id
    fine = jobs.enqueue(light_yard, NewJob("samples.sleep", {"seconds": 1})).job_id
    execution.begin(light_yard, made, 1, "host9.1")
    execution.begin(light_yard, fine, 1, "host9.2")
    at = utcnow() - timedelta(minutes=7)
    row = {"host": "host9", "pid": 1, "queues": '["*"]', "state": "busy", "started_at": at, "job_id": made}
    with light_yard.database.write() as connection:
        workers.register(connection, {"name": "host9.1", "heartbeat_at": at, **row})
        workers.register(connection, {"name": "host9.2", **row, "heartbeat_at": utcnow(), "job_id": fine})
        connection.exec_driver_sql(
            "UPDATE jobs SET heartbeat_at = ? WHERE id = ?", (at.strftime("%Y-%m-%d %H:%M:%S.%f"), made)
        )
    client = auth.client(role)
    evidence = "host9.1 has sent no heartbeat for 7 min"
    job = client.get(f"/jobs/{made}").text
    assert "Worker lost" in job
    assert evidence in job
    assert 'class="evidence"' in job
    assert ("Reset now" in job) == (role == "olga")
    assert "Worker lost" not in client.get(f"/jobs/{fine}").text
    overview = client.get("/").text
    assert evidence in overview.split(f'id="running-{made}"', 1)[1].split("</li>", 1)[0]
    assert "Stuck" not in overview.split(f'id="running-{fine}"', 1)[1].split("</li>", 1)[0]
    listed = client.get("/jobs").text
    assert f'id="row-{made}" data-state="stuck"' in listed
    assert f'id="row-{fine}" data-state="processing"' in listed
    assert ids(client.get("/jobs?status=stuck").text) == [made]
    assert set(ids(client.get("/jobs?status=processing").text)) == {made, fine}
    assert ids(client.get("/jobs?status=processing,-stuck").text) == [fine]
    lost = client.get("/workers").text.split('id="worker-host9.1"', 1)[1].split("</tr>", 1)[0]
    assert "Lost" in lost
    assert "No heartbeat for" in lost
    assert "is stuck" in lost
    assert 'data-counts="stuck">1<' in overview
