"""Optional columns of the list of jobs: chosen, kept, and harmless whatever the cookie holds."""

from __future__ import annotations

from typing import Any

from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.yard import Yard


def test_columns_are_chosen_kept_and_taken_away(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop", priority="high", created_by="user:<b>olga</b>"))
    client = auth.client("vera")
    assert ">Priority</th>" not in client.get("/jobs").text
    token = auth.csrf(client)
    answer = client.post("/jobs/columns", data={"csrf_token": token, "column": ["priority", "creator", "bogus"]})
    assert (answer.status_code, answer.location) == (303, "/jobs")
    page = client.get("/jobs").text
    assert ">Priority</th>" in page
    assert ">Created by</th>" in page
    assert ">Worker</th>" not in page
    assert ">high</span>" in page
    assert "user:&lt;b&gt;olga&lt;/b&gt;" in page
    client.post("/jobs/columns", data={"csrf_token": token})
    assert ">Priority</th>" not in client.get("/jobs").text
    client.set_cookie("job_columns", "priority.<script>.worker")
    assert ">Worker</th>" in client.get("/jobs").text
