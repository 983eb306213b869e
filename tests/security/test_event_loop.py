"""One thread answers everybody: nothing that a viewer may request holds it for long, however large the history is.

The requests are made from the url map, with ids of the largest rows, against a real web process. Meanwhile `/healthz` is
asked without a pause; its slowest answer is how long everybody else would have waited.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from werkzeug.routing import Rule

from dashboard.factory import create_app
from dashboard.streaming import MAX_STREAMS, MAX_STREAMS_OF_CALLER
from tests.conftest import open_yard, settings_of
from tests.security.large_history import History, Sizes, fill
from tests.security.serving import Web, serving
from tests.support import eventually
from workers.domain.actors import Actor
from workers.services import tokens
from workers.settings import Settings
from workers.yard import Yard

pytestmark = pytest.mark.timeout(600)  # filling the history is most of it
# Far above what was measured (bench/abuse.py has the figures), since the machine may be busy with other things;
# what this test is for took 2 to 100 seconds.
LONGEST_WAIT_SECONDS = 1.5
LONGEST_REQUEST_SECONDS = 60
QUERIES = {
    "/jobs": ["q=zzzz", "q=a%25b_", "parent={job_id}", "task=many.*", "limit=200", "words=%22a%20b%22%20%27c"],
    "/api/v1/jobs": ["q=zzzz", "limit=200", "task=many.*"],
    "/jobs/<job_id>": [f"tab={tab}" for tab in ("payload", "result", "error", "logs", "attempts", "events")],
    "/api/v1/jobs/<job_id>/logs": ["limit=500", "q=zzzz"],
    "/jobs/export": ["format=csv&q=zzzz", "format=ndjson&status=canceled"],
    "/health": ["period=90d", "period=1h", "period=90d&queue=queue-1"],
    "/api/v1/metrics/tasks": ["step=1", "since=2026-01-01T00:00:00Z"],
    "/api/v1/metrics/health": ["step=1"],
    "/palette": ["q=a", "q=schedule"],
    "/schedules": ["q=e", "tag=a"],
    "/schedules/preview": ["recurrence=cron&cron=0+0+29+2+*&timezone=Europe/Berlin", "recurrence=cron&cron=0+0+31+2+*"],
    "/api/v1/alerts": ["limit=200"],
    "/tasks": ["q=many"],
}


@pytest.fixture(scope="module")
def yard_url(valkey: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Yard, History]]:
    """Fill a yard with the large history, once for all tests of this module."""
    folder = tmp_path_factory.mktemp("large")
    opened = open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))
    yield opened, fill(opened, Sizes())
    opened.close()


@pytest.fixture(scope="module")
def large_web(yard_url: tuple[Yard, History], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve it."""
    with serving(yard_url[0], tmp_path_factory.mktemp("web")) as web:
        yield web


def viewer(yard: Yard) -> dict[str, str]:
    secret = tokens.create(yard, "a viewer", "viewer", None, Actor("system", "tests", "admin"))
    return {"Authorization": f"Bearer {secret}", "Accept": "text/html, application/json;q=0.9"}


