"""The filter of jobs on pages and over the API: all of it is understood or marked, and no action reaches more than was asked."""

from __future__ import annotations

import html
import json
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict

from workers.services import bulk_actions, execution, jobs
from workers.services.enqueueing import NewJob, enqueue_system
from workers.services.execution import Ending
from workers.yard import Yard

# What the bar must mark, with a part of the reason.
UNKNOWN = {
    "status:bogus": "Use one of: scheduled, pending",
    "status:failed,bogus": "Use one of: scheduled, pending",
    "priority:urgent": "Use one of: high, normal, low",
    "worker:": "no value",
    "-task:": "no value",
    "-foo": "-task:reports.*",
    "stauts:failed": "Use one of: status, task",
    "since:someday": "yesterday",
    "since:1h since:2h": "twice",
    "created:2026-02-30": "not a valid date",
    "-since:2h": "cannot be excluded",
    "schedule:nightly": "UUID",
    "include:everything": "Use one of: system",
    '"open': "quotation mark",
    "queue:a/b": "not the name of a queue",
    "since:99999999999999999999d": "yesterday",
    "status:<b>x</b>": "Use one of",
}


def ids(page: str) -> list[str]:
    return [part.split('"', 1)[0] for part in page.split('id="row-')[1:]]


def plant(yard: Yard) -> dict[str, str]:
    """Make a waiting job, a failed one, one that a worker runs, and one of Taskyard's own."""
    waiting = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    failed = jobs.enqueue(yard, NewJob("samples.fail", queue="emails", max_retries=0)).job_id
    execution.begin(yard, failed, 1, "one.1")
    execution.end(yard, failed, 1, Ending("failed", 1, error="needle"))
    runs = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1})).job_id
    execution.begin(yard, runs, 1, "two.2")
    system = enqueue_system(yard, NewJob("monitor.sweep")).job_id
    return {"waiting": waiting, "failed": failed, "runs": runs, "system": system}


def test_what_the_bar_does_not_understand_is_marked_and_offers_no_action_on_all(auth: Any, light_yard: Yard) -> None:
    plant(light_yard)
    client = auth.client("olga")
    assert "/bulk-actions?action=delete" in client.get("/jobs").text
    for words, reason in UNKNOWN.items():
        answer = client.get(f"/jobs?queue=default&words={quote(words)}", follow_redirects=True)
        page = html.unescape(answer.text)
        assert answer.status_code == 422, words
        assert 'aria-invalid="true"' in page, words
        assert reason in page, words
        assert "/bulk-actions?" not in page, words
        assert "/jobs/export" not in page, words
        assert len(ids(page)) in (1, 2), words  # the rest of the filter is applied
        assert 'name="queue" value="default"' in answer.text, words
        kept = page.split('name="words" value="', 1)[1]
        assert kept.startswith(words), words


@pytest.mark.parametrize(
    "query", ["status=bogus", "stauts=failed", "since=1h&since=2h", "task=", "queue=a,-b/c", "words=-x"]
)
def test_an_address_that_is_not_understood_is_marked_and_acts_on_nothing(
    app: Flask, auth: Any, light_yard: Yard, query: str
) -> None:
    plant(light_yard)
    client, header = auth.client("olga"), auth.token("operator")
    page = client.get(f"/jobs?{query}")
    assert page.status_code == 422
    assert "/bulk-actions?" not in page.text
    assert client.get(f"/jobs?{query}", headers={"X-Region": "jobs"}).status_code == 200
    assert client.get(f"/jobs/export?format=csv&{query}").status_code == 422
    assert client.get(f"/bulk-actions?action=delete&{query}").status_code == 422
    sent = {"csrf_token": auth.csrf(client), "action": "delete"}
    fields = [part.split("=", 1) for part in query.split("&")]
    made = client.post("/bulk-actions", data=MultiDict([*sent.items(), *((name, value) for name, value in fields)]))
    assert made.status_code == 422
    called = app.test_client().get(f"/api/v1/jobs?{query}", headers=header)
    assert (called.status_code, called.content_type) == (422, "application/problem+json")
    body = {"action": "delete", "filter": dict(fields)}
    if len(dict(fields)) == len(fields):
        refused = app.test_client().post("/api/v1/bulk-actions", json=body, headers=header)
        assert refused.status_code == 422
        assert refused.json["errors"][0]["field"].startswith("filter.")
    with light_yard.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 4
        assert connection.exec_driver_sql("SELECT count(*) FROM bulk_actions").scalar() == 0


