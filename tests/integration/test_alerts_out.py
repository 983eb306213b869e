"""Alerts on their way out of a whole Taskyard, to a real HTTP counterpart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from tests.integration.running import Running
from tests.support import eventually
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import alerts
from workers.yard import Yard

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def running(tmp_path: Path, httpserver: HTTPServer) -> Iterator[Running]:
    url = httpserver.url_for("/alert").replace("http://", "json://")
    one = Running(tmp_path / "yard", MONITOR_INTERVAL_SECONDS="2", ALERT_URLS=url)
    yield one.start().ready()
    one.clean_up()


def test_failures_are_found_by_the_monitor_and_reach_the_channel_once(running: Running, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/alert", method="POST").respond_with_data("taken")
    yard = Yard.open(Settings.from_env(running.environment))
    jobs.enqueue_many(yard, [NewJob("samples.fail", max_retries=0)] * 6)

    def told() -> list[dict[str, Any]]:
        return [json.loads(request.get_data()) for request, _ in httpserver.log]

    def arrived() -> None:
        assert [one["title"] for one in told()] == ["6 tasks failed in last hour"], running.log()

    eventually(arrived, within=60)

    def settled() -> None:
        with yard.database.read() as connection:
            (alert,) = [row for row in alerts.open_alerts(connection) if row["kind"] == "failed"]
            assert alert["count"] >= 3
            (sent,) = alerts.deliveries(connection, [alert["id"]])[alert["id"]]
            assert (sent["status"], sent["tries"]) == ("sent", 1)

    eventually(settled, within=60)
    arrived()
    yard.close()