class Sampler:
    """Asks `/healthz` without a pause, and keeps the slowest answer."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._is_stopped = threading.Event()
        self.longest_seconds = 0.0
        self.count = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._web.port, timeout=120)
        while not self._is_stopped.is_set():
            start = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - start)
            self.count += 1
            self._is_stopped.wait(0.005)

    def stop(self) -> None:
        self._is_stopped.set()


@contextmanager
def sampling(web: Web) -> Iterator[Sampler]:
    sampler = Sampler(web)
    thread = threading.Thread(target=sampler.run)
    thread.start()
    try:
        yield sampler
    finally:
        sampler.stop()
        thread.join()


def viewer_rules(yard: Yard) -> list[Rule]:
    """List the rules that a viewer may GET."""
    app = create_app(yard.settings, yard)
    found = []
    for rule in app.url_map.iter_rules():
        role = getattr(app.view_functions[rule.endpoint], "taskyard_role", None)
        if "GET" in (rule.methods or set()) and role in {"viewer", "public"}:
            found.append(rule)
    app.extensions["live"].close()
    return found


def addresses(rules: list[Rule], history: History) -> list[str]:
    """Write an address for each rule with real ids, and one more for each query that makes it work hard."""
    values = {
        "job_id": history.job_id,
        "schedule_id": history.schedule_id,
        "trigger_id": history.trigger_id,
        "alert_id": history.alert_id,
        "name": "default",
        "action_id": history.job_id,
        "rule_id": history.alert_id,
    }
    found = []
    for rule in rules:
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", values[name])
        found.append(path)
        found += [f"{path}?{query.format(**values)}" for query in QUERIES.get(rule.rule, [])]
    return found


def test_no_request_of_a_viewer_holds_up_the_others(large_web: Web, yard_url: tuple[Yard, History]) -> None:
    yard, history = yard_url
    rules = viewer_rules(yard)
    assert {rule.rule for rule in rules} >= {rule for rule in QUERIES if "<" not in rule}
    slow: dict[str, Any] = {}
    headers = viewer(yard)
    with httpx.Client(base_url=large_web.address, headers=headers, timeout=LONGEST_REQUEST_SECONDS) as client:
        client.get("/")  # what happens once in a process is not what is measured
        time.sleep(5)
        for address in addresses(rules, history):
            if address == "/jobs/export":
                continue  # has a test of its own
            with sampling(large_web) as sampler:
                answer = client.get(address)
            assert answer.status_code < 500, f"{address}: {answer.status_code} {answer.text[:300]}"
            if sampler.longest_seconds > LONGEST_WAIT_SECONDS:
                slow[address] = round(sampler.longest_seconds, 2)
    assert slow == {}
    assert "Traceback" not in large_web.log()


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_exports_at_once_hold_up_nobody_and_keep_no_memory(
    large_web: Web, yard_url: tuple[Yard, History], form: str
) -> None:
    yard, _history = yard_url
    before = large_web.memory_bytes()
    sizes: list[int] = []

    def export() -> None:
        with httpx.stream(
            "GET", f"{large_web.address}/jobs/export?format={form}&status=completed", headers=viewer(yard), timeout=120
        ) as answer:
            assert answer.status_code == 200
            sizes.append(sum(map(len, answer.iter_bytes())))

    threads = [threading.Thread(target=export) for _ in range(MAX_STREAMS)]
    with sampling(large_web) as sampler:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(sizes) == MAX_STREAMS
    assert len(set(sizes)) == 1
    assert sampler.longest_seconds < LONGEST_WAIT_SECONDS * 2
    assert large_web.memory_bytes() - before < 100_000_000


class Held:
    """An export whose client does not read on."""

    def __init__(self, web: Web, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        self.connection.request("GET", "/jobs/export?format=ndjson", headers=headers)
        self.answer = self.connection.getresponse()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_exports_are_capped_by_caller_and_in_all_and_places_come_back(
    large_web: Web, yard_url: tuple[Yard, History]
) -> None:
    headers = viewer(yard_url[0])
    held = [Held(large_web, headers) for _ in range(MAX_STREAMS_OF_CALLER)]
    assert {one.answer.status for one in held} == {200}
    refused = httpx.get(f"{large_web.address}/jobs/export", headers={**headers, "Accept": "application/json"})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["detail"]
    assert httpx.head(f"{large_web.address}/jobs/export", headers=headers).status_code == 200
    held += [Held(large_web, viewer(yard_url[0])) for _ in range(MAX_STREAMS - len(held))]
    assert {one.answer.status for one in held} == {200}
    other = viewer(yard_url[0])
    assert httpx.get(f"{large_web.address}/jobs/export", headers=other).status_code == 429
    for one in held:
        one.close()

    def has_room() -> None:
        again = Held(large_web, headers)
        assert again.answer.status == 200
        again.close()

    eventually(has_room, within=20, every=0.5)


def test_head_of_an_export_starts_nothing(large_web: Web, yard_url: tuple[Yard, History]) -> None:
    headers = viewer(yard_url[0])
    start = time.monotonic()
    for _ in range(20):
        answer = httpx.head(f"{large_web.address}/jobs/export", headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
    assert time.monotonic() - start < 20


def test_an_export_is_complete_and_in_order(large_web: Web, yard_url: tuple[Yard, History]) -> None:
    answer = httpx.get(f"{large_web.address}/jobs/export?format=ndjson&task=many.*", headers=viewer(yard_url[0]))
    assert answer.text == ""
    lines = httpx.get(
        f"{large_web.address}/jobs/export?format=ndjson&status=failed", headers=viewer(yard_url[0]), timeout=120
    ).text.splitlines()
    ids = [line.split('"', 4)[3] for line in lines]
    assert len(ids) > Sizes().large_jobs
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)


def test_a_page_of_large_jobs_is_short_and_its_cursor_goes_on(large_web: Web, yard_url: tuple[Yard, History]) -> None:
    url = f"{large_web.address}/api/v1/jobs"
    found: list[str] = []
    cursor = ""
    with httpx.Client(headers=viewer(yard_url[0]), timeout=60) as client:
        for _ in range(500):
            answer = client.get(url, params={"queue": "default", "status": "failed", "limit": 200, "cursor": cursor})
            assert len(answer.content) < 10_000_000
            found += [job["id"] for job in answer.json()["jobs"]]
            cursor = answer.json()["next_cursor"] or ""
            if not cursor:
                break
    assert cursor == ""
    assert len(found) == len(set(found)) > Sizes().large_jobs


def test_a_writer_that_waits_for_another_process_holds_up_nobody(
    large_web: Web, yard_url: tuple[Yard, History]
) -> None:
    yard, history = yard_url
    operator = tokens.create(yard, "an operator", "operator", None, Actor("system", "tests", "admin"))
    done: list[int] = []

    def write() -> None:
        answer = httpx.post(
            f"{large_web.address}/api/v1/jobs",
            json={"task": "samples.noop"},
            headers={"Authorization": f"Bearer {operator}"},
            timeout=60,
        )
        done.append(answer.status_code)

    threads = [threading.Thread(target=write) for _ in range(12)]
    with yard.database.write(), sampling(large_web) as sampler:
        for thread in threads:
            thread.start()
        time.sleep(3)  # the lock is held for as long as another process's transaction takes
        assert done == []
    for thread in threads:
        thread.join()
    assert done == [202] * len(threads)
    assert sampler.longest_seconds < LONGEST_WAIT_SECONDS
    assert history.job_id