def test_words_become_the_address_and_find_the_same_over_the_api(app: Flask, auth: Any, light_yard: Yard) -> None:
    made, client, header = plant(light_yard), auth.client("olga"), auth.token("viewer")
    cases = {
        "": {"waiting", "failed", "runs"},
        "status:failed,pending": {"waiting", "failed"},
        "status:Failed status:pending": {"waiting", "failed"},
        "-status:failed": {"waiting", "runs"},
        "-task:samples.*": set(),
        "-task:samples.fail include:system": {"waiting", "runs", "system"},
        "worker:two.2": {"runs"},
        "-worker:two.2": {"waiting", "failed"},
        "created:today since:yesterday": {"waiting", "failed", "runs"},
        'created:"last month"': set(),
        "queue:system": {"system"},
        "task:monitor.*": {"system"},
        '"needle"': {"failed"},
        "status:stuck": set(),
        made["system"]: {"system"},
    }
    for words, expected in cases.items():
        answer = client.get(f"/jobs?words={quote(words)}")
        assert answer.status_code == 302, words
        address = answer.headers["Location"]
        page = client.get(address)
        assert (page.status_code, set(ids(page.text))) == (200, {made[name] for name in expected}), words
        called = app.test_client().get(f"/api/v1{address}", headers=header)
        assert {job["id"] for job in called.json["jobs"]} == {made[name] for name in expected}, words


def test_tabs_count_what_the_filter_matches(auth: Any, light_yard: Yard) -> None:
    plant(light_yard)
    client = auth.client("vera")

    def tabs(query: str) -> dict[str, str]:
        nav = client.get(f"/jobs{query}").text.split('<nav class="tabs"', 1)[1].split("</nav>", 1)[0]
        labels = [part.split("</span>", 1)[0].split(">")[-1] for part in nav.split('class="flow tight"')[1:]]
        numbers = [part.split("</b>", 1)[0].split(">")[-1] for part in nav.split("<b")[1:]]
        return dict(zip(labels, numbers, strict=True))

    assert {"All": "3", "Failed": "1", "Stuck": "0"}.items() <= tabs("").items()
    assert {"All": "1", "Failed": "1", "Pending": "0"}.items() <= tabs("?queue=emails&status=pending").items()
    assert {"All": "2", "Failed": "0", "Processing": "1"}.items() <= tabs("?task=-samples.fail").items()
    assert {"All": "1", "Failed": "1"}.items() <= tabs("?q=needle").items()
    assert {"All": "4", "Pending": "2"}.items() <= tabs("?include=system").items()


def test_the_preview_and_the_action_mean_the_same_jobs(auth: Any, light_yard: Yard) -> None:
    made, client = plant(light_yard), auth.client("olga")
    page = client.get("/bulk-actions?action=delete&task=-samples.fail&since=yesterday").text
    assert "Delete 1 job?" in page
    fields = {
        part.split('name="', 1)[1].split('"', 1)[0]: html.unescape(part.split('value="', 1)[1].split('"', 1)[0])
        for part in page.split('action="/bulk-actions"', 1)[1].split('<input type="hidden"')[1:]
    }
    later = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    answer = client.post("/bulk-actions", data=fields)
    assert answer.status_code == 303
    with light_yard.database.read() as connection:
        stored = json.loads(connection.exec_driver_sql("SELECT selection FROM bulk_actions").scalar())
    assert stored["task"] == "-samples.fail"
    assert stored["until"] == fields["until"]
    bulk_actions.work(light_yard, answer.headers["Location"].rsplit("/", 1)[1], lambda _done, _total: None)
    with light_yard.database.read() as connection:
        left = set(connection.exec_driver_sql("SELECT id FROM jobs WHERE queue <> 'system-bulk'").scalars())
    assert left == {made["failed"], made["runs"], made["system"], later}
