"""Outages of Redis: refused connections, connections that fall silent, and the way back."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import RedisError, ResponseError

from tests.conftest import running_worker
from tests.integration.redis_proxy import RedisProxy, redis_proxy
from tests.support import eventually
from workers.broker import connection
from workers.broker.connection import QuickRedis, connect, translated
from workers.broker.embedded import EmbeddedValkey
from workers.broker.names import RedisNames
from workers.broker.outage import OutageLog
from workers.domain.errors import Unavailable
from workers.processes import home
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import jobs as rows
from workers.yard import Yard

NAMES = RedisNames(lambda: "0a1b")


@pytest.fixture
def proxy(valkey: Settings) -> Iterator[RedisProxy]:
    with redis_proxy(str(EmbeddedValkey(valkey).socket)) as running:
        yield running


@pytest.fixture
def own_outages(monkeypatch: pytest.MonkeyPatch) -> OutageLog:
    """Give the test an outage log of its own: others may have left an outage open."""
    outages = OutageLog()
    monkeypatch.setattr(connection, "outages", outages)
    return outages


def client_of(valkey: Settings, url: str) -> QuickRedis:
    return connect(replace(valkey, redis_url=url), NAMES)


def assert_answered(call: Callable[[], object]) -> None:
    try:
        call()
    except RedisError as error:
        raise AssertionError(error) from error


def assert_completed(yard: Yard, job_id: str) -> None:
    with yard.database.read() as sql:
        assert rows.get(sql, job_id)["status"] == "completed"


def test_a_process_reaches_redis_again_after_hundreds_of_failed_calls(
    tmp_path: Path, own_outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    settings = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data")}))
    server = EmbeddedValkey(settings)
    server.prepare()
    client = connect(settings, NAMES)
    with caplog.at_level(logging.WARNING, "taskyard.redis"):
        for _ in range(300):
            with pytest.raises(RedisError):
                client.bare("PING")
        with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process:
            eventually(lambda: assert_answered(lambda: client.bare("PING")), within=10)
            assert client.ping()
            client.close()
            process.terminate()
    started, ended = [record.getMessage() for record in caplog.records]
    assert started.startswith("Redis is not available: ")
    assert ended.startswith("Redis answers again after ")
    assert int(ended.split("; ")[1].split()[0]) >= 300


@pytest.mark.parametrize("how", ["bare", "pooled", "pipeline"])
def test_a_call_on_a_connection_that_fell_silent_goes_on_with_a_new_one(
    valkey: Settings, proxy: RedisProxy, monkeypatch: pytest.MonkeyPatch, own_outages: OutageLog, how: str
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    client = client_of(valkey, proxy.url)
    calls = {"bare": lambda: client.bare("PING"), "pooled": client.ping, "pipeline": client.pipeline().ping().execute}
    calls[how]()
    proxy.stall()

    eventually(lambda: assert_answered(calls[how]), within=5)


def test_a_worker_whose_connection_fell_silent_takes_the_next_job_within_15_seconds(
    light_yard: Yard, proxy: RedisProxy
) -> None:
    with running_worker(light_yard, REDIS_URL=proxy.url):
        first = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
        eventually(lambda: assert_completed(light_yard, first), within=30)
        proxy.stall()
        second = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
        eventually(lambda: assert_completed(light_yard, second), within=15)


def test_refused_commands_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture, own_outages: OutageLog) -> None:
    with caplog.at_level(logging.WARNING, "taskyard.redis"):
        for _ in range(100):
            with pytest.raises(Unavailable), translated():
                raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
    assert [record.getMessage() for record in caplog.records] == [
        "Redis refuses a command: OOM command not allowed when used memory > 'maxmemory'."
    ]
